"""cgroup v2 on the real kernel: made, joined, limited, frozen, killed, removed.

On a hybrid host the one hierarchy is mounted where a host with v2 alone has it, for this process
and its children. There it has hardly a controller: what needs them is run on such a host.
"""

import contextlib
import errno
import itertools
import json
import mmap
import os
import select
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py import jsontext
from libcontainer_py.cgroups import devices_v2, levels_v2, limits_v2, stats
from libcontainer_py.cgroups.hugetlb import page_sizes
from libcontainer_py.cgroups.interface import Entrance
from libcontainer_py.cgroups.manager import load, manager
from libcontainer_py.cgroups.v2 import V2
from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import (
    CLONE_INTO_CGROUP,
    CLONE_NEWNS,
    MNT_DETACH,
    MS_PRIVATE,
    MS_REC,
)

if TYPE_CHECKING:
    from tests.conftest import Bundle, Config, Lcpy

HOST = Path("/sys/fs/cgroup")
PREFIX = f"lcpy-test-{os.getpid()}-v2-"
MIB = 1 << 20
SIGCHLD = 17
# Any block device.
DISK = dict(
    zip(
        ("major", "minor"),
        map(int, Path("/sys/block", min(os.listdir("/sys/block")), "dev").read_text().split(":")),
        strict=True,
    )
)

_numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def pure_v2() -> Iterator[None]:
    """Be on a host with cgroup v2 alone, and leave its root as it was."""
    hybrid = not (HOST / "cgroup.controllers").exists()
    if hybrid:
        before, directory = os.open("/proc/self/ns/mnt", os.O_RDONLY), os.getcwd()
        syscalls.unshare(CLONE_NEWNS)
        syscalls.mount(None, "/", None, MS_REC | MS_PRIVATE)
        syscalls.umount2(str(HOST), MNT_DETACH)
        syscalls.mount("cgroup2", str(HOST), "cgroup2")
    control = HOST / "cgroup.subtree_control"
    enabled = control.read_text().split()
    yield
    if hybrid:
        for controller in control.read_text().split():
            if controller not in enabled:
                with contextlib.suppress(OSError):  # another run needs it
                    control.write_text("-" + controller)
        syscalls.setns(before, CLONE_NEWNS)
        os.close(before)
        os.chdir(directory)


def here() -> list[str]:
    """The controllers that the hierarchy has."""
    return (HOST / "cgroup.controllers").read_text().split()


def controllers(*needed: str) -> None:
    """Skip the test where the hierarchy has not got them."""
    if not {*needed} <= {*here()}:
        pytest.skip("cgroup v2 has no controllers here: v1 has them")


def new_path() -> str:
    return f"/{PREFIX}{next(_numbers)}/inner"


def v2(path: str) -> V2:
    cgroups = manager(path, "unused")
    assert isinstance(cgroups, V2)
    return cgroups


@pytest.fixture
def cgroups(machine_unchanged: None) -> Iterator[V2]:
    """A cgroup below a parent of its own; nothing is made yet."""
    found = v2(new_path())
    yield found
    found.kill()
    found.remove()


def at(cgroups: V2, file: str = "") -> Path:
    return Path(cgroups.paths[""], file)


def born_inside(cgroups: V2, work: Callable[[], object]) -> int:
    """Start a child in the cgroup, as a container is; give its pid."""
    entrance = cgroups.entrance()
    assert entrance.unified is not None
    pid, pidfd = syscalls.clone3(CLONE_INTO_CGROUP, SIGCHLD, entrance.unified)
    if pid == 0:
        status = 99
        try:
            work()
            status = 0
        except OSError as error:
            status = error.errno or 98
        finally:
            os._exit(status)
    os.close(pidfd)
    entrance.close()
    return pid


def outcome(cgroups: V2, work: Callable[[], object]) -> int:
    """Run something in the cgroup to its end: 0, an errno, or a negative signal."""
    return os.waitstatus_to_exitcode(os.waitpid(born_inside(cgroups, work), 0)[1])


def sleep() -> None:
    time.sleep(30)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


# ── paths ───────────────────────────────────────────────────────────────────────────────────────


def where_runc_puts(tmp_path: Path, cgroups_path: str | None, container: str) -> str:
    busybox = shutil.which("busybox")
    assert busybox
    (tmp_path / "rootfs/proc").mkdir(parents=True)
    shutil.copy(busybox, tmp_path / "rootfs/busybox")
    subprocess.run(["runc", "spec"], cwd=tmp_path, check=True, timeout=30)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"].update(terminal=False, args=["/busybox", "cat", "/proc/self/cgroup"])
    config["mounts"] = [m for m in config["mounts"] if m["type"] == "proc"]
    linux = config["linux"]
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "cgroup"]
    linux["maskedPaths"] = linux["readonlyPaths"] = []
    if cgroups_path is not None:
        linux["cgroupsPath"] = cgroups_path
    (tmp_path / "config.json").write_text(json.dumps(config))
    runc = ["runc", "--root", str(tmp_path / "state"), "run", container]
    done = subprocess.run(
        runc, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
    )
    (found,) = (line[3:] for line in done.stdout.splitlines() if line.startswith("0::"))
    return found


@pytest.mark.parametrize("form", ["absolute", "relative", "absent"])
def test_paths_are_those_of_runc(tmp_path: Path, form: str) -> None:
    name = f"{PREFIX}{next(_numbers)}"
    given = {"absolute": f"/{name}/x", "relative": f"{name}/x", "absent": None}[form]
    ours = manager(given, name)
    theirs = where_runc_puts(tmp_path, given, name)
    try:
        assert ours.paths == {"": f"{HOST}{theirs}"}
    finally:
        if given:
            (HOST / theirs[1:]).parent.rmdir()  # runc leaves the parents that it makes


