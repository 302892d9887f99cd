"""The driver for cgroup v1, and for hybrid hosts (v1's controllers, beside a cgroup2 hierarchy)."""

import posix

from libcontainer_py.cgroups import devices_v1, limits_v1
from libcontainer_py.cgroups.directories import make, remove, unmake
from libcontainer_py.cgroups.files import read, value_of, write
from libcontainer_py.cgroups.hierarchies import UNIFIED, in_initial_user_namespace
from libcontainer_py.cgroups.interface import (
    CANNOT_TOGGLE,
    CgroupMount,
    Cgroups,
    Entrance,
    OomWatch,
    asks,
)
from libcontainer_py.cgroups.processes import GONE, kill_all, pids_below, pids_of, pids_room
from libcontainer_py.errors import ConfigError, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from libcontainer_py.cgroups.interface import Resources, State

# These hold no limit, or hardly one (`_EITHER`), they only name the container for others (systemd).
# As in runc, they are joined where that works.
_TRACKING = ("name=systemd", UNIFIED)

# Where the container's processes are looked up: the first of these that is there.
_PRIMARY = ("devices", "pids", "memory", "freezer", "cpu")

# On a hybrid host these can be had of the unified hierarchy, where v1 has them not.
_EITHER = ("hugetlb", "rdma")

_EPERM, _ESRCH, _EBUSY = 1, 3, 16


