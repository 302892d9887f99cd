"""The state directory fails us: full, read-only, cut off, or speaking of a process that is gone."""

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Bundle, Config, Lcpy

HERE = Path(__file__).resolve().parent


def error_of(done: "subprocess.CompletedProcess[str]") -> str:
    """Assert that a command failed with one clear line of error; return it."""
    assert done.returncode == 1, done
    lines = [line for line in done.stderr.splitlines() if "level=warning" not in line]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture
def small(lcpy: Lcpy) -> Iterator[Path]:
    """The state directory as a tmpfs, to be remounted smaller. Containers in it go with it."""
    lcpy.root.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(lcpy.root)]
    subprocess.run(mount, check=True)
    yield lcpy.root
    remount(lcpy.root, "rw,size=1m,nr_inodes=1000")
    for path in lcpy.root.iterdir():
        if path.is_file():
            path.unlink()
    complaints = lcpy.delete_all()
    subprocess.run(["umount", str(lcpy.root)], check=True)
    assert not complaints


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


def cgroups(container: str) -> list[str]:
    return [
        f"{path}/{name}"
        for path, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if container in name
    ]


@pytest.mark.parametrize("inodes", range(1, 11))
def test_no_inodes(lcpy: Lcpy, bundle: Bundle, small: Path, inodes: int) -> None:
    remount(small, f"nr_inodes={inodes}")
    container = lcpy.new_id()
    done = lcpy("run", container, cwd=bundle("true"))
    if inodes < 8:  # the root, a directory, lock, 2 FIFOs, cgroups.json, state.json, the next one
        assert "no space left on device" in error_of(done)
    else:
        assert done.returncode == 0, done.stderr
    assert list(small.iterdir()) == []
    assert cgroups(container) == []


@pytest.mark.parametrize("pages", [1, 2, 3])
def test_no_space(lcpy: Lcpy, bundle: Bundle, small: Path, pages: int) -> None:
    """With pages for the first record, for its cgroups, for its next version, or not."""
    remount(small, f"size={pages * 4096}")
    container = lcpy.new_id()
    done = lcpy("create", container, cwd=bundle("true"))
    if pages < 3:
        error = error_of(done)
        assert "SaveState: write " in error
        assert error.rstrip().rstrip('"').endswith("json: no space left on device")
        assert list(small.iterdir()) == []
        assert cgroups(container) == []
    else:
        assert done.returncode == 0, done.stderr
        lcpy("delete", container, check=True)


def test_no_space_at_the_start(lcpy: Lcpy, bundle: Bundle, small: Path) -> None:
    """The mark `started` can't be written: `state` sees by itself what is so."""
    container = lcpy.new_id()
    lcpy("create", container, cwd=bundle("sleep", "60"), check=True)
    (small / "filler").write_bytes(bytes(4096))
    remount(small, "size=12288")
    done = lcpy("start", container)
    assert done.returncode == 0 or "no space left on device" in error_of(done)
    assert lcpy.state(container)["status"] == "running"
    assert "already running" in error_of(lcpy("start", container))
    lcpy("delete", "--force", container, check=True)
    assert not (small / container).exists()


def test_read_only(lcpy: Lcpy, bundle: Bundle, small: Path) -> None:
    container, other = lcpy.new_id(), lcpy.new_id()
    made = bundle("sleep", "60")
    lcpy("create", container, cwd=made, check=True)
    remount(small, "ro")
    assert "read-only file system" in error_of(lcpy("create", other, cwd=made))
    assert "read-only file system" in error_of(lcpy("start", container))
    assert "read-only file system" in error_of(lcpy("delete", "--force", container))
    assert lcpy.state(container)["status"] == "created"  # nothing was done by halves
    remount(small, "rw")
    lcpy("start", container, check=True)
    assert lcpy.state(container)["status"] == "running"
    assert cgroups(other) == []


