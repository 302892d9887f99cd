"""Annotations ``org.systemd.property.NAME`` of config.json: properties of the container's unit.

As with runc: the value is written as the text format of GVariant has it (``uint64 5``, ``'mixed'``,
``['a.service']``), and a name that ends in ``Sec`` is that in ``USec``, in seconds.

An engine may copy annotations from whoever asks it for a container. With all of systemd's
properties such a stranger could stop a service of the host (``Conflicts``), or load a program of
his into its kernel (``BPFProgram``). So the operator must turn them on, all but a few that do no
more than a container could do to itself, and that engines rely on.
"""

from libcontainer_py.cgroups.dbus import OutOfRange, split, write
from libcontainer_py.cgroups.systemd_properties import Property
from libcontainer_py.errors import ConfigError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Value = tuple[str, Any]  # of a type, as D-Bus spells it

PREFIX = "org.systemd.property."

# How it ends, what it is called, and in which order it comes.
HARMLESS = (
    "After",
    "Before",
    "CollectMode",
    "DefaultDependencies",
    "Description",
    "KillSignal",
    "RuntimeMaxUSec",
    "TimeoutStopUSec",
)

_KEYWORDS = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
}
_INTEGERS = ("y", "n", "q", "i", "u", "x", "t")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_DEPTH = 16
_SECOND = 1_000_000


def properties_of(annotations: "dict[str, str]", *, all_allowed: bool) -> "list[Property]":
    """List the properties that annotations ask for.

    Args:
        all_allowed: the operator has turned them on

    Raises:
        ConfigError: one is not a property, has no value, or is not allowed
    """
    found = []
    for key, text in annotations.items():
        if not key.startswith(PREFIX):
            continue
        field = f"annotations[{quoted(key)}]"
        name = key[len(PREFIX) :]
        if not (name.isascii() and name.isalpha() and len(name) >= 3):
            raise ConfigError(f"{quoted(name)} is no name of a property", field)
        try:
            signature, value = parse(text)
            if name.endswith("Sec") and name[:-3][-1:].islower():
                name, signature, value = name[:-3] + "USec", "t", _microseconds(signature, value)
        except ValueError as error:
            raise ConfigError(f"{quoted(text)}: {error}", field) from None
        if name not in HARMLESS and not all_allowed:
            raise ConfigError(
                f"the property {name} is off, because whoever writes annotations could change the"
                " host with it (the operator can turn it on: --systemd-properties)",
                field,
            )
        found.append(Property(name, signature, value, field))
    return found


def _microseconds(signature: str, value: "Any") -> int:
    if signature not in (*_INTEGERS, "d"):
        raise ValueError("it is no number of seconds")
    if not 0 <= value < 1 << 44:
        raise ValueError("it is no possible number of seconds")
    return int(value * _SECOND)


def parse(text: str) -> "Value":
    """Read one value in the text format of GVariant.

    Raises:
        ValueError: it is none, in words
    """
    if "\0" in text:
        raise ValueError("it has a NUL")
    reader = _Reader(text)
    signature, value = reader.value(None)
    if reader.next_char():
        raise ValueError(f"there is more behind the value: {quoted(reader.rest())}")
    try:
        write(signature, value, bytearray())
    except OutOfRange:
        raise ValueError("a number is out of range") from None
    return signature, value


class _Reader:
    """Reads a text from its beginning to its end; `wanted` is the type that a value must have."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def next_char(self) -> str:
        while self._text[self._at : self._at + 1] in (" ", "\t", "\n"):
            self._at += 1
        return self._text[self._at : self._at + 1]

    def rest(self) -> str:
        return self._text[self._at :]

    def value(self, wanted: "str | None") -> "Value":
        self._depth += 1
        if self._depth > _DEPTH:
            raise ValueError("it is too deep")
        char = self.next_char()
        if char == "@":
            self._at += 1
            found = self.value(_complete(self._word()))
        elif char in ("'", '"'):
            found = "s", self._string(char)
        elif char == "[":
            found = self._array(wanted)
        elif char == "<":
            found = "v", self._items(">", None)[0]
        else:
            found = self._plain(wanted)
        if wanted is not None and found[0] != wanted:
            raise ValueError(f"it has a {found[0]} where {quoted(wanted)} is needed")
        self._depth -= 1
        return found

    def _word(self) -> str:
        start = self._at
        while (char := self._text[self._at : self._at + 1]) and char not in " \t\n,[]<>'\"":
            self._at += 1
        return self._text[start : self._at]

    def _plain(self, wanted: "str | None") -> "Value":
        """Read a boolean, a number, or a value with the keyword of its type before it."""
        word = self._word()
        if word in _KEYWORDS:
            return self.value(_KEYWORDS[word])
        if word in ("true", "false"):
            return "b", word == "true"
        try:
            if wanted != "d" and not _looks_real(word):
                return wanted if wanted in _INTEGERS else "i", int(word, 0)
            return "d", float(word)
        except ValueError:
            message = f"{quoted(word or self.rest())} is no value, in the text format of GVariant"
            raise ValueError(message) from None

    def _string(self, quote: str) -> str:
        out: list[str] = []
        self._at += 1
        while True:
            char = self._text[self._at : self._at + 1]
            self._at += 1
            if not char:
                raise ValueError("a string has no end")
            if char == quote:
                return "".join(out)
            if char == "\\":
                char = self._text[self._at : self._at + 1]
                self._at += 1
                char = _ESCAPES.get(char, char)
            out.append(char)

    def _array(self, wanted: "str | None") -> "Value":
        if wanted is not None and not wanted.startswith("a"):
            raise ValueError(f"it has an array where {quoted(wanted)} is needed")
        items = self._items("]", wanted[1:] if wanted else None)
        if items:
            return "a" + items[0][0], [value for _signature, value in items]
        if wanted is None:
            raise ValueError("an empty array must say its type: @as []")
        return wanted, []

    def _items(self, close: str, wanted: "str | None") -> "list[Value]":
        """Read what is between two brackets; each must have the type of the first."""
        items: list[Value] = []
        self._at += 1
        while self.next_char() != close:
            if items:
                if self.next_char() != "," or close == ">":
                    raise ValueError(f"it has no {close} where one is needed")
                self._at += 1
            items.append(self.value(items[0][0] if items else wanted))
        self._at += 1
        if close == ">" and not items:
            raise ValueError("a variant is empty")
        return items


def _complete(signature: str) -> str:
    if split(signature) != [signature]:
        raise ValueError(f"{quoted(signature)} is no type")
    return signature


def _looks_real(word: str) -> bool:
    return "." in word or (not word.startswith(("0x", "0X")) and "e" in word.lower())
