"""Limits of RDMA devices, the same on both versions of cgroups (admin-guide/cgroup-v1/rdma.rst)."""

from libcontainer_py.cgroups.files import write
from libcontainer_py.errors import ConfigError, StepError, quoted

FIELD = "linux.resources.rdma"

_EINVAL, _ENODEV = 22, 19


def set_limits(directory: str, devices: "dict[str, dict[str, int]]") -> None:
    """Set the handles and objects that may be had of each device.

    Raises:
        ConfigError: an entry limits nothing, or its name can't be a device's
        StepError: the kernel refused, or has no such device
    """
    for name, limits in devices.items():
        field = f"{FIELD}[{quoted(name)}]"
        if not name or not name.isprintable() or " " in name:
            raise ConfigError("it is not the name of a device", field)
        line = name
        for key, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if limits.get(key) is not None:
                line += f" {word}={limits[key]}"
        if line == name:
            raise ConfigError("it needs hcaHandles or hcaObjects", field)
        _write(directory + "/rdma.max", line, field)


def _write(path: str, line: str, field: str) -> None:
    try:
        write(path, line, field)
    except StepError as error:
        if error.errno in (_EINVAL, _ENODEV):
            error.hint = "is there such a device?"
        raise
