"""Each rule of spec/rules.py: a config that breaks it, with the field, and one that keeps it."""

from typing import Any

import pytest

from libcontainer_py.errors import ConfigError
from libcontainer_py.spec import host, rules
from libcontainer_py.spec.accept import accept
from tests.unit.spec.samples import put, rich, runnable

MAPPING = [{"containerID": 0, "hostID": 1000, "size": 1}]
BIND = {"destination": "/m", "type": "none", "source": "/", "options": ["bind"]}
RLIMIT = {"type": "RLIMIT_CORE", "soft": 1, "hard": 1}
NULL = {"path": "/dev/x", "type": "c", "major": 1, "minor": 3}

# what to put where; the field of the error; a part of its message
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"ociVersion": ""}, "ociVersion", "semantic version"),
    ({"ociVersion": "1.0"}, "ociVersion", "semantic version"),
    ({"ociVersion": "1.0.0.0"}, "ociVersion", "semantic version"),
    ({"ociVersion": "1.00.0"}, "ociVersion", "semantic version"),
    ({"ociVersion": "v1.0.0"}, "ociVersion", "semantic version"),
    ({"ociVersion": "1.0.0-"}, "ociVersion", "semantic version"),
    ({"ociVersion": "1.0.0+"}, "ociVersion", "semantic version"),
    ({"ociVersion": "1.0.0-a_b"}, "ociVersion", "semantic version"),
    ({"ociVersion": "1.0.²"}, "ociVersion", "semantic version"),
    ({"ociVersion": "0.5.0-dev"}, "ociVersion", "only 1.x"),
    ({"ociVersion": "2.0.0"}, "ociVersion", "only 1.x"),
    ({"process.cwd": ""}, "process.cwd", "Cwd property must not be empty"),
    ({"process.cwd": "tmp"}, "process.cwd", "Cwd must be an absolute path"),
    ({"process.args": []}, "process.args", "args must not be empty"),
    ({"process.env": ["A=b", "NONE"]}, "process.env[1]", "missing '='"),
    ({"process.env": ["=value"]}, "process.env[0]", "empty name"),
    ({"process.rlimits": [RLIMIT, RLIMIT]}, "process.rlimits[1].type", "twice"),
    ({"process.rlimits": [{**RLIMIT, "soft": 2}]}, "process.rlimits[0].soft", "hard limit 1"),
    ({"process.selinuxLabel": "a\nb"}, "process.selinuxLabel", "newline"),
    ({"process.apparmorProfile": "a\nb"}, "process.apparmorProfile", "newline"),
    (
        {"process.scheduler": {"policy": "SCHED_BATCH", "nice": 20}},
        "process.scheduler.nice",
        "20 is not between",
    ),
    (
        {"process.scheduler": {"policy": "SCHED_OTHER", "priority": 1}},
        "process.scheduler.priority",
        "SCHED_FIFO",
    ),
    ({"process.scheduler": {"policy": "SCHED_ISO"}}, "process.scheduler.policy", "no SCHED_ISO"),
    (
        {"process.scheduler": {"policy": "SCHED_FIFO"}},
        "process.scheduler.priority",
        "0 is not between 1 and 99",
    ),
    (
        {"process.scheduler": {"policy": "SCHED_RR", "priority": 100}},
        "process.scheduler.priority",
        "100 is not between 1 and 99",
    ),
    (
        {"process.scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1023, "deadline": 4000}},
        "process.scheduler.runtime",
        "1023 is below 1024",
    ),
    (
        {"process.scheduler": {"policy": "SCHED_DEADLINE", "runtime": 2000}},
        "process.scheduler.deadline",
        "0 is below the runtime 2000",
    ),
    (
        {
            "process.scheduler": {
                "policy": "SCHED_DEADLINE",
                "runtime": 2000,
                "deadline": 3000,
                "period": 2999,
            }
        },
        "process.scheduler.period",
        "2999 is below the deadline 3000",
    ),
    *(
        ({f"process.execCPUAffinity.{name}": cpus}, f"process.execCPUAffinity.{name}", words)
        for name, cpus, words in (
            ("initial", "2-1", "the range 2-1 ends before it begins"),
            ("initial", "1--2", "such as 0-3,7"),
            ("final", "-1", "such as 0-3,7"),
            ("final", "1 2", "such as 0-3,7"),
            ("final", "0-65537", "65537 is above 65536"),
            ("final", "9" * 5000, "99999999999999999999 is above"),
            ("final", " , ", "no number"),
        )
    ),
    (
        {"process.scheduler": {"policy": "SCHED_RR", "runtime": 1}},
        "process.scheduler.runtime",
        "SCHED_DEADLINE",
    ),
    ({"root.path": ""}, "root.path", "empty"),
    ({"mounts.0.destination": ""}, "mounts[0].destination", "empty"),
    (
        {"mounts.1.options": ["rbind", "nosiud"]},
        "mounts[1].options[1]",
        '"nosiud" is for a filesystem',
    ),
    ({"mounts.1.options": ["inode64", "bind"]}, "mounts[1].options[0]", "bind mount"),
    (
        {"linux|sysctl|kernel/domainname": "x", "domainname": "y"},
        'linux.sysctl["kernel/domainname"]',
        'conflicts with domainname, "y"',
    ),
    ({"hooks.poststop": [{"path": "true"}]}, "hooks.poststop[0].path", "absolute"),
    ({"hooks.prestart": [{"path": "/a", "env": ["b"]}]}, "hooks.prestart[0].env[0]", "'='"),
    ({"linux.namespaces.5": {"type": "pid"}}, "linux.namespaces[5].type", "twice"),
    (
        {"linux.namespaces.5": {"type": "cgroup", "path": "ns"}},
        "linux.namespaces[5].path",
        '"ns" is not an absolute path',
    ),
    ({"linux.uidMappings": MAPPING}, "linux.uidMappings", "user namespace isn't enabled"),
    ({"linux.gidMappings": MAPPING}, "linux.gidMappings", "user namespace isn't enabled"),
    ({"linux.timeOffsets": {"boottime": {}}}, "linux.timeOffsets", "time namespace isn't enabled"),
    (
        {
            "linux.namespaces.5": {"type": "time", "path": "/n"},
            "linux.timeOffsets": {"boottime": {}},
        },
        "linux.timeOffsets",
        "joined",
    ),
    ({"linux.namespaces": [{"type": "mount"}]}, "hostname", "without a private UTS"),
    ({"hostname": "a" * 65}, "hostname", "64 bytes"),
    ({"hostname": "ä" * 33}, "hostname", "64 bytes"),
    ({"domainname": "a" * 65}, "domainname", "64 bytes"),
    ({"hostname": "", "domainname": "a", "linux.namespaces": []}, "domainname", "UTS"),
    ({"linux.namespaces": [{"type": "uts"}]}, "linux.maskedPaths", "mount namespace"),
    (
        {"linux.namespaces": [{"type": "uts"}], "linux.maskedPaths": []},
        "linux.readonlyPaths",
        "mount namespace",
    ),
    ({"linux.maskedPaths": ["/a", "b"]}, "linux.maskedPaths[1]", "absolute"),
    ({"linux.readonlyPaths": [""]}, "linux.readonlyPaths[0]", "absolute"),
    ({"linux.devices": [{**NULL, "path": "null"}]}, "linux.devices[0].path", "absolute"),
    ({"linux.devices": [{**NULL, "major": 4096}]}, "linux.devices[0].major", "4095"),
    ({"linux.devices": [{**NULL, "minor": 1 << 20}]}, "linux.devices[0].minor", "1048575"),
    ({"linux.devices": [{**NULL, "minor": -1}]}, "linux.devices[0].minor", "-1 is not"),
    ({"linux.devices": [{"path": "/a", "type": "b"}]}, "linux.devices[0].major", "required"),
    ({"linux.cgroupsPath": "/a/../../b"}, "linux.cgroupsPath", '".."'),
    ({"linux.cgroupsPath": ".."}, "linux.cgroupsPath", '".."'),
    ({"linux.cgroupsPath": "a\nb"}, "linux.cgroupsPath", "newline"),
    (
        {"linux.resources.devices": [{"allow": True}]},
        "linux.resources.devices[0].access",
        "empty",
    ),
    (
        {"linux.resources.devices": [{"allow": True, "access": "x"}]},
        "linux.resources.devices[0].access",
        "r, w and m",
    ),
    (
        {"linux.resources.devices": [{"allow": True, "access": "r", "major": -2}]},
        "linux.resources.devices[0].major",
        "-2 is not",
    ),
    ({"linux.resources.memory.limit": -2}, "linux.resources.memory.limit", "-2"),
    ({"linux.resources.memory.reservation": -9}, "linux.resources.memory.reservation", "-9"),
    ({"linux.resources.memory.swap": 5}, "linux.resources.memory.swap", "without memory limit"),
    (
        {"linux.resources.memory": {"limit": 9, "swap": 5}},
        "linux.resources.memory.swap",
        "below the memory limit 9",
    ),
    ({"linux.resources.memory.swappiness": 101}, "linux.resources.memory.swappiness", "100"),
    (
        {"linux.resources.cpu": {"quota": 1000, "burst": 1001}},
        "linux.resources.cpu.burst",
        "quota 1000",
    ),
    ({"linux.mountLabel": "a\nb"}, "linux.mountLabel", "newline"),
    ({"linux.intelRdt.closID": ".."}, "linux.intelRdt.closID", "directory"),
    ({"linux.intelRdt.closID": "a/b"}, "linux.intelRdt.closID", "directory"),
    ({"linux.intelRdt.schemata": ["a", "b\nc"]}, "linux.intelRdt.schemata[1]", "newline"),
    ({"linux.memoryPolicy": {"mode": "MPOL_BIND"}}, "linux.memoryPolicy.nodes", "needs one"),
    (
        {"linux.memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0"}},
        "linux.memoryPolicy.nodes",
        "takes none",
    ),
    (
        {"linux.memoryPolicy": {"mode": "MPOL_BIND", "nodes": "a"}},
        "linux.memoryPolicy.nodes",
        "such as 0-3,7",
    ),
    ({"linux.memoryPolicy": {"mode": "MPOL_BIND", "nodes": ","}}, "linux.memoryPolicy.nodes", "no"),
    (
        {
            "linux.memoryPolicy": {
                "mode": "MPOL_BIND",
                "nodes": "0",
                "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"],
            }
        },
        "linux.memoryPolicy.flags",
        "not both",
    ),
    ({"linux|netDevices|a/b": {}}, 'linux.netDevices["a/b"]', "network device"),
    ({"linux.netDevices.eth0": {"name": "a" * 16}}, 'linux.netDevices["eth0"].name', "device"),
    ({"linux.netDevices.eth0": {"name": "a b"}}, 'linux.netDevices["eth0"].name', "device"),
    ({"linux.netDevices.eth0": {"name": "a\nb"}}, 'linux.netDevices["eth0"].name', r'"a\nb" is'),
    ({"linux.netDevices.eth0": {"name": ".."}}, 'linux.netDevices["eth0"].name', "device"),
    ({"linux.netDevices.eth0": {"name": "a:1"}}, 'linux.netDevices["eth0"].name', "device"),
    ({"linux.netDevices.eth0": {"name": "é" * 8}}, 'linux.netDevices["eth0"].name', "device"),
    ({"linux.netDevices.eth0": {"name": "a%d%d"}}, 'linux.netDevices["eth0"].name', "one"),
    ({"linux.netDevices.eth0": {"name": "a%s"}}, 'linux.netDevices["eth0"].name', "one"),
    (
        {"linux.netDevices.eth0": {"name": "a"}, "linux.netDevices.eth1": {"name": "a"}},
        'linux.netDevices["eth1"].name',
        '"eth0" is to have the name "a" already',
    ),
    (
        {"linux.netDevices.eth0": {"name": "eth1"}, "linux.netDevices.eth1": {}},
        'linux.netDevices["eth1"]',
        '"eth0" is to have the name "eth1" already',
    ),
    (
        {"linux.namespaces": [{"type": "uts"}, {"type": "mount"}], "linux.netDevices.eth0": {}},
        "linux.netDevices",
        "network namespace",
    ),
    *(
        ({f"linux|resources|unified|{key}": "1"}, "linux.resources.unified[", "file of a cgroup")
        for key in ("../x", "a/b", "", "..", ".", "a\n")
    ),
    *(
        ({f"linux|sysctl|{key}": "1"}, "linux.sysctl[", "no name of a sysctl")
        for key in (
            "",
            ".",
            "..",
            "net.",
            ".net",
            "/net",
            "net..ipv4",
            "net/../kernel/sysrq",
            "net.ipv4/../../kernel.sysrq",
            "net.ipv4//ip_forward",
            "net.a\nb",
            "net.a\0",
        )
    ),
    *(
        ({f"linux|sysctl|{key}": "1"}, f'linux.sysctl["{key}"]', "not in a separate")
        for key in ("vm.swappiness", "kernel.sysrq", "kernel/sysrq", "fs.mqueuex", "network")
    ),
    ({"linux|sysctl|kernel.hostname": "x"}, 'linux.sysctl["kernel.hostname"]', "hostname"),
    ({"linux|sysctl|user.max_user_namespaces": "0"}, 'linux.sysctl["user.', "user namespace"),
]

