"""The primitives of joining, each by itself: namespaces by path, id maps, another's procfs."""

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.errors import ConfigError, StepError
from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    PR_SET_DUMPABLE,
)
from libcontainer_py.mount.options import parse_options
from libcontainer_py.namespaces import helper, joiner, joins, maps, prepare, procfs
from libcontainer_py.namespaces.kinds import NAMESPACES, kind_of, ns_file
from tests.isolation.mount_child import ChildError, in_child, searchable_directory

MAPS: "list[dict[str, Any]]" = [
    {"containerID": 0, "hostID": 100000, "size": 1000},
    {"containerID": 5000, "hostID": 300000, "size": 7},
]


class Other:
    """A process in new namespaces of the kinds that unshare(1) is told."""

    def __init__(self, *words: str) -> None:
        argv = ["unshare", "--fork", "--kill-child", *words, "sh", "-c", "echo; exec sleep 100"]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        parent = self._process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        self.pid = int(children[0])

    def ns(self, kind: str) -> str:
        return f"/proc/{self.pid}/ns/{ns_file(kind)}"

    def inode(self, kind: str) -> int:
        return os.stat(self.ns(kind)).st_ino

    def end(self) -> None:
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._process.communicate(timeout=20)


@pytest.fixture
def other() -> Iterator[Callable[..., Other]]:
    """Make a process in namespaces of its own."""
    made = []

    def make(*words: str) -> Other:
        made.append(Other(*words))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No descriptor and no child is left."""
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# --- found by path ----------------------------------------------------------------------------


def test_all_kinds_are_opened(other: Callable[..., Other]) -> None:
    it = other("-U", "-m", "-u", "-i", "-n", "-C", "-T", "-p")
    wanted = [{"type": kind, "path": it.ns(kind)} for kind in NAMESPACES]
    found = joins.open_namespaces([{"type": "cgroup"}, *wanted])
    assert [join.flag for join in found] == list(NAMESPACES.values())
    assert [join.field for join in found] == [
        f"linux.namespaces[{number}].path" for number in range(1, 9)
    ]
    for join, kind in zip(found, NAMESPACES, strict=True):
        assert os.fstat(join.fd).st_ino == it.inode(kind)
        assert not os.get_inheritable(join.fd)
    joins.close(found)
    assert found == []


def test_a_bind_mount_of_a_namespace_is_one(other: Callable[..., Other], tmp_path: Path) -> None:
    """As `ip netns` leaves them, and by a symbolic link."""
    it = other("-n")
    place, link = tmp_path / "net", tmp_path / "link"
    place.touch()
    link.symlink_to(place)
    subprocess.run(["mount", "--bind", it.ns("network"), str(place)], check=True)
    try:
        (found,) = joins.open_namespaces([{"type": "network", "path": str(link)}])
        assert os.fstat(found.fd).st_ino == it.inode("network")
        joins.close([found])
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_our_own_user_and_pid_namespace_are_left_out() -> None:
    """The kernel refuses the one; to enter the other would change nothing."""
    own = [{"type": kind, "path": f"/proc/self/ns/{kind}"} for kind in ("user", "pid", "uts")]
    found = joins.open_namespaces(own)
    assert [join.flag for join in found] == [CLONE_NEWUTS]
    joins.close(found)


@pytest.mark.parametrize("kind", NAMESPACES)
def test_a_namespace_of_another_kind(kind: str) -> None:
    wrong = "ipc" if kind != "ipc" else "uts"
    with pytest.raises(ConfigError) as caught:
        joins.open_namespaces([{"type": kind, "path": f"/proc/self/ns/{wrong}"}])
    assert str(caught.value) == (
        f'linux.namespaces[0].path: "/proc/self/ns/{wrong}" is a namespace of kind {wrong},'
        f" not {kind}"
    )


def test_what_is_no_namespace(tmp_path: Path) -> None:
    """Nor is it opened to find out: a FIFO without a reader would block, a device might act."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for name in ("fifo", "file", ""):
        path = str(tmp_path / name)
        with pytest.raises(ConfigError, match="is not a namespace") as caught:
            joins.open_namespaces([{"type": "uts"}, {"type": "ipc", "path": path}])
        assert caught.value.field == "linux.namespaces[1].path"
    for name, number in (("missing", errno.ENOENT), ("loop", errno.ELOOP)):
        with pytest.raises(StepError) as failed:
            joins.open_namespaces([{"type": "ipc", "path": str(tmp_path / name)}])
        assert (failed.value.errno, failed.value.field) == (number, "linux.namespaces[0].path")


