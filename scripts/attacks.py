"""Make docs/security/attacks.md of the records of a test run, or check that it is made of them.

    python scripts/attacks.py RECORDS > docs/security/attacks.md
    python scripts/attacks.py RECORDS --check docs/security/attacks.md

The page has no other source than these records: a line whose test is gone is gone, too, and then the check fails.
Lines under two users take root to be shown. Where the run had none, they count as they stand on the page.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

TWO_USERS: Final = "two users"
HEAD: Final = """# What a hostile broker tries, and what it hears

This page is made by `make attacks` from the records of a test run, and from nothing else; `make test` fails when it
differs from what its run recorded, or when a line is not green. In each line the test itself is the broker and talks to
the real HSM process over its socket. It does one thing that is wrong, is refused with the word given here, finds that
word in the decision log, and then sees the same message without the defect accepted.

Under *An approval means one thing* one attack is tried on three keys, and there **succeeds** stands where it does: what
a broker can do with keys as documented is not hidden on this page.

*Refused*, or *shown*, says where a line was shown: with broker and HSM under *one user*, as in the embedded default,
and under *two users* of one machine, which takes root. The answers of the kernel (`EACCES`, `EPERM`) are for a process
of the broker's user that goes for the HSM itself. *Rule* names a rule of [rules.md](rules.md), a decision of
[decisions.md](../decisions.md), a section of the wire format as the HSM enforces it, or a law of
[ARCHITECTURE.md](../../ARCHITECTURE.md).
"""
SUCCEEDS: Final = "succeeds"
NOTES: Final = {
    "An approval means one thing": """\
All officers approved in good faith, with programs that show them nothing. What they signed is presented for something
else, to a key as documented, to one with `boundApprovals`, and to one with `singleUse`. **succeeds**: the documented
format allows it, and keyturn does it. *The stored result*: nothing is executed; the answer is that of the first time.
The last lines are about those outside the HSM: an officer's client, and a broker to which a courier comes.
{open_ones} of the {all} attacks succeed on a key as documented; {left} on each of the three.
""",
}


@dataclass
class Row:
    """One line of the page.

    Args:
        attack: What was tried, in plain words.
        answers: The word of the refusal; one for each kind of key where there are several.
        rule: What it would have broken.
        profiles: Surroundings in which it was shown.
    """

    attack: str
    answers: dict[str, str]
    rule: str
    profiles: set[str] = field(default_factory=set)


def read_rows(records: Sequence[dict[str, Any]]) -> dict[str, list[Row]]:
    """Put records together, one row for each attack, by subject, in the order of the tests.

    Args:
        records: What `--attack-records` wrote.

    Returns:
        Rows by subject.
    """
    subjects: dict[str, dict[str, Row]] = {}
    for record in sorted(records, key=lambda one: one["place"]):
        rows = subjects.setdefault(record["subject"], {})
        answers = record.get("keys") or {"answer": record["refused"]}
        row = rows.setdefault(record["attack"], Row(record["attack"], answers, record["rule"]))
        row.profiles.add(record["profile"])
    return {subject: list(rows.values()) for subject, rows in subjects.items()}


def render(records: Sequence[dict[str, Any]]) -> str:
    """Make the page.

    Args:
        records: What `--attack-records` wrote.

    Returns:
        Markdown.
    """
    subjects = read_rows(records)
    count = sum(len(rows) for rows in subjects.values())
    parts = [HEAD, f"\n{count} attacks.\n"]
    for subject, rows in subjects.items():
        # Kinds of keys stand in one order in all rows of a subject; not every row has all of them.
        kinds = list(dict.fromkeys(kind for row in rows for kind in row.answers))
        where = "refused" if kinds == ["answer"] else "shown"
        parts.append(f"\n## {subject}\n\n{_note(subject, rows)}")
        parts.append(f"| attack | {' | '.join(kinds)} | rule | {where} |\n|{'---|' * (len(kinds) + 3)}\n")
        parts += [
            f"| {_cell(row.attack)} | {' | '.join(_words(row.answers.get(kind, '')) for kind in kinds)} "
            f"| {_cell(row.rule)} | {', '.join(sorted(row.profiles))} |\n"
            for row in rows
        ]
    return "".join(parts)


def _note(subject: str, rows: Sequence[Row]) -> str:
    if subject not in NOTES:
        return ""
    won = [[answer.startswith(SUCCEEDS) for answer in row.answers.values()] for row in rows]
    return NOTES[subject].format(open_ones=sum(one[0] for one in won), all=len(rows), left=sum(map(all, won))) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _words(answer: str) -> str:
    """Words of the HSM and the kernel as code; an attack that succeeds is not overlooked."""
    if answer.startswith(SUCCEEDS):
        return f"**{SUCCEEDS}**{answer.removeprefix(SUCCEEDS)}"
    return ", ".join(f"`{word}`" if " " not in word and word else word for word in answer.split(", "))


def complaints(records: Sequence[dict[str, Any]]) -> list[str]:
    """Say which lines are not green, or stand twice.

    Args:
        records: What `--attack-records` wrote.

    Returns:
        A sentence for each.
    """
    found = [
        f"not green: {record['attack']!r} ({record['outcome']}) by {record['test']}"
        for record in records
        if record["outcome"] != "passed" and not (record["outcome"] == "skipped" and record["profile"] == TWO_USERS)
    ]
    counts = Counter((record["subject"], record["attack"], record["profile"]) for record in records)
    twice = [place for place, number in counts.items() if number > 1]
    return found + [f"stands twice: {attack!r} under {subject!r}" for subject, attack, _ in twice]


def check(records: Sequence[dict[str, Any]], page: Path) -> str:
    """Compare the page with the records.

    Args:
        records: What `--attack-records` wrote.
        page: The page.

    Returns:
        What is wrong; empty if nothing is.
    """
    wrong = complaints(records)
    wanted = render(records)
    actual = page.read_text(encoding="utf-8") if page.exists() else ""
    if actual != wanted:
        wrong.append(f"{page} is not what this run showed; look at the difference, then `make attacks`:")
        lines = difflib.unified_diff(actual.splitlines(), wanted.splitlines(), "the page", "this run", lineterm="", n=0)
        wrong += list(lines)
    return "".join(f"{line}\n" for line in wrong)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        words: Its arguments, those of the process if None.

    Returns:
        Exit status: 1 when something is wrong.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("records", type=Path)
    parser.add_argument("--check", type=Path, metavar="PAGE")
    given = parser.parse_args(words)
    records: list[dict[str, Any]] = json.loads(given.records.read_text(encoding="utf-8"))
    wrong = "".join(f"{line}\n" for line in complaints(records))
    if given.check is not None:
        wrong = check(records, given.check)
    elif not wrong:
        sys.stdout.write(render(records))
    sys.stderr.write(wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
