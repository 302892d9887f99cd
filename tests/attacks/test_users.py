"""passwd of the image, and ids out of range: CVE-2024-40635, CVE-2026-46680, and denial."""

import os
import stat
import time
from pathlib import Path

import pytest

from tests.attacks.conftest import one_line
from tests.conftest import PATIENCE, Bundle, Config, Lcpy

SECONDS = 5 * PATIENCE  # whatever is done must be over by then


@pytest.mark.parametrize("uid", [1000, 4294967, 2147483647])
def test_digits_are_never_a_name(lcpy: Lcpy, bundle: Bundle, uid: int) -> None:
    def change(config: Config) -> None:
        config["process"]["user"] = {"uid": uid, "gid": uid}

    made = bundle("sh", "-c", "id -u; id -g; echo $HOME", change=change)
    (made / "rootfs/etc/passwd").write_text(
        f"{uid}:x:0:0:root:/root/of/name:/bin/sh\nx:x:{uid}junk:0::/junk:\nroot:x:0:0::/root:\n"
    )
    done = lcpy("run", lcpy.new_id(), cwd=made, check=True)
    assert done.stdout.split() == [str(uid), str(uid), "/"]


@pytest.mark.parametrize(
    "number", [2**31, 2**32 - 1, 2**32, 2**32 + 1000, -1, -2, 2**63, 2**64, 10**30, 1.5, "0", None]
)
@pytest.mark.parametrize("field", ["uid", "gid", "additionalGids"])
def test_ids_out_of_range(lcpy: Lcpy, bundle: Bundle, number: object, field: str) -> None:
    value = [number] if field == "additionalGids" else number

    def change(config: Config) -> None:
        config["process"]["user"][field] = value

    made = bundle("id", "-u", change=change)
    done = lcpy("run", lcpy.new_id(), cwd=made)
    if number is None and field != "additionalGids":
        assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr  # as if it were not there
    else:
        assert f"process.user.{field}" in one_line(done)


PASSWDS = (
    "fifo",
    "zero",
    "tty",
    "socket",
    "directory",
    "a gigabyte",
    "link to the host",
    "link up to the host",
    "link to procfs",
    "link to itself",
    "link to a fifo",
    "proc magic",
    "one long line",
    "many lines",
    "binary",
)


@pytest.mark.parametrize("kind", PASSWDS)
def test_a_passwd_that_is_none(lcpy: Lcpy, bundle: Bundle, host: Path, kind: str) -> None:
    """Bounded, without a hang, and nothing of the host is read: an error, or another HOME."""

    def change(config: Config) -> None:
        config["process"]["user"] = {"uid": 0, "gid": 0}
        config["process"]["env"] = ["PATH=/bin"]

    made = bundle("sh", "-c", "echo $HOME", change=change)
    path = made / "rootfs/etc/passwd"
    path.unlink()
    if kind in ("fifo", "link to a fifo"):
        os.mkfifo(path if kind == "fifo" else path.with_name("fifo"))
    links = {
        "link to the host": str(host / "etc/passwd"),
        "link up to the host": "../" * 12 + str(host / "etc/passwd").lstrip("/"),
        "link to procfs": "/proc/kmsg",
        "link to itself": "passwd",
        "link to a fifo": "fifo",
        "proc magic": "/proc/self/fd/0",
    }
    if kind in links:
        path.symlink_to(links[kind])
    elif kind in ("zero", "tty"):
        number = os.makedev(1, 5) if kind == "zero" else os.makedev(5, 0)
        os.mknod(path, stat.S_IFCHR | 0o666, number)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o666)
    elif kind == "directory":
        path.mkdir()
    elif kind == "a gigabyte":
        path.touch()
        os.truncate(path, 1 << 30)
    elif kind == "one long line":
        path.write_text("root:x:" + "0" * 4_000_000 + "1:0::/long:\n")
    elif kind == "many lines":
        path.write_text("x:x:1:1::/x:\n" * 300_000)
    elif kind == "binary":
        path.write_bytes(bytes(range(256)) * 1000 + b"\nroot:x:0:0::/\xc3\xa4:/bin/sh\n")
    begun = time.monotonic()

    done = lcpy("run", lcpy.new_id(), cwd=made, timeout=4 * SECONDS)

    assert time.monotonic() - begun < SECONDS
    assert "/secret/home" not in done.stdout + done.stderr
    if done.returncode:
        assert "passwd" in one_line(done)
    else:
        assert done.stdout in ("/\n", "/root\n") or kind == "binary"