def test_a_record_cut_off(lcpy: Lcpy, bundle: Bundle) -> None:
    """Of a container that waits: `delete --force` ends its process all the same."""
    container = lcpy.new_id()
    lcpy("create", container, cwd=bundle("sleep", "60"), check=True)
    record = lcpy.root / container / "state.json"
    text = record.read_text()
    pid = json.loads(text)["pid"]
    pidfd = os.pidfd_open(pid)
    try:
        record.write_text(text[: len(text) // 2])
        for words in (("state",), ("start",), ("kill",), ("delete",)):
            assert "damaged" in error_of(lcpy(*words, container))
        lcpy("delete", "--force", container, check=True)
        assert not (lcpy.root / container).exists()
        assert select.select([pidfd], [], [], 2)[0], "its process is still there"
    finally:
        os.close(pidfd)
    assert cgroups(container) == []


REUSE = """
import ctypes, os, struct, sys, time
pid = int(sys.argv[1])
pids = (ctypes.c_int * 1)(pid)
args = struct.pack("10Q", 0, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(pids), 1)
child = ctypes.PyDLL(None).syscall(435, args, len(args))
if child == 0:
    time.sleep(60)
    os._exit(0)
print(child, flush=True)
sys.stdin.read()
os.kill(child, 9)
os.waitpid(child, 0)
"""


def test_a_pid_that_now_is_another_process(lcpy: Lcpy, bundle: Bundle) -> None:
    """clone3(2) with set_tid gives a stranger the number of a container's ended process."""
    container = lcpy.new_id()
    lcpy("run", "--detach", container, cwd=bundle("sleep", "60"), check=True)
    pid = lcpy.state(container)["pid"]
    lcpy("kill", container, "KILL", check=True)
    lcpy.wait_for(container, "stopped")
    os.waitpid(pid, 0)  # it is ours to reap, and its number free then
    stranger = subprocess.Popen(
        [sys.executable, "-c", REUSE, str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert stranger.stdout
        assert stranger.stdout.readline() == f"{pid}\n"
        assert lcpy.state(container)["status"] == "stopped"
        assert "not running" in error_of(lcpy("kill", container, "KILL"))
        assert "stopped" in error_of(lcpy("start", container))
        lcpy("delete", "--force", container, check=True)
        assert os.path.exists(f"/proc/{pid}")
        assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
    finally:
        stranger.communicate("")


@pytest.mark.parametrize("change", [-1, 1])
def test_a_record_with_another_start_time(lcpy: Lcpy, bundle: Bundle, change: int) -> None:
    """The same, told by the record; here the process is one that must not be signalled."""
    container = lcpy.new_id()
    lcpy("run", "--detach", container, cwd=bundle("true"), check=True)
    lcpy.wait_for(container, "stopped")
    path = lcpy.root / container / "state.json"
    record = json.loads(path.read_text())
    victim = subprocess.Popen(["sleep", "60"])
    try:
        start = int(Path(f"/proc/{victim.pid}/stat").read_text().rpartition(")")[2].split()[19])
        path.write_text(json.dumps({**record, "pid": victim.pid, "start": start + change}))
        assert lcpy.state(container)["status"] == "stopped"
        assert "not running" in error_of(lcpy("kill", container, "KILL"))
        lcpy("delete", "--force", container, check=True)
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


@pytest.mark.parametrize("pid_namespace", [True, False])
def test_a_running_one_without_a_good_record(
    lcpy: Lcpy, bundle: Bundle, pid_namespace: bool
) -> None:
    """`delete --force` ends its processes and removes its cgroups all the same."""

    def change(config: Config) -> None:
        if not pid_namespace:
            kinds = config["linux"]["namespaces"]
            config["linux"]["namespaces"] = [kind for kind in kinds if kind["type"] != "pid"]

    container = lcpy.new_id()
    made = bundle("sh", "-c", "sleep 60 & exec sleep 60", change=change)
    lcpy("run", "--detach", container, cwd=made, check=True)
    assert cgroups(container)
    (lcpy.root / container / "state.json").write_text("{")
    lcpy("delete", "--force", container, check=True)
    assert not (lcpy.root / container).exists()
    assert cgroups(container) == []


@pytest.mark.parametrize("name", ["pid", "cgroups", "hooks", "started", "annotations", "list"])
def test_a_record_with_a_wrong_type(lcpy: Lcpy, bundle: Bundle, name: str) -> None:
    container = lcpy.new_id()
    lcpy("create", container, cwd=bundle("sleep", "60"), check=True)
    path = lcpy.root / container / "state.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, name: "x"}))
    for words in (("state",), ("start",), ("kill",), ("delete",)):
        assert "damaged" in error_of(lcpy(*words, container))


RDT = {"mountpoint": "/nowhere", "path": "/nowhere/a", "monitor": None, "remove": ["/nowhere/a"]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("intel_rdt", {}),
        ("intel_rdt", {"x": 1}),
        ("intel_rdt", {**RDT, "remove": "/nowhere/a"}),
        ("intel_rdt", {**RDT, "remove": [1]}),
        ("intel_rdt", {**RDT, "monitor": 1}),
        ("intel_rdt", {**RDT, "path": None}),
        ("intel_rdt", {**RDT, "mountpoint": None}),
        ("intel_rdt", {name: RDT[name] for name in ("mountpoint", "path", "remove")}),
        ("seccomp_agent", {"metadata": ""}),
        ("seccomp_agent", {"path": "/nowhere"}),
        ("seccomp_agent", {"path": 1, "metadata": ""}),
    ],
)
def test_a_record_with_a_wrong_member(
    lcpy: Lcpy, bundle: Bundle, name: str, value: "dict[str, object]"
) -> None:
    """It is damaged like any other, and so can be removed."""
    container = lcpy.new_id()
    lcpy("create", container, cwd=bundle("sleep", "60"), check=True)
    path = lcpy.root / container / "state.json"
    record = json.loads(path.read_text())
    for good in ({"intel_rdt": RDT}, {"seccomp_agent": {"path": "/nowhere", "metadata": ""}}):
        path.write_text(json.dumps({**record, **good}))
        assert lcpy.state(container)["status"] == "created"
    path.write_text(json.dumps({**record, name: value}))
    for words in (("state", container), ("delete", container)):
        assert "damaged" in error_of(lcpy(*words))
    done = lcpy("exec", container, "true")
    assert done.returncode == 255
    assert "damaged" in done.stderr
    lcpy("delete", "--force", container, check=True)
    assert not (lcpy.root / container).exists()
    assert cgroups(container) == []


def test_cgroups_that_are_none(lcpy: Lcpy, bundle: Bundle) -> None:
    container = lcpy.new_id()
    lcpy("create", container, cwd=bundle("sleep", "60"), check=True)
    path = lcpy.root / container / "state.json"
    text = path.read_text()
    path.write_text(json.dumps({**json.loads(text), "cgroups": {"driver": "v1"}}))
    assert "does not say where they are" in error_of(lcpy("delete", container))
    path.write_text(text)


def test_a_large_record(lcpy: Lcpy, bundle: Bundle) -> None:
    """As large as config.json may be: what was written can be read."""

    def change(config: Config) -> None:
        config["annotations"] = {"large": "x" * (12 << 20)}

    container = lcpy.new_id()
    lcpy("create", container, cwd=bundle("true", change=change), check=True)
    assert lcpy.state(container)["status"] == "created"
    lcpy("start", container, check=True)
    lcpy.wait_for(container, "stopped")
    lcpy("delete", container, check=True)


@pytest.mark.parametrize("lock", [True, False])
def test_a_directory_and_nothing_else(lcpy: Lcpy, bundle: Bundle, lock: bool) -> None:
    """What is left of a `create` that was killed at once: the id is taken, so it can be deleted."""
    container = lcpy.new_id()
    directory = lcpy.root / container
    directory.mkdir(parents=True)
    if lock:
        (directory / "lock").touch()
    assert "already exists" in error_of(lcpy("create", container, cwd=bundle("true")))
    lcpy("delete", container, check=True)
    assert not directory.exists()


@pytest.mark.parametrize("words", [["delete"], ["delete", "--force"], ["start"], ["state"]])
def test_a_directory_that_is_not_ours(lcpy: Lcpy, words: list[str]) -> None:
    """Nothing is made, changed or removed in it."""
    directory = lcpy.root / lcpy.new_id()
    directory.mkdir(parents=True)
    (directory / "file").touch()
    done = lcpy(*words, directory.name)
    if "--force" not in words:
        assert "does not exist" in error_of(done)
    assert [path.name for path in directory.iterdir()] == ["file"]
    (directory / "file").unlink()


@pytest.mark.parametrize(("uid", "mode"), [(1000, 0o755), (0, 0o777), (0, 0o775)])
def test_a_record_that_somebody_else_can_have_written(
    lcpy: Lcpy, bundle: Bundle, tmp_path: Path, uid: int, mode: int
) -> None:
    """It names programs to run and processes to kill."""
    container = lcpy.new_id()
    hook = {"path": shutil.which("touch"), "args": ["touch", str(tmp_path / "ran")]}
    made = bundle("sleep", "60", change=lambda c: c.update(hooks={"poststop": [hook]}))
    lcpy("create", container, cwd=made, check=True)
    directory = lcpy.root / container
    os.chown(directory, uid, uid)
    directory.chmod(mode)
    assert lcpy.state(container)["status"] == "created"  # it may be shown
    for words in (["start"], ["kill"], ["kill", "--all"], ["delete"], ["delete", "--force"]):
        assert "is not ours alone" in error_of(lcpy(*words, container))
    assert not (tmp_path / "ran").exists()
    os.chown(directory, 0, 0)
    directory.chmod(0o711)
    lcpy("delete", container, check=True)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["labels", "seccomp", "mount_namespace", "personality"])
def test_a_record_of_another_version(lcpy: Lcpy, bundle: Bundle, name: str) -> None:
    """It lacks what `exec` needs: that is said, and it can be removed."""
    container = lcpy.new_id()
    lcpy("run", "--detach", container, cwd=bundle("sleep", "60"), check=True)
    path = lcpy.root / container / "state.json"
    record = json.loads(path.read_text())
    del record[name]
    path.write_text(json.dumps(record))
    done = lcpy("exec", container, "true")
    assert done.returncode == 255
    assert "damaged" in done.stderr
    assert "damaged" in error_of(lcpy("delete", container))
    lcpy("delete", "--force", container, check=True)
    assert not (lcpy.root / container).exists()
    assert cgroups(container) == []


def test_a_record_of_an_older_version(lcpy: Lcpy, bundle: Bundle) -> None:
    """It lacks what was not there in its time, and is as good as ever."""
    container = lcpy.new_id()
    lcpy("run", "--detach", container, cwd=bundle("sleep", "60"), check=True)
    path = lcpy.root / container / "state.json"
    record = json.loads(path.read_text())
    del record["memory_policy"]
    path.write_text(json.dumps(record))
    lcpy("exec", container, "true", check=True)


@pytest.mark.parametrize("of_record", [{"driver": "v2"}, {}, {"driver": "v2", "paths": {"": 1}}])
def test_cgroups_that_are_none_can_be_removed(
    lcpy: Lcpy, bundle: Bundle, of_record: "dict[str, object]"
) -> None:
    """By what cgroups.json says of them."""
    container = lcpy.new_id()
    lcpy("run", "--detach", container, cwd=bundle("sleep", "60"), check=True)
    path = lcpy.root / container / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "cgroups": of_record}))
    error_of(lcpy("delete", container))
    lcpy("delete", "--force", container, check=True)
    assert not (lcpy.root / container).exists()
    assert cgroups(container) == []


