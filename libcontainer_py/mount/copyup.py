"""`tmpcopyup`: a new tmpfs begins with what the image has at its destination.

The source is the image's, so nothing in it is followed or trusted: names are opened one at a time
without following links, only regular files are read (a FIFO would block), each no further than its
size when it was opened.
"""

import errno
import os
import stat

from libcontainer_py.linux.syscalls import openat2

# Each level holds three descriptors, and a Python frame.
_MAX_DEPTH = 128

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def copy_up(source: int, destination: int) -> None:
    """Copy the directory of one descriptor into that of another: modes, owners, times and links.

    Raises:
        OSError: ENOSPC where the tmpfs is too small; ELOOP where it is nested too deeply
    """
    _copy_directory(source, destination, 0)


def _copy_directory(source: int, destination: int, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise OSError(errno.ELOOP, "directories nested too deeply to copy")
    listed = openat2(source, ".", _READ | os.O_DIRECTORY)
    try:
        for name in os.listdir(listed):
            _copy_entry(listed, destination, name, depth)
    finally:
        os.close(listed)


def _copy_entry(source: int, destination: int, name: str, depth: int) -> None:
    seen = os.stat(name, dir_fd=source, follow_symlinks=False)
    if stat.S_ISDIR(seen.st_mode):
        os.mkdir(name, 0o700, dir_fd=destination)
        below = openat2(source, name, _READ | os.O_DIRECTORY)
        try:
            made = openat2(destination, name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _copy_directory(below, made, depth + 1)
                _copy_attributes(os.fstat(below), made)
            finally:
                os.close(made)
        finally:
            os.close(below)
    elif stat.S_ISREG(seen.st_mode):
        opened = openat2(source, name, _READ)
        try:
            _copy_file(opened, destination, name)
        finally:
            os.close(opened)
    elif stat.S_ISLNK(seen.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=destination)
        os.chown(name, seen.st_uid, seen.st_gid, dir_fd=destination, follow_symlinks=False)
    else:
        os.mknod(name, seen.st_mode, seen.st_rdev, dir_fd=destination)
        os.chown(name, seen.st_uid, seen.st_gid, dir_fd=destination, follow_symlinks=False)


def _copy_file(opened: int, destination: int, name: str) -> None:
    status = os.fstat(opened)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "changed while it was copied", name)
    made = openat2(destination, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        offset = 0
        while offset < status.st_size:
            sent = os.sendfile(made, opened, offset, status.st_size - offset)
            if sent == 0:
                break
            offset += sent
        _copy_attributes(status, made)
    finally:
        os.close(made)


def _copy_attributes(status: os.stat_result, fd: int) -> None:
    # The owner first: a change of owner takes the set-user-ID bit off.
    os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, stat.S_IMODE(status.st_mode))
    os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
