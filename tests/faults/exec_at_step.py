"""Second processes whose child comes to grief, in this process.

``exec_at_step.py KIND WHEN ROOT ID`` does for `Container.exec` what child_at_step.py does for
`Runtime.create`, in a container that runs.
"""

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

from libcontainer_py.container import Runtime
from libcontainer_py.errors import StepError
from libcontainer_py.syncpipe.pipe import SyncPipe
from tests.faults.child_at_step import MAX_STEPS, come_to_grief


def main() -> None:
    """Try each step once."""
    kind, when, root, container_id = sys.argv[1:]
    parent = os.getpid()
    announce = SyncPipe.announce
    counted = trigger = 0

    def announce_or_not(self: SyncPipe, step: str) -> None:
        nonlocal counted
        counted += 1
        now = os.getpid() != parent and counted == trigger
        if now and when == "before":
            come_to_grief(kind, self)
        announce(self, step)
        if now and when == "after":
            come_to_grief(kind, self)

    SyncPipe.announce = announce_or_not  # type: ignore[method-assign]
    container = Runtime(root).get(container_id)
    found: list[dict[str, Any]] = []
    for trigger in range(1, MAX_STEPS):  # noqa: B007  # it is read by announce_or_not
        counted = 0
        before = sorted(os.listdir("/proc/self/fd"))
        result: dict[str, Any] = {"error": None}
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
        gc.collect()
        result["descriptors"] = len(os.listdir("/proc/self/fd")) - len(before)
        result["children"] = Path("/proc/thread-self/children").read_text().split()
        found.append(result)
        if result["error"] is None:
            break
    print(json.dumps(found))


if __name__ == "__main__":
    main()
