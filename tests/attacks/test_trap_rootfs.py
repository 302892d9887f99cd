"""An image that ships its own Python, where the host's interpreter has its: none of it is run.

Every file that an interpreter or a C library could look for lies in the root filesystem, and
leaves a mark if it is run; in a second variant each is a FIFO, on which whoever opens it hangs.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.conftest import Bare, Watch, one_line
from tests.conftest import CHECKOUT, Bundle, Config, Lcpy

MARK = "TRAPPED"
SOURCE = f"import posix\nposix.close(posix.open('/{MARK}', 0o101, 0o644))\n"

# What the C library may look for, beside what Python does.
OF_LIBC = (
    "etc/ld.so.preload",
    "etc/ld.so.cache",
    "etc/nsswitch.conf",
    "etc/localtime",
    "etc/timezone",
    "etc/hosts",
    "etc/resolv.conf",
    "etc/host.conf",
    "etc/gai.conf",
    "etc/services",
    "etc/shadow",
    "usr/share/zoneinfo/UTC",
    "usr/share/zoneinfo/Europe/Berlin",
    "usr/lib/locale/locale-archive",
    "usr/lib/locale/C.utf8/LC_CTYPE",
    "usr/share/locale/locale.alias",
    "usr/share/locale/de/LC_MESSAGES/libc.mo",
    "usr/lib/x86_64-linux-gnu/gconv/gconv-modules",
    "usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache",
    "lib/x86_64-linux-gnu/libnss_files.so.2",
    "lib/x86_64-linux-gnu/libc.so.6",
    "lib/x86_64-linux-gnu/libgcc_s.so.1",
    "lib/x86_64-linux-gnu/libseccomp.so.2",
    "lib64/ld-linux-x86-64.so.2",
)
OF_PYTHON = ("sitecustomize", "usercustomize", "encodings", "jsonschema", "attr", "libcontainer_py")


def host_paths() -> list[str]:
    """Where the interpreters that run the command look for modules."""
    found: list[str] = []
    for python in ("/usr/bin/python3", sys.executable):
        for flags in (["-I", "-S"], ["-I"]):
            printed = subprocess.run(
                [python, *flags, "-c", r"import sys; print(*sys.path, sep='\n')"],
                capture_output=True,
                text=True,
                check=True,
            )
            found += printed.stdout.splitlines()
    found += [str(CHECKOUT), str(CHECKOUT / "bin"), str(CHECKOUT / "libcontainer_py")]
    return sorted({path for path in found if path.startswith("/")})


def set_trap(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_text(SOURCE)


def booby_trap(root: Path, kind: str) -> None:
    """Put a trap at each place of a root filesystem that a Python of the host may look at."""
    below = [path.lstrip("/") for path in host_paths() if not path.endswith(".zip")]
    modules = sorted({*sys.stdlib_module_names, *OF_PYTHON})
    for path in below:
        for name in modules:
            set_trap(root / path / f"{name}.py", kind)
        for name in ("encodings", "libcontainer_py", "codecs", "collections"):
            set_trap(root / path / name / "__init__.py", kind)
        for name in ("aliases", "utf_8", "ascii", "idna", "latin_1"):
            set_trap(root / path / "encodings" / f"{name}.py", kind)
        set_trap(root / path / "trap.pth", kind)
    for path in host_paths():
        set_trap(root / path.lstrip("/"), kind)  # the zip files
    # The files of ours themselves: a traceback opens those that it names.
    for source in [*(CHECKOUT / "libcontainer_py").rglob("*.py"), *CHECKOUT.glob("*/*.py")]:
        set_trap(root / str(source).lstrip("/"), kind)
    for name in OF_LIBC:
        set_trap(root / name, kind)


def fail_late(config: Config) -> None:
    """Let a step fail inside the root, where the error must be worded without its files."""
    config["linux"]["sysctl"] = {"kernel.no_such_parameter": "1"}


def no_program(config: Config) -> None:
    config["process"]["args"] = ["/no/such/program"]


@pytest.fixture(scope="module")
def trapped(busybox_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A root filesystem full of traps of a kind: made once, none of the tests changes it."""
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind) / "rootfs"
            shutil.copytree(busybox_root, made[kind], symlinks=True)
            booby_trap(made[kind], kind)
        return made[kind]

    return get


Trapped = Callable[[str], Path]

CASES: "dict[str, tuple[Callable[[Config], object] | None, str | None]]" = {
    "it works": (None, None),
    "a sysctl fails": (fail_late, "linux.sysctl"),
    "no program": (no_program, "no such file or directory"),
}


