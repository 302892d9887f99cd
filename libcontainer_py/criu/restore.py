"""A container is made again from a checkpoint: criu makes its processes, we all around them.

It is a birth without a child of ours: criu is put into the container's cgroups and makes the
processes from in there, the first one as a child of our own (`rst_sibling`), with the namespaces,
mounts, credentials and filters that they had.
"""

import posix

from libcontainer_py import state as states
from libcontainer_py.criu import external, images, rpc, worker
from libcontainer_py.criu.cgroup2 import KeptOptions
from libcontainer_py.errors import ConfigError, During, StepError, quoted
from libcontainer_py.hooks import run_poststop, run_runtime_hooks, state_of
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import CLONE_NEWNS, CLONE_NEWTIME, MS_REC, MS_SLAVE
from libcontainer_py.linux.pathnames import real
from libcontainer_py.mount.rootfs import open_rootfs
from libcontainer_py.mount.trees import attach, clone_tree
from libcontainer_py.namespaces import config as configs
from libcontainer_py.namespaces.created import Created
from libcontainer_py.namespaces.helper import reap
from libcontainer_py.namespaces.pidfile import write_pid_file
from libcontainer_py.namespaces.prepare import compile_filter, open_console
from libcontainer_py.state import StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.cgroups.manager import Cgroups
    from libcontainer_py.namespaces.console import Console
    from libcontainer_py.namespaces.init import InitConfig

_LOG = "restore.log"


class RestoreOptions:
    """How a container is to be restored; what each means, `Runtime.restore` says.

    Attributes:
        base: what a new container's are, too
    """

    __slots__ = ("base", "image_path", "manage_cgroups_mode", "switches", "work_path")

    def __init__(
        self,
        image_path: str,
        base: configs.Options,
        *,
        work_path: "str | None" = None,
        manage_cgroups_mode: "str | None" = None,
        **switches: "bool | str | None",
    ) -> None:
        self.image_path = image_path
        self.base = base
        self.work_path = work_path
        self.manage_cgroups_mode = manage_cgroups_mode
        self.switches = switches  # criu's own, under its own names


def restore(root: str, container_id: str, bundle: str, options: RestoreOptions) -> Created:
    """Restore a container.

    Args:
        root: the directory below which the state of all containers lies
        container_id: its name there
        bundle: the directory that holds config.json

    Raises:
        ConfigError: config.json, or the id, is wrong; nothing was done
        Exists: the id is taken
        Error: there is no criu, or it is too old; or this program has threads
        StepError: a step failed, or criu did; everything that was made is gone again
    """
    worker.refuse_threads()
    directory = StateDir(root, container_id)
    bundle = configs.real_bundle(bundle)
    config, warnings = external.load(bundle)
    start = configs.init_config(config, bundle, container_id, options.base)
    cgroups = configs.find_cgroups(config, container_id, options.base)
    program = worker.find()
    worker.check_version(program)
    with During("Restore"):
        directories = images.Images(options.image_path, options.work_path, _LOG, make=False)
    try:
        directory.make()
        try:
            with During("Restore"):
                restoring = _Restoring(start, directory, cgroups, directories, options)
                return restoring.restore(program, warnings + start.warnings)
        except BaseException:
            directory.remove()
            raise
        finally:
            directory.unlock()
    finally:
        directories.close()


