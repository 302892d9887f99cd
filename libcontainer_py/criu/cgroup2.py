"""The options of the host's cgroup2, which criu changes: they are put back.

Whoever mounts cgroup2 in the host's cgroup namespace sets the options of all of it, of what systemd
has mounted, too (Documentation/admin-guide/cgroup-v2.rst, «Mounting»). criu mounts it to look at
cgroups, without options (criu issue 3029), and `nsdelegate` is gone, by which containers are kept
from changing the limits on their own cgroups.
"""

import fcntl
import posix

from libcontainer_py.linux.flags import FSOPEN_CLOEXEC
from libcontainer_py.linux.syscalls import fsconfig_create, fsconfig_set_flag, fsopen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

# What the options were before the first criu of those at work; each of them shares a lock on it.
# Empty when the last one is done: what it holds while nobody has a lock is of some who were killed,
# and the options still have to be put back.
_FILE = "/run/lcpy-cgroup2"
_LONGEST = 4096


class KeptOptions:
    """``with KeptOptions():`` puts back at its end what was changed within."""

    __slots__ = ("_before", "_fd")

    def __enter__(self) -> "Self":
        self._before: list[str] = []
        self._fd = -1
        if posix.geteuid() == 0:  # nobody else's criu mounts anything
            self._share()
        return self

    def _share(self) -> None:
        """Learn what the options were before the first of those who are at work now."""
        flags = posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC
        self._fd = posix.open(_FILE, flags, 0o600)
        kept = None
        while kept is None:
            if self._alone() and self._kept() is None:
                posix.pwrite(self._fd, " ".join(_options()).encode() + b"\n", 0)
            fcntl.flock(self._fd, fcntl.LOCK_SH)
            kept = self._kept()  # none, where the last one was just about to empty the file
        self._before = kept

    def _alone(self) -> bool:
        """Get the file for ourselves, where nobody else is at work; else lose our share of it."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _kept(self) -> "list[str] | None":
        data = posix.pread(self._fd, _LONGEST, 0)
        return data.decode().split() if data else None

    def __exit__(self, *_error: object) -> None:
        if self._fd < 0:
            return
        try:
            # First of all: who is alone knows that nobody changes them behind his back.
            last = self._alone()
            if self._before and _options() != self._before:
                self._put_back()
            if last:
                posix.ftruncate(self._fd, 0)
        finally:
            posix.close(self._fd)

    def _put_back(self) -> None:
        # In the way that they were changed; it need not be mounted for that.
        context = fsopen("cgroup2", FSOPEN_CLOEXEC)
        try:
            for name in self._before:
                fsconfig_set_flag(context, name)
            fsconfig_create(context)
        finally:
            posix.close(context)


def _options() -> "list[str]":
    """Those of cgroup2, from where it is mounted first (proc(5)); none where it is not."""
    fd = posix.open("/proc/self/mountinfo", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        text = b""
        while part := posix.read(fd, 1 << 16):
            text += part
    finally:
        posix.close(fd)
    for line in text.decode("utf-8", "surrogateescape").split("\n")[:-1]:
        fstype, _source, options = line.partition(" - ")[2].split(" ")[:3]
        if fstype == "cgroup2":
            return [each for each in options.split(",") if each not in ("rw", "ro")]
    return []
