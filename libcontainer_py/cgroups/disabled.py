"""No cgroups: the host has none, or does not let us make any (rootless without delegation)."""

from libcontainer_py.cgroups.hierarchies import in_initial_user_namespace
from libcontainer_py.cgroups.interface import (
    CANNOT_TOGGLE,
    CgroupMount,
    Cgroups,
    Entrance,
    OomWatch,
    asks,
)
from libcontainer_py.errors import ConfigError, StepError, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.cgroups.interface import Resources, State


class Disabled(Cgroups):
    """The driver that does nothing, and refuses whatever would need cgroups to be true.

    Attributes:
        why: the reason for it, in words
        devices_too: the rules for devices are left out as well, which our caller has asked for
    """

    __slots__ = ("devices_too", "why")

    def __init__(self, why: str, *, devices_too: bool = False) -> None:
        super().__init__({})
        self.why = why
        self.devices_too = devices_too

    def state(self) -> "State":
        return {"driver": "disabled", "why": self.why}

    def create(self, resources: "Resources | None") -> None:
        self._refuse(resources)

    def entrance(self) -> Entrance:
        return Entrance([], None)

    def join(self, pid: int) -> None:
        pass

    def set(self, resources: "Resources | None") -> None:
        self._refuse(resources)

    def set_memory(self, resources: "Resources | None") -> None:
        self._refuse(resources)

    def update(self, resources: "Resources") -> None:
        self._refuse({key: value for key, value in resources.items() if key != "devices"})

    def delegate(self, uid: int) -> None:
        pass

    def exec_entrance(self, init_pid: int, sub: "dict[str, str]") -> Entrance:
        from libcontainer_py.cgroups import doors

        for controller, path in sub.items():
            if controller:
                raise doors.unknown_controller(controller)
            raise ConfigError(f"bad sub cgroup path: {shown(path)}: {self.why}")
        return Entrance([], None)

    def remove(self) -> None:
        pass

    def pids(self, all: bool = False) -> "list[int]":
        raise StepError(None, 0, "list the container's processes", hint=self.why)

    def kill(self) -> None:
        """Do nothing: nobody is known to be inside."""

    def freeze(self) -> None:
        raise StepError(None, 0, CANNOT_TOGGLE, hint=self.why)

    def thaw(self) -> None:
        raise StepError(None, 0, CANNOT_TOGGLE, hint=self.why)

    def frozen(self) -> bool:
        return False

    def oom_count(self) -> "int | None":
        return None

    def watch_oom(self) -> OomWatch:
        raise StepError(None, 0, "memory controller missing", hint=self.why)

    def pids_room(self) -> "int | None":
        return None

    def stats(self) -> "dict[str, Any]":
        from libcontainer_py.cgroups import stats_v1

        return stats_v1.collect({})

    def mounts(self) -> "list[CgroupMount]":
        return []

    def _refuse(self, resources: "Resources | None") -> None:
        for key, value in (resources or {}).items():
            if asks(value) and not (key == "devices" and self._leaves_devices_out()):
                raise ConfigError(
                    f"it can't be set without cgroups, and {self.why}", "linux.resources." + key
                )

    def _leaves_devices_out(self) -> bool:
        # A user namespace's root can make no device nodes, so rules about devices hold by
        # themselves there, and every default config has some.
        return self.devices_too or not in_initial_user_namespace()
