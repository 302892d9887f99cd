"""Messages between the parent and the child, over a connected pair of UNIX sockets.

A packet is a message: a JSON object, or one of the finish list's records (READY, or a failure).
Packets keep their bounds, so no length is framed, and the list can write its record with a single
write(2). The pipe also ties the child's life to the parent's: at its end of file the child leaves.

From the child come, in this order:

    {"cloned": PID}             where namespaces are joined: the joiner's only message, with the
                                pidfd of the child, which says the rest
    {"entered": true}           where a pid namespace is joined: it is in all the others
    {"sources": true}           step 6: its root is there; it waits for who makes the mounts that
                                it can't make itself, where there are any
    {"mounts": true}            step 6: its mounts are made; it waits for an answer
    {"console": true}           step 7: with the master of the terminal, where there is one
    {"finish": [...], …}        step 7: Python's work is over; it waits for an answer. With the
                                steps of the finish list (`records.step_at`)
    ENTERED and a pid           the finish list, where a pid namespace is joined: the process that
                                is in it, and waits for a byte
    a number                    the finish list, where its filter asks an agent: the listener, which
                                waits to be taken; before or after that pid
    LISTENER_CLOSED             and now it holds it no more
    READY                       the finish list: everything is dropped, it waits for `start`
    {"error": {...}}            or, at any point, what went wrong; the last message
    a record of a failure       the same from the finish list

From the parent:

    {"go": true, …}             the cgroups and maps are there: begin; with who to be (`ids`) in
                                another user namespace
    {"sources": true}           with another such pipe, to ask for descriptors of mounts
    {"ok": true, …}             an answer to `mounts` and to `finish`; to the first, where there are
                                hooks, with files of the states that the child's own hooks read
"""

import _socket
import posix

from libcontainer_py import jsontext
from libcontainer_py.errors import ConfigError, StepError, quoted, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A child that has been taken over must not be able to fill the parent's memory. The largest honest
# message is the table of a finish list, a few hundred short lines.
LIMIT = 256 * 1024

_SOL_SOCKET, _SCM_RIGHTS = _socket.SOL_SOCKET, _socket.SCM_RIGHTS


class SyncPipe:
    """One end of the pair."""

    __slots__ = ("_socket",)

    def __init__(self, socket: "_socket.socket") -> None:
        self._socket = socket

    @classmethod
    def of_fd(cls, fd: int) -> "SyncPipe":
        """Take over a descriptor of an end."""
        return cls(_socket.socket(fileno=fd))

    def fileno(self) -> int:
        """The descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end; the other one sees an end of file."""
        self._socket.close()

    def send(self, message: "dict[str, Any]", fds: "tuple[int, ...]" = ()) -> None:
        """Send one message, and descriptors with it.

        Raises:
            ConnectionError: the other end is gone
        """
        rights = b"".join(fd.to_bytes(4, "little") for fd in fds)
        ancillary = [(_SOL_SOCKET, _SCM_RIGHTS, rights)] if fds else []
        # MSG_NOSIGNAL: the child has SIGPIPE at its default, so that its program inherits that.
        self._socket.sendmsg(
            [jsontext.dumps(message).encode("utf-8", "surrogatepass")],
            ancillary,
            _socket.MSG_NOSIGNAL,
        )

    def receive_bytes(self, max_fds: int = 0) -> "tuple[bytes, list[int]]":
        """Receive one packet, and up to `max_fds` descriptors; b"" is the end of file.

        Raises:
            StepError: the packet, or what came with it, is larger than agreed
        """
        room = _socket.CMSG_SPACE(4 * max_fds) if max_fds else 0
        try:
            data, ancillary, flags, _address = self._recvmsg(room)
        except ConnectionResetError:
            # The other end closed before it had read what we sent. The kernel says so once, before
            # what the other end had still to say.
            data, ancillary, flags, _address = self._recvmsg(room)
        fds = []
        for level, kind, payload in ancillary:
            if level == _SOL_SOCKET and kind == _SCM_RIGHTS:
                fds += [
                    int.from_bytes(payload[at : at + 4], "little")
                    for at in range(0, len(payload) - 3, 4)
                ]
        if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
            for fd in fds:
                posix.close(fd)
            raise StepError("ReadFromChild", 0, "a message on the sync pipe is too large")
        return data, fds

    def _recvmsg(self, room: int) -> "tuple[bytes, list[tuple[int, int, bytes]], int, Any]":
        return self._socket.recvmsg(LIMIT, room, _socket.MSG_CMSG_CLOEXEC)

    def receive(self) -> "dict[str, Any] | None":
        """Receive one JSON message; None is the end of file.

        Raises:
            StepError: it is not a message
        """
        data, _fds = self.receive_bytes()
        return decode(data) if data else None

    def expect(self, kind: str) -> "dict[str, Any]":
        """Receive the one message that may come now.

        Raises:
            StepError: another came, or the end of file
        """
        return self.expect_fds(kind, 0)[0]

    def expect_fds(self, kind: str, max_fds: int = 253) -> "tuple[dict[str, Any], list[int]]":
        """The same, with descriptors.

        Raises:
            StepError: as `expect`
        """
        data, fds = self.receive_bytes(max_fds)
        message = decode(data) if data else {}
        if kind not in message:
            raise StepError("ReadFromParent", 0, "the parent is gone")
        return message, fds


def decode(data: bytes) -> "dict[str, Any]":
    """Read a packet as a JSON message.

    Raises:
        StepError: it is not one
    """
    try:
        message = jsontext.loads(data.decode("utf-8", "surrogatepass"))
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise StepError("ReadFromChild", 0, "a message on the sync pipe can't be read")
    return message


def new_sync_pipe() -> "tuple[SyncPipe, SyncPipe]":
    """Make a connected pair: (parent's end, child's end). `NewSyncPipe`.

    Raises:
        OSError: no descriptors are left
    """
    parent, child = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    return SyncPipe(parent), SyncPipe(child)


def as_step_error(
    error: BaseException, step: "str | None" = None, field: "str | None" = None
) -> StepError:
    """Make of whatever was raised what can be sent; `step` and `field` where it knows none."""
    if isinstance(error, OSError):
        return StepError.of(error, step, field)
    known = error.field if isinstance(error, ConfigError) else None
    what = str(error) if known is None else str(error).removeprefix(f"{known}: ")
    if not isinstance(error, ConfigError):
        what = f"{type(error).__name__}: {quoted(what)}"
    return StepError(step, 0, what, field=known or field)


def error_message(error: StepError) -> "dict[str, Any]":
    """Turn the child's error into data (`step`, `field`, `errno`, `what`, `hint`)."""
    return {
        "error": {
            "step": error.step,
            "field": error.field,
            "errno": error.errno,
            "what": error.what,
            "hint": error.hint,
        }
    }


def error_of(message: "dict[str, Any]") -> StepError:
    """Turn data back into the error."""
    data = message.get("error")
    if not isinstance(data, dict):
        return StepError("ReadFromChild", 0, "a message on the sync pipe can't be read")

    def text(key: str) -> "str | None":
        value = data.get(key)
        return shown(value) if isinstance(value, str) else None

    errno = data.get("errno")
    return StepError(
        text("step"),
        errno if isinstance(errno, int) else 0,
        text("what") or "",
        field=text("field"),
        hint=text("hint"),
    )
