"""The parent's side: from a bundle to a process that waits for `start`.

`exec_` is libcontainer's namespaces/exec.go: the eight steps of a container's birth in their
order. Whatever isn't READY at its end undoes everything.
"""

import _signal
import fcntl
import gc
import posix

from libcontainer_py import state as states
from libcontainer_py.cgroups import manager
from libcontainer_py.errors import ConfigError, Error, StepError, quoted, shown, words
from libcontainer_py.hooks import run_hooks, run_poststop, state_of
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import (
    CLONE_CLEAR_SIGHAND,
    CLONE_INTO_CGROUP,
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    CLONE_PARENT,
)
from libcontainer_py.linux.pathnames import real
from libcontainer_py.mount import rootfs
from libcontainer_py.namespaces.child import Child
from libcontainer_py.namespaces.init import InitConfig, init
from libcontainer_py.security import capabilities, rlimits
from libcontainer_py.spec import VERSION, load
from libcontainer_py.state import StateDir
from libcontainer_py.syncpipe.pipe import new_sync_pipe
from libcontainer_py.syncpipe.records import EXEC, HOOK_ENDED, START_HOOK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from libcontainer_py.cgroups.manager import Cgroups
    from libcontainer_py.namespaces.console import Console
    from libcontainer_py.security.seccomp import Filter
    from libcontainer_py.syncpipe.pipe import SyncPipe

NAMESPACES = {
    "pid": CLONE_NEWPID,
    "network": CLONE_NEWNET,
    "mount": CLONE_NEWNS,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "cgroup": CLONE_NEWCGROUP,
}

_ENOENT, _ESRCH = 2, 3
_SIGCHLD = 17


class Options:
    """How a container is to be created, beside what config.json says.

    Attributes:
        stdio: the descriptors that become 0, 1 and 2 of the container
        listen_fds: how many descriptors from 3 on are passed to it as sockets to listen on
        preserve_fds: how many descriptors from there on are passed to it
        pid_file: where to write its process id, or None
        no_pivot: move the root instead of pivot_root(2), for a root on a ramdisk
        no_new_keyring: leave it in the caller's session keyring
        console_socket: where to send the master of its terminal; None: it is our caller's
        detach: our caller won't hold a terminal
        cloned: told its pid and pidfd as soon as it is there, and then it is a child of our
            parent (the launcher's way); None: it is our own
    """

    __slots__ = (
        "cloned",
        "console_socket",
        "detach",
        "listen_fds",
        "no_new_keyring",
        "no_pivot",
        "pid_file",
        "preserve_fds",
        "stdio",
    )

    def __init__(
        self,
        *,
        stdio: "tuple[int, int, int]" = (0, 1, 2),
        listen_fds: int = 0,
        preserve_fds: int = 0,
        pid_file: "str | None" = None,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        console_socket: "str | None" = None,
        detach: bool = False,
        cloned: "Callable[[int, int], None] | None" = None,
    ) -> None:
        self.stdio = stdio
        self.listen_fds = listen_fds
        self.preserve_fds = preserve_fds
        self.pid_file = pid_file
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.console_socket = console_socket
        self.detach = detach
        self.cloned = cloned


class Created:
    """A container that waits for `start`.

    Attributes:
        pid, pidfd: its first process
        warnings: what was odd, to pass on
        master: of its terminal, where it has one and that was not sent to a console socket; or -1
    """

    __slots__ = ("master", "pid", "pidfd", "warnings")

    def __init__(self, pid: int, pidfd: int, warnings: "list[str]", master: int) -> None:
        self.pid, self.pidfd, self.warnings, self.master = pid, pidfd, warnings, master


