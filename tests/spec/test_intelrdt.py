"""`linux.intelRdt`, on a stand-in for the kernel's resctrl (tests/resctrl.py).

No machine of these tests has a processor with Intel RDT. What is tried is what is written to which
file, in which order, and what is left; not what a processor makes of it.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import CHECKOUT, HERE, Lcpy
from tests.faults.test_criu import fake

if TYPE_CHECKING:
    from tests.conftest import Completed, Config
    from tests.spec.conftest import Box, Change

__all__ = ["fake"]

WHOLE = "L3:0=7ff;1=7ff\nMB:0=100;1=100\n"
SHARE = {"l3CacheSchema": "L3:0=7f0;1=1f", "memBwSchema": "MB:0=20;1=70"}
SHARED = "L3:0=7f0;1=01f\nMB:0= 20;1= 70\n"


class OnResctrl(Lcpy):
    """The guarded command, which takes the stand-in for the kernel's resctrl."""

    def __init__(self, root: Path, fstype: str) -> None:
        super().__init__(root)
        self.fstype = fstype
        self.moment = 0

    def argv(self, *words: str | Path) -> list[str]:
        python = [sys.executable, "-I", "-S", "-X", "utf8", str(HERE / "lcpy_resctrl.py")]
        root = ["--root", str(self.root)]
        return [*python, self.fstype, str(self.moment), *root, *map(str, words)]


@pytest.fixture
def fstype(tmp_path: Path) -> str:
    return f"fuse.{tmp_path.name}-{os.getpid()}"


