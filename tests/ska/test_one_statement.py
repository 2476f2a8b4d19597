"""Keys that are used once for each statement: only approvals of the same statement count together (R14)."""

from __future__ import annotations

from hashlib import sha256
from itertools import permutations
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.ska.actions import Action
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.decision import Decision, NotAuthorisedError, Question, Verdict, decide, require_authorised
from keyturn.ska.messages import decode_authorization
from keyturn.ska.statement import encode_statement
from keyturn_testing.ska import LABEL, PAYLOAD, group, integrity_key, person, stamped, token, use_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.ska.policy import Policy

NOW = 1_700_000_000
NAMES = ("alice", "bob", "carol", "dave")
TWO = use_policy(token(group(2, *NAMES)))
BOUND = BoundKey(str(UUID(int=7)), person("hsm").spki, b"a policy blob")

pytestmark = pytest.mark.rule("R14")


def use(name: str, ago: int | None, payload: bytes = PAYLOAD) -> bytes:
    """An approval whose timestamp is so many seconds old, or without one."""
    return person(name).approve(payload, stamp=None if ago is None else stamped(NOW - ago, payload))


def ask(
    *approvals: bytes,
    policy: Policy = TWO,
    single_use: bool = True,
    now: int | None = NOW,
    spent: frozenset[bytes] = frozenset(),
    payload: bytes = PAYLOAD,
    stamps_from: int | None = None,
) -> Decision:
    return decide(
        Question(
            policy=policy,
            action=Action.USE,
            label=LABEL,
            payload=payload,
            approvals=approvals,
            now=now,
            integrity_keys=(integrity_key(),),
            single_use=single_use,
            spent=spent,
            stamps_from=stamps_from,
        )
    )


def words(decision: Decision) -> list[str]:
    return [found.refusal for found in decision.approvals]


def digest(approval: bytes) -> bytes:
    return sha256(decode_authorization(approval).approval).digest()


def bound_payload(request: int) -> bytes:
    return encode_statement(BOUND.sign(str(UUID(int=request)), PAYLOAD, "SHA256_WITH_ECDSA", ""))


def test_approvals_of_one_statement_count_together_and_the_decision_names_it() -> None:
    approvals = use("alice", 5), use("bob", 5)
    decision = ask(*approvals)
    assert decision.authorised
    assert (decision.statement, decision.stamp) == (digest(approvals[0]), NOW - 5)
    # A key that is not for single use rests on no single statement.
    assert ask(*approvals, single_use=False).statement == b""


def test_approvals_of_two_statements_do_not_approvals_mixed_statements() -> None:
    approvals = use("alice", 5), use("bob", 6)
    decision = ask(*approvals)
    assert not decision.authorised
    assert (decision.refusal, decision.statement) == ("approvals.mixed-statements", b"")
    # The older one is taken as the one that somebody may still complete.
    assert words(decision) == ["approval.other-statement", ""]
    assert ask(*approvals, single_use=False).authorised
    assert ask(use("alice", 5), use("bob", 5)).authorised


def test_too_few_of_all_statements_together_are_missing_and_not_mixed() -> None:
    three = use_policy(token(group(3, *NAMES)))
    assert ask(use("alice", 5), use("bob", 6), policy=three).refusal == "approvals.missing"
    assert ask(use("alice", 5), use("bob", 6), use("carol", 6), policy=three).refusal == "approvals.mixed-statements"


def test_one_statement_of_several_that_suffices_is_found_whatever_the_order() -> None:
    approvals = use("alice", 5), use("bob", 6), use("carol", 6), use("dave", 7)
    for order in permutations(approvals):
        decision = ask(*order)
        assert decision.authorised
        assert decision.statement == digest(approvals[1])
        verdicts = {approval: found.verdict for approval, found in zip(order, decision.approvals, strict=True)}
        assert [verdicts[one] for one in approvals] == [Verdict.OTHER, Verdict.COUNTED, Verdict.COUNTED, Verdict.OTHER]


