"""What works, as the features structure of the specification (features.md, features-linux.md).

Its lists are the tables by which config.json is judged, so that it can't say otherwise.
"""

from libcontainer_py.errors import Error
from libcontainer_py.mount.options import known_options
from libcontainer_py.security import capabilities
from libcontainer_py.spec import VERSION
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
            "rdma": True,
        },
        "seccomp": _seccomp(annotations),
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "intelRdt": {
            "enabled": True,
            "schemata": True,
            "monitoring": True,
        },
        "memoryPolicy": _memory_policy(),
        "mountExtensions": {"idmap": {"enabled": True}},
        "netDevices": {"enabled": True},
    }
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": list(HOOKS),
        "mountOptions": known_options(),
        "linux": linux,
        "annotations": annotations,
        # All that begins so. Those that could change the host are off unless they are turned on.
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."],
    }


def _memory_policy() -> "dict[str, list[str]]":
    from libcontainer_py.security import memorypolicy

    return {"modes": sorted(memorypolicy.MODES), "flags": sorted(memorypolicy.FLAGS)}


def _seccomp(annotations: "dict[str, str]") -> "dict[str, Any]":
    """What profiles may hold; adds the version of libseccomp to the annotations."""
    from libcontainer_py.security import seccomp_profile
    from libcontainer_py.security.seccomp_library import Library

    try:
        Library()
    except Error:
        return {"enabled": False}
    annotations["io.github.seccomp.libseccomp.version"] = _libseccomp_version()
    flags = seccomp_profile.FLAGS
    return {
        "enabled": True,
        "actions": sorted(seccomp_profile.ACTIONS),
        "operators": sorted(seccomp_profile.OPERATORS),
        "archs": sorted(seccomp_profile.ARCHITECTURES),
        "knownFlags": sorted(flags),
        "supportedFlags": sorted(
            name for name, flag in flags.items() if seccomp_profile.supported(flag)
        ),
    }


def _libseccomp_version() -> str:
    """Its version, see seccomp_version(3)."""
    import ctypes

    from libcontainer_py.security.seccomp_library import SONAME

    function = ctypes.CDLL(SONAME).seccomp_version
    function.restype = ctypes.POINTER(ctypes.c_uint * 3)
    return ".".join(map(str, function().contents))
