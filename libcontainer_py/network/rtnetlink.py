"""Network devices and their addresses, in the kernel's own messages: rtnetlink(7), netlink(7).

The few that moving a device takes, by hand: a library for netlink takes longer to import than a
container to be made.
"""

import _socket
import _struct as struct
import fcntl
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# linux/netlink.h
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_CREATE_EXCL = 0x600
NLA_TYPE_MASK = 0x3FFF
SOL_NETLINK = 270
NETLINK_GET_STRICT_CHK = 12

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
RTM_NEWLINK = 16
RTM_GETLINK = 18
RTM_NEWADDR = 20
RTM_GETADDR = 22
RT_SCOPE_UNIVERSE = 0
IFF_UP = 1
IFLA_IFNAME = 3
IFLA_MASTER = 10
IFLA_NET_NS_FD = 28
IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_LABEL = 3
IFA_FLAGS = 8
IFA_F_PERMANENT = 0x80
SIOCGSKNS = 0x894C  # linux/sockios.h

_ENODEV = 19
_EINTR = 4
_HEADER = "=IHHII"  # struct nlmsghdr: length, type, flags, sequence, port
_LINK = "=BxHiII"  # struct ifinfomsg: family, type, index, flags, which of them to change
_ADDRESS = "=BBBBI"  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ROOM = 1 << 16  # the kernel fills no more than 32 KiB
_TRIES = 10


class Link:
    """A network device as its namespace knows it.

    Attributes:
        index: its number there
        name: its name there
        up: is it up?
        master: the index of the bridge or bond that it is a port of, or 0
    """

    __slots__ = ("index", "master", "name", "up")

    index: int

    def __init__(self, message: bytes) -> None:
        _family, _type, self.index, flags, _change = struct.unpack_from(_LINK, message)
        self.up = bool(flags & IFF_UP)
        attributes = dict(_attributes(message[struct.calcsize(_LINK) :]))
        self.name = attributes[IFLA_IFNAME].rstrip(b"\0").decode("utf-8", "surrogateescape")
        self.master = int.from_bytes(attributes.get(IFLA_MASTER, b""), "little")


class Address:
    """An address of a network device, with all that was said of it when it was given.

    Attributes:
        family: AF_INET or AF_INET6
        prefix: the length of its prefix, in bits
        flags: IFA_F_…
        scope: RT_SCOPE_…
        attributes: IFA_… and their values, but for the flags, and a label: that begins with the
            name which the device has now
    """

    __slots__ = ("attributes", "family", "flags", "index", "prefix", "scope")

    def __init__(self, message: bytes) -> None:
        self.family, self.prefix, flags, self.scope, self.index = struct.unpack_from(
            _ADDRESS, message
        )
        self.attributes = dict(_attributes(message[struct.calcsize(_ADDRESS) :]))
        self.attributes.pop(IFA_LABEL, None)
        # The header has no room for all of them.
        self.flags = int.from_bytes(self.attributes.pop(IFA_FLAGS, bytes([flags])), "little")

    @property
    def local(self) -> bytes:
        """The address itself: of a pair, the one at this end."""
        return self.attributes.get(IFA_LOCAL) or self.attributes[IFA_ADDRESS]


