"""Find the container's program, as the container's user would."""

import posix

from libcontainer_py.errors import StepError, quoted, shown
from libcontainer_py.linux import syscalls
from libcontainer_py.mount.paths import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from libcontainer_py.security.capabilities import Sets

_ENOENT, _EACCES, _ENOTDIR = 2, 13, 20
# What a check says of a path that only its user can look at.
_UNKNOWN = -1


class AsUser:
    """Check files with the credentials that the program will be exec'd with.

    Only what the file system looks at is changed (setfsuid(2), the effective set), and all of it
    is put back: the process stays what it was.
    """

    __slots__ = ("_gid", "_sets", "_uid")

    def __init__(self, uid: int, gid: int, sets: "Sets") -> None:
        self._uid, self._gid, self._sets = uid, gid, sets

    def __enter__(self) -> None:
        syscalls.setfsgid(self._gid)
        syscalls.setfsuid(self._uid)
        _effective, permitted, inheritable = syscalls.capget()
        syscalls.capset(self._sets.effective & permitted, permitted, inheritable)

    def __exit__(self, *_error: object) -> None:
        _effective, permitted, inheritable = syscalls.capget()
        syscalls.capset(permitted, permitted, inheritable)
        syscalls.setfsuid(posix.geteuid())
        syscalls.setfsgid(posix.getegid())
        syscalls.capset(permitted, permitted, inheritable)


def look_path(name: str, search: "str | None") -> str:
    """Find a program: by its path where the name has a slash, else down the PATH. `LookPath`.

    Args:
        search: the PATH

    Raises:
        StepError: with the words that callers of runc match on
    """
    return look_paths(name, search, _check)[0]


def look_paths(name: str, search: "str | None", check: "Callable[[str], int]") -> "list[str]":
    """Find where a program may be: what can't be known, and the first place where it is.

    Args:
        check: says what stands in the way of running a path, as an errno, or 0, or _UNKNOWN

    Raises:
        StepError: it is nowhere
    """
    if "/" in name:
        errno = check(name)
        if errno > 0:
            what = f"stat {shown(name)}" if errno in (_ENOENT, _ENOTDIR) else ""
            raise _not_found(name, what, errno)
        return [name]
    found = []
    for directory in (search or "").split(":") if name else ():
        # An empty element, or a relative one, would run what lies in the working directory: the
        # shells' old trap. Go refuses it too.
        if directory.startswith("/"):
            path = f"{directory.rstrip('/')}/{name}"
            errno = check(path)
            if errno in (0, _UNKNOWN):
                found.append(path)
            if not errno:
                return found
    if not found:
        raise _not_found(name, "executable file not found in $PATH", 0)
    return found


def _not_found(name: str, what: str, errno: int) -> StepError:
    text = f"exec: {quoted(name)}" + (f": {what}" if what else "")
    return StepError("Execv", errno, text, field="process.args[0]")


def _check(path: str) -> int:
    """Say what stands in the way of running a path: an errno, or 0."""
    try:
        mode = posix.stat(path).st_mode
        # Whoever has CAP_DAC_OVERRIDE may run a file that has a run bit at all, as in execve(2).
        allowed = posix.access(path, posix.X_OK, effective_ids=True)
    except OSError as error:
        return error.errno or _EACCES
    regular = mode & 0o170000 == 0o100000
    return 0 if regular and allowed and mode & 0o111 else _EACCES


def check_beneath(root: int, cwd: str) -> "Callable[[str], int]":
    """A `check` for `look_paths` from outside: is there a file that somebody may run?

    Whether this user may, his execve will tell; also where we ourselves may not look: in a
    filesystem that the container has mounted, or below a directory of another user's, if we are not
    root. A relative path is meant from `cwd`.
    """

    def check(path: str) -> int:
        try:
            fd = open_in_root(root, path if path.startswith("/") else f"{cwd}/{path}")
        except OSError as error:
            return _UNKNOWN if error.errno == _EACCES else error.errno or _EACCES
        mode = posix.fstat(fd).st_mode
        posix.close(fd)
        regular = mode & 0o170000 == 0o100000
        return 0 if regular and mode & 0o111 else _EACCES

    return check
