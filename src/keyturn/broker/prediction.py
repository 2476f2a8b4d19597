"""What the broker thinks the HSM will say, and what a request does next because of it. Pure.

The broker predicts with the same `ska.decide()` the HSM enforces with (law 2). A wrong prediction costs a refused
call or a late one; it never makes a key act.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from keyturn.broker.bound import covered_by_approvals
from keyturn.broker.storage.rows import RequestRow, TaskRow, TaskState
from keyturn.hsm.protocol import MAX_FRAME
from keyturn.ska.actions import Action
from keyturn.ska.decision import Decision, Question, Verdict, decide
from keyturn.ska.messages import decode_timestamp
from keyturn.ska.policy import Policy, Rule, decode_policy
from keyturn.ska.window import closes_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.broker.executor import KeyRecord
    from keyturn.ska.decision import IntegrityKey

WITHOUT_PAYLOAD: Final = frozenset({Action.BLOCK, Action.UNBLOCK})
"""Actions whose approvals name the key alone (ska-wire-format.md section 7), unless it is bound."""
CALL_ROOM: Final = MAX_FRAME - 8_192
"""Bytes of payload and approvals that one call to an HSM takes; the rest is for its other fields."""


class StepKind(Enum):
    """What happens to a request next."""

    WAIT = auto()
    """For people."""
    HOLD = auto()
    """For a timelock: complete, not open yet."""
    SEND = auto()
    """Now it goes to the HSM."""
    EXPIRE = auto()
    """It cannot be in time any more."""


@dataclass(frozen=True, slots=True)
class Step:
    """A request's next step.

    Args:
        kind: Which.
        due_at: When to look at it again, or None.
        sent: For `SEND`: ids of the tasks whose approvals go to the HSM, in the order in which they go.
    """

    kind: StepKind
    due_at: float | None = None
    sent: tuple[str, ...] = ()


@lru_cache(maxsize=1024)
def parsed_policy(policy: bytes) -> Policy:
    """Decode a policy blob that has been checked before; the same bytes are decoded once."""
    return decode_policy(policy)


def governing_rule(policy: bytes, action: int) -> Rule:
    """The rule of a policy blob that governs an action."""
    return parsed_policy(policy).rule(Action(action))


@lru_cache(maxsize=1024)
def stamp_seconds(stamp: bytes) -> int:
    """The time in a timestamp blob, seconds since the epoch."""
    return decode_timestamp(stamp).seconds


def collected(tasks: Sequence[TaskRow]) -> list[TaskRow]:
    """The tasks that hold an approval."""
    return [task for task in tasks if task.state == TaskState.APPROVED and task.authorization is not None]


def last_change(key: KeyRecord, action: Action) -> int:
    """The second of the last change that makes older timestamps for an action void, 0 if there was none (R15)."""
    return {Action.UNBLOCK: key.last_blocked, Action.MODIFY: key.last_modified}.get(action, 0)


def predict(
    request: RequestRow,
    approved: Sequence[TaskRow],
    *,
    now: float | None,
    integrity_keys: Sequence[IntegrityKey],
    stamps_from: int | None = None,
) -> Decision:
    """Ask `ska.decide()` about a request for a key with a policy.

    Args:
        request: The request.
        approved: Its tasks with approvals, in the order in which they would be sent.
        now: Seconds since the epoch, or None to leave the window out ("if carried in time").
        integrity_keys: Keys whose timestamps count.
        stamps_from: As in `Question`, where it is known.

    Returns:
        The decision; positions in it are those of `approved`.
    """
    if now is not None and request.stamp is not None:
        # The HSM's clock may be a little ahead; a stamp it gave does not lie in the future because of that.
        now = max(now, stamp_seconds(request.stamp))
    return decide(
        Question(
            policy=parsed_policy(request.policy),
            action=Action(request.action),
            label=request.key_label,
            # Block and unblock have no payload, unless the key is bound.
            payload=covered_by_approvals(request) or (None if request.action in WITHOUT_PAYLOAD else b""),
            approvals=[task.authorization or b"" for task in approved],
            now=None if now is None else int(now),
            integrity_keys=integrity_keys,
            not_before=request.key_created if request.key_generation > 1 else None,
            stamps_from=stamps_from,
        )
    )


@lru_cache(maxsize=1024)
def fewest_approvals(policy: bytes, action: int) -> int:
    """How many approvals it takes at the very least: below it there is nothing to ask `decide()` about."""
    tokens = governing_rule(policy, action).tokens
    return min((max((group.quorum for group in token.groups), default=0) for token in tokens), default=1)


def last_closing(request: RequestRow) -> int | None:
    """The first second at which no token of the rule can be in time any more; None if there is no such second."""
    if not request.policy or request.stamp is None:
        return None
    stamp = stamp_seconds(request.stamp)
    closings = [closes_at(stamp, token) for token in governing_rule(request.policy, request.action).tokens]
    known = [closing for closing in closings if closing is not None]
    return max(known) if known and len(known) == len(closings) else None


@lru_cache(maxsize=1024)
def most_needed_approvals(policy: bytes, action: int) -> int:
    """How many approvals fulfil any one token, if nobody counts in two of its groups."""
    tokens = governing_rule(policy, action).tokens
    return max((sum(group.quorum for group in token.groups) for token in tokens), default=0)


def _fitting(
    request: RequestRow, counted: list[TaskRow], *, now: float, integrity_keys: Sequence[IntegrityKey]
) -> list[TaskRow]:
    """Leave out approvals that are not needed where all of them do not fit into one call.

    More than needed come together while a timelock runs, and each repeats the payload.
    """
    left = list(counted)
    for surplus in reversed(counted):
        if len(request.payload) + sum(len(task.authorization or b"") for task in left) <= CALL_ROOM:
            break
        fewer = [task for task in left if task is not surplus]
        if predict(request, fewer, now=now, integrity_keys=integrity_keys).authorised:
            left = fewer
    return left


def next_step(
    request: RequestRow,
    tasks: Sequence[TaskRow],
    *,
    now: float,
    connected: bool,
    integrity_keys: Sequence[IntegrityKey],
) -> Step:
    """Say what an open request does next.

    Args:
        request: The request.
        tasks: All its tasks.
        now: Seconds since the epoch.
        connected: Whether there is an HSM to send it to.
        integrity_keys: Keys whose timestamps count.

    Returns:
        The step. Where approvals have gone to the HSM and the outcome is not known, always the same ones again.
    """
    if request.sent is not None:
        return Step(StepKind.SEND, now, tuple(json.loads(request.sent)))
    if not connected:
        return Step(StepKind.WAIT)
    if not request.policy:
        return Step(StepKind.SEND, now)
    approved = collected(tasks)
    if len(approved) >= fewest_approvals(request.policy, request.action):
        decision = predict(request, approved, now=now, integrity_keys=integrity_keys)
        if decision.authorised:
            positions = (finding.position for finding in decision.approvals if finding.verdict is Verdict.COUNTED)
            counted = [approved[position] for position in positions]
            fitting = _fitting(request, counted, now=now, integrity_keys=integrity_keys)
            return Step(StepKind.SEND, now, tuple(task.id for task in fitting))
        if decision.opens_at is not None and now < decision.opens_at:
            return Step(StepKind.HOLD, decision.opens_at)
    closing = last_closing(request)
    if closing is not None and now >= closing:
        return Step(StepKind.EXPIRE)
    return Step(StepKind.WAIT, closing)
