"""What the attacks share: the command without a guard, a host to watch, and an eye on files."""

import contextlib
import ctypes
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import PR_SET_CHILD_SUBREAPER
from tests.conftest import CHECKOUT, Lcpy

IN_OPEN, IN_CLOSE_NOWRITE, IN_MODIFY = 0x20, 0x10, 0x2
IN_NONBLOCK = os.O_NONBLOCK


class Bare(Lcpy):
    """The command as it is installed, without the guard: what would be hidden by it shows."""

    def argv(self, *words: str | Path) -> list[str]:
        """The whole command line for some words."""
        return [str(CHECKOUT / "bin/lcpy"), "--root", str(self.root), *map(str, words)]


@pytest.fixture
def bare(lcpy: Lcpy) -> Bare:
    """The unguarded command, on the same state directory as `lcpy`."""
    return Bare(lcpy.root)


@pytest.fixture(params=["guarded", "bare"])
def either(request: pytest.FixtureRequest, lcpy: Lcpy) -> Lcpy:
    """The command, once with the guard and once without."""
    return lcpy if request.param == "guarded" else Bare(lcpy.root)


def tree_of(directory: Path) -> dict[str, tuple[object, ...]]:
    """What is below a directory: kinds, modes, owners, contents, and where links point."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [directory, *directory.rglob("*")]:
        seen = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(directory))] = (
            seen.st_mode,
            seen.st_uid,
            seen.st_gid,
            seen.st_rdev,
            content,
        )
    return found


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that must not change."""
    directory = tmp_path / "host"
    (directory / "etc").mkdir(parents=True)
    (directory / "etc/passwd").write_text("root:x:0:0::/secret/home:/bin/sh\n")
    (directory / "secret").write_text("secret")
    before = tree_of(directory)
    yield directory
    assert tree_of(directory) == before


class Watch:
    """Tells which files below some directories were opened or written, by whomever (inotify(7)).

    It goes by inode, so it sees through mount namespaces. Opens with O_PATH, which neither read a
    file nor wake up a device, are not told.
    """

    def __init__(self, top: Path, mask: int = IN_OPEN | IN_MODIFY) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(IN_NONBLOCK)
        assert self._fd >= 0
        self._names: dict[int, Path] = {}
        self._top = top
        for path, _names, _files in os.walk(top):
            number = self._libc.inotify_add_watch(self._fd, os.fsencode(path), mask)
            assert number >= 0, f"inotify_add_watch: errno {ctypes.get_errno()}"
            self._names[number] = Path(path)

    def opened(self) -> set[str]:
        """The files (not directories) since the last call, as paths below the top."""
        found: set[str] = set()
        while True:
            try:
                data = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                return found
            at = 0
            while at < len(data):
                number, mask, _cookie, size = struct.unpack_from("iIII", data, at)
                assert not mask & 0x4000, "inotify's queue overflowed"
                name = data[at + 16 : at + 16 + size].rstrip(b"\0")
                at += 16 + size
                if name and not mask & 0x40000000:  # IN_ISDIR
                    path = self._names[number] / os.fsdecode(name)
                    found.add(str(path.relative_to(self._top)))

    def close(self) -> None:
        """Stop watching."""
        os.close(self._fd)


@pytest.fixture
def watch() -> Iterator[Callable[[Path], Watch]]:
    """Make a `Watch` of a directory."""
    made: list[Watch] = []

    def make(top: Path) -> Watch:
        made.append(Watch(top))
        return made[-1]

    yield make
    for each in made:
        each.close()


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    """Assert that a command failed with nothing but one clear line of error; return it."""
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if "level=warning" not in line]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in lines[0]
    assert "Error:" not in lines[0], lines[0]  # the name of a Python exception
    return lines[0]


@pytest.fixture(autouse=True)
def reaped(lcpy: Lcpy) -> Iterator[None]:
    """Reap the containers that a test leaves to us: a machine's own init can take its time."""
    syscalls.prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield
    complaints = lcpy.delete_all()
    syscalls.prctl(PR_SET_CHILD_SUBREAPER, 0)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    assert not complaints, complaints
