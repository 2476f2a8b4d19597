"""Deleted keys lie sealed for a time: an administrator brings one back, or the HSM's clock erases it (R28)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.deleted_keys import DAY
from keyturn.hsm.protocol import Refused, Signed
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken
from keyturn.ska.policy import encode_policy
from keyturn_testing.hsm_room import Room
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.rule("R28")

ADA, EVE = Officer("ada"), Officer("eve", "RSA")
SHA = "SHA256_WITH_ECDSA"


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """An engine on a clock that the test sets."""
    made = Room(tmp_path / "store")
    yield made
    made.close()


def create(room: Room, label: str = "treasury", **attributes: bool) -> str:
    room.create(label, make_policy(quorum(1, ADA)), destroyable=True, **attributes)
    return uuid_of(room, label)


def uuid_of(room: Room, label: str) -> str:
    record = room.store.key(label)
    assert record is not None
    return record.uuid


def delete(room: Room, label: str = "treasury") -> Any:
    return room.ask(protocol.DeleteKey(operation_id(), label))


def sign(room: Room, approvals: list[bytes], label: str = "treasury") -> Any:
    return room.ask(protocol.Sign(operation_id(), label, b"pay", SHA, "", approvals))


def unstamped(label: str = "treasury") -> list[bytes]:
    return [ADA.approve(ApprovalToken(Action.USE, label.encode(), None, None, b"pay"))]


def test_a_deleted_key_is_gone_for_everybody_and_can_be_brought_back(room: Room) -> None:
    uuid = create(room)
    assert isinstance(sign(room, unstamped()), Signed)
    public_key = room.ask(protocol.Lookup("treasury")).public_key
    assert isinstance(delete(room), protocol.Done)
    gone = sign(room, unstamped())
    assert isinstance(gone, Refused)
    assert gone.refusal == "key.unknown"
    assert room.ask(protocol.ListKeys()).labels == []
    (listed,) = room.engine.deleted_keys.listed("").keys
    assert (listed.label, listed.uuid, listed.governed) == ("treasury", uuid, True)
    assert listed.erased == listed.deleted + 30 * DAY
    room.engine.deleted_keys.restore(uuid, "")
    facts = room.ask(protocol.Lookup("treasury"))
    assert (facts.uuid, facts.public_key, facts.generation) == (uuid, public_key, 2)
    assert room.engine.deleted_keys.listed("").keys == []


@pytest.mark.rule("R18")
def test_what_was_approved_before_the_deletion_does_not_count_after_it(room: Room) -> None:
    uuid = create(room)
    before = [ADA.approve(room.stamp("treasury", Action.USE, b"pay"))]
    assert isinstance(sign(room, before), Signed)
    room.clock.advance(60)
    delete(room)
    room.clock.advance(60)
    room.engine.deleted_keys.restore(uuid, "")
    for stale in (unstamped(), before):
        refused = sign(room, stale)
        assert isinstance(refused, Refused)
        assert refused.refusal == "approvals.missing"
    room.clock.advance(1)
    assert isinstance(sign(room, [ADA.approve(room.stamp("treasury", Action.USE, b"pay"))]), Signed)


def test_what_a_single_use_key_has_consumed_comes_back_with_it(room: Room) -> None:
    uuid = create(room, singleUse=True)
    approvals = [ADA.approve(room.stamp("treasury", Action.USE, b"pay"))]
    assert isinstance(sign(room, approvals), Signed)
    assert room.store.consumed_count(uuid) == 1
    delete(room)
    assert room.store.consumed_count(uuid) == 1
    room.again()
    room.engine.deleted_keys.restore(uuid, "")
    assert room.store.consumed_count(uuid) == 1
    room.again()
    assert room.store.consumed_count(uuid) == 1
    assert room.store.uses(uuid) == 1


def test_results_from_before_the_deletion_stay_away(room: Room) -> None:
    uuid = create(room)
    call = protocol.Sign(operation_id(), "treasury", b"pay", SHA, "", unstamped())
    assert isinstance(room.ask(call), Signed)
    assert isinstance(room.ask(call), Signed)
    room.clock.advance(60)
    delete(room)
    room.engine.deleted_keys.restore(uuid, "")
    refused = room.ask(call)
    assert isinstance(refused, Refused)
    assert refused.refusal == "operation.other-key"


def test_key_exists(room: Room) -> None:
    """A label that is taken meanwhile stays with who has it; another one will do."""
    uuid = create(room)
    delete(room)
    successor = create(room)
    with pytest.raises(KeyturnError) as refused:
        room.engine.deleted_keys.restore(uuid, "")
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.KEY_ALREADY_EXISTING, "key.exists")
    with pytest.raises(KeyturnError) as refused:
        room.engine.deleted_keys.restore(uuid, "transport-key")
    assert refused.value.refusal == "label.system-key"
    room.engine.deleted_keys.restore(uuid, "treasury-2")
    assert (uuid_of(room, "treasury"), uuid_of(room, "treasury-2")) == (successor, uuid)
    room.again()
    assert (uuid_of(room, "treasury"), uuid_of(room, "treasury-2")) == (successor, uuid)


def test_deleted_unknown(room: Room) -> None:
    uuid = create(room)
    for act in (room.engine.deleted_keys.erase, lambda one: room.engine.deleted_keys.restore(one, "")):
        with pytest.raises(KeyturnError) as refused:
            act(uuid)  # It is there, and not deleted.
        assert (refused.value.code, refused.value.refusal) == (ErrorCode.KEY_NOT_EXISTENT, "deleted.unknown")
    delete(room)
    room.engine.deleted_keys.erase(uuid)
    with pytest.raises(KeyturnError) as refused:
        room.engine.deleted_keys.restore(uuid, "")
    assert refused.value.refusal == "deleted.unknown"


def test_after_its_time_the_hsms_clock_erases_it(room: Room) -> None:
    uuid = create(room)
    room.ask(protocol.Block(operation_id(), "treasury", [ADA.approve(ApprovalToken(Action.BLOCK, b"treasury"))]))
    delete(room)
    assert room.store.ledger_size > 0
    room.clock.advance(30 * DAY - 1)
    room.engine.deleted_keys.sweep()
    assert len(room.engine.deleted_keys.listed("").keys) == 1
    room.clock.advance(1)
    room.engine.deleted_keys.sweep()
    assert room.engine.deleted_keys.listed("").keys == []
    assert room.store.ledger_size == 0
    room.again()
    assert room.engine.deleted_keys.listed("").keys == []
    assert room.store.uses(uuid) == 0


def test_a_clock_that_is_not_believed_erases_nothing(room: Room) -> None:
    create(room)
    delete(room)
    room.clock.advance(400 * DAY)  # Beyond the bound: a person must confirm it.
    room.engine.deleted_keys.sweep()
    assert len(room.engine.deleted_keys.listed("").keys) == 1


def test_a_key_that_is_not_destroyable_is_not_deleted(room: Room) -> None:
    room.create("kept", make_policy(quorum(1, ADA)))
    refused = delete(room, "kept")
    assert isinstance(refused, Refused)
    assert refused.refusal == "key.not-destroyable"
    assert isinstance(delete(room, "kept"), Refused)
    create(room)
    assert isinstance(delete(room), protocol.Done)


@pytest.mark.rule("R18")
@pytest.mark.rule("R21")
def test_deleted_derived_name(room: Room) -> None:
    """A derived key comes back as `master/path`: under a label with a past, approvals of that past would serve."""
    create(room)
    hoarded = unstamped()
    assert isinstance(sign(room, hoarded), Signed)
    delete(room)
    attributes = {"sign": True, "decrypt": False, "unwrap": False, "destroyable": True, "derive": True, "bip32": True}
    policy = encode_policy(make_policy(quorum(1, ADA)))
    made = room.ask(protocol.CreateKey(operation_id(), "purse", "EC", P256, 0, attributes, policy, blocked=False))
    assert isinstance(made, protocol.Attested), made
    assert isinstance(room.ask(protocol.DeriveKey(operation_id(), "purse", "0/1", {})), protocol.Attested)
    uuid = uuid_of(room, "purse/0/1")
    delete(room, "purse/0/1")
    for label in ("treasury", "purse/0/2"):
        with pytest.raises(KeyturnError) as refused:
            room.engine.deleted_keys.restore(uuid, label)
        assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_KEY_NAME, "deleted.derived-name")
    assert sign(room, hoarded).refusal == "key.unknown"
    room.engine.deleted_keys.restore(uuid, "")
    assert sign(room, hoarded, "purse/0/1").refusal == "approvals.missing"
    assert isinstance(sign(room, unstamped("purse/0/1"), "purse/0/1"), Signed)
    # With its master it goes, and comes back under what that is called by then.
    master = uuid_of(room, "purse")
    delete(room, "purse")
    with pytest.raises(KeyturnError) as refused:
        room.engine.deleted_keys.restore(uuid, "")
    assert refused.value.refusal == "deleted.master-gone"
    room.engine.deleted_keys.restore(master, "wallet")
    room.engine.deleted_keys.restore(uuid, "wallet/0/1")
    room.again()
    assert uuid_of(room, "wallet/0/1") == uuid
