"""`--rootless`: what becomes of a container whose cgroups may not be made."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.cgroups import manager
from libcontainer_py.cgroups.disabled import Disabled
from libcontainer_py.errors import StepError
from tests.spec.test_rootless import a_user

if TYPE_CHECKING:
    from tests.conftest import Bundle, Completed, Config, Lcpy

# The host's root, on a host that lets nobody make cgroups.
READ_ONLY = """
mount --make-rprivate /
while read -r _ _ _ _ point _ rest; do
    case $rest in *"- cgroup"*) mount -o remount,bind,ro "$point" ;; esac
done </proc/self/mountinfo
exec "$@"
"""
CGROUP = "cat /proc/self/cgroup"
NO = "this user may not make any here"


def without_cgroups(lcpy: "Lcpy", *words: str | Path) -> "Completed":
    argv = ["unshare", "--mount", "sh", "-euc", READ_ONLY, "sh", *lcpy.argv(*words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def without_cgroup_namespace(config: "Config") -> None:
    """So that it can tell in which cgroup it is."""
    spaces = config["linux"]["namespaces"]
    config["linux"]["namespaces"] = [each for each in spaces if each["type"] != "cgroup"]
    config["mounts"] = [each for each in config["mounts"] if each["type"] != "cgroup"]


def refused(done: "Completed", text: str) -> None:
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert text in done.stderr


def test_true_is_without_them(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = lcpy.new_id()
    made = bundle("sh", "-c", CGROUP, change=without_cgroup_namespace)
    done = without_cgroups(lcpy, "--rootless=true", "run", "--bundle", made, container)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == Path("/proc/self/cgroup").read_text()


def test_true_makes_those_that_it_may(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = lcpy.new_id()
    made = bundle("sh", "-c", CGROUP, change=without_cgroup_namespace)
    done = lcpy("--rootless=true", "run", "--bundle", made, container, check=True)
    assert all(container in line for line in done.stdout.splitlines() if line[:2] != "0:")
    assert container in done.stdout


@pytest.mark.parametrize(
    ("value", "changes", "text"),
    [
        ("auto", {}, f"linux.resources.devices: it can't be set without cgroups, and {NO}"),
        ("false", {}, "linux.cgroupsPath: write to the parents of the cgroup"),
        (
            "true",
            {"resources": {"pids": {"limit": 9}}},
            f"linux.resources.pids: it can't be set without cgroups, and {NO}",
        ),
        (
            "true",
            {"cgroupsPath": "/lcpy-test-named"},
            "linux.cgroupsPath: write to the parents of the cgroup",
        ),
    ],
)
def test_what_is_asked_for_must_be(
    lcpy: "Lcpy", bundle: "Bundle", value: str, changes: dict[str, Any], text: str
) -> None:
    made = bundle("true", change=lambda config: config["linux"].update(changes))
    done = without_cgroups(lcpy, f"--rootless={value}", "run", "--bundle", made, lcpy.new_id())
    refused(done, text)
    assert list(lcpy.root.glob("*/state.json")) == []


def test_a_user(busybox_root: Path, machine_unchanged: None) -> None:
    """He can make no device node, so nothing is lost without rules for them."""
    with a_user(busybox_root) as user:
        made = user.bundle("echo", "ran")
        for value in ("auto", "true"):
            done = user(f"--rootless={value}", "run", "--bundle", made, user.new_id())
            assert done.stderr == ""
            assert (done.returncode, done.stdout) == (0, "ran\n")
        done = user("--rootless=false", "run", "--bundle", made, user.new_id())
    refused(done, "linux.cgroupsPath: write to the parents of the cgroup")
    assert "permission denied" in done.stderr


def test_all_that_follows_works_without(lcpy: "Lcpy", bundle: "Bundle") -> None:
    container = lcpy.new_id()
    made = bundle("sleep", "1000")
    script = '"$@" create --bundle "$bundle" "$id" </dev/null >/dev/null 2>&1'
    words = ["sh", "-euc", f"bundle={made} id={container}; {script}", "sh"]
    argv = ["unshare", "--mount", "sh", "-euc", READ_ONLY, "sh", *words]
    subprocess.run([*argv, *lcpy.argv("--rootless=true")], timeout=60, check=True)
    lcpy("start", container, check=True)
    assert lcpy("exec", container, "echo", "ran").stdout == "ran\n"
    refused(lcpy("update", "--pids-limit", "9", container), NO)
    refused(lcpy("pause", container), NO)
    lcpy("kill", container, "KILL", check=True)
    lcpy.wait_for(container, "stopped")
    lcpy("delete", container, check=True)


@pytest.mark.parametrize("errno", [1, 13, 30])
def test_a_no_that_comes_when_it_is_made(monkeypatch: pytest.MonkeyPatch, errno: int) -> None:
    """A security module's: nothing says so before."""

    def create(_cgroups: object, _resources: object) -> None:
        raise StepError(None, errno, "create the cgroup")

    monkeypatch.setattr("libcontainer_py.cgroups.v1.V1.create", create)
    monkeypatch.setattr("libcontainer_py.cgroups.v2.V2.create", create)
    made = manager.manager(None, "lcpy-test-no", rootless=True)
    assert isinstance(made, Disabled)
    made.create({"devices": [{"allow": False, "access": "rwm"}]})
    for rootless in (None, False):
        assert not isinstance(manager.manager(None, "lcpy-test-no", rootless=rootless), Disabled)


def test_another_error_is_none_of_these(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(_cgroups: object, _resources: object) -> None:
        raise StepError(None, 28, "create the cgroup")

    monkeypatch.setattr("libcontainer_py.cgroups.v1.V1.create", create)
    monkeypatch.setattr("libcontainer_py.cgroups.v2.V2.create", create)
    assert not isinstance(manager.manager(None, "lcpy-test-full", rootless=True), Disabled)
