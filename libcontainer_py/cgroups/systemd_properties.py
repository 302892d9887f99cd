"""A container's limits as properties of its unit, for systemd to know and to keep.

systemd writes what it knows to the cgroup's files again whenever it likes (`systemctl
daemon-reload` is enough). So it is told what these files say once they are written, and then knows
the same, by whatever field of config.json it came. See systemd.resource-control(5), and
org.freedesktop.systemd1(5) for the types.
"""

from libcontainer_py.cgroups.devices_v1 import FIELD as DEVICES
from libcontainer_py.cgroups.devices_v1 import play
from libcontainer_py.cgroups.files import read
from libcontainer_py.errors import ConfigError
from libcontainer_py.numberlist import mask, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.cgroups.interface import Resources

_FIELD = "linux.resources."
_INFINITY = (1 << 64) - 1
_PERIOD = 100_000  # the kernel's, in microseconds
_SECOND = 1_000_000
_PERCENT = _SECOND // 100

# The first version of systemd that knows it, as the unit of a container.
_DEVICE_NUMBERS, _QUOTA_PERIOD, _CPUSET, _CPU_IDLE, _OOM_POLICY = 240, 242, 244, 252, 253

_NUMBERS = {
    "memory.min": "MemoryMin",
    "memory.low": "MemoryLow",
    "memory.high": "MemoryHigh",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
}
_V1_NUMBERS = {
    "memory.limit_in_bytes": "MemoryLimit",
    "cpu.shares": "CPUShares",
    "blkio.weight": "BlockIOWeight",
}
_V1_NO_LIMIT = 1 << 62  # and above: the kernel rounds down to pages
_LISTS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
_IO_MAX = {
    "rbps": "IOReadBandwidthMax",
    "wbps": "IOWriteBandwidthMax",
    "riops": "IOReadIOPSMax",
    "wiops": "IOWriteIOPSMax",
}


class Property:
    """One property of a unit.

    Attributes:
        name: as systemd spells it: ``MemoryMax``
        signature: its type, as D-Bus spells it
        value: of that type (`dbus.write`)
        field: of config.json, that asked for it
    """

    __slots__ = ("field", "name", "signature", "value")

    def __init__(self, name: str, signature: str, value: "Any", field: str) -> None:
        self.name = name
        self.signature = signature
        self.value = value
        self.field = field


def period_of(file: str) -> int:
    """Read the period from a file that ends with it; the kernel's own where it isn't there."""
    try:
        return int(read(file).split()[-1])
    except OSError:
        return _PERIOD


def settled(resources: "Resources", period: int) -> "Resources":
    """Round the quota of cpu time up to whole percents, because systemd keeps no others.

    The file and what systemd writes there again are the same then, as with runc.

    Args:
        period: where none is given
    """
    cpu = resources.get("cpu") or {}
    if cpu.get("quota"):
        # With its period, which systemd forgets where there is no quota.
        period = cpu.get("period") or period
        quota = _rounded(cpu["quota"], period) if cpu["quota"] > 0 else -1
        resources = resources | {"cpu": cpu | {"quota": quota, "period": period}}
    unified = resources.get("unified") or {}
    words = unified.get("cpu.max", "").split()
    if words and all(map(str.isdecimal, words)):
        quota = _rounded(int(words[0]), int(words[1]) if len(words) > 1 else period)
        line = " ".join([str(quota), *words[1:]])
        resources = resources | {"unified": unified | {"cpu.max": line}}
    return resources


def is_idle(directory: str) -> bool:
    """Tell whether a cgroup on v2 is idle: then it takes no weight."""
    try:
        return read(directory + "/cpu.idle").strip() == "1"
    except OSError:
        return False  # before Linux 5.15


def not_idle(resources: "Resources") -> "Resources":
    """Have a weight that is given end the idling, as one that systemd is told does."""
    cpu, unified = resources.get("cpu") or {}, resources.get("unified") or {}
    if cpu.get("shares") and cpu.get("idle") is None:
        resources = resources | {"cpu": cpu | {"idle": 0}}
    if "cpu.weight" in unified and "cpu.idle" not in unified:
        resources = resources | {"unified": {"cpu.idle": "0"} | unified}
    return resources


def _rounded(quota: int, period: int) -> int:
    return _per_second(quota, period) * period // _SECOND if period else quota


