"""A change of the integrity key: what was opened before stays valid, and is predicted rightly. A real HSM process."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from keyturn.broker.states import RequestStatus
from keyturn.ska.messages import decode_approval, decode_timestamp
from keyturn_testing.broker_world import local_world
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn_testing.broker_world import World

ADA, BEN = Officer("ada"), Officer("ben", "ED")
BOTH_WITHIN_AN_HOUR = make_policy(use=quorum(2, ADA, BEN, timeout=3600))

pytestmark = pytest.mark.rule("R5")


async def _stamp_name(world: World, request_id: str) -> str:
    (task,) = [one for one in await world.tasks(BEN) if one.request_id == request_id]
    timestamp = decode_approval(task.approval_to_be_signed).timestamp
    assert timestamp is not None
    return decode_timestamp(timestamp).key_name


@pytest.mark.parametrize("same_broker", [True, False], ids=["the broker stays", "the broker restarts, too"])
async def test_r5_open_requests_survive_a_new_integrity_key(tmp_path: Path, *, same_broker: bool) -> None:
    with HsmProcess(tmp_path / "hsm") as hsm:
        async with local_world(tmp_path / "broker", hsm) as world:
            await world.create("timed", BOTH_WITHIN_AN_HOUR)
            before = await world.ask_signature("timed", b"before")
            await world.approve(ADA, before)
            hsm.options = ("--timestamp-key-name", "timestamp-key-2")
            await asyncio.to_thread(hsm.restart)
            if same_broker:
                await _finish(world, before)
        if not same_broker:
            async with local_world(tmp_path / "broker", hsm) as again:
                await _finish(again, before)


async def test_the_broker_says_what_the_hsms_clock_says(tmp_path: Path) -> None:
    """An offline ceremony begins with a look at it (`keyturn transport import`)."""
    with HsmProcess(tmp_path / "hsm") as hsm:
        async with local_world(tmp_path / "broker", hsm) as world:
            told = await world.broker.info()
            assert told["hsmTime"] == pytest.approx(time.time(), abs=30)
            assert told["hsmClockMark"] <= told["hsmTime"]


async def _finish(world: World, before: str) -> None:
    after = await world.ask_signature("timed", b"after")
    assert await _stamp_name(world, before) == "timestamp-key"
    assert await _stamp_name(world, after) == "timestamp-key-2"
    # Predicted rightly: with one of two approvals it waits for the other, and nothing counts against the first.
    view = await world.view(before)
    assert (view.status, view.approved_by) == (RequestStatus.PENDING, (ADA.spki,))
    for request_id, officers in ((before, (BEN,)), (after, (ADA, BEN))):
        for officer in officers:
            await world.approve(officer, request_id)
        view = await world.view(request_id)
        assert (view.status, view.failure) == (RequestStatus.EXECUTED, None)
