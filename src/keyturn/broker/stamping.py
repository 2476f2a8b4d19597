"""Signed time by courier: which requests open without tasks, and how they get their timestamp and their tasks.

Source: decisions 15; docs/security/rules.md R15; docs/adr/0066-time-by-courier.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.broker import progress
from keyturn.broker.bound import covered_by_approvals
from keyturn.broker.prediction import governing_rule
from keyturn.broker.register import registration_of
from keyturn.broker.statement import statement_for
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage import gap_statements
from keyturn.broker.storage.database import StaleError
from keyturn.broker.timestamps import (
    NEVER_REPLAYED,
    awaits_stamp,
    checked_answer,
    placeholder,
    read_answer,
    why_needed,
)
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.actions import Action

if TYPE_CHECKING:
    from keyturn.broker.executor import KeyRecord
    from keyturn.broker.storage.database import Database, Transaction
    from keyturn.broker.storage.rows import RequestRow
    from keyturn.clock import Clock


class Stamping:
    """Knows which requests wait for a timestamp, and takes the answers.

    Args:
        database: The store.
        clock: Where the time comes from.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def awaited(self, key: KeyRecord, action: Action, payload: bytes) -> bool:
        """Whether a request that opens now has to wait for a timestamp, where there is no HSM to give one at once.

        Args:
            key: The key; it has a policy.
            action: What is to be done.
            payload: What approvals cover.

        Raises:
            KeyturnError: 612 `payload.too-large` when approvals with a timestamp would not fit.
        """
        rule = governing_rule(key.policy, action)
        plain = statement_for(key.label, key.policy, action, payload, None)
        lookup = {"w_label": key.label, "w_uuid": key.uuid, "w_action": int(action), "w_statement": plain}
        given_out = await self._database.read(lambda tx: tx.one(tuple, gap_statements.GIVEN_OUT, lookup)) is not None
        if not why_needed(key, action, rule, given_out=given_out):
            return False
        statement_for(key.label, key.policy, action, payload, placeholder(payload, action))
        return True

    def asked_meanwhile(self, tx: Transaction, request: RequestRow) -> bool:
        """Whether a request's bytes were given out since `awaited` was asked, so that they would serve but once (R15).

        Args:
            tx: The unit's transaction.
            request: A request that opens without a timestamp, where there is no HSM.
        """
        if not request.statement or Action(request.action) not in NEVER_REPLAYED:
            return False
        lookup = {
            "w_label": request.key_label,
            "w_uuid": request.key_uuid,
            "w_action": request.action,
            "w_statement": request.statement,
        }
        return tx.one(tuple, gap_statements.GIVEN_OUT, lookup) is not None

    async def take(self, request: RequestRow, body: object) -> None:
        """Check a timestamp, make the bytes to be approved, and give the approvers their tasks: one commit.

        Args:
            request: The request.
            body: The `timestampAnswer` object.

        Raises:
            KeyturnError: As `timestamps.checked_answer`; 611 `timestamp.other` for another one than the request has,
                `timestamp.not-awaited`, `request.closed`.
            StaleError: The request has changed meanwhile.
        """
        answer, _ = read_answer(body)
        if request.stamp == answer.timestamp:
            return
        _require_awaited(request)
        now = self._clock.now()

        def store(tx: Transaction) -> None:
            # Within the unit: the tasks are those of the policy that is registered at this moment.
            attestation = registration_of(tx, request)
            stamp = checked_answer(request, body, attestation, now=now)
            action = Action(request.action)
            values = {
                "version": request.version + 1,
                "statement": statement_for(
                    request.key_label, request.policy, action, covered_by_approvals(request), stamp
                ),
                "stamp": stamp.timestamp,
                "stamp_signature": stamp.signature,
                "stamp_algorithm": stamp.algorithm,
            }
            if tx.run(gap_statements.STAMP_REQUEST, {"w_id": request.id, "w_version": request.version, **values}) == 0:
                raise StaleError
            progress.insert_tasks(tx, progress.task_rows(request.id, governing_rule(request.policy, action), now))

        await self._database.write(store)


def _require_awaited(request: RequestRow) -> None:
    status = RequestStatus(request.status)
    if not status.is_open:
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            f"The request is {status}; that is final, and no timestamp is taken. Open a new request.",
            refusal="request.closed",
        )
    if request.stamp is not None:
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            "The request has its timestamp, and approvers sign with it; another one is not taken. Open a new request "
            "if the time has run out.",
            refusal="timestamp.other",
        )
    if not awaits_stamp(request):
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            "This request does not wait for a timestamp: its approvals count without one.",
            refusal="timestamp.not-awaited",
        )
