"""The numbers of the system calls are those of the kernel's headers."""

import re
from pathlib import Path

import pytest

from libcontainer_py.linux.numbers import numbers_of

# asm-generic's is aarch64's, on every machine; there the calls that 32 bits have twice are
# __NR3264_.
HEADERS = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}
FIRST_COMMON = 424  # from pidfd_send_signal on; a header may be older than the newest of them


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_the_kernels(machine: str) -> None:
    header = Path(HEADERS[machine])
    if not header.exists():
        pytest.skip(f"the headers of {machine} are not here")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.MULTILINE)
    kernels = {name: int(number) for name, number in found}
    for name, number in numbers_of(machine).items():
        if name in kernels or number < FIRST_COMMON:
            assert kernels.get(name) == number, name


def test_newer_calls_have_one_number_everywhere() -> None:
    ours, others = numbers_of("x86_64"), numbers_of("aarch64")
    newer = {name: number for name, number in ours.items() if number >= FIRST_COMMON}
    assert {name: others[name] for name in newer} == newer
