"""Attacks around the command itself: its environment, its directory, and what it is given."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.conftest import Bare, Watch, one_line
from tests.conftest import Bundle, Config, Lcpy

SECONDS = 20


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A directory of modules that all leave a mark."""
    directory = tmp_path / "hostile"
    (directory / "libcontainer_py").mkdir(parents=True)
    (directory / "encodings").mkdir()
    mark = tmp_path / "OWNED"
    source = f"import posix\nposix.close(posix.open({str(mark)!r}, 0o101, 0o644))\n"
    for name in ("os", "posix", "sitecustomize", "usercustomize", "struct", "_json", "select"):
        (directory / f"{name}.py").write_text(source)
    for name in ("libcontainer_py/__init__", "encodings/__init__", "startup", "jsonschema"):
        (directory / f"{name}.py").write_text(source)
    return directory


@pytest.mark.parametrize("where", ["environment", "directory", "beside the link"])
def test_no_module_of_a_stranger_is_imported(
    bare: Bare, bundle: Bundle, hostile: Path, tmp_path: Path, where: str
) -> None:
    environment = dict(os.environ)
    made = bundle("sh", "-c", "env; true")
    argv = bare.argv("run", "--bundle", str(made), bare.new_id())
    if where == "environment":
        environment |= {
            "PYTHONPATH": str(hostile),
            "PYTHONHOME": str(hostile),
            "PYTHONSTARTUP": str(hostile / "startup.py"),
            "PYTHONUSERBASE": str(hostile),
            "PYTHONEXECUTABLE": str(hostile / "python"),
            "PYTHONPLATLIBDIR": str(hostile),
            "PYTHONINSPECT": "1",
            "PYTHONBREAKPOINT": "startup.x",
            "PYTHONPYCACHEPREFIX": str(hostile),
            "PYTHONWARNINGS": "error",
            "PYTHONIOENCODING": "utf-16",
            "PYTHONCASEOK": "1",
            "HOME": str(hostile),
        }
    elif where == "beside the link":
        # A link to the command in a directory with traps: what counts is where the command is.
        (hostile / "lcpy").symlink_to(argv[0])
        argv[0] = str(hostile / "lcpy")

    done = subprocess.run(
        argv,
        cwd=hostile,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "OWNED").exists()
    # And nothing of the caller's environment arrives in the container.
    assert "PYTHON" not in done.stdout
    assert str(hostile) not in done.stdout


def test_the_modules_of_a_stranger_would_leave_a_mark(hostile: Path, tmp_path: Path) -> None:
    subprocess.run(
        ["/usr/bin/python3", "-S", "-c", "import jsonschema"],
        env={"PYTHONPATH": str(hostile)},
        capture_output=True,
        check=False,
    )
    assert (tmp_path / "OWNED").exists()


def test_no_module_of_the_bundle_is_imported(bare: Bare, bundle: Bundle, hostile: Path) -> None:
    """A rejected config.json, too, which needs modules that are imported late."""
    made = bundle("true", change=lambda config: config.update(mounts="none", process=3))
    for path in hostile.iterdir():
        path.rename(made / path.name)
    one_line(bare("run", bare.new_id(), cwd=made))
    assert not (hostile.parent / "OWNED").exists()


def test_the_containers_environment_reaches_its_program_alone(
    bare: Bare,
    bundle: Bundle,
    tmp_path: Path,
    watch: "Callable[[Path], Watch]",
) -> None:
    """CVE-2025-23266: LD_PRELOAD in config.json, seen at each execve(2) on the way."""

    def change(config: Config) -> None:
        config["process"]["env"] += ["LD_PRELOAD=/evil.so", "PYTHONPATH=/evil", "BASH_ENV=/evil.so"]

    made = bundle("/bin/sh", "-c", "exec /bin/busybox true", change=change)
    (made / "rootfs/evil.so").write_text("not a library")
    eye = watch(made / "rootfs")
    words = ["strace", "-ff", "-v", "-s", "4096", "-o", str(tmp_path / "strace")]
    words += ["-e", "trace=execve,execveat", *bare.argv("run", bare.new_id())]
    subprocess.run(words, cwd=made, check=True, timeout=SECONDS)

    logs = [path.read_text().splitlines() for path in tmp_path.glob("strace.*")]
    lines = [line for log in logs for line in log if line.startswith("exec")]
    with_it = [line for line in lines if "evil" in line]
    assert len(lines) > len(with_it)
    assert with_it
    assert all(line.startswith('execve("/bin/') for line in with_it), with_it
    assert "evil.so" not in eye.opened()


# --- denial -----------------------------------------------------------------------------------


def run_with(lcpy: Lcpy, made: Path, content: "bytes | None") -> "subprocess.CompletedProcess[str]":
    """Run a bundle with another config.json; it must be over soon."""
    if content is not None:
        (made / "config.json").write_bytes(content)
    begun = time.monotonic()
    done = lcpy("run", lcpy.new_id(), cwd=made, timeout=2 * SECONDS)
    assert time.monotonic() - begun < SECONDS
    return done


