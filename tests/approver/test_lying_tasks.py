"""R11: a task in which anything disagrees is refused by the name of the field.

Every test starts from an honest task, which is accepted, and changes one thing.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.approver.review import review_task
from keyturn.approver.tasks import parse_task
from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken, Timestamp, encode_approval, encode_timestamp
from keyturn.ska.policy import Rule, encode_policy
from keyturn_testing.approval_tasks import (
    LABEL,
    STAMPED_AT,
    TASK_ID,
    PaperHsm,
    b64,
    honest_task,
    inner_request,
    modify_token,
    sign_token,
)
from keyturn_testing.officers import make_policy, quorum
from keyturn_testing.reviews import (
    ADA,
    BEN,
    BOOK,
    EVE,
    HSM,
    NEW_POLICY,
    NOW,
    OTHER_PAYLOAD,
    PAYLOAD,
    POLICY,
    attributes_of,
    foreign_device_certificate,
    modify_task,
    recoded,
    review,
    stamped_task,
)

if TYPE_CHECKING:
    from collections.abc import Callable


LIES: dict[str, tuple[str, str, Callable[[dict[str, Any]], None]]] = {
    "another payload beside": ("review.payload", "payload", lambda task: task.update(payload=b64(OTHER_PAYLOAD))),
    "payload cut beside": ("review.payload", "payload", lambda task: task.update(payload=b64(PAYLOAD[:-1]))),
    "payload no base64": ("review.malformed-field", "payload", lambda task: task.update(payload="?")),
    "payload a number": ("review.malformed-field", "payload", lambda task: task.update(payload=1)),
    "payload base64 with stray bits": (
        "review.malformed-field",
        "payload",
        lambda task: task.update(payload=b64(b"Pay")[:-1] + "5="),
    ),
    "approval for another key of approver": (
        "review.approver-public-key",
        "approverPublicKey",
        lambda task: task.update(approverPublicKey=b64(EVE.spki)),
    ),
    "approver key damaged": (
        "review.approver-public-key",
        "approverPublicKey",
        lambda task: task.update(approverPublicKey=b64(ADA.spki[:-1])),
    ),
    "metadata differs from the request": (
        "review.meta-data",
        "metaData",
        lambda task: task.update(metaData=b64(b"from your boss")),
    ),
    "request no JSON": ("review.request", "requestBase64", lambda task: task.update(requestBase64=b64(b"{"))),
    "request with a member twice": (
        "review.request",
        "requestBase64",
        lambda task: task.update(
            requestBase64=b64(
                base64.b64decode(task["requestBase64"])[:-2] + b',"payload":"' + b64(PAYLOAD).encode() + b'"}}'
            )
        ),
    ),
    "request too deep": ("review.request", "requestBase64", lambda task: task.update(requestBase64=b64(b"[" * 99_999))),
    "request of another kind": (
        "review.request",
        "requestBase64",
        lambda task: task.update(requestBase64=b64(b'{"decryptRequest": {"decryptKeyName": "treasury"}}')),
    ),
    "request for a modify": (
        "review.request",
        "requestBase64",
        lambda task: task.update(
            requestBase64=b64(json.dumps(dict([inner_request(modify_token(NEW_POLICY))])).encode())
        ),
    ),
    "request with another payload": (
        "review.request",
        "requestBase64",
        lambda task: recoded(task, "requestBase64", lambda inner: inner.update(payload=b64(OTHER_PAYLOAD))),
    ),
    "request with a payload read as hex": (
        "review.request",
        "requestBase64",
        lambda task: recoded(task, "requestBase64", lambda inner: inner.update(payloadType="HEX")),
    ),
    "request without payload": (
        "review.request",
        "requestBase64",
        lambda task: recoded(task, "requestBase64", lambda inner: inner.pop("payload")),
    ),
    "request for another key": (
        "review.request",
        "requestBase64",
        lambda task: recoded(task, "requestBase64", lambda inner: inner.update(signKeyName="petty cash")),
    ),
    "signed request for another key": (
        "review.signed-request",
        "signedSignRequest",
        lambda task: recoded(task, "signedSignRequest", lambda inner: inner.update(signKeyName="petty cash")),
    ),
    "signed request with another payload": (
        "review.signed-request",
        "signedSignRequest",
        lambda task: recoded(task, "signedSignRequest", lambda inner: inner.update(payload=b64(OTHER_PAYLOAD))),
    ),
    "a second signed request": (
        "review.signed-request",
        "signedModifyKeyRequest",
        lambda task: task.update(signedModifyKeyRequest=dict([inner_request(modify_token(NEW_POLICY))])),
    ),
    "a signed request of an unknown kind": (
        "review.signed-request",
        "signedDecryptRequest",
        lambda task: task.update(signedDecryptRequest={"decryptRequest": {}}),
    ),
    "another timestamp beside": (
        "review.timestamp",
        "timestamp",
        lambda task: task.update(
            timestamp=b64(encode_timestamp(Timestamp(STAMPED_AT + 1, HSM.integrity_name, PAYLOAD, False)))
        ),
    ),
    "another timestamp signature beside": (
        "review.timestamp",
        "timestampSignature",
        lambda task: task.update(timestampSignature=b64(b"\0" * 70)),
    ),
    "another timestamp algorithm beside": (
        "review.timestamp",
        "timestampSignatureAlgorithm",
        lambda task: task.update(timestampSignatureAlgorithm="SHA512_WITH_ECDSA"),
    ),
    "another wrapped timestamp signature beside": (
        "review.timestamp",
        "timestampSignatureWithAlgorithm",
        lambda task: task.update(timestampSignatureWithAlgorithm=b64(b"\x30\0")),
    ),
    "key attributes of another key": (
        "review.key-attributes",
        "keyAttributes",
        lambda task: task.update(attributes_of("petty cash")),
    ),
    "key attributes edited": (
        "review.key-attributes",
        "keyAttributes",
        lambda task: task.update(keyAttributes=task["keyAttributes"].replace("generated", "imported")),
    ),
    "key attributes without signature": (
        "review.key-attributes",
        "keyAttributes",
        lambda task: task.update(keyAttributesSignature=None),
    ),
    "no approval": ("review.not-an-approval", "approvalToBeSigned", lambda task: task.pop("approvalToBeSigned")),
    "approval empty": ("review.not-an-approval", "approvalToBeSigned", lambda task: task.update(approvalToBeSigned="")),
    "approval no base64": (
        "review.not-an-approval",
        "approvalToBeSigned",
        lambda task: task.update(approvalToBeSigned="%%%"),
    ),
}


@pytest.mark.rule("R11")
@pytest.mark.parametrize("lie", LIES)
def test_r11_a_broker_that_lies_is_refused_by_the_name_of_the_field(lie: str) -> None:
    word, field, change = LIES[lie]
    task = stamped_task()
    assert review(task).token.payload == PAYLOAD
    change(task)
    with pytest.raises(KeyturnError) as error:
        review(task)
    assert error.value.refusal == word
    assert f"`{field}`" in error.value.message


@pytest.mark.rule("R11")
@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("review.request", lambda inner: inner["policy"].update(ruleBlock=None)),
        ("review.request", lambda inner: inner["policy"]["ruleUse"]["tokens"][0]["groups"][0].update(quorum=1)),
        ("review.request", lambda inner: inner["policy"].pop("ruleUse")),
        ("review.request", lambda inner: inner.update(policy=None)),
        ("review.request", lambda inner: inner.update(modifyKeyName="petty cash")),
    ],
)
def test_r11_a_modify_whose_request_says_something_else_is_refused(
    word: str, change: Callable[[dict[str, Any]], None]
) -> None:
    task = modify_task()
    assert review(task).policy is not None
    recoded(task, "requestBase64", change)
    with pytest.raises(KeyturnError) as error:
        review(task)
    assert error.value.refusal == word


BAD_APPROVALS: dict[str, tuple[str, bytes]] = {
    "cut": ("review.not-an-approval", encode_approval(sign_token(PAYLOAD))[:-1]),
    "with a byte behind": ("review.not-an-approval", encode_approval(sign_token(PAYLOAD)) + b"\0"),
    "one bit in its length": (
        "review.not-an-approval",
        bytes([encode_approval(sign_token(PAYLOAD))[0] ^ 1]) + encode_approval(sign_token(PAYLOAD))[1:],
    ),
    "a rejection": (
        "review.not-an-approval",
        b"REJECTED:" + encode_approval(sign_token(PAYLOAD)) + TASK_ID.encode(),
    ),
    "a withdrawal": ("review.not-an-approval", b"WITHDRAW:" + encode_approval(sign_token(PAYLOAD))),
    "a timestamp": ("review.not-an-approval", encode_timestamp(Timestamp(STAMPED_AT, "integrity-1", PAYLOAD, False))),
    "a policy": ("review.not-an-approval", NEW_POLICY),
    "a fetch timestamp": ("review.not-an-approval", b"2026-11-21T22:00:00.000000Z"),
    "bare text": ("review.not-an-approval", PAYLOAD),
    "without a key": ("review.empty-label", encode_approval(ApprovalToken(Action.USE, b"", None, None, PAYLOAD))),
    "a block with a payload": (
        "review.unexpected-payload",
        encode_approval(ApprovalToken(Action.BLOCK, LABEL.encode(), None, None, PAYLOAD)),
    ),
    "a modify with half a policy": ("review.policy", encode_approval(modify_token(NEW_POLICY[:-4]))),
    "a modify with a name that repaints the screen": (
        "review.policy",
        encode_approval(
            modify_token(encode_policy(make_policy(quorum(1, replace(BEN.as_approver(), name="ben\x1b[2J")))))
        ),
    ),
    "a modify with a policy nobody can satisfy": (
        "review.policy",
        encode_approval(modify_token(encode_policy(make_policy(Rule.NEVER, modify=quorum(1, ADA))))),
    ),
}


@pytest.mark.rule("R11")
@pytest.mark.parametrize("kind", BAD_APPROVALS)
def test_r11_bytes_that_are_no_well_formed_approval_are_never_signed(kind: str) -> None:
    word, approval = BAD_APPROVALS[kind]
    bare = {"id": TASK_ID, "approvalToBeSigned": b64(encode_approval(sign_token(PAYLOAD)))}
    assert review(bare).token.payload == PAYLOAD
    with pytest.raises(KeyturnError) as error:
        review(bare | {"approvalToBeSigned": b64(approval)})
    assert error.value.refusal == word
    assert error.value.message.isprintable()


@pytest.mark.rule("R11")
def test_r11_a_timestamp_inside_the_approval_for_something_else_is_refused() -> None:
    other = HSM.stamp(sign_token(OTHER_PAYLOAD))
    token = replace(sign_token(PAYLOAD), timestamp=other.timestamp, timestamp_signature=other.timestamp_signature)
    with pytest.raises(KeyturnError) as error:
        review(honest_task(ADA, token, hsm=HSM, policy=POLICY))
    assert error.value.refusal == "review.timestamp-payload"
    assert review(honest_task(ADA, HSM.stamp(sign_token(PAYLOAD)), hsm=HSM, policy=POLICY)).stamp is not None


@pytest.mark.rule("R11")
def test_r11_a_timestamp_that_the_hsm_did_not_sign_is_refused_where_the_device_is_pinned() -> None:
    forged = PaperHsm(HSM.integrity_name).stamp(sign_token(PAYLOAD), seconds=STAMPED_AT - 86_400)
    task = honest_task(ADA, forged, hsm=HSM, policy=POLICY)
    with pytest.raises(KeyturnError) as error:
        review(task)
    assert error.value.refusal == "review.timestamp-signature"
    unpinned = review(task, pinned=False).stamp
    assert unpinned is not None
    assert not unpinned.verified
    assert "not verified" in unpinned.note


def test_r11_a_timestamp_of_another_integrity_key_is_shown_as_not_verified() -> None:
    shown = review(honest_task(ADA, PaperHsm("integrity-0").stamp(sign_token(PAYLOAD)), hsm=HSM, policy=POLICY))
    assert shown.stamp is not None
    assert not shown.stamp.verified
    assert "another integrity key" in shown.stamp.note
    assert any(warning.startswith("The HSM's timestamp is NOT VERIFIED") for warning in shown.warnings)
    assert not any("NOT VERIFIED" in warning for warning in review(stamped_task()).warnings)


def test_r11_timestamp_fields_beside_an_approval_without_one_are_refused() -> None:
    task = honest_task(ADA, sign_token(PAYLOAD))
    assert review(task).stamp is None
    with pytest.raises(KeyturnError) as error:
        review(task | {"timestampSignatureAlgorithm": "SHA256_WITH_ECDSA"})
    assert error.value.refusal == "review.timestamp"


def test_r11_malformed_timestamps_inside_the_approval_are_refused() -> None:
    honest = HSM.stamp(sign_token(PAYLOAD))
    for broken in (replace(honest, timestamp=b"\0\0\0\0"), replace(honest, timestamp_signature=b"\x30\x00")):
        task = honest_task(ADA, sign_token(PAYLOAD)) | {"approvalToBeSigned": b64(encode_approval(broken))}
        task["timestampSignature"] = b64(b"x")
        with pytest.raises(KeyturnError) as error:
            review(task)
        assert error.value.refusal == "review.timestamp"


def test_r11_a_timestamp_that_no_clock_can_show_is_refused() -> None:
    for seconds in (253_402_300_800, 2**64 - 1):
        with pytest.raises(KeyturnError) as error:
            review(honest_task(ADA, HSM.stamp(sign_token(PAYLOAD), seconds=seconds), hsm=HSM, policy=POLICY))
        assert error.value.refusal == "review.timestamp"
    shown = review(honest_task(ADA, HSM.stamp(sign_token(PAYLOAD), seconds=253_402_300_799), hsm=HSM, policy=POLICY))
    assert shown.stamp is not None


def test_r11_key_attributes_under_another_device_are_refused_and_without_a_pin_shown_as_unverified() -> None:
    task = stamped_task()
    with pytest.raises(KeyturnError) as error:
        review_task(
            parse_task(task),
            own_spki=ADA.spki,
            address_book=BOOK,
            now=NOW,
            device_certificate=foreign_device_certificate(),
        )
    assert error.value.refusal == "review.key-attributes"
    shown = review(task, pinned=False)
    assert shown.attested is not None
    assert not shown.attested.verified
    garbled = review(task | {"keyAttributes": "<xml/>"}, pinned=False)
    assert garbled.attested is None
    assert any("not known here" in warning for warning in garbled.warnings)


def test_the_same_policy_in_the_request_in_hex_and_bare_form_is_accepted() -> None:
    token = sign_token(PAYLOAD)
    task = honest_task(ADA, token)
    _, inner = inner_request(token, payload=PAYLOAD.hex(), payloadType="HEX")
    task["requestBase64"] = b64(json.dumps(inner).encode())
    task["signedSignRequest"] = None
    assert review(task).claims


@pytest.mark.parametrize(
    "task", [None, [], {}, {"id": 1}, {"id": "x"}, {"id": TASK_ID + "\n"}, {"id": "../" + TASK_ID}]
)
def test_a_task_without_a_uuid_is_refused(task: object) -> None:
    with pytest.raises(FormatError) as error:
        parse_task(task)
    assert error.value.refusal == "task.malformed"
    assert parse_task({"id": TASK_ID}).id == TASK_ID