GOOD: list[dict[str, Any]] = [
    {},
    {"ociVersion": "1.0.0"},
    {"ociVersion": "1.0.2-dev"},
    {"ociVersion": "1.1.0-rc.2+build.5"},
    {"ociVersion": "1.99.0"},
    {"process.env": ["A=", "B=c=d", "A=again"]},
    {"process.env": []},
    {"process.rlimits": [{"type": "RLIMIT_AS", "soft": 2**64 - 1, "hard": 2**64 - 1}]},
    {"process.scheduler": {"policy": "SCHED_BATCH", "nice": -20}},
    {"process.scheduler": {"policy": "SCHED_FIFO", "priority": 99}},
    {"process.scheduler": {"policy": "SCHED_IDLE", "nice": 40}},
    {"process.scheduler": {"policy": "SCHED_RR", "flags": ["SCHED_FLAG_KEEP_POLICY"]}},
    {"process.scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1024}},
    {"process.execCPUAffinity": {"initial": "", "final": "0, 2-3,,7", "else": "words"}},
    {"mounts.1.options": ["rbind", "rro", "rprivate", "defaults", "nosymfollow"]},
    {"mounts.1.options": ["mode=755", "x-anything"]},
    {"hooks": {}},
    {"hostname": "", "domainname": "", "linux.namespaces": [{"type": "mount"}]},
    {"hostname": "a" * 64},
    {"linux.maskedPaths": [], "linux.readonlyPaths": [], "linux.namespaces": [{"type": "uts"}]},
    {"linux.namespaces.5": {"type": "cgroup", "path": ""}},
    {"linux.uidMappings": [], "linux.gidMappings": []},
    {"linux.namespaces.5": {"type": "user", "path": "/proc/1/ns/user"}},
    {"linux.namespaces.5": {"type": "time"}, "linux.timeOffsets": {"boottime": {"secs": 1}}},
    {"linux.devices": [{**NULL, "major": 4095, "minor": (1 << 20) - 1}]},
    {"linux.devices": [{"path": "/run/fifo", "type": "p"}]},
    {"linux.cgroupsPath": "/a/..b/c.."},
    {"linux.cgroupsPath": "system.slice:lcpy:box"},
    {"linux.resources.devices": [{"allow": True, "access": "mwr", "major": -1, "minor": 0}]},
    {"linux.resources.memory": {"limit": -1, "swap": -1}},
    {"linux.resources.memory": {"limit": -1, "swap": 1000}},
    {"linux.resources.memory": {"limit": 1000, "swap": 1000, "swappiness": 100}},
    {"linux.resources.memory": {"swappiness": 2**64 - 1}},
    {"linux.resources.cpu": {"quota": -1, "burst": 5}},
    {"linux.resources.unified": {"hugetlb.1GB.max": "1"}},
    {"linux.intelRdt.closID": "/"},
    {"linux.intelRdt.l3CacheSchema": "L3CODE:0=f\nL3DATA:0=ff"},
    {"linux.memoryPolicy": {"mode": "MPOL_PREFERRED"}},
    {"linux.memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": ""}},
    {"linux.netDevices.eth0": {"name": ""}},
    {"linux.netDevices.eth0": {"name": "a" * 15}},
    {"linux.netDevices.eth0": {"name": "eth1"}, "linux.netDevices.eth1": {"name": "eth0"}},
    {"linux.netDevices.eth0": {"name": "eth%d"}, "linux.netDevices.eth1": {"name": "eth%d"}},
    {"linux|sysctl|net.ipv4.ip_forward": "1"},
    {"linux|sysctl|net/ipv4/conf/eth0.1/forwarding": "1"},
    {"linux|sysctl|net.ipv4.conf.eth0/1.forwarding": "1"},
    {"linux|sysctl|kernel.shmmax": "1"},
    {"linux|sysctl|kernel/shm_rmid_forced": "1"},
    {"linux|sysctl|fs.mqueue.queues_max": "1"},
    {"linux|sysctl|kernel.domainname": "x"},
    {"linux|sysctl|kernel.domainname": "x", "domainname": "x"},
]


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    config = runnable()
    for field, value in changes.items():
        put(config, field, value)
    # Else it would be the schema that refuses, and the rule would go untested.
    assert accept(config)
    return config


