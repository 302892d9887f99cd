"""Id maps of user namespaces: user_namespaces(7), written from outside."""

import posix

from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.hooks import run_program
from libcontainer_py.namespaces import helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Mappings = list[dict[str, Any]]

_STEP = "setupUserNamespace"
_EPERM = 1
_PAGE = 4096  # the smallest there is: what the kernel takes in one write is less than a page
# What the shadow suite (Debian: uidmap) installs set-uid root for those who may not write maps.
_PROGRAMS = {"uid": "newuidmap", "gid": "newgidmap"}
_PLACES: "tuple[str, ...]" = ("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin")


def write_maps(pid: int, uids: "Mappings", gids: "Mappings") -> None:
    """Give the user namespace of a process its maps.

    Who may not write any (user_namespaces(7): that takes CAP_SETUID) can still map himself alone;
    for more, newuidmap(1) and newgidmap(1) are called, which know the subordinate ids.

    Raises:
        StepError: it may not be, with ``linux.uidMappings`` or ``linux.gidMappings``
    """
    if posix.geteuid() == 0:
        _write(pid, "uid", _lines(uids))
        _write(pid, "gid", _lines(gids))
        return
    for kind, mappings, own in (("uid", uids, posix.geteuid()), ("gid", gids, posix.getegid())):
        if len(mappings) == 1 and mappings[0]["size"] == 1 and mappings[0]["hostID"] == own:
            if kind == "gid":
                # Else the kernel lets nobody map a group: to drop one could gain access.
                _write_file(pid, "setgroups", "deny", kind)
            _write(pid, kind, _lines(mappings))
        else:
            _by_program(pid, kind, mappings)


def refuse_other_maps(pid: int, uids: "Mappings", gids: "Mappings") -> None:
    """Compare the maps of config.json with those that a joined user namespace has.

    containerd and CRI-O say them beside the path. Were they others, the container would not be what
    its config.json says. None at all are whatever it has.

    Args:
        pid: a process that is in it

    Raises:
        ConfigError: they differ, with ``linux.uidMappings`` or ``linux.gidMappings``
    """
    for kind, mappings in (("uid", uids), ("gid", gids)):
        if not mappings:
            continue
        # The kernel sorts many extents, and keeps few as they were written.
        wanted = sorted(_lines(mappings).splitlines())
        found = sorted(" ".join(line.split()) for line in _map_of(pid, kind))
        if wanted != found:
            what = f"not what the user namespace to be joined has: {', '.join(found) or 'none'}"
            raise ConfigError(what, f"linux.{kind}Mappings")


def first_ids(pid: int) -> "tuple[int, int]":
    """Tell who a process is to become in its user namespace: root, or else the first mapped ids."""
    return _first(pid, "uid"), _first(pid, "gid")


def host_uid(pid: int, uid: int) -> int:
    """Tell which user of ours is a uid in the user namespace of a process; itself if it is none."""
    for line in _read(f"/proc/{pid}/uid_map").splitlines():
        inside, outside, size = map(int, line.split())
        if 0 <= uid - inside < size:
            return outside + uid - inside
    return uid


def new_user_namespace(uids: "Mappings", gids: "Mappings") -> int:
    """Make a user namespace with these maps that nobody is in; returns a descriptor of it.

    Raises:
        StepError: as `write_maps`
    """
    with helper.Waiting() as waiting:
        write_maps(waiting.pid, uids, gids)
        return posix.open(f"/proc/{waiting.pid}/ns/user", posix.O_RDONLY | posix.O_CLOEXEC)


def _lines(mappings: "Mappings") -> str:
    return "".join(f"{each['containerID']} {each['hostID']} {each['size']}\n" for each in mappings)


def _write(pid: int, kind: str, lines: str) -> None:
    _write_file(pid, f"{kind}_map", lines, kind)


def _write_file(pid: int, name: str, text: str, kind: str) -> None:
    path = f"/proc/{pid}/{name}"
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            # All in one: the kernel takes a single write.
            posix.write(fd, text.encode())
        finally:
            posix.close(fd)
    except OSError as error:
        hint = None
        if error.errno == _EPERM:
            hint = "an id on the host's side is not one that we may give away"
        elif len(text) >= _PAGE:
            hint = f"as text it has {len(text)} bytes, and the kernel takes less than {_PAGE}"
        raise StepError(
            _STEP, error.errno or 0, f"write {path}", field=f"linux.{kind}Mappings", hint=hint
        ) from None


def _by_program(pid: int, kind: str, mappings: "Mappings") -> None:
    name, field = _PROGRAMS[kind], f"linux.{kind}Mappings"
    program = next((f"{place}/{name}" for place in _PLACES if _is_there(f"{place}/{name}")), None)
    if program is None:
        hint = "install it (Debian: the package uidmap), or map just your own id"
        raise StepError(_STEP, 0, f"{name} is not installed", field=field, hint=hint)
    words = [name, str(pid)]
    for each in mappings:
        words += [str(each["containerID"]), str(each["hostID"]), str(each["size"])]
    failure = run_program(program, words)
    if failure:
        hint = f"the ranges that may be mapped are in /etc/sub{kind}"
        raise StepError(_STEP, 0, f"{name}: {failure}", field=field, hint=hint)


def _is_there(path: str) -> bool:
    return posix.access(path, posix.X_OK)


def _first(pid: int, kind: str) -> int:
    first: int | None = None
    for line in _map_of(pid, kind):
        inside = int(line.split()[0])
        if inside == 0:
            return 0
        first = inside if first is None else first
    if first is None:
        raise StepError(_STEP, 0, f"no {kind} is mapped in it", field=f"linux.{kind}Mappings")
    return first


def _map_of(pid: int, kind: str) -> "list[str]":
    """The lines of a map, as who reads it sees them: inside, outside, how many."""
    return _read(f"/proc/{pid}/{kind}_map").decode().splitlines()


def _read(path: str) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        data = b""
        while part := posix.read(fd, 65536):
            data += part
        return data
    finally:
        posix.close(fd)
