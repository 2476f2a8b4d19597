"""Restoring approvers' files under a governed backup key, against a broker in other hands (R3, R16, R23)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa

from keyturn.hsm import protocol
from keyturn.hsm.bound import statement_for
from keyturn.hsm.restoring import TRIES
from keyturn.ska.actions import Action
from keyturn.ska.approver_secrets import BACKUP_PASSWORD
from keyturn.ska.messages import ApprovalToken
from keyturn.ska.policy import Rule
from keyturn.ska.unwrap_flags import unwrap_payload_for
from keyturn_testing.approver_room import BACKUP_KEY, PASSWORD, ApproverRoom, opened, prepare
from keyturn_testing.keys import operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ADA = Officer("ada")
GOVERNED = make_policy(quorum(1, ADA), modify=quorum(1, ADA), block=Rule.ALWAYS)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a governed backup key and an onboarded approver, `phone`."""
    return asyncio.run(prepare(tmp_path_factory.mktemp("governed") / "store", GOVERNED))


@pytest.fixture(scope="module")
def prepared_bound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and the backup key has bound approvals."""
    return asyncio.run(prepare(tmp_path_factory.mktemp("bound") / "store", GOVERNED, bound=True))


@pytest_asyncio.fixture
async def room(tmp_path: Path, prepared: Path) -> AsyncIterator[ApproverRoom]:
    """An engine with a governed backup key and an onboarded approver, `phone`."""
    made = ApproverRoom(tmp_path / "store", GOVERNED, copy_of=prepared)
    yield made
    await made.workers.close()
    made.close()


@pytest_asyncio.fixture
async def bound_room(tmp_path: Path, prepared_bound: Path) -> AsyncIterator[ApproverRoom]:
    """The same, and the backup key has bound approvals."""
    made = ApproverRoom(tmp_path / "store", GOVERNED, copy_of=prepared_bound)
    yield made
    await made.workers.close()
    made.close()


def approved(call: Any, approval_of: Any = None) -> Any:
    """A call with Ada's approval of it, or of another one."""
    asked = approval_of or call
    payload = unwrap_payload_for(asked.attributes, asked.wrapped_key, asked.new_label)
    return msgspec.structs.replace(call, approvals=[ADA.approve_use(BACKUP_KEY, payload)])


async def refusal(room: ApproverRoom, call: Any) -> str:
    answer = await room.say(call)
    assert isinstance(answer, protocol.Refused), answer
    return answer.refusal


@pytest.mark.rule("R3", "R23")
@pytest.mark.parametrize("purpose", ["restore", "forgot", "change"])
async def test_r3_r23_what_is_restored_is_decided_by_the_policy(room: ApproverRoom, purpose: str) -> None:
    words = {"restore": {}, "forgot": {"password": "new"}, "change": {"password": "new", "old": PASSWORD}}[purpose]
    call = room.restoration("phone", purpose, **words)
    assert await refusal(room, call) == "approvals.missing"
    assert room.ask(protocol.GetRestoredCode("phone", call.operation_id)).code == ""
    done = await room.say(approved(call))
    assert isinstance(done, protocol.Attested)
    code = room.ask(protocol.GetRestoredCode("phone", call.operation_id)).code
    if purpose == "change":
        assert code == ""
        again = approved(room.restoration("phone"))
        await room.say(again)
        code = room.ask(protocol.GetRestoredCode("phone", again.operation_id)).code
    # Told as often as it is asked for, until it is used.
    file = opened(room.bring("phone", code), "new" if words else PASSWORD)
    assert isinstance(file.key, rsa.RSAPrivateKey)
    assert room.ask(protocol.GetRestoredCode("phone", call.operation_id)).code == ""


@pytest.mark.rule("R16", "R23")
async def test_r16_r23_an_approval_is_for_one_approver_purpose_and_password_and_serves_once(
    room: ApproverRoom,
) -> None:
    opened(room.bring("tablet", await room.make("tablet")))
    plain, tablet = room.restoration("phone"), room.restoration("tablet")
    forgot = room.restoration("phone", "forgot", "chosen by Ada")
    # What Ada approved for one approver, or as a plain restoration, opens nothing else.
    for other, given in ((tablet, plain), (forgot, plain), (plain, forgot), (plain, tablet)):
        assert await refusal(room, approved(other, given)) == "approvals.missing"
    # A broker in other hands has another password for what Ada approved.
    evil = room.sealed(BACKUP_PASSWORD, "phone", "chosen by the broker")
    swapped = msgspec.structs.replace(approved(forgot), backup_password=evil)
    assert await refusal(room, swapped) == "approver.restoration-differs"
    renamed = room.restoration("phone", "forgot", "chosen by the broker")
    assert await refusal(room, approved(renamed, forgot)) == "approvals.missing"
    # It has the backup of one approver restored for another.
    mixed = msgspec.structs.replace(approved(plain), approver="tablet")
    assert await refusal(room, mixed) == "approver.restoration-differs"
    code = await room.restored(approved(forgot))
    opened(room.bring("phone", code), "chosen by Ada")
    # And it brings the same approvals again, for as long as it likes.
    for used in (approved(forgot), approved(plain)):
        again = msgspec.structs.replace(used, operation_id=operation_id())
        assert await refusal(room, again) == "approver.restoration-differs"
        fresh = room.restoration("phone")
        assert await refusal(room, msgspec.structs.replace(fresh, approvals=used.approvals)) == "approvals.missing"


