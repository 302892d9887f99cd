"""The limits of cgroup v2: cpu, cpuset, pids, memory, and what the config names by its file.

config.json speaks the language of v1; config-linux.md of the runtime-spec says what the fields
mean, Documentation/admin-guide/cgroup-v2.rst what the files take. A field that is absent leaves the
kernel's value; so does 0 where 0 is no value (engines write it for "not given").
"""

import math

from libcontainer_py.cgroups.files import read, value_of, write
from libcontainer_py.cgroups.interface import asks
from libcontainer_py.errors import ConfigError, StepError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_ENOENT, _EBUSY, _EINVAL = 2, 16, 22

_FIELD = "linux.resources."

# Not there on v2, so that silence would be no limit.
_MEMORY_V1 = ("swappiness", "disableOOMKiller")
_CPU_V1 = ("realtimeRuntime", "realtimePeriod")
_NETWORK_V1 = ("classID", "priorities")
_UNSET = (1 << 64) - 1  # some engines write it for a swappiness that is not given


def refuse_v1(resources: "dict[str, Any]") -> None:
    """Refuse what cgroup v2 has no file for.

    Raises:
        ConfigError: the first such field
    """
    for part, keys in (("memory", _MEMORY_V1), ("cpu", _CPU_V1), ("network", _NETWORK_V1)):
        values = resources.get(part) or {}
        for key in keys:
            if asks(values.get(key)) and values[key] != _UNSET:
                raise ConfigError(
                    "invalid configuration: it is for cgroup v1, and this host has cgroup v2",
                    f"{_FIELD}{part}.{key}",
                )
    if asks(resources.get("blockIO")):
        from libcontainer_py.cgroups import block_io

        block_io.refuse_leaf_weights(resources["blockIO"])


def needed(resources: "dict[str, Any]") -> "Iterator[tuple[str, str]]":
    """Give (field, controller) of what is asked for."""
    if (resources.get("pids") or {}).get("limit") is not None:
        yield _FIELD + "pids", "pids"
    if asks(resources.get("memory")):
        yield _FIELD + "memory", "memory"
    for key, value in (resources.get("cpu") or {}).items():
        if asks(value) or key in ("idle", "burst"):
            yield f"{_FIELD}cpu.{key}", "cpuset" if key in ("cpus", "mems") else "cpu"
    for part, controller in (("blockIO", "io"), ("hugepageLimits", "hugetlb"), ("rdma", "rdma")):
        if asks(resources.get(part)):
            yield _FIELD + part, controller
    for file in resources.get("unified") or {}:
        controller = file.partition(".")[0]
        if controller != "cgroup":
            yield f"{_FIELD}unified[{quoted(file)}]", controller


# ── cpu and cpuset ──────────────────────────────────────────────────────────────────────────────


def set_cpu(directory: str, cpu: "dict[str, Any]") -> None:
    """Set idle, weight, burst, quota and period, and the processors and memory nodes."""
    idle = cpu.get("idle")
    if cpu.get("shares"):
        if idle is not None:
            # An idle cgroup takes no weight.
            write(directory + "/cpu.idle", 0, _FIELD + "cpu.idle")
        write(directory + "/cpu.weight", weight_of(cpu["shares"]), _FIELD + "cpu.shares")
    if idle is not None:
        write(directory + "/cpu.idle", idle, _FIELD + "cpu.idle")
    _set_bandwidth(directory, cpu)
    for key in ("cpus", "mems"):
        if cpu.get(key):
            write(f"{directory}/cpuset.{key}", cpu[key], f"{_FIELD}cpu.{key}")


def weight_of(shares: int) -> int:
    """Convert v1's shares (2 to 262144, by default 1024) to v2's weight (1 to 10000, 100).

    The curve is runc's and crun's: a parabola of logarithms through both ends and the defaults.
    """
    bounded = min(max(shares, 2), 1 << 18)
    power = math.log2(bounded)
    return min(math.ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34)), 10000)


def _set_bandwidth(directory: str, cpu: "dict[str, Any]") -> None:
    quota, period, burst = cpu.get("quota"), cpu.get("period"), cpu.get("burst")
    burst_file = directory + "/cpu.max.burst"
    later = False
    if burst is not None:
        try:
            write(burst_file, burst, _FIELD + "cpu.burst")
        except StepError as error:
            # 0 is what there is before Linux 5.14, which has no file. And it must not be above the
            # quota: above the one there is now, maybe.
            if error.errno == _EINVAL and quota:
                later = True
            elif error.errno != _ENOENT or burst:
                raise
    if quota:
        value = "max" if quota < 0 else str(quota)
        write(directory + "/cpu.max", f"{value} {period or ''}", _FIELD + "cpu.quota")
    elif period:
        # The kernel keeps a period that it isn't told, but not a quota.
        value = read(directory + "/cpu.max").split()[0]
        write(directory + "/cpu.max", f"{value} {period}", _FIELD + "cpu.period")
    if later:
        write(burst_file, burst or 0, _FIELD + "cpu.burst")


