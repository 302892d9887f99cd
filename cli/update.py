"""`lcpy update`: its flags, or its file, as `linux.resources` of config.json has them."""

import posix

from libcontainer_py import jsontext
from libcontainer_py.cli.parse import UsageError
from libcontainer_py.errors import ConfigError, Error, quoted, shown, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.cli.parse import Words

_SIZE_MAX = 1 << 20  # of the file with the limits

# Flag -> group and name in linux.resources.
_TEXTS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_INTEGERS = {"blkio-weight": ("blockIO", "weight"), "pids-limit": ("pids", "limit")}
_UNSIGNED = {
    "cpu-burst": ("cpu", "burst"),
    "cpu-period": ("cpu", "period"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-share": ("cpu", "shares"),
}
_SIGNED = {
    "cpu-idle": ("cpu", "idle"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
}
_SIZES = {
    "memory": ("memory", "limit"),
    "memory-swap": ("memory", "swap"),
    "kernel-memory": ("memory", "kernel"),
    "kernel-memory-tcp": ("memory", "kernelTCP"),
    "memory-reservation": ("memory", "reservation"),
}
_SCHEMATA = {"l3-cache-schema": "l3CacheSchema", "mem-bw-schema": "memBwSchema"}
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def resources(words: "Words") -> "dict[str, Any]":
    """What `lcpy update` was asked for.

    Raises:
        UsageError: a number is none
        Error: a value is none, or the file can't be read
    """
    if words.flags["resources"]:
        return _from_file(words.flags["resources"])
    result: dict[str, dict[str, Any]] = {}
    for name, (group, key) in _INTEGERS.items():
        text = words.flags[name]
        if text is not None:
            if not _is_number(text.removeprefix("-")):
                message = f'invalid value "{text}" for flag -{name}: parse error'
                raise UsageError(message, words.command)
            result.setdefault(group, {})[key] = int(text)
    for known, read in ((_TEXTS, str), (_UNSIGNED, _unsigned), (_SIGNED, _signed), (_SIZES, _size)):
        for name, (group, key) in known.items():
            if words.flags[name]:
                try:
                    result.setdefault(group, {})[key] = read(words.flags[name])
                except ValueError as error:
                    raise Error(f"invalid value for {name}: {error}") from None
    return result


def intel_rdt(words: "Words") -> "dict[str, str]":
    """The schemata that `lcpy update` was asked for, also beside a file."""
    return {key: words.flags[name] for name, key in _SCHEMATA.items() if words.flags[name]}


def _is_number(text: str) -> bool:
    # Not int() alone: it takes blanks, underscores and other scripts' digits, in any number.
    return text.isascii() and text.isdigit() and len(text) < 20


def _unsigned(text: str) -> int:
    if not _is_number(text):
        raise ValueError(f"parsing {quoted(text)}: invalid syntax")
    return int(text)


def _signed(text: str) -> int:
    if not _is_number(text.removeprefix("-").removeprefix("+")):
        raise ValueError(f"parsing {quoted(text)}: invalid syntax")
    return int(text)


def _size(text: str) -> int:
    """Read a number of bytes: `1048576`, `512k`, `1.5GiB`; -1 is no limit."""
    if text == "-1":
        return -1
    number = text.lower().removesuffix("b").removesuffix("i")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    number = number.removesuffix(unit).removesuffix(" ")
    whole, point, part = number.partition(".")
    if not _is_number(whole) or (point and not _is_number(part)):
        raise ValueError(f"invalid size: '{shown(text)}'")
    return int(float(number) * (1 << _UNITS[unit])) if part else int(whole) << _UNITS[unit]


def _from_file(path: str) -> "dict[str, Any]":
    if path == "-":
        return _parse(_read(0), "standard input")
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as error:
        raise Error(f"open {shown(path)}: {words(error.errno or 0)}") from None
    try:
        return _parse(_read(fd), shown(path))
    finally:
        posix.close(fd)


def _read(fd: int) -> bytes:
    content = b""
    while len(content) <= _SIZE_MAX:
        part = posix.read(fd, _SIZE_MAX)
        if not part:
            return content
        content += part
    raise Error(f"--resources: more than {_SIZE_MAX} bytes")


def _parse(content: bytes, name: str) -> "dict[str, Any]":
    try:
        found = jsontext.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigError(f"{name} is not UTF-8") from None
    except ValueError as error:
        raise ConfigError(f"{name} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{name} holds no object")
    kept: dict[str, Any] = _without_nulls(found)
    return kept


def _without_nulls(value: "Any") -> "Any":
    """For Go, and so for engines, null asks for nothing."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
