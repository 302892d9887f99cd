"""`delete`: everything ends and goes, whatever state it is in, and in bounded time."""

import _signal
import posix
import select
import time

from libcontainer_py import state as states
from libcontainer_py.errors import Error, NotFound, WrongState
from libcontainer_py.state import CREATED, PAUSED, STOPPED, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.cgroups.interface import Cgroups
    from libcontainer_py.process import Process

_SIGKILL = 9
_KILL_SECONDS = 10.0
_FROZEN_SECONDS = 0.2


class Deletion:
    """One container's end.

    Args:
        children: those of its processes that are our own children, and so ours to reap; the first
            process, if it is one, last
    """

    __slots__ = ("_children", "_directory", "_warnings")

    def __init__(self, directory: StateDir, children: "list[Process]") -> None:
        self._directory = directory
        self._children = children
        self._warnings: list[str] = []

    def delete(self, *, force: bool) -> "list[str]":
        """Delete it; returns warnings. See `Container.delete`."""
        directory = self._directory
        try:
            self._lock_to_delete(force)
        except NotFound:
            # `create` says that it exists: so it must go.
            if directory.remove_empty() or force:
                return []
            raise
        try:
            record = self._record_to_delete(force)
            if record is not None:
                status = states.status(record)
                if not force and status not in (STOPPED, CREATED):
                    which = directory.container_id
                    raise WrongState(
                        f"cannot delete container {which} that is not stopped: {status}"
                    )
                self._end(record, status, force)
                if record["hooks"].get("poststop"):
                    from libcontainer_py.hooks import run_poststop

                    self._warnings += run_poststop(record)
            else:
                self._end_without_record()
            directory.remove()
        finally:
            directory.unlock()
        return self._warnings

    def _lock_to_delete(self, force: bool) -> None:
        directory = self._directory
        if not force:
            directory.lock()
        elif not directory.lock_within(0):
            # Whoever has the lock may wait for the container: `start` does for its hooks, which
            # can be programs of the image's. And nobody can be let wait for ever.
            try:
                record = directory.read()
                if record["pid"]:
                    self.kill_first(record)
                else:
                    self._kill_in_cgroups()  # `create` waits for it: it may be stopped in there
            except Error:
                pass  # there is no record yet, or a damaged one
            if not directory.lock_within(_KILL_SECONDS):
                raise self._directory.busy()

    def _record_to_delete(self, force: bool) -> "dict[str, Any] | None":
        """The record; None where there is none, though the lock was: a `create` was killed."""
        from libcontainer_py.cgroups import manager

        try:
            record = self._directory.read()
            manager.load(record["cgroups"])
        except NotFound:
            return None
        except Error:
            if force:
                return None
            raise
        return record

    def _end_without_record(self) -> None:
        """Kill and remove what `create` has left behind, or what a damaged record was about."""
        from libcontainer_py.cgroups import manager

        self._kill_waiting()
        state = self._directory.read_cgroups()
        if state is not None:
            try:
                cgroups = manager.load(state)
            except Error as error:
                self._warnings.append(f"{error}: they are left, if there are any")
                return
            cgroups.kill()
            cgroups.remove()
            self._remove_groups(state.get("intel_rdt"))
            self._directory.forget_cgroups()

    def _remove_groups(self, rdt: "Any") -> None:
        """Remove what was made in resctrl, by the word of cgroups.json."""
        if states.is_rdt(rdt):
            from libcontainer_py.intelrdt import groups

            groups.remove(rdt)
        elif rdt is not None:
            what = f"{self._directory.file('cgroups.json')} does not say where they are"
            self._warnings.append(f"Intel RDT: {what}: they are left, if there are any")

    def _kill_in_cgroups(self) -> None:
        """Kill what `create` has put into the container's cgroups, if it has made them."""
        from libcontainer_py.cgroups import manager

        state = self._directory.read_cgroups()
        if state is not None:
            manager.load(state).kill()

    def _end(self, record: "dict[str, Any]", status: str, force: bool) -> None:
        """Kill what still runs, and remove the cgroups."""
        from libcontainer_py.cgroups import manager

        cgroups = manager.load(record["cgroups"])
        if not record["pid"]:
            self._kill_waiting()
            if self._directory.has_cgroups():
                cgroups.kill()  # what its hooks have started can outlive it
            elif cgroups.paths and cgroups.pids(all=True):
                return  # another container's, whose name `create` was about to refuse
        elif status == STOPPED and not self._directory.has_cgroups():
            return  # a `delete` that was killed has removed them: it would be another's by now
        elif status == PAUSED:
            cgroups.kill()  # the first process alone would not die
        elif status != STOPPED:
            self.kill_first(record, cgroups)
        if record["pid"] and (force or not record["pid_namespace"] or status != STOPPED):
            # Without a pid namespace of its own, the others outlive the first process. And with
            # one, somebody of the host's can be in its cgroups: they would not go.
            cgroups.kill()
        self._reap()
        cgroups.remove()
        if record.get("intel_rdt") and self._directory.has_cgroups():
            from libcontainer_py.intelrdt import groups

            groups.remove(record["intel_rdt"])
        self._directory.forget_cgroups()

    def _ends_within(self, pidfd: int, seconds: float) -> bool:
        """Wait for the end of the first process, and meanwhile reap the others: the first of a pid
        namespace can't end before that.
        """
        end = time.monotonic() + seconds
        poll = select.poll()
        for fd in (pidfd, *(child.fileno() for child in self._children)):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        while True:
            ready = {fd for fd, _events in poll.poll(max(0.0, end - time.monotonic()) * 1000)}
            self._reap()
            if pidfd in ready or not ready:
                return pidfd in ready
            for fd in ready:
                poll.unregister(fd)

    def _reap(self) -> None:
        for child in self._children:
            try:
                if child.fileno() >= 0:
                    child.poll()
            except ChildProcessError:
                continue  # somebody else has reaped it

    def kill_first(self, record: "dict[str, Any]", cgroups: "Cgroups | None" = None) -> None:
        try:
            pidfd = states.pidfd(record)
        except WrongState:
            return
        try:
            _signal.pidfd_send_signal(pidfd, _SIGKILL)
            if cgroups is not None and not self._ends_within(pidfd, _FROZEN_SECONDS):
                # It is frozen, or waits as the first of its pid namespace for one that is: on
                # cgroup v1 the frozen don't die. A container can do that to itself.
                cgroups.kill()
            if not self._ends_within(pidfd, _KILL_SECONDS):
                which = f"container {self._directory.container_id}: process {record['pid']}"
                raise Error(f"{which} is still there {_KILL_SECONDS:.0f} s after SIGKILL")
        except ProcessLookupError:
            return
        finally:
            posix.close(pidfd)

    def _kill_waiting(self) -> None:
        """Kill the child of a `create` that was killed before it wrote down whose child it is.

        It waits for `start`, and is the one who has our FIFO open. (What is in the cgroups that the
        record names is the container's where there is a cgroups.json; else it was there before.)
        """
        from libcontainer_py.linux.pathnames import real

        try:
            path = real(self._directory.file("go"))
            status = posix.stat(path)
        except FileNotFoundError:
            return
        for name in posix.listdir("/proc"):
            if name.isdecimal() and _holds(name, path, (status.st_dev, status.st_ino)):
                pid = int(name)
                self.kill_first({"pid": pid, "start": states.start_time(pid)})


def _holds(pid: str, path: str, file: "tuple[int, int]") -> bool:
    """Has a process this file open? Looked for by its name first, for there are many.

    In another mount namespace another file can have the name. What it is, the kernel is asked
    alone: whoever serves a file system to a container may never answer.
    """
    from libcontainer_py.linux.flags import AT_STATX_DONT_SYNC
    from libcontainer_py.linux.syscalls import statx

    directory = f"/proc/{pid}/fd"
    try:
        names = posix.listdir(directory)
    except OSError:
        return False  # it has ended meanwhile
    for name in names:
        try:
            link = f"{directory}/{name}"
            if posix.readlink(link) == path and statx(link, AT_STATX_DONT_SYNC) == file:
                return True
        except OSError:
            continue  # closed meanwhile
    return False
