"""Into the container's root: the host's paths end here."""

import errno
import posix

from libcontainer_py.errors import StepError, quoted
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import (
    MNT_DETACH,
    MS_REC,
    MS_SLAVE,
)
from libcontainer_py.linux.syscalls import CWD, mount, openat2, umount2
from libcontainer_py.mount.trees import attach

_DIRECTORY = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC


def pivot_root(root_fd: int) -> None:
    """pivot_root(2) without a directory for the old root: it is put on top, and taken off.

    `pivot_root(".", ".")` stacks the old root over the new one at "/"; see the manual page.
    """
    try:
        old = openat2(CWD, "/", _DIRECTORY)
        try:
            posix.fchdir(root_fd)
            syscalls.pivot_root(".", ".")
            posix.fchdir(old)
        finally:
            posix.close(old)
        # The old root may be shared with the host: unmounting it must not be passed on. Slave, not
        # private: a private copy would pin mounts that the host unmounts meanwhile.
        mount(None, ".", None, MS_SLAVE | MS_REC)
        umount2(".", MNT_DETACH)
        posix.chdir("/")
    except OSError as error:
        raise StepError(None, error.errno or 0, "pivot_root", field="root.path") from None


def move_root(root_fd: int) -> None:
    """Enter the root by MS_MOVE and chroot, for a host root that can't be pivoted (initramfs).

    The host's mounts stay in the mount namespace, out of reach but there. A container that may
    mount could have a procfs of its own because the kernel finds the host's unmasked one; so every
    full proc and sysfs outside the root is unmounted first, or covered where that is not allowed.
    """
    try:
        root = posix.readlink(f"/proc/self/fd/{root_fd}")
        for path in _full_kernel_mounts(root):
            _take_away(path)
        slash = openat2(CWD, "/", _DIRECTORY)
        try:
            attach(root_fd, slash)
        finally:
            posix.close(slash)
    except OSError as error:
        raise StepError(None, error.errno or 0, "move the root", field="root.path") from None
    chroot_root(root_fd)


def chroot_root(root_fd: int) -> None:
    """Enter the root by chroot(2) alone, where there is no new mount namespace."""
    try:
        posix.fchdir(root_fd)
        posix.chroot(".")
        posix.chdir("/")
    except OSError as error:
        raise StepError(None, error.errno or 0, "chroot", field="root.path") from None


def _full_kernel_mounts(root: str) -> "list[str]":
    """List the mount points of whole proc and sysfs filesystems outside the root."""
    found = []
    for line in _read_mountinfo().splitlines():
        fields, _dash, filesystem = line.partition(" - ")
        _id, _parent, _device, top, point = fields.split(" ")[:5]
        if top != "/" or filesystem.split(" ")[0] not in ("proc", "sysfs"):
            continue
        path = _unescape(point)
        if path != root and not path.startswith(root + "/"):
            found.append(path)
    return found


def _read_mountinfo() -> str:
    fd = openat2(CWD, "/proc/self/mountinfo", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        data = b""
        while chunk := posix.read(fd, 65536):
            data += chunk
    finally:
        posix.close(fd)
    return data.decode("utf-8", "surrogateescape")


def _unescape(path: str) -> str:
    """Undo the octal escapes of mountinfo (proc(5)): space, tab, newline, backslash."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, char)
    return path


def _take_away(path: str) -> None:
    try:
        mount(None, path, None, MS_SLAVE | MS_REC)
    except FileNotFoundError:
        return  # what it was mounted on is gone already
    try:
        umount2(path, MNT_DETACH)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise StepError(None, error.errno or 0, f"unmount {quoted(path)}") from None
        # A user namespace may not unmount what its parent mounted, but may cover it.
        mount("tmpfs", path, "tmpfs")
