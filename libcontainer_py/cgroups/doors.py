"""Doors for a second process: into the container's cgroups, or into some below them."""

import posix

from libcontainer_py.cgroups.files import read
from libcontainer_py.cgroups.hierarchies import UNIFIED, mounted
from libcontainer_py.cgroups.levels_v2 import refuses_processes
from libcontainer_py.cgroups.processes import GONE
from libcontainer_py.errors import ConfigError, StepError, shown

_ESRCH, _EBUSY = 3, 16

# By subsystem: the file that says so, and what of one that is not frozen.
_FREEZERS = (
    (UNIFIED, "cgroup.events", "frozen 0"),
    ("freezer", "freezer.state", "THAWED"),
)

# The words by which engines, and runc's own tests, know what went wrong.
_WHAT = "error adding pid of the new process to cgroups"


def below(path: str, sub: str) -> str:
    """Join a cgroup and a relative path; ``"/"`` is the cgroup itself.

    Raises:
        ConfigError: it would lead elsewhere
    """
    names = [name for name in sub.split("/") if name not in ("", ".")]
    if ".." in names or not sub.isprintable():
        raise ConfigError(f"bad sub cgroup path: {shown(sub)}")
    return "/".join((path, *names))


def unknown_controller(name: str) -> ConfigError:
    """Word the error of a controller that the container has no cgroup of."""
    return ConfigError(f"unknown controller {shown(name)} in SubCgroupPaths")


def open_file(path: str) -> int:
    """Open v1's ``tasks`` or v2's ``cgroup.procs`` for writing."""
    return _open(path, posix.O_WRONLY)


def open_unified(path: str) -> "tuple[int, int]":
    """Open a cgroup of v2: its directory, and ``cgroup.procs`` for writing.

    Raises:
        StepError: it isn't there, or the kernel lets no process in
    """
    directory = _open(path, posix.O_RDONLY | posix.O_DIRECTORY)
    try:
        if refuses_processes(path):
            hint = "it hands controllers down, so nobody may be in it"
            raise StepError(None, _EBUSY, f"{_WHAT}: enter {path}", hint=hint)
        return directory, open_file(path + "/cgroup.procs")
    except BaseException:
        posix.close(directory)
        raise


def present(path: str, init_pid: int) -> str:
    """Find the cgroup of v2 that a second process can enter: the container's own, where it can.

    A container may hand the controllers of its cgroup down, from a cgroup below into which it has
    moved itself; or move itself away, where it was given the host's cgroups, and remove its own.
    Then it is the one where its first process is now.

    Raises:
        StepError: its first process is elsewhere, though the container's own is there
    """
    is_there = posix.access(path, posix.F_OK)
    if is_there and not refuses_processes(path):
        return path
    now = _cgroup_of(init_pid)
    if is_there and not now.startswith(path + "/"):
        hint = f"it lets nobody in, and the container's first process is in {shown(now)}"
        raise StepError(None, _EBUSY, f"{_WHAT}: enter {path}", hint=hint)
    return now


def frozen(pid: int) -> "str | None":
    """Find the cgroup that stops a process, for itself or by one above it; None where none does."""
    try:
        return _frozen(pid)
    except StepError as error:
        if error.errno in (*GONE, _ESRCH):  # the process or its cgroup
            return None
        raise


def _frozen(pid: int) -> "str | None":
    inside = {}
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        _number, subsystems, cgroup = line.split(":", 2)
        inside[subsystems] = cgroup
    for hierarchy in mounted():
        for subsystem, file, thawed in _FREEZERS:
            if subsystem in hierarchy.subsystems:
                path = hierarchy.directory_of(inside[",".join(hierarchy.subsystems)])
                # A hierarchy's root has no such file.
                if path != hierarchy.mountpoint and thawed not in read(f"{path}/{file}"):
                    return path
    return None


def _cgroup_of(pid: int) -> str:
    for hierarchy in mounted():
        if UNIFIED in hierarchy.subsystems:
            for line in read(f"/proc/{pid}/cgroup").splitlines():
                if line.startswith("0::"):
                    return hierarchy.directory_of(line[len("0::") :])
    raise StepError(None, 0, f"{_WHAT}: find the cgroup of process {pid}")


def _open(path: str, flags: int) -> int:
    try:
        return posix.open(path, flags | posix.O_CLOEXEC)
    except OSError as error:
        raise StepError(None, error.errno or 0, f"{_WHAT}: open {path}") from None
