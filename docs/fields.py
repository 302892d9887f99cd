"""Write README's table of what works: from the schema, and from the commands.

python docs/fields.py            writes it
python docs/fields.py --check    exits with 1 where README says otherwise
"""

import json
import sys
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))

from libcontainer_py.cli.table import COMMANDS  # noqa: E402
from libcontainer_py.mount.options import known_options  # noqa: E402

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
# Which ask for nothing here: of another platform.
IDLE = ("process.commandLine",)
# What is to be said of one.
NOTES = {"linux.intelRdt": "tried on a stand-in"}
# What has a row of its own; a field in none of them is a row's own member.
SECTIONS = ("root", "process", "mounts[]", "hooks", "linux", "linux.resources")


def properties(schema: "dict[str, Any]", node: "dict[str, Any]") -> "dict[str, dict[str, Any]]":
    """The members that a part of the schema declares."""
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    if node.get("type") == "array":
        return properties(schema, node["items"])
    found: dict[str, dict[str, Any]] = node.get("properties", {})
    return found


def section(schema: "dict[str, Any]", name: str) -> "list[str]":
    """The members of a section that have no row of their own, as they are to be shown."""
    node: dict[str, Any] = schema
    for part in name.split(".") if name else ():
        node = properties(schema, node)[part.removesuffix("[]")]
    paths = {member: f"{name}.{member}" if name else member for member in properties(schema, node)}
    return [
        f"`{member}`" + (f" ({NOTES[path]})" if path in NOTES else "")
        for member, path in paths.items()
        if not {path, f"{path}[]"} & {*IDLE, *SECTIONS}
    ]


def words(names: "list[str]") -> str:
    return ", ".join(f"`{name}`" for name in names) or "-"


def table() -> str:
    schema = json.loads((TOP / "spec" / "schema" / "config.json").read_text())
    rows = ["| part of config.json | works |", "| --- | --- |"]
    for name in ("", *SECTIONS):
        works = ", ".join(section(schema, name))
        rows.append(f"| {f'`{name}`' if name else 'at its top'} | {works} |")
    kinds = schema["$defs"]["namespace"]["properties"]["type"]["enum"]
    rows.append(f"| kinds of `namespaces`, new and joined | {words(kinds)} |")
    rows.append(f"| `options` of mounts | {words(known_options())} |")
    rows += ["", "| command | flags |", "| --- | --- |"]
    for name, command in sorted(COMMANDS.items()):
        flags = [flag.names[0] for flag in command.flags if flag.key != "help"]
        rows.append(f"| `lcpy {name}` | {words(flags)} |")
    return "\n".join(rows)


def main() -> int:
    readme = TOP / "README.md"
    text = readme.read_text()
    before, _begin, rest = text.partition(BEGIN)
    _old, _end, after = rest.partition(END)
    new = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if "--check" in sys.argv[1:]:
        if new != text:
            print(
                "README.md: the table of what works is stale: run docs/fields.py", file=sys.stderr
            )
        return int(new != text)
    readme.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
