"""Configs for these tests, and small tools to change them."""

from typing import Any

from libcontainer_py.spec.default import default

Config = dict[str, Any]


def runnable() -> Config:
    """The default config, without a terminal."""
    config = default()
    config["process"]["terminal"] = False
    return config


def rich() -> Config:
    """A valid config that uses every field that the schema knows."""
    throttle = [{"major": 8, "minor": 0, "rate": 600}]
    hook = [{"path": "/bin/hook", "args": ["hook", "-v"], "env": ["A=b"], "timeout": 5}]
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    return {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "box",
        "domainname": "example.test",
        "annotations": {"com.example.key": "value", "empty": ""},
        "process": {
            "terminal": True,
            "consoleSize": {"height": 25, "width": 80},
            "user": {"uid": 1, "gid": 1, "umask": 63, "additionalGids": [5, 6], "username": "x"},
            "args": ["sleep", "1"],
            "commandLine": "sleep 1",
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/root",
            "capabilities": {
                kind: ["CAP_CHOWN", "CAP_KILL"]
                for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
            },
            "rlimits": [
                {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1},
            ],
            "noNewPrivileges": True,
            "oomScoreAdj": 100,
            "apparmorProfile": "profile",
            "selinuxLabel": "system_u:system_r:svirt_lxc_net_t:s0",
            "scheduler": {
                "policy": "SCHED_DEADLINE",
                "nice": 0,
                "priority": 0,
                "runtime": 1000000,
                "deadline": 2000000,
                "period": 3000000,
                "flags": ["SCHED_FLAG_RESET_ON_FORK"],
            },
            "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 4},
            "execCPUAffinity": {"initial": "7", "final": "0-3,7"},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/data",
                "type": "none",
                "source": "/srv",
                "options": ["rbind", "ro", "rprivate", "idmap"],
                "uidMappings": mapping,
                "gidMappings": mapping,
            },
        ],
        "hooks": {
            kind: hook
            for kind in (
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
            )
        },
        "linux": {
            "namespaces": [
                {"type": "pid"},
                {"type": "network", "path": "/run/netns/a"},
                {"type": "mount"},
                {"type": "ipc"},
                {"type": "uts"},
                {"type": "user"},
                {"type": "cgroup"},
                {"type": "time"},
            ],
            "uidMappings": mapping,
            "gidMappings": mapping,
            "timeOffsets": {
                "monotonic": {"secs": 172800, "nanosecs": 1},
                "boottime": {"secs": -5, "nanosecs": 0},
            },
            "devices": [
                {
                    "path": "/dev/fuse",
                    "type": "c",
                    "major": 10,
                    "minor": 229,
                    "fileMode": 438,
                    "uid": 0,
                    "gid": 0,
                },
                {"path": "/dev/fifo", "type": "p"},
            ],
            "netDevices": {"eth0": {"name": "inner0"}, "ens4": {}},
            "cgroupsPath": "/pod/box",
            "resources": {
                "devices": [
                    {"allow": False, "access": "rwm"},
                    {"allow": True, "type": "c", "major": 10, "minor": -1, "access": "rw"},
                ],
                "memory": {
                    "limit": 536870912,
                    "reservation": 536870912,
                    "swap": 536870912,
                    "swappiness": 0,
                    "kernel": -1,
                    "kernelTCP": -1,
                    "disableOOMKiller": False,
                    "useHierarchy": False,
                    "checkBeforeUpdate": False,
                },
                "cpu": {
                    "shares": 1024,
                    "quota": 1000000,
                    "period": 500000,
                    "burst": 1000000,
                    "realtimeRuntime": 950000,
                    "realtimePeriod": 1000000,
                    "idle": 0,
                    "cpus": "0-1",
                    "mems": "0",
                },
                "pids": {"limit": 100},
                "blockIO": {
                    "weight": 10,
                    "leafWeight": 10,
                    "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
                    "throttleReadBpsDevice": throttle,
                    "throttleWriteBpsDevice": throttle,
                    "throttleReadIOPSDevice": throttle,
                    "throttleWriteIOPSDevice": throttle,
                },
                "hugepageLimits": [{"pageSize": "2MB", "limit": 2**63}],
                "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]},
                "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
                "unified": {"memory.high": "1000000"},
            },
            "intelRdt": {
                "closID": "group",
                "schemata": ["L3:0=7f0"],
                "l3CacheSchema": "L3:0=ff",
                "memBwSchema": "MB:0=20;1=70",
                "enableMonitoring": True,
            },
            "memoryPolicy": {
                "mode": "MPOL_INTERLEAVE",
                "nodes": "0-1",
                "flags": ["MPOL_F_STATIC_NODES"],
            },
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "defaultErrnoRet": 1,
                "architectures": ["SCMP_ARCH_X86_64"],
                "flags": ["SECCOMP_FILTER_FLAG_LOG"],
                "listenerPath": "/run/listener",
                "listenerMetadata": "words",
                "syscalls": [
                    {
                        "names": ["getcwd"],
                        "action": "SCMP_ACT_ERRNO",
                        "errnoRet": 1,
                        "args": [
                            {"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}
                        ],
                    }
                ],
            },
            "sysctl": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "65536"},
            "personality": {"domain": "LINUX", "flags": []},
            "rootfsPropagation": "slave",
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
            "mountLabel": "system_u:object_r:svirt_sandbox_file_t:s0",
        },
    }


def put(config: Config, field: str, value: Any) -> None:
    """Set a field such as ``linux.namespaces.0.type``; what is above it is made, if need be."""
    *above, last = field.split("|") if "|" in field else field.split(".")
    place: Any = config
    for name in above:
        place = place[int(name)] if name.isdigit() else place.setdefault(name, {})
    if last.isdigit() and int(last) == len(place):
        place.append(value)
    else:
        place[int(last) if last.isdigit() else last] = value
