"""Operational keys: which kinds there are, how they are made, stored and described.

A kind of key is one entry of `KEY_TYPES`, a curve one entry of `CURVES`; whatever stands in neither is refused by
name, with the list of what is available.

Source: rest-api.md sections 4.1, 4.2 and 3.1 (the `json` object), decisions 28; SEC 2 (curves), RFC 8410 (Ed25519).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NoReturn

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256K1,
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from keyturn.errors import ErrorCode, FormatError, KeyturnError

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

ED25519_OID: Final = "1.3.101.112"

MIN_RSA_BITS: Final = 2048
WEAK_RSA_BITS: Final = 1024
"""Smallest RSA key, and only where weak keys are allowed (decisions 28)."""
MAX_RSA_BITS: Final = 8192
RSA_BITS_STEP: Final = 256
"""RSA sizes go in steps of this: all sizes in use (2048, 3072, 4096, 6144, 7680, 8192) are such, others help nobody."""
RSA_EXPONENT: Final = 65537
MAX_SPKI: Final = 4096
"""Largest public key in bytes; RSA 8192 takes 1 062."""


@dataclass(frozen=True, slots=True)
class Curve:
    """An elliptic curve for ECDSA.

    Args:
        oid: Dotted OID, the API's `curveOid`.
        name: Name in the library and in SEC 2.
        instance: The library's object for it.
        size: Bytes of one coordinate, of `r` and of `s` in raw signatures.
        order: Order of the base point.
        low_s: Whether signatures are returned with the smaller of the two possible `s` (decisions 24, BIP 146).
    """

    oid: str
    name: str
    instance: EllipticCurve
    size: int
    order: int
    low_s: bool = False


def _curve(oid: str, instance: EllipticCurve, *, low_s: bool = False) -> Curve:
    return Curve(oid, instance.name, instance, (instance.key_size + 7) // 8, instance.group_order, low_s)


CURVES: Final = {
    curve.oid: curve
    for curve in (
        _curve("1.2.840.10045.3.1.7", SECP256R1()),
        _curve("1.3.132.0.34", SECP384R1()),
        _curve("1.3.132.0.35", SECP521R1()),
        _curve("1.3.132.0.10", SECP256K1(), low_s=True),
    )
}
"""Curves for EC keys by OID."""

CURVES_BY_NAME: Final = {curve.name: curve for curve in CURVES.values()}


@dataclass(frozen=True, slots=True)
class KeyType:
    """A kind of key.

    Args:
        name: The API's `algorithm`.
        oid: The API's `algorithmOid`.
        slow: Whether making such a key takes long enough to be done in a worker process.
    """

    name: str
    oid: str
    slow: bool = False


KEY_TYPES: Final = {
    kind.name: kind
    for kind in (
        KeyType("RSA", "1.2.840.113549.1.1.1", slow=True),
        KeyType("EC", "1.2.840.10045.2.1"),
        KeyType("ED", ED25519_OID),
    )
}
"""Kinds of keys that have a public part, by their API name."""

AES_BITS: Final = (128, 192, 256)

SECRET_KEY_TYPES: Final = {kind.name: kind for kind in (KeyType("AES", "1.0.18033.3.2.1"),)}
"""Kinds of keys that have none."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A symmetric key.

    Args:
        algorithm: Name in `SECRET_KEY_TYPES`.
        value: The key's bytes: 16, 24 or 32 for AES. They never appear in its `repr`.

    Raises:
        KeyturnError: 600 `key.algorithm` when the kind is not available, 603 `key.size` when the length does not fit.
    """

    algorithm: str
    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Check kind and length, so that no later step has to."""
        if self.algorithm not in SECRET_KEY_TYPES:
            _refuse(
                f"algorithm: {_shown(self.algorithm)} is no kind of symmetric key here; available are "
                f"{', '.join(SECRET_KEY_TYPES)}.",
                "key.algorithm",
            )
        if 8 * len(self.value) not in AES_BITS:
            _refuse(
                f"An AES key has 16, 24 or 32 bytes, not {len(self.value)}.",
                "key.size",
                ErrorCode.KEY_SIZE,
            )

    @property
    def key_size(self) -> int:
        """Size in bits."""
        return 8 * len(self.value)


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What a key to be made is like; made by `make_spec`, which checks it.

    Args:
        algorithm: Name in `KEY_TYPES` or `SECRET_KEY_TYPES`.
        curve_oid: Dotted OID for EC and ED, else "".
        key_size: Bits for AES, of the modulus for RSA, else 0.
    """

    algorithm: str
    curve_oid: str
    key_size: int

    @property
    def slow(self) -> bool:
        """Whether making it takes long enough (RSA: up to many seconds) to be done in a worker process."""
        return self._kind.slow

    @property
    def algorithm_oid(self) -> str:
        """The API's `algorithmOid`."""
        return self._kind.oid

    @property
    def _kind(self) -> KeyType:
        return KEY_TYPES.get(self.algorithm) or SECRET_KEY_TYPES[self.algorithm]


