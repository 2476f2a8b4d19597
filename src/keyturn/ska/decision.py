"""The one decision: is this authorised, and if not, what is missing, in words.

The broker asks it to predict, the HSM to enforce; both call `decide`. It trusts nothing but the policy, the label,
the payload and the integrity keys it is given: every approval is decoded and verified from its raw bytes.

- An approval counts if it is for this action, this key and exactly these bytes, and a listed approver signed it.
- A group is met when enough different people have approved. One approval counts in every group that lists its signer.
- A token is met when all its groups are, at one moment, inside the windows of the approvals that meet them.
- A rule is met when one of its tokens is. Foreign and surplus approvals do no harm.
- Where a statement serves once, all approvals that count are for the same statement (R14).

Source: ska-wire-format.md section 8; decisions 18 to 21, 23, 26, 29; docs/security/rules.md R3, R14, R18, R29.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.examination import Examination, GoodApproval
from keyturn.ska.findings import (
    ApprovalFinding,
    Decision,
    GroupFinding,
    IntegrityKey,
    NotAuthorisedError,
    Question,
    RuleKind,
    TokenFinding,
    Verdict,
)
from keyturn.ska.policy_rules import is_always_fulfilled
from keyturn.ska.quorum import Span, spans
from keyturn.ska.reasons import approver_identity, explain, moment, tell_uncounted
from keyturn.ska.roll_call import RollCall, roll_call
from keyturn.ska.window import closes_at, opens_at

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from keyturn.ska.actions import Action
    from keyturn.ska.policy import Group, Policy, Rule, Token

__all__ = [
    "ApprovalFinding",
    "Decision",
    "GroupFinding",
    "IntegrityKey",
    "NotAuthorisedError",
    "Question",
    "RuleKind",
    "TokenFinding",
    "Verdict",
    "can_still_be_reached",
    "decide",
    "require_authorised",
    "weigh",
]


def decide(question: Question) -> Decision:
    """Decide.

    Args:
        question: What is asked.

    Returns:
        The decision with its explanation. Never raises for anything that an approval may contain.
    """
    rule = question.policy.rule(question.action)
    roll = roll_call(rule)
    examination = Examination(question, roll)
    results = [examination.examine(position, data) for position, data in enumerate(question.approvals)]
    if question.single_use:
        return _decide_by_statement(question, rule, roll, results)
    stamps: dict[bytes, set[int | None]] = {}
    for result in results:
        if isinstance(result, GoodApproval):
            stamps.setdefault(result.identity, set()).add(result.stamp)
    approvals = tuple(
        _judge_window(result, roll, question.now) if isinstance(result, GoodApproval) else result for result in results
    )
    return _tell_uncounted(weigh(rule, stamps, question.now, approvals))


def weigh(
    rule: Rule,
    stamps: dict[bytes, set[int | None]],
    now: int | None,
    approvals: tuple[ApprovalFinding, ...] = (),
) -> Decision:
    """Decide by who has approved when, taken for granted: the part of `decide` that comes after every signature.

    It verifies nothing, so what it says must let nothing happen; it is public to answer "what if".

    Args:
        rule: The rule.
        stamps: For each identity, the timestamps of its approvals in seconds since the epoch, None for one without.
        now: Seconds since the epoch, or None as in `Question`.
        approvals: What became of the single approvals; the decision carries it on.

    Returns:
        The decision with its explanation.
    """
    tokens = tuple(
        _find_token(token, groups, stamps, now)
        for token, groups in zip(rule.tokens, roll_call(rule).groups, strict=True)
    )
    refusal, reason = explain(tokens, now)
    opening, closing = _bounds(tokens, now)
    return Decision(
        authorised=any(token.satisfied for token in tokens),
        rule_kind=_kind(rule),
        tokens=tokens,
        approvals=approvals,
        refusal=refusal,
        reason=reason,
        opens_at=opening,
        closes_at=closing,
    )


def require_authorised(question: Question) -> Decision:
    """Decide, and raise unless authorised.

    Args:
        question: What is asked; `now` must be given, since this is the form that lets something happen.

    Returns:
        The decision, which is authorised.

    Raises:
        NotAuthorisedError: If it is not; it carries the decision.
        KeyturnError: If the question has no time, which is a mistake of the caller.
    """
    if question.now is None:
        raise KeyturnError(
            ErrorCode.TECHNICAL, "Only a question with a time can authorise.", refusal="question.no-time"
        )
    decision = decide(question)
    if not decision.authorised:
        raise NotAuthorisedError(decision)
    return decision


def can_still_be_reached(policy: Policy, action: Action, rejected: Collection[bytes]) -> bool:
    """Tell whether the rule can still be met after some approvers have rejected.

    Args:
        policy: The key's policy.
        action: What is to be done.
        rejected: Identities of those who have rejected.

    Returns:
        False when no token can be met any more.
    """
    rule = policy.rule(action)
    return any(
        all(
            0 < group.quorum <= sum(identity not in rejected for identity in members)
            for group, members in zip(token.groups, groups, strict=True)
        )
        and (bool(token.groups) or not token.time_bound)
        for token, groups in zip(rule.tokens, roll_call(rule).groups, strict=True)
    )


def _decide_by_statement(
    question: Question, rule: Rule, roll: RollCall, results: Sequence[GoodApproval | ApprovalFinding]
) -> Decision:
    """Decide by the approvals of one statement alone (R14).

    If several statements suffice, the one with the oldest timestamp counts, which closes first; those without a
    timestamp come last, and equal ones in the order of their digests. So the order of the approvals does not matter.
    """
    together: dict[bytes, set[int | None]] = {}
    apart: dict[tuple[bool, int, bytes], dict[bytes, set[int | None]]] = {}
    for result in results:
        if isinstance(result, GoodApproval):
            together.setdefault(result.identity, set()).add(result.stamp)
            place = result.stamp is None, result.stamp or 0, result.statement
            apart.setdefault(place, {}).setdefault(result.identity, set()).add(result.stamp)
    decision, served = weigh(rule, {}, question.now), b""
    best = (not decision.authorised, True, 0)
    for place, stamps in sorted(apart.items()):
        found = weigh(rule, stamps, question.now)
        rank = (not found.authorised, not found.complete, -len(stamps))
        if not served or rank < best:
            decision, served, best = found, place[2], rank
    approvals: list[ApprovalFinding] = []
    for result in results:
        if not isinstance(result, GoodApproval):
            approvals.append(result)
        elif result.statement == served:
            approvals.append(_judge_window(result, roll, question.now))
        else:
            approvals.append(_of_another_statement(result))
    decision = replace(decision, approvals=tuple(approvals))
    if decision.authorised:
        stamp = next((one.stamp for one in results if isinstance(one, GoodApproval) and one.statement == served), None)
        return replace(decision, statement=served, stamp=stamp)
    mixed = weigh(rule, together, question.now)
    if mixed.authorised or (mixed.complete and not decision.complete):
        return replace(
            decision,
            refusal="approvals.mixed-statements",
            reason=f"There would be enough approvals, but they are for {len(apart)} different statements, and the key "
            "is used once for each; have one of them approved by all who are needed.",
        )
    return _tell_uncounted(decision)


def _tell_uncounted(decision: Decision) -> Decision:
    """Where approvals are missing, say first which were given in vain."""
    if decision.refusal != "approvals.missing":
        return decision
    return replace(decision, reason=tell_uncounted(decision.tokens, decision.approvals) + decision.reason)


def _of_another_statement(good: GoodApproval) -> ApprovalFinding:
    return ApprovalFinding(
        good.position,
        Verdict.OTHER,
        "approval.other-statement",
        "The approval is for another statement than those that count here, for example with another timestamp.",
        good.identity,
        good.stamp,
    )


def _kind(rule: Rule) -> RuleKind:
    if not rule.tokens:
        return RuleKind.NEVER
    return RuleKind.ALWAYS if is_always_fulfilled(rule) else RuleKind.NEEDS


def _find_token(
    token: Token,
    groups: Sequence[Sequence[bytes]],
    stamps: dict[bytes, set[int | None]],
    now: int | None,
) -> TokenFinding:
    found = spans(token, groups, stamps)
    serving = {
        identity
        for identity, of_person in stamps.items()
        if not token.time_bound or any(stamp is not None for stamp in of_person)
    }
    opening, closing, satisfied = _relevant(found, now)
    return TokenFinding(
        name=token.name,
        satisfied=satisfied,
        complete=bool(found),
        opens_at=opening,
        closes_at=closing,
        groups=tuple(_find_group(group, members, serving) for group, members in zip(token.groups, groups, strict=True)),
    )


def _relevant(found: list[Span], now: int | None) -> tuple[int | None, int | None, bool]:
    """The span that counts: the one that is on, else the next, else the last; without a time, all of them."""
    if not found:
        return None, None, False
    if now is None:
        return found[0][0], found[-1][1], True
    for start, end in found:
        if end is None or now < end:
            return start, end, start is None or start <= now
    return *found[-1], False


def _find_group(group: Group, members: Sequence[bytes], serving: set[bytes]) -> GroupFinding:
    approved = tuple(identity for identity in members if identity in serving)
    present = set(approved)
    return GroupFinding(
        name=group.name,
        quorum=group.quorum,
        approved=approved,
        missing=max(0, group.quorum - len(approved)),
        outstanding=tuple(approver for approver in group.approvers if approver_identity(approver) not in present),
    )


def _judge_window(good: GoodApproval, roll: RollCall, now: int | None) -> ApprovalFinding:
    early: list[int] = []
    late: list[int] = []
    for token in roll.tokens_of[good.identity]:
        if not token.time_bound:
            return _counted(good)
        if good.stamp is None:
            continue
        start, end = opens_at(good.stamp, token), closes_at(good.stamp, token)
        if now is None or (start <= now and (end is None or now < end)):
            return _counted(good)
        if now < start:
            early.append(start)
        elif end is not None:
            late.append(end)
    if early:
        verdict, word, reason = Verdict.EARLY, "approval.early", f"The approval counts from {moment(min(early))} on."
    else:
        verdict, word, reason = Verdict.LATE, "approval.late", f"The approval counted until {moment(max(late))}."
    return ApprovalFinding(good.position, verdict, word, reason, good.identity, good.stamp)


def _counted(good: GoodApproval) -> ApprovalFinding:
    return ApprovalFinding(good.position, Verdict.COUNTED, identity=good.identity, stamp=good.stamp)


def _bounds(tokens: Sequence[TokenFinding], now: int | None) -> tuple[int | None, int | None]:
    complete = [token for token in tokens if token.complete]
    if not complete:
        return None, None
    open_ended = [token for token in complete if now is None or token.closes_at is None or now < token.closes_at]
    openings = [token.opens_at for token in open_ended or complete]
    closings = [token.closes_at for token in complete]
    opening = None if None in openings else min(o for o in openings if o is not None)
    closing = None if None in closings else max(c for c in closings if c is not None)
    return opening, closing
