"""One small function a system call: those that `os` lacks and a container needs.

Each raises OSError with the errno, and with the path where there is one, and is otherwise what its
manual page says. Paths are str or bytes; descriptors are ints.

The core of ctypes, `_ctypes`, is used directly: `import ctypes` itself runs `struct`, two dozen
class definitions and a few dlopens, 2 to 3 ms on a path where a millisecond counts.
"""

import _struct as struct
import posix

from libcontainer_py.errors import words
from libcontainer_py.linux.flags import (
    AT_FDCWD,
    CLONE_PIDFD,
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FD,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    KEYCTL_JOIN_SESSION_KEYRING,
    LINUX_CAPABILITY_VERSION_3,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    PR_CAPBSET_READ,
    SECCOMP_SET_MODE_FILTER,
    SFD_CLOEXEC,
    STATX_INO,
)
from libcontainer_py.linux.numbers import NR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Path = str | bytes

try:
    import _ctypes

    class _Pointer(_ctypes._SimpleCData):  # type: ignore[type-arg]
        """A machine word: takes int (any sign), bytes (their address), None (0)."""

        _type_ = "P"

    class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "l"

    class _Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "c"

    class _Function(_ctypes.CFuncPtr):
        # FUNCFLAG_PYTHONAPI keeps the interpreter's lock during the call, as ctypes.PyDLL does.
        # A clone made without it can come back in a child whose lock is held by a thread that
        # does not exist there.
        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO | _ctypes.FUNCFLAG_PYTHONAPI
        _restype_ = _Long
        _argtypes_ = (_Pointer,) * 7

    _syscall: "Any" = _Function(_ctypes.dlsym(_ctypes.dlopen(None, 0), "syscall"))  # type: ignore[arg-type]
    _get_errno = _ctypes.get_errno
    _addressof = _ctypes.addressof
except (ImportError, AttributeError):  # another interpreter, or a later _ctypes: the public way
    import ctypes

    _Byte = ctypes.c_char  # type: ignore[misc,assignment]
    _library = ctypes.PyDLL(None, use_errno=True)
    _syscall = _library.syscall
    _syscall.restype = ctypes.c_long
    _syscall.argtypes = (ctypes.c_void_p,) * 7
    _get_errno = ctypes.get_errno
    _addressof = ctypes.addressof


def syscall(name: str, *args: "int | bytes | None", path: "Path | None" = None) -> int:
    """Make one system call by its name; missing arguments are 0.

    Raises:
        OSError: with the errno, and `path` as its filename
    """
    result: int = _syscall(NR[name], *args, *(0,) * (6 - len(args)))
    if result == -1:
        errno = _get_errno()
        if path is None:
            raise OSError(errno, words(errno))
        raise OSError(errno, words(errno), path)
    return result


def _encode(path: "Path | None") -> "bytes | None":
    # UTF-8 whatever the locale says: config.json is UTF-8, and so must be what is made of it.
    if path is None or isinstance(path, bytes):
        return path
    data = path.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise OSError(22, "a NUL byte in a path", path)
    return data


def buffer(size: int) -> "tuple[bytearray, int, Any]":
    """Get memory that the kernel can write to: (bytearray, its address, what keeps it there)."""
    data = bytearray(size)
    # Of its first byte: for an array of the size, a type of its own would have to be made.
    view = _Byte.from_buffer(data)
    return data, _addressof(view), view


# ── mounts ──────────────────────────────────────────────────────────────────────────────────────


def mount(
    source: "Path | None",
    target: "Path",
    fstype: "Path | None" = None,
    flags: int = 0,
    data: "Path | None" = None,
) -> None:
    """mount(2)."""
    syscall(
        "mount",
        _encode(source),
        _encode(target),
        _encode(fstype),
        flags,
        _encode(data),
        path=target,
    )


def umount2(target: "Path", flags: int = 0) -> None:
    """umount2(2)."""
    syscall("umount2", _encode(target), flags, path=target)


