"""docs/api.md and the code say the same."""

import inspect
import re
from pathlib import Path

import libcontainer_py
from libcontainer_py import errors

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def blocks() -> "dict[str, tuple[str, list[str]]]":
    """What the page declares: name -> (its bases or arguments, the lines of its members)."""
    declared: dict[str, tuple[str, list[str]]] = {}
    text = PAGE.read_text().replace("@classmethod\n    def ", "@classmethod def ")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)[1:]:
        for line in block.splitlines():
            if line.startswith("class "):
                head = re.fullmatch(r"class (\w+)(.*)", line)
                assert head
                declared[head[1]] = (head[2], [])
            elif line.startswith("    "):
                list(declared.values())[-1][1].append(line.strip())
            elif line:
                declared[line] = ("", [])
    return declared


def signature(function: object) -> str:
    """A signature as the page spells it: no self, no quotes round annotations."""
    text = str(inspect.signature(function)).replace("self, ", "").replace("(self)", "()")  # type: ignore[arg-type]
    for module in (
        "libcontainer_py.container.",
        "libcontainer_py.process.",
        "collections.abc.",
        "typing.",
    ):
        text = text.replace(module, "")
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)


def test_every_public_name_is_on_the_page() -> None:
    assert sorted(blocks()) == sorted(libcontainer_py.__all__)


def test_every_name_can_be_had() -> None:
    for name in libcontainer_py.__all__:
        assert getattr(libcontainer_py, name) is not None


def test_the_members_are_those_of_the_classes() -> None:
    for name, (_head, members) in blocks().items():
        value = getattr(libcontainer_py, name)
        if not inspect.isclass(value):
            continue
        methods = {
            ("@classmethod " if inspect.ismethod(member) else "") + f"def {key}{signature(member)}"
            for key, member in inspect.getmembers(value)
            if not key.startswith("_") and (inspect.isfunction(member) or inspect.ismethod(member))
        }
        written = {line for line in members if "def " in line}
        if issubclass(value, errors.Error):
            methods = set()  # of() and str() are not for callers
        assert written == methods, name


def test_the_attributes_exist() -> None:
    for name in ("Runtime", "Container", "Process", "Spec"):
        value = getattr(libcontainer_py, name)
        written = {line.split(":")[0] for line in blocks()[name][1] if "def " not in line}
        have = {
            key
            for key, member in inspect.getmembers(value)
            if not key.startswith("_") and not inspect.isroutine(member)
        }
        assert written == have, name


def test_errors_have_the_bases_and_attributes_that_are_written() -> None:
    for name, (head, members) in blocks().items():
        value = getattr(libcontainer_py, name)
        if not (inspect.isclass(value) and issubclass(value, Exception)):
            continue
        assert head == f"({', '.join(base.__name__ for base in value.__bases__)})"
        made = value("a message") if value is not errors.StepError else value("step", 1, "what")
        for line in members:
            assert hasattr(made, line.split(":")[0]), line


def test_a_constructor_is_written_with_its_arguments() -> None:
    for name in ("Runtime",):
        value = getattr(libcontainer_py, name)
        assert blocks()[name][0] == signature(value).removesuffix(" -> None")
