"""`start`: the finish list of a created container gets its byte, and becomes the program."""

import _signal
import posix

from libcontainer_py import state as states
from libcontainer_py.errors import StepError, WrongState, shown
from libcontainer_py.state import CREATED, RUNNING, STOPPED, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIGKILL = 9


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
    from libcontainer_py.syncpipe.records import START_HOOK, STARTED

    try:
        pidfd = states.pidfd(record)
    except WrongState:
        raise WrongState("cannot start a container that has stopped") from None
    try:
        answer = _let_go(directory, pidfd, _seconds(record))
        if answer is None:
            _signal.pidfd_send_signal(pidfd, _SIGKILL)
            what = "a hook ran past its specified timeout"
            raise StepError(START_HOOK, 0, what, field="hooks.startContainer")
    finally:
        posix.close(pidfd)
    if not answer.startswith(STARTED):
        # No answer of the list's: somebody else's start was first, or its process ended.
        if states.status(record) == STOPPED:
            raise WrongState("cannot start a container that has stopped")
        raise WrongState("cannot start an already running container")
    failure = answer[len(STARTED) :]
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
    from libcontainer_py.namespaces.loop import position
    from libcontainer_py.syncpipe.records import HOOK_ENDED, START_HOOK, step_at

    place, errno = position(failure)
    name, field, what = step_at(steps, place)
    if name in (START_HOOK, HOOK_ENDED):
        number = str(field).rpartition("[")[2].rstrip("]")
        what = f"error running {START_HOOK} hook #{number}: {shown(what)}"
        if name == START_HOOK:
            return StepError(START_HOOK, errno, what, field=field)
        return StepError(START_HOOK, 0, f"{what}: {_ended(errno)}", field=field)
    return StepError(name, errno, f"exec {shown(what)}", field=field)


def _ended(status: int) -> str:
    """Word a wait status."""
    code = posix.waitstatus_to_exitcode(status)
    return f"signal: {-code}" if code < 0 else f"exit status {code}"


def _seconds(record: "dict[str, Any]") -> "float | None":
    """How long the startContainer hooks may take together; None where one has no timeout."""
    timeouts = [hook.get("timeout") for hook in record["hooks"].get("startContainer") or ()]
    return float(sum(timeouts)) if timeouts and all(timeouts) else None


def _let_go(directory: StateDir, pidfd: int, seconds: "float | None") -> "bytes | None":
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
        answer = b""
        while True:
            ready = {fd for fd, _events in poll.poll(None if seconds is None else seconds * 1000)}
            if not ready:
                return None
            if status in ready:
                part = posix.read(status, 64)
                answer += part
                # The end of file is the exec (or the end of the process) that closes the FIFO.
                if not part:
                    return answer
            elif pidfd in ready:
                return answer
    finally:
        posix.close(status)
