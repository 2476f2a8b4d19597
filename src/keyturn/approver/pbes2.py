"""Encrypted PKCS#8 with a key derivation that costs something.

The library's own writer derives the file's key with 2048 rounds of PBKDF2, fixed. An approval key is worth guessing
for, so this writes the same standard container (RFC 5958 EncryptedPrivateKeyInfo, PBES2 of RFC 8018) with as many
rounds as current advice asks for. Any reader of PKCS#8 reads it; the tests ask openssl.
"""

from __future__ import annotations

import base64
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.padding import PKCS7

ROUNDS: Final = 600_000
"""PBKDF2-HMAC-SHA-256 iterations, as OWASP's password storage advice of 2023 names them."""
SALT_SIZE: Final = 16
IV_SIZE: Final = 16
KEY_SIZE: Final = 32
LINE: Final = 64
"""Characters per line of PEM text (RFC 7468 section 2)."""

_PBES2: Final = bytes.fromhex("06092a864886f70d01050d")
_PBKDF2: Final = bytes.fromhex("06092a864886f70d01050c")
_HMAC_SHA256: Final = bytes.fromhex("300c06082a864886f70d02090500")
_AES_256_CBC: Final = bytes.fromhex("060960864801650304012a")


def _element(tag: int, *parts: bytes) -> bytes:
    """One DER element of the given tag around the joined parts (X.690 section 8.1)."""
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def _integer(value: int) -> bytes:
    """A positive DER INTEGER; one spare bit keeps the sign clear."""
    return _element(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def encrypt_pkcs8(private_key: bytes, passphrase: bytes, *, salt: bytes, iv: bytes, rounds: int = ROUNDS) -> bytes:
    """Encrypt a private key into PEM text of the kind ENCRYPTED PRIVATE KEY.

    Args:
        private_key: PKCS#8 PrivateKeyInfo, DER.
        passphrase: Any bytes.
        salt: `SALT_SIZE` random bytes, used once.
        iv: `IV_SIZE` random bytes, used once.
        rounds: PBKDF2 iterations.

    Returns:
        ASCII PEM with a final newline.

    Source: RFC 8018 sections 6.2 and A.2-A.4 (PBES2 with PBKDF2, HMAC-SHA-256, AES-256-CBC), RFC 7468 section 11.
    """
    key = PBKDF2HMAC(algorithm=hashes.SHA256(), length=KEY_SIZE, salt=salt, iterations=rounds).derive(passphrase)
    padder = PKCS7(algorithms.AES.block_size).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    sealed = encryptor.update(padder.update(private_key) + padder.finalize()) + encryptor.finalize()
    derivation = _element(0x30, _PBKDF2, _element(0x30, _element(0x04, salt), _integer(rounds), _HMAC_SHA256))
    cipher = _element(0x30, _AES_256_CBC, _element(0x04, iv))
    algorithm = _element(0x30, _PBES2, _element(0x30, derivation, cipher))
    text = base64.b64encode(_element(0x30, algorithm, _element(0x04, sealed))).decode("ascii")
    lines = [text[start : start + LINE] for start in range(0, len(text), LINE)]
    return "\n".join(
        ["-----BEGIN ENCRYPTED PRIVATE KEY-----", *lines, "-----END ENCRYPTED PRIVATE KEY-----", ""]
    ).encode()
