"""config.json as typed objects, for people who build one in Python.

One class for each object of the specification, one attribute for each of its fields, under the
field's own name (``class``, a word of Python's, is ``class_``):

    spec = Spec.default(args=["make", "check"])
    spec = attrs.evolve(spec, mounts=[*spec.mounts, Mount(destination="/tmp", type="tmpfs")])
    spec.write("/bundles/job")

The objects can't be changed; ``attrs.evolve`` gives a changed copy. What asks for nothing is left
out of config.json: a value that is None, an empty sequence or mapping, and an empty object. So
those objects that may be empty are always there (``spec.linux.resources.memory.limit`` is None
where config.json has no ``linux`` at all), and only the others can be None.

Whether the values are good is for ``Spec.validate`` to say; a class refuses with TypeError what is
of another shape (a string where a list of them belongs, a Mount where a Hook belongs).

Nothing that a command runs imports this: attrs alone costs four times what starting Python does.
"""

import contextlib
import copy
import json
import os
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, Literal, NamedTuple, Self, TypeVar, get_args, get_origin, get_type_hints

from attrs import NOTHING, Attribute, evolve, field, fields_dict, frozen

from libcontainer_py.errors import ConfigError
from libcontainer_py.spec import VERSION, load
from libcontainer_py.spec.accept import accept
from libcontainer_py.spec.default import default as default_config
from libcontainer_py.spec.validate import validate

Some = TypeVar("Some", bound="Object")

# --- what all of them can -------------------------------------------------------------------


