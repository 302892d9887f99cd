"""`run`: exit codes, relayed signals, and bundles that can't be run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle, Config, Lcpy


def without_pid_namespace(config: "Config") -> None:
    config["linux"]["namespaces"] = [
        each for each in config["linux"]["namespaces"] if each["type"] != "pid"
    ]


def test_output_and_exit_code(lcpy: "Lcpy", bundle: "Bundle") -> None:
    path = bundle("sh", "-c", "cat; echo err >&2; exit 3")
    done = lcpy("run", "--bundle", path, lcpy.new_id(), stdin="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, "in\n", "err\n")
    assert os.listdir(lcpy.root) == []


def test_exit_code_zero(lcpy: "Lcpy", bundle: "Bundle") -> None:
    assert lcpy("run", "--bundle", bundle("true"), lcpy.new_id()).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_a_signal_is_128_and_its_number(lcpy: "Lcpy", bundle: "Bundle", number: int) -> None:
    path = bundle("sh", "-c", f"kill -{int(number)} $$", change=without_pid_namespace)
    assert lcpy("run", "--bundle", path, lcpy.new_id()).returncode == 128 + number


def wait_for(path: Path) -> None:
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGWINCH]
)
def test_signals_reach_the_container(lcpy: "Lcpy", bundle: "Bundle", number: int) -> None:
    """What is sent to `lcpy run` is for its container, in which it runs on."""
    script = (
        f"trap 'echo got; exit 7' {int(number)}; echo up >/up;"
        " i=0; while [ $i -lt 200 ]; do sleep 0.05; done"
    )
    path = bundle("sh", "-c", script, change=lambda config: config["root"].update(readonly=False))
    argv = [*lcpy.argv("run", "--bundle", path), lcpy.new_id()]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        wait_for(path / "rootfs/up")
        process.send_signal(number)
        assert process.stdout.read() == b"got\n"
        assert process.wait(10) == 7
    assert os.listdir(lcpy.root) == []


def test_the_container_dies_by_a_signal_to_it(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = lcpy.new_id()
    argv = [*lcpy.argv("run", "--bundle", bundle("sleep", "60")), container]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        end = time.monotonic() + 10
        while lcpy("state", container).returncode or lcpy.state(container)["status"] != "running":
            assert time.monotonic() < end
        lcpy("kill", container, "KILL", check=True)
        assert process.wait(10) == 137


def test_orphans_are_reaped(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """Without a pid namespace they become children of `run`, a subreaper; it does not hang."""
    path = bundle("sh", "-c", "(sleep 0.1 & ) ; sleep 0.3; exit 4", change=without_pid_namespace)
    assert lcpy("run", "--bundle", path, lcpy.new_id(), timeout=20).returncode == 4


def test_a_caller_that_ignores_its_children(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """SIGCHLD ignored is inherited, and would let the kernel reap the container unseen."""
    argv = [*lcpy.argv("run", "--bundle", bundle("sh", "-c", "exit 5")), lcpy.new_id()]
    code = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
    code += "os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *argv], timeout=20, check=False)
    assert done.returncode == 5


def test_detach(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = lcpy.new_id()
    done = lcpy("run", "--detach", "--bundle", bundle("sleep", "60"), container)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert lcpy.state(container)["status"] == "running"


def test_keep(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = lcpy.new_id()
    done = lcpy("run", "--keep", "--bundle", bundle("sh", "-c", "exit 9"), container)
    assert done.returncode == 9
    assert lcpy.state(container)["status"] == "stopped"
    lcpy("delete", container, check=True)


def test_the_bundle_is_the_working_directory(lcpy: "Lcpy", bundle: "Bundle") -> None:
    done = lcpy("run", lcpy.new_id(), cwd=bundle("echo", "here"))
    assert (done.returncode, done.stdout) == (0, "here\n")


# --- bundles that can't be run ----------------------------------------------------------------

Damage = Callable[[Path], object]


def config(**changes: Any) -> Damage:
    """Set members of config.json; a name with dots is a way down."""

    def damage(path: Path) -> None:
        file = path / "config.json"
        text = json.loads(file.read_text())
        for name, value in changes.items():
            *way, last = name.split("__")
            place = text
            for step in way:
                place = place[step]
            place[last] = value
        file.write_text(json.dumps(text))

    return damage


def program(name: str, mode: int | None = None, content: bytes = b"x") -> Damage:
    def damage(path: Path) -> None:
        config(process__args=[name])(path)
        if mode is not None:
            file = path / ("rootfs" + name)
            file.write_bytes(content)
            file.chmod(mode)

    return damage


def fifo(path: Path) -> None:
    (path / "config.json").unlink()
    os.mkfifo(path / "config.json")


BAD: dict[str, tuple[Damage, str]] = {
    "no config.json": (
        lambda path: (path / "config.json").unlink(),
        "JSON specification file config.json not found",
    ),
    "empty": (lambda path: (path / "config.json").write_text(""), "config.json is not JSON"),
    "malformed": (lambda path: (path / "config.json").write_text("{]"), "config.json is not JSON"),
    "cut off": (
        lambda path: os.truncate(path / "config.json", 500),
        "config.json is not JSON",
    ),
    "null": (lambda path: (path / "config.json").write_text("null"), "config cannot be null"),
    "a list": (lambda path: (path / "config.json").write_text("[]"), "config.json"),
    "not UTF-8": (lambda path: (path / "config.json").write_bytes(b'{"\xff": 1}'), "not UTF-8"),
    "a FIFO": (fifo, "config.json is not a regular file"),
    "a wrong type": (config(process__args="true"), "process.args"),
    "a wrong type deep down": (config(process__user={"uid": "0", "gid": 0}), "process.user.uid"),
    "no args": (config(process__args=[]), "process.args"),
    "no process": (config(process=None), "process"),
    "no root": (config(root=None), "root"),
    "an unknown namespace": (
        config(linux__namespaces=[{"type": "mount"}, {"type": "nonsense"}]),
        "linux.namespaces[1].type",
    ),
    "a relative cwd": (config(process__cwd="relative"), "process.cwd"),
    "another version": (config(ociVersion="2.0.0"), "ociVersion"),
    "no root filesystem": (config(root__path="nowhere"), "root.path"),
    "the host's root": (config(root__path="/"), "root.path"),
    "a root that is a file": (config(root__path="config.json"), "root.path"),
    "no program": (program("nosuch"), 'exec: \\"nosuch\\": executable file not found in $PATH'),
    "no program at a path": (
        program("/nosuch"),
        'exec: \\"/nosuch\\": stat /nosuch: no such file or directory',
    ),
    "no run bit": (program("/bin/data", 0o644), 'exec: \\"/bin/data\\": permission denied'),
    "a directory for a program": (program("/bin"), 'exec: \\"/bin\\": permission denied'),
    "too little memory": (
        config(linux__resources={"memory": {"limit": 4096}}),
        "linux.resources.memory.limit",
    ),
    "no Intel RDT": (
        config(linux__intelRdt={"closID": "x"}),
        "linux.intelRdt: Intel RDT is not enabled: no resctrl file system is mounted on this host",
    ),
    "a joined namespace": (
        config(linux__namespaces=[{"type": "mount"}, {"type": "uts", "path": "/proc/1/ns/net"}]),
        "linux.namespaces[1].path",
    ),
    "a missing source": (
        config(mounts=[{"destination": "/x", "source": "/nowhere", "options": ["bind"]}]),
        "mounts[0].source",
    ),
}


@pytest.mark.parametrize("command", ["create", "run"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_bundle(lcpy: "Lcpy", bundle: "Bundle", command: str, name: str) -> None:
    """One line on standard error, code 1, and nothing left (`lcpy` looks for the rest)."""
    damage, text = BAD[name]
    path = bundle("true", change=lambda config: config["root"].update(readonly=False))
    damage(path)
    pid_file = path / "pid"
    container = lcpy.new_id()
    done = lcpy(command, "--bundle", path, "--pid-file", pid_file, container)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"lcpy {command} failed: " in done.stderr
    assert text in done.stderr
    assert not lcpy.root.is_dir() or os.listdir(lcpy.root) == []
    assert not pid_file.exists()
    assert lcpy("state", container).returncode == 1


def test_a_bundle_that_is_not_there(lcpy: "Lcpy", tmp_path: Path) -> None:
    done = lcpy("run", "--bundle", tmp_path / "nope", lcpy.new_id())
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no such file or directory" in done.stderr


def test_a_memory_limit_that_the_program_can_not_start_in(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """Enough to wait in and too little to run in: the kernel ends it, and that is its exit code."""
    limit = {"memory": {"limit": 256 << 10, "swap": 256 << 10}}
    path = bundle("sh", "-c", "head -c 5000000 /dev/zero | tail -c 5000000")
    config(linux__resources=limit)(path)
    done = lcpy("run", "--bundle", path, lcpy.new_id())
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert os.listdir(lcpy.root) == []
