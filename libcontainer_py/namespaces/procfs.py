"""The procfs of a pid namespace that exists already, made without Python ever being in it."""

import _struct as struct
import posix

from libcontainer_py.errors import StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import (
    AT_EMPTY_PATH,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MOVE_MOUNT_F_EMPTY_PATH,
    PROC_SUPER_MAGIC,
    SCM_RIGHTS,
    SOL_SOCKET,
)
from libcontainer_py.linux.wait import wait_for_end
from libcontainer_py.mount import pivot
from libcontainer_py.namespaces import helper, loop
from libcontainer_py.namespaces.clone import clone
from libcontainer_py.namespaces.finish import (
    FIRST,
    Address,
    Array,
    AtOnce,
    FinishList,
    Saved,
    write_executable,
)
from libcontainer_py.namespaces.streams import close_all_but
from libcontainer_py.security import capabilities
from libcontainer_py.syncpipe.pipe import (
    as_step_error,
    decode,
    error_message,
    error_of,
    new_sync_pipe,
)
from libcontainer_py.syncpipe.records import RECORD_SIZE, step_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from libcontainer_py.mount.options import Options
    from libcontainer_py.syncpipe.pipe import SyncPipe

    Data = list[tuple[str, str | None]]

_EPERM, _EINVAL, _ENODATA = 1, 22, 61
_SIGCHLD = 17
_NOBODY = 65534
_SECONDS = 10.0


def new_procfs(pid_namespace: int, options: "Options", field: str) -> int:
    """Make a procfs of another pid namespace; returns a descriptor of the detached mount.

    Since Linux 6.17 it can be told which. Before that, a procfs is of the pid namespace in which
    it was begun: a finish list begins it there, and nothing more.

    Args:
        pid_namespace: a descriptor of it
        options: the mount's; what is proc's own among them (``hidepid=``, …) is used here
        field: the mount's place in config.json

    Raises:
        StepError: with the mount as its field
    """
    data: Data = []
    for _index, text in options.data:
        for word in text.split(","):
            key, equals, value = word.partition("=")
            data.append((key, value if equals else None))
    try:
        try:
            return by_descriptor(pid_namespace, data)
        except OSError as error:
            if error.errno != _EINVAL:
                raise
        return by_list(pid_namespace, data, field)
    except OSError as error:
        raise StepError.of(error, None, field) from None


def by_descriptor(pid_namespace: int, data: "Data") -> int:
    """Make it by proc's option ``pidns``.

    Raises:
        OSError: EINVAL where the kernel does not know the option, or one of `data`
    """
    context = syscalls.fsopen("proc", FSOPEN_CLOEXEC)
    try:
        syscalls.fsconfig_set_fd(context, "pidns", pid_namespace)
        return _mount(context, data)
    finally:
        posix.close(context)


def by_list(pid_namespace: int, data: "Data", field: str) -> int:
    """Have it begun by a finish list, which enters the namespace, and make it of that.

    Whoever is in there already may have CAP_SYS_PTRACE, and trace whatever comes: a process with
    our rights would hand him the host. What comes is nobody, has its capabilities in a user
    namespace of its own alone, and for a root an empty filesystem.

    Raises:
        OSError: the kernel refused
    """
    context = _begun_inside(pid_namespace, field)
    try:
        return _mount(context, data)
    finally:
        posix.close(context)


def _mount(context: int, data: "Data") -> int:
    _prove_proc(context)
    syscalls.fsconfig_set_string(context, "source", "proc")
    for key, value in data:
        if value is None:
            syscalls.fsconfig_set_flag(context, key)
        else:
            syscalls.fsconfig_set_string(context, key, value)
    syscalls.fsconfig_create(context)
    tree = syscalls.fsmount(context, FSMOUNT_CLOEXEC, 0)
    if syscalls.fstatfs(tree)[0] != PROC_SUPER_MAGIC:
        posix.close(tree)
        raise OSError(_EINVAL, "not a procfs")
    return tree


def _prove_proc(context: int) -> None:
    """Refuse to make anything but a procfs of what came from inside.

    Whoever is there may have sent a context of his own: of an overlay, say, over directories of the
    host's, which would be looked up with our rights. The kernel says of what type a context is when
    it is asked for an option that no filesystem has.

    Raises:
        StepError: it is something else
    """
    try:
        syscalls.fsconfig_set_flag(context, "lcpy.which-type")
    except OSError as error:
        if error.errno != _EINVAL:
            raise
    said = []
    while True:
        try:
            said.append(posix.read(context, 1024))
        except OSError as error:
            if error.errno != _ENODATA:
                raise
            break
    if not said or not all(line.startswith(b"e proc: ") for line in said):
        raise StepError(None, 0, "what came from inside the pid namespace is no procfs")


