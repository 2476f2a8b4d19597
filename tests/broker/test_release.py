"""Released on time: by itself, within a second, with ten thousand others waiting; nobody looks at the others."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from keyturn.broker.states import RequestStatus
from keyturn.broker.storage import statements
from keyturn.broker.storage.rows import RequestRow
from keyturn.broker.storage.tables import requests as request_table
from keyturn.clock import ManualClock
from keyturn.ska.policy import TimeUnit
from keyturn_testing.broker_world import MemoryHsm, opened
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Executable

    from keyturn.broker.storage.database import Transaction
    from keyturn_testing.broker_world import World

ADA = Officer("ada", "P-256")
WAITING = 10_000
PROMISE = 1.0
"""Seconds within which a request is released."""
EARLY = 0.4
"""Seconds before the moment at which a test begins to wait for it."""


class RunningClock(ManualClock):
    """A clock that runs, from wherever it is put."""

    def __init__(self) -> None:
        super().__init__()
        self._put_at = time.monotonic()

    def now(self) -> float:
        return super().now() + time.monotonic() - self._put_at

    def set(self, moment: float) -> None:
        super().set(moment)
        self._put_at = time.monotonic()


async def add_waiting(world: World, request_id: str) -> None:
    """Store ten thousand more like a request, complete and waiting for the next year."""

    def copy(tx: Transaction) -> None:
        row = tx.one(RequestRow._make, statements.REQUEST, {"w_id": request_id})
        assert row is not None
        values: dict[str, object] = dict.fromkeys(column.name for column in request_table.columns)
        values |= row._asdict()
        values |= {"status": RequestStatus.APPROVED.value, "original": b"{}"}
        tx.run_many(
            statements.INSERT_REQUEST,
            ({**values, "id": str(uuid.uuid4()), "due_at": row.created_at + 31_536_000 + n} for n in range(WAITING)),
        )

    await world.broker._database.write(copy)


async def reached(world: World, request_id: str, status: RequestStatus) -> float:
    """The time by the broker's clock at which a request has a status; it is looked at often."""
    for _ in range(3000):
        if (await world.view(request_id)).status is status:
            return world.clock.now()
        await asyncio.sleep(0.01)
    raise AssertionError(f"not {status}")


def noting(world: World, patch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that is run from now on."""
    compiler = world.broker._database.compiler
    text: Callable[[Executable], tuple[str, dict[str, object]]] = compiler.text
    seen: list[str] = []

    def noted(statement: Executable) -> tuple[str, dict[str, object]]:
        seen.append(str(statement))
        return text(statement)

    patch.setattr(compiler, "text", noted)
    return seen


@pytest.mark.parametrize("outcome", ["opens", "closes"])
async def test_a_request_is_released_or_ended_on_time_with_ten_thousand_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    clock = RunningClock()
    hsm = MemoryHsm(clock)
    async with opened(tmp_path, hsm, clock) as world:
        rule = quorum(1, ADA, timelock=60 if outcome == "opens" else 0, timeout=600, unit=TimeUnit.SECONDS)
        await world.create("slow", make_policy(use=rule))
        request_id = await world.ask_signature("slow")
        if outcome == "opens":
            await world.approve(ADA)
        await add_waiting(world, request_id)
        appointments: list[tuple[float, str]] = await world.broker._database.read(
            lambda tx: tx.all(tuple, statements.DUE_REQUESTS, {})
        )
        (moment,) = (due for due, each in appointments if each == request_id)
        assert len(appointments) == WAITING + 1
    clock.set(moment - EARLY)
    async with opened(tmp_path, hsm, clock) as world:
        calls = hsm.calls
        seen = noting(world, monkeypatch)
        status = RequestStatus.EXECUTED if outcome == "opens" else RequestStatus.EXPIRED
        assert 0 <= await reached(world, request_id, status) - moment <= PROMISE
        # The ten thousand were touched neither in the HSM nor in the store.
        assert hsm.executed == (["sign slow"] if outcome == "opens" else [])
        # Is the one key there, at the start and when the time has come; and the signature.
        assert hsm.calls <= calls + 3
        assert sum(statement.startswith("UPDATE") for statement in seen) <= 4
        view = await world.view(request_id)
        assert view.not_yet_approved_by == ()
        assert await world.tasks(ADA) == []


async def test_what_became_due_while_the_broker_was_down_is_done_at_its_start(tmp_path: Path) -> None:
    clock = RunningClock()
    hsm = MemoryHsm(clock)
    async with opened(tmp_path, hsm, clock) as world:
        await world.create("slow", make_policy(use=quorum(1, ADA, timelock=60, timeout=120)))
        complete, incomplete = await world.ask_signature("slow", b"1"), await world.ask_signature("slow", b"2")
        await world.approve(ADA, complete)
    clock.set(clock.now() + 90)
    async with opened(tmp_path, hsm, clock) as world:
        start = clock.now()
        assert await reached(world, complete, RequestStatus.EXECUTED) - start <= PROMISE
        assert (await world.view(incomplete)).status is RequestStatus.PENDING
    clock.set(clock.now() + 600)
    async with opened(tmp_path, hsm, clock) as world:
        start = clock.now()
        assert await reached(world, incomplete, RequestStatus.EXPIRED) - start <= PROMISE
        assert await world.tasks(ADA) == []
    assert hsm.executed == ["sign slow"]
