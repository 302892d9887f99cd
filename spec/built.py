"""What is valid in config.json, but not built yet: refused, never skipped in silence.

Delete a line when its feature works. Empty values (``[]``, ``{}``, ``""``, ``false``, ``0``) ask
for nothing, and pass: Docker writes a blockIO weight of 0 for every container.
"""

from libcontainer_py.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# [] after a name is each item of a list.
FIELDS = (
    "process.apparmorProfile",
    "process.selinuxLabel",
    "process.scheduler",
    "process.ioPriority",
    "process.execCPUAffinity",
    "mounts[].uidMappings",
    "mounts[].gidMappings",
    "linux.namespaces[].path",
    "linux.uidMappings",
    "linux.gidMappings",
    "linux.timeOffsets",
    "linux.netDevices",
    "linux.intelRdt",
    "linux.memoryPolicy",
    "linux.mountLabel",
    "linux.resources.blockIO.weight",
    "linux.resources.blockIO.leafWeight",
    "linux.resources.blockIO.weightDevice",
    "linux.resources.blockIO.throttleReadBpsDevice",
    "linux.resources.blockIO.throttleWriteBpsDevice",
    "linux.resources.blockIO.throttleReadIOPSDevice",
    "linux.resources.blockIO.throttleWriteIOPSDevice",
    "linux.resources.hugepageLimits",
    "linux.resources.network.classID",
    "linux.resources.network.priorities",
    "linux.resources.rdma",
)
NAMESPACES = (
    "user",
    "time",
)
MOUNT_OPTIONS = (
    "idmap",
    "ridmap",
)


def check(config: "dict[str, Any]") -> None:
    """Refuse a valid config that asks for something of the tables.

    Raises:
        ConfigError: the first such field
    """
    for index, namespace in enumerate(config.get("linux", {}).get("namespaces", ())):
        if namespace["type"] in NAMESPACES:
            raise ConfigError(
                f"the {namespace['type']} namespace is not built yet",
                f"linux.namespaces[{index}].type",
            )
    for index, mount in enumerate(config.get("mounts", ())):
        for place, option in enumerate(mount.get("options", ())):
            if option in MOUNT_OPTIONS:
                raise ConfigError(
                    f"mount option {option} is not built yet", f"mounts[{index}].options[{place}]"
                )
    for field in FIELDS:
        _refuse(config, field.split("."), "")


def _refuse(value: "Any", names: "list[str]", field: str) -> None:
    """Follow the names from a value on, and refuse what is at their end."""
    for place, name in enumerate(names):
        if name.endswith("[]"):
            for index, item in enumerate(value.get(name[:-2], ())):
                _refuse(item, names[place + 1 :], f"{field}{name[:-2]}[{index}].")
            return
        value = value.get(name)
        if not value:
            return
        field += f"{name}."
    raise ConfigError(f"{names[-1]} is not built yet", field[:-1])
