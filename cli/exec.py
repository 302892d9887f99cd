"""`lcpy exec`: its words, made into a process of config.json or changes to one."""

from libcontainer_py.cli.descriptors import refuse_ours
from libcontainer_py.errors import ConfigError, Error, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from libcontainer_py.cli.parse import Words


def options(words: "Words") -> "dict[str, Any]":
    """What `Container.exec` is to be called with.

    Raises:
        Error: in runc's words, where it has some
    """
    flags = words.flags
    refuse_ours(0, flags["preserve-fds"])
    detach, socket = flags["detach"], flags["console-socket"]
    found: dict[str, Any] = {
        "pid_file": flags["pid-file"],
        "preserve_fds": flags["preserve-fds"],
        "console_socket": socket,
        "pidfd_socket": flags["pidfd-socket"],
        "cgroups": cgroups(flags["cgroup"]),
        "ignore_paused": flags["ignore-paused"],
        "detach": detach,
    }
    if socket is not None and not detach:
        raise Error("cannot use console socket if lcpy will not detach or allocate tty")
    if flags["process"]:
        from libcontainer_py.spec.process import of_file

        return found | {"process": of_file(flags["process"])}
    if len(words.arguments) < 2:
        raise Error("exec args cannot be empty")
    return found | {
        "args": words.arguments[1:],
        "terminal": flags["tty"],
        "user": user(flags["user"]),
        "additional_gids": [_id(text, "additional gid") for text in flags["additional-gids"]],
        "cwd": flags["cwd"],
        "env": flags["env"],
        "capabilities": flags["cap"],
        "no_new_privileges": flags["no-new-privs"] or None,
        "apparmor": flags["apparmor"] or None,
        "label": flags["process-label"] or None,
    }


def user(text: "str | None") -> "tuple[int, int | None] | None":
    """Read `--user`: a uid, or a uid and a gid, as numbers.

    Raises:
        ConfigError: it is something else
    """
    if not text:
        return None
    uid, colon, gid = text.partition(":")
    return _id(uid, "bad uid"), _id(gid, "bad gid") if colon else None


def cgroups(words: "Sequence[str]") -> "dict[str, str]":
    """Read `--cgroup`: one path, or paths by controller.

    Raises:
        Error: in runc's words
    """
    found: dict[str, str] = {}
    for word in words:
        controllers, colon, path = word.partition(":")
        if not colon:
            if len(words) != 1:
                what = "missing <controller>: prefix"
                raise Error(f"invalid --cgroup argument: {word} ({what})")
            return {"": word}
        for controller in controllers.split(","):
            if not controller:
                what = "empty <controller> prefix"
                raise Error(f"invalid --cgroup argument: {word} ({what})")
            if controller in found:
                what = f"controller {controller} specified multiple times"
                raise Error(f"invalid --cgroup argument(s): {what}")
            found[controller] = path
    return found


def _id(text: str, what: str) -> int:
    # Not int() alone: it takes blanks, underscores and other scripts' digits.
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > 0x7FFFFFFF:
        raise ConfigError(f"{what}: {quoted(text)} is not a number from 0 to 2147483647")
    return int(text)