def test_a_relative_path_is_beside_our_own_cgroup(machine_unchanged: None) -> None:
    parent = HOST / f"{PREFIX}{next(_numbers)}"
    (parent / "own").mkdir(parents=True)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            (parent / "own/cgroup.procs").write_text(str(os.getpid()))
            os.write(writer, manager(None, "name").paths[""].encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    assert os.read(reader, 4096).decode() == f"{parent}/name"
    os.close(reader)
    (parent / "own").rmdir()
    parent.rmdir()


# ── made and removed ────────────────────────────────────────────────────────────────────────────


def test_a_child_is_born_inside_and_killed(cgroups: V2) -> None:
    cgroups.create({})
    pid = born_inside(cgroups, sleep)
    assert cgroups.pids() == [pid]
    assert f"0::{cgroups.paths[''][len(str(HOST)) :]}\n" in Path(f"/proc/{pid}/cgroup").read_text()
    cgroups.kill()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert cgroups.pids() == []
    cgroups.remove()
    assert not at(cgroups).parent.exists()


def test_a_process_is_moved_inside(cgroups: V2) -> None:
    cgroups.create({})
    with subprocess.Popen(["sleep", "30"]) as process:
        cgroups.join(process.pid)
        assert cgroups.pids() == [process.pid]
        cgroups.kill()


def test_the_state_finds_it_again(cgroups: V2) -> None:
    cgroups.create({})
    again = load(jsontext.loads(jsontext.dumps(cgroups.state())))
    assert isinstance(again, V2)
    assert again.paths == cgroups.paths
    again.remove()
    assert not at(cgroups).parent.exists()


def test_a_parent_that_was_there_stays(cgroups: V2) -> None:
    parent = at(cgroups).parent
    parent.mkdir()
    cgroups.create({})
    cgroups.remove()
    assert parent.exists()
    parent.rmdir()


def test_all_controllers_are_handed_down(cgroups: V2) -> None:
    cgroups.create({})
    assert (
        at(cgroups, "cgroup.controllers").read_text() == (HOST / "cgroup.controllers").read_text()
    )


def test_what_the_container_nested_goes_with_it(cgroups: V2) -> None:
    cgroups.create({})
    deepest = at(cgroups, "a/b/c")
    deepest.mkdir(parents=True)
    at(cgroups, "empty").mkdir()
    pid = born_inside(cgroups, sleep)
    (deepest / "cgroup.procs").write_text(str(pid))
    assert (cgroups.pids(), cgroups.pids(all=True)) == ([], [pid])
    cgroups.kill()
    os.waitpid(pid, 0)
    cgroups.remove()
    assert not at(cgroups).parent.exists()


def test_one_that_is_in_use_is_refused(cgroups: V2) -> None:
    cgroups.create({})
    pid = born_inside(cgroups, sleep)
    with pytest.raises(StepError, match=r"container's cgroup is not empty: 1 process") as caught:
        v2(cgroups.paths[""][len(str(HOST)) :]).create({})
    assert caught.value.field == "linux.cgroupsPath"
    cgroups.kill()
    os.waitpid(pid, 0)


def test_an_empty_one_is_taken(cgroups: V2) -> None:
    at(cgroups).mkdir(parents=True)
    cgroups.create({})
    assert outcome(cgroups, lambda: None) == 0
    cgroups.remove()
    at(cgroups).parent.rmdir()


def test_one_that_hands_controllers_down_is_refused(cgroups: V2) -> None:
    controllers("hugetlb")
    cgroups.create({})
    at(cgroups, "cgroup.subtree_control").write_text("+hugetlb")
    with pytest.raises(StepError, match="it hands controllers down"):
        v2(cgroups.paths[""][len(str(HOST)) :]).create({})


def test_below_a_frozen_one_is_refused(cgroups: V2) -> None:
    parent = at(cgroups).parent
    parent.mkdir()
    try:
        (parent / "cgroup.freeze").write_text("1")
        with pytest.raises(StepError, match="container's cgroup unexpectedly frozen"):
            cgroups.create({})
        assert not at(cgroups).exists()
    finally:
        parent.rmdir()


@pytest.mark.parametrize("above", ["domain threaded", "domain invalid"])
def test_where_there_are_threads_alone(cgroups: V2, above: str) -> None:
    """A threaded parent makes what is below it invalid: usable, but without domain controllers."""
    parent = at(cgroups).parent
    threaded = parent / "threaded"
    threaded.mkdir(parents=True)
    (threaded / "cgroup.type").write_text("threaded")
    assert (parent / "cgroup.type").read_text().strip() == "domain threaded"
    inside = v2(f"/{threaded.relative_to(HOST)}/c" if above == "domain invalid" else new_path())
    if above == "domain threaded":
        inside = v2(f"/{parent.relative_to(HOST)}/c")
    try:
        inside.create({})
        assert (Path(inside.paths[""]) / "cgroup.type").read_text().strip() == "threaded"
        pid = born_inside(inside, sleep)
        assert inside.pids() == [pid]
        inside.kill()
        os.waitpid(pid, 0)
        inside.remove()
        for resources in ({"memory": {"limit": 64 * MIB}}, {"unified": {"hugetlb.2MB.max": "0"}}):
            with pytest.raises(StepError, match="needs a domain") as caught:
                inside.create(resources)
            assert caught.value.field == "linux.cgroupsPath"
            assert not os.path.exists(inside.paths[""])
    finally:
        inside.remove()
        threaded.rmdir()
        parent.rmdir()


# ── frozen ──────────────────────────────────────────────────────────────────────────────────────


def test_freeze_and_thaw(cgroups: V2) -> None:
    cgroups.create({})
    counter = mmap.mmap(-1, 8)

    def count() -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            counter[:8] = (int.from_bytes(counter[:8], "little") + 1).to_bytes(8, "little")
            time.sleep(0.001)

    pid = born_inside(cgroups, count)
    wait_until(lambda: counter[:8] > bytes(8))
    assert not cgroups.frozen()
    cgroups.freeze()
    assert cgroups.frozen()
    stopped = counter[:8]
    time.sleep(0.05)
    assert counter[:8] == stopped
    cgroups.thaw()
    assert not cgroups.frozen()
    wait_until(lambda: counter[:8] != stopped)
    cgroups.freeze()
    cgroups.kill()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_what_does_not_freeze_in_time_is_thawed(
    cgroups: V2, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroups.create({})
    monkeypatch.setattr("libcontainer_py.cgroups.v2._is_frozen", lambda _path: False)
    with pytest.raises(StepError, match="does not stop"):
        cgroups.freeze(timeout=0.01)
    assert at(cgroups, "cgroup.freeze").read_text() == "0\n"


# ── devices ─────────────────────────────────────────────────────────────────────────────────────

NOTHING = {"allow": False, "access": "rwm"}


@pytest.fixture
def kmsg(tmp_path: Path) -> str:
    """A node of character device 1:11, which no default allows."""
    path = str(tmp_path / "kmsg")
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 11))
    return path


