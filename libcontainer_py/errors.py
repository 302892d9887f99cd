"""What can go wrong, as types. The leaf that every room may import.

    Error
    ├── ConfigError (ValueError)   config.json, or an argument, says something that can't be done
    ├── NotFound                   there is no container of that id
    ├── Exists                     there is one already
    ├── WrongState                 it is there, but not in a state that allows this
    └── StepError (OSError)        the kernel refused a step; .step, .field, .errno, .hint

``str()`` of each is one line, fit for an operator: what was being done, the field of config.json
that asked for it, the error in words, and what to do where we know it.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# libc's strerror() reads the locale's catalogue from a path, so a process inside a container's
# root must not call it: the child sends numbers, and the words for the frequent ones are here
# (the spelling that Go programs print, because engines match on it).
WORDS: "Mapping[int, str]" = {
    1: "operation not permitted",
    2: "no such file or directory",
    3: "no such process",
    5: "input/output error",
    7: "argument list too long",
    8: "exec format error",
    9: "bad file descriptor",
    10: "no child processes",
    11: "resource temporarily unavailable",
    12: "cannot allocate memory",
    13: "permission denied",
    16: "device or resource busy",
    17: "file exists",
    18: "invalid cross-device link",
    19: "no such device",
    20: "not a directory",
    21: "is a directory",
    22: "invalid argument",
    24: "too many open files",
    26: "text file busy",
    27: "file too large",
    28: "no space left on device",
    30: "read-only file system",
    32: "broken pipe",
    34: "numerical result out of range",
    36: "file name too long",
    38: "function not implemented",
    39: "directory not empty",
    40: "too many levels of symbolic links",
    61: "no data available",
    75: "value too large for defined data type",
    90: "message too long",
    95: "operation not supported",
    110: "connection timed out",
    111: "connection refused",
    122: "disk quota exceeded",
}


# The same for signals: how they name who was ended by one.
SIGNALS: "Mapping[int, str]" = {
    1: "hangup",
    2: "interrupt",
    3: "quit",
    4: "illegal instruction",
    6: "aborted",
    7: "bus error",
    8: "floating point exception",
    9: "killed",
    11: "segmentation fault",
    13: "broken pipe",
    14: "alarm clock",
    15: "terminated",
    31: "bad system call",
}


def ended(code: int) -> str:
    """Say how a process ended: its exit code, or the negative of the signal that ended it."""
    if code >= 0:
        return f"exit status {code}"
    return f"signal: {SIGNALS.get(-code) or f'signal {-code}'}"


def words(errno: int) -> str:
    """Say an errno in words, without asking the C library (see `WORDS`)."""
    return WORDS.get(errno) or f"errno {errno}"


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quoted(text: str) -> str:
    """Put foreign text in quotes and on one line, so that it can't forge a message of ours."""
    out = []
    for char in text[:512]:
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif char.isprintable():
            out.append(char)
        else:
            # By hand: Python's own codec for it is a module, which a sealed child can't import.
            code = ord(char)
            out.append(f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
    return '"' + "".join(out) + ('"…' if len(text) > 512 else '"')


def shown(text: str) -> str:
    """Foreign text as it is, where callers match on that; in quotes if it is not plain."""
    return text if text.isprintable() else quoted(text)


class Error(Exception):
    """The root of everything that this library raises on purpose."""


class ConfigError(Error, ValueError):
    """config.json (or an argument) asks for something invalid, or that can't be had.

    `field` is where, as a path into config.json: ``linux.seccomp.syscalls[3].names[0]``
    (None where the file as a whole, or an argument, is meant).
    """

    def __init__(self, message: str, field: "str | None" = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class NotFound(Error):
    """There is no container of that id below the root directory of the state."""


class Exists(Error):
    """A container of that id exists already."""


class WrongState(Error):
    """The container is not in a state that allows the operation."""


class StepError(Error, OSError):
    """The kernel refused one step of a container's life.

    Attributes:
        step: libcontainer's name of the step (``"InitializeMountNamespace"``), or None when the
            code that raised it left that to its caller
        field: the field of config.json that asked for it, or None
        errno: the kernel's errno (0 where there was none)
        what: what was tried, in a few words (``'mount "proc" on "/proc"'``)
        hint: what to do about it, or None
    """

    def __init__(
        self,
        step: "str | None",
        errno: int,
        what: str = "",
        *,
        field: "str | None" = None,
        hint: "str | None" = None,
    ) -> None:
        super().__init__(errno, what)
        self.errno: int = errno
        self.step = step
        self.field = field
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        parts = [part for part in (self.step, self.field, self.what) if part]
        if self.errno:
            parts.append(words(self.errno))
        text = ": ".join(parts)
        return f"{text} ({self.hint})" if self.hint else text

    @classmethod
    def of(
        cls, error: OSError, step: "str | None" = None, field: "str | None" = None
    ) -> "StepError":
        """Dress a plain OSError, or add what a StepError does not know yet (the inner one wins)."""
        if isinstance(error, cls):
            error.step = error.step or step
            error.field = error.field or field
            return error
        what = error.filename or ""
        if isinstance(what, bytes):
            what = what.decode("utf-8", "backslashreplace")
        return cls(step, error.errno or 0, shown(str(what)), field=field)


class During:
    """``with During("clone", "linux.namespaces"):`` names the step, and the field where nothing
    inside knows a closer one, of an OSError.
    """

    __slots__ = ("_field", "_step")

    def __init__(self, step: str, field: "str | None" = None) -> None:
        self._step, self._field = step, field

    def __enter__(self) -> None: ...

    def __exit__(self, _type: object, error: "BaseException | None", _trace: object) -> None:
        if isinstance(error, OSError):
            raise StepError.of(error, self._step, self._field) from None
