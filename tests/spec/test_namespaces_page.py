"""docs/namespaces.md says what becomes of every kind of namespace; this looks again."""

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import CHECKOUT, PREFIX

if TYPE_CHECKING:
    from tests.conftest import Lcpy


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that the root of every user namespace can reach (pytest's own is root's)."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        Path(name).chmod(0o711)
        (Path(name) / "page").mkdir()
        yield Path(name) / "page"


def writer() -> Any:
    """The module that writes the page."""
    spec = importlib.util.spec_from_file_location("page", CHECKOUT / "docs/namespaces.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.timeout(240)
def test_the_page_of_namespaces_is_true(lcpy: "Lcpy", directory: Path) -> None:
    """Each kind, by none, new and joined, with and without a new user namespace, and together."""
    module = writer()
    seen = module.page(lcpy.argv(), directory)
    assert "WRONG" not in seen
    assert seen == module.PAGE.read_text(), "stale: run python docs/namespaces.py --write"
