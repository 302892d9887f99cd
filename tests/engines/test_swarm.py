"""Docker as a swarm of one, with lcpy as its runtime: services, whose tasks come and go."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.conftest import Docker, Home, dockerd, eventually

if TYPE_CHECKING:
    from tests.engines.conftest import Engine

# In a network namespace of its own, where a swarm may leave its bridge, and of whose network "the
# host's" is meant.
BEFORE = ("unshare", "--net", "sh", "-ec", 'ip link set lo up; exec "$@"', "sh")
WAIT = ("sleep", "600")


class Swarm(Docker):
    """A swarm with this node alone; what it has are services.

    Attributes:
        image: the image's id: for a name each task would first ask a registry
    """

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.image = self("images", "--quiet", "--no-trunc", "bb").stdout.strip()
        self("swarm", "init", "--advertise-addr=127.0.0.1", "--listen-addr=127.0.0.1:2377")
        self("swarm", "update", "--task-history-limit=0")

    def containers(self) -> list[str]:
        return self("service", "ls", "--quiet").stdout.split()

    def remove(self, container: str) -> None:
        self("service", "rm", container)

    def service(
        self, *options: str, words: tuple[str, ...] = WAIT, name: str = "service", wait: bool = True
    ) -> None:
        """Create a service, and wait until all of its tasks run."""
        how = ("--update-monitor=10ms", "--rollback-monitor=10ms") if wait else ("--detach",)
        common = ("--quiet", "--no-resolve-image", "--stop-signal=KILL", f"--name={name}")
        if not any("--network" in option for option in options):
            options = ("--network=host", *options)
        self("service", "create", *common, *how, *options, self.image, *words)

    def update(self, *options: str) -> None:
        """Update the service, and wait until that is done."""
        self("service", "update", "--quiet", *options, "service")

    def tasks(self, name: str = "service") -> list[str]:
        """The ids of the containers of its tasks that run."""
        label = f"--filter=label=com.docker.swarm.service.name={name}"
        return self("ps", "--quiet", "--no-trunc", label).stdout.split()

    def inspect(self, container: str) -> dict[str, Any]:
        """What `docker inspect` says of a container."""
        found: dict[str, Any] = json.loads(self("inspect", container).stdout)[0]
        return found


@pytest.fixture(scope="module")
def swarm_session(root_archive: Path) -> Iterator[Swarm]:
    with dockerd(root_archive, before=BEFORE) as docker:
        swarm = Swarm(docker.home)
        swarm.service()  # its storage's directories last
        swarm.remove("service")
        eventually(lambda: not swarm("ps", "--quiet").stdout, "the end of the first")
        yield swarm


@pytest.fixture
def swarm(swarm_session: Swarm) -> "Iterator[Engine]":
    """A swarm; the test's services are removed after it."""
    yield from swarm_session.guarded()


def test_what_a_task_gets(swarm: Swarm) -> None:
    """Limits, a secret, a configuration, a user, and what templates make."""
    for kind, text in (("secret", "a secret"), ("config", "a config")):
        swarm(kind, "create", "it", "-", stdin=text)
    swarm.service(
        *("--limit-memory=64m", "--limit-cpu=0.5", "--limit-pids=50", "--init"),
        *("--secret=source=it,target=it,uid=1000,mode=0400", "--config=source=it,target=/it"),
        *("--user=1000", "--read-only", "--cap-drop=ALL", "--env=SLOT={{.Task.Slot}}"),
        *("--mount=type=tmpfs,target=/tmp", "--ulimit=nofile=100:200", "--workdir=/tmp"),
        "--health-cmd=test -e /it",
        "--health-interval=100ms",
    )
    (task,) = swarm.tasks()
    assert swarm.inspect(task)["HostConfig"]["Runtime"] == "lcpy"
    script = """
        id -u; pwd; echo $SLOT; cat /run/secrets/it; echo; cat /it; echo
        stat -c %u:%a /run/secrets/it
        touch /in-root || touch /tmp/file && echo made
        grep -E ^Cap[EB] /proc/self/status; ulimit -n
        cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max
    """
    seen = swarm("exec", task, "sh", "-c", script).stdout.split("\n")
    assert seen[:7] == ["1000", "/tmp", "1", "a secret", "a config", "1000:400", "made"]
    assert seen[7:9] == [f"{name}:\t{0:016x}" for name in ("CapEff", "CapBnd")]
    assert seen[9:] == ["100", f"{64 << 20}", "50000", "50", ""]
    eventually(lambda: swarm.state(task)["Health"]["Status"] == "healthy", "its health")
    swarm.remove("service")
    for kind in ("secret", "config"):
        swarm(kind, "rm", "it")


