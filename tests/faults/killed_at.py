"""The command, killed at one moment: ``killed_at.py MOMENT WORD ...``.

Moments are counted in calls of Python's and C's functions, from the command's `main` on. At the
given one this process, but never its child, kills itself with SIGKILL. With MOMENT 0 it comes to
its end, and the number of moments is written to standard error.
"""

import os
import sys
from pathlib import Path
from types import FrameType

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

from libcontainer_py.cli.main import main


def run() -> int:
    """Run the command with an eye on the clock."""
    moment, words = int(sys.argv[1]), sys.argv[2:]
    own = os.getpid()
    count = 0

    def tick(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1
            if count == moment and os.getpid() == own:
                os.kill(own, 9)

    sys.setprofile(tick)
    code = main(words)
    sys.setprofile(None)
    if moment == 0:
        os.write(2, f"\nmoments: {count}\n".encode())
    return code


if __name__ == "__main__":
    os._exit(run())
