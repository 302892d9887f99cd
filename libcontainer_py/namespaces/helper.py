"""Small processes that do one thing for the parent: in namespaces of the child's, or by waiting."""

import _signal
import posix

from libcontainer_py.errors import StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import CLONE_NEWUSER, PR_SET_DUMPABLE
from libcontainer_py.linux.wait import wait_for_end
from libcontainer_py.namespaces import seal
from libcontainer_py.namespaces.clone import clone
from libcontainer_py.syncpipe.pipe import (
    as_step_error,
    decode,
    error_message,
    error_of,
    new_sync_pipe,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, Self

    from libcontainer_py.syncpipe.pipe import SyncPipe

_SECONDS = 10.0
_SIGKILL = 9


class Waiting:
    """A process in a new user namespace, that is there for its namespace alone.

    Attributes:
        pid: its process id
    """

    __slots__ = ("_end", "_pidfd", "pid")

    def __enter__(self) -> "Self":
        theirs, self._end = posix.pipe()
        try:
            clone(lambda: _wait(theirs, self._end), self._born, flags=CLONE_NEWUSER)
        except OSError as error:
            posix.close(self._end)
            raise StepError("setupUserNamespace", error.errno or 0, "make one") from None
        finally:
            posix.close(theirs)
        return self

    def _born(self, pid: int, pidfd: int) -> None:
        self.pid, self._pidfd = pid, pidfd

    def __exit__(self, *_error: object) -> None:
        posix.close(self._end)
        reap(self._pidfd)


def _wait(fd: int, other_end: int) -> "NoReturn":
    posix.close(other_end)
    posix.read(fd, 1)
    posix._exit(0)


def run_inside(pidfd: int, flags: int, work: "Callable[[], None]") -> None:
    """Do something in namespaces of another process: with our own rights, as far as they go there.

    Args:
        pidfd: that process
        flags: which of its namespaces, as CLONE_NEW…, or 0; not pid, which Python never enters
        work: what to do there

    Raises:
        StepError: what `work` raised, or the helper died
    """

    def answer(_request: int) -> "int | None":
        work()
        return None

    with Serving(pidfd, flags, answer) as serving:
        ask(serving.pipe, 0)


def open_inside(pidfd: int, flags: int, opener: "Callable[[], int]") -> int:
    """Get a descriptor of what is opened in namespaces of another process. As `run_inside`."""
    with Serving(pidfd, flags, lambda _request: opener()) as serving:
        fd = ask(serving.pipe, 0)
    assert fd is not None
    return fd


class Serving:
    """A process that does with our own rights, in namespaces of a child, what the child asks for.

    Args:
        pidfd, flags: as for `run_inside`
        answer: does what a number stands for; returns a descriptor, if it is to give one

    Attributes:
        pipe: for whoever is to `ask`
    """

    __slots__ = ("_pidfd", "pipe")

    def __init__(self, pidfd: int, flags: int, answer: "Callable[[int], int | None]") -> None:
        self._pidfd = -1
        self.pipe, theirs = new_sync_pipe()
        try:
            clone(lambda: _serve(self.pipe, theirs, pidfd, flags, answer), self._born)
        except BaseException:
            self.close()
            raise
        finally:
            theirs.close()

    def _born(self, _pid: int, pidfd: int) -> None:
        self._pidfd = pidfd

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self.pipe.close()
        if self._pidfd >= 0:
            pidfd, self._pidfd = self._pidfd, -1
            reap(pidfd)


def ask(pipe: "SyncPipe", request: int) -> "int | None":
    """Ask a serving process; returns the descriptor that it answers with, if it does.

    Raises:
        StepError: what it raised, or it died
    """
    pipe.send({"request": request})
    data, fds = pipe.receive_bytes(1)
    message = decode(data) if data else {}
    if "done" in message:
        return fds[0] if fds else None
    if "error" in message:
        raise error_of(message)
    raise StepError(None, 0, "the helper process ended without an answer")


def _serve(
    other_end: "SyncPipe",
    pipe: "SyncPipe",
    pidfd: int,
    flags: int,
    answer: "Callable[[int], int | None]",
) -> "NoReturn":
    try:
        other_end.close()
        seal.seal()  # its mount namespace may soon be somebody else's
        error: BaseException | None = None
        try:
            if flags & CLONE_NEWUSER:
                # Else its root, if he sees us, might attach to us (CVE-2016-9962).
                syscalls.prctl(PR_SET_DUMPABLE, 0)
            if flags:
                syscalls.setns(pidfd, flags)
        except OSError as refused:
            error = refused
        while (message := pipe.receive()) is not None:
            try:
                if error is not None:
                    raise error
                fd = answer(int(message["request"]))
            except BaseException as raised:
                pipe.send(error_message(as_step_error(raised)))
                continue
            pipe.send({"done": True}, () if fd is None else (fd,))
            if fd is not None:
                posix.close(fd)
    finally:
        posix._exit(0)


def reap(pidfd: int) -> None:
    """End a child of ours that has no more to do, reap it, and close its pidfd."""
    try:
        _signal.pidfd_send_signal(pidfd, _SIGKILL)  # it may be stuck in a mount that is dead
        wait_for_end(pidfd, _SECONDS)
        posix.waitid(posix.P_PIDFD, pidfd, posix.WEXITED | posix.WNOHANG)
    except (ChildProcessError, ProcessLookupError):
        pass  # somebody else has: asyncio, or the kernel where SIGCHLD is ignored
    finally:
        posix.close(pidfd)
