"""cgroup v1 while a container runs: changed, measured, watched, entered by a second process."""

import contextlib
import errno
import itertools
import json
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.cgroups import saved
from libcontainer_py.cgroups.disabled import Disabled
from libcontainer_py.cgroups.hugetlb import page_sizes
from libcontainer_py.cgroups.interface import Entrance
from libcontainer_py.cgroups.manager import manager
from libcontainer_py.cgroups.v1 import V1
from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import CLONE_INTO_CGROUP, PR_SET_CHILD_SUBREAPER

if TYPE_CHECKING:
    from tests.conftest import Bundle, Config, Lcpy

pytestmark = [
    pytest.mark.usefixtures("machine_unchanged"),
    pytest.mark.skipif(
        os.path.exists("/sys/fs/cgroup/cgroup.controllers"),
        reason="cgroup v1 is not here: v2 has its controllers",
    ),
]

PREFIX = f"lcpy-test-{os.getpid()}-run"
MIB = 1 << 20
SIGCHLD = 17
DISK = Path("/sys/block", min(os.listdir("/sys/block")), "dev").read_text().strip()
MAJOR, MINOR = map(int, DISK.split(":"))
NO_DISK = {"major": 9999, "minor": 1, "rate": 1}

_numbers = itertools.count()


@pytest.fixture
def cgroups() -> Iterator[V1]:
    """Cgroups below a parent of their own."""
    made = manager(f"/{PREFIX}{next(_numbers)}/inner", "unused")
    assert isinstance(made, V1)
    made.create({})
    yield made
    made.kill()
    made.remove()


@pytest.fixture
def sleeper(cgroups: V1) -> Iterator["subprocess.Popen[bytes]"]:
    """A process inside."""
    with subprocess.Popen(["sleep", "60"]) as process:
        cgroups.join(process.pid)
        yield process
        process.kill()


def read(cgroups: V1, controller: str, file: str) -> str:
    return Path(cgroups.paths[controller], file).read_text().strip()


def through(entrance: Entrance, work: Callable[[], object]) -> int:
    """Run something in a child that walks in; give its exit status, an errno, or -9."""
    assert entrance.unified is not None
    pid, pidfd = syscalls.clone3(CLONE_INTO_CGROUP, SIGCHLD, entrance.unified)
    if pid == 0:
        status = 99
        try:
            entrance.enter()
            status = int(bool(work()))
        except OSError as error:
            status = error.errno or 98
        finally:
            os._exit(status)
    os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ── changed ─────────────────────────────────────────────────────────────────────────────────────


def memory(cgroups: V1) -> tuple[int, int]:
    files = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    limit, swap = (int(read(cgroups, "memory", file)) for file in files)
    return limit, swap


@pytest.mark.parametrize(
    ("steps", "limit", "swap"),
    [
        (
            [{"limit": 64 * MIB, "swap": 96 * MIB}, {"limit": 128 * MIB, "swap": 128 * MIB}],
            128,
            128,
        ),
        ([{"limit": 64 * MIB, "swap": 96 * MIB}, {"limit": 16 * MIB, "swap": 32 * MIB}], 16, 32),
        ([{"limit": 64 * MIB, "swap": 96 * MIB}, {"swap": 80 * MIB}], 64, 80),
        ([{"limit": 64 * MIB, "swap": 96 * MIB}, {"limit": 80 * MIB}], 80, 96),
        ([{"limit": 64 * MIB, "swap": 96 * MIB}, {"limit": -1}], None, None),
        ([{"limit": 64 * MIB, "swap": 96 * MIB}, {"swap": -1}], 64, None),
        ([{"limit": -1, "swap": -1}, {"limit": 32 * MIB, "swap": 32 * MIB}], 32, 32),
    ],
)
def test_memory_and_swap_go_up_and_down(
    cgroups: V1, steps: "list[dict[str, int]]", limit: "int | None", swap: "int | None"
) -> None:
    for step in steps:
        cgroups.update({"memory": step})
    now = memory(cgroups)
    for value, wanted in zip(now, (limit, swap), strict=True):
        assert value == wanted * MIB if wanted is not None else value > 1 << 60


