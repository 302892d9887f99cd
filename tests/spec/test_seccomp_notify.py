"""SCMP_ACT_NOTIFY of config.json: calls of the container that an agent on the host answers.

The agent is a thread here. What he answers is seen from inside, by who made the call.
"""

import contextlib
import errno
import fcntl
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.security.seccomp_library import Library
from tests.cli.test_library import program
from tests.conftest import CHECKOUT, PATIENCE
from tests.spec.test_pod import pod
from tests.spec.test_rootless import rootless
from tests.spec.test_seccomp import EXIT_7, with_program
from tests.spec.test_user_namespace import box as user_box
from tests.spec.test_user_namespace import user

if TYPE_CHECKING:
    from tests.cli.test_library import Program
    from tests.conftest import Config, Lcpy
    from tests.spec.conftest import Box, Change
    from tests.spec.test_pod import Pod
    from tests.spec.test_rootless import Rootless

__all__ = ["pod", "program", "rootless", "user_box"]

# seccomp_unotify(2): _IOWR('!', 0, struct seccomp_notif), _IOWR('!', 1, struct seccomp_notif_resp)
_RECV, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE

MKDIR = ("mkdir", "mkdirat")
# What the runtime itself calls when its filter is loaded already, to its last step.
ITS_OWN = ("read", "close", "capset", "prctl", "fcntl", "execve", "clone", "setsid", "exit_group")

no_new_privs = pytest.mark.parametrize("no_new_privs", [True, False])


class Agent:
    """Answers calls: with an errno those in `answers`, with a yes all others.

    Attributes:
        path: his socket
        states: the container process states that he was sent
        asked: the names of the calls that he was asked about
    """

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.path = path
        self.answers: dict[str, int] = {}
        self.states: list[dict[str, Any]] = []
        self.asked: list[str] = []
        library = Library()
        self._names = {library.resolve(name, library.native()): name for name in names}
        self._end, self._ended = os.pipe()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def end(self) -> None:
        """Let him die: whoever connects or asks from now on gets no answer."""
        if self._ended >= 0:
            os.close(self._ended)
            self._ended = -1
            self._thread.join()

    def taken(self, listener: int) -> None:
        """What he does with a listener: he keeps it."""
        self._poll.register(listener, select.POLLIN)
        self._listeners.append(listener)

    def _work(self) -> None:
        self._listeners: list[int] = []
        self._poll = select.poll()
        for fd in (self._end, self._socket.fileno()):
            self._poll.register(fd, select.POLLIN)
        while True:
            for fd, events in self._poll.poll():
                if fd == self._end:
                    for end in (*self._listeners, self._end):
                        os.close(end)
                    self._socket.close()
                    return
                if fd == self._socket.fileno():
                    self._accept()
                elif events & select.POLLIN:
                    self._answer(fd)
                else:  # all who had the filter are gone
                    self._poll.unregister(fd)

    def _accept(self) -> None:
        connection, _address = self._socket.accept()
        with connection:
            data, fds, _flags, _peer = socket.recv_fds(connection, 1 << 20, 8)
            while more := connection.recv(1 << 20):
                data += more
        state = json.loads(data)
        assert state["fds"] == ["seccompFd"]
        assert len(fds) == 1
        self.states.append(state)
        self.taken(fds[0])

    def _answer(self, listener: int) -> None:
        notification = bytearray(80)
        with contextlib.suppress(FileNotFoundError):  # who asked is dead
            fcntl.ioctl(listener, _RECV, notification)
            (number,) = struct.unpack_from("=Q", notification)
            name = self._names[struct.unpack_from("=i", notification, 16)[0]]
            self.asked.append(name)
            refusal = self.answers.get(name, 0)
            answer = (number, 0, -refusal, 0 if refusal else _CONTINUE)
            fcntl.ioctl(listener, _SEND, struct.pack("=QqiI", *answer))


class Forgetful(Agent):
    """Closes every listener at once."""

    def taken(self, listener: int) -> None:
        os.close(listener)


@pytest.fixture
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Agent]]:
    """Make an agent, who answers calls of these names."""
    made: list[Agent] = []

    def make(*names: str, kind: type[Agent] = Agent) -> Agent:
        # sun_path has 108 bytes: not the test's own directory, which is named at length.
        path = tmp_path_factory.mktemp("agent") / f"s{len(made)}"
        made.append(kind(path, names or MKDIR))
        return made[-1]

    yield make
    for agent in made:
        agent.end()


