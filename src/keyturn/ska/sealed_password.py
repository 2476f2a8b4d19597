"""Passwords of keys on their way to the HSM: sealed to its transport key where they arrive, opened only there (R27).

    01 ‖ ephemeral point (65 octets) ‖ AES-256-GCM(key, nonce 0, text) with tag

* The point is uncompressed, on P-256. The ephemeral key serves once.
* The AES key is HKDF-SHA256 over the ECDH secret, without salt; its info is `keyturn/sealed-password/1`, a zero octet,
  SHA-256 of the transport key's SPKI, the ephemeral point, and the key's label in UTF-8. So what was sealed for one
  label opens for no other. Since every AES key serves once, the nonce is zero.
* The text is the password in UTF-8 behind its length (u16, big-endian), filled up with zeros to a multiple of 64
  octets, so that the length of what is stored says little.

A name of a derived key (`master/44'/0'`) stands for its master: the label is what comes before the first `/`.

Source: RFC 5869 (HKDF), NIST SP 800-56A section 6.1.2.2 (one-pass Diffie-Hellman), docs/security/rules.md R27,
docs/adr/0100.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from keyturn.errors import ErrorCode, FormatError

MAX_PASSWORD: Final = 1024
"""Longest password in bytes of UTF-8."""
MAX_SEALED: Final = 2048
"""Longest sealed password in bytes; more is not looked at."""

_VERSION: Final = b"\x01"
_POINT: Final = 65
_BLOCK: Final = 64
_TAG: Final = b"keyturn/sealed-password/1\x00"
_NONCE: Final = bytes(12)


def seal_password(transport_key: bytes, label: str, password: str, ephemeral: ec.EllipticCurvePrivateKey) -> bytes:
    """Seal a password for one key of the HSM.

    Args:
        transport_key: SPKI of the HSM's transport key, DER, as `Info` gives it.
        label: Label of the key, or the name of a key that is derived from it.
        password: The password, not empty.
        ephemeral: A new P-256 key that serves this once.

    Returns:
        The sealed password.

    Raises:
        FormatError: 600 `password.length`; `password.transport-key`: it is no P-256 public key.
    """
    text = password.encode(errors="surrogatepass")
    if not 1 <= len(text) <= MAX_PASSWORD:
        raise FormatError(
            f"A password has 1 to {MAX_PASSWORD} bytes of UTF-8.",
            code=ErrorCode.VALIDATION_FAILED,
            refusal="password.length",
        )
    try:
        recipient = load_der_public_key(transport_key)
    except ValueError:
        recipient = None
    if not isinstance(recipient, ec.EllipticCurvePublicKey) or not isinstance(recipient.curve, ec.SECP256R1):
        raise FormatError("The HSM's transport key is no P-256 key.", refusal="password.transport-key")
    point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    framed = len(text).to_bytes(2, "big") + text
    framed += bytes(-len(framed) % _BLOCK)
    cipher = _cipher(ephemeral.exchange(ec.ECDH(), recipient), transport_key, point, label)
    return _VERSION + point + cipher.encrypt(_NONCE, framed, None)


def open_password(transport_key: ec.EllipticCurvePrivateKey, spki: bytes, label: str, sealed: bytes) -> bytes:
    """Open a sealed password. Called inside the HSM only.

    Args:
        transport_key: The private transport key.
        spki: Its SPKI, DER.
        label: Label of the key that the password is presented for.
        sealed: What `seal_password` returned.

    Returns:
        The password in UTF-8.

    Raises:
        FormatError: 620 `password.seal`: it was not sealed to this key for this label.
    """
    if sealed[:1] != _VERSION or not _POINT < len(sealed) - 1 <= MAX_SEALED:
        raise _not_for_us()
    point = sealed[1 : 1 + _POINT]
    try:
        sender = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        cipher = _cipher(transport_key.exchange(ec.ECDH(), sender), spki, point, label)
        framed = cipher.decrypt(_NONCE, sealed[1 + _POINT :], None)
    except (ValueError, InvalidTag):
        raise _not_for_us() from None
    length = int.from_bytes(framed[:2], "big")
    if not 1 <= length <= MAX_PASSWORD or len(framed) % _BLOCK or any(framed[2 + length :]):
        raise _not_for_us()
    return framed[2 : 2 + length]


def base_label(name: str) -> str:
    """The label of the key whose password counts for a name: derived keys have their master's."""
    return name.partition("/")[0]


def _cipher(secret: bytes, spki: bytes, point: bytes, label: str) -> AESGCM:
    info = _TAG + sha256(spki).digest() + point + base_label(label).encode(errors="surrogatepass")
    return AESGCM(HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(secret))


def _not_for_us() -> FormatError:
    return FormatError(
        "password mismatch: the password was not sealed to this HSM for this key. Send the call again.",
        code=ErrorCode.KEY_PASSWORD_MISMATCH,
        refusal="password.seal",
    )
