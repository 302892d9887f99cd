"""`process.capabilities`: five sets, compared with what the kernel says of the program."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Config
    from tests.spec.conftest import Box, Change

NUMBERS = {"CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_KILL": 5, "CAP_NET_RAW": 13}
KINDS = {
    "inheritable": "CapInh",
    "permitted": "CapPrm",
    "effective": "CapEff",
    "bounding": "CapBnd",
    "ambient": "CapAmb",
}
ALL = list(NUMBERS)

Sets = dict[str, list[str]]


def capabilities(sets: Sets, uid: int = 0, privileges: bool = True) -> "Change":
    def change(config: "Config") -> None:
        config["process"]["capabilities"] = sets
        config["process"]["user"] = {"uid": uid, "gid": uid}
        config["process"]["noNewPrivileges"] = not privileges

    return change


def held(status: str) -> dict[str, set[str]]:
    """The five sets of /proc/PID/status, as names."""
    lines = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Cap"))
    return {
        kind: {name for name, bit in NUMBERS.items() if int(lines[line], 16) >> bit & 1}
        for kind, line in KINDS.items()
    }


CASES: dict[str, Sets] = {
    "none": {},
    "root's are its bounding set after an exec": {
        "bounding": ALL,
        "permitted": ["CAP_KILL"],
        "effective": ["CAP_KILL"],
    },
    "inheritable": {
        "bounding": ALL,
        "permitted": ["CAP_KILL"],
        "effective": [],
        "inheritable": ["CAP_CHOWN"],
    },
    "ambient": {
        "bounding": ["CAP_CHOWN", "CAP_KILL"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_CHOWN", "CAP_KILL"],
        "ambient": ["CAP_CHOWN"],
    },
}


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("case", CASES)
def test_the_five_sets_are_as_runc_s(box: "Box", case: str, uid: int) -> None:
    change = capabilities(CASES[case], uid, uid == 0)
    box.both("grep ^Cap /proc/self/status", change=change)


def test_the_five_sets_of_a_user(box: "Box") -> None:
    """What an exec leaves of them (capabilities(7)), spelled out."""
    sets = CASES["ambient"]
    said = held(box.out("cat", "/proc/self/status", change=capabilities(sets, 1000)))
    assert said == {
        "bounding": {"CAP_CHOWN", "CAP_KILL"},
        "inheritable": {"CAP_CHOWN", "CAP_KILL"},
        "permitted": {"CAP_CHOWN"},
        "effective": {"CAP_CHOWN"},
        "ambient": {"CAP_CHOWN"},
    }


def test_no_capabilities_at_all(box: "Box") -> None:
    """No object is no capability: in none of the sets, the bounding set among them."""

    def change(config: "Config") -> None:
        del config["process"]["capabilities"]

    said = box.lines("grep ^Cap /proc/self/status", change=change)
    assert {line.split()[1] for line in said} == {"0" * 16}
    assert len(said) == 5


def test_an_unknown_name_is_a_warning(box: "Box") -> None:
    """One, and the program runs."""
    sets = {kind: ["CAP_KILL", "CAP_NOPE"] for kind in ("bounding", "permitted", "effective")}
    done = box.run("echo", "ran", change=capabilities(sets))
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "level=warning" in done.stderr
    assert "CAP_NOPE" in done.stderr
    assert "process.capabilities" in done.stderr


def test_ambient_ones_that_can_not_be_are_a_warning(box: "Box") -> None:
    """The default of older `runc spec` asks for them without inheritable ones."""
    two = ["CAP_KILL", "CAP_CHOWN"]
    sets = {kind: two for kind in ("bounding", "permitted", "effective", "ambient")}
    done = box.run("grep", "CapAmb", "/proc/self/status", change=capabilities(sets))
    assert (done.returncode, done.stdout) == (0, "CapAmb:\t0000000000000000\n")
    assert done.stderr.count("\n") == 2
    for name in two:
        assert f"can't raise ambient capability {name}: " in done.stderr


@pytest.mark.parametrize("kind", ["permitted", "effective", "inheritable"])
def test_what_the_runtime_does_not_hold_is_an_error(box: "Box", kind: str) -> None:
    """It names the set and the capability."""
    sets = {"bounding": ["CAP_SYS_TIME"], kind: ["CAP_SYS_TIME"]}
    error = box.refused(
        change=capabilities(sets), prefix=("setpriv", "--bounding-set", "-sys_time")
    )
    assert f"process.capabilities.{kind}" in error
    assert "CAP_SYS_TIME" in error
    assert "operation not permitted" in error


def test_effective_ones_must_be_permitted(box: "Box") -> None:
    error = box.refused(change=capabilities({"bounding": ALL, "effective": ["CAP_CHOWN"]}))
    assert "process.capabilities.effective" in error


def with_a_locked_program(box: "Box", sets: Sets) -> Path:
    """A bundle whose program is root's and of mode 0700: uid 1000 needs CAP_DAC_OVERRIDE for it."""
    bundle = box.bundle(["/locked/echo", "ran"], capabilities(sets, 1000), own_root=True)
    locked = bundle / "rootfs/locked"
    locked.mkdir()
    (locked / "echo").write_bytes((bundle / "rootfs/bin/busybox").read_bytes())
    (locked / "echo").chmod(0o700)
    return bundle


OVERRIDING = {
    kind: ["CAP_DAC_OVERRIDE", "CAP_KILL"] for kind in ("bounding", "permitted", "effective")
}


def test_a_capability_that_is_not_ambient_still_opens_the_program(box: "Box") -> None:
    """It is lost in that exec, and counts for it."""
    bundle = with_a_locked_program(box, OVERRIDING)
    assert box.out(bundle=bundle) == "ran\n"
    assert box.out(bundle=bundle, runtime="runc") == "ran\n"


def test_without_it_the_program_is_refused(box: "Box") -> None:
    """At create, as runc does: permitted alone is not enough."""
    bundle = with_a_locked_program(box, {**OVERRIDING, "effective": ["CAP_KILL"]})
    assert "permission denied" in box.refused(bundle=bundle)
    assert box.run(bundle=bundle, runtime="runc").returncode == 1
