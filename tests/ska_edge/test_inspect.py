"""Inspecting: every public sample is recognised, and nothing that is inspected gains authority by it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import FormatError
from keyturn.ska import der
from keyturn.ska.actions import Action
from keyturn.ska.attestation import render_attestation
from keyturn.ska.inspect import MAX_INPUT, inspect_blob
from keyturn.ska.messages import (
    ApprovalToken,
    Authorization,
    Timestamp,
    UnwrapPayload,
    encode_approval,
    encode_authorization,
    encode_timestamp,
    encode_unwrap_payload,
)
from keyturn.ska.policy import EMPTY_POLICY, Policy, Rule, TimeUnit, encode_policy, encode_rule
from keyturn.ska.signatures import wrap_signature
from keyturn.ska.tlv import Element, Tag, encode_blob
from keyturn.ska.words import APPROVAL_DOMAIN, checksum_words
from keyturn_testing.attested import example_attestation, officer, spki, two_of_three

VECTORS: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "ska-vectors.json").read_text()
)
BY_NAME: Final = {vector["name"]: vector for vector in VECTORS}


def fields_of(data: bytes) -> dict[str, Any]:
    """The fields found in some bytes, as they come out of JSON."""
    found = json.loads(json.dumps(inspect_blob(data)))
    assert set(found) == {"kind", "fields", "signatureValid"}
    fields: dict[str, Any] = found["fields"]
    return fields


@pytest.mark.parametrize("vector", [pytest.param(v, id=v["name"]) for v in VECTORS])
def test_every_public_sample_is_recognised(vector: dict[str, Any]) -> None:
    found = inspect_blob(base64.b64decode(vector["base64"]))
    assert found["kind"] == vector["kind"]
    json.dumps(found)
    if vector["kind"] == "authorization_token":
        assert found["signatureValid"] is True
    elif vector["kind"] == "der_signature_anomaly":
        assert found["signatureValid"] is False
    else:
        # Their signer's key is not in them.
        assert found["signatureValid"] is None


def test_the_known_sample_prints_what_the_workflow_says() -> None:
    found = inspect_blob(base64.b64decode(VECTORS[0]["base64"]))
    fields = found["fields"]
    assert isinstance(fields, dict)
    assert found["kind"] == "authorization_token"
    assert fields["keyLabel"] == "MSI-StandaloneKey"
    assert fields["payload"] == "harro"
    assert fields["operation"] == "use"
    assert fields["signatureAlgorithm"] == "SHA256_WITH_RSA"
    assert found["signatureValid"] is True


def test_one_changed_bit_of_what_was_signed_makes_the_signature_invalid() -> None:
    for name in ("seed-signed-approval-rsa", "thirdparty-signed-approval-p256"):
        data = bytearray(base64.b64decode(BY_NAME[name]["base64"]))
        payload_at = bytes(data).index(bytes.fromhex("5710")) + 4
        data[payload_at] ^= 1
        found = inspect_blob(bytes(data))
        assert (found["kind"], found["signatureValid"]) == ("authorization_token", False)


# --- approvals -------------------------------------------------------------------------------------------


def authorization(approval: bytes, key: ed25519.Ed25519PrivateKey | None = None) -> bytes:
    """A signed approval by an Ed25519 key."""
    key = key or ed25519.Ed25519PrivateKey.generate()
    signature = wrap_signature("EDDSA", key.sign(approval))
    return encode_authorization(Authorization(approval, signature, spki(key.public_key())))


def test_an_approval_shows_what_it_approves_and_the_words_to_compare() -> None:
    approval = encode_approval(ApprovalToken(Action.USE, b"treasury", payload=b"pay 5"))
    fields = fields_of(approval)
    assert (fields["operation"], fields["keyLabel"], fields["payload"]) == ("use", "treasury", "pay 5")
    assert fields["payloadHex"] == b"pay 5".hex()
    assert fields["checksumWords"] == " ".join(checksum_words(approval, domain=APPROVAL_DOMAIN))
    signed = fields_of(authorization(approval))
    assert signed["checksumWords"] == fields["checksumWords"]
    assert signed["approver"]["keyType"] == "ED"


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"a\0b", b"esc \x1b[31m", "turn \u202e round".encode(), b"\xc0\x80"])
def test_a_payload_that_is_not_clean_text_is_shown_as_bytes_only(payload: bytes) -> None:
    fields = fields_of(encode_approval(ApprovalToken(Action.USE, b"key", payload=payload)))
    assert fields["payload"] is None
    assert bytes.fromhex(fields["payloadHex"]) == base64.b64decode(fields["payloadBase64"]) == payload
    clean = fields_of(encode_approval(ApprovalToken(Action.USE, b"key", payload="zwei\nZeilen: \u00e4".encode())))
    assert clean["payload"] == "zwei\nZeilen: \u00e4"


def test_a_label_that_is_not_text_is_shown_as_bytes() -> None:
    fields = fields_of(encode_approval(ApprovalToken(Action.BLOCK, b"key\xff")))
    assert (fields["keyLabel"], fields["keyLabelHex"], fields["operation"]) == (None, b"key\xff".hex(), "block")
    assert "payload" not in fields


def test_an_approved_unwrap_is_decoded_and_any_other_structure_named() -> None:
    unwrap = encode_unwrap_payload(UnwrapPayload(127, 45, b"wrapped", b"new key"))
    fields = fields_of(encode_approval(ApprovalToken(Action.USE, b"key", payload=unwrap)))
    assert fields["payloadIsAlso"] == "unwrap blob"
    assert fields["payloadDecoded"]["newKeyLabel"] == "new key"
    policy = encode_policy(EMPTY_POLICY)
    fields = fields_of(encode_approval(ApprovalToken(Action.USE, b"key", payload=policy)))
    assert fields["payloadIsAlso"] == "policy"


def test_a_modify_shows_the_new_policy_with_fingerprints_and_its_stamp() -> None:
    rule = two_of_three(TimeUnit.SECONDS, 60, 600)
    blob = encode_policy(Policy(rule, Rule.NEVER, Rule.ALWAYS, rule))
    stamp = encode_timestamp(Timestamp(1_723_658_570, "integrity", blob, is_policy=True))
    signature = wrap_signature("SHA256_WITH_ECDSA", b"\x30\x06\x02\x01\x01\x02\x01\x01")
    fields = fields_of(encode_approval(ApprovalToken(Action.MODIFY, b"key", stamp, signature, blob)))
    token = fields["policy"]["ruleUse"]["tokens"][0]
    assert (token["timelock"], token["timeout"], token["unit"]) == (60, 600, "seconds")
    assert [approval["name"] for approval in token["groups"][0]["approvals"]] == ["Officer 1", "Officer 2", "Officer 3"]
    assert len(token["groups"][0]["approvals"][0]["fingerprint"]) == 64
    assert fields["policy"]["ruleBlock"]["fulfilled"] == "never"
    assert fields["policy"]["ruleUnblock"]["fulfilled"] == "always"
    assert fields["timestamp"]["time"] == "2024-08-14T18:02:50Z"
    assert fields["timestamp"]["payloadIsTheApproved"] is True


def test_a_stamp_for_another_payload_or_without_sense_is_shown_as_such() -> None:
    signature = wrap_signature("EDDSA", bytes(64))
    foreign = encode_timestamp(Timestamp(2**63, "integrity", b"something else"))
    fields = fields_of(encode_approval(ApprovalToken(Action.USE, b"key", foreign, signature, b"this")))
    assert fields["timestamp"]["payloadIsTheApproved"] is False
    assert (fields["timestamp"]["time"], fields["timestamp"]["secondsSinceEpoch"]) == (None, 2**63)
    fields = fields_of(encode_approval(ApprovalToken(Action.USE, b"key", b"noise", b"noise", b"this")))
    assert "problem" in fields["timestamp"]


@pytest.mark.rule("R26")
def test_r26_rejections_and_withdrawals_are_told_from_approvals() -> None:
    approval = encode_approval(ApprovalToken(Action.USE, b"key", payload=b"data"))
    task = "8a1f0c52-61ce-4f37-9a52-6f0f9be1a0b6"
    for word, kind in ((b"REJECTED:", "rejection"), (b"WITHDRAW:", "withdrawal")):
        found = inspect_blob(word + approval + task.encode())
        assert found["kind"] == kind
        assert fields_of(word + approval + task.encode())["taskId"] == task
        assert fields_of(word + approval)["taskId"] is None
        for bad in (word, word + approval[:-1], word + approval + b"not a task"):
            with pytest.raises(FormatError):
                inspect_blob(bad)


# --- signatures ------------------------------------------------------------------------------------------


def test_a_signature_that_cannot_be_judged_is_null_with_the_reason() -> None:
    approval = encode_approval(ApprovalToken(Action.USE, b"key", payload=b"data"))
    key = ec.generate_private_key(ec.SECP256R1())
    good = wrap_signature("SHA256_WITH_ECDSA", key.sign(approval, ec.ECDSA(SHA256())))
    sha1 = good.replace(der.encode_oid("1.2.840.10045.4.3.2"), der.encode_oid("1.2.840.10045.4.1"))
    sha1 = der.encode(der.SEQUENCE, sha1[sha1.index(b"\x30", 1) :].replace(b"\x30\x0c", b"\x30\x0b", 1))
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - Weakness is what is shown.
    weak_signature = wrap_signature("SHA256_WITH_RSA", weak.sign(approval, PKCS1v15(), SHA256()))
    cases = (
        (sha1, spki(key.public_key()), "SHA-1"),
        (b"noise", spki(key.public_key()), "wrapper"),
        (good, b"noise", "key"),
        (weak_signature, spki(weak.public_key()), "RSA"),
    )
    for signature, signer, word in cases:
        found = inspect_blob(encode_authorization(Authorization(approval, signature, signer)))
        assert found["signatureValid"] is None
        assert word in fields_of(encode_authorization(Authorization(approval, signature, signer)))["signatureProblem"]
    found = inspect_blob(encode_authorization(Authorization(approval, good, spki(key.public_key()))))
    assert found["signatureValid"] is True


def test_a_signature_by_another_kind_of_key_is_not_valid() -> None:
    approval = encode_approval(ApprovalToken(Action.USE, b"key", payload=b"data"))
    key = ed25519.Ed25519PrivateKey.generate()
    signature = wrap_signature("SHA256_WITH_ECDSA", key.sign(approval))
    assert (
        inspect_blob(encode_authorization(Authorization(approval, signature, spki(key.public_key()))))["signatureValid"]
        is False
    )
    assert inspect_blob(authorization(approval, key))["signatureValid"] is True


# --- policies --------------------------------------------------------------------------------------------


@pytest.mark.rule("decisions 21")
def test_what_only_the_lenient_decoder_takes_is_marked() -> None:
    rule = two_of_three()
    whole = encode_policy(Policy(rule, rule, rule, rule))
    assert fields_of(whole)["strict"] is True
    for lenient, kind in ((whole[4:], "policy_elements_without_total_header"), (encode_rule(rule), "rule_blob")):
        found = inspect_blob(lenient)
        assert found["kind"] == kind
        assert fields_of(lenient)["strict"] is False
        assert fields_of(lenient)["note"]
    open_rule = base64.b64decode(BY_NAME["pkcs11-rule-no-approval-needed"]["base64"])
    tags = (Tag.RULE_USE, Tag.RULE_BLOCK, Tag.RULE_UNBLOCK, Tag.RULE_MODIFY)
    quorum_0 = encode_blob(Element(tag, open_rule) for tag in tags)
    assert inspect_blob(quorum_0)["kind"] == "policy_blob"
    assert fields_of(quorum_0)["strict"] is False
    assert "quorum 0" in fields_of(quorum_0)["note"]


def test_an_approver_that_could_not_stand_in_a_policy_is_shown_with_the_problem() -> None:
    rule = two_of_three()
    group = rule.tokens[0].groups[0]
    data = encode_rule(rule).replace(officer(1), officer(1)[:12] + b"\1" + bytes(31))
    shown = fields_of(data)["tokens"][0]["groups"][0]["approvals"]
    assert len(shown) == len(group.approvers)
    assert "problem" in shown[0]
    assert "problem" not in shown[1]


# --- attested attributes -----------------------------------------------------------------------------------


def test_our_own_attributes_are_strict_and_show_what_is_ours() -> None:
    fields = fields_of(render_attestation(example_attestation(open_modify=True)).encode())
    assert (fields["strict"], fields["label"]) == (True, "treasury")
    assert (fields["keyturn"]["openModify"], fields["keyturn"]["isolation"]) == (True, "machine")


def test_attributes_of_another_product_are_shown_as_they_stand() -> None:
    fields = fields_of(base64.b64decode(BY_NAME["slip10-key-attributes-xml-2"]["base64"]))
    assert fields["strict"] is False
    key = fields["private_key"]
    assert key["@storage"] == "external"
    assert key["label"] == "TESTKEY2024-08-14_20-02-48.72168016257020/44'/0'/0'/0'"
    assert key["derivation_value"]["@type"] == "ADA/SLIP-10"
    assert key["policy"]["rule_block"]["token"]["timelock"] == "180"


# --- what is none of these -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"\0\0\0\0",
        b"\x04\0\0\0\xff\xff\0\0",
        b"hello",
        b"<?xml",
        b"<?xml version='1.0'?><!DOCTYPE a><a/>",
        b"x" * (MAX_INPUT + 1),
        b"2024-08-14 20:02:58",
    ],
)
def test_other_bytes_are_refused(noise: bytes) -> None:
    with pytest.raises(FormatError):
        inspect_blob(noise)


def test_every_cut_of_a_sample_is_refused_with_our_own_error() -> None:
    data = base64.b64decode(VECTORS[1]["base64"])
    for size in range(len(data)):
        with pytest.raises(FormatError):
            inspect_blob(data[:size])
    assert inspect_blob(data)["signatureValid"] is True


@given(st.sampled_from(VECTORS), st.integers(0, 10**6), st.integers(0, 255))
def test_a_changed_byte_never_raises_anything_but_our_own_error(
    vector: dict[str, Any], position: int, value: int
) -> None:
    data = bytearray(base64.b64decode(vector["base64"]))
    changed = data[position % len(data)] != value
    data[position % len(data)] = value
    found = None
    try:
        found = inspect_blob(bytes(data))
    except FormatError:
        return
    json.dumps(found)
    if vector["kind"] == "authorization_token" and found["kind"] == vector["kind"]:
        # Valid only if nothing was changed, or (NULL, names of the same key) nothing that is signed.
        assert changed or found["signatureValid"] is True


@given(st.binary(max_size=200))
def test_any_bytes_raise_nothing_but_our_own_error(noise: bytes) -> None:
    found = None
    try:
        found = inspect_blob(noise)
    except FormatError:
        return
    json.dumps(found)
