"""Which keys may approve, and who is the same person (R13)."""

from __future__ import annotations

import datetime as dt
from math import gcd, isqrt
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import ErrorCode, FormatError
from keyturn.ska import der, key_strength
from keyturn.ska.approver_keys import (
    MAX_CERTIFICATE,
    MAX_SPKI,
    certificate_name,
    certificate_spki,
    identity_of,
    load_approver_certificate,
    load_approver_key,
)
from keyturn_testing.ska import person

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.rule("R13")

RSA = der.encode_oid("1.2.840.113549.1.1.1")
PSS = der.encode_oid("1.2.840.113549.1.1.10")
EC = der.encode_oid("1.2.840.10045.2.1")
P256 = der.encode_oid("1.2.840.10045.3.1.7")
ED25519 = der.encode_oid("1.3.101.112")
DSA = der.encode_oid("1.2.840.10040.4.1")
NULL = der.encode(der.NULL, b"")
PRIME = 2**255 - 19


def spki_of(algorithm: bytes, bits: bytes) -> bytes:
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, algorithm) + der.encode_bits(bits))


def rsa_bits(n: int, e: int = 65537) -> bytes:
    return der.encode(der.SEQUENCE, der.encode_unsigned(n) + der.encode_unsigned(e))


def ed_spki(number: int) -> bytes:
    return spki_of(ED25519, number.to_bytes(32, "little"))


def dsa_spki(p: int, q: int, g: int, y: int) -> bytes:
    domain = der.encode(der.SEQUENCE, b"".join(map(der.encode_unsigned, (p, q, g))))
    return spki_of(DSA + domain, der.encode_unsigned(y))


def refusal(spki: bytes, load: Callable[[bytes], object] = load_approver_key) -> str:
    with pytest.raises(FormatError) as caught:
        load(spki)
    return caught.value.refusal


def numbers_of_erin() -> tuple[int, int]:
    key = person("erin").key
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.public_key().public_numbers()
    return numbers.n, numbers.e


@pytest.mark.parametrize("name", ["alice", "carol", "dave", "erin", "frank", "grace"])
def test_the_usual_encoding_is_the_normal_form(name: str) -> None:
    key = load_approver_key(person(name).spki)
    assert key.identity == identity_of(person(name).spki) == person(name).spki
    assert key.kind == {"alice": "EC", "carol": "ED", "dave": "EC", "erin": "RSA", "frank": "EC", "grace": "DSA"}[name]
    assert len(key.fingerprint) == 64
    assert key == load_approver_certificate(person(name).certificate)
    assert key != load_approver_key(person("bob").spki)
    assert len({key, load_approver_certificate(person(name).certificate)}) == 1


@pytest.mark.parametrize(
    "curve",
    [
        ec.SECP224R1(),
        ec.SECP256R1(),
        ec.SECP256K1(),
        ec.SECP384R1(),
        ec.SECP521R1(),
        ec.BrainpoolP256R1(),
        ec.BrainpoolP384R1(),
        ec.BrainpoolP512R1(),
    ],
    ids=lambda c: c.name,
)
def test_a_compressed_point_is_the_same_person(curve: ec.EllipticCurve) -> None:
    public = ec.generate_private_key(curve).public_key()
    usual = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    outer = der.sequence_of(usual, "key")
    algorithm = outer.take(der.SEQUENCE)
    compressed = spki_of(algorithm, public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))
    assert compressed != usual
    assert load_approver_key(compressed) == load_approver_key(usual)
    assert load_approver_key(compressed).identity == usual


def test_rsa_is_the_same_person_under_either_object_identifier() -> None:
    bits = rsa_bits(*numbers_of_erin())
    forms = (RSA + NULL, RSA, PSS, PSS + der.encode(der.SEQUENCE, b""))
    assert {load_approver_key(spki_of(form, bits)).identity for form in forms} == {person("erin").spki}
    for form in (RSA + der.encode(der.SEQUENCE, b""), RSA + NULL + NULL, RSA + b"\5\1\0", PSS + NULL):
        assert refusal(spki_of(form, bits)) == "approver.malformed-key"