def opens(path: str, flags: int) -> Callable[[], object]:
    return lambda: os.close(os.open(path, flags | os.O_NONBLOCK))


@pytest.mark.parametrize(
    ("rules", "read", "write"),
    [
        ([], 1, 1),
        ([NOTHING], 1, 1),
        ([{"allow": True, "access": "rwm"}], 0, 0),
        ([NOTHING, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}], 0, 1),
        ([{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "w"}], 1, 0),
        ([{"allow": True, "type": "c", "major": 1, "access": "rw"}], 0, 0),
        ([{"allow": True, "type": "b", "major": 1, "minor": 11, "access": "rwm"}], 1, 1),
        ([{"allow": True, "type": "c", "major": 2, "minor": 11, "access": "rwm"}], 1, 1),
        ([{"allow": True, "type": "c", "major": 1, "minor": 12, "access": "rwm"}], 1, 1),
        ([{"allow": True, "minor": 11, "access": "rwm"}], 0, 0),
        # A hole in what a wider rule allows, which cgroup v1 can't have.
        (
            [
                {"allow": True, "type": "c", "major": -1, "minor": -1, "access": "rwm"},
                {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"},
            ],
            0,
            1,
        ),
        # The last one decides.
        (
            [
                {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rw"},
                {"allow": False, "type": "c", "major": 1, "access": "r"},
            ],
            1,
            0,
        ),
        ([{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rw"}, NOTHING], 1, 1),
        ([{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "access": "w"}], 0, 1),
        ([{"allow": True, "access": "rw", "type": "c", "major": 1, "minor": 0xFFFFFFFF}], 1, 1),
    ],
)
def test_rules(
    cgroups: V2, kmsg: str, rules: "list[dict[str, Any]]", read: int, write: int
) -> None:
    cgroups.create({})
    cgroups.set({"devices": rules})
    refused = {0: 0, 1: errno.EPERM}
    assert outcome(cgroups, opens(kmsg, os.O_RDONLY)) == refused[read]
    assert outcome(cgroups, opens(kmsg, os.O_WRONLY)) == refused[write]
    # Both at once need both.
    assert outcome(cgroups, opens(kmsg, os.O_RDWR)) == refused[read or write]


def test_the_defaults_hold_whatever_the_rules_say(cgroups: V2, tmp_path: Path) -> None:
    cgroups.create({})
    cgroups.set({"devices": [NOTHING]})
    for name in ("null", "zero", "full", "random", "urandom"):
        assert outcome(cgroups, opens(f"/dev/{name}", os.O_RDWR)) == 0, name
    for kind in (stat.S_IFCHR, stat.S_IFBLK):
        node = str(tmp_path / f"node{kind}")
        make: Callable[[], object] = lambda k=kind, n=node: os.mknod(n, k, os.makedev(200, 7))  # type: ignore[misc] # noqa: E731
        assert outcome(cgroups, make) == 0
        assert outcome(cgroups, opens(node, os.O_RDONLY)) == errno.EPERM


def test_rules_are_replaced_at_once(cgroups: V2, kmsg: str) -> None:
    cgroups.create({})
    for rules, code in (
        ([NOTHING], errno.EPERM),
        ([{"allow": True, "access": "rwm"}], 0),
        ([NOTHING], errno.EPERM),
    ):
        cgroups.set({"devices": rules})
        assert outcome(cgroups, opens(kmsg, os.O_RDONLY)) == code
    directory = os.open(at(cgroups), os.O_RDONLY)
    try:
        assert len(devices_v2._attached(directory)) == 1
    finally:
        os.close(directory)


def test_a_wrong_rule_is_named(cgroups: V2) -> None:
    cgroups.create({})
    for rule, field in (
        ({"allow": True, "type": "u", "access": "r"}, "linux.resources.devices[1].type"),
        ({"allow": True, "type": "c"}, "linux.resources.devices[1].access"),
    ):
        with pytest.raises(ConfigError) as caught:
            cgroups.set({"devices": [NOTHING, rule]})
        assert caught.value.field == field


def test_many_rules(cgroups: V2, kmsg: str) -> None:
    cgroups.create({})
    rules: list[dict[str, Any]] = [
        {"allow": True, "type": "c", "major": 1, "minor": minor, "access": "rw"}
        for minor in range(500)
    ]
    cgroups.set({"devices": rules})
    assert outcome(cgroups, opens(kmsg, os.O_RDWR)) == 0
    with pytest.raises(StepError, match="more rules than it can check"):
        cgroups.set({"devices": rules * 20})
    assert outcome(cgroups, opens(kmsg, os.O_RDWR)) == 0


# ── limits ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shares", "weight"),
    [
        (1, 1),
        (2, 1),
        (3, 2),
        (512, 59),
        (1024, 100),
        (2048, 174),
        (262144, 10000),
        (1 << 40, 10000),
    ],
)
def test_shares_become_a_weight(shares: int, weight: int) -> None:
    assert limits_v2.weight_of(shares) == weight


@pytest.mark.parametrize(
    ("resources", "file", "value"),
    [
        ({"pids": {"limit": 7}}, "pids.max", "7"),
        ({"pids": {"limit": -1}}, "pids.max", "max"),
        ({"pids": {"limit": 0}}, "pids.max", "1"),
        ({"cpu": {"shares": 2048}}, "cpu.weight", "174"),
        ({"cpu": {"idle": 1}}, "cpu.idle", "1"),
        ({"cpu": {"quota": 50000}}, "cpu.max", "50000 100000"),
        ({"cpu": {"quota": 20000, "period": 40000}}, "cpu.max", "20000 40000"),
        ({"cpu": {"period": 50000}}, "cpu.max", "max 50000"),
        ({"cpu": {"quota": -1, "period": 50000}}, "cpu.max", "max 50000"),
        ({"cpu": {"quota": 50000, "burst": 30000}}, "cpu.max.burst", "30000"),
        ({"cpu": {"cpus": "0"}}, "cpuset.cpus", "0"),
        ({"cpu": {"mems": "0"}}, "cpuset.mems", "0"),
        ({"unified": {"cpu.weight": "42"}}, "cpu.weight", "42"),
        ({"unified": {"pids.max": "9"}, "pids": {"limit": 7}}, "pids.max", "9"),
        ({"unified": {"cgroup.max.depth": "3"}}, "cgroup.max.depth", "3"),
    ],
)
def test_limits(cgroups: V2, resources: "dict[str, Any]", file: str, value: str) -> None:
    controllers(*(file.split(".")[:1] if not file.startswith("cgroup") else ()))
    cgroups.create(resources)
    cgroups.set(resources)
    assert at(cgroups, file).read_text().strip() == value


@pytest.mark.parametrize(
    ("resources", "files"),
    [
        ({"memory": {"limit": 64 * MIB}}, {"max": 64 * MIB, "low": 0, "swap.max": "max"}),
        (
            {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
            {"max": 64 * MIB, "swap.max": 32 * MIB},
        ),
        ({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}, {"swap.max": 0}),
        ({"memory": {"limit": 64 * MIB, "swap": -1}}, {"swap.max": "max"}),
        ({"memory": {"limit": -1}}, {"max": "max", "swap.max": "max"}),
        ({"memory": {"limit": -1, "swap": 32 * MIB}}, {"max": "max", "swap.max": 32 * MIB}),
        ({"memory": {"reservation": 8 * MIB}}, {"low": 8 * MIB, "max": "max"}),
        ({"unified": {"memory.high": str(16 * MIB)}}, {"high": 16 * MIB}),
        (
            {"memory": {"limit": 64 * MIB}, "unified": {"memory.max": str(32 * MIB)}},
            {"max": 32 * MIB},
        ),
    ],
)
def test_memory(cgroups: V2, resources: "dict[str, Any]", files: "dict[str, Any]") -> None:
    controllers("memory")
    cgroups.create(resources)
    cgroups.set(resources)
    assert at(cgroups, "memory.max").read_text().strip() == "max"  # not before Python is gone
    cgroups.set_memory(resources)
    found = {file: at(cgroups, f"memory.{file}").read_text().strip() for file in files}
    assert found == {file: str(value) for file, value in files.items()}


def test_a_burst_above_the_quota_of_before(cgroups: V2) -> None:
    controllers("cpu")
    cgroups.create({})
    cgroups.set({"cpu": {"quota": 10000}})
    cgroups.set({"cpu": {"quota": 50000, "burst": 40000}})
    assert at(cgroups, "cpu.max.burst").read_text().strip() == "40000"


def test_the_tasks_are_held_to_their_number(cgroups: V2) -> None:
    controllers("pids")
    resources = {"pids": {"limit": 2}}
    cgroups.create(resources)
    cgroups.set(resources)

    def forks() -> None:
        for _ in range(3):
            if os.fork() == 0:
                time.sleep(5)
                os._exit(0)

    assert outcome(cgroups, forks) == errno.EAGAIN
    cgroups.kill()


def test_killed_for_memory(cgroups: V2) -> None:
    controllers("memory")
    resources = {"memory": {"limit": 16 * MIB, "swap": 16 * MIB}}
    cgroups.create(resources)
    cgroups.set_memory(resources)
    assert cgroups.oom_count() == 0
    assert outcome(cgroups, lambda: bytearray(64 * MIB)) == -signal.SIGKILL
    assert cgroups.oom_count() == 1


def test_a_limit_below_what_is_used_is_an_error(cgroups: V2) -> None:
    controllers("memory")
    cgroups.create({})
    reader, writer = os.pipe()

    def hold() -> None:
        data = b"x" * (32 * MIB)
        os.write(writer, data[:1])
        time.sleep(30)

    pid = born_inside(cgroups, hold)
    os.read(reader, 1)
    resources = {"memory": {"limit": 8 * MIB, "swap": 8 * MIB, "checkBeforeUpdate": True}}
    with pytest.raises(StepError, match="in use now: "):
        cgroups.set_memory(resources)
    assert at(cgroups, "memory.max").read_text() == "max\n"
    del resources["memory"]["checkBeforeUpdate"]
    with pytest.raises(StepError, match="the memory limit is too small") as caught:
        cgroups.set_memory(resources)
    assert caught.value.field == "linux.resources.memory.limit"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"memory": {"swappiness": 60}}, "memory.swappiness"),
        ({"memory": {"disableOOMKiller": True}}, "memory.disableOOMKiller"),
        ({"cpu": {"realtimeRuntime": 95000}}, "cpu.realtimeRuntime"),
        ({"network": {"classID": 5}}, "network.classID"),
        ({"network": {"priorities": [{"name": "lo", "priority": 5}]}}, "network.priorities"),
        ({"blockIO": {"leafWeight": 500}}, "blockIO.leafWeight"),
        (
            {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 500}]}},
            "blockIO.weightDevice[0].leafWeight",
        ),
        ({"unified": {"nothing.max": "1"}}, 'unified["nothing.max"]'),
    ],
)
def test_what_cgroup_v2_has_not(cgroups: V2, resources: "dict[str, Any]", field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cgroups.create(resources)
    assert caught.value.field == "linux.resources." + field
    assert not at(cgroups).parent.exists()


def test_a_file_that_is_not_there(cgroups: V2) -> None:
    resources = {"unified": {"cgroup.nothing": "1"}}
    cgroups.create(resources)
    with pytest.raises(StepError) as caught:
        cgroups.set(resources)
    assert (caught.value.errno, caught.value.field) == (
        errno.ENOENT,
        'linux.resources.unified["cgroup.nothing"]',
    )


@pytest.fixture
def busy_parent(cgroups: V2) -> Iterator[None]:
    """Have a process in the cgroup above: it can hand no domain controller down."""
    parent = at(cgroups).parent
    parent.mkdir()
    with subprocess.Popen(["sleep", "30"]) as process:
        (parent / "cgroup.procs").write_text(str(process.pid))
        yield
        process.kill()
    cgroups.kill()
    cgroups.remove()
    parent.rmdir()


@pytest.mark.usefixtures("busy_parent")
def test_a_controller_that_the_parent_can_not_hand_down(cgroups: V2) -> None:
    controllers("hugetlb")
    for more in ({}, {"pids": {"limit": 9}}) if "pids" in here() else ({},):
        with pytest.raises(ConfigError, match="has processes of its own") as caught:
            cgroups.create({"unified": {"hugetlb.2MB.max": "0"}} | more)
        assert caught.value.field == 'linux.resources.unified["hugetlb.2MB.max"]'
        assert not at(cgroups).exists()
    assert (at(cgroups).parent / "cgroup.subtree_control").read_text().split() == []


@pytest.mark.usefixtures("busy_parent")
def test_below_a_parent_with_processes(cgroups: V2) -> None:
    cgroups.create({})
    assert at(cgroups, "cgroup.type").read_text() == "domain\n"
    assert outcome(cgroups, lambda: None) == 0


@pytest.mark.usefixtures("busy_parent")
def test_a_limit_for_threads_below_a_parent_with_processes(cgroups: V2) -> None:
    controllers("pids")
    resources = {"pids": {"limit": 5}}
    cgroups.create(resources)
    cgroups.set(resources)
    assert at(cgroups, "cgroup.type").read_text() == "threaded\n"
    assert at(cgroups, "pids.max").read_text() == "5\n"
    assert outcome(cgroups, lambda: None) == 0


def test_huge_pages(cgroups: V2) -> None:
    controllers("hugetlb")
    size = page_sizes()[0]
    resources = {"hugepageLimits": [{"pageSize": size, "limit": 0}]}
    cgroups.create(resources)
    cgroups.set(resources)
    for file in ("max", "rsvd.max"):
        assert at(cgroups, f"hugetlb.{size}.{file}").read_text() == "0\n"
    with pytest.raises(StepError, match="no huge pages of that size") as caught:
        cgroups.set({"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]})
    assert caught.value.field == "linux.resources.hugepageLimits[0].pageSize"
    with pytest.raises(ConfigError, match="not the size of a page"):
        cgroups.set({"hugepageLimits": [{"pageSize": "../x", "limit": 0}]})


@pytest.mark.parametrize(
    ("block_io", "file", "line"),
    [
        ({"throttleReadBpsDevice": [DISK | {"rate": 9000}]}, "io.max", "rbps=9000"),
        ({"throttleWriteBpsDevice": [DISK | {"rate": 9000}]}, "io.max", "wbps=9000"),
        ({"throttleReadIOPSDevice": [DISK | {"rate": 90}]}, "io.max", "riops=90"),
        ({"throttleWriteIOPSDevice": [DISK | {"rate": 90}]}, "io.max", "wiops=90"),
    ],
)
def test_throttles(cgroups: V2, block_io: "dict[str, Any]", file: str, line: str) -> None:
    controllers("io")
    cgroups.create({"blockIO": block_io})
    cgroups.set({"blockIO": block_io})
    (said,) = at(cgroups, file).read_text().splitlines()
    assert said.startswith(f"{DISK['major']}:{DISK['minor']} ")
    assert line in said.split()
    ((key, entries),) = block_io.items()
    cgroups.update({"blockIO": {key: [entries[0] | {"rate": 0}]}})
    assert at(cgroups, file).read_text() == ""


def test_a_weight_of_block_devices(cgroups: V2) -> None:
    controllers("io")
    resources = {"blockIO": {"weight": 500}}
    cgroups.create(resources)
    if at(cgroups, "io.bfq.weight").exists():
        cgroups.set(resources)
        assert at(cgroups, "io.bfq.weight").read_text() == "default 500\n"
    elif at(cgroups, "io.weight").exists():
        cgroups.set(resources)
        assert at(cgroups, "io.weight").read_text() == "default 4950\n"
    else:
        with pytest.raises(StepError, match="no scheduler of its can do that"):
            cgroups.set(resources)


# ── while it runs ───────────────────────────────────────────────────────────────────────────────


def test_update_changes_what_is_given(cgroups: V2) -> None:
    controllers("cpu", "memory", "pids")
    cgroups.create({})
    steps: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"cpu": {"period": 50000}}, {"cpu.max": "max 50000"}),
        ({"cpu": {"quota": 20000}}, {"cpu.max": "20000 50000"}),
        ({"cpu": {"period": 40000}}, {"cpu.max": "20000 40000"}),
        ({"cpu": {"quota": -1}}, {"cpu.max": "max 40000"}),
        ({"cpu": {"idle": 1}}, {"cpu.idle": "1"}),
        ({"cpu": {"idle": 0, "shares": 2048}}, {"cpu.idle": "0", "cpu.weight": "174"}),
        ({"unified": {"cpu.weight": "8", "cpu.idle": "1"}}, {"cpu.idle": "1"}),
        ({"unified": {"cpu.weight": "8", "cpu.idle": "0"}}, {"cpu.idle": "0", "cpu.weight": "8"}),
        ({"pids": {"limit": 7}}, {"pids.max": "7"}),
        ({"pids": {"limit": -1}}, {"pids.max": "max"}),
        (
            {"memory": {"limit": 32 * MIB, "swap": 64 * MIB}},
            {"memory.max": str(32 * MIB), "memory.swap.max": str(32 * MIB)},
        ),
        ({"memory": {"swap": 48 * MIB}}, {"memory.swap.max": str(16 * MIB)}),
        ({"memory": {"limit": 16 * MIB}}, {"memory.max": str(16 * MIB)}),
        ({"unified": {"memory.high": str(8 * MIB)}}, {"memory.high": str(8 * MIB)}),
        ({"memory": {"limit": -1}}, {"memory.max": "max", "memory.swap.max": "max"}),
    ]
    for resources, files in steps:
        cgroups.update(resources)
        assert {file: at(cgroups, file).read_text().strip() for file in files} == files
    with pytest.raises(ConfigError, match="without memory limit"):
        cgroups.update({"memory": {"swap": 64 * MIB}})


