"""Keys that a worker makes: what the HSM learns meanwhile counts, as if making had taken no time."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.hsm import protocol
from keyturn.ska.policy import encode_policy
from keyturn_testing.hsm_room import Room
from keyturn_testing.keys import operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

POLICY = encode_policy(make_policy(quorum(1, Officer("ada"))))


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    made = Room(tmp_path / "store")
    yield made
    await made.workers.close()
    made.close()


def slow(label: str, policy: bytes = b"") -> protocol.CreateKey:
    """A key that is slow to make, though not very."""
    return protocol.CreateKey(operation_id(), label, "SLH-DSA-SHA2-128f", "", 0, {"sign": True}, policy, blocked=False)


def put_back(room: Room, tmp_path: Path) -> protocol.Witness:
    """Put an older store into the room; evidence that it is one."""
    room.store.close()
    shutil.copytree(room.directory, tmp_path / "kept")
    room.again()
    call = protocol.CreateKey(operation_id(), "lost", "ED", "1.3.101.112", 0, {"sign": True}, b"", blocked=False)
    attested: Any = room.ask(call)
    room.store.close()
    shutil.rmtree(room.directory)
    shutil.copytree(tmp_path / "kept", room.directory)
    room.again()
    return protocol.Witness("attestation", attested.xml.encode(), attested.signature)


@pytest.mark.rule("R6")
async def test_r6_a_key_with_a_policy_is_not_made_when_the_store_turns_out_to_be_an_older_one_meanwhile(
    room: Room, tmp_path: Path
) -> None:
    witness = put_back(room, tmp_path)
    protected, ordinary = slow("vault", POLICY), slow("ordinary")
    making = [room.engine.handle(call, "test") for call in (protected, ordinary)]
    # In the same turn, so before any worker has answered.
    assert room.ask(witness) == protocol.Done()
    refused, made = [await answer for answer in making]  # type: ignore[misc]  # Both are slow.
    assert isinstance(refused, protocol.Refused)
    assert (refused.code, refused.refusal) == ("IN_HSM", "store.rolled-back")
    assert isinstance(made, protocol.Attested), made
    assert room.ask(protocol.ListKeys()) == protocol.Labels(["ordinary"])
    # The label is free again, and once the rollback is accepted the same call is a new one.
    room.engine.rollback.accept(*(room.store.witnessed or (0, 0)))
    again = await room.engine.handle(protected, "test")  # type: ignore[misc]
    assert isinstance(again, protocol.Attested), again


async def test_a_label_is_taken_while_its_key_is_made(room: Room) -> None:
    making = room.engine.handle(slow("k"), "test")
    for other in (slow("k"), protocol.CreateKey(operation_id(), "k", "AES", "", 256, {"decrypt": True}, b"", False)):
        refused = room.ask(other)
        assert isinstance(refused, protocol.Refused)
        assert refused.refusal == "key.exists"
    assert isinstance(await making, protocol.Attested)  # type: ignore[misc]
