"""Hooks: programs of the operator's that run at points of a container's life (config.md, «Hooks»).

A hook is a program of the host, runs with the rights of the runtime, and gets exactly its own
`env`: nothing of the container's reaches it (CVE-2025-23266). It finds the container's state on
its standard input.

`startContainer` hooks are the image's own programs: they are run by the finish list.
"""

import _signal
import fcntl
import posix

from libcontainer_py import jsontext
from libcontainer_py.errors import During, StepError, ended, quoted, shown, words
from libcontainer_py.linux.flags import (
    F_ADD_SEALS,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    MFD_ALLOW_SEALING,
    MFD_CLOEXEC,
    MFD_NOEXEC_SEAL,
)
from libcontainer_py.linux.syscalls import close_range
from libcontainer_py.linux.wait import wait_for_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_SIGKILL = 9
_SAID_MAX = 4096  # bytes of a failed hook's output that the error quotes


def state_of(record: "dict[str, Any]", status: str, pid: int) -> bytes:
    """The state of a container as a hook reads it (runtime.md, «State»)."""
    state = {
        "ociVersion": record["ociVersion"],
        "id": record["id"],
        "status": status,
        "pid": pid,
        "bundle": record["bundle"],
    }
    if record["annotations"]:
        state["annotations"] = record["annotations"]
    return jsontext.dumps(state).encode("utf-8", "surrogatepass")


def in_memory(data: bytes) -> int:
    """Put data into a file in memory; returns a descriptor of it, at its beginning.

    It is sealed: the hook that reads it can't change what the next one reads.
    """
    fd = memory_file()
    write_sealed(fd, data)
    return fd


def memory_file(name: str = "state") -> int:
    """Make an empty file in memory, which can't be run: `vm.memfd_noexec` wants that said."""
    flags = MFD_CLOEXEC | MFD_ALLOW_SEALING
    try:
        return posix.memfd_create(name, flags | MFD_NOEXEC_SEAL)
    except OSError as error:
        if error.errno != 22:  # EINVAL: a kernel before 6.3 does not know the flag
            raise
    return posix.memfd_create(name, flags)


def write_sealed(fd: int, data: bytes) -> None:
    """Fill a file in memory, seal it, and go to its beginning."""
    while data:
        data = data[posix.write(fd, data) :]
    posix.lseek(fd, 0, 0)
    fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)


def whole(fd: int) -> bytes:
    """Read all of a file in memory, from its beginning."""
    size = posix.fstat(fd).st_size
    return posix.pread(fd, size, 0)


def run_hooks(kind: str, hooks: "list[dict[str, Any]]", state: bytes, cwd: "str | None") -> None:
    """Run hooks of one kind, in their order.

    Args:
        kind: ``"prestart"``, …
        state: from `state_of`
        cwd: their working directory, or None for ours

    Raises:
        StepError: one failed, was not there, or took too long; those after it did not run
    """
    for index, hook in enumerate(hooks):
        field = f"hooks.{kind}[{index}]"
        failure = _run(hook, state, cwd)
        if failure:
            # The words that a user of runc knows.
            raise StepError(None, 0, f"error running {kind} hook #{index}: {failure}", field=field)


def run_runtime_hooks(hooks: "dict[str, Any]", state: bytes, bundle: str) -> None:
    """Run those of the runtime, while a container is being made: `prestart`, then `createRuntime`.

    Args:
        hooks: `hooks` of config.json
        state, bundle: as for `run_hooks`; the bundle is their working directory

    Raises:
        StepError: as `run_hooks`, in a step of the kind's name
    """
    for kind in ("prestart", "createRuntime"):
        with During(kind, f"hooks.{kind}"):
            run_hooks(kind, hooks.get(kind) or [], state, bundle)


def run_program(path: str, args: "list[str]") -> str:
    """Run a program of the host's, without environment or input; return what went wrong, or ""."""
    return _run({"path": path, "args": args}, b"", "/")


