"""The limits of cgroup v1: cpu, cpuset, pids and memory.

Sources: config-linux.md of the runtime-spec for the fields, and in the kernel's documentation
admin-guide/cgroup-v1/{cpusets,memory,pids}.rst and scheduler/{sched-bwc,sched-rt-group}.rst for the
files. A field that is absent leaves the kernel's value; so does 0 where 0 is no value (engines
write it for "not given").
"""

import posix

from libcontainer_py.cgroups.files import read, value_of, write
from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.linux.pathnames import dirname

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Setting = tuple[str, int | str, str]  # file, value, field

_ENOENT, _EBUSY, _EINVAL = 2, 16, 22

# kernel/sched/sched.h: MIN_SHARES, MAX_SHARES. Beyond them the kernel takes the nearest, silently.
_MIN_SHARES = 2
_MAX_SHARES = 1 << 18


# ── cpu ─────────────────────────────────────────────────────────────────────────────────────────


def set_cpu(directory: str, cpu: "dict[str, Any]") -> None:
    """Set shares, bandwidth (period, quota, burst), idle and the real-time budget."""
    shares, idle = cpu.get("shares"), cpu.get("idle")
    if shares:
        if not _MIN_SHARES <= shares <= _MAX_SHARES:
            raise ConfigError(
                f"{shares} is out of range: it goes from {_MIN_SHARES} to {_MAX_SHARES}",
                "linux.resources.cpu.shares",
            )
        if idle is not None:
            # An idle cgroup takes no shares.
            write(directory + "/cpu.idle", 0, "linux.resources.cpu.idle")
        write(directory + "/cpu.shares", shares, "linux.resources.cpu.shares")
    if idle is not None:
        write(directory + "/cpu.idle", idle, "linux.resources.cpu.idle")
    _set_together(
        [
            *_given(cpu, "period", directory + "/cpu.cfs_period_us"),
            *_given(cpu, "quota", directory + "/cpu.cfs_quota_us"),
            *_burst(cpu, directory + "/cpu.cfs_burst_us"),
        ]
    )
    set_realtime(directory, cpu)


def set_realtime(directory: str, cpu: "dict[str, Any]") -> None:
    """Set the real-time budget: before a process with a real-time policy can join."""
    _set_together(
        [
            *_given(cpu, "realtimePeriod", directory + "/cpu.rt_period_us"),
            *_given(cpu, "realtimeRuntime", directory + "/cpu.rt_runtime_us"),
        ]
    )


def _given(cpu: "dict[str, Any]", key: str, file: str) -> "list[Setting]":
    return [(file, cpu[key], "linux.resources.cpu." + key)] if cpu.get(key) else []


def _burst(cpu: "dict[str, Any]", file: str) -> "list[Setting]":
    # 0 is a value here, the kernel's own: to say so is fine before Linux 5.14, which has no file.
    burst = cpu.get("burst")
    if burst is None or (burst == 0 and not posix.access(file, posix.F_OK)):
        return []
    return [(file, burst, "linux.resources.cpu.burst")]


def _set_together(settings: "list[Setting]") -> None:
    """Write settings that the kernel checks against each other (a quota against its period).

    On the way from one good combination to another there can be a bad one. What is refused at
    first is therefore tried once more when the rest is in place.
    """
    refused = []
    for setting in settings:
        try:
            write(*setting)
        except StepError as error:
            if error.errno != _EINVAL or len(settings) == 1:
                raise
            refused.append(setting)
    for setting in refused:
        write(*setting)


# ── cpuset ──────────────────────────────────────────────────────────────────────────────────────

_CPUSET = (("cpuset.cpus", "cpus"), ("cpuset.mems", "mems"))


def set_cpuset(directory: str, cpu: "dict[str, Any]") -> None:
    """Set the processors and memory nodes."""
    for file, key in _CPUSET:
        if cpu.get(key):
            write(f"{directory}/{file}", cpu[key], "linux.resources.cpu." + key)


