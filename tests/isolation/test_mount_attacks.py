"""Hostile root filesystems, and neighbours that change them while we mount.

In each: nothing outside the root changes, and the answer is a clear error or a container that is
right.
"""

import errno
import os
import posix
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.linux.flags import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    MS_BIND,
)
from libcontainer_py.linux.syscalls import CWD, mount, openat2
from libcontainer_py.mount import devices, masks, mounts, paths, rootfs, sysctl
from tests.isolation.mount_child import (
    DEV,
    PROC,
    ChildError,
    build,
    in_child,
    mount_at,
    tree_of,
)

INSIDE = CLONE_NEWNS | CLONE_NEWPID
TMPFS = {"type": "tmpfs", "source": "tmpfs"}
SYS = {"destination": "/sys", "type": "sysfs", "source": "sysfs"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "rootfs"
    directory.mkdir()
    return directory


@pytest.fixture
def host(tmp_path: Path) -> "Iterator[Path]":
    """A directory of the host that must not change."""
    directory = tmp_path / "host"
    (directory / "etc").mkdir(parents=True)
    (directory / "etc/passwd").write_text("root", encoding="utf-8")
    before = tree_of(directory)
    yield directory
    assert tree_of(directory) == before


@pytest.mark.parametrize("link", ["{host}/etc", "../host/etc", "../../../../{host}/etc"])
def test_a_destination_that_is_a_link_to_the_host(root: Path, host: Path, link: str) -> None:
    (root / "data").symlink_to(link.format(host=host))
    config = [
        PROC,
        {**TMPFS, "destination": "/data"},
        {**TMPFS, "destination": "/data/new/er"},
        {"destination": "/data/passwd", "source": "/etc/hostname", "options": ["bind"]},
    ]

    def look() -> Any:
        build(root, config)
        points = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        return [line.split(" ")[4] for line in points], os.path.isdir("/data/new")

    points, made = in_child(look, INSIDE)

    assert made
    assert len(points) == 5
    assert str(host) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")


def test_a_dev_that_is_a_link_to_the_host(root: Path, host: Path) -> None:
    """CVE-2026-41579."""
    (root / "dev").symlink_to(str(host))

    def look() -> Any:
        build(root, [PROC])
        return stat.S_ISCHR(os.stat("/dev/null").st_mode)

    assert in_child(look, INSIDE)
    assert (root / str(host)[1:] / "null").is_char_device()


@pytest.mark.parametrize("target", ["null", "/etc/passwd", "../host/etc/passwd"])
def test_a_device_that_is_a_link_is_refused(root: Path, host: Path, target: str) -> None:
    (root / "dev").mkdir()
    (root / "dev/zero").symlink_to(target)

    with pytest.raises(ChildError) as caught:
        in_child(lambda: build(root, [PROC]), INSIDE)
    assert caught.value.errno == errno.EEXIST
    assert '"/dev/zero"' in caught.value.text
    assert (root / "dev/zero").is_symlink()
    assert host.is_dir()


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("kind", ["to a directory", "to nothing", "to the host", "a file"])
def test_proc_and_sys_are_mounted_on_real_directories_alone(
    root: Path, host: Path, name: str, kind: str
) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642."""
    (root / "fake").mkdir()
    if kind == "a file":
        (root / name).touch()
    else:
        (root / name).symlink_to(
            {"to a directory": "fake", "to nothing": "nowhere", "to the host": str(host)}[kind]
        )

    with pytest.raises(ChildError) as caught:
        in_child(lambda: build(root, [PROC if name == "proc" else SYS]), INSIDE)
    assert caught.value.field == "mounts[0].destination"
    assert "must be mounted on ordinary directory" in caught.value.text
    assert not (root / "nowhere").exists()


@pytest.mark.parametrize(
    ("destination", "config"),
    [
        ("/proc", TMPFS),
        ("/proc", {"source": "{volume}", "options": ["bind"]}),
        ("/link", {"source": "{volume}", "options": ["bind"]}),
        ("/proc/self/attr", TMPFS),
        ("/proc/sys/kernel/core_pattern", {"source": "/etc/hostname", "options": ["bind"]}),
        ("/link/1/../self", TMPFS),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_nothing_covers_proc(
    root: Path, tmp_path: Path, destination: str, config: "dict[str, Any]", first: bool
) -> None:
    """CVE-2019-16884: a volume over /proc, mounted before or after the real one."""
    (root / "link").symlink_to("/proc")
    (root / "proc").mkdir()
    (tmp_path / "volume").mkdir()
    fake = {**config, "destination": destination}
    if "source" in fake:
        fake["source"] = fake["source"].format(volume=tmp_path / "volume")
    order = [fake, PROC] if first else [PROC, fake]

    with pytest.raises(ChildError) as caught:
        in_child(lambda: build(root, order), INSIDE)
    assert caught.value.field == f"mounts[{0 if first else 1}].destination"


def test_what_lxcfs_mounts_over_proc_is_allowed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("a little", encoding="utf-8")
    config = [
        {"destination": "/proc", "source": "/proc", "options": ["rbind"]},
        {
            "destination": "/proc/meminfo",
            "source": str(tmp_path / "meminfo"),
            "options": ["bind"],
        },
    ]

    def look() -> Any:
        build(root, config)
        return Path("/proc/meminfo").read_text(encoding="utf-8")

    assert in_child(look, INSIDE) == "a little"


@pytest.mark.parametrize("fake", ["missing", "file", "link", "zero"])
def test_a_mask_by_something_else_than_the_null_device_is_an_error(root: Path, fake: str) -> None:
    """CVE-2025-31133."""
    (root / "dev").mkdir()
    (root / "secret").write_text("hidden", encoding="utf-8")
    (root / "payload").write_text("mounted over what should be hidden", encoding="utf-8")

    def look() -> Any:
        build(root, [PROC, DEV])
        os.unlink("/dev/null")
        if fake == "file":
            Path("/dev/null").touch()
        elif fake == "link":
            os.symlink("/payload", "/dev/null")
        elif fake == "zero":
            os.mknod("/dev/null", stat.S_IFCHR, os.makedev(1, 5))
        masks.mask_paths(["/missing", "/secret"])

    with pytest.raises(ChildError) as caught:
        in_child(look, INSIDE)
    assert caught.value.field == "linux.maskedPaths[1]"
    assert (root / "secret").read_text(encoding="utf-8") == "hidden"


def test_a_masked_path_that_is_a_link_is_masked_where_it_points(root: Path) -> None:
    (root / "real").write_text("hidden", encoding="utf-8")
    (root / "link").symlink_to("real")

    def look() -> Any:
        build(root, [PROC, DEV])
        masks.mask_paths(["/link"])
        return Path("/real").read_text(encoding="utf-8")

    assert in_child(look, INSIDE) == ""


@pytest.mark.parametrize("fake", ["directory", "link", "tmpfs", "below", "over"])
def test_sysctls_are_written_to_real_procfs_alone(root: Path, fake: str) -> None:
    """CVE-2025-52881."""
    path = "proc/sys/net/ipv4"
    if fake == "directory":
        (root / path).mkdir(parents=True)
        (root / path / "ip_forward").touch()
    elif fake == "link":
        (root / "elsewhere").mkdir()
        (root / "proc").symlink_to("elsewhere")

    file = "/proc/sys/net/ipv4/ip_forward"

    def look() -> Any:
        real = fake in ("tmpfs", "below", "over")
        build(root, [PROC] if real else [])
        if fake == "tmpfs":
            # Its top has the inode of a procfs' top.
            mount("tmpfs", "/proc", "tmpfs")
            os.makedirs(os.path.dirname(file))
            Path(file).touch()
        elif fake == "below":
            mount("/proc/self", "/proc/sys/net", None, MS_BIND)
        elif fake == "over":
            mount("/proc/sys/net/ipv4/ip_default_ttl", file, None, MS_BIND)
        sysctl.write_sysctls({"net.ipv4.ip_forward": "1"})

    with pytest.raises(ChildError) as caught:
        in_child(look, INSIDE | CLONE_NEWNET)
    assert (caught.value.field or "").startswith("linux.sysctl")


@contextmanager
def swapping(path: Path, target: str) -> "Iterator[None]":
    """A neighbour: `path` is by turns a directory and a link to `target`."""
    done = threading.Event()
    aside = path.with_name("aside")
    aside.symlink_to(target)
    other = path.with_name("other")

    def swap() -> None:
        while not done.is_set():
            for old, new in ((path, other), (aside, path), (path, aside), (other, path)):
                try:
                    os.rename(old, new)
                except OSError:
                    continue

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def race(root: Path, step: "Callable[[int], None]") -> int:
    """Take a step two hundred times on a root that a neighbour is changing."""
    root_fd = openat2(CWD, str(root), os.O_PATH | os.O_DIRECTORY)
    came_through = 0
    for _ in range(200):
        try:
            step(root_fd)
            came_through += 1
        except OSError:
            continue
    os.close(root_fd)
    return came_through


def test_making_directories_in_a_race(root: Path, host: Path) -> None:
    """CVE-2024-45310."""
    (root / "volume").mkdir()

    def make(root_fd: int) -> None:
        os.close(paths.mkdir_all_in_root(root_fd, "/volume/sub/a/b"))
        os.close(paths.create_file_in_root(root_fd, "/volume/sub/c/file"))
        for directory in (root / "volume").rglob("a"):
            (directory / "b").rmdir()
            directory.rmdir()

    (root / "volume/sub").mkdir()
    with swapping(root / "volume/sub", str(host)):
        race(root, make)


@pytest.mark.parametrize("make_file", [False, True])
def test_a_link_put_where_we_were_about_to_make_something(
    root: Path, host: Path, monkeypatch: pytest.MonkeyPatch, make_file: bool
) -> None:
    """The race of CVE-2024-45310, at its worst moment."""

    def lose(*_args: Any, **_keywords: Any) -> None:
        (root / "name").symlink_to("host" if make_file else str(host))
        raise FileExistsError(errno.EEXIST, "a neighbour was faster")

    (root / "host").symlink_to(host / "etc/passwd")
    root_fd = openat2(CWD, str(root), os.O_PATH | os.O_DIRECTORY)
    monkeypatch.setattr(posix, "mknod" if make_file else "mkdir", lose)
    make = paths.create_file_in_root if make_file else paths.mkdir_all_in_root
    try:
        with pytest.raises(OSError) as caught:
            make(root_fd, "/name")
    finally:
        os.close(root_fd)
    assert caught.value.errno == (errno.EEXIST if make_file else errno.ENOTDIR)


def test_mounting_in_a_race(root: Path, host: Path) -> None:
    """CVE-2021-30465: every mount lands beneath the root, or nowhere."""
    (root / "volume/sub").mkdir(parents=True)

    def look() -> Any:
        root_fd = rootfs.prepare_rootfs(str(root), None)
        config = [{**TMPFS, "destination": "/volume/sub/new"}]
        came_through = 0
        with swapping(root / "volume/sub", str(host)):
            for _ in range(200):
                try:
                    mounts.setup_mounts(root_fd, config, [], False)
                    came_through += 1
                except OSError:
                    continue
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        points = [line.split(" ")[4] for line in text if " - tmpfs " in line]
        return came_through, [point for point in points if point.startswith(str(host))]

    came_through, outside = in_child(look)

    assert came_through > 0
    assert outside == []


def test_making_devices_in_a_race(root: Path, host: Path) -> None:
    (root / "dev/sub").mkdir(parents=True)
    node = {"path": "/dev/sub/node", "type": "c", "major": 1, "minor": 3, "uid": 7}

    def make(root_fd: int) -> None:
        devices.setup_devices(root_fd, [node])

    with swapping(root / "dev/sub", str(host / "etc")):
        race(root, make)


def test_two_containers_make_the_same_directory_at_once(root: Path) -> None:
    errors: list[OSError] = []

    def make() -> None:
        root_fd = openat2(CWD, str(root), os.O_PATH | os.O_DIRECTORY)
        for number in range(100):
            try:
                os.close(paths.mkdir_all_in_root(root_fd, f"/a/{number}/b/c"))
                os.close(paths.create_file_in_root(root_fd, f"/f/{number}/file"))
            except OSError as error:
                errors.append(error)
        os.close(root_fd)

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert (root / "a/99/b/c").is_dir()


def test_links_that_never_end_are_an_error(root: Path) -> None:
    (root / "a").symlink_to("b/x")
    (root / "b").symlink_to("a/x")
    root_fd = openat2(CWD, str(root), os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError) as caught:
            paths.mkdir_all_in_root(root_fd, "/a/b")
    finally:
        os.close(root_fd)
    assert caught.value.errno == errno.ELOOP


def test_a_dangling_link_is_made_inside_the_root(root: Path, host: Path) -> None:
    """As /var/run -> /run in an image without /run."""
    (root / "var/lib").mkdir(parents=True)
    (root / "var/run").symlink_to("/../run/deep")
    (root / "var/lib/link").symlink_to("/srv")
    (root / "file").symlink_to(f"../..{host}/new")
    root_fd = openat2(CWD, str(root), os.O_PATH | os.O_DIRECTORY)
    try:
        os.close(paths.mkdir_all_in_root(root_fd, "/var/run/secrets"))
        os.close(paths.mkdir_all_in_root(root_fd, "/var/lib/link/data"))
        os.close(paths.create_file_in_root(root_fd, "/file"))
    finally:
        os.close(root_fd)

    assert (root / "run/deep/secrets").is_dir()
    assert (root / "srv/data").is_dir()
    assert (root / str(host)[1:] / "new").is_file()


def test_no_descriptor_is_left_open(root: Path, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    config = [
        PROC,
        DEV,
        {**TMPFS, "destination": "/run", "options": ["ro"]},
        {"destination": "/v", "source": str(tmp_path / "volume"), "options": ["bind", "ro"]},
    ]

    def look() -> Any:
        before = len(os.listdir("/proc/self/fd"))
        build(root, config)
        masks.mask_paths(["/v", "/proc/meminfo"])
        masks.readonly_paths(["/proc/sys"])
        # The root's own descriptor, which is init's to close, is the one more.
        return len(os.listdir("/proc/self/fd")) - before, mount_at("/proc/sys")["type"]

    assert in_child(look, INSIDE) == [1, "proc"]
