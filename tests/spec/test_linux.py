"""`linux` of config.json without its cgroups, the names, and the annotations."""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Config
    from tests.spec.conftest import Box, Change

KINDS = {
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
    "ipc": "ipc",
    "uts": "uts",
    "cgroup": "cgroup",
}


def linux(**fields: Any) -> "Change":
    return lambda config: config["linux"].update(fields)


def namespaces(*kinds: str) -> "Change":
    """Only these namespaces, and nothing that needs another."""

    def change(config: "Config") -> None:
        config["linux"]["namespaces"] = [{"type": kind} for kind in kinds]
        if "uts" not in kinds:
            config.pop("hostname")
        if "mount" not in kinds:
            config["mounts"] = []
            config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []
            config["root"].pop("readonly", None)

    return change


# --- namespaces -------------------------------------------------------------------------------


def links(box: "Box", *kinds: str, **options: Any) -> dict[str, str]:
    script = "cd /proc/self/ns; for n in pid net mnt ipc uts cgroup user time; do readlink $n; done"
    lines = box.lines(script, change=namespaces(*kinds), **options)
    return dict(line.split(":") for line in lines)


def hosts(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}").split(":")[1]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mount"])
def test_a_namespace_is_new_only_where_the_config_names_it(box: "Box", kind: str) -> None:
    """One at a time: the others stay the caller's."""
    said = links(box, "mount", kind)
    new = {KINDS["mount"], KINDS[kind]}
    assert {name for name, link in said.items() if link != hosts(name)} == new
    assert said == said | {name: hosts(name) for name in said if name not in new}


def test_all_namespaces_at_once(box: "Box") -> None:
    said = links(box, *KINDS)
    assert {name for name, link in said.items() if link != hosts(name)} == set(KINDS.values())


def test_without_a_mount_namespace(box: "Box", tmp_path: Path) -> None:
    """A chroot is all there is; the host's mounts stay as they were."""
    done = box.run("sh", "-c", "ls /; echo $$", change=namespaces("pid"), own_root=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1"
    assert "bin" in done.stdout.split()


def test_mounts_without_a_mount_namespace_are_refused(box: "Box") -> None:
    def change(config: "Config") -> None:
        namespaces("pid")(config)
        config["mounts"] = [{"destination": "/tmp", "type": "tmpfs", "source": "t"}]

    assert "mounts" in box.refused(change=change)


def test_loopback_is_up(box: "Box") -> None:
    said = box.sh("ip addr show lo; ping -c1 -W1 127.0.0.1 >/dev/null && echo answered", change=raw)
    assert "UP" in said
    assert "127.0.0.1/8" in said
    assert "answered" in said


def raw(config: "Config") -> None:
    for kind in ("bounding", "permitted", "effective"):
        config["process"]["capabilities"][kind].append("CAP_NET_RAW")


# --- names ------------------------------------------------------------------------------------


def test_hostname_and_domainname(box: "Box") -> None:
    before = os.uname()

    def change(config: "Config") -> None:
        config["hostname"] = "a" * 64
        config["domainname"] = "grüße.example"

    said = box.lines("hostname; cat /proc/sys/kernel/domainname", change=change)
    assert said == ["a" * 64, "grüße.example"]
    assert os.uname() == before


def test_no_hostname_is_the_host_s(box: "Box") -> None:
    assert box.sh("hostname", change=lambda config: config.pop("hostname")) == (
        os.uname().nodename + "\n"
    )


def test_annotations_are_in_the_state(box: "Box") -> None:
    """And in no other place."""
    annotations = {"org.example.key": "value", "empty": "", "ü": "世界"}
    bundle = box.bundle(["true"], lambda config: config.update(annotations=annotations))
    container = box.lcpy.new_id()
    box.lcpy("create", "--bundle", bundle, container, check=True)
    assert box.lcpy.state(container)["annotations"] == annotations
    box.lcpy("delete", container, check=True)


# --- devices ----------------------------------------------------------------------------------

DEFAULT_NODES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def dev(box: "Box", *names: str, **options: Any) -> list[str]:
    """Type, octal mode, owner, group, and hexadecimal numbers of nodes."""
    paths = " ".join(name if name.startswith("/") else f"/dev/{name}" for name in names)
    return box.lines(f"stat -c '%F %a %u %g %t %T' {paths}", **options)


def test_the_default_devices(box: "Box") -> None:
    """Nodes of mode 0666 that are root's, and the links; nothing else."""
    assert dev(box, *DEFAULT_NODES, preexec_fn=lambda: os.umask(0o77)) == [
        f"character special file 666 0 0 {major:x} {minor:x}"
        for major, minor in DEFAULT_NODES.values()
    ]
    found = box.lines("cd /dev; for f in *; do echo $f $(readlink $f); done")
    names = {line.split()[0] for line in found} - {"core"}
    assert names == {*DEFAULT_NODES, *LINKS, "pts", "shm", "mqueue"}
    links = dict(line.split() for line in found if " " in line.strip())
    links.pop("core", None)  # where the kernel has /proc/kcore
    assert links == LINKS


def test_the_default_devices_are_runc_s(box: "Box") -> None:
    box.both("cd /dev; stat -c '%n %F %a %u %g %t %T' * pts/ptmx")
    box.both("cd /dev; for f in *; do readlink $f; done; true")


def test_the_default_devices_work(box: "Box") -> None:
    script = (
        "echo x >/dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c;"
        " echo x 2>/dev/null >/dev/full || echo full"
    )
    assert box.lines(script) == ["3", "3", "full"]


def test_devices_of_the_config(box: "Box") -> None:
    """Beside the default ones, and in place of them."""
    devices = [
        {"path": "/dev/block", "type": "b", "major": 7, "minor": 9, "fileMode": 0o600, "uid": 7},
        {"path": "/dev/deep/er/char", "type": "c", "major": 1, "minor": 3, "uid": 1, "gid": 2},
        {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 5, "fileMode": 0o444},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o4755, "gid": 5},
        {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "gid": 9},
    ]
    names = ("block", "deep/er/char", "unbuffered", "pipe", "zero", "full")
    assert dev(box, *names, change=linux(devices=devices)) == [
        "block special file 600 7 0 7 9",
        "character special file 666 1 2 1 3",
        "character special file 444 0 0 1 5",
        "fifo 4755 0 5 0 0",
        "character special file 640 0 9 1 5",
        "character special file 666 0 0 1 7",
    ]


