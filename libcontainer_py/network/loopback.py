"""The loopback interface of a new network namespace."""

import _socket
import _struct as struct

from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import IFF_UP, SIOCGIFFLAGS, SIOCSIFFLAGS


def loopback_up() -> None:
    """Set `lo` up in the calling process's network namespace. `setupNetwork`.

    One ioctl (netdevice(7)): netlink for this alone would cost more than the container.

    Raises:
        OSError: EPERM without CAP_NET_ADMIN over the namespace
    """
    socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        # struct ifreq: name[16], then here the flags.
        request, address, _view = syscalls.buffer(40)
        request[:2] = b"lo"
        syscalls.syscall("ioctl", socket.fileno(), SIOCGIFFLAGS, address)
        (flags,) = struct.unpack_from("H", request, 16)
        struct.pack_into("H", request, 16, flags | IFF_UP)
        syscalls.syscall("ioctl", socket.fileno(), SIOCSIFFLAGS, address)
    finally:
        socket.close()
