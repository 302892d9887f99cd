"""Docker, unmodified, with lcpy as its default runtime."""

import json
import os
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


def probe(docker: "Docker", runtime: str, *options: str) -> list[str]:
    """What a container that a runtime started sees, line by line."""
    words = (f"--runtime={runtime}", "--hostname=probe", *options, "bb", "sh", "-c", PROBE)
    return comparable(docker.run(*words).stdout)


def comparable(seen: str) -> list[str]:
    """The lines of what a probe saw, without what differs on purpose."""
    # Docker wants this mount read-only: runc 1.1 leaves it writable.
    seen = re.sub(r"(?m)^/sys/fs/cgroup rw", "/sys/fs/cgroup ro", seen)
    # In a user namespace runc 1.1 gives it the root user, and a group that is not mapped.
    seen = re.sub(r"(?m)root     65534( +40 mqueue)$", r"root     root \1", seen)
    assert seen.count("\n") > 60
    return seen.splitlines()


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
        "--cpu-period=50000 --cpu-quota=20000 --cpuset-mems=0 --device-cgroup-rule=c@42:*@rwm",
        "--ulimit=nofile=100:200 --ulimit=core=0 --oom-score-adj=100 --shm-size=2m",
        "--sysctl=net.ipv4.ip_unprivileged_port_start=5 --domainname=domain",
        "--cgroupns=private",
        "--ipc=host --pid=host",
        "--init --mount=type=volume,destination=/volume --volume=/usr:/host:ro",
    ],
)
def test_a_container_sees_what_it_sees_with_runc(docker: "Docker", options: str) -> None:
    words = [word.replace("@", " ") for word in options.split()]
    assert probe(docker, "lcpy", *words) == probe(docker, "runc", *words)


@pytest.mark.parametrize(
    ("run", "execute"),
    [
        ("", ""),
        ("--user=1000 --workdir=/tmp", ""),
        ("", "--user=user:extra --workdir=/tmp --env=A=b"),
        ("--cap-drop=ALL --security-opt=no-new-privileges --pids-limit=20", "--user=1000:7"),
        ("--read-only --cgroupns=private --memory=32m --ulimit=nofile=100:200", "--user=3000"),
    ],
)
def test_a_second_process_sees_what_it_sees_with_runc(
    docker: "Docker", run: str, execute: str
) -> None:
    seen = []
    for runtime in ("lcpy", "runc"):
        container = docker.sleeper(f"--runtime={runtime}", "--hostname=probe", *run.split())
        done = docker("exec", *execute.split(), container, "sh", "-c", PROBE)
        seen.append(comparable(done.stdout))
        docker("rm", "--force", container)
    assert seen[0] == seen[1]


HOST = "cgroup time time_for_children user"  # what Docker's containers share with it here


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        ("--network=host", f"{HOST} net"),
        ("--pid=host", f"{HOST} pid pid_for_children"),
        (
            "--network=host --pid=host --ipc=host --uts=host",
            f"{HOST} net pid pid_for_children ipc uts",
        ),
        ("--cgroupns=private", "time time_for_children user"),
    ],
)
def test_namespaces_of_the_host(docker: "Docker", options: str, shared: str) -> None:
    seen = namespaces(docker, *options.split())
    host = {name: os.readlink(f"/proc/self/ns/{name}") for name in seen}
    assert {name for name in seen if seen[name] == host[name]} == set(shared.split())


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        ("--network=container:{}", "net"),
        ("--pid=container:{}", "pid pid_for_children"),
        ("--ipc=container:{}", "ipc"),
        (
            "--network=container:{0} --pid=container:{0} --ipc=container:{0} --user=1000",
            "net pid pid_for_children ipc",
        ),
    ],
)
def test_namespaces_of_another_container(docker: "Docker", options: str, shared: str) -> None:
    other = docker.sleeper("--ipc=shareable", "--hostname=other")
    pid = docker.state(other)["Pid"]
    seen = namespaces(docker, *options.format(other).split())
    theirs = {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in seen}
    wanted = set(f"{HOST} {shared}".split())
    assert {name for name in seen if seen[name] == theirs[name]} == wanted


