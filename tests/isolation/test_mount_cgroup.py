"""The mount of type "cgroup", on real hierarchies of cgroup v1 and v2."""

import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.cgroups.interface import CgroupMount
from libcontainer_py.linux.flags import (
    CLONE_NEWCGROUP,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
)
from libcontainer_py.linux.syscalls import unshare
from tests.isolation.mount_child import (
    DEV,
    PROC,
    ChildError,
    build,
    in_child,
    mount_at,
    searchable_directory,
)

HOST = Path("/sys/fs/cgroup")
USER = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID

V2 = HOST if (HOST / "cgroup.controllers").exists() else HOST / "unified"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "rootfs"
    directory.mkdir()
    return directory


@pytest.fixture
def hierarchies() -> "Iterator[list[CgroupMount]]":
    """A cgroup of our own in two hierarchies, one of them without a controller if there is one."""
    if V2 == HOST:
        pytest.skip("cgroup v1 is not here: v2 has its controllers")
    name = f"lcpy-mount-{uuid.uuid4().hex}"
    found = [CgroupMount("pids", "pids", str(HOST / "pids" / name), str(HOST / "pids"), ("alias",))]
    if (HOST / "systemd/cgroup.procs").exists():
        path = HOST / "systemd" / name
        found.append(CgroupMount("systemd", "name=systemd", str(path), str(HOST / "systemd"), ()))
    for hierarchy in found:
        Path(hierarchy.path).mkdir()
    yield found
    for hierarchy in found:
        Path(hierarchy.path).rmdir()


def cgroup(*options: str) -> "list[dict[str, Any]]":
    return [
        PROC,
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", *options],
        },
    ]


@pytest.mark.parametrize("namespace", [False, True])
def test_the_container_sees_its_own_part_alone(
    root: Path, hierarchies: "list[CgroupMount]", namespace: bool
) -> None:
    names = [hierarchy.name for hierarchy in hierarchies]

    def look() -> Any:
        if namespace:
            enter(hierarchies)
            unshare(CLONE_NEWCGROUP)
        build(root, cgroup("ro"), cgroups=hierarchies, cgroup_namespace=namespace)
        try:
            os.mkdir("/sys/fs/cgroup/pids/new")
        except OSError as error:
            refused = error.errno
        return {
            "names": sorted(os.listdir("/sys/fs/cgroup")),
            "alias": os.readlink("/sys/fs/cgroup/alias"),
            "below": [
                path
                for name in names
                for path in os.listdir(f"/sys/fs/cgroup/{name}")
                if os.path.isdir(f"/sys/fs/cgroup/{name}/{path}")
            ],
            "max": Path("/sys/fs/cgroup/pids/pids.max").read_text(encoding="utf-8"),
            "mounts": {name: mount_at(f"/sys/fs/cgroup/{name}") for name in names},
            "tmpfs": mount_at("/sys/fs/cgroup"),
            "refused": refused,
        }

    seen = in_child(look, CLONE_NEWNS)

    assert seen["names"] == sorted(["alias", *names])
    assert seen["alias"] == "pids"
    assert seen["below"] == []
    assert seen["max"] == "max\n"
    assert {mount["type"] for mount in seen["mounts"].values()} == {"cgroup"}
    for mount in (*seen["mounts"].values(), seen["tmpfs"]):
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(mount["flags"])
    assert (seen["mounts"]["pids"]["root"] == "/") == namespace
    assert seen["refused"] == errno.EROFS


def test_without_ro_it_is_writable(root: Path, hierarchies: "list[CgroupMount]") -> None:
    def look() -> None:
        build(root, cgroup(), cgroups=hierarchies)
        os.mkdir("/sys/fs/cgroup/pids/new")
        os.rmdir("/sys/fs/cgroup/pids/new")

    in_child(look, CLONE_NEWNS | CLONE_NEWPID)


def test_a_cgroup_that_is_gone_is_an_error(root: Path) -> None:
    gone = CgroupMount("", "", f"{V2}/not/there", str(V2), ())
    with pytest.raises(ChildError) as caught:
        in_child(lambda: build(root, cgroup(), cgroups=[gone]), CLONE_NEWNS | CLONE_NEWPID)
    assert (caught.value.errno, caught.value.field) == (errno.ENOENT, "mounts[1]")


@pytest.fixture
def unified() -> "Iterator[list[CgroupMount]]":
    """A cgroup of our own in the hierarchy of cgroup v2."""
    path = V2 / f"lcpy-mount-{uuid.uuid4().hex}"
    path.mkdir()
    yield [CgroupMount("", "", str(path), str(V2), ())]
    path.rmdir()


def enter(hierarchies: "list[CgroupMount]") -> None:
    for hierarchy in hierarchies:
        Path(hierarchy.path, "cgroup.procs").write_text("0", encoding="utf-8")


def own_name(hierarchy: CgroupMount) -> str:
    return hierarchy.path.removeprefix(hierarchy.mountpoint)


