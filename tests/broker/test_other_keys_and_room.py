"""Requests whose key is not the one they were opened for any more, and requests whose approvals need much room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keyturn.broker.prediction import CALL_ROOM
from keyturn.broker.states import RequestStatus
from keyturn.errors import ErrorCode, KeyturnError
from keyturn_testing.broker_world import local_world, memory_world
from keyturn_testing.keys import operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.broker.answers import AttestedKey, Executed
    from keyturn_testing.hsm_process import HsmProcess

ADA, BEN = Officer("ada", "P-256"), Officer("ben", "RSA")
CROWD = [Officer(f"officer-{number}", "ED") for number in range(24)]


@pytest.mark.rule("R18")
async def test_r18_a_key_that_took_over_the_label_does_not_fulfil_what_was_approved_for_another(
    hsm: HsmProcess, tmp_path: Path
) -> None:
    async with local_world(tmp_path, hsm) as world:
        await world.create("heir", make_policy(use=quorum(1, ADA)))
        request_id = await world.ask_signature("heir")
        # Past this broker, the key is deleted, and one that needs no approval takes its label.
        executor = world.broker._executor
        await executor.delete(operation_id(), "heir")
        await world.create("heir", None)
        await world.approve(ADA, request_id)
        view = await world.view(request_id)
        assert (view.status, view.result) == (RequestStatus.FAILED, None)
        assert "another key" in (view.failure or "")
        # The same with the key it was opened for.
        await world.create("stays", make_policy(use=quorum(1, ADA)))
        request_id = await world.ask_signature("stays")
        await world.approve(ADA, request_id)
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED


@pytest.mark.rule("R18")
async def test_r18_a_change_approved_for_one_key_does_not_reach_the_next_one_of_its_label(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("heir", make_policy(use=quorum(1, ADA), modify=quorum(1, ADA)))
        request_id = await world.ask_change("heir", make_policy(use=quorum(1, BEN)))
        hsm.put("heir", make_policy(use=quorum(1, BEN)), generation=2)
        before = hsm.keys["heir"].policy
        await world.approve(ADA, request_id)
        assert (await world.view(request_id)).status is RequestStatus.FAILED
        assert hsm.keys["heir"].policy == before
        assert hsm.executed == []


async def test_a_change_that_was_made_is_executed_even_if_the_key_is_gone_when_the_broker_looks(
    tmp_path: Path,
) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("brief", make_policy(use=quorum(1, ADA), modify=quorum(1, ADA)))
        request_id = await world.ask_change("brief", make_policy(use=quorum(1, BEN)))
        modify = hsm.modify

        async def then_deleted(
            operation: bytes, label: str, policy: bytes, approvals: list[bytes], **rest: Any
        ) -> Executed[AttestedKey]:
            answer = await modify(operation, label, policy, approvals, **rest)
            del hsm.keys[label]
            return answer

        hsm.modify = then_deleted  # type: ignore[method-assign, assignment]  # For this one key only.
        await world.approve(ADA, request_id)
        assert hsm.executed == ["modify brief"]
        view = await world.view(request_id)
        assert (view.status, view.failure) == (RequestStatus.EXECUTED, None)


async def test_a_key_that_is_gone_does_not_hide_the_tasks_for_other_keys(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        for label in ("gone", "there"):
            await world.create(label, make_policy(use=quorum(1, ADA)))
            await world.ask_signature(label)
        del hsm.keys["gone"]
        tasks = await world.tasks(ADA, detail_level=5)
        assert {task.key_name: task.key_attributes for task in tasks} == {"gone": None, "there": "<there/>"}


async def test_a_payload_that_would_not_fit_with_all_its_approvals_is_refused_before_anybody_is_asked(
    hsm: HsmProcess, tmp_path: Path
) -> None:
    async with local_world(tmp_path, hsm) as world:
        await world.create("crowd", make_policy(use=quorum(len(CROWD), *CROWD)))
        with pytest.raises(KeyturnError) as caught:
            await world.ask_signature("crowd", b"x" * 50_000)
        assert (caught.value.code, caught.value.refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.too-large")
        # A smaller one goes all the way, and the large one does where fewer are needed.
        request_id = await world.ask_signature("crowd", b"x" * 38_000)
        for officer in CROWD:
            await world.approve(officer, request_id)
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED
        await world.create("few", make_policy(use=quorum(2, *CROWD)))
        request_id = await world.ask_signature("few", b"x" * 50_000)
        for officer in CROWD[:2]:
            await world.approve(officer, request_id)
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED


async def test_approvals_beyond_need_that_came_during_a_timelock_do_not_make_the_call_too_large(
    tmp_path: Path,
) -> None:
    policy = make_policy(use=quorum(2, *CROWD, timelock=300))
    async with memory_world(tmp_path) as (world, hsm):
        hsm.put("slow", policy)
        sent: list[int] = []
        sign = hsm.sign

        async def counting(
            operation: bytes, call: object, approvals: list[bytes], *, request_id: str = ""
        ) -> Executed[bytes]:
            sent.append(sum(map(len, approvals)))
            return await sign(operation, call, approvals, request_id=request_id)  # type: ignore[arg-type]  # Handed on as it came.

        hsm.sign = counting  # type: ignore[method-assign, assignment]  # To see what is sent.
        request_id = await world.ask_signature("slow", b"x" * 25_000)
        for officer in CROWD:
            await world.approve(officer, request_id)
        assert (await world.view(request_id)).status is RequestStatus.APPROVED
        world.clock.advance(301)
        await world.broker.run_due()
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED
        (size,) = sent
        assert size < CALL_ROOM < size + 2 * 55_000
