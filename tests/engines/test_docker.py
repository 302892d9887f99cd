"""Docker, unmodified, with lcpy as its default runtime."""

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.test_terminal import Outer
from tests.engines.conftest import eventually, program

if TYPE_CHECKING:
    from tests.engines.conftest import Docker

# What a process can see of how it was started. The mounts with their own flags alone: the options
# of a file system name this container's layers.
PROBE = r"""
exec 2>&1
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:|Sig(Blk|Ign|Cgt))' /proc/self/status
id; pwd; hostname; cat /proc/sys/kernel/domainname; env | sort; umask
cat /proc/1/oom_score_adj /proc/self/limits
awk '{ for (i = 7; $i != "-"; i++); print $5, $6, $(i + 1) }' /proc/self/mountinfo | sort
ls -l /dev | sed 's/ [A-Z][a-z][a-z] .*:.. / /'
ls -ld /proc/self/fd/[012] | cut -c 1-30
sed 's/[0-9a-f]\{64\}/ID/' /proc/self/cgroup
for file in memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes \
    memory/memory.soft_limit_in_bytes memory/memory.swappiness memory/memory.oom_control \
    cpu/cpu.shares cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us \
    cpuset/cpuset.cpus cpuset/cpuset.mems pids/pids.max devices/devices.list; do
    echo $file: $(sort /sys/fs/cgroup/$file)
done
ip -o link | cut -c 1-30
cat /proc/sys/net/ipv4/ip_unprivileged_port_start
touch /in-root
exit 0
"""


def probe(docker: "Docker", runtime: str, *options: str) -> str:
    """What a container that a runtime started sees, without what differs on purpose."""
    words = (f"--runtime={runtime}", "--hostname=probe", *options, "bb", "sh", "-c", PROBE)
    seen = docker.run(*words).stdout
    # Docker wants this mount read-only: runc 1.1 leaves it writable.
    return re.sub(r"(?m)^/sys/fs/cgroup rw", "/sys/fs/cgroup ro", seen)


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--read-only --tmpfs=/tmp:size=1m,mode=1777",
        "--user=1000 --workdir=/tmp --env=A=b --env=LD_PRELOAD=/none",
        "--user=user:extra --group-add=7",
        "--user=3000:3000 --security-opt=no-new-privileges",
        "--cap-drop=ALL --cap-add=NET_RAW --cap-add=NET_BIND_SERVICE",
        "--cap-add=ALL --cap-drop=SYS_RESOURCE --security-opt=seccomp=unconfined",
        "--security-opt=systempaths=unconfined --device=/dev/fuse:/dev/other:r",
        "--memory=64m --memory-reservation=32m --pids-limit=50 --cpus=0.5 --cpu-shares=512",
        "--memory=64m --memory-swap=-1 --memory-swappiness=0 --oom-kill-disable --cpuset-cpus=0",
        "--ulimit=nofile=100:200 --ulimit=core=0 --oom-score-adj=100 --shm-size=2m",
        "--sysctl=net.ipv4.ip_unprivileged_port_start=5 --domainname=domain",
        "--cgroupns=private",
        "--ipc=host --pid=host",
        "--init --mount=type=volume,destination=/volume --volume=/usr:/host:ro",
    ],
)
def test_a_container_sees_what_it_sees_with_runc(docker: "Docker", options: str) -> None:
    words = options.split()
    ours = probe(docker, "lcpy", *words)
    assert ours.count("\n") > 60
    assert ours.splitlines() == probe(docker, "runc", *words).splitlines()


def test_limits_are_in_the_cgroup(docker: "Docker") -> None:
    command = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max"
    command += " cpu/cpu.cfs_period_us cpu/cpu.cfs_quota_us"
    limits = ("--memory=64m", "--pids-limit=50", "--cpus=0.5")
    done = docker.run(*limits, "bb", "sh", "-c", command)
    assert done.stdout.split() == ["67108864", "50", "100000", "50000"]


@pytest.mark.parametrize("options", [[], ["--security-opt=no-new-privileges"]])
def test_dockers_own_seccomp_profile_is_on(docker: "Docker", options: list[str]) -> None:
    command = "grep ^Seccomp: /proc/self/status; unshare -m true"
    done = docker.run(*options, "--cap-add=SYS_PTRACE", "bb", "sh", "-c", command, code=1)
    assert done.stdout.split() == ["Seccomp:", "2"]
    assert "Operation not permitted" in done.stderr


