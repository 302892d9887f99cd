"""`root` and `mounts` of config.json, as /proc/self/mountinfo of the container shows them."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.spec.test_cgroups import UNIFIED

if TYPE_CHECKING:
    from tests.conftest import Config
    from tests.spec.conftest import Box, Change


class Mount:
    """One line of mountinfo (proc(5))."""

    def __init__(self, line: str) -> None:
        left, right = line.split(" - ")
        fields, tail = left.split(), right.split(" ")
        self.top, self.point = fields[3], fields[4]
        self.options = set(fields[5].split(","))
        self.propagation = {field.split(":")[0] for field in fields[6:]}
        self.kind, self.source = tail[0], tail[1]
        self.data = set(tail[2].split(","))


def table(text: str) -> dict[str, Mount]:
    """The uppermost mount of each place."""
    return {mount.point: mount for mount in map(Mount, text.splitlines())}


def mounted(box: "Box", *mounts: dict[str, Any], **options: Any) -> dict[str, Mount]:
    return table(box.out("cat", "/proc/self/mountinfo", change=adding(*mounts), **options))


def adding(*mounts: dict[str, Any]) -> "Change":
    return lambda config: config["mounts"].extend(mounts)


def bind(source: Path | str, destination: str, *options: str) -> dict[str, Any]:
    words = options if {"bind", "rbind"} & set(options) else ("bind", *options)
    return {"destination": destination, "source": str(source), "options": [*words]}


# --- root -------------------------------------------------------------------------------------


def test_the_root_may_be_relative_or_absolute(box: "Box", tmp_path: Path) -> None:
    """Relative to the bundle, not to the working directory."""
    bundle = box.bundle(["cat", "/mark"], own_root=True)
    (bundle / "rootfs/mark").write_text("mine\n")
    assert box.out(bundle=bundle, cwd="/") == "mine\n"
    other = box.bundle(
        ["cat", "/mark"], lambda config: config["root"].update(path=str(bundle / "rootfs"))
    )
    assert box.out(bundle=other) == "mine\n"
    (tmp_path / "link").symlink_to(bundle / "rootfs")
    linked = box.bundle(["cat", "/mark"], lambda config: config["root"].update(path="../link"))
    assert box.out(bundle=linked) == "mine\n"


@pytest.mark.parametrize("readonly", [True, False, None])
def test_root_readonly(box: "Box", readonly: bool | None) -> None:
    bundle = box.bundle(
        ["sh", "-c", "touch /new 2>&1; touch /dev/new && cat /proc/self/mountinfo | head -n1"],
        lambda config: None if readonly is None else config["root"].update(readonly=readonly),
        own_root=True,
    )
    said = box.out(bundle=bundle).splitlines()
    assert ("touch: /new: Read-only file system" in said) == bool(readonly)
    assert (bundle / "rootfs/new").exists() != bool(readonly)
    assert ("ro" in Mount(said[-1]).options) == bool(readonly)


def test_nothing_is_mounted_but_what_the_config_says(box: "Box") -> None:
    """And masks; nothing of the host can be seen."""
    said = mounted(box)
    wanted = {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"}
    rest = {point for point in said if not point.startswith(("/proc/", "/sys/"))}
    assert rest | {"/sys/fs/cgroup"} == wanted


def test_without_any_mounts(box: "Box") -> None:
    """An image needs no /proc for its program to run."""

    def change(config: "Config") -> None:
        config["mounts"] = []
        config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []
        config["linux"]["resources"] = {}

    said = box.lines("ls /proc /sys; ls /dev", change=change, own_root=True)
    assert "null" in said
    assert "self" not in said


# --- filesystems ------------------------------------------------------------------------------


def test_the_mounts_of_the_default_config(box: "Box") -> None:
    said = mounted(box)
    assert {point: said[point].kind for point in ("/proc", "/sys", "/dev")} == {
        "/proc": "proc",
        "/sys": "sysfs",
        "/dev": "tmpfs",
    }
    assert {"nosuid"} <= said["/dev"].options
    assert {"noexec", "nodev"}.isdisjoint(said["/dev"].options)
    assert {"size=65536k", "mode=755"} <= said["/dev"].data
    assert said["/dev/pts"].kind == "devpts"
    assert {"gid=5", "mode=620", "ptmxmode=666"} <= said["/dev/pts"].data
    assert said["/dev/mqueue"].kind == "mqueue"
    assert said["/dev/shm"].source == "shm"
    for point in ("/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"):
        assert {"nosuid", "noexec"} <= said[point].options
    assert "ro" in said["/sys"].options
    assert "rw" in said["/proc"].options


def test_the_mounts_of_the_default_config_are_runc_s(box: "Box") -> None:
    """Place, type, options and propagation of each."""
    script = (
        'awk \'{ dash = 0; for (i = 7; i <= NF; i++) if ($i == "-") dash = i;'
        " print $5, $6, $(dash + 1), (dash > 7) }' /proc/self/mountinfo | sort"
    )
    said, theirs = box.lines(script), box.lines(script, runtime="runc")
    ours = [line for line in said if not line.startswith("/sys/fs/cgroup")]
    assert ours == [line for line in theirs if not line.startswith("/sys/fs/cgroup")]


def test_a_tmpfs(box: "Box") -> None:
    """Its size holds, and a place that is missing is made."""
    said = mounted(
        box,
        {
            "destination": "/made/deep",
            "type": "tmpfs",
            "source": "some tmpfs",
            "options": ["size=64k", "mode=1700", "uid=1000", "gid=7", "noexec", "ro"],
        },
        own_root=True,
    )
    made = said["/made/deep"]
    assert made.kind == "tmpfs"
    assert made.source == "some\\040tmpfs"
    assert {"size=64k", "mode=1700", "uid=1000", "gid=7"} <= made.data
    assert {"ro", "noexec"} <= made.options

    small = {"destination": "/tmp", "type": "tmpfs", "source": "t", "options": ["size=64k"]}
    script = "stat -c %a /tmp; head -c 200000 /dev/zero 2>&1 >/tmp/x; stat -c %s /tmp/x"
    said_of_it = box.lines(script, change=adding(small))
    assert said_of_it[0] == "1777"  # that of the directory it covers
    assert said_of_it[-1] == "65536"


def test_a_tmpfs_that_begins_as_a_copy(box: "Box") -> None:
    """tmpcopyup: the image's own directory stays as it is."""
    copy = {"destination": "/etc", "type": "tmpfs", "source": "t", "options": ["tmpcopyup", "ro"]}
    script = "cat /etc/passwd; stat -c %a,%u /etc/deep; grep -c ' /etc tmpfs ro' /proc/mounts"
    bundle = box.bundle(["sh", "-c", script], adding(copy), own_root=True)
    deep = bundle / "rootfs/etc/deep"
    deep.mkdir()
    deep.chmod(0o2757)
    os.chown(deep, 7, 7)
    deep.chmod(0o2757)
    passwd = (bundle / "rootfs/etc/passwd").read_text()
    assert box.out(bundle=bundle) == f"{passwd}2757,7\n1\n"


