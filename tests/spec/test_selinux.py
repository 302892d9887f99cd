"""`process.selinuxLabel` and `linux.mountLabel`.

What is asked of the kernel is tried everywhere. What comes of it is tried where there is SELinux
with a policy that knows the types of containers; it need not enforce anything.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.mount import filesystems
from libcontainer_py.mount.options import Options
from libcontainer_py.namespaces import finalize, finish
from libcontainer_py.security import procattr, selinux
from tests.spec.test_apparmor import Recorder, in_user_namespace

if TYPE_CHECKING:
    from tests.conftest import Config
    from tests.spec.conftest import Box, Change

PROCESS = "system_u:system_r:container_t:s0:c1,c3"
FILES = "system_u:object_r:container_file_t:s0:c1,c3"
WORDS = "selinux label is specified in config, but selinux is disabled or not supported"
KEYCTL_GET_SECURITY = 17
SAYS = "tr -d '\\0' </proc/self/attr/current"


user_namespaces = pytest.mark.parametrize("user_namespace", [False, True], ids=["", "user"])


def labelled(process: str = "", mount: str = "", *, user_namespace: bool = False) -> "Change":
    def change(config: "Config") -> None:
        config["process"]["selinuxLabel"] = process
        config["linux"]["mountLabel"] = mount
        if user_namespace:
            in_user_namespace(config)

    return change


# ── where there is no SELinux, or no such label ─────────────────────────────────────────────────


@pytest.mark.parametrize("field", ["process.selinuxLabel", "linux.mountLabel"])
def test_one_that_can_not_be(box: "Box", field: str) -> None:
    """Never left out in silence: the field is named."""
    change = labelled(process="none") if field.startswith("process") else labelled(mount="none")
    said = box.refused(change=change)
    assert f"{field}: " in said
    assert (WORDS in said) != selinux.is_enabled()


def test_exec_is_refused_too(box: "Box") -> None:
    container = box.lcpy.new_id()
    bundle = box.bundle(["sleep", "1000"])
    box.lcpy("run", "--detach", "--bundle", bundle, container, check=True)
    done = box.lcpy("exec", "--process-label", "none", container, "true")
    assert done.returncode == 255
    assert "process.selinuxLabel: " in done.stderr
    assert (WORDS in done.stderr) != selinux.is_enabled()


def test_no_selinuxfs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        monkeypatch.setattr(selinux, "_SELINUXFS", str(path))
        assert not selinux.is_enabled()


@pytest.mark.parametrize("label", ["a\0b", "a\n", 'a",mode="0777', "a" * 4096], ids=ascii)
def test_labels_that_the_kernel_would_take_for_another(
    monkeypatch: pytest.MonkeyPatch, label: str
) -> None:
    monkeypatch.setattr(selinux, "is_enabled", lambda: True)
    with pytest.raises(ConfigError, match="is not a label") as caught:
        selinux.check(label, "linux.mountLabel")
    assert caught.value.field == "linux.mountLabel"
    selinux.check(PROCESS, "process.selinuxLabel")


# ── what is asked of the kernel ─────────────────────────────────────────────────────────────────


def test_a_processs_label_is_for_the_next_exec_and_a_keys_for_now() -> None:
    calls: Any = Recorder()
    selinux.set_exec_label(calls, 7, PROCESS)
    assert calls.step == ("SetExecLabel", "process.selinuxLabel", f'"{PROCESS}"')
    selinux.set_key_label(calls, 7, PROCESS)
    assert calls.step[0] == "SetKeyLabel"
    assert calls.written == [
        (7, "thread-self/attr/exec", PROCESS.encode()),
        (7, "thread-self/attr/keycreate", PROCESS.encode()),
    ]


def test_a_process_may_have_a_profile_and_a_label() -> None:
    start = finalize.ProcessConfig()
    start.profile, start.label, start.procfs = "profile", PROCESS, procattr.open_procfs()
    calls = finish.FinishList(0, -1, 0)
    try:
        finalize._set_labels(calls, start)
    finally:
        os.close(start.procfs)
    assert [step[1] for step in calls.steps] == ["Finish", "ApplyProfile", "SetExecLabel"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What fsconfig(2) is asked for; of a label, the kernel hears nothing."""
    made: list[tuple[str, str]] = []

    def set_string(fd: int, key: str, value: str) -> None:
        made.append((key, value))
        if key != "context":
            syscalls.fsconfig_set_string(fd, key, value)

    monkeypatch.setattr(filesystems, "fsconfig_set_string", set_string)
    return made


