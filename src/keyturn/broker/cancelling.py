"""Ends requests that nobody wants any more: cancelled by those who asked, or without a key since it was deleted.

Source: rest-api.md sections 3.6 and 6.1; docs/adr/0058-nothing-left-to-cancel-is-404.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from keyturn.broker import progress
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage.database import StaleError
from keyturn.broker.storage.statements import KEYS_OF_OPEN_REQUESTS
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Collection

    from keyturn.broker.executor import Executor
    from keyturn.broker.locks import RequestLocks
    from keyturn.broker.scheduler import Scheduler
    from keyturn.broker.storage.database import Database, Transaction


_log: Final = logging.getLogger("keyturn.broker")

FIRST_DELAY: Final = 1.0
"""Seconds until an HSM that was away at the start is asked again about keys; each time twice as long."""
LONGEST_DELAY: Final = 60.0
"""Most seconds between two of these questions."""


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
        self._sweeping: asyncio.Task[None] | None = None

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

    async def delete_key(self, label: str, sealed_password: bytes = b"") -> None:
        """Delete a key and cancel its open requests; errors as `Broker.delete_key`."""
        # Whatever had this label before the HSM says that it is deleted is gone for certain; another key may bear it
        # by the time the answer is here, and keeps its requests.
        gone = await self._database.read(lambda tx: _uuids_of_requests(tx, label))
        try:
            gone.add((await self._executor.key(label)).uuid)
            await self._executor.delete(uuid.uuid4().bytes, label, sealed_password=sealed_password)
        except KeyturnError as error:
            # A crash after an earlier deletion may have left its requests open; they are cancelled all the same.
            if error.code is not ErrorCode.KEY_NOT_EXISTENT:
                raise
            await self._cancel_requests_of(label, gone)
            raise
        await self._cancel_requests_of(label, gone)

    # --- what a crash between the HSM's deletion and ours left behind ---

    def start(self) -> None:
        """Begin to cancel the open requests of keys that are gone, until the HSM has been asked about each, once."""
        if self._executor.connected:
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep(), name="keyturn-deleted-keys")

    async def stop(self) -> None:
        """Stop; the next start does it again."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeping

    async def _sweep(self) -> None:
        delay = FIRST_DELAY
        while True:
            try:
                await self.cancel_keyless()
            except Exception as error:
                # An HSM that is away or sealed is no fault; its coming back is waited for.
                if not isinstance(error, KeyturnError):
                    _log.exception("requests of deleted keys could not be looked for; it is tried again")
            else:
                return
            await asyncio.sleep(delay)
            delay = min(LONGEST_DELAY, 2 * delay)

    async def cancel_keyless(self) -> None:
        """Cancel the open requests of all keys that are gone, or whose label another key bears.

        Raises:
            KeyturnError: The HSM does not answer; what was found so far is cancelled.
        """
        bearers: defaultdict[str, set[str]] = defaultdict(set)
        # Read before the HSM is asked: a key made since is not among them.
        for label, key_uuid in await self._database.read(lambda tx: tx.all(tuple, KEYS_OF_OPEN_REQUESTS, {})):
            bearers[label].add(key_uuid)
        for label, uuids in bearers.items():
            try:
                uuids.discard((await self._executor.key(label)).uuid)
            except KeyturnError as error:
                if error.code is not ErrorCode.KEY_NOT_EXISTENT:
                    raise
            if uuids:
                await self._cancel_requests_of(label, uuids)

    async def _cancel_requests_of(self, label: str, uuids: Collection[str]) -> None:
        for request_id in await self._database.write(lambda tx: progress.cancel_open_requests(tx, label, uuids)):
            self._scheduler.at(None, request_id)


def _uuids_of_requests(tx: Transaction, label: str) -> set[str]:
    return {request.key_uuid for request in progress.open_requests_of(tx, label)}
