"""The table of attacks is what the run showed: a line without a test, or one that is not green, fails the build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts/attacks.py"
PAGE = ROOT / "docs/security/attacks.md"

IN_TWO = ("-p", "xdist", "-n", "2", "--dist", "loadgroup")

TWO_LINES = """
import pytest

def attack(name, **more):
    return pytest.mark.attack(subject="Doors", attack=name, refused="door.closed", rule="R3", **more)

@attack("Knock")
def test_knock(): pass

@pytest.mark.parametrize("profile", ["one user", "two users"])
@attack("Push | pull")
def test_push(profile): pass
"""
SKIPPED = """
@pytest.mark.skip(reason="no root")
@attack("Climb in", profile="two users")
def test_climb(): pass
"""


class Run:
    """A test run of its own, with the plugin and a page.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.page, self.records = folder / "attacks.md", folder / "made" / "attacks.json"
        (folder / "pytest.ini").write_text(
            f"[pytest]\npythonpath = {ROOT / 'tests'}\nmarkers =\n    attack\n    xdist_group\n"
        )
        (folder / "conftest.py").write_text("pytest_plugins = ['keyturn_testing.attack_records']\n")

    def __call__(self, source: str, *options: str) -> tuple[int, str]:
        """Run these tests against the page; exit status, and what was said."""
        (self.folder / "test_lines.py").write_text(source)
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
        # Of the plugins only what is asked for: most of the time would go into loading them.
        environment = {"PATH": os.environ["PATH"], "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def check(self, source: str, *options: str) -> tuple[int, str]:
        """The same, and the page must be what the run showed."""
        return self(source, "--attack-records", str(self.records), "--attack-page", str(self.page), *options)

    def render(self) -> None:
        """Make the page of the records."""
        words = [sys.executable, str(SCRIPT), str(self.records)]
        self.page.write_text(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose page shows both lines."""
    made = Run(tmp_path)
    status, said = made(TWO_LINES, "--attack-records", str(made.records))
    assert status == 0, said
    made.render()
    return made


def test_the_page_is_made_of_the_records_and_the_same_run_is_content_with_it(run: Run) -> None:
    assert "| Knock | `door.closed` | R3 |" in run.page.read_text()
    assert "| Push \\| pull | `door.closed` | R3 | one user, two users |" in run.page.read_text()
    assert run.check(TWO_LINES)[0] == 0
    first = json.loads(run.records.read_text())[0]
    assert (first["attack"], first["outcome"], first["test"]) == ("Knock", "passed", "test_lines.py::test_knock")


def test_a_deleted_test_removes_its_line_and_fails_the_build(run: Run) -> None:
    status, said = run.check(TWO_LINES.replace('@attack("Knock")\ndef test_knock(): pass', ""))
    assert status == 1
    assert "-| Knock | `door.closed` | R3 |" in said
    # A test that is there, but not run, has shown nothing either.
    assert run.check(TWO_LINES, "-k", "push")[0] == 1
    # A run of a part alone is not measured by the page.
    assert run(TWO_LINES, "-k", "push")[0] == 0


def test_a_line_that_is_not_green_fails_the_build_and_makes_no_page(run: Run) -> None:
    status, said = run.check(TWO_LINES.replace("test_knock(): pass", "test_knock(): assert 0"))
    assert status == 1
    assert "not green: 'Knock' (failed)" in said
    made = subprocess.run([sys.executable, str(SCRIPT), str(run.records)], capture_output=True, text=True, check=False)
    assert (made.returncode, made.stdout) == (1, "")
    status, said = run.check(TWO_LINES.replace("test_knock(): pass", "test_knock(): pytest.skip('tired')"))
    assert status == 1
    assert "not green: 'Knock' (skipped)" in said


def test_a_new_line_must_be_written_into_the_page(run: Run) -> None:
    status, said = run.check(TWO_LINES + '\n@attack("Kick")\ndef test_kick(): pass\n')
    assert status == 1
    assert "+| Kick | `door.closed` | R3 |" in said


def test_a_line_that_takes_root_does_not_fail_where_there_is_none(run: Run) -> None:
    assert run(TWO_LINES + SKIPPED.replace("@pytest.mark.skip", "#"), "--attack-records", str(run.records))[0] == 0
    run.render()
    assert run.check(TWO_LINES + SKIPPED)[0] == 0
    assert run.check(TWO_LINES)[0] == 1


def test_a_line_that_stands_twice_is_found(run: Run) -> None:
    status, said = run.check(TWO_LINES + '\n@attack("Knock")\ndef test_again(): pass\n')
    assert status == 1
    assert "stands twice: 'Knock'" in said


def test_with_several_processes_the_records_are_the_same(run: Run) -> None:
    assert run.check(TWO_LINES, *IN_TWO)[0] == 0
    grouped = TWO_LINES.replace("def test_knock", "@pytest.mark.xdist_group('g')\ndef test_knock")
    assert run.check(grouped, *IN_TWO)[0] == 0
    assert run.check(TWO_LINES.replace("test_knock", "knock"), *IN_TWO)[0] == 1


def test_the_makefile_measures_the_whole_run_by_the_committed_page() -> None:
    text = (ROOT / "Makefile").read_text()
    assert "--attack-page=docs/security/attacks.md" in text
    for target in ("test", "test-all"):
        recipe = text.split(f"\n{target}: ", 1)[1].split("\n\n", 1)[0]
        assert "$(ATTACKS)" in recipe
    assert PAGE.read_text().startswith("# What a hostile broker tries")


def test_an_attack_without_its_words_stops_the_collection(run: Run) -> None:
    broken: Any = TWO_LINES.replace('refused="door.closed", ', "")
    status, said = run(broken)
    assert status != 0
    assert "an attack has subject, attack, refused and rule" in said
