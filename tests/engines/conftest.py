"""Real engines with the installed `lcpy` as their runtime: each in a home of its own.

An engine's home is a short directory under /tmp (sockets and Podman want short paths) with all of
its state and sockets, a parent for its cgroups (a cgroup, or a slice of systemd's), for Docker a
bridge, and for Podman a network namespace. A daemon ends with the test run, however that ends, and
what it left is then undone. After each test an engine must be as it was before.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PATIENCE, PREFIX, Completed

# Read when grpc is imported (by `cri`): it need not go on in children of ours, which only exec.
# Else its threads come back in each, and write to its terminal when its descriptors are closed.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

SECONDS = 60 * PATIENCE
# Debian's, and not what somebody put before it.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# What engines make outside of their home, and leave there.
LASTING = (
    "/run/containerd",
    "/run/containerd/s",
    "/run/containers",
    "/run/containers/networks",
    "/run/docker",
    "/run/docker/plugins",
    "/run/netns",
    "/var/lib/cni",
    "/var/lib/cni/results",
    "/var/lib/containers",
    "/var/lib/containers/cache",
    "/var/lib/containers/cache/blob-info-cache-v1.boltdb",
)


def program(name: str) -> str:
    """The path of a program of Debian's."""
    found = shutil.which(name, path=PATH)
    assert found, f"{name} is missing: ./dev setup engines"
    return found


def lcpy_path() -> str:
    """The installed command, as an engine's administrator writes it down."""
    path = Path(sys.executable).with_name("lcpy")
    assert path.is_file(), f"{path} is missing: ./dev setup test"
    return str(path)


def eventually(true: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.05)


