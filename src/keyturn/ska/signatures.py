"""Signatures over approvals and timestamps: their schemes, their wrapper, their verification.

A scheme is a kind of key together with a digest. It has an object identifier for the DER wrapper of element 0x1056,
a name in the REST API, and follows from the kind of key and the digest name that an approval client sends. SHA-1 is
known only to be refused (decisions 26); RSA is always PKCS#1 v1.5.

The wrapper is `SEQUENCE { SEQUENCE { OID, NULL }, BIT STRING }`. We write the NULL everywhere, as all samples do,
and read it with or without (ska-wire-format.md 9.3). For Ed25519 and BLS the identifier is that of the key.

Source: ska-wire-format.md sections 5 and 6; rest-api.md sections 4.3 and 4.5; decisions 26.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska import der
from keyturn.ska.bls import BLS_OID, BlsPublicKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.ska.approver_keys import ApproverKey, KeyKind

_DIGESTS: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    "SHA-224": hashes.SHA224,
    "SHA-256": hashes.SHA256,
    "SHA-384": hashes.SHA384,
    "SHA-512": hashes.SHA512,
    "SHA3-224": hashes.SHA3_224,
    "SHA3-256": hashes.SHA3_256,
    "SHA3-384": hashes.SHA3_384,
    "SHA3-512": hashes.SHA3_512,
}
EDDSA: Final = "EdDSA"
"""The word that stands in for a digest name with Ed25519 (rest-api.md section 4.5)."""
BLS: Final = "BLS"
"""The same with BLS keys, whose scheme hashes by itself; the document names none (docs/adr/0125)."""
_OWN_WORD: Final[dict[KeyKind, str]] = {"ED": EDDSA, "BLS": BLS}
"""Kinds of keys that go with one word instead of a digest."""


@dataclass(frozen=True, slots=True)
class SignatureScheme:
    """A kind of key with a digest.

    Args:
        name: API name, such as `SHA256_WITH_ECDSA`.
        kind: Kind of key: `RSA`, `EC`, `ED`, `DSA`, `BLS`.
        digest: Digest name of rest-api.md section 4.5, such as `SHA-256`; `EdDSA` for Ed25519, `BLS` for BLS.
        oid: Dotted object identifier.
    """

    name: str
    kind: KeyKind
    digest: str
    oid: str


def _table() -> tuple[SignatureScheme, ...]:
    oids: dict[KeyKind, tuple[str, tuple[str, ...]]] = {
        "RSA": (
            "RSA",
            (
                *(f"1.2.840.113549.1.1.{last}" for last in (14, 11, 12, 13)),
                *(f"2.16.840.1.101.3.4.3.{last}" for last in (13, 14, 15, 16)),
            ),
        ),
        "EC": (
            "ECDSA",
            (
                *(f"1.2.840.10045.4.3.{last}" for last in (1, 2, 3, 4)),
                *(f"2.16.840.1.101.3.4.3.{last}" for last in (9, 10, 11, 12)),
            ),
        ),
        "DSA": ("DSA", tuple(f"2.16.840.1.101.3.4.3.{last}" for last in (1, 2, 3, 4, 5, 6, 7, 8))),
    }
    return (
        *(
            SignatureScheme(f"{digest.replace('-', '')}_WITH_{word}", kind, digest, oid)
            for kind, (word, of_kind) in oids.items()
            for digest, oid in zip(_DIGESTS, of_kind, strict=True)
        ),
        SignatureScheme("EDDSA", "ED", EDDSA, "1.3.101.112"),
        SignatureScheme("BLS", "BLS", BLS, BLS_OID),
    )


SCHEMES: Final = _table()
"""Every scheme in which approvals and timestamps may be signed."""
SHA1_OIDS: Final = ("1.2.840.113549.1.1.5", "1.2.840.10045.4.1", "1.2.840.10040.4.3")
"""RSA, ECDSA and DSA with SHA-1: recognised so that the refusal can say why."""

_BY_OID: Final = {der.encode_oid(scheme.oid): scheme for scheme in SCHEMES}
_BY_NAME: Final = {scheme.name: scheme for scheme in SCHEMES}
_BY_KIND: Final = {(scheme.kind, scheme.digest): scheme for scheme in SCHEMES}
_SHA1: Final = frozenset(der.encode_oid(oid) for oid in SHA1_OIDS)
_NULL: Final = der.encode(der.NULL, b"")
_ECDSA: Final = {name: ec.ECDSA(digest()) for name, digest in _DIGESTS.items()}
_HASHES: Final = {name: digest() for name, digest in _DIGESTS.items()}
_PKCS1: Final = padding.PKCS1v15()


def wrap_signature(algorithm: str, bare: bytes) -> bytes:
    """Wrap a bare signature for element 0x1056.

    Args:
        algorithm: API name of the scheme, such as `SHA256_WITH_ECDSA`.
        bare: The signature as the signer made it.

    Returns:
        The DER wrapper, with NULL parameters.

    Raises:
        KeyturnError: `approval.algorithm-not-allowed` for any other name.
    """
    oid = der.encode_oid(scheme_from_api(algorithm).oid)
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, oid + _NULL) + der.encode_bits(bare))


def unwrap_signature(wrapped: bytes) -> tuple[SignatureScheme, bytes]:
    """Take the signature out of its wrapper.

    Args:
        wrapped: Value of element 0x1056.

    Returns:
        The scheme and the bare signature.

    Raises:
        FormatError: If it is no such wrapper, or, with `approval.algorithm-not-allowed`, names SHA-1 or a scheme
            that we do not know.
    """
    oid, bare = split_wrapper(wrapped)
    scheme = _BY_OID.get(oid)
    if scheme is None:
        raise FormatError(
            "The signature was made with SHA-1, which does not count for approvals; sign with SHA-256 or stronger."
            if oid in _SHA1
            else "The signature names an algorithm that does not count for approvals; use RSA PKCS#1 v1.5, ECDSA or "
            "DSA with SHA-2 or SHA-3, Ed25519 or BLS.",
            code=ErrorCode.INVALID_SIGNATURE,
            refusal="approval.algorithm-not-allowed",
        )
    return scheme, bare


def split_wrapper(wrapped: bytes) -> tuple[bytes, bytes]:
    """Take the wrapper apart without judging the algorithm.

    Args:
        wrapped: Value of element 0x1056.

    Returns:
        The object identifier, DER with tag and length, and the bare signature.

    Raises:
        FormatError: If it is no such wrapper.
    """
    reader = der.sequence_of(wrapped, "signature wrapper")
    algorithm = der.DERReader(reader.take(der.SEQUENCE), "signature wrapper")
    tag, _, oid = algorithm.take_any()
    if tag != der.OID:
        raise FormatError("The signature wrapper does not name its algorithm.")
    if not algorithm.at_end() and algorithm.take(der.NULL):
        raise FormatError("The signature wrapper holds a NULL with content.")
    algorithm.finish()
    bare = reader.take_bits()
    reader.finish()
    return oid, bare


def scheme_for(key: ApproverKey, digest_name: str) -> SignatureScheme:
    """Find the scheme that follows from a key and the digest name of the REST API.

    Args:
        key: Approver key.
        digest_name: `SHA-224` to `SHA-512`, `SHA3-224` to `SHA3-512`; `EdDSA` for Ed25519, `BLS` for BLS.

    Returns:
        The scheme.

    Raises:
        KeyturnError: 600 `approval.algorithm-not-allowed` for SHA-1 and unknown names, 600 `approval.key-mismatch`
            if the name does not go with this kind of key.
    """
    scheme = _BY_KIND.get((key.kind, digest_name))
    if scheme is not None:
        return scheme
    if digest_name in _DIGESTS or digest_name in _OWN_WORD.values():
        fitting = _OWN_WORD.get(key.kind, "one of the SHA-2 and SHA-3 digests")
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"The digest algorithm {digest_name} does not go with this approver's {key.kind} key; give {fitting}.",
            refusal="approval.key-mismatch",
        )
    raise KeyturnError(
        ErrorCode.VALIDATION_FAILED,
        f"The digest algorithm must be one of {', '.join(_DIGESTS)}, or {EDDSA} for Ed25519 and {BLS} for BLS keys; "
        "SHA-1 does not count for approvals.",
        refusal="approval.algorithm-not-allowed",
    )


def api_signature_algorithm(scheme: SignatureScheme) -> str:
    """The name of a scheme in the REST API, such as `SHA256_WITH_ECDSA`."""
    return scheme.name


def scheme_from_api(name: str) -> SignatureScheme:
    """Find a scheme by its name in the REST API.

    Args:
        name: Such as `SHA256_WITH_RSA`, `SHA3256_WITH_ECDSA`, `EDDSA` or `BLS`.

    Returns:
        The scheme.

    Raises:
        KeyturnError: 600 `approval.algorithm-not-allowed` if approvals and timestamps are not signed so.
    """
    scheme = _BY_NAME.get(name)
    if scheme is None:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            "Approvals and timestamps are signed with RSA PKCS#1 v1.5, ECDSA or DSA and a SHA-2 or SHA-3 digest, such "
            "as SHA256_WITH_ECDSA, or with EDDSA or BLS.",
            refusal="approval.algorithm-not-allowed",
        )
    return scheme


def verify(key: ApproverKey, scheme: SignatureScheme, signature: bytes, data: bytes) -> None:
    """Verify a bare signature.

    Args:
        key: The signer's key.
        scheme: The scheme the signature claims.
        signature: Bare signature: RSA block, DER `SEQUENCE {r, s}` for ECDSA and DSA, 64 bytes for Ed25519, 96
            for BLS.
        data: The bytes that were signed, all of them.

    Raises:
        KeyturnError: 403 `approval.key-mismatch` if the scheme is for another kind of key, 403
            `approval.bad-signature` if the signature is not valid.
    """
    if scheme.kind != key.kind:
        raise KeyturnError(
            ErrorCode.INVALID_SIGNATURE,
            f"The signature says {scheme.name}, but the signer's key is of kind {key.kind}.",
            refusal="approval.key-mismatch",
        )
    try:
        _VERIFIERS[scheme.kind](key, scheme.digest, signature, data)
    except (InvalidSignature, ValueError):
        raise KeyturnError(
            ErrorCode.INVALID_SIGNATURE,
            "The signature is not valid for these bytes and this key.",
            refusal="approval.bad-signature",
        ) from None


def _verify_rsa(key: ApproverKey, digest: str, signature: bytes, data: bytes) -> None:
    if not isinstance(key.public_key, rsa.RSAPublicKey):
        raise InvalidSignature
    key.public_key.verify(signature, data, _PKCS1, _HASHES[digest])


def _verify_ec(key: ApproverKey, digest: str, signature: bytes, data: bytes) -> None:
    if not isinstance(key.public_key, ec.EllipticCurvePublicKey):
        raise InvalidSignature
    key.public_key.verify(signature, data, _ECDSA[digest])


def _verify_dsa(key: ApproverKey, digest: str, signature: bytes, data: bytes) -> None:
    if not isinstance(key.public_key, dsa.DSAPublicKey):
        raise InvalidSignature
    key.public_key.verify(signature, data, _HASHES[digest])


def _verify_ed(key: ApproverKey, _digest: str, signature: bytes, data: bytes) -> None:
    if not isinstance(key.public_key, ed25519.Ed25519PublicKey):
        raise InvalidSignature
    key.public_key.verify(signature, data)


def _verify_bls(key: ApproverKey, _digest: str, signature: bytes, data: bytes) -> None:
    if not isinstance(key.public_key, BlsPublicKey):
        raise InvalidSignature
    key.public_key.verify(signature, data)


_VERIFIERS: Final[dict[KeyKind, Callable[[ApproverKey, str, bytes, bytes], None]]] = {
    "RSA": _verify_rsa,
    "EC": _verify_ec,
    "DSA": _verify_dsa,
    "ED": _verify_ed,
    "BLS": _verify_bls,
}
