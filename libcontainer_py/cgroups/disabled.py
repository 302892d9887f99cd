"""No cgroups: the host has none, or does not let us make any (rootless without delegation)."""

from libcontainer_py.cgroups.hierarchies import in_initial_user_namespace
from libcontainer_py.cgroups.interface import CgroupMount, Cgroups, Entrance, asks
from libcontainer_py.errors import ConfigError, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer_py.cgroups.interface import Resources, State


class Disabled(Cgroups):
    """The driver that does nothing, and refuses whatever would need cgroups to be true.

    Attributes:
        why: the reason for it, in words
    """

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        super().__init__({})
        self.why = why

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

    def remove(self) -> None:
        pass

    def pids(self, all: bool = False) -> "list[int]":
        raise StepError(None, 0, "list the container's processes", hint=self.why)

    def kill(self) -> None:
        """Do nothing: nobody is known to be inside."""

    def freeze(self) -> None:
        raise StepError(None, 0, "freeze the container", hint=self.why)

    def thaw(self) -> None:
        raise StepError(None, 0, "thaw the container", hint=self.why)

    def frozen(self) -> bool:
        return False

    def oom_count(self) -> "int | None":
        return None

    def mounts(self) -> "list[CgroupMount]":
        return []

    def _refuse(self, resources: "Resources | None") -> None:
        for key, value in (resources or {}).items():
            # A user namespace's root can make no device nodes, so rules about devices hold by
            # themselves there, and every default config has some.
            if asks(value) and (key != "devices" or in_initial_user_namespace()):
                raise ConfigError(
                    f"it can't be set without cgroups, and {self.why}", "linux.resources." + key
                )
