"""What comes out of a wrapping is a key like those that are made here, or is refused: hostile contents."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.crypto.imported_keys import MAX_PKCS8, checked_private_key
from keyturn.crypto.keys import (
    CURVES,
    ED25519_OID,
    generate,
    make_spec,
    private_key_to_der,
    public_spki,
)
from keyturn.crypto.registry import sign, verify
from keyturn.crypto.wrapping import WRAP_METHODS, unwrap, wrap
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.der import encode, encode_bits, encode_oid, encode_unsigned
from keyturn_testing.one_bit import flipped
from keyturn_testing.wrappings import AES, PKCS8_METHODS, refusal_of, sample, wrapped_raw

if TYPE_CHECKING:
    from keyturn.crypto.keys import PrivateKey

RSA_OID: Final = "1.2.840.113549.1.1.1"
EC_OID: Final = "1.2.840.10045.2.1"
OCTETS: Final = 0x04


def pkcs8(oid: bytes, key: bytes, version: int = 0) -> bytes:
    return encode(0x30, encode_unsigned(version) + encode(0x30, oid) + encode(OCTETS, key))


def rsa_pkcs8(version: int = 0, **numbers: int) -> bytes:
    order = ("n", "e", "d", "p", "q", "dp", "dq", "qinv")
    content = encode_unsigned(version) + b"".join(encode_unsigned(numbers[name]) for name in order)
    return pkcs8(encode_oid(RSA_OID) + b"\5\0", encode(0x30, content))


def numbers_of(key: rsa.RSAPrivateKey) -> dict[str, int]:
    private = key.private_numbers()
    public = private.public_numbers
    return {
        "n": public.n,
        "e": public.e,
        "d": private.d,
        "p": private.p,
        "q": private.q,
        "dp": private.dmp1,
        "dq": private.dmq1,
        "qinv": private.iqmp,
    }


@pytest.mark.parametrize("name", ["n", "e", "d", "p", "q", "dp", "dq", "qinv"])
@pytest.mark.parametrize("change", [1, 2, 1 << 20])
def test_an_rsa_key_whose_numbers_do_not_belong_together_is_damaged(
    name: str, change: int, rsa_key: rsa.RSAPrivateKey
) -> None:
    numbers = numbers_of(rsa_key)
    good = rsa_pkcs8(**numbers)
    assert unwrap(AES, "AES_WRAP_PAD_RSA", wrapped_raw(good)).private_key == private_key_to_der(rsa_key)
    wrong = rsa_pkcs8(**(numbers | {name: numbers[name] ^ change}))
    code, refusal, message = refusal_of(AES, "AES_WRAP_PAD_RSA", wrapped_raw(wrong))
    assert code is ErrorCode.PARSING_KEY
    assert refusal in ("key.inconsistent", "key.unreadable")
    assert str(numbers["p"]) not in message


def test_an_rsa_key_of_consistent_but_foolish_numbers_is_damaged(rsa_key: rsa.RSAPrivateKey) -> None:
    """All equations hold, but a factor is no prime, both are one, or one is small."""
    numbers = numbers_of(rsa_key)
    parts = two_halves()
    one = numbers["p"]
    tiny = 2**64 - 59
    cases = {
        "composite factors": ((parts[0]["p"] * parts[1]["p"], parts[0]["q"] * parts[1]["q"]), "key.inconsistent"),
        "one factor twice": ((one, one), "key."),
        "a small factor": ((tiny, one * parts[0]["p"] * (2**448 - 207)), "key."),
        "factor one": ((numbers["n"], 1), "key."),
    }
    for name, (factors, expected) in cases.items():
        code, refusal, _ = refusal_of(AES, "AES_WRAP_PAD_RSA", wrapped_raw(from_factors(*factors)))
        assert code in (ErrorCode.PARSING_KEY, ErrorCode.KEY_SIZE), name
        assert refusal.startswith(expected), name
    good = from_factors(numbers["p"], numbers["q"])
    assert unwrap(AES, "AES_WRAP_PAD_RSA", wrapped_raw(good)).key_size == 2048


def two_halves() -> list[dict[str, int]]:
    """Two keys of 1024 bits, whose moduli have a product of exactly 2048 bits, for their primes."""
    while True:
        parts = [numbers_of(rsa.generate_private_key(65537, 1024)) for _ in range(2)]  # noqa: S505 - Never used as keys.
        if (parts[0]["n"] * parts[1]["n"]).bit_length() == 2048:
            return parts


def from_factors(p: int, q: int, e: int = 65537) -> bytes:
    """An RSA key as if both were primes."""
    phi = max((p - 1) * (q - 1), 3)
    d = pow(e, -1, phi)
    qinv = pow(q, -1, p) if p != q else 1
    return rsa_pkcs8(n=p * q, e=e, d=d, p=p, q=q, dp=d % (p - 1), dq=d % max(q - 1, 1), qinv=qinv)


@pytest.mark.parametrize("exponent", [1, 2, 65536, 2**32 + 15, 2**255 + 95])
def test_an_rsa_key_with_a_foolish_exponent_is_refused(exponent: int, rsa_key: rsa.RSAPrivateKey) -> None:
    numbers = numbers_of(rsa_key)
    p, q = numbers["p"], numbers["q"]
    phi = (p - 1) * (q - 1)
    try:
        d = pow(exponent, -1, phi)
    except ValueError:  # It has no inverse, which is one more reason.
        d = numbers["d"]
    changed = numbers | {"e": exponent, "d": d, "dp": d % (p - 1), "dq": d % (q - 1)}
    assert refusal_of(AES, "AES_WRAP_PAD_RSA", wrapped_raw(rsa_pkcs8(**changed)))[0] is ErrorCode.PARSING_KEY
    assert unwrap(AES, "AES_WRAP_PAD_RSA", wrapped_raw(rsa_pkcs8(**numbers))).key_size == 2048


def test_an_rsa_key_of_another_program_with_a_small_exponent_is_taken() -> None:
    other = private_key_to_der(rsa.generate_private_key(3, 2048))
    found = unwrap(AES, "AES_WRAP_PAD_RSA", wrapped_raw(other))
    signature = sign(checked_private_key(found.private_key), "SHA256_WITH_RSA", b"data")
    verify(found.public_key, "SHA256_WITH_RSA", b"data", signature)


def test_an_rsa_key_of_a_size_that_would_not_be_made_is_refused_by_its_size() -> None:
    weak = private_key_to_der(generate(make_spec("RSA", "", 1024, allow_weak=True)))
    code, refusal, _ = refusal_of(AES, "AES_WRAP_PAD_RSA", wrapped_raw(weak))
    assert (code, refusal) == (ErrorCode.KEY_SIZE, "key.weak")
    assert unwrap(AES, "AES_WRAP_PAD_RSA", wrapped_raw(weak), allow_weak=True).key_size == 1024
    odd = rsa.generate_private_key(65537, 2176).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    code, refusal, _ = refusal_of(AES, "AES_WRAP_PAD_RSA", wrapped_raw(odd), allow_weak=True)
    assert (code, refusal) == (ErrorCode.KEY_SIZE, "key.size")


def test_an_rsa_key_of_three_primes_is_not_readable(rsa_key: rsa.RSAPrivateKey) -> None:
    """RFC 8017 appendix A.1.2, version 1: nothing here computes with a third prime."""
    numbers = numbers_of(rsa_key)
    assert refusal_of(AES, "AES_WRAP_PAD_RSA", wrapped_raw(rsa_pkcs8(1, **numbers)))[1] == "key.unreadable"
    assert unwrap(AES, "AES_WRAP_PAD_RSA", wrapped_raw(rsa_pkcs8(0, **numbers))).key_size == 2048


def ec_pkcs8(secret: int, public: bytes | None, curve: str = "1.2.840.10045.3.1.7") -> bytes:
    parts = encode_unsigned(1) + encode(OCTETS, secret.to_bytes(32, "big"))
    if public is not None:
        parts += encode(0xA1, encode_bits(public))
    return pkcs8(encode_oid(EC_OID) + encode_oid(curve), encode(0x30, parts))


def point(secret: int) -> bytes:
    numbers = ec.derive_private_key(secret, ec.SECP256R1()).public_key().public_numbers()
    return b"\4" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def test_an_ec_key_must_be_in_range_and_fit_its_public_part() -> None:
    order = CURVES["1.2.840.10045.3.1.7"].order
    found = unwrap(AES, "AES_WRAP_PAD_EC", wrapped_raw(ec_pkcs8(7, point(7))))
    assert found.public_key == public_spki(ec.derive_private_key(7, ec.SECP256R1()))
    # The public part is optional (RFC 5915 section 3); it is computed then.
    assert unwrap(AES, "AES_WRAP_PAD_EC", wrapped_raw(ec_pkcs8(7, None))) == found
    for wrong in (
        ec_pkcs8(7, point(8)),
        ec_pkcs8(6, point(7)),
        ec_pkcs8(7, flipped(point(7))),
        ec_pkcs8(7, b"\0"),
        ec_pkcs8(0, None),
        ec_pkcs8(order, None),
        ec_pkcs8(order + 7, point(7)),
        ec_pkcs8(7, None, "1.2.840.10045.3.1.1"),
    ):
        code, refusal, _ = refusal_of(AES, "AES_WRAP_PAD_EC", wrapped_raw(wrong))
        assert code is ErrorCode.PARSING_KEY
        assert refusal in ("key.unreadable", "key.curve")


def test_what_is_no_plain_pkcs8_is_not_readable(keys: dict[str, PrivateKey], rsa_key: rsa.RSAPrivateKey) -> None:
    """Above all no key under a password: its sender would choose how long we compute (PBES2)."""
    curve_key = keys["secp256r1"]
    assert isinstance(curve_key, ec.EllipticCurvePrivateKey)
    good = private_key_to_der(curve_key)
    assert unwrap(AES, "AES_WRAP_PAD_EC", wrapped_raw(good)).algorithm == "EC"
    others = [
        curve_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")),
        curve_key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        curve_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        rsa_key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        public_spki(curve_key),
        good + b"\0",
        good[:-1],
        pkcs8(encode_oid(EC_OID), b"", 2),
        b"\x30\x80" + good[3:] + b"\0\0",
        ed448.Ed448PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        b"\0",
        bytes(MAX_PKCS8),
        good + bytes(MAX_PKCS8 - len(good)),
    ]
    for content in others:
        assert refusal_of(AES, "AES_WRAP_PAD_EC", wrapped_raw(content))[:2] == (
            ErrorCode.PARSING_KEY,
            "key.unreadable",
        )


def test_the_method_names_the_kind_that_comes_out(keys: dict[str, PrivateKey]) -> None:
    stored = {kind: sample(kind, keys) for kind in ("BLS", "DSA", "EC", "ED", "RSA")}
    for name in PKCS8_METHODS:
        kind = WRAP_METHODS[name].wrapped_key_type
        assert unwrap(AES, name, wrap(AES, name, stored[kind])).algorithm == kind
        for other in stored.keys() - {kind}:
            with pytest.raises(KeyturnError, match=f"is for wrapped keys of type {kind}") as refused:
                wrap(AES, name, stored[other])
            assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_KEY_TYPE, "key.wrong-type")
            disguised = wrap(AES, name.replace(f"_{kind}", f"_{other}"), stored[other])
            assert refusal_of(AES, name, disguised)[:2] == (ErrorCode.INVALID_KEY_TYPE, "key.wrong-type")
        # Nor does a private key pass as a secret one, whose length it does not have.
        plain = name.removesuffix(f"_{kind}")
        assert refusal_of(AES, plain, wrap(AES, name, stored[kind]))[:2] == (ErrorCode.KEY_SIZE, "key.size")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_content_makes_unwrapping_fail_otherwise_than_by_refusing(data: st.DataObject) -> None:
    """A valid key with some of its bytes changed, or anything at all."""
    stored = data.draw(st.sampled_from(SEEDS))
    content = bytearray(data.draw(st.one_of(st.just(stored), st.binary(min_size=1, max_size=200))))
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[position] = data.draw(st.integers(0, 255))
    for name in PKCS8_METHODS:
        if "PAD" not in name:
            continue
        try:
            found = unwrap(AES, name, wrapped_raw(bytes(content)))
        except KeyturnError:
            continue
        # What is taken is whole: its public half belongs to it, and it reads back as itself.
        again = checked_private_key(found.private_key)
        assert (public_spki(again), private_key_to_der(again)) == (found.public_key, found.private_key)


SEEDS: Final = [
    ec_pkcs8(7, point(7)),
    private_key_to_der(generate(make_spec("ED", ED25519_OID, 0))),
    private_key_to_der(generate(make_spec("RSA", "", 2048))),
]


def test_a_key_is_checked_within_bounded_effort() -> None:
    """The largest that fits, with numbers that would cost most; nothing is searched for primes."""
    size = 4096
    p, q = secrets.randbits(size) | 3 << size - 2 | 1, secrets.randbits(size) | 3 << size - 2 | 1
    hostile = rsa_pkcs8(n=p * q, e=65537, d=p * q - 2, p=p, q=q, dp=p - 2, dq=q - 2, qinv=p - 2)
    start = time.process_time()
    with pytest.raises(FormatError):
        checked_private_key(hostile)
    assert time.process_time() - start < 1
