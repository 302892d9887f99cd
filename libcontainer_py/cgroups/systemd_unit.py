"""One unit of systemd's, and the systemd that it belongs to, spoken to over D-Bus.

See org.freedesktop.systemd1(5) and systemd.unit(5).
"""

import posix

from libcontainer_py.cgroups.dbus import Bus, BusError
from libcontainer_py.cgroups.hierarchies import in_initial_user_namespace
from libcontainer_py.cgroups.systemd_properties import Property, named_in
from libcontainer_py.errors import ConfigError, StepError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FIELD = "linux.cgroupsPath"
_SYSTEMS = "/run/systemd/private"
_BUS = "/run/dbus/system_bus_socket"

_SYSTEMD = "org.freedesktop.systemd1"
_OBJECT = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_EXISTS = "org.freedesktop.systemd1.UnitExists"
_NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"

_EPERM, _ENOENT, _EACCES, _EEXIST, _ECONNREFUSED = 1, 2, 13, 17, 111
_ERRNOS = {
    _EXISTS: _EEXIST,
    _NO_SUCH_UNIT: _ENOENT,
    "org.freedesktop.DBus.Error.AccessDenied": _EACCES,
}

_NO_SYSTEMD = (
    "this host does not run systemd, or hides it: without --systemd-cgroup, cgroups are made"
    " directly"
)
_NO_USERS_SYSTEMD = (
    "no systemd of this user's is there: it comes with a login, or with `loginctl enable-linger`"
)

# Of unit names (systemd.unit(5)).
_CHARACTERS = ":-_.\\"
_LONGEST = 255


def is_users() -> bool:
    """Is the systemd that we may speak to a user's, and not the host's?

    Root in a user namespace has one of its own, or is some user outside, and that user's counts.
    """
    if posix.geteuid() != 0:
        return True
    try:
        return posix.stat(_SYSTEMS).st_uid != 0
    except FileNotFoundError:
        return not in_initial_user_namespace()


# ── names ───────────────────────────────────────────────────────────────────────────────────────


def names(cgroups_path: "str | None", container_id: str, user: bool) -> "tuple[str, str]":
    """Give the slice, and the unit's name."""
    parts = (cgroups_path or "::").split(":")
    if len(parts) != 3:
        raise ConfigError(
            'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups,'
            f" got {quoted(cgroups_path or '')} instead",
            FIELD,
        )
    slice_, prefix, name = parts
    if name.endswith(".slice"):
        raise ConfigError(f"{quoted(name)}: a slice has units in it, and no processes", FIELD)
    unit = f"{prefix or 'lcpy'}-{name or container_id}.scope"
    for each in unit:
        if not (each.isascii() and each.isalnum()) and each not in _CHARACTERS:
            raise ConfigError(f"{quoted(unit)}: a unit's name can't have {quoted(each)}", FIELD)
    if len(unit) > _LONGEST:
        raise ConfigError(f"{quoted(unit)}: a unit's name has at most {_LONGEST} bytes", FIELD)
    return slice_ or ("user.slice" if user else "system.slice"), unit


def expand_slice(name: str) -> str:
    """Give the cgroup of a slice, which is named for all of those that it is in.

    ``a-b.slice`` is ``/a.slice/a-b.slice``, and ``-.slice`` the root, an empty text.

    Raises:
        ConfigError: it is no slice's name
    """
    stem = name.removesuffix(".slice")
    if stem == name or not stem or "/" in name or not name.isprintable():
        raise ConfigError(f"invalid slice name: {quoted(name)}", FIELD)
    if stem == "-":
        return ""
    parts = stem.split("-")
    if "" in parts:
        raise ConfigError(f"invalid slice name: {quoted(name)}", FIELD)
    levels = ("-".join(parts[: count + 1]) for count in range(len(parts)))
    return "".join(f"/{level}.slice" for level in levels)


# ── systemd ─────────────────────────────────────────────────────────────────────────────────────


