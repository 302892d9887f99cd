"""The lcpy command, guarded: ``python3 -I -S -X utf8 tests/lcpy_audited.py WORD ...``.

Once a child of ours has sealed its imports it works among files that belong to somebody else, and
must neither import, compile, load a library nor open anything by path. Here it can't: the first
such event ends it with status 97 (see `GUARDED`), so every test that makes a container with this
command guards that rule.
"""

import os
import sys
from collections.abc import Callable

EXIT_CODE = 97
GUARDED = frozenset(
    {
        "compile",
        "ctypes.dlopen",
        "exec",
        "import",
        "open",
        "os.putenv",
        "socket.getaddrinfo",
    }
)


def guard(event: str, args: tuple[object, ...]) -> None:
    """Leave at once on a guarded event, saying which on standard error."""
    if event in GUARDED:
        os.write(2, f"lcpy_audited: {event} {args!r}"[:500].encode("ascii", "replace") + b"\n")
        os._exit(EXIT_CODE)


def guarded(seal: Callable[[], None]) -> Callable[[], None]:
    """Make a `seal` that installs the guard when it has done its work."""

    def seal_and_guard() -> None:
        seal()
        sys.addaudithook(guard)

    return seal_and_guard


def main() -> int:
    """Run the command from this checkout, with the guard built into its children."""
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    environment = os.path.dirname(os.path.dirname(sys.executable))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    sys.path += [checkout, f"{environment}/lib/python{version}/site-packages"]

    from libcontainer_py.cli.main import main as command
    from libcontainer_py.namespaces import seal

    if "LCPY_TEST_FIELDS" in os.environ and {"create", "exec", "run"} & {*sys.argv}:
        from tests import made

        made.watch()
    seal.seal = guarded(seal.seal)
    return command(sys.argv[1:])


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
