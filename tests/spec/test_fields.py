"""Fields that no other test makes a container with: what docs/fields.md would show as a gap."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.spec.test_cgroups import UNIFIED
from tests.spec.test_hooks import script
from tests.unit.spec.samples import put

if TYPE_CHECKING:
    from tests.conftest import Bundle, Config, Lcpy
    from tests.spec.conftest import Box

LOOP = {"major": 7, "minor": 0}  # loop0: nobody has to use it


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer", "poststart", "poststop"])
def test_a_hook_within_its_time(lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path, kind: str) -> None:
    hook = {"path": script(tmp_path / "hook", f"echo ran >>{tmp_path}/log"), "timeout": 20}
    made = bundle("true", change=lambda config: config.update(hooks={kind: [hook]}))
    lcpy("run", "--bundle", made, lcpy.new_id(), check=True)
    assert (tmp_path / "log").read_text() == "ran\n"


@pytest.mark.parametrize("which", ["initial", "final"])
def test_the_cpus_of_a_second_process(
    lcpy: "Lcpy", bundle: "Bundle", tmp_path: Path, which: str
) -> None:
    container = lcpy.new_id()
    made = bundle("sleep", "1000")
    lcpy("create", "--bundle", made, container, check=True)
    process = json.loads((made / "config.json").read_text())["process"]
    process["args"] = ["grep", "Cpus_allowed_list", "/proc/self/status"]
    for cpus in ("0", "1"):
        process["execCPUAffinity"] = {which: cpus}
        (tmp_path / "process.json").write_text(json.dumps(process))
        done = lcpy("exec", "--process", tmp_path / "process.json", container, check=True)
        assert done.stdout.split() == ["Cpus_allowed_list:", cpus]


def test_a_deadline(box: "Box") -> None:
    scheduler = {
        "policy": "SCHED_DEADLINE",
        "flags": ["SCHED_FLAG_RESET_ON_FORK"],
        "runtime": 1_000_000,
        "deadline": 20_000_000,
        "period": 30_000_000,
    }
    # Field 41 is the policy. A child has it no more by that flag, and could not be made without.
    read = "read -r line </proc/self/stat; set -- $line; shift 40; echo $1"
    said = box.lines(
        f"{read}; cut -d' ' -f41 /proc/self/stat; true",
        change=lambda config: put(config, "process.scheduler", scheduler),
    )
    assert said == ["6", "0"]


def test_what_linux_has_not_or_no_more(box: "Box") -> None:
    """A name for the user is for other platforms; limits of the kernel's own memory are gone."""

    def change(config: "Config") -> None:
        config["process"]["user"] = {"uid": 1000, "gid": 1000, "username": "nobody"}
        memory: dict[str, Any] = {"limit": 1 << 28, "checkBeforeUpdate": True}
        memory |= {"kernel": 1 << 26, "kernelTCP": 1 << 26, "useHierarchy": True}
        config["linux"]["resources"]["memory"] = memory

    done = box.run("id", "-u", change=change)
    assert (done.returncode, done.stdout) == (0, "1000\n")
    assert "level=error" not in done.stderr


def test_throttles(lcpy: "Lcpy", bundle: "Bundle") -> None:
    limits = {
        "throttleReadBpsDevice": 1 << 21,
        "throttleWriteBpsDevice": 1 << 20,
        "throttleReadIOPSDevice": 500,
        "throttleWriteIOPSDevice": 600,
    }
    throttles = {name: [{**LOOP, "rate": rate}] for name, rate in limits.items()}
    container = lcpy.new_id()
    change = {"blockIO": throttles}
    made = bundle("true", change=lambda config: config["linux"]["resources"].update(change))
    lcpy("create", "--bundle", made, container, check=True)
    paths = json.loads((lcpy.root / container / "state.json").read_text())["cgroups"]["paths"]
    if UNIFIED:
        text = Path(paths[""], "io.max").read_text()
        assert text == "7:0 rbps=2097152 wbps=1048576 riops=500 wiops=600\n"
        return
    for name, rate in zip(
        ("read_bps", "write_bps", "read_iops", "write_iops"), limits.values(), strict=True
    ):
        text = Path(paths["blkio"], f"blkio.throttle.{name}_device").read_text()
        assert text == f"7:0 {rate}\n"