def _begun_inside(pid_namespace: int, field: str) -> int:
    """Get a descriptor of fsopen(2), by who was in the namespace."""
    ours, theirs = new_sync_pipe()
    calls = _list(theirs.fileno(), field)
    executable = write_executable(calls.compile())
    born: list[int] = []
    try:
        clone(
            lambda: _become_list(theirs, pid_namespace, executable),
            lambda _pid, pidfd: born.append(pidfd),
        )
        theirs.close()
        # What the list can't make is the header of a control message: it reads one (cmsg(3)).
        posix.write(ours.fileno(), struct.pack("QII", 16 + 4, SOL_SOCKET, SCM_RIGHTS))
        # Whoever is in the namespace may be allowed to stop it: then we do not wait for ever.
        if not wait_for_end(ours.fileno(), _SECONDS):
            raise StepError(None, 0, f"no answer in {_SECONDS:.0f} s from within", field=field)
        answer, fds = ours.receive_bytes(1)
        # Let it reap what it has cloned, which would else be left to the namespace's first process.
        wait_for_end(born[0], _SECONDS)
        if fds:
            return fds[0]
        if len(answer) == RECORD_SIZE:
            position, errno = loop.position(answer)
            _step, _field, what = step_at(calls.steps, position)
            raise StepError(None, errno, what, field=field)
        raise error_of(decode(answer)) if answer else StepError(None, 0, "it ended", field=field)
    finally:
        posix.close(executable)
        ours.close()
        theirs.close()
        for pidfd in born:
            helper.reap(pidfd)


def _list(pipe: int, field: str) -> FinishList:
    pid, header, context = FIRST, FIRST + 1, FIRST + 3
    calls = FinishList(pipe, -1, pipe)
    calls.at("mount", field, "enter the pid namespace")
    calls.call("read", pipe, Address(header), 16, zero="die")
    calls.call("clone", _SIGCHLD, save=pid, zero="inside")
    calls.call("wait4", Saved(pid), 0, retry=True)
    calls.call("exit_group", 0)
    calls.label("inside")
    calls.at("mount", field, 'mount of "proc"')
    calls.call("fsopen", b"proc", FSOPEN_CLOEXEC, save=context)
    # struct msghdr: no name; one byte; the header that was read, with the descriptor behind it.
    vector = Array((b"!", 1))
    message = Array((0, 0, vector, 1, Address(header), 16 + 4, 0))
    calls.call("sendmsg", pipe, message)
    calls.call("exit_group", 0)
    return calls


def _become_list(pipe: "SyncPipe", pid_namespace: int, executable: int) -> "NoReturn":
    try:
        syscalls.setns(pid_namespace, CLONE_NEWPID)  # it holds for what the list clones
        _give_up_rights()
        # Nothing of ours goes in with it: not our terminal either, which is the session's.
        posix.setsid()
        close_all_but({executable, pipe.fileno()})
        posix.set_inheritable(pipe.fileno(), True)
        syscalls.execveat(executable, "", [b"lcpy"], [], AT_EMPTY_PATH)
    except BaseException as error:
        pipe.send(error_message(as_step_error(error)))
    finally:
        posix._exit(1)


def _give_up_rights() -> None:
    """Keep what fsopen(2) asks for, CAP_SYS_ADMIN over the mount namespace, and nothing else."""
    if posix.geteuid() == 0:
        try:
            capabilities.keep_capabilities(AtOnce())
            syscalls.setgroups([])
            syscalls.setresgid(_NOBODY, _NOBODY, _NOBODY)
            syscalls.setresuid(_NOBODY, _NOBODY, _NOBODY)
        except OSError as error:
            # We are root of a user namespace that maps few: that is nobody else's root.
            if error.errno not in (_EPERM, _EINVAL):
                raise
    syscalls.unshare(CLONE_NEWUSER | CLONE_NEWNS)
    context = syscalls.fsopen("tmpfs", FSOPEN_CLOEXEC)
    syscalls.fsconfig_create(context)
    empty = syscalls.fsmount(context, FSMOUNT_CLOEXEC, 0)
    syscalls.move_mount(empty, "", syscalls.CWD, "/", MOVE_MOUNT_F_EMPTY_PATH)
    pivot.pivot_root(empty)
    capabilities.raise_all_ambient()  # for the exec of somebody who is not root
