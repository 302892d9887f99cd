"""Two commands on one container at the same time: one winner, and the other says so."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Bundle, Lcpy

ROUNDS = 4


def at_once(lcpy: Lcpy, cwd: Path, *commands: tuple[str, ...]) -> list[tuple[int, str]]:
    """Run commands side by side; return (exit code, standard error) of each."""
    running = []
    for number, words in enumerate(commands):
        log = lcpy.root.parent / f"stderr-{number}"
        with open(log, "w") as stderr:
            running.append(
                (
                    log,
                    subprocess.Popen(
                        lcpy.argv(*words),
                        cwd=cwd,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=stderr,
                    ),
                )
            )
    return [(process.wait(timeout=30), log.read_text()) for log, process in running]


def winner(results: list[tuple[int, str]], loser: str) -> None:
    """Assert that one of them succeeded, and that each of the others failed in these words."""
    assert sorted(code for code, _text in results) == [0] + [1] * (len(results) - 1), results
    for code, text in results:
        if code:
            assert loser in text, text
            assert "Traceback" not in text


def test_creates(lcpy: Lcpy, bundle: Bundle) -> None:
    made = bundle("sleep", "60")
    for _ in range(ROUNDS):
        container = lcpy.new_id()
        winner(at_once(lcpy, made, *[("create", container)] * 3), "already exists")
        assert lcpy.state(container)["status"] == "created"
        lcpy("delete", container, check=True)


def test_starts(lcpy: Lcpy, bundle: Bundle, tmp_path: Path) -> None:
    made = bundle("sleep", "60")
    for _ in range(ROUNDS):
        container = lcpy.new_id()
        lcpy("create", container, cwd=made, check=True)
        winner(at_once(lcpy, made, *[("start", container)] * 3), "cannot start an already running")
        assert lcpy.state(container)["status"] == "running"
        lcpy("delete", "--force", container, check=True)


def test_starts_of_a_program_that_ends_at_once(lcpy: Lcpy, bundle: Bundle) -> None:
    made = bundle("true")
    for _ in range(ROUNDS):
        container = lcpy.new_id()
        lcpy("create", container, cwd=made, check=True)
        winner(at_once(lcpy, made, *[("start", container)] * 2), "cannot start a")
        lcpy("delete", "--force", container, check=True)


def test_deletes(lcpy: Lcpy, bundle: Bundle) -> None:
    made = bundle("true")
    for _ in range(ROUNDS):
        container = lcpy.new_id()
        lcpy("create", container, cwd=made, check=True)
        winner(at_once(lcpy, made, *[("delete", container)] * 3), "does not exist")
        assert not (lcpy.root / container).exists()


@pytest.mark.parametrize("other", ["create", "start", "kill", "state"])
def test_delete_beside(lcpy: Lcpy, bundle: Bundle, other: str) -> None:
    """Whoever is first: no hang, no half of a container, no words about Python."""
    made = bundle("sleep", "60")
    for _ in range(ROUNDS):
        container = lcpy.new_id()
        if other != "create":
            lcpy("create", container, cwd=made, check=True)
        words = [("delete", "--force", container), (other, container)]
        for code, text in at_once(lcpy, made, *words):
            assert code in (0, 1)
            assert "Traceback" not in text
        lcpy("delete", "--force", container, check=True)
        assert not (lcpy.root / container).exists()
        found = [name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names]
        assert container not in found
