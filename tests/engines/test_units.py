"""Units of systemd whose program is lcpy: they are ready when their container is, and get sockets.

As in test_on_systemd.py, each test is a whole story.
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines import test_on_systemd as on_systemd
from tests.engines.conftest import eventually, lcpy_path
from tests.notify import compile_program

if TYPE_CHECKING:
    from tests.conftest import Bundle, Completed, Config

SYSTEMD = on_systemd.SYSTEMD
pytestmark = on_systemd.pytestmark

# It ends when it is told to, as a service does.
SERVE = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


class Service:
    """A transient unit that runs `lcpy run` of a container with the same name.

    Attributes:
        name: the unit's
        root: where the container's state is
    """

    def __init__(self, directory: Path, bundle: "Bundle") -> None:
        self.name = f"lcpy-test-{os.getpid()}-{time.monotonic_ns()}"
        self.root = directory / "state"
        self._directory = directory
        self._bundle = bundle

    def run(self, script: str, *properties: str, flags: tuple[str, ...] = ()) -> "Completed":
        """Start it, which ends when systemd says that it is up, or that it has failed."""
        programs = [compile_program(name, self._directory) for name in ("say", "answer")]

        def change(config: "Config") -> None:
            config["linux"]["cgroupsPath"] = f"/{self.name}"
            for program in programs:
                mount = {"destination": f"/bin/{program.name}", "source": str(program)}
                config["mounts"].append({**mount, "options": ["bind", "ro"]})

        bundle = self._bundle("sh", "-c", script, change=change)
        words = ["systemd-run", "--quiet", f"--unit={self.name}", *properties]
        words += [lcpy_path(), "--root", str(self.root), "run", *flags]
        words += ["--bundle", str(bundle), self.name]
        return subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)

    def lcpy(self, *words: str) -> str:
        """Run lcpy; return what it prints."""
        argv = [lcpy_path(), "--root", str(self.root), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    def show(self, *names: str) -> list[str]:
        """Some of its properties."""
        shown = SYSTEMD.show(f"{self.name}.service", *names)
        return [shown[name] for name in names]

    def end(self) -> None:
        """Stop it, and forget that it has failed."""
        for unit in (f"{self.name}.socket", f"{self.name}.service"):
            for verb in ("stop", "reset-failed"):
                subprocess.run(["systemctl", verb, unit], capture_output=True, check=False)


@pytest.fixture
def service(tmp_path: Path, bundle: "Bundle", machine_unchanged: None) -> Iterator[Service]:
    service = Service(tmp_path, bundle)
    yield service
    service.end()
    if service.root.is_dir():
        for name in set(os.listdir(service.root)) - {"compiled filters"}:
            service.lcpy("delete", "--force", name)


NOTIFY = "--service-type=notify"


def test_a_unit_is_ready_when_its_container_is(service: Service) -> None:
    """Not before; `lcpy run` is its main process, and ends with it."""
    began = time.monotonic()
    done = service.run(f"sleep 3; say READY=1; {SERVE}", NOTIFY)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began > 3
    assert service.show("ActiveState", "SubState") == ["active", "running"]
    (main,) = service.show("MainPID")
    assert b"lcpy" in Path(f"/proc/{main}/cmdline").read_bytes()
    SYSTEMD("stop", f"{service.name}.service")
    assert service.show("ActiveState", "Result") == ["inactive", "success"]
    assert not set(os.listdir(service.root)) - {"compiled filters"}


def test_a_unit_whose_container_ends_before_it_is_ready(service: Service) -> None:
    assert service.run("exit 0", NOTIFY).returncode == 1
    assert service.show("ActiveState", "Result") == ["failed", "protocol"]


def test_a_unit_whose_main_process_is_the_containers(service: Service) -> None:
    """`lcpy run --detach` names it, and has ended before systemd says that the unit is up."""
    done = service.run(f"say READY=1; {SERVE}", NOTIFY, flags=("--detach",))
    assert done.returncode == 0, done.stderr
    pid = service.lcpy("list").splitlines()[1].split()[1]
    assert service.show("MainPID", "SubState") == [pid, "running"]
    SYSTEMD("stop", f"{service.name}.service")
    assert service.show("ActiveState", "Result") == ["inactive", "success"]
    eventually(lambda: " stopped " in service.lcpy("list"), "the end of the container")


def test_a_socket_that_systemd_listens_on(service: Service, tmp_path: Path) -> None:
    """The container is begun by the first connection, and gets the socket."""
    path = tmp_path / "socket"
    done = service.run("exec answer hello", f"--socket-property=ListenStream={path}")
    assert done.returncode == 0, done.stderr
    assert service.show("ActiveState") == ["inactive"]
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        assert client.makefile().read() == "hello: 1\n"
    eventually(lambda: service.show("ActiveState") == ["inactive"], "the end of the service")
    assert service.show("Result") == ["success"]
