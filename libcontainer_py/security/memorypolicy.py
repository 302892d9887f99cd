"""From which nodes a process gets its memory: linux.memoryPolicy, see set_mempolicy(2)."""

from libcontainer_py import numberlist
from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.namespaces.finish import FinishList

_STEP, _FIELD = "setupMemoryPolicy", "linux.memoryPolicy"

# include/uapi/linux/mempolicy.h
MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
FLAGS = {
    "MPOL_F_STATIC_NODES": 1 << 15,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}


def set_memory_policy(policy: "dict[str, Any]") -> None:
    """Set `linux.memoryPolicy` of the calling process. It outlives execve, and children inherit it.

    Raises:
        ConfigError: `nodes` is no list of nodes
        StepError: EINVAL, the kernel lacks the mode, the machine or the cpuset the nodes, or the
            flags do not go with the mode
    """
    mode, nodes = _numbers(policy)
    try:
        syscalls.set_mempolicy(mode, nodes)
    except OSError as error:
        raise StepError(_STEP, error.errno or 0, policy["mode"], field=_FIELD) from None


def record_memory_policy(calls: "FinishList", policy: "dict[str, Any]") -> None:
    """Record the same for the end: a second process has the first one's policy, as from runc."""
    mode, nodes = _numbers(policy)
    calls.at(_STEP, _FIELD, policy["mode"])
    calls.call("set_mempolicy", mode, nodes or 0, syscalls.bits_of(nodes))


def _numbers(policy: "dict[str, Any]") -> "tuple[int, bytes]":
    """The mode with its flags, and the mask of the nodes."""
    mode = MODES[policy["mode"]]
    for name in policy.get("flags") or ():
        mode |= FLAGS[name]
    try:
        nodes = numberlist.parse(policy.get("nodes") or "")
    except ValueError as error:
        raise ConfigError(str(error), _FIELD + ".nodes") from None
    return mode, numberlist.mask(nodes) if nodes else b""
