"""Stories of the one decision: timelocks, timeouts and the timestamps in approvals."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from keyturn.ska import der
from keyturn.ska.actions import Action
from keyturn.ska.policy import Policy, TimeUnit
from keyturn_testing.decisions import ALICE, KEYS, NOW, TIMED, ask, flip, words
from keyturn_testing.ska import (
    group,
    integrity_key,
    person,
    stamped,
    token,
    use_policy,
)


def both(stamp: tuple[bytes, bytes] | None) -> tuple[bytes, bytes]:
    return person("alice").approve(stamp=stamp), person("bob").approve(stamp=stamp)


@pytest.mark.rule("decisions 18")
def test_the_window_opens_after_the_timelock_and_closes_one_unit_after_the_timeout() -> None:
    approvals = both(stamped(NOW))
    early = ask(TIMED, *approvals, now=NOW + 119)
    assert (early.authorised, early.refusal) == (False, "approvals.too-early")
    assert words(early) == ["approval.early", "approval.early"]
    assert "2023-11-14T22:15:20Z" in early.reason
    assert (early.opens_at, early.closes_at) == (NOW + 120, NOW + 660)
    assert early.complete
    assert ask(TIMED, *approvals, now=NOW + 120).authorised
    assert ask(TIMED, *approvals, now=NOW + 659).authorised
    late = ask(TIMED, *approvals, now=NOW + 660)
    assert (late.authorised, late.refusal) == (False, "approvals.too-late")
    assert words(late) == ["approval.late", "approval.late"]
    assert "2023-11-14T22:24:20Z" in late.reason


@pytest.mark.rule("decisions 18")
def test_seconds_truncate_by_the_second() -> None:
    seconds = use_policy(token(group(1, "alice"), timelock=5, timeout=5, unit=TimeUnit.SECONDS))
    approval = person("alice").approve(stamp=stamped(NOW))
    assert ask(seconds, approval, now=NOW + 4).refusal == "approvals.too-early"
    assert ask(seconds, approval, now=NOW + 5).authorised
    assert ask(seconds, approval, now=NOW + 6).refusal == "approvals.too-late"


def test_a_timelock_without_timeout_never_ends() -> None:
    policy = use_policy(token(group(1, "alice"), timelock=60))
    decision = ask(policy, person("alice").approve(stamp=stamped(NOW)), now=NOW + 10**9)
    assert decision.authorised
    assert (decision.opens_at, decision.closes_at) == (NOW + 60, None)


def test_without_a_time_the_question_is_whether_it_is_complete() -> None:
    complete = ask(TIMED, *both(stamped(NOW)), now=None)
    assert complete.authorised
    assert (complete.opens_at, complete.closes_at) == (NOW + 120, NOW + 660)
    unstamped = ask(TIMED, *both(None), now=None)
    assert words(unstamped) == ["approval.timestamp-missing"] * 2
    assert not unstamped.authorised


def test_timestamp_missing_where_the_token_has_times_but_not_elsewhere() -> None:
    assert words(ask(TIMED, *both(None))) == ["approval.timestamp-missing"] * 2
    assert ask(use_policy(token(group(2, "alice", "bob"))), *both(None)).authorised
    # The same approvals serve the token without times beside one that has them.
    mixed = use_policy(*TIMED.use.tokens, token(group(2, "alice", "bob"), name="slow"))
    decision = ask(mixed, *both(None))
    assert decision.authorised
    assert [found.satisfied for found in decision.tokens] == [False, True]
    assert decision.tokens[0].groups[0].approved == ()


def test_each_approval_has_its_own_window_and_they_must_overlap() -> None:
    alice = person("alice").approve(stamp=stamped(NOW))
    bob = person("bob").approve(stamp=stamped(NOW + 300))
    late_bob = person("bob").approve(stamp=stamped(NOW + 1000))
    assert ask(TIMED, alice, bob, now=NOW + 419).refusal == "approvals.too-early"
    assert ask(TIMED, alice, bob, now=NOW + 420).authorised
    overlap = ask(TIMED, alice, bob, now=NOW + 660)
    assert overlap.refusal == "approvals.too-late"
    assert words(overlap) == ["approval.late", ""]
    apart = ask(TIMED, alice, late_bob, now=NOW + 1200)
    assert apart.refusal == "approvals.missing"
    assert "never overlap" in apart.reason
    assert not ask(TIMED, alice, late_bob, now=None).authorised
    fresh_alice = person("alice").approve(stamp=stamped(NOW + 1000))
    assert ask(TIMED, alice, late_bob, fresh_alice, now=NOW + 1200).authorised


def test_a_timestamp_is_verified_even_where_none_is_needed_timestamp_bad_signature() -> None:
    blob, signature = stamped(NOW)
    forged = stamped(NOW, signer="mallory")
    assert words(ask(ALICE, person("alice").approve(stamp=forged))) == ["approval.timestamp-bad-signature"]
    altered = person("alice").approve(stamp=(flip(blob, blob.index(NOW.to_bytes(8, "little"))), signature))
    assert words(ask(ALICE, altered, now=NOW + 5)) == ["approval.timestamp-bad-signature"]
    assert ask(ALICE, person("alice").approve(stamp=(blob, signature))).authorised


def test_timestamp_unknown_key() -> None:
    other = stamped(NOW, key_name="another")
    assert words(ask(ALICE, person("alice").approve(stamp=other))) == ["approval.timestamp-unknown-key"]
    known = ask(ALICE, person("alice").approve(stamp=other), integrity_keys=(*KEYS, integrity_key(name="another")))
    assert known.authorised


@pytest.mark.rule("R5")
def test_a_retired_integrity_key_serves_timestamps_up_to_its_retirement() -> None:
    retired = (integrity_key(retired_at=NOW),)
    assert ask(ALICE, person("alice").approve(stamp=stamped(NOW)), integrity_keys=retired).authorised
    after = ask(ALICE, person("alice").approve(stamp=stamped(NOW + 1)), now=NOW + 1, integrity_keys=retired)
    assert words(after) == ["approval.timestamp-unknown-key"]


def test_timestamp_future() -> None:
    approval = person("alice").approve(stamp=stamped(NOW + 1))
    assert words(ask(ALICE, approval)) == ["approval.timestamp-future"]
    assert ask(ALICE, approval, now=NOW + 1).authorised
    assert ask(ALICE, approval, now=None).authorised


def test_timestamp_wrong_payload_or_wrong_kind_of_payload() -> None:
    for stamp in (stamped(NOW, b"other"), stamped(NOW, None), stamped(NOW, is_policy=True)):
        decision = ask(ALICE, person("alice").approve(stamp=stamp))
        assert words(decision) == ["approval.timestamp-wrong-payload"]
    assert ask(ALICE, person("alice").approve(stamp=stamped(NOW))).authorised


def test_block_does_not_compare_the_timestamps_payload() -> None:
    policy = Policy(*(TIMED.use,) * 4)
    for stamp in (stamped(NOW, b"whatever"), stamped(NOW, None), stamped(NOW, is_policy=True)):
        approvals = [person(n).approve(None, action=Action.BLOCK, stamp=stamp) for n in ("alice", "bob")]
        assert ask(policy, *approvals, action=Action.BLOCK, payload=None, now=NOW + 120).authorised


@pytest.mark.rule("R18")
def test_a_later_key_of_the_same_name_takes_only_approvals_stamped_in_its_own_life() -> None:
    old = person("alice").approve(stamp=stamped(NOW - 1))
    assert words(ask(ALICE, old, not_before=NOW)) == ["approval.timestamp-before-key"]
    assert words(ask(ALICE, person("alice").approve(), not_before=NOW)) == ["approval.timestamp-missing"]
    assert ask(ALICE, person("alice").approve(stamp=stamped(NOW)), not_before=NOW).authorised
    assert ask(ALICE, old).authorised


def test_a_timestamp_signed_with_sha_1_is_refused() -> None:
    blob, _ = stamped(NOW)
    key = person("hsm").key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    bare = key.sign(blob, ec.ECDSA(hashes.SHA1()))  # noqa: S303 # It must be refused.
    algorithm = der.encode(der.SEQUENCE, der.encode_oid("1.2.840.10045.4.1"))
    wrapped = der.encode(der.SEQUENCE, algorithm + der.encode_bits(bare))
    decision = ask(ALICE, person("alice").approve(stamp=(blob, wrapped)))
    assert words(decision) == ["approval.algorithm-not-allowed"]
    assert ask(ALICE, person("alice").approve(stamp=stamped(NOW))).authorised


def test_a_moment_beyond_every_calendar_is_still_explained() -> None:
    stamp = stamped(2**64 - 1)
    decision = ask(TIMED, person("alice").approve(stamp=stamp), person("bob").approve(stamp=stamp), now=None)
    assert decision.authorised
    assert decision.opens_at == 2**64 + 119
