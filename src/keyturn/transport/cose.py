"""COSE_Sign1 with Ed25519: the seal around a bundle (RFC 9052 section 4.2, RFC 9053 section 2.2; decisions 35).

The one form this room writes and reads:

    18([ protected: << {1: -8, 3: content format, 4: key id} >>, unprotected: {}, payload: bytes, signature: 64 bytes ])

The signature covers the payload as it travels, compressed or not, so nothing is inflated before it is checked (R29).
docs/formats/bundle.md gives it byte by byte.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska import cbor
from keyturn.transport.limits import MAX_BUNDLE

if TYPE_CHECKING:
    from collections.abc import Collection

ALGORITHM_EDDSA: Final = -8
"""COSE algorithm EdDSA (RFC 9053 section 2.2)."""

CONTENT_CBOR: Final = 60
"""CoAP content format `application/cbor` (IANA, RFC 8949 section 9.4): the payload is the map itself."""

CONTENT_CBOR_DEFLATE: Final = 11060
"""CoAP content format `application/cbor` with content coding `deflate`, which is zlib (IANA; RFC 9110 8.4.1.2)."""

KEY_ID_SIZE: Final = 16
PUBLIC_KEY_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64

_TAG_18: Final = 0xD2
_HEADER_ALGORITHM, _HEADER_CONTENT, _HEADER_KEY_ID = 1, 3, 4


class Signer(Protocol):
    """Whoever seals: an Ed25519 key that shows its public half and signs."""

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The 64-byte Ed25519 signature over `data`."""
        ...


@dataclass(frozen=True, slots=True)
class Sealed:
    """A COSE_Sign1 structure taken apart, nothing in it believed yet."""

    protected: bytes
    """The protected header as it was signed."""
    content_format: int
    """`CONTENT_CBOR` or `CONTENT_CBOR_DEFLATE`."""
    key_id: bytes
    """Which key is said to have signed; 16 bytes."""
    payload: bytes
    """The signed bytes as they travel."""
    signature: bytes
    """64 bytes."""


def key_id(public_key: bytes) -> bytes:
    """The 16 bytes by which a bundle names its signer's raw public key: the head of its SHA-256."""
    return hashlib.sha256(public_key).digest()[:KEY_ID_SIZE]


def seal(payload: bytes, content_format: int, signer: Signer) -> bytes:
    """Wrap `payload` in a COSE_Sign1 signed by `signer`.

    Args:
        payload: Bytes as they travel.
        content_format: `CONTENT_CBOR` or `CONTENT_CBOR_DEFLATE`.
        signer: The instance key.

    Returns:
        The tagged structure.
    """
    header = {
        _HEADER_ALGORITHM: ALGORITHM_EDDSA,
        _HEADER_CONTENT: content_format,
        _HEADER_KEY_ID: key_id(signer.public),
    }
    protected = cbor.encode(header)
    signature = signer.sign(_to_be_signed(protected, payload))
    return bytes([_TAG_18]) + cbor.encode([protected, {}, payload, signature])


def take_apart(data: bytes) -> Sealed:
    """Read the outer structure without believing anything.

    Args:
        data: A whole bundle.

    Returns:
        Its elements.

    Raises:
        FormatError: `bundle.too-large`, `bundle.malformed`, `bundle.not-deterministic` or `bundle.algorithm`.
    """
    if len(data) > MAX_BUNDLE:
        raise FormatError(f"This bundle is larger than {MAX_BUNDLE} bytes.", refusal="bundle.too-large")
    if data[:1] != bytes([_TAG_18]):
        raise _malformed("it does not begin as a bundle does")
    outer = cbor.decode(data[1:], what="bundle")
    match outer:
        case [bytes() as protected, dict() as unprotected, bytes() as payload, bytes() as signature]:
            pass
        case _:
            raise _malformed("it is not the four elements of a COSE_Sign1")
    if unprotected:
        raise _malformed("it has header fields outside the signature")
    if len(signature) != SIGNATURE_SIZE:
        raise _malformed("its signature is not 64 bytes long")
    header = cbor.decode(protected, what="bundle")
    if not isinstance(header, dict) or set(header) != {_HEADER_ALGORITHM, _HEADER_CONTENT, _HEADER_KEY_ID}:
        raise _malformed("its protected header does not hold exactly algorithm, content format and key id")
    if header[_HEADER_ALGORITHM] != ALGORITHM_EDDSA:
        raise FormatError("This bundle is not signed with Ed25519; no other is accepted.", refusal="bundle.algorithm")
    content_format, named = header[_HEADER_CONTENT], header[_HEADER_KEY_ID]
    if content_format not in (CONTENT_CBOR, CONTENT_CBOR_DEFLATE):  # A tuple: it may be anything, also unhashable.
        raise _malformed("its content format is unknown")
    if not isinstance(named, bytes) or len(named) != KEY_ID_SIZE:
        raise _malformed("its key id is not 16 bytes")
    assert isinstance(content_format, int)  # noqa: S101 - One of two integers, by the test above.
    return Sealed(protected, content_format, named, payload, signature)


def require_signature(sealed: Sealed, trusted: Collection[bytes]) -> bytes:
    """Check that one of the trusted keys sealed it.

    Args:
        sealed: What `take_apart` gave.
        trusted: Raw public keys of the instances whose bundles are accepted, 32 bytes each.

    Returns:
        The raw public key that signed.

    Raises:
        KeyturnError: `bundle.foreign` if its key is none of them, `bundle.bad-signature` if the signature is not valid.
    """
    for public in trusted:
        if key_id(public) == sealed.key_id:
            break
    else:
        raise KeyturnError(
            ErrorCode.INVALID_SIGNATURE,
            f"This bundle was sealed by a key that is not trusted here (its id: {sealed.key_id.hex()}). On the other "
            "side, `keyturn transport trust` shows its key and words: compare them by voice, then pin it here with "
            "`keyturn transport trust --pin`.",
            refusal="bundle.foreign",
        )
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(
            sealed.signature, _to_be_signed(sealed.protected, sealed.payload)
        )
    except (InvalidSignature, ValueError) as error:
        raise KeyturnError(
            ErrorCode.INVALID_SIGNATURE,
            "The seal of this bundle is broken: it was damaged or changed on its way. Carry it again.",
            refusal="bundle.bad-signature",
        ) from error
    return public


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """The Sig_structure of RFC 9052 section 4.4."""
    return cbor.encode(["Signature1", protected, b"", payload])


def _malformed(why: str) -> FormatError:
    return FormatError(
        f"This is not a bundle: {why}. If it came in pieces or on a stick, carry it again.", refusal="bundle.malformed"
    )
