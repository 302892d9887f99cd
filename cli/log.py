"""The log: one line a message, as engines read it from runc (text or JSON)."""

import posix
import time

from libcontainer_py import jsontext
from libcontainer_py.errors import Error, shown, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Log:
    """Where messages go: a file named by `--log`, or standard error."""

    __slots__ = ("_debug", "_fd", "_json")

    def __init__(self) -> None:
        self._fd = 2
        self._json = False
        self._debug = False

    def configure(self, options: "dict[str, Any]") -> None:
        """Take `--log`, `--log-format` and `--debug`.

        Raises:
            Error: an unknown format, or a file that can't be written
        """
        if options["log-format"] not in ("text", "json"):
            raise Error(f"invalid log-format: {options['log-format']}")
        self._json = options["log-format"] == "json"
        self._debug = options["debug"]
        if options["log"]:
            flags = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC
            try:
                self._fd = posix.open(options["log"], flags, 0o644)
            except OSError as error:
                why = words(error.errno or 0)
                raise Error(f"--log: open {shown(options['log'])}: {why}") from None

    def error(self, message: str, *, said: bool = False) -> None:
        """Log an error; where the log is a file, say it on standard error too.

        `said`: standard error has it already, from somebody else.
        """
        if self._fd != 2 or not said:
            self._line("error", message)
        if self._fd != 2 and not said:
            _write(2, message + "\n")

    def warning(self, message: str) -> None:
        """Log a warning."""
        self._line("warning", message)

    def debug(self, message: str) -> None:
        """Log what only `--debug` asks for."""
        if self._debug:
            self._line("debug", message)

    def _line(self, level: str, message: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._json:
            line = jsontext.dumps({"level": level, "msg": message, "time": now})
        else:
            line = f'time="{now}" level={level} msg={jsontext.dumps(message)}'
        _write(self._fd, line + "\n")


def _write(fd: int, text: str) -> None:
    try:
        posix.write(fd, text.encode("utf-8", "backslashreplace"))
    except OSError:
        return  # a closed standard error, a full disk: there is nobody left to tell
