"""On which CPUs a process runs: process.execCPUAffinity, see sched_setaffinity(2)."""

from libcontainer_py import numberlist
from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.linux import syscalls

# The kernel cuts what it has no CPUs for.
_ALL = b"\xff" * (numberlist.HIGHEST // 8)


def parse_cpus(text: str, field: str = "process.execCPUAffinity") -> "list[int]":
    """Read a list of CPUs such as ``0-3,7``; the empty text asks for nothing, and gives none.

    Raises:
        ConfigError: it is no such list, or there is no CPU in it
    """
    try:
        cpus = numberlist.parse(text)
    except ValueError as error:
        raise ConfigError(str(error), field) from None
    if text and not cpus:
        raise ConfigError("there is no CPU in it", field)
    return cpus


def set_affinity(pid: int, cpus: "list[int]", field: "str | None" = None) -> None:
    """Let a process (0: the calling one) run on these CPUs alone.

    Raises:
        StepError: EINVAL, none of them is there, or its cpuset allows none
    """
    try:
        syscalls.sched_setaffinity(pid, numberlist.mask(cpus))
    except OSError as error:
        what = f"set the CPUs {','.join(map(str, cpus[:32]))}"
        raise StepError(None, error.errno or 0, what, field=field) from None


def reset_affinity(pid: int) -> None:
    """Let a process run on all CPUs of its cpuset, also on those that the cpuset gets later.

    A container must not inherit the CPUs that its engine was bound to.

    Raises:
        OSError: EPERM, it is somebody else's
    """
    syscalls.sched_setaffinity(pid, _ALL)
