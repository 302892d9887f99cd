"""Filesystems of any type that the kernel knows: made as detached mounts, or remounted.

They are made by fsopen(2), which says what it did not like, and where only mount(2) can make them,
by that.
"""

import errno
import posix

from libcontainer_py.errors import StepError, quoted
from libcontainer_py.linux.flags import (
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MNT_DETACH,
    MS_DIRSYNC,
    MS_I_VERSION,
    MS_LAZYTIME,
    MS_MANDLOCK,
    MS_RDONLY,
    MS_SYNCHRONOUS,
)
from libcontainer_py.linux.syscalls import (
    fsconfig_create,
    fsconfig_set_flag,
    fsconfig_set_string,
    fsmount,
    fsopen,
    mount,
    openat2,
    umount2,
)
from libcontainer_py.mount import hints
from libcontainer_py.mount.options import Options, attributes
from libcontainer_py.mount.trees import attach, clone_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    # (its place in the list of words, key, value or None for a flag)
    _Option = tuple[int, str, str | None]

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

# Words with commas that don't part options: SELinux labels, overlayfs' escapes, and tmpfs' list of
# memory nodes. To part those right is up to the kernel, which mount(2) leaves it to.
_PARTED_BY_THE_KERNEL = ('"', "\\", "mpol=")

# What the policy labels file by file, and no mount as a whole.
_LABELLED_BY_POLICY = ("cgroup", "cgroup2", "mqueue", "proc", "sysfs")

_DIRECTORY = posix.O_PATH | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC


def new_filesystem(fstype: str, source: str, options: Options, field: str, target: int) -> int:
    """Make a filesystem of any type that the kernel knows, as a detached mount.

    Args:
        field: the mount's place in config.json, ``mounts[3]``
        target: where it will be attached (used where only mount(2) will do)

    Raises:
        StepError: with the type, the option or the mount as its field, and what the kernel said
    """
    data = _options_of(options)
    label = "" if fstype in _LABELLED_BY_POLICY else options.label
    if _takes_mount(source, options, data, label):
        return _by_mount(fstype, source, options, field, target, label)

    context = _fsopen(fstype, field)
    try:
        if source:
            fsconfig_set_string(context, "source", source)
        for flag, word in _SUPERBLOCK_WORDS:
            if options.flags & flag:
                fsconfig_set_flag(context, word)
        _set_options(context, fstype, data, field)
        if label:
            _set_label(context, fstype, label)
        try:
            fsconfig_create(context)
            return fsmount(context, FSMOUNT_CLOEXEC, attributes(options.flags))
        except OSError as error:
            raise _refused(error, fstype, data, field, _kernel_says(context)) from None
    finally:
        posix.close(context)


def _options_of(options: Options) -> "list[_Option]":
    found: list[_Option] = []
    for index, text in options.data:
        for part in filter(None, text.split(",")):
            key, equals, value = part.partition("=")
            found.append((index, key, value if equals else None))
    return found


def _takes_mount(source: str, options: Options, data: "list[_Option]", label: str) -> bool:
    if options.flags & MS_I_VERSION:
        return True
    if any(mark in text for _index, text in options.data for mark in _PARTED_BY_THE_KERNEL):
        return True
    values = (source, label, *(value or "" for _index, _key, value in data))
    return any(len(text.encode("utf-8", "surrogateescape")) > _FSCONFIG_MAX for text in values)


def _set_options(context: int, fstype: str, data: "list[_Option]", field: str) -> None:
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
                hint=hints.unmapped(key, value) or _kernel_says(context),
            ) from None


def _set_label(context: int, fstype: str, label: str) -> None:
    try:
        fsconfig_set_string(context, "context", label)
    except OSError as error:
        raise _label_refused(error, fstype, label) from None


def _label_refused(error: OSError, fstype: str, label: str) -> StepError:
    what = f"label {quoted(label)} of {quoted(fstype)}"
    return StepError(None, error.errno or 0, what, field="linux.mountLabel")


def _refused(
    error: OSError, fstype: str, data: "list[_Option]", field: str, said: "str | None"
) -> StepError:
    """Word the refusal of a filesystem as a whole; some do not look at their options before."""
    hint = hints.refused(fstype, error.errno or 0) or said
    if error.errno == errno.EINVAL:
        for index, key, value in data:
            unmapped = hints.unmapped(key, value)
            if unmapped:
                field, hint = f"{field}.options[{index}]", unmapped
                break
    return StepError(None, error.errno or 0, f"mount of {quoted(fstype)}", field=field, hint=hint)


def _fsopen(fstype: str, field: str) -> int:
    try:
        return fsopen(fstype, FSOPEN_CLOEXEC)
    except OSError as error:
        hint = hints.refused(fstype, error.errno or 0)
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


def _kernel_says(context: int) -> "str | None":
    """Read what the filesystem wrote about the failure, if it did ("e tmpfs: Bad value …")."""
    try:
        message = posix.read(context, 256)
    except OSError:
        return None
    return quoted(message.decode("utf-8", "replace").strip().removeprefix("e "))


def _by_mount(
    fstype: str, source: str, options: Options, field: str, target: int, label: str
) -> int:
    """Make a filesystem by mount(2).

    It gives no handle of what it mounted, and to look it up again by path would be a race. So it
    mounts inside a tmpfs that nobody else can see, and a detached copy is taken from there.
    """
    data = _data(options)
    if label:
        data = f'{data},context="{label}"' if data else f'context="{label}"'
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
                mount(source or None, _by_descriptor(below), fstype, options.flags, data)
            except OSError as error:
                raise _refused(error, fstype, _options_of(options), field, None) from None
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


def label_root(tree: int, fstype: str, label: str) -> None:
    """Label the top of a filesystem, where it takes no label as a whole.

    Raises:
        StepError: with linux.mountLabel as its field
    """
    try:
        posix.setxattr(
            _by_descriptor(tree), "security.selinux", label.encode("utf-8", "surrogateescape")
        )
    except OSError as error:
        raise _label_refused(error, fstype, label) from None


def remount(target: int, options: Options) -> None:
    """mount(2) with MS_REMOUNT: change the filesystem that is mounted at the target."""
    mount(None, _by_descriptor(target), None, options.flags, _data(options))


def _data(options: Options) -> str:
    return ",".join(text for _index, text in options.data)


def _by_descriptor(fd: int) -> str:
    """Name a descriptor for the calls that take nothing but paths; the host's /proc is there."""
    return f"/proc/self/fd/{fd}"