def test_update_leaves_the_devices_alone(cgroups: V2, kmsg: str) -> None:
    cgroups.create({})
    cgroups.set({"devices": [{"allow": True, "access": "rwm"}]})
    cgroups.update({"devices": [NOTHING], "unified": {"cgroup.max.depth": "3"}})
    assert outcome(cgroups, opens(kmsg, os.O_RDONLY)) == 0
    assert at(cgroups, "cgroup.max.depth").read_text() == "3\n"


def test_update_puts_back_what_it_changed(cgroups: V2) -> None:
    controllers("hugetlb")
    size = page_sizes()[0]
    cgroups.create({})
    limit = {"pageSize": size, "limit": 0}
    change: dict[str, Any]
    for change, field in (
        (
            {"hugepageLimits": [limit, {"pageSize": "3MB", "limit": 0}]},
            "hugepageLimits[1].pageSize",
        ),
        (
            {"hugepageLimits": [limit], "unified": {"cgroup.max.depth": "5", "cgroup.no": "1"}},
            'unified["cgroup.no"]',
        ),
    ):
        with pytest.raises(StepError) as caught:
            cgroups.update(change)
        assert caught.value.field == "linux.resources." + field
        assert not getattr(caught.value, "__notes__", [])
        assert at(cgroups, f"hugetlb.{size}.max").read_text() == "max\n"
        assert at(cgroups, "cgroup.max.depth").read_text() == "max\n"


