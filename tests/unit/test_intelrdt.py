"""intelrdt: how the mount is found, schemata are compared, and statistics read, without a kernel's.

What containers do with it is in tests/spec/test_intelrdt.py.
"""

from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.intelrdt import groups, resctrl, stats


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of plain files that is taken for a mounted resctrl."""
    for name in ("info/L3", "info/MB", "info/L3_MON", "mon_groups", "gold"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("", "gold/"):
        (tmp_path / f"{name}tasks").write_text("")
        (tmp_path / f"{name}schemata").write_text("    L3:0=7ff;1=0f0\n    MB:0= 20;1=100\n")
    monkeypatch.setattr(resctrl, "mountpoint", lambda: str(tmp_path))
    return tmp_path


def test_the_mount_is_found_by_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "24 1 0:21 / /proc rw - proc proc rw",
        "25 1 0:22 / /sys/fs/resctrl rw shared:3 - tmpfs resctrl rw",
        r"26 1 0:23 / /sys/fs/res\040ctrl rw,nosuid shared:4 - resctrl none rw,mba_MBps",
        "27 1 0:23 / /mnt rw - resctrl none rw",
    ]
    monkeypatch.setattr(resctrl, "read", lambda path: "".join(f"{line}\n" for line in lines))
    assert resctrl.mountpoint() == "/sys/fs/res ctrl"
    del lines[2:]
    assert resctrl.mountpoint() is None


def test_this_kernel_has_none_or_one() -> None:
    """Whatever it has, asking does no harm."""
    found = resctrl.mountpoint()
    assert found is None or Path(found, "schemata").is_file()


@pytest.mark.parametrize(
    ("asked", "path", "monitor", "remove"),
    [
        ({}, "box", None, ["box"]),
        ({"closID": ""}, "box", None, ["box"]),
        ({"closID": "/"}, "", None, []),
        ({"closID": "gold"}, "gold", None, []),
        ({"closID": "new", "schemata": ["L3:0=f"]}, "new", None, []),
        (
            {"enableMonitoring": True},
            "box",
            "box/mon_groups/box",
            ["box/mon_groups/box", "box"],
        ),
        (
            {"closID": "gold", "enableMonitoring": True},
            "gold",
            "gold/mon_groups/box",
            ["gold/mon_groups/box"],
        ),
    ],
)
def test_what_is_planned(
    mounted: Path, asked: dict[str, Any], path: str, monitor: str | None, remove: list[str]
) -> None:
    assert groups.plan(asked, "box") == {
        "mountpoint": str(mounted),
        "path": str(mounted / path),
        "monitor": str(mounted / monitor) if monitor else None,
        "remove": [str(mounted / each) for each in remove],
    }


@pytest.mark.parametrize(
    ("asked", "without", "field"),
    [
        ({"closID": "silver"}, "", "linux.intelRdt.closID"),
        ({"closID": "silver", "schemata": [""]}, "", "linux.intelRdt.closID"),
        ({"l3CacheSchema": "L3:0=f"}, "L3", "linux.intelRdt.l3CacheSchema"),
        ({"memBwSchema": "MB:0=20"}, "MB", "linux.intelRdt.memBwSchema"),
        ({"enableMonitoring": True}, "L3_MON", "linux.intelRdt.enableMonitoring"),
    ],
)
def test_what_is_not_there_is_refused(
    mounted: Path, asked: dict[str, Any], without: str, field: str
) -> None:
    if without:
        (mounted / "info" / without).rmdir()
    with pytest.raises(ConfigError) as caught:
        groups.plan(asked, "box")
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("line", "same"),
    [
        ("L3:0=7ff", True),
        ("L3:1=f0;0=07FF", True),
        ("L3:01=0xf0", True),
        ("MB:0=20", True),
        ("MB:0=020; 1=100", True),
        ("L3:0=7fe", False),
        ("L3:2=7ff", False),
        ("L2:0=7ff", False),
        ("MB:0=14", False),
        ("MB", False),
        ("L3:0=", False),
        ("L3:0=all", False),
    ],
)
def test_schemata_are_compared_by_what_they_say(mounted: Path, line: str, same: bool) -> None:
    asked = {"closID": "gold", "schemata": [line]}
    state = groups.plan(asked, "box")
    if same:
        groups.enter(state, asked, 1)
        assert (mounted / "gold" / "tasks").read_text() == "1"
        return
    with pytest.raises(ConfigError, match="has another") as caught:
        groups.enter(state, asked, 1)
    assert caught.value.field == "linux.intelRdt.schemata[0]"
    assert (mounted / "gold" / "tasks").read_text() == ""


def test_what_somebody_else_has_made_meanwhile_stays(mounted: Path) -> None:
    state = groups.plan({}, "box")
    (mounted / "box").mkdir()
    (mounted / "box" / "tasks").write_text("")
    groups.enter(state, {}, 1)
    assert state["remove"] == []
    groups.remove(state)
    assert (mounted / "box").is_dir()


def test_a_class_with_the_containers_id_is_not_changed(mounted: Path) -> None:
    """What somebody else has made meanwhile, too, may have others in it."""
    asked = {"schemata": ["L3:0=f"]}
    state = groups.plan(asked, "gold")
    schemata = (mounted / "gold" / "schemata").read_text()
    with pytest.raises(ConfigError, match="has another"):
        groups.enter(state, asked, 1)
    assert (mounted / "gold" / "schemata").read_text() == schemata
    assert (mounted / "gold" / "tasks").read_text() == ""


def test_taken_back(mounted: Path) -> None:
    """What stands in the way is added to the error."""
    error = ConfigError("it failed")
    (mounted / "box").mkdir()
    groups.take_back({"remove": [str(mounted / "box")]}, error)
    assert not (mounted / "box").exists()
    assert not hasattr(error, "__notes__")
    groups.take_back({"remove": [str(mounted / "gold")]}, error)
    (note,) = error.__notes__
    assert note.startswith("and not all could be undone: linux.intelRdt: remove ")


def test_removed_twice(mounted: Path) -> None:
    (mounted / "mon_groups" / "box").mkdir()
    state = {"remove": [str(mounted / "mon_groups" / "box"), str(mounted / "gone")]}
    groups.remove(state)
    groups.remove(state)
    assert not (mounted / "mon_groups" / "box").exists()
    with pytest.raises(StepError, match=r"linux\.intelRdt: remove .*gold: directory not empty"):
        groups.remove({"remove": [str(mounted / "gold")]})


def test_locked_by_somebody_else(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may be making what we were about to make: that is not ours to remove."""
    monkeypatch.setattr(resctrl, "_LOCK_SECONDS", 0.02)
    match = r"lock .*: resource temporarily unavailable"
    state = groups.plan({"enableMonitoring": True}, "box")
    with resctrl.Alone(str(mounted)), pytest.raises(StepError, match=match):
        groups.enter(state, {"enableMonitoring": True}, 1)
    assert state["remove"] == []
    busy = pytest.raises(StepError, match=match)
    with resctrl.Alone(str(mounted)), busy, resctrl.Alone(str(mounted)):
        pass
    with resctrl.Alone(str(mounted)):
        pass


