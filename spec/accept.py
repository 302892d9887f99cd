# Written by compile.py from schema/config.json: don't edit. Loops, because any() is slower.
# ruff: noqa: SIM110
"""Does a parsed config.json fit the schema? `accept` says yes or no, and nothing more.

`NAMES` are the names of all members in the schema; `MAPS` those whose own members have any name.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = frozenset(
    {
        "access",
        "action",
        "additionalGids",
        "allow",
        "ambient",
        "annotations",
        "apparmorProfile",
        "architectures",
        "args",
        "blockIO",
        "boottime",
        "bounding",
        "burst",
        "capabilities",
        "cgroupsPath",
        "checkBeforeUpdate",
        "class",
        "classID",
        "closID",
        "commandLine",
        "consoleSize",
        "containerID",
        "cpu",
        "cpus",
        "createContainer",
        "createRuntime",
        "cwd",
        "deadline",
        "defaultAction",
        "defaultErrnoRet",
        "destination",
        "devices",
        "disableOOMKiller",
        "domain",
        "domainname",
        "effective",
        "enableMonitoring",
        "env",
        "errnoRet",
        "execCPUAffinity",
        "fileMode",
        "final",
        "flags",
        "gid",
        "gidMappings",
        "hard",
        "hcaHandles",
        "hcaObjects",
        "height",
        "hooks",
        "hostID",
        "hostname",
        "hugepageLimits",
        "idle",
        "index",
        "inheritable",
        "initial",
        "intelRdt",
        "ioPriority",
        "kernel",
        "kernelTCP",
        "l3CacheSchema",
        "leafWeight",
        "limit",
        "linux",
        "listenerMetadata",
        "listenerPath",
        "major",
        "maskedPaths",
        "memBwSchema",
        "memory",
        "memoryPolicy",
        "mems",
        "minor",
        "mode",
        "monotonic",
        "mountLabel",
        "mounts",
        "name",
        "names",
        "namespaces",
        "nanosecs",
        "netDevices",
        "network",
        "nice",
        "noNewPrivileges",
        "nodes",
        "ociVersion",
        "oomScoreAdj",
        "op",
        "options",
        "pageSize",
        "path",
        "period",
        "permitted",
        "personality",
        "pids",
        "policy",
        "poststart",
        "poststop",
        "prestart",
        "priorities",
        "priority",
        "process",
        "quota",
        "rate",
        "rdma",
        "readonly",
        "readonlyPaths",
        "realtimePeriod",
        "realtimeRuntime",
        "reservation",
        "resources",
        "rlimits",
        "root",
        "rootfsPropagation",
        "runtime",
        "scheduler",
        "schemata",
        "seccomp",
        "secs",
        "selinuxLabel",
        "shares",
        "size",
        "soft",
        "source",
        "startContainer",
        "swap",
        "swappiness",
        "syscalls",
        "sysctl",
        "terminal",
        "throttleReadBpsDevice",
        "throttleReadIOPSDevice",
        "throttleWriteBpsDevice",
        "throttleWriteIOPSDevice",
        "timeOffsets",
        "timeout",
        "type",
        "uid",
        "uidMappings",
        "umask",
        "unified",
        "useHierarchy",
        "user",
        "username",
        "value",
        "valueTwo",
        "weight",
        "weightDevice",
        "width",
    }
)
MAPS = frozenset({"annotations", "netDevices", "rdma", "sysctl", "unified"})


def _mounts(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _mount(item):
            return False
    return True


def _annotations(value: "Any") -> bool:
    if not isinstance(value, dict):
        return False
    for item in value.values():
        if not isinstance(item, str):
            return False
    return True


def accept(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "ociVersion" in value
        and isinstance(value["ociVersion"], str)
        and ("root" not in value or _root(value["root"]))
        and ("process" not in value or _process(value["process"]))
        and ("hostname" not in value or _text(value["hostname"]))
        and ("domainname" not in value or _text(value["domainname"]))
        and ("mounts" not in value or _mounts(value["mounts"]))
        and ("hooks" not in value or _hooks(value["hooks"]))
        and ("annotations" not in value or _annotations(value["annotations"]))
        and ("linux" not in value or _linux(value["linux"]))
    )


def _text(value: "Any") -> bool:
    return isinstance(value, str) and "\u0000" not in value


def _texts(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _text(item):
            return False
    return True


def _cpuList(value: "Any") -> bool:
    return isinstance(value, str) and not value.strip("0123456789, -")


def _int32(value: "Any") -> bool:
    return type(value) is int and -2147483648 <= value <= 2147483647


def _int64(value: "Any") -> bool:
    return type(value) is int and -9223372036854775808 <= value <= 9223372036854775807


def _uint16(value: "Any") -> bool:
    return type(value) is int and 0 <= value <= 65535


def _uint32(value: "Any") -> bool:
    return type(value) is int and 0 <= value <= 4294967295


def _uint64(value: "Any") -> bool:
    return type(value) is int and 0 <= value <= 18446744073709551615


def _id(value: "Any") -> bool:
    return type(value) is int and 0 <= value <= 2147483647


def _root(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "path" in value
        and _text(value["path"])
        and ("readonly" not in value or isinstance(value["readonly"], bool))
    )


def _mount(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "destination" in value
        and _text(value["destination"])
        and ("type" not in value or _text(value["type"]))
        and ("source" not in value or _text(value["source"]))
        and ("options" not in value or _texts(value["options"]))
        and ("uidMappings" not in value or _idMappings(value["uidMappings"]))
        and ("gidMappings" not in value or _idMappings(value["gidMappings"]))
    )


def _idMappings_item(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "containerID" in value
        and "hostID" in value
        and "size" in value
        and _uint32(value["containerID"])
        and _uint32(value["hostID"])
        and _uint32(value["size"])
    )


def _idMappings(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _idMappings_item(item):
            return False
    return True


def _hooks(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and ("prestart" not in value or _hookList(value["prestart"]))
        and ("createRuntime" not in value or _hookList(value["createRuntime"]))
        and ("createContainer" not in value or _hookList(value["createContainer"]))
        and ("startContainer" not in value or _hookList(value["startContainer"]))
        and ("poststart" not in value or _hookList(value["poststart"]))
        and ("poststop" not in value or _hookList(value["poststop"]))
    )


def _hookList_item_timeout(value: "Any") -> bool:
    return type(value) is int and 1 <= value <= 9223372036854775807


def _hookList_item(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "path" in value
        and _text(value["path"])
        and ("args" not in value or _texts(value["args"]))
        and ("env" not in value or _texts(value["env"]))
        and ("timeout" not in value or _hookList_item_timeout(value["timeout"]))
    )


def _hookList(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _hookList_item(item):
            return False
    return True


def _process_consoleSize(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "height" in value
        and "width" in value
        and _uint64(value["height"])
        and _uint64(value["width"])
    )


def _process_user_additionalGids(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _id(item):
            return False
    return True


def _process_user_umask(value: "Any") -> bool:
    return type(value) is int and 0 <= value <= 511


def _process_user(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and ("uid" not in value or _id(value["uid"]))
        and ("gid" not in value or _id(value["gid"]))
        and ("additionalGids" not in value or _process_user_additionalGids(value["additionalGids"]))
        and ("umask" not in value or _process_user_umask(value["umask"]))
        and ("username" not in value or isinstance(value["username"], str))
    )


def _process_capabilities(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and ("bounding" not in value or _texts(value["bounding"]))
        and ("effective" not in value or _texts(value["effective"]))
        and ("inheritable" not in value or _texts(value["inheritable"]))
        and ("permitted" not in value or _texts(value["permitted"]))
        and ("ambient" not in value or _texts(value["ambient"]))
    )


def _process_rlimits(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _rlimit(item):
            return False
    return True


def _process_oomScoreAdj(value: "Any") -> bool:
    return type(value) is int and -1000 <= value <= 1000


def _process_ioPriority_class(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "IOPRIO_CLASS_RT",
        "IOPRIO_CLASS_BE",
        "IOPRIO_CLASS_IDLE",
    }


def _process_ioPriority_priority(value: "Any") -> bool:
    return type(value) is int and 0 <= value <= 7


def _process_ioPriority(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "class" in value
        and _process_ioPriority_class(value["class"])
        and ("priority" not in value or _process_ioPriority_priority(value["priority"]))
    )


def _process_execCPUAffinity(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and ("initial" not in value or _cpuList(value["initial"]))
        and ("final" not in value or _cpuList(value["final"]))
    )


def _process(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "cwd" in value
        and ("args" not in value or _texts(value["args"]))
        and ("env" not in value or _texts(value["env"]))
        and _text(value["cwd"])
        and ("terminal" not in value or isinstance(value["terminal"], bool))
        and ("consoleSize" not in value or _process_consoleSize(value["consoleSize"]))
        and ("user" not in value or _process_user(value["user"]))
        and ("capabilities" not in value or _process_capabilities(value["capabilities"]))
        and ("rlimits" not in value or _process_rlimits(value["rlimits"]))
        and ("noNewPrivileges" not in value or isinstance(value["noNewPrivileges"], bool))
        and ("oomScoreAdj" not in value or _process_oomScoreAdj(value["oomScoreAdj"]))
        and ("apparmorProfile" not in value or _text(value["apparmorProfile"]))
        and ("selinuxLabel" not in value or _text(value["selinuxLabel"]))
        and ("scheduler" not in value or _scheduler(value["scheduler"]))
        and ("ioPriority" not in value or _process_ioPriority(value["ioPriority"]))
        and ("execCPUAffinity" not in value or _process_execCPUAffinity(value["execCPUAffinity"]))
        and ("commandLine" not in value or isinstance(value["commandLine"], str))
    )


def _rlimit_type(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "RLIMIT_AS",
        "RLIMIT_CORE",
        "RLIMIT_CPU",
        "RLIMIT_DATA",
        "RLIMIT_FSIZE",
        "RLIMIT_LOCKS",
        "RLIMIT_MEMLOCK",
        "RLIMIT_MSGQUEUE",
        "RLIMIT_NICE",
        "RLIMIT_NOFILE",
        "RLIMIT_NPROC",
        "RLIMIT_RSS",
        "RLIMIT_RTPRIO",
        "RLIMIT_RTTIME",
        "RLIMIT_SIGPENDING",
        "RLIMIT_STACK",
    }


def _rlimit(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "type" in value
        and "soft" in value
        and "hard" in value
        and _rlimit_type(value["type"])
        and _uint64(value["soft"])
        and _uint64(value["hard"])
    )


def _scheduler_policy(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "SCHED_OTHER",
        "SCHED_BATCH",
        "SCHED_IDLE",
        "SCHED_FIFO",
        "SCHED_RR",
        "SCHED_DEADLINE",
        "SCHED_ISO",
    }


def _scheduler_flags_item(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "SCHED_FLAG_RESET_ON_FORK",
        "SCHED_FLAG_RECLAIM",
        "SCHED_FLAG_DL_OVERRUN",
        "SCHED_FLAG_KEEP_POLICY",
        "SCHED_FLAG_KEEP_PARAMS",
        "SCHED_FLAG_UTIL_CLAMP_MIN",
        "SCHED_FLAG_UTIL_CLAMP_MAX",
    }


def _scheduler_flags(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _scheduler_flags_item(item):
            return False
    return True


def _scheduler(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "policy" in value
        and _scheduler_policy(value["policy"])
        and ("nice" not in value or _int32(value["nice"]))
        and ("priority" not in value or _int32(value["priority"]))
        and ("runtime" not in value or _uint64(value["runtime"]))
        and ("deadline" not in value or _uint64(value["deadline"]))
        and ("period" not in value or _uint64(value["period"]))
        and ("flags" not in value or _scheduler_flags(value["flags"]))
    )


def _linux_namespaces(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _namespace(item):
            return False
    return True


def _linux_timeOffsets(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and ("monotonic" not in value or _timeOffset(value["monotonic"]))
        and ("boottime" not in value or _timeOffset(value["boottime"]))
    )


def _linux_devices(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _device(item):
            return False
    return True


def _linux_netDevices_value(value: "Any") -> bool:
    return isinstance(value, dict) and ("name" not in value or _text(value["name"]))


def _linux_netDevices(value: "Any") -> bool:
    if not isinstance(value, dict):
        return False
    for item in value.values():
        if not _linux_netDevices_value(item):
            return False
    return True


def _linux_intelRdt_memBwSchema(value: "Any") -> bool:
    return (
        isinstance(value, str)
        and len(value) >= 3
        and value[0] in "M"
        and value[1] in "B"
        and value[2] in ":"
        and "\u0000" not in value[3:]
        and "\n" not in value[3:]
    )


def _linux_intelRdt(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and ("closID" not in value or _text(value["closID"]))
        and ("schemata" not in value or _texts(value["schemata"]))
        and ("l3CacheSchema" not in value or _text(value["l3CacheSchema"]))
        and ("memBwSchema" not in value or _linux_intelRdt_memBwSchema(value["memBwSchema"]))
        and ("enableMonitoring" not in value or isinstance(value["enableMonitoring"], bool))
    )


def _linux_sysctl(value: "Any") -> bool:
    if not isinstance(value, dict):
        return False
    for item in value.values():
        if not _text(item):
            return False
    return True


def _linux_personality_domain(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "LINUX",
        "LINUX32",
    }


def _linux_personality(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "domain" in value
        and _linux_personality_domain(value["domain"])
        and ("flags" not in value or _texts(value["flags"]))
    )


def _linux_rootfsPropagation(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "private",
        "rprivate",
        "slave",
        "rslave",
        "shared",
        "rshared",
        "unbindable",
        "runbindable",
    }


def _linux(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and ("namespaces" not in value or _linux_namespaces(value["namespaces"]))
        and ("uidMappings" not in value or _idMappings(value["uidMappings"]))
        and ("gidMappings" not in value or _idMappings(value["gidMappings"]))
        and ("timeOffsets" not in value or _linux_timeOffsets(value["timeOffsets"]))
        and ("devices" not in value or _linux_devices(value["devices"]))
        and ("netDevices" not in value or _linux_netDevices(value["netDevices"]))
        and ("cgroupsPath" not in value or _text(value["cgroupsPath"]))
        and ("resources" not in value or _resources(value["resources"]))
        and ("intelRdt" not in value or _linux_intelRdt(value["intelRdt"]))
        and ("memoryPolicy" not in value or _memoryPolicy(value["memoryPolicy"]))
        and ("seccomp" not in value or _seccomp(value["seccomp"]))
        and ("sysctl" not in value or _linux_sysctl(value["sysctl"]))
        and ("personality" not in value or _linux_personality(value["personality"]))
        and (
            "rootfsPropagation" not in value or _linux_rootfsPropagation(value["rootfsPropagation"])
        )
        and ("maskedPaths" not in value or _texts(value["maskedPaths"]))
        and ("readonlyPaths" not in value or _texts(value["readonlyPaths"]))
        and ("mountLabel" not in value or _text(value["mountLabel"]))
    )


def _namespace_type(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "pid",
        "network",
        "mount",
        "ipc",
        "uts",
        "user",
        "cgroup",
        "time",
    }


def _namespace(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "type" in value
        and _namespace_type(value["type"])
        and ("path" not in value or _text(value["path"]))
    )


def _timeOffset(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and ("secs" not in value or _int64(value["secs"]))
        and ("nanosecs" not in value or _uint32(value["nanosecs"]))
    )


def _device_type(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "b",
        "c",
        "u",
        "p",
    }


def _device_fileMode(value: "Any") -> bool:
    return type(value) is int and 0 <= value <= 65535


def _device(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "type" in value
        and "path" in value
        and _device_type(value["type"])
        and _text(value["path"])
        and ("major" not in value or _int64(value["major"]))
        and ("minor" not in value or _int64(value["minor"]))
        and ("fileMode" not in value or _device_fileMode(value["fileMode"]))
        and ("uid" not in value or _id(value["uid"]))
        and ("gid" not in value or _id(value["gid"]))
    )


def _memoryPolicy_mode(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "MPOL_DEFAULT",
        "MPOL_LOCAL",
        "MPOL_BIND",
        "MPOL_INTERLEAVE",
        "MPOL_WEIGHTED_INTERLEAVE",
        "MPOL_PREFERRED",
        "MPOL_PREFERRED_MANY",
    }


def _memoryPolicy_flags_item(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "MPOL_F_STATIC_NODES",
        "MPOL_F_RELATIVE_NODES",
        "MPOL_F_NUMA_BALANCING",
    }


def _memoryPolicy_flags(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _memoryPolicy_flags_item(item):
            return False
    return True


def _memoryPolicy(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "mode" in value
        and _memoryPolicy_mode(value["mode"])
        and ("nodes" not in value or _text(value["nodes"]))
        and ("flags" not in value or _memoryPolicy_flags(value["flags"]))
    )


def _resources_devices(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _deviceRule(item):
            return False
    return True


def _resources_memory(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and ("limit" not in value or _int64(value["limit"]))
        and ("reservation" not in value or _int64(value["reservation"]))
        and ("swap" not in value or _int64(value["swap"]))
        and ("swappiness" not in value or _uint64(value["swappiness"]))
        and ("kernel" not in value or _int64(value["kernel"]))
        and ("kernelTCP" not in value or _int64(value["kernelTCP"]))
        and ("disableOOMKiller" not in value or isinstance(value["disableOOMKiller"], bool))
        and ("useHierarchy" not in value or isinstance(value["useHierarchy"], bool))
        and ("checkBeforeUpdate" not in value or isinstance(value["checkBeforeUpdate"], bool))
    )


def _resources_cpu(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and ("shares" not in value or _uint64(value["shares"]))
        and ("quota" not in value or _int64(value["quota"]))
        and ("period" not in value or _uint64(value["period"]))
        and ("burst" not in value or _uint64(value["burst"]))
        and ("realtimeRuntime" not in value or _int64(value["realtimeRuntime"]))
        and ("realtimePeriod" not in value or _uint64(value["realtimePeriod"]))
        and ("idle" not in value or _int64(value["idle"]))
        and ("cpus" not in value or _text(value["cpus"]))
        and ("mems" not in value or _text(value["mems"]))
    )


def _resources_pids(value: "Any") -> bool:
    return isinstance(value, dict) and ("limit" not in value or _int64(value["limit"]))


def _resources_hugepageLimits_item_pageSize(value: "Any") -> bool:
    return (
        isinstance(value, str)
        and len(value) >= 3
        and value[0] in "123456789"
        and value[-2] in "KMG"
        and value[-1] in "B"
        and not value[1:-2].strip("0123456789")
    )


def _resources_hugepageLimits_item(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "pageSize" in value
        and "limit" in value
        and _resources_hugepageLimits_item_pageSize(value["pageSize"])
        and _uint64(value["limit"])
    )


def _resources_hugepageLimits(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _resources_hugepageLimits_item(item):
            return False
    return True


def _resources_network_priorities_item(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "name" in value
        and "priority" in value
        and _text(value["name"])
        and _uint32(value["priority"])
    )


def _resources_network_priorities(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _resources_network_priorities_item(item):
            return False
    return True


def _resources_network(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and ("classID" not in value or _uint32(value["classID"]))
        and ("priorities" not in value or _resources_network_priorities(value["priorities"]))
    )


def _resources_rdma_value(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and ("hcaHandles" not in value or _uint32(value["hcaHandles"]))
        and ("hcaObjects" not in value or _uint32(value["hcaObjects"]))
    )


def _resources_rdma(value: "Any") -> bool:
    if not isinstance(value, dict):
        return False
    for item in value.values():
        if not _resources_rdma_value(item):
            return False
    return True


def _resources_unified(value: "Any") -> bool:
    if not isinstance(value, dict):
        return False
    for item in value.values():
        if not _text(item):
            return False
    return True


def _resources(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and ("devices" not in value or _resources_devices(value["devices"]))
        and ("memory" not in value or _resources_memory(value["memory"]))
        and ("cpu" not in value or _resources_cpu(value["cpu"]))
        and ("pids" not in value or _resources_pids(value["pids"]))
        and ("blockIO" not in value or _blockIO(value["blockIO"]))
        and ("hugepageLimits" not in value or _resources_hugepageLimits(value["hugepageLimits"]))
        and ("network" not in value or _resources_network(value["network"]))
        and ("rdma" not in value or _resources_rdma(value["rdma"]))
        and ("unified" not in value or _resources_unified(value["unified"]))
    )


def _deviceRule_type(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "a",
        "b",
        "c",
    }


def _deviceRule(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "allow" in value
        and isinstance(value["allow"], bool)
        and ("type" not in value or _deviceRule_type(value["type"]))
        and ("major" not in value or _int64(value["major"]))
        and ("minor" not in value or _int64(value["minor"]))
        and ("access" not in value or _text(value["access"]))
    )


def _blockIO_weightDevice_item(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "major" in value
        and "minor" in value
        and _int64(value["major"])
        and _int64(value["minor"])
        and ("weight" not in value or _uint16(value["weight"]))
        and ("leafWeight" not in value or _uint16(value["leafWeight"]))
    )


def _blockIO_weightDevice(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _blockIO_weightDevice_item(item):
            return False
    return True


def _blockIO(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and ("weight" not in value or _uint16(value["weight"]))
        and ("leafWeight" not in value or _uint16(value["leafWeight"]))
        and ("weightDevice" not in value or _blockIO_weightDevice(value["weightDevice"]))
        and ("throttleReadBpsDevice" not in value or _throttles(value["throttleReadBpsDevice"]))
        and ("throttleWriteBpsDevice" not in value or _throttles(value["throttleWriteBpsDevice"]))
        and ("throttleReadIOPSDevice" not in value or _throttles(value["throttleReadIOPSDevice"]))
        and ("throttleWriteIOPSDevice" not in value or _throttles(value["throttleWriteIOPSDevice"]))
    )


def _throttles_item(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "major" in value
        and "minor" in value
        and _int64(value["major"])
        and _int64(value["minor"])
        and ("rate" not in value or _uint64(value["rate"]))
    )


def _throttles(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _throttles_item(item):
            return False
    return True


def _seccomp_architectures_item(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "SCMP_ARCH_X86",
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_X32",
        "SCMP_ARCH_ARM",
        "SCMP_ARCH_AARCH64",
        "SCMP_ARCH_LOONGARCH64",
        "SCMP_ARCH_M68K",
        "SCMP_ARCH_MIPS",
        "SCMP_ARCH_MIPSEL",
        "SCMP_ARCH_MIPS64",
        "SCMP_ARCH_MIPSEL64",
        "SCMP_ARCH_MIPS64N32",
        "SCMP_ARCH_MIPSEL64N32",
        "SCMP_ARCH_PARISC",
        "SCMP_ARCH_PARISC64",
        "SCMP_ARCH_PPC",
        "SCMP_ARCH_PPC64",
        "SCMP_ARCH_PPC64LE",
        "SCMP_ARCH_RISCV64",
        "SCMP_ARCH_S390",
        "SCMP_ARCH_S390X",
        "SCMP_ARCH_SH",
        "SCMP_ARCH_SHEB",
    }


def _seccomp_architectures(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _seccomp_architectures_item(item):
            return False
    return True


def _seccomp_flags_item(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    }


def _seccomp_flags(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _seccomp_flags_item(item):
            return False
    return True


def _seccomp_syscalls_item_names(value: "Any") -> bool:
    if not isinstance(value, list) or len(value) < 1:
        return False
    for item in value:
        if not _text(item):
            return False
    return True


def _seccomp_syscalls_item_args_item_op(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "SCMP_CMP_EQ",
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_GT",
        "SCMP_CMP_GE",
        "SCMP_CMP_MASKED_EQ",
    }


def _seccomp_syscalls_item_args_item(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "index" in value
        and "value" in value
        and "op" in value
        and _uint32(value["index"])
        and _uint64(value["value"])
        and ("valueTwo" not in value or _uint64(value["valueTwo"]))
        and _seccomp_syscalls_item_args_item_op(value["op"])
    )


def _seccomp_syscalls_item_args(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _seccomp_syscalls_item_args_item(item):
            return False
    return True


def _seccomp_syscalls_item(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "names" in value
        and "action" in value
        and _seccomp_syscalls_item_names(value["names"])
        and _seccompAction(value["action"])
        and ("errnoRet" not in value or _uint32(value["errnoRet"]))
        and ("args" not in value or _seccomp_syscalls_item_args(value["args"]))
    )


def _seccomp_syscalls(value: "Any") -> bool:
    if not isinstance(value, list):
        return False
    for item in value:
        if not _seccomp_syscalls_item(item):
            return False
    return True


def _seccomp(value: "Any") -> bool:
    return (
        isinstance(value, dict)
        and "defaultAction" in value
        and _seccompAction(value["defaultAction"])
        and ("defaultErrnoRet" not in value or _uint32(value["defaultErrnoRet"]))
        and ("architectures" not in value or _seccomp_architectures(value["architectures"]))
        and ("flags" not in value or _seccomp_flags(value["flags"]))
        and ("listenerPath" not in value or _text(value["listenerPath"]))
        and ("listenerMetadata" not in value or isinstance(value["listenerMetadata"], str))
        and ("syscalls" not in value or _seccomp_syscalls(value["syscalls"]))
    )


def _seccompAction(value: "Any") -> bool:
    return isinstance(value, str) and value in {
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_LOG",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_NOTIFY",
        "SCMP_ACT_TRAP",
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_KILL_PROCESS",
    }
