"""`update`: the limits that are given change, and no others; a refused one changes nothing."""

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py import update
from libcontainer_py.cli import update as words_of_update

if TYPE_CHECKING:
    from tests.conftest import Bundle, Completed, Config, Lcpy

MIB = 1 << 20


def refused(done: "Completed", text: str) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert text in done.stderr


def limits(config: "Config") -> None:
    config["linux"]["resources"].update(
        memory={"limit": 32 * MIB, "reservation": 24 * MIB},
        cpu={"shares": 100, "quota": 500_000, "period": 1_000_000},
        pids={"limit": 20},
    )


class Limited:
    """A running container with limits, and the kernel's files of its cgroup v1."""

    def __init__(self, lcpy: "Lcpy", container: str) -> None:
        self.lcpy = lcpy
        self.id = container
        self.record = lcpy.root / container / "state.json"

    def __call__(self, *words: str, **options: Any) -> "Completed":
        return self.lcpy("update", *words, self.id, **options)

    def file(self, name: str) -> str:
        controller = name.partition(".")[0]
        paths = json.loads(self.record.read_text())["cgroups"]["paths"]
        return (Path(paths[controller]) / name).read_text().strip()


@pytest.fixture
def limited(lcpy: "Lcpy", bundle: "Bundle") -> Limited:
    if not Path("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists():
        pytest.skip("cgroup v1 is not here: v2 has its controllers")
    container = lcpy.new_id()
    path = bundle("sleep", "1000", change=limits)
    lcpy("run", "--detach", "--bundle", path, container, check=True)
    return Limited(lcpy, container)


FILES = {
    "memory.limit_in_bytes": str(32 * MIB),
    "memory.soft_limit_in_bytes": str(24 * MIB),
    "cpu.shares": "100",
    "cpu.cfs_quota_us": "500000",
    "cpu.cfs_period_us": "1000000",
    "pids.max": "20",
}


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ([], {}),
        (["--pids-limit", "10"], {"pids.max": "10"}),
        (["--pids-limit", "-1"], {"pids.max": "max"}),
        (["--pids-limit=0"], {"pids.max": "1"}),
        (["--memory", "64M"], {"memory.limit_in_bytes": str(64 * MIB)}),
        (["--memory", "-1"], {"memory.limit_in_bytes": "9223372036854771712"}),
        (
            ["--memory", "64M", "--memory-swap", "80M"],
            {"memory.limit_in_bytes": str(64 * MIB), "memory.memsw.limit_in_bytes": str(80 * MIB)},
        ),
        (["--memory-swap", "80M"], {"memory.memsw.limit_in_bytes": str(80 * MIB)}),
        (["--memory-reservation", "8m"], {"memory.soft_limit_in_bytes": str(8 * MIB)}),
        (["--cpu-share", "200"], {"cpu.shares": "200"}),
        (["--cpu-quota", "600000"], {"cpu.cfs_quota_us": "600000"}),
        (["--cpu-quota", "-1"], {"cpu.cfs_quota_us": "-1"}),
        (["--cpu-period", "900000"], {"cpu.cfs_period_us": "900000"}),
        (
            ["--cpu-period", "10000", "--cpu-quota", "3000"],
            {"cpu.cfs_period_us": "10000", "cpu.cfs_quota_us": "3000"},
        ),
        (["--cpu-burst", "1000"], {"cpu.cfs_burst_us": "1000"}),
        (["--cpuset-cpus", "0", "--cpuset-mems", "0"], {"cpuset.cpus": "0", "cpuset.mems": "0"}),
        (["--cpu-idle", "1"], {"cpu.idle": "1", "cpu.shares": "3"}),
        (["--blkio-weight", "100"], {"blkio.bfq.weight": "100"}),
    ],
)
def test_each_flag(limited: Limited, words: list[str], changed: dict[str, str]) -> None:
    """The file that it stands for is as asked, and those of the others as they were."""
    done = limited(*words, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert {name: limited.file(name) for name in FILES | changed} == FILES | changed


V2_FILES = {
    "memory.max": str(32 * MIB),
    "memory.low": str(24 * MIB),
    "cpu.max": "500000 1000000",
    "cpu.weight": "17",
    "pids.max": "20",
}


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ([], {}),
        (["--pids-limit", "-1"], {"pids.max": "max"}),
        (["--memory", "64M"], {"memory.max": str(64 * MIB)}),
        (["--memory", "-1"], {"memory.max": "max"}),
        (["--memory-reservation", "8m"], {"memory.low": str(8 * MIB)}),
        (["--cpu-quota", "600000"], {"cpu.max": "600000 1000000"}),
        (["--cpu-quota", "-1"], {"cpu.max": "max 1000000"}),
        (["--cpu-period", "900000"], {"cpu.max": "500000 900000"}),
        (["--cpuset-cpus", "0"], {"cpuset.cpus": "0"}),
        # What the file of the weight says then, kernels differ in.
        (["--cpu-idle", "1"], {"cpu.idle": "1", "cpu.weight": None}),
    ],
)
def test_each_flag_on_v2(
    lcpy: "Lcpy", bundle: "Bundle", words: list[str], changed: dict[str, str | None]
) -> None:
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        pytest.skip("cgroup v2 has no controllers here: v1 has them")
    container = lcpy.new_id()
    path = bundle("sleep", "1000", change=limits)
    lcpy("run", "--detach", "--bundle", path, container, check=True)
    lcpy("update", *words, container, check=True)
    record = json.loads((lcpy.root / container / "state.json").read_text())
    directory = Path(record["cgroups"]["paths"][""])
    expected = {name: text for name, text in (V2_FILES | changed).items() if text is not None}
    assert {name: (directory / name).read_text().strip() for name in expected} == expected
    refused(lcpy("update", "--pids-limit", "7", "--cpuset-cpus", "99", container), "cpu.cpus")
    assert (directory / "pids.max").read_text().strip() == expected["pids.max"]


