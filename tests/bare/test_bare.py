"""The first command ever typed: ``./dev demo`` and ``./dev test`` on a Debian 12 with nothing.

Each runs in a fresh minbase root of its own that holds the checkout's own files and how this
machine reaches its package registries (whatever that is: configuration and certificates are
copied, directories that pip's configuration names are bound read-only).
"""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import copy_checkout

HERE = Path(__file__).resolve().parent
ENTER = HERE / "enter.sh"

# How a machine reaches its registries is said in these files and variables.
CONFIGURATION = (
    "/etc/apt",
    "/etc/ca-certificates.conf",
    "/etc/hosts",
    "/etc/pip.conf",
    "/etc/resolv.conf",
    "/etc/ssl",
    "/etc/xdg/pip",
    "/root/.config/pip",
    "/root/.pip",
    "/usr/local/share/ca-certificates",
)
VARIABLES = re.compile(
    r"(PIP_.*|(HTTPS?|FTP|ALL|NO)_PROXY|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CI)", re.IGNORECASE
)


def pip_configuration() -> list[str]:
    """Values of pip's configuration: options of all its files and of the environment."""
    argv = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    values = " ".join(line.partition("=")[2].strip("'\"") for line in listed.splitlines())
    return values.replace("\\n", " ").split()


def pip_directories() -> list[Path]:
    """Directories of this machine that pip's configuration names."""
    found = set()
    for value in pip_configuration():
        path = Path(value.removeprefix("file://"))
        if value.startswith("file://"):
            path = path.parent  # an index links to files that lie beside it
        if path.is_absolute() and path.is_dir() and path != Path("/"):
            found.add(path)
    configured = [Path(path) for path in CONFIGURATION]
    return [
        path
        for path in sorted(found)
        if not any(path.is_relative_to(other) for other in (*configured, *(found - {path})))
    ]


def environment() -> dict[str, str]:
    """A newcomer's environment, and what says how to reach the registries."""
    ours = {name: value for name, value in os.environ.items() if VARIABLES.fullmatch(name)}
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return ours | {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb"}


def configure(root: Path) -> None:
    """Copy the machine's configuration of apt, pip, names and certificates into a root."""
    shutil.rmtree(root / "etc/apt/sources.list.d", ignore_errors=True)  # mmdebstrap's copies
    files = [Path(path) for path in CONFIGURATION]
    if "PIP_CONFIG_FILE" in os.environ:
        files.append(Path(os.environ["PIP_CONFIG_FILE"]))
    for path in files:
        to = root / path.relative_to("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, to, symlinks=True, dirs_exist_ok=True)
        elif path.is_file():
            to.unlink(missing_ok=True)
            shutil.copy2(path, to)


@pytest.fixture(scope="module")
def minbase(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tar of Debian 12's smallest root, from this machine's own sources."""
    directory = tmp_path_factory.mktemp("minbase")
    tar = directory / "root.tar"
    sources = [
        str(path)
        for path in (*Path("/etc/apt").glob("*.list"), *Path("/etc/apt/sources.list.d").iterdir())
        if path.suffix in (".list", ".sources") and "bookworm" in path.read_text()
    ]
    dumped = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    options = directory / "apt.conf"
    options.write_text(
        "".join(
            line + "\n"
            for line in dumped.stdout.splitlines()
            if re.match(r"Acquire::(https?|Retries|Check-(Valid-Until|Date))[: ]", line)
        )
    )
    argv = [
        "mmdebstrap",
        "--variant=minbase",
        f"--aptopt={options}",
        "bookworm",
        str(tar),
        *sources,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    yield tar
    tar.unlink()


@pytest.fixture
def root(minbase: Path, tmp_path: Path) -> Iterator[Path]:
    """A fresh root with the checkout in it, in a folder of another name."""
    path = tmp_path / "root"
    path.mkdir()
    subprocess.run(["tar", "-xf", str(minbase), "-C", str(path)], check=True)
    configure(path)
    copy_checkout(path / "root/a checkout")
    yield path
    # Nothing is mounted there: what was mounted went with the mount namespace.
    shutil.rmtree(path)


def run_inside(
    root: Path, command: str, timeout: int, capfd: pytest.CaptureFixture[str]
) -> list[str]:
    """Run a command in the checkout inside the root, show its output as it comes, return it."""
    with capfd.disabled():
        code, lines = _run_inside(root, command, timeout)
    if code:
        print("\n".join(lines[-120:]))  # once more, where pytest shows what failed
        pytest.fail(f"{command}: exit status {code} in a bare Debian 12", pytrace=False)
    return lines


def _run_inside(root: Path, command: str, timeout: int) -> tuple[int, list[str]]:
    directories = ":".join(map(str, pip_directories()))
    script = f'cd "/root/a checkout" && exec {command}'
    argv = ["unshare", "-m", "sh", str(ENTER), str(root), directories, "sh", "-c", script]
    lines: list[str] = []
    with subprocess.Popen(
        argv,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        start_new_session=True,
    ) as process:
        alarm = threading.Timer(timeout, os.killpg, (process.pid, 9))
        alarm.start()
        assert process.stdout
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            print(f"    | {lines[-1]}", flush=True)
        code = process.wait()
        alarm.cancel()
    return code, lines


@pytest.mark.timeout(900)
def test_the_demo_is_the_first_command(
    root: Path, capfd: pytest.CaptureFixture[str], machine_unchanged: None
) -> None:
    """It installs what it needs, and shows a container that is isolated."""
    lines = run_inside(root, "./dev demo", 800, capfd)
    text = "\n".join(lines)
    assert re.search(r"this is pid 1\b", text)
    assert re.search(r"host name\n +inside\n", text)
    assert "uid=1000(demo) gid=1000(demo)" in text
    assert re.search(r"CapEff:\s+0{16}", text)
    assert re.search(r"NoNewPrivs:\s+1", text)
    assert re.search(r"memory.*: 67108864", text)
    assert re.search(r"pids.max: 32", text)
    assert "/proc (proc)" in text
    assert "/file: Read-only file system" in text
    assert not (root / "usr/sbin/policy-rc.d").exists()


@pytest.mark.timeout(2400)
def test_the_tests_are_the_first_command(
    root: Path, capfd: pytest.CaptureFixture[str], machine_unchanged: None
) -> None:
    """They install what they need, and pass, with no test skipped that passes here."""
    lines = run_inside(root, "./dev test", 2300, capfd)
    assert re.search(r"=+ \d+ passed(?!.*(failed|error)).* in .*=+$", lines[-1]), lines[-1]
