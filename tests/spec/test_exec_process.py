"""A second process: everything that a process object can say, seen from inside."""

import ctypes
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.security.capabilities import NAMES, NUMBERS, last_capability
from tests.cli.conftest import reaper
from tests.cli.test_exec import Box, refused, wait_for, writable
from tests.conftest import PREFIX

if TYPE_CHECKING:
    from tests.conftest import Bundle, Config, Lcpy

__all__ = ["reaper"]

PATH = ["PATH=/bin"]
Make = Callable[..., Box]


@pytest.fixture
def make(lcpy: "Lcpy", bundle: "Bundle") -> Make:
    """Make a container that runs, with a config that is changed."""

    def made(change: "Callable[[Config], object]" = writable, *args: str) -> Box:
        return Box(lcpy, bundle(*(args or ("sleep", "1000")), change=change))

    return made


def run(box: Box, tmp_path: Path, *args: str, **members: Any) -> subprocess.CompletedProcess[str]:
    """Run a process of a file in a container."""
    process = {"args": args, "cwd": "/", "env": PATH, **members}
    (tmp_path / "process.json").write_text(json.dumps(process))
    return box.exec("--process", tmp_path / "process.json")


def says(box: Box, tmp_path: Path, *args: str, **members: Any) -> str:
    done = run(box, tmp_path, *args, **members)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def status(text: str) -> dict[str, str]:
    """The lines of /proc/self/status."""
    return dict(line.split(":\t", 1) for line in text.splitlines())


# ── capabilities ────────────────────────────────────────────────────────────────────────────────


def mask(names: "list[str]") -> int:
    return sum(1 << NUMBERS[name] for name in names)


def sets_of(text: str) -> dict[str, int]:
    return {name: int(value, 16) for name, value in status(text).items() if name[:3] == "Cap"}


SETS = {
    "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_NET_RAW"],
    "permitted": ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID"],
    "effective": ["CAP_KILL"],
    "inheritable": ["CAP_KILL", "CAP_CHOWN"],
    "ambient": ["CAP_CHOWN"],
}


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("left_out", [None, "inheritable", "effective", "all"])
def test_the_sets_are_those_of_the_process(
    make: Make, tmp_path: Path, left_out: "str | None", uid: int
) -> None:
    """And not the container's; nothing is inheritable that is not asked for: CVE-2022-29162."""
    sets = {name: [] if left_out in (name, "all") else list(value) for name, value in SETS.items()}
    if left_out == "inheritable":
        sets["ambient"] = []
    present = {name: value for name, value in sets.items() if value}
    user = {"uid": uid, "gid": uid}
    members: dict[str, Any] = {"capabilities": present, "user": user}
    found = sets_of(says(make(), tmp_path, "cat", "/proc/self/status", **members))
    # What an exec makes of them (capabilities(7)): root's program has all that is bounding or
    # inheritable, another's what is ambient.
    inheritable, ambient = mask(sets["inheritable"]), mask(sets["ambient"])
    permitted = mask(sets["bounding"]) | inheritable if uid == 0 else ambient
    assert found == {
        "CapInh": inheritable,
        "CapPrm": permitted,
        "CapEff": permitted,
        "CapBnd": mask(sets["bounding"]),
        "CapAmb": ambient,
    }


@pytest.mark.parametrize("inheritable", [False, True])
def test_one_more(make: Make, inheritable: bool) -> None:
    """`--cap` is bounding, effective and permitted; ambient where config.json inherits any."""

    def change(config: "Config") -> None:
        names = ["CAP_KILL", "CAP_CHOWN"]
        config["process"]["capabilities"] = dict.fromkeys(
            ("bounding", "effective", "permitted"), names
        )
        if inheritable:
            kinds = ("inheritable", "ambient")
            config["process"]["capabilities"] |= {kind: [*names, "CAP_NET_RAW"] for kind in kinds}
            config["process"]["capabilities"]["bounding"] = [*names, "CAP_NET_RAW"]
            config["process"]["capabilities"]["permitted"] = [*names, "CAP_NET_RAW"]

    box = make(change)
    kept = mask(["CAP_KILL", "CAP_CHOWN"]) | (mask(["CAP_NET_RAW"]) if inheritable else 0)
    more = mask(["CAP_NET_BIND_SERVICE"])
    for flags, added in (((), 0), (("--cap", "CAP_NET_BIND_SERVICE"), more)):
        done = box.exec(*flags, "--", "cat", "/proc/self/status")
        assert done.returncode == 0
        found = sets_of(done.stdout)
        assert found["CapBnd"] == found["CapPrm"] == found["CapEff"] == kept | added
        assert found["CapInh"] == (kept if inheritable else 0)
        # It is not inheritable, so it can't be raised; others are as they were.
        assert found["CapAmb"] == (kept if inheritable else 0)