def test_one_after_the_other(limited: Limited) -> None:
    """Memory and its sum with swap, up and down, each time as one of them alone would not go."""
    for memory, swap in ((30, 50), (60, 80), (20, 40), (100, 100)):
        limited("--memory", f"{memory}M", "--memory-swap", f"{swap}M", check=True)
        assert limited.file("memory.limit_in_bytes") == str(memory * MIB)
        assert limited.file("memory.memsw.limit_in_bytes") == str(swap * MIB)
    limited("--memory", "-1", check=True)
    assert limited.file("memory.memsw.limit_in_bytes") == "9223372036854771712"
    limited("--memory", "50M", check=True)
    assert limited.file("memory.limit_in_bytes") == str(50 * MIB)


@pytest.mark.parametrize("how", ["-", "file"])
def test_a_file(limited: Limited, tmp_path: Path, how: str) -> None:
    """Also with nulls, which ask for nothing; other flags are ignored, as runc says it does."""
    text = json.dumps(
        {
            "memory": {"limit": 48 * MIB, "swap": None},
            "cpu": {"shares": 300, "cpus": "0"},
            "pids": {"limit": 30},
            "blockIO": None,
            "unknown": 1,
        }
    )
    (tmp_path / "limits").write_text(text)
    word = "-" if how == "-" else str(tmp_path / "limits")
    limited("--cpu-share", "999", "--resources", word, stdin=text, check=True)
    assert limited.file("memory.limit_in_bytes") == str(48 * MIB)
    assert limited.file("cpu.shares") == "300"
    assert limited.file("cpu.cfs_quota_us") == "500000"
    assert limited.file("cpuset.cpus") == "0"
    assert limited.file("pids.max") == "30"


def test_flags_behind_the_id(limited: Limited) -> None:
    limited.lcpy("update", limited.id, "--pids-limit", "11", "-r", "", check=True)
    assert limited.file("pids.max") == "11"


@pytest.mark.parametrize("paused", [False, True])
def test_a_created_and_a_paused_one(lcpy: "Lcpy", bundle: "Bundle", paused: bool) -> None:
    container = lcpy.new_id()
    lcpy("create", "--bundle", bundle("sleep", "60", change=limits), container, check=True)
    if paused:
        lcpy("pause", container, check=True)
    lcpy("update", "--pids-limit", "15", container, check=True)
    assert lcpy.state(container)["status"] == ("paused" if paused else "created")
    record = json.loads((lcpy.root / container / "state.json").read_text())
    paths = record["cgroups"]["paths"]
    assert (Path(paths.get("pids") or paths[""]) / "pids.max").read_text() == "15\n"


def test_a_stopped_one(limited: Limited) -> None:
    limited.lcpy("kill", limited.id, "KILL", check=True)
    limited.lcpy.wait_for(limited.id, "stopped")
    refused(limited("--pids-limit", "5"), "container not running")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--memory", "x"], "invalid value for memory: invalid size: 'x'"),
        (["--memory", "1.5x"], "invalid value for memory: invalid size: '1.5x'"),
        (["--memory", "-2"], "invalid value for memory: invalid size: '-2'"),
        (["--memory-swap", "1_0"], "invalid value for memory-swap"),
        (["--cpu-share", "-1"], 'invalid value for cpu-share: parsing \\"-1\\": invalid syntax'),
        (["--cpu-quota", "many"], "invalid value for cpu-quota"),
        (["--cpu-idle", "-1"], "linux.resources.cpu.idle"),
        (["--cpu-quota", "10"], "linux.resources.cpu.quota"),
        (["--cpuset-cpus", "99"], "linux.resources.cpu.cpus"),
        (["--cpuset-cpus", "a"], "linux.resources.cpu.cpus"),
        (["--blkio-weight", "70000"], "linux.resources.blockIO.weight"),
        (["--memory", "4M", "--memory-swap", "2M"], "linux.resources.memory.swap"),
        (["--l3-cache-schema", "L3:0=f"], "Intel RDT/CAT: l3 cache schema is not enabled"),
        (["--mem-bw-schema", "MB:0=50"], "Intel RDT/MBA: memory bandwidth schema is not enabled"),
        (["--resources", "/nope/nope"], "open /nope/nope: no such file or directory"),
    ],
)
def test_what_is_refused(limited: Limited, words: list[str], text: str) -> None:
    """With the flag or the field; and nothing has changed."""
    refused(limited("--pids-limit", "7", *words), text)
    assert {name: limited.file(name) for name in FILES} == FILES


