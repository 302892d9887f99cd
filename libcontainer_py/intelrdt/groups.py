"""A container's place in resctrl: its class of service, and where it is measured by itself.

config-linux.md, «IntelRdt». What ``closID`` names belongs to somebody else, or to many containers:
it may be made, and stays. Without it the class has the container's id, and goes with it, like the
group that measures it. What was there before, whatever it is named by, is joined as it is: it is
neither changed nor removed.
"""

import posix

from libcontainer_py.cgroups.files import read, write
from libcontainer_py.errors import ConfigError, StepError, quoted, shown
from libcontainer_py.intelrdt import resctrl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # "mountpoint"; "path" of the class; "monitor", the group that measures it, or None; and
    # "remove", directories in the order in which they are to go. A value for JSON.
    State = dict[str, Any]

FIELD = "linux.intelRdt"


def plan(asked: "dict[str, Any]", container_id: str) -> "State":
    """Find where a container's place is, and what of it is to be made. Nothing is made yet.

    The answer goes to state.json before anything is made: so whatever is killed when, `remove`
    finds it. `enter` then leaves in it what was made by us, and not by somebody else meanwhile.

    Args:
        asked: ``linux.intelRdt`` of config.json, also an empty one

    Raises:
        ConfigError: this host hasn't what is asked for
    """
    mounted = resctrl.mountpoint()
    if mounted is None:
        what = "Intel RDT is not enabled: no resctrl file system is mounted on this host"
        raise ConfigError(what, FIELD)
    refuse_missing(asked, mounted)
    closid = asked.get("closID") or ""
    path = mounted if closid == "/" else f"{mounted}/{closid or container_id}"
    is_there = posix.access(path, posix.F_OK)
    if closid and not is_there and not _lines(asked):
        what = f"{quoted(closid)} must be there already, where no schema is given: there is no"
        raise ConfigError(f"{what} {shown(path)}", f"{FIELD}.closID")
    remove = []
    monitor = None
    if asked.get("enableMonitoring"):
        if not resctrl.can(mounted, "L3_MON"):
            what = "Intel RDT monitoring is not enabled on this host"
            raise ConfigError(what, f"{FIELD}.enableMonitoring")
        monitor = f"{path}/mon_groups/{container_id}"
        if not posix.access(monitor, posix.F_OK):
            remove.append(monitor)
    if not closid and not is_there:
        remove.append(path)
    return {"mountpoint": mounted, "path": path, "monitor": monitor, "remove": remove}


