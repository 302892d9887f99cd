"""The schema: accept.py and jsonschema agree on it, and it agrees with the official one.

The official schemas and their samples are not ours to copy; where they lie beside the checkout
they are held against ours, and else those tests are skipped.
"""

import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import referencing
from referencing.jsonschema import DRAFT4

from libcontainer_py.errors import ConfigError
from libcontainer_py.spec import rules
from libcontainer_py.spec.accept import accept
from libcontainer_py.spec.default import default
from libcontainer_py.spec.reject import path, reject, validator
from tests.unit.spec.samples import put, rich

OFFICIAL = Path(__file__).resolve().parents[4] / "shared" / "oci-spec" / "schema"
needs_official = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason="../shared/oci-spec is not beside the checkout"
)
OTHER_PLATFORMS = ("freebsd-", "zos-")

# What a mutation may put anywhere: each kind of JSON, and the edges of the ranges.
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    -2,
    101,
    512,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    2**64 - 1,
    2**64,
    1.0,
    0.5,
    "",
    "x",
    "/x",
    "a\0b",
    "0-3,7",
    "2MB",
    "2MB\n",
    "02MB",
    "MB:",
    "MB:1\n",
    "pid",
    "c",
    "RLIMIT_FOO",
    "rslave",
    "ä",
    [],
    [1],
    ["x"],
    [None],
    ["a\0b"],
    {},
    {"x": "y"},
    {"x": 1},
    {"x": {}},
]


