"""Files of cgroups that this host has not: what is written to them, and read of recorded ones."""

import json
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.cgroups import block_io, hugetlb, net_v1, rdma, saved, stats_v1, stats_v2
from libcontainer_py.cgroups import files as files_module
from libcontainer_py.cgroups.oom import V2Watch
from libcontainer_py.cgroups.stats import UNLIMITED, number, pressure_in
from libcontainer_py.errors import ConfigError, StepError

Directory = Callable[[dict[str, str]], str]


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """Make a directory of files with these contents."""

    def make(files: dict[str, str]) -> str:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        return str(tmp_path)

    return make


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """What is written, as (file, line), in order."""
    found: list[tuple[str, str]] = []

    def record(path: str, value: object, _field: object = None) -> None:
        found.append((path.removeprefix(f"{tmp_path}/"), str(value)))

    for module in (block_io, hugetlb, net_v1, rdma, saved):
        monkeypatch.setattr(module, "write", record)
    yield found


# ── written ─────────────────────────────────────────────────────────────────────────────────────

BLOCK_IO: dict[str, Any] = {
    "weight": 500,
    "leafWeight": 300,
    "weightDevice": [
        {"major": 8, "minor": 0, "weight": 10, "leafWeight": 20},
        {"major": 8, "minor": 16, "leafWeight": 1000},
    ],
    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
    "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 0}],
    "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 1}],
    "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": (1 << 64) - 1}],
}


@pytest.mark.parametrize("scheduler", ["cfq", "bfq"])
def test_blkio(directory: Directory, written: "list[tuple[str, str]]", scheduler: str) -> None:
    block_io.set_v1(directory({"blkio.weight": ""} if scheduler == "cfq" else {}), BLOCK_IO)
    kind = "" if scheduler == "cfq" else "bfq."
    assert written == [
        (f"blkio.{kind}weight", "500"),
        ("blkio.leaf_weight", "300"),
        (f"blkio.{kind}weight_device", "8:0 10"),
        ("blkio.leaf_weight_device", "8:0 20"),
        ("blkio.leaf_weight_device", "8:16 1000"),
        ("blkio.throttle.read_bps_device", "8:0 600"),
        ("blkio.throttle.write_bps_device", "8:0 0"),
        ("blkio.throttle.read_iops_device", "8:0 1"),
        ("blkio.throttle.write_iops_device", "8:16 18446744073709551615"),
    ]


@pytest.mark.parametrize(
    ("scheduler", "lines"),
    [
        ("bfq", [("io.bfq.weight", "500"), ("io.bfq.weight", "8:0 10")]),
        ("iocost", [("io.weight", "4950"), ("io.weight", "8:0 1")]),
    ],
)
def test_io(
    directory: Directory,
    written: "list[tuple[str, str]]",
    scheduler: str,
    lines: "list[tuple[str, str]]",
) -> None:
    block_io.set_v2(directory({"io.bfq.weight": ""} if scheduler == "bfq" else {}), BLOCK_IO)
    assert written == [
        *lines,
        ("io.max", "8:0 rbps=600"),
        ("io.max", "8:0 wbps=max"),
        ("io.max", "8:0 riops=1"),
        ("io.max", "8:16 wiops=18446744073709551615"),
    ]


@pytest.mark.parametrize(("weight", "io_weight"), [(10, 1), (100, 910), (1000, 10000)])
def test_weights_become_those_of_v2(
    directory: Directory, written: "list[tuple[str, str]]", weight: int, io_weight: int
) -> None:
    block_io.set_v2(directory({}), {"weight": weight})
    assert written == [("io.weight", str(io_weight))]


def test_a_weight_that_v2_has_not(directory: Directory) -> None:
    for weight in (9, 1001):
        with pytest.raises(ConfigError, match="out of range") as caught:
            block_io.set_v2(directory({}), {"weight": weight})
        assert caught.value.field == "linux.resources.blockIO.weight"


@pytest.mark.parametrize("reserved", [True, False])
@pytest.mark.parametrize("file", [hugetlb.V1, hugetlb.V2])
def test_huge_pages(
    directory: Directory, written: "list[tuple[str, str]]", reserved: bool, file: str
) -> None:
    """Limited twice, where the kernel counts reservations."""
    path = directory({f"hugetlb.64KB.rsvd.{file}": ""} if reserved else {})
    hugetlb.set_limits(
        path, [{"pageSize": "64KB", "limit": 9}, {"pageSize": "1GB", "limit": 0}], file
    )
    both = [(f"hugetlb.64KB.rsvd.{file}", "9")] if reserved else []
    assert written == [(f"hugetlb.64KB.{file}", "9"), *both, (f"hugetlb.1GB.{file}", "0")]


