"""Idmapped mounts, and sources that a helper with the host's credentials opens."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.linux.flags import (
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    MS_BIND,
    MS_NODEV,
    MS_SHARED,
)
from libcontainer_py.linux.syscalls import mount
from libcontainer_py.mount import sources
from tests.isolation.mount_child import (
    PROC,
    ChildError,
    build,
    helper,
    in_child,
    mount_at,
    searchable_directory,
    user_namespace,
)

USER = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID
INSIDE = CLONE_NEWNS | CLONE_NEWPID
MAPS = "0 100000 65536"
OVERFLOW = [65534, 65534]


@pytest.fixture
def place() -> "Iterator[Path]":
    """A root for the container's root user, and a tree of the host's with one mount in it."""
    with searchable_directory() as directory:
        for name in ("rootfs", "secret/volume/below", "below"):
            (directory / name).mkdir(parents=True)
        os.chown(directory / "rootfs", 100000, 100000)
        (directory / "secret").chmod(0o700)
        for name, uid, gid in (("secret/volume/file", 100, 211), ("below/file", 101, 222)):
            (directory / name).write_text("from the host", encoding="utf-8")
            os.chown(directory / name, uid, gid)
        yield directory


def bind(source: "Path | str", *options: str, **more: Any) -> "dict[str, Any]":
    words = options if "rbind" in options else ("bind", *options)
    return {"source": str(source), "destination": "/volume", "options": list(words), **more}


def mapping(container: int, host: int, size: int = 1) -> "list[dict[str, int]]":
    return [{"containerID": container, "hostID": host, "size": size}]


def owners(*paths: str) -> "list[list[int]]":
    return [[os.stat(path).st_uid, os.stat(path).st_gid] for path in paths]


OWN = {"uidMappings": mapping(100, 101000, 5), "gidMappings": mapping(200, 102000, 50)}


def own_namespace() -> int:
    return user_namespace("100 101000 5", "200 102000 50")


# --- what is wanted ---------------------------------------------------------------------------


def test_which_mounts_need_the_helper() -> None:
    config: list[dict[str, Any]] = [
        PROC,
        bind("/a"),
        bind("/b", "idmap"),
        bind("/c", **OWN),
        bind("/d", "remount"),
        {"destination": "/e", "type": "tmpfs"},
    ]

    assert sources.wanted(config, False) == [2, 3]
    assert sources.wanted(config, True) == [1, 2, 3]


def test_which_user_namespace_carries_the_mapping() -> None:
    own = (OWN["uidMappings"], OWN["gidMappings"])

    assert sources.user_namespace_for(bind("/", **OWN)) == own
    assert sources.user_namespace_for(bind("/", "ridmap", **OWN)) == own
    assert sources.user_namespace_for(bind("/", "idmap")) is None


@pytest.mark.parametrize(
    ("mount", "field"),
    [
        (bind("/", "ro", "idmap"), "mounts[0].options[2]"),
        (bind("/", "idmap", "ridmap"), "mounts[0].options[2]"),
        (bind("/", "idmap", **OWN), "mounts[0].uidMappings"),
        (bind("/", "remount", "idmap"), "mounts[0].options[2]"),
    ],
)
def test_nobody_inside_maps_owners(place: Path, mount: "dict[str, Any]", field: str) -> None:
    with pytest.raises(ChildError) as caught:
        in_child(lambda: build(place / "rootfs", [mount]))
    assert (caught.value.kind, caught.value.field) == ("ConfigError", field)


# --- idmapped mounts --------------------------------------------------------------------------


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("word", ["", "idmap", "ridmap"])
def test_an_idmapped_mount_shows_mapped_owners(place: Path, user: bool, word: str) -> None:
    """`ridmap` maps what is mounted below too; `idmap`, and no word, the top alone."""
    config = [PROC, bind(place / "secret/volume", "rbind", *filter(None, [word]), **OWN)]

    def look() -> Any:
        mount(str(place / "below"), str(place / "secret/volume/below"), None, MS_BIND)
        with helper(config, {1: own_namespace()}, in_user_namespace=user) as given:
            return in_child(lambda: inner(given), USER if user else INSIDE, maps=MAPS)

    def inner(given: Any) -> Any:
        build(place / "rootfs", config, given=given)
        return owners("/volume/file", "/volume/below/file")

    moved = 0 if not user else -100000
    below = [101, 222] if not user else OVERFLOW
    if word == "ridmap":
        below = [101001 + moved, 102022 + moved]
    assert in_child(look) == [[101000 + moved, 102011 + moved], below]


@pytest.mark.parametrize(("word", "below"), [("idmap", OVERFLOW), ("ridmap", [101, 222])])
def test_the_containers_own_mapping(place: Path, word: str, below: "list[int]") -> None:
    config = [PROC, bind(place / "secret/volume", "rbind", word)]

    def look() -> Any:
        mount(str(place / "below"), str(place / "secret/volume/below"), None, MS_BIND)
        with helper(config, {1: user_namespace(MAPS)}) as given:
            return in_child(lambda: inner(given), USER, maps=MAPS)

    def inner(given: Any) -> Any:
        build(place / "rootfs", config, given=given)
        os.close(os.open("/volume/new", os.O_CREAT | os.O_WRONLY))
        return owners("/volume/file", "/volume/below/file", "/volume/new")

    os.chown(place / "secret/volume", 0, 0)
    assert in_child(look) == [[100, 211], below, [0, 0]]
    assert owners(str(place / "secret/volume/new")) == [[0, 0]]


def test_an_idmapped_mount_takes_flags_and_propagation(place: Path) -> None:
    config = [PROC, bind(place / "secret/volume", "ro", "noexec", "shared", **OWN)]

    def look() -> Any:
        with helper(config, {1: own_namespace()}) as given:
            return in_child(lambda: inner(given), USER, maps=MAPS)

    def inner(given: Any) -> Any:
        build(place / "rootfs", config, given=given)
        return mount_at("/volume")

    seen = in_child(look)
    assert {"ro", "noexec", "idmapped"} <= set(seen["flags"])
    assert seen["propagation"] == ["shared"]


def test_a_filesystem_that_can_not_be_idmapped_is_an_error(place: Path) -> None:
    config = [PROC, bind("/proc", "rbind", "ridmap", **OWN)]

    def look() -> Any:
        with helper(config, {1: own_namespace()}) as given:
            return in_child(lambda: build(place / "rootfs", config, given=given), USER, maps=MAPS)

    with pytest.raises(ChildError) as caught:
        in_child(look)
    assert (caught.value.errno, caught.value.field) == (errno.EINVAL, "mounts[1].uidMappings")
    assert "support idmapped mounts" in caught.value.text


def test_a_mount_is_not_mapped_twice(place: Path) -> None:
    config = [
        PROC,
        bind(place / "secret/volume", **OWN),
        {**bind(place / "rootfs/volume", "idmap"), "destination": "/again"},
    ]

    def look() -> Any:
        with helper(config, {1: own_namespace(), 2: user_namespace(MAPS)}) as given:
            return in_child(lambda: build(place / "rootfs", config, given=given), USER, maps=MAPS)

    with pytest.raises(ChildError) as caught:
        in_child(look)
    assert (caught.value.errno, caught.value.field) == (errno.EPERM, "mounts[2].options[1]")


# --- sources that only the host can open ------------------------------------------------------


def test_a_source_below_a_directory_that_the_container_may_not_search(place: Path) -> None:
    config = [
        PROC,
        bind("secret/volume", "ro"),
        {**bind("secret/volume/file"), "destination": "/file"},
    ]

    def look(given: Any) -> Any:
        build(place / "rootfs", config, given=given)
        return [
            Path("/volume/file").read_text(encoding="utf-8"),
            Path("/file").read_text(encoding="utf-8"),
            "ro" in mount_at("/volume")["flags"],
        ]

    with helper(config, directory=place) as given:
        assert in_child(lambda: look(given), USER, maps=MAPS) == ["from the host"] * 2 + [True]
    with pytest.raises(ChildError) as caught:
        in_child(lambda: build(place / "rootfs", [bind(place / "secret/volume")]), USER, maps=MAPS)
    assert (caught.value.errno, caught.value.field) == (errno.EACCES, "mounts[0].source")


def test_a_source_inside_what_an_earlier_mount_made(place: Path) -> None:
    """As runc's tests of the order of mounts have it: each is opened in its turn."""
    config = [
        PROC,
        {**bind(place / "secret/volume"), "destination": "/a"},
        {**bind(place / "rootfs/a"), "destination": "/b"},
        {**bind(place / "rootfs/b/file", "idmap"), "destination": "/c"},
    ]

    def look(given: Any) -> Any:
        build(place / "rootfs", config, given=given)
        return Path("/c").read_text(encoding="utf-8"), owners("/c", "/b/file")

    with helper(config, {3: user_namespace(MAPS)}) as given:
        seen = in_child(lambda: look(given), USER, maps=MAPS)
    assert seen == ["from the host", [[100, 211], OVERFLOW]]