def namespaces(docker: "Docker", *options: str) -> dict[str, str]:
    """The namespaces of a container, without a network where the options name none."""
    words = options if any("network" in word for word in options) else ("--network=none", *options)
    command = 'cd /proc/self/ns; for name in *; do echo $name "$(readlink $name)"; done'
    done = docker("run", "--rm", *words, "bb", "sh", "-c", command)
    return dict(line.split() for line in done.stdout.splitlines())


def test_the_life_of_one_that_joins(docker: "Docker") -> None:
    """Its first process is another container's second, and ends without it."""
    other = docker.sleeper()
    words = ("--pid", f"container:{other}", "--network", f"container:{other}")
    command = "ps -o pid,comm; " + LOOP
    container = docker("run", "-d", *words, "bb", "sh", "-c", command).stdout.strip()
    eventually(lambda: docker("logs", container).stdout.endswith("up\n"), "its first words")
    assert docker("logs", container).stdout.splitlines()[1].split() == ["1", "sleep"]
    seen = docker("exec", container, "ps", "-o", "comm").stdout.split()
    assert seen[:3] == ["COMMAND", "sleep", "sh"]
    assert seen[-1] == "ps"
    docker("stop", container)
    assert docker.state(container)["ExitCode"] == 3
    assert docker.state(other)["Status"] == "running"
    docker("start", container)
    docker("kill", other)  # the namespace's first process takes all others along
    assert docker("wait", container).stdout == "137\n"


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


def in_terminal(docker: "Docker", container: str | None, command: str) -> Outer:
    """`docker run --rm -it`, or `docker exec -it`, of a command of the shell's, in a terminal."""
    outer = Outer()
    if container is None:
        words = docker.words("run", "--rm", "-it", "--network=none", "bb", "sh", "-c", command)
    else:
        words = docker.words("exec", "-it", container, "sh", "-c", command)
    outer.run([program("docker"), *map(str, words[1:])], env=docker.home.env)
    return outer


@pytest.mark.parametrize("second", [False, True])
def test_a_terminal(docker: "Docker", second: bool) -> None:
    container = docker.sleeper("--user=1000") if second else None
    command = "tty; grep ^Seccomp: /proc/self/status; echo type; read a"
    command += "; for i in $(seq 200); do stty size | grep ^44 && exit 9; sleep 0.05; done"
    outer = in_terminal(docker, container, f"exec 2>/dev/null; {command}")
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
    outer = in_terminal(docker, None, "echo type; cat; exit")
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


