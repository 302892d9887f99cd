"""`linux.uidMappings`, `linux.gidMappings`: a new user namespace, or one that is joined."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.linux import syscalls
from tests.conftest import PREFIX
from tests.spec.conftest import Box, Change

if TYPE_CHECKING:
    from tests.conftest import Config, Lcpy

FIRST = 100000
COUNT = 65536


@pytest.fixture
def box(lcpy: "Lcpy", busybox_root: Path) -> Iterator[Box]:
    """BusyBox in a directory that the root of a user namespace can get to."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        directory = Path(name)
        directory.chmod(0o755)
        shutil.copytree(busybox_root, directory / "root", symlinks=True)
        yield Box(lcpy, directory / "root", directory)


def mapping(inside: int = 0, outside: int = FIRST, size: int = COUNT) -> dict[str, int]:
    return {"containerID": inside, "hostID": outside, "size": size}


def user(
    *uids: dict[str, int],
    gids: "list[dict[str, int]] | None" = None,
    then: "Change | None" = None,
    **process: Any,
) -> Change:
    """A new user namespace with these maps; `process` is what of the process is other."""

    def change(config: "Config") -> None:
        linux = config["linux"]
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = list(uids or [mapping()])
        linux["gidMappings"] = gids or linux["uidMappings"]
        config["process"].update(process)
        if then is not None:
            then(config)

    return change


