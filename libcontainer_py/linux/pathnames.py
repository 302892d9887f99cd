"""The little that is needed of `os.path`, for absolute paths: importing `os` costs a millisecond.

What a path means beneath a container's root is not decided here, but by the kernel: `mount.paths`.
"""

import posix


def dirname(path: str) -> str:
    """The directory that an absolute path without a slash at its end is in."""
    return path.rpartition("/")[0] or "/"


def clean(path: str) -> str:
    """The shortest path of the same meaning, by its words alone; ".." does not lead above "/"."""
    names: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    return "/" + "/".join(names)


def real(path: str) -> str:
    """The absolute path without symbolic links, as the kernel knows it.

    Raises:
        OSError: it isn't there, or a part of it can't be searched
    """
    fd = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
    try:
        return posix.readlink(f"/proc/self/fd/{fd}")
    finally:
        posix.close(fd)
