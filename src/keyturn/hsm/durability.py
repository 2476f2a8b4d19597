"""From changed in memory to durable on disk: which changes wait, who waits for them, when a commit begins.

One commit is under way at a time. Whatever changes meanwhile goes into the next one together (group commit), and so
does everything that changes within one turn of the event loop. A failed commit is the last: everybody who waits hears
of it, and so does `on_fatal`, because memory is ahead of the disk from then on (fail-stop).

All methods belong to one thread; only the writing happens in the commit thread. With a running event loop commits begin
by themselves; without one, `commit_now` says when.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keyturn.errors import KeyturnError
from keyturn.hsm.records import store_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.hsm.committer import Committer


@dataclass(frozen=True, slots=True)
class _Commit:
    """A commit under way: the last change in it, and when it is done."""

    change: int
    done: Future[None]


class Durability:
    """Keeps count of changes and commits.

    Args:
        committer: The commit thread.
        take: Called when a commit begins: takes everything that waits and returns the function that writes it.

    Attributes:
        on_fatal: Called once, with the cause, when a commit has failed. The HSM ends then.
    """

    def __init__(self, committer: Committer, take: Callable[[], Callable[[], None]]) -> None:
        self.on_fatal: Callable[[BaseException], None] | None = None
        self._committer = committer
        self._take = take
        self._changed = 0
        self._durable = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._scheduled = False
        self._in_flight: _Commit | None = None
        self._failure: BaseException | None = None

    @property
    def pending(self) -> bool:
        """True while something has changed that is not on disk yet."""
        return self._changed != self._durable

    @property
    def failed(self) -> bool:
        """True after a commit has failed."""
        return self._failure is not None

    def check(self) -> None:
        """Make sure that no commit has failed.

        Raises:
            KeyturnError: `store.commit-failed`.
        """
        if self._failure is not None:
            cause = self._failure.message if isinstance(self._failure, KeyturnError) else type(self._failure).__name__
            raise store_error("commit-failed", f"A commit failed ({cause}). Cure the disk, then restart the HSM.")

    def note_change(self) -> None:
        """Something has changed that must reach the disk."""
        self._changed += 1
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._schedule(loop)

    async def wait(self) -> None:
        """Wait until everything changed so far is on disk.

        Raises:
            KeyturnError: `store.commit-failed`: it will never be.
        """
        self.check()
        if self.pending:
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.append((self._changed, waiter))
            self._schedule(loop)
            await waiter
            self.check()

    def commit_now(self) -> None:
        """Put everything changed so far on disk; blocks.

        Raises:
            KeyturnError: `store.commit-failed`.
        """
        while self._failure is None and (self._in_flight is not None or self.pending):
            commit = self._in_flight or self._begin()
            commit.done.exception()  # Waits; `_settle` looks at the outcome.
            self._settle(commit)
        self.check()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._scheduled and self._in_flight is None:
            self._scheduled = True
            loop.call_soon(self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        if self._failure is not None or self._in_flight is not None or not self.pending:
            return  # `commit_now` was faster.
        commit = self._begin()

        def wake(_: Future[None]) -> None:
            with contextlib.suppress(RuntimeError):  # The loop has ended; `commit_now` settles it.
                loop.call_soon_threadsafe(self._settle, commit, loop)

        commit.done.add_done_callback(wake)

    def _begin(self) -> _Commit:
        try:
            done = self._committer.commit(self._take())
        except Exception as error:  # What was taken is lost, whatever failed: no later commit may go without it.
            done = Future()
            done.set_exception(error)
        self._in_flight = _Commit(self._changed, done)
        return self._in_flight

    def _settle(self, commit: _Commit, loop: asyncio.AbstractEventLoop | None = None) -> None:
        if self._in_flight is not commit:
            return  # `commit_now` was faster.
        self._in_flight = None
        error = commit.done.exception()
        if error is None:
            self._durable = commit.change
        else:
            self._failure = error
        while self._waiters and (self._failure is not None or self._waiters[0][0] <= self._durable):
            _, waiter = self._waiters.popleft()
            if not waiter.done():  # Not cancelled.
                waiter.set_result(None)
        if self._failure is not None:
            if self.on_fatal is not None:
                self.on_fatal(self._failure)
        elif self.pending and loop is not None:
            self._schedule(loop)