class Unit:
    """One unit, and the systemd that it belongs to.

    Attributes:
        name: ``lcpy-web.scope``
        user: it belongs to a user's systemd, not to the host's
    """

    __slots__ = ("_bus", "_version", "name", "user")

    def __init__(self, name: str, user: bool) -> None:
        self.name = name
        self.user = user
        self._bus: Bus | None = None
        self._version = 0

    def connect(self) -> Bus:
        """Connect, where we are not connected yet.

        Raises:
            StepError: there is nobody, or nobody who lets us in
        """
        if self._bus is None:
            self._bus = _connect(self.user)
        return self._bus

    def ask(self, name: str) -> str:
        """Ask systemd for one of its own properties, a text.

        Raises:
            StepError: there was no answer
        """
        interface = "org.freedesktop.DBus.Properties"
        ((_signature, value),) = self._call("Get", "ss", _MANAGER, name, interface=interface)
        return str(value)

    def version(self) -> int:
        """Of systemd: 252 for ``252.39-1~deb12u1``; 0 if it doesn't say."""
        if not self._version:
            digits = ""
            for char in self.ask("Version").lstrip("v"):
                if not char.isdecimal():
                    break
                digits += char
            self._version = int(digits or 0)
        return self._version

    def start(self, properties: "list[Property]") -> None:
        """Start it as a new unit, and wait until it has started.

        Raises:
            StepError: systemd refused, failed, or took too long; with the field that asked for it
        """
        what = f"start the unit {self.name}"
        arguments: tuple[Any, ...] = (self.name, "replace", _plain(properties), [])
        try:
            try:
                job = self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", *arguments)[0]
            except BusError as error:
                if error.name != _EXISTS:
                    raise
                # One that has failed stays, to be looked at. Any other is in use.
                self._forget_failed()
                job = self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", *arguments)[0]
        except BusError as error:
            raise _refused(what, error, properties) from None
        result = self._await_job(job, what)
        if result != "done":
            self._forget_failed()
            hint = f"systemd's job ended as {quoted(result)}; its journal says why"
            raise StepError(None, 0, what, field=FIELD, hint=hint)

    def set_properties(self, properties: "list[Property]") -> None:
        """Change properties, until it ends.

        Raises:
            StepError: systemd refused, with the field that asked for it
        """
        if not properties:
            return
        try:
            self._call("SetUnitProperties", "sba(sv)", self.name, True, _plain(properties))
        except BusError as error:
            raise _refused(f"set properties of the unit {self.name}", error, properties) from None

    def wait_until_applied(self) -> None:
        """Wait until systemd has written all that it was told: it does so before it answers anew.

        Raises:
            StepError: there was no answer
        """
        self.ask("Version")

    def attach(self, pid: int, below: str) -> None:
        """Have systemd move a process into it, or into a cgroup below.

        Raises:
            StepError: systemd refused
        """
        try:
            self._call("AttachProcessesToUnit", "ssau", self.name, below, [pid])
        except BusError as error:
            raise _refused(f"put a process into the unit {self.name}", error, []) from None

    def stop(self) -> None:
        """Stop it, whatever is left of it. One that isn't there is fine, and so is no systemd.

        Raises:
            StepError: that took too long
        """
        try:
            self.connect()
        except StepError:
            return  # a scope that nobody is in has ended
        try:
            job = self._call("StopUnit", "ss", self.name, "replace")[0]
        except BusError as error:
            if error.name != _NO_SUCH_UNIT:
                raise _refused(f"stop the unit {self.name}", error, []) from None
        else:
            self._await_job(job, f"stop the unit {self.name}")
            self._forget_failed()

    def _forget_failed(self) -> None:
        try:
            self._call("ResetFailedUnit", "s", self.name)
        except BusError:
            return  # it has not failed

    def _await_job(self, job: str, what: str) -> str:
        try:
            # Its arguments: a number, the job, the unit, the result.
            return str(self.connect().wait_for_signal("JobRemoved", 1, job)[3])
        except OSError as error:
            self.disconnect()
            raise StepError(None, error.errno or 0, what, field=FIELD) from None

    def _call(
        self, member: str, signature: str, *arguments: "Any", interface: str = _MANAGER
    ) -> "list[Any]":
        bus = self.connect()
        try:
            return bus.call(_SYSTEMD, _OBJECT, interface, member, signature, *arguments)
        except OSError as error:
            self.disconnect()
            what = f"ask systemd to {member} {self.name}"
            raise StepError(None, error.errno or 0, what) from None

    def disconnect(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None


def _plain(properties: "list[Property]") -> "list[tuple[str, tuple[str, Any]]]":
    return [(each.name, (each.signature, each.value)) for each in properties]


def _refused(what: str, error: BusError, properties: "list[Property]") -> StepError:
    about = named_in(error.text, properties)
    field = about.field if about is not None else FIELD
    errno = _ERRNOS.get(error.name, 0)
    return StepError(None, errno, what, field=field, hint=f"systemd says: {quoted(error.text)}")


def _connect(user: bool) -> Bus:
    """Connect to systemd by its own socket, as systemctl does, and if it has none there, by a bus.

    Raises:
        StepError: neither is there
    """
    direct, bus = _addresses(user)
    try:
        try:
            return Bus(direct)
        except OSError as error:
            if error.errno not in (_ENOENT, _ECONNREFUSED):
                raise
        return _connect_by_bus(bus)
    except BusError as error:
        raise StepError("SetupCgroups", 0, "connect to systemd", hint=str(error)) from None
    except OSError as error:
        hint = _NO_USERS_SYSTEMD if user else _NO_SYSTEMD
        what = f"connect to systemd at {direct}"
        raise StepError("SetupCgroups", error.errno or 0, what, hint=hint) from None


def _connect_by_bus(address: str) -> Bus:
    bus = Bus(address)
    try:
        service, path = "org.freedesktop.DBus", "/org/freedesktop/DBus"
        bus.call(service, path, service, "Hello")
        rule = f"type='signal',sender='{_SYSTEMD}',interface='{_MANAGER}',member='JobRemoved'"
        bus.call(service, path, service, "AddMatch", "s", rule)
        bus.call(_SYSTEMD, _OBJECT, _MANAGER, "Subscribe")
    except BaseException:
        bus.close()
        raise
    return bus


def _addresses(user: bool) -> "tuple[str, str]":
    """Where systemd listens itself, and where the bus is."""
    if not user:
        return _SYSTEMS, _BUS
    runtime = _variable(b"XDG_RUNTIME_DIR") or f"/run/user/{posix.geteuid()}"
    session = _variable(b"DBUS_SESSION_BUS_ADDRESS")
    return f"{runtime}/systemd/private", bus_address(session) or f"{runtime}/bus"


def _variable(name: bytes) -> str:
    return posix.environ.get(name, b"").decode("utf-8", "surrogateescape")


def bus_address(addresses: str) -> "str | None":
    """Find a socket in a list of D-Bus addresses: ``unix:path=/run/user/1000/bus,guid=…;…``."""
    for address in addresses.split(";"):
        transport, _colon, words = address.partition(":")
        if transport != "unix":
            continue
        for word in words.split(","):
            key, _equals, value = word.partition("=")
            if key in ("path", "abstract"):
                first, *escaped = value.split("%")
                path = first + "".join(chr(int(each[:2], 16)) + each[2:] for each in escaped)
                return path if key == "path" else "\0" + path
    return None
