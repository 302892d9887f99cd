"""Members of config.json in other capitals than the specification's: ``Limit`` for ``limit``.

Go's decoder, and with it runc, takes them for the same. Here they are passed over as every unknown
member is; but a limit, or a filter, must not be lost without a word.
"""

from libcontainer_py.spec.accept import MAPS, NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST = 20  # warnings


def check(config: "dict[str, Any]") -> "list[str]":
    """Look through a config that fits the schema; return a warning for each such member."""
    if _is_known(config):
        return []
    spellings = {name.lower(): name for name in NAMES}
    found: list[str] = []
    _look(config, "", spellings, found)
    if len(found) > MOST:
        found[MOST:] = [f"and {len(found) - MOST} more members that are spelled otherwise"]
    return found


def _is_known(config: "dict[str, Any]") -> bool:
    """Is every member one of the specification's? Then there is nothing to look for."""
    waiting: list[Any] = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += [part for part in value if isinstance(part, dict)]
        elif NAMES.issuperset(value):
            waiting += [
                part
                for name, part in value.items()
                if isinstance(part, (dict, list)) and name not in MAPS
            ]
        else:
            return False
    return True


def _look(value: "Any", field: str, spellings: "dict[str, str]", found: "list[str]") -> None:
    if isinstance(value, list):
        for index, part in enumerate(value):
            _look(part, f"{field}[{index}]", spellings, found)
    elif isinstance(value, dict):
        for name, part in value.items():
            place = f"{field}.{name}" if field else name
            if name in NAMES:
                if name not in MAPS:
                    _look(part, place, spellings, found)
            elif name.lower() in spellings:
                right = spellings[name.lower()]
                found.append(f'{place}: passed over, for the specification spells it "{right}"')
