"""What is valid in config.json, but not built yet: refused, never skipped in silence.

Delete a line when its feature works. Empty values (``[]``, ``{}``, ``""``, ``false``, ``0``) ask
for nothing, and pass: Docker writes a blockIO weight of 0 for every container.
"""

from libcontainer_py.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# [] after a name is each item of a list.
FIELDS = (
    "linux.netDevices",
    "linux.intelRdt",
)


def check(config: "dict[str, Any]") -> None:
    """Refuse a valid config that asks for something of the table.

    Raises:
        ConfigError: the first such field
    """
    for field in FIELDS:
        _refuse(config, field.split("."), "")


def _refuse(value: "Any", names: "list[str]", field: str) -> None:
    """Follow the names from a value on, and refuse what is at their end."""
    for place, name in enumerate(names):
        if name.endswith("[]"):
            for index, item in enumerate(value.get(name[:-2], ())):
                _refuse(item, names[place + 1 :], f"{field}{name[:-2]}[{index}].")
            return
        value = value.get(name)
        if not value:
            return
        field += f"{name}."
    raise ConfigError(f"{names[-1]} is not built yet", field[:-1])
