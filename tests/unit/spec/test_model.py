"""spec/model.py: the same as the schema, both ways, and nothing lost on the way through it."""

import copy
import json
import os
import pickle
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import attrs
import pytest

import libcontainer_py
from libcontainer_py.errors import ConfigError
from libcontainer_py.spec import VERSION, model
from libcontainer_py.spec.accept import accept
from libcontainer_py.spec.default import default
from libcontainer_py.spec.load import load
from libcontainer_py.spec.model import (
    Capabilities,
    Hook,
    Hooks,
    IntelRdt,
    IOPriority,
    Linux,
    Memory,
    Mount,
    Namespace,
    Object,
    Process,
    Rlimit,
    Root,
    Seccomp,
    Spec,
    SyscallRule,
    User,
)
from libcontainer_py.spec.validate import validate
from tests.unit.spec.samples import put, rich, runnable
from tests.unit.spec.test_schema import OFFICIAL, needs_official, places

CHECKOUT = Path(__file__).resolve().parents[3]
SCHEMA: dict[str, Any] = json.loads((CHECKOUT / "spec" / "schema" / "config.json").read_text())
CLASSES = {
    value
    for value in vars(model).values()
    if isinstance(value, type) and issubclass(value, Object) and value is not Object
}
SCALARS = {"string": str, "integer": int, "boolean": bool}

# Where the model asks for more than the schema, because no container can be made without; and less.
NEEDED = {"process", "root"}
WITH_A_DEFAULT = {"ociVersion": VERSION}
# What asks for something even where it is empty, so that being there has to be told apart.
NEVER_IDLE = {"intelRdt"}


# --- the schema and the model ---------------------------------------------------------------


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = SCHEMA["$defs"][node["$ref"].removeprefix("#/$defs/")]
    return node


def without_none(kind: Any) -> tuple[Any, bool]:
    """A type without `| None`, and whether it had that."""
    parts = [part for part in get_args(kind) if part is not NoneType]
    if NoneType not in get_args(kind):
        return kind, False
    assert len(parts) == 1, kind
    return parts[0], True


def compare(node: dict[str, Any], kind: Any, where: str) -> Iterator[tuple[str, type[Object]]]:
    """Hold a type to a part of the schema, whole; yields where each class stands."""
    node = resolved(node)
    if "enum" in node:
        assert node["type"] == "string", where
        assert get_origin(kind) is Literal, where
        assert get_args(kind) == tuple(node["enum"]), where
    elif node["type"] in SCALARS:
        assert kind is SCALARS[node["type"]], where
    elif node["type"] == "array":
        assert get_origin(kind) is Sequence, where
        (item,) = get_args(kind)
        yield from compare(node["items"], item, f"{where}[]")
    elif "additionalProperties" in node:
        assert get_origin(kind) is Mapping, where
        key, item = get_args(kind)
        assert key is str, where
        yield from compare(node["additionalProperties"], item, f"{where}{{}}")
    else:
        assert isinstance(kind, type) and issubclass(kind, Object), where
        yield where, kind
        yield from compare_object(node, kind, where)


def compare_object(
    node: dict[str, Any], kind: type[Object], above: str
) -> Iterator[tuple[str, type[Object]]]:
    types = get_type_hints(kind)
    fields = {field.name.rstrip("_"): field for field in attrs.fields(kind)}
    assert fields.pop("unknown").default == attrs.Factory(dict)
    assert set(fields) == set(node["properties"]), above
    for name, part in node["properties"].items():
        where = f"{above}.{name}" if above else name
        inner, may_be_none = without_none(types[fields[name].name])
        standard = fields[name].default
        form = resolved(part)
        if where in WITH_A_DEFAULT:
            assert (standard, may_be_none) == (WITH_A_DEFAULT[where], False), where
        elif name in node.get("required", ()) or where in NEEDED:
            assert (standard, may_be_none) == (attrs.NOTHING, False), where
        elif form["type"] == "array":
            assert (standard, may_be_none) == ((), False), where
        elif "additionalProperties" in form:
            assert (standard, may_be_none) == (attrs.Factory(dict), False), where
        elif form["type"] == "object" and not form.get("required") and name not in NEVER_IDLE:
            assert (standard, may_be_none) == (attrs.Factory(inner), False), where
        else:
            assert (standard, may_be_none) == (None, True), where
        yield from compare(part, inner, where)


