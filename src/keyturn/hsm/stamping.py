"""Signed timestamps, each of which counts from the moment it is given.

Times are whole seconds. In the second in which a label passed to a new key, or a key was blocked or modified, no
timestamp counts for what comes after (R15, R18): it could be older than that. So a timestamp asked for in such a
second waits for the next one, and is decided then.

Source: ska-wire-format.md section 4; docs/security/rules.md R12, R15, R18, R31.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.bound import require_no_statement, require_statement_about
from keyturn.hsm.context import check_payload
from keyturn.ska.actions import Action
from keyturn.ska.messages import Timestamp, encode_timestamp
from keyturn.ska.policy import decode_policy

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.rate_limit import RateLimit
    from keyturn.hsm.records import KeyRecord

_PATIENCE: Final = 0.05
"""Seconds between two looks at the clock while a timestamp waits for the next second."""
_LONGEST_WAIT: Final = 10
"""Seconds a timestamp waits at most. More is missing only after an administrator has set the clock back."""


class Stamping:
    """Handles `Stamp`.

    Args:
        context: What the parts of the engine share.
        limit: How many timestamps may be given (R31).
    """

    def __init__(self, context: EngineContext, limit: RateLimit) -> None:
        self._context = context
        self._limit = limit

    def stamp(self, call: protocol.Stamp) -> protocol.Answer | Awaitable[protocol.Answer]:
        """Give a timestamp, at once or when it counts."""
        return self._stamp_if_it_counts(call) or self._stamp_soon(call)

    async def _stamp_soon(self, call: protocol.Stamp) -> protocol.Answer:
        try:
            stamped = None
            while stamped is None:
                await asyncio.sleep(_PATIENCE)
                stamped = self._stamp_if_it_counts(call)
        except Exception as error:
            return self._context.journal.refuse(call, error, "")
        return stamped

    def _stamp_if_it_counts(self, call: protocol.Stamp) -> protocol.Stamped | None:
        """Give a timestamp; None in the second in which none counts for this key yet."""
        context = self._context
        record = context.key(call.label)
        if not record.policy:
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the key {record.label!r} has no policy: nothing with it needs a timestamp",
                refusal="policy.none",
            )
        # Asked again here, for a timestamp that waited.
        context.rollback.require_current(call)
        action, payload = _wanted(call, record)
        now = context.clock_guard.now()
        missing = context.authority.stamps_count_from(record, action) - now
        if missing > _LONGEST_WAIT:
            raise KeyturnError(
                ErrorCode.HSM_FAILURE,
                f"the key {record.label!r} was made or changed at a time that the clock reaches in {missing} seconds "
                "only: it has been set back. A timestamp counts from then on",
                refusal="stamp.clock-set-back",
            )
        if missing > 0:
            return None
        self._limit.take()
        integrity = context.system_keys.integrity
        blob = encode_timestamp(
            Timestamp(seconds=now, key_name=integrity.name, action_payload=payload, is_policy=action is Action.MODIFY)
        )
        signature = integrity.sign_timestamp(blob)
        with context.store.change() as change:
            # A time that leaves is durable first: after a crash the clock may not stand before it.
            change.advance_clock(now)
        context.journal.grant(call, record, None, payload=call.payload, note=f"action {call.action}")
        return protocol.Stamped(blob, signature, integrity.algorithm, integrity.name)


def _wanted(call: protocol.Stamp, record: KeyRecord) -> tuple[Action, bytes | None]:
    """Check what a timestamp is asked for; the payload that goes into it."""
    try:
        action = Action(call.action)
    except ValueError:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED, f"{call.action} is no operation code: 1 to 4", refusal="stamp.action"
        ) from None
    if record.bound and action is not Action.MODIFY:
        check_payload(call.payload)
        require_statement_about(record, action, call.payload)
        return action, call.payload
    require_no_statement(call.payload)
    if action in {Action.BLOCK, Action.UNBLOCK}:
        if call.payload:
            raise KeyturnError(
                ErrorCode.INVALID_PAYLOAD, "a timestamp for block or unblock has no payload", refusal="stamp.payload"
            )
        return action, None
    check_payload(call.payload)
    if action is Action.MODIFY:
        decode_policy(call.payload)
    return action, call.payload
