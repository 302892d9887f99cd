"""`mounts` of config.json, one after the other, onto the container's root."""

import errno
import posix
import stat

from libcontainer_py.errors import ConfigError, StepError, quoted
from libcontainer_py.linux.flags import (
    MS_BIND,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    PROC_SUPER_MAGIC,
)
from libcontainer_py.linux.pathnames import clean
from libcontainer_py.linux.syscalls import fstatfs
from libcontainer_py.mount.cgroupfs import mount_cgroup
from libcontainer_py.mount.copyup import copy_up
from libcontainer_py.mount.filesystems import label_root, new_filesystem, remount
from libcontainer_py.mount.options import Options, idmap_field, is_idmapped, parse_options
from libcontainer_py.mount.paths import (
    create_file_in_root,
    mkdir_all_in_root,
    open_in_root,
    path_in_root,
)
from libcontainer_py.mount.trees import (
    attach,
    clone_source,
    set_bind_flags,
    set_new_flags,
    set_propagation,
    set_readonly,
    set_recursive,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from libcontainer_py.cgroups.interface import CgroupMount

    class Sources(Protocol):
        """Detached mounts by their place in `mounts`: a dict, or who makes each on demand."""

        def __contains__(self, index: int) -> bool: ...
        def __getitem__(self, index: int) -> int: ...


# What lxcfs and friends put over a container's /proc. Anything else there could hide procfs from
# us, or from the container, and hand out something that only looks like it (CVE-2019-16884,
# CVE-2019-19921).
_ALLOWED_BELOW_PROC = (
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
)


def without_root(mounts: "list[dict[str, Any]]", rootfs: str) -> "list[dict[str, Any]]":
    """The mounts, with each destination as the container sees it.

    Some callers write it as the host does, ``ROOTFS/data`` for ``/data``, and runc takes it so. By
    its words alone: where it leads to is not decided here.

    Args:
        rootfs: from `resolve_rootfs`
    """
    inside = []
    for mount in mounts:
        destination = clean(mount["destination"])
        if destination == rootfs or destination.startswith(f"{rootfs}/"):
            inside.append(mount | {"destination": destination[len(rootfs) :] or "/"})
        else:
            inside.append(mount)
    return inside


def setup_mounts(
    root_fd: int,
    mounts: "list[dict[str, Any]]",
    cgroup_mounts: "list[CgroupMount]",
    cgroup_namespace: bool,
    sources: "Sources | None" = None,
    label: str = "",
) -> "list[int]":
    """Make each mount of config.json, in its order.

    A relative `source` of a bind mount is meant from the working directory, which is the bundle.

    `sources` is looked at for each mount when its turn has come, so it may be a mapping that asks
    somebody else for the descriptor only then: a source may lie inside an earlier mount.

    Args:
        root_fd: from `prepare_rootfs`
        mounts: `mounts` of config.json
        cgroup_mounts: for mounts of type "cgroup": `Cgroups.mounts()`
        cgroup_namespace: the container has a cgroup namespace of its own
        sources: descriptors of detached mounts that others have opened (`sources.open_source`) or
            made (a proc of another pid namespace), by the mount's place in the list; each is closed
        label: `linux.mountLabel`

    Returns descriptors of those mounts that `finalize_mounts` is to make read-only when all else
    is done: what is mounted or made inside them needs them writable until then.

    Raises:
        ConfigError, StepError: with the mount, or the part of it that was at fault, as the field
    """
    read_only_later: list[int] = []
    for index, mount in enumerate(mounts):
        field = f"mounts[{index}]"
        destination = mount["destination"]
        options = parse_options(mount.get("options") or [])
        options.label = label
        delay = _is_read_only_later(mount, options)
        if delay:
            options.flags &= ~MS_RDONLY
        try:
            given = sources[index] if sources and index in sources else None
            tree = _setup_mount(
                root_fd, mount, options, field, cgroup_mounts, cgroup_namespace, given
            )
        except StepError:
            raise
        except OSError as error:
            raise StepError(
                None, error.errno or 0, f"mount on {quoted(destination)}", field=field
            ) from None
        if delay:
            read_only_later.append(tree)
        else:
            posix.close(tree)
    return read_only_later


def finalize_mounts(read_only_later: "list[int]") -> None:
    """Make the mounts read-only that `setup_mounts` left writable, and close their descriptors."""
    for tree in read_only_later:
        try:
            set_readonly(tree)
        except OSError as error:
            raise StepError(
                None, error.errno or 0, "make a mount read-only", field="mounts"
            ) from None
        posix.close(tree)


def dev_is_bound(mounts: "list[dict[str, Any]]") -> bool:
    """Does config.json bring its own /dev, by a bind mount? Then it is not ours to fill."""
    return any(
        clean(mount["destination"]) == "/dev"
        and parse_options(mount.get("options") or []).flags & MS_BIND
        for mount in mounts
    )


def _is_read_only_later(mount: "dict[str, Any]", options: Options) -> bool:
    if not options.flags & MS_RDONLY or options.flags & (MS_BIND | MS_REMOUNT):
        return False
    return mount.get("type") == "tmpfs" or clean(mount["destination"]) == "/dev"


def _setup_mount(
    root_fd: int,
    mount: "dict[str, Any]",
    options: Options,
    field: str,
    cgroup_mounts: "list[CgroupMount]",
    cgroup_namespace: bool,
    given: "int | None",
) -> int:
    """Make one mount, of a tree that was given or a new one; returns its descriptor."""
    if is_idmapped(mount):
        _check_idmapped(mount, options, field, given is not None)
    destination = mount["destination"]
    fstype = mount.get("type") or ""
    source = mount.get("source") or ""
    if options.flags & MS_REMOUNT:
        tree = _remount(root_fd, destination, options, field)
    elif options.flags & MS_BIND:
        if given is None:
            given = clone_source(source, field, recursive=bool(options.flags & MS_REC))
        tree = _bind(root_fd, given, destination, options, field)
    else:
        if fstype == "tmpfs":
            _inherit_mode(root_fd, destination, options)
        target = _open_directory(root_fd, fstype, destination, field)
        try:
            if given is not None:
                tree = _adopt(target, given, options, field)
            elif fstype == "cgroup":
                tree = mount_cgroup(target, cgroup_mounts, options, field, cgroup_namespace)
            else:
                tree = _mount_filesystem(target, fstype, source, options, field)
        finally:
            posix.close(target)
    set_propagation(tree, options.propagation)
    return tree


def _check_idmapped(mount: "dict[str, Any]", options: Options, field: str, is_given: bool) -> None:
    """Owners are mapped before anybody can see the mount, and by nobody inside."""
    if options.flags & MS_REMOUNT:
        what = "a mount that is there already can't be idmapped"
    elif not is_given:
        what = "an idmapped mount has to be opened by a process outside"
    else:
        return
    raise ConfigError(what, idmap_field(mount, field))


def _bind(root_fd: int, tree: int, destination: str, options: Options, field: str) -> int:
    # What is for a filesystem, `options.data`, has been warned of: there is nobody to read it.
    set_bind_flags(tree, options, field)
    set_recursive(tree, options, field)
    is_directory = stat.S_ISDIR(posix.fstat(tree).st_mode)
    try:
        if is_directory:
            target = mkdir_all_in_root(root_fd, destination)
        else:
            target = create_file_in_root(root_fd, destination)
    except OSError as error:
        raise _destination_error(error, destination, field) from None
    try:
        _check_destination(root_fd, target, field, fstatfs(tree)[0] == PROC_SUPER_MAGIC)
        if stat.S_ISDIR(posix.fstat(target).st_mode) and not is_directory:
            # To the kernel it is just an invalid argument.
            hint = "the source is a file, and this is a directory"
            raise _destination_error(OSError(errno.ENOTDIR, ""), destination, field, hint)
        attach(tree, target)
    finally:
        posix.close(target)
    return tree


def _remount(root_fd: int, destination: str, options: Options, field: str) -> int:
    """Change a mount that is there already: its own flags ("bind"), or the filesystem's."""
    try:
        tree = open_in_root(root_fd, destination)
    except OSError as error:
        raise _destination_error(error, destination, field) from None
    if options.flags & MS_BIND:
        set_bind_flags(tree, options, field)
    else:
        remount(tree, options)
    set_recursive(tree, options, field)
    return tree


def _inherit_mode(root_fd: int, destination: str, options: Options) -> None:
    """Give a tmpfs the mode of the directory that it covers, unless an option says another.

    A directory that is yet to be made has none to give: then it is tmpfs's own default, 1777.
    """
    try:
        covered = open_in_root(root_fd, destination, posix.O_DIRECTORY)
    except OSError:
        return  # what is wrong with the path, `_open_directory` says
    mode = stat.S_IMODE(posix.fstat(covered).st_mode)
    posix.close(covered)
    options.data.insert(0, (0, f"mode={mode:04o}"))


def _mount_filesystem(target: int, fstype: str, source: str, options: Options, field: str) -> int:
    tree = new_filesystem(fstype, source, options, field, target)
    if fstype == "mqueue" and options.label:
        label_root(tree, fstype, options.label)
    if options.copy_up:
        copy_up(target, tree)
    set_recursive(tree, options, field)
    attach(tree, target)
    return tree


def _adopt(target: int, tree: int, options: Options, field: str) -> int:
    """Mount a filesystem that was made where we are not; its own options it was given there."""
    set_new_flags(tree, options)
    set_recursive(tree, options, field)
    attach(tree, target)
    return tree


def _open_directory(root_fd: int, fstype: str, destination: str, field: str) -> int:
    """Open (and make) the directory to mount a filesystem on."""
    # procfs and sysfs through a symbolic link would lie where our own writes below /proc, and
    # what is masked in them, do not look for them (CVE-2019-19921, CVE-2023-27561).
    kernel_fs = fstype in ("proc", "sysfs")
    try:
        target = mkdir_all_in_root(root_fd, destination, follow=not kernel_fs)
    except OSError as error:
        raise _destination_error(
            error,
            destination,
            field,
            hint=f"{fstype} must be mounted on ordinary directory"
            if kernel_fs and error.errno in (errno.ELOOP, errno.ENOTDIR)
            else None,
        ) from None
    try:
        _check_destination(root_fd, target, field, fstype == "proc")
    except BaseException:
        posix.close(target)
        raise
    return target


def _check_destination(root_fd: int, target: int, field: str, is_proc: bool) -> None:
    """Refuse to cover the root itself, or the container's procfs with anything but procfs."""
    path = path_in_root(root_fd, target)
    if path == "/":
        raise ConfigError("a mount may not cover the root itself", f"{field}.destination")
    if path == "/proc" and not is_proc:
        raise ConfigError("nothing but proc may be mounted on /proc", f"{field}.destination")
    if path.startswith("/proc/") and path not in _ALLOWED_BELOW_PROC:
        raise ConfigError(
            f"{quoted(path)} is inside /proc, where nothing may be mounted",
            f"{field}.destination",
        )


def _destination_error(
    error: OSError, destination: str, field: str, hint: "str | None" = None
) -> StepError:
    return StepError(
        None,
        error.errno or 0,
        f"mount on {quoted(destination)}",
        field=f"{field}.destination",
        hint=hint,
    )
