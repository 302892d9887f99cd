"""The sync pipe: messages, descriptors, bounds, ends."""

import os

import pytest

from libcontainer_py.errors import StepError
from libcontainer_py.syncpipe import pipe as syncpipe
from libcontainer_py.syncpipe.pipe import SyncPipe, error_message, error_of, new_sync_pipe


@pytest.fixture
def pair() -> "tuple[SyncPipe, SyncPipe]":
    return new_sync_pipe()


def test_messages_keep_their_bounds_and_order(pair: "tuple[SyncPipe, SyncPipe]") -> None:
    parent, child = pair
    child.send({"mounts": True})
    child.send({"console": True})
    child.send({"finish": [["Finish", None, "ä\ud800\n"]]})
    assert parent.receive() == {"mounts": True}
    assert parent.receive() == {"console": True}
    assert parent.receive() == {"finish": [["Finish", None, "ä\ud800\n"]]}


def test_descriptors_arrive_and_close_on_exec(pair: "tuple[SyncPipe, SyncPipe]") -> None:
    parent, child = pair
    read, write = os.pipe()
    child.send({"created": 1}, (write,))
    os.close(write)
    _data, fds = parent.receive_bytes(max_fds=1)
    (got,) = fds
    assert not os.get_inheritable(got)
    os.write(got, b"x")
    assert os.read(read, 1) == b"x"
    os.close(got)
    os.close(read)


def test_descriptors_that_were_not_asked_for_are_refused_and_closed(
    pair: "tuple[SyncPipe, SyncPipe]",
) -> None:
    parent, child = pair
    read, write = os.pipe()
    before = len(os.listdir("/proc/self/fd"))
    child.send({"created": 1}, (write, write, write))
    with pytest.raises(StepError, match="too large"):
        parent.receive_bytes(max_fds=1)
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(read)
    os.close(write)


def test_an_end_of_file_is_none(pair: "tuple[SyncPipe, SyncPipe]") -> None:
    parent, child = pair
    child.close()
    assert parent.receive() is None
    with pytest.raises(BrokenPipeError):
        parent.send({"go": True})


def test_a_message_beyond_the_limit_is_refused(
    pair: "tuple[SyncPipe, SyncPipe]", monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, child = pair
    monkeypatch.setattr(syncpipe, "LIMIT", 64)
    child.send({"error": "x" * 100})
    with pytest.raises(StepError, match="too large"):
        parent.receive()


@pytest.mark.parametrize("data", [b"", b"[1]", b"7", b"{", b"\xff\xff", b'{"a":1}{"b":2}'])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(StepError, match="can't be read"):
        syncpipe.decode(data)


def test_an_error_survives_as_data() -> None:
    error = StepError("Restrict", 13, "mask", field="linux.maskedPaths[1]", hint="look")
    back = error_of(error_message(error))
    assert (
        str(back)
        == str(error)
        == ("Restrict: linux.maskedPaths[1]: mask: permission denied (look)")
    )
    assert (back.step, back.field, back.errno, back.hint) == (
        "Restrict",
        "linux.maskedPaths[1]",
        13,
        "look",
    )


def test_an_error_of_a_liar_is_still_an_error() -> None:
    back = error_of({"error": {"step": 7, "errno": "x", "what": None, "field": ["a"]}})
    assert (back.step, back.errno, back.field, back.what) == (None, 0, None, "")


def test_a_child_that_waits_for_a_parent_that_is_gone(pair: "tuple[SyncPipe, SyncPipe]") -> None:
    parent, child = pair
    parent.close()
    with pytest.raises(StepError, match="the parent is gone"):
        child.expect("go")