def pivot_root(new_root: "Path", put_old: "Path") -> None:
    """pivot_root(2)."""
    syscall("pivot_root", _encode(new_root), _encode(put_old), path=new_root)


def open_tree(dirfd: int, path: "Path", flags: int) -> int:
    """open_tree(2): a descriptor of a mount, or with OPEN_TREE_CLONE of a detached copy."""
    return syscall("open_tree", dirfd, _encode(path), flags, path=path)


def move_mount(
    from_dirfd: int, from_path: "Path", to_dirfd: int, to_path: "Path", flags: int
) -> None:
    """move_mount(2)."""
    syscall(
        "move_mount",
        from_dirfd,
        _encode(from_path),
        to_dirfd,
        _encode(to_path),
        flags,
        path=to_path or from_path,
    )


def mount_setattr(
    dirfd: int,
    path: "Path",
    flags: int,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """mount_setattr(2)."""
    attributes = struct.pack("QQQQ", attr_set, attr_clr, propagation, userns_fd)
    syscall("mount_setattr", dirfd, _encode(path), flags, attributes, len(attributes), path=path)


def fsopen(fstype: str, flags: int) -> int:
    """fsopen(2)."""
    return syscall("fsopen", _encode(fstype), flags, path=fstype)


def fsconfig_set_string(fd: int, key: str, value: str) -> None:
    """fsconfig(2), FSCONFIG_SET_STRING."""
    syscall("fsconfig", fd, FSCONFIG_SET_STRING, _encode(key), _encode(value), path=key)


def fsconfig_set_flag(fd: int, key: str) -> None:
    """fsconfig(2), FSCONFIG_SET_FLAG."""
    syscall("fsconfig", fd, FSCONFIG_SET_FLAG, _encode(key), path=key)


def fsconfig_set_fd(fd: int, key: str, value: int) -> None:
    """fsconfig(2), FSCONFIG_SET_FD."""
    syscall("fsconfig", fd, FSCONFIG_SET_FD, _encode(key), 0, value, path=key)


def fsconfig_create(fd: int) -> None:
    """fsconfig(2), FSCONFIG_CMD_CREATE."""
    syscall("fsconfig", fd, FSCONFIG_CMD_CREATE)


def fsmount(fd: int, flags: int, attr_flags: int) -> int:
    """fsmount(2): a descriptor of the new, detached mount."""
    return syscall("fsmount", fd, flags, attr_flags)


# ── files ───────────────────────────────────────────────────────────────────────────────────────


def openat2(dirfd: int, path: "Path", flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2)."""
    how = struct.pack("QQQ", flags, mode, resolve)
    # EAGAIN: a rename or a mount somewhere raced a `..` of the path; the manual says: try again.
    for attempt in range(128):
        try:
            return syscall("openat2", dirfd, _encode(path), how, len(how), path=path)
        except OSError as error:
            if error.errno != 11 or attempt == 127:
                raise
    raise AssertionError("unreachable")


def statx(path: "Path", flags: int) -> "tuple[int, int]":
    """statx(2): (st_dev, st_ino) of a file."""
    data, address, _view = buffer(256)
    syscall("statx", AT_FDCWD, _encode(path), flags, STATX_INO, address, path=path)
    (inode,) = struct.unpack_from("Q", data, 32)
    return posix.makedev(*struct.unpack_from("II", data, 136)), inode


def fstatfs(fd: int) -> "tuple[int, int]":
    """fstatfs(2): (f_type, f_flags) of the file system that a descriptor is on."""
    data, address, _view = buffer(120)
    syscall("fstatfs", fd, address)
    return int.from_bytes(data[0:8], "little"), int.from_bytes(data[80:88], "little")


def close_range(first: int, last: int = 0xFFFFFFFF, flags: int = 0) -> None:
    """close_range(2)."""
    syscall("close_range", first, last, flags)


def inotify_init1(flags: int) -> int:
    """inotify_init1(2)."""
    return syscall("inotify_init1", flags)


def inotify_add_watch(fd: int, path: "Path", mask: int) -> int:
    """inotify_add_watch(2)."""
    return syscall("inotify_add_watch", fd, _encode(path), mask, path=path)


# ── processes and namespaces ────────────────────────────────────────────────────────────────────


def clone3(flags: int, exit_signal: int, cgroup: int = 0) -> "tuple[int, int]":
    """clone3(2) without a stack of its own, so: fork(2) with namespaces.

    Returns (pid, pidfd) in the parent, (0, -1) in the child. Read DESIGN's «a raw clone is not
    os.fork» before calling it: one thread only, signals blocked, collection off.
    """
    data, address, _view = buffer(8)
    args = struct.pack(
        "11Q", flags | CLONE_PIDFD, address, 0, 0, exit_signal, 0, 0, 0, 0, 0, cgroup
    )
    pid = syscall("clone3", args, len(args))
    if pid == 0:
        return 0, -1
    return pid, int.from_bytes(data[:4], "little")


def unshare(flags: int) -> None:
    """unshare(2)."""
    syscall("unshare", flags)


def setns(fd: int, nstype: int) -> None:
    """setns(2)."""
    syscall("setns", fd, nstype)


def signalfd(signals: "set[int]") -> int:
    """signalfd(2): a descriptor to read these signals from; they must be blocked."""
    mask = sum(1 << (number - 1) for number in signals)
    return syscall("signalfd4", -1, struct.pack("Q", mask), 8, SFD_CLOEXEC)


def pidfd_getfd(pidfd: int, targetfd: int) -> int:
    """pidfd_getfd(2)."""
    return syscall("pidfd_getfd", pidfd, targetfd, 0)


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """prctl(2), for the options that take numbers."""
    return syscall("prctl", option, arg2, arg3, arg4, arg5)


def prlimit(pid: int, resource: int, soft: int, hard: int) -> None:
    """prlimit(2): set one limit of a process; numbers are unsigned 64-bit, RLIM_INFINITY 2^64-1."""
    syscall("prlimit64", pid, resource, struct.pack("QQ", soft, hard), 0)


def sched_setaffinity(pid: int, mask: bytes) -> None:
    """sched_setaffinity(2); `mask` is whole words of 64 bits."""
    syscall("sched_setaffinity", pid, len(mask), mask)


def sched_setattr(pid: int, attr: bytes) -> None:
    """sched_setattr(2); `attr` is a struct sched_attr."""
    syscall("sched_setattr", pid, attr, 0)


def ioprio_set(which: int, who: int, ioprio: int) -> None:
    """ioprio_set(2)."""
    syscall("ioprio_set", which, who, ioprio)


def set_mempolicy(mode: int, nodes: bytes) -> None:
    """set_mempolicy(2); `nodes` is a mask of whole words of 64 bits, or empty."""
    syscall("set_mempolicy", mode, nodes or None, bits_of(nodes))


def bits_of(nodes: bytes) -> int:
    """Say how many bits such a mask has: the kernel takes one from the number before it reads."""
    return 8 * len(nodes) + 1


def prlimit_get(pid: int, resource: int) -> "tuple[int, int]":
    """prlimit(2): get (soft, hard) of a process."""
    data, address, _view = buffer(16)
    syscall("prlimit64", pid, resource, 0, address)
    soft, hard = struct.unpack("QQ", data)
    return soft, hard


def sethostname(name: str) -> None:
    """sethostname(2)."""
    data = _encode(name) or b""
    syscall("sethostname", data, len(data))


def setdomainname(name: str) -> None:
    """setdomainname(2)."""
    data = _encode(name) or b""
    syscall("setdomainname", data, len(data))


def personality(persona: int) -> int:
    """personality(2)."""
    return syscall("personality", persona)


def execveat(
    dirfd: int, path: "Path", argv: "list[bytes]", envp: "list[bytes]", flags: int
) -> None:
    """execveat(2). Returns only by raising."""

    def pointers(strings: "list[bytes]") -> bytes:
        # Bytes objects are NUL-terminated in memory; `keep` holds them until the call is over.
        views = [buffer(len(text) + 1) for text in strings]
        for (data, _address, _view), text in zip(views, strings, strict=True):
            data[: len(text)] = text
        keep.append(views)
        return struct.pack(f"{len(views) + 1}Q", *(view[1] for view in views), 0)

    keep: list[object] = []
    syscall("execveat", dirfd, _encode(path), pointers(argv), pointers(envp), flags, path=path)


# ── credentials ─────────────────────────────────────────────────────────────────────────────────


def setgroups(gids: "list[int]") -> None:
    """setgroups(2)."""
    syscall("setgroups", len(gids), struct.pack(f"{len(gids)}I", *gids))


def setresgid(rgid: int, egid: int, sgid: int) -> None:
    """setresgid(2)."""
    syscall("setresgid", rgid, egid, sgid)


def setresuid(ruid: int, euid: int, suid: int) -> None:
    """setresuid(2)."""
    syscall("setresuid", ruid, euid, suid)


def setfsuid(uid: int) -> int:
    """setfsuid(2): returns the previous one, and reports no errors."""
    return syscall("setfsuid", uid)


def setfsgid(gid: int) -> int:
    """setfsgid(2): returns the previous one, and reports no errors."""
    return syscall("setfsgid", gid)


def capget(pid: int = 0) -> "tuple[int, int, int]":
    """capget(2): the (effective, permitted, inheritable) sets as bit masks."""
    data, address, _view = buffer(24)
    syscall("capget", struct.pack("Ii", LINUX_CAPABILITY_VERSION_3, pid), address)
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("6I", data)
    return low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2), of the calling thread."""
    syscall("capset", *capset_structs(effective, permitted, inheritable))


def capset_structs(effective: int, permitted: int, inheritable: int) -> "tuple[bytes, bytes]":
    """Pack the two structures of capset(2): header and data."""
    low = 0xFFFFFFFF
    return struct.pack("Ii", LINUX_CAPABILITY_VERSION_3, 0), struct.pack(
        "6I",
        effective & low,
        permitted & low,
        inheritable & low,
        effective >> 32,
        permitted >> 32,
        inheritable >> 32,
    )


def capbset_read(capability: int) -> bool:
    """prctl(2), PR_CAPBSET_READ: is it in the bounding set?"""
    return prctl(PR_CAPBSET_READ, capability) == 1


def capbset_drop(capability: int) -> None:
    """prctl(2), PR_CAPBSET_DROP."""
    prctl(PR_CAPBSET_DROP, capability)


def cap_ambient_clear_all() -> None:
    """prctl(2), PR_CAP_AMBIENT_CLEAR_ALL."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)


def cap_ambient_raise(capability: int) -> None:
    """prctl(2), PR_CAP_AMBIENT_RAISE."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def seccomp_set_mode_filter(flags: int, instructions: bytes) -> None:
    """seccomp(2), SECCOMP_SET_MODE_FILTER; `instructions` is an array of struct sock_filter."""
    data, address, _view = buffer(len(instructions))
    data[:] = instructions
    program = struct.pack("HP", len(instructions) // 8, address)
    syscall("seccomp", SECCOMP_SET_MODE_FILTER, flags, program)


def seccomp_has_flags(flags: int) -> bool:
    """Tell whether the kernel has flags of SECCOMP_SET_MODE_FILTER, in this combination.

    It looks at them before it looks for the filter, which is not there.
    """
    try:
        syscall("seccomp", SECCOMP_SET_MODE_FILTER, flags, 0)
    except OSError as error:
        return error.errno == 14  # EFAULT
    return False


def keyctl_join_session_keyring(name: str) -> int:
    """keyctl(2), KEYCTL_JOIN_SESSION_KEYRING: returns the keyring's serial number."""
    return syscall("keyctl", KEYCTL_JOIN_SESSION_KEYRING, _encode(name))


def keyctl(operation: int, arg2: int, arg3: int = 0) -> int:
    """keyctl(2), for the operations that take numbers."""
    return syscall("keyctl", operation, arg2, arg3)


CWD = AT_FDCWD
