"""spec/default.py beside what the installed runc writes."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py import Spec, jsontext
from libcontainer_py.spec import rules
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


@pytest.mark.skipif(RUNC is None, reason="runc is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_the_rootless_one_is_what_runc_writes_for_the_same_user() -> None:
    script = (
        "import json, os, subprocess\n"
        "from libcontainer_py.spec.default import default\n"
        "os.setgroups([]); os.setresgid(1001, 1001, 1001); os.setresuid(1000, 1000, 1000)\n"
        f"subprocess.run([{RUNC!r}, 'spec', '--rootless'], check=True)\n"
        "print(json.dumps(default(rootless=True), indent='\\t'))\n"
    )
    checkout = str(Path(__file__).resolve().parents[3])
    # Not tmp_path, whose parents are closed to others.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=directory,
            env={"PYTHONPATH": checkout},
            capture_output=True,
            text=True,
            check=True,
        )
        theirs: dict[str, Any] = json.loads(Path(directory, "config.json").read_text())
    assert theirs["linux"]["uidMappings"][0]["hostID"] == 1000
    assert theirs["linux"]["gidMappings"][0]["hostID"] == 1001
    theirs["ociVersion"] = "1.3.0"
    theirs["process"]["capabilities"].pop("ambient", None)
    assert done.stdout == json.dumps(theirs, indent="\t") + "\n"


def test_its_differences_from_roots() -> None:
    """What a user can't do, or must do otherwise; the same that runc changes."""
    mine, roots = default(rootless=True), default()
    assert {name for name in mine if mine[name] != roots[name]} == {"mounts", "linux"}
    changed = [
        (theirs, own)
        for theirs, own in zip(roots["mounts"], mine["mounts"], strict=True)
        if theirs != own
    ]
    assert [own["destination"] for _, own in changed] == ["/dev/pts", "/sys"]
    (pts, without_gid), (_, sys_bind) = changed
    assert [word for word in pts["options"] if word not in without_gid["options"]] == ["gid=5"]
    assert sys_bind["source"] == "/sys"
    assert sys_bind["options"][0] == "rbind"
    assert roots["linux"].keys() - mine["linux"].keys() == {"resources"}
    assert mine["linux"].keys() - roots["linux"].keys() == {"uidMappings", "gidMappings"}
    kinds = [{one["type"] for one in config["linux"]["namespaces"]} for config in (mine, roots)]
    assert kinds[0] ^ kinds[1] == {"network", "user"}
    for name, own in (("uidMappings", os.geteuid()), ("gidMappings", os.getegid())):
        assert mine["linux"][name] == [{"containerID": 0, "hostID": own, "size": 1}]


def test_the_rootless_one_keeps_the_rules() -> None:
    config = default(rootless=True)
    assert accept(config)
    assert rules.check(config) == []
    spec = Spec.default(rootless=True, args=["id"], terminal=True)
    config["process"]["args"] = ["id"]
    assert spec.to_dict() == config


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
