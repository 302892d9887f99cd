"""The options of the virtual machine's lane."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where tests/vm is named on the command line; elsewhere the lane uses its defaults."""
    group = parser.getgroup("vm", "tests in a virtual machine")
    group.addoption("--selftest", action="store_true", help="run one false test inside")
    group.addoption("--user", action="store_true", help="as a user, in a systemd session")
    group.addoption(
        "--inside",
        action="append",
        default=[],
        metavar="WORD",
        help="a word for the pytest inside, in place of the lane's own choice of tests",
    )
