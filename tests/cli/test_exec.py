"""`exec`: its flags as a program in the container sees them, its exit codes, and its words."""

import array
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.errors import ConfigError
from libcontainer_py.spec import process as processes
from tests.cli.test_terminal import Outer, outer
from tests.conftest import PATIENCE

if TYPE_CHECKING:
    from tests.conftest import Bundle, Completed, Config, Lcpy

__all__ = ["outer"]

SECONDS = 20 * PATIENCE


def writable(config: "Config") -> None:
    config["root"]["readonly"] = False


class Box:
    """A container, and what is run in it."""

    def __init__(self, lcpy: "Lcpy", path: Path, *, start: bool = True) -> None:
        self.lcpy, self.path, self.rootfs = lcpy, path, path / "rootfs"
        self.id = lcpy.new_id()
        words = ("run", "--detach") if start else ("create",)
        lcpy(*words, "--bundle", path, self.id, check=True)
        self.pid = lcpy.state(self.id)["pid"]

    def exec(self, *words: str | Path, **options: Any) -> "Completed":
        """``exec("--cwd", "/tmp", "--", "pwd")``: flags, and the program behind ``--``."""
        at = words.index("--") if "--" in words else len(words)
        return self.lcpy("exec", *words[:at], self.id, *words[at + 1 :], **options)

    def says(self, *words: str | Path, **options: Any) -> str:
        """What a program says that comes to a good end."""
        done = self.exec(*words, **options)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def processes(self) -> list[int]:
        """What is in the container, by the host's numbers."""
        done = self.lcpy("ps", "--format", "json", self.id, check=True)
        found: list[int] = json.loads(done.stdout)
        return found


@pytest.fixture
def box(lcpy: "Lcpy", bundle: "Bundle") -> Box:
    """A container that runs, with the default config, but for a root that can be written."""
    return Box(lcpy, bundle("sleep", "1000", change=writable))


def refused(done: "Completed", text: str) -> None:
    """It failed with one line of error and 255, which no good program ends with."""
    assert (done.returncode, done.stdout) == (255, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "level=error" in done.stderr
    assert "exec failed: " in done.stderr
    assert text in done.stderr.replace('\\"', '"'), done.stderr


# ── who and where it is ─────────────────────────────────────────────────────────────────────────


def test_it_is_in_the_container(box: Box) -> None:
    """All namespaces and cgroups are init's, and it is nobody's child in there."""
    look = "for n in /proc/PID/ns/*; do readlink $n; done; cat /proc/PID/cgroup; hostname"
    script = look.replace("PID", "$1")
    own = box.says("--", "sh", "-c", script, "-", "self")
    # A program of ours in another pid namespace would have another number there.
    assert own == box.says("--", "sh", "-c", script, "-", "1")
    assert (
        own
        != subprocess.run(
            ["sh", "-c", script, "-", "self"], capture_output=True, text=True, check=True
        ).stdout
    )
    status = box.says("--", "cat", "/proc/self/status")
    assert "\nPPid:\t0\n" in status


def test_what_the_first_process_is_it_is_too(lcpy: "Lcpy", bundle: "Bundle") -> None:
    def change(config: "Config") -> None:
        writable(config)
        config["process"].update(
            cwd="/tmp",
            user={"uid": 1000, "gid": 1000, "additionalGids": [2000, 7], "umask": 0o27},
            env=["PATH=/bin", "A=1", "B=2"],
        )
        config["process"]["capabilities"] = {"bounding": ["CAP_KILL"]}

    script = "id; pwd; env; umask; ulimit -Sn; grep -E '^(Cap|NoNew)' /proc/self/status"
    path = bundle("sh", "-c", f"({script}) >/tmp/said; exec sleep 1000", change=change)
    box = Box(lcpy, path)
    wait_for(path / "rootfs/tmp/said")
    said = box.says("--", "sh", "-c", f"({script})")
    assert said == (path / "rootfs/tmp/said").read_text()
    assert "uid=1000(user) gid=1000(user) groups=7,2000(extra)" in said
    assert "\nHOME=/home/user\n" in said


def wait_for(path: Path) -> None:
    end = time.monotonic() + SECONDS
    while not path.exists() or not path.stat().st_size:
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.1)  # and it has been written to its end


def test_the_user(box: Box) -> None:
    users = {
        ("--user", "1000"): "uid=1000(user) gid=0(root)",
        ("--user", "1000:2000"): "uid=1000(user) gid=2000(extra)",
        ("-u", "12345:54321"): "uid=12345 gid=54321",
        ("-u", "2147483647"): "uid=2147483647 gid=0(root)",
        ("--additional-gids", "7"): "uid=0(root) gid=0(root) groups=7",
        ("-g", "7", "-g", "2000", "-u", "1"): "uid=1 gid=0(root) groups=7,2000(extra)",
    }
    for flags, shown in users.items():
        assert box.says(*flags, "--", "id") == shown + "\n"


