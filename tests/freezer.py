"""Cgroups that are frozen behind lcpy's back, on cgroup v1 and on v2: from outside, and by scripts.

On v1 the frozen do not die, on v2 they do; what lcpy says and does is to be the same on both.
"""

from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
UNIFIED = (CGROUPS / "cgroup.controllers").exists()  # cgroup v2 alone

# Where the hierarchy is that freezes, here and in a container with a cgroup namespace.
MOUNTPOINT = CGROUPS if UNIFIED else CGROUPS / "freezer"
_FILE, _FROZEN, _THAWED = (
    ("cgroup.freeze", "1", "0") if UNIFIED else ("freezer.state", "FROZEN", "THAWED")
)

# For a shell in a container: its own cgroup, which on v2 without a cgroup namespace is where it is
# on the host; and the function `freeze DIRECTORY`.
_OWN = f"{MOUNTPOINT}$(sed -n s/^0:://p /proc/self/cgroup)" if UNIFIED else f"{MOUNTPOINT}"
SHELL = f"cg={_OWN}; freeze() {{ echo {_FROZEN} >$1/{_FILE}; }}"


def may_freeze_itself(config: dict[str, Any]) -> None:
    """Let a container write to its own cgroup, and freeze it, which is all that is in it.

    In a cgroup namespace of its own it can not, where cgroup v2 is mounted as systemd does it
    (`nsdelegate`); cgroups below its own it always can.
    """
    config["root"]["readonly"] = False
    kinds = [each for each in config["linux"]["namespaces"] if each["type"] != "cgroup"]
    config["linux"]["namespaces"] = kinds
    for mount in config["mounts"]:
        if mount["destination"] == "/sys/fs/cgroup":
            mount["options"].remove("ro")


def cgroup_of(pid: int) -> Path:
    """The cgroup by which a process would be frozen."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" if UNIFIED else controllers == "freezer":
            return MOUNTPOINT / path.lstrip("/")
    raise AssertionError("nothing freezes here")


def freeze(cgroup: Path) -> None:
    """Begin to freeze a cgroup."""
    (cgroup / _FILE).write_text(_FROZEN)


def thaw(cgroup: Path) -> None:
    """Let a cgroup go on."""
    (cgroup / _FILE).write_text(_THAWED)
