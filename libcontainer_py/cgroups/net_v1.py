"""Marks on a cgroup's packets: net_cls and net_prio, which only cgroup v1 has.

Documentation/admin-guide/cgroup-v1/{net_cls,net_prio}.rst. (On v2, iptables and eBPF match the
cgroup itself.)
"""

from libcontainer_py.cgroups.files import write
from libcontainer_py.errors import ConfigError, StepError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FIELD = "linux.resources.network"

_ENODEV = 19


def set_class(directory: str, network: "dict[str, Any]") -> None:
    """Set the class of all packets."""
    if network.get("classID"):
        write(directory + "/net_cls.classid", network["classID"], f"{FIELD}.classID")


def set_priorities(directory: str, network: "dict[str, Any]") -> None:
    """Set the priority of what leaves by an interface of the host.

    Raises:
        ConfigError: a name can't be an interface's
        StepError: the kernel refused, or has no such interface
    """
    for index, entry in enumerate(network.get("priorities") or []):
        field = f"{FIELD}.priorities[{index}]"
        name = entry["name"]
        if not name.isprintable() or " " in name:
            raise ConfigError(f"{quoted(name)} is not the name of an interface", field + ".name")
        try:
            write(directory + "/net_prio.ifpriomap", f"{name} {entry['priority']}", field)
        except StepError as error:
            if error.errno == _ENODEV:
                error.hint = "there is no such interface"
            raise
