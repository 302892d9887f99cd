"""Remove a directory in which somebody else may have put whatever he liked."""

import posix

_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
_TAKEN = (17, 20, 21, 39)  # EEXIST, ENOTDIR, EISDIR, ENOTEMPTY


def remove_directory(parent: str, name: str) -> None:
    """Remove the directory `name` of `parent`, with all that is in it; no link is followed.

    What is below it is moved up first, so that no depth is too deep.

    Raises:
        OSError: the kernel refused
    """
    path = f"{parent}/{name}"
    top = posix.open(path, _DIRECTORY)
    try:
        waiting = posix.listdir(top)
        number = 0
        while waiting:
            entry = waiting.pop()
            try:
                posix.unlink(entry, dir_fd=top)
                continue
            except FileNotFoundError:
                continue
            except (IsADirectoryError, PermissionError):
                inner = posix.open(entry, _DIRECTORY, dir_fd=top)
            try:
                for below in posix.listdir(inner):
                    number = _move(below, inner, top, number)
                    waiting.append(f".{number}")
            finally:
                posix.close(inner)
            posix.rmdir(entry, dir_fd=top)
    finally:
        posix.close(top)
    posix.rmdir(path)


def _move(name: str, source: int, destination: int, number: int) -> int:
    """Move something to the first number that is free there; returns that."""
    while True:
        number += 1
        try:
            posix.rename(name, f".{number}", src_dir_fd=source, dst_dir_fd=destination)
            return number
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
