"""The life of a container by the command: create, start, state, kill, delete."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py import state as states
from libcontainer_py.spec import VERSION
from tests import freezer

if TYPE_CHECKING:
    from tests.conftest import Bundle, Completed, Lcpy


def create(lcpy: "Lcpy", path: Path, *flags: str) -> str:
    container = lcpy.new_id()
    lcpy("create", "--bundle", path, *flags, container, check=True)
    return container


def running(lcpy: "Lcpy", bundle: "Bundle", *args: str) -> str:
    container = create(lcpy, bundle(*(args or ("sleep", "60"))))
    lcpy("start", container, check=True)
    return container


def refused(done: "Completed", text: str) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert text in done.stderr


def test_from_create_to_delete(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    path = bundle("sh", "-c", "echo started; exec sleep 60")
    out = tmp_path / "out"
    container = lcpy.new_id()
    with out.open("w") as file:
        argv = lcpy.argv("create", "--bundle", path, container)
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=file, check=True)
    state = lcpy.state(container)
    assert state["status"] == "created"
    assert out.read_text() == ""

    done = lcpy("start", container)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert lcpy.state(container) == state | {"status": "running"}
    time.sleep(0.05)
    assert out.read_text() == "started\n"
    assert Path(f"/proc/{state['pid']}/comm").read_text() == "sleep\n"

    done = lcpy("kill", container, "KILL")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert lcpy.wait_for(container, "stopped") == state | {"status": "stopped", "pid": 0}
    done = lcpy("delete", container)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert os.listdir(lcpy.root) == []
    refused(lcpy("state", container), "container does not exist")


def test_the_state_is_as_runc_writes_it(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    """Members, their order, their types, the indent; paths and annotations, too."""
    annotations = {"b": "2", "a": "1"}
    change = {"annotations": annotations, "ociVersion": "1.0.2"}
    path = bundle("true", change=lambda config: config.update(change))
    container = create(lcpy, path)
    ours = lcpy("state", container, check=True).stdout
    other = f"{container}-runc"
    argv = ["runc", "--root", str(tmp_path / "runc")]
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    subprocess.run([*argv, "create", "--bundle", str(path), other], check=True, **quiet)
    try:
        theirs = subprocess.run(
            [*argv, "state", other], capture_output=True, text=True, check=True
        ).stdout
    finally:
        subprocess.run([*argv, "delete", "--force", other], check=True)

    theirs = theirs.replace(other, container)
    our_state, their_state = json.loads(ours), json.loads(theirs)
    assert list(our_state) == list(their_state)
    assert {k: type(v) for k, v in our_state.items()} == {
        k: type(v) for k, v in their_state.items()
    }
    assert our_state["ociVersion"] == VERSION  # that of the state, not of config.json
    own = {"pid", "created", "ociVersion"}
    assert {k: v for k, v in our_state.items() if k not in own} == {
        k: v for k, v in their_state.items() if k not in own
    }
    time_of = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
    assert re.fullmatch(time_of, our_state["created"])
    masked = [re.sub(f'{time_of}|"(pid|ociVersion)": [^,]+', "x", text) for text in (ours, theirs)]
    assert masked[0] == masked[1]


@pytest.mark.parametrize(
    "name", ["new\nline", "bl ank", "grüße", b"\xff".decode("utf-8", "surrogateescape")]
)
def test_a_bundle_of_any_name(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path, name: str) -> None:
    """The state is JSON all the same: what is no text is escaped, and can be read back."""
    path = bundle("true").rename(tmp_path / name)
    container = create(lcpy, path)
    state = lcpy.state(container)
    assert state["bundle"] == str(path)
    assert state["rootfs"] == str(path / "rootfs")
    lcpy("start", container, check=True)


# --- start ------------------------------------------------------------------------------------


def test_a_second_start(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = running(lcpy, bundle)
    refused(lcpy("start", container), "cannot start an already running container")
    assert lcpy.state(container)["status"] == "running"


def test_start_of_a_stopped_one(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = running(lcpy, bundle, "true")
    lcpy.wait_for(container, "stopped")
    refused(lcpy("start", container), "cannot start a container that has stopped")
    killed = create(lcpy, bundle("true"))
    lcpy("kill", killed, "KILL", check=True)
    refused(lcpy("start", killed), "cannot start a container that has stopped")


def test_of_many_starts_one_wins(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = create(lcpy, bundle("sleep", "60"))
    starts = [
        subprocess.Popen(lcpy.argv("start", container), stderr=subprocess.PIPE) for _ in range(4)
    ]
    codes = [(start.communicate()[1], start.returncode)[1] for start in starts]
    assert sorted(codes) == [0, 1, 1, 1]


def test_a_program_of_a_wrong_format(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    """Found out by the start; the container's standard error has runc's words."""
    path = bundle("/bin/wrong")
    (path / "rootfs/bin/wrong").write_bytes(b"\x7fELF nonsense")
    (path / "rootfs/bin/wrong").chmod(0o755)
    container = lcpy.new_id()
    errors = tmp_path / "errors"
    with errors.open("w") as file:
        argv = lcpy.argv("create", "--bundle", path, container)
        subprocess.run(argv, stdin=subprocess.DEVNULL, stderr=file, check=True)
    refused(lcpy("start", container), "exec /bin/wrong: exec format error")
    assert errors.read_text() == "exec /bin/wrong: exec format error\n"
    assert lcpy.wait_for(container, "stopped")["pid"] == 0
    lcpy("delete", container, check=True)

    done = lcpy("run", "--bundle", path, lcpy.new_id())
    argv = ["runc", "--root", str(tmp_path / "runc"), "run", "--bundle", str(path), container]
    theirs = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == theirs.returncode == 1
    assert done.stderr == theirs.stderr.splitlines()[0] + "\n"  # once is enough
    log = tmp_path / "log"
    done = lcpy("--log", log, "run", "--bundle", path, lcpy.new_id())
    assert (done.returncode, done.stderr) == (1, "exec /bin/wrong: exec format error\n")
    assert "Execv: process.args[0]: exec /bin/wrong: exec format error" in log.read_text()
    # Who detaches leaves that standard error to the container: what went wrong is said on ours.
    done = lcpy("run", "--detach", "--bundle", path, lcpy.new_id())
    assert done.returncode == 1
    assert "lcpy run failed: Execv: process.args[0]: exec /bin/wrong" in done.stderr
    assert os.listdir(lcpy.root) == []


# --- kill -------------------------------------------------------------------------------------

TRAP = "trap 'exit 5' USR1 35; echo up >/up; i=0; while [ $i -lt 200 ]; do sleep 0.05; done"


@pytest.mark.parametrize("word", ["USR1", "SIGUSR1", "usr1", "10", "RTMIN+1", "SIGRTMIN+1", "35"])
def test_kill_by_any_name(lcpy: "Lcpy", bundle: "Bundle", word: str) -> None:
    path = bundle("sh", "-c", TRAP, change=lambda config: config["root"].update(readonly=False))
    argv = [*lcpy.argv("run", "--bundle", path), container := lcpy.new_id()]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        wait_for(path / "rootfs/up")
        lcpy("kill", container, word, check=True)
        assert process.wait(10) == 5


def wait_for(path: Path) -> None:
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_kill_is_term_by_default(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """Which ends a created container."""
    container = create(lcpy, bundle("sleep", "60"))
    lcpy("kill", container, check=True)
    lcpy.wait_for(container, "stopped")


def test_kill_all(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """Every process of the container, not the first alone."""
    path = bundle(
        "sh",
        "-c",
        "sleep 60 & echo up >/up; wait $!; exit $?",
        change=lambda config: config["root"].update(readonly=False),
    )
    argv = [*lcpy.argv("run", "--bundle", path), container := lcpy.new_id()]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        wait_for(path / "rootfs/up")
        lcpy("kill", "--all", container, "USR1", check=True)
        assert process.wait(10) == 128 + signal.SIGUSR1


@pytest.mark.parametrize("word", ["NOPE", "", "SIG", "SIG_BLOCK", "-1", "RTMIN+99", "1.5", "9x"])
def test_signals_that_are_none(lcpy: "Lcpy", bundle: "Bundle", word: str) -> None:
    container = create(lcpy, bundle("true"))
    refused(lcpy("kill", container, word), f'unknown signal \\"{word}\\"')
    assert lcpy.state(container)["status"] == "created"


def test_a_number_beyond_the_signals(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = create(lcpy, bundle("true"))
    refused(lcpy("kill", container, "100"), "invalid argument")
    refused(lcpy("kill", container, "9" * 30), "invalid argument")
    refused(lcpy("kill", "--all", container, "100"), "kill: signal 100: invalid argument")
    assert lcpy.state(container)["status"] == "created"


@pytest.mark.parametrize("all_of_them", [[], ["--all"]])
def test_kill_of_a_frozen_one(lcpy: "Lcpy", bundle: "Bundle", all_of_them: list[str]) -> None:
    """On cgroup v1 the frozen don't die: SIGKILL thaws."""
    container = create(lcpy, bundle("sleep", "60"))
    lcpy("start", container, check=True)
    freezer.freeze(freezer.cgroup_of(lcpy.state(container)["pid"]))
    assert lcpy.wait_for(container, "paused")
    lcpy("kill", *all_of_them, container, "KILL", check=True)
    lcpy.wait_for(container, "stopped")


