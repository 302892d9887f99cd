"""System call numbers, from the kernel's tables (arch/x86/entry/syscalls/syscall_64.tbl and
scripts/syscall.tbl, which aarch64 uses). Only what `os` has no function for, or what the finish
list records.
"""

import posix

from libcontainer_py.errors import Error

# name                       x86_64 aarch64
_TABLE = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "ioctl": (16, 29),
    "execve": (59, 221),
    "wait4": (61, 260),
    "fcntl": (72, 25),
    "fchdir": (81, 50),
    "lseek": (8, 62),
    "getpid": (39, 172),
    "clone": (56, 220),
    "chroot": (161, 51),
    "umask": (95, 166),
    "sendmsg": (46, 211),
    "setsid": (112, 157),
    "dup3": (292, 24),
    "setgroups": (116, 159),
    "setresuid": (117, 147),
    "getresuid": (118, 148),
    "setresgid": (119, 149),
    "getresgid": (120, 150),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "capget": (125, 90),
    "capset": (126, 91),
    "personality": (135, 92),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "umount2": (166, 39),
    "mount": (165, 40),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "sched_setaffinity": (203, 122),
    "set_mempolicy": (238, 237),
    "ioprio_set": (251, 30),
    "chdir": (80, 49),
    "exit_group": (231, 94),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "inotify_add_watch": (254, 27),
    "inotify_init1": (294, 26),
    "signalfd4": (289, 74),
    "prlimit64": (302, 261),
    "sched_setattr": (314, 274),
    "setns": (308, 268),
    "seccomp": (317, 277),
    "bpf": (321, 280),
    "execveat": (322, 281),
    "statx": (332, 291),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "pidfd_open": (434, 434),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "openat2": (437, 437),
    "pidfd_getfd": (438, 438),
    "mount_setattr": (442, 442),
}

MACHINE = posix.uname().machine
_COLUMN = {"x86_64": 0, "aarch64": 1}


def numbers_of(machine: str) -> "dict[str, int]":
    """Get an architecture's system calls, {name: number}; raise Error where it has no column."""
    column = _COLUMN.get(machine)
    if column is None:
        raise Error(
            f"system calls: the architecture {machine} is not supported"
            " (only x86_64 and aarch64 are)"
        )
    return {name: numbers[column] for name, numbers in _TABLE.items()}


NR = numbers_of(MACHINE)