def test_a_seccomp_profile_of_ones_own(docker: "Docker", tmp_path: Path) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18}],
    }
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    option = f"--security-opt=seccomp={tmp_path}/profile.json"
    done = docker.run(option, "bb", "mkdir", "/x", code=1)
    assert "Invalid cross-device link" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "stdout"),
    [
        (["true"], 0, ""),
        (["echo", "hello"], 0, "hello\n"),
        (["sh", "-c", "echo out; exit 7"], 7, "out\n"),
        (["sh", "-c", "sleep 60 & kill -KILL $!; wait $!"], 137, ""),
    ],
)
def test_output_and_exit_code(docker: "Docker", words: list[str], code: int, stdout: str) -> None:
    assert docker.run("bb", *words, code=code).stdout == stdout


def test_standard_input_and_error(docker: "Docker") -> None:
    command = "cat; echo err >/dev/stderr; readlink /proc/self/fd/0 | cut -c 1-4"
    done = docker.run("-i", "--user=1000", "bb", "sh", "-c", command, stdin="from here\n")
    assert done.stdout == "from here\npipe\n"
    assert done.stderr == "err\n"


@pytest.mark.parametrize(
    ("program", "code", "why"),
    [
        ("nosuch", 127, "executable file not found in $PATH"),
        ("/no/such", 127, "no such file or directory"),
        ("/etc/passwd", 126, "permission denied"),
        ("/etc", 126, "permission denied"),
    ],
)
def test_a_program_that_cannot_be_run(docker: "Docker", program: str, code: int, why: str) -> None:
    done = docker.run("bb", program, code=code)
    assert f'exec: "{program}": ' in done.stderr
    assert why in done.stderr
    # The same that it says, and in its state, when the container is made first.
    container = docker("create", "bb", program).stdout.strip()
    assert why in docker("start", container, code=1).stderr
    state = docker.state(container)
    assert (state["Status"], state["ExitCode"]) == ("created", code)
    assert why in state["Error"]


def test_what_is_not_built_is_said_by_name(docker: "Docker") -> None:
    container = docker("run", "--detach", "--network=none", "bb", "sleep", "60").stdout.strip()
    done = docker("run", "--rm", f"--network=container:{container}", "bb", "true", code=125)
    assert re.search(r"linux\.namespaces\[\d\]\.path: path is not built yet", done.stderr)


def in_terminal(docker: "Docker", command: str) -> Outer:
    """`docker run --rm -it` of a command of the shell's, in a terminal."""
    outer = Outer()
    words = docker.words("run", "--rm", "-it", "--network=none", "bb", "sh", "-c", command)
    outer.run([program("docker"), *map(str, words[1:])], env=docker.home.env)
    return outer


def test_a_terminal(docker: "Docker") -> None:
    command = "tty; grep ^Seccomp: /proc/1/status; echo type; read a"
    command += "; for i in $(seq 200); do stty size | grep ^44 && exit 9; sleep 0.05; done"
    outer = in_terminal(docker, f"exec 2>/dev/null; {command}")
    outer.expect(b"type")
    outer.type(b"something\r")
    for width in range(80, 180):
        # Again and again: this Docker looks at the size some time after the start.
        outer.resize(44, width)
        outer.read(0.1)
        if b"\r\n44 " in outer.shown:
            break
    outer.expect(b"\r\n44 ")
    assert outer.end() == 9
    assert outer.shown.startswith(b"/dev/pts/0\r\nSeccomp:\t2\r\n")


def test_a_terminals_keys_end_a_program(docker: "Docker") -> None:
    outer = in_terminal(docker, "echo type; cat; exit")
    outer.expect(b"type")
    outer.type(b"word\r")
    outer.expect(b"word\r\nword\r\n")
    outer.type(b"\x03")
    assert outer.end() == 130


LOOP = "trap 'echo bye; exit 3' TERM; echo up; for i in $(seq 600); do sleep 0.1; done"


def detached(docker: "Docker", *words: str) -> str:
    """Start a container that ends with 3 at a SIGTERM, and wait until it says so."""
    container = docker(
        "run", "--detach", "--network=none", *words, "bb", "sh", "-c", LOOP
    ).stdout.strip()
    eventually(lambda: docker("logs", container).stdout == "up\n", "its first words")
    return container


def test_stop_start_kill(docker: "Docker") -> None:
    container = detached(docker)
    assert docker("ps", "--format={{.State}}").stdout == "running\n"
    assert docker.state(container)["Running"] is True
    docker("stop", container)
    assert docker("logs", container).stdout == "up\nbye\n"
    state = docker.state(container)
    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 3, False)
    docker("start", container)
    eventually(lambda: docker("logs", container).stdout.endswith("bye\nup\n"), "its second words")
    docker("kill", "--signal=SIGWINCH", container)
    docker("kill", "--signal=TERM", container)
    assert docker("wait", container).stdout == "3\n"
    docker("restart", "--time=1", container)
    docker("kill", container)
    state = docker.state(container)
    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 137, False)
    docker("rm", container)
    assert docker("ps", "--all", "--quiet").stdout == ""


