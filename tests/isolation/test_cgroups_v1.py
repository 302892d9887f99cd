"""cgroup v1 on the real kernel: made, joined, limited, frozen, killed, removed."""

import contextlib
import errno
import itertools
import json
import mmap
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py import jsontext
from libcontainer_py.cgroups import directories, processes
from libcontainer_py.cgroups.hugetlb import page_sizes
from libcontainer_py.cgroups.manager import load, manager
from libcontainer_py.cgroups.v1 import V1
from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import CLONE_INTO_CGROUP, CLONE_NEWUSER

pytestmark = [
    pytest.mark.usefixtures("machine_unchanged"),
    pytest.mark.skipif(
        os.path.exists("/sys/fs/cgroup/cgroup.controllers"),
        reason="cgroup v1 is not here: v2 has its controllers",
    ),
]

PREFIX = f"lcpy-test-{os.getpid()}-cg"
MIB = 1 << 20
SIGCHLD = 17
# A block device, and a size of huge pages: any will do.
DISK = Path("/sys/block", min(os.listdir("/sys/block")), "dev").read_text().strip()
MAJOR, MINOR = map(int, DISK.split(":"))
PAGE = page_sizes()[0]

_numbers = itertools.count()


def new_path() -> str:
    return f"/{PREFIX}{next(_numbers)}/inner"


def v1(path: str) -> V1:
    cgroups = manager(path, "unused")
    assert isinstance(cgroups, V1)
    return cgroups


@pytest.fixture
def cgroups() -> Iterator[V1]:
    """Cgroups below a parent of their own; nothing is made yet."""
    found = v1(new_path())
    yield found
    found.kill()
    found.remove()


def read(cgroups: V1, subsystem: str, file: str) -> str:
    return Path(cgroups.paths[subsystem], file).read_text().strip()


def in_child(cgroups: V1, work: Callable[[], int | None]) -> int:
    """Run a function in a child that walks into the cgroups; give its exit status (-9: killed)."""
    entrance = cgroups.entrance()
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            entrance.enter()
            status = work() or 0
        except OSError as error:
            status = error.errno or 98
        finally:
            os._exit(status)
    entrance.close()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait(5)


def membership(pid: int | str) -> dict[str, str]:
    """The cgroup by subsystem, as the kernel names it."""
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _number, subsystems, path = line.split(":", 2)
        found.update(dict.fromkeys(subsystems.split(","), path))
    return found


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


# ── paths ───────────────────────────────────────────────────────────────────────────────────────


def where_runc_puts(tmp_path: Path, cgroups_path: str | None, container: str) -> dict[str, str]:
    busybox = shutil.which("busybox")
    assert busybox
    (tmp_path / "rootfs/proc").mkdir(parents=True)
    shutil.copy(busybox, tmp_path / "rootfs/busybox")
    subprocess.run(["runc", "spec"], cwd=tmp_path, check=True)
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
    done = subprocess.run(runc, cwd=tmp_path, check=True, capture_output=True, text=True)
    found = {}
    for line in done.stdout.splitlines():
        _number, subsystems, path = line.split(":", 2)
        found.update(dict.fromkeys(subsystems.split(","), path))
    return found


@pytest.mark.parametrize("form", ["absolute", "relative", "absent"])
def test_paths_are_those_of_runc(tmp_path: Path, form: str) -> None:
    name = f"{PREFIX}{next(_numbers)}"
    given = {"absolute": f"/{name}/x", "relative": f"{name}/x", "absent": None}[form]
    ours = v1(given) if given else manager(None, name)
    assert isinstance(ours, V1)
    try:
        theirs = where_runc_puts(tmp_path, given, name)
        assert {
            subsystem: path.removeprefix(ours._mountpoint(subsystem))
            for subsystem, path in ours.paths.items()
        } == theirs
    finally:
        # runc leaves the parents that it makes.
        for path in ours.paths.values():
            parent = Path(path).parent
            if name in parent.name and parent.is_dir():
                parent.rmdir()


# ── create, join, remove ────────────────────────────────────────────────────────────────────────


