"""`events`: statistics and out-of-memory events, a line of JSON each, until the end."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.cli import events as words_of_events
from tests.conftest import CHECKOUT

if TYPE_CHECKING:
    from tests.conftest import Bundle, Completed, Config, Lcpy

MIB = 1 << 20


def refused(done: "Completed", text: str) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert text in done.stderr


def run(lcpy: "Lcpy", path: Path) -> str:
    container = lcpy.new_id()
    lcpy("run", "--detach", "--bundle", path, container, check=True)
    return container


class Watching:
    """`lcpy events` beside the test; what it prints is in a file."""

    def __init__(self, lcpy: "Lcpy", out: Path, *words: str) -> None:
        self.out = out
        with out.open("w") as stdout:
            argv = lcpy.argv("events", *words)
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def wait_for(self, count: int, kind: str) -> None:
        end = time.monotonic() + 15
        while sum(event["type"] == kind for event in self.events()) < count:
            assert time.monotonic() < end, self.out.read_text()
            assert self.process.poll() is None
            time.sleep(0.02)

    def ends(self) -> int:
        try:
            return self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()


def test_once(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = run(lcpy, bundle("sleep", "60"))
    done = lcpy("events", "--stats", container, check=True)
    assert done.stdout.startswith(f'{{"type":"stats","id":"{container}","data":{{')
    assert done.stdout.endswith("}\n")
    assert done.stdout.count("\n") == 1
    data = json.loads(done.stdout)["data"]
    assert data["pids"]["current"] == 1
    assert data["cpu"]["usage"]["total"] > 0
    assert data["memory"]["usage"]["usage"] > 0
    assert data["network_interfaces"] is None


def test_it_has_what_runc_has(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    """The same members, in the same order, with values of the same kind."""
    path = bundle("sleep", "60")
    container = run(lcpy, path)
    ours = json.loads(lcpy("events", "--stats", container, check=True).stdout)
    other = lcpy.new_id()
    argv = ["runc", "--root", str(tmp_path / "runc")]
    null = subprocess.DEVNULL
    subprocess.run(
        [*argv, "run", "-d", other], cwd=path, stdin=null, stdout=null, stderr=null, check=True
    )
    try:
        said = subprocess.run(
            [*argv, "events", "--stats", other], stdout=subprocess.PIPE, check=True
        )
        theirs = json.loads(said.stdout)
    finally:
        subprocess.run([*argv, "delete", "--force", other], check=True)
    assert list(ours) == list(theirs)
    assert shape(ours["data"]) == shape(theirs["data"])


def shape(value: object) -> object:
    """A value of JSON without its numbers, and without what not every kernel or runc has.

    (The most memory there was at a time, on cgroup v2, is for newer runcs.)
    """
    if isinstance(value, dict):
        wanted = {key for key in value if key not in ("psi", "hugetlb", "max")}
        return {key: shape(item) for key, item in value.items() if key in wanted}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def test_an_interval_beyond_the_kernels(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    """poll(2) takes no more than 24 days."""
    container = run(lcpy, bundle("sleep", "0.5"))
    watching = Watching(lcpy, tmp_path / "out", "--interval", "9999999h", container)
    assert watching.ends() == 0


@pytest.mark.parametrize("interval", ["100ms", "0.1s"])
def test_every_interval(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path, interval: str) -> None:
    container = run(lcpy, bundle("sleep", "60"))
    watching = Watching(lcpy, tmp_path / "out", "--interval", interval, container)
    begun = time.monotonic()
    watching.wait_for(4, "stats")
    assert time.monotonic() - begun > 0.35
    lcpy("delete", "--force", container, check=True)
    assert watching.ends() == 0
    assert {event["id"] for event in watching.events()} == {container}


def test_it_ends_with_the_container(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    """At its end, and not only when it is deleted; within less than an interval."""
    container = run(lcpy, bundle("sleep", "60"))
    watching = Watching(lcpy, tmp_path / "out", container)
    time.sleep(0.3)
    lcpy("kill", container, "KILL", check=True)
    assert watching.ends() == 0
    assert watching.events() == []


def test_out_of_memory(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    """An event for it, from the time on that one is killed for it, first process or not."""

    def change(config: "Config") -> None:
        config["root"]["readonly"] = False
        config["linux"]["resources"]["memory"] = {"limit": 16 * MIB, "swap": 16 * MIB}

    script = (
        "while [ ! -e /go ]; do sleep 0.05; done; rm /go;"
        " (a=x; while :; do a=$a$a; done); echo >/survived; exec sleep 60"
    )
    path = bundle("sh", "-c", script, change=change)
    container = run(lcpy, path)
    watching = Watching(lcpy, tmp_path / "out", "--interval", "1h", container)
    time.sleep(0.5)
    (path / "rootfs/go").touch()
    watching.wait_for(1, "oom")
    lcpy("delete", "--force", container, check=True)
    assert watching.ends() == 0
    assert json.dumps({"type": "oom", "id": container}, separators=(",", ":")) in (
        watching.out.read_text().splitlines()
    )


def test_out_of_memory_at_the_end(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    """Where it ends the container, the event comes before the end."""

    def change(config: "Config") -> None:
        config["root"]["readonly"] = False
        config["linux"]["resources"]["memory"] = {"limit": 16 * MIB, "swap": 16 * MIB}

    script = "while [ ! -e /go ]; do sleep 0.05; done; a=x; while :; do a=$a$a; done"
    path = bundle("sh", "-c", script, change=change)
    container = run(lcpy, path)
    watching = Watching(lcpy, tmp_path / "out", "--interval", "1h", container)
    time.sleep(0.5)
    (path / "rootfs/go").touch()
    assert watching.ends() == 0
    assert watching.events()[0] == {"type": "oom", "id": container}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--interval", "0"], "duration interval must be greater than 0"),
        (["--interval", "-1s"], "duration interval must be greater than 0"),
        (["--stats", "--interval", "0s"], "duration interval must be greater than 0"),
        (["--stats"], "container does not exist"),
        ([], "container does not exist"),
    ],
)
def test_what_is_refused(lcpy: "Lcpy", words: list[str], text: str) -> None:
    refused(lcpy("events", *words, "nope"), text)


@pytest.mark.parametrize("text", ["5", "1x", "", "s", "1.2.3s", "1s1", "1 s", ".", "-", "1e3s"])
def test_an_interval_that_is_none(lcpy: "Lcpy", text: str) -> None:
    done = lcpy("events", "--interval", text, "nope")
    assert done.returncode == 1
    assert done.stdout.startswith("Incorrect Usage.")
    assert f'invalid value \\"{text}\\" for flag -interval: parse error' in done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("5s", 5), ("100ms", 0.1), ("1m30s", 90), ("1.5h", 5400), (".5s", 0.5), ("+2s", 2)),
        *(("250us", 25e-5), ("250µs", 25e-5), ("7ns", 7e-9), ("0", 0), ("-1h", -3600)),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert words_of_events._duration(text) == pytest.approx(seconds)


def test_of_a_stopped_one(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = run(lcpy, bundle("sleep", "60"))
    lcpy("kill", container, "KILL", check=True)
    lcpy.wait_for(container, "stopped")
    for words in (["--stats"], []):
        refused(lcpy("events", *words, container), f"container with id {container} is not running")


def test_of_a_paused_one(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    """It uses nothing, but is there."""
    container = run(lcpy, bundle("sleep", "60"))
    lcpy("pause", container, check=True)
    lcpy("events", "--stats", container, check=True)
    watching = Watching(lcpy, tmp_path / "out", "--interval", "50ms", container)
    watching.wait_for(2, "stats")
    lcpy("delete", "--force", container, check=True)
    assert watching.ends() == 0


def test_a_reader_that_has_enough(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """It ends `events`, without a word."""
    container = run(lcpy, bundle("sleep", "60"))
    argv = lcpy.argv("events", "--interval", "20ms", container)
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(10) == -signal.SIGPIPE
        assert process.stderr.read() == b""


def test_nothing_is_left_open(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """An iterator that is dropped half way lets go of all that it had."""
    container = run(lcpy, bundle("sleep", "60"))
    program = f"""
import os, sys
sys.path.append({str(CHECKOUT)!r})
from libcontainer_py import Runtime
container = Runtime(sys.argv[1]).get(sys.argv[2])
before = os.listdir("/proc/self/fd")
assert container.pids() == [container.state()["pid"]]
assert container.stats()["pids"]["current"] == 1
events = container.events(0.01)
assert next(events)["type"] == next(events)["type"] == "stats"
events.close()
unused = container.events(0.01)
del unused
assert os.listdir("/proc/self/fd") == before
"""
    argv = [sys.executable, "-I", "-c", program, str(lcpy.root), container]
    subprocess.run(argv, check=True, timeout=30)
