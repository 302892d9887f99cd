"""The execution domain: linux.personality, see personality(2)."""

from libcontainer_py.linux import syscalls

# include/uapi/linux/personality.h
PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}


def set_personality(domain: str) -> None:
    """Let the calling process see the system as that domain does.

    Args:
        domain: `linux.personality.domain`, which was validated

    Raises:
        OSError: the kernel refused
    """
    syscalls.personality(PERSONALITIES[domain])
