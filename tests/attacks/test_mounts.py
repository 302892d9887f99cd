"""What a root filesystem, or a neighbour with a shared volume, does to mounts and to names."""

import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.conftest import one_line
from tests.conftest import Bundle, Config, Lcpy

MOUNTS = "cat /proc/self/mountinfo"


def without(config: Config, *destinations: str) -> None:
    """Leave mounts out, with whatever lies below them."""
    config["mounts"] = [
        mount
        for mount in config["mounts"]
        if not any((mount["destination"] + "/").startswith(each + "/") for each in destinations)
    ]


def writable(config: Config) -> None:
    config["root"]["readonly"] = False


# --- /proc, /sys and what is written there ----------------------------------------------------


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("target", ["fake", "/fake", "{host}", "../../../../..{host}", "nowhere"])
def test_proc_and_sys_of_the_image_are_links(
    lcpy: Lcpy, bundle: Bundle, host: Path, name: str, target: str
) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642."""
    made = bundle("true")
    root = made / "rootfs"
    (root / name).rmdir()
    (root / name).symlink_to(target.format(host=host))
    (root / "fake/self/attr").mkdir(parents=True)
    (root / "fake/self/attr/exec").touch()
    (root / "fake/kcore").write_text("not hidden")

    line = one_line(lcpy("run", lcpy.new_id(), cwd=made))

    assert "mounts[" in line
    assert "destination" in line
    assert (root / "fake/self/attr/exec").read_text() == ""
    assert not (root / "nowhere").exists()


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "destination", ["/proc", "/link", "//proc/.", "/proc/../proc", "/proc/self", "/proc/sys/net"]
)
def test_a_volume_over_proc(
    lcpy: Lcpy, bundle: Bundle, tmp_path: Path, destination: str, first: bool, kind: str
) -> None:
    """CVE-2019-16884, CVE-2025-52881: a fake procfs, on which masks and values would land."""
    volume = tmp_path / "volume"
    (volume / "self/attr").mkdir(parents=True)
    (volume / "self/attr/exec").touch()
    (volume / "sys/net/ipv4").mkdir(parents=True)
    (volume / "sys/net/ipv4/ip_forward").write_text("untouched")
    fake: dict[str, Any] = {"destination": destination, "type": "tmpfs", "source": "tmpfs"}
    if kind == "bind":
        fake = {"destination": destination, "source": str(volume), "options": ["rbind"]}

    def change(config: Config) -> None:
        config["mounts"].insert(0 if first else len(config["mounts"]), fake)
        config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}

    made = bundle("true", change=change)
    (made / "rootfs/link").symlink_to("proc")

    assert "mounts[" in one_line(lcpy("run", lcpy.new_id(), cwd=made))
    assert (volume / "sys/net/ipv4/ip_forward").read_text() == "untouched"
    assert os.listdir(volume / "self/attr") == ["exec"]


def test_without_proc_nothing_is_written_to_a_fake(lcpy: Lcpy, bundle: Bundle) -> None:
    """No procfs is mounted, and the image has files where it would be."""

    def change(config: Config) -> None:
        without(config, "/proc")
        config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}

    made = bundle("true", change=change)
    file = made / "rootfs/proc/sys/net/ipv4/ip_forward"
    file.parent.mkdir(parents=True)
    file.write_text("untouched")

    assert "linux.sysctl" in one_line(lcpy("run", lcpy.new_id(), cwd=made))
    assert file.read_text() == "untouched"


@pytest.mark.parametrize(
    "key",
    [
        "kernel/core_pattern",
        "net/../kernel/core_pattern",
        "net...kernel.core_pattern",
        "../kernel.core_pattern",
        "net.ipv4.../../kernel/core_pattern",
        "kernel.core_pattern",
        "kernel.core_pattern\n",
        ".kernel.shmmax",
        "kernel.",
        "",
    ],
)
def test_a_sysctl_that_is_none_of_the_containers(lcpy: Lcpy, bundle: Bundle, key: str) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    made = bundle("true", change=lambda config: config["linux"].update(sysctl={key: "|/owned"}))
    assert "linux.sysctl" in one_line(lcpy("run", lcpy.new_id(), cwd=made))
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


# --- /dev and masks ---------------------------------------------------------------------------


@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.parametrize("target", ["/", "..", "../../host", "{host}", "etc", "nowhere/deep"])
def test_dev_of_the_image_is_a_link(
    lcpy: Lcpy, bundle: Bundle, host: Path, target: str, mounted: bool
) -> None:
    """CVE-2026-41579."""

    def change(config: Config) -> None:
        writable(config)
        if not mounted:
            without(config, "/dev")

    made = bundle("sh", "-c", "echo hidden > /dev/null && ls -la /dev/", change=change)
    (made / "rootfs/dev").rmdir()
    (made / "rootfs/dev").symlink_to(target.format(host=host))
    beside = set(os.listdir(made))

    done = lcpy("run", lcpy.new_id(), cwd=made)

    assert set(os.listdir(made)) == beside
    if done.returncode:
        one_line(done)
    else:
        assert "null" in done.stdout
        assert "secret" not in done.stdout


NULLS = ("missing", "link to a file", "link to the host", "link to procfs", "file", "zero", "fifo")


@pytest.mark.parametrize("null", [*NULLS, "directory"])
def test_dev_null_of_the_image_is_something_else(
    lcpy: Lcpy, bundle: Bundle, host: Path, null: str
) -> None:
    """CVE-2025-31133: the mask's source is not the null device, with a /dev that is no mount."""

    def change(config: Config) -> None:
        writable(config)
        without(config, "/dev")
        config["linux"]["maskedPaths"] = ["/hidden", "/proc/meminfo"]

    script = "cat /hidden; stat -c %t:%T /hidden /proc/meminfo; echo test > /hidden"
    made = bundle("sh", "-c", script, change=change)
    root = made / "rootfs"
    (root / "hidden").write_text("the hidden text")
    (root / "payload").write_text("payload")
    path = root / "dev/null"
    if null == "file":
        path.write_text("payload")
    elif null == "zero":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif null == "fifo":
        os.mkfifo(path)
    elif null == "directory":
        path.mkdir()
    elif null != "missing":
        path.symlink_to(
            {
                "link to a file": "../payload",
                "link to the host": str(host / "secret"),
                "link to procfs": "/proc/sys/kernel/core_pattern",
            }[null]
        )
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()

    done = lcpy("run", lcpy.new_id(), cwd=made, timeout=20)

    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern
    assert (root / "hidden").read_text() == "the hidden text"
    assert (root / "payload").read_text() == "payload"
    if null == "missing":
        assert (done.returncode, done.stdout) == (0, "1:3\n1:3\n"), done.stderr
    else:
        assert "/dev/null" in one_line(done)


