"""The commit thread: puts one batch after the other on disk while the event loop goes on deciding.

It owns the SQLite connection from the moment it starts. After a failed commit it takes no further one: what memory
says and what the disk says no longer agree, and only a restart brings them together (fail-stop).
"""

from __future__ import annotations

from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from keyturn.hsm.records import store_error

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class Committer:
    """A thread that runs the jobs given to it, one after the other, until one fails."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], object], Future[object], bool] | None] = SimpleQueue()
        self._failed = False
        self._thread = Thread(target=self._run, name="keyturn-commit", daemon=True)
        self._thread.start()

    def commit(self, job: Callable[[], None]) -> Future[None]:
        """Queue a commit.

        Args:
            job: Writes it durably.

        Returns:
            Resolved in the commit thread when it is on disk, or with its error, which is fatal for all later jobs.
        """
        return self._submit(job, fatal=True)

    def call(self, job: Callable[[], _T]) -> Future[_T]:
        """Queue something that reads, such as a backup; its failure harms nothing.

        Args:
            job: What to do between two commits.

        Returns:
            Its result or error.
        """
        return self._submit(job, fatal=False)

    def stop(self) -> None:
        """Finish what is queued and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _submit(self, job: Callable[[], _T], *, fatal: bool) -> Future[_T]:
        future: Future[_T] = Future()
        # Job and future belong together, which the type of the queue cannot say.
        self._jobs.put((job, future, fatal))  # type: ignore[arg-type]
        return future

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future, fatal = item
            if self._failed:
                future.set_exception(store_error("commit-failed", "An earlier commit failed. Restart the HSM."))
                continue
            try:
                result = job()
            except BaseException as error:  # Whatever it is, those who wait must hear of it.
                if fatal:
                    self._failed = True
                future.set_exception(error)
            else:
                future.set_result(result)
