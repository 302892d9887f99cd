"""`checkpoint` and `restore` with what says it is criu: what it is asked, and what it can do to us.

Whether criu understands that is tried where it works: tests/cli/test_checkpoint.py.
"""

import functools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.test_pause import refused, run

if TYPE_CHECKING:
    from tests.conftest import Bundle, Config, Lcpy

CHECKPOINT, RESTORE = 1, 2


@pytest.fixture
def fake(tmp_path: Path) -> dict[str, str]:
    """An environment with fake_criu.py as criu."""
    program = tmp_path / "fake/criu"
    program.parent.mkdir()
    script = Path(__file__).with_name("fake_criu.py")
    words = shlex.join([sys.executable, str(script)])
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)
    return os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}


def asked(images: Path, kind: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((images / f"asked.{kind}").read_text())
    return found


def with_a_volume(config: "Config") -> None:
    config["mounts"].append(
        {"destination": "/link/data", "type": "bind", "source": "volume", "options": ["bind"]}
    )


@pytest.fixture
def volume(bundle: "Bundle") -> Path:
    """A bundle with a bind mount beyond a symbolic link."""
    path = bundle("sleep", "1000", change=with_a_volume)
    (path / "volume").mkdir()
    (path / "rootfs/link").symlink_to("/tmp")
    return path


def test_what_criu_is_asked(lcpy: "Lcpy", volume: Path, fake: dict[str, str]) -> None:
    container, images, work = run(lcpy, volume), volume / "new/images", volume / "work"
    pid = lcpy.state(container)["pid"]
    words: list[str | Path] = ["--image-path", images, "--work-path", work, "--tcp-established"]
    done = lcpy("checkpoint", *words, container, env=fake, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    opts = asked(images, CHECKPOINT)
    assert (opts["pid"], opts["root"]) == (pid, str(volume / "rootfs"))
    assert opts["tcp_established"]
    assert not opts["leave_running"]
    assert opts["ext_mnt"]["/tmp/data"] == "/link/data"
    assert not opts["ext_mnt"].keys() & {"/proc/kcore", "/dev/null"}
    assert opts["config_file"] == "/etc/criu/runc.conf"
    assert opts["manage_cgroups_mode"] == 6
    assert container in opts["freeze_cgroup"]
    assert len(json.loads((images / "descriptors.json").read_text())) == 3
    assert (work / "dump.log").exists()
    assert not (images / "dump.log").exists()
    refused(lcpy("state", container), f"container does not exist: {container}")


def test_annotations_do_not_choose_what_criu_runs(
    lcpy: "Lcpy", bundle: "Bundle", fake: dict[str, str]
) -> None:
    """A configuration file of criu's names programs that it runs, as root, on the host."""

    def annotated(config: "Config") -> None:
        config["annotations"] = {"org.criu.config": "/bundle/rootfs/criu.conf"}

    path = bundle("sleep", "1000", change=annotated)
    container, images = run(lcpy, path), path / "images"
    done = lcpy("checkpoint", "--image-path", images, container, env=fake)
    refused(done, "it may not choose criu's configuration file")
    assert not list(images.glob("asked.*"))
    assert lcpy.state(container)["status"] == "running"
    done = lcpy("restore", "--image-path", images, "--bundle", path, lcpy.new_id(), env=fake)
    refused(done, "it may not choose criu's configuration file")


def with_two_volumes(config: "Config") -> None:
    """One read-only and one writable, as /one/data and /two/data; more below them, and a file."""
    config["mounts"] += [
        {"destination": "/one/data", "type": "bind", "source": "one", "options": ["bind", "ro"]},
        {"destination": "/two/data", "type": "bind", "source": "two", "options": ["rbind"]},
        {"destination": "/two/data/in", "type": "bind", "source": "one", "options": ["rbind"]},
        {"destination": "/two/data/in", "options": ["remount", "bind", "nosuid"]},
        {"destination": "/file", "type": "bind", "source": "file", "options": ["bind", "nosuid"]},
    ]


@pytest.fixture
def volumes(bundle: "Bundle") -> Path:
    path = bundle("sleep", "1000", change=with_two_volumes)
    for name in ("one", "two"):
        (path / name).mkdir()
    (path / "file").touch()
    return path


# What a process inside can do, done from outside, where nothing is mounted in the root.
MOVED = {
    "exchanged": "mv one was; mv two one; mv was two",
    "behind a link": "mv one was; ln -s two one",
    "gone": "mv one 'was\r'",  # to Python, that ends a line
    "another directory": "mv one was; mkdir -p one/data",
}
REFUSED = r"mounts[7].destination: \"/one/data\": the mount was moved or covered from inside"


@pytest.mark.parametrize("how", MOVED)
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_mount_that_was_moved_from_inside(
    lcpy: "Lcpy", volumes: Path, fake: dict[str, str], how: str, when: str
) -> None:
    """Else the restored one could write to what it may only read."""
    container, images = run(lcpy, volumes), volumes / "images"
    moving = f"cd {volumes}/rootfs && {{ {MOVED[how]}; }}"
    if when == "before":
        subprocess.run(moving, shell=True, check=True)
    else:
        fake["FAKE_MEANWHILE"] = moving
    refused(lcpy("checkpoint", "--image-path", images, container, env=fake), REFUSED)
    assert (images / f"asked.{CHECKPOINT}").exists() == (when == "meanwhile")
    assert lcpy.state(container)["status"] == "running"


def test_a_mount_that_was_covered_from_inside(
    lcpy: "Lcpy", volumes: Path, fake: dict[str, str]
) -> None:
    container, images = run(lcpy, volumes), volumes / "images"
    words = ["mount", "-t", "tmpfs", "none", "/one/data"]
    lcpy("exec", "--cap", "CAP_SYS_ADMIN", container, *words, check=True)
    refused(lcpy("checkpoint", "--image-path", images, container, env=fake), REFUSED)


def test_sources_that_were_replaced_on_the_host(
    lcpy: "Lcpy", volumes: Path, fake: dict[str, str]
) -> None:
    container, images = run(lcpy, volumes), volumes / "images"
    (volumes / "two").rename(volumes / "old")
    (volumes / "two").mkdir()
    (volumes / "new").touch()
    (volumes / "new").rename(volumes / "file")
    (volumes / "one").rmdir()
    lcpy("checkpoint", "--image-path", images, container, env=fake, check=True)
    named = asked(images, CHECKPOINT)["ext_mnt"]
    assert {"/one/data", "/two/data", "/two/data/in", "/file"} <= named.keys()


@pytest.mark.parametrize("word", ["--leave-running", "--pre-dump"])
def test_one_that_goes_on(lcpy: "Lcpy", bundle: "Bundle", fake: dict[str, str], word: str) -> None:
    path = bundle("sleep", "1000")
    container, images = run(lcpy, path), path / "images"
    fake["FAKE_ERROR"] = "it has no number for this"
    words: list[str | Path] = ["checkpoint", word, "--image-path", images, container]
    refused(lcpy(*words, env=fake), "(criu/some.c:7): it has no number for this: file exists")
    del fake["FAKE_ERROR"]
    if word == "--leave-running":
        lcpy(*words, env=fake, check=True)
        assert asked(images, CHECKPOINT)["leave_running"]
    assert lcpy.state(container)["status"] == "running"


def test_the_error_says_where_the_log_is(lcpy: "Lcpy", volume: Path, fake: dict[str, str]) -> None:
    container, images = run(lcpy, volume), volume / "images"
    fake["FAKE_ERROR"] = "a\tforged\x1b[31m line"
    done = lcpy("checkpoint", "--image-path", images, container, env=fake)
    refused(done, f"its log is {images}/dump.log")
    assert "\x1b" not in done.stderr
    assert lcpy.state(container)["status"] == "running"
    fake |= {"FAKE_VERSION": "3.15"}
    done = lcpy("checkpoint", "--image-path", images, container, env=fake)
    refused(done, "criu 3.16 or newer is needed")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--parent-path", "/parent"], "--parent-path must be relative"),
        (["--parent-path", "../none"], "invalid --parent-path: ../none: no such file"),
        (["--manage-cgroups-mode", "hard"], 'invalid manage-cgroups-mode value: \\"hard\\"'),
        (["--lazy-pages", "--status-fd", "99"], "invalid --status-fd argument 99: bad file"),
        (["--lazy-pages", "--status-fd", "0"], "invalid --status-fd argument 0: not writable"),
    ],
)
def test_options_that_are_refused(
    lcpy: "Lcpy", volume: Path, fake: dict[str, str], words: list[str], text: str
) -> None:
    container, images = run(lcpy, volume), volume / "images"
    stdin = os.open(os.devnull, os.O_RDONLY)
    argv = lcpy.argv("checkpoint", *words, "--image-path", images, container)
    done = subprocess.run(
        argv, stdin=stdin, capture_output=True, text=True, env=fake, check=False, timeout=60
    )
    os.close(stdin)
    refused(done, text)
    assert lcpy.state(container)["status"] == "running"


