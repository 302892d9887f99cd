"""What happens to a container's resources, as it happens: memory that runs out, and statistics."""

import select
import time

from libcontainer_py.errors import StepError
from libcontainer_py.linux.wait import LONGEST, wait_for_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from libcontainer_py.cgroups.interface import Cgroups

    Event = dict[str, Any]


def stats_of(cgroups: "Cgroups", rdt: "dict[str, Any] | None") -> "dict[str, Any]":
    """What a container uses, with all that runc's statistics have.

    Args:
        rdt: where it is in resctrl, as its record has it
    """
    # runc counts for interfaces that it made itself, which config.json can't ask for.
    stats = {**cgroups.stats(), "network_interfaces": None}
    if rdt:
        from libcontainer_py.intelrdt import stats as of_rdt

        stats["intel_rdt"] = of_rdt.collect(rdt)
    return stats


def stats_event(container_id: str, stats: "dict[str, Any]") -> "Event":
    """Statistics, as an event."""
    return {"type": "stats", "id": container_id, "data": stats}


def watch(
    container_id: str,
    cgroups: "Cgroups",
    rdt: "dict[str, Any] | None",
    pidfd: int,
    interval: "float | None",
) -> "Iterator[Event]":
    """Give the events of a container until it ends.

    Args:
        rdt: where it is in resctrl, as its record has it
        pidfd: its first process
        interval: seconds between two that are statistics; None: there are none

    Raises:
        StepError: its memory can't be watched, or its statistics can't be read
    """
    oom = cgroups.watch_oom()
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(oom.fileno(), select.POLLIN)
        due = None if interval is None else time.monotonic() + interval
        while True:
            wait = None
            if due is not None:
                wait = min(max(0.0, due - time.monotonic()), LONGEST) * 1000
            ready = {fd for fd, _events in poll.poll(wait)}
            if ready:
                # Also at the end: what runs out of memory is told of before it is killed for it.
                for _ in range(oom.count()):
                    yield {"type": "oom", "id": container_id}
                if pidfd in ready or oom.gone():
                    return
            now = time.monotonic()
            if interval is not None and due is not None and now >= due:
                try:
                    stats = stats_of(cgroups, rdt)
                except StepError:
                    if wait_for_end(pidfd, 0):
                        return  # and its cgroups went with it
                    raise
                yield stats_event(container_id, stats)
                # From the time at which it was due, and not from now: or it would drift.
                due = max(due + interval, now)
    finally:
        oom.close()
