"""What `events` tells of Intel RDT: the ``intel_rdt`` of runc's statistics (types/events.go)."""

import posix

from libcontainer_py.cgroups.files import read
from libcontainer_py.cgroups.stats import filled, number
from libcontainer_py.errors import StepError, shown
from libcontainer_py.intelrdt import resctrl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.intelrdt.groups import State

_L3 = ("min_cbm_bits", "num_closids")
_MB = ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")
# What info/L3_MON/mon_features may list, and where its counters go.
_MEASURED = {
    "mbm_stats": ("mbm_total_bytes", "mbm_local_bytes"),
    "cmt_stats": ("llc_occupancy",),
}


def collect(state: "State") -> "dict[str, Any]":
    """Read the statistics of a container's class; those of its own where it has a group for them.

    Raises:
        StepError: a file can't be read
    """
    mounted, path = state["mountpoint"], state["path"]
    whole = _schemata(mounted)
    own = _schemata(path)
    found: dict[str, Any] = {}
    if resctrl.can(mounted, "L3"):
        info = f"{mounted}/info/L3"
        found["l3_cache_info"] = filled(
            {"cbm_mask": read(f"{info}/cbm_mask").strip(), **_numbers(info, _L3)}
        )
        found["l3_cache_schema_root"] = _last(whole, "L3")
        found["l3_cache_schema"] = _last(own, "L3")
    if resctrl.can(mounted, "MB"):
        found["mem_bw_info"] = filled(_numbers(f"{mounted}/info/MB", _MB))
        found["mem_bw_schema_root"] = _last(whole, "MB")
        found["mem_bw_schema"] = _last(own, "MB")
    found["schemata"] = own
    return filled(found, keep=("l3_cache_info", "mem_bw_info")) | _measured(state)


def _measured(state: "State") -> "dict[str, Any]":
    mounted = state["mountpoint"]
    if not resctrl.can(mounted, "L3_MON"):
        return {}
    features = read(f"{mounted}/info/L3_MON/mon_features").split()
    data = f"{state['monitor'] or state['path']}/mon_data"
    found: dict[str, Any] = {}
    for name, counters in _MEASURED.items():
        # Of a kind of which there is one, runc prints the others too, as 0.
        if any(counter in features for counter in counters):
            found[name] = [
                {
                    counter: _number(f"{domain}/{counter}") if counter in features else 0
                    for counter in counters
                }
                for domain in _domains(data)
            ]
    return found


def _domains(data: str) -> "list[str]":
    try:
        return [f"{data}/{name}" for name in sorted(posix.listdir(data))]
    except OSError as error:
        raise StepError(None, error.errno or 0, f"read {shown(data)}") from None


def _numbers(directory: str, names: "tuple[str, ...]") -> "dict[str, int]":
    return {name: _number(f"{directory}/{name}") for name in names}


def _number(path: str) -> int:
    return number(read(path))


def _schemata(group: str) -> "list[str]":
    return read(f"{group}/schemata").strip().split("\n")


def _last(lines: "list[str]", resource: str) -> str:
    """The last line for a resource: with code and data apart there are two of L3."""
    return next((line.strip() for line in reversed(lines) if resource in line), "")