def test_mqueue_is_of_the_ipc_namespace(box: "Box") -> None:
    assert box.sh("ls /dev/mqueue") == ""


def test_a_new_proc_and_sysfs_are_of_the_namespaces(box: "Box") -> None:
    assert [name for name in box.lines("ls /proc; true") if name.isdigit()] == ["1", "2"]
    assert box.sh("ls /sys/class/net") == "lo\n"


# --- binds ------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host with a tmpfs mounted inside it."""
    top = tmp_path / "host tree"
    (top / "sub").mkdir(parents=True)
    (top / "file").write_text("host\n")
    subprocess.run(["mount", "-t", "tmpfs", "lcpy-test", str(top / "sub")], check=True)
    (top / "sub/inner").write_text("inner\n")
    yield top
    subprocess.run(["umount", str(top / "sub")], check=True)


@pytest.mark.parametrize("options", [(), ("ro",), ("rbind",), ("rbind", "ro"), ("rbind", "rro")])
def test_binds(box: "Box", tree: Path, options: tuple[str, ...]) -> None:
    """`ro` is for the mount itself alone, `rro` for all below it."""
    script = "cat /mnt/file; ls /mnt/sub; touch /mnt/new 2>&1; touch /mnt/sub/new 2>&1"
    script += "; test -e /mnt/new && echo made; rm -f /mnt/new /mnt/sub/new 2>/dev/null; true"
    change = adding(bind(tree, "/mnt", *options))
    said = box.lines(script, change=change, own_root=True)
    recursive, readonly = "rbind" in options, {"ro", "rro"} & set(options)
    assert said[0] == "host"
    assert ("inner" in said) == recursive
    assert ("touch: /mnt/new: Read-only file system" in said) == bool(readonly)
    assert ("made" in said) != bool(readonly)
    below = "rro" in options or (readonly and not recursive)
    assert ("touch: /mnt/sub/new: Read-only file system" in said) == bool(below)
    if "rro" not in options:  # runc 1.1.5 knows no rro
        assert box.lines(script, change=change, own_root=True, runtime="runc") == said


