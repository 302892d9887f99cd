"""What a container uses, by cgroup v1's files (admin-guide/cgroup-v1/*.rst)."""

from libcontainer_py.cgroups import stats
from libcontainer_py.cgroups.hugetlb import page_sizes
from libcontainer_py.cgroups.stats import number, number_in, read_if_there, table_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# cpuacct.stat counts in ticks, of which there are 100 a second on every architecture of ours.
_NANOSECONDS_A_TICK = 10_000_000


def collect(paths: "dict[str, str]") -> "dict[str, Any]":
    """Read all; `paths` is by controller, and what isn't there is left out, or 0.

    Raises:
        StepError: a file can't be read, or is not what it should be
    """
    return stats.data(
        cpu=stats.cpu(_cpu_usage(paths.get("cpuacct")), _throttling(paths.get("cpu"))),
        cpuset=stats.cpuset(_cpuset(paths.get("cpuset"))),
        memory=_memory(paths.get("memory")),
        pids=_pids(paths.get("pids")),
        blkio=stats.blkio(_blkio(paths.get("blkio"))),
        hugetlb=_hugetlb(paths.get("hugetlb")),
    )


def _cpu_usage(path: "str | None") -> "dict[str, Any]":
    ticks = table_in(f"{path}/cpuacct.stat") if path else {}
    usage: dict[str, Any] = {
        "total": number_in(f"{path}/cpuacct.usage") if path else 0,
        "percpu": [],
        "percpu_kernel": [],
        "percpu_user": [],
        "kernel": ticks.get("system", 0) * _NANOSECONDS_A_TICK,
        "user": ticks.get("user", 0) * _NANOSECONDS_A_TICK,
    }
    if path:
        usage["percpu"] = list(
            map(number, (read_if_there(f"{path}/cpuacct.usage_percpu") or "").split())
        )
        # A line for each processor, below one that names the columns: cpu user system.
        for line in (read_if_there(f"{path}/cpuacct.usage_all") or "").splitlines()[1:]:
            fields = line.split(" ")
            if len(fields) >= 3:
                usage["percpu_user"].append(number(fields[1]))
                usage["percpu_kernel"].append(number(fields[2]))
    return usage


def _throttling(path: "str | None") -> "dict[str, int]":
    table = table_in(f"{path}/cpu.stat") if path else {}
    return {
        "periods": table.get("nr_periods", 0),
        "throttledPeriods": table.get("nr_throttled", 0),
        "throttledTime": table.get("throttled_time", 0),
    }


_CPUSET_FLAGS = (
    *("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page"),
    *("memory_spread_slab", "memory_pressure", "sched_load_balance"),
)


def _cpuset(path: "str | None") -> "dict[str, Any]":
    if not path:
        return {}
    values: dict[str, Any] = {key: number_in(f"{path}/cpuset.{key}") for key in _CPUSET_FLAGS}
    for key in ("cpus", "mems"):
        values[key] = numbers_of_list(read_if_there(f"{path}/cpuset.{key}") or "")
    # The one number that may be negative.
    level = read_if_there(f"{path}/cpuset.sched_relax_domain_level") or "0"
    values["sched_relax_domain_level"] = int(level)
    return values


def numbers_of_list(text: str) -> "list[int]":
    """Give the numbers of a list in the kernel's words: ``0-2,7``."""
    found: list[int] = []
    for part in text.strip().split(",") if text.strip() else []:
        first, _dash, last = part.partition("-")
        found += range(number(first), number(last or first) + 1)
    return found


def _memory(path: "str | None") -> "dict[str, Any]":
    if not path:
        return stats.memory({}, "cache", {})
    entries = {
        name: {
            "limit": number_in(f"{path}/{file}.limit_in_bytes"),
            "usage": number_in(f"{path}/{file}.usage_in_bytes"),
            "max": number_in(f"{path}/{file}.max_usage_in_bytes"),
            "failcnt": number_in(f"{path}/{file}.failcnt"),
        }
        for name, file in (
            ("usage", "memory"),
            ("swap", "memory.memsw"),
            ("kernel", "memory.kmem"),
            ("kernelTCP", "memory.kmem.tcp"),
        )
    }
    return stats.memory(table_in(f"{path}/memory.stat"), "cache", entries)


def _pids(path: "str | None") -> "dict[str, int]":
    if not path:
        return {}
    return stats.pids(number_in(f"{path}/pids.current"), number_in(f"{path}/pids.max"))


# The same numbers are had under several names, by scheduler and kernel. runc takes the first of
# these groups of which the first file has anything to say, up to the first that says nothing.
_RECURSIVE = (
    ("sectorsRecursive", "sectors_recursive"),
    ("ioServiceTimeRecursive", "io_service_time_recursive"),
    ("ioWaitTimeRecursive", "io_wait_time_recursive"),
    ("ioMergedRecursive", "io_merged_recursive"),
    ("ioQueueRecursive", "io_queued_recursive"),
    ("ioTimeRecursive", "time_recursive"),
    ("ioServicedRecursive", "io_serviced_recursive"),
    ("ioServiceBytesRecursive", "io_service_bytes_recursive"),
)
_BLKIO_GROUPS = (
    ("blkio.bfq.", _RECURSIVE),
    ("blkio.bfq.", _RECURSIVE[-2:]),
    ("blkio.", _RECURSIVE),
    ("blkio.throttle.", _RECURSIVE[-2:]),
    (
        "blkio.throttle.",
        (("ioServicedRecursive", "io_serviced"), ("ioServiceBytesRecursive", "io_service_bytes")),
    ),
)


def _blkio(path: "str | None") -> "dict[str, list[dict[str, Any]]]":
    tables: dict[str, list[dict[str, Any]]] = {}
    for prefix, files in _BLKIO_GROUPS if path else ():
        for key, file in files:
            table = blkio_table(read_if_there(f"{path}/{prefix}{file}") or "")
            if not table:
                break
            tables[key] = table
        if tables:
            break
    return tables


def blkio_table(text: str) -> "list[dict[str, Any]]":
    """Read the lines of a file of blkio: ``8:0 Read 4096``, or ``8:0 4096``; not their sum."""
    table = []
    for line in text.splitlines():
        device, _space, rest = line.partition(" ")
        if ":" in device:
            operation, _space, value = rest.rpartition(" ")
            table.append(stats.blkio_entry(device, operation, value))
    return table


def _hugetlb(path: "str | None") -> "dict[str, dict[str, int]]":
    found = {}
    for size in sorted(page_sizes()) if path else ():
        for prefix in (f"{path}/hugetlb.{size}.rsvd", f"{path}/hugetlb.{size}"):
            usage = read_if_there(prefix + ".usage_in_bytes")
            if usage is not None:
                most = number_in(prefix + ".max_usage_in_bytes")
                found[size] = stats.hugetlb(number(usage), most, number_in(prefix + ".failcnt"))
                break
    return found
