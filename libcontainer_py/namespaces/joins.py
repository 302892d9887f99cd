"""Namespaces that exist already: found and proved by the parent, before there is a child."""

import fcntl
import posix

from libcontainer_py.errors import ConfigError, StepError, quoted
from libcontainer_py.linux.flags import CLONE_NEWPID, CLONE_NEWUSER, NS_GET_NSTYPE, NSFS_MAGIC
from libcontainer_py.linux.syscalls import fstatfs
from libcontainer_py.namespaces.kinds import NAMESPACES, kind_of, ns_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Join:
    """One namespace to join.

    Attributes:
        flag: its kind, as CLONE_NEW…
        fd: a descriptor of it; close-on-exec, but a clone inherits it
        field: the place in config.json that named it
    """

    __slots__ = ("fd", "field", "flag")

    def __init__(self, flag: int, fd: int, field: str) -> None:
        self.flag, self.fd, self.field = flag, fd, field


def open_namespaces(namespaces: "list[dict[str, Any]]") -> "list[Join]":
    """Open every namespace of ``linux.namespaces`` that has a path.

    A user or pid namespace that is ours already is left out: there is nothing to join, and the
    kernel refuses to join the former again (setns(2)).

    Raises:
        StepError: a path can't be opened
        ConfigError: it is no namespace, or one of another kind
    """
    joins: list[Join] = []
    try:
        for index, namespace in enumerate(namespaces):
            path = namespace.get("path")
            if not path:
                continue
            flag = NAMESPACES[namespace["type"]]
            field = f"linux.namespaces[{index}].path"
            join = Join(flag, _open(path, flag, field), field)
            if flag & (CLONE_NEWUSER | CLONE_NEWPID) and _is_ours(join.fd, namespace["type"]):
                posix.close(join.fd)
            else:
                joins.append(join)
    except BaseException:
        close(joins)
        raise
    return joins


def close(joins: "list[Join]") -> None:
    """Close the descriptors."""
    for join in joins:
        posix.close(join.fd)
    joins.clear()


def _open(path: str, flag: int, field: str) -> int:
    wanted = kind_of(flag)
    try:
        # By O_PATH first: whatever else it may be, a FIFO or a device, is not opened to find out.
        named = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
        try:
            if fstatfs(named)[0] != NSFS_MAGIC:
                raise ConfigError(f"{quoted(path)} is not a namespace", field)
            fd = posix.open(f"/proc/self/fd/{named}", posix.O_RDONLY | posix.O_CLOEXEC)
        finally:
            posix.close(named)
    except OSError as error:
        raise StepError(
            "joinNamespaces", error.errno or 0, f"open {quoted(path)}", field=field
        ) from None
    kind = fcntl.ioctl(fd, NS_GET_NSTYPE)
    if kind != flag:
        posix.close(fd)
        what = f"{quoted(path)} is a namespace of kind {kind_of(kind)}, not {wanted}"
        raise ConfigError(what, field)
    return fd


def _is_ours(fd: int, kind: str) -> bool:
    ours = posix.stat(f"/proc/self/ns/{ns_file(kind)}")
    status = posix.fstat(fd)
    return (status.st_dev, status.st_ino) == (ours.st_dev, ours.st_ino)
