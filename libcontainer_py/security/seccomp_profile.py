"""A profile, `linux.seccomp` of config.json, compiled to the filter that it means.

What a profile means where the specification leaves it open is what libseccomp and runc made of it
from the beginning, because profiles were written against that: see `_add_rules` and `_stub`.

Imported only where a filter has to be compiled: see `seccomp`.
"""

from libcontainer_py.errors import ConfigError, quoted, words
from libcontainer_py.linux.flags import (
    BPF_MAXINSNS,
    SECCOMP_FILTER_FLAG_LOG,
    SECCOMP_FILTER_FLAG_NEW_LISTENER,
    SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_KILL_THREAD,
    SECCOMP_RET_LOG,
    SECCOMP_RET_TRACE,
    SECCOMP_RET_TRAP,
    SECCOMP_RET_USER_NOTIF,
)
from libcontainer_py.linux.syscalls import seccomp_has_flags
from libcontainer_py.security.seccomp_enosys import AUDIT_ARCH_X86_64, Limits, stub
from libcontainer_py.security.seccomp_library import SONAME, Context, Library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.security.seccomp_library import Comparison

FIELD = "linux.seccomp"

ACTIONS = {
    "SCMP_ACT_KILL": SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": SECCOMP_RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": SECCOMP_RET_TRAP,
    "SCMP_ACT_ERRNO": SECCOMP_RET_ERRNO,
    "SCMP_ACT_TRACE": SECCOMP_RET_TRACE,
    "SCMP_ACT_LOG": SECCOMP_RET_LOG,
    "SCMP_ACT_ALLOW": SECCOMP_RET_ALLOW,
    "SCMP_ACT_NOTIFY": SECCOMP_RET_USER_NOTIF,
}
# The lower half of these is a number for whoever gets the answer: the caller, or the tracer.
WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
# What lets a call pass, or leaves it to somebody who may: the kernel itself says ENOSYS then.
PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
_NOTIFY = "SCMP_ACT_NOTIFY"
_NOTIFY_LEVEL = 5  # from which API level of libseccomp on it and the kernel have it

OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}

# libseccomp's numbers: AUDIT_ARCH_* of include/uapi/linux/audit.h, but for x32.
ARCHITECTURES = {
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": AUDIT_ARCH_X86_64,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_LOONGARCH64": 0xC0000102,
    "SCMP_ARCH_MIPS": 0x00000008,
    "SCMP_ARCH_MIPS64": 0x80000008,
    "SCMP_ARCH_MIPS64N32": 0xA0000008,
    "SCMP_ARCH_MIPSEL": 0x40000008,
    "SCMP_ARCH_MIPSEL64": 0xC0000008,
    "SCMP_ARCH_MIPSEL64N32": 0xE0000008,
    "SCMP_ARCH_PPC": 0x00000014,
    "SCMP_ARCH_PPC64": 0x80000015,
    "SCMP_ARCH_PPC64LE": 0xC0000015,
    "SCMP_ARCH_RISCV64": 0xC00000F3,
    "SCMP_ARCH_S390": 0x00000016,
    "SCMP_ARCH_S390X": 0x80000016,
}
_X32 = ARCHITECTURES["SCMP_ARCH_X32"]

FLAGS = {
    # Threads are brought in step by it; there is only one, and its successor after execve.
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
}

_EPERM = 1
_EDOM = 33
_ENOSYS = 38
_MAX_ERRNO = 0xFFFF
_MAX_ARGS = 6
# libseccomp before 2.5.5 makes a wrong tree of no rules at all, and few are as fast without one.
_MANY_RULES = 32


class _Rule:
    """One name of `syscalls`: what is to happen to that call, and when."""

    __slots__ = ("action", "comparisons", "field", "name")

    def __init__(self, name: str, action: int, comparisons: "list[Comparison]", field: str) -> None:
        self.name, self.action, self.comparisons, self.field = name, action, comparisons, field


