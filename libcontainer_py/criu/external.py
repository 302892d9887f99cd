"""What of a container is not in its checkpoint: bind mounts, device nodes, namespaces of others.

criu calls it external. At a checkpoint each gets a name, and at a restore something of that name
has to be there. The names are runc's, but where a destination leads through a symbolic link: ours
is then as config.json has it, and not as the container's own links would have it. (Whether each can
restore what the other has written was not tried.)
"""

import posix
import stat

from libcontainer_py.cgroups.files import read
from libcontainer_py.cgroups.hierarchies import unescape
from libcontainer_py.errors import ConfigError, StepError, quoted
from libcontainer_py.linux.flags import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_REC,
    MS_REMOUNT,
)
from libcontainer_py.linux.pathnames import clean
from libcontainer_py.mount.devices import DEFAULTS
from libcontainer_py.mount.mounts import dev_is_bound, without_root
from libcontainer_py.mount.options import attributes, is_idmapped, parse_options
from libcontainer_py.mount.paths import (
    create_file_in_root,
    mkdir_all_in_root,
    open_in_root,
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
# What takes something from whoever uses a mount, by its word in mountinfo (proc(5)).
_RESTRICTIONS = (
    (MOUNT_ATTR_RDONLY, "ro"),
    (MOUNT_ATTR_NOSUID, "nosuid"),
    (MOUNT_ATTR_NODEV, "nodev"),
    (MOUNT_ATTR_NOEXEC, "noexec"),
    (MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"),
)


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


def at_checkpoint(
    config: "Config", bundle: str, pid: int, cgroups: "Cgroups"
) -> "list[dict[str, str]]":
    """Name the mounts of a container that its checkpoint is to leave out, as criu's `ext_mnt`.

    Raises:
        StepError: a bind mount is not where `bind_places` looks for it
    """
    names = bind_places(config, bundle, pid)
    names |= {place: place for place, _path in _cgroup_mounts(config, cgroups)}
    if _has_hosts_devices(config):
        names |= {path: path for path in _devices(config)}
        root = _open_root_of(pid)
        try:
            names |= {path: _NULL for path in _masked_files(config, root)}
        finally:
            posix.close(root)
    return [{"key": place, "val": name} for place, name in names.items()]


def bind_places(config: "Config", bundle: str, pid: int) -> "dict[str, str]":
    """Say where the bind mounts of a running container are, and refuse those that were moved.

    A container can rename the directory that one is mounted in, and put another's, or a symbolic
    link, in its place. A restore mounts the source that config.json has, with the flags of what
    criu found in the place: so a read-only source could become writable.

    A source that was replaced on the host since then is no reason to refuse.

    Returns:
        the destination in config.json, by the place as mountinfo has it

    Raises:
        StepError: one is not there, or another is, or it lacks a flag (``mounts[i].destination``)
    """
    binds = bind_mounts(config)
    sources = [_file_at(_source(mount, bundle)) for _index, mount in binds]
    wanted = _wanted_flags(config)
    places = {}
    root = _open_root_of(pid)
    try:
        mounted = _mounts_of(pid)
        for (index, mount), source in zip(binds, sources, strict=True):
            destination = clean(mount["destination"])
            place, file = _place(root, destination, mounted)
            others = file != source and file in sources
            # criu takes all that is mounted there, what is covered, too, for what has the name.
            flags = [options for point, options in mounted.values() if point == place]
            if others or not flags or any(wanted[destination] - each for each in flags):
                what = f"{quoted(destination)}: the mount was moved or covered from inside"
                raise StepError(None, 0, what, field=f"mounts[{index}].destination")
            places[place] = destination
    finally:
        posix.close(root)
    return places


def at_restore(config: "Config", bundle: str, cgroups: "Cgroups") -> "list[dict[str, str]]":
    """Say which paths of the host these mounts are of.

    Args:
        bundle: what relative sources are meant from
    """
    binds = bind_mounts(config)
    # By the words of config.json: what they lead to, a container's links and mounts decide.
    paths = {clean(mount["destination"]): _source(mount, bundle) for _index, mount in binds}
    paths |= dict(_cgroup_mounts(config, cgroups))
    if _has_hosts_devices(config):
        paths |= {path: path for path in _devices(config)}
    # So are masked files named in a checkpoint of runc's, in any.
    paths |= {_NULL: _NULL}
    return [{"key": name, "val": path} for name, path in paths.items()]


def make_mountpoints(config: "Config", bundle: str, root_fd: int) -> None:
    """Make what criu mounts on where it is missing: in the root, and in what is bound there.

    In a mount namespace of its own, in which the bind mounts stay: one can lie within another.
    """
    binds = dict(bind_mounts(config))
    made_by_criu: list[str] = []
    for index, mount in enumerate(config["mounts"]):
        field = f"mounts[{index}]"
        path = clean(mount["destination"])
        if path.startswith(tuple(f"{each}/" for each in made_by_criu)):
            continue  # its filesystem is in the checkpoint, with all that is in it
        try:
            if index in binds:
                _make_and_bind(root_fd, mount, bundle, field)
            else:
                made_by_criu.append(path)
                posix.close(mkdir_all_in_root(root_fd, path))
        except StepError:
            raise
        except OSError as error:
            what = f"make {quoted(path)}"
            raise StepError(None, error.errno or 0, what, field=f"{field}.destination") from None


def _make_and_bind(root_fd: int, mount: "Mount", bundle: str, field: str) -> None:
    flags = parse_options(mount.get("options") or []).flags
    tree = clone_source(_source(mount, bundle), field, recursive=bool(flags & MS_REC))
    try:
        is_directory = stat.S_ISDIR(posix.fstat(tree).st_mode)
        make = mkdir_all_in_root if is_directory else create_file_in_root
        target = make(root_fd, mount["destination"])
        try:
            attach(tree, target)
        finally:
            posix.close(target)
    finally:
        posix.close(tree)


def _source(mount: "Mount", bundle: str) -> str:
    source = mount.get("source") or ""
    return source if source.startswith("/") else clean(f"{bundle}/{source}")


def _file_at(path: str) -> "tuple[int, int] | None":
    """What tells a file of the host's from others, where it is there."""
    try:
        found = posix.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _wanted_flags(config: "Config") -> "dict[str, set[str]]":
    """The words of mountinfo that a bind mount's has to have, by its destination.

    Flags that come from the source, where no option has any, are not known here.
    """
    wanted = {}
    for mount in config["mounts"]:
        options = parse_options(mount.get("options") or [])
        if options.flags & MS_BIND:  # a later one, or a remount, has the last word
            set_ = attributes(options.flags) & ~options.attr_clr | options.attr_set
            words = {word for flag, word in _RESTRICTIONS if set_ & flag}
            wanted[clean(mount["destination"])] = words
    return wanted


def _mounts_of(pid: int) -> "dict[int, tuple[str, set[str]]]":
    """(mount point, options) of all that a process has mounted, by their ids (proc(5))."""
    found = {}
    # Not splitlines(): a container's path may have other characters in it that end a line there.
    for line in read(f"/proc/{pid}/mountinfo").split("\n")[:-1]:
        number, _parent, _device, _top, point, options = line.split(" ")[:6]
        found[int(number)] = unescape(point), set(options.split(","))
    return found


def _place(
    root_fd: int, destination: str, mounted: "dict[int, tuple[str, set[str]]]"
) -> "tuple[str, tuple[int, int] | None]":
    """What is mounted at a path of a running container: (its mount point, the file); or ("", None).

    By its id: the path of a source that is deleted reads otherwise.
    """
    try:
        fd = open_in_root(root_fd, destination)
    except OSError:
        return "", None
    try:
        number = read(f"/proc/self/fdinfo/{fd}").partition("mnt_id:")[2].split()[0]
        point = mounted.get(int(number), ("", set()))[0]
        if posix.readlink(f"/proc/self/fd/{fd}") not in (point, f"{point} (deleted)"):
            return "", None  # something in a mount, not its top
        found = posix.fstat(fd)
    finally:
        posix.close(fd)
    return point, (found.st_dev, found.st_ino)


def _open_root_of(pid: int) -> int:
    return posix.open(f"/proc/{pid}/root", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)


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