@frozen(kw_only=True, repr=False)
class Object:
    """An object of config.json.

    Attributes:
        unknown: members that the specification does not have, or has for another platform. They
            are kept as they are, so that nothing is lost between reading a config and writing it.
    """

    # Two that are equal have the same hash without their mappings, too, and those have none.
    unknown: Mapping[str, Any] = field(factory=dict, hash=False)

    def __attrs_post_init__(self) -> None:
        for member in _members(type(self)):
            value = member.owned(getattr(self, member.name), f"{type(self).__name__}.{member.name}")
            object.__setattr__(self, member.name, value)
            if member.key in self.unknown:
                raise TypeError(
                    f"{type(self).__name__}.unknown: {member.key} has an attribute of its own"
                )
        object.__setattr__(self, "unknown", dict(self.unknown))

    def __repr__(self) -> str:
        shown = []
        for member in _members(type(self)):
            value = getattr(self, member.name)
            if member.name == "env" and value:
                shown.append(f"env=<{len(value)}>")  # there are secrets in it
            elif not member.is_left_out(value):
                shown.append(f"{member.name}={value!r}")
        if self.unknown:
            shown.append(f"unknown={self.unknown!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def to_dict(self) -> dict[str, Any]:
        """As config.json has it: new dicts and lists, without what is left out.

        Raises:
            ConfigError: a value is of a type that JSON does not have
        """
        found: dict[str, Any] = _plain(self, ())
        return found


class _Member(NamedTuple):
    """An attribute, as reading and writing see it."""

    name: str
    key: str  # in config.json
    form: type | None  # Sequence or Mapping, or None for a single value
    model: type[Object] | None  # the class of the value or its items, or None for plain ones
    is_required: bool
    empty: object  # the value that is left out

    def is_left_out(self, value: object) -> bool:
        return not self.is_required and value == self.empty

    def owned(self, value: Any, where: str) -> Any:
        """A value as its object keeps it: of the right shape, and not to be changed from outside.

        Raises:
            TypeError: it is of another shape
        """
        if self.form is Sequence:
            # A string is a sequence of strings, and nearly always a mistake.
            if not isinstance(value, Sequence) or isinstance(value, str | bytes):
                raise TypeError(f"{where} is a {type(value).__name__}, not a list or tuple")
            items: Sequence[Any] = tuple(value)
            value = items
        elif self.form is Mapping:
            if not isinstance(value, Mapping):
                raise TypeError(f"{where} is a {type(value).__name__}, not a mapping")
            value = dict(value)
            items = tuple(value.values())
        else:
            items = () if value is None and self.empty is None else (value,)
        for item in items:
            if self.model and not isinstance(item, self.model):
                raise TypeError(f"{where}: {type(item).__name__} is not {self.model.__name__}")
        return value

    def parsed(self, value: Any) -> Any:
        """A value of config.json, which fits the schema, as its object wants it."""
        if not self.model:
            return value
        if self.form is Sequence:
            return [_parsed(self.model, item) for item in value]
        if self.form is Mapping:
            return {key: _parsed(self.model, item) for key, item in value.items()}
        return _parsed(self.model, value)


_MEMBERS: dict[type[Object], tuple[_Member, ...]] = {}


def _members(model: type[Object]) -> tuple[_Member, ...]:
    """The attributes of a class that are fields of config.json, in their order there."""
    if model not in _MEMBERS:
        types = get_type_hints(model)
        _MEMBERS[model] = tuple(
            _member(attribute, types[name])
            for name, attribute in fields_dict(model).items()
            if name != "unknown"
        )
    return _MEMBERS[model]


def _member(attribute: "Attribute[Any]", kind: Any) -> _Member:
    if NoneType in get_args(kind):
        (kind,) = (part for part in get_args(kind) if part is not NoneType)
    form = get_origin(kind) if get_origin(kind) in (Sequence, Mapping) else None
    if form:
        kind = get_args(kind)[-1]
    factory = getattr(attribute.default, "factory", None)
    return _Member(
        name=attribute.name,
        key=attribute.name.rstrip("_"),
        form=form,
        model=kind if isinstance(kind, type) and issubclass(kind, Object) else None,
        # The version has a default, and is required all the same.
        is_required=attribute.default is NOTHING or attribute.name == "ociVersion",
        empty=factory() if factory else attribute.default,
    )


def _parsed(model: type[Some], config: Mapping[str, Any]) -> Some:
    """An object of a config that fits the schema."""
    unknown = dict(config)
    values = {
        member.name: member.parsed(unknown.pop(member.key))
        for member in _members(model)
        if member.key in unknown
    }
    return model(**values, unknown=copy.deepcopy(unknown))


def _plain(value: Any, place: tuple[str | int, ...]) -> Any:
    """A value as a JSON parser would have made it; `place` is where, for the error."""
    if isinstance(value, Object):
        parts = {}
        for member in _members(type(value)):
            part = getattr(value, member.name)
            if not member.is_left_out(part):
                parts[member.key] = _plain(part, (*place, member.key))
        return parts | _plain(value.unknown, place)
    if isinstance(value, Mapping):
        return {key: _plain(item, (*place, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (*place, index)) for index, item in enumerate(value)]
    if value is None or isinstance(value, str | int | float):
        return value
    from libcontainer_py.spec.reject import path

    raise ConfigError(f"JSON has no {type(value).__name__}", path(place))


# --- ids, mounts and hooks ------------------------------------------------------------------


@frozen(kw_only=True, repr=False)
class IDMapping(Object):
    """A range of user or group ids, inside and outside."""

    containerID: int
    hostID: int
    size: int


@frozen(kw_only=True, repr=False)
class Root(Object):
    """The container's root filesystem; a relative `path` begins at the bundle."""

    path: str
    readonly: bool | None = None


@frozen(kw_only=True, repr=False)
class Mount(Object):
    """One mount; they are made in the order of the list."""

    destination: str
    type: str | None = None
    source: str | None = None
    options: Sequence[str] = ()
    uidMappings: Sequence[IDMapping] = ()
    gidMappings: Sequence[IDMapping] = ()


@frozen(kw_only=True, repr=False)
class Hook(Object):
    """A program that is run at a certain point of a container's life; `timeout` is in seconds."""

    path: str
    args: Sequence[str] = ()
    env: Sequence[str] = ()
    timeout: int | None = None


@frozen(kw_only=True, repr=False)
class Hooks(Object):
    """The hooks of each point, in the order in which they are run."""

    prestart: Sequence[Hook] = ()
    createRuntime: Sequence[Hook] = ()
    createContainer: Sequence[Hook] = ()
    startContainer: Sequence[Hook] = ()
    poststart: Sequence[Hook] = ()
    poststop: Sequence[Hook] = ()


# --- process --------------------------------------------------------------------------------


@frozen(kw_only=True, repr=False)
class ConsoleSize(Object):
    """The terminal's size in characters."""

    height: int
    width: int


@frozen(kw_only=True, repr=False)
class User(Object):
    """Whom the program runs as: ids inside the container, never names."""

    uid: int | None = None
    gid: int | None = None
    umask: int | None = None
    additionalGids: Sequence[int] = ()
    username: str | None = None


@frozen(kw_only=True, repr=False)
class Capabilities(Object):
    """The five sets of capabilities(7), as names such as ``CAP_KILL``."""

    bounding: Sequence[str] = ()
    effective: Sequence[str] = ()
    inheritable: Sequence[str] = ()
    permitted: Sequence[str] = ()
    ambient: Sequence[str] = ()


RlimitType = Literal[
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
]


@frozen(kw_only=True, repr=False)
class Rlimit(Object):
    """A resource limit of getrlimit(2)."""

    type: RlimitType
    hard: int
    soft: int


SchedulerPolicy = Literal[
    "SCHED_OTHER",
    "SCHED_BATCH",
    "SCHED_IDLE",
    "SCHED_FIFO",
    "SCHED_RR",
    "SCHED_DEADLINE",
    "SCHED_ISO",
]

SchedulerFlag = Literal[
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
]


@frozen(kw_only=True, repr=False)
class Scheduler(Object):
    """What sched_setattr(2) is given; times are in nanoseconds."""

    policy: SchedulerPolicy
    nice: int | None = None
    priority: int | None = None
    flags: Sequence[SchedulerFlag] = ()
    runtime: int | None = None
    deadline: int | None = None
    period: int | None = None


@frozen(kw_only=True, repr=False)
class IOPriority(Object):
    """What ioprio_set(2) is given. `class_` is ``class`` in config.json."""

    class_: Literal["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"]
    priority: int | None = None


@frozen(kw_only=True, repr=False)
class ExecCPUAffinity(Object):
    """CPUs for `exec`, such as ``0-3,7``: before and after the move into the cgroup."""

    initial: str | None = None
    final: str | None = None


@frozen(kw_only=True, repr=False)
class Process(Object):
    """The container's program, and what it may do."""

    terminal: bool | None = None
    consoleSize: ConsoleSize | None = None
    user: User = field(factory=User)
    args: Sequence[str] = ()
    commandLine: str | None = None
    env: Sequence[str] = ()
    cwd: str
    capabilities: Capabilities = field(factory=Capabilities)
    rlimits: Sequence[Rlimit] = ()
    noNewPrivileges: bool | None = None
    apparmorProfile: str | None = None
    oomScoreAdj: int | None = None
    scheduler: Scheduler | None = None
    selinuxLabel: str | None = None
    ioPriority: IOPriority | None = None
    execCPUAffinity: ExecCPUAffinity = field(factory=ExecCPUAffinity)


# --- linux.resources ------------------------------------------------------------------------


@frozen(kw_only=True, repr=False)
class DeviceRule(Object):
    """Which devices may be used, or not; a number that is left out or -1 is any."""

    allow: bool
    type: Literal["a", "b", "c"] | None = None
    major: int | None = None
    minor: int | None = None
    access: str | None = None


@frozen(kw_only=True, repr=False)
class Memory(Object):
    """Limits in bytes, -1 for none; `swap` is memory and swap together."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernelTCP: int | None = None
    swappiness: int | None = None
    disableOOMKiller: bool | None = None
    useHierarchy: bool | None = None
    checkBeforeUpdate: bool | None = None


@frozen(kw_only=True, repr=False)
class CPU(Object):
    """Shares and quotas; times are in microseconds."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtimeRuntime: int | None = None
    realtimePeriod: int | None = None
    cpus: str | None = None
    mems: str | None = None
    idle: int | None = None


@frozen(kw_only=True, repr=False)
class Pids(Object):
    """How many tasks there may be, -1 for any number."""

    limit: int | None = None


@frozen(kw_only=True, repr=False)
class WeightDevice(Object):
    """The share of one block device."""

    major: int
    minor: int
    weight: int | None = None
    leafWeight: int | None = None


@frozen(kw_only=True, repr=False)
class ThrottleDevice(Object):
    """The limit of one block device, in bytes or operations a second."""

    major: int
    minor: int
    rate: int | None = None


@frozen(kw_only=True, repr=False)
class BlockIO(Object):
    """Shares and limits of block devices."""

    weight: int | None = None
    leafWeight: int | None = None
    weightDevice: Sequence[WeightDevice] = ()
    throttleReadBpsDevice: Sequence[ThrottleDevice] = ()
    throttleWriteBpsDevice: Sequence[ThrottleDevice] = ()
    throttleReadIOPSDevice: Sequence[ThrottleDevice] = ()
    throttleWriteIOPSDevice: Sequence[ThrottleDevice] = ()


@frozen(kw_only=True, repr=False)
class HugepageLimit(Object):
    """A limit in bytes for pages of one size, such as ``2MB``."""

    pageSize: str
    limit: int


@frozen(kw_only=True, repr=False)
class InterfacePriority(Object):
    """The priority of what is sent through one network interface."""

    name: str
    priority: int


@frozen(kw_only=True, repr=False)
class Network(Object):
    """The class and the priorities of network packets."""

    classID: int | None = None
    priorities: Sequence[InterfacePriority] = ()


@frozen(kw_only=True, repr=False)
class Rdma(Object):
    """Limits of one RDMA device."""

    hcaHandles: int | None = None
    hcaObjects: int | None = None


@frozen(kw_only=True, repr=False)
class Resources(Object):
    """The limits of the container's cgroup."""

    devices: Sequence[DeviceRule] = ()
    memory: Memory = field(factory=Memory)
    cpu: CPU = field(factory=CPU)
    pids: Pids = field(factory=Pids)
    blockIO: BlockIO = field(factory=BlockIO)
    hugepageLimits: Sequence[HugepageLimit] = ()
    network: Network = field(factory=Network)
    rdma: Mapping[str, Rdma] = field(factory=dict, hash=False)
    unified: Mapping[str, str] = field(factory=dict, hash=False)


# --- linux.seccomp --------------------------------------------------------------------------

SeccompAction = Literal[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_KILL_PROCESS",
]

SeccompArch = Literal[
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
]

SeccompFlag = Literal[
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
]

SeccompOp = Literal[
    "SCMP_CMP_EQ",
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_GT",
    "SCMP_CMP_GE",
    "SCMP_CMP_MASKED_EQ",
]


@frozen(kw_only=True, repr=False)
class SeccompArg(Object):
    """A condition on one argument of a system call."""

    index: int
    value: int
    valueTwo: int | None = None
    op: SeccompOp


@frozen(kw_only=True, repr=False)
class SyscallRule(Object):
    """What is done about some system calls."""

    names: Sequence[str]
    action: SeccompAction
    errnoRet: int | None = None
    args: Sequence[SeccompArg] = ()


@frozen(kw_only=True, repr=False)
class Seccomp(Object):
    """The filter on system calls."""

    defaultAction: SeccompAction
    defaultErrnoRet: int | None = None
    architectures: Sequence[SeccompArch] = ()
    flags: Sequence[SeccompFlag] = ()
    listenerPath: str | None = None
    listenerMetadata: str | None = None
    syscalls: Sequence[SyscallRule] = ()


# --- linux ----------------------------------------------------------------------------------


@frozen(kw_only=True, repr=False)
class Namespace(Object):
    """A new namespace, or the one at `path`, to be joined."""

    type: Literal["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]
    path: str | None = None


@frozen(kw_only=True, repr=False)
class TimeOffset(Object):
    """How much later it is inside, by one clock."""

    secs: int | None = None
    nanosecs: int | None = None


@frozen(kw_only=True, repr=False)
class TimeOffsets(Object):
    """The clocks of a new time namespace."""

    monotonic: TimeOffset = field(factory=TimeOffset)
    boottime: TimeOffset = field(factory=TimeOffset)


@frozen(kw_only=True, repr=False)
class Device(Object):
    """A device node, or a FIFO (``p``), to be made."""

    path: str
    type: Literal["b", "c", "u", "p"]
    major: int | None = None
    minor: int | None = None
    fileMode: int | None = None
    uid: int | None = None
    gid: int | None = None


@frozen(kw_only=True, repr=False)
class NetDevice(Object):
    """A network device of the host that is moved in; `name` is its new one."""

    name: str | None = None


@frozen(kw_only=True, repr=False)
class IntelRdt(Object):
    """Cache and memory bandwidth. It asks for a group of its own even where it is empty."""

    closID: str | None = None
    schemata: Sequence[str] = ()
    l3CacheSchema: str | None = None
    memBwSchema: str | None = None
    enableMonitoring: bool | None = None


@frozen(kw_only=True, repr=False)
class MemoryPolicy(Object):
    """What set_mempolicy(2) is given."""

    mode: Literal[
        "MPOL_DEFAULT",
        "MPOL_LOCAL",
        "MPOL_BIND",
        "MPOL_INTERLEAVE",
        "MPOL_WEIGHTED_INTERLEAVE",
        "MPOL_PREFERRED",
        "MPOL_PREFERRED_MANY",
    ]
    nodes: str | None = None
    flags: Sequence[
        Literal["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES", "MPOL_F_NUMA_BALANCING"]
    ] = ()


@frozen(kw_only=True, repr=False)
class Personality(Object):
    """What personality(2) is given."""

    domain: Literal["LINUX", "LINUX32"]
    flags: Sequence[str] = ()


Propagation = Literal[
    "private",
    "rprivate",
    "slave",
    "rslave",
    "shared",
    "rshared",
    "unbindable",
    "runbindable",
]


@frozen(kw_only=True, repr=False)
class Linux(Object):
    """What only Linux has."""

    uidMappings: Sequence[IDMapping] = ()
    gidMappings: Sequence[IDMapping] = ()
    sysctl: Mapping[str, str] = field(factory=dict, hash=False)
    resources: Resources = field(factory=Resources)
    cgroupsPath: str | None = None
    namespaces: Sequence[Namespace] = ()
    devices: Sequence[Device] = ()
    netDevices: Mapping[str, NetDevice] = field(factory=dict, hash=False)
    seccomp: Seccomp | None = None
    rootfsPropagation: Propagation | None = None
    maskedPaths: Sequence[str] = ()
    readonlyPaths: Sequence[str] = ()
    mountLabel: str | None = None
    intelRdt: IntelRdt | None = None
    memoryPolicy: MemoryPolicy | None = None
    personality: Personality | None = None
    timeOffsets: TimeOffsets = field(factory=TimeOffsets)


# --- the whole ------------------------------------------------------------------------------


@frozen(kw_only=True, repr=False)
class Spec(Object):
    """A whole config.json.

    `process` and `root` are there always: the specification lets a config go without, but no
    container can be made of that.
    """

    ociVersion: str = VERSION
    process: Process
    root: Root
    hostname: str | None = None
    domainname: str | None = None
    mounts: Sequence[Mount] = ()
    hooks: Hooks = field(factory=Hooks)
    annotations: Mapping[str, str] = field(factory=dict, hash=False)
    linux: Linux = field(factory=Linux)

    @classmethod
    def default(
        cls,
        args: Sequence[str] = ("sh",),
        *,
        env: Sequence[str] | None = None,
        cwd: str = "/",
        terminal: bool = False,
        rootfs: str = "rootfs",
        readonly: bool = True,
        hostname: str | None = None,
        rootless: bool = False,
    ) -> Self:
        """What `lcpy spec` writes, but for a program without a terminal.

        Args:
            args: the program and its arguments
            env: NAME=VALUE each, instead of a PATH and a TERM
            cwd: where the program starts
            terminal: whether it gets one
            rootfs: the directory that becomes its root; a relative one begins at the bundle
            readonly: whether that is read-only
            hostname: the container's own name
            rootless: for a caller who is not root, in a user namespace
        """
        spec = _parsed(cls, default_config(rootless=rootless))
        return evolve(
            spec,
            process=evolve(
                spec.process,
                args=args,
                env=spec.process.env if env is None else env,
                cwd=cwd,
                terminal=terminal,
            ),
            root=Root(path=rootfs, readonly=readonly),
            hostname=spec.hostname if hostname is None else hostname,
        )

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> Self:
        """Read a config as a JSON parser gives it; all but its schema is left to `validate`.

        Raises:
            ConfigError: it does not fit the schema, or has no process or no root
        """
        if not accept(config):
            from libcontainer_py.spec.reject import reject

            reject(config)
        for name in ("process", "root"):
            if name not in config:
                raise ConfigError("is required", name)
        return _parsed(cls, config)

    @classmethod
    def read(cls, bundle: str | os.PathLike[str]) -> Self:
        """Read a bundle's config.json.

        Raises:
            ConfigError: it is not there, can't be read, is not JSON, or see `from_dict`
        """
        return cls.from_dict(load.parse(load.read(os.fspath(bundle))))

    def validate(self) -> list[str]:
        """Say whether a container could be made of this, as creating one does.

        Returns:
            warnings, one line each

        Raises:
            ConfigError: it is not valid; `field` is where
        """
        return validate(self.to_dict())

    def write(self, bundle: str | os.PathLike[str]) -> list[str]:
        """Validate it, and make it the config.json of a bundle, in place of one that is there.

        Returns:
            warnings, one line each

        Raises:
            ConfigError: it is not valid; nothing is written then
            OSError: the bundle is not there, or can't be written
        """
        warnings = self.validate()
        content = json.dumps(self.to_dict(), indent=4).encode() + b"\n"
        # It knows what Python's JSON writes and nobody should read: NaN, and the halves of
        # characters that os.fsdecode() makes of other bytes.
        load.parse(content)
        path = os.path.join(bundle, load.NAME)
        # Whoever reads it meanwhile sees the old one or the new one, whole.
        new = f"{path}.{os.urandom(8).hex()}"
        try:
            with open(new, "xb") as file:
                file.write(content)
            os.replace(new, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        return warnings
