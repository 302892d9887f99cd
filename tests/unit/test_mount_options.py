"""The option words of mounts, against the table of the runtime specification."""

import pytest

from libcontainer_py.linux.flags import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME,
    MS_BIND,
    MS_NOATIME,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_SHARED,
    MS_SLAVE,
    MS_STRICTATIME,
    MS_SYNCHRONOUS,
)
from libcontainer_py.mount.filesystems import _options_of
from libcontainer_py.mount.options import attributes, known_options, parse_options

# config.md, «Linux mount options».
_TABLE = """
async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand noatime
nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow
private ratime rbind rdev rdiratime relatime remount rexec ridmap rnoatime rnodev rnodiratime
rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared
rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow
sync tmpcopyup unbindable
"""
SPECIFIED = _TABLE.split()


def test_every_word_of_the_specification_is_known_and_none_else() -> None:
    assert known_options() == sorted(SPECIFIED)


@pytest.mark.parametrize("word", SPECIFIED)
def test_no_word_of_the_specification_reaches_the_filesystem(word: str) -> None:
    assert parse_options([word]).data == []


@pytest.mark.parametrize(
    ("words", "flags", "cleared"),
    [
        ([], 0, 0),
        (["defaults"], 0, 0),
        (["ro", "nosuid"], MS_RDONLY | MS_NOSUID, 0),
        (["ro", "rw"], 0, MS_RDONLY),
        (["rw", "ro"], MS_RDONLY, 0),
        (["noexec", "exec", "dev"], 0, MS_NOEXEC | MS_NODEV),
        (["rbind"], MS_BIND | MS_REC, 0),
        (["bind", "noatime"], MS_BIND | MS_NOATIME, 0),
        (["async"], 0, MS_SYNCHRONOUS),
    ],
)
def test_a_later_word_wins(words: "list[str]", flags: int, cleared: int) -> None:
    options = parse_options(words)
    assert (options.flags, options.cleared) == (flags, cleared)


@pytest.mark.parametrize(
    ("words", "attr_set", "attr_clr"),
    [
        (["rro"], MOUNT_ATTR_RDONLY, 0),
        (["rro", "rrw"], 0, MOUNT_ATTR_RDONLY),
        (["rsuid", "rnosuid"], MOUNT_ATTR_NOSUID, 0),
        (["rdev"], 0, MOUNT_ATTR_NODEV),
        (["rnoatime"], MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME),
        (["rnoatime", "rstrictatime"], MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
        (["rnoatime", "ratime"], MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
        (["rnodiratime", "rdiratime"], 0, MOUNT_ATTR_NODIRATIME),
    ],
)
def test_recursive_words(words: "list[str]", attr_set: int, attr_clr: int) -> None:
    options = parse_options(words)
    assert (options.attr_set, options.attr_clr) == (attr_set, attr_clr)
    assert options.flags == options.cleared == 0


def test_propagation_words_keep_their_order() -> None:
    options = parse_options(["rslave", "shared", "rprivate"])
    assert options.propagation == [MS_SLAVE | MS_REC, MS_SHARED, MS_PRIVATE | MS_REC]


def test_unknown_words_go_to_the_filesystem_with_their_place() -> None:
    options = parse_options(["nosuid", "size=64k", "tmpcopyup", "mode=755"])
    assert options.data == [(1, "size=64k"), (3, "mode=755")]
    assert options.copy_up


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (0, MOUNT_ATTR_RELATIME),
        (MS_RELATIME | MS_RDONLY, MOUNT_ATTR_RELATIME | MOUNT_ATTR_RDONLY),
        (MS_NOATIME | MS_NOSUID, MOUNT_ATTR_NOATIME | MOUNT_ATTR_NOSUID),
        # mount(2) lets strictatime win.
        (MS_NOATIME | MS_STRICTATIME, MOUNT_ATTR_STRICTATIME),
    ],
)
def test_attributes_read_access_times_as_mount_does(flags: int, expected: int) -> None:
    assert attributes(flags) == expected


def test_several_options_in_one_word_are_parted() -> None:
    options = parse_options(["nosuid", "mode=755,,noswap,x=a=b", "size=1"])
    assert _options_of(options) == [
        (1, "mode", "755"),
        (1, "noswap", None),
        (1, "x", "a=b"),
        (2, "size", "1"),
    ]
