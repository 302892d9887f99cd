"""Second processes whose child comes to grief, in this process: ``exec_at_step.py KIND ROOT ID``.

At each of the things that the clone still does in Python, before it becomes the list, it comes to
grief as in child_at_step.py. Prints a JSON list: an object for each, the last one for a child that
came through.
"""

import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

from libcontainer_py.container import Runtime
from libcontainer_py.errors import StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.namespaces import execin, setns
from libcontainer_py.syncpipe.pipe import SyncPipe
from tests.faults.child_at_step import come_to_grief

PLACES = ("reset_signals", "set_stdio", "chown_stdio", "close_all_but", "execveat")


def grieve_at(place: str, kind: str) -> Callable[[], None]:
    """Let the child come to grief there; returns what puts it back."""
    where: Any = syscalls if place == "execveat" else setns
    caller: Any = execin
    original, become_list, parent = getattr(where, place), setns.become_list, os.getpid()
    pipes: list[SyncPipe] = []

    def or_not(*arguments: Any, **options: Any) -> Any:
        if os.getpid() != parent:
            come_to_grief(kind, pipes[0])
        return original(*arguments, **options)

    def remembered(start: Any, pipe: SyncPipe, executable: int) -> None:
        pipes.append(pipe)
        become_list(start, pipe, executable)

    def undo() -> None:
        setattr(where, place, original)
        caller.become_list = become_list

    setattr(where, place, or_not)
    caller.become_list = remembered
    return undo


def main() -> None:
    """Try each place once, and then none."""
    kind, root, container_id = sys.argv[1:]
    container = Runtime(root).get(container_id)
    found: list[dict[str, Any]] = []
    for place in (*PLACES, None):
        undo = grieve_at(place, kind) if place else None
        before = sorted(os.listdir("/proc/self/fd"))
        result: dict[str, Any] = {"place": place, "error": None}
        try:
            process = container.exec(["true"])
        except BaseException as error:
            result["error"] = type(error).__name__
            result["text"] = str(error)
            result["step"] = error.step if isinstance(error, StepError) else None
            result["notes"] = getattr(error, "__notes__", [])
        else:
            process.wait(10)
            process.close()
            del process
        if undo is not None:
            undo()
        gc.collect()
        result["descriptors"] = len(os.listdir("/proc/self/fd")) - len(before)
        result["children"] = Path("/proc/thread-self/children").read_text().split()
        found.append(result)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
