"""The options before the command: log, debug, and what is accepted though it is not built."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import CHECKOUT

if TYPE_CHECKING:
    from tests.conftest import Bundle, Lcpy


def runcs_log(directory: Path, *words: str) -> str:
    """What runc logs when it is asked for a container that does not exist."""
    log = directory / "runc.log"
    root = str(directory / "runc")
    argv = ["runc", "--root", root, "--log", str(log), *words, "state", "nope"]
    subprocess.run(argv, capture_output=True, timeout=30, check=False)
    return log.read_text()


def test_json_as_runc_writes_it(lcpy: "Lcpy", tmp_path: Path) -> None:
    """Engines read the lines with a decoder of level, msg and time (RFC 3339)."""
    log = tmp_path / "log"
    lcpy("--log", log, "--log-format", "json", "state", "nope")
    ours = log.read_text()
    theirs = runcs_log(tmp_path, "--log-format", "json")
    assert list(json.loads(ours)) == list(json.loads(theirs)) == ["level", "msg", "time"]
    times = [json.loads(line)["time"] for line in (ours, theirs)]
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)"
    assert all(re.fullmatch(pattern, time) for time in times)
    assert re.sub(r'"time":".*"', "", ours).replace(": nope", "") == re.sub(
        r'"time":".*"', "", theirs
    )


def test_text_as_runc_writes_it(lcpy: "Lcpy", tmp_path: Path) -> None:
    log = tmp_path / "log"
    lcpy("--log", log, "state", "nope")
    ours, theirs = (
        re.sub('^time="[^"]*"', "", text) for text in (log.read_text(), runcs_log(tmp_path))
    )
    assert ours.replace(": nope", "") == theirs == ' level=error msg="container does not exist"\n'


def test_the_file_is_made_and_added_to_as_runc_does(lcpy: "Lcpy", tmp_path: Path) -> None:
    logs = [tmp_path / "log", tmp_path / "runc.log"]
    logs[0].write_text("before\n")
    lcpy("--log", logs[0], "state", "nope")
    assert logs[0].read_text().startswith("before\ntime=")
    logs[0].unlink()
    mask = os.umask(0o027)
    try:
        lcpy("--log", logs[0], "state", "nope")
        runcs_log(tmp_path)
    finally:
        os.umask(mask)
    assert [log.stat().st_mode for log in logs] == [0o100640, 0o100640]


def test_a_log_that_is_not_needed_is_made_and_empty(lcpy: "Lcpy", tmp_path: Path) -> None:
    lcpy.root.mkdir()
    lcpy("--log", tmp_path / "log", "list", check=True)
    assert (tmp_path / "log").read_text() == ""


def test_a_log_whose_name_has_a_line_break(lcpy: "Lcpy", tmp_path: Path) -> None:
    done = lcpy("--log", f"{tmp_path}/no\nthing/log", "state", "nope")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


def test_debug_says_what_was_asked_and_how_it_ended(lcpy: "Lcpy", bundle: "Bundle") -> None:
    """On standard error when no log is named; without --debug there is nothing of it."""
    container = lcpy.new_id()
    words = ["run", "--bundle", str(bundle("sh", "-c", "exit 3")), container]
    assert lcpy(*words).stderr == ""
    done = lcpy("--debug", *words)
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert all("level=debug" in line for line in lines)
    assert f"run {container} bundle=" in lines[0]
    assert "exit code 3" in lines[-1]


def test_debug_says_where_an_error_came_from(lcpy: "Lcpy", tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = lcpy("--debug", "--log", log, "--log-format", "json", "state", "nope")
    assert done.stderr == "container does not exist: nope\n"
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["level"] for entry in entries] == ["debug", "debug", "error"]
    assert entries[1]["msg"].startswith("raised by state.")
    assert "cli.commands.state" in entries[1]["msg"]


def test_rootless_that_is_no_boolean(lcpy: "Lcpy") -> None:
    done = lcpy("--rootless", "perhaps", "state", "nope")
    assert done.returncode == 1
    assert 'invalid boolean value \\"perhaps\\" for -rootless' in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        *(["--rootless=auto"], ["--rootless=false"], ["--rootless="], ["--rootless", "AUTO"]),
        *(["--rootless=TRUE"], ["--rootless=t"], ["--criu", "/criu"]),
    ],
)
def test_what_asks_for_nothing_is_accepted(lcpy: "Lcpy", words: list[str]) -> None:
    assert "container does not exist: nope" in lcpy(*words, "state", "nope").stderr


def test_without_systemd_nothing_is_made(lcpy: "Lcpy", bundle: "Bundle") -> None:
    words = lcpy.argv("--systemd-cgroup", "run", "--bundle", bundle("true"), lcpy.new_id())
    hide = "for each in systemd dbus; do"
    hide += ' [ ! -d /run/$each ] || mount -t tmpfs none /run/$each; done; exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", hide, "sh", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "connect to systemd at /run/systemd/private: no such file or directory" in done.stderr
    assert "this host does not run systemd" in done.stderr
    assert not lcpy.root.exists()


@pytest.mark.parametrize(
    ("mapped", "environment", "root"),
    [
        (False, {"XDG_RUNTIME_DIR": "/there"}, "/run/lcpy"),
        (False, {}, "/run/lcpy"),
        (True, {"XDG_RUNTIME_DIR": "/there"}, "/there/lcpy"),
        (True, {"XDG_RUNTIME_DIR": "/there", "USER": "user"}, "/there/lcpy"),
        (True, {"XDG_RUNTIME_DIR": "/there", "USER": "root"}, "/run/lcpy"),
        (True, {}, "/run/lcpy"),
    ],
)
def test_where_the_state_is_by_default(
    mapped: bool, environment: dict[str, str], root: str
) -> None:
    """Root of a user namespace alone, as rootless Podman's: a user, unless $USER says root."""
    script = "from libcontainer_py import state; print(state.default_root())"
    namespace = ["unshare", "--user", "--map-root-user"] if mapped else []
    argv = [*namespace, sys.executable, "-c", script]
    done = subprocess.run(
        argv, env=environment, cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, root + "\n", "")
