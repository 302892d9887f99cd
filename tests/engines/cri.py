"""containerd as a kubelet drives it: the CRI (runtime.v1), spoken to its socket.

The messages are coded by hand, with the fields that the tests use and nothing else: for each its
name, its number in the API, and, where it is no string, its type. A type is `int`, `bool`, `bytes`,
a `map` of strings to strings, or a message; `*` before it means that there may be many.
"""

import contextlib
import hashlib
import io
import json
import os
import platform
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from tests.engines.conftest import SECONDS, Containerd, Home, lcpy_path

IMAGE = "localhost/bb:latest"
Message = dict[str, Any]

_FIELDS = {
    "VersionRequest": "",
    "VersionResponse": "runtime_name=2 runtime_api_version=4",
    "StatusRequest": "",
    "StatusResponse": "status=1:RuntimeStatus",
    "RuntimeStatus": "conditions=1:*Condition",
    "Condition": "type=1 status=2:bool reason=3 message=4",
    # pods
    "RunPodSandboxRequest": "config=1:PodSandboxConfig runtime_handler=2",
    "RunPodSandboxResponse": "pod_sandbox_id=1",
    "StopPodSandboxRequest": "pod_sandbox_id=1",
    "StopPodSandboxResponse": "",
    "RemovePodSandboxRequest": "pod_sandbox_id=1",
    "RemovePodSandboxResponse": "",
    "ListPodSandboxRequest": "",
    "ListPodSandboxResponse": "items=1:*PodSandbox",
    "PodSandbox": "id=1 state=3:int",
    "PodSandboxStatusRequest": "pod_sandbox_id=1",
    "PodSandboxStatusResponse": "status=1:PodSandboxStatus",
    "PodSandboxStatus": "id=1 state=3:int network=5:PodSandboxNetworkStatus",
    "PodSandboxNetworkStatus": "ip=1",
    "PodSandboxConfig": "metadata=1:PodSandboxMetadata hostname=2 log_directory=3"
    " dns_config=4:DNSConfig linux=8:LinuxPodSandboxConfig",
    "PodSandboxMetadata": "name=1 uid=2 namespace=3 attempt=4:int",
    "DNSConfig": "servers=1:* searches=2:* options=3:*",
    "LinuxPodSandboxConfig": "cgroup_parent=1 security_context=2:LinuxSandboxSecurityContext"
    " sysctls=3:map",
    "LinuxSandboxSecurityContext": "namespace_options=1:NamespaceOption run_as_user=3:Int64Value"
    " readonly_rootfs=4:bool supplemental_groups=5:*int privileged=6:bool"
    " seccomp=9:SecurityProfile",
    "NamespaceOption": "network=1:int pid=2:int ipc=3:int target_id=4",
    "Int64Value": "value=1:int",
    "SecurityProfile": "profile_type=1:int localhost_ref=2",
    # containers
    "CreateContainerRequest": "pod_sandbox_id=1 config=2:ContainerConfig"
    " sandbox_config=3:PodSandboxConfig",
    "CreateContainerResponse": "container_id=1",
    "StartContainerRequest": "container_id=1",
    "StartContainerResponse": "",
    "StopContainerRequest": "container_id=1 timeout=2:int",
    "StopContainerResponse": "",
    "RemoveContainerRequest": "container_id=1",
    "RemoveContainerResponse": "",
    "ContainerStatusRequest": "container_id=1",
    "ContainerStatusResponse": "status=1:ContainerStatus",
    "ContainerStatus": "id=1 state=3:int exit_code=7:int reason=10 message=11",
    "ContainerStatsRequest": "container_id=1",
    "ContainerStatsResponse": "stats=1:ContainerStats",
    "ContainerStats": "cpu=2:CpuUsage memory=3:MemoryUsage",
    "CpuUsage": "usage_core_nano_seconds=2:Int64Value",
    "MemoryUsage": "working_set_bytes=2:Int64Value",
    "UpdateContainerResourcesRequest": "container_id=1 linux=2:LinuxContainerResources",
    "UpdateContainerResourcesResponse": "",
    "ExecSyncRequest": "container_id=1 cmd=2:* timeout=3:int",
    "ExecSyncResponse": "stdout=1:bytes stderr=2:bytes exit_code=3:int",
    "ContainerConfig": "metadata=1:ContainerMetadata image=2:ImageSpec command=3:* args=4:*"
    " working_dir=5 envs=6:*KeyValue mounts=7:*Mount devices=8:*Device log_path=11 tty=14:bool"
    " linux=15:LinuxContainerConfig",
    "ContainerMetadata": "name=1 attempt=2:int",
    "ImageSpec": "image=1",
    "KeyValue": "key=1 value=2",
    "Mount": "container_path=1 host_path=2 readonly=3:bool propagation=5:int",
    "Device": "container_path=1 host_path=2 permissions=3",
    "LinuxContainerConfig": "resources=1:LinuxContainerResources"
    " security_context=2:LinuxContainerSecurityContext",
    "LinuxContainerResources": "cpu_period=1:int cpu_quota=2:int cpu_shares=3:int"
    " memory_limit_in_bytes=4:int oom_score_adj=5:int cpuset_cpus=6 cpuset_mems=7",
    "LinuxContainerSecurityContext": "capabilities=1:Capability privileged=2:bool"
    " namespace_options=3:NamespaceOption run_as_user=5:Int64Value run_as_username=6"
    " readonly_rootfs=7:bool supplemental_groups=8:*int no_new_privs=11:bool"
    " run_as_group=12:Int64Value masked_paths=13:* readonly_paths=14:* seccomp=15:SecurityProfile",
    "Capability": "add_capabilities=1:* drop_capabilities=2:*",
}
_VARINT, _BYTES = 0, 2  # wire types


