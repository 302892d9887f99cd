"""The wire format of Protocol Buffers (protobuf.dev, «Encoding»), as far as criu's messages use it.

A message is a run of fields; each is a key, number and wire type, and a value: a number of variable
length, or bytes behind their length. What each field means, a schema says: by the message's name,
each field's number and type, where a type that is none of `bool`, `int`, `str` names a message.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Schema = Mapping[str, Mapping[str, tuple[int, str]]]

VARINT, I64, LEN, I32 = 0, 1, 2, 5
_FIXED = {I64: 8, I32: 4}
_64_BITS = (1 << 64) - 1


def encode(schema: "Schema", message: str, values: "Mapping[str, Any]") -> bytes:
    """Write a message.

    Args:
        values: by the fields' names; None leaves one out, a list repeats one

    Raises:
        KeyError: the message has no such field
    """
    out = bytearray()
    for name, value in values.items():
        number, kind = schema[message][name]
        for each in value if isinstance(value, list) else [value]:
            if each is None:
                continue
            if kind in ("bool", "int"):
                out += _varint(number << 3 | VARINT) + _varint(int(each))
                continue
            data = each.encode("utf-8", "surrogateescape") if kind == "str" else None
            if data is None:
                data = encode(schema, kind, each)
            out += _varint(number << 3 | LEN) + _varint(len(data)) + data
    return bytes(out)


def decode(schema: "Schema", message: str, data: bytes) -> "dict[str, Any]":
    """Read a message: its fields by name, of one that is repeated the last; others are skipped.

    Raises:
        ValueError: it is none
    """
    fields = {number: (name, kind) for name, (number, kind) in schema[message].items()}
    values: dict[str, Any] = {}
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        value: int | bytes
        if key & 7 == VARINT:
            value, position = _read_varint(data, position)
        else:
            size = _FIXED.get(key & 7)
            if key & 7 == LEN:
                size, position = _read_varint(data, position)
            if size is None or position + size > len(data):
                raise ValueError(f"no field of a message, at byte {position}")
            value, position = data[position : position + size], position + size
        if key >> 3 in fields:
            name, kind = fields[key >> 3]
            values[name] = _value(schema, kind, value)
    return values


def _value(schema: "Schema", kind: str, value: "int | bytes") -> "Any":
    if isinstance(value, int) != (kind in ("bool", "int")):
        raise ValueError(f"a field of another type than {kind}")
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace") if kind == "str" else decode(schema, kind, value)
    # An int32 below 0 comes as 64 bits.
    return bool(value) if kind == "bool" else value - (value >> 63 << 64)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that another byte follows."""
    value &= _64_BITS
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, position: int) -> "tuple[int, int]":
    """Returns (the number, the position behind it)."""
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _64_BITS, position
        shift += 7
    raise ValueError(f"no number, at byte {position}")
