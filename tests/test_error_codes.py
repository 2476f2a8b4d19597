"""Every row of the error table that some refusal uses is asserted by a test, and there is no row that none uses.

Both are read from the source: a row counts as used where `ErrorCode.NAME` stands, and as asserted where a test compares
with it, by name or by number. Numbers below 600 may be HTTP statuses or count something, so that those count only
beside a status or a refusal's word, as `errorCode` or `number`, or as what `error_of` is told to expect.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from keyturn.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS: Final = Path(__file__).parent
SOURCE: Final = TESTS.parent / "src" / "keyturn"
STATUSES: Final = frozenset({200, 201, 400, 401, 403, 404, 405, 409, 411, 413, 415, 416, 500, 501})
LEAST_CLEAR: Final = 600
"""From here on a number in a comparison can be nothing but a row of the table."""
NUMBERS: Final = {code.number: code.name for code in ErrorCode}


def named(tree: ast.AST) -> set[str]:
    """Rows whose names stand somewhere in a tree."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ErrorCode"
    } & set(ErrorCode.__members__)


def asserted(tree: ast.AST) -> set[str]:
    """Rows that a test holds against what it got."""
    found: set[str] = set()
    for node in ast.walk(tree):
        for held in _held_against(node):
            found |= named(held) | {NUMBERS[number] for number in _numbers(held, least=LEAST_CLEAR)}
        found |= {NUMBERS[number] for number in _codes(node)}
    return found


def _held_against(node: ast.AST) -> Iterator[ast.AST]:
    """Expressions that a test compares with, or compares with later: its parameters, and what it loops over."""
    if isinstance(node, ast.Compare):
        yield node
    elif isinstance(node, ast.For | ast.comprehension):
        yield node.iter
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from node.decorator_list
    elif isinstance(node, ast.Call):  # A helper that is told what to expect.
        yield from (argument for argument in node.args if isinstance(argument, ast.Constant))


def _numbers(tree: ast.AST, least: int = 0) -> set[int]:
    constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {value for value in constants if type(value) is int and value in NUMBERS and value >= least}


def _codes(node: ast.AST) -> set[int]:
    """Numbers that stand where only the number of a row can stand."""
    match node:
        case ast.Tuple(elts=[ast.Constant() as first, ast.Constant(value=str(word))]) if "." in word:
            return _numbers(first)
        case ast.Tuple(elts=[ast.Constant(value=status), ast.Constant() as second, *_]) if status in STATUSES:
            return _numbers(second)
        case ast.Call(func=ast.Name(id="error_of" | "body_of"), args=[_, _, ast.Constant() as third, *_]):
            return _numbers(third)
        case ast.Compare(left=left, comparators=[ast.Constant() as right]):
            return _numbers(right) if _is_number(left) or _is_member(left, "errorCode") else set()
        case ast.Compare(left=ast.Tuple(elts=[first, *_]), comparators=[ast.Tuple(elts=[right, *_])]):
            return _numbers(right) if _is_number(first) else set()
    return set()


def _is_number(tree: ast.AST) -> bool:
    return isinstance(tree, ast.Attribute) and tree.attr == "number"


def _is_member(tree: ast.AST, name: str) -> bool:
    return isinstance(tree, ast.Subscript) and isinstance(tree.slice, ast.Constant) and tree.slice.value == name


def trees(directory: Path) -> Iterator[ast.Module]:
    texts = (file.read_text(encoding="utf-8") for file in directory.rglob("*.py"))
    return (ast.parse(text) for text in texts if directory is TESTS or "ErrorCode" in text)


@pytest.fixture(scope="module")
def used() -> set[str]:
    return set[str]().union(*(named(tree) for tree in trees(SOURCE)))


def test_every_row_is_used(used: set[str]) -> None:
    assert {code.name for code in ErrorCode} - used == set()


def test_every_row_that_is_used_is_asserted_by_a_test(used: set[str]) -> None:
    assert used - set[str]().union(*(asserted(tree) for tree in trees(TESTS))) == set()


def test_rows_stand_in_the_order_of_their_numbers_and_none_twice() -> None:
    numbers = [code.number for code in ErrorCode]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    ("line", "rows"),
    [
        ("assert error.code is ErrorCode.IO", {"IO"}),
        ("raise KeyturnError(ErrorCode.IO, 'no assertion')", set()),
        ("assert (answer.status_code, number) == (400, 404)", {"TIMESTAMP_OFF"}),
        ("assert answer.status_code == 404", set()),
        ("assert body['errorCode'] == 404", {"TIMESTAMP_OFF"}),
        ("assert error.code.number == 2", {"CONNECTIVITY"}),
        ("assert len(rows) == 2", set()),
        ("assert got == (411, 'csr.signature')", {"INVALID_CERTIFICATE_REQUEST"}),
        ("error_of(answer, 400, 405)", {"TIMESTAMP_SIGNER_NOT_ALLOWED"}),
        ("@pytest.mark.parametrize('code', [650])\ndef test() -> None: ...", {"KEY_NOT_EXISTENT"}),
    ],
)
def test_what_counts_as_an_assertion(line: str, rows: set[str]) -> None:
    assert asserted(ast.parse(line)) == rows