def test_what_is_not_given_stays(cgroups: V1) -> None:
    cgroups.update({"cpu": {"quota": 50000, "period": 200000, "shares": 77}, "pids": {"limit": 9}})
    cgroups.update({"cpu": {"quota": 20000}})
    cgroups.update({"cpu": {}, "memory": {}, "pids": {"limit": None}, "blockIO": {"weight": 0}})
    assert read(cgroups, "cpu", "cpu.cfs_quota_us") == "20000"
    assert read(cgroups, "cpu", "cpu.cfs_period_us") == "200000"
    assert read(cgroups, "cpu", "cpu.shares") == "77"
    assert read(cgroups, "pids", "pids.max") == "9"
    cgroups.update({"cpu": {"quota": -1}, "pids": {"limit": -1}})
    assert read(cgroups, "cpu", "cpu.cfs_quota_us") == "-1"
    assert read(cgroups, "pids", "pids.max") == "max"


def test_idle_and_back(cgroups: V1) -> None:
    for idle, shares in ((1, None), (1, 50), (0, 90)):
        cgroups.update({"cpu": {"idle": idle} | ({"shares": shares} if shares else {})})
        assert read(cgroups, "cpu", "cpu.idle") == str(idle)
    assert read(cgroups, "cpu", "cpu.shares") == "90"


def test_a_burst_comes_and_goes(cgroups: V1) -> None:
    cgroups.update({"cpu": {"quota": 50000, "burst": 40000}})
    assert read(cgroups, "cpu", "cpu.cfs_burst_us") == "40000"
    cgroups.update({"cpu": {"burst": 0}})
    assert read(cgroups, "cpu", "cpu.cfs_burst_us") == "0"


def test_the_devices_stay_as_they_are(cgroups: V1) -> None:
    cgroups.set(
        {"devices": [{"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"}]}
    )
    before = read(cgroups, "devices", "devices.list")
    cgroups.update({"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 5}})
    assert read(cgroups, "devices", "devices.list") == before
    assert "c 10:229 r" in before


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"memory": {"swappiness": 500}}, "memory.swappiness"),
        ({"memory": {"limit": 256 * MIB}}, "memory.limit"),
        ({"blockIO": {"throttleReadBpsDevice": [NO_DISK]}}, "blockIO.throttleReadBpsDevice[0]"),
        ({"unified": {"memory.high": "1"}}, "unified"),
        ({"network": {"classID": 7}}, "network.classID"),
    ],
)
def test_what_was_changed_before_the_refusal_is_put_back(
    cgroups: V1, resources: "dict[str, Any]", field: str
) -> None:
    throttle = {"major": MAJOR, "minor": MINOR, "rate": 5000}
    before = {
        "pids": {"limit": 40},
        "cpu": {"quota": 50000, "period": 100000, "burst": 10000, "shares": 100, "cpus": "0"},
        "memory": {"limit": 64 * MIB, "swap": 96 * MIB},
        "blockIO": {"weight": 100, "throttleWriteBpsDevice": [throttle]},
    }
    change: dict[str, Any] = {
        "pids": {"limit": 20},
        "cpu": {"quota": 5000, "period": 10000, "burst": 0, "shares": 200, "cpus": "0-1"},
        "memory": {"limit": 16 * MIB, "swap": 32 * MIB, "disableOOMKiller": True},
        "blockIO": {
            "weight": 200,
            "throttleWriteBpsDevice": [throttle | {"rate": 7000}],
            "throttleWriteIOPSDevice": [throttle],
        },
    }
    cgroups.update(before)
    files = saved.files_v1(change, cgroups.paths)
    texts = {file: Path(file).read_text() for file in files if os.path.exists(file)}
    for part, values in resources.items():
        change[part] = change.get(part, {}) | values
    if "limit" in resources.get("memory", {}):
        del change["memory"]["swap"]  # above what both may be together
    with pytest.raises((StepError, ConfigError)) as caught:
        cgroups.update(change)
    assert isinstance(caught.value, ConfigError | StepError)
    assert caught.value.field == "linux.resources." + field
    assert {file: Path(file).read_text() for file in texts} == texts
    assert not getattr(caught.value, "__notes__", [])


