"""SELinux: process.selinuxLabel and linux.mountLabel.

A label is written as the kernel takes it; what it is worth, the host's policy says.
"""

import posix

from libcontainer_py.errors import ConfigError, quoted
from libcontainer_py.linux.flags import SELINUX_MAGIC, ST_RDONLY
from libcontainer_py.linux.syscalls import fstatfs
from libcontainer_py.security import procattr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer_py.namespaces.finish import Calls

_SELINUXFS = "/sys/fs/selinux"


def is_enabled() -> bool:
    """Does the kernel have SELinux, and is it ours to use?

    A selinuxfs that is read-only says to a container that it is not.
    """
    try:
        fd = posix.open(_SELINUXFS, posix.O_PATH | posix.O_CLOEXEC)
    except OSError:
        return False
    try:
        kind, flags = fstatfs(fd)
    finally:
        posix.close(fd)
    return kind == SELINUX_MAGIC and not flags & ST_RDONLY and _current() != b"kernel"


def _current() -> bytes:
    """Our own label; "kernel", which all have before a policy is loaded, where there is none."""
    try:
        fd = posix.open("/proc/thread-self/attr/current", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b"kernel"
    try:
        return posix.read(fd, procattr.SIZE_MAX).rstrip(b"\0\n")
    except OSError:
        return b"kernel"
    finally:
        posix.close(fd)


def check(label: str, field: str) -> None:
    """Prove that a label can be asked for.

    Raises:
        ConfigError: the kernel has no SELinux, or would take the label for another one
    """
    if not is_enabled():
        what = "selinux label is specified in config, but selinux is disabled or not supported"
        raise ConfigError(what, field)
    size = len(label.encode("utf-8", "surrogateescape"))
    # The kernel ends it at a NUL, strips newlines and, of a mount's, quotation marks; and has a
    # limit.
    if any(mark in label for mark in '\0\n"') or size >= procattr.SIZE_MAX:
        raise ConfigError(f"{quoted(label)} is not a label", field)


def set_exec_label(calls: "Calls", procfs: int, label: str) -> None:
    """Have the next execve change to a label. `SetExecLabel`.

    Args:
        procfs: from `procattr.open_procfs`
    """
    calls.at("SetExecLabel", "process.selinuxLabel", quoted(label))
    procattr.write_attr(calls, procfs, "exec", label)


def set_key_label(calls: "Calls", procfs: int, label: str) -> None:
    """Give what keys the calling process makes a label, until its next execve. `SetKeyLabel`.

    Args:
        procfs: from `procattr.open_procfs`
    """
    calls.at("SetKeyLabel", "process.selinuxLabel", quoted(label))
    procattr.write_attr(calls, procfs, "keycreate", label)
