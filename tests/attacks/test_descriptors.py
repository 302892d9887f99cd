"""CVE-2024-21626: the way out through a descriptor of the host that somebody forgot to close."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.attacks.conftest import Bare, one_line
from tests.conftest import Bundle, Lcpy

# By the shell itself: another program would be seen with its own descriptors.
LISTING = 'for fd in /proc/self/fd/*; do [ ! -e "$fd" ] || echo "${fd##*/}"; done'


@pytest.mark.parametrize("path", ["/proc/self/fd/{n}", "/proc/1/fd/{n}/..", "/fd/{n}"])
def test_no_working_directory_by_descriptor(
    lcpy: Lcpy, bundle: Bundle, host: Path, path: str
) -> None:
    made = bundle("true")
    (made / "rootfs/fd").symlink_to("/proc/thread-self/fd")
    text = (made / "config.json").read_text()
    for number in range(21):
        cwd = path.format(n=number)
        (made / "config.json").write_text(text.replace('"cwd": "/"', f'"cwd": "{cwd}"'))
        done = lcpy("run", lcpy.new_id(), cwd=made, timeout=20)
        assert "process.cwd" in one_line(done), cwd
    assert not list(host.glob("new*"))


def test_not_even_by_one_that_is_passed_on_purpose(lcpy: Lcpy, bundle: Bundle, host: Path) -> None:
    """With --preserve-fds the container has a directory of the host; to start there is refused."""
    made = bundle("true", change=lambda config: config["process"].update(cwd="/proc/self/fd/3"))
    words = " ".join(map(shlex.quote, lcpy.argv("run", "--preserve-fds", "1", lcpy.new_id())))
    done = subprocess.run(
        ["sh", "-c", f"exec {words} 3< {shlex.quote(str(host))}"],
        cwd=made,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "process.cwd" in one_line(done)


@pytest.mark.parametrize(
    "program", ["/proc/self/fd/{n}/bin/busybox", "/proc/1/fd/{n}/../../../../bin/busybox"]
)
def test_no_program_by_descriptor(lcpy: Lcpy, bundle: Bundle, program: str) -> None:
    made = bundle("PROGRAM", "true")
    text = (made / "config.json").read_text()
    for number in range(21):
        path = program.format(n=number)
        (made / "config.json").write_text(text.replace("PROGRAM", path))
        done = lcpy("run", lcpy.new_id(), cwd=made, timeout=20)
        assert path in one_line(done)


@pytest.mark.parametrize("number", [*range(3, 12)])
def test_no_program_that_is_the_list_or_a_fifo(lcpy: Lcpy, bundle: Bundle, number: int) -> None:
    done = lcpy("run", lcpy.new_id(), cwd=bundle(f"/proc/self/fd/{number}"), timeout=20)
    assert f"/proc/self/fd/{number}" in one_line(done)


def test_only_three_descriptors_arrive(bare: Bare, bundle: Bundle, tmp_path: Path) -> None:
    """Whatever its caller left open and inheritable."""
    made = bundle("sh", "-c", LISTING)
    opened = [os.open(path, os.O_RDONLY) for path in ("/", "/etc", str(tmp_path), "/proc")]
    try:
        done = bare("run", bare.new_id(), cwd=made, pass_fds=tuple(opened), check=True)
    finally:
        for fd in opened:
            os.close(fd)
    assert done.stdout.split() == ["0", "1", "2"]


def test_a_created_container_holds_nothing(bare: Bare, bundle: Bundle) -> None:
    """Closed on exec is too late for one that waits: these are looked at before the start."""
    container = bare.new_id()
    opened = [os.open(path, os.O_RDONLY) for path in ("/", "/etc", "/proc")]
    try:
        bare("create", container, cwd=bundle("true"), pass_fds=tuple(opened), check=True)
    finally:
        for fd in opened:
            os.close(fd)
    pid = bare.state(container)["pid"]
    held = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    directory = bare.root / container
    ours = {str(directory / "go"), str(directory / "status")}
    assert held >= ours
    rest = held - ours
    assert len(rest) <= 3, rest  # the standard streams
    assert not [path for path in rest if os.path.isdir(path)], rest


@pytest.mark.parametrize("readonly", [False, True])
def test_no_null_device_of_the_host(
    lcpy: Lcpy, bundle: Bundle, tmp_path: Path, readonly: bool
) -> None:
    """By a descriptor of the host's node its root could give that another mode and owner."""
    show = "stat -L -c %d,%i,%t,%T"
    files = "/proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2 /dev/null"
    command = f'for file in {files}; do seen="$seen $({show} $file)"; done; echo $seen >&3'
    made = bundle("sh", "-c", command, change=lambda c: c["root"].update(readonly=readonly))
    words = " ".join(map(shlex.quote, lcpy.argv("run", "--preserve-fds=1", lcpy.new_id())))
    subprocess.run(
        ["sh", "-c", f"exec {words} 3>{shlex.quote(str(tmp_path / 'seen'))}"],
        cwd=made,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=20,
        check=True,
    )
    *streams, null = (tmp_path / "seen").read_text().split()
    assert streams == [null] * 3
    assert null.endswith(",1,3")
    host = os.stat("/dev/null")
    assert not null.startswith(f"{host.st_dev},{host.st_ino},")
