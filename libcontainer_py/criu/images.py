"""Where a checkpoint is: criu's directories, its log, and the options that both ways have alike."""

import posix

from libcontainer_py import jsontext
from libcontainer_py.criu import rpc
from libcontainer_py.criu.worker import Failed, Worker
from libcontainer_py.errors import ConfigError, StepError, quoted, shown
from libcontainer_py.linux.flags import CLONE_NEWNET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# runc's file, which says what the standard streams of the container's first process were.
DESCRIPTORS = "descriptors.json"
# What an operator has written for containers is meant for those of ours, too.
_CONFIG_FILE = "/etc/criu/runc.conf"

_LOG_LEVEL = 4  # all but what is of use to criu's authors alone
_LONGEST_LOG = 16 << 20


class Images:
    """The directories of one checkpoint, opened.

    Args:
        path: the one with the images
        work_path: the one for criu's log and other files; None: the same
        log: the log's name
        make: make them where they are missing

    Attributes:
        paths: both

    Raises:
        StepError: they can't be made or opened
    """

    __slots__ = ("_fds", "_log", "paths")

    def __init__(self, path: str, work_path: "str | None", log: str, *, make: bool) -> None:
        self.paths, self._log = [path, work_path or path], log
        self._fds: list[int] = []
        try:
            for each in self.paths:
                # criu's other files are wanted wherever a restore is told to put them.
                if make or each != path:
                    _make(each)
                flags = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC
                self._fds.append(posix.open(each, flags))
        except OSError as error:
            self.close()
            raise StepError(None, error.errno or 0, f"open {shown(each)}") from None

    def close(self) -> None:
        """Close them."""
        for fd in self._fds:
            posix.close(fd)
        self._fds = []

    def options(self) -> "dict[str, Any]":
        """What criu is told of them, as fields of `criu_opts`."""
        return {
            "images_dir_fd": Worker.IMAGES,
            "work_dir_fd": Worker.WORK,
            "log_file": self._log,
            "log_level": _LOG_LEVEL,
        }

    def write_descriptors(self, names: "list[str]") -> None:
        """Note what the standard streams are."""
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW | posix.O_CLOEXEC
        fd = posix.open(DESCRIPTORS, flags, 0o600, dir_fd=self._fds[0])
        try:
            posix.write(fd, jsontext.dumps(names).encode("utf-8", "surrogatepass"))
        finally:
            posix.close(fd)

    def read_descriptors(self) -> "list[str]":
        """What the standard streams were.

        Raises:
            StepError: nobody has noted it: it is no checkpoint of a container
        """
        path = f"{self.paths[0]}/{DESCRIPTORS}"
        try:
            names = jsontext.loads(self._read(DESCRIPTORS, self._fds[0]))
        except OSError as error:
            raise StepError(None, error.errno or 0, f"open {shown(path)}") from None
        except ValueError:
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise StepError(None, 0, f"{shown(path)} is no list of names")
        return names

    def failure(self, error: "Failed") -> StepError:
        """Word it, by what the log says."""
        what = f"criu failed: {shown(self._error() or error.message or 'it says no more')}"
        log = f"{self.paths[1]}/{self._log}"
        return StepError(None, error.errno, what, hint=f"its log is {shown(log)}")

    def _error(self) -> str:
        """The first error in criu's log: what follows tells what that hindered."""
        try:
            lines = self._read(self._log, self._fds[1]).splitlines()
        except OSError:
            return ""  # as it is where the operator's file names another
        errors = [line.partition("Error ")[2] for line in lines if "Error (" in line]
        return errors[0].strip() if errors else ""

    def _read(self, name: str, directory: int) -> str:
        fd = posix.open(name, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=directory)
        try:
            posix.lseek(fd, max(0, posix.fstat(fd).st_size - _LONGEST_LOG), 0)
            data = b""
            while part := posix.read(fd, 1 << 20):
                data += part
        finally:
            posix.close(fd)
        return data.decode("utf-8", "replace")


def _make(path: str) -> None:
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make(path.rstrip("/").rpartition("/")[0])
        posix.mkdir(path, 0o700)


def cgroups_mode(word: "str | None") -> int:
    """criu's number for --manage-cgroups-mode; None is its own choice, soft.

    Raises:
        ConfigError: there is no such word
    """
    mode = rpc.CGROUP_MODES.get(word or "")
    if mode is None:
        raise ConfigError(f"invalid manage-cgroups-mode value: {quoted(word or '')}")
    return mode


def common_options(cgroups: "str | None") -> "dict[str, Any]":
    """The fields of `criu_opts` that are the same for both ways.

    Args:
        cgroups: see `cgroups_mode`
    """
    return {
        "manage_cgroups": True,
        "manage_cgroups_mode": cgroups_mode(cgroups),
        "notify_scripts": True,
        "orphan_pts_master": True,
        # What is in a network namespace is its maker's to make again.
        "empty_ns": CLONE_NEWNET,
        "config_file": _CONFIG_FILE,  # without it criu goes on
    }