@pytest.fixture
def bfq() -> Iterator[dict[str, int]]:
    """A block device with the scheduler that knows weights of single devices."""
    for device in sorted(Path("/sys/block").glob("loop*"), reverse=True):
        scheduler = device / "queue/scheduler"
        before = re.findall(r"\[(.*)\]", scheduler.read_text())
        if not (device / "loop/backing_file").exists() and "bfq" in scheduler.read_text():
            scheduler.write_text("bfq")
            major, minor = map(int, (device / "dev").read_text().split(":"))
            yield {"major": major, "minor": minor}
            scheduler.write_text(before[0])
            return
    pytest.skip("there is no spare block device with the scheduler BFQ")


def test_the_weight_of_one_device(cgroups: V1, bfq: "dict[str, int]") -> None:
    cgroups.update({"blockIO": {"weight": 333, "weightDevice": [bfq | {"weight": 444}]}})
    device = f"{bfq['major']}:{bfq['minor']}"
    wanted = ["default 333", f"{device} 444"]
    assert read(cgroups, "blkio", "blkio.bfq.weight_device").splitlines() == wanted
    for weights in ([bfq | {"weight": 222}, bfq | {"weight": 5000}], [bfq | {"leafWeight": 5}]):
        with pytest.raises(StepError) as caught:
            cgroups.update({"blockIO": {"weight": 111, "weightDevice": weights}})
        assert str(caught.value.field).startswith("linux.resources.blockIO.weightDevice[")
        assert read(cgroups, "blkio", "blkio.bfq.weight_device").splitlines() == wanted


def test_what_can_not_be_put_back_is_said(cgroups: V1, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, _value: object) -> None:
        raise StepError(None, errno.EIO, f"write {path}")

    monkeypatch.setattr(saved, "write", refuse)
    with pytest.raises(StepError) as caught:
        cgroups.update({"pids": {"limit": 3}, "memory": {"swappiness": 500}})
    (note,) = caught.value.__notes__
    assert note.startswith("it could not be put back: write ")
    assert "pids.max" in note


# ── measured ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def runcs(tmp_path: Path) -> Iterator[tuple[Callable[..., str], V1]]:
    """A container of the installed runc: how to call that, and the container's cgroups."""
    busybox = shutil.which("busybox")
    assert busybox
    (tmp_path / "rootfs/proc").mkdir(parents=True)
    shutil.copy(busybox, tmp_path / "rootfs/busybox")
    subprocess.run(["runc", "spec"], cwd=tmp_path, check=True, timeout=30)
    config = json.loads((tmp_path / "config.json").read_text())
    loop = "while :; do /busybox cat /proc/self/stat >/tmp; done"
    config["process"].update(terminal=False, args=["/busybox", "sh", "-c", f"{loop} 2>/dev/null"])
    config["mounts"] = [m for m in config["mounts"] if m["type"] == "proc"]
    name = f"{PREFIX}{next(_numbers)}"
    config["linux"]["cgroupsPath"] = f"/{name}"
    config["linux"]["resources"] |= {
        "cpu": {"quota": 5000, "period": 10000},
        "memory": {"limit": 64 * MIB, "swap": 64 * MIB},
        "pids": {"limit": 50},
        "blockIO": {"throttleReadBpsDevice": [{"major": MAJOR, "minor": MINOR, "rate": 1 << 30}]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))

    def runc(*words: str) -> str:
        argv = ["timeout", "30", "runc", "--root", str(tmp_path / "state"), *words]
        with open(tmp_path / "out", "w+") as out:
            subprocess.run(argv, cwd=tmp_path, check=True, stdin=subprocess.DEVNULL, stdout=out)
            out.seek(0)
            return out.read()

    cgroups = manager(f"/{name}", "unused")
    assert isinstance(cgroups, V1)
    syscalls.prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        runc("run", "--detach", name)
        yield lambda *words: runc(*words, name), cgroups
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            runc("delete", "--force", name)
        syscalls.prctl(PR_SET_CHILD_SUBREAPER, 0)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, 0):
                pass