@pytest.fixture
def resctrl(tmp_path: Path, fstype: str, machine_unchanged: None) -> Iterator[Path]:
    """The stand-in's root directory."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    directory = tmp_path / "resctrl"
    directory.mkdir()
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.resctrl", directory, fstype],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "mounted\n"
        yield directory
        subprocess.run(["umount", directory], check=True)
    finally:
        # Not waited for: a mount namespace of another lane may have a copy of the mount.
        server.kill()
        server.wait()
        subprocess.run(["umount", "--lazy", directory], stderr=subprocess.DEVNULL, check=False)


@pytest.fixture
def lcpy(tmp_path: Path, resctrl: Path, fstype: str) -> Iterator[Lcpy]:
    command = OnResctrl(tmp_path / "state", fstype)
    yield command
    command.moment = 0
    complaints = command.delete_all()
    assert not complaints, complaints


def rdt(**fields: Any) -> "Change":
    def change(config: "Config") -> None:
        config["linux"]["intelRdt"] = fields

    return change


def pids(group: Path) -> list[int]:
    return [int(line) for line in (group / "tasks").read_text().split()]


def groups(resctrl: Path) -> list[str]:
    """All classes, and groups that are measured."""
    mine = {"info", "joined", "mon_data", "mon_groups", "schemata", "tasks"}
    found = sorted(set(os.listdir(resctrl)) - mine)
    for name in ["", *found]:
        found += [f"{name}/{each}" for each in os.listdir(resctrl / name / "mon_groups")]
    return found


def created(box: "Box", change: "Change", *args: str) -> tuple[str, int]:
    """Make a container; its id and process."""
    container = box.lcpy.new_id()
    bundle = box.bundle(args or ("sleep", "1000"), change)
    box.lcpy("create", "--bundle", bundle, container, check=True)
    return container, box.lcpy.state(container)["pid"]


def hooked(box: "Box", command: str, script: str) -> list[str | Path]:
    """Words to make one, of either kind, that is measured, and whose hook is a script."""

    def change(config: "Config") -> None:
        rdt(enableMonitoring=True)(config)
        hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}
        config["hooks"] = {"createRuntime": [hook]}

    bundle = box.bundle(("true",), change)
    words: list[str | Path] = [command, "--bundle", bundle]
    if command == "restore":
        (bundle / "images").mkdir()
        (bundle / "images/descriptors.json").write_text("[]")
        words += ["--image-path", bundle / "images"]
    return words


def refused(done: "Completed", text: str) -> None:
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1, done.stderr
    assert text in done.stderr


# --- the class --------------------------------------------------------------------------------


def test_a_class_of_its_own_comes_and_goes(box: "Box", resctrl: Path) -> None:
    container, pid = created(box, rdt(**SHARE))
    assert groups(resctrl) == [container]
    assert pids(resctrl / container) == [pid]
    assert (resctrl / container / "schemata").read_text() == SHARED
    assert (resctrl / "schemata").read_text() == WHOLE
    box.lcpy("delete", "--force", container, check=True)
    assert groups(resctrl) == []


def test_asked_for_by_an_empty_object(box: "Box", resctrl: Path) -> None:
    """runc, too, takes it for a class of its own; nothing is written to schemata."""
    container, pid = created(box, rdt())
    assert pids(resctrl / container) == [pid]
    assert (resctrl / container / "schemata").read_text() == WHOLE


def test_without_it_resctrl_is_let_alone(box: "Box", resctrl: Path) -> None:
    created(box, lambda config: None)
    assert groups(resctrl) == []
    assert pids(resctrl) == []


def test_a_program_that_ran_leaves_nothing(box: "Box", resctrl: Path) -> None:
    assert box.sh("echo done", change=rdt(**SHARE, enableMonitoring=True)) == "done\n"
    assert groups(resctrl) == []


def test_schemata_are_written_last(box: "Box", resctrl: Path) -> None:
    fields = {**SHARE, "schemata": ["L3:1=3", "MB:0=30"]}
    container, _pid = created(box, rdt(**fields))
    assert (resctrl / container / "schemata").read_text() == "L3:0=7f0;1=003\nMB:0= 30;1= 70\n"


def test_a_class_with_the_containers_id_that_was_there(box: "Box", resctrl: Path) -> None:
    """It is joined, and stays."""
    container = box.lcpy.new_id()
    (resctrl / container).mkdir()
    for line in SHARE.values():
        (resctrl / container / "schemata").write_text(f"{line}\n")
    for fields in ({}, SHARE):
        bundle = box.bundle(("true",), rdt(**fields, enableMonitoring=True))
        box.lcpy("run", "--bundle", bundle, container, check=True)
        assert groups(resctrl) == [container]
        assert (resctrl / container / "schemata").read_text() == SHARED
        assert len((resctrl / container / "joined").read_text().split()) == 1 + (fields == SHARE)


def test_a_class_with_the_containers_id_and_another_schema(box: "Box", resctrl: Path) -> None:
    """It is somebody else's: whoever is in it is left what they have."""
    container = box.lcpy.new_id()
    (resctrl / container).mkdir()
    bundle = box.bundle(("true",), rdt(**SHARE))
    refused(box.lcpy("run", "--bundle", bundle, container), "has another")
    assert groups(resctrl) == [container]
    assert (resctrl / container / "schemata").read_text() == WHOLE


# --- closID -----------------------------------------------------------------------------------


def test_a_named_class_is_made_shared_and_left(box: "Box", resctrl: Path) -> None:
    change = rdt(closID="gold", **SHARE)
    (first, one), (second, two) = created(box, change), created(box, change)
    assert pids(resctrl / "gold") == sorted([one, two])
    for container in (first, second):
        box.lcpy("delete", "--force", container, check=True)
    assert groups(resctrl) == ["gold"]
    assert (resctrl / "gold" / "schemata").read_text() == SHARED


def test_a_named_class_that_was_there_is_joined(box: "Box", resctrl: Path) -> None:
    (resctrl / "gold").mkdir()
    _container, pid = created(box, rdt(closID="gold"))
    assert pids(resctrl / "gold") == [pid]
    assert (resctrl / "gold" / "schemata").read_text() == WHOLE


def test_a_named_class_without_a_schema_must_be_there(box: "Box", resctrl: Path) -> None:
    said = box.refused(change=rdt(closID="gold", enableMonitoring=True))
    assert "linux.intelRdt.closID: " in said
    assert "must be there already, where no schema is given" in said
    assert groups(resctrl) == []


