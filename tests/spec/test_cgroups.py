"""`linux.cgroupsPath` and `linux.resources`: the files of the host, and what they do."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.cgroups.hugetlb import page_sizes

if TYPE_CHECKING:
    from tests.conftest import Config
    from tests.spec.conftest import Box, Change

CGROUPS = Path("/sys/fs/cgroup")
UNIFIED = (CGROUPS / "cgroup.controllers").exists()  # cgroup v2 alone


def hierarchies() -> list[str]:
    """One controller of each hierarchy; v2 has but one, for all of them."""
    if UNIFIED:
        return [""]
    names = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "pids", "blkio")
    return [name for name in names if (CGROUPS / name).is_dir()]


def mountpoint(controller: str) -> Path:
    """Where a controller's hierarchy is mounted."""
    return CGROUPS if UNIFIED else CGROUPS / (controller or "unified")


def cgroup_of(process: int | str, controller: str) -> Path:
    """The cgroup that a process is in."""
    for line in Path(f"/proc/{process}/cgroup").read_text().splitlines():
        number, names, path = line.split(":", 2)
        if number == "0" if UNIFIED else controller in names.split(","):
            return mountpoint(controller) / path.lstrip("/")
    raise AssertionError(f"no {controller}")


def around(controller: str) -> Path:
    """The cgroup that relative paths are below: this process's own, or on v2 the one around it."""
    own = cgroup_of("self", controller)
    return own.parent if UNIFIED and own != CGROUPS else own


def present(name: str) -> list[str]:
    """The cgroups that have a name in theirs. Others' come and go meanwhile, and may."""
    return [path for path, _, _ in os.walk(CGROUPS) if name in os.path.basename(path)]


class Created:
    """Created containers, deleted at the end."""

    def __init__(self, box: "Box") -> None:
        self.box = box
        self.ids: list[str] = []

    def __call__(self, *args: str, change: "Change | None" = None, **options: Any) -> str:
        bundle = self.box.bundle(args or ("true",), change, **options)
        container = self.box.lcpy.new_id()
        self.ids.append(container)
        self.box.lcpy("create", "--bundle", bundle, container, check=True)
        return container

    def pid(self, container: str) -> int:
        return int(self.box.lcpy.state(container)["pid"])

    def cgroup(self, container: str, controller: str) -> Path:
        return cgroup_of(self.pid(container), controller)

    def read(self, container: str, controller: str, name: str) -> str:
        return (self.cgroup(container, controller) / name).read_text().strip()


@pytest.fixture(autouse=True)
def handed_down() -> Iterator[None]:
    """On a hybrid host, leave the root of the unified hierarchy as it was."""
    control = CGROUPS / "unified/cgroup.subtree_control"
    before = control.read_text().split() if control.exists() else []
    yield
    for controller in control.read_text().split() if control.exists() else []:
        if controller not in before:
            with contextlib.suppress(OSError):  # another run needs it
                control.write_text("-" + controller)


@pytest.fixture
def created(box: "Box") -> Iterator[Created]:
    """Create containers that wait."""
    containers = Created(box)
    yield containers
    for container in containers.ids:
        box.lcpy("delete", "--force", container, check=True)
        assert not present(container)


def resources(path: str | None = None, **fields: Any) -> "Change":
    def change(config: "Config") -> None:
        config["linux"]["resources"].update(fields)
        if path is not None:
            config["linux"]["cgroupsPath"] = path

    return change


# --- where ------------------------------------------------------------------------------------


def test_without_a_path_it_is_the_id_below_the_caller_s(created: Created) -> None:
    """Or beside it, on v2: a cgroup with processes hands nothing down."""
    container = created()
    for name in hierarchies():
        assert created.cgroup(container, name) == around(name) / container


def test_an_absolute_path_is_below_the_mount_point(created: Created, box: "Box") -> None:
    """With parents that are made for it, and removed with it."""
    name = box.lcpy.new_id()
    container = created(change=resources(f"/{name}-a/b/{name}"))
    for controller in hierarchies():
        wanted = mountpoint(controller) / f"{name}-a/b/{name}"
        assert created.cgroup(container, controller) == wanted
    box.lcpy("delete", "--force", container, check=True)
    assert not present(f"{name}-a")


def test_a_relative_path_is_below_the_caller_s(created: Created, box: "Box") -> None:
    name = box.lcpy.new_id()
    container = created(change=resources(f"{name}-a/{name}"))
    for controller in hierarchies():
        assert created.cgroup(container, controller) == around(controller) / f"{name}-a/{name}"
    box.lcpy("delete", "--force", container, check=True)
    assert not present(f"{name}-a")