def test_a_device_outside_of_dev(box: "Box") -> None:
    devices = [{"path": "/made/null", "type": "c", "major": 1, "minor": 3}]
    said = dev(box, "/made/null", change=linux(devices=devices), own_root=True)
    assert said == ["character special file 666 0 0 1 3"]


def test_what_is_no_device_is_refused(box: "Box") -> None:
    """Where a device shall be, another file is not taken for it."""
    devices = [{"path": "/etc/passwd", "type": "c", "major": 1, "minor": 3}]
    error = box.refused(change=linux(devices=devices), own_root=True)
    assert "linux.devices[0]" in error
    wide = [{"path": "/dev/x", "type": "c", "major": 1 << 12, "minor": 0}]
    assert "linux.devices[0].major" in box.refused(change=linux(devices=wide))


def test_a_dev_of_the_host_is_left_alone(box: "Box", tmp_path: Path) -> None:
    """Bound from elsewhere it is not ours to fill."""
    (tmp_path / "dev").mkdir()
    os.mknod(tmp_path / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))

    def change(config: "Config") -> None:
        config["mounts"] = [each for each in config["mounts"] if "/dev" not in each["destination"]]
        config["mounts"].append(
            {"destination": "/dev", "source": str(tmp_path / "dev"), "options": ["bind"]}
        )

    assert box.sh("ls /dev", change=change) == "null\n"
    assert os.listdir(tmp_path / "dev") == ["null"]


# --- what is hidden ---------------------------------------------------------------------------


def test_masked_paths(box: "Box") -> None:
    """Files read as empty, directories are empty; what is missing is no error."""
    bundle = box.bundle(
        [
            "sh",
            "-c",
            "cat /file; ls -A /dir; stat -c '%F' /file; touch /dir/x 2>&1; stat -c %F /link/.",
        ],
        linux(maskedPaths=["/file", "/dir", "/missing", "/link", "/proc/keys"]),
        own_root=True,
    )
    root = bundle / "rootfs"
    (root / "file").write_text("secret\n")
    (root / "dir").mkdir()
    (root / "dir/secret").write_text("secret\n")
    (root / "real").mkdir()
    (root / "link").symlink_to("/real")
    said = box.run(bundle=bundle)
    assert said.stdout.splitlines() == [
        "character special file",
        "touch: /dir/x: Read-only file system",
        "directory",
    ]
    assert (root / "file").read_text() == "secret\n"


def test_masks_hide_from_root_what_they_shall(box: "Box") -> None:
    said = box.lines("cat /proc/keys /proc/timer_list; ls /sys/firmware | wc -l")
    assert said == ["0"]


def test_readonly_paths(box: "Box") -> None:
    bundle = box.bundle(
        [
            "sh",
            "-c",
            "cat /file /dir/inner; touch /dir/x /file 2>&1; echo 1 2>&1 >/proc/sys/vm/swappiness;"
            " touch /other && echo ok",
        ],
        linux(readonlyPaths=["/file", "/dir", "/missing", "/proc/sys"]),
        own_root=True,
    )
    (bundle / "rootfs/file").write_text("file\n")
    (bundle / "rootfs/dir").mkdir()
    (bundle / "rootfs/dir/inner").write_text("inner\n")
    said = box.out(bundle=bundle).splitlines()
    assert said[:2] == ["file", "inner"]
    assert len([line for line in said if "Read-only file system" in line]) == 3
    assert said[-1] == "ok"


# --- sysctl -----------------------------------------------------------------------------------


def test_sysctl(box: "Box") -> None:
    """With dots or slashes, in the namespaces it names; the host's stay."""
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    shmmax = Path("/proc/sys/kernel/shmmax").read_text()
    values = {
        "net.ipv4.ip_forward": "1",
        "net/ipv4/ip_unprivileged_port_start": "80",
        "kernel.shmmax": "65536",
        "fs.mqueue.msg_max": "7",
        "kernel.domainname": "example",
    }
    paths = " ".join("/proc/sys/" + key.replace(".", "/") for key in values)
    said = box.lines(f"cat {paths}", change=linux(sysctl=values))
    assert said == list(values.values())
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == forwarding
    assert Path("/proc/sys/kernel/shmmax").read_text() == shmmax


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("vm.swappiness", "not in a separate kernel namespace"),
        ("kernel.hostname", "hostname"),
        ("net.ipv4..x", "no name"),
        ("net/../../vm/swappiness", ""),
        ("net.nonsense.nope", "no such file"),
        ("user.max_user_namespaces", "user namespace"),
    ],
)
def test_sysctls_that_are_refused(box: "Box", key: str, word: str) -> None:
    error = box.refused(change=linux(sysctl={key: "1"}))
    assert f'linux.sysctl[\\"{key}\\"]' in error
    assert word in error


def test_a_value_that_the_kernel_refuses(box: "Box") -> None:
    error = box.refused(change=linux(sysctl={"net.ipv4.ip_forward": "nonsense"}))
    assert 'linux.sysctl[\\"net.ipv4.ip_forward\\"]' in error
    assert "invalid argument" in error