def _refuse(message: str, refusal: str, code: ErrorCode = ErrorCode.VALIDATION_FAILED) -> NoReturn:
    raise KeyturnError(code, message, refusal=refusal)


def make_spec(algorithm: str, curve_oid: str, key_size: int, *, allow_weak: bool = False) -> KeySpec:
    """Check what a key to be made is to be like.

    Args:
        algorithm: API name of the kind of key, `RSA`, `EC`, `ED` or `AES`.
        curve_oid: Dotted OID; required for EC (see `CURVES`) and ED (1.3.101.112), "" for the others.
        key_size: Bits for RSA (2048 to 8192 in steps of 256) and AES (128, 192, 256); 0 for the others.
        allow_weak: Whether RSA 1024 is taken too (`hsm.allowWeakKeys`).

    Returns:
        The checked description.

    Raises:
        KeyturnError: 600 when the kind or curve is unknown or missing, 603 when the size does not fit.

    Source: rest-api.md section 3.1 (POST /v1/key) and 4.1, decisions 28.
    """
    if algorithm not in KEY_TYPES and algorithm not in SECRET_KEY_TYPES:
        _refuse(
            f"algorithm: {_shown(algorithm)} keys are not available here; available are "
            f"{', '.join([*KEY_TYPES, *SECRET_KEY_TYPES])}.",
            "key.algorithm",
        )
    if algorithm in ("RSA", "AES"):
        if curve_oid:
            _refuse(f"curveOid: an {algorithm} key has no curve; leave curveOid out.", "key.curve")
        if algorithm == "RSA":
            _check_rsa_size(key_size, allow_weak=allow_weak)
        elif key_size not in AES_BITS:
            _refuse(f"keySize: an AES key has 128, 192 or 256 bits, not {key_size}.", "key.size", ErrorCode.KEY_SIZE)
        return KeySpec(algorithm, "", key_size)
    known = CURVES if algorithm == "EC" else (ED25519_OID,)
    if curve_oid not in known:
        given = f"{_shown(curve_oid)} is not available" if curve_oid else "is missing"
        _refuse(f"curveOid: {given}; for {algorithm} keys it is one of {', '.join(known)}.", "key.curve")
    if key_size:
        _refuse(
            f"keySize: the size of an {algorithm} key follows from its curve; leave keySize out.",
            "key.size",
            ErrorCode.KEY_SIZE,
        )
    return KeySpec(algorithm, curve_oid, 0)


def _check_rsa_size(bits: int, *, allow_weak: bool) -> None:
    if bits == WEAK_RSA_BITS:
        if allow_weak:
            return
        _refuse(
            "keySize: RSA 1024 is too weak; take 2048 or more, or set hsm.allowWeakKeys if you must.",
            "key.weak",
            ErrorCode.KEY_SIZE,
        )
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS or bits % RSA_BITS_STEP:
        _refuse(
            f"keySize: an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits in steps of {RSA_BITS_STEP}, not {bits}.",
            "key.size",
            ErrorCode.KEY_SIZE,
        )


def _shown(text: str) -> str:
    """A caller's word as it may stand in a message: quoted, escaped, short."""
    return ascii(text if len(text) <= 64 else text[:64] + "…")