@pytest.mark.parametrize(
    ("words", "code", "stdout", "stderr"),
    [
        (["echo", "hello"], 0, "hello\n", ""),
        (["sh", "-c", "echo out; echo err >&2; exit 7"], 7, "out\n", "err\n"),
        (["sh", "-c", "kill -KILL $$"], 137, "", ""),
        (["nosuch"], 126, "", 'exec: "nosuch": executable file not found in $PATH'),
        (["/no/such"], 126, "", 'exec: "/no/such": stat /no/such: no such file or directory'),
        (["/etc/passwd"], 126, "", 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_exec(docker: "Docker", words: list[str], code: int, stdout: str, stderr: str) -> None:
    container = docker.sleeper()
    done = docker("exec", container, *words, code=code)
    # This Docker says some of what the runtime said on standard output.
    assert done.stdout.startswith(stdout)
    assert stderr in done.stderr + done.stdout
    assert docker("top", container, "-o", "pid,comm").stdout.count("\n") == 2


def test_exec_with_standard_input_and_detached(docker: "Docker") -> None:
    container = docker.sleeper()
    done = docker("exec", "-i", container, "sh", "-c", "cat; echo err >&2", stdin="from here\n")
    assert (done.stdout, done.stderr) == ("from here\n", "err\n")
    docker("exec", "--detach", container, "sh", "-c", "echo $$ >/tmp/pid; exec sleep 555")
    top = docker("top", container, "-o", "pid,args")
    assert "sleep 555" in top.stdout
    docker("exec", container, "sh", "-c", "kill $(cat /tmp/pid)")
    eventually(lambda: "555" not in docker("top", container, "-o", "pid,args").stdout, "its end")
    assert docker("exec", "--workdir=/none", container, "pwd", code=126).stdout.count(
        'chdir to cwd ("/none")'
    )


def test_exec_where_the_pids_limit_is_reached(docker: "Docker") -> None:
    """Whoever comes from outside is let in, and may not fork."""
    container = docker.sleeper("--pids-limit=1")
    done = docker("exec", container, "sh", "-c", "echo in; ls; echo not here", code=2)
    assert done.stdout == "in\n"
    assert "can't fork" in done.stderr


def test_exec_with_all_capabilities(docker: "Docker") -> None:
    """`docker exec --privileged` wants all; those that the daemon has not are said by name."""
    container = docker.sleeper()
    status = Path("/proc/self/status").read_text()
    bounding = int(re.search(r"^CapBnd:\s*(\w+)$", status, re.M)[1], 16)  # type: ignore[index]
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    words = ("exec", "--privileged", container, "grep", "^CapEff:", "/proc/self/status")
    if bounding == (1 << last + 1) - 1:
        assert int(docker(*words).stdout.split()[1], 16) == bounding
    else:
        assert "not held by the runtime itself" in docker(*words, code=126).stdout


def test_pause(docker: "Docker") -> None:
    command = "while sleep 0.05; do echo tick; done"
    words = ("--detach", "--network=none", "bb", "sh", "-c", command)
    container = docker("run", *words).stdout.strip()

    def ticks() -> int:
        return docker("logs", container).stdout.count("tick")

    eventually(ticks, "its first words")
    docker("pause", container)
    assert docker.state(container)["Status"] == "paused"
    time.sleep(0.5)  # for what was on its way to the log
    before = ticks()
    time.sleep(0.5)
    assert ticks() == before
    assert "is paused" in docker("exec", container, "true", code=1).stderr
    docker("unpause", container)
    assert docker.state(container)["Status"] == "running"
    eventually(lambda: ticks() > before, "its next words")
    docker("pause", container)
    docker("kill", container)
    eventually(lambda: docker.state(container)["Status"] == "exited", "its end")


def test_update_and_stats(docker: "Docker") -> None:
    container = docker.sleeper("--memory=64m", "--memory-swap=64m")
    limits = "--memory=32m --memory-swap=48m --memory-reservation=16m --cpu-shares=512 --cpus=0.5"
    docker("update", *limits.split(), "--cpuset-cpus=0", "--pids-limit=33", container)
    files = (
        "memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes"
        " memory/memory.soft_limit_in_bytes cpu/cpu.shares cpu/cpu.cfs_quota_us cpuset/cpuset.cpus"
        " pids/pids.max"
    )
    seen = docker("exec", "--workdir=/sys/fs/cgroup", container, "cat", *files.split())
    mega = 1 << 20
    wanted = [32 * mega, 48 * mega, 16 * mega, 512, 50000, 0, 33]
    assert seen.stdout.split() == list(map(str, wanted))
    shown = docker("stats", "--no-stream", "--format={{.MemUsage}} {{.PIDs}}", container)
    assert re.fullmatch(r"[\d.]+[kKM]iB / 32MiB 1\n", shown.stdout)
    # What the kernel refuses leaves all as it was.
    docker("update", "--memory=16m", "--memory-swap=8m", container, code=1)
    again = docker("exec", "--workdir=/sys/fs/cgroup", container, "cat", *files.split())
    assert again.stdout == seen.stdout


def test_health_checks(docker: "Docker") -> None:
    words = ("--health-cmd=test -e /tmp/ok", "--health-interval=300ms", "--health-retries=1")
    container = docker.sleeper(*words, "--health-timeout=20s")

    def health() -> str:
        return str(docker.state(container)["Health"]["Status"])

    eventually(lambda: health() == "unhealthy", "a check that fails")
    docker("exec", container, "touch", "/tmp/ok")
    eventually(lambda: health() == "healthy", "a check that succeeds")


def test_signals_by_name_and_number(docker: "Docker") -> None:
    command = "trap 'echo hup' HUP; trap 'echo forty' 40; " + LOOP
    container = docker("run", "-d", "--network=none", "bb", "sh", "-c", command).stdout.strip()
    eventually(lambda: docker("logs", container).stdout == "up\n", "its first words")
    for signal, word in (("SIGHUP", "hup"), ("40", "forty")):
        docker("kill", f"--signal={signal}", container)
        eventually(lambda: docker("logs", container).stdout.endswith(f"{word}\n"), word)  # noqa: B023


def test_copies_in_and_out(docker: "Docker", tmp_path: Path) -> None:
    container = docker.sleeper()
    (tmp_path / "in").write_text("from outside")
    docker("cp", tmp_path / "in", f"{container}:/tmp/in")
    docker("exec", container, "sh", "-c", "tr a-z A-Z </tmp/in >/tmp/out")
    docker("cp", f"{container}:/tmp/out", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "FROM OUTSIDE"


def test_limits_of_a_device(docker: "Docker") -> None:
    devices = Path("/sys/block").iterdir()
    name = next(path.name for path in devices if (path / "device").exists())
    number = Path(f"/sys/block/{name}/dev").read_text().strip()
    throttle = f"--device-read-bps=/dev/{name}:1mb --device-write-iops=/dev/{name}:99"
    command = "cd /sys/fs/cgroup/blkio; cat *throttle.read_bps_device *throttle.write_iops_device"
    done = docker.run(*throttle.split(), "bb", "sh", "-c", command)
    assert done.stdout == f"{number} 1048576\n{number} 99\n"


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


# --- a user namespace: dockerd --userns-remap ------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--user=user:extra --workdir=/tmp --read-only --tmpfs=/tmp",
        "--cap-drop=ALL --security-opt=no-new-privileges --cgroupns=private --memory=32m",
    ],
)
def test_in_a_user_namespace_as_with_runc(remapped: "Docker", options: str) -> None:
    words = options.split()
    assert probe(remapped, "lcpy", *words) == probe(remapped, "runc", *words)


def test_the_life_in_a_user_namespace(remapped: "Docker") -> None:
    container = remapped.sleeper("--volume=kept:/kept")
    try:
        pid = remapped.state(container)["Pid"]
        maps = Path(f"/proc/{pid}/uid_map").read_text().split()
        assert maps == ["0", "100000", "65536"]
        assert Path(f"/proc/{pid}").stat().st_uid == 100000
        script = "id -u; cat /proc/self/uid_map; touch /kept/file /tmp/file; chown 1000 /tmp/file"
        done = remapped("exec", container, "sh", "-c", script)
        assert done.stdout.split() == ["0", *maps]
        words = ("exec", "--user=1000", container, "sh", "-c")
        done = remapped(
            *words, "id -u; echo >/tmp/file; ls -n /kept/file; echo >/kept/file", code=1
        )
        assert done.stdout.split()[0] == "1000"
        assert done.stdout.split()[3] == "0"
        outer = Outer()
        argv = remapped.words("exec", "-it", container, "sh", "-c", "tty; exit 5")
        outer.run([program("docker"), *map(str, argv[1:])], env=remapped.home.env)
        assert outer.end() == 5
        assert b"/dev/pts/0" in outer.shown
        joined = ("--network", f"container:{container}", "--pid", f"container:{container}")
        done = remapped("run", "--rm", *joined, "bb", "ps", "-o", "pid,comm")
        assert done.stdout.split()[2:4] == ["1", "sleep"]
        remapped("pause", container)
        remapped("unpause", container)
        remapped("stop", "--time=0", container)
        assert remapped.state(container)["ExitCode"] == 137
    finally:
        remapped("rm", "--force", container)
        remapped("volume", "rm", "kept")
