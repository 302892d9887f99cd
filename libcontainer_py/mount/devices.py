"""Device nodes, and the few symbolic links that programs expect in /dev."""

import errno
import posix
import stat

from libcontainer_py.errors import ConfigError, StepError, quoted
from libcontainer_py.linux.flags import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
from libcontainer_py.linux.pathnames import clean
from libcontainer_py.linux.syscalls import CWD, openat2
from libcontainer_py.mount.paths import create_file_in_root, open_in_root, open_parent_in_root
from libcontainer_py.mount.trees import attach, clone_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# config-linux.md, «Default Devices»; /dev/ptmx and /dev/console are made otherwise.
_DEFAULTS: "tuple[tuple[str, int, int], ...]" = (
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


def setup_devices(root_fd: int, devices: "list[dict[str, Any]]") -> None:
    """Make the default devices and those of config.json (not where `mounts.dev_is_bound`).

    A node that is there already is left alone if it is the right device, and an error else.

    Args:
        devices: `linux.devices`; one of a default's path replaces it

    Raises:
        ConfigError, StepError: with the field ``linux.devices[i]`` where it is one of those
    """
    # The modes of nodes are exact: they are set as they are made, not afterwards.
    umask = posix.umask(0)
    try:
        named = {clean(device["path"]) for device in devices}
        for path, major, minor in _DEFAULTS:
            if path not in named:
                _setup_device(
                    root_fd, path, stat.S_IFCHR | 0o666, posix.makedev(major, minor), 0, 0, None
                )
        for index, device in enumerate(devices):
            _setup_configured(root_fd, device, f"linux.devices[{index}]")
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


def _setup_configured(root_fd: int, device: "dict[str, Any]", field: str) -> None:
    path = device["path"]
    if clean(path) == "/dev/ptmx":
        return  # `setup_ptmx` makes it
    kind = _KINDS.get(device["type"])
    if kind is None:
        raise ConfigError(f"unknown type of device {quoted(device['type'])}", f"{field}.type")
    mode = device.get("fileMode")
    number = 0
    if kind != stat.S_IFIFO:
        number = posix.makedev(device.get("major") or 0, device.get("minor") or 0)
    _setup_device(
        root_fd,
        path,
        kind | (0o666 if mode is None else stat.S_IMODE(mode)),
        number,
        device.get("uid") or 0,
        device.get("gid") or 0,
        field,
    )


def _setup_device(
    root_fd: int, path: str, mode: int, number: int, uid: int, gid: int, field: "str | None"
) -> None:
    try:
        directory, name = open_parent_in_root(root_fd, path)
        try:
            try:
                posix.mknod(name, mode, number, dir_fd=directory)
            except FileExistsError:
                posix.close(_open_proved(directory, name, mode, number))
                return
            except PermissionError:
                # A user namespace may have device nodes, but not make them.
                _bind_host_device(directory, name, path, mode, number)
                return
            node = _open_proved(directory, name, mode, number)
            try:
                _set_owner_and_mode(node, uid, gid, mode)
            finally:
                posix.close(node)
        finally:
            posix.close(directory)
    except OSError as error:
        hint = None
        if error.errno == errno.EEXIST:
            hint = "what is there is not this device"
        raise StepError(
            None, error.errno or 0, f"device {quoted(path)}", field=field, hint=hint
        ) from None


def _open_proved(directory: int, name: str, mode: int, number: int) -> int:
    """Open a node and prove by its descriptor that it is the device which is meant."""
    node = open_in_root(directory, name, posix.O_NOFOLLOW)
    if not _is_device(node, mode, number):
        posix.close(node)
        raise OSError(errno.EEXIST, "not the device", name)
    return node


def _is_device(fd: int, mode: int, number: int) -> bool:
    status = posix.fstat(fd)
    if stat.S_IFMT(status.st_mode) != stat.S_IFMT(mode):
        return False
    return stat.S_ISFIFO(mode) or status.st_rdev == number


def _set_owner_and_mode(node: int, uid: int, gid: int, mode: int) -> None:
    # An O_PATH descriptor, by which the node can't be confused with another, takes no fchown or
    # fchmod; its name in the host's /proc stands for it.
    status = posix.fstat(node)
    if (status.st_uid, status.st_gid) != (uid, gid):
        posix.chown(f"/proc/self/fd/{node}", uid, gid)
        status = posix.fstat(node)
    if stat.S_IMODE(status.st_mode) != stat.S_IMODE(mode):
        posix.chmod(f"/proc/self/fd/{node}", stat.S_IMODE(mode))


def _bind_host_device(directory: int, name: str, path: str, mode: int, number: int) -> None:
    tree = clone_tree(CWD, path)
    try:
        if not _is_device(tree, mode, number):
            raise OSError(errno.ENODEV, "the host has another device there", path)
        target = create_file_in_root(directory, name)
        try:
            attach(tree, target)
        finally:
            posix.close(target)
    finally:
        posix.close(tree)
