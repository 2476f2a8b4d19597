"""Versions of our own element in attested attributes: each holds what belongs to it, and nothing else."""

from __future__ import annotations

import base64
from typing import Final

import pytest

from keyturn.errors import FormatError
from keyturn.ska.attestation import (
    attestation_to_json,
    parse_attestation,
    render_attestation,
)
from keyturn_testing.attested import example_attestation, officer

GOOD: Final = render_attestation(example_attestation())


@pytest.mark.rule("R24")
def test_r24_the_receipt_key_stands_in_the_second_version_and_the_first_stays_readable() -> None:
    second = render_attestation(example_attestation(receipt_key=officer(104)))
    assert second == GOOD.replace('<keyturn version="1">', '<keyturn version="2">').replace(
        "\t</keyturn>", f"\t\t<receipt_key>{base64.b64encode(officer(104)).decode()}</receipt_key>\n\t</keyturn>"
    )
    assert parse_attestation(second).receipt_key == officer(104)
    assert parse_attestation(GOOD).receipt_key is None
    # Each version holds what belongs to it.
    line = next(line for line in second.splitlines(True) if "receipt_key" in line)
    for wrong in (
        second.replace('<keyturn version="2">', '<keyturn version="1">'),
        second.replace(line, ""),
        second.replace(line, line * 2),
        second.replace(line, "\t\t<receipt_key></receipt_key>\n"),
    ):
        with pytest.raises(FormatError):
            parse_attestation(wrong)
    with pytest.raises(FormatError, match="update this side") as refused:
        parse_attestation(second.replace('<keyturn version="2">', '<keyturn version="4">'))
    assert refused.value.refusal == "attestation.version"
    with pytest.raises(FormatError, match="not empty"):
        render_attestation(example_attestation(receipt_key=b""))


@pytest.mark.rule("R6")
def test_r6_the_third_version_holds_the_stores_counter_and_accepted_rollbacks() -> None:
    second = render_attestation(example_attestation(receipt_key=officer(104)))
    third = render_attestation(example_attestation(receipt_key=officer(104), store_counter=23, accepted_rollbacks=1))
    assert '<keyturn version="3">' in third
    lines = "\t\t<store_counter>23</store_counter>\n\t\t<accepted_rollbacks>1</accepted_rollbacks>\n"
    assert lines in third
    read = parse_attestation(third)
    assert (read.store_counter, read.accepted_rollbacks) == (23, 1)
    before = parse_attestation(second)
    assert (before.store_counter, before.accepted_rollbacks) == (None, None)
    for wrong in (
        third.replace('<keyturn version="3">', '<keyturn version="2">'),
        third.replace("\t\t<accepted_rollbacks>1</accepted_rollbacks>\n", ""),
        third.replace("<store_counter>23", "<store_counter>-1"),
        third.replace("<store_counter>23", "<store_counter>16"),
    ):
        with pytest.raises(FormatError):
            parse_attestation(wrong)
    for bad in ({"store_counter": 23}, {"accepted_rollbacks": 1}):
        with pytest.raises(FormatError, match="come together"):
            render_attestation(example_attestation(receipt_key=officer(104), **bad))
    with pytest.raises(FormatError, match="the receipt key is, too"):
        render_attestation(example_attestation(store_counter=23, accepted_rollbacks=0))


NARROWED = {
    "receipt_key": officer(104),
    "store_counter": 23,
    "accepted_rollbacks": 0,
    "attributes": {"sign": True, "boundApprovals": True, "singleUse": False},
    "allowed_operations": ("sign",),
    "allowed_algorithms": ("SHA256_WITH_ECDSA", "SHA512_WITH_ECDSA"),
}


@pytest.mark.rule("R7")
@pytest.mark.rule("R9")
def test_r7_r9_the_third_version_says_what_narrows_a_key() -> None:
    attestation = example_attestation(**NARROWED)
    text = render_attestation(attestation)
    assert text.endswith(
        "\t\t<accepted_rollbacks>0</accepted_rollbacks>\n"
        "\t\t<bound_approvals>true</bound_approvals>\n\t\t<single_use>false</single_use>\n"
        "\t\t<allowed_operations>\n\t\t\t<operation>sign</operation>\n\t\t</allowed_operations>\n"
        "\t\t<allowed_algorithms>\n\t\t\t<algorithm>SHA256_WITH_ECDSA</algorithm>\n"
        "\t\t\t<algorithm>SHA512_WITH_ECDSA</algorithm>\n\t\t</allowed_algorithms>\n"
        "\t</keyturn>\n</private_key>\n\n"
    )
    assert parse_attestation(text) == attestation
    shown = attestation_to_json(attestation)["attributes"]
    assert isinstance(shown, dict)
    assert shown["boundApprovals"] is True
    assert "singleUse" not in shown
    assert shown["allowedOperations"] == ["sign"]
    assert shown["allowedAlgorithms"] == ["SHA256_WITH_ECDSA", "SHA512_WITH_ECDSA"]
    # A key without any of it is shown as documented.
    plain = attestation_to_json(example_attestation())["attributes"]
    assert isinstance(plain, dict)
    assert not plain.keys() & {"boundApprovals", "singleUse", "allowedOperations", "allowedAlgorithms"}
    for wrong in (
        text.replace("\t\t\t<operation>sign</operation>\n", ""),
        text.replace("<operation>sign</operation>", "<operation></operation>"),
        text.replace("SHA256_WITH_ECDSA", "SHA900_WITH_ECDSA"),
        text.replace(
            "\t\t<bound_approvals>true</bound_approvals>\n\t\t<single_use>false</single_use>\n", "", 1
        ).replace("<allowed_algorithms>", "<bound_approvals>true</bound_approvals>\n<allowed_algorithms>", 1),
        text.replace("<bound_approvals>true", "<bound_approvals>yes"),
    ):
        assert wrong != text
        with pytest.raises(FormatError):
            parse_attestation(wrong)
    changed = parse_attestation(text.replace("<bound_approvals>true", "<bound_approvals>false"))
    assert changed.attributes["boundApprovals"] is False


@pytest.mark.rule("R9")
@pytest.mark.parametrize(
    "changes",
    [
        {"allowed_operations": ("sign", "decrypt")},
        {"allowed_algorithms": ("A", "A")},
        {"allowed_algorithms": ("no word",)},
        {"store_counter": None, "accepted_rollbacks": None},
        {"store_counter": None, "accepted_rollbacks": None, "allowed_operations": (), "allowed_algorithms": ()},
    ],
)
def test_r9_a_limit_that_could_not_be_read_back_is_not_written(changes: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        render_attestation(example_attestation(**(NARROWED | changes)))
    render_attestation(example_attestation(**NARROWED))
