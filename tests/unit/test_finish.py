"""The finish list, run by the real loop in a process of its own.

What another architecture's loop does is seen under qemu's emulation of one program: its system
calls are made on this kernel, and a program that it execs is this machine's.
"""

import errno
import os
import resource
import select
import shutil
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from libcontainer_py.errors import Error
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import AT_EMPTY_PATH, PR_SET_NO_NEW_PRIVS
from libcontainer_py.linux.numbers import MACHINE
from libcontainer_py.namespaces import finish, loop
from libcontainer_py.namespaces.identity import setup_user
from libcontainer_py.syncpipe.records import HOOK_ENDED, READY, STARTED, step_at

MACHINES = ("x86_64", "aarch64")
EPOLL_PWAIT = {"x86_64": 281, "aarch64": 22}


class Bench:
    """A pipe, two FIFOs, and a child that runs a list over them, as `machine`."""

    def __init__(self, folder: Path, machine: str = MACHINE) -> None:
        self.folder = folder
        self.emulator: list[str] = []
        if machine != MACHINE:
            emulator = shutil.which(f"qemu-{machine}")
            if emulator is None:
                pytest.skip(f"qemu-{machine} is not installed")
            self.emulator = [emulator]
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = []
        for name in ("go", "status"):
            os.mkfifo(folder / name)
            fds.append(os.open(folder / name, os.O_RDWR))
        self.go, self.status = fds
        self.out, self.out_end = os.pipe()
        self.pid = 0
        self.list = finish.FinishList(self.theirs.fileno(), self.go, self.status, machine)

    def run(
        self,
        file: "Callable[[bytes], int]" = finish.write_executable,
        more: "tuple[int, ...]" = (),
    ) -> None:
        """Compile the list and start it; its standard output and error go to `out`.

        `more` are descriptors that it has beside its own.
        """
        self._start(file, (self.theirs.fileno(), self.go, self.status, *more))
        self._close_its_ends()

    def run_again(self) -> None:
        """Start the list as an image's `#!/proc/self/exe` does: with none of its descriptors."""
        self._start(finish.write_executable, ())
        self._close_its_ends()

    def _start(self, file: "Callable[[bytes], int]", fds: "tuple[int, ...]") -> None:
        executable = file(self.list.compile())
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for target in (1, 2):
                    os.dup2(self.out_end, target)
                for fd in fds:
                    os.set_inheritable(fd, True)
                if self.emulator:
                    os.set_inheritable(executable, True)
                    path = f"/proc/self/fd/{executable}"
                    os.execve(self.emulator[0], [*self.emulator, path, "argument"], {})
                syscalls.execveat(executable, "", [b"list", b"argument"], [], AT_EMPTY_PATH)
            finally:
                os._exit(99)
        os.close(executable)

    def _close_its_ends(self) -> None:
        self.theirs.close()
        if self.out_end >= 0:
            os.close(self.out_end)
            self.out_end = -1

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
        self._close_its_ends()
        for fd in (self.go, self.status, self.out):
            os.close(fd)


@pytest.fixture(params=MACHINES)
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> "Iterator[Bench]":
    """A bench of each architecture."""
    made = Bench(tmp_path, request.param)
    yield made
    made.close()


@pytest.fixture
def native(tmp_path: Path) -> "Iterator[Bench]":
    """A bench of this architecture."""
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


@pytest.mark.parametrize("bench", ["aarch64"], indirect=True)
def test_pages_of_64_kib(bench: Bench) -> None:
    if bench.emulator:  # where this is its own architecture, the kernel's pages are what they are
        bench.emulator += ["-p", "65536"]
    the_rest(bench, "/bin/true", "true")
    bench.run()
    assert bench.record() == READY
    os.write(bench.go, b"\0")
    assert bench.wait() == 0


def test_what_waits_is_the_list_alone(native: Bench) -> None:
    the_rest(native, "/bin/true", "true")
    native.run()
    native.record()
    maps = Path(f"/proc/{native.pid}/maps").read_text()
    files = {line.split(maxsplit=5)[5] for line in maps.splitlines() if len(line.split()) > 5}
    assert {name for name in files if not name.startswith("[")} == {"/memfd:lcpy:finish (deleted)"}
    assert not any("rwx" in line or "-wx" in line for line in maps.splitlines())
    rollup = Path(f"/proc/{native.pid}/smaps_rollup").read_text()
    pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    assert pss << 10 <= 12 * resource.getpagesize()


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


