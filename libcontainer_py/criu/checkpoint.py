"""A container's processes are written down by criu, which ends them, or lets them go on."""

import fcntl
import posix

from libcontainer_py import state as states
from libcontainer_py.cgroups import manager
from libcontainer_py.criu import external, images, rpc, worker
from libcontainer_py.criu.cgroup2 import KeptOptions
from libcontainer_py.errors import ConfigError, During, Error, WrongState, shown, words
from libcontainer_py.state import PAUSED, RUNNING, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LOG = "dump.log"


class CheckpointOptions:
    """How a container is to be checkpointed; what each means, `Container.checkpoint` says."""

    __slots__ = (
        "image_path",
        "leave_running",
        "manage_cgroups_mode",
        "page_server",
        "parent_path",
        "pre_dump",
        "status_fd",
        "switches",
        "work_path",
    )

    def __init__(
        self,
        image_path: str,
        *,
        work_path: "str | None" = None,
        parent_path: "str | None" = None,
        leave_running: bool = False,
        pre_dump: bool = False,
        manage_cgroups_mode: "str | None" = None,
        page_server: "tuple[str, int] | None" = None,
        status_fd: "int | None" = None,
        **switches: bool,
    ) -> None:
        self.image_path = image_path
        self.work_path = work_path
        self.parent_path = parent_path
        self.leave_running = leave_running
        self.pre_dump = pre_dump
        self.manage_cgroups_mode = manage_cgroups_mode
        self.page_server = page_server
        self.status_fd = status_fd
        self.switches = switches  # criu's own, under its own names


def checkpoint(directory: StateDir, options: CheckpointOptions) -> None:
    """Write a container down.

    Raises:
        WrongState: it does not run
        Error: there is no criu, or it is too old; or this program has threads
        StepError: criu could not
    """
    worker.refuse_threads()
    directory.lock()
    try:
        record = directory.read()
        status = states.status(record)
        if status not in (RUNNING, PAUSED):
            raise WrongState(f"container cannot be checkpointed in {status} state")
        if posix.access(directory.file("notify"), posix.F_OK):
            raise Error("criu can't restore a container that tells $NOTIFY_SOCKET when it is ready")
        program = worker.find()
        worker.check_version(program)
        _check_status_fd(options.status_fd)
        with During("Checkpoint"):
            _checkpoint(record, options, program)
    finally:
        directory.unlock()


def _checkpoint(record: "dict[str, Any]", options: CheckpointOptions, program: str) -> None:
    if record.get("seccomp_agent"):
        raise ConfigError(external.NO_AGENTS, "linux.seccomp")
    config, _warnings = external.load(record["bundle"], record["rootfs"])
    cgroups = manager.load(record["cgroups"])
    asked: dict[str, Any] = {
        **images.common_options(options.manage_cgroups_mode),
        **options.switches,
        "pid": record["pid"],
        "root": record["rootfs"],
        "leave_running": options.leave_running,
        "external": external.namespaces_at_checkpoint(config),
        # criu stops the processes by it; without, by ptrace(2), one after the other.
        "freeze_cgroup": cgroups.paths.get("freezer") or cgroups.paths.get(""),
    }
    if options.page_server is not None:
        asked["ps"] = {"address": options.page_server[0], "port": options.page_server[1]}
    if not options.pre_dump:
        asked["ext_mnt"] = external.at_checkpoint(config, record["bundle"], record["pid"], cgroups)
    directories = images.Images(options.image_path, options.work_path, _LOG, make=True)
    try:
        if options.parent_path is not None:
            _check_parent(options.image_path, options.parent_path)
            asked |= {"parent_img": options.parent_path, "track_mem": True}
        if not options.pre_dump:
            directories.write_descriptors(_standard_streams(record["pid"]))

        def written() -> None:
            # Again: until criu had stopped them, processes could move what was named.
            external.bind_places(config, record["bundle"], record["pid"])

        with KeptOptions():
            _ask(program, asked | directories.options(), directories.paths, options, written)
    except worker.Failed as error:
        raise directories.failure(error) from None
    finally:
        directories.close()


def _ask(
    program: str,
    asked: "dict[str, Any]",
    directories: "list[str]",
    options: CheckpointOptions,
    written: "Callable[[], None]",
) -> None:
    """Let criu do it; `written` is called when it has, and all processes stand still yet."""

    def notified(script: str, _pid: int, _fd: int) -> None:
        if script == "status-ready" and options.status_fd is not None:
            posix.write(options.status_fd, b"\0")
            posix.close(options.status_fd)
        elif script == "post-dump":
            written()

    null = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
    try:
        criu = worker.Worker(program, (null, null, null), directories)
    finally:
        posix.close(null)
    try:
        kind = rpc.PRE_DUMP if options.pre_dump else rpc.DUMP
        criu.ask({"type": kind, "opts": asked}, notified)
    finally:
        # Never killed: in the middle of its work it would leave processes that stand still.
        code = criu.finish()
    # After a pre-dump it expects another one, and calls it a failure that none comes.
    if code and not options.pre_dump:
        raise worker.Failed({})


def _standard_streams(pid: int) -> "list[str]":
    """What the first three descriptors of a process are: ``pipe:[4711]``, or a path."""
    names = []
    for fd in range(3):
        try:
            names.append(posix.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            names.append("")
    return names


def _check_parent(image_path: str, parent_path: str) -> None:
    """Refuse a parent that criu would look for somewhere else.

    Raises:
        ConfigError: it is not relative, or no directory
    """
    if parent_path.startswith("/"):
        raise ConfigError("--parent-path must be relative")
    flags = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
    try:
        posix.close(posix.open(f"{image_path}/{parent_path}", flags))
    except OSError as error:
        what = f"invalid --parent-path: {shown(parent_path)}: {words(error.errno or 0)}"
        raise ConfigError(what) from None


def _check_status_fd(fd: "int | None") -> None:
    """Refuse a descriptor that nothing could be written to.

    Raises:
        ConfigError: it is such a one
    """
    if fd is None:
        return
    try:
        mode = fcntl.fcntl(fd, fcntl.F_GETFL) & posix.O_ACCMODE
    except OSError as error:
        raise ConfigError(f"invalid --status-fd argument {fd}: {words(error.errno or 0)}") from None
    if mode == posix.O_RDONLY:
        raise ConfigError(f"invalid --status-fd argument {fd}: not writable")