@pytest.mark.rule("R23")
async def test_r23_two_restorations_at_once_use_an_approval_once(room: ApproverRoom) -> None:
    first = approved(room.restoration("phone", "forgot", "new"))
    second = msgspec.structs.replace(first, operation_id=operation_id())
    answers = [room.engine.handle(call, "test") for call in (first, second)]
    found = [await answer for answer in answers]  # type: ignore[misc]  # Both wait for the worker.
    assert isinstance(found[0], protocol.Attested)
    assert isinstance(found[1], protocol.Refused)
    assert found[1].refusal == "approver.restoration-differs"
    # The same call again is answered and not executed.
    assert await room.say(first) == found[0]


@pytest.mark.rule("R31", "R23")
async def test_r31_r23_a_block_while_the_worker_works_counts(room: ApproverRoom) -> None:
    call = approved(room.restoration("phone", "forgot", "new"))
    answer: Any = room.engine.handle(call, "test")
    blocked = room.ask(protocol.Block(operation_id(), BACKUP_KEY, []))
    assert isinstance(blocked, protocol.Attested)
    refused = await answer
    assert refused.refusal == "key.blocked"
    assert room.ask(protocol.GetRestoredCode("phone", call.operation_id)).code == ""


@pytest.mark.rule("R7", "R23")
async def test_r7_r23_with_a_bound_backup_key_an_approval_is_for_one_request(bound_room: ApproverRoom) -> None:
    room = bound_room
    record = room.store.key(BACKUP_KEY)
    assert record is not None
    request = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
    call = msgspec.structs.replace(room.restoration("phone"), request_id=request)
    statement = statement_for(call, record)
    assert statement is not None
    approval = ADA.approve(ApprovalToken(Action.USE, BACKUP_KEY.encode(), None, None, statement))
    with_approval = msgspec.structs.replace(call, approvals=[approval])
    other = msgspec.structs.replace(with_approval, request_id=request.replace("6f", "7f"))
    assert await refusal(room, other) == "approvals.missing"
    opened(room.bring("phone", await room.restored(with_approval)))


@pytest.mark.rule("R23")
async def test_r23_who_is_not_onboarded_has_nothing_to_restore(room: ApproverRoom) -> None:
    code = await room.make("late")
    for purpose, password in (("restore", ""), ("forgot", "new")):
        refused = room.restoration("late", purpose, password)
        assert (refused.code, refused.refusal) == ("APPROVER_NOT_ONBOARDED", "approver.not-onboarded")
    # The file that waits follows a changed password.
    change = approved(room.restoration("late", "change", "second", PASSWORD))
    assert isinstance(await room.say(change), protocol.Attested)
    opened(room.bring("late", code), "second")
    opened(room.bring("late", await room.restored(approved(room.restoration("late")))), "second")


@pytest.mark.rule("R23", "R27")
async def test_r23_r27_backup_passwords_are_not_guessed_behind_an_approval(tmp_path: Path) -> None:
    room = ApproverRoom(tmp_path / "store")
    try:
        opened(room.bring("phone", await room.make("phone")))
        for _ in range(TRIES):
            assert await refusal(room, room.restoration("phone", "change", "x", "guess")) == "approver.backup-password"
        assert await refusal(room, room.restoration("phone", "change", "x", PASSWORD)) == "rate.limited"
        # Who does not know it goes by the other way, which the policy decides.
        opened(room.bring("phone", await room.restored(room.restoration("phone", "forgot", "y"))), "y")
    finally:
        await room.workers.close()
        room.close()


@pytest.mark.rule("R23", "R27")
async def test_r23_r27_a_password_that_no_file_can_have_is_refused_and_never_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    room = ApproverRoom(tmp_path / "store")
    try:
        sealed = room.sealed(BACKUP_PASSWORD, "phone", "be\x00hind")
        refused = await room.say(protocol.CreateApprover(operation_id(), "phone", 2048, 30, sealed))
        assert (refused.code, refused.refusal) == ("VALIDATION_FAILED", "approver.backup-password-form")
        opened(room.bring("phone", await room.make("phone", "behind")), "behind")
        # The library that opens files would end its process with a line that holds the password.
        wrong = await room.say(room.restoration("phone", "change", "new", "be\x00hind"))
        assert (wrong.code, wrong.refusal) == ("KEY_PASSWORD_MISMATCH", "approver.backup-password")
        # Before anybody is asked to approve it.
        assert room.restoration("phone", "forgot", "n\x00w").refusal == "approver.backup-password-form"
        assert isinstance(await room.say(room.restoration("phone", "change", "new", "behind")), protocol.Attested)
        assert "panicked" not in capfd.readouterr().err
    finally:
        await room.workers.close()
        room.close()


@pytest.mark.rule("R5", "R23")
async def test_r5_r23_a_backup_under_another_key_is_not_opened_with_this_one(room: ApproverRoom) -> None:
    await room.workers.close()
    room.close()
    room.settings = msgspec.structs.replace(room.settings, backup_key_name="other")
    room.open()
    policy = room.ask(protocol.Lookup(BACKUP_KEY)).policy
    made = protocol.CreateKey(operation_id(), "other", "RSA", "", 3072, {"unwrap": True}, policy, blocked=False)
    assert isinstance(await room.say(made), protocol.Attested)
    assert room.ask(protocol.GetRestoration("phone", "restore")).refusal == "backup-key.other"
    await room.workers.close()
    room.close()
    room.settings = msgspec.structs.replace(room.settings, backup_key_name=BACKUP_KEY)
    room.open()
    opened(room.bring("phone", await room.restored(approved(room.restoration("phone")))))
