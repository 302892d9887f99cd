"""`linux.namespaces` with paths: what is joined, and what is refused."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.namespaces.kinds import NAMESPACES, ns_file
from libcontainer_py.spec import default

if TYPE_CHECKING:
    from tests.conftest import Config
    from tests.spec.conftest import Box, Change


def at(*namespaces: tuple[str, Any]) -> "Change":
    """Replace the namespaces of these kinds by ones at a path (None: new)."""

    def change(config: "Config") -> None:
        linux = config["linux"]
        kinds = {kind for kind, _ in namespaces}
        linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] not in kinds]
        for kind, path in namespaces:
            linux["namespaces"].append({"type": kind} | ({} if path is None else {"path": path}))
        if "uts" in kinds:
            config.pop("hostname", None)

    return change


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in NAMESPACES if kind != "mount"])
def test_another_kind_is_named(box: "Box", kind: str) -> None:
    error = box.refused(change=at((kind, "/proc/self/ns/mnt")))
    assert ".path: " in error
    assert f'\\"/proc/self/ns/mnt\\" is a namespace of kind mount, not {kind}' in error


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/passwd", "is not a namespace"),
        ("/proc/self/ns", "is not a namespace"),
        ("/dev/tty", "is not a namespace"),
        ("/proc/self/ns/missing", "no such file or directory"),
        ("/proc/self/ns/net/more", "not a directory"),
        ("proc/self/ns/net", "is not an absolute path"),
        ("/proc/self/ns/net\n level=info", "no such file or directory"),
        ("/" + "x" * 5000, "file name too long"),
        ("/proc/\0", "holds a NUL byte"),
    ],
)
def test_a_path_that_is_none(box: "Box", path: str, words: str) -> None:
    error = box.refused(change=at(("network", path)))
    # The last of the default ones, which are more where cgroup v2 is.
    last = len(default.default()["linux"]["namespaces"]) - 1
    assert f"linux.namespaces[{last}].path" in error
    assert words in error


def test_an_empty_path_is_a_new_namespace(box: "Box") -> None:
    """As Go's zero value; engines write it."""
    link = box.sh("readlink /proc/self/ns/net", change=at(("network", ""))).strip()
    assert link != os.readlink("/proc/self/ns/net")


@pytest.mark.parametrize("kind", NAMESPACES)
def test_a_kind_twice(box: "Box", kind: str) -> None:
    def change(config: "Config") -> None:
        path = f"/proc/self/ns/{ns_file(kind)}"
        at((kind, None))(config)
        config["linux"]["namespaces"].append({"type": kind, "path": path})

    error = box.refused(change=change)
    assert f'namespace \\"{kind}\\" is there twice' in error


def test_one_that_vanishes(box: "Box") -> None:
    """Its process has ended: the path leads nowhere, and is not waited for."""
    with subprocess.Popen(["sleep", "0"]) as process:
        process.wait()
    error = box.refused(change=at(("ipc", f"/proc/{process.pid}/ns/ipc")))
    assert "no such file or directory" in error


# --- what is joined ---------------------------------------------------------------------------


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[Path]:
    """A network namespace that nobody is in, as `ip netns add` leaves it."""
    path = tmp_path / "netns"
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "true"], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_network_namespace_that_nobody_is_in(box: "Box", netns: Path) -> None:
    """As CNI's: its loopback is for whoever made it to bring up; we change nothing in it."""
    said = box.lines("readlink /proc/self/ns/net; ip -o link", change=at(("network", str(netns))))
    assert said[0] == f"net:[{os.stat(netns).st_ino}]"
    assert len(said) == 2
    assert "lo:" in said[1]
    assert "DOWN" in said[1] or ",UP" not in said[1]


def test_our_own_by_path_is_as_not_named(box: "Box") -> None:
    """Of each kind whose joining changes nothing."""
    own = [(kind, f"/proc/self/ns/{ns_file(kind)}") for kind in ("pid", "ipc", "uts", "network")]
    script = "for n in pid ipc uts net; do readlink /proc/self/ns/$n; done"

    def change(config: "Config") -> None:
        at(*own)(config)
        # A procfs of the host's pid namespace, and its mqueue, are the host's to mount: we may.
        config["linux"]["readonlyPaths"] = []

    said = box.lines(script, change=change)
    assert said == [os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "ipc", "uts", "net")]
