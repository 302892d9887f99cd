"""The words of the command line: what commands there are, and which flags each takes.

Everything that is said about them (parsing, help, completion, man pages, README) is made from this
table; `descriptions` has the paragraphs that only a reader needs.
"""

ANY = 1 << 31  # as many arguments as one likes: all but the first are another program's words


class Flag:
    """One flag: `--bundle, -b <directory>`.

    Attributes:
        names: how it may be written; it is known by the first
        help: what it does, in one line
        value: what its value is, None for a switch: a word (`file` and `directory` are completed
            as what they say) or the choices, `text|json`
        default: what it is when it is not given; () for one that may be repeated
    """

    __slots__ = ("default", "help", "names", "value")

    def __init__(
        self,
        names: str,
        help: str,
        value: "str | None" = None,
        default: "str | int | bool | tuple[()] | None" = None,
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
_CONSOLE_SOCKET = Flag(
    "--console-socket",
    "UNIX socket that receives the master end of the terminal",
    "file",
)
_PID_FILE = Flag("--pid-file", "file to write the process id to", "file")
_CREATE = (
    _BUNDLE,
    _CONSOLE_SOCKET,
    _PID_FILE,
    Flag("--pidfd-socket", "UNIX socket that receives a pidfd of the first process", "file"),
    Flag("--no-pivot", "move the root instead of pivot_root, for a root on a ramdisk"),
    Flag("--no-new-keyring", "leave the container in the caller's session keyring"),
    Flag("--preserve-fds", "pass N descriptors on, from 3 (and those of LISTEN_FDS) on", "N", 0),
)

GLOBAL = (
    Flag("--debug", "log more, and where an error came from"),
    Flag("--log", "file to add the log to (default: standard error)", "file"),
    Flag("--log-format", "format of the log", "text|json", "text"),
    Flag("--root", "where the containers' state lies (default: /run/lcpy)", "directory"),
    Flag("--criu", "ignored: the program criu is looked for in PATH", "file"),
    Flag("--systemd-cgroup", "let systemd make the cgroups; cgroupsPath is slice:prefix:name then"),
    Flag("--systemd-properties", "let annotations set any property of systemd's units"),
    Flag(
        "--rootless",
        "whether to do without cgroups that can't be made",
        "true|false|auto",
        "auto",
    ),
    HELP,
    Flag("--version -v", "print the version, also of the specification"),
)

_CRIU = (
    Flag("--image-path", "directory of the checkpoint (default: ./checkpoint)", "directory"),
    Flag("--work-path", "directory for criu's log (default: the same)", "directory"),
    Flag("--tcp-established", "with TCP connections that are open"),
    Flag("--ext-unix-sk", "with UNIX sockets that are connected to the outside"),
    Flag("--shell-job", "with a terminal, or session, of the outside"),
    Flag("--file-locks", "with locks on files"),
    Flag("--manage-cgroups-mode", "soft (default), full, strict or ignore: criu's ways", "mode"),
    Flag("--empty-ns", "ignored: network namespaces are always restored empty", "network", ()),
    Flag("--auto-dedup", "leave in the images of the memory what no later ones have"),
    Flag("--lazy-pages", "transfer the memory when it is used, by userfaultfd(2)"),
)

COMMANDS = {
    command.name: command
    for command in (
        Command(
            "checkpoint",
            "<container-id>",
            (1, 1),
            "write a running container down, by criu, and delete it",
            *_CRIU,
            Flag("--leave-running", "let it run on, and do not delete it"),
            Flag("--link-remap", "with files that have no name any more, by new names"),
            Flag("--page-server", "where criu's page server is", "address:port"),
            Flag(
                "--parent-path",
                "the pre-dump before, relative to --image-path",
                "directory",
            ),
            Flag("--pre-dump", "write down the memory alone; the container runs on"),
            Flag("--status-fd", "descriptor for a zero byte, when pages can be had", "N", -1),
            Flag("--tcp-skip-in-flight", "without TCP connections that are being made"),
        ),
        Command("create", "<container-id>", (1, 1), "create a container", *_CREATE),
        Command(
            "delete",
            "<container-id>",
            (1, 1),
            "delete a container, and all that it holds",
            Flag("--force -f", "kill it first where it is running"),
        ),
        Command(
            "events",
            "<container-id>",
            (1, 1),
            "print what a container uses, and when it runs out of memory, as JSON",
            Flag("--interval", "time between two statistics: 500ms, 2s, 1m30s", "time", "5s"),
            Flag("--stats", "print the statistics of now, and end"),
        ),
        Command(
            "exec",
            "<container-id> <command> [argument...]",
            (1, ANY),
            "run a second process in a container",
            Flag("--additional-gids -g", "one more group for it; may be repeated", "gid", ()),
            Flag("--apparmor", "AppArmor profile for it", "profile"),
            Flag("--cap -c", "one more capability for it; may be repeated", "name", ()),
            Flag(
                "--cgroup",
                "cgroup below the container's; on v1 controllers:path",
                "path",
                (),
            ),
            Flag(
                "--console-socket",
                "UNIX socket that receives the master end of its terminal",
                "file",
            ),
            Flag("--cwd", "its working directory", "directory"),
            Flag("--detach -d", "do not wait for its end"),
            Flag(
                "--env -e", "set a variable of its environment; may be repeated", "name=value", ()
            ),
            Flag("--ignore-paused", "in a paused container, too"),
            Flag("--no-new-privs", "it can gain no privileges by executing a program"),
            Flag("--pid-file", "file to write its process id to", "file"),
            Flag("--pidfd-socket", "UNIX socket that receives a pidfd of it", "file"),
            Flag("--preserve-fds", "pass N descriptors on, from 3 on", "N", 0),
            Flag("--process -p", "file that holds all of it, as process of config.json", "file"),
            Flag("--process-label", "SELinux label for it", "label"),
            Flag("--tty -t", "give it a terminal"),
            Flag("--user -u", "its user id, and group id", "uid[:gid]"),
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
        Command("pause", "<container-id>", (1, 1), "stop all processes of a container"),
        Command(
            "ps",
            "<container-id> [ps options]",
            (1, ANY),
            "list the processes of a container",
            Flag("--format -f", "how to print them", "table|json", "table"),
        ),
        Command(
            "restore",
            "<container-id>",
            (1, 1),
            "make a container again from a checkpoint, by criu",
            _BUNDLE,
            _CONSOLE_SOCKET,
            _PID_FILE,
            *_CRIU,
            Flag("--detach -d", "do not wait for the container's end"),
            Flag("--lsm-mount-context", "SELinux context for mounts that had one", "context"),
            Flag("--lsm-profile", "label or profile, instead of the one it had", "type:name"),
            Flag("--no-pivot", "ignored: criu makes the root"),
            Flag("--no-subreaper", "do not reap reparented processes"),
        ),
        Command("resume", "<container-id>", (1, 1), "let a paused container go on"),
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
            Flag("--rootless", "one for a rootless container"),
        ),
        Command("start", "<container-id>", (1, 1), "start a created container"),
        Command("state", "<container-id>", (1, 1), "print the state of a container"),
        Command(
            "update",
            "<container-id>",
            (1, 1),
            "change the limits of a container",
            Flag(
                "--resources -r",
                "file with the limits (-: standard input); other flags don't count",
                "file",
            ),
            Flag("--blkio-weight", "share of the block devices' time, 10 to 1000", "N"),
            Flag("--cpu-period", "period of the CPU quota, in microseconds", "N"),
            Flag("--cpu-quota", "CPU time in a period, in microseconds; -1 is no limit", "N"),
            Flag("--cpu-burst", "CPU time that may be saved up, in microseconds", "N"),
            Flag("--cpu-share", "share of the CPUs, beside those of others", "N"),
            Flag("--cpu-rt-period", "period of the real-time budget, in microseconds", "N"),
            Flag("--cpu-rt-runtime", "real-time budget in a period, in microseconds", "N"),
            Flag("--cpuset-cpus", "CPUs that may be used: 0-3,7", "list"),
            Flag("--cpuset-mems", "memory nodes that may be used", "list"),
            Flag("--kernel-memory", "ignored: it has no meaning any more", "bytes"),
            Flag("--kernel-memory-tcp", "ignored: it has no meaning any more", "bytes"),
            Flag("--memory", "limit on memory: 512M; -1 is no limit", "bytes"),
            Flag("--cpu-idle", "1: run only when nobody else wants the CPU; 0: like others", "0|1"),
            Flag("--memory-reservation", "memory to keep for it, where memory is short", "bytes"),
            Flag("--memory-swap", "limit on memory and swap together; -1 is no limit", "bytes"),
            Flag("--pids-limit", "limit on tasks; -1 is no limit", "N"),
            Flag("--l3-cache-schema", "Intel RDT: which parts of the L3 cache", "schema"),
            Flag("--mem-bw-schema", "Intel RDT: how much of the memory's bandwidth", "schema"),
        ),
    )
}
