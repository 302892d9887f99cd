"""The host's network devices that a container is given: config-linux.md, «Network Devices».

Each is moved to the container's network namespace, new or joined, and is then no longer the
host's. It keeps its name, or has the new one; the kernel keeps what belongs to the device itself
(MTU, hardware address); its permanent addresses of global scope are given to it anew, and it is
set up, as the specification wants it. What the host had around it stays behind: routes, other
addresses, and the bridge that it was a port of.

Nobody moves it back when the container ends: that, too, the specification wants. With the last
process in a network namespace, and the last who holds it open, the kernel gives physical devices to
the initial one, under the names that they had in there, and destroys virtual ones. Only a container
that could not be made gives back what it was given; where we are killed in between, it is the
kernel's end for them as well. And nothing comes back from a namespace that was joined: who is in
there can have put a device of his own in the place of the one that was moved.
"""

import _socket

from libcontainer_py.errors import StepError, quoted, words
from libcontainer_py.network.rtnetlink import IFA_F_PERMANENT, RT_SCOPE_UNIVERSE, Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer_py.network.rtnetlink import Address, Link

HINTS = {
    1: "moving the host's devices takes CAP_NET_ADMIN over its network",
    22: "the kernel keeps some where they are: bridges, and lo",
}
_EEXIST = 17
_ENODEV = 19
_NUMBERS = 1000  # how many names are tried for eth%d


def open_socket() -> int:
    """Open what `NetDevices` needs of the container's network namespace, by who is in there."""
    return Socket().detach()


class NetDevices:
    """The devices that were moved into a container that is being made."""

    __slots__ = ("_inside", "_joined", "_moved", "_outside")

    def __init__(self, inside: int, *, joined: bool) -> None:
        """Take over a descriptor of `open_socket`, and open another here.

        Args:
            joined: others have rights in the container's network namespace already
        """
        self._joined = joined
        self._inside = Socket(inside)
        self._outside = Socket()
        self._moved: list[tuple[Link, list[Address], int]] = []  # and its index inside

    def close(self) -> None:
        """Close both sockets; the inner one has kept the container's network namespace alive."""
        self._inside.close()
        self._outside.close()

    def move(self, devices: "dict[str, dict[str, Any]]") -> None:
        """Move what ``linux.netDevices`` lists. After an error it is all to be given back.

        Raises:
            StepError: one is not there, or a name is taken, or the kernel refuses; with its field
        """
        links: dict[str, Link] = {}
        for key in devices:
            link = self._find(key)
            for other, found in links.items():
                if found.index == link.index:
                    what = f"it is {quoted(other)} by another name"
                    raise StepError(None, _EEXIST, what, field=_field(key))
            links[key] = link
        for key, link in links.items():
            self._move(link, devices[key].get("name") or "", _field(key))

    def _find(self, key: str) -> "Link":
        link = self._outside.find(key)
        if link is None:
            raise StepError(None, _ENODEV, "find it on the host", field=_field(key))
        return link

    def _move(self, link: "Link", new_name: str, field: str) -> None:
        # Before the move, which takes them from it; even setting it down takes those of IPv6.
        addresses = self._outside.addresses(link.index)
        name = self._free_name(new_name or link.name, f"{field}.name" if new_name else field)
        try:
            self._outside.move(link.index, self._inside, name)
        except OSError as error:
            if error.errno == _EEXIST:
                self._note_half_moved(link, addresses)
            what = f"move it to the container's network namespace, as {quoted(name)}"
            errno = error.errno or 0
            raise StepError(None, errno, what, field=field, hint=HINTS.get(errno)) from None
        index = self._index_inside(name)
        self._moved.append((link, addresses, index))
        for address in filter(_goes_along, addresses):
            try:
                self._inside.add(index, address)
            except OSError as error:
                what = f"give it {_text(address)} in the container"
                raise StepError(None, error.errno or 0, what, field=field) from None
        try:
            self._inside.set_up(index)
        except OSError as error:
            what = "set it up in the container"
            raise StepError(None, error.errno or 0, what, field=field) from None

    def _free_name(self, wanted: str, field: str) -> str:
        """The name itself; for one like eth%d the first that is free in the container.

        Raises:
            StepError: EEXIST, before anything has become of the device
        """
        for number in range(_NUMBERS if "%d" in wanted else 1):
            name = wanted.replace("%d", str(number))
            if self._inside.find(name) is None:
                return name
        what = f"the container has a device {quoted(wanted)} already"
        raise StepError(None, _EEXIST, what, field=field)

    def _index_inside(self, name: str) -> int:
        link = self._inside.find(name)
        if link is None:
            raise OSError(_ENODEV, "")
        return link.index

    def _note_half_moved(self, link: "Link", addresses: "list[Address]") -> None:
        """Where its new name was taken in this very moment, it is moved, and not renamed."""
        inside = self._inside.find(link.name)
        if inside is not None and self._outside.find(link.name) is None:
            self._moved.append((link, addresses, inside.index))

    def give_back(self, error: BaseException) -> None:
        """Undo the moves, because of an error, to which is added what stood in the way.

        They come back with their names, states and addresses, to their bridge, but without routes.
        """
        while self._moved:
            link, addresses, index = self._moved.pop()
            name = quoted(link.name)
            if self._joined:
                error.add_note(f"and network device {name} stays where it was moved to")
                continue
            try:
                self._give_back(link, addresses, index)
            except OSError as also:
                reason = words(also.errno or 0)
                error.add_note(f"and network device {name} did not come back: {reason}")

    def _give_back(self, link: "Link", addresses: "list[Address]", index: int) -> None:
        self._inside.move(index, self._outside, link.name)
        index = self._find(link.name).index
        for address in filter(_comes_back, addresses):
            try:
                self._outside.add(index, address)
            except OSError as error:
                if error.errno != _EEXIST:  # who manages the host's network was faster
                    raise
        if link.master:
            self._outside.set_master(index, link.master)
        if link.up:
            self._outside.set_up(index)


def _field(key: str) -> str:
    return f"linux.netDevices[{quoted(key)}]"


def _goes_along(address: "Address") -> bool:
    """Others are of use on the host alone, or have a lifetime that somebody there looks after."""
    return bool(address.flags & IFA_F_PERMANENT) and address.scope == RT_SCOPE_UNIVERSE


def _comes_back(address: "Address") -> bool:
    """Those that routers have brought, routers bring again."""
    return bool(address.flags & IFA_F_PERMANENT) or address.family == _socket.AF_INET


def _text(address: "Address") -> str:
    return f"{_socket.inet_ntop(address.family, address.local)}/{address.prefix}"
