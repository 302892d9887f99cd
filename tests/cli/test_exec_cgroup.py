"""`exec` and cgroups below the container's: `--cgroup`, and where its first process has gone."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import freezer
from tests.cli.test_exec import Box, box, reap, refused, wait_for, writable

if TYPE_CHECKING:
    from tests.conftest import Bundle, Config, Lcpy

__all__ = ["box"]

v1 = pytest.mark.skipif(freezer.UNIFIED, reason="cgroup v1 is not here: v2 has its controllers")
v2 = pytest.mark.skipif(
    not freezer.UNIFIED, reason="cgroup v2 has no controllers here: v1 has them"
)


def owner(config: "Config") -> None:
    """Its cgroup is its own to write, and it has the controller of a limit."""
    writable(config)
    config["linux"]["resources"]["pids"] = {"limit": 50}
    for mount in config["mounts"]:
        if mount["destination"] == "/sys/fs/cgroup":
            mount["options"].remove("ro")


def pids_cgroup(box: Box) -> Path:
    """Where the container's processes are counted."""
    if freezer.UNIFIED:
        return freezer.cgroup_of(box.pid)
    for line in Path(f"/proc/{box.pid}/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        if controllers == "pids":
            return Path(f"/sys/fs/cgroup/pids{path}")
    raise AssertionError("nothing counts processes here")


def where(box: Box, *flags: str) -> set[str]:
    """The cgroups of a second process, as they are seen in the container."""
    return set(box.says(*flags, "--", "cat", "/proc/self/cgroup").splitlines())


@v1
def test_a_cgroup_below_on_v1(box: Box) -> None:
    """Of the controllers that are named: in all others it is where the container is."""
    (pids_cgroup(box) / "sub/deep").mkdir(parents=True)
    differ = where(box, "--cgroup", "pids:sub/deep") - where(box)
    assert [line.split(":")[1] for line in differ] == ["pids"]
    assert differ.pop().endswith("/sub/deep")


@v2
def test_a_cgroup_below_on_v2(box: Box) -> None:
    (pids_cgroup(box) / "sub/deep").mkdir(parents=True)
    assert where(box, "--cgroup", "sub/deep") == {"0::/sub/deep"}
    assert where(box, "--cgroup", "/sub") == {"0::/sub"}
    assert where(box, "--cgroup", "/") == where(box) == {"0::/"}


def test_what_it_starts_stays_there(box: Box, tmp_path: Path) -> None:
    """And is the container's all the same: `ps` shows it."""
    sub = pids_cgroup(box) / "sub"
    sub.mkdir()
    flag = "sub" if freezer.UNIFIED else "pids:sub"
    words = ("--detach", "--pid-file", tmp_path / "pid", "--cgroup", flag)
    box.says(*words, "--", "sh", "-c", "sleep 1000 & echo done >/up; wait")
    wait_for(box.rootfs / "up")
    inside = {int(word) for word in (sub / "cgroup.procs").read_text().split()}
    assert len(inside) == 2
    assert set(box.processes()) == {box.pid, *inside}
    reap(int((tmp_path / "pid").read_text()))


V1_WRONG = {
    ("pids:nosuch",): "nosuch",
    ("pids:../..",): "..",
    ("nope:sub",): "nope",
    ("pids:/x", "pids:/y"): "specified multiple times",
    ("pids:/x", "/y"): "missing <controller>: prefix",
    ("pids,:x",): "empty <controller> prefix",
}
V2_WRONG = {
    ("nosuch",): "nosuch",
    ("../..",): "..",
    ("sub/../..",): "..",
    ("pids:sub",): "unknown controller",
    ("sub", "sub"): "missing <controller>: prefix",
}


def test_a_cgroup_that_is_wrong(box: Box) -> None:
    sub = pids_cgroup(box) / "sub"
    sub.mkdir()
    bad = (V2_WRONG if freezer.UNIFIED else V1_WRONG) | {(":x",): "empty <controller> prefix"}
    for words, text in bad.items():
        flags = [each for word in words for each in ("--cgroup", word)]
        refused(box.exec(*flags, "--", "true"), text)
    assert box.processes() == [box.pid]
    assert (sub / "cgroup.procs").read_text() == ""


@v2
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
    assert where(box) == {"0::/init"}
    assert where(box, "--cgroup", "other") == {"0::/other"}
    refused(box.exec("--cgroup", "/", "--", "true"), "it hands controllers down")
    # What is asked of all of the container holds for what is below, too.
    lcpy("pause", box.id, check=True)
    refused(box.exec("--", "true"), "cannot exec in a paused container")
    lcpy("resume", box.id, check=True)
    assert box.processes() == [box.pid]
    lcpy("delete", "--force", box.id, check=True)
    assert not cgroup.parent.exists()


@v2
def test_its_first_process_has_moved_and_nothing_else(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """The container's own cgroup still lets processes in."""
    script = "cd /sys/fs/cgroup; mkdir init; echo 0 >init/cgroup.procs; echo done >/up; sleep 1000"
    path = bundle("sh", "-c", script, change=owner)
    box = Box(lcpy, path)
    wait_for(path / "rootfs/up")
    assert freezer.cgroup_of(box.pid).name == "init"
    assert where(box) == {"0::/"}


def test_one_that_the_container_froze(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """Who enters it gets no further, and nobody waits for that."""
    script = f"{freezer.SHELL}; mkdir $cg/a; freeze $cg/a; echo done >/up; exec sleep 1000"
    path = bundle("sh", "-c", script, change=owner)
    box = Box(lcpy, path)
    wait_for(path / "rootfs/up")
    frozen = freezer.cgroup_of(box.pid) / "a"
    box.says("--", "true")
    flag = "a" if freezer.UNIFIED else "freezer:a"
    for _time in range(2):
        refused(box.exec("--cgroup", flag, "--", "true"), f"run a process in the cgroup {frozen}")
    assert (frozen / "cgroup.procs").read_text() == ""
    assert box.processes() == [box.pid]


@v2
def test_its_first_process_is_in_one_that_it_froze(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """It hands controllers down, moves into a cgroup below, and freezes that with itself inside."""
    script = (
        f"{freezer.SHELL}; cd $cg; mkdir init; echo 0 >init/cgroup.procs;"
        " echo +pids >cgroup.subtree_control && echo done >/up; freeze init; exec sleep 1000"
    )
    path = bundle("sh", "-c", script, change=owner)
    box = Box(lcpy, path)
    wait_for(path / "rootfs/up")
    cgroup = freezer.cgroup_of(box.pid)
    end = time.monotonic() + 10
    while "frozen 1" not in (cgroup / "cgroup.events").read_text():
        assert time.monotonic() < end
        time.sleep(0.02)
    refused(box.exec("--", "true"), f"run a process in the cgroup {cgroup}")
    lcpy("delete", "--force", box.id, check=True, timeout=20)
    assert not cgroup.parent.exists()
