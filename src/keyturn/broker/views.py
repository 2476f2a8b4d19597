"""How requests are shown: their state and the preflight. Pure.

Source: rest-api.md sections 3.6 and 6.7; decisions 12, 18; docs/security/rules.md R10.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from keyturn.broker import progress
from keyturn.broker.answers import OFFLINE_RESULT, RequestView
from keyturn.broker.calls import RequestKind
from keyturn.broker.offline_input import offline_input
from keyturn.broker.prediction import (
    collected,
    fewest_approvals,
    governing_rule,
    last_closing,
    parsed_policy,
    stamp_seconds,
)
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage.rows import TaskState
from keyturn.broker.stored_calls import CERTIFICATE_KINDS
from keyturn.broker.timestamps import awaits_stamp
from keyturn.clock import iso
from keyturn.crypto.foreign_certificates import pem
from keyturn.ska.actions import Action
from keyturn.ska.policy_rules import open_modify, open_unblock, required_timestamp
from keyturn.ska.window import closes_at, opens_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.broker.executor import KeyRecord
    from keyturn.broker.storage.rows import RequestRow, TaskRow
    from keyturn.ska.decision import Decision, TokenFinding
    from keyturn.ska.policy import Token

_WITH_RESULT: Final = frozenset({RequestKind.SIGN, RequestKind.DECRYPT})
"""Kinds whose result is told as text; that of the others is the changed key."""


def text(data: bytes) -> str:
    """Base64 with padding, as everywhere in the API."""
    return b64encode(data).decode("ascii")


def request_view(request: RequestRow, tasks: Sequence[TaskRow], *, connected: bool) -> RequestView:
    """Show a request.

    Args:
        request: The request.
        tasks: All its tasks.
        connected: Whether there is an HSM.
    """
    status = RequestStatus(request.status)
    open_offline = not connected and status.is_open
    for_courier = open_offline and awaits_courier(request, tasks)
    result: str | None = None
    if for_courier:
        result = OFFLINE_RESULT
    elif status is RequestStatus.EXECUTED and request.kind in _WITH_RESULT and request.result is not None:
        result = text(request.result)
    elif status is RequestStatus.EXECUTED and request.kind in CERTIFICATE_KINDS and request.result is not None:
        result = pem(request.result, request=request.kind == RequestKind.CSR)

    def signers(state: TaskState) -> tuple[bytes, ...]:
        return tuple(task.spki for task in tasks if task.state == state)

    return RequestView(
        id=request.id,
        kind=RequestKind(request.kind),
        status=status,
        execution_time=request.executed_at,
        approved_by=signers(TaskState.APPROVED),
        not_yet_approved_by=signers(TaskState.OPEN),
        rejected_by=signers(TaskState.REJECTED),
        result=result,
        input_offline_hsm=offline_input(request, tasks)
        if for_courier or (open_offline and awaits_stamp(request))
        else None,
        failure=request.failure,
        withdrawn_by=signers(TaskState.WITHDRAWN),
        receipt=request.receipt or b"",
        receipt_signature=request.receipt_signature or b"",
    )


def awaits_courier(request: RequestRow, tasks: Sequence[TaskRow]) -> bool:
    """Whether there is something to execute: from the first approval on, or at once where none is needed."""
    if awaits_stamp(request):
        return False
    if collected(tasks):
        return True
    return not request.policy or fewest_approvals(request.policy, request.action) == 0


def preflight_view(
    request: RequestRow,
    key: KeyRecord,
    decision: Decision | None,
    marks: Sequence[str],
    *,
    now: float,
    stale: bool = False,
) -> dict[str, Any]:
    """Say whether the HSM would accept what has been collected (decisions 12).

    Args:
        request: The request.
        key: The key as it is known now.
        decision: The prediction under its present policy, None for an ordinary key.
        marks: Words of approvals that the HSM did not count.
        now: This side's clock, seconds since the epoch. What opens later may be carried now, what has closed may not.
        stale: Whether the request's timestamp is too old for what its key has become (R15).

    Returns:
        The documented fields, and beside them `status`, `reason` (why not), `surplus` (approvals beyond the quorums of
        the satisfied token), `blocked`, `boundApprovals` (whether they cover a statement, R7), `openModify`,
        `openUnblock`, `refusedApprovals`, `timestampMissing`, `timestamp` (the HSM's time in the approvals), `opensAt`
        and `closesAt` (the first second that no longer counts) of the whole.
    """
    action = Action(request.action)
    same_key = key.uuid == request.key_uuid
    superseded = progress.is_superseded(request, key)
    blocked = key.blocked and action is Action.USE
    policy = parsed_policy(key.policy) if key.policy else None
    rule = None if policy is None else policy.rule(action)
    missing = awaits_stamp(request) or (request.stamp is None and rule is not None and required_timestamp(rule))
    window = _window(request, decision)
    closed = window.closes_at is not None and now >= window.closes_at
    reason = decision.reason if decision is not None and not decision.authorised else ""
    if not same_key:
        reason = "The label belongs to another key now. Open a new request."
    elif superseded:
        reason = progress.SUPERSEDED
    elif blocked:
        reason = "The key is blocked; it acts for nobody until it is unblocked."
    elif stale:
        reason = progress.stale_reason(action)
    elif awaits_stamp(request):
        reason = "A timestamp of the HSM is missing: carry the request for it to the offline side and its answer back."
    elif missing:
        reason = "Its approvals carry no timestamp of the HSM, which the policy demands by now. Open a new request."
    elif closed and window.closes_at is not None:
        reason = f"The time in which its approvals count passed at {iso(window.closes_at)}. Open a new request."
    tokens = () if decision is None else decision.tokens
    authorised = decision is None or decision.authorised
    return {
        "satisfied": same_key
        and not superseded
        and not blocked
        and not stale
        and not missing
        and not closed
        and authorised,
        "action": action.name.lower(),
        "tokens": [
            _token(token, request, None if rule is None else rule.tokens[place]) for place, token in enumerate(tokens)
        ],
        "policyAttestTime": _moment(key.attested_at),
        "status": request.status,
        "reason": reason or None,
        "surplus": next((_surplus(token) for token in tokens if token.satisfied), 0),
        "blocked": key.blocked,
        "boundApprovals": request.bound_statement is not None,
        "openModify": policy is not None and open_modify(policy),
        "openUnblock": policy is not None and open_unblock(policy),
        "refusedApprovals": list(marks),
        "timestampMissing": missing,
        "timestamp": None if request.stamp is None else _moment(stamp_seconds(request.stamp)),
        "opensAt": _moment(window.opens_at),
        "closesAt": _moment(window.closes_at),
    }


class _Window(NamedTuple):
    """When the HSM accepts a request by its clock: from the first second up to, and without, the second one."""

    opens_at: int | None
    closes_at: int | None


def _window(request: RequestRow, decision: Decision | None) -> _Window:
    """The window of what has been collected; while it is not complete, the widest that the stamp allows."""
    if decision is not None and any(token.complete for token in decision.tokens):
        return _Window(decision.opens_at, decision.closes_at)
    if request.stamp is None or not request.policy:
        return _Window(None, None)
    stamp = stamp_seconds(request.stamp)
    tokens = governing_rule(request.policy, request.action).tokens
    openings = [opens_at(stamp, token) for token in tokens if token.time_bound]
    return _Window(min(openings) if len(openings) == len(tokens) and openings else None, last_closing(request))


def _token(finding: TokenFinding, request: RequestRow, token: Token | None) -> dict[str, Any]:
    opening, closing = finding.opens_at, finding.closes_at
    if not finding.complete and token is not None and token.time_bound and request.stamp is not None:
        # Nobody has completed it yet, but the clock runs: everybody approves the same stamp.
        stamp = stamp_seconds(request.stamp)
        opening, closing = opens_at(stamp, token), closes_at(stamp, token)
    return {
        "name": finding.name,
        "satisfied": finding.satisfied,
        "opensAt": _moment(opening),
        "closesAt": _moment(closing),
        "groups": [
            {
                "name": group.name,
                "quorum": group.quorum,
                "approved": [text(identity) for identity in group.approved],
                "missing": group.missing,
            }
            for group in finding.groups
        ],
    }


def _moment(seconds: int | None) -> str | None:
    return None if seconds is None else iso(seconds)


def _surplus(token: TokenFinding) -> int:
    return sum(max(0, len(group.approved) - group.quorum) for group in token.groups)
