"""What the tests share: a root filesystem, bundles, the guarded command, and a clean machine.

Tests annotate these fixtures with the types below, imported under ``TYPE_CHECKING``.
"""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
PREFIX = f"lcpy-test-{os.getpid()}-"
# How much more time everything may take than on a real machine: in `./dev test vm` it is emulated.
PATIENCE = 5 if "LCPY_VM_PART" in os.environ else 1

Config = dict[str, Any]


def pytest_configure(config: pytest.Config) -> None:
    """Write down with which fields of config.json containers are made."""
    from tests.fields import Recorder

    config.pluginmanager.register(Recorder())


# --- skips ------------------------------------------------------------------------------------

_skipped: list[tuple[str, str]] = []


def allowed_skips() -> set[str]:
    """Read the reasons that tests/allowed_skips.txt allows."""
    lines = (HERE / "allowed_skips.txt").read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember each skip with its reason; tests/vm judges its own, by a list of its own."""
    if report.skipped and not hasattr(report, "wasxfail") and not hasattr(report, "judged"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append((report.nodeid, reason.removeprefix("Skipped: ")))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run of root's in which a test was skipped for a reason that nobody wrote down."""
    allowed = allowed_skips()
    unknown = [skip for skip in _skipped if skip[1] not in allowed]
    if unknown and os.geteuid() == 0:
        print("\nskipped for a reason that is not in tests/allowed_skips.txt:")
        for nodeid, reason in unknown:
            print(f"    {nodeid}: {reason}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# --- the checkout -----------------------------------------------------------------------------

# What .gitignore says, for a checkout that came without git's data, or without git.
_NOT_OURS = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache"
)


def copy_checkout(to: Path) -> Path:
    """Copy the files of this checkout, without what was built in it, to the new directory `to`."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=CHECKOUT,
            capture_output=True,
            check=True,
        ).stdout.split(b"\0")
    except (OSError, subprocess.CalledProcessError):
        shutil.copytree(CHECKOUT, to, symlinks=True, ignore=_NOT_OURS)
        return to
    for name in map(os.fsdecode, filter(None, listed)):
        if os.path.lexists(CHECKOUT / name):  # git still lists what was deleted
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, to / name, follow_symlinks=False)
    return to


@pytest.fixture
def checkout_copy(tmp_path: Path) -> Path:
    """A copy of this checkout's own files, to build in or to change."""
    return copy_checkout(tmp_path / "checkout")


# --- bundles ----------------------------------------------------------------------------------

Bundle = Callable[..., Path]


