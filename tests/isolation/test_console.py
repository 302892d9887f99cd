"""The console: made inside the container, held outside, and never the image's or the host's."""

import array
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import reaper

if TYPE_CHECKING:
    from tests.conftest import Bundle, Completed, Config, Lcpy

__all__ = ["reaper"]  # what `create` leaves behind is this process's to reap

SECONDS = 20


def terminal(config: "Config") -> None:
    config["process"]["terminal"] = True


class Listener:
    """A console socket, as an engine has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._socket.settimeout(SECONDS)
        self._open: list[int] = []

    def receive(self) -> tuple[bytes, int]:
        """Take one terminal: what was said with it, and its master."""
        connection, _address = self._socket.accept()
        with connection:
            connection.settimeout(SECONDS)
            size = array.array("i").itemsize
            name, ancillary, _flags, _from = connection.recvmsg(4096, socket.CMSG_SPACE(4 * size))
            assert [kind[:2] for kind in ancillary] == [(socket.SOL_SOCKET, socket.SCM_RIGHTS)]
            fds = array.array("i", ancillary[0][2])
            self._open += fds
            assert len(fds) == 1
            assert connection.recv(1) == b""  # and then no more
        return name, fds[0]

    def close(self) -> None:
        """Stop listening, and close what was received."""
        self._socket.close()
        for fd in self._open:
            os.close(fd)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    """A console socket with someone behind it."""
    made = Listener(tmp_path / "console")
    yield made
    made.close()


def read_until(master: int, text: bytes) -> bytes:
    """Read from a terminal until a text was shown, and return all."""
    os.set_blocking(master, False)
    shown = b""
    end = time.monotonic() + SECONDS
    while text not in shown:
        assert time.monotonic() < end, shown
        try:
            shown += os.read(master, 4096)
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:  # EIO: nobody has the other end open
            assert text in shown, shown
    return shown


def read_all(master: int) -> str:
    """Read what a terminal shows until nobody has its other end any more."""
    shown = b""
    while True:
        try:
            shown += os.read(master, 4096)
        except OSError:
            return shown.decode()


Show = Callable[..., str]


@pytest.fixture
def show(lcpy: "Lcpy", bundle: "Bundle", listener: Listener) -> Show:
    """Run a script in a container with a terminal, and return what it shows."""

    def run(script: str, change: "Callable[[Config], object]" = terminal) -> str:
        path = bundle("sh", "-c", script, change=change)
        container = lcpy.new_id()
        words = ("--bundle", path, "--console-socket", listener.path, container)
        lcpy("create", *words, check=True)
        _name, master = listener.receive()
        lcpy("start", container, check=True)
        return read_all(master)

    return run


def test_the_master_goes_to_the_socket_and_a_shell_answers(
    lcpy: "Lcpy", bundle: "Bundle", listener: Listener
) -> None:
    container = lcpy.new_id()
    path = bundle("sh", change=terminal)
    words = ("--bundle", path, "--console-socket", listener.path, container)
    lcpy("run", "--detach", *words, check=True)
    name, master = listener.receive()
    assert name == b"/dev/ptmx"  # as from runc
    os.write(master, b"echo $((6 * 7))\n")
    read_until(master, b"42\r\n")
    os.write(master, b"exit\n")
    lcpy.wait_for(container, "stopped")


def test_it_is_a_relative_path_too(
    lcpy: "Lcpy", bundle: "Bundle", listener: Listener, tmp_path: Path
) -> None:
    words = ("--bundle", bundle("true", change=terminal), "--console-socket", "console")
    lcpy("create", *words, lcpy.new_id(), check=True, cwd=tmp_path)
    assert listener.receive()[0]


def test_the_streams_are_the_slave_and_nothing_else_is_open(show: Show) -> None:
    shown = show("ls -l /proc/1/fd | sed -n 's/.* \\(.*\\) -> /\\1 /p'; true")
    assert shown.splitlines() == ["0 /dev/pts/0", "1 /dev/pts/0", "2 /dev/pts/0"]


def test_it_is_the_controlling_terminal_of_a_session_of_its_own(show: Show) -> None:
    session, number, group = show("cut -d' ' -f6,7,8 /proc/1/stat").split()
    assert (session, group) == ("1", "1")
    assert int(number) == os.makedev(136, 0)


def test_dev_console_is_that_terminal_bound(show: Show) -> None:
    shown = show(
        "grep ' /dev/console ' /proc/self/mountinfo; stat -c '%t:%T %F' /dev/console; tty;"
        "echo seen >/dev/console"
    )
    mount, kind, name, seen, _end = shown.split("\r\n")
    assert re.search(r" /0 /dev/console .* - devpts devpts ", mount)
    assert (kind, name, seen) == ("88:0 character special file", "/dev/pts/0", "seen")


def test_the_size_is_the_configs(show: Show) -> None:
    def sized(config: "Config") -> None:
        terminal(config)
        config["process"]["consoleSize"] = {"height": 10, "width": 110}

    assert show("stty size", sized) == "10 110\r\n"


def test_the_user_owns_it(show: Show) -> None:
    def as_user(config: "Config") -> None:
        terminal(config)
        config["process"]["user"] = {"uid": 1000, "gid": 1000}

    # The group and the mode are those that the devpts was mounted with.
    shown = show("stat -c %u:%g:%a $(tty); echo reopened >/dev/stdout", as_user)
    assert shown == "1000:5:620\r\nreopened\r\n"


def test_it_is_there_before_the_root_is_read_only(show: Show) -> None:
    assert "read-only file system" in show("touch /x 2>&1; tty").lower()


def test_devices_are_open_only_by_the_rules(show: Show) -> None:
    """The rules of the devices controller deny all that they do not name: not this terminal."""

    def denied(config: "Config") -> None:
        terminal(config)
        config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}

    assert show("tty; echo open >/dev/console", denied) == "/dev/pts/0\r\nopen\r\n"


# ── what can't be done is refused ───────────────────────────────────────────────────────────────


def refused(lcpy: "Lcpy", *words: str | Path, command: str = "create") -> str:
    """Assert that a command fails with one clear line and leaves nothing; return the line."""
    container = lcpy.new_id()
    done: Completed = lcpy(command, *words, container)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    assert f"lcpy {command} failed: " in done.stderr
    assert not lcpy.root.is_dir() or os.listdir(lcpy.root) == []
    assert not lcpy.root.is_dir() or lcpy("state", container).returncode == 1
    return done.stderr.replace('\\"', '"')


@pytest.mark.parametrize("words", [["create"], ["run", "--detach"]])
def test_a_terminal_that_nobody_holds(lcpy: "Lcpy", bundle: "Bundle", words: list[str]) -> None:
    path = bundle("sh", change=terminal)
    line = refused(lcpy, *words[1:], "--bundle", path, command=words[0])
    assert "cannot allocate tty if lcpy will detach without setting console socket" in line


@pytest.mark.parametrize("words", [["create"], ["run", "--detach"], ["run"]])
@pytest.mark.parametrize("with_terminal", [False, True])
def test_a_socket_for_no_terminal(
    lcpy: "Lcpy", bundle: "Bundle", listener: Listener, words: list[str], with_terminal: bool
) -> None:
    if with_terminal and words != ["run"]:
        return  # as it should be
    path = bundle("true", change=terminal if with_terminal else None)
    more = ("--bundle", path, "--console-socket", listener.path)
    line = refused(lcpy, *words[1:], *more, command=words[0])
    assert "cannot use console socket if lcpy will not detach or allocate tty" in line


def test_nobody_listens(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    deaf = socket.socket(socket.AF_UNIX)
    deaf.bind(str(tmp_path / "deaf"))
    (tmp_path / "file").write_text("")
    path = bundle("sh", change=terminal)
    with deaf:
        for name, why in {
            "missing": "no such file or directory",
            "deaf": "connection refused",
            "file": "connection refused",
            "x" * 200: "file name too long",
        }.items():
            line = refused(lcpy, "--bundle", path, "--console-socket", tmp_path / name)
            assert f"{name}: {why}" in line


def test_the_listener_leaves(
    lcpy: "Lcpy", bundle: "Bundle", listener: Listener, tmp_path: Path
) -> None:
    """After the connection, before the terminal."""
    hook = f"{tmp_path}/hook"
    path = bundle("sh", change=terminal)
    config = json.loads((path / "config.json").read_text())
    # Holds up the creation until the listener is gone.
    config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"touch {hook}; sleep 1"]}]
    }
    (path / "config.json").write_text(json.dumps(config))
    words = ("create", "--bundle", path, "--console-socket", listener.path, lcpy.new_id())
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(lcpy.argv(*words), stdout=log, stderr=log)
        end = time.monotonic() + SECONDS
        while not os.path.exists(hook):
            assert time.monotonic() < end
            time.sleep(0.01)
        connection, _address = listener._socket.accept()
        connection.close()
        assert process.wait(SECONDS) == 1
    said = (tmp_path / "log").read_text()
    assert "send the terminal to the console socket" in said
    assert "broken pipe" in said
    assert said.count("\n") == 1, said
    assert os.listdir(lcpy.root) == []


def test_a_size_that_no_terminal_has(lcpy: "Lcpy", bundle: "Bundle", listener: Listener) -> None:
    def sized(config: "Config") -> None:
        terminal(config)
        config["process"]["consoleSize"] = {"height": 70000, "width": 80}

    words = ("--bundle", bundle("sh", change=sized), "--console-socket", listener.path)
    assert "process.consoleSize.height: " in refused(lcpy, *words)


def test_a_mount_namespace_is_needed(lcpy: "Lcpy", bundle: "Bundle", listener: Listener) -> None:
    """/dev/console would be bound for the whole host."""

    def bare(config: "Config") -> None:
        terminal(config)
        config["mounts"] = []
        config["linux"] = {"namespaces": [{"type": "pid"}]}
        config["hostname"] = ""

    words = ("--bundle", bundle("sh", change=bare), "--console-socket", listener.path)
    assert "process.terminal: a terminal needs a mount namespace" in refused(lcpy, *words)


# ── an image that owns /dev ─────────────────────────────────────────────────────────────────────


def without(*destinations: str) -> "Callable[[Config], None]":
    """A terminal, and no mounts on these."""

    def change(config: "Config") -> None:
        terminal(config)
        config["root"]["readonly"] = False
        config["mounts"] = [
            mount for mount in config["mounts"] if mount["destination"] not in destinations
        ]

    return change


OWN_DEV = without("/dev", "/dev/shm", "/dev/mqueue")
NO_PTS = without("/dev", "/dev/shm", "/dev/mqueue", "/dev/pts")


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    """A file of the host that must not change."""
    path = tmp_path / "secret"
    path.write_text("secret")
    path.chmod(0o600)
    before = path.stat()
    yield path
    after = path.stat()
    assert path.read_text() == "secret"
    assert (before.st_mode, before.st_uid, before.st_ino) == (
        after.st_mode,
        after.st_uid,
        after.st_ino,
    )


@pytest.mark.parametrize("target", ["/proc/1/root/etc/passwd", "/etc/passwd", "nowhere", "host"])
def test_dev_console_is_a_symbolic_link(
    lcpy: "Lcpy", bundle: "Bundle", listener: Listener, secret: Path, target: str
) -> None:
    path = bundle("sh", change=OWN_DEV)
    target = str(secret) if target == "host" else target
    (path / "rootfs/dev/console").symlink_to(target)
    line = refused(lcpy, "--bundle", path, "--console-socket", listener.path)
    assert 'bind the terminal to "/dev/console": too many levels of symbolic links' in line
    assert (path / "rootfs/dev/console").is_symlink()
    assert not (path / "rootfs/dev/nowhere").exists()


def test_dev_console_is_a_directory(lcpy: "Lcpy", bundle: "Bundle", listener: Listener) -> None:
    path = bundle("sh", change=OWN_DEV)
    (path / "rootfs/dev/console").mkdir()
    line = refused(lcpy, "--bundle", path, "--console-socket", listener.path)
    assert 'bind the terminal to "/dev/console": is a directory' in line


@pytest.mark.parametrize("kind", ["file", "fifo", "device"])
def test_dev_console_is_something_else_of_the_images(
    lcpy: "Lcpy", bundle: "Bundle", listener: Listener, kind: str
) -> None:
    """It is covered, and stays as it was beneath."""
    path = bundle("sh", "-c", "stat -c %t:%T /dev/console", change=OWN_DEV)
    console = path / "rootfs/dev/console"
    mode = {"file": stat.S_IFREG, "fifo": stat.S_IFIFO, "device": stat.S_IFCHR}[kind]
    os.mknod(console, mode | 0o600, os.makedev(1, 5))
    before = console.lstat()
    container = lcpy.new_id()
    words = ("--bundle", path, "--console-socket", listener.path, container)
    lcpy("run", "--detach", *words, check=True)
    assert read_all(listener.receive()[1]) == "88:0\r\n"
    after = console.lstat()
    assert (before.st_mode, before.st_uid, before.st_rdev) == (
        after.st_mode,
        after.st_uid,
        after.st_rdev,
    )


@pytest.mark.parametrize("fake", ["nothing", "empty", "file", "device", "fifo", "link", "mount"])
def test_dev_pts_is_the_images(
    lcpy: "Lcpy", bundle: "Bundle", listener: Listener, secret: Path, fake: str
) -> None:
    """A ptmx that is not of a devpts gives no terminal, and is not even opened."""
    path = bundle("sh", change=NO_PTS)
    pts = path / "rootfs/dev/pts"
    if fake != "nothing":
        pts.mkdir()
    if fake == "file":
        (pts / "ptmx").write_text("")
        (pts / "0").write_text("")
    elif fake == "device":  # the right numbers, in the wrong place: the host's devpts would open
        os.mknod(pts / "ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
    elif fake == "fifo":
        os.mkfifo(pts / "ptmx")
    elif fake == "link":
        shutil.rmtree(pts)
        pts.symlink_to("/proc/1/root/dev/pts")
    elif fake == "mount":
        config = json.loads((path / "config.json").read_text())
        config["mounts"].append({"destination": "/dev/pts", "type": "tmpfs", "source": "tmpfs"})
        (path / "config.json").write_text(json.dumps(config))
    line = refused(lcpy, "--bundle", path, "--console-socket", listener.path)
    assert 'process.terminal: open "/dev/pts": ' in line
    assert 'a terminal needs a mount of type "devpts" on it' in line


def test_something_is_mounted_over_the_ptmx(
    lcpy: "Lcpy", bundle: "Bundle", listener: Listener, secret: Path
) -> None:
    def over(config: "Config") -> None:
        terminal(config)
        config["mounts"].append(
            {"destination": "/dev/pts/ptmx", "source": str(secret), "options": ["bind"]}
        )

    words = ("--bundle", bundle("sh", change=over), "--console-socket", listener.path)
    assert 'open "/dev/pts/ptmx": invalid cross-device link' in refused(lcpy, *words)


def test_dev_is_a_link_inside_the_image(lcpy: "Lcpy", bundle: "Bundle", listener: Listener) -> None:
    """It leads nowhere but to the container's own root, also for the console."""
    path = bundle("sh", "-c", "stat -c %t:%T /elsewhere/console; tty", change=OWN_DEV)
    shutil.rmtree(path / "rootfs/dev")
    (path / "rootfs/elsewhere").mkdir()
    (path / "rootfs/dev").symlink_to("/../../elsewhere")
    words = ("--bundle", path, "--console-socket", listener.path, lcpy.new_id())
    lcpy("run", "--detach", *words, check=True)
    assert read_all(listener.receive()[1]).startswith("88:0\r\n")


# ── standard streams that are given ─────────────────────────────────────────────────────────────


def test_streams_become_the_users_only_where_nobody_else_can_mind(
    lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path
) -> None:
    """Pipes do, so that /dev/stdout can be reopened; a file or a device of the host's does not."""

    def as_user(config: "Config") -> None:
        config["process"]["user"] = {"uid": 1000, "gid": 1000}

    os.mknod(tmp_path / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    path = bundle("sh", "-c", "echo reopened >/dev/stdout", change=as_user)
    container = lcpy.new_id()
    read, write = os.pipe()
    with (
        (tmp_path / "zero").open("rb") as device,
        (tmp_path / "file").open("wb") as file,
        os.fdopen(read, "rb") as output,
    ):
        words = lcpy.argv("run", "--bundle", path, container)
        process = subprocess.Popen(words, stdin=device, stdout=write, stderr=file)
        os.close(write)
        assert output.read() == b"reopened\n"
        assert process.wait(SECONDS) == 0
    assert (tmp_path / "zero").stat().st_uid == 0
    assert (tmp_path / "file").stat().st_uid == 0