def test_sizes_of_pages() -> None:
    assert list(map(hugetlb._in_words, (4, 64, 1023, 2048, 32768, 1 << 20, 16 << 20))) == (
        ["4KB", "64KB", "1023KB", "2MB", "32MB", "1GB", "16GB"]
    )


def test_rdma(directory: Directory, written: "list[tuple[str, str]]") -> None:
    limits = {
        "mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000},
        "mlx4_0": {"hcaObjects": 1000},
        "rxe3": {"hcaHandles": 0},
    }
    rdma.set_limits(directory({}), limits)
    assert written == [
        ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"),
        ("rdma.max", "mlx4_0 hca_object=1000"),
        ("rdma.max", "rxe3 hca_handle=0"),
    ]


@pytest.mark.parametrize("name", ["", "a b", "a\nb"])
def test_a_name_that_no_rdma_device_has(directory: Directory, name: str) -> None:
    with pytest.raises(ConfigError, match="not the name of a device") as caught:
        rdma.set_limits(directory({}), {name: {"hcaHandles": 1}})
    assert str(caught.value).startswith('linux.resources.rdma["')
    assert "\n" not in str(caught.value)


def test_an_rdma_device_without_a_limit(directory: Directory) -> None:
    with pytest.raises(ConfigError, match="it needs hcaHandles or hcaObjects"):
        rdma.set_limits(directory({}), {"mlx5_1": {}})


def test_network(directory: Directory, written: "list[tuple[str, str]]") -> None:
    network = {
        "classID": 0x100001,
        "priorities": [{"name": "eth0", "priority": 500}, {"name": "lo", "priority": 0}],
    }
    net_v1.set_class(directory({}), network)
    net_v1.set_priorities(directory({}), network)
    assert written == [
        ("net_cls.classid", "1048577"),
        ("net_prio.ifpriomap", "eth0 500"),
        ("net_prio.ifpriomap", "lo 0"),
    ]
    with pytest.raises(ConfigError, match="not the name of an interface") as caught:
        net_v1.set_priorities("/", {"priorities": [{"name": "a\nb 1", "priority": 1}]})
    assert caught.value.field == "linux.resources.network.priorities[0].name"


# ── put back ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "before", "now", "lines"),
    [
        ("pids.max", "max\n", "5\n", ["max"]),
        ("cpu.max", "max 100000\n", "5000 10000\n", ["max 100000"]),
        ("cpuset.cpus", "\n", "0-1\n", [""]),
        (
            "io.max",
            "",
            "8:0 rbps=5 wbps=max riops=max wiops=max\n",
            [f"8:0 {saved._NO_LINE['io.max']}"],
        ),
        (
            "io.max",
            "8:0 rbps=7 wbps=max riops=max wiops=max\n",
            "8:0 rbps=5 wbps=max riops=max wiops=max\n8:16 rbps=5 wbps=max riops=max wiops=max\n",
            [
                f"8:16 {saved._NO_LINE['io.max']}",
                "8:0 rbps=7 wbps=max riops=max wiops=max",
            ],
        ),
        ("io.bfq.weight", "default 100\n", "default 5\n8:0 7\n", ["8:0 default", "default 100"]),
        ("blkio.throttle.read_bps_device", "", "8:0 5\n8:16 7\n", ["8:0 0", "8:16 0"]),
        ("net_prio.ifpriomap", "lo 0\neth0 5\n", "lo 9\neth0 5\n", ["lo 0", "eth0 5"]),
        (
            "memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
            "oom_kill_disable 1\nunder_oom 0\noom_kill 3\n",
            ["0"],
        ),
    ],
)
def test_what_is_written_to_put_back(name: str, before: str, now: str, lines: "list[str]") -> None:
    assert saved._lines(name, before, now) == lines


