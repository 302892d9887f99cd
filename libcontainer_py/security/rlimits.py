"""Resource limits of a process, set from outside by prlimit(2)."""

from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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


def set_rlimits(pid: int, rlimits: "list[dict[str, Any]]") -> None:
    """Set `process.rlimits` on a process. The parent does it, when the child's Python is over.

    Inside a user namespace they could not be raised, and small ones would end Python.

    Raises:
        ConfigError: a type that does not exist
        StepError: EPERM, above the hard limit without CAP_SYS_RESOURCE
    """
    for index, rlimit in enumerate(rlimits):
        field = f"process.rlimits[{index}]"
        number = RLIMITS.get(rlimit["type"])
        if number is None:
            raise ConfigError(f"there is no {rlimit['type']}", f"{field}.type")
        try:
            syscalls.prlimit(pid, number, rlimit["soft"], rlimit["hard"])
        except OSError as error:
            raise StepError(
                "SetRlimits",
                error.errno or 0,
                f"{rlimit['type']} {rlimit['soft']}:{rlimit['hard']}",
                field=field,
                hint="raising a hard limit needs CAP_SYS_RESOURCE" if error.errno == 1 else None,
            ) from None
