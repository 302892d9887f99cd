"""The child as its parent sees it: its process, what it says through the sync pipe, and its end."""

import _signal
import posix
import select

from libcontainer_py import state as states
from libcontainer_py.errors import StepError, shown
from libcontainer_py.linux.wait import wait_for_end
from libcontainer_py.namespaces import loop
from libcontainer_py.syncpipe.pipe import decode, error_of
from libcontainer_py.syncpipe.records import (
    ENTERED_SIZE,
    EXEC,
    JOINED,
    LISTENER_CLOSED,
    LISTENER_SIZE,
    READY,
    RECORD_SIZE,
    step_at,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from libcontainer_py.cgroups.manager import Cgroups
    from libcontainer_py.namespaces.step import Step
    from libcontainer_py.syncpipe.pipe import SyncPipe

_SIGKILL = 9
_KILL_SECONDS = 10.0
_ASK_MILLISECONDS = 50
_STUCK_SECONDS = 0.5


class Child:
    """A child that is becoming a container. What it reports, or dies of, is raised to who waits.

    Args:
        name: what it is to become, for messages
        step: where it says which step it is in, if it does

    Attributes:
        pid, pidfd: its process; -1 before the clone
        stuck: called now and then while nothing comes from it; may raise why
    """

    __slots__ = (
        "_before",
        "_cgroups",
        "_name",
        "_pipe",
        "_step",
        "_stopped",
        "_within_reach",
        "pid",
        "pidfd",
        "stuck",
    )

    def __init__(
        self,
        pipe: "SyncPipe",
        cgroups: "Cgroups",
        name: str = "the container's first process",
        step: "Step | None" = None,
    ) -> None:
        self._pipe = pipe
        self._cgroups = cgroups
        self._name = name
        self._step = step
        self.pid = self.pidfd = -1
        self.stuck: Callable[[], None] | None = None
        self._within_reach = False  # of what else is in its pid namespace
        self._stopped = 0
        self._before: list[int] = []  # pidfds of those that cloned it, and end by that

    def born(self, pid: int, pidfd: int) -> None:
        """Note a process, which takes the place of the one that cloned it, if one did."""
        if self.pidfd >= 0:
            self._before.append(self.pidfd)
        self.pid, self.pidfd = pid, pidfd

    def tell(self, message: "dict[str, Any]", fds: "tuple[int, ...]" = ()) -> None:
        """Answer it."""
        try:
            self._pipe.send(message, fds)
        except ConnectionError:
            self.raise_why()

    def hear(self, kind: str) -> "dict[str, Any]":
        """Wait for the one message that may come now."""
        message = decode(self._next())
        if kind not in message:
            raise self._something_else(repr(kind))
        return message

    def hear_cloned(self) -> None:
        """Wait until the joiner has cloned it."""
        fds: list[int] = []
        message = decode(self._next(fds))
        if "cloned" not in message or not fds:
            raise self._something_else("'cloned'")
        self.born(int(message["cloned"]), fds[0])
        self._reap_those_before()

    def hear_joined(self, steps: "list[Any]") -> None:
        """Wait until the list of a second process has joined all namespaces but pid."""
        record = self._next()
        if record != JOINED:
            raise self._failure(record, steps, "that it has joined")

    def hear_entered(self, steps: "list[Any]", executable: "list[int]") -> None:
        """Wait until the finish list has cloned itself into a pid namespace that is joined.

        Args:
            steps: say what a position of the list is
            executable: device and inode of the list
        """
        record = self._next()
        if len(record) != ENTERED_SIZE:
            raise self._failure(record, steps, "a pid")
        pid = int.from_bytes(record, "little")
        try:
            pidfd = posix.pidfd_open(pid)
        except OSError:
            raise self._died() from None
        self.born(pid, pidfd)
        self._within_reach = True
        self._reap_those_before()
        # It waits for us; but what else is in that namespace may have killed it.
        if not self._runs(executable):
            raise self._died()

    def hear_terminal(self) -> int:
        """Wait for the master of the terminal that it has made."""
        fds: list[int] = []
        self._next(fds)
        if not fds:
            raise self._something_else("its terminal")
        return fds[0]

    def hear_listener(self, steps: "list[Any]") -> int:
        """Wait until the finish list has loaded a filter with a listener; returns its number."""
        record = self._next()
        if len(record) != LISTENER_SIZE:
            raise self._failure(record, steps, "its seccomp listener")
        return int.from_bytes(record, "little")

    def hear_listener_closed(self, steps: "list[Any]") -> None:
        """Wait until the finish list holds its listener no more."""
        record = self._next()
        if record != LISTENER_CLOSED:
            raise self._failure(record, steps, "that it has let go of its listener")

    def hear_ready(self, steps: "list[Any]") -> None:
        """Wait for the finish list's READY; `steps` say what a position of it is."""
        record = self._next()
        if record != READY:
            raise self._failure(record, steps, "READY")

    def _failure(self, record: bytes, steps: "list[Any]", wanted: str) -> StepError:
        """Word the finish list's record of a failure."""
        if len(record) != RECORD_SIZE:
            return self._something_else(wanted)
        position, errno = loop.position(record)
        step, field, what = step_at(steps, position)
        if step == EXEC:
            what = f"exec {shown(what)}"  # the words that a user of runc knows
        hint = None
        if step == "ApplyProfile":
            from libcontainer_py.security import apparmor

            hint = apparmor.hint(errno)
        return StepError(step, errno, what, field=field, hint=hint)

    def hear_exec(self, steps: "list[Any]", executable: "list[int]") -> None:
        """Wait until it has become its program: the exec closes its end of the pipe.

        Whoever may attach to it can have taken a copy of that end, and hold it open for ever. So
        it is asked as well whether it still runs the list.

        Args:
            steps: say what a position of the list is
            executable: device and inode of the list
        """
        poll = select.poll()
        poll.register(self._pipe.fileno(), select.POLLIN)
        poll.register(self.pidfd, select.POLLIN)
        while True:
            ready = {fd for fd, _events in poll.poll(_ASK_MILLISECONDS)}
            if self._pipe.fileno() in ready:
                record, _fds = self._pipe.receive_bytes()
                if record:
                    raise self._failure(record, steps, "its exec")
                return
            if ready or not self._runs(executable):
                return
            if self.stuck is not None:
                self.stuck()
            self._refuse_stopped()

    def _runs(self, executable: "list[int]") -> bool:
        """Does it still run the finish list, as far as we can see?"""
        try:
            status = posix.stat(f"/proc/{self.pid}/exe")
        except PermissionError:
            return True
        except OSError:
            return False
        return [status.st_dev, status.st_ino] == executable

    def raise_why(self) -> "NoReturn":
        """It is gone: raise what it said before it went, or how it ended."""
        while True:
            self._next()

    def ended(self) -> bool:
        """Has its process ended?"""
        return wait_for_end(self.pidfd, 0)

    def _next(self, fds: "list[int] | None" = None) -> bytes:
        """The next packet; `fds` takes a descriptor with it. One that is an error is raised."""
        self._await()
        data, received = self._pipe.receive_bytes(0 if fds is None else 1)
        if fds is not None:
            fds += received
        if not data:
            raise self._died()
        if self._within_reach and len(data) not in (ENTERED_SIZE, RECORD_SIZE):
            # Others may have taken the pipe from it: no words are taken from them.
            raise self._something_else("a record")
        if data.startswith(b'{"error":'):
            raise error_of(decode(data))
        return data

    def _await(self) -> None:
        """Wait until something can be read, or it is clear that nothing will be."""
        while not wait_for_end(self._pipe.fileno(), _STUCK_SECONDS):
            if self.stuck is not None:
                self.stuck()
            # What it has cloned may hold the pipe open.
            if self.ended() and not wait_for_end(self._pipe.fileno(), 0):
                raise self._died()
            self._refuse_stopped()

    def _refuse_stopped(self) -> None:
        """Not to wait for ever: who is in the container may be allowed to stop what comes."""
        if not self._within_reach or states.letter(self.pid) not in "Tt":
            self._stopped = 0
            return
        self._stopped += 1
        if self._stopped * _STUCK_SECONDS > _KILL_SECONDS:
            raise StepError(self._where(), 0, f"{self._name} was stopped from inside")

    def _something_else(self, wanted: str) -> StepError:
        what = f"the child did not send {wanted} but something else"
        return StepError(self._where(), 0, what)

    def _where(self) -> str:
        return "clone" if self._step is None else self._step.last()

    def _died(self) -> StepError:
        """Word an end of file without READY: the step it died in, how, and whether for memory."""
        ended = f"ended{self._how()} before it was ready"
        what = f"{self._name} (pid {self.pid}) {ended}"
        killed = self._cgroups.oom_count()
        hint = "the memory limit is too small to start in" if killed else None
        return StepError(self._where(), 0, what, hint=hint)

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

    def _reap_those_before(self) -> None:
        """Reap the processes that cloned it, where they are our own children."""
        while self._before:
            self._end(self._before.pop())

    def end(self) -> None:
        """Kill it, if it was made at all, and reap it, if it is ours and not our parent's.

        Raises:
            StepError: it is still there after ten seconds
        """
        if self.pid <= 0:
            return
        pidfd, self.pidfd = self.pidfd, -1
        try:
            self._reap_those_before()
        finally:
            self._end(pidfd)

    def _end(self, pidfd: int) -> None:
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
