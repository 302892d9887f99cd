"""The freezer of cgroup v1 (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst)."""

import time

from libcontainer_py.cgroups.files import read, write
from libcontainer_py.errors import StepError

_EBUSY = 16


def freeze(directory: str, timeout: float = 2.0) -> None:
    """Stop every process of a cgroup.

    Raises:
        StepError: not all were stopped in time (all are thawed again)
    """
    reached = False
    try:
        reached = _reach_frozen(directory + "/freezer.state", timeout)
    finally:
        if not reached:
            thaw(directory)
    if not reached:
        hint = "new processes keep appearing in it"
        raise StepError(None, _EBUSY, f"freeze {directory}", hint=hint)


def try_freeze(directory: str, timeout: float) -> bool:
    """Stop what can be stopped; tell whether that is all. The caller thaws in any case."""
    try:
        return _reach_frozen(directory + "/freezer.state", timeout)
    except StepError:
        return False


def _reach_frozen(file: str, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    attempt = 0
    while True:
        write(file, "FROZEN")
        if read(file).strip() == "FROZEN":
            return True
        if time.monotonic() > deadline:
            return False
        # FREEZING: processes that appear meanwhile can keep it there for ever. Written again, it
        # catches those; thawed for a moment, stuck ones get out of each other's way.
        attempt += 1
        if attempt % 50 == 0:
            write(file, "THAWED")
            time.sleep(0.01)
        elif attempt > 10:
            time.sleep(0.0005)


def thaw(directory: str) -> None:
    """Let every process of a cgroup go on."""
    write(directory + "/freezer.state", "THAWED")


def try_thaw(directory: str) -> bool:
    """Thaw a cgroup that may be gone by now; tell whether that worked."""
    try:
        thaw(directory)
    except StepError:
        return False
    return True


def frozen(directory: str) -> bool:
    """Tell whether a cgroup was frozen itself (not: because a parent of it is)."""
    return read(directory + "/freezer.self_freezing").strip() == "1"
