"""The mounts that the child can't make itself, made for it when their turn has come.

`serve_sources` is the parent's side, `Given` the child's.
"""

import posix

from libcontainer_py.errors import StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, MS_BIND
from libcontainer_py.mount import sources
from libcontainer_py.mount.options import is_idmapped, parse_options
from libcontainer_py.namespaces import helper, maps
from libcontainer_py.syncpipe.pipe import SyncPipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.namespaces.child import Child
    from libcontainer_py.namespaces.init import InitConfig

    Mount = dict[str, Any]

_EPERM = 1


def serve_sources(child: "Child", start: "InitConfig") -> helper.Serving:
    """Start the process that makes what `InitConfig.sources` lists, each when it is asked for.

    Only then: a source can lie inside an earlier mount.

    Raises:
        StepError: with the mount as its field
    """
    wanted: list[Mount] = start.config.get("mounts") or []
    user_namespaces: dict[int, int] = {}
    made: dict[int, int] = {}
    try:
        for index in start.sources:
            if is_idmapped(wanted[index]):
                user_namespaces[index] = _user_namespace(child, wanted[index])
            elif not parse_options(wanted[index].get("options") or []).flags & MS_BIND:
                made[index] = _procfs(child, start, wanted[index], f"mounts[{index}]")

        def answer(index: int) -> int:
            if index in made:
                return made[index]
            posix.chdir(start.bundle)  # what a relative source is relative to
            return sources.open_source(wanted, index, user_namespaces)

        # Whoever is not root can't enter the mount namespace; nor does he open sources for it.
        flags = CLONE_NEWNS if len(made) < len(start.sources) else 0
        return helper.Serving(child.pidfd, flags, answer)
    finally:
        for fd in (*user_namespaces.values(), *made.values()):
            posix.close(fd)


class Given:
    """Descriptors of these mounts by their place in `mounts`, on demand.

    Args:
        pipe: the sync pipe, over which the parent is asked who makes them
        indexes: their places
    """

    __slots__ = ("_indexes", "_pipe")

    def __init__(self, pipe: SyncPipe, indexes: "list[int]") -> None:
        pipe.send({"sources": True})
        _message, fds = pipe.expect_fds("sources", 1)
        self._pipe = SyncPipe.of_fd(fds[0])
        self._indexes = indexes

    def __contains__(self, index: int) -> bool:
        return index in self._indexes

    def __getitem__(self, index: int) -> int:
        fd = helper.ask(self._pipe, index)
        assert fd is not None
        return fd

    def close(self) -> None:
        """That was all."""
        self._pipe.close()


def _user_namespace(child: "Child", mount: "Mount") -> int:
    """Get the user namespace whose maps a mount is to have."""
    mappings = sources.user_namespace_for(mount)
    if mappings is not None:
        return maps.new_user_namespace(*mappings)
    return posix.open(f"/proc/{child.pid}/ns/user", posix.O_RDONLY | posix.O_CLOEXEC)


def _procfs(child: "Child", start: "InitConfig", mount: "Mount", field: str) -> int:
    """Make the procfs of the pid namespace that is joined."""
    from libcontainer_py.namespaces import procfs

    joined = next(join.fd for join in start.joins if join.flag == CLONE_NEWPID)
    options = parse_options(mount.get("options") or [])
    try:
        return procfs.new_procfs(joined, options, field)
    except StepError as error:
        if error.errno != _EPERM or not start.joined & CLONE_NEWUSER:
            raise

    # We have no rights here, but all of them in the user namespace that is joined, over a mount
    # namespace that is made there.
    def make() -> int:
        syscalls.unshare(CLONE_NEWNS)
        return procfs.new_procfs(joined, options, field)

    return helper.open_inside(child.pidfd, CLONE_NEWUSER, make)
