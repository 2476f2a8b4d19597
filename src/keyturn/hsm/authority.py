"""Asking `ska.decision` with what the HSM itself holds: the one place where the HSM puts the question (law 2).

The broker's word about policy, time or keys is never part of the question; only the approvals are, and they prove
themselves.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.ledger import LAST, SPENT, LedgerKind, Withdrawn, consumed, last
from keyturn.hsm.protocol import MAX_APPROVALS
from keyturn.ska.actions import Action
from keyturn.ska.decision import NotAuthorisedError, Question, Verdict, decide, require_authorised
from keyturn.ska.messages import decode_authorization
from keyturn.ska.policy import decode_policy
from keyturn.ska.policy_rules import is_protected, serves_once

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from keyturn.hsm.clock_guard import ClockGuard
    from keyturn.hsm.records import KeyRecord
    from keyturn.hsm.store_reader import StoreReader
    from keyturn.hsm.system_keys import SystemKeys
    from keyturn.ska.decision import Decision
    from keyturn.ska.policy import Policy


LARGE_POLICY: Final = 4096
"""Octets of a policy blob from which on few are kept parsed: a parsed policy takes some ten times as much memory."""


def parse_policy(blob: bytes) -> Policy:
    """Decode the policy blob of a stored key; the same bytes are decoded once, as long as memory is left for it.

    What a caller brings is decoded with `decode_policy`, so that nobody fills the HSM's memory with policies that no
    key has.
    """
    return _parse_large(blob) if len(blob) > LARGE_POLICY else _parse_small(blob)


@lru_cache(maxsize=2048)
def _parse_small(blob: bytes) -> Policy:
    return decode_policy(blob)


@lru_cache(maxsize=64)
def _parse_large(blob: bytes) -> Policy:
    return decode_policy(blob)


def protects(blob: bytes) -> bool:
    """Whether a key with this policy blob is a protected key; an empty blob is an ordinary key."""
    return bool(blob) and is_protected(parse_policy(blob))


def earliest_stamp(record: KeyRecord) -> int | None:
    """The first second whose timestamps count for a key, None where any does.

    If the label had another key before, what was approved for that one must not serve for this (R18). Times are whole
    seconds: a timestamp of the second in which the key was made, or brought back after a deletion, may have been given
    before it was. So that second does not count, and the engine gives no timestamp for the key in it.
    """
    return record.bearing_since + 1 if record.generation > 1 else None


def approver_fingerprints(decision: Decision) -> tuple[str, ...]:
    """SHA-256 of the keys whose approvals counted, hexadecimal, for the decision log."""
    identities = {
        finding.identity
        for finding in decision.approvals
        if finding.verdict is Verdict.COUNTED and finding.identity is not None
    }
    return tuple(sorted(sha256(identity).hexdigest() for identity in identities))


def unstamped_statements(decision: Decision, approvals: Sequence[bytes]) -> set[bytes]:
    """What was approved without a timestamp, among the approvals that counted.

    Args:
        decision: The decision about these approvals.
        approvals: The authorization blobs.

    Returns:
        SHA-256 of each statement (0x1055).
    """
    return {
        sha256(decode_authorization(approvals[finding.position]).approval).digest()
        for finding in decision.approvals
        if finding.verdict is Verdict.COUNTED and finding.stamp is None
    }


class StatementServedError(NotAuthorisedError):
    """The approvals would authorise the use, but their statement has served, and serves once (R14).

    Args:
        decision: The decision that refused.
        statement: SHA-256 of the statement.
    """

    def __init__(self, decision: Decision, statement: bytes) -> None:
        super().__init__(decision)
        self.statement = statement

    def because(self, reason: str) -> NotAuthorisedError:
        """The refusal, with a sentence about what has become of the result."""
        return NotAuthorisedError(replace(self.decision, refusal="approval.spent", reason=reason))


class Authority:
    """Decides whether approvals authorise something.

    Args:
        store: For the ledger.
        system_keys: For the keys that signed timestamps.
        clock_guard: The HSM's one clock.
        allow_unlabelled: Whether tokens with an empty label count (decisions 29).
        allow_replayed: Whether approvals for unblock and modify serve again and again, as documented (R15); never for
            keys with `boundApprovals` or `singleUse`.
    """

    def __init__(
        self,
        store: StoreReader,
        system_keys: SystemKeys,
        clock_guard: ClockGuard,
        *,
        allow_unlabelled: bool,
        allow_replayed: bool,
    ) -> None:
        self._store = store
        self._system_keys = system_keys
        self._clock_guard = clock_guard
        self._allow_unlabelled = allow_unlabelled
        self._allow_replayed = allow_replayed

    def require(self, record: KeyRecord, action: Action, payload: bytes | None, approvals: Sequence[bytes]) -> Decision:
        """Return only if the approvals authorise this action with this key for these bytes.

        Args:
            record: The key as stored; it has a policy.
            action: What is asked for.
            payload: The exact bytes that are processed, or the new policy's; None for block and unblock.
            approvals: Authorization blobs, at most `MAX_APPROVALS`.

        Returns:
            The decision, with who counted.

        Raises:
            StatementServedError: They would, had a single-use key not been used for their statement already.
            NotAuthorisedError: They do not.
            KeyturnError: `approvals.too-many`; `clock.…` when the HSM has no time it can trust.
        """
        if len(approvals) > MAX_APPROVALS:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"{len(approvals)} approvals in one call; at most {MAX_APPROVALS} are taken",
                refusal="approvals.too-many",
            )
        question = Question(
            policy=parse_policy(record.policy),
            action=action,
            label=record.label,
            payload=payload,
            approvals=approvals,
            now=self._clock_guard.now(),
            integrity_keys=self._system_keys.integrity_keys(),
            not_before=earliest_stamp(record),
            allow_unlabelled=self._allow_unlabelled,
            stamps_from=self._stamps_from(record, action),
            spent=self._spent(record, action),
            withdrawn=Withdrawn(self._store.ledger(record.uuid, LedgerKind.WITHDRAWN)),
            stale_for={
                signer: line.time
                for signer, line in self._store.ledger(record.uuid, LedgerKind.FORGOTTEN_WITHDRAWAL).items()
            },
            single_use=_is_single_use(record, action),
        )
        try:
            return require_authorised(question)
        except NotAuthorisedError as error:
            statement = _what_served(question, error.decision)
            if statement:
                raise StatementServedError(error.decision, statement) from None
            raise

    def stamps_count_from(self, record: KeyRecord, action: Action) -> int:
        """The first second whose timestamps count for an action with a key; in the past for most keys."""
        return max(earliest_stamp(record) or 0, self._stamps_from(record, action) or 0)

    def _stamps_from(self, record: KeyRecord, action: Action) -> int | None:
        """The first second whose timestamps count, where what was executed with a key says so (R14, R15).

        For the use of a single-use key those do not count that are not newer than what its ledger has forgotten.

        For unblock and modify a timestamp of the very second in which the key was blocked may have
        been given before it was; so that second does not count. An unblock that was stamped before the last unblock is
        one for an earlier block, whatever the clock was set to since.
        """
        if _is_single_use(record, action):
            return last(self._store, record.uuid, LedgerKind.FORGOTTEN) + 1
        if not self._never_replayed(record, action):
            return None
        kinds = {LAST[action]} | ({LedgerKind.BLOCKED} if action is Action.UNBLOCK else set())
        latest = max(last(self._store, record.uuid, kind) for kind in kinds)
        return max(record.created, latest + 1 if latest else 0)

    def _spent(self, record: KeyRecord, action: Action) -> Collection[bytes]:
        if _is_single_use(record, action):
            return consumed(self._store, record.uuid)
        if not self._never_replayed(record, action):
            return ()
        return self._store.ledger(record.uuid, SPENT[action]).keys()

    def _never_replayed(self, record: KeyRecord, action: Action) -> bool:
        # The switch restores what is documented; of keys that promise more in their attributes nothing is documented.
        replayable = self._allow_replayed and not (record.bound or record.attributes.get("singleUse"))
        return action in SPENT and not replayable and serves_once(parse_policy(record.policy), action)


def _is_single_use(record: KeyRecord, action: Action) -> bool:
    return action is Action.USE and record.attributes.get("singleUse", False)


def _what_served(question: Question, refused: Decision) -> bytes:
    """The statement that would have authorised, had it not served already; empty if there is none."""
    if not question.single_use or all(found.refusal != "approval.spent" for found in refused.approvals):
        return b""
    statement = decide(replace(question, spent=())).statement
    return statement if statement and statement in question.spent else b""
