"""R7, R11: bound approvals, shown as what they are; a statement that disagrees with anything beside it is refused.

Every test starts from an honest task, which is accepted, and changes one thing.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.approver.review import require_approval, review_task
from keyturn.approver.tasks import parse_task
from keyturn.cli.officer_view import review_json
from keyturn.errors import KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.policy import encode_policy
from keyturn.ska.policy_json import policy_to_json
from keyturn.ska.statement import MAGIC, decode_statement, encode_statement
from keyturn_testing.approval_tasks import NEW_ATTRIBUTES, SIGNED_FIELDS, b64
from keyturn_testing.bound_tasks import (
    BOUND_KINDS,
    KEY,
    REQUEST_ID,
    attributes,
    bound_task,
    statement_of,
    with_payload,
)
from keyturn_testing.officers import make_policy, quorum
from keyturn_testing.reviews import (
    ADA,
    BEN,
    BOOK,
    CIPHERTEXT,
    EVE,
    EVERY_KIND,
    HSM,
    NOW,
    PAYLOAD,
    POLICY,
    recoded,
    review,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.ska.statement import Statement

NO_REQUEST = {"requestBase64": None, "signedSignRequest": None}
OTHER_ID = "1c7f3c52-3a5e-4d0a-8f5e-6b1d0c9a7e12"
OTHER_HASH = sha256(b"something else").digest()
NEW_KEYS_POLICY = make_policy(quorum(1, BEN, EVE))


def refused(task: dict[str, Any], word: str) -> str:
    with pytest.raises(KeyturnError) as error:
        review(task)
    assert error.value.refusal == word, error.value.message
    return error.value.message


@pytest.mark.rule("R7")
@pytest.mark.rule("R11")
@pytest.mark.parametrize("kind", BOUND_KINDS)
def test_r7_every_field_of_a_bound_approval_is_shown_as_a_fact(kind: str) -> None:
    shown = review(bound_task(kind))
    assert shown.kind == kind
    assert shown.statement == statement_of(kind)
    facts = dict(shown.bound)
    assert facts["operation"] == kind
    assert facts["request"] == REQUEST_ID
    assert facts["key fingerprint (SHA-256)"] == sha256(HSM.operational_spki).hexdigest()
    assert facts["policy in force (SHA-256)"] == sha256(encode_policy(POLICY)).hexdigest()
    assert "and nothing else" in shown.operation
    # What is bound is no claim any more, and there is nothing left to be careful about.
    assert shown.claims == ()
    assert not any("word alone" in one or "does not say which" in one for one in shown.warnings)
    told = review_json(shown)["bound"]
    assert told == facts
    # The same request of a key without bound approvals: these are claims.
    unbound = review(EVERY_KIND[kind]())
    assert unbound.statement is None
    assert unbound.bound == ()
    assert review_json(unbound)["bound"] is None
    if kind == "sign":
        assert ("signature algorithm", "SHA256_WITH_ECDSA") in [(one.name, one.text) for one in unbound.claims]
        assert facts["algorithm"] == "SHA256_WITH_ECDSA"


@pytest.mark.rule("R7")
def test_r7_the_data_is_shown_as_before() -> None:
    bound, unbound = review(bound_task("sign")), review(EVERY_KIND["sign"]())
    assert bound.payload is not None
    assert bound.payload == unbound.payload
    assert bound.payload.shown == PAYLOAD.decode()
    assert review_json(bound)["payload"]["base64"] == b64(PAYLOAD)
    bound, unbound = review(bound_task("decrypt")), review(EVERY_KIND["decrypt"]())
    assert bound.payload == unbound.payload
    bound, unbound = review(bound_task("unwrap")), review(EVERY_KIND["unwrap"]())
    assert bound.unwrap is not None
    assert unbound.unwrap is not None
    assert (bound.unwrap.label, bound.unwrap.sha256) == (unbound.unwrap.label, unbound.unwrap.sha256)
    assert (bound.unwrap.capabilities, bound.unwrap.access) == (unbound.unwrap.capabilities, unbound.unwrap.access)
    assert set(unbound.unwrap.lines) <= set(bound.unwrap.lines)


LIES: dict[str, tuple[str, Callable[[Statement], Statement], str]] = {
    "algorithm": ("sign", lambda one: replace(one, algorithm="NONE_WITH_ECDSA"), "review.request"),
    "form": ("sign", lambda one: replace(one, signature_type="RAW"), "review.request"),
    "data": ("sign", lambda one: replace(one, data=PAYLOAD + b"0"), "review.payload"),
    "kind": (
        "sign",
        lambda one: KEY.decrypt(REQUEST_ID, PAYLOAD, "RSA_PADDING_OAEP"),
        "review.request",
    ),
    "key": ("sign", lambda one: replace(one, key_uuid=OTHER_ID), "review.key-attributes"),
    "public key": ("sign", lambda one: replace(one, spki_hash=OTHER_HASH), "review.key-attributes"),
    "policy": ("sign", lambda one: replace(one, policy_hash=OTHER_HASH), "review.key-attributes"),
    "request": ("sign", lambda one: replace(one, request_id=OTHER_ID), "review.request-id"),
    "cipher": ("decrypt", lambda one: replace(one, algorithm="RSA_PADDING_OAEP_WITH_SHA512"), "review.request"),
    "iv": ("decrypt", lambda one: replace(one, iv=bytes(12)), "review.request"),
    "aad": ("decrypt", lambda one: replace(one, aad=b""), "review.request"),
    "tag": ("decrypt", lambda one: replace(one, tag_length=64), "review.request"),
    "ciphertext": ("decrypt", lambda one: replace(one, data=CIPHERTEXT[:-1]), "review.payload"),
    "method": ("unwrap", lambda one: replace(one, wrap_method="RSA_WRAP_OAEP"), "review.request"),
    "label": ("unwrap", lambda one: replace(one, new_label="branch offices"), "review.request"),
    "wrapped": ("unwrap", lambda one: replace(one, data=one.data + b"0"), "review.payload"),
    "extractable": (
        "unwrap",
        lambda one: replace(one, new_attributes={**(one.new_attributes or {}), "extractable": True}),
        "review.request",
    ),
    "new policy": (
        "unwrap",
        lambda one: replace(one, new_policy=encode_policy(NEW_KEYS_POLICY)),
        "review.request",
    ),
    "blocked": (
        "unwrap",
        lambda one: replace(one, new_policy=encode_policy(NEW_KEYS_POLICY), new_blocked=True),
        "review.request",
    ),
    "operations": ("unwrap", lambda one: replace(one, new_allowed_operations=("sign",)), "review.request"),
    "algorithms": (
        "unwrap",
        lambda one: replace(one, new_allowed_algorithms=("SHA256_WITH_ECDSA",)),
        "review.request",
    ),
    "key id": ("unwrap", lambda one: replace(one, new_key_id="4711"), "review.request"),
    "block of another key": ("block", lambda one: replace(one, key_uuid=OTHER_ID), "review.key-attributes"),
    "block of another request": ("block", lambda one: replace(one, request_id=OTHER_ID), "review.request-id"),
    "block as unblock": ("block", lambda one: KEY.unblock(REQUEST_ID), "review.statement"),
    "unblock as block": ("unblock", lambda one: KEY.block(REQUEST_ID), "review.statement"),
    "block as sign": ("block", lambda one: statement_of("sign"), "review.statement"),
    "unblock under another policy": (
        "unblock",
        lambda one: replace(one, policy_hash=OTHER_HASH),
        "review.key-attributes",
    ),
}
"""One thing that is different in the statement: the kind of request, the change, and the word of the refusal."""


@pytest.mark.rule("R7")
@pytest.mark.rule("R11")
@pytest.mark.parametrize("lie", LIES)
def test_r7_r11_a_statement_that_says_something_else_than_the_task_is_refused(lie: str) -> None:
    kind, change, word = LIES[lie]
    assert review(bound_task(kind)).kind == kind
    lying = bound_task(kind, change=change)
    refused(lying, word)
    # Not even with all that could contradict it left out, where the bytes contradict themselves.
    if word == "review.statement":
        bare = {"id": lying["id"], "approvalToBeSigned": lying["approvalToBeSigned"]}
        refused(bare, word)


MEMBERS: dict[str, tuple[str, dict[str, Any]]] = {
    "signatureAlgorithm": ("sign", {"signatureAlgorithm": "NONE_WITH_ECDSA"}),
    "signatureType": ("sign", {"signatureType": "RAW"}),
    "payload": ("sign", {"payload": b64(PAYLOAD + b"0")}),
    "payloadType": ("sign", {"payloadType": "HEX"}),
    "cipherAlgorithm": ("decrypt", {"cipherAlgorithm": "RSA"}),
    "initializationVector": ("decrypt", {"initializationVector": b64(bytes(12))}),
    "additionalAuthenticationData": ("decrypt", {"additionalAuthenticationData": ""}),
    "tagLength": ("decrypt", {"tagLength": 96}),
    "encryptedPayload": ("decrypt", {"encryptedPayload": b64(CIPHERTEXT[1:])}),
    "wrapMethod": ("unwrap", {"wrapMethod": "RSA_WRAP_OAEP"}),
    "label": ("unwrap", {"label": "another"}),
    "attributes": ("unwrap", {"attributes": {**NEW_ATTRIBUTES, "copyable": True}}),
    "allowedOperations": ("unwrap", {"attributes": {**NEW_ATTRIBUTES, "allowedOperations": ["sign"]}}),
    "allowedAlgorithms": ("unwrap", {"attributes": {**NEW_ATTRIBUTES, "allowedAlgorithms": [1]}}),
    "wrappedKey": ("unwrap", {"wrappedKey": b64(b"another")}),
    "policy": ("unwrap", {"policy": policy_to_json(NEW_KEYS_POLICY, blocked=False)}),
}


@pytest.mark.rule("R11")
@pytest.mark.parametrize("member", MEMBERS)
def test_r11_a_request_that_says_something_else_than_the_statement_is_refused(member: str) -> None:
    kind, changes = MEMBERS[member]
    for field in ("requestBase64", SIGNED_FIELDS[{"unwrap": "unwrapKeyRequest"}.get(kind, f"{kind}Request")]):
        task = bound_task(kind)
        assert review(task).kind == kind
        recoded(task, field, lambda inner: inner.update(changes))
        refused(task, "review.request" if field == "requestBase64" else "review.signed-request")


@pytest.mark.rule("R7")
def test_r7_what_begins_as_a_statement_and_is_none_is_never_signed() -> None:
    honest = encode_statement(statement_of("sign"))
    task = bound_task("sign")
    assert review(task).kind == "sign"
    for broken in (
        MAGIC,
        honest[:-1],
        honest + b"\0",
        honest[: len(MAGIC)] + b"\2" + honest[len(MAGIC) + 1 :],
        MAGIC + b"pay everything",
    ):
        lying = with_payload(task, broken, Action.USE)
        refused(lying, "review.statement")
        # The last gate before the key refuses it, too.
        with pytest.raises(KeyturnError) as error:
            require_approval(parse_task(lying).approval)
        assert error.value.refusal == "review.statement"
    # One octet less of the magic is a payload like any other, which a bound key does not take.
    refused(with_payload(task, honest[1:], Action.USE) | {"payload": None, **NO_REQUEST}, "review.not-bound")


@pytest.mark.rule("R7")
def test_r7_a_policy_inside_a_statement_is_one_that_the_hsm_would_accept() -> None:
    def with_policy(blob: bytes, *, blocked: bool) -> dict[str, Any]:
        task = bound_task("unwrap", change=lambda one: replace(one, new_policy=blob, new_blocked=blocked))
        for field in ("requestBase64", "signedUnwrapKeyRequest"):
            recoded(task, field, lambda inner: inner.update(policy=policy_to_json(NEW_KEYS_POLICY, blocked=blocked)))
        return task

    shown = review(with_policy(encode_policy(NEW_KEYS_POLICY), blocked=False))
    assert "The new key's policy:" in shown.meaning
    assert shown.unwrap is not None
    assert not any("gets no policy" in alarm for alarm in shown.unwrap.alarms)
    assert "starts blocked" not in shown.unwrap.lines
    refused(with_policy(b"none", blocked=False), "review.statement")
    blocked = review(with_policy(encode_policy(NEW_KEYS_POLICY), blocked=True))
    assert blocked.unwrap is not None
    assert "starts blocked" in blocked.unwrap.lines
    # The status that the request asks for is the one in the statement.
    other = with_policy(encode_policy(NEW_KEYS_POLICY), blocked=True)
    recoded(other, "requestBase64", lambda inner: inner["policy"]["keyStatus"].update(blocked=False))
    refused(other, "review.request")


@pytest.mark.rule("R7")
@pytest.mark.parametrize("kind", BOUND_KINDS)
def test_r7_a_bound_key_takes_statements_only_and_no_other_key_does(kind: str) -> None:
    task = bound_task(kind)
    assert review(task).kind == kind
    refused(task | attributes(kind, bound=False), "review.not-bound")
    unbound = EVERY_KIND[kind]()
    assert review(unbound).kind == kind
    refused(unbound | attributes(kind), "review.not-bound")
    # Unverified attributes that contradict the bytes are a reason to stop, too.
    with pytest.raises(KeyturnError) as error:
        review(task | attributes(kind, bound=False), pinned=False)
    assert error.value.refusal == "review.not-bound"


@pytest.mark.rule("R11")
def test_r11_an_officer_who_asks_for_a_request_is_shown_that_one() -> None:
    task = bound_task("sign") | {"requestId": None}

    def asked(request_id: str) -> None:
        review_task(
            parse_task(task, asked_for=request_id),
            own_spki=ADA.spki,
            address_book=BOOK,
            now=NOW,
            device_certificate=HSM.certificate,
        )

    asked(REQUEST_ID)
    asked(REQUEST_ID.upper())
    with pytest.raises(KeyturnError) as error:
        asked(OTHER_ID)
    assert error.value.refusal == "review.request-id"


@pytest.mark.rule("R11")
def test_r11_data_that_is_one_of_our_own_structures_is_pointed_out_inside_a_statement_as_well() -> None:
    inner = encode_statement(statement_of("block"))
    task = bound_task("sign", change=lambda one: replace(one, data=inner), payload=b64(inner)) | {"payload": b64(inner)}
    assert any("bound statement" in warning for warning in review(task).warnings)
    assert decode_statement(inner).kind == "block"
    assert not any("bound statement" in warning for warning in review(bound_task("sign")).warnings)