def test_of_two_that_suffice_the_older_counts() -> None:
    older, newer = (use("alice", 6), use("bob", 6)), (use("alice", 5), use("bob", 5))
    assert ask(*newer, *older).statement == digest(older[0])
    # An approver of both is no duplicate in the second.
    assert ask(*newer, *older, spent=frozenset({digest(older[0])})).statement == digest(newer[0])
    both = frozenset({digest(older[0]), digest(newer[0])})
    assert words(ask(*newer, *older, spent=both)) == ["approval.spent"] * 4


def test_a_statement_that_fits_no_single_time_approval_not_single_use() -> None:
    decision = ask(use("alice", None), use("bob", None))
    assert not decision.authorised
    assert words(decision) == ["approval.not-single-use"] * 2
    assert ask(use("alice", None), use("bob", None), single_use=False).authorised
    assert ask(use("alice", 0), use("bob", 0)).authorised


def test_the_request_of_a_bound_statement_tells_the_times_apart() -> None:
    """One bit of the magic differs, and it is an ordinary payload again."""
    payload = bound_payload(1)
    assert ask(use("alice", None, payload), use("bob", None, payload), payload=payload).authorised
    other = bytes([payload[0] ^ 1]) + payload[1:]
    decision = ask(use("alice", None, other), use("bob", None, other), payload=other)
    assert words(decision) == ["approval.not-single-use"] * 2


def test_a_timestamp_whose_time_is_over_for_good_approval_stale_timestamp() -> None:
    approvals = use("alice", 5), use("bob", 5)
    assert ask(*approvals, stamps_from=NOW - 5).authorised
    assert words(ask(*approvals, stamps_from=NOW - 4)) == ["approval.stale-timestamp"] * 2


def test_windows_are_judged_for_the_one_statement() -> None:
    hour = use_policy(token(group(2, *NAMES), timelock=60, timeout=3600))
    assert ask(use("alice", 70), use("bob", 70), policy=hour).authorised
    assert ask(use("alice", 50), use("bob", 50), policy=hour).refusal == "approvals.too-early"
    # The newer statement is complete and waits; the older ones would be on, but not together with it.
    decision = ask(use("alice", 50), use("bob", 50), use("carol", 70), policy=hour)
    assert (decision.refusal, words(decision)[2]) == ("approvals.too-early", "approval.other-statement")
    # Without a time the question is whether it would do at all.
    assert ask(use("alice", 50), use("bob", 50), policy=hour, now=None).authorised


def test_the_form_that_raises_raises() -> None:
    question = Question(
        policy=TWO,
        action=Action.USE,
        label=LABEL,
        payload=PAYLOAD,
        approvals=[use("alice", 5), use("bob", 6)],
        now=NOW,
        integrity_keys=(integrity_key(),),
        single_use=True,
    )
    with pytest.raises(NotAuthorisedError) as refused:
        require_authorised(question)
    assert refused.value.refusal == "approvals.mixed-statements"


def _alone(approvals: Sequence[bytes], statement: bytes) -> bool:
    return ask(*(one for one in approvals if digest(one) == statement), single_use=False).authorised


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([4, 5, None])), min_size=1, max_size=8))
def test_property_it_is_authorised_if_and_only_if_one_stamped_statement_is_alone(
    given_: list[tuple[str, int | None]],
) -> None:
    approvals = [use(name, ago) for name, ago in given_]
    stamped_ones = {digest(one) for one, (_, ago) in zip(approvals, given_, strict=True) if ago is not None}
    sufficient = {one for one in stamped_ones if _alone(approvals, one)}
    decision = ask(*approvals)
    assert decision.authorised == bool(sufficient)
    assert not decision.authorised or decision.statement in sufficient
    counted = {digest(approvals[one.position]) for one in decision.approvals if one.verdict is Verdict.COUNTED}
    assert len(counted) <= 1
    assert ask(*reversed(approvals)).statement == decision.statement
