"""Parse the command line as runc's does: `--flag value`, `--flag=value`, one dash or two."""

from libcontainer_py.cli.table import ANY, COMMANDS, GLOBAL, Command, Flag
from libcontainer_py.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.cli.log import Log


class UsageError(Error):
    """The words make no sense; `command` is the one whose help may be of use (None: all)."""

    def __init__(self, message: str, command: "Command | None", code: int = 1) -> None:
        super().__init__(message)
        self.command = command
        self.code = code


class Words:
    """A parsed command line: the globals, the command (None: none was given), and what is its."""

    __slots__ = ("arguments", "command", "flags", "globals", "log")

    def __init__(self, words: "list[str]") -> None:
        self.command: Command | None = None
        self.flags: dict[str, Any] = {}
        self.arguments: list[str] = []
        self.log: Log | None = None  # the one that the globals ask for; None: standard error
        self.globals, rest = _flags(words, GLOBAL, None)
        if not rest:
            return
        name = rest[0]
        if name in ("help", "h"):
            topics = [word for word in rest[1:] if not word.startswith("-")]
            name = topics[0] if topics else ""
            self.globals["help"] = True
            rest = []
        if name:
            self.command = COMMANDS.get(name)
            if self.command is None:
                raise UsageError(f"No help topic for '{name}'", None, 3)
            self.flags, self.arguments = _flags(rest[1:], self.command.flags, self.command)

    def check(self) -> None:
        """Refuse the wrong number of arguments.

        Raises:
            UsageError: in runc's words
        """
        if self.command is None:
            return
        least, most = self.command.limits
        if least <= len(self.arguments) <= most:
            return
        if least == most:
            how = f"exactly {least}"
        elif len(self.arguments) < least:
            how = f"a minimum of {least}"
        else:
            how = f"a maximum of {most}"
        raise UsageError(f'lcpy: "{self.command.name}" requires {how} argument(s)', self.command)


def _flags(
    words: "list[str]", known: "tuple[Flag, ...]", command: "Command | None"
) -> "tuple[dict[str, Any], list[str]]":
    """Take the flags; return (values by key, the other words).

    The flags of a command may stand behind its arguments, too, as in runc, and then what is none of
    them is an argument. But where a command takes any number of arguments, those from the second on
    are another program's words, and whatever they look like.
    """
    anywhere = command is not None and command.limits[1] != ANY
    others: list[str] = []
    values: dict[str, Any] = {flag.key: flag.default if flag.value else False for flag in known}
    by_name = {name.lstrip("-"): flag for flag in known for name in flag.names}
    position = 0
    while position < len(words):
        word = words[position]
        if word == "--":
            position += 1
            break
        is_flag = word.startswith("-") and word != "-"
        name, equals, value = word.lstrip("-").partition("=")
        flag = by_name.get(name) if is_flag else None
        if not is_flag or (flag is None and others):
            if not anywhere:
                break
            others.append(word)
            position += 1
            continue
        position += 1
        if flag is None:
            raise UsageError(f"flag provided but not defined: -{name}", command)
        if flag.value is None:
            values[flag.key] = boolean(name, value, command) if equals else True
            continue
        if not equals:
            if position == len(words):
                raise UsageError(f"flag needs an argument: -{name}", command)
            value = words[position]
            position += 1
        if isinstance(flag.default, tuple):
            values[flag.key] = (*values[flag.key], value)
        else:
            number = isinstance(flag.default, int)
            values[flag.key] = _number(name, value, command) if number else value
    return values, others + words[position:]


def boolean(name: str, value: str, command: "Command | None") -> bool:
    """Read a switch that was given a value.

    Raises:
        UsageError: it is neither true nor false
    """
    if value.lower() in ("1", "t", "true"):
        return True
    if value.lower() in ("0", "f", "false"):
        return False
    raise UsageError(f'invalid boolean value "{value}" for -{name}: parse error', command)


def _number(name: str, value: str, command: "Command | None") -> int:
    # Not int() alone: it takes blanks, underscores and other scripts' digits.
    if not (value.isascii() and value.isdigit()) or len(value) > 9:
        raise UsageError(f'invalid value "{value}" for flag -{name}: parse error', command)
    return int(value)
