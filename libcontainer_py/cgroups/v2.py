"""The driver for cgroup v2 alone: the one hierarchy of cgroup2, at /sys/fs/cgroup.

Documentation/admin-guide/cgroup-v2.rst of the kernel. The child is born inside, by
CLONE_INTO_CGROUP (Linux 5.7).
"""

import posix
import time

from libcontainer_py.cgroups import devices_v2, levels_v2, limits_v2
from libcontainer_py.cgroups.directories import make, remove, unmake
from libcontainer_py.cgroups.files import read, value_of, write
from libcontainer_py.cgroups.hierarchies import UNIFIED, in_initial_user_namespace
from libcontainer_py.cgroups.interface import CgroupMount, Cgroups, Entrance, OomWatch, asks
from libcontainer_py.cgroups.processes import GONE, kill_all, pids_below, pids_of, pids_room
from libcontainer_py.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.cgroups.interface import Resources, State

# What may be given away where the kernel does not say (before Linux 4.15): config-linux.md, «Cgroup
# ownership».
_DELEGATED = "cgroup.procs cgroup.subtree_control cgroup.threads"

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
        limits_v2.refuse_v1(resources)
        needed = list(limits_v2.needed(resources))
        made = make(self._path, self.mountpoint)
        try:
            if not made:
                refuse_used(self._path)
            levels_v2.prepare(self._path, self.mountpoint, needed)
            refuse_frozen(self._path)
        except BaseException:
            unmake(made)
            raise

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
        limits_v2.refuse_v1(resources)
        self._set_limits(resources)
        self._set_devices(resources)
        limits_v2.set_unified(self._path, resources.get("unified") or {}, memory=False)

    def _set_limits(self, resources: "Resources") -> None:
        """Set every limit but memory's and those of `unified`, and leave the devices alone."""
        limits_v2.set_pids(self._path, resources.get("pids") or {})
        limits_v2.set_cpu(self._path, resources.get("cpu") or {})
        if asks(resources.get("blockIO")):
            from libcontainer_py.cgroups import block_io

            block_io.set_v2(self._path, resources["blockIO"])
        if resources.get("hugepageLimits"):
            from libcontainer_py.cgroups import hugetlb

            hugetlb.set_limits(self._path, resources["hugepageLimits"], hugetlb.V2)
        if resources.get("rdma"):
            from libcontainer_py.cgroups import rdma

            rdma.set_limits(self._path, resources["rdma"])

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
        self._set_memory(resources or {})

    def _set_memory(self, resources: "Resources") -> None:
        if asks(resources.get("memory")):
            limits_v2.set_memory(self._path, resources["memory"])
        limits_v2.set_unified(self._path, resources.get("unified") or {}, memory=True)

    def update(self, resources: "Resources") -> None:
        from libcontainer_py.cgroups import saved

        limits_v2.refuse_v1(resources)
        needed = list(limits_v2.needed(resources))
        levels_v2.refuse_missing(self._path, self.mountpoint, needed)
        with saved.Saved(saved.files_v2(resources, self._path)):
            self._set_all(resources)

    def _set_all(self, resources: "Resources") -> None:
        """Set every limit, and leave the devices alone."""
        self._set_limits(resources)
        limits_v2.set_unified(self._path, resources.get("unified") or {}, memory=False)
        self._set_memory(resources)

    def delegate(self, uid: int) -> None:
        for file in ("", *_delegated_files()):
            path = f"{self._path}/{file}".rstrip("/")
            try:
                posix.chown(path, uid, -1)
            except FileNotFoundError:
                continue  # the list is of all kernels and controllers
            except OSError as error:
                what = f"give {path} to the user {uid}"
                raise StepError(None, error.errno or 0, what, field="linux.cgroupsPath") from None

    # ── processes ───────────────────────────────────────────────────────────────────────────────

    def exec_entrance(self, init_pid: int, sub: "dict[str, str]") -> Entrance:
        from libcontainer_py.cgroups import doors

        return Entrance([], *doors.open_unified(self._door(init_pid, sub)))

    def _door(self, init_pid: int, sub: "dict[str, str]") -> str:
        """Find the cgroup that a second process enters."""
        from libcontainer_py.cgroups import doors

        for controller in sub:
            if controller != UNIFIED:
                raise doors.unknown_controller(controller)
        if UNIFIED in sub:
            return doors.below(self._path, sub[UNIFIED])
        return doors.present(self._path, init_pid)

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
        try:
            return read(self._path + "/cgroup.freeze").strip() == "1"
        except StepError as error:
            if error.errno in GONE:
                return False
            raise

    def oom_count(self) -> "int | None":
        try:
            return limits_v2.oom_kills(self._path)
        except StepError as error:
            # No memory controller, or no cgroup any more.
            if error.errno in GONE:
                return None
            raise

    def watch_oom(self) -> OomWatch:
        from libcontainer_py.cgroups import oom

        return oom.V2Watch(self._path)

    def pids_room(self) -> "int | None":
        return pids_room(self._path, self.mountpoint)

    def memory_room(self) -> "int | None":
        try:
            limit = read(self._path + "/memory.max").strip()
            if limit == "max":
                return None
            return int(limit) - int(read(self._path + "/memory.current"))
        except StepError as error:
            # No memory controller, or the first process has gone elsewhere.
            if error.errno in GONE:
                return None
            raise

    def stats(self) -> "dict[str, Any]":
        from libcontainer_py.cgroups import stats_v2

        return stats_v2.collect(self._path)

    # ── the end, and what is seen from inside ───────────────────────────────────────────────────

    def remove(self) -> None:
        remove([self._path])

    def mounts(self) -> "list[CgroupMount]":
        # As with runc; but a user who is not root has a part of it that he may write to.
        whole = posix.geteuid() == 0 and in_initial_user_namespace()
        return [CgroupMount(UNIFIED, "", self._path, self.mountpoint, (), whole=whole)]


def _delegated_files() -> "list[str]":
    try:
        return read("/sys/kernel/cgroup/delegate").split()
    except StepError:
        return _DELEGATED.split()


def _is_frozen(path: str) -> bool:
    return value_of(read(path + "/cgroup.events"), "frozen") == 1


def refuse_used(path: str) -> None:
    """Refuse a cgroup that has processes, or can't have any.

    Raises:
        StepError: it is such a one
    """
    inside = pids_below(path)
    if inside:
        raise _unfit(path, f"container's cgroup is not empty: {len(inside)} process(es) found")
    if levels_v2.refuses_processes(path):
        raise _unfit(path, "it hands controllers down, so nobody may be in it")


def refuse_frozen(path: str) -> None:
    """Refuse a cgroup that is frozen, itself or with one above it.

    Raises:
        StepError: it is
    """
    # Whoever is born in a frozen cgroup stops there, and we would wait for it.
    if _is_frozen(path):
        raise _unfit(path, "container's cgroup unexpectedly frozen, or one above it")


def _unfit(path: str, hint: str) -> StepError:
    what = f"use the cgroup {path}"
    return StepError(None, _EBUSY, what, field="linux.cgroupsPath", hint=hint)