def test_a_relative_source_is_of_the_bundle(box: "Box") -> None:
    bundle = box.bundle(["cat", "/mnt"], adding(bind("volume", "/mnt")), own_root=True)
    (bundle / "volume").write_text("mine\n")
    assert box.out(bundle=bundle, cwd="/") == "mine\n"


def test_targets_that_are_missing_are_made(box: "Box", tree: Path) -> None:
    """A file for a file, a directory for a directory, with all above it."""
    change = adding(bind(tree, "/a/b/dir"), bind(tree / "file", "/c/d/file"))
    said = box.lines("cat /a/b/dir/file /c/d/file", change=change, own_root=True)
    assert said == ["host", "host"]


def test_a_target_through_a_symlink_stays_inside(box: "Box", tree: Path) -> None:
    bundle = box.bundle(["cat", "/real/mnt/file"], adding(bind(tree, "/link/mnt")), own_root=True)
    (bundle / "rootfs/real").mkdir()
    (bundle / "rootfs/link").symlink_to("/../../../real")
    assert box.out(bundle=bundle) == "host\n"


def test_a_destination_as_the_host_writes_it(box: "Box", tree: Path) -> None:
    """`ROOTFS/data` is /data, for runc too; a neighbour of the root is only a path inside."""
    bundle = box.bundle(["sh", "-c", "cat /data/file; find /copy*"], own_root=True)
    rootfs = str(bundle / "rootfs")
    config = json.loads((bundle / "config.json").read_text())
    config["mounts"] += [
        bind(tree, f"{rootfs}//x/../data"),
        # What was mounted inside before is a source as good as any: here it is on the host's path.
        bind(f"{rootfs}/data/sub", f"{rootfs}/copy", "rbind"),
        bind(tree / "file", f"{rootfs}-copy"),
    ]
    (bundle / "config.json").write_text(json.dumps(config))
    assert box.out(bundle=bundle).splitlines() == ["host", "/copy"]
    assert (bundle / f"rootfs/{rootfs}-copy").is_file()
    config["mounts"].append(bind(tree, rootfs))
    (bundle / "config.json").write_text(json.dumps(config))
    assert "mounts[10].destination: a mount may not cover the root" in box.refused(bundle=bundle)


def test_a_source_that_is_missing_is_an_error(box: "Box", tmp_path: Path) -> None:
    error = box.refused(change=adding(bind(tmp_path / "nope", "/mnt")), own_root=True)
    assert "mounts[7].source" in error
    assert "no such file or directory" in error