def test_cgroups_that_nobody_knows_any_more(lcpy: Lcpy, bundle: Bundle) -> None:
    """Neither file says where they are: the id is set free, with a word of what is left."""
    container = lcpy.new_id()
    lcpy("create", container, cwd=bundle("sleep", "60"), check=True)
    for name in ("state.json", "cgroups.json"):
        (lcpy.root / container / name).write_text('{"driver": "v1"}')
    done = lcpy("delete", "--force", container, check=True)
    assert "level=warning" in done.stderr
    assert "does not say where they are: they are left" in done.stderr
    assert not (lcpy.root / container).exists()
    for path in cgroups(container):
        os.rmdir(path)


def test_a_delete_that_was_killed_does_not_own_the_cgroups(
    lcpy: Lcpy, bundle: Bundle, tmp_path: Path
) -> None:
    """It had removed them, and by now they are another container's."""
    first, second = lcpy.new_id(), lcpy.new_id()
    killed = tmp_path / "killed"
    script = f"test -e {killed} || {{ touch {killed}; kill -9 $PPID; }}"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}

    def change(config: Config) -> None:
        config["linux"]["cgroupsPath"] = f"/{first}"
        config["hooks"] = {"poststop": [hook]}

    made = bundle("sleep", "60", change=change)
    lcpy("create", first, cwd=made, check=True)
    assert lcpy("delete", first).returncode == -9
    assert killed.exists()
    lcpy("run", "--detach", second, cwd=made, check=True)
    lcpy("delete", "--force", first, check=True)
    assert not (lcpy.root / first).exists()
    assert lcpy.state(second)["status"] == "running"
    lcpy("delete", "--force", second, check=True)
    assert cgroups(first) == []


IN_ANOTHER_NAMESPACE = """
mount -t tmpfs tmpfs "$1" && mkdir "$1/$2" && mkfifo "$1/$2/go" && exec 3<>"$1/$2/go" && echo up
read end
"""


def test_a_file_of_the_same_name_elsewhere(lcpy: Lcpy) -> None:
    """Whoever has a nested lcpy's FIFO open is no child of the `create` that was killed."""
    container = lcpy.new_id()
    directory = lcpy.root / container
    directory.mkdir(parents=True)
    (directory / "lock").touch()
    os.mkfifo(directory / "go")
    root = str(lcpy.root)
    words = ["unshare", "--mount", "sh", "-c", IN_ANOTHER_NAMESPACE, "sh", root, container]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as stranger:
        assert stranger.stdout
        assert stranger.stdout.readline() == "up\n"
        lcpy("delete", container, check=True)
        assert stranger.poll() is None
        stranger.communicate("end\n")
    assert stranger.returncode == 0
    assert not directory.exists()
