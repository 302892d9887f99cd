"""CVE-2019-5736 and its kin: the image gets hold of the runtime's own program and changes it.

What an image can see of us is the finish list alone: a sealed file of a few kilobytes in memory.
"""

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from libcontainer_py.security.capabilities import NAMES
from tests.attacks.conftest import Bare
from tests.conftest import Bundle, Config, Lcpy

AGAIN = 126  # what the list answers to a second run of itself

OURS = ("/usr/bin/python3", sys.executable, "/bin/sh")


def digest(path: str) -> tuple[str, int, int]:
    real = os.path.realpath(path)
    with open(real, "rb") as file:
        seen = os.fstat(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest(), seen.st_mtime_ns, seen.st_ctime_ns


@pytest.fixture(autouse=True)
def our_programs_unchanged() -> Iterator[None]:
    before = [digest(path) for path in OURS]
    yield
    assert [digest(path) for path in OURS] == before


def everything(config: Config) -> None:
    """All capabilities that this machine has, and a writable root."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    bounding = next(
        int(line.split()[1], 16)
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("CapBnd")
    )
    names = [name for number, name in enumerate(NAMES[: last + 1]) if bounding >> number & 1]
    config["process"]["capabilities"] = dict.fromkeys(
        ("bounding", "effective", "permitted", "inheritable", "ambient"), names
    )
    config["process"]["noNewPrivileges"] = False
    config["root"]["readonly"] = False
    for name in ("maskedPaths", "readonlyPaths"):
        config["linux"].pop(name)


@pytest.mark.parametrize("words", [[], ["-c", "print('owned')"]])
@pytest.mark.parametrize("how", ["directly", "script", "script with a word", "link", "fd"])
def test_the_entrypoint_is_the_runtime_itself(
    either: Lcpy, bundle: Bundle, how: str, words: list[str]
) -> None:
    made = bundle("/entry", *words, change=everything)
    entry = made / "rootfs/entry"
    if how == "directly":
        made = bundle("/proc/self/exe", *words, change=everything)
    elif how == "fd":
        made = bundle("/proc/thread-self/root/proc/1/exe", *words, change=everything)
    elif how == "link":
        entry.symlink_to("/proc/self/exe")
    else:
        entry.write_text("#!/proc/self/exe" + (" -c\n" if how == "script with a word" else "\n"))
        entry.chmod(0o755)

    done = either("run", either.new_id(), cwd=made, timeout=20)

    assert (done.returncode, done.stdout) == (AGAIN, "")
    assert "owned" not in done.stderr


# Runs among the container's processes with all that root can have: opens a path for writing
# (cutting nothing off before it could), keeps a descriptor, and tries that again later.
ATTACK = r"""
import os, sys, time
kept = []
for path in sys.argv[2:]:
    for flags in (os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        try:
            fd = os.open(path, flags)
        except OSError as error:
            print("open", error.errno)
            continue
        try:
            os.write(fd, b"#!/bin/sh\ntouch /owned\n")
            print("WRITTEN", path)
        except OSError as error:
            print("write", error.errno)
    try:
        kept.append(os.open(path, os.O_RDONLY))
    except OSError as error:
        print("open for reading", error.errno)
print("kept", len(kept), flush=True)
sys.stdin.readline()
for fd in kept:
    for flags in (os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        try:
            again = os.open(f"/proc/self/fd/{fd}", flags)
        except OSError as error:
            print("open again", error.errno)
            continue
        for step in (lambda: os.write(again, b"#!/bin/sh\n"), lambda: os.ftruncate(again, 0)):
            try:
                step()
                print("WRITTEN AGAIN", os.readlink(f"/proc/self/fd/{fd}"))
            except OSError as error:
                print("write again", error.errno)
"""


@contextlib.contextmanager
def attacker(pid: int, *paths: str) -> Iterator["subprocess.Popen[str]"]:
    """A process in the pid namespace of a container that sees its procfs, with all capabilities."""
    process = subprocess.Popen(
        ["nsenter", "-t", str(pid), "-p", "/usr/bin/python3", "-c", ATTACK, "-", *paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_what_waits_can_not_be_written(bare: Bare, bundle: Bundle) -> None:
    """By /proc/PID/exe, and by /proc/PID/map_files, before the start and after it."""
    container = bare.new_id()
    made = bundle("sleep", "30", change=everything)
    bare("create", container, cwd=made, check=True)
    pid = bare.state(container)["pid"]
    # Through the host's procfs, where the container's process has the number `pid`: the strongest
    # neighbour that there can be.
    maps = [f"/proc/{pid}/map_files/{name}" for name in os.listdir(f"/proc/{pid}/map_files")]
    targets = {os.readlink(path) for path in maps}
    program = Path(f"/proc/{pid}/exe").read_bytes()

    assert os.readlink(f"/proc/{pid}/exe") == "/memfd:lcpy:finish (deleted)"
    assert targets == {"/memfd:lcpy:finish (deleted)"}
    assert b"ython" not in Path(f"/proc/{pid}/maps").read_bytes()
    with attacker(pid, f"/proc/{pid}/exe", *maps) as process:
        assert process.stdin and process.stdout
        seen = []
        while not (line := process.stdout.readline()).startswith("kept"):
            assert line
            seen.append(line)
        assert int(line.split()[1]) == 1 + len(maps)
        assert Path(f"/proc/{pid}/exe").read_bytes() == program
        bare("start", container, check=True)
        assert os.readlink(f"/proc/{pid}/exe").endswith("/bin/busybox")
        rest, _ = process.communicate("\n", timeout=20)
    assert "WRITTEN" not in "".join(seen)
    assert "WRITTEN" not in rest
    assert "write again" in rest  # else the last attack was not one


INSIDE = r"""
for at in 0 1 2 3 4 5 6 7 8 9; do
    (echo "#!/bin/sh" > /proc/1/exe) 2>/dev/null && echo WRITTEN
    (echo "#!/bin/sh" > /proc/$$/exe) 2>/dev/null && echo WRITTEN
done
for file in /proc/1/map_files/* /proc/self/map_files/*; do readlink $file; done | sort -u
for file in /proc/1/fd/*; do readlink $file; done
readlink /proc/1/exe
echo end
"""


def test_what_runs_finds_nothing_of_ours(bare: Bare, bundle: Bundle) -> None:
    """The container's own root, with every capability, looks around in its /proc."""
    made = bundle("sh", "-c", INSIDE, change=everything)
    done = bare("run", bare.new_id(), cwd=made, timeout=20)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "end"
    assert "WRITTEN" not in lines
    assert "/bin/busybox" in lines
    assert not [line for line in lines if "memfd" in line or "python" in line or "lcpy" in line]


def test_the_list_does_nothing_for_whoever_runs_it(bare: Bare, bundle: Bundle) -> None:
    """A process of the container runs /proc/1/exe of one that waits, with descriptors open."""
    container = bare.new_id()
    bare("create", container, cwd=bundle("true", change=everything), check=True)
    pid = bare.state(container)["pid"]
    script = (
        f"exec 3>&1 4>&1 5>&1 6>&1 7>&1 8>&1 9>&1; /proc/{pid}/exe a b c < /dev/null;"
        " echo status $?"
    )
    closed = subprocess.run(
        [f"/proc/{pid}/exe", "a"], capture_output=True, text=True, timeout=10, check=False
    )
    opened = subprocess.run(
        ["nsenter", "-t", str(pid), "-p", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )

    assert (closed.returncode, closed.stdout) == (AGAIN, "")
    assert "status" in opened.stdout
    assert bare.state(container)["status"] == "created"
    bare("start", container, check=True)