def saved(lcpy: "Lcpy", path: Path, env: dict[str, str]) -> Path:
    """A checkpoint of a container that is gone."""
    images = path / "images"
    lcpy("checkpoint", "--image-path", images, run(lcpy, path), env=env, check=True)
    return images


def test_a_restored_one(lcpy: "Lcpy", volume: Path, fake: dict[str, str], tmp_path: Path) -> None:
    images, container, pid_file = saved(lcpy, volume, fake), lcpy.new_id(), tmp_path / "pid"
    (volume / "rootfs/tmp/data").rmdir()  # it is made again
    words: list[str | Path] = ["restore", "--detach", "--bundle", volume, "--image-path", images]
    done = lcpy(*words, "--pid-file", pid_file, container, env=fake, check=True)
    assert (done.stdout, done.stderr) == ("restored\n", "")
    state = lcpy.state(container)
    assert (state["status"], state["pid"]) == ("running", int(pid_file.read_text()))
    opts = asked(images, RESTORE)
    assert opts["ext_mnt"]["/link/data"] == str(volume / "volume")
    assert opts["root is a mount"]
    assert "link" in opts["in root"]
    assert opts["rst_sibling"]
    assert container in opts["cgroups"]
    assert container in Path(f"/proc/{state['pid']}/cgroup").read_text()
    refused(lcpy("start", container), "cannot start an already running container")
    refused(lcpy(*words, container, env=fake), "container with given ID already exists")
    lcpy("kill", container, "KILL", check=True)
    lcpy.wait_for(container, "stopped")
    lcpy("delete", container, check=True)


