"""spec/schema/state.json: what `lcpy state` prints and hooks are given, in each status."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import referencing
from referencing.jsonschema import DRAFT4

from libcontainer_py import spec

if TYPE_CHECKING:
    from tests.conftest import Bundle, Lcpy

OFFICIAL = Path(__file__).resolve().parents[3] / "shared" / "oci-spec" / "schema"
needs_official = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason="../shared/oci-spec is not beside the checkout"
)
SCHEMA = json.loads((Path(spec.__file__).parent / "schema" / "state.json").read_text())
OURS = jsonschema.Draft202012Validator(SCHEMA)

STATE: dict[str, Any] = {
    "ociVersion": "1.0.2-dev",
    "id": "box",
    "status": "running",
    "pid": 1234,
    "bundle": "/containers/box",
    "annotations": {"a": ""},
}


def official() -> Any:
    """The official schema, which leaves a part of itself to another file."""
    registry: Any = referencing.Registry()
    for file in OFFICIAL.glob("*.json"):
        contents = json.loads(file.read_text())
        resource: Any = referencing.Resource.from_contents(contents, default_specification=DRAFT4)
        registry = registry.with_resource(f"file:///{file.name}", resource)
    return jsonschema.Draft4Validator({"$ref": "file:///state-schema.json"}, registry=registry)


@pytest.fixture
def states(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> list[dict[str, Any]]:
    """All that is said of a container over its life, to its hooks and by `state`."""
    log = tmp_path / "log"
    script = tmp_path / "hook"
    script.write_text(f"#!/bin/sh\ncat >> {log}; echo >> {log}\n")
    script.chmod(0o755)
    kinds = ("createRuntime", "createContainer", "poststart", "poststop")

    def change(config: dict[str, Any]) -> None:
        config["hooks"] = {kind: [{"path": str(script)}] for kind in kinds}
        config["annotations"] = {"com.example.key": "value", "empty": ""}

    container = lcpy.new_id()
    found = []
    lcpy("create", "--bundle", bundle("sleep", "60", change=change), container, check=True)
    found.append(lcpy.state(container))
    lcpy("start", container, check=True)
    found.append(lcpy.state(container))
    lcpy("pause", container, check=True)
    found.append(lcpy.state(container))
    lcpy("resume", container, check=True)
    lcpy("kill", container, "KILL", check=True)
    found.append(lcpy.wait_for(container, "stopped"))
    lcpy("delete", container, check=True)
    hooks = [json.loads(line) for line in log.read_text().splitlines() if line]
    assert len(hooks) == len(kinds)
    return [*found, *hooks]


def test_every_state_fits(states: list[dict[str, Any]]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert {state["status"] for state in states} == set(SCHEMA["properties"]["status"]["enum"])
    for state in states:
        assert [error.message for error in OURS.iter_errors(state)] == [], state
        # Nothing is printed that the schema does not tell of.
        assert set(state) <= set(SCHEMA["properties"]), state


@needs_official
def test_every_state_fits_the_official_schema(states: list[dict[str, Any]]) -> None:
    """But for `paused`, which is runc's (runtime.md: "Additional values MAY be defined")."""
    validator = official()
    for state in states:
        told = [error.validator for error in validator.iter_errors(state)]
        assert told == (["enum"] if state["status"] == "paused" else []), state


@pytest.mark.parametrize(
    ("change", "both"),
    [
        ({"ociVersion": None}, True),
        ({"id": None}, True),
        ({"bundle": None}, True),
        ({"status": None}, True),
        ({"status": "exited"}, True),
        ({"pid": -1}, True),
        ({"pid": "1"}, True),
        ({"annotations": {"a": 1}}, True),
        # A pid is REQUIRED of one that runs, and a bundle's path is absolute (runtime.md).
        ({"pid": None}, False),
        ({"pid": 0}, False),
        ({"bundle": "box"}, False),
        ({"id": ""}, False),
        ({"ociVersion": "1.0"}, False),
    ],
)
def test_what_is_no_state(change: dict[str, Any], both: bool) -> None:
    """`both`: the official schema says so, too."""
    assert OURS.is_valid(STATE)
    state = {name: value for name, value in {**STATE, **change}.items() if value is not None}
    assert not OURS.is_valid(state)
    if OFFICIAL.is_dir():
        assert official().is_valid(state) != both


def test_who_is_gone_needs_no_pid() -> None:
    for status in ("creating", "stopped"):
        state = {**STATE, "status": status}
        assert OURS.is_valid({**state, "pid": 0})
        del state["pid"]
        assert OURS.is_valid(state)


@needs_official
@pytest.mark.parametrize("verdict", ["good", "bad"])
def test_the_official_samples(verdict: str) -> None:
    files = list((OFFICIAL / "test" / "state" / verdict).glob("*.json"))
    assert files
    for file in files:
        try:
            state = json.loads(file.read_text())
        except ValueError:
            assert verdict == "bad"
            continue
        assert official().is_valid(state) == OURS.is_valid(state) == (verdict == "good"), file


# --- lcpy spec --rootless -------------------------------------------------------------------


def test_spec_rootless_is_for_the_caller(lcpy: "Lcpy", tmp_path: Path) -> None:
    lcpy("spec", "--rootless", "--bundle", tmp_path, check=True)
    config = json.loads((tmp_path / "config.json").read_text())
    mapping = [{"containerID": 0, "hostID": 0, "size": 1}]  # we are root
    assert config["linux"]["uidMappings"] == config["linux"]["gidMappings"] == mapping
    kinds = [namespace["type"] for namespace in config["linux"]["namespaces"]]
    assert "network" not in kinds
    assert kinds[-1] == "user"
    done = lcpy("spec", "--rootless", "--bundle", tmp_path)
    assert done.returncode == 1
    assert "exists. Remove it first" in done.stderr
