"""Docker of a user who is not root, by RootlessKit, with lcpy as its default runtime.

The user is the host's `daemon`, with subordinate ids for this run alone. His network is the host's,
and where the controllers' hierarchies are v1, no cgroup can be his.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import copy_checkout
from tests.engines.conftest import Docker, Home, eventually
from tests.engines.test_docker import PROBE, comparable

if TYPE_CHECKING:
    from tests.engines.conftest import Engine

USER = "daemon"

SCRIPT = """
mount --bind "$0/ids" /etc/subuid
mount --bind "$0/ids" /etc/subgid
exec setpriv --reuid=daemon --regid=daemon --clear-groups --pdeathsig TERM "$@"
"""
# In namespaces of its own, where what Docker wants to make in /run is not the host's.
INSIDE = 'rm -f /run/docker /run/containerd /run/xtables.lock; exec dockerd "$@"'
ROOTLESSKIT = ("--net=host", "--copy-up=/etc", "--copy-up=/run", "--propagation=rslave")


@pytest.fixture(scope="module")
def rootless_session(root_archive: Path) -> Iterator[Docker]:
    home = Home("docker")
    docker = Docker(home)
    theirs = home.path / "user"
    home.env |= {"HOME": str(theirs), "XDG_RUNTIME_DIR": str(theirs / "run")}
    try:
        # His commands may not be where the checkout is.
        copy_checkout(home.path / "lcpy")
        (home.path / "ids").write_text(f"{USER}:100000:65536\n")
        for path in (theirs, theirs / "run"):
            path.mkdir(mode=0o700)
            shutil.chown(path, USER, USER)
        (home.path / "docker.sock").symlink_to(theirs / "docker.sock")
        home.start(
            *("unshare", "--mount", "sh", "-ec", SCRIPT, home.path),
            *("rootlesskit", *ROOTLESSKIT, f"--state-dir={theirs}/rootlesskit"),
            *("sh", "-ec", INSIDE, "sh"),
            *("--rootless", f"--add-runtime=lcpy={home.path}/lcpy/bin/lcpy"),
            *("--default-runtime=lcpy", f"--data-root={theirs}/data"),
            *(f"--exec-root={theirs}/run/docker", f"--pidfile={theirs}/docker.pid"),
            *(f"--host=unix://{theirs}/docker.sock", "--storage-driver=overlay2"),
            *("--bridge=none", "--iptables=false", "--ip6tables=false", "--userland-proxy=false"),
            ready=lambda: docker("version", code=None).returncode == 0,
        )
        docker("import", root_archive, "bb")
        docker.run("bb", "true")
        yield docker
    finally:
        home.leave()


@pytest.fixture
def docker(rootless_session: Docker) -> "Iterator[Engine]":
    """A user's Docker; the test's containers are removed after it."""
    yield from rootless_session.guarded()


OF_CGROUPS = re.compile(r"sort: |/sys/fs/cgroup|\w+/[\w.]+:")


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--read-only --tmpfs=/tmp:size=1m,mode=1777 --hostname=other",
        "--user=1000:7 --workdir=/tmp --env=A=b --security-opt=no-new-privileges",
        "--cap-drop=ALL --cap-add=NET_RAW --security-opt=seccomp=unconfined",
        "--privileged",
        "--device=/dev/fuse --ulimit=nofile=100:200 --oom-score-adj=500",
        "--cgroupns=host",
        "--init --mount=type=volume,destination=/volume --volume=/usr:/host:ro",
    ],
)
def test_a_container_sees_what_it_sees_with_runc(docker: Docker, options: str) -> None:
    words = ("--hostname=probe", *options.split(), "bb", "sh", "-c", PROBE)
    seen = []
    for runtime in ("lcpy", "runc"):
        lines = comparable(docker.run(f"--runtime={runtime}", *words).stdout)
        # Where it has no cgroup, runc shows it the host's, and we show it none.
        seen.append([line for line in lines if not OF_CGROUPS.match(line)])
    assert seen[0] == seen[1]
    assert len(seen[0]) > 60


def owner(pid: str) -> int:
    """Whose a process is, on the host."""
    return os.stat(f"/proc/{pid}").st_uid


def test_whose_processes_they_are(docker: Docker) -> None:
    """The container's root is the user himself, and its others are his subordinate ids."""
    info = docker("info", "--format={{.SecurityOptions}} {{.CgroupDriver}} {{.DefaultRuntime}}")
    assert "name=rootless" in info.stdout
    assert info.stdout.endswith(" none lcpy\n")
    container = docker.sleeper()
    maps = docker("exec", container, "cat", "/proc/self/uid_map").stdout.split()
    assert maps == ["0", "1", "1", "1", "100000", "65536"]
    assert owner(str(docker.state(container)["Pid"])) == 1
    another = docker.sleeper("--user=1000")
    assert owner(str(docker.state(another)["Pid"])) == 100999
    assert (
        "Operation not permitted"
        in docker("exec", container, "mknod", "/x", "b", "8", "0", code=1).stderr
    )


def test_the_life_of_a_container(docker: Docker) -> None:
    script = "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done"
    words = ("--detach", "--network=none", "--name=life", "bb", "sh", "-c", script)
    docker("run", *words)
    eventually(lambda: docker("logs", "life").stdout == "up\n", "its word")
    assert docker("exec", "--user=user", "life", "id", "-un").stdout == "user\n"
    done = docker("exec", "life", "nosuch", code=126)
    assert 'exec: "nosuch": executable file not found in $PATH' in done.stdout + done.stderr
    docker("stop", "life")
    assert docker.state("life")["ExitCode"] == 3
    docker("start", "life")
    eventually(lambda: docker("logs", "life").stdout == "up\n" * 2, "its word")
    docker("kill", "life")
    assert docker.state("life")["ExitCode"] == 137
    docker("rm", "life")


def test_what_takes_a_cgroup(docker: Docker) -> None:
    """There is none: limits are left out by Docker; pause and top are refused, as with runc."""
    for runtime in ("lcpy", "runc"):
        docker.run(f"--runtime={runtime}", "--memory=32m", "bb", "true")
        container = docker.sleeper(f"--runtime={runtime}")
        refused = docker("pause", container, code=1).stderr
        assert "cannot toggle freezer: cgroups not configured for container" in refused
        docker("top", container, code=1)
        assert docker.state(container)["Status"] == "running"
