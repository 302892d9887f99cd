"""The few functions of libseccomp that a profile is compiled with.

Imported only where a filter has to be compiled, because of ctypes: it costs more than looking up
a kept filter does. See seccomp_rule_add(3) and the other pages of libseccomp.
"""

import ctypes
import posix
import struct

from libcontainer_py.errors import ConfigError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Comparison = tuple[int, int, int, int]

SONAME = "libseccomp.so.2"

_SCMP_FLTATR_CTL_OPTIMIZE = 8
_BINARY_TREE = 2

_CONTEXT = ctypes.c_void_p
_U32 = ctypes.c_uint32
_SIGNATURES = {
    "seccomp_api_get": (ctypes.c_uint, ()),
    "seccomp_arch_native": (_U32, ()),
    "seccomp_syscall_resolve_name_arch": (ctypes.c_int, (_U32, ctypes.c_char_p)),
    "seccomp_init": (_CONTEXT, (_U32,)),
    "seccomp_release": (None, (_CONTEXT,)),
    "seccomp_arch_add": (ctypes.c_int, (_CONTEXT, _U32)),
    "seccomp_attr_set": (ctypes.c_int, (_CONTEXT, ctypes.c_int, _U32)),
    "seccomp_rule_add_array": (
        ctypes.c_int,
        (_CONTEXT, _U32, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p),
    ),
    "seccomp_export_bpf": (ctypes.c_int, (_CONTEXT, ctypes.c_int)),
}


class _DlInfo(ctypes.Structure):
    """Dl_info of dladdr(3)."""

    _fields_ = (
        ("dli_fname", ctypes.c_char_p),
        ("dli_fbase", ctypes.c_void_p),
        ("dli_sname", ctypes.c_char_p),
        ("dli_saddr", ctypes.c_void_p),
    )


class Library:
    """libseccomp, loaded.

    Raises:
        ConfigError: it isn't installed, or too old
    """

    __slots__ = ("_functions",)

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL(SONAME)
        except OSError:
            raise ConfigError(
                f"{SONAME} is not there, and a profile can't be compiled without it: install"
                " libseccomp2, or leave the profile out",
                "linux.seccomp",
            ) from None
        self._functions: dict[str, Any] = {}
        for name, (result, arguments) in _SIGNATURES.items():
            try:
                function = library[name]
            except AttributeError:
                raise ConfigError(
                    f"{SONAME} is too old, it has no {name}: 2.4 or later is needed",
                    "linux.seccomp",
                ) from None
            function.restype, function.argtypes = result, arguments
            self._functions[name] = function

    def call(self, name: str, *args: "Any") -> "Any":
        """Call one of its functions.

        Raises:
            OSError: it returned a negative errno
        """
        result = self._functions[name](*args)
        if isinstance(result, int) and result < 0:
            raise OSError(-result, words(-result))
        return result

    def path(self) -> bytes:
        """Where the file lies that it was loaded from."""
        info = _DlInfo()
        if not ctypes.CDLL(None).dladdr(self._functions["seccomp_init"], ctypes.byref(info)):
            raise OSError(2, words(2), SONAME)
        path: bytes = info.dli_fname
        return path

    def api_level(self) -> int:
        """What libseccomp and this kernel have together, see seccomp_api_get(3)."""
        level: int = self.call("seccomp_api_get")
        return level

    def native(self) -> int:
        """The SCMP_ARCH_* of this machine."""
        arch: int = self.call("seccomp_arch_native")
        return arch

    def resolve(self, name: str, arch: int) -> "int | None":
        """The number of a call on an architecture, or None where libseccomp doesn't know the name.

        It is negative for a call that this architecture does not have, but another one has: rules
        are written with such numbers too.
        """
        number: int = self._functions["seccomp_syscall_resolve_name_arch"](arch, name.encode())
        return None if number == -1 else number


class Context:
    """A filter that is being put together: scmp_filter_ctx, of the machine's own architecture.

    All methods raise OSError with what libseccomp returned. To be closed.
    """

    __slots__ = ("_context", "_library")

    def __init__(self, library: Library, default_action: int) -> None:
        self._library = library
        self._context = library.call("seccomp_init", default_action)
        if not self._context:
            raise OSError(22, words(22))

    def close(self) -> None:
        """Free it."""
        self._library.call("seccomp_release", self._context)

    def add_arch(self, arch: int) -> None:
        """Let rules hold for a further architecture; one that is there already is no error."""
        try:
            self._library.call("seccomp_arch_add", self._context, arch)
        except FileExistsError:
            pass

    def optimize(self) -> None:
        """Find a rule by a binary tree of the numbers, instead of by one comparison after another.

        libseccomp before 2.5 can't, which costs time but changes no answer.
        """
        try:
            self._library.call(
                "seccomp_attr_set", self._context, _SCMP_FLTATR_CTL_OPTIMIZE, _BINARY_TREE
            )
        except OSError:
            pass

    def add_rule(self, action: int, number: int, comparisons: "list[Comparison]") -> None:
        """Add a rule for a call, for when all the comparisons hold: (index, operator, a, b)."""
        # struct scmp_arg_cmp, each
        array = b"".join(struct.pack("IiQQ", *comparison) for comparison in comparisons)
        self._library.call(
            "seccomp_rule_add_array", self._context, action, number, len(comparisons), array
        )

    def export(self) -> bytes:
        """Compile it: an array of struct sock_filter."""
        fd = posix.memfd_create("seccomp", posix.MFD_CLOEXEC)
        try:
            self._library.call("seccomp_export_bpf", self._context, fd)
            size = posix.fstat(fd).st_size
            return posix.pread(fd, size, 0)
        finally:
            posix.close(fd)
