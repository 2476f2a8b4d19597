"""Single use: what was approved for a key with `singleUse` is done once, whatever is asked how often (R14).

The ledger remembers every statement for which such a key was used, and the commit that says so is the one that carries
result and effect. A statement that has served authorises nothing; where it would have authorised exactly the same use,
its stored result is the answer, whatever the operation id. So nothing is executed twice, and nothing is used up without
its result.

Bounded memory. A consumed statement whose timestamp has left every window of the policy in force may be forgotten, if
it can never count again. The policy may get longer windows later, and an administrator may set the clock back; so the
newest timestamp that was forgotten is remembered, and from then on no timestamp up to it counts for the key. Under the
policy in force at that moment all of them had closed: a window closes the later the newer the timestamp is. Statements
that never close are kept as long as the key lives, `MAX_CONSUMED` at most.

Source: docs/security/rules.md R14; decisions 23; docs/adr/0078, 0079.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.authority import StatementServedError, parse_policy
from keyturn.hsm.framing import encode_message
from keyturn.hsm.ledger import LedgerKind, consumed, last
from keyturn.hsm.operations import decode_answer
from keyturn.hsm.records import LedgerRecord, SegmentRecord
from keyturn.hsm.segments import ConsumedStatement, segment_of, with_entry, without_stamps_to
from keyturn.ska.actions import Action
from keyturn.ska.window import closes_at

if TYPE_CHECKING:
    from keyturn.hsm.change import Change
    from keyturn.hsm.clock_guard import ClockGuard
    from keyturn.hsm.records import KeyRecord
    from keyturn.hsm.store import Store
    from keyturn.ska.decision import Decision
    from keyturn.ska.policy import Policy

UseCall = protocol.Sign | protocol.SignCertificate | protocol.Decrypt | protocol.Unwrap
"""Calls that single use is about."""

MAX_CONSUMED: Final = 1 << 20
"""Consumed statements that one key remembers; 64 MiB."""
SWEEP_PAUSE: Final = 60
"""Seconds between two searches of a full key's whole ledger for what can be forgotten."""


class SingleUse:
    """What keys with `singleUse` have consumed.

    Args:
        store: With the ledger and the results.
        clock_guard: Time.
    """

    def __init__(self, store: Store, clock_guard: ClockGuard) -> None:
        self._store = store
        self._clock_guard = clock_guard
        self._swept: dict[str, int] = {}

    def consume(self, change: Change, call: UseCall, record: KeyRecord, decision: Decision | None) -> bytes:
        """Note in a change that what was approved has served.

        Args:
            change: The open change-set, with the whole effect.
            call: The call, with an operation id.
            record: The key.
            decision: The decision that authorised it; None where none was needed.

        Returns:
            The digest with which the result must be stored; empty for keys without `singleUse`.

        Raises:
            KeyturnError: 701 `ledger.full`.
        """
        if not record.attributes.get("singleUse"):
            return b""
        if decision is None or not decision.statement:
            raise KeyturnError(
                ErrorCode.IN_HSM,
                f"nothing was approved for this use of the key {record.label!r}, so that nothing would be used up",
                refusal="approval.not-single-use",
            )
        now = self._clock_guard.now()
        place = segment_of(decision.statement)
        closed = _closed_up_to(parse_policy(record.policy), now)
        packed, newest = without_stamps_to(self._store.segments(record.uuid).get(place, b""), closed)
        if not newest and self._store.consumed_count(record.uuid) >= MAX_CONSUMED:
            newest = self._sweep(change, record, closed, now, leave_out=place)
        if newest > last(self._store, record.uuid, LedgerKind.FORGOTTEN):
            change.put_ledger(LedgerRecord(record.uuid, LedgerKind.FORGOTTEN, b"", b"", newest))
        entry = ConsumedStatement(decision.statement, now, decision.stamp, call.operation_id)
        change.put_segment(SegmentRecord(record.uuid, place, with_entry(packed, entry)))
        return use_digest(call)

    def recall(self, call: UseCall, record: KeyRecord, served: StatementServedError) -> protocol.Answer:
        """The stored answer to a use that was approved once and is asked for again.

        Args:
            call: The call.
            record: The key; it is not blocked.
            served: Why it is not executed.

        Returns:
            The answer of that time.

        Raises:
            KeyturnError: 701 `approval.spent`: it was another use, or its result is not kept any more.
        """
        entry = consumed(self._store, record.uuid).find(served.statement)
        stored = None if entry is None else self._store.operation(entry.operation)
        if stored is None:
            raise served.because(
                "What these approvals say has been done, and is done once only; its result is not kept any more. Have "
                "it approved anew, for another request."
            )
        if stored.use_digest != use_digest(call):
            raise served.because(
                "What these approvals say has been done for another call, which differs in something that they do not "
                "say, such as the algorithm or the request; it is done once only. Have it approved anew."
            )
        return decode_answer(self._store.operation_result(stored))

    def _sweep(self, change: Change, record: KeyRecord, closed: int, now: int, *, leave_out: bytes) -> int:
        """Forget whatever a full ledger can; the newest timestamp that went."""
        newest = 0
        if abs(now - self._swept.get(record.uuid, -SWEEP_PAUSE)) >= SWEEP_PAUSE:
            self._swept[record.uuid] = now
            for place, segment in self._store.segments(record.uuid).items():
                packed, forgotten = without_stamps_to(segment, closed)
                if forgotten and place != leave_out:
                    change.put_segment(SegmentRecord(record.uuid, place, packed))
                    newest = max(newest, forgotten)
        if not newest:
            raise KeyturnError(
                ErrorCode.IN_HSM,
                f"the key {record.label!r} is for single use and remembers {MAX_CONSUMED} approved statements, none of "
                "which can be forgotten: give its policy a timeout, after which approvals cease to count, or make a "
                "new key",
                refusal="ledger.full",
            )
        return newest


def use_digest(call: UseCall) -> bytes:
    """SHA-256 of what a call asks for: kind, key and all inputs, but no operation id, approvals or password."""
    asked = msgspec.structs.replace(call, operation_id=b"", approvals=[], sealed_password=b"")
    return sha256(b"keyturn/single-use/1\x00" + encode_message(asked)).digest()


def _closed_up_to(policy: Policy, now: int) -> int:
    """The newest timestamp that has left every window of the rule for use; 0 if some window never closes."""
    # All windows of a token have one length, whatever the timestamp.
    lengths = [closes_at(0, token) for token in policy.rule(Action.USE).tokens]
    known = [length for length in lengths if length is not None]
    return now - max(known) if known and len(known) == len(lengths) else 0
