"""Where a child is on its way."""

import posix

from libcontainer_py.errors import shown
from libcontainer_py.hooks import memory_file

_ROOM = 64  # no name of ours is longer


class Step:
    """Which step it is in, and the field of config.json that this works on.

    The name is kept in a file in memory, too, where the parent looks when the child has died
    without a word. (As messages, twenty steps would wake the parent, who waits for other things.)
    """

    __slots__ = ("_file", "field", "name")

    def __init__(self) -> None:
        self._file = memory_file("lcpy:step")
        self.begin("clone")  # also: so the page is the parent's, not the container's

    def fileno(self) -> int:
        """The descriptor of the file."""
        return self._file

    def begin(self, name: str, field: "str | None" = None) -> None:
        """Say which step begins, and which field of config.json it works on."""
        self.name = name
        self.field = field
        posix.pwrite(self._file, name.encode() + b"\n", 0)

    def last(self) -> str:
        """The step that began last, in whatever process. Others may have written there: its words
        are shown as any stranger's.
        """
        name = posix.pread(self._file, _ROOM, 0).partition(b"\n")[0]
        return shown(name.decode("ascii", "replace"))

    def close(self) -> None:
        """Close the file."""
        posix.close(self._file)
