"""The question that `decide()` answers, and its answer: frozen values that explain themselves.

Source: ska-wire-format.md section 8; decisions 18 to 20, 29.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.actions import Action

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from keyturn.ska.policy import Approver, Policy


@dataclass(frozen=True)
class IntegrityKey:
    """A key with which the HSM signs timestamps, or once did.

    Args:
        name: Its name, as timestamps carry it.
        spki: Public key, DER SubjectPublicKeyInfo.
        retired_at: Seconds since the epoch of its retirement; later timestamps do not count. None while in use.
    """

    name: str
    spki: bytes
    retired_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """Is this action, with this key, on exactly these bytes, authorised by these approvals?

    Args:
        policy: The key's policy.
        action: What is to be done.
        label: Name of the key (for a derived key `master/path`).
        payload: For use the bytes to be processed, for modify the new policy blob; None for block and unblock. For use,
            block and unblock of a bound key the statement (R7).
        approvals: Raw authorization blobs, as received.
        now: Seconds since the epoch. None asks whether the approvals are complete, if sent in time: timestamps are
            still demanded and verified, but neither windows nor "not in the future" are judged against a clock.
        integrity_keys: The HSM's keys for timestamps, present and retired.
        not_before: Creation of the key if its label had an owner before (R18): approvals then count only with a
            timestamp not earlier than this, in seconds since the epoch.
        allow_unlabelled: Whether approvals with an empty label count (decisions 29).
        stamps_from: For unblock and modify of a protected key: a timestamp before this second, since the epoch, does
            not count, because the key was blocked or modified after it (R15). None where any does. Approvals without
            a timestamp are untouched by it.
        spent: Statements that have served and serve no more: SHA-256 of the signed approval blob, 0x1055 (R15).
        withdrawn: Approvals that their signers took back: SHA-256 of the identity, SHA-256 of the signed approval
            blob (R26).
        stale_for: Of signers whose withdrawals are not all remembered, SHA-256 of the identity: the newest timestamp
            that does not count for them any more, in seconds since the epoch (R26).
        single_use: Whether only approvals of one and the same statement count together, and only statements that tell
            one use from another: by a timestamp of the HSM, or by the request that a bound statement names (R14).
    """

    policy: Policy
    action: Action
    label: str
    payload: bytes | None
    approvals: Sequence[bytes]
    now: int | None
    integrity_keys: Sequence[IntegrityKey] = ()
    not_before: int | None = None
    allow_unlabelled: bool = False
    stamps_from: int | None = None
    spent: Collection[bytes] = ()
    withdrawn: Collection[tuple[bytes, bytes]] = ()
    stale_for: Mapping[bytes, int] = field(default_factory=dict)
    single_use: bool = False

    def __post_init__(self) -> None:
        if self.payload is None and self.action in (Action.USE, Action.MODIFY):
            raise FormatError(f"A question about {self.action.name.lower()} needs the payload that is to be processed.")


class Verdict(StrEnum):
    """What became of one approval."""

    COUNTED = "counted"
    """It counts for at least one token."""
    FOREIGN = "foreign"
    """Its signer is not listed; it does no harm."""
    INVALID = "invalid"
    """Something is wrong with it; `refusal` says what."""
    EARLY = "early"
    """It is good, but no window that needs it has opened yet."""
    LATE = "late"
    """It was good, but every window that needs it has closed."""
    DUPLICATE = "duplicate"
    """Its signer has approved already; it adds nothing."""
    OTHER = "other"
    """It is good, but for another statement than the one that counts, of which there is one only (R14)."""


class RuleKind(StrEnum):
    """What sort of rule governs the action."""

    ALWAYS = "always"
    """No approval is needed."""
    NEVER = "never"
    """No approval helps."""
    NEEDS = "needs"
    """Approvals are needed."""


@dataclass(frozen=True)
class ApprovalFinding:
    """What became of one approval.

    Args:
        position: Its place in the question's list, from 0.
        verdict: The verdict.
        refusal: Stable word such as `approval.wrong-label`; empty when it counted.
        reason: A sentence for a person; empty when it counted.
        identity: The signer in normal form, if listed.
        stamp: Seconds since the epoch in its timestamp, if it could be read.
    """

    position: int
    verdict: Verdict
    refusal: str = ""
    reason: str = ""
    identity: bytes | None = None
    stamp: int | None = None


@dataclass(frozen=True)
class GroupFinding:
    """Who has approved in a group, whatever the window says.

    Args:
        name: Name of the group.
        quorum: How many must approve.
        approved: Identities of those who have, in the group's order.
        missing: How many more are needed.
        outstanding: Those who have not, in the group's order.
    """

    name: str | None
    quorum: int
    approved: tuple[bytes, ...]
    missing: int
    outstanding: tuple[Approver, ...]


@dataclass(frozen=True)
class TokenFinding:
    """How far a token is.

    Args:
        name: Name of the token.
        satisfied: Whether it authorises: complete and, if the question had a time, inside its window.
        complete: Whether there is, was or will be a moment at which all its quorums are met.
        opens_at: First second, since the epoch, of the window that counts; None if it has none, or is not complete.
        closes_at: First second after it; None for never, or if it is not complete.
        groups: Its groups.
    """

    name: str | None
    satisfied: bool
    complete: bool
    opens_at: int | None
    closes_at: int | None
    groups: tuple[GroupFinding, ...]


@dataclass(frozen=True)
class Decision:
    """The answer.

    Args:
        authorised: Whether it is. Everything else explains.
        rule_kind: What sort of rule governs the action.
        tokens: One finding for each token of the rule.
        approvals: One finding for each approval of the question, in its order.
        refusal: `rule.never`, `approvals.missing`, `approvals.too-early`, `approvals.too-late`,
            `approvals.mixed-statements`, or empty.
        reason: A sentence for a person.
        opens_at: Earliest opening among the complete tokens that have not closed, seconds since the epoch; None if
            one of them has no window, or none is complete.
        closes_at: Latest closing among the complete tokens; None for never, or if none is complete.
        statement: SHA-256 of the one statement on which an authorised decision rests, if the question was for a
            single use; else empty.
        stamp: Seconds since the epoch in the timestamp of that statement; None where it has none.
    """

    authorised: bool
    rule_kind: RuleKind
    tokens: tuple[TokenFinding, ...]
    approvals: tuple[ApprovalFinding, ...]
    refusal: str
    reason: str
    opens_at: int | None
    closes_at: int | None
    statement: bytes = b""
    stamp: int | None = None

    @property
    def complete(self) -> bool:
        """Whether the quorums of some token are met, whatever the time."""
        return any(token.complete for token in self.tokens)

    @property
    def bad_approvals(self) -> list[tuple[int, str]]:
        """Positions of the approvals that did not count, each with its word."""
        return [(found.position, found.refusal) for found in self.approvals if found.verdict is not Verdict.COUNTED]


class NotAuthorisedError(KeyturnError):
    """The policy does not allow it; `decision` says why.

    The code is 701 as documented (rest-api.md section 1.4); `refusal` tells what is the matter.

    Args:
        decision: The decision that refused.
    """

    def __init__(self, decision: Decision) -> None:
        super().__init__(ErrorCode.IN_HSM, decision.reason, refusal=decision.refusal)
        self.decision = decision

    def __reduce__(self) -> tuple[object, ...]:
        return (NotAuthorisedError, (self.decision,))