def test_create_join_remove(cgroups: V1, sleeper: "subprocess.Popen[bytes]") -> None:
    cgroups.create({})
    cgroups.join(sleeper.pid)

    inside = membership(sleeper.pid)
    assert set(inside) == set(cgroups.paths)
    for subsystem, path in cgroups.paths.items():
        assert path == cgroups._mountpoint(subsystem) + inside[subsystem]
    assert cgroups.pids() == [sleeper.pid]

    sleeper.kill()
    sleeper.wait()
    cgroups.remove()
    for path in cgroups.paths.values():
        assert not os.path.exists(path)
        assert not os.path.exists(os.path.dirname(path)), "the parent was made by us"
    cgroups.remove()  # what is gone already is fine


def test_state_makes_them_again(cgroups: V1) -> None:
    cgroups.create({})
    again = load(jsontext.loads(jsontext.dumps(cgroups.state())))
    assert isinstance(again, V1)
    assert again.paths == cgroups.paths
    assert [m.path for m in again.mounts()] == [m.path for m in cgroups.mounts()]
    again.remove()
    assert not any(os.path.exists(path) for path in cgroups.paths.values())


def test_join_of_a_dead_process_names_the_file(cgroups: V1) -> None:
    cgroups.create({})
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(StepError, match=r"cgroup\.procs: no such process"):
        cgroups.join(child.pid)


def test_parents_stay_until_the_last_one_goes() -> None:
    path = new_path()
    first, second = v1(path), v1(path.replace("inner", "other"))
    parents = [os.path.dirname(each) for each in first.paths.values()]
    try:
        first.create({})
        second.create({})
        first.remove()
        assert all(os.path.isdir(parent) for parent in parents)
    finally:
        first.remove()
        second.remove()
    assert not any(os.path.exists(parent) for parent in parents)


def test_parents_of_others_stay(cgroups: V1) -> None:
    parent = os.path.dirname(cgroups.paths["pids"])
    os.mkdir(parent)
    try:
        cgroups.create({})
        cgroups.remove()
        assert os.path.isdir(parent)
        assert not os.path.exists(os.path.dirname(cgroups.paths["memory"]))
    finally:
        os.rmdir(parent)


def test_a_used_cgroup_is_refused_and_left_alone(
    cgroups: V1, sleeper: "subprocess.Popen[bytes]"
) -> None:
    cgroups.create({})
    cgroups.join(sleeper.pid)
    before = {path: sorted(os.listdir(path)) for path in cgroups.paths.values()}
    second = v1(cgroups.paths["pids"].removeprefix(cgroups._mountpoint("pids")))
    with pytest.raises(StepError, match=r"not empty: 1 process\(es\) found") as caught:
        second.create({})
    assert (caught.value.errno, caught.value.field) == (errno.EBUSY, "linux.cgroupsPath")
    assert {path: sorted(os.listdir(path)) for path in cgroups.paths.values()} == before


def test_an_existing_empty_cgroup_is_taken(cgroups: V1) -> None:
    for path in dict.fromkeys(cgroups.paths.values()):
        os.makedirs(path)
    try:
        cgroups.create({})
        assert in_child(cgroups, lambda: 0) == 0
    finally:
        cgroups.remove()
        for path in dict.fromkeys(cgroups.paths.values()):
            os.rmdir(os.path.dirname(path))  # not made by us, so not removed by us


def test_a_frozen_parent_is_refused(cgroups: V1) -> None:
    parent = os.path.dirname(cgroups.paths["freezer"])
    os.mkdir(parent)
    try:
        Path(parent, "freezer.state").write_text("FROZEN")
        with pytest.raises(StepError, match="container's cgroup unexpectedly frozen"):
            cgroups.create({})
        assert not any(os.path.exists(path) for path in cgroups.paths.values())
    finally:
        os.rmdir(parent)


def test_failed_create_leaves_nothing(cgroups: V1) -> None:
    with pytest.raises(StepError) as caught:
        cgroups.create({"cpu": {"cpus": "4095"}})
    assert caught.value.field == "linux.resources.cpu.cpus"
    assert "cpuset.cpus" in str(caught.value)
    for path in cgroups.paths.values():
        assert not os.path.exists(os.path.dirname(path))


