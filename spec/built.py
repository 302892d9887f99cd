"""What is valid in config.json, but not built yet: refused, never skipped in silence.

Delete a line when its feature works. Empty values (``[]``, ``{}``, ``""``, ``false``, ``0``) ask
for nothing, and pass: Docker writes a blockIO weight of 0 for every container.
"""

from libcontainer_py.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FIELDS = ("linux.intelRdt",)


def check(config: "dict[str, Any]") -> None:
    """Refuse a valid config that asks for something of the table.

    Raises:
        ConfigError: the first such field
    """
    for field in FIELDS:
        value: Any = config
        for name in field.split("."):
            value = value.get(name)
            if not value:
                break
        else:
            raise ConfigError(f"{name} is not built yet", field)