def test_no_process_of_the_container_is_elsewhere(box: "Box") -> None:
    """Nor were its first ones at any time: children, too, are in all of its cgroups."""
    name = box.lcpy.new_id()

    def change(config: "Config") -> None:
        kinds = [each for each in config["linux"]["namespaces"] if each["type"] != "cgroup"]
        config["linux"] |= {"cgroupsPath": f"/{name}", "namespaces": kinds}

    said = box.sh("cat /proc/self/cgroup", change=change)
    assert said
    for line in said.splitlines():
        _, names, path = line.split(":", 2)
        assert path == f"/{name}", names


def test_two_containers_can_not_share_one(created: Created, box: "Box") -> None:
    path = f"/{box.lcpy.new_id()}"
    first = created(change=resources(path))
    inner = created.cgroup(first, "pids") / "inner"
    inner.mkdir()
    bundle = box.bundle(["true"], resources(path))
    # It does not wait for the other to go away, which it never does.
    done = box.lcpy("create", "--bundle", bundle, box.lcpy.new_id(), timeout=20)
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert inner.is_dir()  # nor takes anything away from it


@pytest.mark.parametrize("path", ["../x", "/a/../../b", "/", "a\nb"])
def test_a_path_that_would_lead_elsewhere_is_refused(box: "Box", path: str) -> None:
    assert "linux.cgroupsPath" in box.refused(change=resources(path))


def test_the_cgroups_seen_from_inside_are_the_container_s(box: "Box") -> None:
    """Read-only, and no other container's."""
    inside = "/sys/fs/cgroup" if UNIFIED else "/sys/fs/cgroup/pids"
    script = f"cat {inside}/pids.max; mkdir {inside}/x 2>&1; true"
    said = box.lines(script, change=resources(pids={"limit": 77}))
    assert said[0] == "77"
    assert "Read-only file system" in said[1]


# --- what is written --------------------------------------------------------------------------

MIB = 1 << 20
DISK = Path("/sys/block", min(os.listdir("/sys/block")), "dev").read_text().strip()
THROTTLE = {"major": int(DISK.split(":")[0]), "minor": int(DISK.split(":")[1]), "rate": 9000}
PAGE = page_sizes()[0]

# What is asked for, and (controller, file, value) of v1 and of v2; None where v2 has no such thing.
Place = tuple[str, str, object]
LIMITS: list[tuple[str, Any, Place, Place | None]] = [
    (
        "memory",
        {"limit": 64 * MIB},
        ("memory", "memory.limit_in_bytes", 64 * MIB),
        ("memory", "memory.max", 64 * MIB),
    ),
    (
        "memory",
        {"reservation": 16 * MIB},
        ("memory", "memory.soft_limit_in_bytes", 16 * MIB),
        ("memory", "memory.low", 16 * MIB),
    ),
    (
        "memory",
        {"disableOOMKiller": True},
        ("memory", "memory.oom_control", "oom_kill_disable 1"),
        None,
    ),
    ("memory", {"swappiness": 7}, ("memory", "memory.swappiness", 7), None),
    ("cpu", {"shares": 512}, ("cpu", "cpu.shares", 512), ("cpu", "cpu.weight", 59)),
    (
        "cpu",
        {"quota": 20000, "period": 50000},
        ("cpu", "cpu.cfs_quota_us", 20000),
        ("cpu", "cpu.max", "20000 50000"),
    ),
    (
        "cpu",
        {"quota": 20000, "period": 50000},
        ("cpu", "cpu.cfs_period_us", 50000),
        ("cpu", "cpu.max", "20000 50000"),
    ),
    (
        "cpu",
        {"quota": 20000, "burst": 10000},
        ("cpu", "cpu.cfs_burst_us", 10000),
        ("cpu", "cpu.max.burst", 10000),
    ),
    ("cpu", {"idle": 1}, ("cpu", "cpu.idle", 1), ("cpu", "cpu.idle", 1)),
    ("cpu", {"cpus": "0"}, ("cpuset", "cpuset.cpus", 0), ("cpuset", "cpuset.cpus", 0)),
    ("cpu", {"mems": "0"}, ("cpuset", "cpuset.mems", 0), ("cpuset", "cpuset.mems", 0)),
    ("pids", {"limit": 23}, ("pids", "pids.max", 23), ("pids", "pids.max", 23)),
    ("pids", {"limit": -1}, ("pids", "pids.max", "max"), ("pids", "pids.max", "max")),
    (
        "blockIO",
        {"throttleReadBpsDevice": [THROTTLE]},
        ("blkio", "blkio.throttle.read_bps_device", f"{DISK} 9000"),
        ("io", "io.max", f"{DISK} rbps=9000 wbps=max riops=max wiops=max"),
    ),
    (
        "blockIO",
        {"throttleWriteIOPSDevice": [THROTTLE]},
        ("blkio", "blkio.throttle.write_iops_device", f"{DISK} 9000"),
        ("io", "io.max", f"{DISK} rbps=max wbps=max riops=max wiops=9000"),
    ),
    (
        "hugepageLimits",
        [{"pageSize": PAGE, "limit": 0}],
        ("", f"hugetlb.{PAGE}.max", 0),  # a hybrid host
        ("hugetlb", f"hugetlb.{PAGE}.max", 0),
    ),
]


