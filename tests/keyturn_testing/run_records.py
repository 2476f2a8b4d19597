"""Records of a test run of which a page is made, and the check that the page is made of them.

A plugin gives the reports of its tests records (`user_properties`); what is here collects them, adds what became of the
test, writes them into a file, and has a script compare them with the page. Works with several processes (xdist):
records travel in the reports, and only the process that receives all reports writes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_WORSE: Final = {"passed": 0, "skipped": 1, "failed": 2}


def place(item: pytest.Item) -> list[str | int]:
    """Where a test stands among all tests as they stand in the files."""
    count = getattr(item.session, "_records_seen", 0) + 1
    item.session._records_seen = count  # type: ignore[attr-defined]  # A counter that ends with the session.
    _, number, _ = item.location
    return [item.nodeid.split("::")[0], number or 0, count]


class Collector:
    """Keeps the worst outcome of every record.

    Args:
        name: Name of the user property that holds a record.
        identity: The member that tells a test's records apart.
        script: What makes the page, and compares it with `--check`.
        records_file: Where records are written.
        page: The page to compare; None leaves it.
        title: Title of the complaint.
    """

    def __init__(
        self, name: str, identity: str, script: Path, records_file: Path, page: str | None, title: str
    ) -> None:
        self._name = name
        self._identity = identity
        self._script = script
        self._records_file = records_file
        self._page = page
        self._title = title
        self._records: dict[tuple[str, str], dict[str, Any]] = {}
        self._complaint = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name != self._name or not isinstance(value, dict):
                continue
            # What xdist adds to the name of a test says where it ran, not what it is.
            record = {**value, "test": report.nodeid.rsplit("@", 1)[0], "outcome": "passed"}
            key = (record["test"], record[self._identity])
            known = self._records.setdefault(key, record)
            if _WORSE[report.outcome] > _WORSE[known["outcome"]]:
                known["outcome"] = report.outcome

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        records = sorted(self._records.values(), key=_order)
        self._records_file.parent.mkdir(parents=True, exist_ok=True)
        self._records_file.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
        if self._page is None:
            return
        words = [sys.executable, str(self._script), str(self._records_file), "--check", self._page]
        checked = subprocess.run(words, capture_output=True, text=True, check=False)
        self._complaint = checked.stderr
        if checked.returncode and session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._complaint:
            terminalreporter.section(self._title, red=True)
            terminalreporter.write(self._complaint)


def _order(record: dict[str, Any]) -> tuple[Sequence[Any], str]:
    return record["place"], record.get("profile", "")
