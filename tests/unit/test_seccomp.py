"""Profiles compiled, and loaded into the kernel by a child that then makes the calls."""

import ctypes
import errno
import json
import mmap
import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.errors import ConfigError
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import (
    PR_SET_NO_NEW_PRIVS,
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
from libcontainer_py.linux.numbers import MACHINE, NR
from libcontainer_py.security import seccomp, seccomp_library, seccomp_profile

x86_64_only = pytest.mark.skipif(
    MACHINE != "x86_64", reason="tried with the machine code of x86_64"
)

Profile = dict[str, Any]

NEWER_THAN_ALL = 4000
# What Python itself needs to make a few calls and to say how they ended.
PYTHON = ("brk", "exit_group", "futex", "madvise", "mmap", "mprotect", "munmap", "write")


def profile(default: str = "SCMP_ACT_ALLOW", *entries: Profile, **more: Any) -> Profile:
    return {"defaultAction": default, "syscalls": list(entries), **more}


def entry(action: str, *names: str, args: list[Profile] | None = None, **more: Any) -> Profile:
    return {"action": action, "names": list(names), "args": args or [], **more}


def arg(index: int, op: str, value: int, **more: int) -> Profile:
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, **more}


def denial(*names: str, args: list[Profile] | None = None, **more: Any) -> Profile:
    """A profile that allows all but these."""
    return profile("SCMP_ACT_ALLOW", entry("SCMP_ACT_ERRNO", *names, args=args, **more))


def python_and(*entries: Profile, **more: Any) -> Profile:
    """A profile that denies all but what Python needs and these."""
    return profile("SCMP_ACT_ERRNO", entry("SCMP_ACT_ALLOW", *PYTHON), *entries, **more)


# ── the kernel ──────────────────────────────────────────────────────────────────────────────────

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

Call = tuple[int, ...]


def errno_of(*call: int) -> int:
    """Make a system call; 0, or the errno."""
    number, *arguments = (ctypes.c_long(word) for word in call)
    ctypes.set_errno(0)
    return ctypes.get_errno() if _libc.syscall(number, *arguments) == -1 else 0


def under(wanted: Profile, work: Callable[[], Any]) -> Any:
    """Do some work in a child under a profile: what it returns, or -N for a signal that ends it."""
    compiled = seccomp.compile_filter(wanted, None)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.prctl(PR_SET_NO_NEW_PRIVS, 1)
            syscalls.seccomp_set_mode_filter(compiled.flags, compiled.instructions)
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code else json.loads(said)


def errnos(wanted: Profile, *calls: Call) -> list[int]:
    """The errnos of some calls that a child makes under a profile."""
    result: list[int] = under(wanted, lambda: [errno_of(*call) for call in calls])
    return result


GETPPID = ({"x86_64": 110, "aarch64": 173}[MACHINE],)
GETPID = (NR["getpid"],)
PERSONALITY = NR["personality"]
QUERY = 0xFFFFFFFF  # personality(2) without a change
PRCTL = NR["prctl"]
PR_GET_DUMPABLE = 3


def test_a_denied_call_fails_with_eperm_and_others_are_made() -> None:
    assert errnos(denial("getppid"), GETPPID, GETPID) == [errno.EPERM, 0]


def test_errno_ret() -> None:
    assert errnos(denial("getppid", errnoRet=errno.ENETDOWN), GETPPID) == [errno.ENETDOWN]


def test_an_errno_of_0_is_a_call_that_is_not_made_and_succeeds() -> None:
    missing = (NR["fchdir"], 9999)
    assert errnos(profile(), missing) == [errno.EBADF]
    assert errnos(denial("fchdir", errnoRet=0), missing) == [0]


def test_default_errno_ret() -> None:
    wanted = python_and(defaultErrnoRet=errno.ENXIO)
    assert errnos(wanted, GETPPID) == [errno.ENXIO]


def test_a_default_denies_all_that_is_not_named() -> None:
    wanted = python_and(entry("SCMP_ACT_ALLOW", "getppid", "openat2"))
    assert errnos(wanted, GETPPID, GETPID) == [0, errno.EPERM]


