"""The face of the library: `Runtime`, `Container`, `Process`.

    from libcontainer_py import Runtime

    with Runtime().create("web", "/bundles/web") as container:   # deleted at the end
        container.start()
        container.process.wait(timeout=30)

Every method but `checkpoint` and `restore` may be called from a program with threads: then the
container is cloned by a fresh interpreter that is started for the call, and is still this program's
own child.
"""

import posix

from libcontainer_py import state as states
from libcontainer_py.errors import ConfigError, WrongState
from libcontainer_py.process import Process, Streams, process_of
from libcontainer_py.state import CREATED, CREATING, RUNNING, STOPPED, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import IO, Any, Self

    from libcontainer_py.spec.model import Resources

_KILL_SECONDS = 10.0


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
        from libcontainer_py import starting

        starting.start(self._directory)

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
            TypeError: there is a `process`, and something that would change it
        """
        from libcontainer_py.namespaces.clone import may_clone
        from libcontainer_py.namespaces.execin import ExecOptions, exec_in
        from libcontainer_py.spec import process as processes

        changes: dict[str, Any] = {
            "terminal": terminal,
            "user": user,
            "additional_gids": additional_gids,
            "cwd": cwd,
            "env": env,
            "capabilities": capabilities,
            "no_new_privileges": no_new_privileges,
            "apparmor": apparmor,
            "label": label,
        }
        if process is None:
            bundle = self._directory.read()["bundle"]
            process = processes.of_bundle(bundle, args or [], **changes)
        elif args is not None or no_new_privileges is not None or any(changes.values()):
            raise TypeError("exec takes a process, or args and what is to be other: not both")
        self.warnings += processes.check(process)
        streams = Streams(stdin, stdout, stderr)
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
        executed = process_of(created, streams)
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
        from libcontainer_py import killing

        killing.kill(self._directory, signal, all=all)

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

    def update(
        self,
        resources: "dict[str, Any] | Resources",
        *,
        intel_rdt: "dict[str, str] | None" = None,
    ) -> None:
        """Change its limits: those that are given, and no others.

        Args:
            resources: as `linux.resources` of config.json, as a dict or as an object of
                `libcontainer_py.spec.model`; -1 is no limit
            intel_rdt: `l3CacheSchema` and `memBwSchema`, as in `linux.intelRdt` of config.json;
                they are changed for all that are in the same class

        Raises:
            NotFound: there is no such container
            WrongState: it has stopped
            ConfigError: `resources` is not valid, or impossible here; nothing was changed
            StepError: the kernel refused one; those that were changed are as before
        """
        from libcontainer_py import update

        given = resources if isinstance(resources, dict) else _plain(resources)
        self._lock_to_change()
        try:
            record = self._directory.read()
            if states.status(record) == STOPPED:
                raise WrongState("container not running")
            new, warnings = update.check(given)
            self.warnings += warnings
            update.change(record, new, intel_rdt or {})
        finally:
            self._directory.unlock()

    def _lock_to_change(self) -> None:
        if not self._directory.lock_within(_KILL_SECONDS):
            raise self._directory.busy()

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
        return stats_of(manager.load(record["cgroups"]), record.get("intel_rdt"))

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
            pidfd = states.pidfd(record)
        except WrongState:
            return
        try:
            cgroups = manager.load(record["cgroups"])
            yield from watch(self.id, cgroups, record.get("intel_rdt"), pidfd, interval)
        finally:
            posix.close(pidfd)

    def checkpoint(
        self,
        image_path: "str | os.PathLike[str]",
        *,
        work_path: "str | os.PathLike[str] | None" = None,
        parent_path: "str | None" = None,
        leave_running: bool = False,
        pre_dump: bool = False,
        tcp_established: bool = False,
        tcp_skip_in_flight: bool = False,
        ext_unix_sk: bool = False,
        shell_job: bool = False,
        file_locks: bool = False,
        link_remap: bool = False,
        auto_dedup: bool = False,
        manage_cgroups_mode: "str | None" = None,
        lazy_pages: bool = False,
        page_server: "tuple[str, int] | None" = None,
        status_fd: "int | None" = None,
    ) -> None:
        """Write it down, with all its processes, for `Runtime.restore`, and delete it.

        By the program criu, whose options those are that are not explained here.

        Args:
            image_path: the directory for that, made if it is not there
            work_path: a directory for criu's log and other files, instead of that
            parent_path: of what `pre_dump` has written before, relative to `image_path`
            leave_running: let it go on, and do not delete it
            pre_dump: write down its memory alone, and let it go on
            manage_cgroups_mode: ``soft`` (as is None), ``full``, ``strict`` or ``ignore``
            lazy_pages: keep its memory, for a criu to fetch it from `page_server`, and return when
                that has
            page_server: the address and port of criu's page server
            status_fd: a descriptor that gets a zero byte, and is closed, when the server is ready

        Raises:
            NotFound: there is no such container
            WrongState: it does not run
            Error: there is no criu, or it is too old; or this program has threads
            StepError: criu could not; it goes on
        """
        from libcontainer_py.criu.checkpoint import CheckpointOptions, checkpoint

        options = CheckpointOptions(
            _absolute(image_path),
            work_path=None if work_path is None else _absolute(work_path),
            parent_path=parent_path,
            leave_running=leave_running,
            pre_dump=pre_dump,
            manage_cgroups_mode=manage_cgroups_mode,
            page_server=page_server,
            status_fd=status_fd,
            tcp_established=tcp_established,
            tcp_skip_in_flight=tcp_skip_in_flight,
            ext_unix_sk=ext_unix_sk,
            shell_job=shell_job,
            file_locks=file_locks,
            link_remap=link_remap,
            auto_dedup=auto_dedup,
            lazy_pages=lazy_pages,
        )
        checkpoint(self._directory, options)
        if not leave_running and not pre_dump:
            self.delete(force=True)

    def delete(self, *, force: bool = False) -> None:
        """Remove the container, its cgroups and its state.

        A created one is killed. A running one is, too, with `force`; and then one that does not
        exist is no error.

        Raises:
            NotFound: there is no such container
            WrongState: it is running
        """
        from libcontainer_py.deleting import Deletion

        own = list(self._executed)
        if self.process is not None:
            own.append(self.process)
        self.warnings += Deletion(self._directory, own).delete(force=force)


class Runtime:
    """Creates containers and finds them again: the state below one directory.

    Args:
        root: the directory; ``/run/lcpy``, or ``$XDG_RUNTIME_DIR/lcpy`` for who is not root, or
            root of a user namespace alone
        systemd_cgroup: let systemd make the cgroups of new containers, as scopes; their
            `cgroupsPath` is ``slice:prefix:name`` then
        systemd_properties: let annotations ``org.systemd.property.NAME`` of config.json set any
            property of these scopes, and not only harmless ones
        rootless: where cgroups may not be made, and no limit and no `cgroupsPath` is asked for, do
            without. True is also without rules for devices, where there is no user namespace to
            hold root back; False is never; None is without where nothing is lost by it. What
            systemd makes, it does not concern
    """

    __slots__ = ("root", "rootless", "systemd_cgroup", "systemd_properties")

    def __init__(
        self,
        root: "str | os.PathLike[str] | None" = None,
        *,
        systemd_cgroup: bool = False,
        systemd_properties: bool = False,
        rootless: "bool | None" = None,
    ) -> None:
        self.rootless = rootless
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
        notify: bool = False,
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
            notify: give it `$NOTIFY_SOCKET`: a socket in the directory ``notify`` of its state,
                which the caller makes before `start` (sd_notify(3))
            detach: this program won't stay, so that a terminal needs a `console_socket`

        Raises:
            ConfigError: config.json or the id is wrong
            Exists: the id is taken
            StepError: a step failed; nothing is left behind
        """
        from libcontainer_py.namespaces.clone import may_clone
        from libcontainer_py.namespaces.config import Options
        from libcontainer_py.namespaces.exec import exec_

        directory = StateDir(self.root, container_id)
        streams = Streams(stdin, stdout, stderr)
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
                notify=notify,
                detach=detach,
                rootless=self.rootless,
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
        container = Container(directory, process_of(created, streams))
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

    def restore(
        self,
        container_id: str,
        bundle: "str | os.PathLike[str]" = ".",
        *,
        image_path: "str | os.PathLike[str]",
        work_path: "str | os.PathLike[str] | None" = None,
        stdin: "int | IO[Any] | None" = None,
        stdout: "int | IO[Any] | None" = None,
        stderr: "int | IO[Any] | None" = None,
        pid_file: "str | os.PathLike[str] | None" = None,
        console_socket: "str | os.PathLike[str] | None" = None,
        detach: bool = False,
        tcp_established: bool = False,
        ext_unix_sk: bool = False,
        shell_job: bool = False,
        file_locks: bool = False,
        auto_dedup: bool = False,
        manage_cgroups_mode: "str | None" = None,
        lazy_pages: bool = False,
        lsm_profile: "str | None" = None,
        lsm_mount_context: "str | None" = None,
    ) -> Container:
        """Create a container from what `Container.checkpoint` has written: it runs at once.

        By the program criu, whose options those are that are not explained here.

        Args:
            container_id, bundle, pid_file, console_socket, detach: as for `create`
            image_path: the directory that `Container.checkpoint` has written to
            work_path: a directory for criu's log and other files, instead of that
            stdin, stdout, stderr: as for `create`; only where pipes have been, others are now
            manage_cgroups_mode: as for `Container.checkpoint`

        Raises:
            ConfigError: config.json or the id is wrong
            Exists: the id is taken
            Error: there is no criu, or it is too old; or this program has threads
            StepError: a step failed, or criu did; nothing is left behind
        """
        from libcontainer_py.criu.restore import RestoreOptions, restore
        from libcontainer_py.namespaces.config import Options

        streams = Streams(stdin, stdout, stderr)
        try:
            options = RestoreOptions(
                _absolute(image_path),
                Options(
                    stdio=streams.childs,
                    pid_file=None if pid_file is None else _absolute(pid_file),
                    console_socket=None if console_socket is None else _absolute(console_socket),
                    detach=detach,
                    rootless=self.rootless,
                    systemd_cgroup=self.systemd_cgroup,
                    systemd_properties=self.systemd_properties,
                ),
                work_path=None if work_path is None else _absolute(work_path),
                manage_cgroups_mode=manage_cgroups_mode,
                tcp_established=tcp_established,
                ext_unix_sk=ext_unix_sk,
                shell_job=shell_job,
                file_locks=file_locks,
                auto_dedup=auto_dedup,
                lazy_pages=lazy_pages,
                lsm_profile=lsm_profile,
                lsm_mount_context=lsm_mount_context,
            )
            created = restore(self.root, container_id, _absolute(bundle), options)
        except BaseException:
            streams.close_ours()
            raise
        finally:
            streams.close_childs()
        container = Container(StateDir(self.root, container_id), process_of(created, streams))
        container.warnings = created.warnings
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


def _plain(resources: "Resources") -> "dict[str, Any]":
    from libcontainer_py.spec.model import Resources

    if not isinstance(resources, Resources):
        raise TypeError(f"resources is a {type(resources).__name__}, not a dict or Resources")
    return resources.to_dict()


def _absolute(path: "str | os.PathLike[str]") -> str:
    text = posix.fspath(path)
    return text if text.startswith("/") else f"{posix.getcwd()}/{text}"
