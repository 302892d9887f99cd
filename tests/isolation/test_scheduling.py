"""security/scheduling.py, affinity.py and memorypolicy.py, as the kernel tells it afterwards.

All of it happens in children, held to rule 1 of the child, so that this process stays as it was.
"""

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EINVAL, EPERM
from pathlib import Path
from struct import calcsize, unpack_from
from typing import Any

import pytest

from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.linux.flags import CLONE_NEWNS, CLONE_NEWUSER
from libcontainer_py.linux.numbers import MACHINE
from libcontainer_py.security import affinity, memorypolicy, scheduling
from tests.isolation.mount_child import ChildError, in_child, sealed

SCHED_GETATTR, IOPRIO_GET, GET_MEMPOLICY = {
    "x86_64": (315, 252, 239),
    "aarch64": (275, 31, 236),
}[MACHINE]
LIBC = ctypes.CDLL(None, use_errno=True)


def sched_getattr(pid: int = 0) -> dict[str, int]:
    data = ctypes.create_string_buffer(calcsize("IIQiIQQQ"))
    assert LIBC.syscall(SCHED_GETATTR, pid, data, len(data), 0) == 0, ctypes.get_errno()
    names = ("size", "policy", "flags", "nice", "priority", "runtime", "deadline", "period")
    return dict(zip(names, unpack_from("IIQiIQQQ", data), strict=True))


def ioprio_get(pid: int = 0) -> tuple[int, int]:
    value = LIBC.syscall(IOPRIO_GET, 1, pid)
    assert value >= 0, ctypes.get_errno()
    return value >> 13, value & 7


def get_mempolicy() -> tuple[int, int]:
    mode, nodes = ctypes.c_int(), (ctypes.c_ulong * 16)()
    done = LIBC.syscall(GET_MEMPOLICY, ctypes.byref(mode), nodes, 1024, None, 0)
    assert done == 0, ctypes.get_errno()
    return mode.value, nodes[0]


def after(change: Callable[[], None], look: Callable[[], Any]) -> Any:
    """What `look` returns in a child that did `change`, by the rules of the child."""

    def both() -> Any:
        with sealed():
            change()
        return look()

    return in_child(both)