@pytest.mark.parametrize("namespace", [False, True])
def test_cgroup_v2_alone(root: Path, unified: "list[CgroupMount]", namespace: bool) -> None:
    def look() -> Any:
        if namespace:
            enter(unified)
            unshare(CLONE_NEWCGROUP)
        build(root, cgroup("ro"), cgroups=unified, cgroup_namespace=namespace)
        return mount_at("/sys/fs/cgroup"), os.listdir("/sys/fs/cgroup")

    seen, names = in_child(look, CLONE_NEWNS | CLONE_NEWPID)

    assert seen["type"] == "cgroup2"
    assert seen["root"] == ("/" if namespace else own_name(unified[0]))
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(seen["flags"])
    assert "cgroup.procs" in names


def test_the_whole_of_cgroup_v2(root: Path, unified: "list[CgroupMount]") -> None:
    """The host's tree, as /proc/self/cgroup says it; and the host's mount keeps its options."""
    before = mount_at(str(V2))
    unified[0].whole = True
    name = own_name(unified[0])

    def look() -> Any:
        enter(unified)
        build(root, cgroup("ro"), cgroups=unified)
        inside = "cgroup.procs" in os.listdir(f"/sys/fs/cgroup{name}")
        return mount_at("/sys/fs/cgroup"), inside

    seen, inside = in_child(look, CLONE_NEWNS | CLONE_NEWPID)

    assert (seen["type"], seen["root"], inside) == ("cgroup2", "/", True)
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(seen["flags"])
    assert mount_at(str(V2)) == before


@pytest.mark.parametrize("namespace", ["none", "of the user namespace", "of the host"])
@pytest.mark.parametrize("version", ["hierarchies", "unified"])
def test_in_a_user_namespace(request: pytest.FixtureRequest, version: str, namespace: str) -> None:
    """A cgroup namespace of the host's can't be mounted there: then the own part is bound."""
    wanted: list[CgroupMount] = request.getfixturevalue(version)
    place = f"/sys/fs/cgroup/{wanted[0].name}".rstrip("/")

    def look() -> Any:
        enter(wanted)
        if namespace == "of the host":
            unshare(CLONE_NEWCGROUP)
        return in_child(inner, USER, maps="0 100000 65536")

    def inner() -> Any:
        if namespace == "of the user namespace":
            unshare(CLONE_NEWCGROUP)
        build(
            directory / "rootfs",
            [*cgroup("ro"), DEV],
            cgroups=wanted,
            cgroup_namespace=namespace != "none",
            in_user_namespace=True,
        )
        return mount_at(place), "cgroup.procs" in os.listdir(place)

    with searchable_directory() as directory:
        (directory / "rootfs").mkdir()
        os.chown(directory / "rootfs", 100000, 100000)
        seen, found = in_child(look)

    assert found
    assert seen["type"] == ("cgroup" if version == "hierarchies" else "cgroup2")
    # Seen from a cgroup namespace, where its root is, is "/".
    assert seen["root"] == (own_name(wanted[0]) if namespace == "none" else "/")
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(seen["flags"])


@pytest.mark.parametrize("options", [(), ("rw",)])
def test_without_cgroups_of_its_own_there_is_nothing_to_write(
    root: Path, options: "tuple[str, ...]"
) -> None:
    """CVE-2023-25809: not even where /sys is a bind of the host's, whose `ro` ends at its top."""
    config = [
        PROC,
        {"destination": "/sys", "source": "/sys", "options": ["rbind", "ro"]},
        {**cgroup()[1], "options": list(options)},
    ]

    def look() -> Any:
        build(root, config)
        try:
            os.mkdir("/sys/fs/cgroup/new")
        except OSError as error:
            return error.errno, os.listdir("/sys/fs/cgroup"), mount_at("/sys/fs/cgroup")["type"]
        return None

    seen = in_child(look, CLONE_NEWNS | CLONE_NEWPID)
    assert seen == [errno.EROFS, [], "tmpfs"]


def test_the_type_cgroup2_is_a_filesystem_like_others(root: Path) -> None:
    config = {"destination": "/c", "type": "cgroup2", "source": "c2", "options": ["ro", "nosuid"]}

    def look() -> Any:
        unshare(CLONE_NEWCGROUP)
        build(root, [PROC, config])
        return mount_at("/c")

    seen = in_child(look, CLONE_NEWNS | CLONE_NEWPID)
    assert (seen["type"], seen["source"], seen["root"]) == ("cgroup2", "c2", "/")
    assert {"ro", "nosuid"} <= set(seen["flags"])


def test_recursive_words_reach_each_hierarchy(root: Path, hierarchies: "list[CgroupMount]") -> None:
    def look() -> Any:
        build(root, cgroup("rro", "rnoatime"), cgroups=hierarchies)
        return mount_at(f"/sys/fs/cgroup/{hierarchies[0].name}")["flags"]

    assert {"ro", "noatime"} <= set(in_child(look, CLONE_NEWNS | CLONE_NEWPID))