def test_a_source_that_is_missing_is_the_helper_s_error(place: Path) -> None:
    config = [PROC, bind(place / "not there")]

    with helper(config) as given, pytest.raises(ChildError) as caught:
        in_child(lambda: build(place / "rootfs", config, given=given), USER, maps=MAPS)
    assert (caught.value.errno, caught.value.field) == (errno.ENOENT, "mounts[1].source")


def test_locked_flags_are_locked_in_what_the_helper_opens(place: Path) -> None:
    config = [PROC, bind(place / "secret/volume", "dev")]

    def look() -> Any:
        mount("tmpfs", str(place / "secret/volume"), "tmpfs", MS_NODEV)
        with helper(config) as given:
            return in_child(lambda: build(place / "rootfs", config, given=given), USER, maps=MAPS)

    with pytest.raises(ChildError) as caught:
        in_child(look)
    assert (caught.value.errno, caught.value.field) == (errno.EPERM, "mounts[1].options")
    assert "nodev" in caught.value.text


@pytest.mark.parametrize("how", ["unbindable", "locked"])
def test_a_source_that_can_not_be_bound_is_worded(place: Path, how: str) -> None:
    config: list[dict[str, Any]] = [PROC, bind(place / "secret/volume")]
    if how == "unbindable":
        config[1:] = [
            {"destination": "/a", "type": "tmpfs", "options": ["unbindable"]},
            bind(place / "rootfs/a"),
        ]

    def look() -> Any:
        mount("tmpfs", str(place / "secret/volume/below"), "tmpfs")
        with helper(config) as given:
            return in_child(lambda: build(place / "rootfs", config, given=given), USER, maps=MAPS)

    with pytest.raises(ChildError) as caught:
        in_child(look)
    field = f"mounts[{len(config) - 1}].source"
    assert (caught.value.errno, caught.value.field) == (errno.EINVAL, field)
    assert "unbindable" in caught.value.text


def test_nothing_of_it_propagates_to_the_host(place: Path) -> None:
    """The helper opens in the child's mount namespace, which receives and never sends."""
    config = [PROC, bind(place / "shared", **OWN)]

    def look() -> Any:
        (place / "shared").mkdir()
        mount("tmpfs", str(place), "tmpfs")
        mount(None, str(place), None, MS_SHARED)
        for name in ("shared", "rootfs"):
            (place / name).mkdir()
        with helper(config, {1: own_namespace()}, in_user_namespace=False) as given:
            in_child(lambda: inner(given), INSIDE, private=False)
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        return [line for line in text.splitlines() if f"{place}/" in line]

    def inner(given: Any) -> None:
        build(place / "rootfs", config, given=given)
        mount("tmpfs", "/volume", "tmpfs")

    assert in_child(look) == []
