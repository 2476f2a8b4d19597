"""What reaches an officer's screen: escaped where it could deceive, whole, and faithful."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.approver.payload import hex_dump, view_payload
from keyturn.approver.terminal import has_lookalikes, spaced_fingerprint, visible, visible_bytes
from keyturn.cli import main as command
from keyturn.errors import ErrorCode, KeyturnError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Zürich, 東京", "Zürich, 東京"),
        ("\x1b[2Jgone", "<U+001B>[2Jgone"),
        ("\x9b31m", "<U+009B>31m"),
        ("invoice\u202egpj.exe", "invoice<U+202E>gpj.exe"),
        ("a\u2066b\u2069", "a<U+2066>b<U+2069>"),
        ("zero\u200bwidth", "zero<U+200B>width"),
        ("back\bspace\rreturn", "back<U+0008>space<U+000D>return"),
        ("no\u00a0break", "no<U+00A0>break"),
        ("line\u2028separator", "line<U+2028>separator"),
        ("filler\u3164", "filler<U+3164>"),
        ("\ue000", "<U+E000>"),
        ("selected\ufe0f", "selected<U+FE0F>"),
        ("hidden\U000e0141", "hidden<U+E0141>"),
        ("khmer\u17b5", "khmer<U+17B5>"),
        ("p\u0336a\u0336y", "p<U+0336>a<U+0336>y"),
        ("1\u20de0", "1<U+20DE>0"),
        ("e\u0301te\u0301", "e\u0301te\u0301"),
        ("\ud800", "<U+D800>"),
    ],
)
def test_characters_that_could_deceive_are_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_line_feeds_are_kept_only_where_a_block_is_shown() -> None:
    assert visible("a\nb\tc", lines=True) == "a\nb\tc"
    assert visible("a\nb\tc") == "a<U+000A>b<U+0009>c"


@given(st.text())
def test_what_is_shown_never_moves_the_cursor_and_a_second_pass_changes_nothing(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert visible(shown) == shown


def test_bytes_that_are_no_text_are_shown_as_hex() -> None:
    assert visible_bytes(b"treasury") == "treasury"
    assert visible_bytes(b"\xff\xfe") == "0xfffe (not UTF-8 text)"
    assert has_lookalikes("tre\u0430sury")
    assert not has_lookalikes("treasury")
    assert spaced_fingerprint("00112233") == "0011 2233"


def test_text_is_shown_as_it_is() -> None:
    view = view_payload(b"Pay 10 to Bob.\nThank you.")
    assert (view.kind, view.shown, view.note) == ("text", "Pay 10 to Bob.\nThank you.", "")
    assert view.sha256 == hashlib.sha256(b"Pay 10 to Bob.\nThank you.").hexdigest()


def test_text_with_windows_line_ends_is_shown_with_a_word_about_them() -> None:
    view = view_payload(b"Pay 10\r\nto Bob")
    assert view.shown == "Pay 10\nto Bob"
    assert "CR LF" in view.note


def test_text_that_repaints_the_screen_is_shown_harmless_and_with_a_warning() -> None:
    view = view_payload(b"Pay 10 to Bob\x1b[1A\x1b[2KPay 10000 to Eve")
    assert view.kind == "text"
    assert view.shown == "Pay 10 to Bob<U+001B>[1A<U+001B>[2KPay 10000 to Eve"
    assert "Ask why" in view.note


@pytest.mark.parametrize("size", [20, 28, 32, 48, 64])
def test_a_digest_is_called_one_and_the_officer_told_that_it_says_nothing(size: int) -> None:
    digest = hashlib.shake_256(b"contract").digest(size)
    view = view_payload(digest)
    assert view.kind == "digest"
    assert view.shown == digest.hex()
    assert "you cannot see" in view.note
    assert view_payload(digest.hex().encode()).kind == "digest"
    assert view_payload(digest + b"\0").kind == "binary"


def test_readable_text_of_a_digests_length_is_text() -> None:
    assert view_payload(b"Pay ten coins to Bob on Tuesday!").kind == "text"
    assert view_payload(b"Pay ten coins to Bob on Tuesday\x07").kind == "digest"


def test_binary_is_shown_whole_as_a_hex_dump() -> None:
    data = bytes(range(256)) * 4
    view = view_payload(data)
    assert view.kind == "binary"
    assert view.shown.count("\n") == len(data) // 16 - 1
    assert hex_dump(b"ABC\0") == "00000000  41 42 43 00                                      ABC."


def test_an_empty_payload_is_said_to_be_empty() -> None:
    assert view_payload(b"").kind == "empty"


def test_json_is_indented_and_keeps_its_numbers_as_written() -> None:
    view = view_payload(b'{"amount":10.10,"big":123456789012345678901234567890,"to":["Bob",null,{}],"e":1E400}')
    assert view.kind == "json"
    assert view.shown.splitlines() == [
        "{",
        '  "amount": 10.10,',
        '  "big": 123456789012345678901234567890,',
        '  "to": [',
        '    "Bob",',
        "    null,",
        "    {}",
        "  ],",
        '  "e": 1E400',
        "}",
    ]


def test_json_strings_cannot_break_out_of_their_quotes() -> None:
    view = view_payload('{"to":"Bob\\n\\"evil\\": \u202e\\u001b"}'.encode())
    assert view.shown.splitlines()[1] == '  "to": "Bob\\n\\"evil\\": \\u202e\\u001b"'


@pytest.mark.parametrize(
    "payload",
    [b'{"amount":1,"amount":1000}', b"[" * 5000 + b"]" * 5000, b"[" * 80 + b"]" * 80, b'{"a":NaN}', b'{"a":1'],
    ids=["twice", "very-deep", "deep", "nan", "cut"],
)
def test_json_that_would_mislead_is_shown_as_the_text_it_is(payload: bytes) -> None:
    view = view_payload(payload)
    assert view.kind == "text"
    assert view.shown == payload.decode()


@given(st.binary(max_size=200))
def test_every_payload_has_a_view_that_is_safe_to_print(payload: bytes) -> None:
    view = view_payload(payload)
    assert view.size == len(payload)
    assert all(line.isprintable() for line in view.shown.replace("\t", "").split("\n"))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=9))
def test_indented_json_means_the_same_as_before(value: object) -> None:
    payload = json.dumps([value, 1.5], ensure_ascii=True).encode()
    assert json.loads(view_payload(payload).shown) == [value, 1.5]


def test_the_message_of_a_refusal_cannot_repaint_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: object) -> None:
        raise KeyturnError(ErrorCode.TECHNICAL, "the file \x1b[2J says\nno", refusal="some.word")

    monkeypatch.setattr(command.root, "main", refuse)
    with pytest.raises(SystemExit):
        command.main([])
    assert capsys.readouterr().err == "keyturn: the file <U+001B>[2J says\nno [1 some.word]\n"
