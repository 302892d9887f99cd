"""The terminals of `run` and `exec` in the foreground: the caller's, and the container's.

What comes from standard input goes into the container's terminal, what that shows goes to standard
output, and neither may hold up the other, or a signal.
"""

import fcntl
import posix
import select
import termios

from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import TIOCGPTPEER, TIOCGWINSZ, TIOCSWINSZ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_PART = 4096  # PIPE_BUF: a pipe that poll(2) calls writable takes as much without blocking
_NO_SIZE = bytes(8)  # struct winsize
# More than the kernel keeps for the reader of a terminal; another writer may never stop.
_LAST_PARTS = 64
# Whoever sends these while the last output is written wants no more of it.
_IMPATIENT = (1, 2, 3, 15)  # SIGHUP, SIGINT, SIGQUIT, SIGTERM


class Terminal:
    """Both terminals: connected by `connect`; at `restore` the caller's is as it was before."""

    __slots__ = (
        "_host",
        "_input_ended",
        "_master",
        "_saved",
        "_signals",
        "_slave",
        "_to_container",
        "_to_host",
    )

    def __init__(self, master: int, signals: "set[int]") -> None:
        """Take the container's terminal.

        Args:
            master: of the container's terminal
            signals: what ends `next_signal`; they are blocked
        """
        self._master = master
        self._host = _callers_terminal()
        self._signals = syscalls.signalfd(signals)
        # Held open: reading fails while nobody has this end, and no process of the container need.
        flags = posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC
        self._slave = fcntl.ioctl(master, TIOCGPTPEER, flags)
        self._input_ended = False
        self._to_container = b""
        self._to_host = b""
        self._saved: list[Any] | None = None
        posix.set_blocking(master, False)

    def connect(self) -> None:
        """Make the caller's terminal raw, if standard input is one, and the container's as large.

        Where no raw terminal shows what the program writes, its lines end as it writes them, and
        not in CR LF: a pipe or a file takes it as it is, another terminal adds the CR itself.
        """
        if fcntl.ioctl(self._master, TIOCGWINSZ, _NO_SIZE) == _NO_SIZE:
            self.resize()  # no consoleSize says another
        raw = posix.isatty(_STDIN)
        if not (raw and posix.isatty(_STDOUT)):
            attributes = termios.tcgetattr(self._slave)
            attributes[1] &= ~termios.ONLCR
            termios.tcsetattr(self._slave, termios.TCSANOW, attributes)
        if raw:
            self._saved = termios.tcgetattr(_STDIN)
            termios.tcsetattr(_STDIN, termios.TCSANOW, _raw(termios.tcgetattr(_STDIN)))

    def restore(self) -> None:
        """Give the caller's terminal back as it was."""
        if self._saved is not None:
            try:
                termios.tcsetattr(_STDIN, termios.TCSANOW, self._saved)
            except termios.error:
                return  # it has hung up: there is nothing left to restore

    def resize(self) -> None:
        """Make the container's terminal as large as the caller's."""
        if self._host >= 0 and self._master >= 0:
            try:
                size = fcntl.ioctl(self._host, TIOCGWINSZ, _NO_SIZE)
            except OSError:
                return  # it has hung up: the size stays
            fcntl.ioctl(self._master, TIOCSWINSZ, size)

    def next_signal(self) -> int:
        """Copy both ways until a signal comes; return its number."""
        while True:
            number = self._copy(None)
            if number:
                return number

    def drain(self) -> None:
        """Write what the container has shown and we have not, after its end."""
        self._input_ended = True
        self._to_container = b""
        parts = 0
        while parts < _LAST_PARTS or self._to_host:
            number = self._copy(None if self._to_host else 0)
            if number is None or number in _IMPATIENT:
                return
            parts += 1

    def _copy(self, timeout: "int | None") -> "int | None":
        """Wait until something can be done, and do it.

        Returns the number of a signal; 0 when something was copied; None when time was up.
        """
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        if not (self._input_ended or self._to_container):
            poll.register(_STDIN, select.POLLIN)
        if self._to_host:
            poll.register(_STDOUT, select.POLLOUT)
        wanted = 0 if self._to_host else select.POLLIN
        wanted |= select.POLLOUT if self._to_container else 0
        # A hang-up is told even to those who ask for nothing, and then at once, again and again.
        if self._master >= 0 and wanted:
            poll.register(self._master, wanted)
        ready = dict(poll.poll(timeout))
        if self._signals in ready:
            return int.from_bytes(posix.read(self._signals, 128)[:4], "little")  # signalfd_siginfo
        if _STDIN in ready:
            self._read_input(ready[_STDIN])
        if _STDOUT in ready:
            self._write_output()
        if self._master in ready:
            self._serve_container(ready[self._master])
        return 0 if ready else None

    def _read_input(self, events: int) -> None:
        try:
            self._to_container = posix.read(_STDIN, _PART)
        except BlockingIOError:
            return
        except OSError:  # EIO: the terminal has hung up, or is another process group's now
            self._to_container = b""
        if not self._to_container:
            self._input_ended = True
            if events & select.POLLHUP and self._saved is not None:
                self._hang_up()

    def _write_output(self) -> None:
        try:
            written = posix.write(_STDOUT, self._to_host)
        except BlockingIOError:
            return
        except OSError:  # nobody looks any more
            self._hang_up()
            return
        self._to_host = self._to_host[written:]

    def _serve_container(self, events: int) -> None:
        try:
            if events & select.POLLOUT:
                written = posix.write(self._master, self._to_container)
                self._to_container = self._to_container[written:]
            if events & ~select.POLLOUT:
                self._to_host = posix.read(self._master, _PART)
        except BlockingIOError:
            return
        except OSError:
            self._hang_up()

    def _hang_up(self) -> None:
        """Let the container's terminal hang up, as ours has."""
        if self._master < 0:
            return
        posix.close(self._slave)
        posix.close(self._master)
        self._master = -1
        self._to_host = self._to_container = b""
        self._input_ended = True


def _callers_terminal() -> int:
    """A descriptor of the terminal whose size the container's has, or -1."""
    for fd in (_STDIN, _STDOUT, _STDERR):
        if posix.isatty(fd):
            return fd
    try:
        return posix.open("/dev/tty", posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC)
    except OSError:
        return -1


def _raw(attributes: "list[Any]") -> "list[Any]":
    """cfmakeraw(3): every key is a byte for the container, every byte of its output is shown."""
    attributes[0] &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    attributes[1] &= ~termios.OPOST
    attributes[2] = attributes[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    attributes[3] &= ~(
        termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN
    )
    attributes[6][termios.VMIN] = 1
    attributes[6][termios.VTIME] = 0
    return attributes