def exec_(root: str, container_id: str, bundle: str, options: Options) -> Created:
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
    bundle = _real_bundle(bundle)
    config, warnings = load.load(bundle)
    start = _init_config(config, bundle, container_id, options)
    start.warnings = warnings + start.warnings
    cgroups = manager.manager(_linux(config).get("cgroupsPath"), container_id)
    _refuse_threads()
    directory.make()
    console = None
    try:
        record = _record(start, cgroups)
        directory.write(record)
        start.filter = _compile_filter(config, root)
        # Who takes the terminal must be there before anything is made for it.
        console = _console(config, options)
        return _exec(config, record, start, cgroups, directory, console, options)
    except BaseException:
        directory.remove()
        raise
    finally:
        if console is not None:
            console.close()
        directory.unlock()


def _exec(
    config: "dict[str, Any]",
    record: "dict[str, Any]",
    start: InitConfig,
    cgroups: "Cgroups",
    directory: StateDir,
    console: "Console | None",
    options: Options,
) -> Created:
    linux = _linux(config)
    resources = linux.get("resources") or {}

    pipe, childs_end = new_sync_pipe()
    child = Child(pipe, cgroups)
    start.go = start.status = -1
    ours = False  # the cgroups: a name that is in use already is another container's
    try:
        # 2. The child inherits its end of the sync pipe, and both FIFOs of `start`.
        _make_fifos(directory, start)

        # 3. and 4. Clone the child, into its cgroups: into the unified one by the clone, and
        # through doors that are held open for it into the others, the first thing it does.
        with _Step("SetupCgroups", "linux.cgroupsPath"):
            cgroups.create(resources)
            ours = True
            start.cgroup_mounts = cgroups.mounts()
            start.entrance = cgroups.entrance()
        try:
            directory.write_cgroups(record["cgroups"])
            _clone(child, start, childs_end, options)
        finally:
            start.entrance.close()
        childs_end.close()
        child.tell({"go": True})

        # 6. Its mounts are made: limits, all but memory; hooks. Where there are none, the child
        # need not wait for the limits.
        child.hear("mounts")
        hooks = config.get("hooks") or {}
        waits = bool(hooks) or console is not None  # no device opens while the rules are written
        if not waits:
            child.tell({"ok": True})
        with _Step("SetupCgroups", "linux.resources"):
            cgroups.set(resources)
        if waits:
            child.tell(_run_hooks(hooks, record, start, child.pid))

        if console is not None:
            console.take(child.hear_terminal())

        # 7. Python's work is over: limits that would have hindered it.
        message = child.hear("finish")
        _limit_process(child, config["process"])
        child.tell({"ok": True})

        # 8. READY, or what went wrong.
        child.hear_ready(message["finish"])
        with _Step("SetupCgroups", "linux.resources.memory"):
            cgroups.set_memory(resources)
        record["pid"] = child.pid
        record["start"] = states.start_time(child.pid)
        record["list"] = message["list"]
        record["start_steps"] = [
            step for step in message["finish"] if step[1] in (START_HOOK, HOOK_ENDED, EXEC)
        ]
        directory.write(record)
        _write_pid_file(options.pid_file, child.pid)
        warnings = start.warnings + message["warnings"]
        return Created(child.pid, child.pidfd, warnings, console.master if console else -1)
    except BaseException as error:
        _undo(child, cgroups if ours else None, error)
        for warning in run_poststop(record):
            error.add_note(warning)
        if console is not None:
            console.close_master()
        raise
    finally:
        pipe.close()
        childs_end.close()
        for fd in (start.go, start.status):
            if fd >= 0:
                posix.close(fd)


def _run_hooks(
    hooks: "dict[str, Any]", record: "dict[str, Any]", start: InitConfig, pid: int
) -> "dict[str, Any]":
    """Run the hooks of the runtime; return the answer to the child, with the states for its own."""
    creating = state_of(record, states.CREATING, pid)
    for kind in ("prestart", "createRuntime"):
        with _Step(kind, f"hooks.{kind}"):
            run_hooks(kind, hooks.get(kind) or [], creating, start.bundle)
    inside = 1 if start.namespaces & CLONE_NEWPID else pid
    created = state_of(record, states.CREATED, inside)
    return {
        "ok": True,
        "creating": creating.decode("utf-8", "surrogatepass"),
        "created": created.decode("utf-8", "surrogatepass"),
    }


