"""The file with a process id in it that engines wait for."""

import posix

from libcontainer_py.errors import StepError, shown


def write_pid_file(path: "str | None", pid: int) -> None:
    """Write the process id to a file, where one is named: all at once.

    Raises:
        StepError: it can't be written
    """
    if path is None:
        return
    # Whoever watches for the file must never read half of a number.
    head, slash, name = path.rpartition("/")
    temporary = f"{head}{slash}.{name}.{posix.getpid()}"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
    try:
        fd = posix.open(temporary, flags, 0o666)
        try:
            try:
                posix.write(fd, str(pid).encode())
            finally:
                posix.close(fd)
            posix.rename(temporary, path)
        except OSError:
            posix.unlink(temporary)
            raise
    except OSError as error:
        raise StepError("WritePidFile", error.errno or 0, f"--pid-file {shown(path)}") from None
