"""`process.apparmorProfile`: what a program is confined by, which AppArmor itself says."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.errors import ConfigError
from libcontainer_py.security import apparmor, procattr
from tests.spec.test_seccomp import NOTHING, entry, seccomp

if TYPE_CHECKING:
    from tests.conftest import Config
    from tests.spec.conftest import Box, Change

PROFILE = f"lcpy-test-{os.getpid()}"
# All is allowed but to read one file. (`deny` of AppArmor's is silent in the log.)
TEXT = """
profile {name} flags=(attach_disconnected, mediate_deleted) {{
    capability,
    file,
    mount,
    network,
    ptrace,
    signal,
    umount,
    unix,
    deny /etc/group r,
}}
"""
CURRENT = "/proc/self/attr/apparmor/current"
SAYS = f"cat {CURRENT}; cat /etc/group"
ENFORCED = f"{PROFILE} (enforce)\n"

USER = {"user": {"uid": 1000, "gid": 1000}}
no_new_privs = pytest.mark.parametrize("no_new_privs", [True, False], ids=["nnp", "privs"])
users = pytest.mark.parametrize("user", [{}, USER], ids=["root", "user"])


def parser(option: str, text: str) -> None:
    argv = ["apparmor_parser", "--quiet", "--skip-cache", option]
    done = subprocess.run(argv, input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def loaded() -> Iterator[str]:
    """A profile of this run's own, in the kernel while a file of tests runs."""
    if not apparmor.is_enabled():
        pytest.skip("AppArmor is not in this kernel")
    text = TEXT.format(name=PROFILE)
    parser("--add", text)
    yield PROFILE
    parser("--remove", text)


def profile(name: str, process: Any = None, **linux: Any) -> "Change":
    """Ask for a profile, and set fields of `process` and `linux`."""

    def change(config: "Config") -> None:
        config["process"]["apparmorProfile"] = name
        config["process"].update(process or {})
        config["linux"].update(linux)

    return change


def confined(done: "subprocess.CompletedProcess[str]") -> bool:
    """Did `SAYS` say that it is confined, and did it feel that?"""
    refused = "cat: can't open '/etc/group': Permission denied"
    said = (done.stdout == ENFORCED, refused in done.stderr.splitlines())
    assert said in ((True, True), (False, False)), (done.stdout, done.stderr)
    return said[0]


def sh(box: "Box", change: "Change") -> "subprocess.CompletedProcess[str]":
    return box.run("sh", "-c", SAYS, change=change)


# ── a first process ─────────────────────────────────────────────────────────────────────────────


@no_new_privs
@users
def test_the_program_is_confined(
    box: "Box", loaded: str, no_new_privs: bool, user: dict[str, Any]
) -> None:
    process = {"noNewPrivileges": no_new_privs, **user}
    assert confined(sh(box, profile(loaded, process)))


def test_without_one_it_is_not(box: "Box", loaded: str) -> None:
    assert not confined(sh(box, profile("")))
    assert not confined(sh(box, profile("unconfined")))


@no_new_privs
def test_under_a_filter_that_kills_what_the_label_took(
    box: "Box", loaded: str, no_new_privs: bool
) -> None:
    """The label is written before any filter, so a profile need not allow that."""
    filter = seccomp("ALLOW", entry(["openat2"], "KILL_PROCESS"))
    process = {"noNewPrivileges": no_new_privs}
    assert confined(sh(box, lambda config: (filter(config), profile(loaded, process)(config))))


def test_under_a_filter_that_allows_no_more_than_the_program_needs(box: "Box", loaded: str) -> None:
    reading = ["open", "openat", "read", "write", "sendfile", "mmap", "munmap", "close"]
    filter = seccomp("KILL_PROCESS", entry([*NOTHING, *reading], "ALLOW"))
    process = {"noNewPrivileges": True}
    done = box.run(
        "cat", CURRENT, change=lambda config: (filter(config), profile(loaded, process)(config))
    )
    assert (done.returncode, done.stdout) == (0, ENFORCED), done.stderr


