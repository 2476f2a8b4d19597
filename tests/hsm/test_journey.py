"""A key's life in the real HSM process, as a broker lives it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from keyturn.errors import ErrorCode
from keyturn.hsm.client import HsmClient, HsmRefusedError
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation, verify_attestation
from keyturn.ska.messages import ApprovalToken, decode_approval, decode_authorization, decode_timestamp
from keyturn.ska.policy import encode_policy
from keyturn.ska.signatures import wrap_signature
from keyturn_testing.keys import ED25519, P256, create_ec, operation_id
from keyturn_testing.officers import Officer, approvals_of, make_policy, quorum

if TYPE_CHECKING:
    from keyturn_testing.hsm_process import HsmProcess

ADA, BEN, EVE = Officer("ada"), Officer("ben", "ED"), Officer("eve", "RSA")


async def test_an_ordinary_key_is_created_signs_verifies_and_goes(client: HsmClient, label: str) -> None:
    await create_ec(client, label, destroyable=True)
    signature = await client.sign(b"", label, b"harro", "SHA256_WITH_ECDSA")
    assert await client.verify(label, b"harro", "SHA256_WITH_ECDSA", signature)
    assert not await client.verify(label, b"harrp", "SHA256_WITH_ECDSA", signature)
    assert label in await client.labels()
    await client.delete(operation_id(), label)
    assert label not in await client.labels()
    with pytest.raises(HsmRefusedError) as caught:
        await client.sign(b"", label, b"harro", "SHA256_WITH_ECDSA")
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.KEY_NOT_EXISTENT, "key.unknown")


async def test_two_of_three_officers_of_three_key_types_make_a_protected_key_sign(
    client: HsmClient, label: str, hsm: HsmProcess
) -> None:
    await create_ec(client, label, make_policy(quorum(2, ADA, BEN, EVE)))
    token = ApprovalToken(Action.USE, label.encode(), None, None, b"pay 5")
    operation = operation_id()
    with pytest.raises(HsmRefusedError) as caught:
        await client.sign(operation, label, b"pay 5", "SHA256_WITH_ECDSA", approvals=approvals_of([ADA], token))
    assert caught.value.refusal == "approvals.missing"
    # A refusal consumes nothing: the same operation id serves for the complete call.
    approvals = approvals_of([ADA, EVE], token)
    signature = await client.sign(operation, label, b"pay 5", "SHA256_WITH_ECDSA", approvals=approvals)
    assert await client.verify(label, b"pay 5", "SHA256_WITH_ECDSA", signature)
    granted = hsm.decisions()[-1]
    assert (granted["kind"], granted["outcome"], granted["label"]) == ("sign", "granted", label)
    assert len(granted["approvers"]) == 2


async def test_a_repeated_operation_gives_the_stored_result_and_another_input_is_refused(
    client: HsmClient, label: str
) -> None:
    await create_ec(client, label, make_policy(quorum(1, ADA)))
    operation = operation_id()
    approvals = [ADA.approve_use(label, b"once")]
    first = await client.sign(operation, label, b"once", "SHA256_WITH_ECDSA", approvals=approvals)
    # ECDSA is randomised: equal bytes can only come from the store.
    assert await client.sign(operation, label, b"once", "SHA256_WITH_ECDSA", approvals=approvals) == first
    assert parse_attestation((await client.attest(label)).xml).key_use_count == 1
    with pytest.raises(HsmRefusedError) as caught:
        await client.sign(operation, label, b"once", "SHA384_WITH_ECDSA", approvals=approvals)
    assert caught.value.refusal == "operation.input-differs"


async def test_a_protected_key_needs_an_operation_id(client: HsmClient, label: str) -> None:
    await create_ec(client, label, make_policy(quorum(1, ADA)))
    approvals = [ADA.approve_use(label, b"x")]
    with pytest.raises(HsmRefusedError) as caught:
        await client.sign(b"", label, b"x", "SHA256_WITH_ECDSA", approvals=approvals)
    assert caught.value.refusal == "operation.id-missing"
    await client.sign(operation_id(), label, b"x", "SHA256_WITH_ECDSA", approvals=approvals)


async def test_the_officers_replace_the_policy_and_the_new_one_holds_at_once(client: HsmClient, label: str) -> None:
    before = parse_attestation((await create_ec(client, label, make_policy(quorum(2, ADA, BEN)))).xml)
    new = encode_policy(make_policy(quorum(1, EVE)))
    approvals = [officer.approve_modify(label, new) for officer in (ADA, BEN)]
    after = parse_attestation((await client.modify(operation_id(), label, new, approvals)).xml)
    assert after.policy == make_policy(quorum(1, EVE))
    assert (after.uuid, after.state_counter > before.state_counter) == (before.uuid, True)
    await client.sign(operation_id(), label, b"x", "SHA256_WITH_ECDSA", approvals=[EVE.approve_use(label, b"x")])
    old = [officer.approve_use(label, b"x") for officer in (ADA, BEN)]
    with pytest.raises(HsmRefusedError) as caught:
        await client.sign(operation_id(), label, b"x", "SHA256_WITH_ECDSA", approvals=old)
    assert caught.value.refusal == "approvals.missing"


@pytest.mark.rule("R10")
@pytest.mark.rule("R18")
async def test_the_attestation_verifies_under_the_device_certificate(client: HsmClient, label: str) -> None:
    attested = await create_ec(client, label, make_policy(quorum(1, ADA)), destroyable=True)
    info = await client.info()
    device = x509.load_pem_x509_certificate(info.device_chain[0].encode()).public_bytes(Encoding.DER)
    found = verify_attestation(attested.xml, attested.signature, device)
    assert (found.label, found.generation, found.creation) == (label, 1, "generated")
    assert (found.instance_id, found.isolation, found.switches) == (info.instance_id, "none", ())
    assert found.integrity_key == info.integrity_key
    assert (found.open_modify, found.open_unblock) == (False, False)


@pytest.mark.rule("R12")
async def test_a_timestamp_is_signed_logged_and_opens_a_timelocked_rule(
    client: HsmClient, label: str, hsm: HsmProcess
) -> None:
    await create_ec(client, label, make_policy(quorum(1, ADA, timeout=600)))
    stamped = await client.stamp(label, Action.USE, b"soon")
    assert hsm.decisions()[-1]["kind"] == "stamp"
    stamp = decode_timestamp(stamped.timestamp)
    assert (stamp.action_payload, stamp.key_name) == (b"soon", stamped.key_name)
    token = ApprovalToken(
        Action.USE, label.encode(), stamped.timestamp, wrap_signature(stamped.algorithm, stamped.signature), b"soon"
    )
    await client.sign(operation_id(), label, b"soon", "SHA256_WITH_ECDSA", approvals=[ADA.approve(token)])
    with pytest.raises(HsmRefusedError) as caught:
        await client.sign(
            operation_id(), label, b"soon", "SHA256_WITH_ECDSA", approvals=[ADA.approve_use(label, b"soon")]
        )
    assert caught.value.bad_approvals == ((0, "approval.timestamp-missing"),)


async def test_a_slow_key_is_made_in_a_worker_while_others_are_served(client: HsmClient, label: str) -> None:
    await create_ec(client, f"{label}-fast")
    operation = operation_id()
    slow = asyncio.create_task(client.create(operation, label, "RSA", key_size=2048, attributes={"sign": True}))
    again = asyncio.create_task(client.create(operation, label, "RSA", key_size=2048, attributes={"sign": True}))
    rival = asyncio.create_task(create_ec(client, label))
    signed = asyncio.create_task(client.sign(b"", f"{label}-fast", b"x", "SHA256_WITH_ECDSA"))
    done, _ = await asyncio.wait([slow, signed], return_when=asyncio.FIRST_COMPLETED)
    assert done == {signed}
    with pytest.raises(HsmRefusedError) as caught:
        await rival
    assert caught.value.refusal == "key.exists"
    assert (await slow).xml == (await again).xml
    signature = await client.sign(b"", label, b"x", "SHA256_WITH_RSA_PSS")
    assert await client.verify(label, b"x", "SHA256_WITH_RSA_PSS", signature)


@pytest.mark.rule("R18")
async def test_a_second_key_of_a_label_asks_for_approvals_made_after_it(client: HsmClient, label: str) -> None:
    policy = make_policy(quorum(1, ADA))
    await create_ec(client, label, policy, destroyable=True)
    old = ADA.approve_use(label, b"x")
    await client.sign(operation_id(), label, b"x", "SHA256_WITH_ECDSA", approvals=[old])
    await client.delete(operation_id(), label)
    second = parse_attestation((await create_ec(client, label, policy)).xml)
    assert second.generation == 2
    with pytest.raises(HsmRefusedError) as caught:
        await client.sign(operation_id(), label, b"x", "SHA256_WITH_ECDSA", approvals=[old])
    assert caught.value.bad_approvals == ((0, "approval.timestamp-missing"),)
    stamped = await client.stamp(label, Action.USE, b"x")
    token = ApprovalToken(
        Action.USE, label.encode(), stamped.timestamp, wrap_signature(stamped.algorithm, stamped.signature), b"x"
    )
    await client.sign(operation_id(), label, b"x", "SHA256_WITH_ECDSA", approvals=[ADA.approve(token)])


@pytest.mark.rule("R18")
async def test_r18_what_was_approved_for_a_key_does_not_serve_for_its_successor_made_in_the_same_second(
    client: HsmClient, label: str
) -> None:
    policy = make_policy(quorum(1, ADA))
    await create_ec(client, label, policy, destroyable=True)

    async def approved_now() -> bytes:
        stamped = await client.stamp(label, Action.USE, b"x")
        signature = wrap_signature(stamped.algorithm, stamped.signature)
        return ADA.approve(ApprovalToken(Action.USE, label.encode(), stamped.timestamp, signature, b"x"))

    # All of this within one second: an approval with its timestamp, the key goes, another one takes the label.
    await asyncio.sleep(1 - time.time() % 1)
    old = await approved_now()
    await client.delete(operation_id(), label)
    second = parse_attestation((await create_ec(client, label, policy)).xml)
    assert second.generation == 2
    with pytest.raises(HsmRefusedError) as caught:
        await client.sign(operation_id(), label, b"x", "SHA256_WITH_ECDSA", approvals=[old])
    assert caught.value.bad_approvals == ((0, "approval.timestamp-before-key"),)
    # A timestamp asked for at once comes a moment later, and counts.
    new = await approved_now()
    assert decode_timestamp(decode_approval(decode_authorization(new).approval).timestamp or b"").seconds > (
        second.create_time
    )
    await client.sign(operation_id(), label, b"x", "SHA256_WITH_ECDSA", approvals=[new])


@pytest.mark.rule("R18")
async def test_r18_a_timestamp_that_waits_for_its_second_is_refused_if_the_key_goes_meanwhile(
    client: HsmClient, label: str
) -> None:
    policy = make_policy(quorum(1, ADA))
    await create_ec(client, label, policy, destroyable=True)
    await client.delete(operation_id(), label)
    await asyncio.sleep(1 - time.time() % 1)
    await create_ec(client, label, policy, destroyable=True)
    waiting = asyncio.create_task(client.stamp(label, Action.USE, b"x"))
    await asyncio.sleep(0.05)
    await client.delete(operation_id(), label)
    with pytest.raises(HsmRefusedError) as caught:
        await waiting
    assert caught.value.refusal == "key.unknown"


async def test_every_kind_of_key_signs(client: HsmClient, label: str) -> None:
    await client.create(operation_id(), f"{label}-ed", "ED", curve_oid=ED25519, attributes={"sign": True})
    assert await client.verify(f"{label}-ed", b"x", "EDDSA", await client.sign(b"", f"{label}-ed", b"x", "EDDSA"))
    for curve in (P256, "1.3.132.0.34", "1.3.132.0.35", "1.3.132.0.10"):
        name = f"{label}-{curve}"
        await create_ec(client, name, curve=curve)
        signature = await client.sign(b"", name, b"x", "SHA256_WITH_ECDSA", signature_type="RAW")
        assert await client.verify(name, b"x", "SHA256_WITH_ECDSA", signature)
