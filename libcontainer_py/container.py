"""The face of the library: `Runtime`, `Container`, `Process`.

    from libcontainer_py import Runtime

    with Runtime().create("web", "/bundles/web") as container:   # deleted at the end
        container.start()
        container.process.wait(timeout=30)

Every method may be called from a program with threads: then the container is cloned by a fresh
interpreter that is started for the call, and is still this program's own child.
"""

import _signal
import posix

from libcontainer_py import state as states
from libcontainer_py.errors import ConfigError, Error, NotFound, StepError, WrongState, shown
from libcontainer_py.state import CREATED, CREATING, PAUSED, RUNNING, STOPPED, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import IO, Any, Self

    from libcontainer_py.cgroups.interface import Cgroups
    from libcontainer_py.namespaces.created import Created
    from libcontainer_py.spec.model import Resources

PIPE = -1
DEVNULL = -3

_SIGKILL = 9
_KILL_SECONDS = 10.0
_FROZEN_SECONDS = 0.2


class Process:
    """The first process of a container, with the manners of `subprocess.Popen`.

    Attributes:
        pid: its process id, in the caller's pid namespace
        returncode: None while it runs; its exit status; -N when signal N ended it
        stdin, stdout, stderr: the other ends of what was created with PIPE, as files, else None
        terminal: a descriptor of the master of its terminal, where it has one and that did not go
            to a console socket; else None
    """

    __slots__ = ("_pidfd", "pid", "returncode", "stderr", "stdin", "stdout", "terminal")

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self.returncode: int | None = None
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        self.terminal: int | None = None

    def fileno(self) -> int:
        """A pidfd of it: readable when it has ended (pidfd_open(2))."""
        return self._pidfd

    def poll(self) -> "int | None":
        """Look whether it has ended; return `returncode`.

        Raises:
            ChildProcessError: it is not a child of this process, so its status is not ours to know
        """
        return self._wait(posix.WNOHANG)

    def wait(self, timeout: "float | None" = None) -> int:
        """Wait until it has ended; return `returncode`.

        Args:
            timeout: seconds; None waits for ever

        Raises:
            TimeoutError: it is still running
            ChildProcessError: it is not a child of this process
        """
        if timeout is not None and self.returncode is None and not self._ends_within(timeout):
            raise TimeoutError(f"process {self.pid} is still running after {timeout} seconds")
        code = self._wait(0)
        assert code is not None
        return code

    def send_signal(self, signal: int) -> None:
        """Send it a signal. One that has ended is left alone, as in `subprocess`."""
        if self.returncode is None:
            try:
                _signal.pidfd_send_signal(self._pidfd, signal)
            except ProcessLookupError:
                return

    def close(self) -> None:
        """Let go of the pidfd, the streams and the terminal (which hangs up)."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        if self.terminal is not None:
            posix.close(self.terminal)
            self.terminal = None
        if self._pidfd >= 0:
            posix.close(self._pidfd)
            self._pidfd = -1

    def _ends_within(self, seconds: float) -> bool:
        from libcontainer_py.linux.wait import wait_for_end

        return wait_for_end(self._pidfd, seconds)

    def _wait(self, flags: int) -> "int | None":
        if self.returncode is None:
            result = posix.waitid(posix.P_PIDFD, self._pidfd, posix.WEXITED | flags)
            if result is not None:
                exited = result.si_code == posix.CLD_EXITED
                self.returncode = result.si_status if exited else -result.si_status
        return self.returncode


class Container:
    """One container, known by its id. Made by `Runtime.create`, `.run` or `.get`.

    As a context manager it is deleted, by force, at the end, unless `detach` was called.

    Attributes:
        id: its id
        process: its first process, where this object created it; else None
        warnings: what was odd about its config.json, a line each
    """

    __slots__ = ("_detached", "_directory", "_executed", "id", "process", "warnings")

    def __init__(self, directory: StateDir, process: "Process | None" = None) -> None:
        self.id = directory.container_id
        self.process = process
        self.warnings: list[str] = []
        self._directory = directory
        self._detached = False
        self._executed: list[Process] = []  # our own children, as `exec` made them

    def __repr__(self) -> str:
        return f"<Container {self.id!r}>"

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self,
        _type: "type[BaseException] | None",
        _error: "BaseException | None",
        _trace: "TracebackType | None",
    ) -> None:
        if not self._detached:
            self.delete(force=True)
            if self.process is not None:
                self.process.close()

    def detach(self) -> "Self":
        """Keep the container when the `with` block ends."""
        self._detached = True
        return self

    @property
    def status(self) -> str:
        """``creating``, ``created``, ``running``, ``paused`` or ``stopped`` (runtime.md).

        Raises:
            NotFound: it was deleted
        """
        return self._status(self._directory.read(to_show=True))

    def _status(self, record: "dict[str, Any]") -> str:
        # Before it has a process it is either being created, and then locked, or left behind.
        if not record["pid"] and self._directory.locked():
            return CREATING
        return states.status(record)

    def state(self) -> "dict[str, Any]":
        """The state as the spec has it (runtime.md, «State»), with runc's additions.

        Raises:
            NotFound: it was deleted
        """
        record = self._directory.read(to_show=True)
        status = self._status(record)
        state = {
            "ociVersion": record["ociVersion"],
            "id": record["id"],
            "pid": record["pid"] if status not in (CREATING, STOPPED) else 0,
            "status": status,
            "bundle": record["bundle"],
            "rootfs": record["rootfs"],
            "created": record["created"],
        }
        if record["annotations"]:
            state["annotations"] = dict(sorted(record["annotations"].items()))
        return state | {"owner": ""}

    def start(self) -> None:
        """Let a created container become its program.

        Returns when that has happened: a program that can't be run is an error here.

        Raises:
            NotFound: there is no such container
            WrongState: it is not `created`
            StepError: execve(2) failed
        """
        directory = self._directory
        directory.lock()
        try:
            record = directory.read()
            status = states.status(record)
            if status == STOPPED:
                raise WrongState("cannot start a container that has stopped")
            if status == RUNNING:
                raise WrongState("cannot start an already running container")
            if status != CREATED:
                raise WrongState(f"cannot start a container in the {status} state")
            self._start(record)
            record["started"] = True
            directory.write(record)
            if record["hooks"].get("poststart"):
                self._run_poststart(record)
        finally:
            directory.unlock()

    def _start(self, record: "dict[str, Any]") -> None:
        from libcontainer_py.syncpipe.records import START_HOOK, STARTED

        try:
            pidfd = self._pidfd(record)
        except WrongState:
            raise WrongState("cannot start a container that has stopped") from None
        try:
            answer = _let_go(self._directory, pidfd, _seconds(record))
            if answer is None:
                _signal.pidfd_send_signal(pidfd, _SIGKILL)
                what = "a hook ran past its specified timeout"
                raise StepError(START_HOOK, 0, what, field="hooks.startContainer")
        finally:
            posix.close(pidfd)
        if not answer.startswith(STARTED):
            # No answer of the list's: somebody else's start was first, or its process ended.
            if states.status(record) == STOPPED:
                raise WrongState("cannot start a container that has stopped")
            raise WrongState("cannot start an already running container")
        failure = answer[len(STARTED) :]
        if failure:
            raise _start_failed(record["start_steps"], failure)

    def _run_poststart(self, record: "dict[str, Any]") -> None:
        """Run the poststart hooks; one that fails stops the container (runtime.md, «Lifecycle»)."""
        from libcontainer_py.hooks import run_hooks, state_of

        state = state_of(record, RUNNING, record["pid"])
        try:
            run_hooks("poststart", record["hooks"]["poststart"], state, record["bundle"])
        except StepError as error:
            self._kill_first(record)
            raise StepError.of(error, "poststart") from None

    def exec(
        self,
        args: "list[str] | None" = None,
        *,
        process: "dict[str, Any] | None" = None,
        stdin: "int | IO[Any] | None" = None,
        stdout: "int | IO[Any] | None" = None,
        stderr: "int | IO[Any] | None" = None,
        terminal: bool = False,
        user: "tuple[int, int | None] | None" = None,
        additional_gids: "Iterable[int]" = (),
        cwd: "str | None" = None,
        env: "Iterable[str]" = (),
        capabilities: "Iterable[str]" = (),
        no_new_privileges: "bool | None" = None,
        apparmor: "str | None" = None,
        label: "str | None" = None,
        pid_file: "str | os.PathLike[str] | None" = None,
        preserve_fds: int = 0,
        console_socket: "str | os.PathLike[str] | None" = None,
        pidfd_socket: "str | os.PathLike[str] | None" = None,
        cgroups: "dict[str, str] | None" = None,
        ignore_paused: bool = False,
        detach: bool = False,
    ) -> Process:
        """Run a second process in the container; returns when it has become its program.

        Args:
            args: the program and its arguments; everything else is as config.json has it for the
                first process, but for what is said here. Or else:
            process: all of it, as `process` of config.json
            stdin, stdout, stderr: as for `Runtime.create`
            terminal: give it one: `Process.terminal`
            user: its uid and gid; the gid None leaves config.json's
            additional_gids, env, capabilities: more of those
            cwd, no_new_privileges, apparmor, label: instead of config.json's
            pid_file, preserve_fds, console_socket, detach: as for `Runtime.create`
            pidfd_socket: a UNIX socket that gets a pidfd of it
            cgroups: cgroups that exist below the container's own, to be in: relative paths by
                controller, on cgroup v2 by ``""``
            ignore_paused: also where the container is paused; then this waits until it is resumed

        Raises:
            NotFound: there is no such container
            WrongState: it has stopped, or is paused
            ConfigError: the process is wrong
            StepError: a step failed; nothing of it is left
        """
        from libcontainer_py.namespaces.clone import may_clone
        from libcontainer_py.namespaces.execin import ExecOptions, exec_in
        from libcontainer_py.spec import process as processes

        if process is None:
            process = processes.of_bundle(
                self._directory.read()["bundle"],
                args or [],
                terminal=terminal,
                user=user,
                additional_gids=additional_gids,
                cwd=cwd,
                env=env,
                capabilities=capabilities,
                no_new_privileges=no_new_privileges,
                apparmor=apparmor,
                label=label,
            )
        self.warnings += processes.check(process)
        streams = _Streams(stdin, stdout, stderr)
        try:
            options = ExecOptions(
                stdio=streams.childs,
                preserve_fds=preserve_fds,
                pid_file=None if pid_file is None else _absolute(pid_file),
                console_socket=None if console_socket is None else _absolute(console_socket),
                pidfd_socket=None if pidfd_socket is None else _absolute(pidfd_socket),
                detach=detach,
                ignore_paused=ignore_paused,
                cgroups=cgroups,
            )
            arguments = (self._directory.root, self.id, process, options)
            if may_clone():
                created = exec_in(*arguments)
            else:
                from libcontainer_py.namespaces import launcher

                created = launcher.launch_in(*arguments)
        except BaseException:
            streams.close_ours()
            raise
        finally:
            streams.close_childs()
        self.warnings += created.warnings
        executed = _process(created, streams)
        self._executed = [each for each in self._executed if each.returncode is None]
        self._executed.append(executed)
        return executed

    def kill(self, signal: int = 15, *, all: bool = False) -> None:
        """Send a signal to the container's first process.

        Where it has no pid namespace of its own, SIGKILL goes to every process in its cgroups.

        Args:
            signal: its number
            all: to every process in its cgroups; that there is none is no error then

        Raises:
            NotFound: there is no such container
            WrongState: it is neither created nor running
        """
        record = self._directory.read()
        if not record["pid"]:
            # The cgroups that it names may be another's yet.
            if all:
                return
            raise WrongState("container not running")
        if all:
            self._kill_all(record, signal)
            return
        status = states.status(record)
        if signal == _SIGKILL and self._shares_pids(record):
            self._kill_shared(record, status == STOPPED)
            return
        if status == STOPPED:
            raise WrongState("container not running")
        pidfd = self._pidfd(record)
        try:
            _signal.pidfd_send_signal(pidfd, signal)
        except ProcessLookupError:
            raise WrongState("container not running") from None
        except OSError as error:
            raise StepError("kill", error.errno or 0, f"signal {signal}") from None
        finally:
            posix.close(pidfd)
        if signal == _SIGKILL and _may_be_frozen(record):
            # On cgroup v1 the frozen don't die; and all that is inside ends with the first process.
            from libcontainer_py.cgroups import manager

            manager.load(record["cgroups"]).kill()

    @staticmethod
    def _shares_pids(record: "dict[str, Any]") -> bool:
        return not record["pid_namespace"] and record["cgroups"]["driver"] != "disabled"

    @staticmethod
    def _kill_shared(record: "dict[str, Any]", stopped: bool) -> None:
        """Kill all, in a pid namespace that others use: there they outlive the first process."""
        from libcontainer_py.cgroups import manager

        cgroups = manager.load(record["cgroups"])
        if stopped and not cgroups.pids(all=True):
            raise WrongState("container not running")
        cgroups.kill()

    def _kill_all(self, record: "dict[str, Any]", signal: int) -> None:
        from libcontainer_py.cgroups import manager

        cgroups = manager.load(record["cgroups"])
        if not cgroups.pids(all=True):
            return
        if signal == _SIGKILL:
            cgroups.kill()
        else:
            _signal_all(cgroups, signal)

    def _pidfd(self, record: "dict[str, Any]") -> int:
        """A pidfd of the first process: proved to be it, not a later one with its number."""
        try:
            pidfd = posix.pidfd_open(record["pid"])
        except ProcessLookupError:
            raise WrongState("container not running") from None
        if states.start_time(record["pid"]) != record["start"]:
            posix.close(pidfd)
            raise WrongState("container not running")
        return pidfd

    def pids(self) -> "list[int]":
        """List all its processes, by their ids in the caller's pid namespace; none if it has ended.

        Raises:
            NotFound: there is no such container
            StepError: it has no cgroups, so nobody knows
        """
        from libcontainer_py.cgroups import manager

        record = self._directory.read()
        return manager.load(record["cgroups"]).pids(all=True) if record["pid"] else []

    def pause(self) -> None:
        """Stop all its processes where they are, until `resume`.

        Raises:
            NotFound: there is no such container
            WrongState: it is neither created nor running
            StepError: it has no cgroups, or its processes were not all stopped in two seconds (then
                all of them go on)
        """
        from libcontainer_py.cgroups import manager

        # Under the lock, so that no `start` waits for one that was stopped under its hands.
        self._lock_to_change()
        try:
            record = self._directory.read()
            if states.status(record) not in (CREATED, RUNNING):
                raise WrongState("container not running")
            manager.load(record["cgroups"]).freeze()
        finally:
            self._directory.unlock()

    def resume(self) -> None:
        """Let the processes of a paused container go on.

        Raises:
            NotFound: there is no such container
            WrongState: it is not paused, or a cgroup above its own is
        """
        from libcontainer_py.cgroups import manager

        # Without the lock: whoever has it may wait for what is paused.
        record = self._directory.read()
        if not states.frozen(record):
            raise WrongState("container not paused")
        cgroups = manager.load(record["cgroups"])
        if not cgroups.frozen():
            raise WrongState("container not paused: a cgroup above its own is frozen")
        cgroups.thaw()

    def update(self, resources: "dict[str, Any] | Resources") -> None:
        """Change its limits: those that are given, and no others.

        Args:
            resources: as `linux.resources` of config.json, as a dict or as an object of
                `libcontainer_py.spec.model`; -1 is no limit

        Raises:
            NotFound: there is no such container
            WrongState: it has stopped
            ConfigError: `resources` is not valid, or impossible here; nothing was changed
            StepError: the kernel refused one; those that were changed are as before
        """
        from libcontainer_py.cgroups import manager
        from libcontainer_py.update import check

        given = resources if isinstance(resources, dict) else _plain(resources)
        self._lock_to_change()
        try:
            record = self._directory.read()
            if states.status(record) == STOPPED:
                raise WrongState("container not running")
            new, warnings = check(given)
            self.warnings += warnings
            manager.load(record["cgroups"]).update(new)
        finally:
            self._directory.unlock()

    def _lock_to_change(self) -> None:
        if not self._directory.lock_within(_KILL_SECONDS):
            raise self._busy()

    def _busy(self) -> Error:
        return Error(f"container {self.id}: another command is still at work on it")

    def stats(self) -> "dict[str, Any]":
        """What it uses: processor, memory, processes, block devices, large pages; and pressure.

        Returns:
            the ``data`` of what ``runc events --stats`` prints; times in nanoseconds, sizes in
            bytes; what is 0 may be left out, and without cgroups that is all

        Raises:
            NotFound: there is no such container
            WrongState: it has stopped
        """
        from libcontainer_py.cgroups import manager
        from libcontainer_py.events import stats_of

        record = self._directory.read()
        self._refuse_stopped(record)
        return stats_of(manager.load(record["cgroups"]))

    def _refuse_stopped(self, record: "dict[str, Any]") -> None:
        if states.status(record) == STOPPED:
            raise WrongState(f"container with id {self.id} is not running")

    def events(self, interval: "float | None" = None) -> "Iterator[dict[str, Any]]":
        """Wait for what happens to its resources; ends when the container does.

        Args:
            interval: seconds between two statistics; None: there are none

        Returns:
            an iterator of events, each with ``type`` and ``id``: ``oom`` for each time that the
            kernel found no memory for it, ``stats`` with its `stats` as ``data``

        Raises:
            NotFound: there is no such container
            WrongState: it has stopped
            ConfigError: the interval is not above 0
            StepError: it has no cgroups, or none for memory
        """
        if interval is not None and not interval > 0:
            raise ConfigError("duration interval must be greater than 0")
        record = self._directory.read()
        self._refuse_stopped(record)
        return self._events(record, interval)

    def _events(
        self, record: "dict[str, Any]", interval: "float | None"
    ) -> "Iterator[dict[str, Any]]":
        from libcontainer_py.cgroups import manager
        from libcontainer_py.events import watch

        try:
            pidfd = self._pidfd(record)
        except WrongState:
            return
        try:
            yield from watch(self.id, manager.load(record["cgroups"]), pidfd, interval)
        finally:
            posix.close(pidfd)

    def delete(self, *, force: bool = False) -> None:
        """Remove the container, its cgroups and its state.

        A created one is killed. A running one is, too, with `force`; and then one that does not
        exist is no error.

        Raises:
            NotFound: there is no such container
            WrongState: it is running
        """
        directory = self._directory
        try:
            self._lock_to_delete(force)
        except NotFound:
            # `create` says that it exists: so it must go.
            if force or directory.remove_empty():
                return
            raise
        try:
            record = self._record_to_delete(force)
            if record is not None:
                status = states.status(record)
                if not force and status not in (STOPPED, CREATED):
                    raise WrongState(
                        f"cannot delete container {self.id} that is not stopped: {status}"
                    )
                self._end(record, status, force)
                if record["hooks"].get("poststop"):
                    from libcontainer_py.hooks import run_poststop

                    self.warnings += run_poststop(record)
            else:
                self._end_without_record()
            directory.remove()
        finally:
            directory.unlock()

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
                    self._kill_first(record)
                else:
                    self._kill_in_cgroups()  # `create` waits for it: it may be stopped in there
            except Error:
                pass  # there is no record yet, or a damaged one
            if not directory.lock_within(_KILL_SECONDS):
                raise self._busy()

    def _record_to_delete(self, force: bool) -> "dict[str, Any] | None":
        """The record; None where there is none, though the lock was: a `create` was killed."""
        try:
            return self._directory.read()
        except NotFound:
            return None
        except Error:
            if force:
                return None
            raise

    def _end_without_record(self) -> None:
        """Kill and remove what `create` has left behind, or what a damaged record was about."""
        from libcontainer_py.cgroups import manager

        self._kill_waiting()
        state = self._directory.read_cgroups()
        if state is not None:
            cgroups = manager.load(state)
            cgroups.kill()
            cgroups.remove()

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
            if self._directory.read_cgroups() is not None:
                cgroups.kill()  # what its hooks have started can outlive it
            elif cgroups.paths and cgroups.pids(all=True):
                return  # another container's, whose name `create` was about to refuse
        elif status == PAUSED:
            cgroups.kill()  # the first process alone would not die
        elif status != STOPPED:
            self._kill_first(record, cgroups)
        if record["pid"] and (force or not record["pid_namespace"] or status != STOPPED):
            # Without a pid namespace of its own, the others outlive the first process. And with
            # one, somebody of the host's can be in its cgroups: they would not go.
            cgroups.kill()
        if self.process is not None and self.process.pid == record["pid"]:
            try:
                self.process.poll()  # reap it: it is our child
            except ChildProcessError:
                pass
        cgroups.remove()

    def _ends_within(self, pidfd: int, seconds: float) -> bool:
        """Wait for the end of the first process, and meanwhile reap what `exec` has made: the first
        of a pid namespace can't end before that.
        """
        from libcontainer_py.linux.wait import wait_for_end

        for executed in self._executed:
            try:
                if executed.fileno() >= 0 and executed.poll() is None:
                    wait_for_end(executed.fileno(), seconds)
                    executed.poll()
            except ChildProcessError:
                continue  # somebody else has reaped it
        return wait_for_end(pidfd, seconds)

    def _kill_first(self, record: "dict[str, Any]", cgroups: "Cgroups | None" = None) -> None:
        try:
            pidfd = self._pidfd(record)
        except WrongState:
            return
        try:
            _signal.pidfd_send_signal(pidfd, _SIGKILL)
            if cgroups is not None and not self._ends_within(pidfd, _FROZEN_SECONDS):
                # It is frozen, or waits as the first of its pid namespace for one that is: on
                # cgroup v1 the frozen don't die. A container can do that to itself.
                cgroups.kill()
            if not self._ends_within(pidfd, _KILL_SECONDS):
                raise Error(
                    f"container {self.id}: process {record['pid']} is still there"
                    f" {_KILL_SECONDS:.0f} s after SIGKILL"
                )
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
        except FileNotFoundError:
            return
        for name in posix.listdir("/proc"):
            if name.isdecimal() and _holds(name, path):
                pid = int(name)
                self._kill_first({"pid": pid, "start": states.start_time(pid)})


class Runtime:
    """Creates containers and finds them again: the state below one directory.

    Args:
        root: the directory; ``/run/lcpy``, or ``$XDG_RUNTIME_DIR/lcpy`` when not root
        systemd_cgroup: let systemd make the cgroups of new containers, as scopes; their
            `cgroupsPath` is ``slice:prefix:name`` then
        systemd_properties: let annotations ``org.systemd.property.NAME`` of config.json set any
            property of these scopes, and not only harmless ones
    """

    __slots__ = ("root", "systemd_cgroup", "systemd_properties")

    def __init__(
        self,
        root: "str | os.PathLike[str] | None" = None,
        *,
        systemd_cgroup: bool = False,
        systemd_properties: bool = False,
    ) -> None:
        self.root = states.default_root() if root is None else _absolute(root)
        self.systemd_cgroup = systemd_cgroup
        self.systemd_properties = systemd_properties

    def create(
        self,
        container_id: str,
        bundle: "str | os.PathLike[str]" = ".",
        *,
        stdin: "int | IO[Any] | None" = None,
        stdout: "int | IO[Any] | None" = None,
        stderr: "int | IO[Any] | None" = None,
        pid_file: "str | os.PathLike[str] | None" = None,
        listen_fds: int = 0,
        preserve_fds: int = 0,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        console_socket: "str | os.PathLike[str] | None" = None,
        pidfd_socket: "str | os.PathLike[str] | None" = None,
        detach: bool = False,
    ) -> Container:
        """Create a container from a bundle: everything is set up, its program waits for `start`.

        Args:
            container_id: 1 to 255 of ``[A-Za-z0-9_+.-]``, not taken
            bundle: the directory with config.json
            stdin, stdout, stderr: a descriptor, a file, PIPE, DEVNULL, or None for the caller's own
            pid_file: a file to write the process id to
            listen_fds: pass so many descriptors from 3 on as sockets to listen on, and say so as
                sd_listen_fds(3) wants it
            preserve_fds: pass so many descriptors on, from 3 (and those of listen_fds) on
            no_pivot: move the root instead of pivot_root(2)
            no_new_keyring: leave the container in the caller's session keyring
            console_socket: a UNIX socket that gets the master of the terminal, where config.json
                asks for one; None: it is `Process.terminal`
            pidfd_socket: a UNIX socket that gets a pidfd of the first process
            detach: this program won't stay, so that a terminal needs a `console_socket`

        Raises:
            ConfigError: config.json or the id is wrong
            Exists: the id is taken
            StepError: a step failed; nothing is left behind
        """
        from libcontainer_py.namespaces.clone import may_clone
        from libcontainer_py.namespaces.exec import Options, exec_

        directory = StateDir(self.root, container_id)
        streams = _Streams(stdin, stdout, stderr)
        try:
            options = Options(
                stdio=streams.childs,
                listen_fds=listen_fds,
                preserve_fds=preserve_fds,
                pid_file=None if pid_file is None else _absolute(pid_file),
                no_pivot=no_pivot,
                no_new_keyring=no_new_keyring,
                console_socket=None if console_socket is None else _absolute(console_socket),
                pidfd_socket=None if pidfd_socket is None else _absolute(pidfd_socket),
                detach=detach,
                systemd_cgroup=self.systemd_cgroup,
                systemd_properties=self.systemd_properties,
            )
            arguments = (self.root, container_id, _absolute(bundle), options)
            if may_clone():
                created = exec_(*arguments)
            else:
                from libcontainer_py.namespaces import launcher

                created = launcher.launch(*arguments)
        except BaseException:
            streams.close_ours()
            raise
        finally:
            streams.close_childs()
        container = Container(directory, _process(created, streams))
        container.warnings = created.warnings
        return container

    def run(
        self, container_id: str, bundle: "str | os.PathLike[str]" = ".", **options: "Any"
    ) -> Container:
        """Create a container and start it; it is deleted again where it can't be started.

        Takes and raises what `create` and `Container.start` do.
        """
        container = self.create(container_id, bundle, **options)
        try:
            container.start()
        except BaseException:
            container.delete(force=True)
            if container.process is not None:
                container.process.close()
            raise
        return container

    def get(self, container_id: str) -> Container:
        """Find a container.

        Raises:
            NotFound: there is none of that id
            ConfigError: it is no id
        """
        directory = StateDir(self.root, container_id)
        directory.read()
        return Container(directory)

    def list(self) -> "list[Container]":
        """All containers below the root directory, in the order of their ids.

        Also those without a good record, whose `state` raises: their ids are taken, and
        `delete(force=True)` sets them free.
        """
        try:
            names = sorted(posix.listdir(self.root))
        except FileNotFoundError:
            return []
        containers = []
        for name in names:
            try:
                directory = StateDir(self.root, name)
                posix.stat(directory.file("lock"))  # the first that each has, and the last
            except (ConfigError, FileNotFoundError, NotADirectoryError):
                continue
            containers.append(Container(directory))
        return containers


class _Streams:
    """The standard streams of a new container: its ends, and ours."""

    __slots__ = ("_close", "_ours", "childs")

    def __init__(self, *wanted: "int | IO[Any] | None") -> None:
        self._close: list[int] = []
        self._ours = [-1, -1, -1]
        ends = []
        for target, stream in enumerate(wanted):
            if stream is None:
                ends.append(target)
            elif stream == PIPE:
                read, write = posix.pipe()
                theirs, self._ours[target] = (read, write) if target == 0 else (write, read)
                self._close.append(theirs)
                ends.append(theirs)
            elif stream == DEVNULL:
                null = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
                self._close.append(null)
                ends.append(null)
            else:
                ends.append(stream if isinstance(stream, int) else stream.fileno())
        self.childs = (ends[0], ends[1], ends[2])

    def close_childs(self) -> None:
        for fd in self._close:
            posix.close(fd)
        self._close = []

    def close_ours(self) -> None:
        for fd in self._ours:
            if fd >= 0:
                posix.close(fd)

    def files(self) -> "list[IO[bytes] | None]":
        modes = ("wb", "rb", "rb")
        return [
            open(fd, mode, buffering=0) if fd >= 0 else None
            for fd, mode in zip(self._ours, modes, strict=True)
        ]


def _process(created: "Created", streams: _Streams) -> Process:
    """Make the object of a process that was made, with our ends of its streams."""
    process = Process(created.pid, created.pidfd)
    process.stdin, process.stdout, process.stderr = streams.files()
    if created.master >= 0:
        process.terminal = created.master
    return process


def _may_be_frozen(record: "dict[str, Any]") -> bool:
    """Is a container frozen, or has it, on cgroup v1, a cgroup inside that it may have frozen?"""
    if states.frozen(record):
        return True
    path = (record["cgroups"].get("paths") or {}).get("freezer")
    try:
        return path is not None and posix.stat(path).st_nlink > 2
    except FileNotFoundError:
        return False


def _signal_all(cgroups: "Cgroups", signal: int) -> None:
    """Send a signal to all processes: stopped meanwhile, so that none is forked unseen."""
    was_frozen = cgroups.frozen()
    try:
        if not was_frozen:
            try:
                cgroups.freeze()
            except StepError:
                was_frozen = True  # all go on; so it is those that are there now
        for pid in cgroups.pids(all=True):
            try:
                posix.kill(pid, signal)
            except ProcessLookupError:
                continue
            except OSError as error:
                raise StepError("kill", error.errno or 0, f"signal {signal}") from None
    finally:
        if not was_frozen:
            cgroups.thaw()


def _plain(resources: "Resources") -> "dict[str, Any]":
    from libcontainer_py.spec.model import Resources

    if not isinstance(resources, Resources):
        raise TypeError(f"resources is a {type(resources).__name__}, not a dict or Resources")
    return resources.to_dict()


def _absolute(path: "str | os.PathLike[str]") -> str:
    text = posix.fspath(path)
    return text if text.startswith("/") else f"{posix.getcwd()}/{text}"


def _holds(pid: str, path: str) -> bool:
    """Has a process this file open? By its name: to look at the file itself could wait for whoever
    serves a file system to a container, maybe for ever.
    """
    directory = f"/proc/{pid}/fd"
    try:
        names = posix.listdir(directory)
    except OSError:
        return False  # it has ended meanwhile
    for name in names:
        try:
            if posix.readlink(f"{directory}/{name}") == path:
                return True
        except OSError:
            continue  # closed meanwhile
    return False


def _start_failed(steps: "list[Any]", failure: bytes) -> StepError:
    """Word the record of a failure that came after READY: a hook's, or the program's."""
    from libcontainer_py.namespaces.loop import position
    from libcontainer_py.syncpipe.records import HOOK_ENDED, START_HOOK, step_at

    place, errno = position(failure)
    name, field, what = step_at(steps, place)
    if name in (START_HOOK, HOOK_ENDED):
        number = str(field).rpartition("[")[2].rstrip("]")
        what = f"error running {START_HOOK} hook #{number}: {shown(what)}"
        if name == START_HOOK:
            return StepError(START_HOOK, errno, what, field=field)
        return StepError(START_HOOK, 0, f"{what}: {_ended(errno)}", field=field)
    return StepError(name, errno, f"exec {shown(what)}", field=field)


def _ended(status: int) -> str:
    """Word a wait status."""
    code = posix.waitstatus_to_exitcode(status)
    return f"signal: {-code}" if code < 0 else f"exit status {code}"


def _seconds(record: "dict[str, Any]") -> "float | None":
    """How long the startContainer hooks may take together; None where one has no timeout."""
    timeouts = [hook.get("timeout") for hook in record["hooks"].get("startContainer") or ()]
    return float(sum(timeouts)) if timeouts and all(timeouts) else None


def _let_go(directory: StateDir, pidfd: int, seconds: "float | None") -> "bytes | None":
    """Give the finish list its byte; return all it says: nothing, `S`, or `S` and a failure.

    None: it took longer than `seconds`.
    """
    import select

    # Opened without blocking: where nobody holds them, the process is gone.
    status = posix.open(
        directory.file("status"), posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
    )
    try:
        try:
            go = posix.open(
                directory.file("go"), posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
            )
        except OSError as error:
            if error.errno == 6:  # ENXIO: no reader
                return b""
            raise
        try:
            posix.write(go, b"\0")
        except BrokenPipeError:
            return b""
        finally:
            posix.close(go)
        poll = select.poll()
        poll.register(status, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        answer = b""
        while True:
            ready = {fd for fd, _events in poll.poll(None if seconds is None else seconds * 1000)}
            if not ready:
                return None
            if status in ready:
                part = posix.read(status, 64)
                answer += part
                # The end of file is the exec (or the end of the process) that closes the FIFO.
                if not part:
                    return answer
            elif pidfd in ready:
                return answer
    finally:
        posix.close(status)
