"""Approvals that count no more: used up, older than the last change, or taken back (R15, R26). Each beside its cure."""

from __future__ import annotations

from hashlib import sha256

import pytest

from keyturn.ska.actions import Action
from keyturn.ska.decision import Decision, Question, decide
from keyturn.ska.messages import ApprovalToken, encode_approval
from keyturn.ska.policy import Policy, Rule
from keyturn_testing.ska import LABEL, group, integrity_key, person, stamped, token

NOW = 1_700_000_000
TWO = Rule((token(group(2, "alice", "bob", "carol")),))
POLICY = Policy(TWO, TWO, TWO, TWO)
UNBLOCK = encode_approval(ApprovalToken(Action.UNBLOCK, LABEL.encode()))


def ask(
    *approvals: bytes,
    stamps_from: int | None = None,
    spent: frozenset[bytes] = frozenset(),
    withdrawn: frozenset[tuple[bytes, bytes]] = frozenset(),
) -> Decision:
    return decide(
        Question(
            policy=POLICY,
            action=Action.UNBLOCK,
            label=LABEL,
            payload=None,
            approvals=approvals,
            now=NOW,
            integrity_keys=(integrity_key(),),
            stamps_from=stamps_from,
            spent=spent,
            withdrawn=withdrawn,
        )
    )


def words(decision: Decision) -> list[str]:
    return [found.refusal for found in decision.approvals]


def digest(data: bytes) -> bytes:
    return sha256(data).digest()


def unblock(name: str, *, stamp: int | None = None) -> bytes:
    return person(name).approve(None, action=Action.UNBLOCK, stamp=None if stamp is None else stamped(stamp, None))


@pytest.mark.rule("R15")
def test_what_has_served_serves_no_more_approval_spent() -> None:
    approvals = unblock("alice"), unblock("bob")
    assert ask(*approvals, spent=frozenset({digest(UNBLOCK[:-1])})).authorised
    decision = ask(*approvals, spent=frozenset({digest(UNBLOCK)}))
    assert not decision.authorised
    assert words(decision) == ["approval.spent", "approval.spent"]
    # The cure that the message names: a timestamp makes it another statement.
    stamps = unblock("alice", stamp=NOW), unblock("bob", stamp=NOW)
    assert ask(*stamps, spent=frozenset({digest(UNBLOCK)})).authorised


@pytest.mark.rule("R15")
def test_a_timestamp_must_be_later_than_the_last_change_approval_stale_timestamp() -> None:
    approvals = unblock("alice", stamp=NOW - 10), unblock("bob", stamp=NOW - 10)
    assert ask(*approvals, stamps_from=NOW - 10).authorised
    decision = ask(*approvals, stamps_from=NOW - 9)
    assert not decision.authorised
    assert words(decision) == ["approval.stale-timestamp", "approval.stale-timestamp"]


@pytest.mark.rule("R15")
def test_approvals_without_a_timestamp_are_untouched_by_the_last_change() -> None:
    assert ask(unblock("alice"), unblock("bob", stamp=NOW - 10), stamps_from=NOW - 10).authorised
    assert words(ask(unblock("alice"), unblock("bob", stamp=NOW - 11), stamps_from=NOW - 10)) == [
        "",
        "approval.stale-timestamp",
    ]


@pytest.mark.rule("R26")
def test_what_was_taken_back_does_not_count_but_that_of_others_does_approval_withdrawn() -> None:
    approvals = unblock("alice"), unblock("bob")
    taken_back = frozenset({(digest(person("alice").identity), digest(UNBLOCK))})
    decision = ask(*approvals, withdrawn=taken_back)
    assert not decision.authorised
    assert words(decision) == ["approval.withdrawn", ""]
    assert ask(*approvals, unblock("carol"), withdrawn=taken_back).authorised
    # Another statement of the same approver is another approval.
    assert ask(unblock("alice", stamp=NOW), unblock("bob"), withdrawn=taken_back).authorised
    other = frozenset({(digest(person("carol").identity), digest(UNBLOCK))})
    assert ask(*approvals, withdrawn=other).authorised


@pytest.mark.rule("R26")
def test_what_was_taken_back_counts_neither_by_key_nor_by_certificate() -> None:
    by_certificate = person("alice").approve(None, action=Action.UNBLOCK, with_certificate=True)
    taken_back = frozenset({(digest(person("alice").identity), digest(UNBLOCK))})
    assert ask(by_certificate, unblock("bob")).authorised
    assert words(ask(by_certificate, unblock("bob"), withdrawn=taken_back)) == ["approval.withdrawn", ""]
