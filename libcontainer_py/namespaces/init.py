"""The child's side: from the clone to the finish list. libcontainer's namespaces/init.go.

`init` never returns and never raises: what goes wrong leaves through the sync pipe, as data. The
rules that hold between its first line and the exec are in docs/architecture.md, «Rules of the
child»: no import, no file opened by its path, nothing printed.
"""

import _signal
import posix
import stat

from libcontainer_py.errors import ConfigError, StepError, quoted
from libcontainer_py.hooks import in_memory, run_hooks
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import (
    AT_EMPTY_PATH,
    CLONE_NEWCGROUP,
    CLONE_NEWNET,
    CLONE_NEWNS,
    DEVPTS_SUPER_MAGIC,
    PR_SET_NO_NEW_PRIVS,
)
from libcontainer_py.mount import console, devices, masks, mounts, paths, pivot, rootfs, sysctl
from libcontainer_py.namespaces import finish, seal
from libcontainer_py.namespaces.identity import setup_user
from libcontainer_py.namespaces.lookup import AsUser, look_path
from libcontainer_py.network.loopback import loopback_up
from libcontainer_py.security import capabilities, keyring
from libcontainer_py.syncpipe.pipe import error_message
from libcontainer_py.user.passwd import home_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from libcontainer_py.cgroups.interface import CgroupMount, Entrance
    from libcontainer_py.security.seccomp import Filter
    from libcontainer_py.syncpipe.pipe import SyncPipe

# include/uapi/linux/personality.h
PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}


class InitConfig:
    """What the child needs to know: all of it read, proved and compiled before the clone."""

    __slots__ = (
        "bundle",
        "cgroup_mounts",
        "config",
        "container_id",
        "entrance",
        "filter",
        "go",
        "ignored_signals",
        "last_capability",
        "listen_fds",
        "namespaces",
        "no_new_keyring",
        "no_pivot",
        "preserve_fds",
        "rootfs",
        "sets",
        "status",
        "stdio",
        "warnings",
    )

    config: "dict[str, Any]"
    container_id: str
    bundle: str
    rootfs: str
    namespaces: int  # the CLONE_NEW… flags of all new ones
    entrance: "Entrance"
    cgroup_mounts: "list[CgroupMount]"
    go: int
    status: int
    ignored_signals: int  # bit N-1 is signal N
    stdio: "tuple[int, int, int]"
    preserve_fds: int  # all that are passed on from 3 on
    listen_fds: int  # so many of them are for sd_listen_fds(3)
    no_pivot: bool
    no_new_keyring: bool
    sets: capabilities.Sets
    filter: "Filter | None"
    last_capability: int
    warnings: "list[str]"


def init(start: InitConfig, pipe: "SyncPipe") -> "NoReturn":
    """Run the child's steps, become the finish list, or report and leave."""
    step = _Step(pipe)
    try:
        _init(start, pipe, step)
    except BaseException as error:
        try:
            pipe.send(error_message(_dressed(error, step)))
        except BaseException:  # the parent is gone: there is nobody to tell
            posix._exit(1)
    posix._exit(1)


class _Step:
    """Which step we are in, and the field of config.json that it works on."""

    __slots__ = ("_pipe", "field", "name")

    def __init__(self, pipe: "SyncPipe") -> None:
        self._pipe = pipe
        self.name = "clone"
        self.field: str | None = None

    def begin(self, name: str, field: "str | None" = None) -> None:
        self.name = name
        self.field = field
        self._pipe.announce(name)


def _dressed(error: BaseException, step: _Step) -> StepError:
    """Make data of whatever was raised."""
    if isinstance(error, OSError):
        return StepError.of(error, step.name, step.field)
    field = error.field if isinstance(error, ConfigError) else None
    what = str(error) if field is None else str(error).removeprefix(f"{field}: ")
    if not isinstance(error, ConfigError):
        what = f"{type(error).__name__}: {quoted(what)}"
    return StepError(step.name, 0, what, field=field or step.field)


