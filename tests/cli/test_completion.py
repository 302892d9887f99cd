"""Completion and man pages: made from the table, and good for what they are."""

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from libcontainer_py.cli.help import explained
from libcontainer_py.cli.table import COMMANDS, GLOBAL

if TYPE_CHECKING:
    from tests.conftest import Bundle, Lcpy

CHECKOUT = Path(__file__).resolve().parents[2]
GENERATE = [sys.executable, "docs/generate.py"]

# `compopt` works only below the line editor; it changes how names are shown, not which.
COMPLETE = """
compopt() { :; }
source completions/lcpy.bash
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_lcpy
printf '%s\\n' "${COMPREPLY[@]}"
wait
"""


@pytest.fixture
def on_path(lcpy: "Lcpy", tmp_path: Path) -> dict[str, str]:
    """An environment in which `lcpy` is the guarded command with its state directory."""
    directory = tmp_path / "bin"
    directory.mkdir()
    script = directory / "lcpy"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(lcpy.argv())} "$@"\n')
    script.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}", "TERM": "dumb"}


def bash(line: str, environment: dict[str, str] | None = None) -> list[str]:
    """What bash offers for the last word of a line (where it splits at `=`)."""
    words = line.replace("=", " = ").split(" ") if "= " not in line else line.split(" ")
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", COMPLETE, "bash", *words],
        cwd=CHECKOUT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stderr == ""
    return sorted(filter(None, done.stdout.split("\n")))


def test_nothing_is_stale() -> None:
    """What is committed is what the table says: ./dev lint asks the same."""
    done = subprocess.run(
        [*GENERATE, "--check"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_stale_is_named(checkout_copy: Path) -> None:
    (checkout_copy / "man/lcpy-run.1").unlink()
    (checkout_copy / "man/lcpy-gone.1").touch()
    with (checkout_copy / "completions/_lcpy").open("a") as file:
        file.write("#\n")
    check = [*GENERATE, "--check"]
    done = subprocess.run(check, cwd=checkout_copy, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stderr.splitlines()] == [
        "completions/_lcpy", "man/lcpy-gone.1", "man/lcpy-run.1"
    ]  # fmt: skip
    subprocess.run(GENERATE, cwd=checkout_copy, check=True)
    assert subprocess.run(check, cwd=checkout_copy, check=False).returncode == 0
    assert not (checkout_copy / "man/lcpy-gone.1").exists()


# --- bash -------------------------------------------------------------------------------------


def test_commands_and_their_flags() -> None:
    assert bash("lcpy ") == sorted([*COMMANDS, "help"])
    assert bash("lcpy help ") == sorted(COMMANDS)
    assert bash("lcpy -") == sorted(name for flag in GLOBAL for name in flag.names)
    for name, command in COMMANDS.items():
        flags = sorted(spelling for flag in command.flags for spelling in flag.names)
        assert bash(f"lcpy {name} -") == flags


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("lcpy sta", ["start", "state"]),
        ("lcpy --debug sta", ["start", "state"]),
        ("lcpy --root run sta", ["start", "state"]),  # the value of --root is no command
        ("lcpy --log-", ["--log-format"]),
        ("lcpy --log-format ", ["json", "text"]),
        ("lcpy --log-format=j", ["json"]),
        ("lcpy --log-format=", ["json", "text"]),
        ("lcpy --log-format=json sta", ["start", "state"]),
        ("lcpy list -f ", ["json", "table"]),
        ("lcpy list -f t", ["table"]),
        ("lcpy run --preserve-fds ", []),
        ("lcpy run new", []),
        ("lcpy kill web K", ["KILL"]),
        ("lcpy kill web T", ["TERM", "TSTP"]),
        ("lcpy kill web KILL ", []),
        ("lcpy nosuch ", []),
    ],
)
def test_bash(line: str, offered: list[str]) -> None:
    assert bash(line) == sorted(offered)


def test_files_and_directories(tmp_path: Path) -> None:
    (tmp_path / "a directory").mkdir()
    (tmp_path / "a file").touch()
    start = f"{tmp_path}/".replace(" ", "")
    both = [f"{tmp_path}/a directory", f"{tmp_path}/a file"]
    assert bash(f"lcpy --log {start}") == both
    assert bash(f"lcpy run --pid-file={start}") == both
    assert bash(f"lcpy run --bundle {start}") == both[:1]
    assert bash(f"lcpy --root={start}") == both[:1]


