"""The root filesystem as a mount of its own, cut off from the host's propagation."""

import errno
import posix
import stat

from libcontainer_py.errors import ConfigError, StepError, quoted, words
from libcontainer_py.linux.flags import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
)
from libcontainer_py.linux.pathnames import dirname, real
from libcontainer_py.linux.syscalls import CWD, mount, move_mount, open_tree, openat2
from libcontainer_py.mount.options import PROPAGATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PROPAGATION_FIELD = "linux.rootfsPropagation"


def resolve_rootfs(bundle: str, root: "dict[str, Any]") -> str:
    """Find the root filesystem: its real absolute path, without a symbolic link in it.

    Runs in the parent, on the host's own paths.

    Args:
        bundle: absolute path of the bundle
        root: `root` of config.json; a relative `path` is meant from the bundle

    Raises:
        ConfigError: it isn't there, is no directory, or is the host's own root (`root.path`)
    """
    named = root["path"]
    try:
        path = real(named if named.startswith("/") else f"{bundle}/{named}")
        mode = posix.stat(path).st_mode
    except (OSError, ValueError) as error:
        why = words(error.errno or 0) if isinstance(error, OSError) else "not a path"
        raise ConfigError(f"the root filesystem {quoted(named)}: {why}", "root.path") from None
    if not stat.S_ISDIR(mode):
        raise ConfigError(f"the root filesystem {quoted(named)} is not a directory", "root.path")
    if path == "/":
        raise ConfigError("the root filesystem may not be the host's own root", "root.path")
    return path


def prepare_rootfs(path: str, propagation: "str | None") -> int:
    """Make the root filesystem a mount of its own, that nothing of the host sees change.

    Args:
        path: from `resolve_rootfs`
        propagation: `linux.rootfsPropagation`, or None for "rslave"

    Returns an O_PATH descriptor of the new mount.

    Raises:
        ConfigError: the propagation is not a word of the specification
        StepError: the kernel refused
    """
    flags = _propagation_flags(propagation) if propagation else MS_SLAVE | MS_REC
    _set_propagation("/", flags)
    below = open_rootfs(path)
    try:
        # pivot_root refuses a shared parent; and onto a shared one, the bind would propagate to
        # the host.
        _set_parent_propagation(path, MS_SLAVE if flags & MS_SLAVE else MS_PRIVATE)
        return _bind_on_itself(below)
    except StepError:
        raise
    except OSError as error:
        raise StepError(
            None, error.errno or 0, f"bind {quoted(path)} on itself", field="root.path"
        ) from None
    finally:
        posix.close(below)


def open_rootfs(path: str) -> int:
    """Open the root filesystem as it is: all that a container without a mount namespace needs."""
    try:
        return openat2(CWD, path, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as error:
        hint = None
        if error.errno == errno.EACCES:
            hint = "the container's root user must be allowed to search all directories above it"
        raise StepError(
            None, error.errno or 0, f"open {quoted(path)}", field="root.path", hint=hint
        ) from None


def propagate_root(propagation: "str | None") -> None:
    """Make the container's "/" shared or unbindable, where config.json says so.

    Runs after pivot_root: earlier, the host's mounts would be meant. Slave and private were done
    by `prepare_rootfs` already.
    """
    flags = _propagation_flags(propagation) if propagation else 0
    if flags & (MS_SHARED | MS_UNBINDABLE):
        _set_propagation("/", flags)


def _propagation_flags(word: str) -> int:
    if word not in PROPAGATION:
        raise ConfigError(f"unknown propagation {quoted(word)}", _PROPAGATION_FIELD)
    return PROPAGATION[word]


def _set_propagation(path: str, flags: int) -> None:
    try:
        mount(None, path, None, flags)
    except OSError as error:
        raise StepError(
            None,
            error.errno or 0,
            f"set the propagation of {quoted(path)}",
            field=_PROPAGATION_FIELD,
        ) from None


def _set_parent_propagation(path: str, flags: int) -> None:
    """Change the mount that a path is on: the kernel says EINVAL to whatever is not its root."""
    while True:
        try:
            return _set_propagation(path, flags)
        except StepError as error:
            if error.errno != errno.EINVAL or path == "/":
                raise
        path = dirname(path)


def _bind_on_itself(directory: int) -> int:
    tree = open_tree(
        directory, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH
    )
    move_mount(tree, "", directory, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)
    return tree
