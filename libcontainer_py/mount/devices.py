"""Device nodes, and the few symbolic links that programs expect in /dev."""

import errno
import posix
import stat

from libcontainer_py.errors import ConfigError, StepError, quoted
from libcontainer_py.linux.flags import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
from libcontainer_py.linux.pathnames import clean
from libcontainer_py.linux.syscalls import CWD, openat2
from libcontainer_py.mount.paths import open_in_root, open_parent_in_root
from libcontainer_py.mount.trees import attach, clone_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# config-linux.md, «Default Devices»; /dev/ptmx and /dev/console are made otherwise.
DEFAULTS: "tuple[tuple[str, int, int], ...]" = (
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
)

_KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}

_LINKS = (
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
)

_NULL = posix.makedev(1, 3)


def setup_devices(
    root_fd: int, devices: "list[dict[str, Any]]", in_user_namespace: bool = False
) -> None:
    """Make the default devices and those of config.json (not where `mounts.dev_is_bound`).

    A node that is there already is left alone if it is the right device, and an error else.

    A user namespace can have device nodes, but not make them, and those of an image don't work
    there. So the host's own are bound, owner and mode as they are on the host: each from the same
    path, proved to be the device that is meant, onto a file that is there or is made.

    Args:
        devices: `linux.devices`; one of a default's path replaces it
        in_user_namespace: the container's user namespace is not the host's

    Raises:
        ConfigError, StepError: with the field ``linux.devices[i]`` where it is one of those
    """
    # The modes of nodes are exact: they are set as they are made, not afterwards.
    umask = posix.umask(0)
    try:
        named = {clean(device["path"]) for device in devices}
        for path, major, minor in DEFAULTS:
            if path not in named:
                _setup_device(
                    root_fd,
                    _Node(path, stat.S_IFCHR | 0o666, posix.makedev(major, minor), 0, 0),
                    None,
                    in_user_namespace,
                )
        for index, device in enumerate(devices):
            field = f"linux.devices[{index}]"
            if clean(device["path"]) != "/dev/ptmx":  # `setup_ptmx` makes it
                _setup_device(root_fd, _configured(device, field), field, in_user_namespace)
    finally:
        posix.umask(umask)


def setup_ptmx(root_fd: int) -> None:
    """Make /dev/ptmx the one of the container's own devpts, whatever the image had there."""
    try:
        directory, name = open_parent_in_root(root_fd, "/dev/ptmx")
        try:
            _unlink(directory, name)
            posix.symlink("pts/ptmx", name, dir_fd=directory)
        finally:
            posix.close(directory)
    except OSError as error:
        raise StepError(None, error.errno or 0, "set up /dev/ptmx") from None


def setup_dev_symlinks(root_fd: int) -> None:
    """Make /dev/fd, stdin, stdout and stderr (and core where the kernel has kcore).

    What is there already stays.
    """
    links: tuple[tuple[str, str], ...] = _LINKS
    if posix.access("/proc/kcore", posix.F_OK):
        links = (*_LINKS, ("/proc/kcore", "core"))
    try:
        directory, _name = open_parent_in_root(root_fd, "/dev/fd")
        try:
            for target, name in links:
                try:
                    posix.symlink(target, name, dir_fd=directory)
                except FileExistsError:
                    continue
        finally:
            posix.close(directory)
    except OSError as error:
        raise StepError(None, error.errno or 0, "set up the symbolic links of /dev") from None


def reopen_null(root_fd: int) -> None:
    """Make standard streams that are the host's null device the container's own.

    By a descriptor of the host's node the container could change that node's owner and mode.

    Raises:
        StepError: /dev/null can't be opened, or is something else
    """
    streams = [fd for fd in (0, 1, 2) if _is_device(fd, stat.S_IFCHR, _NULL)]
    if not streams:
        return
    try:
        flags = posix.O_RDWR | posix.O_NOCTTY | posix.O_NOFOLLOW | posix.O_CLOEXEC
        resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
        null = openat2(root_fd, "/dev/null", flags, 0, resolve)
        try:
            if not _is_device(null, stat.S_IFCHR, _NULL):
                raise OSError(errno.ENODEV, "not the null device")
            for fd in streams:
                posix.dup2(null, fd, inheritable=True)
        finally:
            posix.close(null)
    except OSError as error:
        raise StepError(None, error.errno or 0, 'reopen "/dev/null"') from None


def _unlink(directory: int, name: str) -> None:
    try:
        posix.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


