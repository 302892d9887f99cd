"""`exec` under faults: killed at any moment, without room, into what is frozen, many times."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import freezer
from tests.attacks.conftest import Bare
from tests.attacks.test_exec import Watched, watched, watcher
from tests.cli.test_exec import Box, refused, wait_for, writable
from tests.conftest import CHECKOUT, PATIENCE, PREFIX, Bundle, Config, Lcpy
from tests.faults.test_parent_killed import moments, run

__all__ = ["watched", "watcher"]

SECONDS = 20 * PATIENCE
THOUSAND = 1000

Make = Callable[..., Box]


@pytest.fixture
def bare(lcpy: Lcpy) -> Bare:
    """The command without the guard, on the same state directory."""
    return Bare(lcpy.root)


@pytest.fixture
def make(lcpy: Lcpy, bundle: Bundle) -> Make:
    """Make a container that runs: ``make(change, *args)``."""

    def made(change: "Callable[[Config], object]" = writable, *args: str) -> Box:
        return Box(lcpy, bundle(*(args or ("sleep", "1000")), change=change))

    return made


def resources(**limits: object) -> "Callable[[Config], None]":
    def change(config: Config) -> None:
        writable(config)
        config["linux"].setdefault("resources", {}).update(limits)

    return change


def executable(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""  # it has ended


def only_programs_are_left(box: Box) -> list[int]:
    """Wait until nothing of ours is in the container; return what is there beside the first."""
    end = time.monotonic() + SECONDS
    while True:
        pids = [pid for pid in box.processes() if pid != box.pid]
        names = {pid: executable(pid) for pid in pids}
        if all(name.endswith("/bin/busybox") for name in names.values()):
            return pids
        assert time.monotonic() < end, names
        time.sleep(0.02)


# ── we are killed ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("words", [(), ("--tty",), ("--user", "1000", "--detach")])
def test_killed(make: Make, words: tuple[str, ...]) -> None:
    """At fifty moments: the program runs, or nothing of it is there; the container goes on."""
    box = make()
    program = ("exec", *words, box.id, "/bin/sleep", "600")
    # With --detach it comes to an end by itself, and the moments are the same.
    times = moments(box.lcpy, "exec", "--detach", box.id, "/bin/sleep", "600")
    end_programs(box)
    began = set()
    for moment in times[10:] if not words else times[11::3]:
        done = run(moment, box.lcpy, *program)
        assert done.returncode == -9, (moment, done)
        began.add(bool(only_programs_are_left(box)))
        end_programs(box)
        assert box.lcpy.state(box.id)["status"] == "running"
    assert False in began
    assert box.says("--", "echo", "said") == "said\n"


def end_programs(box: Box) -> None:
    """End what was begun by who is dead now; it is reparented to us."""
    for pid in only_programs_are_left(box):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# ── the child comes to grief ────────────────────────────────────────────────────────────────────


KINDS = ("killed", "exit 0", "silent", "garbage", "binary", "a list", "MemoryError", "OSError")
RAISED = ("Error", "KeyboardInterrupt", "Unspeakable")


@pytest.mark.parametrize("kind", [*KINDS, *RAISED])
def test_the_child_comes_to_grief(make: Make, kind: str) -> None:
    """Whatever it does before it is the list: one error, no descriptor, no child."""
    box = make()
    script = str(Path(__file__).with_name("exec_at_step.py"))
    argv = [sys.executable, script, kind, str(box.lcpy.root), box.id]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    *failures, success = json.loads(done.stdout)
    assert success["error"] is None
    assert len(failures) == 5
    for result in failures:
        assert result["error"] in ("StepError", "Error"), result
        assert "\n" not in result["text"]
        assert result["notes"] == []
    for result in (*failures, success):
        assert (result["descriptors"], result["children"]) == (0, []), result
    assert box.processes() == [box.pid]


# ── there is no room ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_room_for_processes(make: Make, limit: int) -> None:
    """As full as can be, it takes one more: nobody could look why it is full, else."""
    box = make(resources(pids={"limit": limit}))
    for words in ((), ("--user", "1000"), ("--tty",)):
        done = box.exec(*words, "--", "echo", "said", start_new_session=True)
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "said", "")
    done = box.exec("--", "sh", "-c", "for i in 1 2 3; do sleep 9 & done")
    assert "can't fork" in done.stderr


def test_room_that_comes_and_goes(watched: Watched) -> None:
    """A container that forks as fast as it may, at its limit."""
    box = watched("fork", pids={"limit": 3})
    for _time in range(20):
        done = box.exec("--", "echo", "said")
        assert (done.returncode, done.stdout, done.stderr) == (0, "said\n", "")


@pytest.mark.parametrize("size", [1 << 20, 4 << 20])
def test_little_memory(make: Make, size: int) -> None:
    """It comes to a good end, or is a clear error; the first process is not the one to pay."""
    try:
        box = make(resources(memory={"limit": size, "swap": size}))
    except AssertionError as error:
        assert "memory" in str(error)  # it is too small even to be created
        return
    for _time in range(3):
        begun = time.monotonic()
        done = box.exec("--", "true")
        assert time.monotonic() - begun < SECONDS
        if done.returncode not in (0, 128 + 9):
            refused(done, "memory")
    assert box.lcpy.state(box.id)["status"] == "running"


def test_memory_that_is_nearly_full(make: Make) -> None:
    """It costs what the program costs: no page of Python's is the container's."""
    box = make(resources(memory={"limit": 32 << 20, "swap": 32 << 20}))
    box.says("--", "true")
    usage = memory_of(box)
    blocks = ((32 << 20) - (800 << 10) - int(usage.read_text())) >> 12
    box.says(
        "--", "dd", "if=/dev/zero", "of=/dev/shm/full", "bs=4096", f"count={blocks}", "status=none"
    )
    assert int(usage.read_text()) > (32 << 20) - (1200 << 10)
    for _time in range(5):
        box.says("--", "true")
    assert box.lcpy.state(box.id)["status"] == "running"


def memory_of(box: Box) -> Path:
    """Where its use of memory stands."""
    if freezer.UNIFIED:
        return freezer.cgroup_of(box.pid) / "memory.current"
    for line in Path(f"/proc/{box.pid}/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return Path(f"/sys/fs/cgroup/memory{path}/memory.usage_in_bytes")
    raise AssertionError("nothing counts memory here")


# ── it is frozen ────────────────────────────────────────────────────────────────────────────────


def test_it_freezes_itself(make: Make) -> None:
    script = f"{freezer.SHELL}; freeze $cg; sleep 1000"
    box = make(freezer.may_freeze_itself, "sh", "-c", script)
    box.lcpy.wait_for(box.id, "paused")
    refused(box.exec("--", "true"), "cannot exec in a paused container")


# What a container that freezes itself right behind our look at it makes of us.
FROZEN_BEHIND_THE_LOOK = f"""
import sys, time
sys.path.append({str(CHECKOUT)!r})
from libcontainer_py import Error, Runtime
from libcontainer_py.namespaces import execin
container = Runtime(sys.argv[1]).get(sys.argv[2])
container.pause()
execin.states.status = lambda record: "running"
begun = time.monotonic()
try:
    container.exec(["true"])
