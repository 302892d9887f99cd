"""`kill` where more than one process is meant, or the first is not there to be killed."""

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import freezer

if TYPE_CHECKING:
    from tests.conftest import Bundle, Completed, Config, Lcpy


def refused(done: "Completed", text: str) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert text in done.stderr


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_ended(pids: list[int]) -> None:
    end = time.monotonic() + 5
    while not all(map(ended, pids)):
        assert time.monotonic() < end, [pid for pid in pids if not ended(pid)]
        time.sleep(0.01)


def wait_for(path: Path) -> None:
    """Wait for a file with a line: the shell makes it before it writes that."""
    end = time.monotonic() + 10
    while not path.exists() or not path.stat().st_size:
        assert time.monotonic() < end
        time.sleep(0.01)


def shared(config: "Config") -> None:
    """In the host's pid namespace, where others outlive the first process."""
    config["root"]["readonly"] = False
    config["linux"]["namespaces"] = [
        each for each in config["linux"]["namespaces"] if each["type"] != "pid"
    ]


def private(config: "Config") -> None:
    config["root"]["readonly"] = False


def pids_of(lcpy: "Lcpy", container: str) -> list[int]:
    text = lcpy("ps", "--format", "json", container, check=True).stdout
    return [int(word) for word in text.strip("[]\n").split(",") if word.isdigit()]


def run(lcpy: "Lcpy", path: Path, count: int) -> tuple[str, list[int]]:
    """Start a container, wait until it has so many processes, and return them, the first first."""
    container = lcpy.new_id()
    lcpy("run", "--detach", "--bundle", path, container, check=True)
    end = time.monotonic() + 10
    while len(pids := pids_of(lcpy, container)) < count:
        assert time.monotonic() < end
        time.sleep(0.02)
    first = lcpy.state(container)["pid"]
    return container, [first, *(pid for pid in pids if pid != first)]


SEVERAL = ("sh", "-c", "for n in 1 2 3 4 5; do sleep 1000 & done; wait")