@contextmanager
def waiting(flags: int = 0) -> "Iterator[int]":
    """The id of a process that does nothing, in a new user namespace if asked for."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if flags:
                os_unshare(flags)
            os.write(writer, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    try:
        assert os.read(reader, 1) == b"x"
        yield pid
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def os_unshare(flags: int) -> None:
    assert LIBC.unshare(flags) == 0, ctypes.get_errno()


# --- process.scheduler ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheduler", "found"),
    [
        ({"policy": "SCHED_OTHER", "nice": 7}, {"policy": 0, "nice": 7}),
        ({"policy": "SCHED_OTHER", "nice": -7}, {"policy": 0, "nice": -7}),
        ({"policy": "SCHED_FIFO", "priority": 99}, {"policy": 1, "priority": 99}),
        ({"policy": "SCHED_RR", "priority": 1}, {"policy": 2, "priority": 1}),
        ({"policy": "SCHED_BATCH", "nice": 19}, {"policy": 3, "nice": 19}),
        ({"policy": "SCHED_IDLE"}, {"policy": 5}),
        (
            {"policy": "SCHED_DEADLINE", "runtime": 10**6, "deadline": 10**7, "period": 10**8},
            {"policy": 6, "runtime": 10**6, "deadline": 10**7, "period": 10**8},
        ),
        (
            {"policy": "SCHED_RR", "priority": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
            {"policy": 2, "priority": 5, "flags": 1},
        ),
        (
            {
                "policy": "SCHED_DEADLINE",
                "runtime": 10**6,
                "deadline": 10**8,
                "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"],
            },
            {"policy": 6, "runtime": 10**6, "period": 10**8, "flags": 6},
        ),
        (  # the policy stays the child's own, which has no priorities
            {"policy": "SCHED_FIFO", "priority": 5, "flags": ["SCHED_FLAG_KEEP_POLICY"]},
            EINVAL,
        ),
        (
            {
                "policy": "SCHED_FIFO",
                "flags": ["SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS"],
            },
            {"policy": 0, "priority": 0},
        ),
        ({"policy": "SCHED_ISO"}, EINVAL),
        ({"policy": "SCHED_FIFO", "priority": 100}, EINVAL),
    ],
    ids=lambda value: value["policy"] if isinstance(value, dict) and len(value) < 5 else "",
)
def test_the_kernel_has_what_was_asked(
    scheduler: dict[str, Any], found: "dict[str, int] | int"
) -> None:
    if isinstance(found, int):
        with pytest.raises(ChildError, match=scheduler["policy"]) as caught:
            after(lambda: scheduling.set_scheduler(scheduler), sched_getattr)
        assert (caught.value.field, caught.value.errno) == ("process.scheduler", found)
    else:
        attributes = after(lambda: scheduling.set_scheduler(scheduler), sched_getattr)
        assert {name: attributes[name] for name in found} == found


@pytest.mark.parametrize("name", ["SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"])
def test_clamps_of_utilisation_are_the_kernels_to_have(name: str) -> None:
    """Not every kernel is built with them; one without says so, and nothing is set."""
    scheduler = {"policy": "SCHED_BATCH", "flags": [name]}
    try:
        attributes = after(lambda: scheduling.set_scheduler(scheduler), sched_getattr)
    except ChildError as error:
        assert "SCHED_BATCH: operation not supported" in error.text
    else:
        assert attributes["policy"] == 3


def test_who_may_not_is_told_what_it_takes() -> None:
    def change() -> None:
        os.setresuid(65534, 65534, 65534)
        scheduling.set_scheduler({"policy": "SCHED_DEADLINE", "runtime": 10**6, "deadline": 10**7})

    with pytest.raises(ChildError) as caught:
        after(change, sched_getattr)
    assert caught.value.text == (
        "setupScheduler: process.scheduler: SCHED_DEADLINE: operation not permitted "
        "(it needs CAP_SYS_NICE, and such a process scheduler can't be used together with "
        "AllowedCPUs: linux.resources.cpu.cpus)"
    )


def test_for_a_user_namespace_it_is_done_from_outside() -> None:
    """Its own root lacks the right: why the functions take a process id."""
    scheduler = {"policy": "SCHED_FIFO", "priority": 3}
    with pytest.raises(ChildError) as caught:
        in_child(lambda: scheduling.set_scheduler(scheduler), CLONE_NEWNS | CLONE_NEWUSER)
    assert caught.value.errno == EPERM
    with waiting(CLONE_NEWUSER) as pid:
        scheduling.set_scheduler(scheduler, pid)
        scheduling.set_io_priority({"class": "IOPRIO_CLASS_RT", "priority": 1}, pid)
        attributes = sched_getattr(pid)
        assert (attributes["policy"], attributes["priority"]) == (1, 3)
        assert ioprio_get(pid) == (1, 1)
    assert sched_getattr()["policy"] == 0


# --- process.ioPriority ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("io_priority", "found"),
    [
        ({"class": "IOPRIO_CLASS_RT", "priority": 0}, [1, 0]),
        ({"class": "IOPRIO_CLASS_RT", "priority": 7}, [1, 7]),
        ({"class": "IOPRIO_CLASS_BE", "priority": 6}, [2, 6]),
        ({"class": "IOPRIO_CLASS_BE"}, [2, 0]),
        ({"class": "IOPRIO_CLASS_IDLE", "priority": 4}, [3, 4]),
    ],
)
def test_io_priority(io_priority: dict[str, Any], found: list[int]) -> None:
    assert after(lambda: scheduling.set_io_priority(io_priority), ioprio_get) == found


def test_children_inherit_the_io_priority() -> None:
    def look() -> Any:
        return in_child(ioprio_get)

    change = {"class": "IOPRIO_CLASS_BE", "priority": 5}
    assert after(lambda: scheduling.set_io_priority(change), look) == [2, 5]


def test_real_time_io_is_not_for_everybody() -> None:
    def change() -> None:
        os.setresuid(65534, 65534, 65534)
        scheduling.set_io_priority({"class": "IOPRIO_CLASS_RT", "priority": 1})

    with pytest.raises(ChildError) as caught:
        after(change, ioprio_get)
    assert caught.value.text == (
        "setupIOPriority: process.ioPriority: IOPRIO_CLASS_RT: operation not permitted "
        "(it needs CAP_SYS_NICE)"
    )


# --- process.execCPUAffinity ----------------------------------------------------------------


def allowed() -> str:
    """The CPUs that the calling process may run on, as the kernel prints them."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (found,) = (line.split()[1] for line in lines if line.startswith("Cpus_allowed_list:"))
    return found


