"""`linux.seccomp` of config.json, as programs inside feel it, and beside runc where it can be."""

import copy
import errno
import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Config, Lcpy
    from tests.spec.conftest import Box, Change

Profile = dict[str, Any]

KILLED = 128 + 31  # SIGSYS
MKDIR = ["mkdir", "mkdirat"]
# What Debian's BusyBox, a static program, calls before and after it does nothing at all.
NOTHING = [
    *("access", "arch_prctl", "brk", "execve", "exit_group", "fstat", "getrandom", "getuid"),
    *("getgid", "mprotect", "newfstatat", "prctl", "prlimit64", "readlink", "readlinkat", "rseq"),
    *("rt_sigprocmask", "set_robust_list", "set_tid_address", "setgid", "setuid", "uname"),
]


def entry(names: list[str], action: str, **more: Any) -> Profile:
    return {"names": names, "action": f"SCMP_ACT_{action}", **more}


def seccomp(default: str, *entries: Profile, process: Any = None, **more: Any) -> "Change":
    """Set the profile, and fields of `process`."""
    profile = {"defaultAction": f"SCMP_ACT_{default}", "syscalls": list(entries), **more}

    def change(config: "Config") -> None:
        config["linux"]["seccomp"] = copy.deepcopy(profile)
        config["process"].update(process or {})
        # A killed program would leave its memory behind.
        config["process"]["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]

    return change


def denied(
    names: list[str], action: str = "ERRNO", *, process: Any = None, **more: Any
) -> "Change":
    return seccomp("ALLOW", entry(names, action, **more), process=process)


USER = {"user": {"uid": 1000, "gid": 1000}}
no_new_privs = pytest.mark.parametrize("no_new_privs", [True, False])
users = pytest.mark.parametrize("user", [{}, USER], ids=["root", "user"])

STATUS = "grep -E '^(NoNewPrivs|Seccomp|Cap[A-Z][a-z]*):' /proc/self/status"


@no_new_privs
@users
def test_a_filter_is_loaded_and_nothing_else_differs(
    box: "Box", no_new_privs: bool, user: Profile
) -> None:
    """CAP_SYS_ADMIN, which loading one without no_new_privs takes, is gone afterwards."""
    process = {"noNewPrivileges": no_new_privs, **user}
    said = box.both(STATUS, change=denied(MKDIR, process=process))
    status = dict(line.split(":\t") for line in said.splitlines())
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == str(int(no_new_privs))
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) >> 21 & 1 == 0, name


def test_without_a_profile_there_is_no_filter(box: "Box") -> None:
    assert "Seccomp:\t0\n" in box.both(STATUS)


@no_new_privs
@users
def test_a_denied_call(box: "Box", no_new_privs: bool, user: Profile) -> None:
    process = {"noNewPrivileges": no_new_privs, **user}
    script = "mkdir /dev/shm/x 2>&1; echo $?; touch /dev/shm/y; echo $?"
    said = box.both(script, change=denied(MKDIR, process=process))
    assert said.splitlines() == [
        "mkdir: can't create directory '/dev/shm/x': Operation not permitted",
        "1",
        "0",
    ]


def test_errno_ret(box: "Box") -> None:
    change = denied(MKDIR, errnoRet=errno.ENETDOWN)
    assert "Network is down" in box.both("mkdir /dev/shm/x 2>&1; true", change=change)


def test_default_errno_ret(box: "Box") -> None:
    """All but mkdir is allowed, by names: an entry with the default action says nothing."""
    change = seccomp(
        "ERRNO", entry(every_call_but(*MKDIR), "ALLOW"), defaultErrnoRet=errno.ENETDOWN
    )
    assert "Network is down" in box.both("mkdir /dev/shm/x 2>&1; true", change=change)


def every_call_but(*names: str) -> list[str]:
    # The second is aarch64's.
    headers = ("x86_64-linux-gnu/asm/unistd_64.h", "asm-generic/unistd.h")
    path = Path("/usr/include") / headers[os.uname().machine == "aarch64"]
    header = path.read_text(encoding="ascii")
    words = [line.split() for line in header.splitlines() if line.startswith("#define __NR_")]
    found = [word[1].removeprefix("__NR_") for word in words]
    assert len(found) > 300
    return [name for name in found if name not in names]


