"""Where a container's cgroups are, on hosts that this one is not."""

import pytest

from libcontainer_py.cgroups import hierarchies
from libcontainer_py.cgroups import manager as manager_module
from libcontainer_py.cgroups.disabled import Disabled
from libcontainer_py.cgroups.interface import asks
from libcontainer_py.cgroups.manager import load, manager
from libcontainer_py.cgroups.v1 import V1
from libcontainer_py.errors import ConfigError, Error, StepError

Mount = tuple[str, str, str, list[str]]
Own = dict[int, tuple[list[str], str]]

JOINED: "tuple[Own, list[Mount]]" = (
    {
        3: (["cpu", "cpuacct"], "/user.slice"),
        2: (["memory"], "/user.slice/a"),
        1: (["name=systemd"], "/user.slice/session"),
        0: ([""], "/user.slice/session"),
    },
    [
        ("/sys/fs/cgroup/unified", "/", "cgroup2", ["rw", "nsdelegate"]),
        ("/sys/fs/cgroup/systemd", "/", "cgroup", ["rw", "xattr", "name=systemd"]),
        ("/sys/fs/cgroup/cpu,cpuacct", "/", "cgroup", ["rw", "cpu", "cpuacct"]),
        ("/sys/fs/cgroup/memory", "/", "cgroup", ["rw", "memory"]),
    ],
)


def host(monkeypatch: pytest.MonkeyPatch, own: Own, mounts: "list[Mount]") -> None:
    monkeypatch.setattr(hierarchies, "_own_cgroups", lambda: own)
    monkeypatch.setattr(hierarchies, "_cgroup_mounts", lambda: iter(mounts))
    monkeypatch.setattr(manager_module, "_writable", lambda _places, _name: True)


def v1(path: "str | None", container: str = "c") -> V1:
    cgroups = manager(path, container)
    assert isinstance(cgroups, V1)
    return cgroups


def test_relative_paths_are_below_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    host(monkeypatch, *JOINED)
    assert v1("x/y").paths == {
        "memory": "/sys/fs/cgroup/memory/user.slice/a/x/y",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/user.slice/x/y",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/user.slice/x/y",
        "name=systemd": "/sys/fs/cgroup/systemd/user.slice/session/x/y",
        "": "/sys/fs/cgroup/unified/x/y",
    }
    assert v1(None, "c").paths == v1("c").paths == v1("", "c").paths


@pytest.mark.parametrize("path", ["/x/y", "//x//y/", "/./x/y"])
def test_absolute_paths_are_below_the_mount(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    host(monkeypatch, *JOINED)
    assert set(v1(path).paths.values()) == {
        "/sys/fs/cgroup/memory/x/y",
        "/sys/fs/cgroup/cpu,cpuacct/x/y",
        "/sys/fs/cgroup/systemd/x/y",
        "/sys/fs/cgroup/unified/x/y",
    }


def test_controllers_mounted_together_share_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    host(monkeypatch, *JOINED)
    cgroups = v1("/x")
    shared = {entry.name: entry for entry in cgroups.mounts()}["cpu,cpuacct"]
    assert (shared.options, shared.aliases) == ("cpu,cpuacct", ("cpu", "cpuacct"))
    assert [entry.name for entry in cgroups.mounts()] == ["memory", "cpu,cpuacct", "systemd"]
    assert load(cgroups.state()).paths == cgroups.paths


def test_inside_a_container_the_mount_shows_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    host(
        monkeypatch,
        {1: (["memory"], "/docker/abc/sub")},
        [("/sys/fs/cgroup/memory", "/docker/abc", "cgroup", ["ro", "memory"])],
    )
    assert v1("x").paths == {"memory": "/sys/fs/cgroup/memory/sub/x"}
    assert v1("/x").paths == {"memory": "/sys/fs/cgroup/memory/x"}


@pytest.mark.parametrize("own", ["/docker/abcd", "/docker", "/..", "/docker/abc/../x"])
def test_our_own_cgroup_may_be_out_of_sight(monkeypatch: pytest.MonkeyPatch, own: str) -> None:
    host(
        monkeypatch,
        {1: (["memory"], own)},
        [("/sys/fs/cgroup/memory", "/docker/abc", "cgroup", ["memory"])],
    )
    with pytest.raises(StepError, match="below /sys/fs/cgroup/memory"):
        manager("x", "c")
    assert v1("/x").paths == {"memory": "/sys/fs/cgroup/memory/x"}


def test_the_conventional_mount_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    host(
        monkeypatch,
        {1: (["memory"], "/"), 0: ([""], "/")},
        [
            ("/run/other/cgroup2", "/", "cgroup2", ["rw"]),
            ("/var/lib/box/rootfs/sys/fs/cgroup/memory", "/box", "cgroup", ["memory"]),
            ("/sys/fs/cgroup/memory", "/", "cgroup", ["memory"]),
            ("/later/memory", "/", "cgroup", ["memory"]),
        ],
    )
    assert v1("x").paths == {"memory": "/sys/fs/cgroup/memory/x"}


def test_the_search_ends_when_all_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """mountinfo grows with the number of containers; what one costs must not."""
    own, mounts = JOINED
    read = []

    def reading() -> "object":
        for mount in [*mounts, ("/var/box", "/", "cgroup", ["memory"])]:
            read.append(mount[0])
            yield mount

    host(monkeypatch, own, mounts)
    monkeypatch.setattr(hierarchies, "_cgroup_mounts", reading)
    v1("/x")
    assert read == [mount[0] for mount in mounts]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../x", r'"\.\." has no place'),
        ("/a/../b", r'"\.\." has no place'),
        ("/a\nb", "unprintable"),
        ("/a\0b", "unprintable"),
        ("/", "names no cgroup"),
        ("//.", "names no cgroup"),
        (".", "names no cgroup"),
    ],
)
def test_bad_paths_are_refused(path: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        manager(path, "c")
    assert caught.value.field == "linux.cgroupsPath"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("own", "root", "path", "place"),
    [
        ("/user.slice/a.scope", "/", None, "user.slice/c"),
        ("/user.slice/a.scope", "/", "x/y", "user.slice/x/y"),
        ("/user.slice/a.scope", "/", "/x/y", "x/y"),
        ("/", "/", None, "c"),
        # A container's: nothing above its own can be seen.
        ("/docker/1", "/docker/1", None, "c"),
        ("/docker/1/init", "/docker/1", None, "c"),
    ],
)
def test_with_v2_alone_relative_paths_are_beside_our_own(
    monkeypatch: pytest.MonkeyPatch, own: str, root: str, path: "str | None", place: str
) -> None:
    host(monkeypatch, {0: ([""], own)}, [("/sys/fs/cgroup", root, "cgroup2", ["rw"])])
    monkeypatch.setattr(manager_module, "_parent_is_writable", lambda _path, _mountpoint: True)
    cgroups = manager(path, "c")
    assert cgroups.paths == {"": f"/sys/fs/cgroup/{place}"}
    assert load(cgroups.state()).paths == cgroups.paths


