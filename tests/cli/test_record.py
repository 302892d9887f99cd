"""The record of what a command imports is made by one that did its work, and by no other."""

import marshal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle, Config, Lcpy


@pytest.fixture
def checkout(checkout_copy: Path) -> Path:
    """A checkout in which nothing was run yet."""
    for path in checkout_copy.rglob("*.bundle.*"):
        path.unlink()
    return checkout_copy


def recorded(checkout: Path, command: str) -> set[str]:
    """The modules in the record of a command; none where there is no record."""
    cache = checkout / "libcontainer_py/__pycache__"
    files = list(cache.glob(f"{command}.bundle.*"))
    _replay, entries = marshal.loads(files[0].read_bytes()) if files else (None, [])
    return {entry[0].removeprefix("libcontainer_py.") for entry in entries}


def run(checkout: Path, lcpy: "Lcpy", *words: str | Path, **options: Any) -> int:
    argv = ["sh", str(checkout / "bin/lcpy"), "--root", str(lcpy.root), *map(str, words)]
    null = subprocess.DEVNULL
    return subprocess.run(
        argv, stdin=null, stdout=null, stderr=null, timeout=60, check=False, **options
    ).returncode


def test_help_and_failures_leave_none(checkout: Path, lcpy: "Lcpy", bundle: "Bundle") -> None:
    def not_valid(config: "Config") -> None:
        config["root"] = 3

    assert run(checkout, lcpy, "create", "--help") == 0
    assert run(checkout, lcpy, "help", "create") == 0
    assert run(checkout, lcpy, "create", "x", cwd=checkout) == 1
    assert run(checkout, lcpy, "create", "--bundle", bundle(change=not_valid), "x") == 1
    assert recorded(checkout, "create") == set()


def test_one_that_did_its_work_leaves_one(checkout: Path, lcpy: "Lcpy", bundle: "Bundle") -> None:
    """With a filter, because compiling it needs what is not needed the next time."""

    def filtered(config: "Config") -> None:
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}],
        }

    path = bundle("sleep", "1000", change=filtered)
    assert run(checkout, lcpy, "create", "--bundle", path, lcpy.new_id()) == 0
    found = recorded(checkout, "create")
    assert {"container", "namespaces.init", "security.seccomp"} <= found
    assert not found & {"cli.help", "spec.reject", "security.seccomp_library"}