@pytest.mark.parametrize(
    ("action", "ended"),
    [
        ("SCMP_ACT_KILL_PROCESS", -signal.SIGSYS),
        ("SCMP_ACT_KILL", -signal.SIGSYS),
        ("SCMP_ACT_KILL_THREAD", -signal.SIGSYS),
        ("SCMP_ACT_TRAP", -signal.SIGSYS),
        ("SCMP_ACT_LOG", [0]),
        ("SCMP_ACT_ALLOW", [0]),
        ("SCMP_ACT_TRACE", [errno.ENOSYS]),  # the kernel's answer where there is no tracer
    ],
)
def test_actions(action: str, ended: Any) -> None:
    # As one that denies by default has to write it, where the action is the one to allow.
    default = "SCMP_ACT_LOG" if action == "SCMP_ACT_ALLOW" else "SCMP_ACT_ALLOW"
    wanted = profile(default, entry(action, "getppid"))
    assert under(wanted, lambda: [errno_of(*GETPPID)]) == ended


@pytest.mark.parametrize(
    ("op", "value", "more", "denied"),
    [
        ("NE", 3, {}, [0, 1, 1]),
        ("EQ", 3, {}, [1, 0, 0]),
        ("LT", 16, {}, [1, 0, 0]),
        ("LE", 16, {}, [1, 1, 0]),
        ("GT", 16, {}, [0, 0, 1]),
        ("GE", 16, {}, [0, 1, 1]),
        ("MASKED_EQ", 0x3, {"valueTwo": 0x3}, [1, 0, 1]),
        ("MASKED_EQ", 0x10, {"valueTwo": 0}, [1, 0, 1]),
        ("MASKED_EQ", 0x3, {}, [0, 1, 0]),
    ],
)
def test_operators(op: str, value: int, more: dict[str, int], denied: list[int]) -> None:
    """Tried with prctl(2) of 3, 16 and 39: all of them may be made without arguments."""
    wanted = denial("prctl", args=[arg(0, op, value, **more)], errnoRet=errno.ENETDOWN)
    space = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(space))
    said = errnos(wanted, (PRCTL, PR_GET_DUMPABLE), (PRCTL, 16, address), (PRCTL, 39, 0, 0, 0, 0))
    assert said == [errno.ENETDOWN * hit for hit in denied]


def test_arguments_have_64_bits() -> None:
    wanted = denial("fchdir", args=[arg(0, "EQ", 1 << 32 | 5)], errnoRet=errno.ENETDOWN)
    fchdir = NR["fchdir"]
    said = errnos(wanted, (fchdir, 1 << 32 | 5), (fchdir, 5), (fchdir, 1 << 32 | 6))
    assert said[0] == errno.ENETDOWN
    assert errno.ENETDOWN not in said[1:]


def test_comparisons_of_different_arguments_must_all_hold() -> None:
    wanted = denial("prctl", args=[arg(0, "EQ", 3), arg(1, "EQ", 7)], errnoRet=errno.ENETDOWN)
    assert errnos(wanted, (PRCTL, 3, 7), (PRCTL, 3, 8)) == [errno.ENETDOWN, 0]


def test_with_two_comparisons_of_one_argument_any_of_all_is_enough() -> None:
    args = [arg(0, "EQ", 3), arg(0, "EQ", 39), arg(1, "EQ", 7)]
    wanted = denial("prctl", args=args, errnoRet=errno.ENETDOWN)
    calls = ((PRCTL, 3, 0), (PRCTL, 39, 0, 0, 0, 0), (PRCTL, 15, 7))
    assert errnos(wanted, *calls) == [errno.ENETDOWN] * 3


def test_entries_for_one_call_add_up() -> None:
    """As engines write personality: an entry for each value that is allowed."""
    values = (0, QUERY)
    entries = [entry("SCMP_ACT_ALLOW", "personality", args=[arg(0, "EQ", v)]) for v in values]
    said = errnos(python_and(*entries), *((PERSONALITY, v) for v in (*values, 8)))
    assert said == [0, 0, errno.EPERM]


def test_names_that_nobody_knows_are_passed_over() -> None:
    assert errnos(denial("no_such_call", "getppid"), GETPPID) == [errno.EPERM]


def test_an_entry_with_the_default_action_is_passed_over() -> None:
    wanted = profile("SCMP_ACT_ALLOW", entry("SCMP_ACT_ALLOW", "getppid"))
    assert errnos(wanted, GETPPID) == [0]


def test_a_profile_without_syscalls_is_its_default() -> None:
    assert errnos({"defaultAction": "SCMP_ACT_ALLOW"}, GETPPID) == [0]
    wanted = {"defaultAction": "SCMP_ACT_KILL_PROCESS"}
    assert under(wanted, lambda: 0) == -signal.SIGSYS