def profile(path: str | Path, *names: str) -> dict[str, Any]:
    """A profile that has an agent asked about calls of these names."""
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(path),
        "syscalls": [{"names": list(names or MKDIR), "action": "SCMP_ACT_NOTIFY"}],
    }


def notify(
    path: str | Path, *names: str, no_new_privs: bool = True, process: Any = None, **more: Any
) -> "Change":
    """Set such a profile, with these further members, and fields of `process`."""

    def change(config: "Config") -> None:
        config["linux"]["seccomp"] = profile(path, *names) | more
        config["process"].update({"noNewPrivileges": no_new_privs, **(process or {})})

    return change


REFUSED = dict.fromkeys(MKDIR, errno.ENOMEDIUM)


@no_new_privs
@pytest.mark.parametrize("user", [0, 1000])
def test_the_agent_answers(
    box: "Box", agents: Callable[..., Agent], no_new_privs: bool, user: int
) -> None:
    agent = agents()
    agent.answers = REFUSED
    process = {"user": {"uid": user, "gid": user}}
    change = notify(agent.path, no_new_privs=no_new_privs, process=process)
    said = box.lines(
        "mkdir /dev/shm/x 2>&1; grep -E '^(Seccomp|NoNew)' /proc/self/status", change=change
    )
    assert said[0] == "mkdir: can't create directory '/dev/shm/x': No medium found"
    assert said[1:3] == [f"NoNewPrivs:\t{no_new_privs:d}", "Seccomp:\t2"]
    assert agent.asked
    agent.answers = {}
    assert box.sh("mkdir /dev/shm/x && ls /dev/shm", change=change) == "x\n"


@no_new_privs
def test_what_the_agent_is_told(
    lcpy: "Lcpy", box: "Box", agents: Callable[..., Agent], no_new_privs: bool
) -> None:
    agent = agents()
    asked = notify(agent.path, no_new_privs=no_new_privs, listenerMetadata="for him: ü")

    def change(config: "Config") -> None:
        asked(config)
        # More than there is room for in a socket.
        config["annotations"] = {"small": "1", "large": "x" * 500_000}

    bundle, container = box.bundle(["sleep", "60"], change), lcpy.new_id()
    lcpy("create", "--bundle", bundle, container, check=True)
    pid = lcpy.state(container)["pid"]
    (state,) = agent.states
    version = state["ociVersion"]
    assert version.startswith("1.")
    annotations = state["state"].pop("annotations")
    assert annotations == {"small": "1", "large": "x" * 500_000}
    assert state == {
        "ociVersion": version,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": "for him: ü",
        "state": {
            "ociVersion": version,
            "id": container,
            "status": "creating",
            "pid": pid,
            "bundle": str(bundle),
        },
    }
    # A second process, in a container that waits, and in one that runs.
    for status in ("created", "running"):
        number = bundle / f"pid-{status}"
        lcpy("exec", "--pid-file", number, container, "true", check=True)
        state = agent.states[-1]
        assert (state["pid"], state["metadata"]) == (int(number.read_text()), "for him: ü")
        said = {key: state["state"][key] for key in ("id", "status", "pid")}
        assert said == {"id": container, "status": status, "pid": pid}
        if status == "created":
            lcpy("start", container, check=True)
    assert len(agent.states) == 3


@no_new_privs
def test_a_second_process(
    lcpy: "Lcpy", box: "Box", agents: Callable[..., Agent], no_new_privs: bool
) -> None:
    agent = agents()
    agent.answers = REFUSED
    change = notify(agent.path, no_new_privs=no_new_privs)
    container = lcpy.new_id()
    lcpy("run", "--detach", "--bundle", box.bundle(["sleep", "60"], change), container, check=True)
    script = "mkdir /dev/shm/x 2>&1; ls -l /proc/[0-9]*/fd 2>&1"
    for uid in ("0", "1000"):
        done = lcpy("exec", "--user", uid, container, "sh", "-c", script)
        assert "No medium found" in done.stdout
        assert " -> " in done.stdout
        assert "seccomp" not in done.stdout
    # It asks for its own listener even where it is not the first one's agent who is there now.
    agent.end()
    done = lcpy("exec", container, "true")
    assert done.returncode == 255
    why = f"failed to connect with seccomp agent {agent.path}: connection refused"
    assert f"InitSeccomp: linux.seccomp.listenerPath: {why}" in done.stderr
    assert lcpy.state(container)["status"] == "running"


