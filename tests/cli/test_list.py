"""`lcpy list`: what runc prints, for the same containers."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py import state
from libcontainer_py.cli import listing
from libcontainer_py.cli.main import main

if TYPE_CHECKING:
    from tests.conftest import Bundle, Lcpy

HEAD = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
NOBODY = 65534
NOBODYS = 54321  # no user has this number


class Runc:
    """runc with a state directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, *words: str) -> str:
        return subprocess.run(
            ["runc", "--root", str(self.root), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout

    def create(self, bundle: Path, container: str) -> None:
        """Not by `__call__`: the container keeps the streams open."""
        argv = ["runc", "--root", str(self.root), "create", "--bundle", str(bundle), container]
        null = subprocess.DEVNULL
        subprocess.run(argv, stdin=null, stdout=null, stderr=null, timeout=30, check=True)


@pytest.fixture
def runc(lcpy: "Lcpy", tmp_path: Path) -> Iterator[Runc]:
    """A runc whose containers are deleted after the test."""
    command = Runc(tmp_path / "runc-state")
    command.root.mkdir()
    yield command
    for container in command("list", "--quiet").split():
        command("delete", "--force", container)


def likened(text: str) -> str:
    """A listing without what must differ: ids, process ids, times (and the blanks behind them)."""
    text = re.sub(r"lcpy-test-\S+-(mine|runc)", "THE-ID", text)
    text = re.sub(r"(?<=[ :])[0-9]{2,}(?=[ ,])", "PID", text)
    text = re.sub(r"PID *", "PID ", text)
    text = re.sub(r"2[0-9]{3}-[0-9TZ:.-]+ *", "TIME ", text)
    return re.sub(r"CREATED *", "CREATED ", re.sub(r'"1\.[0-9.]+(-dev)?"', '"VERSION"', text))


@pytest.fixture
def two(lcpy: "Lcpy", runc: Runc, bundle: "Bundle") -> list[str]:
    """Two containers of each runtime, from the same bundles."""

    def annotate(config: dict[str, Any]) -> None:
        config["annotations"] = {"z": "last", "a": "first"}

    paths = [bundle("sleep", "1000"), bundle("sleep", "1000", change=annotate)]
    ids = []
    for path in paths:
        name = lcpy.new_id()
        lcpy("create", "--bundle", path, f"{name}-mine", check=True)
        runc.create(path, f"{name}-runc")
        ids.append(f"{name}-mine")
    return ids


@pytest.fixture
def given(lcpy: "Lcpy", runc: Runc, two: list[str]) -> Iterator[Callable[[], None]]:
    """Give the two pairs to others, when called; ours again at the end, or we could not delete."""

    def give(*uids: int) -> None:
        for uid, name in zip(uids, two, strict=True):
            os.chown(lcpy.root / name, uid, -1)
            os.chown(runc.root / name.replace("-mine", "-runc"), uid, -1)

    yield lambda: give(NOBODYS, NOBODY)
    give(0, 0)


@pytest.mark.parametrize(
    "words",
    [["list"], ["list", "--format", "json"], ["list", "-f=table"], ["list", "-q"],
     ["list", "-q", "-f", "nonsense"]],
    ids=" ".join,
)  # fmt: skip
def test_it_is_runcs(lcpy: "Lcpy", runc: Runc, given: Callable[[], None], words: list[str]) -> None:
    """Byte for byte, but for the values that can't be the same."""
    given()
    ours = lcpy(*words, check=True)
    assert ours.stderr == ""
    assert likened(ours.stdout) == likened(runc(*words))
    assert len(ours.stdout) > 50


def test_what_it_says(lcpy: "Lcpy", two: list[str], given: Callable[[], None]) -> None:
    lcpy("kill", two[0], "KILL", check=True)
    lcpy("start", two[1], check=True)
    lcpy.wait_for(two[0], "stopped")
    given()
    refused = lcpy("delete", "--force", two[0])
    assert refused.returncode == 1
    assert "is not ours alone" in refused.stderr
    found = json.loads(lcpy("list", "--format", "json", check=True).stdout)
    assert [each["id"] for each in found] == two
    assert [each["status"] for each in found] == ["stopped", "running"]
    assert [each["owner"] for each in found] == [f"#{NOBODYS}", "nobody"]
    assert found[0]["pid"] == 0
    for each in found:
        assert lcpy.state(each["id"]) == each | {"owner": ""}
    assert lcpy("list", "-q", check=True).stdout.split() == two
    lines = lcpy("list", check=True).stdout.splitlines()
    assert lines[1].split() == [
        two[0], "0", "stopped", found[0]["bundle"], found[0]["created"], f"#{NOBODYS}"
    ]  # fmt: skip


def test_an_empty_list(lcpy: "Lcpy", runc: Runc) -> None:
    lcpy.root.mkdir()
    for words, text in ((["list"], HEAD), (["list", "-f", "json"], "null\n"), (["list", "-q"], "")):
        assert lcpy(*words, check=True).stdout == text == runc(*words)


def test_a_root_that_is_not_there(lcpy: "Lcpy") -> None:
    """An error, as for runc since 1.5."""
    done = lcpy("list")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"--root: open {lcpy.root}: no such file or directory" in done.stderr
    assert not lcpy.root.exists()


def test_the_default_root_before_the_first_container(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(state, "default_root", lambda: "/nowhere/lcpy")
    assert main(["list"]) == 0
    assert capfd.readouterr() == (HEAD, "")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["list", "--format", "yaml"], "invalid format option"),
        (["list", "x"], '\\"list\\" requires exactly 0 argument(s)'),
    ],
)
def test_misuse(lcpy: "Lcpy", words: list[str], text: str) -> None:
    lcpy.root.mkdir()
    done = lcpy(*words)
    assert done.returncode == 1
    assert text in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_damaged_do_not_hide_the_others(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    path = bundle("sleep", "1000")
    good, damaged, half = (f"{lcpy.new_id()}-{name}" for name in ("good", "damaged", "half"))
    lcpy("create", "--bundle", path, good, check=True)
    lcpy("create", "--bundle", path, damaged, check=True)
    record = lcpy.root / damaged / "state.json"
    whole = record.read_text()
    record.write_text(whole[:5])
    (lcpy.root / half).mkdir()
    (lcpy.root / half / "lock").touch()
    # None of these is a container.
    (lcpy.root / "file").touch()
    (lcpy.root / "seccomp").mkdir()
    (lcpy.root / "no id").mkdir()
    log = tmp_path / "log"
    done = lcpy("--log", log, "list", "-q", check=True)
    assert (done.stdout, done.stderr) == (f"{good}\n", "")
    for complaint in (log.read_text(), lcpy("list", check=True).stderr):
        lines = complaint.splitlines()
        assert len(lines) == 2
        assert all("level=warning" in line for line in lines)
        assert f"{damaged}: " in complaint
        assert f"{half} has no record" in complaint
        for each in (damaged, half):
            assert f"delete --force {each}" in complaint
    lcpy("delete", "--force", half, check=True)  # as it says
    record.write_text(whole)
    done = lcpy("list", "-q", check=True)
    assert (done.stdout, done.stderr) == (f"{good}\n{damaged}\n", "")
    (lcpy.root / "no id").rmdir()


def test_a_bundle_can_not_forge_a_line() -> None:
    keys = ("id", "pid", "status", "created", "owner")
    state = {key: "x" for key in keys} | {"bundle": "/b\nroot  1  running"}
    assert listing.table([state]).count("\n") == 2
