"""R11: the client shows what it signs, and refuses a task in which anything else disagrees.

Every test starts from an honest task, which is accepted, and changes one thing.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.approver.address_book import AddressBook
from keyturn.approver.keys import fingerprint_of
from keyturn.approver.review import Review, review_task
from keyturn.approver.tasks import parse_task
from keyturn.approver.terminal import spaced_fingerprint
from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken, Timestamp, encode_approval, encode_timestamp
from keyturn.ska.policy import EMPTY_POLICY, Rule, encode_policy
from keyturn.ska.words import checksum_words
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
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Callable

ADA, BEN, EVE = Officer("ada"), Officer("ben", "ED"), Officer("eve", "P-384")
POLICY = make_policy(quorum(2, ADA, BEN, EVE))
NEW_POLICY = encode_policy(make_policy(quorum(2, ADA, BEN, Officer("fay"))))
PAYLOAD = b"Pay 10 to Bob."
OTHER_PAYLOAD = b"Pay 10000 to Eve."
HSM = PaperHsm()
BOOK = AddressBook.empty()


def review(task: dict[str, Any], *, pinned: bool = True, who: Officer = ADA, book: AddressBook = BOOK) -> Review:
    device = HSM.certificate if pinned else None
    return review_task(parse_task(task), own_spki=who.spki, address_book=book, device_certificate=device)


def stamped_task(**request: Any) -> dict[str, Any]:
    return honest_task(ADA, HSM.stamp(sign_token(PAYLOAD)), hsm=HSM, policy=POLICY, **request)


def modify_task() -> dict[str, Any]:
    return honest_task(ADA, HSM.stamp(modify_token(NEW_POLICY)), hsm=HSM, policy=POLICY)


def recoded(task: dict[str, Any], field: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the request inside `requestBase64` or one of the `signed…` fields."""
    request = (
        json.loads(base64.b64decode(task[field])) if field == "requestBase64" else json.loads(json.dumps(task[field]))
    )
    change(next(value for name, value in request.items() if name.endswith("Request")))
    task[field] = b64(json.dumps(request).encode()) if field == "requestBase64" else request


def attributes_of(label: str) -> dict[str, str]:
    """Honest attributes of some key of the same HSM."""
    xml, signature = HSM.attest(POLICY, label=label)
    return {"keyAttributes": xml, "keyAttributesSignature": b64(signature)}


# --- what is shown --------------------------------------------------------------------------------------


@pytest.mark.rule("R11")
def test_r11_an_honest_task_is_shown_from_the_bytes_to_be_signed() -> None:
    task = stamped_task(metaData=b64(b'{"app":"ERP","from":"Mallory"}'), payloadType="ISO_20022")
    shown = review(task)
    assert shown.token.action is Action.USE
    assert shown.label == LABEL
    assert shown.payload is not None
    assert shown.payload.shown == PAYLOAD.decode()
    assert shown.words == checksum_words(shown.approval, domain="approval")
    assert len(shown.words) == 8
    assert b64(shown.approval) == task["approvalToBeSigned"]
    assert shown.stamp is not None
    assert (shown.stamp.seconds, shown.stamp.verified) == (STAMPED_AT, True)
    assert shown.warnings == ()
    claims = {claim.name: claim.text for claim in shown.claims}
    assert claims["payload type"] == "ISO_20022"
    assert claims["signature algorithm"] == "SHA256_WITH_ECDSA"
    assert '"from": "Mallory"' in claims["metadata"]


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_r11_every_detail_level_is_enough_to_see_what_would_be_signed(level: int) -> None:
    by_level = {
        1: {"detailLevel", "id", "approvalToBeSigned", "approverPublicKey"},
        2: {"metaData", "metaDataSignature", "payload", "payloadType"},
        3: {"requestBase64", "signedSignRequest"},
        4: {"timestamp", "timestampSignature", "timestampSignatureAlgorithm", "timestampSignatureWithAlgorithm"},
        5: {"keyAttributes", "keyAttributesSignature"},
    }
    kept = set().union(*(by_level[number] for number in range(1, level + 1)))
    shown = review({name: value for name, value in stamped_task().items() if name in kept})
    assert shown.payload is not None
    assert shown.payload.shown == PAYLOAD.decode()
    assert shown.stamp is not None
    assert shown.stamp.verified is (level == 5)


def test_r11_a_new_policy_is_put_into_words_with_fingerprints_against_the_officers_own_book() -> None:
    fay = Officer("fay")
    book = AddressBook.empty().with_contact(_fingerprint(BEN), "Benjamin B.")
    shown = review(modify_task(), book=book)
    text = "\n".join(shown.policy_lines)
    assert "2 of these 3 people" in text
    assert f'- YOU\n    key {_spaced(ADA)}\n    the policy calls them "ada"\n' in _outdented(text)
    assert f'- Benjamin B.\n    key {_spaced(BEN)}\n    the policy calls them "ben"\n' in _outdented(text)
    assert f'- NOT IN YOUR ADDRESS BOOK\n    key {_spaced(fay)}\n    the policy calls them "fay"' in _outdented(text)
    changes = _outdented("\n".join(shown.change_lines))
    stranger = "- NOT IN YOUR ADDRESS BOOK\n    key"
    assert f'no longer listed:\n  {stranger} {_spaced(EVE)}\n    the policy calls them "eve"' in changes
    assert f'newly listed:\n  {stranger} {_spaced(fay)}\n    the policy calls them "fay"' in changes
    assert any("not in your address book" in warning and _spaced(fay) in warning for warning in shown.warnings)
    assert not any(_spaced(BEN) in warning for warning in shown.warnings)