def test_cpuset_of_empty_parents_is_filled(cgroups: V1) -> None:
    parent = Path(cgroups.paths["cpuset"]).parent
    parent.mkdir()
    try:
        assert (parent / "cpuset.cpus").read_text() == "\n"
        cgroups.create({"cpu": {"cpus": "0"}})
        everything = Path("/sys/fs/cgroup/cpuset/cpuset.cpus").read_text()
        assert (parent / "cpuset.cpus").read_text() == everything
        assert read(cgroups, "cpuset", "cpuset.cpus") == "0"
        assert read(cgroups, "cpuset", "cpuset.mems") == "0"
    finally:
        cgroups.remove()
        parent.rmdir()


def test_what_a_container_made_inside_is_removed(cgroups: V1) -> None:
    """Also what is nested deeper than a path can name."""
    cgroups.create({})
    for index in range(20):
        os.makedirs(f"{cgroups.paths['pids']}/{index}/a/b")
    fd = os.open(cgroups.paths["freezer"], os.O_RDONLY)
    name = "n" * 200
    for _level in range(25):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    cgroups.remove()
    assert not os.path.exists(cgroups.paths["freezer"])
    assert not os.path.exists(cgroups.paths["pids"])


def test_remove_of_a_busy_one_ends(cgroups: V1, sleeper: "subprocess.Popen[bytes]") -> None:
    cgroups.create({})
    cgroups.join(sleeper.pid)
    began = time.monotonic()
    with pytest.raises(StepError, match="there are processes in it"):
        directories.remove([cgroups.paths["pids"]], timeout=0.1)
    assert time.monotonic() - began < 1


# ── the entrance ────────────────────────────────────────────────────────────────────────────────


def test_a_child_walks_in_from_a_new_user_namespace(cgroups: V1) -> None:
    cgroups.create({})
    entrance = cgroups.entrance()
    assert entrance.unified is not None
    reading, writing = os.pipe()
    pid, pidfd = syscalls.clone3(CLONE_NEWUSER | CLONE_INTO_CGROUP, SIGCHLD, entrance.unified)
    if pid == 0:
        status = 99
        try:
            entrance.enter()
            os.write(writing, Path("/proc/self/cgroup").read_bytes())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    entrance.close()
    with os.fdopen(reading) as pipe:
        lines = pipe.read().splitlines()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(pidfd)
    own = cgroups.paths["pids"].removeprefix(cgroups._mountpoint("pids"))
    assert len(lines) == len(cgroups._directories())
    assert all(line.endswith(":" + own) for line in lines), lines


def test_the_entrance_needs_no_grace_period(cgroups: V1) -> None:
    """That is all it is for: nine moves in a tenth of the time that is waited for one."""
    cgroups.create({})
    took = []
    for _attempt in range(3):  # the machine may be busy
        time.sleep(0.1)  # a move soon after another waits for nothing either
        entrance = cgroups.entrance()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            began = time.perf_counter()
            entrance.enter()
            os.write(writing, b"%f" % (time.perf_counter() - began))
            os._exit(0)
        entrance.close()
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            took.append(float(pipe.read()))
        os.waitpid(pid, 0)
    assert min(took) < 0.0015