def generate_secret(spec: KeySpec) -> SecretKey:
    """Make a symmetric key.

    Args:
        spec: What it is to be like, from `make_spec`.

    Returns:
        The key; its randomness is the operating system's.
    """
    return SecretKey(spec.algorithm, secrets.token_bytes(spec.key_size // 8))


def generate(spec: KeySpec) -> PrivateKey:
    """Make a key pair.

    Args:
        spec: What it is to be like, from `make_spec`. RSA 4096 takes about a second, 8192 up to a minute.

    Returns:
        The private key; its randomness is OpenSSL's.
    """
    if spec.algorithm == "RSA":
        return generate_rsa(RSA_EXPONENT, spec.key_size)
    if spec.algorithm == "EC":
        return generate_ec(CURVES[spec.curve_oid].instance)
    return Ed25519PrivateKey.generate()


def private_key_to_der(key: PrivateKey) -> bytes:
    """A private key as unencrypted PKCS#8 (RFC 5958); for the sealed key store and nothing else."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def private_key_from_der(der: bytes) -> PrivateKey:
    """Read back what `private_key_to_der` wrote.

    The primes of an RSA key are not tested again (40 ms for 2048 bits, seconds for 8192): the key was made here and
    its bytes are authenticated by the store's seal. A key that comes from outside must be checked by its importer.

    Args:
        der: PKCS#8, unencrypted.

    Returns:
        The private key.

    Raises:
        FormatError: 407 when it is no such key.
    """
    try:
        key = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        # The library's reason is not passed on: it speaks about secret bytes. It calls an Ed25519 or X448 key of a
        # wrong length an internal error.
        raise _unreadable("private") from None
    if isinstance(key, EllipticCurvePrivateKey):
        _known_curve(key.curve)
        return key
    if isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        return key
    raise _unreadable("private")


def private_key_from_stored(algorithm: str, content: bytes) -> PrivateKey | SecretKey:
    """Read back a key of the sealed store, of whatever kind.

    Args:
        algorithm: Name in `KEY_TYPES` or `SECRET_KEY_TYPES`, as it stands in the key's record.
        content: The key's own bytes for a symmetric key, else PKCS#8 as `private_key_to_der` wrote it.

    Returns:
        The key.

    Raises:
        FormatError: 407 when it is no such key.
        KeyturnError: 603 when a symmetric key has a length that its kind does not have.
    """
    if algorithm in SECRET_KEY_TYPES:
        return SecretKey(algorithm, content)
    return private_key_from_der(content)


def _unreadable(side: str) -> FormatError:
    return FormatError(
        f"This is not the DER of a {side} key that is RSA, EC on a listed curve, or Ed25519.",
        code=ErrorCode.PARSING_KEY,
        refusal="key.unreadable",
    )


def _known_curve(curve: EllipticCurve) -> Curve:
    known = CURVES_BY_NAME.get(curve.name)
    if known is None:
        raise FormatError(
            f"Keys on the curve {curve.name} are not available here; available are {', '.join(CURVES_BY_NAME)}.",
            code=ErrorCode.PARSING_KEY,
            refusal="key.curve",
        )
    return known


def curve_of(key: EllipticCurvePrivateKey | EllipticCurvePublicKey) -> Curve:
    """The curve of an EC key.

    Raises:
        FormatError: 407 when it is not one of `CURVES`.
    """
    return _known_curve(key.curve)


def public_spki(key: PrivateKey | PublicKey) -> bytes:
    """The public key as DER SubjectPublicKeyInfo (RFC 5280 section 4.1); EC points uncompressed."""
    if isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey):
        key = key.public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@lru_cache(maxsize=1024)
def load_public_key(spki: bytes) -> PublicKey:
    """Read an operational key's public part.

    Args:
        spki: DER SubjectPublicKeyInfo, at most `MAX_SPKI` bytes.

    Returns:
        The public key; kept for the next call, since results are verified with few keys.

    Raises:
        FormatError: 407 when it is not RSA of at most `MAX_RSA_BITS`, EC on a listed curve, or Ed25519.
    """
    if len(spki) > MAX_SPKI:
        raise _unreadable("public")
    try:
        key = load_der_public_key(spki)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _unreadable("public") from None
    if isinstance(key, EllipticCurvePublicKey):
        _known_curve(key.curve)
        return key
    if isinstance(key, Ed25519PublicKey) or (isinstance(key, RSAPublicKey) and key.key_size <= MAX_RSA_BITS):
        return key
    raise _unreadable("public")


def describe_spki(spki: bytes) -> tuple[str, str, str | None, int | None]:
    """What the attested attributes say about a key, from its public part.

    Args:
        spki: DER SubjectPublicKeyInfo.

    Returns:
        API name, algorithm OID, curve OID (None for RSA and, as documented, for ED), size in bits (RSA only).

    Raises:
        FormatError: 407, see `load_public_key`.

    Source: rest-api.md section 3.1, the `json` object.
    """
    key = load_public_key(spki)
    if isinstance(key, RSAPublicKey):
        return "RSA", KEY_TYPES["RSA"].oid, None, key.key_size
    if isinstance(key, EllipticCurvePublicKey):
        return "EC", KEY_TYPES["EC"].oid, curve_of(key).oid, None
    return "ED", KEY_TYPES["ED"].oid, None, None
