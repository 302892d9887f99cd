"""The child's side: from the clone to the finish list. libcontainer's namespaces/init.go.

`init` never returns and never raises: what goes wrong leaves through the sync pipe, as data. The
rules that hold between its first line and the exec are in docs/architecture.md, «Rules of the
child»: no import, no file opened by its path, nothing printed.
"""

import posix

from libcontainer_py.errors import StepError, quoted
from libcontainer_py.hooks import run_hooks, whole
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import (
    AT_EMPTY_PATH,
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
)
from libcontainer_py.mount import devices, masks, mounts, paths, pivot, rootfs, sysctl
from libcontainer_py.namespaces import finish, seal
from libcontainer_py.namespaces.finalize import (
    ProcessConfig,
    drop_privileges,
    execv,
    filter_late,
    finalize_namespace,
    label_keyring,
    load_environment,
    variables,
)
from libcontainer_py.namespaces.identity import become_root
from libcontainer_py.namespaces.streams import (
    chown_stdio,
    close_all_but,
    reset_signals,
    set_stdio,
)
from libcontainer_py.network.loopback import loopback_up
from libcontainer_py.security import capabilities, keyring, memorypolicy
from libcontainer_py.security.personality import set_personality
from libcontainer_py.security.rlimits import lower_nproc
from libcontainer_py.syncpipe.pipe import as_step_error, error_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from libcontainer_py.cgroups.interface import CgroupMount, Entrance
    from libcontainer_py.namespaces.console import Console
    from libcontainer_py.namespaces.joins import Join
    from libcontainer_py.namespaces.sources import Given
    from libcontainer_py.namespaces.step import Step
    from libcontainer_py.syncpipe.pipe import SyncPipe


class InitConfig(ProcessConfig):
    """What the child needs to know: all of it read, proved and compiled before the clone."""

    __slots__ = (
        "bundle",
        "by_another_user",
        "cgroup_mounts",
        "config",
        "console",
        "container_id",
        "enters_pid_namespace",
        "entrance",
        "given",
        "go",
        "hook_state",
        "joined",
        "joiner",
        "joins",
        "namespaces",
        "no_new_keyring",
        "no_pivot",
        "rootfs",
        "sources",
        "status",
    )

    config: "dict[str, Any]"
    container_id: str
    bundle: str
    rootfs: str
    namespaces: int  # the CLONE_NEW… flags of all new ones
    joined: int  # those of all that exist already
    joins: "list[Join]"
    # What only some containers need is loaded by the parent, who puts it here.
    joiner: "Callable[[InitConfig, SyncPipe, Step], None] | None"  # joins, sets time offsets
    given: "type[Given] | None"  # asks for the mounts that are made for us
    console: "Console | None"  # makes the terminal
    enters_pid_namespace: bool  # at the very end, by the finish list
    by_another_user: bool  # who is not root, and so may look only at what is dumpable
    sources: "list[int]"  # which mounts are made for us
    entrance: "Entrance"
    cgroup_mounts: "list[CgroupMount]"
    hook_state: int  # the file of the state that the finish list's hooks read; -1: made here
    go: int
    status: int
    no_pivot: bool
    no_new_keyring: bool

    def hooks(self) -> "dict[str, list[dict[str, Any]]]":
        """`hooks` of config.json, by their kinds."""
        return self.config.get("hooks") or {}

    def linux(self) -> "dict[str, Any]":
        """`linux` of config.json."""
        return self.config.get("linux") or {}

    def resources(self) -> "dict[str, Any]":
        """`linux.resources` of config.json."""
        return self.linux().get("resources") or {}

    def made_late(self) -> int:
        """The CLONE_NEW… flags of what the child itself makes, and not the clone.

        The root of a cgroup namespace is where the process is at that moment. And the message
        queues of an ipc namespace belong to who it is then: in a new user namespace, root by now.
        """
        if self.namespaces & CLONE_NEWUSER:
            return CLONE_NEWCGROUP | CLONE_NEWIPC
        return CLONE_NEWCGROUP

    def in_user_namespace(self) -> bool:
        """Is it to be in a user namespace other than ours?"""
        return bool((self.namespaces | self.joined) & CLONE_NEWUSER)


