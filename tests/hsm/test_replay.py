"""Unblock and modify of a protected key are never replayed (R15): the officers changed their mind, and it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.hsm.client import HsmClient
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.policy import Policy, Rule, encode_policy
from keyturn_testing.hsm_actions import approve, refused, seconds_of, stamp
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.keys import create_ec, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keyturn.hsm.client import HsmRefusedError

ADA, BEN, EVE = Officer("ada"), Officer("ben", "ED"), Officer("eve", "RSA")
STRICT = make_policy(quorum(2, ADA, BEN, EVE))
LAX = make_policy(quorum(1, ADA, BEN, EVE), modify=quorum(2, ADA, BEN, EVE))

pytestmark = pytest.mark.rule("R15")


def both(
    label: str, action: Action, payload: bytes | None = None, timestamp: tuple[bytes, bytes] | None = None
) -> list[bytes]:
    return [approve(officer, label, action, payload, timestamp) for officer in (ADA, BEN)]


def words(refusal: HsmRefusedError) -> set[str]:
    return {word for _, word in refusal.bad_approvals}


async def modify(client: HsmClient, label: str, policy: Policy, approvals: list[bytes] | None = None) -> None:
    blob = encode_policy(policy)
    await client.modify(
        operation_id(), label, blob, both(label, Action.MODIFY, blob) if approvals is None else approvals
    )


async def block(client: HsmClient, label: str) -> None:
    await client.block(operation_id(), label, both(label, Action.BLOCK))


async def test_a_policy_that_was_replaced_does_not_come_back_with_its_old_approvals(
    client: HsmClient, label: str
) -> None:
    await create_ec(client, label, STRICT)
    lax = encode_policy(LAX)
    approvals = both(label, Action.MODIFY, lax)
    await modify(client, label, LAX, approvals)
    await modify(client, label, STRICT)
    assert words(await refused(client.modify(operation_id(), label, lax, approvals))) == {"approval.spent"}
    # Nor with other signatures under the same statement.
    again = both(label, Action.MODIFY, lax)
    assert words(await refused(client.modify(operation_id(), label, lax, again))) == {"approval.spent"}
    # What the message says helps: a timestamp of now.
    stamped = await stamp(client, label, Action.MODIFY, lax)
    await modify(client, label, LAX, both(label, Action.MODIFY, lax, stamped))
    assert (await client.lookup(label)).policy == lax


async def test_stamped_approvals_for_a_modify_end_with_the_next_modify(client: HsmClient, label: str) -> None:
    await create_ec(client, label, STRICT)
    lax = encode_policy(LAX)
    stamped = await stamp(client, label, Action.MODIFY, lax)
    approvals = both(label, Action.MODIFY, lax, stamped)
    # Stamped earlier, executed later: what came between was decided later and holds.
    await modify(client, label, make_policy(quorum(2, ADA, BEN)))
    refusal = await refused(client.modify(operation_id(), label, lax, approvals))
    assert words(refusal) == {"approval.stale-timestamp"}
    stamped = await stamp(client, label, Action.MODIFY, lax)
    assert seconds_of(stamped) > (await client.lookup(label)).last_modified
    approvals = both(label, Action.MODIFY, lax, stamped)
    await modify(client, label, LAX, approvals)
    assert words(await refused(client.modify(operation_id(), label, lax, approvals))) == {"approval.stale-timestamp"}


async def test_an_old_unblock_does_not_lift_a_later_block(client: HsmClient, label: str) -> None:
    await create_ec(client, label, STRICT, blocked=True)
    unstamped = both(label, Action.UNBLOCK)
    await client.unblock(operation_id(), label, unstamped)
    await block(client, label)
    assert words(await refused(client.unblock(operation_id(), label, unstamped))) == {"approval.spent"}
    assert words(await refused(client.unblock(operation_id(), label, both(label, Action.UNBLOCK)))) == {
        "approval.spent"
    }
    stamped = both(label, Action.UNBLOCK, None, await stamp(client, label, Action.UNBLOCK))
    await client.unblock(operation_id(), label, stamped)
    await block(client, label)
    assert words(await refused(client.unblock(operation_id(), label, stamped))) == {"approval.stale-timestamp"}
    stamped = both(label, Action.UNBLOCK, None, await stamp(client, label, Action.UNBLOCK))
    await client.unblock(operation_id(), label, stamped)


async def test_the_second_of_the_block_itself_does_not_count(client: HsmClient, label: str) -> None:
    """Block and unblock timestamps have no payload: one given for another key in this second may be older."""
    await create_ec(client, label, STRICT)
    await create_ec(client, f"{label}-other", STRICT)
    early = (b"", b"")
    while not early[0] or (await client.lookup(label)).last_blocked != seconds_of(early):
        early = await stamp(client, f"{label}-other", Action.UNBLOCK)
        await block(client, label)
    approvals = both(label, Action.UNBLOCK, None, early)
    assert words(await refused(client.unblock(operation_id(), label, approvals))) == {"approval.stale-timestamp"}
    # One asked for in this second is given in the next.
    late = await stamp(client, label, Action.UNBLOCK)
    assert seconds_of(late) > seconds_of(early)
    await client.unblock(operation_id(), label, both(label, Action.UNBLOCK, None, late))


async def test_a_timestamp_older_than_the_key_does_not_count(client: HsmClient, label: str) -> None:
    await create_ec(client, f"{label}-other", STRICT)
    old = await stamp(client, f"{label}-other", Action.UNBLOCK)
    while seconds_of(await stamp(client, f"{label}-other", Action.UNBLOCK)) == seconds_of(old):
        pass
    await create_ec(client, label, STRICT, blocked=True)
    approvals = both(label, Action.UNBLOCK, None, old)
    assert words(await refused(client.unblock(operation_id(), label, approvals))) == {"approval.stale-timestamp"}
    await client.unblock(
        operation_id(), label, both(label, Action.UNBLOCK, None, await stamp(client, label, Action.UNBLOCK))
    )


async def test_a_refusal_uses_up_nothing_and_a_repeated_call_gets_its_answer(client: HsmClient, label: str) -> None:
    await create_ec(client, label, STRICT, blocked=True)
    approvals = both(label, Action.UNBLOCK)
    await refused(client.unblock(operation_id(), label, approvals[:1]))
    operation = operation_id()
    first = await client.unblock(operation, label, approvals)
    assert await client.unblock(operation, label, approvals) == first


async def test_uses_and_blocks_may_be_repeated_as_documented(client: HsmClient, label: str) -> None:
    await create_ec(client, label, STRICT)
    use, to_block = both(label, Action.USE, b"x"), both(label, Action.BLOCK)
    for _ in range(2):
        await client.sign(operation_id(), label, b"x", "SHA256_WITH_ECDSA", approvals=use)
        await client.block(operation_id(), label, to_block)
        stamped = await stamp(client, label, Action.UNBLOCK)
        await client.unblock(operation_id(), label, both(label, Action.UNBLOCK, None, stamped))


async def test_r15_an_emergency_stop_on_an_open_key_is_not_lifted_by_what_lifted_an_earlier_one(
    client: HsmClient, label: str
) -> None:
    two = quorum(2, ADA, BEN)
    await create_ec(client, label, make_policy(Rule.ALWAYS, unblock=two, modify=two, block=Rule.ALWAYS))
    approvals = both(label, Action.UNBLOCK)
    await client.block(operation_id(), label)
    await client.unblock(operation_id(), label, approvals)
    await client.block(operation_id(), label)
    assert words(await refused(client.unblock(operation_id(), label, approvals))) == {"approval.spent"}
    stamped = await stamp(client, label, Action.UNBLOCK)
    await client.unblock(operation_id(), label, both(label, Action.UNBLOCK, None, stamped))


async def test_the_ledger_of_a_key_stays_with_it_while_it_lies_sealed(client: HsmClient, label: str) -> None:
    before = (await client.statistics())["ledgerLines"]
    await create_ec(client, label, STRICT, blocked=True, destroyable=True)
    await client.unblock(operation_id(), label, both(label, Action.UNBLOCK))
    assert (await client.statistics())["ledgerLines"] == before + 3
    await client.delete(operation_id(), label)
    # It goes when the key is erased: tests/hsm/test_deleted_keys.py (R28).
    assert (await client.statistics())["ledgerLines"] == before + 3


# --- over restarts, and with the switch -----------------------------------------------------------------


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[HsmProcess]:
    with HsmProcess(tmp_path / "hsm") as process:
        yield process


async def test_what_is_used_up_stays_so_after_kill_9(own: HsmProcess) -> None:
    client = await HsmClient.connect(own.address)
    await create_ec(client, "k", STRICT, blocked=True)
    approvals = both("k", Action.UNBLOCK)
    await client.unblock(operation_id(), "k", approvals)
    await block(client, "k")
    facts = await client.lookup("k")
    await client.close()
    own.kill()
    own.start()
    client = await HsmClient.connect(own.address)
    assert await client.lookup("k") == facts
    assert words(await refused(client.unblock(operation_id(), "k", approvals))) == {"approval.spent"}
    await client.unblock(operation_id(), "k", both("k", Action.UNBLOCK, None, await stamp(client, "k", Action.UNBLOCK)))
    await client.close()


async def test_the_switch_restores_the_documented_behaviour_and_is_attested(own: HsmProcess) -> None:
    own.options = ("--allow-replayed-control-approvals",)
    own.restart()
    client = await HsmClient.connect(own.address)
    attested = parse_attestation((await create_ec(client, "k", STRICT, blocked=True)).xml)
    assert attested.switches == ("allowReplayedControlApprovals",)
    approvals = both("k", Action.UNBLOCK)
    for _ in range(2):
        await client.unblock(operation_id(), "k", approvals)
        await block(client, "k")
    await client.close()
    # Switched off again, what served meanwhile has served.
    own.options = ()
    own.restart()
    client = await HsmClient.connect(own.address)
    assert words(await refused(client.unblock(operation_id(), "k", approvals))) == {"approval.spent"}
    await client.close()
