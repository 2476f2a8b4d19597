"""Which payloads a protected key may sign, so that what was approved means one thing (rule R8).

Whoever approves a digest approves whatever has that digest. That holds only while nobody can find a second meaning
for the same bytes or the same signature. So for protected keys a digest has exactly the length that its signature
uses, is never cut or filled up, is not made by SHA-1 (collisions are for sale: two documents, one signature), and
the payload is none of our own signed structures, which would turn a use approval into an approval of something else.

Source: docs/security/rules.md R8; decisions 26; RFC 8017 section 9.2 note 1 (DigestInfo).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.crypto.keys import CURVES
from keyturn.crypto.schemes import natural_digest_size
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.messages import looks_like_own_structure

if TYPE_CHECKING:
    from keyturn.crypto.signature_entry import SignatureAlgorithm

DIGEST_LENGTHS: Final = frozenset({28, 32, 48, 64})
"""Lengths in bytes of the SHA-2 and SHA-3 digests; 20 is missing because it is SHA-1's."""

DSA_DIGEST: Final = 32
"""Bytes of the one digest that fits the subgroup of DSA keys (of 256 bits, but for 1024-bit keys) uncut."""


def _digest_info(last_arc: int, size: int) -> bytes:
    """The DER in front of a digest: `SEQUENCE { SEQUENCE { OID 2.16.840.1.101.3.4.2.x, NULL }, OCTET STRING }`."""
    oid_and_null = bytes.fromhex("06096086480165030402") + bytes([last_arc]) + b"\x05\x00"
    return bytes([0x30, 17 + size, 0x30, 13]) + oid_and_null + bytes([0x04, size])


_DIGEST_INFO: Final = {
    19 + size: (_digest_info(sha_2, size), _digest_info(sha_3, size))
    for size, sha_2, sha_3 in ((28, 4, 7), (32, 1, 8), (48, 2, 9), (64, 3, 10))
}
"""What a well-formed DigestInfo starts with, by its whole length."""


def require_single_meaning(entry: SignatureAlgorithm, payload: bytes, *, curve_oid: str) -> None:
    """Refuse a payload that could mean something else than what its approvers saw; for protected keys.

    Args:
        entry: The signature algorithm.
        payload: What is to be signed.
        curve_oid: Curve of an EC key; "" for other keys.

    Raises:
        KeyturnError: 612 `payload.digest-length` or `payload.double-meaning`; 607 `algorithm.sha-1`.
    """
    if entry.digest == "SHA-1":
        raise KeyturnError(
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            f"{entry.name} is not available for protected keys: two documents can be made with one SHA-1 digest, and "
            "only one of them is approved. Take SHA-256 or longer.",
            refusal="algorithm.sha-1",
        )
    structure = looks_like_own_structure(payload)
    if structure is not None:
        raise _double(f"it is also a well-formed {structure}, which a protected key never signs as a payload")
    if entry.prehashed:
        _require_digest(entry, payload, curve_oid)


def _require_digest(entry: SignatureAlgorithm, payload: bytes, curve_oid: str) -> None:
    size = len(payload)
    if "EC" in entry.key_types:
        wanted = natural_digest_size(CURVES[curve_oid])
        if size != wanted:
            raise _length(entry, f"exactly {wanted} bytes on this curve", size)
    elif "DSA" in entry.key_types:
        if size != DSA_DIGEST:
            raise _length(entry, f"exactly {DSA_DIGEST} bytes", size)
    elif entry.digest_size:
        if size != entry.digest_size:
            raise _length(entry, f"exactly {entry.digest_size} bytes", size)
    elif size in DIGEST_LENGTHS:
        # Without its NULL, a DigestInfo of MD5 has 32 bytes: a digest that begins like one is not taken for a digest.
        if payload[0] == 0x30 and payload[1] == size - 2 and payload[2] == 0x30:
            raise _double("it is a digest by its length and the DER of a digest by its content")
    elif entry.lengths or not payload.startswith(_DIGEST_INFO.get(size, ())):
        raise _length(entry, "28, 32, 48 or 64 bytes" + ("" if entry.lengths else ", or a DigestInfo"), size)


def _length(entry: SignatureAlgorithm, wanted: str, size: int) -> KeyturnError:
    return KeyturnError(
        ErrorCode.INVALID_PAYLOAD,
        f"A protected key signs digests that are neither cut nor filled up: {entry.name} takes {wanted} of a SHA-2 or "
        f"SHA-3 digest, not {size} bytes.",
        refusal="payload.digest-length",
    )


def _double(why: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.INVALID_PAYLOAD,
        f"The payload could be taken for something else than what was approved: {why}.",
        refusal="payload.double-meaning",
    )