def test_r11_a_name_in_a_policy_cannot_pass_for_the_address_book() -> None:
    mallory = Officer("mallory")
    disguised = replace(mallory.as_approver(), name='YOU"; key 0000')
    token = modify_token(encode_policy(make_policy(quorum(1, disguised))))
    lines = review(honest_task(ADA, token)).policy_lines
    assert [line.strip() for line in lines[2:]] == [
        "- NOT IN YOUR ADDRESS BOOK",
        f"key {_spaced(mallory)}",
        'the policy calls them "YOU"; key 0000"',
    ]


def test_r11_claims_and_labels_are_escaped() -> None:
    token = sign_token(PAYLOAD, "tre\u0430sury\u202e")
    shown = review(honest_task(ADA, token, metaData=b64(b"\x1b[2J")))
    assert shown.label == "tre\u0430sury<U+202E>"
    assert any("outside ASCII" in warning for warning in shown.warnings)
    assert ("metadata", "<U+001B>[2J") in {(claim.name, claim.text) for claim in shown.claims}


@pytest.mark.rule("R10")
def test_r10_an_open_modify_is_shown_before_approving() -> None:
    open_policy = make_policy(quorum(2, ADA, BEN), modify=Rule.ALWAYS)
    shown = review(honest_task(ADA, sign_token(PAYLOAD), hsm=HSM, policy=open_policy))
    assert any("can be replaced without approvals" in warning for warning in shown.warnings)
    assert not any("unverified" in warning for warning in shown.warnings)
    unpinned = review(honest_task(ADA, sign_token(PAYLOAD), hsm=HSM, policy=open_policy), pinned=False)
    assert any("unverified" in warning and "without approvals" in warning for warning in unpinned.warnings)
    closed = review(honest_task(ADA, sign_token(PAYLOAD), hsm=HSM, policy=POLICY))
    assert not any("without approvals" in warning for warning in closed.warnings)


@pytest.mark.rule("R10")
def test_r10_a_new_policy_that_opens_modify_or_leaves_the_officer_out_is_called_so() -> None:
    token = modify_token(encode_policy(make_policy(quorum(2, BEN, EVE), modify=Rule.ALWAYS)))
    shown = review(honest_task(ADA, token, hsm=HSM, policy=POLICY))
    assert any("NEW policy" in warning and "replaced again" in warning for warning in shown.warnings)
    assert any("you are no longer listed" in warning for warning in shown.warnings)
    assert "NO APPROVAL IS NEEDED" in "\n".join(shown.policy_lines)


def test_an_officer_who_is_not_listed_is_told_that_the_approval_would_not_count() -> None:
    gil = Officer("gil")
    shown = review(honest_task(gil, sign_token(PAYLOAD), hsm=HSM, policy=POLICY), who=gil)
    assert any("would not count" in warning for warning in shown.warnings)


def test_a_blocked_key_is_called_blocked() -> None:
    task = stamped_task()
    xml, signature = HSM.attest(POLICY, blocked=True)
    shown = review(task | {"keyAttributes": xml, "keyAttributesSignature": b64(signature)})
    assert any("blocked" in warning for warning in shown.warnings)


@pytest.mark.rule("R8")
def test_r8_a_payload_that_is_itself_an_approval_is_pointed_out() -> None:
    shown = review(honest_task(ADA, sign_token(encode_approval(sign_token(PAYLOAD)))))
    assert any("itself a" in warning for warning in shown.warnings)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (EMPTY_POLICY, "unblock the key or change this policy: NO APPROVAL IS NEEDED"),
        (make_policy(quorum(1, ADA), unblock=Rule.NEVER), "To unblock the key: never possible"),
        (make_policy(quorum(2, ADA, BEN, timelock=3600, timeout=90_000)), "not earlier than 1 hour after"),
        (make_policy(quorum(2, ADA, BEN, timelock=3600, timeout=90_000)), "not later than 1 day 1 hour after"),
        (make_policy(quorum(2, ADA, BEN)), "all of these 2 people"),
        (make_policy(quorum(1, ADA)), "this one person"),
        (make_policy(Rule(quorum(1, ADA).tokens + quorum(1, BEN).tokens)), "one of these 2 ways is enough"),
        (make_policy(quorum(1, ADA.as_approver(certificate=True))), 'the policy calls them "ada"'),
    ],
)
def test_a_policy_in_plain_words(policy: Any, words: str) -> None:
    assert words in "\n".join(review(honest_task(ADA, modify_token(encode_policy(policy)))).policy_lines)


# --- what is refused ------------------------------------------------------------------------------------


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
            parse_task(task), own_spki=ADA.spki, address_book=BOOK, device_certificate=_foreign_device_certificate()
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


def _fingerprint(officer: Officer) -> str:
    return fingerprint_of(officer.spki)


def _spaced(officer: Officer) -> str:
    return spaced_fingerprint(_fingerprint(officer))


def _outdented(text: str) -> str:
    """The text with the first two levels of indent made one, so that tests read the same for every depth."""
    return text.replace("\n    -", "\n  -").replace("\n      ", "\n    ")


def _foreign_device_certificate() -> bytes:
    return Officer("some other device", "RSA").certificate
