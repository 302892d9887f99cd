"""`exec` and the cgroups below the container's, on cgroup v2."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import freezer
from tests.cli.test_exec import Box, box, refused, wait_for, writable

if TYPE_CHECKING:
    from tests.conftest import Bundle, Config, Lcpy

__all__ = ["box"]

pytestmark = pytest.mark.skipif(
    not freezer.UNIFIED, reason="cgroup v2 has no controllers here: v1 has them"
)


def owner(config: "Config") -> None:
    """Its cgroup is its own to write, and it has the controller of a limit."""
    writable(config)
    config["linux"]["resources"]["pids"] = {"limit": 50}
    for mount in config["mounts"]:
        if mount["destination"] == "/sys/fs/cgroup":
            mount["options"].remove("ro")


def where(box: Box, *flags: str) -> str:
    """The cgroup of a second process, as it is seen in the container."""
    return box.says(*flags, "--", "cat", "/proc/self/cgroup").strip()


def test_a_cgroup_below(box: Box) -> None:
    deep = freezer.cgroup_of(box.pid) / "sub/deep"
    deep.mkdir(parents=True)
    assert where(box, "--cgroup", "sub/deep") == "0::/sub/deep"
    assert where(box, "--cgroup", "/sub") == "0::/sub"
    assert where(box, "--cgroup", "/") == where(box) == "0::/"


def test_what_it_starts_stays_there(box: Box) -> None:
    """And is the container's all the same: `ps` shows it."""
    sub = freezer.cgroup_of(box.pid) / "sub"
    sub.mkdir()
    script = "sleep 1000 & echo done >/up; wait"
    box.says("--detach", "--cgroup", "sub", "--", "sh", "-c", script)
    wait_for(box.rootfs / "up")
    inside = {int(word) for word in (sub / "cgroup.procs").read_text().split()}
    assert len(inside) == 2
    assert set(box.processes()) == {box.pid, *inside}


def test_a_cgroup_that_is_wrong(box: Box) -> None:
    cgroup = freezer.cgroup_of(box.pid)
    (cgroup / "sub").mkdir()
    bad = {
        ("nosuch",): "nosuch",
        ("../..",): "..",
        ("sub/../..",): "..",
        ("pids:sub",): "pids",
        ("sub", "sub"): "missing <controller>: prefix",
        (":sub",): "empty <controller> prefix",
    }
    for words, text in bad.items():
        flags = [each for word in words for each in ("--cgroup", word)]
        refused(box.exec(*flags, "--", "true"), text)
    assert box.processes() == [box.pid]
    assert (cgroup / "sub/cgroup.procs").read_text() == ""


def test_its_first_process_has_moved(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """And has handed controllers down, so that nobody may be in the container's own cgroup."""
    script = (
        "cd /sys/fs/cgroup; mkdir init other; echo 0 >init/cgroup.procs;"
        " echo +pids >cgroup.subtree_control && echo done >/up; exec sleep 1000"
    )
    path = bundle("sh", "-c", script, change=owner)
    box = Box(lcpy, path)
    wait_for(path / "rootfs/up")
    cgroup = freezer.cgroup_of(box.pid)
    assert cgroup.name == "init"
    assert where(box) == "0::/init"
    assert where(box, "--cgroup", "other") == "0::/other"
    refused(box.exec("--cgroup", "/", "--", "true"), "it hands controllers down")
    # What is asked of all of the container holds for what is below, too.
    lcpy("pause", box.id, check=True)
    refused(box.exec("--", "true"), "cannot exec in a paused container")
    lcpy("resume", box.id, check=True)
    assert box.processes() == [box.pid]
    lcpy("delete", "--force", box.id, check=True)
    assert not cgroup.parent.exists()


def test_its_first_process_has_moved_and_nothing_else(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """The container's own cgroup still lets processes in."""
    script = "cd /sys/fs/cgroup; mkdir init; echo 0 >init/cgroup.procs; echo done >/up; sleep 1000"
    path = bundle("sh", "-c", script, change=owner)
    box = Box(lcpy, path)
    wait_for(path / "rootfs/up")
    assert Path(freezer.cgroup_of(box.pid)).name == "init"
    assert where(box) == "0::/"


def test_it_freezes_below(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """A cgroup of its own that it froze lets nobody run, and nobody waits for that."""
    script = f"{freezer.SHELL}; mkdir $cg/a; freeze $cg/a; echo done >/up; exec sleep 1000"
    path = bundle("sh", "-c", script, change=owner)
    box = Box(lcpy, path)
    wait_for(path / "rootfs/up")
    assert where(box) == "0::/"
    assert box.exec("--cgroup", "a", "--", "true", timeout=20).returncode == 255
    assert (freezer.cgroup_of(box.pid) / "a/cgroup.procs").read_text() == ""
