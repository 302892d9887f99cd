"""From which nodes a process gets its memory: linux.memoryPolicy, see set_mempolicy(2)."""

from libcontainer_py import numberlist
from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    mode = MODES[policy["mode"]]
    for name in policy.get("flags") or ():
        mode |= FLAGS[name]
    try:
        nodes = numberlist.parse(policy.get("nodes") or "")
    except ValueError as error:
        raise ConfigError(str(error), "linux.memoryPolicy.nodes") from None
    try:
        syscalls.set_mempolicy(mode, numberlist.mask(nodes) if nodes else b"")
    except OSError as error:
        raise StepError(
            "setupMemoryPolicy", error.errno or 0, policy["mode"], field="linux.memoryPolicy"
        ) from None
