"""A stand-in for the kernel's resctrl: ``python -m tests.resctrl DIRECTORY FSTYPE``.

No machine of these tests has a processor with Intel RDT. So this is a file system of our own
(FUSE), with the files and the manners that Documentation/filesystems/resctrl.rst describes: a
directory that is made is full at once, and goes with all that is in it; a task that is written to
one class leaves the other; a schema is judged, and info/last_cmd_status says why it was refused.
What it can't be is a cache; and what a task clones does not follow it. So each group has a file
more than the kernel's, `joined`: also those tasks that have ended.

FSTYPE is ``fuse.`` and a name, so that each test finds its own. It prints a line as soon as it
serves, and ends when it is unmounted.
"""

import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Callable

DOMAINS = (0, 1)
CBM_MASK = 0x7FF
NUM_CLOSIDS = 4
COUNTERS = {"llc_occupancy": 123331, "mbm_total_bytes": 9123911, "mbm_local_bytes": 2361361}


class Refused(OSError):
    """What is asked can't be: an errno, and what last_cmd_status says of it."""


class File:
    """A file: `read` gives its text, `write` takes a new one."""

    def __init__(self, read: Callable[[], str], write: Callable[[str], None] | None = None) -> None:
        self.read, self.write = read, write


class Directory:
    """A directory; `make` makes what is made in it, where anything may be."""

    def __init__(self, make: "Callable[[], Directory] | None" = None) -> None:
        self.children: dict[str, Directory | File] = {}
        self.make = make


def texts(**files: str) -> Directory:
    """A directory of files that never change."""
    found = Directory()
    for name, text in files.items():
        found.children[name] = File(lambda text=text: f"{text}\n")  # type: ignore[misc]
    return found


class Group(Directory):
    """What has tasks: a class of service (the default one, too), or a group that is measured."""

    def __init__(self, top: "Resctrl", above: "Group | None") -> None:
        super().__init__()
        self.top, self.above = top, above
        self.pids: set[int] = set()
        self.children["tasks"] = File(self._tasks, self._join)
        self.children["joined"] = File(lambda: "".join(f"{pid}\n" for pid in sorted(self.pids)))
        data = self.children["mon_data"] = Directory()
        for domain in DOMAINS:
            counters = {name: str(value + domain) for name, value in COUNTERS.items()}
            data.children[f"mon_L3_{domain:02}"] = texts(**counters)

    def _tasks(self) -> str:
        alive = sorted(pid for pid in self.pids if os.path.exists(f"/proc/{pid}"))
        return "".join(f"{pid}\n" for pid in alive)

    def _join(self, text: str) -> None:
        pid = int(text)
        if not os.path.exists(f"/proc/{pid}"):
            raise Refused(errno.ESRCH, f"No task {pid}")
        if self.above is not None and pid not in self.above.pids:
            raise Refused(errno.EINVAL, "Can't move task to different control group")
        if self.above is None:
            for group in self.top.groups():
                group.pids.discard(pid)
        self.pids.add(pid)


class Class(Group):
    """A class of service."""

    def __init__(self, top: "Resctrl") -> None:
        super().__init__(top, None)
        self.has: dict[str, dict[int, int]] = {
            "L3": dict.fromkeys(DOMAINS, CBM_MASK),
            "MB": dict.fromkeys(DOMAINS, 100),
        }
        self.children["mon_groups"] = Directory(lambda: Group(top, self))
        self.children["schemata"] = File(self._schemata, self._share_out)

    def _schemata(self) -> str:
        lines = {"L3": "{}={:03x}", "MB": "{}={:3}"}
        return "".join(
            f"{name}:{';'.join(form.format(*each) for each in self.has[name].items())}\n"
            for name, form in lines.items()
        )

    def _share_out(self, text: str) -> None:
        if not text.endswith("\n"):
            raise Refused(errno.EINVAL, "no newline")
        for line in text.splitlines():
            name, _colon, rest = line.partition(":")
            if name not in self.has:
                raise Refused(errno.EINVAL, f"Unknown or unsupported resource name '{name}'")
            new = {}
            for each in rest.split(";"):
                domain, _equals, value = each.partition("=")
                if not domain.isdigit() or int(domain) not in DOMAINS:
                    raise Refused(errno.EINVAL, "Missing '=' or non-numeric domain")
                new[int(domain)] = _mask(value) if name == "L3" else _bandwidth(value)
            self.has[name] |= new


def _mask(text: str) -> int:
    mask = int(text, 16)
    if not 0 < mask <= CBM_MASK:
        raise Refused(errno.EINVAL, "Mask out of range")
    if "01" in f"{mask:b}":
        raise Refused(errno.EINVAL, f"The mask {mask:x} has non-consecutive 1-bits")
    return mask


