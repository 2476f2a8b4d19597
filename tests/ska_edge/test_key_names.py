"""Names of derived keys have one spelling (R21)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import ErrorCode, FormatError
from keyturn.ska.key_names import (
    HARDENED,
    MAX_DEPTH,
    KeyName,
    check_key_name,
    format_path,
    master_label,
    parse_key_name,
    parse_path,
)

pytestmark = pytest.mark.rule("R21")


@given(st.lists(st.integers(0, 2 * HARDENED - 1), min_size=1, max_size=MAX_DEPTH))
def test_r21_what_is_written_is_read_back(path: list[int]) -> None:
    text = format_path(tuple(path))
    assert parse_path(text) == tuple(path)
    assert parse_key_name(f"master/{text}").text == f"master/{text}"


@given(st.text(alphabet="0123456789'/hHm +-", max_size=12))
def test_r21_what_is_read_has_one_spelling(text: str) -> None:
    try:
        path = parse_path(text)
    except FormatError:
        return
    assert format_path(path) == text


@pytest.mark.parametrize(
    ("path", "code", "word"),
    [
        ("", ErrorCode.INVALID_KEY_NAME, "path.empty"),
        ("m/44'", ErrorCode.KEY_ATTRIBUTES_INVALID, "path.element"),
        ("/44'", ErrorCode.KEY_ATTRIBUTES_INVALID, "path.element"),
        ("44'/", ErrorCode.KEY_ATTRIBUTES_INVALID, "path.element"),
        ("44h", ErrorCode.KEY_ATTRIBUTES_INVALID, "path.element"),
        ("44''", ErrorCode.KEY_ATTRIBUTES_INVALID, "path.element"),
        ("+1", ErrorCode.KEY_ATTRIBUTES_INVALID, "path.element"),
        ("\N{ARABIC-INDIC DIGIT ONE}", ErrorCode.KEY_ATTRIBUTES_INVALID, "path.element"),
        ("044'", ErrorCode.KEY_ATTRIBUTES_INVALID, "path.spelling"),
        ("00", ErrorCode.KEY_ATTRIBUTES_INVALID, "path.spelling"),
        ("2147483648", ErrorCode.KEY_ATTRIBUTES_INVALID, "path.range"),
        ("9" * 5000, ErrorCode.KEY_ATTRIBUTES_INVALID, "path.range"),
        ("/".join("0" * (MAX_DEPTH + 1)), ErrorCode.KEY_ATTRIBUTES_INVALID, "path.depth"),
    ],
)
def test_r21_other_spellings_are_refused(path: str, code: ErrorCode, word: str) -> None:
    assert parse_path("44'/0'/2147483647") == (44 + HARDENED, HARDENED, HARDENED - 1)
    with pytest.raises(FormatError) as refused:
        parse_path(path)
    assert (refused.value.code, refused.value.refusal) == (code, word)


def test_r21_a_name_is_a_label_or_a_master_and_a_path() -> None:
    assert parse_key_name("treasury") == KeyName("treasury")
    assert parse_key_name("treasury/0'/1") == KeyName("treasury", (HARDENED, 1))
    assert parse_key_name("treasury/0'/1").path_text == "0'/1"
    assert check_key_name("treasury/0'") == "treasury/0'"
    assert [master_label(name) for name in ("a/0'/1", "a", "/1")] == ["a", "a", ""]
    for name, word in (
        ("/0'", "label.empty"),
        ("treasury/", "path.empty"),
        (" a/0'", "label.space"),
        ("", "label.empty"),
    ):
        with pytest.raises(FormatError) as refused:
            check_key_name(name)
        assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_KEY_NAME, word)
