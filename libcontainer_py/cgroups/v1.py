"""The driver for cgroup v1, and for hybrid hosts (v1's controllers, beside a cgroup2 hierarchy)."""

import posix

from libcontainer_py.cgroups import devices_v1, freezer_v1, limits_v1
from libcontainer_py.cgroups.directories import make, remove, unmake
from libcontainer_py.cgroups.files import read, value_of, write
from libcontainer_py.cgroups.hierarchies import UNIFIED, in_initial_user_namespace
from libcontainer_py.cgroups.interface import CgroupMount, Cgroups, Entrance, asks
from libcontainer_py.cgroups.processes import GONE, kill_all, pids_below, pids_of
from libcontainer_py.errors import ConfigError, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from libcontainer_py.cgroups.interface import Resources, State

# These hold no limit of ours, they only name the container for others (systemd). As in runc, they
# are joined where that works.
_TRACKING = ("name=systemd", UNIFIED)

# Where the container's processes are looked up: the first of these that is there.
_PRIMARY = ("devices", "pids", "memory", "freezer", "cpu")

_NOT_BUILT = ("blockIO", "hugepageLimits", "network", "rdma")

_EPERM, _ENOENT, _ESRCH, _EBUSY = 1, 2, 3, 16


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
        for key in _NOT_BUILT:
            if asks(resources.get(key)):
                raise ConfigError("it is not built yet", "linux.resources." + key)
        for field, controller in _needed(resources):
            if controller not in self.paths:
                raise ConfigError(
                    f"this host has no cgroup controller {controller} mounted",
                    "linux.resources." + field,
                )

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
        cpu = resources.get("cpu") or {}
        if "pids" in self.paths:
            limits_v1.set_pids(self.paths["pids"], resources.get("pids") or {})
        if "cpu" in self.paths:
            limits_v1.set_cpu(self.paths["cpu"], cpu)
        if "cpuset" in self.paths:
            limits_v1.set_cpuset(self.paths["cpuset"], cpu)
        if "devices" in self.paths:
            self._set_devices(resources)

    def _set_devices(self, resources: "Resources") -> None:
        try:
            devices_v1.apply(self.paths["devices"], resources.get("devices"))
        except StepError as error:
            # Only the host's root may. In a user namespace nobody can make a device node, so what
            # the rules are there for holds without them (runc leaves them out as well).
            if error.errno != _EPERM or in_initial_user_namespace():
                raise

    def set_memory(self, resources: "Resources | None") -> None:
        memory = (resources or {}).get("memory")
        if memory and "memory" in self.paths:
            limits_v1.set_memory(self.paths["memory"], memory)

    # ── processes ───────────────────────────────────────────────────────────────────────────────

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
        freezer_v1.freeze(self._freezer())

    def thaw(self) -> None:
        freezer_v1.thaw(self._freezer())

    def frozen(self) -> bool:
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
            raise StepError(None, _ENOENT, "freeze or thaw the container", hint=hint)
        return self.paths["freezer"]


def _needed(resources: "Resources") -> "Iterator[tuple[str, str]]":
    """Give (field, controller) of what is asked for."""
    for key in ("pids", "memory", "devices"):
        if asks(resources.get(key)):
            yield key, key
    for key, value in (resources.get("cpu") or {}).items():
        if asks(value):
            yield "cpu." + key, "cpuset" if key in ("cpus", "mems") else "cpu"


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