class Socket:
    """A socket of rtnetlink. It speaks of the network namespace that it was opened in, for good."""

    __slots__ = ("_sequence", "_socket")

    def __init__(self, fd: "int | None" = None) -> None:
        """Open one in our own namespace, or take over a descriptor of one.

        Raises:
            OSError: the kernel has no rtnetlink
        """
        kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
        self._sequence = 0
        self._socket = (
            _socket.socket(_socket.AF_NETLINK, kind, _socket.NETLINK_ROUTE)
            if fd is None
            else _socket.socket(fileno=fd)
        )
        # To the kernel alone: others, in the same namespace, can then send us nothing.
        self._socket.connect((0, 0))
        # Else a dump takes no heed of what it is asked for, and tells of every device.
        self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def detach(self) -> int:
        """Give up the descriptor, to be handed on."""
        return self._socket.detach()

    def find(self, name: str) -> "Link | None":
        """Find a device by its name, or by one of its other names (``ip link property``)."""
        body = struct.pack(_LINK, 0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, _name(name))
        try:
            return Link(self._request(RTM_GETLINK, 0, body)[0])
        except OSError as error:
            if error.errno != _ENODEV:
                raise
            return None

    def addresses(self, index: int) -> "list[Address]":
        """All addresses of a device, in the order in which they were given."""
        found: list[Address] = []
        for family in (_socket.AF_INET, _socket.AF_INET6):
            body = struct.pack(_ADDRESS, family, 0, 0, 0, index)
            each = map(Address, self._request(RTM_GETADDR, NLM_F_DUMP, body))
            # A kernel without IPv6 tells of all families when it is asked for that one.
            of_family = [address for address in each if address.family == family]
            # And of these it tells the last one first.
            found += reversed(of_family) if family == _socket.AF_INET6 else of_family
        return found

    def move(self, index: int, to: "Socket", name: str) -> None:
        """Move a device to the network namespace of another socket, where it is down at first.

        Args:
            name: which it is to have there

        Raises:
            OSError: EEXIST where the name is taken. Then it may have been moved nevertheless: the
                kernel renames it after that, if its old name is free there; EPERM without
                CAP_NET_ADMIN over both namespaces
        """
        namespace = fcntl.ioctl(to._socket.fileno(), SIOCGSKNS)
        try:
            self._set(
                index,
                attribute(IFLA_IFNAME, _name(name))
                + attribute(IFLA_NET_NS_FD, namespace.to_bytes(4, "little")),
            )
        finally:
            posix.close(namespace)

    def set_master(self, index: int, master: int) -> None:
        """Make a device a port of a bridge or bond."""
        self._set(index, attribute(IFLA_MASTER, master.to_bytes(4, "little")))

    def set_up(self, index: int) -> None:
        """Set a device up."""
        self._set(index, b"", IFF_UP)

    def add(self, index: int, address: Address) -> None:
        """Give a device an address."""
        head = struct.pack(_ADDRESS, address.family, address.prefix, 0, address.scope, index)
        body = b"".join(attribute(kind, value) for kind, value in address.attributes.items())
        flags = attribute(IFA_FLAGS, address.flags.to_bytes(4, "little"))
        self._request(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE_EXCL, head + body + flags)

    def _set(self, index: int, attributes: bytes, flags: int = 0) -> None:
        head = struct.pack(_LINK, 0, 0, index, flags, flags)
        self._request(RTM_NEWLINK, NLM_F_ACK, head + attributes)

    def _request(self, kind: int, flags: int, body: bytes) -> "list[bytes]":
        """Ask the kernel; returns what it answers: the bodies of its messages.

        Raises:
            OSError: what the kernel says to it
        """
        for _try in range(_TRIES):
            self._sequence += 1
            length = struct.calcsize(_HEADER) + len(body)
            header = struct.pack(_HEADER, length, kind, flags | NLM_F_REQUEST, self._sequence, 0)
            self._socket.send(header + body)
            answer = self._answer(bool(flags & NLM_F_DUMP))
            if answer is not None:
                return answer
        raise OSError(_EINTR, "")

    def _answer(self, dump: bool) -> "list[bytes] | None":
        """Read an answer to its end; None: a dump that something has changed under."""
        bodies: list[bytes] = []
        whole = True
        while True:
            data, (port, _groups) = self._socket.recvfrom(_ROOM)
            if port:
                continue  # not the kernel: somebody in there wrote before we were connected
            for kind, flags, sequence, body in _messages(data):
                if sequence != self._sequence:
                    continue
                whole = whole and not flags & NLM_F_DUMP_INTR
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    errno = -int.from_bytes(body[:4], "little", signed=True)
                    if errno:
                        raise OSError(errno, "")
                    return bodies if whole else None
                bodies.append(body)
                if not dump:
                    return bodies


def attribute(kind: int, value: bytes) -> bytes:
    """struct rtattr and its value, up to where the next one may begin."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _name(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape") + b"\0"


def _messages(data: bytes) -> "Iterator[tuple[int, int, int, bytes]]":
    """The messages of a datagram: type, flags, sequence, body."""
    size = struct.calcsize(_HEADER)
    while len(data) >= size:
        length, kind, flags, sequence, _port = struct.unpack_from(_HEADER, data)
        yield kind, flags, sequence, data[size:length]
        data = data[max(size, length + -length % 4) :]


def _attributes(data: bytes) -> "Iterator[tuple[int, bytes]]":
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & NLA_TYPE_MASK, data[4:length]
        data = data[max(4, length + -length % 4) :]