def test_the_model_has_what_the_schema_has_and_nothing_else() -> None:
    found = list(compare_object(SCHEMA, Spec, ""))
    assert {kind for _, kind in found} | {Spec} == CLASSES
    # None of them stands for two kinds of objects by chance, or is doubled.
    shapes: dict[type[Object], set[str]] = {}
    for where, kind in found:
        shapes.setdefault(kind, set()).add(where.rpartition(".")[2])
    shared = {kind.__name__: names for kind, names in shapes.items() if len(names) > 1}
    assert {name: len(names) for name, names in shared.items()} == {
        "Hook": 6,
        "IDMapping": 2,
        "ThrottleDevice": 4,
        "TimeOffset": 2,
    }


def test_a_difference_would_be_seen() -> None:
    for change in ("missing", "new", "type", "enum"):
        node = copy.deepcopy(resolved(SCHEMA["$defs"]["namespace"]))
        if change == "missing":
            del node["properties"]["path"]
        elif change == "new":
            node["properties"]["future"] = {"type": "string"}
        elif change == "type":
            node["properties"]["path"] = {"type": "integer"}
        else:
            node["properties"]["type"]["enum"].append("future")
        with pytest.raises(AssertionError):
            list(compare_object(node, Namespace, "linux.namespaces[]"))


def test_every_class_is_frozen_has_slots_and_takes_names_alone() -> None:
    for kind in CLASSES:
        assert "__dict__" not in dir(kind), kind
        assert all(field.kw_only for field in attrs.fields(kind)), kind
        assert kind.__doc__, kind
    mount = Mount(destination="/data")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        mount.destination = "/"  # type: ignore[misc]
    with pytest.raises(TypeError):
        Mount("/data")  # type: ignore[call-arg,arg-type]


# --- there and back -------------------------------------------------------------------------

# What asks for nothing where it is empty, so that it is left out.
IDLE_OBJECTS = {
    *("linux", "hooks", "user", "capabilities", "execCPUAffinity", "resources", "memory", "cpu"),
    *("pids", "blockIO", "network", "timeOffsets", "monotonic", "boottime"),
}


