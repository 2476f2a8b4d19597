"""Every statement the broker runs, written once with SQLAlchemy Core.

`database.Database` compiles each one once per dialect; running it then costs no more than the driver does. Names of
parameters in WHERE clauses begin with `w_`, because Core keeps the bare column names for what is being set.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, and_, bindparam, delete, func, insert, literal_column, or_, select, text, update

from keyturn.broker.storage.rows import (
    ApproverRow,
    FetchedRow,
    OfflineKeyRow,
    RequestRow,
    TaskRow,
    TaskState,
    WithdrawalRow,
)
from keyturn.broker.storage.tables import (
    approvers,
    evidence,
    offline_keys,
    requests,
    spent_timestamps,
    tasks,
    withdrawals,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select

_OPEN: Final = or_(requests.c.status == "PENDING", requests.c.status == "APPROVED")

_request = select(*(requests.c[name] for name in RequestRow._fields))
_task = select(*(tasks.c[name] for name in TaskRow._fields))
_offline_key = select(*(offline_keys.c[name] for name in OfflineKeyRow._fields))

INSERT_REQUEST: Final = insert(requests)
INSERT_TASK: Final = insert(tasks)
INSERT_EVIDENCE: Final = insert(evidence).values(
    {column.name: bindparam(column.name) for column in evidence.columns if column.name != "id"}
)

REQUEST: Final = _request.where(requests.c.id == bindparam("w_id"))
TASK: Final = _task.where(tasks.c.id == bindparam("w_id"))
TASKS_OF_REQUEST: Final = _task.where(tasks.c.request_id == bindparam("w_request")).order_by(tasks.c.position)
OPEN_REQUESTS_OF_KEY: Final = _request.where(and_(requests.c.key_label == bindparam("w_label"), _OPEN))
KEYS_OF_OPEN_REQUESTS: Final = select(requests.c.key_label, requests.c.key_uuid).where(_OPEN).distinct()
REQUESTS_BY_STATUS: Final = (
    select(requests.c.id, requests.c.created_at)
    .where(requests.c.status == bindparam("w_status"))
    .order_by(requests.c.created_at.desc(), requests.c.id.desc())
    .limit(bindparam("w_limit"))
)
"""Newest first; one status at a time, so that the index gives the order."""
COUNTS: Final = select(requests.c.status, func.count()).group_by(requests.c.status)
DUE_REQUESTS: Final = select(requests.c.due_at, requests.c.id).where(requests.c.due_at.is_not(None))

OVERDUE_REQUESTS: Final = (
    select(requests.c.id)
    .where(
        requests.c.due_at <= bindparam("w_due"),
        or_(requests.c.sent.is_(None), requests.c.due_at <= bindparam("w_sent_due")),
    )
    .order_by(requests.c.due_at)
    .limit(bindparam("w_limit"))
)
"""What no broker has kept its appointment with; one that is being sent is left to its broker for longer."""

CHANGING: Final = (
    "status",
    "version",
    "due_at",
    "sent",
    "attempts",
    "executed_at",
    "result",
    "failure",
    "receipt",
    "receipt_signature",
    "sealed_password",
)
"""Columns of a request that change as it proceeds."""
ADVANCE_REQUEST: Final = (
    update(requests)
    .where(requests.c.id == bindparam("w_id"), requests.c.version == bindparam("w_version"))
    .values({name: bindparam(name) for name in CHANGING})
)
"""The one statement that changes a request; it changes nothing when another change came first."""
REBASE_REQUEST: Final = (
    update(requests)
    .where(requests.c.id == bindparam("w_id"), requests.c.version == bindparam("w_version"))
    .values({name: bindparam(name) for name in ("version", "due_at", "policy", "key_counter")})
)

DECIDE_TASK: Final = (
    update(tasks)
    .where(tasks.c.id == bindparam("w_id"), tasks.c.state == TaskState.OPEN.value)
    .values({name: bindparam(name) for name in ("state", "decided_at", "authorization")})
)
REOPEN_TASK: Final = (
    update(tasks)
    .where(tasks.c.id == bindparam("w_id"))
    .values(state=TaskState.OPEN.value, decided_at=None, authorization=None, marked=bindparam("marked"))
)
WITHDRAW_TASK: Final = (
    update(tasks)
    .where(tasks.c.id == bindparam("w_id"), tasks.c.state == TaskState.APPROVED.value)
    .values(state=TaskState.WITHDRAWN.value, decided_at=bindparam("decided_at"), authorization=None)
)
SET_TASK_STATE: Final = update(tasks).where(tasks.c.id == bindparam("w_id")).values(state=bindparam("state"))
CLOSE_OPEN_TASKS: Final = (
    update(tasks)
    .where(tasks.c.request_id == bindparam("w_request"), tasks.c.state == TaskState.OPEN.value)
    .values(state=TaskState.CLOSED.value)
)
MARK_FETCHED: Final = update(tasks).where(tasks.c.id == bindparam("w_id")).values(fetched_at=bindparam("fetched_at"))

SPENT_TIMESTAMP: Final = select(spent_timestamps.c.used_at).where(
    spent_timestamps.c.signer == bindparam("w_signer"), spent_timestamps.c.timestamp == bindparam("w_timestamp")
)
SPEND_TIMESTAMP: Final = text(
    # Core writes this only in a dialect's own words, which here are the same for both.
    "INSERT INTO spent_timestamp (signer, timestamp, used_at) VALUES (:signer, :timestamp, :used_at) "
    "ON CONFLICT (signer, timestamp) DO UPDATE SET used_at = excluded.used_at"
)
"""Also renews the time of a pair that served before."""
FORGET_TIMESTAMPS: Final = delete(spent_timestamps).where(spent_timestamps.c.used_at < bindparam("w_before"))

OFFLINE_KEY: Final = _offline_key.where(offline_keys.c.label == bindparam("w_label"))
OFFLINE_KEYS: Final = _offline_key.order_by(offline_keys.c.label)
OFFLINE_LABELS: Final = select(offline_keys.c.label).order_by(offline_keys.c.label)
INSERT_OFFLINE_KEY: Final = insert(offline_keys)
UPDATE_OFFLINE_KEY: Final = (
    update(offline_keys)
    .where(offline_keys.c.label == bindparam("w_label"))
    .values({name: bindparam(name) for name in ("xml", "signature", "attestation_key_name", "registered_at")})
)
DELETE_OFFLINE_KEY: Final = delete(offline_keys).where(offline_keys.c.label == bindparam("w_label"))

_approver = select(*(approvers.c[name] for name in ApproverRow._fields))
APPROVER: Final = _approver.where(approvers.c.name == bindparam("w_name"))
APPROVERS: Final = _approver.order_by(approvers.c.name)
INSERT_APPROVER: Final = insert(approvers)
DELETE_APPROVER: Final = delete(approvers).where(approvers.c.name == bindparam("w_name"))

WITHDRAWALS: Final = select(*(withdrawals.c[name] for name in WithdrawalRow._fields)).order_by(withdrawals.c.id)
INSERT_WITHDRAWAL: Final = insert(withdrawals).values(
    {column.name: bindparam(column.name) for column in withdrawals.columns if column.name != "id"}
)
DELETE_WITHDRAWAL: Final = delete(withdrawals).where(withdrawals.c.id == bindparam("w_id"))

_LEVELS: Final[dict[str, int]] = {
    "meta_data": 2,
    "meta_data_signature": 2,
    "payload": 2,
    "payload_type": 2,
    "original": 3,
    "stamp": 4,
    "stamp_signature": 4,
    "stamp_algorithm": 4,
}
"""From which detail level on a column is read."""

_ORDERS: Final[dict[str, tuple[ColumnElement[Any], ColumnElement[Any]]]] = {
    "CREATION_DATE_ASC": (tasks.c.created_at.asc(), tasks.c.id.asc()),
    "CREATION_DATE_DESC": (tasks.c.created_at.desc(), tasks.c.id.desc()),
    "LAST_FETCHED_DATE_ASC": (tasks.c.fetched_at.asc(), tasks.c.id.asc()),
    "LAST_FETCHED_DATE_DESC": (tasks.c.fetched_at.desc(), tasks.c.id.desc()),
}


@lru_cache(maxsize=512)
def fetch(
    *,
    level: int,
    by_signer: bool,
    by_task: bool,
    by_request: bool,
    by_kind: bool,
    order: str,
    paged: bool,
    or_kinds: tuple[str, ...] = (),
) -> Select[tuple[Any, ...]]:
    """Build the query for an approver's open tasks: one statement whatever is asked, no query per task.

    Args:
        level: Detail level, 1 to 5.
        by_signer: Only tasks of the approver `w_signer`.
        by_task: Only the task `w_task`.
        by_request: Only tasks of the request `w_request`.
        by_kind: Only tasks of the kind `w_kind`.
        order: Name of a sort order.
        paged: Only `w_limit` tasks behind the first `w_offset`.
        or_kinds: With `by_kind`: further kinds, plain words.

    Returns:
        A statement that yields `FetchedRow`s.
    """
    columns: list[ColumnElement[Any]] = []
    for name in FetchedRow._fields:
        if _LEVELS.get(name, 1) > level:
            columns.append(literal_column("NULL").label(name))
        else:
            columns.append((tasks if name in tasks.c else requests).c[name])
    statement = (
        select(*columns)
        .join_from(tasks, requests, tasks.c.request_id == requests.c.id)
        .where(tasks.c.state == TaskState.OPEN.value)
        .order_by(*_ORDERS[order])
    )
    if by_signer:
        statement = statement.where(tasks.c.signer == bindparam("w_signer"))
    if by_task:
        statement = statement.where(tasks.c.id == bindparam("w_task"))
    if by_request:
        statement = statement.where(tasks.c.request_id == bindparam("w_request"))
    if by_kind:
        others = (requests.c.kind == literal_column(f"'{kind}'") for kind in or_kinds)
        statement = statement.where(or_(requests.c.kind == bindparam("w_kind"), *others))
    if paged:
        statement = statement.limit(bindparam("w_limit", type_=BigInteger)).offset(
            bindparam("w_offset", type_=BigInteger)
        )
    return statement