# ── pids ────────────────────────────────────────────────────────────────────────────────────────


def set_pids(directory: str, pids: "dict[str, Any]") -> None:
    """Set the number of tasks. Negative is no limit; 0 is 1, as in runc: its process alone."""
    limit = pids.get("limit")
    if limit is not None:
        value = "max" if limit < 0 else max(limit, 1)
        write(directory + "/pids.max", value, _FIELD + "pids.limit")


# ── memory ──────────────────────────────────────────────────────────────────────────────────────


def set_memory(directory: str, memory: "dict[str, Any]") -> None:
    """Set memory's limits.

    Raises:
        StepError: the kernel refused; or it killed somebody inside to get below the limit, which
            it does here instead of refusing one that is too small
    """
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if memory.get("checkBeforeUpdate"):
        _check_usage(directory, limit, swap)
    _set_swap(directory, limit, swap)
    if limit:
        killed = oom_kills(directory)
        write(directory + "/memory.max", _or_max(limit), _FIELD + "memory.limit")
        if oom_kills(directory) != killed:
            raise StepError(
                None,
                _EBUSY,
                f"set the memory limit to {limit}",
                field=_FIELD + "memory.limit",
                hint="the memory limit is too small: the kernel killed a process to reach it",
            )
    if memory.get("reservation"):
        value = _or_max(memory["reservation"])
        write(directory + "/memory.low", value, _FIELD + "memory.reservation")


def oom_kills(directory: str) -> int:
    """Count how often the kernel killed for memory in a cgroup or below it."""
    return value_of(read(directory + "/memory.events"), "oom_kill") or 0


def _check_usage(directory: str, limit: int, swap: int) -> None:
    usage = int(read(directory + "/memory.current"))
    for key, value, name in (("swap", swap, "memory+swap"), ("limit", limit, "memory")):
        if 0 < value <= usage:
            raise StepError(
                None,
                _EBUSY,
                f"set the memory {key} to {value}",
                field=f"{_FIELD}memory.{key}",
                hint=f"rejecting {name} limit: in use now: {usage} bytes",
            )


def _set_swap(directory: str, limit: int, swap: int) -> None:
    """Set what may be swapped out. config.json's `swap` is memory and swap together."""
    if swap > 0:
        limit = limit or _current_limit(directory)
        if limit > swap:
            message = "memory+swap limit should be >= memory limit"
            raise ConfigError(message, _FIELD + "memory.swap")
        value: int | str = swap if limit == -1 else swap - limit
    elif swap == -1 or limit == -1:
        value = "max"
    else:
        return
    try:
        write(directory + "/memory.swap.max", value, _FIELD + "memory.swap")
    except StepError as error:
        if error.errno != _ENOENT:
            raise
        # Without swap there is nothing to forbid, nor to allow without bounds.
        if value not in (0, "max"):
            error.hint = "this kernel does not account swap (swapaccount=1 on its command line)"
            raise


def _current_limit(directory: str) -> int:
    limit = read(directory + "/memory.max").strip()
    if limit == "max":
        message = "unable to set swap limit without memory limit"
        raise ConfigError(message, _FIELD + "memory.swap")
    return int(limit)


def _or_max(value: int) -> "int | str":
    return "max" if value == -1 else value


# ── files by their names ────────────────────────────────────────────────────────────────────────


def set_unified(directory: str, unified: "dict[str, str]", *, memory: bool) -> None:
    """Write the files that `unified` names, line by line: those of memory, or all others.

    An idle cgroup takes no weight. So cpu.idle is the first; and where it is 1 a weight is left
    out, of which whoever checked `unified` has warned.
    """
    idle = unified.get("cpu.idle", "").strip() == "1"
    for file, text in sorted(unified.items(), key=lambda item: item[0] != "cpu.idle"):
        if file.startswith("memory.") == memory and not (
            idle and file in ("cpu.weight", "cpu.weight.nice")
        ):
            for line in text.splitlines() or [""]:
                write(f"{directory}/{file}", line, f"{_FIELD}unified[{quoted(file)}]")
