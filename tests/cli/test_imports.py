"""What each hot command imports: every millisecond of Python's start is paid by every container."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.bench import LISTER

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

HOT = ("create", "state", "start", "exec", "pause", "resume", "ps", "kill", "delete", "run")
# These make no system call that `posix` lacks, and prepare no container.
LIGHT = ("state", "start", "kill")
HEAVY = {"_ctypes", *(f"libcontainer_py.{name}" for name in ("cgroups", "linux", "mount", "spec"))}


def imported(words: list[str], directory: Path) -> set[str]:
    """Run bin/lcpy and return all that it imported."""
    listed, log = directory / "modules", directory / "log"
    argv = [sys.executable, "-I", "-S", "-X", "utf8", "-c", LISTER, str(listed), "bin/lcpy"]
    # A file: a created container keeps standard error open.
    with log.open("w") as file:
        done = subprocess.run(
            [*argv, *words], cwd=CHECKOUT, stdout=file, stderr=file, timeout=60, check=False
        )
    assert done.returncode == 0, log.read_text()
    return set(listed.read_text().split("\n"))


@pytest.fixture
def imports(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> dict[str, set[str]]:
    """What each hot command imports, over the lives of two containers."""
    container, another = lcpy.new_id(), lcpy.new_id()
    waiting, brief = str(bundle("sleep", "1000")), str(bundle("true"))
    words = {
        "create": ["create", "--bundle", waiting, container],
        "state": ["state", container],
        "start": ["start", container],
        "exec": ["exec", container, "true"],
        "pause": ["pause", container],
        "resume": ["resume", container],
        "ps": ["ps", container],
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
    assert {command: imports[command] & HEAVY for command in LIGHT} == {
        command: set() for command in LIGHT
    }