@pytest.mark.parametrize(("kind", "fields", "v1", "v2"), LIMITS)
def test_limits_are_in_the_files(
    created: Created, box: "Box", kind: str, fields: Any, v1: Place, v2: Place | None
) -> None:
    """A limit that v2 has not is refused there, by name."""
    limits = {kind: fields}
    if UNIFIED and v2 is None:
        error = box.refused(change=resources(**limits))
        assert f"linux.resources.{kind}.{next(iter(fields))}" in error
        return
    controller, file, value = v2 if UNIFIED and v2 is not None else v1
    container = created(change=resources(**limits))
    said = created.read(container, controller, file)
    assert str(value) in said.splitlines() if "\n" in said else said == str(value)


def test_absent_limits_are_the_kernel_s(created: Created) -> None:
    container = created()
    assert created.read(container, "pids", "pids.max") == "max"
    if UNIFIED:
        assert created.read(container, "cpu", "cpu.max") == "max 100000"
        assert created.read(container, "memory", "memory.max") == "max"
        assert created.read(container, "cpuset", "cpuset.cpus") == ""
        return
    assert created.read(container, "cpu", "cpu.cfs_quota_us") == "-1"
    assert int(created.read(container, "memory", "memory.limit_in_bytes")) > 1 << 60
    for file in ("cpuset.cpus", "cpuset.mems"):
        said = created.read(container, "cpuset", file)
        assert said == (around("cpuset") / file).read_text().strip()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        *([] if UNIFIED else [({"cpu": {"shares": 1 << 63}}, "linux.resources.cpu.shares")]),
        ({"cpu": {"cpus": "99999"}}, "linux.resources.cpu.cpus"),
        ({"cpu": {"mems": "nonsense"}}, "linux.resources.cpu.mems"),
        ({"cpu": {"quota": 1}}, "linux.resources.cpu.quota"),
        ({"memory": {"limit": 1 << 20, "swap": 1 << 19}}, "linux.resources.memory.swap"),
        ({"memory": {"swappiness": 101}}, "linux.resources.memory.swappiness"),
        (
            {"blockIO": {"throttleReadBpsDevice": [THROTTLE | {"major": 9999}]}},
            "linux.resources.blockIO.throttleReadBpsDevice[0]",
        ),
        (
            {"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]},
            "linux.resources.hugepageLimits[0].pageSize",
        ),
        ({"rdma": {"none": {"hcaHandles": 1}}}, "linux.resources.rdma"),
        ({"network": {"classID": 1}}, "linux.resources.network.classID"),
        (
            {"network": {"priorities": [{"name": "none", "priority": 1}]}},
            "linux.resources.network.priorities",
        ),
    ],
)
def test_limits_that_are_refused(box: "Box", fields: dict[str, Any], field: str) -> None:
    """By name; and everything made so far is gone again."""
    name = box.lcpy.new_id()
    assert field in box.refused(change=resources(f"/{name}", **fields))
    assert not present(name)


# --- what it does -----------------------------------------------------------------------------


def test_the_pids_limit_stops_forks(box: "Box") -> None:
    """Eight are tried, four may be: the shell is one."""
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done 2>/dev/null; echo no"
    done = box.run("sh", "-c", script, change=resources(pids={"limit": 4}))
    assert "no" not in done.stdout or done.returncode != 0
    script = "for i in 1 2 3; do sleep 0 & done; wait; echo well"
    assert box.sh(script, change=resources(pids={"limit": 4})) == "well\n"