def test_a_user_that_is_none(box: Box) -> None:
    """Digits are never a name, and no number wraps round to root's: CVE-2024-40635."""
    with (box.rootfs / "etc/passwd").open("a") as file:
        file.write("4294967296:x:0:0::/:/bin/sh\n2000:x:0:0::/:/bin/sh\n")
    bad = ("user", "-1", "1:", ":1", "1:2:3", "1.0", "0x1", " 1", "1_0", "٣", "2147483648")
    for user in (*bad, "4294967295", "4294967296", "0:4294967295", "99999999999999999999"):
        refused(box.exec(f"--user={user}", "--", "id"), "is not a number from 0 to 2147483647")
        if ":" not in user:
            done = box.exec(f"--additional-gids={user}", "--", "id")
            refused(done, "is not a number from 0 to 2147483647")
    assert box.says("--user", "2000", "--", "id", "-u") == "2000\n"


def test_all_ids_are_the_users(box: Box) -> None:
    """Real, effective, saved and the file system's; and it can't come back."""
    status = box.says("--user", "1000:2000", "--", "cat", "/proc/self/status")
    assert "\nUid:\t1000\t1000\t1000\t1000\nGid:\t2000\t2000\t2000\t2000\n" in status
    assert "\nCapPrm:\t0000000000000000\n" in status


def test_the_directory(box: Box) -> None:
    assert box.says("--cwd", "/tmp", "--", "pwd") == "/tmp\n"
    (box.rootfs / "link").symlink_to("/var")
    assert box.says("--cwd", "/link", "--", "readlink", "/proc/self/cwd") == "/var\n"


def test_the_directory_of_a_user(box: Box) -> None:
    """Root's right to go there will do, as for runc; who has no right in there sees so then."""
    (box.rootfs / "home").mkdir(mode=0o700)
    os.chown(box.rootfs / "home", 1000, 1000)
    for user, code in (("1000", 0), ("1001", 1), ("0", 1)):  # root has no CAP_DAC_OVERRIDE in there
        done = box.exec("--cwd", "/home", "--user", user, "--", "/bin/ls", ".")
        assert done.returncode == code, (user, done.stderr)


def test_a_directory_that_is_none(box: Box) -> None:
    """Nor one of the host's that is still open: CVE-2024-21626."""
    with open("/etc/hostname") as kept:
        os.set_inheritable(kept.fileno(), True)
        fds = [f"/proc/self/fd/{fd}" for fd in range(3, 12)]
        for target in ("/nosuch", "/etc/passwd", *fds, "/proc/self/fd/0", "/bin/sh/x"):
            done = box.exec("--cwd", target, "--", "pwd", pass_fds=(kept.fileno(),))
            refused(done, "process.cwd")


def test_a_directory_outside(box: Box, tmp_path: Path) -> None:
    """Links lead to what has their name inside."""
    (box.rootfs / "climb").symlink_to("../../../../../tmp")
    (box.rootfs / "magic").symlink_to("/proc/self/cwd")
    assert box.says("--cwd", "/climb", "--", "readlink", "/proc/self/cwd") == "/tmp\n"
    refused(box.exec("--cwd", "/magic", "--", "pwd"), "process.cwd")


