"""Podman and Buildah, unmodified, with ``--runtime lcpy``."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.conftest import eventually, lcpy_path

if TYPE_CHECKING:
    from tests.engines.conftest import Podman

BB = "localhost/bb"


@pytest.mark.parametrize(
    ("words", "code", "stdout"),
    [(["true"], 0, ""), (["echo", "hello"], 0, "hello\n"), (["sh", "-c", "exit 7"], 7, "")],
)
def test_output_and_exit_code(podman: "Podman", words: list[str], code: int, stdout: str) -> None:
    assert podman.run(BB, *words, code=code).stdout == stdout


@pytest.mark.parametrize(
    ("program", "code", "why"),
    [
        ("nosuch", 127, "executable file not found in $PATH"),
        ("/no/such", 127, "no such file or directory"),
        ("/etc/passwd", 126, "permission denied"),
    ],
)
def test_a_program_that_cannot_be_run(podman: "Podman", program: str, code: int, why: str) -> None:
    done = podman.run(BB, program, code=code)
    assert f'exec: "{program}": ' in done.stderr
    assert why in done.stderr
    assert "time=" not in done.stderr  # from the JSON of the log, not from a line of text


def test_user_environment_limits_and_seccomp(podman: "Podman") -> None:
    command = """
    id -u; echo $A; pwd; hostname; cat /sys/fs/cgroup/memory/memory.limit_in_bytes
    cat /sys/fs/cgroup/pids/pids.max; grep ^Seccomp: /proc/self/status
    """
    words = "--user=1000 --env=A=b --workdir=/tmp --hostname=h --memory=64m --pids-limit=30"
    done = podman.run(*words.split(), BB, "sh", "-c", command)
    assert done.stdout.split() == ["1000", "b", "/tmp", "h", "67108864", "30", "Seccomp:", "2"]


def test_a_read_only_root(podman: "Podman") -> None:
    """Podman's own tmpfs on /tmp is filled with what the image has there (tmpcopyup)."""
    words = ("--read-only", "--network=host", BB, "sh", "-c", "touch /tmp/x && ls /tmp; touch /x")
    done = podman.run(*words, code=1)
    assert done.stdout == "x\n"
    assert "Read-only file system" in done.stderr


def test_stop_start_kill(podman: "Podman") -> None:
    command = "trap 'echo bye; exit 3' TERM; echo up; for i in $(seq 600); do sleep 0.1; done"
    podman("run", "-d", podman.parent, "--name=x", BB, "sh", "-c", command)

    def state() -> dict[str, Any]:
        state: dict[str, Any] = json.loads(podman("inspect", "x").stdout)[0]["State"]
        return state

    eventually(lambda: podman("logs", "x").stdout == "up\n", "its first words")
    assert state()["Status"] == "running"
    podman("stop", "x")
    assert podman("logs", "x").stdout == "up\nbye\n"
    assert (state()["Status"], state()["ExitCode"]) == ("exited", 3)
    podman("start", "x")
    podman("kill", "x")
    assert podman("wait", "x").stdout == "137\n"
    podman("rm", "x")
    assert podman("ps", "--all", "--quiet").stdout == ""


def test_remove_by_force(podman: "Podman") -> None:
    podman("run", "-d", podman.parent, "--name=x", BB, "sleep", "60")
    podman("rm", "--force", "--time=0", "x")
    assert podman("ps", "--all", "--quiet").stdout == ""


def test_buildah(podman: "Podman") -> None:
    container = podman.buildah("from", BB).stdout.strip()
    run = ("run", "--runtime", lcpy_path(), "--isolation=oci", "--network=none")
    try:
        assert (
            podman.buildah(*run, container, "--", "sh", "-c", "echo hi | tee /f").stdout == "hi\n"
        )
        assert podman.buildah(*run, "--user=1000", container, "--", "id", "-u").stdout == "1000\n"
        podman.buildah(*run, container, "--", "sh", "-c", "grep hi /f && exit 7", code=7)
        failed = podman.buildah(*run, container, "--", "nosuch", code=1)
        assert "executable file not found in $PATH" in failed.stderr
    finally:
        podman.buildah("rm", container)