def test_a_config_of_a_hundred_megabytes(lcpy: Lcpy, bundle: Bundle) -> None:
    made = bundle("true")
    os.truncate(made / "config.json", 100 << 20)
    assert "config.json is larger than" in one_line(run_with(lcpy, made, None))


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
        b"[" * 1_000_000 + b"]" * 1_000_000,
        b'{"process":' * 50_000 + b"1" + b"}" * 50_000,
        b"",
        b"null",
        b"\0" * 1000,
        b"\xff\xfe{\0}\0",
        b'{"ociVersion": ' + b"9" * 1_000_000 + b"}",
        b'{"ociVersion": 1e999999}',
        b'{"ociVersion": "' + b"1" * 15_000_000 + b'"}',
        b'{"ociVersion": NaN}',
        b'{"' + b'":1,"'.join(b"%d" % n for n in range(300_000)) + b'":1}',
    ],
    ids=lambda content: ascii(content[:20]),
)
def test_a_config_that_is_too_much(lcpy: Lcpy, bundle: Bundle, content: bytes) -> None:
    line = one_line(run_with(lcpy, bundle("true"), content))
    assert len(line) < 10_000


@pytest.mark.parametrize("depth", [50, 900, 20_000])
def test_deep_nesting_in_a_valid_config(lcpy: Lcpy, bundle: Bundle, depth: int) -> None:
    """In a field that nobody knows, and in one that is known."""
    made = bundle("true")
    text = (made / "config.json").read_bytes()
    nested = b"[" * depth + b"]" * depth
    unknown = run_with(lcpy, made, text.replace(b"{", b'{"x-unknown": ' + nested + b",", 1))
    assert unknown.returncode == 0 or one_line(unknown)
    one_line(run_with(lcpy, made, text.replace(b'"mounts": [', b'"mounts": [' + nested + b",")))


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "link to a fifo", "socket"])
def test_a_config_that_is_no_file(lcpy: Lcpy, bundle: Bundle, kind: str) -> None:
    made = bundle("true")
    path = made / "config.json"
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        os.mknod(path, 0o20666, os.makedev(1, 5))
    elif kind == "socket":
        os.mknod(path, 0o140666)
    else:
        os.mkfifo(made / "fifo")
        path.symlink_to("fifo")
    one_line(run_with(lcpy, made, None))


def test_ten_thousand_mounts(lcpy: Lcpy, bundle: Bundle) -> None:
    def change(config: Config) -> None:
        config["root"]["readonly"] = False
        config["mounts"] += [
            {"destination": f"/tmp/{n % 100}", "type": "tmpfs", "source": "x", "options": ["ro"]}
            for n in range(10_000)
        ]

    done = run_with(lcpy, bundle("true", change=change), None)
    if done.returncode:
        assert "mounts[" in one_line(done)


def test_ten_thousand_of_everything_else(lcpy: Lcpy, bundle: Bundle) -> None:
    def change(config: Config) -> None:
        config["process"]["env"] = [f"NAME_{n}={n}" for n in range(10_000)]
        config["process"]["user"]["additionalGids"] = list(range(10_000))
        config["process"]["args"] += ["x" * 50] * 10_000
        config["annotations"] = {f"key.{n}": "x" * 50 for n in range(10_000)}
        config["linux"]["maskedPaths"] = ["/tmp"] * 1000

    done = run_with(lcpy, bundle("true", change=change), None)
    assert done.returncode == 0 or one_line(done)


@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b"\xff", b'{"id": "other"}', b""])
def test_a_state_file_that_is_none(lcpy: Lcpy, bundle: Bundle, content: bytes) -> None:
    """Who can write there is root already, but a disk can be full and a file be cut off."""
    container = lcpy.new_id()
    directory = lcpy.root / container
    directory.mkdir(parents=True)
    (directory / "state.json").write_bytes(content)
    for words in (("state",), ("start",), ("kill",), ("delete",)):
        assert "damaged" in one_line(lcpy(*words, container))
    lcpy("delete", "--force", container, check=True)
    assert not directory.exists()


def test_a_bundle_of_json_with_two_faces(lcpy: Lcpy, bundle: Bundle) -> None:
    """Of two members of one name the last counts, everywhere: none is checked and another used."""
    made = bundle("id", "-u")
    config = json.loads((made / "config.json").read_text())
    process = json.dumps({**config["process"], "user": {"uid": 1000, "gid": 1000}})
    text = json.dumps(config)
    content = text[:-1] + f', "process": {process}' + "}"
    done = run_with(lcpy, made, content.encode())
    assert (done.returncode, done.stdout) == (0, "1000\n"), done.stderr
