"""spec/compile.py: accept.py is fresh, and what can't be translated is not passed over."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from libcontainer_py.spec import accept, compile


def test_accept_py_is_fresh() -> None:
    assert compile.main(["--check"]) == 0


def test_a_stale_accept_py_is_told_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "accept.py"
    output.write_text("# old\n")
    monkeypatch.setattr(compile, "OUTPUT", str(output))
    assert compile.main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert output.read_text() == "# old\n"
    assert compile.main([]) == 0
    assert compile.main(["--check"]) == 0
    assert output.read_text() == Path(accept.__file__).read_text()
    assert compile.main(["--chekc"]) == 2


def compiled(schema: dict[str, Any]) -> Callable[[Any], bool]:
    """The function for a schema that is one string property's."""
    whole = {"type": "object", "properties": {"it": schema}, "$defs": {}}
    names: dict[str, Any] = {}
    exec(compile.Compiler(whole).module(), names)
    return lambda value: bool(names["accept"]({"it": value}))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "uri"},
        {"type": "string", "minLength": 1},
        {"type": "number"},
        {"type": ["string", "null"]},
        {},
        {"$ref": "#/$defs/none"},
        {"$ref": "other.json"},
        {"anyOf": [{"type": "string"}]},
        {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {}, "required": ["a"]},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        {"type": "string", "pattern": "^a$", "enum": ["a"]},
        *(
            {"type": "string", "pattern": pattern}
            for pattern in ("a", "^a", "^a+$", "^(a)$", "^a|b$", "^a*b*$", "^[^a]$", "^\\d$", "^.$")
        ),
    ],
    ids=str,
)
def test_what_it_does_not_know_stops_it(schema: dict[str, Any]) -> None:
    with pytest.raises(compile.Unsupported):
        compiled(schema)


@pytest.mark.parametrize(
    "pattern",
    ["^$", "^ab$", "^[a-c]$", "^a*$", "^[^a]*$", "^b[a-]*$", "^[ab]a*b[c]$", "^aa*a$", "^a[^bc]*$"],
)
def test_patterns_mean_what_they_mean_to_re(pattern: str) -> None:
    fits = compiled({"type": "string", "pattern": pattern})
    words = [""]
    for _ in range(4):
        words += [word + char for word in words for char in "abc-\n"]
    for word in set(words):
        assert fits(word) == bool(re.fullmatch(pattern[1:-1], word)), word


def test_accept_py_imports_nothing() -> None:
    source = Path(accept.__file__).read_text()
    imports = [line.strip() for line in source.splitlines() if "import" in line]
    assert imports == ["from typing import Any"]
    assert sys.getsizeof(source) < 100_000