def status(text: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


# --- the maps, from inside --------------------------------------------------------------------


def test_the_maps_and_the_ids(box: Box) -> None:
    script = "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; id -u; id -g; id -G"
    change = user(mapping(), mapping(70000, 300000, 5), gids=[mapping(0, 200000, 10)])
    said = [line.split() for line in box.lines(script, change=change)]
    assert said == [
        ["0", "100000", "65536"],
        ["70000", "300000", "5"],
        ["0", "200000", "10"],
        ["allow"],
        ["0"],
        ["0"],
        ["0"],
    ]


def test_from_outside_it_is_somebody_else(box: Box) -> None:
    """Nobody's process, and a member of no group, whatever the runtime's own are."""
    bundle = box.bundle(["sleep", "60"], user(user={"uid": 5, "gid": 6, "additionalGids": [7]}))
    container = box.lcpy.new_id()
    box.lcpy("create", "--bundle", bundle, container, check=True)
    pid = box.lcpy.state(container)["pid"]
    found = status(Path(f"/proc/{pid}/status").read_text())
    assert found["Uid"].split() == [str(FIRST + 5)] * 4
    assert found["Gid"].split() == [str(FIRST + 6)] * 4
    assert found["Groups"].split() == [str(FIRST + 7)]
    assert os.stat(f"/proc/{pid}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino
    box.lcpy("delete", "--force", container, check=True)


def test_capabilities_are_those_of_config_json(box: Box) -> None:
    """And are good for nothing outside."""

    def names(config: "Config") -> None:
        for kind in ("bounding", "permitted", "effective"):
            config["process"]["capabilities"][kind] = ["CAP_CHOWN", "CAP_SYS_TIME", "CAP_MKNOD"]
        config["process"]["noNewPrivileges"] = False

    script = (
        "grep Cap /proc/self/status; cd /dev/shm; touch x; chown 9:9 x && stat -c %u x;"
        " mknod /dev/shm/null c 1 3 2>&1; date -s 2020-01-01 2>&1 | grep -o 'not permitted'"
    )
    lines = box.lines(script, change=user(then=names))
    mask = f"{1 << 0 | 1 << 25 | 1 << 27:016x}"
    found = status("\n".join(lines))
    assert {found[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {mask}
    assert found["CapInh"] == found["CapAmb"] == "0" * 16
    assert lines[5:] == ["9", "mknod: /dev/shm/null: Operation not permitted", "not permitted"]


def test_owners_of_files(box: Box) -> None:
    """What we make is root's in there; what is not mapped is nobody's; proc and the mounts work."""
    root = box._root
    for name, owner in (("mapped", FIRST + 3), ("foreign", 7)):
        (root / name).touch()
        os.chown(root / name, owner, owner)
    script = (
        "stat -c '%n %u %g' /mapped /foreign /dev /dev/pts /dev/shm /dev/null /proc/$$;"
        " echo x >/dev/null && cat /dev/zero | head -c 1 | wc -c; ls /proc | grep -c '^[0-9]*$'"
    )
    said = box.lines(script, change=user())
    assert said[:7] == [
        "/mapped 3 3",
        "/foreign 65534 65534",
        "/dev 0 0",
        "/dev/pts 0 0",
        "/dev/shm 0 0",
        "/dev/null 65534 65534",  # the host's, bound: to make one is not allowed
        "/proc/1 0 0",
    ]
    assert said[7] == "1"


def test_the_terminal_belongs_to_root_of_the_user_namespace(box: Box) -> None:
    said = box.sh("mount | grep 'on /dev/pts '", change=user())
    assert f"gid={FIRST + 5}" in said


def test_without_0(box: Box) -> None:
    """Made by whoever is the first to be mapped; and no capability is left over from that."""

    def no_group_5(config: "Config") -> None:
        for mount in config["mounts"]:
            mount["options"] = [
                option for option in mount.get("options", []) if not option.startswith("gid=")
            ]

    change = user(mapping(1000, FIRST, 10), then=no_group_5, user={"uid": 1003, "gid": 1004})
    script = "id -u; id -g; grep Cap /proc/self/status; stat -c %u /dev /dev/shm; echo x >/dev/null"
    lines = box.lines(script, change=change)
    found = status("\n".join(lines))
    assert lines[:2] == ["1003", "1004"]
    assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert lines[-2:] == ["1000", "1000"]


def test_340_extents(box: Box) -> None:
    many = [mapping(number, 1000 + 2 * number, 1) for number in range(340)]
    bundle = box.bundle(["cat", "/proc/self/uid_map"], user(*many), own_root=True)
    said = box.out(bundle=bundle).splitlines()
    assert len(said) == 340
    assert said[-1].split() == ["339", "1678", "1"]


def test_a_user_namespace_and_nothing_else(box: Box) -> None:
    """No namespace beside it and that of mounts: then no new proc may show the host's processes."""

    def change(config: "Config") -> None:
        config["linux"]["namespaces"] = [{"type": "mount"}]
        config.pop("hostname")
        user()(config)
        config["mounts"] = [
            {"destination": "/proc", "source": "/proc", "options": ["rbind"]},
            *(mount for mount in config["mounts"] if mount["destination"] in ("/dev", "/dev/shm")),
        ]

    script = "id -u; for n in pid net ipc uts; do readlink /proc/self/ns/$n; done"
    said = box.lines(script, change=change)
    hosts = [os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "net", "ipc", "uts")]
    assert said == ["0", *hosts]

    def new_proc(config: "Config") -> None:
        change(config)
        config["mounts"][0] = {"destination": "/proc", "type": "proc", "source": "proc"}

    error = box.refused(change=new_proc)
    assert "mounts[0]" in error
    assert "pid namespace" in error


def test_a_bind_of_what_only_root_may_reach(box: Box, tmp_path: Path) -> None:
    """Its source is opened with the host's rights (pytest's directories are closed to others)."""
    (tmp_path / "secret").mkdir(mode=0o700)
    (tmp_path / "secret/file").write_text("said\n")
    (tmp_path / "secret").chmod(0o700)
    mount = {"destination": "/mnt", "source": str(tmp_path / "secret/file"), "options": ["bind"]}
    bundle = box.bundle(
        ["cat", "/mnt"], user(then=lambda config: config["mounts"].append(mount)), own_root=True
    )
    for path in [bundle / "rootfs", *(bundle / "rootfs").rglob("*")]:
        os.chown(path, FIRST, FIRST, follow_symlinks=False)
    assert box.out(bundle=bundle) == "said\n"


def test_rlimits_and_oom_score_are_set_from_outside(box: Box) -> None:
    def change(config: "Config") -> None:
        user()(config)
        config["process"]["oomScoreAdj"] = 500
        config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 4321, "soft": 1234}]

    said = box.lines("ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj", change=change)
    assert said == ["1234", "4321", "500"]


# --- what can't be ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (user(mapping(size=0)), ["linux.uidMappings[0].size", "0 ids can't be mapped"]),
        (
            user(mapping(), mapping(65535, 300000, 2)),
            ["linux.uidMappings[1].containerID", "overlaps"],
        ),
        (
            user(mapping(), gids=[mapping(), mapping(70000, FIRST + 5, 2)]),
            ["linux.gidMappings[1].hostID", "overlaps"],
        ),
        (user(*(mapping(i, 1000 + i, 1) for i in range(341))), ["linux.uidMappings", "340"]),
        (user(mapping(outside=2**32 - 2)), ["linux.uidMappings[0].hostID", "above"]),
        (
            user(*(mapping(i, FIRST + i, 1) for i in range(340))),
            ["linux.uidMappings", "less than 4096"],
        ),
        (user(user={"uid": 70000, "gid": 0}), ["process.user.uid", "unmapped uid 70000"]),
        (user(user={"uid": 0, "gid": 70000}), ["process.user.gid", "unmapped gid 70000"]),
        (
            user(user={"uid": 0, "gid": 0, "additionalGids": [1, 70000]}),
            ["process.user.additionalGids[1]", "70000"],
        ),
        (user(mapping(1000)), ["process.user.uid", "unmapped uid 0"]),
        (
            user(then=lambda config: config["linux"].pop("uidMappings")),
            ["linux.uidMappings", "no uid mappings"],
        ),
        (
            user(then=lambda config: config["linux"].pop("gidMappings")),
            ["linux.gidMappings", "no gid mappings"],
        ),
        (
            user(then=lambda config: config["linux"]["namespaces"].pop()),
            ["linux.uidMappings", "isn't enabled"],
        ),
        (
            user(then=lambda config: config["linux"]["namespaces"].append({"type": "user"})),
            ["linux.namespaces[", "].type", "twice"],
        ),
    ],
)
def test_what_is_refused(box: Box, change: Change, words: "list[str]") -> None:
    error = box.refused(change=change)
    for word in words:
        assert word in error


