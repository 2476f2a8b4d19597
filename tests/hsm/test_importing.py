"""Keys, public keys and certificates that were made elsewhere, in the real HSM."""

from __future__ import annotations

import datetime as dt
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from keyturn.crypto.imported_keys import as_pkcs8
from keyturn.errors import ErrorCode
from keyturn.ska import der
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.policy import encode_policy
from keyturn_testing import openssl
from keyturn_testing.hsm_actions import approve, refused
from keyturn_testing.keys import create_ec, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.passwords import sealed

if TYPE_CHECKING:
    from keyturn.hsm.client import HsmClient
    from keyturn.hsm.protocol import Attested

ADA = Officer("ada")
SHA = "SHA256_WITH_ECDSA"
SIGNS = {"sign": True, "destroyable": True}
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
AES = bytes(range(32))


def pkcs8(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return bytes(key.private_bytes(Encoding.DER, form, NoEncryption()))


def spki(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@cache
def certificate(key: Any, name_of: str = "imported") -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name_of)])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


async def take_in(client: HsmClient, label: str, algorithm: str = "", **material: Any) -> Attested:
    return await client.import_key(operation_id(), label, algorithm, **material)


async def test_a_private_key_comes_in_signs_and_is_attested_as_imported(client: HsmClient, label: str) -> None:
    made = await take_in(client, label, "EC", private_key=pkcs8(KEY), attributes=SIGNS)
    facts = parse_attestation(made.xml)
    assert (facts.creation, facts.public_key) == ("imported", spki(KEY))
    assert (facts.attributes["alwaysSensitive"], facts.attributes["neverExtractable"]) == (False, False)
    signature = await client.sign(b"", label, b"pay", SHA)
    assert openssl.dgst_accepts(spki(KEY), signature, b"pay", "sha256")


async def test_a_bare_rsa_key_is_read_too(client: HsmClient, label: str) -> None:
    bare = pkcs8(RSA, PrivateFormat.TraditionalOpenSSL)
    made = await take_in(client, label, "RSA", private_key=bare, attributes=SIGNS)
    assert parse_attestation(made.xml).public_key == spki(RSA)
    assert as_pkcs8(bare) == pkcs8(RSA)
    # It is put into PKCS#8 unread: the library would search for primes first, for seconds, and say another word.
    damaged = bare[:-1] + bytes([bare[-1] ^ 1])
    refusal = await refused(take_in(client, label + "-damaged", "RSA", private_key=damaged, attributes=SIGNS))
    assert refusal.refusal == "key.inconsistent"
    refusal = await refused(take_in(client, label + "-ec", "EC", private_key=bare, attributes=SIGNS))
    assert refusal.refusal == "import.kind"
    bare_ec = pkcs8(KEY, PrivateFormat.TraditionalOpenSSL)
    refusal = await refused(take_in(client, label + "-bare", "EC", private_key=bare_ec, attributes=SIGNS))
    assert refusal.refusal == "key.unreadable"


