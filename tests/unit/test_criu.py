"""The wire format of criu's messages, by the examples of protobuf.dev, and what is no message.

And the options of cgroup2, kept for the host.
"""

import os
import posix
import signal
from pathlib import Path

import pytest

from libcontainer_py.criu import cgroup2, images, rpc
from libcontainer_py.criu.protobuf import decode, encode
from libcontainer_py.errors import ConfigError

# The messages that the page explains itself by.
SCHEMA = {
    "Test1": {"a": (1, "int")},
    "Test2": {"b": (2, "str")},
    "Test3": {"c": (3, "Test1")},
    "Test4": {"d": (4, "str"), "e": (6, "int"), "yes": (5, "bool")},
}
EXAMPLES = [
    ("Test1", {"a": 150}, "089601"),
    ("Test2", {"b": "testing"}, "120774657374696e67"),
    ("Test3", {"c": {"a": 150}}, "1a03089601"),
    ("Test1", {"a": -2}, "08feffffffffffffffff01"),
    ("Test1", {"a": 0}, "0800"),
    ("Test4", {"d": "hello", "yes": True}, "220568656c6c6f2801"),
]


@pytest.mark.parametrize(("message", "values", "wire"), EXAMPLES)
def test_the_examples_of_the_page(message: str, values: dict[str, object], wire: str) -> None:
    assert encode(SCHEMA, message, values).hex() == wire
    assert decode(SCHEMA, message, bytes.fromhex(wire)) == values


def test_a_list_repeats_a_field_and_none_leaves_it_out() -> None:
    assert encode(SCHEMA, "Test4", {"e": [1, 270], "d": None}).hex() == "3001308e02"
    assert decode(SCHEMA, "Test4", bytes.fromhex("3001308e02")) == {"e": 270}


def test_what_is_unknown_is_passed_over() -> None:
    unknown = "7d01020304" + "79" + "00" * 8 + "7a0161" + "7805"  # field 15, of each wire type
    assert decode(SCHEMA, "Test1", bytes.fromhex(unknown + "089601")) == {"a": 150}


NO_MESSAGES = {
    "cut short behind a key": ("Test1", "08"),
    "cut short in a number": ("Test1", "0896"),
    "cut short in a string": ("Test2", "1205"),
    "cut short in a message": ("Test3", "1a020896"),
    "a string for a number": ("Test1", "0a0161"),
    "a number for a string": ("Test2", "100a"),
    "a wire type that there is not": ("Test1", "0b"),
    "a number without an end": ("Test1", "08" + "ff" * 11),
}


@pytest.mark.parametrize(("message", "wire"), NO_MESSAGES.values(), ids=NO_MESSAGES)
def test_what_is_no_message(message: str, wire: str) -> None:
    with pytest.raises(ValueError, match=r"no field|no number|another type"):
        decode(SCHEMA, message, bytes.fromhex(wire))


def test_a_field_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        encode(SCHEMA, "Test1", {"b": 1})


def test_every_message_of_ours_can_be_written_and_read() -> None:
    for name, fields in rpc.SCHEMA.items():
        numbers = [number for number, _kind in fields.values()]
        assert len(set(numbers)) == len(numbers), name
        for field, (_number, kind) in fields.items():
            value = {"bool": True, "int": 1 << 30, "str": "ä /"}.get(kind, {})
            message = {field: value}
            assert decode(rpc.SCHEMA, name, encode(rpc.SCHEMA, name, message)) == message


def test_the_words_for_cgroups() -> None:
    assert images.cgroups_mode("ignore") == 0
    assert images.cgroups_mode(None) == images.cgroups_mode("") == 6
    with pytest.raises(ConfigError, match='invalid manage-cgroups-mode value: "hard"'):
        images.cgroups_mode("hard")


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in place of the options of the host's cgroup2."""
    file = tmp_path / "options"
    file.write_text("nsdelegate favordynmods")

    def put_back(kept: cgroup2.KeptOptions) -> None:
        file.write_text(" ".join(kept._before))

    monkeypatch.setattr(cgroup2, "_FILE", str(tmp_path / "kept"))
    monkeypatch.setattr(cgroup2, "_options", lambda: file.read_text().split())
    monkeypatch.setattr(cgroup2.KeptOptions, "_put_back", put_back)
    monkeypatch.setattr(posix, "geteuid", lambda: 0)
    return file


def killed(options: Path) -> None:
    """One whose criu has changed the options, and that is killed then."""
    pid = os.fork()
    if pid == 0:
        with cgroup2.KeptOptions():
            options.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


def test_options_outlive_whoever_is_killed(options: Path) -> None:
    for _ in range(2):
        killed(options)
        assert options.read_text() == ""
    with cgroup2.KeptOptions():
        pass
    assert options.read_text() == "nsdelegate favordynmods"
    options.write_text("nsdelegate")  # by the host, which has the last word
    with cgroup2.KeptOptions():
        options.write_text("")
    assert options.read_text() == "nsdelegate"


def test_options_are_those_of_before_the_first_of_several(options: Path) -> None:
    with cgroup2.KeptOptions():
        options.write_text("")
        killed(options)
        with cgroup2.KeptOptions():
            pass
        assert options.read_text() == "nsdelegate favordynmods"
        options.write_text("")
    assert options.read_text() == "nsdelegate favordynmods"
    assert Path(cgroup2._FILE).read_text() == ""


def test_options_that_are_none_stay_none(options: Path) -> None:
    options.write_text("")
    with cgroup2.KeptOptions(), cgroup2.KeptOptions():
        options.write_text("nsdelegate")  # by the host
    assert options.read_text() == "nsdelegate"
