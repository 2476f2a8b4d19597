"""R11: requests of every kind, held against the bytes to be signed; what disagrees is refused by the name of the field.

Every test starts from an honest task of the kind, which is accepted, and changes one thing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.errors import KeyturnError
from keyturn.ska.unwrap_flags import ACCESS, CAPABILITIES
from keyturn_testing.approval_tasks import SIGNED_FIELDS, WRAPPED_KEY, b64
from keyturn_testing.reviews import CIPHERTEXT, EVERY_KIND, recoded, review, unwrap_task

if TYPE_CHECKING:
    from collections.abc import Callable

KEY_FIELDS = {
    "sign": "signKeyName",
    "decrypt": "decryptKeyName",
    "unwrap": "unwrapKeyName",
    "block": "blockKeyName",
    "unblock": "unblockKeyName",
    "modify": "modifyKeyName",
}
REQUESTS = {
    "sign": "signRequest",
    "decrypt": "decryptRequest",
    "unwrap": "unwrapKeyRequest",
    "block": "blockRequest",
    "unblock": "unblockRequest",
    "modify": "modifyRequest",
}
FLIPPED = bytes([CIPHERTEXT[0] ^ 1]) + CIPHERTEXT[1:]
OTHER_WRAPPED = bytes([WRAPPED_KEY[0] ^ 1]) + WRAPPED_KEY[1:]


def refused(task: dict[str, Any], word: str, field: str) -> str:
    with pytest.raises(KeyturnError) as error:
        review(task)
    assert error.value.refusal == word
    assert f"`{field}`" in error.value.message
    return error.value.message


@pytest.mark.rule("R11")
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_r11_an_honest_task_of_every_kind_is_accepted_in_every_form(kind: str) -> None:
    task = EVERY_KIND[kind]()
    assert review(task).kind == kind
    signed = SIGNED_FIELDS[REQUESTS[kind]]
    assert review(task | {signed: None}).kind == kind
    assert review(task | {"requestBase64": None}).kind == kind
    bare = task[signed][REQUESTS[kind]]
    assert review(task | {signed: bare, "requestBase64": b64(json.dumps(bare).encode())}).kind == kind
    assert review(task | {signed: None, "requestBase64": None}).kind == ""


@pytest.mark.rule("R11")
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_r11_a_request_for_another_key_is_refused_for_every_kind(kind: str) -> None:
    task = EVERY_KIND[kind]()
    assert review(task).label == "treasury"
    signed = SIGNED_FIELDS[REQUESTS[kind]]
    for field, word in (("requestBase64", "review.request"), (signed, "review.signed-request")):
        for name in ("treasurz", "", None):
            lying = dict(task)
            recoded(lying, field, lambda inner, name=name: inner.update({KEY_FIELDS[kind]: name}))  # type: ignore[misc]
            refused(lying, word, field)


@pytest.mark.rule("R11")
@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("other", EVERY_KIND)
def test_r11_a_request_of_another_kind_is_refused(kind: str, other: str) -> None:
    task, foreign = EVERY_KIND[kind](), EVERY_KIND[other]()
    signed = SIGNED_FIELDS[REQUESTS[other]]
    swapped = task | {"requestBase64": foreign["requestBase64"]}
    added = task | {signed: foreign[signed]}
    if kind == other:
        assert review(swapped).kind == review(added).kind == kind
    else:
        refused(swapped, "review.request", "requestBase64")
        refused(added, "review.signed-request", signed)


@pytest.mark.rule("R11")
def test_r11_one_payload_under_two_kinds_of_use_is_refused() -> None:
    """Both requests name the payload in the approval, so only their kinds disagree."""
    sign, decrypt = EVERY_KIND["sign"](), EVERY_KIND["decrypt"]()
    both = decrypt | {"signedSignRequest": {"signRequest": {"signKeyName": "treasury", "payload": b64(CIPHERTEXT)}}}
    assert "several kinds: decrypt, sign" in refused(both, "review.signed-request", "signedDecryptRequest")
    assert review(decrypt).kind == "decrypt"
    assert review(sign).kind == "sign"


@pytest.mark.rule("R11")
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_r11_a_request_in_the_field_of_another_kind_is_refused(kind: str) -> None:
    task = EVERY_KIND[kind]()
    own = SIGNED_FIELDS[REQUESTS[kind]]
    for field in (*SIGNED_FIELDS.values(), "signedCertificateRequestRequest", "signedSelfSignCertificateRequestDto"):
        moved = task | {own: None, field: task[own]}
        if field == own:
            assert review(moved).kind == kind
        else:
            refused(moved, "review.signed-request", field)


@pytest.mark.rule("R11")
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_r11_metadata_beside_a_request_with_other_metadata_is_refused_for_every_kind(kind: str) -> None:
    task = EVERY_KIND[kind](metaData=b64(b"for the quarter"))
    assert ("metadata", "for the quarter") in {(claim.name, claim.text) for claim in review(task).claims}
    refused(task | {"metaData": b64(b"for the quartes")}, "review.meta-data", "metaData")


LIES: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "another ciphertext": ("decrypt", lambda inner: inner.update(encryptedPayload=b64(FLIPPED))),
    "a ciphertext in hex": ("decrypt", lambda inner: inner.update(encryptedPayload=CIPHERTEXT.hex())),
    "a ciphertext that is no text": ("decrypt", lambda inner: inner.update(encryptedPayload=7)),
    "no ciphertext": ("decrypt", lambda inner: inner.pop("encryptedPayload")),
    "another wrapped key": ("unwrap", lambda inner: inner.update(wrappedKey=b64(OTHER_WRAPPED))),
    "no wrapped key": ("unwrap", lambda inner: inner.pop("wrappedKey")),
    "a wrapped key that is no base64": ("unwrap", lambda inner: inner.update(wrappedKey="?")),
    "another name for the new key": ("unwrap", lambda inner: inner.update(label="branch offica")),
    "no name for the new key": ("unwrap", lambda inner: inner.update(label=None)),
    "no attributes": ("unwrap", lambda inner: inner.pop("attributes")),
    "an attribute that is no boolean": ("unwrap", lambda inner: inner["attributes"].update(sign=1)),
    "attributes for which an approval has no place": ("unwrap", lambda inner: inner["attributes"].update(bip32=True)),
    "a policy of the new key": ("unwrap", lambda inner: inner.update(policy={"ruleUse": None})),
}


@pytest.mark.rule("R11")
@pytest.mark.rule("R16")
@pytest.mark.parametrize("lie", LIES)
def test_r11_r16_a_request_that_says_something_else_than_the_bytes_is_refused(lie: str) -> None:
    kind, change = LIES[lie]
    signed = SIGNED_FIELDS[REQUESTS[kind]]
    for field, word in (("requestBase64", "review.request"), (signed, "review.signed-request")):
        task = EVERY_KIND[kind]()
        assert review(task).kind == kind
        recoded(task, field, change)
        refused(task, word, field)


@pytest.mark.rule("R16")
@pytest.mark.parametrize("name", [*CAPABILITIES, *ACCESS, "destroyable"])
def test_r16_every_attribute_of_a_new_key_that_differs_from_its_flag_is_refused(name: str) -> None:
    for flag in (True, False):
        task = unwrap_task(attributes={name: flag})
        assert review(task).kind == "unwrap"
        recoded(task, "requestBase64", lambda inner, flag=flag: inner["attributes"].update({name: not flag}))  # type: ignore[misc]
        refused(task, "review.request", "requestBase64")


def test_attributes_that_say_nothing_or_are_unknown_say_nothing() -> None:
    task = unwrap_task()
    recoded(task, "requestBase64", lambda inner: inner["attributes"].update(ekaSign=None, derive=None, colour=True))
    assert review(task).kind == "unwrap"
