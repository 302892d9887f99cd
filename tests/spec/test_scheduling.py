"""`process.scheduler`, `process.ioPriority` and `linux.memoryPolicy`, from inside a container.

What each policy does alone is in tests/isolation/test_scheduling.py.
"""

from typing import TYPE_CHECKING, Any

import pytest

from tests.spec.test_cgroups import UNIFIED
from tests.unit.spec.samples import put

if TYPE_CHECKING:
    from tests.conftest import Config
    from tests.spec.conftest import Box, Change

# nice, real-time priority and policy: proc_pid_stat(5)
SCHEDULING = "cut -d' ' -f19,40,41 /proc/self/stat"
MAPPING = [{"containerID": 0, "hostID": 0, "size": 65536}]


def fields(changes: dict[str, Any]) -> "Change":
    def change(config: "Config") -> None:
        for field, value in changes.items():
            put(config, field, value)

    return change


def user_namespace(config: "Config") -> None:
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"] |= {"uidMappings": MAPPING, "gidMappings": MAPPING}


@pytest.mark.parametrize("inside", [False, True], ids=["", "in a user namespace"])
@pytest.mark.parametrize(
    ("changes", "script", "printed"),
    [
        (
            {"process.scheduler": {"policy": "SCHED_BATCH", "nice": -7}},
            SCHEDULING,
            "-7 0 3",
        ),
        (
            {
                "process.scheduler": {"policy": "SCHED_RR", "priority": 9},
                # A new cgroup of v1 has no real-time budget at all; v2 has no such limits.
                "linux.resources.cpu": {}
                if UNIFIED
                else {"realtimeRuntime": 1000, "realtimePeriod": 1000000},
            },
            SCHEDULING,
            "0 9 2",
        ),
        (
            {"process.ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 3}},
            "ionice -p $$",
            "realtime: prio 3",
        ),
        (
            {"linux.memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"}},
            "head -n 1 /proc/self/numa_maps | cut -d' ' -f2",
            "bind:0",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_program_has_it(
    box: "Box", changes: dict[str, Any], script: str, printed: str, inside: bool
) -> None:
    """Also in a user namespace, whose own root lacks the right to some of it."""

    def change(config: "Config") -> None:
        fields(changes)(config)
        if inside:
            user_namespace(config)

    assert box.lines(script, change=change) == [printed]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("process.scheduler", {"policy": "SCHED_FIFO"}, "process.scheduler.priority: 0 is not"),
        ("process.scheduler", {"policy": "SCHED_ISO"}, "process.scheduler.policy: Linux has no"),
        (
            "process.execCPUAffinity",
            {"final": "3-1"},
            "process.execCPUAffinity.final: the range 3-1 ends before it begins",
        ),
        (
            "linux.memoryPolicy",
            {"mode": "MPOL_BIND", "nodes": "zero"},
            "linux.memoryPolicy.nodes: is not a list of numbers",
        ),
    ],
)
def test_what_can_not_be_is_refused(
    box: "Box", field: str, value: dict[str, Any], words: str
) -> None:
    assert words in box.refused(change=fields({field: value}))


def test_what_the_kernel_refuses_leaves_nothing(box: "Box") -> None:
    policy = {"mode": "MPOL_BIND", "nodes": "900"}
    said = box.refused(change=fields({"linux.memoryPolicy": policy}))
    assert "setupMemoryPolicy: linux.memoryPolicy: MPOL_BIND: invalid argument" in said