async def test_a_damaged_private_key_is_refused(client: HsmClient, label: str) -> None:
    good = pkcs8(RSA)
    for position in (len(good) - 5, len(good) // 2):
        bad = bytearray(good)
        bad[position] ^= 1
        refusal = await refused(take_in(client, label, "RSA", private_key=bytes(bad), attributes=SIGNS))
        assert refusal.code is ErrorCode.PARSING_KEY
    assert (await take_in(client, label, "RSA", private_key=good, attributes=SIGNS)).xml


async def test_a_weak_key_is_refused_as_at_creation(client: HsmClient, label: str) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - It is refused for that.
    refusal = await refused(take_in(client, label, "RSA", private_key=pkcs8(weak), attributes=SIGNS))
    assert (refusal.code, refusal.refusal) == (ErrorCode.KEY_SIZE, "key.weak")
    refusal = await refused(take_in(client, label, "RSA", public_key=spki(weak)))
    assert refusal.code is ErrorCode.KEY_SIZE


async def test_a_secret_key_comes_in(client: HsmClient, label: str) -> None:
    attributes = {"decrypt": True, "encrypt": True, "extractable": True, "sensitive": False}
    made = await take_in(client, label, "AES", secret_key=AES, attributes=attributes)
    assert parse_attestation(made.xml).algorithm == "AES"
    exported = await client.export(label)
    assert (exported.secret_key, exported.private_key, exported.public_key) == (AES, b"", b"")
    refusal = await refused(take_in(client, label + "-short", "AES", secret_key=AES[:-1], attributes=attributes))
    assert refusal.code is ErrorCode.KEY_SIZE
    refusal = await refused(take_in(client, label + "-kind", "EC", secret_key=AES, attributes=attributes))
    assert refusal.refusal == "import.kind"


async def test_import_combination(client: HsmClient, label: str) -> None:
    material = {"private_key": pkcs8(KEY), "public_key": spki(KEY), "certificate": certificate(KEY)}
    for wrong in (
        {"secret_key": AES, "private_key": material["private_key"]},
        {"secret_key": AES, "public_key": material["public_key"]},
        {"public_key": material["public_key"], "certificate": material["certificate"]},
    ):
        refusal = await refused(take_in(client, label, "EC", attributes=SIGNS, **wrong))
        assert (refusal.code, refusal.refusal) == (ErrorCode.VALIDATION_FAILED, "import.combination")
    assert (await refused(take_in(client, label, "EC", attributes=SIGNS))).refusal == "import.empty"
    refusal = await refused(take_in(client, label, "EC", private_key=material["private_key"]))
    assert refusal.refusal == "import.attributes-missing"
    made = await take_in(
        client, label, "EC", attributes=SIGNS, private_key=material["private_key"], certificate=material["certificate"]
    )
    assert made.xml
    assert (await client.lookup(label)).certificate == material["certificate"]


async def test_a_certificate_or_public_key_beside_a_private_key_is_its_own(client: HsmClient, label: str) -> None:
    for foreign in ({"public_key": spki(OTHER)}, {"certificate": certificate(OTHER)}):
        refusal = await refused(take_in(client, label, "EC", private_key=pkcs8(KEY), attributes=SIGNS, **foreign))
        assert (refusal.code, refusal.refusal) == (ErrorCode.VALIDATION_FAILED, "import.other-key")
    assert (await take_in(client, label, "EC", private_key=pkcs8(KEY), public_key=spki(KEY), attributes=SIGNS)).xml


async def test_key_exists(client: HsmClient, label: str) -> None:
    await take_in(client, label, "EC", private_key=pkcs8(KEY), attributes=SIGNS)
    refusal = await refused(take_in(client, label, "EC", private_key=pkcs8(KEY), attributes=SIGNS))
    assert (refusal.code, refusal.refusal) == (ErrorCode.KEY_ALREADY_EXISTING, "key.exists")


async def test_a_public_key_alone_verifies_and_does_nothing_else(client: HsmClient, label: str) -> None:
    made = await take_in(client, label, "EC", public_key=spki(KEY))
    assert made.xml
    assert (await client.lookup(label)).public_only
    assert '<public_key creation="imported">' in made.xml
    assert parse_attestation(made.xml).public_only
    signature = KEY.sign(b"pay", ec.ECDSA(hashes.SHA256()))
    assert await client.verify(label, b"pay", SHA, signature)
    assert not await client.verify(label, b"paz", SHA, signature)
    for act in (client.sign(b"", label, b"pay", SHA), client.decrypt(b"", label, b"x" * 256, "RSA")):
        assert (await refused(act)).refusal == "key.attribute"
    assert (await refused(client.export(label))).refusal in {"key.public-only", "key.attribute"}


async def test_a_public_key_on_its_label_replaces_the_one_before_as_another_key(client: HsmClient, label: str) -> None:
    await take_in(client, label, "EC", public_key=spki(KEY))
    before = await client.lookup(label)
    await take_in(client, label, "EC", certificate=certificate(OTHER))
    after = await client.lookup(label)
    assert (after.public_key, after.certificate) == (spki(OTHER), certificate(OTHER))
    assert (after.uuid == before.uuid, after.generation) == (False, 2)


@pytest.mark.rule("R18")
async def test_r18_onto_a_private_key_comes_only_what_belongs_to_it(client: HsmClient, label: str) -> None:
    await take_in(client, label, "EC", private_key=pkcs8(KEY), attributes=SIGNS)
    before = await client.lookup(label)
    for foreign in ({"public_key": spki(OTHER)}, {"certificate": certificate(OTHER)}):
        refusal = await refused(take_in(client, label, "EC", **foreign))
        assert (refusal.code, refusal.refusal) == (ErrorCode.KEY_ALREADY_EXISTING, "import.other-key")
    await take_in(client, label, "EC", certificate=certificate(KEY))
    after = await client.lookup(label)
    assert (after.uuid, after.generation, after.certificate) == (before.uuid, 1, certificate(KEY))
    assert await client.sign(b"", label, b"pay", SHA)


@pytest.mark.rule("R4")
async def test_r4_an_imported_key_with_a_policy_is_governed_and_never_leaves(client: HsmClient, label: str) -> None:
    policy = encode_policy(make_policy(quorum(1, ADA)))
    extractable = {**SIGNS, "extractable": True}
    refusal = await refused(take_in(client, label, "EC", private_key=pkcs8(KEY), attributes=extractable, policy=policy))
    assert (refusal.code, refusal.refusal) == (ErrorCode.KEY_ATTRIBUTES_INVALID, "attribute.extractable-with-policy")
    refusal = await refused(take_in(client, label, "AES", secret_key=AES, attributes={"decrypt": True}, policy=policy))
    assert refusal.refusal == "policy.symmetric-key"
    refusal = await refused(take_in(client, label, "EC", public_key=spki(KEY), policy=policy))
    assert refusal.refusal == "import.policy-without-private-key"
    await take_in(client, label, "EC", private_key=pkcs8(KEY), attributes=SIGNS, policy=policy)
    assert (await refused(client.sign(operation_id(), label, b"pay", SHA))).refusal == "approvals.missing"
    approvals = [approve(ADA, label, Action.USE, b"pay")]
    assert await client.sign(operation_id(), label, b"pay", SHA, approvals=approvals)
    assert (await refused(client.export(label))).code in {
        ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
        ErrorCode.KEY_ATTRIBUTES_INVALID,
    }


@pytest.mark.rule("R28")
async def test_r28_the_name_of_a_governed_key_is_not_replaced_by_an_import(client: HsmClient, label: str) -> None:
    policy = encode_policy(make_policy(quorum(1, ADA)))
    await take_in(client, label, private_key=pkcs8(KEY), certificate=certificate(KEY), attributes=SIGNS, policy=policy)
    refusal = await refused(take_in(client, label, certificate=certificate(KEY, "somebody else")))
    assert (refusal.code, refusal.refusal) == (ErrorCode.OPERATION_FORBIDDEN_FOR_KEY, "certificate.name-kept")
    assert (await take_in(client, label, certificate=certificate(KEY))).xml


@pytest.mark.rule("R27")
async def test_an_imported_key_can_have_a_password(client: HsmClient, label: str) -> None:
    password = await sealed(client, label, "secret")
    await take_in(client, label, "EC", private_key=pkcs8(KEY), attributes=SIGNS, sealed_password=password)
    assert (await refused(client.sign(b"", label, b"pay", SHA))).refusal == "key.password"
    assert await client.sign(b"", label, b"pay", SHA, sealed_password=password)
    refusal = await refused(take_in(client, label + "-public", "EC", public_key=spki(KEY), sealed_password=password))
    assert refusal.refusal == "import.nothing-to-protect"


async def test_certificate_encoding(client: HsmClient, label: str) -> None:
    for wrong in (b"", b"\x30\x00", certificate(KEY)[:-1]):
        if wrong:
            refusal = await refused(take_in(client, label, "EC", certificate=wrong))
            assert (refusal.code, refusal.refusal) == (ErrorCode.CERTIFICATE_ENCODING, "certificate.encoding")
    assert (await take_in(client, label, certificate=certificate(KEY))).xml


async def test_the_hsms_own_names_are_no_labels(client: HsmClient, label: str) -> None:
    refusal = await refused(take_in(client, "transport-key", "EC", public_key=spki(KEY)))
    assert refusal.refusal == "label.system-key"
    await create_ec(client, label)


@pytest.mark.parametrize(
    ("modulus", "exponent"),
    [((1 << 2047) + 2, 65537), ((1 << 2047) + 1, 65536), ((1 << 2047) + 1, 1), ((1 << 2047) + 1, (1 << 32) + 1)],
)
async def test_numbers_that_are_no_rsa_key_are_refused(
    client: HsmClient, label: str, modulus: int, exponent: int
) -> None:
    """The library reads some of them, and fails when they are to encrypt."""

    def key(modulus: int, exponent: int) -> bytes:
        numbers = der.encode(der.SEQUENCE, der.encode_unsigned(modulus) + der.encode_unsigned(exponent))
        algorithm = der.encode(der.SEQUENCE, der.encode_oid("1.2.840.113549.1.1.1") + b"\x05\x00")
        return der.encode(der.SEQUENCE, algorithm + der.encode_bits(numbers))

    refusal = await refused(take_in(client, label, "RSA", public_key=key(modulus, exponent)))
    assert (refusal.code, refusal.refusal) == (ErrorCode.PARSING_KEY, "key.unreadable")
    await take_in(client, label, "RSA", public_key=key((1 << 2047) + 1, (1 << 32) - 1))
    assert (await client.encrypt(label, b"pay", "RSA_PADDING_OAEP_WITH_SHA256")).ciphertext
