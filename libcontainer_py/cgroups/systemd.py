"""The systemd driver: a container's cgroup is a scope, a transient unit of systemd's.

systemd owns the tree of cgroups then, and what is made in it behind its back it may change or take
away. It makes the scope, around the container's first process: a scope can't be without one. That
is cloned outside, and waits until it is in. The rest is done as by the other drivers, in the files
that systemd leaves to us (``Delegate``); what it has properties for, it is told as well.

See systemd.scope(5), systemd.resource-control(5), and «Control Group APIs and Delegation» in
systemd's documentation.
"""

import posix

from libcontainer_py.cgroups import levels_v2, limits_v2, saved, systemd_properties
from libcontainer_py.cgroups.hierarchies import HYBRID, PURE, SUBSYSTEMS, UNIFIED, mounted
from libcontainer_py.cgroups.interface import Cgroups, Entrance
from libcontainer_py.cgroups.processes import pids_of
from libcontainer_py.cgroups.systemd_annotations import properties_of
from libcontainer_py.cgroups.systemd_properties import Property
from libcontainer_py.cgroups.systemd_unit import FIELD, Unit, expand_slice, is_users, names
from libcontainer_py.cgroups.v1 import V1
from libcontainer_py.cgroups.v2 import V2, refuse_frozen, refuse_used
from libcontainer_py.errors import ConfigError, Error, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from libcontainer_py.cgroups.hierarchies import Hierarchy
    from libcontainer_py.cgroups.interface import Resources, State

# Where systemd keeps its own account of all processes.
_SYSTEMDS = ("name=systemd", UNIFIED)

_ATTEMPTS = 5

_EPERM, _ENOENT, _EAGAIN, _EACCES = 1, 2, 11, 13


def cgroups(
    cgroups_path: "str | None",
    container_id: str,
    annotations: "dict[str, str]",
    *,
    all_properties: bool,
) -> Cgroups:
    """Find where systemd will put a container's cgroup. Nothing is made yet.

    Args:
        cgroups_path: ``slice:prefix:name``; what is empty is ``system.slice`` (``user.slice`` for
            a user's systemd), ``lcpy`` and the container's id
        annotations: of config.json
        all_properties: what annotations ask for may be any property

    Raises:
        ConfigError: the path is not of that form, or an annotation is wrong
        StepError: there is no systemd, or not for us
        Error: a user's, on cgroup v1
    """
    user = is_users()
    slice_, name = names(cgroups_path, container_id, user)
    inner = f"{expand_slice(slice_)}/{name}"
    properties = properties_of(annotations, all_allowed=all_properties)
    unit = Unit(name, user)
    unit.connect()
    driver = _driver(unit, inner)
    driver.plan = [
        Property("Description", "s", f"lcpy container {container_id}", FIELD),
        Property("Slice", "s", slice_, FIELD),
        *properties,
    ]
    return driver


def _driver(unit: Unit, inner: str) -> "SystemdV1 | SystemdV2":
    hierarchies = mounted()
    for hierarchy in hierarchies:
        if UNIFIED in hierarchy.subsystems and hierarchy.mountpoint == PURE:
            if unit.user:
                # A user's systemd has but a part of the tree.
                inner = unit.ask("ControlGroup").rstrip("/") + inner
            return SystemdV2({UNIFIED: PURE + inner}, PURE, unit)
    if unit.user:
        raise Error("--systemd-cgroup: on cgroup v1 a user's systemd can't give cgroups away")
    return SystemdV1(
        _paths_v1(hierarchies, inner),
        {",".join(each.subsystems): each.mountpoint for each in hierarchies},
        unit,
    )


def load(state: "dict[str, Any]") -> Cgroups:
    """Get the cgroups of an existing container from what `Scope.state` gave.

    Raises:
        LookupError, TypeError: it is no such state
    """
    unit = Unit(state["unit"], bool(state["user"]))
    driver = (
        SystemdV1(state["paths"], state["hierarchies"], unit)
        if "hierarchies" in state
        else SystemdV2(state["paths"], state["mountpoint"], unit)
    )
    driver.started = True
    return driver


