"""Every public sample decodes, encodes to the same bytes again, and verifies or fails as its entry says."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import ApproverKey, load_approver_certificate, load_approver_key
from keyturn.ska.messages import (
    decode_approval,
    decode_authorization,
    decode_timestamp,
    decode_unwrap_payload,
    encode_approval,
    encode_authorization,
    encode_timestamp,
    encode_unwrap_payload,
    looks_like_own_structure,
)
from keyturn.ska.policy import (
    Policy,
    Rule,
    TimeUnit,
    decode_any_policy,
    decode_policy,
    encode_policy,
    encode_rule,
)
from keyturn.ska.signatures import scheme_for, unwrap_signature, verify, wrap_signature

Vector = dict[str, Any]
VECTORS: list[Vector] = json.loads((Path(__file__).parents[1] / "vectors" / "ska-vectors.json").read_text())
BY_NAME = {vector["name"]: vector for vector in VECTORS}


def of_kind(*kinds: str) -> list[Any]:
    return [pytest.param(v, id=v["name"]) for v in VECTORS if v["kind"] in kinds]


def raw(vector: Vector) -> bytes:
    return base64.b64decode(vector["base64"])


def recovered_key(vector: Vector) -> ApproverKey:
    curve = {"P-256": ec.SECP256R1(), "secp256k1": ec.SECP256K1()}[vector["recovered_curve"]]
    point = bytes.fromhex(vector["recovered_public_key_sec1_hex"])
    key = ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    return load_approver_key(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def flip(data: bytes, position: int = -1) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


def refuses(key: ApproverKey, wrapped: bytes, data: bytes) -> bool:
    scheme, bare = unwrap_signature(wrapped)
    try:
        verify(key, scheme, bare, data)
    except KeyturnError as error:
        return error.refusal == "approval.bad-signature"
    return False


def test_every_kind_of_vector_is_used() -> None:
    assert len(VECTORS) == 27
    assert {v["kind"] for v in VECTORS} == {
        "authorization_token",
        "approval_token",
        "hsm_timestamp",
        "policy_blob",
        "policy_elements_without_total_header",
        "rule_blob",
        "der_signature",
        "der_signature_anomaly",
        "unwrap_payload",
        "task_fetch_timestamp",
        "key_attributes_xml",
    }


@pytest.mark.parametrize("vector", of_kind("authorization_token"))
def test_signed_approvals_round_trip_and_verify_over_the_blob_with_its_header(vector: Vector) -> None:
    data = raw(vector)
    authorization = decode_authorization(data)
    assert encode_authorization(authorization) == data
    assert encode_approval(decode_approval(authorization.approval)) == authorization.approval
    assert authorization.spki is not None
    key = load_approver_key(authorization.spki)
    assert vector["signature_verifies"] is True
    assert not refuses(key, authorization.signature, authorization.approval)
    assert refuses(key, authorization.signature, authorization.approval[4:])
    assert refuses(key, authorization.signature, flip(authorization.approval))
    scheme, bare = unwrap_signature(authorization.signature)
    assert wrap_signature(scheme.name, bare) == authorization.signature


@pytest.mark.parametrize("vector", of_kind("approval_token"))
def test_approvals_round_trip(vector: Vector) -> None:
    data = raw(vector)
    approval = decode_approval(data)
    assert encode_approval(approval) == data
    assert looks_like_own_structure(data) == "approval"
    if approval.timestamp is not None and approval.timestamp_signature is not None:
        stamp = decode_timestamp(approval.timestamp)
        assert encode_timestamp(stamp) == approval.timestamp
        assert stamp.action_payload == approval.payload
        assert stamp.is_policy == (approval.action is Action.MODIFY)
        scheme, bare = unwrap_signature(approval.timestamp_signature)
        assert wrap_signature(scheme.name, bare) == approval.timestamp_signature


@pytest.mark.parametrize("vector", [p for p in of_kind("approval_token") if "approver_signature" in p.values[0]])
def test_the_approvers_signatures_of_the_samples_verify(vector: Vector) -> None:
    if "approver_certificate" in vector:
        key = load_approver_certificate(base64.b64decode(vector["approver_certificate"]))
    else:
        key = load_approver_key(base64.b64decode(vector["approver_public_key"]))
    scheme = scheme_for(key, vector["approver_digest"])
    signature = base64.b64decode(vector["approver_signature"])
    verify(key, scheme, signature, raw(vector))
    with pytest.raises(KeyturnError):
        verify(key, scheme, signature, raw(vector)[4:])
    with pytest.raises(KeyturnError):
        verify(key, scheme, signature, flip(raw(vector)))


@pytest.mark.parametrize("vector", of_kind("hsm_timestamp"))
def test_timestamps_round_trip_and_verify_where_the_key_is_known(vector: Vector) -> None:
    data = raw(vector)
    assert encode_timestamp(decode_timestamp(data)) == data
    assert looks_like_own_structure(data) == "timestamp"
    if vector["signature_verifies"]:
        wrapped = wrap_signature("SHA256_WITH_ECDSA", base64.b64decode(vector["timestamp_signature"]))
        key = recovered_key(vector)
        assert not refuses(key, wrapped, data)
        assert refuses(key, wrapped, data[4:])
        assert refuses(key, wrapped, flip(data, 20))
    if "timestamp_signature_with_algorithm" in vector:
        bare = base64.b64decode(vector["timestamp_signature"])
        wrapped = base64.b64decode(vector["timestamp_signature_with_algorithm"])
        assert wrap_signature("SHA256_WITH_ECDSA", bare) == wrapped


def test_the_timestamp_inside_an_approval_verifies() -> None:
    vector = BY_NAME["thirdparty-approval-with-timestamp"]
    approval = decode_approval(raw(vector))
    assert approval.timestamp is not None
    assert approval.timestamp_signature is not None
    assert not refuses(recovered_key(vector), approval.timestamp_signature, approval.timestamp)
    assert refuses(recovered_key(vector), approval.timestamp_signature, flip(approval.timestamp, 20))


def test_the_slip10_policy_is_read_in_minutes_and_round_trips() -> None:
    data = raw(BY_NAME["slip10-modify-payload"])
    policy = decode_policy(data)
    assert encode_policy(policy) == data
    assert looks_like_own_structure(data) == "policy"
    assert [(t.timelock, t.timeout, t.unit) for t in policy.use.tokens] == [(0, 600, TimeUnit.MINUTES)]
    assert [(t.timelock, t.timeout) for t in policy.modify.tokens] == [(180, 180)]
    assert decode_any_policy(data) == policy


@pytest.mark.rule("decisions 21")
def test_a_policy_without_header_is_for_looking_at_only() -> None:
    data = raw(BY_NAME["thirdparty-policy-1-of-3"])
    policy = decode_any_policy(data)
    assert isinstance(policy, Policy)
    assert encode_policy(policy)[4:] == data
    assert policy.block == Rule.NEVER
    assert policy.use.tokens[0].groups[0].quorum == 1
    assert [a.name for a in policy.use.tokens[0].groups[0].approvers] == ["B", "C", "O"]
    with pytest.raises(FormatError):
        decode_policy(data)
    assert decode_policy(encode_policy(policy)) == policy


@pytest.mark.rule("decisions 21")
def test_a_rule_with_quorum_0_is_for_looking_at_only() -> None:
    data = raw(BY_NAME["pkcs11-rule-no-approval-needed"])
    rule = decode_any_policy(data)
    assert isinstance(rule, Rule)
    assert encode_rule(rule) == data
    assert rule.tokens[0].groups[0].quorum == 0
    with pytest.raises(FormatError) as caught:
        decode_policy(encode_policy(Policy(rule, rule, rule, rule)))
    assert caught.value.refusal == "policy.quorum-zero"


@pytest.mark.parametrize("vector", of_kind("unwrap_payload"))
def test_unwrap_payloads_round_trip(vector: Vector) -> None:
    data = raw(vector)
    payload = decode_unwrap_payload(data)
    assert encode_unwrap_payload(payload) == data
    assert payload.capability_flags == 0x7F
    assert looks_like_own_structure(data) == "unwrap blob"


@pytest.mark.parametrize("vector", of_kind("der_signature", "der_signature_anomaly"))
def test_wrappers_round_trip(vector: Vector) -> None:
    scheme, bare = unwrap_signature(raw(vector))
    assert scheme.oid == vector["decoded"]["algorithm_oid"]
    assert wrap_signature(scheme.name, bare) == raw(vector)


@pytest.mark.parametrize("name", ["modify", "use"])
def test_the_anomalous_wrapper_holds_the_timestamp_and_does_not_verify(name: str) -> None:
    stamp = raw(BY_NAME[f"slip10-{name}-timestamp"])
    wrapped = raw(BY_NAME[f"slip10-{name}-timestampSignatureWithAlgorithm"])
    assert unwrap_signature(wrapped)[1] == stamp
    assert refuses(recovered_key(BY_NAME[f"slip10-{name}-timestamp"]), wrapped, stamp)


@pytest.mark.parametrize("vector", of_kind("task_fetch_timestamp"))
def test_task_fetch_signatures_cover_the_text_as_sent(vector: Vector) -> None:
    if "signer_certificate" in vector:
        key = load_approver_certificate(base64.b64decode(vector["signer_certificate"]))
    else:
        key = load_approver_key(base64.b64decode(vector["signer_public_key"]))
    scheme = scheme_for(key, vector["digest"])
    signature = base64.b64decode(vector["signature"])
    verify(key, scheme, signature, raw(vector))
    with pytest.raises(KeyturnError):
        verify(key, scheme, signature, raw(vector) + b"\n")


@pytest.mark.parametrize("vector", of_kind("key_attributes_xml"))
def test_attested_xml_verifies_with_its_trailing_newlines(vector: Vector) -> None:
    modulus = int(vector["recovered_rsa_modulus_hex"], 16)
    spki = rsa.RSAPublicNumbers(65537, modulus).public_key()
    key = load_approver_key(spki.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    scheme = scheme_for(key, "SHA-256")
    signature = base64.b64decode(vector["signature"])
    verify(key, scheme, signature, raw(vector))
    with pytest.raises(KeyturnError):
        verify(key, scheme, signature, raw(vector).rstrip(b"\n"))
