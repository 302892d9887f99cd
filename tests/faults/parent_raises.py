"""Create containers whose parent comes to grief: ``parent_raises.py KIND WHERE ROOT ID BUNDLE``.

WHERE is "parent" for the parent's calls of the sync pipe, "children" for those of the cgroups. At
each call in turn KIND is raised. Prints a JSON list: an object for each, the last one for a
container that was created.
"""

import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

from libcontainer_py.cgroups.v1 import V1
from libcontainer_py.container import Runtime
from libcontainer_py.syncpipe.pipe import SyncPipe

CALLS: dict[str, list[tuple[type, str]]] = {
    "parent": [(SyncPipe, "send"), (SyncPipe, "receive_bytes")],
    "children": [
        (V1, name) for name in ("create", "mounts", "entrance", "set", "set_memory", "state")
    ],
}


def main() -> None:
    """Try each call once."""
    kind, where, root, container_id, bundle = sys.argv[1:]
    parent = os.getpid()
    counted = trigger = 0

    def fail() -> None:
        nonlocal counted
        if os.getpid() != parent:
            return
        counted += 1
        if counted == trigger:
            raise {
                "KeyboardInterrupt": KeyboardInterrupt(),
                "MemoryError": MemoryError(),
                "OSError": OSError(5, "an error"),
            }[kind]

    def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            fail()
            return original(*args, **keywords)

        return call

    for owner, name in CALLS[where]:
        setattr(owner, name, wrapped(getattr(owner, name)))
    runtime = Runtime(root)
    found: list[dict[str, Any]] = []
    for trigger in range(1, 60):
        counted = 0
        before = len(os.listdir("/proc/self/fd"))
        result: dict[str, Any] = {"error": None}
        try:
            container = runtime.create(container_id, bundle)
        except BaseException as error:
            result["error"] = type(error).__name__
            result["text"] = str(error)
        else:
            trigger = 0  # noqa: PLW2901  # nothing more fails
            assert container.process
            container.delete(force=True)
            container.process.close()
        gc.collect()
        result["descriptors"] = len(os.listdir("/proc/self/fd")) - before
        result["children"] = Path("/proc/thread-self/children").read_text().split()
        result["state"] = os.listdir(root)
        found.append(result)
        if result["error"] is None:
            break
    print(json.dumps(found))


if __name__ == "__main__":
    main()
