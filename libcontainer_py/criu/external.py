"""What of a container is not in its checkpoint: bind mounts, device nodes, namespaces of others.

criu calls it external. At a checkpoint each gets a name, and at a restore something of that name
has to be there. The names are runc's. (Whether each can restore what the other has written was not
tried.)
"""

import posix
import stat

from libcontainer_py.errors import ConfigError, StepError, quoted
from libcontainer_py.linux.flags import MS_BIND, MS_REC, MS_REMOUNT
from libcontainer_py.linux.pathnames import clean
from libcontainer_py.mount.devices import DEFAULTS
from libcontainer_py.mount.mounts import dev_is_bound, without_root
from libcontainer_py.mount.options import is_idmapped, parse_options
from libcontainer_py.mount.paths import (
    create_file_in_root,
    mkdir_all_in_root,
    open_in_root,
    path_in_root,
)
from libcontainer_py.mount.rootfs import resolve_rootfs
from libcontainer_py.mount.trees import attach, clone_source
from libcontainer_py.namespaces.kinds import ns_file
from libcontainer_py.spec import load as of_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.cgroups.manager import Cgroups

    Config = dict[str, Any]
    Mount = dict[str, Any]

NO_AGENTS = "criu can't restore a filter that notifies an agent"
_NULL = "/dev/null"
_CONFIG_ANNOTATION = "org.criu.config"


def load(bundle: str, rootfs: "str | None" = None) -> "tuple[Config, list[str]]":
    """Read config.json as `spec.load` does, and refuse what criu can't restore, or would not.

    Args:
        bundle: absolute path of the bundle
        rootfs: the container's root, where it is known already

    Raises:
        ConfigError: it is wrong, or asks for such a thing
    """
    config, warnings = of_spec.load(bundle)
    if (config.get("annotations") or {}).get(_CONFIG_ANNOTATION):
        # runc follows it. But annotations come from whoever asks for a container, and such a file
        # names programs that criu runs as the host's root.
        what = "it may not choose criu's configuration file, which is /etc/criu/runc.conf"
        raise ConfigError(what, f"annotations[{quoted(_CONFIG_ANNOTATION)}]")
    rootfs = resolve_rootfs(bundle, config["root"]) if rootfs is None else rootfs
    config["mounts"] = without_root(config.get("mounts") or [], rootfs)
    for index, mount in enumerate(config["mounts"]):
        if is_idmapped(mount):
            raise ConfigError("criu can't restore an idmapped mount", f"mounts[{index}]")
    kinds = set()
    for kind, _path, field in joined(config):
        if kind in ("cgroup", "mount", "time"):
            raise ConfigError(f"criu can't restore into a {kind} namespace that is there", field)
        kinds.add(kind)
    if (config.get("linux") or {}).get("netDevices") and "network" not in kinds:
        what = "criu restores no devices, but into a network namespace that is there"
        raise ConfigError(what, "linux.netDevices")
    return config, warnings


def bind_mounts(config: "Config") -> "list[tuple[int, Mount]]":
    """The bind mounts of config.json, each with its place in `mounts`."""
    found = []
    for index, mount in enumerate(config["mounts"]):
        flags = parse_options(mount.get("options") or []).flags
        if flags & MS_BIND and not flags & MS_REMOUNT:
            found.append((index, mount))
    return found


