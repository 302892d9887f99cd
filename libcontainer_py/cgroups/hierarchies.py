"""What cgroup hierarchies this host has mounted, and where in them we are ourselves.

From /proc/self/cgroup (cgroups(7)) and /proc/self/mountinfo (proc(5)).
"""

import posix

from libcontainer_py.cgroups.files import read
from libcontainer_py.errors import StepError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# What runc puts a container into. Other named hierarchies belong to somebody else.
SUBSYSTEMS = (
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    "name=systemd",
)
UNIFIED = ""

# Where a hybrid host has its cgroup2 hierarchy. Mounted elsewhere, it belongs to somebody else.
HYBRID = "/sys/fs/cgroup/unified"
# And where one with cgroup v2 alone has it.
PURE = "/sys/fs/cgroup"

_ENOENT = 2


class Hierarchy:
    """One mounted hierarchy.

    Attributes:
        subsystems: the controllers on it, or one ``name=…``; ``[""]`` for the unified one
        own: the cgroup that the calling process is in, as the kernel names it
        mountpoint: where it is mounted
        root: the cgroup that is seen at the mount point (not ``/`` inside a container)
    """

    __slots__ = ("mountpoint", "own", "root", "subsystems")

    def __init__(self, subsystems: "list[str]", own: str, mountpoint: str, root: str) -> None:
        self.subsystems = subsystems
        self.own = own
        self.mountpoint = mountpoint
        self.root = root

    def directory_of(self, cgroup: str) -> str:
        """Find the directory of a cgroup that the kernel names.

        Raises:
            StepError: it is not below what is mounted
        """
        root = "" if self.root == "/" else self.root
        inside = cgroup == self.root or cgroup.startswith(root + "/")
        if not inside or ".." in cgroup.split("/"):
            raise StepError(
                None,
                _ENOENT,
                f"find the cgroup {quoted(cgroup)} of this process below {self.mountpoint}",
                field="linux.cgroupsPath",
                hint="an absolute cgroupsPath does not depend on it",
            )
        return (self.mountpoint + cgroup[len(root) :]).rstrip("/")


def mounted() -> "list[Hierarchy]":
    """List the hierarchies that are mounted, the unified one last."""
    own = _own_cgroups()
    found: dict[int, Hierarchy] = {}
    for mountpoint, root, fstype, options in _cgroup_mounts():
        for number, (subsystems, cgroup) in own.items():
            if number == 0:
                is_it = fstype == "cgroup2"
            else:
                is_it = fstype == "cgroup" and subsystems[0] in options
            # Of several mounts of one hierarchy the conventional place is the right one. Others
            # are most often those that belong to containers.
            if is_it and (number not in found or not _conventional(found[number].mountpoint)):
                found[number] = Hierarchy(subsystems, cgroup, mountpoint, root)
        # Each container adds mounts to this file, and the host's cgroups stand at its beginning:
        # what it costs must not depend on how many containers there are.
        if len(found) == len(own) and all(_conventional(h.mountpoint) for h in found.values()):
            break
    return [found[number] for number in sorted(found, reverse=True)]


def in_initial_user_namespace() -> bool:
    """Tell whether root is the host's root here."""
    try:
        return read("/proc/self/uid_map").split() == ["0", "0", "4294967295"]
    except StepError as error:
        if error.errno != _ENOENT:
            raise
        return True  # a kernel without user namespaces


def _conventional(mountpoint: str) -> bool:
    return mountpoint == "/sys/fs/cgroup" or mountpoint.startswith("/sys/fs/cgroup/")


def _own_cgroups() -> "dict[int, tuple[list[str], str]]":
    """Read our cgroups: by the hierarchy's number (0: unified), its subsystems and the path."""
    own = {}
    for line in read("/proc/self/cgroup").splitlines():
        number, subsystems, cgroup = line.split(":", 2)
        own[int(number)] = (subsystems.split(","), cgroup)
    return own


def _cgroup_mounts() -> "Iterator[tuple[str, str, str, list[str]]]":
    """Give (mount point, root, type, options of the hierarchy) of each cgroup mount."""
    fd = posix.open("/proc/self/mountinfo", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        rest = b""
        while chunk := posix.read(fd, 16384):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if b" - cgroup" not in line:
                    continue
                left, _dash, right = line.decode("utf-8", "surrogateescape").partition(" - ")
                fields = left.split(" ")
                fstype, _source, options = right.split(" ", 2)
                yield unescape(fields[4]), unescape(fields[3]), fstype, options.split(",")
    finally:
        posix.close(fd)


def unescape(text: str) -> str:
    """Undo the octal escapes by which mountinfo keeps its columns apart (``\\040``: a space)."""
    first, *parts = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in parts)
