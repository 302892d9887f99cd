"""The virtual machine's image: a Debian with systemd, built once and kept outside the tree.

``python -m tests.vm.image [RELEASE]`` prints the directory that holds ``disk.img``, ``vmlinuz`` and
``initrd``, and builds it first where it is missing. Its name has a digest of the recipe (this file
and the dependencies in setup.cfg), so that a changed recipe is a new image. It is built beneath a
temporary name, under a lock, and renamed: a build that was killed leaves nothing that is used.

The disk is made from a directory by ``mkfs.ext4 -d``: nothing is mounted. Packages come from
wherever this machine takes its own from.
"""

import configparser
import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
RELEASES = ("bookworm", "trixie")
SIZE = "4G"  # sparse
UNUSED_FOR = 7 * 24 * 3600

PACKAGES = (
    # the machine
    *("linux-image-amd64", "systemd-sysv", "dbus", "udev", "kmod", "procps", "apparmor"),
    # what rootless containers need, and a session for them
    *("uidmap", "dbus-user-session", "libpam-systemd", "slirp4netns", "fuse-overlayfs"),
    # what the tests use
    *("python3", "python3-venv", "busybox-static", "runc", "crun", "strace", "iproute2", "jq"),
    *("binutils", "gcc", "libc6-dev", "libseccomp2", "podman", "conmon", "netavark", "bats"),
    # the engines, which tests/engines starts by themselves
    *("docker.io", "containerd", "buildah", "rootlesskit"),
    # what `lcpy checkpoint` and `lcpy restore` call
    "criu",
)

USER = "tester"
# Each has a tree of its own beneath its home, with an environment that lacks the package alone.
HOMES = {"root": Path("/root"), USER: Path("/home", USER)}
TREE = "lcpy"

# An initrd with everything that a Debian machine could need takes seconds to unpack here.
INITRD = """
cd "$1"
mkdir -p etc/initramfs-tools/conf.d usr/share/initramfs-tools/modules.d
echo MODULES=list >etc/initramfs-tools/conf.d/lcpy
for module in virtio_pci virtio_blk ext4 crc32c_generic; do
    echo "$module" >>usr/share/initramfs-tools/modules.d/lcpy
done
"""

# The machine lives for this one job, and ends with it however it ends. An OOM kill in a container
# must not end the job, which is systemd's default.
JOB = """\
[Unit]
Description=What this machine was booted for
After=multi-user.target systemd-user-sessions.service
Wants=user@1000.service
After=user@1000.service

[Service]
Type=exec
ExecStartPre=/usr/bin/mount -m -t 9p -o trans=virtio,version=9p2000.L,msize=1048576 host /mnt/host
ExecStart=/bin/sh /mnt/host/inside.sh
ExecStopPost=/usr/bin/systemctl poweroff --force --force
StandardOutput=journal+console
Delegate=yes
OOMPolicy=continue
TasksMax=infinity
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
"""
JOB_IS = "etc/systemd/system/lcpy-job.service"

FILES = {
    "etc/hostname": "vm\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 vm\n",
    # Without one, the first boot sets up everything anew.
    "etc/machine-id": f"{0x1C97:032x}\n",
    "etc/systemd/journald.conf.d/lcpy.conf": "[Journal]\nStorage=volatile\n",
    f"var/lib/systemd/linger/{USER}": "",
    JOB_IS: JOB,
}
# None of them has anything to do here, and each takes its seconds. (Debian 13's /tmp is in memory,
# which is short here, and `nodev`, where tests make devices.)
MASKED = (
    "tmp.mount",
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("podman-auto-update.timer", "podman-auto-update.service", "podman-restart.service"),
    *("docker.socket", "docker.service", "containerd.service"),
)


def requirements() -> list[str]:
    """What the package and its tests depend on, by setup.cfg, without the linters."""
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    extras = setup["options.extras_require"]
    wanted = setup["options"]["install_requires"] + extras["test"] + extras["engines"]
    lines = [line for line in wanted.splitlines() if line and not line.startswith("#")]
    return [line for line in lines if not re.match(r"mypy|ruff|types-", line)]


