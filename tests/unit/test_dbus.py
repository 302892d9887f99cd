"""What is said to systemd over D-Bus: its bytes, and both ends of a conversation.

The other end is a thread here, with a socket of its own. What a real systemd makes of it all:
tests/isolation/test_cgroups_systemd.py.
"""

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from libcontainer_py.cgroups import dbus, systemd_annotations, systemd_properties
from libcontainer_py.cgroups import systemd_unit as systemd
from libcontainer_py.cgroups.systemd import SystemdV2
from libcontainer_py.cgroups.systemd_properties import Property
from libcontainer_py.errors import ConfigError, StepError

# ── bytes ───────────────────────────────────────────────────────────────────────────────────────

# What jeepney 0.9.0 writes for the call in `test_a_call_as_another_library_writes_it`.
RECORDED = bytes.fromhex(
    "6c01000198000000010000005600000001016f00020000002f610000000000000201730003000000622e6300"
    "00000000030173000100000058000000000000000601730003000000642e6500000000000801670010737361"
    "287376296128736128737629290000000100000075000000070000007265706c616365007600000004000000"
    "504944730002617500000000040000000500000005000000536c6963650001730000000007000000782e736c"
    "69636500000000000800000044656c6567617465000162000100000000000000010000004400056128737329"
    "000000000e00000000000000010000006100000001000000620000000000000000000000"
)

# What systemd 252 answers by its own socket.
SYSTEMDS = bytes.fromhex(
    "6c030101430000001300000067000000050175000800000004017300230000006f72672e667265656465736b"
    "746f702e73797374656d64312e556e6974457869737473000000000007017300180000006f72672e66726565"
    "6465736b746f702e73797374656d6431000000000000000008016700017300003e000000556e6974206c6370"
    "792d6865782e73636f70652077617320616c7265616479206c6f61646564206f722068617320612066726167"
    "6d656e742066696c652e00"
)


def test_a_call_as_another_library_writes_it() -> None:
    properties = [
        ("PIDs", ("au", [5])),
        ("Slice", ("s", "x.slice")),
        ("Delegate", ("b", True)),
        ("D", ("a(ss)", [("a", "b")])),
    ]
    fields = {1: "/a", 2: "b.c", 3: "X", 6: "d.e"}
    signature = "ssa(sv)a(sa(sv))"
    ours = dbus.message(1, fields, signature, "u", "replace", properties, [])
    assert ours == RECORDED


def test_values_of_every_type_come_back() -> None:
    signature = "ybnqiuxtdsoga{sv}a(sas)vay"
    values = [
        *(255, 1, -2, 2, -3, 3, -4, (1 << 64) - 1, 1.5, "täxt", "/a/b", "a(sv)"),
        [("key", ("t", 7)), ("other", ("as", []))],
        [("one", ["a", "b"]), ("two", [])],
        ("a(st)", [("/dev/block/8:0", 9)]),
        [1, 2, 3],
    ]
    sent = dbus.message(9, {1: "/a", 3: "Member"}, signature, *values)
    came = dbus.parse(sent)
    assert came.values == values
    assert came.fields == {1: "/a", 3: "Member", 8: signature}


def test_what_systemd_says() -> None:
    came = dbus.parse(SYSTEMDS)
    assert came.kind == dbus.ERROR
    assert came.fields[4] == "org.freedesktop.systemd1.UnitExists"
    text = "Unit lcpy-hex.scope was already loaded or has a fragment file."
    assert came.values == [text]


def test_bytes_of_the_other_order() -> None:
    # An error, in answer to message 2, without arguments, as a big-endian machine writes it.
    field = b"\x04\x01s\0\0\0\0\x03a.b\0" + bytes(4) + b"\x05\x01u\0\0\0\0\x02"
    data = b"B\x03\0\x01" + bytes(4) + b"\0\0\0\x07" + len(field).to_bytes(4, "big") + field
    came = dbus.parse(data + bytes(-len(data) % 8))
    assert (came.kind, came.fields) == (dbus.ERROR, {4: "a.b", 5: 2})