def leaves(data: Any, at: str = "") -> "list[tuple[str, Any]]":
    """Every number, by its path, in order: that of the members, too, is runc's."""
    if not isinstance(data, dict | list):
        return [(at, data)]
    members = data.items() if isinstance(data, dict) else enumerate(data)
    return [(at, type(data))] + [
        leaf for key, value in members for leaf in leaves(value, f"{at}.{key}")
    ]


def test_the_statistics_are_those_of_runc(runcs: "tuple[Callable[..., str], V1]") -> None:
    """Of the same container, while it does not move."""
    runc, cgroups = runcs
    end = time.monotonic() + 10
    while not cgroups.stats()["cpu"]["throttling"].get("throttledPeriods"):
        assert time.monotonic() < end
        time.sleep(0.05)
    runc("pause")
    for _attempt in range(10):
        ours = json.loads(json.dumps(cgroups.stats()))
        theirs = json.loads(runc("events", "--stats"))["data"]
        again = json.loads(json.dumps(cgroups.stats()))
        if ours == again:
            break
    # The caller knows the interfaces. Huge pages are in the unified hierarchy, if anywhere: runc
    # does not look there.
    assert theirs.pop("network_interfaces") is None
    assert theirs.pop("hugetlb") == {}
    assert set(ours.pop("hugetlb")) <= {*page_sizes()}
    assert leaves(ours) == leaves(theirs)
    assert ours["cpu"]["throttling"]["throttledPeriods"] > 0
    assert ours["pids"]["limit"] == 50
    runc("resume")


def test_the_statistics_of_nothing() -> None:
    data = Disabled("there are none").stats()
    zero = {"limit": 0, "failcnt": 0}
    assert data["memory"] == dict.fromkeys(("usage", "swap", "kernel", "kernelTCP"), zero)
    assert (data["pids"], data["blkio"], data["intel_rdt"]) == ({}, {}, {})
    assert data["cpu"] == {"usage": {"kernel": 0, "user": 0}, "throttling": {}}


def test_room_for_tasks(cgroups: V1, sleeper: "subprocess.Popen[bytes]") -> None:
    assert cgroups.pids_room() is None
    cgroups.update({"pids": {"limit": 5}})
    assert cgroups.pids_room() == 4
    parent = Path(cgroups.paths["pids"]).parent / "pids.max"
    parent.write_text("1")
    assert cgroups.pids_room() == 0
    parent.write_text("max")
    cgroups.update({"pids": {"limit": 1}})
    assert cgroups.pids_room() == 0


# ── watched ─────────────────────────────────────────────────────────────────────────────────────


def news(fd: int, seconds: float) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])


def test_memory_that_runs_out_is_told(cgroups: V1) -> None:
    cgroups.update({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}})
    watch = cgroups.watch_oom()
    entrance = cgroups.entrance()
    try:
        assert (news(watch.fileno(), 0), watch.count(), watch.gone()) == (False, 0, False)
        assert through(entrance, lambda: bytearray(b"x") * (64 * MIB)) == -9
        assert news(watch.fileno(), 5)
        assert watch.count() >= 1
        assert (watch.count(), watch.gone()) == (0, False)
        cgroups.remove()
        assert news(watch.fileno(), 5)
        assert (watch.count(), watch.gone()) == (0, True)
    finally:
        entrance.close()
        watch.close()


