"""Operational keys: how they are made, stored, read and described, whatever their kind.

What a kind needs stands in its entry (`keyturn.crypto.key_types`), what a curve needs in `keyturn.crypto.curves`; here
is only what asks them.

Source: rest-api.md sections 4.1, 4.2 and 3.1 (the `json` object), decisions 28.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, cast

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey, DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from keyturn.crypto.curves import CURVES, CURVES_BY_NAME, Curve, curve_of
from keyturn.crypto.key_types import (
    KEY_TYPES,
    SECRET_KEY_TYPES,
    KeySpec,
    KeyType,
    SecretKey,
    SecretKeyType,
    key_type,
    key_type_by_algorithm_oid,
    key_type_by_spki_oid,
    kind_of,
    make_spec,
)
from keyturn.crypto.kinds.bls import BlsPrivateKey
from keyturn.crypto.kinds.ec import ED25519_OID
from keyturn.crypto.kinds.ml_dsa import MlDsaPrivateKey, MlDsaPublicKey
from keyturn.crypto.kinds.ml_kem import MlKemPrivateKey, MlKemPublicKey
from keyturn.crypto.kinds.rsa import MAX_RSA_BITS
from keyturn.crypto.kinds.secret import AES_BITS
from keyturn.crypto.kinds.slh_dsa import SlhDsaPrivateKey, SlhDsaPublicKey
from keyturn.crypto.kinds.stateful import StatefulPrivateKey, StatefulPublicKey
from keyturn.errors import ErrorCode, FormatError
from keyturn.ska.bls import BlsPublicKey
from keyturn.ska.der import INTEGER, OID, SEQUENCE, DERReader, sequence_of

__all__ = [
    "AES_BITS",
    "CURVES",
    "CURVES_BY_NAME",
    "ED25519_OID",
    "KEY_TYPES",
    "MAX_RSA_BITS",
    "MAX_SPKI",
    "SECRET_KEY_TYPES",
    "Curve",
    "KeySpec",
    "KeyType",
    "PrivateKey",
    "PublicKey",
    "SecretKey",
    "SecretKeyType",
    "curve_of",
    "describe_private",
    "describe_spki",
    "generate",
    "generate_secret",
    "key_type",
    "key_type_by_algorithm_oid",
    "kind_of",
    "load_public_key",
    "make_spec",
    "private_key_from_der",
    "private_key_from_stored",
    "private_key_to_der",
    "private_key_to_stored",
    "public_spki",
]

ClassicalPrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey | DSAPrivateKey | BlsPrivateKey
ClassicalPublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | DSAPublicKey | BlsPublicKey
PrivateKey = ClassicalPrivateKey | MlDsaPrivateKey | MlKemPrivateKey | SlhDsaPrivateKey | StatefulPrivateKey
PublicKey = ClassicalPublicKey | MlDsaPublicKey | MlKemPublicKey | SlhDsaPublicKey | StatefulPublicKey

MAX_SPKI: Final = 4096
"""Largest public key in bytes; RSA 8192 takes 1 062, ML-DSA-87 2 614."""


def generate_secret(spec: KeySpec) -> SecretKey:
    """Make a symmetric key.

    Args:
        spec: What it is to be like, from `make_spec`.

    Returns:
        The key; its randomness is the operating system's.
    """
    return SecretKey(spec.algorithm, SECRET_KEY_TYPES[spec.algorithm].generate(spec))


def generate(spec: KeySpec) -> PrivateKey:
    """Make a key pair.

    Args:
        spec: What it is to be like, from `make_spec`. RSA 4096 takes about a second, 8192 up to a minute.

    Returns:
        The private key; its randomness is that of the library.
    """
    made: PrivateKey = KEY_TYPES[spec.algorithm].generate(spec)
    return made


def private_key_to_stored(key: PrivateKey) -> bytes:
    """A private key as the sealed key store holds it; for that and nothing else."""
    return kind_of(key).to_stored(key)


def private_key_to_der(key: PrivateKey) -> bytes:
    """A private key as unencrypted PKCS#8 (RFC 5958); for the sealed key store, wrapping and export."""
    kind = kind_of(key)
    return (kind.to_pkcs8 or kind.to_stored)(key)


def private_key_from_der(der: bytes) -> PrivateKey:
    """Read back what `private_key_to_der` wrote.

    A key that comes from outside must be checked by its importer (`keyturn.crypto.imported_keys`).

    Args:
        der: PKCS#8, unencrypted.

    Returns:
        The private key.

    Raises:
        FormatError: 407 when it is no such key.
    """
    kind = _kind_in_pkcs8(der)
    if kind is None:
        raise _unreadable("private")
    return _read_private(kind, kind.from_pkcs8 or kind.from_stored, der)


