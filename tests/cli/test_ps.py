"""`ps`: the container's processes and no others."""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle, Completed, Config, Lcpy


def refused(done: "Completed", text: str) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert text in done.stderr


def wait_for(path: Path) -> None:
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def container(lcpy: "Lcpy", bundle: "Bundle") -> str:
    """One with two processes."""
    container = lcpy.new_id()
    path = bundle(
        "sh",
        "-c",
        "sleep 1234 & echo >/up; wait",
        change=lambda config: config["root"].update(readonly=False),
    )
    lcpy("run", "--detach", "--bundle", path, container, check=True)
    wait_for(path / "rootfs/up")
    return container


def test_the_table(lcpy: "Lcpy", container: str) -> None:
    head, *lines = lcpy("ps", container, check=True).stdout.splitlines()
    assert head.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    pids = json.loads(lcpy("ps", "--format", "json", container, check=True).stdout)
    assert sorted(int(line.split()[1]) for line in lines) == sorted(pids)
    assert len(pids) == 2
    assert lcpy.state(container)["pid"] in pids
    assert sorted(line.split()[7] for line in lines) == ["sh", "sleep"]


def test_the_options_of_ps(lcpy: "Lcpy", container: str) -> None:
    """What looks like an option of ours is ps(1)'s, behind the id."""
    done = lcpy("ps", container, "-e", "-f", check=True)
    assert done.stdout.splitlines()[0].split()[0] == "UID"
    done = lcpy("ps", "-f", "table", container, "-e", "-o", "pid,args", check=True)
    assert done.stdout.splitlines()[0].split() == ["PID", "COMMAND"]
    assert "sleep 1234" in done.stdout
    assert len(done.stdout.splitlines()) == 3


def test_json(lcpy: "Lcpy", container: str) -> None:
    for flags in (["--format", "json"], ["-f", "json"], ["--format=json"]):
        done = lcpy("ps", *flags, container, check=True)
        assert done.stdout.endswith("]\n")
        pids = json.loads(done.stdout)
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        assert len(pids) == 2


def test_a_paused_one(lcpy: "Lcpy", container: str) -> None:
    lcpy("pause", container, check=True)
    assert len(json.loads(lcpy("ps", "-f", "json", container, check=True).stdout)) == 2


def test_a_stopped_one(lcpy: "Lcpy", container: str) -> None:
    """It has none, which is no error."""
    lcpy("kill", container, "KILL", check=True)
    lcpy.wait_for(container, "stopped")
    assert len(lcpy("ps", container, check=True).stdout.splitlines()) == 1
    assert lcpy("ps", "--format", "json", container, check=True).stdout == "null\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--format", "xml", "ID"], "invalid format option"),
        (["ID", "-o", "comm"], "couldn't find PID field in ps output"),
        (["ID", "--nonsense"], "ps: exit status 1: error: unknown gnu long option"),
        (["ID", "-e", "-o", "args,pid"], "unable to parse pid"),
        (["nope"], "container does not exist"),
    ],
)
def test_what_can_not_be(lcpy: "Lcpy", container: str, words: list[str], text: str) -> None:
    refused(lcpy("ps", *(container if word == "ID" else word for word in words)), text)


def test_without_words(lcpy: "Lcpy") -> None:
    done = lcpy("ps")
    assert done.returncode == 1
    assert "requires a minimum of 1 argument(s)" in done.stderr


def test_without_ps(lcpy: "Lcpy", container: str, tmp_path: Path) -> None:
    """The ids need none."""
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = lcpy("ps", container, env=environment)
    refused(done, 'exec: \\"ps\\": executable file not found in $PATH')
    lcpy("ps", "--format", "json", container, env=environment, check=True)


def test_below_its_cgroup(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """Processes that the container has put into cgroups of its own are its processes, too."""

    def change(config: "Config") -> None:
        config["root"]["readonly"] = False
        for mount in config["mounts"]:
            if mount["destination"] == "/sys/fs/cgroup":
                mount["options"].remove("ro")

    script = (
        "for d in /sys/fs/cgroup/devices /sys/fs/cgroup; do [ -e $d/cgroup.procs ] && break; done;"
        "sleep 60 & mkdir $d/sub && echo $! >$d/sub/cgroup.procs; echo >/up; wait"
    )
    path = bundle("sh", "-c", script, change=change)
    container = lcpy.new_id()
    lcpy("run", "--detach", "--bundle", path, container, check=True)
    wait_for(path / "rootfs/up")
    assert len(json.loads(lcpy("ps", "--format", "json", container, check=True).stdout)) == 2
