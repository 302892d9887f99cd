"""Resource limits of a process, set from outside by prlimit(2)."""

from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.namespaces.finish import FinishList as Calls

# include/uapi/asm-generic/resource.h
RLIMITS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}


NPROC = RLIMITS["RLIMIT_NPROC"]


def set_rlimits(pid: int, rlimits: "list[dict[str, Any]]", *, nproc_later: bool = False) -> None:
    """Set `process.rlimits` on a process. The parent does it, when the child's Python is over.

    Inside a user namespace they could not be raised, and small ones would end Python.

    Args:
        nproc_later: the process has still one to clone: RLIMIT_NPROC is raised where it must be,
            but what `lower_nproc` says comes behind that

    Raises:
        ConfigError: a type that does not exist
        StepError: EPERM, above the hard limit without CAP_SYS_RESOURCE
    """
    for index, rlimit in enumerate(rlimits):
        field = f"process.rlimits[{index}]"
        number = RLIMITS.get(rlimit["type"])
        if number is None:
            raise ConfigError(f"there is no {rlimit['type']}", f"{field}.type")
        soft, hard = rlimit["soft"], rlimit["hard"]
        try:
            if number == NPROC and nproc_later:
                present = syscalls.prlimit_get(pid, number)
                soft, hard = max(soft, present[0]), max(hard, present[1])
            syscalls.prlimit(pid, number, soft, hard)
        except OSError as error:
            raise StepError(
                "SetRlimits",
                error.errno or 0,
                f"{rlimit['type']} {rlimit['soft']}:{rlimit['hard']}",
                field=field,
                hint="raising a hard limit needs CAP_SYS_RESOURCE" if error.errno == 1 else None,
            ) from None


def lower_nproc(calls: "Calls", rlimits: "list[dict[str, Any]]") -> None:
    """Record RLIMIT_NPROC as asked for: lower than before, if it is another, which anybody may."""
    for index, rlimit in enumerate(rlimits):
        if RLIMITS.get(rlimit["type"]) == NPROC:
            calls.at("SetRlimits", f"process.rlimits[{index}]")
            calls.prlimit(NPROC, rlimit["soft"], rlimit["hard"])
