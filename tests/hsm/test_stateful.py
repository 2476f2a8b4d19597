"""Keys of LMS and XMSS in the real HSM: each index signs once, whatever happens (R6, R28)."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.clock import SystemClock
from keyturn.crypto import registry
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.client import HsmClient
from keyturn.hsm.store import Store
from keyturn.ska.actions import Action
from keyturn.ska.attestation import attestation_to_json, parse_attestation
from keyturn.ska.policy import encode_policy
from keyturn.ska.policy_json import policy_from_json
from keyturn_testing.hsm_actions import approve, refused, stamp
from keyturn_testing.hsm_process import PASSPHRASE, HsmProcess
from keyturn_testing.hsm_room import Room
from keyturn_testing.keys import operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keyturn.ska.policy import Policy

pytestmark = pytest.mark.rule("R28")

ADA, BEN = Officer("ada"), Officer("ben", "ED")


async def _create(client: HsmClient, label: str, policy: Policy | None = None, **attributes: bool) -> protocol.Attested:
    return await client.create(
        operation_id(),
        label,
        "LMS",
        attributes={"sign": True, "decrypt": False, "unwrap": False, **attributes},
        policy=b"" if policy is None else encode_policy(policy),
    )


def _index(signature: bytes) -> int:
    return int.from_bytes(signature[4:8], "big")


async def _remaining(client: HsmClient, label: str) -> object:
    return attestation_to_json(parse_attestation((await client.attest(label)).xml))["remainingSignatures"]


async def test_r28_a_key_signs_once_with_each_index_and_then_no_more(client: HsmClient, label: str) -> None:
    made = parse_attestation((await _create(client, label)).xml)
    assert (made.algorithm, made.remaining_signatures) == ("HSS-LMS", 32)
    operation = operation_id()
    first = await client.sign(operation, label, b"same", "LMS")
    assert await client.sign(operation, label, b"same", "LMS") == first
    signatures = [first, *await asyncio.gather(*(client.sign(b"", label, b"same", "LMS") for _ in range(15)))]
    assert await _remaining(client, label) == 16
    signatures += await asyncio.gather(*(client.sign(operation_id(), label, b"same", "LMS") for _ in range(16)))
    assert sorted(map(_index, signatures)) == list(range(32))
    for signature in signatures:
        assert await client.verify(label, b"same", "LMS", signature)
        assert not await client.verify(label, b"sane", "LMS", signature)
    assert await _remaining(client, label) == 0
    for operation in (b"", operation_id()):
        none = await refused(client.sign(operation, label, b"same", "LMS"))
        assert (none.code, none.refusal) == (ErrorCode.IN_HSM, "stateful.exhausted")


async def test_r28_a_protected_key_gives_the_stored_signature_for_a_repeated_statement(
    client: HsmClient, label: str
) -> None:
    made = parse_attestation((await _create(client, label, make_policy(quorum(2, ADA, BEN)))).xml)
    assert made.attributes["singleUse"]
    timestamp = await stamp(client, label, Action.USE, b"pay")
    approvals = [approve(one, label, Action.USE, b"pay", timestamp) for one in (ADA, BEN)]
    missing = await refused(client.sign(operation_id(), label, b"pay", "LMS", approvals=approvals[:1]))
    assert missing.refusal == "approvals.missing"
    first = await client.sign(operation_id(), label, b"pay", "LMS", approvals=approvals)
    assert await client.sign(operation_id(), label, b"pay", "LMS", approvals=approvals) == first
    assert await _remaining(client, label) == 31


async def test_r28_a_key_without_single_use_never_becomes_a_protected_one(client: HsmClient, label: str) -> None:
    policy, _ = policy_from_json(
        {"ruleUse": None, "ruleBlock": None, "ruleUnblock": None, "ruleModify": None, "keyStatus": {"blocked": False}}
    )
    await _create(client, label, policy)
    never = await refused(client.modify(operation_id(), label, encode_policy(make_policy(quorum(1, ADA)))))
    assert never.refusal == "policy.stateful"
    await client.modify(operation_id(), label, encode_policy(policy))
    assert _index(await client.sign(operation_id(), label, b"x", "LMS")) == 0


@pytest.mark.rule("R6")
async def test_r6_r28_a_restored_store_signs_no_more_with_its_stateful_keys(tmp_path: Path) -> None:
    with HsmProcess(tmp_path / "first") as hsm:
        client = await HsmClient.connect(hsm.address)
        await _create(client, "k")
        await client.create(operation_id(), "e", "ED", curve_oid="1.3.101.112", attributes={"sign": True})
        assert _index(await client.sign(operation_id(), "k", b"x", "LMS")) == 0
        await client.close()
    store = Store.open(tmp_path / "first", PASSPHRASE, clock=SystemClock())
    store.backup(tmp_path / "backup")
    store.close()
    Store.restore(tmp_path / "backup", tmp_path / "second", PASSPHRASE, clock=SystemClock())
    for directory, refusal in (("second", "stateful.restored"), ("first", "")):
        with HsmProcess(tmp_path / directory) as hsm:
            client = await HsmClient.connect(hsm.address)
            assert await client.sign(operation_id(), "e", b"x", "EDDSA")
            if refusal:
                assert (await refused(client.sign(operation_id(), "k", b"x", "LMS"))).refusal == refusal
                assert await _remaining(client, "k") == 0
                # A new one is fine.
                await _create(client, "new")
                assert _index(await client.sign(operation_id(), "new", b"x", "LMS")) == 0
            else:
                assert _index(await client.sign(operation_id(), "k", b"x", "LMS")) == 1
            await client.close()


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    """An HSM with the LMS key `k`, whose store of that time is kept in `kept`."""
    made = Room(tmp_path / "data")
    answer = made.engine.handle(_lms("k"), "test")
    assert isinstance(await answer, protocol.Attested)  # type: ignore[misc]  # It is slow to make.
    assert _index(_signed(made, "k").signature) == 0
    made.close()
    shutil.copytree(made.directory, tmp_path / "kept")
    made.open()
    yield made
    await made.workers.close()
    made.close()


def _lms(label: str) -> protocol.CreateKey:
    return protocol.CreateKey(operation_id(), label, "LMS", "", 0, {"sign": True}, b"", blocked=False)


def _signed(room: Room, label: str) -> Any:
    return room.ask(protocol.Sign(operation_id(), label, b"x", "LMS", "", []))


async def _ends_for_good(room: Room) -> None:
    """The key does not sign, after a restart neither; one that is made now does."""
    for _ in range(2):
        refused = _signed(room, "k")
        assert isinstance(refused, protocol.Refused)
        assert (refused.code, refused.refusal) == ("IN_HSM", "stateful.restored")
        assert parse_attestation(room.ask(protocol.Attest("k")).xml).remaining_signatures == 0
        room.again()
    assert isinstance(await room.engine.handle(_lms("new"), "test"), protocol.Attested)  # type: ignore[misc]
    assert _index(_signed(room, "new").signature) == 0


@pytest.mark.rule("R6")
async def test_r6_r28_a_store_that_was_put_back_is_stopped_by_a_witness_and_stays_so_when_that_is_accepted(
    room: Room, tmp_path: Path
) -> None:
    assert _index(_signed(room, "k").signature) == 1
    attested = room.ask(protocol.Attest("k"))
    room.close()
    shutil.rmtree(room.directory)
    shutil.copytree(tmp_path / "kept", room.directory)
    room.open()
    assert room.ask(protocol.Witness("attestation", attested.xml.encode(), attested.signature)) == protocol.Done()
    refused = _signed(room, "k")
    assert isinstance(refused, protocol.Refused)
    assert refused.refusal == "stateful.restored"
    # Nothing is promised that is not kept: it may be the administrator's to accept, but is not known.
    assert parse_attestation(room.ask(protocol.Attest("k")).xml).remaining_signatures == 0
    room.engine.rollback.accept(*(room.store.witnessed or (0, 0)))
    assert room.store.witnessed is None
    await _ends_for_good(room)


@pytest.mark.rule("R6")
@pytest.mark.parametrize(("lost", "refusal"), [((), "store.older-than-log"), (("decisions.log",), "store.log-missing")])
async def test_r6_r28_an_older_file_that_was_put_back_ends_the_key_when_the_loss_of_the_log_is_accepted(
    room: Room, tmp_path: Path, lost: tuple[str, ...], refusal: str
) -> None:
    for index in (1, 2, 3):
        assert _index(_signed(room, "k").signature) == index
        room.again()
    room.close()
    # The file alone, as the copy that a migration keeps is put back: beside a newer log, or without any.
    shutil.copyfile(tmp_path / "kept" / "hsm.db", room.directory / "hsm.db")
    for name in lost:
        (room.directory / name).unlink()
    with pytest.raises(KeyturnError) as stopped:
        room.open()
    assert stopped.value.refusal == refusal
    room.open(accept_log_loss=True)
    await _ends_for_good(room)


@pytest.mark.rule("R6")
@pytest.mark.parametrize("lost", [1, 2])
async def test_r6_r28_an_older_file_that_lacks_no_more_than_a_crash_may_cost_skips_what_its_log_tells_of(
    room: Room, tmp_path: Path, lost: int
) -> None:
    room.again()
    for index in range(1, 1 + lost):
        assert _index(_signed(room, "k").signature) == index
        # Lines about other things and refused signatures cost no index.
        room.ask(protocol.Attest("k"))
        assert isinstance(room.ask(protocol.Sign(operation_id(), "k", b"x", "EDDSA", "", [])), protocol.Refused)
    room.close()
    shutil.copyfile(tmp_path / "kept" / "hsm.db", room.directory / "hsm.db")
    for index in (1 + lost, 2 + lost):
        room.open()
        assert room.store.log_losses == 0
        assert _index(_signed(room, "k").signature) == index
        room.close()
    room.open()


@pytest.mark.rule("R6")
async def test_r6_r28_the_newest_file_goes_on_where_it_was(room: Room, tmp_path: Path) -> None:
    """The counterpart of the tests above: nothing was lost, so nothing ends."""
    assert _index(_signed(room, "k").signature) == 1
    room.close()
    shutil.copytree(room.directory, tmp_path / "elsewhere")
    shutil.rmtree(room.directory)
    shutil.copytree(tmp_path / "elsewhere", room.directory)
    # Said where nothing is lost, it accepts nothing.
    room.open(accept_log_loss=True)
    assert _index(_signed(room, "k").signature) == 2


@pytest.mark.slow
async def test_r28_kill_9_at_any_moment_lets_no_index_out_twice(tmp_path: Path) -> None:
    """A client signs as fast as it can; whatever it received before a kill must not come again."""
    found: dict[int, bytes] = {}
    with HsmProcess(tmp_path / "data") as hsm:
        client = await HsmClient.connect(hsm.address)
        await _create(client, "k")
        public = (await client.lookup("k")).public_key
        await client.close()
        for moment in range(6):
            client = await HsmClient.connect(hsm.address)
            received: list[tuple[bytes, bytes]] = []

            async def load(client: HsmClient = client, received: list[tuple[bytes, bytes]] = received) -> None:
                while True:
                    payload = uuid.uuid4().bytes
                    received.append((payload, await client.sign(operation_id(), "k", payload, "LMS")))

            loads = [asyncio.create_task(load()) for _ in range(3)]
            await asyncio.sleep(0.004 + 0.006 * moment)
            hsm.kill()
            for one in loads:
                one.cancel()
            await asyncio.gather(*loads, return_exceptions=True)
            for payload, signature in received:
                assert _index(signature) not in found
                found[_index(signature)] = signature
                registry.verify(public, "LMS", payload, signature)
            await client.close()
            hsm.start()
    assert found


@pytest.mark.slow
async def test_r28_an_xmss_key_is_made_in_a_worker_and_signs_with_one_index_after_the_other(
    client: HsmClient, label: str
) -> None:
    """Both parameter sets; making one takes some five seconds of a processor."""
    for kind in ("XMSS-SHA256_10_256", "XMSS-SHAKE256_10_256"):
        name = f"{label}-{kind}"
        made = await client.create(operation_id(), name, kind, attributes={"sign": True, "destroyable": True})
        facts = parse_attestation(made.xml)
        assert (facts.algorithm, facts.remaining_signatures) == ("XMSS", 1024)
        signatures = [await client.sign(operation_id(), name, b"x", kind) for _ in range(3)]
        assert [int.from_bytes(one[:4], "big") for one in signatures] == [0, 1, 2]
        for signature in signatures:
            assert await client.verify(name, b"x", kind, signature)
            assert not await client.verify(name, b"y", kind, signature)
        other = await refused(client.sign(b"", name, b"x", "LMS"))
        assert other.refusal == "signature.wrong-key-type"
        assert await _remaining(client, name) == 1021
