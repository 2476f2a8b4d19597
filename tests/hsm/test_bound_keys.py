"""The statement of bound approvals in the real HSM: what it covers, and where none is taken (R7)."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from keyturn.errors import ErrorCode
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.messages import decode_timestamp
from keyturn.ska.policy import encode_policy
from keyturn.ska.statement import MAGIC, decode_statement, encode_statement
from keyturn_testing import openssl_ciphers as openssl
from keyturn_testing.bound import ADA, AES, BEN, OAEP, OAEP_SHA1, OTHER_POLICY, POLICY, Key, make, request_id
from keyturn_testing.hsm_actions import approve, refused, stamp
from keyturn_testing.keys import operation_id

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.hsm.client import HsmClient
    from keyturn.ska.statement import Statement


pytestmark = pytest.mark.rule("R7")


async def test_r7_a_bound_key_needs_a_request_id_that_is_a_uuid(client: HsmClient, label: str) -> None:
    key = await make(client, label, bound=True)
    request = request_id()
    approvals = key.to_sign(request, b"x", "SHA256_WITH_ECDSA")

    def sign(request: str) -> Awaitable[bytes]:
        return client.sign(operation_id(), label, b"x", "SHA256_WITH_ECDSA", approvals=approvals, request_id=request)

    for wrong, word in (("", "missing"), ("4711", "form"), (request.upper(), "form"), (f"{{{request}}}", "form")):
        refusal = await refused(sign(wrong))
        assert (refusal.code, refusal.refusal) == (ErrorCode.VALIDATION_FAILED, f"request-id.{word}")
    for act in (client.block(operation_id(), label), client.unblock(operation_id(), label)):
        assert (await refused(act)).refusal in {"request-id.missing", "key.not-blocked"}
    await sign(request)


async def test_r7_an_approval_in_the_documented_form_does_not_count_for_a_bound_key(
    client: HsmClient, label: str
) -> None:
    key = await make(client, label, bound=True)
    request = request_id()
    documented = [approve(officer, label, Action.USE, b"pay 5") for officer in (ADA, BEN)]
    for given in (documented, [documented[0], key.to_sign(request, b"pay 5", "SHA256_WITH_ECDSA")[1]]):
        refusal = await refused(
            client.sign(operation_id(), label, b"pay 5", "SHA256_WITH_ECDSA", approvals=given, request_id=request)
        )
        assert (0, "approval.wrong-payload") in refusal.bad_approvals
    given = key.to_sign(request, b"pay 5", "SHA256_WITH_ECDSA")
    await client.sign(operation_id(), label, b"pay 5", "SHA256_WITH_ECDSA", approvals=given, request_id=request)


async def test_r7_the_signature_type_is_approved_too(client: HsmClient, label: str) -> None:
    key = await make(client, label, bound=True)
    request = request_id()
    approvals = key.approved(b"x", lambda key: key.sign(request, b"x", "SHA256_WITH_ECDSA", "RAW"))
    for form, good in (("", False), ("DER", False), ("RAW", True)):
        act = client.sign(
            operation_id(),
            label,
            b"x",
            "SHA256_WITH_ECDSA",
            signature_type=form,
            approvals=approvals,
            request_id=request,
        )
        if good:
            assert len(await act) == 64
        else:
            assert (await refused(act)).refusal == "approvals.missing"


@pytest.mark.rule("R15")
async def test_r7_block_and_unblock_of_a_bound_key_are_approved_for_one_request(client: HsmClient, label: str) -> None:
    key = await make(client, label, bound=True)
    one, two = request_id(), request_id()

    def to_block(request: str) -> list[bytes]:
        return key.approved(None, lambda key: key.block(request), action=Action.BLOCK)

    def to_unblock(request: str) -> list[bytes]:
        return key.approved(None, lambda key: key.unblock(request), action=Action.UNBLOCK)

    documented = [approve(officer, label, Action.BLOCK) for officer in (ADA, BEN)]
    for given in (documented, to_block(two)):
        refusal = await refused(client.block(operation_id(), label, given, request_id=one))
        assert {word for _, word in refusal.bad_approvals} == {"approval.wrong-payload"}
    await client.block(operation_id(), label, to_block(one), request_id=one)
    # A statement to block says nothing of unblocking, whatever operation code stands beside it.
    crossed = key.approved(None, lambda key: key.block(two), action=Action.UNBLOCK)
    for given in (crossed, to_unblock(one)):
        refusal = await refused(client.unblock(operation_id(), label, given, request_id=two))
        assert {word for _, word in refusal.bad_approvals} == {"approval.wrong-payload"}
    await client.unblock(operation_id(), label, to_unblock(two), request_id=two)
    await client.block(operation_id(), label, to_block(one), request_id=one)
    refusal = await refused(client.unblock(operation_id(), label, to_unblock(two), request_id=two))
    assert {word for _, word in refusal.bad_approvals} == {"approval.spent"}


async def test_r7_approvals_given_under_one_policy_do_not_count_under_the_next(client: HsmClient, label: str) -> None:
    key = await make(client, label, bound=True)
    request = request_id()
    before = key.to_sign(request, b"x", "SHA256_WITH_ECDSA")
    new = encode_policy(OTHER_POLICY)
    # Modify stays as documented: approvals cover the new policy itself.
    modify = [approve(officer, label, Action.MODIFY, new) for officer in (ADA, BEN)]
    await client.modify(operation_id(), label, new, modify)

    def sign(given: list[bytes]) -> Awaitable[bytes]:
        return client.sign(operation_id(), label, b"x", "SHA256_WITH_ECDSA", approvals=given, request_id=request)

    refusal = await refused(sign(before))
    assert {word for _, word in refusal.bad_approvals} == {"approval.wrong-payload"}
    after = Key(label, bound=True, identity=BoundKey(key.identity.uuid, key.identity.spki, new))
    await sign(after.to_sign(request, b"x", "SHA256_WITH_ECDSA"))


@pytest.mark.rule("R12")
async def test_r7_a_timestamp_for_a_bound_key_is_over_the_statement(client: HsmClient, label: str) -> None:
    key, other = await make(client, label, bound=True), await make(client, f"{label}-2", bound=True)
    request = request_id()

    def meant(key: BoundKey) -> Statement:
        return key.sign(request, b"x", "SHA256_WITH_ECDSA", "")

    covered, foreign = key.covered(None, meant), other.covered(None, meant)
    assert covered is not None
    assert foreign is not None
    block = encode_statement(key.identity.block(request))
    for action, wrong in (
        (Action.USE, b"x"),
        (Action.USE, foreign),
        (Action.USE, block),
        (Action.BLOCK, covered),
        (Action.BLOCK, b""),
        (Action.UNBLOCK, block),
        (Action.USE, covered[:-1]),
    ):
        refusal = await refused(client.stamp(label, action, wrong))
        assert (refusal.code, refusal.refusal) == (ErrorCode.INVALID_PAYLOAD, "stamp.payload")
    fresh = await stamp(client, label, Action.USE, covered)
    assert decode_timestamp(fresh[0]).action_payload == covered
    await stamp(client, label, Action.BLOCK, block)
    approvals = key.approved(None, meant, timestamp=fresh)
    await client.sign(operation_id(), label, b"x", "SHA256_WITH_ECDSA", approvals=approvals, request_id=request)
    # A timestamp over the bare payload does not make it an approval of this call.
    plain = await make(client, f"{label}-3", bound=False)
    bare = await stamp(client, plain.label, Action.USE, b"x")
    refusal = await refused(
        client.sign(
            operation_id(),
            label,
            b"x",
            "SHA256_WITH_ECDSA",
            approvals=key.approved(None, meant, timestamp=bare),
            request_id=request,
        )
    )
    assert {word for _, word in refusal.bad_approvals} == {"approval.timestamp-wrong-payload"}


@pytest.mark.rule("R8")
async def test_r7_no_key_processes_what_begins_as_a_statement(client: HsmClient, label: str) -> None:
    for name, policy, bound in (("ordinary", b"", False), ("plain", None, False), ("bound", None, True)):
        made = await client.create(
            operation_id(),
            f"{label}-{name}",
            "RSA",
            key_size=2048,
            attributes={"sign": True, "decrypt": True, "unwrap": True, "boundApprovals": bound},
            policy=encode_policy(POLICY) if policy is None else policy,
        )
        found = parse_attestation(made.xml)
        key = Key(found.label, bound, BoundKey(found.uuid, found.public_key, encode_policy(POLICY)))
        request = request_id()
        for payload in (encode_statement(key.identity.block(request)), MAGIC, MAGIC + b"\x02 of tomorrow"):
            for call, act in (
                (
                    "sign",
                    client.sign(
                        operation_id(),
                        key.label,
                        payload,
                        "SHA256_WITH_RSA",
                        approvals=key.to_sign(request, payload, "SHA256_WITH_RSA"),
                        request_id=request,
                    ),
                ),
                ("decrypt", client.decrypt(operation_id(), key.label, payload, OAEP, request_id=request)),
                (
                    "unwrap",
                    client.unwrap(
                        operation_id(),
                        key.label,
                        payload,
                        "RSA_WRAP_OAEP",
                        f"{key.label}-in",
                        attributes={"decrypt": True},
                        request_id=request,
                    ),
                ),
            ):
                refusal = await refused(act)
                assert (call, refusal.code, refusal.refusal) == (
                    call,
                    ErrorCode.INVALID_PAYLOAD,
                    "payload.double-meaning",
                )
        if not bound and name == "plain":
            assert (await refused(client.stamp(key.label, 1, MAGIC))).refusal == "payload.double-meaning"
        payload = b"K" + MAGIC[1:]
        approvals = key.to_sign(request, payload, "SHA256_WITH_RSA")
        await client.sign(
            operation_id(), key.label, payload, "SHA256_WITH_RSA", approvals=approvals, request_id=request
        )


@pytest.mark.rule("R16")
async def test_r16_under_a_bound_key_the_new_key_gets_the_policy_and_limits_that_were_approved(
    client: HsmClient, label: str
) -> None:
    key = await make(client, label, bound=True, unwrap=True)
    kek = f"{label}-kek"
    ordinary = await client.create(operation_id(), f"{label}-o", "RSA", key_size=2048, attributes={"unwrap": True})
    await client.unwrap(
        operation_id(),
        f"{label}-o",
        openssl.rsa_encrypt(parse_attestation(ordinary.xml).public_key, AES, OAEP_SHA1),
        "RSA_WRAP_OAEP",
        kek,
        attributes={"unwrap": True},
    )
    request, wrapped = request_id(), openssl.rsa_encrypt(key.identity.spki, AES, OAEP_SHA1)
    attributes = {"decrypt": True, "encrypt": True}

    def approvals(**changes: object) -> list[bytes]:
        given = {"allowed_algorithms": ["AES_GCM"], "key_id": "17", **changes}
        return key.approved(
            None,
            lambda key: key.unwrap(request, wrapped, "RSA_WRAP_OAEP", f"{label}-in", attributes, **given),  # type: ignore[arg-type]  # Changed on purpose.
        )

    def unwrap(given: list[bytes]) -> Awaitable[object]:
        return client.unwrap(
            operation_id(),
            label,
            wrapped,
            "RSA_WRAP_OAEP",
            f"{label}-in",
            attributes=attributes,
            approvals=given,
            key_id="17",
            request_id=request,
            allowed_algorithms=["AES_GCM"],
        )

    others: tuple[dict[str, object], ...] = (
        {"allowed_algorithms": []},
        {"allowed_algorithms": ["AES_GCM", "AES_CTR"]},
        {"allowed_operations": ["decrypt"]},
        {"key_id": None},
        {"policy": encode_policy(POLICY)},
        {"blocked": True},
    )
    for changes in others:
        refusal = await refused(unwrap(approvals(**changes)))
        assert {word for _, word in refusal.bad_approvals} == {"approval.wrong-payload"}
    await unwrap(approvals())
    assert (await client.lookup(f"{label}-in")).allowed_algorithms == ["AES_GCM"]
    # An unbound protected key cannot say so much, and takes neither.
    plain = await make(client, f"{label}-plain", bound=False, unwrap=True)
    secret = openssl.rsa_encrypt(plain.identity.spki, AES, OAEP_SHA1)
    refusal = await refused(
        client.unwrap(
            operation_id(),
            plain.label,
            secret,
            "RSA_WRAP_OAEP",
            f"{label}-in2",
            attributes=attributes,
            allowed_algorithms=["AES_GCM"],
        )
    )
    assert refusal.refusal == "unwrap.unapproved-limits"
    refusal = await refused(
        client.unwrap(
            operation_id(),
            plain.label,
            bytes(40),
            "AES_WRAP_PAD_EC",
            f"{label}-in2",
            attributes={"sign": True, "boundApprovals": True},
            policy=encode_policy(POLICY),
        )
    )
    assert refusal.refusal == "unwrap.unapproved-policy"


async def test_r7_what_officers_sign_can_be_read_by_them(client: HsmClient, label: str) -> None:
    key = await make(client, label, bound=True)
    request = request_id()
    covered = key.covered(None, lambda key: key.sign(request, b"pay 5", "SHA256_WITH_ECDSA", ""))
    assert covered is not None
    read = decode_statement(covered)
    facts = await client.lookup(label)
    assert (read.key_uuid, read.request_id, read.data) == (facts.uuid, request, b"pay 5")
    assert (read.spki_hash, read.policy_hash) == (
        sha256(facts.public_key).digest(),
        sha256(facts.policy).digest(),
    )
