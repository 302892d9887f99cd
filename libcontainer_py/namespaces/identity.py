"""Become the container's user."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer_py.namespaces.finish import Calls


def setup_user(calls: "Calls", uid: int, gid: int, groups: "list[int]") -> None:
    """Set the supplementary groups, all group ids, all user ids, and read them back. `SetupUser`.

    In this order: without uid 0 the others could not be set. Read back, because an id that is
    out of range can succeed and change nothing (credentials(7)).
    """
    calls.at("SetupUser", "process.user.additionalGids")
    calls.setgroups(groups)
    calls.at("SetupUser", "process.user.gid")
    calls.setresgid(gid, gid, gid)
    calls.at("SetupUser", "process.user.uid")
    calls.setresuid(uid, uid, uid)
    calls.at("SetupUser", "process.user", "the ids read back are not those that were set")
    calls.check_ids(uid, gid)
