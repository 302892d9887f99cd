"""The systemd driver, with the systemd of the machine (`./dev test vm` has one).

As root it is the host's systemd, and as another user that user's own.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.cgroups.limits_v2 import weight_of
from libcontainer_py.spec import default

if TYPE_CHECKING:
    from tests.conftest import Bundle, Config, Lcpy

ROOT = os.geteuid() == 0
RUNTIME = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
SOCKET = "/run/systemd/private" if ROOT else f"{RUNTIME}/systemd/private"
SLICE = "system.slice" if ROOT else "user.slice"
ENVIRONMENT = {**os.environ, "XDG_RUNTIME_DIR": RUNTIME}
HOST = Path("/sys/fs/cgroup")
MIB = 1 << 20

pytestmark = pytest.mark.skipif(
    not Path(SOCKET).exists() or not (HOST / "cgroup.controllers").exists(),
    reason="systemd does not run here, or not with cgroup v2",
)
of_root = pytest.mark.skipif(not ROOT, reason="only root may")


def systemctl(*words: str, check: bool = True) -> str:
    argv = ["systemctl", *([] if ROOT else ["--user"]), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


def show(unit: str, name: str) -> str:
    """One property of a unit."""
    return systemctl("show", "--value", "-p", name, unit)


def is_gone(unit: str) -> bool:
    return show(unit, "LoadState") == "not-found"


class Units:
    """The command with ``--systemd-cgroup``, and the units of its containers."""

    def __init__(self, lcpy: "Lcpy", bundle: "Bundle") -> None:
        self.lcpy = lcpy
        self.bundle = bundle
        self.last_error = ""

    def config(self, change: "Callable[[Config], object] | None") -> "Callable[[Config], None]":
        def changed(config: "Config") -> None:
            if not ROOT:
                args = config["process"]["args"]
                config |= default.default(rootless=True)
                config["process"] |= {"args": args, "terminal": False}
            if change is not None:
                change(config)

        return changed

    def create(
        self,
        *,
        args: tuple[str, ...] = ("sleep", "1000"),
        resources: dict[str, Any] | None = None,
        path: str | None = None,
        annotations: dict[str, str] | None = None,
        devices: list[dict[str, Any]] | None = None,
        words: tuple[str, ...] = (),
        fails: bool = False,
    ) -> str:
        """Create a container; return its id."""

        def change(config: "Config") -> None:
            config["linux"]["resources"] = resources or {}
            config["linux"]["devices"] = devices or []
            config["annotations"] = annotations or {}
            if path is not None:
                config["linux"]["cgroupsPath"] = path

        container = self.lcpy.new_id()
        directory = self.bundle(*args, change=self.config(change))
        words = ("--systemd-cgroup", *words, "create", "--bundle", str(directory), container)
        done = self.lcpy(*words, env=ENVIRONMENT)
        self.last_error = done.stderr
        assert (done.returncode == 0) != fails, done.stderr
        return container

    def refusal(self, **options: Any) -> str:
        """Why a container can't be created; nothing of it is left."""
        container = self.create(fails=True, **options)
        assert is_gone(self.unit(container))
        assert self.lcpy("state", container, env=ENVIRONMENT).returncode == 1
        assert self.last_error.count("\n") == 1
        return self.last_error

    @staticmethod
    def unit(container: str) -> str:
        return f"lcpy-{container}.scope"

    def cgroup(self, container: str) -> Path:
        """Where the first process of a container is."""
        pid = self.lcpy.state(container)["pid"]
        text = Path(f"/proc/{pid}/cgroup").read_text().strip()
        return Path(f"{HOST}{text.removeprefix('0::')}")

    def delete(self, container: str) -> None:
        self.lcpy("delete", "--force", container, check=True, env=ENVIRONMENT)


@pytest.fixture
def units(lcpy: "Lcpy", bundle: "Bundle") -> Iterator[Units]:
    yield Units(lcpy, bundle)


# ── made and removed ────────────────────────────────────────────────────────────────────────────


def test_a_scope_around_the_first_process(units: Units) -> None:
    container = units.create()
    unit, cgroup = units.unit(container), units.cgroup(container)
    assert cgroup.name == unit
    assert cgroup.parent.name == SLICE
    assert show(unit, "ActiveState") == "active"
    assert show(unit, "Description") == f"lcpy container {container}"
    assert show(unit, "Slice") == SLICE
    assert show(unit, "Delegate") == "yes"
    units.delete(container)
    assert is_gone(unit)
    assert not cgroup.exists()


