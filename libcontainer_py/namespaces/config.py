"""What is found out before the clone: what the child needs to know, and what state.json is to say.

All is read and proved here, so that a config.json that is wrong, or asks for what can't be had,
fails before anything is made.
"""

import posix

from libcontainer_py import state as states
from libcontainer_py.cgroups import manager
from libcontainer_py.errors import ConfigError, quoted, words
from libcontainer_py.linux.flags import CLONE_NEWCGROUP, CLONE_NEWNS, CLONE_NEWPID
from libcontainer_py.linux.pathnames import real
from libcontainer_py.mount import rootfs, sources
from libcontainer_py.namespaces.init import InitConfig
from libcontainer_py.namespaces.kinds import NAMESPACES, kind_of, ns_file
from libcontainer_py.namespaces.prepare import find_labels, ignored_signals, refuse_closed
from libcontainer_py.security import capabilities
from libcontainer_py.spec import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from libcontainer_py.cgroups.manager import Cgroups


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
        notify: mount the directory `notify` of its state, for the socket of sd_notify(3)
        no_new_keyring: leave it in the caller's session keyring
        console_socket: where to send the master of its terminal; None: it is our caller's
        pidfd_socket: a UNIX socket that gets a pidfd of its first process, or None
        detach: our caller won't hold a terminal
        rootless: do without cgroups that we may not make, see `manager.manager`
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
        "notify",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "rootless",
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
        notify: bool = False,
        console_socket: "str | None" = None,
        pidfd_socket: "str | None" = None,
        detach: bool = False,
        rootless: "bool | None" = None,
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
        self.notify = notify
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.detach = detach
        self.rootless = rootless
        self.systemd_cgroup = systemd_cgroup
        self.systemd_properties = systemd_properties
        self.cloned = cloned


def real_bundle(bundle: str) -> str:
    """Resolve a bundle's path, for whoever is somewhere else later.

    Raises:
        ConfigError: there is no such directory
    """
    try:
        return real(bundle)
    except OSError as error:
        raise ConfigError(f"bundle {quoted(bundle)}: {words(error.errno or 0)}") from None


def add_notify_socket(config: "dict[str, Any]", directory: str) -> None:
    """Give a container a directory for the socket to which it says that it is ready, as runc does.

    It is read-only in there, and the socket is made when the container is started.
    """
    options = ["bind", "nosuid", "noexec", "nodev", "ro"]
    mount = {"destination": "/run/notify", "type": "bind", "source": directory, "options": options}
    config.setdefault("mounts", []).append(mount)
    variable = "NOTIFY_SOCKET=/run/notify/notify.sock"
    config["process"].setdefault("env", []).append(variable)


def init_config(
    config: "dict[str, Any]", bundle: str, container_id: str, options: Options
) -> InitConfig:
    """Read out of config.json what the child needs to know; the rest of it, `find_namespaces`.

    Raises:
        ConfigError: it asks for what can't be
        StepError: the root filesystem is not there
    """
    start = InitConfig()
    start.config = config
    start.process = config["process"]
    start.container_id = container_id
    start.bundle = bundle
    start.rootfs = rootfs.resolve_rootfs(bundle, config["root"])
    start.namespaces = start.joined = 0
    start.joins = []
    start.sources = []
    start.joiner = start.given = start.console = None
    for namespace in start.linux().get("namespaces") or []:
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
    if start.linux().get("mountLabel"):
        from libcontainer_py.security import selinux

        selinux.check(start.linux()["mountLabel"], "linux.mountLabel")
    start.no_pivot = options.no_pivot
    start.no_new_keyring = options.no_new_keyring
    return start


def new_record(start: InitConfig, cgroups: "Cgroups") -> "dict[str, Any]":
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
        "seccomp_agent": None,
        "memory_policy": start.linux().get("memoryPolicy"),
        "intel_rdt": _intel_rdt(start),
        "personality": (start.linux().get("personality") or {}).get("domain"),
        "no_new_keyring": start.no_new_keyring,
        "oom_score_adj": start.process.get("oomScoreAdj"),
        "labels": {
            name: start.process[name]
            for name in ("apparmorProfile", "selinuxLabel")
            if start.process.get(name)
        },
    }


def _intel_rdt(start: InitConfig) -> "dict[str, Any] | None":
    asked = start.linux().get("intelRdt")
    if asked is None:
        return None
    from libcontainer_py.intelrdt import groups

    return groups.plan(asked, start.container_id)


def cgroup_owner(start: InitConfig) -> int:
    """Whom the container's cgroup is to belong to: config-linux.md, «Cgroup ownership».

    The host's id of its user, where the container mounts its cgroups, and may write to them.
    """
    mounts = start.config.get("mounts") or []
    if not start.namespaces & CLONE_NEWCGROUP or not any(map(_is_cgroups_own, mounts)):
        return 0
    uid = start.user().get("uid", 0)
    if not start.in_user_namespace():
        return int(uid)
    for each in start.linux().get("uidMappings") or []:
        if 0 <= uid - each["containerID"] < each["size"]:
            return int(each["hostID"] + uid - each["containerID"])
    return 0


def _is_cgroups_own(mount: "dict[str, Any]") -> bool:
    return (
        mount["destination"].rstrip("/") == "/sys/fs/cgroup"
        and mount.get("type") in ("cgroup", "cgroup2")
        and "ro" not in (mount.get("options") or ())
    )


def find_cgroups(config: "dict[str, Any]", container_id: str, options: Options) -> "Cgroups":
    """Find out where its cgroups are to be, and who makes them. Nothing is made yet.

    Raises:
        ConfigError, StepError, Error: as `manager.manager` and `systemd.cgroups`
    """
    path = (config.get("linux") or {}).get("cgroupsPath")
    if not options.systemd_cgroup:
        return manager.manager(path, container_id, rootless=options.rootless)
    return manager.by_systemd(
        path,
        container_id,
        config.get("annotations") or {},
        all_properties=options.systemd_properties,
    )


def find_namespaces(start: InitConfig) -> None:
    """Open the namespaces to be joined, and see what this asks of us.

    Raises:
        ConfigError: what is asked for would be done to our own
        StepError: one can't be opened
    """
    if start.joined:
        from libcontainer_py.namespaces import joins

        start.joins = joins.open_namespaces(start.linux()["namespaces"])
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
    if start.sources:
        from libcontainer_py.namespaces.sources import Given

        start.given = Given


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
    linux = config.get("linux") or {}
    if kind == "network" and linux.get("netDevices"):
        fields.append("linux.netDevices")
    prefixes = _SYSCTLS.get(kind, ())
    keys = linux.get("sysctl") or {}
    return fields + [f"linux.sysctl[{quoted(key)}]" for key in keys if key.startswith(prefixes)]
