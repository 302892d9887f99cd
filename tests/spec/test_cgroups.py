"""`linux.cgroupsPath` and `linux.resources`: the files of the host, and what they do."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Config
    from tests.spec.conftest import Box, Change

CGROUPS = Path("/sys/fs/cgroup")


def own(controller: str) -> Path:
    """The cgroup that this process is in."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return CGROUPS / controller / path.lstrip("/")
    raise AssertionError(f"no {controller}")


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
        for line in Path(f"/proc/{self.pid(container)}/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            if controller in names.split(","):
                return CGROUPS / controller / path.lstrip("/")
        raise AssertionError(f"no {controller}")

    def read(self, container: str, controller: str, name: str) -> str:
        return (self.cgroup(container, controller) / name).read_text().strip()


@pytest.fixture
def created(box: "Box") -> Iterator[Created]:
    """Create containers that wait."""
    containers = Created(box)
    yield containers
    for container in containers.ids:
        box.lcpy("delete", "--force", container, check=True)
        assert not list(CGROUPS.glob(f"**/*{container}*"))


def resources(path: str | None = None, **fields: Any) -> "Change":
    def change(config: "Config") -> None:
        config["linux"]["resources"].update(fields)
        if path is not None:
            config["linux"]["cgroupsPath"] = path

    return change


# --- where ------------------------------------------------------------------------------------


def controllers() -> list[str]:
    names = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "pids", "blkio")
    return [name for name in names if (CGROUPS / name).is_dir()]


def test_without_a_path_it_is_the_id_below_the_caller_s(created: Created) -> None:
    container = created()
    for name in controllers():
        assert created.cgroup(container, name) == own(name) / container


def test_an_absolute_path_is_below_the_mount_point(created: Created, box: "Box") -> None:
    """With parents that are made for it, and removed with it."""
    name = box.lcpy.new_id()
    container = created(change=resources(f"/{name}-a/b/{name}"))
    for controller in controllers():
        assert created.cgroup(container, controller) == CGROUPS / controller / f"{name}-a/b/{name}"
    box.lcpy("delete", "--force", container, check=True)
    assert not list(CGROUPS.glob(f"*/{name}-a"))


def test_a_relative_path_is_below_the_caller_s(created: Created, box: "Box") -> None:
    name = box.lcpy.new_id()
    container = created(change=resources(f"{name}-a/{name}"))
    for controller in controllers():
        assert created.cgroup(container, controller) == own(controller) / f"{name}-a/{name}"
    box.lcpy("delete", "--force", container, check=True)
    assert not list(own("pids").glob(f"{name}-a"))


def test_no_process_of_the_container_is_elsewhere(box: "Box") -> None:
    """Nor were its first ones at any time: children, too, are in all of its cgroups."""
    name = box.lcpy.new_id()
    said = box.sh("cat /proc/self/cgroup", change=resources(f"/{name}"))
    for line in said.splitlines():
        _, names, path = line.split(":", 2)
        assert path == f"/{name}", names


def test_two_containers_can_not_share_one(created: Created, box: "Box") -> None:
    path = f"/{box.lcpy.new_id()}"
    first = created(change=resources(path))
    inner = created.cgroup(first, "pids") / "inner"
    inner.mkdir()
    bundle = box.bundle(["true"], resources(path))
    start = time.monotonic()
    done = box.lcpy("create", "--bundle", bundle, box.lcpy.new_id())
    assert time.monotonic() - start < 1.5  # it does not wait for the other to go away
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert inner.is_dir()  # nor takes anything away from it


@pytest.mark.parametrize("path", ["../x", "/a/../../b", "/", "a\nb"])
def test_a_path_that_would_lead_elsewhere_is_refused(box: "Box", path: str) -> None:
    assert "linux.cgroupsPath" in box.refused(change=resources(path))


def test_the_cgroups_seen_from_inside_are_the_container_s(box: "Box") -> None:
    """Read-only, and no other container's."""
    script = "cat /sys/fs/cgroup/pids/pids.max; mkdir /sys/fs/cgroup/pids/x 2>&1; true"
    said = box.lines(script, change=resources(pids={"limit": 77}))
    assert said[0] == "77"
    assert "Read-only file system" in said[1]


# --- what is written --------------------------------------------------------------------------

