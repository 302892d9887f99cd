"""What `--help` prints, made from the table."""

from libcontainer_py.cli import descriptions
from libcontainer_py.cli.table import COMMANDS, GLOBAL, Command, Flag

_COLUMNS = 80
_HELP_COMMAND = ("help, h", "show the help of a command, or this")


def help_text(command: "Command | None") -> str:
    """The help of one command, or of all."""
    if command is None:
        return _sections(
            NAME=["lcpy - Open Container Initiative runtime"],
            USAGE=["lcpy [global options] command [command options] [arguments...]"],
            DESCRIPTION=_paragraphs(descriptions.LCPY),
            COMMANDS=_table([*((name, COMMANDS[name].help) for name in COMMANDS), _HELP_COMMAND]),
            GLOBAL_OPTIONS=_table(list(map(_row, GLOBAL))),
        )
    return _sections(
        NAME=[f"lcpy {command.name} - {command.help}"],
        USAGE=[f"lcpy [global options] {command.name} [command options] {command.arguments}"],
        DESCRIPTION=_paragraphs(descriptions.COMMANDS[command.name]),
        OPTIONS=_table(list(map(_row, command.flags))),
    )


def spelled(flag: Flag) -> str:
    """All ways to write a flag, with its value: `--bundle, -b <directory>`."""
    names = ", ".join(flag.names)
    return f"{names} <{flag.value}>" if flag.value else names


def explained(flag: Flag) -> str:
    """What a flag does, with its default."""
    return flag.help if flag.default in (None, ()) else f"{flag.help} (default: {flag.default})"


def _row(flag: Flag) -> "tuple[str, str]":
    return spelled(flag), explained(flag)


def _sections(**sections: "list[str]") -> str:
    text = ""
    for title, lines in sections.items():
        text += title.replace("_", " ") + ":\n"
        text += "".join(f"   {line}".rstrip() + "\n" for line in lines)
        text += "\n"
    return text[:-1]


def _table(rows: "list[tuple[str, str]]") -> "list[str]":
    width = max(len(left) for left, _right in rows) + 2
    return [f"{left:{width}}{right}" for left, right in rows]


def _paragraphs(paragraphs: "tuple[str, ...]") -> "list[str]":
    lines: list[str] = []
    for paragraph in paragraphs:
        if lines:
            lines.append("")
        if paragraph.startswith(" "):
            lines += paragraph.split("\n")
            continue
        line = ""
        for word in paragraph.split(" "):
            if line and len(line) + 1 + len(word) > _COLUMNS - 3:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines
