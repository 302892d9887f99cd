"""The guarded command with a child that breaks a rule: ``sabotaged.py STEP EVENT WORD ...``.

STEP says where in the child's life ("unsealed": as "masks", but without seal and guard), EVENT
what it does there.
"""

import os
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(CHECKOUT))

from tests import lcpy_audited  # noqa: E402


def break_the_rule(event: str) -> None:
    """Do what the guard is there for."""
    if event == "import":
        import colorsys  # noqa: F401
    elif event == "open":
        open("/etc/passwd").close()
    elif event == "compile":
        compile("1", "<text>", "eval")
    elif event == "exec":
        exec(CODE)
    elif event == "dlopen":
        import _ctypes

        _ctypes.dlopen("/lib/libm.so.6", 0)
    elif event == "putenv":
        os.environ["LD_PRELOAD"] = "/evil.so"
    elif event == "getaddrinfo":
        import _socket

        _socket.getaddrinfo("localhost", 1)


CODE = compile("1", "<text>", "exec")


def main() -> int:
    """Sabotage one step, then run the guarded command."""
    from libcontainer_py.mount import masks
    from libcontainer_py.namespaces import finalize

    step, event = sys.argv[1:3]
    del sys.argv[1:3]
    module: Any = finalize if step == "lookup" else masks
    name = "look_path" if step == "lookup" else "mask_paths"
    original = getattr(module, name)

    def sabotaged(*args: Any) -> Any:
        break_the_rule(event)
        return original(*args)

    setattr(module, name, sabotaged)
    if step == "unsealed":
        from libcontainer_py.cli.main import main as command
        from libcontainer_py.namespaces import seal

        seal.seal = lambda: None
        return int(command(sys.argv[1:]))
    return int(lcpy_audited.main())


if __name__ == "__main__":
    os._exit(main())
