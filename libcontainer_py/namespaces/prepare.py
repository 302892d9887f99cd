"""What a first process and a second one need alike, found out before either is cloned."""

import fcntl
import posix

from libcontainer_py.errors import ConfigError, Error
from libcontainer_py.state import status_field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.namespaces.console import Console
    from libcontainer_py.namespaces.finalize import ProcessConfig
    from libcontainer_py.security.seccomp import Filter


def refuse_closed(name: str, fd: int) -> None:
    """Refuse to pass on a descriptor that is not open.

    Else a file of ours would get the number, and be passed on as it.

    Raises:
        Error: it is closed
    """
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        raise Error(f"{name}: descriptor {fd} is not open") from None


def open_console(
    process: "dict[str, Any]", console_socket: "str | None", *, detach: bool
) -> "Console | None":
    """Connect to who takes the terminal, where there is to be one.

    Raises:
        ConfigError: nobody would take it, or there is nothing to be taken
        StepError: nobody listens on the console socket
    """
    if not process.get("terminal") and console_socket is None:
        return None
    from libcontainer_py.namespaces import console

    console.check(process, console_socket, detach=detach)
    return console.Console(console_socket, process.get("consoleSize") or {})


def compile_filter(linux: "dict[str, Any]", root: str) -> "Filter | None":
    """Compile ``linux.seccomp``, or take what is kept of it below the root of the state."""
    profile = linux.get("seccomp")
    if not profile:
        return None
    from libcontainer_py.security import seccomp

    # An id has no space in it: no container can have this directory.
    return seccomp.compile_filter(profile, f"{root}/compiled filters")


def find_agent(
    filter_: "Filter", profile: "dict[str, Any]", bundle: str
) -> "dict[str, str] | None":
    """Where the agent is who answers for a filter, and what he is told; None: nobody is asked.

    Raises:
        ConfigError: the profile does not say where
    """
    if not filter_.notifies():
        return None
    path = profile.get("listenerPath") or ""
    if not path:
        what = "must be set where there is SCMP_ACT_NOTIFY: the agent's socket"
        raise ConfigError(what, "linux.seccomp.listenerPath")
    if path[0] not in "/@":
        path = f"{bundle}/{path}"
    return {"path": path, "metadata": profile.get("listenerMetadata") or ""}


def find_labels(start: "ProcessConfig") -> None:
    """Find out what labels the program of a process is to have, and that they can be asked for.

    Raises:
        ConfigError: the kernel has no such module
    """
    start.profile = start.process.get("apparmorProfile") or ""
    start.label = start.process.get("selinuxLabel") or ""
    start.procfs = -1
    if start.profile:
        from libcontainer_py.security import apparmor

        start.profile = apparmor.find_profile(start.profile)
    if start.label:
        from libcontainer_py.security import selinux

        selinux.check(start.label, "process.selinuxLabel")


def open_procfs(start: "ProcessConfig") -> int:
    """Open the host's procfs, where a label is to be written; else -1.

    Raises:
        StepError: /proc is no procfs
    """
    if not start.profile and not start.label:
        return -1
    from libcontainer_py.security import procattr

    return procattr.open_procfs()


def may_set_groups(pid: int) -> bool:
    """Tell whether setgroups(2) is allowed in a process's user namespace (user_namespaces(7))."""
    fd = posix.open(f"/proc/{pid}/setgroups", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 16).strip() != b"deny"
    finally:
        posix.close(fd)


def ignored_signals() -> int:
    """What this process ignores, whoever told it to: `SigIgn` of proc(5)."""
    return int(status_field("self", "SigIgn"), 16)