MIB = 1 << 20
LIMITS = [
    ("memory", {"limit": 64 * MIB}, "memory", "memory.limit_in_bytes", 64 * MIB),
    ("memory", {"reservation": 16 * MIB}, "memory", "memory.soft_limit_in_bytes", 16 * MIB),
    ("memory", {"disableOOMKiller": True}, "memory", "memory.oom_control", "oom_kill_disable 1"),
    ("memory", {"swappiness": 7}, "memory", "memory.swappiness", 7),
    ("cpu", {"shares": 77}, "cpu", "cpu.shares", 77),
    ("cpu", {"quota": 20000, "period": 50000}, "cpu", "cpu.cfs_quota_us", 20000),
    ("cpu", {"quota": 20000, "period": 50000}, "cpu", "cpu.cfs_period_us", 50000),
    ("cpu", {"idle": 1}, "cpu", "cpu.idle", 1),
    ("cpu", {"cpus": "0"}, "cpuset", "cpuset.cpus", 0),
    ("cpu", {"mems": "0"}, "cpuset", "cpuset.mems", 0),
    ("pids", {"limit": 23}, "pids", "pids.max", 23),
    ("pids", {"limit": -1}, "pids", "pids.max", "max"),
]


@pytest.mark.parametrize(("kind", "fields", "controller", "file", "value"), LIMITS)
def test_limits_are_in_the_files(
    created: Created,
    kind: str,
    fields: dict[str, Any],
    controller: str,
    file: str,
    value: object,
) -> None:
    limits: dict[str, Any] = {kind: fields}
    container = created(change=resources(**limits))
    said = created.read(container, controller, file)
    assert str(value) in said.splitlines() if "\n" in said else said == str(value)


def test_absent_limits_are_the_kernel_s(created: Created) -> None:
    container = created()
    assert created.read(container, "pids", "pids.max") == "max"
    assert created.read(container, "cpu", "cpu.cfs_quota_us") == "-1"
    assert int(created.read(container, "memory", "memory.limit_in_bytes")) > 1 << 60
    for file in ("cpuset.cpus", "cpuset.mems"):
        assert created.read(container, "cpuset", file) == (own("cpuset") / file).read_text().strip()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cpu": {"shares": 1 << 63}}, "linux.resources.cpu.shares"),
        ({"cpu": {"cpus": "99999"}}, "linux.resources.cpu.cpus"),
        ({"cpu": {"mems": "nonsense"}}, "linux.resources.cpu.mems"),
        ({"cpu": {"quota": 1}}, "linux.resources.cpu.quota"),
        ({"memory": {"limit": 1 << 20, "swap": 1 << 19}}, "linux.resources.memory.swap"),
        ({"memory": {"swappiness": 101}}, "linux.resources.memory.swappiness"),
    ],
)
def test_limits_that_are_refused(box: "Box", fields: dict[str, Any], field: str) -> None:
    """By name; and everything made so far is gone again."""
    name = box.lcpy.new_id()
    assert field in box.refused(change=resources(f"/{name}", **fields))
    assert not list(CGROUPS.glob(f"*/{name}"))


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
    assert created.read(container, "memory", "memory.limit_in_bytes") == str(2 * MIB)
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


def test_the_default_devices_are_always_allowed(created: Created) -> None:
    container = created(change=devices(DENY_ALL))
    said = set(created.read(container, "devices", "devices.list").splitlines())
    assert {"c 1:3 rwm", "c 1:5 rwm", "c 5:0 rwm", "c 136:* rwm", "c *:* m", "b *:* m"} <= said
    assert "a *:* rwm" not in said


def test_a_rule_that_says_nothing_is_refused(box: "Box") -> None:
    error = box.refused(change=devices({"allow": True, "type": "c", "major": 1, "access": "x"}))
    assert "linux.resources.devices[0].access" in error


def test_the_cgroups_of_this_process_are_as_they_were(box: "Box") -> None:
    """What a container is given is never taken from its caller."""
    before = [(own(name) / "cgroup.procs").read_text() for name in controllers()]
    box.sh("true", change=resources(memory={"limit": 64 * MIB}, cpu={"cpus": "0"}))
    assert str(os.getpid()) in before[0].split()
    after = [(own(name) / "cgroup.procs").read_text() for name in controllers()]
    assert [str(os.getpid()) in text.split() for text in after] == [True] * len(before)
