"""JSON to and from text, with the C parts of `json` alone.

`import json` compiles regular expressions and costs 8 ms, as much as starting Python. The scanner
and the string escaper behind it are C functions that need none of that.
"""

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_SPACE = " \t\n\r"


class _Context:
    """What `_json.make_scanner` reads its options from."""

    __slots__ = ("memo",)

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}

    @staticmethod
    def parse_constant(name: str) -> object:
        """Refuse NaN and Infinity: Python writes them, JSON (and Go) has no such numbers."""
        raise ValueError(f"{name} is not JSON")


_scan_once = _json.make_scanner(_Context())  # type: ignore[arg-type]
_escape = _json.encode_basestring


def _refuse(value: object) -> "NoReturn":
    raise TypeError(f"{type(value).__name__} is not JSON")


# No check for circles; no indentation; separators; keys unsorted and not skipped; and an infinite
# number, which is what 1e999 is read as, has a name, for the words of an error.
_encode = _json.make_encoder(None, _refuse, _escape, None, ":", ",", False, False, True)


def loads(text: str) -> "Any":
    """Parse one JSON document.

    Raises:
        ValueError: it is none; the message says why and at which line and column, in one line
    """
    start = 0
    length = len(text)
    while start < length and text[start] in _SPACE:
        start += 1
    try:
        value, end = _scan_once(text, start)
    except (StopIteration, SystemError, ValueError):
        # The C scanner finds its own exception in json.decoder, if that is imported, and else
        # fails without words. Being wrong may be slow.
        return _reject(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    while end < length and text[end] in _SPACE:
        end += 1
    if end != length:
        return _reject(text)
    return value


def _reject(text: str) -> "Any":
    import json

    try:
        return json.loads(text, parse_constant=_Context.parse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def dumps(value: "Any", indent: int = 0, _level: int = 1) -> str:
    """Write a value as JSON: on one line, or as Go's MarshalIndent does with `indent` spaces.

    Raises:
        TypeError: it is nothing that JSON has
    """
    if not indent or not value or not isinstance(value, (dict, list, tuple)):
        return "".join(_encode(value, 0))
    if isinstance(value, dict):
        parts = [
            _escape(key) + ": " + dumps(item, indent, _level + 1) for key, item in value.items()
        ]
        left, right = "{", "}"
    else:
        parts = [dumps(item, indent, _level + 1) for item in value]
        left, right = "[", "]"
    pad = "\n" + " " * (indent * _level)
    return left + pad + ("," + pad).join(parts) + "\n" + " " * (indent * (_level - 1)) + right
