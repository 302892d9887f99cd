"""The devices controller of cgroup v1 (Documentation/admin-guide/cgroup-v1/devices.rst).

The kernel keeps a default, allow or deny, and a list of exceptions from it. A rule that would make
a hole into a wider exception is dropped there without a word. So the rules are first played
through here, which finds such holes, and the outcome is what is written.
"""

from libcontainer_py.cgroups.files import write
from libcontainer_py.errors import ConfigError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Device = tuple[str, str, str]  # type ("b", "c"), major, minor (a number, or "*")

FIELD = "linux.resources.devices"
_ALL = "a *:* rwm"

# What runc allows to every container, whatever the rules say: every engine relies on it.
DEFAULTS: "tuple[tuple[str, str, str, str], ...]" = (
    ("c", "*", "*", "m"),
    ("b", "*", "*", "m"),
    ("c", "1", "3", "rwm"),  # null
    ("c", "1", "5", "rwm"),  # zero
    ("c", "1", "7", "rwm"),  # full
    ("c", "1", "8", "rwm"),  # random
    ("c", "1", "9", "rwm"),  # urandom
    ("c", "5", "0", "rwm"),  # tty
    ("c", "5", "2", "rwm"),  # ptmx
    ("c", "136", "*", "rwm"),  # pts
    ("c", "10", "200", "rwm"),  # net/tun
)


class _List:
    """The kernel's state of one cgroup: a default, and exceptions with the rule that made them."""

    def __init__(self) -> None:
        # Everything is denied until a rule says otherwise, as in runc.
        self.allow = False
        self.exceptions: dict[Device, tuple[str, str]] = {}

    def reset(self, allow: bool) -> None:
        self.allow = allow
        self.exceptions = {}

    def apply(self, device: "Device", access: str, allow: bool, field: str) -> None:
        if allow != self.allow:
            known = self.exceptions.get(device, ("", ""))[0]
            self.exceptions[device] = (_sorted(known + access), field)
            return
        kind, major, minor = device
        for wider in ((kind, "*", minor), (kind, major, "*"), (kind, "*", "*")):
            if wider != device and set(self.exceptions.get(wider, ("", ""))[0]) & set(access):
                raise ConfigError(
                    f"cgroup v1 can't take {_text(device, access)} out of the wider"
                    f" {_text(wider, self.exceptions[wider][0])}",
                    field,
                )
        if device in self.exceptions:
            left = "".join(c for c in self.exceptions[device][0] if c not in access)
            if left:
                self.exceptions[device] = (left, field)
            else:
                del self.exceptions[device]


def apply(directory: str, rules: "list[dict[str, Any]] | None") -> None:
    """Set the devices of a cgroup: config.json's rules in their order, then the defaults.

    Raises:
        ConfigError: a rule that cgroup v1 can't express
        StepError: the kernel refused one (a parent denies the device, for example)
    """
    outcome = play(rules or [])
    write(f"{directory}/devices.{'allow' if outcome.allow else 'deny'}", _ALL, FIELD)
    file = f"{directory}/devices.{'deny' if outcome.allow else 'allow'}"
    for device, (access, field) in outcome.exceptions.items():
        write(file, _text(device, access), field)


def play(rules: "list[dict[str, Any]]") -> _List:
    outcome = _List()
    for index, rule in enumerate(rules):
        field = f"{FIELD}[{index}]"
        kind = rule.get("type") or "a"
        major, minor = _number(rule.get("major")), _number(rule.get("minor"))
        access = _sorted(rule.get("access") or "")
        if not access:
            raise ConfigError("it is required: some of r, w and m", field + ".access")
        if kind == "a" and (major, minor, access) == ("*", "*", "rwm"):
            outcome.reset(bool(rule["allow"]))
            continue
        if kind not in ("a", "b", "c"):
            raise ConfigError(f"{quoted(kind)} is none of a, b and c", field + ".type")
        # The kernel reads any "a" as all devices and all access, whatever else the line says.
        for each in "bc" if kind == "a" else kind:
            outcome.apply((each, major, minor), access, bool(rule["allow"]), field)
    for kind, major, minor, access in DEFAULTS:
        outcome.apply((kind, major, minor), access, True, FIELD)
    return outcome


def _number(value: "int | None") -> str:
    return "*" if value is None or value == -1 else str(value)


def _sorted(access: str) -> str:
    return "".join(letter for letter in "rwm" if letter in access)


def _text(device: "Device", access: str) -> str:
    return f"{device[0]} {device[1]}:{device[2]} {access}"