@pytest.mark.parametrize(("changes", "field", "words"), BAD)
def test_a_broken_rule_is_named_with_its_field(
    changes: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        rules.check(changed(changes))
    named = caught.value.field or ""
    assert named.startswith(field) if field[-1] in "[." else named == field
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", GOOD)
def test_what_keeps_the_rules_passes_without_a_warning(changes: dict[str, Any]) -> None:
    assert rules.check(changed(changes)) == []


# --- namespaces that are built of more than their type --------------------------------------


def mapping(inside: int, outside: int, size: int) -> dict[str, int]:
    return {"containerID": inside, "hostID": outside, "size": size}


def in_user_namespace(
    uids: list[dict[str, int]], gids: list[dict[str, int]], path: str = "", **user: Any
) -> dict[str, Any]:
    namespace = {"type": "user", **({"path": path} if path else {})}
    return changed(
        {
            "linux.namespaces.5": namespace,
            "linux.uidMappings": uids,
            "linux.gidMappings": gids,
            "process.user": user,
        }
    )


WHOLE = [mapping(0, 100000, 65536)]
TOP = 2**32 - 2  # the highest id that there is


@pytest.mark.parametrize(
    ("uids", "gids", "user", "field", "words"),
    [
        ([], WHOLE, {}, "linux.uidMappings", "no uid mappings found"),
        (WHOLE, [], {}, "linux.gidMappings", "no gid mappings found"),
        ([mapping(0, 1, 0)], WHOLE, {}, "linux.uidMappings[0].size", "0 ids"),
        ([mapping(0, TOP, 2)], WHOLE, {}, "linux.uidMappings[0].hostID", "4294967295, the last"),
        (WHOLE, [mapping(TOP, 0, 2)], {}, "linux.gidMappings[0].containerID", "is above"),
        (
            [mapping(0, 0, 10), mapping(20, 50, 1), mapping(9, 60, 1)],
            WHOLE,
            {},
            "linux.uidMappings[2].containerID",
            "overlaps with linux.uidMappings[0]",
        ),
        (
            WHOLE,
            [mapping(0, 5, 10), mapping(10, 0, 6)],
            {},
            "linux.gidMappings[1].hostID",
            "overlaps with linux.gidMappings[0]",
        ),
        (
            [mapping(2 * n, 2 * n, 1) for n in range(341)],
            WHOLE,
            {},
            "linux.uidMappings",
            "more than 340",
        ),
        (WHOLE, WHOLE, {"uid": 65536}, "process.user.uid", "cannot setuid to unmapped uid 65536"),
        (WHOLE, WHOLE, {"gid": 65536}, "process.user.gid", "cannot setgid to unmapped gid 65536"),
        ([mapping(1, 1, 9)], WHOLE, {}, "process.user.uid", "unmapped uid 0"),
        (
            WHOLE,
            WHOLE,
            {"additionalGids": [65535, 70000]},
            "process.user.additionalGids[1]",
            "unmapped gid 70000",
        ),
    ],
)
def test_mappings_that_the_kernel_would_refuse(
    uids: list[dict[str, int]],
    gids: list[dict[str, int]],
    user: dict[str, Any],
    field: str,
    words: str,
) -> None:
    with pytest.raises(ConfigError) as caught:
        rules.check(in_user_namespace(uids, gids, **user))
    assert caught.value.field == field
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        in_user_namespace(WHOLE, WHOLE, uid=65535, gid=65535, additionalGids=[1]),
        in_user_namespace([mapping(5, 1000, 1)], [mapping(6, 1000, 1)], uid=5, gid=6),
        in_user_namespace([mapping(0, 0, 2**32 - 1)], [mapping(0, 0, 2**32 - 1)]),
        in_user_namespace([mapping(n, n, 1) for n in range(340)], WHOLE),
        in_user_namespace([mapping(10, 0, 5), mapping(0, 5, 10), mapping(15, 15, 1)], WHOLE),
        # What a joined one maps is known to whoever joins it; containerd repeats it in the config.
        in_user_namespace([], [], "/proc/1/ns/user", uid=7),
        in_user_namespace([mapping(0, 0, 1)], WHOLE, "/proc/1/ns/user", uid=7),
    ],
)
def test_mappings_that_the_kernel_takes(config: dict[str, Any]) -> None:
    assert rules.check(config) == []


