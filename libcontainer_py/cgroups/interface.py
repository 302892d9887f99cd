"""What every driver of cgroups does. Each runs in the parent, `Entrance.enter` alone in the child.

`resources` is always ``linux.resources`` of config.json, as parsed. Every error is a StepError or
ConfigError that names the field, and every wait is bounded.
"""

import posix

from libcontainer_py.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Resources = dict[str, Any]
    State = dict[str, Any]

# runc's words, for a container that can't be paused.
CANNOT_TOGGLE = "cannot toggle freezer: cgroups not configured for container"


def asks(value: "Any") -> bool:
    """Tell whether a part of `resources` asks for anything: engines also write empty ones."""
    if isinstance(value, dict):
        return any(asks(item) for item in value.values())
    if isinstance(value, list):
        return any(asks(item) for item in value)
    return bool(value)


class CgroupMount:
    """One hierarchy, as a container's own ``/sys/fs/cgroup`` shows it.

    Attributes:
        name: the directory below ``/sys/fs/cgroup``: ``memory``, or ``cpu,cpuacct``; ``""`` is
            cgroup v2, which is ``/sys/fs/cgroup`` itself
        options: what mount(2) wants as data to mount this hierarchy: ``cpu,cpuacct``,
            ``name=systemd``
        path: the container's cgroup in it, on the host
        mountpoint: where the host has it mounted
        aliases: names that shall be symbolic links to `name`: ``("cpu", "cpuacct")``
        whole: a container without a cgroup namespace sees all of the hierarchy, and not its own
            part alone: there it is where /proc/self/cgroup says
    """

    __slots__ = ("aliases", "mountpoint", "name", "options", "path", "whole")

    def __init__(
        self,
        name: str,
        options: str,
        path: str,
        mountpoint: str,
        aliases: "tuple[str, ...]",
        *,
        whole: bool = False,
    ) -> None:
        self.name = name
        self.options = options
        self.path = path
        self.mountpoint = mountpoint
        self.aliases = aliases
        self.whole = whole


class Entrance:
    """Open doors, through which a new process with one thread walks into its cgroups by itself.

    A process that is moved by another costs an RCU grace period (5 to 20 ms where this was
    measured): the kernel has to stop all forks and exits while a foreign thread group migrates. It
    skips that for a task which moves itself alone, by a 0 written to v1's ``tasks``
    (`cgroup_procs_write_start`, since Linux 5.5), and for one that is born inside, by
    CLONE_INTO_CGROUP. The kernel judges the opener's rights, not the writer's, so this works from
    within a new user namespace.

    Whoever inherits the descriptors can enter, also a process that did not open them. One that has
    lost its privileges is kept out of `unified` (there the kernel judges who clones); `procs` lets
    it in, at the cost of a grace period.

    Attributes:
        tasks: (descriptor, path) of each ``tasks`` file of v1, open for writing
        unified: descriptor of the directory on the cgroup2 hierarchy, for clone3(2) with
            CLONE_INTO_CGROUP; None where there is none
        procs: descriptor of ``cgroup.procs`` in that directory, open for writing; None where there
            is none, and where a new container is made: it is born inside
    """

    __slots__ = ("procs", "tasks", "unified")

    def __init__(
        self,
        tasks: "list[tuple[int, str]]",
        unified: "int | None",
        procs: "int | None" = None,
    ) -> None:
        self.tasks = tasks
        self.unified = unified
        self.procs = procs

    def enter(self) -> None:
        """Move the calling process. In the child, before anything else, while it has one thread.

        Raises:
            StepError: the kernel refused; it names the file
        """
        for fd, path in self.tasks:
            try:
                posix.write(fd, b"0")
            except OSError as error:
                raise StepError(None, error.errno or 0, f"join {path}") from None

    def admit(self, pid: int) -> None:
        """Move another process, of one thread. Costs a grace period.

        Raises:
            StepError: the kernel refused; it names the file
        """
        for fd, path in (*self.tasks, (self.procs, "cgroup.procs")):
            if fd is None:
                continue
            try:
                posix.write(fd, str(pid).encode())
            except OSError as error:
                raise StepError(None, error.errno or 0, f"join {path}") from None

    def close(self) -> None:
        """Close the descriptors: in the parent after the clone, in the child after `enter`."""
        for fd in (*(fd for fd, _path in self.tasks), self.unified, self.procs):
            if fd is not None:
                posix.close(fd)
        self.tasks = []
        self.unified = self.procs = None


class OomWatch:
    """Tells when the kernel finds no memory for a container (`Cgroups.watch_oom`).

    Wait until `fileno` is readable, then call `count`, then `gone`.
    """

    __slots__ = ()

    def fileno(self) -> int:
        """Give the descriptor to poll: readable when there is news."""
        raise NotImplementedError

    def count(self) -> int:
        """Take the news off the descriptor; count what ran out of memory since the last call."""
        raise NotImplementedError

    def gone(self) -> bool:
        """Tell whether the cgroup is removed, or nobody is left in it: no more news will come."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what is open."""
        raise NotImplementedError