def test_the_default_class(box: "Box", resctrl: Path) -> None:
    container, pid = created(box, rdt(closID="/", enableMonitoring=True))
    assert pids(resctrl) == [pid]
    assert groups(resctrl) == [f"/{container}"]
    box.lcpy("delete", "--force", container, check=True)
    assert groups(resctrl) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"l3CacheSchema": "L3:0=7;1=1f"}, "l3CacheSchema"),
        ({"memBwSchema": "MB:1=30"}, "memBwSchema"),
        ({"schemata": ["L3:0=07f0", "MB:0=30"]}, "schemata[1]"),
    ],
)
def test_a_named_class_with_another_schema(
    box: "Box", resctrl: Path, fields: dict[str, Any], field: str
) -> None:
    """Others may be in it, so it must not be changed: config-linux.md."""
    (resctrl / "gold").mkdir()
    for line in SHARE.values():
        (resctrl / "gold" / "schemata").write_text(f"{line}\n")
    said = box.refused(change=rdt(closID="gold", **fields))
    assert f"linux.intelRdt.{field}: " in said
    assert "has another" in said
    assert (resctrl / "gold" / "schemata").read_text() == SHARED


# --- monitoring -------------------------------------------------------------------------------


def test_a_group_that_is_measured(box: "Box", resctrl: Path) -> None:
    (resctrl / "gold").mkdir()
    container, pid = created(box, rdt(closID="gold", enableMonitoring=True))
    assert groups(resctrl) == ["gold", f"gold/{container}"]
    assert pids(resctrl / "gold" / "mon_groups" / container) == [pid]
    box.lcpy("delete", "--force", container, check=True)
    assert groups(resctrl) == ["gold"]


def test_a_second_process_is_where_the_first_one_is(box: "Box", resctrl: Path) -> None:
    container, first = created(box, rdt(**SHARE, enableMonitoring=True))
    box.lcpy("start", container, check=True)
    # The list joins, and what it clones into the container inherits that: not here.
    box.lcpy("exec", container, "true", check=True)
    for group in (resctrl / container, resctrl / container / "mon_groups" / container):
        joined = [int(line) for line in (group / "joined").read_text().split()]
        assert first in joined
        assert len(joined) == 2
    os.rmdir(resctrl / container)
    # The kernel has moved all to the default class: there is nothing to be joined any more.
    assert box.lcpy("exec", container, "echo", "here").stdout == "here\n"


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"l3CacheSchema": "L3:0=5"},
            'linux.intelRdt.l3CacheSchema: write \\"L3:0=5\\" to',
        ),
        (
            {"memBwSchema": "MB:0=5"},
            "(resctrl says: MB value 5 out of range [10,100])",
        ),
        (
            {"closID": "gold", "l3CacheSchema": "L3:0=f", "schemata": ["L2:0=f"]},
            "linux.intelRdt.schemata[0]: ",
        ),
        ({"closID": "info"}, "info/tasks"),
    ],
)
def test_what_the_kernel_refuses_leaves_nothing(
    box: "Box", resctrl: Path, fields: dict[str, Any], said: str
) -> None:
    assert said in box.refused(change=rdt(**fields))
    assert groups(resctrl) == []
    assert (resctrl / "schemata").read_text() == WHOLE


def test_more_classes_than_there_are(box: "Box", resctrl: Path) -> None:
    for name in ("a", "b", "c"):
        (resctrl / name).mkdir()
    said = box.refused(change=rdt())
    assert "SetupIntelRdt: linux.intelRdt: create " in said
    assert "no space left on device (resctrl says: Out of CLOSIDs)" in said


def test_a_failure_later_takes_it_away(box: "Box", resctrl: Path) -> None:
    def change(config: "Config") -> None:
        rdt(enableMonitoring=True)(config)
        config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}

    assert "hooks.createRuntime" in box.refused(change=change)
    assert groups(resctrl) == []