def test_it_runs_from_a_private_tmpfs_where_memfds_may_not(native: Bench) -> None:
    the_rest(native, "/bin/true", "true")
    native.run(finish._write_on_tmpfs)
    assert native.record() == READY
    os.write(native.go, b"\0")
    assert native.wait() == 0


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


def run_hook(
    bench: Bench, script: str, path: str = "/bin/sh"
) -> "tuple[str, str | None, int] | None":
    """Run one hook, then the program: what `start` is told of a failure, (step, field, status)."""
    state = os.memfd_create("state")
    os.write(state, b"the state\n")
    bench.list.ready()
    bench.list.wait()
    bench.list.hook(0, path, ["sh", "-c", script], ["A=1"], state)
    bench.list.execve("/bin/echo", ["echo", "the program"], [])
    bench.run(more=(state,))
    os.close(state)
    assert bench.record() == READY
    os.write(bench.go, b"\0")
    status = bench.wait()
    answer = os.read(bench.status, 64)
    assert answer[:1] == STARTED
    if status == 0:
        assert answer == STARTED
        return None
    position, hook_status = loop.position(answer[1:])
    step, field, _what = step_at(bench.list.steps, position)
    return step, field, hook_status


def test_a_hook_runs_before_the_program(bench: Bench) -> None:
    assert run_hook(bench, "cat; echo $A $0") is None
    assert bench.output() == "the state\n1 sh\nthe program\n"


@pytest.mark.parametrize(
    ("script", "path", "status"),
    [
        ("exit 3", "/bin/sh", 3 << 8),
        ("kill -9 $$", "/bin/sh", signal.SIGKILL),
        ("", "/nowhere", 126 << 8),
    ],
)
def test_a_failing_hook_ends_everything(bench: Bench, script: str, path: str, status: int) -> None:
    told = run_hook(bench, script, path)
    assert told == (HOOK_ENDED, "hooks.startContainer[0]", status)
    assert bench.output() == ""


@pytest.mark.parametrize("retry", [True, False])
def test_a_call_that_was_interrupted_is_made_again_where_asked(bench: Bench, retry: bool) -> None:
    # Among the calls that fail with EINTR after SIGSTOP and SIGCONT, without a handler: signal(7).
    interruptible = select.epoll()
    interruptible.register(bench.go, select.EPOLLIN)
    bench.list._numbers = bench.list._numbers | {"epoll_pwait": EPOLL_PWAIT[bench.list.machine]}
    events = finish.Address(finish._FIRST)
    bench.list.call("epoll_pwait", interruptible.fileno(), events, 1, -1, retry=retry)
    the_rest(bench, "/bin/true", "true")
    bench.run(more=(interruptible.fileno(),))
    interruptible.close()
    until_it_waits(bench.pid)
    os.kill(bench.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, bench.pid, os.WSTOPPED)
    os.kill(bench.pid, signal.SIGCONT)
    if retry:
        os.write(bench.go, b"\0")
        assert bench.record() == READY
        assert bench.wait() == 0
    else:
        assert loop.position(bench.record())[1] == errno.EINTR
        assert bench.wait() == 1


def until_it_waits(pid: int) -> None:
    """Wait until a process is in epoll_pwait(2); the kernel shows the call it sleeps in."""
    for _ in range(1000):
        if Path(f"/proc/{pid}/syscall").read_text().split()[0] == str(EPOLL_PWAIT[MACHINE]):
            return
        time.sleep(0.01)
    raise AssertionError("it does not wait")


def test_a_second_run_exits(bench: Bench) -> None:
    # `#!/proc/self/exe`: the kernel runs the list again, when the pipe is closed.
    the_rest(bench, "/bin/true", "true")
    bench.run_again()
    assert bench.wait() == 126


def test_a_parent_that_is_gone_ends_it(bench: Bench) -> None:
    the_rest(bench, "/bin/true", "true")
    bench.ours.close()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as pid 1 of a pid namespace has it
    bench.run()
    assert bench.wait() == 1


def test_an_unknown_architecture_is_an_error() -> None:
    with pytest.raises(Error, match="riscv64"):
        finish.FinishList(3, 4, 5, "riscv64")


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
