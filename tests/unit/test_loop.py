"""The loop's bytes are the assembly that stands beside them, and the file fits every kernel."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from libcontainer_py.namespaces import loop

CODES = {
    "x86_64": (".intel_syntax noprefix\n" + loop.ASSEMBLY_X86_64, loop.CODE_X86_64),
    "aarch64": (loop.ASSEMBLY_AARCH64, loop.CODE_AARCH64),
}
NAMES = {"x86_64": "Advanced Micro Devices X86-64", "aarch64": "AArch64"}
LARGEST_PAGE = 64 << 10


@pytest.mark.parametrize("machine", CODES)
def test_the_bytes_are_the_assembly(machine: str, tmp_path: Path) -> None:
    if not shutil.which(f"{machine}-linux-gnu-as"):
        pytest.skip(f"there are no binutils for {machine}")
    text, code = CODES[machine]
    source, linked, raw = tmp_path / "loop.s", tmp_path / "loop.o", tmp_path / "loop.bin"
    source.write_text(text)

    def tool(name: str, *words: "str | Path") -> str:
        command = [f"{machine}-linux-gnu-{name}", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    tool("as", "-o", linked, source)
    tool("objcopy", "-O", "binary", "-j", ".text", linked, raw)
    assert raw.read_bytes() == code
    symbols = {
        line.split()[2]: int(line.split()[0], 16) for line in tool("nm", linked).splitlines()
    }
    assert loop.HANDLER + symbols["handler"] == loop.HANDLER
    assert loop.HANDLER + symbols["start"] == loop.START
    assert loop.HANDLER + symbols["entries"] == loop.ENTRIES


@pytest.mark.parametrize("machine", CODES)
def test_the_file_is_a_static_elf_without_writable_code(machine: str, tmp_path: Path) -> None:
    program = tmp_path / "list"
    program.write_bytes(loop.elf(machine, b"\0" * loop.ENTRY.size))
    text = subprocess.run(
        ["readelf", "--wide", "--file-header", "--segments", program],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    values = dict(line.strip().split(":", 1) for line in text.splitlines() if ":" in line)
    assert values["Machine"].strip() == NAMES[machine]
    assert values["Entry point address"].strip() == f"0x{loop.START:x}"
    segments = [line.split() for line in text.splitlines() if line.strip().startswith("LOAD")]
    assert [fields[6:-1] for fields in segments] == [["R", "E"], ["RW"]]
    assert "There is no dynamic section" in text or "DYNAMIC" not in text


def test_both_segments_fit_the_largest_pages() -> None:
    file = loop.elf("aarch64", b"")
    headers = [struct.unpack_from("<IIQQQQQQ", file, 64 + 56 * index) for index in range(2)]
    for _type, _flags, offset, address, _physical, _in_file, _in_memory, align in headers:
        assert align == LARGEST_PAGE
        assert (address - offset) % LARGEST_PAGE == 0
    assert loop.BASE % LARGEST_PAGE == loop.SCRATCH % LARGEST_PAGE == 0
