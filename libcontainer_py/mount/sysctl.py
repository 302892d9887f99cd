"""`linux.sysctl`: kernel parameters of the container's namespaces, written to its own procfs."""

import posix

from libcontainer_py.errors import ConfigError, StepError, quoted
from libcontainer_py.linux.flags import (
    PROC_SUPER_MAGIC,
    RESOLVE_BENEATH,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
)
from libcontainer_py.linux.syscalls import CWD, fstatfs, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# fs/proc/root.c: the top of every procfs has this inode, and nothing else in it has.
_PROC_ROOT_INO = 1

_STAY = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV


def write_sysctls(sysctls: "Mapping[str, str]") -> None:
    """Write each value to its file below the container's /proc/sys; runs inside the root.

    The file is proved to be the one meant (CVE-2025-52881): /proc is the top of a procfs, and the
    way down from there crosses no symbolic link and no other mount.

    Raises:
        ConfigError, StepError: with the field ``linux.sysctl["net.ipv4.ip_forward"]``
    """
    if not sysctls:
        return
    proc = _open_proc()
    try:
        for key, value in sysctls.items():
            field = f"linux.sysctl[{quoted(key)}]"
            try:
                _write(proc, _path(key, field), value)
            except OSError as error:
                raise StepError(
                    None, error.errno or 0, f"write {quoted(value)}", field=field
                ) from None
    finally:
        posix.close(proc)


def _open_proc() -> int:
    try:
        proc = openat2(
            CWD, "/proc", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC, 0, RESOLVE_NO_SYMLINKS
        )
    except OSError as error:
        raise StepError(None, error.errno or 0, "open /proc", field="linux.sysctl") from None
    if fstatfs(proc)[0] != PROC_SUPER_MAGIC or posix.fstat(proc).st_ino != _PROC_ROOT_INO:
        posix.close(proc)
        raise ConfigError("needs proc to be mounted on /proc", "linux.sysctl")
    return proc


def _path(key: str, field: str) -> str:
    """The file of a parameter. sysctl.d(5): of dots and slashes, the one that comes first separates
    names, and the other one stands for a dot inside a name (an interface ``eth0.1``).
    """
    first = next((char for char in key if char in "./"), "")
    names = key.split("/") if first == "/" else [n.replace("/", ".") for n in key.split(".")]
    if "\0" in key or not {"", ".", ".."}.isdisjoint(names):
        raise ConfigError("not the name of a kernel parameter", field)
    return "sys/" + "/".join(names)


def _write(proc: int, path: str, value: str) -> None:
    fd = openat2(proc, path, posix.O_WRONLY | posix.O_TRUNC | posix.O_CLOEXEC, 0, _STAY)
    try:
        posix.write(fd, value.encode("utf-8", "surrogateescape"))
    finally:
        posix.close(fd)
