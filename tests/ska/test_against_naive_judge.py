"""`decide()` and the naive judge agree on random policies and random piles of approvals."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keyturn.ska.actions import Action
from keyturn.ska.decision import Decision, Question, Verdict, decide
from keyturn.ska.messages import decode_authorization, encode_authorization
from keyturn.ska.policy import Group, Policy, Rule, TimeUnit, Token
from keyturn_testing.ska import INTEGRITY, LABEL, PAYLOAD, integrity_key, person, stamped
from ska.naive_judge import Case, judge, judge_ever

NOW = 1_700_000_000
PEOPLE = ("alice", "bob", "carol", "erin", "grace")
AGES = (0, 60, 61, 119, 120, 121, 180)
DEFECTS = (
    "signer",
    "operation",
    "label",
    "no label",
    "payload",
    "forged",
    "stamp payload",
    "stamp kind",
    "stamp key",
    "stamp signer",
    "future",
)


@st.composite
def groups(draw: st.DrawFn) -> Group:
    names = draw(st.lists(st.sampled_from(PEOPLE), min_size=2, max_size=4, unique=True))
    listed = tuple(person(n).by_certificate if draw(st.booleans()) else person(n).listed for n in names)
    return Group(draw(st.sampled_from([None, "g"])), draw(st.sampled_from([1, 1, 2, len(names)])), listed)


@st.composite
def tokens(draw: st.DrawFn) -> Token:
    unit = draw(st.sampled_from(list(TimeUnit)))
    timelock, timeout = draw(st.sampled_from([(0, 0), (0, 60), (0, 120), (60, 0), (60, 60), (60, 120), (120, 180)]))
    return Token("t", timelock, timeout, unit, tuple(draw(st.lists(groups(), min_size=1, max_size=2))))


@st.composite
def approvals(draw: st.DrawFn) -> tuple[str, bytes]:
    """An approval, and who signed it; three of four are without defect."""
    defect = draw(st.sampled_from([*(None,) * 3 * len(DEFECTS), *DEFECTS]))
    name = "mallory" if defect == "signer" else draw(st.sampled_from(PEOPLE))
    action = draw(st.sampled_from([Action.BLOCK, Action.MODIFY])) if defect == "operation" else Action.USE
    label = {"label": "other", "no label": ""}.get(str(defect), LABEL)
    payload = b"other" if defect == "payload" else PAYLOAD
    stamp = None
    if draw(st.integers(0, 3)) or str(defect).startswith("stamp"):
        stamp = stamped(
            NOW + 300 if defect == "future" else NOW - draw(st.sampled_from(AGES)),
            b"third" if defect == "stamp payload" else payload,
            is_policy=(action is Action.MODIFY) != (defect == "stamp kind"),
            key_name="unknown" if defect == "stamp key" else INTEGRITY,
            signer="mallory" if defect == "stamp signer" else "hsm",
        )
    with_certificate = draw(st.booleans())
    data = person(name).approve(payload, action=action, label=label, stamp=stamp, with_certificate=with_certificate)
    if defect == "forged":
        # This signer's name under another statement of theirs.
        other = decode_authorization(person(name).approve(b"another"))
        data = encode_authorization(replace(decode_authorization(data), signature=other.signature))
    return name, data


@st.composite
def questions(draw: st.DrawFn) -> Question:
    rule = Rule(tuple(draw(st.lists(tokens(), min_size=1, max_size=3))))
    pile = draw(st.lists(approvals(), min_size=1, max_size=8))
    # More than four of one signer are not all looked at (R29), which the naive judge does not know.
    assume(all(count <= 4 for count in Counter(name for name, _ in pile).values()))
    contents = [decode_authorization(data).approval for _, data in pile]
    digests = [hashlib.sha256(content).digest() for content in contents]
    people = [hashlib.sha256(person(name).spki).digest() for name, _ in pile]
    return Question(
        policy=Policy(rule, Rule.NEVER, Rule.NEVER, Rule.NEVER),
        action=Action.USE,
        label=LABEL,
        payload=PAYLOAD,
        approvals=[data for _, data in pile],
        now=NOW,
        integrity_keys=(integrity_key(),),
        not_before=draw(st.sampled_from([None, None, None, NOW - 120])),
        allow_unlabelled=draw(st.booleans()),
        stamps_from=draw(st.sampled_from([None, None, NOW - 119, NOW - 60])),
        spent=draw(st.lists(st.sampled_from(digests), max_size=1)),
        withdrawn=draw(st.lists(st.tuples(st.sampled_from(people), st.sampled_from(digests)), max_size=2)),
    )


def case_of(question: Question) -> Case:
    return Case(
        policy=question.policy,
        action=int(question.action),
        label=question.label,
        payload=question.payload,
        approvals=question.approvals,
        integrity={key.name: key.spki for key in question.integrity_keys},
        not_before=question.not_before,
        allow_unlabelled=question.allow_unlabelled,
        stamps_from=question.stamps_from,
        spent=list(question.spent),
        withdrawn=list(question.withdrawn),
    )


def satisfied(decision: Decision) -> list[bool]:
    return [token.satisfied for token in decision.tokens]


@settings(max_examples=250, deadline=None)
@given(questions())
def test_both_judges_agree_now(question: Question) -> None:
    decision = decide(question)
    expected = judge(case_of(question), NOW)
    assert satisfied(decision) == expected
    assert decision.authorised == any(expected)
    assert bool(decision.refusal) != decision.authorised
    assert decision.reason


@settings(max_examples=150, deadline=None)
@given(questions())
def test_both_judges_agree_that_it_is_complete(question: Question) -> None:
    decision = decide(replace(question, now=None))
    assert satisfied(decision) == judge_ever(case_of(question))
    assert [token.complete for token in decision.tokens] == satisfied(decision)


@settings(max_examples=150, deadline=None)
@given(questions())
@pytest.mark.rule("decisions 18")
def test_the_times_of_a_decision_are_the_edges_of_what_the_naive_judge_accepts(question: Question) -> None:
    decision = decide(question)
    case = case_of(question)
    for index, token in enumerate(decision.tokens):
        if not token.complete:
            assert not judge(case, NOW)[index]
            continue
        if token.opens_at is not None and token.opens_at > NOW:
            assert decide(replace(question, now=token.opens_at)).tokens[index].satisfied
        if token.opens_at is not None:
            assert judge(case, token.opens_at)[index]
            assert not judge(case, token.opens_at - 1)[index]
        if token.closes_at is not None:
            assert judge(case, token.closes_at - 1)[index]
            assert not judge(case, token.closes_at)[index]


@settings(max_examples=100, deadline=None)
@given(questions(), st.randoms(use_true_random=False))
def test_the_order_of_approvals_does_not_matter(question: Question, random: object) -> None:
    shuffled = list(question.approvals)
    assert hasattr(random, "shuffle")
    random.shuffle(shuffled)
    assert satisfied(decide(replace(question, approvals=shuffled))) == satisfied(decide(question))


@settings(max_examples=100, deadline=None)
@given(questions(), approvals())
def test_one_more_approval_never_takes_an_authorisation_away(question: Question, more: tuple[str, bytes]) -> None:
    before = decide(question)
    after = decide(replace(question, approvals=[*question.approvals, more[1]]))
    assert not (before.authorised and not after.authorised)


@settings(max_examples=100, deadline=None)
@given(questions())
def test_the_approvals_that_counted_are_enough(question: Question) -> None:
    decision = decide(question)
    counted = [question.approvals[f.position] for f in decision.approvals if f.verdict is Verdict.COUNTED]
    assert satisfied(decide(replace(question, approvals=counted))) == satisfied(decision)
