"""The AppArmor profile of the container's program: process.apparmorProfile, see apparmor(7).

It is set for the next execve, as aa_change_onexec(3) does, which is the program's.
"""

import posix

from libcontainer_py.errors import ConfigError, quoted
from libcontainer_py.linux.flags import RESOLVE_BENEATH
from libcontainer_py.linux.syscalls import openat2
from libcontainer_py.security import procattr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer_py.namespaces.finish import Calls

_FIELD = "process.apparmorProfile"
_ENABLED = "/sys/module/apparmor/parameters/enabled"
_UNCONFINED = "unconfined"
_COMMAND = "exec "
_ENOENT = 2


def is_enabled() -> bool:
    """Does the kernel have AppArmor, and is it switched on?"""
    try:
        fd = posix.open(_ENABLED, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return False
    try:
        return posix.read(fd, 1) == b"Y"
    finally:
        posix.close(fd)


def find_profile(profile: str) -> str:
    """Prove that a profile can be asked for; returns what to ask for, "" for nothing.

    Raises:
        ConfigError: the kernel has no AppArmor, or would take the name for another one
    """
    if not is_enabled():
        # There everything is unconfined already; anything else would be a promise that is not kept.
        if profile == _UNCONFINED:
            return ""
        raise ConfigError("apparmor: config provided but apparmor not supported", _FIELD)
    size = len((_COMMAND + profile).encode("utf-8", "surrogateescape"))
    # The kernel ends the name at a NUL, strips what is around it, and has a limit.
    if "\0" in profile or profile != profile.strip() or size >= procattr.SIZE_MAX:
        raise ConfigError(f"{quoted(profile)} is not a profile's name", _FIELD)
    return profile


def apply_profile(calls: "Calls", procfs: int, profile: str) -> None:
    """Have the next execve change to a profile. `ApplyProfile`.

    Args:
        procfs: from `procattr.open_procfs`
        profile: from `find_profile`, and not empty
    """
    calls.at("ApplyProfile", _FIELD, quoted(profile))
    procattr.write_attr(calls, procfs, _attribute(procfs), _COMMAND + profile)


def hint(errno: int) -> "str | None":
    """What to do where `apply_profile` was refused."""
    if errno == _ENOENT:
        return "it is not loaded: apparmor_parser -r FILE"
    return None


def _attribute(procfs: int) -> str:
    """AppArmor's own file, or the one that all modules shared before Linux 5.8."""
    try:
        flags = posix.O_PATH | posix.O_CLOEXEC
        posix.close(openat2(procfs, "thread-self/attr/apparmor/exec", flags, 0, RESOLVE_BENEATH))
    except FileNotFoundError:
        return "exec"
    return "apparmor/exec"