def at_checkpoint(config: "Config", pid: int, cgroups: "Cgroups") -> "list[dict[str, str]]":
    """Name the mounts of a container that its checkpoint is to leave out, as criu's `ext_mnt`."""
    root = posix.open(f"/proc/{pid}/root", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        places = [_place(root, mount["destination"]) for _index, mount in bind_mounts(config)]
        places += [place for place, _path in _cgroup_mounts(config, cgroups)]
        names = {place: place for place in places}
        if _has_hosts_devices(config):
            names |= {path: path for path in _devices(config)}
            names |= {path: _NULL for path in _masked_files(config, root)}
    finally:
        posix.close(root)
    return [{"key": place, "val": name} for place, name in names.items()]


def at_restore(
    config: "Config", bundle: str, places: "list[str]", cgroups: "Cgroups"
) -> "list[dict[str, str]]":
    """Say which paths of the host these mounts are of.

    Args:
        bundle: what relative sources are meant from
        places: the destination of each of `bind_mounts`, without symbolic links
    """
    sources = [_source(mount, bundle) for _index, mount in bind_mounts(config)]
    paths = dict(zip(places, sources, strict=True)) | dict(_cgroup_mounts(config, cgroups))
    if _has_hosts_devices(config):
        paths |= {path: path for path in _devices(config)}
    # So are masked files named in a checkpoint of runc's, in any.
    paths |= {_NULL: _NULL}
    return [{"key": name, "val": path} for name, path in paths.items()]


def make_mountpoints(config: "Config", bundle: str, root_fd: int) -> "list[str]":
    """Make what criu mounts on where it is missing: in the root, and in what is bound there.

    In a mount namespace of its own, in which the bind mounts stay: one can lie within another.

    Returns the destination of each of `bind_mounts`, without symbolic links.
    """
    binds = dict(bind_mounts(config))
    made_by_criu: list[str] = []
    places = []
    for index, mount in enumerate(config["mounts"]):
        field = f"mounts[{index}]"
        path = clean(mount["destination"])
        if path.startswith(tuple(f"{each}/" for each in made_by_criu)):
            # Its filesystem is in the checkpoint, with all that is in it.
            if index in binds:
                places.append(path)
            continue
        try:
            if index in binds:
                places.append(_make_and_bind(root_fd, mount, bundle, field))
            else:
                made_by_criu.append(path)
                posix.close(mkdir_all_in_root(root_fd, path))
        except StepError:
            raise
        except OSError as error:
            what = f"make {quoted(path)}"
            raise StepError(None, error.errno or 0, what, field=f"{field}.destination") from None
    return places


def _make_and_bind(root_fd: int, mount: "Mount", bundle: str, field: str) -> str:
    flags = parse_options(mount.get("options") or []).flags
    tree = clone_source(_source(mount, bundle), field, recursive=bool(flags & MS_REC))
    try:
        is_directory = stat.S_ISDIR(posix.fstat(tree).st_mode)
        make = mkdir_all_in_root if is_directory else create_file_in_root
        target = make(root_fd, mount["destination"])
        try:
            place = path_in_root(root_fd, target)
            attach(tree, target)
        finally:
            posix.close(target)
    finally:
        posix.close(tree)
    return place


def _source(mount: "Mount", bundle: str) -> str:
    source = mount.get("source") or ""
    return source if source.startswith("/") else clean(f"{bundle}/{source}")


def _place(root_fd: int, destination: str) -> str:
    """Where a mount is in a running container, as the kernel says it."""
    try:
        fd = open_in_root(root_fd, destination)
    except OSError:
        return clean(destination)  # covered by now; as it was meant
    try:
        return posix.readlink(f"/proc/self/fd/{fd}")
    finally:
        posix.close(fd)


def _cgroup_mounts(config: "Config", cgroups: "Cgroups") -> "list[tuple[str, str]]":
    """(destination, path of the host) of cgroup v1's hierarchies, where they are bind mounts."""
    linux = config.get("linux") or {}
    if any(each["type"] == "cgroup" for each in linux.get("namespaces") or []):
        return []
    return [
        (f"{clean(mount['destination'])}/{each.name}", each.path)
        for mount in config["mounts"]
        if mount.get("type") == "cgroup"
        for each in cgroups.mounts()
        if each.name
    ]


def _has_hosts_devices(config: "Config") -> bool:
    """Are the container's device nodes the host's own? Then what is masked shows the host's, too.

    Else they lie in the checkpoint. Host's in their place would let a container that was restored
    change the owner and mode of the host's null device, by any path that is masked.
    """
    linux = config.get("linux") or {}
    users = any(each["type"] == "user" for each in linux.get("namespaces") or [])
    return users or dev_is_bound(config["mounts"])


def _devices(config: "Config") -> "list[str]":
    devices = (config.get("linux") or {}).get("devices") or []
    return [*(path for path, *_number in DEFAULTS), *(clean(each["path"]) for each in devices)]


def _masked_files(config: "Config", root_fd: int) -> "list[str]":
    found = []
    for path in (config.get("linux") or {}).get("maskedPaths") or []:
        try:
            fd = open_in_root(root_fd, path)
        except OSError:
            continue  # it was not there to be masked
        if not stat.S_ISDIR(posix.fstat(fd).st_mode):
            found.append(posix.readlink(f"/proc/self/fd/{fd}"))
        posix.close(fd)
    return found


# ── namespaces ──────────────────────────────────────────────────────────────────────────────────


def name_of(kind: str) -> str:
    """The name of a namespace that others have made: ``extRootNetNS``."""
    return f"extRoot{ns_file(kind).capitalize()}NS"


def namespaces_at_checkpoint(config: "Config") -> "list[str]":
    """Name the network and pid namespaces that the container has joined, as criu's `external`."""
    found = []
    for kind, path, field in joined(config):
        if kind in ("network", "pid"):
            try:
                inode = posix.stat(path).st_ino
            except OSError as error:
                what = f"open {quoted(path)}"
                raise StepError(None, error.errno or 0, what, field=field) from None
            found.append(f"{ns_file(kind)}[{inode}]:{name_of(kind)}")
    return found


def joined(config: "Config") -> "list[tuple[str, str, str]]":
    """(kind, path, field) of each namespace that is joined by path."""
    found = []
    for index, each in enumerate((config.get("linux") or {}).get("namespaces") or []):
        if each.get("path"):
            field = f"linux.namespaces[{index}].path"
            found.append((each["type"], each["path"], field))
    return found
