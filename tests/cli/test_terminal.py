"""`run` with a terminal in the foreground: two terminals, and lcpy between them."""

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import PATIENCE

if TYPE_CHECKING:
    from tests.conftest import Bundle, Config, Lcpy

SECONDS = 20 * PATIENCE
# A loop of a program that waits for a signal; bounded, should none come.
WAIT = "for i in $(seq 300); do sleep 0.05; done"


def terminal(config: "Config") -> None:
    config["process"]["terminal"] = True


class Outer:
    """The caller's terminal: the test types at one end, `lcpy run` has the other."""

    def __init__(self, height: int = 33, width: int = 77) -> None:
        self.master, self.slave = os.openpty()
        self.shown = b""
        self.resize(height, width)
        self.before = termios.tcgetattr(self.slave)
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, argv: list[str], **streams: Any) -> subprocess.Popen[bytes]:
        """Start a command with this as its controlling terminal, and its streams if not given."""

        def take() -> None:
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

        options: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), self.slave)
        options |= {"preexec_fn": take, **streams}
        self.process = subprocess.Popen(argv, start_new_session=True, **options)
        return self.process

    def resize(self, height: int, width: int) -> None:
        """Change its size, as the window of a terminal emulator does."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.master, keys)

    def read(self, seconds: float) -> bool:
        """Read what is shown; False when nothing came in time."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        self.shown += os.read(self.master, 65536)
        return True

    def expect(self, text: bytes) -> None:
        """Read until a text has been shown."""
        end = time.monotonic() + SECONDS
        while text not in self.shown:
            assert time.monotonic() < end, self.shown[-2000:]
            self.read(0.1)

    def end(self) -> int:
        """Wait for the command's end, and return its exit code."""
        assert self.process is not None
        end = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < end, self.shown[-2000:]
            self.read(0.05)
        while self.read(0):
            pass
        return self.process.returncode

    def is_raw(self) -> bool:
        """No echo, no lines, no signals by keys."""
        flags = termios.tcgetattr(self.slave)[3]
        return not flags & (termios.ECHO | termios.ICANON | termios.ISIG)

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self.master)
        self.master = os.open("/dev/null", os.O_RDWR)

    def close(self) -> None:
        """Put it away, and the command with it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def outer() -> Iterator[Outer]:
    """A terminal of 33 lines of 77 characters."""
    made = Outer()
    yield made
    made.close()


@pytest.fixture
def run(lcpy: "Lcpy", bundle: "Bundle", outer: Outer) -> Callable[..., subprocess.Popen[bytes]]:
    """Run a script, in a container with a terminal, in the foreground of the outer terminal."""

    def start(
        script: str, *, change: "Callable[[Config], object]" = terminal, **streams: Any
    ) -> subprocess.Popen[bytes]:
        path = bundle("sh", "-c", script, change=change)
        return outer.run(lcpy.argv("run", "--bundle", path, lcpy.new_id()), **streams)

    return start


Run = Callable[..., "subprocess.Popen[bytes]"]


def test_the_program_has_a_terminal_of_its_own(run: Run, outer: Outer) -> None:
    run("tty; stty size; cut -d' ' -f7 /proc/self/stat; readlink /proc/self/fd/2; exit 3")
    assert outer.end() == 3
    number = str(os.makedev(136, 0)).encode()  # tty_nr: its controlling terminal
    assert outer.shown.split(b"\r\n") == [b"/dev/pts/0", b"33 77", number, b"/dev/pts/0", b""]


def test_console_size_wins_over_the_callers(run: Run, outer: Outer) -> None:
    def sized(config: "Config") -> None:
        terminal(config)
        config["process"]["consoleSize"] = {"height": 10, "width": 110}

    run("stty size", change=sized)
    assert outer.end() == 0
    assert outer.shown == b"10 110\r\n"


def test_keys_reach_the_program(run: Run, outer: Outer) -> None:
    run("echo ready; read word; echo got $word")
    outer.expect(b"ready")
    outer.type(b"hello\r")
    assert outer.end() == 0
    # Once: the container's terminal echoes, and the outer one no longer does.
    assert outer.shown == b"ready\r\nhello\r\ngot hello\r\n"


def test_control_c_is_the_containers(run: Run, outer: Outer) -> None:
    run(f"trap 'echo caught; exit 5' INT; echo ready; {WAIT}")
    outer.expect(b"ready")
    outer.type(b"\x03")
    assert outer.end() == 5
    assert b"caught" in outer.shown


def test_a_resize_reaches_the_program(run: Run, outer: Outer) -> None:
    run(f"trap 'stty size; exit 0' WINCH; echo ready; {WAIT}")
    outer.expect(b"ready")
    outer.resize(40, 100)
    assert outer.end() == 0
    assert b"40 100" in outer.shown


def test_the_callers_terminal_is_raw_and_then_as_before(run: Run, outer: Outer) -> None:
    run("echo ready; read word")
    outer.expect(b"ready")
    assert outer.is_raw()
    assert not termios.tcgetattr(outer.slave)[1] & termios.OPOST
    outer.type(b"\r")
    assert outer.end() == 0
    assert termios.tcgetattr(outer.slave) == outer.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_the_program_and_the_terminal_is_as_before(
    run: Run, outer: Outer, number: signal.Signals
) -> None:
    process = run(f"trap 'exit 7' {number.name[3:]}; echo ready; {WAIT}")
    outer.expect(b"ready")
    assert outer.is_raw()
    process.send_signal(number)
    assert outer.end() == 7
    assert termios.tcgetattr(outer.slave) == outer.before


def test_a_killed_container_gives_the_terminal_back(run: Run, outer: Outer, lcpy: "Lcpy") -> None:
    run(f"echo ready; {WAIT}")
    outer.expect(b"ready")
    lcpy("kill", os.listdir(lcpy.root)[0], "KILL", check=True)
    assert outer.end() == 128 + signal.SIGKILL
    assert termios.tcgetattr(outer.slave) == outer.before


def test_a_program_that_cannot_start_gives_the_terminal_back(
    lcpy: "Lcpy", bundle: "Bundle", outer: Outer
) -> None:
    path = bundle("/script", change=terminal)
    (path / "rootfs/script").write_text("#!/missing\n")
    (path / "rootfs/script").chmod(0o755)
    outer.run(lcpy.argv("run", "--bundle", path, lcpy.new_id()))
    assert outer.end() == 1
    assert outer.shown == b"exec /script: no such file or directory\r\n"
    assert termios.tcgetattr(outer.slave) == outer.before
    assert os.listdir(lcpy.root) == []


def test_what_a_failed_hook_has_shown_is_shown(run: Run, outer: Outer) -> None:
    def change(config: "Config") -> None:
        terminal(config)
        config["hooks"] = {"startContainer": [{"path": "/bin/busybox", "args": ["cat", "/nosuch"]}]}

    run("true", change=change)
    assert outer.end() == 1
    shown = outer.shown.decode().splitlines()
    assert shown[0] == "cat: can't open '/nosuch': No such file or directory"
    assert "error running startContainer hook #0: /bin/busybox: exit status 1" in shown[1]


def test_nothing_of_the_output_is_lost(run: Run, outer: Outer) -> None:
    run("seq 40000")
    assert outer.end() == 0
    assert outer.shown == b"".join(b"%d\r\n" % number for number in range(1, 40001))


def lines(count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


def test_a_pipe_gets_the_lines_as_they_were_written(run: Run, outer: Outer) -> None:
    process = run("seq 40000; exit 4", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    shown, _error = process.communicate(timeout=SECONDS)
    assert (process.returncode, shown) == (4, lines(40000))


def test_a_slow_reader_loses_nothing(run: Run, outer: Outer) -> None:
    """The program has ended long before its last line is read."""
    process = run("seq 2000", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    shown = b""
    for _part in range(50):
        time.sleep(0.01)
        shown += os.read(process.stdout.fileno(), 300)
    shown += process.stdout.read()
    process.stdout.close()
    assert (process.wait(SECONDS), shown) == (0, lines(2000))


def test_standard_input_need_not_be_a_terminal(run: Run, outer: Outer) -> None:
    process = run("read word; echo got $word; stty size", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"hello\n")
    process.stdin.close()
    assert outer.end() == 0
    assert not outer.is_raw()
    assert outer.shown == b"hello\r\ngot hello\r\n33 77\r\n"


def test_no_terminal_at_all(lcpy: "Lcpy", bundle: "Bundle") -> None:
    path = bundle("sh", "-c", "read word; tty; echo $word", change=terminal)
    done = lcpy("run", "--bundle", path, lcpy.new_id(), stdin="word\n", start_new_session=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "word\n/dev/pts/0\nword\n"


def test_the_size_is_the_controlling_terminals_where_no_stream_is_one(
    run: Run, outer: Outer, tmp_path: Path
) -> None:
    with (tmp_path / "out").open("wb") as out:
        process = run("stty size", stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        assert process.wait(SECONDS) == 0
    assert (tmp_path / "out").read_bytes() == b"33 77\n"


def test_input_that_nobody_reads_holds_up_nothing(run: Run, outer: Outer) -> None:
    """More than the kernel keeps for a terminal, while the program writes, and reads only then."""
    process = run(
        "stty raw -echo; echo ready; sleep 0.5; seq 40000; head -c 200000 | wc -c",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 6) == b"ready\n"
    shown, _error = process.communicate(b"x" * 200_000, timeout=SECONDS)
    assert process.returncode == 0
    assert shown.endswith(lines(40000) + b"200000\n"), shown[-100:]


def test_a_reader_that_leaves_hangs_the_terminal_up(run: Run, outer: Outer) -> None:
    process = run("trap 'exit 6' HUP; seq 10000000", stdout=subprocess.PIPE)
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 100)
    process.stdout.close()
    assert outer.end() != 0
    assert termios.tcgetattr(outer.slave) == outer.before


def test_a_reader_that_leaves_sends_no_signal_of_lcpys_own(
    run: Run, outer: Outer, tmp_path: Path
) -> None:
    """Its write to the closed pipe brings it a SIGPIPE, which is not for the container."""
    script = "trap 'echo PIPE >/signals' PIPE; trap '' HUP; echo ready; " + WAIT

    def change(config: "Config") -> None:
        terminal(config)
        config["root"]["readonly"] = False
        config["process"]["args"][2] = script.replace("300", "20")

    process = run(script, change=change, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    process.wait(SECONDS)
    assert not list(tmp_path.glob("bundle-*/rootfs/signals"))


def test_a_window_that_is_closed_hangs_the_terminal_up(run: Run, outer: Outer) -> None:
    process = run("echo ready; read word || exit 8")
    outer.expect(b"ready")
    outer.hang_up()
    assert process.wait(SECONDS) == 8


def test_the_program_may_close_its_terminal_for_a_while(run: Run, outer: Outer) -> None:
    """While nobody has the terminal open, it is neither at its end nor asked again and again."""
    process = run("exec 0<&- 1>&- 2>&-; sleep 1; exec 1>/dev/pts/0; echo back")
    began = os.times()
    assert outer.end() == 0
    used = os.times()
    assert outer.shown == b"back\r\n"
    spent = used.children_user + used.children_system - began.children_user - began.children_system
    assert spent < 0.9, f"{process.args!r} was busy for {spent} s"