def test_a_bad_one_closes_those_before(tmp_path: Path) -> None:
    good = {"type": "uts", "path": "/proc/self/ns/uts"}
    with pytest.raises(ConfigError):
        joins.open_namespaces([good, {"type": "ipc", "path": str(tmp_path)}])
    # `nothing_left` counts them


def test_kinds_have_names() -> None:
    assert [kind_of(flag) for flag in NAMESPACES.values()] == list(NAMESPACES)
    assert kind_of(0x40) == "0x40"


# --- joined -----------------------------------------------------------------------------------


INODES = ("ipc", "uts", "network", "user")


def joined(*wanted: tuple[Other, str], rights: bool = True) -> dict[str, bool]:
    """Join in a process of its own; tell for each kind whether that is where it is."""
    found = joins.open_namespaces([{"type": kind, "path": it.ns(kind)} for it, kind in wanted])
    inodes = {kind: it.inode(kind) for it, kind in wanted}

    def look() -> dict[str, bool]:
        if not rights:
            syscalls.capset(0, 0, 0)
        joiner.join_namespaces(found)
        assert found == []
        return {
            kind: os.stat(f"/proc/self/ns/{ns_file(kind)}").st_ino == inodes.get(kind)
            for kind in INODES
        }

    try:
        result: dict[str, bool] = in_child(look)
        return result
    finally:
        joins.close(found)


def test_a_user_namespace_and_its_own(other: Callable[..., Other]) -> None:
    it = other("-U", "--map-root-user", "-i", "-u")
    assert joined((it, "user"), (it, "ipc"), (it, "uts")) == {
        "user": True,
        "ipc": True,
        "uts": True,
        "network": False,
    }


def test_others_before_the_user_namespace(other: Callable[..., Other]) -> None:
    """Whose root could not join what is the host's."""
    it, theirs = other("-U", "--map-root-user"), other("-n")
    said = joined((it, "user"), (theirs, "network"))
    assert (said["user"], said["network"]) == (True, True)


def test_the_user_namespace_first_where_rights_are_missing(other: Callable[..., Other]) -> None:
    """Who has no capability, but is the user who made it, may join the rest from within."""
    it = other("-U", "--map-root-user", "-i", "-u", "-n")
    every = [(it, kind) for kind in INODES]
    assert joined(*every, rights=False) == dict.fromkeys(INODES, True)
    with pytest.raises(ChildError) as caught:
        joined((it, "ipc"), rights=False)
    assert (caught.value.field, caught.value.errno) == ("linux.namespaces[0].path", errno.EPERM)
    assert "in which we have no rights" in caught.value.text


# --- id maps ----------------------------------------------------------------------------------


def test_a_user_namespace_with_maps() -> None:
    fd = maps.new_user_namespace(MAPS, MAPS[:1])
    try:

        def look() -> list[list[str]]:
            syscalls.setns(fd, CLONE_NEWUSER)
            return [
                Path(f"/proc/self/{name}").read_text().split() for name in ("uid_map", "gid_map")
            ]

        # Read from inside, by a process that has no parent's view: the outside is the same.
        assert in_child(look) == [
            ["0", "100000", "1000", "5000", "300000", "7"],
            ["0", "100000", "1000"],
        ]
    finally:
        os.close(fd)


@pytest.mark.parametrize(("count", "fits"), [(1, True), (340, True), (341, False)])
def test_as_many_extents_as_the_kernel_takes(count: int, fits: bool) -> None:
    many = [{"containerID": i, "hostID": 2 * i + 1000, "size": 1} for i in range(count)]
    if fits:
        os.close(maps.new_user_namespace(many, many))
        return
    with pytest.raises(StepError) as caught:
        maps.new_user_namespace(many, many)
    assert (caught.value.field, caught.value.errno) == ("linux.uidMappings", errno.EINVAL)


def test_maps_that_are_too_long_as_text() -> None:
    """340 extents are allowed, but only in less than a page."""
    many = [{"containerID": i, "hostID": 2 * i + 100000, "size": 1} for i in range(340)]
    with pytest.raises(StepError, match=r"linux\.uidMappings.*less than 4096"):
        maps.new_user_namespace(many, many)