def test_a_root_that_it_can_not_reach(box: Box) -> None:
    bundle = box.bundle(["true"], user(), own_root=True)
    bundle.chmod(0o700)
    error = box.refused(bundle=bundle)
    assert "root.path" in error
    assert "permission denied" in error


# --- joined -----------------------------------------------------------------------------------


@pytest.fixture
def other() -> Iterator[Callable[..., int]]:
    """Make a process in a user namespace with these maps (and an ipc namespace); its pid."""
    made: list[int] = []

    def make(uids: "list[dict[str, int]]", gids: "list[dict[str, int]] | None" = None) -> int:
        go, ours = os.pipe()
        ready, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(ours)
                syscalls.unshare(0x10000000 | 0x08000000)  # CLONE_NEWUSER, CLONE_NEWIPC
                os.write(theirs, b"x")
                os.read(go, 1)
            finally:
                os._exit(0)
        made.append(pid)
        ends.append(ours)
        os.close(theirs)
        os.close(go)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        for kind, maps in (("uid", uids), ("gid", gids or uids)):
            lines = [f"{each['containerID']} {each['hostID']} {each['size']}\n" for each in maps]
            Path(f"/proc/{pid}/{kind}_map").write_text("".join(lines))
        return pid

    ends: list[int] = []
    yield make
    for pid, end in zip(made, ends, strict=True):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(end)


def joined(pid: int, then: "Change | None" = None, **linux: Any) -> Change:
    def change(config: "Config") -> None:
        config["linux"]["namespaces"].append({"type": "user", "path": f"/proc/{pid}/ns/user"})
        config["linux"].update(linux)
        if then is not None:
            then(config)

    return change