def test_the_environment(box: Box) -> None:
    """A later value wins; HOME is the user's unless it is set; nothing of the caller's."""
    said = box.says("-e", "A=b", "--env", "A=c=d ", "-e", "E=", "--", "env", env={"X": "y"})
    assert set(said.splitlines()) == {
        *("A=c=d ", "E=", "HOME=/root", "TERM=xterm"),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    assert "\nHOME=/elsewhere\n" in box.says("-e", "X=", "-e", "HOME=/elsewhere", "--", "env")
    assert "HOME=/home/user\n" in box.says("--user", "1000", "--", "env")
    assert "HOME=/\n" in box.says("--user", "77", "--", "env")


def test_the_program_is_looked_up_in_the_path_that_is_asked(box: Box) -> None:
    (box.rootfs / "own").mkdir()
    program = box.rootfs / "own/mine"
    program.write_text('#!/bin/sh\necho "$0" "$@"\n')
    program.chmod(0o755)
    refused(box.exec("--", "mine"), 'exec: "mine": executable file not found in $PATH')
    assert box.says("-e", "PATH=/bin:/own", "--", "mine", "a", "-b") == "/own/mine a -b\n"
    # Never in the working directory: neither an empty element nor a relative one.
    for search in ("", ":/nosuch", ".", "own"):
        refused(box.exec("-e", f"PATH={search}", "--cwd", "/own", "--", "mine"), "not found")


def test_a_variable_without_a_name_or_a_value(box: Box) -> None:
    for name in ("A", "=b", ""):
        refused(box.exec("--env", name, "--", "true"), "invalid environment variable")


# ── what it may do ──────────────────────────────────────────────────────────────────────────────


def test_no_new_privileges(lcpy: "Lcpy", bundle: "Bundle") -> None:
    def change(config: "Config") -> None:
        config["process"]["noNewPrivileges"] = False

    box = Box(lcpy, bundle("sleep", "1000", change=change))
    assert "NoNewPrivs:\t0" in box.says("--", "cat", "/proc/self/status")
    assert "NoNewPrivs:\t1" in box.says("--no-new-privs", "--", "cat", "/proc/self/status")


def test_a_capability_that_nobody_knows(box: Box, tmp_path: Path) -> None:
    """It gives nothing, and is warned of, as in runc."""
    plain = box.says("--", "grep", "Cap", "/proc/self/status")
    done = box.exec("--cap", "KILL", "--", "grep", "Cap", "/proc/self/status")
    assert (done.returncode, done.stdout) == (0, plain)
    assert "level=warning" in done.stderr
    assert 'unknown capabilities: \\"KILL\\"' in done.stderr
    log = tmp_path / "log"
    box.lcpy("--log", log, "exec", "--cap", "CAP_NOPE", box.id, "true", check=True)
    assert "CAP_NOPE" in log.read_text()


def test_a_capability_that_we_have_not(box: Box) -> None:
    """Where root has them all, there is nothing to be refused: then it is given."""
    done = box.exec("--cap", "CAP_SYS_RESOURCE", "--", "grep", "CapPrm", "/proc/self/status")
    if done.returncode:
        refused(done, "process.capabilities.permitted: CAP_SYS_RESOURCE: not held by the runtime")
    else:
        assert int(done.stdout.split()[1], 16) >> 24 & 1


# ── its streams and descriptors ─────────────────────────────────────────────────────────────────


def test_streams(box: Box) -> None:
    done = box.exec("--", "sh", "-c", "cat; echo error >&2", stdin="line\n" * 1000)
    assert (done.returncode, done.stdout, done.stderr) == (0, "line\n" * 1000, "error\n")


def test_descriptors(box: Box) -> None:
    """Three, and those that are passed on purpose; nothing of ours, nothing of the caller's."""
    with open("/etc/hostname") as kept, open("/etc/passwd") as other:
        for fd in (kept.fileno(), other.fileno()):
            os.set_inheritable(fd, True)
        fds = (kept.fileno(), other.fileno())
        said = box.says("--", "sh", "-c", "ls /proc/$$/fd; true", pass_fds=fds)
        assert said.split() == ["0", "1", "2"]


def test_descriptors_that_are_passed_on(box: Box, tmp_path: Path) -> None:
    """From 3 on as many as are asked for, by their numbers; of more that were open, none."""
    words = ("three", "four", "five")
    fds = []
    for number, word in enumerate(words):
        (tmp_path / word).write_text(word)
        fds.append(fcntl.fcntl(os.open(tmp_path / word, os.O_RDONLY), fcntl.F_DUPFD, 53 + number))

    def renumber() -> None:
        for number, fd in enumerate(fds):
            os.dup2(fd, 3 + number)

    script = "cat <&3; cat <&4; ls /proc/$$/fd; cat <&5"
    argv = box.lcpy.argv("exec", "--preserve-fds", "2", box.id, "sh", "-c", script)
    done = subprocess.run(
        argv,
        close_fds=False,
        preexec_fn=renumber,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    for fd in fds:
        os.close(fd)
    assert done.stdout == "threefour0\n1\n2\n3\n4\n"
    assert done.returncode != 0
    assert "5: Bad file descriptor" in done.stderr


def test_a_descriptor_that_is_closed(box: Box, tmp_path: Path) -> None:
    """A file of ours that got its number is not passed on as it."""
    refused(box.exec("--preserve-fds", "1", "--", "true"), "descriptor 3 is not open")
    log = ("--log", tmp_path / "log")
    done = box.lcpy(*log, "exec", "--preserve-fds", "1", box.id, "true")
    assert (done.returncode, done.stdout) == (255, "")
    assert "descriptor 3 is not open" in done.stderr
    assert "descriptor 3 is not open" in (tmp_path / "log").read_text()


# ── how it ends ─────────────────────────────────────────────────────────────────────────────────


def test_the_exit_code(box: Box) -> None:
    for code in (0, 1, 126, 255):
        done = box.exec("--", "sh", "-c", f"exit {code}")
        assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
    for name in ("KILL", "TERM", "PIPE"):
        done = box.exec("--", "sh", "-c", f"kill -{name} $$")
        assert done.returncode == 128 + getattr(signal, f"SIG{name}")


def test_a_signal_to_us_is_relayed(box: Box) -> None:
    """To the program, which decides; and it ends with the container."""
    script = "trap 'echo got it; exit 7' TERM; echo up; while :; do sleep 0.05; done"
    argv = box.lcpy.argv("exec", box.id, "sh", "-c", script)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "got it\n"
        assert process.wait(SECONDS) == 7
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        box.lcpy("kill", box.id, "KILL", check=True)
        assert process.wait(SECONDS) == 128 + signal.SIGKILL


def test_signals_are_as_for_a_new_program(box: Box) -> None:
    """Whatever the caller ignores or blocks."""

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})

    status = box.says("--", "cat", "/proc/self/status", preexec_fn=ignore)
    for name in ("SigBlk", "SigIgn", "SigCgt"):
        assert f"\n{name}:\t0000000000000000\n" in status