def test_a_file_can_not_be_mounted_on_a_directory(box: "Box", tree: Path) -> None:
    error = box.refused(change=adding(bind(tree / "file", "/tmp")))
    assert "mounts[7]" in error


@pytest.mark.parametrize(
    ("words", "there", "gone"),
    [
        (("nosuid", "nodev", "noexec"), {"nosuid", "nodev", "noexec"}, set()),
        (("noatime",), {"noatime"}, {"relatime"}),
        (("nodiratime",), {"nodiratime"}, set()),
        (("strictatime",), set(), {"relatime", "noatime"}),
        (("relatime",), {"relatime"}, {"noatime"}),
        (("nosymfollow",), {"nosymfollow"}, set()),
        (("ro", "rw"), {"rw"}, {"ro"}),
        (("rw", "ro"), {"ro"}, {"rw"}),
        (("noexec", "exec", "nosuid", "suid"), set(), {"noexec", "nosuid"}),
        (("sync",), set(), set()),
    ],
)
def test_option_words(
    box: "Box", tmp_path: Path, words: tuple[str, ...], there: set[str], gone: set[str]
) -> None:
    """On a bind and on a filesystem; a later word wins."""
    (tmp_path / "volume").mkdir()
    said = mounted(
        box,
        bind(tmp_path / "volume", "/mnt", *words),
        {"destination": "/tmpfs", "type": "tmpfs", "source": "t", "options": [*words]},
        own_root=True,
    )
    for mount in (said["/mnt"], said["/tmpfs"]):
        assert there <= mount.options
        assert not gone & mount.options
    if words == ("sync",):
        assert "sync" in said["/tmpfs"].data | said["/tmpfs"].options


@pytest.mark.parametrize(
    ("word", "propagation"),
    [
        ("private", set()),
        ("rprivate", set()),
        ("shared", {"shared"}),
        ("rshared", {"shared"}),
        ("unbindable", {"unbindable"}),
        ("slave", set()),
    ],
)
def test_propagation_of_a_mount(box: "Box", word: str, propagation: set[str]) -> None:
    fields = {"destination": "/tmp", "type": "tmpfs", "source": "t", "options": [word]}
    assert mounted(box, fields)["/tmp"].propagation == propagation


def test_an_unknown_option_is_the_filesystem_s_to_refuse(box: "Box") -> None:
    fields = {"destination": "/tmp", "type": "tmpfs", "source": "t", "options": ["nonsense=1"]}
    error = box.refused(change=adding(fields))
    assert "mounts[7]" in error
    assert "nonsense" in error
    error = box.refused(change=adding(bind("/etc", "/tmp", "nosiud")))
    assert "mounts[7].options[1]" in error


def test_a_filesystem_s_option_on_a_bind_is_warned_of(box: "Box", tree: Path) -> None:
    done = box.run("cat", "/tmp/file", change=adding(bind(tree, "/tmp", "mode=700")))
    assert (done.returncode, done.stdout) == (0, "host\n")
    assert 'level=warning msg="mounts[7].options[1]: ignored:' in done.stderr


def test_an_unknown_type_is_an_error(box: "Box") -> None:
    fields = {"destination": "/tmp", "type": "nonsense", "source": "t"}
    error = box.refused(change=adding(fields))
    assert "mounts[7].type" in error
    assert "no such device" in error


def test_nothing_may_cover_proc_or_the_root(box: "Box", tmp_path: Path) -> None:
    """CVE-2019-16884: what only looks like procfs would take our own writes."""
    for destination in ("/proc", "/proc/self", "/", "/dev/../proc"):
        error = box.refused(change=adding(bind(tmp_path, destination)))
        assert "mounts[7].destination" in error


# --- id mappings ------------------------------------------------------------------------------


def mapping(container: int, host: int, size: int) -> list[dict[str, int]]:
    return [{"containerID": container, "hostID": host, "size": size}]


