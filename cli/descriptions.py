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
)

COMMANDS = {
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
    "resume": ("The processes of a container that `lcpy pause` stopped go on.",),
    "run": (
        "Does what `lcpy create` and `lcpy start` do, waits, and deletes the container. Meanwhile"
        " signals are passed on to it. The exit code is the program's own, or 128 and the number"
        " of the signal that ended it.",
        "Example:",
        "    lcpy run --bundle /bundles/web web",
    ),
    "spec": (
        "The file is written into the bundle, and an existing one is not touched. It describes a"
        " shell with a terminal, in a read-only root filesystem named rootfs.",
    ),
    "start": (
        "Lets the program of a container that `lcpy create` made run. It returns when the program"
        " has begun: one that can't be executed is an error here.",
    ),
    "state": (
        "As JSON: the specification's state, with status creating, created, running, paused or"
        " stopped, and the process id, which is 0 where there is no process.",
    ),
    "update": (
        "The limits that are given are changed, at once, and others stay. Where one is refused,"
        " those changed before it are taken back. Bytes may have a unit: 512k, 100M, 2G. A file has"
        " what linux.resources of config.json would have; the rules for devices can't be changed.",
        "Examples:",
        "    lcpy update --memory 512M --pids-limit 100 web\n"
        '    echo \'{"cpu": {"shares": 512}}\' | lcpy update --resources - web',
    ),
}

NOT_BUILT = ("runc has this command, and lcpy is to have it; until then it is an error.",)