class V1(Cgroups):
    """One container's cgroups on v1.

    Attributes:
        hierarchies: mount point by the subsystems mounted there: ``"cpu,cpuacct"``, ``""``
    """

    __slots__ = ("_options", "hierarchies")

    def __init__(self, paths: "dict[str, str]", hierarchies: "dict[str, str]") -> None:
        super().__init__(paths)
        self.hierarchies = hierarchies
        self._options = {name: each for each in hierarchies for name in each.split(",")}

    def state(self) -> "State":
        return {"driver": "v1", "paths": self.paths, "hierarchies": self.hierarchies}

    # ── from nothing to a process inside ────────────────────────────────────────────────────────

    def create(self, resources: "Resources | None") -> None:
        resources = resources or {}
        self._refuse(resources)
        cpu = resources.get("cpu") or {}
        made: list[str] = []
        try:
            for subsystem, path in self._directories():
                self._make(subsystem, path, made)
            self._hand_down(resources)
            if "freezer" in self.paths:
                _refuse_frozen(self.paths["freezer"])
            if "cpuset" in self.paths:
                path = self.paths["cpuset"]
                limits_v1.populate_cpuset(path, self._mountpoint("cpuset"), cpu, path in made)
            if "cpu" in self.paths:
                limits_v1.set_realtime(self.paths["cpu"], cpu)
        except BaseException:
            unmake(made)
            raise

    def _make(self, subsystem: str, path: str, made: "list[str]") -> None:
        try:
            new = make(path, self._mountpoint(subsystem))
        except StepError:
            if subsystem not in _TRACKING:
                raise
            del self.paths[subsystem]
            return
        made += new
        if not new:
            _refuse_used(path)

    def _refuse(self, resources: "Resources") -> None:
        """Refuse what this driver, or this host, can't do: silence would be no limit."""
        if asks(resources.get("unified")):
            raise ConfigError(
                "invalid configuration: it is for cgroup v2, and this host has cgroup v1",
                "linux.resources.unified",
            )
        for field, controller in _needed(resources):
            if controller not in self.paths and not self._is_unified(controller):
                raise ConfigError(
                    f"this host has no cgroup controller {controller} mounted",
                    "linux.resources." + field,
                )

    def _is_unified(self, controller: str) -> bool:
        """Tell whether a controller that v1 lacks is one of the unified hierarchy."""
        if controller not in _EITHER or controller in self.paths or UNIFIED not in self.paths:
            return False
        return controller in read(self._mountpoint(UNIFIED) + "/cgroup.controllers").split()

    def _hand_down(self, resources: "Resources") -> None:
        """Have the unified hierarchy hand down what is asked of it."""
        needed = [
            ("linux.resources." + field, controller)
            for field, controller in _needed(resources)
            if self._is_unified(controller)
        ]
        if needed:
            from libcontainer_py.cgroups import levels_v2

            levels_v2.prepare(self.paths[UNIFIED], self._mountpoint(UNIFIED), needed)

    def entrance(self) -> Entrance:
        tasks: list[tuple[int, str]] = []
        unified = None
        try:
            for subsystem, path in self._directories():
                if subsystem == UNIFIED:
                    unified = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
                else:
                    file = path + "/tasks"
                    tasks.append((posix.open(file, posix.O_WRONLY | posix.O_CLOEXEC), file))
        except OSError as error:
            Entrance(tasks, unified).close()
            raise StepError(None, error.errno or 0, f"open {error.filename}") from None
        return Entrance(tasks, unified)

    def join(self, pid: int) -> None:
        for subsystem, path in self._directories():
            try:
                write(path + "/cgroup.procs", pid)
            except StepError as error:
                # ESRCH is about the process, not about the cgroup.
                if subsystem not in _TRACKING or error.errno == _ESRCH:
                    raise

    # ── limits ──────────────────────────────────────────────────────────────────────────────────

    def set(self, resources: "Resources | None") -> None:
        resources = resources or {}
        self._refuse(resources)
        self._set_limits(resources)
        if "devices" in self.paths:
            self._set_devices(resources)

    def _set_limits(self, resources: "Resources") -> None:
        """Set every limit but memory's, and leave the devices alone."""
        cpu = resources.get("cpu") or {}
        if "pids" in self.paths:
            limits_v1.set_pids(self.paths["pids"], resources.get("pids") or {})
        if "cpu" in self.paths:
            limits_v1.set_cpu(self.paths["cpu"], cpu)
        if "cpuset" in self.paths:
            limits_v1.set_cpuset(self.paths["cpuset"], cpu)
        if asks(resources.get("blockIO")):
            from libcontainer_py.cgroups import block_io

            block_io.set_v1(self.paths["blkio"], resources["blockIO"])
        if asks(resources.get("network")):
            self._set_network(resources["network"])
        if resources.get("hugepageLimits"):
            self._set_hugetlb(resources["hugepageLimits"])
        if resources.get("rdma"):
            from libcontainer_py.cgroups import rdma

            rdma.set_limits(self._either("rdma"), resources["rdma"])

    def _set_network(self, network: "dict[str, Any]") -> None:
        from libcontainer_py.cgroups import net_v1

        if "net_cls" in self.paths:
            net_v1.set_class(self.paths["net_cls"], network)
        if "net_prio" in self.paths:
            net_v1.set_priorities(self.paths["net_prio"], network)

    def _set_hugetlb(self, limits: "list[dict[str, Any]]") -> None:
        from libcontainer_py.cgroups import hugetlb

        file = hugetlb.V1 if "hugetlb" in self.paths else hugetlb.V2
        hugetlb.set_limits(self._either("hugetlb"), limits, file)

    def _either(self, controller: str) -> str:
        return self.paths.get(controller) or self.paths[UNIFIED]

    def _set_devices(self, resources: "Resources") -> None:
        try:
            devices_v1.apply(self.paths["devices"], resources.get("devices"))
        except StepError as error:
            # Only the host's root may. In a user namespace nobody can make a device node, so what
            # the rules are there for holds without them (runc leaves them out as well).
            if error.errno != _EPERM or in_initial_user_namespace():
                raise

    def set_memory(self, resources: "Resources | None") -> None:
        self._set_memory(resources or {})

    def _set_memory(self, resources: "Resources") -> None:
        memory = resources.get("memory")
        if memory and "memory" in self.paths:
            limits_v1.set_memory(self.paths["memory"], memory)

    def update(self, resources: "Resources") -> None:
        from libcontainer_py.cgroups import saved

        self._refuse(resources)
        self._hand_down(resources)
        files = saved.files_v1(resources, self.paths)
        for part, controller in (("hugepageLimits", "hugetlb"), ("rdma", "rdma")):
            if part in resources and self._is_unified(controller):
                files += saved.files_v2({part: resources[part]}, self.paths[UNIFIED])
        with saved.Saved(files):
            self._set_all(resources)

    def _set_all(self, resources: "Resources") -> None:
        """Set every limit, and leave the devices alone."""
        self._set_limits(resources)
        self._set_memory(resources)

    def delegate(self, uid: int) -> None:
        """Do nothing: whoever owns a cgroup of v1 can change its limits (config-linux.md, «Cgroup
        ownership»).
        """

    # ── processes ───────────────────────────────────────────────────────────────────────────────

    def exec_entrance(self, init_pid: int, sub: "dict[str, str]") -> Entrance:
        from libcontainer_py.cgroups import doors

        paths = self._below(sub)
        entrance = Entrance([], None)
        try:
            for subsystem, path in self._directories():
                target = paths[subsystem]
                if subsystem in _TRACKING and not posix.access(target, posix.F_OK):
                    # The container sees no such cgroup, so it can't have made one below.
                    target = path
                    if not posix.access(target, posix.F_OK):
                        continue
                if subsystem == UNIFIED:
                    place = doors.present(path, init_pid) if target == path else target
                    entrance.unified, entrance.procs = doors.open_unified(place)
                else:
                    file = target + "/tasks"
                    entrance.tasks.append((doors.open_file(file), file))
        except BaseException:
            entrance.close()
            raise
        return entrance

    def _below(self, sub: "dict[str, str]") -> "dict[str, str]":
        """Join the container's cgroups and those that are named below them, by subsystem."""
        from libcontainer_py.cgroups import doors

        paths = {name: doors.below(path, sub.get("", "")) for name, path in self.paths.items()}
        for controller, inner in sub.items():
            if controller == UNIFIED:
                continue
            if controller not in self.paths:
                raise doors.unknown_controller(controller)
            for name, path in self.paths.items():
                if path == self.paths[controller]:  # cpu and cpuacct can share one
                    paths[name] = doors.below(path, inner)
        return paths

    def pids(self, all: bool = False) -> "list[int]":
        return pids_below(self._primary()) if all else pids_of(self._primary())

    def kill(self) -> None:
        if UNIFIED in self.paths:
            self._kill_unified()
        kill_all(self._primary(), self.paths.get("freezer"))

    def _kill_unified(self) -> None:
        """Kill all at once, where the kernel can (Linux 5.14); the rest comes one by one."""
        try:
            write(self.paths[UNIFIED] + "/cgroup.kill", 1)
        except StepError as error:
            if error.errno not in GONE:
                raise

    def freeze(self) -> None:
        from libcontainer_py.cgroups import freezer_v1

        freezer_v1.freeze(self._freezer())

    def thaw(self) -> None:
        from libcontainer_py.cgroups import freezer_v1

        freezer_v1.thaw(self._freezer())

    def release(self, pid: int) -> None:
        from libcontainer_py.cgroups import doors

        if pid > 0 and "freezer" in self.paths and doors.frozen(pid) is not None:
            try:
                write(self._mountpoint("freezer") + "/tasks", pid)
            except StepError as error:
                if error.errno != _ESRCH:  # it has ended
                    raise

    def frozen(self) -> bool:
        from libcontainer_py.cgroups import freezer_v1

        return "freezer" in self.paths and freezer_v1.frozen(self.paths["freezer"])

    def oom_count(self) -> "int | None":
        if "memory" not in self.paths:
            return None
        try:
            text = read(self.paths["memory"] + "/memory.oom_control")
        except StepError as error:
            if error.errno in GONE:
                return None
            raise
        return value_of(text, "oom_kill")

    def watch_oom(self) -> OomWatch:
        if "memory" not in self.paths:
            raise StepError(None, 0, "memory controller missing")
        from libcontainer_py.cgroups import oom

        return oom.V1Watch(self.paths["memory"])

    def pids_room(self) -> "int | None":
        if "pids" not in self.paths:
            return None
        return pids_room(self.paths["pids"], self._mountpoint("pids"))

    def stats(self) -> "dict[str, Any]":
        from libcontainer_py.cgroups import stats_v1

        data = stats_v1.collect(self.paths)
        if self._is_unified("hugetlb"):
            from libcontainer_py.cgroups import stats_v2

            data["hugetlb"] = stats_v2.hugetlb(self.paths[UNIFIED])
        return data

    # ── the end, and what is seen from inside ───────────────────────────────────────────────────

    def remove(self) -> None:
        remove([path for _subsystem, path in self._directories()])

    def mounts(self) -> "list[CgroupMount]":
        entries = []
        for subsystem, path in self._directories():
            if subsystem == UNIFIED:
                continue  # as runc: a container on a hybrid host is shown v1
            options, mountpoint = self._options[subsystem], self._mountpoint(subsystem)
            name = mountpoint.rpartition("/")[2]
            shared = options.split(",") if "," in options else []
            aliases = tuple(each for each in shared if each != name)
            entries.append(CgroupMount(name, options, path, mountpoint, aliases))
        return entries

    def _directories(self) -> "list[tuple[str, str]]":
        """List (subsystem, path), each path once: cpu and cpuacct can share one."""
        first = {path: subsystem for subsystem, path in reversed(self.paths.items())}
        return [each for each in self.paths.items() if first[each[1]] == each[0]]

    def _mountpoint(self, subsystem: str) -> str:
        return self.hierarchies[self._options[subsystem]]

    def _primary(self) -> str:
        for subsystem in (*_PRIMARY, *self.paths):
            if subsystem in self.paths:
                return self.paths[subsystem]
        raise AssertionError("unreachable: this driver has at least one controller")

    def _freezer(self) -> str:
        if "freezer" not in self.paths:
            hint = "this host has no cgroup controller freezer mounted"
            raise StepError(None, 0, CANNOT_TOGGLE, hint=hint)
        return self.paths["freezer"]


