"""Read config.json from a bundle.

JSON is read as Go's decoder reads it for runc, where that is simple: ``null`` for a member is as
if the member were not there, of members with the same name the last counts, what is unknown is
passed over, and other capitals than the specification's don't matter (`spelling`). Stricter than
that: text after the document, ``null`` in a list, bytes that are not UTF-8 and halves of surrogate
pairs (Go puts U+FFFD for both, so a path would become another path) are refused.
"""

import errno
import posix
import stat

from libcontainer_py import jsontext
from libcontainer_py.errors import ConfigError, quoted, words
from libcontainer_py.spec.validate import validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

NAME = "config.json"
SIZE_MAX = 16 << 20  # bytes; a config with ten thousand mounts has two million


def load(bundle: str) -> "tuple[dict[str, Any], list[str]]":
    """Read, parse and validate BUNDLE/config.json.

    Returns:
        the config, in plain dicts and lists, without its nulls; and warnings, one line each

    Raises:
        ConfigError: it is not there, can't be read, is not JSON, or not valid
    """
    config = parse(read(bundle))
    return config, validate(config)


def read(bundle: str) -> bytes:
    """The content of a bundle's config.json, which must be a regular file (links to one are)."""
    try:
        # Without O_NONBLOCK a FIFO would wait for a writer.
        fd = posix.open(
            f"{bundle}/{NAME}", posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
        )
    except OSError as error:
        raise _unopened(bundle, error) from None
    try:
        status = posix.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{NAME} is not a regular file")
        content = bytearray()
        while len(content) <= SIZE_MAX:
            chunk = posix.read(fd, 1 << 16)
            if not chunk:
                return bytes(content)
            content += chunk
    except OSError as error:
        raise ConfigError(f"read {NAME}: {words(error.errno or 0)}") from None
    finally:
        posix.close(fd)
    raise ConfigError(f"{NAME} is larger than {SIZE_MAX >> 20} MiB")


def _unopened(bundle: str, error: OSError) -> ConfigError:
    """Why config.json could not be opened, in runc's words (which goes to the bundle first)."""
    try:
        is_directory = stat.S_ISDIR(posix.stat(bundle).st_mode)
    except OSError as reason:
        return ConfigError(f"chdir {quoted(bundle)}: {words(reason.errno or 0)}")
    if not is_directory:
        return ConfigError(f"chdir {quoted(bundle)}: {words(errno.ENOTDIR)}")
    if error.errno == errno.ENOENT:
        return ConfigError(f"JSON specification file {NAME} not found")
    if error.errno == errno.ENXIO:  # a socket, or a device that nobody drives
        return ConfigError(f"{NAME} is not a regular file")
    return ConfigError(f"open {NAME}: {words(error.errno or 0)}")


def parse(content: bytes) -> "Any":
    """JSON as load() takes it; what it says is still to be validated."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{NAME} is not UTF-8, at byte {error.start}") from None
    try:
        config = jsontext.loads(text)
    except ValueError as error:
        raise ConfigError(f"{NAME} is not JSON: {error}") from None
    if config is None:
        raise ConfigError("config cannot be null")
    # Both are rare, and a look at the text is cheaper than a walk.
    if "null" in text:
        _drop_nulls(config)
    if "\\ud" in text or "\\uD" in text:
        _refuse_surrogates(config)
    return config


def _containers(config: "Any") -> "Iterator[dict[str, Any] | list[Any]]":
    """Every object and array in a document, each before its parts (which may still change)."""
    found = [config]
    while found:
        value = found.pop()
        if isinstance(value, dict):
            yield value
            found += value.values()
        elif isinstance(value, list):
            yield value
            found += value


def _drop_nulls(config: "Any") -> None:
    for value in _containers(config):
        if isinstance(value, dict):
            for name in [name for name, part in value.items() if part is None]:
                del value[name]


def _refuse_surrogates(config: "Any") -> None:
    for value in _containers(config):
        for part in [*value.keys(), *value.values()] if isinstance(value, dict) else value:
            if isinstance(part, str) and any("\ud800" <= char <= "\udfff" for char in part):
                raise ConfigError(f"{NAME} is not Unicode: {quoted(part)} holds half a character")
