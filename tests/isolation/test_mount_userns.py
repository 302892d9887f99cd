"""A root filesystem made in a new user namespace, in which 0 to 65535 are 100000 and up outside."""

import errno
import os
import stat
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.linux.flags import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    MS_BIND,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_SHARED,
    MS_STRICTATIME,
)
from libcontainer_py.linux.syscalls import mount
from libcontainer_py.mount import console, masks, pivot
from tests.isolation.mount_child import (
    DEV,
    PROC,
    ChildError,
    build,
    in_child,
    mount_at,
    sealed,
    searchable_directory,
)

MAPS = "0 100000 65536"
USER = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID
EVERYTHING = USER | CLONE_NEWIPC | CLONE_NEWNET

DEVPTS: "dict[str, Any]" = {
    "destination": "/dev/pts",
    "type": "devpts",
    "source": "devpts",
    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
}
MQUEUE = {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"}
SYS = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid"]}


@pytest.fixture
def root() -> "Iterator[Path]":
    """A root filesystem that belongs to the container's root."""
    with searchable_directory() as directory:
        found = directory / "rootfs"
        found.mkdir()
        os.chown(found, 100000, 100000)
        yield found


def make(root: Path, config: "list[dict[str, Any]]", **more: Any) -> None:
    build(root, config, in_user_namespace=True, **more)


def refused(
    root: Path, *config: "dict[str, Any]", flags: int = USER, maps: str = MAPS
) -> ChildError:
    with pytest.raises(ChildError) as caught:
        in_child(lambda: make(root, list(config)), flags, maps=maps)
    return caught.value


def test_the_mounts_of_the_default_config(root: Path) -> None:
    def look() -> Any:
        make(root, [PROC, DEV, DEVPTS, MQUEUE, SYS])
        kinds = {}
        for point in ("/proc", "/dev", "/dev/pts", "/dev/mqueue", "/sys"):
            kinds[point] = mount_at(point)["type"]
        owner = os.stat("/dev/pts/ptmx")
        return kinds, [owner.st_uid, os.stat("/dev").st_uid], os.listdir("/sys/class/net")

    kinds, owners, interfaces = in_child(look, EVERYTHING, maps=MAPS)

    assert list(kinds.values()) == ["proc", "tmpfs", "devpts", "mqueue", "sysfs"]
    assert owners == [0, 0]
    assert interfaces == ["lo"]
    assert (root / "dev").stat().st_uid == 100000


# --- devices ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dev", [True, False])
def test_devices_are_the_hosts(root: Path, dev: bool) -> None:
    """On a /dev that is mounted, and on the image's own."""

    def look() -> Any:
        make(root, [PROC, DEV] if dev else [PROC])
        Path("/dev/null").write_text("x", encoding="utf-8")
        nodes = {}
        for name in ("null", "zero", "full", "random", "urandom", "tty"):
            status = os.lstat(f"/dev/{name}")
            nodes[name] = [
                stat.S_ISCHR(status.st_mode),
                status.st_rdev,
                mount_at(f"/dev/{name}")["type"],
            ]
        return nodes, len(os.urandom(4)), Path("/dev/zero").open("rb").read(1).hex()

    nodes, _random, zero = in_child(look, USER, maps=MAPS)

    kind = mount_at("/dev")["type"]
    assert nodes == {name: [True, os.stat(f"/dev/{name}").st_rdev, kind] for name in nodes}
    assert zero == "00"
    if not dev:
        assert (root / "dev/null").read_bytes() == b""
        assert stat.S_IMODE((root / "dev/null").stat().st_mode) == 0o644


@pytest.mark.parametrize("there", ["file", "device", "other device"])
def test_what_an_image_has_as_a_file_is_covered(root: Path, there: str) -> None:
    """Images that were exported from containers have empty files in /dev."""
    (root / "dev").mkdir()
    os.chown(root / "dev", 100000, 100000)
    null = root / "dev/null"
    if there == "file":
        null.write_text("the image's", encoding="utf-8")
    else:
        number = os.makedev(1, 3) if there == "device" else os.makedev(1, 5)
        os.mknod(null, stat.S_IFCHR | 0o600, number)
    before = null.lstat()

    def look() -> Any:
        make(root, [PROC])
        Path("/dev/null").write_text("x", encoding="utf-8")
        return [os.stat("/dev/null").st_rdev, Path("/dev/null").read_text(encoding="utf-8")]

    assert in_child(look, USER, maps=MAPS) == [os.makedev(1, 3), ""]
    assert null.lstat() == before


@pytest.mark.parametrize("there", ["link to a file", "link to nothing", "directory"])
def test_a_device_is_not_bound_onto_a_link_or_a_directory(root: Path, there: str) -> None:
    (root / "dev").mkdir()
    os.chown(root / "dev", 100000, 100000)
    (root / "dev/passwd").write_text("root", encoding="utf-8")
    if there == "directory":
        (root / "dev/zero").mkdir()
    else:
        (root / "dev/zero").symlink_to("passwd" if there == "link to a file" else "nowhere")

    error = refused(root, PROC)

    assert error.errno == errno.EEXIST
    assert '"/dev/zero"' in error.text
    assert (root / "dev/passwd").read_text(encoding="utf-8") == "root"
    assert not (root / "dev/nowhere").exists()


def test_configured_devices(root: Path) -> None:
    nodes: list[dict[str, Any]] = [
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 7},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o640, "uid": 7, "gid": 8},
        {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
    ]

    def look() -> Any:
        make(root, [PROC, DEV, DEVPTS], nodes=nodes)
        pipe = os.stat("/dev/pipe")
        return [pipe.st_mode, pipe.st_uid, pipe.st_gid], os.readlink("/dev/ptmx")

    # The host's node is what it is: its owner and mode are not the container's to change.
    before = os.stat("/dev/null")
    assert in_child(look, USER, maps=MAPS) == [[stat.S_IFIFO | 0o640, 7, 8], "pts/ptmx"]
    assert (os.stat("/dev/null").st_mode, os.stat("/dev/null").st_uid) == (
        before.st_mode,
        before.st_uid,
    )


