"""A whole root filesystem, with the mounts of `runc spec`, looked at from inside."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.errors import ConfigError
from libcontainer_py.linux.flags import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    MS_REC,
    MS_SHARED,
)
from libcontainer_py.linux.syscalls import mount
from libcontainer_py.mount import masks, pivot, rootfs, sysctl
from tests.isolation.mount_child import (
    DEV,
    PROC,
    ChildError,
    build,
    in_child,
    mount_at,
    sealed,
)

EVERYTHING = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET

DEFAULT: "list[dict[str, Any]]" = [
    PROC,
    DEV,
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    },
    {
        "destination": "/dev/mqueue",
        "type": "mqueue",
        "source": "mqueue",
        "options": ["nosuid", "noexec", "nodev"],
    },
    {
        "destination": "/sys",
        "type": "sysfs",
        "source": "sysfs",
        "options": ["nosuid", "noexec", "nodev", "ro"],
    },
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "rootfs"
    directory.mkdir()
    (directory / "marker").write_text("the image's own", encoding="utf-8")
    return directory


def test_the_default_mounts_and_devices(root: Path) -> None:
    def look() -> Any:
        build(root, DEFAULT)
        nodes = {}
        for name in ("null", "zero", "full", "random", "urandom", "tty"):
            status = os.lstat(f"/dev/{name}")
            nodes[name] = [status.st_mode, status.st_rdev, status.st_uid, status.st_gid]
        links = {
            name: os.readlink(f"/dev/{name}")
            for name in ("ptmx", "fd", "stdin", "stdout", "stderr")
        }
        points = [mount["destination"] for mount in DEFAULT]
        return {
            "root": sorted(os.listdir("/")),
            "cwd": os.getcwd(),
            "mounts": {point: mount_at(point) for point in points},
            "count": len(Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()),
            "nodes": nodes,
            "links": links,
            "shm": stat.S_IMODE(os.stat("/dev/shm").st_mode),
            "dev": stat.S_IMODE(os.stat("/dev").st_mode),
            "pid": os.readlink("/proc/self"),
        }

    seen = in_child(look, EVERYTHING)

    assert seen["root"] == ["dev", "marker", "proc", "sys"]
    assert seen["cwd"] == "/"
    # The root and the six: nothing of the host is left.
    assert seen["count"] == 7
    assert seen["mounts"]["/proc"]["type"] == "proc"
    assert seen["mounts"]["/dev"]["type"] == "tmpfs"
    assert "size=65536k" in seen["mounts"]["/dev"]["superblock"]
    assert "nosuid" in seen["mounts"]["/dev"]["flags"]
    assert "relatime" not in seen["mounts"]["/dev"]["flags"]
    assert {"gid=5", "mode=620", "ptmxmode=666"} <= set(seen["mounts"]["/dev/pts"]["superblock"])
    assert seen["mounts"]["/dev/shm"]["source"] == "shm"
    assert {"nosuid", "nodev", "noexec"} <= set(seen["mounts"]["/dev/mqueue"]["flags"])
    assert "ro" in seen["mounts"]["/sys"]["flags"]
    assert seen["nodes"] == {
        name: [stat.S_IFCHR | 0o666, os.makedev(major, minor), 0, 0]
        for name, major, minor in (
            ("null", 1, 3),
            ("zero", 1, 5),
            ("full", 1, 7),
            ("random", 1, 8),
            ("urandom", 1, 9),
            ("tty", 5, 0),
        )
    }
    assert seen["links"] == {
        "ptmx": "pts/ptmx",
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
    }
    assert seen["shm"] == 0o1777
    assert seen["dev"] == 0o755
    assert seen["pid"] == "1"


def test_nothing_of_it_is_seen_outside(root: Path) -> None:
    in_child(lambda: build(root, DEFAULT), EVERYTHING)

    assert str(root) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    assert list((root / "dev").iterdir()) == []
    assert list((root / "proc").iterdir()) == []


def test_mounts_do_not_propagate_to_a_shared_parent(tmp_path: Path, root: Path) -> None:
    """The host's / is shared on most machines: what is mounted below must not go back there."""

    def look() -> Any:
        mount("tmpfs", str(tmp_path), "tmpfs")
        mount(None, str(tmp_path), None, MS_SHARED | MS_REC)
        root.mkdir()
        in_child(lambda: build(root, [DEV]), private=False)
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        return [line for line in text.splitlines() if str(root) in line]

    assert in_child(look) == []