# ── limits ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("resources", "subsystem", "file", "expected"),
    [
        ({"pids": {"limit": 32}}, "pids", "pids.max", "32"),
        ({"pids": {"limit": -1}}, "pids", "pids.max", "max"),
        ({"pids": {"limit": 0}}, "pids", "pids.max", "1"),
        ({"cpu": {"shares": 512}}, "cpu", "cpu.shares", "512"),
        ({"cpu": {"shares": 0}}, "cpu", "cpu.shares", "1024"),
        ({"cpu": {"quota": 5000, "period": 10000}}, "cpu", "cpu.cfs_quota_us", "5000"),
        ({"cpu": {"quota": 5000, "period": 10000}}, "cpu", "cpu.cfs_period_us", "10000"),
        ({"cpu": {"quota": -1}}, "cpu", "cpu.cfs_quota_us", "-1"),
        ({"cpu": {"quota": 50000, "burst": 20000}}, "cpu", "cpu.cfs_burst_us", "20000"),
        ({"cpu": {"idle": 1}}, "cpu", "cpu.idle", "1"),
        ({"cpu": {"realtimePeriod": 900000}}, "cpu", "cpu.rt_period_us", "900000"),
        ({"cpu": {"cpus": "1", "mems": "0"}}, "cpuset", "cpuset.cpus", "1"),
        ({"memory": {"limit": 64 * MIB}}, "memory", "memory.limit_in_bytes", str(64 * MIB)),
        (
            {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
            "memory",
            "memory.memsw.limit_in_bytes",
            str(96 * MIB),
        ),
        (
            {"memory": {"reservation": 32 * MIB}},
            "memory",
            "memory.soft_limit_in_bytes",
            str(32 * MIB),
        ),
        ({"memory": {"swappiness": 7}}, "memory", "memory.swappiness", "7"),
        ({"memory": {"useHierarchy": True}}, "memory", "memory.use_hierarchy", "1"),
        ({"blockIO": {"weight": 0}, "network": {}, "unified": {}}, "pids", "pids.max", "max"),
        ({"blockIO": {"weight": 333}}, "blkio", "blkio.bfq.weight", "333"),
        *(
            (
                {"blockIO": {key: [{"major": MAJOR, "minor": MINOR, "rate": 9000}]}},
                "blkio",
                f"blkio.throttle.{file}_device",
                f"{DISK} 9000",
            )
            for key, file in (
                ("throttleReadBpsDevice", "read_bps"),
                ("throttleWriteBpsDevice", "write_bps"),
                ("throttleReadIOPSDevice", "read_iops"),
                ("throttleWriteIOPSDevice", "write_iops"),
            )
        ),
    ],
)
def test_limits_are_what_the_kernel_has(
    cgroups: V1, resources: "dict[str, Any]", subsystem: str, file: str, expected: str
) -> None:
    cgroups.create(resources)
    cgroups.set(resources)
    cgroups.set_memory(resources)
    assert read(cgroups, subsystem, file) == expected


@pytest.fixture
def handed_down() -> Iterator[None]:
    """Leave the root of the unified hierarchy as it was."""
    control = Path("/sys/fs/cgroup/unified/cgroup.subtree_control")
    before = control.read_text().split()
    yield
    for controller in control.read_text().split():
        if controller not in before:
            with contextlib.suppress(OSError):  # another run needs it
                control.write_text("-" + controller)


@pytest.mark.usefixtures("handed_down")
def test_huge_pages_are_limited_where_the_unified_hierarchy_has_them(cgroups: V1) -> None:
    """A hybrid host: runc has no limit of them then."""
    resources = {"hugepageLimits": [{"pageSize": PAGE, "limit": 0}]}
    cgroups.create(resources)
    cgroups.set(resources)
    assert read(cgroups, "", f"hugetlb.{PAGE}.max") == "0"
    assert read(cgroups, "", f"hugetlb.{PAGE}.rsvd.max") == "0"
    assert cgroups.stats()["hugetlb"][PAGE] == {"failcnt": 0}
    with pytest.raises(StepError, match="no huge pages of that size") as caught:
        cgroups.set(
            {"hugepageLimits": [*resources["hugepageLimits"], {"pageSize": "3MB", "limit": 0}]}
        )
    assert caught.value.field == "linux.resources.hugepageLimits[1].pageSize"


@pytest.mark.parametrize(
    ("block_io", "field", "why"),
    [
        ({"weight": 5000}, "weight", "out of range"),
        ({"leafWeight": 500}, "leafWeight", "no such file"),
        (
            {"weightDevice": [{"major": 9999, "minor": 1, "weight": 5}]},
            "weightDevice[0].weight",
            "no such block device",
        ),
        ({"weightDevice": [{"major": 9, "minor": 1}]}, "weightDevice[0]", "needs a weight or a"),
        (
            {"throttleReadBpsDevice": [{"major": 9999, "minor": 1, "rate": 5}]},
            "throttleReadBpsDevice[0]",
            "no such block device",
        ),
    ],
)
def test_block_devices_that_can_not_be_limited(
    cgroups: V1, block_io: "dict[str, Any]", field: str, why: str
) -> None:
    cgroups.create({})
    with pytest.raises((ConfigError, StepError), match=why) as caught:
        cgroups.set({"blockIO": block_io})
    assert isinstance(caught.value, ConfigError | StepError)
    assert caught.value.field == "linux.resources.blockIO." + field


