"""The eight kinds of namespaces: namespaces(7)."""

from libcontainer_py.linux.flags import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)

# By their names in config.json.
NAMESPACES = {
    "pid": CLONE_NEWPID,
    "network": CLONE_NEWNET,
    "mount": CLONE_NEWNS,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "user": CLONE_NEWUSER,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
}

# Their names in /proc/PID/ns, where those are others.
_FILES = {"network": "net", "mount": "mnt"}


def ns_file(kind: str) -> str:
    """Name the file in /proc/PID/ns that stands for a kind of config.json."""
    return _FILES.get(kind, kind)


def kind_of(flag: int) -> str:
    """Name a CLONE_NEW… flag as config.json does."""
    return next((kind for kind, each in NAMESPACES.items() if each == flag), f"{flag:#x}")