def _fields(message: str) -> dict[str, tuple[int, str]]:
    """A message's fields by name: the number, and the type."""
    found = {}
    for word in _FIELDS[message].split():
        name, _, kind = word.partition("=")
        number, _, kind = kind.partition(":")
        found[name] = (int(number), kind if kind.strip("*") else f"{kind}string")
    return found


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _pair(key: str, value: str) -> bytes:
    return b"".join(
        _varint(number << 3 | _BYTES) + _varint(len(data)) + data
        for number, data in ((1, key.encode()), (2, value.encode()))
    )


def encode(message: str, values: Message) -> bytes:
    """A message, as protocol buffers have it."""
    out = b""
    fields = _fields(message)
    for name, value in values.items():
        number, kind = fields[name]
        if kind == "map":
            items = [_pair(*item) for item in value.items()]
        elif kind in ("int", "bool"):
            out += _varint(number << 3 | _VARINT) + _varint(value)
            continue
        elif kind == "*int":
            items = [b"".join(map(_varint, value))]
        else:
            many = value if kind.startswith("*") else [value]
            kind = kind.removeprefix("*")
            items = [each.encode() if kind == "string" else encode(kind, each) for each in many]
        for item in items:
            out += _varint(number << 3 | _BYTES) + _varint(len(item)) + item
    return out


def _read_varint(stream: io.BytesIO) -> int:
    value = shift = 0
    while True:
        byte = stream.read(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
        shift += 7


def decode(message: str, data: bytes) -> Message:
    """A message's fields, those which it lacks with their defaults; others are skipped."""
    fields = _fields(message)
    defaults: Message = {"int": 0, "bool": False, "bytes": b"", "string": ""}
    values = {
        name: [] if kind.startswith("*") else defaults.get(kind, {})
        for name, (_, kind) in fields.items()
    }
    by_number = {number: (name, kind) for name, (number, kind) in fields.items()}
    stream = io.BytesIO(data)
    while stream.tell() < len(data):
        tag = _read_varint(stream)
        assert tag & 7 in (_VARINT, _BYTES), f"wire type {tag & 7} in {message}"
        value: Any = _read_varint(stream)
        if tag & 7 == _BYTES:
            value = stream.read(value)
        if tag >> 3 not in by_number:
            continue
        name, kind = by_number[tag >> 3]
        one = kind.removeprefix("*")
        if one == "string":
            value = value.decode()
        elif one not in defaults:
            value = decode(one, value)
        if kind.startswith("*"):
            values[name].append(value)
        else:
            values[name] = value
    return values


class Cri(Containerd):
    """A containerd with its CRI; `ctr` sees what it has made, too.

    Attributes:
        logs: where pods' logs are
    """

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.logs = home.path / "logs"
        options = (
            # The name of the file is none of a host's, which this library would have sent.
            ("grpc.default_authority", "localhost"),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 100),
        )
        self._channel = grpc.insecure_channel(f"unix:{home.path}/containerd.sock", options)

    def words(self, *words: str | Path) -> list[str | Path]:
        return super().words("--namespace=k8s.io", *words)

    def call(self, method: str, **values: Any) -> Message:
        """Call a method of the runtime service; raises grpc.RpcError."""
        call = self._channel.unary_unary(
            f"/runtime.v1.RuntimeService/{method}",
            request_serializer=lambda values: encode(f"{method}Request", values),
            response_deserializer=lambda data: decode(f"{method}Response", data),
        )
        response: Message = call(values, timeout=SECONDS)
        return response

    def pods(self) -> list[str]:
        """All pods' ids."""
        return [pod["id"] for pod in self.call("ListPodSandbox")["items"]]

    def containers(self) -> list[str]:
        return self.pods()

    def remove(self, container: str) -> None:
        self.call("StopPodSandbox", pod_sandbox_id=container)
        self.call("RemovePodSandbox", pod_sandbox_id=container)

    def left(self) -> set[str]:
        assert self.home.daemon is not None  # there may be another one now
        return {each for each in super().left() if f"process {self.home.daemon.pid}:" not in each}

    def leave(self) -> None:
        """End the daemon; before it, pods that are left: of them something is not in the home."""
        with contextlib.suppress(grpc.RpcError):
            for pod in self.pods():
                self.remove(pod)
        self._channel.close()
        self.home.leave()


