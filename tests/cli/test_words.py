"""The words of the command line: what is asked wrongly is said as runc says it."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle, Lcpy

CHECKOUT = Path(__file__).resolve().parents[2]

# (command line, exit code, what standard error holds: the same in both but for the name)
MISUSE = [
    ("nosuch", 3, "No help topic for 'nosuch'"),
    ("help nosuch", 3, "No help topic for 'nosuch'"),
    ("--nope", 1, "flag provided but not defined: -nope"),
    ("--root", 1, "flag needs an argument: -root"),
    ("--log-format xml state x", 1, "invalid log-format: xml"),
    ("run --nope x", 1, "flag provided but not defined: -nope"),
    ("run --bundle", 1, "flag needs an argument: -bundle"),
    ("run --detach=maybe x", 1, 'invalid boolean value \\"maybe\\" for -detach: parse error'),
    ("run --preserve-fds many x", 1, 'invalid value \\"many\\" for flag -preserve-fds'),
    ("create", 1, '\\"create\\" requires exactly 1 argument(s)'),
    ("create a b", 1, '\\"create\\" requires exactly 1 argument(s)'),
    ("run", 1, '\\"run\\" requires exactly 1 argument(s)'),
    ("run a b", 1, '\\"run\\" requires exactly 1 argument(s)'),
    ("start", 1, '\\"start\\" requires exactly 1 argument(s)'),
    ("start a b", 1, '\\"start\\" requires exactly 1 argument(s)'),
    ("state", 1, '\\"state\\" requires exactly 1 argument(s)'),
    ("delete", 1, '\\"delete\\" requires exactly 1 argument(s)'),
    ("kill", 1, '\\"kill\\" requires a minimum of 1 argument(s)'),
    ("kill a b c", 1, '\\"kill\\" requires a maximum of 2 argument(s)'),
    ("spec extra", 1, '\\"spec\\" requires exactly 0 argument(s)'),
    ("state nope", 1, "container does not exist"),
    ("start nope", 1, "container does not exist"),
    ("kill nope", 1, "container does not exist"),
    ("kill nope KILL", 1, "container does not exist"),
    ("delete nope", 1, "container does not exist"),
    ("delete --force nope", 0, ""),
    ("delete -f nope", 0, ""),
    ("create ..", 1, "invalid container ID format"),
    ("create .", 1, "invalid container ID format"),
    ("create a/b", 1, "invalid container ID format"),
    ("create ../a", 1, "invalid container ID format"),
    ("create a:b", 1, "invalid container ID format"),
    ("create grüße", 1, "invalid container ID format"),
    ("run ..", 1, "invalid container ID format"),
    ("state ..", 1, "invalid container ID format"),
    ("delete -f ..", 1, "invalid container ID format"),
    ("run nope", 1, "JSON specification file config.json not found"),
    ("run --bundle /nowhere nope", 1, "no such file or directory"),
]


def runc(directory: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    argv = ["runc", "--root", str(directory / "runc"), *words]
    return subprocess.run(
        argv, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("line", "code", "text"), MISUSE)
def test_misuse(lcpy: "Lcpy", tmp_path: Path, line: str, code: int, text: str) -> None:
    """One line on standard error, whatever help is on standard output; runc agrees."""
    if "ID format" in text:
        lcpy("spec", cwd=tmp_path, check=True)  # runc looks at the bundle first
    ours = lcpy(*line.split(), cwd=tmp_path)
    assert (ours.returncode, text in ours.stderr) == (code, True), ours.stderr
    assert ours.stderr.count("\n") == (1 if code else 0), ours.stderr
    assert not lcpy.root.exists()
    theirs = runc(tmp_path, *line.split())
    assert (theirs.returncode, text in theirs.stderr) == (code, True), theirs.stderr


@pytest.mark.parametrize("container", ["", "x" * 256, "x" * 1025, "a\nb", "a b"])
@pytest.mark.parametrize("command", ["create", "state", "delete"])
def test_ids_that_are_none(lcpy: "Lcpy", tmp_path: Path, command: str, container: str) -> None:
    done = lcpy(command, container, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "container" in done.stderr
    if container:
        assert "invalid container ID format" in done.stderr
    assert len(done.stderr) < 300


def test_an_empty_id_is_said_to_be_empty(lcpy: "Lcpy", tmp_path: Path) -> None:
    lcpy("spec", cwd=tmp_path, check=True)
    assert "container id cannot be empty" in lcpy("create", "", cwd=tmp_path).stderr
    assert "container id cannot be empty" in runc(tmp_path, "create", "").stderr


@pytest.mark.parametrize("words", [["-v"], ["--version"]])
def test_the_version(lcpy: "Lcpy", words: list[str]) -> None:
    """Engines read the lines `commit:` and `spec:`, and the version from the first."""
    from libcontainer_py import __version__

    done = lcpy(*words)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"lcpy version {__version__}"
    assert [line.split(": ")[0] for line in lines[1:]] == ["commit", "spec"]


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["-h"], ["help"], ["run", "--help"], ["help", "run"], ["run", "-h"]]
)
def test_help(lcpy: "Lcpy", words: list[str]) -> None:
    """On standard output; it names every command, or every flag."""
    from libcontainer_py.cli.table import COMMANDS

    done = lcpy(*words)
    assert (done.returncode, done.stderr) == (0, "")
    if "run" in words:
        for flag in COMMANDS["run"].flags:
            assert flag.names[0] in done.stdout
    else:
        for name, command in COMMANDS.items():
            assert f"   {name} " in done.stdout
            assert command.help in done.stdout


def test_flags_in_all_spellings(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """One dash or two, with `=` or a blank; `--` ends them."""
    path = bundle("true")
    for words in (
        ["-bundle", str(path)],
        ["--bundle", str(path)],
        [f"--bundle={path}"],
        ["-b", str(path)],
        ["-b", str(path), "--keep=false"],
        ["-b", str(path), "--"],
    ):
        done = lcpy("run", *words, lcpy.new_id())
        assert (done.returncode, done.stderr) == (0, "")


# --- log --------------------------------------------------------------------------------------


def test_the_log_in_text(lcpy: "Lcpy", tmp_path: Path) -> None:
    """A line each in the file, which is added to; and standard error has the message itself."""
    log = tmp_path / "log"
    for name in ("one", "two"):
        done = lcpy("--log", log, "state", name)
        assert done.stderr == f"container does not exist: {name}\n"
    lines = log.read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].endswith(' level=error msg="container does not exist: two"')
    assert lines[1].startswith('time="20')
    assert stat.S_IMODE(log.stat().st_mode) & 0o002 == 0


def test_the_log_in_json(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    """Engines read `msg` of the last line of level error."""
    log = tmp_path / "log"
    path = bundle("nosuch")
    done = lcpy("--log", log, "--log-format", "json", "run", "--bundle", path, lcpy.new_id())
    assert done.returncode == 1
    entry = json.loads(log.read_text())
    assert list(entry) == ["level", "msg", "time"]
    assert entry["level"] == "error"
    assert 'exec: "nosuch": executable file not found in $PATH' in entry["msg"]
    assert done.stderr == entry["msg"] + "\n"


def test_json_on_standard_error(lcpy: "Lcpy") -> None:
    done = lcpy("--log-format", "json", "state", "nope")
    assert json.loads(done.stderr)["msg"] == "container does not exist: nope"


def test_warnings_are_in_the_log(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path) -> None:
    log = tmp_path / "log"
    path = bundle(
        "true", change=lambda config: config["process"]["capabilities"].update(ambient=["CAP_KILL"])
    )
    done = lcpy("--log", log, "run", "--bundle", path, lcpy.new_id())
    assert (done.returncode, done.stderr) == (0, "")
    assert log.read_text().count("level=warning") == 1


def test_a_log_that_can_not_be_written(lcpy: "Lcpy", tmp_path: Path) -> None:
    done = lcpy("--log", tmp_path / "no/such/log", "state", "nope")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "--log" in done.stderr


# --- spec -------------------------------------------------------------------------------------


def test_spec_writes_what_runs(lcpy: "Lcpy", bundle: "Bundle") -> None:
    path = bundle("true")
    (path / "config.json").unlink()
    done = lcpy("spec", cwd=path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    config = json.loads((path / "config.json").read_text())
    assert config["process"]["args"] == ["sh"]
    config["process"]["terminal"] = False
    (path / "config.json").write_text(json.dumps(config))
    assert lcpy("run", "--bundle", path, lcpy.new_id(), stdin="echo $((6*7))").stdout == "42\n"


def test_spec_overwrites_nothing(lcpy: "Lcpy", tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("mine")
    for command in (lcpy("spec", "--bundle", tmp_path), runc(tmp_path, "spec")):
        assert command.returncode == 1
        assert "exists. Remove it first" in command.stderr
    assert (tmp_path / "config.json").read_text() == "mine"


def test_spec_without_a_bundle(lcpy: "Lcpy", tmp_path: Path) -> None:
    done = lcpy("spec", "--bundle", tmp_path / "nope")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no such file or directory" in done.stderr


def test_closed_standard_streams(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """A command with nobody to tell still does its work, and says so by its exit code."""
    words = ["--root", str(lcpy.root), "run", "--bundle", str(bundle("true")), lcpy.new_id()]
    argv = [sys.executable, "-I", "-S", "-X", "utf8", "bin/lcpy", *words]
    for closed in ("0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"):
        shell = ["sh", "-c", f'"$@" {closed}', "sh"]
        done = subprocess.run([*shell, *argv], cwd=CHECKOUT, check=False)
        assert done.returncode == 0, closed
