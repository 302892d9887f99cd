"""State on disk: one directory a container, below the root directory of the state.

    state.json   what is known of it: written to a temporary name and renamed, so never half a file
    cgroups.json its cgroups (and its groups of Intel RDT) alone, written before the child: what
                 `delete --force` goes by where state.json is damaged
    notify       what is mounted at /run/notify in it, where it is to say when it is ready
    filter       its seccomp filter, where it has one: for a second process
    go, status   the two FIFOs between `start` and the finish list
    lock         flock(2) on it is held by every command that changes something

Any command may be killed at any instant. The record is there before the child, and what a process
id means is proved by its start time, never believed.

`state`, `kill` and `start` come by here in their few milliseconds: so it is `posix` that is
imported, which is built in; `os` would cost one of them.
"""

import fcntl
import posix
import time

from libcontainer_py import jsontext
from libcontainer_py.errors import (
    ConfigError,
    Error,
    Exists,
    NotFound,
    StepError,
    WrongState,
    shown,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"

# In the order in which they go: what is left of a `remove` that was killed must not claim cgroups.
_FILES = ("cgroups.json", "go", "status", ".state.json", "state.json", "filter", "lock")

# More than the annotations and hooks of the largest config.json.
_LIMIT = 64 << 20
# What a record must hold: one of another version, or a damaged one, may not.
_TYPES = {
    "annotations": dict,
    "bundle": str,
    "cgroups": dict,
    "created": str,
    "hooks": dict,
    "id": str,
    "labels": dict,
    "list": list,
    "mount_namespace": bool,
    "namespaces": int,
    "no_new_keyring": bool,
    "ociVersion": str,
    "pid": int,
    "pid_namespace": bool,
    "rootfs": str,
    "seccomp": bool,
    "start": int,
    "start_steps": list,
    "started": bool,
}
_TYPES_OR_NONE = {"oom_score_adj": int, "personality": str}
# What records have not had from the beginning.
_TYPES_IF_THERE = {"intel_rdt": dict, "memory_policy": dict, "seccomp_agent": dict}
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
_MAX_ID = 255  # NAME_MAX: it is a directory's name


def default_root() -> str:
    """Where the state lies unless `--root` says otherwise.

    Who is root in a user namespace alone is some user outside (rootless Podman makes itself root
    before it runs us): then it is where that user's is.
    """
    directory = posix.environ.get(b"XDG_RUNTIME_DIR")
    if posix.geteuid() == 0 and not (directory and _is_users_root()):
        return "/run/lcpy"
    if not directory:
        raise Error("XDG_RUNTIME_DIR is not set: say with --root where the state shall lie")
    return directory.decode("utf-8", "surrogateescape") + "/lcpy"


def _is_users_root() -> bool:
    """Tell whether we are root in a user namespace, and not by a login there ($USER), as runc."""
    if posix.environ.get(b"USER") == b"root":
        return False
    from libcontainer_py.cgroups.hierarchies import in_initial_user_namespace

    return not in_initial_user_namespace()


def check_id(container_id: str) -> str:
    """Refuse an id that can't be a directory's name of its own; return it.

    Raises:
        ConfigError: empty, `.`, `..`, longer than 255 bytes, or other than ``[A-Za-z0-9_+.-]``
    """
    if not container_id:
        raise ConfigError("container id cannot be empty")
    if (
        container_id in (".", "..")
        or len(container_id) > _MAX_ID
        or not _ID_CHARACTERS.issuperset(container_id)
    ):
        shown = container_id if len(container_id) < 80 else container_id[:77] + "..."
        raise ConfigError(f"invalid container ID format: {ascii(shown)[1:-1]}")
    return container_id


class StateDir:
    """The directory of one container."""

    __slots__ = ("container_id", "lock_fd", "path", "root")

    def __init__(self, root: str, container_id: str) -> None:
        self.container_id = check_id(container_id)
        self.root = root
        self.path = f"{root}/{container_id}"
        self.lock_fd = -1

    def file(self, name: str) -> str:
        """The path of a file in it."""
        return f"{self.path}/{name}"

    def make(self) -> None:
        """Make it, and hold its lock.

        Raises:
            Exists: there is one already
            OSError: it can't be made
        """
        try:
            try:
                posix.mkdir(self.path, 0o711)
            except FileNotFoundError:
                _make_directories(self.root)
                posix.mkdir(self.path, 0o711)
        except FileExistsError:
            raise Exists(f"container with given ID already exists: {self.container_id}") from None
        try:
            self._lock(posix.O_CREAT, fcntl.LOCK_EX)
        except OSError:
            posix.rmdir(self.path)
            raise

    def lock(self) -> None:
        """Wait for the lock and hold it until `unlock`, or until this process ends.

        Raises:
            NotFound: there is no such container, or it was deleted while we waited
        """
        self._lock(0, fcntl.LOCK_EX)

    def lock_within(self, seconds: float) -> bool:
        """The same, but tell whether that was possible in so many seconds."""
        end = time.monotonic() + seconds
        while True:
            try:
                self._lock(0, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    return False
                time.sleep(0.005)
            else:
                return True

    def _refuse_foreign(self) -> None:
        """What lies there says whom to kill and what to run: believed only if none but us wrote it.

        Raises:
            NotFound: there is no such container
            Error: the directory belongs to somebody else, or others may write to it
        """
        try:
            status = posix.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            raise self.not_found() from None
        if status.st_uid != posix.geteuid() or status.st_mode & 0o022:
            raise Error(f"{shown(self.path)} is not ours alone: nothing is done by what is in it")

    def _lock(self, create: int, how: int) -> None:
        self._refuse_foreign()
        name = self.file("lock")
        flags = posix.O_RDWR | posix.O_CLOEXEC
        try:
            fd = posix.open(name, flags | create, 0o600)
        except (FileNotFoundError, NotADirectoryError):
            # Made only where a container is: in another directory we have no business.
            if not posix.access(self.file("state.json"), posix.F_OK):
                raise self.not_found() from None
            fd = posix.open(name, flags | posix.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, how)
        except BaseException:
            posix.close(fd)
            raise
        try:
            same = posix.stat(name).st_ino == posix.fstat(fd).st_ino
        except FileNotFoundError:
            same = False
        if not same:
            posix.close(fd)
            raise self.not_found()
        self.lock_fd = fd

    def locked(self) -> bool:
        """Is some command holding the lock now?"""
        try:
            fd = posix.open(self.file("lock"), posix.O_RDONLY | posix.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            posix.close(fd)
        return False

    def unlock(self) -> None:
        """Let go of the lock."""
        if self.lock_fd >= 0:
            posix.close(self.lock_fd)
            self.lock_fd = -1

    def busy(self) -> Error:
        """The error to raise where the lock is not to be had."""
        return Error(f"container {self.container_id}: another command is still at work on it")

    def not_found(self) -> NotFound:
        """The error to raise for a container that is not there."""
        return NotFound(f"container does not exist: {self.container_id}")

    def write(self, state: "dict[str, Any]") -> None:
        """Write state.json: all of it, or nothing.

        Raises:
            StepError: `SaveState`, with the file
        """
        self._replace("state.json", state)

    def _replace(self, name: str, state: "dict[str, Any]") -> None:
        temporary = self.file(".state.json")
        _write(temporary, state)
        posix.rename(temporary, self.file(name))

    def read(self, *, to_show: bool = False) -> "dict[str, Any]":
        """Read state.json.

        Args:
            to_show: nothing is done by what it says, so that it may be somebody else's

        Raises:
            NotFound: there is none
            Error: it is damaged, or somebody else's
        """
        try:
            fd = posix.open(self.file("state.json"), posix.O_RDONLY | posix.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise self.not_found() from None
        try:
            if not to_show:
                self._refuse_foreign()
            state = _read(fd)
        finally:
            posix.close(fd)
        if not _is_record(state, self.container_id):
            raise Error(
                f"{self.file('state.json')} is damaged; `delete --force {self.container_id}`"
                " removes what is left"
            )
        record: dict[str, Any] = state
        return record

    def write_cgroups(self, record: "dict[str, Any]") -> None:
        """Write cgroups.json: what the record has of its cgroups, which hold nothing but the
        container, and beside that of Intel RDT, where there is any.
        """
        if record["intel_rdt"] is None:
            _write(self.file("cgroups.json"), record["cgroups"])  # once: there is none to replace
            return
        self._replace("cgroups.json", record["cgroups"] | {"intel_rdt": record["intel_rdt"]})

    def read_cgroups(self) -> "dict[str, Any] | None":
        """Read cgroups.json; None where there is none, or a damaged one."""
        try:
            fd = posix.open(self.file("cgroups.json"), posix.O_RDONLY | posix.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            state = _read(fd)
        finally:
            posix.close(fd)
        return state if isinstance(state, dict) else None

    def has_cgroups(self) -> bool:
        """Is there a cgroups.json? Then what the record names is the container's."""
        return posix.access(self.file("cgroups.json"), posix.F_OK)

    def forget_cgroups(self) -> None:
        """Remove cgroups.json, as soon as the cgroups are: their names are free to be taken now."""
        try:
            posix.unlink(self.file("cgroups.json"))
        except FileNotFoundError:
            return

    def write_filter(self, data: bytes) -> None:
        """Keep the container's seccomp filter.

        Raises:
            StepError: `SaveState`, with the file
        """
        _write_bytes(self.file("filter"), data)

    def read_filter(self) -> "bytes | None":
        """Get the container's seccomp filter; None where it has none."""
        try:
            fd = posix.open(self.file("filter"), posix.O_RDONLY | posix.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return _read_bytes(fd)
        finally:
            posix.close(fd)

    def make_notify(self) -> None:
        """Make the directory for the socket of sd_notify(3)."""
        posix.mkdir(self.file("notify"))
        posix.chmod(self.file("notify"), 0o755)  # whoever the container's user is

    def remove(self) -> None:
        """Remove it with all that is in it. What is gone already is fine."""
        for name in _FILES:
            try:
                posix.unlink(self.file(name))
            except FileNotFoundError:
                continue
        try:
            posix.rmdir(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != 39:  # ENOTEMPTY
                raise
            # Only this can be left. A container may have made its mount of it writable.
            from libcontainer_py.emptying import remove_directory

            remove_directory(self.path, "notify")
            posix.rmdir(self.path)

    def remove_empty(self) -> bool:
        """Remove what a `create` that was killed at its first step leaves; tell if it was that."""
        try:
            posix.rmdir(self.path)
        except OSError:
            return False
        return True


def _write(path: str, state: "dict[str, Any]") -> None:
    _write_bytes(path, jsontext.dumps(state).encode("utf-8", "surrogatepass"))


def _write_bytes(path: str, data: bytes) -> None:
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC
    try:
        fd = posix.open(path, flags, 0o600)
        try:
            while data:
                data = data[posix.write(fd, data) :]
        finally:
            posix.close(fd)
    except OSError as error:
        raise StepError("SaveState", error.errno or 0, f"write {shown(path)}") from None


def _read(fd: int) -> "Any":
    """Read a file of JSON; None where it is none."""
    try:
        return jsontext.loads(_read_bytes(fd).decode("utf-8", "surrogatepass"))
    except ValueError:
        return None


def _read_bytes(fd: int) -> bytes:
    data = b""
    while len(data) <= _LIMIT:
        part = posix.read(fd, 1 << 20)
        if not part:
            break
        data += part
    return data


def _make_directories(path: str) -> None:
    """Make a directory, and those above it that are missing; only we may look into them."""
    parent = path.rpartition("/")[0]
    if parent:
        try:
            posix.stat(parent)
        except FileNotFoundError:
            _make_directories(parent)
    try:
        # Sticky: else who cleans $XDG_RUNTIME_DIR may take what nobody has touched for hours.
        posix.mkdir(path, 0o1700)
    except FileExistsError:
        return  # another command was faster


def _is_record(state: "Any", container_id: str) -> bool:
    return (
        isinstance(state, dict)
        # The very types: a bool is an int for isinstance.
        and all(type(state.get(name)) is kind for name, kind in _TYPES.items())
        and all(
            name in state and (state[name] is None or type(state[name]) is kind)
            for name, kind in _TYPES_OR_NONE.items()
        )
        and all(
            state.get(name) is None or type(state[name]) is kind
            for name, kind in _TYPES_IF_THERE.items()
        )
        and state["id"] == container_id
        and _says_where(state["cgroups"])
        and (state.get("intel_rdt") is None or is_rdt(state["intel_rdt"]))
        and (state.get("seccomp_agent") is None or _is_agent(state["seccomp_agent"]))
    )


def _says_where(cgroups: "dict[str, Any]") -> bool:
    """Has it what `frozen` needs? What else a driver needs, that driver knows."""
    paths = cgroups.get("paths", {})
    return (
        isinstance(cgroups.get("driver"), str)
        and isinstance(paths, dict)
        and all(isinstance(path, str) for path in paths.values())
    )


def is_rdt(rdt: "Any") -> bool:
    """Is it what `intelrdt.groups.plan` gives?"""
    return (
        isinstance(rdt, dict)
        and isinstance(rdt.get("mountpoint"), str)
        and isinstance(rdt.get("path"), str)
        and "monitor" in rdt
        and isinstance(rdt["monitor"], str | None)
        and isinstance(rdt.get("remove"), list)
        and all(isinstance(path, str) for path in rdt["remove"])
    )


def _is_agent(agent: "dict[str, Any]") -> bool:
    return isinstance(agent.get("path"), str) and isinstance(agent.get("metadata"), str)


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when there is none, or a zombie.

    Field 22 of /proc/PID/stat (proc(5)).
    """
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in (b"Z", b"X") else 0


def letter(pid: int) -> str:
    """The state of a process as proc(5) has it (field 3 of /proc/PID/stat): ``R``, ``S``, ``T``, …

    Gone already, it is ``X``.
    """
    fields = _stat(pid)
    return fields[0].decode() if fields else "X"


def _stat(pid: int) -> "list[bytes]":
    """Read /proc/PID/stat from field 3 on; nothing where there is no such process.

    Counted after the last `)`: the process chooses its name.
    """
    try:
        fd = posix.open(f"/proc/{pid}/stat", posix.O_RDONLY | posix.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return []
    try:
        data = posix.read(fd, 4096)
    except ProcessLookupError:
        return []
    finally:
        posix.close(fd)
    return data[data.rindex(b")") + 2 :].split()


def pidfd(record: "dict[str, Any]") -> int:
    """A pidfd of a container's first process: proved to be it, not a later one with its number.

    Raises:
        WrongState: it has ended, or there is none yet
    """
    if not record["pid"]:
        raise WrongState("container not running")
    try:
        fd = posix.pidfd_open(record["pid"])
    except ProcessLookupError:
        raise WrongState("container not running") from None
    if start_time(record["pid"]) != record["start"]:
        posix.close(fd)
        raise WrongState("container not running")
    return fd


def inner_pid(pid: int) -> int:
    """The pid of a process in its own pid namespace: the last of `NSpid` (proc(5))."""
    return int(status_field(str(pid), "NSpid").split()[-1])


def status_field(pid: str, name: str) -> bytes:
    """What /proc/PID/status says of a process, or of ``"self"``, under a name (proc(5)).

    All of it is read: what is behind `Groups` can come after 65,536 numbers.
    """
    fd = posix.open(f"/proc/{pid}/status", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        data = _read_bytes(fd)
    finally:
        posix.close(fd)
    _before, _name, rest = data.partition(f"\n{name}:\t".encode())
    return rest.partition(b"\n")[0]


def status(state: "dict[str, Any]") -> str:
    """What a container is doing now, in the spec's words (runtime.md, «State»)."""
    pid = state["pid"]
    if not pid or start_time(pid) != state["start"]:
        return STOPPED
    if not state["started"]:
        try:
            # While it waits for `start`, what runs is the finish list, known by its file.
            executable = posix.stat(f"/proc/{pid}/exe")
        except (FileNotFoundError, ProcessLookupError):
            return STOPPED
        if [executable.st_dev, executable.st_ino] == state["list"]:
            return PAUSED if frozen(state) else CREATED
    return PAUSED if frozen(state) else RUNNING


def frozen(state: "dict[str, Any]") -> bool:
    """Is a container frozen, itself or with a cgroup above its own?"""
    paths = state["cgroups"].get("paths") or {}
    if "freezer" in paths:
        file, thawed = paths["freezer"] + "/freezer.state", b"THAWED\n"
    elif "" in paths and state["cgroups"]["driver"] in ("v2", "systemd"):
        file, thawed = paths[""] + "/cgroup.events", b"frozen 0\n"
    else:
        return False
    try:
        fd = posix.open(file, posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return thawed not in posix.read(fd, 64)
    except OSError:  # ENODEV: removed meanwhile
        return False
    finally:
        posix.close(fd)


def now() -> str:
    """The time as the state shows it: RFC 3339 in UTC, with nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    day = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{day}.{nanoseconds:09d}Z"
