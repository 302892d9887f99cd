"""Is a parsed config.json valid?"""

from libcontainer_py.errors import ConfigError
from libcontainer_py.spec import host, rules, spelling
from libcontainer_py.spec.accept import accept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def validate(config: "Any") -> "list[str]":
    """Check a config: its schema, and the rules.

    Args:
        config: plain dicts, lists, strings, integers and booleans, as a JSON parser makes them

    Returns:
        warnings, one line each

    Raises:
        ConfigError: it is not valid
    """
    warnings = spelling.take(config) if isinstance(config, dict) else []
    if not accept(config):
        # It costs as much as ten starts of Python, so only those pay who have something to fix.
        try:
            from libcontainer_py.spec.reject import reject
        except ImportError as error:
            raise ConfigError(
                f"config.json does not fit its schema; to say where: {error}"
            ) from None
        reject(config)
    warnings += rules.check(config)
    host.network_sysctls(config)
    return warnings
