"""The words of the command line: what commands there are, and which flags each takes.

Everything that is said about them (parsing, help, completion, man pages, README) is made from this
table; `descriptions` has the paragraphs that only a reader needs.
"""


class Flag:
    """One flag: `--bundle, -b <directory>`.

    Attributes:
        names: how it may be written; it is known by the first
        help: what it does, in one line
        value: what its value is, None for a switch: a word (`file` and `directory` are completed
            as what they say) or the choices, `text|json`
        default: what it is when it is not given
    """

    __slots__ = ("default", "help", "names", "value")

    def __init__(
        self,
        names: str,
        help: str,
        value: "str | None" = None,
        default: "str | int | bool | None" = None,
    ) -> None:
        self.names = names.split()
        self.help = help
        self.value = value
        self.default = default

    @property
    def key(self) -> str:
        """The name under which its value is found."""
        return self.names[0].lstrip("-")


class Command:
    """One command: its arguments in words, how many there may be, its flags."""

    __slots__ = ("arguments", "flags", "help", "limits", "name")

    def __init__(
        self, name: str, arguments: str, limits: "tuple[int, int]", help: str, *flags: Flag
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.limits = limits
        self.help = help
        self.flags = (*flags, HELP)


HELP = Flag("--help -h", "show help")
_BUNDLE = Flag(
    "--bundle -b", "directory that holds config.json (default: the current one)", "directory"
)
_CREATE = (
    _BUNDLE,
    Flag(
        "--console-socket",
        "UNIX socket that receives the master end of the terminal",
        "file",
    ),
    Flag("--pid-file", "file to write the process id to", "file"),
    Flag("--no-pivot", "move the root instead of pivot_root, for a root on a ramdisk"),
    Flag("--no-new-keyring", "leave the container in the caller's session keyring"),
    Flag("--preserve-fds", "pass N descriptors on, from 3 (and those of LISTEN_FDS) on", "N", 0),
)

GLOBAL = (
    Flag("--debug", "log more, and where an error came from"),
    Flag("--log", "file to add the log to (default: standard error)", "file"),
    Flag("--log-format", "format of the log", "text|json", "text"),
    Flag("--root", "where the containers' state lies (default: /run/lcpy)", "directory"),
    Flag("--criu", "the criu program: for checkpoints, which are not built yet", "file"),
    Flag("--systemd-cgroup", "let systemd manage the cgroups (not built yet)"),
    Flag("--rootless", "ignore cgroup errors; true is not built yet", "true|false|auto", "auto"),
    HELP,
    Flag("--version -v", "print the version, also of the specification"),
)

# What runc has beside these, and we do not yet.
NOT_BUILT = ("checkpoint", "events", "exec", "pause", "ps", "restore", "resume", "update")

COMMANDS = {
    command.name: command
    for command in (
        Command("create", "<container-id>", (1, 1), "create a container", *_CREATE),
        Command(
            "delete",
            "<container-id>",
            (1, 1),
            "delete a container, and all that it holds",
            Flag("--force -f", "kill it first where it is running"),
        ),
        Command("features", "", (0, 0), "print what lcpy supports, as JSON"),
        Command(
            "kill",
            "<container-id> [signal]",
            (1, 2),
            "send a signal (default: SIGTERM) to the container's first process",
            Flag("--all -a", "send it to all of the container's processes"),
        ),
        Command(
            "list",
            "",
            (0, 0),
            "list the containers",
            Flag("--format -f", "how to print them", "table|json", "table"),
            Flag("--quiet -q", "print their ids alone"),
        ),
        Command(
            "run",
            "<container-id>",
            (1, 1),
            "create a container and start it",
            *_CREATE,
            Flag("--detach -d", "do not wait for the container's end"),
            Flag("--keep", "do not delete the container at its end"),
            Flag("--no-subreaper", "do not reap reparented processes"),
        ),
        Command(
            "spec",
            "",
            (0, 0),
            "write a config.json to start from",
            _BUNDLE,
            Flag("--rootless", "one for a rootless container (not built yet)"),
        ),
        Command("start", "<container-id>", (1, 1), "start a created container"),
        Command("state", "<container-id>", (1, 1), "print the state of a container"),
    )
}
