"""Write docs/namespaces.md: what lcpy does about each kind of namespace, as seen on this machine.

python docs/namespaces.py            prints the page
python docs/namespaces.py --write    writes it
python docs/namespaces.py --check    exits with 1 where the page says otherwise

It needs root, unshare(1) and BusyBox, and makes some eighty containers: twenty seconds.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
PAGE = TOP / "docs" / "namespaces.md"

KINDS = ("user", "pid", "mount", "network", "ipc", "uts", "cgroup", "time")
FILES = {"mount": "mnt", "network": "net"}  # in /proc/PID/ns, where it is another name
HOSTS, OWN, JOINED = "the host's", "its own", "the joined one"

INTRODUCTION = """\
# Namespaces

What becomes of a container whose config.json names a kind of namespace not at all, as a new one,
or by the path of one that exists; each without and with a new user namespace around it. Written by
`python docs/namespaces.py --write`, from containers that it makes; a test holds that they still do
the same. A cell says whose namespace the container's process is in. That was read off
`/proc/PID/ns` from outside, and seen from inside by what the next column names. An error is the one
line that lcpy prints, and after it nothing is left.

Beside the kind of the row, and a user namespace, each has a new mount and a new pid namespace. A
mount namespace that is joined is changed for good: its "/" is made a slave, as by runc, and what
the container mounts stays in it.
"""

OF_ANOTHER = """\
## Namespaces that belong to another user namespace

