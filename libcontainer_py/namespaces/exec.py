"""The parent's side: from a bundle to a process that waits for `start`.

`exec_` is libcontainer's namespaces/exec.go: the eight steps of a container's birth in their
order. Whatever isn't READY at its end undoes everything.
"""

import posix

from libcontainer_py import state as states
from libcontainer_py.cgroups import manager
from libcontainer_py.errors import ConfigError, During, StepError, quoted, words
from libcontainer_py.hooks import (
    in_memory,
    memory_file,
    run_hooks,
    run_poststop,
    state_of,
    write_sealed,
)
from libcontainer_py.linux.flags import (
    CLONE_NEWCGROUP,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
)
from libcontainer_py.linux.pathnames import real
from libcontainer_py.mount import rootfs, sources
from libcontainer_py.namespaces.child import Child
from libcontainer_py.namespaces.clone import clone, refuse_threads
from libcontainer_py.namespaces.created import Created
from libcontainer_py.namespaces.init import InitConfig, init
from libcontainer_py.namespaces.kinds import NAMESPACES, kind_of, ns_file
from libcontainer_py.namespaces.limit import limit_process, schedule_process
from libcontainer_py.namespaces.pidfile import write_pid_file
from libcontainer_py.namespaces.prepare import (
    compile_filter,
    find_labels,
    ignored_signals,
    may_set_groups,
    open_console,
    open_procfs,
    refuse_closed,
)
from libcontainer_py.namespaces.sendfd import pidfd_socket, send_pidfd
from libcontainer_py.security import capabilities
from libcontainer_py.spec import VERSION, load
from libcontainer_py.state import StateDir
from libcontainer_py.syncpipe.pipe import new_sync_pipe
from libcontainer_py.syncpipe.records import START

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from libcontainer_py.cgroups.manager import Cgroups
    from libcontainer_py.namespaces.console import Console
    from libcontainer_py.namespaces.helper import Serving
    from libcontainer_py.namespaces.sendfd import FdSocket
    from libcontainer_py.network.netdevices import NetDevices
    from libcontainer_py.syncpipe.pipe import SyncPipe