@pytest.mark.parametrize("signature", ["(", "a", "z", "a{", "(s", "sa("])
def test_what_is_no_signature(signature: str) -> None:
    with pytest.raises(ValueError, match="is no signature"):
        dbus.split(signature)


# ── a conversation ──────────────────────────────────────────────────────────────────────────────

Answer = Callable[[dbus.Message], list[bytes]]


def reply(to: int, signature: str = "", *values: Any) -> bytes:
    return dbus.message(1, {5: to}, signature, *values, kind=dbus.METHOD_RETURN)


def error(to: int, name: str, text: str) -> bytes:
    return dbus.message(1, {5: to, 4: name}, "s", text, kind=dbus.ERROR)


def removed(job: str, result: str) -> bytes:
    return dbus.message(
        1, {1: "/", 3: "JobRemoved"}, "uoss", 1, job, "x.scope", result, kind=dbus.SIGNAL
    )


class Peer:
    """Listens as systemd does, and answers each call with what a test says: bytes."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.calls: list[tuple[str, list[Any]]] = []
        self.auth = b"DATA\r\nOK 0123\r\n"
        self.answers: dict[str, list[Callable[[int], bytes]]] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        assert not self._thread.is_alive()

    def says(self, member: str, *answers: Callable[[int], bytes]) -> None:
        """Answer calls of this method so, one after the other; none hangs up."""
        self.answers[member] = [*answers]

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        data = b""
        while b"BEGIN\r\n" not in data:
            data += connection.recv(4096)
        assert data == b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"
        connection.sendall(self.auth)
        while header := connection.recv(16, socket.MSG_WAITALL):
            body, serial, fields = struct.unpack("<4xIII", header)
            rest = connection.recv(fields + -fields % 8 + body, socket.MSG_WAITALL)
            call = dbus.parse(header + rest)
            member = call.fields[3]
            self.calls.append((member, call.values))
            answers = self.answers.get(member)
            if not answers:
                return
            connection.sendall(answers.pop(0)(serial))


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    found = Peer(tmp_path / "private")
    monkeypatch.setattr(systemd, "_addresses", lambda user: (found.path, "/nonexistent/bus"))
    yield found
    found.close()


@pytest.fixture
def unit(peer: Peer) -> Iterator[systemd.Unit]:
    found = systemd.Unit("lcpy-x.scope", user=False)
    yield found
    found.disconnect()


LIMIT = Property("MemoryMax", "t", 5, "linux.resources.memory")


def test_a_unit_is_started(peer: Peer, unit: systemd.Unit) -> None:
    # The signals of others come in between, and ours even before the reply.
    peer.says(
        "StartTransientUnit",
        lambda to: (
            removed("/job/8", "failed") + removed("/job/7", "done") + reply(to, "o", "/job/7")
        ),
    )
    unit.start([LIMIT])
    assert peer.calls == [
        ("StartTransientUnit", ["lcpy-x.scope", "replace", [("MemoryMax", ("t", 5))], []])
    ]


def test_a_job_that_fails(peer: Peer, unit: systemd.Unit) -> None:
    peer.says(
        "StartTransientUnit", lambda to: reply(to, "o", "/job/7") + removed("/job/7", "timeout")
    )
    peer.says("ResetFailedUnit", reply)
    with pytest.raises(StepError, match='job ended as "timeout"'):
        unit.start([LIMIT])
    assert [member for member, _values in peer.calls] == ["StartTransientUnit", "ResetFailedUnit"]


def test_a_unit_that_has_failed_is_forgotten(peer: Peer, unit: systemd.Unit) -> None:
    exists = "org.freedesktop.systemd1.UnitExists"
    peer.says(
        "StartTransientUnit",
        lambda to: error(to, exists, "it was already loaded"),
        lambda to: reply(to, "o", "/job/7") + removed("/job/7", "done"),
    )
    peer.says("ResetFailedUnit", reply)
    unit.start([LIMIT])
    assert len(peer.calls) == 3


def test_a_unit_that_is_in_use(peer: Peer, unit: systemd.Unit) -> None:
    exists = "org.freedesktop.systemd1.UnitExists"
    refusal = "it was already loaded"
    peer.says("StartTransientUnit", *[lambda to: error(to, exists, refusal)] * 2)
    peer.says("ResetFailedUnit", lambda to: error(to, "a.b", "it has not failed"))
    with pytest.raises(StepError) as caught:
        unit.start([LIMIT])
    assert str(caught.value) == (
        "linux.cgroupsPath: start the unit lcpy-x.scope: file exists"
        ' (systemd says: "it was already loaded")'
    )


def test_a_property_that_is_refused_is_named(peer: Peer, unit: systemd.Unit) -> None:
    text = "Cannot set property MemoryMax, or unknown property.\nand more"
    peer.says("SetUnitProperties", lambda to: error(to, "a.b", text))
    with pytest.raises(StepError) as caught:
        unit.set_properties([Property("Slice", "s", "x", "f"), LIMIT])
    assert caught.value.field == "linux.resources.memory"
    assert "\n" not in str(caught.value)


def test_stop(peer: Peer, unit: systemd.Unit) -> None:
    peer.says("StopUnit", lambda to: reply(to, "o", "/job/7") + removed("/job/7", "done"))
    peer.says("ResetFailedUnit", lambda to: error(to, "a.b", "it is not loaded"))
    unit.stop()
    assert [member for member, _values in peer.calls] == ["StopUnit", "ResetFailedUnit"]
    no_such = "org.freedesktop.systemd1.NoSuchUnit"
    peer.says("StopUnit", lambda to: error(to, no_such, "it is not loaded"))
    unit.stop()
    assert len(peer.calls) == 3


@pytest.mark.parametrize(
    ("said", "version"), [("252.39-1~deb12u1", 252), ("v245.4", 245), ("241", 241), ("", 0)]
)
def test_version(peer: Peer, unit: systemd.Unit, said: str, version: int) -> None:
    peer.says("Get", lambda to: reply(to, "v", ("s", said)))
    assert unit.version() == version


def test_one_that_hangs_up(peer: Peer, unit: systemd.Unit) -> None:
    with pytest.raises(StepError) as caught:
        unit.start([LIMIT])
    assert str(caught.value).startswith("ask systemd to StartTransientUnit lcpy-x.scope")
    # And the next call begins anew.
    peer.says("Get", lambda to: reply(to, "v", ("s", "252")))
    assert unit.version() == 252


def test_one_that_says_nothing(peer: Peer) -> None:
    peer.says("Get", lambda to: b"")
    bus = dbus.Bus(peer.path, timeout=0.2)
    with contextlib.closing(bus), pytest.raises(TimeoutError):
        bus.call("a.b", "/", "a.b", "Get")


def test_a_signal_that_does_not_come(peer: Peer) -> None:
    peer.says("Get", lambda to: reply(to) + removed("/job/8", "done"))
    bus = dbus.Bus(peer.path, timeout=0.2)
    with contextlib.closing(bus):
        bus.call("a.b", "/", "a.b", "Get")
        with pytest.raises(TimeoutError):
            bus.wait_for_signal("JobRemoved", 1, "/job/7")


@pytest.mark.parametrize("garbage", [b"x" * 64, b"l\x02\0\x01" + b"\xff" * 12, b"l" + bytes(15)])
def test_what_is_no_message(peer: Peer, garbage: bytes) -> None:
    peer.says("Get", lambda to: garbage)
    bus = dbus.Bus(peer.path, timeout=0.5)
    with contextlib.closing(bus), pytest.raises(OSError):
        bus.call("a.b", "/", "a.b", "Get")


def test_one_that_lets_nobody_in(peer: Peer, unit: systemd.Unit) -> None:
    peer.auth = b"REJECTED EXTERNAL\r\n"
    with pytest.raises(StepError) as caught:
        unit.connect()
    assert caught.value.errno == 13
    assert f"connect to systemd at {peer.path}: permission denied" in str(caught.value)


def test_by_a_bus_where_systemd_itself_can_not_be_reached(
    peer: Peer, unit: systemd.Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_addresses", lambda user: ("/nonexistent", peer.path))
    peer.says("Hello", lambda to: reply(to, "s", ":1.5"))
    peer.says("AddMatch", reply)
    peer.says("Subscribe", reply)
    peer.says("Get", lambda to: reply(to, "v", ("s", "252")))
    assert unit.version() == 252
    assert [member for member, _values in peer.calls] == ["Hello", "AddMatch", "Subscribe", "Get"]


def test_a_signal_of_somebody_else_on_the_bus() -> None:
    fields: dict[int, Any] = {3: "JobRemoved", 7: ":1.9"}
    signal = dbus.Message(dbus.SIGNAL, fields, [])
    assert signal.is_signal("JobRemoved", ":1.9")
    assert not signal.is_signal("JobRemoved", ":1.2")
    assert not signal.is_signal("JobNew", ":1.9")


def test_no_systemd_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "_addresses", lambda user: ("/nonexistent/a", "/nonexistent/b"))
    for user, hint in ((False, "does not run systemd"), (True, "loginctl enable-linger")):
        unit = systemd.Unit("x.scope", user)
        with pytest.raises(StepError) as caught:
            unit.connect()
        assert "connect to systemd at /nonexistent/a: no such file or directory" in str(
            caught.value
        )
        assert hint in str(caught.value)
        unit.stop()  # a scope that nobody is in has ended: no error


@pytest.mark.parametrize(
    ("addresses", "path"),
    [
        ("unix:path=/run/user/1000/bus", "/run/user/1000/bus"),
        ("tcp:host=x;unix:guid=0,path=/a%20b%3b;unix:path=/c", "/a b;"),
        ("unix:abstract=/tmp/dbus-x,guid=1", "\0/tmp/dbus-x"),
        ("autolaunch:", None),
        ("", None),
    ],
)
def test_addresses_of_a_bus(addresses: str, path: str | None) -> None:
    assert systemd.bus_address(addresses) == path


# ── names ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "user", "slice_", "unit"),
    [
        (None, False, "system.slice", "lcpy-c1.scope"),
        (None, True, "user.slice", "lcpy-c1.scope"),
        ("::", False, "system.slice", "lcpy-c1.scope"),
        ("a-b.slice:docker:1f", False, "a-b.slice", "docker-1f.scope"),
        (":x:", True, "user.slice", "x-c1.scope"),
    ],
)
def test_names(path: str | None, user: bool, slice_: str, unit: str) -> None:
    assert systemd.names(path, "c1", user) == (slice_, unit)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/a/b", 'expected cgroupsPath to be of format "slice:prefix:name"'),
        ("a.slice:b:c:d", "expected cgroupsPath"),
        ("a.slice:b:c.slice", "a slice has units in it, and no processes"),
        ("a.slice:b:c/d", 'can\'t have "/"'),
        ("a.slice:b:c\n", "can't have"),
        ("a.slice:b:" + "c" * 250, "at most 255"),
    ],
)
def test_names_that_are_none(path: str, why: str) -> None:
    with pytest.raises(ConfigError, match=r"^linux\.cgroupsPath: ") as caught:
        systemd.names(path, "c1", False)
    assert why in str(caught.value)


def test_slices() -> None:
    assert systemd.expand_slice("-.slice") == ""
    assert systemd.expand_slice("system.slice") == "/system.slice"
    assert systemd.expand_slice("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"
    for name in (
        ".slice",
        "a",
        "a.slice/b.slice",
        "a--b.slice",
        "-a.slice",
        "a-.slice",
        "../x.slice",
    ):
        with pytest.raises(ConfigError, match="invalid slice name"):
            systemd.expand_slice(name)


# ── properties ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("memory.max", "4096", [("MemoryMax", "t", 4096)]),
        ("memory.swap.max", "max", [("MemorySwapMax", "t", (1 << 64) - 1)]),
        ("pids.max", "7", [("TasksMax", "t", 7)]),
        ("cpu.weight", "79", [("CPUWeight", "t", 79)]),
        ("cpuset.cpus", "0,9", [("AllowedCPUs", "ay", b"\x01\x02" + bytes(6))]),
        ("cpuset.cpus", "", []),
        (
            "cpu.max",
            "1001 100000",
            [("CPUQuotaPerSecUSec", "t", 20000), ("CPUQuotaPeriodUSec", "t", 100000)],
        ),
        (
            "cpu.max",
            "max 50000",
            [("CPUQuotaPerSecUSec", "t", (1 << 64) - 1), ("CPUQuotaPeriodUSec", "t", 50000)],
        ),
        (
            "io.weight",
            "default 100\n8:0 200",
            [
                ("IOWeight", "t", 100),
                ("IODeviceWeight", "a(st)", []),
                ("IODeviceWeight", "a(st)", [("/dev/block/8:0", 200)]),
            ],
        ),
        ("io.bfq.weight", "1000", [("IOWeight", "t", 10000), ("IODeviceWeight", "a(st)", [])]),
        (
            "io.max",
            "8:0 rbps=max wbps=5 riops=max wiops=max",
            [
                ("IOReadBandwidthMax", "a(st)", []),
                ("IOWriteBandwidthMax", "a(st)", []),
                ("IOWriteBandwidthMax", "a(st)", [("/dev/block/8:0", 5)]),
                ("IOReadIOPSMax", "a(st)", []),
                ("IOWriteIOPSMax", "a(st)", []),
            ],
        ),
        ("cgroup.max.depth", "3", []),
        ("memory.limit_in_bytes", "4096", [("MemoryLimit", "t", 4096)]),
        ("memory.limit_in_bytes", "9223372036854771712", [("MemoryLimit", "t", (1 << 64) - 1)]),
        ("cpu.shares", "512", [("CPUShares", "t", 512)]),
    ],
)
def test_files_as_properties(
    tmp_path: Path, name: str, text: str, wanted: list[tuple[str, str, Any]]
) -> None:
    (tmp_path / name).write_text(text + "\n")
    files = [str(tmp_path / name)] * 2 + [str(tmp_path / "hugetlb.2MB.max")]
    found = systemd_properties.of_files(files, 252)
    assert [(each.name, each.signature, each.value) for each in found] == wanted


@pytest.mark.parametrize("weight", ["0", "1"])
def test_an_idle_cgroup_is_idle_for_systemd(tmp_path: Path, weight: str) -> None:
    """Whatever the kernel says of its weight."""
    (tmp_path / "cpu.idle").write_text("1\n")
    (tmp_path / "cpu.weight").write_text(weight + "\n")
    (found,) = systemd_properties.of_files([str(tmp_path / "cpu.weight")], 252)
    assert (found.name, found.value) == ("CPUWeight", 0)
    assert systemd_properties.of_files([str(tmp_path / "cpu.weight")], 251) == []


def test_what_an_old_systemd_does_not_know(tmp_path: Path) -> None:
    texts = {"cpu.max": "max 50000", "cpuset.cpus": "0", "cpu.weight": "0"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / name) for name in texts]
    names = [each.name for each in systemd_properties.of_files(files, 239)]
    assert names == ["CPUQuotaPerSecUSec"]
    assert systemd_properties.of_devices([], 239, alone=False) == []
    group = {"unified": {"memory.oom.group": "1"}}
    assert systemd_properties.at_start(group, 252) == []
    assert systemd_properties.at_start(group, 253)[0].value == "kill"


def test_a_quota_is_rounded_up_to_a_percent() -> None:
    resources = {"cpu": {"quota": 20_001, "period": 50_000, "shares": 5}, "pids": {}}
    new = systemd_properties.settled(resources, 100_000)
    assert new == {"cpu": {"quota": 20_500, "period": 50_000, "shares": 5}, "pids": {}}
    new = systemd_properties.settled(
        {"cpu": {"quota": 1001}, "unified": {"cpu.max": "1001"}}, 100_000
    )
    assert new == {
        "cpu": {"quota": 2000, "period": 100_000},
        "unified": {"cpu.max": "2000"},
    }
    new = systemd_properties.settled({"cpu": {"quota": 600_000}}, 900_000)
    assert new == {"cpu": {"quota": 603_000, "period": 900_000}}
    new = systemd_properties.settled({"cpu": {"quota": -1}}, 900_000)
    assert new == {"cpu": {"quota": -1, "period": 900_000}}
    for same in ({"cpu": {"period": 5}}, {"unified": {"cpu.max": "max 5000"}}, {}):
        assert systemd_properties.settled(same, 100_000) == same


def test_a_weight_ends_the_idling(tmp_path: Path) -> None:
    assert not systemd_properties.is_idle(str(tmp_path))
    (tmp_path / "cpu.idle").write_text("1\n")
    assert systemd_properties.is_idle(str(tmp_path))
    new = systemd_properties.not_idle({"cpu": {"shares": 5}, "unified": {"cpu.weight": "8"}})
    assert new["cpu"] == {"shares": 5, "idle": 0}
    assert list(new["unified"].items()) == [("cpu.idle", "0"), ("cpu.weight", "8")]
    same = {"cpu": {"shares": 5, "idle": 1}, "unified": {"cpu.weight": "8", "cpu.idle": "1"}}
    assert systemd_properties.not_idle(same) == same


DENY = {"allow": False, "access": "rwm"}


@pytest.mark.parametrize(
    ("rules", "policy"),
    [
        ([DENY], "strict"),
        ([DENY, {"allow": True, "type": "b", "major": 8, "access": "r"}], "strict"),
        ([{"allow": True, "access": "rwm"}], "auto"),
        # What it could only be told as less than what the rules allow.
        ([DENY, {"allow": True, "type": "c", "minor": 9, "access": "r"}], "auto"),
    ],
)
def test_devices_as_properties(rules: list[dict[str, Any]], policy: str) -> None:
    found = systemd_properties.of_devices(rules, 252, alone=False)
    assert [each.name for each in found[-1:]] == ["DevicePolicy"]
    assert found[-1].value == policy
    allowed = [pair for each in found[:-1] for pair in each.value]
    assert (("/dev/char/1:3", "rwm") in allowed) == (policy == "strict")
    assert (("block-8", "r") in allowed) == (policy == "strict" and len(rules) == 2)
    # Where it writes to the same list as we (v1), it must never be told to allow more.
    alone = systemd_properties.of_devices(rules, 252, alone=True)[-1]
    assert alone.value == ("strict" if DENY in rules else "auto")


class Told:
    """In the place of a unit: notes what systemd is told."""

    name = "lcpy-x.scope"
    user = False

    def __init__(self) -> None:
        self.values: list[list[Any]] = []

    def version(self) -> int:
        return 252

    def set_properties(self, properties: list[Property]) -> None:
        self.values.append([each.value for each in properties])

    def wait_until_applied(self) -> None:
        pass


def driver(directory: Path, unit: Told) -> SystemdV2:
    (directory / "memory.max").write_text("0000")
    (directory / "memory.swap.max").write_text("0000")
    (directory / "memory.low").write_text("0000")
    (directory / "memory.events").write_text("oom_kill 0")
    return SystemdV2({"": str(directory)}, str(directory.parent), cast("systemd.Unit", unit))


def test_systemd_is_told_again_where_it_had_written_what_it_knew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = Told()
    of_files = systemd_properties.of_files
    # Between our writing and our reading, once.
    answers = iter([[Property("MemoryMax", "t", 9999, "f")]])
    monkeypatch.setattr(
        systemd_properties, "of_files", lambda *args: next(answers, None) or of_files(*args)
    )
    driver(tmp_path, unit).set_memory({"memory": {"limit": 4096}})
    assert unit.values == [[9999], [4096, 0, 0]]


def test_limits_that_somebody_else_changes_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()
    monkeypatch.setattr(
        systemd_properties, "of_files", lambda *_: [Property("MemoryMax", "t", next(numbers), "f")]
    )
    with pytest.raises(StepError, match="set the limits of lcpy-x"):
        driver(tmp_path, Told()).set_memory({"memory": {"limit": 4096}})


def test_where_no_limit_is_asked_for_systemd_is_not_asked(tmp_path: Path) -> None:
    unit = Told()
    driver(tmp_path, unit).set_memory({})
    assert unit.values == []


def test_a_scope_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("1")
    scope = driver(tmp_path, Told())
    scope.kill()
    scope.remove()  # would ask systemd to stop it, which `Told` can't
    assert tmp_path.is_dir()


# ── annotations ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("uint64 123456789", ("t", 123456789)),
        ("'inactive-or-failed'", ("s", "inactive-or-failed")),
        ('"it\'s\\n"', ("s", "it's\n")),
        ("true", ("b", True)),
        ("boolean false", ("b", False)),
        ("-5", ("i", -5)),
        ("0x10", ("i", 16)),
        ("1.5", ("d", 1.5)),
        ("@as []", ("as", [])),
        ("['a.service' , 'b.service']", ("as", ["a.service", "b.service"])),
        ("[uint64 1, 2]", ("at", [1, 2])),
        ("@au [1,2]", ("au", [1, 2])),
        ("<'x'>", ("v", ("s", "x"))),
    ],
)
def test_values_of_annotations(text: str, value: tuple[str, Any]) -> None:
    assert systemd_annotations.parse(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "foo",
            "[",
            "[]",
            "[1,'a']",
            "'x",
            "byte 256",
            "uint64 -1",
            "1 2",
            "@b 'x'",
            "@a( []",
        ),
        *("<>", "<1,2>", "[1 2]", "'a\0b'", "@as 5", "[" * 1000, "9" * 5000, "'\ud800'"),
    ],
)
def test_values_that_are_none(text: str) -> None:
    with pytest.raises(ValueError):
        systemd_annotations.parse(text)
    with pytest.raises(ConfigError, match="annotations") as caught:
        annotations = {"org.systemd.property.After": text}
        systemd_annotations.properties_of(annotations, all_allowed=False)
    assert "\n" not in str(caught.value)


def properties_of(
    values: dict[str, str], *, all_allowed: bool = False
) -> list[tuple[str, str, Any]]:
    annotations = {f"org.systemd.property.{name}": text for name, text in values.items()}
    found = systemd_annotations.properties_of(
        annotations | {"other": "text"}, all_allowed=all_allowed
    )
    return [(each.name, each.signature, each.value) for each in found]


def test_seconds_become_microseconds() -> None:
    assert properties_of({"TimeoutStopSec": "1.5"}) == [("TimeoutStopUSec", "t", 1_500_000)]
    assert properties_of({"RuntimeMaxSec": "uint64 2"}) == [("RuntimeMaxUSec", "t", 2_000_000)]
    assert properties_of({"TimeoutStopUSec": "uint64 7"}) == [("TimeoutStopUSec", "t", 7)]
    for text in ("-1", "'soon'", "true", "1e300"):
        with pytest.raises(ConfigError, match="TimeoutStopSec"):
            properties_of({"TimeoutStopSec": text})


def test_what_could_change_the_host_is_off() -> None:
    for name in ("Conflicts", "BPFProgram", "Slice", "PIDs", "DeviceAllow", "Delegate"):
        with pytest.raises(ConfigError, match=f"the property {name} is off"):
            properties_of({name: "true"})
        assert properties_of({name: "true"}, all_allowed=True) == [(name, "b", True)]
    for name in systemd_annotations.HARMLESS:
        assert len(properties_of({name: "true"})) == 1


def test_names_of_properties() -> None:
    for name in ("", "ab", "A-b", "Ümlaut", "Sec "):
        with pytest.raises(ConfigError, match="no name of a property"):
            properties_of({name: "true"}, all_allowed=True)
