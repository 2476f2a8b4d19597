"""One lock per request, so that no two steps of one request overlap in this process.

Between several brokers on one database the `version` of a request does the same (`progress.advance`).
"""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class RequestLocks:
    """Locks by request id; one exists as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, request_id: str) -> asyncio.Lock:
        """The lock of a request: `async with locks.of(request_id): …`."""
        lock = self._locks.get(request_id)
        if lock is None:
            lock = self._locks[request_id] = asyncio.Lock()
        return lock
