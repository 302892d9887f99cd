"""Capabilities: their names, the five sets of config.json, and the steps that apply them.

See capabilities(7) for the rules that the order below follows.
"""

from libcontainer_py.errors import StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import PR_SET_KEEPCAPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.namespaces.finish import Calls

# By number, as include/uapi/linux/capability.h has them.
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}

_EPERM = 1


class Sets:
    """The five sets of a process, as bit masks."""

    __slots__ = ("ambient", "bounding", "effective", "inheritable", "permitted")

    def __init__(
        self,
        bounding: int = 0,
        effective: int = 0,
        inheritable: int = 0,
        permitted: int = 0,
        ambient: int = 0,
    ) -> None:
        self.bounding = bounding
        self.effective = effective
        self.inheritable = inheritable
        self.permitted = permitted
        self.ambient = ambient

    def with_sys_admin(self) -> "Sets":
        """The same, with CAP_SYS_ADMIN effective and permitted."""
        mask = 1 << NUMBERS["CAP_SYS_ADMIN"]
        return Sets(
            bounding=self.bounding,
            effective=self.effective | mask,
            inheritable=self.inheritable,
            permitted=self.permitted | mask,
            ambient=self.ambient,
        )


def last_capability() -> int:
    """Ask the kernel for the highest capability it knows (/proc/sys/kernel/cap_last_cap)."""
    with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
        return int(file.read())


def parse(capabilities: "dict[str, Any] | None", last: int) -> "tuple[Sets, list[str]]":
    """Read `process.capabilities`: (the sets, warnings).

    A name that this kernel does not know is left out with a warning, as the spec asks; one that
    nobody knows was warned of when config.json was validated. No object at all means no
    capability at all.
    """
    sets = Sets()
    missing = 0
    for kind in Sets.__slots__:
        mask = 0
        for word in (capabilities or {}).get(kind) or ():
            number = NUMBERS.get(word)
            if number is None:
                continue
            if number > last:
                missing |= 1 << number
            else:
                mask |= 1 << number
        setattr(sets, kind, mask)
    if not missing:
        return sets, []
    warning = f"ignoring capabilities that this kernel does not have: {names(missing)}"
    return sets, [f"process.capabilities: {warning}"]


def name(number: int) -> str:
    """Spell one capability, also one that is younger than this table."""
    return NAMES[number] if number < len(NAMES) else f"capability {number}"


def names(mask: int) -> str:
    """Spell a mask as names, for a message."""
    return ", ".join(name(number) for number in range(mask.bit_length()) if mask >> number & 1)


def raise_all_ambient() -> None:
    """Make every permitted capability ambient: then an exec keeps it for whoever is not root."""
    _effective, permitted, _inheritable = syscalls.capget()
    syscalls.capset(permitted, permitted, permitted)
    for number in range(permitted.bit_length()):
        if permitted >> number & 1:
            syscalls.cap_ambient_raise(number)


def prove(sets: Sets, held: int) -> None:
    """Refuse sets that the kernel would refuse, with words that it does not have.

    `held` is the permitted set of the process that will apply them.

    Raises:
        StepError: EPERM, with the set and the capabilities that can't be
    """
    for kind, mask, limit, why in (
        ("permitted", sets.permitted, held, "not held by the runtime itself"),
        ("effective", sets.effective, sets.permitted, "not in process.capabilities.permitted"),
        ("inheritable", sets.inheritable, held, "not held by the runtime itself"),
        ("inheritable", sets.inheritable, sets.bounding, "not in process.capabilities.bounding"),
    ):
        beyond = mask & ~limit
        if beyond:
            raise StepError(
                "ApplyCapabilities",
                _EPERM,
                f"{names(beyond)}: {why}",
                field=f"process.capabilities.{kind}",
            )


def drop_bounding_set(calls: "Calls", sets: Sets, last: int) -> None:
    """Drop what is not in the bounding set. Needs CAP_SETPCAP, so it comes before the ids."""
    for number in range(last + 1):
        if not sets.bounding >> number & 1:
            calls.at("DropBoundingSet", "process.capabilities.bounding", name(number))
            calls.capbset_drop(number)


def keep_capabilities(calls: "Calls") -> None:
    """Let the permitted set survive the change from uid 0; the exec ends that."""
    calls.at("SetKeepCaps", "process.capabilities")
    calls.prctl(PR_SET_KEEPCAPS, 1)


def apply_capabilities(calls: "Calls", sets: Sets) -> None:
    """Set effective, permitted and inheritable to exactly what is asked (CVE-2022-29162)."""
    calls.at("ApplyCapabilities", "process.capabilities")
    calls.capset(sets.effective, sets.permitted, sets.inheritable)


def raise_ambient(calls: "Calls", sets: Sets) -> "list[str]":
    """Set the ambient set, where the kernel allows it; return a warning for each of the others.

    An ambient capability must be permitted and inheritable, and what `runc spec` writes asks for
    ambient ones that are not. Engines rely on that being no error.
    """
    calls.at("ApplyCapabilities", "process.capabilities.ambient")
    calls.cap_ambient_clear_all()
    possible = sets.permitted & sets.inheritable
    warnings = []
    for number in range(sets.ambient.bit_length()):
        if not sets.ambient >> number & 1:
            continue
        if possible >> number & 1:
            calls.cap_ambient_raise(number)
        else:  # in runc's words, as far as callers match on them
            why = "not both permitted and inheritable"
            warnings.append(f"can't raise ambient capability {name(number)}: {why}")
    return warnings