def test_maps_that_the_kernel_refuses() -> None:
    twice = [MAPS[0], MAPS[0] | {"containerID": 3000}]
    with pytest.raises(StepError) as caught:
        maps.new_user_namespace(MAPS, twice)
    assert (caught.value.field, caught.value.errno) == ("linux.gidMappings", errno.EINVAL)


def test_who_is_root_in_it() -> None:
    """0, or else the first id that is mapped."""
    without = [{"containerID": 7, "hostID": 100000, "size": 1}, MAPS[1]]
    for mappings, first in ((MAPS, 0), ([*MAPS][::-1], 0), (without, 7)):
        with helper.Waiting() as waiting:
            with pytest.raises(StepError, match=r"linux\.uidMappings.*no uid is mapped"):
                maps.first_ids(waiting.pid)
            maps.write_maps(waiting.pid, mappings, mappings)
            assert maps.first_ids(waiting.pid) == (first, first)
            assert prepare.may_set_groups(waiting.pid)


def test_maps_of_a_joined_user_namespace_are_what_config_json_says() -> None:
    """In any order; and what it does not say may be anything."""
    others = [MAPS[0] | {"size": 999}, MAPS[1]]
    many = [{"containerID": i, "hostID": 2 * i + 1000, "size": 1} for i in range(20)]
    with helper.Waiting() as waiting:
        maps.write_maps(waiting.pid, MAPS, many[::-1])
        maps.refuse_other_maps(waiting.pid, MAPS, many)
        maps.refuse_other_maps(waiting.pid, MAPS[::-1], [])
        maps.refuse_other_maps(waiting.pid, [], [])
        for uids, gids, field in (
            (others, many, "linux.uidMappings"),
            (MAPS[:1], many, "linux.uidMappings"),
            (MAPS, many[1:], "linux.gidMappings"),
            (MAPS, MAPS, "linux.gidMappings"),
        ):
            with pytest.raises(ConfigError) as caught:
                maps.refuse_other_maps(waiting.pid, uids, gids)
            assert caught.value.field == field
            assert "\n" not in str(caught.value)


USER = 4294900


def as_user(uids: Any, gids: Any, places: "tuple[str, ...]") -> str:
    """Write maps as a user without any right: what they are then, or the error."""

    def look() -> str:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
        syscalls.prctl(PR_SET_DUMPABLE, 1)  # as after an exec: /proc/PID belongs to the user
        maps._PLACES = places
        with helper.Waiting() as waiting:
            try:
                maps.write_maps(waiting.pid, uids, gids)
            except StepError as error:
                return str(error)
            ids = Path(f"/proc/{waiting.pid}/uid_map").read_text().split()
            return f"{' '.join(ids)} {prepare.may_set_groups(waiting.pid)}"

    return str(in_child(look, 0))


OWN: "list[dict[str, Any]]" = [{"containerID": 0, "hostID": USER, "size": 1}]


def test_everybody_may_map_himself() -> None:
    """And loses setgroups(2) for it."""
    assert as_user(OWN, OWN, ()) == f"0 {USER} 1 False"


def test_more_takes_a_program_that_is_missing() -> None:
    said = as_user(MAPS, MAPS, ("/nonexistent",))
    assert said == (
        "setupUserNamespace: linux.uidMappings: newuidmap is not installed"
        " (install it (Debian: the package uidmap), or map just your own id)"
    )


def test_the_program_is_told_the_maps() -> None:
    """What it is told, and what its refusal looks like."""
    with searchable_directory() as directory:
        program = directory / "newuidmap"
        program.write_text('#!/bin/sh\nshift\necho "told $*"; exit 1\n')
        program.chmod(0o755)
        said = as_user(MAPS, OWN, (str(directory),))
    assert "linux.uidMappings: newuidmap: exit status 1" in said
    assert "told 0 100000 1000 5000 300000 7" in said
    assert said.endswith("(the ranges that may be mapped are in /etc/subuid)")


def test_a_user_without_ranges() -> None:
    """By the real program, where it is installed."""
    said = as_user(MAPS, OWN, maps._PLACES)
    assert said.startswith("setupUserNamespace: linux.uidMappings: newuidmap")
    assert "\n" not in said
    if any(os.access(f"{place}/newuidmap", os.X_OK) for place in maps._PLACES):
        assert "newuidmap: exit status 1" in said
        assert "/etc/subuid" in said


