"""Terminals through the library, from programs with one thread and with many."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import reaper
from tests.cli.test_library import FOUR_THREADS, ONE_THREAD

if TYPE_CHECKING:
    from tests.conftest import Bundle, Lcpy

__all__ = ["reaper"]  # what `create` leaves behind is this process's to reap

Program = Callable[[str], None]

# Without them each program would say it again.
TOOLS = """
import socket

def shown(master):
    said = b""
    while True:
        try:
            said += os.read(master, 4096)
        except OSError:
            return said
"""


@pytest.fixture(params=[ONE_THREAD, FOUR_THREADS], ids=["one thread", "four threads"])
def program(request: pytest.FixtureRequest, lcpy: "Lcpy", bundle: "Bundle") -> Program:
    """Run a program that has `runtime`, `id`, and a `bundle` with a terminal."""

    def run(text: str) -> None:
        path = bundle("sh", "-c", "read word; tty; echo got $word")
        config = json.loads((path / "config.json").read_text())
        config["process"]["terminal"] = True
        (path / "config.json").write_text(json.dumps(config))
        code = request.param + TOOLS + textwrap.dedent(text) + "\nend = True\n"
        argv = [sys.executable, "-I", "-c", code, str(lcpy.root), str(path), lcpy.new_id()]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    return run


def test_the_master_is_the_callers(program: Program) -> None:
    program(
        """
        before = fds()
        with runtime.create(id, bundle) as container:
            process = container.process
            assert process.stdin is process.stdout is process.stderr is None
            assert not os.get_inheritable(process.terminal)
            container.start()
            os.write(process.terminal, b"hello\\n")
            assert shown(process.terminal) == b"hello\\r\\n/dev/pts/0\\r\\ngot hello\\r\\n"
            assert process.wait(10) == 0
        assert process.terminal is None
        assert fds() == before
        """
    )


def test_the_master_goes_to_a_socket(program: Program) -> None:
    program(
        """
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(bundle + "/console")
        listener.listen()
        before = fds()
        path = bundle + "/console"
        with runtime.create(id, bundle, console_socket=path, detach=True) as container:
            assert container.process.terminal is None
            connection, _address = listener.accept()
            name, (master,), _flags, _from = socket.recv_fds(connection, 4096, 4)
            connection.close()
            assert name == b"/dev/ptmx"
            container.start()
            os.write(master, b"hello\\n")
            assert b"got hello" in shown(master)
            os.close(master)
        assert fds() == before
        """
    )


def test_what_is_refused_leaves_nothing(program: Program) -> None:
    program(
        """
        before = fds()
        error = raises(ConfigError, runtime.create, id, bundle, detach=True)
        assert error.field == "process.terminal"
        error = raises(StepError, runtime.create, id, bundle, console_socket=bundle + "/no")
        assert error.errno == 2
        assert runtime.list() == []
        assert fds() == before
        """
    )


def test_a_failure_after_the_terminal_was_made(program: Program) -> None:
    program(
        """
        before = fds()
        import json
        with open(bundle + "/config.json") as file:
            config = json.load(file)
        config["process"]["args"] = ["/missing"]
        with open(bundle + "/config.json", "w") as file:
            json.dump(config, file)
        error = raises(StepError, runtime.create, id, bundle)
        assert error.step == "Execv", error
        assert runtime.list() == []
        assert fds() == before
        """
    )
