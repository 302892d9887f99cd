"""Too little of everything: memory, descriptors, processes. And the parent's own exceptions."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bundle, Config, Lcpy

HERE = Path(__file__).resolve().parent


def check_gone(lcpy: Lcpy, container: str) -> None:
    assert not (lcpy.root / container).exists()
    found = [path for path, _, _ in os.walk("/sys/fs/cgroup") if path.endswith(container)]
    assert found == []


@pytest.mark.parametrize("limit", [1, 4096, 16384, 65536])
def test_too_little_memory(lcpy: Lcpy, bundle: Bundle, limit: int) -> None:
    """A limit that no process could start in: an error that speaks of memory, no endless wait."""

    def change(config: Config) -> None:
        config["linux"]["resources"]["memory"] = {"limit": limit}

    container = lcpy.new_id()
    done = lcpy("run", container, cwd=bundle("true", change=change), timeout=30)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "memory" in done.stderr or done.returncode == 137, done
    check_gone(lcpy, container)


def test_too_few_processes(lcpy: Lcpy, bundle: Bundle) -> None:
    """One process is what the container gets, and its own fork is what fails."""

    def change(config: Config) -> None:
        config["linux"]["resources"]["pids"] = {"limit": 1}

    container = lcpy.new_id()
    done = lcpy("run", container, cwd=bundle("sh", "-c", "(true); true", change=change))
    assert done.returncode != 0
    assert "fork" in done.stderr
    check_gone(lcpy, container)


@pytest.mark.parametrize("count", range(5, 40, 2))
def test_too_few_descriptors(lcpy: Lcpy, bundle: Bundle, count: int) -> None:
    """It works, or it says in one line that there are too many open files."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))

    made = bundle("true", change=lambda config: config["process"].pop("rlimits"))
    container = lcpy.new_id()
    done = lcpy("run", container, cwd=made, preexec_fn=limit, timeout=30)
    if done.returncode:
        assert "Traceback" not in done.stderr
        lines = [line for line in done.stderr.splitlines() if "level=warning" not in line]
        assert len(lines) == 1, done.stderr
        assert "too many open files" in lines[0]
    check_gone(lcpy, container)


def test_a_file_that_is_too_large(lcpy: Lcpy, bundle: Bundle) -> None:
    """RLIMIT_FSIZE: writing the record fails, by EFBIG, or by the signal that nobody ignores."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    container = lcpy.new_id()
    done = lcpy("create", container, cwd=bundle("true"), preexec_fn=limit)
    assert done.returncode != 0
    assert lcpy("delete", "--force", container).returncode == 0
    check_gone(lcpy, container)


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "MemoryError", "OSError"])
@pytest.mark.parametrize("where", ["parent", "children"])
def test_the_parent_raises(lcpy: Lcpy, bundle: Bundle, kind: str, where: str) -> None:
    """At each of its own calls of the sync pipe, and of the cgroups: what it raised comes out."""
    lcpy.root.mkdir()
    done = subprocess.run(
        [
            *(sys.executable, str(HERE / "parent_raises.py"), kind, where),
            *(str(lcpy.root), lcpy.new_id(), str(bundle("true"))),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert found[-1]["error"] is None
    assert len(found) > 5
    for number, result in enumerate(found):
        assert result["descriptors"] == 0, (number, result)
        assert result["children"] == [], (number, result)
        assert result["state"] == [], (number, result)
        if result["error"]:
            assert result["error"] in (kind, "StepError"), (number, result)
