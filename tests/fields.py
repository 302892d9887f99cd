"""With which fields of config.json the tests have made containers: a record, for docs/fields.md.

`watch` has the library write down each container that was made, and each second process, with the
fields that say something else than the default config; tests/lcpy_audited.py calls it, and the
tests' own process. `Recorder` is a plugin that adds up what the tests did that passed, also in a
virtual machine, in build/fields.json. Engines, and users who are not root, are not watched.
"""

import contextlib
import fcntl
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
RECORD = CHECKOUT / "build/fields.json"  # place -> test -> fields
SCHEMA: dict[str, Any] = json.loads((CHECKOUT / "spec/schema/config.json").read_text())
# The name of a file that gets a line for each container: a list of fields.
VARIABLE = "LCPY_TEST_FIELDS"


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


# --- what the library does --------------------------------------------------------------------


def _watched(function: Callable[..., Any], config_of: Callable[[Any], Any]) -> Callable[..., Any]:
    from libcontainer_py.spec.default import default

    config = default()
    config["process"]["terminal"] = False  # as in nearly all tests
    usual = {*values(config)}

    @functools.wraps(function)
    def watching(root: str, container_id: str, what: Any, options: Any) -> Any:
        made = function(root, container_id, what, options)
        # Root of a user namespace, to whom the file does not belong, is not to fail by that.
        with contextlib.suppress(OSError):
            unusual = {field for field, _ in {*values(config_of(what))} - usual}
            with open(os.environ.get(VARIABLE, os.devnull), "a", encoding="utf-8") as file:
                file.write(json.dumps(sorted(unusual)) + "\n")
        return made

    return watching


def _of_bundle(bundle: str) -> Any:
    return json.loads(Path(bundle, "config.json").read_bytes())


def _of_process(process: Any) -> Any:
    return {"process": process}


def watch() -> None:
    """From now on each container that this process makes is written down."""
    from libcontainer_py.namespaces import exec as birth
    from libcontainer_py.namespaces import execin, launcher

    birth.exec_ = _watched(birth.exec_, _of_bundle)
    launcher.launch = _watched(launcher.launch, _of_bundle)
    execin.exec_in = _watched(execin.exec_in, _of_process)
    launcher.launch_in = _watched(launcher.launch_in, _of_process)


# --- what the tests did -----------------------------------------------------------------------


class Recorder:
    """The plugin of pytest."""

    def __init__(self) -> None:
        self._file = Path(tempfile.mkdtemp(prefix="lcpy-test-fields-"), "made")
        os.environ[VARIABLE] = str(self._file)
        self._passed: set[str] = set()
        self._proven: dict[str, dict[str, list[str]]] = {}
        watch()

    def pytest_runtest_teardown(self, item: "pytest.Item") -> None:
        """Give the test's last report what it made; that goes with it out of a machine, too."""
        if self._file.exists():
            made = {field for line in self._file.open() for field in json.loads(line)}
            self._file.unlink()
            item.user_properties.append(("fields", sorted(made)))

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
