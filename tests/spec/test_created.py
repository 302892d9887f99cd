"""What a created container is, while it waits for `start`: a list of system calls, and no more."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.spec.conftest import Box


@pytest.fixture
def waiting(box: "Box") -> Iterator[tuple[str, int]]:
    """A created container: its id, and its process."""
    container = box.lcpy.new_id()
    bundle = box.bundle(["true"], lambda config: config["process"].update(oomScoreAdj=77))
    box.lcpy("create", "--bundle", bundle, container, check=True)
    yield container, box.lcpy.state(container)["pid"]
    box.lcpy("delete", "--force", container, check=True)


def test_nothing_of_python_is_in_it(waiting: tuple[str, int]) -> None:
    """Its own file, which no path leads to, and what the kernel maps into every process."""
    maps = Path(f"/proc/{waiting[1]}/maps").read_text().splitlines()
    names = {line.split(maxsplit=5)[5] if len(line.split()) > 5 else "" for line in maps}
    files = {name for name in names if name and not name.startswith("[")}
    assert files == {"/memfd:lcpy:finish (deleted)"}
    assert len(maps) < 10
    # Neither writable and executable at once, nor a heap.
    assert not [line for line in maps if "wx" in line.split()[1]]


def test_it_weighs_a_few_pages(waiting: tuple[str, int]) -> None:
    rollup = Path(f"/proc/{waiting[1]}/smaps_rollup").read_text().splitlines()
    fields = {line.split()[0]: int(line.split()[1]) for line in rollup[1:]}
    assert fields["Pss:"] <= 50


def test_its_file_can_not_be_changed(waiting: tuple[str, int]) -> None:
    """Not even by root of the host, through /proc."""
    path = f"/proc/{waiting[1]}/exe"
    assert os.stat(path).st_mode & 0o777 == 0o555
    with pytest.raises(OSError):
        os.close(os.open(path, os.O_WRONLY))


def test_its_descriptors(waiting: tuple[str, int], box: "Box") -> None:
    """The three standard ones and the two FIFOs of `start`; the sync pipe is gone."""
    directory = f"/proc/{waiting[1]}/fd"
    links = {int(fd): os.readlink(f"{directory}/{fd}") for fd in os.listdir(directory)}
    fifos = {str(box.lcpy.root / waiting[0] / name) for name in ("go", "status")}
    # Seen from its own root they are unreachable: only the names are left.
    others = {os.path.basename(link) for fd, link in links.items() if fd > 2}
    assert {0, 1, 2} <= set(links)
    assert others == {os.path.basename(name) for name in fifos}
    assert len(links) == 5


def test_it_has_dropped_everything(waiting: tuple[str, int]) -> None:
    """Before it waits: a start only runs the program."""
    lines = Path(f"/proc/{waiting[1]}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    wanted = 1 << 29 | 1 << 5 | 1 << 10  # AUDIT_WRITE, KILL, NET_BIND_SERVICE
    assert int(status["CapBnd"], 16) == int(status["CapPrm"], 16) == wanted
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert int(status["SigBlk"], 16) == 0
    assert Path(f"/proc/{waiting[1]}/limits").read_text().count("1024") == 2
    assert Path(f"/proc/{waiting[1]}/oom_score_adj").read_text() == "77\n"
    assert Path(f"/proc/{waiting[1]}/environ").read_bytes() == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_signals_end_it(waiting: tuple[str, int], box: "Box", number: int) -> None:
    """Though it is pid 1, which has no defaults."""
    box.lcpy("kill", waiting[0], str(int(number)), check=True)
    assert box.lcpy.wait_for(waiting[0], "stopped")["pid"] == 0
