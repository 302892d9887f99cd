"""A directory of byte strings under the digest of what they were made from.

What lies there becomes a filter, so it is believed only where nobody but us can have written it:
the directory and the file are ours and nobody else's to write, and the content is whole. Anything
else counts as not being there.
"""

import posix
import stat

try:
    # `import hashlib` loads OpenSSL, which takes longer than all the rest of this.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

_DIGEST_SIZE = 32
_MAX_SIZE = 1 << 16
# Some engines write a profile of its own for each container; what was made first goes first.
_MAX_FILES = 128


def digest(data: bytes) -> bytes:
    """The digest that is used here."""
    return blake2b(data, digest_size=_DIGEST_SIZE).digest()


def read(directory: str, key: bytes) -> "bytes | None":
    """The byte string that is kept under a key, or None."""
    try:
        folder = _open_ours(directory, posix.O_DIRECTORY)
        try:
            fd = _open_ours(key.hex(), posix.O_NONBLOCK, folder)
        finally:
            posix.close(folder)
        try:
            content = posix.read(fd, _MAX_SIZE)
        finally:
            posix.close(fd)
    except OSError:
        return None
    data = content[_DIGEST_SIZE:]
    # The key is part of it: a file under another's name is as wrong as a changed one.
    return data if content[:_DIGEST_SIZE] == digest(key + data) else None


def write(directory: str, key: bytes, data: bytes) -> None:
    """Keep a byte string under a key, or not: a directory that can't be used is no error."""
    content = digest(key + data) + data
    if len(content) > _MAX_SIZE:
        return
    try:
        try:
            posix.mkdir(directory, 0o700)
        except FileExistsError:
            pass
        folder = _open_ours(directory, posix.O_DIRECTORY)
        try:
            _replace(folder, key.hex(), content)
            _trim(folder)
        finally:
            posix.close(folder)
    except OSError:
        pass


def _open_ours(path: str, flags: int, folder: "int | None" = None) -> int:
    """Open what only we can have written; raises PermissionError for everything else."""
    flags |= posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC
    fd = posix.open(path, flags, dir_fd=folder)
    status = posix.fstat(fd)
    kind = stat.S_ISDIR if flags & posix.O_DIRECTORY else stat.S_ISREG
    if status.st_uid == posix.geteuid() and not status.st_mode & 0o022 and kind(status.st_mode):
        return fd
    posix.close(fd)
    raise PermissionError(1, "not ours alone", path)


def _replace(folder: int, name: str, content: bytes) -> None:
    """Write a file whole: under a name of this process first."""
    temporary = f"{name}.{posix.getpid()}"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    fd = posix.open(temporary, flags, 0o600, dir_fd=folder)
    try:
        try:
            if posix.write(fd, content) != len(content):
                raise OSError(28, "no space left on device", temporary)
        finally:
            posix.close(fd)
        posix.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        posix.unlink(temporary, dir_fd=folder)
        raise


def _trim(folder: int) -> None:
    """Remove the oldest files where there are too many."""
    names = posix.listdir(folder)
    if len(names) <= _MAX_FILES:
        return
    ages = [(posix.stat(name, dir_fd=folder).st_mtime_ns, name) for name in names]
    for _age, name in sorted(ages)[:-_MAX_FILES]:
        posix.unlink(name, dir_fd=folder)
