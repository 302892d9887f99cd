"""Types and options of filesystems, mounts inside mounts, and filesystems that others have made."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.linux.flags import (
    CLONE_NEWIPC,
    CLONE_NEWNS,
    CLONE_NEWPID,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
)
from libcontainer_py.linux.syscalls import CWD, fsconfig_create, fsmount, fsopen, unshare
from libcontainer_py.mount.options import known_options
from libcontainer_py.mount.trees import clone_tree
from tests.isolation.mount_child import DEV, PROC, ChildError, build, in_child, mount_at

INSIDE = CLONE_NEWNS | CLONE_NEWPID


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "rootfs"
    directory.mkdir()
    return directory


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    directory = tmp_path / "volume"
    directory.mkdir()
    (directory / "file").write_text("from the host", encoding="utf-8")
    return directory


def tmpfs(*options: str, destination: str = "/t") -> "dict[str, Any]":
    return {
        "destination": destination,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": list(options),
    }


def bind(source: "Path | str", destination: str, *options: str) -> "dict[str, Any]":
    words = options if "rbind" in options else ("bind", *options)
    return {"source": str(source), "destination": destination, "options": list(words)}


def mounted(root: Path, *config: "dict[str, Any]", at: str = "/t") -> "dict[str, Any]":
    def look() -> Any:
        build(root, [PROC, *config])
        return mount_at(at)

    found: dict[str, Any] = in_child(look, INSIDE)
    return found


def refused(root: Path, *config: "dict[str, Any]") -> ChildError:
    with pytest.raises(ChildError) as caught:
        in_child(lambda: build(root, [PROC, *config]), INSIDE)
    return caught.value


# --- option words -----------------------------------------------------------------------------


@pytest.mark.parametrize("word", sorted({*known_options()} - {"idmap", "ridmap", "remount"}))
def test_every_word_is_taken_by_the_kernel(root: Path, volume: Path, word: str) -> None:
    """On a bind and on a filesystem; what they do is held by the others."""
    config = [bind(volume, "/v", word)]
    if word not in ("bind", "rbind"):
        config.append(tmpfs(word))

    def look() -> Any:
        build(root, [PROC, *config])
        return [mount_at(mount["destination"])["type"] for mount in config]

    kinds = in_child(look, INSIDE)
    assert kinds[1:] in ([], ["tmpfs"])


@pytest.mark.parametrize(
    ("words", "there", "gone"),
    [
        (["ro", "rw"], "rw", "ro"),
        (["rw", "ro"], "ro", "rw"),
        (["nosuid", "suid", "nodev", "dev", "exec", "noexec"], "noexec", "nosuid,nodev"),
        (["noatime", "atime"], "relatime", "noatime"),
        (["atime", "noatime"], "noatime", "relatime"),
        (["nodiratime", "diratime"], "relatime", "nodiratime"),
        (["strictatime", "nostrictatime"], "relatime", "noatime"),
        (["nosymfollow", "symfollow"], "", "nosymfollow"),
        (["ro", "defaults"], "ro", "rw"),
        (["rro", "rrw"], "rw", "ro"),
        (["ro", "rrw"], "rw", "ro"),
        (["rnoexec", "rexec", "rnosuid"], "nosuid", "noexec"),
        (["rnoatime", "ratime"], "relatime", "noatime"),
        (["rnodiratime", "rdiratime", "rnodev"], "nodev", "nodiratime"),
        (["rnosymfollow", "rsymfollow"], "", "nosymfollow"),
        (["rstrictatime"], "", "relatime,noatime"),
    ],
)
def test_of_words_that_contradict_each_other_the_last_wins(
    root: Path, volume: Path, words: "list[str]", there: str, gone: str
) -> None:
    for config in (bind(volume, "/t", *words), {**tmpfs(*words), "type": "ramfs"}):
        flags = set(mounted(root, config)["flags"])
        assert set(filter(None, there.split(","))) <= flags
        assert not set(filter(None, gone.split(","))) & flags


@pytest.mark.parametrize(
    ("words", "there", "gone"),
    [
        (["sync", "dirsync"], "sync,dirsync", ""),
        (["sync", "async"], "", "sync"),
        (["lazytime"], "lazytime", ""),
        (["lazytime", "nolazytime"], "", "lazytime"),
        (["silent", "loud", "iversion", "noiversion"], "rw", "silent"),
        (["ro"], "ro", "rw"),
    ],
)
def test_words_for_the_superblock(root: Path, words: "list[str]", there: str, gone: str) -> None:
    data = set(mounted(root, {**tmpfs(*words), "type": "ramfs"})["superblock"])
    assert set(filter(None, there.split(","))) <= data
    assert not set(filter(None, gone.split(","))) & data


def test_of_a_filesystem_s_own_words_the_last_wins(root: Path) -> None:
    found = mounted(root, tmpfs("size=64k,mode=700", "size=128k", "mode=0750"))
    assert {"size=128k", "mode=750"} <= set(found["superblock"])


def test_a_list_of_memory_nodes_is_one_option(root: Path) -> None:
    """tmpfs(5): mpol=Policy:NodeList, with commas that part no options."""
    assert "mpol=bind:0" in mounted(root, tmpfs("mpol=bind:0,0,size=64k"))["superblock"]


# --- types ------------------------------------------------------------------------------------


def test_mqueue_shows_the_queues_of_the_ipc_namespace(root: Path) -> None:
    config = {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"}

    def look() -> Any:
        unshare(CLONE_NEWIPC)
        build(root, [PROC, DEV, config])
        Path("/dev/mqueue/made").touch()
        return os.listdir("/dev/mqueue")

    assert in_child(look, INSIDE) == ["made"]


def test_overlay_with_paths_that_need_an_escape(root: Path, tmp_path: Path) -> None:
    """A colon and a comma in a path are escaped with a backslash, as the kernel wants it."""
    for name in ("a:b", "c,d", "upper,", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "a:b/first").touch()
    (tmp_path / "c,d/second").touch()
    config = {
        "destination": "/t",
        "type": "overlay",
        "source": "overlay",
        "options": [
            f"lowerdir={tmp_path}/a\\:b:{tmp_path}/c\\,d,upperdir={tmp_path}/upper\\,",
            f"workdir={tmp_path}/work",
        ],
    }

    def look() -> Any:
        build(root, [PROC, config])
        Path("/t/written").touch()
        return sorted(os.listdir("/t"))

    assert in_child(look, INSIDE) == ["first", "second", "written"]
    assert (tmp_path / "upper,/written").exists()


@pytest.mark.parametrize("how", ["short", "long"])
def test_an_overlay_whose_layer_is_missing_is_worded(root: Path, tmp_path: Path, how: str) -> None:
    layers = f"{tmp_path}/not-there" + (f":{tmp_path}" + "/." * 150 if how == "long" else "")
    config = {"destination": "/t", "type": "overlay", "options": [f"lowerdir={layers}"]}

    error = refused(root, config)

    assert error.errno == errno.ENOENT
    assert (error.field or "").startswith("mounts[1]")


# --- mounts inside mounts ---------------------------------------------------------------------


def test_mounts_are_made_in_their_order(root: Path, volume: Path) -> None:
    """Each inside the one before it, and one on top of another."""
    config = [
        tmpfs(destination="/a"),
        bind(volume, "/a/b"),
        tmpfs("size=64k", destination="/a/b"),
        bind(volume / "file", "/a/b/c/file"),
    ]

    def look() -> Any:
        build(root, [PROC, *config])
        return Path("/a/b/c/file").read_text(encoding="utf-8"), mount_at("/a/b")["superblock"]

    text, data = in_child(look, INSIDE)
    assert text == "from the host"
    assert "size=64k" in data
    assert sorted(os.listdir(volume)) == ["file"]


def test_a_place_below_a_read_only_mount_must_be_there(root: Path, volume: Path) -> None:
    (volume / "there").mkdir()
    config = [bind(volume, "/v", "ro"), tmpfs(destination="/v/there")]
    assert mounted(root, *config, at="/v/there")["type"] == "tmpfs"

    error = refused(root, config[0], tmpfs(destination="/v/missing/deep"))

    assert (error.errno, error.field) == (errno.EROFS, "mounts[2].destination")
    assert not (volume / "missing").exists()


def test_a_file_on_a_directory_and_a_directory_on_a_file(root: Path, volume: Path) -> None:
    (root / "directory").mkdir()
    (root / "file").touch()

    onto_directory = refused(root, bind(volume / "file", "/directory"))
    onto_file = refused(root, bind(volume, "/file"))
    filesystem = refused(root, tmpfs(destination="/file"))

    for error in (onto_directory, onto_file, filesystem):
        assert (error.errno, error.field) == (errno.ENOTDIR, "mounts[1].destination")
    assert "the source is a file" in onto_directory.text


@pytest.mark.parametrize("destination", ["/../../../t", "../t", "t/", "//t/.", "/x/../t"])
def test_a_destination_that_climbs_stays_inside(root: Path, destination: str) -> None:
    (root / "x").mkdir()
    assert mounted(root, tmpfs(destination=destination))["type"] == "tmpfs"
    assert (root / "t").is_dir()


# --- filesystems that were made elsewhere -----------------------------------------------------


def made_elsewhere() -> int:
    """A proc of this pid namespace, as a detached mount."""
    context = fsopen("proc", FSOPEN_CLOEXEC)
    try:
        fsconfig_create(context)
        return fsmount(context, FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)


def test_a_proc_that_was_made_elsewhere_is_attached(root: Path) -> None:
    """As for a joined pid namespace, which no Python enters: it has the mount's flags."""
    config = [{**PROC, "options": ["ro", "nosuid", "noexec", "noatime"]}]

    def look() -> Any:
        build(root, config, given={0: tree})
        return mount_at("/proc"), os.path.exists(f"/proc/{parent}")

    parent, tree = os.getpid(), made_elsewhere()
    try:
        found, there = in_child(look, INSIDE)
    finally:
        os.close(tree)
    assert found["type"] == "proc"
    assert {"ro", "nosuid", "noexec", "noatime"} <= set(found["flags"])
    assert there  # a new one would show the child's own pid namespace


def test_a_given_bind_is_used_instead_of_its_source(root: Path, volume: Path) -> None:
    """And its descriptor is not left open."""
    config = [PROC, bind("/not/there", "/t", "ro")]

    def look() -> Any:
        tree = clone_tree(CWD, str(volume))
        build(root, config, given={1: tree})
        try:
            os.fstat(tree)
        except OSError as error:
            return mount_at("/t")["flags"], os.listdir("/t"), error.errno
        return None

    flags, names, closed = in_child(look, INSIDE)
    assert "ro" in flags
    assert names == ["file"]
    assert closed == errno.EBADF
