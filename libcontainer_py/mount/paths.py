"""Paths inside the container's root, resolved to descriptors that can't lie outside it.

Whoever made the root, or shares a volume of it, may have put symbolic links anywhere, and may swap
them while we look. The kernel resolves an existing path beneath the root in one system call
(openat2(2), RESOLVE_IN_ROOT); what is missing is made by a walk that holds a descriptor of every
directory on the way and never gives the kernel more than one name at a time.
"""

import errno
import posix
import stat

from libcontainer_py.linux.flags import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
)
from libcontainer_py.linux.syscalls import CWD, openat2

# The kernel's own limit for one path (MAXSYMLINKS).
_MAX_LINKS = 40

_PATH = posix.O_PATH | posix.O_CLOEXEC


def open_in_root(root_fd: int, path: str, flags: int = 0, *, follow: bool = True) -> int:
    """Open an existing path beneath the root; "/" and ".." never lead out of it.

    Args:
        flags: more open(2) flags; the descriptor is O_PATH | O_CLOEXEC in any case
        follow: False refuses a symbolic link anywhere in the path (ELOOP)
    """
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (0 if follow else RESOLVE_NO_SYMLINKS)
    return openat2(root_fd, path, _PATH | flags, 0, resolve)


def open_root() -> int:
    """Open "/", for whoever is inside the container's root already."""
    return openat2(CWD, "/", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)


def mkdir_all_in_root(root_fd: int, path: str, *, follow: bool = True) -> int:
    """Open a directory beneath the root, after making it and its parents where they are missing.

    New directories have mode 0755. Symbolic links that dangle are followed too: what they point to
    is made inside the root. Arguments as for `open_in_root`; returns an O_PATH descriptor.
    """
    try:
        return open_in_root(root_fd, path, posix.O_DIRECTORY, follow=follow)
    except FileNotFoundError:
        return _walk(root_fd, path, follow, make_file=False)


def create_file_in_root(root_fd: int, path: str) -> int:
    """Open a file beneath the root for others to be mounted on; an empty one is made if need be.

    The same as `mkdir_all_in_root` for the parents. The file's mode is 0644.
    """
    try:
        return open_in_root(root_fd, path)
    except FileNotFoundError:
        return _walk(root_fd, path, True, make_file=True)


def open_parent_in_root(root_fd: int, path: str) -> "tuple[int, str]":
    """Open (and make) the directory that a path is in: returns (its descriptor, the last name).

    Whoever uses the name must not follow a symbolic link of that name.
    """
    directory, _slash, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise OSError(errno.EINVAL, "no name at the end of the path", path)
    return mkdir_all_in_root(root_fd, directory or "/"), name


def path_in_root(root_fd: int, fd: int) -> str:
    """Say where below the root an open file is ("/" for the root itself).

    It is the kernel's answer, without symbolic links, and needs the host's /proc.
    """
    root = posix.readlink(f"/proc/self/fd/{root_fd}")
    path = posix.readlink(f"/proc/self/fd/{fd}")
    if path == root:
        return "/"
    if not path.startswith(root + "/"):
        raise OSError(errno.EXDEV, "not beneath the root", path)
    return path[len(root) :]


def _walk(root_fd: int, path: str, follow: bool, *, make_file: bool) -> int:
    """Go down a path one name at a time, making what is missing; the last one is opened."""
    names = path.split("/")[::-1]  # still to go, the next one last
    trail = [posix.dup(root_fd)]  # the directories that we came through: ".." is the one before
    links = 0
    try:
        while names:
            name = names.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(trail) > 1:
                    posix.close(trail.pop())
                continue
            fd = _open_or_make(trail[-1], name, make_file=make_file and not any(names))
            mode = posix.fstat(fd).st_mode
            if not stat.S_ISLNK(mode):
                trail.append(fd)
                continue
            target = posix.readlink("", dir_fd=fd)
            posix.close(fd)
            links += 1
            if not follow or links > _MAX_LINKS:
                raise OSError(errno.ELOOP, "too many levels of symbolic links", path)
            if target.startswith("/"):
                while len(trail) > 1:
                    posix.close(trail.pop())
            names.extend(target.split("/")[::-1])
        if not make_file and not stat.S_ISDIR(posix.fstat(trail[-1]).st_mode):
            raise OSError(errno.ENOTDIR, "not a directory", path)
        return trail.pop()
    finally:
        for fd in trail:
            posix.close(fd)


def _open_or_make(directory: int, name: str, *, make_file: bool) -> int:
    try:
        return openat2(directory, name, _PATH | posix.O_NOFOLLOW)
    except FileNotFoundError:
        pass
    try:
        if make_file:
            posix.mknod(name, stat.S_IFREG | 0o644, dir_fd=directory)
        else:
            posix.mkdir(name, 0o755, dir_fd=directory)
    except FileExistsError:
        # Another container that shares the volume was faster. What it made must be what we
        # wanted; that is looked at by descriptor.
        pass
    fd = openat2(
        directory, name, _PATH | posix.O_NOFOLLOW | (0 if make_file else posix.O_DIRECTORY)
    )
    if make_file and not stat.S_ISREG(posix.fstat(fd).st_mode):
        posix.close(fd)
        raise OSError(errno.EEXIST, "made by somebody else meanwhile", name)
    return fd
