"""Write accept.py from schema/config.json: the same yes or no as jsonschema, in microseconds.

    python -m libcontainer_py.spec.compile            write it
    python -m libcontainer_py.spec.compile --check    exit 1 where it is stale

Importing jsonschema costs as much as ten starts of Python, and nearly every config.json is fine.
So each object and array of the schema becomes one plain function that says whether a value fits,
and only where one says no is jsonschema asked what is wrong (`libcontainer_py.spec.reject`).

The compiler knows the keywords that our schema uses and stops at any other, so that the two
can't drift apart unseen.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

Schema = dict[str, Any]

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMA = os.path.join(HERE, "schema", "config.json")
OUTPUT = os.path.join(HERE, "accept.py")

HEADER = '''\
# Written by compile.py from schema/config.json: don't edit. Loops, because any() is slower.
# ruff: noqa: SIM110
"""Does a parsed config.json fit the schema? `accept` says yes or no, and nothing more.

`NAMES` are the names of all members in the schema; `MAPS` those whose own members have any name.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
'''

LINE = 100  # columns

# Words about a schema, for its readers alone.
ANNOTATIONS = {"$schema", "$defs", "title", "description", "x-refusal"}
KEYWORDS = {
    "string": {"enum", "pattern"},
    "integer": {"minimum", "maximum"},
    "boolean": set[str](),
    "array": {"items", "minItems"},
    "object": {"required", "properties", "additionalProperties"},
}


class Unsupported(Exception):
    """The schema says something that this compiler can't translate."""


class Compiler:
    """Translates one schema; `functions` collects the source of each function by its name."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.functions: dict[str, str] = {}

    def module(self) -> str:
        """The whole of accept.py."""
        self.define("accept", self.schema)
        for name, schema in self.schema["$defs"].items():
            self.define(f"_{name}", schema)
        functions = "".join(f"\n\n{source}" for source in self.functions.values())
        return HEADER + self.names() + functions

    def names(self) -> str:
        """The names of all members, and of those whose members have any name."""
        members = dict(_members(self.schema))
        maps = [name for name, part in members.items() if "additionalProperties" in part]
        listed = "".join(f"        {literal(name)},\n" for name in sorted(members))
        return (
            f"\nNAMES = frozenset(\n    {{\n{listed}    }}\n)\n"
            f"MAPS = frozenset({{{', '.join(map(literal, sorted(maps)))}}})\n"
        )

    def define(self, name: str, schema: Schema) -> None:
        """Add a function of that name, which takes a value and says whether it fits."""
        if name in self.functions:
            raise Unsupported(f"two parts with the name {name}")
        body = self.body(name, schema)
        self.functions[name] = f'def {name}(value: "Any") -> bool:\n{body}'

    def body(self, name: str, schema: Schema) -> str:
        kind = self.kind(schema)
        if kind == "array":
            return self.array(name, schema)
        if kind == "object" and "additionalProperties" in schema:
            return self.mapping(name, schema)
        if kind == "object":
            return self.struct(name, schema)
        if kind == "string":
            return conjunction(["isinstance(value, str)", *string_tests(schema)])
        if kind == "integer":
            # bool is a subclass of int, so not isinstance.
            limits = f"{schema['minimum']} <= value <= {schema['maximum']}"
            return conjunction(["type(value) is int", limits])
        return conjunction(["isinstance(value, bool)"])

    def kind(self, schema: Schema) -> str:
        """The type of a schema, after a look at its other keywords."""
        kind = schema.get("type")
        if not isinstance(kind, str) or kind not in KEYWORDS:
            raise Unsupported(f"type {kind!r}")
        unknown = schema.keys() - KEYWORDS[kind] - ANNOTATIONS - {"type"}
        if unknown:
            raise Unsupported(f"{', '.join(sorted(unknown))} beside type {kind}")
        return kind

    def test(self, name: str, schema: Schema, variable: str) -> str:
        """An expression that says whether the value of a variable fits a part of the schema.

        `name` is for the function, where the part is too big for an expression.
        """
        if "$ref" in schema:
            if schema.keys() != {"$ref"}:
                raise Unsupported("keywords beside $ref")
            target = schema["$ref"].removeprefix("#/$defs/")
            if target not in self.schema["$defs"]:
                raise Unsupported(f"$ref to {schema['$ref']}")
            return f"_{target}({variable})"
        if self.kind(schema) == "boolean":
            return f"isinstance({variable}, bool)"
        if schema == {"type": "string"}:
            return f"isinstance({variable}, str)"
        self.define(name, schema)
        return f"{name}({variable})"

    def struct(self, name: str, schema: Schema) -> str:
        required = schema.get("required", [])
        properties = schema["properties"]
        if set(required) - properties.keys():
            raise Unsupported(f"required, but not among the properties: {required}")
        tests = ["isinstance(value, dict)", *(f'"{key}" in value' for key in required)]
        for key, part in properties.items():
            test = self.test(f"{part_of(name)}_{key}", part, f'value["{key}"]')
            tests.append(test if key in required else f'("{key}" not in value or {test})')
        return conjunction(tests)

    def mapping(self, name: str, schema: Schema) -> str:
        if "properties" in schema or "required" in schema:
            raise Unsupported("additionalProperties beside properties")
        test = self.test(f"{part_of(name)}_value", schema["additionalProperties"], "item")
        return loop("dict", "value.values()", test)

    def array(self, name: str, schema: Schema) -> str:
        test = self.test(f"{part_of(name)}_item", schema["items"], "item")
        return loop("list", "value", test, least=schema.get("minItems", 0))


def _members(part: Any) -> Iterator[tuple[str, Schema]]:
    """Every member that a schema names, at any depth, with its own schema."""
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict):
            yield from part["properties"].items()
        for value in part.values():
            yield from _members(value)


def part_of(name: str) -> str:
    """The prefix for functions of the parts of a schema whose own function has that name."""
    return "" if name == "accept" else name


def conjunction(tests: list[str]) -> str:
    """The body of a function that is one expression: all of these must hold."""
    line = f"    return {' and '.join(tests)}\n"
    if len(line.partition("\n")[0]) <= LINE:
        return line
    tests = [
        test if len(test) <= LINE - 12 else f"(\n            {test[1:-1]}\n        )"
        for test in tests
    ]
    lines = "\n        and ".join(tests)
    return f"    return (\n        {lines}\n    )\n"


def loop(kind: str, items: str, test: str, least: int = 0) -> str:
    """The body of a function that holds every item to a test."""
    wrong = f"not isinstance(value, {kind})"
    if least:
        wrong += f" or len(value) < {least}"
    return (
        f"    if {wrong}:\n        return False\n"
        f"    for item in {items}:\n        if not {test}:\n            return False\n"
        f"    return True\n"
    )


def string_tests(schema: Schema) -> list[str]:
    """What `value` must be beside a string."""
    if "enum" in schema and "pattern" in schema:
        raise Unsupported("enum beside pattern")
    if "enum" in schema:
        words = "".join(f"\n        {literal(word)}," for word in schema["enum"])
        return [f"value in {{{words}\n    }}"]
    return pattern_tests(schema["pattern"]) if "pattern" in schema else []


def pattern_tests(pattern: str) -> list[str]:
    """Translate ``^…$`` with characters and [classes] in between, one of them with a ``*``.

    With one ``*`` at most, everything before and after it has its place, and no search is needed.
    """
    if not (pattern.startswith("^") and pattern.endswith("$")):
        raise Unsupported(f"pattern {pattern} without ^ and $")
    atoms = parse(pattern[1:-1])
    stars = [index for index, atom in enumerate(atoms) if atom.star]
    if len(stars) > 1 or any(atom.negated and not atom.star for atom in atoms):
        raise Unsupported(f"pattern {pattern}: one *, and [^…] with it alone")
    front = stars[0] if stars else len(atoms)
    tail = len(atoms) - front - 1 if stars else 0
    tests = []
    if front + tail or not stars:
        tests.append(f"len(value) {'>=' if stars else '=='} {front + tail}")
    tests += [f"value[{at}] in {literal(atoms[at].chars)}" for at in range(front)]
    tests += [f"value[-{back}] in {literal(atoms[-back].chars)}" for back in range(tail, 0, -1)]
    if stars:
        start, end = front or "", f"-{tail}" if tail else ""
        middle = f"value[{start}:{end}]" if front or tail else "value"
        chars = atoms[front].chars
        if atoms[front].negated:
            tests += [f"{literal(char)} not in {middle}" for char in chars]
        else:
            tests.append(f"not {middle}.strip({literal(chars)})")
    return tests


class Atom(NamedTuple):
    """One character or [class] of a pattern."""

    chars: str
    negated: bool
    star: bool


def parse(pattern: str) -> list[Atom]:
    """Cut the inside of a pattern into its atoms."""
    atoms = []
    while pattern:
        if pattern[0] == "[":
            inside, _, pattern = pattern[1:].partition("]")
            negated = inside.startswith("^")
            chars = spread(inside.removeprefix("^"))
        elif pattern[0] in ".\\+*?(){}|^$":
            raise Unsupported(f"pattern with {pattern[0]}")
        else:
            chars, negated, pattern = pattern[0], False, pattern[1:]
        atoms.append(Atom(chars, negated, pattern.startswith("*")))
        pattern = pattern.removeprefix("*")
    return atoms


def spread(inside: str) -> str:
    """Write the ranges of a class out: ``1-4x-`` is ``1234x-``."""
    if "\\" in inside:
        raise Unsupported(f"class [{inside}] with a backslash")
    chars = ""
    while inside:
        if len(inside) > 2 and inside[1] == "-":
            chars += "".join(map(chr, range(ord(inside[0]), ord(inside[2]) + 1)))
            inside = inside[3:]
        else:
            chars, inside = chars + inside[0], inside[1:]
    return chars


def literal(text: str) -> str:
    """A string literal; JSON's are Python's too, as long as they stay below U+FFFF."""
    return json.dumps(text)


def main(arguments: list[str]) -> int:
    """The command: write accept.py, or with ``--check`` compare it."""
    with open(SCHEMA, encoding="utf-8") as file:
        wanted = Compiler(json.load(file)).module()
    if arguments == ["--check"]:
        with open(OUTPUT, encoding="utf-8") as file:
            fresh = file.read() == wanted
        if not fresh:
            print("accept.py is stale: run python -m libcontainer_py.spec.compile", file=sys.stderr)
        return 0 if fresh else 1
    if arguments:
        print("usage: python -m libcontainer_py.spec.compile [--check]", file=sys.stderr)
        return 2
    with open(OUTPUT, "w", encoding="utf-8") as file:
        file.write(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
