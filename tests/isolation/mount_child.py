"""A child in a mount namespace of its own, for the tests of libcontainer_py.mount.

What a test wants to know from inside comes back through a pipe, as JSON; so does an exception.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from libcontainer_py.cgroups.interface import CgroupMount
from libcontainer_py.linux.flags import (
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    MS_PRIVATE,
    MS_REC,
)
from libcontainer_py.linux.syscalls import mount, unshare
from libcontainer_py.mount import devices, mounts, pivot, rootfs

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


def in_child(look: "Callable[[], Any]", flags: int = CLONE_NEWNS, *, private: bool = True) -> Any:
    """Run `look` in a child in new namespaces; mounts made there end with it.

    With private=False what is shared stays shared with the caller's mount namespace: only for a
    call from within another child.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(look, flags, private, writer)
    os.close(writer)
    data = b""
    while chunk := os.read(reader, 65536):
        data += chunk
    os.close(reader)
    os.waitpid(pid, 0)
    answer = json.loads(data)
    if "error" in answer:
        raise ChildError(**answer["error"])
    return answer["value"]


def _child(look: "Callable[[], Any]", flags: int, private: bool, writer: int) -> None:
    try:
        sys.addaudithook(_watch)
        if flags & CLONE_NEWUSER:
            unshare_user(flags)
        else:
            unshare(flags)
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
) -> None:
    """Do what a container's init does about its root filesystem, and stay inside."""
    with sealed():
        root_fd = rootfs.prepare_rootfs(str(root), propagation)
        later = mounts.setup_mounts(root_fd, config, cgroups or [], cgroup_namespace)
        if not mounts.dev_is_bound(config):
            devices.setup_devices(root_fd, nodes or [])
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