@no_new_privs
@pytest.mark.parametrize("pid_namespace", [True, False])
def test_its_own_calls(
    lcpy: "Lcpy",
    box: "Box",
    agents: Callable[..., Agent],
    no_new_privs: bool,
    pid_namespace: bool,
) -> None:
    """The agent is also asked for what the runtime calls under the filter, and all is well."""
    agent = agents(*ITS_OWN)
    asked = notify(agent.path, *ITS_OWN, no_new_privs=no_new_privs)

    def change(config: "Config") -> None:
        asked(config)
        if not pid_namespace:
            spaces = config["linux"]["namespaces"]
            config["linux"]["namespaces"] = [it for it in spaces if it["type"] != "pid"]

    container = lcpy.new_id()
    bundle = box.bundle(["sleep", "60"], change)
    lcpy("create", "--bundle", bundle, container, check=True)
    assert agent.asked[:2] == ["read", "close"]
    lcpy("start", container, check=True)
    assert "execve" in agent.asked
    agent.asked.clear()
    assert lcpy("exec", container, "echo", "done").stdout == "done\n"
    assert {"read", "close", "execve"} < set(agent.asked)


def test_what_the_runtime_calls_under_it(box: "Box", agents: Callable[..., Agent]) -> None:
    """With no_new_privs, and under one that kills all else: more than under other filters."""
    agent = agents()
    names = ["write", "read", "close", "fcntl", "execve", "exit_group"]
    allowed = {"names": names, "action": "SCMP_ACT_ALLOW"}
    asked = notify(agent.path, defaultAction="SCMP_ACT_KILL_PROCESS")

    def change(config: "Config") -> None:
        asked(config)
        config["linux"]["seccomp"]["syscalls"].append(allowed)

    done = box.run(bundle=with_program(box, EXIT_7, change))
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


@no_new_privs
@pytest.mark.parametrize("names", [MKDIR, (*MKDIR, *ITS_OWN)])
def test_in_a_pid_namespace_that_exists(
    lcpy: "Lcpy",
    box: "Box",
    pod: "Pod",
    agents: Callable[..., Agent],
    no_new_privs: bool,
    names: tuple[str, ...],
) -> None:
    """Which the list enters as a clone: the agent is told of that one, if he need not be asked
    about a call before.
    """
    agent = agents(*names)
    agent.answers = REFUSED
    asked = notify(agent.path, *names, no_new_privs=no_new_privs)
    script = "mkdir /dev/shm/x 2>/tmp/said; sleep 60"
    container = lcpy.new_id()
    bundle = box.bundle(["sh", "-c", script], pod.joins(then=asked), own_root=True)
    lcpy("run", "--detach", "--bundle", bundle, container, check=True)
    (state,) = agent.states
    assert state["pid"] == state["state"]["pid"]
    if names == MKDIR or no_new_privs:
        assert state["pid"] == lcpy.state(container)["pid"]
    until_it_says("No medium found", bundle)


def until_it_says(words: str, bundle: Path) -> None:
    """Wait until a container has written this to a file."""
    said = bundle / "rootfs/tmp/said"
    end = time.monotonic() + 10 * PATIENCE
    while words not in (said.read_text() if said.exists() else ""):
        assert time.monotonic() < end
        time.sleep(0.02)


@no_new_privs
def test_nobody_in_the_container_holds_the_listener(
    box: "Box", agents: Callable[..., Agent], no_new_privs: bool
) -> None:
    """Neither the program nor a hook of the image's."""
    agent = agents()
    asked = notify(agent.path, no_new_privs=no_new_privs)
    look = "ls -l /proc/self/fd/ /proc/[0-9]*/fd/ 2>/dev/null"  # its own is gone when it looks

    def change(config: "Config") -> None:
        asked(config)
        hook = {
            "path": "/bin/sh",
            "args": ["sh", "-c", f"{look} >/dev/shm/said; mkdir /dev/shm/hook"],
        }
        config["hooks"] = {"startContainer": [hook]}

    said = box.sh(f"cat /dev/shm/said; {look}; ls /dev/shm", change=change)
    assert said.count("/proc/self/fd/:") == 2
    assert said.count(" -> ") > 10
    assert said.endswith("hook\nsaid\n")
    assert "seccomp" not in said
    assert agent.asked  # about the hook


def test_hooks_of_the_hosts_are_not_asked_about(
    box: "Box", agents: Callable[..., Agent], tmp_path: Path
) -> None:
    agent = agents()
    agent.answers = REFUSED
    asked = notify(agent.path)

    def change(config: "Config") -> None:
        asked(config)
        config["hooks"] = {
            kind: [{"path": "/bin/mkdir", "args": ["mkdir", str(tmp_path / kind)]}]
            for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
        }

    box.out("true", change=change)
    for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop"):
        assert (tmp_path / kind).is_dir(), kind
    assert agent.asked == []