class Cgroups:
    """The cgroups of one container.

    Attributes:
        paths: absolute directory by subsystem, with the keys of runc's state.json: ``"memory"``,
            ``"name=systemd"``, and ``""`` for the unified hierarchy
        made_late: they are not there before `adopt`, and may be another's until then; and they
            are gone as soon as nobody is in them
    """

    __slots__ = ("paths",)

    made_late = False

    def __init__(self, paths: "dict[str, str]") -> None:
        self.paths = paths

    def state(self) -> "State":
        """Give what `manager.load` needs to find these cgroups again: a value for JSON."""
        raise NotImplementedError

    def create(self, resources: "Resources | None") -> None:
        """Make the directories, and what has to be set before a process may be inside.

        When it fails, nothing that it made is left.

        Raises:
            ConfigError: `resources` asks for something that is impossible here
            StepError: the kernel refused, or the cgroup exists already and has processes
        """
        raise NotImplementedError

    def entrance(self) -> Entrance:
        """Open the doors for a child that moves itself. See `Entrance`."""
        raise NotImplementedError

    def adopt(self, pid: int) -> None:
        """Take in the container's first process, which waits, where it could not enter by itself:
        where systemd makes the cgroup, around it.

        Raises:
            StepError: systemd refused; what it made is for `remove`
        """

    def join(self, pid: int) -> None:
        """Move a process with all its threads. Costs an RCU grace period: see `Entrance`."""
        raise NotImplementedError

    def set(self, resources: "Resources | None") -> None:
        """Set every limit but memory's."""
        raise NotImplementedError

    def set_memory(self, resources: "Resources | None") -> None:
        """Set memory's limits."""
        raise NotImplementedError

    def update(self, resources: "Resources") -> None:
        """Change the limits of a container that runs: those that are given, and -1 is no limit.

        The rules for devices stay as they are.

        Raises:
            ConfigError: `resources` asks for something that is impossible here
            StepError: the kernel refused one; those that were changed before it are put back, and a
                note on the error says where that failed
        """
        raise NotImplementedError

    def delegate(self, uid: int) -> None:
        """Give a user of the host the container's cgroup on v2, with the files that the kernel says
        may be given away (/sys/kernel/cgroup/delegate). On v1 nothing can be: it does nothing.

        Raises:
            StepError: the kernel refused
        """
        raise NotImplementedError

    def exec_entrance(self, init_pid: int, sub: "dict[str, str]") -> Entrance:
        """Open the doors for a second process. See `Entrance`.

        Args:
            init_pid: the container's first process. On v2 it can have moved itself into a cgroup
                below, and handed controllers down, so that nobody may be in the container's own:
                then the door leads to where it is now
            sub: cgroups below the container's own: a relative path by v1's controller, or for all
                by ``""``

        Raises:
            ConfigError: a path of `sub` leads elsewhere, or its controller isn't there
            StepError: it does not exist, or the kernel refused
        """
        raise NotImplementedError

    def remove(self) -> None:
        """Remove the cgroups, those that were made inside, and parents that `create` had made.

        What is gone already is fine. Parents go when the last one in them does.

        Raises:
            StepError: something is still busy after two seconds
        """
        raise NotImplementedError

    def pids(self, all: bool = False) -> "list[int]":
        """List the processes inside, with `all` those of cgroups below as well."""
        raise NotImplementedError

    def kill(self) -> None:
        """Send SIGKILL to everything inside, frozen or not, and wait until it is gone.

        Raises:
            StepError: some are still there after two seconds
        """
        raise NotImplementedError

    def freeze(self) -> None:
        """Stop everything inside.

        Raises:
            StepError: it can't be, or was not reached in two seconds (all is thawed again then)
        """
        raise NotImplementedError

    def thaw(self) -> None:
        """Let everything inside go on."""
        raise NotImplementedError

    def release(self, pid: int) -> None:
        """Let a process that we have put in here die, frozen as it may be: on v1 it could not.

        Raises:
            StepError: the kernel refused
        """

    def frozen(self) -> bool:
        """Tell whether it was frozen itself (a frozen parent does not count, as in runc)."""
        raise NotImplementedError

    def oom_count(self) -> "int | None":
        """Count how often the kernel killed for memory in here; None if it can't be known."""
        raise NotImplementedError

    def watch_oom(self) -> OomWatch:
        """Watch out for memory that runs out in here.

        Raises:
            StepError: there is no memory controller, or the kernel refused
        """
        raise NotImplementedError

    def pids_room(self) -> "int | None":
        """Count how many tasks more the limit allows now; None where there is no limit."""
        raise NotImplementedError

    def memory_room(self) -> "int | None":
        """Count how many bytes more the limit allows who is born inside; None: it sets none.

        On v1 nobody is: a second process enters when it has become small.
        """
        return None

    def stats(self) -> "dict[str, Any]":
        """Read what the container uses, in the form of ``runc events --stats``: its ``data``.

        Raises:
            StepError: a file could not be read
        """
        raise NotImplementedError

    def mounts(self) -> "list[CgroupMount]":
        """List the hierarchies that the container's own ``cgroup`` mount shows."""
        raise NotImplementedError