def _init(start: InitConfig, pipe: "SyncPipe", step: _Step) -> None:
    config = start.config
    process = config["process"]
    linux = config.get("linux") or {}

    # Into the cgroups, before anything else: whatever is started from here on is inside. A process
    # that moves itself is spared the milliseconds that the kernel waits when another moves it.
    step.begin("SetupCgroups", "linux.cgroupsPath")
    start.entrance.enter()

    # 3. A session of our own, and the namespaces that can't be made by the clone.
    step.begin("ReadFromParent")
    _reset_signals(start.ignored_signals)
    posix.umask(0o022)  # whatever the caller's is, what is made below has the modes it names
    _set_stdio(start.stdio)
    preserved = range(3, 3 + start.preserve_fds)
    for fd in preserved:
        posix.set_inheritable(fd, True)
    _close_all_but({0, 1, 2, *preserved}, pipe, start)
    pipe.expect("go")

    step.begin("Setsid")
    posix.setsid()
    if start.namespaces & CLONE_NEWCGROUP:
        # Not by the clone: the root of the namespace is where the process is at that moment.
        syscalls.unshare(CLONE_NEWCGROUP)

    # 4. Network.
    step.begin("setupNetwork", "linux.namespaces")
    if start.namespaces & CLONE_NEWNET:
        loopback_up()

    # 5. Keyring.
    if not start.no_new_keyring:
        step.begin("JoinSessionKeyring")
        keyring.join_session_keyring(start.container_id)

    # 6. The root filesystem. From here on files belong to somebody else.
    seal.seal()
    step.begin("InitializeMountNamespace", "root.path")
    posix.chdir(start.bundle)  # what a relative source of a bind mount is relative to
    if start.namespaces & CLONE_NEWNS:
        root = rootfs.prepare_rootfs(start.rootfs, linux.get("rootfsPropagation"))
    else:
        root = rootfs.open_rootfs(start.rootfs)
    step.begin("InitializeMountNamespace", "mounts")
    read_only_later = _initialize_mount_namespace(start, root, process["cwd"])
    pipe.send({"mounts": True})
    answer = pipe.expect("ok")
    hooks = config.get("hooks") or {}
    if hooks.get("createContainer"):
        step.begin("createContainer", "hooks.createContainer")
        state = answer["creating"].encode("utf-8", "surrogatepass")
        run_hooks("createContainer", hooks["createContainer"], state, start.bundle)
    step.begin("PivotRoot", "root.path")
    if not start.namespaces & CLONE_NEWNS:
        pivot.chroot_root(root)
    elif start.no_pivot:
        pivot.move_root(root)
    else:
        pivot.pivot_root(root)
    if start.namespaces & CLONE_NEWNS:
        rootfs.propagate_root(linux.get("rootfsPropagation"))
    posix.close(root)  # else `process.args` could name what is below it by its number

    # 7. The console: after the mounts, of which its devpts is one, and before /dev may become
    # read-only.
    if process.get("terminal"):
        _open_and_dup(pipe, process.get("consoleSize") or {}, step)

    # 8. What is set last, because what came before would have been hindered by it.
    step.begin("Restrict")
    _restrict(start, read_only_later, step)

    # 9. The finish list.
    step.begin("FinalizeNamespace", "process.cwd")
    inside = _chdir(process["cwd"])
    posix.umask(_umask(process.get("user") or {}))
    step.begin("LoadContainerEnvironment", "process.env")
    environment = _environment(start, process)
    step.begin("Execv", "process.args[0]")
    state = -1
    if hooks.get("startContainer"):
        state = in_memory(answer["created"].encode("utf-8", "surrogatepass"))
    executable, steps, warnings = _finish_list(start, pipe, process, environment, inside, state)
    status = posix.fstat(executable)
    step.begin("Finish")
    for fd in (pipe.fileno(), start.go, start.status, state):
        if fd >= 0:
            posix.set_inheritable(fd, True)
    pipe.send({"finish": steps, "list": [status.st_dev, status.st_ino], "warnings": warnings})
    # While we wait the parent sets the rlimits, and from then on there may be no memory for more
    # than a few bytes (RLIMIT_AS): not for a whole message.
    if not posix.read(pipe.fileno(), 64):
        raise StepError(None, 0, "the parent is gone")
    syscalls.execveat(executable, "", [b"lcpy"], [], AT_EMPTY_PATH)


