"""A label that is lost is a program without it: CVE-2019-16884, CVE-2019-19921, CVE-2025-52881.

Wherever the file that the kernel takes it from is covered, replaced or led away, the label lands in
the real one, or there is an error.
"""

import errno
import os
import signal
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from libcontainer_py.errors import StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import (
    AT_EMPTY_PATH,
    CLONE_NEWNS,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
)
from libcontainer_py.namespaces import finish, loop
from libcontainer_py.security import procattr
from libcontainer_py.syncpipe.pipe import new_sync_pipe
from libcontainer_py.syncpipe.records import RECORD_SIZE
from tests.attacks.conftest import one_line
from tests.spec.test_apparmor import ENFORCED, loaded, profile

if TYPE_CHECKING:
    from tests.conftest import Bundle, Config, Lcpy
    from tests.spec.conftest import Change

__all__ = ["loaded"]

ATTR = "/proc/thread-self/attr"
ways = pytest.mark.parametrize("by_list", [False, True], ids=["at once", "by the list"])


# ── the way to the file, on any kernel ──────────────────────────────────────────────────────────


def in_own_mounts(work: Callable[[], object]) -> "tuple[int, int]":
    """Run something in a process with mounts of its own; returns its errno and exit code."""
    ours, theirs = new_sync_pipe()
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.unshare(CLONE_NEWNS)
            syscalls.mount(None, "/", None, MS_PRIVATE | MS_REC)
            os.dup2(theirs.fileno(), 3, inheritable=True)
            work()
            os._exit(0)
        except OSError as error:
            os.write(3, struct.pack("i", error.errno or 0))
        finally:
            os._exit(1)
    theirs.close()
    said, _fds = ours.receive_bytes()
    ours.close()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if len(said) == RECORD_SIZE:
        return loop.position(said)[1], code
    return struct.unpack("i", said)[0] if said else 0, code


def write(procfs: int, path: str, by_list: bool) -> None:
    """Write a label, as a primitive or as the finish list; descriptor 3 hears of a failure."""
    if not by_list:
        finish.AtOnce.write_beneath(procfs, path, b"exec lcpy-no-such-profile")
        return
    calls = finish.FinishList(3, 3, 3)
    calls.write_beneath(procfs, path, b"exec lcpy-no-such-profile")
    calls.call("exit_group", 0)
    executable = finish.write_executable(calls.compile())
    os.set_inheritable(procfs, True)
    syscalls.execveat(executable, "", [b"list"], [], AT_EMPTY_PATH)


@ways
@pytest.mark.parametrize("covered", [None, "", "/exec"])
def test_another_mount_over_the_file(tmp_path: Path, covered: "str | None", by_list: bool) -> None:
    decoy = tmp_path / "decoy"
    decoy.mkdir()
    (decoy / "exec").touch()

    def work() -> None:
        procfs = procattr.open_procfs()
        if covered is not None:
            syscalls.mount(f"{decoy}{covered}", ATTR + covered, None, MS_BIND)
        write(procfs, "thread-self/attr/exec", by_list)

    said, code = in_own_mounts(work)
    assert code == 1
    if covered is None:
        # The file itself: AppArmor has no such profile, and without a module nobody takes it.
        assert said in (errno.ENOENT, errno.EINVAL)
    else:
        assert said == errno.EXDEV
    assert (decoy / "exec").read_bytes() == b""


@ways
@pytest.mark.parametrize(
    ("path", "error"),
    [("self/root/LEAF", errno.ELOOP), ("self/cwd/LEAF", errno.ELOOP), ("../LEAF", errno.EXDEV)],
)
def test_a_way_that_leads_out_of_procfs(
    tmp_path: Path, path: str, error: int, by_list: bool
) -> None:
    leaf = tmp_path / "leaf"
    leaf.touch()
    way = path.replace("LEAF", str(leaf).lstrip("/"))

    def work() -> None:
        os.chdir("/")
        write(procattr.open_procfs(), way, by_list)

    assert in_own_mounts(work) == (error, 1)
    assert leaf.read_bytes() == b""


@pytest.mark.parametrize("over", ["tmpfs", "/proc/sys", "/proc/self"])
def test_what_is_not_the_top_of_a_procfs_is_not_taken_for_it(over: str) -> None:
    def work() -> None:
        if over == "tmpfs":
            syscalls.mount("x", "/proc", "tmpfs")
        else:
            syscalls.mount(over, "/proc", None, MS_BIND)
        with pytest.raises(StepError, match="/proc is not procfs"):
            procattr.open_procfs()

    assert in_own_mounts(work) == (0, 0)


