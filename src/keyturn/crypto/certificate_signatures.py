"""Signature algorithms by the identifiers that X.509 has for them.

Many algorithms of the API have none (digests without a hash function, Keccak, double SHA-256, HMAC, BLS); they are
refused by name. So is SHA-1: two certificates can be made with one SHA-1 digest.

Source: RFC 4055 (RSA), RFC 5758 (ECDSA, DSA), RFC 8410 (Ed25519), RFC 9881 (ML-DSA), RFC 9909 (SLH-DSA), NIST CSOR
(SHA-3 with ECDSA); rest-api.md section 4.3 (KeytoolSignatureAlgorithm).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska import der

if TYPE_CHECKING:
    from collections.abc import Iterator

_NULL: Final = b"\x05\x00"
_SHA_2: Final = {"SHA224": 4, "SHA256": 1, "SHA384": 2, "SHA512": 3}
_HASH_SIZES: Final = {"SHA224": 28, "SHA256": 32, "SHA384": 48, "SHA512": 64}
_RSA_ARCS: Final = {"SHA224": 14, "SHA256": 11, "SHA384": 12, "SHA512": 13}
_NIST_SIGNATURES: Final = "2.16.840.1.101.3.4.3"
_PKCS_1: Final = "1.2.840.113549.1.1"


def _identifier(oid: str, parameters: bytes = b"") -> bytes:
    return der.encode(der.SEQUENCE, der.encode_oid(oid) + parameters)


def _pss(word: str) -> bytes:
    """RSASSA-PSS with MGF1 over the same hash and a salt as long as its digest (RFC 4055 section 3.1)."""
    function = _identifier(f"2.16.840.1.101.3.4.2.{_SHA_2[word]}", _NULL)
    mask = _identifier(f"{_PKCS_1}.8", function)
    salt = der.encode_unsigned(_HASH_SIZES[word])
    parameters = der.encode(0xA0, function) + der.encode(0xA1, mask) + der.encode(0xA2, salt)
    return _identifier(f"{_PKCS_1}.10", der.encode(der.SEQUENCE, parameters))


def _fixed() -> Iterator[tuple[str, bytes]]:
    """Algorithms whose identifier does not depend on the key."""
    for word, arc in _RSA_ARCS.items():
        yield f"{word}_WITH_RSA", _identifier(f"{_PKCS_1}.{arc}", _NULL)
        yield f"{word}_WITH_RSA_PSS", _pss(word)
    for arc, word in enumerate(("SHA224", "SHA256", "SHA384", "SHA512"), 1):
        yield f"{word}_WITH_ECDSA", _identifier(f"1.2.840.10045.4.3.{arc}")
        yield f"{word}_WITH_DSA", _identifier(f"{_NIST_SIGNATURES}.{arc}")
    for arc, word in enumerate(("SHA3224", "SHA3256", "SHA3384", "SHA3512"), 9):
        yield f"{word}_WITH_ECDSA", _identifier(f"{_NIST_SIGNATURES}.{arc}")


_FIXED: Final = dict(_fixed())
_ALIASES: Final = {"SHA256_WITH_ECDSA_DETERMINISTIC": "SHA256_WITH_ECDSA"}
"""Algorithms that differ in how the signature is made, and not in how it is verified."""
_OF_THE_KEY: Final = {
    "EDDSA": ("1.3.101.112", "1.3.101.113"),
    "ML_DSA": tuple(f"{_NIST_SIGNATURES}.{arc}" for arc in range(17, 20)),
    "SLH_DSA": tuple(f"{_NIST_SIGNATURES}.{arc}" for arc in range(20, 32)),
}
"""Algorithms whose identifier is that of the key."""
CERTIFICATE_ALGORITHMS: Final = frozenset({*_FIXED, *_ALIASES, *_OF_THE_KEY})
"""API names of the algorithms with which certificates and requests can be signed."""


def identifier_of(algorithm: str, spki: bytes) -> bytes:
    """The identifier that stands in a certificate.

    Args:
        algorithm: API name of the signature algorithm.
        spki: Public key of the signer, DER.

    Returns:
        AlgorithmIdentifier, DER.

    Raises:
        KeyturnError: 600 `certificate.algorithm`: X.509 has none for it; 607 `signature.wrong-key-type`.
    """
    fixed = _FIXED.get(_ALIASES.get(algorithm, algorithm))
    if fixed is not None:
        return fixed
    if algorithm not in _OF_THE_KEY:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"signatureAlgorithm: certificates are not signed with {algorithm[:64]!a}; available are "
            f"{', '.join(sorted(CERTIFICATE_ALGORITHMS))}.",
            refusal="certificate.algorithm",
        )
    of_key = der.sequence_of(spki, "public key").take_any()[2]
    if of_key not in _identifiers(algorithm):
        raise KeyturnError(
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            f"{algorithm} does not go with this kind of key; choose one of its algorithms.",
            refusal="signature.wrong-key-type",
        )
    return of_key


def algorithm_of_identifier(identifier: bytes) -> str | None:
    """The API name behind an identifier.

    Args:
        identifier: AlgorithmIdentifier, DER.

    Returns:
        The name, None when such signatures are not verified here.
    """
    for name, known in _FIXED.items():
        if known == identifier:
            return name
    return next((name for name in _OF_THE_KEY if identifier in _identifiers(name)), None)


@lru_cache(maxsize=8)
def _identifiers(algorithm: str) -> frozenset[bytes]:
    return frozenset(_identifier(oid) for oid in _OF_THE_KEY[algorithm])