def test_the_first_process_keeps_its_own(make: Make) -> None:
    box = make()
    before = Path(f"/proc/{box.pid}/status").read_text()
    box.exec("--cap", "CAP_CHOWN", "--", "true")
    after = Path(f"/proc/{box.pid}/status").read_text()
    assert sets_of(after) == sets_of(before)


def test_no_object_is_no_capability(make: Make, tmp_path: Path) -> None:
    found = sets_of(says(make(), tmp_path, "cat", "/proc/self/status"))
    assert set(found.values()) == {0}


def test_all_that_there_are(make: Make, tmp_path: Path) -> None:
    held = sets_of(Path("/proc/self/status").read_text())["CapBnd"]
    names = [name for name in NAMES[: last_capability() + 1] if held >> NUMBERS[name] & 1]
    kinds = ("bounding", "effective", "permitted", "inheritable", "ambient")
    members = {"capabilities": dict.fromkeys(kinds, names), "user": {"uid": 1000, "gid": 1000}}
    found = sets_of(says(make(), tmp_path, "cat", "/proc/self/status", **members))
    assert set(found.values()) == {mask(names)}


def test_sets_that_can_not_be(make: Make, tmp_path: Path) -> None:
    box = make()
    bad: dict[str, dict[str, list[str]]] = {
        "process.capabilities.effective": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"]},
        "process.capabilities.inheritable": {
            "permitted": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"],
        },
    }
    for field, sets in bad.items():
        refused(run(box, tmp_path, "true", capabilities=sets), f"{field}: CAP_KILL")
    assert box.processes() == [box.pid]


# ── limits ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("uid", [0, 1000])
def test_rlimits(make: Make, tmp_path: Path, uid: int) -> None:
    """Also those that would have ended Python, and for a user who could not raise them."""
    wanted = {
        "RLIMIT_NOFILE": (3, 5, "Max open files"),
        "RLIMIT_AS": (40 << 20, 50 << 20, "Max address space"),
        "RLIMIT_DATA": (8 << 20, 9 << 20, "Max data size"),
        "RLIMIT_STACK": (128 << 10, 256 << 10, "Max stack size"),
        "RLIMIT_CORE": (0, 0, "Max core file size"),
        "RLIMIT_CPU": (77, 78, "Max cpu time"),
        "RLIMIT_FSIZE": (1 << 20, 1 << 21, "Max file size"),
        "RLIMIT_MEMLOCK": (4096, 8192, "Max locked memory"),
    }
    rlimits = [
        {"type": name, "soft": soft, "hard": hard} for name, (soft, hard, _) in wanted.items()
    ]
    user = {"uid": uid, "gid": uid}
    # A builtin: with 3 descriptors nothing more can be opened.
    done = run(make(), tmp_path, "cat", "/proc/1/limits", rlimits=rlimits, user=user)
    assert done.returncode != 0, "3 descriptors are too few to open a file"
    rlimits[0]["soft"] = 4
    text = says(make(), tmp_path, "cat", "/proc/self/limits", rlimits=rlimits, user=user)
    wanted["RLIMIT_NOFILE"] = (4, 5, "Max open files")
    for soft, hard, words in wanted.values():
        line = next(line for line in text.splitlines() if line.startswith(words))
        assert line.removeprefix(words).split()[:2] == [str(soft), str(hard)]


def test_config_jsons_rlimits(make: Make) -> None:
    def change(config: "Config") -> None:
        config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 78}]

    said = make(change).says("--user", "1000", "--", "sh", "-c", "ulimit -Sn; ulimit -Hn")
    assert said == "77\n78\n"


