"""containerd's CRI, driven as a kubelet does it, with lcpy in the place of runc for its pods."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.engines.conftest import eventually
from tests.engines.cri import Container, Cri, Pod, cri_daemon, restart
from tests.engines.test_docker import PROBE, comparable

if TYPE_CHECKING:
    from tests.engines.conftest import Engine

MIB = 1 << 20
SLEEP = ("sleep", "600")


@pytest.fixture(scope="session")
def cri_session(busybox_root: Path) -> Iterator[Cri]:
    with cri_daemon(busybox_root) as cri:
        Pod(cri)
        for pod in cri.pods():
            cri.remove(pod)
        yield cri


@pytest.fixture
def cri(cri_session: Cri) -> "Iterator[Engine]":
    """containerd with its CRI; the test's pods are removed after it."""
    yield from cri_session.guarded()
    for log in cri_session.logs.iterdir():
        log.unlink()


def ended(container: Container) -> dict[str, Any]:
    """Wait for a container's end; what is said of it then."""
    eventually(lambda: container.status()["state"] == container.EXITED, "the end of a container")
    return container.status()


# ── what containers see ─────────────────────────────────────────────────────────────────────────

DEFAULT, UNCONFINED = {"profile_type": 0}, {"profile_type": 1}
MASKED = ["/proc/kcore", "/proc/keys", "/proc/scsi", "/sys/firmware"]


@pytest.mark.parametrize(
    "security",
    [
        {},
        {
            "run_as_user": {"value": 1000},
            "run_as_group": {"value": 1000},
            "supplemental_groups": [7, 2000, 3000],
            "no_new_privs": True,
            "seccomp": DEFAULT,
        },
        {"run_as_username": "user", "readonly_rootfs": True, "masked_paths": MASKED},
        {
            "capabilities": {
                "drop_capabilities": ["ALL"],
                "add_capabilities": ["NET_RAW", "NET_BIND_SERVICE"],
            },
            "readonly_paths": ["/proc/bus", "/proc/sys"],
            "seccomp": UNCONFINED,
        },
        {"capabilities": {"add_capabilities": ["ALL"], "drop_capabilities": ["SYS_RESOURCE"]}},
    ],
)
def test_a_container_sees_what_it_sees_with_runc(cri: Cri, security: dict[str, Any]) -> None:
    """By its first process and by a second one."""
    seen = []
    resources = {
        "cpu_period": 100000,
        "cpu_quota": 50000,
        "cpu_shares": 512,
        "memory_limit_in_bytes": 64 * MIB,
        "oom_score_adj": 900,
        "cpuset_cpus": "0",
    }
    linux = {"security_context": security, "resources": resources}
    for runtime in ("lcpy", "runc"):
        pod = Pod(cri, runtime=runtime, name=runtime)
        first = pod.run("sh", "-c", PROBE, linux=linux, working_dir="/tmp")
        assert ended(first)["exit_code"] == 0
        text = "".join(f"{text}\n" for _, text in first.logged())
        second = pod.run(*SLEEP, linux=linux, name="second")
        text += second.exec("sh", "-c", PROBE)
        # Asked for "rw" alone, runc 1.1 keeps what flags the pod's /dev/shm has; later ones do not.
        text = text.replace("/dev/shm rw,nosuid,nodev,noexec,relatime", "/dev/shm rw,relatime")
        seen.append(comparable(text))
        cri.remove(pod.id)
        first.log.unlink()
    assert seen[0] == seen[1]


def test_a_security_context(cri: Cri) -> None:
    """Every field for itself, as the container's own process finds it."""
    security = {
        "run_as_user": {"value": 1000},
        "run_as_group": {"value": 2000},
        "supplemental_groups": [7, 3000],
        "capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["CHOWN"]},
        "readonly_rootfs": True,
        "no_new_privs": True,
        "masked_paths": ["/proc/keys", "/etc/passwd"],
        "seccomp": DEFAULT,
    }
    container = Pod(cri).run(*SLEEP, linux={"security_context": security})
    status = dict(
        line.split(":\t", 1) for line in container.exec("cat", "/proc/1/status").splitlines()
    )
    assert status["Uid"].split() == ["1000"] * 4
    assert status["Gid"].split() == ["2000"] * 4
    assert set(status["Groups"].split()) >= {"7", "3000"}
    assert (status["CapBnd"], status["CapEff"]) == (f"{1:016x}", f"{0:016x}")
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "Read-only file system" in container.exec("touch", "/file", code=1)
    assert container.exec("cat", "/proc/keys", "/etc/passwd") == ""
    assert "Operation not permitted" in container.exec("unshare", "-U", "true", code=1)