def test_the_memory_limit_kills(box: "Box") -> None:
    hungry = "head -c 20000000 /dev/zero | tail -c 20000000 | wc -c; true"
    limited = resources(memory={"limit": 8 * MIB, "swap": 8 * MIB})
    assert box.run("sh", "-c", hungry).stdout == "20000000\n"
    assert box.run("sh", "-c", hungry, change=limited).stdout != "20000000\n"


def test_a_small_memory_limit_is_set_when_python_is_gone(created: Created) -> None:
    """One that no Python could start in is fine for a small program."""
    container = created("true", change=resources(memory={"limit": 2 * MIB}))
    file = "memory.max" if UNIFIED else "memory.limit_in_bytes"
    assert created.read(container, "memory", file) == str(2 * MIB)
    assert created.box.lcpy("start", container).returncode == 0


def test_the_cpu_quota_slows(created: Created) -> None:
    """A tenth of a processor: the cgroup was throttled."""
    change = resources(cpu={"quota": 1000, "period": 10000})
    container = created("timeout", "1", "sh", "-c", "while :; do :; done", change=change)
    cgroup = created.cgroup(container, "cpu")
    created.box.lcpy("start", container, check=True)
    end = time.monotonic() + 10
    while "nr_throttled 0" in (cgroup / "cpu.stat").read_text().splitlines():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_cpuset_holds(box: "Box") -> None:
    change = resources(cpu={"cpus": "1"})
    said = box.lines("grep Cpus_allowed_list /proc/self/status", change=change)
    assert said == ["Cpus_allowed_list:\t1"]


# --- devices ----------------------------------------------------------------------------------

FUSE = {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}
DENY_ALL = {"allow": False, "access": "rwm"}


def devices(*rules: dict[str, Any]) -> "Change":
    def change(config: "Config") -> None:
        config["linux"]["resources"]["devices"] = list(rules)
        config["linux"]["devices"] = [FUSE]
        for kind in ("bounding", "permitted", "effective"):
            config["process"]["capabilities"][kind].append("CAP_MKNOD")

    return change


def rule(access: str, allow: bool = True) -> dict[str, Any]:
    return {"allow": allow, "type": "c", "major": 10, "minor": 229, "access": access}


OPEN = "true <>/dev/fuse && echo opened; mknod /dev/new c 10 229 && echo made; true"


@pytest.mark.parametrize(
    ("rules", "able"),
    [
        ((DENY_ALL,), ["made"]),
        ((), ["made"]),
        ((DENY_ALL, rule("rw")), ["opened", "made"]),
        (({"allow": True, "access": "rwm"},), ["opened", "made"]),
        (({"allow": True, "access": "rwm"}, rule("rwm", allow=False)), []),
        ((DENY_ALL, rule("rwm"), rule("w", allow=False)), ["made"]),
    ],
)
def test_device_rules(box: "Box", rules: tuple[dict[str, Any], ...], able: list[str]) -> None:
    """In their order. Without a rule nothing but the default devices may be opened; nodes of all
    kinds may be made, as with runc.
    """
    done = box.run("sh", "-c", OPEN, change=devices(*rules))
    assert (done.returncode, done.stdout.split()) == (0, able)
    theirs = box.run("sh", "-c", OPEN, change=devices(*rules), runtime="runc")
    assert theirs.stdout.split() == able


def test_the_default_devices_are_always_allowed(created: Created, box: "Box") -> None:
    opened = "for d in null zero full random urandom; do true <>/dev/$d && echo $d; done"
    said = box.lines(opened, change=devices(DENY_ALL))
    assert said == ["null", "zero", "full", "random", "urandom"]
    if UNIFIED:
        return
    container = created(change=devices(DENY_ALL))
    rules = set(created.read(container, "devices", "devices.list").splitlines())
    assert {"c 1:3 rwm", "c 1:5 rwm", "c 5:0 rwm", "c 136:* rwm", "c *:* m", "b *:* m"} <= rules
    assert "a *:* rwm" not in rules


def test_a_rule_that_says_nothing_is_refused(box: "Box") -> None:
    error = box.refused(change=devices({"allow": True, "type": "c", "major": 1, "access": "x"}))
    assert "linux.resources.devices[0].access" in error


def test_the_cgroups_of_this_process_are_as_they_were(box: "Box") -> None:
    """What a container is given is never taken from its caller."""
    before = [cgroup_of("self", name) for name in hierarchies()]
    box.sh("true", change=resources(memory={"limit": 64 * MIB}, cpu={"cpus": "0"}))
    assert [cgroup_of("self", name) for name in hierarchies()] == before
    for cgroup in before:
        assert str(os.getpid()) in (cgroup / "cgroup.procs").read_text().split()
