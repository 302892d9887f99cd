"""clone3(2) of a process that goes on in Python, by the rules of docs/architecture.md."""

import _signal
import gc
import posix
import sys

from libcontainer_py.errors import Error
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import CLONE_CLEAR_SIGHAND, CLONE_INTO_CGROUP, CLONE_PARENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_SIGCHLD = 17


def has_threads() -> bool:
    """Has this process more than one thread, whoever made the others?

    A clone copies one; what the others hold stays locked for ever in the child.
    """
    return len(posix.listdir("/proc/self/task")) != 1


def may_clone() -> bool:
    """May this process clone by itself? Else the launcher must.

    Only without other threads, and where Python spells paths in UTF-8, as config.json does.
    """
    return not has_threads() and sys.getfilesystemencoding() == "utf-8"


def refuse_threads() -> None:
    """Refuse to go on in a process that may not clone.

    Raises:
        Error: it has threads
    """
    if has_threads():
        raise Error("a process with threads can't clone a container; it must use the launcher")


def clone(
    run: "Callable[[], NoReturn]",
    born: "Callable[[int, int], None]",
    *,
    flags: int = 0,
    cgroup: "int | None" = None,
    for_parent: bool = False,
) -> None:
    """Clone a process that calls `run`, which never returns.

    Args:
        born: told its pid and pidfd at once, before a signal can come through whose handler raises
        flags: CLONE_NEW… of its namespaces
        cgroup: a descriptor of the directory on cgroup2 that it is born in
        for_parent: it is to be a child of our parent

    Raises:
        OSError: the kernel refused
    """
    flags |= CLONE_CLEAR_SIGHAND
    if cgroup is not None:
        flags |= CLONE_INTO_CGROUP
    if for_parent:
        flags |= CLONE_PARENT
    # Blocked, so that no handler runs in the child before it has put them away; no collection,
    # whose finalizers would run twice.
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    collecting = gc.isenabled()
    gc.disable()
    try:
        # With CLONE_PARENT the signal is the one that we end with ourselves.
        pid, pidfd = syscalls.clone3(flags, 0 if for_parent else _SIGCHLD, cgroup or 0)
        if pid == 0:
            run()
        born(pid, pidfd)
    finally:
        if collecting:
            gc.enable()
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
