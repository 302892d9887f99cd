"""The commands: each takes its words, makes one call of the library, returns the exit code."""

import posix

from libcontainer_py.errors import Error, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from libcontainer_py.cli.notify import Notify
    from libcontainer_py.cli.parse import Words
    from libcontainer_py.container import Container, Runtime


def _runtime(words: "Words") -> "Runtime":
    from libcontainer_py.container import Runtime

    options = words.globals
    return Runtime(
        options["root"],
        systemd_cgroup=options["systemd-cgroup"],
        systemd_properties=options["systemd-properties"],
        rootless=options["rootless"],
    )


def _container(words: "Words") -> "Container":
    from libcontainer_py.container import Container
    from libcontainer_py.state import StateDir

    # Not `Runtime.get`, which reads the record to see whether there is one: each command does.
    return Container(StateDir(_runtime(words).root, words.arguments[0]))


def _create_options(words: "Words", detach: bool) -> "dict[str, Any]":
    from libcontainer_py.cli.descriptors import listen_fds, refuse_ours

    flags = words.flags
    if flags["console-socket"] is not None and not detach:
        raise Error("cannot use console socket if lcpy will not detach or allocate tty")
    listen, preserve = listen_fds(), flags["preserve-fds"]
    refuse_ours(listen, preserve)
    return {
        "bundle": flags["bundle"] or ".",
        "pid_file": flags["pid-file"],
        "no_pivot": flags["no-pivot"],
        "no_new_keyring": flags["no-new-keyring"],
        "listen_fds": listen,
        "preserve_fds": preserve,
        "console_socket": flags["console-socket"],
        "pidfd_socket": flags["pidfd-socket"],
        "notify": bool(posix.environ.get(b"NOTIFY_SOCKET")),
        "detach": detach,
    }


def _create(words: "Words", detach: bool) -> "Container":
    container = _runtime(words).create(words.arguments[0], **_create_options(words, detach))
    _warn(words, container)
    return container


def _warn(words: "Words", container: "Container") -> None:
    if container.warnings:
        from libcontainer_py.cli.log import Log

        log = words.log or Log()
        for warning in container.warnings:
            log.warning(warning)
        container.warnings = []


def create(words: "Words") -> int:
    """`lcpy create`."""
    _create(words, detach=True)
    return 0


def _notify(words: "Words") -> "Callable[[Container], Notify | None] | None":
    """What is to be done before a start where a service manager wants to hear of it."""
    if not posix.environ.get(b"NOTIFY_SOCKET"):
        return None
    from libcontainer_py.cli import notify
    from libcontainer_py.cli.log import Log

    return lambda container: notify.open_(_runtime(words).root, container, words.log or Log())


def run(words: "Words") -> int:
    """`lcpy run`: its exit code is the program's, or 128 + the signal that ended it."""
    from libcontainer_py.cli import foreground
    from libcontainer_py.syncpipe.records import EXEC

    detach = words.flags["detach"]
    if not detach:
        foreground.prepare(subreaper=not words.flags["no-subreaper"])
    container = _create(words, detach)
    try:
        keep = words.flags["keep"]
        return foreground.run(container, detach=detach, keep=keep, notify=_notify(words))
    except StepError as error:
        if detach or error.step != EXEC:
            raise
        # Its program could not be run, and said so on its own standard error, which is ours.
        if words.log is not None:
            words.log.error(f"lcpy run failed: {error}", said=True)
        return 1


def exec(words: "Words") -> int:
    """`lcpy exec`: its exit code is the program's, or 128 + the signal that ended it."""
    from libcontainer_py.cli import exec as of_exec
    from libcontainer_py.cli import foreground

    options = of_exec.options(words)
    container = _container(words)
    detach = options["detach"]
    if not detach:
        foreground.prepare(subreaper=False)
    process = container.exec(**options)
    # What is odd about config.json, `create` has said.
    if words.log is not None or words.flags["cap"]:
        _warn(words, container)
    return 0 if detach else foreground.follow(process)