def test_affinity_and_back() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    assert after(lambda: affinity.set_affinity(0, [cpus[-1]]), allowed) == str(cpus[-1])
    # What is not there does not hinder what is.
    assert after(lambda: affinity.set_affinity(0, [cpus[0], 700, 65536]), allowed) == str(cpus[0])

    def there_and_back() -> None:
        affinity.set_affinity(0, [cpus[0]])
        affinity.reset_affinity(0)

    assert affinity.parse_cpus(after(there_and_back, allowed)) == cpus


def test_affinity_of_another_process() -> None:
    last = max(os.sched_getaffinity(0))
    with waiting() as pid:
        affinity.set_affinity(pid, [last])
        assert os.sched_getaffinity(pid) == {last}
        affinity.reset_affinity(pid)
        assert os.sched_getaffinity(pid) == os.sched_getaffinity(0)


def test_cpus_that_are_not_there() -> None:
    with waiting() as pid:
        with pytest.raises(StepError) as caught:
            affinity.set_affinity(pid, [7000], "process.execCPUAffinity.final")
        assert os.sched_getaffinity(pid) == os.sched_getaffinity(0)
    assert str(caught.value) == (
        "process.execCPUAffinity.final: set the CPUs 7000: invalid argument"
    )


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", []),
        ("0", [0]),
        ("0-3,7", [0, 1, 2, 3, 7]),
        (" 7, 1-2 ,,2,", [1, 2, 7]),
        ("007", [7]),
        ("65536", [65536]),
    ],
)
def test_lists_of_cpus(text: str, cpus: list[int]) -> None:
    assert affinity.parse_cpus(text) == cpus


@pytest.mark.parametrize(
    "text", ["-", "1-", "-1", "3-2", "1-2-3", "a", "0x1", "1 2", "²", "٣", "65537", ",", " ", "1_0"]
)
def test_no_lists_of_cpus(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        affinity.parse_cpus(text, "process.execCPUAffinity.initial")
    assert caught.value.field == "process.execCPUAffinity.initial"


# --- linux.memoryPolicy ---------------------------------------------------------------------

STATIC, RELATIVE, BALANCING = 1 << 15, 1 << 14, 1 << 13


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        ({"mode": "MPOL_DEFAULT"}, [0, 0]),
        ({"mode": "MPOL_PREFERRED", "nodes": "0"}, [1, 1]),
        ({"mode": "MPOL_BIND", "nodes": "0"}, [2, 1]),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, [2 | STATIC, 1]),
        (
            {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]},
            [2 | RELATIVE, 1],
        ),
        (
            {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]},
            [2 | BALANCING, 1],
        ),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, [3, 1]),
        ({"mode": "MPOL_LOCAL"}, [4, 0]),
        ({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}, [5, 1]),
    ],
    ids=lambda value: (
        "-".join([value["mode"], *value.get("flags", ())]) if isinstance(value, dict) else ""
    ),
)
def test_memory_policy(policy: dict[str, Any], found: list[int]) -> None:
    assert after(lambda: memorypolicy.set_memory_policy(policy), get_mempolicy) == found


def test_a_preferred_mode_without_nodes_is_the_local_one() -> None:
    change = {"mode": "MPOL_PREFERRED"}
    assert after(lambda: memorypolicy.set_memory_policy(change), get_mempolicy)[1] == 0


@pytest.mark.parametrize("nodes", ["900", "1023", "65536"])
def test_nodes_that_are_not_there(nodes: str) -> None:
    policy = {"mode": "MPOL_BIND", "nodes": nodes}
    with pytest.raises(ChildError) as caught:
        after(lambda: memorypolicy.set_memory_policy(policy), get_mempolicy)
    assert caught.value.text == (
        "setupMemoryPolicy: linux.memoryPolicy: MPOL_BIND: invalid argument"
    )


def test_a_list_that_is_none() -> None:
    with pytest.raises(ConfigError) as caught:
        memorypolicy.set_memory_policy({"mode": "MPOL_BIND", "nodes": "x"})
    assert caught.value.field == "linux.memoryPolicy.nodes"