def test_update_refuses_what_is_not_there(cgroups: V2) -> None:
    cgroups.create({})
    for resources, field in (
        ({"unified": {"nothing.max": "1"}}, 'unified["nothing.max"]'),
        ({"network": {"classID": 1}}, "network.classID"),
    ):
        with pytest.raises(ConfigError) as caught:
            cgroups.update(resources)
        assert caught.value.field == "linux.resources." + field


def test_statistics(cgroups: V2) -> None:
    cgroups.create({})
    pid = born_inside(cgroups, sleep)
    data = cgroups.stats()
    assert data["pids"]["current"] == 1
    assert data["cpu"]["usage"].keys() >= {"kernel", "user"}
    if stats.pressure_in(cgroups.paths[""] + "/cpu.pressure"):
        assert data["cpu"]["psi"]["some"].keys() == {"avg10", "avg60", "avg300", "total"}
    if "hugetlb" in here():
        assert data["hugetlb"] == {size: {"failcnt": 0} for size in page_sizes()}
    if "memory" in here():
        assert data["memory"]["usage"]["limit"] == (1 << 64) - 1
        assert data["memory"]["cache"] if data["memory"]["raw"]["file"] else True
    cgroups.kill()
    os.waitpid(pid, 0)


def test_room_for_tasks(cgroups: V2) -> None:
    cgroups.create({})
    assert cgroups.pids_room() is None
    controllers("pids")
    cgroups.update({"pids": {"limit": 3}})
    assert cgroups.pids_room() == 3
    (at(cgroups).parent / "pids.max").write_text("2")
    assert cgroups.pids_room() == 2


