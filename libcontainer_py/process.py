"""A process of a container, with the manners of `subprocess.Popen`, and its standard streams."""

import _signal
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    from libcontainer_py.namespaces.created import Created

PIPE = -1
DEVNULL = -3


class Process:
    """The first process of a container, or a second one, with the manners of `subprocess.Popen`.

    Attributes:
        pid: its process id, in the caller's pid namespace
        returncode: None while it runs; its exit status; -N when signal N ended it
        stdin, stdout, stderr: the other ends of what was created with PIPE, as files, else None
        terminal: a descriptor of the master of its terminal, where it has one and that did not go
            to a console socket; else None
    """

    __slots__ = ("_pidfd", "pid", "returncode", "stderr", "stdin", "stdout", "terminal")

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self.returncode: int | None = None
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        self.terminal: int | None = None

    def fileno(self) -> int:
        """A pidfd of it: readable when it has ended (pidfd_open(2))."""
        return self._pidfd

    def poll(self) -> "int | None":
        """Look whether it has ended; return `returncode`.

        Raises:
            ChildProcessError: it is not a child of this process, so its status is not ours to know
        """
        return self._wait(posix.WNOHANG)

    def wait(self, timeout: "float | None" = None) -> int:
        """Wait until it has ended; return `returncode`.

        Args:
            timeout: seconds; None waits for ever

        Raises:
            TimeoutError: it is still running
            ChildProcessError: it is not a child of this process
        """
        if timeout is not None and self.returncode is None and not self._ends_within(timeout):
            raise TimeoutError(f"process {self.pid} is still running after {timeout} seconds")
        code = self._wait(0)
        assert code is not None
        return code

    def send_signal(self, signal: int) -> None:
        """Send it a signal. One that has ended is left alone, as in `subprocess`."""
        if self.returncode is None:
            try:
                _signal.pidfd_send_signal(self._pidfd, signal)
            except ProcessLookupError:
                return

    def close(self) -> None:
        """Let go of the pidfd, the streams and the terminal (which hangs up)."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        if self.terminal is not None:
            posix.close(self.terminal)
            self.terminal = None
        if self._pidfd >= 0:
            posix.close(self._pidfd)
            self._pidfd = -1

    def _ends_within(self, seconds: float) -> bool:
        from libcontainer_py.linux.wait import wait_for_end

        return wait_for_end(self._pidfd, seconds)

    def _wait(self, flags: int) -> "int | None":
        if self.returncode is None:
            result = posix.waitid(posix.P_PIDFD, self._pidfd, posix.WEXITED | flags)
            if result is not None:
                exited = result.si_code == posix.CLD_EXITED
                self.returncode = result.si_status if exited else -result.si_status
        return self.returncode


class Streams:
    """The standard streams of a new container: its ends, and ours."""

    __slots__ = ("_close", "_ours", "childs")

    def __init__(self, *wanted: "int | IO[Any] | None") -> None:
        self._close: list[int] = []
        self._ours = [-1, -1, -1]
        ends = []
        for target, stream in enumerate(wanted):
            if stream is None:
                ends.append(target)
            elif stream == PIPE:
                read, write = posix.pipe()
                theirs, self._ours[target] = (read, write) if target == 0 else (write, read)
                self._close.append(theirs)
                ends.append(theirs)
            elif stream == DEVNULL:
                null = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
                self._close.append(null)
                ends.append(null)
            else:
                ends.append(stream if isinstance(stream, int) else stream.fileno())
        self.childs = (ends[0], ends[1], ends[2])

    def close_childs(self) -> None:
        for fd in self._close:
            posix.close(fd)
        self._close = []

    def close_ours(self) -> None:
        for fd in self._ours:
            if fd >= 0:
                posix.close(fd)

    def files(self) -> "list[IO[bytes] | None]":
        modes = ("wb", "rb", "rb")
        return [
            open(fd, mode, buffering=0) if fd >= 0 else None
            for fd, mode in zip(self._ours, modes, strict=True)
        ]


def process_of(created: "Created", streams: Streams) -> Process:
    """Make the object of a process that was made, with our ends of its streams."""
    process = Process(created.pid, created.pidfd)
    process.stdin, process.stdout, process.stderr = streams.files()
    if created.master >= 0:
        process.terminal = created.master
    return process