def in_user_namespace(config: "Config") -> None:
    linux = config["linux"]
    linux["namespaces"] = [*linux["namespaces"], {"type": "user"}]
    for name in ("uidMappings", "gidMappings"):
        linux[name] = [{"containerID": 0, "hostID": 0, "size": 65536}]


@no_new_privs
def test_in_a_user_namespace(box: "Box", loaded: str, no_new_privs: bool) -> None:
    def change(config: "Config") -> None:
        profile(loaded, {"noNewPrivileges": no_new_privs})(config)
        in_user_namespace(config)

    assert confined(sh(box, change))


def test_a_hook_of_the_images_is_confined_too(box: "Box", loaded: str) -> None:
    """`startContainer`: what the image brings runs under its profile, as from runc."""
    script = f"cat {CURRENT} > /hook; cat /etc/group >> /hook"

    def change(config: "Config") -> None:
        profile(loaded)(config)
        hook = {"path": "/bin/sh", "args": ["sh", "-c", f"{script}; true"]}
        config["hooks"] = {"startContainer": [hook]}

    done = box.run("cat", "/hook", change=change, own_root=True)
    assert (done.returncode, done.stdout) == (0, ENFORCED), done.stderr


def test_what_waits_holds_no_procfs_of_the_hosts(box: "Box", loaded: str) -> None:
    container = box.lcpy.new_id()
    bundle = box.bundle(["sleep", "1000"], profile(loaded))
    box.lcpy("create", "--bundle", bundle, container, check=True)
    fds = Path(f"/proc/{box.lcpy.state(container)['pid']}/fd")
    links = [os.readlink(fds / name) for name in os.listdir(fds)]
    assert links
    assert not [link for link in links if link.startswith("/proc")], links
    box.lcpy("delete", "--force", container, check=True)


# ── a second one ────────────────────────────────────────────────────────────────────────────────


class Running:
    """A container that runs, under a profile or without."""

    def __init__(self, box: "Box", change: "Change", directory: Path) -> None:
        self.lcpy = box.lcpy
        self.id = box.lcpy.new_id()
        self.file = directory / "process.json"
        bundle = box.bundle(["sleep", "1000"], change)
        box.lcpy("run", "--detach", "--bundle", bundle, self.id, check=True)

    def exec(self, *flags: str) -> "subprocess.CompletedProcess[str]":
        return self.lcpy("exec", *flags, self.id, "sh", "-c", SAYS)

    def exec_file(self, **members: Any) -> "subprocess.CompletedProcess[str]":
        """Run a process that is told whole."""
        process = {"args": ["sh", "-c", SAYS], "cwd": "/", "env": ["PATH=/bin"], **members}
        self.file.write_text(json.dumps(process))
        return self.lcpy("exec", "--process", self.file, self.id)


def test_exec_is_confined_as_the_container_is(box: "Box", loaded: str, tmp_path: Path) -> None:
    """With the bundle's own words, or with a process that leaves the profile out."""
    running = Running(box, profile(loaded), tmp_path)
    assert confined(running.exec())
    assert confined(running.exec_file())
    assert confined(running.exec_file(noNewPrivileges=True, **USER))


@pytest.mark.parametrize("user_namespace", [False, True], ids=["", "user"])
def test_exec_into_a_container_that_is_not(
    box: "Box", loaded: str, tmp_path: Path, user_namespace: bool
) -> None:
    def change(config: "Config") -> None:
        if user_namespace:
            in_user_namespace(config)

    running = Running(box, change, tmp_path)
    assert not confined(running.exec())
    assert confined(running.exec("--apparmor", loaded))
    assert confined(running.exec_file(apparmorProfile=loaded, noNewPrivileges=True))
    said = running.exec("--apparmor", f"{loaded}-missing")
    assert said.returncode == 255
    assert said.stderr.count("\n") == 1
    assert f'process.apparmorProfile: \\"{loaded}-missing\\"' in said.stderr
    assert "apparmor_parser -r" in said.stderr


def test_exec_may_lift_it(box: "Box", loaded: str, tmp_path: Path) -> None:
    assert not confined(Running(box, profile(loaded), tmp_path).exec("--apparmor", "unconfined"))


