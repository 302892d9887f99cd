"""A second process on its way into the container: a finish list from its first step.

Nothing of Python is ever in the container's pid namespace. All that can be known is found out by
the parent, from outside: the directory that is HOME, the program, a terminal of the container's
devpts. What joins is the list, which holds no right of ours any more when the container can see it.
"""

import posix

from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import AT_EMPTY_PATH, PR_SET_DUMPABLE, SIG_SETMASK
from libcontainer_py.namespaces.finalize import (
    ProcessConfig,
    drop_privileges,
    filter_late,
    label_keyring,
    load_environment,
    variables,
)
from libcontainer_py.namespaces.finish import FinishList
from libcontainer_py.namespaces.limit import set_oom_score_adj
from libcontainer_py.namespaces.lookup import check_beneath, look_paths
from libcontainer_py.namespaces.streams import (
    chown_stdio,
    close_all_but,
    reset_signals,
    set_stdio,
)
from libcontainer_py.security import keyring
from libcontainer_py.security.rlimits import lower_nproc
from libcontainer_py.syncpipe.pipe import as_step_error, error_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from libcontainer_py.cgroups.interface import Entrance
    from libcontainer_py.syncpipe.pipe import SyncPipe


class SetnsConfig(ProcessConfig):
    """What the list is made from."""

    __slots__ = (
        "chroot",
        "container_id",
        "entrance",
        "host_uid",
        "ids",
        "init_pidfd",
        "initial_cpus",
        "memory_policy",
        "namespaces",
        "no_new_keyring",
        "oom_score_adj",
        "personality",
        "root",
    )

    container_id: str
    init_pidfd: int
    namespaces: int  # the CLONE_NEW… flags of those to join
    root: int  # a descriptor of the container's root
    chroot: bool  # it is not the root of its mount namespace
    host_uid: int  # its user, as the host sees him
    ids: "tuple[int, int] | None"  # who to be in its user namespace, if it has one
    entrance: "Entrance | None"
    initial_cpus: "list[int]"  # to begin on, before it is in the cgroups; none: on all
    memory_policy: "dict[str, Any] | None"
    personality: "int | None"
    no_new_keyring: bool
    oom_score_adj: "int | None"


def setns_list(start: SetnsConfig, pipe: int) -> "tuple[FinishList, list[str]]":
    """Write the list; returns it, and warnings. `ExecIn`, `FinalizeSetns`.

    Args:
        pipe: the list's end of the sync pipe

    Raises:
        StepError: its program is not there
    """
    process = start.process
    environment = load_environment(start, start.root)
    *others, program = look_paths(
        process["args"][0], environment.get("PATH"), check_beneath(start.root, process["cwd"])
    )

    calls = FinishList(pipe, -1, pipe)
    # Where the container shares our pid namespace, it could attach before anything is dropped.
    calls.prctl(PR_SET_DUMPABLE, 0)
    calls.call("rt_sigprocmask", SIG_SETMASK, bytes(8), 0, 8)
    if start.initial_cpus:
        calls.affinity(start.initial_cpus)
    if start.entrance is not None:
        calls.enter_cgroups(start.entrance.tasks)
    calls.join_namespaces(start.init_pidfd, start.namespaces)
    if start.chroot:
        calls.chroot(start.root)
    if start.ids is not None:
        calls.become_root(*start.ids)
    if not start.no_new_keyring:
        label_keyring(start, calls)
        keyring.record_session_keyring(calls, start.container_id)
    if start.memory_policy is not None:
        from libcontainer_py.security import memorypolicy

        memorypolicy.record_memory_policy(calls, start.memory_policy)
    if start.personality is not None:
        calls.at("Personality", "linux.personality")
        calls.call("personality", start.personality)
    umask = start.user().get("umask")
    calls.call("umask", 0o022 if umask is None else umask)
    calls.chdir_in_root(process["cwd"])
    calls.joined()
    warnings = drop_privileges(calls, start)
    calls.chdir_later(process["cwd"])
    calls.enter_pid_namespace(terminal=bool(process.get("terminal")))
    lower_nproc(calls, process.get("rlimits") or [])
    calls.close_on_exec()
    filter_late(calls, start)
    calls.execve(program, process["args"], variables(environment), say=False, first=others)
    return calls, warnings


def become_list(start: SetnsConfig, pipe: "SyncPipe", executable: int) -> "NoReturn":
    """In the clone: become the list, with its descriptors and nothing else of ours."""
    try:
        # Not in our session, whose terminal it could be made to open or to type into, once the
        # container can see it.
        posix.setsid()
        reset_signals(start.ignored_signals)
        set_stdio(start.stdio)
        chown_stdio(start.host_uid)
        # Now: later its files in /proc are root's, and a parent who is not root could not.
        set_oom_score_adj("self", start.oom_score_adj)
        kept = {pipe.fileno(), start.init_pidfd, *range(3, 3 + start.preserve_fds)}
        if start.entrance is not None:
            kept.update(fd for fd, _path in start.entrance.tasks)
        if start.chroot:
            kept.add(start.root)
        if start.procfs >= 0:
            kept.add(start.procfs)
        for fd in kept:
            posix.set_inheritable(fd, True)
        close_all_but({0, 1, 2, executable, *kept})
        syscalls.execveat(executable, "", [b"lcpy"], [], AT_EMPTY_PATH)
    except BaseException as error:
        pipe.send(error_message(as_step_error(error, "clone")))
    finally:
        posix._exit(1)