except Error as error:
    print(type(error).__name__, error)
print(time.monotonic() - begun)
"""


def test_it_freezes_behind_our_look(make: Make) -> None:
    """The wait is bounded, and what was frozen with it is gone when it thaws."""
    box = make()
    argv = [sys.executable, "-I", "-c", FROZEN_BEHIND_THE_LOOK, str(box.lcpy.root), box.id]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    words, seconds = done.stdout.splitlines()
    assert words == "WrongState cannot exec in a paused container (use --ignore-paused to override)"
    assert float(seconds) < SECONDS
    box.lcpy("resume", box.id, check=True)
    assert only_programs_are_left(box) == []
    assert box.says("--", "echo", "said") == "said\n"


def test_paused_and_deleted(make: Make) -> None:
    """One that waits in a paused container does not outlive it."""
    box = make()
    box.lcpy("pause", box.id, check=True)
    argv = box.lcpy.argv("exec", "--ignore-paused", box.id, "sleep", "1000")
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.7)
        box.lcpy("delete", "--force", box.id, check=True, timeout=SECONDS)
        _out, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 255
    assert said.count("\n") == 1


# ── the container ends meanwhile ────────────────────────────────────────────────────────────────


def test_it_ends_at_some_moment(make: Make) -> None:
    """Killed while an `exec` is under way: a program's end, or a clear error."""
    said = set()
    for number in range(12):
        box = make()
        argv = box.lcpy.argv("exec", box.id, "sleep", "1000")
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
            time.sleep(0.012 * number)
            box.lcpy("delete", "--force", box.id, check=True, timeout=SECONDS)
            _out, error = process.communicate(timeout=SECONDS)
        assert process.returncode in (255, 128 + 9), error
        if process.returncode == 255:
            assert error.count("\n") == 1, error
            assert "Traceback" not in error
            assert "internal error" not in error
            said.add(error.split("exec failed: ")[1])
    assert said


