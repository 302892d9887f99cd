"""The option words of a mount, as the runtime specification lists them (config.md, «Linux mount
options»), sorted into what the kernel takes them as.

A word that is not in the tables belongs to the filesystem, and goes to it as it is.
"""

from libcontainer_py.linux.flags import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME,
    MS_BIND,
    MS_DIRSYNC,
    MS_I_VERSION,
    MS_LAZYTIME,
    MS_MANDLOCK,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_SHARED,
    MS_SILENT,
    MS_SLAVE,
    MS_STRICTATIME,
    MS_SYNCHRONOUS,
    MS_UNBINDABLE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SET = {
    "bind": MS_BIND,
    "defaults": 0,
    "dirsync": MS_DIRSYNC,
    "iversion": MS_I_VERSION,
    "lazytime": MS_LAZYTIME,
    "mand": MS_MANDLOCK,
    "noatime": MS_NOATIME,
    "nodev": MS_NODEV,
    "nodiratime": MS_NODIRATIME,
    "noexec": MS_NOEXEC,
    "nosuid": MS_NOSUID,
    "nosymfollow": MS_NOSYMFOLLOW,
    "rbind": MS_BIND | MS_REC,
    "relatime": MS_RELATIME,
    "remount": MS_REMOUNT,
    "ro": MS_RDONLY,
    "silent": MS_SILENT,
    "strictatime": MS_STRICTATIME,
    "sync": MS_SYNCHRONOUS,
}

_CLEAR = {
    "async": MS_SYNCHRONOUS,
    "atime": MS_NOATIME,
    "dev": MS_NODEV,
    "diratime": MS_NODIRATIME,
    "exec": MS_NOEXEC,
    "loud": MS_SILENT,
    "noiversion": MS_I_VERSION,
    "nolazytime": MS_LAZYTIME,
    "nomand": MS_MANDLOCK,
    "norelatime": MS_RELATIME,
    "nostrictatime": MS_STRICTATIME,
    "rw": MS_RDONLY,
    "suid": MS_NOSUID,
    "symfollow": MS_NOSYMFOLLOW,
}

PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "rshared": MS_SHARED | MS_REC,
    "rslave": MS_SLAVE | MS_REC,
    "runbindable": MS_UNBINDABLE | MS_REC,
    "shared": MS_SHARED,
    "slave": MS_SLAVE,
    "unbindable": MS_UNBINDABLE,
}

_RECURSIVE_SET = {
    "rnodev": MOUNT_ATTR_NODEV,
    "rnodiratime": MOUNT_ATTR_NODIRATIME,
    "rnoexec": MOUNT_ATTR_NOEXEC,
    "rnosuid": MOUNT_ATTR_NOSUID,
    "rnosymfollow": MOUNT_ATTR_NOSYMFOLLOW,
    "rro": MOUNT_ATTR_RDONLY,
}

_RECURSIVE_CLEAR = {
    "rdev": MOUNT_ATTR_NODEV,
    "rdiratime": MOUNT_ATTR_NODIRATIME,
    "rexec": MOUNT_ATTR_NOEXEC,
    "rrw": MOUNT_ATTR_RDONLY,
    "rsuid": MOUNT_ATTR_NOSUID,
    "rsymfollow": MOUNT_ATTR_NOSYMFOLLOW,
}

# One of three, not bits: what isn't asked for any more leaves relatime, the kernel's default.
_RECURSIVE_ATIME = {
    "ratime": MOUNT_ATTR_RELATIME,
    "rnoatime": MOUNT_ATTR_NOATIME,
    "rnorelatime": MOUNT_ATTR_RELATIME,
    "rnostrictatime": MOUNT_ATTR_RELATIME,
    "rrelatime": MOUNT_ATTR_RELATIME,
    "rstrictatime": MOUNT_ATTR_STRICTATIME,
}

# The source's owners are mapped: for the mount itself, or also for what is mounted below.
IDMAP = ("idmap", "ridmap")

_ATTRIBUTES = (
    (MS_RDONLY, MOUNT_ATTR_RDONLY),
    (MS_NOSUID, MOUNT_ATTR_NOSUID),
    (MS_NODEV, MOUNT_ATTR_NODEV),
    (MS_NOEXEC, MOUNT_ATTR_NOEXEC),
    (MS_NODIRATIME, MOUNT_ATTR_NODIRATIME),
    (MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW),
)


