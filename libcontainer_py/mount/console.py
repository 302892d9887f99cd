"""The console: a terminal of the container's own devpts, which is its /dev/console as well.

All of it runs inside the container's root, after pivot_root. The image may own /dev and all that is
in it, so nothing here is found twice by a path: what is opened once is proved by its descriptor,
and that is what is unlocked, bound and dup'ed (CVE-2025-52565).
"""

import _struct as struct
import errno
import fcntl
import posix
import stat

from libcontainer_py.errors import StepError
from libcontainer_py.linux.flags import (
    DEVPTS_SUPER_MAGIC,
    RESOLVE_BENEATH,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    TIOCGPTPEER,
    TIOCSCTTY,
    TIOCSPTLCK,
    TIOCSWINSZ,
)
from libcontainer_py.linux.syscalls import fstatfs, openat2
from libcontainer_py.mount.paths import open_in_root, open_parent_in_root, open_root
from libcontainer_py.mount.trees import attach, clone_tree

_FIELD = "process.terminal"
_PTMX = posix.makedev(5, 2)
# Without O_NOCTTY an open by a session leader takes the controlling terminal on the way.
_TERMINAL = posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC


def setup_console(height: int, width: int) -> "tuple[int, int]":
    """Make a terminal, and bind its slave to /dev/console.

    Args:
        height, width: `process.consoleSize`, in characters; a 0 leaves the size unknown

    Returns descriptors of its (master, slave).

    Raises:
        StepError: /dev/pts is no devpts, or the kernel refused
    """
    master, slave = new_terminal()
    if height and width:
        set_size(master, height, width)
    bind_console(slave)
    return master, slave


def new_terminal(root: "int | None" = None) -> "tuple[int, int]":
    """Open the ptmx of the container's own devpts: returns the new terminal's (master, slave).

    Args:
        root: a descriptor of the container's root; None: we are in it
    """
    slash = open_root() if root is None else root
    try:
        pts = _open_pts(slash)
    finally:
        if root is None:
            posix.close(slash)
    try:
        # The kernel lets nobody make a file in a devpts, and nothing may be mounted over this one:
        # so it is opened for good at once, without a second look-up.
        resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
        master = openat2(pts, "ptmx", _TERMINAL, 0, resolve)
    except OSError as error:
        raise StepError(None, error.errno or 0, 'open "/dev/pts/ptmx"', field=_FIELD) from None
    finally:
        posix.close(pts)
    status = posix.fstat(master)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _PTMX:
        raise StepError(None, errno.ENODEV, '"/dev/pts/ptmx" is another device', field=_FIELD)
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    # The kernel's answer to which slave is ours; its name in /dev/pts is anybody's.
    return master, fcntl.ioctl(master, TIOCGPTPEER, _TERMINAL)


def set_size(terminal: int, height: int, width: int) -> None:
    """TIOCSWINSZ: set the size of a terminal, in characters."""
    fcntl.ioctl(terminal, TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def bind_console(slave: int) -> None:
    """Bind a terminal to /dev/console: on whatever is there, but never through a link."""
    try:
        target = _open_console()
        try:
            tree = clone_tree(slave, "")
            try:
                attach(tree, target)
            finally:
                posix.close(tree)
        finally:
            posix.close(target)
    except OSError as error:
        hint = "it is a symbolic link" if error.errno == errno.ELOOP else None
        raise StepError(
            None, error.errno or 0, 'bind the terminal to "/dev/console"', field=_FIELD, hint=hint
        ) from None


def take_terminal(slave: int, *, controlling: bool = True) -> None:
    """Make a terminal the standard streams; if `controlling`, that of our session, new as it is."""
    for stream in (0, 1, 2):
        posix.dup2(slave, stream, inheritable=True)
    posix.close(slave)
    if controlling:
        fcntl.ioctl(0, TIOCSCTTY, 0)


def _open_pts(root: int) -> int:
    """Open /dev/pts, proved to be a devpts."""
    try:
        pts = open_in_root(root, "/dev/pts", posix.O_DIRECTORY)
    except OSError as error:
        raise _no_devpts(error.errno or 0) from None
    if fstatfs(pts)[0] != DEVPTS_SUPER_MAGIC:
        posix.close(pts)
        raise _no_devpts(errno.ENODEV)
    return pts


def _no_devpts(number: int) -> StepError:
    hint = 'a terminal needs a mount of type "devpts" on it'
    return StepError(None, number, 'open "/dev/pts"', field=_FIELD, hint=hint)


def _open_console() -> int:
    root = open_root()
    try:
        directory, name = open_parent_in_root(root, "/dev/console")
    finally:
        posix.close(root)
    try:
        try:
            posix.mknod(name, stat.S_IFREG | 0o644, dir_fd=directory)
        except FileExistsError:
            pass
        target = open_in_root(directory, name, follow=False)
    finally:
        posix.close(directory)
    if stat.S_ISDIR(posix.fstat(target).st_mode):
        posix.close(target)
        raise OSError(errno.EISDIR, "a directory")
    return target
