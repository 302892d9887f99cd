"""How the kernel shares out the CPU and the disks: process.scheduler and process.ioPriority.

Both are given with a process id, 0 for the calling process, because two things hinder a container
from doing it for itself: in a new user namespace it has no CAP_SYS_NICE that counts, and what it
forks does not keep a policy that is reset, or may not be forked at all under SCHED_DEADLINE.
"""

import _struct as struct

from libcontainer_py.errors import StepError
from libcontainer_py.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# include/uapi/linux/sched.h; Linux never had the SCHED_ISO (4) of the specification.
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}

# include/uapi/linux/ioprio.h
IOPRIO_WHO_PROCESS = 1
IOPRIO_CLASS_SHIFT = 13
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}

# struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period, and the two
# bounds of utilisation, for which config.json has no names: 0.
_SCHED_ATTR = "IIQiIQQQII"
_EPERM = 1
_HINTS = {
    # A new cgroup of v1 has no real-time budget at all.
    "SCHED_FIFO": "it needs CAP_SYS_NICE, and with cgroup v1 linux.resources.cpu.realtimeRuntime",
    "SCHED_RR": "it needs CAP_SYS_NICE, and with cgroup v1 linux.resources.cpu.realtimeRuntime",
    # A cpuset of some CPUs; "AllowedCPUs" is runc's word for it, and systemd's.
    "SCHED_DEADLINE": "it needs CAP_SYS_NICE, and such a process scheduler can't be used"
    " together with AllowedCPUs: linux.resources.cpu.cpus",
}


def set_scheduler(scheduler: "dict[str, Any]", pid: int = 0) -> None:
    """Set `process.scheduler` of a process.

    Raises:
        StepError: EPERM, it lacks the right to; EBUSY, there is no CPU time left for its deadline;
            EINVAL, the kernel has no such policy, or not with these values
    """
    flags = 0
    for name in scheduler.get("flags") or ():
        flags |= FLAGS[name]
    attr = struct.pack(
        _SCHED_ATTR,
        struct.calcsize(_SCHED_ATTR),
        POLICIES[scheduler["policy"]],
        flags,
        scheduler.get("nice", 0),
        scheduler.get("priority", 0),
        scheduler.get("runtime", 0),
        scheduler.get("deadline", 0),
        scheduler.get("period", 0),
        0,
        0,
    )
    try:
        syscalls.sched_setattr(pid, attr)
    except OSError as error:
        hint = None
        if error.errno == _EPERM:
            hint = _HINTS.get(scheduler["policy"], "it needs CAP_SYS_NICE")
        raise StepError(
            "setupScheduler",
            error.errno or 0,
            scheduler["policy"],
            field="process.scheduler",
            hint=hint,
        ) from None


def set_io_priority(io_priority: "dict[str, Any]", pid: int = 0) -> None:
    """Set `process.ioPriority` of a process; whatever it starts inherits it.

    Raises:
        StepError: EPERM, IOPRIO_CLASS_RT needs CAP_SYS_NICE or CAP_SYS_ADMIN
    """
    name = io_priority["class"]
    value = IO_CLASSES[name] << IOPRIO_CLASS_SHIFT | io_priority.get("priority", 0)
    try:
        syscalls.ioprio_set(IOPRIO_WHO_PROCESS, pid, value)
    except OSError as error:
        hint = "it needs CAP_SYS_NICE" if error.errno == _EPERM else None
        raise StepError(
            "setupIOPriority", error.errno or 0, name, field="process.ioPriority", hint=hint
        ) from None
