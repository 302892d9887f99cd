"""New limits for a container that runs: what may be asked."""

from libcontainer_py.errors import ConfigError
from libcontainer_py.spec import VERSION, built, rules, spelling
from libcontainer_py.spec.accept import accept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Resources = dict[str, Any]


def check(resources: "Resources") -> "tuple[Resources, list[str]]":
    """Hold new limits to the schema and the rules of ``linux.resources``.

    Returns:
        what is to be set, and warnings, one line each

    Raises:
        ConfigError: it is not valid, or asks for what is not built yet
    """
    config = {"ociVersion": VERSION, "linux": {"resources": resources}}
    warnings = spelling.take(config)
    if not accept(config):
        try:
            from libcontainer_py.spec.reject import reject
        except ImportError as error:
            raise ConfigError(
                f"linux.resources does not fit its schema; to say where: {error}"
            ) from None
        reject(config)
    built.check(config)
    rules.resources(_as_if_whole(resources), warnings)
    if resources.get("devices"):
        warnings.append("linux.resources.devices: the rules for devices stay as they are")
    return _without_ignored(resources), warnings


def _as_if_whole(resources: "Resources") -> "Resources":
    """Leave out what the rules can't judge by an update alone."""
    memory = resources.get("memory", {})
    if "limit" in memory or "swap" not in memory:
        return resources
    # There is a limit on memory already, or the kernel will say that there is none.
    return resources | {"memory": _without(memory, "swap")}


def _without_ignored(resources: "Resources") -> "Resources":
    resources = _without(resources, "devices")
    if "memory" in resources:
        resources["memory"] = _without(resources["memory"], "kernel", "kernelTCP")
    return resources


def _without(values: "dict[str, Any]", *names: str) -> "dict[str, Any]":
    return {name: value for name, value in values.items() if name not in names}
