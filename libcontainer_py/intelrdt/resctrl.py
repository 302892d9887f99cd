"""The kernel's resctrl file system: where it is mounted, what is in it, and what it complains of.

Documentation/filesystems/resctrl.rst of the kernel. Whoever runs the host mounts it, most often at
/sys/fs/resctrl. A directory in it is a class of service (CLOS), with the tasks that are in it and
what they may have, a line for each resource:

    tasks       process ids
    schemata    L3:0=7f0;1=1f
                MB:0=20;1=70
    mon_groups/ groups of its tasks that are measured each by itself
"""

import fcntl
import posix
import time

from libcontainer_py.cgroups.files import read
from libcontainer_py.cgroups.hierarchies import unescape
from libcontainer_py.errors import StepError, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

# The type of the mount, as /proc/self/mountinfo has it (proc(5)).
FSTYPE = "resctrl"

_LOCK_SECONDS = 10.0
_EAGAIN = 11


def mountpoint() -> "str | None":
    """Find where it is mounted; None where it is not."""
    for line in read("/proc/self/mountinfo").splitlines():
        left, _dash, right = line.partition(" - ")
        if right.partition(" ")[0] == FSTYPE:
            return unescape(left.split(" ")[4])
    return None


def can(mounted: str, resource: str) -> bool:
    """Has this processor (and the kernel's command line left it) ``L3``, ``MB`` or ``L3_MON``?"""
    return posix.access(f"{mounted}/info/{resource}", posix.F_OK)


class Alone:
    """``with Alone(mountpoint):`` nobody else changes it meanwhile, who heeds the kernel's advice
    to lock it (resctrl.rst, «Resctrl locking»); and an error says what resctrl itself says of it.

    Raises:
        StepError: somebody has it for ten seconds already
    """

    __slots__ = ("_fd", "_mounted")

    def __init__(self, mounted: str) -> None:
        self._mounted = mounted

    def __enter__(self) -> None:
        try:
            self._fd = posix.open(
                self._mounted, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC
            )
        except OSError as error:
            raise StepError(None, error.errno or 0, f"open {shown(self._mounted)}") from None
        try:
            self._lock()
        except BaseException:
            posix.close(self._fd)
            raise

    def _lock(self) -> None:
        end = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise StepError(None, _EAGAIN, f"lock {shown(self._mounted)}") from None
                time.sleep(0.005)

    def __exit__(
        self,
        _kind: "type[BaseException] | None",
        error: "BaseException | None",
        _trace: "TracebackType | None",
    ) -> None:
        try:
            if isinstance(error, StepError) and error.hint is None:
                error.hint = self._last_complaint()
        finally:
            posix.close(self._fd)

    def _last_complaint(self) -> "str | None":
        try:
            complaint = read(f"{self._mounted}/info/last_cmd_status").strip()
        except StepError:
            return None  # before Linux 4.15
        return f"resctrl says: {shown(complaint)}" if complaint != "ok" else None
