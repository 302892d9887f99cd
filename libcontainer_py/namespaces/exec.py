"""The parent's side: from a bundle to a process that waits for `start`.

`exec_` is libcontainer's namespaces/exec.go: the eight steps of a container's birth in their
order. Whatever isn't READY at its end undoes everything.
"""

import posix

from libcontainer_py import state as states
from libcontainer_py.errors import During, StepError
from libcontainer_py.hooks import (
    in_memory,
    memory_file,
    run_hooks,
    run_poststop,
    run_runtime_hooks,
    state_of,
    write_sealed,
)
from libcontainer_py.linux.flags import (
    CLONE_NEWNET,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
)
from libcontainer_py.namespaces import config as configs
from libcontainer_py.namespaces.child import Child
from libcontainer_py.namespaces.clone import clone, refuse_threads
from libcontainer_py.namespaces.created import Created
from libcontainer_py.namespaces.init import InitConfig, init
from libcontainer_py.namespaces.limit import limit_process, schedule_process
from libcontainer_py.namespaces.pidfile import write_pid_file
from libcontainer_py.namespaces.prepare import (
    compile_filter,
    find_agent,
    may_set_groups,
    open_console,
    open_procfs,
)
from libcontainer_py.namespaces.sendfd import pidfd_socket, send_pidfd
from libcontainer_py.namespaces.step import Step
from libcontainer_py.spec import load
from libcontainer_py.state import StateDir
from libcontainer_py.syncpipe.pipe import new_sync_pipe
from libcontainer_py.syncpipe.records import START

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.cgroups.manager import Cgroups
    from libcontainer_py.namespaces.config import Options
    from libcontainer_py.namespaces.helper import Serving
    from libcontainer_py.namespaces.listener import Listener
    from libcontainer_py.namespaces.sendfd import FdSocket
    from libcontainer_py.network.netdevices import NetDevices


def exec_(root: str, container_id: str, bundle: str, options: "Options") -> Created:
    """Create a container from a bundle. It waits, privileges dropped, for `start`.

    Args:
        root: the directory below which the state of all containers lies
        container_id: its name there
        bundle: the directory that holds config.json

    Raises:
        ConfigError: config.json, or the id, is wrong; nothing was done
        Exists: the id is taken
        StepError: a step failed; everything that was made is gone again
    """
    # 1. Load and validate; leave a record before there is anything to forget.
    directory = StateDir(root, container_id)
    bundle = configs.real_bundle(bundle)
    config, warnings = load.load(bundle)
    if options.notify:
        configs.add_notify_socket(config, directory.file("notify"))
    start = configs.init_config(config, bundle, container_id, options)
    start.warnings = warnings + start.warnings
    cgroups = configs.find_cgroups(config, container_id, options)
    refuse_threads()
    directory.make()
    watcher = None
    try:
        if options.notify:
            directory.make_notify()
        configs.find_namespaces(start)
        start.procfs = open_procfs(start)
        record = configs.new_record(start, cgroups)
        directory.write(record)
        start.filter = compile_filter(start.linux(), root)
        record["seccomp"] = start.filter is not None
        if start.filter is not None:
            record["seccomp_agent"] = find_agent(start.filter, start.linux()["seccomp"], bundle)
            directory.write_filter(start.filter.pack())
        # Who takes the terminal must be there before anything is made for it.
        start.console = open_console(start.process, options.console_socket, detach=options.detach)
        watcher = pidfd_socket(options.pidfd_socket)
        birth = _Birth(record, start, cgroups, directory, watcher, options)
        try:
            # 2. The sync pipe is there; the child inherits its end, and both FIFOs of `start`.
            birth.make_fifos()
            # 3. and 4. Clone the child, into its cgroups.
            birth.make_cgroups()
            birth.clone()
            birth.enter_what_is_made_late()
            # 5. The maps of its user namespace; network devices; and it may go on.
            identity = birth.write_maps()
            birth.move_devices()
            birth.send_to_child(identity)
            # 6. Its mounts are made: limits, all but memory; hooks.
            birth.wait_for_mounts()
            birth.set_limits_and_run_hooks()
            birth.take_console()
            # 7. Python's work is over: limits that would have hindered it.
            finish = birth.wait_for_finish()
            birth.limit_and_let_go(finish)
            # 8. READY, or what went wrong.
            return birth.read_from_child(finish)
        except BaseException as error:
            birth.undo(error)
            raise
        finally:
            birth.close()
    except BaseException:
        directory.remove()
        raise
    finally:
        if start.console is not None:
            start.console.close()
        if watcher is not None:
            watcher.close()
        for join in start.joins:
            posix.close(join.fd)
        if start.procfs >= 0:
            posix.close(start.procfs)
        directory.unlock()