@pytest.mark.parametrize("null", NULLS)
def test_dev_null_of_a_volume_is_something_else(
    lcpy: Lcpy, bundle: Bundle, tmp_path: Path, null: str
) -> None:
    """The same where /dev is a bind mount, which is not filled by us."""
    volume = tmp_path / "dev"
    volume.mkdir()
    path = volume / "null"
    if null == "file":
        path.write_text("payload")
    elif null == "zero":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif null == "fifo":
        os.mkfifo(path)
    elif null != "missing":
        path.symlink_to("/payload" if null == "link to a file" else "/proc/kmsg")

    def change(config: Config) -> None:
        without(config, "/dev")
        config["mounts"].append({"destination": "/dev", "source": str(volume), "options": ["bind"]})
        config["linux"]["maskedPaths"] = ["/hidden"]

    made = bundle("cat", "/hidden", change=change)
    (made / "rootfs/hidden").write_text("the hidden text")
    (made / "rootfs/payload").write_text("payload")

    line = one_line(lcpy("run", lcpy.new_id(), cwd=made, timeout=20))

    assert "linux.maskedPaths[0]" in line
    assert set(os.listdir(volume)) <= {"null"}


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "destination",
    ["/../../../{host}", "/a/../../../../..{host}/new", "{up}/host/new", "/link/new", "/link/../x"],
)
@pytest.mark.parametrize("kind", ["tmpfs", "bind", "file"])
def test_a_destination_with_dots(
    lcpy: Lcpy, bundle: Bundle, host: Path, destination: str, kind: str
) -> None:
    mount: dict[str, Any] = {"type": "tmpfs", "source": "tmpfs"}
    if kind != "tmpfs":
        source = "/etc" if kind == "bind" else "/etc/hostname"
        mount = {"source": source, "options": ["bind", "ro"]}
    where = destination.format(host=host, up="/.." * 12)

    def change(config: Config) -> None:
        writable(config)
        config["mounts"].append({**mount, "destination": where})

    made = bundle("sh", "-c", MOUNTS, change=change)
    (made / "rootfs/link").symlink_to(f"../../../../../..{host}")

    done = lcpy("run", lcpy.new_id(), cwd=made)

    assert str(host) not in Path("/proc/self/mountinfo").read_text()
    if done.returncode:
        one_line(done)


