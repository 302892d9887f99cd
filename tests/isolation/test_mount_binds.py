"""Bind mounts, filesystems and their options, looked at from inside."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.linux.flags import (
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    MS_BIND,
    MS_NODEV,
    MS_NOSUID,
    MS_REC,
    MS_SHARED,
)
from libcontainer_py.linux.syscalls import mount
from libcontainer_py.mount import devices, mounts, rootfs
from tests.isolation.mount_child import (
    DEV,
    PROC,
    ChildError,
    build,
    in_child,
    mount_at,
    sealed,
    tree_of,
    unshare_user,
)

INSIDE = CLONE_NEWNS | CLONE_NEWPID


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "rootfs"
    directory.mkdir()
    return directory


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    directory = tmp_path / "volume"
    (directory / "below").mkdir(parents=True)
    (directory / "file").write_text("from the host", encoding="utf-8")
    return directory


def bind(source: Path, destination: str, *options: str) -> "dict[str, Any]":
    return {"source": str(source), "destination": destination, "options": list(options)}


def flags_at(path: str) -> "set[str]":
    return set(mount_at(path)["flags"])


def test_missing_targets_are_made_for_files_and_directories(root: Path, volume: Path) -> None:
    config = [
        PROC,
        bind(volume, "/made/for/directory", "bind"),
        bind(volume / "file", "/made/for/file", "rbind", "ro"),
        bind(volume / "file", "relative", "bind"),
    ]

    def look() -> Any:
        build(root, config)
        return [
            sorted(os.listdir("/made/for/directory")),
            Path("/made/for/file").read_text(encoding="utf-8"),
            Path("/relative").read_text(encoding="utf-8"),
        ]

    assert in_child(look, INSIDE) == [["below", "file"], "from the host", "from the host"]
    assert stat.S_IMODE((root / "made/for").stat().st_mode) == 0o755
    assert (root / "made/for/file").read_bytes() == b""
    assert list((root / "made/for/directory").iterdir()) == []


def test_flags_become_exactly_what_is_asked(root: Path, volume: Path) -> None:
    config = [
        PROC,
        bind(volume, "/kept", "rbind"),
        bind(volume, "/ro", "rbind", "ro"),
        bind(volume, "/suid", "rbind", "suid"),
        bind(volume, "/times", "rbind", "noatime", "noexec", "nodiratime", "nosymfollow"),
    ]

    def look() -> Any:
        mount("tmpfs", str(volume), "tmpfs", MS_NOSUID | MS_NODEV)
        build(root, config)
        return [sorted(flags_at(path)) for path in ("/kept", "/ro", "/suid", "/times")]

    assert in_child(look, INSIDE) == [
        ["nodev", "nosuid", "relatime", "rw"],
        ["relatime", "ro"],
        ["relatime", "rw"],
        ["noatime", "nodiratime", "noexec", "nosymfollow", "rw"],
    ]


def test_recursive_options_reach_what_is_mounted_below(root: Path, volume: Path) -> None:
    config = [
        PROC,
        bind(volume, "/top", "rbind", "ro"),
        bind(volume, "/all", "rbind", "rro", "rnosuid", "rnoatime"),
        bind(volume, "/one", "bind", "rro"),
    ]

    def look() -> Any:
        mount("tmpfs", str(volume / "below"), "tmpfs")
        build(root, config)
        paths = ("/top", "/top/below", "/all", "/all/below", "/one")
        return {path: sorted(flags_at(path)) for path in paths}, os.path.ismount("/one/below")

    flags, mounted = in_child(look, INSIDE)

    assert "ro" in flags["/top"]
    assert "rw" in flags["/top/below"]
    assert flags["/all"] == flags["/all/below"] == ["noatime", "nosuid", "ro"]
    assert "ro" in flags["/one"]
    assert not mounted


def test_propagation_words(root: Path, volume: Path) -> None:
    config = [
        PROC,
        bind(volume, "/private", "rbind", "rprivate"),
        bind(volume, "/slave", "rbind", "rslave"),
        bind(volume, "/shared", "rbind", "private", "shared"),
        bind(volume, "/unbindable", "rbind", "unbindable"),
    ]

    def look() -> Any:
        mount(str(volume), str(volume), None, MS_BIND)
        mount(None, str(volume), None, MS_SHARED | MS_REC)
        return in_child(inner, INSIDE, private=False)

    def inner() -> Any:
        build(root, config)
        names = ("private", "slave", "shared", "unbindable")
        return {name: mount_at(f"/{name}")["propagation"] for name in names}

    assert in_child(look) == {
        "private": [],
        "slave": ["master"],
        "shared": ["shared"],
        "unbindable": ["unbindable"],
    }


def test_remount(root: Path, volume: Path) -> None:
    config = [
        PROC,
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]},
        {"destination": "/tmp", "type": "tmpfs", "options": ["remount", "nosuid", "size=128k"]},
        bind(volume, "/volume", "bind"),
        bind(volume, "/volume", "bind", "remount", "noexec"),
    ]

    def look() -> Any:
        build(root, config)
        return [mount_at("/tmp"), sorted(flags_at("/volume"))]

    tmp, volume_flags = in_child(look, INSIDE)

    assert "size=128k" in tmp["superblock"]
    assert "nosuid" in tmp["flags"]
    assert "noexec" in volume_flags


def test_a_tmpfs_shows_the_mode_of_what_it_covers(root: Path) -> None:
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o1750)
    config = [
        PROC,
        {"destination": "/sticky", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/fresh", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/said", "type": "tmpfs", "source": "tmpfs", "options": ["mode=700"]},
    ]

    def look() -> Any:
        build(root, config)
        return [stat.S_IMODE(os.stat(f"/{name}").st_mode) for name in ("sticky", "fresh", "said")]

    # One that had to be made has nothing to show: tmpfs's own default, as with runc and crun.
    assert in_child(look, INSIDE) == [0o1750, 0o1777, 0o700]


def test_a_read_only_tmpfs_is_read_only_last(root: Path, volume: Path) -> None:
    """What is mounted inside it, and the devices of /dev, are made while it is writable."""
    config = [
        PROC,
        {**DEV, "options": [*DEV["options"], "ro"]},
        {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]},
        bind(volume / "file", "/run/secrets/key", "bind"),
    ]

    def look() -> Any:
        build(root, config)
        return [
            "ro" in flags_at("/run"),
            "ro" in flags_at("/dev"),
            os.path.exists("/dev/null"),
            Path("/run/secrets/key").read_text(encoding="utf-8"),
        ]

    assert in_child(look, INSIDE) == [True, True, True, "from the host"]


def test_tmpcopyup(root: Path) -> None:
    (root / "etc/deep").mkdir(parents=True)
    (root / "etc/deep/file").write_text("x" * 100_000, encoding="utf-8")
    (root / "etc/deep/file").chmod(0o4751)
    os.chown(root / "etc/deep/file", 1000, 2000)
    (root / "etc/deep/file").chmod(0o4751)
    os.utime(root / "etc/deep/file", ns=(1, 2_000_000_000))
    (root / "etc/link").symlink_to("/outside/does/not/matter")
    os.mkfifo(root / "etc/fifo")
    (root / "etc/deep").chmod(0o750)
    before = tree_of(root)
    config = [
        PROC,
        {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]},
    ]

    def look() -> Any:
        build(root, config)
        file = os.stat("/etc/deep/file")
        Path("/etc/deep/file").write_text("changed", encoding="utf-8")
        return [
            mount_at("/etc")["type"],
            [file.st_mode, file.st_uid, file.st_gid, file.st_size, file.st_mtime_ns],
            os.readlink("/etc/link"),
            stat.S_ISFIFO(os.stat("/etc/fifo").st_mode),
            stat.S_IMODE(os.stat("/etc/deep").st_mode),
        ]

    assert in_child(look, INSIDE) == [
        "tmpfs",
        [stat.S_IFREG | 0o4751, 1000, 2000, 100_000, 2_000_000_000],
        "/outside/does/not/matter",
        True,
        0o750,
    ]
    after = [entry for entry in tree_of(root) if entry[0].startswith(str(root / "etc"))]
    assert after == before


def test_tmpcopyup_of_too_much_or_too_deep_ends_in_an_error(root: Path) -> None:
    deep = root / "deep"
    deep.mkdir()
    directory = os.open(deep, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("d", dir_fd=directory)
        below = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(directory)
    (root / "big").mkdir()
    (root / "big/file").write_bytes(b"x" * 1_000_000)

    def copy(name: str) -> int:
        config = [
            {
                "destination": f"/{name}",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["tmpcopyup", "size=64k"],
            }
        ]
        with pytest.raises(ChildError) as caught:
            in_child(lambda: build(root, config))
        assert caught.value.field == "mounts[0]"
        return caught.value.errno

    assert copy("big") == errno.ENOSPC
    assert copy("deep") in (errno.ELOOP, errno.ENOSPC)


def test_an_option_too_long_for_fsconfig(root: Path, tmp_path: Path) -> None:
    """Engines write overlay mounts with hundreds of characters in lowerdir."""
    layers = []
    for number in range(4):
        layer = tmp_path / ("layer-" + str(number) * 80)
        layer.mkdir()
        (layer / f"file{number}").touch()
        layers.append(str(layer))
    config = [
        PROC,
        {
            "destination": "/layers",
            "type": "overlay",
            "source": "overlay",
            "options": ["nodev", "lowerdir=" + ":".join(layers), "rslave"],
        },
    ]

    def look() -> Any:
        build(root, config)
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        return sorted(os.listdir("/layers")), mount_at("/layers"), text.count("/layers")

    files, mounted, count = in_child(look, INSIDE)

    assert files == ["file0", "file1", "file2", "file3"]
    assert mounted["type"] == "overlay"
    assert "nodev" in mounted["flags"]
    # The scratch tmpfs that it was made in is gone.
    assert count == 1


@pytest.mark.parametrize(
    ("config", "field", "word"),
    [
        ({"type": "nofs", "source": "x"}, "mounts[0].type", "nofs"),
        ({"type": "bind", "source": "/"}, "mounts[0].type", "rbind"),
        ({"source": "x"}, "mounts[0].type", ""),
        (
            {"type": "tmpfs", "options": ["ro", "sise=64k"]},
            "mounts[0].options[1]",
            "sise",
        ),
        ({"type": "tmpfs", "options": ["nosuid", "mode=9"]}, "mounts[0].options[1]", "mode"),
        ({"source": "/not/there", "options": ["bind"]}, "mounts[0].source", "/not/there"),
        ({"source": "/", "options": ["bind", "idmap"]}, "mounts[0].options[1]", "idmapped"),
        (
            {"source": "/", "options": ["bind"], "uidMappings": [{}]},
            "mounts[0].uidMappings",
            "idmapped",
        ),
    ],
)
def test_an_error_names_the_field(
    root: Path, config: "dict[str, Any]", field: str, word: str
) -> None:
    with pytest.raises(ChildError) as caught:
        in_child(lambda: build(root, [{"destination": "/x", **config}]))
    assert caught.value.field == field
    assert word in caught.value.text


@pytest.mark.parametrize(
    "destination", ["/", "/../..", "/file/below", "/file", "/" + "x" * 300, "/x" * 3000]
)
def test_an_error_of_the_destination_names_it(root: Path, volume: Path, destination: str) -> None:
    (root / "file").touch()

    with pytest.raises(ChildError) as caught:
        in_child(lambda: build(root, [bind(volume, destination, "bind")]))
    assert caught.value.field == "mounts[0].destination"


def test_locked_flags_stay_in_a_user_namespace(root: Path, volume: Path) -> None:
    def look(*options: str) -> Any:
        mount("tmpfs", str(volume), "tmpfs", MS_NOSUID | MS_NODEV)
        unshare_user(CLONE_NEWUSER | CLONE_NEWNS)
        build(root, [bind(volume, "/volume", "rbind", *options)])
        return os.statvfs("/volume").f_flag

    kept = in_child(lambda: look("ro"))
    assert kept & (os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV) == (
        os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV
    )
    with pytest.raises(ChildError) as caught:
        in_child(lambda: look("ro", "suid"))
    assert (caught.value.errno, caught.value.field) == (errno.EPERM, "mounts[0].options")


def test_devices_in_a_user_namespace_are_the_hosts_proven_ones(root: Path) -> None:
    def look() -> Any:
        build(root, [PROC, DEV])
        Path("/dev/null").write_text("gone", encoding="utf-8")
        return [os.stat("/dev/null").st_rdev, mount_at("/dev/null")["root"]]

    assert in_child(look, INSIDE | CLONE_NEWUSER) == [os.makedev(1, 3), "/null"]


def test_another_device_of_the_host_is_not_bound(root: Path) -> None:
    def look() -> Any:
        root_fd = rootfs.prepare_rootfs(str(root), None)
        mounts.setup_mounts(root_fd, [DEV], [], False)
        with sealed():
            devices.setup_devices(
                root_fd, [{"path": "/dev/full", "type": "c", "major": 1, "minor": 5}]
            )

    with pytest.raises(ChildError) as caught:
        in_child(look, CLONE_NEWNS | CLONE_NEWUSER)
    assert (caught.value.errno, caught.value.field) == (errno.ENODEV, "linux.devices[0]")