def test_the_container_does_not_care_how_it_ends(box: Box) -> None:
    assert box.exec("--", "false").returncode == 1
    assert box.lcpy.state(box.id)["status"] == "running"
    assert box.processes() == [box.pid]


def test_it_is_not_waited_for(box: Box, tmp_path: Path) -> None:
    begun = time.monotonic()
    assert box.says("--detach", "--pid-file", tmp_path / "pid", "--", "sleep", "30") == ""
    assert time.monotonic() - begun < 20
    pid = int((tmp_path / "pid").read_text())
    assert sorted(box.processes()) == sorted([box.pid, pid])
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x0030\0"
    reap(pid)


def reap(pid: int) -> None:
    """End what was detached: a zombie in it would keep a container from being deleted."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_what_it_leaves_behind_is_the_containers(box: Box) -> None:
    """A child of the program that outlives it does not hold us."""
    begun = time.monotonic()
    box.says("--", "sh", "-c", "sleep 30 >/dev/null 2>&1 &")
    assert time.monotonic() - begun < 20
    assert len(box.processes()) == 2


def test_the_pid_file(box: Box, tmp_path: Path) -> None:
    """Whole, or not at all; with the pid of the program, which is no child's or shell's."""
    script = "read word; echo $word"
    argv = box.lcpy.argv("exec", "--pid-file", tmp_path / "pid", box.id, "sh", "-c", script)
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        wait_for(tmp_path / "pid")
        pid = (tmp_path / "pid").read_text()
        assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sh\0-c\0")
        assert f"\nNSpid:\t{pid}\t" in Path(f"/proc/{pid}/status").read_text()
        said, _error = process.communicate("word\n", timeout=SECONDS)
    assert (process.returncode, said) == (0, "word\n")
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".pid")]


def test_no_pid_file_of_a_program_that_never_was(box: Box, tmp_path: Path) -> None:
    assert box.exec("--pid-file", tmp_path / "pid", "--", "nosuch").returncode == 255
    (box.rootfs / "wrong").write_text("nonsense")
    (box.rootfs / "wrong").chmod(0o755)
    assert box.exec("--pid-file", tmp_path / "pid", "--", "/wrong").returncode == 255
    assert not (tmp_path / "pid").exists()


def test_a_pid_file_that_can_not_be(box: Box, tmp_path: Path) -> None:
    done = box.exec("--pid-file", tmp_path / "nosuch/pid", "--", "sleep", "30")
    refused(done, "no such file or directory")
    assert box.processes() == [box.pid]


# ── sockets ─────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def listener(path: Path) -> Iterator[Callable[[], tuple[bytes, int]]]:
    """A UNIX socket that receives a descriptor, and the bytes that came with it."""
    with socket.socket(socket.AF_UNIX) as server, contextlib.ExitStack() as files:
        server.bind(str(path))
        server.listen()
        server.settimeout(SECONDS)

        def receive() -> tuple[bytes, int]:
            connection, _address = server.accept()
            with connection:
                size = array.array("i").itemsize
                data, rights, *_rest = connection.recvmsg(4096, socket.CMSG_SPACE(size))
                fd = array.array("i", rights[0][2])[0]
                files.callback(os.close, fd)
                assert connection.recv(1) == b""  # nothing comes behind it
                return data, fd

        yield receive


def test_the_pidfd_socket(box: Box, tmp_path: Path) -> None:
    with listener(tmp_path / "pidfd") as receive:
        argv = ("--pidfd-socket", tmp_path / "pidfd", "--pid-file", tmp_path / "pid", "--detach")
        box.says(*argv, "--", "sleep", "30")
        _data, pidfd = receive()
        lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
        pid = int((tmp_path / "pid").read_text())
        assert f"Pid:\t{pid}" in lines
        assert not select.select([pidfd], [], [], 0)[0]
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert select.select([pidfd], [], [], SECONDS)[0]
        os.waitpid(pid, 0)


@pytest.mark.parametrize("flag", ["--pidfd-socket", "--console-socket"])
def test_a_socket_that_nobody_listens_on(box: Box, tmp_path: Path, flag: str) -> None:
    words = ("--detach", *(("--tty",) if flag == "--console-socket" else ()))
    for path in (tmp_path / "nosuch", tmp_path / ("x" * 120)):
        done = box.exec(flag, path, *words, "--", "sleep", "30")
        refused(done, f"{flag[2:].replace('-', ' ')} {path}")
    assert box.processes() == [box.pid]


def test_the_console_socket(box: Box, tmp_path: Path) -> None:
    with listener(tmp_path / "console") as receive:
        words = ("--console-socket", tmp_path / "console", "--detach", "--tty")
        file = ("--pid-file", tmp_path / "pid")
        box.says(*words, *file, "--", "sh", "-c", "tty; read word; echo got $word; exit 5")
        name, master = receive()
        assert name == b"/dev/pts/0" or name  # a name, as runc sends it
        shown = b""
        while b"/dev/pts/0\r\n" not in shown:
            assert select.select([master], [], [], SECONDS)[0]
            shown += os.read(master, 4096)
        os.write(master, b"hello\n")
        with contextlib.suppress(OSError):  # EIO: the program has ended
            while select.select([master], [], [], SECONDS)[0] and (part := os.read(master, 4096)):
                shown += part
        assert shown == b"/dev/pts/0\r\nhello\r\ngot hello\r\n"
        _pid, status = os.waitpid(int((tmp_path / "pid").read_text()), 0)
        assert os.waitstatus_to_exitcode(status) == 5


# ── the terminal ────────────────────────────────────────────────────────────────────────────────


def test_the_terminal(box: Box, outer: Outer) -> None:
    """Its own, of the container's devpts, with the size of the caller's, and the leader's."""
    script = (
        "tty; stty size; cut -d' ' -f5-8 /proc/$$/stat; echo $$; readlink /proc/self/fd/2; exit 3"
    )
    outer.run(box.lcpy.argv("exec", "--tty", box.id, "sh", "-c", script))
    assert outer.end() == 3
    name, size, stat, pid, error, _end = outer.shown.decode().split("\r\n")
    group, session, terminal, foreground = stat.split()
    assert (name, size, error) == ("/dev/pts/0", "33 77", "/dev/pts/0")
    assert group == session == foreground == pid
    assert terminal == str(os.makedev(136, 0))