@pytest.mark.parametrize(
    ("offsets", "field", "words"),
    [
        ({"realtime": {"secs": 1}}, "linux.timeOffsets", '"realtime" is none of the clocks'),
        ({"monotonic": {"nanosecs": 10**9}}, "linux.timeOffsets.monotonic.nanosecs", "a second"),
        (
            {"boottime": {"secs": 4611686019}},
            "linux.timeOffsets.boottime.secs",
            "4611686019 is not between -9223372036 and 4611686018",
        ),
        ({"boottime": {"secs": -9223372037}}, "linux.timeOffsets.boottime.secs", "-9223372037"),
    ],
)
def test_offsets_that_no_clock_can_have(offsets: dict[str, Any], field: str, words: str) -> None:
    config = changed({"linux.namespaces.5": {"type": "time"}, "linux.timeOffsets": offsets})
    with pytest.raises(ConfigError) as caught:
        rules.check(config)
    assert caught.value.field == field
    assert words in str(caught.value)


def test_offsets_at_their_bounds() -> None:
    offsets = {
        "monotonic": {"secs": 4611686018, "nanosecs": 10**9 - 1},
        "boottime": {"secs": -9223372036},
    }
    config = changed({"linux.namespaces.5": {"type": "time"}, "linux.timeOffsets": offsets})
    assert rules.check(config) == []


