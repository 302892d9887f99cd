"""The devices of cgroup v2, where a program of eBPF decides.

See Documentation/admin-guide/cgroup-v2.rst, «Device controller». The program is of the type
BPF_PROG_TYPE_CGROUP_DEVICE and is written here instruction by instruction (bpf(2), and
Documentation/bpf/standardization/instruction-set.rst).

For each access the kernel runs it with a struct bpf_cgroup_dev_ctx. It goes through the rules from
the last to the first, because the last one that speaks of a device decides: what a rule allows is
taken off the list of what is wanted, and a rule that denies any of the rest ends it.
"""

import _struct as struct
import posix

from libcontainer_py.cgroups.devices_v1 import DEFAULTS, FIELD
from libcontainer_py.errors import ConfigError, StepError, quoted
from libcontainer_py.linux.flags import (
    BPF_CGROUP_DEVICE,
    BPF_DEVCG_ACC_MKNOD,
    BPF_DEVCG_ACC_READ,
    BPF_DEVCG_ACC_WRITE,
    BPF_DEVCG_DEV_BLOCK,
    BPF_DEVCG_DEV_CHAR,
    BPF_F_ALLOW_MULTI,
    BPF_PROG_ATTACH,
    BPF_PROG_DETACH,
    BPF_PROG_GET_FD_BY_ID,
    BPF_PROG_LOAD,
    BPF_PROG_QUERY,
    BPF_PROG_TYPE_CGROUP_DEVICE,
)
from libcontainer_py.linux.syscalls import buffer, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Rule = tuple[bool, int, int, int, int]  # allow, type, major, minor (-1: any), access

_ANY = -1
_TYPES = {"a": _ANY, "b": BPF_DEVCG_DEV_BLOCK, "c": BPF_DEVCG_DEV_CHAR}
_ACCESS = {"r": BPF_DEVCG_ACC_READ, "w": BPF_DEVCG_ACC_WRITE, "m": BPF_DEVCG_ACC_MKNOD}
_ALL_ACCESS = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE | BPF_DEVCG_ACC_MKNOD

# The registers of the program: what it returns, its context, and what it takes out of that.
_RESULT, _CONTEXT, _TYPE, _WANTED, _MAJOR, _MINOR = range(6)

# Opcodes (include/uapi/linux/bpf_common.h and bpf.h): a class, and in it an operation; all on 32
# bits, and with a constant as the second operand.
_BPF_LDX_MEM_W = 0x61
_BPF_ALU_AND_K = 0x54
_BPF_ALU_RSH_K = 0x74
_BPF_ALU_MOV_K = 0xB4
_BPF_JMP_JA = 0x05
_BPF_JMP_EXIT = 0x95
_BPF_JMP32_JNE_K = 0x56
_BPF_JMP32_JSET_K = 0x46

_MAX_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS
_ATTEMPTS = 30
_ENOENT, _E2BIG, _EAGAIN = 2, 7, 11