def test_two_terminals(box: Box, outer: Outer) -> None:
    script = "tty; echo ready; read word; echo $word"
    outer.run(box.lcpy.argv("exec", "-t", box.id, "sh", "-c", script))
    outer.expect(b"ready")
    other = Outer()
    try:
        other.run(box.lcpy.argv("exec", "-t", box.id, "tty"))
        assert other.end() == 0
        assert other.shown == b"/dev/pts/1\r\n"
    finally:
        other.close()
    outer.type(b"word\r")
    assert outer.end() == 0
    assert outer.shown.startswith(b"/dev/pts/0\r\n")


def test_keys_are_the_programs(box: Box, outer: Outer) -> None:
    """^C ends what is in the foreground there: job control works; ^D is the end of its input."""
    script = "trap 'echo INT' INT; sleep 30; echo went on; cat; exit 4"
    outer.run(box.lcpy.argv("exec", "-t", box.id, "sh", "-c", f"echo ready; {script}"))
    outer.expect(b"ready")
    time.sleep(0.2)
    outer.type(b"\x03")
    outer.expect(b"went on")
    outer.type(b"a line\r")
    outer.expect(b"a line\r\na line\r\n")
    outer.type(b"\x04")
    assert outer.end() == 4
    assert b"INT\r\n" in outer.shown


def test_job_control(box: Box, outer: Outer) -> None:
    outer.run(box.lcpy.argv("exec", "-t", box.id, "sh"))
    outer.expect(b"# ")
    outer.type(b"sleep 33\r")
    time.sleep(0.3)
    outer.type(b"\x1a")
    outer.expect(b"Stopped")
    outer.type(b"jobs\r")
    outer.expect(b"Stopped                    sleep 33")
    outer.type(b"kill %1; fg\r")
    outer.expect(b"Terminated")
    outer.type(b"exit 5\r")
    assert outer.end() == 5
    assert b"can't access tty" not in outer.shown