@pytest.mark.parametrize(
    ("mount", "field", "words"),
    [
        ({"uidMappings": MAPPING}, "mounts[1].gidMappings", "both uid and gid"),
        ({"gidMappings": MAPPING}, "mounts[1].uidMappings", "both uid and gid"),
        (
            {"uidMappings": MAPPING, "gidMappings": [mapping(0, 0, 0)]},
            "mounts[1].gidMappings[0].size",
            "0 ids",
        ),
        (
            {"uidMappings": MAPPING, "gidMappings": MAPPING, "options": ["ro"]},
            "mounts[1].uidMappings",
            "only supported for bind-mounts",
        ),
        ({"options": ["idmap"]}, "mounts[1].options[0]", "only supported for bind-mounts"),
        ({"options": ["rbind", "ridmap"]}, "mounts[1].options[1]", "ridmap needs mappings"),
    ],
)
def test_idmapped_mounts_that_can_not_be(mount: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rules.check(changed({"mounts.1": {**BIND, **mount}}))
    assert caught.value.field == field
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "mount",
    [
        {"uidMappings": MAPPING, "gidMappings": MAPPING},
        {"uidMappings": MAPPING, "gidMappings": MAPPING, "options": ["rbind", "ro", "ridmap"]},
        {"uidMappings": [], "gidMappings": []},
    ],
)
def test_idmapped_mounts_that_can_be(mount: dict[str, Any]) -> None:
    assert rules.check(changed({"mounts.1": {**BIND, **mount}})) == []


