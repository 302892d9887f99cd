"""Speed and memory of lcpy beside runc and crun, in one interleaved run: ``./dev bench``.

A wheel of this checkout is installed into an environment of its own, so that what is measured is
what pip installs. Every round runs every measurement of every runtime once, in an order that is
shuffled anew; the table gives medians. Times are wall-clock from before the spawn to after the
wait, and CPU the user and system time of everything that was waited for. Standard library only.
"""

import argparse
import ctypes
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

CHECKOUT = Path(__file__).resolve().parent.parent
BUILD = CHECKOUT / "build"
VENV = BUILD / "bench-venv"
UNIFIED = "/sys/fs/cgroup/unified"
ID = f"lcpy-bench-{os.getpid()}"

ROWS = (
    *("run true", "run true, CPU"),
    *("run true, with a seccomp profile", "run true, with a seccomp profile, CPU"),
    *("create", "start", "delete -f"),
    *("create + start + delete -f", "create + start + delete -f, CPU"),
    "delete -f of a running one",
    *("state", "state, CPU"),
    *("exec true", "exec true, CPU"),
    *("pause + resume", "pause + resume, CPU"),
    *("created container, Pss", "created container, its memory cgroup"),
)

# Milliseconds or MiB, by row and by runtime.
Samples = dict[tuple[str, str], list[float]]


class Runtime:
    """One runtime's command, with a state directory of its own."""

    def __init__(self, name: str, command: str, directory: Path) -> None:
        self.name = name
        self.command = command
        self.argv = [command, "--root", str(directory / f"state-{name}")]
        self.log = directory / f"log-{name}"
        self.id = f"{ID}-{name}"  # also in the name of its cgroups, which must not be shared

    def run(self, *words: str) -> tuple[float, float]:
        """Run one command; return its wall time and its CPU time in milliseconds."""
        return spawn([*self.argv, *words], self.log)

    def version(self) -> str:
        """The first line of --version."""
        argv = [self.command, "--version"]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split("\n")[
            0
        ]