def test_stop_of_one_that_does_not_listen(docker: "Docker") -> None:
    container = docker("run", "--detach", "--network=none", "bb", "sleep", "60").stdout.strip()
    docker("stop", "--time=1", container)
    assert docker.state(container)["ExitCode"] == 137


def test_remove_by_force(docker: "Docker") -> None:
    container = detached(docker)
    assert "remove a running container" in docker("rm", container, code=1).stderr
    pid = docker.state(container)["Pid"]
    docker("rm", "--force", container)
    assert not Path(f"/proc/{pid}").exists()
    assert not [path for path in docker.home.cgroups() if path.name == container]


def test_the_end_of_a_container_is_seen(docker: "Docker") -> None:
    words = ("--detach", "--network=none", "--name=short", "bb", "sh", "-c", "sleep 0.3; exit 5")
    docker("run", *words)
    eventually(lambda: docker.state("short")["Status"] == "exited", "its end")
    shown = docker("ps", "--all", "--format={{.Names}} {{.Status}}").stdout
    assert shown.startswith("short Exited (5)")


def test_the_first_process_killed_from_outside(docker: "Docker") -> None:
    container = detached(docker)
    docker.home.run("kill", "-KILL", str(docker.state(container)["Pid"]))
    eventually(lambda: docker.state(container)["Status"] == "exited", "its end")
    assert docker.state(container)["ExitCode"] == 137


def test_out_of_memory(docker: "Docker") -> None:
    docker(
        "run",
        "--network=none",
        "--memory=20m",
        "--name=hungry",
        "bb",
        "tail",
        "/dev/zero",
        code=137,
    )
    state = docker.state("hungry")
    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 137, True)


def test_restarts_after_failures(docker: "Docker") -> None:
    docker("run", "-d", "--network=none", "--restart=on-failure:2", "--name=again", "bb", "false")

    def over() -> bool:
        count = json.loads(docker("inspect", "again").stdout)[0]["RestartCount"]
        return bool(count == 2 and docker.state("again")["Status"] == "exited")

    eventually(over, "two restarts")
    assert docker.state("again")["ExitCode"] == 1


def test_binds_and_volumes(docker: "Docker", tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside")
    command = "cat /bind/file; echo inside >/bind/new; echo more >/read-only/new; true"
    binds = (f"--volume={tmp_path}:/bind", f"--volume={tmp_path}:/read-only:ro")
    done = docker.run(*binds, "bb", "sh", "-c", command)
    assert done.stdout == "from outside"
    assert "Read-only file system" in done.stderr
    assert (tmp_path / "new").read_text() == "inside\n"
    volume = "--mount=type=volume,source=kept,destination=/kept"
    try:
        docker.run(volume, "bb", "sh", "-c", "echo kept >/kept/file")
        assert docker.run(volume, "bb", "cat", "/kept/file").stdout == "kept\n"
    finally:
        docker("volume", "rm", "kept")


def test_the_bridge(docker: "Docker") -> None:
    """Docker's prestart hook connects the new network namespace."""
    words = ("run", "--detach", "--publish=198.51.100.1:0:80", "bb", "sh", "-c")
    server = docker(*words, "echo hello >/index.html; exec httpd -f -h /").stdout.strip()
    address = "{{.NetworkSettings.IPAddress}}"
    address = docker("inspect", "--format", address, server).stdout.strip()
    assert address.startswith("198.51.100.")
    command = f"ping -c 1 -w 5 198.51.100.1 >/dev/null && wget -q -O - http://{address}/"
    assert docker("run", "--rm", "bb", "sh", "-c", command).stdout == "hello\n"


def test_build(docker: "Docker", tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM bb\nENV A=b\nRUN echo $A >/built\nUSER 1000\nRUN id -u >/tmp/user\nRUN exit 4\n"
    )
    docker.home.env["DOCKER_BUILDKIT"] = "0"  # the builder inside dockerd has a runc of its own
    failed = docker("build", "--network=none", "--tag=built", tmp_path, code=4)
    assert "'/bin/sh -c exit 4' returned a non-zero code: 4" in failed.stderr
    text = (tmp_path / "Dockerfile").read_text().replace("exit 4", "exit 0")
    (tmp_path / "Dockerfile").write_text(text)
    docker("build", "--network=none", "--tag=built", tmp_path)
    assert docker.run("built", "cat", "/built", "/tmp/user").stdout == "b\n1000\n"


def test_many_at_once(docker: "Docker") -> None:
    started = time.monotonic()
    containers = [detached(docker) for _ in range(5)]
    docker("kill", *containers)
    assert {docker.state(container)["ExitCode"] for container in containers} == {137}
    assert time.monotonic() - started < 30
