"""Say everything that is wrong with a config.json that does not fit the schema.

jsonschema is the authority here; accept.py is only faster at saying yes. Two things are not as
JSON Schema has them:

- ``1.0`` is no integer. JSON Schema calls it one since draft 6; Go's decoder, and with it runc,
  refuses it, and so does the official schema, which is draft 4.
- ``$`` in a pattern is the end of the string. Python's also lets a last newline through.
"""

import os
import re

import jsonschema

from libcontainer_py import jsontext
from libcontainer_py.errors import ConfigError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

MOST = 5  # errors in one message
NOUNS = {
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "integer": "an integer",
    "boolean": "true or false",
}


def reject(config: "Any") -> None:
    """Raise what is wrong with a config, or return if it fits after all.

    Raises:
        ConfigError: the errors, joined by ``; `` on one line; `field` is that of the first
    """
    found: dict[str, str] = {}
    for error in validator().iter_errors(config):
        for field, message in explain(error):
            found.setdefault(field, message)
    if not found:
        return
    (first, message), *others = found.items()
    parts = [message, *(f"{field}: {text}" for field, text in others[: MOST - 1])]
    if len(found) > MOST:
        parts.append(f"and {len(found) - MOST} more")
    raise ConfigError("; ".join(parts), first)


def validator() -> "Validator":
    """Our schema, for jsonschema."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "schema", "config.json")
    with open(path, encoding="utf-8") as file:
        schema = jsontext.loads(file.read())
    base = jsonschema.Draft202012Validator
    types = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    extend: Any = jsonschema.validators.extend  # it has no types
    validator: Validator = extend(base, {"pattern": _pattern}, type_checker=types)(schema)
    return validator


def _pattern(
    _validator: "Validator", pattern: str, value: "Any", _schema: "Any"
) -> "Iterator[ValidationError]":
    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), value):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


def explain(error: "ValidationError") -> "Iterator[tuple[str, str]]":
    """An error of jsonschema's as field and message; several, where several are missing."""
    keyword, value = error.validator, error.instance
    limit: Any = error.validator_value
    schema: Any = error.schema
    field = path(error.absolute_path)
    if keyword == "required":
        for name in limit:
            if isinstance(value, dict) and name not in value:
                yield path([*error.absolute_path, name]), "is required"
        return
    # The environment has secrets in it, and messages go to logs.
    shown = "it" if "env" in error.absolute_path else show(value)
    if keyword == "type":
        message = f"{shown} is not {NOUNS[limit]}"
    elif keyword == "enum":
        message = f"{shown} is not one of {', '.join(limit)}"
    elif keyword in ("minimum", "maximum"):
        message = f"{shown} is not between {schema['minimum']} and {schema['maximum']}"
    elif keyword == "minItems":
        message = "must not be empty"
    else:
        message = f"{shown} {schema['x-refusal']}"
    yield field or "config.json", message


def path(keys: "Iterable[str | int]") -> str:
    """A place in config.json: ``linux.namespaces[2].type``, ``linux.sysctl["net.core.x"]``."""
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
        elif key.isidentifier():
            text += f".{key}" if text else key
        else:
            text += f"[{quoted(key)}]"
    return text


def show(value: "Any") -> str:
    """A value of a config, short and on one line."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return jsontext.dumps(value)[:80]