def private_key_from_stored(algorithm: str, content: bytes) -> PrivateKey | SecretKey:
    """Read back a key of the sealed store, of whatever kind.

    Args:
        algorithm: Name in `KEY_TYPES` or `SECRET_KEY_TYPES`, as it stands in the key's record.
        content: The key's own bytes for a symmetric key, else what `private_key_to_stored` wrote.

    Returns:
        The key.

    Raises:
        FormatError: 407 when it is no such key.
        KeyturnError: 603 when a symmetric key has a length that its kind does not have.
    """
    if algorithm in SECRET_KEY_TYPES:
        return SecretKey(algorithm, content)
    kind = KEY_TYPES[algorithm]
    return _read_private(kind, kind.from_stored, content)


def _read_private(kind: KeyType, read: Any, content: bytes) -> PrivateKey:
    try:
        key = read(content)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        # The library's reason is not passed on: it speaks about secret bytes. It calls an Ed25519 or X448 key of a
        # wrong length an internal error.
        raise _unreadable("private") from None
    if not isinstance(key, kind.private_class):
        raise _unreadable("private")
    kind.check_private(key)
    return cast("PrivateKey", key)


def _kind_in_pkcs8(der: bytes) -> KeyType | None:
    try:
        reader = DERReader(DERReader(der, "private key").take(SEQUENCE), "private key")
        if reader.peek() == INTEGER:
            reader.take(INTEGER)
        return _kind_of_algorithm(reader.take(SEQUENCE))
    except FormatError:
        return None


def _kind_of_algorithm(identifier: bytes) -> KeyType | None:
    return key_type_by_spki_oid(_dotted(DERReader(identifier, "algorithm").take(OID)))


def _dotted(content: bytes) -> str:
    """An OID as text; whatever does not fit into one gives a text that no kind has."""
    arcs, value = [], 0
    for byte in content[:64]:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(value)
            value = 0
    if not arcs:
        return ""
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


def _unreadable(side: str) -> FormatError:
    return FormatError(
        f"This is not the DER of a {side} key of a kind that is available here: {', '.join(KEY_TYPES)}.",
        code=ErrorCode.PARSING_KEY,
        refusal="key.unreadable",
    )


def public_spki(key: PrivateKey | PublicKey) -> bytes:
    """The public key as DER SubjectPublicKeyInfo (RFC 5280 section 4.1); EC points uncompressed."""
    kind = kind_of(key)
    return kind.to_spki(kind.public_of(key) if isinstance(key, kind.private_class) else key)


@lru_cache(maxsize=1024)
def load_public_key(spki: bytes) -> PublicKey:
    """Read an operational key's public part.

    Args:
        spki: DER SubjectPublicKeyInfo, at most `MAX_SPKI` bytes.

    Returns:
        The public key; kept for the next call, since results are verified with few keys.

    Raises:
        FormatError: 407 when it is no public key of a kind, curve and size that is available here.
    """
    if len(spki) > MAX_SPKI:
        raise _unreadable("public")
    try:
        kind = _kind_of_algorithm(sequence_of(spki, "public key").take(SEQUENCE))
    except FormatError:
        kind = None
    if kind is None:
        raise _unreadable("public")
    try:
        key = kind.from_spki(spki)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _unreadable("public") from None
    if not isinstance(key, kind.public_class):
        raise _unreadable("public")
    kind.check_private(key)
    return cast("PublicKey", key)


def describe_spki(spki: bytes) -> tuple[str, str, str | None, int | None]:
    """What the attested attributes say about a key, from its public part.

    Args:
        spki: DER SubjectPublicKeyInfo.

    Returns:
        API name as it is reported, algorithm OID, curve OID (None for RSA and, as documented, for ED), size in bits
        (where the kind has a choice).

    Raises:
        FormatError: 407, see `load_public_key`.

    Source: rest-api.md section 3.1, the `json` object.
    """
    key = load_public_key(spki)
    kind = kind_of(key)
    spec = kind.spec_of(key)
    return kind.reported or kind.name, kind.oid, spec.curve_oid if kind.shows_curve else None, spec.key_size or None


def describe_private(key: PrivateKey | SecretKey) -> KeySpec:
    """The description of a key, as at its creation."""
    if isinstance(key, SecretKey):
        return key.spec
    kind = kind_of(key)
    return kind.spec_of(kind.public_of(key))
