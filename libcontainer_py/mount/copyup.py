"""`tmpcopyup`: a new tmpfs begins with what the image has at its destination.

The source is the image's, so nothing in it is followed or trusted: names are opened one at a time
without following links, only regular files are read (a FIFO would block), each no further than its
size when it was opened.
"""

import errno
import posix
import stat

from libcontainer_py.linux.syscalls import openat2

# Each level holds three descriptors, and a Python frame.
_MAX_DEPTH = 128

_READ = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC


def copy_up(source: int, destination: int) -> None:
    """Copy the directory of one descriptor into that of another: modes, owners, times and links.

    Raises:
        OSError: ENOSPC where the tmpfs is too small; ELOOP where it is nested too deeply
    """
    _copy_directory(source, destination, 0)


def _copy_directory(source: int, destination: int, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise OSError(errno.ELOOP, "directories nested too deeply to copy")
    listed = openat2(source, ".", _READ | posix.O_DIRECTORY)
    try:
        for name in posix.listdir(listed):
            _copy_entry(listed, destination, name, depth)
    finally:
        posix.close(listed)


def _copy_entry(source: int, destination: int, name: str, depth: int) -> None:
    seen = posix.stat(name, dir_fd=source, follow_symlinks=False)
    if stat.S_ISDIR(seen.st_mode):
        posix.mkdir(name, 0o700, dir_fd=destination)
        below = openat2(source, name, _READ | posix.O_DIRECTORY)
        try:
            made = openat2(destination, name, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
            try:
                _copy_directory(below, made, depth + 1)
                _copy_attributes(posix.fstat(below), made)
            finally:
                posix.close(made)
        finally:
            posix.close(below)
    elif stat.S_ISREG(seen.st_mode):
        opened = openat2(source, name, _READ)
        try:
            _copy_file(opened, destination, name)
        finally:
            posix.close(opened)
    elif stat.S_ISLNK(seen.st_mode):
        posix.symlink(posix.readlink(name, dir_fd=source), name, dir_fd=destination)
        posix.chown(name, seen.st_uid, seen.st_gid, dir_fd=destination, follow_symlinks=False)
    else:
        posix.mknod(name, seen.st_mode, seen.st_rdev, dir_fd=destination)
        posix.chown(name, seen.st_uid, seen.st_gid, dir_fd=destination, follow_symlinks=False)


def _copy_file(opened: int, destination: int, name: str) -> None:
    status = posix.fstat(opened)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "changed while it was copied", name)
    made = openat2(
        destination, name, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600
    )
    try:
        offset = 0
        while offset < status.st_size:
            sent = posix.sendfile(made, opened, offset, status.st_size - offset)
            if sent == 0:
                break
            offset += sent
        _copy_attributes(status, made)
    finally:
        posix.close(made)


def _copy_attributes(status: posix.stat_result, fd: int) -> None:
    # The owner first: a change of owner takes the set-user-ID bit off.
    posix.fchown(fd, status.st_uid, status.st_gid)
    posix.fchmod(fd, stat.S_IMODE(status.st_mode))
    posix.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