def places(value: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a config but the top."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        yield (*above, key)
        if isinstance(part, (dict, list)):
            yield from places(part, (*above, key))


def mutated(config: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A copy with one to three changes: a value replaced, removed, doubled or renamed."""
    config = copy.deepcopy(config)
    for _ in range(chance.randint(1, 3)):
        *above, key = chance.choice(list(places(config)))
        place: Any = config
        for name in above:
            place = place[name]
        change = chance.randrange(8)
        if change == 0:
            del place[key]
        elif change == 1 and isinstance(place, list):
            place.append(copy.deepcopy(place[0]))
        elif change == 2 and isinstance(place, dict):
            place[chance.choice(["x", "type", "path"])] = place.pop(key)
        else:
            place[key] = chance.choice(VALUES)
        if not config:
            break
    return config


def mutations(seed: int, count: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(seed)
    bases = [default(), rich(), rich()]
    for _ in range(count):
        yield mutated(chance.choice(bases), chance)


def one_change_each() -> Iterator[dict[str, Any]]:
    """Each value in each place of the rich config, with little else around it to check again."""
    for spot in list(places(rich())):
        config = rich()
        top, *below = spot
        small: dict[Any, Any] = {"ociVersion": "1.0.0", top: config[str(top)]}
        if top in ("linux", "process") and below:
            small[top] = {below[0]: small[top][below[0]]}
            if top == "process":
                small[top].setdefault("cwd", "/")
        place: Any = small
        for key in spot[:-1]:
            place = place[key]
        for value in VALUES:
            place[spot[-1]] = value
            yield small


def test_accept_and_jsonschema_always_agree() -> None:
    ours = validator()
    verdicts = []
    for config in mutations(seed=1, count=600):
        fits = accept(config)
        assert fits == ours.is_valid(config), config
        verdicts.append(fits)
    # Else the mutations would prove nothing.
    assert 60 < sum(verdicts) < 540


def test_accept_and_jsonschema_agree_on_each_value_everywhere() -> None:
    ours = validator()
    for config in one_change_each():
        assert accept(config) == ours.is_valid(config), config


@pytest.mark.parametrize("value", [None, [], "x", 1, True, {}, {"ociVersion": 1}], ids=repr)
def test_what_is_no_config_at_all_is_refused(value: Any) -> None:
    assert not accept(value)
    with pytest.raises(ConfigError):
        reject(value)


def test_our_samples_fit() -> None:
    assert accept(default())
    assert accept(rich())
    assert accept({"ociVersion": "1.0.0"})


def test_the_rich_sample_has_every_field_of_the_schema() -> None:
    schema = validator().schema
    assert isinstance(schema, dict)

    def fields(part: Any, above: str) -> Iterator[str]:
        while "$ref" in part:
            part = schema["$defs"][part["$ref"].removeprefix("#/$defs/")]
        if "items" in part:
            yield from fields(part["items"], above)
        for name, below in part.get("properties", {}).items():
            yield f"{above}.{name}"
            yield from fields(below, f"{above}.{name}")

    have = {"." + ".".join(key for key in spot if isinstance(key, str)) for spot in places(rich())}
    assert set(fields(schema, "")) <= have


def test_what_is_unknown_or_of_another_platform_is_passed_over() -> None:
    config = rich()
    for section in ("windows", "solaris", "vm", "zos", "freebsd", "x-vendor"):
        config[section] = {"anything": [1.5, None, "a\0b"]}
    config["linux"]["resources"]["future"] = {"nested": None}
    config["mounts"][0]["x"] = 1
    assert accept(config)


@pytest.mark.parametrize(
    ("field", "value", "where", "words"),
    [
        ("ociVersion", 1, "ociVersion", "1 is not a string"),
        ("root.path", "a\0", "root.path", "holds a NUL byte"),
        ("root.readonly", "yes", "root.readonly", '"yes" is not true or false'),
        ("process.user.uid", 2**32 - 1, "process.user.uid", "2147483647"),
        ("process.user.gid", 2**31, "process.user.gid", "2147483647"),
        ("process.user.uid", -1, "process.user.uid", "-1 is not between 0 and"),
        ("process.user.uid", 1.0, "process.user.uid", "1.0 is not an integer"),
        ("process.user.uid", True, "process.user.uid", "true is not an integer"),
        ("process.user.additionalGids", [1, 2**31], "process.user.additionalGids[1]", "2147"),
        ("process.user.umask", 512, "process.user.umask", "between 0 and 511"),
        ("process.args", ["a", "b\0"], "process.args[1]", "NUL"),
        ("process.args", [None], "process.args[0]", "null is not a string"),
        ("process.env", ["A=\0"], "process.env[0]", "NUL"),
        ("process.cwd", 5, "process.cwd", "5 is not a string"),
        ("process.oomScoreAdj", 1001, "process.oomScoreAdj", "between -1000 and 1000"),
        ("process.rlimits.0.type", "RLIMIT_FOO", "process.rlimits[0].type", "not one of"),
        ("process.rlimits.0.soft", 2**64, "process.rlimits[0].soft", "not between"),
        ("mounts.0", {}, "mounts[0].destination", "is required"),
        ("mounts.0", None, "mounts[0]", "null is not an object"),
        ("mounts.1.source", "a\0", "mounts[1].source", "NUL"),
        ("mounts", {}, "mounts", "an object is not an array"),
        ("linux.namespaces.2.type", "foo", "linux.namespaces[2].type", '"foo" is not one of pid'),
        ("linux.namespaces.0", {}, "linux.namespaces[0].type", "is required"),
        ("linux.rootfsPropagation", "x", "linux.rootfsPropagation", "not one of private"),
        ("linux.personality", {}, "linux.personality.domain", "is required"),
        ("linux.personality.domain", "BSD", "linux.personality.domain", "LINUX32"),
        ("linux.devices.0.type", "d", "linux.devices[0].type", "not one of b, c, u, p"),
        ("linux.devices.0.uid", 2**32 - 1, "linux.devices[0].uid", "2147483647"),
        ("linux.resources.devices.0", {}, "linux.resources.devices[0].allow", "required"),
        (
            "linux.resources.hugepageLimits.0.pageSize",
            "64kB",
            "linux.resources.hugepageLimits[0].pageSize",
            "is not a page size",
        ),
        ("linux.netDevices.eth0.name", 23, "linux.netDevices.eth0.name", "23 is not a string"),
        ("linux|sysctl|net.core.x", 1, 'linux.sysctl["net.core.x"]', "1 is not a string"),
        ("linux.intelRdt.memBwSchema", "x", "linux.intelRdt.memBwSchema", "starts with MB:"),
        ("linux.seccomp.syscalls.0.names", [], "linux.seccomp.syscalls[0].names", "empty"),
        ("process.execCPUAffinity.final", "a", "process.execCPUAffinity.final", "list of CPUs"),
        ("annotations.a", 1, "annotations.a", "1 is not a string"),
    ],
)
def test_a_refusal_names_the_field_and_says_why(
    field: str, value: Any, where: str, words: str
) -> None:
    config = rich()
    put(config, field, value)
    assert not accept(config)
    with pytest.raises(ConfigError) as caught:
        reject(config)
    assert caught.value.field == where
    assert str(caught.value).startswith(f"{where}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_errors_are_in_one_line_and_the_first_is_the_field() -> None:
    config = rich()
    config["process"]["cwd"] = 1
    config["process"]["args"] = ["line\nfeed\0"]
    with pytest.raises(ConfigError) as caught:
        reject(config)
    text = r'process.args[0]: "line\nfeed\x00" holds a NUL byte; process.cwd: 1 is not a string'
    assert str(caught.value) == text
    assert caught.value.field == "process.args[0]"
    config["linux"]["namespaces"] = [{"type": kind} for kind in "abcdef"]
    with pytest.raises(ConfigError, match=r"; and 3 more$"):
        reject(config)


def test_secrets_of_the_environment_are_in_no_refusal() -> None:
    config = rich()
    config["process"]["env"] = ["A=hunter2\0"]
    with pytest.raises(ConfigError) as caught:
        reject(config)
    assert str(caught.value) == "process.env[0]: it holds a NUL byte"


def test_a_hostile_value_can_not_forge_a_line() -> None:
    config = rich()
    config["linux"]["namespaces"] = [{"type": "x\n\x1b[31m" + "y" * 10000}]
    config["annotations"] = {'k"\n': 1}
    with pytest.raises(ConfigError) as caught:
        reject(config)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2000


# --- beside the official schema -------------------------------------------------------------


def official() -> Any:
    """The official schema; it is draft 4, in several files."""
    registry: Any = referencing.Registry()
    for file in OFFICIAL.glob("*.json"):
        contents = json.loads(file.read_text())
        resource: Any = referencing.Resource.from_contents(contents, default_specification=DRAFT4)
        registry = registry.with_resource(f"file:///{file.name}", resource)
    schema = {"$ref": "file:///config-schema.json"}
    return jsonschema.Draft4Validator(schema, registry=registry)


class Difference(NamedTuple):
    """A listed difference: which fields, what keyword refuses there, why; and an example."""

    fields: str
    keyword: str
    reason: str
    example: tuple[str, Any]


# What ours refuses and the official one does not.
STRICTER = [
    Difference(
        r"(?!.*(pageSize|initial|final)$).*",
        "pattern",
        "the kernel would end it at a NUL byte",
        ("process.args", ["a\0b"]),
    ),
    Difference(
        r".*\.pageSize",
        "pattern",
        "Python's $, which we don't use, lets a last newline through",
        ("linux.resources.hugepageLimits.0.pageSize", "2MB\n"),
    ),
    Difference(
        r".*(uid|gid|additionalGids\[\d+\])",
        "maximum",
        "ids stop at 2^31-1, as in runc: 2^32-1 would change nothing, and leave root",
        ("process.user.uid", 2**31),
    ),
    Difference(
        r"process\.user\.umask",
        "maximum",
        "the kernel would cut it to 0777 in silence",
        ("process.user.umask", 512),
    ),
    Difference(
        r"process\.oomScoreAdj",
        "m..imum",
        "the kernel knows -1000 to 1000",
        ("process.oomScoreAdj", -1001),
    ),
    Difference(
        r"process\.ioPriority\.priority",
        "m..imum",
        "0 to 7 (config.md)",
        ("process.ioPriority.priority", 8),
    ),
    Difference(
        r"process\.rlimits\[\d+\]\.type",
        "enum",
        "one that the kernel lacks is an error (config.md)",
        ("process.rlimits.0.type", "RLIMIT_FOO"),
    ),
    Difference(
        r"hooks\.\w+\[\d+\]\.timeout",
        "maximum",
        "runc reads an int of 64 bits",
        ("hooks.poststop.0.timeout", 2**63),
    ),
    Difference(
        r"linux\.personality\.domain",
        "required",
        "REQUIRED (config-linux.md)",
        ("linux.personality", {}),
    ),
    Difference(
        r"linux\.memoryPolicy\.mode",
        "required",
        "REQUIRED (config-linux.md)",
        ("linux.memoryPolicy", {}),
    ),
    Difference(
        r"linux\.resources\.devices\[\d+\]\.type",
        "enum",
        "a, b or c (config-linux.md)",
        ("linux.resources.devices.0.type", "u"),
    ),
]
# What the official one refuses and ours does not. (It also looks into the sections of other
# platforms, which ours passes over.)
LAXER = [
    Difference(
        r"linux\.devices\[\d+\]\.fileMode",
        "maximum",
        "uint32 (config-linux.md), and Docker leaves the bits of the file's type in it",
        ("linux.devices.0.fileMode", 0o20666),
    ),
    Difference(
        r"linux\.rootfsPropagation",
        "enum",
        "runc takes the recursive ones, too",
        ("linux.rootfsPropagation", "rslave"),
    ),
    Difference(
        r"linux\.resources\.pids\.limit",
        "required",
        "OPTIONAL (config-linux.md)",
        ("linux.resources.pids", {}),
    ),
]


def errors(checker: Any, config: Any) -> set[tuple[str, str]]:
    """What a schema refuses, as pairs of field and keyword."""
    found = set()
    for error in checker.iter_errors(config):
        for leaf in error.context or [error]:
            keys = list(leaf.absolute_path)
            if leaf.validator == "required":
                missing = [name for name in leaf.validator_value if name not in leaf.instance]
                found |= {(path([*keys, name]), "required") for name in missing}
            else:
                found.add((path(keys), leaf.validator))
    return found


def alone(more: set[tuple[str, str]], less: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """The errors of one side in fields that the other side is content with."""
    content = {field for field, _ in more} - {field for field, _ in less}
    return [(field, keyword) for field, keyword in more if field in content]


def is_listed(error: tuple[str, str], listed: list[Difference]) -> bool:
    field, keyword = error
    return any(
        re.fullmatch(difference.fields, field) and re.fullmatch(difference.keyword, keyword)
        for difference in listed
    )


@needs_official
def test_ours_and_the_official_schema_agree_but_for_listed_differences() -> None:
    """Over some four thousand configs: field by field, and accept.py with ours."""
    ours, theirs = validator(), official()
    chance = random.Random(3)
    some = [config for config in map(copy.deepcopy, one_change_each()) if chance.random() < 0.2]
    configs = [*mutations(seed=2, count=1000), *some]
    assert len(configs) > 3500
    agreed = 0
    for config in configs:
        mine, official_ones = errors(ours, config), errors(theirs, config)
        assert accept(config) == (not mine), config
        agreed += (not mine) == (not official_ones)
        for listed, more, less in (STRICTER, mine, official_ones), (LAXER, official_ones, mine):
            unlisted = [error for error in alone(more, less) if not is_listed(error, listed)]
            assert unlisted == [], config
    # The differences are the exception.
    assert agreed > 0.9 * len(configs)


def official_fields(name: str, node: dict[str, Any], above: str) -> Iterator[str]:
    """Every field below a node of one of the official schema's files; items of lists as []."""
    while "$ref" in node:
        file, _, inside = node["$ref"].partition("#/")
        name = file or name
        node = json.loads((OFFICIAL / name).read_text())
        for key in inside.split("/"):
            node = node[key]
    for part in (*node.get("allOf", ()), *node.get("anyOf", ())):
        yield from official_fields(name, part, above)
    if isinstance(node.get("items"), dict):
        yield from official_fields(name, node["items"], f"{above}[]")
    maps = {**node.get("patternProperties", {}), "": node.get("additionalProperties")}
    for part in maps.values():
        if isinstance(part, dict):
            yield from official_fields(name, part, f"{above}.*")
    for key, part in node.get("properties", {}).items():
        if above or key not in ("solaris", "windows", "vm", "zos", "freebsd"):
            yield f"{above}.{key}"
            yield from official_fields(name, part, f"{above}.{key}")


def our_fields(node: dict[str, Any], above: str) -> Iterator[str]:
    """The same of ours."""
    schema: Any = validator().schema
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
    if "items" in node:
        yield from our_fields(node["items"], f"{above}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from our_fields(node["additionalProperties"], f"{above}.*")
    for key, part in node.get("properties", {}).items():
        yield f"{above}.{key}"
        yield from our_fields(part, f"{above}.{key}")


@needs_official
def test_no_field_is_in_one_schema_alone() -> None:
    whole = json.loads((OFFICIAL / "config-schema.json").read_text())
    theirs = set(official_fields("config-schema.json", whole, ""))
    schema: Any = validator().schema
    ours = set(our_fields(schema, ""))
    assert len(ours) > 200
    assert theirs ^ ours == set()


@needs_official
@pytest.mark.parametrize("difference", [*STRICTER, *LAXER], ids=lambda one: one.example[0])
def test_each_listed_difference_is_one(difference: Difference) -> None:
    config = rich()
    put(config, *difference.example)
    assert validator().is_valid(config) == (difference in LAXER)
    assert official().is_valid(config) == (difference in STRICTER)


@needs_official
def test_no_float_is_an_integer_in_the_official_schema_either() -> None:
    config = rich()
    config["process"]["user"]["uid"] = 1.0
    assert not official().is_valid(config)


def official_samples(verdict: str) -> list[Path]:
    files = sorted((OFFICIAL / "test" / "config" / verdict).glob("*.json"))
    return [file for file in files if not file.name.startswith(OTHER_PLATFORMS)]


@needs_official
@pytest.mark.parametrize("sample", official_samples("good"), ids=lambda file: file.name)
def test_official_good_samples_fit(sample: Path) -> None:
    config = json.loads(sample.read_text())
    assert accept(config)
    # Some are older than 1.0, or not complete enough to be created from: no matter here.
    config["ociVersion"] = "1.0.0"
    config.setdefault("process", {"cwd": "/", "args": ["sh"]})
    config.get("linux", {}).setdefault("namespaces", [{"type": "network"}])
    assert rules.check(config) is not None


@needs_official
@pytest.mark.parametrize(
    ("sample", "field"),
    [
        ("linux-hugepage.json", "linux.resources.hugepageLimits[0].pageSize"),
        ("linux-netdevice.json", "linux.netDevices.eth0.name"),
        ("linux-rdma.json", "linux.resources.rdma.mlx5_1.hcaHandles"),
    ],
)
def test_official_bad_samples_are_refused_for_their_fault(sample: str, field: str) -> None:
    config = json.loads((OFFICIAL / "test" / "config" / "bad" / sample).read_text())
    assert not accept(config)
    with pytest.raises(ConfigError) as caught:
        reject(config)
    assert caught.value.field == field


@needs_official
def test_no_official_bad_sample_is_forgotten() -> None:
    names = {file.name for file in official_samples("bad")}
    # invalid-json.json is tried in test_load.py
    assert names == {
        "invalid-json.json",
        "linux-hugepage.json",
        "linux-netdevice.json",
        "linux-rdma.json",
    }
