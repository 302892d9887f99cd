"""Limits of huge pages (config-linux.md, «Huge page limits»).

The kernel counts twice: what is in use, and what is reserved (Linux 5.7, ``rsvd``). The
specification wants reservations limited where that can be done; as in runc, both are.
"""

import posix

from libcontainer_py.cgroups.files import write
from libcontainer_py.errors import ConfigError, StepError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FIELD = "linux.resources.hugepageLimits"
V1, V2 = "limit_in_bytes", "max"

_ENOENT = 2


def set_limits(directory: str, limits: "list[dict[str, Any]]", file: str) -> None:
    """Set the limit of each size of page; `file` is how the kernel's name of it ends: `V1`, `V2`.

    Raises:
        ConfigError: what should be a size is none
        StepError: the kernel refused, or has no pages of this size
    """
    for index, entry in enumerate(limits):
        field = f"{FIELD}[{index}]"
        size = entry["pageSize"]
        if not size.isalnum():
            raise ConfigError(f"{quoted(size)} is not the size of a page", field + ".pageSize")
        _set_limit(f"{directory}/hugetlb.{size}.{file}", entry["limit"], field)
        reserved = f"{directory}/hugetlb.{size}.rsvd.{file}"
        if posix.access(reserved, posix.F_OK):
            write(reserved, entry["limit"], field + ".limit")


def _set_limit(path: str, limit: int, field: str) -> None:
    try:
        write(path, limit, field + ".limit")
    except StepError as error:
        if error.errno == _ENOENT:
            error.field = field + ".pageSize"
            error.hint = "this kernel has no huge pages of that size"
        raise


def page_sizes() -> "list[str]":
    """List the sizes of huge pages that this kernel has, in its cgroups' words: ``2MB``."""
    try:
        names = posix.listdir("/sys/kernel/mm/hugepages")
    except OSError:
        return []
    sizes = sorted(
        int(name[len("hugepages-") : -len("kB")])
        for name in names
        if name.startswith("hugepages-") and name.endswith("kB")
    )
    return [_in_words(size) for size in sizes]


def _in_words(kilobytes: int) -> str:
    if kilobytes >= 1 << 20:
        return f"{kilobytes >> 20}GB"
    if kilobytes >= 1 << 10:
        return f"{kilobytes >> 10}MB"
    return f"{kilobytes}KB"
