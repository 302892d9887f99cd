"""What only the parent can give its child, when Python's work there is over."""

import posix

from libcontainer_py.errors import During, StepError
from libcontainer_py.security import affinity, rlimits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.namespaces.child import Child

_ENOENT, _ESRCH = 2, 3


def limit_process(child: "Child", process: "dict[str, Any]", *, to_clone: bool = False) -> None:
    """Set `process.oomScoreAdj` and `process.rlimits`. See `set_rlimits`."""
    try:
        set_oom_score_adj(str(child.pid), process.get("oomScoreAdj"))
    except StepError as error:
        raise _or_why(child, error) from None
    set_rlimits(child, process, to_clone=to_clone)


def set_rlimits(child: "Child", process: "dict[str, Any]", *, to_clone: bool) -> None:
    """Set `process.rlimits`.

    Args:
        to_clone: its finish list is to clone the process that becomes the program

    Raises:
        StepError: the kernel refused, or the child has ended
    """
    try:
        rlimits.set_rlimits(child.pid, process.get("rlimits") or [], nproc_later=to_clone)
    except StepError as error:
        raise _or_why(child, error) from None


def schedule_process(
    child: "Child", process: "dict[str, Any]", exec_affinity: "dict[str, str] | None" = None
) -> None:
    """Set `process.scheduler` and `process.ioPriority`, and on which CPUs it runs.

    Some schedulers don't pass to a clone: so this is for the process that becomes the program.

    Args:
        exec_affinity: `process.execCPUAffinity`, for a second process

    Raises:
        StepError: the kernel refused, or the child has ended
    """
    try:
        _set_affinity(child.pid, exec_affinity or {})
        if process.get("scheduler") or process.get("ioPriority"):
            _set_scheduling(child.pid, process)
    except StepError as error:
        raise _or_why(child, error) from None


def _or_why(child: "Child", error: StepError) -> StepError:
    if error.errno in (_ENOENT, _ESRCH) and child.ended():
        child.raise_why()  # the limit was not the reason
    return error


def _set_affinity(pid: int, wanted: "dict[str, str]") -> None:
    with During("setAffinity", "process.execCPUAffinity.final"):
        if wanted.get("final"):
            affinity.set_affinity(pid, affinity.parse_cpus(wanted["final"]))
        elif not wanted.get("initial"):
            # What an engine is bound to is not for its containers.
            affinity.reset_affinity(pid)


def _set_scheduling(pid: int, process: "dict[str, Any]") -> None:
    # From here, because in a user namespace of its own it has no CAP_SYS_NICE that counts.
    from libcontainer_py.security import scheduling

    if process.get("scheduler"):
        scheduling.set_scheduler(process["scheduler"], pid)
    if process.get("ioPriority"):
        scheduling.set_io_priority(process["ioPriority"], pid)


def set_oom_score_adj(pid: str, value: "int | None") -> None:
    """Set how dear a process is to the OOM killer; its pid, or ``self``. None leaves it.

    Raises:
        StepError: it may not be lowered
    """
    if value is None:
        return
    with During("SetOomScoreAdj", "process.oomScoreAdj"):
        path = f"/proc/{pid}/oom_score_adj"
        fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            posix.write(fd, str(value).encode())
        except OSError as error:
            hint = "lowering it needs CAP_SYS_RESOURCE" if error.errno in (1, 13) else None
            raise StepError(None, error.errno or 0, str(value), hint=hint) from None
        finally:
            posix.close(fd)
