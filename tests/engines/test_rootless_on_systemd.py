"""Docker of a user who is not root, as a service of his own systemd, which keeps the cgroups.

As in test_on_systemd.py, a test is a whole story.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import test_on_systemd as on_systemd
from tests.engines.conftest import PATH, Docker, Engine, Home, eventually
from tests.engines.test_on_systemd import MIB, NEW_OPTIONS, USER, Systemd, is_frozen, seen

pytestmark = on_systemd.pytestmark

# Debian's, which sets up RootlessKit with a network of slirp4netns.
STARTER = "/usr/share/docker.io/contrib/dockerd-rootless.sh"
SERVICE = f"lcpy-test-{os.getpid()}-dockerd"


class UsersDocker(Docker):
    """Docker of the machine's user, with his own lcpy."""

    def __init__(self, home: Home, user: pwd.struct_passwd) -> None:
        super().__init__(home)
        self.systemd = Systemd(user.pw_name)
        self.lcpy = f"{user.pw_dir}/lcpy/.venv/bin/lcpy"

    def start_daemon(self) -> None:
        """Start it as a user's service, and wait until it is ready."""
        path = self.home.path
        ids = (f"--reuid={USER}", f"--regid={USER}", "--init-groups")
        runtime = self.home.env["XDG_RUNTIME_DIR"]
        self.home.run(
            *("setpriv", *ids, "env", f"XDG_RUNTIME_DIR={runtime}"),
            *("systemd-run", "--user", "--quiet", f"--unit={SERVICE}", "--property=Delegate=yes"),
            *(f"--setenv=PATH={PATH}", STARTER),
            *(f"--add-runtime=lcpy={self.lcpy}", "--default-runtime=lcpy"),
            *(f"--data-root={path}/data", f"--exec-root={path}/exec"),
            *(f"--pidfile={path}/docker.pid", f"--host=unix://{path}/docker.sock"),
            *("--bridge=none", "--iptables=false", "--ip6tables=false"),
        )
        eventually(lambda: self("version", code=None).returncode == 0, "the user's daemon")


@pytest.fixture(scope="module")
def users_docker(root_archive: Path) -> Iterator[UsersDocker]:
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        pytest.skip(f"there is no user {USER} here")
    for module in ("overlay", "tun"):
        subprocess.run(["modprobe", module], check=True)
    home = Home("docker", systemd=True)
    home.env["XDG_RUNTIME_DIR"] = f"/run/user/{user.pw_uid}"
    os.chown(home.path, user.pw_uid, user.pw_gid)
    docker = UsersDocker(home, user)
    shutil.copy2(root_archive, home.path / "root.tar")
    try:
        docker.start_daemon()
        docker("import", home.path / "root.tar", "bb")
        yield docker
    finally:
        docker.systemd("stop", f"{SERVICE}.service")
        home.leave()


@pytest.fixture
def docker(users_docker: UsersDocker) -> Iterator[Engine]:
    """A user's Docker; the test's containers are removed after it."""
    yield from on_systemd.guarded(users_docker, users_docker.systemd, "docker-*")


def test_limits_of_a_user(docker: UsersDocker) -> None:
    """In a scope of his own systemd, with the controllers that he has; frozen, changed, gone. And
    one that is killed for its memory.
    """
    info = "--format={{.CgroupDriver}} {{.CgroupVersion}} {{.SecurityOptions}}"
    assert docker("info", info).stdout.startswith("systemd 2 ")
    assert "name=rootless" in docker("info", info).stdout
    container = docker.sleeper("--memory=64m", "--memory-swap=96m", "--pids-limit=50")
    unit = f"docker-{container}.scope"
    wanted = {"Description": f"lcpy container {container}", "Slice": "user.slice"}
    assert docker.systemd.show(unit, *wanted) == wanted
    files = {"memory.max": f"{64 * MIB}", "memory.swap.max": f"{32 * MIB}", "pids.max": "50"}
    assert seen(docker, container, files) == files
    maps = docker("exec", container, "cat", "/proc/self/uid_map", "/proc/self/cgroup").stdout
    assert maps.split() == ["0", "1000", "1", "1", "100000", "65536", "0::/"]

    docker("update", *(each for each in NEW_OPTIONS if "cpu" not in each), container)
    files = {"memory.max": f"{32 * MIB}", "memory.swap.max": f"{16 * MIB}", "pids.max": "33"}
    assert seen(docker, container, files) == files
    docker("pause", container)
    assert is_frozen(docker.systemd.cgroup(unit))
    docker("unpause", container)
    assert docker("top", container, "-o", "pid,comm").stdout.split()[3] == "sleep"
    docker("stop", "--time=0", container)
    assert docker.state(container)["ExitCode"] == 137
    assert docker.systemd.units(unit) == set()

    # RootlessKit's network, which Docker takes for the host's.
    script = "ip -o link; exit 3"
    done = docker("run", "--rm", "--network=host", "bb", "sh", "-c", script, code=3)
    assert ": tap0: " in done.stdout

    hungry = docker.sleeper("--memory=20m")
    docker("exec", hungry, "tail", "/dev/zero", code=137)
    docker("stop", "--time=0", hungry)
    eventually(lambda: docker.state(hungry)["OOMKilled"], "the news of it")
