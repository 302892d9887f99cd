"""What the parent makes of what its child says, and of how it ends."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from libcontainer_py.cgroups.disabled import Disabled
from libcontainer_py.errors import StepError
from libcontainer_py.namespaces import loop
from libcontainer_py.namespaces.child import Child
from libcontainer_py.namespaces.limit import limit_process
from libcontainer_py.namespaces.step import Step
from libcontainer_py.syncpipe.pipe import SyncPipe, new_sync_pipe
from libcontainer_py.syncpipe.records import READY

STEPS: list[Any] = [(0, "Finish", None, ""), (3, "SetupUser", "process.user.uid", "words")]


@pytest.fixture
def step() -> Iterator[Step]:
    """Where the child says which step it is in."""
    step = Step()
    yield step
    step.close()


@pytest.fixture
def pair(step: Step) -> Iterator[tuple[Child, SyncPipe]]:
    """A child that is a process of its own, which sleeps, and the child's end of the pipe."""
    ours, theirs = new_sync_pipe()
    child = Child(ours, Disabled("a test"), step=step)
    child.pid = os.posix_spawnp("sleep", ["sleep", "60"], os.environ)
    child.pidfd = os.pidfd_open(child.pid)
    yield child, theirs
    if child.pidfd >= 0:
        child.end()
    ours.close()
    theirs.close()


def test_ready(pair: tuple[Child, SyncPipe]) -> None:
    child, theirs = pair
    os.write(theirs.fileno(), READY)
    child.hear_ready(STEPS)


def test_a_failure_of_the_list(pair: tuple[Child, SyncPipe]) -> None:
    child, theirs = pair
    entry = loop.ENTRIES + 4 * loop.ENTRY.size
    os.write(theirs.fileno(), entry.to_bytes(8, "little") + (-1).to_bytes(8, "little", signed=True))
    with pytest.raises(StepError) as caught:
        child.hear_ready(STEPS)
    assert str(caught.value) == "SetupUser: process.user.uid: words: operation not permitted"


@pytest.mark.parametrize("record", [b"R", READY[:8], READY + b"x", bytes(15), b'{"x": 1}'])
def test_a_record_of_a_wrong_size(pair: tuple[Child, SyncPipe], step: Step, record: bytes) -> None:
    child, theirs = pair
    step.begin("Execv")
    os.write(theirs.fileno(), record)
    with pytest.raises(StepError) as caught:
        child.hear_ready(STEPS)
    assert str(caught.value) == "Execv: the child did not send READY but something else"


@pytest.mark.parametrize("message", ["1", '"text"', "null", "[]"])
def test_an_error_that_is_none(pair: tuple[Child, SyncPipe], message: str) -> None:
    child, theirs = pair
    os.write(theirs.fileno(), b'{"error":%b}' % message.encode())
    with pytest.raises(StepError, match="can't be read"):
        child.hear("mounts")


def test_how_it_ended(pair: tuple[Child, SyncPipe], step: Step) -> None:
    child, theirs = pair
    step.begin("Finish")
    os.kill(child.pid, 9)
    theirs.close()
    with pytest.raises(StepError) as caught:
        child.hear("finish")
    words = f"the container's first process (pid {child.pid}) ended by signal 9 before it was ready"
    assert str(caught.value) == f"Finish: {words}"


def test_one_that_is_gone_before_its_limits_are_set(
    pair: tuple[Child, SyncPipe], step: Step
) -> None:
    """That it ended is the reason, and not that there is no process to limit."""
    child, theirs = pair
    step.begin("Finish")
    theirs.close()
    os.kill(child.pid, 9)
    os.waitpid(child.pid, 0)
    limits = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]
    with pytest.raises(StepError) as caught:
        limit_process(child, {"rlimits": limits})
    words = f"the container's first process (pid {child.pid}) ended before it was ready"
    assert str(caught.value) == f"Finish: {words}"


def test_where_it_died_is_what_it_said_last(step: Step) -> None:
    assert step.last() == "clone"
    step.begin("InitializeMountNamespace", "mounts")
    assert step.last() == "InitializeMountNamespace"
    step.begin("Setsid")
    assert (step.last(), step.name, step.field) == ("Setsid", "Setsid", None)


def test_where_it_died_is_shown_as_a_strangers_words(step: Step) -> None:
    os.pwrite(step.fileno(), b"\x1b[31m" + b"x" * 1000, 0)
    last = step.last()
    assert last.isprintable()
    assert len(last) < 100


def test_the_end(pair: tuple[Child, SyncPipe]) -> None:
    child, _theirs = pair
    child.end()
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)
    child.pid = -1
    child.end()  # there never was one