@pytest.mark.parametrize(
    ("path", "number", "error"),
    [("/dev/lcpy-not-there", (1, 3), errno.ENOENT), ("/dev/zero", (1, 3), errno.ENODEV)],
)
def test_a_device_that_the_host_has_not_is_an_error(
    root: Path, path: str, number: "tuple[int, int]", error: int
) -> None:
    node = {"path": path, "type": "c", "major": number[0], "minor": number[1]}

    with pytest.raises(ChildError) as caught:
        in_child(lambda: make(root, [PROC, DEV], nodes=[node]), USER, maps=MAPS)

    assert (caught.value.errno, caught.value.field) == (error, "linux.devices[0]")
    assert path in caught.value.text
    assert "host" in caught.value.text
    assert "user namespace" in caught.value.text


def test_the_flags_of_the_hosts_dev_stay(root: Path) -> None:
    """A node comes with its mount's flags, which are locked."""

    def look() -> Any:
        flags = MS_NOSUID | MS_NOEXEC
        mount(None, "/dev", None, MS_BIND | MS_REMOUNT | flags)
        return in_child(inner, USER, maps=MAPS)

    def inner() -> Any:
        make(root, [PROC, DEV])
        return mount_at("/dev/null")["flags"]

    assert {"nosuid", "noexec"} <= set(in_child(look))


def test_the_console(root: Path) -> None:
    def look() -> Any:
        make(root, [PROC, DEV, DEVPTS])
        os.setsid()
        with sealed():
            master, slave = console.setup_console(24, 80)
        termios.tcgetattr(slave)
        os.write(master, b"typed\n")
        typed = os.read(slave, 6).decode()
        return (
            typed,
            os.fstat(slave).st_gid,
            os.stat("/dev/console").st_rdev == os.fstat(slave).st_rdev,
        )

    assert in_child(look, USER, maps=MAPS) == ["typed\n", 5, True]


# --- filesystems ------------------------------------------------------------------------------


