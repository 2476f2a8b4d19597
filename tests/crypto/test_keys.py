"""Operational keys: what may be made, and that the same key comes back from the store's bytes."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from keyturn.crypto.curves import REFUSED_CURVES
from keyturn.crypto.key_types import REFUSED_KINDS
from keyturn.crypto.keys import (
    CURVES,
    ED25519_OID,
    KEY_TYPES,
    SECRET_KEY_TYPES,
    KeySpec,
    SecretKey,
    describe_spki,
    generate,
    generate_secret,
    key_type,
    key_type_by_algorithm_oid,
    load_public_key,
    make_spec,
    private_key_from_der,
    private_key_from_stored,
    private_key_to_der,
    public_spki,
)
from keyturn.errors import ErrorCode, FormatError, KeyturnError

P256 = "1.2.840.10045.3.1.7"
SECP256K1 = "1.3.132.0.10"

SPECS = [
    pytest.param(("RSA", "", 2048), ("RSA", "1.2.840.113549.1.1.1", None, 2048), id="RSA-2048"),
    *(
        pytest.param(("EC", oid, 0), ("EC", "1.2.840.10045.2.1", oid, None), id=curve.name)
        for oid, curve in CURVES.items()
    ),
    pytest.param(("ED", ED25519_OID, 0), ("ED", "1.3.101.112", None, None), id="Ed25519"),
    pytest.param(("DSA", "", 2048), ("DSA", "1.2.840.10040.4.1", None, 2048), id="DSA-2048"),
]


def test_the_curves_and_their_oids() -> None:
    """The numbers of rest-api.md section 4.2, written out once more."""
    assert {curve.name: oid for oid, curve in CURVES.items()} == {
        "secp224r1": "1.3.132.0.33",
        "secp256r1": "1.2.840.10045.3.1.7",
        "secp384r1": "1.3.132.0.34",
        "secp521r1": "1.3.132.0.35",
        "secp256k1": "1.3.132.0.10",
        "brainpoolP256r1": "1.3.36.3.3.2.8.1.1.7",
        "brainpoolP384r1": "1.3.36.3.3.2.8.1.1.11",
        "brainpoolP512r1": "1.3.36.3.3.2.8.1.1.13",
    }
    assert [curve.name for curve in CURVES.values() if curve.low_s] == ["secp256k1"]


@pytest.mark.parametrize(("wanted", "described"), SPECS)
def test_a_key_is_made_stored_read_and_described(
    wanted: tuple[str, str, int], described: tuple[str, str, str | None, int | None]
) -> None:
    spec = make_spec(*wanted)
    key = generate(spec)
    der = private_key_to_der(key)
    again = private_key_from_der(der)
    assert private_key_to_der(again) == der
    assert public_spki(again) == public_spki(key) == public_spki(load_public_key(public_spki(key)))
    assert describe_spki(public_spki(key)) == described
    assert spec.algorithm_oid == described[1]
    assert spec.slow is (wanted[0] in ("RSA", "DSA"))


@pytest.mark.parametrize(("wanted", "described"), SPECS)
def test_openssl_reads_what_we_made(
    wanted: tuple[str, str, int], described: tuple[str, str, str | None, int | None], tmp_path: Path
) -> None:
    key = generate(make_spec(*wanted))
    (tmp_path / "key.der").write_bytes(private_key_to_der(key))
    judge = subprocess.run(
        ["openssl", "pkey", "-inform", "DER", "-in", tmp_path / "key.der", "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
    )
    assert judge.stdout == public_spki(key)
    assert described[0] == wanted[0]


@pytest.mark.parametrize("bits", [2048, 3072, 4096, 7680, 8192])
def test_rsa_sizes_that_may_be_made(bits: int) -> None:
    assert make_spec("RSA", "", bits) == KeySpec("RSA", "", bits)


@pytest.mark.parametrize(
    ("bad", "good", "code", "word"),
    [
        (("DES", "", 256), ("AES", "", 256), ErrorCode.VALIDATION_FAILED, "key.algorithm"),
        (("AES", P256, 256), ("AES", "", 256), ErrorCode.VALIDATION_FAILED, "key.curve"),
        (("AES", "", 160), ("AES", "", 192), ErrorCode.KEY_SIZE, "key.size"),
        (("rsa", "", 2048), ("RSA", "", 2048), ErrorCode.VALIDATION_FAILED, "key.algorithm"),
        (("EC", "", 0), ("EC", P256, 0), ErrorCode.VALIDATION_FAILED, "key.curve"),
        (("EC", "1.3.36.3.3.2.8.1.1.8", 0), ("EC", P256, 0), ErrorCode.VALIDATION_FAILED, "key.curve"),
        (("DSA", P256, 2048), ("DSA", "", 2048), ErrorCode.VALIDATION_FAILED, "key.curve"),
        (("DSA", "", 0), ("DSA", "", 2048), ErrorCode.KEY_SIZE, "key.size"),
        (("DSA", "", 4096), ("DSA", "", 3072), ErrorCode.KEY_SIZE, "key.size"),
        (("camellia", "", 128), ("Camellia", "", 128), ErrorCode.VALIDATION_FAILED, "key.algorithm"),
        (("Camellia", "", 160), ("Camellia", "", 192), ErrorCode.KEY_SIZE, "key.size"),
        (("ChaCha20", "", 128), ("ChaCha20", "", 256), ErrorCode.KEY_SIZE, "key.size"),
        (("TDEA", "", 192), ("TDEA", "", 0), ErrorCode.KEY_SIZE, "key.size"),
        (("HMACSHA256", "", 256), ("HMACSHA256", "", 0), ErrorCode.KEY_SIZE, "key.size"),
        (("HMACSHA256", P256, 0), ("HMACSHA256", "", 0), ErrorCode.VALIDATION_FAILED, "key.curve"),
        (("EC", ED25519_OID, 0), ("ED", ED25519_OID, 0), ErrorCode.VALIDATION_FAILED, "key.curve"),
        (("ED", P256, 0), ("ED", ED25519_OID, 0), ErrorCode.VALIDATION_FAILED, "key.curve"),
        (("ED", "", 0), ("ED", ED25519_OID, 0), ErrorCode.VALIDATION_FAILED, "key.curve"),
        (("RSA", P256, 2048), ("RSA", "", 2048), ErrorCode.VALIDATION_FAILED, "key.curve"),
        (("EC", P256, 384), ("EC", P256, 0), ErrorCode.KEY_SIZE, "key.size"),
        (("RSA", "", 0), ("RSA", "", 2048), ErrorCode.KEY_SIZE, "key.size"),
        (("RSA", "", 2047), ("RSA", "", 2048), ErrorCode.KEY_SIZE, "key.size"),
        (("RSA", "", 2056), ("RSA", "", 2304), ErrorCode.KEY_SIZE, "key.size"),
        (("RSA", "", 8448), ("RSA", "", 8192), ErrorCode.KEY_SIZE, "key.size"),
        (("RSA", "", -2048), ("RSA", "", 2048), ErrorCode.KEY_SIZE, "key.size"),
        (("RSA", "", 512), ("RSA", "", 2048), ErrorCode.KEY_SIZE, "key.size"),
    ],
)
def test_a_wrong_description_is_refused_and_the_right_one_taken(
    bad: tuple[str, str, int], good: tuple[str, str, int], code: ErrorCode, word: str
) -> None:
    with pytest.raises(KeyturnError) as refused:
        make_spec(*bad)
    assert (refused.value.code, refused.value.refusal) == (code, word)
    assert make_spec(*good) == KeySpec(*good)


@pytest.mark.rule("decisions 28")
def test_rsa_1024_needs_the_switch_for_weak_keys() -> None:
    with pytest.raises(KeyturnError, match=r"hsm\.allowWeakKeys") as refused:
        make_spec("RSA", "", 1024)
    assert refused.value.code is ErrorCode.KEY_SIZE
    assert refused.value.refusal == "key.weak"
    assert make_spec("RSA", "", 1024, allow_weak=True).key_size == 1024
    with pytest.raises(KeyturnError):
        make_spec("RSA", "", 512, allow_weak=True)


@pytest.mark.rule("decisions 28")
def test_dsa_1024_needs_the_switch_for_weak_keys() -> None:
    with pytest.raises(KeyturnError, match=r"hsm\.allowWeakKeys") as refused:
        make_spec("DSA", "", 1024)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.KEY_SIZE, "key.weak")
    spec = make_spec("DSA", "", 1024, allow_weak=True)
    assert describe_spki(public_spki(generate(spec))) == ("DSA", "1.2.840.10040.4.1", None, 1024)


@pytest.mark.rule("decisions 34")
@pytest.mark.parametrize("name", sorted(REFUSED_KINDS))
def test_a_documented_kind_that_is_not_made_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(KeyturnError, match=f"{name} is refused: ") as refused:
        make_spec(name, "", 0)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.VALIDATION_FAILED, "key.algorithm-refused")
    assert make_spec("AES", "", 256).algorithm == "AES"


@pytest.mark.rule("decisions 34")
@pytest.mark.parametrize(
    "oid", [*REFUSED_CURVES, "p23.a1.b1.x3.y10.g28.h1", "23.a1.b1.x3.y10.g28.h1", "a1.b1.x3.y10.g28.h1"]
)
def test_a_documented_curve_that_is_not_available_is_refused_with_the_reason(oid: str) -> None:
    with pytest.raises(KeyturnError, match="is refused: ") as refused:
        make_spec("EC", oid, 0)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.VALIDATION_FAILED, "key.curve-refused")
    assert make_spec("EC", P256, 0).curve_oid == P256


SECRETS = [
    ("AES", 128, "1.0.18033.3.2.1", 16),
    ("Camellia", 128, "1.0.18033.3.2.2", 16),
    ("Camellia", 192, "1.0.18033.3.2.2", 24),
    ("Camellia", 256, "1.0.18033.3.2.2", 32),
    ("ChaCha20", 256, "1.2.840.113549.1.9.16.3.18", 32),
    ("TDEA", 0, "1.0.18033.3.1.1", 24),
    ("HMACSHA256", 0, "1.2.840.113549.2.9", 32),
]


@pytest.mark.parametrize(("name", "size", "oid", "length"), SECRETS)
def test_a_symmetric_key_is_made_stored_and_read(name: str, size: int, oid: str, length: int) -> None:
    spec = make_spec(name, "", size)
    key = generate_secret(spec)
    assert (spec.algorithm_oid, len(key.value), key.spec, spec.slow) == (oid, length, spec, False)
    assert private_key_from_stored(name, key.value) == key != generate_secret(spec)
    assert key.value.hex() not in repr(key)
    assert key_type_by_algorithm_oid(oid) is key_type(name)
    with pytest.raises(KeyturnError) as refused:
        SecretKey(name, key.value[:-1])
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.KEY_SIZE, "key.size")


def test_the_three_parts_of_a_tdea_key_differ_and_their_bytes_are_odd() -> None:
    key = generate_secret(make_spec("TDEA", "", 0)).value
    assert all(bin(byte).count("1") % 2 for byte in key)
    one, two = key[:8], key[8:16]
    for weak in (one + one + two, one + two + two, one + two + one, one + bytes([one[0] ^ 1]) + one[1:] + two):
        with pytest.raises(KeyturnError) as refused:
            SecretKey("TDEA", weak)
        assert (refused.value.code, refused.value.refusal) == (ErrorCode.KEY_SIZE, "key.weak")
    assert SecretKey("TDEA", one + bytes([one[0] ^ 2]) + one[1:] + two).spec.key_size == 0


def test_an_oid_names_one_kind_or_none() -> None:
    for name in (*KEY_TYPES, *SECRET_KEY_TYPES):
        if not name.startswith("XMSS"):  # Both parameter sets have one OID (RFC 9802).
            assert key_type_by_algorithm_oid(key_type(name).oid).name == name
    with pytest.raises(KeyturnError, match="several kinds"):
        key_type_by_algorithm_oid(key_type("XMSS-SHA256_10_256").oid)
    for oid in ("", "1.2.3", "x" * 1000):
        with pytest.raises(KeyturnError) as refused:
            key_type_by_algorithm_oid(oid)
        assert (refused.value.code, refused.value.refusal) == (ErrorCode.VALIDATION_FAILED, "key.algorithm")
    assert key_type_by_algorithm_oid("1.2.840.10045.2.1").name == "EC"


def test_a_long_or_odd_algorithm_name_is_quoted_short() -> None:
    with pytest.raises(KeyturnError) as refused:
        make_spec("\x1b[31m" + "x" * 10_000, "", 0)
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 1000


def _foreign_keys() -> list[object]:
    return [
        pytest.param(ec.generate_private_key(ec.SECP192R1()), id="secp192r1"),
        pytest.param(ed448.Ed448PrivateKey.generate(), id="ed448"),
        pytest.param(x25519.X25519PrivateKey.generate(), id="x25519"),
    ]


@pytest.mark.parametrize("key", _foreign_keys())
def test_kinds_we_do_not_have_are_refused_on_both_sides(key: Any) -> None:
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for read, data in ((private_key_from_der, private), (load_public_key, public), (describe_spki, public)):
        with pytest.raises(FormatError) as refused:
            read(data)
        assert refused.value.code is ErrorCode.PARSING_KEY
    ours = generate(make_spec("EC", SECP256K1, 0))
    assert private_key_to_der(private_key_from_der(private_key_to_der(ours))) == private_key_to_der(ours)
    assert describe_spki(public_spki(ours))[2] == SECP256K1


def test_a_public_rsa_key_too_large_to_verify_with_is_refused() -> None:
    huge = rsa.RSAPublicNumbers(65537, (1 << 16383) + 1).public_key()
    largest = rsa.RSAPublicNumbers(65537, (1 << 8191) + 1).public_key()
    with pytest.raises(FormatError):
        load_public_key(huge.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert describe_spki(public_spki(largest))[3] == 8192


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x03\x02\x01\x00", b"x" * 100, b"\x30" * 5000])
def test_bytes_that_are_no_key_are_a_format_error(data: bytes) -> None:
    for read in (private_key_from_der, load_public_key):
        with pytest.raises(FormatError):
            read(data)


def test_an_error_about_a_private_key_does_not_show_it() -> None:
    key = generate(make_spec("EC", P256, 0))
    der = bytearray(private_key_to_der(key))
    der[-1] ^= 1
    der[3] ^= 0xFF
    with pytest.raises(FormatError) as refused:
        private_key_from_der(bytes(der))
    assert refused.value.__cause__ is None
    assert bytes(der).hex() not in repr(refused.value)


@pytest.mark.parametrize(("oid", "size"), [("2b6570", 32), ("2b6571", 57), ("2b656e", 32), ("2b656f", 56)])
def test_a_private_key_on_an_edwards_or_montgomery_curve_of_a_wrong_length_is_unreadable(oid: str, size: int) -> None:
    """The library calls these an internal error of its own, which is no refusal."""

    def pkcs8(length: int) -> bytes:
        algorithm = bytes.fromhex(f"020100300506 03{oid}")
        body = algorithm + bytes([4, length + 2, 4, length]) + b"\x09" * length
        return bytes([0x30, len(body)]) + body

    for length in (0, size - 1, size + 1):
        with pytest.raises(FormatError) as caught:
            private_key_from_der(pkcs8(length))
        assert caught.value.code is ErrorCode.PARSING_KEY
    if oid == "2b6570":
        assert isinstance(private_key_from_der(pkcs8(size)), Ed25519PrivateKey)
