"""Our other tests, inside a machine with cgroup v2, systemd and AppArmor: each a line of this run.

The pytest inside writes down how each test ended (`inside.py`); this one hands its reports on as
its own, as they come, under names that begin with the machine's. A test that is skipped
there for a reason that is not in ``allowed_skips.txt`` has failed.

This lane keeps both processors busy: it never runs beside a benchmark, or a test of a race.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.vm import machine

HERE = Path(__file__).resolve().parent

# What is run where nothing is chosen: on one release what depends on cgroups, on who is init and on
# security modules, and as a user in a session of his own, what his systemd does for him; on the
# other, whose Python, kernel and systemd are newer, what depends on these.
# Left out are words, help, installation, readiness and the stand-in for resctrl, which are the same
# everywhere, and what takes minutes (the page of namespaces, the library's face of what the command
# does, and of the command `exec`, `run` and terminals, beside `spec/`): all would take an hour.
CHOSEN = {
    "bookworm": """
        tests/spec tests/cli tests/attacks/test_from_inside.py tests/attacks/test_labels.py
        tests/isolation/test_cgroups_v2.py tests/isolation/test_cgroups_running.py
        tests/isolation/test_cgroups_systemd.py tests/isolation/test_mount_cgroup.py
        tests/engines/test_on_systemd.py tests/engines/test_cri_on_systemd.py
        tests/engines/test_rootless_on_systemd.py tests/engines/test_units.py
        --ignore=tests/cli/test_completion.py --ignore=tests/cli/test_features.py
        --ignore=tests/cli/test_globals.py --ignore=tests/cli/test_help.py
        --ignore=tests/cli/test_imports.py --ignore=tests/cli/test_install.py
        --ignore=tests/cli/test_library.py --ignore=tests/cli/test_library_exec.py
        --ignore=tests/cli/test_list.py --ignore=tests/cli/test_record.py
        --ignore=tests/cli/test_schemas.py --ignore=tests/cli/test_words.py
        --ignore=tests/spec/test_namespaces_page.py --ignore=tests/spec/test_intelrdt.py
        --ignore=tests/cli/test_notify.py --ignore=tests/cli/test_exec.py
        --ignore=tests/cli/test_run.py --ignore=tests/cli/test_terminal.py
    """,
    "bookworm-user": """
        tests/isolation/test_cgroups_systemd.py tests/spec/test_rootless_ids.py
    """,
    "trixie": """
        tests/unit tests/isolation/test_cgroups_v2.py tests/isolation/test_cgroups_systemd.py
        tests/isolation/test_joins.py tests/isolation/test_mount_userns.py
        tests/cli/test_imports.py tests/cli/test_audited.py tests/cli/test_life.py
        tests/spec/test_apparmor.py tests/spec/test_rootless.py
        tests/attacks/test_trap_rootfs.py
        --deselect=tests/unit/spec/test_schema.py::test_accept_and_jsonschema_agree_on_each_value_everywhere
    """,
}
SECONDS = 2700  # on two cores the longest takes less than half of it


def allowed_skips() -> set[str]:
    """The reasons for which a test may be skipped in there."""
    lines = (HERE / "allowed_skips.txt").read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


class Reports:
    """Hands on what the pytest inside reports."""

    def __init__(self, config: pytest.Config, place: str) -> None:
        self._config = config
        self._place = place
        self._allowed = allowed_skips()
        self._read: dict[Path, int] = {}
        self.running: dict[Path, str] = {}
        self.failed = False
        self.seen: set[str] = set()
        self.collected: dict[Path, int] = {}
        self.uncollected: list[str] = []

    def __call__(self, share: Path) -> None:
        """Read the lines that are new, and whole."""
        for path in sorted(share.glob("reports.*")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                lines = file.read().splitlines(keepends=True)
            for line in lines:
                if line.endswith(b"\n"):
                    self._read[path] = self._read.get(path, 0) + len(line)
                    self._take(path, **json.loads(line))

    def _take(
        self,
        path: Path,
        start: str | None = None,
        report: dict[str, Any] | None = None,
        collect: str | None = None,
        finish: int | None = None,
    ) -> None:
        if start is not None:
            self.running[path] = start
        elif report is not None:
            self._hand_on(report)
        elif collect is not None:
            self.uncollected.append(collect)
        elif finish is not None:
            self.collected[path] = finish

    def _hand_on(self, data: dict[str, Any]) -> None:
        hook = self._config.hook
        report = hook.pytest_report_from_serializable(config=self._config, data=data)
        self.seen.add(report.nodeid)
        file, line, name = report.location
        report.nodeid = f"{self._place}/{report.nodeid}"
        report.location = (f"{self._place}/{file}", line, f"{self._place}: {name}")
        if report.skipped:
            report.longrepr = tuple(report.longrepr)  # JSON made a list of it
            reason = report.longrepr[2].removeprefix("Skipped: ")
            report.judged = True  # for tests/conftest.py: a user's run skips what root's may not
            if reason not in self._allowed:
                report.outcome = "failed"
                report.longrepr = f"skipped, and not in tests/vm/allowed_skips.txt: {reason}"
        self.failed |= report.failed
        hook.pytest_runtest_logreport(report=report)


def run_inside(
    capfd: pytest.CaptureFixture[str], config: pytest.Config, place: str, words: list[str]
) -> None:
    """Run pytest with the words in a machine; fail unless every test of it was heard of."""
    release, _dash, user = place.partition("-")
    reports = Reports(config, place)
    said: list[str] = []

    def watch(share: Path) -> None:
        reports(share)
        out = [share / name for name in ("out", "err")]
        said[:] = [file.read_text(errors="backslashreplace") for file in out if file.exists()]

    command = ["python", "-m", "tests.vm.inside", *words]
    try:
        with capfd.disabled():  # what is reported meanwhile is not this test's own output
            code = machine.run(
                command, release=release, user=bool(user), seconds=SECONDS, watch=watch
            )
    except machine.MachineError as error:
        running = "\n".join(reports.running.values())
        pytest.fail(f"{error}\n--- the last tests that began:\n{running}", pytrace=False)
    last = f"exit code {code} inside:\n" + "".join(text[-3000:] for text in said)
    if reports.uncollected:
        pytest.fail("\n".join(sorted(set(reports.uncollected))), pytrace=False)
    if not reports.seen:
        pytest.fail(f"no test was run; {last}", pytrace=False)
    collected = sum(reports.collected.values())
    if len(reports.seen) != collected:
        pytest.fail(f"of {collected} tests {len(reports.seen)} reported; {last}", pytrace=False)
    if code and not reports.failed:
        pytest.fail(f"no test failed, but: {last}", pytrace=False)


def places(config: pytest.Config) -> list[str]:
    """One machine for what somebody has chosen; for the lane's own choice, each."""
    if config.getoption("inside", []) or config.getoption("selftest", False):
        return [machine.RELEASE + ("-user" if config.getoption("user", False) else "")]
    return list(CHOSEN)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each machine."""
    metafunc.parametrize("place", places(metafunc.config))


@pytest.mark.timeout(machine.SECONDS_TO_BOOT + SECONDS + 600)  # with an image to build
def test_inside(place: str, pytestconfig: pytest.Config, capfd: pytest.CaptureFixture[str]) -> None:
    """The machine came up, and every test in there was run to its end and is reported above."""
    words = list(pytestconfig.getoption("inside", []))
    if pytestconfig.getoption("selftest", False):
        words = ["tests/vm/selftest.py"]
    elif not words or words[0].startswith("-"):
        words = [*CHOSEN[place].split(), *words]
    run_inside(capfd, pytestconfig, place, words)
