"""Propagation, seen from both sides: what the host mounts later, and what the container mounts."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.linux.flags import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, MS_REC, MS_SHARED
from libcontainer_py.linux.syscalls import mount
from tests.isolation.mount_child import (
    DEV,
    PROC,
    build,
    in_child,
    mount_at,
    searchable_directory,
)

INSIDE = CLONE_NEWNS | CLONE_NEWPID


def both_sides(
    place: Path,
    config: "list[dict[str, Any]]",
    look: "Callable[[], Any]",
    *,
    propagation: "str | None",
    flags: int = INSIDE,
) -> "tuple[Any, list[str]]":
    """Make a host whose mounts are shared, and on it a container with the root ``place/rootfs``.

    Then the host mounts on ``place/rootfs/host`` and ``place/volume/host``. Returns what `look`
    says of that inside, and where the container's own mounts are seen outside.
    """

    def host() -> Any:
        mount("tmpfs", str(place), "tmpfs")
        (place / "volume").mkdir()
        mount("tmpfs", str(place / "volume"), "tmpfs")
        mount(None, str(place), None, MS_SHARED | MS_REC)
        for name in ("rootfs/host", "rootfs/root", "volume/host", "volume/container"):
            (place / name).mkdir(parents=True)
        os.chown(place / "rootfs", 100000, 100000)
        ready, done = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.read(ready[0], 1)
            mount("tmpfs", str(place / "rootfs/host"), "tmpfs")
            mount("tmpfs", str(place / "volume/host"), "tmpfs")
            os.write(done[1], b"1")
            os._exit(0)

        def container() -> Any:
            build(
                place / "rootfs",
                config,
                propagation=propagation,
                in_user_namespace=bool(flags & CLONE_NEWUSER),
            )
            os.write(ready[1], b"1")
            os.read(done[0], 1)
            mount("tmpfs", "/root", "tmpfs")
            return look()

        found = in_child(container, flags, private=False, maps="0 100000 65536")
        os.waitpid(pid, 0)
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        ours = {str(place / name) for name in ("rootfs/host", "volume", "volume/host")}
        points = {line.split(" ")[4] for line in text}
        return found, sorted(point for point in points - ours if point.startswith(f"{place}/"))

    found, outside = in_child(host)
    return found, outside


@pytest.mark.parametrize(
    ("word", "fields", "sees"),
    [
        (None, {"master"}, True),
        ("slave", {"master"}, True),
        ("rslave", {"master"}, True),
        ("private", set(), False),
        ("rprivate", set(), False),
        ("shared", {"shared"}, False),
        ("rshared", {"shared"}, False),
        ("unbindable", {"unbindable"}, False),
        ("runbindable", {"unbindable"}, False),
    ],
)
def test_the_root(tmp_path: Path, word: "str | None", fields: "set[str]", sees: bool) -> None:
    """Whatever the word: nothing that is mounted inside gets out."""

    def look() -> Any:
        return mount_at("/")["propagation"], os.path.ismount("/host"), os.path.ismount("/root")

    (found, host, own), outside = both_sides(tmp_path, [PROC, DEV], look, propagation=word)

    assert set(found) - {"propagate_from"} == fields
    assert host == sees
    assert own
    assert outside == []


@pytest.mark.parametrize(
    ("root_word", "word", "fields", "sees", "is_seen"),
    [
        (None, "", {"master"}, True, False),
        (None, "rslave", {"master"}, True, False),
        (None, "rprivate", set(), False, False),
        (None, "rshared", {"master", "shared"}, True, False),
        ("rshared", "rshared", {"shared"}, True, True),
        # As with runc, the root's word is applied last, to everything: the rest is shared as well.
        ("rshared", "rslave", {"master", "shared"}, True, False),
        ("rshared", "private", {"shared"}, False, False),
        ("rprivate", "rshared", {"shared"}, False, False),
    ],
)
def test_a_volume(
    tmp_path: Path,
    root_word: "str | None",
    word: str,
    fields: "set[str]",
    sees: bool,
    is_seen: bool,
) -> None:
    """A shared volume that stays one needs a root that is, as engines ask for it (rshared)."""
    volume = {
        "destination": "/volume",
        "source": str(tmp_path / "volume"),
        "options": ["rbind", *filter(None, [word])],
    }

    def look() -> Any:
        mount("tmpfs", "/volume/container", "tmpfs")
        return mount_at("/volume")["propagation"], os.path.ismount("/volume/host")

    (found, host), outside = both_sides(tmp_path, [PROC, DEV, volume], look, propagation=root_word)

    assert set(found) - {"propagate_from"} == fields
    assert host == sees
    assert outside == ([str(tmp_path / "volume/container")] if is_seen else [])


@pytest.mark.parametrize("word", [None, "rshared", "rprivate"])
def test_in_a_user_namespace_nothing_gets_out(word: "str | None") -> None:
    """Its mount namespace is another user namespace's, and the kernel makes slaves of all in it."""
    with searchable_directory() as place:
        volume = {
            "destination": "/volume",
            "source": str(place / "volume"),
            "options": ["rbind", "rshared"],
        }

        def look() -> Any:
            mount("tmpfs", "/volume/container", "tmpfs")
            return os.path.ismount("/volume/host")

        seen, outside = both_sides(
            place,
            [PROC, DEV, volume],
            look,
            propagation=word,
            flags=INSIDE | CLONE_NEWUSER,
        )

    assert seen == (word != "rprivate")
    assert outside == []
