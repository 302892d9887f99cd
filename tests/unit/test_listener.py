"""The way of a seccomp listener: what is believed of the process that says it has one."""

import os
from typing import Any

import pytest

from libcontainer_py.errors import StepError
from libcontainer_py.namespaces import loop
from libcontainer_py.namespaces.child import Child
from libcontainer_py.namespaces.listener import Listener
from libcontainer_py.syncpipe.pipe import SyncPipe
from tests.unit.test_child import pair, step

__all__ = ["pair", "step"]

STEPS: list[Any] = [(0, "Finish", None, ""), (3, "InitSeccomp", "linux.seccomp", "")]
RECORD: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "id": "x",
    "pid": 0,
    "bundle": "/",
    "annotations": {},
    "seccomp_agent": {"path": "/nobody/is/here", "metadata": ""},
}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "what the new process holds is no listener"),  # some file
        (9999, "take the listener from the new process: bad file descriptor"),
    ],
)
def test_a_number_that_is_no_listener(
    pair: tuple[Child, SyncPipe], number: int, words: str
) -> None:
    """Nothing of a process but a listener is ever handed on."""
    child, theirs = pair
    listener = Listener(child, RECORD)
    os.write(theirs.fileno(), number.to_bytes(8, "little"))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(StepError) as caught:
        listener.hand_over(STEPS)
    listener.close()
    assert str(caught.value) == f"InitSeccomp: linux.seccomp: {words}"
    assert not listener.taken
    assert os.listdir("/proc/self/fd") == before


def test_a_filter_that_was_not_loaded(pair: tuple[Child, SyncPipe]) -> None:
    child, theirs = pair
    entry = loop.ENTRIES + 4 * loop.ENTRY.size
    failure = entry.to_bytes(8, "little") + (-16).to_bytes(8, "little", signed=True)
    os.write(theirs.fileno(), failure)
    with pytest.raises(StepError) as caught:
        Listener(child, RECORD).hand_over(STEPS)
    said = str(caught.value)
    assert said.startswith("InitSeccomp: linux.seccomp: device or resource busy (")
    assert "under a filter with a listener" in said


def test_something_else(pair: tuple[Child, SyncPipe]) -> None:
    child, theirs = pair
    os.write(theirs.fileno(), b'{"seccomp": 3}')
    with pytest.raises(StepError, match="something else"):
        Listener(child, RECORD).hand_over(STEPS)


def test_one_who_is_gone(pair: tuple[Child, SyncPipe]) -> None:
    child, theirs = pair
    os.kill(child.pid, 9)
    theirs.close()
    with pytest.raises(StepError, match="ended by signal 9 before it was ready"):
        Listener(child, RECORD).hand_over(STEPS)