def test_a_host_without_memory_accounting_has_no_news(cgroups: V1) -> None:
    alone = V1({"pids": cgroups.paths["pids"]}, cgroups.hierarchies)
    for each in (alone, Disabled("there are none")):
        with pytest.raises(StepError, match="memory controller missing"):
            each.watch_oom()
    alone.paths["memory"] = cgroups.paths["memory"] + "/none"
    before = os.listdir("/proc/self/fd")
    with pytest.raises(StepError, match="no such file"):
        alone.watch_oom()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("missing", ["freezer", "everything"])
def test_what_can_not_be_paused(cgroups: V1, missing: str) -> None:
    """In runc's words."""
    paths = {name: path for name, path in cgroups.paths.items() if name != "freezer"}
    alone = V1(paths, cgroups.hierarchies) if missing == "freezer" else Disabled("there are none")
    for method in (alone.freeze, alone.thaw):
        with pytest.raises(StepError, match=r"^cannot toggle freezer: cgroups not configured for"):
            method()
    assert not alone.frozen()


# ── gone, with what it nested ──────────────────────────────────────────────────────────────────

NEST = """
for controller in pids devices freezer memory; do
    cd /sys/fs/cgroup/$controller
    mkdir -p a/b c
    sleep 100 & echo $! >a/b/cgroup.procs
    sleep 100 & echo $! >c/cgroup.procs
done
echo FROZEN >/sys/fs/cgroup/freezer/a/freezer.state
echo FROZEN >/sys/fs/cgroup/freezer/c/freezer.state
echo done
sleep 100
"""


@pytest.mark.parametrize("how", ["delete --force", "kill"])
def test_a_container_that_nests_and_freezes_cgroups_goes(
    lcpy: "Lcpy", bundle: "Bundle", how: str
) -> None:
    """With and without a pid namespace, whose end would be that of all."""

    def change(config: "Config") -> None:
        for mount in config["mounts"]:
            if mount["destination"] == "/sys/fs/cgroup":
                mount["options"].remove("ro")
        if how == "kill":
            kinds = [each for each in config["linux"]["namespaces"] if each["type"] != "pid"]
            config["linux"]["namespaces"] = kinds

    name = lcpy.new_id()
    syscalls.prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        lcpy("create", "--bundle", bundle("sh", "-c", NEST, change=change), name, check=True)
        lcpy("start", name, check=True)
        end = time.monotonic() + 10
        frozen = Path("/sys/fs/cgroup/freezer", name, "c/freezer.state")
        while not frozen.exists() or frozen.read_text() != "FROZEN\n":
            assert time.monotonic() < end
            time.sleep(0.02)
        began = time.monotonic()
        if how == "kill":
            lcpy("kill", name, "KILL", check=True)
            lcpy.wait_for(name, "stopped")
            lcpy("delete", name, check=True)
        else:
            lcpy("delete", "--force", name, check=True)
        assert time.monotonic() - began < 8
        assert not list(Path("/sys/fs/cgroup").glob(f"*/{name}"))
    finally:
        syscalls.prctl(PR_SET_CHILD_SUBREAPER, 0)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


# ── entered by a second process ─────────────────────────────────────────────────────────────────


def membership(process: "int | str" = "self") -> dict[str, str]:
    """A process's cgroup by controller, below its mount point."""
    found = {}
    for line in Path(f"/proc/{process}/cgroup").read_text().splitlines():
        _number, names, path = line.split(":", 2)
        found.update(dict.fromkeys(names.split(","), path))
    return found


def expected(cgroups: V1, **sub: str) -> dict[str, str]:
    return {
        name: path.removeprefix(cgroups._mountpoint(name)) + sub.get(name, "")
        for name, path in cgroups.paths.items()
    }


