"""The finish list, run by the real loop in a process of its own."""

import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from libcontainer_py.errors import StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import AT_EMPTY_PATH, PR_SET_NO_NEW_PRIVS
from libcontainer_py.linux.numbers import MACHINE
from libcontainer_py.namespaces import finish, loop
from libcontainer_py.namespaces.identity import setup_user
from libcontainer_py.syncpipe.records import READY, STARTED, step_at

pytestmark = pytest.mark.skipif(MACHINE != "x86_64", reason="the loop is written for x86_64 only")


class Bench:
    """A pipe, two FIFOs, and a child that runs a list over them."""

    def __init__(self, folder: Path) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = []
        for name in ("go", "status"):
            os.mkfifo(folder / name)
            fds.append(os.open(folder / name, os.O_RDWR))
        self.go, self.status = fds
        self.out, self.out_end = os.pipe()
        self.pid = 0
        self.list = finish.FinishList(self.theirs.fileno(), self.go, self.status)

    def run(self, file: "Callable[[bytes], int]" = finish.write_executable) -> None:
        """Compile the list and start it; its standard output and error go to `out`."""
        executable = file(self.list.compile())
        self.pid = os.fork()
        if self.pid == 0:
            for target in (1, 2):
                os.dup2(self.out_end, target)
            for fd in (self.theirs.fileno(), self.go, self.status):
                os.set_inheritable(fd, True)
            syscalls.execveat(executable, "", [b"list"], [], AT_EMPTY_PATH)
        os.close(executable)
        self.theirs.close()
        os.close(self.out_end)

    def record(self) -> bytes:
        self.ours.settimeout(10)
        return self.ours.recv(4096)

    def wait(self) -> int:
        _pid, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def output(self) -> str:
        with os.fdopen(os.dup(self.out), "rb") as file:
            return file.read().decode()

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.ours.close()
        for fd in (self.go, self.status, self.out):
            os.close(fd)


@pytest.fixture
def bench(tmp_path: Path) -> "Iterator[Bench]":
    made = Bench(tmp_path)
    yield made
    made.close()


def the_rest(bench: Bench, path: str, *argv: str, env: "list[str] | None" = None) -> None:
    bench.list.ready()
    bench.list.wait()
    bench.list.execve(path, list(argv), env or [])


def test_ready_wait_and_exec(bench: Bench) -> None:
    the_rest(bench, "/bin/sh", "sh", "-c", 'echo "$0 $# $A"; env | wc -l', "x", "y", env=["A=ä b"])
    bench.run()
    assert bench.record() == READY
    assert bench.record() == b""  # it has let go of the pipe
    os.write(bench.go, b"\0")
    assert bench.wait() == 0
    assert bench.output().splitlines()[0] == "x 1 ä b"
    assert os.read(bench.status, 64) == STARTED


def test_what_waits_is_the_list_alone(bench: Bench) -> None:
    the_rest(bench, "/bin/true", "true")
    bench.run()
    bench.record()
    maps = Path(f"/proc/{bench.pid}/maps").read_text()
    files = {line.split(maxsplit=5)[5] for line in maps.splitlines() if len(line.split()) > 5}
    assert {name for name in files if not name.startswith("[")} == {"/memfd:lcpy:finish (deleted)"}
    assert not any("rwx" in line or "-wx" in line for line in maps.splitlines())
    rollup = Path(f"/proc/{bench.pid}/smaps_rollup").read_text()
    pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    assert pss <= 50


def test_the_file_can_not_be_changed() -> None:
    fd = finish.write_executable(b"x" * 100)
    try:
        assert os.fstat(fd).st_mode & 0o7777 == 0o555
        for change in (lambda: os.write(fd, b"y"), lambda: os.ftruncate(fd, 1)):
            with pytest.raises(PermissionError):
                change()
        with pytest.raises(PermissionError):
            os.close(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_TRUNC))
    finally:
        os.close(fd)


def test_it_runs_from_a_private_tmpfs_where_memfds_may_not(bench: Bench) -> None:
    the_rest(bench, "/bin/true", "true")
    bench.run(finish._write_on_tmpfs)
    assert bench.record() == READY
    os.write(bench.go, b"\0")
    assert bench.wait() == 0


def test_the_file_on_a_tmpfs_can_not_be_changed() -> None:
    fd = finish._write_on_tmpfs(b"x" * 100)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(fd, b"y")
        with pytest.raises(OSError, match="Read-only file system"):
            os.close(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY))
    finally:
        os.close(fd)


