"""The form of ``runc events --stats``: which members there are, and which are left out.

Clients parse it with runc's types/events.go, so what Go leaves out when it is 0 (``omitempty``) is
left out here, and the rest is there even where a host has nothing to say. All numbers are
unsigned, nanoseconds or bytes.
"""

from libcontainer_py.cgroups.files import read
from libcontainer_py.cgroups.processes import GONE
from libcontainer_py.errors import StepError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNLIMITED = (1 << 64) - 1  # what "max" becomes

_EOPNOTSUPP = 95


def data(**parts: "dict[str, Any]") -> "dict[str, Any]":
    """Put the parts together: cpu, cpuset, memory, pids, blkio, hugetlb."""
    return {**parts, "intel_rdt": {}}


def cpu(
    usage: "dict[str, Any]", throttling: "dict[str, int]", psi: "dict[str, Any] | None" = None
) -> "dict[str, Any]":
    """Make ``cpu``: `usage` has total, percpu, percpu_kernel, percpu_user, kernel and user;
    `throttling` has periods, throttledPeriods and throttledTime.
    """
    return {
        "usage": filled(usage, keep=("kernel", "user")),
        "throttling": filled(throttling),
        **_psi(psi),
    }


_CPUSET = (
    *("cpus", "cpu_exclusive", "mems", "mem_hardwall", "mem_exclusive", "memory_migrate"),
    *("memory_spread_page", "memory_spread_slab", "memory_pressure", "sched_load_balance"),
    "sched_relax_domain_level",
)


def cpuset(values: "dict[str, Any]") -> "dict[str, Any]":
    """Make ``cpuset``."""
    complete = {key: values.get(key, 0) for key in _CPUSET}
    return filled(complete, keep=tuple(key for key in _CPUSET if key not in ("cpus", "mems")))


def memory(
    raw: "dict[str, int]",
    cache: str,
    entries: "dict[str, dict[str, int]]",
    psi: "dict[str, Any] | None" = None,
) -> "dict[str, Any]":
    """Make ``memory``: `raw` is memory.stat, `cache` the key in it of what is cached; `entries` are
    usage, swap, kernel and kernelTCP, each with limit, usage, max and failcnt.
    """
    made: dict[str, Any] = filled({"cache": raw.get(cache, 0)})
    for name in ("usage", "swap", "kernel", "kernelTCP"):
        entry = entries.get(name, {})
        complete = {key: entry.get(key, 0) for key in ("limit", "usage", "max", "failcnt")}
        made[name] = filled(complete, keep=("limit", "failcnt"))
    made |= filled({"raw": dict(sorted(raw.items()))})
    return {**made, **_psi(psi)}


def pids(current: int, limit: int) -> "dict[str, int]":
    """Make ``pids``; no limit is 0."""
    return filled({"current": current, "limit": 0 if limit == UNLIMITED else limit})


_BLKIO = (
    *("ioServiceBytesRecursive", "ioServicedRecursive", "ioQueueRecursive"),
    *("ioServiceTimeRecursive", "ioWaitTimeRecursive", "ioMergedRecursive"),
    *("ioTimeRecursive", "sectorsRecursive"),
)


def blkio(
    tables: "dict[str, list[dict[str, Any]]]", psi: "dict[str, Any] | None" = None
) -> "dict[str, Any]":
    """Make ``blkio`` from its tables of `blkio_entry`."""
    return {**filled({key: tables.get(key) for key in _BLKIO}), **_psi(psi)}


def blkio_entry(device: str, operation: str, value: str) -> "dict[str, Any]":
    """Make one entry of a table of ``blkio``."""
    major, _colon, minor = device.partition(":")
    return filled(
        {"major": int(major), "minor": int(minor), "op": operation, "value": number(value)}
    )


def hugetlb(usage: int, most: int, failures: int) -> "dict[str, int]":
    """Make the entry of one size of page."""
    return filled({"usage": usage, "max": most, "failcnt": failures}, keep=("failcnt",))


def filled(values: "dict[str, Any]", keep: "tuple[str, ...]" = ()) -> "dict[str, Any]":
    """Leave out what is 0 or empty, but for some."""
    return {key: value for key, value in values.items() if value or key in keep}


def _psi(psi: "dict[str, Any] | None") -> "dict[str, Any]":
    return {} if psi is None else {"psi": psi}


# ── the kernel's files ──────────────────────────────────────────────────────────────────────────


def read_if_there(path: str) -> "str | None":
    """Read a file that not every kernel, or not this cgroup, has."""
    try:
        return read(path)
    except StepError as error:
        # EOPNOTSUPP: pressure, where the kernel was told not to measure it.
        if error.errno in (*GONE, _EOPNOTSUPP):
            return None
        raise


def number(text: str) -> int:
    """Read a number as runc does: ``max`` is the greatest, and what is below 0 (some of the
    kernel's counters are, for a moment) is 0.

    Raises:
        StepError: it is none
    """
    text = text.strip()
    try:
        return UNLIMITED if text == "max" else max(int(text), 0)
    except ValueError:
        raise StepError(None, 0, f"read a statistic: {quoted(text)} is no number") from None


def number_in(path: str) -> int:
    """Read a file of one number; 0 if it isn't there."""
    return number(read_if_there(path) or "0")


def table_in(path: str) -> "dict[str, int]":
    """Read a file of ``key number`` lines; empty if it isn't there."""
    lines = (read_if_there(path) or "").splitlines()
    return {key: number(value) for key, _space, value in (line.partition(" ") for line in lines)}


def pressure_in(path: str) -> "dict[str, Any] | None":
    """Read a file of pressure (Documentation/accounting/psi.rst); None if it isn't there."""
    text = read_if_there(path)
    if text is None:
        return None
    empty = {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0}
    psi: dict[str, Any] = {"some": dict(empty), "full": dict(empty)}
    for line in text.splitlines():
        kind, _space, values = line.partition(" ")
        for value in values.split():
            key, _equals, amount = value.partition("=")
            if kind in psi and key in empty:
                psi[kind][key] = int(amount) if key == "total" else _short(float(amount))
    return psi


def _short(value: float) -> "int | float":
    # As Go prints it: 0, and not 0.0.
    return int(value) if value == int(value) else value
