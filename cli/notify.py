"""A container that tells the service manager when it is ready: sd_notify(3), by $NOTIFY_SOCKET.

As runc does it: not the manager's own socket is passed on, but one of ours, in a directory that is
mounted at /run/notify. Of what the container says there, the manager is told ``READY=``, and with
it, from us, which process is the service's main one. So a container can't say anything else in the
service's name, and the manager hears it from a process that it knows: `lcpy run` or `lcpy start`,
which wait for it.

The directory is ``notify`` in the container's state: `Runtime.create` makes and mounts it.

Imported only where $NOTIFY_SOCKET is set.
"""

import _socket
import _struct as struct
import _thread
import posix
import select

from libcontainer_py import state as states
from libcontainer_py.errors import shown, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from libcontainer_py.cli.log import Log
    from libcontainer_py.container import Container

_SOCKET = "notify.sock"
_READY = b"READY="
_LONGEST = 4096  # of a message; systemd, too, takes no longer one
_SECONDS = 10
_BARRIER_MILLISECONDS = 30_000
_EADDRINUSE = 98


def start(container: "Container", open_: "Callable[[Container], Notify | None]") -> None:
    """`Container.start`; then wait until it is ready, or has ended."""
    # Another one's socket, whose start was first, must stay.
    notify = open_(container) if container.status == states.CREATED else None
    container.start()
    if notify is not None:
        notify.wait(container.state()["pid"])


def open_(root: str, container: "Container", log: "Log") -> "Notify | None":
    """Make the socket of a container that is about to start.

    Args:
        root: the directory that has the state of all containers
        container: it is created
        log: what gets a warning where the service manager is not there, or no more

    Returns:
        None where nobody is to be told: `create` did not know of a manager, or there is none
    """
    try:
        directory = posix.open(
            f"{root}/{container.id}/notify", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
        )
    except FileNotFoundError:
        return None
    try:
        manager = _connect(posix.environ[b"NOTIFY_SOCKET"], log)
        if manager is None:
            return None
        # The path itself may be longer than bind(2) takes.
        return Notify(_bind(f"/proc/self/fd/{directory}/{_SOCKET}"), manager, log)
    finally:
        posix.close(directory)


def _connect(name: bytes, log: "Log") -> "_socket.socket | None":
    manager = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    # One that does not listen must not hold us for ever.
    manager.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, struct.pack("ll", _SECONDS, 0))
    try:
        # What begins with @ has no file.
        manager.connect(b"\0" + name[1:] if name.startswith(b"@") else name)
    except OSError as error:
        manager.close()
        path = shown(name.decode("utf-8", "surrogateescape"))
        log.warning(f"NOTIFY_SOCKET: connect to {path}: {words(error.errno or 0)}")
        return None
    return manager


def _bind(path: str) -> _socket.socket:
    ours = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        try:
            ours.bind(path)
        except OSError as error:
            if error.errno != _EADDRINUSE:
                raise
            posix.unlink(path)  # of a start that was killed, or has failed
            ours.bind(path)
        posix.chmod(path, 0o777)
    except BaseException:
        ours.close()
        raise
    return ours


class Notify:
    """What passes a container's word on.

    Args:
        ours: where it comes
        manager: where it goes
        log: what gets a warning where that can't be
    """

    __slots__ = ("_closing", "_ended", "_log", "_manager", "_ours")

    def __init__(self, ours: _socket.socket, manager: _socket.socket, log: "Log") -> None:
        self._ours = ours
        self._manager = manager
        self._log = log
        self._closing = False
        self._ended: _thread.LockType | None = None

    def wait(self, pid: int) -> None:
        """Wait until the container is ready, and say that its first process is the main one now.

        Returns when the manager has heard it, because then we end; or when the container has ended.
        """
        try:
            end = posix.pidfd_open(pid) if pid else -1
        except ProcessLookupError:
            end = -1
        if end < 0:
            return
        try:
            poll = select.poll()
            poll.register(self._ours.fileno(), select.POLLIN)
            poll.register(end, select.POLLIN)
            while True:
                ready = {fd for fd, _events in poll.poll()}
                if self._ours.fileno() in ready and self._pass_on(pid):
                    self._barrier()
                    return
                if ready == {end}:
                    return
        finally:
            posix.close(end)

    def follow(self) -> None:
        """From here on, pass on what comes, until `close`: we are the main process, and stay.

        It is done by a thread, because the caller waits for signals.
        """
        self._ended = _thread.allocate_lock()
        self._ended.acquire()
        _thread.start_new_thread(self._follow, (self._ended,))

    def _follow(self, ended: "_thread.LockType") -> None:
        try:
            while not self._closing:
                self._pass_on(posix.getpid())
        finally:
            ended.release()

    def _pass_on(self, pid: int) -> bool:
        """Wait for a message; pass it on if it says that the container is ready, and tell that."""
        for line in self._ours.recv(_LONGEST).split(b"\n"):
            if line.startswith(_READY):
                try:
                    self._manager.send(line + b"\n")
                    self._manager.send(b"MAINPID=%d\n" % pid)
                except OSError as error:
                    self._log.warning(f"NOTIFY_SOCKET: send: {words(error.errno or 0)}")
                return True
        return False

    def _barrier(self) -> None:
        """Wait until the manager has dealt with what was sent: it closes a descriptor of ours then
        (sd_notify_barrier(3)). Before that it can't say of a process that has ended whose it was.
        """
        read, write = posix.pipe2(posix.O_CLOEXEC)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", write))
        try:
            self._manager.sendmsg([b"BARRIER=1"], [rights])
        except OSError:
            return  # it has gone, as has been said
        finally:
            posix.close(write)
        poll = select.poll()
        poll.register(read, 0)  # the end of a pipe is told to those who ask for nothing
        poll.poll(_BARRIER_MILLISECONDS)

    def close(self) -> None:
        """Stop passing on what comes."""
        if self._ended is not None:
            self._closing = True
            self._ours.shutdown(_socket.SHUT_RD)
            self._ended.acquire()
        self._ours.close()
        self._manager.close()