def test_processes_of_a_user(make: Make, tmp_path: Path) -> None:
    """RLIMIT_NPROC: one process may be there; what makes it does not count beside it."""
    uid = 1_234_567  # nobody's, so nothing else counts
    limits = [{"type": "RLIMIT_NPROC", "soft": 1, "hard": 1}]
    user = {"uid": uid, "gid": uid}
    box = make()
    assert says(box, tmp_path, "echo", "said", rlimits=limits, user=user) == "said\n"
    done = run(box, tmp_path, "sh", "-c", "true & wait; echo x", rlimits=limits, user=user)
    assert "can't fork" in done.stderr


def test_a_limit_that_is_too_high(make: Make, tmp_path: Path) -> None:
    """Refused where we lack CAP_SYS_RESOURCE; given where not."""
    limits = [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 1 << 20}]
    done = run(make(), tmp_path, "sh", "-c", "ulimit -Hn", rlimits=limits)
    if sets_of(Path("/proc/self/status").read_text())["CapEff"] >> 24 & 1:
        assert done.stdout == f"{1 << 20}\n"
    else:
        refused(done, "process.rlimits[0]")


def test_how_dear_it_is_to_the_oom_killer(make: Make, tmp_path: Path) -> None:
    """What it says, or else what config.json says for the first one."""
    own = int(Path("/proc/self/oom_score_adj").read_text())

    def change(config: "Config") -> None:
        config["process"]["oomScoreAdj"] = own + 100

    box, look = make(change), ("cat", "/proc/self/oom_score_adj")
    assert box.says("--", *look) == f"{own + 100}\n"
    assert box.says("--user", "1000", "--", *look) == f"{own + 100}\n"
    assert says(box, tmp_path, *look) == f"{own + 100}\n"
    assert says(box, tmp_path, *look, oomScoreAdj=own + 200) == f"{own + 200}\n"
    assert make().says("--", *look) == f"{own}\n"


def test_the_umask(make: Make, tmp_path: Path) -> None:
    def change(config: "Config") -> None:
        config["process"]["user"]["umask"] = 0o027

    box = make(change)
    assert box.says("--", "sh", "-c", "umask") == "0027\n"
    assert says(box, tmp_path, "sh", "-c", "umask") == "0022\n"
    for umask, shown in ((0, "0000"), (0o777, "0777")):
        user = {"uid": 0, "gid": 0, "umask": umask}
        assert says(box, tmp_path, "sh", "-c", "umask", user=user) == f"{shown}\n"


# Its nice value and its policy (proc(5), stat).
SCHEDULING = "cut -d' ' -f19,41 /proc/self/stat; ionice -p $$"


def test_scheduler_and_io_priority(make: Make, tmp_path: Path) -> None:
    members: dict[str, Any] = {
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5},
        "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0},
        "user": {"uid": 1000, "gid": 1000},
    }
    box = make()
    said = says(box, tmp_path, "sh", "-c", SCHEDULING, **members)
    assert said == f"5 {os.SCHED_BATCH}\nidle\n"


def test_the_first_ones_scheduler_is_config_jsons(make: Make) -> None:
    def change(config: "Config") -> None:
        config["process"]["scheduler"] = {"policy": "SCHED_OTHER", "nice": 7}
        config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}

    said = make(change).says("--", "sh", "-c", SCHEDULING)
    assert said == "7 0\nbest-effort: prio 6\n"


def test_the_first_ones_memory_policy_is_config_jsons(make: Make) -> None:
    """It has no place in `process`, and holds for a second one, too."""

    def change(config: "Config") -> None:
        flags = ["MPOL_F_RELATIVE_NODES"]
        policy = {"mode": "MPOL_PREFERRED", "nodes": "0", "flags": flags}
        config["linux"]["memoryPolicy"] = policy

    see = "head -n 1 /proc/self/numa_maps | cut -d' ' -f2"
    said = make(change).says("--", "sh", "-c", see)
    assert said in ("prefer=relative:0\n", "prefer (many)=relative:0\n")


# ── the filter ──────────────────────────────────────────────────────────────────────────────────

# Calls of the finish list that come under a filter which no_new_privs does not put off.
UNDER = ("capset", "prctl", "clone", "write", "exit_group", "read", "setsid", "fcntl", "execve")


def filtered(
    action: str, names: "tuple[str, ...]", otherwise: str, *, no_new_privs: bool
) -> "Callable[[Config], None]":
    def change(config: "Config") -> None:
        writable(config)
        config["process"]["noNewPrivileges"] = no_new_privs
        config["linux"]["seccomp"] = {
            "defaultAction": otherwise,
            "syscalls": [{"names": list(names), "action": action}],
        }

    return change


