"""Containers that join the namespaces of another one, as those of a pod do, pid among them."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import PR_CAPBSET_DROP
from libcontainer_py.security import capabilities
from tests.conftest import CHECKOUT, HERE, PATIENCE

if TYPE_CHECKING:
    from tests.conftest import Config
    from tests.spec.conftest import Box, Change

SHARED = ("pid", "ipc", "uts", "network")
FILES = {"network": "net", "mount": "mnt"}


class Pod:
    """A container with namespaces that others join, like Kubernetes' "pause"."""

    def __init__(self, box: "Box") -> None:
        self.box = box
        self.id = box.lcpy.new_id()

        def change(config: "Config") -> None:
            config["hostname"] = "pod"
            config["linux"]["sysctl"] = {"kernel.msgmax": "4321", "fs.mqueue.msg_max": "9"}

        # It reaps what is left to it, as "pause" does.
        bundle = box.bundle(["sh", "-c", "while true; do wait; sleep 0.1; done"], change)
        box.lcpy("run", "--detach", "--bundle", bundle, self.id, check=True)
        self.pid: int = box.lcpy.state(self.id)["pid"]

    def ns(self, kind: str) -> str:
        return f"/proc/{self.pid}/ns/{FILES.get(kind, kind)}"

    def joins(self, *kinds: str, then: "Change | None" = None) -> "Change":
        """Join these (else what a pod shares) instead of having them new."""

        def change(config: "Config") -> None:
            linux = config["linux"]
            wanted = kinds or SHARED
            linux["namespaces"] = [
                each for each in linux["namespaces"] if each["type"] not in wanted
            ] + [{"type": kind, "path": self.ns(kind)} for kind in wanted]
            if "uts" in wanted:
                config.pop("hostname")
            if then is not None:
                then(config)

        return change

    def refused(self, change: "Change", *args: str, **options: Any) -> str:
        """The one line of a container that can't be; and nothing of it is left, here or there."""
        before = set(_without_sleep(self.numbers()))
        container = self.box.lcpy.new_id()
        bundle = self.box.bundle(args or ("true",), change)
        done = self.box.lcpy("create", "--bundle", bundle, container, **options)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.count("\n") == 1, done.stderr
        end = time.monotonic() + 2  # the pod's own sleep is one after the other
        while left := set(_without_sleep(self.numbers())) - before:
            assert time.monotonic() < end, left
            time.sleep(0.02)
        assert container not in os.listdir(self.box.lcpy.root)
        assert not [path for path, _, _ in os.walk("/sys/fs/cgroup") if container in path]
        return done.stderr

    def numbers(self) -> dict[int, int]:
        """All processes in its pid namespace: their numbers in there, and the host's."""
        try:
            inode = os.stat(self.ns("pid")).st_ino
        except FileNotFoundError:
            return {}
        found = {}
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError, IndexError):
                if os.stat(f"/proc/{name}/ns/pid").st_ino == inode:
                    found[inside(int(name))] = int(name)
        return found

    def detached(self, *args: str, then: "Change | None" = None, **options: Any) -> str:
        """Start a container of the pod; returns its id."""
        container = self.box.lcpy.new_id()
        bundle = self.box.bundle(args, self.joins(then=then), **options)
        self.box.lcpy("run", "--detach", "--bundle", bundle, container, check=True)
        return container