def _initialize_mount_namespace(start: InitConfig, root: int, cwd: str) -> "list[int]":
    """Mounts, devices, links; returns the mounts to be made read-only at the end."""
    config = start.config
    wanted = mounts.without_root(config.get("mounts") or [], start.rootfs)
    read_only_later = mounts.setup_mounts(
        root, wanted, start.cgroup_mounts, bool(start.namespaces & CLONE_NEWCGROUP)
    )
    # A /dev that is a bind mount is the host's, or a volume: not ours to fill.
    if not mounts.dev_is_bound(wanted):
        devices.setup_devices(root, (config.get("linux") or {}).get("devices") or [])
        devices.setup_ptmx(root)
        devices.setup_dev_symlinks(root)
        # Now, as no device can be opened while the parent writes their rules.
        devices.reopen_null(root)
    # The working directory is made where it is missing; before the root becomes read-only.
    try:
        posix.close(paths.mkdir_all_in_root(root, cwd))
    except OSError as error:
        what = f"make the working directory {quoted(cwd)}"
        raise StepError(None, error.errno or 0, what, field="process.cwd") from None
    return read_only_later


def _open_and_dup(pipe: "SyncPipe", size: "dict[str, int]", step: _Step) -> None:
    """Make the console our standard streams and our controlling terminal; send its master up."""
    step.begin("OpenAndDup", "process.terminal")
    master, slave = console.setup_console(size.get("height", 0), size.get("width", 0))
    pipe.send({"console": True}, (master,))
    posix.close(master)
    step.begin("Setctty", "process.terminal")
    console.take_terminal(slave)


def _restrict(start: InitConfig, read_only_later: "list[int]", step: _Step) -> None:
    config = start.config
    linux = config.get("linux") or {}
    step.begin("Sethostname", "hostname")
    if config.get("hostname"):
        syscalls.sethostname(config["hostname"])
    step.begin("Setdomainname", "domainname")
    if config.get("domainname"):
        syscalls.setdomainname(config["domainname"])
    step.begin("Sysctl", "linux.sysctl")
    sysctl.write_sysctls(linux.get("sysctl") or {})
    if start.namespaces & CLONE_NEWNS:
        step.begin("Restrict", "root.readonly")
        mounts.finalize_mounts(read_only_later)
        if config["root"].get("readonly"):
            masks.readonly_root()
        step.begin("Restrict", "linux.readonlyPaths")
        masks.readonly_paths(linux.get("readonlyPaths") or [])
        step.begin("Restrict", "linux.maskedPaths")
        masks.mask_paths(linux.get("maskedPaths") or [])
    step.begin("Personality", "linux.personality")
    if linux.get("personality"):
        syscalls.personality(PERSONALITIES[linux["personality"]["domain"]])


def _finish_list(
    start: InitConfig,
    pipe: "SyncPipe",
    process: "dict[str, Any]",
    environment: "dict[str, str]",
    inside: bool,
    state: int,
) -> "tuple[int, list[Any], list[str]]":
    """Write the list: (a descriptor of its file, what each position does, warnings).

    `inside`: we are in the working directory already. `state`: a descriptor of the state, where
    there are startContainer hooks.
    """
    user = process.get("user") or {}
    uid, gid = user.get("uid", 0), user.get("gid", 0)  # left out, they are root's, as for runc
    groups = user.get("additionalGids") or []
    sets = start.sets
    _chown_stdio(uid)
    capabilities.prove(sets, syscalls.capget()[1])

    calls = finish.FinishList(pipe.fileno(), start.go, start.status)
    calls.end_by_signals()
    capabilities.drop_bounding_set(calls, sets, start.last_capability)
    capabilities.keep_capabilities(calls)
    setup_user(calls, uid, gid, groups)
    no_new_privs = bool(process.get("noNewPrivileges"))
    if start.filter is not None and not no_new_privs:
        # Without no_new_privs this needs CAP_SYS_ADMIN, which is given up only behind it.
        capabilities.apply_capabilities(calls, sets.with_sys_admin())
        _apply_filter(calls, start.filter)
    capabilities.apply_capabilities(calls, sets)
    warnings = capabilities.raise_ambient(calls, sets)
    if no_new_privs:
        calls.at("NoNewPrivileges", "process.noNewPrivileges")
        calls.prctl(PR_SET_NO_NEW_PRIVS, 1)
    if not inside:
        calls.at("FinalizeNamespace", "process.cwd", process["cwd"])
        calls.chdir(process["cwd"])
    calls.ready()
    calls.wait(also=(state,) if state >= 0 else ())
    variables = [f"{name}={value}" for name, value in environment.items()]
    for index, hook in enumerate((start.config.get("hooks") or {}).get("startContainer") or ()):
        # Without an `env` of its own it gets the container's, as from runc: it is inside.
        path = hook["path"]
        calls.hook(index, path, hook.get("args") or [path], hook.get("env") or variables, state)

    # A missing program is found out now, not by `start`.
    posix.setgroups(groups)
    with AsUser(uid, gid, sets):
        program = look_path(process["args"][0], environment.get("PATH"))
    if start.filter is not None and no_new_privs:
        # As late as can be: then a filter that allows execve alone works.
        _apply_filter(calls, start.filter)
    calls.execve(program, process["args"], variables)
    return finish.write_executable(calls.compile()), calls.steps, warnings


