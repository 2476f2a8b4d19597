"""What the HSM may answer, and what becomes of the request: executed once, whatever is lost in between."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from keyturn.broker.approver_calls import Signer, WithdrawCall
from keyturn.broker.executor import ROLLED_BACK, ExecutionRefusedError
from keyturn.broker.states import RequestStatus
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.policy import encode_policy
from keyturn_testing.broker_world import memory_world, opened
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from keyturn.broker.answers import Executed, TaskView
    from keyturn.broker.calls import SignCall
    from keyturn.broker.storage.rows import RequestRow
    from keyturn.ska.decision import IntegrityKey

ADA, BEN, EVE = Officer("ada", "P-256"), Officer("ben", "RSA"), Officer("eve", "ED")
TWO_OF_THREE = make_policy(use=quorum(2, ADA, BEN, EVE))


async def test_an_approval_counts_even_if_the_hsm_is_away_and_the_request_is_executed_later(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", make_policy(use=quorum(1, ADA)))
        request_id = await world.ask_signature("treasury")
        hsm.unreachable = True
        await world.approve(ADA)
        view = await world.view(request_id)
        assert (view.status, view.approved_by) == (RequestStatus.PENDING, (ADA.spki,))
        assert view.failure is not None
        for _ in range(3):
            world.clock.advance(60)
            await world.broker.run_due()
        assert (await world.view(request_id)).status is RequestStatus.PENDING
        hsm.unreachable = False
        world.clock.advance(60)
        await world.broker.run_due()
        view = await world.view(request_id)
        assert (view.status, view.failure) == (RequestStatus.EXECUTED, None)


async def test_a_lost_answer_is_fetched_with_the_same_approvals_although_another_one_came(tmp_path: Path) -> None:
    # Law 3. Had the third approval been added, the HSM would have refused: same id, other input.
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", TWO_OF_THREE)
        request_id = await world.ask_signature("treasury")
        hsm.loses_answer = True
        await world.approve(ADA)
        await world.approve(BEN)
        assert (await world.view(request_id)).status is RequestStatus.PENDING
        assert hsm.executed == ["sign treasury"]
        with pytest.raises(KeyturnError) as caught:
            await world.broker.cancel(request_id)
        assert caught.value.refusal == "request.in-execution"
        await world.approve(EVE)
    hsm.loses_answer = False
    async with opened(tmp_path, hsm, world.clock) as again:
        world.clock.advance(60)
        await again.broker.run_due()
        view = await again.view(request_id)
        assert view.status is RequestStatus.EXECUTED
        assert view.approved_by == (ADA.spki, BEN.spki, EVE.spki)
        assert hsm.executed == ["sign treasury"]


@pytest.mark.rule("R25")
async def test_r25_a_bad_approval_is_marked_and_asked_for_again(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", TWO_OF_THREE)
        request_id = await world.ask_signature("treasury")
        await world.approve(ADA)
        # The HSM sees something in Ben's approval that the broker did not.
        sign = hsm.sign

        async def picky(
            operation_id: bytes, call: SignCall, approvals: Sequence[bytes], *, request_id: str = ""
        ) -> Executed[bytes]:
            raise ExecutionRefusedError(
                ErrorCode.MISSING_APPROVAL,
                "one more is missing",
                refusal="approvals.missing",
                bad_approvals=[(1, "approval.bad-signature")],
            )

        hsm.sign = picky  # type: ignore[method-assign]  # The HSM changes its mind in this test.
        await world.approve(BEN)
        view = await world.view(request_id)
        assert (view.status, view.approved_by) == (RequestStatus.PENDING, (ADA.spki,))
        assert BEN.spki in view.not_yet_approved_by
        assert view.failure == "one more is missing"
        (task,) = await world.tasks(BEN)
        assert task.marked == "approval.bad-signature"
        assert (await world.broker.preflight(request_id))["refusedApprovals"] == ["approval.bad-signature"]
        hsm.sign = sign  # type: ignore[method-assign]  # And back.
        await world.broker.approve(world.approval(BEN, task))
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED


async def test_a_refusal_that_approvals_do_not_cure_fails_the_request_with_the_reason(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", make_policy(use=quorum(1, ADA)))
        request_id, other = await world.ask_signature("treasury"), await world.ask_signature("treasury")
        hsm.keys["treasury"] = replace(hsm.keys["treasury"], blocked=True)
        preflight = await world.broker.preflight(request_id)
        assert (preflight["satisfied"], preflight["blocked"]) == (False, True)
        await world.approve(ADA, request_id)
        view = await world.view(request_id)
        assert (view.status, view.failure, view.result) == (
            RequestStatus.FAILED,
            "the key is blocked (key.blocked)",
            None,
        )
        hsm.keys["treasury"] = replace(hsm.keys["treasury"], blocked=False)
        await world.approve(ADA, other)
        assert (await world.view(other)).status is RequestStatus.EXECUTED


async def test_requests_follow_a_change_of_the_policy(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", TWO_OF_THREE)
        signing = await world.ask_signature("treasury")
        await world.approve(ADA, signing)
        dan = Officer("dan", "P-384")
        change = await world.ask_change("treasury", make_policy(use=quorum(2, ADA, dan)))
        await world.approve(BEN, change)
        await world.approve(EVE, change)
        assert (await world.view(change)).status is RequestStatus.EXECUTED
        view = await world.view(signing)
        assert (view.approved_by, view.not_yet_approved_by) == ((ADA.spki,), (dan.spki,))
        assert await world.tasks(BEN, request_id=signing) == []
        await world.approve(dan, signing)
        assert (await world.view(signing)).status is RequestStatus.EXECUTED
        assert hsm.executed == ["modify treasury", "sign treasury"]


async def test_a_policy_changed_behind_the_brokers_back_is_learnt_from_the_refusal(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", make_policy(use=quorum(1, ADA, BEN)))
        request_id = await world.ask_signature("treasury")
        stricter = encode_policy(make_policy(use=quorum(2, ADA, EVE)))
        hsm.keys["treasury"] = replace(hsm.keys["treasury"], policy=stricter)
        await world.approve(ADA)
        await world.broker.run_due()
        view = await world.view(request_id)
        assert view.status is RequestStatus.PENDING
        assert EVE.spki in view.not_yet_approved_by
        await world.approve(EVE)
        # The HSM had not counted Ada's approval as bad, so that it still stands.
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED


async def test_a_laxer_policy_lets_waiting_requests_through_at_once(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, _):
        await world.create("treasury", TWO_OF_THREE)
        signing = await world.ask_signature("treasury")
        await world.approve(ADA, signing)
        change = await world.ask_change("treasury", make_policy(use=quorum(1, ADA, BEN), modify=quorum(2, ADA, BEN)))
        await world.approve(ADA, change)
        await world.approve(BEN, change)
        await world.broker.run_due()
        assert (await world.view(signing)).status is RequestStatus.EXECUTED


async def test_a_modify_request_changes_the_policy_and_has_no_result_text(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", TWO_OF_THREE)
        wanted = make_policy(use=quorum(1, EVE), modify=quorum(1, EVE))
        change = await world.ask_change("treasury", wanted)
        await world.approve(ADA)
        await world.approve(BEN)
        view = await world.view(change)
        assert (view.status, view.result) == (RequestStatus.EXECUTED, None)
        assert hsm.keys["treasury"].policy == encode_policy(wanted)
        await world.create("plain", None)
        with pytest.raises(KeyturnError) as caught:
            await world.ask_change("plain", wanted)
        assert (caught.value.code, caught.value.refusal) == (ErrorCode.OPERATION_FORBIDDEN_FOR_KEY, "policy.none")


async def test_a_modification_the_rules_forbid_is_refused_before_people_are_asked(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, _):
        await world.create("treasury", TWO_OF_THREE)
        with pytest.raises(KeyturnError) as caught:
            await world.ask_change("treasury", make_policy(use=quorum(3, ADA, BEN)))
        assert caught.value.code is ErrorCode.VALIDATION_FAILED
        await world.ask_change("treasury", make_policy(use=quorum(2, ADA, BEN)))


async def test_preflight_says_what_is_missing_and_what_is_surplus(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, _):
        await world.create("treasury", make_policy(use=quorum(2, ADA, BEN, EVE), modify=quorum(1, ADA)))
        request_id = await world.ask_signature("treasury")
        await world.approve(ADA)
        preflight = await world.broker.preflight(request_id)
        assert preflight["satisfied"] is False
        assert preflight["action"] == "use"
        assert preflight["openModify"] is True
        assert preflight["policyAttestTime"] is None
        (token,) = preflight["tokens"]
        (found,) = token["groups"]
        assert (found["quorum"], found["missing"], len(found["approved"])) == (2, 1, 1)
        await world.approve(BEN)
        preflight = await world.broker.preflight(request_id)
        assert (preflight["satisfied"], preflight["surplus"]) == (True, 0)


@pytest.mark.rule("R26")
@pytest.mark.parametrize("word", ["hsm.sealed", "clock.ahead", "clock.behind", "hsm.unreachable", ROLLED_BACK])
async def test_r26_while_the_hsm_does_nothing_at_all_an_approval_can_be_taken_back_and_a_request_cancelled(
    tmp_path: Path, word: str
) -> None:
    """A clock that jumped must be confirmed by people; meanwhile others must be able to think again."""
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", TWO_OF_THREE)
        first, second, third = [await world.ask_signature("treasury") for _ in range(3)]
        sign = hsm.sign

        async def away(
            operation_id: bytes, call: SignCall, approvals: Sequence[bytes], *, request_id: str = ""
        ) -> Executed[bytes]:
            code = {"hsm.unreachable": ErrorCode.CONNECTIVITY, ROLLED_BACK: ErrorCode.IN_HSM}.get(
                word, ErrorCode.HSM_FAILURE
            )
            raise KeyturnError(code, "ask the administrator", refusal=word)

        hsm.sign = away  # type: ignore[method-assign]  # It refuses whatever is asked.
        task = await world.approve(ADA, first)
        for request_id, officer in ((first, BEN), (second, ADA), (second, BEN), (third, ADA), (third, BEN)):
            await world.approve(officer, request_id)
        assert [(await world.view(each)).status for each in (first, second, third)] == [RequestStatus.PENDING] * 3
        world.clock.advance(60)
        await world.broker.run_due()
        await world.broker.withdraw(withdrawal_of(ADA, task))
        assert (await world.view(first)).approved_by == (BEN.spki,)
        await world.broker.cancel(second)
        hsm.sign = sign  # type: ignore[method-assign]  # And back.
        world.clock.advance(60)
        await world.broker.run_due()
        statuses = [(await world.view(each)).status for each in (first, second, third)]
        assert statuses == [RequestStatus.PENDING, RequestStatus.CANCELLED, RequestStatus.EXECUTED]
        assert hsm.executed == ["sign treasury"]


async def test_an_answer_that_was_lost_is_not_forgotten_because_the_hsm_is_away_afterwards(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", make_policy(use=quorum(1, ADA)))
        request_id = await world.ask_signature("treasury")
        hsm.loses_answer = True
        task = await world.approve(ADA)
        hsm.loses_answer, hsm.unreachable = False, True
        world.clock.advance(60)
        await world.broker.run_due()
        # It may have acted: nothing can be taken back.
        for attempt in (world.broker.withdraw(withdrawal_of(ADA, task)), world.broker.cancel(request_id)):
            with pytest.raises(KeyturnError) as caught:
                await attempt
            assert caught.value.refusal == "request.in-execution"


async def test_a_request_opened_in_the_moment_its_key_is_deleted_is_cancelled(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, _):
        await world.create("treasury", TWO_OF_THREE)
        await world.create("other", TWO_OF_THREE)
        integrity_keys = world.broker._execution.integrity_keys

        async def slowly(request: RequestRow) -> Sequence[IntegrityKey]:
            # The key has been looked at, the request is not stored yet.
            if request.key_label == "treasury":
                await world.broker.delete_key("treasury")
            return await integrity_keys(request)

        world.broker._execution.integrity_keys = slowly  # type: ignore[method-assign]  # The deletion comes in between.
        view = await world.view(await world.ask_signature("treasury"))
        assert (view.status, view.failure) == (RequestStatus.CANCELLED, "Its key was deleted.")
        assert (await world.view(await world.ask_signature("other"))).status is RequestStatus.PENDING
        assert [task.key_name for task in await world.tasks(ADA)] == ["other"]


def withdrawal_of(officer: Officer, task: TaskView) -> WithdrawCall:
    approval = task.approval_to_be_signed
    return WithdrawCall(
        task_id=task.task_id,
        approval=approval,
        signature=officer.sign(b"WITHDRAW:" + approval + task.task_id.encode()),
        digest=officer.digest,
        signer=Signer(spki=officer.spki),
    )