# What of linux.sysctl belongs to a namespace: sysctl(2) and namespaces(7).
_SYSCTLS = {
    "uts": ("kernel.domainname", "kernel.hostname"),
    "ipc": ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue."),
    "network": ("net.",),
}


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
        pidfd_socket: a UNIX socket that gets a pidfd of its first process, or None
        detach: our caller won't hold a terminal
        systemd_cgroup: let systemd make its cgroup
        systemd_properties: annotations may set any property of its unit
        cloned: told the pid and pidfd of each process on the way to the container's first, as
            soon as it is there, and then they are children of our parent (the launcher's way);
            None: they are our own
    """

    __slots__ = (
        "cloned",
        "console_socket",
        "detach",
        "listen_fds",
        "no_new_keyring",
        "no_pivot",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "stdio",
        "systemd_cgroup",
        "systemd_properties",
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
        pidfd_socket: "str | None" = None,
        detach: bool = False,
        systemd_cgroup: bool = False,
        systemd_properties: bool = False,
        cloned: "Callable[[int, int], None] | None" = None,
    ) -> None:
        self.stdio = stdio
        self.listen_fds = listen_fds
        self.preserve_fds = preserve_fds
        self.pid_file = pid_file
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.detach = detach
        self.systemd_cgroup = systemd_cgroup
        self.systemd_properties = systemd_properties
        self.cloned = cloned


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
    cgroups = _cgroups(config, container_id, options)
    refuse_threads()
    directory.make()
    console = watcher = None
    try:
        _find_namespaces(start)
        start.procfs = open_procfs(start)
        record = _record(start, cgroups)
        directory.write(record)
        start.filter = compile_filter(_linux(config), root)
        record["seccomp"] = start.filter is not None
        if start.filter is not None:
            directory.write_filter(start.filter.pack())
        # Who takes the terminal must be there before anything is made for it.
        console = open_console(config["process"], options.console_socket, detach=options.detach)
        watcher = pidfd_socket(options.pidfd_socket)
        return _exec(config, record, start, cgroups, directory, console, watcher, options)
    except BaseException:
        directory.remove()
        raise
    finally:
        if console is not None:
            console.close()
        if watcher is not None:
            watcher.close()
        for join in start.joins:
            posix.close(join.fd)
        if start.procfs >= 0:
            posix.close(start.procfs)
        directory.unlock()


def _exec(
    config: "dict[str, Any]",
    record: "dict[str, Any]",
    start: InitConfig,
    cgroups: "Cgroups",
    directory: StateDir,
    console: "Console | None",
    watcher: "FdSocket | None",
    options: Options,
) -> Created:
    linux = _linux(config)
    resources = linux.get("resources") or {}

    pipe, childs_end = new_sync_pipe()
    child = Child(pipe, cgroups)
    start.go = start.status = start.hook_state = -1
    serving: Serving | None = None
    devices: NetDevices | None = None
    ours = False  # the cgroups: a name that is in use already is another container's
    try:
        # 2. The child inherits its end of the sync pipe, and both FIFOs of `start`.
        _make_fifos(directory, start)
        if start.enters_pid_namespace and start.hooks().get("startContainer"):
            start.hook_state = memory_file()

        # 3. and 4. Clone the child, into its cgroups: into the unified one by the clone, and
        # through doors that are held open for it into the others, the first thing it does.
        with During("SetupCgroups", "linux.cgroupsPath"):
            cgroups.create(resources)
            ours = True
            owner = _cgroup_owner(start)
            if owner:
                cgroups.delegate(owner)
            start.cgroup_mounts = cgroups.mounts()
            start.entrance = cgroups.entrance()
        try:
            if not cgroups.made_late:
                directory.write_cgroups(record["cgroups"])
            _clone(child, start, childs_end, options)
        finally:
            start.entrance.close()
        childs_end.close()
        _follow_joiner(child, start, options)
        with During("SetupCgroups", "linux.cgroupsPath"):
            cgroups.adopt(child.pid)
        if cgroups.made_late:
            directory.write_cgroups(record["cgroups"])

        # 5. The maps of its user namespace; the host's network devices that become its own.
        identity = _identity(child, start)
        if linux.get("netDevices"):
            with During("setupNetworkDevices", "linux.netDevices"):
                # The root of a user namespace that is joined has its rights in a new one, too.
                others = bool(start.joined & (CLONE_NEWNET | CLONE_NEWUSER))
                devices = _net_devices(child, joined=others)
                devices.move(linux["netDevices"])
        child.tell({"go": True} | identity)

        # 6. Who makes the mounts that it can't make itself.
        if start.sources:
            serving = _serve_sources(child, start)

        # Its mounts are made: limits, all but memory; hooks. Where there are none, the child need
        # not wait for the limits.
        child.hear("mounts")
        if serving is not None:
            serving.close()
        hooks = start.hooks()
        # No device opens while the rules are written; and what is made late ends with its child.
        waits = bool(hooks) or console is not None or cgroups.made_late
        if not waits:
            child.tell({"ok": True})
        with During("SetupCgroups", "linux.resources"):
            cgroups.set(resources)
        if waits:
            _run_hooks(hooks, record, start, child)
            _tell_states(hooks, record, start, child)

        if console is not None:
            console.take(child.hear_terminal())

        # 7. Python's work is over: limits that would have hindered it.
        message = child.hear("finish")
        limit_process(child, start.process, to_clone=start.enters_pid_namespace)
        if start.enters_pid_namespace:
            child.tell({"ok": True})
            child.hear_entered(message["finish"], message["list"])
            if options.cloned is not None:
                options.cloned(child.pid, child.pidfd)
            if start.hook_state >= 0:
                state = state_of(record, states.CREATED, states.inner_pid(child.pid))
                write_sealed(start.hook_state, state)
        schedule_process(child, start.process)
        child.tell({"ok": True})

        # 8. READY, or what went wrong.
        child.hear_ready(message["finish"])
        with During("SetupCgroups", "linux.resources.memory"):
            cgroups.set_memory(resources)
        record["pid"] = child.pid
        record["start"] = states.start_time(child.pid)
        record["list"] = message["list"]
        record["start_steps"] = _after(START, message["finish"])
        directory.write(record)
        send_pidfd(watcher, child.pidfd)
        write_pid_file(options.pid_file, child.pid)
        warnings = start.warnings + message["warnings"]
        return Created(child.pid, child.pidfd, warnings, console.master if console else -1)
    except BaseException as error:
        _undo(child, cgroups if ours else None, error)
        if devices is not None:
            devices.give_back(error)
        for warning in run_poststop(record):
            error.add_note(warning)
        if console is not None:
            console.close_master()
        raise
    finally:
        if serving is not None:
            serving.close()
        if devices is not None:
            devices.close()
        pipe.close()
        childs_end.close()
        for fd in (start.go, start.status, start.hook_state):
            if fd >= 0:
                posix.close(fd)


def _after(name: str, steps: "list[Any]") -> "list[Any]":
    """The steps of a list from that of this name on."""
    return steps[[step[1] for step in steps].index(name) :]


def _net_devices(child: Child, *, joined: bool) -> "NetDevices":
    """Prepare to move devices: by a socket of the child's network namespace, and one of ours."""
    from libcontainer_py.namespaces import helper
    from libcontainer_py.network import netdevices

    try:
        inside = helper.open_inside(child.pidfd, CLONE_NEWNET, netdevices.open_socket)
        return netdevices.NetDevices(inside, joined=joined)
    except StepError as error:
        error.hint = netdevices.HINTS.get(error.errno)
        raise


def _serve_sources(child: Child, start: InitConfig) -> "Serving":
    from libcontainer_py.namespaces import sources as of_mounts

    child.hear("sources")
    with During("InitializeMountNamespace", "mounts"):
        serving = of_mounts.serve_sources(child, start)
    child.tell({"sources": True}, (serving.pipe.fileno(),))
    return serving


def _run_hooks(
    hooks: "dict[str, Any]", record: "dict[str, Any]", start: InitConfig, child: Child
) -> None:
    """Run the hooks of the runtime."""
    creating = state_of(record, states.CREATING, child.pid)
    for kind in ("prestart", "createRuntime"):
        with During(kind, f"hooks.{kind}"):
            run_hooks(kind, hooks.get(kind) or [], creating, start.bundle)
    if start.enters_pid_namespace and hooks.get("createContainer"):
        _run_create_container(hooks["createContainer"], creating, start, child)


def _tell_states(
    hooks: "dict[str, Any]", record: "dict[str, Any]", start: InitConfig, child: Child
) -> None:
    """Let the child go on, with the states that its own hooks read, in files: annotations can be
    larger than a message.
    """
    files = {}
    try:
        if hooks.get("createContainer"):
            files["creating"] = in_memory(state_of(record, states.CREATING, child.pid))
        if hooks.get("startContainer"):
            inside = 1 if start.namespaces & CLONE_NEWPID else child.pid
            files["created"] = in_memory(state_of(record, states.CREATED, inside))
        child.tell({"ok": True, "states": list(files)}, tuple(files.values()))
    finally:
        for fd in files.values():
            posix.close(fd)


def _run_create_container(
    hooks: "list[dict[str, Any]]", state: bytes, start: InitConfig, child: Child
) -> None:
    """Run createContainer hooks in the child's namespaces, but for it.

    Whatever it clones itself would be in the pid namespace that it joins, and Python never is.
    """
    from libcontainer_py.namespaces import helper

    def work() -> None:
        run_hooks("createContainer", hooks, state, start.rootfs)

    flags = (start.namespaces | start.joined) & ~(CLONE_NEWPID | CLONE_NEWTIME)
    with During("createContainer", "hooks.createContainer"):
        helper.run_inside(child.pidfd, flags, work)


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
    start.process = config["process"]
    start.container_id = container_id
    start.bundle = bundle
    start.rootfs = rootfs.resolve_rootfs(bundle, config["root"])
    start.namespaces = start.joined = 0
    start.joins = []
    start.sources = []
    for namespace in _linux(config).get("namespaces") or []:
        if not namespace.get("path"):
            start.namespaces |= NAMESPACES[namespace["type"]]
        else:
            start.joined |= NAMESPACES[namespace["type"]]
    if not (start.namespaces | start.joined) & CLONE_NEWNS:
        if config.get("mounts"):
            raise ConfigError("mounts need a mount namespace in linux.namespaces", "mounts")
        if config["process"].get("terminal"):
            what = "a terminal needs a mount namespace, for its /dev/console"
            raise ConfigError(what, "process.terminal")
    start.last_capability = capabilities.last_capability()
    start.sets, start.warnings = capabilities.parse(
        config["process"].get("capabilities"), start.last_capability
    )
    start.stdio = options.stdio
    for name, fd in zip(("stdin", "stdout", "stderr"), options.stdio, strict=True):
        refuse_closed(name, fd)
    start.listen_fds = options.listen_fds
    start.preserve_fds = options.listen_fds + options.preserve_fds
    for fd in range(3, 3 + start.preserve_fds):
        refuse_closed("LISTEN_FDS" if fd < 3 + options.listen_fds else "--preserve-fds", fd)
    start.ignored_signals = ignored_signals()
    find_labels(start)
    if _linux(config).get("mountLabel"):
        from libcontainer_py.security import selinux

        selinux.check(_linux(config)["mountLabel"], "linux.mountLabel")
    start.no_pivot = options.no_pivot
    start.no_new_keyring = options.no_new_keyring
    return start


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
        # What a second process needs.
        "namespaces": start.namespaces | start.joined,
        "mount_namespace": bool(start.namespaces & CLONE_NEWNS),
        "seccomp": False,
        "memory_policy": _linux(start.config).get("memoryPolicy"),
        "personality": (_linux(start.config).get("personality") or {}).get("domain"),
        "no_new_keyring": start.no_new_keyring,
        "oom_score_adj": start.process.get("oomScoreAdj"),
        "labels": {
            name: start.process[name]
            for name in ("apparmorProfile", "selinuxLabel")
            if start.process.get(name)
        },
    }


