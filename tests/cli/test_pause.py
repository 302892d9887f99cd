"""`pause` and `resume`: every process stands still, and goes on."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import freezer

if TYPE_CHECKING:
    from tests.conftest import Bundle, Completed, Config, Lcpy

COUNTING = "echo >/up; while :; do echo >>/count; sleep 0.01; done"


def writable(config: "Config") -> None:
    config["root"]["readonly"] = False


def refused(done: "Completed", text: str) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert text in done.stderr


def run(lcpy: "Lcpy", path: Path) -> str:
    container = lcpy.new_id()
    lcpy("run", "--detach", "--bundle", path, container, check=True)
    return container


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def wait_for_growth(path: Path) -> None:
    before, end = size_of(path), time.monotonic() + 10
    while size_of(path) == before:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_running_one(lcpy: "Lcpy", bundle: "Bundle") -> None:
    path = bundle("sh", "-c", f"({COUNTING}) & wait", change=writable)
    container, count = run(lcpy, path), path / "rootfs/count"
    wait_for_growth(count)
    done = lcpy("pause", container, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    size = size_of(count)
    assert lcpy.state(container)["status"] == "paused"
    time.sleep(0.2)
    assert size_of(count) == size
    lcpy("resume", container, check=True)
    assert lcpy.state(container)["status"] == "running"
    wait_for_growth(count)


def test_a_created_one(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """What waits for `start` can be stopped, too, and then it can't be started."""
    container = lcpy.new_id()
    lcpy("create", "--bundle", bundle("sleep", "60"), container, check=True)
    lcpy("pause", container, check=True)
    assert lcpy.state(container)["status"] == "paused"
    refused(lcpy("start", container, timeout=10), "cannot start a container in the paused state")
    lcpy("resume", container, check=True)
    assert lcpy.state(container)["status"] == "created"
    lcpy("start", container, check=True)
    lcpy.wait_for(container, "running")


def test_in_the_wrong_state(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = run(lcpy, bundle("sleep", "60"))
    refused(lcpy("resume", container), "container not paused")
    lcpy("pause", container, check=True)
    refused(lcpy("pause", container), "container not running")
    refused(
        lcpy("delete", container),
        f"cannot delete container {container} that is not stopped: paused",
    )
    lcpy("resume", container, check=True)
    lcpy("kill", container, "KILL", check=True)
    lcpy.wait_for(container, "stopped")
    refused(lcpy("pause", container), "container not running")
    refused(lcpy("resume", container), "container not paused")


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_of_none(lcpy: "Lcpy", command: str) -> None:
    refused(lcpy(command, "nope"), "container does not exist")
    done = lcpy(command)
    assert done.returncode == 1
    assert "requires exactly 1 argument(s)" in done.stderr


def test_below_a_frozen_cgroup(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """It is paused, but not by us: `resume` says so instead of nothing."""
    parent = lcpy.new_id() + "-parent"
    container = run(
        lcpy,
        bundle("sleep", "60", change=lambda config: config["linux"].update(
            cgroupsPath=f"/{parent}/inner"
        )),
    )  # fmt: skip
    above = freezer.MOUNTPOINT / parent
    freezer.freeze(above)
    try:
        lcpy.wait_for(container, "paused")
        refused(lcpy("resume", container), "a cgroup above its own is frozen")
    finally:
        freezer.thaw(above)
    lcpy.wait_for(container, "running")


@pytest.mark.parametrize("words", [["kill"], ["kill", "--all"]])
def test_a_signal_waits_for_resume(lcpy: "Lcpy", bundle: "Bundle", words: list[str]) -> None:
    """Whatever it is but KILL; and sending it to all does not resume."""
    path = bundle("sh", "-c", f"trap 'echo >/got; exit' USR1; {COUNTING}", change=writable)
    container = run(lcpy, path)
    wait_for_growth(path / "rootfs/count")
    lcpy("pause", container, check=True)
    lcpy(*words, container, "USR1", check=True)
    assert lcpy.state(container)["status"] == "paused"
    assert not (path / "rootfs/got").exists()
    lcpy("resume", container, check=True)
    lcpy.wait_for(container, "stopped")
    assert (path / "rootfs/got").exists()


def test_while_start_waits_for_a_hook(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """`start` has the lock: `pause` does not stop the container under its hands, and ends."""

    def change(config: "Config") -> None:
        config["hooks"] = {"startContainer": [{"path": "/bin/sleep", "args": ["sleep", "1"]}]}

    container = lcpy.new_id()
    lcpy("create", "--bundle", bundle("sleep", "60", change=change), container, check=True)
    with subprocess.Popen(lcpy.argv("start", container), stdin=subprocess.DEVNULL) as start:
        time.sleep(0.4)
        lcpy("pause", container, check=True, timeout=20)
        assert start.wait(5) == 0
    assert lcpy.state(container)["status"] == "paused"
    lcpy("delete", "--force", container, check=True)


def test_without_cgroups(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """Where a host allows none, nothing can be stopped, and that is said."""
    container = run(lcpy, bundle("sleep", "60"))
    file = lcpy.root / container / "state.json"
    record = json.loads(file.read_text())
    changed = record | {"cgroups": {"driver": "disabled", "why": "this user may not make any"}}
    file.write_text(json.dumps(changed))
    try:
        for word in ("pause", "ps", "events"):
            refused(lcpy(word, container), "this user may not make any")
        lcpy("kill", "--all", container, "0", check=True)  # the first process is known
        refused(lcpy("update", "--pids-limit", "5", container), "linux.resources.pids")
    finally:
        file.write_text(json.dumps(record))
    assert os.path.exists(f"/proc/{record['pid']}")