class Pod:
    """A pod's sandbox. Its containers have their own pid namespaces, as with a kubelet, unless
    `pid` says POD or NODE.
    """

    POD, CONTAINER, NODE, TARGET = range(4)  # namespace modes

    def __init__(
        self,
        cri: Cri,
        *,
        name: str = "pod",
        attempt: int = 0,
        runtime: str = "",
        sysctls: dict[str, str] | None = None,
        privileged: bool = False,
        **namespaces: int,
    ) -> None:
        self.cri = cri
        self.namespaces = {"pid": self.CONTAINER, **namespaces}
        config: Message = {
            "metadata": {"name": name, "uid": name, "namespace": "ns", "attempt": attempt},
            "log_directory": str(cri.logs),
            "dns_config": {"servers": ["192.0.2.53"], "searches": ["svc.example"]},
            "linux": {
                "cgroup_parent": cri.home.parent,
                "security_context": {
                    "namespace_options": self.namespaces,
                    "privileged": privileged,
                    "seccomp": {"profile_type": 0},
                },
                "sysctls": sysctls or {},
            },
        }
        if namespaces.get("network") != self.NODE:
            config["hostname"] = "probe"
        self.config = config
        response = cri.call("RunPodSandbox", config=config, runtime_handler=runtime)
        self.id = response["pod_sandbox_id"]

    def create(
        self, *command: str, name: str = "test", attempt: int = 0, **config: Any
    ) -> "Container":
        """Create a container; `linux` and others are fields of its configuration."""
        linux = dict(config.pop("linux", {}))
        linux["security_context"] = {
            "namespace_options": self.namespaces,
            **linux.get("security_context", {}),
        }
        values = {
            "metadata": {"name": name, "attempt": attempt},
            "image": {"image": IMAGE},
            "command": list(command),
            "log_path": f"{name}-{attempt}.log",
            "linux": linux,
            **config,
        }
        response = self.cri.call(
            "CreateContainer", pod_sandbox_id=self.id, config=values, sandbox_config=self.config
        )
        log = self.cri.logs / values["log_path"]
        return Container(self.cri, response["container_id"], log)

    def run(self, *command: str, **config: Any) -> "Container":
        """Create a container and start it."""
        container = self.create(*command, **config)
        container.start()
        return container

    def stop(self) -> None:
        """Stop all that runs in it."""
        self.cri.call("StopPodSandbox", pod_sandbox_id=self.id)

    def ready(self) -> bool:
        """Whether its sandbox runs."""
        status = self.cri.call("PodSandboxStatus", pod_sandbox_id=self.id)["status"]
        return bool(status["state"] == 0)


class Container:
    """A container of a pod."""

    CREATED, RUNNING, EXITED = range(3)  # states

    def __init__(self, cri: Cri, id_: str, log: Path) -> None:
        self.cri, self.id, self.log = cri, id_, log

    def _call(self, method: str, **values: Any) -> Message:
        return self.cri.call(method, container_id=self.id, **values)

    def start(self) -> None:
        self._call("StartContainer")

    def stop(self, grace: int) -> None:
        self._call("StopContainer", timeout=grace)

    def remove(self) -> None:
        self._call("RemoveContainer")
        self.log.unlink()  # a kubelet's work

    def status(self) -> Message:
        """Its state, exit code, reason and message."""
        status: Message = self._call("ContainerStatus")["status"]
        return status

    def stats(self) -> Message:
        stats: Message = self._call("ContainerStats")["stats"]
        return stats

    def update(self, **resources: Any) -> None:
        self._call("UpdateContainerResources", linux=resources)

    def exec(self, *words: str, seconds: int = 0, code: int = 0) -> str:
        """Run a command in it, which has to end with `code`; return what it wrote."""
        done = self._call("ExecSync", cmd=list(words), timeout=seconds)
        text: str = (done["stdout"] + done["stderr"]).decode()
        assert done["exit_code"] == code, (done["exit_code"], text)
        return text

    def logged(self) -> list[tuple[str, str]]:
        """Its log's lines: the stream, and the text."""
        lines = [line.split(" ", 3) for line in self.log.read_text().splitlines()]
        assert all(tag == "F" for _, _, tag, _ in lines), lines
        return [(stream, text) for _, stream, _, text in lines]


