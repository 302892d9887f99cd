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
    "features": (
        "Prints which parts of the specification work in this version, as the specification's"
        " features structure. Engines read it; whatever is not in it is refused when config.json"
        " asks for it.",
    ),
    "kill": (
        "The signal is a number or a name, with or without SIG: 9, KILL, SIGKILL, RTMIN+3.",
        "Examples:",
        "    lcpy kill web\n    lcpy kill web HUP",
    ),
    "list": (
        "The containers below --root in the order of their ids. OWNER is the user whom the"
        " container's state directory belongs to. A container whose record is damaged or missing"
        " is told of on standard error, or in the log, and the others are listed.",
    ),
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
}

NOT_BUILT = ("runc has this command, and lcpy is to have it; until then it is an error.",)
