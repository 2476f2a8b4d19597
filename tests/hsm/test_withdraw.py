"""An officer takes an approval back, and the HSM remembers (R26)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from keyturn.errors import ErrorCode
from keyturn.hsm import protocol, withdrawing
from keyturn.hsm.client import HsmClient
from keyturn.hsm.ledger import LedgerKind
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.messages import ApprovalToken, encode_approval
from keyturn.ska.policy import TimeUnit, encode_policy
from keyturn.ska.signatures import api_signature_algorithm, scheme_for, wrap_signature
from keyturn_testing.hsm_actions import approve, refused, stamp, statement
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.hsm_room import Room
from keyturn_testing.keys import create_ec, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADA, BEN, EVE = Officer("ada"), Officer("ben", "ED"), Officer("eve", "RSA")
MALLORY = Officer("mallory")
POLICY = make_policy(quorum(2, ADA, BEN, EVE))
TASK = "6f1c4d58-8f5b-4a80-9d8e-6c7f2a2f0a11"
ECDSA = "SHA256_WITH_ECDSA"

pytestmark = pytest.mark.rule("R26")


def withdrawal(
    officer: Officer, label: str, approval: bytes, *, certificate: bool = False, signed: bytes | None = None
) -> protocol.Withdraw:
    """What the officer's client sends."""
    scheme = scheme_for(load_approver_key(officer.spki), officer.digest)
    data = b"WITHDRAW:" + approval + TASK.encode() if signed is None else signed
    return protocol.Withdraw(
        label,
        approval,
        TASK,
        wrap_signature(api_signature_algorithm(scheme), officer.sign(data)),
        None if certificate else officer.spki,
        officer.certificate if certificate else None,
    )


async def sign(client: HsmClient, label: str, approvals: list[bytes]) -> bytes:
    return await client.sign(operation_id(), label, b"pay 5", ECDSA, approvals=approvals)


@pytest.mark.parametrize("certificate", [False, True], ids=["by key", "by certificate"])
async def test_an_approval_that_was_taken_back_counts_no_more_and_that_of_others_does(
    client: HsmClient, label: str, hsm: HsmProcess, certificate: bool
) -> None:
    await create_ec(client, label, POLICY)
    approved = statement(label, Action.USE, b"pay 5")
    approvals = [ADA.approve(approved), BEN.approve(approved)]
    assert isinstance(await client.call(withdrawal(ADA, label, approved, certificate=certificate)), protocol.Done)
    assert (hsm.decisions()[-1]["kind"], hsm.decisions()[-1]["outcome"]) == ("withdraw", "granted")
    refusal = await refused(sign(client, label, approvals))
    assert refusal.bad_approvals == ((0, "approval.withdrawn"),)
    # Neither with another signature of hers nor by her certificate; but with Eve's it is enough.
    again = [ADA.approve(approved, certificate=True), BEN.approve(approved)]
    assert (await refused(sign(client, label, again))).bad_approvals == ((0, "approval.withdrawn"),)
    await sign(client, label, [*approvals, EVE.approve(approved)])


async def test_a_new_approval_with_a_timestamp_counts_again(client: HsmClient, label: str) -> None:
    await create_ec(client, label, POLICY)
    await client.call(withdrawal(ADA, label, statement(label, Action.USE, b"pay 5")))
    stamped = await stamp(client, label, Action.USE, b"pay 5")
    await sign(client, label, [approve(officer, label, Action.USE, b"pay 5", stamped) for officer in (ADA, BEN)])


async def test_the_same_withdrawal_twice_is_one(client: HsmClient, label: str) -> None:
    await create_ec(client, label, POLICY)
    approved = statement(label, Action.USE, b"pay 5")
    before = (await client.statistics())["ledgerLines"]
    for _ in range(3):
        await client.call(withdrawal(ADA, label, approved))
    assert (await client.statistics())["ledgerLines"] == before + 1


