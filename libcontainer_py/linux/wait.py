"""Wait for a process that need not be a child: by its pidfd."""

import select


def wait_for_end(pidfd: int, seconds: float) -> bool:
    """Wait until a process has ended; False when that took too long (pidfd_open(2))."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
