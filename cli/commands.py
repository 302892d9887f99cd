"""The commands: each takes its words, makes one call of the library, and returns the exit code."""

import os

from libcontainer_py.errors import ConfigError, Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.cli.log import Log
    from libcontainer_py.cli.parse import Words
    from libcontainer_py.container import Container, Runtime


def _runtime(words: "Words") -> "Runtime":
    from libcontainer_py.container import Runtime

    return Runtime(words.globals["root"])


def _container(words: "Words") -> "Container":
    return _runtime(words).get(words.arguments[0])


def _create_options(words: "Words") -> "dict[str, Any]":
    flags = words.flags
    if flags["console-socket"]:
        raise ConfigError("terminals are not built yet", "--console-socket")
    return {
        "bundle": flags["bundle"] or ".",
        "pid_file": flags["pid-file"],
        "no_pivot": flags["no-pivot"],
        "no_new_keyring": flags["no-new-keyring"],
        "preserve_fds": flags["preserve-fds"],
    }


def create(log: "Log", words: "Words") -> int:
    """`lcpy create`."""
    container = _runtime(words).create(words.arguments[0], **_create_options(words))
    for warning in container.warnings:
        log.warning(warning)
    return 0


def run(log: "Log", words: "Words") -> int:
    """`lcpy run`: its exit code is the program's, or 128 + the signal that ended it."""
    from libcontainer_py.cli import foreground

    container = _runtime(words).create(words.arguments[0], **_create_options(words))
    for warning in container.warnings:
        log.warning(warning)
    return foreground.run(
        container,
        detach=words.flags["detach"],
        keep=words.flags["keep"],
        subreaper=not words.flags["no-subreaper"],
    )


def start(log: "Log", words: "Words") -> int:
    """`lcpy start`."""
    _container(words).start()
    return 0


def state(log: "Log", words: "Words") -> int:
    """`lcpy state`."""
    from libcontainer_py import jsontext

    text = jsontext.dumps(_container(words).state(), indent=2)
    os.write(1, text.encode("utf-8", "surrogatepass"))
    return 0


def kill(log: "Log", words: "Words") -> int:
    """`lcpy kill`."""
    from libcontainer_py.cli.signals import number

    container = _container(words)
    container.kill(
        number(words.arguments[1] if len(words.arguments) > 1 else "SIGTERM"),
        all=words.flags["all"],
    )
    return 0


def delete(log: "Log", words: "Words") -> int:
    """`lcpy delete`."""
    from libcontainer_py.container import Container
    from libcontainer_py.state import StateDir

    root = _runtime(words).root
    Container(StateDir(root, words.arguments[0])).delete(force=words.flags["force"])
    return 0


def spec(log: "Log", words: "Words") -> int:
    """`lcpy spec`."""
    import json

    from libcontainer_py.spec.default import default

    if words.flags["rootless"]:
        raise Error("spec --rootless is not built yet")
    path = os.path.join(words.flags["bundle"] or ".", "config.json")
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(default(), file, indent="\t")
    except FileExistsError:
        raise Error(f"File {path} exists. Remove it first") from None
    return 0
