"""Help: everything that the command line takes, said once, in lines that fit a terminal."""

from typing import TYPE_CHECKING

import pytest

from libcontainer_py.cli import commands, descriptions
from libcontainer_py.cli.help import explained, help_text, spelled
from libcontainer_py.cli.table import COMMANDS, GLOBAL

if TYPE_CHECKING:
    from tests.conftest import Lcpy

TOPICS = [None, *COMMANDS]


@pytest.mark.parametrize("topic", TOPICS)
def test_every_way_to_ask_is_the_same(lcpy: "Lcpy", topic: str | None) -> None:
    name = [topic] if topic else []
    text = help_text(COMMANDS[topic] if topic else None)
    for words in (["help", *name], ["h", *name], [*name, "--help"], [*name, "-h"],
                  ["--help", *name], ["help", *name, "--help"]):  # fmt: skip
        done = lcpy(*words)
        assert (done.returncode, done.stdout, done.stderr) == (0, text, ""), words
    assert not lcpy.root.exists()


@pytest.mark.parametrize("topic", TOPICS)
def test_it_is_complete(topic: str | None) -> None:
    """The sections that runc's has, a line for each flag with all its spellings and its default."""
    command = COMMANDS[topic] if topic else None
    text = help_text(command)
    lines = text.splitlines()
    assert lines[0] == "NAME:"
    assert lines[1].startswith(f"   lcpy {topic} - " if topic else "   lcpy - ")
    titles = ["NAME:", "USAGE:", "DESCRIPTION:"]
    titles += ["OPTIONS:"] if topic else ["COMMANDS:", "GLOBAL OPTIONS:"]
    assert [line for line in lines if line and line[0] != " "] == titles
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert max(map(len, lines)) <= 100
    assert not any(line != line.rstrip() for line in lines)
    flags = command.flags if command else GLOBAL
    for flag in flags:
        assert any(
            line.startswith(f"   {spelled(flag)} ") and line.endswith(f"  {explained(flag)}")
            for line in lines
        ), flag.names
    assert len(flags) == len({name for flag in flags for name in flag.names[:1]})


def test_the_columns_of_one_table_begin_together() -> None:
    lines = help_text(COMMANDS["run"]).split("OPTIONS:\n")[1].splitlines()
    starts = {
        line.index(flag.help) for line, flag in zip(lines, COMMANDS["run"].flags, strict=True)
    }
    assert len(starts) == 1


def test_each_command_has_its_function_and_its_description() -> None:
    assert sorted(COMMANDS) == list(COMMANDS) == list(descriptions.COMMANDS)
    for name in COMMANDS:
        assert callable(getattr(commands, name))


def test_wrong_words_show_the_help_of_their_command(lcpy: "Lcpy") -> None:
    done = lcpy("list", "--nope")
    assert done.returncode == 1
    assert done.stdout == "Incorrect Usage.\n\n" + help_text(COMMANDS["list"]) + "\n"
