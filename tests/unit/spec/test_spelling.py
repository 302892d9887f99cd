"""Members in other capitals than the specification's are taken, as Go takes them, with a word."""

from typing import Any

import pytest

from libcontainer_py.errors import ConfigError
from libcontainer_py.spec import spelling, validate
from libcontainer_py.spec.default import default


def config(**resources: Any) -> dict[str, Any]:
    made: dict[str, Any] = default()
    made["linux"]["resources"] = resources
    return made


def test_the_default_config_is_well_spelled() -> None:
    assert spelling.take(default()) == []


@pytest.mark.parametrize("word", ["Limit", "LIMIT", "limiT"])
def test_a_limit_is_not_lost(word: str) -> None:
    place = f"linux.resources.pids.{word}"
    made = config(pids={word: 5})
    warning = f'{place}: taken for "limit", as the specification spells it'
    assert validate.validate(made) == [warning]
    assert made["linux"]["resources"]["pids"] == {"limit": 5}


def test_it_is_validated_as_what_it_is_taken_for() -> None:
    with pytest.raises(ConfigError) as caught:
        validate.validate(config(pids={"Limit": "5"}))
    assert caught.value.field == "linux.resources.pids.limit"


@pytest.mark.parametrize("words", [("limit", "Limit"), ("Limit", "limit"), ("Limit", "LIMIT")])
def test_the_last_counts(words: "tuple[str, str]") -> None:
    pids = dict(zip(words, (5, 6), strict=True))
    spelling.take(config(pids=pids))
    assert pids == {"limit": 6}


def test_places_in_lists() -> None:
    made = default()
    made["mounts"][1]["Options"] = ["ro"]
    warning = 'mounts[1].Options: taken for "options", as the specification spells it'
    assert spelling.take(made) == [warning]


def test_what_is_below_an_unknown_member_is_unknown() -> None:
    made = {"Linux": {"Resources": {}}, "vm": {"Path": "/"}}
    assert spelling.take(made) == [
        'Linux: taken for "linux", as the specification spells it',
        'Linux.Resources: taken for "resources", as the specification spells it',
    ]
    assert made == {"vm": {"Path": "/"}, "linux": {"resources": {}}}


@pytest.mark.parametrize("name", ["annotations", "sysctl", "unified", "rdma", "netDevices"])
def test_names_that_are_free(name: str) -> None:
    assert spelling.take({name: {"Limit": "5", "PATH": {"Name": "x"}}, "unknown": 1}) == []


def test_there_is_an_end_to_it() -> None:
    made = {"mounts": [{"Source": "/"} for _ in range(1000)]}
    warnings = spelling.take(made)
    assert len(warnings) == spelling.MOST + 1
    assert warnings[-1] == "and 980 more members that are spelled otherwise"
