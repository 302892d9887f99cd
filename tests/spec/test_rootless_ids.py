"""A user with subordinate ids and cgroups of his own: a whole range is mapped, limits hold.

`./dev test vm --user` has such a user, in a session of his own systemd's. What a user can do who
has neither is in test_rootless.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from libcontainer_py.spec import default

if TYPE_CHECKING:
    from tests.conftest import Bundle, Completed, Config, Lcpy

UID, GID = os.geteuid(), os.getegid()
MIB = 1 << 20

pytestmark = pytest.mark.skipif(
    UID == 0 or f"/user@{UID}.service/" not in Path("/proc/self/cgroup").read_text(),
    reason="only for a user in a session of systemd's, who has subordinate ids",
)


def subordinate(kind: str) -> tuple[int, int]:
    """The first range of ids that he may map, and how many: subuid(5)."""
    for line in Path(f"/etc/sub{kind}").read_text().splitlines():
        name, first, count = line.split(":")
        if name == os.environ["USER"]:
            return int(first), int(count)
    raise LookupError(kind)


def delegated() -> str:
    """The cgroup of his systemd, below which all is his."""
    own = Path("/proc/self/cgroup").read_text().strip().removeprefix("0::")
    return own[: own.index(".service") + len(".service")]


class Rootless:
    """The guarded command, with what `lcpy spec --rootless` writes, and all ids that he may map."""

    def __init__(self, lcpy: "Lcpy", bundle: "Bundle") -> None:
        self.lcpy = lcpy
        self._bundle = bundle

    def bundle(self, *args: str, change: "Callable[[Config], object] | None" = None) -> Path:
        def changed(config: "Config") -> None:
            config |= default.default(rootless=True)
            config["process"] |= {"args": list(args), "terminal": False}
            for kind, own in (("uid", UID), ("gid", GID)):
                first, count = subordinate(kind)
                config["linux"][f"{kind}Mappings"] = [
                    {"containerID": 0, "hostID": own, "size": 1},
                    {"containerID": 1, "hostID": first, "size": count},
                ]
            if change is not None:
                change(config)

        return self._bundle(*args, change=changed)

    def run(self, script: str, change: "Callable[[Config], object] | None" = None) -> "Completed":
        bundle = self.bundle("sh", "-c", script, change=change)
        return self.lcpy("run", "--bundle", bundle, self.lcpy.new_id())

    def lines(self, script: str, change: "Callable[[Config], object] | None" = None) -> list[str]:
        done = self.run(script, change)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def refusal(self, change: "Callable[[Config], object]") -> str:
        """The one line that says why not; nothing of the container is left (see `lcpy`)."""
        container = self.lcpy.new_id()
        done = self.lcpy("run", "--bundle", self.bundle("true", change=change), container)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert not (self.lcpy.root / container).exists()
        return done.stderr


@pytest.fixture
def rootless(lcpy: "Lcpy", bundle: "Bundle") -> Iterator[Rootless]:
    yield Rootless(lcpy, bundle)


def test_a_range_is_mapped(rootless: Rootless) -> None:
    """A file of the container's user 33 is one of his first subordinate ones', and 32."""

    def groups(config: "Config") -> None:
        config["process"]["user"] = {"uid": 0, "gid": 0, "additionalGids": [5, 60]}
        config["process"]["capabilities"]["bounding"] = ["CAP_CHOWN"]
        for kind in ("effective", "permitted"):
            config["process"]["capabilities"][kind] = ["CAP_CHOWN"]
        config["root"]["readonly"] = False

    script = (
        "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; id -G;"
        " touch /tmp/x; chown 33:34 /tmp/x; stat -c %u:%g /tmp/x; stat -c %u:%g /proc/1"
    )
    uid, uids = subordinate("uid")
    gid, gids = subordinate("gid")
    lines = rootless.lines(script, groups)
    assert [line.split() for line in lines[:4]] == [
        ["0", str(UID), "1"],
        ["1", str(uid), str(uids)],
        ["0", str(GID), "1"],
        ["1", str(gid), str(gids)],
    ]
    assert lines[4:] == ["allow", "0 5 60", "33:34", "0:0"]
    (file,) = rootless.lcpy.root.parent.glob("bundle-*/rootfs/tmp/x")
    assert (file.stat().st_uid, file.stat().st_gid) == (uid + 32, gid + 33)
    file.unlink()  # the directory is his own


def test_another_user(rootless: Rootless) -> None:
    """The program is one of his subordinate ids on the host, and so is a second process."""

    def user(config: "Config") -> None:
        config["process"]["user"] = {"uid": 1000, "gid": 1000}

    container = rootless.lcpy.new_id()
    bundle = rootless.bundle("sleep", "1000", change=user)
    done = rootless.lcpy("run", "--detach", "--bundle", bundle, container)
    assert (done.returncode, done.stderr) == (0, "")
    pid = rootless.lcpy.state(container)["pid"]
    first, _count = subordinate("uid")
    assert os.stat(f"/proc/{pid}").st_uid == first + 999
    done = rootless.lcpy("exec", "--user", "1000:1000", container, "sh", "-c", "id -u; echo $HOME")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1000\n/home/user\n", "")
    done = rootless.lcpy("exec", "--user", "0", container, "id", "-u")
    assert (done.returncode, done.stdout) == (0, "0\n")


@pytest.mark.parametrize("kind", ["uid", "gid"])
def test_a_range_that_is_not_his(rootless: Rootless, kind: str) -> None:
    def more(config: "Config") -> None:
        config["linux"][f"{kind}Mappings"][1]["size"] += 1

    error = rootless.refusal(more)
    for word in (f"linux.{kind}Mappings", f"new{kind}map: ", f"/etc/sub{kind}"):
        assert word in error


# --- cgroups, delegated to him -----------------------------------------------------------------


def limited(path: str) -> "Callable[[Config], None]":
    def change(config: "Config") -> None:
        config["linux"]["cgroupsPath"] = path
        config["linux"]["resources"] = {"memory": {"limit": 32 * MIB}, "pids": {"limit": 20}}
        # `spec --rootless` has a bind of the host's there.
        mounts = [each for each in config["mounts"] if each["destination"] != "/sys/fs/cgroup"]
        mounts.append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"})
        config["mounts"] = mounts

    return change


def test_limits_without_systemd(rootless: Rootless) -> None:
    """In a cgroup that he makes himself below the one that is his."""
    container = rootless.lcpy.new_id()
    path = f"{delegated()}/{container}-parent/{container}"
    bundle = rootless.bundle("sleep", "1000", change=limited(path))
    rootless.lcpy("run", "--detach", "--bundle", bundle, container, check=True)
    files = "cd /sys/fs/cgroup; cat memory.max pids.max; cat /proc/self/cgroup"
    done = rootless.lcpy("exec", container, "sh", "-c", files)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(32 * MIB), "20", "0::/"]
    assert Path(f"/sys/fs/cgroup{path}/pids.max").read_text() == "20\n"

    rootless.lcpy("update", "--pids-limit", "30", container, check=True)
    assert Path(f"/sys/fs/cgroup{path}/pids.max").read_text() == "30\n"
    rootless.lcpy("pause", container, check=True)
    assert rootless.lcpy.state(container)["status"] == "paused"
    rootless.lcpy("resume", container, check=True)
    assert rootless.lcpy("ps", container, check=True).stdout.count("sleep") == 1
    rootless.lcpy("delete", "--force", container, check=True)
    assert not Path(f"/sys/fs/cgroup{path}").parent.exists()


def test_memory_that_runs_out(rootless: Rootless) -> None:
    """The kernel ends what takes more, and nobody else."""
    path = f"{delegated()}/{rootless.lcpy.new_id()}"
    done = rootless.run("head -c 100m /dev/zero | tail; echo $?", limited(path))
    assert done.returncode == 0
    assert done.stdout.split()[-1] == "137"


def test_a_controller_that_is_not_his(rootless: Rootless) -> None:
    path = f"{delegated()}/{rootless.lcpy.new_id()}"
    there = Path(f"/sys/fs/cgroup{delegated()}/cgroup.controllers").read_text().split()
    assert "hugetlb" not in there

    def change(config: "Config") -> None:
        limited(path)(config)
        limits = [{"pageSize": "2MB", "limit": 0}]
        config["linux"]["resources"]["hugepageLimits"] = limits

    error = rootless.refusal(change)
    assert "linux.resources.hugepageLimits: " in error
    assert 'has no controller \\"hugetlb\\"' in error
    assert not Path(f"/sys/fs/cgroup{path}").exists()


def test_a_cgroup_that_is_not_his(rootless: Rootless) -> None:
    error = rootless.refusal(limited(f"/system.slice/{rootless.lcpy.new_id()}"))
    assert "linux.cgroupsPath: write to the parents of the cgroup /sys/fs/cgroup/system" in error
