"""Compiled filters that are kept: found again, and believed only where nobody else wrote them."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.security import seccomp, seccomp_cache, seccomp_profile

Profile = dict[str, Any]

PROFILE: Profile = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}],
}
NOBODY = 65534


class Compiler:
    """Counts how often something is really compiled."""

    def __init__(self) -> None:
        self.count = 0
        self._compile = seccomp_profile.compile_profile

    def __call__(self, profile: Profile) -> tuple[bytes, int, bytes]:
        self.count += 1
        return self._compile(profile)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    counting = Compiler()
    monkeypatch.setattr(seccomp_profile, "compile_profile", counting)
    return counting


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache that holds the filter of PROFILE."""
    path = tmp_path / "seccomp"
    seccomp.compile_filter(PROFILE, str(path))
    return path


def the_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def same(profile: Profile, folder: Path) -> bool:
    """Is what comes from the cache, or replaces it, what is compiled without one?"""
    fresh = seccomp.compile_filter(profile, None)
    kept = seccomp.compile_filter(profile, str(folder))
    return (kept.instructions, kept.flags) == (fresh.instructions, fresh.flags)


def test_a_filter_is_compiled_once(folder: Path, compiler: Compiler) -> None:
    for _ in range(3):
        seccomp.compile_filter(PROFILE, str(folder))
    assert compiler.count == 0
    assert same(PROFILE, folder)


def test_what_is_kept_is_for_us_alone(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(the_file(folder).stat().st_mode) == 0o600


def test_without_a_cache_everything_is_compiled(compiler: Compiler) -> None:
    for _ in range(2):
        seccomp.compile_filter(PROFILE, None)
    assert compiler.count == 2


@pytest.mark.parametrize(
    "change",
    [
        {"defaultAction": "SCMP_ACT_KILL"},
        {"defaultErrnoRet": 2},
        {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]},
        {"flags": []},
        {"flags": ["SECCOMP_FILTER_FLAG_LOG"]},
        {"architectures": ["SCMP_ARCH_X86"]},
    ],
)
def test_another_profile_is_another_filter(
    folder: Path, compiler: Compiler, change: Profile
) -> None:
    seccomp.compile_filter(PROFILE | change, str(folder))
    assert compiler.count == 1
    assert len(list(folder.iterdir())) == 2
    assert same(PROFILE | change, folder)
    assert same(PROFILE, folder)


def test_a_change_of_libseccomp_kernel_or_format_compiles_again(
    folder: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seccomp, "_stamp", lambda path: (1, 1))
    seccomp.compile_filter(PROFILE, str(folder))
    assert compiler.count == 1
    monkeypatch.setattr(seccomp, "_FORMAT", 2)
    seccomp.compile_filter(PROFILE, str(folder))
    assert compiler.count == 2
    monkeypatch.setattr("posix.uname", lambda: type("Name", (), {"release": "9"}))
    seccomp.compile_filter(PROFILE, str(folder))
    assert compiler.count == 3


