"""Pick the driver that fits the host, and find where a container's cgroups are."""

import posix

from libcontainer_py.cgroups.hierarchies import (
    HYBRID,
    PURE,
    SUBSYSTEMS,
    UNIFIED,
    Hierarchy,
    mounted,
)
from libcontainer_py.cgroups.interface import Cgroups
from libcontainer_py.cgroups.v1 import V1
from libcontainer_py.errors import ConfigError, Error, StepError, quoted
from libcontainer_py.linux.pathnames import clean, dirname

__all__ = ["Cgroups", "load", "manager"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FIELD = "linux.cgroupsPath"
_NOT_HERE = "this user may not make any here"
_EPERM, _EACCES, _EROFS = 1, 13, 30


def manager(
    cgroups_path: "str | None", container_id: str, *, rootless: "bool | None" = None
) -> Cgroups:
    """Choose the driver, and compute the paths as runc's does. Nothing is made yet.

    An absolute ``cgroupsPath`` is below each hierarchy's mount point; a relative one is below the
    cgroup that the caller is in; without one, it is the container's id, as if relative. On a
    hybrid host the unified hierarchy takes all of them below its mount point. Where there is
    cgroup v2 alone, a relative one is beside the cgroup that the caller is in.

    Args:
        rootless: where the caller may not make a cgroup, and none is named, do without: False is
            never, True also without the rules for devices where those would hold root back; None
            is where nothing is lost by it

    Raises:
        ConfigError: the path has ``..`` in it, or control characters
        StepError: the caller may not make it, where it has to be
        Error: the host has cgroup v2 alone, but not where it belongs
    """
    inner = _checked(cgroups_path or container_id)
    hierarchies = mounted()
    for hierarchy in hierarchies:
        if hierarchy.mountpoint == PURE and UNIFIED in hierarchy.subsystems:
            return _unified(hierarchy, inner, bool(cgroups_path), rootless)
    if not any(name in SUBSYSTEMS[:-1] for h in hierarchies for name in h.subsystems):
        if any(UNIFIED in h.subsystems for h in hierarchies):
            raise Error(f"cgroups: this host has cgroup v2 alone, and it is not mounted at {PURE}")
        return _disabled("this host has no cgroup controllers mounted")

    places = {
        name: (_path(hierarchy, inner), hierarchy)
        for hierarchy in hierarchies
        for name in hierarchy.subsystems
        if name in SUBSYSTEMS or hierarchy.mountpoint == HYBRID
    }
    ordered = [name for name in (*SUBSYSTEMS, UNIFIED) if name in places]
    refused = next((places[name][0] for name in ordered if not _writable(places, name)), None)
    if refused is not None:
        return _refused(refused, bool(cgroups_path), rootless)
    mountpoints = {",".join(each.subsystems): each.mountpoint for each in hierarchies}

    def of(beside: str) -> Cgroups:
        return V1({name: places[name][0] + beside for name in ordered}, mountpoints)

    return _tried(of) if rootless and not cgroups_path else of("")


def _unified(hierarchy: Hierarchy, inner: str, given: bool, rootless: "bool | None") -> Cgroups:
    from libcontainer_py.cgroups.v2 import V2

    if inner.startswith("/"):
        path = hierarchy.mountpoint + inner
    else:
        # Not below our own cgroup: it has processes, us, and so can't hand its controllers down.
        own = hierarchy.own
        above = own if own == hierarchy.root else dirname(own)
        path = f"{hierarchy.directory_of(above)}/{inner}"
    if not _parent_is_writable(path, hierarchy.mountpoint):
        return _refused(path, given, rootless)

    def of(beside: str) -> Cgroups:
        return V2({UNIFIED: path + beside}, hierarchy.mountpoint)

    return _tried(of) if rootless and not given else of("")


def _refused(path: str, given: bool, rootless: "bool | None") -> Cgroups:
    """Do without a cgroup that this user may not make, unless the config names it."""
    if given or rootless is False:
        raise StepError(None, _EACCES, f"write to the parents of the cgroup {path}", field=_FIELD)
    return _disabled(_NOT_HERE, devices_too=bool(rootless))


def _tried(of: "Callable[[str], Cgroups]") -> Cgroups:
    """Find out whether this user may make it: a security module says so by its no alone.

    By making others beside it, whose names no container has.
    """
    beside = of(f":{posix.getpid()}")
    try:
        beside.create(None)
        beside.remove()
    except StepError as error:
        if error.errno in (_EPERM, _EACCES, _EROFS):
            return _disabled(_NOT_HERE, devices_too=True)
    return of("")  # what else is wrong its own `create` will say


def _disabled(why: str, *, devices_too: bool = False) -> Cgroups:
    from libcontainer_py.cgroups.disabled import Disabled

    return Disabled(why, devices_too=devices_too)


def by_systemd(
    cgroups_path: "str | None",
    container_id: str,
    annotations: "dict[str, str]",
    *,
    all_properties: bool,
) -> Cgroups:
    """Do what `manager` does, where systemd makes the cgroup: see `systemd.cgroups`."""
    from libcontainer_py.cgroups import systemd

    return systemd.cgroups(cgroups_path, container_id, annotations, all_properties=all_properties)


def load(state: "dict[str, Any]") -> Cgroups:
    """Get the cgroups of an existing container from what `Cgroups.state` gave.

    Raises:
        Error: it is no such state
    """
    driver = state.get("driver")
    try:
        if driver == "v1":
            return V1(state["paths"], state["hierarchies"])
        if driver == "v2":
            from libcontainer_py.cgroups.v2 import V2

            return V2(state["paths"], state["mountpoint"])
        if driver == "systemd":
            from libcontainer_py.cgroups import systemd

            return systemd.load(state)
        if driver == "disabled":
            return _disabled(state["why"])
    except (KeyError, TypeError, AttributeError):
        raise Error("cgroups: the state file does not say where they are") from None
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
    return name in (UNIFIED, "name=systemd") or _parent_is_writable(path, hierarchy.mountpoint)


def _parent_is_writable(path: str, mountpoint: str) -> bool:
    while len(path) > len(mountpoint):
        parent = dirname(path)
        if posix.access(parent, posix.F_OK):
            return posix.access(parent, posix.W_OK)
        path = parent
    return False