def test_room_for_memory(cgroups: V2) -> None:
    cgroups.create({})
    assert cgroups.memory_room() is None
    controllers("memory")
    cgroups.update({"memory": {"limit": 8 << 20}})
    assert cgroups.memory_room() == (8 << 20) - int((at(cgroups) / "memory.current").read_text())


def test_memory_that_runs_out_is_told(cgroups: V2) -> None:
    controllers("memory")
    resources = {"memory": {"limit": 16 * MIB, "swap": 16 * MIB}}
    cgroups.create(resources)
    cgroups.set_memory(resources)
    watch = cgroups.watch_oom()
    try:
        sleeping = born_inside(cgroups, sleep)
        assert (watch.count(), watch.gone()) == (0, False)
        assert outcome(cgroups, lambda: bytearray(b"x") * (64 * MIB)) == -signal.SIGKILL
        assert select.select([watch.fileno()], [], [], 5)[0]
        assert (watch.count(), watch.count(), watch.gone()) == (1, 0, False)
        cgroups.kill()
        os.waitpid(sleeping, 0)
        assert select.select([watch.fileno()], [], [], 5)[0]
        assert (watch.count(), watch.gone()) == (0, True)
    finally:
        watch.close()


def test_without_a_memory_controller_there_is_no_news(cgroups: V2) -> None:
    cgroups.create({})
    if "memory" not in here():
        with pytest.raises(StepError, match="watch out for memory"):
            cgroups.watch_oom()


# ── a second process ────────────────────────────────────────────────────────────────────────────


def own_cgroup() -> str:
    (line,) = (
        line for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"
    )
    return line[3:]


def goes_to(entrance: Entrance, by: str) -> str:
    """Let a child enter, that did not open the doors, and ask it where it is."""
    reader, writer = os.pipe()
    go_reader, go_writer = os.pipe()
    assert entrance.unified is not None
    assert entrance.procs is not None
    if by == "clone":
        pid, pidfd = syscalls.clone3(CLONE_INTO_CGROUP, SIGCHLD, entrance.unified)
        os.close(pidfd) if pid else None
    else:
        pid = os.fork()
    if pid == 0:
        try:
            if by == "procs":
                os.write(entrance.procs, b"0")
            os.read(go_reader, 1)
            os.write(writer, own_cgroup().encode())
        finally:
            os._exit(0)
    if by == "admit":
        entrance.admit(pid)
    os.write(go_writer, b"1")
    os.waitpid(pid, 0)
    for fd in (writer, go_reader, go_writer):
        os.close(fd)
    with os.fdopen(reader) as pipe:
        return pipe.read()