def inside(pid: int) -> int:
    """The number of a process in its own pid namespace."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    raise ProcessLookupError(pid)


@pytest.fixture
def pod(box: "Box") -> Iterator[Pod]:
    """A pod; nothing but its own process is in its pid namespace when it ends."""
    made = Pod(box)
    yield made
    for container in sorted(os.listdir(box.lcpy.root)):
        if container not in (made.id, "compiled filters"):
            box.lcpy("delete", "--force", container)
    end = time.monotonic() + 5
    while (left := _without_sleep(made.numbers())) not in ([1], []) and time.monotonic() < end:
        _reap()
        time.sleep(0.05)
    box.lcpy("delete", "--force", made.id)
    assert left in ([1], [])  # [] where it has ended


def _without_sleep(numbers: dict[int, int]) -> list[int]:
    return [
        number
        for number, pid in sorted(numbers.items())
        if number == 1 or b"sleep\x000.1" not in _read(f"/proc/{pid}/cmdline")
    ]


def _read(path: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(path).read_bytes()
    return b"sleep\x000.1"


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# --- two that share ---------------------------------------------------------------------------


def test_they_are_in_the_same_namespaces(pod: Pod) -> None:
    script = "cd /proc/self/ns; for n in pid ipc uts net mnt; do readlink $n; done; hostname"
    *links, name = pod.box.lines(script, change=pod.joins())
    hosts = [os.readlink(pod.ns(kind)) for kind in (*SHARED, "mount")]
    order = [hosts[0], hosts[1], hosts[2], hosts[3]]
    assert links[:4] == order
    assert links[4] != hosts[4]
    assert name == "pod"


def test_they_see_each_other_s_processes(pod: Pod) -> None:
    """Both ways; and neither sees the host's."""
    first = pod.detached("sleep", "1001")
    second = pod.detached("sleep", "1002")
    said = []
    for container in (pod.id, first, second):
        listed = pod.box.lcpy("exec", container, "ps", "-o", "pid,args", check=True).stdout
        lines = [line.split(None, 1) for line in listed.splitlines()[1:]]
        # The pod's own sleep comes and goes, in its first moment by another name.
        seen = {args.strip() for _, args in lines if not args.strip().endswith("sleep 0.1")}
        said.append(seen - {"ps -o pid,args"})
    assert said[0] == said[1] == said[2]
    assert {"sleep 1001", "sleep 1002"} <= said[0]
    assert len(said[0]) == 3


def test_they_send_each_other_signals(pod: Pod) -> None:
    first = pod.detached("sleep", "1001")
    number = inside(pod.box.lcpy.state(first)["pid"])
    assert pod.box.sh(f"kill -9 {number} && echo killed", change=pod.joins()) == "killed\n"
    assert pod.box.lcpy.wait_for(first, "stopped")["pid"] == 0


def test_they_share_ipc(pod: Pod) -> None:
    """SysV's limits, and the directory of POSIX message queues (mq_overview(7))."""
    first = pod.detached(
        "sh", "-c", "touch /dev/mqueue/queue && echo 4 >/dev/shm/own; exec sleep 100"
    )
    limit = "cat /proc/sys/kernel/msgmax /proc/sys/fs/mqueue/msg_max; ls /dev/mqueue /dev/shm"
    end = time.monotonic() + 10
    while "queue" not in (said := pod.box.lines(limit, change=pod.joins())):
        assert time.monotonic() < end, said
    assert said == ["4321", "9", "/dev/mqueue:", "queue", "", "/dev/shm:"]
    assert pod.box.lcpy("exec", pod.id, "ls", "/dev/mqueue", check=True).stdout == "queue\n"
    pod.box.lcpy("delete", "--force", first, check=True)


def test_they_share_sysv_queues(pod: Pod) -> None:
    """One makes a shared segment by nsenter(1)'s hand; the container lists it."""
    made = subprocess.run(
        ["nsenter", "-t", str(pod.pid), "-i", "ipcmk", "-M", "4096"],
        capture_output=True,
        text=True,
        check=True,
    )
    number = made.stdout.split()[-1]
    listed = pod.box.lines("cat /proc/sysvipc/shm", change=pod.joins())
    assert [line.split()[1] for line in listed[1:]] == [number]


def test_they_share_a_network(pod: Pod) -> None:
    """What listens in one answers in the other, by loopback and by abstract sockets' names."""
    first = pod.detached("sh", "-c", "while true; do echo answered | nc -l -p 4567; done")
    said = ""
    end = time.monotonic() + 10
    while said != "answered\n":
        assert time.monotonic() < end
        done = pod.box.run("nc", "-w", "1", "127.0.0.1", "4567", change=pod.joins())
        said = done.stdout
    links = pod.box.sh("ip -o link", change=pod.joins())
    assert len(links.splitlines()) == 1
    assert "lo" in links
    pod.box.lcpy("delete", "--force", first, check=True)


def test_a_host_name_is_for_all_in_it(pod: Pod) -> None:
    """A config.json may name it too: then it changes the namespace that it joins."""

    def name(config: "Config") -> None:
        config["hostname"] = "renamed"

    assert pod.box.sh("hostname", change=pod.joins(then=name)) == "renamed\n"
    assert pod.box.lcpy("exec", pod.id, "hostname", check=True).stdout == "renamed\n"
    assert os.uname().nodename != "renamed"


def test_an_interface_of_a_joined_network(pod: Pod) -> None:
    """Made from outside, as a CNI plugin does."""
    enter = ["nsenter", "-t", str(pod.pid), "-n"]
    words = ["ip", "link", "add", "eth9", "type", "veth", "peer", "name", "peer9"]
    subprocess.run([*enter, *words], check=True)
    links = pod.box.sh("ip -o link", change=pod.joins())
    assert "eth9" in links
    assert len(links.splitlines()) == 3


