"""startContainer hooks are the image's own programs, and the finish list that runs them has the
FIFO open on which `start` waits for its answer: what they can do with it.
"""

import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle, Completed, Config, Lcpy

# The list is the hook's parent. Which of its descriptors is the FIFO of the answer, it finds out.
FIND = 'for fd in /proc/$PPID/fd/*; do case $(readlink "$fd") in */status) status=$fd ;; esac; done'


def start(lcpy: "Lcpy", bundle: "Bundle", hook: str) -> "tuple[Completed, float]":
    """Start a container with such a hook: how that ended, and how long it took."""

    def hooks(config: "Config") -> None:
        config["hooks"] = {"startContainer": [{"path": "/hook"}]}
        kinds = ("bounding", "permitted", "effective")
        config["process"]["capabilities"] = {kind: ["CAP_SYS_PTRACE"] for kind in kinds}

    made = bundle("sleep", "30", change=hooks)
    path = Path(made / "rootfs/hook")
    path.write_text(f'#!/bin/sh\n{FIND}\n[ "$status" ] || exit 7\n{hook}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    container = lcpy.new_id()
    lcpy("create", "--bundle", made, container, check=True)
    began = time.monotonic()
    done = lcpy("start", container, timeout=20)
    return done, time.monotonic() - began


def test_one_that_holds_the_answer_open(lcpy: "Lcpy", bundle: "Bundle") -> None:
    done, seconds = start(lcpy, bundle, 'sleep 12 3<>"$status" &')
    assert done.returncode == 0, done.stderr
    assert seconds < 8


@pytest.mark.parametrize("text", ["hello", "x" * 16, "y" * 100000])
def test_one_that_answers_itself(lcpy: "Lcpy", bundle: "Bundle", text: str) -> None:
    command = f"head -c {len(text)} /dev/zero | tr '\\0' {text[0]} >\"$status\""
    done, seconds = start(lcpy, bundle, f"{command} &\nsleep 0.2")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "internal error" not in done.stderr
    assert seconds < 8
