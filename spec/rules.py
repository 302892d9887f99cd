"""What config.json must hold beyond its schema: one function a rule, each naming its field.

Everything here may trust that the schema fits (`libcontainer_py.spec.accept`). What it says is
pure: no rule looks at the host. Each follows the specification, and runc where the specification
leaves it open; stricter than runc, because something else than asked would be done otherwise:

- ``ociVersion`` must be 1.x (runc does not look at it)
- an empty mount destination (runc takes it for the root itself) and an empty root.path (runc
  takes it for the bundle)
- ``..`` in cgroupsPath (runc cuts it off) and in a sysctl's name
- paths that the specification wants absolute: hooks, masked, read-only, devices, namespaces
- device numbers that the kernel would cut to another device
- a clock that the kernel has no offset for (runc writes any name, and the kernel says EINVAL)
- additionalGids that a new user namespace does not map, also where runc would leave them out
  because it is not root
- two network devices that are to have one name (the kernel would refuse the second, in the middle)
- duplicate rlimits (the specification; runc lets the last one win)
- a kernel.domainname in sysctl that is not the domainname (crun refuses it, too)
"""

from libcontainer_py.errors import ConfigError, quoted
from libcontainer_py.spec.forms import absolute, number_list, one_line
from libcontainer_py.spec.names import CAPABILITIES, HOOKS, IPC_SYSCTLS, MOUNT_OPTIONS
from libcontainer_py.spec.namespaces import (
    id_mappings,
    mapped_user,
    namespaces,
    path_of,
    time_namespace,
    user_namespace,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Object = dict[str, Any]

HOST_NAME_MAX = 64  # __NEW_UTS_LEN
IFNAMSIZ = 16  # with its NUL byte
NGROUPS_MAX = 65536
MAJOR_MAX = (1 << 12) - 1  # dev_t, as mknod(2) takes it
MINOR_MAX = (1 << 20) - 1
UNSET = (1 << 64) - 1  # -1, from engines that keep it in a uint64
RT_PRIORITY_MAX = 99  # MAX_RT_PRIO - 1
DEADLINE_RUNTIME_MIN = 1 << 10  # DL_SCALE, in nanoseconds


def check(config: "Object") -> "list[str]":
    """Hold a config that fits the schema to the rules.

    Returns:
        warnings, one line each: what will be done, but not quite as it is written

    Raises:
        ConfigError: the first rule that does not hold
    """
    warnings: list[str] = []
    version(config["ociVersion"])
    if "process" not in config:
        raise ConfigError("process property must not be empty", "process")
    process(config["process"], warnings)
    root(config)
    linux = config.get("linux", {})
    kinds = namespaces(linux)
    mounts(config.get("mounts", ()), kinds, warnings)
    hooks(config.get("hooks", {}))
    user_namespace(linux, kinds)
    if "user" in kinds and not path_of(linux, "user"):
        mapped_user(config["process"].get("user", {}), linux)
    time_namespace(linux, kinds)
    names(config, kinds)
    restricted_paths(linux, kinds)
    sysctls(linux.get("sysctl", {}), kinds, config.get("domainname", ""))
    devices(linux.get("devices", ()))
    cgroups_path(linux.get("cgroupsPath", ""))
    resources(linux.get("resources", {}), warnings)
    personality(linux, warnings)
    net_devices(linux.get("netDevices", {}), kinds)
    one_line(linux.get("mountLabel", ""), "linux.mountLabel")
    intel_rdt(linux.get("intelRdt", {}))
    memory_policy(linux)
    return warnings


def version(text: str) -> None:
    """ociVersion is a semantic version (semver.org), and of the major version that we know."""
    core, plus, build = text.partition("+")
    core, dash, release = core.partition("-")
    numbers = core.split(".")
    if (
        len(numbers) != 3
        or not all(_is_number(number) for number in numbers)
        or (plus and not _are_identifiers(build))
        or (dash and not _are_identifiers(release))
    ):
        raise ConfigError(f"{quoted(text)} is not a semantic version", "ociVersion")
    if numbers[0] != "1":
        raise ConfigError(f"version {quoted(text)} is not supported: only 1.x is", "ociVersion")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and (text == "0" or text[0] != "0")


def _are_identifiers(text: str) -> bool:
    return all(part.isascii() and part.replace("-", "0").isalnum() for part in text.split("."))


def process(process: "Object", warnings: "list[str]") -> None:
    """The rules for a process: the first one, or that of an `exec`."""
    if not process["cwd"]:
        raise ConfigError("Cwd property must not be empty", "process.cwd")
    if process["cwd"][0] != "/":
        raise ConfigError("Cwd must be an absolute path", "process.cwd")
    if not process.get("args"):
        raise ConfigError("args must not be empty", "process.args")
    environment(process.get("env", ()), "process.env")
    if len(process.get("user", {}).get("additionalGids", ())) > NGROUPS_MAX:
        raise ConfigError(f"are more than {NGROUPS_MAX}", "process.user.additionalGids")
    rlimits(process.get("rlimits", ()), "process.rlimits")
    capabilities(process.get("capabilities", {}), warnings, "process.capabilities")
    one_line(process.get("selinuxLabel", ""), "process.selinuxLabel")
    one_line(process.get("apparmorProfile", ""), "process.apparmorProfile")
    if "scheduler" in process:
        scheduler(process["scheduler"], "process.scheduler")
    for name, cpus in process.get("execCPUAffinity", {}).items():
        if name in ("initial", "final"):
            number_list(cpus, f"process.execCPUAffinity.{name}")


def environment(env: "list[str]", field: str) -> None:
    """Each entry is NAME=VALUE. The value may be a secret, so it is in no message."""
    for index, entry in enumerate(env):
        name, equals, _ = entry.partition("=")
        if not equals:
            raise ConfigError("invalid environment variable: missing '='", f"{field}[{index}]")
        if not name:
            raise ConfigError("invalid environment variable: empty name", f"{field}[{index}]")


def rlimits(limits: "list[Object]", field: str) -> None:
    """No type twice (config.md, "POSIX process"), and none that prlimit(2) would refuse."""
    seen = set()
    for index, limit in enumerate(limits):
        kind, soft, hard = limit["type"], limit["soft"], limit["hard"]
        if kind in seen:
            raise ConfigError(f"{kind} is there twice", f"{field}[{index}].type")
        seen.add(kind)
        if soft > hard:
            raise ConfigError(f"{soft} is above the hard limit {hard}", f"{field}[{index}].soft")


def capabilities(sets: "Object", warnings: "list[str]", field: str) -> None:
    """A name that the kernel's headers don't have is left out, with a warning (config.md)."""
    unknown = {
        name
        for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
        for name in sets.get(kind, ())
        if name not in CAPABILITIES
    }
    if unknown:
        listed = ", ".join(quoted(name) for name in sorted(unknown))
        warnings.append(f"{field}: ignoring unknown capabilities: {listed}")


def scheduler(scheduler: "Object", field: str) -> None:
    """sched_setattr(2): which values belong to which policy."""
    policy = scheduler["policy"]
    if policy == "SCHED_ISO":
        raise ConfigError("Linux has no SCHED_ISO", f"{field}.policy")
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= scheduler.get("nice", 0) <= 19:
        raise ConfigError(f"{scheduler['nice']} is not between -20 and 19", f"{field}.nice")
    priority = scheduler.get("priority", 0)
    if priority and policy not in ("SCHED_FIFO", "SCHED_RR"):
        raise ConfigError("only SCHED_FIFO and SCHED_RR have one", f"{field}.priority")
    for name in ("runtime", "deadline", "period"):
        if scheduler.get(name) and policy != "SCHED_DEADLINE":
            raise ConfigError("only SCHED_DEADLINE has one", f"{field}.{name}")
    # With these the kernel takes some values from the process itself, and not from here.
    if {"SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS"} & set(scheduler.get("flags", ())):
        return
    if policy in ("SCHED_FIFO", "SCHED_RR") and not 1 <= priority <= RT_PRIORITY_MAX:
        raise ConfigError(f"{priority} is not between 1 and {RT_PRIORITY_MAX}", f"{field}.priority")
    if policy == "SCHED_DEADLINE":
        deadline_times(scheduler, field)


def deadline_times(scheduler: "Object", field: str) -> None:
    """sched(7), "SCHED_DEADLINE": runtime <= deadline <= period, which is the deadline if unset."""
    runtime, deadline = scheduler.get("runtime", 0), scheduler.get("deadline", 0)
    period = scheduler.get("period", 0) or deadline
    if runtime < DEADLINE_RUNTIME_MIN:
        raise ConfigError(f"{runtime} is below {DEADLINE_RUNTIME_MIN} ns", f"{field}.runtime")
    if deadline < runtime:
        raise ConfigError(f"{deadline} is below the runtime {runtime}", f"{field}.deadline")
    if period < deadline:
        raise ConfigError(f"{period} is below the deadline {deadline}", f"{field}.period")


def root(config: "Object") -> None:
    """There is a root filesystem. Whether it exists is for whoever resolves it to find out."""
    if "root" not in config:
        raise ConfigError("root must be specified", "root")
    if not config["root"]["path"]:
        raise ConfigError("must not be empty", "root.path")


def mounts(mounts: "list[Object]", kinds: "set[str]", warnings: "list[str]") -> None:
    """Destinations, options and id mappings."""
    for index, mount in enumerate(mounts):
        field = f"mounts[{index}]"
        destination = mount["destination"]
        if not destination:
            raise ConfigError("must not be empty", f"{field}.destination")
        if destination[0] != "/":
            warnings.append(
                f"{field}.destination: {quoted(destination)} is not absolute, which is "
                f"deprecated: it is taken as relative to /"
            )
        options = mount.get("options", ())
        is_bind = "bind" in options or "rbind" in options
        if is_bind:
            bind_options(options, f"{field}.options", warnings)
        idmapped_mount(mount, is_bind, kinds, field)


def bind_options(options: "list[str]", field: str, warnings: "list[str]") -> None:
    """The options on a bind mount that nobody would read.

    One of a filesystem, like ``mode=755``, changes nothing that is mounted: it is let pass with a
    warning. But a bare word could be a protection, misspelt.
    """
    for place, option in enumerate(options):
        if option in MOUNT_OPTIONS:
            continue
        what = f"{quoted(option)} is for a filesystem, and a bind mount has none"
        if "=" not in option:
            raise ConfigError(what, f"{field}[{place}]")
        warnings.append(f"{field}[{place}]: ignored: {what}")


def idmapped_mount(mount: "Object", is_bind: bool, kinds: "set[str]", field: str) -> None:
    """config.md, "mounts": both mappings or none, and without any the user namespace's own."""
    named = [name for name in ("uidMappings", "gidMappings") if mount.get(name)]
    asked = [word for word in mount.get("options", ()) if word in ("idmap", "ridmap")]
    if not named and not asked:
        return
    if named:
        where = f"{field}.{named[0]}"
    else:
        where = f"{field}.options[{mount['options'].index(asked[0])}]"
    if not is_bind:
        raise ConfigError("id-mapped mounts are only supported for bind-mounts", where)
    if len(named) == 1:
        missing = "gidMappings" if named[0] == "uidMappings" else "uidMappings"
        raise ConfigError(
            "id-mapped mounts must have both uid and gid mappings specified", f"{field}.{missing}"
        )
    if not named and "user" not in kinds:
        raise ConfigError(
            f"{asked[0]} needs mappings, the mount's own or those of a user namespace", where
        )
    for name in named:
        id_mappings(mount[name], f"{field}.{name}")


def hooks(hooks: "Object") -> None:
    """A hook's path is absolute (config.md, "POSIX-platform Hooks")."""
    for kind in HOOKS:
        for index, hook in enumerate(hooks.get(kind, ())):
            absolute(hook["path"], f"hooks.{kind}[{index}].path")
            environment(hook.get("env", ()), f"hooks.{kind}[{index}].env")


def names(config: "Object", kinds: "set[str]") -> None:
    """The host's own names must not change, and sethostname(2) takes 64 bytes."""
    for name in ("hostname", "domainname"):
        value = config.get(name)
        if not value:
            continue
        if "uts" not in kinds:
            raise ConfigError(f"unable to set {name} without a private UTS namespace", name)
        if len(value.encode("utf-8", "surrogateescape")) > HOST_NAME_MAX:
            raise ConfigError(f"is longer than {HOST_NAME_MAX} bytes", name)


def restricted_paths(linux: "Object", kinds: "set[str]") -> None:
    """Masked and read-only paths are absolute, and not on the host's own mounts."""
    for name in ("maskedPaths", "readonlyPaths"):
        paths = linux.get(name)
        if not paths:
            continue
        if "mount" not in kinds:
            raise ConfigError("needs a mount namespace", f"linux.{name}")
        for index, path in enumerate(paths):
            absolute(path, f"linux.{name}[{index}]")


def sysctls(values: "dict[str, str]", kinds: "set[str]", domainname: str = "") -> None:
    """A sysctl must belong to a namespace that is not the host's, or the host's own would change.

    And it must not say otherwise than `domainname`, the field, does: one of them would lose.

    The names come as sysctl(8) has them, with dots or with slashes.
    """
    for key in values:
        field = f"linux.sysctl[{quoted(key)}]"
        # An empty part is "..", or a separator at an end: both can lead out of /proc/sys/net.
        if not key.isprintable() or "" in key.replace("/", ".").split("."):
            raise ConfigError("is no name of a sysctl", field)
        name = dotted(key)
        if name in IPC_SYSCTLS or name.startswith("fs.mqueue."):
            needed = "ipc"
        elif name.startswith("net."):
            needed = "network"
        elif name.startswith("user."):
            needed = "user"
        elif name == "kernel.domainname":
            needed = "uts"
            if domainname and values[key] != domainname:
                raise ConfigError(f"conflicts with domainname, {quoted(domainname)}", field)
        elif name == "kernel.hostname" and "uts" in kinds:
            raise ConfigError("is not allowed: the field for it is hostname", field)
        else:
            raise ConfigError("is not in a separate kernel namespace", field)
        if needed not in kinds:
            raise ConfigError(f"is not allowed without a {needed} namespace", field)


def dotted(key: str) -> str:
    """A sysctl's name with dots between its parts.

    As sysctl.d(5) says: where the first separator is a slash, dots and slashes change places, so
    that ``net/ipv4/conf/eth0.1/forwarding`` is ``net.ipv4.conf.eth0/1.forwarding``.
    """
    first = next((char for char in key if char in "./"), "")
    if first != "/":
        return key
    return key.translate({ord("."): "/", ord("/"): "."})


def devices(devices: "list[Object]") -> None:
    """Device nodes: config-linux.md, "Devices"; mknod(2)."""
    for index, device in enumerate(devices):
        field = f"linux.devices[{index}]"
        absolute(device["path"], f"{field}.path")
        if device["type"] == "p":
            continue
        for name, most in (("major", MAJOR_MAX), ("minor", MINOR_MAX)):
            if name not in device:
                raise ConfigError("is required", f"{field}.{name}")
            # The kernel would cut a larger one, and make another device than was asked for.
            if not 0 <= device[name] <= most:
                raise ConfigError(f"{device[name]} is not between 0 and {most}", f"{field}.{name}")


def cgroups_path(path: str) -> None:
    """The cgroup stays where it is said to be; ``slice:prefix:name`` has no slashes at all."""
    if ".." in path.split("/"):
        raise ConfigError(f'{quoted(path)} holds ".."', "linux.cgroupsPath")
    one_line(path, "linux.cgroupsPath")


def resources(resources: "Object", warnings: "list[str]") -> None:
    """config-linux.md, "Control groups"."""
    for index, rule in enumerate(resources.get("devices", ())):
        device_rule(rule, f"linux.resources.devices[{index}]", warnings)
    if "memory" in resources:
        memory(resources["memory"], warnings)
    if "cpu" in resources:
        cpu(resources["cpu"], warnings)
    unified = resources.get("unified", {})
    for key in ("cpu.weight", "cpu.weight.nice"):
        if key in unified and unified.get("cpu.idle", "").strip() == "1":
            field = f'linux.resources.unified["{key}"]'
            warnings.append(f"{field}: ignored, unable to apply both it and cpu.idle")
    for key in unified:
        if not key or "/" in key or key in (".", "..") or not key.isprintable():
            raise ConfigError(
                "is not the name of a file of a cgroup",
                f"linux.resources.unified[{quoted(key)}]",
            )


def device_rule(rule: "Object", field: str, warnings: "list[str]") -> None:
    """One line for devices.allow or devices.deny; -1 is any number."""
    access = rule.get("access")
    if not access:
        raise ConfigError("must not be empty", f"{field}.access")
    if not set(access) & set("rwm"):
        raise ConfigError(f"{quoted(access)} is not made of r, w and m", f"{field}.access")
    if access.strip("rwm"):
        warnings.append(f"{field}.access: {quoted(access)} has more than r, w and m, ignored")
    for name in ("major", "minor"):
        if not -1 <= rule.get(name, -1) < 1 << 32:
            raise ConfigError(f"{rule[name]} is not between -1 and 4294967295", f"{field}.{name}")


def memory(memory: "Object", warnings: "list[str]") -> None:
    """0 is unset, as in runc, and -1 no limit; swap is memory and swap together."""
    field = "linux.resources.memory"
    for name in ("limit", "reservation", "swap"):
        if memory.get(name, 0) < -1:
            raise ConfigError(f"{memory[name]} is not a limit", f"{field}.{name}")
    limit, swap = memory.get("limit", 0), memory.get("swap", 0)
    if swap > 0 and limit == 0:
        raise ConfigError("unable to set swap limit without memory limit", f"{field}.swap")
    if 0 < swap < limit:
        raise ConfigError(f"{swap} is below the memory limit {limit}", f"{field}.swap")
    swappiness = memory.get("swappiness", 0)
    if swappiness > 100 and swappiness != UNSET:
        raise ConfigError(f"{swappiness} is not between 0 and 100", f"{field}.swappiness")
    for name in ("kernel", "kernelTCP"):
        if name in memory:
            warnings.append(f"{field}.{name}: kernel memory limits are ignored")


def cpu(cpu: "Object", warnings: "list[str]") -> None:
    """A burst that the quota does not cover is refused by the kernel, with no word to why.

    And who is idle has the least weight that there is.
    """
    burst, quota = cpu.get("burst", 0), cpu.get("quota", 0)
    if cpu.get("idle") == 1 and cpu.get("shares"):
        warnings.append("linux.resources.cpu.shares: ignored, unable to apply both it and idle")
    if 0 < quota < burst:
        raise ConfigError(f"{burst} is above the quota {quota}", "linux.resources.cpu.burst")


def personality(linux: "Object", warnings: "list[str]") -> None:
    """The specification knows no flags yet (config-linux.md, "Personality")."""
    if linux.get("personality", {}).get("flags"):
        warnings.append("linux.personality.flags: ignored, none is defined")


def net_devices(devices: "Object", kinds: "set[str]") -> None:
    """Names are what the kernel takes (dev_valid_name), and there is a namespace to move to.

    A new name may be a template, ``eth%d``, from which a free one is made.
    """
    if devices and "network" not in kinds:
        raise ConfigError("needs a network namespace", "linux.netDevices")
    inside: dict[str, str] = {}
    for key, device in devices.items():
        field = f"linux.netDevices[{quoted(key)}]"
        if not _is_interface(key):
            raise ConfigError("is no name of a network device", field)
        name = device.get("name")
        if name:
            field = f"{field}.name"
            if not _is_interface(name):
                raise ConfigError(f"{quoted(name)} is no name of a network device", field)
            if name.count("%") > 1 or "%" in name.replace("%d", ""):
                raise ConfigError(f'{quoted(name)} has a "%" that is not its one "%d"', field)
        other = inside.setdefault(name or key, key)
        if other != key and "%" not in (name or key):
            what = f"{quoted(other)} is to have the name {quoted(name or key)} already"
            raise ConfigError(what, field)


def _is_interface(name: str) -> bool:
    return (
        0 < len(name.encode("utf-8", "surrogateescape")) < IFNAMSIZ
        and name not in (".", "..")
        and not any(char in "/:\0" or char.isspace() for char in name)
    )


def intel_rdt(rdt: "Object") -> None:
    """closID is the name of a directory, and ``/`` the default class; one schema is one line, but
    for `l3CacheSchema`, which only SHOULD be: with code and data apart there are two of them.
    """
    name = rdt.get("closID", "")
    if name in (".", "..") or (len(name) > 1 and "/" in name):
        raise ConfigError(f"{quoted(name)} is no name of a directory", "linux.intelRdt.closID")
    for index, schema in enumerate(rdt.get("schemata", ())):
        one_line(schema, f"linux.intelRdt.schemata[{index}]")


def memory_policy(linux: "Object") -> None:
    """set_mempolicy(2): which mode takes nodes, and which flags exclude each other."""
    if "memoryPolicy" not in linux:
        return
    field = "linux.memoryPolicy"
    policy = linux["memoryPolicy"]
    mode, nodes = policy["mode"], policy.get("nodes", "")
    number_list(nodes, f"{field}.nodes")
    if nodes and mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        raise ConfigError(f"{mode} takes none", f"{field}.nodes")
    if not nodes and mode not in ("MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED"):
        raise ConfigError(f"{mode} needs one", f"{field}.nodes")
    if {"MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"} <= set(policy.get("flags", ())):
        raise ConfigError("nodes are static or relative, not both", f"{field}.flags")