@pytest.mark.parametrize("no_new_privs", [False, True])
def test_the_filter_is_in_force(make: Make, no_new_privs: bool) -> None:
    """Once, as in the first process; a program can't get rid of it, nor its children."""
    change = filtered(
        "SCMP_ACT_ERRNO", ("mkdir", "mkdirat"), "SCMP_ACT_ALLOW", no_new_privs=no_new_privs
    )
    box = make(change)
    for flags in ((), ("--user", "1000"), ("--no-new-privs",)):
        found = status(box.says(*flags, "--", "cat", "/proc/self/status"))
        assert (found["Seccomp"], found["Seccomp_filters"]) == ("2", "1")
        assert found["NoNewPrivs"] == str(int(no_new_privs or "--no-new-privs" in flags))
        # What the list needed to load it without no_new_privs is gone.
        assert not int(found["CapPrm"], 16) >> NUMBERS["CAP_SYS_ADMIN"] & 1
        assert not int(found["CapBnd"], 16) >> NUMBERS["CAP_SYS_ADMIN"] & 1
        done = box.exec(*flags, "--", "sh", "-c", "mkdir /tmp/x")
        assert "Operation not permitted" in done.stderr


@pytest.mark.parametrize("no_new_privs", [False, True])
def test_what_runs_under_a_filter(make: Make, still: str, no_new_privs: bool) -> None:
    """Without no_new_privs what docs/architecture.md lists, with it execve; and no other call."""
    # (What closes the sync pipe is the first process's list; a second one's is closed by its exec.)
    names = ("pause", "exit_group", *(("execve",) if no_new_privs else (*UNDER, "close")))

    def change(config: "Config") -> None:
        kill = "SCMP_ACT_KILL_PROCESS"
        filtered("SCMP_ACT_ALLOW", names, kill, no_new_privs=no_new_privs)(config)

    box = make(change, still, "wait")
    for flags in ((), ("--user", "1000"), ("--no-new-privs",)):
        done = box.exec(*flags, "--", still)
        assert (done.returncode, done.stderr) == (7, "")
        done = box.exec(*flags, "--", "cat", "/etc/passwd")
        assert (done.returncode, done.stdout) == (128 + signal.SIGSYS, "")


@pytest.fixture
def still(busybox_root: Path, tmp_path: Path) -> str:
    """A program that makes two calls: it ends with 7, or waits for a signal for ever."""
    if os.uname().machine != "x86_64":
        pytest.skip("tried with the machine code of x86_64")
    source, program = tmp_path / "still.c", busybox_root / "still"
    source.write_text(
        """
        #include <asm/unistd.h>
        static long call(long number, long argument) {
            long result;
            __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(argument)
                             : "rcx", "r11", "memory");
            return result;
        }
        __attribute__((used)) static void begin(long *stack) {
            if (stack[0] > 1) for (;;) call(__NR_pause, 0);
            call(__NR_exit_group, 7);
        }
        __asm__(".globl _start; _start: mov %rsp, %rdi; call begin");
        """
    )
    words = ["gcc", "-O1", "-static", "-nostdlib", "-o", str(program), str(source)]
    subprocess.run(words, check=True, timeout=60)
    return "/still"