def test_the_containers_that_there_are(
    lcpy: "Lcpy", bundle: "Bundle", on_path: dict[str, str], tmp_path: Path
) -> None:
    container = lcpy.new_id()
    lcpy("create", "--bundle", bundle("sleep", "1000"), container, check=True)
    for line in ("lcpy state ", "lcpy kill --all ", "lcpy delete -f lcpy-", "lcpy start "):
        assert bash(line, on_path) == [container], line
    assert bash("lcpy run ", on_path) == []  # a new one is wanted
    assert bash(f"lcpy --root {tmp_path} state ", on_path) == []
    assert bash(f"lcpy --root={lcpy.root} state ", on_path) == [container]
    assert bash(f"lcpy --root {tmp_path}/none state ", on_path) == []


def typed(keys: str, until: str, environment: dict[str, str]) -> str:
    """Type into an interactive bash; return what is on its terminal when `until` shows up."""
    ours, theirs = pty.openpty()
    argv = ["bash", "--norc", "--noprofile", "-i"]
    with subprocess.Popen(
        argv,
        cwd=CHECKOUT,
        env=environment | {"PS1": "READY ", "HISTFILE": ""},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as shell:
        os.close(theirs)
        try:
            screen = ""
            end = time.monotonic() + 20
            for text, answer in (("source completions/lcpy.bash\r", "READY "), (keys, until)):
                seen = len(screen)
                os.write(ours, text.encode())
                while answer not in screen[seen:]:
                    left = end - time.monotonic()
                    assert select.select([ours], [], [], max(left, 0))[0], screen
                    screen += os.read(ours, 4096).decode()
        finally:
            shell.kill()
            os.close(ours)
    return screen


def test_at_a_terminal(on_path: dict[str, str], lcpy: "Lcpy") -> None:
    """Two tabs, and the command that they completed runs."""
    lcpy.root.mkdir()
    screen = typed("lcpy li\t--for\tj\t\recho DO''NE\r", "DONE", on_path)
    assert "lcpy list --format json" in screen
    assert "null" in screen


# --- the other shells -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "option", "file"),
    [
        ("bash", "-n", "lcpy.bash"),
        pytest.param(
            "zsh", "-n", "_lcpy",
            marks=pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed"),
        ),
        pytest.param(
            "fish", "--no-execute", "lcpy.fish",
            marks=pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed"),
        ),
    ],
)  # fmt: skip
def test_the_syntax(shell: str, option: str, file: str) -> None:
    done = subprocess.run(
        [shell, option, f"completions/{file}"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("file", ["_lcpy", "lcpy.fish"])
def test_they_know_every_command_and_flag(file: str) -> None:
    text = (CHECKOUT / "completions" / file).read_text().replace("'\\''", "'").replace(r"\:", ":")
    for name, command in COMMANDS.items():
        assert f"{name}" in text
        for flag in (*GLOBAL, *command.flags):
            assert explained(flag) in text


# --- man pages --------------------------------------------------------------------------------

PAGES = ["lcpy", *(f"lcpy-{name}" for name in COMMANDS)]


def rendered(page: str) -> str:
    """A man page as groff sets it, without a warning."""
    done = subprocess.run(
        ["groff", "-ww", "-man", "-Tascii", "-P-c", "-rLL=2000n", f"man/{page}.1"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stderr == ""
    text = done.stdout
    for char in set(text):
        text = text.replace(f"{char}\b{char}", char).replace(f"_\b{char}", char)
    return " ".join(text.split())


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_man_pages_say_everything(page: str) -> None:
    text = rendered(page)
    command = COMMANDS.get(page.removeprefix("lcpy-"))
    assert f"NAME {page} - " in text
    for flag in command.flags if command else GLOBAL:
        spelling = ", ".join(flag.names) + (f" {flag.value}" if flag.value else "")
        assert f"{spelling} {explained(flag)}" in text
    if command is None:
        for name, each in COMMANDS.items():
            assert f"lcpy-{name}(1) {each.help}" in text
    else:
        assert f"{command.help} SYNOPSIS" in text


@pytest.mark.parametrize("page", PAGES)
def test_no_line_of_a_man_page_is_a_macro_by_mistake(page: str) -> None:
    for line in (CHECKOUT / "man" / f"{page}.1").read_text().splitlines():
        assert line
        if line[0] in ".'":
            macros = (".TH", ".SH", ".TP", ".PP", ".B", ".BR", ".nf", ".fi", ".RS", ".RE", '.\\"')
            assert line.split(" ")[0] in macros
