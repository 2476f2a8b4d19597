"""Single use through the broker: it asks for the timestamp that tells two uses apart (R14)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from keyturn.ska.messages import decode_approval
from keyturn_testing.broker_world import local_world
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.broker.answers import RequestView
    from keyturn_testing.broker_world import World
    from keyturn_testing.hsm_process import HsmProcess

ADA, BEN = Officer("ada"), Officer("ben")
POLICY = make_policy(quorum(2, ADA, BEN))

pytestmark = pytest.mark.rule("R14")


async def executed(world: World, label: str) -> RequestView:
    """The same thing is asked for, and approved by both."""
    request_id = await world.ask_signature(label)
    for officer in (ADA, BEN):
        await world.approve(officer, request_id)
    for _ in range(100):
        if (await world.view(request_id)).status == "EXECUTED":
            break
        await asyncio.sleep(0.02)
    view = await world.view(request_id)
    assert view.status == "EXECUTED", view
    return view


@pytest.mark.parametrize("bound", [False, True])
async def test_two_requests_for_the_same_bytes_are_two_uses(tmp_path: Path, hsm: HsmProcess, bound: bool) -> None:
    async with local_world(tmp_path, hsm) as world:
        label = f"once-{bound}".lower()
        await world.create(label, POLICY, singleUse=True, boundApprovals=bound)
        first, second = await executed(world, label), await executed(world, label)
        assert first.result != second.result
        # Its request tells a bound approval apart; others need a time of the HSM, which no time limit asks for here.
        request_id = await world.ask_signature(label)
        (task,) = await world.tasks(ADA, request_id=request_id)
        assert (decode_approval(task.approval_to_be_signed).timestamp is None) == bound


async def test_approvals_for_an_ordinary_key_need_no_time(tmp_path: Path, hsm: HsmProcess) -> None:
    async with local_world(tmp_path, hsm) as world:
        await world.create("again", POLICY)
        request_id = await world.ask_signature("again")
        (task,) = await world.tasks(ADA, request_id=request_id)
        assert decode_approval(task.approval_to_be_signed).timestamp is None
