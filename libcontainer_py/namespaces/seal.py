"""The seal: after it, nothing that Python does by itself opens a file.

Between the clone and the finish list the child runs Python inside a root filesystem that belongs
to somebody else, who may have put a standard library of his own where ours is on the host. So
everything is imported before, and then the ways by which an interpreter opens files are closed.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_KEPT: "list[object]" = []


def seal() -> None:
    """Close the import system and the ways by which a traceback would be printed.

    A traceback, also one of «Exception ignored in …», opens the source files that it names.
    """
    sys.meta_path[:] = []
    sys.path_hooks[:] = []
    sys.path[:] = []
    # Replaced and kept, not cleared: to free hundreds of objects would copy their pages.
    _KEPT.append(sys.path_importer_cache)
    sys.path_importer_cache = {}
    sys.excepthook = _nothing
    sys.unraisablehook = _nothing
    sys.stdin = sys.stdout = sys.stderr = None


def _nothing(*_arguments: "Any") -> None:
    """Print nothing."""