# --- the daemon -----------------------------------------------------------------------------


def save_image(root: Path, to: Path) -> None:
    """Write a root filesystem as an image for `ctr images import`; it only waits, as pods do."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        archive.add(root, ".")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {"Cmd": ["sh", "-c", "while :; do sleep 600; done"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    files = {
        "layer.tar": layer.getvalue(),
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    with tarfile.open(to, "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


# A pod's network: its loopback, and a device that leads nowhere, whose address no machine has (RFC
# 5737). containerd calls two plugins (CNI), of which the first has to be named so.
PLUGINS = {"loopback": ("lo", "127.0.0.1/8"), "lcpy": ("eth0", "203.0.113.5/24")}
PLUGIN = """
case $CNI_COMMAND in
    VERSION) echo '{"cniVersion":"0.4.0","supportedVersions":["0.4.0"]}' ;;
    ADD)
        inside="nsenter --net=$CNI_NETNS ip"
        if [ $device != lo ]; then
            $inside link add $device type veth peer name other
            $inside address add $address dev $device
            $inside link set other up
        fi
        $inside link set $device up
        echo '{"cniVersion":"0.4.0"'
        echo ',"interfaces":[{"name":"'$device'","sandbox":"'$CNI_NETNS'"}]'
        echo ',"ips":[{"version":"4","address":"'$address'","interface":0}]}' ;;
esac
"""
NETWORK = {"cniVersion": "0.4.0", "name": "test", "plugins": [{"type": "lcpy"}]}


def _configure(home: Home) -> None:
    plugins = home.path / "plugins"
    plugins.mkdir()
    for name, (device, address) in PLUGINS.items():
        (plugins / name).write_text(f"#!/bin/sh -e\n{device=!s} {address=!s}{PLUGIN}")
        (plugins / name).chmod(0o755)
    (home.path / "networks").mkdir()
    (home.path / "networks/test.conflist").write_text(json.dumps(NETWORK))
    runtimes = "\n".join(
        f"""
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}]
        runtime_type = "io.containerd.runc.v2"
        privileged_without_host_devices = false
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}.options]
        BinaryName = "{path}"
        Root = "{home.path}/{name}"
        SystemdCgroup = {str(home.systemd).lower()}
        """
        for name, path in (("lcpy", lcpy_path()), ("runc", shutil.which("runc")))
    )
    (home.path / "config.toml").write_text(
        f"""
        version = 2
        root = "{home.path}/root"
        state = "{home.path}/state"
        [grpc]
        address = "{home.path}/containerd.sock"
        [plugins."io.containerd.internal.v1.opt"]
        path = "{home.path}/opt"
        [plugins."io.containerd.grpc.v1.cri"]
        sandbox_image = "{IMAGE}"
        stream_server_address = "127.0.0.1"
        stream_server_port = "0"
        restrict_oom_score_adj = true
        netns_mounts_under_state_dir = true
        [plugins."io.containerd.grpc.v1.cri".cni]
        bin_dir = "{plugins}"
        conf_dir = "{home.path}/networks"
        [plugins."io.containerd.grpc.v1.cri".containerd]
        default_runtime_name = "lcpy"
        {runtimes}
        """
    )


def _start(cri: Cri) -> None:
    def ready() -> bool:
        try:
            cri.pods()
            conditions = cri.call("Status")["status"]["conditions"]
        except grpc.RpcError:
            return False  # it does not listen yet, or has not found what there is
        return all(each["status"] for each in conditions)

    cri.home.start("containerd", f"--config={cri.home.path}/config.toml", ready=ready)


@contextlib.contextmanager
def cri_daemon(busybox_root: Path, *, systemd: bool = False) -> Iterator[Cri]:
    """Run a containerd with its CRI, the image, and lcpy as its default runtime."""
    home = Home("cri", systemd=systemd)
    cri = Cri(home)
    try:
        _configure(home)
        cri.logs.mkdir()
        _start(cri)
        image = home.path / "image.tar"
        save_image(busybox_root, image)
        cri("images", "import", image)
        image.unlink()
        yield cri
    finally:
        cri.leave()


def restart(cri: Cri) -> None:
    """End the daemon, and start it again; its containers go on."""
    assert cri.home.daemon is not None
    os.kill(cri.home.daemon.pid, 9)
    cri.home.daemon.wait()
    _start(cri)
