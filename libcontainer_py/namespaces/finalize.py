"""The last steps before the container's program, alike for a first and a second process.

What can be done before the privileges are dropped is done here, in Python; the rest is recorded in
the finish list. libcontainer's FinalizeNamespace, and what follows it.
"""

import posix

from libcontainer_py.errors import During, StepError
from libcontainer_py.linux.flags import PR_SET_NO_NEW_PRIVS
from libcontainer_py.mount import paths
from libcontainer_py.namespaces.finish import AtOnce, FinishList
from libcontainer_py.namespaces.identity import setup_user
from libcontainer_py.namespaces.lookup import AsUser, look_path
from libcontainer_py.security import capabilities
from libcontainer_py.user.passwd import home_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.namespaces.finish import Calls
    from libcontainer_py.security.seccomp import Filter


class ProcessConfig:
    """What a child needs to know of its process: read, proved and compiled before the clone."""

    __slots__ = (
        "filter",
        "ignored_signals",
        "label",
        "last_capability",
        "listen_fds",
        "may_set_groups",
        "preserve_fds",
        "process",
        "procfs",
        "profile",
        "sets",
        "stdio",
        "warnings",
    )

    process: "dict[str, Any]"  # as in config.json
    sets: capabilities.Sets
    last_capability: int
    filter: "Filter | None"
    profile: str  # AppArmor's, or ""
    label: str  # SELinux's, or ""
    procfs: int  # the host's, through which these are asked for; or -1
    may_set_groups: bool  # its user namespace allows it
    stdio: "tuple[int, int, int]"
    preserve_fds: int  # all that are passed on from 3 on
    listen_fds: int  # so many of them are for sd_listen_fds(3)
    ignored_signals: int  # bit N-1 is signal N
    warnings: "list[str]"

    def user(self) -> "dict[str, Any]":
        """`process.user`; what it leaves out is root's, as for runc."""
        user: dict[str, Any] = self.process.get("user") or {}
        return user

    def filtered_late(self) -> bool:
        """Is the filter loaded when all privileges are given up? Else while there is still the one
        that this takes without no_new_privs.
        """
        return bool(self.process.get("noNewPrivileges"))


def finalize_namespace(start: ProcessConfig) -> bool:
    """Go to the working directory, proved to be inside the root; set the umask.

    The path is resolved beneath the root and without magic links: `/proc/self/fd/N` would lead to
    whatever directory of the host is still open (CVE-2024-21626).

    Returns False where the directory is closed to root: the user himself must go there.
    """
    umask = start.user().get("umask")
    posix.umask(0o022 if umask is None else int(umask))
    root = paths.open_root()
    try:
        directory = paths.open_in_root(root, start.process["cwd"], posix.O_DIRECTORY)
        try:
            posix.fchdir(directory)
        finally:
            posix.close(directory)
    except PermissionError:
        return False  # on a network file system root may see less than the user
    finally:
        posix.close(root)
    return True


def load_environment(start: ProcessConfig, root: "int | None" = None) -> "dict[str, str]":
    """Read the container's environment; a later entry wins; HOME comes from its passwd if unset.

    It is data for the last execve alone: never posix.environ, never a hook's (CVE-2025-23266).

    Args:
        root: a descriptor of the container's root; None: we are in it
    """
    environment = {}
    for entry in start.process.get("env") or ():
        name, _equals, value = entry.partition("=")
        environment[name] = value
    if not environment.get("HOME"):
        slash = paths.open_root() if root is None else root
        environment["HOME"] = home_in_root(slash, start.user().get("uid", 0))
        if root is None:
            posix.close(slash)
    if start.listen_fds:
        environment |= {"LISTEN_FDS": str(start.listen_fds), "LISTEN_PID": str(posix.getpid())}
    return environment


