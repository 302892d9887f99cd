"""What says it is criu: it takes the requests that criu takes, and answers as that does.

It notes what it was asked, and restores a process that only waits (or ends, with FAKE_EXIT). So all
that is ours to do is tried where criu does not work. It reads messages by code of its own.

FAKE_VERSION is the version that it says it is; FAKE_ERROR what it can't do anything for;
FAKE_MEANWHILE what happens just before it has stopped the processes, a command of the shell's.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from libcontainer_py.linux.flags import CLONE_PARENT
from libcontainer_py.linux.syscalls import clone3

DUMP, RESTORE, NOTIFY, VERSION = 1, 2, 6, 10
OPTS = {
    **{1: "images_dir_fd", 2: "pid", 3: "leave_running", 10: "log_file", 13: "root"},
    **{17: "work_dir_fd", 23: "ext_mnt", 26: "rst_sibling", 27: "inherit_fd", 37: "external"},
    **{34: "manage_cgroups_mode", 5: "tcp_established", 44: "freeze_cgroup", 51: "config_file"},
}
PAIRS = ("ext_mnt", "inherit_fd")


def number(data: bytes, at: int) -> tuple[int, int]:
    """A varint: it and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def fields(data: bytes) -> list[tuple[int, Any]]:
    """The fields of a message, in their order."""
    found: list[tuple[int, Any]] = []
    at = 0
    while at < len(data):
        key, at = number(data, at)
        value: Any
        value, at = number(data, at)
        if key & 7 == 2:
            value, at = data[at : at + value], at + value
        found.append((key >> 3, value))
    return found


def options(data: bytes) -> dict[str, Any]:
    """The options that are known here, by name; those that come in pairs as a dict."""
    named: dict[str, Any] = {name: {} for name in PAIRS}
    for key, value in fields(data):
        name = OPTS.get(key)
        if name in PAIRS:
            pair = dict(fields(value))
            named[name][pair[1].decode()] = pair[2] if name == "inherit_fd" else pair[2].decode()
        elif name is not None:
            named[name] = value.decode() if isinstance(value, bytes) else value
    return named


def varint(value: int) -> bytes:
    """A number, as a message has it."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def answer(kind: int, rest: bytes = b"", success: int = 1) -> None:
    """Send a criu_resp."""
    CHANNEL.send(bytes([0x08, kind, 0x10, success]) + rest)


def inner(field: int, data: bytes) -> bytes:
    """A message as a field."""
    return bytes([field << 3 | 2]) + varint(len(data)) + data


def notify(script: str, pid: int) -> None:
    """Say what has happened, and wait until it is allowed to go on."""
    answer(NOTIFY, inner(5, inner(1, script.encode()) + b"\x10" + varint(pid)))
    reply = dict(fields(CHANNEL.recv(4096)))
    if not reply:
        sys.exit(1)  # we have hung up
    assert reply == {1: NOTIFY, 3: 1}, reply


def first_process() -> tuple[int, int]:
    """Make it, as a child of our parent: its pid, and what lets it go on."""
    wait, go = os.pipe()
    pid, _pidfd = clone3(CLONE_PARENT, 0)
    if pid == 0:
        os.close(go)
        CHANNEL.close()
        if not os.read(wait, 1):
            os._exit(0)
        os.write(1, b"restored\n")
        if "FAKE_EXIT" in os.environ:
            os._exit(int(os.environ["FAKE_EXIT"]))
        os.execvp("sleep", ["sleep", "1000"])
    return pid, go


def main() -> None:
    """Serve one request."""
    request = dict(fields(CHANNEL.recv(1 << 16)))
    kind = request[1]
    if kind == VERSION:
        major, minor = map(int, os.environ.get("FAKE_VERSION", "3.17").split("."))
        answer(kind, inner(10, bytes([0x08, major, 0x10, minor])))
        return
    opts = options(request[2])
    work = f"/proc/self/fd/{opts['work_dir_fd']}"
    with open(f"{work}/{opts['log_file']}", "w", encoding="utf-8") as log:
        if "FAKE_ERROR" in os.environ:
            log.write(f"(00.1) Error (criu/some.c:7): {os.environ['FAKE_ERROR']}\n")
            log.write("(00.2) Error (criu/cr-dump.c:2000): Dumping FAILED.\n")
    opts["root is a mount"] = f" {opts['root']} " in Path("/proc/self/mountinfo").read_text()
    opts["in root"] = sorted(os.listdir(opts["root"]))
    opts["cgroups"] = Path("/proc/self/cgroup").read_text()
    Path(f"/proc/self/fd/{opts['images_dir_fd']}", f"asked.{kind}").write_text(json.dumps(opts))
    if kind == RESTORE:
        pid, go = first_process()
        notify("setup-namespaces", pid)
    if "FAKE_ERROR" in os.environ:
        answer(kind, b"\x38\x11", success=0)  # EEXIST
        sys.exit(1)
    if kind == RESTORE:
        notify("post-restore", pid)
        os.write(go, b"g")
        answer(kind, inner(4, b"\x08" + varint(pid)))
        return
    subprocess.run(os.environ.get("FAKE_MEANWHILE", ""), shell=True, check=True)
    notify("post-dump", 0)
    if not opts.get("leave_running"):
        os.kill(opts["pid"], 9)
    answer(kind)


if __name__ == "__main__":
    CHANNEL = socket.socket(fileno=int(sys.argv[2]))
    main()
