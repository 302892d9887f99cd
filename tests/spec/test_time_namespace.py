"""`linux.timeOffsets`: the clocks of a new time namespace, or of one that is joined."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Config
    from tests.spec.conftest import Box, Change

DAY = 86400
SLACK = 60  # seconds that a test may take on a busy machine


def offsets(path: "str | None" = None, **clocks: Any) -> "Change":
    def change(config: "Config") -> None:
        namespace = {"type": "time"} | ({"path": path} if path else {})
        config["linux"]["namespaces"].append(namespace)
        if clocks:
            config["linux"]["timeOffsets"] = clocks

    return change


def clock(name: int) -> float:
    return time.clock_gettime(name)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that prints MONOTONIC, BOOTTIME and REALTIME, in seconds."""
    source = tmp_path / "clocks.c"
    source.write_text(
        "#include <stdio.h>\n#include <time.h>\nint main(void) { struct timespec t;"
        " int ids[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME};"
        " for (int i = 0; i < 3; i++) { clock_gettime(ids[i], &t);"
        ' printf("%ld.%09ld\\n", (long)t.tv_sec, t.tv_nsec); } return 0; }\n'
    )
    argv = ["gcc", "-static", "-o", str(tmp_path / "clocks"), str(source)]
    subprocess.run(argv, check=True, timeout=60)
    return tmp_path / "clocks"


def test_the_clocks(box: "Box", program: Path) -> None:
    """By the clocks themselves (also where a C library reads them without the kernel)."""
    change = offsets(monotonic={"secs": 3 * DAY, "nanosecs": 500}, boottime={"secs": 7 * DAY})
    bundle = box.bundle(["/clocks"], change, own_root=True)
    program.rename(bundle / "rootfs/clocks")
    before = [clock(time.CLOCK_MONOTONIC), clock(time.CLOCK_BOOTTIME), time.time()]
    said = [float(line) for line in box.out(bundle=bundle).splitlines()]
    wanted = [before[0] + 3 * DAY, before[1] + 7 * DAY, before[2]]
    for found, expected in zip(said, wanted, strict=True):
        assert expected <= found + 0.001 <= expected + SLACK
    assert abs(clock(time.CLOCK_MONOTONIC) - before[0]) < SLACK  # and ours stay


def test_uptime_and_what_the_kernel_has(box: "Box") -> None:
    change = offsets(boottime={"secs": 7 * DAY, "nanosecs": 5}, monotonic={"secs": -5})
    script = "cat /proc/self/timens_offsets; cut -d ' ' -f 1 /proc/uptime"
    *lines, uptime = box.lines(script, change=change)
    assert [line.split() for line in lines] == [
        ["monotonic", "-5", "0"],
        ["boottime", str(7 * DAY), "5"],
    ]
    expected = clock(time.CLOCK_BOOTTIME) + 7 * DAY
    assert expected - SLACK < float(uptime) <= expected


@pytest.mark.parametrize("clocks", [{}, {"boottime": {}}, {"monotonic": {"nanosecs": 7}}])
def test_a_new_one_with_few_offsets(box: "Box", clocks: "dict[str, Any]") -> None:
    script = "readlink /proc/self/ns/time; cat /proc/self/timens_offsets"
    link, *lines = box.lines(script, change=offsets(**clocks))
    assert link != os.readlink("/proc/self/ns/time")
    nanosecs = clocks.get("monotonic", {}).get("nanosecs", 0)
    assert [line.split() for line in lines] == [
        ["monotonic", "0", str(nanosecs)],
        ["boottime", "0", "0"],
    ]


def test_in_a_user_namespace_of_its_own(box: "Box") -> None:
    """Whose root may write the offsets; the host's need not help."""

    def change(config: "Config") -> None:
        offsets(boottime={"secs": DAY})(config)
        config["linux"]["namespaces"].append({"type": "user"})
        # The host's root: pytest's directories are closed to others.
        for name in ("uidMappings", "gidMappings"):
            config["linux"][name] = [{"containerID": 0, "hostID": 0, "size": 10}]

    said = box.lines("id -u; grep boottime /proc/self/timens_offsets", change=change)
    assert [said[0], *said[1].split()] == ["0", "boottime", str(DAY), "0"]


def test_all_of_its_processes_are_in_it(box: "Box") -> None:
    """Children too; and a second process that joins."""
    container = box.lcpy.new_id()
    bundle = box.bundle(["sleep", "60"], offsets(boottime={"secs": DAY}))
    box.lcpy("run", "--detach", "--bundle", bundle, container, check=True)
    pid = box.lcpy.state(container)["pid"]
    link = os.readlink(f"/proc/{pid}/ns/time")
    assert os.readlink(f"/proc/{pid}/ns/time_for_children") == link
    words = ["sh", "-c", "readlink /proc/self/ns/time; cut -d. -f1 /proc/uptime"]
    said = box.lcpy("exec", container, *words, check=True).stdout.split()
    assert said[0] == link
    assert int(said[1]) >= clock(time.CLOCK_BOOTTIME) + DAY - SLACK
    box.lcpy("delete", "--force", container, check=True)


@pytest.fixture
def path() -> Iterator[str]:
    """The path of somebody else's time namespace: a day later."""
    argv = ["unshare", "--time", "--boottime", str(DAY), "--fork", "sh", "-c", "echo $$; exec cat"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        yield f"/proc/{int(process.stdout.readline())}/ns/time"
        process.communicate()  # cat ends by its end of file, and unshare(1) after it


def test_a_joined_one(box: "Box", path: str) -> None:
    script = "readlink /proc/self/ns/time; cut -d. -f1 /proc/uptime"
    link, uptime = box.lines(script, change=offsets(path))
    assert link == os.readlink(path)
    assert int(uptime) >= clock(time.CLOCK_BOOTTIME) + DAY - SLACK


def test_offsets_for_a_joined_one_are_refused(box: "Box", path: str) -> None:
    error = box.refused(change=offsets(path, boottime={"secs": DAY}))
    assert "linux.timeOffsets: a joined time namespace has its own" in error


def without_a_namespace(config: "Config") -> None:
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 1}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_a_namespace, ["linux.timeOffsets", "isn't enabled"]),
        (offsets(realtime={"secs": 1}), ["linux.timeOffsets", "realtime"]),
        (offsets(boottime={"secs": 2**33}), ["linux.timeOffsets.boottime.secs"]),
        (offsets(boottime={"nanosecs": 10**9}), ["linux.timeOffsets.boottime.nanosecs"]),
        # Below 0 no clock may get: what that is depends on the host's, so the kernel says it.
        (offsets(boottime={"secs": -(10**9)}), ["linux.timeOffsets", "setTimeOffsets"]),
    ],
)
def test_what_is_refused(box: "Box", change: "Change", words: "list[str]") -> None:
    error = box.refused(change=change)
    for word in words:
        assert word in error
