"""What works, as the features structure of the specification (features.md, features-linux.md).

It is put together from the tables that refuse what is not built, so that it can't say otherwise.
"""

from libcontainer_py.errors import Error
from libcontainer_py.mount.options import known_options
from libcontainer_py.security import capabilities
from libcontainer_py.spec import VERSION, built
from libcontainer_py.spec.names import HOOKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")


def features() -> "dict[str, Any]":
    """The features structure, to be printed as JSON.

    What depends on the host: the capabilities are those that the kernel has, and seccomp is
    enabled where libseccomp can be loaded.
    """
    from libcontainer_py import __version__

    annotations = {"lcpy.version": __version__}
    linux: dict[str, Any] = {
        "namespaces": list(_NAMESPACES),
        "capabilities": list(capabilities.NAMES[: capabilities.last_capability() + 1]),
        "cgroup": {
            "v1": True,
            "v2": True,
            "systemd": True,
            "systemdUser": True,
            "rdma": _works("linux.resources.rdma"),
        },
        "seccomp": _seccomp(annotations),
        "apparmor": {"enabled": _works("process.apparmorProfile")},
        "selinux": {"enabled": _works("process.selinuxLabel")},
        "intelRdt": {
            "enabled": _works("linux.intelRdt"),
            "schemata": _works("linux.intelRdt.schemata"),
            "monitoring": _works("linux.intelRdt.enableMonitoring"),
        },
        "memoryPolicy": _memory_policy(),
        "mountExtensions": {"idmap": {"enabled": _works("mounts[].uidMappings")}},
        "netDevices": {"enabled": _works("linux.netDevices")},
    }
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": [kind for kind in HOOKS if _works(f"hooks.{kind}")],
        "mountOptions": known_options(),
        "linux": linux,
        "annotations": annotations,
        # All that begins so. Those that could change the host are off unless they are turned on.
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."],
    }


def _works(field: str) -> bool:
    """Is neither a field of config.json refused, nor what it is a part of?"""
    return not any(f"{field}.".startswith(f"{refused}.") for refused in built.FIELDS)


def _memory_policy() -> "dict[str, list[str]]":
    """Empty lists where it is not built: no word of it is recognized then."""
    if not _works("linux.memoryPolicy"):
        return {"modes": [], "flags": []}
    from libcontainer_py.security import memorypolicy

    return {"modes": sorted(memorypolicy.MODES), "flags": sorted(memorypolicy.FLAGS)}


def _seccomp(annotations: "dict[str, str]") -> "dict[str, Any]":
    """What profiles may hold; adds the version of libseccomp to the annotations."""
    if not _works("linux.seccomp"):
        return {"enabled": False}
    from libcontainer_py.security import seccomp_profile
    from libcontainer_py.security.seccomp_library import Library

    try:
        library = Library()
    except Error:
        return {"enabled": False}
    annotations["io.github.seccomp.libseccomp.version"] = _libseccomp_version()
    flags = seccomp_profile.FLAGS
    level = library.api_level()
    return {
        "enabled": True,
        "actions": sorted(seccomp_profile.ACTIONS),
        "operators": sorted(seccomp_profile.OPERATORS),
        "archs": sorted(seccomp_profile.ARCHITECTURES),
        "knownFlags": sorted(flags),
        "supportedFlags": sorted(flag for flag, (_, needed) in flags.items() if level >= needed),
    }


def _libseccomp_version() -> str:
    """Its version, see seccomp_version(3)."""
    import ctypes

    from libcontainer_py.security.seccomp_library import SONAME

    function = ctypes.CDLL(SONAME).seccomp_version
    function.restype = ctypes.POINTER(ctypes.c_uint * 3)
    return ".".join(map(str, function().contents))