ALL_BUT_ATIME = (
    MOUNT_ATTR_RDONLY
    | MOUNT_ATTR_NOSUID
    | MOUNT_ATTR_NODEV
    | MOUNT_ATTR_NOEXEC
    | MOUNT_ATTR_NODIRATIME
    | MOUNT_ATTR_NOSYMFOLLOW
)


def is_idmapped(mount: "dict[str, Any]") -> bool:
    """Tell whether a mount of config.json asks for a mapping of owners: by a word, or its own."""
    if mount.get("uidMappings") or mount.get("gidMappings"):
        return True
    return not set(IDMAP).isdisjoint(mount.get("options") or ())


def idmap_field(mount: "dict[str, Any]", field: str) -> str:
    """The place in a mount that asks for the mapping: its own mappings, or else the word."""
    for name in ("uidMappings", "gidMappings"):
        if mount.get(name):
            return f"{field}.{name}"
    places = [place for place, word in enumerate(mount.get("options") or ()) if word in IDMAP]
    return f"{field}.options[{places[-1]}]"


class Options:
    """What the option words of one mount ask for.

    Attributes:
        flags: MS_* flags that are asked for
        cleared: MS_* flags that are asked to be off (a later word wins over an earlier one)
        propagation: MS_SHARED and its kin, with MS_REC, in the order of the words
        attr_set, attr_clr: MOUNT_ATTR_* for the mount and everything mounted below it
        data: the filesystem's own words, each with its place in the list
        copy_up: fill the new tmpfs with what was at its destination
        idmap_recursive: "ridmap": the owners of what is mounted below are mapped too
        label: an SELinux label for all that is in a new filesystem (no word, but linux.mountLabel)
    """

    __slots__ = ("attr_clr", "attr_set", "cleared", "copy_up", "data", "flags",
                 "idmap_recursive", "label", "propagation")  # fmt: skip

    def __init__(self) -> None:
        self.flags = 0
        self.cleared = 0
        self.propagation: list[int] = []
        self.attr_set = 0
        self.attr_clr = 0
        self.data: list[tuple[int, str]] = []
        self.copy_up = False
        self.idmap_recursive = False
        self.label = ""


def parse_options(words: "list[str]") -> Options:
    """Sort the option words of a mount."""
    options = Options()
    for index, word in enumerate(words):
        if word in _SET:
            options.flags |= _SET[word]
            options.cleared &= ~_SET[word]
        elif word in _CLEAR:
            options.flags &= ~_CLEAR[word]
            options.cleared |= _CLEAR[word]
        elif word in PROPAGATION:
            options.propagation.append(PROPAGATION[word])
        elif word in _RECURSIVE_SET:
            options.attr_set |= _RECURSIVE_SET[word]
            options.attr_clr &= ~_RECURSIVE_SET[word]
        elif word in _RECURSIVE_CLEAR:
            options.attr_set &= ~_RECURSIVE_CLEAR[word]
            options.attr_clr |= _RECURSIVE_CLEAR[word]
        elif word in _RECURSIVE_ATIME:
            options.attr_set = options.attr_set & ~MOUNT_ATTR__ATIME | _RECURSIVE_ATIME[word]
            options.attr_clr |= MOUNT_ATTR__ATIME
        elif word == "tmpcopyup":
            options.copy_up = True
        elif word in IDMAP:
            options.idmap_recursive = word == "ridmap"
        else:
            options.data.append((index, word))
    return options


def known_options() -> "list[str]":
    """List every word that is ours and not the filesystem's, sorted (for `features`)."""
    tables = (_SET, _CLEAR, PROPAGATION, _RECURSIVE_SET, _RECURSIVE_CLEAR, _RECURSIVE_ATIME)
    return sorted({"tmpcopyup"}.union(IDMAP, *tables))


def attributes(flags: int) -> int:
    """Say MS_* flags of a mount in MOUNT_ATTR_*, access times the way mount(2) reads them."""
    result = 0
    for flag, attribute in _ATTRIBUTES:
        if flags & flag:
            result |= attribute
    if flags & MS_STRICTATIME:
        return result | MOUNT_ATTR_STRICTATIME
    return result | (MOUNT_ATTR_NOATIME if flags & MS_NOATIME else MOUNT_ATTR_RELATIME)


def words_of(flags: int) -> str:
    """Name the MS_* flags that some bits are, for a message."""
    return ", ".join(word for word, flag in _SET.items() if flag and flags & flag == flag)
