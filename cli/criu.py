"""`lcpy checkpoint` and `lcpy restore`: their words, made into the library's options."""

from libcontainer_py.errors import ConfigError, Error, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DEFAULT_IMAGE_PATH = "checkpoint"
_SWITCHES = (
    "tcp-established",
    "ext-unix-sk",
    "shell-job",
    "file-locks",
    "auto-dedup",
    "lazy-pages",
)


def checkpoint_options(flags: "dict[str, Any]") -> "dict[str, Any]":
    """What `Container.checkpoint` is to be called with.

    Raises:
        ConfigError, Error: in runc's words, where it has some
    """
    more = ("leave-running", "link-remap", "pre-dump", "tcp-skip-in-flight")
    return _options(flags, more) | {
        "parent_path": flags["parent-path"] or None,
        "page_server": _address(flags["page-server"]) if flags["page-server"] else None,
        "status_fd": flags["status-fd"] if flags["status-fd"] >= 0 else None,
    }


def restore_options(flags: "dict[str, Any]") -> "dict[str, Any]":
    """What `Runtime.restore` is to be called with.

    Raises:
        ConfigError, Error: in runc's words, where it has some
    """
    if flags["console-socket"] is not None and not flags["detach"]:
        raise Error("cannot use console socket if lcpy will not detach or allocate tty")
    return _options(flags, ("detach",)) | {
        "bundle": flags["bundle"] or ".",
        "console_socket": flags["console-socket"],
        "pid_file": flags["pid-file"],
        "lsm_profile": flags["lsm-profile"],
        "lsm_mount_context": flags["lsm-mount-context"],
    }


def _options(flags: "dict[str, Any]", more: "tuple[str, ...]") -> "dict[str, Any]":
    for name in flags["empty-ns"]:
        if name != "network":
            raise ConfigError(f"namespace {quoted(name)} is not supported", "--empty-ns")
    return {
        "image_path": flags["image-path"] or _DEFAULT_IMAGE_PATH,
        "work_path": flags["work-path"] or None,
        "manage_cgroups_mode": flags["manage-cgroups-mode"],
    } | {name.replace("-", "_"): flags[name] for name in (*_SWITCHES, *more)}


def _address(text: str) -> "tuple[str, int]":
    """ADDRESS:PORT, an address of IPv6 in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port:
        raise Error("Use --page-server ADDRESS:PORT to specify page server")
    if not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 1 << 16:
        raise Error("Invalid port number")
    return host.removeprefix("[").removesuffix("]"), int(port)
