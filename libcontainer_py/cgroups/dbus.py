"""D-Bus, as much of it as systemd is spoken to with: calls, their replies, and signals.

The wire format of the D-Bus Specification (0.43), over a UNIX socket. It is spoken directly because
a client library costs more than the whole conversation: jeepney 0.9 takes 14 ms to import, and this
module 0.4 ms. To write and read a message takes either of them 0.2 ms.
"""

import _socket
import _struct as struct
import time

from libcontainer_py.errors import Error, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What `struct` raises (typeshed does not know that it is here, too).
OutOfRange: "type[Exception]" = struct.error  # type: ignore[attr-defined]

METHOD_CALL, METHOD_RETURN, ERROR, SIGNAL = 1, 2, 3, 4

# The fields of a message's header, with the type of each.
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SENDER, _SIGNATURE = range(
    1, 9
)
_FIELD_TYPES = {_PATH: "o", _REPLY_SERIAL: "u", _SIGNATURE: "g"}

# The types of one size, as `struct` names them, which aligns them as D-Bus does: to their size.
_FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}
_ALIGNED_TO_8 = "({"
_MAX_MESSAGE = 1 << 24

_EACCES, _EAGAIN, _EPROTO, _ECONNRESET, _ETIMEDOUT = 13, 11, 71, 104, 110


