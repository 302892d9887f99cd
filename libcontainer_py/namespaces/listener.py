"""The listener of a seccomp filter, on its way from the process that loaded it to the agent.

A call with SCMP_ACT_NOTIFY waits for the answer of an agent, a program of the operator's that
listens on a UNIX socket (seccomp_unotify(2); config-linux.md, «The Container Process State»). The
finish list says which descriptor the listener is; we take it from there, and send it to him.

Imported only where a filter has such a rule.
"""

import posix
import select
import time

from libcontainer_py import jsontext
from libcontainer_py import state as states
from libcontainer_py.errors import StepError
from libcontainer_py.hooks import state_of
from libcontainer_py.linux import syscalls
from libcontainer_py.namespaces.sendfd import FdSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.namespaces.child import Child

_STEP, _FIELD, _PATH = "InitSeccomp", "linux.seccomp", "linux.seccomp.listenerPath"
# An agent who does not let the finish list go on must not hold us for ever: neither while the list
# holds a listener itself (he may have died unseen), nor behind that, up to READY or the exec.
_SECONDS = 10.0
_SECONDS_TO_GO_ON = 60.0
_EPERM, _EBUSY = 1, 16


class Listener:
    """The listener of a process that is being made.

    Args:
        child: the process, or what clones it
        record: the container's; without a pid, the process is its first one

    Attributes:
        taken: it has been taken from the list

    All methods raise StepError: the process failed, the agent is not there or does not answer.
    """

    __slots__ = ("_before", "_child", "_fd", "_record", "_until", "taken")

    def __init__(self, child: "Child", record: "dict[str, Any]") -> None:
        self._child, self._record = child, record
        self._fd = -1  # while it is neither sent nor closed
        self._until = 0.0  # when to give up a list that was let go on
        self._before = child.stuck
        self.taken = False

    def close(self) -> None:
        """Close it, where it was not sent: without a listener the kernel answers ENOSYS."""
        if self._fd >= 0:
            posix.close(self._fd)
            self._fd = -1

    def hand_over(self, steps: "list[Any]") -> None:
        """See it from the list to the agent; before anything of the image's runs.

        Args:
            steps: say what a position of the list is
        """
        self._take(steps)
        self.send()
        self._release(steps)

    def take(self, steps: "list[Any]") -> None:
        """Take it from a list that is still to clone itself; `send` will say the clone's pid.

        Unless a call before that has to be answered: then the agent is told of the list.
        """
        self._take(steps)
        self._release(steps)

    def send(self) -> None:
        """Send it to the agent, if he does not have it yet."""
        if self._fd < 0:
            return
        path = self._record["seccomp_agent"]["path"]
        if path[0] == "@":
            path = f"\0{path[1:]}"  # an abstract one (unix(7)), as runc, too, has it
        try:
            agent = FdSocket(
                path,
                self._process_state(),
                sent="the listener",
                to="seccomp agent",
                step=_STEP,
                field=_PATH,
                # The words that a user of runc knows.
                connect="failed to connect with",
            )
            try:
                agent.send(self._fd)
            finally:
                agent.close()
        finally:
            self.close()

    def _take(self, steps: "list[Any]") -> None:
        child = self._child
        child.stuck = self._stuck
        try:
            number = child.hear_listener(steps)
        except StepError as error:
            if (error.step, error.errno) == (_STEP, _EBUSY):
                error.hint = "the runtime is under a filter with a listener, and can get no other"
            raise
        try:
            self._fd = syscalls.pidfd_getfd(child.pidfd, number)
        except OSError as error:
            if child.ended():
                child.raise_why()
            # Not to be root of its user namespace: a second process is not dumpable, and was
            # exec'd outside of that.
            hint = "this takes CAP_SYS_PTRACE outside of it" if error.errno == _EPERM else None
            what = "take the listener from the new process"
            raise StepError(_STEP, error.errno or 0, what, field=_FIELD, hint=hint) from None
        # Whoever may attach to the process can have put another file of its there.
        if posix.readlink(f"/proc/self/fd/{self._fd}") != "anon_inode:seccomp notify":
            raise StepError(_STEP, 0, "what the new process holds is no listener", field=_FIELD)
        self.taken = True

    def _release(self, steps: "list[Any]") -> None:
        """Let the list go on, and wait until it has closed its own."""
        self._until = time.monotonic() + _SECONDS
        self._child.tell({"ok": True})
        self._child.hear_listener_closed(steps)
        self._until = time.monotonic() + _SECONDS_TO_GO_ON

    def _stuck(self) -> None:
        """Nothing comes from the list: does one of its own calls wait for the agent?"""
        if self._before is not None:
            self._before()
        if self._fd >= 0 and _waits(self._fd):
            self.send()
        elif self._until and time.monotonic() > self._until:
            # He may have died, which the kernel can't see as long as the list holds a listener.
            what = "the agent does not answer for a call that the runtime has to make"
            raise StepError(_STEP, 0, what, field=_PATH)

    def _process_state(self) -> bytes:
        """The container process state, as JSON."""
        record, pid = self._record, self._child.pid
        process = {"ociVersion": record["ociVersion"], "fds": ["seccompFd"], "pid": pid}
        if record["seccomp_agent"]["metadata"]:
            process["metadata"] = record["seccomp_agent"]["metadata"]
        if record["pid"]:
            state = state_of(record, states.status(record), record["pid"])
        else:
            state = state_of(record, states.CREATING, pid)
        # A member more, which is JSON already.
        text = jsontext.dumps(process).encode("utf-8", "surrogatepass")
        return text[:-1] + b',"state":' + state + b"}"


def _waits(listener: int) -> bool:
    """Is there a call that nobody has begun to answer? See seccomp_unotify(2)."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return any(events & select.POLLIN for _fd, events in poll.poll(0))
