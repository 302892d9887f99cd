"""`process` of config.json, as its program sees it from inside."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Config
    from tests.spec.conftest import Box, Change

PATH = "PATH=/bin"


def process(**fields: Any) -> "Change":
    """Set fields of `process`; None removes one."""

    def change(config: "Config") -> None:
        for name, value in fields.items():
            if value is None:
                config["process"].pop(name, None)
            else:
                config["process"][name] = value

    return change


def user(uid: int, gid: int, **more: Any) -> "Change":
    return process(user={"uid": uid, "gid": gid, **more})


# --- args and env -----------------------------------------------------------------------------


def test_args_arrive_as_they_are(box: "Box") -> None:
    """Empty ones, blanks, newlines, dashes and other scripts."""
    args = ["printf", "[%s]", "", " a  b ", "-n", "new\nline", "\"'\\$x", "grüße 世界 🎈"]
    assert box.out(*args) == "".join(f"[{word}]" for word in args[2:])


def environment(box: "Box", *entries: str, **options: Any) -> list[str]:
    said = box.out("cat", "/proc/self/environ", change=process(env=entries), **options)
    return said.split("\0")[:-1]


def test_env_is_the_config_s_alone(box: "Box") -> None:
    """Nothing of the caller's comes in; values may hold anything."""
    entries = [PATH, "HOME=/h", "EMPTY=", "EQUALS=a=b", "LINES=1\n2", "ÜTF=grüße 世界", "a b=1"]
    caller = {**os.environ, "LCPY_CALLERS": "1", "LD_PRELOAD_X": "1"}
    assert environment(box, *entries, env=caller) == entries


def test_of_an_env_that_is_there_twice_the_last_counts(box: "Box") -> None:
    entries = [PATH, "A=1", "HOME=/h", "A=2"]
    assert environment(box, *entries) == [PATH, "A=2", "HOME=/h"]
    assert "A=2" in environment(box, *entries, runtime="runc")


@pytest.mark.parametrize(
    ("uid", "entries", "home"),
    [
        (0, (), "/root"),
        (1000, (), "/home/user"),
        (1000, ("HOME=",), "/home/user"),
        (4242, (), "/"),
        (1000, ("HOME=/other",), "/other"),
    ],
)
def test_home(box: "Box", uid: int, entries: tuple[str, ...], home: str) -> None:
    """Unset or empty it comes from the container's passwd; `/` for who is not in it."""

    def change(config: "Config") -> None:
        user(uid, 0)(config)
        process(env=[PATH, *entries])(config)

    assert box.both("echo $HOME", change=change) == home + "\n"


def test_the_program_is_found_down_the_container_s_path(box: "Box") -> None:
    """Elements that are missing, empty or relative are passed over."""
    path = "PATH=/nowhere::bin:./bin:/bin"
    assert box.out("echo", "x", change=process(env=[path])) == "x\n"
    assert "not found in $PATH" in box.refused("echo", change=process(env=["PATH=:bin:./bin"]))
    assert "not found in $PATH" in box.refused("echo", change=process(env=["A=1"]))
    assert box.out("bin/echo", "x", change=process(env=["A=1"])) == "x\n"


# --- cwd --------------------------------------------------------------------------------------


def test_cwd(box: "Box") -> None:
    assert box.sh("pwd", change=process(cwd="/var")) == "/var\n"
    assert box.sh("pwd", change=process(cwd="//usr/../tmp/.")) == "/tmp\n"


def test_a_cwd_that_is_missing_is_made(box: "Box") -> None:
    """By root, with mode 0755, whatever the caller's umask and the process's user are."""

    def change(config: "Config") -> None:
        process(cwd="/made/for/me")(config)
        user(1000, 1000, umask=0o77)(config)

    said = box.sh(
        "pwd; stat -c '%u %g %a' /made .",
        change=change,
        own_root=True,
        preexec_fn=lambda: os.umask(0o77),
    )
    assert said == "/made/for/me\n0 0 755\n0 0 755\n"