def populate_cpuset(directory: str, mountpoint: str, cpu: "dict[str, Any]", new: bool) -> None:
    """Give a cpuset processors and nodes: a new one has none, and lets nobody in.

    Parents that have none either get those of the nearest one that has; the cgroup itself gets
    what the config says, or the same.
    """
    for file, key in _CPUSET:
        if not new and not cpu.get(key) and read(f"{directory}/{file}").strip():
            continue
        value, empty = "", [directory]
        while not value and len(empty[-1]) > len(mountpoint):
            parent = dirname(empty[-1])
            value = read(f"{parent}/{file}").strip()
            if not value:
                empty.append(parent)
        for level in reversed(empty[1:]):
            write(f"{level}/{file}", value, "linux.cgroupsPath")
        if cpu.get(key):
            write(f"{directory}/{file}", cpu[key], "linux.resources.cpu." + key)
        else:
            write(f"{directory}/{file}", value, "linux.cgroupsPath")


# ── pids ────────────────────────────────────────────────────────────────────────────────────────


def set_pids(directory: str, pids: "dict[str, Any]") -> None:
    """Set the number of tasks. Negative is no limit; 0 is a limit, since runtime-spec 1.3.

    It becomes 1, as in runc: neither allows a fork, and systemd, for its driver, has no 0.
    """
    limit = pids.get("limit")
    if limit is not None:
        value = "max" if limit < 0 else max(limit, 1)
        write(directory + "/pids.max", value, "linux.resources.pids.limit")


# ── memory ──────────────────────────────────────────────────────────────────────────────────────

_LIMIT = "/memory.limit_in_bytes"
_SWAP = "/memory.memsw.limit_in_bytes"
_FIELD = "linux.resources.memory."


def set_memory(directory: str, memory: "dict[str, Any]") -> None:
    """Set memory's limits. ``kernel`` and ``kernelTCP`` are ignored, with a warning, as in runc."""
    _set_limit_and_swap(directory, memory)
    if memory.get("reservation"):
        file = directory + "/memory.soft_limit_in_bytes"
        write(file, memory["reservation"], _FIELD + "reservation")
    if memory.get("swappiness") is not None:
        write(directory + "/memory.swappiness", memory["swappiness"], _FIELD + "swappiness")
    if memory.get("useHierarchy") is not None:
        value = int(memory["useHierarchy"])
        write(directory + "/memory.use_hierarchy", value, _FIELD + "useHierarchy")
    if memory.get("disableOOMKiller") is not None:
        _set_oom_control(directory, bool(memory["disableOOMKiller"]))


def _set_limit_and_swap(directory: str, memory: "dict[str, Any]") -> None:
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if limit > 0 and memory.get("checkBeforeUpdate"):
        usage = int(read(directory + "/memory.usage_in_bytes"))
        if usage > limit:
            raise _too_small(directory, limit)
    if limit == -1 and not swap and posix.access(directory + _SWAP, posix.F_OK):
        # The sum of both can't stay below the one.
        swap = -1
    # The kernel holds memory <= memory + swap at every moment: raise the sum first, lower it last.
    # `swap` above today's memory limit says that raising it now breaks nothing.
    if limit and swap and (swap == -1 or swap > int(read(directory + _LIMIT))):
        _set_swap(directory, swap)
        _set_limit(directory, limit)
        return
    if limit:
        _set_limit(directory, limit)
    if swap:
        _set_swap(directory, swap)


def _set_limit(directory: str, limit: int) -> None:
    try:
        write(directory + _LIMIT, limit, _FIELD + "limit")
    except StepError as error:
        if error.errno == _EINVAL:
            error.hint = "it is above what memory and swap may be together (memory.swap)"
        if error.errno != _EBUSY:
            raise
        raise _too_small(directory, limit) from None


def _too_small(directory: str, limit: int) -> StepError:
    usage = read(directory + "/memory.usage_in_bytes").strip()
    peak = read(directory + "/memory.max_usage_in_bytes").strip()
    return StepError(
        None,
        _EBUSY,
        f"set the memory limit to {limit}",
        field=_FIELD + "limit",
        hint=f"in use now: {usage} bytes, at its peak: {peak}",
    )


def _set_swap(directory: str, swap: int) -> None:
    try:
        write(directory + _SWAP, swap, _FIELD + "swap")
    except StepError as error:
        if error.errno == _ENOENT:
            error.hint = "this kernel does not account swap (swapaccount=1 on its command line)"
        raise


def _set_oom_control(directory: str, disable: bool) -> None:
    file = directory + "/memory.oom_control"
    # The kernel warns about each write of this file since 6.12, so not to say what is so anyway.
    if disable != (value_of(read(file), "oom_kill_disable") == 1):
        write(file, int(disable), _FIELD + "disableOOMKiller")
