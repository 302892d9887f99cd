"""Detached mounts: made, given their flags, and only then attached where they are wanted.

A tree here is a descriptor of a mount. While it is detached nobody can reach it by a path; after
`attach` it stays a handle of exactly that mount, whatever is renamed or mounted around it.
"""

import errno
import posix

from libcontainer_py.errors import StepError, quoted
from libcontainer_py.linux.flags import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MNT_DETACH,
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    MS_BIND,
    MS_DIRSYNC,
    MS_I_VERSION,
    MS_LAZYTIME,
    MS_MANDLOCK,
    MS_NOATIME,
    MS_NODIRATIME,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_STRICTATIME,
    MS_SYNCHRONOUS,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
)
from libcontainer_py.linux.syscalls import (
    CWD,
    fsconfig_create,
    fsconfig_set_flag,
    fsconfig_set_string,
    fsmount,
    fsopen,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
    openat2,
    umount2,
)
from libcontainer_py.mount.options import Options, attributes

# Superblock flags that mount(2) has bits for and fsconfig(2) has words for.
_SUPERBLOCK_WORDS = (
    (MS_RDONLY, "ro"),
    (MS_SYNCHRONOUS, "sync"),
    (MS_DIRSYNC, "dirsync"),
    (MS_LAZYTIME, "lazytime"),
    (MS_MANDLOCK, "mand"),
)

# fsconfig(2) takes strings of at most 255 bytes; mount(2) takes a page.
_FSCONFIG_MAX = 255

_DIRECTORY = posix.O_PATH | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC

_ATIME_FLAGS = MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME
_ALL_BUT_ATIME = (
    MOUNT_ATTR_RDONLY
    | MOUNT_ATTR_NOSUID
    | MOUNT_ATTR_NODEV
    | MOUNT_ATTR_NOEXEC
    | MOUNT_ATTR_NODIRATIME
    | MOUNT_ATTR_NOSYMFOLLOW
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


def set_recursive(tree: int, options: Options) -> None:
    """Apply rro, rnosuid and their kin to a mount and all below it."""
    if options.attr_set or options.attr_clr:
        mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, options.attr_set, options.attr_clr)


# ── copies of what is mounted already ───────────────────────────────────────────────────────────


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
        raise StepError(
            None,
            error.errno or 0,
            f"bind mount of {quoted(source)}",
            field=f"{field}.source",
        ) from None


def set_bind_flags(tree: int, options: Options) -> None:
    """Give a bind mount the flags that are asked for, as `mount --bind -o …` does.

    No word at all leaves the source's flags. Else the flags become exactly those asked for; but
    what a more privileged user namespace has locked can't be taken off (EPERM), and then stays,
    unless a word asked for that too: that is an error.
    """
    flags = options.flags & ~(MS_BIND | MS_REC | MS_REMOUNT)
    if not flags and not options.cleared:
        return
    wanted = attributes(flags)
    atime = 0
    if flags & _ATIME_FLAGS or options.cleared & (MS_NOATIME | MS_STRICTATIME):
        atime = MOUNT_ATTR__ATIME
    else:
        wanted &= ~MOUNT_ATTR__ATIME
    try:
        mount_setattr(tree, "", AT_EMPTY_PATH, wanted, _ALL_BUT_ATIME & ~wanted | atime)
    except PermissionError:
        asked_off = attributes(options.cleared) & _ALL_BUT_ATIME
        mount_setattr(tree, "", AT_EMPTY_PATH, wanted, asked_off | atime)


# ── new filesystems ─────────────────────────────────────────────────────────────────────────────


