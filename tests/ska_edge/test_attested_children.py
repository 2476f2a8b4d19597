"""Derived keys and addresses in attested attributes: where they stand, and what must agree (R21)."""

from __future__ import annotations

from typing import Any, Final

import pytest

from keyturn.errors import FormatError
from keyturn.ska.attestation import attestation_to_json, parse_attestation, render_attestation
from keyturn_testing.attested import example_attestation

CHILD: Final[dict[str, Any]] = {
    "label": "treasury/44'/0'",
    "creation": "derived",
    "derivation": ("SLIP-10", "44'/0'"),
    "address": ("BTC", bytes(range(20))),
}
PLAIN: Final = render_attestation(example_attestation())


@pytest.mark.rule("R21")
def test_r21_a_derived_key_shows_its_path_and_other_texts_are_as_before() -> None:
    child = example_attestation(**CHILD)
    text = render_attestation(child)
    lines = [
        '\t<derivation_value type="SLIP-10">44&apos;/0&apos;</derivation_value>\n',
        '\t<address_truncated format="BTC">000102030405060708090A0B0C0D0E0F10111213</address_truncated>\n',
    ]
    without = text.replace("".join(lines), "")
    assert without == PLAIN.replace('"generated"', '"derived"').replace("treasury<", "treasury/44&apos;/0&apos;<")
    assert parse_attestation(text) == child
    json = attestation_to_json(child)
    assert json["derivedAttributes"] == {"derivationType": "SLIP-10", "derivationValue": "44'/0'"}
    assert json["addressTruncated"] == {"address": bytes(range(20)).hex().upper(), "format": "BTC"}
    plain = attestation_to_json(parse_attestation(PLAIN))
    assert (plain["derivedAttributes"], plain["addressTruncated"]) == (None, None)
    for wrong in (
        without,
        text.replace(lines[0], ""),
        text.replace(lines[0], lines[0] * 2),
        text.replace("".join(lines), lines[1] + lines[0]),
        text.replace(' type="SLIP-10"', ""),
        text.replace("SLIP-10", "SLIP-11"),
        text.replace("44&apos;/0&apos;</derivation", "44&apos;/1&apos;</derivation"),
        text.replace("treasury/44&apos;/0&apos;", "treasury/44&apos;/1&apos;"),
        text.replace("44&apos;/0&apos;", "044&apos;/0&apos;"),
        text.replace("0A0B", "0a0b"),
        text.replace("0A0B", "0A0X"),
        text.replace('"derived"', '"generated"'),
        PLAIN.replace("\t<attributes>", lines[0] + "\t<attributes>"),
    ):
        assert wrong != text
        with pytest.raises(FormatError):
            parse_attestation(wrong)
    parse_attestation(text.replace(lines[1], ""))


@pytest.mark.rule("R21")
@pytest.mark.parametrize(
    "changes",
    [
        {"derivation": None},
        {"derivation": ("SLIP-10", "44'/1'")},
        {"derivation": ("", "44'/0'")},
        {"label": "treasury"},
        {"label": "treasury/44h/0h"},
        {"creation": "imported"},
        {"address": ("BTC", b"")},
        {"address": ("B T C", bytes(20))},
    ],
)
def test_r21_what_does_not_fit_together_is_not_written(changes: dict[str, Any]) -> None:
    render_attestation(example_attestation(**CHILD))
    with pytest.raises(FormatError):
        render_attestation(example_attestation(**CHILD | changes))