@pytest.mark.parametrize(
    ("why", "n", "e"),
    [
        ("even exponent", None, 65536),
        ("exponent 1", None, 1),
        ("exponent 2^32 + 1", None, 2**32 + 1),
        ("even modulus", 2**2047, 65537),
        ("too small", 2**1023 + 1, 65537),
        ("small factor", 3, 65537),
        ("factor 65521", 65521, 65537),
        ("square", 0, 65537),
    ],
)
def test_weak_rsa_keys_are_refused(why: str, n: int | None, e: int) -> None:
    good, _ = numbers_of_erin()
    if why == "square":
        n = (isqrt(good) | 1) ** 2
        while gcd(n, key_strength._small_primes()) != 1 or n.bit_length() != 2048:
            n = (isqrt(n) + 2) ** 2
    elif n is not None and n < 2**17:
        n = n * (good // n | 1)
    assert refusal(spki_of(RSA + NULL, rsa_bits(good if n is None else n, e))) == "approver.weak-key"
    for exponent in (3, 17, 65537, 2**32 - 1):
        assert load_approver_key(spki_of(RSA + NULL, rsa_bits(good, exponent))).kind == "RSA"


def test_an_rsa_modulus_that_is_a_prime_or_a_power_of_one_is_refused() -> None:
    """Anybody finds the private exponent then; no small factor and no square root gives it away."""
    prime, _, _, _ = grace()
    power = (2**521 - 1) ** 5
    good, _ = numbers_of_erin()
    for n in (prime, power):
        assert gcd(n, key_strength._small_primes()) == 1
        with pytest.raises(FormatError, match="prime or a power of one") as caught:
            load_approver_key(spki_of(RSA + NULL, rsa_bits(n)))
        assert caught.value.refusal == "approver.weak-key"
    assert load_approver_key(spki_of(RSA + NULL, rsa_bits(good))).kind == "RSA"


def test_rsa_keys_have_2048_to_8192_bits() -> None:
    # The numbers are no real keys, but no small factor gives them away; only the size is at stake.
    def modulus(bits: int) -> int:
        n: int = 2 ** (bits - 1) + 1
        while gcd(n, key_strength._small_primes()) != 1:
            n += 2
        return n

    for bits in (2048, 8192):
        assert load_approver_key(spki_of(RSA + NULL, rsa_bits(modulus(bits)))).kind == "RSA"
    for bits in (1024, 2047, 8193):
        assert refusal(spki_of(RSA + NULL, rsa_bits(modulus(bits)))) == "approver.weak-key"


def test_points_off_the_curve_and_other_forms_are_refused() -> None:
    point = person("alice").spki[-65:]
    assert load_approver_key(spki_of(EC + P256, point)).kind == "EC"
    off = point[:-1] + bytes([point[-1] ^ 1])
    hybrid = bytes([6 + (point[-1] & 1)]) + point[1:]
    for bad in (off, hybrid, b"", b"\0", point[1:], point + b"\0", b"\4" + bytes(64)):
        assert refusal(spki_of(EC + P256, bad)) == "approver.malformed-key"


@pytest.mark.parametrize(
    "spki",
    [
        spki_of(EC + der.encode_oid("1.2.840.10045.3.1.1"), b"\4" + bytes(48)),
        spki_of(EC + der.encode_oid("1.3.132.0.1"), b"\4" + bytes(42)),
        spki_of(EC + der.encode(der.SEQUENCE, b""), b"\4"),
        ed448.Ed448PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        x25519.X25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ],
    ids=["prime192v1", "sect163k1", "explicit curve", "Ed448", "X25519"],
)
def test_other_kinds_of_keys_are_refused_601(spki: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        load_approver_key(spki)
    assert caught.value.code is ErrorCode.UNSUPPORTED_APPROVER_KEY_TYPE
    assert caught.value.refusal == "approver.unsupported-key"


TORSION = [
    bytes(32),
    b"\1" + bytes(31),
    (PRIME - 1).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]


@pytest.mark.parametrize("encoded", TORSION, ids=lambda b: b.hex()[:8])
@pytest.mark.parametrize("sign", [0, 0x80])
def test_ed25519_points_of_small_order_are_refused(encoded: bytes, sign: int) -> None:
    """The eight points of small order (RFC 7748 section 7 and the literature), with either sign."""
    assert refusal(spki_of(ED25519, encoded[:31] + bytes([encoded[31] | sign]))) == "approver.weak-key"
    assert load_approver_key(person("carol").spki).kind == "ED"


def test_ed25519_encodings_that_are_not_canonical_are_refused() -> None:
    for number in (PRIME, PRIME + 1, PRIME + 2, 2**255 - 1, 2**256 - 1, 1 | 1 << 255):
        assert refusal(ed_spki(number)) == "approver.weak-key"


def test_ed25519_points_off_the_curve_are_refused() -> None:
    off = next(n for n in range(2, 100) if key_strength._decode_point(n.to_bytes(32, "little")) is None)
    assert refusal(ed_spki(off)) == "approver.weak-key"
    assert refusal(spki_of(ED25519, bytes(31))) == "approver.malformed-key"
    assert refusal(spki_of(ED25519 + NULL, person("carol").spki[-32:])) == "approver.malformed-key"


def test_ed25519_points_of_mixed_order_are_refused() -> None:
    """Such a point would be a second identity for the same private key."""
    good = key_strength._decode_point(person("carol").spki[-32:])
    two = key_strength._decode_point((PRIME - 1).to_bytes(32, "little"))
    assert good is not None
    assert two is not None
    x, y, z, _ = key_strength._add(good, two)
    inverse = pow(z, -1, PRIME)
    encoded = (y * inverse % PRIME) | ((x * inverse % PRIME) & 1) << 255
    assert refusal(ed_spki(encoded)) == "approver.weak-key"


@given(st.binary(min_size=32, max_size=32))
def test_real_ed25519_keys_always_pass(seed: bytes) -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key()
    key_strength.check_ed25519(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def grace() -> tuple[int, int, int, int]:
    key = person("grace").key
    assert isinstance(key, dsa.DSAPrivateKey)
    numbers = key.public_key().public_numbers()
    domain = numbers.parameter_numbers
    return domain.p, domain.q, domain.g, numbers.y


def test_dsa_keys_have_checked_domains_and_lie_in_their_group() -> None:
    p, q, g, y = grace()
    assert load_approver_key(dsa_spki(p, q, g, y)).kind == "DSA"
    for bad in (
        (p, q, g, 1),
        (p, q, g, p - 1),
        (p, q, g, y + 1),
        (p, q, 1, y),
        (p, q, p - 1, y),
        (p, q, g + 1, y),
        (p, q + 2, g, y),
        (p + 2, q, g, y),
    ):
        assert refusal(dsa_spki(*bad)) in ("approver.weak-key", "approver.malformed-key")


def test_dsa_keys_below_2048_256_are_refused() -> None:
    weak = dsa.generate_private_key(1024)  # noqa: S505 # It must be refused.
    numbers = weak.public_key().public_numbers()
    domain = numbers.parameter_numbers
    assert refusal(dsa_spki(domain.p, domain.q, domain.g, numbers.y)) == "approver.weak-key"


def test_dsa_parameters_that_are_not_prime_are_refused() -> None:
    """p is the square of a prime r of 1024 bits, g has order q modulo it: only the test for primes can tell."""
    _, q, _, _ = grace()
    start = 3 * 2**1022 // q // 2 * 2
    r = next(k * q + 1 for k in range(start, start + 100_000, 2) if key_strength._is_prime(k * q + 1))
    p = r * r
    g = pow(2, r * (r - 1) // q, p)
    assert p.bit_length() == 2048
    assert (p - 1) % q == 0
    assert pow(g, q, p) == 1 != g
    with pytest.raises(FormatError, match="prime") as caught:
        load_approver_key(dsa_spki(p, q, g, g))
    assert caught.value.refusal == "approver.weak-key"


@pytest.mark.parametrize("number", [561, 1105, 3215031751, 2**61 - 2, (2**61 - 1) * (2**89 - 1)])
def test_composites_are_not_taken_for_primes(number: int) -> None:
    assert not key_strength._is_prime(number)


@pytest.mark.parametrize("number", [2**89 - 1, 2**127 - 1, 2**521 - 1])
def test_primes_are_taken_for_primes(number: int) -> None:
    assert key_strength._is_prime(number)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\x30\x00",
        b"junk",
        bytes(MAX_SPKI + 1),
        person("alice").spki + b"\0",
        person("alice").spki[:-1],
        spki_of(RSA + NULL, rsa_bits(*numbers_of_erin()) + b"\0"),
        spki_of(RSA + NULL, b"\x30\x06\x02\x01\xff\x02\x01\x03"),
        spki_of(RSA + NULL, b"\x30\x07\x02\x02\x00\x03\x02\x01\x03"),
        spki_of(DSA, b"\2\1\1"),
    ],
)
def test_what_is_no_key_is_refused_407(bad: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        load_approver_key(bad)
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.PARSING_KEY, "approver.malformed-key")


# --- certificates ------------------------------------------------------------------------------------


def certificate(*names: x509.NameAttribute[str]) -> bytes:
    key = person("alice").key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    subject = x509.Name([x509.RelativeDistinguishedName([name]) for name in names])
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def common_name(value: str, kind: x509.name._ASN1Type = x509.name._ASN1Type.UTF8String) -> x509.NameAttribute[str]:
    return x509.NameAttribute(x509.NameOID.COMMON_NAME, value, kind)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (x509.name._ASN1Type.UTF8String, "Zoë"),
        (x509.name._ASN1Type.PrintableString, "Zoe"),
        (x509.name._ASN1Type.IA5String, "zoe@example"),
        (x509.name._ASN1Type.BMPString, "Zoë"),
        (x509.name._ASN1Type.UniversalString, "Zoë"),
        (x509.name._ASN1Type.T61String, "Zoe"),
    ],
)
def test_the_common_name_is_read_in_every_string_type(kind: x509.name._ASN1Type, name: str) -> None:
    assert certificate_name(certificate(common_name(name, kind))) == name


