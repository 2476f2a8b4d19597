"""Officers with DSA and BLS keys approve like all others, from the policy to the HSM (rest-api.md section 4.5, R13)."""

from __future__ import annotations

from base64 import b64decode
from functools import partial
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.errors import ErrorCode
from keyturn_testing.actions import refused, sign_body
from keyturn_testing.bls_officer import BlsOfficer
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import b64, create_ec_key, fetch, signed_approval

if TYPE_CHECKING:
    from keyturn.client import RestClient

pytestmark = pytest.mark.rule("R13")

GRACE = Officer("Grace", "DSA")
HEIDI = BlsOfficer("Heidi")
PEOPLE = pytest.mark.parametrize("officer", [GRACE, HEIDI], ids=["DSA", "BLS"])


def test_a_dsa_and_a_bls_key_are_needed_both(rest: RestClient) -> None:
    create_ec_key(rest, "both kinds", make_policy(quorum(2, GRACE, HEIDI)))
    request = rest.sign(sign_body("both kinds"))
    for officer, status in ((HEIDI, "PENDING"), (GRACE, "EXECUTED")):
        (task,) = fetch(rest, officer)
        assert task["requestId"] == request
        rest.approve(signed_approval(officer, task))
        assert rest.request(request)["status"] == status


@PEOPLE
def test_one_bit_less_is_no_approval(rest: RestClient, officer: Officer) -> None:
    label = f"one bit {officer.kind}"
    create_ec_key(rest, label, make_policy(quorum(1, officer)))
    request = rest.sign(sign_body(label))
    (task,) = fetch(rest, officer)
    good = signed_approval(officer, task)
    bare = b64decode(good["signature"])
    flipped = b64(bare[:-1] + bytes([bare[-1] ^ 1]))
    wrong = refused(lambda: rest.approve({**good, "signature": flipped}))
    assert (wrong.code, wrong.refusal) == (ErrorCode.INVALID_SIGNATURE, "approval.bad-signature")
    other_word = refused(lambda: rest.approve({**good, "approvalDigestAlgorithm": "EdDSA"}))
    assert (other_word.code, other_word.refusal) == (ErrorCode.VALIDATION_FAILED, "approval.key-mismatch")
    rest.approve(good)
    assert rest.request(request)["status"] == "EXECUTED"


@PEOPLE
def test_the_hsm_counts_what_is_handed_to_it_at_once(rest: RestClient, officer: Officer) -> None:
    label = f"at once {officer.kind}"
    create_ec_key(rest, label, make_policy(quorum(1, officer)))
    good = b64(officer.approve_use(label, b"pay"))
    inner = sign_body(label)
    other = b64(officer.approve_use(label, b"paz"))
    for approvals in ([], [other]):
        missing = refused(partial(rest.synchronous_sign, {**inner, "signedApprovals": approvals}))
        assert missing.refusal == "approvals.missing"
    assert rest.synchronous_sign({**inner, "signedApprovals": [good]})


def test_a_point_that_is_no_bls_key_enters_no_policy(rest: RestClient) -> None:
    nobody = BlsOfficer("Nobody")
    nobody.spki = nobody.spki[:-48] + b"\xc0" + bytes(47)
    found = refused(lambda: create_ec_key(rest, "by-heidi", make_policy(quorum(1, nobody))))
    assert (found.code, found.refusal) == (ErrorCode.PARSING_KEY, "approver.malformed-key")
    create_ec_key(rest, "by-heidi", make_policy(quorum(1, HEIDI)))


def test_a_stranger_with_a_weak_key_is_not_judged_and_sees_nothing(rest: RestClient) -> None:
    """Judging a key can take seconds, and anybody may ask; where keys are listed, it is judged."""
    stranger = Officer("Weak", "P-256")
    weak = dsa.generate_private_key(1024)  # noqa: S505 - Weak on purpose.
    stranger.key, stranger.digest = weak, "SHA-256"
    stranger.spki = weak.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert fetch(rest, stranger) == []
    found = refused(lambda: create_ec_key(rest, "weak", make_policy(quorum(1, stranger))))
    assert (found.code, found.refusal) == (ErrorCode.VALIDATION_FAILED, "approver.weak-key")
