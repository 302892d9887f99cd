"""The mount of type "cgroup": the container's view of its own control groups."""

import posix

from libcontainer_py.linux.flags import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY
from libcontainer_py.linux.syscalls import CWD, openat2
from libcontainer_py.mount.options import Options
from libcontainer_py.mount.trees import (
    attach,
    clone_tree,
    new_filesystem,
    set_bind_flags,
    set_readonly,
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
    the container's part. Else the container's own directory of each is bound, so that it sees
    neither the host's tree nor its neighbours.
    """
    if hierarchies and not hierarchies[0].name:
        return _mount_v2(target, hierarchies[0].path, options, field, in_namespace)
    return _mount_v1(target, hierarchies, options, field, in_namespace)


def _mount_v2(target: int, own: str, options: Options, field: str, in_namespace: bool) -> int:
    if in_namespace:
        tree = new_filesystem("cgroup2", "cgroup", options, field, target)
    else:
        tree = clone_tree(CWD, own, recursive=True)
        set_bind_flags(tree, options)
    attach(tree, target)
    return tree


def _mount_v1(
    target: int,
    hierarchies: "list[CgroupMount]",
    options: Options,
    field: str,
    in_namespace: bool,
) -> int:
    tmpfs = new_filesystem("tmpfs", "tmpfs", _options(_DEFAULT_FLAGS, "mode=755"), field, target)
    attach(tmpfs, target)
    for hierarchy in hierarchies:
        posix.mkdir(hierarchy.name, 0o755, dir_fd=tmpfs)
        directory = openat2(
            tmpfs, hierarchy.name, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
        )
        if in_namespace:
            flags = _DEFAULT_FLAGS | options.flags & MS_RDONLY
            tree = new_filesystem(
                "cgroup", "cgroup", _options(flags, hierarchy.options), field, directory
            )
        else:
            tree = clone_tree(CWD, hierarchy.path, recursive=True)
            set_bind_flags(tree, options)
        attach(tree, directory)
        posix.close(tree)
        posix.close(directory)
        for alias in hierarchy.aliases:
            posix.symlink(hierarchy.name, alias, dir_fd=tmpfs)
    if options.flags & MS_RDONLY:
        set_readonly(tmpfs)
    return tmpfs


def _options(flags: int, data: str) -> Options:
    options = Options()
    options.flags = flags
    options.data.append((0, data))
    return options