def with_user_namespace(*mounts: dict[str, Any]) -> "Change":
    """A new one, in which root is the host's own, and the host's 70000 is nobody."""

    def change(config: "Config") -> None:
        config["linux"]["namespaces"].append({"type": "user"})
        config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = mapping(0, 0, 65536)
        config["mounts"].extend(mounts)

    return change


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A directory below one that a user namespace's root may not search."""
    top = tmp_path / "secret"
    (top / "volume").mkdir(parents=True)
    (top / "volume/file").write_text("host\n")
    os.chown(top / "volume/file", 100, 211)
    os.chown(top, 70000, 70000)
    top.chmod(0o700)
    return top / "volume"


OWN_MAPPINGS = {"uidMappings": mapping(100, 1000, 5), "gidMappings": mapping(200, 2000, 50)}


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("word", ["", "idmap", "ridmap"])
def test_an_idmapped_mount(box: "Box", volume: Path, user: bool, word: str) -> None:
    """With mappings of its own, in which `hostID` is what the host would call the owner then."""
    mount = bind(volume, "/mnt", *filter(None, [word])) | OWN_MAPPINGS
    change = with_user_namespace(mount) if user else adding(mount)
    said = box.sh("stat -c %u:%g /mnt/file", change=change, own_root=True)
    assert said == "1000:2011\n"


def test_an_idmapped_mount_with_the_containers_mapping(box: "Box", volume: Path) -> None:
    """A map that changes nothing: but nobody else's files can be written through it."""
    change = with_user_namespace(bind(volume, "/mnt", "idmap"))
    said = box.sh("stat -c %u:%g /mnt/file; grep -c ,idmapped /proc/self/mountinfo",
                  change=change, own_root=True)  # fmt: skip
    assert said == "100:211\n1\n"


def test_a_filesystem_that_can_not_be_idmapped_is_named(box: "Box") -> None:
    mount = bind("/proc", "/mnt", "rbind", "ridmap") | OWN_MAPPINGS
    error = box.refused(change=adding(mount), own_root=True)
    assert "mounts[7].uidMappings" in error
    assert "invalid argument" in error


def test_a_source_that_only_the_host_can_open(box: "Box", volume: Path) -> None:
    change = with_user_namespace(bind(volume, "/mnt", "ro"), bind(volume / "file", "/file"))
    assert box.sh("cat /mnt/file /file", change=change, own_root=True) == "host\nhost\n"


@pytest.mark.parametrize("word", ["ro", "idmap"])
def test_a_source_that_an_earlier_mount_made(box: "Box", volume: Path, word: str) -> None:
    """Each source is opened in its turn."""
    bundle = box.bundle(["cat", "/c"], own_root=True)
    config = json.loads((bundle / "config.json").read_text())
    rootfs = bundle / "rootfs"
    with_user_namespace(
        bind(volume, "/a"),
        bind(rootfs / "a", "/b"),
        bind(rootfs / "b/file", "/c", word),
    )(config)
    (bundle / "config.json").write_text(json.dumps(config))
    assert box.out(bundle=bundle) == "host\n"


# --- in a user namespace ----------------------------------------------------------------------


def test_the_default_config_in_a_user_namespace(box: "Box") -> None:
    """The same mounts as without; and device nodes are binds of the host's."""
    script = "awk '{ print $5 }' /proc/self/mountinfo | sort -u"
    inside = set(box.lines(script, change=with_user_namespace()))
    nodes = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}
    assert inside == set(box.lines(script)) | nodes
    said = box.lines(
        "echo x >/dev/null && head -c1 /dev/zero | wc -c; stat -c %t:%T /dev/null /dev/full;"
        " readlink /dev/ptmx; test -t 0 </dev/ptmx && echo terminal",
        change=with_user_namespace(),
    )
    assert said == ["1", "1:3", "1:7", "pts/ptmx", "terminal"]


