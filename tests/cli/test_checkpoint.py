"""`checkpoint` and `restore`: their words, and, where criu works, all of it.

What is ours of it is tried everywhere: tests/faults/test_criu.py.
"""

import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.criu import broken

if TYPE_CHECKING:
    from tests.conftest import Bundle, Completed, Config, Lcpy


def refused(done: "Completed", text: str, code: int = 1) -> None:
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert text in done.stderr


def run(lcpy: "Lcpy", path: Path) -> str:
    """Without files of the host's as its standard streams: these can't be checkpointed."""
    container = lcpy.new_id()
    argv = lcpy.argv("run", "--detach", "--bundle", path, container)
    null = subprocess.DEVNULL
    subprocess.run(argv, stdin=null, stdout=null, stderr=null, check=True, timeout=300)
    return container


# ── without criu ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def nothing(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH has no criu."""
    return os.environ | {"PATH": str(tmp_path)}


def test_without_criu(lcpy: "Lcpy", bundle: "Bundle", nothing: dict[str, str]) -> None:
    path = bundle("sleep", "1000")
    container, images = run(lcpy, path), path / "images"
    words = "checkpoint and restore need the program criu: it is not in PATH"
    refused(lcpy("checkpoint", "--image-path", images, container, env=nothing), words)
    assert lcpy.state(container)["status"] == "running"
    images.mkdir(exist_ok=True)
    done = lcpy("restore", "-d", "--bundle", path, "--image-path", images, "any", env=nothing)
    refused(done, words)
    assert [each.name for each in lcpy.root.iterdir()] == [container]


def test_of_what_is_not_there(lcpy: "Lcpy") -> None:
    refused(lcpy("checkpoint", "nope"), "container does not exist: nope")
    refused(lcpy("restore", "nope"), "JSON specification file config.json not found")


def test_of_what_does_not_run(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = lcpy.new_id()
    lcpy("create", "--bundle", bundle("true"), container, check=True)
    refused(lcpy("checkpoint", container), "container cannot be checkpointed in created state")
    lcpy("start", container, check=True)
    lcpy.wait_for(container, "stopped")
    refused(lcpy("checkpoint", container), "container cannot be checkpointed in stopped state")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--page-server", "nowhere"], "Use --page-server ADDRESS:PORT"),
        (["--page-server", ":27"], "Use --page-server ADDRESS:PORT"),
        (["--page-server", "::1:x"], "Invalid port number"),
        (["--page-server", "host:70000"], "Invalid port number"),
        (["--empty-ns", "pid"], 'namespace \\"pid\\" is not supported'),
    ],
)
def test_words_that_make_no_sense(lcpy: "Lcpy", words: list[str], text: str) -> None:
    refused(lcpy("checkpoint", *words, "any"), text)


def test_a_console_socket_for_nobody(lcpy: "Lcpy") -> None:
    done = lcpy("restore", "--console-socket", "/socket", "any")
    refused(done, "cannot use console socket if lcpy will not detach or allocate tty")


# ── with criu ───────────────────────────────────────────────────────────────────────────────────


def with_a_volume(config: "Config") -> None:
    config["mounts"].append(
        {"destination": "/link/data", "type": "bind", "source": "volume", "options": ["bind"]}
    )


def rewrite(path: Path, change: "functools.partial[None]") -> None:
    config = json.loads((path / "config.json").read_text())
    change(config)
    (path / "config.json").write_text(json.dumps(config))


@pytest.fixture
def criu() -> None:
    """Needs one that works."""
    if why := broken():
        pytest.skip(why)


COUNTING = "i=0; while :; do i=$((i + 1)); echo $i >/link/data/count; sleep 0.1; done"


def wait_for_growth(path: Path, above: int = 0) -> int:
    end = time.monotonic() + 30
    while True:
        text = path.read_text() if path.exists() else ""
        if text.strip().isdecimal() and int(text) > above:
            return int(text)
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def counting(bundle: "Bundle", criu: None) -> Path:
    """A bundle whose program counts, in a file of a volume beyond a symbolic link."""
    path = bundle("sh", "-c", COUNTING, change=with_a_volume)
    (path / "volume").mkdir()
    (path / "rootfs/link").symlink_to("/tmp")
    return path


# As runc's tests do: where cgroups are another's to make, which is so here.
IGNORE = ("--manage-cgroups-mode", "ignore")


def at(images: Path) -> list[str | Path]:
    return [*IGNORE, "--image-path", images]