def test_one_that_ends_by_itself_leaves_nothing(units: Units) -> None:
    container = units.create(args=("true",))
    cgroup = units.cgroup(container)
    units.lcpy("start", container, check=True, env=ENVIRONMENT)
    units.lcpy.wait_for(container, "stopped")
    units.lcpy("delete", container, check=True, env=ENVIRONMENT)
    assert is_gone(units.unit(container))
    assert not cgroup.exists()


def test_one_that_failed_to_be_created_leaves_nothing(units: Units) -> None:
    assert "there-is-none" in units.refusal(args=("there-is-none",))


def test_slice_prefix_and_name(units: Units) -> None:
    stem = f"lcpytest{os.getpid()}"
    try:
        container = units.create(path=f"{stem}-a.slice:pre:fix")
        cgroup = units.cgroup(container)
        parts = [f"{stem}.slice", f"{stem}-a.slice", "pre-fix.scope"]
        assert list(cgroup.parts[-3:]) == parts
        assert show("pre-fix.scope", "Slice") == f"{stem}-a.slice"
        units.delete(container)
        assert is_gone("pre-fix.scope")
    finally:
        systemctl("stop", f"{stem}.slice", check=False)


def test_a_unit_that_is_in_use_stays_as_it_is(units: Units) -> None:
    name = f"twice{os.getpid()}"
    first = units.create(path=f"::{name}")
    second = units.create(path=f"::{name}", fails=True)
    assert "container's cgroup is not empty: 1 process(es) found" in units.last_error
    assert "linux.cgroupsPath" in units.last_error
    assert units.lcpy("state", second, env=ENVIRONMENT).returncode == 1
    assert units.lcpy.state(first)["status"] == "created"
    units.delete(first)
    assert is_gone(f"lcpy-{name}.scope")


def test_one_that_has_failed_makes_room(units: Units) -> None:
    name = f"failed{os.getpid()}"
    words = ["systemd-run", "--quiet", "--scope", f"--unit=lcpy-{name}", "-p", "RuntimeMaxSec=1"]
    words += [] if ROOT else ["--user"]
    subprocess.run([*words, "sleep", "60"], check=False, env=ENVIRONMENT)
    assert show(f"lcpy-{name}.scope", "ActiveState") == "failed"
    container = units.create(path=f"::{name}")
    assert show(f"lcpy-{name}.scope", "ActiveState") == "active"
    units.delete(container)
    assert is_gone(f"lcpy-{name}.scope")


def test_systemd_that_stops_it_stops_the_container(units: Units) -> None:
    container = units.create()
    units.lcpy("start", container, check=True, env=ENVIRONMENT)
    systemctl("kill", "-s", "KILL", units.unit(container))
    units.lcpy.wait_for(container, "stopped")
    units.lcpy("delete", container, check=True, env=ENVIRONMENT)
    assert is_gone(units.unit(container))


def test_a_slice_of_a_wrong_name(units: Units) -> None:
    said = units.refusal(path="a--b.slice:x:y")
    assert 'linux.cgroupsPath: invalid slice name: "a--b.slice"' in said.replace("\\", "")


# ── limits ──────────────────────────────────────────────────────────────────────────────────────

LIMITS: dict[str, Any] = {
    "memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB},
    "cpu": {"shares": 2048, "quota": 20_001, "period": 50_000},
    "pids": {"limit": 77},
}
WEIGHT = weight_of(2048)
AS_PROPERTIES = {
    "MemoryMax": str(64 * MIB),
    "MemoryLow": str(32 * MIB),
    "MemorySwapMax": str(32 * MIB),
    "CPUWeight": str(WEIGHT),
    "CPUQuotaPerSecUSec": "410ms",
    "CPUQuotaPeriodUSec": "50ms",
    "TasksMax": "77",
}
AS_FILES = {
    "memory.max": str(64 * MIB),
    "memory.low": str(32 * MIB),
    "memory.swap.max": str(32 * MIB),
    "cpu.weight": str(WEIGHT),
    "cpu.max": "20500 50000",
    "pids.max": "77",
}


def properties(unit: str, wanted: dict[str, str]) -> dict[str, str]:
    return {name: show(unit, name) for name in wanted}


def files(cgroup: Path, wanted: dict[str, str]) -> dict[str, str]:
    return {name: (cgroup / name).read_text().strip() for name in wanted}


