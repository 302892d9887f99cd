"""passwd and group: who a process shall be, and what an image must not do to that."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.user import passwd
from libcontainer_py.user.lookup import ExecUser, get_additional_groups, get_exec_user
from libcontainer_py.user.passwd import home_in_root, home_of, open_beneath

PASSWD = b"""\
root:x:0:0:root user:/root:/bin/bash
adm:x:42:43:adm:/var/adm:/bin/false
111:x:222:333::/var/garbage
odd:x:111:112::/home/odd:::::
user7456:x:7456:100:Vasya:/home/user7456
adm:x:1:1:a second one:/second:/bin/sh
other42:x:42:1::/second
this is not a line
"""
GROUP = b"""\
# a comment
root:x:0:root
adm:x:43:
grp:x:1234:root,adm,user7456
444:x:555:odd
odd:x:444:
many:x:777:root,user7456
adm:x:99:
broken
"""

Files = Callable[[bytes | None], int | None]


@pytest.fixture
def file() -> Iterator[Files]:
    """Make a descriptor of a file with some content (None: no file)."""
    opened = []

    def make(content: bytes | None) -> int | None:
        if content is None:
            return None
        with tempfile.TemporaryFile() as handle:
            handle.write(content)
            handle.flush()
            opened.append(os.dup(handle.fileno()))
        return opened[-1]

    yield make
    for fd in opened:
        os.close(fd)


@pytest.mark.parametrize(
    ("spec", "uid", "gid", "sgids", "home"),
    [
        ("root", 0, 0, [0, 1234, 777], "/root"),
        ("adm", 42, 43, [1234], "/var/adm"),
        ("42", 42, 43, [1234], "/var/adm"),
        ("00042", 42, 43, [1234], "/var/adm"),
        ("root:adm", 0, 43, [], "/root"),
        ("adm:1234", 42, 1234, [], "/var/adm"),
        ("42:1234", 42, 1234, [], "/var/adm"),
        ("adm:", 42, 43, [1234], "/var/adm"),
        ("1337:1234", 1337, 1234, [], ""),
        ("1337", 1337, 0, [], ""),
        ("1337:grp", 1337, 1234, [], ""),
        ("1337:", 1337, 0, [], ""),
        (":grp", 0, 1234, [], "/root"),
        ("", 0, 0, [0, 1234, 777], "/root"),
        (":", 0, 0, [0, 1234, 777], "/root"),
        # digits are never a name, whatever passwd and group have
        ("111", 111, 112, [555], "/home/odd"),
        ("111:444", 111, 444, [], "/home/odd"),
        ("222", 222, 333, [], "/var/garbage"),
        ("7456", 7456, 100, [1234, 777], "/home/user7456"),
        ("2147483647", 2147483647, 0, [], ""),
    ],
)
def test_exec_user(
    file: Files, spec: str, uid: int, gid: int, sgids: "list[int]", home: str
) -> None:
    user = get_exec_user(spec, None, file(PASSWD), file(GROUP))
    assert (user.uid, user.gid, user.sgids, user.home) == (uid, gid, sgids, home)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", (1111, 888, [10, 11], "/def")),
        ("5", (5, 888, [10, 11], "/def")),
        ("5:6", (5, 6, [10, 11], "/def")),
        (":grp", (1111, 1234, [10, 11], "/def")),
        ("adm", (42, 43, [1234], "/var/adm")),
    ],
)
def test_defaults_stay_where_nothing_is_said(
    file: Files, spec: str, expected: "tuple[object, ...]"
) -> None:
    defaults = ExecUser(1111, 888, [10, 11], "/def")
    user = get_exec_user(spec, defaults, file(PASSWD), file(GROUP))
    assert (user.uid, user.gid, user.sgids, user.home) == expected
    assert defaults.sgids == [10, 11]


def test_the_user_of_the_defaults_is_looked_up(file: Files) -> None:
    user = get_exec_user("", ExecUser(uid=42), file(PASSWD), file(GROUP))
    assert (user.uid, user.gid, user.sgids, user.home) == (42, 43, [1234], "/var/adm")


@pytest.mark.parametrize("files", [(None, None), (b"", b"")])
def test_numbers_need_no_files(file: Files, files: "tuple[bytes | None, bytes | None]") -> None:
    user = get_exec_user("7:8", None, file(files[0]), file(files[1]))
    assert (user.uid, user.gid, user.sgids) == (7, 8, [])
    with pytest.raises(ConfigError, match='unable to find user "root"'):
        get_exec_user("root", None, file(files[0]), file(files[1]))
    with pytest.raises(ConfigError, match='unable to find group "root"'):
        get_exec_user("7:root", None, file(files[0]), file(files[1]))


@pytest.mark.parametrize(
    "spec",
    [
        "nobody",
        "root:nobody",
        "-1",
        "0:-1",
        "+0",
        "0x0",
        " 0",
        "\u0660",  # an Arabic zero: Python's int() takes it
        "root ",
        "this is not a line",
        "0:0:0",
        "\udc00x\ud800",
        "ro\not",
    ],
)
def test_bad_specs_are_refused(file: Files, spec: str) -> None:
    with pytest.raises(ConfigError) as caught:
        get_exec_user(spec, None, file(PASSWD), file(GROUP))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "number", ["2147483648", "4294967295", "4294967296", "18446744073709551616", "9" * 5000]
)
def test_a_number_out_of_range_is_no_name(file: Files, number: str) -> None:
    """CVE-2024-40635: the image has it as the name of uid 0, and of gid 0."""
    image = file(number.encode() + b":x:0:0::/:\n")
    for spec in (number, f"1:{number}"):
        with pytest.raises(ConfigError, match="numbers from 0 to 2147483647") as caught:
            get_exec_user(spec, None, image, image)
        assert len(str(caught.value)) < 1000
    with pytest.raises(ConfigError, match="numbers from 0 to 2147483647"):
        get_additional_groups([number], image)


@pytest.mark.parametrize(
    "line",
    [
        b"x",
        b"x:x",
        b"x:x:0",
        b"x:x::0",
        b"x:x:0:",
        b"x:x:zero:0",
        b"x:x:-1:0",
        b"x:x:+1:0",
        b"x:x: 1:0",
        b"x:x:1_0:0",
        b"x:x:2147483648:0",
        b"x:x:0:4294967295",
        b"x:x:" + b"9" * 5000 + b":0",
        b"x:x:0:0::/a\0b:",
        b"#x:x:0:0::/:",
        b"+x:x:0:0::/:",
        b"-x:x:0:0::/:",
        b"+::::::",
        b"+",
        b":x:0:0::/:",
    ],
)
def test_a_malformed_line_is_no_line(file: Files, line: bytes) -> None:
    """libcontainer reads a uid that is missing or no number as 0: another root."""
    good = b"x:x:5:6::/home/x\n"
    fd = file(line + b"\n" + good)
    assert get_exec_user("x", None, fd, None).uid == 5
    assert [user.uid for user in passwd.users(fd)] == [5]


@pytest.mark.parametrize(
    "content",
    [
        b"x:x:5:6::/home/x",
        b"x:x:5:6::/home/x\r\n",
        b"\n\n  \n\t x:x:5:6::/home/x \n\n",
        b"x:x:5:6::/home/x:/bin/sh:more:and:more\n",
        b"y:x:7:7::" + b"/long" * 100_000 + b":\nx:x:5:6::/home/x:\n",
        b"\n" * 100_000 + b"x:x:5:6::/home/x:\n",
    ],
)
def test_layouts(file: Files, content: bytes) -> None:
    fd = file(content)
    user = get_exec_user("x", None, fd, None)
    assert (user.uid, user.gid, user.home) == (5, 6, "/home/x")
    assert home_of(5, fd) == "/home/x"


def test_a_group_of_many_members(file: Files) -> None:
    members = b",".join(b"user%d" % number for number in range(50_000))
    group = file(b"big:x:9:" + members + b",x\nno:x:10:xx\n")
    assert get_exec_user("x", None, file(b"x:x:5:6"), group).sgids == [9]


def test_foreign_bytes_survive(file: Files) -> None:
    fd = file(b"\xff\xfe:x:5:6::/home/\xff\n")
    user = get_exec_user("\udcff\udcfe", None, fd, None)
    assert os.fsencode(user.home) == b"/home/\xff"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (["adm"], [43]),
        (["adm", "grp", "adm", "43"], [43, 1234]),
        (["444"], [444]),
        (["grp", "10", "root"], [1234, 10, 0]),
    ],
)
def test_additional_groups(file: Files, names: "list[str]", expected: "list[int]") -> None:
    assert get_additional_groups(names, file(GROUP)) == expected


@pytest.mark.parametrize("name", ["nobody", "", "-1", "4294967296", "#", "broken"])
def test_bad_additional_groups(file: Files, name: str) -> None:
    with pytest.raises(ConfigError):
        get_additional_groups(["adm", name], file(GROUP))


@pytest.mark.parametrize(
    ("uid", "home"), [(0, "/root"), (42, "/var/adm"), (9, "/"), (3, "/"), (4, "/")]
)
def test_home(file: Files, uid: int, home: str) -> None:
    assert home_of(uid, file(PASSWD + b"none:x:3:3\nempty:x:4:4:::\n")) == home
    assert home_of(uid, None) == "/"


# ── the files themselves ────────────────────────────────────────────────────────────────────────


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "outside").write_bytes(b"evil:x:0:0::/:\n")
    fd = os.open(tmp_path / "root", os.O_PATH)
    yield fd
    os.close(fd)


def etc(tmp_path: Path) -> Path:
    return tmp_path / "root/etc"


def test_home_in_root(tmp_path: Path, root: int) -> None:
    assert home_in_root(root, 42) == "/"
    (etc(tmp_path) / "passwd").write_bytes(PASSWD)
    assert home_in_root(root, 42) == "/var/adm"
    before = len(os.listdir("/proc/self/fd"))
    home_in_root(root, 42)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("target", ["../../outside", "/../outside", "nowhere", "/proc/1/passwd"])
def test_a_symlink_does_not_leave_the_root(tmp_path: Path, root: int, target: str) -> None:
    (etc(tmp_path) / "passwd").symlink_to(target)
    assert open_beneath(root, "/etc/passwd") is None
    assert open_beneath(root, "/../../outside") is None


def test_a_symlink_within_the_root_is_followed(tmp_path: Path, root: int) -> None:
    (etc(tmp_path) / "real").write_bytes(PASSWD)
    (etc(tmp_path) / "passwd").symlink_to("/etc/real")
    assert home_in_root(root, 42) == "/var/adm"


def test_a_loop_is_an_error(tmp_path: Path, root: int) -> None:
    (etc(tmp_path) / "passwd").symlink_to("passwd")
    with pytest.raises(StepError, match="too many levels"):
        open_beneath(root, "/etc/passwd")


def test_a_missing_directory_is_a_missing_file(tmp_path: Path, root: int) -> None:
    etc(tmp_path).rmdir()
    assert open_beneath(root, "/etc/passwd") is None
    etc(tmp_path).write_bytes(b"")
    assert open_beneath(root, "/etc/passwd") is None


def test_the_descriptor_closes_on_exec(tmp_path: Path, root: int) -> None:
    (etc(tmp_path) / "passwd").write_bytes(PASSWD)
    fd = open_beneath(root, "/etc/passwd")
    assert fd is not None
    assert not os.get_inheritable(fd)
    os.close(fd)


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "socket"])
def test_only_regular_files_are_read(tmp_path: Path, root: int, kind: str) -> None:
    path = etc(tmp_path) / "group"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, 0o140600)
    else:
        os.mknod(path, 0o020600, os.makedev(1, 5))  # zero: it has no end
    began = time.monotonic()
    with pytest.raises(StepError, match="only a regular file is read"):
        open_beneath(root, "/etc/group")
    assert time.monotonic() - began < 1


def test_a_masked_file_is_none(tmp_path: Path, root: int) -> None:
    """The null device is over it, as `maskedPaths` has it."""
    os.mknod(etc(tmp_path) / "passwd", 0o020600, os.makedev(1, 3))
    assert open_beneath(root, "/etc/passwd") is None
    assert home_in_root(root, 42) == "/"


def test_a_huge_file_is_refused_at_once(tmp_path: Path, root: int) -> None:
    with open(etc(tmp_path) / "passwd", "wb") as handle:
        handle.truncate(1 << 30)
    began = time.monotonic()
    with pytest.raises(StepError, match="larger than 4 MiB"):
        home_in_root(root, 0)
    assert time.monotonic() - began < 0.5


def test_a_file_that_hides_its_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of procfs is a regular one of no size; more than the limit is refused all the same."""
    monkeypatch.setattr(passwd, "LIMIT", 100)
    fd = os.open("/proc/kallsyms", os.O_RDONLY)
    try:
        assert os.fstat(fd).st_size == 0
        with pytest.raises(StepError, match="read the passwd file"):
            list(passwd.users(fd))
    finally:
        os.close(fd)


def test_the_largest_file_is_read_in_bounded_time(file: Files) -> None:
    fd = file(b":" * 2_000_000 + b"\n" * 2_000_000)
    began = time.monotonic()
    assert home_of(0, fd) == "/"
    assert time.monotonic() - began < 2