def test_it_goes_on_where_it_was(lcpy: "Lcpy", counting: Path) -> None:
    """Twice, once below another id; its memory, its mounts, its cgroup and its filter are there."""
    images, count = counting / "images", counting / "volume/count"
    profile = {"names": ["mkdirat", "mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
    rewrite(counting, functools.partial(limited, profile=profile))
    container, reached = run(lcpy, counting), wait_for_growth(count)
    for _ in range(2):
        words = at(images)
        lcpy("checkpoint", *words, container, check=True)
        refused(lcpy("state", container), "container does not exist")
        reached = int(count.read_text())
        shutil.rmtree(counting / "rootfs/tmp/data")  # a mountpoint, which is made again
        container = lcpy.new_id()
        lcpy("restore", "--detach", *words, "--bundle", counting, container, check=True)
        assert lcpy.state(container)["status"] == "running"
        assert wait_for_growth(count, reached) < reached + 50
    script = "cat /proc/1/cgroup; mkdir /tmp/x; grep -c . /proc/kcore; touch /proc/sys/x; date +%s"
    done = lcpy("exec", container, "sh", "-c", script, check=True)
    assert "Operation not supported" in done.stderr  # a second process has the filter, too
    pid = lcpy.state(container)["pid"]
    assert "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text()
    cgroup = Path(f"/proc/{pid}/cgroup").read_text().splitlines()[-1]
    assert container in cgroup
    limit = Path("/sys/fs/cgroup", cgroup.split(":", 2)[2].lstrip("/"), "pids.max")
    assert not limit.exists() or limit.read_text() == "77\n"


def limited(config: "Config", profile: dict[str, Any]) -> None:
    config["linux"]["resources"] = {"pids": {"limit": 77}}
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [profile]}


def test_its_masked_files_show_its_own_null_device(lcpy: "Lcpy", counting: Path) -> None:
    """And not the host's, whose owner and mode it could change by them."""
    container, images = run(lcpy, counting), counting / "images"
    wait_for_growth(counting / "volume/count")
    lcpy("checkpoint", *at(images), container, check=True)
    words = ["--detach", *at(images), "--bundle", counting]
    lcpy("restore", *words, container, check=True)
    root = Path(f"/proc/{lcpy.state(container)['pid']}/root")
    host = os.stat("/dev/null")
    for name in ("dev/null", "proc/kcore"):
        found = (root / name).stat()
        assert (found.st_rdev, found.st_dev == host.st_dev) == (host.st_rdev, False), name


def test_a_terminal_is_handed_over_again(
    lcpy: "Lcpy", bundle: "Bundle", criu: None, tmp_path: Path
) -> None:
    path = bundle("sh", "-c", "read line; echo it is $line; exit 3", change=with_terminal)
    container, images = lcpy.new_id(), path / "images"
    with socket.socket(socket.AF_UNIX) as listener:
        address = str(tmp_path / "socket")
        listener.bind(address)
        listener.listen()
        words: list[str | Path] = ["--detach", "--console-socket", address, "--bundle", path]
        lcpy("run", *words, container, check=True)
        first = received(listener)
        images_and = at(images)
        lcpy("checkpoint", *images_and, container, check=True)
        os.close(first)
        lcpy("restore", *images_and, *words, container, check=True)
        master = received(listener)
    os.write(master, b"here\n")
    said = b""
    with contextlib.suppress(OSError):  # EIO: its program has ended
        while part := os.read(master, 4096):
            said += part
    os.close(master)
    assert b"it is here" in said


def received(listener: socket.socket) -> int:
    connection, _address = listener.accept()
    with connection:
        return socket.recv_fds(connection, 4096, 1)[1][0]


def with_terminal(config: "Config") -> None:
    config["process"]["terminal"] = True


def test_a_prepared_checkpoint(lcpy: "Lcpy", counting: Path) -> None:
    """Of the memory first, then of what has changed since."""
    container, count = run(lcpy, counting), counting / "volume/count"
    wait_for_growth(count)
    words = at(counting / "before")
    lcpy("checkpoint", "--pre-dump", *words, container, check=True)
    reached = wait_for_growth(count, wait_for_growth(count))
    words = at(counting / "images")
    lcpy("checkpoint", "--parent-path", "../before", *words, container, check=True)
    assert (counting / "images/parent").is_symlink()
    lcpy("restore", "--detach", *words, "--bundle", counting, container, check=True)
    wait_for_growth(count, reached)


def test_its_exit_code(lcpy: "Lcpy", bundle: "Bundle", criu: None) -> None:
    """And, where criu deals with cgroups, what the host has for options of cgroup2."""
    before = options_of_cgroup2()
    path = bundle("sh", "-c", "sleep 3; exit 9")
    words: list[str | Path] = ["--image-path", path / "images"]
    container = run(lcpy, path)
    lcpy("checkpoint", *words, container, check=True)
    assert options_of_cgroup2() == before
    done = lcpy("restore", *words, "--bundle", path, container)
    assert (done.returncode, done.stderr) == (9, "")
    refused(lcpy("state", container), "container does not exist")
    assert options_of_cgroup2() == before


def options_of_cgroup2() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split(" - ")[1] for line in lines if " - cgroup2 " in line]


def test_what_criu_says(lcpy: "Lcpy", counting: Path) -> None:
    container, images = run(lcpy, counting), counting / "images"
    wait_for_growth(counting / "volume/count")
    lcpy("checkpoint", *at(images), container, check=True)
    (images / "inventory.img").write_bytes(b"not criu's")
    words = ["--detach", *at(images), "--bundle", counting]
    done = lcpy("restore", *words, container)
    refused(done, f"its log is {images}/restore.log")
    assert "Restore: criu failed: (criu/" in done.stderr
    refused(lcpy("state", container), "container does not exist")
