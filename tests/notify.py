"""A service manager that hears by $NOTIFY_SOCKET, and programs for its services."""

import array
import os
import select
import socket
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Heard(NamedTuple):
    """A message: its text, whose it is, and descriptors that came with it."""

    text: str
    pid: int
    fds: list[int]


class Manager:
    """What systemd is to a service: it listens, and knows who speaks."""

    def __init__(self, name: str) -> None:
        self.env = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": name}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(name.replace("@", "\0") if name.startswith("@") else name)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.settimeout(10)

    def hear(self) -> Heard:
        """Wait for a message."""
        text, extra, _, _ = self._socket.recvmsg(4096, 512)
        pid, fds = 0, array.array("i")
        for _, kind, data in extra:
            if kind == socket.SCM_CREDENTIALS:
                pid = struct.unpack("3i", data)[0]
            else:
                fds.frombytes(data)
        return Heard(text.decode(), pid, list(fds))

    def hears_nothing(self) -> bool:
        """Whether there is no message."""
        return not select.select([self._socket], [], [], 0)[0]

    def close(self) -> None:
        self._socket.close()


def compile_program(name: str, to: Path) -> Path:
    """Make `say` or `answer` in a directory, linked statically; return its path."""
    words = ["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(to / name)]
    subprocess.run([*words, str(HERE / f"{name}.c")], timeout=60, check=True)
    return to / name