def test_a_libseccomp_that_is_gone_compiles_again(
    tmp_path: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "seccomp"
    monkeypatch.setattr(seccomp, "_stamp", lambda path: (-1, -1))
    for _ in range(2):
        seccomp.compile_filter(PROFILE, str(folder))
    assert compiler.count == 2


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def cut(path: Path, size: int) -> None:
    os.truncate(path, size)


def link_to_a_copy(path: Path) -> None:
    copy = path.parent.parent / "copy"
    path.rename(copy)
    path.symlink_to(copy)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "digest": lambda path: flip(path, 0),
    "flags": lambda path: flip(path, 32),
    "library": lambda path: flip(path, 60),
    "last byte": lambda path: flip(path, -1),
    "empty": lambda path: cut(path, 0),
    "a digest alone": lambda path: cut(path, 32),
    "cut off": lambda path: cut(path, path.stat().st_size - 8),
    "longer": lambda path: path.write_bytes(path.read_bytes() + bytes(8)),
    "huge": lambda path: cut(path, 1 << 30),
    "foreign": lambda path: os.chown(path, NOBODY, 0),
    "group may write": lambda path: path.chmod(0o620),
    "all may write": lambda path: path.chmod(0o602),
    "symbolic link": link_to_a_copy,
    "fifo": fifo,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_file_that_can_not_be_believed_is_replaced(
    folder: Path, compiler: Compiler, how: str
) -> None:
    path = the_file(folder)
    whole = path.read_bytes()
    DAMAGE[how](path)
    assert same(PROFILE, folder)
    assert compiler.count == 2
    assert path.read_bytes() == whole
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert path.lstat().st_uid == os.geteuid()
    assert same(PROFILE, folder)
    assert compiler.count == 3


def test_a_filter_under_the_name_of_another_is_not_believed(
    folder: Path, compiler: Compiler
) -> None:
    ours = the_file(folder)
    other = {"defaultAction": "SCMP_ACT_ALLOW"}
    seccomp.compile_filter(other, str(folder))
    (theirs,) = set(folder.iterdir()) - {ours}
    theirs.rename(ours)
    assert same(PROFILE, folder)
    assert compiler.count == 3


def all_may_write(folder: Path) -> None:
    folder.chmod(0o702)


def of_somebody_else(folder: Path) -> None:
    os.chown(folder, NOBODY, 0)


def behind_a_link(folder: Path) -> None:
    real = folder.with_name("real")
    folder.rename(real)
    folder.symlink_to(real)


def a_file(folder: Path) -> None:
    the_file(folder).unlink()
    folder.rmdir()
    folder.touch()


def in_the_way(folder: Path) -> None:
    """What is to be replaced is a directory: it stays, and the filter is compiled each time."""
    directory(the_file(folder))


@pytest.mark.parametrize(
    "spoil", [all_may_write, of_somebody_else, behind_a_link, a_file, in_the_way]
)
def test_a_directory_that_can_not_be_believed_is_left_alone(
    folder: Path, compiler: Compiler, spoil: Callable[[Path], object]
) -> None:
    spoil(folder)
    before = sorted(folder.parent.rglob("*"))
    for _ in range(2):
        assert same(PROFILE, folder)
    assert compiler.count == 4
    assert sorted(folder.parent.rglob("*")) == before


def test_a_missing_parent_is_no_error(tmp_path: Path, compiler: Compiler) -> None:
    assert same(PROFILE, tmp_path / "missing" / "seccomp")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr("posix.write", lambda fd, data: write(fd, data[:10]))
    assert same(PROFILE, tmp_path / "seccomp")
    assert os.listdir(tmp_path / "seccomp") == []


def test_old_filters_make_room(folder: Path) -> None:
    oldest = the_file(folder)
    os.utime(oldest, (1, 1))
    for number in range(seccomp_cache._MAX_FILES):
        seccomp_cache.write(str(folder), seccomp_cache.digest(b"%d" % number), b"data")
    names = {path.name for path in folder.iterdir()}
    assert len(names) == seccomp_cache._MAX_FILES
    assert oldest.name not in names
    assert seccomp_cache.read(str(folder), seccomp_cache.digest(b"0")) == b"data"


def test_a_kept_filter_imports_nothing_that_is_slow(folder: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from libcontainer_py.security import seccomp\n"
        f"seccomp.compile_filter({PROFILE!r}, sys.argv[2])\n"
        "print(*sys.modules)"
    )
    checkout = Path(__file__).resolve().parents[2]
    argv = [sys.executable, "-I", "-S", "-c", script, str(checkout), str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    imported = set(done.stdout.split())
    assert "libcontainer_py.security.seccomp" in imported
    slow = {"ctypes", "hashlib", "os", "re", "libcontainer_py.security.seccomp_profile"}
    # A Python with a site of its own has some of these from the start.
    bare = subprocess.run(
        [*argv[:3], "-c", "import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (imported - set(bare.stdout.split())) & slow == set()
