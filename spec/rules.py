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
- duplicate rlimits (the specification; runc lets the last one win)
- a kernel.domainname in sysctl that is not the domainname (crun refuses it, too)
"""

from libcontainer_py.errors import ConfigError, quoted
from libcontainer_py.spec.names import CAPABILITIES, HOOKS, IPC_SYSCTLS, MOUNT_OPTIONS

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
    mounts(config.get("mounts", ()), warnings)
    hooks(config.get("hooks", {}))
    linux = config.get("linux", {})
    kinds = namespaces(linux)
    user_namespace(linux, kinds)
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


def process(process: "Object", warnings: "list[str]", field: str = "process") -> None:
    """The rules for a process, which `exec` has too (its `field` is then another)."""
    if not process["cwd"]:
        raise ConfigError("Cwd property must not be empty", f"{field}.cwd")
    if process["cwd"][0] != "/":
        raise ConfigError("Cwd must be an absolute path", f"{field}.cwd")
    if not process.get("args"):
        raise ConfigError("args must not be empty", f"{field}.args")
    environment(process.get("env", ()), f"{field}.env")
    if len(process.get("user", {}).get("additionalGids", ())) > NGROUPS_MAX:
        raise ConfigError(f"are more than {NGROUPS_MAX}", f"{field}.user.additionalGids")
    rlimits(process.get("rlimits", ()), f"{field}.rlimits")
    capabilities(process.get("capabilities", {}), warnings, f"{field}.capabilities")
    one_line(process.get("selinuxLabel", ""), f"{field}.selinuxLabel")
    one_line(process.get("apparmorProfile", ""), f"{field}.apparmorProfile")
    if "scheduler" in process:
        scheduler(process["scheduler"], f"{field}.scheduler")


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
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= scheduler.get("nice", 0) <= 19:
        raise ConfigError(f"{scheduler['nice']} is not between -20 and 19", f"{field}.nice")
    if scheduler.get("priority") and policy not in ("SCHED_FIFO", "SCHED_RR"):
        raise ConfigError("only SCHED_FIFO and SCHED_RR have one", f"{field}.priority")
    for name in ("runtime", "deadline", "period"):
        if scheduler.get(name) and policy != "SCHED_DEADLINE":
            raise ConfigError("only SCHED_DEADLINE has one", f"{field}.{name}")


def root(config: "Object") -> None:
    """There is a root filesystem. Whether it exists is for whoever resolves it to find out."""
    if "root" not in config:
        raise ConfigError("root must be specified", "root")
    if not config["root"]["path"]:
        raise ConfigError("must not be empty", "root.path")


def mounts(mounts: "list[Object]", warnings: "list[str]") -> None:
    """Destinations; and the options on a bind mount that nobody would read.

    One of a filesystem, like ``mode=755``, changes nothing that is mounted: it is let pass with a
    warning. But a bare word could be a protection, misspelt.
    """
    for index, mount in enumerate(mounts):
        destination = mount["destination"]
        if not destination:
            raise ConfigError("must not be empty", f"mounts[{index}].destination")
        if destination[0] != "/":
            warnings.append(
                f"mounts[{index}].destination: {quoted(destination)} is not absolute, which is "
                f"deprecated: it is taken as relative to /"
            )
        options = mount.get("options", ())
        if "bind" in options or "rbind" in options:
            for place, option in enumerate(options):
                if option in MOUNT_OPTIONS:
                    continue
                field = f"mounts[{index}].options[{place}]"
                what = f"{quoted(option)} is for a filesystem, and a bind mount has none"
                if "=" not in option:
                    raise ConfigError(what, field)
                warnings.append(f"{field}: ignored: {what}")


def hooks(hooks: "Object") -> None:
    """A hook's path is absolute (config.md, "POSIX-platform Hooks")."""
    for kind in HOOKS:
        for index, hook in enumerate(hooks.get(kind, ())):
            absolute(hook["path"], f"hooks.{kind}[{index}].path")
            environment(hook.get("env", ()), f"hooks.{kind}[{index}].env")


def namespaces(linux: "Object") -> "set[str]":
    """No type twice, and paths absolute.

    Returns:
        the types that are not the runtime's own: new ones, and joined ones
    """
    kinds: set[str] = set()
    for index, namespace in enumerate(linux.get("namespaces", ())):
        kind = namespace["type"]
        if kind in kinds:
            raise ConfigError(
                f"namespace {quoted(kind)} is there twice", f"linux.namespaces[{index}].type"
            )
        kinds.add(kind)
        if namespace.get("path"):
            absolute(namespace["path"], f"linux.namespaces[{index}].path")
    return kinds


def _path_of(linux: "Object", kind: str) -> str:
    """The path of a namespace that is to be joined, or the empty string."""
    for namespace in linux.get("namespaces", ()):
        if namespace["type"] == kind:
            return namespace.get("path") or ""
    return ""