def drop_privileges(calls: FinishList, start: ProcessConfig) -> "list[str]":
    """Record everything that is given up for good; returns warnings."""
    user, sets = start.user(), start.sets
    uid, gid = user.get("uid", 0), user.get("gid", 0)
    if start.procfs >= 0:
        _set_labels(calls, start)
    capabilities.drop_bounding_set(calls, sets, start.last_capability)
    capabilities.keep_capabilities(calls)
    setup_user(calls, uid, gid, _groups(start))
    if start.filter is not None and not start.filtered_late():
        # This needs CAP_SYS_ADMIN, which is given up only behind it.
        capabilities.apply_capabilities(calls, sets.with_sys_admin())
        _init_seccomp(calls, start.filter)
    capabilities.apply_capabilities(calls, sets)
    warnings = capabilities.raise_ambient(calls, sets)
    if start.process.get("noNewPrivileges"):
        calls.at("NoNewPrivileges", "process.noNewPrivileges")
        calls.prctl(PR_SET_NO_NEW_PRIVS, 1)
    return warnings


def label_keyring(start: ProcessConfig, calls: "Calls | None" = None) -> None:
    """Have the session keyring, which is made next, labelled as the program will be.

    Args:
        calls: where to record that; None: it is done now
    """
    if start.label:
        # Not an import: the parent, which has looked at the label, has loaded it.
        from libcontainer_py.security import selinux

        with During("SetKeyLabel", "process.selinuxLabel"):
            selinux.set_key_label(calls or AtOnce(), start.procfs, start.label)


def _set_labels(calls: FinishList, start: ProcessConfig) -> None:
    # Before the filter, which may allow nothing of this; for the next exec, that of the program or
    # of a hook of the image's before it, which inherits them.
    if start.profile:
        from libcontainer_py.security import apparmor  # loaded by the parent

        apparmor.apply_profile(calls, start.procfs, start.profile)
    if start.label:
        from libcontainer_py.security import selinux  # loaded by the parent

        selinux.set_exec_label(calls, start.procfs, start.label)
    # What waits in the container holds nothing of the host's.
    calls.call("close", start.procfs)


def execv(
    calls: FinishList, start: ProcessConfig, environment: "dict[str, str]", *, filtered: bool
) -> None:
    """Find the program, as the container's user would, and record that it is to be run.

    A missing one is found out now.

    Args:
        filtered: the filter has been recorded

    Raises:
        StepError: it isn't there, or can't be run
    """
    user, process = start.user(), start.process
    groups = _groups(start)
    if groups is not None:
        with During("SetupUser", "process.user.additionalGids"):
            posix.setgroups(groups)
    with AsUser(user.get("uid", 0), user.get("gid", 0), start.sets):
        program = look_path(process["args"][0], environment.get("PATH"))
    if not filtered:
        filter_late(calls, start)
    calls.execve(program, process["args"], variables(environment))


def filter_late(calls: FinishList, start: ProcessConfig) -> None:
    """Record the filter as late as can be: then one that allows execve alone works. (But before
    hooks of the container's, which need more; and one with a listener while our parent is there to
    take it.)
    """
    if start.filter is not None and start.filtered_late():
        _init_seccomp(calls, start.filter)


def variables(environment: "dict[str, str]") -> "list[str]":
    """Write an environment as execve(2) takes it."""
    return [f"{name}={value}" for name, value in environment.items()]


def _groups(start: ProcessConfig) -> "list[int] | None":
    """The supplementary groups to set, or None where they are left as they are: there is no way."""
    groups: list[int] = start.user().get("additionalGids") or []
    if start.may_set_groups:
        return groups
    if groups:
        what = "this user namespace may not set groups"
        field = "process.user.additionalGids"
        hint = "map them by newgidmap: more than one group in linux.gidMappings"
        raise StepError("SetupUser", 1, what, field=field, hint=hint)
    return None


def _init_seccomp(calls: FinishList, filter: "Filter") -> None:
    calls.at("InitSeccomp", "linux.seccomp")
    calls.seccomp_set_mode_filter(filter.flags, filter.instructions)
    if filter.notifies():
        calls.hand_over_listener()
