"""A second process in a container: libcontainer's namespaces/execin.go.

    parent          the finish list, outside              the container
    ──────          ────────────────────────              ─────────────
    clone ─────────▶ its cgroups; every namespace but
                     pid; the working directory
    limits ────────▶ drops everything, then clones ───────▶ in the pid namespace: waits
    pidfd ◀───────── its pid; the end
    go on ────────────────────────────────────────────────▶ new session, terminal, filter, execve

No Python is in its pid namespace: nothing of a library or of a right of ours is ever in reach of
what runs in the container, and no descriptor but the sync pipe (CVE-2016-9962, CVE-2019-5736).
"""

import posix

from libcontainer_py import state as states
from libcontainer_py.cgroups import manager
from libcontainer_py.errors import During, Error, StepError, WrongState
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER
from libcontainer_py.linux.wait import wait_for_end
from libcontainer_py.namespaces.child import Child
from libcontainer_py.namespaces.clone import clone, refuse_threads
from libcontainer_py.namespaces.created import Created
from libcontainer_py.namespaces.finish import write_executable
from libcontainer_py.namespaces.limit import schedule_process, set_rlimits
from libcontainer_py.namespaces.pidfile import write_pid_file
from libcontainer_py.namespaces.prepare import (
    find_labels,
    ignored_signals,
    may_set_groups,
    open_console,
    open_procfs,
    refuse_closed,
)
from libcontainer_py.namespaces.sendfd import pidfd_socket, send_pidfd
from libcontainer_py.namespaces.setns import SetnsConfig, become_list, setns_list
from libcontainer_py.security import capabilities
from libcontainer_py.security.affinity import parse_cpus
from libcontainer_py.security.personality import PERSONALITIES
from libcontainer_py.state import StateDir
from libcontainer_py.syncpipe.pipe import new_sync_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from libcontainer_py.cgroups.interface import Cgroups
    from libcontainer_py.namespaces.console import Console
    from libcontainer_py.namespaces.listener import Listener
    from libcontainer_py.namespaces.sendfd import FdSocket
    from libcontainer_py.syncpipe.pipe import SyncPipe

# The list, and what it clones.
_TASKS = 2
# What it may come to write to, of Python's memory, before it becomes the list. Where it is born in
# the container's cgroup these pages are the container's.
_BYTES = 4 << 20
_EAGAIN, _EBUSY = 11, 16
_CLONES = ("clone", "joinNamespaces")
_DIRECTORY = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
# Not even by birth: a limit that `pids_room` does not see, a cgroup that is not ours to write to,
# or one that has handed its controllers down meanwhile.
_NO_ENTRY = (11, 13, 16)  # EAGAIN, EACCES, EBUSY


class ExecOptions:
    """How a second process is to be made, beside what its process object says.

    Attributes:
        stdio: the descriptors that become its 0, 1 and 2
        preserve_fds: how many descriptors from 3 on are passed to it
        pid_file: where to write its process id, or None
        console_socket: where to send the master of its terminal; None: it is our caller's
        pidfd_socket: a UNIX socket that gets a pidfd of it, or None
        detach: our caller won't hold a terminal
        ignore_paused: also where the container is paused; then it waits until that is over
        cgroups: cgroups below the container's own to be in: relative paths by controller, or ""
        cloned: as in `exec.Options`
    """

    __slots__ = (
        "cgroups",
        "cloned",
        "console_socket",
        "detach",
        "ignore_paused",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "stdio",
    )

    def __init__(
        self,
        *,
        stdio: "tuple[int, int, int]" = (0, 1, 2),
        preserve_fds: int = 0,
        pid_file: "str | None" = None,
        console_socket: "str | None" = None,
        pidfd_socket: "str | None" = None,
        detach: bool = False,
        ignore_paused: bool = False,
        cgroups: "dict[str, str] | None" = None,
        cloned: "Callable[[int, int], None] | None" = None,
    ) -> None:
        self.stdio = stdio
        self.preserve_fds = preserve_fds
        self.pid_file = pid_file
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.detach = detach
        self.ignore_paused = ignore_paused
        self.cgroups = cgroups or {}
        self.cloned = cloned


