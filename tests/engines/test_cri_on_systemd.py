"""containerd's CRI where systemd keeps the cgroups, v2 alone: as most clusters' nodes are."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import test_on_systemd as on_systemd
from tests.engines.conftest import Engine, eventually
from tests.engines.cri import Container, Cri, Pod, cri_daemon
from tests.engines.test_on_systemd import MIB, SYSTEMD

pytestmark = on_systemd.pytestmark


@pytest.fixture
def cri(busybox_root: Path) -> Iterator[Engine]:
    for module in ("overlay", "veth"):
        subprocess.run(["modprobe", module], check=True)
    with cri_daemon(busybox_root, systemd=True) as cri:
        yield from on_systemd.guarded(cri, SYSTEMD, "cri-containerd-*")


def test_a_pod(cri: Cri) -> None:
    """A story of its limits, which files, units and the CRI tell; their update; and its ends."""
    pod = Pod(cri)
    resources = {
        "memory_limit_in_bytes": 64 * MIB,
        "cpu_shares": 512,
        "cpu_period": 100000,
        "cpu_quota": 50000,
        "cpuset_cpus": "0",
    }
    container = pod.run("sleep", "600", linux={"resources": resources})
    unit = f"cri-containerd-{container.id}.scope"
    wanted = {
        "Description": f"lcpy container {container.id}",
        "Slice": cri.home.cgroup,
        "MemoryMax": f"{64 * MIB}",
        "CPUQuotaPerSecUSec": "500ms",
        "AllowedCPUs": "0",
    }
    assert SYSTEMD.show(unit, *wanted) == wanted

    label = "cri-containerd.apparmor.d (enforce)\n"
    assert container.exec("cat", "/proc/1/attr/current", "/proc/self/attr/current") == label * 2

    def seen(*names: str) -> list[str]:
        return container.exec("cat", *(f"/sys/fs/cgroup/{name}" for name in names)).splitlines()

    files = ("memory.max", "cpu.weight", "cpu.max", "cpuset.cpus")
    assert seen(*files) == [f"{64 * MIB}", "59", "50000 100000", "0"]
    container.update(memory_limit_in_bytes=32 * MIB, cpu_shares=2048, cpuset_cpus="0-1")
    assert seen("memory.max", "cpu.weight", "cpuset.cpus") == [f"{32 * MIB}", "174", "0-1"]
    assert SYSTEMD.show(unit, "MemoryMax") == {"MemoryMax": f"{32 * MIB}"}
    container.exec("dd", "if=/dev/zero", "of=/dev/shm/file", "bs=1M", "count=8")
    assert 8 * MIB < container.stats()["memory"]["working_set_bytes"]["value"] < 32 * MIB

    small = {"resources": {"memory_limit_in_bytes": 20 * MIB}}
    hungry = pod.run("sh", "-c", "sleep 1; tail /dev/zero", name="hungry", linux=small)

    def ended(one: Container) -> bool:
        return bool(one.status()["state"] == one.EXITED)

    eventually(lambda: ended(hungry), "its end")
    assert hungry.status()["exit_code"] == 137

    container.stop(0)
    assert container.status()["exit_code"] == 137
    pod.stop()
    assert SYSTEMD.units("cri-containerd-*") == set()
