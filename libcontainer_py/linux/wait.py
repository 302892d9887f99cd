"""Wait for a process that need not be a child: by its pidfd."""

import select

LONGEST = 86_400  # seconds in one call: poll(2) takes milliseconds as an int, 24 days


def wait_for_end(pidfd: int, seconds: float) -> bool:
    """Wait until a process has ended; False when that took too long (pidfd_open(2))."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    while seconds > LONGEST:
        if poll.poll(LONGEST * 1000):
            return True
        seconds -= LONGEST
    return bool(poll.poll(seconds * 1000))
