"""The child comes to grief at each of its steps, in every way: the parent raises one clear error
that names the step, and nothing is left.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bundle, Lcpy

HERE = Path(__file__).resolve().parent

# How a child ends, and what of it the error must say.
ENDS = {
    "killed": "ended by signal 9 before it was ready",
    "aborted": "ended by signal ",
    "exit 0": "ended with status 0 before it was ready",
    "exit 3": "ended with status 3 before it was ready",
}
RAISES = {
    "MemoryError": "MemoryError",
    "SystemExit": "SystemExit",
    "KeyboardInterrupt": "KeyboardInterrupt",
    "UnicodeError": "UnicodeEncodeError",
    "RecursionError": 'RecursionError: "too deep"',
    "OSError": "input/output error",
    "OSError of bytes": "no such file or directory",
    "OSError of nothing": "",
    "Error": "an error",
    "AssertionError": "AssertionError",
    "Unspeakable": "ended with status 1 before it was ready",
}
TALKS = ("silent", "garbage", "binary", "a wrong object", "a list")

FIRST = "SetupCgroups"
STEPS = {
    FIRST,
    "ReadFromParent",
    "Setsid",
    "setupNetwork",
    "JoinSessionKeyring",
    "InitializeMountNamespace",
    "PivotRoot",
    "Restrict",
    "FinalizeNamespace",
    "LoadContainerEnvironment",
    "Execv",
    "Finish",
}


def create_at_each_step(lcpy: Lcpy, bundle: Path, kind: str, when: str) -> list[dict[str, Any]]:
    """Run child_at_step.py; return what happened at each step, without the last that worked."""
    lcpy.root.mkdir(exist_ok=True)
    done = subprocess.run(
        [
            *(sys.executable, str(HERE / "child_at_step.py"), kind, when),
            *(str(lcpy.root), lcpy.new_id(), str(bundle)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert found[-1]["error"] is None
    for number, result in enumerate(found):
        assert result["descriptors"] == 0, (number, result)
        assert result["children"] == [], (number, result)
        assert result["state"] == [], (number, result)
    return found[:-1]


@pytest.mark.parametrize(
    ("kind", "when"), [*((kind, "after") for kind in ENDS), ("killed", "before")]
)
def test_the_child_ends(lcpy: Lcpy, bundle: Bundle, kind: str, when: str) -> None:
    found = create_at_each_step(lcpy, bundle("true"), kind, when)
    for result in found:
        assert result["error"] == "StepError", result
        assert ENDS[kind] in result["text"], result
        assert "\n" not in result["text"]
        assert result["notes"] == []
    steps = [result["step"] for result in found]
    if when == "after":
        assert set(steps) >= STEPS
        assert steps[0] == FIRST
    else:
        assert steps[:2] == ["clone", FIRST]
    assert len(steps) >= len(STEPS)


@pytest.mark.parametrize("kind", RAISES)
def test_the_child_raises(lcpy: Lcpy, bundle: Bundle, kind: str) -> None:
    found = create_at_each_step(lcpy, bundle("true"), kind, "after")
    assert {result["step"] for result in found} >= STEPS
    for result in found:
        assert result["error"] == "StepError", result
        assert RAISES[kind] in result["text"], result
        assert "\n" not in result["text"], result
        assert len(result["text"]) < 2000


@pytest.mark.parametrize("kind", TALKS)
def test_the_child_talks_nonsense(lcpy: Lcpy, bundle: Bundle, kind: str) -> None:
    found = create_at_each_step(lcpy, bundle("true"), kind, "after")
    assert len(found) >= len(STEPS)
    for result in found:
        assert result["error"] == "StepError", result
        assert "\n" not in result["text"]