def fill(directory: Path, **numbers: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, number in numbers.items():
        (directory / name).write_text(f"{number}\n")


def test_statistics_of_what_there_is(mounted: Path) -> None:
    """As runc leaves out what is 0 or empty, but for the counters; and what isn't measured is 0."""
    (mounted / "info" / "L3").rmdir()
    fill(
        mounted / "info" / "MB", bandwidth_gran=10, delay_linear=0, min_bandwidth=10, num_closids=8
    )
    (mounted / "info" / "L3_MON" / "mon_features").write_text("mbm_total_bytes\nmbm_new\n")
    fill(mounted / "gold" / "mon_data" / "mon_L3_01", mbm_total_bytes=5)
    fill(mounted / "gold" / "mon_data" / "mon_L3_00", mbm_total_bytes=7)
    (mounted / "gold" / "schemata").write_text("  MB:0=20\nSMBA:0=8\n")
    state = groups.plan({"closID": "gold"}, "box")
    assert stats.collect(state) == {
        "mem_bw_info": {"bandwidth_gran": 10, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0= 20;1=100",
        "mem_bw_schema": "SMBA:0=8",
        "schemata": ["MB:0=20", "SMBA:0=8"],
        "mbm_stats": [
            {"mbm_total_bytes": 7, "mbm_local_bytes": 0},
            {"mbm_total_bytes": 5, "mbm_local_bytes": 0},
        ],
    }


def test_statistics_that_can_not_be_read(mounted: Path) -> None:
    (mounted / "info" / "L3_MON" / "mon_features").write_text("llc_occupancy\n")
    for name in ("L3", "MB"):
        (mounted / "info" / name).rmdir()
    state = groups.plan({"closID": "gold"}, "box")
    with pytest.raises(StepError, match=r"read .*gold/mon_data: no such file"):
        stats.collect(state)
