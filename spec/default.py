"""The config.json that `lcpy spec` writes: what `runc spec` 1.5 writes on the same host."""

import os

from libcontainer_py.spec import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")


def default(*, rootless: bool = False) -> "dict[str, Any]":
    """A shell with a terminal, as root with three capabilities, in a read-only root filesystem.

    Args:
        rootless: for a caller who is not root: in a user namespace whose root is the caller, and
            with nothing that only the host's root may have

    Returns:
        a new dict, with its members in the order in which runc writes them
    """
    config = _as_root()
    return _rootless(config) if rootless else config


def _rootless(config: "dict[str, Any]") -> "dict[str, Any]":
    """Change a config to one that a user can run: what `runc spec --rootless` changes."""
    linux = config["linux"]
    namespaces = [one for one in linux["namespaces"] if one["type"] != "network"]
    config["linux"] = {
        "uidMappings": [{"containerID": 0, "hostID": os.geteuid(), "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": os.getegid(), "size": 1}],
        "namespaces": [*namespaces, {"type": "user"}],
        "maskedPaths": linux["maskedPaths"],
        "readonlyPaths": linux["readonlyPaths"],
    }
    for index, mount in enumerate(config["mounts"]):
        if mount["destination"] == "/sys":
            # A sysfs may be mounted only by who owns the network namespace, and that is the host's.
            config["mounts"][index] = _mount("/sys", "none", "/sys", "rbind,nosuid,noexec,nodev,ro")
        elif "options" in mount:
            # Group 5, which /dev/pts names, is not mapped.
            mount["options"] = [
                option for option in mount["options"] if option[:4] not in ("uid=", "gid=")
            ]
    return config


def _as_root() -> "dict[str, Any]":
    return {
        "ociVersion": VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {
                "bounding": [*_CAPABILITIES],
                "effective": [*_CAPABILITIES],
                "permitted": [*_CAPABILITIES],
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runc",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            _mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
            _mount(
                "/dev/pts",
                "devpts",
                "devpts",
                "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            ),
            _mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
            _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
            _mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in _namespaces()],
            "maskedPaths": [
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths": [
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger",
            ],
        },
    }


def _mount(destination: str, kind: str, source: str, options: str) -> "dict[str, Any]":
    return {
        "destination": destination,
        "type": kind,
        "source": source,
        "options": options.split(","),
    }


def _namespaces() -> "list[str]":
    """All but user and time; cgroup only where no v1 hierarchy is left, as runc does it."""
    kinds = ["pid", "network", "ipc", "uts", "mount"]
    # The root of a cgroup2 filesystem has this file; a tmpfs with v1 hierarchies below has not.
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        kinds.append("cgroup")
    return kinds
