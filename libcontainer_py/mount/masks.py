"""Read-only and masked paths. All of it runs inside the container's root."""

import errno
import posix
import stat

from libcontainer_py.errors import StepError, quoted
from libcontainer_py.linux.flags import MS_PRIVATE, MS_RDONLY
from libcontainer_py.mount.filesystems import new_filesystem
from libcontainer_py.mount.options import Options
from libcontainer_py.mount.paths import open_in_root, open_root
from libcontainer_py.mount.trees import attach, clone_tree, set_propagation, set_readonly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NULL = posix.makedev(1, 3)


def readonly_root() -> None:
    """Make the container's root read-only (`root.readonly`)."""
    try:
        root = open_root()
        try:
            set_readonly(root)
        finally:
            posix.close(root)
    except OSError as error:
        raise StepError(
            None, error.errno or 0, "make the root read-only", field="root.readonly"
        ) from None


def readonly_paths(paths: "list[str]") -> None:
    """Make each of `linux.readonlyPaths` read-only."""
    _each(readonly_path, paths, "linux.readonlyPaths", "make read-only")


def mask_paths(paths: "list[str]", label: str = "") -> None:
    """Mask each of `linux.maskedPaths`, once; `label` is `linux.mountLabel`."""
    covers = Covers(label)
    try:
        _each(covers.mask_path, paths, "linux.maskedPaths", "mask")
    finally:
        covers.close()


def readonly_path(path: str) -> None:
    """Cover a path with a read-only bind of itself; one that is missing is no error."""
    target = _open(path)
    if target is None:
        return
    try:
        tree = clone_tree(target, "", recursive=True)
        try:
            set_readonly(tree)
            attach(tree, target)
        finally:
            posix.close(tree)
    finally:
        posix.close(target)


class Covers:
    """What paths are masked with: one empty read-only tmpfs, and the null device.

    Attributes:
        label: the tmpfs's, by SELinux
    """

    __slots__ = ("_empty", "_null", "label")

    def __init__(self, label: str = "") -> None:
        self.label = label
        self._empty = self._null = -1

    def mask_path(self, path: str) -> None:
        """Cover a directory with the tmpfs, anything else with the device.

        One that is missing is no error; one that can't be masked is.
        """
        target = _open(path)
        if target is None:
            return
        try:
            if stat.S_ISDIR(posix.fstat(target).st_mode):
                self._mask_directory(target)
            else:
                if self._null < 0:
                    self._null = _null_device()
                _attach_copy(self._null, target)
        finally:
            posix.close(target)

    def _mask_directory(self, target: int) -> None:
        if self._empty >= 0:
            _attach_copy(self._empty, target)
            return
        # The first one is the tmpfs itself: what is not attached yet, older kernels do not copy.
        self._empty = _empty_directory(target, self.label)
        attach(self._empty, target)
        # Else, below a root that is shared, it and its copies would be peers: what is mounted over
        # one would be mounted over all.
        set_propagation(self._empty, [MS_PRIVATE])

    def close(self) -> None:
        """Close what is open; what is masked stays so."""
        for fd in (self._empty, self._null):
            if fd >= 0:
                posix.close(fd)


def _attach_copy(source: int, target: int) -> None:
    tree = clone_tree(source, "")
    try:
        attach(tree, target)
    finally:
        posix.close(tree)


def _each(step: "Callable[[str], None]", paths: "list[str]", field: str, what: str) -> None:
    done = set()
    for index, path in enumerate(paths):
        # The same path by another spelling: a second layer would hide nothing more. What ".." leads
        # to, though, a symbolic link before it decides.
        names = tuple(name for name in path.split("/") if name not in ("", "."))
        if names in done:
            continue
        done.add(names)
        try:
            step(path)
        except OSError as error:
            hint = error.hint if isinstance(error, StepError) else None
            raise StepError(
                None,
                error.errno or 0,
                f"{what} {quoted(path)}",
                field=f"{field}[{index}]",
                hint=hint,
            ) from None


def _open(path: str) -> "int | None":
    root = open_root()
    try:
        return open_in_root(root, path)
    except FileNotFoundError:
        return None
    finally:
        posix.close(root)


def _empty_directory(target: int, label: str) -> int:
    options = Options()
    options.flags = MS_RDONLY
    options.data = [(0, "nr_blocks=1"), (0, "nr_inodes=1")]
    options.label = label
    return new_filesystem("tmpfs", "tmpfs", options, "linux.maskedPaths", target)


def _null_device() -> int:
    """Open the container's own /dev/null, after proof by descriptor that it is one.

    The image, or a neighbour, may have put something else there, to have it mounted over what was
    to be hidden (CVE-2025-31133). The host's own node would be no better source: a container could
    change its mode and owner through every path that it masks.
    """
    root = open_root()
    try:
        null = open_in_root(root, "/dev/null", posix.O_NOFOLLOW)
    finally:
        posix.close(root)
    status = posix.fstat(null)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _NULL:
        posix.close(null)
        raise StepError(
            None,
            errno.ENODEV,
            hint="the container's /dev/null is not the null device",
        )
    return null