def spawn(argv: list[str], log: Path) -> tuple[float, float]:
    """Run a program to its end, which must be good, with files for its standard streams."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    start = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    if status:
        sys.exit(f"{' '.join(argv)}: wait status {status}\n{log.read_text(errors='replace')}")
    return wall * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3


# --- preparation --------------------------------------------------------------------------------


def install() -> Path:
    """Build a wheel of this checkout and install it; return the python of that environment."""
    work = BUILD / "bench-wheel"
    for path in (work, VENV):
        shutil.rmtree(path, ignore_errors=True)
    pip = ["-m", "pip", "-qq", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(work), "."]
    subprocess.run([sys.executable, *wheel], cwd=CHECKOUT, check=True)
    subprocess.run([os.path.realpath(sys.executable), "-m", "venv", str(VENV)], check=True)
    (built,) = work.glob("*.whl")
    add = [*pip, "install", "--root-user-action=ignore", str(built)]
    subprocess.run([str(VENV / "bin/python3"), *add], check=True)
    return VENV / "bin/python3"


def make_bundle(directory: Path, name: str, args: list[str]) -> Path:
    """A BusyBox bundle with the config that runc writes, so that all are given the same."""
    bundle = directory / name
    (bundle / "rootfs/bin").mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox, "busybox-static is missing"
    shutil.copy2(busybox, bundle / "rootfs/bin/busybox")
    for applet in ("true", "sleep", "sh"):
        (bundle / "rootfs/bin" / applet).symlink_to("busybox")
    subprocess.run(["runc", "spec", "--bundle", str(bundle)], check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"].update(terminal=False, args=args)
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


# What the profile of `seccomp_profile` refuses: it is about the host, and no container's business.
REFUSED = (
    *("acct", "bpf", "delete_module", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick"),
    *("init_module", "iopl", "ioperm", "kexec_file_load", "kexec_load", "mount", "mount_setattr"),
    *("move_mount", "open_tree", "perf_event_open", "pivot_root", "quotactl", "reboot", "setns"),
    *("swapoff", "swapon", "syslog", "umount2", "unshare", "userfaultfd", "vhangup"),
)
ARCHITECTURES = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")
_AUDIT_ARCH_X86_64 = 0xC000003E
_CLONE_NEW = 0x7E020000  # every CLONE_NEW… flag that clone(2) takes, but CLONE_NEWTIME


def seccomp_profile() -> dict[str, object]:
    """A profile of the size that engines give every container: all that x86-64 has is allowed,
    but for REFUSED, and for what depends on an argument.
    """
    library = ctypes.CDLL("libseccomp.so.2")
    resolve = library.seccomp_syscall_resolve_num_arch
    resolve.argtypes, resolve.restype = (ctypes.c_uint32, ctypes.c_int), ctypes.c_char_p
    found = (resolve(_AUDIT_ARCH_X86_64, number) for number in range(512))
    names = sorted({name.decode() for name in found if name} - {*REFUSED, "clone", "personality"})

    def allow(names: list[str], *arguments: dict[str, object]) -> dict[str, object]:
        return {"names": names, "action": "SCMP_ACT_ALLOW", "args": arguments}

    def argument(op: str, value: int, **second: int) -> dict[str, object]:
        return {"index": 0, "op": f"SCMP_CMP_{op}", "value": value, **second}

    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ARCHITECTURES,
        "syscalls": [
            allow(names),
            allow(["clone"], argument("MASKED_EQ", _CLONE_NEW, valueTwo=0)),
            *(allow(["personality"], argument("EQ", value)) for value in (0, 8, 0xFFFFFFFF)),
        ],
    }


def with_seccomp(bundle: Path) -> str:
    """Give a bundle the profile; return its path."""
    config = json.loads((bundle / "config.json").read_text())
    config["linux"]["seccomp"] = seccomp_profile()
    (bundle / "config.json").write_text(json.dumps(config))
    return str(bundle)


def without_unified() -> None:
    """Go on in a mount namespace without the v2 half of a hybrid cgroup layout, if there is one.

    crun refuses that layout. All runtimes are measured in the same namespace.
    """
    if not os.path.ismount(UNIFIED):
        return
    script = f'mount --make-rprivate / && umount {UNIFIED} && exec "$@"'
    argv = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-I", *sys.argv]
    os.execvp(argv[0], argv)


# --- measurements -------------------------------------------------------------------------------


def memory(pid: int) -> tuple[float, float | None]:
    """Pss of a process, and what the memory controller says of its cgroup, in MiB."""
    pss = 0
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                pss = int(line.split()[1]) << 10
    charged = None
    with open(f"/proc/{pid}/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if "memory" in controllers.split(","):
                usage = Path(f"/sys/fs/cgroup/memory{path}/memory.usage_in_bytes")
            elif not controllers:
                usage = Path(f"/sys/fs/cgroup{path}/memory.current")
            else:
                continue
            if usage.exists():
                charged = int(usage.read_text())
    return pss / 2**20, None if charged is None else charged / 2**20


def state_pid(runtime: Runtime, container: str) -> int:
    argv = [*runtime.argv, "state", container]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    pid: int = json.loads(done.stdout)["pid"]
    return pid


def has_ended(pid: int) -> bool:
    """Whether a process that is not our child is gone, or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def wait_for_end(pid: int) -> None:
    """Wait until `has_ended`."""
    end = time.monotonic() + 10
    while not has_ended(pid):
        if time.monotonic() > end:
            sys.exit(f"process {pid} does not end")
        time.sleep(0.001)


