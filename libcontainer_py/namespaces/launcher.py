"""The launcher: a fresh, single-threaded interpreter that clones for a program with threads.

The program (an engine) starts it and sends one request over a sync pipe; the launcher does what
`exec_` does, with CLONE_PARENT: so the container is the engine's own child, which the engine waits
for by its pidfd. Then the launcher ends. What it says:

    {"cloned": PID}             as soon as there is a child, with its pidfd; where namespaces are
                                joined, each that comes takes the place of the one before
    {"created": true, …}        it waits for `start`; with the warnings, and its terminal's master
    {"error": {...}, …}         or what went wrong; the child, if there was one, is killed
    {"raised": KIND, …}         the same, where it is not a StepError
"""

import posix
import sys

from libcontainer_py.errors import ConfigError, Error, Exists, NotFound, StepError, WrongState
from libcontainer_py.namespaces.config import Options
from libcontainer_py.namespaces.created import Created
from libcontainer_py.namespaces.exec import exec_
from libcontainer_py.namespaces.execin import ExecOptions, exec_in
from libcontainer_py.namespaces.helper import reap
from libcontainer_py.namespaces.prepare import refuse_closed
from libcontainer_py.syncpipe.pipe import SyncPipe, decode, error_message, error_of, new_sync_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What the fresh interpreter runs. Its arguments: the pipe, and where packages lie (ours first;
# behind the standard library, which they must not shadow).
PROGRAM = (
    "import sys; sys.path += sys.argv[2:];"
    "from libcontainer_py.namespaces.launcher import main; main(int(sys.argv[1]))"
)
_PACKAGE = __file__.rsplit("/", 3)[0]


def launch(root: str, container_id: str, bundle: str, options: Options) -> Created:
    """Do what `exec_` does, from a program with threads.

    Raises:
        what `exec_` raises
        Error: the launcher could not be started, or ended without an answer
    """
    return _launch(
        {"kind": "create", "root": root, "id": container_id, "bundle": bundle},
        options,
        options.listen_fds + options.preserve_fds,
    )


def launch_in(
    root: str, container_id: str, process: "dict[str, Any]", options: ExecOptions
) -> Created:
    """Do what `exec_in` does, from a program with threads.

    Raises:
        what `exec_in` raises
        Error: the launcher could not be started, or ended without an answer
    """
    return _launch(
        {"kind": "exec", "root": root, "id": container_id, "process": process},
        options,
        options.preserve_fds,
    )


def _launch(request: "dict[str, Any]", options: "Options | ExecOptions", preserved: int) -> Created:
    import os
    import subprocess

    # First of all: the pipe must not get such a number.
    for name, fd in zip(("stdin", "stdout", "stderr"), options.stdio, strict=True):
        refuse_closed(name, fd)
    for fd in range(3, 3 + preserved):
        refuse_closed("--preserve-fds", fd)
    ours, theirs = new_sync_pipe()
    words = [sys.executable, "-I", "-S", "-X", "utf8", "-c", PROGRAM, str(theirs.fileno())]
    places = [_PACKAGE, *(place for place in sys.path if os.path.isabs(place))]
    try:
        # Its standard streams are the container's; descriptors keep their numbers on the way.
        with subprocess.Popen(
            [*words, *places],
            stdin=options.stdio[0],
            stdout=options.stdio[1],
            stderr=options.stdio[2],
            pass_fds=(theirs.fileno(), *range(3, 3 + preserved)),
        ):
            theirs.close()
            ours.send(request | {"options": _words(options)})
            return _await_created(ours)
    finally:
        ours.close()
        theirs.close()


def _await_created(pipe: SyncPipe) -> Created:
    pid = pidfd = -1
    try:
        answer, fds = _receive(pipe)
        while "cloned" in answer:
            before, pidfd = pidfd, fds[0]
            pid = answer["cloned"]
            if before >= 0:
                reap(before)  # it has cloned this one, and is done
            answer, fds = _receive(pipe)
        if "created" not in answer:
            raise _error(answer)
    except BaseException:
        if pidfd >= 0:
            reap(pidfd)
        raise
    return Created(pid, pidfd, answer["warnings"], fds[0] if fds else -1)


def _receive(pipe: SyncPipe) -> "tuple[dict[str, Any], list[int]]":
    data, fds = pipe.receive_bytes(max_fds=1)
    if not data:
        raise Error("the launcher ended without an answer")
    return decode(data), fds


def main(fd: int) -> None:
    """Serve the one request that comes on a descriptor: the launcher's whole life."""
    import _socket

    pipe = SyncPipe(_socket.socket(fileno=fd))
    posix.set_inheritable(fd, False)
    request = pipe.receive()
    if request is None:
        return
    words = request["options"]

    def cloned(pid: int, pidfd: int) -> None:
        pipe.send({"cloned": pid}, (pidfd,))

    try:
        if request["kind"] == "create":
            options = Options(**words, cloned=cloned)
            created = exec_(request["root"], request["id"], request["bundle"], options)
        else:
            exec_options = ExecOptions(**words, cloned=cloned)
            created = exec_in(request["root"], request["id"], request["process"], exec_options)
    except Error as error:
        pipe.send(_error_message(error))
    except OSError as error:
        pipe.send(_error_message(StepError.of(error, "exec")))
    except Exception as error:  # a bug of ours: standard error is the container's, not for traces
        pipe.send(_error_message(Error(f"internal error: {type(error).__name__}: {error}")))
    else:
        fds = () if created.master < 0 else (created.master,)
        pipe.send({"created": True, "warnings": created.warnings}, fds)


def _words(options: "Options | ExecOptions") -> "dict[str, Any]":
    """Say options in a message; the standard streams are the launcher's own."""
    names = set(options.__slots__) - {"cloned", "stdio"}
    return {name: getattr(options, name) for name in sorted(names)}


def _error_message(error: Error) -> "dict[str, Any]":
    notes = getattr(error, "__notes__", [])
    if isinstance(error, StepError):
        return error_message(error) | {"notes": notes}
    field = error.field if isinstance(error, ConfigError) else None
    text = str(error).removeprefix(f"{field}: ") if field else str(error)
    return {"raised": type(error).__name__, "text": text, "field": field, "notes": notes}


def _error(answer: "dict[str, Any]") -> Error:
    error: Error
    if "error" in answer:
        error = error_of(answer)
    elif answer["raised"] == ConfigError.__name__:
        error = ConfigError(answer["text"], answer["field"])
    else:
        known = {kind.__name__: kind for kind in (Exists, NotFound, WrongState)}
        error = known.get(answer["raised"], Error)(answer["text"])
    for note in answer["notes"]:
        error.add_note(note)
    return error
