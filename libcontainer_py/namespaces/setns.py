"""The child's side of a second process: into the container's namespaces, and the finish list.

The rules of the child hold here too: no import, no file opened by its path, nothing printed.
"""

import posix

from libcontainer_py.errors import StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import AT_EMPTY_PATH, CLONE_NEWPID, PR_SET_DUMPABLE
from libcontainer_py.namespaces import finish, seal
from libcontainer_py.namespaces.finalize import (
    ProcessConfig,
    drop_privileges,
    execv,
    finalize_namespace,
    load_environment,
)
from libcontainer_py.namespaces.identity import become_root
from libcontainer_py.namespaces.step import Step
from libcontainer_py.namespaces.streams import close_all_but, reset_signals, set_stdio
from libcontainer_py.security import keyring
from libcontainer_py.security.affinity import set_affinity
from libcontainer_py.security.personality import set_personality
from libcontainer_py.security.rlimits import lower_nproc
from libcontainer_py.syncpipe.pipe import as_step_error, error_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from libcontainer_py.cgroups.interface import Entrance
    from libcontainer_py.syncpipe.pipe import SyncPipe


class SetnsConfig(ProcessConfig):
    """What the joining child needs to know."""

    __slots__ = (
        "container_id",
        "entrance",
        "ids",
        "init_pidfd",
        "initial_cpus",
        "namespaces",
        "no_new_keyring",
        "personality",
        "root",
    )

    container_id: str
    init_pidfd: int
    namespaces: int  # the CLONE_NEW… flags of those that are not the host's
    root: int  # a descriptor of the container's root, where no mount namespace has it; or -1
    ids: "tuple[int, int] | None"  # who to be in its user namespace, if it has one
    entrance: "Entrance | None"
    initial_cpus: "list[int]"  # to begin on, before it is in the cgroups; none: on all
    personality: "str | None"
    no_new_keyring: bool


def setns(start: SetnsConfig, pipe: "SyncPipe") -> "NoReturn":
    """Join the container, become the finish list, or report and leave. `ExecIn`."""
    step = Step(pipe)
    try:
        _setns(start, pipe, step)
    except BaseException as error:
        try:
            pipe.send(error_message(as_step_error(error, step.name, step.field)))
        except BaseException:  # the parent is gone: there is nobody to tell
            posix._exit(1)
    posix._exit(1)


def _setns(start: SetnsConfig, pipe: "SyncPipe", step: Step) -> None:
    process = start.process
    if start.initial_cpus:
        step.begin("setAffinity", "process.execCPUAffinity.initial")
        set_affinity(0, start.initial_cpus)
    step.begin("ReadFromParent")
    reset_signals(start.ignored_signals)
    set_stdio(start.stdio)
    preserved = range(3, 3 + start.preserve_fds)
    for fd in preserved:
        posix.set_inheritable(fd, True)
    init, root = start.init_pidfd, start.root
    doors = start.entrance.tasks if start.entrance is not None else []
    kept = {fd for fd, _path in doors}
    close_all_but({0, 1, 2, *preserved, pipe.fileno(), init, root, *kept} - {-1})
    posix.setsid()

    step.begin("joinNamespaces")
    seal.seal()  # from here on files belong to somebody else
    # Who is in there already must find nothing to attach to (CVE-2016-9962).
    syscalls.prctl(PR_SET_DUMPABLE, 0)
    # All at once: the kernel judges by the rights that we have before. Of the pid namespace we are
    # not; our children will be.
    syscalls.setns(init, start.namespaces | CLONE_NEWPID)
    posix.close(init)
    if root >= 0:
        posix.fchdir(root)
        posix.chroot(".")
        posix.close(root)
    if start.ids is not None:
        step.begin("setupUserNamespace")
        become_root(*start.ids)
    if not start.no_new_keyring:
        step.begin("JoinSessionKeyring")
        keyring.join_session_keyring(start.container_id)

    if process.get("terminal"):
        _open_and_dup(start, pipe, step)

    step.begin("Personality", "linux.personality")
    if start.personality is not None:
        set_personality(start.personality)

    step.begin("FinalizeNamespace", "process.cwd")
    inside = finalize_namespace(start)
    step.begin("LoadContainerEnvironment", "process.env")
    environment = load_environment(start)
    step.begin("Execv", "process.args[0]")
    calls = finish.FinishList(pipe.fileno(), -1, pipe.fileno())
    calls.enter_cgroups(doors)
    warnings = drop_privileges(calls, start, inside)
    calls.enter_pid_namespace(terminal=bool(process.get("terminal")))
    lower_nproc(calls, process.get("rlimits") or [])
    calls.close_on_exec()
    execv(calls, start, environment, say=False)
    executable = finish.write_executable(calls.compile())
    status = posix.fstat(executable)
    step.begin("Finish")
    for fd in (pipe.fileno(), *kept):
        posix.set_inheritable(fd, True)
    pipe.send({"finish": calls.steps, "list": [status.st_dev, status.st_ino], "warnings": warnings})
    # From here on there may be no memory for more than a few bytes: RLIMIT_AS has been set.
    if not posix.read(pipe.fileno(), 64):
        raise StepError(None, 0, "the parent is gone")
    syscalls.execveat(executable, "", [b"lcpy"], [], AT_EMPTY_PATH)


def _open_and_dup(start: SetnsConfig, pipe: "SyncPipe", step: Step) -> None:
    """Make a terminal of the container's own devpts the standard streams; send its master up."""
    # Not an import: the parent, which has a console to send, has loaded it.
    from libcontainer_py.mount import console

    step.begin("OpenAndDup", "process.terminal")
    size = start.process.get("consoleSize") or {}
    master, slave = console.new_terminal()
    if size.get("height") and size.get("width"):
        console.set_size(master, size["height"], size["width"])
    pipe.send({"console": True}, (master,))
    posix.close(master)
    console.take_terminal(slave, controlling=False)
