"""The command as on a kernel before 6.17, whose proc has no option pidns: ``older_kernel.py …``."""

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(CHECKOUT))

from tests import lcpy_audited  # noqa: E402


def unknown_option(pid_namespace: int, data: object) -> int:
    """Answer as fsconfig(2) does to an option that it does not know."""
    raise OSError(22, "Invalid argument")


def main() -> int:
    """Forget the option, then run the guarded command."""
    from libcontainer_py.namespaces import procfs

    procfs.by_descriptor = unknown_option
    return int(lcpy_audited.main())


if __name__ == "__main__":
    os._exit(main())
