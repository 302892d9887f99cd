"""/proc/thread-self/attr: where a process asks the security modules for a label.

The file of that name that the container sees may be a fake, of the image's or of a neighbour's: a
label written to it would be lost, and the program would run without (CVE-2019-16884,
CVE-2019-19921, CVE-2025-52881). So the way there begins at the host's procfs, which the parent has
opened and proved, and crosses neither another mount nor a magic link.

The kernel takes a label from the process that has opened the file alone, and forgets it at an
execve. So it is the finish list that opens the file. A clone of the list's has the label, too.
"""

import posix

from libcontainer_py.errors import StepError
from libcontainer_py.linux.flags import PROC_SUPER_MAGIC
from libcontainer_py.linux.syscalls import fstatfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer_py.namespaces.finish import Calls

# fs/proc/root.c: the top of every procfs has this inode, and nothing else in it has.
_PROC_ROOT_INO = 1

# fs/proc/base.c cuts what is longer off, and says that it has written it.
SIZE_MAX = 4096


def open_procfs() -> int:
    """Open the top of the host's procfs; to be called where /proc is still the host's.

    Raises:
        StepError: /proc is no procfs
    """
    flags = posix.O_PATH | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
    proc = posix.open("/proc", flags)
    if fstatfs(proc)[0] != PROC_SUPER_MAGIC or posix.fstat(proc).st_ino != _PROC_ROOT_INO:
        posix.close(proc)
        raise StepError("ApplyProfile", 0, "/proc is not procfs")
    return proc


def write_attr(calls: "Calls", procfs: int, name: str, value: str) -> None:
    """Write one of the calling thread's attributes."""
    data = value.encode("utf-8", "surrogateescape")
    calls.write_beneath(procfs, f"thread-self/attr/{name}", data)