def compile_profile(profile: "dict[str, Any]") -> "tuple[bytes, int, bytes]":
    """Compile a profile.

    Returns:
        the instructions (an array of struct sock_filter), the flags for seccomp(2), and the path
        of the libseccomp that compiled it

    Raises:
        ConfigError: it can't be compiled; with the field
    """
    notifies = _notifies(profile)
    default = _action(profile, "defaultAction", "defaultErrnoRet", FIELD)
    rules = [
        rule
        for index, entry in enumerate(profile.get("syscalls") or ())
        for rule in _rules(entry, f"{FIELD}.syscalls[{index}]")
    ]
    architectures = _architectures(profile)
    flags = _flags(profile, notifies=notifies is not None)
    library = Library()
    if notifies is not None and library.api_level() < _NOTIFY_LEVEL:
        raise ConfigError(f"the kernel, or {SONAME}, is too old for {_NOTIFY}", notifies)
    instructions = b""
    if profile["defaultAction"] not in PERMISSIVE and default != SECCOMP_RET_ERRNO | _ENOSYS:
        instructions = _stub(library, architectures, rules)
    instructions += _filter(library, default, architectures, rules)
    if len(instructions) > 8 * BPF_MAXINSNS:
        raise ConfigError(
            f"the profile compiles to {len(instructions) // 8} instructions, and the kernel takes"
            f" {BPF_MAXINSNS}",
            FIELD,
        )
    return instructions, flags, library.path()


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def supported(flag: int) -> bool:
    """Tell whether the kernel has a flag of `FLAGS`."""
    # It has WAIT_KILLABLE_RECV only for who wants a listener.
    if flag == SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV:
        flag |= SECCOMP_FILTER_FLAG_NEW_LISTENER
    return seccomp_has_flags(flag)


def _notifies(profile: "dict[str, Any]") -> "str | None":
    """The field of the first rule that asks an agent; None: there is none.

    Not of write(2): it tells our parent about the listener, and before that nobody could answer.
    """
    if profile.get("defaultAction") == _NOTIFY:
        raise ConfigError(f"{_NOTIFY} cannot be used as default action", f"{FIELD}.defaultAction")
    found = None
    for index, entry in enumerate(profile.get("syscalls") or ()):
        if entry.get("action") != _NOTIFY:
            continue
        field = f"{FIELD}.syscalls[{index}]"
        found = found or f"{field}.action"
        names = entry.get("names") or []
        if "write" in names:
            raise ConfigError(
                f"{_NOTIFY} cannot be used for the write syscall",
                f"{field}.names[{names.index('write')}]",
            )
    return found


def _action(entry: "dict[str, Any]", name: str, errno_name: str, field: str) -> int:
    """The action of an entry as the kernel has it, its errno in the lower half."""
    action = entry.get(name)
    if action not in ACTIONS:
        raise ConfigError(f"{_shown(action)} is not an action", f"{field}.{name}")
    errno = entry.get(errno_name)
    if action not in WITH_ERRNO:
        if errno is not None:
            raise ConfigError(f"{action} returns no errno", f"{field}.{errno_name}")
        return ACTIONS[action]
    if errno is None:
        errno = _EPERM
    if not 0 <= errno <= _MAX_ERRNO:
        raise ConfigError(f"{errno} is beyond {_MAX_ERRNO}", f"{field}.{errno_name}")
    return ACTIONS[action] | int(errno)


def _rules(entry: "dict[str, Any]", field: str) -> "list[_Rule]":
    """One rule for each name of an entry of `syscalls`."""
    action = _action(entry, "action", "errnoRet", field)
    comparisons = [
        _comparison(arg, f"{field}.args[{index}]")
        for index, arg in enumerate(entry.get("args") or ())
    ]
    rules = []
    for index, name in enumerate(entry.get("names") or ()):
        if not name or "\0" in name:
            raise ConfigError(f"{quoted(name)} names no system call", f"{field}.names[{index}]")
        rules.append(_Rule(name, action, comparisons, f"{field}.names[{index}]"))
    return rules


def _comparison(arg: "dict[str, Any]", field: str) -> "Comparison":
    operator = arg.get("op")
    if operator not in OPERATORS:
        raise ConfigError(f"{_shown(operator)} is not an operator", f"{field}.op")
    index = arg["index"]
    if not 0 <= index < _MAX_ARGS:
        raise ConfigError(f"system calls have arguments 0 to 5, not {index}", f"{field}.index")
    # SCMP_CMP_MASKED_EQ takes the mask first, then what is to be left of the argument.
    return index, OPERATORS[operator], arg["value"], arg.get("valueTwo") or 0