def _per_second(quota: int, period: int) -> int:
    """Microseconds of cpu time in a second, in whole percents."""
    exact = quota * _SECOND // period
    return -(-exact // _PERCENT) * _PERCENT


def at_start(resources: "Resources", version: int) -> "list[Property]":
    """List what systemd takes for a new unit alone."""
    group = str((resources.get("unified") or {}).get("memory.oom.group", "")).strip()
    policy = {"0": "continue", "1": "kill"}.get(group)
    if policy is None or version < _OOM_POLICY:
        return []
    return [Property("OOMPolicy", "s", policy, f'{_FIELD}unified["memory.oom.group"]')]


def of_files(files: "list[str]", version: int) -> "list[Property]":
    """List what the files of a cgroup say, of those that there is a property for.

    Args:
        files: paths; what isn't there has nothing to say
        version: of systemd
    """
    found: list[Property] = []
    for path in dict.fromkeys(files):
        directory, _slash, name = path.rpartition("/")
        try:
            text = read(path).strip()
            if name == "cpu.cfs_quota_us":
                quota = "max" if text == "-1" else text
                name, text = "cpu.max", f"{quota} {read(directory + '/cpu.cfs_period_us').strip()}"
            elif name == "cpu.weight" and is_idle(directory):
                text = "0"  # which is idle for systemd; since Linux 6.12 the file says 1
        except OSError:
            continue
        found += _of_file(name, text, version)
    return found


def _of_file(name: str, text: str, version: int) -> "list[Property]":
    field = _FIELD + {"cpuset": "cpu", "io": "blockIO", "blkio": "blockIO"}.get(
        name.partition(".")[0], name.partition(".")[0]
    )
    if name in _NUMBERS:
        value = _INFINITY if text == "max" else int(text)
        return [Property(_NUMBERS[name], "t", value, field)]
    if name in _V1_NUMBERS:
        value = int(text)
        limit = _INFINITY if value >= _V1_NO_LIMIT else value
        return [Property(_V1_NUMBERS[name], "t", limit, field)]
    if name in _LISTS and text and version >= _CPUSET:
        return [Property(_LISTS[name], "ay", mask(parse(text)), field)]
    if name == "cpu.weight" and (text != "0" or version >= _CPU_IDLE):
        return [Property("CPUWeight", "t", int(text), field)]
    if name == "cpu.max":
        return _of_bandwidth(text, version, field)
    if name in ("io.weight", "io.bfq.weight"):
        return _of_io_weights(text, name == "io.bfq.weight", field)
    if name == "io.max":
        return _of_io_max(text, field)
    return []


def _of_bandwidth(text: str, version: int, field: str) -> "list[Property]":
    quota, period = text.split()
    per_second = _INFINITY if quota == "max" else _per_second(int(quota), int(period))
    found = [Property("CPUQuotaPerSecUSec", "t", per_second, field)]
    if version >= _QUOTA_PERIOD:
        found.append(Property("CPUQuotaPeriodUSec", "t", int(period), field))
    return found


# ── block devices ───────────────────────────────────────────────────────────────────────────────


def _of_io_weights(text: str, bfq: bool, field: str) -> "list[Property]":
    devices = []
    found = []
    for line in text.splitlines():
        device, _space, weight = line.rpartition(" ")
        value = _bfq(int(weight)) if bfq else int(weight)
        if device in ("", "default"):
            found.append(Property("IOWeight", "t", value, field))
        else:
            devices.append((f"/dev/block/{device}", value))
    return found + _list_anew("IODeviceWeight", "a(st)", devices, field)


def _bfq(weight: int) -> int:
    """The io.weight that systemd makes this weight of BFQ's of (BFQ_WEIGHT in its source)."""
    return weight if weight <= 100 else 100 + (weight - 100) * 11


def _of_io_max(text: str, field: str) -> "list[Property]":
    limits: dict[str, list[tuple[str, int]]] = {name: [] for name in _IO_MAX.values()}
    for line in text.splitlines():
        device, *pairs = line.split()
        for pair in pairs:
            key, _equals, value = pair.partition("=")
            if key in _IO_MAX and value != "max":
                limits[_IO_MAX[key]].append((f"/dev/block/{device}", int(value)))
    return [
        each for name, values in limits.items() for each in _list_anew(name, "a(st)", values, field)
    ]


def _list_anew(name: str, signature: str, values: "list[Any]", field: str) -> "list[Property]":
    """A list adds to what is there, but for an empty one, which takes all that away."""
    empty = Property(name, signature, [], field)
    return [empty, Property(name, signature, values, field)] if values else [empty]


# ── devices ─────────────────────────────────────────────────────────────────────────────────────


def of_devices(
    rules: "list[dict[str, Any]] | None", version: int, *, alone: bool
) -> "list[Property]":
    """List the devices that systemd shall allow.

    It can't be told of devices that are denied, for example. Then it is told to allow more than the
    rules do: what they deny, our own program denies (v2).

    Args:
        version: of systemd
        alone: there is no such program, because systemd writes where our rules are (v1). Then it is
            told to allow less
    """
    if version < _DEVICE_NUMBERS:
        return []
    complete = True
    try:
        outcome = play(rules or [])
    except ConfigError:  # what v1 can't express, its list of what is allowed can't, either
        complete = False
        outcome = play([])
    listed = []
    for (kind, major, minor), (access, _field) in outcome.exceptions.items():
        name = {"b": "block", "c": "char"}[kind]
        if minor == "*":
            listed.append((f"{name}-{major}", access))
        elif major != "*":
            listed.append((f"/dev/{name}/{major}:{minor}", access))
        else:
            complete = False
    allowed, policy = [], "auto"
    if not outcome.allow and (complete or alone):
        allowed, policy = listed, "strict"
    elif outcome.allow and outcome.exceptions and alone:
        policy = "strict"
    found = _list_anew("DeviceAllow", "a(ss)", allowed, DEVICES)
    return [*found, Property("DevicePolicy", "s", policy, DEVICES)]


def named_in(text: str, properties: "list[Property]") -> "Property | None":
    """Find the property that a complaint of systemd's is about."""
    words = "".join(char if char.isalnum() else " " for char in text).split()
    return next((each for each in properties if each.name in words), None)