def test_ids_and_no_new_privs(bench: Bench) -> None:
    setup_user(bench.list, 1000, 1001, [7, 5])
    bench.list.prctl(PR_SET_NO_NEW_PRIVS, 1)
    the_rest(bench, "/bin/cat", "cat", "/proc/self/status")
    bench.run()
    assert bench.record() == READY
    os.write(bench.go, b"\0")
    assert bench.wait() == 0
    status = dict(line.split(":\t", 1) for line in bench.output().splitlines() if ":\t" in line)
    assert status["Uid"] == "1000\t1000\t1000\t1000"
    assert status["Gid"] == "1001\t1001\t1001\t1001"
    assert status["Groups"].split() == ["5", "7"]
    assert status["NoNewPrivs"] == "1"
    assert int(status["SigBlk"], 16) == 0


def test_ids_that_changed_nothing_are_found_out(bench: Bench) -> None:
    # setresuid(-1, -1, -1) succeeds, and root stays root.
    bench.list.at("SetupUser", "process.user.uid")
    bench.list.setresuid(-1, -1, -1)
    bench.list.at("SetupUser", "process.user", "read back")
    bench.list.check_ids(4294967295, 0)
    the_rest(bench, "/bin/true", "true")
    bench.run()
    position, errno = loop.position(bench.record())
    assert (step_at(bench.list.steps, position), errno) == (
        ("SetupUser", "process.user", "read back"),
        1,
    )
    assert bench.wait() == 1


def test_a_failing_call_names_its_step(bench: Bench) -> None:
    bench.list.at("FinalizeNamespace", "process.cwd", "/nowhere")
    bench.list.chdir("/nowhere")
    the_rest(bench, "/bin/true", "true")
    bench.run()
    position, errno = loop.position(bench.record())
    assert errno == 2
    assert step_at(bench.list.steps, position) == ("FinalizeNamespace", "process.cwd", "/nowhere")
    assert bench.wait() == 1


@pytest.mark.parametrize(
    ("make", "errno", "words"),
    [
        (lambda path: None, 2, "no such file or directory"),
        (lambda path: path.write_text("x"), 13, "permission denied"),
        (lambda path: (path.write_text("x"), path.chmod(0o755)), 8, "exec format error"),
        (lambda path: path.symlink_to(path), 40, "too many levels of symbolic links"),
        (lambda path: path.mkdir(), 13, "permission denied"),
    ],
)
def test_a_failing_exec_is_told_to_start_and_to_standard_error(
    bench: Bench, tmp_path: Path, make: "Callable[[Path], object]", errno: int, words: str
) -> None:
    path = tmp_path / "program"
    make(path)
    the_rest(bench, str(path), "program")
    bench.run()
    assert bench.record() == READY
    os.write(bench.go, b"\0")
    assert bench.wait() == 1
    assert bench.output() == f"exec {path}: {words}\n"
    answer = os.read(bench.status, 64)
    assert answer[:1] == STARTED
    position, told = loop.position(answer[1:])
    assert told == errno
    assert step_at(bench.list.steps, position)[0] == "Execv"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_what_waits(bench: Bench, number: int) -> None:
    bench.list.end_by_signals()
    the_rest(bench, "/bin/true", "true")
    bench.run()
    assert bench.record() == READY
    os.kill(bench.pid, number)
    assert bench.wait() == 128 + number


def test_a_second_run_exits(bench: Bench) -> None:
    # `#!/proc/self/exe`: the kernel runs the list again, when the pipe is closed.
    the_rest(bench, "/bin/true", "true")
    executable = finish.write_executable(bench.list.compile())
    pid = os.fork()
    if pid == 0:
        os.closerange(3, executable)
        syscalls.execveat(executable, "", [b"/proc/self/exe", b"argument"], [], AT_EMPTY_PATH)
    os.close(executable)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 126


def test_a_parent_that_is_gone_ends_it(bench: Bench) -> None:
    the_rest(bench, "/bin/true", "true")
    bench.ours.close()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as pid 1 of a pid namespace has it
    bench.run()
    assert bench.wait() == 1


def test_an_unknown_architecture_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finish, "MACHINE", "riscv64")
    with pytest.raises(StepError, match="riscv64"):
        finish.FinishList(3, 4, 5)


def test_a_record_is_the_entry_and_the_errno() -> None:
    record = struct.pack("<Qq", loop.ENTRIES + 3 * loop.ENTRY.size, -13)
    assert loop.position(record) == (3, 13)


def test_at_once_reads_ids_back() -> None:
    pid = os.fork()
    if pid == 0:
        calls = finish.AtOnce()
        setup_user(calls, 1000, 1000, [])
        wrong = 0
        try:
            calls.check_ids(0, 0)
        except PermissionError:
            wrong = 1
        os._exit(42 if os.getresuid() == (1000,) * 3 and wrong else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42