def test_pipes_that_it_had_are_those_of_now(
    lcpy: "Lcpy", volume: Path, fake: dict[str, str]
) -> None:
    images = saved(lcpy, volume, fake)
    (images / "descriptors.json").write_text('["/dev/null", "pipe:[4711]", "pipe:[4712]"]')
    words: list[str | Path] = ["restore", "--detach", "--bundle", volume, "--image-path", images]
    lcpy(*words, lcpy.new_id(), env=fake, check=True)
    assert asked(images, RESTORE)["inherit_fd"] == {"pipe:[4711]": 1, "pipe:[4712]": 2}


def test_in_the_foreground_it_ends_as_the_program_does(
    lcpy: "Lcpy", volume: Path, fake: dict[str, str]
) -> None:
    images, container = saved(lcpy, volume, fake), lcpy.new_id()
    fake["FAKE_EXIT"] = "7"
    done = lcpy("restore", "--bundle", volume, "--image-path", images, container, env=fake)
    assert (done.returncode, done.stdout, done.stderr) == (7, "restored\n", "")
    refused(lcpy("state", container), "container does not exist")


def hooked(config: "Config", log: Path, *, fail: str = "") -> None:
    config["hooks"] = {
        kind: [
            {
                "path": "/bin/sh",
                "args": ["sh", "-c", f"cat >>{log}; echo >>{log}; [ {kind} != '{fail}' ]"],
            }
        ]
        for kind in ("prestart", "createRuntime", "poststart", "poststop")
    }


def rewrite(path: Path, change: Callable[["Config"], None]) -> None:
    config = json.loads((path / "config.json").read_text())
    change(config)
    (path / "config.json").write_text(json.dumps(config))


def test_hooks(lcpy: "Lcpy", volume: Path, fake: dict[str, str], tmp_path: Path) -> None:
    images, container, log = saved(lcpy, volume, fake), lcpy.new_id(), tmp_path / "hooks"
    rewrite(volume, functools.partial(hooked, log=log))
    words: list[str | Path] = [
        "restore",
        "--detach",
        "--bundle",
        volume,
        "--image-path",
        images,
        container,
    ]
    lcpy(*words, env=fake, check=True)
    pid = lcpy.state(container)["pid"]
    states = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(each["status"], each["pid"]) for each in states] == [("creating", pid)] * 2
    lcpy("delete", "--force", container, check=True)
    states = [json.loads(line) for line in log.read_text().splitlines()]
    assert [each["status"] for each in states[2:]] == ["stopped"]


