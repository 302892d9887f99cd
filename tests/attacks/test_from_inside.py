"""What a container does to its own cgroups, and what it gets of its caller's streams and rights."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from libcontainer_py.security.capabilities import NAMES
from tests import freezer
from tests.attacks.conftest import Bare, one_line
from tests.conftest import PATIENCE, Bundle, Config, Lcpy

SECONDS = 8 * PATIENCE  # no command may take longer, whatever the container does

# A cgroup of the container's, as it sees it.
OWN = "/sys/fs/cgroup" if freezer.UNIFIED else "/sys/fs/cgroup/pids"

FREEZERS = {
    "itself": "freeze $cg; sleep 60",
    "a child of its own": (
        "mkdir -p $cg/a/b; sleep 60 & echo $! > $cg/a/b/cgroup.procs;"
        " freeze $cg/a; touch /done; sleep 60"
    ),
}


def writable_cgroups(config: Config) -> None:
    """A container that owns its cgroups: /sys/fs/cgroup is writable."""
    config["root"]["readonly"] = False
    for mount in config["mounts"]:
        if mount["destination"] == "/sys/fs/cgroup":
            mount["options"].remove("ro")


@pytest.mark.parametrize("what", FREEZERS)
@pytest.mark.parametrize("words", [("delete", "--force"), ("kill", "--all"), ("kill",)])
def test_it_freezes(lcpy: Lcpy, bundle: Bundle, what: str, words: tuple[str, ...]) -> None:
    script = f"{freezer.SHELL}; {FREEZERS[what]}"
    container = lcpy.new_id()
    made = bundle("sh", "-c", script, change=freezer.may_freeze_itself)
    lcpy("run", "--detach", container, cwd=made, check=True)
    if what == "itself":
        lcpy.wait_for(container, "paused")
    else:
        wait_for(made / "rootfs/done")
    begun = time.monotonic()
    done = lcpy(*words, container, *(("KILL",) if words[0] == "kill" else ()), timeout=2 * SECONDS)
    assert time.monotonic() - begun < SECONDS
    assert done.returncode == 0 or one_line(done)
    begun = time.monotonic()
    lcpy("delete", "--force", container, check=True, timeout=2 * SECONDS)
    assert time.monotonic() - begun < SECONDS
    assert not [path for path, _, _ in os.walk("/sys/fs/cgroup") if container in path]


def wait_for(path: Path) -> None:
    end = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    "script",
    [
        "for n in $(seq 300); do mkdir $cg/c$n; done",
        "for n in $(seq 150); do mkdir $cg/deep; cd $cg/deep; cg=.; done",
        "for n in $(seq 60); do sleep 60 & done",
        "mkdir $cg/a; echo 1 > $cg/a/cgroup.procs",
        "mkdir $cg/lock; chmod 000 $cg/lock $cg",
    ],
)
def test_it_fills_its_cgroups(lcpy: Lcpy, bundle: Bundle, script: str) -> None:
    container = lcpy.new_id()
    script = f"cg={OWN}; {script}; touch /done; sleep 60"
    made = bundle("sh", "-c", script, change=writable_cgroups)
    lcpy("run", "--detach", container, cwd=made, check=True)
    wait_for(made / "rootfs/done")
    begun = time.monotonic()
    lcpy("delete", "--force", container, check=True, timeout=2 * SECONDS)
    assert time.monotonic() - begun < SECONDS
    assert not [path for path, _, _ in os.walk("/sys/fs/cgroup") if container in path]


def test_it_has_no_cgroup_but_its_own(lcpy: Lcpy, bundle: Bundle) -> None:
    """CVE-2023-25809: read-only, and nothing of the host's or a neighbour's in it."""
    script = f"touch /sys/fs/cgroup/x; mkdir {OWN}/x; find /sys/fs/cgroup -name 'lcpy-test*'"
    script += f"; echo 1 > {OWN}/cgroup.procs; echo 1 > {OWN}/pids.max"
    done = lcpy("run", lcpy.new_id(), cwd=bundle("sh", "-c", script))
    assert done.stdout == ""
    complaints = [line for line in done.stderr.splitlines() if "level=" not in line]
    assert len(complaints) == 4
    assert all("Read-only file system" in line for line in complaints), complaints


SETS = {
    "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_NET_RAW"],
    "permitted": ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID"],
    "effective": ["CAP_KILL"],
    "inheritable": ["CAP_KILL", "CAP_CHOWN"],
    "ambient": ["CAP_CHOWN"],
}


@pytest.mark.parametrize("left_out", [None, "inheritable", "ambient", "effective", "all"])
def test_the_sets_are_what_is_asked(lcpy: Lcpy, bundle: Bundle, left_out: "str | None") -> None:
    """CVE-2022-29162: nothing is inheritable that config.json does not make so."""
    sets = {name: [] if left_out in (name, "all") else list(value) for name, value in SETS.items()}
    if left_out == "inheritable":
        sets["ambient"] = []

    def change(config: Config) -> None:
        config["process"]["capabilities"] = {name: value for name, value in sets.items() if value}
        config["process"]["user"] = {"uid": 1000, "gid": 1000}
        config["process"]["noNewPrivileges"] = False

    made = bundle("cat", "/proc/self/status", change=change)
    (made / "rootfs/bin/busybox").chmod(0o755)
    done = lcpy("run", lcpy.new_id(), cwd=made, check=True)
    found = dict(line.split(":\t") for line in done.stdout.splitlines() if line.startswith("Cap"))
    ambient = mask(sets["ambient"])
    assert int(found["CapInh"], 16) == mask(sets["inheritable"])
    assert int(found["CapBnd"], 16) == mask(sets["bounding"])
    # A program without file capabilities, of no root's, gets what is ambient (capabilities(7)).
    assert int(found["CapPrm"], 16) == int(found["CapEff"], 16) == ambient
    assert int(found["CapAmb"], 16) == ambient


def mask(names: list[str]) -> int:
    return sum(1 << NAMES.index(name) for name in names)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_streams_are_not_files_of_ours(bare: Bare, bundle: Bundle, closed: str) -> None:
    """Whoever closes 0, 1 and 2 gets the null device there, not whatever we open first."""
    script = (
        "for fd in 0 1 2; do"
        ' [ "$(readlink /proc/$$/fd/$fd)" != /dev/null ] || echo $fd >> /null;'
        " done"
    )
    made = bundle("sh", "-c", script, change=lambda config: config["root"].update(readonly=False))
    (made / "rootfs/null").touch()
    argv = bare.argv("run", "--bundle", str(made), bare.new_id())
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *argv],
        stdin=subprocess.PIPE,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0
    numbers = {"<&-": "0", ">&-": "1", "2>&-": "2"}
    expected = [numbers[word] for word in closed.split()]
    assert (made / "rootfs/null").read_text().split() == expected
