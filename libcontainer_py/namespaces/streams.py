"""What a new process has from its caller: standard streams, other descriptors, signals."""

import _signal
import posix
import stat

from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import DEVPTS_SUPER_MAGIC


def reset_signals(ignored: int) -> None:
    """Give the program a clean slate: nothing ignored. (Blocked ones are the list's to unblock.)

    CLONE_CLEAR_SIGHAND clears handlers and leaves ignored signals ignored; Python itself ignores
    SIGPIPE and SIGXFSZ.
    """
    _signal.set_wakeup_fd(-1)
    default = bytes(32)  # struct sigaction: SIG_DFL
    for number in range(1, ignored.bit_length() + 1):
        if ignored >> (number - 1) & 1:
            syscalls.syscall("rt_sigaction", number, default, 0, 8)


def set_stdio(stdio: "tuple[int, int, int]") -> None:
    """Make the given descriptors 0, 1 and 2."""
    # A source below 3 may be overwritten before its turn: copy all away first.
    copies = [posix.dup(fd) for fd in stdio]
    for target, copy in enumerate(copies):
        posix.dup2(copy, target, inheritable=True)


def close_all_but(keep: "set[int]") -> None:
    """Close every other descriptor.

    Marking them would not do: a created container would hold what close-on-exec only closes at
    `start`.
    """
    first = 0
    for fd in sorted(keep):
        if fd > first:
            syscalls.close_range(first, fd - 1)
        first = fd + 1
    syscalls.close_range(first)


def chown_stdio(uid: int) -> None:
    """Let the container's user reopen its standard streams (/dev/stdout is a link to one).

    Only pipes, sockets and pseudo-terminals: they belong to whoever handed them to us. A file or a
    device of the host's does not become the container's for having been our input, and what the
    kernel won't give away is left alone, as runc leaves it.
    """
    for fd in (0, 1, 2):
        try:
            status = posix.fstat(fd)
        except OSError:
            continue
        if status.st_uid == uid or not (
            stat.S_ISFIFO(status.st_mode)
            or stat.S_ISSOCK(status.st_mode)
            or syscalls.fstatfs(fd)[0] == DEVPTS_SUPER_MAGIC
        ):
            continue
        try:
            posix.fchown(fd, uid, -1)
        except OSError as error:
            if error.errno not in (1, 22, 30):  # EPERM, EINVAL, EROFS
                raise
