"""Hooks: each kind at its place, its state, its own environment, what follows a failure."""

import json
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle, Lcpy

RUNTIME_KINDS = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
ORDER = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def script(path: Path, text: str) -> str:
    """Write a program of sh."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return str(path)


@pytest.fixture
def recorder(tmp_path: Path) -> "tuple[str, Path]":
    """A hook that writes a line of JSON to a log: (its path, the log)."""
    log = tmp_path / "log"
    log.touch()
    text = f"""
state=$(cat)
printf '{{"kind": "%s", "state": %s, "env": "%s", "cwd": "%s", "pidns": "%s", "fds": "%s"}}\\n' \\
    "$1" "$state" "$(env | grep -v '^PWD=\\|^_=\\|^SHLVL=' | tr '\\n' ' ')" "$(pwd)" \\
    "$(readlink /proc/self/ns/pid)" "$(ls /proc/self/fd | tr '\\n' ' ')" >> {log}
"""
    return script(tmp_path / "recorder", text), log


def lines(log: Path) -> "list[dict[str, Any]]":
    return [json.loads(line) for line in log.read_text().splitlines()]


def hooks(path: str, *kinds: str, **more: Any) -> "dict[str, Any]":
    return {kind: [{"path": path, "args": [path, kind], **more}] for kind in kinds}


def test_each_kind_runs_once_at_its_place(
    lcpy: "Lcpy", bundle: "Bundle", recorder: "tuple[str, Path]"
) -> None:
    path, log = recorder

    def change(config: "dict[str, Any]") -> None:
        config["hooks"] = hooks(path, *RUNTIME_KINDS)
        config["annotations"] = {"key": 'a "quoted" value'}

    made = bundle("true", change=change)
    container = lcpy.new_id()
    lcpy("create", "--bundle", made, container, check=True)
    created = [line["kind"] for line in lines(log)]
    assert created == ["prestart", "createRuntime", "createContainer"]
    pid = lcpy.state(container)["pid"]
    lcpy("start", container, check=True)
    lcpy.wait_for(container, "stopped")
    lcpy("delete", container, check=True)
    ran = lines(log)
    assert [line["kind"] for line in ran] == list(RUNTIME_KINDS)
    assert [line["state"]["status"] for line in ran] == [
        "creating", "creating", "creating", "running", "stopped",
    ]  # fmt: skip
    assert [line["state"]["pid"] for line in ran] == [pid, pid, pid, pid, 0]
    for line in ran:
        assert line["state"]["id"] == container
        assert line["state"]["bundle"] == str(made)
        assert line["state"]["annotations"] == {"key": 'a "quoted" value'}
        assert line["state"]["ociVersion"] == "1.3.0"
        # Before pivot_root the container's root is where it is on the host.
        root = "rootfs" if line["kind"] == "createContainer" else ""
        assert line["cwd"] == str(made / root)


def test_they_run_in_the_namespaces_that_the_spec_says(
    lcpy: "Lcpy", bundle: "Bundle", recorder: "tuple[str, Path]"
) -> None:
    path, log = recorder
    made = bundle("true", change=lambda config: config.update(hooks=hooks(path, *RUNTIME_KINDS)))
    lcpy("run", "--bundle", made, lcpy.new_id(), check=True)
    host = Path("/proc/self/ns/pid").readlink()
    inside = {line["kind"] for line in lines(log) if line["pidns"] != str(host)}
    assert inside == {"createContainer"}


def test_a_hook_gets_exactly_its_own_environment_and_descriptors(
    lcpy: "Lcpy", bundle: "Bundle", recorder: "tuple[str, Path]"
) -> None:
    path, log = recorder

    def change(config: "dict[str, Any]") -> None:
        config["process"]["env"] += ["LD_PRELOAD=/evil.so", "SECRET=container"]
        config["hooks"] = hooks(path, *RUNTIME_KINDS, env=["A=1", "PATH=/usr/bin:/bin"])

    lcpy("run", "--bundle", bundle("true", change=change), lcpy.new_id(), check=True)
    assert len(lines(log)) == len(RUNTIME_KINDS)
    for line in lines(log):
        assert sorted(line["env"].split()) == ["A=1", "PATH=/usr/bin:/bin"], line["kind"]
        assert line["fds"].split() == ["0", "1", "2", "3"]  # 3 is the listing itself


def test_start_container_hooks_run_inside_before_the_program(
    lcpy: "Lcpy", bundle: "Bundle"
) -> None:
    def change(config: "dict[str, Any]") -> None:
        config["root"]["readonly"] = False
        config["process"]["user"] = {"uid": 1000, "gid": 1000}
        config["process"]["env"].append("FROM=container")
        config["hooks"] = {
            "startContainer": [
                {"path": "/hook", "args": ["hook", "one"]},
                {"path": "/hook", "args": ["hook", "two"], "env": ["FROM=hook", "PATH=/bin"]},
            ]
        }

    made = bundle("sh", "-c", 'echo "main $FROM"; ls /proc/self/fd | wc -l', change=change)
    script(
        made / "rootfs/hook",
        'echo "$1 $FROM $(id -u) $(cat)"; ls /proc/self/fd | wc -l; grep SigBlk /proc/self/status',
    )
    done = lcpy("run", "--bundle", made, lcpy.new_id(), check=True)
    said = done.stdout.splitlines()
    assert [line.split()[:3] for line in said if line.split()[0] in ("one", "two", "main")] == [
        ["one", "container", "1000"],
        ["two", "hook", "1000"],
        ["main", "container"],
    ]
    for line in said:
        if line.startswith(("one", "two")):
            state = json.loads(line.split(" ", 3)[3])
            assert (state["status"], state["pid"]) == ("created", 1)
    assert [line for line in said if line.isdigit()] == ["4", "4", "4"]
    assert [line for line in said if "SigBlk" in line] == ["SigBlk:\t0000000000000000"] * 2


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo the reason >&2; exit 3", 'exit status 3, output: \\"the reason\\"'),
        ("kill -9 $$", "signal: killed"),
    ],
)
def test_a_failed_hook_of_create_undoes_the_container(
    lcpy: "Lcpy",
    bundle: "Bundle",
    recorder: "tuple[str, Path]",
    tmp_path: Path,
    kind: str,
    text: str,
    words: str,
) -> None:
    path, log = recorder
    bad = script(tmp_path / "bad", text)

    def change(config: "dict[str, Any]") -> None:
        config["hooks"] = hooks(path, "poststop") | {
            kind: [{"path": bad}, {"path": path, "args": [path, "after"]}]
        }

    container = lcpy.new_id()
    done = lcpy("create", "--bundle", bundle("true", change=change), container)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"hooks.{kind}[0]: error running {kind} hook #0: {words}" in line
    assert [ran["kind"] for ran in lines(log)] == ["poststop"]  # and not «after»
    assert lcpy("state", container).returncode == 1
    assert not (lcpy.root / container).exists()


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_is_missing(lcpy: "Lcpy", bundle: "Bundle", kind: str) -> None:
    made = bundle("true", change=lambda config: config.update(hooks=hooks("/nowhere", kind)))
    done = lcpy("run", "--bundle", made, lcpy.new_id())
    assert done.returncode == 1
    assert f"{kind} hook #0: fork/exec /nowhere: no such file or directory" in done.stderr


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_hangs_is_killed_at_its_timeout(
    lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path, kind: str
) -> None:
    bad = script(tmp_path / "bad", "exec sleep 60")
    made = bundle("true", change=lambda config: config.update(hooks=hooks(bad, kind, timeout=1)))
    begin = time.monotonic()
    done = lcpy("run", "--bundle", made, lcpy.new_id())
    assert done.returncode == 1
    assert "hook ran past specified timeout of 1.0s" in done.stderr
    assert 1 <= time.monotonic() - begin < 10


def test_a_timeout_of_a_month(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """poll(2) takes no more than 24 days."""
    kinds = hooks("/bin/true", "prestart", timeout=2_678_400)
    made = bundle("true", change=lambda config: config.update(hooks=kinds))
    done = lcpy("run", "--bundle", made, lcpy.new_id())
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("exit 3", "/hook: exit status 3"),
        ("kill -9 $$", "/hook: signal: killed"),
        (None, "exit status"),
    ],
)
def test_a_failed_start_container_hook_ends_the_container(
    lcpy: "Lcpy", bundle: "Bundle", text: "str | None", words: str
) -> None:
    only = hooks("/hook", "startContainer")
    made = bundle("sh", "-c", "echo ran", change=lambda config: config.update(hooks=only))
    if text:
        script(made / "rootfs/hook", text)
    container = lcpy.new_id()
    lcpy("create", "--bundle", made, container, check=True)
    done = lcpy("start", container)
    assert done.returncode == 1
    where = "startContainer: hooks.startContainer[0]: "
    assert f"{where}error running startContainer hook #0: /hook: " in done.stderr
    assert words in done.stderr
    assert "ran" not in done.stdout.split()
    lcpy.wait_for(container, "stopped")
    lcpy("delete", container, check=True)


def test_a_start_container_hook_that_hangs_is_killed_at_its_timeout(
    lcpy: "Lcpy", bundle: "Bundle"
) -> None:
    made = bundle(
        "true",
        change=lambda config: config.update(hooks=hooks("/hook", "startContainer", timeout=1)),
    )
    script(made / "rootfs/hook", "exec sleep 60")
    container = lcpy.new_id()
    lcpy("create", "--bundle", made, container, check=True)
    done = lcpy("start", container)
    assert done.returncode == 1
    assert "a hook ran past its specified timeout" in done.stderr
    lcpy.wait_for(container, "stopped")


def test_a_failed_poststart_hook_stops_the_container(
    lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path
) -> None:
    bad = script(tmp_path / "bad", "exit 1")
    made = bundle("sleep", "60", change=lambda config: config.update(hooks=hooks(bad, "poststart")))
    container = lcpy.new_id()
    lcpy("create", "--bundle", made, container, check=True)
    done = lcpy("start", container)
    assert done.returncode == 1
    assert "error running poststart hook #0: exit status 1" in done.stderr
    lcpy.wait_for(container, "stopped")


def test_a_failed_poststop_hook_is_a_warning_and_the_others_run(
    lcpy: "Lcpy", bundle: "Bundle", recorder: "tuple[str, Path]", tmp_path: Path
) -> None:
    path, log = recorder
    bad = script(tmp_path / "bad", "exit 1")

    def change(config: "dict[str, Any]") -> None:
        config["hooks"] = {"poststop": [{"path": bad}, {"path": path, "args": [path, "after"]}]}

    container = lcpy.new_id()
    lcpy("run", "--keep", "--bundle", bundle("true", change=change), container, check=True)
    done = lcpy("delete", container)
    assert done.returncode == 0
    assert "level=warning" in done.stderr
    assert "error running poststop hook #0: exit status 1" in done.stderr
    assert [line["kind"] for line in lines(log)] == ["after"]


def test_a_start_container_hook_that_can_not_be_started(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """The errno of the clone is one, and not a hook's exit status."""

    def change(config: "dict[str, Any]") -> None:
        config["hooks"] = hooks("/bin/true", "startContainer")
        config["linux"]["resources"]["pids"] = {"limit": 1}

    container = lcpy.new_id()
    lcpy("create", "--bundle", bundle("true", change=change), container, check=True)
    done = lcpy("start", container)
    words = "error running startContainer hook #0: /bin/true: resource temporarily unavailable"
    assert words in done.stderr


