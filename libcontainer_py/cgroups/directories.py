"""Make and remove the directories of a cgroup, and nothing that others have made.

A parent that we had to make carries a mark, and is removed with the last cgroup in it, whichever
container that belongs to. The mark is an attribute of the directory itself, so it needs no record,
and is true whatever was killed when.
"""

import posix
import time

from libcontainer_py.errors import StepError
from libcontainer_py.linux.pathnames import dirname

# Only CAP_SYS_ADMIN of the initial user namespace may set trusted attributes: a container can't
# mark a directory of its host. Whoever lacks it marks what is his own, for himself alone (cgroup v2
# has such attributes since Linux 5.7).
MARK = "trusted.libcontainer_py"
_USERS_MARK = "user.libcontainer_py"

_ATTEMPTS = 64


def make(path: str, mountpoint: str) -> "list[str]":
    """Make a directory and what is missing above it, down from a hierarchy's mount point.

    Returns:
        the directories that were made, from the top down: empty if `path` existed

    Raises:
        StepError: the kernel refused; what was made is removed again
    """
    made: list[str] = []
    missing = [path]
    # The neighbour that used a parent before us can remove it under our hands: then it is missing
    # again, and made again.
    for _attempt in range(_ATTEMPTS + path.count("/") * 2):
        target = missing[-1]
        try:
            posix.mkdir(target, 0o755)
            made.append(target)
            if target != path:
                _mark(target)
            missing.pop()
        except FileExistsError:
            missing.pop()
        except OSError as error:
            if isinstance(error, FileNotFoundError) and len(target) > len(mountpoint):
                missing.append(dirname(target))
                continue
            unmake(made)
            raise StepError(
                None, error.errno or 0, f"create the cgroup {path}", field="linux.cgroupsPath"
            ) from None
        if not missing:
            return made
    unmake(made)
    raise StepError(
        None,
        11,
        f"create the cgroup {path}",
        field="linux.cgroupsPath",
        hint="its parents are removed as fast as they are made",
    )


def _mark(directory: str) -> None:
    for mark in (MARK, _USERS_MARK):
        try:
            posix.setxattr(directory, mark, b"1")
            return
        except OSError:
            continue  # a kernel without any: the parent stays then


def _is_marked(directory: str) -> bool:
    for mark in (MARK, _USERS_MARK):
        try:
            posix.getxattr(directory, mark)
            return mark == MARK or posix.stat(directory).st_uid == posix.geteuid()
        except OSError:
            continue
    return False


def unmake(made: "list[str]") -> None:
    """Take back what `make` has just made. What is in use by now is left."""
    for directory in reversed(made):
        try:
            posix.rmdir(directory)
        except OSError:
            return


def remove(paths: "list[str]", timeout: float = 2.0) -> None:
    """Remove cgroups, whatever is below them, and the marked parents that are empty then.

    Raises:
        StepError: one is still busy after `timeout` seconds
    """
    deadline = time.monotonic() + timeout
    pause = 0.0005
    busy = paths
    while True:
        # A process that was just killed holds its cgroups until it has exited.
        busy = [path for path in busy if not _remove_tree(path, deadline)]
        if not busy:
            break
        if time.monotonic() > deadline:
            raise StepError(
                None,
                16,
                f"remove the cgroup {busy[0]}",
                hint="there are processes in it, or in one below it",
            )
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    for path in paths:
        _remove_parents(path)


def _remove_parents(path: str) -> None:
    parent = dirname(path)
    while _is_marked(parent):
        try:
            posix.rmdir(parent)
        except FileNotFoundError:
            pass  # a neighbour was faster
        except OSError:
            return  # a neighbour still lives there
        parent = dirname(parent)


def _remove_tree(path: str, deadline: float) -> bool:
    """Try once to remove a cgroup and those below it; tell whether it is gone."""
    try:
        posix.rmdir(path)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        pass
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return True
    if not _remove_below(fd, deadline):
        return False
    try:
        posix.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _remove_below(fd: int, deadline: float) -> bool:
    """Remove every cgroup below a descriptor (and close that); tell whether all are gone.

    A container can nest its cgroups deeper than a path, a stack or a table of descriptors is long.
    So this holds one descriptor at a time and climbs by "..".
    """
    names: list[str] = []
    try:
        while True:
            deeper = _remove_children(fd)
            if time.monotonic() > deadline:
                return False
            if deeper is not None:
                step = deeper
                names.append(deeper)
            elif names:
                step = ".."
            else:
                return True
            next_fd = posix.open(
                step, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC, dir_fd=fd
            )
            posix.close(fd)
            fd = next_fd
            if deeper is None:
                try:
                    posix.rmdir(names.pop(), dir_fd=fd)
                except FileNotFoundError:
                    continue
    except OSError:
        return False  # busy, or vanished under our hands: the next attempt will see
    finally:
        posix.close(fd)


def _remove_children(fd: int) -> "str | None":
    """Remove the cgroups right below that have none of their own; name one that resists."""
    resisting = None
    with posix.scandir(fd) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in names:
        try:
            posix.rmdir(name, dir_fd=fd)
        except FileNotFoundError:
            continue
        except OSError:
            resisting = name
    return resisting
