"""The mount of type "cgroup", on real hierarchies of cgroup v1."""

import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.cgroups.interface import CgroupMount
from libcontainer_py.linux.flags import CLONE_NEWCGROUP, CLONE_NEWNS, CLONE_NEWPID
from libcontainer_py.linux.syscalls import unshare
from tests.isolation.mount_child import PROC, ChildError, build, in_child, mount_at

HOST = Path("/sys/fs/cgroup")

pytestmark = pytest.mark.skipif(
    not (HOST / "pids/cgroup.procs").exists(), reason="no cgroup v1 on this machine"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "rootfs"
    directory.mkdir()
    return directory


@pytest.fixture
def hierarchies() -> "Iterator[list[CgroupMount]]":
    """A cgroup of our own in two hierarchies, one of them without a controller if there is one."""
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
            for hierarchy in hierarchies:
                Path(hierarchy.path, "cgroup.procs").write_text("0", encoding="utf-8")
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
    gone = CgroupMount("pids", "pids", "/sys/fs/cgroup/pids/not/there", "/sys/fs/cgroup/pids", ())
    with pytest.raises(ChildError) as caught:
        in_child(lambda: build(root, cgroup(), cgroups=[gone]), CLONE_NEWNS | CLONE_NEWPID)
    assert (caught.value.errno, caught.value.field) == (errno.ENOENT, "mounts[1]")


def test_cgroup_v2_alone(root: Path) -> None:
    def look() -> Any:
        build(root, cgroup("ro"), cgroups=[CgroupMount("", "", "/sys/fs/cgroup/unified", "", ())])
        return mount_at("/sys/fs/cgroup")["type"]

    assert in_child(look, CLONE_NEWNS | CLONE_NEWPID) == "cgroup2"
