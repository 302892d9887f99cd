"""The lcpy command on a host whose resctrl is the stand-in of tests/resctrl.py:

    lcpy_resctrl.py FSTYPE MOMENT WORD ...

FSTYPE is the type of the stand-in's mount. With MOMENT 0 it is the guarded command of
tests/lcpy_audited.py; else it kills itself at that call or return of a function which
`libcontainer_py.intelrdt` makes (but for those that only look for the mount).
"""

import os
import sys
from types import FrameType

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def kill_at(moment: int) -> None:
    """Kill this process, but never its child, with SIGKILL at a moment."""
    own = os.getpid()
    count = 0

    def tick(frame: FrameType, _event: str, _argument: object) -> None:
        nonlocal count
        if not frame.f_globals.get("__name__", "").startswith("libcontainer_py.intelrdt"):
            return
        count += frame.f_code.co_name not in ("mountpoint", "<module>")
        if count == moment and os.getpid() == own:
            os.kill(own, 9)

    sys.setprofile(tick)


def main() -> int:
    """Run the command."""
    sys.path.append(CHECKOUT)
    from libcontainer_py.intelrdt import resctrl
    from tests import lcpy_audited

    resctrl.FSTYPE = sys.argv.pop(1)
    moment = int(sys.argv.pop(1))
    if moment:
        kill_at(moment)
    return lcpy_audited.main()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