# --- another's procfs -------------------------------------------------------------------------

Make = Callable[[int], int]


def numbers(mount: int) -> list[str]:
    """The processes that a procfs shows; closes it."""
    try:
        return [name for name in os.listdir(f"/proc/self/fd/{mount}") if name.isdecimal()]
    finally:
        os.close(mount)


def knows_pidns() -> bool:
    try:
        ours = os.open("/proc/self/ns/pid", os.O_RDONLY)
        os.close(procfs.by_descriptor(ours, []))
    except OSError:
        return False
    finally:
        os.close(ours)
    return True


@pytest.mark.parametrize("user", [[], ["-U", "--map-root-user"]], ids=["ours", "its own"])
@pytest.mark.parametrize("way", ["descriptor", "list"])
def test_a_procfs_of_another_pid_namespace(
    other: Callable[..., Other], way: str, user: "list[str]"
) -> None:
    """Also where that belongs to another user namespace; with proc's own options."""
    if way == "descriptor" and not knows_pidns():
        pytest.skip("proc has no option pidns before Linux 6.17")
    it = other("-p", *user)
    fd = os.open(it.ns("pid"), os.O_RDONLY)
    data: list[tuple[str, str | None]] = [("hidepid", "2"), ("subset", "pid")]
    try:
        if way == "descriptor":
            mount = procfs.by_descriptor(fd, data)
        else:
            mount = procfs.by_list(fd, data, "mounts[3]")
        assert not os.path.exists(f"/proc/self/fd/{mount}/meminfo")  # subset=pid
        assert Path(f"/proc/self/fd/{mount}/1/comm").read_text() in ("sh\n", "sleep\n")
        assert numbers(mount) == ["1"]
    finally:
        os.close(fd)


