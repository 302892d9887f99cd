"""The processes in a cgroup and in those below it: listed, and killed."""

import posix
import time

from libcontainer_py.cgroups.files import read
from libcontainer_py.errors import StepError
from libcontainer_py.linux.pathnames import dirname

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_ENOENT, _EBUSY, _ENODEV, _EOPNOTSUPP = 2, 16, 19, 95
_SIGKILL = 9

# What the kernel says about a cgroup that is removed (ENODEV: while its file was open).
GONE = (_ENOENT, _ENODEV)


def pids_of(path: str) -> "list[int]":
    """List the processes of one cgroup; none if it is gone."""
    try:
        lines = read(path + "/cgroup.procs").split()
    except StepError as error:
        if error.errno in GONE:
            return []
        if error.errno != _EOPNOTSUPP:
            raise
        # A threaded cgroup of v2 has threads alone, and some of their processes may be elsewhere.
        lines = read(path + "/cgroup.threads").split()
    # 0 stands for a process that this pid namespace can't see. (And for kill(2): our own group.)
    return [int(line) for line in lines if line != "0"]


def pids_below(path: str) -> "list[int]":
    """List the processes of a cgroup and of all below it."""
    found = []
    for directory in _tree(path):
        found += pids_of(directory)
    return found


def pids_room(path: str, mountpoint: str) -> "int | None":
    """Count how many tasks more the limits of a cgroup, and of those above it, allow.

    Args:
        path: in the hierarchy that has the controller pids

    Returns:
        None where there is no limit; a negative number where there are too many already
    """
    least = None
    while len(path) > len(mountpoint):
        try:
            limit = read(path + "/pids.max").strip()
            current = int(read(path + "/pids.current"))
        except StepError as error:
            if error.errno not in GONE:
                raise
            limit, current = "max", 0  # the controller is not handed down to here
        if limit != "max":
            room = int(limit) - current
            least = room if least is None else min(least, room)
        path = dirname(path)
    return least


def kill_all(path: str, freezer: "str | None", timeout: float = 2.0) -> None:
    """Kill whatever is in a cgroup or below it, and wait until it is gone.

    Args:
        freezer: the same cgroup's directory on v1's freezer hierarchy, if there is one

    Raises:
        StepError: some are still there after `timeout` seconds
    """
    deadline = time.monotonic() + timeout
    while True:
        found = _kill_present(path, freezer)
        if not found:
            return
        if time.monotonic() > deadline:
            hint = f"{len(found)} are still there, one of them is {found[0]}"
            raise StepError(None, _EBUSY, f"kill all processes of {path}", hint=hint)
        time.sleep(0.001)


def _kill_present(path: str, freezer: "str | None") -> "list[int]":
    """Kill what is there now; return what was there."""
    if not pids_below(path):
        return []
    from libcontainer_py.cgroups import freezer_v1

    # Frozen, nobody forks away from the list, and no pid of it changes its owner. Whoever forks
    # too fast to be frozen is hit in one of the next rounds.
    if freezer:
        freezer_v1.try_freeze(freezer, timeout=0.1)
    found = pids_below(path)
    for pid in found:
        try:
            posix.kill(pid, _SIGKILL)
        except ProcessLookupError:
            continue
    if freezer:
        # v1 delivers even SIGKILL only to the thawed, and a container can have frozen a cgroup
        # of its own below.
        for directory in _tree(freezer):
            freezer_v1.try_thaw(directory)
    return found


def _tree(path: str) -> "Iterator[str]":
    """Give a cgroup and all below it."""
    waiting = [path]
    while waiting:
        directory = waiting.pop()
        yield directory
        try:
            with posix.scandir(directory) as entries:
                waiting += [each.path for each in entries if each.is_dir(follow_symlinks=False)]
        except OSError:
            continue  # removed meanwhile