def _cgroup_owner(start: InitConfig) -> int:
    """Whom the container's cgroup is to belong to: config-linux.md, «Cgroup ownership».

    The host's id of its user, where the container mounts its cgroups, and may write to them.
    """
    mounts = start.config.get("mounts") or []
    if not start.namespaces & CLONE_NEWCGROUP or not any(map(_is_cgroups_own, mounts)):
        return 0
    uid = start.user().get("uid", 0)
    if not start.in_user_namespace():
        return int(uid)
    for each in _linux(start.config).get("uidMappings") or []:
        if 0 <= uid - each["containerID"] < each["size"]:
            return int(each["hostID"] + uid - each["containerID"])
    return 0


def _is_cgroups_own(mount: "dict[str, Any]") -> bool:
    return (
        mount["destination"].rstrip("/") == "/sys/fs/cgroup"
        and mount.get("type") in ("cgroup", "cgroup2")
        and "ro" not in (mount.get("options") or ())
    )


def _cgroups(config: "dict[str, Any]", container_id: str, options: Options) -> "Cgroups":
    path = _linux(config).get("cgroupsPath")
    if not options.systemd_cgroup:
        return manager.manager(path, container_id)
    return manager.by_systemd(
        path,
        container_id,
        config.get("annotations") or {},
        all_properties=options.systemd_properties,
    )