def test_all_of_another_container(pod: Pod) -> None:
    """With its mount namespace: the root is looked up there, where the host's is gone."""
    error = pod.refused(pod.joins(*SHARED, "mount"))
    assert "no such file" in error


# --- the process in the joined pid namespace --------------------------------------------------


def test_its_state_and_pid_file(pod: Pod, tmp_path: Path) -> None:
    """All name the process that is in there, from `create` on."""
    lcpy = pod.box.lcpy
    container = lcpy.new_id()
    bundle = pod.box.bundle(["sleep", "1001"], pod.joins())
    words = ["--pid-file", str(tmp_path / "pid"), "--bundle", str(bundle), container]
    lcpy("create", *words, check=True)
    pid = lcpy.state(container)["pid"]
    assert int((tmp_path / "pid").read_text()) == pid
    assert pod.numbers()[inside(pid)] == pid
    assert inside(pid) != 1
    assert os.readlink(f"/proc/{pid}/exe") == "/memfd:lcpy:finish (deleted)"
    lcpy("start", container, check=True)
    lcpy.wait_for(container, "running")
    assert lcpy.state(container)["pid"] == pid
    end = time.monotonic() + 5
    while not os.readlink(f"/proc/{pid}/exe").endswith("busybox"):
        assert time.monotonic() < end
    lcpy("kill", container, "KILL", check=True)
    lcpy.wait_for(container, "stopped")
    lcpy("delete", container, check=True)
    assert "sleep" in lcpy("exec", pod.id, "ps", check=True).stdout  # the pod lives


def test_it_leads_a_session_and_its_environment_is_clean(pod: Pod) -> None:
    """Signals, descriptors, capabilities and groups as without a pod."""
    script = (
        "cat /proc/$$/status | grep -E '^(Sig(Ign|Blk|Cgt)|Cap|NoNew|NSsid|NSpgid|NSpid|Groups)';"
        " ls /proc/$$/fd >/dev/shm/fds; tr '\\n' ' ' </dev/shm/fds"
    )
    apart = pod.box.lines(script)
    together = pod.box.lines(script, change=pod.joins())

    def fields(lines: list[str]) -> dict[str, list[str]]:
        return {line.split(":")[0]: line.split()[1:] for line in lines if ":" in line}

    ours, theirs = fields(together), fields(apart)
    number = ours.pop("NSpid")
    assert ours.pop("NSsid") == ours.pop("NSpgid") == number != ["1"]
    for name in ("NSpid", "NSsid", "NSpgid"):
        theirs.pop(name)
    assert ours == theirs
    assert together[-1] == apart[-1]


def test_orphans_are_the_pod_s(pod: Pod) -> None:
    """What is left by its parent goes to the first process of the pid namespace."""
    script = "child=$(sleep 1003 >/dev/null & echo $!); sleep 0.2; grep ^PPid: /proc/$child/status"
    (parent,) = pod.box.lines(script, change=pod.joins())
    assert parent.split() == ["PPid:", "1"]


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_with_a_filter(pod: Pod, no_new_privs: bool) -> None:
    def filtered(config: "Config") -> None:
        config["process"]["noNewPrivileges"] = no_new_privs
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
            ],
        }

    script = "mkdir /dev/shm/x 2>&1; grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status"
    said = pod.box.lines(script, change=pod.joins(then=filtered))
    assert "Function not implemented" in said[0]
    assert said[1:] == [f"NoNewPrivs:\t{int(no_new_privs)}", "Seccomp:\t2"]


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_with_a_filter_that_denies_clone(pod: Pod, no_new_privs: bool) -> None:
    """The documented exception: without no_new_privs it is loaded before the list enters."""

    def filtered(config: "Config") -> None:
        config["process"]["noNewPrivileges"] = no_new_privs
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["clone", "clone3", "fork"], "action": "SCMP_ACT_ERRNO"}],
        }

    if no_new_privs:
        assert pod.box.sh("echo said", change=pod.joins(then=filtered)) == "said\n"
    else:
        error = pod.refused(pod.joins(then=filtered))
        assert "enter the pid namespace" in error


def pids(limit: int) -> "Change":
    return lambda config: config["linux"].update(resources={"pids": {"limit": limit}})


