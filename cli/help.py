"""What `--help` prints, made from the table."""

from libcontainer_py.cli.table import COMMANDS, GLOBAL, Command, Flag


def help_text(command: "Command | None") -> str:
    """The help of one command, or of all."""
    if command is None:
        width = max(map(len, COMMANDS)) + 2
        return "\n".join(
            [
                "NAME:",
                "   lcpy - Open Container Initiative runtime",
                "",
                "USAGE:",
                "   lcpy [global options] command [command options] [arguments...]",
                "",
                "COMMANDS:",
                *(f"   {name:{width}}{COMMANDS[name].help}" for name in sorted(COMMANDS)),
                "",
                "GLOBAL OPTIONS:",
                *_lines(GLOBAL),
                "",
            ]
        )
    usage = f"   lcpy {command.name} [command options] {command.arguments}".rstrip()
    return "\n".join(
        [
            "NAME:",
            f"   lcpy {command.name} - {command.help}",
            "",
            "USAGE:",
            usage,
            "",
            "OPTIONS:",
            *_lines(command.flags),
            "",
        ]
    )


def _lines(flags: "tuple[Flag, ...]") -> "list[str]":
    heads = [
        ", ".join(f"{name} {flag.value}" if flag.value else name for name in flag.names)
        for flag in flags
    ]
    width = max(map(len, heads)) + 2
    lines = []
    for head, flag in zip(heads, flags, strict=True):
        default = f' (default: "{flag.default}")' if flag.default is not None else ""
        lines.append(f"   {head:{width}}{flag.help}{default}")
    return lines
