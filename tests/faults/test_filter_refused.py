"""A filter that the kernel refuses when it is loaded: at the very end, where only `start` hears."""

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import CHECKOUT

if TYPE_CHECKING:
    from tests.conftest import Bundle, Lcpy

# The command, whose filters have a flag that no kernel knows.
COMMAND = """
import sys
from libcontainer_py.cli.main import main
from libcontainer_py.security import seccomp

def compile_filter(*args, real=seccomp.compile_filter):
    filter = real(*args)
    filter.flags |= 1 << 30
    return filter

seccomp.compile_filter = compile_filter
sys.exit(main(sys.argv[1:]))
"""
WORDS = "InitSeccomp: linux.seccomp: invalid argument"


@pytest.mark.parametrize("hook", [False, True])
def test_start_says_so(lcpy: "Lcpy", bundle: "Bundle", hook: bool) -> None:
    def change(config: "dict[str, Any]") -> None:
        config["process"]["noNewPrivileges"] = True
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
        if hook:
            config["hooks"] = {"startContainer": [{"path": "/bin/true"}]}

    container = lcpy.new_id()
    words = ["--root", str(lcpy.root), "create", "--bundle", str(bundle("true", change=change))]
    subprocess.run([sys.executable, "-c", COMMAND, *words, container], cwd=CHECKOUT, check=True)
    done = lcpy("start", container)
    assert done.returncode == 1
    assert WORDS in done.stderr
    lcpy.wait_for(container, "stopped")


def test_create_says_so_where_it_is_loaded_before(lcpy: "Lcpy", bundle: "Bundle") -> None:
    def change(config: "dict[str, Any]") -> None:
        config["process"]["noNewPrivileges"] = False
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}

    words = ["--root", str(lcpy.root), "create", "--bundle", str(bundle("true", change=change))]
    argv = [sys.executable, "-c", COMMAND, *words, lcpy.new_id()]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert WORDS in done.stderr