@pytest.mark.parametrize("what", ["criu", "hook", "images", "version", "source"])
def test_of_a_failure_nothing_is_left(
    lcpy: "Lcpy", volume: Path, fake: dict[str, str], tmp_path: Path, what: str
) -> None:
    """`machine_unchanged` looks for mounts, cgroups and processes."""
    images, container, log = saved(lcpy, volume, fake), lcpy.new_id(), tmp_path / "hooks"
    text = ""
    if what == "criu":
        fake["FAKE_ERROR"] = text = "no more of these"
    elif what == "hook":
        rewrite(volume, functools.partial(hooked, log=log, fail="createRuntime"))
        text = "error running createRuntime hook #0: exit status 1"
    elif what == "images":
        (images / "descriptors.json").unlink()
        text = "descriptors.json: no such file or directory"
    elif what == "version":
        fake["FAKE_VERSION"], text = "3.9", "criu 3.16 or newer is needed"
    else:
        (volume / "volume").rmdir()
        text = f'].source: bind mount of \\"{volume}/volume\\": no such file or directory'
    words: list[str | Path] = ["restore", "--bundle", volume, "--image-path", images, container]
    refused(lcpy(*words, env=fake), text)
    refused(lcpy("state", container), "container does not exist")
    if what == "hook":
        assert json.loads(log.read_text().splitlines()[-1])["status"] == "stopped"


def test_one_that_is_killed_can_be_deleted(
    lcpy: "Lcpy", volume: Path, fake: dict[str, str]
) -> None:
    """While its processes are there, and stand still yet."""
    images, container = saved(lcpy, volume, fake), lcpy.new_id()
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $PPID"]}
    rewrite(volume, lambda config: config.update(hooks={"createRuntime": [hook]}))
    done = lcpy("restore", "-d", "--bundle", volume, "--image-path", images, container, env=fake)
    assert done.returncode == -9
    assert lcpy.state(container)["status"] == "stopped"
    refused(lcpy("start", container), "cannot start a container that has stopped")
    lcpy("delete", "--force", container, check=True)
    assert not (lcpy.root / container).exists()


@pytest.mark.parametrize("what", ["mount", "namespace", "devices", "readiness"])
def test_what_criu_could_not_restore_is_refused(
    lcpy: "Lcpy", volume: Path, fake: dict[str, str], what: str
) -> None:
    container, images = run(lcpy, volume), volume / "images"

    def change(config: "Config") -> None:
        if what == "mount":
            ids = [{"containerID": 0, "hostID": 100000, "size": 1}]
            config["mounts"][-1] |= {"uidMappings": ids, "gidMappings": ids}
        elif what == "namespace":
            config["linux"]["namespaces"].append({"type": "time", "path": "/proc/self/ns/time"})
        elif what == "devices":
            config["linux"]["netDevices"] = {"dummy7": {}}
        else:
            (lcpy.root / container / "notify").mkdir()

    rewrite(volume, change)
    text = {
        "mount": "an idmapped mount",
        "namespace": "a time namespace",
        "devices": "no devices",
        "readiness": "$NOTIFY_SOCKET",
    }
    refused(lcpy("checkpoint", "--image-path", images, container, env=fake), text[what])
    assert lcpy.state(container)["status"] == "running"
    if what == "readiness":
        return
    images.mkdir()
    words: list[str | Path] = ["restore", "--bundle", volume, "--image-path", images]
    refused(lcpy(*words, lcpy.new_id(), env=fake), text[what])


LIBRARY = """
import sys
from libcontainer_py import PIPE, Runtime
root, name, bundle, images = sys.argv[1:]
runtime = Runtime(root)
container = runtime.run(name, bundle)
container.checkpoint(images)
assert container.process.wait(timeout=60) == -9
with runtime.restore(name, bundle, image_path=images, stdout=PIPE) as container:
    print(container.process.stdout.read(), container.process.wait(timeout=60))
    print(container.status)
"""


WITH_THREADS = """
import sys, threading
from libcontainer_py import Error, Runtime
threading.Thread(target=threading.Event().wait, daemon=True).start()
root, name, bundle, images = sys.argv[1:]
runtime = Runtime(root)
with runtime.run(name, bundle) as container:
    for call in (
        lambda: container.checkpoint(images),
        lambda: runtime.restore(name + "-2", bundle, image_path=images),
    ):
        try:
            call()
        except Error as error:
            print(error)
    print(container.status)
"""
NOT_WITH_THREADS = "a program with threads can't checkpoint or restore; the command lcpy can\n"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (LIBRARY, "b'restored\\n' 7\nstopped\n"),
        (WITH_THREADS, f"{NOT_WITH_THREADS * 2}running\n"),
    ],
    ids=["alone", "with threads"],
)
def test_the_library(
    lcpy: "Lcpy", volume: Path, fake: dict[str, str], program: str, said: str
) -> None:
    words = [str(lcpy.root), lcpy.new_id(), str(volume), str(volume / "images")]
    fake |= {"FAKE_EXIT": "7", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        env=fake,
        check=False,
        timeout=300,
    )
    assert done.stdout == said, done.stderr