@pytest.fixture(scope="session")
def busybox_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root filesystem of BusyBox with passwd and group. Read it only: bundles have copies."""
    busybox = shutil.which("busybox")
    assert busybox, "busybox-static is missing: ./dev setup test"
    root = tmp_path_factory.mktemp("busybox") / "rootfs"
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "var"):
        (root / name).mkdir(parents=True, mode=0o755)
    (root / "tmp").chmod(0o1777)
    shutil.copy2(busybox, root / "bin/busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:A user:/home/user:/bin/sh\n"
    )
    (root / "etc/group").write_text("root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")
    return root


def copy_root(source: str | Path, to: str | Path) -> None:
    """Copy a root filesystem. (What `shutil.copytree` does for each of 400 links takes longer than
    a container.)
    """
    os.mkdir(to)
    for entry in os.scandir(source):
        target = f"{to}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), target)
        elif entry.is_dir():
            copy_root(entry.path, target)
        else:
            shutil.copy2(entry.path, target)
    shutil.copystat(source, to)


@pytest.fixture
def bundle(busybox_root: Path, tmp_path: Path) -> Bundle:
    """Make a bundle: ``bundle("sh", "-c", "id", change=function_of_the_config, root=True)``.

    The words are the program's arguments. The config is the default one without a terminal;
    `change` gets it as a dict and alters it. `root=False` leaves the root filesystem out.
    """
    from libcontainer_py.spec import default

    numbers = itertools.count()

    def make(
        *args: str, change: Callable[[Config], object] | None = None, root: bool = True
    ) -> Path:
        path = tmp_path / f"bundle-{next(numbers)}"
        path.mkdir()
        if root:
            copy_root(busybox_root, path / "rootfs")
        config: Config = default.default()
        config["process"]["terminal"] = False
        if args:
            config["process"]["args"] = list(args)
        if change is not None:
            change(config)
        (path / "config.json").write_text(json.dumps(config, indent=4))
        return path

    return make


# --- the command ------------------------------------------------------------------------------

Completed = subprocess.CompletedProcess[str]


class Lcpy:
    """The guarded command with a state directory of its own.

    Output goes through files: a pipe would stay open, and be waited for, as long as a container
    lives that `create` has left behind.
    """

    audited = str(HERE / "lcpy_audited.py")

    def __init__(self, root: Path) -> None:
        self.root = root
        self._numbers = itertools.count()

    def argv(self, *words: str | Path) -> list[str]:
        """The whole command line for some words."""
        python = [sys.executable, "-I", "-S", "-X", "utf8", self.audited]
        return [*python, "--root", str(self.root), *map(str, words)]

    def new_id(self) -> str:
        """A container id that no other test, in this run or beside it, has."""
        return f"{PREFIX}{self.root.parent.name[:40]}-{next(self._numbers)}"

    def __call__(
        self,
        *words: str | Path,
        stdin: str = "",
        timeout: float = 60 * PATIENCE,
        check: bool = False,
        **options: Any,
    ) -> Completed:
        """Run the command to its end; `check` asserts that it ended well.

        Further options (``cwd``, ``env``, ``pass_fds``, …) are those of `subprocess.run`.
        """
        with contextlib.ExitStack() as files:
            streams = [files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3)]
            streams[0].write(stdin)
            streams[0].seek(0)
            argv = self.argv(*words)
            done = subprocess.run(
                argv,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                timeout=timeout,
                check=False,
                **options,
            )
            for stream in streams[1:]:
                stream.seek(0)
            result = Completed(argv, done.returncode, streams[1].read(), streams[2].read())
        if check:
            assert result.returncode == 0, result.stderr
        return result

    def state(self, container: str) -> dict[str, Any]:
        """What `state` says of a container."""
        state: dict[str, Any] = json.loads(self("state", container, check=True).stdout)
        return state

    def wait_for(
        self, container: str, status: str, timeout: float = 10 * PATIENCE
    ) -> dict[str, Any]:
        """Wait until a container has a status, and return its state."""
        end = time.monotonic() + timeout
        while (state := self.state(container))["status"] != status:
            assert time.monotonic() < end, f"still {state['status']}, not {status}"
            time.sleep(0.02)
        return state

    def delete_all(self) -> list[str]:
        """Delete whatever is left in the state directory; return what can't be."""
        complaints = []
        for path in sorted(self.root.iterdir()) if self.root.is_dir() else []:
            if path.is_dir() and path.name != "compiled filters":
                done = self("delete", "--force", path.name)
                if done.returncode:
                    complaints.append(f"{path.name}: {done.stderr}")
        return complaints


@pytest.fixture
def lcpy(tmp_path: Path, machine_unchanged: None) -> Iterator[Lcpy]:
    """The guarded command. Containers that the test leaves are deleted after it."""
    command = Lcpy(tmp_path / "state")
    yield command
    complaints = command.delete_all()
    assert not complaints, complaints


# --- the machine ------------------------------------------------------------------------------


def _cgroups() -> set[str]:
    """The cgroup directories of this run's containers."""
    found = set()
    paths = ["/sys/fs/cgroup"]
    while paths:
        with contextlib.suppress(FileNotFoundError), os.scandir(paths.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if PREFIX in entry.name:
                        found.add(f"cgroup {entry.path}")
                    # One without a directory in it has two links, and need not be read.
                    if os.stat(entry.path).st_nlink > 2:
                        paths.append(entry.path)
    return found


def _mounts(directory: Path) -> set[str]:
    """All mounts, but for those that others make meanwhile: among their temporary files, and
    engines of another lane for their network namespaces.
    """
    found = set()
    others, ours = (tempfile.gettempdir() + "/", "/run/netns/cni-"), os.fspath(directory)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            number, point = line.split()[0], line.split()[4]
            if point.startswith(ours) or not point.startswith(others):
                found.add(f"mount {point} ({number})")
    return found


_PF_KTHREAD = 0x200000


def _processes(directory: Path) -> set[str]:
    """Our own children, and processes that name one of this run's containers or `directory`."""
    found = set()
    marks = (PREFIX.encode(), os.fsencode(directory))
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
            fields = stat.rpartition(b")")[2].split()
            if int(fields[6]) & _PF_KTHREAD:
                continue
            text = Path(f"/proc/{pid}/cmdline").read_bytes()
            text += Path(f"/proc/{pid}/cgroup").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() or any(mark in text for mark in marks):
            found.add(f"process {pid} ({fields[19].decode()}): {text[:200]!r}")
    return found


@pytest.fixture
def machine_unchanged(tmp_path: Path) -> Iterator[None]:
    """Hold that a test leaves no cgroup, mount or process behind (some are given two seconds)."""

    def look() -> set[str]:
        return _cgroups() | _mounts(tmp_path) | _processes(tmp_path)

    before = look()
    yield
    end = time.monotonic() + 2
    while (left := look() - before) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left, "left behind:\n" + "\n".join(sorted(left))
