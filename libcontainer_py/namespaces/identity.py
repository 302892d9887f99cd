"""Become root of a user namespace, and then the container's user."""

from libcontainer_py.linux import syscalls
from libcontainer_py.security import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer_py.namespaces.finish import Calls


def become_root(uid: int, gid: int) -> None:
    """Be somebody in another user namespace: its root, or the first id where 0 is not mapped.

    Until then we are nobody there, and what we make belongs to nobody. Root keeps its capabilities
    when the finish list is exec'd; somebody else keeps those that are ambient (capabilities(7)).
    """
    syscalls.setresgid(gid, gid, gid)
    syscalls.setresuid(uid, uid, uid)
    if uid != 0:
        capabilities.raise_all_ambient()


def setup_user(calls: "Calls", uid: int, gid: int, groups: "list[int] | None") -> None:
    """Set the supplementary groups, all group ids, all user ids, and read them back. `SetupUser`.

    `groups` are None where the user namespace does not allow to set any (user_namespaces(7)).
    In this order: without uid 0 the others could not be set. Read back, because an id that is
    out of range can succeed and change nothing (credentials(7)).
    """
    if groups is not None:
        calls.at("SetupUser", "process.user.additionalGids")
        calls.setgroups(groups)
    calls.at("SetupUser", "process.user.gid")
    calls.setresgid(gid, gid, gid)
    calls.at("SetupUser", "process.user.uid")
    calls.setresuid(uid, uid, uid)
    calls.at("SetupUser", "process.user", "the ids read back are not those that were set")
    calls.check_ids(uid, gid)