def test_a_call_that_is_newer_than_all_that_are_named_is_enosys() -> None:
    wanted = python_and(entry("SCMP_ACT_ALLOW", "openat2"))
    newest = NR["openat2"]
    said = errnos(wanted, GETPPID, (newest - 1,), (newest + 1,), (NEWER_THAN_ALL,))
    assert said == [errno.EPERM, errno.EPERM, errno.ENOSYS, errno.ENOSYS]


def test_under_a_default_that_kills_too() -> None:
    wanted = {**python_and(), "defaultAction": "SCMP_ACT_KILL_PROCESS"}
    assert errnos(wanted, (NEWER_THAN_ALL,)) == [errno.ENOSYS]
    assert under(wanted, lambda: errno_of(*GETPPID)) == -signal.SIGSYS


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_nothing_is_put_before_a_filter_that_lets_pass(default: str) -> None:
    wanted = profile(default, entry("SCMP_ACT_ERRNO", "getppid", errnoRet=errno.ENETDOWN))
    assert answer(wanted, NATIVE, NEWER_THAN_ALL) == seccomp_profile.ACTIONS[default] | (
        default == "SCMP_ACT_TRACE"
    )


def test_a_profile_with_an_errno_of_enosys_needs_no_stub() -> None:
    with_stub, without = (
        len(seccomp.compile_filter(python_and(defaultErrnoRet=code), None).instructions)
        for code in (errno.EPERM, errno.ENOSYS)
    )
    assert without < with_stub
    assert errnos(python_and(defaultErrnoRet=errno.ENOSYS), GETPPID, (NEWER_THAN_ALL,)) == [
        errno.ENOSYS,
        errno.ENOSYS,
    ]


def int80(number: int) -> int:
    """Make a system call of i386 without arguments, from this process of 64 bits; 0 or its errno.

    push rbx; mov eax, number; int 0x80; pop rbx; ret
    """
    code = b"\x53\xb8" + struct.pack("<I", number) + b"\xcd\x80\x5b\xc3"
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    result: int = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    return -result if result < 0 else 0


X32 = 1 << 30
I386_GETPPID = 64
X86 = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")


@x86_64_only
def test_rules_hold_for_every_architecture_that_is_listed() -> None:
    wanted = denial("getppid", errnoRet=errno.ENETDOWN) | {"architectures": X86}

    def work() -> list[int]:
        return [errno_of(*GETPPID), int80(I386_GETPPID), errno_of(X32 | GETPPID[0])]

    assert under(wanted, work) == [errno.ENETDOWN] * 3


@x86_64_only
def test_calls_of_an_architecture_that_is_not_listed_kill() -> None:
    wanted = denial("getppid") | {"architectures": ["SCMP_ARCH_X86_64"]}
    assert under(wanted, lambda: int80(I386_GETPPID)) == -signal.SIGSYS
    assert under(wanted, lambda: errno_of(X32 | GETPPID[0])) == -signal.SIGSYS


@x86_64_only
def test_enosys_by_architecture() -> None:
    """i386 and x32 have numbers of their own: what is newer is told for each by its own."""
    wanted = python_and(entry("SCMP_ACT_ALLOW", "setns"), architectures=X86)
    native, i386 = 308, 346  # setns

    def work() -> list[list[int]]:
        return [
            [errno_of(native - 1), errno_of(native + 1), errno_of(i386)],
            [int80(native + 1), int80(i386 - 1), int80(i386 + 1), int80(NEWER_THAN_ALL)],
            [errno_of(X32 | number) for number in (native - 1, native + 1, NEWER_THAN_ALL)],
        ]

    eperm, enosys = errno.EPERM, errno.ENOSYS
    assert under(wanted, work) == [
        [eperm, enosys, enosys],
        [eperm, eperm, enosys, enosys],
        [eperm, enosys, enosys],
    ]


# ── the instructions, run here ──────────────────────────────────────────────────────────────────

NATIVE = seccomp_profile.ARCHITECTURES[f"SCMP_ARCH_{MACHINE.upper()}"]