def test_a_throttle_slows(cgroups: V1, tmp_path: Path) -> None:
    """On v1 what bypasses the page cache alone is throttled."""
    disk = os.stat(tmp_path).st_dev
    if not Path(f"/sys/dev/block/{os.major(disk)}:{os.minor(disk)}").exists():
        pytest.skip("the temporary directory is on no block device")
    resources = {
        "blockIO": {
            "throttleWriteBpsDevice": [
                {"major": os.major(disk), "minor": os.minor(disk), "rate": MIB}
            ]
        }
    }
    cgroups.create(resources)
    cgroups.set(resources)

    def work() -> None:
        fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
        for _block in range(3):
            os.write(fd, mmap.mmap(-1, 256 * 1024))

    began = time.monotonic()
    assert in_child(cgroups, work) == 0
    assert time.monotonic() - began > 0.4


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"pids": {"limit": 1 << 40}}, "linux.resources.pids.limit"),
        ({"cpu": {"quota": 1}}, "linux.resources.cpu.quota"),
        ({"cpu": {"period": 1}}, "linux.resources.cpu.period"),
        ({"cpu": {"quota": 5000, "burst": 60000}}, "linux.resources.cpu.burst"),
        ({"cpu": {"idle": 7}}, "linux.resources.cpu.idle"),
        ({"cpu": {"realtimeRuntime": 2000000}}, "linux.resources.cpu.realtimeRuntime"),
        ({"cpu": {"mems": "77"}}, "linux.resources.cpu.mems"),
        ({"memory": {"swappiness": 1000}}, "linux.resources.memory.swappiness"),
        ({"memory": {"useHierarchy": False}}, "linux.resources.memory.useHierarchy"),
        (
            {"memory": {"limit": 64 * MIB, "swap": 32 * MIB}},
            "linux.resources.memory.swap",
        ),
    ],
)
def test_a_refused_limit_names_its_field(
    cgroups: V1, resources: "dict[str, Any]", field: str
) -> None:
    with pytest.raises(StepError) as caught:
        cgroups.create(resources)
        cgroups.set(resources)
        cgroups.set_memory(resources)
    assert caught.value.field == field
    assert caught.value.errno == errno.EINVAL
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"cpu": {"shares": 1}}, "linux.resources.cpu.shares"),
        ({"unified": {"memory.high": "1"}}, "linux.resources.unified"),
        ({"rdma": {"mlx5_1": {"hcaHandles": 3}}}, "linux.resources.rdma"),
        ({"network": {"classID": 5}}, "linux.resources.network.classID"),
        (
            {"network": {"priorities": [{"name": "lo", "priority": 0}]}},
            "linux.resources.network.priorities",
        ),
    ],
)
def test_what_cannot_be_limited_is_refused(
    cgroups: V1, resources: "dict[str, Any]", field: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        cgroups.create(resources)
        cgroups.set(resources)
    assert caught.value.field == field


def test_period_and_quota_change_in_any_order(cgroups: V1) -> None:
    """Half a processor each; on the way, one of them alone would exceed the parent's half."""
    cgroups.create({})
    parent = os.path.dirname(cgroups.paths["cpu"])
    Path(parent, "cpu.cfs_quota_us").write_text("50000")
    for quota, period in ((50000, 100000), (5000, 10000), (500000, 1000000)):
        cgroups.set({"cpu": {"quota": quota, "period": period}})
        assert read(cgroups, "cpu", "cpu.cfs_quota_us") == str(quota)
        assert read(cgroups, "cpu", "cpu.cfs_period_us") == str(period)


def test_memory_and_swap_change_in_any_order(cgroups: V1) -> None:
    cgroups.create({})
    for limit, swap in ((100, 200), (300, 400), (50, 60), (60, 60), (50, -1), (-1, -1), (40, 80)):
        wanted = {"limit": limit * MIB if limit > 0 else -1, "swap": swap * MIB if swap > 0 else -1}
        cgroups.set_memory({"memory": wanted})
        for key, file in (
            ("limit", "memory.limit_in_bytes"),
            ("swap", "memory.memsw.limit_in_bytes"),
        ):
            value = int(read(cgroups, "memory", file))
            assert value == wanted[key] if wanted[key] > 0 else value > 1 << 60


def test_unlimited_memory_alone_frees_swap_too(cgroups: V1) -> None:
    cgroups.create({})
    cgroups.set_memory({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}})
    cgroups.set_memory({"memory": {"limit": -1}})
    assert int(read(cgroups, "memory", "memory.memsw.limit_in_bytes")) > 1 << 60


