"""The machine that runs a finish list: a static ELF program of one loop, and its layout.

An entry is one system call, or one comparison, and where to go on:

    offset   0  number of the call; negative: compare (the result is argument 0 - argument 1)
             8  six addresses of words: the arguments. A constant, or a saved result: no difference
            56  address of the word that takes the result
            64  the next entry when the result is negative (an error)
            72  … when it is zero
            80  … when it is positive
            88  not zero: call again on EINTR

Before the loop follows the error's pointer it saves the entry's address and the result in the
first two words of the scratch memory: that is what a record of a failure is.

The file is mapped once, read-only and executable: headers, code, entries, words, strings. Scratch
memory is a second segment of zeroes. Nothing else is in the process: a waiting container is this.

All addresses are the same on every architecture: the code begins with the handler of signals, and
is padded to one size.
"""

import _struct as struct

BASE = 0x400000  # where the file is mapped
SCRATCH = 0x10000000  # the scratch memory: further off than the longest list
SCRATCH_SIZE = 4096
# Kernels for aarch64 have pages of 4, 16 or 64 KiB, and must map both segments with any of them.
_LARGEST_PAGE = 0x10000

ENTRY = struct.Struct("<q11Q")
_FAULT = struct.Struct("<Qq")

# The texts are assembled with binutils and compared with the bytes by a test.
ASSEMBLY_X86_64 = """
handler:                        # of SIGTERM and the like: exit_group(128 + signal)
        add     edi, 128
        mov     eax, 231
        syscall
        .org    16, 0x90
start:  lea     rbx, [rip + entries]
next:   mov     rax, [rbx + 8]
        mov     rdi, [rax]
        mov     rax, [rbx + 16]
        mov     rsi, [rax]
        mov     rax, [rbx + 24]
        mov     rdx, [rax]
        mov     rax, [rbx + 32]
        mov     r10, [rax]
        mov     rax, [rbx + 40]
        mov     r8, [rax]
        mov     rax, [rbx + 48]
        mov     r9, [rax]
        mov     rax, [rbx]
        test    rax, rax
        js      compare
        syscall
        cmp     rax, -4         # EINTR
        jne     save
        cmp     qword ptr [rbx + 88], 0
        jne     next
        jmp     save
compare:
        mov     rax, rdi
        sub     rax, rsi
save:   mov     rcx, [rbx + 56]
        mov     [rcx], rax
        test    rax, rax
        js      error
        jz      zero
        mov     rbx, [rbx + 80]
        jmp     next
zero:   mov     rbx, [rbx + 72]
        jmp     next
error:  mov     [0x10000000], rbx
        mov     [0x10000008], rax
        mov     rbx, [rbx + 64]
        jmp     next
        .org    144, 0x90
entries:
"""

CODE_X86_64 = bytes.fromhex(
    "81c780000000b8e70000000f05909090488d1d79000000488b4308488b38488b"
    "4310488b30488b4318488b10488b43204c8b10488b43284c8b00488b43304c8b"
    "08488b034885c078110f054883f8fc750f48837b580075bfeb064889f84829f0"
    "488b4b384889014885c0780e7406488b5b50eba3488b5b48eb9d48891c250000"
    "00104889042508000010488b5b40eb87"
)

# The kernel changes x0 alone in a system call: x10 and x19 are what they were.
ASSEMBLY_AARCH64 = """
handler:                        // of SIGTERM and the like: exit_group(128 + signal)
        add     w0, w0, #128
        mov     x8, #94
        svc     #0
        .org    16
start:  adr     x19, entries
next:   ldp     x8, x9, [x19]
        ldr     x0, [x9]
        ldp     x9, x10, [x19, #16]
        ldr     x1, [x9]
        ldr     x2, [x10]
        ldp     x9, x10, [x19, #32]
        ldr     x3, [x9]
        ldr     x4, [x10]
        ldp     x9, x10, [x19, #48]
        ldr     x5, [x9]
        tbnz    x8, #63, compare
        svc     #0
        cmn     x0, #4          // EINTR
        b.ne    save
        ldr     x9, [x19, #88]
        cbnz    x9, next
        b       save
compare:
        sub     x0, x0, x1
save:   str     x0, [x10]
        tbnz    x0, #63, error
        cbz     x0, zero
        ldr     x19, [x19, #80]
        b       next
zero:   ldr     x19, [x19, #72]
        b       next
error:  mov     x9, #0x10000000
        stp     x19, x0, [x9]
        ldr     x19, [x19, #64]
        b       next
        .org    144
entries:
"""

CODE_AARCH64 = bytes.fromhex(
    "00000211c80b80d2010000d40000000013040010682640a9200140f9692a41a9"
    "210140f9420140f9692a42a9230140f9440140f9692a43a9250140f9e800f8b7"
    "010000d41f1000b1a1000054692e40f929feffb502000014000001cb400100f9"
    "c000f8b7600000b4732a40f9eaffff17732640f9e8ffff170900a2d2330100a9"
    "732240f9e4ffff170000000000000000"
)

HANDLER = BASE + 64 + 2 * 56  # behind the headers: the code
START = HANDLER + 16
ENTRIES = HANDLER + 144

_PT_LOAD, _PF_X, _PF_W, _PF_R = 1, 1, 2, 4
_ET_EXEC, _EM_X86_64, _EM_AARCH64 = 2, 62, 183

_PROGRAM = {"x86_64": (_EM_X86_64, CODE_X86_64), "aarch64": (_EM_AARCH64, CODE_AARCH64)}


def elf(machine: str, body: bytes) -> bytes:
    """Put the headers and the machine's loop before the entries, words and strings (elf(5))."""
    number, code = _PROGRAM[machine]
    size = ENTRIES - BASE + len(body)
    header = struct.pack(
        "<4sBBB9xHHIQQQIHHHHHH",
        b"\x7fELF",
        2,  # 64 bit
        1,  # little endian
        1,
        _ET_EXEC,
        number,
        1,
        START,
        64,  # where the program headers are
        0,
        0,
        64,
        56,
        2,
        0,
        0,
        0,
    )
    text = _segment(_PF_R | _PF_X, BASE, size, size)
    scratch = _segment(_PF_R | _PF_W, SCRATCH, 0, SCRATCH_SIZE)
    return header + text + scratch + code + body


def _segment(flags: int, address: int, in_file: int, in_memory: int) -> bytes:
    return struct.pack(
        "<IIQQQQQQ", _PT_LOAD, flags, 0, address, address, in_file, in_memory, _LARGEST_PAGE
    )


def position(record: bytes) -> "tuple[int, int]":
    """Read a record of a failure: (which entry of the list, errno)."""
    entry, result = _FAULT.unpack(record)
    return (entry - ENTRIES) // ENTRY.size, -result
