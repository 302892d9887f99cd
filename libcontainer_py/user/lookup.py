"""Who shall a process be? libcontainer's GetExecUser and GetAdditionalGroups.

One rule is stricter than there: **a string of digits is never a name**. An image whose passwd has
a user *named* 1000 with uid 0, or a number too large for a uid that then is looked up as a name,
must not choose who the process is (CVE-2024-40635).
"""

from libcontainer_py.errors import ConfigError, quoted
from libcontainer_py.user.passwd import MAX_ID, decode, groups, number, users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class ExecUser:
    """The identity of a process: numbers as in its user namespace, `home` as in its root."""

    __slots__ = ("gid", "home", "sgids", "uid")

    def __init__(
        self, uid: int = 0, gid: int = 0, sgids: "Iterable[int]" = (), home: str = ""
    ) -> None:
        self.uid = uid
        self.gid = gid
        self.sgids = list(sgids)
        self.home = home


def get_exec_user(
    spec: str,
    defaults: "ExecUser | None",
    passwd_fd: "int | None",
    group_fd: "int | None",
) -> ExecUser:
    """Resolve ``""``, ``user``, ``user:group``, where each is a name or a number.

    A number needs no line in the files; where it has one, that gives group, home and additional
    groups. Of several fitting lines the first one counts. Additional groups come from the group
    file, unless the group was named. What nothing says stays as in `defaults` (by default, root).

    Args:
        passwd_fd, group_fd: descriptors as `passwd.open_beneath` gives them; None: no such file

    Raises:
        ConfigError: a name that is not there, a number out of range, or a malformed spec
        StepError: one of the files is too large
    """
    defaults = defaults or ExecUser()
    found = ExecUser(defaults.uid, defaults.gid, defaults.sgids, defaults.home)
    user_part, _colon, group_part = _encode(spec).partition(b":")
    if b":" in group_part:
        raise ConfigError(f"user {quoted(spec)}: it has more than two parts")

    name = _apply_user(found, user_part, passwd_fd)
    if group_part:
        found.gid = _gid(group_part, group_fd)
    elif name:
        member_of = [group.gid for group in groups(group_fd) if name in group.members]
        found.sgids = member_of or found.sgids
    return found


def _apply_user(found: ExecUser, wanted: bytes, passwd_fd: "int | None") -> "bytes | None":
    """Fill in what the passwd file knows; return the user's name there, if it has one."""
    uid = _number(wanted, "user") if wanted else found.uid
    for user in users(passwd_fd):
        if user.uid == uid if uid is not None else user.name == wanted:
            found.uid, found.gid, found.home = user.uid, user.gid, decode(user.home)
            return user.name
    if uid is None:
        raise ConfigError(f"unable to find user {_shown(wanted)}: it is not in the passwd file")
    found.uid = uid
    return None


def get_additional_groups(names: "Iterable[str]", group_fd: "int | None") -> "list[int]":
    """Resolve group names and numbers to gids, each once, in the order given.

    Raises:
        ConfigError: a name that is not in the group file, or a number out of range
        StepError: the file is too large
    """
    gids: list[int] = []
    for name in names:
        gid = _gid(_encode(name), group_fd)
        if gid not in gids:
            gids.append(gid)
    return gids


def _gid(wanted: bytes, group_fd: "int | None") -> int:
    gid = _number(wanted, "group")
    if gid is not None:
        return gid
    for group in groups(group_fd):
        if group.name == wanted:
            return group.gid
    raise ConfigError(f"unable to find group {_shown(wanted)}: it is not in the group file")


def _number(text: bytes, what: str) -> "int | None":
    """Read a number, or None for a name. Digits out of range are an error, not a name."""
    if not text.isdigit():
        return None
    value = number(text)
    if value is None:
        raise ConfigError(f"{what} {_shown(text)}: uids and gids are numbers from 0 to {MAX_ID}")
    return value


def _encode(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ConfigError(f"{quoted(text)} is no name: it is not UTF-8") from None


def _shown(data: bytes) -> str:
    return quoted(decode(data))
