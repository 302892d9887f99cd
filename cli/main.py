"""Run one command: parse, call, word the errors. The commands' own modules are imported late."""

import os

from libcontainer_py.cli.log import Log
from libcontainer_py.cli.parse import UsageError, Words
from libcontainer_py.errors import Error, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SPEC_VERSION = "1.3.0"


def main(arguments: "list[str]") -> int:
    """Run the command; return its exit code."""
    log = Log()
    name = ""
    try:
        words = Words(arguments)
        log.configure(words.globals)
        if words.globals["version"]:
            return _print(_version())
        if words.command is None or words.globals["help"] or words.flags["help"]:
            from libcontainer_py.cli.help import help_text

            return _print(help_text(words.command))
        words.check()
        name = words.command.name
        _refuse_unbuilt(words.globals)
        from libcontainer_py.cli import commands

        command = getattr(commands, name)
        return int(command(log, words))
    except UsageError as error:
        if error.code == 1:
            from libcontainer_py.cli.help import help_text

            _print(f"Incorrect Usage.\n\n{help_text(error.command)}\n")
        log.error(str(error))
        return error.code
    except Error as error:
        log.error(_failed(name) + str(error))
    except OSError as error:
        # A file or a disk that no step stands for: still a line, and not a traceback.
        log.error(_failed(name) + str(StepError.of(error, name or "lcpy")))
    except MemoryError:
        log.error(_failed(name) + "out of memory")
    except KeyboardInterrupt:
        log.error(_failed(name) + "interrupted")
    return 1


def _failed(name: str) -> str:
    return f"lcpy {name} failed: " if name in ("create", "run") else ""


def _print(text: str) -> int:
    data = text.encode("utf-8", "backslashreplace")
    while data:
        data = data[os.write(1, data) :]
    return 0


def _version() -> str:
    from libcontainer_py import __version__
    from libcontainer_py.cli.version import commit

    return f"lcpy version {__version__}\ncommit: {commit()}\nspec: {SPEC_VERSION}\n"


def _refuse_unbuilt(options: "dict[str, Any]") -> None:
    if options["systemd-cgroup"]:
        raise Error("--systemd-cgroup is not built yet: leave it out to use cgroupfs directly")
    if options["rootless"] == "true":
        raise Error("--rootless=true is not built yet")