@pytest.mark.parametrize("limit", [2, 3])
def test_with_a_limit_of_processes(pod: Pod, limit: int) -> None:
    """It is for the container's own, and not for what has brought it there."""
    script = "for n in 1 2 3; do sleep 3 2>&1 & done; sleep 0; echo end"
    done = pod.box.run("sh", "-c", script, change=pod.joins(then=pids(limit)))
    assert "can't fork" in done.stdout + done.stderr
    said = pod.box.sh("ls / | grep bin", change=pod.joins(then=pids(3)))
    assert said == "bin\n"


def test_with_room_for_itself_alone(pod: Pod) -> None:
    """For a moment there are two: one that clones, and one that is in the pid namespace."""
    done = pod.box.run("echo", "said", change=pod.joins(then=pids(1)))
    if done.returncode:
        assert done.stderr.count("\n") == 1
        assert "enter the pid namespace: resource temporarily unavailable" in done.stderr
    else:
        assert done.stdout == "said\n"


def test_with_a_limit_of_the_user_s_processes(pod: Pod) -> None:
    def limited(config: "Config") -> None:
        config["process"]["user"] = {"uid": 54321, "gid": 1}
        config["process"]["rlimits"] = [{"type": "RLIMIT_NPROC", "hard": 1, "soft": 1}]

    done = pod.box.run("sh", "-c", "echo $$; ls / & wait", change=pod.joins(then=limited))
    assert done.stdout.strip().isdecimal(), done
    assert "can't fork" in done.stderr


# --- hooks ------------------------------------------------------------------------------------

KINDS = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")


def test_hooks(pod: Pod, tmp_path: Path) -> None:
    """No hook of the host's runs in the pid namespace; each reads the pid of a process there is."""
    hook = tmp_path / "hook"
    hook.write_text(
        "#!/bin/sh\nstate=$(cat)\n"
        f'pid=$(echo "$state" | sed "s/.*\\"pid\\": *\\([0-9]*\\).*/\\1/")\n'
        f'echo "$1 $(readlink /proc/self/ns/pid) $(readlink /proc/self/ns/mnt)'
        f' $(readlink /proc/self/ns/net) $(readlink /proc/$pid/ns/mnt)" >> {tmp_path}/said\n'
    )
    hook.chmod(0o755)

    def hooks(config: "Config") -> None:
        config["hooks"] = {kind: [{"path": str(hook), "args": ["hook", kind]}] for kind in KINDS}

    # It lives until the last hook has looked at it.
    pod.box.sh(f"sleep {0.4 * PATIENCE}", change=pod.joins(then=hooks))
    lines = [line.split() for line in (tmp_path / "said").read_text().splitlines()]
    said = {line[0]: line[1:] for line in lines}
    assert list(said) == list(KINDS)
    host = os.readlink("/proc/self/ns/pid")
    assert {pid for pid, *_ in said.values()} == {host}
    for kind in ("prestart", "createRuntime", "poststart"):
        assert said[kind][1] == os.readlink("/proc/self/ns/mnt")
        assert said[kind][3] not in ("", os.readlink("/proc/self/ns/mnt"))
    # createContainer is in the container's namespaces, but for pid.
    assert said["createContainer"][1] == said["createRuntime"][3]
    assert said["createContainer"][2] == os.readlink(pod.ns("network"))


def test_a_start_container_hook_is_inside(pod: Pod) -> None:
    """A program of the image's, in all of its namespaces; and the state has the pid from there."""
    script = "cat >/dev/shm/state; readlink /proc/self/ns/pid >/dev/shm/ns"

    def hooks(config: "Config") -> None:
        config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}

    said = pod.box.lines(
        "cat /dev/shm/ns; echo $$; cat /dev/shm/state", change=pod.joins(then=hooks)
    )
    assert said[0] == os.readlink(pod.ns("pid"))
    state = json.loads(said[2])
    assert state["status"] == "created"
    assert state["pid"] == int(said[1])


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_leaves_nothing(pod: Pod, kind: str) -> None:
    def hooks(config: "Config") -> None:
        config["hooks"] = {kind: [{"path": "/bin/false"}]}

    assert f"hooks.{kind}[0]" in pod.refused(pod.joins(then=hooks))


# --- a terminal -------------------------------------------------------------------------------


def terminal(config: "Config") -> None:
    config["process"]["terminal"] = True