def test_limits_are_in_the_files_and_known_to_systemd(units: Units) -> None:
    container = units.create(resources=LIMITS)
    unit, cgroup = units.unit(container), units.cgroup(container)
    assert properties(unit, AS_PROPERTIES) == AS_PROPERTIES
    assert files(cgroup, AS_FILES) == AS_FILES
    # Where it does not know the same, it now writes what it knows.
    systemctl("daemon-reload")
    time.sleep(0.5)
    assert files(cgroup, AS_FILES) == AS_FILES


def test_update_and_an_update_that_is_refused(units: Units) -> None:
    container = units.create(resources=LIMITS)
    unit, cgroup = units.unit(container), units.cgroup(container)
    new = {"memory": {"limit": 128 * MIB, "swap": -1}, "pids": {"limit": -1}}
    words = ("update", "--resources", "-", container)
    units.lcpy(*words, stdin=json.dumps(new), check=True, env=ENVIRONMENT)
    as_properties = AS_PROPERTIES | {
        "MemoryMax": str(128 * MIB),
        "MemorySwapMax": "infinity",
        "TasksMax": "infinity",
    }
    as_files = AS_FILES | {
        "memory.max": str(128 * MIB),
        "memory.swap.max": "max",
        "pids.max": "max",
    }
    assert properties(unit, as_properties) == as_properties
    assert files(cgroup, as_files) == as_files

    bad = {"pids": {"limit": 5}, "unified": {"memory.high": "no number"}}
    done = units.lcpy(*words, stdin=json.dumps(bad), env=ENVIRONMENT)
    assert done.returncode == 1
    assert "memory.high" in done.stderr
    systemctl("daemon-reload")
    time.sleep(0.5)
    assert properties(unit, as_properties) == as_properties
    assert files(cgroup, as_files) == as_files


def test_a_weight_ends_the_idling(units: Units) -> None:
    container = units.create(resources={"cpu": {"idle": 1}})
    unit, cgroup = units.unit(container), units.cgroup(container)
    assert show(unit, "CPUWeight") in ("idle", "0")
    words = ("update", "--cpu-share", "2048", container)
    units.lcpy(*words, check=True, env=ENVIRONMENT)
    assert show(unit, "CPUWeight") == str(WEIGHT)
    assert files(cgroup, {"cpu.idle": "0", "cpu.weight": ""}) == {
        "cpu.idle": "0",
        "cpu.weight": str(WEIGHT),
    }


def test_files_by_their_names(units: Units) -> None:
    unified = {"memory.high": str(20 * MIB), "memory.min": "4096", "cpu.max": "20000 50000"}
    container = units.create(resources={"unified": unified})
    as_properties = {
        "MemoryHigh": str(20 * MIB),
        "MemoryMin": "4096",
        "CPUQuotaPerSecUSec": "400ms",
        "CPUQuotaPeriodUSec": "50ms",
    }
    assert properties(units.unit(container), as_properties) == as_properties
    assert files(units.cgroup(container), unified) == unified


def test_all_are_killed_together_where_that_is_asked_for(units: Units) -> None:
    resources = {"memory": {"limit": 64 * MIB}, "unified": {"memory.oom.group": "1"}}
    container = units.create(resources=resources)
    time.sleep(0.5)
    assert (units.cgroup(container) / "memory.oom.group").read_text() == "1\n"
    if int(systemctl("--version").split()[1]) >= 253:
        assert show(units.unit(container), "OOMPolicy") == "kill"


@of_root
def test_processors_and_memory_nodes(units: Units) -> None:
    container = units.create(resources={"cpu": {"cpus": "0", "mems": "0"}})
    unit = units.unit(container)
    assert show(unit, "AllowedCPUs") == "0"
    assert show(unit, "AllowedMemoryNodes") == "0"
    systemctl("daemon-reload")
    time.sleep(0.5)
    assert (units.cgroup(container) / "cpuset.cpus").read_text().strip() == "0"


@of_root
def test_block_devices(units: Units) -> None:
    number = Path("/sys/block/vda/dev").read_text().strip()
    major, minor = map(int, number.split(":"))
    disk = {"major": major, "minor": minor, "rate": 10 * MIB}
    container = units.create(resources={"blockIO": {"throttleWriteBpsDevice": [disk]}})
    unit, cgroup = units.unit(container), units.cgroup(container)
    assert show(unit, "IOWriteBandwidthMax") == f"/dev/block/{number} {10 * MIB}"
    systemctl("daemon-reload")
    time.sleep(0.5)
    assert f"wbps={10 * MIB}" in (cgroup / "io.max").read_text()