@pytest.mark.parametrize("command", ["create", "restore"])
def test_a_failure_and_cgroups_that_stay(
    box: "Box", resctrl: Path, tmp_path: Path, fake: dict[str, str], command: str
) -> None:
    """Something may be mounted on one: then that is told, and the class goes nevertheless."""
    container, taken = box.lcpy.new_id(), tmp_path / "taken"
    script = f"""
    path=$(find /sys/fs/cgroup -name {container} -type d -prune | head -n 1)
    echo $path >{taken} && mount -t tmpfs tmpfs $path && false
    """
    done = box.lcpy(*hooked(box, command, script), container, env=fake)
    subprocess.run(["umount", taken.read_text().strip()], check=True)
    os.rmdir(taken.read_text().strip())
    assert done.returncode == 1
    assert "and not all could be undone: remove the cgroup " in done.stderr
    assert groups(resctrl) == []


# --- update, events ---------------------------------------------------------------------------


def test_update(box: "Box", resctrl: Path) -> None:
    container, _pid = created(box, rdt(**SHARE))
    schemata = resctrl / container / "schemata"
    box.lcpy("update", "--l3-cache-schema", "L3:0=f", container, check=True)
    assert schemata.read_text() == "L3:0=00f;1=01f\nMB:0= 20;1= 70\n"
    words = ["--mem-bw-schema", "MB:1=50", "--resources", "-"]
    box.lcpy("update", *words, container, stdin='{"pids": {"limit": 20}}', check=True)
    assert schemata.read_text() == "L3:0=00f;1=01f\nMB:0= 20;1= 50\n"


def test_an_update_that_is_refused_changes_nothing(box: "Box", resctrl: Path) -> None:
    container, _pid = created(box, rdt(**SHARE))
    schemata = resctrl / container / "schemata"
    for words in (
        ["--l3-cache-schema", "L3:0=f", "--mem-bw-schema", "MB:0=5"],
        ["--l3-cache-schema", "L3:0=f", "--cpuset-cpus", "99"],
    ):
        refused(box.lcpy("update", *words, container), "linux.")
        assert schemata.read_text() == SHARED
    refused(
        box.lcpy("update", "--mem-bw-schema", "20", container),
        "is not one line that starts with MB:",
    )


def test_an_update_of_one_without(box: "Box") -> None:
    container, _pid = created(box, lambda config: None)
    refused(
        box.lcpy("update", "--l3-cache-schema", "L3:0=f", container),
        "updating a non-existent Intel RDT configuration is not supported",
    )


@pytest.mark.parametrize("monitoring", [True, False])
def test_events_print_what_runc_prints(box: "Box", resctrl: Path, monitoring: bool) -> None:
    container, _pid = created(box, rdt(**SHARE, enableMonitoring=monitoring))
    box.lcpy("start", container, check=True)
    done = box.lcpy("events", "--stats", container, check=True)
    assert json.loads(done.stdout)["data"]["intel_rdt"] == {
        "l3_cache_info": {"cbm_mask": "7ff", "min_cbm_bits": 1, "num_closids": 4},
        "l3_cache_schema_root": "L3:0=7ff;1=7ff",
        "l3_cache_schema": "L3:0=7f0;1=01f",
        "mem_bw_info": {
            "bandwidth_gran": 10,
            "delay_linear": 1,
            "min_bandwidth": 10,
            "num_closids": 4,
        },
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0= 20;1= 70",
        "schemata": ["L3:0=7f0;1=01f", "MB:0= 20;1= 70"],
        "mbm_stats": [
            {"mbm_total_bytes": 9123911 + each, "mbm_local_bytes": 2361361 + each}
            for each in (0, 1)
        ],
        "cmt_stats": [{"llc_occupancy": 123331 + each} for each in (0, 1)],
    }


# --- killed at any instant --------------------------------------------------------------------


