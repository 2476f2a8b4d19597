"""Looks at requests when their time has come: opening of a timelock, end of a timeout, another try after a failure.

A heap of due times in memory, filled from the store's index at start and by every step that sets `due_at`; between
two due times nothing runs. What is due is written in the store together with the fact that caused it, so a crash
loses no appointment.

Where several brokers share a store, each keeps the appointments it made itself, to the moment, and looks a few times
a second for those that nobody kept (a range of the index on `due_at`, empty as long as all is well): whatever another
broker had due runs here soon after that one died, and no broker needs to know which others there are. See ADR 0064.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from keyturn.clock import Clock

_log: Final = logging.getLogger("keyturn.broker")

LONGEST_NAP: Final = 300.0
"""Seconds after which the clock is read again: a sleep is measured by another clock than a due time."""
AT_ONCE: Final = 32
"""Most requests driven at the same time, so that a start with thousands due does not flood the HSM."""
LOOK_EVERY: Final = 0.25
"""Seconds between two looks for what other brokers left behind."""
GRACE: Final = 0.25
"""Seconds by which an appointment must be overdue before another broker than its own keeps it."""
TAKE_OVER: Final = 2.0
"""Seconds after which a request that a broker is sending to the HSM is sent by another one, too; the HSM knows it by
its operation id and acts once."""
MOST_AT_A_LOOK: Final = 256
"""Most overdue requests fetched at once."""
AFTER_AN_ERROR: Final = 5.0
"""Seconds until a request is looked at again when a step failed unexpectedly (a full disk, for example)."""


class Scheduler:
    """Calls `drive` for each request when it is due.

    Args:
        clock: Where the time comes from.
        drive: Takes a request as far as it goes now; called for no request twice at a time.
        overdue: Only where other brokers share the store. Given a grace in seconds, gives the ids of the requests
            that have been due for longer, at most `MOST_AT_A_LOOK`, the longest first.
    """

    def __init__(
        self,
        clock: Clock,
        drive: Callable[[str], Awaitable[None]],
        overdue: Callable[[float], Awaitable[Sequence[str]]] | None = None,
    ) -> None:
        self._clock = clock
        self._drive = drive
        self._overdue = overdue
        self._under_way: set[str] = set()
        self._failed: dict[str, float] = {}
        self._looking: asyncio.Task[None] | None = None
        self._end = asyncio.Event()
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
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name="keyturn-scheduler")
        if self._overdue is not None:
            self._looking = loop.create_task(self._keep_looking(), name="keyturn-overdue")

    async def stop(self) -> None:
        """Stop; what is being driven is finished first."""
        self._stopping = True
        self._wake.set()
        self._end.set()
        for task in (self._task, self._looking):
            if task is not None:
                await task
        while self._driving:
            await asyncio.wait(self._driving)

    async def run_due(self) -> None:
        """Drive everything that is due now, and return when that and all that had begun before is done."""
        if self._overdue is not None:
            self._start(await self._overdue(0.0))
        while self._start(self._take_due()) or self._driving:
            await asyncio.wait(self._driving)

    def _start(self, request_ids: Iterable[str]) -> bool:
        begun = False
        for request_id in request_ids:
            self._under_way.add(request_id)
            task = asyncio.get_running_loop().create_task(self._drive_one(request_id))
            self._driving.add(task)
            task.add_done_callback(self._driving.discard)
            begun = True
        return begun

    async def _drive_one(self, request_id: str) -> None:
        try:
            async with self._gate:
                await self._drive(request_id)
        except Exception:
            _log.exception("request %s could not be driven; it is tried again", request_id)
            again = self._clock.now() + AFTER_AN_ERROR
            self.at(again, request_id)
            if self._overdue is not None:
                self._failed[request_id] = again
        finally:
            self._under_way.discard(request_id)

    async def _keep_looking(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            await self._look()
            alarm = loop.call_later(LOOK_EVERY, self._end.set)
            await self._end.wait()
            alarm.cancel()
            if not self._stopping:
                self._end.clear()

    async def _look(self) -> None:
        """Drive what another broker left behind."""
        if self._overdue is None:
            return
        try:
            overdue = await self._overdue(GRACE)
        except Exception:
            _log.exception("the store could not be asked for overdue requests; it is asked again")
            return
        now = self._clock.now()
        # What could not be driven a moment ago has an appointment here, and is not tried at every look.
        self._failed = {request_id: again for request_id, again in self._failed.items() if again > now}
        self._start([each for each in overdue if each not in self._under_way and each not in self._failed])

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
            self._start(self._take_due())
            nap = LONGEST_NAP
            if self._heap:
                nap = min(nap, max(0.0, self._heap[0][0] - self._clock.now()))
            alarm = loop.call_later(nap, self._wake.set)
            if not self._stopping:
                await self._wake.wait()
            alarm.cancel()