@pytest.mark.parametrize("by", ["clone", "procs", "admit"])
@pytest.mark.parametrize("sub", [None, "/", "sub"])
def test_the_doors(cgroups: V2, by: str, sub: "str | None") -> None:
    cgroups.create({})
    at(cgroups, "sub").mkdir()
    entrance = cgroups.exec_entrance(os.getpid(), {} if sub is None else {"": sub})
    try:
        wanted = at(cgroups, "sub" if sub == "sub" else "")
        assert goes_to(entrance, by) == f"/{wanted.relative_to(HOST)}"
        assert entrance.tasks == []
    finally:
        entrance.close()


@pytest.fixture(params=["hugetlb", "pids"])
def moved(cgroups: V2, request: pytest.FixtureRequest) -> Iterator[int]:
    """A first process that has moved itself into a cgroup below, and handed a controller down.

    Also one for threads keeps processes out, as long as somebody is in a domain below.
    """
    controllers(request.param)
    cgroups.create({})
    pid = born_inside(cgroups, sleep)
    at(cgroups, "init").mkdir()
    at(cgroups, "other").mkdir()
    at(cgroups, "init/cgroup.procs").write_text(str(pid))
    at(cgroups, "cgroup.subtree_control").write_text("+" + request.param)
    yield pid
    cgroups.kill()
    os.waitpid(pid, 0)


@pytest.mark.parametrize("by", ["clone", "procs", "admit"])
def test_where_the_first_process_is_now(cgroups: V2, moved: int, by: str) -> None:
    entrance = cgroups.exec_entrance(moved, {})
    try:
        assert goes_to(entrance, by) == f"/{at(cgroups, 'init').relative_to(HOST)}"
    finally:
        entrance.close()
    entrance = cgroups.exec_entrance(moved, {"": "other"})
    try:
        assert goes_to(entrance, by) == f"/{at(cgroups, 'other').relative_to(HOST)}"
    finally:
        entrance.close()


def test_it_must_be_below_the_container_s_own(cgroups: V2, moved: int) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(StepError, match=r"error adding pid .* to cgroups: .*busy") as caught:
        cgroups.exec_entrance(os.getpid(), {})
    assert caught.value.errno == errno.EBUSY
    with pytest.raises(StepError, match=r"error adding pid .* to cgroups: .*busy"):
        cgroups.exec_entrance(moved, {"": "/"})
    assert os.listdir("/proc/self/fd") == before


def test_the_container_s_own_can_be_gone(cgroups: V2) -> None:
    """As runc has it: its first process has moved away, with the host's cgroups in its hands."""
    elsewhere = HOST / f"{PREFIX}{next(_numbers)}"
    cgroups.create({})
    pid = born_inside(cgroups, sleep)
    elsewhere.mkdir()
    try:
        (elsewhere / "cgroup.procs").write_text(str(pid))
        at(cgroups).rmdir()
        entrance = cgroups.exec_entrance(pid, {})
        assert goes_to(entrance, "clone") == f"/{elsewhere.relative_to(HOST)}"
        entrance.close()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        wait_until(lambda: not (elsewhere / "cgroup.procs").read_text())
        elsewhere.rmdir()


@pytest.mark.parametrize(
    ("sub", "error", "words"),
    [
        ({"": ".."}, ConfigError, r"^bad sub cgroup path: \.\.$"),
        ({"cpu": "/"}, ConfigError, "^unknown controller cpu in SubCgroupPaths$"),
        ({"": "none"}, StepError, "error adding pid .* to cgroups: .*no such file or directory"),
    ],
)
def test_where_no_second_process_can_go(
    cgroups: V2, sub: "dict[str, str]", error: "type[Exception]", words: str
) -> None:
    cgroups.create({})
    before = os.listdir("/proc/self/fd")
    with pytest.raises(error, match=words):
        cgroups.exec_entrance(os.getpid(), sub)
    assert os.listdir("/proc/self/fd") == before


def test_a_threaded_one_lets_everybody_in(cgroups: V2) -> None:
    """Below a thread root, whatever it hands down."""
    cgroups.create({})
    at(cgroups, "threaded").mkdir()
    at(cgroups, "threaded/cgroup.type").write_text("threaded")
    assert not levels_v2.refuses_processes(str(at(cgroups)))
    assert not levels_v2.refuses_processes(str(at(cgroups, "threaded")))
    assert outcome(cgroups, lambda: None) == 0


# ── given to a user of the host ─────────────────────────────────────────────────────────────────


def test_what_may_be_given_away_is(cgroups: V2) -> None:
    cgroups.create({})
    cgroups.delegate(4242)
    given = {entry.name for entry in os.scandir(at(cgroups)) if entry.stat().st_uid == 4242}
    allowed = set(Path("/sys/kernel/cgroup/delegate").read_text().split())
    assert given == allowed & set(os.listdir(at(cgroups)))
    assert {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} <= given
    own = at(cgroups).stat()
    assert (own.st_uid, own.st_gid) == (4242, 0)
    assert at(cgroups).parent.stat().st_uid == 0


def test_the_owner_can_use_it(cgroups: V2) -> None:
    cgroups.create({})
    cgroups.delegate(4242)

    def work() -> None:
        os.setresuid(4242, 4242, 4242)
        at(cgroups, "mine").mkdir()
        at(cgroups, "mine/cgroup.procs").write_text("0")
        with contextlib.suppress(PermissionError):
            at(cgroups, "cgroup.max.depth").write_text("0")
            raise AssertionError("a limit of its own")

    assert outcome(cgroups, work) == 0


