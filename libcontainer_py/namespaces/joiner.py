"""Into namespaces that exist already, and into those that can't be made by the clone.

A caller never changes its own namespaces. So this runs in a process of its own, the joiner, which
clones the container's first process and is gone. Where a pid namespace is joined there is no such
clone: that namespace is entered by the finish list alone, never by Python, and what would be the
joiner goes on as the container's first process until then.
"""

import posix

from libcontainer_py.errors import StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import (
    CLONE_CLEAR_SIGHAND,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_PARENT,
    PR_SET_DUMPABLE,
)
from libcontainer_py.namespaces import joins, seal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer_py.namespaces.init import InitConfig
    from libcontainer_py.namespaces.joins import Join
    from libcontainer_py.namespaces.step import Step
    from libcontainer_py.syncpipe.pipe import SyncPipe

_EPERM = 1
# time_namespaces(7). The clocks by number, as clock_gettime(2) has them.
_OFFSETS = "/proc/self/timens_offsets"
_CLOCKS = {"monotonic": 1, "boottime": 7}


def enter_namespaces(start: "InitConfig", pipe: "SyncPipe", step: "Step") -> None:
    """Join what is to be joined, make what is to be new; return in the container's process.

    The order: joins before anything new, so that a new user namespace and all that it shall own
    are made last; a new time namespace before the first process that is to be in it, because its
    offsets can't be written afterwards.
    """
    step.begin("joinNamespaces", "linux.namespaces")
    seal.seal()  # a mount namespace that is joined has somebody else's files
    # While /proc is still the host's: in a mount namespace that is joined it is somebody else's.
    offsets = syscalls.openat2(syscalls.CWD, _OFFSETS, posix.O_WRONLY | posix.O_CLOEXEC)
    if start.joins and not start.by_another_user:
        # Else whatever is in there already might attach to us, once we are in it (CVE-2016-9962).
        syscalls.prctl(PR_SET_DUMPABLE, 0)
    join_namespaces(start.joins)
    new = start.namespaces & ~start.made_late()
    if new & CLONE_NEWTIME:
        if new & CLONE_NEWUSER:
            syscalls.unshare(CLONE_NEWUSER)
            new &= ~CLONE_NEWUSER
        step.begin("setTimeOffsets", "linux.timeOffsets")
        syscalls.unshare(CLONE_NEWTIME)
        new &= ~CLONE_NEWTIME
        _write_offsets(offsets, (start.config.get("linux") or {}).get("timeOffsets") or {})
    posix.close(offsets)
    step.begin("clone", "linux.namespaces")
    if start.enters_pid_namespace:
        syscalls.unshare(new)
        pipe.send({"entered": True})
        return
    pid, pidfd = syscalls.clone3(new | CLONE_PARENT | CLONE_CLEAR_SIGHAND, 0)
    if pid == 0:
        return
    pipe.send({"cloned": pid}, (pidfd,))
    posix._exit(0)


def join_namespaces(wanted: "list[Join]") -> None:
    """setns(2) into all of them, and close their descriptors.

    The user namespace last: with it go the rights that the others may need. Where they belong to
    it, and these rights don't reach, it is first.

    Raises:
        StepError: with the field of the one that was refused
    """
    users = [join for join in wanted if join.flag == CLONE_NEWUSER]
    left = [join for join in wanted if join.flag != CLONE_NEWUSER]
    refused: list[Join] = []
    for join in left:
        try:
            syscalls.setns(join.fd, join.flag)
        except OSError as error:
            if error.errno != _EPERM or not users:
                raise _refused(join, error) from None
            refused.append(join)
    for join in users + refused:
        try:
            syscalls.setns(join.fd, join.flag)
        except OSError as error:
            raise _refused(join, error) from None
    joins.close(wanted)


def _refused(join: "Join", error: OSError) -> StepError:
    hint = None
    if error.errno == _EPERM:
        hint = "it belongs to a user namespace in which we have no rights"
    return StepError(None, error.errno or 0, "join it", field=join.field, hint=hint)


def _write_offsets(fd: int, offsets: "dict[str, dict[str, int]]") -> None:
    lines = ""
    for name, number in _CLOCKS.items():
        offset = offsets.get(name)
        if offset is not None:
            lines += f"{number} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}\n"
    if lines:
        posix.write(fd, lines.encode())
