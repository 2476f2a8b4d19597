"""Time windows: a complete request waits for its timelock, and ends with its timeout. No test sleeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.broker.states import RequestStatus
from keyturn.ska.messages import decode_approval, decode_timestamp
from keyturn_testing.broker_world import memory_world, opened
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from pathlib import Path

ADA, BEN, EVE = Officer("ada", "P-256"), Officer("ben", "RSA"), Officer("eve", "ED")


async def test_a_complete_request_waits_for_its_timelock_as_approved_and_is_executed_when_it_opens(
    tmp_path: Path,
) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("slow", make_policy(use=quorum(2, ADA, BEN, EVE, timelock=3600)))
        request_id = await world.ask_signature("slow")
        await world.approve(ADA)
        assert (await world.view(request_id)).status is RequestStatus.PENDING
        await world.approve(BEN)
        assert (await world.view(request_id)).status is RequestStatus.APPROVED
        world.clock.advance(3599)
        await world.broker.run_due()
        assert (await world.view(request_id)).status is RequestStatus.APPROVED
        assert hsm.executed == []
        world.clock.advance(1)
        await world.broker.run_due()
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED


async def test_the_appointment_survives_a_restart(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("slow", make_policy(use=quorum(1, ADA, timelock=60)))
        request_id = await world.ask_signature("slow")
        await world.approve(ADA)
    world.clock.advance(60)
    async with opened(tmp_path, hsm, world.clock) as again:
        await again.broker.run_due()
        assert (await again.view(request_id)).status is RequestStatus.EXECUTED


@pytest.mark.parametrize("approvers", [0, 1, 2])
async def test_a_request_whose_time_is_over_expires_at_the_true_last_second(tmp_path: Path, approvers: int) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        # Two needed: it never becomes complete with fewer; with two it waits for a timelock as long as the timeout.
        await world.create("brief", make_policy(use=quorum(2, ADA, BEN, timelock=120, timeout=120)))
        request_id = await world.ask_signature("brief")
        for officer in (ADA, BEN)[:approvers]:
            await world.approve(officer)
        hsm.unreachable = True
        world.clock.advance(120 + 59)
        await world.broker.run_due()
        expected = RequestStatus.APPROVED if approvers == 2 else RequestStatus.PENDING
        assert (await world.view(request_id)).status is expected
        hsm.unreachable = False
        world.clock.advance(1)
        await world.broker.run_due()
        world.clock.advance(60)
        await world.broker.run_due()
        view = await world.view(request_id)
        assert (view.status, view.not_yet_approved_by) == (RequestStatus.EXPIRED, ())
        assert hsm.executed == []
        assert await world.tasks(ADA) == []


async def test_an_approval_that_comes_too_late_meets_an_expired_request(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("brief", make_policy(use=quorum(1, ADA, timeout=60)))
        # The scheduler does not come round; the approval itself notices.
        await world.broker._scheduler.stop()
        late, in_time = await world.ask_signature("brief"), await world.ask_signature("brief")
        world.clock.advance(60)
        await world.approve(ADA, in_time)
        world.clock.advance(60)
        await world.approve(ADA, late)
        assert (await world.view(late)).status is RequestStatus.EXPIRED
        assert (await world.view(in_time)).status is RequestStatus.EXECUTED
        assert hsm.executed == ["sign brief"]


async def test_an_hsm_whose_clock_is_behind_is_asked_again(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("slow", make_policy(use=quorum(1, ADA, timelock=60)))
        request_id = await world.ask_signature("slow")
        await world.approve(ADA)
        hsm.clock = type(world.clock)(world.clock.now() + 59)
        world.clock.advance(60)
        await world.broker.run_due()
        assert (await world.view(request_id)).status is RequestStatus.APPROVED
        hsm.clock.advance(1)
        world.clock.advance(1)
        await world.broker.run_due()
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED


@pytest.mark.rule("R18")
async def test_r18_a_key_that_is_not_the_first_of_its_label_gets_a_timestamp_in_its_approvals(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        rule = quorum(1, ADA)
        hsm.put("first", make_policy(use=rule))
        hsm.put("second", make_policy(use=rule), generation=2)
        await world.ask_signature("first", b"1")
        (task,) = await world.tasks(ADA)
        assert decode_approval(task.approval_to_be_signed).timestamp is None
        await world.broker.approve(world.approval(ADA, task))
        request_id = await world.ask_signature("second", b"2")
        (task,) = await world.tasks(ADA)
        timestamp = decode_approval(task.approval_to_be_signed).timestamp
        assert timestamp is not None
        assert decode_timestamp(timestamp).seconds >= hsm.keys["second"].created
        await world.broker.approve(world.approval(ADA, task))
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED


async def test_nothing_runs_between_two_appointments(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("slow", make_policy(use=quorum(1, ADA, timelock=3600)))
        for _ in range(5):
            await world.ask_signature("slow")
        for task in await world.tasks(ADA):
            await world.broker.approve(world.approval(ADA, task))
        calls = hsm.calls
        for _ in range(10):
            world.clock.advance(300)
            await world.broker.run_due()
        assert hsm.calls == calls
        assert len(world.broker._scheduler) == 5
        world.clock.advance(600)
        await world.broker.run_due()
        assert len(world.broker._scheduler) == 0
        assert len(hsm.executed) == 5