def test_a_word_that_is_no_number(limited: Limited) -> None:
    done = limited("--pids-limit", "x")
    assert done.returncode == 1
    assert done.stdout.startswith("Incorrect Usage.")
    assert 'invalid value \\"x\\" for flag -pids-limit: parse error' in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "standard input is not JSON"),
        ('{"cpu":{"sh', "standard input is not JSON"),
        ("[]", "standard input holds no object"),
        ("null", "standard input holds no object"),
        ('{"cpu": {"shares": "x"}}', "linux.resources.cpu.shares"),
        ('{"cpu": {"shares": -1}}', "linux.resources.cpu.shares"),
        ('{"pids": 5}', "linux.resources.pids"),
        ('{"memory": {"limit": 1.5}}', "linux.resources.memory.limit"),
        ('{"unified": {"../x": "1"}}', "linux.resources.unified"),
        ('{"unified": {"memory.max": "1"}}', "linux.resources.unified"),
        ("[" * 5000, "nested too deeply"),
        ('{"x": "' + "x" * (2 << 20) + '"}', "--resources: more than"),
    ],
)
def test_a_file_that_is_not_good(limited: Limited, text: str, said: str) -> None:
    refused(limited("--resources", "-", stdin=text), said)
    assert {name: limited.file(name) for name in FILES} == FILES


def test_what_is_ignored_is_said(limited: Limited) -> None:
    done = limited("--kernel-memory", "1M", "--kernel-memory-tcp", "1M", check=True)
    assert done.stderr.count("level=warning") == 2
    assert "kernel memory limits are ignored" in done.stderr
    rules = json.dumps({"devices": [{"allow": True, "access": "rwm"}], "pids": {"limit": 9}})
    devices = limited.file("devices.list")
    done = limited("--resources", "-", stdin=rules, check=True)
    assert "the rules for devices stay as they are" in done.stderr
    assert limited.file("devices.list") == devices
    assert limited.file("pids.max") == "9"


def test_a_refused_one_is_taken_back(limited: Limited) -> None:
    """Also what an earlier update had set, and what nobody had."""
    limited("--pids-limit", "50", check=True)
    text = json.dumps({"pids": {"limit": 60}, "cpu": {"shares": 700, "cpus": "99"}})
    refused(limited("--resources", "-", stdin=text), "linux.resources.cpu.cpus")
    assert limited.file("pids.max") == "50"
    assert limited.file("cpu.shares") == "100"


def test_three_at_once(limited: Limited) -> None:
    """All are done, one after the other: what is refused in one is not put back over another."""
    updates = [
        subprocess.Popen(limited.lcpy.argv("update", *words, limited.id), stdin=subprocess.DEVNULL)
        for words in (["--pids-limit", "33"], ["--cpu-share", "333"], ["--memory", "33M"])
    ]
    assert [each.wait(20) for each in updates] == [0, 0, 0]
    assert limited.file("pids.max") == "33"
    assert limited.file("cpu.shares") == "333"
    assert limited.file("memory.limit_in_bytes") == str(33 * MIB)


def test_of_none(lcpy: "Lcpy") -> None:
    refused(lcpy("update", "--pids-limit", "5", "nope"), "container does not exist")


# --- how it is read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0", 0), ("-1", -1), ("512", 512), ("512b", 512), ("1k", 1024), ("1K", 1024)),
        *(("2kb", 2048), ("2KiB", 2048), ("3M", 3 * MIB), ("1.5g", 3 << 29), ("1 G", 1 << 30)),
        *(("2t", 2 << 40), ("1p", 1 << 50), ("0.5k", 512), ("9223372036854775807", (1 << 63) - 1)),
    ],
)
def test_sizes(text: str, value: int) -> None:
    assert words_of_update._size(text) == value


@pytest.mark.parametrize(
    "text",
    ["", " ", "k", "-2", "+1", "1e3", "1..5", ".5k", "1.", "1x", "1kk", "0x10", "²", "9" * 40],
)
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="invalid size"):
        words_of_update._size(text)


def test_what_was_asked_for_is_not_changed() -> None:
    asked = {"memory": {"limit": -1, "kernel": 5}, "devices": [{"allow": False, "access": "rwm"}]}
    copy = json.loads(json.dumps(asked))
    new, warnings = update.check(asked)
    assert asked == copy
    assert new == {"memory": {"limit": -1}}
    assert len(warnings) == 2
    assert "Pids" in update.check({"Pids": {"limit": 5}})[1][0]  # which Go would take for pids