@pytest.mark.parametrize("word", ["shared", "rslave", "private", "runbindable"])
def test_the_propagation_of_the_root(root: Path, word: str) -> None:
    def look() -> Any:
        build(root, [PROC], propagation=word)
        return mount_at("/")["propagation"]

    expected = {"shared": ["shared"], "runbindable": ["unbindable"]}
    # Slave of nothing is private.
    assert in_child(look, CLONE_NEWNS | CLONE_NEWPID) == expected.get(word, [])


def test_an_unknown_propagation_is_refused_by_name(root: Path) -> None:
    with pytest.raises(ChildError) as caught:
        in_child(lambda: rootfs.prepare_rootfs(str(root), "sharde"))
    assert (caught.value.kind, caught.value.field) == ("ConfigError", "linux.rootfsPropagation")


def test_resolve_rootfs(tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to("rootfs")

    assert rootfs.resolve_rootfs(str(tmp_path), {"path": "link"}) == str(root)
    assert rootfs.resolve_rootfs(str(tmp_path), {"path": str(root)}) == str(root)


@pytest.mark.parametrize("path", ["missing", "rootfs/marker", "/", "up", "rootfs\0"])
def test_resolve_rootfs_refuses(tmp_path: Path, root: Path, path: str) -> None:
    (tmp_path / "up").symlink_to("/")

    with pytest.raises(ConfigError) as caught:
        rootfs.resolve_rootfs(str(tmp_path), {"path": path})
    assert caught.value.field == "root.path"
    assert root.is_dir()


@pytest.mark.parametrize("enter", [pivot.move_root, pivot.chroot_root])
def test_the_other_ways_in(root: Path, enter: Any) -> None:
    def look() -> Any:
        build(root, [PROC, DEV], enter=enter)
        return [sorted(os.listdir("/")), os.getcwd(), os.path.exists("/../marker")]

    assert in_child(look, CLONE_NEWNS | CLONE_NEWPID) == [["dev", "marker", "proc"], "/", True]


def test_move_root_leaves_no_whole_procfs_of_the_host(root: Path) -> None:
    def look() -> Any:
        build(root, [PROC], enter=pivot.move_root)
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        return [line.split(" ")[4] for line in text.splitlines() if " - proc " in line]

    assert in_child(look, CLONE_NEWNS | CLONE_NEWPID) == ["/proc"]


def test_a_read_only_root_keeps_its_mounts_writable(root: Path) -> None:
    def look() -> Any:
        build(root, [PROC, DEV])
        with sealed():
            masks.readonly_root()
        os.close(os.open("/dev/written", os.O_CREAT | os.O_WRONLY))
        try:
            os.mkdir("/new")
        except OSError as error:
            return error.errno
        return 0

    assert in_child(look, CLONE_NEWNS | CLONE_NEWPID) == errno.EROFS


def test_read_only_and_masked_paths(root: Path) -> None:
    (root / "secret").mkdir()
    (root / "secret/key").write_text("hidden", encoding="utf-8")
    (root / "too").mkdir()
    (root / "file").write_text("hidden", encoding="utf-8")
    (root / "still").mkdir()

    def look() -> Any:
        build(root, [PROC, DEV])
        with sealed():
            masks.readonly_paths(["/proc/sys", "/still", "/not/there"])
            masks.mask_paths(["/proc/meminfo", "/secret", "/file", "/missing", "/secret", "/too"])
        return {
            "mounts": Path("/proc/self/mountinfo").read_text(encoding="utf-8").count(" /secret "),
            "devices": [os.stat(path).st_dev for path in ("/secret", "/too")],
            "proc/sys": mount_at("/proc/sys")["flags"],
            "still": mount_at("/still")["flags"],
            "secret": [os.listdir("/secret"), mount_at("/secret")["flags"]],
            "file": [Path("/file").read_text(encoding="utf-8"), os.stat("/file").st_rdev],
            "meminfo": os.stat("/proc/meminfo").st_rdev,
        }

    seen = in_child(look, CLONE_NEWNS | CLONE_NEWPID)

    assert "ro" in seen["proc/sys"]
    assert "ro" in seen["still"]
    assert seen["secret"][0] == []
    assert "ro" in seen["secret"][1]
    assert seen["mounts"] == 1  # though it is named twice
    assert len(set(seen["devices"])) == 1  # of one filesystem
    assert seen["file"] == ["", os.makedev(1, 3)]
    assert seen["meminfo"] == os.makedev(1, 3)


def test_a_mask_behind_a_link_is_its_own(root: Path) -> None:
    """By its words /link/../hidden is /hidden, which is masked already; but it is another one."""
    for name in ("hidden", "deep/hidden", "deep/down"):
        (root / name).mkdir(parents=True)
    (root / "deep/hidden/key").touch()
    (root / "link").symlink_to("deep/down")

    def look() -> Any:
        build(root, [PROC, DEV])
        with sealed():
            masks.mask_paths(["/hidden", "/hidden//", "/link/../hidden"])
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        return os.listdir("/deep/hidden"), text.count(" /hidden ")

    assert in_child(look, CLONE_NEWNS | CLONE_NEWPID) == [[], 1]


def test_sysctls_are_written_in_the_containers_namespace(root: Path) -> None:
    before = Path("/proc/sys/net/ipv4/ip_default_ttl").read_text(encoding="utf-8")

    def look() -> Any:
        build(root, [PROC])
        with sealed():
            sysctl.write_sysctls({"net.ipv4.ip_default_ttl": "77"})
        return Path("/proc/sys/net/ipv4/ip_default_ttl").read_text(encoding="utf-8")

    assert in_child(look, EVERYTHING) == "77\n"
    assert Path("/proc/sys/net/ipv4/ip_default_ttl").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    "key", ["net/../vm/swappiness", "net..ipv4", "../../etc/passwd", "", "net.ipv4.not_there"]
)
def test_a_wrong_sysctl_is_refused_by_name(root: Path, key: str) -> None:
    def look() -> Any:
        build(root, [PROC])
        sysctl.write_sysctls({key: "1"})

    with pytest.raises(ChildError) as caught:
        in_child(look, EVERYTHING)
    assert caught.value.field == f'linux.sysctl["{key}"]'


