"""`lcpy events`: a line of JSON for each event, as runc prints them."""

import _signal

from libcontainer_py import jsontext
from libcontainer_py.cli.main import print_text
from libcontainer_py.cli.parse import UsageError
from libcontainer_py.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.cli.parse import Words
    from libcontainer_py.container import Container

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DIGITS = "0123456789."


def show(container: "Container", interval: float, *, once: bool) -> int:
    """Print the events of a container until it ends; or, once, its statistics of now."""
    # A reader that has had enough ends us, without a word, as it ends others.
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    if once:
        from libcontainer_py.events import stats_event

        return _print(stats_event(container.id, container.stats()))
    for event in container.events(interval):
        _print(event)
    return 0


def _print(event: "dict[str, Any]") -> int:
    return print_text(jsontext.dumps(event) + "\n")


def seconds(words: "Words") -> float:
    """Read `--interval`, a duration as Go writes them: `500ms`, `1m30s`, `1.5h`, `0`.

    Raises:
        UsageError: it is none
        Error: it is not above 0
    """
    text = words.flags["interval"]
    duration = _duration(text)
    if duration is None:
        raise UsageError(f'invalid value "{text}" for flag -interval: parse error', words.command)
    if not duration > 0:
        raise Error("duration interval must be greater than 0")
    return duration


def _duration(text: str) -> "float | None":
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0.0
    total = 0.0
    while rest:
        after = rest.lstrip(_DIGITS)
        number = rest[: len(rest) - len(after)]
        rest = after.lstrip("nuµmsh")
        unit = after[: len(after) - len(rest)]
        # `1m30s` has two units; `ms` is one.
        if unit not in _UNITS or number.count(".") > 1 or number in ("", "."):
            return None
        total += float(number) * _UNITS[unit]
    if not text or text in ("-", "+"):
        return None
    return -total if text[0] == "-" else total