def cache() -> Path:
    """Where images are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "lcpy", "vm")


def directory(release: str) -> Path:
    """Where the image of this recipe is, or will be."""
    recipe = hashlib.sha256(Path(__file__).read_bytes())
    recipe.update("\n".join(requirements()).encode())
    return cache() / f"{release}-{recipe.hexdigest()[:16]}"


def ready(release: str) -> Path:
    """Return the directory of a release's image; build it if it isn't there."""
    if release not in RELEASES:
        raise SystemExit(f"there is no machine of {release!r}: {', '.join(RELEASES)}")
    final = directory(release)
    with contextlib.suppress(FileNotFoundError):
        os.utime(final)
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with _locked(final.parent / f"{release}.lock"):
        if not final.is_dir():  # nobody made it while we waited
            _remove_old(release)
            _build(release, final)
    return final


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_old(release: str) -> None:
    """Remove what killed builds left (ours is the lock), and images that nobody used for long."""
    for path in cache().glob(f".{release}-*"):
        shutil.rmtree(path)
    for path in cache().glob(f"{release}-*"):
        if path.stat().st_mtime < time.time() - UNUSED_FOR:
            shutil.rmtree(path)


def _build(release: str, final: Path) -> None:
    if os.geteuid() != 0:
        raise SystemExit("the virtual machine's image is built as root: ./dev setup vm")
    began = time.monotonic()
    temporary = Path(tempfile.mkdtemp(prefix=f".{release}-", dir=final.parent))
    try:
        temporary.chmod(0o755)
        root = temporary / "root"
        _say(f"building the virtual machine's image ({release}); it is kept in {final}")
        _bootstrap(release, root, temporary)
        _configure(root)
        _environments(root, temporary)
        for name in ("vmlinuz", "initrd"):
            shutil.copy2(root / f"{name}{'.img' if name == 'initrd' else ''}", temporary / name)
        options = "^has_journal,^metadata_csum"
        _run("mkfs.ext4", "-q", "-F", "-O", options, "-d", root, temporary / "disk.img", SIZE)
        for path in temporary.iterdir():
            if path.name not in ("vmlinuz", "initrd", "disk.img"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _say(f"built in {time.monotonic() - began:.0f} s")


# --- the root -----------------------------------------------------------------------------------


def _bootstrap(release: str, root: Path, work: Path) -> None:
    """Install the packages, from this machine's own sources and by its way to them."""
    options = work / "apt.conf"
    options.write_text(_apt_options())
    # What it mounts meanwhile is not there for others, nor for who removes a half-made root.
    words = ["unshare", "--mount", "--propagation=private"]
    words += ["mmdebstrap", "--quiet", "--variant=apt", "--format=directory"]
    words += [f"--include={','.join(PACKAGES)}", f"--aptopt={options}"]
    # Manuals are a fifth of the image.
    words += ["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*"]
    words += [f"--essential-hook={INITRD}", release, str(root)]
    sources = work / "sources"
    sources.mkdir()
    _run(*words, *_sources(release, sources))


def _apt_options() -> str:
    """How this machine's apt reaches its sources: proxies, certificates, patience."""
    kept = r"Acquire::(https?|Retries|Check-(Valid-Until|Date))[: ]"
    lines = _run("apt-config", "dump").splitlines()
    return "".join(f"{line}\n" for line in lines if re.match(kept, line))


def _sources(release: str, to: Path) -> list[Path]:
    """This machine's sources of Debian, for another release; none means mmdebstrap's own.

    A source of Debian is one that has a suite of the release which runs here.
    """
    here = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    suite = re.compile(rf"{re.escape(here)}(-\w+)?")
    found = []
    paths = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for path in paths:
        if not here or path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines() if path.suffix == ".list" else re.split(r"\n\s*\n", text)
        kept = []
        for line in lines:
            at = r"^deb\s+(?:\[[^]]*\]\s*)?\S+\s+" if path.suffix == ".list" else r"(?m)^Suites:"
            match = re.search(at + r"(.*)", line)
            words = match[1].split() if match else []
            suites = words[:1] if path.suffix == ".list" else words
            if suites and all(suite.fullmatch(word) for word in suites):
                assert match
                changed = " ".join(re.sub(rf"^{here}", release, word) for word in words)
                kept.append(f"{line[: match.start(1)]} {changed}{line[match.end(1) :]}\n")
        if kept:
            found.append(to / path.name)
            found[-1].write_text("\n".join(kept), encoding="utf-8")
    return found


def _configure(root: Path) -> None:
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    (wants / Path(JOB_IS).name).symlink_to(f"/{JOB_IS}")
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    _run("chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", "--uid", "1000", USER)
    for name in ("subuid", "subgid"):
        (root / "etc" / name).write_text(f"{USER}:100000:65536\n")


def _environments(root: Path, work: Path) -> None:
    """Make the users' environments. What they need is fetched here, for the Python inside."""
    version = _run("chroot", root, "python3", "-c", "import sys; print(*sys.version_info[:2])")
    wheels = root / "tmp/wheels"
    words = [sys.executable, "-m", "pip", "--quiet", "download", "--dest", str(wheels)]
    words += ["--only-binary=:all:", "--implementation=cp"]
    words += [f"--python-version={version.strip().replace(' ', '.')}"]
    words += [f"--platform={each}" for each in ("manylinux_2_28_x86_64", "manylinux2014_x86_64")]
    _run(*words, *requirements())
    install = ["-m", "pip", "--quiet", "install", "--no-index", "--find-links=/tmp/wheels"]
    for user, home in HOMES.items():
        tree = home / TREE
        _run("chroot", root, "python3", "-m", "venv", tree / ".venv")
        _run("chroot", root, tree / ".venv/bin/python", *install, *requirements())
        _run("chroot", root, "chown", "-R", f"{user}:", tree)
    shutil.rmtree(wheels)


def _run(*words: str | Path) -> str:
    """Run a program to its end and return what it prints."""
    argv = [str(word) for word in words]
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise SystemExit(f"{argv[0]} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def _say(text: str) -> None:
    print(f"== {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(ready(sys.argv[1] if sys.argv[1:] else RELEASES[0]))
