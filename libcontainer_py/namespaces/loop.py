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
"""

import _struct as struct

BASE = 0x400000  # where the file is mapped
SCRATCH = 0x10000000  # the scratch memory: further off than the longest list
SCRATCH_SIZE = 4096
ENTRY = struct.Struct("<q11Q")
_FAULT = struct.Struct("<Qq")

# x86_64. The text is assembled with binutils and compared with the bytes by a test.
ASSEMBLY_X86_64 = """
start:                          # the entries begin where the code ends
        lea     rbx, [rip + entries]
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
handler:                        # of SIGTERM and the like: exit_group(128 + signal)
        add     edi, 128
        mov     eax, 231
        syscall
        .balign 8, 0x90
entries:
"""

CODE_X86_64 = bytes.fromhex(
    "488d1d89000000488b4308488b38488b4310488b30488b4318488b10488b4320"
    "4c8b10488b43284c8b00488b43304c8b08488b034885c078110f054883f8fc75"
    "0f48837b580075bfeb064889f84829f0488b4b384889014885c0780e7406488b"
    "5b50eba3488b5b48eb9d48891c25000000104889042508000010488b5b40eb87"
    "81c780000000b8e70000000f050f1f00"
)
HANDLER_X86_64 = 0x80  # where `handler` is, from the code's beginning

_HEADERS = 64 + 2 * 56
CODE = BASE + _HEADERS
HANDLER = CODE + HANDLER_X86_64
ENTRIES = CODE + len(CODE_X86_64)

_PT_LOAD, _PF_X, _PF_W, _PF_R = 1, 1, 2, 4
_ET_EXEC, _EM_X86_64 = 2, 62


def elf(body: bytes) -> bytes:
    """Put the headers and the loop before the entries, words and strings (elf(5))."""
    size = _HEADERS + len(CODE_X86_64) + len(body)
    header = struct.pack(
        "<4sBBB9xHHIQQQIHHHHHH",
        b"\x7fELF",
        2,  # 64 bit
        1,  # little endian
        1,
        _ET_EXEC,
        _EM_X86_64,
        1,
        CODE,
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
    text = struct.pack("<IIQQQQQQ", _PT_LOAD, _PF_R | _PF_X, 0, BASE, BASE, size, size, 4096)
    scratch = struct.pack(
        "<IIQQQQQQ", _PT_LOAD, _PF_R | _PF_W, 0, SCRATCH, SCRATCH, 0, SCRATCH_SIZE, 4096
    )
    return header + text + scratch + CODE_X86_64 + body


def position(record: bytes) -> "tuple[int, int]":
    """Read a record of a failure: (which entry of the list, errno)."""
    entry, result = _FAULT.unpack(record)
    return (entry - ENTRIES) // ENTRY.size, -result