def without_idle(node: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """A config without its empty members, found by way of the schema and not of the model."""
    kept = {}
    for name, value in config.items():
        part = resolved(node["properties"].get(name, {}))
        left = members_without_idle(part, value)
        is_list_or_map = part.get("type") == "array" or "additionalProperties" in part
        if left or not (is_list_or_map or (part and name in IDLE_OBJECTS)):
            kept[name] = left
    return kept


def members_without_idle(part: dict[str, Any], value: Any) -> Any:
    if "properties" in part:
        return without_idle(part, value)
    if "items" in part:
        return [members_without_idle(resolved(part["items"]), item) for item in value]
    if "additionalProperties" in part:
        inner = resolved(part["additionalProperties"])
        return {key: members_without_idle(inner, item) for key, item in value.items()}
    return value


def round_trip(config: dict[str, Any]) -> Spec:
    before = copy.deepcopy(config)
    spec = Spec.from_dict(config)
    again = spec.to_dict()
    assert config == before
    assert again == without_idle(SCHEMA, config)
    assert type(again["process"].get("args", [])) is list
    assert Spec.from_dict(again) == spec
    assert accept(again)
    return spec


def verdict(config: dict[str, Any]) -> tuple[list[str] | str, str | None]:
    """What `validate` says: its warnings, or the error and its field."""
    try:
        return validate(config), None
    except ConfigError as error:
        return str(error), error.field


def test_the_default_config_there_and_back() -> None:
    # As text, because the order counts: people compare the files.
    assert json.dumps(round_trip(default()).to_dict()) == json.dumps(default())


def test_the_rich_config_there_and_back() -> None:
    spec = round_trip(rich())
    assert spec.linux.resources.memory.swap == 536870912
    assert spec.linux.netDevices["eth0"].name == "inner0"
    assert spec.process.ioPriority == IOPriority(class_="IOPRIO_CLASS_IDLE", priority=4)
    assert spec.linux.seccomp and spec.linux.seccomp.syscalls[0].args[0].valueTwo == 2
    # Nothing that the sample has is unknown to the model.
    assert "unknown" not in repr(spec)


VALUES: list[Any] = [
    *(True, False, 0, 1, -1, 5, 100, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1),
    *("", "x", "/x", "0-3,7", "2MB", "ä", "pid", "c", "RLIMIT_CPU", "MPOL_BIND", "rslave"),
    *([], ["x"], [{}], {}, {"x": "y"}, {"x": {}}, {"x": [None, {"y": 0.5}]}),
]


def valid_mutations(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Configs that fit the schema, each with one to four changes: others are not let through."""
    chance = random.Random(seed)
    made = 0
    for _ in range(count * 50):
        config = copy.deepcopy(chance.choice([runnable(), rich(), rich()]))
        for _ in range(chance.randint(1, 4)):
            before = copy.deepcopy(config)
            *above, key = chance.choice(list(places(config)))
            place: Any = config
            for name in above:
                place = place[name]
            change = chance.randrange(6)
            if change == 0:
                del place[key]
            elif change == 1 and isinstance(place, dict):
                place[chance.choice(["future", "x-y", "windows"])] = chance.choice(VALUES)
            else:
                place[key] = chance.choice(VALUES)
            if not accept(config):
                config = before
        if "process" in config and "root" in config and config not in (runnable(), rich()):
            made += 1
            yield config
        if made == count:
            return
    raise AssertionError(f"only {made} of them fit")


def test_hundreds_of_mutated_configs_there_and_back() -> None:
    idle, unknown, good = 0, 0, 0
    for config in valid_mutations(seed=1, count=600):
        spec = round_trip(config)
        # What is left out asked for nothing: it makes no difference to what is refused, or why.
        assert verdict(spec.to_dict()) == verdict(config), config
        idle += spec.to_dict() != config
        unknown += "unknown" in repr(spec)
        good += isinstance(verdict(config)[0], list)
    # Else the mutations would prove little.
    assert idle > 100
    assert unknown > 100
    assert good > 50


def test_each_field_there_and_back_alone_and_left_out() -> None:
    tried = 0
    for *above, key in list(places(rich())):
        for alone in (True, False):
            config = rich()
            place: Any = config
            for name in above:
                place = place[name]
            value = place.pop(key)
            if alone:
                place.clear()
                if isinstance(place, list):
                    place.append(value)
                else:
                    place[key] = value
            if accept(config) and "process" in config and "root" in config:
                round_trip(config)
                tried += 1
    assert tried > 400


def official_samples() -> list[Path]:
    return sorted((OFFICIAL / "test" / "config" / "good").glob("*.json"))


@needs_official
@pytest.mark.parametrize("sample", official_samples(), ids=lambda file: file.name)
def test_official_good_samples_there_and_back(sample: Path) -> None:
    config = json.loads(sample.read_text())
    # Some have no process, and so could only be created, never started.
    config.setdefault("process", {"cwd": "/", "args": ["sh"]})
    spec = round_trip(config)
    platforms = {"freebsd", "zos"}
    assert set(spec.unknown) == platforms & set(config)


@needs_official
def test_the_official_linux_sample_is_known_to_the_model() -> None:
    config = json.loads((OFFICIAL / "test/config/good/spec-example.json").read_text())
    spec = Spec.from_dict(config)
    # A leftover of before 1.0: not in the official schema either.
    assert spec.linux.resources.unknown == {"oomScoreAdj": 100}
    assert repr(spec).count("unknown=") == 1


def test_what_is_unknown_is_kept_at_its_place() -> None:
    config = runnable()
    config["windows"] = {"anything": [1.5, None, {"a": "b"}]}
    config["mounts"][0]["x"] = 1
    put(config, "linux.resources.memory", {"future": None})
    spec = round_trip(config)
    assert spec.unknown == {"windows": {"anything": [1.5, None, {"a": "b"}]}}
    assert spec.mounts[0].unknown == {"x": 1}
    assert attrs.evolve(spec, hostname="other").to_dict() == {**config, "hostname": "other"}
    # And it is nobody else's to change.
    config["windows"]["anything"].clear()
    spec.to_dict()["windows"]["anything"].clear()
    assert len(spec.unknown["windows"]["anything"]) == 3


# --- reading --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("ociVersion", 1, "ociVersion"),
        ("mounts.0", {}, "mounts[0].destination"),
        ("process.user.uid", 2**32 - 1, "process.user.uid"),
        ("linux.namespaces.0.type", "pidd", "linux.namespaces[0].type"),
        ("hostname", None, "hostname"),
    ],
)
def test_from_dict_refuses_what_does_not_fit_by_field(field: str, value: Any, where: str) -> None:
    config = runnable()
    put(config, field, value)
    with pytest.raises(ConfigError) as caught:
        Spec.from_dict(config)
    assert caught.value.field == where


@pytest.mark.parametrize("name", ["process", "root", "ociVersion"])
def test_from_dict_needs_what_every_container_needs(name: str) -> None:
    config = runnable()
    del config[name]
    with pytest.raises(ConfigError) as caught:
        Spec.from_dict(config)
    assert caught.value.field == name


@pytest.mark.parametrize("config", [None, [], "{}", 1])
def test_from_dict_refuses_what_is_no_config(config: Any) -> None:
    with pytest.raises(ConfigError):
        Spec.from_dict(config)


def test_read_takes_a_bundle_as_create_does(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json not found"):
        Spec.read(tmp_path)
    config = runnable()
    # A null is as if the member were not there (see spec/load.py).
    (tmp_path / "config.json").write_text(json.dumps({**config, "hooks": None}))
    assert Spec.read(tmp_path) == Spec.read(str(tmp_path)) == Spec.from_dict(config)


# --- building -------------------------------------------------------------------------------


def test_the_default_spec_is_the_default_config_without_a_terminal() -> None:
    assert Spec.default().to_dict() == runnable()
    assert Spec.default(terminal=True).to_dict() == default()
    assert Spec.default().ociVersion == VERSION
    assert Spec.default().validate() == []


def test_each_argument_of_the_default_changes_its_field_alone() -> None:
    for changes, field, value in (
        ({"args": ["make", "check"]}, "process.args", ["make", "check"]),
        ({"env": ["A=b"]}, "process.env", ["A=b"]),
        ({"cwd": "/tmp"}, "process.cwd", "/tmp"),
        ({"terminal": True}, "process.terminal", True),
        ({"rootfs": "/srv/root"}, "root.path", "/srv/root"),
        ({"readonly": False}, "root.readonly", False),
        ({"hostname": "box"}, "hostname", "box"),
    ):
        config = runnable()
        put(config, field, value)
        assert Spec.default(**changes).to_dict() == config
    config = runnable()
    del config["process"]["env"]
    assert Spec.default(env=[]).to_dict() == config


def test_a_spec_from_nothing() -> None:
    spec = Spec(
        process=Process(args=["true"], cwd="/", user=User(uid=0, gid=0)), root=Root(path="rootfs")
    )
    assert spec.to_dict() == {
        "ociVersion": VERSION,
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/"},
        "root": {"path": "rootfs"},
    }
    assert spec.validate() == []
    # What is not there can be read all the same.
    assert spec.linux.resources.memory.limit is None
    assert [*spec.hooks.poststop, *spec.linux.namespaces, *spec.annotations] == []


def test_evolve_gives_a_changed_copy() -> None:
    spec = Spec.default()
    limits = attrs.evolve(spec.linux.resources, memory=Memory(limit=64 << 20))
    small = attrs.evolve(spec, linux=attrs.evolve(spec.linux, resources=limits))
    config = runnable()
    put(config, "linux.resources.memory", {"limit": 64 << 20})
    assert small.to_dict() == config
    assert spec.to_dict() == runnable()
    with pytest.raises(TypeError):
        attrs.evolve(spec, hostnam="box")  # type: ignore[call-arg]


def test_an_empty_object_is_left_out_unless_it_asks_for_something() -> None:
    spec = Spec.default()
    linux = Linux(intelRdt=IntelRdt(), netDevices={})
    assert attrs.evolve(spec, linux=linux).to_dict()["linux"] == {"intelRdt": {}}
    bare = attrs.evolve(spec.process, capabilities=Capabilities())
    assert "capabilities" not in attrs.evolve(spec, process=bare).to_dict()["process"]
    assert "hooks" not in attrs.evolve(spec, hooks=Hooks(poststop=[])).to_dict()
    # False and 0 are said.
    assert Root(path="r", readonly=False).to_dict() == {"path": "r", "readonly": False}
    # And what the schema requires is there, even where it is empty: it is refused by its name.
    rule = SyscallRule(names=[], action="SCMP_ACT_ERRNO")
    seccomp = Seccomp(defaultAction="SCMP_ACT_ALLOW", syscalls=[rule])
    with pytest.raises(ConfigError, match="must not be empty") as caught:
        attrs.evolve(spec, linux=attrs.evolve(spec.linux, seccomp=seccomp)).validate()
    assert caught.value.field == "linux.seccomp.syscalls[0].names"


def test_what_was_given_can_be_changed_without_changing_the_object() -> None:
    options, notes, more = ["ro"], {"a": "b"}, {"x": 1}
    mount = Mount(destination="/data", options=options, unknown=more)
    spec = attrs.evolve(Spec.default(), annotations=notes)
    options.append("bind")
    notes["c"] = "d"
    more["y"] = 2
    assert mount.to_dict() == {"destination": "/data", "options": ["ro"], "x": 1}
    assert spec.annotations == {"a": "b"}
    spec.to_dict()["annotations"]["c"] = "d"
    assert spec.annotations == {"a": "b"}


def test_lists_and_tuples_make_equal_objects_with_equal_hashes() -> None:
    one, other = Hook(path="/x", args=["a"]), Hook(path="/x", args=("a",))
    assert one == other
    assert hash(one) == hash(other)
    assert len({Spec.from_dict(rich()), Spec.from_dict(rich()), Spec.default()}) == 2
    assert one != Hook(path="/x", args=["b"])
    assert one != Hook(path="/x", args=["a"], unknown={"b": 1})


def test_a_spec_can_be_copied_and_pickled() -> None:
    spec = Spec.from_dict({**rich(), "windows": {"a": [1]}})
    assert copy.deepcopy(spec) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Mount(destination="/", options="ro"), "Mount.options is a str"),
        (lambda: Spec.default(args="sh"), "Process.args is a str, not a list or tuple"),
        (lambda: Hooks(poststop=[Mount(destination="/")]), "Mount is not Hook"),  # type: ignore[list-item]
        (lambda: Linux(resources=Memory(limit=1)), "Memory is not Resources"),  # type: ignore[arg-type]
        (lambda: Linux(resources=None), "NoneType is not Resources"),  # type: ignore[arg-type]
        (lambda: Linux(sysctl=["a=b"]), "Linux.sysctl is a list, not a mapping"),  # type: ignore[arg-type]
        (lambda: Linux(netDevices={"eth0": {}}), "dict is not NetDevice"),  # type: ignore[dict-item]
        (lambda: Mount(destination="/", unknown={"type": "x"}), "type has an attribute"),
        (lambda: IOPriority(class_="IOPRIO_CLASS_RT", unknown={"class": 1}), "class has an"),
        (lambda: Mount(dest="/"), "dest"),  # type: ignore[call-arg]
        (Mount, "destination"),
    ],
)
def test_another_shape_is_refused_at_once(make: Any, words: str) -> None:
    with pytest.raises(TypeError, match=re.escape(words)):
        make()


def test_validate_names_the_field() -> None:
    process = Process(args=["sh"], cwd="/", rlimits=[Rlimit(type="RLIMIT_CORE", soft=2, hard=1)])
    for spec, where in (
        (attrs.evolve(Spec.default(), process=process), "process.rlimits[0].soft"),
        (Spec.default(cwd="tmp"), "process.cwd"),
        (Spec.default(args=[]), "process.args"),
        (Spec.default(args=[1]), "process.args[0]"),  # type: ignore[list-item]
        (Spec.default(hostname="x" * 65), "hostname"),
        (
            attrs.evolve(Spec.default(), linux=Linux(namespaces=[Namespace(type="pidd")])),  # type: ignore[arg-type]
            "linux.namespaces[0].type",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            spec.validate()
        assert caught.value.field == where


def test_validate_returns_warnings() -> None:
    spec = Spec.default()
    sets = attrs.evolve(spec.process.capabilities, bounding=["CAP_FUTURE"])
    (warning,) = attrs.evolve(
        spec, process=attrs.evolve(spec.process, capabilities=sets)
    ).validate()
    assert "CAP_FUTURE" in warning


@pytest.mark.parametrize("value", [Path("/x"), b"/x", {1, 2}, object()], ids=repr)
def test_what_json_lacks_is_refused_by_its_field(value: Any) -> None:
    hooks = Hooks(poststop=[Hook(path="/x", args=["a", value])])
    with pytest.raises(ConfigError, match=f"JSON has no {type(value).__name__}$") as caught:
        attrs.evolve(Spec.default(), hooks=hooks).to_dict()
    assert caught.value.field == "hooks.poststop[0].args[1]"
    with pytest.raises(ConfigError) as caught:
        attrs.evolve(Spec.default(), annotations={"a.b": value}).to_dict()
    assert caught.value.field == 'annotations["a.b"]'


def test_the_environment_is_not_shown() -> None:
    spec = attrs.evolve(
        Spec.default(env=["TOKEN=hunter2"]),
        hooks=Hooks(poststop=[Hook(path="/x", env=["A=hunter2"])]),
    )
    assert "hunter2" not in repr(spec)
    assert repr(spec.hooks.poststop[0]) == "Hook(path='/x', env=<1>)"
    assert repr(Mount(destination="/p", options=["ro"])) == (
        "Mount(destination='/p', options=('ro',))"
    )
    assert repr(Mount(destination="/p", unknown={"x": 1})) == (
        "Mount(destination='/p', unknown={'x': 1})"
    )


# --- writing --------------------------------------------------------------------------------


def test_what_is_written_is_what_create_loads(tmp_path: Path) -> None:
    spec = attrs.evolve(Spec.default(args=["echo", "größe\n"]), annotations={"a": "ä"})
    assert spec.write(tmp_path) == []
    assert load(str(tmp_path)) == (spec.to_dict(), [])
    assert os.listdir(tmp_path) == ["config.json"]
    other = attrs.evolve(spec, hostname="other")
    other.write(str(tmp_path))
    assert Spec.read(tmp_path) == other
    assert os.listdir(tmp_path) == ["config.json"]


def test_nothing_is_written_that_is_not_valid(tmp_path: Path) -> None:
    Spec.default().write(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    for spec in (
        Spec.default(cwd="tmp"),
        Spec.default(args=[os.fsdecode(b"\xff")]),
        attrs.evolve(Spec.default(), unknown={"windows": float("nan")}),
    ):
        with pytest.raises(ConfigError):
            spec.write(tmp_path)
    assert (tmp_path / "config.json").read_bytes() == before
    assert os.listdir(tmp_path) == ["config.json"]


def test_a_bundle_that_can_not_be_written_is_an_error_and_left_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Spec.default().write(tmp_path / "missing")
    (tmp_path / "config.json").mkdir()
    with pytest.raises(IsADirectoryError):
        Spec.default().write(tmp_path)
    assert os.listdir(tmp_path) == ["config.json"]


def test_a_reader_sees_a_whole_config_while_it_is_written(tmp_path: Path) -> None:
    specs = [Spec.default(hostname="a" * 60), Spec.default(args=["x" * 5000])]
    specs[0].write(tmp_path)

    def write() -> None:
        for count in range(40):
            specs[count % 2].write(tmp_path)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert Spec.read(tmp_path) in specs
    for writer in writers:
        writer.join()
    assert os.listdir(tmp_path) == ["config.json"]


# --- its place ------------------------------------------------------------------------------


def test_the_face_has_it_and_loads_it_when_it_is_asked_for() -> None:
    assert libcontainer_py.Spec is Spec
    program = (
        "import sys, libcontainer_py as lc, libcontainer_py.container;"
        "print('attrs' in sys.modules, 'libcontainer_py.spec.model' in sys.modules);"
        "lc.Spec; print('attrs' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["False", "False", "True"]


def test_the_page_lists_every_class_with_its_place() -> None:
    page = (CHECKOUT / "docs" / "api.md").read_text()
    places: dict[str, set[str]] = {}
    for where, kind in compare_object(SCHEMA, Spec, ""):
        places.setdefault(kind.__name__, set()).add(where)
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE)
    assert [name for name, _ in rows] == list(places)
    for name, cell in rows:
        written = [
            re.escape(pattern).replace(r"\*", r"\w+") for pattern in re.findall(r"`([^`]+)`", cell)
        ]
        matched = [
            {place for place in places[name] if re.fullmatch(pattern, place)} for pattern in written
        ]
        assert all(matched), name
        assert set().union(*matched) == places[name], name


def test_the_example_on_the_page_works(tmp_path: Path) -> None:
    page = (CHECKOUT / "docs" / "api.md").read_text()
    (example,) = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    assert "/bundles/job" in example
    exec(example.replace("/bundles/job", str(tmp_path)), {})
    spec = Spec.read(tmp_path)
    assert spec.process.args == ("make", "check")
    assert spec.linux.resources.memory.limit == 512 << 20
    assert spec.linux.resources.devices == Spec.default().linux.resources.devices
    assert spec.mounts[-1].destination == "/tmp"
