"""The workflow of a signature: asked for, decided by people, made once."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.broker.answers import OFFLINE_RESULT
from keyturn.broker.calls import SignCall
from keyturn.broker.states import RequestStatus
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.policy import EMPTY_POLICY, Rule
from keyturn_testing.broker_world import memory_world
from keyturn_testing.officers import Officer, group, make_policy, quorum, token

if TYPE_CHECKING:
    from pathlib import Path

ADA, BEN, EVE = Officer("ada", "P-256"), Officer("ben", "RSA"), Officer("eve", "ED")
TWO_OF_THREE = make_policy(use=quorum(2, ADA, BEN, EVE))


async def test_two_of_three_approve_and_the_signature_verifies(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", TWO_OF_THREE)
        request_id = await world.ask_signature("treasury", b"pay")
        view = await world.view(request_id)
        assert (view.status, view.result, view.execution_time) == (RequestStatus.PENDING, None, None)
        assert view.not_yet_approved_by == (ADA.spki, BEN.spki, EVE.spki)

        await world.approve(ADA)
        view = await world.view(request_id)
        assert (view.status, view.approved_by) == (RequestStatus.PENDING, (ADA.spki,))

        await world.approve(EVE)
        view = await world.view(request_id)
        assert view.status is RequestStatus.EXECUTED
        assert view.result is not None
        assert view.result != OFFLINE_RESULT
        assert await world.broker.verify("treasury", "SHA256_WITH_ECDSA", b"pay", b64decode(view.result))
        assert not await world.broker.verify("treasury", "SHA256_WITH_ECDSA", b"pay!", b64decode(view.result))
        assert (view.approved_by, view.not_yet_approved_by) == ((ADA.spki, EVE.spki), ())
        assert view.execution_time == int(world.clock.now())
        assert hsm.executed == ["sign treasury"]
        assert await world.tasks(BEN) == []


@pytest.mark.parametrize("policy", [None, EMPTY_POLICY], ids=["no policy", "empty policy"])
async def test_what_needs_no_approval_is_executed_in_the_opening_call(tmp_path: Path, policy: None) -> None:
    async with memory_world(tmp_path) as (world, _):
        await world.create("free", policy)
        view = await world.view(await world.ask_signature("free"))
        assert view.status is RequestStatus.EXECUTED
        assert view.result is not None
        assert view.approved_by == view.not_yet_approved_by == view.rejected_by == ()


async def test_a_rule_nobody_can_fulfil_is_refused_at_opening(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("fixed", make_policy(use=quorum(1, ADA), modify=Rule(())))
        with pytest.raises(KeyturnError) as caught:
            await world.ask_change("fixed", TWO_OF_THREE)
        assert (caught.value.code, caught.value.refusal) == (ErrorCode.IN_HSM, "rule.never")
        hsm.put("fixed", make_policy(use=quorum(1, ADA)))
        await world.ask_change("fixed", TWO_OF_THREE)


async def test_what_the_hsm_would_refuse_anyway_is_refused_before_people_are_asked(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, _):
        await world.create("treasury", TWO_OF_THREE)
        defects: list[tuple[dict[str, Any], ErrorCode, str]] = [
            ({"key_name": "nobody"}, ErrorCode.KEY_NOT_EXISTENT, "key.unknown"),
            ({"algorithm": "SHA256_WITH_RSA"}, ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY, "signature.wrong-key-type"),
            ({"algorithm": "ROT13"}, ErrorCode.VALIDATION_FAILED, "signature.algorithm"),
            ({"payload": b"x" * 65537}, ErrorCode.INVALID_PAYLOAD, "payload.too-large"),
            (
                {"algorithm": "NONE_WITH_ECDSA", "payload": b"x" * 31},
                ErrorCode.INVALID_PAYLOAD,
                "payload.digest-length",
            ),
        ]
        for defect, code, word in defects:
            call: dict[str, Any] = {"payload": b"x" * 32, "key_name": "treasury", "algorithm": "NONE_WITH_ECDSA"}
            with pytest.raises(KeyturnError) as caught:
                await world.broker.open_sign(SignCall(**{**call, **defect}), original=b"")
            assert (caught.value.code, caught.value.refusal) == (code, word)
            await world.broker.open_sign(SignCall(**call), original=b"")


async def test_two_tokens_are_two_ways_and_each_approver_has_one_task(tmp_path: Path) -> None:
    rule = Rule((token(group(2, ADA, BEN)), token(group(1, EVE), group(1, ADA))))
    async with memory_world(tmp_path) as (world, _):
        await world.create("treasury", make_policy(use=rule))
        request_id = await world.ask_signature("treasury")
        assert [len(await world.tasks(officer)) for officer in (ADA, BEN, EVE)] == [1, 1, 1]
        await world.approve(BEN)
        await world.approve(EVE)
        assert (await world.view(request_id)).status is RequestStatus.PENDING
        await world.approve(ADA)
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED


async def test_officers_who_approve_at_the_same_moment_cause_one_signature(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", TWO_OF_THREE)
        request_id = await world.ask_signature("treasury")
        calls = [world.approval(officer, (await world.tasks(officer))[0]) for officer in (ADA, BEN, EVE)]
        outcomes = await asyncio.gather(*(world.broker.approve(call) for call in calls), return_exceptions=True)
        late = [outcome for outcome in outcomes if outcome is not None]
        assert len(late) == 1
        assert isinstance(late[0], KeyturnError)
        assert late[0].refusal == "task.closed"
        assert hsm.executed == ["sign treasury"]
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED


async def test_a_caller_who_goes_away_does_not_stop_what_was_begun(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", make_policy(use=quorum(1, ADA)))
        request_id = await world.ask_signature("treasury")
        (task,) = await world.tasks(ADA)
        caller = asyncio.create_task(world.broker.approve(world.approval(ADA, task)))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        for _ in range(100):
            if (await world.view(request_id)).status is RequestStatus.EXECUTED:
                break
            await asyncio.sleep(0.01)
        assert hsm.executed == ["sign treasury"]


async def test_cancelled_requests_vanish_from_the_lists_and_stay_cancelled(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", make_policy(use=quorum(1, ADA)))
        request_id, other = await world.ask_signature("treasury"), await world.ask_signature("treasury")
        (task,) = await world.tasks(ADA, request_id=request_id)
        await world.broker.cancel(request_id)
        assert (await world.view(request_id)).status is RequestStatus.CANCELLED
        assert [each.request_id for each in await world.tasks(ADA)] == [other]
        with pytest.raises(KeyturnError) as caught:
            await world.broker.approve(world.approval(ADA, task))
        assert (caught.value.code, caught.value.refusal) == (ErrorCode.TASK_NOT_EXISTENT, "task.closed")
        await world.broker.cancel(request_id)
        await world.approve(ADA)
        with pytest.raises(KeyturnError) as caught:
            await world.broker.cancel(other)
        assert caught.value.refusal == "request.closed"
        assert hsm.executed == ["sign treasury"]
        with pytest.raises(KeyturnError) as caught:
            await world.broker.cancel("00000000-0000-0000-0000-000000000000")
        assert caught.value.code is ErrorCode.REQUEST_NOT_EXISTENT


async def test_deleting_a_key_cancels_its_open_requests_and_no_others(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, _):
        for label in ("one", "two"):
            await world.create(label, make_policy(use=quorum(1, ADA)))
        requests = [await world.ask_signature(label) for label in ("one", "two")]
        await world.broker.delete_key("one")
        views = [await world.view(request_id) for request_id in requests]
        assert [view.status for view in views] == [RequestStatus.CANCELLED, RequestStatus.PENDING]
        with pytest.raises(KeyturnError) as caught:
            await world.broker.delete_key("one")
        assert caught.value.code is ErrorCode.KEY_NOT_EXISTENT


async def test_synchronous_signing_learns_which_keys_have_a_policy(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("free", None)
        await world.create("open", EMPTY_POLICY)
        await world.create("treasury", make_policy(use=quorum(1, ADA)))
        calls = {
            label: SignCall(payload=b"pay", key_name=label, algorithm="SHA256_WITH_ECDSA")
            for label in ("free", "open", "treasury")
        }
        for label in ("free", "open", "open"):
            signature = (await world.broker.sign_now(calls[label], [])).value
            assert await world.broker.verify(label, "SHA256_WITH_ECDSA", b"pay", signature)
        for approvals in ([], [ADA.approve_use("treasury", b"pay?")]):
            with pytest.raises(KeyturnError) as caught:
                await world.broker.sign_now(calls["treasury"], approvals)
            assert caught.value.refusal == "approvals.missing"
        await world.broker.sign_now(calls["treasury"], [ADA.approve_use("treasury", b"pay")])
        assert hsm.executed == ["sign free", "sign open", "sign open", "sign treasury"]


async def test_a_payload_that_would_not_fit_into_a_signed_approval_is_refused_at_opening(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, _):
        await world.create("free", None)
        await world.create("plain", make_policy(use=quorum(1, BEN)))
        await world.create("timed", make_policy(use=quorum(1, BEN, timeout=600)))
        await world.ask_signature("free", b"x" * 65_536)
        for label, too_large, fitting in (("plain", 61_500, 61_300), ("timed", 30_800, 30_500)):
            with pytest.raises(KeyturnError) as caught:
                await world.ask_signature(label, b"x" * too_large)
            assert (caught.value.code, caught.value.refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.too-large")
            request_id = await world.ask_signature(label, b"x" * fitting)
            await world.approve(BEN, request_id)
            assert (await world.view(request_id)).status is RequestStatus.EXECUTED