def options(label: str, *data: str) -> Options:
    made = Options()
    made.label = label
    made.data = list(enumerate(data))
    return made


def test_a_new_filesystem_has_the_label(asked: list[tuple[str, str]]) -> None:
    os.close(filesystems.new_filesystem("tmpfs", "x", options(FILES, "mode=755"), "mounts[0]", -1))
    assert asked == [("source", "x"), ("mode", "755"), ("context", FILES)]


@pytest.mark.parametrize("fstype", ["proc", "sysfs", "mqueue", "cgroup2"])
def test_some_have_labels_of_their_own(asked: list[tuple[str, str]], fstype: str) -> None:
    os.close(filesystems.new_filesystem(fstype, "", options(FILES), "mounts[0]", -1))
    assert asked == []


@pytest.mark.parametrize("data", [(), ("mode=755",)], ids=["alone", "with others"])
def test_one_that_is_too_long_for_fsconfig(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: tuple[str, ...]
) -> None:
    """mount(2) takes it, in quotation marks, because it has commas."""
    label = FILES + "".join(f",c{number}" for number in range(4, 100))
    asked = []

    def mount(*words: Any) -> None:
        asked.append(words[-1])

    monkeypatch.setattr(filesystems, "mount", mount)
    target = os.open(tmp_path, os.O_PATH)
    try:
        os.close(
            filesystems.new_filesystem("tmpfs", "x", options(label, *data), "mounts[0]", target)
        )
    finally:
        os.close(target)
    assert asked == [",".join([*data, f'context="{label}"'])]


def test_a_mounts_label_that_the_kernel_does_not_know() -> None:
    with pytest.raises(StepError) as caught:
        filesystems.new_filesystem("tmpfs", "x", options("none"), "mounts[0]", -1)
    assert caught.value.field == "linux.mountLabel"


# ── what comes of it ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def policy() -> Iterator[None]:
    """A policy that knows the labels."""
    if not selinux.is_enabled():
        pytest.skip("SELinux is not in this kernel")
    for label in (PROCESS, FILES):
        try:
            Path("/sys/fs/selinux/context").write_bytes(label.encode())
        except OSError:
            pytest.skip("SELinux has a policy without containers")
    yield


@user_namespaces
def test_the_program_has_its_label(box: "Box", policy: None, user_namespace: bool) -> None:
    change = labelled(PROCESS, user_namespace=user_namespace)
    assert box.sh(SAYS, change=change) == PROCESS


@user_namespaces
def test_exec_has_it_and_mounts_have_theirs(box: "Box", policy: None, user_namespace: bool) -> None:
    container = box.lcpy.new_id()
    bundle = box.bundle(["sleep", "1000"], labelled(PROCESS, FILES, user_namespace=user_namespace))
    box.lcpy("run", "--detach", "--bundle", bundle, container, check=True)
    said = box.lcpy("exec", container, "sh", "-c", SAYS)
    assert said.stdout == PROCESS, said.stderr
    root = Path(f"/proc/{box.lcpy.state(container)['pid']}/root")
    labels = {
        name: os.getxattr(root / name, "security.selinux").rstrip(b"\0").decode()
        for name in ("dev", "dev/null", "dev/pts", "dev/shm", "dev/mqueue", "sys/firmware", "proc")
    }
    if user_namespace:
        del labels["dev/null"]  # the host's
    assert labels.pop("proc") != FILES
    assert set(labels.values()) == {FILES}, labels


def test_the_keyring_has_it(policy: None) -> None:
    """The session keyring that a process makes after `set_key_label`."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            procfs = procattr.open_procfs()
            selinux.set_key_label(finish.AtOnce(), procfs, PROCESS)
            ring = syscalls.keyctl_join_session_keyring("lcpy-test")
            data, address, _view = syscalls.buffer(256)
            size = syscalls.syscall("keyctl", KEYCTL_GET_SECURITY, ring, address, len(data))
            os.write(writing, bytes(data[:size]))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        assert file.read().rstrip(b"\0").decode() == PROCESS