def test_idmap_takes_the_user_namespaces_mappings() -> None:
    config = in_user_namespace(WHOLE, WHOLE)
    config["mounts"][1] = {**BIND, "options": ["bind", "idmap"]}
    assert rules.check(config) == []


@pytest.mark.parametrize(
    ("path", "field"),
    [("/proc/self/ns/net", 'linux.sysctl["net/core/x"]'), ("/nowhere", "linux.namespaces[1].path")],
)
def test_the_hosts_network_is_the_hosts_also_by_its_path(path: str, field: str) -> None:
    config = changed({"linux.namespaces.1": {"type": "network", "path": path}})
    host.network_sysctls(config)  # nothing is asked for
    put(config, "linux|sysctl|net/core/x", "1")
    assert rules.check(config) == []
    with pytest.raises(ConfigError) as caught:
        host.network_sysctls(config)
    assert caught.value.field == field


def test_another_network_may_have_sysctls() -> None:
    config = changed({"linux|sysctl|net.core.x": "1"})
    host.network_sysctls(config)
    # Any other file: that it is no namespace is for whoever joins it to find out.
    put(config, "linux.namespaces.1", {"type": "network", "path": "/proc/self/ns/uts"})
    host.network_sysctls(config)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("ipc", "kernel.sem"),
        ("ipc", "fs/mqueue/msg_max"),
        ("network", "net.core.somaxconn"),
        ("uts", "kernel.domainname"),
    ],
)
def test_a_sysctl_needs_its_own_namespace(kind: str, key: str) -> None:
    config = changed({f"linux|sysctl|{key}": "1"})
    assert rules.check(config) == []
    config["hostname"] = ""
    config["linux"]["namespaces"].remove({"type": kind})
    with pytest.raises(ConfigError, match=f"without a {kind} namespace") as caught:
        rules.check(config)
    assert caught.value.field == f'linux.sysctl["{key}"]'


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        (
            {"process.capabilities": {"bounding": ["CAP_NEW", "CAP_KILL"], "ambient": ["kill"]}},
            'process.capabilities: ignoring unknown capabilities: "CAP_NEW", "kill"',
        ),
        (
            {"mounts.1.options": ["rbind", "mode=755"]},
            'mounts[1].options[1]: ignored: "mode=755" is for a filesystem',
        ),
        ({"mounts.0.destination": "proc"}, 'mounts[0].destination: "proc" is not absolute'),
        ({"linux.resources.memory.kernel": -1}, "linux.resources.memory.kernel: "),
        (
            {"linux.resources.cpu": {"idle": 1, "shares": 200}},
            "linux.resources.cpu.shares: ignored, unable to apply both",
        ),
        (
            {"linux.resources.unified": {"cpu.weight": "8", "cpu.idle": "1"}},
            'linux.resources.unified["cpu.weight"]: ignored, unable to apply both',
        ),
        (
            {"linux.personality": {"domain": "LINUX", "flags": ["X"]}},
            "linux.personality.flags: ignored",
        ),
    ],
)
def test_what_is_done_otherwise_is_warned_of(changes: dict[str, Any], warning: str) -> None:
    (said,) = rules.check(changed(changes))
    assert said.startswith(warning)