def _bandwidth(text: str) -> int:
    value = int(text)
    if not 10 <= value <= 100:
        raise Refused(errno.EINVAL, f"MB value {value} out of range [10,100]")
    return -(-value // 10) * 10


class Resctrl(Class):
    """The root: the default class, and what the processor can do."""

    def __init__(self) -> None:
        self.status = "ok"
        super().__init__(self)
        self.make = lambda: Class(self)
        info = self.children["info"] = Directory()
        numbers = {"num_closids": str(NUM_CLOSIDS)}
        info.children = {
            "L3": texts(cbm_mask=f"{CBM_MASK:x}", min_cbm_bits="1", **numbers),
            "MB": texts(bandwidth_gran="10", delay_linear="1", min_bandwidth="10", **numbers),
            "L3_MON": texts(mon_features="\n".join(COUNTERS), num_rmids="96"),
            "last_cmd_status": File(lambda: f"{self.status}\n"),
        }

    def classes(self) -> list[Class]:
        return [self, *(each for each in self.children.values() if isinstance(each, Class))]

    def groups(self) -> list[Group]:
        found: list[Group] = list(self.classes())
        for each in self.classes():
            groups = each.children["mon_groups"]
            assert isinstance(groups, Directory)
            found += [group for group in groups.children.values() if isinstance(group, Group)]
        return found


# --- FUSE: include/uapi/linux/fuse.h ----------------------------------------------------------

IN_HEADER = struct.Struct("=IIQQIIIHH")
ATTR = struct.Struct("=6Q10I")
FOPEN_DIRECT_IO = 1


class Server:
    """Speaks the kernel's protocol for one `Resctrl`."""

    def __init__(self) -> None:
        self.top = Resctrl()
        self.nodes: dict[int, Directory | File] = {1: self.top}
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)

    def mount(self, directory: str, fstype: str) -> None:
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"resctrl", directory.encode(), fstype.encode(), 0, options.encode()):
            raise OSError(ctypes.get_errno(), "mount")

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self.fd, 1 << 18)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return  # unmounted
                raise
            _length, opcode, unique, node, *_rest = IN_HEADER.unpack_from(request)
            body = request[IN_HEADER.size :]
            if opcode in (2, 42):  # FORGET, BATCH_FORGET: there is no answer to them
                continue
            try:
                answer, code = self.answer(opcode, node, body), 0
            except OSError as error:
                answer, code = b"", -(error.errno or errno.EIO)
                if isinstance(error, Refused):
                    self.top.status = error.strerror or ""
            os.write(self.fd, struct.pack("=IiQ", 16 + len(answer), code, unique) + answer)

    def answer(self, opcode: int, number: int, body: bytes) -> bytes:
        node = self.nodes.get(number)
        if opcode == 26:  # INIT
            return struct.pack("=4I2H2I2H8I", 7, 31, 0, 0, 0, 0, 1 << 16, 1, 0, 0, *[0] * 8)
        if opcode == 17:  # STATFS
            return struct.pack("=5Q10I", 0, 0, 0, 0, 0, 4096, 255, 4096, *[0] * 7)
        if opcode in (18, 25, 29, 34):  # RELEASE, FLUSH, RELEASEDIR, ACCESS
            return b""
        if opcode in (3, 4) and node is not None:  # GETATTR; SETATTR: O_TRUNC changes nothing
            return struct.pack("=QII", 0, 0, 0) + self._attributes(node)
        if isinstance(node, File):
            if opcode == 14:  # OPEN
                return struct.pack("=QII", 0, FOPEN_DIRECT_IO, 0)
            if opcode == 15:  # READ
                _fh, offset, size = struct.unpack_from("=QQI", body)
                return node.read().encode()[offset : offset + size]
            if opcode == 16 and node.write is not None:  # WRITE
                size = struct.unpack_from("=QQI", body)[2]
                node.write(body[40 : 40 + size].decode())
                self.top.status = "ok"
                return struct.pack("=II", size, 0)
            raise OSError(errno.EACCES, "")
        if isinstance(node, Directory):
            return self._in_directory(opcode, node, body)
        raise OSError(errno.ENOENT, "")

    def _in_directory(self, opcode: int, node: Directory, body: bytes) -> bytes:
        name = "" if opcode in (27, 28) else body[8 * (opcode == 9) :].rstrip(b"\0").decode()
        if opcode == 1:  # LOOKUP
            if name not in node.children:
                raise OSError(errno.ENOENT, "")
            return self._entry(node.children[name])
        if opcode == 27:  # OPENDIR
            return struct.pack("=QII", 0, 0, 0)
        if opcode == 28:  # READDIR
            return self._list(node, struct.unpack_from("=QQ", body)[1])
        if opcode == 9:  # MKDIR
            if node.make is None:
                raise OSError(errno.EPERM, "")
            if node is self.top and len(self.top.classes()) == NUM_CLOSIDS:
                raise Refused(errno.ENOSPC, "Out of CLOSIDs")
            node.children[name] = node.make()
            return self._entry(node.children[name])
        if opcode == 11 and isinstance(node.children.get(name), Group):  # RMDIR
            self.top.pids |= node.children.pop(name).pids  # type: ignore[union-attr]
            return b""
        raise OSError(errno.EPERM, "")

    def _number(self, node: Directory | File) -> int:
        self.nodes[id(node)] = node
        return 1 if node is self.top else id(node)

    def _attributes(self, node: Directory | File) -> bytes:
        mode = stat.S_IFDIR | 0o755 if isinstance(node, Directory) else stat.S_IFREG | 0o644
        return ATTR.pack(self._number(node), *[0] * 8, mode, 1, 0, 0, 0, 4096, 0)

    def _entry(self, node: Directory | File) -> bytes:
        # Nothing is to be remembered: what has gone is gone at once.
        return struct.pack("=4Q2I", self._number(node), 0, 0, 0, 0, 0) + self._attributes(node)

    def _list(self, node: Directory, offset: int) -> bytes:
        found = b""
        for index, (name, child) in enumerate(list(node.children.items())[offset:], offset + 1):
            kind = stat.S_IFDIR >> 12 if isinstance(child, Directory) else stat.S_IFREG >> 12
            raw = name.encode()
            found += struct.pack("=QQII", self._number(child), index, len(raw), kind) + raw
            found += bytes(-len(raw) % 8)
        return found


def main() -> None:
    server = Server()
    server.mount(*sys.argv[1:3])
    print("mounted", flush=True)
    server.serve()


if __name__ == "__main__":
    main()