@pytest.mark.parametrize("sub", [{}, {"": "/"}, {"cpu": "."}])
def test_the_container_s_own(
    cgroups: V1, sleeper: "subprocess.Popen[bytes]", sub: "dict[str, str]"
) -> None:
    entrance = cgroups.exec_entrance(sleeper.pid, sub)
    try:
        assert {path for _fd, path in entrance.tasks} == {
            f"{path}/tasks" for name, path in cgroups.paths.items() if name
        }
        assert through(entrance, lambda: membership() != expected(cgroups)) == 0
    finally:
        entrance.close()


def test_another_process_is_let_in(cgroups: V1, sleeper: "subprocess.Popen[bytes]") -> None:
    entrance = cgroups.exec_entrance(sleeper.pid, {})
    try:
        with subprocess.Popen(["sleep", "60"]) as other:
            entrance.admit(other.pid)
            assert membership(other.pid) == expected(cgroups)
            other.kill()
        with pytest.raises(StepError, match=r"join .*no such process"):
            entrance.admit(other.pid)
    finally:
        entrance.close()


def test_some_below(cgroups: V1, sleeper: "subprocess.Popen[bytes]") -> None:
    for name in ("memory", "cpu"):
        os.mkdir(cgroups.paths[name] + "/sub")
    entrance = cgroups.exec_entrance(sleeper.pid, {"memory": "sub", "cpu": "/sub/"})
    try:
        wanted = expected(cgroups, memory="/sub", cpu="/sub")
        assert through(entrance, lambda: membership() != wanted) == 0
    finally:
        entrance.close()


def test_all_below(cgroups: V1, sleeper: "subprocess.Popen[bytes]") -> None:
    """But those that a container does not see, and so can't have made."""
    names = [name for name in cgroups.paths if name not in ("", "name=systemd")]
    for name in names:
        os.mkdir(cgroups.paths[name] + "/a")
    for file in ("cpuset.cpus", "cpuset.mems"):  # a new one of v1 has none, and lets nobody in
        Path(cgroups.paths["cpuset"], "a", file).write_text("0")
    entrance = cgroups.exec_entrance(sleeper.pid, {"": "a"})
    try:
        wanted = expected(cgroups, **dict.fromkeys(names, "/a"))
        assert through(entrance, lambda: membership() != wanted) == 0
    finally:
        entrance.close()


@pytest.mark.parametrize(
    ("sub", "error", "words"),
    [
        ({"": ".."}, ConfigError, r"^bad sub cgroup path: \.\.$"),
        ({"cpu": "a/../../b"}, ConfigError, "^bad sub cgroup path: "),
        ({"whaaat": "/"}, ConfigError, "^unknown controller whaaat in SubCgroupPaths$"),
        ({"": "none"}, StepError, "error adding pid .* to cgroups: .*no such file or directory"),
        ({"cpu": "none"}, StepError, "error adding pid .*/cpu/.*no such file or directory"),
    ],
)
def test_where_no_second_process_can_go(
    cgroups: V1,
    sleeper: "subprocess.Popen[bytes]",
    sub: "dict[str, str]",
    error: "type[Exception]",
    words: str,
) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(error, match=words):
        cgroups.exec_entrance(sleeper.pid, sub)
    assert os.listdir("/proc/self/fd") == before


def test_without_cgroups_there_are_none_to_enter() -> None:
    none = Disabled("there are none")
    entrance = none.exec_entrance(1, {})
    assert (entrance.tasks, entrance.unified, entrance.procs) == ([], None, None)
    for sub, words in (({"cpu": "a"}, "unknown controller cpu"), ({"": "a"}, "there are none")):
        with pytest.raises(ConfigError, match=words):
            none.exec_entrance(1, sub)


def test_on_v1_nobody_is_given_anything(cgroups: V1) -> None:
    cgroups.delegate(1000)
    assert {os.stat(path).st_uid for path in cgroups.paths.values()} == {0}