async def test_withdrawals_are_for_every_action(client: HsmClient, label: str) -> None:
    await create_ec(client, label, POLICY)
    new = encode_policy(make_policy(quorum(1, EVE)))
    approved = statement(label, Action.MODIFY, new)
    await client.call(withdrawal(BEN, label, approved))
    refusal = await refused(client.modify(operation_id(), label, new, [ADA.approve(approved), BEN.approve(approved)]))
    assert refusal.bad_approvals == ((1, "approval.withdrawn"),)
    await client.modify(operation_id(), label, new, [ADA.approve(approved), EVE.approve(approved)])


async def test_only_a_listed_signer_of_exactly_these_bytes_is_heard(client: HsmClient, label: str) -> None:
    await create_ec(client, label, POLICY)
    approved = statement(label, Action.USE, b"pay 5")
    good = withdrawal(ADA, label, approved)

    async def word(call: protocol.Withdraw) -> tuple[ErrorCode, str]:
        refusal = await refused(client.call(call))
        return refusal.code, refusal.refusal

    def changed(**changes: object) -> protocol.Withdraw:
        return msgspec.structs.replace(good, **changes)

    bad = ErrorCode.VALIDATION_FAILED
    assert await word(withdrawal(MALLORY, label, approved)) == (bad, "withdrawal.unlisted-key")
    assert await word(changed(label=f"{label}-unknown")) == (ErrorCode.KEY_NOT_EXISTENT, "key.unknown")
    assert await word(changed(approval=approved[:-1])) == (bad, "withdrawal.no-approval")
    assert await word(changed(task_id="ä")) == (bad, "withdrawal.task-id")
    assert await word(changed(task_id="")) == (bad, "withdrawal.task-id")
    assert await word(changed(certificate=ADA.certificate)) == (bad, "withdrawal.signer")
    assert await word(changed(spki=None)) == (bad, "withdrawal.signer")
    other = statement(f"{label}-x", Action.USE, b"pay 5")
    assert await word(withdrawal(ADA, label, other)) == (bad, "withdrawal.wrong-key")
    # A signature over anything but word, approval and task: another task, the approval itself, a rejection.
    for call in (
        changed(task_id=TASK.replace("6", "7")),
        changed(spki=BEN.spki),
        withdrawal(ADA, label, approved, signed=approved),
        withdrawal(ADA, label, approved, signed=b"REJECTED:" + approved + TASK.encode()),
        withdrawal(ADA, label, approved, signed=b"WITHDRAW:" + approved),
    ):
        code, refusal = await word(call)
        assert (code, refusal.split(".")[0]) in {
            (ErrorCode.INVALID_SIGNATURE, "approval"),
            (ErrorCode.VALIDATION_FAILED, "approval"),
        }
    approvals = [ADA.approve(approved), BEN.approve(approved)]
    await sign(client, label, approvals)
    await client.call(good)
    await refused(sign(client, label, approvals))


async def test_an_ordinary_key_has_no_approvals_to_withdraw(client: HsmClient, label: str) -> None:
    await create_ec(client, label)
    refusal = await refused(client.call(withdrawal(ADA, label, statement(label, Action.USE, b"x"))))
    assert refusal.refusal == "policy.none"


# --- more withdrawals than are remembered -----------------------------------------------------------------


MINUTE = make_policy(quorum(2, ADA, BEN, EVE, timeout=60, unit=TimeUnit.SECONDS), modify=quorum(1, BEN))
HOUR = make_policy(quorum(2, ADA, BEN, EVE, timeout=3600, unit=TimeUnit.SECONDS), modify=quorum(1, BEN))


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """A key whose approvals last a minute, and which remembers three withdrawals of each signer."""
    monkeypatch.setattr(withdrawing, "MAX_WITHDRAWALS", 3)
    made = Room(tmp_path / "store")
    made.create("k", MINUTE)
    made.clock.advance(5)
    yield made
    made.close()


def use(token: ApprovalToken, *signers: Officer) -> protocol.Sign:
    return protocol.Sign(operation_id(), "k", b"pay 5", ECDSA, "", [officer.approve(token) for officer in signers])