def test_in_a_pid_namespace_that_is_joined(box: "Box", loaded: str, tmp_path: Path) -> None:
    """The list writes it before it clones itself into that namespace; the clone has it."""
    first = Running(box, profile(""), tmp_path)
    pid = box.lcpy.state(first.id)["pid"]

    def change(config: "Config") -> None:
        profile(loaded)(config)
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] == "pid":
                namespace["path"] = f"/proc/{pid}/ns/pid"

    assert confined(sh(box, change))


# ── what can't be ───────────────────────────────────────────────────────────────────────────────


def test_one_that_is_not_there(box: "Box") -> None:
    """Where AppArmor is, it is not loaded; elsewhere there is nothing to load it."""
    said = box.refused(change=profile("lcpy-no-such-profile"))
    assert "process.apparmorProfile: " in said
    if apparmor.is_enabled():
        assert "lcpy-no-such-profile" in said
        assert "no such file or directory (it is not loaded: apparmor_parser -r FILE)" in said
    else:
        assert "apparmor: config provided but apparmor not supported" in said


def test_unconfined_asks_for_nothing(box: "Box") -> None:
    """On any kernel: without AppArmor everything is."""
    assert box.out("echo", "here", change=profile("unconfined")) == "here\n"


@pytest.mark.parametrize("name", ["a\0b", " a", "a ", "a" * 4096], ids=ascii)
def test_names_that_the_kernel_would_take_for_another(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(apparmor, "is_enabled", lambda: True)
    with pytest.raises(ConfigError, match="is not a profile's name") as caught:
        apparmor.find_profile(name)
    assert caught.value.field == "process.apparmorProfile"


@pytest.mark.parametrize(
    "name", ["docker-default", "/usr/bin/a b", ":ns:profile", "a//&b", "a" * 4090]
)
def test_names_that_are_given_as_they_are(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(apparmor, "is_enabled", lambda: True)
    assert apparmor.find_profile(name) == name


@pytest.mark.parametrize(("text", "enabled"), [("Y\n", True), ("N\n", False), (None, False)])
def test_enabled_is_what_the_kernel_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: "str | None", enabled: bool
) -> None:
    if text is not None:
        (tmp_path / "enabled").write_text(text)
    monkeypatch.setattr(apparmor, "_ENABLED", str(tmp_path / "enabled"))
    assert apparmor.is_enabled() == enabled


# ── what is recorded ────────────────────────────────────────────────────────────────────────────


class Recorder:
    """Notes what a step does, as the finish list would."""

    def __init__(self) -> None:
        self.step: tuple[Any, ...] = ()
        self.written: list[tuple[int, str, bytes]] = []

    def at(self, *step: Any) -> None:
        self.step = step

    def write_beneath(self, directory: int, path: str, data: bytes) -> None:
        self.written.append((directory, path, data))


def test_the_profile_is_for_the_next_exec() -> None:
    calls: Any = Recorder()
    procfs = procattr.open_procfs()
    try:
        apparmor.apply_profile(calls, procfs, "some-profile")
    finally:
        os.close(procfs)
    own = Path("/proc/thread-self/attr/apparmor").is_dir()
    path = f"thread-self/attr/{'apparmor/' if own else ''}exec"
    assert calls.written == [(procfs, path, b"exec some-profile")]
    assert calls.step == ("ApplyProfile", "process.apparmorProfile", '"some-profile"')


def test_before_linux_5_8_there_is_one_file_for_all_modules(tmp_path: Path) -> None:
    calls: Any = Recorder()
    (tmp_path / "thread-self/attr").mkdir(parents=True)
    directory = os.open(tmp_path, os.O_PATH)
    try:
        apparmor.apply_profile(calls, directory, "p")
        (tmp_path / "thread-self/attr/apparmor").mkdir()
        (tmp_path / "thread-self/attr/apparmor/exec").touch()
        apparmor.apply_profile(calls, directory, "p")
    finally:
        os.close(directory)
    paths = [path for _fd, path, _data in calls.written]
    assert paths == ["thread-self/attr/exec", "thread-self/attr/apparmor/exec"]