@contextlib.contextmanager
def console(pod: Pod, *args: str) -> Iterator[tuple[str, int]]:
    """A running container of the pod with a terminal: its id, and the master."""
    with socket.socket(socket.AF_UNIX) as listener:
        bundle = pod.box.bundle(args, pod.joins(then=terminal))
        listener.bind(str(bundle / "console"))
        listener.listen()
        container = pod.box.lcpy.new_id()
        words = ["--console-socket", str(bundle / "console"), "--bundle", str(bundle), container]
        pod.box.lcpy("run", "--detach", *words, check=True)
        connection, _ = listener.accept()
        with connection:
            _name, fds, _flags, _address = socket.recv_fds(connection, 100, 1)
    try:
        yield container, fds[0]
    finally:
        os.close(fds[0])
        pod.box.lcpy("delete", "--force", container, check=True)


def read_until(fd: int, text: bytes, seconds: float = 10) -> bytes:
    said = b""
    end = time.monotonic() + seconds
    while text not in said:
        left = end - time.monotonic()
        assert left > 0 and select.select([fd], [], [], left)[0], said
        said += os.read(fd, 4096)
    return said


def test_a_terminal(pod: Pod) -> None:
    """The first process leads the session that it belongs to."""
    script = 'tty; ps -o pid,sid,tty,args | grep "^ *$$ "; stat -c %u /dev/console; echo END'
    with console(pod, "sh", "-c", f"{script}; sleep 100") as (container, fd):
        said = read_until(fd, b"END").decode().splitlines()
        pid = pod.box.lcpy.state(container)["pid"]
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert said[0] == "/dev/pts/0"
    number, sid, tty = said[1].split()[:3]
    assert number == sid
    assert tty.startswith("136,0")
    assert int(stat[3]) == pid  # its session
    assert int(stat[4]) == 136 << 8  # its controlling terminal: pts/0
    assert int(stat[5]) == pid  # in the foreground


def test_job_control(pod: Pod) -> None:
    with console(pod, "sh") as (container, fd):
        read_until(fd, b"# ")
        os.write(fd, b"sleep 1004\n")
        time.sleep(0.3)
        os.write(fd, b"\x1a")  # ^Z
        read_until(fd, b"Stopped")
        os.write(fd, b"fg\n")
        read_until(fd, b"sleep 1004")
        time.sleep(0.2)
        os.write(fd, b"\x03")  # ^C
        os.write(fd, b"echo still $((40+2))\n")
        read_until(fd, b"still 42")
        os.write(fd, b"exit\n")
        pod.box.lcpy.wait_for(container, "stopped")


# --- its end ----------------------------------------------------------------------------------


def test_the_pod_ends_all(pod: Pod) -> None:
    """SIGKILL of the first process of a pid namespace kills what is in it (pid_namespaces(7))."""
    first = pod.detached("sh", "-c", "sleep 1005 & exec sleep 1006")
    pid = pod.box.lcpy.state(first)["pid"]
    change = pod.joins("pid")
    pod.box.lcpy("kill", pod.id, "KILL", check=True)
    os.waitpid(pid, 0)  # a pid namespace ends when the last in it has been reaped
    os.waitpid(pod.pid, 0)
    for container in (first, pod.id):
        assert pod.box.lcpy.state(container)["status"] == "stopped"
    error = pod.box.run("true", change=change).stderr
    assert "linux.namespaces" in error
    assert error.count("\n") == 1


def test_a_pid_namespace_without_a_first_process(pod: Pod) -> None:
    """A path can outlive it (a bind mount, a descriptor), but nobody can enter it."""
    held = os.open(pod.ns("pid"), os.O_RDONLY)
    try:
        pod.box.lcpy("kill", pod.id, "KILL", check=True)
        pod.box.lcpy.wait_for(pod.id, "stopped")

        def change(config: "Config") -> None:
            path = f"/proc/{os.getpid()}/fd/{held}"
            config["linux"]["namespaces"] = [{"type": "mount"}, {"type": "pid", "path": path}]
            config.pop("hostname")

        error = pod.refused(change)
    finally:
        os.close(held)
    assert "enter the pid namespace" in error or "mounts[0]" in error


def test_kill_all_and_delete_force(pod: Pod) -> None:
    """By its cgroup: the pod's other processes are not its own, in whatever pid namespace."""
    first = pod.detached("sh", "-c", "sleep 1007 & sleep 1007 & wait")
    second = pod.detached("sleep", "1008")
    pod.box.lcpy("delete", "--force", first, check=True)
    assert pod.box.lcpy.state(second)["status"] == "running"
    listed = pod.box.lcpy("exec", pod.id, "ps", check=True).stdout
    assert "1007" not in listed
    assert "1008" in listed


