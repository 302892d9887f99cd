"""The stub before a filter that answers ENOSYS to calls which are newer than the profile.

A profile lists the calls that its author knew, and denies the rest with EPERM, or kills. A libc
that tries a newer call first falls back to an older one on ENOSYS alone: on EPERM it fails. So a
call with a higher number than any that the profile names, which its author can't have meant to
deny, is answered with ENOSYS before the filter sees it. (A kernel adds calls at the end of the
table; the few that were added in a gap are not recognised.)
"""

import struct

from libcontainer_py.linux.flags import SECCOMP_RET_ERRNO

TYPE_CHECKING = False
if TYPE_CHECKING:
    Instruction = tuple[int, int, int, int]

# include/uapi/linux/audit.h
AUDIT_ARCH_X86_64 = 0xC000003E
# x32 is no architecture of its own for the kernel: its calls are x86_64's, with this bit set in
# their number (arch/x86/include/uapi/asm/unistd.h).
X32_SYSCALL_BIT = 1 << 30

# include/uapi/linux/bpf_common.h: class | size or operation | mode or source
_LD_W_ABS = 0x00 | 0x00 | 0x20
_JA = 0x05 | 0x00
_JEQ = 0x05 | 0x10
_JGT = 0x05 | 0x20
_JSET = 0x05 | 0x40
_RET = 0x06

# Where struct seccomp_data has them.
_NR, _ARCH = 0, 4

_RETURN_ENOSYS = (_RET, 0, 0, SECCOMP_RET_ERRNO | 38)
_NO_LIMIT = 0xFFFFFFFF


class Limits:
    """The highest numbers of calls that a profile names, of one architecture of the kernel.

    `x32` is there beside `native` because two ABIs share x86_64; None is: say nothing about that.
    """

    __slots__ = ("native", "x32")

    def __init__(self) -> None:
        self.native: int | None = None
        self.x32: int | None = None


def stub(limits: "dict[int, Limits]") -> bytes:
    """Assemble the stub; what it lets pass falls out of its end, into the filter.

    Args:
        limits: by the kernel's number of the architecture, AUDIT_ARCH_*

    Returns:
        an array of struct sock_filter, empty where there are no limits
    """
    program: list[Instruction] = []
    # From the last to the first: each jumps over all that come after it.
    for arch, limit in reversed(limits.items()):
        if limit.native is None and limit.x32 is None:
            continue
        check = _check(arch, limit)
        block = [(_JEQ, 0, len(check) + 1, arch), *check, (_JA, 0, 0, len(program))]
        program = block + program
    if program:
        program.insert(0, (_LD_W_ABS, 0, 0, _ARCH))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def _check(arch: int, limit: Limits) -> "list[Instruction]":
    """Return ENOSYS for a number above the limit, and go on after these instructions otherwise."""
    native = _NO_LIMIT if limit.native is None else limit.native
    if arch != AUDIT_ARCH_X86_64:
        return [(_LD_W_ABS, 0, 0, _NR), (_JGT, 0, 1, native), _RETURN_ENOSYS]
    x32 = _NO_LIMIT if limit.x32 is None else limit.x32
    return [
        (_LD_W_ABS, 0, 0, _NR),
        (_JSET, 1, 0, X32_SYSCALL_BIT),
        (_JGT, 1, 2, native),
        (_JGT, 0, 1, x32),
        _RETURN_ENOSYS,
    ]
