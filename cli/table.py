"""The words of the command line: what commands there are, and which flags each takes.

Everything that is said about them (parsing, help) is made from this table.
"""


class Flag:
    """One flag: `--bundle value, -b value`."""

    __slots__ = ("default", "help", "names", "value")

    def __init__(
        self,
        names: str,
        help: str,
        value: "str | None" = None,
        default: "str | int | bool | None" = None,
    ) -> None:
        self.names = names.split()  # the first is the one it is known by
        self.help = help
        self.value = value  # None: a switch
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
    "--bundle -b", "path to the root of the bundle directory (default: the current one)", "value"
)
_CREATE = (
    _BUNDLE,
    Flag(
        "--console-socket",
        "UNIX socket that receives the master end of the terminal (not built yet)",
        "value",
    ),
    Flag("--pid-file", "file to write the process id to", "value"),
    Flag("--no-pivot", "move the root instead of pivot_root, for a root on a ramdisk"),
    Flag("--no-new-keyring", "leave the container in the caller's session keyring"),
    Flag("--preserve-fds", "pass N additional descriptors to the container", "value", 0),
)

GLOBAL = (
    Flag("--debug", "log more"),
    Flag("--log", "file to write the log to (default: standard error)", "value"),
    Flag("--log-format", "format of the log: text or json", "value", "text"),
    Flag("--root", "directory of the containers' state (default: /run/lcpy)", "value"),
    Flag("--criu", "path of the criu program", "value"),
    Flag("--systemd-cgroup", "let systemd manage the cgroups (not built yet)"),
    Flag("--rootless", "ignore cgroup permission errors: true, false or auto", "value", "auto"),
    HELP,
    Flag("--version -v", "print the version"),
)

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
        Command(
            "kill",
            "<container-id> [signal]",
            (1, 2),
            "send a signal (default: SIGTERM) to the container's first process",
            Flag("--all -a", "send it to all of the container's processes"),
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
