"""One run of criu: started as `criu swrk`, asked one thing, answered while it asks back.

It reads messages from a socket that it inherits (criu's criu/cr-service.c): so what it has to say
comes as messages, also where it wants something of us in the middle of its work, and a descriptor
can come with it.

Directories it opens beneath /proc/PID/fd of who made that socket, and mounts something there. So
the socket is made, and they are opened, by its own process: ours is in another mount namespace.
"""

import _signal
import _socket
import fcntl
import posix

from libcontainer_py.criu import protobuf, rpc
from libcontainer_py.errors import Error, quoted
from libcontainer_py.linux.syscalls import close_range
from libcontainer_py.namespaces.clone import has_threads
from libcontainer_py.namespaces.helper import reap
from libcontainer_py.syncpipe.pipe import (
    SyncPipe,
    as_step_error,
    decode,
    error_message,
    error_of,
    new_sync_pipe,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Notified = Callable[[str, int, int], None]

# For external pid namespaces (3.15), its freezing of cgroup v2 (3.14), and labels (3.16).
_OLDEST = (3, 16)
_SOCKET = 3  # its number in criu; the others follow it
_LARGEST = 1 << 16
_DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def refuse_threads() -> None:
    """Refuse to go on in a process that can't become criu's parent: a fork goes on in Python.

    Raises:
        Error: it has threads
    """
    if has_threads():
        raise Error("a program with threads can't checkpoint or restore; the command lcpy can")


def find() -> str:
    """Find the program.

    Raises:
        Error: it is not in PATH
    """
    for directory in posix.environ.get(b"PATH", _DEFAULT_PATH).split(b":"):
        path = directory + b"/criu"
        if directory.startswith(b"/") and posix.access(path, posix.X_OK):
            return path.decode("utf-8", "surrogateescape")
    raise Error("checkpoint and restore need the program criu: it is not in PATH")


def check_version(path: str) -> None:
    """Refuse a criu that would pass over what it does not know.

    Raises:
        Error: it is too old, or none
    """
    null = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
    try:
        worker = Worker(path, (null, null, null), [])
    finally:
        posix.close(null)
    try:
        answer = worker.ask({"type": rpc.VERSION}, _notified_of_nothing)
    except Failed:
        answer = {}
    finally:
        worker.end()
    version = answer.get("version", {})  # nothing, where it can't even say that
    numbers = (version.get("major_number", 0), version.get("minor_number", 0))
    if numbers < _OLDEST:
        oldest, found = (".".join(map(str, each)) for each in (_OLDEST, numbers))
        raise Error(f"criu {oldest} or newer is needed: {quoted(path)} is {found}")


def _notified_of_nothing(_script: str, _pid: int, _fd: int) -> None:
    pass


class Worker:
    """A criu that waits for a request.

    Args:
        path: of the program
        stdio: what becomes its standard streams, and those of what it restores
        directories: those with the images and for its log; they become `IMAGES` and `WORK`
        inherited: what becomes its descriptors from `FIRST_INHERITED` on
        prepare: called in its process before it becomes criu

    Attributes:
        pid: its process id

    Raises:
        StepError: what `prepare` raised, or the exec failed
    """

    IMAGES, WORK, FIRST_INHERITED = range(_SOCKET + 1, _SOCKET + 4)

    __slots__ = ("_pidfd", "_socket", "pid")

    def __init__(
        self,
        path: str,
        stdio: "tuple[int, int, int]",
        directories: "list[str]",
        inherited: "list[int] | None" = None,
        prepare: "Callable[[], None] | None" = None,
    ) -> None:
        self._pidfd = -1
        self._socket: _socket.socket | None = None
        pipe, childs_end = new_sync_pipe()
        try:
            self.pid = posix.fork()
            if self.pid == 0:
                _become(path, stdio, directories, inherited or [], childs_end, prepare)
            self._pidfd = posix.pidfd_open(self.pid)
            childs_end.close()
            self._hear(pipe)
        except BaseException:
            self.end()
            raise
        finally:
            pipe.close()
            childs_end.close()

    def _hear(self, pipe: "SyncPipe") -> None:
        """Wait for the socket, and for the exec, which closes the pipe."""
        data, fds = pipe.receive_bytes(1)
        if not fds:
            raise error_of(decode(data))
        self._socket = _socket.socket(fileno=fds[0])
        failure = pipe.receive()
        if failure is not None:
            raise error_of(failure)

    def ask(self, request: "dict[str, Any]", notified: "Notified") -> "dict[str, Any]":
        """Let it do something.

        Args:
            request: a `criu_req`
            notified: told each message on the way: its name, the pid that it is about or 0, and the
                descriptor that came with it or -1, to be closed

        Returns:
            its answer, a `criu_resp`

        Raises:
            Failed: it could not
        """
        self._send(request)
        while True:
            answer, fd = self._receive()
            if not answer.get("success"):
                raise Failed(answer)
            if answer.get("type") != rpc.NOTIFY:
                return answer
            notify = answer.get("notify", {})
            notified(notify.get("script", ""), notify.get("pid", 0), fd)
            self._send({"type": rpc.NOTIFY, "notify_success": True})

    def _send(self, request: "dict[str, Any]") -> None:
        data = protobuf.encode(rpc.SCHEMA, "criu_req", request)
        assert self._socket is not None
        try:
            self._socket.send(data, _socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            raise Failed({}) from None

    def _receive(self) -> "tuple[dict[str, Any], int]":
        room = _socket.CMSG_SPACE(4)
        assert self._socket is not None
        try:
            data, ancillary, _flags, _address = self._socket.recvmsg(
                _LARGEST, room, _socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            data, ancillary = b"", []
        fd = -1
        for level, kind, payload in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                fd = int.from_bytes(payload[:4], "little")
        if not data:
            raise Failed({})
        try:
            return protobuf.decode(rpc.SCHEMA, "criu_resp", data), fd
        except ValueError:
            raise Failed({}) from None

    def finish(self) -> int:
        """Wait for its end, which is near when it has answered; return its exit code."""
        self._hang_up()
        pidfd, self._pidfd = self._pidfd, -1
        try:
            result = posix.waitid(posix.P_PIDFD, pidfd, posix.WEXITED)
        except ChildProcessError:
            return 0  # the kernel has reaped it, as it does for whoever ignores SIGCHLD
        finally:
            posix.close(pidfd)
        if result is None or result.si_code != posix.CLD_EXITED:
            return 1
        return result.si_status

    def end(self) -> None:
        """Kill it where it still runs."""
        self._hang_up()
        if self._pidfd >= 0:
            pidfd, self._pidfd = self._pidfd, -1
            reap(pidfd)

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()


class Failed(Exception):
    """criu said that it could not, or nothing any more.

    Attributes:
        errno: what it names as the reason, or 0
        message: the same in words, or ""
    """

    def __init__(self, answer: "dict[str, Any]") -> None:
        super().__init__()
        self.errno: int = max(0, answer.get("cr_errno", 0))
        self.message: str = answer.get("cr_errmsg", "")


def _become(
    path: str,
    stdio: "tuple[int, int, int]",
    directories: "list[str]",
    inherited: "list[int]",
    pipe: "SyncPipe",
    prepare: "Callable[[], None] | None",
) -> "NoReturn":
    """In the child: prepare, and become criu."""
    told = pipe.fileno()
    try:
        # The command, as it happens, blocks signals, and Python ignores some.
        for number in _signal.valid_signals():
            if number not in (_signal.SIGKILL, _signal.SIGSTOP):
                _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        if prepare is not None:
            prepare()
        opened = [posix.open(each, posix.O_RDONLY | posix.O_DIRECTORY) for each in directories]
        ours, parents = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        pipe.send({}, (parents.fileno(),))
        fds = [*stdio, ours.fileno(), *opened, *inherited]
        # Out of the way first: one may have the number that another is to get.
        free = len(fds) + 1
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, free) for fd in (told, *fds)]
        told = posix.dup2(high[0], len(fds), inheritable=False)
        for number, fd in enumerate(high[1:]):
            posix.dup2(fd, number)
        close_range(free)
        posix.execve(path, ["criu", "swrk", str(_SOCKET)], posix.environ)
    except BaseException as error:
        SyncPipe.of_fd(told).send(error_message(as_step_error(error)))
    finally:
        posix._exit(127)