def test_a_start_container_hook_can_not_change_what_the_next_one_reads(
    lcpy: "Lcpy", bundle: "Bundle"
) -> None:
    def change(config: "dict[str, Any]") -> None:
        config["hooks"] = {"startContainer": [{"path": "/bad"}, {"path": "/good"}]}
        config["root"]["readonly"] = False

    made = bundle("true", change=change)
    script(made / "rootfs/bad", "echo changed >/proc/self/fd/0; echo changed >>/proc/1/fd/0; true")
    script(made / "rootfs/good", "cat >/read")
    container = lcpy.new_id()
    lcpy("run", "--bundle", made, container, check=True)
    assert json.loads((made / "rootfs/read").read_text())["id"] == container


def test_delete_by_force_does_not_wait_for_a_hook_of_the_image(
    lcpy: "Lcpy", bundle: "Bundle"
) -> None:
    """`start` holds the lock while it waits for one, and the image decides how long that is."""
    only = hooks("/bin/sleep", "startContainer")
    only["startContainer"][0]["args"] = ["sleep", "60"]
    made = bundle("true", change=lambda config: config.update(hooks=only))
    container = lcpy.new_id()
    lcpy("create", "--bundle", made, container, check=True)
    with subprocess.Popen(lcpy.argv("start", container), stderr=subprocess.DEVNULL) as start:
        end = time.monotonic() + 10
        children = Path(f"/proc/{lcpy.state(container)['pid']}/task").iterdir()
        child = next(children) / "children"
        while not child.read_text():
            assert time.monotonic() < end
            time.sleep(0.01)
        lcpy("delete", "--force", container, timeout=10, check=True)
        assert start.wait(10) in (0, 1)  # it can not tell this end from a short program's
    assert not (lcpy.root / container).exists()


def ignore_children() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


@pytest.mark.parametrize("kind", RUNTIME_KINDS)
def test_a_caller_that_ignores_its_children(
    lcpy: "Lcpy", bundle: "Bundle", recorder: "tuple[str, Path]", kind: str
) -> None:
    """The kernel would reap them unseen (wait(2)), and a hook's exit status be lost."""
    path, log = recorder
    made = bundle("true", change=lambda config: config.update(hooks=hooks(path, kind)))
    container = lcpy.new_id()
    for words in (("create", "--bundle", made), ("start",), ("delete", "--force")):
        lcpy(*words, container, check=True, preexec_fn=ignore_children)
    assert [line["kind"] for line in lines(log)] == [kind]