@pytest.mark.parametrize(
    ("name", "words"),
    [("process", "process property must not be empty"), ("root", "root must be specified")],
)
def test_process_and_root_must_be_there(name: str, words: str) -> None:
    config = runnable()
    del config[name]
    with pytest.raises(ConfigError, match=words) as caught:
        rules.check(config)
    assert caught.value.field == name


def test_a_host_without_a_linux_section_is_fine() -> None:
    config = runnable()
    del config["linux"], config["hostname"]
    assert rules.check(config) == []


def test_secrets_of_the_environment_are_in_no_message() -> None:
    with pytest.raises(ConfigError) as caught:
        rules.check(changed({"process.env": ["hunter2"]}))
    assert "hunter2" not in str(caught.value)


def test_the_rich_config_keeps_every_rule() -> None:
    kernel = [f"linux.resources.memory.{name}: " for name in ("kernel", "kernelTCP")]
    warnings = rules.check(rich())
    assert [warning.partition("kernel memory")[0] for warning in warnings] == kernel


def test_dots_and_slashes_of_a_sysctl_change_places() -> None:
    assert rules.dotted("net/ipv4/conf/eth0.1/x") == "net.ipv4.conf.eth0/1.x"
    assert rules.dotted("net.ipv4.conf.eth0/1.x") == "net.ipv4.conf.eth0/1.x"
    assert rules.dotted("plain") == "plain"