class Scope(Cgroups):
    """What is the same on v1 and v2.

    Attributes:
        unit: the scope
        started: it is there, and ours
        plan: what it is to be started with
    """

    unit: Unit
    started: bool
    plan: "list[Property]"

    def state(self) -> "State":
        of_unit = {"driver": "systemd", "unit": self.unit.name, "user": self.unit.user}
        return super().state() | of_unit

    def start(self, pid: int, io: str, path: str) -> None:
        """Start it around a process.

        Args:
            io: what systemd calls the accounting of block devices
            path: the cgroup that the process is in then

        Raises:
            StepError: systemd refused, or it was another process
        """
        accounting = ("MemoryAccounting", "CPUAccounting", "TasksAccounting", io)
        self.unit.start(
            [
                Property("Delegate", "b", True, FIELD),
                *(Property(name, "b", True, FIELD) for name in accounting),
                # It shall end when we say so, and not be stopped in a shutdown's order.
                Property("DefaultDependencies", "b", False, FIELD),
                *self.plan,
                Property("PIDs", "au", [pid], FIELD),
            ]
        )
        if pid not in pids_of(path):
            # Whatever is in it, we may not kill that.
            what = f"find our process in {path}"
            hint = f"systemd has another idea of where {self.unit.name} is, or of process {pid}"
            raise StepError(None, _ENOENT, what, field=FIELD, hint=hint)
        self.started = True

    # ── limits ──────────────────────────────────────────────────────────────────────────────────

    def set(self, resources: "Resources | None") -> None:
        resources = self._settled(resources or {})
        devices: list[Property] = []
        if not self.unit.user:  # a user's can't: it takes root to load the program for it
            devices = self._devices(resources)
        self._set_both(super().set, resources, self._without_memory(resources), devices)

    def set_memory(self, resources: "Resources | None") -> None:
        resources = self._settled(resources or {})
        others = self._without_memory(resources)
        files = [each for each in self._files(resources) if each not in others]
        if files:
            # All, because systemd writes all that it knows again when it is told of these.
            self._set_both(self._set_all, resources, files)

    def update(self, resources: "Resources") -> None:
        resources = self._settled(resources)
        files = self._files(resources)
        try:
            with saved.Saved(files):
                self._set_both(super().update, resources, files)
        except Error as error:
            try:
                self.unit.set_properties(self._said(files))  # which is what they said before
            except StepError as also:
                error.add_note(f"and systemd does not know of it: {also}")
            raise

    def _settled(self, resources: "Resources") -> "Resources":
        return systemd_properties.settled(resources, self._period())

    def _set_both(
        self,
        write: "Callable[[Resources], None]",
        resources: "Resources",
        files: "list[str]",
        more: "Sequence[Property]" = (),
    ) -> None:
        """Write limits to files, and tell systemd.

        At any time until it is told, systemd can have written what it knew before. So they are
        written again, until that makes no difference.
        """
        write(resources)
        said = self._said(files)
        if not said and not more:
            return
        for _attempt in range(_ATTEMPTS):
            self.unit.set_properties([*said, *more])
            self.unit.wait_until_applied()
            write(resources)
            before, said = said, self._said(files)
            if [each.value for each in said] == [each.value for each in before]:
                return
        hint = "systemd, or somebody else, writes others"
        raise StepError(None, _EAGAIN, f"set the limits of {self.unit.name}", hint=hint)

    def _without_memory(self, resources: "Resources") -> "list[str]":
        return [each for each in self._files(resources) if "/memory." not in each]

    def _said(self, files: "list[str]") -> "list[Property]":
        return systemd_properties.of_files(files, self.unit.version()) if files else []

    def _files(self, resources: "Resources") -> "list[str]":
        raise NotImplementedError

    def _devices(self, resources: "Resources") -> "list[Property]":
        raise NotImplementedError

    def _set_all(self, resources: "Resources") -> None:
        raise NotImplementedError

    def _period(self) -> int:
        """The period of cpu time that holds where none is given."""
        raise NotImplementedError

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    def kill(self) -> None:
        if self.started:
            super().kill()

    def remove(self) -> None:
        try:
            self.unit.stop()
        finally:
            super().remove()


# ── cgroup v2 ───────────────────────────────────────────────────────────────────────────────────


class UsersEntrance(Entrance):
    """The doors of a cgroup that a user may write to, though he comes from one that he may not.

    So it is after a login: the session's cgroup is the host's, and the kernel asks for the right to
    write in the one that is above both. The host's systemd has it, and lets the user's use it.
    """

    __slots__ = ("_below", "_unit")

    def __init__(self, entrance: Entrance, unit: Unit, below: str) -> None:
        super().__init__(entrance.tasks, entrance.unified, entrance.procs)
        self._unit = unit
        self._below = below

    def admit(self, pid: int) -> None:
        try:
            super().admit(pid)
        except StepError as error:
            if error.errno not in (_EPERM, _EACCES):
                raise
            self._unit.attach(pid, self._below)


