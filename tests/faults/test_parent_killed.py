"""Commands killed with SIGKILL at fifty moments of their lives: what follows tells the truth, and
cleans up everything.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Bundle, Config, Lcpy

KILLED_AT = str(Path(__file__).resolve().with_name("killed_at.py"))
MOMENTS = 50


def command(moment: int, lcpy: Lcpy, *words: str | Path) -> list[str]:
    return [sys.executable, KILLED_AT, str(moment), "--root", str(lcpy.root), *map(str, words)]


def run(moment: int, lcpy: Lcpy, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a command that is killed at a moment. A container must not hold our pipes open."""
    log = lcpy.root.parent / "stderr"
    with open(log, "w") as stderr:
        done = subprocess.run(
            command(moment, lcpy, *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            timeout=30,
            check=False,
        )
    return subprocess.CompletedProcess(done.args, done.returncode, "", log.read_text())


def moments(lcpy: Lcpy, *words: str | Path, skip: float = 0.0, last: int = 0) -> list[int]:
    """Fifty moments, evenly spread over a command's life (without the first part of it); and each
    of the `last`.
    """
    done = run(0, lcpy, *words)
    assert done.returncode == 0, done.stderr
    match = re.search(r"moments: (\d+)", done.stderr)
    assert match
    count = int(match[1])
    first = int(count * skip)
    step = (count - first) / MOMENTS
    assert step > 1
    spread = {first + int(step * number) + 1 for number in range(MOMENTS)}
    return sorted(spread | {*range(count - last + 1, count + 1)})


def processes(container: str) -> list[str]:
    """Those in a cgroup that is named for a container. (The dead, not yet reaped, don't count.)"""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if container in Path(f"/proc/{pid}/cgroup").read_text():
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                if state not in "ZX":
                    found.append(pid)
        except OSError:
            continue
    return found


def name_of(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[0]


def cgroups(container: str) -> list[str]:
    return [
        f"{path}/{name}"
        for path, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if container in name
    ]


def check_truth(lcpy: Lcpy, container: str) -> str:
    """`state` answers, and what it answers is so. Returns the status, "" for no container."""
    done = lcpy("state", container)
    if done.returncode:
        assert "does not exist" in done.stderr, done.stderr
        return ""
    state = json.loads(done.stdout)
    status: str = state["status"]
    assert status in ("created", "running", "stopped"), state
    if status == "stopped":
        assert state["pid"] == 0
    else:
        executable = os.readlink(f"/proc/{state['pid']}/exe")
        assert ("memfd" in executable) == (status == "created")
        assert str(state["pid"]) in processes(container)
    return status


def check_clean(lcpy: Lcpy, container: str) -> None:
    """`delete --force` leaves nothing at all, and the id can be taken again."""
    done = lcpy("delete", "--force", container)
    assert done.returncode == 0, done.stderr
    end = time.monotonic() + 2
    while (left := processes(container)) and time.monotonic() < end:
        time.sleep(0.01)
    assert left == []
    assert cgroups(container) == []
    assert not (lcpy.root / container).exists()


def test_create(lcpy: Lcpy, bundle: Bundle) -> None:
    made = bundle("sleep", "60")
    first = lcpy.new_id()
    words = ("create", "--bundle", str(made))
    times = moments(lcpy, *words, first)
    check_clean(lcpy, first)
    seen = set()
    for moment in times:
        container = lcpy.new_id()
        done = run(moment, lcpy, *words, container)
        assert done.returncode == -9, (moment, done)
        seen.add(check_truth(lcpy, container))
        check_clean(lcpy, container)
    assert seen >= {"", "stopped"}


def last_moments(lcpy: Lcpy, made: Path) -> list[int]:
    """Moments of the end of a `create`, around READY and the last record."""
    container = lcpy.new_id()
    times = moments(lcpy, "create", "--bundle", made, container, skip=0.9)
    check_clean(lcpy, container)
    return times


def test_the_end_of_create(lcpy: Lcpy, bundle: Bundle) -> None:
    """The container waits already, but the record does not know its process yet."""
    made = bundle("sleep", "60")
    orphans = 0
    for moment in last_moments(lcpy, made):
        container = lcpy.new_id()
        done = run(moment, lcpy, "create", "--bundle", made, container)
        assert done.returncode == -9, (moment, done)
        status = check_truth(lcpy, container)
        orphans += status == "stopped" and bool(processes(container))
        check_clean(lcpy, container)
    assert orphans, "no moment was the one that this test is for"


def test_a_plain_delete(lcpy: Lcpy, bundle: Bundle) -> None:
    """A container whose `create` was killed has stopped: a plain `delete` removes it."""
    made = bundle("sleep", "60")
    for moment in last_moments(lcpy, made)[::5]:
        container = lcpy.new_id()
        run(moment, lcpy, "create", "--bundle", made, container)
        done = lcpy("delete", container)
        if done.returncode:
            assert "does not exist" in done.stderr, done.stderr
        else:
            assert cgroups(container) == []
            assert processes(container) == []
        check_clean(lcpy, container)


def test_start(lcpy: Lcpy, bundle: Bundle) -> None:
    made = bundle("sleep", "60")
    first = lcpy.new_id()
    lcpy("create", "--bundle", made, first, check=True)
    times = moments(lcpy, "start", first, last=20)  # the record is written at the end
    check_clean(lcpy, first)
    seen = set()
    for moment in times:
        container = lcpy.new_id()
        lcpy("create", "--bundle", made, container, check=True)
        done = run(moment, lcpy, "start", container)
        assert done.returncode == -9, (moment, done)
        status = check_truth(lcpy, container)
        seen.add(status)
        again = lcpy("start", container)
        assert again.returncode == (0 if status == "created" else 1), again.stderr
        assert check_truth(lcpy, container) == "running"
        check_clean(lcpy, container)
    assert seen == {"created", "running"}


def test_run(lcpy: Lcpy, bundle: Bundle) -> None:
    made = bundle("true")
    times = moments(lcpy, "run", "--bundle", made, lcpy.new_id())
    for moment in times:
        container = lcpy.new_id()
        run(moment, lcpy, "run", "--bundle", made, container)  # its end is not always so late
        check_truth(lcpy, container)
        check_clean(lcpy, container)


@pytest.mark.parametrize("started", [True, False])
def test_delete(lcpy: Lcpy, bundle: Bundle, started: bool) -> None:
    made = bundle("sleep", "60")
    first = lcpy.new_id()

    def create(container: str) -> None:
        lcpy("create", "--bundle", made, container, check=True)
        if started:
            lcpy("start", container, check=True)

    create(first)
    times = moments(lcpy, "delete", "--force", first)
    for moment in times:
        container = lcpy.new_id()
        create(container)
        done = run(moment, lcpy, "delete", "--force", container)
        assert done.returncode == -9, (moment, done)
        check_truth(lcpy, container)
        check_clean(lcpy, container)
    lcpy("create", "--bundle", made, container, check=True)  # the id is free again
    check_clean(lcpy, container)


def test_create_in_a_hook(lcpy: Lcpy, bundle: Bundle) -> None:
    """Without a pid namespace, a createContainer hook outlives the child that waits for it."""

    def change(config: Config) -> None:
        kinds = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [kind for kind in kinds if kind["type"] != "pid"]
        hook = {"path": shutil.which("sleep"), "args": ["sleep", "60"]}
        config["hooks"] = {"createContainer": [hook]}

    container = lcpy.new_id()
    made = bundle("true", change=change)
    with subprocess.Popen(lcpy.argv("create", "--bundle", made, container)) as create:
        end = time.monotonic() + 10
        while not any("sleep" in name_of(pid) for pid in processes(container)):
            assert time.monotonic() < end
            time.sleep(0.01)
        create.kill()
    lcpy("delete", container, check=True)
    check_clean(lcpy, container)
