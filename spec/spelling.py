"""Members of config.json in other capitals than the specification's: ``Limit`` for ``limit``.

Go's decoder, and with it runc, takes them for the same, and so do we: a limit, or a filter, must
not be lost by a capital.
"""

from libcontainer_py.spec.accept import MAPS, NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST = 20  # warnings


def take(config: "dict[str, Any]") -> "list[str]":
    """Rename such members, in place, before anybody reads them; return a warning for each."""
    if _is_known(config):
        return []
    spellings = {name.lower(): name for name in NAMES}
    found: list[str] = []
    _take(config, "", spellings, found)
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


def _take(value: "Any", field: str, spellings: "dict[str, str]", found: "list[str]") -> None:
    if isinstance(value, list):
        for index, part in enumerate(value):
            _take(part, f"{field}[{index}]", spellings, found)
    elif isinstance(value, dict):
        members = list(value.items())
        value.clear()  # and filled again in its order: of two the last counts, as in Go
        for name, part in members:
            place = f"{field}.{name}" if field else name
            right = name if name in NAMES else spellings.get(name.lower())
            value[right or name] = part
            if right is None:
                continue
            if right != name:
                found.append(f'{place}: taken for "{right}", as the specification spells it')
            if right not in MAPS:
                _take(part, place, spellings, found)