def _make_fifos(directory: StateDir, start: InitConfig) -> None:
    start.go = _make_fifo(directory.file("go"))
    start.status = _make_fifo(directory.file("status"))


def _make_fifo(path: str) -> int:
    posix.mkfifo(path, 0o600)
    return posix.open(path, posix.O_RDWR | posix.O_CLOEXEC)


# ── the clone ───────────────────────────────────────────────────────────────────────────────────


def _find_namespaces(start: InitConfig) -> None:
    """Open the namespaces to be joined, and see what this asks of us."""
    linux = _linux(start.config)
    if start.joined:
        from libcontainer_py.namespaces import joins

        start.joins = joins.open_namespaces(linux["namespaces"])
        start.joined = 0
        for join in start.joins:
            start.joined |= join.flag
        _refuse_ours(start)
    start.enters_pid_namespace = bool(start.joined & CLONE_NEWPID)
    start.by_another_user = posix.geteuid() != 0
    mounts = start.config.get("mounts") or []
    # Whoever is not the host's root can open no more than the container's root, whom he maps.
    if posix.geteuid() == 0 or not start.in_user_namespace():
        start.sources = sources.wanted(mounts, start.in_user_namespace())
    if start.enters_pid_namespace:
        start.sources += [i for i, mount in enumerate(mounts) if mount.get("type") == "proc"]