def test_the_last_of_several_common_names_is_the_most_specific() -> None:
    organisation = x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Mill")
    assert certificate_name(certificate(common_name("first"), organisation, common_name("second"))) == "second"


def test_a_certificate_without_common_name_is_refused_604() -> None:
    nameless = certificate(x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Mill"))
    with pytest.raises(FormatError) as caught:
        certificate_name(nameless)
    assert caught.value.code is ErrorCode.NO_NAME_FOR_CERTIFICATE_APPROVER
    assert caught.value.refusal == "approver.no-name"
    assert load_approver_certificate(nameless) == load_approver_key(person("alice").spki)


@pytest.mark.parametrize(
    "bad",
    [b"", b"junk", person("alice").spki, person("alice").certificate + b"\0", bytes(MAX_CERTIFICATE + 1)],
)
def test_what_is_no_certificate_is_refused_409(bad: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        certificate_spki(bad)
    assert caught.value.code is ErrorCode.PARSING_CERTIFICATE
    assert caught.value.refusal == "approver.malformed-certificate"
    assert certificate_spki(person("alice").certificate) == person("alice").spki


def test_a_weak_key_is_refused_in_a_certificate_too() -> None:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 # It must be refused.
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([common_name("weak")]))
        .issuer_name(x509.Name([]))
        .public_key(weak.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
        .sign(weak, hashes.SHA256())
    )
    assert refusal(made.public_bytes(Encoding.DER), load_approver_certificate) == "approver.weak-key"