def start(words: "Words") -> int:
    """`lcpy start`."""
    container, notify = _container(words), _notify(words)
    if notify is None:
        container.start()
    else:
        from libcontainer_py.cli.notify import start

        start(container, notify)
    return 0


def state(words: "Words") -> int:
    """`lcpy state`."""
    from libcontainer_py import jsontext
    from libcontainer_py.cli.main import print_text

    return print_text(jsontext.dumps(_container(words).state(), indent=2))


def kill(words: "Words") -> int:
    """`lcpy kill`."""
    from libcontainer_py.cli.signals import number

    container = _container(words)
    container.kill(
        number(words.arguments[1] if len(words.arguments) > 1 else "SIGTERM"),
        all=words.flags["all"],
    )
    return 0


def delete(words: "Words") -> int:
    """`lcpy delete`."""
    container = _container(words)
    container.delete(force=words.flags["force"])
    _warn(words, container)
    return 0


def checkpoint(words: "Words") -> int:
    """`lcpy checkpoint`."""
    from libcontainer_py.cli import criu

    container = _container(words)
    container.checkpoint(**criu.checkpoint_options(words.flags))
    _warn(words, container)
    return 0


def restore(words: "Words") -> int:
    """`lcpy restore`: its exit code is the program's, or 128 + the signal that ended it."""
    from libcontainer_py.cli import criu, foreground

    options = criu.restore_options(words.flags)
    detach = options["detach"]
    if not detach:
        foreground.prepare(subreaper=not words.flags["no-subreaper"])
    container = _runtime(words).restore(words.arguments[0], **options)
    _warn(words, container)
    if detach:
        return 0
    assert container.process is not None
    try:
        return foreground.follow(container.process)
    finally:
        container.delete(force=True)


def pause(words: "Words") -> int:
    """`lcpy pause`."""
    _container(words).pause()
    return 0


def resume(words: "Words") -> int:
    """`lcpy resume`."""
    _container(words).resume()
    return 0


def ps(words: "Words") -> int:
    """`lcpy ps`."""
    from libcontainer_py.cli import ps
    from libcontainer_py.cli.main import print_text

    pids = _container(words).pids()
    form = words.flags["format"]
    if form == "json":
        return print_text(ps.json(pids))
    if form != "table":
        raise Error("invalid format option")
    return print_text(ps.table(pids, words.arguments[1:]))


def update(words: "Words") -> int:
    """`lcpy update`."""
    from libcontainer_py.cli import update

    container = _container(words)
    container.update(update.resources(words), intel_rdt=update.intel_rdt(words))
    _warn(words, container)
    return 0


def events(words: "Words") -> int:
    """`lcpy events`."""
    from libcontainer_py.cli import events

    return events.show(_container(words), events.seconds(words), once=words.flags["stats"])


def spec(words: "Words") -> int:
    """`lcpy spec`."""
    import json

    from libcontainer_py.spec.default import default

    bundle = words.flags["bundle"]
    path = f"{bundle}/config.json" if bundle else "config.json"
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(default(rootless=words.flags["rootless"]), file, indent="\t")
    except FileExistsError:
        raise Error(f"File {path} exists. Remove it first") from None
    return 0


def list(words: "Words") -> int:
    """`lcpy list`."""
    from libcontainer_py.cli import listing
    from libcontainer_py.cli.log import Log
    from libcontainer_py.cli.main import print_text

    formats = {"table": listing.table, "json": listing.json}
    form = listing.ids if words.flags["quiet"] else formats.get(words.flags["format"])
    if form is None:
        raise Error("invalid format option")
    runtime = _runtime(words)
    if words.globals["root"] is not None:
        listing.check_root(runtime.root)
    found, complaints = listing.states(runtime)
    for complaint in complaints:
        (words.log or Log()).warning(complaint)
    return print_text(form(found))


def features(_words: "Words") -> int:
    """`lcpy features`."""
    from libcontainer_py import jsontext
    from libcontainer_py.cli.main import print_text
    from libcontainer_py.features import features

    return print_text(jsontext.dumps(features(), indent=4) + "\n")