def run(instructions: bytes, arch: int, number: int) -> int:
    """Run a filter as the kernel would, for a call whose arguments are all 0."""
    program = list(struct.iter_unpack("HBBI", instructions))
    data = struct.pack("II", number, arch) + bytes(56)
    accumulator = position = 0
    while True:
        code, if_true, if_false, k = program[position]
        position += 1
        match code:
            case 0x20:  # BPF_LD | BPF_W | BPF_ABS
                (accumulator,) = struct.unpack_from("I", data, k)
            case 0x54:  # BPF_ALU | BPF_AND | BPF_K
                accumulator &= k
            case 0x05:  # BPF_JMP | BPF_JA
                position += k
            case 0x15 | 0x25 | 0x35 | 0x45:  # BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET
                holds = {
                    0x15: accumulator == k,
                    0x25: accumulator > k,
                    0x35: accumulator >= k,
                    0x45: accumulator & k != 0,
                }[code]
                position += if_true if holds else if_false
            case 0x06:  # BPF_RET | BPF_K
                return int(k)
            case _:
                raise AssertionError(f"{code:#x} at {position - 1}")


def answer(wanted: Profile, arch: int, number: int) -> int:
    return run(seccomp.compile_filter(wanted, None).instructions, arch, number)


LITTLE_ENDIAN = (
    *X86,
    *("SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64", "SCMP_ARCH_RISCV64", "SCMP_ARCH_PPC64LE"),
    *("SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32"),
)


@pytest.mark.parametrize("name", LITTLE_ENDIAN)
def test_the_stub_for_one_architecture_beside_our_own(name: str) -> None:
    """The last call that is named is the filter's, the next one ENOSYS, on both of them."""
    names = ("read", "setns", "copy_file_range")
    wanted = profile("SCMP_ACT_KILL", entry("SCMP_ACT_ALLOW", *names), architectures=[name])
    library = seccomp_library.Library()
    for arch in (seccomp_profile.ARCHITECTURES[name], NATIVE):
        kernel_arch = NATIVE if name == "SCMP_ARCH_X32" else arch
        newest = library.resolve("copy_file_range", arch)
        older = library.resolve("kcmp", arch)
        assert newest is not None
        assert older is not None
        assert answer(wanted, kernel_arch, newest) == SECCOMP_RET_ALLOW
        assert answer(wanted, kernel_arch, older) == SECCOMP_RET_KILL_THREAD
        assert answer(wanted, kernel_arch, newest + 1) == SECCOMP_RET_ERRNO | errno.ENOSYS


def test_the_stub_for_all_at_once() -> None:
    wanted = profile(
        "SCMP_ACT_ERRNO", entry("SCMP_ACT_ALLOW", "openat2"), architectures=LITTLE_ENDIAN
    )
    library = seccomp_library.Library()
    for name in LITTLE_ENDIAN:
        arch = seccomp_profile.ARCHITECTURES[name]
        newest = library.resolve("openat2", arch)
        assert newest is not None
        kernel_arch = NATIVE if name == "SCMP_ARCH_X32" else arch
        answers = [answer(wanted, kernel_arch, newest + offset) for offset in (-1, 0, 1)]
        assert answers == [
            SECCOMP_RET_ERRNO | errno.EPERM,
            SECCOMP_RET_ALLOW,
            SECCOMP_RET_ERRNO | errno.ENOSYS,
        ], name


@x86_64_only
def test_x32_calls_are_not_answered_where_x32_is_not_listed() -> None:
    wanted = profile("SCMP_ACT_ERRNO", entry("SCMP_ACT_ALLOW", "openat2"))
    assert answer(wanted, NATIVE, X32 | 4000) == SECCOMP_RET_KILL_THREAD
    assert answer(wanted, 0x40000003, 4000) == SECCOMP_RET_KILL_THREAD


@pytest.mark.parametrize(
    ("action", "more", "value"),
    [
        ("SCMP_ACT_KILL", {}, SECCOMP_RET_KILL_THREAD),
        ("SCMP_ACT_KILL_THREAD", {}, SECCOMP_RET_KILL_THREAD),
        ("SCMP_ACT_KILL_PROCESS", {}, SECCOMP_RET_KILL_PROCESS),
        ("SCMP_ACT_TRAP", {}, SECCOMP_RET_TRAP),
        ("SCMP_ACT_ERRNO", {}, SECCOMP_RET_ERRNO | errno.EPERM),
        ("SCMP_ACT_ERRNO", {"errnoRet": 0}, SECCOMP_RET_ERRNO),
        ("SCMP_ACT_TRACE", {}, SECCOMP_RET_TRACE | errno.EPERM),
        ("SCMP_ACT_TRACE", {"errnoRet": 4242}, SECCOMP_RET_TRACE | 4242),
        ("SCMP_ACT_LOG", {}, SECCOMP_RET_LOG),
    ],
)
def test_what_the_kernel_is_told_to_do(action: str, more: dict[str, Any], value: int) -> None:
    wanted = profile("SCMP_ACT_ALLOW", entry(action, "getppid", **more))
    assert answer(wanted, NATIVE, GETPPID[0]) == value
    default = {"defaultErrnoRet": more["errnoRet"]} if more else {}
    assert answer(profile(action, **default), NATIVE, GETPPID[0]) == value


