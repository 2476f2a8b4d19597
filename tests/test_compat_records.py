"""The table of compatibility is what the run showed: a row without a test fails the build, an open one is printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "compatibility.py"
KINDS = (
    "endpoint", "kind of key", "curve", "signature algorithm", "form of a signature", "cipher", "wrap method",
    "address format", "digest of an approver",
)  # fmt: skip


def record(name: str, outcome: str = "passed", expected: str = "works") -> dict[str, Any]:
    return {"kind": "cipher", "name": name, "expected": expected, "note": "", "outcome": outcome, "test": "test_it"}


class Page:
    """A page of its own, with two ciphers, one of them open.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self.page, self.rows, self.records = folder / "page.md", folder / "rows.yaml", folder / "records.json"
        self.page.write_text("By hand.\n")
        rows: dict[str, Any] = {kind: [] for kind in KINDS} | {
            "cipher": ["AES", "ROT13"],
            "open": {"cipher": ["ROT13"]},
        }
        self.rows.write_text(json.dumps(rows))

    def __call__(self, what: str, *records: dict[str, Any]) -> tuple[int, str]:
        """Write or check; exit status, and what was said."""
        self.records.write_text(json.dumps(records))
        words = [str(word) for word in (sys.executable, SCRIPT, self.records, "--rows", self.rows, what, self.page)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr


@pytest.fixture
def page(tmp_path: Path) -> Page:
    """A page that shows the rows."""
    made = Page(tmp_path)
    assert made("--write", record("AES")) == (0, "open: cipher ROT13\n")
    return made


def test_what_was_shown_stands_behind_what_is_written_by_hand(page: Page) -> None:
    text = page.page.read_text()
    assert text.startswith("By hand.\n<!--")
    assert "| `AES` | works |  |\n| `ROT13` | open |  |\n" in text
    assert page("--check", record("AES"))[0] == 0
    page.page.write_text(text.replace("By hand", "Mended by hand"))
    assert page("--check", record("AES"))[0] == 0


def test_a_row_without_a_test_fails(page: Page) -> None:
    status, said = page("--check")
    assert status == 1
    assert "no test shows cipher AES" in said


def test_a_row_that_is_not_green_fails(page: Page) -> None:
    status, said = page("--check", record("AES", "failed"))
    assert status == 1
    assert "not green: cipher AES by test_it" in said


def test_another_outcome_than_on_the_page_fails(page: Page) -> None:
    status, said = page("--check", record("AES", expected="refused by name"))
    assert status == 1
    assert "-| `AES` | works |  |\n+| `AES` | refused by name |  |" in said
    status, said = page("--check", record("AES"), record("AES", expected="refused by name"))
    assert status == 1
    assert "two tests differ about cipher AES" in said


def test_an_open_row_that_works_is_named(page: Page) -> None:
    said = page("--check", record("AES"), record("ROT13"))[1]
    assert said == "open: cipher ROT13 (works now: take it out of `open`)\n"
    assert page("--check", record("AES"), record("ROT13", "failed"))[0] == 0


def test_nothing_is_written_of_a_run_that_is_not_whole(page: Page) -> None:
    before = page.page.read_text()
    assert page("--write")[0] == 1
    assert page.page.read_text() == before
