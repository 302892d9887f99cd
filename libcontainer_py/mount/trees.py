"""Detached mounts: made, given their flags, and only then attached where they are wanted.

A tree here is a descriptor of a mount. While it is detached nobody can reach it by a path; after
`attach` it stays a handle of exactly that mount, whatever is renamed or mounted around it.
"""

import errno

from libcontainer_py.errors import StepError, quoted
from libcontainer_py.linux.flags import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_RDONLY,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    MS_BIND,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_STRICTATIME,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
    ST_NOATIME,
    ST_NODEV,
    ST_NODIRATIME,
    ST_NOEXEC,
    ST_NOSUID,
    ST_NOSYMFOLLOW,
    ST_RDONLY,
    ST_RELATIME,
)
from libcontainer_py.linux.syscalls import (
    CWD,
    fstatfs,
    mount_setattr,
    move_mount,
    open_tree,
)
from libcontainer_py.mount.options import ALL_BUT_ATIME, Options, attributes, words_of

_ATIME_FLAGS = MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME
# What the kernel locks (MNT_LOCK_…) when a mount is copied into a less privileged namespace.
_LOCKABLE = MS_RDONLY | MS_NODEV | MS_NOEXEC | MS_NOSUID | _ATIME_FLAGS
_STATFS_FLAGS = (
    (ST_RDONLY, MS_RDONLY),
    (ST_NOSUID, MS_NOSUID),
    (ST_NODEV, MS_NODEV),
    (ST_NOEXEC, MS_NOEXEC),
    (ST_NOATIME, MS_NOATIME),
    (ST_NODIRATIME, MS_NODIRATIME),
    (ST_RELATIME, MS_RELATIME),
    (ST_NOSYMFOLLOW, MS_NOSYMFOLLOW),
)


def attach(tree: int, target: int) -> None:
    """move_mount(2): put a detached tree on top of whatever is at the target's descriptor."""
    move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def set_readonly(tree: int) -> None:
    """Make one mount read-only and leave its other flags (some may be locked) as they are."""
    mount_setattr(tree, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY)


def set_propagation(tree: int, propagation: "list[int]") -> None:
    """Give an attached mount its propagation; before it is attached, it would be overridden."""
    for flags in propagation:
        recursive = AT_RECURSIVE if flags & MS_REC else 0
        mount_setattr(tree, "", AT_EMPTY_PATH | recursive, propagation=flags & ~MS_REC)


def set_recursive(tree: int, options: Options, field: str) -> None:
    """Apply rro, rnosuid and their kin to a mount and all below it."""
    if not options.attr_set and not options.attr_clr:
        return
    try:
        mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, options.attr_set, options.attr_clr)
    except PermissionError:
        raise StepError(
            None,
            errno.EPERM,
            "change the flags of a mount and of all below it",
            field=f"{field}.options",
            hint="one of them has flags that another user namespace has locked",
        ) from None


def clone_tree(dirfd: int, path: str, *, recursive: bool = False) -> int:
    """open_tree(2): a detached copy of a file's or directory's mount (path "": of dirfd)."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
    if not path:
        flags |= AT_EMPTY_PATH
    if recursive:
        flags |= AT_RECURSIVE
    return open_tree(dirfd, path, flags)


def clone_source(source: str, field: str, *, recursive: bool) -> int:
    """Copy the source of a bind mount, a path of the host (symbolic links are followed)."""
    try:
        return clone_tree(CWD, source, recursive=recursive)
    except OSError as error:
        hint = None
        if error.errno == errno.EINVAL:
            hint = "it is unbindable, or has locked mounts below it, which come with rbind alone"
        raise StepError(
            None,
            error.errno or 0,
            f"bind mount of {quoted(source)}",
            field=f"{field}.source",
            hint=hint,
        ) from None


def set_bind_flags(tree: int, options: Options, field: str) -> None:
    """Give a bind mount the flags that are asked for, as `mount --bind -o …` does.

    No word at all leaves the source's flags. Else the flags become exactly those asked for; only
    access times stay as they are unless a word sets them, which is what mount(2) does.

    What a more privileged user namespace has locked can't be taken off, and stays.

    Raises:
        StepError: a word asked for the opposite of what is locked (``mounts[i].options``)
    """
    flags = options.flags & ~(MS_BIND | MS_REC | MS_REMOUNT)
    if not flags and not options.cleared:
        return
    try:
        _set_flags(tree, flags)
    except PermissionError:
        there = _flags_of(tree)
        against = there & options.cleared & _LOCKABLE
        if flags & _ATIME_FLAGS and flags & _ATIME_FLAGS != there & _ATIME_FLAGS:
            against |= there & _ATIME_FLAGS
        if against:
            raise StepError(
                None,
                errno.EPERM,
                f"take off {words_of(against)}",
                field=f"{field}.options",
                hint="it is locked, by another user namespace",
            ) from None
        _set_flags(tree, flags | there & _LOCKABLE)


def _set_flags(tree: int, flags: int) -> None:
    wanted = attributes(flags)
    if flags & _ATIME_FLAGS:
        others = ALL_BUT_ATIME & ~wanted | MOUNT_ATTR__ATIME
    else:
        wanted &= ~MOUNT_ATTR__ATIME
        others = ALL_BUT_ATIME & ~wanted & ~MOUNT_ATTR_NODIRATIME
    mount_setattr(tree, "", AT_EMPTY_PATH, wanted, others)


def set_new_flags(tree: int, options: Options) -> None:
    """Give a new mount that somebody else has made the flags that are asked for, and no others."""
    wanted = attributes(options.flags)
    mount_setattr(tree, "", AT_EMPTY_PATH, wanted, ALL_BUT_ATIME & ~wanted | MOUNT_ATTR__ATIME)


def _flags_of(tree: int) -> int:
    """The MS_* flags of a mount, by what statfs(2) says."""
    said = fstatfs(tree)[1]
    flags = sum(flag for bit, flag in _STATFS_FLAGS if said & bit)
    # It has no bit for strictatime, which is neither of the others.
    return flags if flags & (MS_NOATIME | MS_RELATIME) else flags | MS_STRICTATIME
