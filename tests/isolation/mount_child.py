"""A child in a mount namespace of its own, for the tests of libcontainer_py.mount.

What a test wants to know from inside comes back through a pipe, as JSON; so does an exception.
"""

import json
import os
import shutil
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from libcontainer_py.cgroups.interface import CgroupMount
from libcontainer_py.errors import StepError
from libcontainer_py.linux.flags import (
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    MS_PRIVATE,
    MS_REC,
)
from libcontainer_py.linux.syscalls import CWD, mount, openat2, setns, unshare
from libcontainer_py.mount import devices, mounts, pivot, rootfs, sources

# Rule 1 of the child: none of these may happen between the clone and the finish list.
_FORBIDDEN = frozenset(
    {"import", "open", "compile", "exec", "ctypes.dlopen", "os.putenv", "socket.getaddrinfo"}
)
_watched = {"on": False}

PROC: "dict[str, Any]" = {"destination": "/proc", "type": "proc", "source": "proc"}
DEV: "dict[str, Any]" = {
    "destination": "/dev",
    "type": "tmpfs",
    "source": "tmpfs",
    "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
}


class ChildError(Exception):
    """What was raised in the child."""

    def __init__(self, kind: str, text: str, field: "str | None", errno: int, trace: str) -> None:
        super().__init__(f"{kind}: {text}\n{trace}")
        self.kind = kind
        self.text = text
        self.field = field
        self.errno = errno


def in_child(
    look: "Callable[[], Any]",
    flags: int = CLONE_NEWNS,
    *,
    private: bool = True,
    maps: str = "0 0 1",
) -> Any:
    """Run `look` in a child in new namespaces; mounts made there end with it.

    With private=False what is shared stays shared with the caller's mount namespace: only for a
    call from within another child. A new user namespace maps uids and gids as `maps` says.
    """
    reader, writer = os.pipe()
    here, there = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        here.close()
        _child(look, flags, private, writer, there)
    os.close(writer)
    there.close()
    if flags & CLONE_NEWUSER and here.recv(1):
        write_maps(pid, maps)
        here.send(b"1")
    here.close()
    data = b""
    while chunk := os.read(reader, 65536):
        data += chunk
    os.close(reader)
    os.waitpid(pid, 0)
    answer = json.loads(data)
    if "error" in answer:
        raise ChildError(**answer["error"])
    return answer["value"]


def _child(
    look: "Callable[[], Any]", flags: int, private: bool, writer: int, parent: socket.socket
) -> None:
    try:
        sys.addaudithook(_watch)
        if flags & CLONE_NEWUSER:
            unshare(CLONE_NEWUSER)
            parent.send(b"1")
            assert parent.recv(1), "the parent is gone"
            become_root()
        parent.close()
        unshare(flags & ~CLONE_NEWUSER)
        if private:
            mount(None, "/", None, MS_REC | MS_PRIVATE)
        if flags & CLONE_NEWPID and (pid := os.fork()):
            os.waitpid(pid, 0)
            os._exit(0)
        answer: dict[str, Any] = {"value": look()}
    except BaseException as error:
        _watched["on"] = False
        answer = {
            "error": {
                "kind": type(error).__name__,
                "text": str(error),
                "field": getattr(error, "field", None),
                "errno": getattr(error, "errno", None) or 0,
                "trace": traceback.format_exc(),
            }
        }
    os.write(writer, json.dumps(answer).encode())
    os._exit(0)


def write_maps(pid: int, maps: str, gid_maps: "str | None" = None) -> None:
    """Write the id maps of a process that is in a new user namespace."""
    for name, text in (("uid_map", maps), ("gid_map", gid_maps or maps)):
        Path(f"/proc/{pid}", name).write_text(text, encoding="utf-8")


def become_root() -> None:
    """Take the ids 0 of a user namespace that has them."""
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def user_namespace(maps: str, gid_maps: "str | None" = None) -> int:
    """Open a new user namespace with these maps, in which there is nobody."""
    reader, writer = os.pipe()
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.close(ready)
        unshare(CLONE_NEWUSER)
        os.close(go)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    os.close(go)
    os.read(ready, 1)
    os.close(ready)
    try:
        write_maps(pid, maps, gid_maps)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
    finally:
        os.close(writer)
        os.waitpid(pid, 0)


