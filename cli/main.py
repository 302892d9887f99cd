"""Run one command: parse, call, word the errors.

What a command does not need, it does not import: the log when there is nothing to log, the help
when nobody asks. `state` has less than three milliseconds for all of it.
"""

import posix

from libcontainer_py.cli.parse import UsageError, Words
from libcontainer_py.errors import Error, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.cli.log import Log


def main(arguments: "list[str]") -> int:
    """Run the command; return its exit code."""
    words = None
    notes: list[str] = []
    try:
        words = Words(arguments)
        return _run(words)
    except UsageError as error:
        if error.code == 1:
            _help(error.command, "Incorrect Usage.\n\n", "\n")
        message, code = str(error), error.code
    except Error as error:
        message, code = str(error), 1
        notes = getattr(error, "__notes__", [])
    except OSError as error:
        # A file or a disk that no step stands for: still a line, and not a traceback.
        message, code = str(StepError.of(error)), 1
    except MemoryError:
        message, code = "out of memory", 1
    except KeyboardInterrupt:
        message, code = "interrupted", 1
    except Exception as error:
        # A mistake of ours. An engine's user gets a line, not a page; `--debug` shows the page.
        if words is not None and words.globals["debug"]:
            raise
        message, code = f"internal error: {type(error).__name__}: {error}", 1
    name = words.command.name if words is not None and words.command is not None else ""
    if name in ("create", "run") and code == 1:
        message = f"lcpy {name} failed: {message}"
    log = _log(words)
    for note in notes:
        log.warning(note)
    log.error(message)
    return code


def _run(words: Words) -> int:
    options = words.globals
    if options["log"] or options["log-format"] != "text":
        words.log = _open_log(options)
    if options["version"]:
        return _print(_version())
    if words.command is None or options["help"] or words.flags["help"]:
        return _help(words.command)
    words.check()
    if options["systemd-cgroup"]:
        raise Error("--systemd-cgroup is not built yet: leave it out to use cgroupfs directly")
    if options["rootless"] == "true":
        raise Error("--rootless=true is not built yet")
    from libcontainer_py.cli import commands

    return int(getattr(commands, words.command.name)(words))


def _log(words: "Words | None") -> "Log":
    """The log that was asked for; standard error where none was, or it can't be opened."""
    if words is not None and words.log is not None:
        return words.log
    from libcontainer_py.cli.log import Log

    return Log()


def _open_log(options: "dict[str, Any]") -> "Log":
    from libcontainer_py.cli.log import Log

    log = Log()
    log.configure(options)
    return log


def _help(command: "Any", before: str = "", after: str = "") -> int:
    from libcontainer_py.cli.help import help_text

    return _print(before + help_text(command) + after)


def _print(text: str) -> int:
    data = text.encode("utf-8", "backslashreplace")
    while data:
        data = data[posix.write(1, data) :]
    return 0


def _version() -> str:
    from libcontainer_py import __version__
    from libcontainer_py.cli.version import commit
    from libcontainer_py.spec import VERSION

    return f"lcpy version {__version__}\ncommit: {commit()}\nspec: {VERSION}\n"