def test_a_window_that_changes(box: Box, outer: Outer) -> None:
    script = "trap 'stty size; exit 6' WINCH; echo ready; while :; do sleep 0.05; done"
    outer.run(box.lcpy.argv("exec", "-t", box.id, "sh", "-c", script))
    outer.expect(b"ready")
    outer.resize(11, 22)
    assert outer.process is not None
    outer.process.send_signal(signal.SIGWINCH)
    assert outer.end() == 6
    assert b"11 22\r\n" in outer.shown


def test_the_terminal_is_the_users(box: Box, outer: Outer) -> None:
    script = "stat -c %u:%g /dev/pts/0; echo reopened >/dev/tty; echo again >$(tty)"
    outer.run(box.lcpy.argv("exec", "-t", "-u", "1000", box.id, "sh", "-c", script))
    assert outer.end() == 0, outer.shown
    assert outer.shown.split(b"\r\n")[0].startswith(b"1000:")
    assert outer.shown.endswith(b"reopened\r\nagain\r\n")


def test_a_terminal_of_a_program_that_never_was(box: Box, outer: Outer) -> None:
    outer.run(box.lcpy.argv("exec", "-t", box.id, "nosuch"))
    assert outer.end() == 255
    assert outer.shown.count(b"\n") == 1
    assert b"executable file not found in $PATH" in outer.shown
    assert not outer.is_raw()