@pytest.mark.parametrize("action", ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"])
@no_new_privs
def test_actions_that_kill(box: "Box", action: str, no_new_privs: bool) -> None:
    """SIGSYS reaches even the first process of a pid namespace."""
    change = denied(MKDIR, action, process={"noNewPrivileges": no_new_privs})
    done = box.run("mkdir", "/dev/shm/x", change=change)
    assert (done.returncode, done.stdout, done.stderr) == (KILLED, "", "")
    theirs = box.run("mkdir", "/dev/shm/x", change=change, runtime="runc")
    assert theirs.returncode == KILLED


@no_new_privs
def test_start_container_hooks_are_under_it(box: "Box", no_new_privs: bool) -> None:
    """As with runc, however late it is loaded: they are the image's programs."""
    under = denied(MKDIR, "KILL", process={"noNewPrivileges": no_new_privs})

    def change(config: "Config") -> None:
        under(config)
        hook = {"path": "/bin/mkdir", "args": ["mkdir", "/dev/shm/x"]}
        config["hooks"] = {"startContainer": [hook]}

    done = box.run("true", change=change)
    assert done.returncode == 1
    hook = "startContainer: hooks.startContainer[0]: error running startContainer hook #0: "
    assert f"{hook}/bin/mkdir: signal: bad system call" in done.stderr
    theirs = box.run("true", change=change, runtime="runc")
    assert theirs.returncode == 1
    assert "signal: bad system call" in theirs.stderr


@pytest.mark.parametrize("action", ["LOG", "ALLOW"])
def test_actions_that_let_pass(box: "Box", action: str) -> None:
    default = "LOG" if action == "ALLOW" else "ALLOW"
    change = seccomp(default, entry(MKDIR, action))
    assert box.both("mkdir /dev/shm/x && ls /dev/shm", change=change) == "x\n"


def test_trace_without_a_tracer(box: "Box") -> None:
    said = box.both("mkdir /dev/shm/x 2>&1; true", change=denied(MKDIR, "TRACE"))
    assert "Function not implemented" in said


def arg(index: int, op: str, value: int, **more: int) -> Profile:
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, **more}


MODES = """
touch /dev/shm/x
for mode in 700 750 755 777; do
    chmod $mode /dev/shm/x 2>/dev/null && echo $mode
done
true
"""


@pytest.mark.parametrize(
    ("args", "made"),
    [
        ([arg(1, "EQ", 0o750)], "700 755 777"),
        ([arg(1, "NE", 0o750)], "750"),
        ([arg(1, "LT", 0o750)], "750 755 777"),
        ([arg(1, "LE", 0o750)], "755 777"),
        ([arg(1, "GT", 0o750)], "700 750"),
        ([arg(1, "GE", 0o750)], "700"),
        ([arg(1, "MASKED_EQ", 0o007, valueTwo=0o005)], "700 750 777"),
        ([arg(1, "MASKED_EQ", 0o007)], "755 777"),
        # both must hold, and the first argument is no null pointer
        ([arg(1, "EQ", 0o750), arg(0, "EQ", 0)], "700 750 755 777"),
        ([arg(1, "EQ", 0o750), arg(0, "NE", 0)], "700 755 777"),
        # two of one argument: any is enough
        ([arg(1, "EQ", 0o750), arg(1, "EQ", 0o777)], "700 755"),
    ],
)
def test_args(box: "Box", args: list[Profile], made: str) -> None:
    change = denied(["chmod"], args=args)
    assert box.both(MODES, change=change).split() == made.split()


def test_names_that_nobody_knows_are_passed_over(box: "Box") -> None:
    said = box.both("mkdir /dev/shm/x 2>/dev/null; echo $?", change=denied(["nonsense", *MKDIR]))
    assert said == "1\n"


@pytest.mark.parametrize(
    "names", [[], ["TSYNC"], ["LOG"], ["SPEC_ALLOW"], ["LOG", "SPEC_ALLOW", "TSYNC"]]
)
def test_flags(box: "Box", names: list[str]) -> None:
    """The kernel takes them all; what it does with them, nobody inside sees."""
    flags = [f"SECCOMP_FILTER_FLAG_{name}" for name in names]
    change = seccomp("ALLOW", entry(MKDIR, "ERRNO"), flags=flags)
    assert "Seccomp:\t2\n" in box.sh(STATUS, change=change)


def elf(code: bytes) -> bytes:
    """A static program of a few instructions of x86-64, that a kernel starts as it is."""
    base, size = 0x400000, 64 + 56
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + size, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    whole = size + len(code)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, whole, whole, 4096) + code


def with_program(box: "Box", code: bytes, change: "Change") -> Path:
    """A bundle whose program is this machine code."""
    bundle = box.bundle(["/program"], change, own_root=True)
    program = bundle / "rootfs/program"
    program.write_bytes(elf(code))
    program.chmod(0o755)
    return bundle


# mov edi, 7; mov eax, exit_group; syscall
EXIT_7 = b"\xbf\x07\0\0\0\xb8\xe7\0\0\0\x0f\x05"


