"""spec/default.py beside what the installed runc writes."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py import jsontext
from libcontainer_py.spec.accept import accept
from libcontainer_py.spec.default import default
from libcontainer_py.spec.validate import validate

RUNC = shutil.which("runc", path="/usr/sbin:/usr/bin")


@pytest.mark.skipif(RUNC is None, reason="runc is not installed")
def test_it_is_what_runc_spec_writes(tmp_path: Path) -> None:
    subprocess.run([str(RUNC), "spec"], cwd=tmp_path, check=True)
    text = (tmp_path / "config.json").read_text()
    theirs: dict[str, Any] = json.loads(text)
    # The two differences between runc 1.1 and 1.5, which is the one that we follow.
    theirs["ociVersion"] = "1.3.0"
    theirs["process"]["capabilities"].pop("ambient", None)
    # As text, because the order counts: engines' tests patch the file by line.
    assert json.dumps(default(), indent="\t") == json.dumps(theirs, indent="\t")


def test_it_is_valid() -> None:
    config = default()
    assert accept(config)
    assert validate(config) == []


def test_each_call_gives_a_config_of_its_own() -> None:
    first, second = default(), default()
    first["process"]["capabilities"]["bounding"].append("CAP_CHOWN")
    first["mounts"][1]["options"].clear()
    assert second == default()


@pytest.mark.parametrize("unified", [True, False])
def test_a_cgroup_namespace_is_there_where_all_of_cgroups_is_v2(
    unified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def exists(path: str) -> bool:
        asked.append(path)
        return unified

    monkeypatch.setattr(os.path, "exists", exists)
    kinds = [namespace["type"] for namespace in default()["linux"]["namespaces"]]
    assert kinds == ["pid", "network", "ipc", "uts", "mount"] + ["cgroup"] * unified
    assert asked == ["/sys/fs/cgroup/cgroup.controllers"]


def test_it_survives_our_own_json() -> None:
    assert jsontext.loads(jsontext.dumps(default(), indent=4)) == default()