def take_back(room: Room, officer: Officer, token: ApprovalToken) -> Any:
    return room.ask(withdrawal(officer, "k", encode_approval(token)))


def taken_back_and_forgotten(room: Room) -> tuple[ApprovalToken, ApprovalToken]:
    """Ada withdraws four approvals, the last when the others have closed; the newest closed one and the last."""
    taken_back = []
    for _ in range(3):
        room.clock.advance(1)
        taken_back.append(room.stamp("k", Action.USE, b"pay 5"))
        assert isinstance(take_back(room, ADA, taken_back[-1]), protocol.Done)
    room.clock.advance(61)
    last_one = room.stamp("k", Action.USE, b"pay 5")
    assert isinstance(take_back(room, ADA, last_one), protocol.Done)
    blob = encode_policy(HOUR)
    modified = room.ask(protocol.Modify(operation_id(), "k", blob, [BEN.approve(room.stamp("k", Action.MODIFY, blob))]))
    assert isinstance(modified, protocol.Attested)
    return taken_back[-1], last_one


def test_a_forgotten_withdrawal_does_not_come_back_with_a_longer_window(room: Room) -> None:
    closed, last_one = taken_back_and_forgotten(room)
    key = room.store.key("k")
    assert key is not None
    assert len(room.store.ledger(key.uuid, LedgerKind.WITHDRAWN)) == 1
    room.again()
    assert room.ask(use(closed, ADA, BEN)).bad_approvals == [(0, "approval.stale-timestamp")]
    assert room.ask(use(last_one, ADA, BEN)).bad_approvals == [(0, "approval.withdrawn")]
    # Others of the same moment count, and so does what Ada approves from now on.
    assert isinstance(room.ask(use(closed, BEN, EVE)), protocol.Signed)
    room.clock.advance(1)
    assert isinstance(room.ask(use(room.stamp("k", Action.USE, b"pay 5"), ADA, BEN)), protocol.Signed)


def test_attack_without_that_line_what_was_taken_back_would_count(room: Room) -> None:
    closed, _ = taken_back_and_forgotten(room)
    key = room.store.key("k")
    assert key is not None
    with room.store.change() as change:
        for line in room.store.ledger(key.uuid, LedgerKind.FORGOTTEN_WITHDRAWAL).values():
            change.drop_ledger(line)
    assert isinstance(room.ask(use(closed, ADA, BEN)), protocol.Signed)


def test_too_many_that_could_still_count_are_refused_withdrawal_too_many(room: Room) -> None:
    tokens = []
    for _ in range(4):
        room.clock.advance(1)
        tokens.append(room.stamp("k", Action.USE, b"pay 5"))
    for token in tokens[:3]:
        assert isinstance(take_back(room, ADA, token), protocol.Done)
    assert take_back(room, ADA, tokens[3]).refusal == "withdrawal.too-many"
    assert isinstance(take_back(room, BEN, tokens[3]), protocol.Done)
    room.clock.advance(61)
    assert isinstance(take_back(room, ADA, tokens[3]), protocol.Done)


async def test_withdrawals_survive_kill_9_and_a_deletion(tmp_path_factory: pytest.TempPathFactory) -> None:
    with HsmProcess(tmp_path_factory.mktemp("hsm") / "data") as own:
        client = await HsmClient.connect(own.address)
        await create_ec(client, "k", POLICY, destroyable=True)
        approved = statement("k", Action.USE, b"pay 5")
        await client.call(withdrawal(ADA, "k", approved))
        await client.close()
        own.kill()
        own.start()
        client = await HsmClient.connect(own.address)
        approvals = [ADA.approve(approved), BEN.approve(approved)]
        assert (await refused(sign(client, "k", approvals))).bad_approvals == ((0, "approval.withdrawn"),)
        assert (await client.statistics())["ledgerLines"] == 1
        await client.delete(operation_id(), "k")
        assert (await client.statistics())["ledgerLines"] == 1  # The key may come back, and does not forget them (R28).
        await client.close()