def test_the_oom_killer_is_turned_off_and_on(cgroups: V1) -> None:
    cgroups.create({})
    for disabled in (True, False):
        cgroups.set_memory({"memory": {"disableOOMKiller": disabled}})
        assert f"oom_kill_disable {int(disabled)}" in read(cgroups, "memory", "memory.oom_control")


def test_a_memory_limit_below_the_use_says_both(cgroups: V1) -> None:
    cgroups.create({})

    def work() -> int:
        held = bytearray(os.urandom(1 << 20) * 24)
        usage = int(read(cgroups, "memory", "memory.usage_in_bytes"))
        if usage < len(held):
            return 1
        for extra in ({}, {"checkBeforeUpdate": True}):
            try:
                cgroups.set_memory({"memory": {"limit": 4 * MIB, **extra}})
            except StepError as error:
                said = int(str(error).partition("in use now: ")[2].partition(" ")[0])
                if (error.errno, error.field) != (errno.EBUSY, "linux.resources.memory.limit"):
                    return 2
                if str(4 * MIB) not in str(error) or abs(said - usage) > 4 * MIB:
                    return 3
            else:
                return 4
        return 0

    assert in_child(cgroups, work) == 0


def test_check_before_update_counts_what_could_be_reclaimed(cgroups: V1, tmp_path: Path) -> None:
    cgroups.create({})

    def work() -> None:
        with open(tmp_path / "cached", "wb") as file:
            file.write(bytes(24 * MIB))
            file.flush()
            os.fsync(file.fileno())

    assert in_child(cgroups, work) == 0
    with pytest.raises(StepError, match="in use now"):
        cgroups.set_memory({"memory": {"limit": 8 * MIB, "checkBeforeUpdate": True}})
    cgroups.set_memory({"memory": {"limit": 8 * MIB}})
    assert read(cgroups, "memory", "memory.limit_in_bytes") == str(8 * MIB)


def test_memory_runs_out_and_is_counted(cgroups: V1) -> None:
    cgroups.create({})
    cgroups.set_memory({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}})
    assert cgroups.oom_count() == 0
    assert in_child(cgroups, lambda: len(bytearray(b"x" * (64 * MIB))) and 0) == -9
    assert cgroups.oom_count() == 1
    cgroups.remove()
    assert cgroups.oom_count() is None


def test_processes_run_out(cgroups: V1) -> None:
    resources = {"pids": {"limit": 1}}
    cgroups.create(resources)
    cgroups.set(resources)

    def work() -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        return 0

    assert in_child(cgroups, work) == errno.EAGAIN


# ── devices ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def kmsg(tmp_path: Path) -> Path:
    """A device that no container gets by default."""
    path = tmp_path / "kmsg"
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 11))
    return path


DENY_ALL = {"allow": False, "access": "rwm"}
KMSG = {"allow": True, "type": "c", "major": 1, "minor": 11}


