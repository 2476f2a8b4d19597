"""R11: what the client shows of an honest task, from the bytes to be signed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.approver.address_book import AddressBook
from keyturn.approver.review import MAX_CLAIM, MAX_CLAIM_LINES
from keyturn.approver.terminal import spaced_fingerprint
from keyturn.crypto.approver_files import approver_certificate
from keyturn.crypto.keys import generate, make_spec, private_key_to_stored
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.messages import encode_approval
from keyturn.ska.policy import EMPTY_POLICY, Approver, Rule, encode_policy
from keyturn.ska.words import checksum_words
from keyturn_testing.approval_tasks import (
    LABEL,
    STAMPED_AT,
    b64,
    honest_task,
    modify_token,
    sign_token,
)
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.reviews import (
    ADA,
    BEN,
    EVE,
    HSM,
    PAYLOAD,
    POLICY,
    fingerprint,
    modify_task,
    outdented,
    review,
    spaced,
    stamped_task,
)

if TYPE_CHECKING:
    from keyturn.approver.request_claims import Claim


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
    book = AddressBook.empty().with_contact(fingerprint(BEN), "Benjamin B.")
    shown = review(modify_task(), book=book)
    text = "\n".join(shown.policy_lines)
    assert "2 of these 3 people" in text
    assert f'- YOU\n    key {spaced(ADA)}\n    the policy calls them "ada"\n' in outdented(text)
    assert f'- Benjamin B.\n    key {spaced(BEN)}\n    the policy calls them "ben"\n' in outdented(text)
    assert f'- NOT IN YOUR ADDRESS BOOK\n    key {spaced(fay)}\n    the policy calls them "fay"' in outdented(text)
    changes = outdented("\n".join(shown.change_lines))
    stranger = "- NOT IN YOUR ADDRESS BOOK\n    key"
    assert f'no longer listed:\n  {stranger} {spaced(EVE)}\n    the policy calls them "eve"' in changes
    assert f'newly listed:\n  {stranger} {spaced(fay)}\n    the policy calls them "fay"' in changes
    assert any("not in your address book" in warning and spaced(fay) in warning for warning in shown.warnings)
    assert not any(spaced(BEN) in warning for warning in shown.warnings)


def test_r11_a_name_in_a_policy_cannot_pass_for_the_address_book() -> None:
    mallory = Officer("mallory")
    disguised = replace(mallory.as_approver(), name='YOU"; key 0000')
    token = modify_token(encode_policy(make_policy(quorum(1, disguised))))
    lines = review(honest_task(ADA, token)).policy_lines
    assert [line.strip() for line in lines[2:]] == [
        "- NOT IN YOUR ADDRESS BOOK",
        f"key {spaced(mallory)}",
        'the policy calls them "YOU"; key 0000"',
    ]


def test_r11_claims_and_labels_are_escaped() -> None:
    token = sign_token(PAYLOAD, "tre\u0430sury\u202e")
    shown = review(honest_task(ADA, token, metaData=b64(b"\x1b[2J")))
    assert shown.label == "tre\u0430sury<U+202E>"
    assert any("outside ASCII" in warning for warning in shown.warnings)
    assert ("metadata", "<U+001B>[2J") in {(claim.name, claim.text) for claim in shown.claims}


@pytest.mark.rule("R11")
def test_r11_a_claim_is_too_short_to_push_what_is_signed_off_the_screen() -> None:
    lines = "till 7\n" * 20_000
    for text in (lines, "x" * 150_000):
        (claim,) = (one for one in _claims_with(text) if one.name == "metadata")
        assert len(claim.text) < MAX_CLAIM + 100
        assert claim.text.count("\n") <= MAX_CLAIM_LINES
        assert "characters more, not shown" in claim.text
    (claim,) = (one for one in _claims_with("till 7\ntable 3") if one.name == "metadata")
    assert claim.text == "till 7\ntable 3"


def _claims_with(metadata: str) -> tuple[Claim, ...]:
    return review(honest_task(ADA, sign_token(PAYLOAD), metaData=b64(metadata.encode()))).claims


@pytest.mark.rule("R11")
def test_r11_a_payload_whose_beginning_leaves_the_screen_is_pointed_out() -> None:
    for tall in (b"Pay 1000000 to Mallory." + b"\n" * 50_000 + b"Pay 10 to Bob.", b"Pay" + b" " * 50_000 + b"Bob"):
        shown = review(honest_task(ADA, sign_token(tall)))
        assert "scroll up to its beginning" in shown.warnings[0]
    assert not any("scroll up" in warning for warning in review(honest_task(ADA, sign_token(PAYLOAD))).warnings)


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


@pytest.mark.rule("R23")
def test_r23_a_new_policy_with_a_key_that_a_server_made_is_called_so() -> None:
    key = generate(make_spec("RSA", "", 2048))
    certificate = approver_certificate(private_key_to_stored(key), "phone", 365, 1_700_000_000)
    phone = Approver.of_certificate(certificate)

    def warnings(third: Approver) -> tuple[str, ...]:
        others = [officer.as_approver(certificate=True) for officer in (ADA, BEN)]
        token = modify_token(encode_policy(make_policy(quorum(2, *others, third))))
        return review(honest_task(ADA, token, hsm=HSM, policy=POLICY)).warnings

    shown = spaced_fingerprint(load_approver_key(phone.spki).fingerprint)
    assert any("made on a server" in warning and shown in warning for warning in warnings(phone))
    assert not any("made on a server" in warning for warning in warnings(EVE.as_approver(certificate=True)))


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
        (
            make_policy(quorum(2, ADA, BEN, timelock=3600, timeout=90_000)),
            "not later than 1 day 1 hour 59 seconds after",
        ),
        (make_policy(quorum(2, ADA, BEN)), "all of these 2 people"),
        (make_policy(quorum(1, ADA)), "this one person"),
        (make_policy(Rule(quorum(1, ADA).tokens + quorum(1, BEN).tokens)), "one of these 2 ways is enough"),
        (make_policy(quorum(1, ADA.as_approver(certificate=True))), 'the policy calls them "ada"'),
    ],
)
def test_a_policy_in_plain_words(policy: Any, words: str) -> None:
    assert words in "\n".join(review(honest_task(ADA, modify_token(encode_policy(policy)))).policy_lines)
