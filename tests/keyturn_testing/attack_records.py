"""A plugin of the test run: collects what became of every line of the table of attacks.

A test that shows a line carries `pytest.mark.attack(subject=…, attack=…, refused=…, rule=…)`; where the attack was made
on several kinds of keys, `keys={kind: outcome}` stands in the place of `refused`. With
`--attack-records FILE` the run writes one record for each such test into a file, and with `--attack-page PAGE` it fails
when the page is not what `scripts/attacks.py` makes of these records, or when a line is not green. Both are given where
the whole suite runs; a part of it neither writes nor fails. Works with several processes (xdist): records travel in
the reports' user properties, and only the process that receives all reports writes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

PROPERTY: Final = "attack"
SCRIPT: Final = Path(__file__).parent.parent.parent / "scripts" / "attacks.py"
_WORSE: Final = {"passed": 0, "skipped": 1, "failed": 2}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add both options."""
    group = parser.getgroup("attacks", "the table of attacks")
    group.addoption("--attack-records", metavar="FILE", help="write what became of every line of the table of attacks")
    group.addoption("--attack-page", metavar="PAGE", help="fail unless this page is made of these records")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to collect, in the process that receives all reports."""
    if config.getoption("--attack-records") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Collector(config), "attack-collector")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test's reports the record of its line; the outcome is added where they arrive."""
    for mark in item.iter_markers("attack"):
        item.user_properties.append((PROPERTY, _record(item, mark.kwargs)))


def _record(item: pytest.Item, line: Mapping[str, Any]) -> dict[str, Any]:
    answers = {"keys"} if "keys" in line else {"refused"}
    if set(line) - {"profile"} != {"subject", "attack", "rule"} | answers:
        raise pytest.UsageError(f"{item.nodeid}: an attack has subject, attack, refused and rule")
    callspec = getattr(item, "callspec", None)
    parameters = {} if callspec is None else callspec.params
    _, number, _ = item.location
    return {
        **line,
        "profile": line.get("profile", parameters.get("profile", "")),
        "test": item.nodeid,
        "place": [item.nodeid.split("::")[0], number or 0, _position(item)],
    }


def _position(item: pytest.Item) -> int:
    """The test's place among all tests as they stand in the files."""
    count = getattr(item.session, "_attacks_seen", 0) + 1
    item.session._attacks_seen = count  # type: ignore[attr-defined]  # A counter that ends with the session.
    return count


class _Collector:
    """Keeps the worst outcome of every record.

    Args:
        config: For the options.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._records_file = Path(config.getoption("--attack-records"))
        self._page: str | None = config.getoption("--attack-page")
        self._records: dict[tuple[str, str], dict[str, Any]] = {}
        self._complaint = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name != PROPERTY or not isinstance(value, dict):
                continue
            # What xdist adds to the name of a test says where it ran, not what it is.
            record = {**value, "test": report.nodeid.rsplit("@", 1)[0], "outcome": "passed"}
            key = (record["test"], record["attack"])
            known = self._records.setdefault(key, record)
            if _WORSE[report.outcome] > _WORSE[known["outcome"]]:
                known["outcome"] = report.outcome

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        records = sorted(self._records.values(), key=lambda record: (record["place"], record["profile"]))
        self._records_file.parent.mkdir(parents=True, exist_ok=True)
        self._records_file.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
        if self._page is None:
            return
        words = [sys.executable, str(SCRIPT), str(self._records_file), "--check", self._page]
        checked = subprocess.run(words, capture_output=True, text=True, check=False)
        if checked.returncode:
            self._complaint = checked.stderr
            if session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._complaint:
            terminalreporter.section("table of attacks", red=True)
            terminalreporter.write(self._complaint)
