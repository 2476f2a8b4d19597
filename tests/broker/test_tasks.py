"""Tasks: who sees what, in which order, proven how; and what is refused as an approval."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Executable, select

from keyturn.broker.approvals import REJECTED
from keyturn.broker.approver_calls import Page, Signer, SortOrder
from keyturn.broker.calls import RequestKind
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage.tables import evidence, spent_timestamps
from keyturn.clock import iso
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken, decode_approval, encode_approval
from keyturn.ska.policy import encode_policy
from keyturn_testing.broker_world import memory_world, opened
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keyturn.broker.answers import TaskView
    from keyturn_testing.broker_world import World

ADA, BEN, EVE = Officer("ada", "P-256"), Officer("ben", "RSA"), Officer("eve", "ED")
MALLORY = Officer("mallory", "P-256")
TWO_OF_THREE = make_policy(use=quorum(2, ADA, BEN, EVE))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with memory_world(tmp_path) as (world, _):
        await world.create("treasury", TWO_OF_THREE)
        yield world


async def refused(world: World, officer: Officer, task: TaskView, **defect: Any) -> KeyturnError:
    with pytest.raises(KeyturnError) as caught:
        await world.broker.approve(world.approval(officer, task, **defect))
    return caught.value


# --- fetching ---


async def test_every_level_shows_what_it_should_and_nothing_above(world: World) -> None:
    request_id = await world.ask_signature(
        "treasury", b"pay", payload_type="PDF", meta_data=b"invoice 7", meta_data_signature=b"claimed"
    )
    (one,) = await world.tasks(ADA, detail_level=1)
    assert (one.request_id, one.kind, one.action, one.key_name) == (
        request_id,
        RequestKind.SIGN,
        Action.USE,
        "treasury",
    )
    assert decode_approval(one.approval_to_be_signed) == ApprovalToken(Action.USE, b"treasury", None, None, b"pay")
    assert one.approver_spki == ADA.spki
    assert (one.payload, one.request_json, one.timestamp, one.key_attributes) == (None, None, None, None)
    (two,) = await world.tasks(ADA, detail_level=2)
    assert (two.payload, two.payload_type, two.meta_data, two.meta_data_signature) == (
        b"pay",
        "PDF",
        b"invoice 7",
        b"claimed",
    )
    assert two.request_json is None
    (three,) = await world.tasks(ADA, detail_level=3)
    assert three.request_json == b'{"signRequest":{}}'
    (five,) = await world.tasks(ADA, detail_level=5)
    assert (five.key_attributes, five.key_attributes_signature) == ("<treasury/>", b"signed")
    for level in (0, 6):
        with pytest.raises(KeyturnError) as caught:
            await world.tasks(ADA, detail_level=level)
        assert caught.value.refusal == "query.detail-level"


async def test_a_change_of_policy_carries_the_hsm_timestamp_at_level_four(world: World) -> None:
    await world.ask_change("treasury", make_policy(use=quorum(1, ADA, BEN)))
    (task,) = await world.tasks(ADA, detail_level=4)
    token = decode_approval(task.approval_to_be_signed)
    assert token.payload == task.payload == encode_policy(make_policy(use=quorum(1, ADA, BEN)))
    assert token.timestamp == task.timestamp is not None
    assert token.timestamp_signature == task.timestamp_signature_with_algorithm is not None
    assert task.timestamp_signature_algorithm == "SHA256_WITH_ECDSA"


async def test_filters_pages_and_orders(world: World) -> None:
    signing = []
    for _ in range(3):
        world.clock.advance(1)
        signing.append(await world.ask_signature("treasury"))
    world.clock.advance(1)
    change = await world.ask_change("treasury", make_policy(use=quorum(1, ADA)))

    async def seen(**fields: Any) -> list[str]:
        world.clock.advance(1)
        return [task.request_id for task in await world.tasks(ADA, **fields)]

    def page(number: int, size: int, order: SortOrder) -> Page:
        return Page(number=number, size=size, order=order)

    assert await seen() == [*signing, change]
    assert await seen(kind=RequestKind.SIGN) == signing
    assert await seen(kind=RequestKind.MODIFY) == [change]
    assert await seen(request_id=signing[1]) == [signing[1]]
    (task,) = await world.tasks(ADA, request_id=signing[2])
    assert await seen(task_id=task.task_id, request_id="ignored beside the task id") == [signing[2]]
    assert await seen(page=page(0, 2, SortOrder.CREATION_DATE_DESC)) == [change, signing[2]]
    assert await seen(page=page(1, 3, SortOrder.CREATION_DATE_ASC)) == [change]
    assert await seen(page=page(9, 3, SortOrder.CREATION_DATE_ASC)) == []
    # Last fetched: the four of the very first query, then what was fetched alone, then page by page.
    await seen(request_id=signing[0])
    order = [task.request_id for task in await world.tasks(ADA, page=page(0, 9, SortOrder.LAST_FETCHED_DATE_DESC))]
    assert order[0] == signing[0]
    assert await seen(task_id="unknown") == []
    with pytest.raises(KeyturnError) as caught:
        await seen(page=page(0, 0, SortOrder.CREATION_DATE_ASC))
    assert caught.value.refusal == "query.paging"


async def test_last_fetched_begins_as_creation_and_follows_each_fetch(world: World) -> None:
    created = world.clock.now()
    await world.ask_signature("treasury")
    world.clock.advance(10)
    (first,) = await world.tasks(ADA)
    world.clock.advance(10)
    (second,) = await world.tasks(ADA)
    assert (first.last_fetched_at, second.last_fetched_at) == (created, created + 10)


async def test_an_approver_sees_their_own_tasks_only_and_a_stranger_none(world: World) -> None:
    await world.ask_signature("treasury")
    (of_ada,), (of_ben,) = await world.tasks(ADA), await world.tasks(BEN)
    assert of_ada.task_id != of_ben.task_id
    assert of_ada.approval_to_be_signed == of_ben.approval_to_be_signed
    assert await world.tasks(MALLORY) == []


async def test_a_certificate_and_its_bare_key_are_the_same_person(world: World) -> None:
    await world.ask_signature("treasury")
    (by_certificate,) = await world.tasks(BEN, signer=Signer(certificate=BEN.certificate))
    assert by_certificate.approver_spki == BEN.spki
    await world.broker.approve(world.approval(BEN, by_certificate, signer=Signer(certificate=BEN.certificate)))
    assert await world.tasks(BEN) == []


async def test_fetching_takes_one_query_however_many_tasks_there_are(world: World) -> None:
    database = world.broker._database
    for _ in range(20):
        await world.ask_signature("treasury")
    seen: list[Executable] = []
    compiled = database.compiler.text

    def noted(statement: Executable) -> Any:
        seen.append(statement)
        return compiled(statement)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database.compiler, "text", noted)
        assert len(await world.tasks(ADA, detail_level=4)) == 20
    assert sum("SELECT" in str(statement) for statement in seen) == 1


@pytest.mark.parametrize(
    ("offset", "word"),
    [(-601, "timestamp.stale"), (-600, None), (5, None), (6, "timestamp.ahead")],
)
async def test_timestamps_count_inside_their_window_only(world: World, offset: int, word: str | None) -> None:
    timestamp = iso(world.clock.now() + offset)
    if word is None:
        assert await world.tasks(ADA, **vars_of(ADA, timestamp)) == []
        return
    with pytest.raises(KeyturnError) as caught:
        await world.tasks(ADA, **vars_of(ADA, timestamp))
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.TIMESTAMP_OFF, word)


def vars_of(officer: Officer, timestamp: str) -> dict[str, Any]:
    return {"timestamp": timestamp, "timestamp_signature": officer.sign(timestamp.encode())}


async def test_the_signature_covers_the_timestamp_exactly_as_sent(world: World) -> None:
    await world.ask_signature("treasury")
    for text in ("2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00", "2023-11-14T22:13:20.123456789Z"):
        signature = ADA.sign(text.encode())
        assert len(await world.tasks(ADA, timestamp=text, timestamp_signature=signature)) == 1
        other = text.replace(":20", ":21")
        with pytest.raises(KeyturnError) as caught:
            await world.tasks(ADA, timestamp=other, timestamp_signature=signature)
        assert caught.value.code is ErrorCode.INVALID_SIGNATURE
    for text in (
        "2023-11-14",
        "2023-11-14T22:13:20",
        "2023-11-14 22:13:20Z",
        "2023-13-14T22:13:20Z",
        "٢023-11-14T22:13:20Z",
    ):
        with pytest.raises(KeyturnError) as caught:
            await world.tasks(ADA, **vars_of(ADA, text))
        assert caught.value.refusal == "timestamp.malformed"


async def test_a_query_names_its_signer_once(world: World) -> None:
    for signer in (Signer(), Signer(spki=ADA.spki, certificate=ADA.certificate)):
        with pytest.raises(KeyturnError) as caught:
            await world.tasks(ADA, signer=signer)
        assert (caught.value.code, caught.value.refusal) == (ErrorCode.VALIDATION_FAILED, "signer.missing")


# --- approvals ---


@pytest.mark.rule("R25")
async def test_r25_an_approval_is_stored_only_for_exactly_its_tasks_bytes(world: World) -> None:
    request_id = await world.ask_signature("treasury", b"pay 100")
    (task,) = await world.tasks(ADA)
    right = decode_approval(task.approval_to_be_signed)
    defects = {
        "approval.wrong-payload": encode_approval(replace(right, payload=b"pay 101")),
        "approval.wrong-label": encode_approval(replace(right, label=b"treasury2")),
        "approval.wrong-operation": encode_approval(ApprovalToken(Action.BLOCK, b"treasury", None, None, None)),
        "approval.malformed": task.approval_to_be_signed[:-1],
    }
    for word, approval in defects.items():
        error = await refused(world, ADA, task, approval=approval)
        assert (error.code, error.refusal) == (ErrorCode.INVALID_SIGNATURE, word)
    assert (await world.view(request_id)).approved_by == ()
    await world.broker.approve(world.approval(ADA, task))
    assert (await world.view(request_id)).approved_by == (ADA.spki,)


@pytest.mark.rule("R25")
async def test_r25_an_approval_with_another_timestamp_is_not_stored(world: World) -> None:
    await world.ask_change("treasury", make_policy(use=quorum(1, ADA)))
    (task,) = await world.tasks(ADA)
    unstamped = replace(decode_approval(task.approval_to_be_signed), timestamp=None, timestamp_signature=None)
    error = await refused(world, ADA, task, approval=encode_approval(unstamped))
    assert error.refusal == "approval.wrong-timestamp"
    await world.broker.approve(world.approval(ADA, task))


async def test_a_signature_that_differs_in_one_bit_is_refused(world: World) -> None:
    await world.ask_signature("treasury")
    for officer in (BEN, EVE):
        (task,) = await world.tasks(officer)
        signature = bytearray(officer.sign(task.approval_to_be_signed))
        signature[40] ^= 1
        error = await refused(world, officer, task, signature=bytes(signature))
        assert (error.code, error.refusal) == (ErrorCode.INVALID_SIGNATURE, "approval.bad-signature")
        await world.broker.approve(world.approval(officer, task))


async def test_a_task_takes_only_its_own_approver(world: World) -> None:
    await world.ask_signature("treasury")
    (task,) = await world.tasks(ADA)
    for other in (BEN, MALLORY):
        error = await refused(world, other, task)
        assert (error.code, error.refusal) == (ErrorCode.SECURITY_NOT_ALLOWED, "task.wrong-approver")
    error = await refused(world, ADA, task, task_id="no such task")
    assert (error.code, error.refusal) == (ErrorCode.TASK_NOT_EXISTENT, "task.unknown")
    await world.broker.approve(world.approval(ADA, task))


async def test_an_approval_for_another_task_of_the_same_person_is_refused(world: World) -> None:
    first, second = await world.ask_signature("treasury", b"one"), await world.ask_signature("treasury", b"two")
    (one,), (two,) = await world.tasks(ADA, request_id=first), await world.tasks(ADA, request_id=second)
    error = await refused(world, ADA, one, task_id=two.task_id)
    assert error.refusal == "approval.wrong-payload"
    await world.broker.approve(world.approval(ADA, one))
    assert (await world.view(second)).approved_by == ()


async def test_a_second_approval_by_the_same_person_is_refused_and_counts_nothing(world: World) -> None:
    request_id = await world.ask_signature("treasury")
    task = await world.approve(ADA)
    error = await refused(world, ADA, task)
    assert (error.code, error.refusal) == (ErrorCode.TASK_NOT_EXISTENT, "task.approved")
    assert (await world.view(request_id)).status is RequestStatus.PENDING
    await world.approve(BEN)
    assert (await world.view(request_id)).status is RequestStatus.EXECUTED


# --- rejections ---


@pytest.mark.rule("R26")
async def test_r26_a_signed_rejection_with_or_without_the_task_id_counts_and_is_kept(world: World) -> None:
    request_id = await world.ask_signature("treasury")
    statement = b""
    for officer, suffix in ((ADA, True), (BEN, False)):
        (task,) = await world.tasks(officer)
        statement = REJECTED + task.approval_to_be_signed + (task.task_id.encode() if suffix else b"")
        for wrong in (statement + b"x", REJECTED + task.approval_to_be_signed[:-1]):
            error = await refused(world, officer, task, approval=wrong)
            assert (error.code, error.refusal) == (ErrorCode.INVALID_SIGNATURE, "rejection.wrong-task")
        error = await refused(world, officer, task, approval=statement, signature=officer.sign(statement[1:]))
        assert error.refusal == "approval.bad-signature"
        await world.broker.approve(world.approval(officer, task, approval=statement))
    view = await world.view(request_id)
    assert (view.status, view.rejected_by) == (RequestStatus.REJECTED, (ADA.spki, BEN.spki))
    everything = select(evidence.c.kind, evidence.c.statement).order_by(evidence.c.id)
    kept: list[tuple[Any, ...]] = await world.broker._database.read(lambda tx: tx.all(tuple, everything, {}))
    assert [kind for kind, _ in kept] == ["rejection", "rejection"]
    assert kept[1][1] == statement


@pytest.mark.rule("R26")
async def test_r26_the_rejection_of_another_task_with_the_same_bytes_does_not_serve(world: World) -> None:
    first, second = await world.ask_signature("treasury"), await world.ask_signature("treasury")
    (one,), (two,) = await world.tasks(ADA, request_id=first), await world.tasks(ADA, request_id=second)
    assert one.approval_to_be_signed == two.approval_to_be_signed
    statement = REJECTED + one.approval_to_be_signed + one.task_id.encode()
    error = await refused(world, ADA, two, approval=statement)
    assert error.refusal == "rejection.wrong-task"
    await world.broker.approve(world.approval(ADA, one, approval=statement))


def test_rejection_bytes_never_parse_as_an_approval() -> None:
    # Decisions 4: the first four bytes are a length no token has.
    token = encode_approval(ApprovalToken(Action.USE, b"treasury", None, None, b"pay"))
    decode_approval(token)
    for statement in (REJECTED + token, REJECTED + token + b"0b7e0a52-6c0f-4f0e-9d0c-2b1a33445566"):
        with pytest.raises(KeyturnError):
            decode_approval(statement)


@pytest.mark.rule("R26")
async def test_r26_a_signature_that_fetched_may_not_reject_even_after_a_restart(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, hsm):
        await world.create("treasury", TWO_OF_THREE)
        request_id = await world.ask_signature("treasury")
        query = world.query(ADA)
        (task,) = await world.broker.fetch_tasks(query)
    # Whoever saw the query tries to reject with its signature.
    async with opened(tmp_path, hsm, world.clock) as again:
        stolen = again.rejection(ADA, task.task_id, query.timestamp)
        with pytest.raises(KeyturnError) as caught:
            await again.broker.reject(replace(stolen, timestamp_signature=query.timestamp_signature))
        assert (caught.value.code, caught.value.refusal) == (
            ErrorCode.SECURITY_NOT_ALLOWED,
            "timestamp.already-used",
        )
        assert (await again.view(request_id)).rejected_by == ()
        again._ticks = 1000
        await again.broker.reject(again.rejection(ADA, task.task_id))
        assert (await again.view(request_id)).rejected_by == (ADA.spki,)


@pytest.mark.rule("R26")
async def test_r26_one_signed_timestamp_rejects_one_task(world: World) -> None:
    first, second = await world.ask_signature("treasury"), await world.ask_signature("treasury")
    (one,), (two,) = await world.tasks(ADA, request_id=first), await world.tasks(ADA, request_id=second)
    rejection = world.rejection(ADA, one.task_id)
    await world.broker.reject(rejection)
    with pytest.raises(KeyturnError) as caught:
        await world.broker.reject(replace(rejection, task_id=two.task_id))
    assert caught.value.refusal == "timestamp.already-used"
    await world.broker.reject(world.rejection(ADA, two.task_id))


async def test_spent_timestamps_are_forgotten_when_they_could_not_serve_any_more(world: World) -> None:
    everything = select(spent_timestamps.c.timestamp)

    async def spent() -> int:
        return len(await world.broker._database.read(lambda tx: tx.all(tuple, everything, {})))

    await world.tasks(ADA)
    world.clock.advance(600)
    await world.tasks(ADA)
    assert await spent() == 2
    world.clock.advance(61)
    await world.tasks(ADA)
    assert await spent() == 2


async def test_one_rejection_leaves_the_others_the_quorum_and_two_end_it(world: World) -> None:
    first, second = await world.ask_signature("treasury"), await world.ask_signature("treasury")
    await world.reject(ADA, first)
    await world.reject(ADA, second)
    assert (await world.view(first)).status is RequestStatus.PENDING
    await world.approve(BEN, first)
    await world.approve(EVE, first)
    assert (await world.view(first)).status is RequestStatus.EXECUTED
    await world.reject(EVE, second)
    view = await world.view(second)
    assert (view.status, view.rejected_by, view.not_yet_approved_by) == (
        RequestStatus.REJECTED,
        (ADA.spki, EVE.spki),
        (),
    )
    assert await world.tasks(BEN, request_id=second) == []


async def test_who_has_rejected_cannot_approve_later_nor_the_other_way_round(world: World) -> None:
    # Decisions 36.
    request_id = await world.ask_signature("treasury")
    (of_ada,), (of_ben,) = await world.tasks(ADA), await world.tasks(BEN)
    await world.broker.reject(world.rejection(ADA, of_ada.task_id))
    error = await refused(world, ADA, of_ada)
    assert (error.code, error.refusal) == (ErrorCode.TASK_NOT_EXISTENT, "task.rejected")
    await world.broker.approve(world.approval(BEN, of_ben))
    with pytest.raises(KeyturnError) as caught:
        await world.broker.reject(world.rejection(BEN, of_ben.task_id))
    assert caught.value.refusal == "task.approved"
    assert (await world.view(request_id)).approved_by == (BEN.spki,)


async def test_a_rejection_by_someone_else_or_with_a_bad_signature_is_refused(world: World) -> None:
    await world.ask_signature("treasury")
    (task,) = await world.tasks(ADA)
    with pytest.raises(KeyturnError) as caught:
        await world.broker.reject(world.rejection(BEN, task.task_id))
    assert caught.value.refusal == "task.wrong-approver"
    good = world.rejection(ADA, task.task_id)
    with pytest.raises(KeyturnError) as caught:
        await world.broker.reject(replace(good, timestamp_signature=BEN.sign(good.timestamp.encode())))
    assert caught.value.code is ErrorCode.INVALID_SIGNATURE
    await world.broker.reject(good)