class BusError(Error):
    """The answer to a call is an error.

    Attributes:
        name: which: ``org.freedesktop.systemd1.UnitExists``
        text: the same in words, of whoever was called
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {quoted(text)}")
        self.name = name
        self.text = text


class Message:
    """One message that came.

    Attributes:
        kind: METHOD_RETURN, ERROR or SIGNAL
        fields: its header, by the numbers of the specification
        values: its arguments
    """

    __slots__ = ("fields", "kind", "values")

    def __init__(self, kind: int, fields: "dict[int, Any]", values: "list[Any]") -> None:
        self.kind = kind
        self.fields = fields
        self.values = values

    def is_signal(self, member: str, sender: "str | None") -> bool:
        """Tell whether it is a certain signal, from somebody who is known by a reply."""
        said = self.fields.get(_SENDER)
        return self.kind == SIGNAL and self.fields.get(_MEMBER) == member and said == sender


class Bus:
    """A connection to a bus, or to somebody who speaks D-Bus without one.

    Args:
        address: the socket's path; ``\\0`` before a name that is no path (unix(7), «abstract»)
        timeout: seconds that connecting, and every wait for an answer, may take

    Attributes:
        sender: who has answered the last call, on a bus

    Raises:
        OSError: nobody listens there, or we are not let in
    """

    __slots__ = ("_buffer", "_serial", "_signals", "_socket", "_timeout", "sender")

    def __init__(self, address: str, timeout: float = 30.0) -> None:
        self._buffer = b""
        self._serial = 0
        self._signals: list[Message] = []
        self._timeout = timeout
        self.sender: str | None = None
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            # The kernel's timeouts, because these hold for connect(2), too, which waits while too
            # many others do.
            limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
            self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, limit)
            self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, limit)
            try:
                self._socket.connect(address)
            except BlockingIOError:
                raise TimeoutError(_ETIMEDOUT, "") from None
            self._authenticate()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        *arguments: "Any",
    ) -> "list[Any]":
        """Call a method, and wait for its reply.

        Args:
            signature: the types of its arguments

        Returns:
            the values that it returns

        Raises:
            BusError: it is an error
            OSError: the connection is gone, or there was no answer in time
        """
        self._serial += 1
        fields = {
            _PATH: path,
            _INTERFACE: interface,
            _MEMBER: member,
            _DESTINATION: destination,
        }
        self._send(message(self._serial, fields, signature, *arguments))
        deadline = time.monotonic() + self._timeout
        while True:
            answer = self._receive(deadline)
            if answer.kind == SIGNAL:
                self._signals.append(answer)
            elif answer.fields.get(_REPLY_SERIAL) == self._serial:
                break
        self.sender = answer.fields.get(_SENDER)
        if answer.kind == ERROR:
            text = answer.values[0] if answer.values else ""
            raise BusError(str(answer.fields.get(_ERROR_NAME)), str(text))
        return answer.values

    def wait_for_signal(self, member: str, at: int, value: "Any") -> "list[Any]":
        """Wait for a signal of who has answered the last call.

        Args:
            at, value: the one whose argument of that number is this

        Returns:
            its arguments

        Raises:
            OSError: the connection is gone, or it did not come in time
        """
        deadline = time.monotonic() + self._timeout
        while True:
            signal = self._signals.pop(0) if self._signals else self._receive(deadline)
            if signal.is_signal(member, self.sender) and signal.values[at : at + 1] == [value]:
                return signal.values

    # ── bytes ───────────────────────────────────────────────────────────────────────────────────

    def _authenticate(self) -> None:
        # Without an id of ours: in a user namespace we don't know by which one the other side
        # knows us. It takes the one that the kernel tells it. And with the end of it all: systemd
        # forgets a message that it reads together with that.
        self._send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
        for wanted in (b"DATA", b"OK"):
            line = self._receive_line()
            if line.split(b" ")[0] != wanted:
                raise PermissionError(_EACCES, "")

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data, _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            raise TimeoutError(_ETIMEDOUT, "") from None

    def _receive_line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > _MAX_MESSAGE:
                raise OSError(_EPROTO, "")
            self._receive_more()
        line, _end, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _receive(self, deadline: float) -> Message:
        size = 16
        while len(self._buffer) < size or len(self._buffer) < (size := self._size()):
            if time.monotonic() > deadline:
                raise TimeoutError(_ETIMEDOUT, "")
            self._receive_more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        try:
            return parse(data)
        except (ValueError, LookupError, OutOfRange):
            raise OSError(_EPROTO, "") from None

    def _size(self) -> int:
        """How long the message is whose first 16 bytes are there."""
        order = "<" if self._buffer[:1] == b"l" else ">"
        body, fields = struct.unpack_from(f"{order}I4xI", self._buffer, 4)
        size = 16 + fields + -fields % 8 + body
        if self._buffer[:1] not in (b"l", b"B") or size > _MAX_MESSAGE:
            raise OSError(_EPROTO, "")
        return int(size)

    def _receive_more(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            raise TimeoutError(_ETIMEDOUT, "") from None
        if not data:
            raise ConnectionResetError(_ECONNRESET, "")
        self._buffer += data


# ── messages ────────────────────────────────────────────────────────────────────────────────────


def message(
    serial: int,
    fields: "dict[int, Any]",
    signature: str,
    *arguments: "Any",
    kind: int = METHOD_CALL,
) -> bytes:
    """Write one message: a header, and arguments of the types of a signature."""
    body = bytearray()
    for each, value in zip(split(signature), arguments, strict=True):
        write(each, value, body)
    if signature:
        fields = fields | {_SIGNATURE: signature}
    typed = [(code, (_FIELD_TYPES.get(code, "s"), value)) for code, value in fields.items()]
    data = bytearray(struct.pack("<cBBBII", b"l", kind, 0, 1, len(body), serial))
    write("a(yv)", typed, data)
    _pad(data, 8)
    return bytes(data + body)


def parse(data: bytes) -> Message:
    """Read one message.

    Raises:
        ValueError, LookupError, struct.error: it is none
    """
    reader = _Reader(data, "<" if data[:1] == b"l" else ">")
    reader.at = 12
    fields = {code: value[1] for code, value in reader.read("a(yv)")}
    reader.align(8)
    values = [reader.read(each) for each in split(fields.get(_SIGNATURE, ""))]
    return Message(data[1], fields, values)


def split(signature: str) -> "list[str]":
    """Split a signature into its complete types: ``sa(sv)`` into ``s`` and ``a(sv)``.

    Raises:
        ValueError: it is none
    """
    types = []
    while signature:
        end = _end_of_type(signature, 0)
        types.append(signature[:end])
        signature = signature[end:]
    return types


def _end_of_type(signature: str, at: int) -> int:
    while signature[at : at + 1] == "a":
        at += 1
    char = signature[at : at + 1]
    if char in _ALIGNED_TO_8 and char:
        close = ")" if char == "(" else "}"
        at += 1
        while signature[at : at + 1] != close:
            at = _end_of_type(signature, at)
    elif not char or char not in "ybnqiuxtdsogvh":
        raise ValueError(f"{quoted(signature)} is no signature")
    return at + 1


def _alignment(kind: str) -> int:
    if kind in _FIXED:
        return struct.calcsize(_FIXED[kind])
    if kind in _ALIGNED_TO_8:
        return 8
    return 1 if kind in "gv" else 4


def _pad(out: bytearray, alignment: int) -> None:
    out += bytes(-len(out) % alignment)


def write(signature: str, value: "Any", out: bytearray) -> None:
    """Append a value of one complete type. That of a variant is (signature, value).

    Raises:
        ValueError: it is too long
        struct.error: a number is out of range
    """
    kind = signature[0]
    _pad(out, _alignment(kind))
    if kind in _FIXED:
        out += struct.pack(f"<{_FIXED[kind]}", value)
    elif kind in "so":
        data = value.encode("utf-8")
        out += struct.pack("<I", len(data)) + data + b"\0"
    elif kind == "g":
        data = value.encode("ascii")
        out += struct.pack("<B", len(data)) + data + b"\0"
    elif kind == "v":
        write("g", value[0], out)
        write(value[0], value[1], out)
    elif kind == "a":
        _write_array(signature[1:], value, out)
    else:
        for each, member in zip(split(signature[1:-1]), value, strict=True):
            write(each, member, out)


def _write_array(item: str, values: "Any", out: bytearray) -> None:
    # The length counts no padding before the first item; that is there even where no item is.
    at = len(out)
    out += bytes(4)
    _pad(out, _alignment(item[0]))
    start = len(out)
    for value in values:
        write(item, value, out)
    struct.pack_into("<I", out, at, len(out) - start)


class _Reader:
    __slots__ = ("_data", "_order", "at")

    def __init__(self, data: bytes, order: str) -> None:
        self._data = data
        self._order = order
        self.at = 0

    def align(self, alignment: int) -> None:
        self.at += -self.at % alignment

    def read(self, signature: str) -> "Any":
        """Read a value of one complete type; that of a variant is (signature, value)."""
        kind = signature[0]
        self.align(_alignment(kind))
        if kind in _FIXED:
            return self._number(_FIXED[kind])
        if kind in "so":
            return self._text(self._number("I"))
        if kind == "g":
            return self._text(self._number("B"))
        if kind == "h":
            return self._number("I")
        if kind == "v":
            inner = self.read("g")
            return (inner, self.read(inner))
        if kind == "a":
            return self._array(signature[1:])
        return tuple(self.read(each) for each in split(signature[1:-1]))

    def _number(self, code: str) -> "Any":
        (value,) = struct.unpack_from(self._order + code, self._data, self.at)
        self.at += struct.calcsize(code)
        return value

    def _text(self, length: int) -> str:
        data = self._data[self.at : self.at + length]
        if len(data) != length:
            raise ValueError("it ends too early")
        self.at += length + 1
        return data.decode("utf-8")

    def _array(self, item: str) -> "list[Any]":
        length = self._number("I")
        self.align(_alignment(item[0]))
        end = self.at + length
        values = []
        while self.at < end:
            values.append(self.read(item))
        return values