def exec_in(
    root: str, container_id: str, process: "dict[str, Any]", options: ExecOptions
) -> Created:
    """Run a second process in a container that is created or running.

    Args:
        root: the directory below which the state of all containers lies
        container_id: its name there
        process: a valid `process` of config.json

    Raises:
        NotFound: there is no such container
        WrongState: it has stopped, or is paused
        ConfigError: the process can't be as it is asked for; nothing was done
        StepError: a step failed; nothing is left
    """
    refuse_threads()
    # First of all: a file that we open ourselves must not get such a number.
    for name, fd in zip(("stdin", "stdout", "stderr"), options.stdio, strict=True):
        refuse_closed(name, fd)
    for fd in range(3, 3 + options.preserve_fds):
        refuse_closed("--preserve-fds", fd)
    directory = StateDir(root, container_id)
    record = directory.read()
    if not options.ignore_paused:
        _refuse_paused(record)
    try:
        init_pidfd = states.pidfd(record)
    except WrongState:
        raise WrongState("cannot exec in a stopped container") from None
    try:
        return _prepare(directory, record, init_pidfd, process, options)
    finally:
        posix.close(init_pidfd)


def _prepare(
    directory: StateDir,
    record: "dict[str, Any]",
    init_pidfd: int,
    process: "dict[str, Any]",
    options: ExecOptions,
) -> Created:
    start = _setns_config(directory, record, init_pidfd, process, options)
    cgroups = manager.load(record["cgroups"])
    console: Console | None = None
    watcher: FdSocket | None = None
    try:
        start.root = _root(record, init_pidfd)
        start.procfs = open_procfs(start)
        console = open_console(process, options.console_socket, detach=options.detach)
        watcher = pidfd_socket(options.pidfd_socket)
        return _exec_in(record, start, cgroups, console, watcher, options)
    except StepError as error:
        if wait_for_end(init_pidfd, 0):
            # That it ended meanwhile is the reason for whatever failed.
            raise WrongState("cannot exec in a stopped container") from error
        raise
    finally:
        if console is not None:
            console.close()
        if watcher is not None:
            watcher.close()
        for fd in (start.root, start.procfs):
            if fd >= 0:
                posix.close(fd)


def _exec_in(
    record: "dict[str, Any]",
    start: SetnsConfig,
    cgroups: "Cgroups",
    console: "Console | None",
    watcher: "FdSocket | None",
    options: ExecOptions,
) -> Created:
    slave = -1
    try:
        if console is not None:
            slave = _open_terminal(start, console)
        inside = _has_room(cgroups)
        try:
            created = _attempt(record, start, cgroups, watcher, options, inside)
        except StepError as error:
            if not inside or error.errno != _EAGAIN or error.step not in _CLONES:
                raise
            # The room that there was is gone: once more, and from outside.
            created = _attempt(record, start, cgroups, watcher, options, False)
        if console is not None:
            created.master = console.master
        return created
    except BaseException:
        if console is not None:
            console.close_master()
        raise
    finally:
        if slave >= 0:
            posix.close(slave)