@of_root
def test_devices(units: Units) -> None:
    deny = {"allow": False, "access": "rwm"}
    fuse = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    container = units.create(resources={"devices": [deny, fuse]})
    unit = units.unit(container)
    assert show(unit, "DevicePolicy") == "strict"
    allowed = show(unit, "DeviceAllow")
    assert "/dev/char/10:229 rw" in allowed
    assert "/dev/char/1:3 rwm" in allowed
    assert "/dev/char/1:11" not in allowed

    container = units.create(resources={"devices": [{"allow": True, "access": "rwm"}]})
    assert show(units.unit(container), "DevicePolicy") == "auto"
    assert show(units.unit(container), "DeviceAllow") == ""


@of_root
@pytest.mark.parametrize("allow", [False, True])
def test_devices_after_systemd_was_loaded_anew(units: Units, allow: bool) -> None:
    major, minor = map(int, Path("/sys/block/vda/dev").read_text().split(":"))
    disk = {"type": "b", "major": major, "minor": minor}
    rules: list[dict[str, Any]] = [{"allow": allow, "access": "rwm"}]
    if allow:  # systemd can't be told of an exception
        rules.append(disk | {"allow": False, "access": "w"})
    devices = [disk | {"path": "/dev/disk"}]
    container = units.create(resources={"devices": rules}, devices=devices)
    units.lcpy("start", container, check=True)
    for _again in range(2):
        for what, opens in (
            ("if=/dev/zero", True),
            ("if=/dev/disk", allow),
            ("of=/dev/disk", False),
        ):
            words = ("dd", "if=/dev/null", what, "count=0", "conv=notrunc")
            done = units.lcpy("exec", container, *words)
            assert (done.returncode == 0) == opens, what
        systemctl("daemon-reload")
        time.sleep(0.5)


# ── the life of one ─────────────────────────────────────────────────────────────────────────────


def test_exec_pause_ps_stats(units: Units) -> None:
    container = units.create()
    lcpy = units.lcpy
    lcpy("start", container, check=True, env=ENVIRONMENT)
    done = lcpy("exec", container, "cat", "/proc/self/cgroup", env=ENVIRONMENT)
    assert done.stdout == "0::/\n"
    lcpy("pause", container, check=True, env=ENVIRONMENT)
    assert lcpy.state(container)["status"] == "paused"
    lcpy("resume", container, check=True, env=ENVIRONMENT)
    assert lcpy.state(container)["status"] == "running"
    assert len(lcpy("ps", container, check=True, env=ENVIRONMENT).stdout.splitlines()) == 2
    stats = lcpy("events", "--stats", container, check=True, env=ENVIRONMENT).stdout
    assert json.loads(stats)["data"]["pids"]["current"] == 1


def test_run(units: Units) -> None:
    lcpy, container = units.lcpy, units.lcpy.new_id()
    directory = units.bundle("cat", "/proc/self/cgroup", change=units.config(None))
    words = ("--systemd-cgroup", "run", "--bundle", directory, container)
    for _again in range(2):
        done = lcpy(*words, env=ENVIRONMENT, check=True)
        assert done.stdout == "0::/\n"
        assert is_gone(units.unit(container))


# ── annotations ─────────────────────────────────────────────────────────────────────────────────


def test_annotations_that_are_harmless(units: Units) -> None:
    container = units.create(
        annotations={
            "org.systemd.property.TimeoutStopSec": "7",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.systemd.property.Description": "'of mine'",
        }
    )
    unit = units.unit(container)
    assert show(unit, "TimeoutStopUSec") == "7s"
    assert show(unit, "CollectMode") == "inactive-or-failed"
    assert show(unit, "Description") == "of mine"


def test_annotations_that_are_not(units: Units) -> None:
    annotations = {"org.systemd.property.Conflicts": "['nobody.service']"}
    said = units.refusal(annotations=annotations)
    assert 'annotations["org.systemd.property.Conflicts"]' in said.replace("\\", "")
    assert "--systemd-properties" in said
    container = units.create(annotations=annotations, words=("--systemd-properties",))
    assert "nobody.service" in show(units.unit(container), "Conflicts")


def test_a_property_that_systemd_refuses(units: Units) -> None:
    annotations = {"org.systemd.property.NoSuchThing": "true"}
    said = units.refusal(annotations=annotations, words=("--systemd-properties",))
    assert 'annotations["org.systemd.property.NoSuchThing"]' in said.replace("\\", "")
    assert "systemd says: " in said
    annotations = {"org.systemd.property.TimeoutStopUSec": "'soon'"}
    said = units.refusal(annotations=annotations)
    assert "systemd says: " in said
