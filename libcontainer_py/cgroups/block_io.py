"""Shares and limits of block devices: blkio on cgroup v1, io on cgroup v2.

Sources: config-linux.md of the runtime-spec, «Block IO», and in the kernel's documentation
admin-guide/cgroup-v1/blkio-controller.rst, admin-guide/cgroup-v2.rst («IO») and
block/bfq-iosched.rst.
"""

import posix

from libcontainer_py.cgroups.files import write
from libcontainer_py.errors import ConfigError, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FIELD = "linux.resources.blockIO"

# Member of config.json, the file of v1, and the key in v2's io.max.
_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)

_ENOENT, _ENODEV, _EOPNOTSUPP = 2, 19, 95


def set_v1(directory: str, block_io: "dict[str, Any]") -> None:
    """Set weights and throttles; a rate of 0 takes a throttle away.

    Raises:
        ConfigError: an entry says nothing
        StepError: the kernel refused, or has no such file or device
    """
    # blkio.weight went with the scheduler CFQ, in Linux 5.0; BFQ's is what there is since.
    bfq = "" if posix.access(directory + "/blkio.weight", posix.F_OK) else "bfq."
    files = (
        ("weight", f"blkio.{bfq}weight", f"blkio.{bfq}weight_device"),
        ("leafWeight", "blkio.leaf_weight", "blkio.leaf_weight_device"),
    )
    for key, file, _device_file in files:
        if block_io.get(key):
            _write(f"{directory}/{file}", str(block_io[key]), f"{FIELD}.{key}")
    for field, entry in _weight_devices(block_io):
        for key, _file, device_file in files:
            if entry.get(key):
                line = f"{_device(entry)} {entry[key]}"
                _write(f"{directory}/{device_file}", line, f"{field}.{key}")
    for key, file, _limit in _THROTTLES:
        for field, entry in _entries(block_io, key):
            _write(f"{directory}/{file}", f"{_device(entry)} {entry['rate']}", field)


def set_v2(directory: str, block_io: "dict[str, Any]") -> None:
    """Set weights and throttles; a rate of 0 takes a throttle away, as it does on v1.

    Raises:
        ConfigError: an entry says nothing, or a weight is out of range
        StepError: the kernel refused, or has no such file or device
    """
    bfq = posix.access(directory + "/io.bfq.weight", posix.F_OK)
    file = directory + ("/io.bfq.weight" if bfq else "/io.weight")
    if block_io.get("weight"):
        field = f"{FIELD}.weight"
        _write(file, str(_weight(block_io["weight"], bfq, field)), field)
    for field, entry in _weight_devices(block_io):
        if entry.get("weight"):
            weight = _weight(entry["weight"], bfq, field + ".weight")
            _write(file, f"{_device(entry)} {weight}", field + ".weight")
    for key, _file, limit in _THROTTLES:
        for field, entry in _entries(block_io, key):
            line = f"{_device(entry)} {limit}={entry['rate'] or 'max'}"
            _write(directory + "/io.max", line, field)


def refuse_leaf_weights(block_io: "dict[str, Any]") -> None:
    """Refuse what cgroup v2 has no file for.

    Raises:
        ConfigError: the first such field
    """
    devices = (
        (f"{FIELD}.weightDevice[{index}]", entry)
        for index, entry in enumerate(block_io.get("weightDevice") or [])
    )
    for field, entry in ((FIELD, block_io), *devices):
        if entry.get("leafWeight"):
            raise ConfigError(
                "invalid configuration: it is for cgroup v1, and this host has cgroup v2",
                f"{field}.leafWeight",
            )


def _weight(weight: int, bfq: bool, field: str) -> int:
    """Convert a weight of v1 (10 to 1000) to io.weight's (1 to 10000); BFQ has kept v1's."""
    if bfq:
        return weight
    if not 10 <= weight <= 1000:
        raise ConfigError(f"{weight} is out of range: it goes from 10 to 1000", field)
    return 1 + (weight - 10) * 9999 // 990


def _weight_devices(block_io: "dict[str, Any]") -> "list[tuple[str, dict[str, Any]]]":
    entries = _entries(block_io, "weightDevice")
    for field, entry in entries:
        if not entry.get("weight") and not entry.get("leafWeight"):
            raise ConfigError("it needs a weight or a leafWeight", field)
    return entries


def _entries(block_io: "dict[str, Any]", key: str) -> "list[tuple[str, dict[str, Any]]]":
    """List (field, entry) of an array."""
    return [
        (f"{FIELD}.{key}[{index}]", entry) for index, entry in enumerate(block_io.get(key) or [])
    ]


def _device(entry: "dict[str, Any]") -> str:
    return f"{entry['major']}:{entry['minor']}"


def _write(path: str, line: str, field: str) -> None:
    try:
        write(path, line, field)
    except StepError as error:
        if error.errno == _ENOENT:
            error.hint = "this kernel has no such file: no scheduler of its can do that"
        elif error.errno == _ENODEV:
            error.hint = "there is no such block device (a partition is none)"
        elif error.errno == _EOPNOTSUPP:
            error.hint = (
                "the device's scheduler is another: only BFQ knows weights of single devices"
            )
        raise