def _attempt(
    record: "dict[str, Any]",
    start: SetnsConfig,
    cgroups: "Cgroups",
    watcher: "FdSocket | None",
    options: ExecOptions,
    inside: bool,
) -> Created:
    """Clone the list, and see it into the container.

    Args:
        inside: it is to be in the cgroups by itself; else its own clone is moved there
    """
    pipe, childs_end = new_sync_pipe()
    child = Child(pipe, cgroups, "the new process")
    if not options.ignore_paused:
        child.stuck = lambda: _refuse_frozen(record, child.pid)
    listener: Listener | None = None
    executable = -1
    try:
        with During("SetupCgroups", "linux.cgroupsPath"):
            entrance = cgroups.exec_entrance(record["pid"], options.cgroups)
        try:
            start.entrance = entrance if inside else None
            calls, warnings = setns_list(start, childs_end.fileno())
            executable = write_executable(calls.compile())
            inside = _clone(child, start, childs_end, executable, options)
        finally:
            entrance.close()
        childs_end.close()

        # It is in all namespaces but pid: limits, which it could not raise from there.
        child.hear_joined(calls.steps)
        if record.get("intel_rdt"):
            from libcontainer_py.intelrdt import groups

            with During("SetupIntelRdt", groups.FIELD):
                groups.join(record["intel_rdt"], child.pid)
        set_rlimits(child, start.process, to_clone=True)
        child.tell({"ok": True})
        if record.get("seccomp_agent"):
            from libcontainer_py.namespaces import listener as of_seccomp

            listener = of_seccomp.Listener(child, record)
            if not start.filtered_late():
                listener.take(calls.steps)

        # What is in the container's pid namespace waits.
        status = posix.fstat(executable)
        file = [status.st_dev, status.st_ino]
        child.hear_entered(calls.steps, file)
        if options.cloned is not None:
            options.cloned(child.pid, child.pidfd)
        if not inside:
            with During("SetupCgroups", "linux.cgroupsPath"):
                _join(cgroups, record["pid"], options.cgroups, child.pid)
        schedule_process(child, start.process, start.process.get("execCPUAffinity"))
        send_pidfd(watcher, child.pidfd)
        if listener is not None:
            listener.send()  # what was taken before the clone
        child.tell({"ok": True})
        if listener is not None and not listener.taken:
            listener.hand_over(calls.steps)

        # The end of file is the exec. Before it may come why there was none.
        child.hear_exec(calls.steps, file)
        write_pid_file(options.pid_file, child.pid)
        return Created(child.pid, child.pidfd, start.warnings + warnings, -1)
    except BaseException as error:
        try:
            cgroups.release(child.pid)
            child.end()
        except OSError as also:
            error.add_note(f"and not all could be undone: {also}")
        raise
    finally:
        if listener is not None:
            listener.close()
        pipe.close()
        childs_end.close()
        if executable >= 0:
            posix.close(executable)


def _refuse_paused(record: "dict[str, Any]") -> None:
    if states.frozen(record):
        raise WrongState("cannot exec in a paused container (use --ignore-paused to override)")


def _refuse_frozen(record: "dict[str, Any]", pid: int) -> None:
    """Refuse a container that is paused, or has frozen itself, behind our look; or a cgroup below
    its own that it has frozen, where the new process is now.
    """
    _refuse_paused(record)
    if pid > 0:
        from libcontainer_py.cgroups import doors

        path = doors.frozen(pid)
        if path is not None:
            what = f"run a process in the cgroup {path}"
            raise StepError("SetupCgroups", _EBUSY, what, hint="the container has frozen it")


def _open_terminal(start: SetnsConfig, console: "Console") -> int:
    """Make a terminal of the container's own devpts its standard streams; hand over the master.

    Returns a descriptor of its slave.
    """
    from libcontainer_py.mount import console as terminals

    with During("OpenAndDup", "process.terminal"):
        size = start.process.get("consoleSize") or {}
        height, width = size.get("height", 0), size.get("width", 0)
        if not (height and width):
            height, width = _our_size()
        master, slave = terminals.new_terminal(start.root)
        if height and width:
            terminals.set_size(master, height, width)
        console.take(master)
    start.stdio = (slave, slave, slave)
    return slave


def _our_size() -> "tuple[int, int]":
    """The size of our own terminal: the program must not look before its caller has said one."""
    try:
        width, height = posix.get_terminal_size(0)
    except OSError:
        return 0, 0
    return height, width


# ── what is prepared before the clone ───────────────────────────────────────────────────────────


