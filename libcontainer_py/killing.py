"""`kill`: a signal for the first process, or for all, and how the frozen die."""

import _signal
import posix

from libcontainer_py import state as states
from libcontainer_py.errors import StepError, WrongState
from libcontainer_py.state import STOPPED, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.cgroups.interface import Cgroups

_SIGKILL = 9


def kill(directory: StateDir, signal: int, *, all: bool) -> None:
    """Send a signal to a container. See `Container.kill`."""
    record = directory.read()
    if not record["pid"]:
        # The cgroups that it names may be another's yet.
        if all:
            return
        raise WrongState("container not running")
    if all and record["cgroups"]["driver"] != "disabled":
        _kill_all(record, signal)
        return
    status = states.status(record)
    if all and status == STOPPED:
        return  # without cgroups there is nobody else who is known
    if signal == _SIGKILL and _shares_pids(record):
        _kill_shared(record, status == STOPPED)
        return
    if status == STOPPED:
        raise WrongState("container not running")
    pidfd = states.pidfd(record)
    try:
        _signal.pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        raise WrongState("container not running") from None
    except OSError as error:
        raise StepError("kill", error.errno or 0, f"signal {signal}") from None
    finally:
        posix.close(pidfd)
    if signal == _SIGKILL and _may_be_frozen(record):
        # On cgroup v1 the frozen don't die; and all that is inside ends with the first process.
        from libcontainer_py.cgroups import manager

        manager.load(record["cgroups"]).kill()


def _shares_pids(record: "dict[str, Any]") -> bool:
    return not record["pid_namespace"] and record["cgroups"]["driver"] != "disabled"


def _kill_shared(record: "dict[str, Any]", stopped: bool) -> None:
    """Kill all, in a pid namespace that others use: there they outlive the first process."""
    from libcontainer_py.cgroups import manager

    cgroups = manager.load(record["cgroups"])
    if stopped and not cgroups.pids(all=True):
        raise WrongState("container not running")
    cgroups.kill()


def _kill_all(record: "dict[str, Any]", signal: int) -> None:
    from libcontainer_py.cgroups import manager

    cgroups = manager.load(record["cgroups"])
    if not cgroups.pids(all=True):
        return
    if signal == _SIGKILL:
        cgroups.kill()
    else:
        _signal_all(cgroups, signal)


def _may_be_frozen(record: "dict[str, Any]") -> bool:
    """Is a container frozen, or has it, on cgroup v1, a cgroup inside that it may have frozen?"""
    if states.frozen(record):
        return True
    path = (record["cgroups"].get("paths") or {}).get("freezer")
    try:
        return path is not None and posix.stat(path).st_nlink > 2
    except FileNotFoundError:
        return False


def _signal_all(cgroups: "Cgroups", signal: int) -> None:
    """Send a signal to all processes: stopped meanwhile, so that none is forked unseen."""
    was_frozen = cgroups.frozen()
    try:
        if not was_frozen:
            try:
                cgroups.freeze()
            except StepError:
                was_frozen = True  # all go on; so it is those that are there now
        for pid in cgroups.pids(all=True):
            try:
                posix.kill(pid, signal)
            except ProcessLookupError:
                continue
            except OSError as error:
                raise StepError("kill", error.errno or 0, f"signal {signal}") from None
    finally:
        if not was_frozen:
            cgroups.thaw()