def _needed(resources: "Resources") -> "Iterator[tuple[str, str]]":
    """Give (field, controller) of what is asked for."""
    for key in ("pids", "memory", "devices", "rdma"):
        if asks(resources.get(key)):
            yield key, key
    for key, value in (resources.get("cpu") or {}).items():
        if asks(value):
            yield "cpu." + key, "cpuset" if key in ("cpus", "mems") else "cpu"
    for key, value in (resources.get("blockIO") or {}).items():
        if asks(value):
            yield "blockIO." + key, "blkio"
    if resources.get("hugepageLimits"):
        yield "hugepageLimits", "hugetlb"
    for key, value in (resources.get("network") or {}).items():
        if asks(value):
            yield "network." + key, "net_cls" if key == "classID" else "net_prio"


def _refuse_used(path: str) -> None:
    inside = pids_below(path)
    if inside:
        raise StepError(
            None,
            _EBUSY,
            f"use the cgroup {path}",
            field="linux.cgroupsPath",
            hint=f"container's cgroup is not empty: {len(inside)} process(es) found",
        )


def _refuse_frozen(freezer: str) -> None:
    # Whoever joins a frozen cgroup stops there, and we would wait for it.
    if read(freezer + "/freezer.state").strip() != "THAWED":
        hint = "container's cgroup unexpectedly frozen, or one above it"
        raise StepError(
            None, _EBUSY, f"use the cgroup {freezer}", field="linux.cgroupsPath", hint=hint
        )