def test_a_cwd_through_symlinks_stays_inside(box: "Box") -> None:
    bundle = box.bundle(["pwd", "-P"], process(cwd="/link"), own_root=True)
    (bundle / "rootfs/link").symlink_to("/../../../../../var")
    assert box.out(bundle=bundle) == "/var\n"


def test_a_cwd_that_would_lead_out_is_refused(box: "Box") -> None:
    """CVE-2024-21626: a directory of the host through a descriptor that is still open."""
    fd = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for cwd in (f"/proc/self/fd/{fd}", f"/proc/self/fd/{fd}/..", "/proc/1/cwd", "/proc/1/root"):
            assert "process.cwd" in box.refused(change=process(cwd=cwd), pass_fds=[fd])
    finally:
        os.close(fd)
    preserved = process(cwd="/proc/self/fd/3")
    prefix = ("sh", "-c", 'exec 3</etc; exec "$@"', "sh")
    assert "process.cwd" in box.refused(
        change=preserved, prefix=prefix, flags=["--preserve-fds", "1"]
    )


def test_a_cwd_that_is_a_file_is_refused(box: "Box") -> None:
    assert "not a directory" in box.refused(change=process(cwd="/etc/passwd"))


def test_a_cwd_that_the_user_may_not_enter_is_entered_by_root(box: "Box") -> None:
    """As runc does; the user can't come back to it."""
    bundle = box.bundle(
        ["sh", "-c", "readlink /proc/self/cwd || echo hidden; ls /secret 2>&1 | cut -d: -f3"],
        lambda config: (process(cwd="/secret")(config), user(1000, 1000)(config)),
        own_root=True,
    )
    (bundle / "rootfs/secret").mkdir(mode=0o700)
    assert "Permission denied" in box.out(bundle=bundle)
    assert box.out(bundle=bundle) == box.out(bundle=bundle, runtime="runc")


# --- user -------------------------------------------------------------------------------------


def ids(lines: list[str]) -> dict[str, list[int]]:
    fields = dict(line.split(":", 1) for line in lines)
    return {name: [int(word) for word in fields[name].split()] for name in ("Uid", "Gid", "Groups")}


@pytest.mark.parametrize(
    ("uid", "gid", "groups"),
    [(0, 0, []), (1000, 1000, [2000, 5]), (0, 7, [1]), (2**31 - 1, 2**31 - 2, [2**31 - 1])],
)
def test_all_ids_are_those_of_the_config(box: "Box", uid: int, gid: int, groups: list[int]) -> None:
    """Real, effective, saved, of the file system; no group of the caller's or of /etc/group."""
    more = {"additionalGids": groups} if groups else {}
    said = ids(
        box.lines("cat /proc/self/status", change=user(uid, gid, **more), extra_groups=[0, 42, 43])
    )
    assert said == {"Uid": [uid] * 4, "Gid": [gid] * 4, "Groups": sorted(groups)}


def test_without_a_user_it_is_root(box: "Box") -> None:
    """As for runc: a member that is left out is 0."""
    assert box.both("id -u; id -g; umask", change=process(user=None)) == "0\n0\n0022\n"
    assert box.both("id -u; id -g", change=process(user={"gid": 5})) == "0\n5\n"


def test_an_id_beyond_the_kernel_s_is_refused(box: "Box") -> None:
    """2^32-1 is "leave it as it is" to the kernel (CVE-2024-40635 is of the same kin)."""
    assert "process.user.uid" in box.refused(change=user(2**32 - 1, 0))
    assert "process.user.gid" in box.refused(change=user(0, 2**31))
    error = box.refused(change=user(0, 0, additionalGids=[5, 2**32]))
    assert "process.user.additionalGids[1]" in error


def test_more_groups_than_the_kernel_takes_are_refused(box: "Box") -> None:
    many = user(0, 0, additionalGids=[5] * 65537)
    assert "process.user.additionalGids" in box.refused(change=many)
    most = user(0, 0, additionalGids=list(range(1, 20001)))
    assert box.sh("id -G | wc -w", change=most) == "20001\n"


