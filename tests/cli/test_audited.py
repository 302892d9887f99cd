"""The guard of tests/lcpy_audited.py: it sees what it must, lets the rest be, and is in place."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle, Lcpy

TESTS = Path(__file__).resolve().parents[1]

# What is imported, or prepared, before the seal, and what is done after it.
PREPARE = f"""
import ctypes, encodings.idna, os, socket, sys
sys.path.insert(0, {str(TESTS)!r})
import lcpy_audited
root = os.open("/", os.O_RDONLY)
code = compile("1", "", "exec")
lcpy_audited.guarded(lambda: None)()
"""


def after_the_seal(statement: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-I", "-c", PREPARE + statement]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("event", "statement"),
    [
        ("import", "import this"),
        ("open", "open('/etc/hostname')"),
        ("open", "os.open('etc/hostname', os.O_RDONLY, dir_fd=root)"),
        ("compile", "eval('1')"),
        ("exec", "exec(code)"),
        ("ctypes.dlopen", "ctypes.CDLL('libc.so.6')"),
        ("os.putenv", "os.environ['A'] = 'b'"),
        ("socket.getaddrinfo", "socket.getaddrinfo('localhost', 1)"),
    ],
)
def test_a_guarded_event_ends_the_process(event: str, statement: str) -> None:
    """With a status of its own, and a line that says which event it was."""
    done = after_the_seal(statement)
    assert done.returncode == 97
    assert done.stderr.startswith(f"lcpy_audited: {event} ")


def test_work_by_descriptor_is_let_be() -> None:
    """What the child may do: no event of these is guarded."""
    done = after_the_seal(
        "os.readlink('proc/self', dir_fd=root); os.stat('etc', dir_fd=root); os.fstat(root)\n"
        "os.write(1, b'fine'); os.execve('/bin/true', ['true'], {})"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine", "")


def test_the_guard_is_in_every_container_of_the_tests(
    lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path
) -> None:
    """A step that opens a file by its path, put into the child, ends it."""
    program = tmp_path / "careless.py"
    program.write_text(
        f"""
import os, sys
sys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent)!r}]
import lcpy_audited
from libcontainer_py.mount import masks

def careless():
    os.open("/bin/busybox", os.O_RDONLY)

masks.readonly_root = careless
os._exit(lcpy_audited.main())
"""
    )
    lcpy.audited = str(program)
    done = lcpy("run", "--bundle", bundle("true"), lcpy.new_id())
    assert done.returncode == 1
    assert "lcpy_audited: open ('/bin/busybox'" in done.stderr
    assert "ended with status 97" in done.stderr
