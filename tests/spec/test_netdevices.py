"""`linux.netDevices`: the host's network devices, as a container has them."""

import itertools
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer_py.namespaces.kinds import ns_file
from tests.conftest import PREFIX, copy_root
from tests.spec.conftest import Box, Change

if TYPE_CHECKING:
    from tests.conftest import Config, Lcpy

FIRST = 100000
_numbers = itertools.count()


def ip(*words: str, net: "str | None" = None) -> Any:
    """Run ip(8), in a network namespace by path or in ours; returns its JSON."""
    enter = [] if net is None else ["nsenter", f"--net={net}"]
    argv = [*enter, "ip", "-json", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return json.loads(done.stdout) if done.stdout.strip() else None


def names(net: "str | None" = None) -> list[str]:
    return [each["ifname"] for each in ip("link", net=net)]


@pytest.fixture
def device() -> Iterator[str]:
    """One end of a veth pair, up, with addresses; the other is NAME + "p"."""
    name = f"lcpyN{os.getpid()}{'klmnopqrst'[next(_numbers) % 10]}"
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    ip("link", "set", name, "mtu", "1789", "address", "02:11:22:33:44:55", "up")
    ip("link", "set", f"{name}p", "up")
    ip("address", "add", "169.254.169.77/32", "dev", name)
    ip("address", "add", "127.0.0.33/32", "scope", "host", "dev", name)
    ip("address", "add", "fd79::1/64", "dev", name, "nodad")
    # A route that another run of these tests can have, too.
    ip("route", "add", "10.159.0.0/24", "dev", name, "metric", str(os.getpid()))
    yield name
    # The peer of one that has gone with its namespace has gone, too.
    subprocess.run(["ip", "link", "del", f"{name}p"], stderr=subprocess.DEVNULL, check=False)


@pytest.fixture
def other() -> Iterator[str]:
    """The namespaces of a process, as /proc/PID/ns."""
    argv = [
        "unshare",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        "echo; exec sleep 99",
    ]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=quiet) as process:
        assert process.stdout is not None
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield f"/proc/{children[0]}/ns"
        os.kill(int(children[0]), signal.SIGKILL)  # then unshare(1) reaps it, and ends itself


@pytest.fixture
def open_box(lcpy: "Lcpy", busybox_root: Path) -> Iterator[Box]:
    """BusyBox in a directory that the root of a user namespace can get to."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        directory = Path(name)
        directory.chmod(0o755)
        copy_root(busybox_root, directory / "root")
        yield Box(lcpy, directory / "root", directory)


def given(
    devices: "dict[str, dict[str, str]]", *namespaces: tuple[str, "str | None"], then: "Any" = None
) -> Change:
    """Give devices, and replace the namespaces of these kinds by ones at a path (None: new)."""

    def change(config: "Config") -> None:
        linux = config["linux"]
        linux["netDevices"] = devices
        kinds = [kind for kind, _ in namespaces]
        linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] not in kinds]
        for kind, path in namespaces:
            linux["namespaces"].append({"type": kind} | ({} if path is None else {"path": path}))
        if "user" in kinds:
            maps = [{"containerID": 0, "hostID": FIRST, "size": 65536}]
            linux["uidMappings"] = linux["gidMappings"] = maps
        if then is not None:
            then(config)

    return change


SHOWN = [
    "mtu 1789",
    "UP",
    "link/ether 02:11:22:33:44:55",
    "inet 169.254.169.77/32 scope global",
    "inet6 fd79::1/64 scope global",
]


def check_shown(said: str, name: str) -> None:
    """Hold what `ip addr` says inside: all that is kept, and nothing of the host's own."""
    assert f": {name}@" in said
    for words in SHOWN:
        assert words in said, words
    assert "127.0.0.33" not in said


# --- from inside ------------------------------------------------------------------------------


def test_it_is_there_as_it_was(box: Box, device: str) -> None:
    check_shown(box.out("ip", "addr", "show", device, change=given({device: {}})), device)


