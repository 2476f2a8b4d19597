"""The pages of rules, decisions and sources hold what the code cites, and a rule called in force has a test."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parent.parent
STATUSES: Final = re.compile(r"in force|in force in part: \S.*|not yet\b.*", re.DOTALL)
_NUMBERS: Final = re.compile(r"\d+(?:\s*(?:,\s*and|,|and|to)\s+\d+)*")


def _python(folder: str) -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def numbers_in(text: str) -> set[int]:
    """The numbers of `4, 6, 11 to 14 and 17`, ranges written out."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:\s+to\s+(\d+))?", text):
        found.update(range(int(first), int(last or first) + 1))
    return found


def cited_rules(text: str) -> set[str]:
    """Rule numbers that stand in a text as words."""
    return set(re.findall(r"\bR\d+\b", text))


def cited_decisions(text: str) -> set[int]:
    """Decision numbers that a text cites, as `decision 29` or `decisions 18 to 21, 26`."""
    found: set[int] = set()
    for match in re.finditer(r"\bdecisions?\s+(?=\d)", text, re.IGNORECASE):
        numbers = _NUMBERS.match(text, match.end())
        assert numbers is not None
        found |= numbers_in(numbers.group())
    return found


def cited_sections(text: str, notes: str) -> set[str]:
    """Section numbers that a text cites of one of the two sets of notes, such as `3.7`."""
    found: set[str] = set()
    one = r"\d+(?:\.\d+)?"
    pattern = rf"{re.escape(notes)}\s+(?:sections?\s+)?({one}(?:\s*(?:,\s*and|,|and|to)\s+{one})*)"
    for match in re.finditer(pattern, text):
        found.update(re.findall(one, match.group(1)))
    return found


def marked_tests(source: str) -> dict[str, list[str]]:
    """Which tests carry which rule, by `pytest.mark.rule` at the test, its class or its module; nothing is imported."""
    tree = ast.parse(source)
    everywhere: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets):
            everywhere += _rules_of(node.value)
    found: dict[str, list[str]] = {}

    def visit(body: list[ast.stmt], inherited: list[str]) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                rules = [*inherited, *(rule for each in node.decorator_list for rule in _rules_of(each))]
                if isinstance(node, ast.ClassDef):
                    visit(node.body, rules)
                elif node.name.startswith("test_"):
                    for rule in rules:
                        found.setdefault(rule, []).append(node.name)

    visit(tree.body, everywhere)
    return found


def _rules_of(node: ast.expr) -> list[str]:
    return [
        call.args[0].value
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "pytest.mark.rule"
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    ]


def read_rules(page: str) -> dict[str, str]:
    """Number and status of every rule of the page, in its order; the status is empty where not exactly one stands."""
    rules: dict[str, str] = {}
    for section in re.split(r"^## (?=R\d)", page, flags=re.MULTILINE)[1:]:
        number = section.split(maxsplit=1)[0]
        assert number not in rules, f"{number} stands twice"
        statuses = re.findall(r"^- Status: (.*?)(?=^- )", section, re.MULTILINE | re.DOTALL)
        rules[number] = " ".join(statuses[0].split()) if len(statuses) == 1 else ""
    return rules


def read_decisions(page: str) -> dict[int, str]:
    """Number and status of every decision of the page."""
    decisions: dict[int, str] = {}
    for item in re.split(r"^(?=\d+\. )", page, flags=re.MULTILINE)[1:]:
        number = int(item.split(".", 1)[0])
        assert number not in decisions, f"{number} stands twice"
        statuses = re.findall(r"^ +Status: (.*?)(?:\.| \(|;|$)", item, re.MULTILINE)
        decisions[number] = statuses[0] if len(statuses) == 1 else ""
    return decisions


def untested(rules: dict[str, str], marked: set[str]) -> list[str]:
    """Rules that are in force, wholly or in part, and that no test carries."""
    return [rule for rule, status in rules.items() if status.startswith("in force") and rule not in marked]


@cache
def _rules() -> dict[str, str]:
    return read_rules((ROOT / "docs/security/rules.md").read_text(encoding="utf-8"))


@cache
def _decisions() -> dict[int, str]:
    return read_decisions((ROOT / "docs/decisions.md").read_text(encoding="utf-8"))


@cache
def _marked() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, text in _python("tests"):
        for rule, tests in marked_tests(text).items():
            found.setdefault(rule, []).extend(f"{name}::{test}" for test in tests)
    return found


def test_the_pages_are_complete_and_every_entry_says_what_is_in_force() -> None:
    assert list(_rules()) == [f"R{number}" for number in range(1, 32)]
    assert list(_decisions()) == list(range(1, 38))
    assert [rule for rule, status in _rules().items() if not STATUSES.fullmatch(status)] == []
    assert [number for number, status in _decisions().items() if not STATUSES.fullmatch(status)] == []


def test_every_rule_that_code_or_a_marker_names_is_on_the_page() -> None:
    strangers = {name: cited_rules(text) - set(_rules()) for name, text in _python("src")}
    assert {name: found for name, found in strangers.items() if found} == {}
    assert [mark for mark in _marked() if mark.startswith("R") and mark not in _rules()] == []