NAMES = ["a\nb", "a b", "a\\b", "a\tb", 'a"b', "a\x1b[31mb", "ü\u2028", "a,b", "a:b", "-o"]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_in_paths(lcpy: Lcpy, bundle: Bundle, tmp_path: Path, name: str) -> None:
    """They mean themselves: nothing is cut at a newline, or read as an option."""
    volume = tmp_path / name
    volume.mkdir()
    (volume / "file").write_text("there")

    def change(config: Config) -> None:
        writable(config)
        config["mounts"].append(
            {"destination": f"/{name}", "source": str(volume), "options": ["bind"]}
        )
        config["process"]["cwd"] = f"/{name}"
        config["linux"]["readonlyPaths"].append(f"/{name}")

    made = bundle("cat", "file", change=change)
    done = lcpy("run", lcpy.new_id(), cwd=made)
    assert (done.returncode, done.stdout) == (0, "there"), done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_in_errors(lcpy: Lcpy, bundle: Bundle, name: str) -> None:
    """An error stays one line, whatever is in it; also one that a sealed child words."""

    def no_source(config: Config) -> None:
        config["mounts"].append(
            {"destination": "/a", "source": f"/no/such/{name}", "options": ["bind"]}
        )

    def no_target(config: Config) -> None:
        config["process"]["cwd"] = f"/bin/busybox/{name}"

    def no_program(config: Config) -> None:
        config["process"]["args"] = [f"/no/such/{name}"]

    for change in (no_source, no_target, no_program):
        line = one_line(lcpy("run", lcpy.new_id(), cwd=bundle("true", change=change)))
        assert "a" in line
        assert "status 97" not in line
        assert line.isprintable(), repr(line)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "a\nb", "a b", "a" * 256, "ä", "a\x1b[1m", "/etc", "a%s"]
)
def test_odd_ids(lcpy: Lcpy, bundle: Bundle, name: str) -> None:
    made = bundle("true")
    for words in (("create",), ("run",), ("state",), ("start",), ("kill",), ("delete",)):
        line = one_line(lcpy(*words, name, cwd=made))
        assert "\x1b" not in line
    assert not lcpy.root.exists() or not list(lcpy.root.iterdir())


@pytest.mark.parametrize(
    "path", ["/..", "../x", "/a/../../x", "..", "/", "", ".", "/a\nb", "//", "a/../../../b"]
)
def test_a_cgroups_path_that_leads_elsewhere(lcpy: Lcpy, bundle: Bundle, path: str) -> None:
    def change(config: Config) -> None:
        config["linux"]["cgroupsPath"] = path

    container = lcpy.new_id()
    done = lcpy("run", container, cwd=bundle("cat", "/proc/self/cgroup", change=change))
    if path == "":
        assert container in done.stdout
    else:
        assert "cgroupsPath" in one_line(done)


def test_a_cgroup_of_somebody_else_is_left_alone(lcpy: Lcpy, bundle: Bundle) -> None:
    """A container that names another one's cgroup fails, and takes nothing of it along."""
    first, second = lcpy.new_id(), lcpy.new_id()

    def change(config: Config) -> None:
        config["linux"]["cgroupsPath"] = f"/{first}"

    made = bundle("sleep", "30", change=change)
    lcpy("run", "--detach", first, cwd=made, check=True)
    below = Path(f"/sys/fs/cgroup/pids/{first}/of-the-container")
    below.mkdir()
    begun = time.monotonic()

    line = one_line(lcpy("create", second, cwd=made))

    assert time.monotonic() - begun < 1.5
    assert "linux.cgroupsPath" in line
    assert below.is_dir()
    assert lcpy.state(first)["status"] == "running"
    assert not (lcpy.root / second).exists()


# --- races ------------------------------------------------------------------------------------


@contextmanager
def swapping(path: Path, target: str) -> Iterator[None]:
    """A neighbour: `path` is by turns a directory and a link to `target`."""
    done = threading.Event()
    aside, other = path.with_name("aside"), path.with_name("other")
    aside.symlink_to(target)

    def swap() -> None:
        while not done.is_set():
            for old, new in ((path, other), (aside, path), (path, aside), (other, path)):
                try:
                    os.rename(old, new)
                except OSError:
                    continue

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("way", ["absolute", "up"])
def test_a_neighbour_that_swaps_directories(
    lcpy: Lcpy, bundle: Bundle, host: Path, tmp_path: Path, way: str
) -> None:
    """CVE-2021-30465, CVE-2024-45310: nothing is made or mounted outside."""
    volume = tmp_path / "volume"
    (volume / "sub").mkdir(parents=True)
    (host / "etc").chmod(0o777)
    target = str(host) if way == "absolute" else "../" * 12 + str(host).lstrip("/")

    def change(config: Config) -> None:
        writable(config)
        config["process"]["cwd"] = "/volume/sub/a/dir"
        config["linux"]["devices"] = [
            {"path": "/volume/sub/dev/node", "type": "c", "major": 1, "minor": 3}
        ]
        config["mounts"] += [
            {"destination": "/volume", "source": str(volume), "options": ["rbind", "rprivate"]},
            {"destination": "/volume/sub/etc", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/volume/sub/new/deep", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/volume/sub/file", "source": "/etc/hostname", "options": ["bind"]},
            {"destination": "/volume/sub/secret", "source": "/dev/null", "options": ["bind"]},
        ]
        config["linux"]["maskedPaths"].append("/volume/sub/secret")

    made = bundle("true", change=change)
    (host / "etc").chmod(0o755)
    codes: list[int] = []
    end = time.monotonic() + 1.5
    with swapping(volume / "sub", target):
        while time.monotonic() < end or len(codes) < 8:
            done = lcpy("run", lcpy.new_id(), cwd=made, timeout=20)
            if done.returncode:
                one_line(done)
            codes.append(done.returncode)
            assert str(host) not in Path("/proc/self/mountinfo").read_text()
    assert set(codes) <= {0, 1}
