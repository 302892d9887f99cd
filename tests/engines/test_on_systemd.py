"""Engines where systemd keeps the cgroups, v2 alone: as they are by default on most hosts.

Each test is a whole story, told by the container itself, by its unit and by the engine: on the
machines that these are run on (`./dev test vm`) a container takes its seconds. There two processes
run the tests in turn, every second one. So those of Docker and containerd, and those of Podman,
take turns here: an engine is started once.
"""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import criu
from tests.engines import conftest as engines
from tests.engines.conftest import Docker, Engine, Podman, eventually, program

if TYPE_CHECKING:
    from tests.engines.conftest import Containerd

HOST = Path("/sys/fs/cgroup")
BB = "localhost/bb"
MIB = 1 << 20

pytestmark = pytest.mark.skipif(
    not Path("/run/systemd/private").exists() or not (HOST / "cgroup.controllers").exists(),
    reason="systemd does not run here, or not with cgroup v2",
)

# ── what systemd and the kernel have ────────────────────────────────────────────────────────────


class Systemd:
    """The host's systemd, or that of a user."""

    def __init__(self, user: str | None = None) -> None:
        self._before: list[str] = []
        self._words = ["systemctl"]
        if user is not None:
            runtime = f"/run/user/{pwd.getpwnam(user).pw_uid}"
            self._before = [program("setpriv"), f"--reuid={user}", f"--regid={user}"]
            self._before += ["--init-groups", "env", f"XDG_RUNTIME_DIR={runtime}"]
            self._words.append("--user")

    def __call__(self, *words: str) -> str:
        argv = [*self._before, *self._words, *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Some properties of a unit."""
        lines = self("show", *(f"--property={name}" for name in names), unit).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def cgroup(self, unit: str) -> Path:
        """Where a unit's cgroup is."""
        inner = self.show(unit, "ControlGroup")["ControlGroup"]
        assert inner, unit
        return Path(f"{HOST}{inner}")

    def units(self, *patterns: str) -> set[str]:
        """All units with such names, failed ones too."""
        lines = self("list-units", "--all", "--plain", "--no-legend", "--full", *patterns)
        return {line.split()[0] for line in lines.splitlines()}


SYSTEMD = Systemd()

# Limits, as engines' options, as the files that the container sees, and as its unit's properties.
OPTIONS = (
    *("--memory=64m", "--memory-swap=96m", "--memory-reservation=32m", "--pids-limit=50"),
    *("--cpus=0.5", "--cpu-shares=2048", "--cpuset-cpus=0", "--cpuset-mems=0"),
)
FILES = {
    "memory.max": f"{64 * MIB}",
    "memory.swap.max": f"{32 * MIB}",
    "memory.low": f"{32 * MIB}",
    "pids.max": "50",
    "cpu.max": "50000 100000",
    "cpu.weight": "174",
    "cpuset.cpus": "0",
    "cpuset.mems": "0",
}
PROPERTIES = {
    "MemoryMax": f"{64 * MIB}",
    "MemorySwapMax": f"{32 * MIB}",
    "MemoryLow": f"{32 * MIB}",
    "TasksMax": "50",
    "CPUQuotaPerSecUSec": "500ms",
    "CPUWeight": "174",
    "AllowedCPUs": "0",
    "AllowedMemoryNodes": "0",
}
# The same, and others, for `update`.
NEW_OPTIONS = (
    *("--memory=32m", "--memory-swap=48m", "--memory-reservation=16m", "--pids-limit=33"),
    *("--cpus=0.25", "--cpu-shares=512", "--cpuset-cpus=0-1"),
)
NEW_FILES = FILES | {
    "memory.max": f"{32 * MIB}",
    "memory.swap.max": f"{16 * MIB}",
    "memory.low": f"{16 * MIB}",
    "pids.max": "33",
    "cpu.max": "25000 100000",
    "cpu.weight": "59",
    "cpuset.cpus": "0-1",
}
NEW_PROPERTIES = PROPERTIES | {
    "MemoryMax": f"{32 * MIB}",
    "MemorySwapMax": f"{16 * MIB}",
    "MemoryLow": f"{16 * MIB}",
    "TasksMax": "33",
    "CPUQuotaPerSecUSec": "250ms",
    "CPUWeight": "59",
    "AllowedCPUs": "0-1",
}

# From inside: its own cgroup's files, below the directory $1, with their names.
SEE = "cd /sys/fs/cgroup$1; shift; for name; do echo $name $(cat $name); done"


def seen(engine: Engine, container: str, files: dict[str, str], place: str = "") -> dict[str, str]:
    """What a second process of a container reads in such files."""
    done = engine("exec", container, "sh", "-c", SEE, "sh", place, *files)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def without(values: dict[str, str], beginning: str) -> dict[str, str]:
    """All but those whose names begin so."""
    return {name: value for name, value in values.items() if not name.startswith(beginning)}


def is_frozen(cgroup: Path) -> bool:
    return "frozen 1" in (cgroup / "cgroup.events").read_text()


# ── the engines ─────────────────────────────────────────────────────────────────────────────────


def guarded(engine: Engine, systemd: Systemd, *patterns: str) -> Iterator[Engine]:
    """Remove a test's containers after it; hold that nothing is left, no unit either."""
    before = systemd.units(*patterns)
    yield from engine.guarded()
    eventually(lambda: systemd.units(*patterns) <= before, "the end of its units", 10)


@pytest.fixture(scope="module")
def docker_daemon(root_archive: Path) -> Iterator[Docker]:
    with engines.dockerd(root_archive, "--experimental", systemd=True) as docker:
        yield docker


@pytest.fixture
def docker(docker_daemon: Docker) -> Iterator[Engine]:
    yield from guarded(docker_daemon, SYSTEMD, "docker-*")


@pytest.fixture
def containerd(busybox_root: Path) -> Iterator[Engine]:
    with engines.containerd_daemon(busybox_root, systemd=True) as containerd:
        yield from guarded(containerd, SYSTEMD, "lcpy-task.scope")


@pytest.fixture(scope="module")
def podman_home(root_archive: Path) -> Iterator[Podman]:
    with engines.podman_of_root(root_archive, systemd=True) as podman:
        yield podman


@pytest.fixture
def podman(podman_home: Podman) -> Iterator[Engine]:
    yield from guarded(podman_home, SYSTEMD, "libpod*", "*-libpod_pod*")


# ── the stories ─────────────────────────────────────────────────────────────────────────────────


def test_docker_and_limits(docker: Docker) -> None:
    """As files and as properties, at the start, after an update, and after a second start."""
    assert docker("info", "--format={{.CgroupDriver}} {{.CgroupVersion}}").stdout == "systemd 2\n"
    container = docker.sleeper(*OPTIONS)
    unit = f"docker-{container}.scope"
    assert seen(docker, container, FILES) == FILES
    wanted = PROPERTIES | {
        "Description": f"lcpy container {container}",
        "Slice": docker.home.cgroup,
        "Delegate": "yes",
        "DevicePolicy": "strict",
    }
    assert SYSTEMD.show(unit, *wanted) == wanted
    assert docker("exec", container, "cat", "/proc/self/cgroup").stdout == "0::/\n"

    docker("update", *NEW_OPTIONS, container)
    assert SYSTEMD.show(unit, *NEW_PROPERTIES) == NEW_PROPERTIES
    SYSTEMD("daemon-reload")  # now it writes what it knows
    assert seen(docker, container, FILES) == NEW_FILES

    docker("pause", container)
    assert docker.state(container)["Status"] == "paused"
    assert is_frozen(SYSTEMD.cgroup(unit))
    assert "is paused" in docker("exec", container, "true", code=1).stderr
    docker("unpause", container)
    assert not is_frozen(SYSTEMD.cgroup(unit))

    shown = docker("stats", "--no-stream", "--format={{.MemUsage}} {{.PIDs}}", container)
    assert shown.stdout.endswith(" / 32MiB 1\n")
    assert docker("top", container, "-o", "pid,comm").stdout.split()[3] == "sleep"

    docker("stop", "--time=0", container)
    assert docker.state(container)["ExitCode"] == 137
    assert SYSTEMD.units(unit) == set()
    docker("start", container)
    assert seen(docker, container, FILES) == NEW_FILES
    docker("rm", "--force", container)
    assert SYSTEMD.units(unit) == set()


def test_podman_and_limits(podman: Podman) -> None:
    info = podman("info", "--format={{.Host.CgroupManager}} {{.Host.CgroupsVersion}}")
    assert info.stdout == "systemd v2\n"
    container = podman.sleeper(*OPTIONS)
    unit = f"libpod-{container}.scope"
    assert seen(podman, container, FILES) == FILES
    wanted = PROPERTIES | {"Slice": podman.home.cgroup, "Delegate": "yes"}
    assert SYSTEMD.show(unit, *wanted) == wanted
    assert podman("exec", container, "cat", "/proc/self/cgroup").stdout == "0::/\n"

    # This Podman can't change how many processes there may be.
    podman("update", *(each for each in NEW_OPTIONS if "pids" not in each), container)
    wanted = NEW_PROPERTIES | {"TasksMax": "50"}
    assert SYSTEMD.show(unit, *wanted) == wanted
    assert seen(podman, container, FILES) == NEW_FILES | {"pids.max": "50"}

    podman("pause", container)
    assert is_frozen(SYSTEMD.cgroup(unit))
    podman("unpause", container)
    shown = podman("stats", "--no-stream", "--format={{.MemUsage}} {{.PIDs}}", container)
    assert shown.stdout.endswith(" / 67.11MB 1\n")  # the limit that it was made with

    podman("stop", "--time=0", container)
    assert SYSTEMD.units(unit) == set()
    podman("start", container)
    podman("rm", "--force", "--time=0", container)
    assert SYSTEMD.units("libpod*") == set()


def test_docker_out_of_memory_and_again(docker: Docker) -> None:
    """One whose process is killed for its memory, and one that starts at once in the same unit."""
    # Not its first process: systemd takes its cgroup away then, with the news that are in there,
    # and whether Docker has read them before is a race, with any runtime.
    hungry = docker.sleeper("--memory=20m")
    docker("exec", hungry, "tail", "/dev/zero", code=137)

    def told() -> bool:
        words = ("--filter=event=oom", "--since=1h", f"--until={int(time.time())}")
        return hungry in docker("events", *words).stdout

    eventually(told, "the news of it")
    docker("stop", "--time=0", hungry)
    assert docker.state(hungry)["OOMKilled"] is True

    options = ("--detach", "--network=none", "--restart=on-failure:2", "--name=again")
    container = docker("run", *options, "bb", "sh", "-c", "echo x; exit 3").stdout.strip()
    eventually(lambda: docker.state("again")["Status"] == "exited", "its last end")
    assert docker.state("again")["ExitCode"] == 3
    assert docker("logs", "again").stdout == "x\n" * 3
    assert SYSTEMD.units(f"docker-{container}.scope") == set()


def test_podmans_pod(podman: Podman, tmp_path: Path) -> None:
    """A slice of its own, with a limit for all of its containers. Ids of its own; and a build."""
    first = ("--infra-image", BB, "--infra-command=/bin/sleep 600", "--share=ipc,net,uts")
    pod = podman("pod", "create", podman.parent, *first, "--memory=96m", "pod").stdout.strip()
    try:
        container = podman("run", "--detach", "--pod=pod", "--memory=64m", BB, "sleep", "600")
        container_id = container.stdout.strip()
        unit = f"libpod-{container_id}.scope"
        slice_ = SYSTEMD.show(unit, "Slice")["Slice"]
        assert slice_ == f"{podman.home.cgroup.removesuffix('.slice')}-libpod_pod_{pod}.slice"
        assert SYSTEMD.show(slice_, "MemoryMax") == {"MemoryMax": f"{96 * MIB}"}
        limit = {"memory.max": f"{64 * MIB}"}
        assert seen(podman, container_id, limit) == limit
        podman("pod", "pause", "pod")
        assert is_frozen(SYSTEMD.cgroup(unit))
        podman("pod", "unpause", "pod")
        podman("exec", container_id, "true")
    finally:
        podman("pod", "rm", "--force", "--time=0", "pod")
    assert SYSTEMD.units(unit, slice_) == set()

    maps = ("--uidmap=0:100000:65536", "--gidmap=0:100000:65536")
    script = "cat /proc/self/uid_map /proc/self/cgroup; stat -c %u /sys/fs/cgroup/cgroup.procs"
    done = podman.run(*maps, "--systemd=always", BB, "sh", "-c", script)
    assert done.stdout.split() == ["0", "100000", "65536", "0::/", "0"]

    (tmp_path / "Dockerfile").write_text(f"FROM {BB}\nRUN cat /proc/self/cgroup >/built\n")
    words = ("--network=none", "--tag=built", str(tmp_path))
    podman.buildah("bud", "--runtime", engines.lcpy_path(), *words)
    assert podman.run("built", "cat", "/built").stdout.startswith("0::/")


def test_docker_in_the_hosts_cgroup_namespace(docker: Docker) -> None:
    """It sees the host's whole tree, and can change nothing there."""
    container = docker.sleeper(*OPTIONS, "--cgroupns=host")
    inner = f"/{docker.home.cgroup}/docker-{container}.scope"
    assert docker("exec", container, "cat", "/proc/self/cgroup").stdout == f"0::{inner}\n"
    assert seen(docker, container, FILES, inner) == FILES
    done = docker("exec", container, "mkdir", f"/sys/fs/cgroup{inner}/new", code=1)
    assert "Read-only file system" in done.stderr


def test_podman_of_a_user(rootless: "UsersPodman") -> None:
    """His subordinate ids, his systemd, and the network that a user can have."""
    info = "{{.Host.Security.Rootless}} {{.Host.CgroupManager}} {{.Store.GraphDriverName}}"
    assert rootless("info", f"--format={info}").stdout == "true systemd overlay\n"
    # Nobody hands him processors and memory nodes.
    files, properties = without(FILES, "cpuset"), without(PROPERTIES, "Allowed")
    container = rootless.sleeper(*(each for each in OPTIONS if "cpuset" not in each))
    unit = f"libpod-{container}.scope"
    assert seen(rootless, container, files) == files
    wanted = properties | {"Slice": rootless.home.cgroup, "Delegate": "yes"}
    assert rootless.systemd.show(unit, *wanted) == wanted
    script = "cat /proc/self/uid_map /proc/self/cgroup; touch /f; chown 7:8 /f; stat -c %u:%g /f"
    shown = rootless("exec", container, "sh", "-c", f"{script}; ip -o link | grep -c tap0").stdout
    maps = f"0 {rootless.user.pw_uid} 1 1 100000 65536"
    assert shown.split() == [*maps.split(), "0::/", "7:8", "1"]
    assert rootless("exec", "--user=1000:7", container, "id", "-u").stdout == "1000\n"

    new = (each for each in NEW_OPTIONS if "cpuset" not in each and "pids" not in each)
    rootless("update", *new, container)
    wanted = without(NEW_FILES, "cpuset") | {"pids.max": "50"}
    assert seen(rootless, container, files) == wanted
    wanted = without(NEW_PROPERTIES, "Allowed") | {"TasksMax": "50"}
    assert rootless.systemd.show(unit, *wanted) == wanted
    rootless("pause", container)
    assert is_frozen(rootless.systemd.cgroup(unit))
    rootless("unpause", container)
    shown = rootless("stats", "--no-stream", "--format={{.MemUsage}} {{.PIDs}}", container).stdout
    assert shown.endswith(" / 67.11MB 1\n")  # the limit that it was made with

    rootless("stop", "--time=0", container)
    rootless("start", container)
    rootless("rm", "--force", "--time=0", container)
    assert rootless.systemd.units("libpod*") == set()
    assert container not in os.listdir(f"/run/user/{rootless.user.pw_uid}/lcpy")


def test_containerd(containerd: "Containerd") -> None:
    limit = f"--memory-limit={64 * MIB}"
    containerd.run("--detach", "--seccomp", limit, "--", "sleep", "600", container="task")
    unit = "lcpy-task.scope"
    wanted = {"MemoryMax": f"{64 * MIB}", "Slice": containerd.home.cgroup}
    assert SYSTEMD.show(unit, *wanted) == wanted
    execute = ("task", "exec", "--exec-id=second", f"--fifo-dir={containerd.home.path}/fifo")
    done = containerd(*execute, "task", "sh", "-c", "cat /proc/self/cgroup; exit 7", code=7)
    assert done.stdout == f"0::/{containerd.home.cgroup}/{unit}\n"  # ctr makes no namespace of it
    containerd("task", "pause", "task")
    assert is_frozen(SYSTEMD.cgroup(unit))
    containerd("task", "resume", "task")
    metrics = containerd("task", "metrics", "task").stdout
    assert f"memory.usage_limit {64 * MIB}" in " ".join(metrics.split())
    containerd("task", "kill", "--signal=SIGKILL", "task")
    eventually(lambda: " STOPPED" in containerd("task", "list").stdout, "the end of the task")
    containerd("task", "rm", "task")
    containerd("container", "rm", "task")
    assert SYSTEMD.units(unit) == set()


def test_a_users_pod_and_his_own_ids(rootless: "UsersPodman", tmp_path: Path) -> None:
    """A pod; a container in which he is himself; and one that keeps its own cgroups, as systemd."""
    first = ("--infra-image", BB, "--infra-command=/bin/sleep 600", "--share=ipc,net,uts,pid")
    rootless("pod", "create", rootless.parent, *first, "--hostname=pod-host", "pod")
    try:
        done = rootless("run", "--rm", "--pod=pod", BB, "sh", "-c", "ps -o args; hostname")
        assert done.stdout.split()[:4] == ["COMMAND", "/bin/sleep", "600", "sh"]
        assert done.stdout.endswith("\npod-host\n")
    finally:
        rootless("pod", "rm", "--force", "--time=0", "pod")
    assert rootless.systemd.units("libpod*", "*-libpod_pod*") == set()

    shared = rootless.home.path / "shared"
    shared.mkdir()
    os.chown(shared, rootless.user.pw_uid, rootless.user.pw_gid)
    words = ("--userns=keep-id", "--network=none", f"--volume={shared}:/shared")
    done = rootless.run(*words, BB, "sh", "-c", "id -u; touch /shared/file")
    assert done.stdout == f"{rootless.user.pw_uid}\n"
    assert (shared / "file").stat().st_uid == rootless.user.pw_uid

    container = rootless.sleeper("--systemd=always", "--network=none", "--memory=64m")
    script = "cd /sys/fs/cgroup; mkdir a; echo 1 >a/cgroup.procs; echo 0 >a/cgroup.procs"
    script += "; echo +memory >cgroup.subtree_control; cat a/memory.max"
    assert rootless("exec", container, "sh", "-c", script).stdout == "max\n"
    assert rootless("exec", container, "cat", "/proc/self/cgroup").stdout == "0::/a\n"


# ── a user's own Podman ─────────────────────────────────────────────────────────────────────────

USER = "tester"  # of the virtual machine


class UsersPodman(Podman):
    """Podman of a user who is not root, in his own systemd session and with his own lcpy."""

    def __init__(self, home: engines.Home) -> None:
        super().__init__(home)
        self.user = pwd.getpwnam(USER)
        self.systemd = Systemd(USER)
        self.lcpy = f"{self.user.pw_dir}/lcpy/.venv/bin/lcpy"
        home.env["XDG_RUNTIME_DIR"] = f"/run/user/{self.user.pw_uid}"

    def words(self, *words: str | Path) -> list[str | Path]:
        ids = (f"--reuid={USER}", f"--regid={USER}", "--init-groups")
        # What a command leaves running, as the helper of a network, outlives it as after a login.
        service = ("--user", "--quiet", "--pipe", "--wait", "--collect", "-pKillMode=process")
        names = ("CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF")
        variables = [f"--setenv={name}={self.home.env[name]}" for name in names]
        command = ("podman", "--runtime", self.lcpy)
        return ["setpriv", *ids, "systemd-run", *service, *variables, *command, *words]


@pytest.fixture(scope="module")
def users_podman(root_archive: Path) -> Iterator[UsersPodman]:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        pytest.skip(f"there is no user {USER} here")
    home = engines.Home("podman", systemd=True)
    podman = UsersPodman(home)
    # His state is not where his other containers, if he had some, have theirs.
    (home.path / "containers.conf").write_text(f'[engine]\ntmp_dir = "{home.path}/tmp"\n')
    engines.keep_storage(home)
    shutil.copy2(root_archive, home.path / "root.tar")
    for path in (home.path, *home.path.iterdir()):
        os.chown(path, podman.user.pw_uid, podman.user.pw_gid)
    try:
        podman("import", home.path / "root.tar", BB)
        yield podman
        podman("system", "migrate")  # ends the process that keeps his namespaces
    finally:
        podman.systemd("stop", home.cgroup)
        home.leave()


@pytest.fixture
def rootless(users_podman: UsersPodman) -> Iterator[Engine]:
    """Podman of the machine's user; the test's containers are removed after it."""
    yield from guarded(users_podman, users_podman.systemd, "libpod*", "*-libpod_pod*")


# ── checkpoints ─────────────────────────────────────────────────────────────────────────────────

COUNTING = "i=0; while :; do i=$((i + 1)); echo $i >/dev/shm/count; sleep 0.1; done"


def counted(engine: Engine, container: str) -> int:
    return int(engine("exec", container, "cat", "/dev/shm/count", code=None).stdout or 0)


@pytest.fixture
def needs_criu() -> None:
    """What criu leaves of the host's cgroup2, `cli/test_checkpoint` looks at."""
    if why := criu.broken():
        pytest.skip(why)


def test_dockers_checkpoint(docker: Docker, needs_criu: None) -> None:
    """It goes on where it was."""
    words = ("--detach", "--network=none", "bb", "sh", "-c", COUNTING)
    container = docker("run", *words).stdout.strip()
    eventually(lambda: counted(docker, container) > 0, "its first number")
    docker("checkpoint", "create", "--leave-running", container, "first")
    reached = counted(docker, container)
    docker("checkpoint", "create", container, "second")
    eventually(lambda: docker.state(container)["Status"] == "exited", "its end")
    assert SYSTEMD.units(f"docker-{container}.scope") == set()
    docker("start", "--checkpoint=second", container)
    assert docker.state(container)["Status"] == "running"
    assert counted(docker, container) >= reached > 0
    docker("rm", "--force", container)


def test_podmans_checkpoint(podman: Podman, needs_criu: None, tmp_path: Path) -> None:
    """It goes on where it was: in its place, and from an archive as another container."""

    def status() -> str:
        form = "--format={{.State.Status}} {{.State.Checkpointed}}"
        return podman("inspect", form, container).stdout.strip()

    words = ("--detach", podman.parent, BB, "sh", "-c", COUNTING)
    container = podman("run", *words).stdout.strip()
    eventually(lambda: counted(podman, container) > 0, "its first number")
    podman("container", "checkpoint", container)
    assert status() == "exited true"
    assert SYSTEMD.units(f"libpod-{container}.scope") == set()
    podman("container", "restore", container)
    assert status() == "running false"
    reached = counted(podman, container)
    assert reached > 1
    archive = tmp_path / "checkpoint.tar"
    podman("container", "checkpoint", "--leave-running", "--export", archive, container)
    eventually(lambda: counted(podman, container) > reached, "more of its numbers")
    podman("rm", "--force", "--time=0", container)
    podman("container", "restore", "--import", archive, "--name=again")
    assert counted(podman, "again") >= reached
    podman("rm", "--force", "--time=0", "again")