def test_every_decision_that_code_or_a_marker_names_is_on_the_page() -> None:
    strangers = {name: cited_decisions(text) - set(_decisions()) for name, text in _python("src")}
    assert {name: found for name, found in strangers.items() if found} == {}
    marks = {mark: cited_decisions(mark) for mark in _marked() if not mark.startswith("R")}
    assert [mark for mark, found in marks.items() if not found or found - set(_decisions())] == []


def test_every_rule_in_force_is_shown_by_a_test_that_carries_its_number() -> None:
    assert untested(_rules(), set(_marked())) == []


@pytest.mark.parametrize("notes", ["rest-api.md", "ska-wire-format.md"])
def test_every_section_of_the_notes_that_code_cites_is_explained(notes: str) -> None:
    page = (ROOT / "docs/sources.md").read_text(encoding="utf-8")
    chapter = page.split(f"## `{notes}`", 1)[1].split("\n## ", 1)[0]
    firsts = " ".join(re.findall(r"^\| ([\d., ]+) \|", chapter, re.MULTILINE))
    known = set(re.findall(r"\d+(?:\.\d+)?", firsts + " " + " ".join(re.findall(r"[:,] (\d+\.\d+) ", chapter))))
    cited = {name: cited_sections(text, notes) for name, text in _python("src")}
    assert any(cited.values())
    assert {name: found - known for name, found in cited.items() if found - known} == {}


@pytest.mark.parametrize("page", ["docs/security/rules.md", "docs/decisions.md"])
def test_every_module_and_record_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    names = re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.(?:py|md)|[a-z_]+/)`", text)
    places = [ROOT, ROOT / "src/keyturn"]
    assert [name for name in names if not any((place / name).exists() for place in places)] == []
    records = {int(path.name[:4]) for path in (ROOT / "docs/adr").glob("*.md")}
    cited = {number for each in re.findall(r"\bADR ([\d, to]+)", text) for number in numbers_in(each)}
    assert cited
    assert cited - records == set()


@pytest.mark.parametrize("path", ["src", "tests", "docs"])
def test_nothing_names_the_pages_by_names_they_do_not_have(path: str) -> None:
    files = [f for f in (ROOT / path).rglob("*") if f.suffix in (".py", ".md") and f != Path(__file__)]
    former = re.compile(r"security-rules|(?<![\w/])architecture\.md")
    assert [str(f.relative_to(ROOT)) for f in files if former.search(f.read_text(encoding="utf-8"))] == []


# --- the readers above can fail ----------------------------------------------------------------------------


def test_a_rule_in_force_without_a_test_is_found_and_one_that_is_not_yet_is_not() -> None:
    page = "# x\n\n## R1 A\n\n- Status: in force\n- Where: x\n\n"
    page += "## R2 B\n\n- Status: in force in part: no y\n- Where: x\n\n"
    page += (
        "## R3 C\n\n- Status: not yet\n- Where: x\n\n## R4 D\n\n- Status: soon\n- Where: x\n\n## R5 E\n\n- Where: x\n"
    )
    rules = read_rules(page)
    assert rules == {"R1": "in force", "R2": "in force in part: no y", "R3": "not yet", "R4": "soon", "R5": ""}
    assert untested(rules, {"R1"}) == ["R2"]
    assert untested(rules, {"R1", "R2"}) == []
    assert [rule for rule, status in rules.items() if not STATUSES.fullmatch(status)] == ["R4", "R5"]


def test_markers_are_read_at_tests_classes_and_modules_and_only_there() -> None:
    source = (
        'pytestmark = [pytest.mark.rule("R1"), pytest.mark.slow]\n'
        '@pytest.mark.rule("R2")\nasync def test_a(): ...\n'
        'class TestB:\n    @pytest.mark.rule("R3")\n    def test_c(self): ...\n'
        '@pytest.mark.rule("R4")\ndef helper(): ...\n'
        '# @pytest.mark.rule("R5")\ndef test_d(): "R6"\n'
    )
    found = marked_tests(source)
    assert found == {"R1": ["test_a", "test_c", "test_d"], "R2": ["test_a"], "R3": ["test_c"]}


def test_citations_are_read_with_lists_and_ranges() -> None:
    assert cited_decisions("Decisions 4, 6, 11 to 14 and 17; 99 bottles") == {4, 6, 11, 12, 13, 14, 17}
    assert cited_decisions("(decision 29), every decision, 3 decisions") == {29}
    assert cited_decisions("decisions\n18 and 19") == {18, 19}
    assert cited_rules("R8, R10; R99. SR3 R2D2") == {"R8", "R10", "R99"}
    text = "rest-api.md sections 3.3, 3.4 and 5; 7 dwarfs; ska-wire-format.md 9.13"
    assert cited_sections(text, "rest-api.md") == {"3.3", "3.4", "5"}
    assert cited_sections(text, "ska-wire-format.md") == {"9.13"}