def measure(python: Path, runtimes: list[Runtime], directory: Path, rounds: int) -> Samples:
    """Run all rounds; return every sample."""
    true = str(make_bundle(directory, "true", ["/bin/true"]))
    filtered = with_seccomp(make_bundle(directory, "filtered", ["/bin/true"]))
    sleep = str(make_bundle(directory, "sleep", ["/bin/sleep", "1000"]))
    samples: Samples = {}

    def record(row: str, name: str, value: float | None) -> None:
        if value is not None:
            samples.setdefault((row, name), []).append(value)

    def bare() -> None:
        wall, cpu = spawn([str(python), "-I", "-S", "-c", "pass"], directory / "log-bare")
        record("python3 -I -S -c pass", "python3", wall)
        record("python3 -I -S -c pass, CPU", "python3", cpu)

    def run(row: str, bundle: str, runtime: Runtime) -> None:
        wall, cpu = runtime.run("run", "--bundle", bundle, runtime.id)
        record(row, runtime.name, wall)
        record(f"{row}, CPU", runtime.name, cpu)

    def cycle(runtime: Runtime) -> None:
        create, create_cpu = runtime.run("create", "--bundle", true, runtime.id)
        pid = state_pid(runtime, runtime.id)
        pss, charged = memory(pid)
        start, start_cpu = runtime.run("start", runtime.id)
        wait_for_end(pid)  # else it is chance whether the program has ended, or is to be killed
        delete, delete_cpu = runtime.run("delete", "-f", runtime.id)
        record("create", runtime.name, create)
        record("start", runtime.name, start)
        record("delete -f", runtime.name, delete)
        record("create + start + delete -f", runtime.name, create + start + delete)
        cpu = create_cpu + start_cpu + delete_cpu
        record("create + start + delete -f, CPU", runtime.name, cpu)
        record("created container, Pss", runtime.name, pss)
        record("created container, its memory cgroup", runtime.name, charged)

    def running(runtime: Runtime) -> None:
        container = runtime.id + "-running"
        runtime.run("run", "--detach", "--bundle", sleep, container)
        wall, cpu = runtime.run("state", container)
        record("state", runtime.name, wall)
        record("state, CPU", runtime.name, cpu)
        wall, cpu = runtime.run("exec", container, "true")
        record("exec true", runtime.name, wall)
        record("exec true, CPU", runtime.name, cpu)
        wall, cpu = runtime.run("pause", container)
        more, more_cpu = runtime.run("resume", container)
        record("pause + resume", runtime.name, wall + more)
        record("pause + resume, CPU", runtime.name, cpu + more_cpu)
        wall, _ = runtime.run("delete", "-f", container)
        record("delete -f of a running one", runtime.name, wall)

    runs = (
        partial(run, "run true", true),
        partial(run, "run true, with a seccomp profile", filtered),
    )
    tasks: list[Callable[[], None]] = [bare]
    for runtime in runtimes:
        tasks += [partial(task, runtime) for task in (*runs, cycle, running)]
    try:
        for number in range(rounds + 1):
            if number == 1:
                samples.clear()  # the first round fills caches
            random.shuffle(tasks)
            for each in tasks:
                each()
    finally:
        for runtime in runtimes:
            for container in (runtime.id, runtime.id + "-running"):
                argv = [*runtime.argv, "delete", "-f", container]
                subprocess.run(argv, capture_output=True, check=False)
    return samples


# Runs bin/lcpy's Python part, and lists what is imported when it leaves: -X importtime would not
# see what comes from the record of `libcontainer_py.bundle`.
LISTER = """
import posix, sys
leave = posix._exit
def list_and_leave(code):
    fd = posix.open(out, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC)
    posix.write(fd, "\\n".join(sys.modules).encode())
    leave(code)
posix._exit = list_and_leave
out = sys.argv.pop(1)
__file__ = sys.argv.pop(1)
sys.argv[0] = __file__
exec(open(__file__).read())
"""