class SystemdV2(Scope, V2):
    """One container's cgroup on v2, as a scope of systemd's."""

    made_late = True

    def __init__(self, paths: "dict[str, str]", mountpoint: str, unit: Unit) -> None:
        super().__init__(paths, mountpoint)
        self.unit = unit
        self.started = False
        self.plan = []
        self._needed: list[tuple[str, str]] = []
        self._owner = 0

    def create(self, resources: "Resources | None") -> None:
        """Look whether it can be made. `adopt` makes it."""
        resources = resources or {}
        limits_v2.refuse_v1(resources)
        self._needed = list(limits_v2.needed(resources))
        if posix.access(self.paths[UNIFIED], posix.F_OK):
            refuse_used(self.paths[UNIFIED])
            refuse_frozen(self.paths[UNIFIED])
        if (resources.get("unified") or {}).get("memory.oom.group"):
            self.plan += systemd_properties.at_start(resources, self.unit.version())

    def entrance(self) -> Entrance:
        return Entrance([], None)

    def delegate(self, uid: int) -> None:
        if self.started:
            super().delegate(uid)
        else:
            self._owner = uid

    def adopt(self, pid: int) -> None:
        self.start(pid, "IOAccounting", self.paths[UNIFIED])
        refuse_frozen(self.paths[UNIFIED])
        self._hand_down()
        if self._owner:
            super().delegate(self._owner)

    def _hand_down(self) -> None:
        """See that there is every controller that is needed: systemd does not know all of them."""
        path = self.paths[UNIFIED]
        try:
            levels_v2.refuse_missing(path, self.mountpoint, self._needed)
        except ConfigError:
            levels_v2.prepare(path, self.mountpoint, self._needed)

    def exec_entrance(self, init_pid: int, sub: "dict[str, str]") -> Entrance:
        from libcontainer_py.cgroups import doors

        own, door = self.paths[UNIFIED], self._door(init_pid, sub)
        entrance = Entrance([], *doors.open_unified(door))
        if not self.unit.user or not f"{door}/".startswith(f"{own}/"):
            return entrance
        return UsersEntrance(entrance, self.unit, door.removeprefix(own).rstrip("/") or "/")

    def _settled(self, resources: "Resources") -> "Resources":
        resources = super()._settled(resources)
        if systemd_properties.is_idle(self.paths[UNIFIED]):
            resources = systemd_properties.not_idle(resources)
        return resources

    def _files(self, resources: "Resources") -> "list[str]":
        return saved.files_v2(resources, self.paths[UNIFIED])

    def _set_all(self, resources: "Resources") -> None:
        V2._set_all(self, resources)

    def _period(self) -> int:
        return systemd_properties.period_of(self.paths[UNIFIED] + "/cpu.max")

    def _devices(self, resources: "Resources") -> "list[Property]":
        rules = resources.get("devices")
        return systemd_properties.of_devices(rules, self.unit.version(), alone=False)

    def remove(self) -> None:
        if self.started:  # else whatever has its name is another's
            super().remove()


# ── cgroup v1 ───────────────────────────────────────────────────────────────────────────────────


def _paths_v1(hierarchies: "list[Hierarchy]", inner: str) -> "dict[str, str]":
    """Say where a unit's cgroups are, by subsystem."""
    places = {
        name: f"{hierarchy.mountpoint}{inner}"
        for hierarchy in hierarchies
        for name in hierarchy.subsystems
        if name in SUBSYSTEMS or hierarchy.mountpoint == HYBRID
    }
    return {name: places[name] for name in (*SUBSYSTEMS, UNIFIED) if name in places}


class SystemdV1(Scope, V1):
    """One container's cgroups on v1 (hybrid hosts too), as a scope of systemd's.

    systemd keeps some controllers, and its own hierarchy. The container's first process enters all
    but that by itself: those that systemd does not know are ours alone.
    """

    def __init__(self, paths: "dict[str, str]", hierarchies: "dict[str, str]", unit: Unit) -> None:
        super().__init__(paths, hierarchies)
        self.unit = unit
        self.started = False
        self.plan = []

    def _not_systemds(self) -> V1:
        paths = {name: path for name, path in self.paths.items() if name not in _SYSTEMDS}
        return V1(paths, self.hierarchies)

    def create(self, resources: "Resources | None") -> None:
        self._not_systemds().create(resources)

    def entrance(self) -> Entrance:
        return self._not_systemds().entrance()

    def adopt(self, pid: int) -> None:
        self.start(pid, "BlockIOAccounting", self.paths["name=systemd"])

    def set_memory(self, resources: "Resources | None") -> None:
        super().set_memory(resources)
        if "devices" in self.paths:
            # With the memory's, systemd has set the limits that it knows of all controllers.
            self._set_devices(resources or {})

    def _set_both(
        self,
        write: "Callable[[Resources], None]",
        resources: "Resources",
        files: "list[str]",
        more: "Sequence[Property]" = (),
    ) -> None:
        # systemd denies all devices for a moment, before it allows those that it knows.
        to_freeze = "freezer" in self.paths and not self.frozen()
        if to_freeze:
            self.freeze()
        try:
            super()._set_both(write, resources, files, more)
        finally:
            if to_freeze:
                self.thaw()

    def _files(self, resources: "Resources") -> "list[str]":
        return saved.files_v1(resources, self.paths)

    def _set_all(self, resources: "Resources") -> None:
        V1._set_all(self, resources)

    def _period(self) -> int:
        return systemd_properties.period_of(self.paths.get("cpu", "") + "/cpu.cfs_period_us")

    def _devices(self, resources: "Resources") -> "list[Property]":
        rules = resources.get("devices")
        return systemd_properties.of_devices(rules, self.unit.version(), alone=True)

    def remove(self) -> None:
        if self.started:
            super().remove()
        else:
            self._not_systemds().remove()
