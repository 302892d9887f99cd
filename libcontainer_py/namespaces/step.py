"""Where a child is on its way."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer_py.syncpipe.pipe import SyncPipe


class Step:
    """Which step it is in, and the field of config.json that this works on."""

    __slots__ = ("_pipe", "field", "name")

    def __init__(self, pipe: "SyncPipe") -> None:
        self._pipe = pipe
        self.name = "clone"
        self.field: str | None = None

    def begin(self, name: str, field: "str | None" = None) -> None:
        """Say which step begins, and which field of config.json it works on."""
        self.name = name
        self.field = field
        self._pipe.announce(name)