@pytest.mark.parametrize(
    ("rules", "reading", "writing"),
    [
        (None, errno.EPERM, errno.EPERM),
        ([DENY_ALL], errno.EPERM, errno.EPERM),
        ([DENY_ALL, {**KMSG, "access": "r"}], 0, errno.EPERM),
        ([DENY_ALL, {**KMSG, "access": "rw"}], 0, 0),
        ([{**KMSG, "access": "rw"}, DENY_ALL], errno.EPERM, errno.EPERM),
        ([{"allow": True, "access": "rwm"}], 0, 0),
        (
            [{"allow": True, "access": "rwm"}, {**KMSG, "allow": False, "access": "w"}],
            0,
            errno.EPERM,
        ),
        # The kernel takes "a" for everything, whatever follows; that is not what this says.
        ([{"allow": True, "type": "a", "major": 1, "minor": 11, "access": "r"}], 0, errno.EPERM),
        (
            [{"allow": True, "type": "a", "major": 1, "minor": 1, "access": "rwm"}],
            errno.EPERM,
            errno.EPERM,
        ),
    ],
)
def test_devices_open_as_the_rules_say(
    cgroups: V1,
    kmsg: Path,
    rules: "list[dict[str, Any]] | None",
    reading: int,
    writing: int,
) -> None:
    resources = {"devices": rules} if rules is not None else {}
    cgroups.create(resources)
    cgroups.set(resources)

    def opening(path: Path | str, flags: int) -> int:
        return in_child(cgroups, lambda: os.close(os.open(path, flags)))

    assert opening(kmsg, os.O_RDONLY) == reading
    assert opening(kmsg, os.O_WRONLY) == writing
    assert opening("/dev/null", os.O_RDWR) == 0
    assert in_child(cgroups, lambda: os.mknod(f"{kmsg}2", stat.S_IFBLK, os.makedev(7, 99))) == 0


def test_the_list_of_the_default_is_that_of_runc(cgroups: V1) -> None:
    cgroups.create({"devices": [DENY_ALL]})
    cgroups.set({"devices": [DENY_ALL]})
    assert sorted(read(cgroups, "devices", "devices.list").splitlines()) == sorted(
        [f"{kind} *:* m" for kind in "bc"]
        + [f"c 1:{minor} rwm" for minor in (3, 5, 7, 8, 9)]
        + [f"c {device} rwm" for device in ("5:0", "5:2", "10:200", "136:*")]
    )


def test_a_hole_that_the_kernel_would_ignore_is_refused(cgroups: V1) -> None:
    rules = [
        DENY_ALL,
        {"allow": True, "type": "c", "major": 1, "access": "rw"},
        {**KMSG, "allow": False, "access": "w"},
    ]
    cgroups.create({})
    with pytest.raises(ConfigError, match=r"c 1:11 w out of the wider c 1:\* rw") as caught:
        cgroups.set({"devices": rules})
    assert caught.value.field == "linux.resources.devices[2]"


def test_a_device_that_the_parent_denies_names_the_rule(cgroups: V1) -> None:
    cgroups.create({})
    Path(os.path.dirname(cgroups.paths["devices"]), "devices.deny").write_text("c 1:11 rw")
    with pytest.raises(StepError) as caught:
        cgroups.set({"devices": [DENY_ALL, {**KMSG, "access": "rw"}]})
    assert (caught.value.field, caught.value.errno) == ("linux.resources.devices[1]", errno.EPERM)


# ── processes ───────────────────────────────────────────────────────────────────────────────────


def cpu_time_of(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_freeze_and_thaw(cgroups: V1) -> None:
    cgroups.create({})
    assert not cgroups.frozen()
    # It ends by itself, should all else fail.
    loop = "import time\nend = time.monotonic() + 10\nwhile time.monotonic() < end: pass"
    busy = subprocess.Popen([sys.executable, "-IS", "-c", loop])
    try:
        cgroups.join(busy.pid)
        cgroups.freeze()
        assert cgroups.frozen()
        used = cpu_time_of(busy.pid)
        time.sleep(0.1)
        assert cpu_time_of(busy.pid) == used
        cgroups.thaw()
        assert not cgroups.frozen()
        wait_until(lambda: cpu_time_of(busy.pid) > used)
    finally:
        cgroups.kill()
        assert busy.wait(5) == -9


def test_a_parent_that_is_frozen_is_not_our_pause(cgroups: V1) -> None:
    cgroups.create({})
    parent = Path(os.path.dirname(cgroups.paths["freezer"]), "freezer.state")
    parent.write_text("FROZEN")
    assert read(cgroups, "freezer", "freezer.state") == "FROZEN"
    assert not cgroups.frozen()
    parent.write_text("THAWED")


def test_kill_reaches_the_frozen_and_the_nested(
    cgroups: V1, sleeper: "subprocess.Popen[bytes]"
) -> None:
    """Also where the container has frozen a cgroup of its own, outside the unified hierarchy."""
    cgroups.create({})
    below = {name: f"{cgroups.paths[name]}/below" for name in ("devices", "freezer")}
    frozen = Path(below["freezer"], "freezer.state")
    for path in below.values():
        os.mkdir(path)
        Path(path, "cgroup.procs").write_text(str(sleeper.pid))
    frozen.write_text("FROZEN")
    try:
        assert cgroups.pids() == []
        assert cgroups.pids(all=True) == [sleeper.pid]
        cgroups.kill()
        assert sleeper.wait(5) == -9
        assert cgroups.pids(all=True) == []
    finally:
        frozen.write_text("THAWED")


def test_kill_overtakes_a_process_that_hops(cgroups: V1) -> None:
    """It lives on in a child of a new pid before anyone has read the old one.

    There is one of it at a time, it starts inside the limit, and it ends by itself: a test of this
    kind must not be able to run away.
    """
    resources = {"pids": {"limit": 8}}
    cgroups.create(resources)
    cgroups.set(resources)
    # Without the unified hierarchy, whose kernel does all of it at once.
    alone = load({**cgroups.state(), "paths": {k: p for k, p in cgroups.paths.items() if k}})

    def hop() -> None:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)

    assert in_child(cgroups, hop) == 0
    first = cgroups.pids()
    wait_until(lambda: cgroups.pids() not in (first, []))
    alone.kill()
    assert cgroups.pids(all=True) == []
    time.sleep(0.05)
    assert cgroups.pids(all=True) == []