def test_it_is_no_longer_the_hosts_and_ends_with_the_container(box: Box, device: str) -> None:
    """A virtual one, that is: the kernel destroys it with its namespace, and so its peer."""
    container = box.lcpy.new_id()
    bundle = box.bundle(["sleep", "60"], given({device: {"name": "eth0"}}))
    box.lcpy("create", "--bundle", bundle, container, check=True)
    net = f"/proc/{box.lcpy.state(container)['pid']}/ns/net"
    assert names(net) == ["lo", "eth0"]
    assert device not in names()
    box.lcpy("delete", "--force", container, check=True)
    end = time.monotonic() + 10
    while f"{device}p" in names():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert device not in names()


def test_names(box: Box, device: str) -> None:
    """New ones, and those that the container has room for."""
    change = given({device: {"name": "eth%d"}, f"{device}p": {"name": "eth%d"}})
    assert box.lines("ls /sys/class/net", change=change) == ["eth0", "eth1", "lo"]


def may_configure(config: "Config") -> None:
    for kind in ("bounding", "permitted", "effective"):
        config["process"]["capabilities"][kind] = ["CAP_NET_ADMIN"]


@pytest.mark.parametrize("joined", [[], ["pid"]], ids="+".join)
def test_in_a_new_user_namespace(
    open_box: Box, device: str, other: str, joined: "list[str]"
) -> None:
    """Its root may do with it what it likes."""
    namespaces = [("user", None), *((kind, f"{other}/{kind}") for kind in joined)]
    change = given({device: {"name": "eth0"}}, *namespaces, then=may_configure)
    script = "ip addr show eth0; ip link set eth0 mtu 1500; echo ---; ip link show eth0"
    before, after = open_box.sh(script, change=change).split("---")
    check_shown(before, "eth0")
    assert "mtu 1500" in after


@pytest.mark.parametrize(
    "joined", [["user"], ["user", "network"], ["user", "network", "pid"]], ids="+".join
)
def test_in_a_user_namespace_that_is_joined(
    open_box: Box, device: str, joined: "list[str]"
) -> None:
    lcpy, first = open_box.lcpy, open_box.lcpy.new_id()
    bundle = open_box.bundle(["sleep", "60"], given({}, ("user", None)))
    lcpy("create", "--bundle", bundle, first, check=True)
    ns = f"/proc/{lcpy.state(first)['pid']}/ns"
    namespaces = [(kind, f"{ns}/{ns_file(kind)}") for kind in joined]
    change = given({device: {"name": "eth0"}}, *namespaces, then=may_configure)
    script = "ip addr show eth0; ip link set eth0 mtu 1500; echo ---; ip link show eth0"
    before, after = open_box.sh(script, change=change).split("---")
    check_shown(before, "eth0")
    assert "mtu 1500" in after
    lcpy("delete", "--force", first, check=True)


@pytest.mark.parametrize("kinds", [["network"], ["network", "pid"]], ids="+".join)
def test_in_a_namespace_that_is_joined(
    box: Box, device: str, other: str, kinds: "list[str]"
) -> None:
    """It stays there, and can be fetched back from there."""
    namespaces = [(kind, f"{other}/{ns_file(kind)}") for kind in kinds]
    change = given({device: {"name": "inner"}}, *namespaces)
    check_shown(box.out("ip", "addr", "show", "inner", change=change), "inner")
    net = f"{other}/net"
    assert "inner" in names(net)
    ip("link", "set", "inner", "netns", "1", "name", device, net=net)
    assert ip("link", "show", device)[0]["mtu"] == 1789


def test_its_sysctls_can_be_set(box: Box, device: str) -> None:
    def sysctl(config: "Config") -> None:
        config["linux"]["sysctl"] = {"net.ipv4.conf.eth7.forwarding": "1"}

    change = given({device: {"name": "eth7"}}, then=sysctl)
    assert box.sh("cat /proc/sys/net/ipv4/conf/eth7/forwarding", change=change) == "1\n"


