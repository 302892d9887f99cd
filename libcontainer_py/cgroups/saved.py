"""What an update of limits is about to change, to be put back when the kernel refuses a part."""

from libcontainer_py.cgroups.files import read, write
from libcontainer_py.cgroups.hugetlb import page_sizes
from libcontainer_py.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# (part of `resources`, controller of v1, files), in the order in which they are put back.
_V1 = (
    ("pids", "pids", "pids.max"),
    ("cpu", "cpu", "cpu.idle cpu.shares cpu.cfs_period_us cpu.cfs_quota_us cpu.cfs_burst_us"),
    ("cpu", "cpu", "cpu.rt_period_us cpu.rt_runtime_us"),
    ("cpu", "cpuset", "cpuset.cpus cpuset.mems"),
    ("memory", "memory", "memory.limit_in_bytes memory.memsw.limit_in_bytes"),
    ("memory", "memory", "memory.soft_limit_in_bytes memory.swappiness memory.oom_control"),
    ("blockIO", "blkio", "blkio.weight blkio.bfq.weight blkio.leaf_weight"),
    ("blockIO", "blkio", "blkio.weight_device blkio.bfq.weight_device blkio.leaf_weight_device"),
    ("blockIO", "blkio", "blkio.throttle.read_bps_device blkio.throttle.write_bps_device"),
    ("blockIO", "blkio", "blkio.throttle.read_iops_device blkio.throttle.write_iops_device"),
    ("network", "net_cls", "net_cls.classid"),
    ("network", "net_prio", "net_prio.ifpriomap"),
    ("rdma", "rdma", "rdma.max"),
)
_V2 = (
    ("pids", "pids.max"),
    ("cpu", "cpu.idle cpu.weight cpu.max cpu.max.burst cpuset.cpus cpuset.mems"),
    ("memory", "memory.max memory.swap.max memory.low"),
    ("blockIO", "io.weight io.bfq.weight io.max"),
    ("rdma", "rdma.max"),
)
# What takes a device's line away from a file that lists devices.
_NO_LINE = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "blkio.bfq.weight_device": "default",
}

# Some values depend on each other (a limit of memory, and one of memory and swap; a quota and its
# burst): what is refused at first is tried again when the others are back.
_ROUNDS = 3


def files_v1(resources: "dict[str, Any]", paths: "dict[str, str]") -> "list[str]":
    """List the files that v1's limits are written to; `paths` is by controller."""
    found = [
        f"{paths[controller]}/{file}"
        for part, controller, files in _V1
        if resources.get(part) and controller in paths
        for file in files.split()
    ]
    if resources.get("hugepageLimits") and "hugetlb" in paths:
        found += _hugetlb(paths["hugetlb"], "limit_in_bytes")
    return found


def files_v2(resources: "dict[str, Any]", path: str) -> "list[str]":
    """List the files that v2's limits are written to."""
    found = [
        f"{path}/{file}" for part, files in _V2 if resources.get(part) for file in files.split()
    ]
    if resources.get("hugepageLimits"):
        found += _hugetlb(path, "max")
    return found + [f"{path}/{file}" for file in resources.get("unified") or {}]


def _hugetlb(path: str, file: str) -> "list[str]":
    return [
        f"{path}/hugetlb.{size}{kind}.{file}" for size in page_sizes() for kind in ("", ".rsvd")
    ]


class Saved:
    """The contents of files as they are now: with ``with``, put back when that fails.

    A file that isn't there is no loss, because nothing can be written to it either.
    """

    def __init__(self, files: "list[str]") -> None:
        self._texts = {}
        for file in files:
            text = _try_read(file)
            if text is not None:
                self._texts[file] = text

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: "BaseException | None", _traceback: object) -> None:
        if error is not None:
            for complaint in self.restore():
                error.add_note(complaint)

    def restore(self) -> "list[str]":
        """Put back what differs by now; word what can't be."""
        complaints: list[str] = []
        for _round in range(_ROUNDS):
            complaints = []
            for file, text in self._texts.items():
                now = _try_read(file)
                if now is not None and now != text:
                    complaints += _put_back(file, text, now)
            if not complaints:
                break
        return complaints


def _put_back(file: str, text: str, now: str) -> "list[str]":
    for line in _lines(file.rpartition("/")[2], text, now):
        try:
            write(file, line)
        except StepError as error:
            return [f"it could not be put back: {error}"]
    return []


def _lines(name: str, text: str, now: str) -> "list[str]":
    """Say what to write to a file that says `now`, for it to say `text`."""
    if name == "memory.oom_control":
        return text.split()[1:2]  # oom_kill_disable, and nothing else can be written
    before = text.splitlines()
    known = {line.split(" ")[0] for line in before}
    extra = [key for line in now.splitlines() if ":" in (key := line.split(" ")[0])]
    gone = [f"{key} {_NO_LINE.get(name, '0')}" for key in extra if key not in known]
    return gone + (before or ([] if gone else [""]))


def _try_read(file: str) -> "str | None":
    try:
        return read(file)
    except StepError:
        return None
