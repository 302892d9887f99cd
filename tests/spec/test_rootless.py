"""A user without any right runs a container of his own: a user namespace that maps him alone."""

import contextlib
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import PATIENCE, PREFIX, copy_checkout

if TYPE_CHECKING:
    from tests.conftest import Completed, Config

USER = 54321


class Rootless:
    """The guarded command, run by that user, with a home of his own."""

    def __init__(
        self,
        directory: Path,
        busybox_root: Path,
        uid: int,
        run_directory: Path | None,
    ) -> None:
        self.uid = uid
        self.home = directory / "home"
        self.run_directory = run_directory or self.home / "run"
        self._busybox = busybox_root
        self._command = copy_checkout(directory / "checkout") / "tests/lcpy_audited.py"
        self._numbers = iter(range(1000))
        for path in (self.home, self.run_directory):
            if not path.is_dir():
                path.mkdir(mode=0o700)
                os.chown(path, uid, uid)

    def __call__(self, *words: "str | Path") -> "Completed":
        # The environment of the tests may be where he can't go.
        python = shutil.which("python3", path="/usr/bin") or sys.executable
        argv = [python, "-I", "-S", "-X", "utf8", str(self._command)]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            done = subprocess.run(
                [*argv, *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                user=self.uid,
                group=self.uid,
                extra_groups=[],
                cwd=self.home,
                env={"XDG_RUNTIME_DIR": str(self.run_directory), "HOME": str(self.home)},
                timeout=60,
                check=False,
            )
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(argv, done.returncode, out.read(), err.read())

    def bundle(self, *args: str, change: "Callable[[Config], object] | None" = None) -> Path:
        """What `lcpy spec --rootless` writes, with another program."""
        path = self.home / f"bundle-{next(self._numbers)}"
        shutil.copytree(self._busybox, path / "rootfs", symlinks=True)
        for each in [path, *path.rglob("*")]:
            os.chown(each, self.uid, self.uid, follow_symlinks=False)
        done = self("spec", "--rootless", "--bundle", path)
        assert done.returncode == 0, done.stderr
        config: dict[str, Any] = json.loads((path / "config.json").read_text())
        config["process"].update(terminal=False, args=list(args))
        if change is not None:
            change(config)
        (path / "config.json").write_text(json.dumps(config))
        return path

    def new_id(self) -> str:
        return f"{PREFIX}rootless-{next(self._numbers)}"

    def left(self) -> list[str]:
        """The containers that have a record."""
        state = self.run_directory / "lcpy"
        return sorted(os.listdir(state)) if state.is_dir() else []

    def delete_all(self) -> None:
        for container in self.left():
            self("delete", "--force", container)


@contextlib.contextmanager
def a_user(
    busybox_root: Path, uid: int = USER, run_directory: Path | None = None
) -> Iterator[Rootless]:
    """Some user; his containers are deleted after it."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        Path(name).chmod(0o755)
        made = Rootless(Path(name), busybox_root, uid, run_directory)
        yield made
        made.delete_all()
        assert made.left() == []


@pytest.fixture
def rootless(busybox_root: Path, machine_unchanged: None) -> Iterator[Rootless]:
    with a_user(busybox_root) as made:
        yield made


def test_what_it_sees(rootless: Rootless) -> None:
    """Root, of himself alone; its own processes, devices, host name; and no cgroup is his."""
    script = (
        "id -u; id -g; cat /proc/self/uid_map /proc/self/setgroups; hostname; echo $$;"
        " echo x >/dev/null; touch /dev/shm/x && stat -c %u /dev/shm/x /proc/1;"
        " grep -c . /proc/self/cgroup >/dev/null && echo cgroup"
    )
    done = rootless("run", "--bundle", rootless.bundle("sh", "-c", script), rootless.new_id())
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["0", "0"]
    assert lines[2].split() == ["0", str(USER), "1"]
    assert lines[3:] == ["deny", "runc", "1", "0", "0", "cgroup"]
    assert rootless.left() == []


def test_its_life(rootless: Rootless) -> None:
    """create, start, exec, kill, delete: below $XDG_RUNTIME_DIR."""
    bundle, container = rootless.bundle("sleep", "60"), rootless.new_id()
    done = rootless("create", "--bundle", bundle, container)
    assert (done.returncode, done.stderr) == (0, "")
    assert rootless.left() == [container]
    # Not to be cleaned away while nobody touches it: the XDG Base Directory Specification.
    assert stat.S_IMODE((rootless.run_directory / "lcpy").stat().st_mode) == 0o1700
    state = json.loads(rootless("state", container).stdout)
    assert state["status"] == "created"
    status = Path(f"/proc/{state['pid']}/status").read_text()
    uid = next(line for line in status.splitlines() if line.startswith("Uid:"))
    assert uid.split()[1:] == [str(USER)] * 4
    assert rootless("start", container).returncode == 0
    said = rootless("exec", container, "sh", "-c", "id -u; cat /proc/1/comm; hostname")
    assert (said.returncode, said.stdout, said.stderr) == (0, "0\nsleep\nrunc\n", "")
    assert rootless("kill", "--all", container, "0").returncode == 0
    assert rootless("kill", container, "KILL").returncode == 0
    end = time.monotonic() + 10
    while json.loads(rootless("state", container).stdout)["status"] != "stopped":
        assert time.monotonic() < end
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
    done = rootless("kill", "--all", container, "TERM")
    assert (done.returncode, done.stderr) == (0, "")
    assert "container not running" in rootless("kill", container, "TERM").stderr
    assert rootless("delete", container).returncode == 0


@pytest.fixture
def outside(busybox_root: Path, machine_unchanged: None) -> Iterator[Rootless]:
    """A user who has a systemd of his own, but comes from outside of his session."""
    try:
        user = pwd.getpwnam("tester")
    except KeyError:
        pytest.skip("there is no user tester here")
    with a_user(busybox_root, user.pw_uid, Path(f"/run/user/{user.pw_uid}")) as made:
        yield made


def test_exec_where_the_first_process_has_moved(outside: Rootless) -> None:
    """He may not move a process from our cgroup to his: his systemd does, and to the right one."""
    script = (
        "cd /sys/fs/cgroup; mkdir a; echo 1 >a/cgroup.procs; echo +pids >cgroup.subtree_control;"
        " echo moved; sleep 60"
    )

    def change(config: "Config") -> None:
        others = [each for each in config["mounts"] if each["destination"] != "/sys/fs/cgroup"]
        own = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}
        config["mounts"] = [*others, own]
        config["linux"]["resources"] = {"pids": {"limit": 20}}

    bundle, container = outside.bundle("sh", "-c", script, change=change), outside.new_id()
    done = outside("--systemd-cgroup", "run", "--detach", "--bundle", bundle, container)
    assert done.returncode == 0, done.stderr
    pid = json.loads(outside("state", container).stdout)["pid"]
    scope = f"lcpy-{container}.scope"
    end = time.monotonic() + 10 * PATIENCE
    while not Path(f"/proc/{pid}/cgroup").read_text().rstrip().endswith(f"{scope}/a"):
        assert time.monotonic() < end
        time.sleep(0.05)
    for words in ([], ["--cgroup=/a"]):
        done = outside("exec", *words, container, "cat", "/proc/self/cgroup")
        assert (done.returncode, done.stdout, done.stderr) == (0, "0::/a\n", "")
    assert outside("delete", "--force", container).returncode == 0


def test_exec_of_what_cannot_be_looked_at_from_outside(rootless: Rootless) -> None:
    """In there he may pass every directory; out here not even this one of his own."""
    bundle, container = rootless.bundle("sleep", "60"), rootless.new_id()
    closed = bundle / "rootfs/closed"
    closed.mkdir()
    shutil.copy2(bundle / "rootfs/bin/busybox", closed / "echo")
    for each in (closed, closed / "echo"):
        os.chown(each, USER, USER)
    closed.chmod(0)
    done = rootless("run", "--detach", "--bundle", bundle, container)
    assert (done.returncode, done.stderr) == (0, "")
    (bundle / "rootfs/too").mkdir(mode=0)
    os.chown(bundle / "rootfs/too", USER, USER)
    run = ("exec", "--cap=CAP_DAC_OVERRIDE")
    done = rootless(*run, container, "/closed/echo", "hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    for path in ("/closed:/", "/too:/closed:/closed", "/too:/none:/bin"):
        done = rootless(*run, f"--env=PATH={path}", container, "echo", "hello")
        assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    done = rootless(*run, container, "/closed/nothing")
    assert done.returncode == 255
    assert "exec /closed/nothing: no such file or directory" in done.stderr
    assert rootless("delete", "--force", container).returncode == 0


def test_a_pod(rootless: Rootless) -> None:
    """A second container joins the first one's namespaces, its processes among them."""
    first, second = rootless.new_id(), rootless.new_id()
    done = rootless("run", "--detach", "--bundle", rootless.bundle("sleep", "60"), first)
    assert (done.returncode, done.stderr) == (0, "")
    pid = json.loads(rootless("state", first).stdout)["pid"]

    def join(config: "Config") -> None:
        joined = ("user", "pid", "ipc", "uts")
        linux = config["linux"]
        linux["namespaces"] = [
            {**each, "path": f"/proc/{pid}/ns/{each['type']}"} if each["type"] in joined else each
            for each in linux["namespaces"]
        ]
        config.pop("hostname")

    script = "cat /proc/1/comm; echo /proc/[0-9]*; hostname; stat -f -c %t /proc; id -u"
    bundle = rootless.bundle("sh", "-c", script, change=join)
    done = rootless("run", "--bundle", bundle, second)
    assert (done.returncode, done.stderr) == (0, "")
    comm, processes, hostname, magic, user = done.stdout.splitlines()
    assert (comm, hostname, magic, user) == ("sleep", "runc", "9fa0", "0")
    assert processes.split()[0] == "/proc/1"
    assert len(processes.split()) <= 4  # with the shell, and who may just have ended
    assert rootless("delete", "--force", first).returncode == 0


def test_what_needs_more_than_he_has(rootless: Rootless) -> None:
    """Each is one line, and nothing is left."""

    def groups(config: "Config") -> None:
        config["process"]["user"]["additionalGids"] = [0]

    def more_ids(config: "Config") -> None:
        config["linux"]["uidMappings"][0]["size"] = 2

    def somebody_else(config: "Config") -> None:
        config["linux"]["uidMappings"][0]["hostID"] = USER + 1

    def no_user_namespace(config: "Config") -> None:
        linux = config["linux"]
        linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != "user"]
        linux.pop("uidMappings")
        linux.pop("gidMappings")

    def network_of_root(config: "Config") -> None:
        config["linux"]["namespaces"].append({"type": "network", "path": "/proc/1/ns/net"})

    for change, words in (
        (groups, ["process.user.additionalGids", "may not set groups"]),
        (more_ids, ["linux.uidMappings", "newuidmap"]),
        (somebody_else, ["linux.uidMappings", "newuidmap"]),
        (no_user_namespace, ["operation not permitted"]),
        (network_of_root, ["linux.namespaces", "permi"]),
    ):
        bundle = rootless.bundle("true", change=change)
        done = rootless("run", "--bundle", bundle, rootless.new_id())
        assert done.returncode == 1, done
        (line,) = [line for line in done.stderr.splitlines() if "level=error" in line]
        for word in words:
            assert word in line
        assert "Traceback" not in done.stderr
        assert rootless.left() == []
