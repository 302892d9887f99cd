"""Sources of mounts that the child can't open itself: they need the host's credentials.

The root of a user namespace may be barred from the directories above a bind mount's source, and
nobody but the host's root may map the owners of a filesystem that the host mounted
(mount_setattr(2), MOUNT_ATTR_IDMAP). A helper of the parent's opens these. It keeps the host's
credentials, but is in the child's mount namespace: there the kernel has locked the flags that a
less privileged namespace may not change, and the host sees no propagation of what is mounted.

The parent asks `wanted` and `user_namespace_for`; the helper calls `open_source` for each mount
when the child's `setup_mounts` asks for it: not before its turn, because a source may lie inside
what an earlier mount made.
"""

import errno

from libcontainer_py.errors import StepError, quoted
from libcontainer_py.linux.flags import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    MOUNT_ATTR_IDMAP,
    MS_BIND,
    MS_REC,
    MS_REMOUNT,
)
from libcontainer_py.linux.syscalls import mount_setattr
from libcontainer_py.mount.options import Options, idmap_field, is_idmapped, parse_options
from libcontainer_py.mount.trees import clone_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Mount = dict[str, Any]
    Mappings = list[dict[str, int]]


def wanted(mounts: "list[Mount]", in_user_namespace: bool) -> "list[int]":
    """List which mounts need a source from the helper.

    They are the idmapped ones, and in a user namespace every bind mount.

    Args:
        mounts: `mounts` of config.json
        in_user_namespace: the container's user namespace is not ours
    """
    return [
        index
        for index, mount in enumerate(mounts)
        if is_idmapped(mount) or (in_user_namespace and _is_bind(mount))
    ]


def user_namespace_for(mount: "Mount") -> "tuple[Mappings, Mappings] | None":
    """Say which user namespace carries the mapping of an idmapped mount.

    Its own `uidMappings` and `gidMappings` win, also without "idmap" among its options (config.md
    asks for the word only for the sake of older runtimes). That there are both, and without them a
    user namespace of the container's, config.json was proved to say.

    Returns (uid mappings, gid mappings) for a user namespace to be made, or None for the
    container's own.
    """
    if not mount.get("uidMappings"):
        return None
    return mount["uidMappings"], mount["gidMappings"]


def open_source(mounts: "list[Mount]", index: int, user_namespaces: "Mapping[int, int]") -> int:
    """Copy the source of one bind mount, mapped where it asks for that. In the helper.

    The working directory is what a relative source is meant from: the bundle. (setns(2) into a
    mount namespace changes it.)

    Args:
        mounts: `mounts` of config.json
        user_namespaces: for each idmapped mount a descriptor of the user namespace that
            `user_namespace_for` named

    Returns the descriptor of a detached tree.

    Raises:
        StepError: the source (`mounts[i].source`) or its mapping was refused
    """
    mount = mounts[index]
    field = f"mounts[{index}]"
    options = parse_options(mount.get("options") or [])
    tree = clone_source(mount.get("source") or "", field, recursive=bool(options.flags & MS_REC))
    if is_idmapped(mount):
        _map_owners(tree, mount, user_namespaces[index], options, field)
    return tree


def _map_owners(
    tree: int, mount: "Mount", user_namespace: int, options: Options, field: str
) -> None:
    recursive = AT_RECURSIVE if options.idmap_recursive else 0
    try:
        mount_setattr(
            tree, "", AT_EMPTY_PATH | recursive, MOUNT_ATTR_IDMAP, userns_fd=user_namespace
        )
    except OSError as error:
        hint = None
        if error.errno == errno.EINVAL:
            hint = "its filesystem, or one mounted below it, may not support idmapped mounts"
        elif error.errno == errno.EPERM:
            hint = "it is idmapped already, or its filesystem belongs to another user namespace"
        raise StepError(
            None,
            error.errno or 0,
            f"map the owners of {quoted(mount.get('source') or '')}",
            field=idmap_field(mount, field),
            hint=hint,
        ) from None


def _is_bind(mount: "Mount") -> bool:
    flags = parse_options(mount.get("options") or []).flags
    return bool(flags & MS_BIND) and not flags & MS_REMOUNT