def test_a_joined_one(box: Box, other: Callable[..., int]) -> None:
    """Its maps are its own; all that is new belongs to it."""
    pid = other([mapping(0, 200000, 1000)])
    script = "cat /proc/self/uid_map; readlink /proc/self/ns/user; id -u; stat -c %u /dev /proc/1"
    said = box.lines(script, change=joined(pid))
    assert said[0].split() == ["0", "200000", "1000"]
    assert said[1:] == [os.readlink(f"/proc/{pid}/ns/user"), "0", "0", "0"]


def test_a_joined_one_with_its_maps(box: Box, other: Callable[..., int]) -> None:
    """containerd and CRI-O say them beside the path; in another order they are the same."""
    maps = [mapping(0, 200000, 1000), mapping(2000, 300000, 7)]
    pid = other(maps, maps[:1])
    change = joined(pid, uidMappings=maps[::-1], gidMappings=maps[:1])
    assert box.sh("id -u", change=change) == "0\n"


@pytest.mark.parametrize("field", ["uidMappings", "gidMappings"])
def test_a_joined_one_that_has_other_maps(box: Box, other: Callable[..., int], field: str) -> None:
    maps = [mapping(0, 200000, 1000)]
    pid = other(maps)
    linux: dict[str, Any] = {"uidMappings": maps, "gidMappings": maps}
    linux[field] = [mapping(0, 200000, 999)]
    error = box.refused(change=joined(pid, **linux))
    assert f"linux.{field}: not what the user namespace to be joined has: 0 200000 1000" in error


def test_a_joined_one_without_0(box: Box, other: Callable[..., int]) -> None:
    pid = other([mapping(1000, 200000, 10)])

    def change(config: "Config") -> None:
        config["process"]["user"] = {"uid": 1003, "gid": 1004}
        for mount in config["mounts"]:
            mount["options"] = [
                option for option in mount.get("options", []) if not option.startswith("gid=")
            ]

    said = box.lines("id -u; id -g; stat -c %u /dev", change=joined(pid, change))
    assert said == ["1003", "1004", "1000"]


def test_ids_that_a_joined_one_has_not(box: Box, other: Callable[..., int]) -> None:
    pid = other([mapping(0, 200000, 1000)])
    for process, field in (
        ({"uid": 1000, "gid": 0}, "process.user.uid"),
        ({"uid": 0, "gid": 1000}, "process.user.gid"),
        ({"uid": 0, "gid": 0, "additionalGids": [1000]}, "process.user.additionalGids"),
    ):

        def change(config: "Config", user: "dict[str, Any]" = process) -> None:
            config["process"]["user"] = user

        error = box.refused(change=joined(pid, change))
        assert field in error


def test_one_without_maps(box: Box, other: Callable[..., int]) -> None:
    """Somebody has made it, and not written any yet."""
    pid = other([])
    error = box.refused(change=joined(pid))
    assert "linux.uidMappings" in error
    assert "no uid is mapped" in error


def test_one_that_may_not_set_groups(box: Box) -> None:
    """As a user makes it who maps just himself: groups are left as they are, or refused."""
    argv = ["unshare", "--user", "--map-root-user", "sh", "-c", "echo; exec sleep 60"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline()

            def change(config: "Config") -> None:
                for mount in config["mounts"]:
                    mount["options"] = [
                        option
                        for option in mount.get("options", [])
                        if not option.startswith("gid=")
                    ]

            said = box.sh("id -u; cat /proc/self/setgroups", change=joined(process.pid, change))
            assert said == "0\ndeny\n"

            def groups(config: "Config") -> None:
                change(config)
                config["process"]["user"]["additionalGids"] = [0]

            error = box.refused(change=joined(process.pid, groups))
            assert "process.user.additionalGids" in error
        finally:
            process.kill()


def test_our_own_user_namespace_by_its_path(box: Box) -> None:
    """Nothing is joined."""
    assert box.sh("id -u", change=joined(os.getpid())) == "0\n"


def test_our_own_user_namespace_with_other_maps(box: Box) -> None:
    error = box.refused(
        change=joined(os.getpid(), uidMappings=[mapping()], gidMappings=[mapping()])
    )
    assert "linux.uidMappings" in error