def refuse_missing(asked: "dict[str, Any]", mounted: "str | None") -> None:
    """Refuse a schema for what the host can't share out.

    Raises:
        ConfigError: it is not there, or `mounted` is None
    """
    for name, resource, what in (
        ("l3CacheSchema", "L3", "Intel RDT/CAT: l3 cache schema is not enabled"),
        ("memBwSchema", "MB", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ):
        if asked.get(name) and (mounted is None or not resctrl.can(mounted, resource)):
            raise ConfigError(what, f"{FIELD}.{name}")


def enter(state: "State", asked: "dict[str, Any]", pid: int) -> None:
    """Make a container's place as it was planned, and put its first process there.

    What that clones from now on is in the same place. `state` names afterwards for `remove` what
    was made, and no more, also where this fails; it is to be written down at once.

    Raises:
        ConfigError: a class that was there, and that others may be in, has another schema
        StepError: the kernel refused; what was made is for `remove`
    """
    path, closid = state["path"], asked.get("closID")
    state["remove"] = []
    with resctrl.Alone(state["mountpoint"]):
        wanted = path != state["mountpoint"] and (not closid or bool(_lines(asked)))
        made = wanted and _make(path)
        if made and not closid:
            state["remove"].append(path)
        try:
            if made:
                _write(path, asked)
            else:
                _compare(path, asked)
        except (ConfigError, StepError):
            if made and closid:
                # Left as it is, it would refuse the next one, who asks for something better.
                _remove(path)
            raise
        if state["monitor"] is not None and _make(state["monitor"]):
            state["remove"].insert(0, state["monitor"])
        _join(state, pid)


def join(state: "State", pid: int) -> None:
    """Put a second process where the first one is. Where somebody has removed that meanwhile, the
    kernel has put the first one into the default class, which is the caller's.

    Raises:
        StepError: the kernel refused
    """
    if not posix.access(state["path"], posix.F_OK):
        return
    with resctrl.Alone(state["mountpoint"]):
        _join(state, pid)


class Changed:
    """``with Changed(state, new):`` a container's class has new schemata, those lines that are
    given; they are put back where what is inside fails.

    Raises:
        ConfigError: the host can't share out what one is for
        StepError: the kernel refused one; no other is changed
    """

    __slots__ = ("_before", "_new", "_state")

    def __init__(self, state: "State", new: "dict[str, Any]") -> None:
        refuse_missing(new, state["mountpoint"])
        self._state, self._new = state, new

    def __enter__(self) -> None:
        path = self._state["path"]
        with resctrl.Alone(self._state["mountpoint"]):
            resources = {
                _resource(each) for line, _field in _lines(self._new) for each in line.split("\n")
            }
            lines = read(f"{path}/schemata").splitlines()
            self._before = {"schemata": [line for line in lines if _resource(line) in resources]}
            try:
                _write(path, self._new)
            except StepError as error:
                self._put_back(error)
                raise

    def __exit__(self, _kind: object, error: "BaseException | None", _trace: object) -> None:
        if error is not None:
            with resctrl.Alone(self._state["mountpoint"]):
                self._put_back(error)

    def _put_back(self, error: BaseException) -> None:
        try:
            _write(self._state["path"], self._before)
        except StepError as also:
            error.add_note(f"it could not be put back: {also}")


def remove(state: "State") -> None:
    """Remove what was made. What is gone already is fine, and who is still inside is no hindrance.

    Raises:
        StepError: the kernel refused
    """
    for path in state["remove"]:
        _remove(path)


def take_back(state: "State", error: BaseException) -> None:
    """Do what `remove` does, for an error: what stands in the way is added to it."""
    try:
        remove(state)
    except StepError as also:
        error.add_note(f"and not all could be undone: {also}")


def _remove(path: str) -> None:
    try:
        posix.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StepError(None, error.errno or 0, f"remove {shown(path)}", field=FIELD) from None


def _make(path: str) -> bool:
    """Make a directory; tell whether it was not there before."""
    try:
        posix.mkdir(path, 0o755)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        raise StepError(None, error.errno or 0, f"create {shown(path)}", field=FIELD) from None


def _join(state: "State", pid: int) -> None:
    # In this order: a group measures only tasks of its class.
    for path in (state["path"], state["monitor"]):
        if path is not None:
            write(f"{path}/tasks", pid, FIELD)


# ── schemata ────────────────────────────────────────────────────────────────────────────────────


def _lines(asked: "dict[str, Any]") -> "list[tuple[str, str]]":
    """What is to be written to ``schemata``, in the order that the specification wants: a line, and
    the field that it is from.
    """
    lines = [(asked.get(name), f"{FIELD}.{name}") for name in ("l3CacheSchema", "memBwSchema")]
    for index, line in enumerate(asked.get("schemata") or ()):
        lines.append((line, f"{FIELD}.schemata[{index}]"))
    return [(line, field) for line, field in lines if line]


def _resource(line: str) -> str:
    return line.partition(":")[0].strip()


def _write(path: str, asked: "dict[str, Any]") -> None:
    for line, field in _lines(asked):
        # The kernel takes no line without its end.
        write(f"{path}/schemata", line + "\n", field)


def _compare(path: str, asked: "dict[str, Any]") -> None:
    """Refuse a schema that a class does not have already: others may be in it."""
    lines = _lines(asked)
    has = _values(read(f"{path}/schemata")) if lines else {}
    for line, field in lines:
        for (resource, domain), value in _values(line).items():
            if has.get((resource, domain)) != value:
                what = f"{quoted(line)}: the class {shown(path)} has another"
                raise ConfigError(what, field)


def _values(text: str) -> "dict[tuple[str, str], int | str]":
    """Read schemata: by resource and domain, what the kernel pads with zeros or blanks."""
    values: dict[tuple[str, str], int | str] = {}
    for line in text.splitlines():
        resource, rest = _resource(line), line.partition(":")[2]
        # Bandwidths (MB, AMD's SMBA) are decimal, bit masks are not.
        base = 10 if resource in ("MB", "SMBA") else 16
        for each in rest.split(";"):
            domain, _equals, value = each.strip().partition("=")
            try:
                values[resource, domain.lstrip("0")] = int(value, base)
            except ValueError:
                values[resource, domain.lstrip("0")] = value
    return values