def test_owners_of_a_tmpfs(root: Path) -> None:
    tmpfs = {"destination": "/t", "type": "tmpfs", "options": ["uid=1000", "gid=7", "mode=700"]}

    def look() -> Any:
        make(root, [PROC, tmpfs])
        status = os.stat("/t")
        return [status.st_uid, status.st_gid]

    assert in_child(look, USER, maps=MAPS) == [1000, 7]


@pytest.mark.parametrize("option", ["uid=70000", "gid=65536"])
def test_an_owner_of_a_tmpfs_that_is_not_mapped_is_named(root: Path, option: str) -> None:
    tmpfs = {"destination": "/t", "type": "tmpfs", "options": ["nosuid", f"mode=700,{option}"]}

    error = refused(root, PROC, tmpfs)

    assert (error.errno, error.field) == (errno.EINVAL, "mounts[1].options[1]")
    assert f"{option.replace('=', ' ')} is not mapped" in error.text


def test_a_gid_of_devpts_that_is_not_mapped_is_named(root: Path) -> None:
    """The default config's 5, where only root is mapped: as rootless containers have it."""
    os.chown(root, 0, 0)
    error = refused(root, PROC, DEV, DEVPTS, maps="0 0 1")

    assert (error.errno, error.field) == (errno.EINVAL, "mounts[2].options[5]")
    assert "gid 5 is not mapped" in error.text


@pytest.mark.parametrize(
    ("config", "flags", "word"),
    [
        (SYS, USER, "network namespace"),
        ({**PROC, "destination": "/p"}, CLONE_NEWUSER | CLONE_NEWNS, "pid namespace"),
        (MQUEUE, USER, "ipc namespace"),
        ({"destination": "/c", "type": "cgroup2"}, USER, "cgroup namespace"),
        ({"destination": "/d", "type": "devtmpfs"}, USER, "few types"),
    ],
)
def test_what_a_user_namespace_may_not_mount_is_worded(
    root: Path, config: "dict[str, Any]", flags: int, word: str
) -> None:
    error = refused(root, config, flags=flags)

    assert error.errno == errno.EPERM
    assert (error.field or "").startswith("mounts[0]")
    assert word in error.text


def test_a_proc_beside_a_covered_one_is_refused(root: Path) -> None:
    """mount_too_revealing: what the parent's masks hide must not come back by a new mount."""

    def look() -> Any:
        mount("tmpfs", "/proc/sys", "tmpfs")
        return in_child(lambda: make(root, [PROC]), USER, maps=MAPS)

    with pytest.raises(ChildError) as caught:
        in_child(look)
    assert (caught.value.errno, caught.value.field) == (errno.EPERM, "mounts[0]")
    assert "covered" in caught.value.text


def test_the_hosts_sys_can_be_bound_instead(root: Path) -> None:
    bound = {"destination": "/sys", "source": "/sys", "options": ["rbind", "nosuid", "ro"]}

    def look() -> Any:
        make(root, [PROC, bound])
        return mount_at("/sys")

    seen = in_child(look, USER, maps=MAPS)
    assert seen["type"] == "sysfs"
    assert {"nosuid", "ro"} <= set(seen["flags"])


def test_tmpcopyup(root: Path) -> None:
    (root / "etc").mkdir()
    (root / "etc/file").write_text("the image's", encoding="utf-8")
    for path in (root / "etc", root / "etc/file"):
        os.chown(path, 101000, 100007)
    copied = {"destination": "/etc", "type": "tmpfs", "options": ["tmpcopyup"]}

    def look() -> Any:
        make(root, [PROC, copied])
        status = os.stat("/etc/file")
        return [status.st_uid, status.st_gid, Path("/etc/file").read_text(encoding="utf-8")]

    assert in_child(look, USER, maps=MAPS) == [1000, 7, "the image's"]


def test_tmpcopyup_of_what_can_not_be_copied_is_an_error(root: Path) -> None:
    """A file of somebody who is not mapped can't be given to them."""
    (root / "etc").mkdir()
    (root / "etc/file").touch()
    os.chown(root / "etc/file", 7, 7)
    copied = {"destination": "/etc", "type": "tmpfs", "options": ["tmpcopyup"]}

    with pytest.raises(ChildError) as caught:
        in_child(lambda: make(root, [copied]), USER, maps="0 100000 100")
    assert caught.value.field == "mounts[0]"
    assert caught.value.errno == errno.EINVAL