def _architectures(profile: "dict[str, Any]") -> "list[tuple[int, str]]":
    """The numbers of the architectures, each with its field."""
    architectures = []
    for index, name in enumerate(profile.get("architectures") or ()):
        field = f"{FIELD}.architectures[{index}]"
        if name not in ARCHITECTURES:
            raise ConfigError(f"{_shown(name)} is not an architecture that is known here", field)
        architectures.append((ARCHITECTURES[name], field))
    return architectures


def _flags(profile: "dict[str, Any]", *, notifies: bool) -> int:
    """The flags for seccomp(2).

    A profile that says nothing about flags gets SPEC_ALLOW, where it can be had, as from runc:
    without it, kernels before 5.16 take a speculation of the processor away from every process
    under a filter, which costs far more than the filter.
    """
    flags = SECCOMP_FILTER_FLAG_NEW_LISTENER if notifies else 0
    names = profile.get("flags")
    if names is None:
        default = SECCOMP_FILTER_FLAG_SPEC_ALLOW
        return flags | default if supported(default) else flags
    for index, name in enumerate(names):
        field = f"{FIELD}.flags[{index}]"
        if name not in FLAGS:
            raise ConfigError(f"{_shown(name)} is not a flag that is known here", field)
        flag = FLAGS[name]
        if flag == SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV and not notifies:
            raise ConfigError(f"it is for {_NOTIFY}, which no rule has", field)
        if not supported(flag):
            raise ConfigError(f"the kernel is too old for {name}", field)
        flags |= flag
    return flags


def _shown(value: object) -> str:
    return quoted(value) if isinstance(value, str) else repr(value)


# ── compiling ───────────────────────────────────────────────────────────────────────────────────


def _filter(
    library: Library, default: int, architectures: "list[tuple[int, str]]", rules: "list[_Rule]"
) -> bytes:
    """What libseccomp makes of the rules."""
    try:
        context = Context(library, default)
    except OSError as error:
        raise _refused(error, "the action", f"{FIELD}.defaultAction") from None
    try:
        for architecture, field in architectures:
            try:
                context.add_arch(architecture)
            except OSError as error:
                if error.errno == _EDOM:
                    raise ConfigError("its byte order is not this machine's", field) from None
                raise _refused(error, "the architecture", field) from None
        if len(rules) > _MANY_RULES:
            context.optimize()
        native = library.native()
        for rule in rules:
            if rule.action == default:
                continue  # says nothing new, and libseccomp takes it for a mistake
            number = library.resolve(rule.name, native)
            if number is None:
                continue  # profiles name calls that are newer than the library
            try:
                _add_rules(context, rule, number)
            except OSError as error:
                raise _refused(error, f"the rule for {rule.name}", rule.field) from None
        try:
            return context.export()
        except OSError as error:
            raise _refused(error, "the profile", FIELD) from None
    finally:
        context.close()


def _add_rules(context: Context, rule: _Rule, number: int) -> None:
    """Add a rule that holds where all of its comparisons do.

    With two comparisons of one argument, which libseccomp can't express, there is a rule for each
    of all its comparisons instead: any of them is enough then. Profiles rely on that.
    """
    indexes = [comparison[0] for comparison in rule.comparisons]
    if len(set(indexes)) == len(indexes):
        context.add_rule(rule.action, number, rule.comparisons)
    else:
        for comparison in rule.comparisons:
            context.add_rule(rule.action, number, [comparison])


def _stub(library: Library, architectures: "list[tuple[int, str]]", rules: "list[_Rule]") -> bytes:
    """What goes before the filter: ENOSYS for calls that are newer than all that it names.

    The machine's own architecture comes first, because its calls are the frequent ones, and also
    where the profile does not list it: libseccomp's filters always have it.
    """
    names = {rule.name for rule in rules}
    limits: dict[int, Limits] = {}
    for arch in (library.native(), *(number for number, _field in architectures)):
        known = (library.resolve(name, arch) for name in names)
        highest = max((number for number in known if number is not None), default=0)
        if highest <= 0:
            continue  # names nothing that this architecture has
        if arch == _X32:
            limits.setdefault(AUDIT_ARCH_X86_64, Limits()).x32 = highest
        else:
            limits.setdefault(arch, Limits()).native = highest
    return stub(limits)


def _refused(error: OSError, what: str, field: str) -> ConfigError:
    errno = error.errno or 0
    return ConfigError(f"libseccomp refuses {what}: {words(errno)}", field)
