"""CVE-2016-9962 and CVE-2019-5736, by a neighbour: who shares a pid namespace sees whoever joins.

A process with every capability, in the initial user namespace, watches its pid namespace while
other containers join it. It could trace what it sees, take its descriptors (pidfd_getfd(2)), read
through its root, and write to the files that it has mapped. So all there is to see must be the
finish list and the containers' own programs: no Python, no library, file or root of the host's.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.conftest import Bare
from tests.attacks.test_proc_self_exe import everything
from tests.conftest import HERE, PATIENCE, Bundle, Config, Lcpy

SECRET = "a-secret-of-the-host"
LIST = "/memfd:lcpy:finish (deleted)"


class OlderKernel(Lcpy):
    """The command on a kernel whose proc can't be told which pid namespace it is for."""

    audited = str(HERE / "attacks/older_kernel.py")


class Watcher:
    """A container whose first process watches (watch.c)."""

    def __init__(self, lcpy: Lcpy, bundle: Path, program: Path) -> None:
        shutil.copy2(program, bundle / "rootfs/watch")
        self.rootfs = bundle / "rootfs"
        self._said = bundle / "said"
        self._lcpy = lcpy
        self.new_id = lcpy.new_id
        self.id = lcpy.new_id()
        with self._said.open("wb") as said:
            subprocess.run(
                lcpy.argv("run", "--detach", "--bundle", bundle, self.id),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=30,
                check=True,
            )
        self.pid: int = lcpy.state(self.id)["pid"]
        self._wait_for("ready \n")

    def joins(self, config: Config) -> None:
        """Let a container have its pid namespace."""
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] == "pid":
                namespace["path"] = f"/proc/{self.pid}/ns/pid"

    def seen(self) -> dict[str, set[str]]:
        """End the watch: what was seen, by kind."""
        (self.rootfs / "stop").touch()
        self._wait_for("end \n")
        found: dict[str, set[str]] = {}
        for line in self._said.read_text(errors="replace").splitlines():
            kind, _, what = line.partition(" ")
            found.setdefault(kind, set()).add(what)
        return found

    def _wait_for(self, line: str) -> None:
        end = time.monotonic() + 20
        while line not in self._said.read_text(errors="replace"):
            assert time.monotonic() < end, self._said.read_text(errors="replace")
            time.sleep(0.02)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The watcher, compiled."""
    made = tmp_path_factory.mktemp("watch") / "watch"
    source = str(HERE / "attacks/watch.c")
    subprocess.run(["gcc", "-O2", "-static", "-o", str(made), source], timeout=60, check=True)
    return made


@pytest.fixture
def watcher(lcpy: Lcpy, bundle: Bundle, program: Path) -> Iterator[Watcher]:
    made = Watcher(lcpy, bundle("/watch", change=everything), program)
    yield made
    lcpy("delete", "--force", made.id, check=True)


def assert_nothing_of_the_host(seen: "dict[str, set[str]]", roots: "set[str]") -> None:
    """Of all that a watcher saw, everything is the list's or the containers'."""
    assert LIST in seen["exe"]  # else it was too slow to see anything
    assert seen["exe"] <= {LIST, "/bin/busybox"}
    files = {name for name in seen["map"] if not name.startswith("[")}
    assert files <= {LIST, "/bin/busybox"}
    # The FIFOs of `start`, by which nothing but a byte can be said, and the sync pipe.
    descriptors = {os.path.basename(name) for name in seen["fd"]}
    assert descriptors <= {"null", "0", "socket", "go", "status", "output", "pipe"}
    assert seen["root"] <= roots
    everything_seen = "\n".join(what for kind in seen.values() for what in kind)
    assert SECRET not in everything_seen
    assert "ython" not in everything_seen
    assert "/lib" not in everything_seen


def root_of(path: Path) -> str:
    found = path.stat()
    return f"{found.st_dev}:{found.st_ino}"


def join(watcher: Watcher, lcpy: Lcpy, path: Path, count: int) -> None:
    """Run containers of a bundle, one after the other."""
    environment = os.environ | {"SECRET": SECRET}
    for _ in range(count):
        with (path / "output").open("wb") as output:
            done = subprocess.run(
                lcpy.argv("run", "--bundle", path, watcher.new_id()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                timeout=30,
                check=False,
            )
        assert (done.returncode, (path / "output").read_text()) == (0, "said\n")


# Before proc had its option pidns.
BEGUN_INSIDE = tuple(map(int, os.uname().release.split(".")[:2])) < (6, 17)


def roots_of_nobody(seen: "dict[str, set[str]]", own: "set[str]") -> "set[str]":
    """The roots of what begins a procfs in the watcher's pid namespace, on kernels that need that.

    Takes its file, by which nothing is reached, from what was seen.
    """
    others = seen["root"] - own
    assert others  # it was seen
    # Each was a filesystem of its own, and none that the host has.
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    hosts = {os.stat(point).st_dev for point in points if os.path.exists(point)}
    assert not {int(root.split(":")[0]) for root in others} & hosts
    seen["fd"].discard("anon_inode:[fscontext]")
    return others


@pytest.mark.timeout(120 * PATIENCE)
def test_fifty_containers_join(watcher: Watcher, bare: Bare, bundle: Bundle) -> None:
    """Among them some with a user, a filter, or a hook of the image's."""
    roots = {root_of(watcher.rootfs)}
    hook = {"startContainer": [{"path": "/bin/true", "args": ["true"]}]}
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
    }

    def plain(config: Config) -> None:
        watcher.joins(config)

    def as_user(config: Config) -> None:
        watcher.joins(config)
        config["process"]["user"] = {"uid": 1000, "gid": 1000}

    def filtered(config: Config) -> None:
        watcher.joins(config)
        config["linux"]["seccomp"] = profile
        config["process"]["noNewPrivileges"] = False

    def hooked(config: Config) -> None:
        watcher.joins(config)
        config["hooks"] = hook

    for change, count in ((plain, 20), (as_user, 10), (filtered, 10), (hooked, 10)):
        path = bundle("echo", "said", change=change)
        roots.add(root_of(path / "rootfs"))
        join(watcher, bare, path, count)
    seen = watcher.seen()
    # The state that a hook reads is one more file in memory, and sealed.
    seen["fd"].discard("/memfd:state (deleted)")
    if BEGUN_INSIDE:
        roots |= roots_of_nobody(seen, roots)
    assert_nothing_of_the_host(seen, roots)
    assert "echo" in seen["cmdline"]


