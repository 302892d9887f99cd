"""The mount of type "cgroup": the container's view of its own control groups."""

import errno
import posix

from libcontainer_py.linux.flags import (
    CGROUP2_SUPER_MAGIC,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
)
from libcontainer_py.linux.syscalls import CWD, fstatfs, openat2
from libcontainer_py.mount.filesystems import new_filesystem
from libcontainer_py.mount.options import Options
from libcontainer_py.mount.trees import (
    attach,
    clone_tree,
    set_bind_flags,
    set_readonly,
    set_recursive,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer_py.cgroups.interface import CgroupMount

_DEFAULT_FLAGS = MS_NOEXEC | MS_NOSUID | MS_NODEV


def mount_cgroup(
    target: int,
    hierarchies: "list[CgroupMount]",
    options: Options,
    field: str,
    in_namespace: bool,
) -> int:
    """Mount the one hierarchy of cgroup v2, or a tmpfs with those of v1; returns its descriptor.

    In a cgroup namespace the hierarchies themselves are mounted: the namespace shows no more than
    the container's part. Else, and where the kernel does not allow it, the container's own
    directory of each is bound, so that it sees neither the host's tree nor its neighbours. (But v2,
    for who has the host's cgroup namespace: whole, and bound, because a new mount from in there
    would change the options of the host's.)

    A container without cgroups of its own, whose caller may make none, has nothing to be bound. If
    not even a cgroup namespace hides the caller's, it gets an empty directory that is read-only:
    what lies below, by a bind of the host's /sys, the caller may write to (CVE-2023-25809).
    """
    if hierarchies and hierarchies[0].name:
        return _mount_v1(target, hierarchies, options, field, in_namespace)
    if hierarchies:
        tree = _hierarchy("cgroup2", hierarchies[0], target, options, options, field, in_namespace)
    else:
        tree = _without_own(target, options, field, in_namespace)
    set_recursive(tree, options, field)
    attach(tree, target)
    return tree


def _mount_v1(
    target: int,
    hierarchies: "list[CgroupMount]",
    options: Options,
    field: str,
    in_namespace: bool,
) -> int:
    top = _options(_DEFAULT_FLAGS, "mode=755", options.label)
    tmpfs = new_filesystem("tmpfs", "tmpfs", top, field, target)
    attach(tmpfs, target)
    for hierarchy in hierarchies:
        posix.mkdir(hierarchy.name, 0o755, dir_fd=tmpfs)
        directory = openat2(
            tmpfs, hierarchy.name, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
        )
        new = _options(_DEFAULT_FLAGS | options.flags & MS_RDONLY, hierarchy.options)
        tree = _hierarchy("cgroup", hierarchy, directory, new, options, field, in_namespace)
        attach(tree, directory)
        posix.close(tree)
        posix.close(directory)
        for alias in hierarchy.aliases:
            posix.symlink(hierarchy.name, alias, dir_fd=tmpfs)
    if options.flags & MS_RDONLY:
        set_readonly(tmpfs)
    set_recursive(tmpfs, options, field)
    return tmpfs


def _hierarchy(
    fstype: str,
    hierarchy: "CgroupMount",
    target: int,
    new: Options,
    bound: Options,
    field: str,
    in_namespace: bool,
) -> int:
    """One hierarchy as a detached mount: new, with the one options, or bound, with the others."""
    tree = _new(fstype, target, new, field) if in_namespace else None
    if tree is None:
        whole = hierarchy.whole and not in_namespace
        path = hierarchy.mountpoint if whole else hierarchy.path
        # What the host may have mounted below is not what the options speak of.
        tree = clone_tree(CWD, path, recursive=not whole)
        set_bind_flags(tree, bound, field)
    return tree


def _new(fstype: str, target: int, options: Options, field: str) -> "int | None":
    """A new mount of a hierarchy; None where the kernel does not allow that."""
    try:
        return new_filesystem(fstype, "cgroup", options, field, target)
    except OSError as error:
        # EPERM: the cgroup namespace belongs to another user namespace. EBUSY: the hierarchy is in
        # use with other options.
        if error.errno not in (errno.EPERM, errno.EBUSY):
            raise
    return None


def _without_own(target: int, options: Options, field: str, in_namespace: bool) -> int:
    tree = None
    if in_namespace and _host_has_v2_alone():
        tree = _new("cgroup2", target, options, field)
    if tree is None:
        words = "mode=755,nr_blocks=1,nr_inodes=1"
        empty = _options(_DEFAULT_FLAGS | MS_RDONLY, words, options.label)
        tree = new_filesystem("tmpfs", "tmpfs", empty, field, target)
    return tree


def _host_has_v2_alone() -> bool:
    try:
        fd = openat2(CWD, "/sys/fs/cgroup", posix.O_PATH | posix.O_CLOEXEC)
    except OSError:
        return False
    try:
        return fstatfs(fd)[0] == CGROUP2_SUPER_MAGIC
    finally:
        posix.close(fd)


def _options(flags: int, data: str, label: str = "") -> Options:
    options = Options()
    options.flags = flags
    options.data.append((0, data))
    options.label = label
    return options
