"""What runs inside the machine: a pytest for each processor, and a plugin that writes down results.

``python -m tests.vm.inside WORD ...`` gives the words to each pytest, which takes its share of the
tests. Each appends to a file of its own, ``reports.N`` on the share; a line is a JSON object with
one member: ``start`` (a test's name), ``report`` (a report as pytest serializes it), ``collect``
(why a file could not be collected) or ``finish`` (how many tests this one had). `test_vm.py` reads
them as they grow.
"""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

SHARE = "/mnt/host"
# A test may take this long in here; outside it is 120.
SECONDS_EACH = 600
MINE, ALL = (int(word) for word in os.environ.get("LCPY_VM_PART", "0 1").split())


def main(words: list[str]) -> int:
    """Run the tests, and return the exit code of a pytest that failed, or 0."""
    count = os.cpu_count() or 1
    argv = [sys.executable, "-m", "pytest", "-p", __spec__.name, f"--timeout={SECONDS_EACH}"]
    parts = [
        subprocess.Popen(
            [*argv, "--tb=short", *words], env={**os.environ, "LCPY_VM_PART": f"{part} {count}"}
        )
        for part in range(count)
    ]
    codes = {process.wait() for process in parts}
    codes -= {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    return max(map(abs, codes), default=0)


class Writer:
    """Writes what happens to this part's file."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def _write(self, **line: Any) -> None:
        with open(f"{SHARE}/reports.{MINE}", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write(start=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook
        self._write(report=hook.pytest_report_to_serializable(config=self._config, report=report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write(collect=f"{report.nodeid}:\n{report.longreprtext}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._write(finish=session.testscollected)


def pytest_configure(config: pytest.Config) -> None:
    """Begin to write."""
    config.pluginmanager.register(Writer(config), "lcpy-vm-writer")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to the others what is theirs: in turn, because the slow ones stand together."""
    others = [item for number, item in enumerate(items) if number % ALL != MINE]
    items[:] = items[MINE::ALL]
    config.hook.pytest_deselected(items=others)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