class _Birth:
    """A container on its way: its steps, in their order, and what undoes them."""

    __slots__ = (
        "_cgroups",
        "_cgroups_are_ours",
        "_child",
        "_childs_end",
        "_devices",
        "_directory",
        "_listener",
        "_options",
        "_pipe",
        "_rdt",
        "_record",
        "_serving",
        "_start",
        "_step",
        "_watcher",
    )

    def __init__(
        self,
        record: "dict[str, Any]",
        start: InitConfig,
        cgroups: "Cgroups",
        directory: StateDir,
        watcher: "FdSocket | None",
        options: "Options",
    ) -> None:
        self._record = record
        self._start = start
        self._cgroups = cgroups
        self._directory = directory
        self._watcher = watcher
        self._options = options
        self._pipe, self._childs_end = new_sync_pipe()
        self._step = Step()
        self._child = Child(self._pipe, cgroups, step=self._step)
        start.go = start.status = start.hook_state = -1
        self._serving: Serving | None = None
        self._devices: NetDevices | None = None
        self._listener: Listener | None = None
        # A cgroup whose name is in use already is another container's.
        self._cgroups_are_ours = False
        self._rdt: dict[str, Any] | None = None  # from when on there is something to take back

    # ── 2. to 4. ────────────────────────────────────────────────────────────────────────────────

    def make_fifos(self) -> None:
        """Make the FIFOs of `start`, and the file of the state that the list's hooks read."""
        start = self._start
        start.go = _make_fifo(self._directory.file("go"))
        start.status = _make_fifo(self._directory.file("status"))
        if start.enters_pid_namespace and start.hooks().get("startContainer"):
            start.hook_state = memory_file()

    def make_cgroups(self) -> None:
        """Make the cgroups, and what leads into them.

        Into the unified one that is the clone; into the others, doors that are held open for the
        child, who goes through them the first thing it does.
        """
        start, cgroups = self._start, self._cgroups
        with During("SetupCgroups", "linux.cgroupsPath"):
            cgroups.create(start.resources())
            self._cgroups_are_ours = True
            owner = configs.cgroup_owner(start)
            if owner:
                cgroups.delegate(owner)
            start.cgroup_mounts = cgroups.mounts()
            start.entrance = cgroups.entrance()

    def clone(self) -> None:
        """Clone the child; where there is something to join, the joiner, which clones it."""
        start, child = self._start, self._child
        try:
            if not self._cgroups.made_late:
                self._directory.write_cgroups(self._record)
            self._clone()
        finally:
            start.entrance.close()
        self._childs_end.close()
        if start.enters_pid_namespace:
            child.hear("entered")  # all but pid; it clones nothing yet
        elif start.joiner is not None:
            child.hear_cloned()
            self._tell_of_clone()

    def _clone(self) -> None:
        start, options = self._start, self._options
        flags = start.namespaces & ~start.made_late()
        if start.joins or start.namespaces & CLONE_NEWTIME:
            from libcontainer_py.namespaces import joiner

            start.joiner, flags = joiner.enter_namespaces, 0
        before = _working_directory()
        try:
            # It inherits the bundle as its working directory, which relative sources of bind mounts
            # and the hooks are told of: root of a user namespace may be barred from going there.
            posix.chdir(start.bundle)
            with During("clone", "linux.namespaces"):
                clone(
                    lambda: init(start, self._childs_end, self._step),
                    self._child.born,
                    flags=flags,
                    cgroup=start.entrance.unified,
                    for_parent=options.cloned is not None,
                )
        finally:
            posix.fchdir(before)
            posix.close(before)
        self._tell_of_clone()

    def _tell_of_clone(self) -> None:
        if self._options.cloned is not None:
            self._options.cloned(self._child.pid, self._child.pidfd)

    def enter_what_is_made_late(self) -> None:
        """Put it into a cgroup that is made around a process, and into its class of Intel RDT."""
        record, cgroups, child = self._record, self._cgroups, self._child
        with During("SetupCgroups", "linux.cgroupsPath"):
            cgroups.adopt(child.pid)
        if cgroups.made_late:
            self._directory.write_cgroups(record)
        if record["intel_rdt"] is not None:
            from libcontainer_py.intelrdt import groups

            self._rdt = record["intel_rdt"]
            with During("SetupIntelRdt", groups.FIELD):
                groups.enter(record["intel_rdt"], self._start.linux()["intelRdt"], child.pid)
            # What somebody else made before us is no longer named there as ours to remove.
            self._directory.write(record)
            self._directory.write_cgroups(record)

    # ── 5. ──────────────────────────────────────────────────────────────────────────────────────

    def write_maps(self) -> "dict[str, Any]":
        """Write the maps of a new user namespace; say who the child is to be in it, or another."""
        start, pid = self._start, self._child.pid
        linux = start.linux()
        uids, gids = linux.get("uidMappings") or [], linux.get("gidMappings") or []
        if start.in_user_namespace() or uids or gids:
            from libcontainer_py.namespaces import maps

            if start.namespaces & CLONE_NEWUSER:
                maps.write_maps(pid, uids, gids)
            else:
                maps.refuse_other_maps(pid, uids, gids)
        who: dict[str, Any] = {"setgroups": may_set_groups(pid)}
        if start.in_user_namespace():
            who["ids"] = maps.first_ids(pid)
        return who

    def move_devices(self) -> None:
        """Move the host's network devices that become its own."""
        start = self._start
        wanted = start.linux().get("netDevices")
        if not wanted:
            return
        from libcontainer_py.namespaces import helper
        from libcontainer_py.network import netdevices

        with During("setupNetworkDevices", "linux.netDevices"):
            # The root of a user namespace that is joined has its rights in a new one, too.
            others = bool(start.joined & (CLONE_NEWNET | CLONE_NEWUSER))
            try:
                inside = helper.open_inside(self._child.pidfd, CLONE_NEWNET, netdevices.open_socket)
                self._devices = netdevices.NetDevices(inside, joined=others)
            except StepError as error:
                error.hint = netdevices.HINTS.get(error.errno)
                raise
            self._devices.move(wanted)

    def send_to_child(self, identity: "dict[str, Any]") -> None:
        """Let the child go on."""
        self._child.tell({"go": True} | identity)

    # ── 6. ──────────────────────────────────────────────────────────────────────────────────────

    def wait_for_mounts(self) -> None:
        """Wait until its mounts are made; start who makes those that it can't make itself."""
        child, start = self._child, self._start
        if start.sources:
            from libcontainer_py.namespaces import sources

            child.hear("sources")
            with During("InitializeMountNamespace", "mounts"):
                self._serving = sources.serve_sources(child, start)
            child.tell({"sources": True}, (self._serving.pipe.fileno(),))
        child.hear("mounts")
        if self._serving is not None:
            self._serving.close()

    def set_limits_and_run_hooks(self) -> None:
        """Write all limits but memory; run the hooks of the runtime; let the child go on.

        Where there are no hooks, the child need not wait for the limits.
        """
        hooks, cgroups, child = self._start.hooks(), self._cgroups, self._child
        # No device opens while the rules are written; and what is made late ends with its child.
        waits = bool(hooks) or self._start.console is not None or cgroups.made_late
        if not waits:
            child.tell({"ok": True})
        with During("SetupCgroups", "linux.resources"):
            cgroups.set(self._start.resources())
        if waits:
            self._run_hooks(hooks)
            self._tell_states(hooks)

    def _run_hooks(self, hooks: "dict[str, Any]") -> None:
        start = self._start
        creating = state_of(self._record, states.CREATING, self._child.pid)
        run_runtime_hooks(hooks, creating, start.bundle)
        if start.enters_pid_namespace and hooks.get("createContainer"):
            self._run_create_container(hooks["createContainer"], creating)

    def _run_create_container(self, hooks: "list[dict[str, Any]]", state: bytes) -> None:
        """Run createContainer hooks in the child's namespaces, but for it.

        Whatever it clones itself would be in the pid namespace that it joins, and Python never is.
        """
        from libcontainer_py.namespaces import helper

        start = self._start

        def work() -> None:
            run_hooks("createContainer", hooks, state, start.rootfs)

        flags = (start.namespaces | start.joined) & ~(CLONE_NEWPID | CLONE_NEWTIME)
        with During("createContainer", "hooks.createContainer"):
            helper.run_inside(self._child.pidfd, flags, work)

    def _tell_states(self, hooks: "dict[str, Any]") -> None:
        """Let the child go on, with the states that its own hooks read, in files: annotations can
        be larger than a message.
        """
        record, child = self._record, self._child
        files = {}
        try:
            if hooks.get("createContainer"):
                files["creating"] = in_memory(state_of(record, states.CREATING, child.pid))
            if hooks.get("startContainer"):
                inside = 1 if self._start.namespaces & CLONE_NEWPID else child.pid
                files["created"] = in_memory(state_of(record, states.CREATED, inside))
            child.tell({"ok": True, "states": list(files)}, tuple(files.values()))
        finally:
            for fd in files.values():
                posix.close(fd)

    def take_console(self) -> None:
        """Take the master of its terminal, where it has one."""
        if self._start.console is not None:
            self._start.console.take(self._child.hear_terminal())

    # ── 7. ──────────────────────────────────────────────────────────────────────────────────────

    def wait_for_finish(self) -> "dict[str, Any]":
        """Wait until the finish list is written; returns what the child says of it."""
        return self._child.hear("finish")

    def limit_and_let_go(self, finish: "dict[str, Any]") -> None:
        """Set limits and the scheduling, and see the list on its way to READY: into a pid namespace
        that is joined, and past the listener of its filter.
        """
        start, child = self._start, self._child
        limit_process(child, start.process, to_clone=start.enters_pid_namespace)
        listener = self._find_listener()
        if start.enters_pid_namespace:
            child.tell({"ok": True})
            if listener is not None and not start.filtered_late():
                listener.take(finish["finish"])
            child.hear_entered(finish["finish"], finish["list"])
            self._tell_of_clone()
            if start.hook_state >= 0:
                inside = states.inner_pid(child.pid)
                write_sealed(start.hook_state, state_of(self._record, states.CREATED, inside))
        schedule_process(child, start.process)
        if listener is not None:
            listener.send()  # what was taken before the clone
        child.tell({"ok": True})
        if listener is not None and not listener.taken:
            listener.hand_over(finish["finish"])

    def _find_listener(self) -> "Listener | None":
        if self._record["seccomp_agent"] is not None:
            from libcontainer_py.namespaces import listener

            self._listener = listener.Listener(self._child, self._record)
        return self._listener

    # ── 8. ──────────────────────────────────────────────────────────────────────────────────────

    def read_from_child(self, finish: "dict[str, Any]") -> Created:
        """Wait for READY; write the memory limit, the record, the pid file."""
        record, child, console = self._record, self._child, self._start.console
        child.hear_ready(finish["finish"])
        with During("SetupCgroups", "linux.resources.memory"):
            self._cgroups.set_memory(self._start.resources())
        record["pid"] = child.pid
        record["start"] = states.start_time(child.pid)
        record["list"] = finish["list"]
        record["start_steps"] = _after(START, finish["finish"])
        self._directory.write(record)
        send_pidfd(self._watcher, child.pidfd)
        write_pid_file(self._options.pid_file, child.pid)
        warnings = self._start.warnings + finish["warnings"]
        return Created(child.pid, child.pidfd, warnings, console.master if console else -1)

    # ── whatever happens ────────────────────────────────────────────────────────────────────────

    def undo(self, error: BaseException) -> None:
        """Undo all that was done. What stands in the way is added to the error."""
        try:
            self._child.end()
            if self._cgroups_are_ours:
                # Without a pid namespace of its own, what its hooks have started outlives it.
                self._cgroups.kill()
                self._cgroups.remove()
        except OSError as also:
            error.add_note(f"and not all could be undone: {also}")
        if self._rdt is not None:
            from libcontainer_py.intelrdt import groups

            groups.take_back(self._rdt, error)
        if self._devices is not None:
            self._devices.give_back(error)
        for warning in run_poststop(self._record):
            error.add_note(warning)
        if self._start.console is not None:
            self._start.console.close_master()

    def close(self) -> None:
        """Close what only the birth has needed."""
        start = self._start
        for each in (self._serving, self._devices, self._listener):
            if each is not None:
                each.close()
        self._pipe.close()
        self._childs_end.close()
        self._step.close()
        for fd in (start.go, start.status, start.hook_state):
            if fd >= 0:
                posix.close(fd)


def _make_fifo(path: str) -> int:
    posix.mkfifo(path, 0o600)
    return posix.open(path, posix.O_RDWR | posix.O_CLOEXEC)


def _working_directory() -> int:
    """Open the working directory; "/" in the place of one that we may not search."""
    flags = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
    try:
        return posix.open(".", flags)
    except PermissionError:
        return posix.open("/", flags)


def _after(name: str, steps: "list[Any]") -> "list[Any]":
    """The steps of a list from that of this name on."""
    return steps[[step[1] for step in steps].index(name) :]