@pytest.mark.parametrize("path", [None, "/x"])
def test_with_v2_alone_where_we_may_not_write(
    monkeypatch: pytest.MonkeyPatch, path: "str | None"
) -> None:
    host(monkeypatch, {0: ([""], "/")}, [("/sys/fs/cgroup", "/", "cgroup2", ["rw"])])
    monkeypatch.setattr(manager_module, "_parent_is_writable", lambda _path, _mountpoint: False)
    if path is None:
        assert isinstance(manager(path, "c"), Disabled)
    else:
        with pytest.raises(StepError, match="permission denied"):
            manager(path, "c")


def test_v2_alone_where_it_does_not_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    host(monkeypatch, {0: ([""], "/")}, [("/mnt", "/", "cgroup2", ["rw"])])
    with pytest.raises(Error, match="it is not mounted at /sys/fs/cgroup"):
        manager(None, "c")


def test_a_host_without_controllers(monkeypatch: pytest.MonkeyPatch) -> None:
    host(
        monkeypatch,
        {1: (["name=systemd"], "/")},
        [("/sys/fs/cgroup/systemd", "/", "cgroup", ["name=systemd"])],
    )
    cgroups = manager(None, "c")
    assert isinstance(cgroups, Disabled)
    again = load(cgroups.state())
    assert isinstance(again, Disabled)
    assert again.why == cgroups.why


def test_a_user_who_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    host(monkeypatch, *JOINED)
    monkeypatch.setattr(manager_module, "_writable", lambda _places, _name: False)
    assert isinstance(manager(None, "c"), Disabled)
    with pytest.raises(StepError, match="permission denied") as caught:
        manager("/x", "c")
    assert caught.value.field == "linux.cgroupsPath"


def test_mountinfo_escapes_are_undone() -> None:
    assert hierarchies.unescape(r"/a\040b\134c") == "/a b\\c"


def test_an_unknown_driver_is_refused() -> None:
    with pytest.raises(Error, match='"v9\\\\n"'):
        load({"driver": "v9\n"})


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"memory": {"limit": 1}}, "linux.resources.memory"),
        ({"pids": {"limit": -1}}, "linux.resources.pids"),
        ({"devices": [{"allow": False, "access": "rwm"}]}, "linux.resources.devices"),
    ],
)
def test_disabled_refuses_limits(resources: "dict[str, object]", field: str) -> None:
    cgroups = Disabled("there are none")
    for method in (cgroups.create, cgroups.set, cgroups.set_memory):
        with pytest.raises(ConfigError, match="there are none") as caught:
            method(resources)
        assert caught.value.field == field


def test_disabled_does_nothing_but_says_what_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    cgroups = Disabled("there are none")
    cgroups.create({"memory": {"limit": 0}, "cpu": {}, "blockIO": {"weight": 0}})
    cgroups.join(1)
    cgroups.kill()
    cgroups.remove()
    cgroups.entrance().enter()
    assert (cgroups.paths, cgroups.mounts(), cgroups.oom_count()) == ({}, [], None)
    assert not cgroups.frozen()
    for method in (cgroups.pids, cgroups.freeze, cgroups.thaw):
        with pytest.raises(StepError, match="there are none"):
            method()
    # A user namespace holds what rules about devices are for.
    monkeypatch.setattr("libcontainer_py.cgroups.disabled.in_initial_user_namespace", lambda: False)
    cgroups.create({"devices": [{"allow": False, "access": "rwm"}]})


def test_asks() -> None:
    assert not asks({"a": 0, "b": [], "c": {"d": None, "e": ""}, "f": False})
    assert asks({"a": [{"b": -1}]})
