"""Run one command: parse, call, word the errors.

What a command does not need, it does not import: the log when there is nothing to log, the help
when nobody asks. `state` has less than three milliseconds for all of it.
"""

import _signal
import posix

from libcontainer_py.cli.parse import UsageError, Words, boolean
from libcontainer_py.errors import Error, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.cli.log import Log


def main(arguments: "list[str]") -> int:
    """Run the command; return its exit code."""
    words = None
    notes: list[str] = []
    raised: BaseException | None = None
    _open_missing_streams()
    # Where a careless caller left it ignored, the kernel would reap hooks and containers unseen.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
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
        raised = error
    except OSError as error:
        raised = error
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
    elif name == "exec" and code == 1:
        # Every other code may be the program's own.
        message, code = f"exec failed: {message}", 255
    log = _log(words)
    for note in notes:
        log.warning(note)
    if raised is not None:
        log.debug(f"raised by {_places(raised)}")
    log.error(message)
    return code


def _open_missing_streams() -> None:
    """Give the null device to a caller that closed 0, 1 or 2.

    Else a file of ours would get that number, and be written to, or passed on, as a stream.
    """
    for fd in (0, 1, 2):
        try:
            posix.fstat(fd)
        except OSError:
            posix.set_inheritable(posix.open("/dev/null", posix.O_RDWR), True)


def _run(words: Words) -> int:
    options = words.globals
    if options["log"] or options["debug"] or options["log-format"] != "text":
        words.log = _open_log(options)
    if options["version"]:
        return print_text(_version())
    if words.command is None or options["help"] or words.flags["help"]:
        return _help(words.command)
    words.check()
    rootless = options["rootless"]
    automatic = rootless.lower() in ("auto", "")
    options["rootless"] = None if automatic else boolean("rootless", rootless, None)
    if words.log is not None:
        words.log.debug(_begins(words))
    from libcontainer_py.cli import commands

    code = int(getattr(commands, words.command.name)(words))
    if words.log is not None:
        words.log.debug(f"{words.command.name} is done: exit code {code}")
    return code


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


def _begins(words: Words) -> str:
    """What `--debug` says first: what was asked, of which lcpy, on which kernel."""
    from libcontainer_py import __version__

    assert words.command is not None
    asked = [f"{key}={value!r}" for key, value in words.flags.items() if value not in (None, False)]
    kernel = posix.uname()
    return (
        f"lcpy {__version__} (pid {posix.getpid()}) on Linux {kernel.release} {kernel.machine}:"
        f" {' '.join([words.command.name, *words.arguments, *asked])}"
    )


def _places(error: BaseException) -> str:
    """Where in our code an error came from, the innermost place first: for `--debug`."""
    places: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        module = trace.tb_frame.f_globals.get("__name__", "?").removeprefix("libcontainer_py.")
        places.insert(0, f"{module}.{code.co_name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return ", ".join(places)


def _help(command: "Any", before: str = "", after: str = "") -> int:
    from libcontainer_py.cli.help import help_text

    return print_text(before + help_text(command) + after)


def print_text(text: str) -> int:
    """Print all of a text; return 0, the exit code."""
    data = text.encode("utf-8", "backslashreplace")
    while data:
        data = data[posix.write(1, data) :]
    return 0


def _version() -> str:
    from libcontainer_py import __version__
    from libcontainer_py.cli.version import commit
    from libcontainer_py.spec import VERSION

    return f"lcpy version {__version__}\ncommit: {commit()}\nspec: {VERSION}\n"