class Helper(Mapping[int, int]):
    """The process that opens sources for a child, as the parent of a container has one.

    It is forked with the credentials of whoever makes this object, joins the mount namespace of
    the first that asks, and opens a source when it is asked for it.
    """

    def __init__(
        self, indexes: "list[int]", serve: "Callable[[int], int]", directory: Path = Path("/")
    ) -> None:
        self._indexes = indexes
        self._socket, there = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            self._socket.close()
            try:
                self._serve(there, serve, directory)
            finally:
                os._exit(0)
        there.close()

    @staticmethod
    def _serve(there: socket.socket, serve: "Callable[[int], int]", directory: Path) -> None:
        joined = False
        for _ in range(1000):
            data, fds, _flags, _address = socket.recv_fds(there, 16, 1)
            if not data:
                return
            if not joined:
                setns(fds[0], CLONE_NEWNS)
                os.chdir(directory)
                joined = True
            try:
                tree = serve(int(data))
            except StepError as error:
                said = [error.errno, error.what, error.field, error.hint]
                there.send(json.dumps(said).encode())
            else:
                socket.send_fds(there, [b"ok"], [tree])
                os.close(tree)

    def __contains__(self, index: object) -> bool:
        return index in self._indexes

    def __getitem__(self, index: int) -> int:
        namespace = openat2(CWD, "/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        socket.send_fds(self._socket, [str(index).encode()], [namespace])
        os.close(namespace)
        data, fds, _flags, _address = socket.recv_fds(self._socket, 4096, 1)
        if data != b"ok":
            errno, what, field, hint = json.loads(data)
            raise StepError(None, errno, what, field=field, hint=hint)
        return fds[0]

    def __iter__(self) -> "Iterator[int]":
        return iter(self._indexes)

    def __len__(self) -> int:
        return len(self._indexes)

    def close(self) -> None:
        """End the helper."""
        self._socket.close()
        os.waitpid(self._pid, 0)


@contextmanager
def helper(
    config: "list[dict[str, Any]]",
    namespaces: "dict[int, int] | None" = None,
    *,
    in_user_namespace: bool = True,
    directory: Path = Path("/"),
) -> "Iterator[Helper]":
    """A helper for all the mounts of a config that need one."""

    def serve(index: int) -> int:
        return sources.open_source(config, index, namespaces or {})

    found = Helper(sources.wanted(config, in_user_namespace), serve, directory)
    try:
        yield found
    finally:
        found.close()
        for fd in (namespaces or {}).values():
            os.close(fd)


@contextmanager
def searchable_directory() -> "Iterator[Path]":
    """A directory that everybody can get to, unlike those of tmp_path."""
    path = Path(tempfile.mkdtemp(prefix="lcpy-mount-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def unshare_user(flags: int) -> None:
    """Become root of a new user namespace that has root alone."""
    unshare(flags)
    for name, text in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
        Path("/proc/self", name).write_text(text, encoding="utf-8")


def _watch(event: str, args: "tuple[Any, ...]") -> None:
    if _watched["on"] and event in _FORBIDDEN:
        _watched["on"] = False
        raise AssertionError(f"forbidden in the child: {event} {args!r}")


@contextmanager
def sealed() -> "Iterator[None]":
    """Hold the code within to rule 1 of the child."""
    _watched["on"] = True
    try:
        yield
    finally:
        _watched["on"] = False


def build(
    root: Path,
    config: "list[dict[str, Any]]",
    *,
    nodes: "list[dict[str, Any]] | None" = None,
    propagation: "str | None" = None,
    cgroups: "list[CgroupMount] | None" = None,
    cgroup_namespace: bool = False,
    enter: "Callable[[int], None]" = pivot.pivot_root,
    given: "Mapping[int, int] | None" = None,
    in_user_namespace: bool = False,
) -> None:
    """Do what a container's init does about its root filesystem, and stay inside."""
    with sealed():
        root_fd = rootfs.prepare_rootfs(str(root), propagation)
        later = mounts.setup_mounts(root_fd, config, cgroups or [], cgroup_namespace, given)
        if not mounts.dev_is_bound(config):
            devices.setup_devices(root_fd, nodes or [], in_user_namespace)
            devices.setup_ptmx(root_fd)
            devices.setup_dev_symlinks(root_fd)
        enter(root_fd)
        rootfs.propagate_root(propagation)
        mounts.finalize_mounts(later)


def mount_at(path: str) -> "dict[str, Any]":
    """Say what mountinfo says of the topmost mount at a path."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        left, right = line.split(" - ")
        fields = left.split(" ")
        if fields[4] == path:
            fstype, source, superblock = right.split(" ")[:3]
            found = {
                "root": fields[3],
                "flags": fields[5].split(","),
                "propagation": sorted(word.split(":")[0] for word in fields[6:]),
                "type": fstype,
                "source": source,
                "superblock": superblock.split(","),
            }
    assert found, f"nothing is mounted on {path}"
    return found


def tree_of(directory: Path) -> "list[tuple[str, int, bytes]]":
    """Everything below a directory, to compare it with later."""
    found = []
    for path in sorted(directory.rglob("*")):
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found.append((str(path), path.lstat().st_mode, content))
    return found
