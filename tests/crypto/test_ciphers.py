"""Ciphers by name: judged by published vectors, by `openssl`, and by what they refuse."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from typing import TYPE_CHECKING, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.crypto import rsa_raw
from keyturn.crypto.ciphers import (
    CIPHER_ALGORITHMS,
    MAX_CIPHER_PAYLOAD,
    TAG_LENGTHS,
    CipherParameters,
    cipher_algorithm,
    ciphers_for,
    decrypt,
    encrypt,
    require_single_meaning_decrypt,
)
from keyturn.crypto.keys import SecretKey, generate, make_spec, private_key_to_der, public_spki
from keyturn.crypto.registry import sign
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken, encode_approval
from keyturn_testing import openssl_ciphers as openssl
from keyturn_testing.cipher_vectors import aes_vectors, rsa_vectors
from keyturn_testing.one_bit import flipped
from keyturn_testing.sealed_data import DATA, NOTHING, made, refusal_of

if TYPE_CHECKING:
    from keyturn.crypto.keys import PrivateKey
    from keyturn_testing.cipher_vectors import AesVector, RsaVector

OAEP: Final = {"": "sha1", "1": "sha1", "224": "sha224", "256": "sha256", "384": "sha384", "512": "sha512"}
CIPHERS: Final = {name: entry for name, entry in CIPHER_ALGORITHMS.items() if not entry.encapsulates}
"""All but decapsulation, which encrypts nothing."""
PADDED_RSA: Final = [name for name in ciphers_for("RSA") if name != "RSA_NO_PADDING"]


@pytest.fixture(scope="module")
def all_keys(keys: dict[str, PrivateKey]) -> dict[str, PrivateKey | SecretKey]:
    return {
        "RSA": keys["RSA"],
        "AES": SecretKey("AES", bytes(range(32))),
        "Camellia": SecretKey("Camellia", bytes(range(32))),
        "ChaCha20": SecretKey("ChaCha20", bytes(range(32))),
        "TDEA": SecretKey("TDEA", bytes(range(24))),
    }


def test_the_names_are_those_of_the_reference() -> None:
    """rest-api.md section 4.4, written out once more, for the kinds of keys there are."""
    assert set(ciphers_for("RSA")) == {
        "RSA",
        "RSA_NO_PADDING",
        "RSA_PADDING_PKCS",
        "RSA_PADDING_OAEP",
        *(f"RSA_PADDING_OAEP_WITH_SHA{bits}" for bits in (1, 224, 256, 384, 512)),
    }
    assert set(ciphers_for("AES")) == {"AES_GCM", "AES_CTR", "AES_ECB", "AES_CBC_NO_PADDING", "AES"}
    assert set(ciphers_for("Camellia")) == {"CAMELLIA", "CAMELLIA_CBC_NO_PADDING", "CAMELLIA_ECB"}
    assert set(ciphers_for("ChaCha20")) == {"CHACHA20", "CHACHA20_AEAD"}
    assert set(ciphers_for("TDEA")) == {"TDEA_CBC", "TDEA_CBC_NO_PADDING", "TDEA_ECB"}
    assert len(CIPHERS) == 22


# --- vectors of others --------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", rsa_vectors(), ids=lambda v: f"{v.algorithm}-{v.ciphertext[:3].hex()}")
def test_published_rsa_ciphertexts_decrypt_and_refuse_one_bit_more(vector: RsaVector) -> None:
    if vector.refused:
        failed = refusal_of(vector.key, vector.algorithm, vector.ciphertext)
        assert (failed.code, failed.refusal) == (ErrorCode.DECRYPT_FAILED, "decrypt.failed")
        return
    assert decrypt(vector.key, vector.algorithm, vector.ciphertext, NOTHING) == vector.plaintext
    damaged = flipped(vector.ciphertext)
    if "OAEP" in vector.algorithm:
        assert refusal_of(vector.key, vector.algorithm, damaged).code is ErrorCode.DECRYPT_FAILED
    else:
        assert decrypt(vector.key, vector.algorithm, damaged, NOTHING) != vector.plaintext


@pytest.mark.parametrize(
    "vector", [v for v in rsa_vectors() if "OAEP" not in v.algorithm], ids=lambda v: v.ciphertext[:3].hex()
)
def test_without_padding_a_published_pkcs1_ciphertext_shows_its_published_padding(vector: RsaVector) -> None:
    """The vectors name the padding bytes, so the whole block behind them is known; 1026 bits leave a zero in front."""
    size = len(vector.ciphertext)
    block = b"\0\2" + vector.seed + b"\0" + vector.plaintext
    assert len(block) == size
    assert decrypt(vector.key, "RSA_NO_PADDING", vector.ciphertext, NOTHING) == block
    assert decrypt(vector.key, "RSA_NO_PADDING", flipped(vector.ciphertext), NOTHING) != block
    assert made(vector.key, "RSA_NO_PADDING", block).ciphertext == vector.ciphertext


@pytest.mark.parametrize("vector", aes_vectors(), ids=lambda v: v.origin)
def test_published_aes_ciphertexts_decrypt_and_refuse_or_change_with_one_bit_more(vector: AesVector) -> None:
    key = SecretKey("AES", vector.key)
    parameters = CipherParameters(vector.iv or None, vector.aad or None, vector.tag_length)
    if vector.plaintext is None:
        assert refusal_of(key, vector.algorithm, vector.ciphertext, parameters).code is ErrorCode.DECRYPT_FAILED
        return
    assert decrypt(key, vector.algorithm, vector.ciphertext, parameters) == vector.plaintext
    for position in (0, -1):
        damaged = flipped(vector.ciphertext, position)
        if vector.algorithm == "AES_GCM":
            assert refusal_of(key, "AES_GCM", damaged, parameters).refusal == "decrypt.failed"
        else:
            assert decrypt(key, vector.algorithm, damaged, parameters) != vector.plaintext
    made_size = CIPHERS[vector.algorithm].iv_size
    if made_size == len(vector.iv):
        again = encrypt(
            key,
            vector.algorithm,
            vector.plaintext,
            CipherParameters(None, parameters.aad, parameters.tag_length),
            random=lambda size: vector.iv if size == made_size else b"",
        )
        assert again.ciphertext == vector.ciphertext
        assert again.iv == (vector.iv or None)


# --- openssl as judge ---------------------------------------------------------------------------------


def openssl_options(name: str) -> list[str]:
    if name.startswith("RSA_PADDING_OAEP"):
        digest = OAEP[name.removeprefix("RSA_PADDING_OAEP").removeprefix("_WITH_SHA")]
        return ["rsa_padding_mode:oaep", f"rsa_oaep_md:{digest}", f"rsa_mgf1_md:{digest}"]
    return ["rsa_padding_mode:none" if name == "RSA_NO_PADDING" else "rsa_padding_mode:pkcs1"]


@pytest.mark.parametrize("name", ciphers_for("RSA"))
def test_openssl_and_we_read_each_others_rsa_ciphertexts(name: str, rsa_key: rsa.RSAPrivateKey) -> None:
    data = bytes(240) + DATA if name == "RSA_NO_PADDING" else DATA
    theirs = openssl.rsa_encrypt(public_spki(rsa_key), data, openssl_options(name))
    assert decrypt(rsa_key, name, theirs, NOTHING) == data
    ours = made(rsa_key, name)
    assert (ours.iv, ours.mac) == (None, None)
    assert openssl.rsa_decrypt(private_key_to_der(rsa_key), ours.ciphertext, openssl_options(name)) == data
    if "OAEP" in name:
        assert refusal_of(rsa_key, name, flipped(theirs)).code is ErrorCode.DECRYPT_FAILED
    else:
        assert decrypt(rsa_key, name, flipped(theirs), NOTHING) != data


def test_an_oaep_hash_is_that_of_the_mask_too_and_no_other_opens_it(rsa_key: rsa.RSAPrivateKey) -> None:
    """A program that leaves MGF1 at SHA-1 (as Java's own provider does) gets the one refusal, not a guess."""
    options = ["rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:"]
    spki = public_spki(rsa_key)
    right = openssl.rsa_encrypt(spki, DATA, [*options[:2], options[2] + "sha256"])
    assert decrypt(rsa_key, "RSA_PADDING_OAEP_WITH_SHA256", right, NOTHING) == DATA
    wrong = openssl.rsa_encrypt(spki, DATA, [*options[:2], options[2] + "sha1"])
    for ciphertext, name in ((wrong, "RSA_PADDING_OAEP_WITH_SHA256"), (right, "RSA_PADDING_OAEP_WITH_SHA384")):
        assert refusal_of(rsa_key, name, ciphertext).code is ErrorCode.DECRYPT_FAILED


@pytest.mark.parametrize("size", [16, 24, 32])
@pytest.mark.parametrize("name", ["AES", "AES_CBC_NO_PADDING", "AES_CTR", "AES_ECB"])
def test_openssl_and_we_read_each_others_aes_ciphertexts(name: str, size: int) -> None:
    key = SecretKey("AES", bytes(range(size)))
    mode, padded = {"AES": "cbc", "AES_CBC_NO_PADDING": "cbc", "AES_CTR": "ctr", "AES_ECB": "ecb"}[name], name == "AES"
    ours = made(key, name, DATA * 3)
    back = openssl.aes(mode, key.value, ours.iv or b"", ours.ciphertext, decrypt=True, padded=padded)
    assert back == DATA * 3
    theirs = openssl.aes(mode, key.value, ours.iv or b"", DATA * 3, decrypt=False, padded=padded)
    assert theirs == ours.ciphertext
    assert len(theirs) == (64 if padded else 48)
    assert decrypt(key, name, theirs, CipherParameters(ours.iv)) == DATA * 3
    assert decrypt(key, name, flipped(theirs, 0), CipherParameters(ours.iv)) != DATA * 3


# --- no padding: our own arithmetic -------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=255))
def test_without_padding_the_whole_block_comes_back_with_its_zeros(data: bytes) -> None:
    key = SMALL_KEY
    data = data[: SMALL_SIZE - 1]
    result = decrypt(key, "RSA_NO_PADDING", made(key, "RSA_NO_PADDING", data).ciphertext, NOTHING)
    assert result == data.rjust(SMALL_SIZE, b"\0")


SMALL_KEY: Final = generate(make_spec("RSA", "", 1024, allow_weak=True))
SMALL_SIZE: Final = 128


def test_blinding_changes_all_that_is_computed_and_nothing_that_comes_out(
    rsa_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def watched(base: int, exponent: int, modulus: int) -> int:
        seen.append((base, exponent))
        return pow(base, exponent, modulus)

    monkeypatch.setattr(rsa_raw, "pow", watched, raising=False)
    ciphertext = made(rsa_key, "RSA_NO_PADDING").ciphertext
    seen.clear()
    results = {decrypt(rsa_key, "RSA_NO_PADDING", ciphertext, NOTHING) for _ in range(2)}
    assert results == {DATA.rjust(256, b"\0")}
    private = rsa_key.private_numbers()
    secret = {(base, exponent) for base, exponent in seen if exponent not in (-1, 65537)}
    assert len(secret) == 4
    assert len({base for base, _ in secret}) == len({exponent for _, exponent in secret}) == 4
    number = int.from_bytes(ciphertext, "big")
    for base, exponent in secret:
        assert base not in (number % private.p, number % private.q)
        assert exponent not in (private.dmp1, private.dmq1)


def test_a_fault_in_the_computation_is_withheld(rsa_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """One wrong half would give the primes away: gcd(result^e - block, n)."""
    ciphertext = made(rsa_key, "RSA_NO_PADDING").ciphertext
    assert decrypt(rsa_key, "RSA_NO_PADDING", ciphertext, NOTHING).endswith(DATA)
    p = rsa_key.private_numbers().p

    def faulty(base: int, exponent: int, modulus: int) -> int:
        return pow(base, exponent, modulus) ^ (modulus == p)

    monkeypatch.setattr(rsa_raw, "pow", faulty, raising=False)
    failed = refusal_of(rsa_key, "RSA_NO_PADDING", ciphertext)
    assert (failed.code, failed.refusal) == (ErrorCode.HSM_FAILURE, "rsa.fault")


# --- one meaning --------------------------------------------------------------------------------------


@pytest.mark.rule("R8")
def test_r8_a_protected_key_that_may_sign_does_not_decrypt_without_padding(rsa_key: rsa.RSAPrivateKey) -> None:
    """The attack first: what is approved as a ciphertext is the padded digest, what comes out is a signature."""
    digest_info = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(DATA).digest()
    block = b"\0\1" + b"\xff" * (256 - 3 - len(digest_info)) + b"\0" + digest_info
    assert decrypt(rsa_key, "RSA_NO_PADDING", block, NOTHING) == sign(rsa_key, "SHA256_WITH_RSA", DATA)
    with pytest.raises(KeyturnError, match="of its own for decryption") as refused:
        require_single_meaning_decrypt("RSA_NO_PADDING", block, may_sign=True)
    assert (refused.value.code, refused.value.refusal) == (
        ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
        "cipher.double-meaning",
    )
    require_single_meaning_decrypt("RSA_NO_PADDING", block, may_sign=False)
    for name in PADDED_RSA:
        require_single_meaning_decrypt(name, block, may_sign=True)


@pytest.mark.rule("R8")
@pytest.mark.parametrize("may_sign", [True, False])
def test_r8_a_protected_key_does_not_decrypt_our_own_structures(may_sign: bool) -> None:
    approval = encode_approval(ApprovalToken(action=Action.USE, label=b"key", payload=bytes(256)))
    with pytest.raises(KeyturnError, match="well-formed approval") as refused:
        require_single_meaning_decrypt("RSA_PADDING_OAEP", approval, may_sign=may_sign)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.double-meaning")
    require_single_meaning_decrypt("RSA_PADDING_OAEP", flipped(approval, 3), may_sign=may_sign)
    with pytest.raises(KeyturnError) as unknown:
        require_single_meaning_decrypt("RSA_PADDING_OAEP_WITH_MD5", bytes(256), may_sign=may_sign)
    assert unknown.value.refusal == "cipher.algorithm"


# --- names, kinds, sizes, parameters ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CHACHA20_POLY1305", "CAMELLIA_CTR", "TDEA", "rsa", "", "AES_CBC", "\x1b[2J" * 99])
def test_a_cipher_we_do_not_have_is_refused_by_name(name: str, rsa_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(KeyturnError, match=r"available are AES.*RSA_PADDING_PKCS") as refused:
        cipher_algorithm(name)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.UNSUPPORTED_CIPHER, "cipher.algorithm")
    assert refused.value.code.number == 629
    assert refused.value.message.isprintable()
    assert refusal_of(rsa_key, name, b"").refusal == "cipher.algorithm"
    assert cipher_algorithm("RSA").key_types[0] == "RSA"


@pytest.mark.parametrize("name", list(CIPHERS))
def test_a_cipher_for_another_kind_of_key_is_refused(
    name: str, all_keys: dict[str, PrivateKey | SecretKey], keys: dict[str, PrivateKey]
) -> None:
    right = all_keys[CIPHERS[name].key_types[0]]
    sealed = made(right, name)
    assert decrypt(right, name, sealed.ciphertext, CipherParameters(sealed.iv))[-16:] == DATA
    for wrong in (*all_keys.values(), keys["secp256r1"], keys["ED"]):
        if wrong is right:
            continue
        failed = refusal_of(wrong, name, sealed.ciphertext, CipherParameters(sealed.iv))
        assert (failed.code, failed.refusal) == (ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY, "cipher.wrong-key-type")
        with pytest.raises(KeyturnError, match="cannot be used with"):
            made(wrong, name)


@pytest.mark.parametrize("name", list(CIPHERS))
def test_a_plaintext_of_the_largest_size_is_encrypted_and_one_byte_more_is_not(
    name: str, all_keys: dict[str, PrivateKey | SecretKey]
) -> None:
    key = all_keys[CIPHERS[name].key_types[0]]
    most = {"RSA": 245, "RSA_PADDING_PKCS": 245, "RSA_NO_PADDING": 256, "RSA_PADDING_OAEP": 214}.get(name)
    if name.startswith("RSA_PADDING_OAEP_WITH"):
        most = 254 - 2 * hashlib.new(OAEP[name.rpartition("_SHA")[2]]).digest_size
    # Without padding the block must also be a number below the modulus.
    data = b"\0" + b"\xff" * ((most or MAX_CIPHER_PAYLOAD) - 1)
    sealed = made(key, name, data)
    if len(sealed.ciphertext) <= MAX_CIPHER_PAYLOAD:
        assert decrypt(key, name, sealed.ciphertext, CipherParameters(sealed.iv)) == data
    for wrong in (data + b"\0", data + bytes(16)):
        with pytest.raises(KeyturnError, match=r"[Aa]t most") as refused:
            made(key, name, wrong)
        assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.too-large")


def test_a_block_that_is_no_number_below_the_modulus_is_too_large(rsa_key: rsa.RSAPrivateKey) -> None:
    n = rsa_key.public_key().public_numbers().n
    below = (n - 1).to_bytes(256, "big")
    assert decrypt(rsa_key, "RSA_NO_PADDING", made(rsa_key, "RSA_NO_PADDING", below).ciphertext, NOTHING) == below
    with pytest.raises(KeyturnError) as refused:
        made(rsa_key, "RSA_NO_PADDING", n.to_bytes(256, "big"))
    assert refused.value.refusal == "payload.too-large"


def test_a_key_too_small_for_a_digest_says_that_nothing_fits() -> None:
    with pytest.raises(KeyturnError, match="at most 0 bytes") as refused:
        made(SMALL_KEY, "RSA_PADDING_OAEP_WITH_SHA512", b"x")
    assert refused.value.code is ErrorCode.INVALID_PAYLOAD
    assert refusal_of(SMALL_KEY, "RSA_PADDING_OAEP_WITH_SHA512", bytes(128)).code is ErrorCode.DECRYPT_FAILED
    assert decrypt(SMALL_KEY, "RSA_PADDING_OAEP", made(SMALL_KEY, "RSA_PADDING_OAEP").ciphertext, NOTHING) == DATA


@pytest.mark.parametrize("name", list(CIPHERS))
def test_more_than_64_kib_is_not_even_looked_at(name: str, all_keys: dict[str, PrivateKey | SecretKey]) -> None:
    failed = refusal_of(all_keys[CIPHERS[name].key_types[0]], name, bytes(MAX_CIPHER_PAYLOAD + 1))
    assert (failed.code, failed.refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.too-large")


@pytest.mark.parametrize("name", ["AES", "AES_ECB", "AES_CBC_NO_PADDING"])
@pytest.mark.parametrize("size", [0, 1, 15, 17, 31])
def test_what_is_no_whole_block_is_refused_by_its_length(name: str, size: int) -> None:
    key = SecretKey("AES", bytes(32))
    iv = None if name == "AES_ECB" else bytes(16)
    failed = refusal_of(key, name, bytes(size), CipherParameters(iv))
    assert (failed.code, failed.refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.length")
    if name == "AES":
        sealed = made(key, name, bytes(size))
        assert decrypt(key, name, sealed.ciphertext, CipherParameters(sealed.iv)) == bytes(size)
        return
    with pytest.raises(KeyturnError) as refused:
        made(key, name, bytes(size))
    assert refused.value.refusal == "payload.length"
    assert len(decrypt(key, name, bytes(16), CipherParameters(iv))) == 16


def test_tag_lengths_are_those_of_the_reference_and_nothing_else() -> None:
    key = SecretKey("AES", bytes(32))
    assert sorted(TAG_LENGTHS) == [0, 64, 96, 104, 112, 120, 128]
    for bits in TAG_LENGTHS:
        sealed = made(key, "AES_GCM", parameters=CipherParameters(tag_length=bits))
        assert len(sealed.mac or b"") == (bits or 128) // 8
        assert sealed.ciphertext[len(DATA) :] == sealed.mac
        assert decrypt(key, "AES_GCM", sealed.ciphertext, CipherParameters(sealed.iv, None, bits)) == DATA
    for bits in (-1, 1, 8, 32, 63, 72, 97, 129, 256, 2**40):
        failed = refusal_of(key, "AES_GCM", bytes(32), CipherParameters(bytes(12), None, bits))
        assert (failed.code, failed.code.number, failed.refusal) == (
            ErrorCode.INVALID_TAG_LENGTH,
            624,
            "cipher.tag-length",
        )


@pytest.mark.parametrize("name", [name for name, entry in CIPHERS.items() if not entry.aead])
def test_what_does_not_authenticate_takes_neither_tag_length_nor_additional_data(
    name: str, all_keys: dict[str, PrivateKey | SecretKey]
) -> None:
    key = all_keys[CIPHERS[name].key_types[0]]
    sealed = made(key, name)
    for parameters, refusal, code in (
        (CipherParameters(sealed.iv, None, 128), "cipher.tag-length", ErrorCode.INVALID_TAG_LENGTH),
        (CipherParameters(sealed.iv, b"x", 0), "cipher.aad", ErrorCode.VALIDATION_FAILED),
    ):
        failed = refusal_of(key, name, sealed.ciphertext, parameters)
        assert (failed.code, failed.refusal) == (code, refusal)
    assert decrypt(key, name, sealed.ciphertext, CipherParameters(sealed.iv, b"", 0))[-16:] == DATA


@pytest.mark.parametrize("name", list(CIPHERS))
def test_an_initialization_vector_is_there_exactly_where_it_belongs(
    name: str, all_keys: dict[str, PrivateKey | SecretKey]
) -> None:
    entry = CIPHERS[name]
    key = all_keys[entry.key_types[0]]
    sealed = made(key, name)
    assert len(sealed.iv or b"") == entry.iv_size
    assert entry.needs_iv == (sealed.iv is not None)
    assert decrypt(key, name, sealed.ciphertext, CipherParameters(sealed.iv))[-16:] == DATA
    for size in (1, 7, 15, 17, 129, 5000):
        if size in entry.iv_lengths:
            continue
        failed = refusal_of(key, name, sealed.ciphertext, CipherParameters(bytes(size)))
        assert (failed.code, failed.refusal) == (ErrorCode.VALIDATION_FAILED, "cipher.iv")
    if entry.needs_iv:
        for absent in (None, b""):
            failed = refusal_of(key, name, sealed.ciphertext, CipherParameters(absent))
            assert (failed.code, failed.refusal) == (ErrorCode.IN_HSM, "cipher.iv-missing")
    with pytest.raises(KeyturnError, match="made here for each encryption") as refused:
        made(key, name, parameters=CipherParameters(bytes(16)))
    assert refused.value.refusal == "cipher.iv"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(CIPHERS)), st.binary(max_size=300), st.binary(max_size=20), st.integers(-1, 200))
def test_no_bytes_make_decryption_fail_otherwise_than_by_refusing(
    name: str, noise: bytes, iv: bytes, tag_length: int
) -> None:
    key = SMALL_KEY if CIPHERS[name].key_types[0] == "RSA" else SecretKey("AES", bytes(32))
    with contextlib.suppress(KeyturnError):
        decrypt(key, name, noise, CipherParameters(iv, None, tag_length))


def test_the_library_is_given_the_padding_that_the_name_says(rsa_key: rsa.RSAPrivateKey) -> None:
    """`RSA` and `RSA_PADDING_PKCS` are one (decisions 28), and so are OAEP's two names of SHA-1."""
    for first, second in (("RSA", "RSA_PADDING_PKCS"), ("RSA_PADDING_OAEP", "RSA_PADDING_OAEP_WITH_SHA1")):
        assert decrypt(rsa_key, second, made(rsa_key, first).ciphertext, NOTHING) == DATA
        assert decrypt(rsa_key, first, made(rsa_key, second).ciphertext, NOTHING) == DATA
    assert rsa_key.decrypt(made(rsa_key, "RSA").ciphertext, padding.PKCS1v15()) == DATA


@pytest.mark.parametrize("name", ciphers_for("RSA"))
def test_the_public_half_is_enough_to_encrypt(name: str, rsa_key: rsa.RSAPrivateKey) -> None:
    sealed = encrypt(rsa_key.public_key(), name, DATA, NOTHING, random=secrets.token_bytes)
    assert decrypt(rsa_key, name, sealed.ciphertext, NOTHING)[-16:] == DATA


@pytest.mark.slow
@pytest.mark.parametrize("bits", [3072, 4096])
def test_openssl_and_we_agree_about_large_rsa_keys(bits: int) -> None:
    key = rsa.generate_private_key(65537, bits)
    for name in ciphers_for("RSA"):
        data = DATA.rjust(bits // 8, b"\0") if name == "RSA_NO_PADDING" else DATA
        theirs = openssl.rsa_encrypt(public_spki(key), data, openssl_options(name))
        assert decrypt(key, name, theirs, NOTHING) == data