def test_hooks_see_it(box: Box, device: str, tmp_path: Path) -> None:
    """Those of the runtime, which know the container's process, and those inside."""
    found = tmp_path / "found"
    script = (
        "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/');"
        f" nsenter --net=/proc/$pid/ns/net ip -br link >>{found}"
    )
    argv = ["sh", "-c", script]
    env = [f"PATH={os.environ['PATH']}"]
    inner = ["sh", "-c", f"ip -br link >>{found}"]

    def hooks(config: "Config") -> None:
        config["hooks"] = {
            "createRuntime": [{"path": "/bin/sh", "args": argv, "env": env}],
            "createContainer": [{"path": "/bin/sh", "args": inner, "env": env}],
        }

    box.out("true", change=given({device: {"name": "eth5"}}, then=hooks))
    assert [line.split("@")[0] for line in found.read_text().splitlines() if "eth5" in line] == [
        "eth5",
        "eth5",
    ]


# --- what can't be ----------------------------------------------------------------------------


def same(device: str) -> Any:
    """What it would have lost by going away, and coming back; and what it had before."""
    (said,) = ip("address", "show", "dev", device)
    addresses = [each["local"] for each in said["addr_info"] if each["scope"] != "link"]
    assert ip("route", "show", "dev", device)
    return said["ifindex"], "UP" in said["flags"], addresses, ip("route", "show", "dev", device)


def test_a_device_that_is_not_there(box: Box, device: str) -> None:
    before = same(device)
    error = box.refused(change=given({device: {}, "lcpyNmissing": {}}))
    assert (
        'setupNetworkDevices: linux.netDevices[\\"lcpyNmissing\\"]:'
        " find it on the host: no such device"
    ) in error
    assert same(device) == before


def test_a_name_that_the_container_has(box: Box, device: str, other: str) -> None:
    net = f"{other}/net"
    ip("link", "add", "taken", "type", "veth", "peer", "name", "x", net=net)
    before = same(device)
    error = box.refused(change=given({device: {"name": "taken"}}, ("network", net)))
    assert f'linux.netDevices[\\"{device}\\"].name: the container has a device \\"taken\\"' in error
    assert same(device) == before


def test_the_hosts_own_namespace_by_path(box: Box, device: str) -> None:
    error = box.refused(change=given({device: {}}, ("network", "/proc/self/ns/net")))
    assert "linux.netDevices: linux.namespaces[" in error
    assert "is our own network namespace" in error


def test_who_may_not(box: Box, device: str) -> None:
    before = same(device)
    prefix = ["setpriv", "--bounding-set", "-net_admin"]
    error = box.refused(change=given({device: {}}), prefix=prefix)
    assert f'linux.netDevices[\\"{device}\\"]: move it' in error
    assert "operation not permitted (moving the host's devices takes CAP_NET_ADMIN" in error
    assert same(device) == before


def test_no_network_namespace(box: Box, device: str) -> None:
    def none(config: "Config") -> None:
        every = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [each for each in every if each["type"] != "network"]

    assert "linux.netDevices: needs a network namespace" in box.refused(
        change=given({device: {}}, then=none)
    )


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("how", ["program", "mount", "hook"])
def test_a_creation_that_fails_gives_it_back(
    box: Box, device: str, other: str, how: str, joined: bool
) -> None:
    """With its name, its state and all its addresses. But not from where others are, too."""
    net = f"{other}/net"

    def fail(config: "Config") -> None:
        if how == "program":
            config["process"]["args"] = ["/missing"]
        elif how == "mount":
            config["mounts"].append({"destination": "/tmp", "type": "missing", "source": "x"})
        else:
            config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}

    (before,) = ip("address", "show", "dev", device)
    namespaces = [("network", net if joined else None)]
    change = given({device: {"name": "eth0"}, f"{device}p": {}}, *namespaces, then=fail)
    if joined:
        error = box.run("true", change=change).stderr
        assert error.count("level=error") == 1
        assert error.count("\n") == 3  # a note for each device
        assert f'network device "{device}" stays where it was moved to' in error.replace("\\", "")
        assert set(names(net)) == {"lo", "eth0", f"{device}p"}
        return
    error = box.refused(change=change)
    assert "netDevices" not in error
    assert "come back" not in error
    (after,) = ip("address", "show", "dev", device)
    for what in ("ifindex", "mtu", "address", "link"):
        assert after[what] == before[what], what
    assert "UP" in after["flags"]
    assert {"169.254.169.77", "127.0.0.33", "fd79::1"} <= {
        each["local"] for each in after["addr_info"]
    }
    assert names(net) == ["lo"]