def run_poststop(record: "dict[str, Any]") -> "list[str]":
    """Run the poststop hooks of a container that is gone; one that fails is but a warning."""
    warnings = []
    state = state_of(record, "stopped", 0)
    for index, hook in enumerate(record["hooks"].get("poststop") or ()):
        try:
            failure = _run(hook, state, record["bundle"])
        except OSError as error:
            failure = words(error.errno or 0)
        if failure:
            warnings.append(f"error running poststop hook #{index}: {failure}")
    return warnings


def _run(hook: "dict[str, Any]", state: bytes, cwd: "str | None") -> str:
    """Run one hook; return what went wrong, in words, or nothing."""
    # Files in memory and not pipes: neither side has to keep up with the other.
    given = in_memory(state)
    said = posix.memfd_create("said", posix.MFD_CLOEXEC)
    refused, refusal = posix.pipe()  # closed by the exec, or says why there was none
    try:
        pid = posix.fork()
        if pid == 0:
            _become(hook, given, said, refusal, cwd)
        posix.close(refusal)
        refusal = -1
        errno = int.from_bytes(posix.read(refused, 4), "little")
        late, status = _wait(pid, hook.get("timeout"))
        if errno:
            return f"fork/exec {shown(hook['path'])}: {words(errno)}"
        if late:
            return f"hook ran past specified timeout of {hook['timeout']:.1f}s"
        if status is None:
            return "its exit status is lost: SIGCHLD is ignored here"
        if status == 0:
            return ""
        how = ended(status)
        text = posix.pread(said, _SAID_MAX, 0).decode("utf-8", "replace").strip()
        return f"{how}, output: {quoted(text)}" if text else how
    finally:
        for fd in (given, said, refused, refusal):
            if fd >= 0:
                posix.close(fd)


def _become(
    hook: "dict[str, Any]", given: int, said: int, refusal: int, cwd: "str | None"
) -> "NoReturn":
    """In the child: become the hook."""
    try:
        # The runtime, as it happens, blocks signals, and Python ignores some.
        for number in _signal.valid_signals():
            if number not in (_signal.SIGKILL, _signal.SIGSTOP):
                _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        posix.dup2(given, 0)
        posix.dup2(said, 1)
        posix.dup2(said, 2)
        posix.dup2(refusal, 3, inheritable=False)
        close_range(4)
        if cwd is not None:
            posix.chdir(cwd)
        environment = {}
        for entry in hook.get("env") or ():
            name, _equals, value = _encode(entry).partition(b"=")
            environment[name] = value
        arguments = [_encode(text) for text in hook.get("args") or [hook["path"]]]
        posix.execve(_encode(hook["path"]), arguments, environment)
    except OSError as error:
        posix.write(3, (error.errno or 22).to_bytes(4, "little"))
    except BaseException:
        posix.write(3, (22).to_bytes(4, "little"))
    finally:
        posix._exit(127)


def _wait(pid: int, timeout: "int | None") -> "tuple[bool, int | None]":
    """Wait for the hook; returns (it had to be killed, its exit status or -N for a signal).

    Its status is None where the kernel has reaped it, as it does for whoever ignores SIGCHLD.
    """
    late = False
    try:
        if timeout:
            late = not _ends_within(pid, timeout)
            if late:
                posix.kill(pid, _SIGKILL)
        _pid, status = posix.waitpid(pid, 0)
    except (ChildProcessError, ProcessLookupError):
        return late, None
    except BaseException:  # also a descriptor too many: it must not run on, unwaited for
        posix.kill(pid, _SIGKILL)
        posix.waitpid(pid, 0)
        raise
    return late, posix.waitstatus_to_exitcode(status)


def _ends_within(pid: int, seconds: int) -> bool:
    pidfd = posix.pidfd_open(pid)
    try:
        return wait_for_end(pidfd, seconds)
    finally:
        posix.close(pidfd)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
