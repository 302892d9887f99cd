"""`delete --force` ends, and leaves nothing, in whatever state a container is."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import freezer
from tests.conftest import PATIENCE

if TYPE_CHECKING:
    from tests.conftest import Bundle, Lcpy

SECONDS = 8 * PATIENCE

Change = Callable[[dict[str, Any]], None]


def shared(config: dict[str, Any]) -> None:
    """In the host's pid namespace, where others outlive the first process."""
    writable(config)
    config["linux"]["namespaces"] = [
        each for each in config["linux"]["namespaces"] if each["type"] != "pid"
    ]


def writable(config: dict[str, Any]) -> None:
    """Its root and its cgroups are its own to write."""
    config["root"]["readonly"] = False
    for mount in config["mounts"]:
        if mount["destination"] == "/sys/fs/cgroup":
            mount["options"].remove("ro")


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_for(path: Path) -> None:
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def pids_of(lcpy: "Lcpy", container: str) -> list[int]:
    text = lcpy("ps", "--format", "json", container, check=True).stdout
    return [int(word) for word in text.strip("[]\n").split(",") if word.isdigit()]


def run(lcpy: "Lcpy", bundle: "Bundle", script: str, change: Change) -> tuple[str, list[int]]:
    """Start a container that says when it is ready; return its id and its processes."""
    path = bundle("sh", "-c", f"{script}; echo >/up; wait", change=change)
    container = lcpy.new_id()
    lcpy("run", "--detach", "--bundle", path, container, check=True)
    wait_for(path / "rootfs/up")
    return container, pids_of(lcpy, container)


def deleted(lcpy: "Lcpy", container: str, pids: list[int], *flags: str) -> float:
    """Delete it, hold that all of it is gone, and return how long that took."""
    begun = time.monotonic()
    done = lcpy("delete", *flags, container, check=True, timeout=2 * SECONDS)
    took = time.monotonic() - begun
    assert (done.stdout, done.stderr) == ("", "")
    assert took < SECONDS
    assert all(map(ended, pids))
    assert not (lcpy.root / container).exists()
    assert not [path for path, _, _ in os.walk("/sys/fs/cgroup") if container in path]
    return took


SLEEPERS = "for n in 1 2 3 4 5; do sleep 1000 & done"


@pytest.mark.parametrize("change", [writable, shared])
@pytest.mark.parametrize("paused", [False, True])
def test_a_running_one(lcpy: "Lcpy", bundle: "Bundle", change: Change, paused: bool) -> None:
    container, pids = run(lcpy, bundle, SLEEPERS, change)
    assert len(pids) == 6
    if paused:
        lcpy("pause", container, check=True)
    deleted(lcpy, container, pids, "--force")


def test_a_paused_one_that_was_not_started(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = lcpy.new_id()
    lcpy("create", "--bundle", bundle("true"), container, check=True)
    pids = [lcpy.state(container)["pid"]]
    lcpy("pause", container, check=True)
    deleted(lcpy, container, pids, "--force")


@pytest.mark.parametrize("flags", [[], ["--force"]])
@pytest.mark.parametrize("paused", [False, True])
def test_the_first_process_is_gone(
    lcpy: "Lcpy", bundle: "Bundle", flags: list[str], paused: bool
) -> None:
    """It has stopped; but in the host's pid namespace the others live on, maybe frozen."""
    container, pids = run(lcpy, bundle, SLEEPERS, shared)
    first = lcpy.state(container)["pid"]
    cgroup = freezer.cgroup_of(first)
    os.kill(first, signal.SIGKILL)
    lcpy.wait_for(container, "stopped")
    if paused:
        freezer.freeze(cgroup)
    assert [pid for pid in pids if not ended(pid)] == [pid for pid in pids if pid != first]
    deleted(lcpy, container, pids, *flags)


@pytest.mark.parametrize("change", [writable, shared])
def test_with_cgroups_of_its_own(lcpy: "Lcpy", bundle: "Bundle", change: Change) -> None:
    """In every hierarchy, at any depth, with processes in them."""
    script = (
        "sleep 1000 & for d in /sys/fs/cgroup/*/ /sys/fs/cgroup/; do"
        " mkdir -p $d/a/b $d/c 2>/dev/null && echo $! >$d/a/b/cgroup.procs; done 2>/dev/null"
    )
    container, pids = run(lcpy, bundle, script, change)
    assert len(pids) == 2
    deleted(lcpy, container, pids, "--force")


@pytest.mark.parametrize("change", [writable, shared])
def test_with_a_cgroup_that_it_froze(lcpy: "Lcpy", bundle: "Bundle", change: Change) -> None:
    script = (
        f"{freezer.SHELL}; cd $cg; mkdir -p a/b; sleep 1000 & echo $! >a/b/cgroup.procs; freeze a"
    )
    container, pids = run(lcpy, bundle, script, change)
    deleted(lcpy, container, pids, "--force")


@pytest.mark.parametrize("change", [writable, shared])
def test_while_it_forks(lcpy: "Lcpy", bundle: "Bundle", change: Change) -> None:
    """As fast as it can, up to its limit."""

    def limited(config: dict[str, Any]) -> None:
        change(config)
        config["linux"]["resources"]["pids"] = {"limit": 60}

    script = (
        "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); (sleep 0.0$((i%7)) &) 2>/dev/null; done &"
        " sleep 0.2"
    )
    container, pids = run(lcpy, bundle, script, limited)
    deleted(lcpy, container, pids, "--force")


def test_with_a_stranger_in_its_cgroups(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """Somebody of the host's, whom the end of the pid namespace does not reach."""
    container, pids = run(lcpy, bundle, "sleep 1000 & true", writable)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        for path, _, _ in os.walk("/sys/fs/cgroup"):
            if path.endswith(f"/{container}") and "/unified/" not in path:
                Path(path, "cgroup.procs").write_text(str(stranger.pid))
        lcpy("kill", container, "KILL", check=True)
        lcpy.wait_for(container, "stopped")
        deleted(lcpy, container, pids, "--force")
        assert stranger.wait(5) == -signal.SIGKILL


def test_one_that_is_not_there(lcpy: "Lcpy") -> None:
    for _ in range(2):
        done = lcpy("delete", "--force", "nope", check=True)
        assert (done.stdout, done.stderr) == ("", "")
    assert lcpy("delete", "nope").returncode == 1


def test_the_flag_behind_the_id(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """As runc takes it; what is no flag of the command's is an argument there."""
    container, pids = run(lcpy, bundle, "sleep 1000 & true", writable)
    done = lcpy("delete", container, "--force", "--nope")
    assert (done.returncode, "requires exactly 1 argument(s)" in done.stderr) == (1, True)
    assert not any(map(ended, pids))
    lcpy("delete", container, "--force", check=True)
    assert all(map(ended, pids))


def test_twice_at_once(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container, pids = run(lcpy, bundle, SLEEPERS, writable)
    lcpy("pause", container, check=True)
    argv = lcpy.argv("delete", "--force", container)
    deleting = [subprocess.Popen(argv, stdin=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(SECONDS) for process in deleting] == [0, 0, 0]
    assert all(map(ended, pids))
    assert not (lcpy.root / container).exists()
