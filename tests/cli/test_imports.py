"""What each hot command imports: every millisecond of Python's start is paid by every container."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle, Lcpy

CHECKOUT = Path(__file__).resolve().parents[2]

# All of these have a cheaper core (`_json`, `_signal`, `_socket`, …) or belong to other commands.
TOO_SLOW = {
    *("argparse", "collections", "contextlib", "ctypes", "dataclasses", "enum", "functools"),
    *("json", "logging", "pathlib", "re", "shutil", "signal", "socket", "subprocess"),
    *("tempfile", "threading", "typing"),
    *("attr", "attrs", "jsonschema", "prctl", "pyroute2", "referencing", "rpds"),
}

HOT = ("create", "state", "start", "kill", "delete", "run")
WITHOUT_SYSTEM_CALLS = ("state", "kill")


def imported(words: list[str], directory: Path) -> set[str]:
    """Run bin/lcpy in its own Python and return all that it imported."""
    log = directory / "imports"
    argv = [sys.executable, "-I", "-S", "-X", "utf8", "-X", "importtime", "bin/lcpy", *words]
    # A file: a created container keeps standard error open.
    with log.open("w") as file:
        done = subprocess.run(
            argv, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=file, timeout=60, check=False
        )
    lines = log.read_text().splitlines()
    others = [line for line in lines if not line.startswith("import time:")]
    assert done.returncode == 0, others
    found = {line.rpartition("|")[2].strip() for line in lines if line not in others}
    return found - {"imported package"}  # the heading


@pytest.fixture
def imports(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> dict[str, set[str]]:
    """What each hot command imports, over the lives of two containers."""
    container, another = lcpy.new_id(), lcpy.new_id()
    waiting, brief = str(bundle("sleep", "1000")), str(bundle("true"))
    words = {
        "create": ["create", "--bundle", waiting, container],
        "state": ["state", container],
        "start": ["start", container],
        "kill": ["kill", container, "KILL"],
        "delete": ["delete", "--force", container],
        "run": ["run", "--bundle", brief, another],
    }
    assert tuple(words) == HOT
    return {
        name: imported(["--root", str(lcpy.root), *each], tmp_path) for name, each in words.items()
    }


def test_no_hot_command_imports_what_is_slow(imports: dict[str, set[str]]) -> None:
    """Held for all at once: making the containers is most of the work."""
    for command, modules in imports.items():
        print(command, *sorted(modules))  # shown when it fails
    assert {command: modules & TOO_SLOW for command, modules in imports.items()} == {
        command: set() for command in HOT
    }
    for command in WITHOUT_SYSTEM_CALLS:
        assert "_ctypes" not in imports[command], command