def test_umask(box: "Box") -> None:
    """0022 unless the config says another: never the caller's."""

    def ask(**more: int) -> str:
        return box.sh(
            "umask", change=user(0, 0, **more), preexec_fn=lambda: os.umask(0o707)
        ).strip()

    assert ask() == "0022"
    assert ask(umask=0) == "0000"
    assert ask(umask=0o77) == "0077"


# --- limits -----------------------------------------------------------------------------------

LOWERED = {
    "RLIMIT_AS": ("Max address space", 1 << 40),
    "RLIMIT_CORE": ("Max core file size", 0),
    "RLIMIT_CPU": ("Max cpu time", 1000),
    "RLIMIT_DATA": ("Max data size", 1 << 30),
    "RLIMIT_FSIZE": ("Max file size", 1 << 20),
    "RLIMIT_LOCKS": ("Max file locks", 10),
    "RLIMIT_MEMLOCK": ("Max locked memory", 4096),
    "RLIMIT_MSGQUEUE": ("Max msgqueue size", 1000),
    "RLIMIT_NICE": ("Max nice priority", 0),
    "RLIMIT_NOFILE": ("Max open files", 40),
    "RLIMIT_NPROC": ("Max processes", 50),
    "RLIMIT_RSS": ("Max resident set", 1 << 20),
    "RLIMIT_RTPRIO": ("Max realtime priority", 0),
    "RLIMIT_RTTIME": ("Max realtime timeout", 1000),
    "RLIMIT_SIGPENDING": ("Max pending signals", 12),
    "RLIMIT_STACK": ("Max stack size", 1 << 20),
}


def limits(text: str) -> dict[str, tuple[str, str]]:
    table = {}
    for line in text.splitlines()[1:]:
        values = line[26:].split()
        table[line[:26].strip()] = (values[0], values[1])
    return table


