"""The one rule that needs a look at the host: is a namespace at a path the host's own?"""

import posix

from libcontainer_py.errors import ConfigError, quoted, words
from libcontainer_py.spec.namespaces import path_of
from libcontainer_py.spec.rules import dotted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OWN = "/proc/self/ns/net"  # the runtime's: what a container gets that asks for none


def network_sysctls(config: "dict[str, Any]") -> None:
    """Hold ``net.*`` sysctls back from the host's network, also where it is joined by its path.

    Raises:
        ConfigError: it is the host's, or there is nothing at the path
    """
    linux = config.get("linux", {})
    keys = [key for key in linux.get("sysctl", ()) if dotted(key).startswith("net.")]
    path = path_of(linux, "network")
    if not keys or not path:
        return
    try:
        there = posix.stat(path)
    except OSError as error:
        place = [namespace["type"] for namespace in linux["namespaces"]].index("network")
        raise ConfigError(
            f"{quoted(path)}: {words(error.errno or 0)}", f"linux.namespaces[{place}].path"
        ) from None
    own = posix.stat(_OWN)
    if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino):
        raise ConfigError(
            "is not allowed in the host's network namespace", f"linux.sysctl[{quoted(keys[0])}]"
        )