class _Node:
    """A device: what to make, and where.

    Attributes:
        mode: with the kind of device, as mknod(2) takes it
        number: dev_t
    """

    __slots__ = ("gid", "mode", "number", "path", "uid")

    def __init__(self, path: str, mode: int, number: int, uid: int, gid: int) -> None:
        self.path = path
        self.mode = mode
        self.number = number
        self.uid = uid
        self.gid = gid

    def is_open(self, fd: int) -> bool:
        return _is_device(fd, self.mode, self.number)


def _configured(device: "dict[str, Any]", field: str) -> _Node:
    kind = _KINDS.get(device["type"])
    if kind is None:
        raise ConfigError(f"unknown type of device {quoted(device['type'])}", f"{field}.type")
    mode = device.get("fileMode")
    number = 0
    if kind != stat.S_IFIFO:
        number = posix.makedev(device.get("major") or 0, device.get("minor") or 0)
    return _Node(
        device["path"],
        kind | (0o666 if mode is None else stat.S_IMODE(mode)),
        number,
        device.get("uid") or 0,
        device.get("gid") or 0,
    )


def _setup_device(root_fd: int, node: _Node, field: "str | None", in_user_namespace: bool) -> None:
    try:
        directory, name = open_parent_in_root(root_fd, node.path)
        try:
            if in_user_namespace and not stat.S_ISFIFO(node.mode):
                _bind_host_device(directory, name, node, field)
            else:
                _make_device(directory, name, node, field)
        finally:
            posix.close(directory)
    except StepError:
        raise
    except OSError as error:
        hint = None
        if error.errno == errno.EEXIST:
            hint = "what is there is not this device"
        raise StepError(
            None, error.errno or 0, f"device {quoted(node.path)}", field=field, hint=hint
        ) from None


def _make_device(directory: int, name: str, node: _Node, field: "str | None") -> None:
    try:
        posix.mknod(name, node.mode, node.number, dir_fd=directory)
    except FileExistsError:
        posix.close(_open_proved(directory, name, node))
        return
    except PermissionError:
        # We are in a user namespace already, one of our caller's.
        _bind_host_device(directory, name, node, field)
        return
    made = _open_proved(directory, name, node)
    try:
        _set_owner_and_mode(made, node)
    finally:
        posix.close(made)


def _open_proved(directory: int, name: str, node: _Node) -> int:
    """Open a node and prove by its descriptor that it is the device which is meant."""
    found = open_in_root(directory, name, posix.O_NOFOLLOW)
    if not node.is_open(found):
        posix.close(found)
        raise OSError(errno.EEXIST, "not the device", name)
    return found


def _is_device(fd: int, mode: int, number: int) -> bool:
    status = posix.fstat(fd)
    if stat.S_IFMT(status.st_mode) != stat.S_IFMT(mode):
        return False
    return stat.S_ISFIFO(mode) or status.st_rdev == number


def _set_owner_and_mode(made: int, node: _Node) -> None:
    # An O_PATH descriptor, by which the node can't be confused with another, takes no fchown or
    # fchmod; its name in the host's /proc stands for it.
    status = posix.fstat(made)
    if (status.st_uid, status.st_gid) != (node.uid, node.gid):
        posix.chown(f"/proc/self/fd/{made}", node.uid, node.gid)
        status = posix.fstat(made)
    if stat.S_IMODE(status.st_mode) != stat.S_IMODE(node.mode):
        posix.chmod(f"/proc/self/fd/{made}", stat.S_IMODE(node.mode))


def _bind_host_device(directory: int, name: str, node: _Node, field: "str | None") -> None:
    tree = _clone_host_device(node, field)
    try:
        target = _open_target(directory, name)
        try:
            attach(tree, target)
        finally:
            posix.close(target)
    finally:
        posix.close(tree)


def _clone_host_device(node: _Node, field: "str | None") -> int:
    hint = "a container in a user namespace has the host's devices alone, each at the host's path"
    try:
        tree = clone_tree(CWD, node.path)
        if node.is_open(tree):
            return tree
        posix.close(tree)
        number, what = errno.ENODEV, f"device {quoted(node.path)}: the host has another one there"
    except OSError as error:
        number, what = error.errno or 0, f"device {quoted(node.path)} of the host"
    raise StepError(None, number, what, field=field, hint=hint)


def _open_target(directory: int, name: str) -> int:
    """Open what a device is mounted on: a new file, or whatever the image has there as one."""
    try:
        posix.mknod(name, stat.S_IFREG | 0o644, dir_fd=directory)
    except FileExistsError:
        pass
    target = open_in_root(directory, name, posix.O_NOFOLLOW)
    mode = posix.fstat(target).st_mode
    if stat.S_ISLNK(mode) or stat.S_ISDIR(mode):
        posix.close(target)
        raise OSError(errno.EEXIST, "no file", name)
    return target
