"""$NOTIFY_SOCKET: the service manager hears of a container that is ready, by us and no more."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.notify import Manager, compile_program

if TYPE_CHECKING:
    from tests.conftest import Bundle, Config, Lcpy

INSIDE = "/run/notify/notify.sock"
SAY = "/run/say"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager, with its socket in the file system."""
    with contextlib.closing(Manager(str(tmp_path / "manager"))) as manager:
        yield manager


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What sends its arguments to $NOTIFY_SOCKET."""
    return compile_program("say", tmp_path_factory.mktemp("notify"))


@pytest.fixture
def service(bundle: "Bundle", program: Path) -> "Bundle":
    """Make a bundle of a script, which has the program."""

    def make(*args: str, **options: object) -> Path:
        change = options.pop("change", None)

        def changed(config: "Config") -> None:
            config["mounts"] += [
                {"destination": "/run", "type": "tmpfs", "source": "none"},
                {"destination": SAY, "source": str(program), "options": ["bind", "ro"]},
            ]
            if callable(change):
                change(config)

        path = bundle("sh", "-c", *args, change=changed)
        (path / "rootfs/run").mkdir()
        return path

    return make


@contextlib.contextmanager
def running(
    lcpy: "Lcpy", manager: Manager, *words: str | Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs beside us, below a service manager."""
    process = subprocess.Popen(lcpy.argv(*words), env=manager.env, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_run_is_the_main_process(lcpy: "Lcpy", service: "Bundle", manager: Manager) -> None:
    """It says what the container has said, once (else that might flood the manager), and stays."""
    script = "sleep 0.2; /run/say READY=1; sleep 0.2; /run/say READY=1 && exit 4; exit 3"
    with running(lcpy, manager, "run", "--bundle", service(script), lcpy.new_id()) as run:
        for text in ("READY=1\n", f"MAINPID={run.pid}\n"):
            assert manager.hear() == (text, run.pid, [])
        assert run.wait(10) == 3
    assert manager.hears_nothing()
    assert os.listdir(lcpy.root) == []


FILLED = {
    "a file": "touch evil",
    "directories": "for n in $(seq 300); do mkdir d; cd d; touch f .1; done",
    "a link": "rm notify.sock; ln -s /etc notify.sock; ln -s / root",
    "a directory in the socket's place": "rm notify.sock; mkdir -p notify.sock/a/b",
}


@pytest.mark.parametrize("how", FILLED)
def test_what_a_container_leaves_in_the_directory_goes(
    lcpy: "Lcpy", service: "Bundle", manager: Manager, how: str
) -> None:
    """With CAP_SYS_ADMIN it can make the mount writable."""

    def mighty(config: "Config") -> None:
        for sets in config["process"]["capabilities"].values():
            sets.append("CAP_SYS_ADMIN")

    script = (
        f"mount -o remount,bind,rw /run/notify || exit 4; cd /run/notify; {FILLED[how]}; exit 3"
    )
    bundle, container = service(script, change=mighty), lcpy.new_id()
    done = lcpy("run", "--bundle", bundle, container, env=manager.env)
    assert done.returncode == 3, done.stderr
    assert os.listdir(lcpy.root) == []


def test_one_that_says_it_and_ends(lcpy: "Lcpy", service: "Bundle", manager: Manager) -> None:
    container = lcpy.new_id()
    bundle = service("/run/say READY=1")
    lcpy("create", "--bundle", bundle, container, env=manager.env, check=True)
    pid = lcpy.state(container)["pid"]
    with running(lcpy, manager, "start", container) as command:
        assert [manager.hear()[0] for _ in range(2)] == ["READY=1\n", f"MAINPID={pid}\n"]
        os.close(manager.hear().fds[0])  # of its barrier
        assert command.wait(10) == 0


@pytest.mark.parametrize("how", ["run", "start"])
def test_detached_the_container_is(
    lcpy: "Lcpy", service: "Bundle", manager: Manager, tmp_path: Path, how: str
) -> None:
    """The command waits until it is ready, and until the manager has heard it."""
    container, path = lcpy.new_id(), service("sleep 0.3; /run/say READY=1; exec sleep 60")
    words: list[str | Path] = ["run", "--detach", "--bundle", path, container]
    if how == "start":
        lcpy("create", "--bundle", path, container, env=manager.env, check=True)
        words = ["start", container]
    began = time.monotonic()
    with running(lcpy, manager, *words) as command:
        ready = manager.hear()
        assert time.monotonic() - began > 0.3
        assert ready == ("READY=1\n", command.pid, [])
        pid = lcpy.state(container)["pid"]
        assert manager.hear() == (f"MAINPID={pid}\n", command.pid, [])
        barrier = manager.hear()
        assert (barrier.text, len(barrier.fds)) == ("BARRIER=1", 1)
        with pytest.raises(subprocess.TimeoutExpired):
            command.wait(0.3)
        os.close(barrier.fds[0])
        assert command.wait(10) == 0
    assert lcpy.state(container)["status"] == "running"
    lcpy("delete", "--force", container, check=True)
    assert os.listdir(lcpy.root) == []


def test_nothing_else_is_passed_on(lcpy: "Lcpy", service: "Bundle", manager: Manager) -> None:
    """A container can't name another main process, nor keep descriptors at the manager."""
    script = (
        "/run/say STATUS=up MAINPID=1 FDSTORE=1 '' BARRIER=1 'STOPPING=1\nXREADY=1';"
        " /run/say 'MAINPID=1\nREADY=2\nSTATUS=up'; sleep 0.2"
    )
    with running(lcpy, manager, "run", "--bundle", service(script), lcpy.new_id()) as run:
        assert manager.hear().text == "READY=2\n"
        assert manager.hear().text == f"MAINPID={run.pid}\n"
        assert run.wait(10) == 0
    assert manager.hears_nothing()


@pytest.mark.parametrize(("how", "code"), [("run", 7), ("run --detach", 0), ("start", 0)])
def test_one_that_ends_before_it_is_ready(
    lcpy: "Lcpy", service: "Bundle", manager: Manager, how: str, code: int
) -> None:
    container, path = lcpy.new_id(), service("exit 7")
    words: list[str | Path] = [*how.split(), "--bundle", path, container]
    if how == "start":
        lcpy("create", "--bundle", path, container, env=manager.env, check=True)
        words = ["start", container]
    assert lcpy(*words, env=manager.env, timeout=10).returncode == code
    assert manager.hears_nothing()
    lcpy("delete", "--force", container)
    assert os.listdir(lcpy.root) == []


def test_what_the_container_sees(lcpy: "Lcpy", service: "Bundle", manager: Manager) -> None:
    """A socket of ours, read-only, instead of whatever config.json says."""

    def change(config: "Config") -> None:
        config["process"]["env"].append("NOTIFY_SOCKET=/other")

    script = "echo $NOTIFY_SOCKET; ls -l $NOTIFY_SOCKET | cut -c 1-10; rm $NOTIFY_SOCKET 2>&1"
    path = service(f"{script}; grep /run/notify /proc/self/mountinfo | cut -d ' ' -f 6")
    done = lcpy("run", "--bundle", path, lcpy.new_id(), env=manager.env)
    assert done.stdout.splitlines() == [
        INSIDE,
        "srwxrwxrwx",
        f"rm: can't remove '{INSIDE}': Read-only file system",
        "ro,nosuid,nodev,noexec,relatime",
    ]


def test_without_a_manager_there_is_nothing(lcpy: "Lcpy", service: "Bundle") -> None:
    script = "echo ${NOTIFY_SOCKET-none}; grep -c /run/notify /proc/self/mountinfo"
    env = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": ""}
    done = lcpy("run", "--bundle", service(script), lcpy.new_id(), env=env)
    assert done.stdout == "none\n0\n"


def test_another_user_in_a_user_namespace(
    lcpy: "Lcpy", service: "Bundle", manager: Manager
) -> None:
    def change(config: "Config") -> None:
        config["process"]["user"] = {"uid": 1000, "gid": 1000}
        config["linux"]["namespaces"].append({"type": "user"})
        for name in ("uidMappings", "gidMappings"):
            config["linux"][name] = [{"containerID": 0, "hostID": 100000, "size": 65536}]

    path = service("/run/say READY=1; sleep 0.1", change=change)
    for directory in (path, *list(path.parents)[:3]):
        directory.chmod(0o755)
    assert lcpy("run", "--bundle", path, lcpy.new_id(), env=manager.env).returncode == 0
    assert manager.hear().text == "READY=1\n"


def test_an_abstract_socket(lcpy: "Lcpy", service: "Bundle") -> None:
    name = f"@lcpy-{os.getpid()}-{time.monotonic_ns()}"
    with contextlib.closing(Manager(name)) as manager:
        path = service("/run/say READY=1; sleep 0.1")
        assert lcpy("run", "--bundle", path, lcpy.new_id(), env=manager.env).returncode == 0
        assert manager.hear().text == "READY=1\n"


def test_a_long_path_of_the_state(lcpy: "Lcpy", service: "Bundle", manager: Manager) -> None:
    """Longer than an address of a socket may be."""
    lcpy.root = lcpy.root / ("x" * 100)
    path = service("/run/say READY=1; sleep 0.1")
    assert lcpy("run", "--bundle", path, lcpy.new_id(), env=manager.env).returncode == 0
    assert manager.hear().text == "READY=1\n"


@pytest.mark.parametrize("how", ["run", "start"])
def test_a_manager_that_is_not_there(
    lcpy: "Lcpy", service: "Bundle", tmp_path: Path, how: str
) -> None:
    """It is said, and the container runs."""
    env = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(tmp_path / "none")}
    container, path = lcpy.new_id(), service("/run/say READY=1 2>/dev/null; echo ran")
    words: list[str | Path] = ["run", "--bundle", path, container]
    if how == "start":
        lcpy("create", "--bundle", path, container, env=env, check=True)
        words = ["start", container]
    done = lcpy(*words, env=env)
    assert done.returncode == 0
    assert f"NOTIFY_SOCKET: connect to {tmp_path}/none: no such file or directory" in done.stderr


