"""What a decryption that fails, or is made to fail, tells: nothing (R31)."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from keyturn.crypto.ciphers import (
    CIPHER_ALGORITHMS,
    MAX_CIPHER_PAYLOAD,
    CipherParameters,
    ciphers_for,
    decrypt,
)
from keyturn.crypto.keys import SecretKey
from keyturn.crypto.registry import sign
from keyturn.errors import ErrorCode
from keyturn_testing.one_bit import flipped
from keyturn_testing.sealed_data import DATA, NOTHING, made, refusal_of

CIPHERS: Final = {name: entry for name, entry in CIPHER_ALGORITHMS.items() if not entry.encapsulates}
PADDED_RSA: Final = [name for name in ciphers_for("RSA") if name != "RSA_NO_PADDING"]


@pytest.mark.rule("R31")
def test_r31_every_failed_rsa_decryption_has_one_code_and_one_text(rsa_key: rsa.RSAPrivateKey) -> None:
    good = {name: made(rsa_key, name).ciphertext for name in ciphers_for("RSA")}
    texts = set()
    for name, ciphertext in good.items():
        assert decrypt(rsa_key, name, ciphertext, NOTHING)[-16:] == DATA
        modulus = rsa_key.public_key().public_numbers().n
        broken = [
            b"",
            b"\0",
            ciphertext[:-1],
            ciphertext + b"\0",
            b"\0" + ciphertext,
            modulus.to_bytes(256, "big"),
            b"\xff" * 256,
            b"\xff" * MAX_CIPHER_PAYLOAD,
        ]
        if "OAEP" in name:
            broken += [flipped(ciphertext, position) for position in (0, 100, -1)]
            broken += [bytes(256), bytes(255) + b"\1", good["RSA"], made(rsa_key, "RSA_NO_PADDING").ciphertext]
        for wrong in broken:
            failed = refusal_of(rsa_key, name, wrong)
            texts.add((failed.code, failed.refusal, failed.message))
            # Nothing of the library's own reason travels along, not even in a traceback.
            assert failed.__suppress_context__
    assert len(texts) == 1
    ((code, refusal, message),) = texts
    assert (code, refusal) == (ErrorCode.DECRYPT_FAILED, "decrypt.failed")
    assert not any(word in message.lower() for word in ("pad", "oaep", "pkcs", "tag"))


def implicit_rejection(key: rsa.RSAPrivateKey, ciphertext: bytes) -> bytes:
    """draft-irtf-cfrg-rsa-guidance, section "PKCS#1 v1.5 decryption with implicit rejection", a second time."""
    size = len(ciphertext)
    secret = key.private_numbers().d.to_bytes(size, "big")
    derived = hmac.digest(hashlib.sha256(secret).digest(), ciphertext, "sha256")

    def stream(label: bytes, count: int) -> bytes:
        bits = (8 * count).to_bytes(2, "big")
        parts = (hmac.digest(derived, n.to_bytes(2, "big") + label + bits, "sha256") for n in range(count // 32 + 1))
        return b"".join(parts)[:count]

    most = size - 10
    mask = (1 << most.bit_length()) - 1
    lengths = stream(b"length", 256)
    length = 0
    for at in range(0, 256, 2):
        candidate = int.from_bytes(lengths[at : at + 2], "big") & mask
        length = candidate if candidate < most else length
    return stream(b"message", size)[size - length :]


@pytest.mark.rule("R31")
@pytest.mark.parametrize("name", ["RSA", "RSA_PADDING_PKCS"])
@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\0\2" + b"\1" * 237 + b"\0" + DATA[:16], id="good"),
        pytest.param(b"\1\2" + b"\1" * 237 + b"\0" + DATA[:16], id="first byte not zero"),
        pytest.param(b"\0\1" + b"\1" * 237 + b"\0" + DATA[:16], id="block type of signatures"),
        pytest.param(b"\0\3" + b"\1" * 237 + b"\0" + DATA[:16], id="unknown block type"),
        pytest.param(b"\0\2" + b"\1" * 254, id="no zero behind the padding"),
        pytest.param(b"\0\2" + b"\1" * 7 + b"\0" + b"\1" * 246, id="padding of seven bytes"),
        pytest.param(bytes(256), id="nothing but zeros"),
    ],
)
def test_r31_a_broken_pkcs1_padding_gives_pseudo_random_bytes_and_no_error(
    name: str, block: bytes, rsa_key: rsa.RSAPrivateKey
) -> None:
    """The library below does it; should a later one stop, this fails. The bytes are those that the draft computes."""
    ciphertext = made(rsa_key, "RSA_NO_PADDING", block).ciphertext
    results = {decrypt(rsa_key, name, ciphertext, NOTHING) for _ in range(3)}
    assert len(results) == 1
    if block.startswith(b"\0\2\1\1\1\1\1\1\1\1") and b"\0" in block[2:]:
        assert results == {DATA}
        return
    assert results == {implicit_rejection(rsa_key, ciphertext)}
    other_key = rsa.generate_private_key(65537, 2048)
    other = made(other_key, "RSA_NO_PADDING", b"\0" + block[1:]).ciphertext
    assert decrypt(other_key, name, other, NOTHING) not in results


@pytest.mark.rule("R31")
def test_r31_a_signature_under_the_same_key_tells_nothing_when_decrypted(rsa_key: rsa.RSAPrivateKey) -> None:
    """A signature's padding is of another type; decrypting what verifies gives bytes nobody can foretell."""
    signature = sign(rsa_key, "SHA256_WITH_RSA", DATA)
    assert decrypt(rsa_key, "RSA", signature, NOTHING) == implicit_rejection(rsa_key, signature)
    assert decrypt(rsa_key, "RSA", made(rsa_key, "RSA").ciphertext, NOTHING) == DATA


@pytest.mark.rule("R31")
def test_r31_failed_aes_decryptions_have_the_same_text_too(rsa_key: rsa.RSAPrivateKey) -> None:
    key = SecretKey("AES", bytes(16))
    expected = refusal_of(rsa_key, "RSA_PADDING_OAEP", b"").message
    sealed = made(key, "AES_GCM", parameters=CipherParameters(aad=b"context"))
    good = CipherParameters(sealed.iv, b"context")
    assert decrypt(key, "AES_GCM", sealed.ciphertext, good) == DATA
    for data, parameters in (
        (flipped(sealed.ciphertext), good),
        (flipped(sealed.ciphertext, 0), good),
        (sealed.ciphertext[:15], good),
        (b"", good),
        (sealed.ciphertext[:-16], good),
        (sealed.ciphertext, CipherParameters(sealed.iv, b"contexu")),
        (sealed.ciphertext, CipherParameters(sealed.iv)),
        (sealed.ciphertext, CipherParameters(flipped(sealed.iv or b""), b"context")),
        (sealed.ciphertext, CipherParameters(sealed.iv, b"context", 96)),
    ):
        failed = refusal_of(key, "AES_GCM", data, parameters)
        assert (failed.code, failed.message) == (ErrorCode.DECRYPT_FAILED, expected)
    padded = made(key, "AES")
    assert decrypt(key, "AES", padded.ciphertext, CipherParameters(padded.iv)) == DATA
    # 0x10 becomes 0x11 in the last byte of the padding.
    broken = refusal_of(key, "AES", flipped(padded.ciphertext, 15), CipherParameters(padded.iv))
    assert (broken.code, broken.message) == (ErrorCode.DECRYPT_FAILED, expected)