def test_kill_gives_up_on_what_cannot_die(cgroups: V1, sleeper: "subprocess.Popen[bytes]") -> None:
    """A process in a cgroup that is frozen from above does not even take SIGKILL."""
    cgroups.create({})
    cgroups.join(sleeper.pid)
    parent = Path(os.path.dirname(cgroups.paths["freezer"]), "freezer.state")
    parent.write_text("FROZEN")
    try:
        with pytest.raises(StepError, match="1 are still there"):
            processes.kill_all(cgroups.paths["devices"], cgroups.paths["freezer"], timeout=0.1)
    finally:
        parent.write_text("THAWED")
    assert sleeper.wait(5) == -9


# ── what is seen from inside, and hosts that are otherwise ──────────────────────────────────────


def test_mounts_are_the_hierarchies_of_v1(cgroups: V1) -> None:
    entries = {entry.name: entry for entry in cgroups.mounts()}
    assert "unified" not in entries
    assert entries["systemd"].options == "name=systemd"
    assert entries["systemd"].aliases == ()
    assert entries["memory"].path == cgroups.paths["memory"]
    assert entries["memory"].mountpoint == "/sys/fs/cgroup/memory"
    assert len(entries) == len(cgroups.paths) - 1


IN_A_MOUNT_NAMESPACE = """
import sys
sys.path.insert(0, sys.argv[1])
from libcontainer_py.cgroups.manager import manager
from libcontainer_py.errors import Error
try:
    cgroups = manager(None, "lcpy-test-none")
    print(type(cgroups).__name__)
    cgroups.create({"pids": {"limit": 0}})
    cgroups.create({"pids": {"limit": 1}})
except Error as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            "umount -R /sys/fs/cgroup",
            [
                "Disabled",
                "linux.resources.pids: it can't be set without cgroups, and this host has no"
                " cgroup controllers mounted",
            ],
        ),
        (
            "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup",
            [
                "V2",
                "linux.resources.pids: the cgroup /sys/fs/cgroup/lcpy-test-none has no controller"
                ' "pids": this host has none for cgroup v2, or has it mounted for v1',
            ],
        ),
        (
            "for m in /sys/fs/cgroup/*; do mount -o remount,bind,ro $m; done",
            [
                "Disabled",
                "linux.resources.pids: it can't be set without cgroups, and this user may not"
                " make any here",
            ],
        ),
    ],
)
def test_other_hosts(change: str, expected: "list[str]") -> None:
    checkout = str(Path(__file__).resolve().parents[2])
    script = f'mount --make-rprivate /; {change}; exec "$@"'
    python = [sys.executable, "-I", "-S", "-c", IN_A_MOUNT_NAMESPACE, checkout]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *python],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == expected, done.stderr
