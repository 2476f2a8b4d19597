"""Lists of requests.

Source: rest-api.md section 3.6; decisions 5.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from keyturn.broker.storage import statements

if TYPE_CHECKING:
    from collections.abc import Collection

    from keyturn.broker.states import RequestStatus
    from keyturn.broker.storage.database import Database, Transaction

MOST_LISTED: Final = 10_000
"""Most requests in one answer."""


async def listed_requests(database: Database, statuses: Collection[RequestStatus]) -> list[tuple[str, RequestStatus]]:
    """Requests by status; arguments as `Broker.requests_by_status`.

    Args:
        database: The store.
        statuses: Which; none of them, nothing.
    """
    found: list[tuple[float, str, RequestStatus]] = []
    for status in sorted(set(statuses)):
        found += await database.read(partial(_of_status, status=status))
    found.sort(key=lambda each: each[:2], reverse=True)
    return [(request_id, status) for _, request_id, status in found[:MOST_LISTED]]


def _of_status(tx: Transaction, *, status: RequestStatus) -> list[tuple[float, str, RequestStatus]]:
    parameters = {"w_status": status.value, "w_limit": MOST_LISTED}
    rows: list[tuple[Any, ...]] = tx.all(tuple, statements.REQUESTS_BY_STATUS, parameters)
    return [(created_at, request_id, status) for request_id, created_at in rows]