def test_many_rules_are_found_by_a_tree() -> None:
    """An engine's profile, of some 300 names, answers as one that has no tree."""
    names = [name for name in syscall_names() if name not in ("reboot", "swapon")]
    compiled = seccomp.compile_filter(
        profile("SCMP_ACT_ERRNO", entry("SCMP_ACT_ALLOW", *names)), None
    )
    assert len(names) > 250
    reboot = seccomp_library.Library().resolve("reboot", NATIVE)
    assert reboot is not None
    assert run(compiled.instructions, NATIVE, reboot) == SECCOMP_RET_ERRNO | errno.EPERM
    assert run(compiled.instructions, NATIVE, NR["openat2"]) == SECCOMP_RET_ALLOW


def syscall_names() -> list[str]:
    """The names of this machine's calls, from the kernel's headers."""
    path = f"/usr/include/{MACHINE}-linux-gnu/asm/unistd_64.h"
    if not os.path.exists(path):
        path = "/usr/include/asm-generic/unistd.h"
    with open(path, encoding="ascii") as file:
        words = [line.split() for line in file if line.startswith("#define __NR_")]
    return [word[1].removeprefix("__NR_") for word in words]


# ── flags ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("names", "flags"),
    [
        (None, SECCOMP_FILTER_FLAG_SPEC_ALLOW),
        ([], 0),
        (["SECCOMP_FILTER_FLAG_TSYNC"], 0),
        (["SECCOMP_FILTER_FLAG_LOG"], SECCOMP_FILTER_FLAG_LOG),
        (["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], SECCOMP_FILTER_FLAG_SPEC_ALLOW),
        (
            ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
            SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        ),
    ],
)
def test_flags(names: list[str] | None, flags: int) -> None:
    wanted = denial("getppid") | ({} if names is None else {"flags": names})
    assert seccomp.compile_filter(wanted, None).flags == flags
    assert errnos(wanted, GETPPID) == [errno.EPERM]


def test_a_flag_that_no_kernel_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(seccomp_profile.FLAGS, "SECCOMP_FILTER_FLAG_LOG", 1 << 30)
    wanted = denial("getppid") | {"flags": ["SECCOMP_FILTER_FLAG_LOG"]}
    with pytest.raises(ConfigError, match=r"flags\[0\]: the kernel is too old for SECCOMP_FILTER_"):
        seccomp.compile_filter(wanted, None)


# ── an agent ────────────────────────────────────────────────────────────────────────────────────

NOTIFY = profile("SCMP_ACT_ALLOW", entry("SCMP_ACT_NOTIFY", "getppid", "read"))


def test_an_agent_is_asked() -> None:
    compiled = seccomp.compile_filter(NOTIFY, None)
    assert compiled.notifies()
    assert compiled.flags & SECCOMP_FILTER_FLAG_NEW_LISTENER
    assert run(compiled.instructions, NATIVE, GETPPID[0]) == SECCOMP_RET_USER_NOTIF
    assert run(compiled.instructions, NATIVE, GETPID[0]) == SECCOMP_RET_ALLOW
    again = seccomp.unpack(compiled.pack())
    assert (again.notifies(), again.instructions) == (True, compiled.instructions)


def test_nobody_is_asked() -> None:
    compiled = seccomp.compile_filter(denial("getppid"), None)
    assert not compiled.notifies()
    assert not compiled.flags & SECCOMP_FILTER_FLAG_NEW_LISTENER


def test_an_agents_flag() -> None:
    wanted = NOTIFY | {"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}
    flags = SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | SECCOMP_FILTER_FLAG_NEW_LISTENER
    assert seccomp.compile_filter(wanted, None).flags == flags == 40


def test_it_is_kept_whoever_the_agent_is(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    first = seccomp.compile_filter(NOTIFY | {"listenerPath": "/one"}, str(kept))
    (file,) = kept.iterdir()
    time = file.stat().st_mtime_ns
    wanted = NOTIFY | {"listenerPath": "/two", "listenerMetadata": "x"}
    second = seccomp.compile_filter(wanted, str(kept))
    assert second.pack() == first.pack()
    assert [each.stat().st_mtime_ns for each in kept.iterdir()] == [time]


def test_a_library_that_can_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp_library.Library, "api_level", lambda _self: 4)
    with pytest.raises(ConfigError) as caught:
        seccomp.compile_filter(NOTIFY, None)
    assert caught.value.field == "linux.seccomp.syscalls[0].action"
    assert "too old for SCMP_ACT_NOTIFY" in str(caught.value)


# ── what is refused ─────────────────────────────────────────────────────────────────────────────

ALLOW = "SCMP_ACT_ALLOW"
ERRNO = "SCMP_ACT_ERRNO"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (profile("SCMP_ACT_X"), 'defaultAction: "SCMP_ACT_X" is not an action'),
        ({}, "defaultAction: None is not an action"),
        (
            profile("SCMP_ACT_NOTIFY"),
            "defaultAction: SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (
            profile(ALLOW, entry(ERRNO, "write"), entry("SCMP_ACT_NOTIFY", "mkdir", "write")),
            "syscalls[1].names[1]: SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (profile(ALLOW, entry("x\ny", "read")), 'syscalls[0].action: "x\\ny" is not an action'),
        (
            profile(ALLOW, defaultErrnoRet=1),
            "defaultErrnoRet: SCMP_ACT_ALLOW returns no errno",
        ),
        (
            profile(ERRNO, entry("SCMP_ACT_KILL", "read", errnoRet=1)),
            "syscalls[0].errnoRet: SCMP_ACT_KILL returns no errno",
        ),
        (
            profile(ALLOW, entry(ERRNO, "read", errnoRet=65536 + 1)),
            "syscalls[0].errnoRet: 65537 is beyond 65535",
        ),
        (
            profile(ALLOW, entry(ERRNO, "read"), entry(ERRNO, "write", "")),
            'syscalls[1].names[1]: "" names no system call',
        ),
        (
            profile(ALLOW, entry(ERRNO, "mkdir\0x")),
            'syscalls[0].names[0]: "mkdir\\x00x" names no system call',
        ),
        (
            denial("read", args=[arg(0, "EQ", 1), arg(1, "IS", 1)]),
            'syscalls[0].args[1].op: "SCMP_CMP_IS" is not an operator',
        ),
        (
            denial("read", args=[arg(6, "EQ", 1)]),
            "syscalls[0].args[0].index: system calls have arguments 0 to 5, not 6",
        ),
        (
            denial("read") | {"architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_PDP11"]},
            'architectures[1]: "SCMP_ARCH_PDP11" is not an architecture that is known here',
        ),
        (
            denial("read") | {"architectures": ["SCMP_ARCH_S390X"]},
            "architectures[0]: its byte order is not this machine's",
        ),
        (
            denial("read") | {"flags": ["SECCOMP_FILTER_FLAG_LOG", "X"]},
            'flags[1]: "X" is not a flag that is known here',
        ),
        (
            denial("read") | {"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]},
            "flags[0]: it is for SCMP_ACT_NOTIFY, which no rule has",
        ),
    ],
)
def test_what_is_refused(wanted: Profile, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        seccomp.compile_filter(wanted, None)
    assert str(caught.value) == f"linux.seccomp.{words}"
    assert caught.value.field == "linux.seccomp." + words.partition(":")[0]


def test_a_listener_without_notify_is_ignored() -> None:
    """The specification says so of its path."""
    wanted = denial("getppid") | {"listenerPath": "/nowhere", "listenerMetadata": "x"}
    assert errnos(wanted, GETPPID) == [errno.EPERM]


def test_a_filter_that_the_kernel_would_not_take() -> None:
    """8 comparisons of 64 bits for each of 400 values are more than 4096 instructions."""
    entries = [
        entry(ERRNO, "prctl", args=[arg(i, "EQ", value << 32 | value) for i in range(6)])
        for value in range(1, 400)
    ]
    with pytest.raises(ConfigError, match=r"^linux\.seccomp: .* instructions, and the kernel ta"):
        seccomp.compile_filter(profile(ALLOW, *entries), None)


def test_without_libseccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp_library, "SONAME", "libseccomp.so.999")
    with pytest.raises(ConfigError, match=r"^linux\.seccomp: libseccomp.so.999 is not there, "):
        seccomp.compile_filter(denial("read"), None)


def test_a_libseccomp_that_lacks_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp_library, "SONAME", "libc.so.6")
    with pytest.raises(ConfigError, match=r"^linux\.seccomp: libc\.so\.6 is too old, it has no "):
        seccomp.compile_filter(denial("read"), None)