@pytest.mark.parametrize("ids", ["0 100000 1", "0 100000 65536"], ids=["root alone", "nobody too"])
@pytest.mark.parametrize("way", ["descriptor", "list"])
def test_a_procfs_by_root_of_a_user_namespace(way: str, ids: str) -> None:
    """As where the runtime itself runs in one: rootless Podman."""
    if way == "descriptor" and not knows_pidns():
        pytest.skip("proc has no option pidns before Linux 6.17")

    def look() -> list[str]:
        syscalls.unshare(CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            signal.pause()
        fd = os.open("/proc/self/ns/pid_for_children", os.O_RDONLY)
        try:
            if way == "descriptor":
                return numbers(procfs.by_descriptor(fd, []))
            return numbers(procfs.by_list(fd, [], "mounts[3]"))
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    assert in_child(look, CLONE_NEWUSER | CLONE_NEWNS, maps=ids) == ["1"]


def test_options_of_a_procfs(other: Callable[..., Other]) -> None:
    it = other("-p")
    fd = os.open(it.ns("pid"), os.O_RDONLY)
    try:
        mount = procfs.new_procfs(
            fd, parse_options(["nosuid", "hidepid=2,subset=pid"]), "mounts[3]"
        )
        assert not os.path.exists(f"/proc/self/fd/{mount}/meminfo")
        assert numbers(mount) == ["1"]
        for words in (["nonsense"], ["hidepid=x"], ["pidns=/proc/self/ns/uts"]):
            with pytest.raises(StepError) as caught:
                procfs.new_procfs(fd, parse_options(words), "mounts[3]")
            assert caught.value.field == "mounts[3]"
    finally:
        os.close(fd)


def test_a_pid_namespace_that_has_ended(other: Callable[..., Other]) -> None:
    """Nobody can enter it any more; what the list says of that is worded."""
    it = other("-p")
    fd = os.open(it.ns("pid"), os.O_RDONLY)
    it.end()
    try:
        with pytest.raises(StepError) as caught:
            procfs.by_list(fd, [], "mounts[3]")
        assert (caught.value.field, caught.value.what) == ("mounts[3]", "enter the pid namespace")
    finally:
        os.close(fd)


def test_what_begins_it_has_no_rights(other: Callable[..., Other]) -> None:
    """Whoever is in the pid namespace already may trace it (see `procfs.by_list`)."""
    it = other("-p")
    fd = os.open(it.ns("pid"), os.O_RDONLY)

    def look() -> dict[str, Any]:
        procfs._give_up_rights()
        status = dict(
            line.split(":\t", 1) for line in _read("/proc/self/status", None).splitlines()
        )
        return {"uid": status["Uid"], "gid": status["Gid"], "groups": status["Groups"].strip()}

    root = os.open("/proc", os.O_RDONLY)

    def _read(path: str, _none: None) -> str:
        # Its root is empty: only by a descriptor from before there is a procfs.
        assert os.listdir("/") == []
        number = os.open(path.removeprefix("/proc/"), os.O_RDONLY, dir_fd=root)
        return os.read(number, 8192).decode()

    def escape() -> list[str]:
        procfs._give_up_rights()
        return os.listdir("/../..")

    try:
        found = in_child(look, 0)
        # Of its user namespace nobody is mapped: it is 65534 outside, and inside.
        nobody = "\t".join(["65534"] * 4)
        assert found == {"uid": nobody, "gid": nobody, "groups": ""}
        assert in_child(escape, 0) == []
    finally:
        os.close(root)
        os.close(fd)


# --- helpers ----------------------------------------------------------------------------------


def of(pid: int) -> int:
    return os.pidfd_open(pid)


def test_work_in_namespaces_of_another_process(other: Callable[..., Other]) -> None:
    """With our own rights."""
    it = other("-u", "-i", "-n", "-m")
    pidfd = of(it.pid)
    ours, theirs = os.pipe()

    def work() -> None:
        inodes = [
            os.stat(f"/proc/self/ns/{ns_file(kind)}").st_ino
            for kind in ("uts", "ipc", "mount", "network")
        ]
        os.write(theirs, " ".join(map(str, inodes)).encode())

    try:
        helper.run_inside(pidfd, CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNS, work)
        inodes = list(map(int, os.read(ours, 1000).split()))
        assert inodes[:3] == [it.inode(kind) for kind in ("uts", "ipc", "mount")]
        assert inodes[3] == os.stat("/proc/self/ns/net").st_ino
    finally:
        for fd in (pidfd, ours, theirs):
            os.close(fd)


def test_what_is_asked_for_comes_back(other: Callable[..., Other]) -> None:
    """One thing after another, each as a descriptor; an error does not end it."""
    it = other("-u")
    pidfd = of(it.pid)

    def answer(request: int) -> int:
        if request == 1:
            raise OSError(errno.EBUSY, "busy")
        return os.open("/proc/self/ns/uts", os.O_RDONLY)

    try:
        with helper.Serving(pidfd, CLONE_NEWUTS, answer) as serving:
            for request in (0, 1, 2):
                if request == 1:
                    with pytest.raises(StepError) as caught:
                        helper.ask(serving.pipe, request)
                    assert caught.value.errno == errno.EBUSY
                    continue
                fd = helper.ask(serving.pipe, request)
                assert fd is not None and not os.get_inheritable(fd)
                assert os.fstat(fd).st_ino == it.inode("uts")
                os.close(fd)
    finally:
        os.close(pidfd)


def test_what_goes_wrong_in_there_is_raised_here(other: Callable[..., Other]) -> None:
    it = other("-u")
    pidfd = of(it.pid)

    def step() -> None:
        raise StepError("mount", errno.EBUSY, "this", field="mounts[7]", hint="that")

    def broken() -> None:
        raise LookupError("no such thing")

    def killed() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        with pytest.raises(StepError) as caught:
            helper.run_inside(pidfd, CLONE_NEWUTS, step)
        error = caught.value
        assert (error.step, error.errno, error.what, error.field, error.hint) == (
            "mount",
            errno.EBUSY,
            "this",
            "mounts[7]",
            "that",
        )
        with pytest.raises(StepError, match="no such thing"):
            helper.run_inside(pidfd, CLONE_NEWUTS, broken)
        with pytest.raises(StepError, match="ended without an answer"):
            helper.run_inside(pidfd, CLONE_NEWUTS, killed)
        with pytest.raises(OSError):
            helper.run_inside(pidfd, CLONE_NEWNET | CLONE_NEWPID | 1, lambda: None)
    finally:
        os.close(pidfd)


def test_a_process_that_is_gone(other: Callable[..., Other]) -> None:
    it = other("-u")
    pidfd = of(it.pid)
    it.end()
    try:
        with pytest.raises(OSError) as caught:
            helper.run_inside(pidfd, CLONE_NEWUTS, lambda: None)
        assert caught.value.errno == errno.ESRCH
    finally:
        os.close(pidfd)
