"""Methods of wrapping by name: published vectors, `openssl` as judge, and hostile contents."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from keyturn.crypto.ciphers import CipherParameters, decrypt, encrypt
from keyturn.crypto.keys import (
    CURVES,
    CURVES_BY_NAME,
    ED25519_OID,
    SecretKey,
    generate,
    make_spec,
    private_key_from_stored,
    private_key_to_der,
    public_spki,
)
from keyturn.crypto.registry import sign, verify
from keyturn.crypto.wrapping import MAX_WRAPPED_KEY, WRAP_METHODS, unwrap, wrap, wrap_method
from keyturn.errors import ErrorCode, KeyturnError
from keyturn_testing import openssl_ciphers as openssl
from keyturn_testing.cipher_vectors import wrap_vectors
from keyturn_testing.one_bit import flipped
from keyturn_testing.wrappings import AES, PKCS8_METHODS, refusal_of, sample, wrapped_raw, wrapping_key

if TYPE_CHECKING:
    from keyturn.crypto.keys import PrivateKey
    from keyturn_testing.cipher_vectors import WrapVector

RSA_OID: Final = "1.2.840.113549.1.1.1"
EC_OID: Final = "1.2.840.10045.2.1"
OCTETS: Final = 0x04
RSA_METHODS: Final = ["RSA_WRAP_OAEP", "RSA_WRAP_PAD"]


def test_the_methods_are_those_of_the_reference() -> None:
    """rest-api.md section 4.11, written out once more."""
    kinds = ("", "_BLS", "_DSA", "_EC", "_ED", "_RSA")
    assert set(WRAP_METHODS) == {
        *(f"AES_WRAP{kind}" for kind in kinds),
        *(f"AES_WRAP_PAD{kind}" for kind in kinds),
        *RSA_METHODS,
    }
    for name, method in WRAP_METHODS.items():
        assert (method.name, method.wrapping_key_type) == (name, name[:3])
        last = name.rpartition("_")[2]
        assert method.wrapped_key_type == (last if last in ("BLS", "DSA", "EC", "ED", "RSA") else "AES")


# --- vectors of others, openssl as judge --------------------------------------------------------------


@pytest.mark.parametrize("vector", wrap_vectors(), ids=lambda v: v.origin)
def test_published_wrappings_open_and_refuse_one_bit_more(vector: WrapVector) -> None:
    """Contents of other lengths than keys have are looked at below the check of the content."""
    key, method = SecretKey("AES", vector.key), wrap_method(vector.method)
    failed = (ErrorCode.DECRYPT_FAILED, "unwrap.failed")
    if vector.content is None:
        assert refusal_of(key, vector.method, vector.wrapped)[:2] == failed
        return
    assert method.unwrap(key, vector.wrapped) == vector.content
    assert method.wrap(key, vector.content) == vector.wrapped
    for position in (0, -1):
        assert refusal_of(key, vector.method, flipped(vector.wrapped, position))[:2] == failed
    if len(vector.content) in (16, 24, 32):
        found = unwrap(key, vector.method, vector.wrapped)
        assert (found.algorithm, found.key_size, found.private_key) == (
            "AES",
            8 * len(vector.content),
            vector.content,
        )
        assert wrap(key, vector.method, vector.content) == vector.wrapped
    else:
        assert refusal_of(key, vector.method, vector.wrapped)[:2] == (ErrorCode.KEY_SIZE, "key.size")


@pytest.mark.parametrize("name", [name for name in WRAP_METHODS if name.startswith("AES")])
@pytest.mark.parametrize("size", [16, 24, 32])
def test_openssl_and_we_read_each_others_aes_wrappings(name: str, size: int, keys: dict[str, PrivateKey]) -> None:
    key, form = SecretKey("AES", bytes(range(size))), "wrap-pad" if "PAD" in name else "wrap"
    stored = sample(WRAP_METHODS[name].wrapped_key_type, keys)
    ours = wrap(key, name, stored)
    content = openssl.key_wrap(form, key.value, ours, decrypt=True)
    assert content[: len(stored)] == stored
    assert not any(content[len(stored) :])
    assert openssl.key_wrap(form, key.value, content, decrypt=False) == ours
    assert unwrap(key, name, ours).private_key == stored
    assert refusal_of(key, name, flipped(ours))[:2] == (ErrorCode.DECRYPT_FAILED, "unwrap.failed")


@pytest.mark.parametrize("name", RSA_METHODS)
@pytest.mark.parametrize("size", [16, 24, 32])
def test_openssl_and_we_read_each_others_rsa_wrappings(name: str, size: int, rsa_key: rsa.RSAPrivateKey) -> None:
    options = ["rsa_padding_mode:oaep" if name == "RSA_WRAP_OAEP" else "rsa_padding_mode:pkcs1"]
    secret = secrets.token_bytes(size)
    theirs = openssl.rsa_encrypt(public_spki(rsa_key), secret, options)
    found = unwrap(rsa_key, name, theirs)
    assert (found.algorithm, found.curve_oid, found.key_size, found.public_key, found.private_key) == (
        "AES",
        "",
        8 * size,
        b"",
        secret,
    )
    for side in (rsa_key, rsa_key.public_key()):
        ours = wrap(side, name, secret)
        assert openssl.rsa_decrypt(private_key_to_der(rsa_key), ours, options) == secret


# --- what comes out -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PKCS8_METHODS)
def test_a_private_key_comes_out_as_it_is_stored_and_works(name: str, keys: dict[str, PrivateKey]) -> None:
    kind = WRAP_METHODS[name].wrapped_key_type
    for key in [keys[curve.name] for curve in CURVES.values()] if kind == "EC" else [keys[kind]]:
        stored = private_key_to_der(key)
        found = unwrap(AES, name, wrap(AES, name, stored))
        assert (found.algorithm, found.private_key, found.public_key) == (kind, stored, public_spki(key))
        curve = CURVES_BY_NAME[key.curve.name].oid if isinstance(key, ec.EllipticCurvePrivateKey) else ""
        assert found.curve_oid == (ED25519_OID if kind == "ED" else curve)
        assert found.key_size == (2048 if kind in ("RSA", "DSA") else 0)
        again = private_key_from_stored(found.algorithm, found.private_key)
        assert not isinstance(again, SecretKey)
        algorithm = {
            "EC": "SHA256_WITH_ECDSA",
            "ED": "EDDSA",
            "RSA": "SHA256_WITH_RSA",
            "DSA": "SHA256_WITH_DSA",
            "BLS": "BLS",
        }[kind]
        verify(found.public_key, algorithm, b"data", sign(again, algorithm, b"data"))


def test_a_secret_key_is_stored_as_its_bytes_and_shows_them_nowhere(rsa_key: rsa.RSAPrivateKey) -> None:
    secret = b"sixteen secrets!"
    found = unwrap(rsa_key, "RSA_WRAP_OAEP", wrap(rsa_key, "RSA_WRAP_OAEP", secret))
    key = private_key_from_stored(found.algorithm, found.private_key)
    assert key == SecretKey("AES", secret)
    assert isinstance(key, SecretKey)
    assert key.key_size == 128
    for shown in (repr(found), repr(key), str(key), f"{found}"):
        assert "sixteen" not in shown
        assert secret.hex() not in shown


@pytest.mark.parametrize("size", [0, 1, 15, 17, 20, 31, 33, 64])
def test_a_secret_key_of_another_length_is_none(size: int) -> None:
    with pytest.raises(KeyturnError, match="16, 24 or 32 bytes") as refused:
        SecretKey("AES", bytes(size))
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.KEY_SIZE, "key.size")
    with pytest.raises(KeyturnError, match="available are AES") as unknown:
        SecretKey("DES", bytes(16))
    assert unknown.value.refusal == "key.algorithm"
    assert SecretKey("AES", bytes(16)).key_size == 128


@pytest.mark.parametrize("name", ["AES_WRAP_EC", "AES_WRAP_ED", "AES_WRAP_RSA"])
def test_zero_octets_behind_the_der_fill_it_up_and_nothing_else_may_stand_there(
    name: str, keys: dict[str, PrivateKey]
) -> None:
    """Decisions 33: the DER knows its own length."""
    stored = sample(WRAP_METHODS[name].wrapped_key_type, keys)
    filled = stored + bytes(-len(stored) % 8)
    good = aes_key_wrap(AES.value, filled)
    assert wrap(AES, name, stored) == good
    assert unwrap(AES, name, good).private_key == stored
    wrong = [filled + bytes(8), filled + b"\1" * 8]
    if len(filled) > len(stored):
        wrong.append(flipped(filled))
    for content in wrong:
        assert refusal_of(AES, name, aes_key_wrap(AES.value, content))[:2] == (
            ErrorCode.PARSING_KEY,
            "key.unreadable",
        )
    # The padded methods carry the length themselves: there a zero behind the DER is one byte too many.
    padded = name.replace("WRAP", "WRAP_PAD")
    assert unwrap(AES, padded, wrapped_raw(stored)).private_key == stored
    assert refusal_of(AES, padded, wrapped_raw(stored + b"\0"))[1] == "key.unreadable"


def test_a_secret_key_of_odd_length_is_pointed_to_the_padded_method() -> None:
    with pytest.raises(KeyturnError, match="take AES_WRAP_PAD") as refused:
        wrap(AES, "AES_WRAP", bytes(20 + 1))
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.KEY_SIZE, "key.size")
    assert unwrap(AES, "AES_WRAP", wrap(AES, "AES_WRAP", bytes(24))).private_key == bytes(24)


# --- one answer to whatever fails ---------------------------------------------------------------------


@pytest.mark.rule("R31")
def test_r31_every_failed_unwrapping_under_an_rsa_key_has_one_code_and_one_text(rsa_key: rsa.RSAPrivateKey) -> None:
    oaep = padding.OAEP(padding.MGF1(SHA1), SHA1, None)
    public = rsa_key.public_key()
    good = wrap(rsa_key, "RSA_WRAP_OAEP", bytes(16))
    assert unwrap(rsa_key, "RSA_WRAP_OAEP", good).private_key == bytes(16)
    broken = [
        b"",
        good[:-1],
        good + b"\0",
        flipped(good),
        flipped(good, 0),
        b"\xff" * 256,
        bytes(256),
        wrap(rsa_key, "RSA_WRAP_PAD", bytes(16)),
        *(public.encrypt(bytes(size), oaep) for size in (0, 15, 17, 20, 64)),
    ]
    texts = {refusal_of(rsa_key, "RSA_WRAP_OAEP", wrapped) for wrapped in broken}
    texts |= {refusal_of(rsa_key, "RSA_WRAP_PAD", wrapped) for wrapped in (b"", good[:-1], b"\xff" * 256)}
    texts.add(refusal_of(AES, "AES_WRAP", flipped(wrap(AES, "AES_WRAP", bytes(16)))))
    assert len(texts) == 1
    ((code, refusal, message),) = texts
    assert (code, refusal) == (ErrorCode.DECRYPT_FAILED, "unwrap.failed")
    assert not any(word in message.lower() for word in ("pad", "oaep", "length", "bytes"))


SHA1: Final = hashes.SHA1()  # noqa: S303 - What RSA_WRAP_OAEP is documented to use.


@pytest.mark.rule("R31")
def test_r31_a_broken_pkcs1_wrapping_gives_a_key_that_nobody_knows_and_no_error(rsa_key: rsa.RSAPrivateKey) -> None:
    """Not even its length may tell whether the padding was right: contents that are no key become one as well."""
    good = wrap(rsa_key, "RSA_WRAP_PAD", b"sixteen secrets!")
    assert unwrap(rsa_key, "RSA_WRAP_PAD", good).private_key == b"sixteen secrets!"
    sizes = set()
    public = rsa_key.public_key()
    numbers = public.public_numbers()
    broken = [flipped(good), flipped(good, 0)]
    broken += [public.encrypt(bytes(size), padding.PKCS1v15()) for size in (0, 1, 15, 17, 23, 25, 31, 33, 245)]
    broken += [pow(number, numbers.e, numbers.n).to_bytes(256, "big") for number in range(2, 40)]
    for wrapped in broken:
        found = {unwrap(rsa_key, "RSA_WRAP_PAD", wrapped).private_key for _ in range(2)}
        assert len(found) == 1
        sizes |= {len(key) for key in found}
        assert not any(key == bytes(len(key)) for key in found)
    assert sizes == {16, 24, 32}
    other = rsa.generate_private_key(65537, 2048)
    small = pow(2, numbers.e, min(numbers.n, other.public_key().public_numbers().n)).to_bytes(256, "big")
    keys = {unwrap(key, "RSA_WRAP_PAD", small).private_key for key in (rsa_key, other)}
    assert len(keys) == 2


# --- hostile contents ---------------------------------------------------------------------------------


# --- names, kinds, sizes ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "aes_wrap", "RSA_WRAP", "ML_KEM_WRAP", "\x1b[2J" * 99])
def test_an_unknown_method_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(KeyturnError, match=r"available are AES_WRAP, .*RSA_WRAP_PAD") as refused:
        unwrap(AES, name, bytes(24))
    assert refused.value.refusal == "wrap.method"
    assert refused.value.message.isprintable()


@pytest.mark.parametrize("name", list(WRAP_METHODS))
def test_a_method_for_another_wrapping_key_is_refused(
    name: str, keys: dict[str, PrivateKey], rsa_key: rsa.RSAPrivateKey
) -> None:
    right = wrapping_key(name, rsa_key)
    stored = sample(WRAP_METHODS[name].wrapped_key_type, keys)
    wrapped = wrap(right, name, stored)
    assert unwrap(right, name, wrapped).private_key == stored
    for wrong in (AES, rsa_key, keys["secp256r1"], keys["ED"]):
        if wrong is right:
            continue
        code, refusal, message = refusal_of(wrong, name, wrapped)
        assert (code, refusal) == (ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY, "wrap.wrong-key-type")
        assert "choose one of" in message or "do not wrap" in message
        with pytest.raises(KeyturnError, match="cannot be used with"):
            wrap(wrong, name, stored)


@pytest.mark.parametrize("name", list(WRAP_METHODS))
def test_a_wrapped_key_that_is_too_large_is_not_even_looked_at(name: str, rsa_key: rsa.RSAPrivateKey) -> None:
    key = wrapping_key(name, rsa_key)
    code, refusal, _ = refusal_of(key, name, bytes(MAX_WRAPPED_KEY + 8))
    assert (code, refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.too-large")
    assert refusal_of(key, name, bytes(MAX_WRAPPED_KEY - MAX_WRAPPED_KEY % 8))[1] == "unwrap.failed"


@pytest.mark.parametrize("size", [0, 1, 7, 8, 15, 16, 23, 25])
def test_a_wrapping_of_a_length_that_none_has_does_not_unwrap(size: int) -> None:
    for name in ("AES_WRAP", "AES_WRAP_PAD"):
        assert refusal_of(AES, name, bytes(size))[:2] == (ErrorCode.DECRYPT_FAILED, "unwrap.failed")


@pytest.mark.slow
def test_the_largest_key_is_wrapped_unwrapped_and_used_within_seconds() -> None:
    key = generate(make_spec("RSA", "", 8192))
    stored = private_key_to_der(key)
    start = time.process_time()
    for name in ("AES_WRAP_RSA", "AES_WRAP_PAD_RSA"):
        assert unwrap(AES, name, wrap(AES, name, stored)).private_key == stored
    assert time.process_time() - start < 2
    start = time.process_time()
    block = bytes(1024 - 16) + bytes(range(16))
    sealed = encrypt(key, "RSA_NO_PADDING", block, CipherParameters(), random=secrets.token_bytes)
    assert decrypt(key, "RSA_NO_PADDING", sealed.ciphertext, CipherParameters()) == block
    assert time.process_time() - start < 5