def test_a_created_one_that_is_frozen(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """It can't answer: `start` says so, and does not wait."""
    container = create(lcpy, bundle("true"))
    cgroup = freezer.cgroup_of(lcpy.state(container)["pid"])
    freezer.freeze(cgroup)
    lcpy.wait_for(container, "paused")
    refused(lcpy("start", container, timeout=10), "cannot start a container in the paused state")
    freezer.thaw(cgroup)
    lcpy("start", container, check=True)


def test_kill_of_a_stopped_one(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = create(lcpy, bundle("true"))
    lcpy("kill", container, "KILL", check=True)
    lcpy.wait_for(container, "stopped")
    refused(lcpy("kill", container, "KILL"), "container not running")


# --- delete -----------------------------------------------------------------------------------


def test_delete_of_a_running_one(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = running(lcpy, bundle)
    refused(
        lcpy("delete", container),
        f"cannot delete container {container} that is not stopped: running",
    )
    state = lcpy.state(container)
    assert state["status"] == "running"
    lcpy("delete", "--force", container, check=True)
    assert os.listdir(lcpy.root) == []
    assert ended(state["pid"])


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_delete_of_a_created_one_kills_it(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = create(lcpy, bundle("true"))
    pid = lcpy.state(container)["pid"]
    lcpy("delete", container, check=True)
    assert ended(pid)


def test_delete_takes_the_others_with_it(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """Without a pid namespace they outlive the first process; the cgroup knows them."""

    def change(config: dict[str, Any]) -> None:
        config["linux"]["namespaces"] = [
            each for each in config["linux"]["namespaces"] if each["type"] != "pid"
        ]
        config["root"]["readonly"] = False

    path = bundle("sh", "-c", "sleep 60 & echo $! >/pid", change=change)
    container = create(lcpy, path)
    lcpy("start", container, check=True)
    lcpy.wait_for(container, "stopped")
    pid = int((path / "rootfs/pid").read_text())
    assert not ended(pid)
    lcpy("delete", container, check=True)
    assert ended(pid)


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"id": "ID", "pid": 1}', "\0" * 9])
def test_a_damaged_record(lcpy: "Lcpy", bundle: "Bundle", text: str) -> None:
    """Nothing is believed of it, and nothing done by it."""
    container = create(lcpy, bundle("true"))
    record = lcpy.root / container / "state.json"
    good = record.read_bytes()
    record.write_text(text.replace("ID", container))
    for words in (["state"], ["start"], ["kill"], ["delete"]):
        refused(lcpy(*words, container), "damaged")
    record.write_bytes(good)
    assert lcpy.state(container)["status"] == "created"


# --- create -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["create", "run"])
def test_an_id_that_is_taken(lcpy: "Lcpy", bundle: "Bundle", command: str) -> None:
    path = bundle("true")
    container = create(lcpy, path)
    state = lcpy.state(container)
    refused(lcpy(command, "--bundle", path, container), "container with given ID already exists")
    assert lcpy.state(container) == state


def test_the_pid_file(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    """The number alone, as runc writes it."""
    path = bundle("true")
    file = tmp_path / "pid"
    container = create(lcpy, path, "--pid-file", str(file))
    assert file.read_text() == str(lcpy.state(container)["pid"])
    # A relative one is meant from the working directory.
    done = lcpy("create", "--bundle", path, "--pid-file", "other", lcpy.new_id(), cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "other").read_text().isdigit()
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("command", ["create", "run"])
def test_a_pid_file_that_can_not_be_written(
    lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path, command: str
) -> None:
    """The container is gone again."""
    done = lcpy(
        command, "--bundle", bundle("true"), "--pid-file", tmp_path / "no/pid", lcpy.new_id()
    )
    refused(done, "--pid-file")
    assert "no such file or directory" in done.stderr
    assert os.listdir(lcpy.root) == []


def test_the_root_of_the_state(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    """Containers of one root are not those of another."""
    container = create(lcpy, bundle("true"))
    assert (lcpy.root / container / "state.json").is_file()
    other = ["--root", str(tmp_path / "other")]
    refused(lcpy(*other, "state", container), "container does not exist")
    lcpy(*other, "create", "--bundle", bundle("true"), container + "-2", check=True)
    assert (tmp_path / "other" / (container + "-2")).is_dir()
    lcpy(*other, "delete", container + "-2", check=True)


def test_two_containers_at_once(lcpy: "Lcpy", bundle: "Bundle") -> None:
    path = bundle("sleep", "60")
    ids = [lcpy.new_id(), lcpy.new_id()]
    creating = [
        subprocess.Popen(
            lcpy.argv("create", "--bundle", path, container),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        for container in ids
    ]
    assert [process.wait(20) for process in creating] == [0, 0]
    for container in ids:
        lcpy("start", container, check=True)
    states = [lcpy.state(container) for container in ids]
    assert [state["status"] for state in states] == ["running", "running"]
    assert states[0]["pid"] != states[1]["pid"]
    lcpy("delete", "--force", ids[0], check=True)
    assert lcpy.state(ids[1]) == states[1]


GROUPS = range(1_000_000_000, 1_000_002_000)


def test_a_caller_with_many_groups(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """As a directory service gives them: /proc/self/status is 22 kB then."""
    container = lcpy.new_id()
    words = ("create", "--bundle", bundle("sleep", "60"))
    lcpy(*words, container, check=True, extra_groups=GROUPS)
    lcpy("start", container, check=True, extra_groups=GROUPS)
    assert lcpy.state(container)["status"] == "running"


def test_a_process_with_many_groups() -> None:
    with subprocess.Popen(["sleep", "60"], extra_groups=GROUPS) as process:
        try:
            assert states.inner_pid(process.pid) == process.pid
        finally:
            process.kill()