def test_all_of_a_shared_pid_namespace(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container, pids = run(lcpy, bundle(*SEVERAL, change=shared), 6)
    lcpy("kill", container, "KILL", check=True)
    wait_until_ended(pids)
    lcpy.wait_for(container, "stopped")
    assert lcpy("ps", "--format", "json", container, check=True).stdout == "null\n"


def test_others_stay_for_other_signals(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """TERM is for the first process alone, also there."""
    container, pids = run(lcpy, bundle(*SEVERAL, change=shared), 6)
    lcpy("kill", container, "TERM", check=True)
    wait_until_ended(pids[:1])
    assert not any(map(ended, pids[1:]))
    lcpy("kill", container, "KILL", check=True)
    wait_until_ended(pids)


@pytest.mark.parametrize("flags", [[], ["--all"]])
def test_the_first_is_gone(lcpy: "Lcpy", bundle: "Bundle", flags: list[str]) -> None:
    """It has stopped, but there are others, and KILL reaches them."""
    container, pids = run(lcpy, bundle(*SEVERAL, change=shared), 6)
    os.kill(pids[0], signal.SIGKILL)
    lcpy.wait_for(container, "stopped")
    assert not any(map(ended, pids[1:]))
    refused(lcpy("kill", container, "TERM"), "container not running")
    lcpy("kill", *flags, container, "KILL", check=True)
    wait_until_ended(pids)


def test_a_shared_one_that_is_paused(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container, pids = run(lcpy, bundle(*SEVERAL, change=shared), 6)
    lcpy("pause", container, check=True)
    lcpy("kill", container, "KILL", check=True)
    wait_until_ended(pids)


@pytest.mark.parametrize("change", [shared, private])
def test_all_with_another_signal(lcpy: "Lcpy", bundle: "Bundle", change: object) -> None:
    """Each of them has it, once."""
    script = (
        "trap 'echo >>/got-first' USR1;"
        " for n in 1 2 3; do (me=$n; trap 'echo >>/got-$me; exit' USR1;"
        " echo >/up-$n; while :; do sleep 0.05; done) & done; echo >/up;"
        " for n in 1 2 3 4 5; do wait; done"
    )
    path = bundle("sh", "-c", script, change=change)
    container, _pids = run(lcpy, path, 4)
    for name in ("up", "up-1", "up-2", "up-3"):
        wait_for(path / "rootfs" / name)
    lcpy("kill", "--all", container, "USR1", check=True)
    for name in ("got-first", "got-1", "got-2", "got-3"):
        wait_for(path / "rootfs" / name)
    for name in ("got-first", "got-1", "got-2", "got-3"):
        assert (path / "rootfs" / name).read_text() == "\n"


def test_all_of_a_stopped_one(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """No error, as in runc: containerd asks for that at a container's end."""
    container, _pids = run(lcpy, bundle("sleep", "60"), 1)
    lcpy("kill", container, "KILL", check=True)
    lcpy.wait_for(container, "stopped")
    refused(lcpy("kill", container, "0"), "container not running")
    for words in (["--all", container, "0"], ["-a", container, "KILL"], [container, "-a", "TERM"]):
        lcpy("kill", *words, check=True)


@pytest.mark.parametrize("flags", [[], ["--all"]])
def test_one_that_froze_a_cgroup_of_its_own(
    lcpy: "Lcpy", bundle: "Bundle", flags: list[str]
) -> None:
    """On cgroup v1 what it froze does not die, and the first process waits for that to happen."""

    def change(config: "Config") -> None:
        config["root"]["readonly"] = False
        for mount in config["mounts"]:
            if mount["destination"] == "/sys/fs/cgroup":
                mount["options"].remove("ro")

    script = (
        f"{freezer.SHELL}; cd $cg; mkdir -p a/b; sleep 1000 & echo $! >a/b/cgroup.procs;"
        " freeze a; echo >/up; wait"
    )
    path = bundle("sh", "-c", script, change=change)
    container, pids = run(lcpy, path, 2)
    wait_for(path / "rootfs/up")
    lcpy("kill", *flags, container, "KILL", check=True, timeout=10)
    wait_until_ended(pids)


def test_all_while_it_forks(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """A signal to all misses nobody who is born meanwhile: they are stopped for it."""
    script = (
        "trap '' TERM; i=0; while [ $i -lt 400 ]; do i=$((i+1));"
        " (trap - TERM; exec sleep 1000) & done; echo >/up; wait"
    )
    path = bundle("sh", "-c", script, change=private)
    container = lcpy.new_id()
    lcpy("run", "--detach", "--bundle", path, container, check=True)
    for _ in range(3):
        lcpy("kill", "--all", container, "0", check=True, timeout=20)
    wait_for(path / "rootfs/up")
    end = time.monotonic() + 20
    while [Path(f"/proc/{pid}/comm").read_text() for pid in pids_of(lcpy, container)].count(
        "sleep\n"
    ) < 400:  # until then one may still ignore it, as the shell does
        assert time.monotonic() < end
    lcpy("kill", "--all", container, "TERM", check=True, timeout=20)
    end = time.monotonic() + 10
    while lcpy.state(container)["status"] != "stopped":
        assert time.monotonic() < end
        time.sleep(0.05)


def test_one_that_has_no_process_yet(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """The cgroups that a half-made record names can be another container's: nobody is killed."""
    container, pids = run(lcpy, bundle("sleep", "60"), 1)
    file = lcpy.root / container / "state.json"
    other = lcpy.new_id()
    (lcpy.root / other).mkdir(mode=0o711)
    (lcpy.root / other / "lock").touch(mode=0o600)
    text = file.read_text().replace(f'"id":"{container}"', f'"id":"{other}"')
    text = text.replace(f'"pid":{pids[0]}', '"pid":0').replace(
        '"pid_namespace":true', '"pid_namespace":false'
    )
    (lcpy.root / other / "state.json").write_text(text)
    refused(lcpy("kill", other, "KILL"), "container not running")
    lcpy("kill", "--all", other, "KILL", check=True)
    assert lcpy("ps", "--format", "json", other, check=True).stdout == "null\n"
    assert not ended(pids[0])
    lcpy("delete", "--force", other, check=True)
    assert not ended(pids[0])
