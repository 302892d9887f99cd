"""Signals by name, as `kill` takes them."""

import _signal

from libcontainer_py.errors import Error


def number(word: str) -> int:
    """Read a signal: `9`, `KILL`, `SIGKILL`, in any case; also `RTMIN+3` and `RTMAX-1`.

    Raises:
        Error: there is none of that name
    """
    if word.isascii() and word.isdigit():
        return int(word[:9])
    name = word.upper()
    if not name.startswith("SIG"):
        name = "SIG" + name
    base, sign, offset = name, "", ""
    for mark in "+-":
        if mark in name:
            base, sign, offset = name.partition(mark)
    value = getattr(_signal, base, None)
    if base.startswith("SIG_") or not isinstance(value, int):
        raise Error(f'unknown signal "{word}"')
    if sign:
        if base not in ("SIGRTMIN", "SIGRTMAX") or not offset.isdigit():
            raise Error(f'unknown signal "{word}"')
        value += int(sign + offset)
        if not _signal.SIGRTMIN <= value <= _signal.SIGRTMAX:
            raise Error(f'unknown signal "{word}"')
    return value