The namespaces of a process that has a user namespace of its own, as it is in a container without
a user namespace, with that one joined too, or with a new one.
"""

TOGETHER = """\
## Together
"""

# How a container sees which namespace it is in.
SEEN_BY = {
    "user": "`/proc/self/uid_map`",
    "pid": "`$$`, and who `/proc/1` is",
    "mount": "a file that is mounted there",
    "network": "`net.ipv4.ip_unprivileged_port_start`",
    "ipc": "`kernel.msgmax`",
    "uts": "`hostname`",
    "cgroup": "(from outside alone)",
    "time": "`/proc/self/timens_offsets`",
}
LOOK = r"""
say() { echo "$1=$(eval "$2" 2>/dev/null | tr -s ' \t\n' ' ')"; }
say user 'cat /proc/self/uid_map'
say pid 'echo $$; cat /proc/1/comm'
say mount 'cat /mark/it || ls /proc'
say network 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start'
say ipc 'cat /proc/sys/kernel/msgmax'
say uts 'hostname'
say time 'grep boottime /proc/self/timens_offsets'
echo end
exec sleep 60
"""
# Leaves in each namespace what `LOOK` will see of it.
MARK = r"""
mount -t tmpfs mark "$1/mark" && echo joined > "$1/mark/it" &&
echo 777 > /proc/sys/net/ipv4/ip_unprivileged_port_start &&
echo 4242 > /proc/sys/kernel/msgmax &&
hostname joined && echo ready && exec sleep 600
"""
MARKS = {
    OWN: {"mount": "self", "uts": "own", "time": "boottime 3600"},
    JOINED: {
        "pid": "sh|sleep",
        "mount": "joined",
        "network": "777",
        "ipc": "4242",
        "uts": "joined",
        "time": "boottime 86400",
    },
}


class Donor:
    """A process in new namespaces of all kinds (of its own user namespace or ours)."""

    def __init__(self, rootfs: Path, *, user: bool) -> None:
        argv = ["unshare", "-m", "-u", "-i", "-n", "-C", "-T", "--boottime", "86400", "-p", "-f"]
        argv += ["--kill-child", *(["-U", "--map-root-user"] if user else [])]
        argv += ["sh", "-c", MARK, "sh", str(rootfs)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise SystemExit(f"no namespaces to be joined: {self._process.communicate()[1]}")
        unshare = self._process.pid
        (pid,) = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
        self.pid = int(pid)

    def path(self, kind: str) -> str:
        """The path of its namespace of a kind."""
        return f"/proc/{self.pid}/ns/{FILES.get(kind, kind)}"

    def end(self) -> None:
        """Kill it; unshare(1) reaps it, and ends."""
        os.kill(self.pid, signal.SIGKILL)
        self._process.communicate(timeout=20)


class Host:
    """Where the containers are made, and by which command."""

    def __init__(self, lcpy: Sequence[str], directory: Path) -> None:
        self._lcpy = lcpy
        self._directory = directory
        self._number = 0
        self.rootfs = directory / "rootfs"
        busybox = shutil.which("busybox")
        if busybox is None:
            raise SystemExit("busybox is not installed")
        for name in ("bin", "dev", "mark", "proc", "root"):
            (self.rootfs / name).mkdir(parents=True)
        shutil.copy2(busybox, self.rootfs / "bin/busybox")
        for name in ("sh", "cat", "echo", "grep", "hostname", "ls", "sleep", "tr"):
            (self.rootfs / "bin" / name).symlink_to("busybox")
        os.chown(self.rootfs / "dev", 100000, 100000)

    def config(self, wanted: "dict[str, str | None]") -> "dict[str, Any]":
        """A config.json with these kinds of namespaces, each new (None) or at a path."""
        namespaces = [
            {"type": kind} | ({"path": path} if path else {}) for kind, path in wanted.items()
        ]
        linux: dict[str, Any] = {"namespaces": namespaces}
        config: dict[str, Any] = {
            "ociVersion": "1.2.0",
            "root": {"path": str(self.rootfs)},
            "process": {"cwd": "/", "args": ["sh", "-c", LOOK], "env": ["PATH=/bin"]},
            "mounts": [],
            "linux": linux,
        }
        if "mount" in wanted:
            proc = {"destination": "/proc", "type": "proc", "source": "proc"}
            if "user" in wanted and "pid" not in wanted:
                # A procfs may be mounted only by who owns the pid namespace, and that is the host.
                proc = {"destination": "/proc", "source": "/proc", "options": ["rbind"]}
            tmpfs = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}
            config["mounts"] = [proc, tmpfs]
        if "user" in wanted and not wanted["user"]:
            for name in ("uidMappings", "gidMappings"):
                linux[name] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        if "time" in wanted and not wanted["time"]:
            linux["timeOffsets"] = {"boottime": {"secs": 3600}}
        if "uts" in wanted and not wanted["uts"]:
            config["hostname"] = "own"
        return config

    def see(self, wanted: "dict[str, str | None]", *kinds: str) -> str:
        """Make a container, and say whose its namespaces are."""
        bundle = self._directory / f"bundle-{self._number}"
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(self.config(wanted)))
        container = f"{self._directory.parent.name}-{self._number}"
        self._number += 1
        output, errors = bundle / "output", bundle / "errors"
        with output.open("wb") as out, errors.open("wb") as err:
            done = subprocess.run(
                [*self._lcpy, "run", "--detach", "--bundle", str(bundle), container],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=60,
                check=False,
            )
        if done.returncode:
            return self._without_what_varies(errors.read_text(), wanted)
        answer = subprocess.run(
            [*self._lcpy, "state", container], capture_output=True, timeout=60, check=True
        )
        pid = json.loads(answer.stdout)["pid"]
        try:
            return self._look(pid, output, wanted, kinds)
        finally:
            subprocess.run([*self._lcpy, "delete", "--force", container], timeout=60, check=True)
            # A pid namespace ends when all that was in it has been reaped: by us, where the
            # test's process is a subreaper.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _look(
        self, pid: int, output: Path, wanted: "dict[str, str | None]", kinds: "tuple[str, ...]"
    ) -> str:
        end = time.monotonic() + 20
        while not (text := output.read_text()).endswith("end\n"):
            if time.monotonic() > end:
                return f"WRONG: it says nothing but {text!r}"
            time.sleep(0.01)
        inside = dict(line.split("=", 1) for line in text.splitlines()[:-1])
        whose = {kind: self._whose(pid, kind, wanted.get(kind)) for kind in kinds}
        for kind, owner in whose.items():
            if problem := _contradiction(kind, owner, inside, wanted):
                return f"WRONG: {problem}"
        owners = set(whose.values())
        if len(owners) == 1:
            return owners.pop()
        return ", ".join(f"{kind}: {owner}" for kind, owner in whose.items())

    @staticmethod
    def _whose(pid: int, kind: str, path: "str | None") -> str:
        name = FILES.get(kind, kind)
        link = os.readlink(f"/proc/{pid}/ns/{name}")
        if link == os.readlink(f"/proc/self/ns/{name}"):
            return HOSTS
        if path and link == os.readlink(path):
            return JOINED
        return OWN

    def _without_what_varies(self, error: str, wanted: "dict[str, str | None]") -> str:
        lines = [line for line in error.splitlines() if "level=error" in line]
        if len(lines) != 1:
            return f"WRONG: it says {error!r}"
        text = re.sub(r'^.*?msg="(.*)"$', r"\1", lines[0]).replace('\\"', '"')
        for kind, path in wanted.items():
            if path:
                text = text.replace(path, f"/proc/PID/ns/{FILES.get(kind, kind)}")
        return text.replace(str(self._directory), "DIR")


def _contradiction(
    kind: str, owner: str, inside: "dict[str, str]", wanted: "dict[str, str | None]"
) -> str:
    """What the container saw, where it is not what its namespace of a kind should show."""
    if kind == "cgroup" or not (inside["user"] or kind == "mount"):
        return ""  # nothing to be seen, or no /proc to see it by
    saw = inside[kind].strip()
    if kind == "user":
        ids = Path("/proc/self/uid_map").read_text().split()
        if owner == OWN:
            ids = ["0", "100000", "65536"]
        elif owner == JOINED:
            ids = ["0", "0", "1"]
        right = saw.split() == ids
    elif kind == "pid":
        number, _, comm = saw.partition(" ")
        right = (number == "1") == (owner == OWN)
        if owner == JOINED:
            right = right and re.fullmatch("sh|sleep", comm) is not None
    else:
        right = _has_mark(kind, owner, saw)
    return "" if right else f"{kind} is {owner}, and inside it is {saw!r}"


def _has_mark(kind: str, owner: str, saw: str) -> bool:
    joined = MARKS[JOINED][kind]
    if owner == JOINED:
        return saw.startswith(joined)
    if owner == OWN and kind in MARKS[OWN]:
        return MARKS[OWN][kind] in saw
    return not saw.startswith(joined)


@contextlib.contextmanager
def donors(host: Host) -> "Iterator[tuple[Donor, Donor]]":
    """Processes in namespaces to be joined: of the host's user namespace, and of its own."""
    made = []
    try:
        for user in (False, True):
            made.append(Donor(host.rootfs, user=user))
        yield made[0], made[1]
    finally:
        for each in made:
            each.end()