def test_masked_and_read_only_paths(root: Path) -> None:
    (root / "secret").mkdir()
    (root / "secret/key").write_text("hidden", encoding="utf-8")

    def look() -> Any:
        make(root, [PROC, DEV])
        with sealed():
            masks.readonly_paths(["/proc/sys", "/secret"])
            masks.mask_paths(["/proc/meminfo", "/secret"])
            masks.readonly_root()
        return [
            "ro" in mount_at("/proc/sys")["flags"],
            os.listdir("/secret"),
            os.stat("/proc/meminfo").st_rdev,
            "ro" in mount_at("/")["flags"],
        ]

    assert in_child(look, USER, maps=MAPS) == [True, [], os.makedev(1, 3), True]


def test_without_pivot_root(root: Path) -> None:
    """What the host mounted can't be unmounted here: every whole procfs of it is covered."""

    def look() -> Any:
        make(root, [PROC, DEV], enter=pivot.move_root)
        return sorted(os.listdir("/")), os.path.exists("/proc/1"), os.stat("/dev/null").st_rdev

    assert in_child(look, USER, maps=MAPS) == [["dev", "proc"], True, os.makedev(1, 3)]


def test_a_root_that_the_container_may_not_search_is_named(root: Path) -> None:
    root.parent.chmod(0o700)

    error = refused(root, PROC)

    assert (error.errno, error.field) == (errno.EACCES, "root.path")
    assert "search" in error.text


# --- flags that the host's namespace has locked -----------------------------------------------

_WORDS = {
    "ro": MS_RDONLY,
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "noatime": MS_NOATIME,
    "nodiratime": MS_NODIRATIME,
    "relatime": MS_RELATIME,
    "strictatime": MS_STRICTATIME,
    "nosymfollow": MS_NOSYMFOLLOW,
}


def bound(root: Path, there: str, asked: str, *, user: bool) -> "set[str]":
    """The flags of a bind, with some asked for, of a mount that has some; without rw."""

    def look() -> Any:
        volume = str(root.parent / "volume")
        mount("tmpfs", volume, "tmpfs", MS_STRICTATIME)
        flags = sum(_WORDS[word] for word in there.split(","))
        mount(None, volume, None, MS_BIND | MS_REMOUNT | flags)
        return in_child(inner, USER if user else CLONE_NEWNS, maps=MAPS)

    def inner() -> Any:
        words = ["bind", *filter(None, asked.split(","))]
        volume = {"destination": "/v", "source": str(root.parent / "volume"), "options": words}
        make(root, [PROC, DEV, volume])
        return mount_at("/v")["flags"]

    (root.parent / "volume").mkdir(exist_ok=True)
    return set(in_child(look)) - {"rw"}