def test_a_device_that_the_host_has_not(box: "Box") -> None:
    def change(config: "Config") -> None:
        with_user_namespace()(config)
        config["linux"]["devices"] = [{"path": "/dev/lcpy", "type": "c", "major": 1, "minor": 3}]

    error = box.refused(change=change)
    assert "linux.devices[0]" in error
    assert "host" in error


def test_a_file_of_the_image_is_covered_by_the_device(box: "Box") -> None:
    """Without a /dev that is mounted; images that were exported have such files."""

    def change(config: "Config") -> None:
        with_user_namespace()(config)
        config["mounts"] = [each for each in config["mounts"] if each["destination"] == "/proc"]

    bundle = box.bundle(["sh", "-c", "echo x >/dev/null; cat /dev/null"], change, own_root=True)
    (bundle / "rootfs/dev/null").write_text("the image's")
    assert box.out(bundle=bundle) == ""
    assert (bundle / "rootfs/dev/null").read_text() == "the image's"


def test_sysfs_without_a_network_namespace_is_worded(box: "Box") -> None:
    def change(config: "Config") -> None:
        with_user_namespace()(config)
        config["linux"]["namespaces"] = [
            each for each in config["linux"]["namespaces"] if each["type"] != "network"
        ]

    error = box.refused(change=change)
    assert "operation not permitted" in error
    assert "bind /sys instead" in error


@pytest.mark.parametrize("namespace", [True, False])
def test_cgroups_in_a_user_namespace(box: "Box", namespace: bool) -> None:
    """The container's own part alone, read-only; on v2 in a cgroup namespace, else all of it."""

    def change(config: "Config") -> None:
        with_user_namespace()(config)
        kinds = [each for each in config["linux"]["namespaces"] if each["type"] != "cgroup"]
        config["linux"]["namespaces"] = kinds + [{"type": "cgroup"}] * namespace
        config["mounts"] = [
            each for each in config["mounts"] if each["destination"] != "/sys/fs/cgroup"
        ]
        config["mounts"].append(
            {
                "destination": "/sys/fs/cgroup",
                "type": "cgroup",
                "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
            }
        )

    said = table(box.out("cat", "/proc/self/mountinfo", change=change))
    pids = said.get("/sys/fs/cgroup/pids") or said["/sys/fs/cgroup"]
    assert {"ro", "nosuid", "noexec", "nodev"} <= pids.options
    assert (pids.top == "/") == (namespace or UNIFIED)


# --- rootfsPropagation ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "fields"),
    [
        (None, {"master"}),
        ("rslave", {"master"}),
        ("slave", {"master"}),
        ("private", set()),
        ("rprivate", set()),
        ("shared", {"shared"}),
        ("rshared", {"shared"}),
        ("unbindable", {"unbindable"}),
    ],
)
def test_rootfs_propagation(
    box: "Box", busybox_root: Path, tmp_path: Path, word: str | None, fields: set[str]
) -> None:
    """The root lies on a shared mount here, as on most hosts."""

    def change(config: "Config") -> None:
        config["root"] = {"path": str(shared / "rootfs")}
        if word:
            config["linux"]["rootfsPropagation"] = word

    shared = tmp_path / "shared"
    shared.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "lcpy-test", str(shared)], check=True)
    try:
        subprocess.run(["mount", "--make-shared", str(shared)], check=True)
        shutil.copytree(busybox_root, shared / "rootfs", symlinks=True)
        bundle = box.bundle(["cat", "/proc/self/mountinfo"], change)
        said = table(box.out(bundle=bundle))["/"].propagation
        assert said - {"propagate_from"} == fields
    finally:
        subprocess.run(["umount", str(shared)], check=True)


def test_no_pivot(box: "Box") -> None:
    """For a root on a ramdisk: the same root, entered in another way."""
    assert box.sh("ls /; id -u", flags=["--no-pivot"]) == box.sh("ls /; id -u")
