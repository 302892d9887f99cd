"""News of memory that runs out in a cgroup, as a descriptor that can be polled."""

import posix

from libcontainer_py.cgroups.files import read, value_of, write
from libcontainer_py.cgroups.interface import OomWatch
from libcontainer_py.cgroups.processes import GONE
from libcontainer_py.errors import StepError
from libcontainer_py.linux.flags import IN_CLOEXEC, IN_MODIFY, IN_NONBLOCK
from libcontainer_py.linux.syscalls import inotify_add_watch, inotify_init1

_BUFFER = 4096


class V1Watch(OomWatch):
    """An eventfd that the memory controller counts up (cgroup-v1/memory.rst, «OOM Control»)."""

    __slots__ = ("_control", "_fd", "_watched")

    def __init__(self, path: str) -> None:
        self._control = path + "/cgroup.event_control"
        self._fd = self._watched = -1
        try:
            self._watched = posix.open(
                path + "/memory.oom_control", posix.O_RDONLY | posix.O_CLOEXEC
            )
            self._fd = posix.eventfd(0, posix.EFD_CLOEXEC | posix.EFD_NONBLOCK)
            write(self._control, f"{self._fd} {self._watched}")
        except OSError as error:
            self.close()
            raise _failed(path, error) from None

    def fileno(self) -> int:
        return self._fd

    def count(self) -> int:
        try:
            count = posix.eventfd_read(self._fd)
        except BlockingIOError:
            return 0
        # The end of the cgroup is counted too.
        return max(count - 1, 0) if self.gone() else count

    def gone(self) -> bool:
        return not posix.access(self._control, posix.F_OK)

    def close(self) -> None:
        for fd in (self._fd, self._watched):
            if fd >= 0:
                posix.close(fd)
        self._fd = self._watched = -1


class V2Watch(OomWatch):
    """inotify(7) on ``memory.events``, and on ``cgroup.events``, which tells when nobody is left.

    The kernel sends nothing when a cgroup is removed, but before that it has to be empty.
    """

    __slots__ = ("_fd", "_killed", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._killed = 0  # where it goes before it was read
        try:
            self._fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK)
            for file in ("memory.events", "cgroup.events"):
                inotify_add_watch(self._fd, f"{path}/{file}", IN_MODIFY)
            self._killed = self._read_killed()
        except OSError as error:
            self.close()
            raise _failed(path, error) from None

    def fileno(self) -> int:
        return self._fd

    def count(self) -> int:
        # The events only say that there is news: the files say which.
        try:
            while posix.read(self._fd, _BUFFER):
                pass
        except BlockingIOError:
            pass
        before, self._killed = self._killed, self._read_killed()
        return max(self._killed - before, 0)

    def _read_killed(self) -> int:
        try:
            return value_of(read(self._path + "/memory.events"), "oom_kill") or 0
        except StepError as error:
            if error.errno not in GONE:
                raise
            return self._killed

    def gone(self) -> bool:
        try:
            return value_of(read(self._path + "/cgroup.events"), "populated") != 1
        except StepError as error:
            if error.errno not in GONE:
                raise
            return True

    def close(self) -> None:
        if self._fd >= 0:
            posix.close(self._fd)
        self._fd = -1


def _failed(path: str, error: OSError) -> StepError:
    return StepError(None, error.errno or 0, f"watch out for memory that runs out in {path}")