def apply(directory: str, rules: "list[dict[str, Any]] | None") -> None:
    """Set the devices of a cgroup: config.json's rules in their order, then the defaults.

    Programs of an earlier call are taken off after the new one is on: both must agree meanwhile,
    so that there is no moment without.

    Raises:
        ConfigError: a rule is wrong
        StepError: the kernel refused
    """
    program = assemble(_parse(rules or []))
    try:
        cgroup = posix.open(directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        try:
            _replace(cgroup, program)
        finally:
            posix.close(cgroup)
    except OSError as error:
        what = f"attach the device program to {directory}"
        hint = "there are more rules than it can check" if error.errno == _E2BIG else None
        raise StepError(None, error.errno or 0, what, field=FIELD, hint=hint) from None


def _parse(rules: "list[dict[str, Any]]") -> "list[Rule]":
    parsed = []
    for index, rule in enumerate(rules):
        field = f"{FIELD}[{index}]"
        kind = rule.get("type") or "a"
        if kind not in _TYPES:
            raise ConfigError(f"{quoted(kind)} is none of a, b and c", field + ".type")
        access = _access(rule.get("access") or "")
        if not access:
            raise ConfigError("it is required: some of r, w and m", field + ".access")
        parsed.append(
            (
                bool(rule["allow"]),
                _TYPES[kind],
                rule.get("major", _ANY),
                rule.get("minor", _ANY),
                access,
            )
        )
    everything = [rule[0] for rule in parsed if _is_everything(rule)]
    for kind, major, minor, letters in DEFAULTS:
        if everything[-1:] == [True] and letters == "m":
            continue  # as on v1, a rule that takes a device out of all takes its node, too
        parsed.append((True, _TYPES[kind], _number(major), _number(minor), _access(letters)))
    return parsed


def _is_everything(rule: "Rule") -> bool:
    return rule[1:4] == (_ANY, _ANY, _ANY) and rule[4] == _ALL_ACCESS


def _access(letters: str) -> int:
    return sum(bit for letter, bit in _ACCESS.items() if letter in letters)


def _number(text: str) -> int:
    return _ANY if text == "*" else int(text)


# ── the program ─────────────────────────────────────────────────────────────────────────────────


def assemble(rules: "list[Rule]") -> bytes:
    """Write the program for rules, an array of struct bpf_insn. What no rule allows is denied."""
    program = [
        # access_type: the type in the lower half, the access in the upper one
        _instruction(_BPF_LDX_MEM_W, _TYPE, _CONTEXT, offset=0),
        _instruction(_BPF_ALU_AND_K, _TYPE, constant=0xFFFF),
        _instruction(_BPF_LDX_MEM_W, _WANTED, _CONTEXT, offset=0),
        _instruction(_BPF_ALU_RSH_K, _WANTED, constant=16),
        _instruction(_BPF_LDX_MEM_W, _MAJOR, _CONTEXT, offset=4),
        _instruction(_BPF_LDX_MEM_W, _MINOR, _CONTEXT, offset=8),
    ]
    for rule in reversed(rules):
        allow, *device, access = rule
        if _is_everything(rule):
            # It speaks of everything, so that those before it have nothing to say. The kernel
            # refuses a program with instructions that can't be reached.
            return b"".join(program + _answer(allow))
        program += _block(device, access, allow)
    return b"".join(program + _answer(False))


def _block(device: "list[int]", access: int, allow: bool) -> "list[bytes]":
    """One rule; what it does not decide falls out at its end."""
    if allow:
        decision = [
            _instruction(_BPF_ALU_AND_K, _WANTED, constant=_ALL_ACCESS & ~access),
            _instruction(_BPF_JMP32_JNE_K, _WANTED, offset=2, constant=0),
            *_answer(True),
        ]
    else:
        decision = [
            _instruction(_BPF_JMP32_JSET_K, _WANTED, offset=1, constant=access),
            _instruction(_BPF_JMP_JA, offset=2),
            *_answer(False),
        ]
    block: list[bytes] = []
    tests = [
        (register, number)
        for register, number in zip((_TYPE, _MAJOR, _MINOR), device, strict=True)
        if number != _ANY
    ]
    for place, (register, number) in enumerate(tests, 1):
        beyond = len(tests) - place + len(decision)
        block.append(_instruction(_BPF_JMP32_JNE_K, register, offset=beyond, constant=number))
    return block + decision


def _answer(allow: bool) -> "list[bytes]":
    return [
        _instruction(_BPF_ALU_MOV_K, _RESULT, constant=int(allow)),
        _instruction(_BPF_JMP_EXIT),
    ]


def _instruction(
    opcode: int, destination: int = 0, source: int = 0, *, offset: int = 0, constant: int = 0
) -> bytes:
    """A struct bpf_insn: opcode, two registers of four bits, offset (of memory, or a jump's)."""
    return struct.pack("=BBhI", opcode, source << 4 | destination, offset, constant)


# ── bpf(2) ──────────────────────────────────────────────────────────────────────────────────────


def _replace(cgroup: int, program: bytes) -> None:
    old = _attached(cgroup)
    new = _load(program)
    try:
        # With ALLOW_MULTI a program of a parent (systemd's, or of a container around) is asked
        # too, and all must agree.
        attributes = struct.pack("=IIII", cgroup, new, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI)
        syscall("bpf", BPF_PROG_ATTACH, attributes, len(attributes))
    finally:
        posix.close(new)
    for number in old:
        _detach(cgroup, number)


def _load(program: bytes) -> int:
    instructions, address, _view = buffer(len(program))
    instructions[:] = program
    text, license_address, _text_view = buffer(16)
    text[:10] = b"Apache-2.0"
    attributes = struct.pack(
        "=IIQQIIQII16s",
        BPF_PROG_TYPE_CGROUP_DEVICE,
        len(program) // 8,
        address,
        license_address,
        0,  # log_level, log_size, log_buf
        0,
        0,
        0,  # kern_version, prog_flags
        0,
        b"lcpy_devices",
    )
    for attempt in range(_ATTEMPTS):
        try:
            return syscall("bpf", BPF_PROG_LOAD, attributes, len(attributes))
        except OSError as error:
            # A signal came while the verifier was at work.
            if error.errno != _EAGAIN or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _attached(cgroup: int) -> "list[int]":
    """List the ids of the device programs of a cgroup itself."""
    numbers, address, _numbers_view = buffer(_MAX_PROGRAMS * 4)
    # All 64 bytes of the structure: Linux 6.17 writes its last field whatever size it is told.
    attributes, attributes_address, _view = buffer(64)
    struct.pack_into("=IIIIQI", attributes, 0, cgroup, BPF_CGROUP_DEVICE, 0, 0, address, 64)
    syscall("bpf", BPF_PROG_QUERY, attributes_address, len(attributes))
    (count,) = struct.unpack_from("=I", attributes, 24)
    return list(struct.unpack_from(f"={count}I", numbers))


def _detach(cgroup: int, number: int) -> None:
    attributes = struct.pack("=III", number, 0, 0)
    try:
        old = syscall("bpf", BPF_PROG_GET_FD_BY_ID, attributes, len(attributes))
    except OSError as error:
        if error.errno == _ENOENT:
            return  # somebody else took it off
        raise
    try:
        attributes = struct.pack("=III", cgroup, old, BPF_CGROUP_DEVICE)
        syscall("bpf", BPF_PROG_DETACH, attributes, len(attributes))
    finally:
        posix.close(old)
