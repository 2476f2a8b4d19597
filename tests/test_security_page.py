"""SECURITY.md says what is true: every line of its table names a test that exists, or says why there is none."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "SECURITY.md"
HEAD: Final = ["attack", "defended by default", "defended when switched on", "not defended", "shown by"]
_REFERENCE: Final = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def lines_of(page: str) -> list[list[str]]:
    """All lines of the tables of attacks, each as its five cells."""
    found: list[list[str]] = []
    inside = False
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells == HEAD:
            inside = True
        elif inside and not set("".join(cells)) <= {"-"}:
            found.append(cells)
    return found


@cache
def _tests_in(file: str) -> frozenset[str]:
    path = ROOT / file
    if not path.exists():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions)


def complaints(page: str) -> list[str]:
    """What is wrong with the table, a sentence for each line."""
    wrong: list[str] = []
    for cells in lines_of(page):
        if len(cells) != len(HEAD):
            wrong.append(f"{cells[0]!r} has {len(cells)} cells")
            continue
        attack, by_default, switched_on, left, shown = cells
        references = _REFERENCE.findall(shown)
        if not references and not shown.startswith("no test: "):
            wrong.append(f"{attack!r} names no test and gives no reason")
        if shown.count("::") != len(references):
            wrong.append(f"{attack!r} names a test in a form that cannot be looked up")
        wrong += [f"{attack!r} names {file}::{name}" for file, name in references if name not in _tests_in(file)]
        if not (by_default or switched_on or left):
            wrong.append(f"{attack!r} says nothing")
        if not by_default and not left:
            wrong.append(f"{attack!r} is not defended by default, and does not say what that leaves open")
    return wrong


def test_every_line_names_tests_that_exist_or_says_why_there_is_none() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(lines_of(page)) > 40
    assert complaints(page) == []


def test_all_attacks_of_the_last_issue_and_the_promise_stand_on_the_page() -> None:
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    for words in (
        "cannot make it use a protected key without the signatures that the policy stored with that key demands",
        "over exactly the bytes being processed",
        "refuse, delay, read what passes through it (results of decryption included)",
        "replay approvals that are neither single-use nor expired, and, unless approvals are bound",
        "Against crashes, not against malice: what was acknowledged is not lost.",
    ):
        assert words in page
    for attack in (
        "algorithm swap",
        "pre-hash swap",
        "decryption approved, signature made",
        "signature approved, key unwrapped",
        "another hsm under the same label",
        "re-created",
        "unblock or a modify replayed",
        "split quorum",
        "malleated twins",
        "older attestation as a result",
        "refusal that the hsm never gave",
        "hoarded timestamp",
    ):
        assert attack in page.lower(), attack


def test_a_wrong_name_a_missing_reason_and_a_silent_line_are_found() -> None:
    head = "| " + " | ".join(HEAD) + " |\n|---|---|---|---|---|\n"
    good = "`tests/test_security_page.py::test_every_line_names_tests_that_exist_or_says_why_there_is_none`"
    assert complaints(f"{head}| A | yes | | | {good} |\n| B | | | not at all | no test: nothing is claimed |\n") == []
    for line, word in (
        (f"| A | yes | | | {good.replace('every', 'no')} |", "A' names tests/"),
        ("| A | yes | | | |", "gives no reason"),
        (f"| A | | | | {good} |", "says nothing"),
        (f"| A | | a switch | | {good} |", "leaves open"),
        (f"| A | yes | {good} |", "3 cells"),
        (f"| A | yes | | | {good}, `tests/x.py::TestX::test_y` |", "cannot be looked up"),
    ):
        assert any(word in each for each in complaints(f"{head}{line}\n")), line