def test_no_terminal_at_the_callers(box: Box) -> None:
    done = box.exec("--tty", "--", "sh", "-c", "tty; echo word", start_new_session=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "/dev/pts/0\nword\n"


def test_without_a_terminal_there_is_a_session(box: Box) -> None:
    """Of its own: no terminal of the caller's is its controlling one (CVE-2016-2779's kind)."""
    said = box.says("--", "sh", "-c", "cut -d' ' -f6-7 /proc/$$/stat; echo $$")
    stat, pid = said.splitlines()
    assert stat == f"{pid} 0"


def test_misuse_of_terminals(box: Box, tmp_path: Path) -> None:
    socket = str(tmp_path / "socket")
    words: dict[tuple[str, ...], str] = {
        ("--tty", "--detach"): "cannot allocate tty if lcpy will detach without setting console",
        ("--console-socket", socket): "cannot use console socket if lcpy will not detach or",
        ("--console-socket", socket, "--detach"): "cannot use console socket if lcpy will not",
    }
    for flags, text in words.items():
        refused(box.exec(*flags, "--", "true"), text)


# ── a process of a file ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Path]:
    """Write a process file: members of a process that is good otherwise, or a whole text."""

    def write(text: str | None = None, **members: Any) -> Path:
        whole = {"args": ["true"], "cwd": "/", "env": ["PATH=/bin"], **members}
        for name in [name for name, value in whole.items() if value is ...]:
            del whole[name]
        (tmp_path / "process.json").write_text(json.dumps(whole) if text is None else text)
        return tmp_path / "process.json"

    return write


def test_a_process_file(box: Box, process: Callable[..., Path]) -> None:
    """It is all of the process: nothing of config.json's is mixed in, and no flag."""
    script = "id; pwd; env; grep -E '^(Cap|NoNew)' /proc/self/status; umask"
    path = process(
        args=["sh", "-c", script],
        cwd="/var",
        env=["PATH=/bin", "X=y"],
        user={"uid": 1, "gid": 2, "additionalGids": [3], "umask": 0o77},
    )
    said = box.says("--process", path, "--cwd", "/tmp", "--env", "A=b").splitlines()
    assert said[:2] == ["uid=1 gid=2 groups=3", "/var"]
    assert sorted(said[2:7]) == ["HOME=/", "PATH=/bin", "PWD=/var", "SHLVL=1", "X=y"]
    assert "CapBnd:\t0000000000000000" in said
    assert "NoNewPrivs:\t0" in said
    assert said[-1] == "0077"
    assert "A=b" not in said


def test_a_process_file_with_a_terminal(
    box: Box, process: Callable[..., Path], outer: Outer
) -> None:
    path = process(args=["stty", "size"], terminal=True, consoleSize={"height": 5, "width": 6})
    outer.run(box.lcpy.argv("exec", "--process", path, box.id))
    assert outer.end() == 0
    assert outer.shown == b"5 6\r\n"


def test_members_that_nobody_knows(box: Box, process: Callable[..., Path]) -> None:
    """As the specification has it for config.json: they are let be."""
    box.says("--process", process(nosuch={"a": 1}, user={"uid": 0, "gid": 0, "also": None}))
    box.says("--process", process(capabilities=None, rlimits=None, user=None))


BAD_MEMBERS: list[tuple[str, dict[str, Any]]] = [
    ("args must not be empty", {"args": ...}),
    ("args must not be empty", {"args": []}),
    ("process.args", {"args": None}),
    ("process.args", {"args": "true"}),
    ("process.args[0]", {"args": [1]}),
    ("process.args[0]", {"args": ["a\0b"]}),
    ("process.cwd", {"cwd": ...}),
    ("Cwd property must not be empty", {"cwd": ""}),
    ("Cwd must be an absolute path", {"cwd": "tmp"}),
    ("process.terminal", {"terminal": "yes"}),
    ("process.env[0]", {"env": ["A"]}),
    ("process.env", {"env": {"A": "b"}}),
    ("process.user.uid", {"user": {"uid": -1, "gid": 0}}),
    ("process.user.uid", {"user": {"uid": 2**32 - 1, "gid": 0}}),
    ("process.user.uid", {"user": {"uid": "root", "gid": 0}}),
    ("process.user.additionalGids[1]", {"user": {"additionalGids": [1, 2**31]}}),
    ("process.capabilities.bounding", {"capabilities": {"bounding": "CAP_KILL"}}),
    ("process.rlimits[0].type", {"rlimits": [{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}]}),
    ("process.rlimits[0]", {"rlimits": [{"type": "RLIMIT_CPU"}]}),
    ("process.oomScoreAdj", {"oomScoreAdj": "1"}),
]


def test_a_process_that_is_wrong(box: Box, process: Callable[..., Path]) -> None:
    """Its member is named, and the words are not about a config.json that is not there."""
    for text, members in BAD_MEMBERS:
        with pytest.raises(ConfigError) as raised:
            processes.check(json.loads(process(**members).read_text()))
        assert text in str(raised.value)
        assert "config.json" not in str(raised.value)
    for text, members in BAD_MEMBERS[::6]:
        done = box.exec("--process", process(**members))
        refused(done, text)
    assert box.processes() == [box.pid]


def test_a_process_file_that_holds_none(box: Box, process: Callable[..., Path]) -> None:
    for text in ("", "{", "null", "[]", '"true"', "{}{}", "[" * 100_000, '{"args": NaN}', "\0"):
        path = process(text)
        refused(box.exec("--process", path), str(path))


def test_a_process_file_that_is_not_there(box: Box, tmp_path: Path) -> None:
    refused(box.exec("--process", tmp_path / "no\nsuch"), "no such file or directory")
    refused(box.exec("--process", tmp_path), "is a directory")


# ── the container that it goes into ─────────────────────────────────────────────────────────────


def test_a_container_that_is_not_there(lcpy: "Lcpy") -> None:
    refused(lcpy("exec", "nosuch", "true"), "container does not exist")


def test_one_that_is_created(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """It has everything but its program; and it can still be started."""
    box = Box(lcpy, bundle("sleep", "1000"), start=False)
    assert box.says("--", "sh", "-c", "hostname; ls /proc | grep -c '^1$'") == "runc\n1\n"
    assert lcpy.state(box.id)["status"] == "created"
    lcpy("start", box.id, check=True)
    assert Path(f"/proc/{box.pid}/cmdline").read_bytes().startswith(b"sleep")
    box.says("--", "true")


def test_one_that_has_stopped(box: Box) -> None:
    box.lcpy("kill", box.id, "KILL", check=True)
    box.lcpy.wait_for(box.id, "stopped")
    refused(box.exec("--", "true"), "cannot exec in a stopped container")


def test_one_that_is_paused(box: Box) -> None:
    """It would be frozen as soon as it is in there; who asks for that waits."""
    box.lcpy("pause", box.id, check=True)
    refused(box.exec("--", "true"), "cannot exec in a paused container")
    argv = box.lcpy.argv("exec", "--ignore-paused", box.id, "echo", "went on")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        box.lcpy("resume", box.id, check=True)
        said, _error = process.communicate(timeout=SECONDS)
    assert (process.returncode, said) == (0, "went on\n")


def test_it_ignores_that_a_running_one_is_not_paused(box: Box) -> None:
    assert box.says("--ignore-paused", "--", "echo", "said") == "said\n"


def test_no_words(box: Box) -> None:
    refused(box.exec("--"), "args cannot be empty")


def test_a_flag_behind_the_id_is_the_programs(box: Box) -> None:
    assert box.says("--", "echo", "--tty", "-d") == "--tty -d\n"
    refused(box.exec("--", "--tty", "true"), '"--tty": executable file not found in $PATH')


# ── words, beside runc's ────────────────────────────────────────────────────────────────────────


@pytest.fixture
def runcs(box: Box, tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """The same container under runc."""
    runc = ["runc", "--root", str(tmp_path / "runc")]
    container = f"{box.id}-runc"
    words = [*runc, "run", "--detach", "--bundle", str(box.path), container]
    null = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.run(words, check=True, timeout=SECONDS, **null)  # type: ignore[call-overload]

    def run(log: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
        at = words.index("--")
        argv = [*runc, "--log", str(log), "--log-format", "json", "exec", *map(str, words[:at])]
        return subprocess.run(
            [*argv, container, *map(str, words[at + 1 :])],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    yield run
    subprocess.run([*runc, "delete", "--force", container], check=True, timeout=SECONDS)


# Where the program is to blame, engines tell 126 from 127 by the end of these words.
MATCHED = {
    ("--", "nosuch"): 'exec: "nosuch": executable file not found in $PATH',
    ("--", "/nosuch"): 'exec: "/nosuch": stat /nosuch: no such file or directory',
    ("--", "/etc"): 'exec: "/etc": permission denied',
    ("--", "/etc/passwd"): 'exec: "/etc/passwd": permission denied',
    ("--", "/etc/passwd/x"): 'exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory',
    ("--", "/dev/null"): 'exec: "/dev/null": permission denied',
    ("--", ""): 'exec: "": executable file not found in $PATH',
    ("--env", "PATH=/etc", "--", "passwd"): "executable file not found in $PATH",
    ("--cwd", "/nosuch", "--", "true"): "no such file or directory",
    ("--cwd", "/etc/passwd", "--", "true"): "not a directory",
    ("--cwd", "tmp", "--", "true"): "Cwd must be an absolute path",
    ("--tty", "--detach", "--", "true"): "without setting console socket",
    ("--process", "/nosuch", "--"): "no such file or directory",
}


def test_words_that_engines_match(
    box: Box, runcs: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    for words, text in MATCHED.items():
        logs = tmp_path / "ours", tmp_path / "theirs"
        at = words.index("--")
        flags, program = words[:at], words[at + 1 :]
        log = ("--log", logs[0], "--log-format", "json")
        ours = box.lcpy(*log, "exec", *flags, box.id, *program)
        theirs = runcs(logs[1], *words)
        for done, path in zip((ours, theirs), logs, strict=True):
            assert done.returncode == 255, (words, done)
            assert text in done.stderr.replace('\\"', '"')
            last = json.loads(path.read_text().splitlines()[-1])
            assert last["level"] == "error"
            assert last["msg"].startswith("exec failed: ")
            assert last["msg"].endswith(text), last
            path.unlink()


def test_a_program_that_the_kernel_refuses(box: Box) -> None:
    """Found out by the last call of all; said once, by us, to whoever looks."""
    made = {
        "interpreter": (b"#!/no/such\n", "no such file or directory"),
        "no run bit": (b"#!/etc/passwd\n", "permission denied"),
        "no format": (b"echo hello\n", "exec format error"),
        "empty": (b"", "exec format error"),
        "broken": (b"\x7fELF" + b"\0" * 60, "exec format error"),
    }
    for name, (content, text) in made.items():
        (box.rootfs / name).write_bytes(content)
        (box.rootfs / name).chmod(0o755)
        for flags in ((), ("--detach",), ("--user", "1000")):
            refused(box.exec(*flags, "--", f"/{name}"), text)
    assert box.processes() == [box.pid]


def test_a_program_that_is_not_for_everybody(box: Box) -> None:
    """Looked for with the rights that it will be run with: user, group, one more group, root."""
    program = box.rootfs / "own"
    program.write_text("#!/bin/sh\necho ran\n")
    os.chown(program, 1000, 2000)
    cases: list[tuple[int, tuple[str, ...], bool]] = [
        (0o700, ("--user", "1000"), True),
        (0o700, ("--user", "1001:2000"), False),
        (0o550, ("--user", "1001:2000"), True),
        (0o550, ("--user", "1001", "-g", "2000"), True),
        (0o550, ("--user", "1001"), False),
        (0o050, ("--user", "1000:2000"), False),
        (0o700, (), False),  # root, but without CAP_DAC_OVERRIDE
        (0o500, ("--cap", "CAP_DAC_OVERRIDE"), True),
        (0o444, ("--cap", "CAP_DAC_OVERRIDE"), False),
    ]
    for mode, flags, runs in cases:
        program.chmod(mode)
        done = box.exec(*flags, "--", "/own")
        if runs:
            assert (done.returncode, done.stdout) == (0, "ran\n"), (mode, flags, done.stderr)
        else:
            refused(done, "permission denied")
