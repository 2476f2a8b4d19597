"""Make the second part of docs/compatibility.md of the records of a test run, or check that it is made of them.

    python scripts/compatibility.py RECORDS --write docs/compatibility.md
    python scripts/compatibility.py RECORDS --check docs/compatibility.md

The part behind `BEGIN` has no other source than these records and the list of documented rows, tests/compat/rows.yaml:
a row whose test is gone has no cell, and then the check fails. What stands before `BEGIN` is written by hand.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROWS: Final = Path(__file__).parent.parent / "tests" / "compat" / "rows.yaml"
BEGIN: Final = "<!-- From here on made by `make compatibility` -->\n"
HEAD: Final = """
## Endpoint by endpoint, algorithm by algorithm

This part is made by `make compatibility` from the records of a test run, and from nothing else; `make test` fails when
it differs from what its run recorded, or when a row has no record. Each row was shown on a real server with its HSM
process. *works*: it did what is documented. *refused by name*: the answer is an error that names what was asked for and
the reason; the part above says why.
"""
TITLES: Final = {
    "endpoint": "Endpoints",
    "kind of key": "Kinds of keys",
    "curve": "Curves",
    "signature algorithm": "Signature algorithms",
    "form of a signature": "Forms of signatures",
    "cipher": "Ciphers",
    "wrap method": "Wrap methods",
    "address format": "Formats of addresses",
    "digest of an approver": "Digests of approvers",
}
OPEN: Final = "open"

Rows = dict[str, Any]
Found = dict[tuple[str, str], list[dict[str, Any]]]


def gather(records: Sequence[dict[str, Any]]) -> Found:
    """Records by kind and name of their row."""
    found: Found = {}
    for record in records:
        found.setdefault((record["kind"], record["name"]), []).append(record)
    return found


def render(rows: Rows, found: Found) -> str:
    """Make the second part of the page.

    Args:
        rows: tests/compat/rows.yaml.
        found: The records.

    Returns:
        Markdown; a cell without a record says `?`, which `complaints` names, too.
    """
    parts = [BEGIN, HEAD]
    for kind, title in TITLES.items():
        cells = [(name, *_cell(kind, name, rows[OPEN], found)) for name in rows[kind]]
        sums = {word: sum(cell == word for _, cell, _ in cells) for word in dict.fromkeys(c for _, c, _ in cells)}
        counted = ", ".join(f"{count} {word}" for word, count in sums.items())
        parts.append(f"\n### {title}\n\n{len(cells)}: {counted}.\n\n| {kind} | | |\n|---|---|---|\n")
        parts += [f"| `{name}` | {cell} | {note} |\n" for name, cell, note in cells]
    return "".join(parts)


def _cell(kind: str, name: str, open_rows: Mapping[str, Sequence[str]], found: Found) -> tuple[str, str]:
    if name in (open_rows.get(kind) or ()):
        return OPEN, ""
    records = found.get((kind, name), [])
    outcomes = sorted({record["expected"] for record in records})
    notes = dict.fromkeys(record["note"] for record in records if record["note"])
    return " and ".join(outcomes) or "?", "; ".join(notes)


def complaints(rows: Rows, found: Found) -> list[str]:
    """Say which rows have no record, one that is not green, or two that differ.

    Args:
        rows: tests/compat/rows.yaml.
        found: The records.

    Returns:
        A sentence for each.
    """
    wrong = []
    for kind in TITLES:
        for name in rows[kind]:
            records = found.get((kind, name), [])
            if name in (rows[OPEN].get(kind) or ()):
                continue
            if not records:
                wrong.append(f"no test shows {kind} {name}; give one the mark `compatible`")
            wrong += [f"not green: {kind} {name} by {one['test']}" for one in records if one["outcome"] != "passed"]
            if len({one["expected"] for one in records}) > 1:
                wrong.append(f"two tests differ about {kind} {name}")
    return wrong


def still_open(rows: Rows, found: Found) -> list[str]:
    """Say which rows are open, and which of them could be closed."""
    said = []
    for kind, names in rows[OPEN].items():
        for name in names or ():
            records = found.get((kind, name), [])
            done = bool(records) and all(one["outcome"] == "passed" for one in records)
            said.append(f"open: {kind} {name}" + (" (works now: take it out of `open`)" if done else ""))
    return said


def page_with(page: Path, made: str) -> str:
    """The page with its second part replaced."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    return text.partition(BEGIN)[0] + made


def main(words: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        words: Its arguments, those of the process if None.

    Returns:
        Exit status: 1 when something is wrong.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("records", type=Path)
    parser.add_argument("--rows", type=Path, default=ROWS)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", type=Path, metavar="PAGE")
    what.add_argument("--write", type=Path, metavar="PAGE")
    given = parser.parse_args(words)
    rows: Rows = yaml.safe_load(given.rows.read_text(encoding="utf-8"))
    found = gather(json.loads(given.records.read_text(encoding="utf-8")))
    wrong = complaints(rows, found)
    made = render(rows, found)
    if given.check is not None:
        actual, wanted = given.check.read_text(encoding="utf-8"), page_with(given.check, made)
        if actual != wanted:
            wrong.append(
                f"{given.check} is not what this run showed; look at the difference, then `make compatibility`:"
            )
            lines = (actual.splitlines(), wanted.splitlines(), "the page", "this run")
            wrong += list(difflib.unified_diff(*lines, lineterm="", n=0))
    elif not wrong:
        given.write.write_text(page_with(given.write, made), encoding="utf-8")
    sys.stderr.write("".join(f"{line}\n" for line in [*wrong, *still_open(rows, found)]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
