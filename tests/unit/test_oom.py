"""News of memory that runs out, from a cgroup that goes while it is looked at."""

from pathlib import Path

import pytest

from libcontainer_py.cgroups import oom
from libcontainer_py.errors import StepError


def test_one_that_goes_before_it_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("memory.events", "cgroup.events"):
        (tmp_path / name).touch()

    def gone(path: str) -> str:
        raise StepError(None, 19, f"read {path}")  # ENODEV

    monkeypatch.setattr(oom, "read", gone)
    watch = oom.V2Watch(str(tmp_path))
    try:
        assert (watch.count(), watch.gone()) == (0, True)
    finally:
        watch.close()
