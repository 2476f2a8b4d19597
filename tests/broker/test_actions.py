"""Requests with a real HSM: blocks, changes, receipts and how requests end, decided by people, done once."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.broker.calls import ModifyCall, RequestKind, SignCall, StatusCall
from keyturn.broker.executor import ExecutionRefusedError
from keyturn.broker.states import RequestStatus
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.messages import (
    ApprovalToken,
    decode_approval,
    decode_timestamp,
)
from keyturn.ska.policy import EMPTY_POLICY, Rule, encode_policy
from keyturn.ska.receipt import verify_receipt
from keyturn_testing.broker_world import local_world, memory_world
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn_testing.broker_world import World
    from keyturn_testing.hsm_process import HsmProcess

ADA, BEN, EVE = Officer("ada", "P-256"), Officer("ben", "RSA"), Officer("eve", "ED")
GUARDED = make_policy(use=quorum(1, ADA), block=quorum(1, BEN), unblock=quorum(2, ADA, BEN), modify=quorum(2, ADA, BEN))


async def ask(world: World, what: str, call: Any) -> str:
    return str(await getattr(world.broker, f"open_{what}")(call, original=b"{}"))


async def refused(attempt: Any) -> tuple[ErrorCode, str]:
    with pytest.raises(KeyturnError) as caught:
        await attempt
    return caught.value.code, caught.value.refusal


# --- block and unblock -------------------------------------------------------------------------------


async def test_a_key_is_blocked_fails_its_use_and_works_again_after_unblock(tmp_path: Path, hsm: HsmProcess) -> None:
    async with local_world(tmp_path, hsm) as world:
        await world.create("vault", GUARDED)
        waiting = await world.ask_signature("vault", b"asked before the block")
        block = await ask(world, "block", StatusCall(key_name="vault", meta_data=b"why"))
        (task,) = await world.tasks(BEN, kind=RequestKind.BLOCK, detail_level=4)
        token = decode_approval(task.approval_to_be_signed)
        assert (token.action, token.label, token.payload, token.timestamp) == (Action.BLOCK, b"vault", None, None)
        assert (task.kind, task.meta_data, await world.tasks(ADA, kind=RequestKind.BLOCK)) == ("block", b"why", [])
        await world.broker.approve(world.approval(BEN, task))
        assert (await world.view(block)).status is RequestStatus.EXECUTED
        assert (await world.broker.attested_key("vault")).attestation.blocked

        # Both requests, the old one and one opened now, say it before anybody waits for them.
        during = await world.ask_signature("vault", b"asked while blocked")
        for request_id in (waiting, during):
            view = await world.view(request_id)
            assert view.status is RequestStatus.PENDING
            assert view.failure is not None
            assert "blocked" in view.failure
            assert (await world.broker.preflight(request_id))["blocked"] is True
        await world.approve(ADA, waiting)
        view = await world.view(waiting)
        assert view.status is RequestStatus.FAILED
        assert view.failure is not None
        assert "(key.blocked)" in view.failure

        unblock = await ask(world, "unblock", StatusCall(key_name="vault"))
        await world.approve(ADA, unblock)
        assert (await world.view(unblock)).status is RequestStatus.PENDING
        await world.approve(BEN, unblock)
        assert (await world.view(unblock)).status is RequestStatus.EXECUTED
        assert not (await world.broker.attested_key("vault")).attestation.blocked
        assert (await world.view(during)).failure is None
        await world.approve(ADA, during)
        assert (await world.view(during)).status is RequestStatus.EXECUTED


@pytest.mark.rule("R15")
async def test_r15_every_unblock_and_modify_of_a_protected_key_carries_the_hsms_time(
    tmp_path: Path, hsm: HsmProcess
) -> None:
    async with local_world(tmp_path, hsm) as world:
        await world.create("timed", GUARDED)
        await world.broker.block_now(
            StatusCall(key_name="timed"), [BEN.approve(ApprovalToken(Action.BLOCK, b"timed", None, None, None))]
        )
        requests = {
            await ask(world, "unblock", StatusCall(key_name="timed")): b"",
            await world.ask_change("timed", EMPTY_POLICY): None,
        }
        blocked_at = (await world.broker._executor.key("timed")).last_blocked
        for request_id, payload in requests.items():
            (task,) = await world.tasks(ADA, request_id=request_id, detail_level=4)
            token = decode_approval(task.approval_to_be_signed)
            assert token.timestamp is not None
            stamp = decode_timestamp(token.timestamp)
            assert stamp.action_payload == (payload or task.payload or None)
            if payload is not None:
                assert stamp.seconds > blocked_at


@pytest.mark.rule("R15")
async def test_r15_an_unblock_stamped_before_the_last_block_ends_with_a_reason_instead_of_hanging(
    tmp_path: Path,
) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("vault", GUARDED)
        await self_block(world)
        world.clock.advance(2)
        old = await ask(world, "unblock", StatusCall(key_name="vault"))
        world.clock.advance(2)
        await self_block(world)
        view = await world.view(old)
        assert view.status is RequestStatus.EXPIRED
        assert view.failure is not None
        assert "blocked again" in view.failure
        assert await world.tasks(ADA) == []
        world.clock.advance(2)
        new = await ask(world, "unblock", StatusCall(key_name="vault"))
        for officer in (ADA, BEN):
            await world.approve(officer, new)
        assert (await world.view(new)).status is RequestStatus.EXECUTED
        assert hsm.executed == ["block vault", "block vault", "unblock vault"]


async def self_block(world: World) -> None:
    """Ask for a block and approve it."""
    request_id = await ask(world, "block", StatusCall(key_name="vault"))
    await world.approve(BEN, request_id)
    assert (await world.view(request_id)).status is RequestStatus.EXECUTED


@pytest.mark.rule("R15")
@pytest.mark.parametrize("protected", [True, False])
async def test_r15_of_two_modifies_that_wait_only_one_is_made_whether_the_use_is_protected_or_not(
    tmp_path: Path, *, protected: bool
) -> None:
    use = quorum(1, ADA) if protected else Rule.ALWAYS
    policy = make_policy(use=use, block=quorum(1, ADA), unblock=quorum(1, ADA), modify=quorum(1, ADA))
    new = make_policy(use=use, block=quorum(1, BEN), unblock=quorum(1, ADA), modify=quorum(1, ADA))
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", policy)
        world.clock.advance(2)
        first, second = await world.ask_change("treasury", new), await world.ask_change("treasury", policy)
        world.clock.advance(2)
        await world.approve(ADA, first)
        assert (await world.view(first)).status is RequestStatus.EXECUTED
        view = await world.view(second)
        assert view.status is RequestStatus.EXPIRED
        world.clock.advance(2)
        await world.approve(ADA, await world.ask_change("treasury", policy))
        assert hsm.executed == ["modify treasury"] * 2


@pytest.mark.rule("R15")
@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("approval.stale-timestamp", RequestStatus.EXPIRED),
        ("approval.spent", RequestStatus.FAILED),
        ("approval.bad-signature", RequestStatus.PENDING),
    ],
)
async def test_r15_approvals_that_will_never_count_again_end_the_request_when_the_hsm_says_so(
    tmp_path: Path, word: str, status: RequestStatus
) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("vault", GUARDED)
        await self_block(world)
        world.clock.advance(2)
        request_id = await ask(world, "unblock", StatusCall(key_name="vault"))

        async def knowing(*_: object, **__: object) -> Any:
            raise ExecutionRefusedError(
                ErrorCode.MISSING_APPROVAL,
                "two are missing",
                refusal="approvals.missing",
                bad_approvals=[(0, word), (1, word)],
                receipt=b"receipt",
                receipt_signature=b"signed",
            )

        hsm.unblock = knowing  # type: ignore[method-assign]  # It knows of a block past this broker.
        for officer in (ADA, BEN):
            await world.approve(officer, request_id)
        view = await world.view(request_id)
        assert view.status is status
        assert view.failure
        assert (view.receipt, view.receipt_signature) == (b"receipt", b"signed")


async def test_only_keys_with_a_policy_are_blocked_and_only_blocked_ones_unblocked(
    tmp_path: Path, hsm: HsmProcess
) -> None:
    async with local_world(tmp_path, hsm) as world:
        await world.create("plain", None)
        await world.create("open", EMPTY_POLICY)
        plain, opened = StatusCall(key_name="plain"), StatusCall(key_name="open")
        for what in ("block", "unblock"):
            assert await refused(ask(world, what, plain)) == (ErrorCode.OPERATION_FORBIDDEN_FOR_KEY, "policy.none")
        assert (await refused(ask(world, "unblock", opened)))[1] == "key.not-blocked"
        # Where no approval is needed, the call that asks does it.
        for what in ("block", "unblock"):
            assert (await world.view(await ask(world, what, opened))).status is RequestStatus.EXECUTED
        assert (await refused(ask(world, "unblock", opened)))[1] == "key.not-blocked"


# --- receipts, lists, ends ---------------------------------------------------------------------------


@pytest.mark.rule("R24")
async def test_r24_every_executed_or_refused_request_holds_the_hsms_receipt(tmp_path: Path, hsm: HsmProcess) -> None:
    async with local_world(tmp_path, hsm) as world:
        made = await world.create("witnessed", GUARDED)
        receipt_key = made.attestation.receipt_key
        assert receipt_key
        signed = await world.ask_signature("witnessed", b"one")
        await world.approve(ADA, signed)
        doomed = await world.ask_signature("witnessed", b"two")
        block = await ask(world, "block", StatusCall(key_name="witnessed"))
        await world.approve(BEN, block)
        await world.approve(ADA, doomed)
        for request_id, action, outcome, status in (
            (signed, "sign", "executed", RequestStatus.EXECUTED),
            (block, "block", "executed", RequestStatus.EXECUTED),
            (doomed, "sign", "refused", RequestStatus.FAILED),
        ):
            view = await world.view(request_id)
            receipt = verify_receipt(view.receipt, view.receipt_signature, receipt_key_spki=receipt_key)
            assert view.status is status
            assert (receipt.request_id, receipt.action, receipt.outcome) == (request_id, action, outcome)
            assert receipt.key_uuid == made.attestation.uuid


@pytest.mark.rule("R24")
async def test_r24_a_synchronous_call_has_a_receipt_exactly_when_it_names_a_request(
    tmp_path: Path, hsm: HsmProcess
) -> None:
    async with local_world(tmp_path, hsm) as world:
        made = await world.create("direct", GUARDED)
        receipt_key = made.attestation.receipt_key
        assert receipt_key
        call = SignCall(payload=b"pay", key_name="direct", algorithm="SHA256_WITH_ECDSA")
        approvals = [ADA.approve_use("direct", b"pay")]
        assert (await world.broker.sign_now(call, approvals)).receipt == b""
        request_id = str(uuid.uuid4())
        done = await world.broker.sign_now(call, approvals, request_id=request_id)
        receipt = verify_receipt(done.receipt, done.receipt_signature, receipt_key_spki=receipt_key)
        assert (receipt.request_id, receipt.outcome) == (request_id, "executed")
        for name, expected in (("", False), (request_id, True)):
            with pytest.raises(ExecutionRefusedError) as caught:
                await world.broker.sign_now(call, [], request_id=name)
            assert bool(caught.value.receipt) is expected


async def test_the_hsms_time_can_be_had_by_itself_for_a_courier(tmp_path: Path, hsm: HsmProcess) -> None:
    async with local_world(tmp_path, hsm) as world:
        made = await world.create("far-away", GUARDED)
        stamp = await world.broker.stamp_now("far-away", Action.USE, b"pay")
        assert stamp.key_name == made.attestation.integrity_key_name
        assert decode_timestamp(stamp.timestamp).action_payload == b"pay"
        assert (await refused(world.broker.stamp_now("nobody", Action.USE, b"pay")))[0] is ErrorCode.KEY_NOT_EXISTENT


async def test_requests_are_listed_by_status_newest_first(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, _):
        await world.create("treasury", make_policy(use=quorum(1, ADA)))
        made = []
        for number in range(3):
            made.append(await world.ask_signature("treasury", b"%d" % number))
            world.clock.advance(1)
        await world.approve(ADA, made[1])
        listed = world.broker.requests_by_status
        assert await listed([RequestStatus.PENDING]) == [
            (made[2], RequestStatus.PENDING),
            (made[0], RequestStatus.PENDING),
        ]
        assert [each[0] for each in await listed(set(RequestStatus))] == list(reversed(made))
        assert await listed([RequestStatus.EXPIRED]) == await listed([]) == []


async def test_deleting_a_key_leaves_the_requests_of_its_successor_alone(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("phoenix", make_policy(use=quorum(1, ADA)))
        old = await world.ask_signature("phoenix")
        delete = hsm.delete
        successors = []

        async def then_made_again(operation_id: bytes, label: str, *, sealed_password: bytes = b"") -> None:
            # The answer is on its way; meanwhile somebody makes the key anew and asks for a signature.
            await delete(operation_id, label)
            hsm.put(label, make_policy(use=quorum(1, ADA)), generation=2)
            successors.append(await world.ask_signature(label))

        hsm.delete = then_made_again  # type: ignore[method-assign]  # In this test alone.
        await world.broker.delete_key("phoenix")
        assert (await world.view(old)).status is RequestStatus.CANCELLED
        assert (await world.view(successors[0])).status is RequestStatus.PENDING
        await world.approve(ADA, successors[0])
        assert (await world.view(successors[0])).status is RequestStatus.EXECUTED


async def test_what_was_executed_cannot_be_cancelled_and_nobody_is_told_that_it_was(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", make_policy(use=quorum(1, ADA)))
        executed, pending = await world.ask_signature("treasury"), await world.ask_signature("treasury")
        await world.approve(ADA, executed)
        # Clients of the documented server take 404 for "nothing left to cancel", and stop at any other refusal.
        assert await refused(world.broker.cancel(executed)) == (ErrorCode.REQUEST_NOT_EXISTENT, "request.closed")
        assert ErrorCode.REQUEST_NOT_EXISTENT.http_status == 404
        assert (await world.view(executed)).status is RequestStatus.EXECUTED
        await world.broker.cancel(pending)
        await world.broker.cancel(pending)
        assert (await world.view(pending)).status is RequestStatus.CANCELLED
        assert hsm.executed == ["sign treasury"]


async def test_block_and_use_that_race_leave_one_order_and_every_request_with_its_outcome(
    tmp_path: Path, hsm: HsmProcess
) -> None:
    async with local_world(tmp_path, hsm) as world:
        await world.create("race", GUARDED)
        uses = [await world.ask_signature("race", b"%d" % number) for number in range(4)]
        block = await ask(world, "block", StatusCall(key_name="race"))
        await asyncio.gather(*(world.approve(ADA, each) for each in uses), world.approve(BEN, block))
        assert (await world.view(block)).status is RequestStatus.EXECUTED
        statuses = [(await world.view(each)).status for each in uses]
        assert set(statuses) <= {RequestStatus.EXECUTED, RequestStatus.FAILED}


async def test_every_change_can_be_made_at_once_with_ready_made_approvals(tmp_path: Path, hsm: HsmProcess) -> None:
    async with local_world(tmp_path, hsm) as world:
        await world.create("hands-on", make_policy(use=quorum(1, ADA)))
        call = StatusCall(key_name="hands-on")
        token = ApprovalToken(Action.BLOCK, b"hands-on", None, None, None)
        assert (await refused(world.broker.block_now(call, [])))[1] == "approvals.missing"
        assert (await world.broker.block_now(call, [ADA.approve(token)])).value.attestation.blocked
        token = ApprovalToken(Action.UNBLOCK, b"hands-on", None, None, None)
        assert not (await world.broker.unblock_now(call, [ADA.approve(token)])).value.attestation.blocked
        change = ModifyCall(key_name="hands-on", policy=make_policy(use=quorum(1, BEN)))
        assert (await refused(world.broker.modify_now(change, [])))[1] == "approvals.missing"
        approvals = [ADA.approve_modify("hands-on", encode_policy(change.policy))]
        assert (await world.broker.modify_now(change, approvals)).value.attestation.policy == change.policy
