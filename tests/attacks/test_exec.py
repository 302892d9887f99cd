"""`exec` into a container that waits for it: what can be seen, taken and changed there.

The first process is tests/attacks/watcher.c, which looks at the container's /proc without rest.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.conftest import Bare
from tests.attacks.test_proc_self_exe import AGAIN, everything, our_programs_unchanged
from tests.cli.test_exec import Box
from tests.conftest import CHECKOUT, PATIENCE, Bundle, Config, Lcpy

__all__ = ["our_programs_unchanged"]

EXECS = 200
SECONDS = 20 * PATIENCE
LIST = "/memfd:lcpy:finish (deleted)"


@pytest.fixture(scope="session")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The watcher's program, static: it needs nothing of the image."""
    program = tmp_path_factory.mktemp("watcher") / "watcher"
    source = Path(__file__).with_name("watcher.c")
    words = ["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]
    subprocess.run([*words, str(program), str(source)], check=True, timeout=60)
    return program


Watched = Callable[..., Box]


class Sightings:
    """What the watcher has written down: lines of a kind and what was seen."""

    def __init__(self, box: Box) -> None:
        self._file = box.rootfs / "seen"

    def lines(self) -> list[str]:
        return self._file.read_text(errors="replace").splitlines()

    def of(self, kind: str) -> set[str]:
        """All that was seen of a kind."""
        start = f"{kind} "
        return {line.removeprefix(start) for line in self.lines() if line.startswith(start)}


@pytest.fixture
def watched(bare: Bare, bundle: Bundle, watcher: Path) -> Watched:
    """Make a container whose first process watches: ``watched("watch", *capabilities)``."""

    def make(how: str, *capabilities: str, **resources: object) -> Box:
        def change(config: Config) -> None:
            config["linux"].setdefault("resources", {}).update(resources)
            config["root"]["readonly"] = False
            config["process"]["args"] = ["/watcher", how, "/seen"]
            sets = config["process"]["capabilities"]
            for kind in ("bounding", "effective", "permitted"):
                sets[kind] = [*sets[kind], *capabilities]
            for name in ("maskedPaths", "readonlyPaths"):
                config["linux"].pop(name)

        path = bundle(change=change)
        (path / "rootfs/watcher").write_bytes(watcher.read_bytes())
        (path / "rootfs/watcher").chmod(0o755)
        box = Box(bare, path)
        end = time.monotonic() + SECONDS
        while not (box.rootfs / "seen").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        return box

    return make


# Many in little time: by the library, in a program with one thread. Its arguments: where the
# containers are, which, how many, and the program. Each third has another user, each fifth a
# terminal. What waits in the finish list for us waits a little longer here than it ever would, so
# that there is time to look at it from all sides.
PROGRAM = f"""
import sys, time
sys.path.append({str(CHECKOUT)!r})
from libcontainer_py import Error, PIPE, Runtime
from libcontainer_py.namespaces.child import Child

hear_entered = Child.hear_entered
def and_wait(*arguments):
    hear_entered(*arguments)
    time.sleep(0.005)
Child.hear_entered = and_wait

container = Runtime(sys.argv[1]).get(sys.argv[2])
for number in range(int(sys.argv[3])):
    options = dict(stdin=PIPE, stdout=PIPE, stderr=PIPE)
    if number % 5 == 0:
        options = dict(terminal=True)
    if number % 3 == 0:
        options |= dict(user=(1000, 1000))
    try:
        process = container.exec(sys.argv[4:], **options)
    except Error as error:
        print(error)
    else:
        print(process.wait(20))
        process.close()
"""


def exec_many(box: Box, count: int, *words: str) -> list[str]:
    """How each of many ended: its exit code, or an error's words."""
    argv = [sys.executable, "-I", "-c", PROGRAM, str(box.lcpy.root), box.id, str(count)]
    done = subprocess.run(
        [*argv, *(words or ("true",))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


# What a process of the container's has by right.
PROGRAMS = {"/bin/busybox", LIST}
REGIONS = {"[heap]", "[stack]", "[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]"}
STREAMS = {"pipe:", "/dev/null", "/dev/pts/0"}


def check_sightings(box: Box, execs: int) -> None:
    seen = Sightings(box)
    # It was fast enough: most were seen while they waited for us, in the finish list.
    assert len(seen.of("list")) >= execs / 2
    assert seen.of("exe") <= PROGRAMS
    assert seen.of("maps") <= PROGRAMS | REGIONS
    assert {name.strip() for name in seen.of("cmdline")} <= {"lcpy", "true"}
    assert seen.of("fd 0") | seen.of("fd 1") | seen.of("fd 2") <= STREAMS
    assert seen.of("fd more") <= {"socket:"}
    assert seen.of("cwd") == seen.of("root") == {"/"}
    for line in seen.of("environ"):
        assert set(word.split("=")[0] for word in line.split()) <= {"PATH", "TERM", "HOME"}, line
    text = "\n".join(seen.lines())
    for word in ("python", "lcpy-", ".so", ".py", str(CHECKOUT)):
        assert word not in text


def test_nothing_of_ours_is_seen(watched: Watched) -> None:
    """Two hundred execs before the eyes of one with CAP_SYS_PTRACE: no Python, no descriptor but
    its streams and the sync pipe, no mapping of a file of the host's.
    """
    box = watched("watch", "CAP_SYS_PTRACE")
    assert set(exec_many(box, EXECS - 20)) == {"0"}
    for number in range(20):
        words = ("exec", *(("--user", "1000") if number % 2 else ()), box.id, "true")
        null = subprocess.DEVNULL
        argv = box.lcpy.argv(*words)
        subprocess.run(argv, stdin=null, stdout=null, stderr=null, check=True, timeout=SECONDS)
    check_sightings(box, EXECS - 20)


def test_the_watcher_sees_a_python(watched: Watched) -> None:
    """The control: what is put in there on purpose is seen, with all that it has."""
    box = watched("watch", "CAP_SYS_PTRACE")
    with open(CHECKOUT / "setup.cfg") as file:
        os.set_inheritable(file.fileno(), True)
        argv = ["nsenter", "--target", str(box.pid), "--pid", "--", "/usr/bin/python3", "-c"]
        code = "import time; time.sleep(0.2)"
        subprocess.run([*argv, code], pass_fds=(file.fileno(),), check=True, timeout=SECONDS)
    seen = Sightings(box)
    with pytest.raises(AssertionError):
        check_sightings(box, 0)
    assert any("/python3" in name for name in seen.of("exe"))
    assert any("libc.so" in name for name in seen.of("maps"))
    assert any("python3" in name for name in seen.of("cmdline"))
    assert any("setup.cfg" in name for name in seen.of("fd more"))


def test_it_can_not_be_traced(watched: Watched) -> None:
    """CVE-2016-9962: who has no CAP_SYS_PTRACE, but is root as it is, gets no hold of the list."""
    box = watched("attach")
    assert set(exec_many(box, 12)) == {"0"}
    seen = Sightings(box)
    assert seen.of("attached") == set()
    assert seen.of("refused") == {"ptrace"}
    box = watched("steal")
    assert set(exec_many(box, 12)) == {"0"}
    assert seen.of("stolen") == set()


def test_who_may_trace_holds_up_nothing(watched: Watched) -> None:
    """With CAP_SYS_PTRACE the list can be stopped for a while, and goes on; nothing else."""
    box = watched("attach", "CAP_SYS_PTRACE")
    assert set(exec_many(box, 12)) == {"0"}
    assert Sightings(box).of("attached")


def test_a_stolen_pipe_holds_up_nothing(watched: Watched) -> None:
    """Who keeps the sync pipe open keeps its end of file from coming: we do not wait for that."""
    box = watched("steal", "CAP_SYS_PTRACE")
    begun = time.monotonic()
    assert exec_many(box, 6, "sh", "-c", "exit 3") == ["3"] * 6
    (box.rootfs / "wrong").write_text("nonsense")
    (box.rootfs / "wrong").chmod(0o755)
    for words in exec_many(box, 2, "/wrong"):
        assert "exec format error" in words
    assert time.monotonic() - begun < SECONDS
    assert Sightings(box).of("stolen")


def test_one_that_kills_whatever_comes(watched: Watched) -> None:
    """A clear error or a program that ended by SIGKILL; never a hang, and nothing is left."""
    box = watched("kill")
    for _time in range(10):
        begun = time.monotonic()
        done = box.exec("--", "sleep", "20", timeout=SECONDS)
        assert time.monotonic() - begun < 8
        assert done.returncode in (255, 128 + 9)
        if done.returncode == 255:
            assert done.stderr.count("\n") == 1
            assert "the new process" in done.stderr
            assert "by signal 9" in done.stderr
    assert box.processes() == [box.pid]


# ── CVE-2019-5736 ───────────────────────────────────────────────────────────────────────────────


def test_the_program_is_the_runtime_itself(either: Lcpy, bundle: Bundle) -> None:
    """Whoever execs `/proc/self/exe`, or has a script say so, meets the sealed list: it ends."""
    box = Box(either, bundle("sleep", "1000", change=everything))
    entry = box.rootfs / "entry"
    for first in ("#!/proc/self/exe\n", "#!/proc/self/exe -c\n", "#!/proc/thread-self/exe\n"):
        entry.write_text(first)
        entry.chmod(0o755)
        for words in ((), ("-c", "print('owned')")):
            done = box.exec("--", "/entry", *words)
            assert (done.returncode, done.stdout) == (AGAIN, "")
            assert "owned" not in done.stderr
    entry.unlink()
    entry.symlink_to("/proc/self/exe")
    for program in ("/entry", "/proc/self/exe", "/proc/thread-self/root/proc/self/exe"):
        done = box.exec("--", program, "-c", "print('owned')")
        assert done.returncode in (AGAIN, 255)
        assert done.stdout == ""
        assert "owned" not in done.stderr
    assert box.processes() == [box.pid]


OVERWRITE = r"""
for at in $(seq 3000); do
    for exe in /proc/[0-9]*/exe; do
        [ $exe = /proc/1/exe ] && continue
        (echo "#!/bin/sh" >$exe) 2>/dev/null && echo $(readlink $exe) >>/written
    done
done
"""


def test_whoever_comes_is_written_to(bare: Bare, bundle: Bundle) -> None:
    """As the exploit did it: open /proc/PID/exe of each newcomer, and write."""

    def change(config: Config) -> None:
        everything(config)
        config["process"]["args"] = ["sh", "-c", f"{OVERWRITE} sleep 1000"]

    box = Box(bare, bundle(change=change))
    assert set(exec_many(box, 30)) == {"0"}
    assert not (box.rootfs / "written").exists()


def test_an_image_that_answers_for_the_host(bare: Bare, bundle: Bundle, host: Path) -> None:
    """Links out of the root, in every place where we look for something for a second process."""
    path = bundle("sleep", "1000", change=lambda config: config["root"].update(readonly=False))
    box = Box(bare, path)
    (box.rootfs / "etc/passwd").unlink()
    (box.rootfs / "etc/passwd").symlink_to(host / "etc/passwd")
    (box.rootfs / "work").symlink_to(host)
    (box.rootfs / "program").symlink_to(host / "secret")
    assert "HOME=/\n" in box.says("--", "env")
    assert box.exec("--cwd", "/work", "--", "pwd").returncode == 255
    assert box.exec("--", "/program").returncode == 255