@pytest.mark.parametrize("kind", ["file", "fifo"])
@pytest.mark.parametrize("case", CASES)
def test_nothing_of_the_image_is_run_or_opened(
    either: Lcpy,
    bundle: Bundle,
    trapped: Trapped,
    watch: "Callable[[Path], Watch]",
    case: str,
    kind: str,
) -> None:
    change, error = CASES[case]

    root = trapped(kind)

    def prepare(config: Config) -> None:
        config["root"] = {"path": str(root), "readonly": False}
        # What moves the C library's files elsewhere is in the container's environment, and in ours.
        config["process"]["env"] += ["TZ=:/etc/localtime", "LC_ALL=de_DE.UTF-8", "LANG=de"]
        if change:
            change(config)

    made = bundle("/bin/busybox", "true", change=prepare, root=False)
    eye = watch(root)
    environment = {
        **os.environ,
        "TZ": ":/etc/localtime",
        "LC_ALL": "de_DE.UTF-8",
        "LANGUAGE": "de",
        "NLSPATH": "/usr/share/locale/%L/%N.mo",
        "PYTHONVERBOSE": "",
    }

    done = either("run", either.new_id(), cwd=made, timeout=20, env=environment)

    assert not (root / MARK).exists()
    opened = eye.opened()
    if error is None:
        assert done.returncode == 0, done.stderr
        # passwd says where HOME is; the program is opened by the kernel.
        assert opened == {"etc/passwd", "bin/busybox"}
    else:
        assert error in one_line(done)
        assert opened <= {"etc/passwd"}


def test_the_traps_are_deadly(lcpy: Lcpy, bundle: Bundle, trapped: Trapped) -> None:
    """A child without the seal, which imports one module, runs the image's code as root."""
    root = trapped("file")
    made = bundle("true", change=lambda config: config.update(root={"path": str(root)}))
    assert not (root / MARK).exists()

    sabotage(lcpy, made, "unsealed", "import")

    assert (root / MARK).exists()
    (root / MARK).unlink()


def test_the_watch_sees_an_open(tmp_path: Path, watch: "Callable[[Path], Watch]") -> None:
    """A watch that sees nothing would prove nothing."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").touch()
    eye = watch(tmp_path)
    subprocess.run(
        ["unshare", "-m", "sh", "-c", f"mount --bind {tmp_path} /mnt && : < /mnt/a/b/file"],
        check=True,
    )
    assert eye.opened() == {"a/b/file"}
    os.close(os.open(tmp_path / "a/b/file", os.O_PATH))
    assert eye.opened() == set()


OPENING = "open,openat,openat2,execve,execveat"
_CALL = re.compile(r'^(\w+)\([^"]*(?:"((?:[^"\\]|\\.)*)")?')


def test_what_the_child_opens_is_this(
    bare: Bare, bundle: Bundle, trapped: Trapped, tmp_path: Path
) -> None:
    """Every file that is opened between the clone and the program, as strace(1) saw it."""
    root = trapped("file")
    made = bundle(
        "/bin/busybox", "true", change=lambda config: config["root"].update(path=str(root))
    )
    # -ff: a file for each process, so that no line is cut in two by another's.
    strace = ["strace", "-ff", "-o", str(tmp_path / "strace"), "-e", f"trace={OPENING}"]
    words = [*strace, *bare.argv("run", bare.new_id())]
    subprocess.run(words, cwd=made, check=True, timeout=30)

    logs = [file.read_text() for file in tmp_path.glob("strace.*")]
    (log,) = [text for text in logs if "execveat(" in text]
    of_child = [match.groups("") for line in log.splitlines() if (match := _CALL.match(line))]

    assert [path for name, path in of_child if name == "execve"] == ["/bin/busybox"]
    opened = [path for name, path in of_child if name.startswith("open")]
    assert len(opened) > 10, "strace did not show the child's steps"
    # Names alone are beneath a held descriptor. Else: what config.json names, HOME, the masks.
    top = {
        "/" + path.split("/")[1] for path in opened if path.startswith("/") and path != str(root)
    }
    assert top <= {"/", "/proc", "/sys", "/dev", "/etc"}
    assert {path for path in opened if path.startswith("/etc")} == {"/etc/passwd"}
    assert not [path for path in opened if path.endswith((".py", ".pyc", ".so", ".mo", ".pth"))]
    # By the old calls, which know no «beneath», nothing is opened at all.
    assert {name for name, _path in of_child} <= {"openat2", "execveat", "execve"}


@pytest.mark.parametrize(
    "event", ["import", "open", "compile", "dlopen", "putenv", "exec", "getaddrinfo"]
)
@pytest.mark.parametrize("step", ["masks", "lookup"])
def test_the_guard_bites(lcpy: Lcpy, bundle: Bundle, event: str, step: str) -> None:
    """Every guarded test rests on this: the child that breaks the rule ends with status 97."""
    done = sabotage(lcpy, bundle("true"), step, event)

    assert done.returncode == 1
    assert "lcpy_audited: " in done.stderr
    assert "ended with status 97 before it was ready" in done.stderr
    assert list(lcpy.root.iterdir()) == []


def sabotage(lcpy: Lcpy, made: Path, step: str, event: str) -> "subprocess.CompletedProcess[str]":
    """Run a container with a child that breaks a rule (see sabotaged.py)."""
    argv = lcpy.argv("run", lcpy.new_id())
    at = argv.index(lcpy.audited)
    argv[at : at + 1] = [str(Path(__file__).with_name("sabotaged.py")), step, event]
    return subprocess.run(argv, cwd=made, capture_output=True, text=True, timeout=30, check=False)
