"""What a reader is told about each command, beyond the table's one line: for help and man pages.

Nothing that runs a container imports this.
"""

# A paragraph each; the lines of an example begin with four blanks.
LCPY = (
    "lcpy runs containers from OCI bundles: a directory with a file config.json, which says what"
    " is to be run and how it is isolated, and the container's root filesystem. It takes the"
    " words of runc and answers as runc does, so container engines can use it in its place.",
    "All that is known of a container lies below one directory, --root. It is /run/lcpy for root,"
    " and $XDG_RUNTIME_DIR/lcpy for others.",
    "Where its cgroups may not be made, a container whose config.json names none and asks for no"
    " limits can do without: with --rootless=auto where nothing is lost by that, with true also the"
    " host's root's, without rules for devices then; with false none.",
)

COMMANDS = {
    "checkpoint": (
        "Needs the program criu(8), and works for root alone. The processes are written down as"
        " they are, with their memory and open files, and end. Files are not: bind mounts and the"
        " root filesystem have to be there, as they were, for `lcpy restore`.",
        "With --pre-dump, the memory is written down while the container runs on; a checkpoint"
        " whose --parent-path that is has to write what has changed since. With --lazy-pages, the"
        " memory is fetched from --page-server by `criu lazy-pages`, and the command waits for"
        " that.",
        "Example:",
        "    lcpy checkpoint --image-path /checkpoints/web web",
    ),
    "create": (
        "Makes everything that config.json asks for: namespaces, mounts, cgroups, devices. The"
        " container's program does not run yet; a process waits in its place until `lcpy start`.",
        "Standard input, output and error become the program's own, unless config.json asks for a"
        " terminal: then its master end is sent to --console-socket.",
    ),
    "delete": (
        "Removes the state, the cgroups, and what still waits in a container that was created"
        " and not started. One that runs is refused, unless --force is given. With --force, a"
        " container that does not exist is no error.",
    ),
    "events": (
        "Prints a line of JSON for each event, until the container ends: `stats` in every interval,"
        " with what runc's has, and `oom` when the kernel found no memory for it. The time is a"
        " number with a unit (`ms`, `s`, `m`, `h`), or several of them.",
        "Example:",
        "    lcpy events --interval 1s web",
    ),
    "exec": (
        "The program, its arguments and the flags change what config.json says of the container's"
        " first process; --process gives all of it instead. Its exit code is the program's own, or"
        " 128 and the number of the signal that ended it, or 255 where it could not be run.",
        "Examples:",
        "    lcpy exec web ps\n    lcpy exec --tty --user 1000:1000 web sh",
    ),
    "features": (
        "Prints which parts of the specification work in this version, as the specification's"
        " features structure. Engines read it; whatever is not in it is refused when config.json"
        " asks for it.",
    ),
    "kill": (
        "The signal is a number or a name, with or without SIG: 9, KILL, SIGKILL, RTMIN+3.",
        "Where the container has no pid namespace of its own, KILL goes to all of its processes."
        " With --all, a container that has stopped is no error.",
        "Examples:",
        "    lcpy kill web\n    lcpy kill web HUP",
    ),
    "list": (
        "The containers below --root in the order of their ids. OWNER is the user whom the"
        " container's state directory belongs to. A container whose record is damaged or missing"
        " is told of on standard error, or in the log, and the others are listed.",
    ),
    "pause": (
        "All processes of the container are stopped where they are, until `lcpy resume`, and its"
        " status is paused. That must be reached within two seconds: else all go on, and it is an"
        " error.",
    ),
    "ps": (
        "As a table, by the host's ps(1): its lines about processes of the container. What follows"
        " the container's id is passed to it (default: -ef), and must leave the column PID there."
        " As JSON, it is the list of process ids alone.",
        "Examples:",
        "    lcpy ps web\n    lcpy ps web -o pid,rss,args",
    ),
    "restore": (
        "Needs the program criu(8), and works for root alone. Each process goes on where it was at"
        " the checkpoint, below the container's new id. The bundle is that of the container, or a"
        " copy of it. Where standard streams were pipes, they are those of this command now.",
        "The command waits, and deletes the container at its end, as `lcpy run` does; its exit code"
        " is the program's own, or 128 and the number of the signal that ended it.",
        "To restore it into another cgroup, say --manage-cgroups-mode ignore both times.",
        "Example:",
        "    lcpy restore --detach --image-path /checkpoints/web --bundle /bundles/web web",
    ),
    "resume": ("The processes of a container that `lcpy pause` stopped go on.",),
    "run": (
        "Does what `lcpy create` and `lcpy start` do, waits, and deletes the container. Meanwhile"
        " signals are passed on to it. The exit code is the program's own, or 128 and the number"
        " of the signal that ended it.",
        "Sockets that systemd listens on are passed on (sd_listen_fds(3)). Where NOTIFY_SOCKET is"
        " set, the container has one of its own, and what it says of its readiness there"
        " (sd_notify(3)) is passed on; with --detach, the command waits for that.",
        "Example:",
        "    lcpy run --bundle /bundles/web web",
    ),
    "spec": (
        "The file is written into the bundle, and an existing one is not touched. It describes a"
        " shell with a terminal, in a read-only root filesystem named rootfs.",
    ),
    "start": (
        "Lets the program of a container that `lcpy create` made run. It returns when the program"
        " has begun: one that can't be executed is an error here. Where NOTIFY_SOCKET is set, and"
        " was for `lcpy create`, it returns when the container has said that it is ready.",
    ),
    "state": (
        "As JSON: the specification's state, with status creating, created, running, paused or"
        " stopped, and the process id, which is 0 where there is no process.",
    ),
    "update": (
        "The limits that are given are changed, at once, and others stay. Where one is refused,"
        " those changed before it are taken back. Bytes may have a unit: 512k, 100M, 2G. A file has"
        " what linux.resources of config.json would have; the rules for devices can't be changed."
        " Intel RDT's schemata are those of the container's class, and so of all that are in it.",
        "Examples:",
        "    lcpy update --memory 512M --pids-limit 100 web\n"
        '    echo \'{"cpu": {"shares": 512}}\' | lcpy update --resources - web',
    ),
}
