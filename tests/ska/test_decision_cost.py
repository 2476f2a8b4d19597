"""What the one decision costs: how many signatures are verified, whatever approvals come."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from keyturn.ska.messages import (
    decode_authorization,
    encode_authorization,
)
from keyturn.ska.signatures import SignatureScheme, unwrap_signature, verify, wrap_signature
from keyturn_testing.decisions import ALICE, NOW, TIMED, TWO_OF_THREE, ask, flip, words
from keyturn_testing.ska import (
    person,
    stamped,
)

if TYPE_CHECKING:
    from keyturn.ska.approver_keys import ApproverKey


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The identities of all signers whose signature was verified."""
    done: list[bytes] = []

    def counting(key: ApproverKey, scheme: SignatureScheme, signature: bytes, data: bytes) -> None:
        done.append(key.identity)
        verify(key, scheme, signature, data)

    monkeypatch.setattr("keyturn.ska.examination.verify", counting)
    return done


@pytest.mark.rule("R29")
def test_unlisted_signers_never_cost_a_verification(verifications: list[bytes]) -> None:
    decision = ask(ALICE, *(person("mallory").approve(stamp=stamped(NOW - n)) for n in range(20)))
    assert set(words(decision)) == {"approval.unlisted-key"}
    assert verifications == []
    assert ask(ALICE, person("alice").approve()).authorised
    assert verifications == [person("alice").identity]


@pytest.mark.rule("R29")
def test_no_signer_costs_more_than_four_verifications_too_many(verifications: list[bytes]) -> None:
    good = decode_authorization(person("alice").approve())
    scheme, bare = unwrap_signature(good.signature)
    bad = [
        encode_authorization(replace(good, signature=wrap_signature(scheme.name, flip(bare, 8 + n)))) for n in range(9)
    ]
    decision = ask(TWO_OF_THREE, *bad, person("alice").approve(), person("bob").approve(), person("carol").approve())
    assert words(decision)[:10] == ["approval.bad-signature"] * 4 + ["approval.too-many"] * 6
    assert len(verifications) == 6
    assert decision.authorised
    third = ask(ALICE, *bad[:3], person("alice").approve())
    assert words(third) == ["approval.bad-signature"] * 3 + [""]


@pytest.mark.rule("R29")
def test_repeated_approvals_and_shared_timestamps_are_verified_once(verifications: list[bytes]) -> None:
    stamp = stamped(NOW)
    approvals = [person("alice").approve(stamp=stamp)] * 50 + [person("bob").approve(stamp=stamp)] * 50
    decision = ask(TIMED, *approvals, now=NOW + 120)
    assert decision.authorised
    assert sorted(verifications) == sorted(person(n).identity for n in ("alice", "hsm", "bob"))


def test_a_good_approval_behind_a_forged_one_of_the_same_signer_still_counts() -> None:
    forged = decode_authorization(person("alice").approve())
    forged = replace(forged, signature=wrap_signature("SHA256_WITH_ECDSA", b"0"))
    decision = ask(ALICE, encode_authorization(forged), person("alice").approve())
    assert words(decision) == ["approval.bad-signature", ""]
    assert decision.authorised
