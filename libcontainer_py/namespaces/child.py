"""The child as its parent sees it: its process, what it says through the sync pipe, and its end."""

import _signal
import posix

from libcontainer_py.errors import StepError
from libcontainer_py.linux.wait import wait_for_end
from libcontainer_py.namespaces import loop
from libcontainer_py.syncpipe.pipe import decode, error_of
from libcontainer_py.syncpipe.records import READY, RECORD_SIZE, step_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from libcontainer_py.cgroups.manager import Cgroups
    from libcontainer_py.syncpipe.pipe import SyncPipe

_SIGKILL = 9
_KILL_SECONDS = 10.0


class Child:
    """A child that is becoming a container. What it reports, or dies of, is raised to who waits.

    Attributes:
        pid, pidfd: its process; -1 before the clone
    """

    __slots__ = ("_cgroups", "_pipe", "pid", "pidfd")

    def __init__(self, pipe: "SyncPipe", cgroups: "Cgroups") -> None:
        self._pipe = pipe
        self._cgroups = cgroups
        self.pid = self.pidfd = -1

    def tell(self, message: "dict[str, Any]") -> None:
        """Answer it."""
        try:
            self._pipe.send(message)
        except ConnectionError:
            self.raise_why()

    def hear(self, kind: str) -> "dict[str, Any]":
        """Wait for the one message that may come now."""
        message = decode(self._next())
        if kind not in message:
            raise self._something_else(repr(kind))
        return message

    def hear_terminal(self) -> int:
        """Wait for the master of the terminal that it has made."""
        fds: list[int] = []
        self._next(fds)
        if not fds:
            raise self._something_else("its terminal")
        return fds[0]

    def hear_ready(self, steps: "list[Any]") -> None:
        """Wait for the finish list's READY; `steps` say what a position of it is."""
        record = self._next()
        if record == READY:
            return
        if len(record) != RECORD_SIZE:
            raise self._something_else("READY")
        position, errno = loop.position(record)
        step, field, what = step_at(steps, position)
        raise StepError(step, errno, what, field=field)

    def raise_why(self) -> "NoReturn":
        """It is gone: raise what it said before it went, or how it ended."""
        while True:
            self._next()

    def ended(self) -> bool:
        """Has its process ended?"""
        return wait_for_end(self.pidfd, 0)

    def _next(self, fds: "list[int] | None" = None) -> bytes:
        """The next packet that is no announcement of a step; `fds` takes a descriptor with it."""
        pipe = self._pipe
        while True:
            data, received = pipe.receive_bytes(0 if fds is None else 1)
            if fds is not None:
                fds += received
            if not data:
                raise self._died()
            if data.startswith(b'{"step":'):
                pipe.step = str(decode(data)["step"])
                continue
            if data.startswith(b'{"error":'):
                raise error_of(decode(data))
            return data

    def _something_else(self, wanted: str) -> StepError:
        what = f"the child did not send {wanted} but something else"
        return StepError(self._pipe.step, 0, what)

    def _died(self) -> StepError:
        """Word an end of file without READY: the step it died in, how, and whether for memory."""
        ended = f"ended{self._how()} before it was ready"
        what = f"the container's first process (pid {self.pid}) {ended}"
        killed = self._cgroups.oom_count()
        hint = "the memory limit is too small to start in" if killed else None
        return StepError(self._pipe.step, 0, what, hint=hint)

    def _how(self) -> str:
        # The pipe closes a moment before the process has ended.
        wait_for_end(self.pidfd, _KILL_SECONDS)
        flags = posix.WEXITED | posix.WNOWAIT | posix.WNOHANG
        try:
            result = posix.waitid(posix.P_PIDFD, self.pidfd, flags)
        except ChildProcessError:
            return ""  # made for our parent: it is not ours to wait for
        if result is None:
            return ""
        if result.si_code == posix.CLD_EXITED:
            return f" with status {result.si_status}"
        return f" by signal {result.si_status}"

    def end(self) -> None:
        """Kill it, if it was made at all, and reap it, if it is ours and not our parent's.

        Raises:
            StepError: it is still there after ten seconds
        """
        if self.pid <= 0:
            return
        pidfd, self.pidfd = self.pidfd, -1
        try:
            try:
                _signal.pidfd_send_signal(pidfd, _SIGKILL)
            except ProcessLookupError:
                pass
            if not wait_for_end(pidfd, _KILL_SECONDS):
                what = f"pid {self.pid} is still there {_KILL_SECONDS:.0f} s after SIGKILL"
                raise StepError("kill", 0, what)
            try:
                posix.waitid(posix.P_PIDFD, pidfd, posix.WEXITED | posix.WNOHANG)
            except ChildProcessError:
                pass
        finally:
            posix.close(pidfd)
