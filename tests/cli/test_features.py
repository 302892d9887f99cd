"""`lcpy features` tells the truth, in the specification's form."""

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import jsonschema
import pytest
import referencing
from referencing.jsonschema import DRAFT4

from libcontainer_py import __version__, spec
from libcontainer_py.errors import ConfigError
from libcontainer_py.features import features
from libcontainer_py.security import seccomp_library
from libcontainer_py.security.seccomp import compile_filter
from libcontainer_py.spec import model
from libcontainer_py.spec.default import default
from libcontainer_py.spec.validate import validate

if TYPE_CHECKING:
    from tests.conftest import Lcpy

OFFICIAL = Path(__file__).resolve().parents[3] / "shared" / "oci-spec" / "schema"
SCHEMAS = Path(spec.__file__).parent / "schema"
needs_official = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason="../shared/oci-spec is not beside the checkout"
)

MAPPINGS: dict[str, Any] = {
    name: [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for name in ("uidMappings", "gidMappings")
}


@pytest.fixture(scope="module")
def runcs() -> dict[str, Any]:
    done = subprocess.run(["runc", "features"], capture_output=True, timeout=30, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(**parts: Any) -> bool:
    """Is the default config, with these members of it changed, refused?"""
    config = default()
    for path, value in parts.items():
        place = config
        *parents, last = path.split("__")
        for name in parents:
            place = place[name]
        place[last] = value
    try:
        validate(config)
    except ConfigError:
        return True
    return False


def test_the_command_prints_it(lcpy: "Lcpy") -> None:
    """Indented as runc's, and complete."""
    done = lcpy("features", check=True)
    assert done.stderr == ""
    assert done.stdout == json.dumps(features(), indent=4) + "\n"
    assert done.stdout.startswith(
        '{\n    "ociVersionMin": "1.0.0",\n    "ociVersionMax": "1.3.0",\n'
    )


def declared(schema: dict[str, Any], part: dict[str, Any], value: Any, above: str) -> list[str]:
    """The members of a value that its schema does not name."""
    while "$ref" in part:
        part = schema["$defs"][part["$ref"].removeprefix("#/$defs/")]
    if not isinstance(value, dict) or "properties" not in part:
        return []
    found = [f"{above}{name}" for name in value if name not in part["properties"]]
    for name, below in part["properties"].items():
        found += declared(schema, below, value.get(name), f"{above}{name}.")
    return found


def test_our_schema() -> None:
    """Also that there is nothing else, which the specification wants of its version."""
    schema = json.loads((SCHEMAS / "features.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    said = features()
    assert [error.message for error in validator.iter_errors(said)] == []
    assert declared(schema, schema, said, "") == []
    # It can say no, and takes what the specification calls unknown.
    for wrong in (
        {"ociVersionMin": "1.0"},
        {"hooks": [1]},
        {"hooks": ["prestart", "prestart"]},
        {"linux": {"namespaces": ["net"]}},
        {"linux": {"cgroup": {"v1": "yes"}}},
        {"linux": {"memoryPolicy": {"modes": ["BIND"]}}},
        {"linux": {"mountExtensions": {"idmap": True}}},
        {"annotations": {"a": 1}},
    ):
        assert not validator.is_valid({**said, **wrong}), wrong
    for unknown in ({"linux": None}, {"hooks": None}, {"linux": {"seccomp": {"enabled": None}}}):
        assert validator.is_valid({**said, **unknown}), unknown
    assert not validator.is_valid({"ociVersionMin": "1.0.0"})


def test_runcs_own_fit_our_schema(runcs: dict[str, Any]) -> None:
    schema = json.loads((SCHEMAS / "features.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(runcs)] == []


@needs_official
def test_the_official_schema() -> None:
    registry: Any = referencing.Registry()
    for file in OFFICIAL.glob("*.json"):
        contents = json.loads(file.read_text())
        resource: Any = referencing.Resource.from_contents(contents, default_specification=DRAFT4)
        registry = registry.with_resource(f"file:///{file.name}", resource)
    schema = {"$ref": "file:///features-schema.json"}
    validator = jsonschema.Draft4Validator(schema, registry=registry)
    ours = jsonschema.Draft202012Validator(json.loads((SCHEMAS / "features.json").read_text()))
    samples = {
        verdict: list((OFFICIAL / "test" / "features" / verdict).glob("*.json"))
        for verdict in ("good", "bad")
    }
    assert all(samples.values())
    for verdict, files in samples.items():
        for file in files:  # the validator can tell one from the other, and so can ours
            assert validator.is_valid(json.loads(file.read_text())) == (verdict == "good")
            assert ours.is_valid(json.loads(file.read_text())) == (verdict == "good")
    assert [error.message for error in validator.iter_errors(features())] == []


def test_names_are_where_runc_has_them(runcs: dict[str, Any]) -> None:
    ours = features()
    assert list(ours)[:5] == list(runcs)[:5]
    assert ours["hooks"] == runcs["hooks"]
    assert ours["linux"]["capabilities"] == runcs["linux"]["capabilities"]
    assert set(ours["linux"]["namespaces"]) <= {*runcs["linux"]["namespaces"], "time"}
    for kind in ("mountOptions",):
        assert ours[kind] == sorted(set(ours[kind]))
    # acl and noacl are words of filesystems that runc took for its own
    ours_alone = set(ours["mountOptions"]) - set(runcs["mountOptions"])
    assert ours_alone <= {"idmap", "ridmap"}
    keys = list(runcs["linux"])
    assert [key for key in ours["linux"] if key in keys] == keys


def test_versions(runcs: dict[str, Any]) -> None:
    ours = features()
    for key in ("ociVersionMin", "ociVersionMax"):
        assert not refused(ociVersion=ours[key])
    assert ours["annotations"]["lcpy.version"] == __version__
    library = "io.github.seccomp.libseccomp.version"
    assert ours["annotations"][library] == runcs["annotations"][library]


def test_namespaces_are_those_that_are_accepted() -> None:
    said = features()["linux"]["namespaces"]
    for kind in ("cgroup", "ipc", "mount", "network", "pid", "user", "uts", "time"):
        parts: dict[str, Any] = {"linux__namespaces": [{"type": "mount"}]}
        if kind != "mount":
            parts["linux__namespaces"].append({"type": kind})
        if kind == "user":
            parts |= {f"linux__{name}": mapping for name, mapping in MAPPINGS.items()}
        parts |= {"hostname": "", "linux__maskedPaths": [], "linux__readonlyPaths": []}
        assert (kind in said) != refused(**parts), kind


@pytest.mark.parametrize("option", ["ro", "rro", "rslave", "tmpcopyup", "idmap", "ridmap", "sync"])
def test_mount_options_are_those_that_are_accepted(option: str) -> None:
    mount = {"destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": [option]}
    if option in ("idmap", "ridmap"):
        mount |= {"type": "bind", "source": "/", "options": ["rbind", option], **MAPPINGS}
    assert (option in features()["mountOptions"]) != refused(mounts=[mount])


def test_every_mount_option_is_accepted() -> None:
    """Of a bind mount, where an unknown word is refused: so each of them is known."""
    options = features()["mountOptions"]
    assert len(options) > 50
    mount = {"destination": "/m", "type": "bind", "source": "/", "options": ["bind", *options]}
    if "idmap" in options:
        mount |= MAPPINGS
    assert not refused(mounts=[mount])


def test_hooks_are_those_that_are_accepted() -> None:
    said = features()["hooks"]
    assert said
    for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart",
                 "poststop"):  # fmt: skip
        assert (kind in said) != refused(hooks={kind: [{"path": "/bin/true"}]}), kind


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (["apparmor", "enabled"], {"process__apparmorProfile": "unconfined"}),
        (["selinux", "enabled"], {"process__selinuxLabel": "system_u:system_r:svirt_t:s0"}),
        (["intelRdt", "enabled"], {"linux__intelRdt": {"closID": "x"}}),
        (["intelRdt", "schemata"], {"linux__intelRdt": {"schemata": ["L3:0=f"]}}),
        (["intelRdt", "monitoring"], {"linux__intelRdt": {"enableMonitoring": True}}),
        (["netDevices", "enabled"], {"linux__netDevices": {"eth0": {}}}),
        (
            ["mountExtensions", "idmap", "enabled"],
            {
                "mounts": [
                    {"destination": "/m", "source": "/", "options": ["rbind"], **MAPPINGS},
                ]
            },
        ),
        (["cgroup", "rdma"], {"linux__resources__rdma": {"mlx5_1": {"hcaHandles": 3}}}),
        (["seccomp", "enabled"], {"linux__seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, list) else "",
)
def test_what_is_enabled_is_accepted(names: list[str], asked: dict[str, Any]) -> None:
    said: Any = features()["linux"]
    for name in names:
        said = said[name]
    assert said != refused(**asked)


def test_memory_policies_are_those_that_are_accepted() -> None:
    said = features()["linux"]["memoryPolicy"]
    known = set(get_args(get_type_hints(model.MemoryPolicy)["mode"]))
    assert set(said["modes"]) in (set(), known)
    for mode in known:
        nodes = "" if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else "0"
        policy = {"mode": mode, "nodes": nodes}
        assert (mode in said["modes"]) != refused(linux__memoryPolicy=policy), mode
    for flag in ("MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES", "MPOL_F_NUMA_BALANCING"):
        policy = {"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}
        assert (flag in said["flags"]) != refused(linux__memoryPolicy=policy), flag


def test_systemd_is_said_where_the_command_takes_it(lcpy: "Lcpy") -> None:
    said = features()["linux"]["cgroup"]
    done = lcpy("--systemd-cgroup", "state", "there-is-none")
    assert "container does not exist" in done.stderr
    assert said["systemd"]
    assert said["systemdUser"]


def test_every_word_of_seccomp_compiles() -> None:
    said = features()["linux"]["seccomp"]
    assert said["enabled"]
    assert set(said["supportedFlags"]) <= set(said["knownFlags"])
    for action in said["actions"]:
        profile: dict[str, Any] = {
            "defaultAction": "SCMP_ACT_ALLOW" if action != "SCMP_ACT_ALLOW" else "SCMP_ACT_LOG",
            "syscalls": [{"names": ["getcwd"], "action": action}],
        }
        assert compile_filter(profile, None).instructions
    for operator in said["operators"]:
        args = [{"index": 0, "value": 1, "valueTwo": 1, "op": operator}]
        profile = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO", "args": args}],
        }
        assert compile_filter(profile, None).instructions
    assert "SCMP_ACT_NOTIFY" in said["actions"]
    notify = [{"names": ["getcwd"], "action": "SCMP_ACT_NOTIFY"}]  # one flag is for that alone
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": notify,
        "flags": said["supportedFlags"],
    }
    assert compile_filter(profile, None).instructions


def test_without_libseccomp_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp_library, "SONAME", "libnone.so.0")
    found = features()
    assert found["linux"]["seccomp"] == {"enabled": False}
    assert list(found["annotations"]) == ["lcpy.version"]