# What the tests of runc hold (mounts_sshfs.bats), some of it only for the sake of mount(8).
@pytest.mark.parametrize(
    ("there", "asked", "host", "user"),
    [
        # Nothing is asked: everything stays.
        ("ro,noexec,nosymfollow,nodiratime", "", None, "ro,noexec,nosymfollow,nodiratime,relatime"),
        ("strictatime", "", None, ""),
        ("noatime,nodiratime", "", None, "noatime,nodiratime"),
        # What isn't asked for goes, but access times; in a user namespace what can't go stays.
        (
            "ro,noexec,nosymfollow,nodiratime",
            "dev",
            "nodiratime,relatime",
            "ro,noexec,nodiratime,relatime",
        ),
        ("ro", "nosuid,nodev", "nosuid,nodev", "ro,nosuid,nodev"),
        ("nodev,nosuid,noexec,noatime", "ro", "ro,noatime", "ro,nodev,nosuid,noexec,noatime"),
        ("nodev,nosymfollow", "ro,symfollow", "ro", "ro,nodev"),
        ("nodev,nosymfollow", "rw", "", "nodev"),
        ("nodev,nosuid,noatime", "ro,exec", "ro,noatime", "ro,nodev,nosuid,noatime"),
        # To ask that a locked one goes is an error.
        ("ro", "rw,nosuid,nodev", "nosuid,nodev", None),
        ("nosuid,nodev,noexec,noatime", "dev,suid,exec,atime", "noatime", None),
        # Access times: a word that sets one replaces them all, and one that clears does nothing.
        ("noatime", "norelatime", "noatime", "noatime"),
        ("noatime", "atime", "noatime", "noatime"),
        ("noatime", "relatime", "relatime", None),
        ("noatime", "nodiratime", "nodiratime,relatime", None),
        ("noatime", "nodiratime,strictatime", "nodiratime", None),
        ("noatime", "nodiratime,norelatime", "nodiratime,relatime", None),
        ("nodiratime", "strictatime", "", None),
        ("relatime", "strictatime", "", None),
        ("noatime", "strictatime", "", None),
        ("nodiratime", "noatime", "noatime", None),
        ("relatime", "noatime", "noatime", None),
        ("relatime", "nodiratime", "nodiratime,relatime", None),
        ("strictatime", "relatime", "relatime", None),
        ("strictatime", "noatime", "noatime", None),
        ("strictatime", "nodiratime", "nodiratime,relatime", None),
        ("strictatime", "nostrictatime", "", ""),
        ("nodiratime", "diratime", "nodiratime,relatime", "nodiratime,relatime"),
        ("noatime,nodiratime", "norelatime", "noatime,nodiratime", "noatime,nodiratime"),
    ],
)
def test_flags_of_a_bind(
    root: Path, there: str, asked: str, host: "str | None", user: "str | None"
) -> None:
    """Outside a user namespace (`host`; None: as inside), and inside (`user`; None: an error)."""
    expected = user if host is None else host
    assert expected is not None, "neither"
    assert bound(root, there, asked, user=False) == set(filter(None, expected.split(",")))
    if user is not None:
        assert bound(root, there, asked, user=True) == set(filter(None, user.split(",")))
        return
    with pytest.raises(ChildError) as caught:
        bound(root, there, asked, user=True)
    assert (caught.value.errno, caught.value.field) == (errno.EPERM, "mounts[2].options")
    assert "locked" in caught.value.text


@pytest.mark.parametrize("word", ["rrw", "rdev", "rnoatime"])
def test_a_recursive_word_against_a_lock_below_is_an_error(root: Path, word: str) -> None:
    (root.parent / "volume/below").mkdir(parents=True)
    volume = root.parent / "volume"
    config = {"destination": "/v", "source": str(volume), "options": ["rbind", word]}

    def look() -> Any:
        mount("tmpfs", str(volume / "below"), "tmpfs", MS_NODEV | MS_RDONLY)
        return in_child(lambda: make(root, [config]), USER, maps=MAPS)

    with pytest.raises(ChildError) as caught:
        in_child(look)
    assert (caught.value.errno, caught.value.field) == (errno.EPERM, "mounts[0].options")
    assert "locked" in caught.value.text


def test_a_remount_keeps_what_is_locked(root: Path) -> None:
    (root.parent / "volume").mkdir()
    volume = str(root.parent / "volume")
    config = [
        {"destination": "/v", "source": volume, "options": ["bind"]},
        {"destination": "/v", "options": ["bind", "remount", "noexec"]},
        PROC,
    ]

    def look() -> Any:
        mount("tmpfs", volume, "tmpfs", MS_NODEV)
        return in_child(inner, USER, maps=MAPS)

    def inner() -> Any:
        make(root, config)
        return mount_at("/v")["flags"]

    assert {"nodev", "noexec"} <= set(in_child(look))


def test_what_is_mounted_inside_is_not_seen_outside(root: Path) -> None:
    def look() -> Any:
        mount(None, "/", None, MS_SHARED | MS_REC)
        in_child(lambda: make(root, [PROC, DEV]), USER, maps=MAPS, private=False)
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        return [line for line in text.splitlines() if str(root) in line]

    assert in_child(look) == []