def test_every_rlimit(box: "Box") -> None:
    rlimits = [
        {"type": kind, "soft": value // 2, "hard": value} for kind, (_, value) in LOWERED.items()
    ]
    said = limits(box.out("cat", "/proc/self/limits", change=process(rlimits=rlimits)))
    assert said == {name: (str(value // 2), str(value)) for name, value in LOWERED.values()}


def test_rlimits_that_the_config_does_not_name_are_the_caller_s(box: "Box") -> None:
    ours = limits(Path("/proc/self/limits").read_text())
    said = limits(box.out("cat", "/proc/self/limits", change=process(rlimits=None)))
    assert said == ours


def test_limits_too_small_for_python_do_not_hinder_it(box: "Box") -> None:
    """They are set when Python's work is over, and hold for the program."""
    small = [
        {"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3},
        {"type": "RLIMIT_AS", "soft": 4 << 20, "hard": 4 << 20},
        {"type": "RLIMIT_DATA", "soft": 1 << 20, "hard": 1 << 20},
        {"type": "RLIMIT_FSIZE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_STACK", "soft": 128 << 10, "hard": 128 << 10},
    ]
    bundle = box.bundle(["true"], process(rlimits=small))
    assert box.run(bundle=bundle).returncode == 0


WITHOUT_RESOURCE = ("setpriv", "--bounding-set", "-sys_resource")


def test_a_limit_that_may_not_be_raised_is_an_error(box: "Box") -> None:
    """Without CAP_SYS_RESOURCE nothing goes above the hard limit."""
    rlimits = [
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1 << 30},
    ]
    error = box.refused(change=process(rlimits=rlimits), prefix=WITHOUT_RESOURCE)
    assert "process.rlimits[1]" in error
    assert "operation not permitted" in error
    assert "CAP_SYS_RESOURCE" in error


def test_a_limit_that_is_there_twice_or_does_not_exist_is_refused(box: "Box") -> None:
    twice = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2
    assert "process.rlimits[1].type" in box.refused(change=process(rlimits=twice))
    none = [{"type": "RLIMIT_NOPE", "soft": 0, "hard": 0}]
    assert "process.rlimits[0].type" in box.refused(change=process(rlimits=none))


@pytest.mark.parametrize(("value", "flag"), [(True, "1"), (False, "0"), (None, "0")])
def test_no_new_privileges(box: "Box", value: bool | None, flag: str) -> None:
    change = process(noNewPrivileges=value)
    assert box.lines("grep NoNewPrivs /proc/self/status", change=change) == [f"NoNewPrivs:\t{flag}"]


def test_oom_score_adj(box: "Box") -> None:
    """The config's; without one, the caller's."""
    ours = int(Path("/proc/self/oom_score_adj").read_text())
    read = ("cat", "/proc/self/oom_score_adj")
    assert int(box.out(*read)) == ours
    assert int(box.out(*read, change=process(oomScoreAdj=1000))) == 1000


def test_an_oom_score_that_may_not_be_lowered_is_an_error(box: "Box") -> None:
    error = box.refused(change=process(oomScoreAdj=-1000), prefix=WITHOUT_RESOURCE)
    assert "process.oomScoreAdj" in error
    assert "CAP_SYS_RESOURCE" in error
    assert "process.oomScoreAdj" in box.refused(change=process(oomScoreAdj=1001))


# --- what no field says -----------------------------------------------------------------------

# Runs the rest of its words with signals ignored and blocked, as a careless daemon would.
IGNORING = (
    sys.executable,
    "-c",
    "import os, signal, sys\n"
    "for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGUSR1, signal.SIGHUP):\n"
    "    signal.signal(number, signal.SIG_IGN)\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
    "os.execvp(sys.argv[1], sys.argv[1:])",
)


@pytest.mark.parametrize("prefix", [(), IGNORING], ids=["", "ignored and blocked"])
def test_no_signal_is_ignored_blocked_or_caught(box: "Box", prefix: tuple[str, ...]) -> None:
    said = box.out("cat", "/proc/self/status", prefix=prefix)
    signals = {
        line.split()[0]: int(line.split()[1], 16)
        for line in said.splitlines()
        if line.startswith(("SigIgn", "SigBlk", "SigCgt"))
    }
    assert signals == {"SigIgn:": 0, "SigBlk:": 0, "SigCgt:": 0}


def test_it_leads_its_own_session(box: "Box") -> None:
    """And its process group; no terminal comes with it."""
    fields = box.out("cat", "/proc/1/stat").split()
    parent, group, session, terminal = fields[3:7]
    assert (parent, group, session, terminal) == ("0", "1", "1", "0")


OPEN = "ls /proc/1/fd; true"  # of the shell that waits, not of `ls`


def test_there_are_three_descriptors(box: "Box") -> None:
    """Whatever the caller has left open."""
    fds = [os.open("/etc/hostname", os.O_RDONLY) for _ in range(3)]
    try:
        assert box.lines(OPEN, pass_fds=fds) == ["0", "1", "2"]
    finally:
        for fd in fds:
            os.close(fd)


# Opens descriptors 3, 4 and 5 on files with those contents, then runs the rest of its words.
OPENING = ("sh", "-c", 'exec 3</dev/null 4</dev/zero 5</dev/full; exec "$@"', "sh")


def test_preserved_descriptors_keep_their_numbers(box: "Box") -> None:
    script = "for fd in 3 4 5 6; do readlink /proc/1/fd/$fd; done; true"
    said = box.lines(script, prefix=OPENING, flags=["--preserve-fds", "2"], close_fds=True)
    assert said == ["/dev/null", "/dev/zero"]


def test_a_preserved_descriptor_that_is_not_open_is_an_error(box: "Box") -> None:
    error = box.refused(prefix=OPENING, flags=["--preserve-fds", "4"])
    assert "--preserve-fds" in error
    assert "6" in error


def listening(pid: str, fds: str) -> tuple[str, ...]:
    """As OPENING, and with the environment of a service that sockets were opened for."""
    *before, script, name = OPENING
    said = f"export LISTEN_PID={pid} LISTEN_FDS={fds}"
    return (*before, script.replace("exec ", f"{said}; exec ", 1), name)


LISTENING = 'echo "$LISTEN_FDS for $LISTEN_PID of $$"; ls /proc/self/fd | xargs'


@pytest.mark.parametrize(
    ("flags", "fds"), [((), "0 1 2 3 4"), (("--preserve-fds", "1"), "0 1 2 3 4 5")]
)
def test_sockets_to_listen_on_are_passed_on(box: "Box", flags: tuple[str, ...], fds: str) -> None:
    """sd_listen_fds(3); --preserve-fds counts from behind them."""
    prefix = listening("$$", "2")
    change = process(env=[PATH, "LISTEN_FDS=9"])
    said = box.lines(LISTENING, prefix=prefix, flags=list(flags), change=change)
    assert said[0] == "2 for 1 of 1"
    assert said[1].removesuffix(f" {len(fds.split())}") == fds  # and the directory of `ls` itself


def test_the_sockets_of_a_program_in_the_host_s_pid_namespace(box: "Box") -> None:
    def change(config: "Config") -> None:
        config["linux"]["namespaces"].remove({"type": "pid"})

    said = box.lines(LISTENING, prefix=listening("$$", "1"), change=change)
    count, _for, wanted, _of, pid = said[0].split()
    assert (count, wanted) == ("1", pid)


@pytest.mark.parametrize(("pid", "fds"), [("1", "2"), ("$$", "0"), ("$$", "x"), ("", "2")])
def test_sockets_that_are_not_for_us_are_not_passed_on(box: "Box", pid: str, fds: str) -> None:
    said = box.lines(LISTENING, prefix=listening(pid, fds))
    assert said == [" for  of 1", "0 1 2 3"]


def test_a_socket_that_is_not_open_is_an_error(box: "Box") -> None:
    assert "LISTEN_FDS: descriptor 6 is not open" in box.refused(prefix=listening("$$", "4"))


@pytest.mark.parametrize("stream", [1, 2])
def test_the_user_can_reopen_its_streams(box: "Box", stream: int) -> None:
    """/dev/stdout is a link to a pipe that root made: it is given to the container's user."""
    path = {1: "/dev/stdout", 2: "/dev/stderr"}[stream]
    bundle = box.bundle(["sh", "-c", f"echo reopened >{path}"], user(1000, 1000))
    argv = [*box.lcpy.argv("run", "--bundle", bundle), box.lcpy.new_id()]
    done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"reopened\n")


def test_a_null_device_of_the_host_is_not_given_away(box: "Box") -> None:
    """It is everybody's."""
    before = os.stat("/dev/null")
    box.run("true", change=user(1000, 1000), stdout=subprocess.DEVNULL)
    after = os.stat("/dev/null")
    assert (before.st_uid, before.st_gid) == (after.st_uid, after.st_gid)


# Makes a session keyring with a key that only its possessor sees, then runs the rest of its words.
WITH_A_KEY = (
    sys.executable,
    "-c",
    "import ctypes, os, sys\n"
    "call = ctypes.CDLL(None, use_errno=True).syscall\n"
    "add_key, keyctl = {'x86_64': (248, 250), 'aarch64': (217, 219)}[os.uname().machine]\n"
    "call(keyctl, 1, b'lcpy-hosts-ring')\n"
    "key = call(add_key, b'user', b'lcpy-secret', b'x', 1, -3)\n"
    "assert key > 0, ctypes.get_errno()\n"
    "assert call(keyctl, 5, key, 0x3f000000) == 0\n"
    "os.execvp(sys.argv[1], sys.argv[1:])",
)


def test_no_key_of_the_host_can_be_seen(box: "Box") -> None:
    """Except where the caller asks to leave the container in its own session keyring."""

    def unmasked(config: "Config") -> None:
        config["linux"]["maskedPaths"].remove("/proc/keys")

    keys = ("cat", "/proc/keys")
    hidden = box.out(*keys, change=unmasked, prefix=WITH_A_KEY)
    assert "_ses.lcpy-test-" in hidden
    assert "lcpy-secret" not in hidden
    seen = box.out(*keys, change=unmasked, prefix=WITH_A_KEY, flags=["--no-new-keyring"])
    assert "lcpy-secret" in seen


def test_personality(box: "Box") -> None:
    def change(domain: str) -> "Change":
        return lambda config: config["linux"].update(personality={"domain": domain})

    assert box.sh("uname -m", change=change("LINUX32")) != box.sh("uname -m")
    assert box.sh("uname -m", change=change("LINUX")) == box.sh("uname -m")
