"""Looks at requests when their time has come: opening of a timelock, end of a timeout, another try after a failure.

A heap of due times in memory, filled from the store's index at start and by every step that sets `due_at`; between
two due times nothing runs. What is due is written in the store together with the fact that caused it, so a crash
loses no appointment.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from keyturn.clock import Clock

_log: Final = logging.getLogger("keyturn.broker")

LONGEST_NAP: Final = 300.0
"""Seconds after which the clock is read again: a sleep is measured by another clock than a due time."""
AT_ONCE: Final = 32
"""Most requests driven at the same time, so that a start with thousands due does not flood the HSM."""
AFTER_AN_ERROR: Final = 5.0
"""Seconds until a request is looked at again when a step failed unexpectedly (a full disk, for example)."""


class Scheduler:
    """Calls `drive` for each request when it is due.

    Args:
        clock: Where the time comes from.
        drive: Takes a request as far as it goes now; called for no request twice at a time.
    """

    def __init__(self, clock: Clock, drive: Callable[[str], Awaitable[None]]) -> None:
        self._clock = clock
        self._drive = drive
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._driving: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._due)

    def load(self, appointments: Iterable[tuple[float, str]]) -> None:
        """Take over all appointments of the store.

        Args:
            appointments: Due time and request id.
        """
        self._heap = list(appointments)
        self._due = {request_id: due for due, request_id in self._heap}
        heapq.heapify(self._heap)

    def at(self, due: float | None, request_id: str) -> None:
        """Set, move or (None) drop the appointment of a request."""
        if due is None:
            self._due.pop(request_id, None)
            return
        if self._due.get(request_id) == due:
            return
        self._due[request_id] = due
        heapq.heappush(self._heap, (due, request_id))
        self._wake.set()

    def start(self) -> None:
        """Begin to keep appointments."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="keyturn-scheduler")

    async def stop(self) -> None:
        """Stop; what is being driven is finished first."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
        while self._driving:
            await asyncio.wait(self._driving)

    async def run_due(self) -> None:
        """Drive everything that is due now, and return when that and all that had begun before is done."""
        while self._start_due() or self._driving:
            await asyncio.wait(self._driving)

    def _start_due(self) -> bool:
        due = self._take_due()
        for request_id in due:
            task = asyncio.get_running_loop().create_task(self._drive_one(request_id))
            self._driving.add(task)
            task.add_done_callback(self._driving.discard)
        return bool(due)

    async def _drive_one(self, request_id: str) -> None:
        async with self._gate:
            try:
                await self._drive(request_id)
            except Exception:
                _log.exception("request %s could not be driven; it is tried again", request_id)
                self.at(self._clock.now() + AFTER_AN_ERROR, request_id)

    def _take_due(self) -> list[str]:
        now = self._clock.now()
        taken = []
        while self._heap and self._heap[0][0] <= now:
            due, request_id = heapq.heappop(self._heap)
            # An appointment that was moved or dropped since is left in the heap and recognised here.
            if self._due.get(request_id) == due:
                del self._due[request_id]
                taken.append(request_id)
        return taken

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            self._wake.clear()
            # Not waited for: one request that hangs at the HSM holds up no other.
            self._start_due()
            nap = LONGEST_NAP
            if self._heap:
                nap = min(nap, max(0.0, self._heap[0][0] - self._clock.now()))
            alarm = loop.call_later(nap, self._wake.set)
            if not self._stopping:
                await self._wake.wait()
            alarm.cancel()
