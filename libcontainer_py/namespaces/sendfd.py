"""Hand a descriptor to whoever listens on a UNIX socket: a terminal's master, a pidfd."""

import _socket
import _struct as struct

from libcontainer_py.errors import StepError, shown

# A listener that does not listen must not hold us for ever.
_SECONDS = 10


class FdSocket:
    """A connection to the listener.

    Args:
        path: the socket
        name: what is sent along with the descriptor; receivers take it for its name
        sent, to, step, field, connect: words for an error: what, and to which socket

    Raises:
        StepError: nobody listens there
    """

    __slots__ = ("_name", "_sent", "_socket", "_words")

    def __init__(
        self,
        path: str,
        name: bytes,
        *,
        sent: str,
        to: str,
        step: str,
        field: "str | None" = None,
        connect: str = "connect to",
    ) -> None:
        self._name = name
        self._sent = sent
        self._words = (f"{to} {shown(path)}", step, field)
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        # It bounds both the connection and what is sent.
        timeout = struct.pack("ll", _SECONDS, 0)
        self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, timeout)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise self._failed(connect, error) from None

    def send(self, fd: int) -> None:
        """Send a descriptor.

        Raises:
            StepError: the listener has gone
        """
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", fd))
        try:
            sent = self._socket.sendmsg([self._name], [rights], _socket.MSG_NOSIGNAL)
            while sent < len(self._name):  # a part was all that there was room for
                sent += self._socket.send(self._name[sent:], _socket.MSG_NOSIGNAL)
        except OSError as error:
            raise self._failed(f"send {self._sent} to", error) from None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _failed(self, tried: str, error: OSError) -> StepError:
        where, step, field = self._words
        number = error.errno or 36  # ENAMETOOLONG, which Python says in words alone
        return StepError(step, number, f"{tried} {where}", field=field)


def pidfd_socket(path: "str | None") -> "FdSocket | None":
    """Connect to who wants a pidfd of the new process, if somebody does.

    Raises:
        StepError: nobody listens there
    """
    if path is None:
        return None
    return FdSocket(path, b"pidfd", sent="the pidfd", to="the pidfd socket", step="clone")


def send_pidfd(socket: "FdSocket | None", pidfd: int) -> None:
    """Send the pidfd; and that is all.

    Raises:
        StepError: the listener has gone
    """
    if socket is not None:
        socket.send(pidfd)
        socket.close()
