"""Controllers of cgroup v2 on their way down from the mount point (cgroup-v2.rst, «Controlling
Controllers»).

A cgroup has those that the one above hands down, and that one may do so only while no process is in
it. Those that threads can have apart from each other are excepted: but then all below is threaded.
"""

import posix

from libcontainer_py.cgroups.files import read, write
from libcontainer_py.cgroups.processes import pids_of
from libcontainer_py.errors import ConfigError, StepError, quoted

# Those that single threads can have; the rest needs a domain.
_THREADED = ("cpu", "cpuset", "perf_event", "pids")

_EBUSY, _EOPNOTSUPP = 16, 95


def needs_domain(controller: str) -> bool:
    """Tell whether a controller can't be had by single threads."""
    return controller not in _THREADED


def prepare(path: str, mountpoint: str, needed: "list[tuple[str, str]]") -> None:
    """Hand the controllers down, level by level, from the mount point to a cgroup that exists.

    Args:
        needed: (field, controller): what must arrive

    Raises:
        ConfigError: one did not; it says why
        StepError: the cgroup, or one above it, is for threads alone
    """
    controllers = {controller for _field, controller in needed}
    level = mountpoint
    for name in path[len(level) + 1 :].split("/"):
        _enable_controllers(level, controllers)
        level = f"{level}/{name}"
        _settle_type(level, controllers)
    refuse_missing(path, mountpoint, needed)


def refuse_missing(path: str, mountpoint: str, needed: "list[tuple[str, str]]") -> None:
    """Refuse what needs a controller that a cgroup does not have.

    Raises:
        ConfigError: with the field, and why it isn't there
    """
    available = read(path + "/cgroup.controllers").split()
    # Those that need a domain first: for want of one, others were not handed down.
    for field, controller in sorted(needed, key=lambda each: not needs_domain(each[1])):
        if controller not in available:
            raise ConfigError(
                f"the cgroup {path} has no controller {quoted(controller)}:"
                f" {_why_missing(path, mountpoint, controller)}",
                field,
            )


def _why_missing(path: str, mountpoint: str, controller: str) -> str:
    level = mountpoint
    if controller not in read(level + "/cgroup.controllers").split():
        return "this host has none for cgroup v2, or has it mounted for v1"
    for name in path[len(level) + 1 :].split("/"):
        if controller not in read(level + "/cgroup.subtree_control").split():
            # The rule of cgroup v2: a cgroup with processes hands no domain controller down.
            busy = "has processes of its own" if pids_of(level) else "does not hand it down"
            return f"{level} {busy}"
        level = f"{level}/{name}"
    return "it vanished meanwhile"


def _enable_controllers(level: str, needed: "set[str]") -> None:
    """Hand down all controllers that a cgroup has: one that this config does not need, an update
    may. What can't be handed down is missed, and worded, where it is needed.
    """
    enabled = read(level + "/cgroup.subtree_control").split()
    available = read(level + "/cgroup.controllers").split()
    missing = [controller for controller in available if controller not in enabled]
    if not missing:
        return
    failed = _try_enable(level, *missing)
    if not failed:
        return
    # EBUSY: it has processes. Even then it can hand down what threads can have, but that makes
    # threads alone of what is below it: so only what is needed, and nothing if that is not enough.
    busy = failed == _EBUSY
    for controller in sorted(missing, key=lambda each: not needs_domain(each)):
        if controller in needed or not busy:
            failed = _try_enable(level, controller)
            if failed and busy:
                return


def _try_enable(level: str, *controllers: str) -> int:
    """Hand controllers down; return 0, or the errno of what was refused."""
    try:
        write(level + "/cgroup.subtree_control", "+" + " +".join(controllers))
    except StepError as error:
        return error.errno or -1
    return 0


def _settle_type(level: str, needed: "set[str]") -> None:
    """Where a cgroup can't be a domain, make one for threads of it, if that is enough."""
    kind = read(level + "/cgroup.type").strip()
    if kind == "domain":
        return
    for controller in sorted(needed):
        if needs_domain(controller):
            raise StepError(
                None,
                _EOPNOTSUPP,
                f"enter the cgroup {level} with the controller {controller}",
                field="linux.cgroupsPath",
                hint=f"it is {quoted(kind)}, and that controller needs a domain",
            )
    if kind == "domain invalid":
        # Its parent is threaded, or has processes and threads: as such it can still be used.
        write(level + "/cgroup.type", "threaded", "linux.cgroupsPath")


def refuses_processes(path: str) -> bool:
    """Tell whether a cgroup hands controllers down, so that the kernel lets no process in.

    As `cgroup_migrate_vet_dst` decides: a cgroup for threads lets everybody in, and so does one
    that could become the root of such: with controllers for threads alone, and nobody below.
    """
    handed_down = read(path + "/cgroup.subtree_control").split()
    if not handed_down or read(path + "/cgroup.type").strip() == "threaded":
        return False
    return any(map(needs_domain, handed_down)) or _has_populated_domain_below(path)


def _has_populated_domain_below(path: str) -> bool:
    with posix.scandir(path) as entries:
        below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    for child in below:
        try:
            if (
                read(child + "/cgroup.type").startswith("domain")
                and "populated 1" in read(child + "/cgroup.events").splitlines()
            ):
                return True
        except StepError:
            continue  # removed meanwhile
    return False
