"""Members in other capitals than the specification's are passed over, but not without a word."""

from typing import Any

import pytest

from libcontainer_py.spec import spelling, validate
from libcontainer_py.spec.default import default


def config(**resources: Any) -> dict[str, Any]:
    made: dict[str, Any] = default()
    made["linux"]["resources"] = resources
    return made


def test_the_default_config_is_well_spelled() -> None:
    assert spelling.check(default()) == []


@pytest.mark.parametrize("word", ["Limit", "LIMIT", "limiT"])
def test_a_limit_is_not_lost_in_silence(word: str) -> None:
    place = f"linux.resources.pids.{word}"
    warning = f'{place}: passed over, for the specification spells it "limit"'
    assert validate.validate(config(pids={word: 5})) == [warning]


def test_places_in_lists() -> None:
    made = default()
    made["mounts"][1]["Options"] = ["ro"]
    warning = 'mounts[1].Options: passed over, for the specification spells it "options"'
    assert spelling.check(made) == [warning]


def test_what_is_below_an_unknown_member_is_unknown() -> None:
    assert spelling.check({"Linux": {"Resources": {}}, "vm": {"Path": "/"}}) == [
        'Linux: passed over, for the specification spells it "linux"'
    ]


@pytest.mark.parametrize("name", ["annotations", "sysctl", "unified", "rdma", "netDevices"])
def test_names_that_are_free(name: str) -> None:
    assert spelling.check({name: {"Limit": "5", "PATH": {"Name": "x"}}, "unknown": 1}) == []


def test_there_is_an_end_to_it() -> None:
    made = {"mounts": [{"Source": "/"} for _ in range(1000)]}
    warnings = spelling.check(made)
    assert len(warnings) == spelling.MOST + 1
    assert warnings[-1] == "and 980 more members that are spelled otherwise"
