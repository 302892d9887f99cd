"""A container that tells the service manager when it is ready: sd_notify(3), by $NOTIFY_SOCKET.

As runc does it: not the manager's own socket is passed on, but one of ours, in a directory that is
mounted at /run/notify. Of what the container says there, the manager is told the first ``READY=``,
and with it, from us, which process is the service's main one. So a container can't say anything
else in the service's name, nor say it for ever, and the manager hears it from a process that it
knows: `lcpy run` or `lcpy start`, which wait for it.

The directory is ``notify`` in the container's state: `Runtime.create` makes and mounts it.

Imported only where $NOTIFY_SOCKET is set.
"""

import _socket
import _struct as struct
import _thread
import fcntl
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
    notify = open_(container)
    pid = container.state()["pid"]
    container.start()
    if notify is not None:
        notify.wait(pid)


def open_(root: str, container: "Container", log: "Log") -> "Notify | None":
    """Make the socket of a container that is about to start.

    Args:
        root: the directory that has the state of all containers
        container: it is created
        log: what gets a warning where the service manager is not there, or no more

    Returns:
        None where nobody is to be told: `create` did not know of a manager, or there is none; and
        where another start was first, whose socket must stay
    """
    flags = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC
    try:
        directory = posix.open(f"{root}/{container.id}/notify", flags)
    except FileNotFoundError:
        return None
    notify = None
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as long as the start takes
        if container.status != states.CREATED:
            return None
        manager = _connect(posix.environ[b"NOTIFY_SOCKET"], log)
        if manager is not None:
            # The path itself may be longer than bind(2) takes.
            ours = _bind(f"/proc/self/fd/{directory}/{_SOCKET}")
            notify = Notify(ours, directory, manager, log)
        return notify
    except BlockingIOError:
        return None
    finally:
        if notify is None:
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
    umask = posix.umask(0)  # whoever the container's user is; chmod(2) would follow a link
    try:
        try:
            ours.bind(path)
        except OSError as error:
            if error.errno != _EADDRINUSE:
                raise
            posix.unlink(path)  # of a start that was killed, or has failed
            ours.bind(path)
    except BaseException:
        ours.close()
        raise
    finally:
        posix.umask(umask)
    return ours


class Notify:
    """What passes a container's word on.

    Args:
        ours: where it comes
        directory: of that socket; it is locked
        manager: where it goes
        log: what gets a warning where that can't be
    """

    __slots__ = ("_closing", "_directory", "_ended", "_log", "_manager", "_ours")

    def __init__(
        self, ours: _socket.socket, directory: int, manager: _socket.socket, log: "Log"
    ) -> None:
        self._ours = ours
        self._directory = directory
        self._manager = manager
        self._log = log
        self._closing = False
        self._ended: _thread.LockType | None = None

    def wait(self, pid: int) -> None:
        """Wait until the container is ready, and say that its first process is the main one now.

        Returns when the manager has heard it, because then we end; or when the container has ended.
        """
        poll = select.poll()
        poll.register(self._ours.fileno(), select.POLLIN)
        try:
            end = posix.pidfd_open(pid)
            poll.register(end, select.POLLIN)
        except ProcessLookupError:
            end = -1  # but it may have said something before
        try:
            while ready := {fd for fd, _events in poll.poll(None if end >= 0 else 0)}:
                if self._ours.fileno() not in ready:
                    return
                if self._pass_on(pid):
                    self._barrier()
                    return
        finally:
            if end >= 0:
                posix.close(end)

    def follow(self) -> None:
        """From here on, wait for the word, until `close`: we are the main process, and stay.

        It is done by a thread, because the caller waits for signals.
        """
        self._ended = _thread.allocate_lock()
        self._ended.acquire()
        _thread.start_new_thread(self._follow, (self._ended,))

    def _follow(self, ended: "_thread.LockType") -> None:
        try:
            while not self._closing and not self._pass_on(posix.getpid()):
                continue
            self._ours.close()  # what else it may say is refused
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
            try:
                self._ours.shutdown(_socket.SHUT_RD)
            except OSError:
                pass  # it is ready, and has been heard
            self._ended.acquire()
        self._ours.close()
        self._manager.close()
        posix.close(self._directory)
