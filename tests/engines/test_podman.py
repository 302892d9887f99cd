"""Podman and Buildah, unmodified, with ``--runtime lcpy``."""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.test_terminal import Outer
from tests.conftest import Completed
from tests.engines.conftest import eventually, lcpy_path, program
from tests.notify import Manager, compile_program

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


@pytest.mark.parametrize(
    ("words", "code", "stdout", "stderr"),
    [
        (["echo", "hello"], 0, "hello\n", ""),
        (["sh", "-c", "echo out; echo err >&2; exit 7"], 7, "out\n", "err\n"),
        (["sh", "-c", "kill -KILL $$"], 137, "", ""),
        (["nosuch"], 127, "", 'exec: "nosuch": executable file not found in $PATH'),
        (["/no/such"], 127, "", 'exec: "/no/such": stat /no/such: no such file or directory'),
        (["/etc/passwd"], 126, "", 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_exec(podman: "Podman", words: list[str], code: int, stdout: str, stderr: str) -> None:
    done = podman("exec", podman.sleeper(), *words, code=code)
    assert done.stdout == stdout
    assert stderr in done.stderr


def test_exec_with_options(podman: "Podman") -> None:
    container = podman.sleeper()
    words = ("--user=user", "--workdir=/tmp", "--env=A=b")
    done = podman("exec", *words, container, "sh", "-c", "id -u; pwd; echo $A $HOME")
    assert done.stdout == "1000\n/tmp\nb /home/user\n"
    done = podman("exec", "-i", container, "cat", stdin="from here\n")
    assert done.stdout == "from here\n"
    podman("exec", "--detach", container, "sleep", "555")
    eventually(lambda: "555" in podman("top", container, "args").stdout, "a detached process")
    # All capabilities, of which Podman keeps those that it has.
    show = ("grep", "^CapEff:", "/proc/self/status")
    status = Path("/proc/self/status").read_text()
    mine = re.search(r"^CapEff:\s*(\w+)$", status, re.M)
    assert mine
    assert podman("exec", "--privileged", container, *show).stdout.split()[1] == mine[1]


@pytest.mark.parametrize("second", [False, True])
def test_a_terminal(podman: "Podman", second: bool) -> None:
    command = "tty; echo type; read a; echo got $a; exit 5"
    if second:
        words = podman.words("exec", "-it", podman.sleeper(), "sh", "-c", command)
    else:
        words = podman.words("run", "--rm", "-it", podman.parent, BB, "sh", "-c", command)
    outer = Outer()
    outer.run([program("nsenter"), *map(str, words[1:])], env=podman.home.env)
    outer.expect(b"type")
    outer.type(b"word\r")
    outer.expect(b"got word")
    assert outer.end() == 5
    assert b"/dev/pts/0\r\n" in outer.shown


def test_top_pause_stats_update(podman: "Podman") -> None:
    container = podman.sleeper("--memory=64m")
    top = podman("top", container, "pid", "comm", "seccomp").stdout
    assert top.splitlines()[1].split() == ["1", "sleep", "filter"]
    podman("pause", container)
    assert status(podman, container) == "paused"
    podman("exec", container, "true", code=255)
    podman("unpause", container)
    assert status(podman, container) == "running"
    shown = podman("stats", "--no-stream", "--format={{.MemUsage}} {{.PIDs}}", container)
    assert re.search(r" / 67.11MB 1$", shown.stdout.strip())
    podman("update", "--memory=32m", "--cpus=0.5", "--cpu-shares=300", container)
    files = "memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares"
    done = podman("exec", "--workdir=/sys/fs/cgroup", container, "cat", *files.split())
    assert done.stdout.split() == ["33554432", "50000", "300"]


def status(podman: "Podman", container: str) -> str:
    return podman("inspect", "--format={{.State.Status}}", container).stdout.strip()


def test_health_checks(podman: "Podman") -> None:
    words = ("--health-cmd=test -e /tmp/ok", "--health-interval=disable", "--health-retries=1")
    container = podman.sleeper(*words)
    assert podman("healthcheck", "run", container, code=1).stdout == "unhealthy\n"
    podman("exec", container, "touch", "/tmp/ok")
    podman("healthcheck", "run", container)


# What containers of a pod share by default, and what they have of their own.
SHARED, OWN = ("net", "ipc", "uts", "user"), ("pid", "mnt")


@pytest.fixture
def pod(podman: "Podman", request: pytest.FixtureRequest) -> Iterator[str]:
    """A pod, whose first container only waits; the parameter is what its containers share."""
    # Without a cgroup of its own: Podman can't remove one where it finds no hugetlb controller.
    first = ("--infra-image", BB, "--infra-command=/bin/sleep 600", "--share-parent=false")
    share = f"--share={request.param}"
    podman("pod", "create", podman.parent, *first, share, "--hostname=pod-host", "pod")
    yield "pod"
    podman("pod", "rm", "--force", "--time=0", "pod")


@pytest.mark.parametrize("pod", ["ipc,net,uts"], indirect=True)
def test_a_pod(podman: "Podman", pod: str) -> None:
    server = ("httpd", "-f", "-p", "8080", "-h", "/etc")
    podman("run", "-d", podman.parent, f"--pod={pod}", "--name=server", BB, *server)
    command = "wget -q -O - http://127.0.0.1:8080/group | head -n 1; hostname"
    for name in (*SHARED, *OWN):
        command += f"; readlink /proc/self/ns/{name}"
    done = podman.run(f"--pod={pod}", BB, "sh", "-c", command)
    first, host, *namespaces = done.stdout.split()
    assert (first, host) == ("root:x:0:", "pod-host")
    pid = podman("inspect", "--format={{.State.Pid}}", "server").stdout.strip()
    theirs = [os.readlink(f"/proc/{pid}/ns/{name}") for name in (*SHARED, *OWN)]
    same = [ours == other for ours, other in zip(namespaces, theirs, strict=True)]
    assert same == [True] * len(SHARED) + [False] * len(OWN)
    assert podman("exec", "server", "hostname").stdout == "pod-host\n"
    for word, state in (("pause", "paused"), ("unpause", "running")):
        podman("pod", word, pod)
        assert status(podman, "server") == state
    podman("pod", "stop", "--time=0", pod)
    podman("pod", "start", pod)
    podman("exec", "server", "true")


@pytest.mark.parametrize("pod", ["pid,net"], indirect=True)
def test_a_pod_with_one_pid_namespace(podman: "Podman", pod: str) -> None:
    podman("run", "-d", podman.parent, f"--pod={pod}", "--name=second", BB, "sleep", "555")
    words = ("sh", "-c", "ps -o pid,args; exit 4")
    done = podman.run(f"--pod={pod}", BB, *words, code=4)
    assert done.stdout.splitlines()[1].split() == ["1", "/bin/sleep", "600"]
    assert "sleep 555" in done.stdout
    assert "sleep 600" in podman("exec", "second", "ps", "-o", "args").stdout
    podman("kill", "second")
    assert podman("wait", "second").stdout == "137\n"


@pytest.mark.parametrize("kind", ["network", "pid", "ipc", "uts", "cgroupns"])
def test_namespaces_of_another_container(podman: "Podman", kind: str) -> None:
    other = podman.sleeper("--ipc=shareable", "--cgroupns=private")
    pid = podman("inspect", "--format={{.State.Pid}}", other).stdout.strip()
    name = {"network": "net", "cgroupns": "cgroup"}.get(kind, kind)
    done = podman.run(f"--{kind}=container:{other}", BB, "readlink", f"/proc/self/ns/{name}")
    assert done.stdout.strip() == os.readlink(f"/proc/{pid}/ns/{name}")


def test_networks_of_its_own(podman: "Podman") -> None:
    """Netavark connects the network namespace before the container is made."""
    podman("network", "create", "--disable-dns", "--subnet=198.51.100.0/24", "network")
    try:
        words = ("--network=network", "--publish=198.51.100.1:8080:80", "--name=server")
        server = ("httpd", "-f", "-h", "/etc")
        podman("run", "-d", podman.parent, *words, BB, *server)
        settings = json.loads(podman("inspect", "server").stdout)[0]["NetworkSettings"]
        address = settings["Networks"]["network"]["IPAddress"]
        assert address.startswith("198.51.100.")
        url = f"http://{address}/group"
        done = podman.run("--network=network", BB, "wget", "-q", "-O", "-", url)
        assert done.stdout.startswith("root:x:0:")
        url = "http://127.0.0.1/group"
        done = podman.run("--network=container:server", BB, "wget", "-q", "-O", "-", url)
        assert done.stdout.startswith("root:x:0:")
        # From what is the host here, through the published port.
        url = "http://198.51.100.1:8080/group"
        done = podman.run("--network=host", BB, "wget", "-q", "-O", "-", url)
        assert done.stdout.startswith("root:x:0:")
    finally:
        podman("rm", "--force", "--time=0", "--ignore", "server")
        podman("network", "rm", "--force", "network")


def test_a_user_namespace(podman: "Podman", tmp_path: Path) -> None:
    maps = ("--uidmap=0:100000:65536", "--gidmap=0:100000:65536")
    (tmp_path / "file").write_text("from outside")
    (tmp_path / "file").chmod(0o600)
    volumes = (f"--volume={tmp_path}:/mapped:idmap", "--device=/dev/fuse")
    container = podman.sleeper(*maps, *volumes, "--network=host")
    pid = podman("inspect", "--format={{.State.Pid}}", container).stdout.strip()
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    command = "id -u; cat /mapped/file; echo new >/mapped/new"
    assert podman("exec", container, "sh", "-c", command).stdout == "0\nfrom outside"
    assert (tmp_path / "new").stat().st_uid == 0
    done = podman("exec", "--user=1000", container, "sh", "-c", "id -u; cat /mapped/file", code=1)
    assert done.stdout == "1000\n"
    assert "Permission denied" in done.stderr
    joined = (f"--userns=container:{container}", f"--pid=container:{container}")
    done = podman.run(*joined, BB, "sh", "-c", "cat /proc/self/uid_map; ps -o args")
    assert done.stdout.split()[:3] == ["0", "100000", "65536"]
    assert "sleep 600" in done.stdout


def test_buildah(podman: "Podman") -> None:
    """With the isolation and the network that it has by default, and without them."""
    container = podman.buildah("from", BB).stdout.strip()

    def run(*words: str, code: int | None = 0) -> Completed:
        return podman.buildah("run", "--runtime", lcpy_path(), *words, code=code)

    try:
        links = run(container, "--", "sh", "-c", "ip -o link | tee /f").stdout
        assert re.search(r"^2: eth0@", links, re.M)
        assert run("--network=none", container, "--", "ip", "-o", "link").stdout.count("\n") == 1
        assert run("--user=1000", container, "--", "id", "-u").stdout == "1000\n"
        run("--isolation=oci", container, "--", "sh", "-c", "grep eth0 /f && exit 7", code=7)
        failed = run(container, "--", "nosuch", code=1)
        assert "executable file not found in $PATH" in failed.stderr
    finally:
        podman.buildah("rm", container)


@pytest.mark.parametrize("mapped", [False, True])
def test_buildah_builds(podman: "Podman", tmp_path: Path, mapped: bool) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {BB}\nRUN echo built >/built\nUSER 1000\nRUN id -u; cat /proc/self/uid_map\n"
    )
    words = ["--userns-uid-map=0:100000:65536", "--userns-gid-map=0:100000:65536"] if mapped else []
    # What Buildah calls the parent is the container's own cgroup.
    cgroup = f"{podman.parent}/build"
    build = ("bud", "--runtime", lcpy_path(), cgroup, *words, "--tag=built", str(tmp_path))
    try:
        shown = podman.buildah(*build).stdout
        assert "1000" in shown.splitlines()
        assert bool(re.search(r"^ +0 +100000 +65536$", shown, re.M)) == mapped
        assert podman.run("built", "cat", "/built").stdout == "built\n"
    finally:
        podman.buildah("rmi", "--force", "built", code=None)


@pytest.mark.parametrize(
    ("mode", "inside", "said"),
    [
        ("container", "/run/notify/notify.sock", "MAINPID=CONMON READY=1"),
        ("conmon", "none", "MAINPID=CONMON READY=1"),
        ("ignore", "none", ""),
    ],
)
def test_readiness(podman: "Podman", tmp_path: Path, mode: str, inside: str, said: str) -> None:
    """The service manager hears of it from the container, from conmon, or not at all."""
    compile_program("say", tmp_path)
    script = "echo ${NOTIFY_SOCKET-none}; [ ! $NOTIFY_SOCKET ] || /say READY=1; exec sleep 600"
    words = ("--detach", f"--sdnotify={mode}", f"--volume={tmp_path}/say:/say", podman.parent)
    with contextlib.closing(Manager(str(tmp_path / "manager"))) as manager:
        podman.home.env["NOTIFY_SOCKET"] = manager.env["NOTIFY_SOCKET"]
        try:
            container = podman("run", *words, BB, "sh", "-c", script).stdout.strip()
        finally:
            del podman.home.env["NOTIFY_SOCKET"]
        eventually(lambda: podman("logs", container).stdout == f"{inside}\n", "what it sees")
        conmon = podman("inspect", "--format={{.State.ConmonPid}}", container).stdout.strip()
        heard: list[str] = []
        while not manager.hears_nothing() or len(heard) < len(said.split()):
            heard += manager.hear().text.split()
    assert sorted(heard) == said.replace("CONMON", conmon).split()