def _real_bundle(bundle: str) -> str:
    try:
        return real(bundle)
    except OSError as error:
        raise ConfigError(f"bundle {quoted(bundle)}: {words(error.errno or 0)}") from None


# ── what is prepared before the clone ───────────────────────────────────────────────────────────


def _linux(config: "dict[str, Any]") -> "dict[str, Any]":
    return config.get("linux") or {}


def _init_config(
    config: "dict[str, Any]", bundle: str, container_id: str, options: Options
) -> InitConfig:
    start = InitConfig()
    start.config = config
    start.container_id = container_id
    start.bundle = bundle
    start.rootfs = rootfs.resolve_rootfs(bundle, config["root"])
    start.namespaces = 0
    for namespace in _linux(config).get("namespaces") or []:
        start.namespaces |= NAMESPACES[namespace["type"]]
    if not start.namespaces & CLONE_NEWNS and config.get("mounts"):
        raise ConfigError("mounts need a mount namespace in linux.namespaces", "mounts")
    start.last_capability = capabilities.last_capability()
    start.sets, start.warnings = capabilities.parse(
        config["process"].get("capabilities"), start.last_capability
    )
    start.stdio = options.stdio
    # Else a file of ours would get the number, and be passed on as a stream.
    for name, fd in zip(("stdin", "stdout", "stderr"), options.stdio, strict=True):
        _refuse_closed(name, fd)
    start.listen_fds = options.listen_fds
    start.preserve_fds = options.listen_fds + options.preserve_fds
    for fd in range(3, 3 + start.preserve_fds):
        _refuse_closed("LISTEN_FDS" if fd < 3 + options.listen_fds else "--preserve-fds", fd)
    start.ignored_signals = _ignored_signals()
    start.no_pivot = options.no_pivot
    start.no_new_keyring = options.no_new_keyring
    return start


def _refuse_closed(name: str, fd: int) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        raise Error(f"{name}: descriptor {fd} is not open") from None


def _console(config: "dict[str, Any]", options: Options) -> "Console | None":
    if not config["process"].get("terminal") and options.console_socket is None:
        return None
    from libcontainer_py.namespaces import console

    console.check(config, options.console_socket, detach=options.detach)
    return console.Console(options.console_socket)


def _compile_filter(config: "dict[str, Any]", root: str) -> "Filter | None":
    profile = _linux(config).get("seccomp")
    if not profile:
        return None
    from libcontainer_py.security.seccomp import compile_filter

    # An id has no space in it: no container can have this directory.
    return compile_filter(profile, f"{root}/compiled filters")