def test_a_kernel_that_does_not_say_what_may_be_given_away(
    cgroups: V2, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(path: str) -> str:
        raise StepError(None, errno.ENOENT, f"read {path}")

    cgroups.create({})
    monkeypatch.setattr("libcontainer_py.cgroups.v2.read", missing)
    cgroups.delegate(4242)
    given = {entry.name for entry in os.scandir(at(cgroups)) if entry.stat().st_uid == 4242}
    assert given == {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"}


# ── killed with what it nested ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("all_at_once", [True, False])
@pytest.mark.parametrize("kind", ["frozen", "threaded", "deep"])
def test_what_it_nested_is_killed_too(
    cgroups: V2, monkeypatch: pytest.MonkeyPatch, kind: str, all_at_once: bool
) -> None:
    """Also one by one, as before Linux 5.14."""
    cgroups.create({})
    below = at(cgroups, "a/b/c/d" if kind == "deep" else "a")
    below.mkdir(parents=True)
    if kind == "threaded":
        (below / "cgroup.type").write_text("threaded")
    pids = [born_inside(cgroups, sleep) for _ in range(3)]
    for pid in pids[:2]:
        (below / ("cgroup.threads" if kind == "threaded" else "cgroup.procs")).write_text(str(pid))
    if kind == "frozen":
        (below / "cgroup.freeze").write_text("1")
        wait_until(lambda: "frozen 1" in (below / "cgroup.events").read_text())
    if not all_at_once:
        monkeypatch.setattr("libcontainer_py.cgroups.v2.write", lambda _path, _value: None)
    cgroups.kill()
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [-9] * 3
    cgroups.remove()
    assert not at(cgroups).parent.exists()


# ── the command ─────────────────────────────────────────────────────────────────────────────────


def namespaced(config: "Config", cgroup: bool) -> None:
    kinds = [each for each in config["linux"]["namespaces"] if each["type"] != "cgroup"]
    config["linux"]["namespaces"] = kinds + [{"type": "cgroup"}] * cgroup
    for mount in config["mounts"]:
        if mount["destination"] == "/sys/fs/cgroup":
            mount["options"].remove("ro")


@pytest.mark.parametrize("cgroup", [True, False])
def test_what_a_container_sees(lcpy: "Lcpy", bundle: "Bundle", cgroup: bool) -> None:
    """Itself, where /proc/self/cgroup says: in a cgroup namespace of its own, that is all."""
    name = lcpy.new_id()
    script = """
        path=$(grep ^0:: /proc/self/cgroup | cut -c 4-); echo $path
        cd /sys/fs/cgroup$path; cat cgroup.procs; mkdir inner
    """
    made = bundle("sh", "-c", script, change=lambda config: namespaced(config, cgroup))
    done = lcpy("run", "--bundle", made, name, check=True)
    path, *processes = done.stdout.split()
    assert "1" in processes
    assert (path == "/") == cgroup
    assert path.endswith("/" if cgroup else f"/{name}")
    assert not list(HOST.glob(f"**/{name}"))
    assert not list(HOST.glob("inner"))


def test_a_life(lcpy: "Lcpy", bundle: "Bundle") -> None:
    name = lcpy.new_id()
    lcpy("create", "--bundle", bundle("sleep", "60"), name, check=True)
    lcpy("start", name, check=True)
    state = lcpy.state(name)
    cgroup = HOST / Path(f"/proc/{state['pid']}/cgroup").read_text().split("0::/")[1].strip()
    assert cgroup.name == name
    (cgroup / "cgroup.freeze").write_text("1")
    lcpy.wait_for(name, "paused")
    (cgroup / "cgroup.freeze").write_text("0")
    lcpy.wait_for(name, "running")
    (cgroup / "cgroup.freeze").write_text("1")
    lcpy("delete", "--force", name, check=True)
    assert not cgroup.exists()


NESTS = {
    "frozen": """
        mkdir -p a/b c
        sleep 100 & echo $! >a/b/cgroup.procs
        sleep 100 & echo $! >c/cgroup.procs
        echo 1 >a/cgroup.freeze; echo 1 >c/cgroup.freeze
    """,
    "threaded": """
        mkdir a
        echo threaded >a/cgroup.type
        sleep 100 & echo $! >a/cgroup.threads
    """,
    "moved": """
        mkdir init
        echo 1 >init/cgroup.procs
        for controller in $(cat cgroup.controllers); do
            echo +$controller >cgroup.subtree_control
        done
    """,
}


@pytest.mark.parametrize("kind", NESTS)
def test_a_container_goes_with_what_it_nests(lcpy: "Lcpy", bundle: "Bundle", kind: str) -> None:
    script = f"cd /sys/fs/cgroup && {NESTS[kind].strip()}\nmkdir ready; exec sleep 100"
    made = bundle("sh", "-c", script, change=lambda config: namespaced(config, True))
    name = lcpy.new_id()
    lcpy("create", "--bundle", made, name, check=True)
    inside = Path(f"/proc/{lcpy.state(name)['pid']}/cgroup").read_text().split("0::/")[1].strip()
    lcpy("start", name, check=True)
    wait_until((HOST / inside / "ready").exists)
    began = time.monotonic()
    lcpy("delete", "--force", name, check=True)
    assert time.monotonic() - began < 8
    assert not (HOST / inside).exists()


def test_limits_of_a_container(lcpy: "Lcpy", bundle: "Bundle") -> None:
    controllers("cpu", "memory", "pids")

    def change(config: "Config") -> None:
        namespaced(config, True)
        config["linux"]["resources"] |= {
            "memory": {"limit": 64 * MIB, "swap": 64 * MIB},
            "cpu": {"shares": 512, "quota": 50000},
            "pids": {"limit": 20},
            "unified": {"memory.high": str(48 * MIB)},
        }

    files = "memory.max memory.swap.max memory.high cpu.weight cpu.max pids.max"
    script = f"cd /sys/fs/cgroup; cat {files}"
    done = lcpy(
        "run", "--bundle", bundle("sh", "-c", script, change=change), lcpy.new_id(), check=True
    )
    expected = f"{64 * MIB}\n0\n{48 * MIB}\n59\n50000 100000\n20\n"
    assert done.stdout == expected


def test_a_memory_limit_too_small_to_start_in(lcpy: "Lcpy", bundle: "Bundle") -> None:
    controllers("memory")

    def change(config: "Config") -> None:
        config["linux"]["resources"]["memory"] = {"limit": 4096, "swap": 4096}

    done = lcpy("run", "--bundle", bundle("true", change=change), lcpy.new_id())
    assert done.returncode == 1
    assert "linux.resources.memory.limit" in done.stderr
    assert "the memory limit is too small" in done.stderr
