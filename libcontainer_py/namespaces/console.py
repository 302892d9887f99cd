"""The parent's side of the console: where the master of the container's terminal goes.

To whoever listens on the console socket, or to our caller. The child makes the terminal, inside the
container (`mount.console`), and sends the master up the sync pipe.
"""

import _socket
import _struct as struct
import posix

from libcontainer_py.errors import ConfigError, StepError, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FIELD = "process.terminal"
# What runc sends along with the descriptor; receivers take it for the terminal's name.
_NAME = b"/dev/ptmx"
# A listener that does not listen must not hold us for ever.
_SECONDS = 10
_LARGEST = 0xFFFF  # struct winsize


class Console:
    """Takes the master of the terminal.

    Attributes:
        master: its descriptor, where it is our caller's; else -1
    """

    __slots__ = ("_path", "_socket", "master")

    def __init__(self, path: "str | None") -> None:
        """Connect to the console socket, if there is one, before anything is made.

        Raises:
            StepError: nobody listens there
        """
        self.master = -1
        self._path = path
        self._socket: _socket.socket | None = None
        if path is not None:
            self._socket = _connect(path)

    def take(self, master: int) -> None:
        """Send the master to the console socket, or keep it.

        Raises:
            StepError: the listener has gone
        """
        if self._socket is None:
            self.master = master
            return
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", master))
        try:
            self._socket.sendmsg([_NAME], [rights], _socket.MSG_NOSIGNAL)
        except OSError as error:
            raise _failed("send the terminal to", self._path or "", error) from None
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


def check(config: "dict[str, Any]", console_socket: "str | None", *, detach: bool) -> None:
    """Refuse a terminal that nobody would hold or that can't be made, and a socket without one.

    Args:
        detach: our caller won't hold it

    Raises:
        ConfigError: where runc has words for it, in those, which callers match
    """
    process = config["process"]
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
    kinds = [each["type"] for each in (config.get("linux") or {}).get("namespaces") or ()]
    if "mount" not in kinds:
        raise ConfigError("a terminal needs a mount namespace, for its /dev/console", _FIELD)
    size = process.get("consoleSize") or {}
    for name in ("height", "width"):
        if size.get(name, 0) > _LARGEST:
            raise ConfigError(f"more than {_LARGEST}", f"process.consoleSize.{name}")


def _connect(path: str) -> _socket.socket:
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    # It bounds both the connection and what is sent.
    timeout = struct.pack("ll", _SECONDS, 0)
    connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, timeout)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise _failed("connect to", path, error) from None
    return connection


def _failed(what: str, path: str, error: OSError) -> StepError:
    number = error.errno or 36  # ENAMETOOLONG, which Python says in words alone
    return StepError("OpenAndDup", number, f"{what} the console socket {shown(path)}")