def around(kind: str) -> "dict[str, str | None]":
    """The new namespaces that a container of the table has beside its row's kind."""
    return {each: None for each in ("mount", "pid") if each != kind}


def main_table(host: Host, donor: Donor, other: Donor) -> "list[str]":
    """Each kind by none, new and joined, without and with a new user namespace."""
    rows = [
        "| kind | seen by | none | new | joined"
        " | none, in a new user namespace | new, in a new one | joined, in a new one |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind in KINDS:
        path = (other if kind == "user" else donor).path(kind)
        cells = []
        for user in ({}, {"user": None}):
            for how in ({}, {kind: None}, {kind: path}):
                if kind == "user" and user:
                    cells.append("-")
                    continue
                cells.append(host.see(around(kind) | user | how, kind))
        rows.append(f"| {kind} | {SEEN_BY[kind]} | {' | '.join(cells)} |")
    return rows


def table_of_another(host: Host, donor: Donor) -> "list[str]":
    """Each kind, joined, where it belongs to another user namespace."""
    rows = [
        "| kind | no user namespace | its own user namespace joined too | a new user namespace |",
        "| --- | --- | --- | --- |",
    ]
    for kind in KINDS[1:]:
        cells = [
            host.see(around(kind) | user | {kind: donor.path(kind)}, kind)
            for user in ({}, {"user": donor.path("user")}, {"user": None})
        ]
        rows.append(f"| {kind} | {' | '.join(cells)} |")
    return rows


def table_together(host: Host, donor: Donor, other: Donor) -> "list[str]":
    """Many at once."""
    seven = KINDS[1:]
    wanted: list[tuple[str, dict[str, str | None]]] = [
        ("all eight new", dict.fromkeys(KINDS)),
        ("all but user new", dict.fromkeys(seven)),
        ("all eight joined, of one container", {kind: other.path(kind) for kind in KINDS}),
        ("all but user joined", {kind: donor.path(kind) for kind in seven}),
        (
            "all but user joined, and a new user namespace",
            {kind: donor.path(kind) for kind in seven} | {"user": None},
        ),
        (
            "pid, ipc, uts and network joined, as in a pod",
            {"mount": None} | {kind: donor.path(kind) for kind in ("pid", "ipc", "uts", "network")},
        ),
        (
            "a user namespace joined, and all others new",
            {"user": other.path("user")} | dict.fromkeys(seven),
        ),
    ]
    rows = ["| in config.json | the container's are |", "| --- | --- |"]
    rows += [f"| {what} | {host.see(kinds, *kinds)} |" for what, kinds in wanted]
    return rows


def page(lcpy: Sequence[str], directory: Path) -> str:
    """Make the containers, and write the page about them.

    Args:
        lcpy: the command's first words, with its --root
        directory: to make bundles in; everybody must be able to reach it
    """
    host = Host(lcpy, directory)
    with donors(host) as (donor, other):
        parts = [
            INTRODUCTION,
            *main_table(host, donor, other),
            "",
            OF_ANOTHER,
            *table_of_another(host, other),
            "",
            TOGETHER,
            *table_together(host, donor, other),
        ]
    return "\n".join(parts) + "\n"


def main() -> int:
    """Print the page, or write it, or compare it."""
    with tempfile.TemporaryDirectory(prefix="lcpy-namespaces-") as name:
        os.chmod(name, 0o711)
        directory = Path(name) / "page"
        directory.mkdir(mode=0o755)
        new = page([str(TOP / "bin/lcpy"), "--root", f"{name}/state"], directory)
    if "--check" in sys.argv[1:]:
        if new != PAGE.read_text():
            print("docs/namespaces.md: stale: run docs/namespaces.py --write", file=sys.stderr)
            return 1
    elif "--write" in sys.argv[1:]:
        PAGE.write_text(new)
    else:
        print(new, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
