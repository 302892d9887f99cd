"""Pick the driver that fits the host, and find where a container's cgroups are."""

import posix

from libcontainer_py.cgroups.disabled import Disabled
from libcontainer_py.cgroups.hierarchies import HYBRID, SUBSYSTEMS, UNIFIED, Hierarchy, mounted
from libcontainer_py.cgroups.interface import Cgroups
from libcontainer_py.cgroups.v1 import V1
from libcontainer_py.errors import ConfigError, Error, StepError, quoted

__all__ = ["Cgroups", "load", "manager"]

from libcontainer_py.linux.pathnames import clean, dirname

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FIELD = "linux.cgroupsPath"
_EACCES = 13


def manager(cgroups_path: "str | None", container_id: str) -> Cgroups:
    """Choose the driver, and compute the paths as runc's does. Nothing is made yet.

    An absolute ``cgroupsPath`` is below each hierarchy's mount point; a relative one is below the
    cgroup that the caller is in; without one, it is the container's id, as if relative. On a
    hybrid host the unified hierarchy takes all of them below its mount point.

    Raises:
        ConfigError: the path has ``..`` in it, or control characters
        StepError: `cgroups_path` is given but the caller may not write there
        Error: the host has cgroup v2 alone
    """
    inner = _checked(cgroups_path or container_id)
    hierarchies = mounted()
    if not any(name in SUBSYSTEMS[:-1] for h in hierarchies for name in h.subsystems):
        if any(UNIFIED in h.subsystems for h in hierarchies):
            raise Error("cgroups: this host has cgroup v2 alone, and cgroup v2 is not built yet")
        return Disabled("this host has no cgroup controllers mounted")

    places = {
        name: (_path(hierarchy, inner), hierarchy)
        for hierarchy in hierarchies
        for name in hierarchy.subsystems
        if name in SUBSYSTEMS or hierarchy.mountpoint == HYBRID
    }
    ordered = [name for name in (*SUBSYSTEMS, UNIFIED) if name in places]
    refused = next((places[name][0] for name in ordered if not _writable(places, name)), None)
    if refused is not None:
        if cgroups_path:
            raise StepError(
                None, _EACCES, f"write to the parents of the cgroup {refused}", field=_FIELD
            )
        return Disabled("this user may not make any here")
    return V1(
        {name: places[name][0] for name in ordered},
        {",".join(hierarchy.subsystems): hierarchy.mountpoint for hierarchy in hierarchies},
    )


def load(state: "dict[str, Any]") -> Cgroups:
    """Get the cgroups of an existing container from what `Cgroups.state` gave.

    Raises:
        Error: it is no such state
    """
    driver = state.get("driver")
    if driver == "v1":
        return V1(state["paths"], state["hierarchies"])
    if driver == "disabled":
        return Disabled(state["why"])
    raise Error(f"cgroups: the state file names the driver {quoted(str(driver))}, which is unknown")


def _checked(path: str) -> str:
    if ".." in path.split("/"):
        raise ConfigError(f'{quoted(path)}: ".." has no place in a cgroup\'s path', _FIELD)
    if not path.isprintable():
        raise ConfigError(f"{quoted(path)}: it has unprintable characters", _FIELD)
    cleaned = clean(path)
    if cleaned == "/":
        raise ConfigError(f"{quoted(path)}: it names no cgroup of its own", _FIELD)
    return cleaned if path.startswith("/") else cleaned[1:]


def _path(hierarchy: Hierarchy, inner: str) -> str:
    if inner.startswith("/"):
        return hierarchy.mountpoint + "/" + inner.lstrip("/")
    if UNIFIED in hierarchy.subsystems:
        return f"{hierarchy.mountpoint}/{inner}"
    return f"{hierarchy.directory_of(hierarchy.own)}/{inner}"


def _writable(places: "dict[str, tuple[str, Hierarchy]]", name: str) -> bool:
    """Tell whether a cgroup can be made; those that only name the container don't matter."""
    path, hierarchy = places[name]
    if name in (UNIFIED, "name=systemd"):
        return True
    while len(path) > len(hierarchy.mountpoint):
        parent = dirname(path)
        if posix.access(parent, posix.F_OK):
            return posix.access(parent, posix.W_OK)
        path = parent
    return False
