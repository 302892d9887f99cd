"""The driver for cgroup v2 alone: the one hierarchy of cgroup2, at /sys/fs/cgroup.

Documentation/admin-guide/cgroup-v2.rst of the kernel. The child is born inside, by
CLONE_INTO_CGROUP (Linux 5.7).
"""

import posix
import time

from libcontainer_py.cgroups import devices_v2, limits_v2
from libcontainer_py.cgroups.directories import make, remove, unmake
from libcontainer_py.cgroups.files import read, value_of, write
from libcontainer_py.cgroups.hierarchies import UNIFIED, in_initial_user_namespace
from libcontainer_py.cgroups.interface import CgroupMount, Cgroups, Entrance, asks
from libcontainer_py.cgroups.processes import GONE, kill_all, pids_below, pids_of
from libcontainer_py.errors import ConfigError, StepError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer_py.cgroups.interface import Resources, State

_NOT_BUILT = ("blockIO", "hugepageLimits", "network", "rdma")
# Those that can't be had by single threads (cgroup-v2.rst, «Threads»).
_DOMAIN = ("memory", "io", "hugetlb", "rdma", "misc")

_EPERM, _EBUSY, _EOPNOTSUPP = 1, 16, 95


class V2(Cgroups):
    """One container's cgroup on v2.

    Attributes:
        mountpoint: where the hierarchy is mounted
    """

    __slots__ = ("_path", "mountpoint")

    def __init__(self, paths: "dict[str, str]", mountpoint: str) -> None:
        super().__init__(paths)
        self.mountpoint = mountpoint
        self._path = paths[UNIFIED]

    def state(self) -> "State":
        return {"driver": "v2", "paths": self.paths, "mountpoint": self.mountpoint}

    # ── from nothing to a process inside ────────────────────────────────────────────────────────

    def create(self, resources: "Resources | None") -> None:
        resources = resources or {}
        self._refuse(resources)
        needed = list(limits_v2.needed(resources))
        made = make(self._path, self.mountpoint)
        try:
            if not made:
                _refuse_used(self._path)
            self._prepare_levels({controller for _field, controller in needed})
            self._refuse_missing(needed)
            _refuse_frozen(self._path)
        except BaseException:
            unmake(made)
            raise

    def _refuse(self, resources: "Resources") -> None:
        """Refuse what this driver, or cgroup v2, can't do: silence would be no limit."""
        for key in _NOT_BUILT:
            if asks(resources.get(key)):
                raise ConfigError("it is not built yet", "linux.resources." + key)
        limits_v2.refuse_v1(resources)

    def _prepare_levels(self, needed: "set[str]") -> None:
        """Hand the controllers down, level by level, from the mount point to our own cgroup."""
        level = self.mountpoint
        names = self._path[len(level) + 1 :].split("/")
        for name in names:
            _enable_controllers(level, needed)
            level = f"{level}/{name}"
            _settle_type(level, needed)

    def _refuse_missing(self, needed: "list[tuple[str, str]]") -> None:
        available = read(self._path + "/cgroup.controllers").split()
        # Those that need a domain first: for want of one, others were not handed down.
        for field, controller in sorted(needed, key=lambda each: each[1] not in _DOMAIN):
            if controller not in available:
                raise ConfigError(
                    f"the cgroup {self._path} has no controller {quoted(controller)}:"
                    f" {self._why_missing(controller)}",
                    field,
                )

    def _why_missing(self, controller: str) -> str:
        level = self.mountpoint
        if controller not in read(level + "/cgroup.controllers").split():
            return "this host has none for cgroup v2, or has it mounted for v1"
        for name in self._path[len(level) + 1 :].split("/"):
            if controller not in read(level + "/cgroup.subtree_control").split():
                # The rule of cgroup v2: a cgroup with processes hands no domain controller down.
                busy = "has processes of its own" if pids_of(level) else "does not hand it down"
                return f"{level} {busy}"
            level = f"{level}/{name}"
        return "it vanished meanwhile"

    def entrance(self) -> Entrance:
        try:
            fd = posix.open(self._path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        except OSError as error:
            raise StepError(None, error.errno or 0, f"open {self._path}") from None
        return Entrance([], fd)

    def join(self, pid: int) -> None:
        write(self._path + "/cgroup.procs", pid)

    # ── limits ──────────────────────────────────────────────────────────────────────────────────

    def set(self, resources: "Resources | None") -> None:
        resources = resources or {}
        self._refuse(resources)
        limits_v2.set_pids(self._path, resources.get("pids") or {})
        limits_v2.set_cpu(self._path, resources.get("cpu") or {})
        self._set_devices(resources)
        limits_v2.set_unified(self._path, resources.get("unified") or {}, memory=False)

    def _set_devices(self, resources: "Resources") -> None:
        try:
            devices_v2.apply(self._path, resources.get("devices"))
        except StepError as error:
            # Only the host's root may. Others can make no device node, so what the rules are there
            # for holds without them (runc leaves them out as well).
            is_root = posix.geteuid() == 0 and in_initial_user_namespace()
            if error.errno != _EPERM or is_root:
                raise

    def set_memory(self, resources: "Resources | None") -> None:
        resources = resources or {}
        if asks(resources.get("memory")):
            limits_v2.set_memory(self._path, resources["memory"])
        limits_v2.set_unified(self._path, resources.get("unified") or {}, memory=True)

    # ── processes ───────────────────────────────────────────────────────────────────────────────

    def pids(self, all: bool = False) -> "list[int]":
        return pids_below(self._path) if all else pids_of(self._path)

    def kill(self) -> None:
        try:
            # All at once, and those below too, frozen or not.
            write(self._path + "/cgroup.kill", 1)
        except StepError as error:
            # A kernel before 5.14, or a threaded cgroup: one by one, then.
            if error.errno not in (*GONE, _EOPNOTSUPP):
                raise
        kill_all(self._path, None)

    def freeze(self, timeout: float = 2.0) -> None:
        write(self._path + "/cgroup.freeze", 1)
        reached = False
        try:
            reached = self._reach_frozen(timeout)
        finally:
            if not reached:
                self.thaw()
        if not reached:
            hint = "a process in it does not stop"
            raise StepError(None, _EBUSY, f"freeze {self._path}", hint=hint)

    def _reach_frozen(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not _is_frozen(self._path):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    def thaw(self) -> None:
        write(self._path + "/cgroup.freeze", 0)

    def frozen(self) -> bool:
        return read(self._path + "/cgroup.freeze").strip() == "1"

    def oom_count(self) -> "int | None":
        try:
            return limits_v2.oom_kills(self._path)
        except StepError as error:
            # No memory controller, or no cgroup any more.
            if error.errno in GONE:
                return None
            raise

    # ── the end, and what is seen from inside ───────────────────────────────────────────────────

    def remove(self) -> None:
        remove([self._path])

    def mounts(self) -> "list[CgroupMount]":
        return [CgroupMount(UNIFIED, "", self._path, self.mountpoint, ())]


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
    for controller in sorted(missing, key=lambda each: each not in _DOMAIN):
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
    for controller in _DOMAIN:
        if controller in needed:
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


def _is_frozen(path: str) -> bool:
    return value_of(read(path + "/cgroup.events"), "frozen") == 1


def _refuse_used(path: str) -> None:
    inside = pids_below(path)
    if inside:
        raise _unfit(path, f"container's cgroup is not empty: {len(inside)} process(es) found")
    for controller in read(path + "/cgroup.subtree_control").split():
        if controller in _DOMAIN:
            raise _unfit(path, f"it hands the controller {controller} down, so nobody may be in it")


def _refuse_frozen(path: str) -> None:
    # Whoever is born in a frozen cgroup stops there, and we would wait for it.
    if _is_frozen(path):
        raise _unfit(path, "container's cgroup unexpectedly frozen, or one above it")


def _unfit(path: str, hint: str) -> StepError:
    what = f"use the cgroup {path}"
    return StepError(None, _EBUSY, what, field="linux.cgroupsPath", hint=hint)
