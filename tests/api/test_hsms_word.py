"""What the HSM signs for others to see, over REST: the time, and receipts."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.errors import ErrorCode
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.policy import encode_policy
from keyturn.ska.receipt import verify_receipt
from keyturn.ska.receipt_hashes import Statement, result_hash_of, statement_hash_of
from keyturn_testing.actions import (
    OAEP_SHA1,
    SECRET,
    create_rsa_key,
    decrypt_body,
    oaep,
    ready_approvals,
    refused,
    unwrap_body,
    unwrap_payload,
)
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.openssl import dgst_accepts
from keyturn_testing.rest_server import b64, create_ec_key, policy_json

if TYPE_CHECKING:
    from keyturn.client import RestClient

    Officers = tuple[Officer, Officer, Officer]


# --- signed time -----------------------------------------------------------------------------------------------


def test_the_hsm_signs_the_time_for_an_operation_and_openssl_agrees(rest: RestClient, officers: Officers) -> None:
    ada, *_ = officers
    attested = create_ec_key(rest, "timely", make_policy(quorum(1, *officers, timelock=60)))
    integrity = parse_attestation(attested["xml"])
    wanted = policy_json(make_policy(quorum(1, ada)), new=False)
    for inner in (
        {"operation": "use", "payload": b64(b"pay"), "policy": None},
        {"operation": "modify", "policy": wanted},
        {"operation": "unblock", "payload": None},
    ):
        answer = rest.synchronous_timestamp({"keyName": "timely"} | inner)
        assert set(answer) == {
            "timestamp", "timestampSignature", "timestampSignatureAlgorithm", "timestampKeyName"
        }  # fmt: skip
        assert answer["timestampKeyName"] == integrity.integrity_key_name
        stamp, signature = (base64.b64decode(answer[name]) for name in ("timestamp", "timestampSignature"))
        assert answer["timestampSignatureAlgorithm"] == "SHA256_WITH_ECDSA"
        assert dgst_accepts(integrity.integrity_key, signature, stamp, "sha256")
        assert not dgst_accepts(integrity.integrity_key, signature, stamp + b"\0", "sha256")


@pytest.mark.parametrize(
    "defect",
    [
        {"operation": "use", "payload": None},
        {"operation": "use", "payload": ""},
        {"operation": "use", "payload": "?"},
        {"operation": "modify"},
        {"operation": "modify", "payload": None},
        {"operation": "modify", "payload": None, "policy": {"ruleUse": None}},
        {"operation": "use", "policy": {"ruleUse": None}},
        {"operation": "sign"},
        {"operation": None},
        {"requestId": "1"},
    ],
)
def test_a_time_is_signed_for_one_thing_only(rest: RestClient, officers: Officers, defect: dict[str, Any]) -> None:
    if "stamped" not in rest.list_keys():
        create_ec_key(rest, "stamped", make_policy(quorum(1, *officers)))
    good = {"keyName": "stamped", "operation": "use", "payload": b64(b"pay")}
    assert rest.synchronous_timestamp(good)
    assert refused(lambda: rest.synchronous_timestamp(good | defect)).code.number == 600


def test_a_time_for_a_block_says_what_is_approved_only_for_bound_keys(rest: RestClient, officers: Officers) -> None:
    create_ec_key(rest, "to-block", make_policy(quorum(1, *officers)))
    good = {"keyName": "to-block", "operation": "block"}
    assert rest.synchronous_timestamp(good)
    assert refused(lambda: rest.synchronous_timestamp(good | {"payload": b64(b"pay")})).code.number == 612


def test_time_is_signed_for_keys_with_a_policy_alone(rest: RestClient, officers: Officers) -> None:
    create_ec_key(rest, "timeless", None)
    create_ec_key(rest, "timed", make_policy(quorum(1, *officers)))
    body = {"operation": "use", "payload": b64(b"pay")}
    assert rest.synchronous_timestamp({"keyName": "timed"} | body)
    assert refused(lambda: rest.synchronous_timestamp({"keyName": "timeless"} | body)).code.http_status == 400
    assert refused(lambda: rest.synchronous_timestamp({"keyName": "nobody"} | body)).code is ErrorCode.KEY_NOT_EXISTENT


# --- receipts --------------------------------------------------------------------------------------------------


@pytest.mark.rule("R24")
def test_r24_who_names_their_request_gets_a_receipt_for_what_was_done_and_for_what_was_not(
    rest: RestClient, officers: Officers
) -> None:
    ada, ben, _ = officers
    spki = create_rsa_key(rest, "vouched", make_policy(quorum(2, *officers)))
    key = parse_attestation(rest.key_attributes("vouched")["xml"])
    assert key.receipt_key is not None
    ciphertext = oaep(spki, SECRET)
    approvals = ready_approvals([ada, ben], Action.USE, "vouched", ciphertext)
    asked = decrypt_body("vouched", ciphertext, requestId="request-17")

    answer = rest.execute_offline_input({"decryptRequest": asked | {"signedApprovals": approvals}})
    receipt = verify_receipt(
        base64.b64decode(answer["receipt"]),
        base64.b64decode(answer["receiptSignature"]),
        receipt_key_spki=key.receipt_key,
    )
    assert (receipt.request_id, receipt.action, receipt.outcome) == ("request-17", "decrypt", "executed")
    assert receipt.key_uuid == key.uuid
    assert receipt.result_hash == result_hash_of(base64.b64decode(answer["payload"]))
    statement = Statement.decrypt("vouched", ciphertext, asked["cipherAlgorithm"], iv=None, aad=None, tag_length=0)
    assert receipt.statement_hash == statement_hash_of(statement)

    error = refused(lambda: rest.execute_offline_input({"decryptRequest": asked}))
    assert error.refusal == "approvals.missing"
    receipt = verify_receipt(
        base64.b64decode(error.body["receipt"]),
        base64.b64decode(error.body["receiptSignature"]),
        receipt_key_spki=key.receipt_key,
    )
    assert (receipt.request_id, receipt.outcome) == ("request-17", "refused")

    # Without a request there is nothing to vouch for, and the answers are the documented ones.
    for unnamed in (asked | {"requestId": None}, asked | {"requestId": ""}):
        answer = rest.execute_offline_input({"decryptRequest": unnamed | {"signedApprovals": approvals}})
        assert set(answer) == {"payload"}
        body = refused(lambda unnamed=unnamed: rest.execute_offline_input({"decryptRequest": unnamed})).body  # type: ignore[misc] # Bound now.
        assert set(body) == {"errorCode", "reason", "message", "refusal"}
    for name in ("ü", "a b", "x" * 129):
        error = refused(lambda name=name: rest.synchronous_decrypt(asked | {"requestId": name}))  # type: ignore[misc] # Bound now.
        assert error.code.number == 600
        assert "receipt" not in error.body


@pytest.mark.rule("R24")
def test_r24_every_synchronous_call_takes_the_name_of_a_request(rest: RestClient, officers: Officers) -> None:
    ada, *_ = officers
    label = "all-vouched"
    spki = create_rsa_key(rest, label, make_policy(quorum(1, ada)), sign=True)
    wrapped = oaep(spki, os.urandom(16), OAEP_SHA1)
    wanted = make_policy(quorum(1, *officers))
    stamp = rest.synchronous_timestamp({
        "keyName": label, "operation": "modify", "policy": policy_json(wanted, new=False)
    })  # fmt: skip
    digest = bytes(32)
    bodies: dict[str, dict[str, Any]] = {
        "signRequest": {
            "payload": b64(digest),
            "signKeyName": label,
            "signatureAlgorithm": "SHA256_WITH_RSA",
            "signedApprovals": ready_approvals([ada], Action.USE, label, digest),
        },
        "unwrapKeyRequest": unwrap_body(
            label,
            wrapped,
            "vouched-guest",
            signedApprovals=ready_approvals([ada], Action.USE, label, unwrap_payload(wrapped, "vouched-guest")),
        ),
        "blockRequest": {"blockKeyName": label, "signedApprovals": ready_approvals([ada], Action.BLOCK, label)},
        "unblockRequest": {"unblockKeyName": label, "signedApprovals": ready_approvals([ada], Action.UNBLOCK, label)},
        "modifyRequest": {
            "modifyKeyName": label,
            "policy": policy_json(wanted, new=False),
            "signedApprovals": ready_approvals([ada], Action.MODIFY, label, encode_policy(wanted), stamp),
        },
    }
    key = parse_attestation(rest.key_attributes(label)["xml"])
    for name, inner in bodies.items():
        answer = rest.execute_offline_input({name: inner | {"requestId": f"for-{name}"}})
        receipt = verify_receipt(
            base64.b64decode(answer["receipt"]),
            base64.b64decode(answer["receiptSignature"]),
            receipt_key_spki=key.receipt_key or b"",
        )
        assert (receipt.request_id, receipt.outcome) == (f"for-{name}", "executed")