# ── many ────────────────────────────────────────────────────────────────────────────────────────

# By the library: its arguments are where the containers are, which, and how many.
THOUSAND_TIMES = f"""
import os, sys
sys.path.append({str(CHECKOUT)!r})
from libcontainer_py import PIPE, Runtime
container = Runtime(sys.argv[1]).get(sys.argv[2])

def look():
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return sorted(os.listdir("/proc/self/fd")), open("/proc/thread-self/children").read(), pages

def some(count):
    for number in range(count):
        options = dict(user=(1000, 1000), no_new_privileges=True) if number % 2 else dict()
        process = container.exec(["echo", str(number)], stdout=PIPE, **options)
        assert process.stdout.read() == b"%d\\n" % number
        assert process.wait(20) == 0
        process.close()
    try:
        container.exec(["nosuch"])
    except OSError:
        pass

some(20)
before = look()
some(int(sys.argv[3]))
after = look()
assert after[:2] == before[:2], (before, after)
assert after[2] - before[2] < 256, (before, after)  # a megabyte
"""


def keys() -> int:
    """Keyrings of this run's containers. (Mounts and processes are held by the fixtures.)"""
    return sum(PREFIX in line for line in Path("/proc/keys").read_text().splitlines())


def test_a_thousand(lcpy: Lcpy, bundle: Bundle) -> None:
    """The machine is as it was, the caller, the container and its record too; and no slower."""
    box = Box(Bare(lcpy.root), bundle("sleep", "1000"))
    box.says("--", "true")
    before = keys()
    state = {path: path.stat().st_size for path in sorted(lcpy.root.rglob("*"))}
    cgroups = sorted(str(path) for path in Path("/sys/fs/cgroup").rglob(f"*{box.id}*"))
    argv = [sys.executable, "-I", "-c", THOUSAND_TIMES, str(lcpy.root), box.id, str(THOUSAND)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=110, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert keys() == before
    assert {path: path.stat().st_size for path in sorted(lcpy.root.rglob("*"))} == state
    assert sorted(str(path) for path in Path("/sys/fs/cgroup").rglob(f"*{box.id}*")) == cgroups
    assert box.processes() == [box.pid]
    usage = memory_of(box)
    assert usage is None or int(usage.read_text()) < 16 << 20


def test_many_at_once(make: Make) -> None:
    """Commands side by side in one container: each has its own streams and its own end."""
    box = make()
    found: dict[int, tuple[int, str, str]] = {}

    def one(first: int) -> None:
        for number in range(first, first + 10):
            done = box.exec("--", "sh", "-c", f"echo {number}; exit {number}")
            found[number] = done.returncode, done.stdout, done.stderr

    threads = [threading.Thread(target=one, args=(first,)) for first in (1, 11, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: (number, f"{number}\n", "") for number in range(1, 31)}
    assert box.processes() == [box.pid]


def test_the_first_of_a_created_one_is_let_be(lcpy: Lcpy, bundle: Bundle) -> None:
    """What is run in it, and fails there, changes nothing of what waits for `start`."""
    path = bundle("sh", "-c", "echo >/up; sleep 1000", change=writable)
    box = Box(lcpy, path, start=False)
    for words in (("true",), ("nosuch",), ("sh", "-c", "kill -KILL $$")):
        box.exec("--", *words)
        assert lcpy.state(box.id)["status"] == "created"
    lcpy("start", box.id, check=True)
    wait_for(path / "rootfs/up")
