"""The loop's bytes are the assembly that stands beside them."""

import subprocess
from pathlib import Path

import pytest

from libcontainer_py.linux.numbers import MACHINE
from libcontainer_py.namespaces import loop

pytestmark = pytest.mark.skipif(MACHINE != "x86_64", reason="the loop is written for x86_64 only")


def test_the_bytes_are_the_assembly(tmp_path: Path) -> None:
    source, linked, raw = tmp_path / "loop.s", tmp_path / "loop.o", tmp_path / "loop.bin"
    source.write_text(".intel_syntax noprefix\n.text\n" + loop.ASSEMBLY_X86_64)
    subprocess.run(["as", "-o", linked, source], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", linked, raw], check=True)
    assert raw.read_bytes() == loop.CODE_X86_64
    symbols = subprocess.run(["nm", linked], check=True, capture_output=True, text=True).stdout
    handler = next(line for line in symbols.splitlines() if line.endswith(" handler"))
    assert int(handler.split()[0], 16) == loop.HANDLER_X86_64


def test_the_file_is_a_static_elf_without_writable_code(tmp_path: Path) -> None:
    program = tmp_path / "list"
    program.write_bytes(loop.elf(b"\0" * loop.ENTRY.size))
    text = subprocess.run(
        ["readelf", "--wide", "--file-header", "--segments", program],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    segments = [line.split() for line in text.splitlines() if line.strip().startswith("LOAD")]
    assert [fields[6:-1] for fields in segments] == [["R", "E"], ["RW"]]
    assert "There is no dynamic section" in text or "DYNAMIC" not in text
    assert f"0x{loop.CODE:x}" in text