@pytest.mark.parametrize("step", ["ids", "program", "rlimit", "cwd", "clone"])
def test_what_fails_leaves_nothing(pod: Pod, step: str) -> None:
    """At each stage: in Python, in the list before it enters, and behind that."""

    def change(config: "Config") -> None:
        if step == "ids":
            config["process"]["capabilities"] = {"bounding": ["CAP_SYS_RESOURCE"], "permitted": []}
            config["process"]["capabilities"]["permitted"] = ["CAP_MAC_ADMIN", "CAP_SYS_RESOURCE"]
        elif step == "program":
            config["process"]["args"] = ["/nothing"]
        elif step == "rlimit":
            config["process"]["rlimits"] = [
                {"type": "RLIMIT_NOFILE", "hard": 1 << 40, "soft": 1 << 40}
            ]
        elif step == "cwd":
            config["process"]["cwd"] = "/etc/passwd"
        else:
            config["process"]["noNewPrivileges"] = False
            config["linux"]["seccomp"] = {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_ERRNO"}],
            }

    def without_a_capability() -> None:
        syscalls.prctl(PR_CAPBSET_DROP, capabilities.NAMES.index("CAP_SYS_RESOURCE"))

    options = {"preexec_fn": without_a_capability} if step == "ids" else {}
    assert "level=error" in pod.refused(pod.joins(then=change), **options)


# --- from Python ------------------------------------------------------------------------------

PROGRAM = f"""
import os, sys
sys.path += [{str(CHECKOUT)!r}, {str(HERE)!r}]
import lcpy_audited
from libcontainer_py.namespaces import launcher, seal
seal.seal = lcpy_audited.guarded(seal.seal)
launcher.PROGRAM = (
    "import sys; sys.path += sys.argv[2:]; import lcpy_audited;"
    "from libcontainer_py.namespaces import launcher, seal;"
    "seal.seal = lcpy_audited.guarded(seal.seal); launcher.main(int(sys.argv[1]))"
)
from libcontainer_py import Runtime, StepError
root, bundle, id, threads = sys.argv[1:5]
if threads == "threads":
    import threading
    threading.Thread(target=threading.Event().wait, daemon=True).start()
before = set(os.listdir("/proc/self/fd"))

def end():
    assert set(os.listdir("/proc/self/fd")) == before, "a descriptor is left"
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("reaped")
"""


def program(pod: Pod, text: str, threads: str, *args: str) -> str:
    """Run a program of the library; what it prints."""
    bundle = pod.box.bundle(args, pod.joins())
    words = [str(pod.box.lcpy.root), str(bundle), pod.box.lcpy.new_id(), threads]
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM + text, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("threads", ["threads", "alone"])
def test_from_the_library(pod: Pod, threads: str) -> None:
    """A threaded program's container is its own child all the same, and so it can wait for it."""
    text = """
container = Runtime(root).create(id, bundle)
process = container.process
print(process.pid, container.state()["pid"], flush=True)
container.start()
assert process.wait(timeout=20) == 7, process.returncode
process.close()
container.delete()
end()
"""
    first, second, last = program(pod, text, threads, "sh", "-c", "exit 7").split()
    assert first == second
    assert last == "reaped"


@pytest.mark.parametrize("threads", ["threads", "alone"])
def test_an_error_from_the_library(pod: Pod, threads: str) -> None:
    """Neither a child nor a descriptor is left of those on the way to it."""
    text = """
try:
    Runtime(root).create(id, bundle)
except StepError as error:
    print(error.field)
end()
"""
    assert program(pod, text, threads, "/nothing").split() == ["process.args[0]", "reaped"]
    assert _without_sleep(pod.numbers()) == [1]


# --- many -------------------------------------------------------------------------------------


def test_kill_minus_nine_on_the_way(pod: Pod) -> None:
    """Whenever a `create` is killed, `delete --force` ends all that it has left."""
    lcpy = pod.box.lcpy
    bundle = pod.box.bundle(["sleep", "1009"], pod.joins())
    for milliseconds in range(20, 200, 30):
        container = lcpy.new_id()
        with subprocess.Popen(
            lcpy.argv("create", "--bundle", bundle, container),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            time.sleep(milliseconds / 1000)
            process.send_signal(signal.SIGKILL)
        lcpy("delete", "--force", container)
        assert container not in os.listdir(lcpy.root)
        assert not [path for path, _, _ in os.walk("/sys/fs/cgroup") if container in path]
    assert "1009" not in lcpy("exec", pod.id, "ps", check=True).stdout
