"""seccomp: from a profile, `linux.seccomp` of config.json, to the filter that the kernel takes.

libseccomp needs tens of milliseconds for the profile that engines give to every container, longer
than everything else together. So a filter that was compiled once is kept; finding it again
imports neither ctypes nor what compiles.
"""

import _struct as struct
import posix

from libcontainer_py.linux.flags import SECCOMP_FILTER_FLAG_NEW_LISTENER
from libcontainer_py.security import seccomp_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# To be counted up when another filter would be made of the same profile, or kept differently.
_FORMAT = 1

_FLAGS = struct.Struct("=I")
# flags; of the libseccomp that compiled it: size, time in ns, and the length of the path that
# follows, before the instructions
_HEADER = struct.Struct("=IqqH")


class Filter:
    """A filter, ready to be loaded.

    Attributes:
        instructions: an array of struct sock_filter
        flags: SECCOMP_FILTER_FLAG_* for seccomp(2)
    """

    __slots__ = ("flags", "instructions")

    def __init__(self, instructions: bytes, flags: int) -> None:
        self.instructions, self.flags = instructions, flags

    def notifies(self) -> bool:
        """Is there to be an agent who answers for the kernel? Then loading it gives a listener."""
        return bool(self.flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)

    def pack(self) -> bytes:
        """Give what `unpack` makes the same filter of."""
        return _FLAGS.pack(self.flags) + self.instructions


def unpack(data: bytes) -> Filter:
    """Get a filter back from `Filter.pack`."""
    return Filter(data[_FLAGS.size :], _FLAGS.unpack_from(data)[0])


def compile_filter(profile: "dict[str, Any]", cache_dir: "str | None") -> Filter:
    """Compile a profile, or find the filter that was compiled of it before.

    Args:
        profile: a valid `linux.seccomp`
        cache_dir: where filters are kept; it is made (its parent must be there) with mode 0700,
            and left alone where it is not ours alone. None keeps nothing.

    Raises:
        ConfigError: it can't be compiled, or libseccomp is missing; with the field
    """
    if cache_dir is None:
        return _compile(profile)[0]
    key = _key(profile)
    kept = _unpack(seccomp_cache.read(cache_dir, key))
    if kept is None:
        kept, library = _compile(profile)
        seccomp_cache.write(cache_dir, key, _pack(kept, library))
    return kept


def _compile(profile: "dict[str, Any]") -> "tuple[Filter, bytes]":
    from libcontainer_py.security.seccomp_profile import compile_profile

    instructions, flags, library = compile_profile(profile)
    return Filter(instructions, flags), library


def _key(profile: "dict[str, Any]") -> bytes:
    # repr() is as unambiguous as JSON for what comes from JSON, and many times as fast. The kernel
    # matters because libseccomp asks it what it can do.
    # Who is asked is nothing to the filter.
    rules = {name: value for name, value in profile.items() if not name.startswith("listener")}
    made_from = (_FORMAT, posix.uname().release, rules)
    return seccomp_cache.digest(repr(made_from).encode("utf-8", "surrogatepass"))


def _pack(filter_: Filter, library: bytes) -> bytes:
    header = _HEADER.pack(filter_.flags, *_stamp(library), len(library))
    return header + library + filter_.instructions


def _unpack(data: "bytes | None") -> "Filter | None":
    """The filter, if the libseccomp that compiled it is still the one that is installed."""
    if data is None or len(data) < _HEADER.size:
        return None
    flags, size, time, length = _HEADER.unpack_from(data)
    path_end = _HEADER.size + length
    if size < 0 or (size, time) != _stamp(data[_HEADER.size : path_end]):
        return None
    instructions = data[path_end:]
    if not instructions or len(instructions) % 8:
        return None
    return Filter(instructions, flags)


def _stamp(path: bytes) -> "tuple[int, int]":
    """The size and time of a file, (-1, -1) if it isn't there."""
    try:
        status = posix.stat(path)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
