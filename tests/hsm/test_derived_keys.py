"""Derived keys in the real HSM: they are their master's in everything (R21), and behind the same door (R3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyturn.crypto.derivation import DERIVATION_CURVES, master_from_seed
from keyturn.errors import ErrorCode
from keyturn.ska.attestation import attestation_to_json, parse_attestation
from keyturn.ska.policy import encode_policy
from keyturn.ska.sealed_password import seal_password
from keyturn_testing.derived import MASTER, POLICY, SEED, SHA, expected_child, make_master, sign
from keyturn_testing.hsm_actions import refused
from keyturn_testing.keys import ED25519, P256, P384, SECP256K1, operation_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from keyturn.hsm.client import HsmClient


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