def test_one_that_floods_us_ends_all_the_same(
    lcpy: "Lcpy", service: "Bundle", manager: Manager
) -> None:
    path = service("i=0; while [ $i -lt 300 ]; do /run/say A=1 '' B=2; i=$((i + 1)); done; exit 5")
    done = lcpy("run", "--bundle", path, lcpy.new_id(), env=manager.env, timeout=30)
    assert done.returncode == 5
    assert os.listdir(lcpy.root) == []


def test_commands_that_know_of_no_manager(
    lcpy: "Lcpy", service: "Bundle", manager: Manager
) -> None:
    """A `start` that has none does not wait; one whose `create` had none runs as it is."""
    container, path = lcpy.new_id(), service("exec sleep 60")
    lcpy("create", "--bundle", path, container, env=manager.env, check=True)
    lcpy("start", container, check=True, timeout=10)
    another = lcpy.new_id()
    lcpy("create", "--bundle", path, another, check=True)
    lcpy("start", another, env=manager.env, check=True, timeout=10)
    done = lcpy("start", another, env=manager.env)
    assert "cannot start an already running container" in done.stderr
    for each in (container, another):
        lcpy("delete", "--force", each, check=True)
    assert os.listdir(lcpy.root) == []


def test_without_a_mount_namespace_it_is_refused(
    lcpy: "Lcpy", bundle: "Bundle", manager: Manager
) -> None:
    """It would be mounted on the host."""

    def change(config: "Config") -> None:
        config["mounts"] = []
        namespaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [each for each in namespaces if each["type"] != "mount"]
        for name in ("maskedPaths", "readonlyPaths"):
            del config["linux"][name]

    done = lcpy("run", "--bundle", bundle("true", change=change), lcpy.new_id(), env=manager.env)
    assert done.returncode == 1
    assert "mount" in done.stderr
    assert not os.path.exists("/run/notify")
    assert not lcpy.root.exists()  # before anything was made


def test_a_create_that_fails_leaves_nothing(
    lcpy: "Lcpy", bundle: "Bundle", manager: Manager
) -> None:
    assert lcpy("create", "--bundle", bundle("nosuch"), lcpy.new_id(), env=manager.env).returncode
    assert os.listdir(lcpy.root) == []
    container = lcpy.new_id()
    lcpy("create", "--bundle", bundle("true"), container, env=manager.env, check=True)
    assert lcpy("create", "--bundle", bundle("true"), container, env=manager.env).returncode
    assert os.listdir(lcpy.root) == [container]
    lcpy("delete", container, check=True)
    assert os.listdir(lcpy.root) == []