@pytest.mark.timeout(120 * PATIENCE)
def test_where_a_procfs_must_be_begun_inside(watcher: Watcher, lcpy: Lcpy, bundle: Bundle) -> None:
    """On older kernels one more process enters: nobody, without rights, in an empty root."""
    path = bundle("echo", "said", change=watcher.joins)
    join(watcher, OlderKernel(lcpy.root), path, 20)
    seen = watcher.seen()
    own = {root_of(watcher.rootfs), root_of(path / "rootfs")}
    assert_nothing_of_the_host(seen, own | roots_of_nobody(seen, own))


def test_the_watch_sees_what_must_not_be_there(watcher: Watcher) -> None:
    """The control: a Python that enters the pid namespace for the blink of an eye."""
    argv = ["nsenter", "-t", str(watcher.pid), "-p", sys.executable, "-I", "-S", "-c", "pass"]
    subprocess.run(argv, env={"SECRET": SECRET}, timeout=20, check=True)
    seen = watcher.seen()
    with pytest.raises(AssertionError):
        assert_nothing_of_the_host(seen, {root_of(watcher.rootfs)})
    assert any("python" in name for name in seen["exe"])
    assert any("libc" in name for name in seen["map"])
    assert f"SECRET={SECRET}" in seen["environ"]
    assert root_of(Path("/")) in seen["root"]


STOP = "while true; do kill -STOP -1; done 2>/dev/null"  # all but itself, and the first


def test_a_neighbour_stops_whoever_comes(lcpy: Lcpy, bundle: Bundle) -> None:
    """It may, with CAP_KILL: then `create` waits. Nothing is stuck: `delete --force` ends it."""
    stopper, container = lcpy.new_id(), lcpy.new_id()
    made = bundle("sh", "-c", STOP, change=everything)
    lcpy("run", "--detach", "--bundle", made, stopper, check=True)
    pid = lcpy.state(stopper)["pid"]

    def joins(config: Config) -> None:
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] == "pid":
                namespace["path"] = f"/proc/{pid}/ns/pid"

    argv = lcpy.argv("create", "--bundle", bundle("true", change=joins), container)
    null = subprocess.DEVNULL
    with subprocess.Popen(argv, stdin=null, stdout=null, stderr=null) as process:
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)
            begun = time.monotonic()
            lcpy("delete", "--force", container, timeout=20 * PATIENCE)
            assert time.monotonic() - begun < 8 * PATIENCE
            process.wait(10 * PATIENCE)
        finally:
            process.kill()
    # `create` may have been the quicker one.
    lcpy("delete", "--force", container, timeout=20 * PATIENCE)
    assert container not in os.listdir(lcpy.root)
    assert not [path for path, _, _ in os.walk("/sys/fs/cgroup") if container in path]
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass  # a pid namespace does not end before all that was in it has been reaped
    lcpy("delete", "--force", stopper, check=True)
