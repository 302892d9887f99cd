"""The console: the child makes the terminal, the parent hands its master on.

It is made inside the container (`mount.console`). Its master comes up the sync pipe and goes to
whoever listens on the console socket, or to our caller.
"""

import posix

from libcontainer_py.errors import ConfigError
from libcontainer_py.mount import console as terminals
from libcontainer_py.namespaces.sendfd import FdSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.namespaces.step import Step
    from libcontainer_py.syncpipe.pipe import SyncPipe

_FIELD = "process.terminal"
# What runc sends along with the descriptor; receivers take it for the terminal's name.
_NAME = b"/dev/ptmx"
_LARGEST = 0xFFFF  # struct winsize


class Console:
    """Makes a terminal, and takes its master.

    Args:
        path: the console socket; None: the master is for our caller
        size: `process.consoleSize`

    Attributes:
        master: its descriptor, where it is our caller's; else -1
    """

    __slots__ = ("_size", "_socket", "master")

    def __init__(self, path: "str | None", size: "dict[str, int]") -> None:
        """Connect to the console socket, if there is one, before anything is made.

        Raises:
            StepError: nobody listens there
        """
        self.master = -1
        self._size = size
        self._socket: FdSocket | None = None
        if path is not None:
            self._socket = FdSocket(
                path,
                _NAME,
                sent="the terminal",
                to="the console socket",
                step="OpenAndDup",
                field=_FIELD,
            )

    def open_and_dup(self, pipe: "SyncPipe", step: "Step", *, controlling: bool) -> None:
        """In the child: make the terminal its standard streams; send the master up.

        Args:
            controlling: it is to be its controlling terminal, too
        """
        step.begin("OpenAndDup", _FIELD)
        size = self._size
        master, slave = terminals.setup_console(size.get("height", 0), size.get("width", 0))
        pipe.send({"console": True}, (master,))
        posix.close(master)
        step.begin("Setctty", _FIELD)
        terminals.take_terminal(slave, controlling=controlling)

    def take(self, master: int) -> None:
        """Send the master to the console socket, or keep it.

        Raises:
            StepError: the listener has gone
        """
        if self._socket is None:
            self.master = master
            return
        try:
            self._socket.send(master)
        finally:
            posix.close(master)

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()

    def close_master(self) -> None:
        """Close the master: the container did not come to be."""
        if self.master >= 0:
            posix.close(self.master)
            self.master = -1


def check(process: "dict[str, Any]", console_socket: "str | None", *, detach: bool) -> None:
    """Refuse a terminal that nobody would hold or that can't be made, and a socket without one.

    Args:
        detach: our caller won't hold it

    Raises:
        ConfigError: where runc has words for it, in those, which callers match
    """
    terminal = process.get("terminal")
    if terminal and detach and console_socket is None:
        raise ConfigError(
            "cannot allocate tty if lcpy will detach without setting console socket", _FIELD
        )
    if console_socket is not None and not terminal:
        raise ConfigError(
            "cannot use console socket if lcpy will not detach or allocate tty", _FIELD
        )
    if not terminal:
        return
    size = process.get("consoleSize") or {}
    for name in ("height", "width"):
        if size.get(name, 0) > _LARGEST:
            raise ConfigError(f"more than {_LARGEST}", f"process.consoleSize.{name}")
