"""`run` and `exec` behind the making: relay to the process what comes, and wait for its end."""

import _signal
import posix

from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import PR_SET_CHILD_SUBREAPER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from libcontainer_py.cli.notify import Notify
    from libcontainer_py.cli.terminal import Terminal
    from libcontainer_py.container import Container
    from libcontainer_py.process import Process

# What is not for the container: a child's end, what the Go runtime sends itself (a program that is
# told to relay everything would see it from runc's own callers), and what our own writes to a
# closed pipe bring (blocked, it arrives though Python ignores it).
_NOT_RELAYED = (_signal.SIGCHLD, _signal.SIGURG, _signal.SIGPIPE)
# These are this process's own faults and can't be taken by waiting.
_FAULTS = (_signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL, _signal.SIGTRAP)
_WAITED = _signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP, *_FAULTS}


def prepare(*, subreaper: bool) -> None:
    """Take charge of signals and orphans, before there is a container that could miss one.

    Signals are blocked and taken by waiting for them, so there is no handler and no race with one.
    """
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _WAITED)
    if subreaper:
        syscalls.prctl(PR_SET_CHILD_SUBREAPER, 1)


def run(
    container: "Container",
    *,
    detach: bool,
    keep: bool,
    notify: "Callable[[Container], Notify | None] | None" = None,
) -> int:
    """Start a created container; unless `detach`, wait and delete it.

    Args:
        container: it was created by us
        detach: return as soon as it runs, or is ready
        keep: do not delete it
        notify: makes what a service manager is told by, before the start

    Returns:
        0 when detached; else its exit status, or 128 + the signal that ended it
    """
    process = container.process
    assert process is not None
    terminal = telling = None
    try:
        if process.terminal is not None:
            terminal = _connect(process)
        if notify is not None:
            telling = notify(container)
        container.start()
    except BaseException:
        if terminal is not None:
            terminal.drain()  # a hook may have said there why it failed
            terminal.restore()
        container.delete(force=True)
        raise
    if detach:
        if telling is not None:
            telling.wait(process.pid)
        return 0
    try:
        if telling is not None:
            telling.follow()
        code = _wait(process, terminal)
    finally:
        if terminal is not None:
            terminal.restore()
        if telling is not None:
            telling.close()
        if not keep:
            container.delete(force=True)
    return code if code >= 0 else 128 - code


def follow(process: "Process") -> int:
    """Stay with a second process until its end.

    Returns:
        its exit status, or 128 + the signal that ended it
    """
    terminal = None
    try:
        if process.terminal is not None:
            terminal = _connect(process)
        code = _wait(process, terminal)
    finally:
        if terminal is not None:
            terminal.restore()
    return code if code >= 0 else 128 - code


def _connect(process: "Process") -> "Terminal":
    from libcontainer_py.cli.terminal import Terminal

    assert process.terminal is not None
    terminal = Terminal(process.terminal, _WAITED)
    process.terminal = None  # the other's to close
    try:
        terminal.connect()
    except BaseException:
        terminal.restore()
        raise
    return terminal


def _wait(process: "Process", terminal: "Terminal | None") -> int:
    while True:
        code = process.poll()
        if code is not None:
            if terminal is not None:
                terminal.drain()
            return code
        if terminal is not None:
            number = terminal.next_signal()
        else:
            number = _signal.sigwaitinfo(_WAITED).si_signo
        if number == _signal.SIGCHLD:
            _reap_orphans(process)
        elif number == _signal.SIGWINCH and terminal is not None:
            terminal.resize()
        elif number not in _NOT_RELAYED:
            process.send_signal(number)


def _reap_orphans(process: "Process") -> None:
    """Reap what was reparented to us, the subreaper; the first process itself is `_wait`'s."""
    while True:
        try:
            result = posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
        except ChildProcessError:
            return
        if result is None or result.si_pid == process.pid:
            return
        posix.waitpid(result.si_pid, posix.WNOHANG)
