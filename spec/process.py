"""`process` of config.json by itself: what a second process in a container is to be."""

from libcontainer_py.errors import ConfigError, quoted, words
from libcontainer_py.spec import VERSION, load
from libcontainer_py.spec.validate import validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Process = dict[str, Any]


def check(process: "Any") -> "list[str]":
    """Check a process as that of a config.json.

    Returns warnings, one line each.

    Raises:
        ConfigError: it is not valid
    """
    try:
        return validate({"ociVersion": VERSION, "root": {"path": "rootfs"}, "process": process})
    except ConfigError as error:
        if error.field is not None:
            raise
        # Words about the whole of a config.json, which this may never have been in.
        raise ConfigError(str(error).replace(load.NAME, "the process", 1)) from None


def of_file(path: str) -> "Process":
    """Read a process from a JSON file, for ``exec --process``; `check` is still to come.

    Raises:
        ConfigError: it can't be read, or is no JSON object
    """
    try:
        with open(path, "rb") as file:
            process = load.parse(file.read(load.SIZE_MAX + 1)[: load.SIZE_MAX])
    except OSError as error:
        raise ConfigError(f"open {quoted(path)}: {words(error.errno or 0)}") from None
    except ConfigError as error:
        raise ConfigError(f"{quoted(path)}: {error}".replace(load.NAME, "it", 1)) from None
    if not isinstance(process, dict):
        raise ConfigError(f"{quoted(path)} holds no JSON object")
    return process


def of_bundle(
    bundle: str,
    args: "list[str]",
    *,
    terminal: bool = False,
    user: "tuple[int, int | None] | None" = None,
    additional_gids: "Iterable[int]" = (),
    cwd: "str | None" = None,
    env: "Iterable[str]" = (),
    capabilities: "Iterable[str]" = (),
    no_new_privileges: "bool | None" = None,
    apparmor: "str | None" = None,
    label: "str | None" = None,
) -> "Process":
    """Take the process of a bundle's config.json, with other words, and other than that as asked.

    Raises:
        ConfigError: config.json is not there, or not valid
    """
    config = load.parse(load.read(bundle))
    # What else there is in it was for the first process, and has been looked at then.
    process: Process = (isinstance(config, dict) and config.get("process")) or {}
    check(process)
    process["args"] = args
    process["terminal"] = terminal
    if not terminal:
        process.pop("consoleSize", None)
    if cwd:
        process["cwd"] = cwd
    who = process.setdefault("user", {})
    if user is not None:
        uid, gid = user
        who["uid"] = uid
        if gid is not None:
            who["gid"] = gid
    gids = list(additional_gids)
    if gids:
        who["additionalGids"] = [*(who.get("additionalGids") or ()), *gids]
    process["env"] = [*(process.get("env") or ()), *env]
    _add_capabilities(process, list(capabilities))
    for name, value in (
        ("noNewPrivileges", no_new_privileges),
        ("apparmorProfile", apparmor),
        ("selinuxLabel", label),
    ):
        if value is not None:
            process[name] = value
    return process


def _add_capabilities(process: "Process", names: "list[str]") -> None:
    """Add to what it may have, and has; to the ambient ones where any can be inherited at all."""
    if not names:
        return
    sets = process.setdefault("capabilities", {})
    kinds = ["bounding", "effective", "permitted"]
    if sets.get("inheritable"):
        kinds.append("ambient")
    for kind in kinds:
        present = sets.get(kind) or []
        sets[kind] = present + [name for name in names if name not in present]
