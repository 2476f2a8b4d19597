"""The gate of the answers: none leaves before everything decided before it is durable.

With ordinary signing nothing is pending, and answers pass at once. Otherwise they queue, of all connections, behind the
store's next commit (R31, docs/adr/0025).
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from keyturn.errors import KeyturnError


class Durability(Protocol):
    """What an answer has to wait for."""

    @property
    def pending(self) -> bool:
        """Whether something was decided that is not on disk yet."""
        ...

    async def durable(self) -> None:
        """Return once everything decided before the call is on disk; raise if that failed."""
        ...

    def flush(self) -> None:
        """Hand the decision log's lines to the operating system; raise if that failed."""
        ...


class Outlet(Protocol):
    """Where answers go: a connection, as the gate sees it."""

    def write(self, data: bytes) -> None:
        """Send bytes."""
        ...

    def held_back(self, size: int) -> None:
        """Count bytes that wait."""
        ...

    def abort(self) -> None:
        """Cut the line."""
        ...


class AnswerGate:
    """Holds answers back until what was decided before them is durable. One for all connections.

    Args:
        durability: What to wait for.
    """

    def __init__(self, durability: Durability) -> None:
        self._durability = durability
        self._held: list[tuple[Outlet, bytes]] = []
        self._release: asyncio.Task[None] | None = None

    def flush(self) -> bool:
        """Hand the decision log to the operating system; False when it cannot be written, and the HSM ends."""
        try:
            self._durability.flush()
        except KeyturnError:
            return False
        return True

    def send(self, connection: Outlet, data: bytes) -> None:
        """Let `data` go to `connection`, at once if nothing is pending, else behind the commit.

        Args:
            connection: Where the answers go.
            data: Frames.
        """
        if not self.flush():
            # A decision that leaves no trace must have no effect: nobody hears of it.
            connection.abort()
            return
        if self._release is None and not self._durability.pending:
            connection.write(data)
            return
        self._held.append((connection, data))
        connection.held_back(len(data))
        if self._release is None:
            self._release = asyncio.get_running_loop().create_task(self._release_all())

    async def _release_all(self) -> None:
        try:
            while self._held:
                held, self._held = self._held, []
                try:
                    await self._durability.durable()
                except KeyturnError:
                    # The commit failed: nobody may hear of what was decided. The store ends the process.
                    for connection, _ in held:
                        connection.abort()
                    continue
                for connection, data in held:
                    connection.held_back(-len(data))
                    connection.write(data)
        finally:
            self._release = None
