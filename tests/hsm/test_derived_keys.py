"""Derived keys in the real HSM: they are their master's in everything (R21), and behind the same door (R3)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyturn.crypto.derivation import DERIVATION_CURVES, derive, master_from_seed
from keyturn.errors import ErrorCode
from keyturn.ska.actions import Action
from keyturn.ska.attestation import attestation_to_json, parse_attestation
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.key_names import parse_path
from keyturn.ska.policy import encode_policy
from keyturn.ska.sealed_password import seal_password
from keyturn.ska.statement import encode_statement
from keyturn_testing.hsm_actions import approve, refused, stamp, statement
from keyturn_testing.keys import ED25519, P256, P384, SECP256K1, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from keyturn.hsm.client import HsmClient
    from keyturn.ska.attestation import KeyAttestation
    from keyturn.ska.policy import Policy

SHA = "SHA256_WITH_ECDSA"
ADA, BEN = Officer("ada"), Officer("ben", "ED")
POLICY = make_policy(quorum(2, ADA, BEN), block=quorum(1, ADA), unblock=quorum(2, ADA, BEN), modify=quorum(2, ADA, BEN))
SEED = bytes(range(32))
MASTER = {"sign": True, "derive": True, "slip10": True, "destroyable": True}


async def make_master(
    client: HsmClient, label: str, policy: Policy | None = POLICY, *, curve: str = SECP256K1, **attributes: bool
) -> KeyAttestation:
    made = await client.import_seed(
        operation_id(),
        label,
        SEED,
        curve,
        attributes=MASTER | attributes,
        policy=b"" if policy is None else encode_policy(policy),
    )
    return parse_attestation(made.xml)


def expected_child(path: str, curve: str = SECP256K1) -> bytes:
    """The public key that everybody who has the seed would find."""
    return derive(master_from_seed(DERIVATION_CURVES[curve], SEED), parse_path(path)).public_key


def approved(name: str, payload: bytes, *officers: Officer) -> list[bytes]:
    return [approve(officer, name, Action.USE, payload) for officer in officers or (ADA, BEN)]


def sign(client: HsmClient, name: str, payload: bytes, approvals: list[bytes]) -> Awaitable[bytes]:
    return client.sign(operation_id(), name, payload, SHA, approvals=approvals)


# --- ordinary keys: as documented -------------------------------------------------------------------------


async def test_a_name_with_a_path_signs_with_the_child_that_everybody_finds(client: HsmClient, label: str) -> None:
    await make_master(client, label, None)
    name = f"{label}/44'/0'/0'/0/1"
    signature = await sign(client, name, b"pay", [])
    key = load_der_public_key(expected_child("44'/0'/0'/0/1"))
    assert isinstance(key, EllipticCurvePublicKey)
    key.verify(signature, b"pay", ECDSA(SHA256()))
    assert await client.verify(name, b"pay", SHA, signature)
    assert not await client.verify(f"{label}/44'/0'/0'/0/2", b"pay", SHA, signature)
    assert not await client.verify(label, b"pay", SHA, signature)
    assert await client.labels() != []
    assert name not in await client.labels()


async def test_what_is_attested_of_a_temporary_child(client: HsmClient, label: str) -> None:
    master = await make_master(client, label, None)
    found = parse_attestation((await client.attest(f"{label}/44'/0'")).xml)
    assert (found.label, found.uuid, found.creation) == (f"{label}/44'/0'", master.uuid, "derived")
    assert found.derivation == ("SLIP-10", "44'/0'")
    assert found.public_key == expected_child("44'/0'")
    json = attestation_to_json(found)
    assert json["derivedAttributes"] == {"derivationType": "SLIP-10", "derivationValue": "44'/0'"}
    assert attestation_to_json(master)["derivedAttributes"] is None


async def test_ed25519_by_slip_0010(client: HsmClient, label: str) -> None:
    await make_master(client, label, None, curve=ED25519)
    name = f"{label}/44'/148'/0'"
    signature = await client.sign(operation_id(), name, b"pay", "EDDSA")
    key = load_der_public_key(expected_child("44'/148'/0'", ED25519))
    assert isinstance(key, Ed25519PublicKey)
    key.verify(signature, b"pay")
    assert parse_attestation((await client.attest(name)).xml).derivation == ("ADA/SLIP-10", "44'/148'/0'")
    refusal = await refused(client.sign(operation_id(), f"{label}/44'/148'/0", b"pay", "EDDSA"))
    assert (refusal.code, refusal.refusal) == (ErrorCode.KEY_ATTRIBUTES_INVALID, "path.not-hardened")


async def test_a_generated_master_derives_too_and_keeps_its_children_over_a_signature(
    client: HsmClient, label: str
) -> None:
    made = await client.create(operation_id(), label, "EC", curve_oid=P256, attributes=MASTER)
    own = await sign(client, label, b"own", [])
    assert await client.verify(label, b"own", SHA, own)
    child = parse_attestation((await client.attest(f"{label}/0'/1")).xml)
    signature = await sign(client, f"{label}/0'/1", b"pay", [])
    assert await client.verify(f"{label}/0'/1", b"pay", SHA, signature)
    assert child.public_key != parse_attestation(made.xml).public_key
    assert child.public_key == parse_attestation((await client.attest(f"{label}/0'/1")).xml).public_key


@pytest.mark.parametrize(
    ("algorithm", "curve", "attributes", "number", "word"),
    [
        ("ED", ED25519, {"derive": True, "bip32": True}, 634, "derive.ada"),
        ("EC", P384, {"derive": True, "slip10": True}, 634, "derive.algorithm"),
        ("RSA", "", {"derive": True, "bip32": True}, 634, "derive.algorithm"),
        ("EC", P256, {"slip10": True}, 606, "attribute.derivation"),
    ],
)
async def test_keys_that_could_not_derive_are_not_made(
    client: HsmClient, label: str, algorithm: str, curve: str, attributes: Mapping[str, bool], number: int, word: str
) -> None:
    size = 2048 if algorithm == "RSA" else 0
    refusal = await refused(
        client.create(
            operation_id(), label, algorithm, curve_oid=curve, key_size=size, attributes={"sign": True, **attributes}
        )
    )
    assert (refusal.code.number, refusal.refusal) == (number, word)
    await client.create(operation_id(), label, "EC", curve_oid=P256, attributes=MASTER)


@pytest.mark.parametrize(
    ("path", "number", "word"),
    [
        ("", 610, "path.empty"),
        ("x", 606, "path.element"),
        ("m/0", 606, "path.element"),
        ("00", 606, "path.spelling"),
        ("2147483648", 606, "path.range"),
        ("/".join("0" * 17), 606, "path.depth"),
    ],
)
async def test_r21_a_path_has_one_spelling(client: HsmClient, label: str, path: str, number: int, word: str) -> None:
    await make_master(client, label, None)
    await sign(client, f"{label}/0", b"pay", [])
    for act in (
        sign(client, f"{label}/{path}", b"pay", []),
        client.derive_key(operation_id(), label, path, attributes={}),
    ):
        refusal = await refused(act)
        assert (refusal.code.number, refusal.refusal) == (number, word)


async def test_keys_without_the_attributes_have_no_children(client: HsmClient, label: str) -> None:
    await client.create(operation_id(), label, "EC", curve_oid=P256, attributes={"sign": True, "derive": True})
    refusal = await refused(sign(client, f"{label}/0", b"pay", []))
    assert (refusal.code.number, refusal.refusal) == (606, "derive.attribute")
    refusal = await refused(sign(client, f"{label}-not/0", b"pay", []))
    assert (refusal.code.number, refusal.refusal) == (650, "key.unknown")


async def test_a_stored_child_has_its_masters_attributes_but_for_those_that_are_given(
    client: HsmClient, label: str
) -> None:
    await make_master(client, label, None)
    made = await client.derive_key(
        operation_id(), label, "44'/0'", attributes={"derive": False, "slip10": False, "modifiable": False}
    )
    found = parse_attestation(made.xml)
    assert (found.label, found.creation) == (f"{label}/44'/0'", "derived")
    assert found.public_key == expected_child("44'/0'")
    assert (found.attributes["sign"], found.attributes["derive"], found.attributes["modifiable"]) == (
        True,
        False,
        False,
    )
    assert f"{label}/44'/0'" in await client.labels()
    signature = await sign(client, found.label, b"pay", [])
    assert await client.verify(found.label, b"pay", SHA, signature)
    refusal = await refused(client.derive_key(operation_id(), label, "44'/0'", attributes={}))
    assert (refusal.code.number, refusal.refusal) == (608, "key.exists")
    # A child of the child is the master's grandchild, under the one name that it has.
    made = await client.derive_key(operation_id(), found.label, "7", attributes={})
    assert parse_attestation(made.xml).label == f"{label}/44'/0'/7"
    assert parse_attestation(made.xml).public_key == expected_child("44'/0'/7")


async def test_deleting_a_master_ends_its_children(client: HsmClient, label: str) -> None:
    await make_master(client, label, None)
    name = f"{label}/0'"
    await client.derive_key(operation_id(), label, "0'", attributes={"destroyable": False})
    refusal = await refused(client.delete(operation_id(), label))
    assert (refusal.code.number, refusal.refusal) == (614, "key.child-not-destroyable")
    refusal = await refused(client.delete(operation_id(), name))
    assert refusal.refusal == "key.not-destroyable"
    other = f"{label}-2"
    await make_master(client, other, None)
    refusal = await refused(client.delete(operation_id(), f"{other}/0'"))
    assert (refusal.code.number, refusal.refusal) == (614, "key.derived")
    await client.derive_key(operation_id(), other, "0'", attributes={})
    await client.derive_key(operation_id(), other, "1'", attributes={})
    await client.delete(operation_id(), f"{other}/1'")
    assert f"{other}/1'" not in await client.labels()
    await sign(client, f"{other}/1'", b"still derived when it is named", [])
    await client.delete(operation_id(), other)
    assert not [found for found in await client.labels() if found.startswith(other)]
    for gone in (other, f"{other}/0'", f"{other}/1'"):
        assert (await refused(sign(client, gone, b"pay", []))).code is ErrorCode.KEY_NOT_EXISTENT


async def test_a_new_master_of_the_same_name_has_other_children(client: HsmClient, label: str) -> None:
    await make_master(client, label, None)
    before = (await client.lookup(f"{label}/0'")).public_key
    await client.derive_key(operation_id(), label, "0'", attributes={})
    await client.delete(operation_id(), label)
    await client.create(operation_id(), label, "EC", curve_oid=SECP256K1, attributes=MASTER)
    after = await client.lookup(f"{label}/0'")
    assert after.public_key != before
    signature = await sign(client, f"{label}/0'", b"pay", [])
    key = load_der_public_key(after.public_key)
    assert isinstance(key, EllipticCurvePublicKey)
    key.verify(signature, b"pay", ECDSA(SHA256()))


# --- seeds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [15, 65])
async def test_a_seed_has_128_to_512_bits(client: HsmClient, label: str, size: int) -> None:
    def give(seed: bytes, curve: str = SECP256K1) -> Awaitable[object]:
        return client.import_seed(operation_id(), label, seed, curve, attributes=MASTER)

    refusal = await refused(give(bytes(size)))
    assert (refusal.code.number, refusal.refusal) == (600, "seed.size")
    refusal = await refused(give(bytes(32), P384))
    assert (refusal.code.number, refusal.refusal) == (634, "derive.algorithm")
    await give(bytes(64))


async def test_an_imported_seed_is_attested_as_imported(client: HsmClient, label: str) -> None:
    found = await make_master(client, label, None)
    assert found.creation == "imported"
    assert found.public_key == master_from_seed(DERIVATION_CURVES[SECP256K1], SEED).public_key
    assert (found.attributes["alwaysSensitive"], found.attributes["neverExtractable"]) == (False, False)


# --- R21: under a policy ----------------------------------------------------------------------------------


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


# --- addresses --------------------------------------------------------------------------------------------


async def test_an_address_belongs_to_a_key_with_a_policy(client: HsmClient, label: str) -> None:
    blob = encode_policy(POLICY)

    def make(label: str, address_format: str, policy: bytes, curve: str = SECP256K1) -> Awaitable[object]:
        return client.create(
            operation_id(),
            label,
            "EC",
            curve_oid=curve,
            attributes=MASTER,
            policy=policy,
            address_format=address_format,
        )

    for given, number, word in (
        (("IOTA", blob), 605, "address.iota"),
        (("DOGE", blob), 605, "address.format"),
        (("XLM", blob), 605, "address.curve"),
        (("BTC", blob, P256), 605, "address.curve"),
        (("BTC", b""), 630, "address.without-policy"),
    ):
        refusal = await refused(make(label, *given))
        assert (refusal.code.number, refusal.refusal) == (number, word)
    await make(label, "BTC", blob)
    own, child = await client.address(label), await client.address(f"{label}/0'/1")
    assert own.address_format == child.address_format == "BTC"
    assert own.address != child.address
    found = parse_attestation((await client.attest(f"{label}/0'/1")).xml)
    assert found.address == ("BTC", child.address)
    assert attestation_to_json(found)["addressTruncated"] == {"address": child.address.hex().upper(), "format": "BTC"}
    await make(f"{label}-2", "", blob)
    await make(f"{label}-3", "", b"")
    for other in (f"{label}-2", f"{label}-3"):
        refusal = await refused(client.address(other))
        assert (refusal.code.number, refusal.refusal) == (630, "address.none")


@pytest.mark.rule("R21")
@pytest.mark.parametrize("stored", [False, True])
async def test_r21_a_child_has_no_password_of_its_own(client: HsmClient, label: str, stored: bool) -> None:
    await make_master(client, label, None)
    if stored:
        await client.derive_key(operation_id(), label, "0'", attributes={})
    transport = (await client.info()).transport_key

    def seal(name: str, password: str) -> bytes:
        return seal_password(transport, name, password, generate_private_key(SECP256R1()))

    refusal = await refused(
        client.change_password(operation_id(), f"{label}/0'", seal(f"{label}/0'", "secret"), sealed_password=b"")
    )
    assert (refusal.code.number, refusal.refusal) == (614, "key.derived")
    await client.change_password(operation_id(), label, seal(label, "secret"), sealed_password=b"")
    # The master's password is its children's.
    for given in (b"", seal(f"{label}/0'", "wrong"), seal(f"{label}-2", "secret")):
        refusal = await refused(client.sign(operation_id(), f"{label}/0'", b"pay", SHA, sealed_password=given))
        assert refusal.code is ErrorCode.KEY_PASSWORD_MISMATCH
    await client.sign(operation_id(), f"{label}/0'", b"pay", SHA, sealed_password=seal(f"{label}/0'", "secret"))
    refusal = await refused(client.derive_key(operation_id(), label, "1'", attributes={}))
    assert refusal.code is ErrorCode.KEY_PASSWORD_MISMATCH
    await client.derive_key(operation_id(), label, "1'", attributes={}, sealed_password=seal(label, "secret"))
    for given in (b"", seal(f"{label}/1'", "wrong")):
        refusal = await refused(client.delete(operation_id(), f"{label}/1'", sealed_password=given))
        assert refusal.code is ErrorCode.KEY_PASSWORD_MISMATCH
    await client.delete(operation_id(), f"{label}/1'", sealed_password=seal(f"{label}/1'", "secret"))