# ── images and neighbours, where there is AppArmor ──────────────────────────────────────────────


def fakes(root: Path) -> list[Path]:
    """What could be taken for the files of procfs, in some directory."""
    made = []
    for who in ("self", "thread-self", "1", "1/task/1", "self/task/1"):
        for name in ("attr/exec", "attr/apparmor/exec", "attr/apparmor/current", "attr/current"):
            file = root / who / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            made.append(file)
    return made


def without_proc(change: "Change") -> "Change":
    """No procfs is mounted; so what the image has below /proc is what the container sees."""

    def changed(config: "Config") -> None:
        change(config)
        config["mounts"] = [each for each in config["mounts"] if each["type"] != "proc"]
        config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []

    return changed


def confinement(pid: int) -> str:
    """What the host's procfs says of a process."""
    return Path(f"/proc/{pid}/attr/apparmor/current").read_text(encoding="ascii")


def confinement_of_detached(pid_file: Path) -> str:
    """The same of a process that `exec` has left to us; and its end, for the container waits."""
    pid = int(pid_file.read_text())
    try:
        return confinement(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_an_image_with_a_proc_of_its_own(either: "Lcpy", bundle: "Bundle", loaded: str) -> None:
    made = bundle("sleep", "1000", change=without_proc(profile(loaded)))
    files = fakes(made / "rootfs/proc")
    container = either.new_id()
    either("run", "--detach", "--bundle", made, container, check=True)
    assert confinement(either.state(container)["pid"]) == ENFORCED
    pid_file = made / "pid"
    either("exec", "--detach", "--pid-file", pid_file, container, "sleep", "1000", check=True)
    assert confinement_of_detached(pid_file) == ENFORCED
    assert {file.read_bytes() for file in files} == {b""}


def test_a_link_in_place_of_proc(either: "Lcpy", bundle: "Bundle", loaded: str) -> None:
    made = bundle("true", change=profile(loaded))
    (made / "rootfs/proc").rmdir()
    files = fakes(made / "rootfs/fake")
    (made / "rootfs/proc").symlink_to("/fake")
    assert "mounts[0].destination" in one_line(either("run", "--bundle", made, either.new_id()))
    assert {file.read_bytes() for file in files} == {b""}


@pytest.mark.parametrize(
    "destination", ["/proc", "/proc/self/attr", "/proc/thread-self/attr/apparmor", "/link/self"]
)
@pytest.mark.parametrize("fstype", ["tmpfs", "bind"])
def test_a_volume_over_it(
    either: "Lcpy", bundle: "Bundle", tmp_path: Path, loaded: str, destination: str, fstype: str
) -> None:
    files = fakes(tmp_path / "volume")
    mount = {
        "destination": destination,
        "type": fstype,
        "source": str(tmp_path / "volume"),
        "options": ["bind"] if fstype == "bind" else [],
    }

    def change(config: "Config") -> None:
        profile(loaded)(config)
        config["mounts"].append(mount)

    made = bundle("true", change=change)
    (made / "rootfs/link").symlink_to("/proc")
    assert "destination" in one_line(either("run", "--bundle", made, either.new_id()))
    assert {file.read_bytes() for file in files} == {b""}


def test_a_container_that_covers_its_own_proc(
    either: "Lcpy", bundle: "Bundle", loaded: str
) -> None:
    """One that may mount, waiting for an `exec` that is to be confined."""
    script = """
        mount -t tmpfs x /proc
        for name in self thread-self; do
            mkdir -p /proc/$name/attr/apparmor
            touch /proc/$name/attr/exec /proc/$name/attr/apparmor/exec /proc/covered
        done
        exec sleep 1000
    """

    def change(config: "Config") -> None:
        for kind in ("bounding", "effective", "permitted"):
            config["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")

    made = bundle("sh", "-c", script, change=change)
    container = either.new_id()
    either("run", "--detach", "--bundle", made, container, check=True)
    proc = Path(f"/proc/{either.state(container)['pid']}/root/proc")
    wait_for((proc / "covered").exists)
    pid_file = made / "pid"
    flags = ("--apparmor", loaded, "--detach", "--pid-file", str(pid_file))
    either("exec", *flags, container, "sleep", "1000", check=True)
    assert confinement_of_detached(pid_file) == ENFORCED
    for name in ("self/attr/exec", "thread-self/attr/apparmor/exec"):
        assert (proc / name).read_bytes() == b""


def wait_for(true: Callable[[], bool]) -> None:
    for _ in range(200):
        if true():
            return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError("it took more than ten seconds")
