"""`start`: the finish list of a created container gets its byte, and becomes the program."""

import _signal
import posix
import time

from libcontainer_py import state as states
from libcontainer_py.errors import StepError, WrongState, ended, shown
from libcontainer_py.state import CREATED, RUNNING, STOPPED, StateDir
from libcontainer_py.syncpipe.records import (
    EXEC,
    HOOK_ENDED,
    RECORD_SIZE,
    START_HOOK,
    STARTED,
    step_at,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIGKILL = 9
_ASK_MILLISECONDS = 50
_SECONDS_TO_END = 2.0
_LONGEST = len(STARTED) + RECORD_SIZE


def start(directory: StateDir) -> None:
    """Let a created container become its program. See `Container.start`."""
    directory.lock()
    try:
        record = directory.read()
        status = states.status(record)
        if status == STOPPED:
            raise WrongState("cannot start a container that has stopped")
        if status == RUNNING:
            raise WrongState("cannot start an already running container")
        if status != CREATED:
            raise WrongState(f"cannot start a container in the {status} state")
        _start(directory, record)
        record["started"] = True
        directory.write(record)
        if record["hooks"].get("poststart"):
            _run_poststart(directory, record)
    finally:
        directory.unlock()


def _start(directory: StateDir, record: "dict[str, Any]") -> None:
    try:
        pidfd = states.pidfd(record)
    except WrongState:
        raise WrongState("cannot start a container that has stopped") from None
    try:
        answer = _let_go(directory, record, pidfd, _seconds(record))
        if answer is None:
            _signal.pidfd_send_signal(pidfd, _SIGKILL)
            what = "a hook ran past its specified timeout"
            raise StepError(START_HOOK, 0, what, field="hooks.startContainer")
        failure = answer[len(STARTED) :]
        if failure:
            from libcontainer_py.linux.wait import wait_for_end

            # What has failed says so on the container's standard error, too, and then ends. Whoever
            # hears of it from us would kill it before.
            wait_for_end(pidfd, _SECONDS_TO_END)
    finally:
        posix.close(pidfd)
    if not answer.startswith(STARTED):
        # No answer of the list's: somebody else's start was first, or its process ended.
        if states.status(record) == STOPPED:
            raise WrongState("cannot start a container that has stopped")
        raise WrongState("cannot start an already running container")
    if failure:
        raise _start_failed(record["start_steps"], failure)


def _run_poststart(directory: StateDir, record: "dict[str, Any]") -> None:
    """Run the poststart hooks; one that fails stops the container (runtime.md, «Lifecycle»)."""
    from libcontainer_py.deleting import Deletion
    from libcontainer_py.hooks import run_hooks, state_of

    state = state_of(record, RUNNING, record["pid"])
    try:
        run_hooks("poststart", record["hooks"]["poststart"], state, record["bundle"])
    except StepError as error:
        Deletion(directory, []).kill_first(record)
        raise StepError.of(error, "poststart") from None


def _start_failed(steps: "list[Any]", failure: bytes) -> StepError:
    """Word the record of a failure that came after READY: a hook's, or the program's."""
    if len(failure) != RECORD_SIZE:
        return StepError(START_HOOK, 0, "the container has written to what answers `start`")
    from libcontainer_py.namespaces.loop import position

    place, errno = position(failure)
    name, field, what = step_at(steps, place)
    if name in (START_HOOK, HOOK_ENDED):
        number = str(field).rpartition("[")[2].rstrip("]")
        what = f"error running {START_HOOK} hook #{number}: {shown(what)}"
        if name == START_HOOK:
            return StepError(START_HOOK, errno, what, field=field)
        return StepError(START_HOOK, 0, f"{what}: {_ended(errno)}", field=field)
    what = f"exec {shown(what)}" if name == EXEC else shown(what or "")
    return StepError(name, errno, what, field=field)


def _ended(status: int) -> str:
    """Word a wait status."""
    try:
        code = posix.waitstatus_to_exitcode(status)
    except (ValueError, OverflowError):
        return "a status that is none"
    return ended(code)


def _seconds(record: "dict[str, Any]") -> "float | None":
    """How long the startContainer hooks may take together; None where one has no timeout."""
    timeouts = [hook.get("timeout") for hook in record["hooks"].get("startContainer") or ()]
    return float(sum(timeouts)) if timeouts and all(timeouts) else None


def _runs_list(record: "dict[str, Any]") -> bool:
    try:
        executable = posix.stat(f"/proc/{record['pid']}/exe")
    except OSError:
        return False
    return bool(record["list"] == [executable.st_dev, executable.st_ino])


def _let_go(
    directory: StateDir, record: "dict[str, Any]", pidfd: int, seconds: "float | None"
) -> "bytes | None":
    """Give the finish list its byte; return all it says: nothing, `S`, or `S` and a failure.

    None: it took longer than `seconds`.
    """
    import select

    # Opened without blocking: where nobody holds them, the process is gone.
    status = posix.open(
        directory.file("status"), posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
    )
    try:
        try:
            go = posix.open(
                directory.file("go"), posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
            )
        except OSError as error:
            if error.errno == 6:  # ENXIO: no reader
                return b""
            raise
        try:
            posix.write(go, b"\0")
        except BrokenPipeError:
            return b""
        finally:
            posix.close(go)
        poll = select.poll()
        poll.register(status, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        end = None if seconds is None else time.monotonic() + seconds
        answer = b""
        # Hooks are the image's programs, and can reach the FIFO of the list that runs them: so it
        # is bounded what is read, and asked whether the program runs though somebody holds it.
        while len(answer) < _LONGEST:
            ready = {fd for fd, _events in poll.poll(_ASK_MILLISECONDS)}
            if status in ready:
                part = posix.read(status, _LONGEST - len(answer))
                answer += part
                # The end of file is the exec (or the end of the process) that closes the FIFO.
                if not part:
                    return answer
            elif pidfd in ready or (answer and not _runs_list(record)):
                return answer
            if end is not None and time.monotonic() > end:
                return None
        return answer
    finally:
        posix.close(status)