def _apply_filter(calls: "finish.FinishList", filter: "Filter") -> None:
    calls.at("InitSeccomp", "linux.seccomp")
    calls.seccomp_set_mode_filter(filter.flags, filter.instructions)


def _environment(start: InitConfig, process: "dict[str, Any]") -> "dict[str, str]":
    """Read the container's environment; a later entry wins; HOME comes from its passwd if unset.

    It is data for the last execve alone: never posix.environ, never a hook's (CVE-2025-23266).
    """
    environment = {}
    for entry in process.get("env") or ():
        name, _equals, value = entry.partition("=")
        environment[name] = value
    if not environment.get("HOME"):
        root = paths.open_root()
        environment["HOME"] = home_in_root(root, (process.get("user") or {}).get("uid", 0))
        posix.close(root)
    if start.listen_fds:
        environment |= {"LISTEN_FDS": str(start.listen_fds), "LISTEN_PID": str(posix.getpid())}
    return environment


def _chdir(cwd: str) -> bool:
    """Go to the working directory, proved to be inside the root; False: the user himself must.

    The path is resolved beneath the root and without magic links: `/proc/self/fd/N` would lead to
    whatever directory of the host is still open (CVE-2024-21626).
    """
    root = paths.open_root()
    try:
        directory = paths.open_in_root(root, cwd, posix.O_DIRECTORY)
        try:
            posix.fchdir(directory)
        finally:
            posix.close(directory)
    except PermissionError:
        return False  # on a network file system root may see less than the user
    finally:
        posix.close(root)
    return True


def _umask(user: "dict[str, Any]") -> int:
    umask = user.get("umask")
    return 0o022 if umask is None else int(umask)


def _reset_signals(ignored: int) -> None:
    """Give the program a clean slate: nothing ignored. (Blocked ones are the list's to unblock.)

    CLONE_CLEAR_SIGHAND clears handlers and leaves ignored signals ignored; Python itself ignores
    SIGPIPE and SIGXFSZ.
    """
    _signal.set_wakeup_fd(-1)
    default = bytes(32)  # struct sigaction: SIG_DFL
    for number in range(1, ignored.bit_length() + 1):
        if ignored >> (number - 1) & 1:
            syscalls.syscall("rt_sigaction", number, default, 0, 8)


def _set_stdio(stdio: "tuple[int, int, int]") -> None:
    """Make the given descriptors 0, 1 and 2."""
    # A source below 3 may be overwritten before its turn: copy all away first.
    copies = [posix.dup(fd) for fd in stdio]
    for target, copy in enumerate(copies):
        posix.dup2(copy, target, inheritable=True)


def _close_all_but(keep: "set[int]", pipe: "SyncPipe", start: InitConfig) -> None:
    """Close every descriptor that is not passed on purpose: marking them would not do, a created
    container would hold what close-on-exec only closes at `start`.
    """
    first = 0
    for fd in sorted(keep | {pipe.fileno(), start.go, start.status}):
        if fd > first:
            syscalls.close_range(first, fd - 1)
        first = fd + 1
    syscalls.close_range(first)


def _chown_stdio(uid: int) -> None:
    """Let the container's user reopen its standard streams (/dev/stdout is a link to one).

    Only pipes, sockets and pseudo-terminals: they belong to whoever handed them to us. A file or a
    device of the host's does not become the container's for having been our input, and what the
    kernel won't give away is left alone, as runc leaves it.
    """
    for fd in (0, 1, 2):
        try:
            status = posix.fstat(fd)
        except OSError:
            continue
        if status.st_uid == uid or not (
            stat.S_ISFIFO(status.st_mode)
            or stat.S_ISSOCK(status.st_mode)
            or syscalls.fstatfs(fd)[0] == DEVPTS_SUPER_MAGIC
        ):
            continue
        try:
            posix.fchown(fd, uid, -1)
        except OSError as error:
            if error.errno not in (1, 22, 30):  # EPERM, EINVAL, EROFS
                raise
