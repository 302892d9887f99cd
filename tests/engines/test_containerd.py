"""containerd, unmodified, with lcpy in the place of runc for its shim."""

from typing import TYPE_CHECKING

import pytest

from tests.engines.conftest import eventually

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