def user_namespace(linux: "Object", kinds: "set[str]") -> None:
    """A user namespace and id mappings go together, unless the namespace is a joined one."""
    mapped = [name for name in ("uidMappings", "gidMappings") if linux.get(name)]
    if mapped and "user" not in kinds:
        raise ConfigError("there is no user namespace to map ids in", f"linux.{mapped[0]}")
    if "user" in kinds and not mapped and not _path_of(linux, "user"):
        raise ConfigError("a new user namespace needs id mappings", "linux.uidMappings")


def time_namespace(linux: "Object", kinds: "set[str]") -> None:
    """Offsets are for a new time namespace alone."""
    if not linux.get("timeOffsets"):
        return
    if "time" not in kinds:
        raise ConfigError("there is no time namespace to set them in", "linux.timeOffsets")
    if _path_of(linux, "time"):
        raise ConfigError("a joined time namespace has its own", "linux.timeOffsets")


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
        device_rule(rule, f"linux.resources.devices[{index}]")
    if "memory" in resources:
        memory(resources["memory"], warnings)
    if "cpu" in resources:
        cpu(resources["cpu"])
    for key in resources.get("unified", ()):
        if not key or "/" in key or key in (".", "..") or not key.isprintable():
            raise ConfigError(
                "is not the name of a file of a cgroup",
                f"linux.resources.unified[{quoted(key)}]",
            )


def device_rule(rule: "Object", field: str) -> None:
    """One line for devices.allow or devices.deny; -1 is any number."""
    access = rule.get("access")
    if not access:
        raise ConfigError("must not be empty", f"{field}.access")
    if access.strip("rwm"):
        raise ConfigError(f"{quoted(access)} is not made of r, w and m", f"{field}.access")
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


def cpu(cpu: "Object") -> None:
    """A burst that the quota does not cover is refused by the kernel, with no word to why."""
    burst, quota = cpu.get("burst", 0), cpu.get("quota", 0)
    if 0 < quota < burst:
        raise ConfigError(f"{burst} is above the quota {quota}", "linux.resources.cpu.burst")


def personality(linux: "Object", warnings: "list[str]") -> None:
    """The specification knows no flags yet (config-linux.md, "Personality")."""
    if linux.get("personality", {}).get("flags"):
        warnings.append("linux.personality.flags: ignored, none is defined")


def net_devices(devices: "Object", kinds: "set[str]") -> None:
    """Names are what the kernel takes (dev_valid_name), and there is a namespace to move to."""
    if devices and "network" not in kinds:
        raise ConfigError("needs a network namespace", "linux.netDevices")
    for key, device in devices.items():
        field = f"linux.netDevices[{quoted(key)}]"
        if not _is_interface(key):
            raise ConfigError("is no name of a network device", field)
        name = device.get("name")
        if name and not _is_interface(name):
            raise ConfigError(f"{quoted(name)} is no name of a network device", f"{field}.name")


def _is_interface(name: str) -> bool:
    return (
        0 < len(name.encode("utf-8", "surrogateescape")) < IFNAMSIZ
        and name not in (".", "..")
        and not any(char in "/:\0" or char.isspace() for char in name)
    )


def intel_rdt(rdt: "Object") -> None:
    """closID is the name of a directory, and ``/`` the default class; one schema is one line."""
    name = rdt.get("closID", "")
    if name in (".", "..") or (len(name) > 1 and "/" in name):
        raise ConfigError(f"{quoted(name)} is no name of a directory", "linux.intelRdt.closID")
    one_line(rdt.get("l3CacheSchema", ""), "linux.intelRdt.l3CacheSchema")
    for index, schema in enumerate(rdt.get("schemata", ())):
        one_line(schema, f"linux.intelRdt.schemata[{index}]")


def memory_policy(linux: "Object") -> None:
    """set_mempolicy(2): which mode takes nodes."""
    if "memoryPolicy" not in linux:
        return
    mode, nodes = linux["memoryPolicy"]["mode"], linux["memoryPolicy"].get("nodes")
    if nodes and mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        raise ConfigError(f"{mode} takes none", "linux.memoryPolicy.nodes")
    if not nodes and mode not in ("MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED"):
        raise ConfigError(f"{mode} needs one", "linux.memoryPolicy.nodes")


def absolute(path: str, field: str) -> None:
    """A path that is relative to nothing."""
    if not path.startswith("/"):
        raise ConfigError(f"{quoted(path)} is not an absolute path", field)


def one_line(text: str, field: str) -> None:
    """What goes into a file of the kernel's, where a newline would be a second order."""
    if "\n" in text:
        raise ConfigError("holds a newline", field)
