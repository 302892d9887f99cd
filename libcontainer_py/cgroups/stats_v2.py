"""What a container uses, by cgroup v2's files (Documentation/admin-guide/cgroup-v2.rst)."""

from libcontainer_py.cgroups import stats
from libcontainer_py.cgroups.hugetlb import page_sizes
from libcontainer_py.cgroups.processes import pids_of
from libcontainer_py.cgroups.stats import (
    UNLIMITED,
    number,
    number_in,
    pressure_in,
    read_if_there,
    table_in,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def collect(path: str) -> "dict[str, Any]":
    """Read all; what isn't there is left out, or 0.

    Raises:
        StepError: a file can't be read, or is not what it should be
    """
    return stats.data(
        cpu=_cpu(path),
        cpuset=stats.cpuset({}),
        memory=_memory(path),
        pids=_pids(path),
        blkio=stats.blkio(_blkio(path), pressure_in(path + "/io.pressure")),
        hugetlb=hugetlb(path),
    )


def _cpu(path: str) -> "dict[str, Any]":
    # In microseconds, all of it; the file is there without the controller, too.
    table = table_in(path + "/cpu.stat")
    return stats.cpu(
        {
            "total": table.get("usage_usec", 0) * 1000,
            "kernel": table.get("system_usec", 0) * 1000,
            "user": table.get("user_usec", 0) * 1000,
        },
        {
            "periods": table.get("nr_periods", 0),
            "throttledPeriods": table.get("nr_throttled", 0),
            "throttledTime": table.get("throttled_usec", 0) * 1000,
        },
        pressure_in(path + "/cpu.pressure"),
    )


def _memory(path: str) -> "dict[str, Any]":
    usage, swap = _amounts(path + "/memory"), _amounts(path + "/memory.swap")
    # v1's are of memory and swap together, and so must these be. The peaks of both can't be added:
    # they were not reached at one time.
    both = {"usage": swap["usage"] + usage["usage"], "limit": swap["limit"]}
    if both["limit"] != UNLIMITED:
        both["limit"] += usage["limit"]
    both["limit"] = min(both["limit"], UNLIMITED)
    entries = {"usage": usage, "swap": both}
    psi = pressure_in(path + "/memory.pressure")
    return stats.memory(table_in(path + "/memory.stat"), "file", entries, psi)


def _amounts(prefix: str) -> "dict[str, int]":
    return {
        "limit": number_in(prefix + ".max"),
        "usage": number_in(prefix + ".current"),
        "max": number_in(prefix + ".peak"),
    }


def _pids(path: str) -> "dict[str, int]":
    current = read_if_there(path + "/pids.current")
    if current is None:  # no controller: counted by hand
        return stats.pids(len(pids_of(path)), 0)
    return stats.pids(number(current), number_in(path + "/pids.max"))


# io.stat's key, the table of v1 that has the same, and v1's word for the operation.
_OPERATIONS = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def _blkio(path: str) -> "dict[str, list[dict[str, Any]]]":
    return blkio_tables(read_if_there(path + "/io.stat") or "")


def blkio_tables(text: str) -> "dict[str, list[dict[str, Any]]]":
    """Read the lines of io.stat, ``8:0 rbytes=90 wbytes=0 rios=5 …``, into v1's tables."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for line in text.splitlines():
        device, _space, items = line.partition(" ")
        for item in items.split():
            key, _equals, value = item.partition("=")
            if key in _OPERATIONS:
                table, operation = _OPERATIONS[key]
                entry = stats.blkio_entry(device, operation, value)
                tables.setdefault(table, []).append(entry)
    return tables


def hugetlb(path: str) -> "dict[str, dict[str, int]]":
    """Read what is used of each size of page: reservations, where the kernel counts those."""
    found = {}
    for size in sorted(page_sizes()):
        prefix = f"{path}/hugetlb.{size}"
        for file in (prefix + ".rsvd.current", prefix + ".current"):
            usage = read_if_there(file)
            if usage is not None:
                failures = table_in(prefix + ".events").get("max", 0)
                found[size] = stats.hugetlb(number(usage), 0, failures)
                break
    return found