def _ignored_signals() -> int:
    """What this process ignores, whoever told it to: `SigIgn` of proc(5)."""
    fd = posix.open("/proc/self/status", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        data = posix.read(fd, 8192)
    finally:
        posix.close(fd)
    at = data.index(b"\nSigIgn:\t") + 9
    return int(data[at : at + 16], 16)


def _record(start: InitConfig, cgroups: "Cgroups") -> "dict[str, Any]":
    """What state.json holds; `pid` 0 until the container waits for `start`."""
    return {
        "ociVersion": VERSION,
        "id": start.container_id,
        "pid": 0,
        "start": 0,
        "list": [0, 0],
        "started": False,
        "bundle": start.bundle,
        "rootfs": start.rootfs,
        "created": states.now(),
        "annotations": start.config.get("annotations") or {},
        # Those that run when config.json may no longer be there, or be another one.
        "hooks": {
            kind: hooks
            for kind, hooks in (start.config.get("hooks") or {}).items()
            if kind in ("startContainer", "poststart", "poststop")
        },
        "start_steps": [],
        "cgroups": cgroups.state(),
        "pid_namespace": bool(start.namespaces & CLONE_NEWPID),
    }


def _make_fifos(directory: StateDir, start: InitConfig) -> None:
    start.go = _make_fifo(directory.file("go"))
    start.status = _make_fifo(directory.file("status"))


def _make_fifo(path: str) -> int:
    posix.mkfifo(path, 0o600)
    return posix.open(path, posix.O_RDWR | posix.O_CLOEXEC)


# ── the clone ───────────────────────────────────────────────────────────────────────────────────


def has_threads() -> bool:
    """Has this process more than one thread, whoever made the others?

    A clone copies one; what the others hold stays locked for ever in the child.
    """
    return len(posix.listdir("/proc/self/task")) != 1


def _refuse_threads() -> None:
    if has_threads():
        raise Error("a process with threads can't clone a container; it must use the launcher")


def _clone(child: Child, start: InitConfig, childs_end: "SyncPipe", options: Options) -> None:
    flags = start.namespaces & ~CLONE_NEWCGROUP | CLONE_CLEAR_SIGHAND
    unified = start.entrance.unified
    if unified is not None:
        flags |= CLONE_INTO_CGROUP
    if options.cloned is not None:
        flags |= CLONE_PARENT
    # Blocked, so that no handler runs in the child before it has put them away; no collection,
    # whose finalizers would run twice.
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    collecting = gc.isenabled()
    gc.disable()
    try:
        with _Step("clone", "linux.namespaces"):
            signal = 0 if options.cloned is not None else _SIGCHLD
            # Kept before a signal can come through, whose handler may raise.
            child.pid, child.pidfd = syscalls.clone3(flags, signal, unified or 0)
        if child.pid == 0:
            init(start, childs_end)
    finally:
        if collecting:
            gc.enable()
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    if options.cloned is not None:
        options.cloned(child.pid, child.pidfd)


class _Step:
    """Name the step, and the field where nothing inside knows a closer one, of an OSError."""

    __slots__ = ("_field", "_name")

    def __init__(self, name: str, field: str) -> None:
        self._name, self._field = name, field

    def __enter__(self) -> None: ...

    def __exit__(self, _type: object, error: "BaseException | None", _trace: object) -> None:
        if isinstance(error, OSError):
            raise StepError.of(error, self._name, self._field) from None


# ── the rest ────────────────────────────────────────────────────────────────────────────────────


def _limit_process(child: Child, process: "dict[str, Any]") -> None:
    try:
        _set_oom_score_adj(child.pid, process.get("oomScoreAdj"))
        rlimits.set_rlimits(child.pid, process.get("rlimits") or [])
    except StepError as error:
        if error.errno in (_ENOENT, _ESRCH) and child.ended():
            child.raise_why()  # the limit was not the reason
        raise


def _set_oom_score_adj(pid: int, value: "int | None") -> None:
    if value is None:
        return
    with _Step("SetOomScoreAdj", "process.oomScoreAdj"):
        path = f"/proc/{pid}/oom_score_adj"
        fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            posix.write(fd, str(value).encode())
        except OSError as error:
            hint = "lowering it needs CAP_SYS_RESOURCE" if error.errno in (1, 13) else None
            raise StepError(None, error.errno or 0, str(value), hint=hint) from None
        finally:
            posix.close(fd)


def _write_pid_file(path: "str | None", pid: int) -> None:
    if path is None:
        return
    # Whoever watches for the file must never read half of a number.
    head, slash, name = path.rpartition("/")
    temporary = f"{head}{slash}.{name}.{posix.getpid()}"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
    try:
        fd = posix.open(temporary, flags, 0o666)
        try:
            try:
                posix.write(fd, str(pid).encode())
            finally:
                posix.close(fd)
            posix.rename(temporary, path)
        except OSError:
            posix.unlink(temporary)
            raise
    except OSError as error:
        raise StepError("WritePidFile", error.errno or 0, f"--pid-file {shown(path)}") from None


def _undo(child: Child, cgroups: "Cgroups | None", error: BaseException) -> None:
    """End the child and remove its cgroups. What stands in the way is added to the error."""
    try:
        child.end()
        if cgroups is not None:
            # Without a pid namespace of its own, what its hooks have started outlives it.
            cgroups.kill()
            cgroups.remove()
    except OSError as also:
        error.add_note(f"and not all could be undone: {also}")