def new_filesystem(fstype: str, source: str, options: Options, field: str, target: int) -> int:
    """Make a filesystem of any type that the kernel knows, as a detached mount.

    Args:
        field: the mount's place in config.json, ``mounts[3]``
        target: where it will be attached (used where only mount(2) will do)

    Raises:
        StepError: with the type, the option or the mount as its field, and what the kernel said
    """
    words = [word for flag, word in _SUPERBLOCK_WORDS if options.flags & flag]
    data = [
        (index, *_key_and_value(part)) for index, text in options.data for part in _split_data(text)
    ]
    if options.flags & MS_I_VERSION or any(
        len(text.encode("utf-8", "surrogateescape")) > _FSCONFIG_MAX
        for text in (source, *(value or "" for _index, _key, value in data))
    ):
        return _by_mount(fstype, source, options, target)

    context = _fsopen(fstype, field)
    try:
        if source:
            fsconfig_set_string(context, "source", source)
        for word in words:
            fsconfig_set_flag(context, word)
        for index, key, value in data:
            try:
                if value is None:
                    fsconfig_set_flag(context, key)
                else:
                    fsconfig_set_string(context, key, value)
            except OSError as error:
                raise StepError(
                    None,
                    error.errno or 0,
                    f"mount option {quoted(key)} of {quoted(fstype)}",
                    field=f"{field}.options[{index}]",
                    hint=_kernel_says(context),
                ) from None
        try:
            fsconfig_create(context)
        except OSError as error:
            raise StepError(
                None,
                error.errno or 0,
                f"mount of {quoted(fstype)}",
                field=field,
                hint=_kernel_says(context),
            ) from None
        return fsmount(context, FSMOUNT_CLOEXEC, attributes(options.flags))
    finally:
        posix.close(context)


def _fsopen(fstype: str, field: str) -> int:
    try:
        return fsopen(fstype, FSOPEN_CLOEXEC)
    except OSError as error:
        hint = None
        if error.errno == errno.ENODEV:
            hint = "the kernel does not know this type"
            if fstype in ("bind", "none", ""):
                hint = 'a bind mount has "bind" or "rbind" among its options'
        raise StepError(
            None,
            error.errno or 0,
            f"filesystem type {quoted(fstype)}",
            field=f"{field}.type",
            hint=hint,
        ) from None


def _split_data(text: str) -> "list[str]":
    """Split what may be several options at its commas, but not within quotes (SELinux labels)."""
    parts = [""]
    inside = False
    for char in text:
        if char == '"':
            inside = not inside
        elif char == "," and not inside:
            parts.append("")
            continue
        parts[-1] += char
    return [part for part in parts if part]


def _key_and_value(option: str) -> "tuple[str, str | None]":
    key, equals, value = option.partition("=")
    return key, value.strip('"') if equals else None


def _kernel_says(context: int) -> "str | None":
    """Read what the filesystem wrote about the failure, if it did ("e tmpfs: Bad value …")."""
    try:
        message = posix.read(context, 256)
    except OSError:
        return None
    return quoted(message.decode("utf-8", "replace").strip().removeprefix("e "))


def _by_mount(fstype: str, source: str, options: Options, target: int) -> int:
    """Make a filesystem by mount(2), where a string is too long for fsconfig(2).

    mount(2) gives no handle of what it mounted, and to look it up again by path would be a race.
    So it mounts inside a tmpfs that nobody else can see, and a detached copy is taken from there.
    """
    context = fsopen("tmpfs", FSOPEN_CLOEXEC)
    try:
        fsconfig_create(context)
        scratch = fsmount(context, FSMOUNT_CLOEXEC, 0)
    finally:
        posix.close(context)
    try:
        attach(scratch, target)
        try:
            posix.mkdir("mount", 0o700, dir_fd=scratch)
            below = openat2(scratch, "mount", _DIRECTORY)
            try:
                mount(source or None, _by_descriptor(below), fstype, options.flags, _data(options))
            finally:
                posix.close(below)
            mounted = openat2(scratch, "mount", _DIRECTORY)
            try:
                return clone_tree(mounted, "")
            finally:
                posix.close(mounted)
        finally:
            umount2(_by_descriptor(scratch), MNT_DETACH)
    finally:
        posix.close(scratch)


def remount(target: int, options: Options) -> None:
    """mount(2) with MS_REMOUNT: change the filesystem that is mounted at the target."""
    mount(None, _by_descriptor(target), None, options.flags, _data(options))


def _data(options: Options) -> str:
    return ",".join(text for _index, text in options.data)


def _by_descriptor(fd: int) -> str:
    """Name a descriptor for the calls that take nothing but paths; the host's /proc is there."""
    return f"/proc/self/fd/{fd}"
