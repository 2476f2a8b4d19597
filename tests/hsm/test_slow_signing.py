"""Signatures that a worker makes: decided before and after, so that a block reaches what is under way (R31)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from keyturn.crypto import registry
from keyturn.crypto.keys import generate, load_public_key, make_spec, public_spki
from keyturn.crypto.schemes import NO_OPTIONS, SignOptions
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.worker import WorkerPool
from keyturn.ska.actions import Action
from keyturn.ska.policy import encode_policy
from keyturn_testing.hsm_actions import approve, refused
from keyturn_testing.keys import operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from keyturn.hsm.client import HsmClient
    from keyturn.ska.policy import Policy

ADA, BEN = Officer("ada"), Officer("ben", "ED")
FAST, SMALL = "SLH-DSA-SHA2-128f", "SLH-DSA-SHA2-192s"


async def _create(client: HsmClient, label: str, kind: str, policy: Policy | None = None) -> None:
    attributes = {"sign": True, "decrypt": False, "unwrap": False, "destroyable": True}
    blob = b"" if policy is None else encode_policy(policy)
    await client.create(operation_id(), label, kind, attributes=attributes, policy=blob)


async def test_an_slh_dsa_key_signs_while_others_are_served(client: HsmClient, label: str) -> None:
    await _create(client, label, SMALL)
    operation = operation_id()
    slow = asyncio.create_task(client.sign(operation, label, b"pay", "SLH_DSA"))
    await asyncio.sleep(0.02)
    await client.labels()
    assert not slow.done()
    # The same operation under way is the same operation.
    again = asyncio.create_task(client.sign(operation, label, b"pay", "SLH_DSA"))
    signature = await slow
    assert await again == signature == await client.sign(operation, label, b"pay", "SLH_DSA")
    assert await client.verify(label, b"pay", "SLH_DSA", signature)
    assert not await client.verify(label, b"pax", "SLH_DSA", signature)
    wrong = await refused(client.sign(b"", label, b"pay", "ML_DSA"))
    assert (wrong.code, wrong.refusal) == (ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY, "signature.wrong-key-type")


@pytest.mark.rule("R31")
async def test_r31_a_block_that_was_acknowledged_stops_the_signature_that_is_under_way(
    client: HsmClient, label: str
) -> None:
    await _create(client, label, SMALL, make_policy(quorum(1, ADA)))
    approvals = [approve(ADA, label, Action.USE, b"pay")]
    operation = operation_id()
    slow = asyncio.create_task(client.sign(operation, label, b"pay", "SLH_DSA", approvals=approvals))
    await asyncio.sleep(0.05)
    assert not slow.done()
    await client.block(operation_id(), label, approvals=[approve(ADA, label, Action.BLOCK)])
    assert (await refused(slow)).refusal == "key.blocked"
    assert (
        await refused(client.sign(operation, label, b"pay", "SLH_DSA", approvals=approvals))
    ).refusal == "key.blocked"


@pytest.mark.rule("R31")
async def test_r31_a_key_that_was_deleted_meanwhile_signs_nothing(client: HsmClient, label: str) -> None:
    await _create(client, label, SMALL)
    slow = asyncio.create_task(client.sign(operation_id(), label, b"pay", "SLH_DSA"))
    await asyncio.sleep(0.05)
    await client.delete(operation_id(), label)
    assert (await refused(slow)).code is ErrorCode.KEY_NOT_EXISTENT


async def test_a_protected_key_signs_what_was_approved_and_nothing_else(client: HsmClient, label: str) -> None:
    await _create(client, label, FAST, make_policy(quorum(2, ADA, BEN)))
    approvals = [approve(one, label, Action.USE, b"pay 5") for one in (ADA, BEN)]
    signature = await client.sign(operation_id(), label, b"pay 5", "SLH_DSA", approvals=approvals)
    assert len(signature) == 17088
    assert await client.verify(label, b"pay 5", "SLH_DSA", signature)
    other = await refused(client.sign(operation_id(), label, b"pay 6", "SLH_DSA", approvals=approvals))
    assert other.refusal == "approvals.missing"


async def test_a_worker_signs_and_passes_on_why_it_does_not() -> None:
    key = generate(make_spec(FAST, "", 0))
    public = load_public_key(public_spki(key))
    pool = WorkerPool(1)
    try:
        context = SignOptions(context=b"c")
        signature = await pool.sign(key, "SHA2_256_WITH_SLH_DSA", b"pay", "", context)
        registry.verify(public, "SHA2_256_WITH_SLH_DSA", b"pay", signature, options=context)
        for algorithm, options, word in (
            ("SLH_DSA", SignOptions(context=bytes(256)), "signature.context"),
            ("SLH_DSA", SignOptions(merkle_root=b""), "signature.option"),
            ("ML_DSA", NO_OPTIONS, "signature.wrong-key-type"),
        ):
            with pytest.raises(KeyturnError) as caught:
                await pool.sign(key, algorithm, b"pay", "", options)
            assert caught.value.refusal == word
        # None of that cost a worker.
        assert len(pool._all) == 1
        registry.verify(public, "SLH_DSA", b"x", await pool.sign(key, "SLH_DSA", b"x", "", NO_OPTIONS))
    finally:
        await pool.close()
