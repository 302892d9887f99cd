"""passwd(5) and group(5), opened beneath a root and parsed within bounds.

The files belong to the image's author. So they may be anything but must not cost us anything: they
are read from descriptors of proven regular files, up to `LIMIT` bytes, and a line that is not
well-formed is no line at all.

libcontainer's parser is more lenient: a uid that is no number, or is missing, reads as 0 there,
which makes a damaged line into another root. Here such a line is skipped.
"""

import posix
import stat

from libcontainer_py.errors import StepError, quoted
from libcontainer_py.linux.flags import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
from libcontainer_py.linux.syscalls import openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# About 60,000 users. A process pays for reading this much before it starts, and no more.
LIMIT = 4 << 20

# (uid_t)-1 means "leave it as it is" to setresuid(2), and runtimes before us kept to 31 bits.
MAX_ID = 2**31 - 1

_ENOENT, _EISDIR, _ENOTDIR, _EINVAL, _EFBIG = 2, 21, 20, 22, 27

_NULL = posix.makedev(1, 3)


class User:
    """One line of passwd(5), as far as it matters here."""

    __slots__ = ("gid", "home", "name", "uid")

    def __init__(self, name: bytes, uid: int, gid: int, home: bytes) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid
        self.home = home


class Group:
    """One line of group(5), as far as it matters here."""

    __slots__ = ("gid", "members", "name")

    def __init__(self, name: bytes, gid: int, members: "list[bytes]") -> None:
        self.name = name
        self.gid = gid
        self.members = members


def open_beneath(root_fd: int, path: str) -> "int | None":
    """Open a regular file of a root filesystem for reading.

    Symbolic links are followed as the container would see them, so they can't leave the root.

    Returns:
        the descriptor (closed on exec), or None if there is no such file, or it is masked: the null
        device is there

    Raises:
        StepError: it is no regular file (a FIFO would block, a device may act on being opened),
            or it can't be opened
    """
    # The first descriptor only names the file, which no device notices. Between the two opens the
    # file can be exchanged, so the second is looked at as well.
    for flags in (posix.O_PATH, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY):
        try:
            fd = openat2(
                root_fd,
                path,
                flags | posix.O_CLOEXEC,
                resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
            )
        except OSError as error:
            if error.errno in (_ENOENT, _ENOTDIR):
                return None
            raise _unreadable(path, error.errno or 0) from None
        status = posix.fstat(fd)
        mode = status.st_mode
        if not stat.S_ISREG(mode):
            posix.close(fd)
            if stat.S_ISCHR(mode) and status.st_rdev == _NULL:
                return None
            errno = _EISDIR if stat.S_ISDIR(mode) else _EINVAL
            raise _unreadable(path, errno, "only a regular file is read")
        if flags == posix.O_PATH:
            posix.close(fd)
    return fd


def _unreadable(path: str, errno: int, hint: "str | None" = None) -> StepError:
    return StepError(None, errno, f"open {quoted(path)} of the root filesystem", hint=hint)


def users(fd: "int | None") -> "Iterator[User]":
    """Give the well-formed lines of a passwd file in their order (None: there is no file).

    Raises:
        StepError: the file is larger than `LIMIT`
    """
    for fields in _lines(fd, "passwd"):
        if len(fields) < 4:
            continue
        uid, gid = number(fields[2]), number(fields[3])
        if uid is not None and gid is not None:
            yield User(fields[0], uid, gid, fields[5] if len(fields) > 5 else b"")


def groups(fd: "int | None") -> "Iterator[Group]":
    """Give the well-formed lines of a group file in their order (None: there is no file).

    Raises:
        StepError: the file is larger than `LIMIT`
    """
    for fields in _lines(fd, "group"):
        if len(fields) < 3:
            continue
        gid = number(fields[2])
        if gid is not None:
            yield Group(fields[0], gid, fields[3].split(b",") if len(fields) > 3 else [])


def home_of(uid: int, passwd_fd: "int | None") -> str:
    """Look up a user's home directory; ``/`` where the passwd file names none.

    Raises:
        StepError: the file is larger than `LIMIT`
    """
    for user in users(passwd_fd):
        if user.uid == uid:
            return decode(user.home) or "/"
    return "/"


def home_in_root(root_fd: int, uid: int) -> str:
    """Look up a user's home directory in the ``/etc/passwd`` of a root filesystem.

    Raises:
        StepError: that is no regular file, or larger than `LIMIT`
    """
    fd = open_beneath(root_fd, "/etc/passwd")
    try:
        return home_of(uid, fd)
    finally:
        if fd is not None:
            posix.close(fd)


def decode(data: bytes) -> str:
    """Make text of a file's bytes, so that writing it as a path gives the same bytes again."""
    return data.decode("utf-8", "surrogateescape")


def number(text: bytes) -> "int | None":
    """Read a uid or gid: decimal digits alone, from 0 to `MAX_ID`; None if it is anything else."""
    if not text.isdigit():
        return None
    # int() takes its time over very long numbers.
    digits = text.lstrip(b"0") or b"0"
    if len(digits) > 10:
        return None
    value = int(digits)
    return value if value <= MAX_ID else None


def _lines(fd: "int | None", what: str) -> "Iterator[list[bytes]]":
    if fd is None:
        return
    for untrimmed in _read(fd, what).split(b"\n"):
        line = untrimmed.strip()
        # "+" and "-" begin the lines that ask NIS; a NUL would cut a home directory short.
        if not line or line[0] in b"#+-:" or b"\0" in line:
            continue
        yield line.split(b":")


def _pread(fd: int, offset: int, what: str) -> bytes:
    try:
        return posix.pread(fd, 65536, offset)
    except OSError as error:
        # A regular file of procfs can have nothing to read yet, as /proc/kmsg.
        raise StepError(None, error.errno or 0, f"read the {what} file") from None


def _read(fd: int, what: str) -> bytes:
    # pread: the same descriptor serves several look-ups. The size that a file claims would be no
    # bound: it may grow meanwhile, and procfs claims 0.
    chunks: list[bytes] = []
    total = 0
    while chunk := _pread(fd, total, what):
        chunks.append(chunk)
        total += len(chunk)
        if total > LIMIT:
            hint = f"it is larger than {LIMIT >> 20} MiB"
            raise StepError(None, _EFBIG, f"read the {what} file", hint=hint)
    return b"".join(chunks)
