"""What a finish list says.

On the sync pipe a pid, where it enters a pid namespace; where its filter has one, the listener's
number, and that it has let go of that; and READY. On the status FIFO of `start` STARTED. After it,
or instead of READY, the record of a failure: the entry's address and the call's result.
"""

RECORD_SIZE = 16
READY = b"READY\0\0\0" + bytes(RECORD_SIZE - 8)
STARTED = b"S"
JOINED = b"JOINED\0\0"  # a second process is in all namespaces but pid, and waits for its limits
ENTERED_SIZE = 8  # a pid, as the parent sees it: of the process that is in a joined pid namespace
LISTENER_SIZE = 8  # the number of a seccomp listener, which waits to be taken
LISTENER_CLOSED = b"CLOSED\0\0"

# The names of the steps that come after READY: first of all the wait.
START = "Start"
START_HOOK = "startContainer"
HOOK_ENDED = "startContainer ended"  # its result is not an errno, but the hook's wait status
EXEC = "Execv"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    # From which position of the list on; the step's name, the field of config.json, words.
    Step = tuple[int, str, str | None, str]


def step_at(steps: "Sequence[Step]", position: int) -> "tuple[str, str | None, str]":
    """Which step a position of the list belongs to: (its name, the field, words)."""
    found: tuple[str, str | None, str] = ("Finish", None, "")
    for first, name, field, what in steps:
        if first <= position:
            found = (name, field, what)
    return found
