"""Hands out tasks: one query for all of them, whatever level is asked for.

Source: rest-api.md sections 3.7 (fields by level), 4.12 (sort orders), 6.4 (freshness).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.broker.answers import TaskView
from keyturn.broker.approver_calls import SortOrder
from keyturn.broker.calls import RequestKind
from keyturn.broker.signers import digest_of, load_signer, no_signer, require_fresh, require_service, require_signature
from keyturn.broker.storage import statements
from keyturn.broker.storage.rows import FetchedRow
from keyturn.broker.stored_calls import CERTIFICATE_KINDS
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.signatures import wrap_signature

if TYPE_CHECKING:
    from keyturn.broker.answers import AttestedKey
    from keyturn.broker.approver_calls import TaskQuery
    from keyturn.broker.executor import Executor
    from keyturn.broker.settings import BrokerSettings
    from keyturn.broker.storage.database import Database, Transaction
    from keyturn.clock import Clock

FORGETTING_INTERVAL: Final = 60.0
"""Seconds between two removals of spent timestamps that could not serve any more anyway."""

_CERTIFICATES: Final = tuple(kind.value for kind in CERTIFICATE_KINDS)


class Fetching:
    """Answers approvers' questions for their tasks.

    Args:
        database: The store.
        executor: Gives attested attributes for level 5.
        clock: Where the time comes from.
        settings: Freshness of timestamps.
    """

    def __init__(self, database: Database, executor: Executor, clock: Clock, settings: BrokerSettings) -> None:
        self._database = database
        self._executor = executor
        self._clock = clock
        self._settings = settings
        self._forget_at = 0.0

    async def fetch(self, query: TaskQuery) -> list[TaskView]:
        """Fetch tasks; arguments and errors as `Broker.fetch_tasks`."""
        _check(query)
        now = self._clock.now()
        require_fresh(query.timestamp, now, self._settings)
        approver = None if query.signer is None else load_signer(query.signer)
        prover = require_service(query.service, self._settings) if query.service is not None else approver
        if prover is None:
            raise no_signer()
        require_signature(prover, query.digest, query.timestamp_signature, query.timestamp.encode())
        whose = None if approver is None else digest_of(approver)
        rows = await self._database.write(lambda tx: self._read(tx, query, whose, digest_of(prover), now))
        attested: dict[str, AttestedKey] = {}
        if query.detail_level >= 5:
            for label in {row.key_label for row in rows}:
                try:
                    attested[label] = await self._executor.attested(label)
                except KeyturnError as error:
                    # A key that is gone past this broker must not hide an approver's tasks for other keys.
                    if error.code is not ErrorCode.KEY_NOT_EXISTENT:
                        raise
        return [_view(row, attested.get(row.key_label)) for row in rows]

    def _read(
        self, tx: Transaction, query: TaskQuery, whose: bytes | None, prover: bytes, now: float
    ) -> list[FetchedRow]:
        """Read the tasks and remember that they were fetched, and with which signature (R26)."""
        if now >= self._forget_at:
            self._forget_at = now + FORGETTING_INTERVAL
            window = self._settings.max_timestamp_age + self._settings.max_timestamp_ahead
            tx.run(statements.FORGET_TIMESTAMPS, {"w_before": now - window})
        parameters: dict[str, object] = {} if whose is None else {"w_signer": whose}
        if query.task_id is not None:
            parameters["w_task"] = query.task_id
        elif query.request_id is not None:
            parameters["w_request"] = query.request_id
        if query.kind is not None:
            parameters["w_kind"] = query.kind.value
        if query.page is not None:
            parameters |= {"w_limit": query.page.size, "w_offset": query.page.number * query.page.size}
        statement = statements.fetch(
            level=query.detail_level,
            by_signer=whose is not None,
            by_task="w_task" in parameters,
            by_request="w_request" in parameters,
            by_kind=query.kind is not None,
            order=(SortOrder.CREATION_DATE_ASC if query.page is None else query.page.order).value,
            paged=query.page is not None,
            # Certificates have no task endpoint of their own (rest-api.md section 2).
            or_kinds=_CERTIFICATES if query.kind is RequestKind.SIGN else (),
        )
        rows = tx.all(FetchedRow._make, statement, parameters)
        tx.run(statements.SPEND_TIMESTAMP, {"signer": prover, "timestamp": query.timestamp, "used_at": now})
        if rows:
            tx.run_many(statements.MARK_FETCHED, ({"w_id": row.id, "fetched_at": now} for row in rows))
        return rows


def _check(query: TaskQuery) -> None:
    page = query.page
    if not 1 <= query.detail_level <= 5:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED, "detailLevel must be level1 to level5.", refusal="query.detail-level"
        )
    if page is not None and not (0 <= page.number < 1 << 31 and 1 <= page.size < 1 << 31):
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            "paging: pageNumber must be at least 0 and pageSize at least 1.",
            refusal="query.paging",
        )


def _view(row: FetchedRow, attested: AttestedKey | None) -> TaskView:
    signature, algorithm = row.stamp_signature, row.stamp_algorithm
    return TaskView(
        task_id=row.id,
        request_id=row.request_id,
        kind=RequestKind(row.kind),
        action=Action(row.action),
        key_name=row.key_label,
        approval_to_be_signed=row.statement,
        approver_spki=row.spki,
        created_at=row.created_at,
        last_fetched_at=row.fetched_at,
        marked=row.marked,
        meta_data=row.meta_data,
        meta_data_signature=row.meta_data_signature,
        payload=row.payload,
        payload_type=row.payload_type,
        request_json=row.original,
        timestamp=row.stamp,
        timestamp_signature=signature,
        timestamp_signature_algorithm=algorithm,
        timestamp_signature_with_algorithm=(
            None if signature is None or algorithm is None else wrap_signature(algorithm, signature)
        ),
        key_attributes=None if attested is None else attested.xml,
        key_attributes_signature=None if attested is None else attested.signature,
    )