@pytest.mark.parametrize("action", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"])
def test_a_filter_that_denies_clone(make: Make, action: str) -> None:
    """The one exception that architecture.md documents: without no_new_privs we can't go in."""
    change = filtered(
        action, ("clone", "clone3", "fork", "vfork"), "SCMP_ACT_ALLOW", no_new_privs=False
    )
    box = make(change)
    done = box.exec("--", "true")
    refused(done, "enter the pid namespace" if action == "SCMP_ACT_ERRNO" else "by signal 31")
    assert box.processes() == [box.pid]
    assert box.says("--no-new-privs", "--", "echo", "said") == "said\n"


# ── the rest of linux ───────────────────────────────────────────────────────────────────────────


def test_the_personality(make: Make) -> None:
    def change(config: "Config") -> None:
        config["linux"]["personality"] = {"domain": "LINUX32"}

    assert make(change).says("--", "uname", "-m") == "i686\n"


def test_the_keyring(make: Make) -> None:
    """The container's, not the caller's and no new one."""
    box = make(lambda config: config["linux"].pop("maskedPaths"))
    both = [box.says("--", "cat", "/proc/keys") for _ in range(2)]
    names = [[line for line in text.splitlines() if box.id in line] for text in both]
    assert names[0], both[0]
    assert [line.split()[0] for line in names[0]] == [line.split()[0] for line in names[1]]
    own = ctypes.CDLL(None).syscall(250, 0, -3, 0)  # keyctl(KEYCTL_GET_KEYRING_ID, session)
    assert own != int(names[0][0].split()[0], 16)


# ── namespaces ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def make_open(lcpy: "Lcpy", bundle: "Bundle") -> Iterator[Make]:
    """`make`, where whoever is not root may pass: not below what pytest makes for root alone."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        directory = Path(name)
        directory.chmod(0o755)

        def made(change: "Callable[[Config], object]") -> Box:
            path = bundle("sleep", "1000", change=change).rename(directory / "bundle")
            return Box(lcpy, path)

        yield made


def with_user_namespace(first: int) -> "Callable[[Config], None]":
    def change(config: "Config") -> None:
        writable(config)
        config["linux"]["namespaces"].append({"type": "user"})
        maps = [{"containerID": first, "hostID": 200_000, "size": 3000}]
        config["linux"] |= {"uidMappings": maps, "gidMappings": maps}
        config["process"]["user"] = {"uid": first, "gid": first}
        for mount in config["mounts"]:
            if mount["type"] == "devpts":
                mount["options"] = [each for each in mount["options"] if each[:4] != "gid="]

    return change


@pytest.mark.parametrize("first", [0, 1000])
def test_a_user_namespace(make_open: Make, tmp_path: Path, first: int) -> None:
    """Its ids, and rights over it alone; also where 0 is not mapped."""
    box = make_open(with_user_namespace(first))
    look = "id -u; id -g; cat /proc/self/uid_map; readlink /proc/self/ns/user"
    said = box.says("--", "sh", "-c", look).split()
    assert said[:5] == [str(first), str(first), str(first), "200000", "3000"]
    assert said[5] == os.readlink(f"/proc/{box.pid}/ns/user")
    assert box.says("--user", f"{first + 5}:{first + 6}", "-g", str(first + 7), "--", "id") == (
        f"uid={first + 5} gid={first + 6} groups={first + 7}\n"
    )
    refused(box.exec("--user", str(first + 3000), "--", "id"), "process.user.uid")
    refused(box.exec("--user", f"{first}:{first + 3000}", "--", "id"), "process.user.gid")
    refused(box.exec("-g", str(first + 3000), "--", "id"), "process.user.additionalGids")
    kinds = ("bounding", "effective", "permitted", "inheritable", "ambient")
    members = {
        "capabilities": {kind: ["CAP_SYS_ADMIN"] for kind in kinds},
        "user": {"uid": first + 1, "gid": first},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}],
        "oomScoreAdj": int(Path("/proc/self/oom_score_adj").read_text()) + 1,
    }
    found = sets_of(says(box, tmp_path, "cat", "/proc/self/status", **members))
    assert set(found.values()) == {mask(["CAP_SYS_ADMIN"])}


def test_a_terminal_in_a_user_namespace(make_open: Make) -> None:
    box = make_open(with_user_namespace(0))
    done = box.exec(
        "--tty", "-u", "7", "--", "sh", "-c", "stat -c %u $(tty)", start_new_session=True
    )
    assert done.stdout == "7\n", done.stderr


def without(*kinds: str) -> "Callable[[Config], None]":
    def change(config: "Config") -> None:
        namespaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [each for each in namespaces if each["type"] not in kinds]
        if "mount" in kinds:
            config["mounts"] = []
            for name in ("maskedPaths", "readonlyPaths"):
                config["linux"].pop(name)
        if "uts" in kinds:
            config.pop("hostname")

    return change


def test_the_hosts_pid_namespace(make: Make) -> None:
    box = make(without("pid"))
    said = box.says("--", "sh", "-c", f"readlink /proc/self/ns/pid; cat /proc/{box.pid}/cmdline")
    assert said == os.readlink("/proc/self/ns/pid") + "\nsleep\x001000\x00"


def test_no_mount_namespace(make: Make) -> None:
    """Then its root is a directory of the host's, and it is only there that files are looked at."""
    box = make(without("mount"))
    (box.rootfs / "mark").write_text("inside")
    assert box.says("--cwd", "/tmp", "--", "sh", "-c", "cat /mark; pwd; ls ../../..").split() == [
        "inside/tmp",
        *sorted(os.listdir(box.rootfs)),
    ]
    done = box.exec("--cwd", "/../../../..", "--", "cat", "mark")
    assert done.stdout == "inside"


@pytest.mark.parametrize("kind", ["network", "ipc", "uts"])
def test_a_namespace_that_is_the_hosts(make: Make, kind: str) -> None:
    box = make(without(kind))
    name = {"network": "net"}.get(kind, kind)
    assert box.says("--", "readlink", f"/proc/self/ns/{name}") == (
        os.readlink(f"/proc/self/ns/{name}") + "\n"
    )


def test_none_of_its_own(make: Make) -> None:
    box = make(without("mount", "pid", "network", "ipc", "uts", "cgroup", "user", "time"))
    assert box.says("--", "sh", "-c", "echo $((6 * 7)); pwd") == "42\n/\n"


def test_a_time_namespace(make: Make) -> None:
    def change(config: "Config") -> None:
        config["linux"]["namespaces"].append({"type": "time"})
        config["linux"]["timeOffsets"] = {"boottime": {"secs": 10_000_000}}

    box = make(change)
    uptime = float(box.says("--", "cat", "/proc/uptime").split()[0])
    assert uptime - float(Path("/proc/uptime").read_text().split()[0]) > 9_999_999


@pytest.mark.parametrize("kind", ["pid", "network", "cgroup"])
def test_a_namespace_that_is_joined(make: Make, kind: str) -> None:
    """A container in another's namespace: what is run in it is there, too."""
    first = make()
    name = {"network": "net"}.get(kind, kind)
    path = f"/proc/{first.pid}/ns/{name}"

    def change(config: "Config") -> None:
        found = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [each for each in found if each["type"] != kind]
        config["linux"]["namespaces"].append({"type": kind, "path": path})

    second = make(change)
    look = ("--", "readlink", f"/proc/self/ns/{name}")
    assert second.says(*look) == first.says(*look) == os.readlink(path) + "\n"
    if kind == "pid":
        seen = second.says("--", "sh", "-c", "cat /proc/[0-9]*/comm | sort | uniq -c")
        assert "2 sleep" in seen
        # Dead, but not reaped by us, it would keep the other's first process from its end.
        second.lcpy("delete", "--force", second.id, check=True)
        os.waitpid(second.pid, 0)


# ── inits that make it hard ─────────────────────────────────────────────────────────────────────


def test_an_init_that_changed_its_root(make: Make) -> None:
    """The root is that of the mount namespace, not where the first process has locked itself in."""

    def change(config: "Config") -> None:
        writable(config)
        script = "mkdir -p /jail/bin; cp /bin/busybox /jail/bin; exec chroot /jail /bin/busybox "
        config["process"]["args"] = [
            "sh",
            "-c",
            f"{script} sh -c 'echo >/up; exec /bin/busybox sleep 1000'",
        ]
        for kind in ("bounding", "effective", "permitted"):
            config["process"]["capabilities"][kind].append("CAP_SYS_CHROOT")

    box = make(change)
    wait_for(box.rootfs / "jail/up")
    assert os.readlink(f"/proc/{box.pid}/root").endswith("/jail")
    (box.rootfs / "mark").write_text("whole")
    assert box.says("--", "cat", "/mark") == "whole"


STRANGE = {
    "nothing is mounted there": "umount /proc",
    "something else is mounted there": "mount -t tmpfs none /proc",
    "a link lies there": "umount /proc; rmdir /proc; ln -s /etc /proc",
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_strange_proc(make: Make, what: str) -> None:
    """Nothing that we look at or write lies in there."""

    def change(config: "Config") -> None:
        writable(config)
        script = f"{STRANGE[what]}; echo >/up; exec sleep 1000"
        config["process"]["args"] = ["/bin/sh", "-c", script]
        for name in ("maskedPaths", "readonlyPaths"):
            config["linux"].pop(name)
        for kind in ("bounding", "effective", "permitted"):
            config["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")

    box = make(change)
    wait_for(box.rootfs / "up")
    for flags in ((), ("--user", "1000"), ("--cwd", "/tmp")):
        assert box.says(*flags, "--", "echo", "said") == "said\n"