def test_scale_and_logs(swarm: Swarm) -> None:
    swarm.service("--replicas=2", words=("sh", "-c", "echo hello; exec sleep 600"))
    first = set(swarm.tasks())
    assert len(first) == 2

    def scale(number: int) -> None:
        swarm("service", "scale", "--detach", f"service={number}")
        eventually(lambda: len(swarm.tasks()) == number, f"{number} tasks")

    scale(5)
    assert first < set(swarm.tasks())
    eventually(lambda: swarm("service", "logs", "service").stdout.count("hello") == 5, "words")
    scale(0)


def test_a_rolling_update_and_back(swarm: Swarm) -> None:
    """One task after the other, without a time in which none runs."""
    swarm.service("--replicas=2", "--env=A=1", "--update-order=start-first")
    first = set(swarm.tasks())

    def values() -> set[str]:
        return {swarm("exec", task, "sh", "-c", "echo $A").stdout for task in swarm.tasks()}

    assert values() == {"1\n"}
    swarm.update("--env-add=A=2", "--limit-memory=32m")
    eventually(lambda: len(swarm.tasks()) == 2, "the end of the old ones")
    second = set(swarm.tasks())
    assert not first & second
    assert values() == {"2\n"}
    swarm("service", "rollback", "--detach", "service")
    eventually(lambda: not second & set(swarm.tasks()), "the end of the new ones")
    eventually(lambda: len(swarm.tasks()) == 2, "others like the first")
    assert values() == {"1\n"}
    assert {swarm.inspect(task)["HostConfig"]["Memory"] for task in swarm.tasks()} == {0}


def test_a_task_that_ends_is_begun_anew(swarm: Swarm) -> None:
    swarm.service("--restart-delay=0s")
    (first,) = swarm.tasks()
    swarm("kill", first)
    eventually(lambda: swarm.tasks() not in ([], [first]), "another one")
    (second,) = swarm.tasks()
    assert swarm("exec", second, "echo", "again").stdout == "again\n"


def test_a_job(swarm: Swarm) -> None:
    """Tasks that run to their ends, two at a time."""
    options = ("--mode=replicated-job", "--replicas=4", "--max-concurrent=2", "--restart-delay=0s")
    swarm.service(*options, words=("sh", "-c", "echo done"), wait=False)
    eventually(lambda: swarm("service", "logs", "service").stdout.count("done") == 4, "all ends")
    eventually(lambda: "(4/4 completed)" in swarm("service", "ls").stdout, "news of them")


def test_an_overlay_network(swarm: Swarm) -> None:
    """Two services see each other by name; without ipvs in the kernel as round robin in its DNS."""
    swarm("network", "create", "--driver=overlay", "net")
    try:
        for name in ("one", "two"):
            swarm.service("--network=net", "--endpoint-mode=dnsrr", name=name)
        (one,), (two,) = swarm.tasks("one"), swarm.tasks("two")
        address = swarm.inspect(two)["NetworkSettings"]["Networks"]["net"]["IPAddress"]
        done = swarm("exec", one, "ping", "-c", "1", "-W", "5", "two")
        assert f"({address})" in done.stdout
    finally:
        for name in swarm.containers():
            swarm.remove(name)
        eventually(lambda: not swarm("ps", "--quiet").stdout, "the end of all")
        eventually(lambda: swarm("network", "rm", "net", code=None).returncode == 0, "its end")
