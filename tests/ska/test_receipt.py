"""Receipts: one form, one meaning, and nothing counts that the HSM did not say (R24)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska import cbor
from keyturn.ska.receipt import (
    ACTIONS,
    MAX_RECEIPT,
    Expected,
    Receipt,
    bytes_to_sign,
    decode_receipt,
    encode_receipt,
    require_receipt_about,
    verify_receipt,
)
from keyturn.ska.receipt_hashes import Statement, refusal_hash_of, result_hash_of, statement_hash_of
from keyturn_testing.receipts import STATEMENT, example_receipt

GOLDEN: Final = Path(__file__).parent / "golden" / "receipts-v1.json"
KEY: Final = ec.derive_private_key(4711, ec.SECP256R1())
SPKI: Final = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
GOOD: Final = encode_receipt(example_receipt())

pytestmark = pytest.mark.rule("R24")


def signed(receipt: bytes, key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    return key.sign(bytes_to_sign(receipt), ec.ECDSA(hashes.SHA256()))


hashes_ = st.binary(min_size=32, max_size=32)
uuids = st.uuids().map(str)
receipts = st.builds(
    Receipt,
    version=st.just(1),
    instance_id=uuids,
    request_id=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128),
    action=st.sampled_from(sorted(ACTIONS)),
    statement_hash=hashes_,
    result_hash=hashes_,
    key_uuid=uuids,
    time=st.integers(0, 253_402_300_799),
    state_counter=st.integers(0, 10**18 - 1),
    outcome=st.sampled_from(["executed", "refused"]),
    restore_epoch=st.integers(0, 10**18 - 1),
)


@given(receipts)
def test_r24_what_is_read_back_is_what_was_written(receipt: Receipt) -> None:
    data = encode_receipt(receipt)
    assert len(data) <= 512
    assert decode_receipt(data) == receipt


@given(st.binary(max_size=400))
def test_r24_any_bytes_are_refused_with_our_own_error(noise: bytes) -> None:
    with pytest.raises(FormatError) as refused:
        decode_receipt(noise)
    assert refused.value.refusal.startswith("receipt.")


@given(st.integers(0, len(GOOD) * 8 - 1))
def test_r24_one_changed_bit_is_no_receipt_of_the_hsm(bit: int) -> None:
    signature = signed(GOOD)
    changed = bytearray(GOOD)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(KeyturnError) as refused:
        verify_receipt(bytes(changed), signature, receipt_key_spki=SPKI)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_SIGNATURE, "receipt.bad-signature")
    assert verify_receipt(GOOD, signature, receipt_key_spki=SPKI) == example_receipt()


def test_r24_a_signature_by_another_key_or_over_the_bare_receipt_does_not_count() -> None:
    other = ec.derive_private_key(4712, ec.SECP256R1())
    for wrong in (signed(GOOD, other), KEY.sign(GOOD, ec.ECDSA(hashes.SHA256())), b"", signed(GOOD)[:-1]):
        with pytest.raises(KeyturnError) as refused:
            verify_receipt(GOOD, wrong, receipt_key_spki=SPKI)
        assert refused.value.refusal == "receipt.bad-signature"
    verify_receipt(GOOD, signed(GOOD), receipt_key_spki=SPKI)


def test_r24_only_a_p256_key_is_a_receipt_key() -> None:
    p384 = ec.derive_private_key(4711, ec.SECP384R1()).public_key()
    ed = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    for wrong in (
        b"",
        b"no key",
        *(k.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for k in (p384, ed)),
    ):
        with pytest.raises(KeyturnError) as refused:
            verify_receipt(GOOD, signed(GOOD), receipt_key_spki=wrong)
        assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_SIGNATURE, "receipt.key")


def _members(**changes: Any) -> bytes:
    members = dict(cbor.decode(GOOD, what="receipt"))  # type: ignore[arg-type]  # A receipt is a map.
    members.update(changes)
    return cbor.encode({name: value for name, value in members.items() if value != "left out"})


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"version": 2}, "version"),
        ({"version": 0}, "version"),
        ({"version": "1"}, "field"),
        ({"more": 1}, "field"),
        ({"time": "left out"}, "field"),
        ({"time": -1}, "field"),
        ({"time": 253_402_300_800}, "field"),
        ({"time": None}, "field"),
        ({"instanceId": "6A1D3F60-93A4-4C9F-B0C1-7D5F2F0A1B2C"}, "field"),
        ({"instanceId": ""}, "field"),
        ({"keyUuid": "treasury"}, "field"),
        ({"keyUuid": ""}, "field"),
        ({"requestId": ""}, "field"),
        ({"requestId": "x" * 129}, "field"),
        ({"requestId": "with space"}, "field"),
        ({"requestId": "Zeile\n"}, "field"),
        ({"requestId": "\u0661"}, "field"),
        ({"action": "export"}, "field"),
        ({"action": 1}, "field"),
        ({"statementHash": bytes(31)}, "field"),
        ({"resultHash": bytes(33)}, "field"),
        ({"resultHash": "x" * 32}, "field"),
        ({"outcome": "perhaps"}, "field"),
        ({"stateCounter": -1}, "field"),
        ({"stateCounter": 10**18}, "field"),
        ({"restoreEpoch": 10**18}, "field"),
        ({"more": bytes(MAX_RECEIPT)}, "size"),
    ],
)
def test_r24_what_no_receipt_says_is_refused_although_it_is_signed(changes: dict[str, Any], word: str) -> None:
    wrong = _members(**changes)
    with pytest.raises(FormatError) as refused:
        verify_receipt(wrong, signed(wrong), receipt_key_spki=SPKI)
    assert refused.value.refusal == f"receipt.{word}"
    good = _members()
    assert verify_receipt(good, signed(good), receipt_key_spki=SPKI) == example_receipt()


def test_r24_a_receipt_has_one_notation() -> None:
    longer = GOOD.replace(b"\x11", b"\x18\x11")  # The state counter 17 in two bytes.
    for wrong, word in ((longer, "not-deterministic"), (GOOD + b"\x00", "malformed"), (GOOD[:-1], "malformed")):
        with pytest.raises(FormatError) as refused:
            decode_receipt(wrong)
        assert refused.value.refusal == f"receipt.{word}"


def test_r24_nothing_that_cannot_be_read_is_written() -> None:
    for wrong in ({"time": -1}, {"request_id": ""}, {"key_uuid": ""}, {"outcome": "perhaps"}, {"version": 2}):
        with pytest.raises(FormatError) as refused:
            encode_receipt(example_receipt(**wrong))
        assert refused.value.refusal == "receipt.field"
    # A refusal may be about a key that is not there.
    encode_receipt(example_receipt(outcome="refused", key_uuid=""))


# --- what it is about ----------------------------------------------------------------------------------

EXPECTED: Final = Expected(
    instance_id=example_receipt().instance_id,
    request_id=example_receipt().request_id,
    key_uuid=example_receipt().key_uuid,
    statement=STATEMENT,
    outcome="executed",
    result_hash=result_hash_of(b"signature"),
)
OTHER_UUID: Final = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"instance_id": OTHER_UUID}, "instance"),
        ({"request_id": "another"}, "request"),
        ({"key_uuid": OTHER_UUID}, "key"),
        ({"action": "decrypt"}, "statement"),
        ({"statement_hash": bytes(32)}, "statement"),
        ({"outcome": "refused"}, "outcome"),
        ({"outcome": "refused", "key_uuid": ""}, "outcome"),
        ({"result_hash": result_hash_of(b"signaturf")}, "result"),
    ],
)
def test_r24_a_receipt_about_something_else_does_not_count(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(KeyturnError) as refused:
        require_receipt_about(example_receipt(**changes), EXPECTED)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_SIGNATURE, f"receipt.other-{word}")
    require_receipt_about(example_receipt(), EXPECTED)


def test_r24_every_parameter_of_a_call_changes_its_hash() -> None:
    sign, decrypt, unwrap = Statement.sign, Statement.decrypt, Statement.unwrap
    none: dict[str, Any] = {"iv": None, "aad": None, "tag_length": 0}
    statements = [
        sign("k", b"p", "A", ""),
        sign("m", b"p", "A", ""),
        sign("k", b"q", "A", ""),
        sign("k", b"p", "B", ""),
        sign("k", b"p", "A", "DER"),
        decrypt("k", b"p", "A", **none),
        decrypt("k", b"p", "A", **none | {"iv": b""}),
        decrypt("k", b"p", "A", **none | {"aad": b""}),
        decrypt("k", b"p", "A", **none | {"tag_length": 128}),
        unwrap("k", b"p", "M", "n", {}),
        unwrap("k", b"p", "N", "n", {}),
        unwrap("k", b"p", "M", "o", {}),
        unwrap("k", b"p", "M", "n", {"sign": True}),
        unwrap("k", b"p", "M", "n", {"sign": False}),
        unwrap("k", b"p", "M", "n", {}, policy=b"policy"),
        unwrap("k", b"p", "M", "n", {}, blocked=True),
        unwrap("k", b"p", "M", "n", {}, key_id=""),
        Statement.modify("k", b"p"),
        Statement.block("k"),
        Statement.unblock("k"),
        Statement.certify("k", "csr", b"p", "A"),
        Statement.certify("k", "issue", b"p", "A"),
        Statement.certify("k", "something else", b"p", "A"),
        Statement.certify("k", "selfsign", b"p", "A"),
        Statement.certify("k", "issue", b"p", "A", certificate_authority=True),
        Statement.certify("k", "selfsign", b"p", "A", attach_to="k"),
    ]
    assert len({statement_hash_of(one) for one in statements}) == len(statements)
    assert {one.action for one in statements} == ACTIONS
    assert refusal_hash_of(701, "a") != refusal_hash_of(700, "a") != refusal_hash_of(700, "b")


# --- the golden file -----------------------------------------------------------------------------------

_MAKERS: Final[dict[str, Any]] = {
    "sign": Statement.sign,
    "decrypt": Statement.decrypt,
    "unwrap": Statement.unwrap,
    "modify": Statement.modify,
    "block": Statement.block,
    "unblock": Statement.unblock,
}
_BYTES: Final = frozenset({"payload", "wrapped_key", "policy", "iv", "aad"})


def _arguments(call: dict[str, Any]) -> dict[str, Any]:
    return {
        name: bytes.fromhex(value) if name in _BYTES and value is not None else value for name, value in call.items()
    }


@pytest.mark.parametrize(
    "case", json.loads(GOLDEN.read_text()) if GOLDEN.exists() else [], ids=lambda case: case["name"]
)
def test_r24_golden_receipts_are_read_and_written_the_same_for_ever(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["receipt"])
    receipt = verify_receipt(data, bytes.fromhex(case["signature"]), receipt_key_spki=bytes.fromhex(case["receiptKey"]))
    assert encode_receipt(receipt) == data
    statement = _MAKERS[receipt.action](**_arguments(case["call"]))
    result = (
        refusal_hash_of(case["errorCode"], case["refusal"])
        if receipt.outcome == "refused"
        else result_hash_of(bytes.fromhex(case["result"]))
    )
    require_receipt_about(
        receipt,
        Expected(
            instance_id=case["instanceId"],
            request_id=case["requestId"],
            key_uuid=case["keyUuid"],
            statement=statement,
            outcome=case["outcome"],
            result_hash=result,
        ),
    )
    assert (receipt.time, receipt.state_counter, receipt.restore_epoch) == (
        case["time"],
        case["stateCounter"],
        case["restoreEpoch"],
    )