def test_configured_devices(root: Path) -> None:
    nodes: list[dict[str, Any]] = [
        {
            "path": "/dev/deep/er/fuse",
            "type": "c",
            "major": 10,
            "minor": 229,
            "fileMode": 0o640,
            "uid": 1000,
            "gid": 2000,
        },
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600},
        {"path": "/dev/pipe", "type": "p"},
        {"path": "/dev/loop", "type": "b", "major": 7, "minor": 0},
        {"path": "/dev/zero2", "type": "u", "major": 1, "minor": 5},
        {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
    ]

    def look() -> Any:
        os.umask(0o077)
        build(root, [PROC, DEV], nodes=nodes)
        found = {}
        for name in ("deep/er/fuse", "null", "pipe", "loop", "zero2"):
            status = os.lstat(f"/dev/{name}")
            found[name] = [status.st_mode, status.st_rdev, status.st_uid, status.st_gid]
        return found, os.readlink("/dev/ptmx"), os.umask(0)

    found, ptmx, umask = in_child(look, CLONE_NEWNS | CLONE_NEWPID)

    assert found == {
        "deep/er/fuse": [stat.S_IFCHR | 0o640, os.makedev(10, 229), 1000, 2000],
        "null": [stat.S_IFCHR | 0o600, os.makedev(1, 3), 0, 0],
        "pipe": [stat.S_IFIFO | 0o666, 0, 0, 0],
        "loop": [stat.S_IFBLK | 0o666, os.makedev(7, 0), 0, 0],
        "zero2": [stat.S_IFCHR | 0o666, os.makedev(1, 5), 0, 0],
    }
    assert ptmx == "pts/ptmx"
    assert umask == 0o077


def test_a_dev_of_the_image_is_filled_and_what_is_right_stays(root: Path) -> None:
    (root / "dev").mkdir()
    os.mknod(root / "dev/null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    (root / "dev/stdin").write_text("kept", encoding="utf-8")
    (root / "dev/ptmx").write_text("replaced", encoding="utf-8")

    def look() -> Any:
        build(root, [PROC])
        return [
            stat.S_IMODE(os.stat("/dev/null").st_mode),
            Path("/dev/stdin").read_text(encoding="utf-8"),
            os.readlink("/dev/ptmx"),
        ]

    assert in_child(look, CLONE_NEWNS | CLONE_NEWPID) == [0o600, "kept", "pts/ptmx"]


def test_a_bound_dev_is_left_alone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    config = [
        PROC,
        {"destination": "/dev/", "source": str(tmp_path / "volume"), "options": ["bind", "ro"]},
    ]

    def look() -> Any:
        build(root, config)
        return [os.listdir("/dev"), mount_at("/dev")["flags"][0]]

    assert in_child(look, CLONE_NEWNS | CLONE_NEWPID) == [[], "ro"]
    assert list((tmp_path / "volume").iterdir()) == []