def init(start: InitConfig, pipe: "SyncPipe", step: "Step") -> "NoReturn":
    """Run the child's steps, become the finish list, or report and leave."""
    try:
        _init(start, pipe, step)
    except BaseException as error:
        try:
            pipe.send(error_message(as_step_error(error, step.name, step.field)))
        except BaseException:  # the parent is gone: there is nobody to tell
            posix._exit(1)
    posix._exit(1)


def _init(start: InitConfig, pipe: "SyncPipe", step: "Step") -> None:
    config = start.config
    process = config["process"]
    linux = config.get("linux") or {}

    # Into the cgroups, before anything else: whatever is started from here on is inside. A process
    # that moves itself is spared the milliseconds that the kernel waits when another moves it.
    step.begin("SetupCgroups", "linux.cgroupsPath")
    start.entrance.enter()
    if start.joiner is not None:
        start.entrance.close()
        start.joiner(start, pipe, step)

    # 3. A session of our own, and the namespaces that can't be made by the clone.
    step.begin("ReadFromParent")
    reset_signals(start.ignored_signals)
    posix.umask(0o022)  # whatever the caller's is, what is made below has the modes it names
    set_stdio(start.stdio)
    preserved = range(3, 3 + start.preserve_fds)
    for fd in preserved:
        posix.set_inheritable(fd, True)
    kept = {pipe.fileno(), step.fileno(), start.go, start.status, start.procfs, start.hook_state}
    close_all_but({0, 1, 2, *preserved, *kept} - {-1})
    who = pipe.expect("go")
    start.may_set_groups = who.get("setgroups", True)
    if "ids" in who:
        step.begin("setupUserNamespace", "linux.uidMappings")
        become_root(*who["ids"])

    step.begin("Setsid")
    posix.setsid()
    late = start.namespaces & start.made_late()
    if late:
        syscalls.unshare(late)

    # 4. Network.
    step.begin("setupNetwork", "linux.namespaces")
    if start.namespaces & CLONE_NEWNET:
        loopback_up()

    # 5. Keyring.
    if not start.no_new_keyring:
        step.begin("JoinSessionKeyring")
        label_keyring(start)
        keyring.join_session_keyring(start.container_id)

    # 6. The root filesystem. From here on files belong to somebody else.
    seal.seal()
    step.begin("InitializeMountNamespace", "root.path")
    if start.joined & CLONE_NEWNS:
        posix.chdir(start.bundle)  # where we were before setns(2) went to the namespace's root
    if (start.namespaces | start.joined) & CLONE_NEWNS:
        root = rootfs.prepare_rootfs(start.rootfs, linux.get("rootfsPropagation"))
    else:
        root = rootfs.open_rootfs(start.rootfs)
    step.begin("InitializeMountNamespace", "mounts")
    given = start.given(pipe, start.sources) if start.given is not None else None
    read_only_later = _initialize_mount_namespace(start, root, process["cwd"], given)
    pipe.send({"mounts": True})
    answer, fds = pipe.expect_fds("ok", 2)
    state_files = dict(zip(answer.get("states", ()), fds, strict=True))
    hooks = config.get("hooks") or {}
    if hooks.get("createContainer") and not start.enters_pid_namespace:
        step.begin("createContainer", "hooks.createContainer")
        posix.fchdir(root)  # where they begin, as with runc
        run_hooks("createContainer", hooks["createContainer"], whole(state_files["creating"]), None)
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
    if start.console is not None:
        # A terminal belongs to a session, and the session to whoever is in the pid namespace.
        start.console.open_and_dup(pipe, step, controlling=not start.enters_pid_namespace)

    # 8. What is set last, because what came before would have been hindered by it.
    step.begin("Restrict")
    _restrict(start, read_only_later, step)

    # 9. The finish list.
    _become_finish_list(start, pipe, step, state_files)