@no_new_privs
@pytest.mark.parametrize("kind", ["missing", "nobody", "abstract", "relative"])
def test_without_an_agent(
    box: "Box", tmp_path_factory: pytest.TempPathFactory, kind: str, no_new_privs: bool
) -> None:
    directory = tmp_path_factory.mktemp("no")
    path = {"abstract": "@nobody", "relative": "no/socket"}.get(kind, f"{directory}/s")
    if kind == "nobody":
        socket.socket(socket.AF_UNIX).bind(path)
    done = box.run("true", change=notify(path, no_new_privs=no_new_privs))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert os.listdir(box.lcpy.root) == ["compiled filters"]
    why = "no such file or directory" if kind in ("missing", "relative") else "connection refused"
    assert "linux.seccomp.listenerPath: failed to connect with seccomp agent" in done.stderr
    assert why in done.stderr


def test_where_he_listens(box: "Box", agents: Callable[..., Agent], tmp_path: Path) -> None:
    """A path is relative to the bundle; one that begins with @ is an abstract name."""
    agent = agents()
    bundle = box.bundle(["mkdir", "/dev/shm/x"], notify("s"))
    (bundle / "s").symlink_to(agent.path)
    assert box.run(bundle=bundle, cwd=tmp_path).returncode == 0
    assert len(agent.states) == 1


@no_new_privs
def test_one_who_dies(
    lcpy: "Lcpy", box: "Box", agents: Callable[..., Agent], no_new_privs: bool
) -> None:
    """Nobody waits for the dead: what he would be asked about does not exist any more."""
    agent = agents()
    script = "until mkdir /dev/shm/x; do sleep 0.1; done 2>/tmp/said"
    change = notify(agent.path, no_new_privs=no_new_privs)
    agent.answers = REFUSED
    container = lcpy.new_id()
    bundle = box.bundle(["sh", "-c", script + "; true"], change, own_root=True)
    lcpy("create", "--bundle", bundle, container, check=True)
    agent.end()
    lcpy("start", container, check=True)
    until_it_says("not implemented", bundle)


@no_new_privs
def test_one_who_closes_at_once(
    box: "Box", agents: Callable[..., Agent], no_new_privs: bool
) -> None:
    agent = agents(kind=Forgetful)
    change = notify(agent.path, no_new_privs=no_new_privs)
    assert "not implemented" in box.sh("mkdir /dev/shm/x 2>&1; true", change=change)
    assert len(agent.states) == 1


@pytest.mark.parametrize("name", ["fcntl", "execve"])
def test_one_who_closes_at_once_and_is_needed(
    lcpy: "Lcpy", box: "Box", agents: Callable[..., Agent], name: str
) -> None:
    """A program that he does not let run is an error, and nobody hangs."""
    agent = agents(name, kind=Forgetful)
    done = box.run("true", change=notify(agent.path, name))
    assert done.returncode == 1
    if name == "execve":
        assert "exec /bin/true: " in done.stderr
    assert not os.listdir(lcpy.root) or os.listdir(lcpy.root) == ["compiled filters"]


# The command, with a runtime that is less patient.
COMMAND = """
import sys
from libcontainer_py.cli.main import main
from libcontainer_py.namespaces import listener
listener._SECONDS = 0.2
sys.exit(main(sys.argv[1:]))
"""


@no_new_privs
@pytest.mark.parametrize("name", ["read", "close"])
def test_one_who_never_answers(
    lcpy: "Lcpy", box: "Box", agents: Callable[..., Agent], name: str, no_new_privs: bool
) -> None:
    """The list's own listener keeps the kernel from seeing that he is gone: we do not wait."""
    agent = agents(name, kind=Forgetful)
    bundle = box.bundle(["true"], notify(agent.path, name, no_new_privs=no_new_privs))
    words = ["--root", str(lcpy.root), "create", "--bundle", str(bundle), lcpy.new_id()]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 1
    assert "listenerPath: the agent does not answer for a call" in done.stderr
    assert os.listdir(lcpy.root) == ["compiled filters"]


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_in_a_user_namespace(
    user_box: "Box", agents: Callable[..., Agent], no_new_privs: bool
) -> None:
    agent = agents()
    agent.answers = REFUSED
    change = user(then=notify(agent.path, no_new_privs=no_new_privs))
    assert "No medium" in user_box.sh("mkdir /dev/shm/x 2>&1; true", change=change)


