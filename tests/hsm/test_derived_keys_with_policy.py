"""Derived keys of a protected master in the real HSM: its policy and its block are theirs, and nobody else's (R21)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.policy import encode_policy
from keyturn.ska.statement import encode_statement
from keyturn_testing.derived import ADA, BEN, MASTER, POLICY, SHA, approved, expected_child, make_master, sign
from keyturn_testing.hsm_actions import approve, refused, stamp, statement
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from keyturn.hsm.client import HsmClient


@pytest.mark.rule("R21")
@pytest.mark.parametrize("stored", [False, True])
async def test_r21_approvals_name_the_master_and_the_path(client: HsmClient, label: str, stored: bool) -> None:
    await make_master(client, label)
    name = f"{label}/44'/0'"
    if stored:
        await client.derive_key(operation_id(), label, "44'/0'", attributes={})
    # For the master itself, a sibling, a parent, a child, another spelling: none counts.
    for other in (label, f"{label}/44'/1'", f"{label}/44'", f"{label}/44'/0'/0", f"{label}/44/0'", "44'/0'"):
        refusal = await refused(sign(client, name, b"pay", approved(other, b"pay")))
        assert refusal.refusal == "approvals.missing"
        assert dict(refusal.bad_approvals) == {0: "approval.wrong-label", 1: "approval.wrong-label"}
    for other in (label, f"{label}/44'/1'"):
        refusal = await refused(sign(client, other, b"pay", approved(name, b"pay")))
        assert refusal.refusal == "approvals.missing"
    signature = await sign(client, name, b"pay", approved(name, b"pay"))
    assert await client.verify(name, b"pay", SHA, signature)


@pytest.mark.rule("R21")
@pytest.mark.rule("R3")
@pytest.mark.parametrize("stored", [False, True])
async def test_r21_a_child_is_not_used_without_its_masters_approvals(
    client: HsmClient, label: str, stored: bool
) -> None:
    await make_master(client, label)
    name = f"{label}/0'"
    if stored:
        await client.derive_key(operation_id(), label, "0'", attributes={})
    for approvals in ([], approved(name, b"pay", ADA), approved(name, b"other")):
        assert (await refused(sign(client, name, b"pay", approvals))).refusal == "approvals.missing"
    refusal = await refused(client.sign(b"", name, b"pay", SHA, approvals=approved(name, b"pay")))
    assert refusal.refusal == "operation.id-missing"
    await sign(client, name, b"pay", approved(name, b"pay"))


@pytest.mark.rule("R21")
@pytest.mark.rule("R31")
async def test_r21_the_masters_block_is_its_childrens(client: HsmClient, label: str) -> None:
    await make_master(client, label)
    names = (f"{label}/0'", f"{label}/1'")
    await client.derive_key(operation_id(), label, "0'", attributes={})
    done = operation_id()
    given_before = approved(names[0], b"pay")
    first = await client.sign(done, names[0], b"pay", SHA, approvals=given_before)
    await client.block(operation_id(), label, [approve(ADA, label, Action.BLOCK)])
    for name in names:
        assert (await refused(sign(client, name, b"pay", approved(name, b"pay")))).refusal == "key.blocked"
        assert (await client.lookup(name)).blocked
    assert (await refused(client.sign(done, names[0], b"pay", SHA, approvals=given_before))).refusal == "key.blocked"
    given = await stamp(client, label, Action.UNBLOCK)
    approvals = [approve(officer, label, Action.UNBLOCK, timestamp=given) for officer in (ADA, BEN)]
    await client.unblock(operation_id(), label, approvals)
    assert await client.sign(done, names[0], b"pay", SHA, approvals=given_before) == first
    for name in names:
        await sign(client, name, b"pay", approved(name, b"pay"))


@pytest.mark.rule("R21")
async def test_r21_the_masters_new_policy_is_its_childrens(client: HsmClient, label: str) -> None:
    await make_master(client, label)
    name = f"{label}/0'"
    await client.derive_key(operation_id(), label, "0'", attributes={})
    stale = approved(name, b"pay", ADA, BEN)
    eve = Officer("eve")
    policy = make_policy(quorum(1, eve), modify=quorum(2, ADA, BEN))
    given = await stamp(client, label, Action.MODIFY, encode_policy(policy))
    approvals = [approve(officer, label, Action.MODIFY, encode_policy(policy), given) for officer in (ADA, BEN)]
    await client.modify(operation_id(), label, encode_policy(policy), approvals)
    for child in (name, f"{label}/1'"):
        assert (await client.lookup(child)).policy == encode_policy(policy)
        assert parse_attestation((await client.attest(child)).xml).policy == policy
    assert (await refused(sign(client, name, b"pay", stale))).refusal == "approvals.missing"
    await sign(client, name, b"pay", approved(name, b"pay", eve))


@pytest.mark.rule("R21")
@pytest.mark.parametrize("stored", [False, True])
async def test_r21_a_child_is_neither_blocked_nor_modified_by_itself(
    client: HsmClient, label: str, stored: bool
) -> None:
    await make_master(client, label)
    name = f"{label}/0'"
    if stored:
        await client.derive_key(operation_id(), label, "0'", attributes={})
    blob = encode_policy(make_policy(quorum(1, ADA)))
    for act in (
        client.block(operation_id(), name, [approve(ADA, name, Action.BLOCK)]),
        client.unblock(operation_id(), name, []),
        client.modify(operation_id(), name, blob, [approve(one, name, Action.MODIFY, blob) for one in (ADA, BEN)]),
    ):
        refusal = await refused(act)
        assert (refusal.code.number, refusal.refusal) == (614, "key.derived")
    await client.block(operation_id(), label, [approve(ADA, label, Action.BLOCK)])


@pytest.mark.rule("R21")
@pytest.mark.parametrize(
    ("attributes", "word"),
    [
        ({"extractable": True}, "attribute.child-extractable"),
        ({"copyable": True}, "attribute.child-copyable"),
        ({"sensitive": False}, "attribute.child-sensitive"),
        ({"decrypt": True}, "attribute.child-decrypt"),
        ({"unwrap": True}, "attribute.child-unwrap"),
        ({"singleUse": True}, "attribute.child-singleUse"),
        ({"boundApprovals": True}, "attribute.child-boundApprovals"),
        ({"sign": False}, "attribute.no-use"),
    ],
)
async def test_r21_no_child_is_wider_than_its_master(
    client: HsmClient, label: str, attributes: Mapping[str, bool], word: str
) -> None:
    await make_master(client, label)
    refusal = await refused(client.derive_key(operation_id(), label, "0'", attributes=attributes))
    assert (refusal.code.number, refusal.refusal) == (606, word)
    await client.derive_key(operation_id(), label, "0'", attributes={"derive": False})


@pytest.mark.rule("R21")
async def test_r21_no_child_of_an_ordinary_key_is_more_extractable(client: HsmClient, label: str) -> None:
    await make_master(client, label, None)
    refusal = await refused(client.derive_key(operation_id(), label, "0'", attributes={"extractable": True}))
    assert refusal.refusal == "attribute.child-extractable"
    await make_master(client, f"{label}-2", None, extractable=True, sensitive=False)
    made = await client.derive_key(operation_id(), f"{label}-2", "0'", attributes={"extractable": False})
    assert parse_attestation(made.xml).attributes["extractable"] is False
    await client.derive_key(operation_id(), f"{label}-2", "1'", attributes={"extractable": True})


@pytest.mark.rule("R4")
async def test_r4_derive_under_a_policy_stands_for_derived_keys_alone(client: HsmClient, label: str) -> None:
    blob = encode_policy(POLICY)
    refusal = await refused(
        client.create(
            operation_id(), label, "EC", curve_oid=P256, attributes={"sign": True, "derive": True}, policy=blob
        )
    )
    assert refusal.refusal == "attribute.derive-with-policy"
    await client.create(operation_id(), label, "EC", curve_oid=P256, attributes=MASTER, policy=blob)


@pytest.mark.rule("R21")
@pytest.mark.rule("R14")
async def test_r14_what_served_for_a_temporary_child_does_not_serve_for_the_stored_one(
    client: HsmClient, label: str
) -> None:
    await make_master(client, label, singleUse=True)
    name = f"{label}/0'"
    given = await stamp(client, name, Action.USE, b"pay")
    approvals = [officer.approve(statement(name, Action.USE, b"pay", given)) for officer in (ADA, BEN)]
    first = await sign(client, name, b"pay", approvals)
    made = await client.derive_key(operation_id(), label, "0'", attributes={})
    assert parse_attestation(made.xml).attributes["singleUse"] is True
    # Again, under another operation id: the stored signature, not a second one.
    assert await sign(client, name, b"pay", approvals) == first
    other = await client.sign(operation_id(), name, b"pay", SHA, approvals=approvals)
    assert other == first
    assert (await refused(sign(client, f"{label}/1'", b"pay", approvals))).refusal == "approvals.missing"


@pytest.mark.rule("R21")
@pytest.mark.rule("R18")
async def test_r18_what_was_approved_for_an_earlier_masters_child_does_not_count(client: HsmClient, label: str) -> None:
    await make_master(client, label)
    name = f"{label}/0'"
    old = approved(name, b"pay")
    await sign(client, name, b"pay", old)
    await client.delete(operation_id(), label)
    await make_master(client, label)
    await client.derive_key(operation_id(), label, "0'", attributes={})
    refusal = await refused(sign(client, name, b"pay", old))
    assert dict(refusal.bad_approvals)[0] == "approval.timestamp-missing"
    given = await stamp(client, name, Action.USE, b"pay")
    await sign(client, name, b"pay", [approve(one, name, Action.USE, b"pay", given) for one in (ADA, BEN)])


@pytest.mark.rule("R21")
@pytest.mark.rule("R7")
async def test_r7_the_statement_of_a_child_names_its_own_public_key(client: HsmClient, label: str) -> None:
    master = await make_master(client, label, boundApprovals=True)
    name, request = f"{label}/0'", str(uuid4())
    blob = encode_policy(POLICY)

    def meant(public_key: bytes) -> list[bytes]:
        text = encode_statement(BoundKey(master.uuid, public_key, blob).sign(request, b"pay", SHA, ""))
        return [approve(officer, name, Action.USE, text) for officer in (ADA, BEN)]

    def use(approvals: list[bytes]) -> Awaitable[bytes]:
        return client.sign(operation_id(), name, b"pay", SHA, approvals=approvals, request_id=request)

    for wrong in (master.public_key, expected_child("1'")):
        assert dict((await refused(use(meant(wrong)))).bad_approvals)[0] == "approval.wrong-payload"
    await use(meant(expected_child("0'")))
