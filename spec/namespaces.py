"""The rules for linux.namespaces, and for what is mapped or set in new ones."""

from libcontainer_py.errors import ConfigError, quoted
from libcontainer_py.spec.forms import absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Object = dict[str, Any]

MAPPINGS_MAX = 340  # UID_GID_MAP_MAX_EXTENTS
ID_MAX = (1 << 32) - 2  # of a kuid_t: 2^32-1 is none
KTIME_SEC_MAX = 9223372036  # what a clock of 64 bits of nanoseconds can hold, in seconds
NSEC_PER_SEC = 1_000_000_000


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


def path_of(linux: "Object", kind: str) -> str:
    """The path of a namespace that is to be joined, or the empty string."""
    for namespace in linux.get("namespaces", ()):
        if namespace["type"] == kind:
            return namespace.get("path") or ""
    return ""


def user_namespace(linux: "Object", kinds: "set[str]") -> None:
    """A new user namespace has id mappings, of both kinds, and nothing else has.

    But a joined one may have them too: containerd and CRI-O repeat what the namespace at the path
    has. Whether they do is known only to whoever joins it.
    """
    for name in ("uidMappings", "gidMappings"):
        mappings = linux.get(name)
        if mappings:
            if "user" not in kinds:
                raise ConfigError(
                    "user namespace mappings specified, but user namespace isn't enabled in the "
                    "config",
                    f"linux.{name}",
                )
            id_mappings(mappings, f"linux.{name}")
        elif "user" in kinds and not path_of(linux, "user"):
            raise ConfigError(
                f"user namespaces enabled, but no {name[:3]} mappings found", f"linux.{name}"
            )


def id_mappings(mappings: "list[Object]", field: str) -> None:
    """user_namespaces(7), "Defining user and group ID mappings": what the kernel takes."""
    if len(mappings) > MAPPINGS_MAX:
        raise ConfigError(f"are more than {MAPPINGS_MAX}", field)
    for index, mapping in enumerate(mappings):
        if not mapping["size"]:
            raise ConfigError("0 ids can't be mapped", f"{field}[{index}].size")
        for name in ("containerID", "hostID"):
            last = mapping[name] + mapping["size"] - 1
            if last > ID_MAX:
                raise ConfigError(
                    f"{last}, the last one, is above {ID_MAX}", f"{field}[{index}].{name}"
                )
    for name in ("containerID", "hostID"):
        before, end = -1, 0
        for start, index in sorted((mapping[name], at) for at, mapping in enumerate(mappings)):
            if start < end:
                first, second = sorted((before, index))
                raise ConfigError(f"overlaps with {field}[{first}]", f"{field}[{second}].{name}")
            before, end = index, start + mappings[index]["size"]


def mapped_user(user: "Object", linux: "Object") -> None:
    """The process's ids are there in the new user namespace; setresuid(2) would say EINVAL."""
    for name, mappings in (("uid", linux["uidMappings"]), ("gid", linux["gidMappings"])):
        wanted = user.get(name, 0)
        if not is_mapped(wanted, mappings):
            raise ConfigError(
                f"cannot set{name} to unmapped {name} {wanted} in user namespace",
                f"process.user.{name}",
            )
    for index, gid in enumerate(user.get("additionalGids", ())):
        if not is_mapped(gid, linux["gidMappings"]):
            raise ConfigError(
                f"cannot setgroups to unmapped gid {gid} in user namespace",
                f"process.user.additionalGids[{index}]",
            )


def is_mapped(number: int, mappings: "list[Object]") -> bool:
    """Is there such a user or group inside a user namespace of these mappings?"""
    return any(
        mapping["containerID"] <= number < mapping["containerID"] + mapping["size"]
        for mapping in mappings
    )


def time_namespace(linux: "Object", kinds: "set[str]") -> None:
    """time_namespaces(7): offsets are for a new time namespace alone, and for two of the clocks."""
    offsets = linux.get("timeOffsets")
    if not offsets:
        return
    field = "linux.timeOffsets"
    if "time" not in kinds:
        raise ConfigError(
            "time namespace offsets specified, but time namespace isn't enabled in the config",
            field,
        )
    if path_of(linux, "time"):
        raise ConfigError("a joined time namespace has its own", field)
    for clock, offset in offsets.items():
        if clock not in ("monotonic", "boottime"):
            raise ConfigError(
                f"{quoted(clock)} is none of the clocks monotonic and boottime", field
            )
        # Above half of what it can hold no clock may be set; below 0 none may get either, but
        # where that is depends on the host's.
        seconds = offset.get("secs", 0)
        if not -KTIME_SEC_MAX <= seconds <= KTIME_SEC_MAX // 2:
            raise ConfigError(
                f"{seconds} is not between -{KTIME_SEC_MAX} and {KTIME_SEC_MAX // 2}",
                f"{field}.{clock}.secs",
            )
        nanoseconds = offset.get("nanosecs", 0)
        if nanoseconds >= NSEC_PER_SEC:
            raise ConfigError(f"{nanoseconds} is a second or more", f"{field}.{clock}.nanosecs")
