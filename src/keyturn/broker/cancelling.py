"""Ends requests that nobody wants any more: cancelled by those who asked, or without a key since it was deleted.

Source: rest-api.md sections 3.6 and 6.1; docs/adr/0058-nothing-left-to-cancel-is-404.md.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from keyturn.broker import progress
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage.database import StaleError
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Collection

    from keyturn.broker.executor import Executor
    from keyturn.broker.locks import RequestLocks
    from keyturn.broker.scheduler import Scheduler
    from keyturn.broker.storage.database import Database, Transaction


class Cancelling:
    """Cancels requests.

    Args:
        database: The store.
        executor: Deletes keys.
        scheduler: Forgets the appointments of what was cancelled.
        locks: One lock per request.
    """

    def __init__(self, database: Database, executor: Executor, scheduler: Scheduler, locks: RequestLocks) -> None:
        self._database = database
        self._executor = executor
        self._scheduler = scheduler
        self._locks = locks

    async def cancel(self, request_id: str) -> None:
        """Cancel a request; errors as `Broker.cancel`."""
        async with self._locks.of(request_id):
            request, _ = await self._database.read(lambda tx: progress.load(tx, request_id))
            if request.status == RequestStatus.CANCELLED:
                return
            if not RequestStatus(request.status).is_open:
                raise KeyturnError(
                    ErrorCode.REQUEST_NOT_EXISTENT,
                    f"There is no open request with this id: it is {request.status}; that is final, and nothing is "
                    "left to cancel.",
                    refusal="request.closed",
                )
            if request.sent is not None:
                raise KeyturnError(
                    ErrorCode.UNSUPPORTED_OPERATION,
                    "The request is with the HSM and its outcome is not known yet; it cannot be cancelled now. Look "
                    "at it again when the HSM has answered.",
                    refusal="request.in-execution",
                )
            try:
                await self._database.write(
                    lambda tx: progress.advance(tx, request, status=RequestStatus.CANCELLED.value)
                )
            except StaleError:
                raise KeyturnError(
                    ErrorCode.UNSUPPORTED_OPERATION,
                    "The request changed at the same moment; look at it again.",
                    refusal="request.busy",
                ) from None
            self._scheduler.at(None, request_id)

    async def delete_key(self, label: str) -> None:
        """Delete a key and cancel its open requests; errors as `Broker.delete_key`."""
        # Whatever had this label before the HSM says that it is deleted is gone for certain; another key may bear it
        # by the time the answer is here, and keeps its requests.
        gone = await self._database.read(lambda tx: _uuids_of_requests(tx, label))
        try:
            gone.add((await self._executor.key(label)).uuid)
            await self._executor.delete(uuid.uuid4().bytes, label)
        except KeyturnError as error:
            # A crash after an earlier deletion may have left its requests open; they are cancelled all the same.
            if error.code is not ErrorCode.KEY_NOT_EXISTENT:
                raise
            await self._cancel_requests_of(label, gone)
            raise
        await self._cancel_requests_of(label, gone)

    async def _cancel_requests_of(self, label: str, uuids: Collection[str]) -> None:
        for request_id in await self._database.write(lambda tx: progress.cancel_open_requests(tx, label, uuids)):
            self._scheduler.at(None, request_id)


def _uuids_of_requests(tx: Transaction, label: str) -> set[str]:
    return {request.key_uuid for request in progress.open_requests_of(tx, label)}