class Home:
    """Where an engine lives, and what it may leave on the machine.

    Attributes:
        cgroup: the name of the cgroup that has all of the engine's; with `systemd` a slice's
        parent: how an engine's `--cgroup-parent` says that
    """

    def __init__(self, engine: str, *, systemd: bool = False) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{engine}-", dir="/tmp"))
        self.path.chmod(0o711)  # for the root of a user namespace
        self.systemd = systemd
        self.cgroup = self.path.name
        if systemd:  # without a "-", which would be a slice in others
            self.cgroup = self.path.name.replace("-", "_") + ".slice"
        self.parent = self.cgroup if systemd else f"/{self.cgroup}"
        self.env = {"PATH": PATH, "HOME": str(self.path), "TMPDIR": str(self.path)}
        self.daemon: subprocess.Popen[bytes] | None = None
        self._absent = [path for path in LASTING if not os.path.lexists(path)]

    def run(
        self, *words: str | Path, stdin: str | None = None, seconds: float = SECONDS
    ) -> Completed:
        """Run a command to its end, in files: what it starts may outlive it and hold a pipe."""
        with contextlib.ExitStack() as files:
            streams = [files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3)]
            streams[0].write(stdin or "")
            streams[0].seek(0)
            argv = [program(str(words[0])), *map(str, words[1:])]
            code = subprocess.run(
                argv,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                env=self.env,
                cwd=self.path,
                timeout=seconds,
                check=False,
            ).returncode
            for stream in streams[1:]:
                stream.seek(0)
            return Completed(argv, code, streams[1].read(), streams[2].read())

    def start(self, *words: str | Path, ready: Callable[[], bool]) -> None:
        """Start a daemon, which ends with us, and wait until it is ready."""
        argv = [program("setpriv"), "--pdeathsig", "TERM", program(str(words[0]))]
        with open(self.path / "daemon.log", "wb") as log:
            self.daemon = subprocess.Popen(
                [*argv, *map(str, words[1:])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                cwd=self.path,
            )
        end = time.monotonic() + SECONDS
        while not ready():
            text = (self.path / "daemon.log").read_text(errors="replace")[-2000:]
            assert self.daemon.poll() is None, text
            assert time.monotonic() < end, text
            time.sleep(0.1)

    def cgroups(self) -> set[Path]:
        """All of its cgroups, in every hierarchy."""
        found = set()
        for path, names, _ in os.walk("/sys/fs/cgroup"):
            found |= {Path(path, name) for name in names if self.cgroup in f"{path}/{name}"}
        return found

    def mounts(self) -> set[str]:
        """Mount points below it."""
        text = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
        points = {line.split()[4] for line in text.splitlines()}
        return {point for point in points if point.startswith(f"{self.path}/")}

    def processes(self) -> dict[int, str]:
        """Processes that name it, or are in its cgroups, with their command lines."""
        found = {}
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                cgroups = Path(f"/proc/{pid}/cgroup").read_text()
            except (OSError, UnicodeDecodeError):
                continue
            if pid != os.getpid() and (str(self.path) in line or f"/{self.cgroup}/" in cgroups):
                found[pid] = line
        return found

    def leave(self) -> None:
        """End the daemon and all that it started, and undo what they left on the machine."""
        if self.daemon is not None:
            self.daemon.terminate()
            try:
                self.daemon.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        for _ in range(100):
            processes = self.processes()
            if not processes:
                break
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        if self.systemd:
            subprocess.run(["systemctl", "stop", self.cgroup], check=False)
        for point in sorted(self.mounts(), reverse=True):
            subprocess.run(["umount", "--lazy", point], check=False)
        for cgroup in sorted(self.cgroups(), reverse=True):
            cgroup.rmdir()
        shutil.rmtree(self.path)
        for path in reversed(self._absent):
            with contextlib.suppress(OSError):  # it has come to be somebody else's, too
                os.remove(path) if os.path.isfile(path) else os.rmdir(path)


class Engine:
    """An engine's command, and what it has: containers, mounts, cgroups, processes."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def words(self, *words: str | Path) -> list[str | Path]:
        """The whole command line for some words."""
        raise NotImplementedError

    def containers(self) -> list[str]:
        """All containers' names."""
        raise NotImplementedError

    def remove(self, container: str) -> None:
        """Remove a container, whatever it does."""
        raise NotImplementedError

    def __call__(self, *words: str | Path, code: int | None = 0, **options: Any) -> Completed:
        """Run the engine's command; hold that its exit code is `code` (None: any)."""
        done = self.home.run(*self.words(*words), **options)
        assert code is None or done.returncode == code, done
        return done

    def left(self) -> set[str]:
        """What a test could leave behind."""
        # The parent of all is made and removed with any of them.
        found = {f"cgroup {p}" for p in self.home.cgroups() if p.name != self.home.cgroup}
        found |= {f"mount {point}" for point in self.home.mounts()}
        found |= {f"process {pid}: {line}" for pid, line in self.home.processes().items()}
        return found

    def guarded(self) -> Iterator["Engine"]:
        """Remove a test's containers after it, and hold that nothing of them is left."""
        before = self.left()
        yield self
        for container in self.containers():
            self.remove(container)
        end = time.monotonic() + 5
        while (left := self.left() - before) and time.monotonic() < end:
            time.sleep(0.05)
        assert not left, "left behind:\n" + "\n".join(sorted(left))


@pytest.fixture(scope="session")
def root_archive(busybox_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The BusyBox root, as an image to import."""
    path = tmp_path_factory.mktemp("image") / "root.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(busybox_root, ".")
    return path


# --- Docker ---------------------------------------------------------------------------------


class Docker(Engine):
    """Docker, whose default runtime is lcpy; the image is `bb`."""

    def words(self, *words: str | Path) -> list[str | Path]:
        return ["docker", "--host", f"unix://{self.home.path}/docker.sock", *words]

    def containers(self) -> list[str]:
        return self("ps", "--all", "--quiet").stdout.split()

    def remove(self, container: str) -> None:
        self("rm", "--force", "--volumes", container)

    def run(self, *words: str | Path, code: int | None = 0, **options: Any) -> Completed:
        """`docker run --rm`, without a network."""
        return self("run", "--rm", "--network=none", *words, code=code, **options)

    def sleeper(self, *words: str) -> str:
        """Run a container that only waits, without a network; return its id."""
        done = self("run", "--detach", "--network=none", *words, "bb", "sleep", "600")
        return done.stdout.strip()

    def state(self, container: str) -> dict[str, Any]:
        """What `docker inspect` says of a container's state."""
        state: dict[str, Any] = json.loads(self("inspect", container).stdout)[0]["State"]
        return state


@contextlib.contextmanager
def dockerd(
    root_archive: Path,
    *options: str,
    bridge: str = "none",
    before: tuple[str, ...] = (),
    systemd: bool = False,
) -> Iterator[Docker]:
    """Run a dockerd with the image; `before` are words before the command, and its options more."""
    home = Home("docker", systemd=systemd)
    docker = Docker(home)
    (home.path / "daemon.json").write_text(
        json.dumps(
            {
                "runtimes": {"lcpy": {"path": lcpy_path()}},
                "default-runtime": "lcpy",
                "deprecated-key-path": f"{home.path}/key.json",
            }
        )
    )
    try:
        home.start(
            *before,
            "dockerd",
            f"--config-file={home.path}/daemon.json",
            f"--data-root={home.path}/data",
            f"--exec-root={home.path}/exec",
            f"--host=unix://{home.path}/docker.sock",
            f"--pidfile={home.path}/docker.pid",
            f"--cgroup-parent={home.parent}",
            "--storage-driver=overlay2",
            f"--bridge={bridge}",
            # The machine's firewall and its forwarding are not ours to change.
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--ip-masq=false",
            "--userland-proxy=false",
            *options,
            ready=lambda: docker("version", code=None).returncode == 0,
        )
        docker("import", root_archive, "bb")
        docker.run("bb", "true")  # makes what lasts: the parent cgroup, the compiled filter
        yield docker
    finally:
        home.leave()


@pytest.fixture(scope="session")
def docker_session(root_archive: Path) -> Iterator[Docker]:
    bridge = f"lcpy{os.getpid()}"
    try:
        # A network for documentation (RFC 5737): no machine has it.
        for words in (
            ("link", "add", bridge, "type", "bridge"),
            ("address", "add", "198.51.100.1/24", "dev", bridge),
            ("link", "set", bridge, "up"),
        ):
            subprocess.run(["ip", *words], check=True)
        with dockerd(root_archive, bridge=bridge) as docker:
            docker("run", "--rm", "--network=host", "bb", "true")  # its network's file lasts, too
            yield docker
    finally:
        subprocess.run(["ip", "link", "delete", bridge], check=True)


@pytest.fixture
def docker(docker_session: Docker) -> Iterator[Engine]:
    """Docker; the test's containers are removed after it."""
    yield from docker_session.guarded()


@pytest.fixture(scope="session")
def remapped_session(
    root_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Docker]:
    # Subordinate ids for this dockerd alone, in a mount namespace of its own.
    ids = tmp_path_factory.mktemp("ids") / "subid"
    ids.write_text("daemon:100000:65536\n")
    script = 'mount --bind "$0" /etc/subuid; mount --bind "$0" /etc/subgid; exec "$@"'
    before = ("unshare", "--mount", "sh", "-ec", script, str(ids))
    for name in ("/etc/subuid", "/etc/subgid"):
        assert Path(name).is_file(), f"{name} is missing: ./dev setup engines"
    with dockerd(root_archive, "--userns-remap=daemon", before=before) as docker:
        yield docker


@pytest.fixture
def remapped(remapped_session: Docker) -> Iterator[Engine]:
    """Docker with --userns-remap: its containers' root is the host's user 100000."""
    yield from remapped_session.guarded()


# --- containerd -----------------------------------------------------------------------------


class Containerd(Engine):
    """containerd, by `ctr`, with its runc shim."""

    def words(self, *words: str | Path) -> list[str | Path]:
        return ["ctr", f"--address={self.home.path}/containerd.sock", *words]

    def containers(self) -> list[str]:
        return self("containers", "list", "--quiet").stdout.split()

    def remove(self, container: str) -> None:
        self("task", "rm", "--force", container, code=None)  # it may have none
        self("container", "rm", container)

    def cgroup(self, container: str) -> list[str]:
        """Where a container's cgroup is to be, in words of `ctr run`."""
        if self.home.systemd:
            return ["--runc-systemd-cgroup", f"--cgroup={self.home.cgroup}:lcpy:{container}"]
        return [f"--cgroup=/{self.home.cgroup}/{container}"]

    def run(
        self, *words: str | Path, container: str = "test", code: int | None = 0, **options: Any
    ) -> Completed:
        """`ctr run` of the BusyBox root: the options, ``--``, the program's words."""
        place = words.index("--")
        return self(
            "run",
            f"--runc-binary={lcpy_path()}",
            f"--runc-root={self.home.path}/runc",
            *self.cgroup(container),
            f"--fifo-dir={self.home.path}/fifo",
            "--env=PATH=/bin",
            *words[:place],
            "--rootfs",
            self.home.path / "rootfs",
            container,
            *words[place + 1 :],
            code=code,
            **options,
        )


@contextlib.contextmanager
def containerd_daemon(busybox_root: Path, *, systemd: bool = False) -> Iterator[Containerd]:
    """Run a containerd, with the BusyBox root beside it."""
    home = Home("containerd", systemd=systemd)
    containerd = Containerd(home)
    (home.path / "config.toml").write_text(
        f"""
        version = 2
        root = "{home.path}/root"
        state = "{home.path}/state"
        disabled_plugins = ["io.containerd.grpc.v1.cri"]
        [grpc]
        address = "{home.path}/containerd.sock"
        """
    )
    shutil.copytree(busybox_root, home.path / "rootfs", symlinks=True)
    try:
        home.start(
            "containerd",
            f"--config={home.path}/config.toml",
            ready=lambda: containerd("version", code=None).returncode == 0,
        )
        containerd.run("--rm", "--", "true")
        yield containerd
    finally:
        home.leave()


@pytest.fixture(scope="session")
def containerd_session(busybox_root: Path) -> Iterator[Containerd]:
    with containerd_daemon(busybox_root) as containerd:
        yield containerd


@pytest.fixture
def containerd(containerd_session: Containerd) -> Iterator[Engine]:
    """containerd; the test's containers are removed after it."""
    yield from containerd_session.guarded()


# --- Podman and Buildah ---------------------------------------------------------------------


class Podman(Engine):
    """Podman and Buildah, with one storage; the image is `localhost/bb`.

    They are run in a network namespace of their own, which has the bridges and the firewall of
    their networks, and in which "the host's" network is meant.
    """

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.parent = f"--cgroup-parent={home.parent}"  # conmon's too; no configuration says it
        self.network = home.path / "network"

    def words(self, *words: str | Path) -> list[str | Path]:
        return [*self.inside, program("podman"), "--runtime", lcpy_path(), *words]

    @property
    def inside(self) -> list[str | Path]:
        """Words before a command that is to run in their network namespace."""
        return ["nsenter", f"--net={self.network}"]

    def containers(self) -> list[str]:
        return self("ps", "--all", "--quiet").stdout.split()

    def remove(self, container: str) -> None:
        self("rm", "--force", "--time=0", container)

    def sleeper(self, *words: str) -> str:
        """Run a container that only waits; return its id."""
        done = self("run", "--detach", self.parent, *words, "localhost/bb", "sleep", "600")
        return done.stdout.strip()

    def left(self) -> set[str]:
        # The storage is mounted on itself, and not always unmounted.
        return super().left() - {f"mount {self.home.path}/storage/overlay"}

    def run(self, *words: str | Path, code: int | None = 0, **options: Any) -> Completed:
        """`podman run --rm`."""
        return self("run", "--rm", self.parent, *words, code=code, **options)

    def buildah(self, *words: str | Path, code: int | None = 0) -> Completed:
        """Run `buildah`."""
        done = self.home.run(*self.inside, program("buildah"), *words)
        assert code is None or done.returncode == code, done
        return done


def keep_storage(home: Home) -> None:
    """Have Podman keep its storage in its home, where it finds its containers.conf, too."""
    (home.path / "storage.conf").write_text(
        f"""
        [storage]
        driver = "overlay"
        graphroot = "{home.path}/storage"
        runroot = "{home.path}/run"
        """
    )
    home.env["CONTAINERS_CONF"] = str(home.path / "containers.conf")
    home.env["CONTAINERS_STORAGE_CONF"] = str(home.path / "storage.conf")


@contextlib.contextmanager
def podman_of_root(root_archive: Path, *, systemd: bool = False) -> Iterator[Podman]:
    """Podman and Buildah with the image, and with their cgroups made by systemd or directly."""
    home = Home("podman", systemd=systemd)
    # Limits that need no CAP_SYS_RESOURCE, locks that no other Podman has, and JSON in the log of
    # a runtime that this Podman does not know.
    (home.path / "containers.conf").write_text(
        f"""
        [containers]
        default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
        netns = "none"
        [engine]
        cgroup_manager = "{"systemd" if systemd else "cgroupfs"}"
        events_logger = "file"
        lock_type = "file"
        runtime_supports_json = ["lcpy"]
        tmp_dir = "{home.path}/tmp"
        [network]
        network_config_dir = "{home.path}/networks"
        """
    )
    keep_storage(home)
    podman = Podman(home)
    try:
        podman.network.touch()
        home.run("unshare", f"--net={podman.network}", "true")
        home.run(*podman.inside, program("ip"), "link", "set", "lo", "up")
        podman("import", root_archive, "localhost/bb")
        podman.run("localhost/bb", "true")
        yield podman
    finally:
        home.leave()


@pytest.fixture(scope="session")
def podman_session(root_archive: Path) -> Iterator[Podman]:
    with podman_of_root(root_archive) as podman:
        yield podman


@pytest.fixture
def podman(podman_session: Podman) -> Iterator[Engine]:
    """Podman; the test's containers are removed after it."""
    yield from podman_session.guarded()
