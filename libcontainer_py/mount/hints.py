"""What to do about a mount that the kernel refused: mostly what a user namespace may not mount."""

import errno
import posix

from libcontainer_py.linux.syscalls import CWD, openat2

# user_namespaces(7): the namespace that a filesystem shows must belong to the user namespace.
_EPERM = {
    "cgroup": "in a user namespace it needs a cgroup namespace of its own",
    "cgroup2": "in a user namespace it needs a cgroup namespace of its own",
    "mqueue": "in a user namespace it needs an ipc namespace of its own",
    "proc": "in a user namespace it needs a pid namespace of its own, and a /proc around it of "
    "which nothing is covered",
    "sysfs": "in a user namespace it needs a network namespace of its own: bind /sys instead",
}
_EPERM_ELSE = "in a user namespace few types can be mounted"

_MAPS = {"uid": "uid_map", "gid": "gid_map"}


def refused(fstype: str, number: int) -> "str | None":
    """Say why a filesystem of a type may be refused in a user namespace, by the errno."""
    return _EPERM.get(fstype, _EPERM_ELSE) if number == errno.EPERM else None


def unmapped(key: str, value: "str | None") -> "str | None":
    """Tell that an option's uid or gid has no mapping in our user namespace; None if it has one.

    The kernel says no more than EINVAL, and for some filesystems not even which option it was.
    """
    if key not in _MAPS or value is None or not value.isdecimal():
        return None
    if _is_mapped(int(value), _MAPS[key]):
        return None
    return f"{key} {value} is not mapped in the user namespace"


def _is_mapped(number: int, name: str) -> bool:
    # The host's /proc, which is still there, and our own entry in it.
    try:
        fd = openat2(CWD, f"/proc/self/{name}", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return True
    try:
        text = posix.read(fd, 65536)
    finally:
        posix.close(fd)
    for line in text.splitlines():
        first, _outside, size = map(int, line.split())
        if first <= number < first + size:
            return True
    return False