def test_values_that_depend_on_each_other_are_put_back_in_rounds(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = directory({"memory.limit_in_bytes": "2\n", "memory.memsw.limit_in_bytes": "3\n"})
    limit, swap = (Path(path, f"memory.{kind}limit_in_bytes") for kind in ("", "memsw."))

    def write(file: str, value: str) -> None:
        if file == str(limit) and int(value) > int(swap.read_text()):
            raise StepError(None, 22, f"write {file}")
        files_module.write(file, value + "\n")

    monkeypatch.setattr(saved, "write", write)
    before = saved.Saved(saved.files_v1({"memory": {"limit": 1}}, {"memory": path}))
    limit.write_text("1\n")
    swap.write_text("1\n")
    assert before.restore() == []
    assert (limit.read_text(), swap.read_text()) == ("2\n", "3\n")


# ── read ────────────────────────────────────────────────────────────────────────────────────────


def test_numbers() -> None:
    assert [number(text) for text in ("7\n", "max\n", "-3", "18446744073709551615")] == [
        7,
        UNLIMITED,
        0,
        UNLIMITED,
    ]
    with pytest.raises(StepError, match=r'"seven\\n8" is no number'):
        number("seven\n8")


@pytest.mark.parametrize(
    ("text", "numbers"), [("0-2,7\n", [0, 1, 2, 7]), ("5", [5]), ("\n", []), ("0,1", [0, 1])]
)
def test_lists_of_processors(text: str, numbers: "list[int]") -> None:
    assert stats_v1.numbers_of_list(text) == numbers


PRESSURE = """some avg10=1.50 avg60=0.00 avg300=12.34 total=5321
full avg10=0.00 avg60=0.07 avg300=0.00 total=0
"""


def test_pressure(directory: Directory) -> None:
    """Printed as Go prints it: no 0.0 and no 1.50."""
    psi = pressure_in(directory({"cpu.pressure": PRESSURE}) + "/cpu.pressure")
    assert json.dumps(psi) == (
        '{"some": {"avg10": 1.5, "avg60": 0, "avg300": 12.34, "total": 5321},'
        ' "full": {"avg10": 0, "avg60": 0.07, "avg300": 0, "total": 0}}'
    )
    assert pressure_in("/nowhere/cpu.pressure") is None


def test_all_of_v2(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_v2, "page_sizes", lambda: ["2MB", "1GB"])
    path = directory(
        {
            "cpu.stat": "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 9\nnr_throttled 2\n"
            "throttled_usec 11\nnr_bursts 0\nburst_usec 0\n",
            "cpu.pressure": PRESSURE,
            "memory.current": "1000\n",
            "memory.max": "5000\n",
            "memory.peak": "1500\n",
            "memory.swap.current": "10\n",
            "memory.swap.max": "200\n",
            "memory.swap.peak": "20\n",
            "memory.stat": "file 12\nanon 30\n",
            "memory.pressure": PRESSURE,
            "pids.current": "3\n",
            "pids.max": "max\n",
            "io.stat": "8:0 rbytes=90 wbytes=0 rios=5 wios=1 dbytes=0 dios=0\n7:0 \n\n"
            "253:1 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0 cost.usage=9\n",
            "hugetlb.2MB.rsvd.current": "2097152\n",
            "hugetlb.2MB.current": "0\n",
            "hugetlb.2MB.events": "max 4\n",
            "hugetlb.1GB.current": "0\n",
        }
    )
    some = {"avg10": 1.5, "avg60": 0, "avg300": 12.34, "total": 5321}
    psi = {"some": some, "full": {"avg10": 0, "avg60": 0.07, "avg300": 0, "total": 0}}
    assert stats_v2.collect(path) == {
        "cpu": {
            "usage": {"total": 7000, "kernel": 3000, "user": 4000},
            "throttling": {"periods": 9, "throttledPeriods": 2, "throttledTime": 11000},
            "psi": psi,
        },
        "cpuset": {
            "cpu_exclusive": 0,
            "mem_hardwall": 0,
            "mem_exclusive": 0,
            "memory_migrate": 0,
            "memory_spread_page": 0,
            "memory_spread_slab": 0,
            "memory_pressure": 0,
            "sched_load_balance": 0,
            "sched_relax_domain_level": 0,
        },
        "memory": {
            "cache": 12,
            "usage": {"limit": 5000, "usage": 1000, "max": 1500, "failcnt": 0},
            "swap": {"limit": 5200, "usage": 1010, "failcnt": 0},
            "kernel": {"limit": 0, "failcnt": 0},
            "kernelTCP": {"limit": 0, "failcnt": 0},
            "raw": {"anon": 30, "file": 12},
            "psi": psi,
        },
        "pids": {"current": 3},
        "blkio": {
            "ioServiceBytesRecursive": [
                {"major": 8, "op": "Read", "value": 90},
                {"major": 8, "op": "Write"},
                {"major": 253, "minor": 1, "op": "Read", "value": 1},
                {"major": 253, "minor": 1, "op": "Write", "value": 2},
            ],
            "ioServicedRecursive": [
                {"major": 8, "op": "Read", "value": 5},
                {"major": 8, "op": "Write", "value": 1},
                {"major": 253, "minor": 1, "op": "Read", "value": 3},
                {"major": 253, "minor": 1, "op": "Write", "value": 4},
            ],
        },
        "hugetlb": {
            "1GB": {"failcnt": 0},
            "2MB": {"usage": 2097152, "failcnt": 4},
        },
        "intel_rdt": {},
    }


@pytest.mark.parametrize(
    ("limit", "swap", "both"),
    [("5000", "max", UNLIMITED), ("max", "0", UNLIMITED), ("max", "5", UNLIMITED), ("7", "0", 7)],
)
def test_memory_and_swap_together(directory: Directory, limit: str, swap: str, both: int) -> None:
    path = directory({"memory.max": limit, "memory.swap.max": swap, "cgroup.procs": "4\n5\n"})
    data = stats_v2.collect(path)
    assert data["memory"]["swap"]["limit"] == both
    assert data["pids"] == {"current": 2}  # no controller: counted


BFQ = "8:0 Read 7\n8:0 Write 0\n8:0 Total 7\nTotal 7\n"
EMPTY = "Total 0\n"


@pytest.mark.parametrize(
    ("files", "tables"),
    [
        ({}, {}),
        ({"blkio.throttle.io_serviced": EMPTY, "blkio.bfq.io_serviced_recursive": EMPTY}, {}),
        (
            {
                "blkio.bfq.sectors_recursive": "8:0 5\nTotal 5\n",
                "blkio.bfq.io_service_time_recursive": BFQ,
                "blkio.bfq.io_wait_time_recursive": EMPTY,
                "blkio.bfq.io_serviced_recursive": BFQ,
            },
            # runc stops at the first that has nothing to say.
            {"ioServiceTimeRecursive": 3, "sectorsRecursive": 1},
        ),
        (
            {
                "blkio.bfq.sectors_recursive": EMPTY,
                "blkio.bfq.io_serviced_recursive": BFQ,
                "blkio.bfq.io_service_bytes_recursive": BFQ,
                "blkio.throttle.io_serviced_recursive": "7:0 Read 1\n",
            },
            {"ioServiceBytesRecursive": 3, "ioServicedRecursive": 3},
        ),
        (
            {
                "blkio.throttle.io_serviced": "7:0 Read 1\n",
                "blkio.throttle.io_service_bytes": "7:0 Read 1\n",
            },
            {"ioServiceBytesRecursive": 1, "ioServicedRecursive": 1},
        ),
    ],
)
def test_blkio_under_several_names(
    directory: Directory, files: "dict[str, str]", tables: "dict[str, int]"
) -> None:
    blkio = stats_v1.collect({"blkio": directory(files)})["blkio"]
    assert {key: len(entries) for key, entries in blkio.items()} == tables


def test_entries_of_blkio() -> None:
    assert stats_v1.blkio_table("8:16 Read 7\n8:16 Total 7\n9:0 12\nTotal 19\n") == [
        {"major": 8, "minor": 16, "op": "Read", "value": 7},
        {"major": 8, "minor": 16, "op": "Total", "value": 7},
        {"major": 9, "value": 12},
    ]


@pytest.mark.parametrize("reserved", ["", ".rsvd"])
def test_huge_pages_of_v1(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, reserved: str
) -> None:
    monkeypatch.setattr(stats_v1, "page_sizes", lambda: ["2MB"])
    files = {
        f"hugetlb.2MB{reserved}.usage_in_bytes": "4",
        f"hugetlb.2MB{reserved}.max_usage_in_bytes": "6",
        f"hugetlb.2MB{reserved}.failcnt": "1",
    }
    if reserved:
        files["hugetlb.2MB.usage_in_bytes"] = "77"
    data = stats_v1.collect({"hugetlb": directory(files)})
    assert data["hugetlb"] == {"2MB": {"usage": 4, "max": 6, "failcnt": 1}}


# ── watched ─────────────────────────────────────────────────────────────────────────────────────


def test_news_of_v2(directory: Directory) -> None:
    path = directory(
        {"memory.events": "low 0\nhigh 0\noom_kill 2\n", "cgroup.events": "populated 1\n"}
    )
    watch = V2Watch(path)
    try:
        assert (watch.count(), watch.gone()) == (0, False)
        with open(f"{path}/memory.events", "r+") as file:
            file.write("low 1\nhigh 1\noom_kill 5\n")
        assert select.select([watch.fileno()], [], [], 5)[0]
        assert (watch.count(), watch.count(), watch.gone()) == (3, 0, False)
        assert not select.select([watch.fileno()], [], [], 0)[0]
        with open(f"{path}/cgroup.events", "r+") as file:
            file.write("populated 0\n")
        assert select.select([watch.fileno()], [], [], 5)[0]
        assert (watch.count(), watch.gone()) == (0, True)
        for name in ("memory.events", "cgroup.events"):
            Path(path, name).unlink()
        assert (watch.count(), watch.gone()) == (0, True)
    finally:
        watch.close()