def imports(python: Path, directory: Path) -> dict[str, list[str]]:
    """For each hot command, the modules that it imports beyond a bare start."""
    listed = directory / "modules"
    log = directory / "log-imports"
    start = [str(python), "-I", "-S", "-X", "utf8", "-c"]
    root = ["--root", str(directory / "state-imports")]
    steps = {
        "create": ["create", "--bundle", str(directory / "sleep"), ID],
        "state": ["state", ID],
        "start": ["start", ID],
        "exec": ["exec", ID, "true"],
        "kill": ["kill", ID, "KILL"],
        "delete": ["delete", "-f", ID],
        "run": ["run", "--bundle", str(directory / "true"), ID],
    }
    code = "import sys; print(*sys.modules)"
    bare = subprocess.run([*start, code], capture_output=True, text=True, check=True)
    lists = {}
    for name, words in steps.items():
        spawn([*start, LISTER, str(listed), str(VENV / "bin/lcpy"), *root, *words], log)
        lists[name] = sorted(set(listed.read_text().split("\n")) - set(bare.stdout.split()))
    return lists


# --- the page -----------------------------------------------------------------------------------


def table(samples: Samples, runtimes: list[Runtime]) -> str:
    """Medians, and lcpy's ratio to each of the others."""
    names = [runtime.name for runtime in runtimes]
    others = [name for name in names if name != "lcpy"]
    head = ["", *names, *(f"lcpy / {name}" for name in others)]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for row in ROWS:
        unit = "MiB" if row.startswith("created") else "ms"
        digits = 3 if unit == "MiB" else 2
        values = {name: median(samples[row, name]) for name in names if (row, name) in samples}
        if not values:
            continue
        cells = [f"{values[name]:.{digits}f}" if name in values else "-" for name in names]
        ratios = [
            f"{values['lcpy'] / values[name]:.3g}" if values.get(name) and "lcpy" in values else "-"
            for name in others
        ]
        lines.append([f"{row} ({unit})", *cells, *ratios])
    bare = median(samples["python3 -I -S -c pass", "python3"])
    bare_cpu = median(samples["python3 -I -S -c pass, CPU", "python3"])
    state = median(samples["state", "lcpy"])
    state_cpu = median(samples["state, CPU", "lcpy"])
    page = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return (
        f"{page}\n\nA bare start of the same interpreter (`python3 -I -S -c pass`): {bare:.2f} ms,"
        f" CPU {bare_cpu:.2f} ms; `lcpy state` is {state / bare:.2f} of it, CPU"
        f" {state_cpu / bare_cpu:.2f}.\n"
    )


def import_table(lists: dict[str, list[str]]) -> str:
    """What each hot command imports beyond a bare start of Python."""
    ours = "libcontainer_py"
    lines = [
        "| command | modules beyond a bare start: of Python's | ours |",
        "| --- | --- | --- |",
    ]
    for command, modules in lists.items():
        own = [name.removeprefix(ours + ".") for name in modules if name.startswith(ours)]
        others = [name for name in modules if not name.startswith(ours)]
        lines.append(f"| {command} | {' '.join(others)} | {len(own)}: {' '.join(own)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print a page of Markdown."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="rounds (default: 40)")
    options = parser.parse_args()
    if os.geteuid():
        sys.exit("the comparison needs root")
    without_unified()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    load = os.getloadavg()[0]
    python = install()
    directory = BUILD / "bench"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    commands = {"lcpy": str(VENV / "bin/lcpy")} | {
        name: path for name in ("runc", "crun") if (path := shutil.which(name))
    }
    runtimes = [Runtime(name, command, directory) for name, command in commands.items()]
    samples = measure(python, runtimes, directory, options.rounds)
    versions = "; ".join(runtime.version() for runtime in runtimes[1:])
    print(
        f"{options.rounds} rounds on {os.cpu_count()} cores (load before: {load:.1f}), "
        f"Linux {platform.release()}, Python {platform.python_version()}; medians; {versions}.\n"
    )
    print(table(samples, runtimes))
    print(import_table(imports(python, directory)))


if __name__ == "__main__":
    main()