def test_a_create_that_is_killed_is_cleaned_up(box: "Box", resctrl: Path, lcpy: OnResctrl) -> None:
    """At every call that it makes about resctrl: `delete` leaves nothing, and what was there."""
    (resctrl / "gold").mkdir()
    bundles = [
        box.bundle(("true",), rdt(**SHARE, enableMonitoring=True)),
        box.bundle(("true",), rdt(closID="gold", enableMonitoring=True)),
    ]
    for bundle in bundles:
        seen = set()
        for moment in range(1, 400, 5):
            container = lcpy.new_id()
            lcpy.moment = moment
            code = lcpy("create", "--bundle", bundle, container).returncode
            lcpy.moment = 0
            seen.add(len(groups(resctrl)))
            lcpy("delete", "--force", container, check=True)
            assert groups(resctrl) == ["gold"], moment
            if code == 0:
                break
            assert code == -9
        assert code == 0
        assert len(seen) > 1  # at some it was there already
    assert (resctrl / "gold" / "schemata").read_text() == WHOLE


def test_a_delete_that_is_killed_is_made_good(box: "Box", resctrl: Path, lcpy: OnResctrl) -> None:
    bundle = box.bundle(("true",), rdt(**SHARE, enableMonitoring=True))
    for moment in range(1, 20):
        container = lcpy.new_id()
        lcpy("create", "--bundle", bundle, container, check=True)
        lcpy.moment = moment
        code = lcpy("delete", "--force", container).returncode
        lcpy.moment = 0
        lcpy("delete", "--force", container, check=True)
        assert groups(resctrl) == []
        if code == 0:
            break
        assert code == -9
    assert code == 0


@pytest.mark.parametrize("command", ["create", "restore"])
def test_who_is_killed_does_not_own_what_others_made(
    box: "Box", resctrl: Path, lcpy: OnResctrl, fake: dict[str, str], command: str
) -> None:
    """Both find that there is no such class; the other one is the first to make it."""
    container = lcpy.new_id()
    argv = lcpy.argv(*hooked(box, command, "kill -9 $PPID"), container)
    lock = os.open(resctrl, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, env=fake) as killed:
            end = time.monotonic() + 5
            while not (lcpy.root / container / "cgroups.json").exists():
                assert time.monotonic() < end
                time.sleep(0.01)
            (resctrl / container).mkdir()
            fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        os.close(lock)
    assert killed.returncode == -9
    made = f"{container}/{container}"
    assert groups(resctrl) == [container, made]
    for name in ("state.json", "cgroups.json"):
        record = json.loads((lcpy.root / container / name).read_text())
        assert record["intel_rdt"]["remove"] == [f"{resctrl}/{container}/mon_groups/{container}"]
    lcpy("delete", "--force", container, check=True)
    assert groups(resctrl) == [container]


# --- a damaged record -------------------------------------------------------------------------


def test_a_delete_without_a_good_record(box: "Box", resctrl: Path) -> None:
    """It goes by cgroups.json, and leaves what was there before."""
    (resctrl / "gold").mkdir()
    for fields in ({}, {"closID": "gold"}):
        container, _pid = created(box, rdt(**fields, enableMonitoring=True))
        assert len(groups(resctrl)) == 2 + (not fields)
        (box.lcpy.root / container / "state.json").write_text("{")
        box.lcpy("delete", "--force", container, check=True)
        assert groups(resctrl) == ["gold"]
        assert not (box.lcpy.root / container).exists()


def test_groups_that_nobody_knows_any_more(box: "Box", resctrl: Path) -> None:
    """Neither file says where they are: all else goes, with a word of what is left."""
    container, _pid = created(box, rdt())
    (box.lcpy.root / container / "state.json").write_text("{")
    path = box.lcpy.root / container / "cgroups.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "intel_rdt": {"remove": 1}}))
    done = box.lcpy("delete", "--force", container, check=True)
    assert "level=warning" in done.stderr
    assert "cgroups.json does not say where they are: they are left" in done.stderr
    assert groups(resctrl) == [container]