def _setns_config(
    directory: StateDir,
    record: "dict[str, Any]",
    init_pidfd: int,
    process: "dict[str, Any]",
    options: ExecOptions,
) -> SetnsConfig:
    start = SetnsConfig()
    # One that asks for no label has the first one's, as from runc.
    start.process = process | {
        name: label for name, label in record["labels"].items() if not process.get(name)
    }
    find_labels(start)
    start.container_id = directory.container_id
    start.init_pidfd = init_pidfd
    start.namespaces = record["namespaces"]
    if _pid_namespace(record["pid"], "pid") != _pid_namespace("self", "pid_for_children"):
        # Also where it had none of its own, but was made from another one than ours.
        start.namespaces |= CLONE_NEWPID
    else:
        # To join our own takes rights over it, which only root has.
        start.namespaces &= ~CLONE_NEWPID
    start.chroot = not record["mount_namespace"]
    start.memory_policy = record.get("memory_policy")
    start.personality = PERSONALITIES[record["personality"]] if record["personality"] else None
    start.no_new_keyring = record["no_new_keyring"]
    # One that does not say how dear it is to the OOM killer is as dear as the first one.
    start.oom_score_adj = process.get("oomScoreAdj", record["oom_score_adj"])
    start.root = -1
    start.ids = None
    start.may_set_groups = may_set_groups(record["pid"])
    start.host_uid = start.user().get("uid", 0)
    held = syscalls.capget()[1]
    if start.namespaces & CLONE_NEWUSER:
        from libcontainer_py.namespaces import maps

        start.ids = maps.first_ids(record["pid"])
        start.host_uid = maps.host_uid(record["pid"], start.host_uid)
        held = -1  # all that there are: whoever joins a user namespace from above has them in it
    start.filter = _filter(directory, record)
    start.last_capability = capabilities.last_capability()
    start.sets, start.warnings = capabilities.parse(
        process.get("capabilities"), start.last_capability
    )
    capabilities.prove(start.sets, held)
    start.stdio = options.stdio
    start.listen_fds = 0
    start.preserve_fds = options.preserve_fds
    start.ignored_signals = ignored_signals()
    initial = (process.get("execCPUAffinity") or {}).get("initial") or ""
    start.initial_cpus = parse_cpus(initial, "process.execCPUAffinity.initial")
    return start


def _pid_namespace(process: "int | str", file: str) -> "tuple[int, int]":
    """Tell which pid namespace a process is in, or its children will be: by a file of proc(5)."""
    with During("joinNamespaces", "linux.namespaces"):
        status = posix.stat(f"/proc/{process}/ns/{file}")
    return status.st_dev, status.st_ino


def _root(record: "dict[str, Any]", init_pidfd: int) -> int:
    """Open the container's root: its mount namespace's, where it has one to itself."""
    with During("joinNamespaces"):
        path = f"/proc/{record['pid']}/root"
        if not record["mount_namespace"] or posix.readlink(path) == "/":
            return posix.open(path, _DIRECTORY)
        # The first process has gone to another one (chroot(2)), which is not where setns(2) leads.
        from libcontainer_py.namespaces import helper

        return helper.open_inside(init_pidfd, CLONE_NEWNS, _open_slash)


def _open_slash() -> int:
    return syscalls.openat2(syscalls.CWD, "/", _DIRECTORY)


def _filter(directory: StateDir, record: "dict[str, Any]") -> "Any":
    if not record["seccomp"]:
        return None
    from libcontainer_py.security import seccomp

    data = directory.read_filter()
    if data is None:
        raise Error(f"the container's seccomp filter, {directory.file('filter')}, is gone")
    return seccomp.unpack(data)


# ── the cgroups ─────────────────────────────────────────────────────────────────────────────────


def _has_room(cgroups: "Cgroups") -> bool:
    """Is there room for the joining child? Without it, the clone alone is moved, at more cost."""
    tasks, memory = cgroups.pids_room(), cgroups.memory_room()
    return (tasks is None or tasks >= _TASKS) and (memory is None or memory >= _BYTES)


def _join(cgroups: "Cgroups", init_pid: int, sub: "dict[str, str]", pid: int) -> None:
    entrance = cgroups.exec_entrance(init_pid, sub)
    try:
        entrance.admit(pid)
    finally:
        entrance.close()


# ── the clone ───────────────────────────────────────────────────────────────────────────────────


def _clone(
    child: Child,
    start: SetnsConfig,
    childs_end: "SyncPipe",
    executable: int,
    options: ExecOptions,
) -> bool:
    """Clone what becomes the list; returns whether it is, or will be, in the cgroups by itself."""
    unified = None if start.entrance is None else start.entrance.unified
    with During("clone"):
        try:
            _clone_into(child, start, childs_end, executable, unified, options)
        except OSError as error:
            if unified is None or error.errno not in _NO_ENTRY:
                raise
            _clone_into(child, start, childs_end, executable, None, options)
            start.entrance = None
    if options.cloned is not None:
        options.cloned(child.pid, child.pidfd)
    return start.entrance is not None


def _clone_into(
    child: Child,
    start: SetnsConfig,
    childs_end: "SyncPipe",
    executable: int,
    cgroup: "int | None",
    options: ExecOptions,
) -> None:
    clone(
        lambda: become_list(start, childs_end, executable),
        child.born,
        cgroup=cgroup,
        for_parent=options.cloned is not None,
    )
