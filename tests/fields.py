"""With which fields of config.json the tests have made containers: a record, for docs/fields.md.

`tests/made.py` has the library write down each container that was made, and each second process.
`Recorder` is a plugin that adds up, in build/fields.json, which fields of theirs said something
else than the default config, for the tests that passed, also in a virtual machine. Engines, and
users who are not root, are not watched.
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from libcontainer_py.spec.default import default
from tests.made import VARIABLE, watch

if TYPE_CHECKING:
    import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
RECORD = CHECKOUT / "build/fields.json"  # place -> test -> fields
SCHEMA: dict[str, Any] = json.loads((CHECKOUT / "spec/schema/config.json").read_text())


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = SCHEMA["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def fields(node: dict[str, Any] = SCHEMA, path: str = "") -> Iterator[str]:
    """Every field that the schema has: ``linux.resources.memory.limit``, ``mounts[].type``."""
    node = _resolved(node)
    if "properties" in node:
        for name, below in node["properties"].items():
            yield from fields(below, f"{path}.{name}" if path else name)
    elif "properties" in _resolved(node.get("items", {})):
        yield from fields(node["items"], f"{path}[]")
    else:
        yield path


def values(value: Any, node: dict[str, Any] = SCHEMA, path: str = "") -> Iterator[tuple[str, str]]:
    """What a config says: each field that asks for something, and its value."""
    node = _resolved(node)
    if "properties" in node and isinstance(value, dict):
        for name, below in node["properties"].items():
            yield from values(value.get(name), below, f"{path}.{name}" if path else name)
    elif "properties" in _resolved(node.get("items", {})) and isinstance(value, list):
        for each in value:
            yield from values(each, node["items"], f"{path}[]")
    elif value not in (None, "", [], {}):
        yield path, json.dumps(value, sort_keys=True)


# --- what the tests did -----------------------------------------------------------------------


class Recorder:
    """The plugin of pytest."""

    def __init__(self) -> None:
        self._file = Path(tempfile.mkdtemp(prefix="lcpy-test-fields-"), "made")
        os.environ[VARIABLE] = str(self._file)
        config = default()
        config["process"]["terminal"] = False  # as in nearly all tests
        self._usual = {*values(config)}
        self._passed: set[str] = set()
        self._proven: dict[str, dict[str, list[str]]] = {}
        watch()

    def pytest_runtest_teardown(self, item: "pytest.Item") -> None:
        """Give the test's last report what it made; that goes with it out of a machine, too."""
        if self._file.exists():
            made = {value for line in self._file.open() for value in values(json.loads(line))}
            self._file.unlink()
            fields = {field for field, _ in made - self._usual}
            item.user_properties.append(("fields", sorted(fields)))

    def pytest_runtest_logreport(self, report: "pytest.TestReport") -> None:
        if report.when == "call" and report.passed:
            self._passed.add(report.nodeid)
        elif report.when == "teardown" and report.passed and report.nodeid in self._passed:
            place, _, name = f"/{report.nodeid}".rpartition("/tests/")
            for key, value in report.user_properties:
                if key == "fields":
                    assert isinstance(value, list)
                    self._proven.setdefault(place.lstrip("/") or "here", {})[name] = value

    def pytest_sessionfinish(self) -> None:
        """Add to the record: what was run now takes the place of what it did before."""
        shutil.rmtree(self._file.parent)
        if self._proven and "LCPY_VM_PART" not in os.environ:
            with contextlib.suppress(PermissionError):
                self._add()

    def _add(self) -> None:
        RECORD.parent.mkdir(exist_ok=True)
        with RECORD.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # other runs add to it, too
            file.seek(0)
            record = json.loads(file.read() or "{}")
            for place, tests in self._proven.items():
                record[place] = record.get(place, {}) | tests
            file.truncate(0)
            json.dump(record, file)
