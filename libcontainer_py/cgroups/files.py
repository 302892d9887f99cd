"""Read and write the kernel's files of a cgroup, with errors that name file, value and field."""

import posix

from libcontainer_py.errors import StepError, quoted


def write(path: str, value: "int | str", field: "str | None" = None) -> None:
    """Write one value to a cgroup's file.

    Raises:
        StepError: with `field`, the value and the file
    """
    text = str(value)
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            posix.write(fd, text.encode())
        finally:
            posix.close(fd)
    except OSError as error:
        what = f"write {quoted(text.rstrip())} to {path}"
        raise StepError(None, error.errno or 0, what, field=field) from None


def read(path: str) -> str:
    """Read a cgroup's file to its end.

    Raises:
        StepError: with the file
    """
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            chunks = []
            while chunk := posix.read(fd, 65536):
                chunks.append(chunk)
        finally:
            posix.close(fd)
    except OSError as error:
        raise StepError(None, error.errno or 0, f"read {path}") from None
    return b"".join(chunks).decode("utf-8", "surrogateescape")


def value_of(text: str, key: str) -> "int | None":
    """Find the number of a key in a file of ``key number`` lines; None if it is not there."""
    for line in text.splitlines():
        name, _space, value = line.partition(" ")
        if name == key:
            return int(value)
    return None
