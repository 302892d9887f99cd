"""The forms that a text of config.json must have, where its schema can't say it."""

from libcontainer_py import numberlist
from libcontainer_py.errors import ConfigError, quoted


def absolute(path: str, field: str) -> None:
    """A path that is relative to nothing."""
    if not path.startswith("/"):
        raise ConfigError(f"{quoted(path)} is not an absolute path", field)


def one_line(text: str, field: str) -> None:
    """What goes into a file of the kernel's, where a newline would be a second order."""
    if "\n" in text:
        raise ConfigError("holds a newline", field)


def number_list(text: str, field: str) -> None:
    """A list of CPUs or memory nodes; if it is not empty, there is a number in it."""
    try:
        found = numberlist.parse(text)
    except ValueError as error:
        raise ConfigError(str(error), field) from None
    if text and not found:
        raise ConfigError("there is no number in it", field)