def _become_finish_list(
    start: InitConfig, pipe: "SyncPipe", step: "Step", state_files: "dict[str, int]"
) -> None:
    """Do what is left for Python, write the list, and become it: returns only by raising.

    Args:
        state_files: the states that hooks read, by their status
    """
    process = start.process
    step.begin("FinalizeNamespace", "process.cwd")
    inside = finalize_namespace(start)
    step.begin("LoadContainerEnvironment", "process.env")
    environment = load_environment(start)
    step.begin("Execv", "process.args[0]")
    state = start.hook_state
    start_hooks = start.hooks().get("startContainer") or ()
    if state < 0 and start_hooks:
        state = state_files["created"]
    user = start.user()
    chown_stdio(user.get("uid", 0))
    capabilities.prove(start.sets, syscalls.capget()[1])
    calls = finish.FinishList(pipe.fileno(), start.go, start.status)
    calls.end_by_signals()
    warnings = drop_privileges(calls, start)
    if not inside:
        calls.at("FinalizeNamespace", "process.cwd", process["cwd"])
        calls.chdir(process["cwd"])
    if start.enters_pid_namespace:
        calls.enter_pid_namespace(terminal=bool(process.get("terminal")))
        lower_nproc(calls, process.get("rlimits") or [])
    filtered = start.filter is not None and start.filter.notifies()
    if filtered:
        filter_late(calls, start)
    calls.ready()
    calls.wait(also=(state,) if state >= 0 else ())
    if start_hooks and not filtered:
        filter_late(calls, start)  # they are the image's programs, too
        filtered = True
    for index, hook in enumerate(start_hooks):
        # Without an `env` of its own it gets the container's, as from runc: it is inside.
        path = hook["path"]
        env = hook.get("env") or variables(environment)
        calls.hook(index, path, hook.get("args") or [path], env, state)
    execv(calls, start, environment, filtered=filtered)
    executable = finish.write_executable(calls.compile())
    status = posix.fstat(executable)
    step.begin("Finish")
    for fd in (pipe.fileno(), start.go, start.status, start.procfs, state):
        if fd >= 0:
            posix.set_inheritable(fd, True)
    pipe.send({"finish": calls.steps, "list": [status.st_dev, status.st_ino], "warnings": warnings})
    # While we wait the parent sets the rlimits, and from then on there may be no memory for more
    # than a few bytes (RLIMIT_AS): not for a whole message.
    if not posix.read(pipe.fileno(), 64):
        raise StepError(None, 0, "the parent is gone")
    syscalls.execveat(executable, "", [b"lcpy"], [], AT_EMPTY_PATH)


def _initialize_mount_namespace(
    start: InitConfig, root: int, cwd: str, given: "Given | None"
) -> "list[int]":
    """Mounts, devices, links; returns the mounts to be made read-only at the end."""
    config = start.config
    wanted = mounts.without_root(config.get("mounts") or [], start.rootfs)
    read_only_later = mounts.setup_mounts(
        root,
        wanted,
        start.cgroup_mounts,
        bool((start.namespaces | start.joined) & CLONE_NEWCGROUP),
        given,
        (config.get("linux") or {}).get("mountLabel") or "",
    )
    if given is not None:
        given.close()
    # A /dev that is a bind mount is the host's, or a volume: not ours to fill.
    if not mounts.dev_is_bound(wanted):
        wanted_devices = (config.get("linux") or {}).get("devices") or []
        devices.setup_devices(root, wanted_devices, start.in_user_namespace())
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


def _restrict(start: InitConfig, read_only_later: "list[int]", step: "Step") -> None:
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
    if (start.namespaces | start.joined) & CLONE_NEWNS:
        step.begin("Restrict", "root.readonly")
        mounts.finalize_mounts(read_only_later)
        if config["root"].get("readonly"):
            masks.readonly_root()
        step.begin("Restrict", "linux.readonlyPaths")
        masks.readonly_paths(linux.get("readonlyPaths") or [])
        step.begin("Restrict", "linux.maskedPaths")
        masks.mask_paths(linux.get("maskedPaths") or [], linux.get("mountLabel") or "")
    step.begin("setupMemoryPolicy", "linux.memoryPolicy")
    if linux.get("memoryPolicy"):
        memorypolicy.set_memory_policy(linux["memoryPolicy"])
    step.begin("Personality", "linux.personality")
    if linux.get("personality"):
        set_personality(linux["personality"]["domain"])
