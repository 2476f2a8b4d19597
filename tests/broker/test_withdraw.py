"""Taking approvals back (R26): before execution, signed, final, and told to the HSM."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from keyturn.broker.approver_calls import Signer, WithdrawCall
from keyturn.broker.calls import SignCall
from keyturn.broker.executor import ExecutionRefusedError
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage import statements
from keyturn.broker.storage.rows import WithdrawalRow
from keyturn.broker.storage.tables import evidence
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.attestation import attestation_to_json
from keyturn_testing.broker_world import gap_world, local_world, memory_world, opened
from keyturn_testing.officers import Officer, group, make_policy, quorum, token

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.broker.answers import TaskView
    from keyturn.broker.executor import Withdrawal
    from keyturn_testing.broker_world import World
    from keyturn_testing.hsm_process import HsmProcess

ADA, BEN, EVE = Officer("ada", "P-256"), Officer("ben", "RSA"), Officer("eve", "ED")
TWO_OF_THREE = make_policy(use=quorum(2, ADA, BEN, EVE))


def withdrawal(officer: Officer, task: TaskView, *, certificate: bool = False) -> WithdrawCall:
    approval = task.approval_to_be_signed
    return WithdrawCall(
        task_id=task.task_id,
        approval=approval,
        signature=officer.sign(b"WITHDRAW:" + approval + task.task_id.encode()),
        digest=officer.digest,
        signer=Signer(certificate=officer.certificate) if certificate else Signer(spki=officer.spki),
    )


async def refused(world: World, call: WithdrawCall) -> tuple[ErrorCode, str]:
    with pytest.raises(KeyturnError) as caught:
        await world.broker.withdraw(call)
    return caught.value.code, caught.value.refusal


async def waiting(world: World) -> list[WithdrawalRow]:
    """What has not reached the HSM yet."""
    return await world.broker._database.read(lambda tx: tx.all(WithdrawalRow._make, statements.WITHDRAWALS, {}))


@pytest.mark.rule("R26")
@pytest.mark.parametrize("officer", [ADA, BEN, EVE])
async def test_r26_an_approval_taken_back_counts_neither_here_nor_in_the_hsm(
    tmp_path: Path, hsm: HsmProcess, officer: Officer
) -> None:
    label = f"treasury-{officer.name}"
    others = [each for each in (ADA, BEN, EVE) if each is not officer]
    async with local_world(tmp_path, hsm) as world:
        await world.create(label, TWO_OF_THREE)
        request_id = await world.ask_signature(label, b"pay")
        task = await world.approve(officer, request_id)
        approval = officer.approve(task.approval_to_be_signed)
        await world.broker.withdraw(withdrawal(officer, task, certificate=officer is BEN))
        view = await world.view(request_id)
        assert (view.status, view.approved_by, view.withdrawn_by) == (RequestStatus.PENDING, (), (officer.spki,))
        assert set(view.not_yet_approved_by) == {each.spki for each in others}
        assert await world.tasks(officer, request_id=request_id) == []
        assert await waiting(world) == []

        # A broker that kept the approval hands it to the HSM all the same, with one that counts.
        call = SignCall(payload=b"pay", key_name=label, algorithm="SHA256_WITH_ECDSA")
        with pytest.raises(ExecutionRefusedError) as caught:
            await world.broker.sign_now(call, [approval, others[0].approve(task.approval_to_be_signed)])
        assert caught.value.refusal == "approvals.missing"
        assert caught.value.bad_approvals == ((0, "approval.withdrawn"),)

        # The other two still can.
        for other in others:
            await world.approve(other, request_id)
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED


@pytest.mark.rule("R26")
async def test_r26_a_complete_request_steps_back_while_its_timelock_runs(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("slow", make_policy(use=quorum(2, ADA, BEN, EVE, timelock=300, timeout=600)))
        request_id = await world.ask_signature("slow")
        await world.approve(ADA, request_id)
        task = await world.approve(BEN, request_id)
        assert (await world.view(request_id)).status is RequestStatus.APPROVED
        await world.broker.withdraw(withdrawal(BEN, task))
        assert (await world.view(request_id)).status is RequestStatus.PENDING
        world.clock.advance(301)
        await world.broker.run_due()
        assert hsm.executed == []
        await world.approve(EVE, request_id)
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED


@pytest.mark.rule("R26")
async def test_r26_enough_without_it_stays_complete(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("slow", make_policy(use=quorum(2, ADA, BEN, EVE, timelock=300)))
        request_id = await world.ask_signature("slow")
        tasks = [await world.approve(officer, request_id) for officer in (ADA, BEN, EVE)]
        await world.broker.withdraw(withdrawal(ADA, tasks[0]))
        assert (await world.view(request_id)).status is RequestStatus.APPROVED
        world.clock.advance(301)
        await world.broker.run_due()
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED
        assert hsm.executed == ["sign slow"]


@pytest.mark.rule("R26")
async def test_r26_a_request_that_cannot_be_reached_any_more_is_rejected(tmp_path: Path) -> None:
    rule = make_policy(use=quorum(2, ADA, BEN, EVE)).use
    two_ways = replace(rule, tokens=(*rule.tokens, token(group(1, EVE))))
    async with memory_world(tmp_path) as (world, _):
        for label, use, status in (
            ("one-way", rule, RequestStatus.REJECTED),
            ("two-ways", two_ways, RequestStatus.PENDING),
        ):
            await world.create(label, make_policy(use=use))
            request_id = await world.ask_signature(label)
            task = await world.approve(ADA, request_id)
            await world.reject(BEN, request_id)
            assert (await world.view(request_id)).status is RequestStatus.PENDING
            await world.broker.withdraw(withdrawal(ADA, task))
            view = await world.view(request_id)
            assert (view.status, view.rejected_by, view.withdrawn_by) == (status, (BEN.spki,), (ADA.spki,))
            assert bool(await world.tasks(EVE, request_id=request_id)) is (status is RequestStatus.PENDING)


@pytest.mark.rule("R26")
async def test_r26_only_the_approver_takes_back_only_what_they_approved_and_only_in_time(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, _):
        await world.create("treasury", TWO_OF_THREE)
        request_id, other = await world.ask_signature("treasury", b"one"), await world.ask_signature("treasury", b"two")
        (open_task,) = await world.tasks(BEN, request_id=request_id)
        assert await refused(world, withdrawal(BEN, open_task)) == (ErrorCode.TASK_NOT_EXISTENT, "task.not-approved")
        task, others = await world.approve(ADA, request_id), await world.approve(ADA, other)
        right = withdrawal(ADA, task)
        token_alone = b"WITHDRAW:" + task.approval_to_be_signed
        flipped = bytearray(right.signature)
        flipped[-1] ^= 1
        defects = {
            "task.unknown": replace(right, task_id="00000000-0000-0000-0000-000000000000"),
            "task.wrong-approver": withdrawal(BEN, task),
            "approval.wrong-payload": replace(right, approval=others.approval_to_be_signed),
            "approval.malformed": replace(right, approval=b"\x00" + right.approval),
            "signature.invalid": replace(right, signature=bytes(flipped)),
        }
        for word, call in defects.items():
            code, refusal = await refused(world, call)
            assert refusal == word or (word == "signature.invalid" and code is ErrorCode.INVALID_SIGNATURE), word
        for signed in (
            token_alone,
            task.approval_to_be_signed,
            b"REJECTED:" + task.approval_to_be_signed + task.task_id.encode(),
            token_alone + others.task_id.encode(),
        ):
            code, _ = await refused(world, replace(right, signature=ADA.sign(signed)))
            assert code is ErrorCode.INVALID_SIGNATURE
        assert (await world.view(request_id)).approved_by == (ADA.spki,)
        await world.broker.withdraw(right)
        assert await refused(world, right) == (ErrorCode.TASK_NOT_EXISTENT, "task.withdrawn")
        # It cannot be approved again, either: the HSM would not count it.
        with pytest.raises(KeyturnError) as caught:
            await world.broker.approve(world.approval(ADA, task))
        assert caught.value.refusal == "task.withdrawn"
        await world.approve(BEN, other)
        assert (await world.view(other)).status is RequestStatus.EXECUTED
        assert await refused(world, withdrawal(ADA, others)) == (ErrorCode.UNSUPPORTED_OPERATION, "request.closed")


@pytest.mark.rule("R26")
async def test_r26_what_was_acknowledged_reaches_an_hsm_that_was_away(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", make_policy(use=quorum(2, ADA, BEN, timeout=600)))
        request_id = await world.ask_signature("treasury")
        task = await world.approve(ADA, request_id)
        hsm.unreachable = True
        await world.broker.withdraw(withdrawal(ADA, task))
        assert (await world.view(request_id)).status is RequestStatus.REJECTED
        assert len(await waiting(world)) == 1
    assert hsm.withdrawn == []
    # The broker was stopped meanwhile; a new one on the same store does what the old one promised.
    hsm.unreachable = False
    async with opened(tmp_path, hsm, world.clock) as world:
        await world.broker.run_due()
        assert await waiting(world) == []
        (found,) = hsm.withdrawn
        assert (found.label, found.task_id, found.spki) == ("treasury", task.task_id, ADA.spki)
        assert found.approval == task.approval_to_be_signed


@pytest.mark.rule("R26")
async def test_r26_a_withdrawal_the_hsm_has_no_use_for_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        for label in ("gone", "here"):
            await world.create(label, TWO_OF_THREE)
        tasks = [await world.approve(ADA, await world.ask_signature(label)) for label in ("gone", "here")]
        # The courier rests, so that this test alone says when something is brought.
        await world.broker._withdrawals.stop()
        hsm.unreachable = True
        for task in tasks:
            await world.broker.withdraw(withdrawal(ADA, task))
        hsm.unreachable = False
        take = hsm.withdraw

        refusals = [
            (ErrorCode.KEY_NOT_EXISTENT, "key.unknown"),
            (ErrorCode.VALIDATION_FAILED, "withdrawal.too-many"),
        ]

        async def full(withdrawal: Withdrawal) -> None:
            if refusals:
                code, word = refusals.pop(0)
                raise ExecutionRefusedError(code, "refused", refusal=word)
            await take(withdrawal)

        hsm.withdraw = full  # type: ignore[method-assign]  # One key is gone; for the other there is no room just now.
        await world.broker._withdrawals.deliver()
        # What counts for nothing there is struck out; the other may still count, and is still owed.
        assert ([row.key_label for row in await waiting(world)], hsm.withdrawn) == (["here"], [])
        await world.broker._withdrawals.deliver()
        assert [each.label for each in hsm.withdrawn] == ["here"]
        assert await waiting(world) == []


@pytest.mark.rule("R26")
async def test_r26_an_approval_the_hsm_knows_as_withdrawn_is_not_asked_for_again(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", TWO_OF_THREE)
        request_id = await world.ask_signature("treasury")
        sign = hsm.sign

        async def knowing(*_: object, **__: object) -> Any:
            raise ExecutionRefusedError(
                ErrorCode.MISSING_APPROVAL,
                "one is missing",
                refusal="approvals.missing",
                bad_approvals=[(0, "approval.withdrawn")],
            )

        hsm.sign = knowing  # type: ignore[method-assign]  # It was told past this broker.
        for officer in (ADA, BEN):
            await world.approve(officer, request_id)
        view = await world.view(request_id)
        assert (view.status, view.approved_by, view.withdrawn_by) == (RequestStatus.PENDING, (BEN.spki,), (ADA.spki,))
        assert await world.tasks(ADA) == []
        hsm.sign = sign  # type: ignore[method-assign]  # As it was.
        await world.approve(EVE, request_id)
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED


@pytest.mark.rule("R26")
async def test_r26_across_the_gap_it_is_recorded_and_carried_no_more(tmp_path: Path, hsm: HsmProcess) -> None:
    async with local_world(tmp_path / "offline", hsm) as offline:
        attested = await offline.create("far", TWO_OF_THREE)
        chain = await offline.broker.attestation_chain()
        async with gap_world(tmp_path / "online", chain) as online:
            await online.broker.register_offline_key(
                xml=attested.xml, signature=attested.signature, json=attestation_to_json(attested.attestation)
            )
            request_id = await online.ask_signature("far")
            task = await online.approve(ADA, request_id)
            await online.approve(BEN, request_id)
            await online.broker.withdraw(withdrawal(ADA, task))
            view = await online.view(request_id)
            assert (view.status, view.approved_by, view.withdrawn_by) == (
                RequestStatus.PENDING,
                (BEN.spki,),
                (ADA.spki,),
            )
            assert view.input_offline_hsm is not None
            assert len(view.input_offline_hsm["signRequest"]["signedApprovals"]) == 1
            assert await waiting(online) == []


async def test_every_withdrawal_leaves_its_evidence(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, _):
        await world.create("treasury", TWO_OF_THREE)
        task = await world.approve(ADA, await world.ask_signature("treasury"))
        call = withdrawal(ADA, task)
        await world.broker.withdraw(call)
        columns = select(*(evidence.c[name] for name in ("kind", "task_id", "statement", "signature")))
        rows: list[tuple[Any, ...]] = await world.broker._database.read(lambda tx: tx.all(tuple, columns, {}))
        assert rows == [
            (
                "withdrawal",
                task.task_id,
                b"WITHDRAW:" + task.approval_to_be_signed + task.task_id.encode(),
                call.signature,
            )
        ]
