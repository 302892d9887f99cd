"""Moving network devices, by itself: rtnetlink's messages, what is kept, and the way back."""

import itertools
import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from libcontainer_py.errors import StepError
from libcontainer_py.linux.flags import CLONE_NEWNET
from libcontainer_py.namespaces import helper
from libcontainer_py.network import netdevices, rtnetlink
from libcontainer_py.network.netdevices import NetDevices
from libcontainer_py.network.rtnetlink import Socket

_numbers = itertools.count()


def ip(*words: str, inside: "int | None" = None) -> Any:
    """Run ip(8), in the network namespace of another process or in ours; returns its JSON."""
    enter = [] if inside is None else ["nsenter", f"--net=/proc/{inside}/ns/net"]
    done = subprocess.run(
        [*enter, "ip", "-json", *words], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, (words, done.stderr)
    return json.loads(done.stdout) if done.stdout.strip() else None


def shown(name: str, inside: "int | None" = None) -> Any:
    """What ip(8) says of a device; None where there is none."""
    every = ip("-details", "address", inside=inside)
    return next((each for each in every if each.get("ifname") == name), None)


def addresses(name: str, inside: "int | None" = None) -> list[str]:
    """Its addresses, but for those that the kernel makes of the hardware's."""
    return [
        f"{each['local']}/{each['prefixlen']}"
        for each in shown(name, inside)["addr_info"]
        if not each["local"].startswith("fe80")
    ]


@pytest.fixture
def device() -> Iterator[str]:
    """One end of a veth pair, up; the other is NAME + "p"."""
    name = f"lcpyN{os.getpid()}{'abcdefghij'[next(_numbers) % 10]}"
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    ip("link", "set", name, "up")
    ip("link", "set", f"{name}p", "up")
    yield name
    # The peer of one that has gone with its namespace has gone, too.
    subprocess.run(["ip", "link", "del", f"{name}p"], stderr=subprocess.DEVNULL, check=False)


@pytest.fixture
def inside() -> Iterator[int]:
    """A process in a network namespace of its own."""
    argv = ["unshare", "--net", "sh", "-c", "echo; exec sleep 100"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


@pytest.fixture
def devices(inside: int) -> Iterator[NetDevices]:
    """What moves devices to it."""
    pidfd = os.pidfd_open(inside)
    with helper.Serving(pidfd, CLONE_NEWNET, lambda _: netdevices.open_socket()) as serving:
        fd = helper.ask(serving.pipe, 0)
    os.close(pidfd)
    assert fd is not None
    moving = NetDevices(fd, joined=False)
    yield moving
    moving.close()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No descriptor is left."""
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


# --- the messages -----------------------------------------------------------------------------


def test_a_device_is_found_by_each_of_its_names(device: str) -> None:
    ip("link", "property", "add", "dev", device, "altname", f"{device}-x")
    rtnl = Socket()
    link, other = rtnl.find(device), rtnl.find(f"{device}-x")
    assert link is not None
    assert other is not None
    assert (link.name, link.index, link.up, link.master) == (
        device, shown(device)["ifindex"], True, 0,
    )  # fmt: skip
    assert (other.name, other.index) == (link.name, link.index)
    assert rtnl.find("lcpyNmissing") is None
    rtnl.close()


def test_addresses_are_those_of_the_one_device_in_their_order(device: str) -> None:
    """More than one datagram holds."""
    wanted = [f"10.{150 + n // 250}.{n % 250}.1/32" for n in range(700)]
    wanted += [f"fd77::{n:x}/128" for n in range(1, 300)]
    batch = "".join(f"address add {each} dev {device} nodad\n" for each in wanted)
    batch += f"address add 10.149.0.1/24 dev {device}p\n"
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, timeout=60, check=True)
    rtnl = Socket()
    link = rtnl.find(device)
    assert link is not None
    found = rtnl.addresses(link.index)
    said = [f"{socket.inet_ntop(each.family, each.local)}/{each.prefix}" for each in found]
    assert [each for each in said if not each.startswith("fe80")] == wanted
    rtnl.close()


def test_what_is_refused_is_an_errno(device: str) -> None:
    rtnl = Socket()
    ip("link", "set", device, "down")  # else older kernels would rename none, whatever the name
    link = rtnl.find(device)
    assert link is not None
    with pytest.raises(OSError, match=r"^\[Errno 19\]"):
        rtnl.set_up(2**31 - 1)
    with pytest.raises(OSError, match=r"^\[Errno 19\]"):
        rtnl.addresses(2**31 - 1)
    with pytest.raises(OSError, match=r"^\[Errno 22\]"):
        rtnl.move(link.index, rtnl, "a/b")
    with pytest.raises(OSError, match=r"^\[Errno 34\]"):
        rtnl.find("x" * 16)
    assert rtnl.find(device) is not None  # each answer was read to its end
    rtnl.close()


def test_others_can_send_nothing(device: str) -> None:
    """Whoever has CAP_NET_ADMIN in a namespace may write to sockets of it; not to this one."""
    rtnl = Socket()
    assert rtnl.find(device) is not None
    port = rtnl._socket.getsockname()[0]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as other:
        no_such_device = struct.pack("=i", -19) + bytes(16)
        head = struct.pack("=IHHII", 36, rtnetlink.NLMSG_ERROR, 0, rtnl._sequence + 1, port)
        with pytest.raises(ConnectionRefusedError):
            other.sendto(head + no_such_device, (port, 0))
    link = rtnl.find(device)
    assert link is not None
    assert link.name == device
    rtnl.close()


def test_a_dump_that_was_disturbed_is_asked_for_again(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ip("address", "add", "10.151.0.1/32", "dev", device)
    real, calls = rtnetlink._messages, []

    def disturbed(data: bytes) -> Any:
        for kind, flags, sequence, body in real(data):
            calls.append(sequence)
            yield kind, flags | (rtnetlink.NLM_F_DUMP_INTR if sequence < 4 else 0), sequence, body

    rtnl = Socket()
    link = rtnl.find(device)
    assert link is not None
    monkeypatch.setattr(rtnetlink, "_messages", disturbed)
    assert [each.local for each in rtnl.addresses(link.index) if each.family == socket.AF_INET] == [
        bytes([10, 151, 0, 1])
    ]
    assert {2, 3, 4} <= set(calls)
    monkeypatch.setattr(
        rtnetlink,
        "_messages",
        lambda data: ((k, f | 0x10, s, b) for k, f, s, b in real(data)),
    )
    with pytest.raises(InterruptedError):
        rtnl.addresses(link.index)
    rtnl.close()


# --- moves ------------------------------------------------------------------------------------


def test_what_of_a_device_is_kept(device: str, devices: NetDevices, inside: int) -> None:
    ip("link", "set", device, "mtu", "1789", "address", "02:11:22:33:44:55", "txqueuelen", "77")
    for words in (
        "10.152.1.1/24 broadcast 10.152.1.255 label {}:x",
        "10.152.1.2/24",
        "10.152.2.1 peer 10.152.2.2/32 metric 50",
        "169.254.169.77/32",
        "127.0.0.33/32 scope host",
        "10.152.3.1/24 scope link",
        "10.152.4.1/24 valid_lft 500 preferred_lft 400",
        "fd77::1/64 nodad",
        "fd77::2/64 nodad preferred_lft 0",
        "fd77::3/64 nodad noprefixroute",
        "fd77::4/64 nodad valid_lft 500 preferred_lft 400",
    ):
        ip("address", "add", *words.format(device).split(), "dev", device)
    before = shown(device)
    devices.move({device: {}})
    assert shown(device) is None
    after = shown(device, inside)
    for what in ("mtu", "address", "txqlen"):
        assert after[what] == before[what], what
    assert after["link_index"] == shown(f"{device}p")["ifindex"]
    assert "UP" in after["flags"]

    def facts(said: Any) -> list[Any]:
        kept = []
        for each in said["addr_info"]:
            if each["local"].startswith("fe80") or each.get("dynamic") or each["scope"] != "global":
                continue
            kept.append({k: v for k, v in each.items() if k not in ("label", "tentative")})
        return kept

    assert facts(after) == facts(before)
    assert addresses(device, inside) == [
        "10.152.1.1/24", "10.152.2.1/32", "169.254.169.77/32", "10.152.1.2/24",
        "fd77::3/64", "fd77::2/64", "fd77::1/64",
    ]  # fmt: skip


def test_one_that_was_down_is_up(device: str, devices: NetDevices, inside: int) -> None:
    """The specification wants it."""
    ip("link", "set", device, "down")
    ip("address", "add", "10.153.0.1/24", "dev", device)
    devices.move({device: {"name": ""}})
    assert "UP" in shown(device, inside)["flags"]
    assert addresses(device, inside) == ["10.153.0.1/24"]


def test_a_new_name(device: str, devices: NetDevices, inside: int) -> None:
    """Also one that is a device's on the host."""
    devices.move({device: {"name": f"{device}p"}})
    assert shown(f"{device}p", inside)["link_index"] == shown(f"{device}p")["ifindex"]


def test_its_own_name_where_it_is_found_by_another_one(
    device: str, devices: NetDevices, inside: int
) -> None:
    other = f"{device}x"
    ip("link", "property", "add", "dev", device, "altname", other)
    devices.move({other: {}})
    assert shown(device, inside) is not None


def test_a_template(device: str, devices: NetDevices, inside: int) -> None:
    """The first numbers that are free. Also where the old name could stay."""
    ip("link", "add", "in0", "type", "veth", "peer", "name", "in2", inside=inside)
    devices.move({device: {"name": "in%d"}, f"{device}p": {"name": "in%d"}})
    here, there = shown("in1", inside), shown("in3", inside)
    assert here["link"] == "in3"
    assert there["link"] == "in1"


def test_another_number(device: str, devices: NetDevices, inside: int) -> None:
    """Where its own is taken in there."""
    number = str(shown(device)["ifindex"])
    ip("link", "add", "x", "index", number, "type", "bridge", inside=inside)
    ip("address", "add", "10.157.0.1/24", "dev", device)
    devices.move({device: {}})
    assert addresses(device, inside) == ["10.157.0.1/24"]
    devices.give_back(ValueError())
    assert addresses(device) == ["10.157.0.1/24"]
    assert shown("x", inside) is not None


def test_an_address_that_the_container_can_not_have(
    device: str, devices: NetDevices, inside: int
) -> None:
    """It is not left out in silence."""
    off = "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6"
    subprocess.run(["nsenter", f"--net=/proc/{inside}/ns/net", "sh", "-c", off], check=True)
    ip("address", "add", "fd80::1/64", "dev", device, "nodad")
    with pytest.raises(StepError) as caught:
        devices.move({device: {}})
    assert str(caught.value) == (
        f'linux.netDevices["{device}"]: give it fd80::1/64 in the container: permission denied'
    )
    devices.give_back(caught.value)
    assert addresses(device) == ["fd80::1/64"]
    assert not hasattr(caught.value, "__notes__")


def test_a_name_that_is_taken_is_found_out_before(
    device: str, devices: NetDevices, inside: int
) -> None:
    """So the device is as it was: also its routes."""
    ip("address", "add", "10.154.0.1/24", "dev", device)
    words = ("via", "10.154.0.9", "dev", device, "metric", str(os.getpid()))
    ip("route", "add", "10.155.0.0/24", *words)
    routes = ip("route", "show", "dev", device)
    wanted: list[tuple[dict[str, dict[str, Any]], str]] = [
        ({device: {"name": "lo"}}, f'linux.netDevices["{device}"].name'),
        ({"lo": {}}, 'linux.netDevices["lo"]'),
    ]
    for asked, field in wanted:
        with pytest.raises(StepError) as caught:
            devices.move(asked)
        assert str(caught.value) == f'{field}: the container has a device "lo" already: file exists'
    assert ip("route", "show", "dev", device) == routes


def test_none_is_moved_where_one_is_missing(device: str, devices: NetDevices, inside: int) -> None:
    with pytest.raises(StepError) as caught:
        devices.move({device: {}, "lcpyNmissing": {"name": "x"}})
    assert (
        str(caught.value) == 'linux.netDevices["lcpyNmissing"]: find it on the host: no such device'
    )
    assert shown(device) is not None


def test_a_device_that_the_kernel_keeps(device: str, devices: NetDevices, inside: int) -> None:
    """A bridge. What was moved before it comes back."""
    bridge = f"{device}b"
    ip("link", "add", bridge, "type", "bridge")
    try:
        with pytest.raises(StepError) as caught:
            devices.move({device: {}, bridge: {"name": "br"}})
        assert str(caught.value) == (
            f'linux.netDevices["{bridge}"]: move it to the container\'s network namespace, as "br":'
            " invalid argument (the kernel keeps some where they are: bridges, and lo)"
        )
        assert shown(device) is None
        devices.give_back(caught.value)
        assert "UP" in shown(device)["flags"]
        assert getattr(caught.value, "__notes__", []) == []
    finally:
        ip("link", "del", bridge)


# --- the way back -----------------------------------------------------------------------------


def test_it_comes_back_as_it_was(device: str, devices: NetDevices, inside: int) -> None:
    """Name, number, state, bridge, and also those addresses that did not go along."""
    bridge = f"{device}b"
    ip("link", "add", bridge, "type", "bridge")
    try:
        ip("link", "set", device, "master", bridge)
        for words in ("10.156.1.1/24", "127.0.0.34/32 scope host", "fd78::1/64 nodad"):
            ip("address", "add", *words.split(), "dev", device)
        before = shown(device)
        devices.move({device: {"name": "other"}, f"{device}p": {}})
        assert "master" not in shown("other", inside)
        error = ValueError()
        devices.give_back(error)
        after = shown(device)
        for what in ("ifindex", "mtu", "address", "master", "link"):
            assert after[what] == before[what], what
        assert "UP" in after["flags"]
        assert addresses(device) == ["127.0.0.34/32", "10.156.1.1/24", "fd78::1/64"]
        assert shown("other", inside) is None
        assert getattr(error, "__notes__", []) == []
    finally:
        ip("link", "del", bridge)


def test_one_that_was_down_comes_back_down(device: str, devices: NetDevices, inside: int) -> None:
    ip("link", "set", device, "down")
    devices.move({device: {}})
    devices.give_back(ValueError())
    assert "UP" not in shown(device)["flags"]


def test_one_that_was_renamed_inside_comes_back_too(
    device: str, devices: NetDevices, inside: int
) -> None:
    """By a hook, for example."""
    devices.move({device: {}})
    ip("link", "set", device, "down", inside=inside)
    ip("link", "set", device, "name", "another", inside=inside)
    devices.give_back(ValueError())
    assert shown(device) is not None


def test_a_name_that_is_taken_in_the_very_moment(
    device: str, devices: NetDevices, inside: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has moved it by then, but not renamed: it comes back."""
    ip("link", "add", "taken", "type", "veth", "peer", "name", "x", inside=inside)
    monkeypatch.setattr(NetDevices, "_free_name", lambda _self, name, _field: name)
    with pytest.raises(StepError) as caught:
        devices.move({device: {"name": "taken"}})
    assert caught.value.errno == 17
    assert shown(device, inside) is not None
    devices.give_back(caught.value)
    assert shown(device) is not None
    # And so where both names are taken: then it has not gone at all.
    ip("link", "add", device, "type", "veth", "peer", "name", "y", inside=inside)
    with pytest.raises(StepError):
        devices.move({device: {"name": "taken"}})
    assert shown(device)["link"] == f"{device}p"


def test_what_can_not_come_back_is_said(device: str, devices: NetDevices, inside: int) -> None:
    """Its name has a new owner here. The others come back nevertheless."""
    devices.move({f"{device}p": {}, device: {}})
    ip("link", "add", device, "type", "bridge")
    try:
        error = ValueError()
        devices.give_back(error)
        assert error.__notes__ == [f'and network device "{device}" did not come back: file exists']
        assert shown(device, inside) is not None
        assert shown(f"{device}p") is not None
    finally:
        ip("link", "del", device)


def test_nothing_comes_back_from_a_namespace_that_was_joined(
    device: str, devices: NetDevices, inside: int
) -> None:
    """A neighbour there may have made one with its number, or renamed his to its name."""
    devices._joined = True
    devices.move({device: {}})
    ip("link", "set", device, "down", inside=inside)
    ip("link", "set", device, "name", "away", inside=inside)
    ip("link", "add", device, "type", "bridge", inside=inside)  # the neighbour's
    error = ValueError()
    devices.give_back(error)
    assert error.__notes__ == [f'and network device "{device}" stays where it was moved to']
    assert shown("away", inside) is not None
    assert shown(device) is None
