"""Create containers whose child comes to grief, in this process: ``child_at_step.py KIND ...``.

``child_at_step.py KIND WHEN ROOT ID BUNDLE`` goes through all steps that the child begins. At
each it creates the container, and the child does what KIND says, before or after it has noted
the step. Prints a JSON list: an object for each step, the last one for a child that came through.
"""

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

from libcontainer_py.container import Runtime
from libcontainer_py.errors import Error, StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.namespaces import exec as parents
from libcontainer_py.namespaces.step import Step
from libcontainer_py.syncpipe.pipe import SyncPipe

PR_SET_SECCOMP, SECCOMP_MODE_STRICT = 22, 1
MAX_STEPS = 40


class Unspeakable(Exception):
    """An exception that can't be made into words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def come_to_grief(kind: str, pipe: SyncPipe) -> None:
    """End, or raise, in one of the ways."""
    if kind == "killed":
        # A pid namespace's first process can't kill itself; the strict filter does it.
        syscalls.prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)
        os.getppid()
    elif kind == "aborted":
        os.abort()
    elif kind == "exit 0":
        os._exit(0)
    elif kind == "exit 3":
        os._exit(3)
    elif kind == "silent":
        pipe.close()
    elif kind == "garbage":
        os.write(pipe.fileno(), b"\xff{]")
    elif kind == "binary":
        os.write(pipe.fileno(), bytes(16))
    elif kind == "a wrong object":
        os.write(pipe.fileno(), b'{"step":')
    elif kind == "a list":
        os.write(pipe.fileno(), b"[1]")
    else:
        raise {
            "MemoryError": MemoryError(),
            "SystemExit": SystemExit(0),
            "KeyboardInterrupt": KeyboardInterrupt(),
            "UnicodeError": UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates"),
            "RecursionError": RecursionError("too deep"),
            "OSError": OSError(5, "words of the C library", "/a/path\n\udcff"),
            "OSError of bytes": OSError(2, "", b"/\xff"),
            "OSError of nothing": OSError(),
            "Error": Error("an error\nof ours"),
            "AssertionError": AssertionError("x" * 1_000_000),
            "Unspeakable": Unspeakable(),
        }[kind]


def main() -> None:
    """Try each step once."""
    kind, when, root, container_id, bundle = sys.argv[1:]
    parent = os.getpid()
    caller: Any = parents
    begin, init = Step.begin, caller.init
    pipes: list[SyncPipe] = []
    counted = trigger = 0

    def begin_or_not(self: Step, name: str, field: str | None = None) -> None:
        nonlocal counted
        counted += os.getpid() != parent
        now = os.getpid() != parent and counted == trigger
        if now and when == "before":
            come_to_grief(kind, pipes[0])
        begin(self, name, field)
        if now and when == "after":
            come_to_grief(kind, pipes[0])

    def remembered(start: Any, pipe: SyncPipe, step: Step) -> None:
        pipes[:] = [pipe]
        init(start, pipe, step)

    Step.begin = begin_or_not  # type: ignore[method-assign]
    caller.init = remembered
    runtime = Runtime(root)
    found: list[dict[str, Any]] = []
    for trigger in range(1, MAX_STEPS):  # noqa: B007  # it is read by begin_or_not
        counted = 0
        before = sorted(os.listdir("/proc/self/fd"))
        result: dict[str, Any] = {"error": None}
        try:
            container = runtime.create(container_id, bundle)
        except BaseException as error:
            result["error"] = type(error).__name__
            result["text"] = str(error)
            result["step"] = error.step if isinstance(error, StepError) else None
            result["notes"] = getattr(error, "__notes__", [])
        else:
            assert container.process
            container.delete(force=True)
            container.process.close()
            del container
        gc.collect()
        result["descriptors"] = len(os.listdir("/proc/self/fd")) - len(before)
        result["children"] = Path("/proc/thread-self/children").read_text().split()
        result["state"] = os.listdir(root)
        found.append(result)
        if result["error"] is None:
            break
    print(json.dumps(found))


if __name__ == "__main__":
    main()
