"""containerd, unmodified, with lcpy in the place of runc for its shim."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.test_terminal import Outer
from tests.engines.conftest import eventually, program

if TYPE_CHECKING:
    from tests.engines.conftest import Containerd


@pytest.mark.parametrize(
    ("words", "code", "stdout"),
    [(["true"], 0, ""), (["echo", "hello"], 0, "hello\n"), (["sh", "-c", "exit 7"], 7, "")],
)
def test_output_and_exit_code(
    containerd: "Containerd", words: list[str], code: int, stdout: str
) -> None:
    assert containerd.run("--rm", "--", *words, code=code).stdout == stdout


def test_a_missing_program(containerd: "Containerd") -> None:
    done = containerd.run("--rm", "--", "nosuch", code=1)
    assert 'exec: "nosuch": executable file not found in $PATH' in done.stderr


def test_seccomp_and_limits(containerd: "Containerd") -> None:
    command = "grep ^Seccomp: /proc/self/status; grep :memory: /proc/self/cgroup; sleep 60"
    limit = "--memory-limit=67108864"
    containerd.run("--detach", "--seccomp", limit, "--", "sh", "-c", command, container="limited")
    assert "limited" in containerd("task", "list").stdout
    cgroups = [path for path in containerd.home.cgroups() if path.name == "limited"]
    memory = [path / "memory.limit_in_bytes" for path in cgroups]
    assert [path.read_text() for path in memory if path.exists()] == ["67108864\n"]


def test_the_life_of_a_task(containerd: "Containerd") -> None:
    containerd.run("--detach", "--", "sleep", "60", container="task")

    def status() -> str:
        lines = containerd("task", "list").stdout.splitlines()
        return next(line.split()[2] for line in lines if line.startswith("task "))

    assert status() == "RUNNING"
    containerd("task", "kill", "--signal=SIGTERM", "task")  # pid 1 has no handler
    assert status() == "RUNNING"
    containerd("task", "kill", "--signal=SIGKILL", "task")
    eventually(lambda: status() == "STOPPED", "the end of the task")
    assert "exit code 137" in containerd("task", "rm", "task").stderr
    containerd("container", "rm", "task")
    assert containerd("container", "list", "--quiet").stdout == ""


def execute(
    containerd: "Containerd", *words: str | Path, options: tuple[str, ...] = (), code: int = 0
) -> tuple[str, str]:
    """`ctr task exec` in the task "task": what it wrote."""
    fifos = f"--fifo-dir={containerd.home.path}/fifo"
    done = containerd(
        "task", "exec", "--exec-id=second", fifos, *options, "task", *words, code=code
    )
    return done.stdout, done.stderr


def test_exec(containerd: "Containerd") -> None:
    containerd.run("--detach", "--", "sleep", "600", container="task")
    assert execute(containerd, "echo", "hello") == ("hello\n", "")
    assert execute(containerd, "sh", "-c", "echo no >&2; exit 7", code=7) == ("", "no\n")
    options = ("--user=1000", "--cwd=/tmp")
    assert execute(containerd, "sh", "-c", "id -u; pwd", options=options)[0] == "1000\n/tmp\n"
    _, said = execute(containerd, "nosuch", code=1)
    assert 'exec: "nosuch": executable file not found in $PATH' in said


def test_exec_in_a_terminal(containerd: "Containerd") -> None:
    containerd.run("--detach", "--", "sleep", "600", container="task")
    fifos = f"--fifo-dir={containerd.home.path}/fifo"
    words = ("task", "exec", "-t", "--exec-id=second", fifos, "task")
    argv = containerd.words(*words, "sh", "-c", "tty; echo type; read a; echo got $a; exit 5")
    outer = Outer()
    outer.run([program("ctr"), *map(str, argv[1:])], env=containerd.home.env)
    outer.expect(b"type")
    outer.type(b"word\r")
    outer.expect(b"got word")
    assert outer.end() == 5
    assert b"/dev/pts/0\r" in outer.shown


def test_a_detached_exec(containerd: "Containerd") -> None:
    containerd.run("--detach", "--", "sleep", "600", container="task")
    execute(containerd, "sleep", "555", options=("--detach",))
    assert containerd("task", "ps", "task").stdout.count("\n") == 3  # a headline, and two
    containerd("task", "kill", "--exec-id=second", "--signal=SIGKILL", "task")
    eventually(lambda: containerd("task", "ps", "task").stdout.count("\n") == 2, "its end")
    containerd("task", "delete", "--exec-id=second", "task", code=137)


def test_pause_and_metrics(containerd: "Containerd") -> None:
    limit = "--memory-limit=67108864"
    containerd.run("--detach", limit, "--", "sleep", "600", container="task")

    def status() -> str:
        lines = containerd("task", "list").stdout.splitlines()
        return next(line.split()[2] for line in lines if line.startswith("task "))

    containerd("task", "pause", "task")
    assert status() == "PAUSED"
    assert "paused" in execute(containerd, "true", code=1)[1]
    containerd("task", "resume", "task")
    assert status() == "RUNNING"
    execute(containerd, "true")
    metrics = containerd("task", "metrics", "task").stdout
    assert re.search(r"^memory.limit_in_bytes +67108864 *$", metrics, re.M)
    assert re.search(r"^pids.current +1 *$", metrics, re.M)


def test_namespaces_by_path(containerd: "Containerd") -> None:
    """As Kubernetes has the containers of a pod."""
    containerd.run("--detach", "--", "sleep", "600", container="task")
    line = containerd("task", "list").stdout.splitlines()[1]
    pid = line.split()[1]
    joined = {"network": "net", "pid": "pid", "ipc": "ipc", "uts": "uts"}
    options = [f"--with-ns={name}:/proc/{pid}/ns/{file}" for name, file in joined.items()]
    names = " ".join((*joined.values(), "mnt"))
    command = f"ps -o comm; cd /proc/self/ns; for name in {names}; do readlink $name; done"
    done = containerd.run("--rm", *options, "--", "sh", "-c", command, container="second")
    programs, namespaces = done.stdout.split()[:-5], done.stdout.split()[-5:]
    assert programs[:2] == ["COMMAND", "sleep"]
    theirs = [os.readlink(f"/proc/{pid}/ns/{name}") for name in names.split()]
    assert namespaces[:4] == theirs[:4]
    assert namespaces[4] != theirs[4]
