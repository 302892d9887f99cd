"""Man pages, made from the command's table and descriptions, in the macros of man(7)."""

from libcontainer_py.cli import descriptions
from libcontainer_py.cli.help import explained
from libcontainer_py.cli.table import COMMANDS, GLOBAL, Command, Flag

_MADE = r".\" Made by docs/generate.py from cli/table.py and cli/descriptions.py: change those."
_FILES = (
    ("/run/lcpy", "the state of root's containers"),
    (
        "$XDG_RUNTIME_DIR/lcpy",
        "the state of another user's, also where he is root of a user namespace",
    ),
)


def overview() -> str:
    """lcpy(1)."""
    commands = [(f"lcpy-{name}(1)", command.help) for name, command in COMMANDS.items()]
    return _page(
        "lcpy",
        "Open Container Initiative runtime",
        [".B lcpy", "[global options] command [command options] [arguments...]"],
        [
            *_section("DESCRIPTION", _paragraphs(descriptions.LCPY)),
            *_section("COMMANDS", _items(commands)),
            *_section("OPTIONS", _flags(GLOBAL)),
            *_section(
                "EXIT STATUS",
                _items(
                    [
                        ("0", "it is done"),
                        ("1", "it failed; one line on standard error, and in the log, says why"),
                        ("3", "there is no such command"),
                    ]
                ),
            ),
            *_section("FILES", _items(list(_FILES))),
            *_see_also("runc(8)", *(f"lcpy-{name}(1)" for name in COMMANDS)),
        ],
    )


def page(command: Command) -> str:
    """lcpy-COMMAND(1)."""
    return _page(
        f"lcpy-{command.name}",
        command.help,
        [
            rf".B lcpy \fR[global options]\fB {command.name}",
            _text(f"[options] {command.arguments}".strip()),
        ],
        [
            *_section("DESCRIPTION", _paragraphs(descriptions.COMMANDS[command.name])),
            *_section("OPTIONS", _flags(command.flags)),
            *_see_also("lcpy(1)"),
        ],
    )


def _page(name: str, summary: str, synopsis: "list[str]", sections: "list[str]") -> str:
    lines = [
        _MADE,
        f'.TH {name.upper()} 1 "" "libcontainer\\-py" "User Commands"',
        *_section("NAME", [f"{_text(name)} \\- {_text(summary)}"]),
        *_section("SYNOPSIS", synopsis),
        *sections,
    ]
    return "\n".join(lines) + "\n"


def _section(title: str, lines: "list[str]") -> "list[str]":
    return [f'.SH "{title}"', *lines]


def _flags(flags: "tuple[Flag, ...]") -> "list[str]":
    lines = []
    for flag in flags:
        names = ", ".join(f"\\fB{_text(name)}\\fR" for name in flag.names)
        value = f" \\fI{_text(flag.value)}\\fR" if flag.value else ""
        lines += [".TP", names + value, _text(explained(flag))]
    return lines


def _items(items: "list[tuple[str, str]]") -> "list[str]":
    lines = []
    for name, text in items:
        lines += [".TP", f"\\fB{_text(name)}\\fR", _text(text)]
    return lines


def _paragraphs(paragraphs: "tuple[str, ...]") -> "list[str]":
    lines: list[str] = []
    for paragraph in paragraphs:
        if paragraph.startswith(" "):
            lines += [".nf", ".RS", *(_text(line.strip()) for line in paragraph.split("\n"))]
            lines += [".RE", ".fi"]
        else:
            lines += [".PP", _text(paragraph)]
    return lines


def _see_also(*pages: str) -> "list[str]":
    names = []
    for each in pages:
        name, _bracket, number = each.partition("(")
        names.append(f".BR {_text(name)} ({number}")
    return _section("SEE ALSO", [f"{name} ," for name in names[:-1]] + names[-1:])


def _text(text: str) -> str:
    """Plain text as roff: what `backticks` enclose is bold, and nothing is taken for a macro."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    parts = text.split("`")
    text = "".join(f"\\fB{part}\\fR" if place % 2 else part for place, part in enumerate(parts))
    return f"\\&{text}" if text.startswith((".", "'")) else text