class _Restoring:
    """One restore on its way."""

    def __init__(
        self,
        start: "InitConfig",
        directory: StateDir,
        cgroups: "Cgroups",
        directories: "images.Images",
        options: RestoreOptions,
    ) -> None:
        self._config = start.config
        self._linux: dict[str, Any] = start.config.get("linux") or {}
        self._bundle = start.bundle
        self._record = configs.new_record(start, cgroups)
        self._cgroup_owner = configs.cgroup_owner(start)
        self._directory = directory
        self._cgroups = cgroups
        self._directories = directories
        self._options = options
        self._console: Console | None = None
        self._inherited: dict[str, int] = {}  # namespaces that are joined, by criu's name
        self._pid, self._pidfd = 0, -1
        self._rdt: dict[str, Any] | None = None  # from when on there is something to take back

    def restore(self, program: str, warnings: "list[str]") -> Created:
        record = self._record
        compiled = compile_filter(self._linux, self._directory.root)
        if compiled is not None and compiled.notifies():
            raise ConfigError(external.NO_AGENTS, "linux.seccomp")
        record["seccomp"] = compiled is not None
        self._directory.write(record)
        if compiled is not None:
            self._directory.write_filter(compiled.pack())
        base = self._options.base
        self._console = open_console(
            self._config["process"], base.console_socket, detach=base.detach
        )
        try:
            self._open_namespaces()
            self._restore(program)
        finally:
            for fd in self._inherited.values():
                posix.close(fd)
            if self._console is not None:
                self._console.close()
        master = self._console.master if self._console is not None else -1
        return Created(self._pid, self._pidfd, warnings, master)

    def _restore(self, program: str) -> None:
        criu: worker.Worker | None = None
        ours = False  # the cgroups
        resources = self._linux.get("resources") or {}
        try:
            with During("SetupCgroups", "linux.cgroupsPath"):
                self._cgroups.create(resources)
                ours = True
                if self._cgroup_owner:
                    self._cgroups.delegate(self._cgroup_owner)
            if not self._cgroups.made_late:
                self._directory.write_cgroups(self._record)
            criu = worker.Worker(
                program,
                self._options.base.stdio,
                self._directories.paths,
                [*self._inherited.values()],
                self._prepare,
            )
            self._take_in(criu.pid)
            with KeptOptions():
                criu.ask({"type": rpc.RESTORE, "opts": self._asked(criu)}, self._notified)
                if criu.finish() or self._pidfd < 0:
                    raise worker.Failed({})
            with During("SetupCgroups", "linux.resources.memory"):
                # criu's own is gone by now.
                self._cgroups.set_memory(resources)
            write_pid_file(self._options.base.pid_file, self._pid)
        except worker.Failed as error:
            failure = self._directories.failure(error)
            self._undo(criu, ours=ours, error=failure)
            raise failure from None
        except BaseException as error:
            self._undo(criu, ours=ours, error=error)
            raise

    def _take_in(self, pid: int) -> None:
        """Put criu where the processes are to be that it makes."""
        with During("SetupCgroups", "linux.cgroupsPath"):
            if self._cgroups.made_late:
                self._cgroups.adopt(pid)
                self._directory.write_cgroups(self._record)
            else:
                self._cgroups.join(pid)
        if self._record["intel_rdt"] is not None:
            from libcontainer_py.intelrdt import groups

            self._rdt = self._record["intel_rdt"]
            with During("SetupIntelRdt", groups.FIELD):
                groups.enter(self._record["intel_rdt"], self._linux["intelRdt"], pid)
            # What somebody else made before us is no longer named there as ours to remove.
            self._directory.write(self._record)
            self._directory.write_cgroups(self._record)

    def _asked(self, criu: "worker.Worker") -> "dict[str, Any]":
        """What criu is told, as `criu_opts`."""
        options = self._options
        first = worker.Worker.FIRST_INHERITED
        inherited = {name: first + i for i, name in enumerate(self._inherited)}
        for fd, name in enumerate(self._directories.read_descriptors()[:3]):
            if name.startswith("pipe:"):
                inherited[name] = fd
        return {
            **images.common_options(options.manage_cgroups_mode),
            **self._directories.options(),
            **options.switches,
            "root": self._place(),
            "rst_sibling": True,
            # A device of another number is the same, if it is at the same path.
            "evasive_devices": True,
            "ext_mnt": external.at_restore(self._config, self._bundle, self._cgroups),
            "inherit_fd": [{"key": name, "fd": fd} for name, fd in inherited.items()],
            "join_ns": [
                {"ns": kind, "ns_file": path}
                for kind, path, _field in external.joined(self._config)
                if kind not in ("network", "pid")
            ],
            "cg_root": _cgroups_of(criu.pid),
        }

    def _place(self) -> str:
        """Where the root is mounted for criu: it has to be a mount, on one that is not covered.

        A directory that is there already, and of which criu needs nothing: so none is left.
        """
        return real(self._directory.path)

    def _prepare(self) -> None:
        """In criu's process: mount what it needs, in a mount namespace that ends with it."""
        syscalls.unshare(CLONE_NEWNS)
        syscalls.mount(None, "/", None, MS_SLAVE | MS_REC)
        root_fd = open_rootfs(self._record["rootfs"])
        # A copy from before anything is bound in it.
        root = clone_tree(root_fd, "", recursive=True)
        external.make_mountpoints(self._config, self._bundle, root_fd)
        target = posix.open(self._place(), posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
        attach(root, target)

    def _open_namespaces(self) -> None:
        """Open the network and pid namespaces that are joined: they are criu's to inherit."""
        for kind, path, field in external.joined(self._config):
            if kind in ("network", "pid"):
                try:
                    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
                except OSError as error:
                    what = f"open {quoted(path)}"
                    raise StepError(None, error.errno or 0, what, field=field) from None
                self._inherited[external.name_of(kind)] = fd

    def _notified(self, script: str, pid: int, fd: int) -> None:
        """What criu says on its way."""
        if script == "orphan-pts-master" and fd >= 0:
            if self._console is not None:
                self._console.take(fd)
            else:
                posix.close(fd)
        elif script == "setup-namespaces":
            self._pid = pid
            self._run_hooks()
        elif script == "post-restore":
            self._pid = pid
            self._made()

    def _run_hooks(self) -> None:
        state = state_of(self._record, states.CREATING, self._pid)
        run_runtime_hooks(self._config.get("hooks") or {}, state, self._bundle)

    def _made(self) -> None:
        """Its processes are there, and stand still yet: limits, all but memory, and the record."""
        self._pidfd = posix.pidfd_open(self._pid)
        with During("SetupCgroups", "linux.resources"):
            self._cgroups.set(self._linux.get("resources") or {})
        record = self._record
        record["pid"], record["start"] = self._pid, states.start_time(self._pid)
        record["started"] = True
        # criu gives them one of their own, so that their clocks go on from where they stood.
        clocks = [posix.readlink(f"/proc/{each}/ns/time") for each in (self._pid, "self")]
        if clocks[0] != clocks[1]:
            record["namespaces"] |= CLONE_NEWTIME
        self._directory.write(record)

    def _undo(self, criu: "worker.Worker | None", *, ours: bool, error: BaseException) -> None:
        """End all that runs, and remove the cgroups; what could not be done is told, too."""
        try:
            if criu is not None:
                criu.end()
            if ours:
                self._cgroups.kill()
            self._reap()
            if ours:
                self._cgroups.remove()
        except OSError as also:
            error.add_note(f"and not all could be undone: {also}")
        if self._rdt is not None:
            from libcontainer_py.intelrdt import groups

            groups.take_back(self._rdt, error)
        for warning in run_poststop(self._record):
            error.add_note(warning)
        if self._console is not None:
            self._console.close_master()

    def _reap(self) -> None:
        """End the first process, where there is one: it is our child."""
        try:
            if self._pid and self._pidfd < 0:
                self._pidfd = posix.pidfd_open(self._pid)
        except ProcessLookupError:
            return
        if self._pidfd >= 0:
            pidfd, self._pidfd = self._pidfd, -1
            reap(pidfd)


def _cgroups_of(pid: int) -> "list[dict[str, str]]":
    """The cgroups that a process is in (cgroups(7)), by controller: there criu starts from."""
    fd = posix.open(f"/proc/{pid}/cgroup", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        text = posix.read(fd, 1 << 16).decode("utf-8", "surrogateescape")
    finally:
        posix.close(fd)
    found = []
    for line in text.splitlines():
        _number, controllers, path = line.split(":", 2)
        found += [{"ctrl": each, "path": path} for each in controllers.split(",")]
    return found