@users
def test_nothing_of_ours_runs_under_a_filter_but_execve(box: "Box", user: Profile) -> None:
    """With no_new_privs: what kills all but execve and the program's own end leaves both."""
    change = seccomp("KILL_PROCESS", entry(["execve", "exit_group"], "ALLOW"), process=user)
    done = box.run(bundle=with_program(box, EXIT_7, change))
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_a_profile_of_a_few_calls(box: "Box") -> None:
    change = seccomp("KILL_PROCESS", entry(NOTHING, "ALLOW"))
    assert box.run("true", change=change).returncode == 0
    assert box.run("mkdir", "/dev/shm/x", change=change).returncode == KILLED


def test_a_profile_without_syscalls_kills_at_the_first(box: "Box") -> None:
    """execve itself: the runtime can say no more than that."""
    done = box.run("true", change=seccomp("KILL_PROCESS"))
    assert done.returncode != 0


def call(number: int) -> bytes:
    """mov eax, number; syscall; neg eax; mov edi, eax; mov eax, exit_group; syscall."""
    return b"\xb8" + struct.pack("<I", number) + b"\x0f\x05\xf7\xd8\x89\xc7\xb8\xe7\0\0\0\x0f\x05"


@pytest.mark.parametrize("runtime", ["lcpy", "runc"])
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (165, errno.EPERM),  # mount: older, and not allowed
        (437, errno.EPERM),  # openat2: the last but one
        (439, errno.ENOSYS),  # faccessat2: newer than pidfd_getfd, the last that is named
        (4000, errno.ENOSYS),
    ],
)
def test_newer_calls_do_not_exist(box: "Box", number: int, error: int, runtime: str) -> None:
    """A libc falls back to an older call on ENOSYS; EPERM it hands to the program."""
    allowed = [name for name in every_call_but("mount") if older_than_openat2(name)]
    change = seccomp(
        "ERRNO",
        entry([*allowed, "pidfd_getfd"], "ALLOW"),
        architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    )
    done = box.run(bundle=with_program(box, call(number), change), runtime=runtime)
    assert (done.returncode, done.stderr) == (error, "")


def older_than_openat2(name: str) -> bool:
    newer = every_call_but()
    return name in newer[: newer.index("openat2")]


@pytest.mark.parametrize(
    ("architectures", "status"),
    [
        # mov eax, 39 (mkdir of i386); int 0x80: the filter's errno
        (["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], errno.ENETDOWN),
        (["SCMP_ARCH_X86_64"], KILLED),
        ([], KILLED),
    ],
)
def test_architectures(box: "Box", architectures: list[str], status: int) -> None:
    code = call(39).replace(b"\x0f\x05", b"\xcd\x80", 1)
    change = seccomp(
        "ALLOW",
        entry(MKDIR, "ERRNO", errnoRet=errno.ENETDOWN),
        architectures=architectures,
    )
    bundle = with_program(box, code, change)
    assert box.run(bundle=bundle).returncode == status
    assert box.run(bundle=bundle, runtime="runc").returncode == status


def test_the_container_is_made_before_its_filter(box: "Box") -> None:
    """What the runtime needs and the program must not do: mount, pivot_root, setns, …"""
    names = ["mount", "umount2", "pivot_root", "setns", "unshare", "clone3", "sethostname"]
    names += ["fsopen", "fsmount", "fsconfig", "open_tree", "move_mount", "mount_setattr"]
    script = "hostname; mount -t tmpfs x /tmp 2>&1; true"
    assert "permission denied" in box.both(script, change=denied(names))


def test_a_filter_waits_with_its_container(box: "Box", lcpy: "Lcpy") -> None:
    """create and start apart, and the same profile over and over, as an engine does it."""
    change = denied(MKDIR, "ERRNO", errnoRet=errno.ENETDOWN)
    for _ in range(3):
        bundle = box.bundle(["mkdir", "/dev/shm/x"], change)
        container = lcpy.new_id()
        lcpy("create", "--bundle", bundle, container, check=True)
        lcpy("start", container, check=True)
        lcpy.wait_for(container, "stopped")
        lcpy("delete", container, check=True)
        assert "Network is down" in box.run("mkdir", "/dev/shm/x", change=change).stderr


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1},
            "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW returns no errno",
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [entry(["mkdir"], "KILL", errnoRet=1)],
            },
            "linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_KILL returns no errno",
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [entry(["mkdir"], "ERRNO", args=[arg(6, "EQ", 1)])],
            },
            "linux.seccomp.syscalls[0].args[0].index: ",
        ),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PPC"]},
            "linux.seccomp.architectures[0]: ",
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            },
            "linux.seccomp.flags[0]: ",
        ),
        ({"defaultAction": "SCMP_ACT_MAYBE"}, "linux.seccomp.defaultAction"),
        ({"syscalls": []}, "linux.seccomp"),
    ],
)
def test_what_is_refused(box: "Box", profile: Profile, words: str) -> None:
    def change(config: "Config") -> None:
        config["linux"]["seccomp"] = json.loads(json.dumps(profile))

    assert words in box.refused(change=change)
