"""The descriptors from 3 on that a caller passes to a container."""

import fcntl
import posix

from libcontainer_py.errors import Error


def listen_fds() -> int:
    """How many sockets we were handed for the container to listen on (sd_listen_fds(3))."""
    environment = posix.environ
    try:
        # Else they are somebody else's, whose environment we have but for that.
        if int(environment[b"LISTEN_PID"]) != posix.getpid():
            return 0
        return max(0, int(environment[b"LISTEN_FDS"]))
    except (KeyError, ValueError):
        return 0


def refuse_ours(listen: int, preserve: int) -> None:
    """Refuse to pass on what the caller did not pass to us.

    Whatever came through an exec is not close-on-exec; a log file, or whatever else we have opened
    where the caller had nothing, is.

    Args:
        listen: so many, from `listen_fds`
        preserve: so many behind them, from `--preserve-fds`

    Raises:
        Error: one is closed, or ours
    """
    for fd in range(3, 3 + listen + preserve):
        try:
            ours = fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        except OSError:
            ours = 1
        if ours:
            name = "LISTEN_FDS" if fd < 3 + listen else "--preserve-fds"
            raise Error(f"{name}: descriptor {fd} is not open")