@no_new_privs
def test_rootless(rootless: "Rootless", agents: Callable[..., Agent], no_new_privs: bool) -> None:
    """A first process; the listener of a second one is not to be had by who is not root."""
    agent = agents()
    agent.answers = REFUSED
    here = rootless.home / "socket"
    here.hardlink_to(agent.path)
    here.chmod(0o777)
    change = notify(here, no_new_privs=no_new_privs)
    bundle = rootless.bundle("mkdir", "/dev/shm/x", change=change)
    done = rootless("run", "--bundle", bundle, rootless.new_id())
    assert "No medium found" in done.stderr

    bundle, container = rootless.bundle("sleep", "60", change=change), rootless.new_id()
    done = rootless("run", "--detach", "--bundle", bundle, container)
    assert (done.returncode, done.stderr) == (0, "")
    done = rootless("exec", container, "true")
    assert done.returncode == 255
    assert "take the listener from the new process: operation not permitted" in done.stderr
    assert "CAP_SYS_PTRACE" in done.stderr
    shutil.rmtree(rootless.run_directory / "lcpy/compiled filters")


def test_a_kept_filter_is_for_any_agent(
    lcpy: "Lcpy", box: "Box", agents: Callable[..., Agent]
) -> None:
    for metadata in ("one", "two", ""):
        agent = agents()
        agent.answers = REFUSED
        change = notify(agent.path, listenerMetadata=metadata)
        assert "No medium" in box.sh("mkdir /dev/shm/x 2>&1; true", change=change)
        (state,) = agent.states
        assert state.get("metadata", "") == metadata
        assert len(os.listdir(lcpy.root / "compiled filters")) == 1


def test_wait_killable_recv(box: "Box", agents: Callable[..., Agent]) -> None:
    agent = agents()
    agent.answers = REFUSED
    change = notify(agent.path, flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])
    assert "No medium" in box.sh("mkdir /dev/shm/x 2>&1; true", change=change)


def test_a_listener_is_ignored_without_notify(box: "Box") -> None:
    def change(config: "Config") -> None:
        notify("/nobody", listenerMetadata="x")(config)
        config["linux"]["seccomp"]["syscalls"][0]["action"] = "SCMP_ACT_ERRNO"

    assert "not permitted" in box.sh("mkdir /dev/shm/x 2>&1; true", change=change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            notify("/s", "mkdir", "write"),
            "syscalls[0].names[1]: SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (
            notify("/s", defaultAction="SCMP_ACT_NOTIFY", syscalls=[]),
            "defaultAction: SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (notify(""), "listenerPath: must be set where there is SCMP_ACT_NOTIFY"),
        (notify("/s/" + 120 * "x"), "listenerPath: failed to connect with seccomp agent"),
    ],
)
def test_what_is_refused(box: "Box", change: "Change", words: str) -> None:
    done = box.run("true", change=change)
    assert done.returncode == 1
    assert f"linux.seccomp.{words}" in done.stderr


WITH_PROFILE = """
        import json
        def with_profile(profile):
            with open(bundle + "/config.json") as file:
                config = json.load(file)
            config["linux"]["seccomp"] = profile
            with open(bundle + "/config.json", "w") as file:
                json.dump(config, file)
"""


def test_in_the_library(program: "Program", agents: Callable[..., Agent]) -> None:
    """From a program with threads, too, where the launcher does it."""
    agent = agents()
    agent.answers = REFUSED
    program(
        WITH_PROFILE
        + f"""
        with_profile({profile(agent.path)})
        with runtime.run(id, bundle) as container:
            words = ["sh", "-c", "mkdir /dev/shm/x 2>&1; true"]
            process = container.exec(words, stdout=PIPE)
            assert b"No medium found" in process.stdout.read()
            assert process.wait(10) == 0
            process.close()
            ours = []
            for fd in fds():
                try:
                    ours.append(os.readlink("/proc/self/fd/" + fd))
                except FileNotFoundError:
                    pass  # that of the directory
            assert "seccomp" not in str(ours), ours
        """
    )
    assert [state["state"]["status"] for state in agent.states] == ["creating", "running"]


def test_in_the_library_without_an_agent(program: "Program", tmp_path: Path) -> None:
    program(
        WITH_PROFILE
        + f"""
        with_profile({profile(tmp_path / "nobody")})
        error = raises(StepError, runtime.run, id, bundle)
        assert (error.step, error.field) == ("InitSeccomp", "linux.seccomp.listenerPath"), error
        assert error.errno == 2, error
        raises(NotFound, runtime.get, id)
        """
    )
