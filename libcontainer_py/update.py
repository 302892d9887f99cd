"""New limits for a container that runs: what may be asked, and how it is done."""

from libcontainer_py.errors import ConfigError, quoted
from libcontainer_py.spec import VERSION, rules, spelling
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
        ConfigError: it is not valid
    """
    warnings = _hold_to_schema({"resources": resources})
    rules.resources(_as_if_whole(resources), warnings)
    if resources.get("devices"):
        warnings.append("linux.resources.devices: the rules for devices stay as they are")
    return _without_ignored(resources), warnings


def change(record: "dict[str, Any]", resources: "Resources", schemata: "dict[str, str]") -> None:
    """Set new limits, and new schemata of the class that the container is in; or neither.

    Args:
        record: the container's
        resources: as `check` returns them
        schemata: of ``linux.intelRdt``

    Raises:
        ConfigError: one is not valid, or impossible here
        StepError: the kernel refused one
    """
    from libcontainer_py.cgroups import manager

    cgroups = manager.load(record["cgroups"])
    if not schemata:
        cgroups.update(resources)
        return
    from libcontainer_py.intelrdt import groups, resctrl

    _check_intel_rdt(schemata)
    rdt = record.get("intel_rdt")
    if not rdt:
        groups.refuse_missing(schemata, resctrl.mountpoint())
        raise ConfigError("updating a non-existent Intel RDT configuration is not supported")
    with groups.Changed(rdt, schemata):
        cgroups.update(resources)


def _check_intel_rdt(schemata: "dict[str, Any]") -> None:
    """Hold new schemata to the schema and the rules of ``linux.intelRdt``.

    Raises:
        ConfigError: one is not valid, or something else is among them
    """
    for name in schemata:
        if name not in ("l3CacheSchema", "memBwSchema"):
            raise ConfigError(f"{quoted(name)} can't be changed", "linux.intelRdt")
    _hold_to_schema({"intelRdt": schemata})
    rules.intel_rdt(schemata)


def _hold_to_schema(linux: "dict[str, Any]") -> "list[str]":
    """Hold a part of `linux` to the schema; returns warnings about its spelling."""
    config = {"ociVersion": VERSION, "linux": linux}
    warnings = spelling.take(config)
    if not accept(config):
        try:
            from libcontainer_py.spec.reject import reject
        except ImportError as error:
            raise ConfigError(
                f"linux.{next(iter(linux))} does not fit its schema; to say where: {error}"
            ) from None
        reject(config)
    return warnings


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