def _refuse_ours(start: InitConfig) -> None:
    """Refuse what would be done to our own namespaces: one that is joined by path can be ours."""
    for join in start.joins:
        kind = kind_of(join.flag)
        ours = posix.stat(f"/proc/self/ns/{ns_file(kind)}")
        status = posix.fstat(join.fd)
        if (status.st_dev, status.st_ino) != (ours.st_dev, ours.st_ino):
            continue
        if join.flag == CLONE_NEWNS:
            raise ConfigError(
                "it is our own: the container's mounts would be made here", join.field
            )
        for field in _asked_of(start.config, kind):
            raise ConfigError(f"{join.field} is our own {kind} namespace: it would be ours", field)


def _asked_of(config: "dict[str, Any]", kind: str) -> "list[str]":
    """List the fields that set something of a namespace of this kind."""
    fields = [name for name in ("hostname", "domainname") if kind == "uts" and config.get(name)]
    if kind == "network" and _linux(config).get("netDevices"):
        fields.append("linux.netDevices")
    prefixes = _SYSCTLS.get(kind, ())
    keys = _linux(config).get("sysctl") or {}
    return fields + [f"linux.sysctl[{quoted(key)}]" for key in keys if key.startswith(prefixes)]


def _clone(child: Child, start: InitConfig, childs_end: "SyncPipe", options: Options) -> None:
    """Clone the child; where there is something to join, the joiner, which clones it."""
    start.by_joiner = bool(start.joins or start.namespaces & CLONE_NEWTIME)
    flags = 0 if start.by_joiner else start.namespaces & ~start.made_late()
    before = _working_directory()
    try:
        # It inherits the bundle as its working directory, which relative sources of bind mounts and
        # the hooks are told of: the root of a user namespace may be barred from going there.
        posix.chdir(start.bundle)
        with During("clone", "linux.namespaces"):
            clone(
                lambda: init(start, childs_end),
                child.born,
                flags=flags,
                cgroup=start.entrance.unified,
                for_parent=options.cloned is not None,
            )
    finally:
        posix.fchdir(before)
        posix.close(before)
    if options.cloned is not None:
        options.cloned(child.pid, child.pidfd)


def _working_directory() -> int:
    """Open the working directory; "/" in the place of one that we may not search."""
    flags = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
    try:
        return posix.open(".", flags)
    except PermissionError:
        return posix.open("/", flags)


def _follow_joiner(child: Child, start: InitConfig, options: Options) -> None:
    """Wait until the joiner has cloned the child, or the child has joined all but pid itself."""
    if start.enters_pid_namespace:
        child.hear("entered")
    elif start.by_joiner:
        child.hear_cloned()
        if options.cloned is not None:
            options.cloned(child.pid, child.pidfd)


def _identity(child: Child, start: InitConfig) -> "dict[str, Any]":
    """Write the maps of a new user namespace; say who the child is to be in it, or another one."""
    linux = _linux(start.config)
    uids, gids = linux.get("uidMappings") or [], linux.get("gidMappings") or []
    if start.in_user_namespace() or uids or gids:
        from libcontainer_py.namespaces import maps

        if start.namespaces & CLONE_NEWUSER:
            maps.write_maps(child.pid, uids, gids)
        else:
            maps.refuse_other_maps(child.pid, uids, gids)
    who: dict[str, Any] = {"setgroups": may_set_groups(child.pid)}
    if start.in_user_namespace():
        who["ids"] = maps.first_ids(child.pid)
    return who


# ── the rest ────────────────────────────────────────────────────────────────────────────────────


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
