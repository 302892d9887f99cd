"""A virtual machine for one command: boots, runs it in a copy of this tree, and is gone.

``python -m tests.vm.machine COMMAND ...`` prints what the command prints and ends with its exit
code, or with 125 where there was no machine to run it.

The machine has no network. It sees one directory of this machine's, over 9p, which is made for it
and holds a tar of the tree's own files: nothing inside can write to the tree. What it writes to its
disk goes to a temporary file. The console is no place for results: they are files on the share.
"""

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.conftest import copy_checkout
from tests.vm import image

HERE = Path(__file__).resolve().parent

# Emulated by software: slow, and the same everywhere. Where KVM works: LCPY_VM_ACCEL=kvm
ACCELERATOR = os.environ.get("LCPY_VM_ACCEL") or "tcg,thread=multi"
RELEASE = os.environ.get("LCPY_VM_RELEASE") or image.RELEASES[0]
# An emulated processor whose clock the kernel trusts (the board's, which it would take, is slow to
# read), and without what makes entering the kernel, or walking its page tables, slower.
PROCESSOR = "max"
if ACCELERATOR.startswith("tcg"):
    PROCESSOR = "max,vendor=GenuineIntel,family=6,model=94,stepping=3,-la57,-smap,-smep,-umip,-pku"
KERNEL = "root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable"
# Half a minute when it has the processors for itself.
SECONDS_TO_BOOT = 300
SECONDS = 1500
NO_MACHINE = 125


class MachineError(Exception):
    """There is no result: the machine did not come up, or not to an end. Says what it said."""


class Files:
    """The files between the machine and us."""

    def __init__(self, work: Path) -> None:
        self.share = work / "share"
        self.console = work / "console"

    def text(self, name: str) -> str | None:
        """A file on the share, where there is one yet."""
        try:
            return (self.share / name).read_text(encoding="utf-8", errors="backslashreplace")
        except FileNotFoundError:
            return None


def run(
    command: list[str],
    *,
    release: str = RELEASE,
    user: bool = False,
    seconds: float = SECONDS,
    watch: Callable[[Path], object] = lambda share: None,
) -> int:
    """Run a command in a new machine and return its exit code.

    Parameters
    ----------
    command: words, run in the tree's copy, by root or (`user`) in another user's systemd session
    seconds: how long it may take, once the machine is up
    watch: called again and again meanwhile, and once at the end, with the share's directory, where
        ``out`` and ``err`` have what the command prints

    Raises
    ------
    MachineError: the machine did not come up, or it ended without an exit code
    """
    built = image.ready(release)
    work = Path(tempfile.mkdtemp(prefix="lcpy-vm-"))
    files = Files(work)
    try:
        with _interruptible():
            _fill(files.share, command, user)
            with _machine(built, work, files) as process:
                _wait(process, files, seconds, watch)
        watch(files.share)
        code = files.text("code")
        if code is None:
            raise MachineError(_story("the machine ended without a result", files))
        return int(code)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """What asks us to end is as ^C, after which we clean up."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _fill(share: Path, command: list[str], user: bool) -> None:
    """Make what the machine finds on the share."""
    share.mkdir()
    # For the user inside. Out here nobody comes as far: the directory above is closed.
    share.chmod(0o777 if user else 0o755)
    copy = copy_checkout(share.parent / "tree")
    with tarfile.open(share / "tree.tar", "w") as archive:
        archive.add(copy, ".", filter=_as_roots)
    shutil.copy2(HERE / "inside.sh", share)
    (share / "command").write_text(f"exec {shlex.join(command)}\n", encoding="utf-8")
    if user:
        (share / "as-user").touch()


def _as_roots(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


@contextlib.contextmanager
def _machine(built: Path, work: Path, files: Files) -> Iterator["subprocess.Popen[str]"]:
    """The running emulator; it never outlives us."""
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        raise MachineError("qemu-system-x86_64 is missing: ./dev setup vm")
    words = ["nice", "-n", "10", "setpriv", "--pdeathsig", "KILL", qemu]
    words += ["-accel", ACCELERATOR, "-cpu", PROCESSOR, "-smp", "2", "-m", "2048", "-nic", "none"]
    words += ["-display", "none", "-monitor", "none", "-serial", f"file:{files.console}"]
    words += ["-no-reboot", "-kernel", str(built / "vmlinuz"), "-initrd", str(built / "initrd")]
    words += ["-append", KERNEL]
    disk = f"file={built / 'disk.img'},format=raw,if=virtio,cache=unsafe,snapshot=on"
    words += ["-drive", disk]
    words += ["-virtfs", f"local,path={files.share},mount_tag=host,security_model=none"]
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        env={**os.environ, "TMPDIR": str(work)},  # where what is written to the disk goes
        start_new_session=True,  # the terminal's ^C is for us, who then end it
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait(
    process: "subprocess.Popen[str]",
    files: Files,
    seconds: float,
    watch: Callable[[Path], object],
) -> None:
    """Wait for the machine's end."""
    began = time.monotonic()
    up = False
    while process.poll() is None:
        watch(files.share)
        now = time.monotonic()
        if files.text("code") is not None:
            return  # what it does from here on is of no interest
        if not up and (files.share / "installed").exists():
            up, began = True, now
        if now - began > (seconds if up else SECONDS_TO_BOOT):
            what = f"the command did not end in {seconds:.0f} s"
            if not up:
                what = f"the machine was not ready in {SECONDS_TO_BOOT} s"
            raise MachineError(_story(what, files))
        time.sleep(0.1)
    if process.returncode and process.stdout:
        raise MachineError(_story(f"the emulator failed: {process.stdout.read()}", files))


def _story(what: str, files: Files) -> str:
    """What went wrong, with the last words of whoever had any."""
    text = [what]
    console = files.console.read_text(errors="backslashreplace") if files.console.exists() else ""
    for name, said in (("its console", console), ("its job", files.text("log") or "")):
        if said.strip():
            text += [f"--- {name}:", said.strip()[-3000:]]
    return "\n".join(text)


# --- the command line ---------------------------------------------------------------------------


class Printer:
    """Prints what the command printed since the last time."""

    def __init__(self) -> None:
        self._read = {"out": 0, "err": 0}

    def __call__(self, share: Path) -> None:
        for name, stream in (("out", sys.stdout.buffer), ("err", sys.stderr.buffer)):
            with contextlib.suppress(FileNotFoundError), (share / name).open("rb") as file:
                file.seek(self._read[name])
                while piece := file.read(1 << 20):
                    stream.write(piece)
                    self._read[name] += len(piece)
                stream.flush()


def main() -> int:
    """Run a command as told by the command line; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="./dev vm", description="Run a command in a virtual machine, in a copy of this tree."
    )
    parser.add_argument("--user", action="store_true", help="as a user, in a systemd session")
    parser.add_argument("--release", default=RELEASE, choices=image.RELEASES)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long it may take")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    words = parser.parse_args()
    if not words.command:
        parser.error("no COMMAND")
    try:
        return run(
            words.command,
            release=words.release,
            user=words.user,
            seconds=words.seconds,
            watch=Printer(),
        )
    except KeyboardInterrupt:
        return 130
    except MachineError as error:
        print(f"./dev vm: {error}", file=sys.stderr)
        return NO_MACHINE


if __name__ == "__main__":
    sys.exit(main())