def test_a_privileged_container(cri: Cri) -> None:
    pod = Pod(cri, privileged=True)
    container = pod.run(*SLEEP, linux={"security_context": {"privileged": True}})
    status = container.exec("grep", "-E", "^(CapEff|Seccomp):", "/proc/self/status").split()
    ours = re.search(r"^CapEff:\s(\w+)", Path("/proc/self/status").read_text(), re.M)
    assert ours
    assert status == ["CapEff:", ours[1], "Seccomp:", "0"]
    container.exec("mount", "-t", "tmpfs", "none", "/tmp")
    container.exec("test", "-w", "/proc/sys/kernel/domainname")
    assert container.exec("cat", "/sys/fs/cgroup/devices/devices.list") == "a *:* rwm\n"


# ── pods ────────────────────────────────────────────────────────────────────────────────────────


NAMES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def namespaces(container: Container) -> dict[str, str]:
    """The namespaces of a container's first process, by name."""
    words = ("sh", "-c", 'cd /proc/1/ns; for name; do readlink "$name"; done', "sh", *NAMES)
    return dict(zip(NAMES, container.exec(*words).split(), strict=True))


def hosts() -> dict[str, str]:
    """The host's namespaces."""
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMES}


def same(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {name for name in one if one[name] == other[name]}


def test_two_containers_of_a_pod(cri: Cri) -> None:
    """They share the network, IPC and the host name, and nothing more."""
    pod = Pod(cri, sysctls={"net.ipv4.ip_unprivileged_port_start": "7", "kernel.sem": "9 9 9 9"})
    one, two = (pod.run(*SLEEP, name=name) for name in ("one", "two"))
    assert same(namespaces(one), namespaces(two)) == {"cgroup", "ipc", "net", "user", "uts"}
    assert same(namespaces(one), hosts()) == {"cgroup", "user"}
    assert two.exec("hostname") == "probe\n"
    assert two.exec("ps", "-o", "pid,comm").split()[:4] == ["PID", "COMMAND", "1", "sleep"]
    assert two.exec("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "7\n"
    assert two.exec("cat", "/proc/sys/kernel/sem").split() == ["9"] * 4

    one.exec("sh", "-c", "echo hello >/dev/shm/file")
    assert two.exec("cat", "/dev/shm/file") == "hello\n"
    one.exec("sh", "-c", "echo there | nc -l -p 4000 >/dev/null 2>&1 &")
    script = (
        "i=0; until nc 127.0.0.1 4000 </dev/null || [ $i -gt 50 ]; do sleep 0.1; i=$((i + 1)); done"
    )
    assert "there\n" in two.exec("sh", "-c", script)
    assert "203.0.113.5/24" in two.exec("ip", "-4", "address", "show", "eth0")
    assert two.exec("cat", "/etc/resolv.conf").startswith(
        "search svc.example\nnameserver 192.0.2.53"
    )
    assert "probe" in two.exec("cat", "/etc/hostname")


def test_a_shared_pid_namespace(cri: Cri) -> None:
    """shareProcessNamespace: who is in a pod sees all that runs in it, and may signal it."""
    pod = Pod(cri, pid=Pod.POD)
    one = pod.run("sh", "-c", "echo $$; exec sleep 601", name="one")
    two = pod.run("sh", "-c", "exec sleep 602", name="two")
    assert "pid" in same(namespaces(one), namespaces(two))
    listed = two.exec("ps", "-o", "args").splitlines()
    assert {"sleep 601", "sleep 602", "ps -o args"} <= set(listed)
    eventually(one.logged, "its pid")
    pid = one.logged()[0][1]
    assert pid != "1"
    assert two.exec("ls", f"/proc/{pid}/root/bin/busybox")
    two.exec("kill", "-9", pid)
    assert ended(one)["exit_code"] == 137
    assert two.status()["state"] == two.RUNNING
    pod.stop()
    assert ended(two)["exit_code"] == 137


def test_a_container_for_debugging_another(cri: Cri) -> None:
    """An ephemeral one, in the pid namespace of its target."""
    pod = Pod(cri)
    target = pod.run("sleep", "601", name="target")
    option = {"pid": Pod.TARGET, "target_id": target.id}
    security = {"namespace_options": option, "capabilities": {"add_capabilities": ["SYS_PTRACE"]}}
    debugger = pod.run(*SLEEP, name="debugger", linux={"security_context": security})
    assert debugger.exec("cat", "/proc/1/cmdline") == "sleep\x00601\x00"
    assert debugger.exec("ls", "/proc/1/root/bin/busybox")
    assert "sleep 600" in target.exec("ps", "-o", "args")
    debugger.stop(0)
    assert target.exec("ps", "-o", "comm").split() == ["COMMAND", "sleep", "ps"]


def test_the_hosts_namespaces(cri: Cri) -> None:
    """hostNetwork, hostPID, hostIPC."""
    pod = Pod(cri, network=Pod.NODE, pid=Pod.NODE, ipc=Pod.NODE)
    names = "ipc mnt net pid uts"
    script = f"for name in {names}; do readlink /proc/self/ns/$name; done; hostname; sleep 600"
    container = pod.run("sh", "-c", script)
    eventually(lambda: len(container.logged()) == 6, "its words")
    seen = [text for _, text in container.logged()]
    theirs = hosts()
    assert [seen[0], *seen[2:5]] == [theirs[name] for name in ("ipc", "net", "pid", "uts")]
    assert seen[1] != theirs["mnt"]
    assert seen[5] == os.uname().nodename
    assert container.exec("test", "-d", f"/proc/{os.getpid()}") == ""


def test_a_pod_that_begins_anew(cri: Cri) -> None:
    """What a kubelet does with a pod whose sandbox has died."""
    pod = Pod(cri)
    container = pod.run(*SLEEP)
    assert pod.ready()
    pod.stop()
    pod.stop()  # as often as you like
    assert not pod.ready()
    assert ended(container)["exit_code"] == 137
    with pytest.raises(grpc.RpcError, match="no running task"):
        pod.run(*SLEEP, name="another")
    again = Pod(cri, attempt=1)
    assert ended(again.run("true", attempt=1))["exit_code"] == 0
    assert len(cri.pods()) == 2
    cri.remove(pod.id)
    with pytest.raises(grpc.RpcError, match="not found"):
        container.status()
    assert cri.pods() == [again.id]


# ── the life of a container ─────────────────────────────────────────────────────────────────────


def test_create_start_and_its_end(cri: Cri) -> None:
    pod = Pod(cri)
    script = 'echo "$A $0 $*"; echo no >&2; pwd; exit 7'
    container = pod.create(
        *("sh", "-c", script),
        args=["a", "b c"],
        envs=[{"key": "A", "value": "a value"}],
        working_dir="/made/by/containerd",
    )
    assert container.status()["state"] == container.CREATED
    container.start()
    status = ended(container)
    assert (status["exit_code"], status["reason"]) == (7, "Error")
    lines = container.logged()
    assert [text for stream, text in lines if stream == "stdout"] == [
        "a value a b c",
        "/made/by/containerd",
    ]
    assert [text for stream, text in lines if stream == "stderr"] == ["no"]
    first = container.log.read_text().splitlines()[0]
    assert re.match(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d) (stdout|stderr) F ", first
    )

    # Restarts are containers with the same name, and another attempt.
    again = pod.run("true", attempt=1)
    status = ended(again)
    assert (status["exit_code"], status["reason"]) == (0, "Completed")
    again.remove()
    container.remove()
    with pytest.raises(grpc.RpcError, match="not found"):
        container.status()


def test_a_terminal(cri: Cri) -> None:
    container = Pod(cri).run("sh", "-c", "tty; stat -c %a /dev/console", tty=True)
    assert ended(container)["exit_code"] == 0
    assert [text.rstrip("\r") for _, text in container.logged()] == ["/dev/pts/0", "620"]


def test_a_missing_program(cri: Cri) -> None:
    pod = Pod(cri)
    container = pod.create("nosuch")
    with pytest.raises(grpc.RpcError, match=r'exec: \\?"nosuch\\?": executable file not found'):
        container.start()
    status = container.status()
    assert (status["state"], status["exit_code"]) == (container.EXITED, 128)
    assert status["reason"] == "StartError"
    running = pod.run(*SLEEP, name="running")
    with pytest.raises(grpc.RpcError, match=r'exec: \\?"nosuch\\?": executable file not found'):
        running.exec("nosuch")


def test_stop_with_its_grace(cri: Cri) -> None:
    pod = Pod(cri)
    polite = pod.run("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done", name="polite")
    deaf = pod.run("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done", name="deaf")
    time.sleep(0.3)  # for their traps
    polite.stop(30)
    assert polite.status()["exit_code"] == 3
    began = time.monotonic()
    deaf.stop(1)
    assert time.monotonic() - began >= 1
    assert deaf.status()["exit_code"] == 137
    deaf.stop(1)


def test_probes(cri: Cri) -> None:
    """Commands with a time, of which the last ends nothing but the probe, and lifecycle hooks."""
    container = Pod(cri).run(*SLEEP)
    container.exec("sh", "-c", "echo postStart >/tmp/hook")  # as a kubelet does it
    assert container.exec("cat", "/tmp/hook") == "postStart\n"
    container.exec("test", "-e", "/tmp/ready", code=1)
    container.exec("touch", "/tmp/ready")
    container.exec("test", "-e", "/tmp/ready", seconds=5)
    with pytest.raises(grpc.RpcError) as caught:
        container.exec("sleep", "444", seconds=1)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert container.status()["state"] == container.RUNNING
    assert container.exec("ps", "-o", "args").split("\n")[1].strip() == "sleep 600"


def test_out_of_memory(cri: Cri) -> None:
    linux = {"resources": {"memory_limit_in_bytes": 20 * MIB}}
    pod = Pod(cri)
    hungry = pod.run("sh", "-c", "tail /dev/zero", linux=linux)
    status = ended(hungry)
    assert (status["exit_code"], status["reason"]) == (137, "OOMKilled")
    again = pod.run(*SLEEP, attempt=1, linux=linux)
    assert again.status()["state"] == again.RUNNING


def test_resources_and_their_update(cri: Cri) -> None:
    resources = {"memory_limit_in_bytes": 64 * MIB, "cpu_shares": 512, "cpuset_cpus": "0"}
    container = Pod(cri).run(*SLEEP, linux={"resources": resources})

    def seen(*files: str) -> list[str]:
        return container.exec("cat", *(f"/sys/fs/cgroup/{file}" for file in files)).split()

    files = ("memory/memory.limit_in_bytes", "cpu/cpu.shares", "cpuset/cpuset.cpus")
    assert seen(*files) == [f"{64 * MIB}", "512", "0"]
    container.update(
        memory_limit_in_bytes=32 * MIB,
        cpu_shares=256,
        cpuset_cpus="0-1",
        cpu_period=100000,
        cpu_quota=20000,
    )
    assert seen(*files, "cpu/cpu.cfs_quota_us") == [f"{32 * MIB}", "256", "0-1", "20000"]
    container.exec("dd", "if=/dev/zero", "of=/dev/shm/file", "bs=1M", "count=8")
    stats = container.stats()
    assert 8 * MIB < stats["memory"]["working_set_bytes"]["value"] < 32 * MIB
    assert stats["cpu"]["usage_core_nano_seconds"]["value"] > 0


def test_mounts_and_devices(cri: Cri, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file\n")
    (tmp_path / "later").mkdir()
    mounts = [
        {"container_path": "/volume", "host_path": str(tmp_path)},
        {"container_path": "/fixed", "host_path": str(tmp_path), "readonly": True},
        {"container_path": "/etc/name", "host_path": f"{tmp_path}/file"},
    ]
    devices = [{"container_path": "/dev/other", "host_path": "/dev/fuse", "permissions": "r"}]
    container = Pod(cri).run(*SLEEP, mounts=mounts, devices=devices)
    container.exec("sh", "-c", "cat /etc/name >/volume/copy")
    assert (tmp_path / "copy").read_text() == "a file\n"
    assert "Read-only file system" in container.exec("touch", "/fixed/x", code=1)
    container.exec("sh", "-c", "true </dev/other")
    assert "Operation not permitted" in container.exec("sh", "-c", "true >/dev/other", code=1)


def test_mount_propagation(cri: Cri, tmp_path: Path) -> None:
    """HostToContainer: a mount of the host's arrives. Bidirectional: the container's does, too."""
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    try:
        subprocess.run(["mount", "--make-shared", tmp_path], check=True)
        for name in ("host", "container"):
            (tmp_path / name).mkdir()
        mount = {"container_path": "/volume", "host_path": str(tmp_path)}
        pod = Pod(cri, privileged=True)
        private, receiver, both = (
            pod.run(
                *SLEEP,
                name=f"propagation{mode}",
                mounts=[{**mount, "propagation": mode}],
                linux={"security_context": {"privileged": True}},
            )
            for mode in range(3)
        )
        subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "host"], check=True)
        both.exec("mount", "-t", "tmpfs", "none", "/volume/container")
        for name in ("host", "container"):
            for container, arrives in ((private, False), (receiver, True), (both, True)):
                command = ("grep", "-c", f" /volume/{name} ", "/proc/self/mountinfo")
                assert container.exec(*command, code=0 if arrives else 1) == f"{arrives:d}\n"
        receiver.exec("umount", "/volume/container")
        assert os.path.ismount(tmp_path / "container")
        cri.remove(pod.id)
    finally:
        subprocess.run(["umount", "-R", tmp_path], check=True)


# ── the daemon ──────────────────────────────────────────────────────────────────────────────────


def test_the_daemon_dies_and_comes_back(cri: Cri) -> None:
    """What runs goes on, and what ended meanwhile is known."""
    pod = Pod(cri)
    container = pod.run(*SLEEP)
    short = pod.run("sh", "-c", "sleep 0.1; exit 5", name="short")
    restart(cri)
    assert pod.ready()
    assert container.exec("echo", "still here") == "still here\n"
    assert ended(short)["exit_code"] == 5
    container.stop(0)
    assert container.status()["exit_code"] == 137
