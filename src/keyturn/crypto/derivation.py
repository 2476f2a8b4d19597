"""Deriving keys from keys: SLIP-0010 for secp256k1, P-256 and Ed25519; on secp256k1 that is BIP 32.

A key from which others are derived consists of two halves, a private key and a chain code. Both come from a seed, and
both are kept: `encode_extended` writes them for the sealed store.

`ADA` (BIP32-Ed25519) is not here. Its keys are expanded scalars, with which no library in use signs, and there are
three ways in use to make a master from a seed that exclude each other (see docs/adr/0097).

Source: SLIP-0010, BIP 32; rest-api.md section 3.2; docs/adr/0097.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256K1,
    SECP256R1,
    EllipticCurve,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.key_names import HARDENED

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZE: Final = 32
"""Bytes of a private key on each of the curves, and of a chain code."""
MIN_SEED: Final = 16
MAX_SEED: Final = 64
"""Bytes of a seed: 128 to 512 bits (BIP 32)."""
GENERATED_SEED: Final = 64
"""Bytes of the seed of a master key that is made here."""
_EXTENDED: Final = b"keyturn/extended-key\x00\x01"
"""What the stored form begins with. PKCS#8 begins with 0x30, so neither is taken for the other."""


@dataclass(frozen=True, slots=True)
class DerivationCurve:
    """A curve for which SLIP-0010 defines derivation.

    Args:
        algorithm: API name of the kind of key, `EC` or `ED`.
        oid: The API's `curveOid`.
        seed_key: Key of the HMAC over a seed.
        instance: The library's curve; None for Ed25519.
    """

    algorithm: str
    oid: str
    seed_key: bytes
    instance: EllipticCurve | None

    @property
    def hardened_only(self) -> bool:
        """Whether only hardened children exist."""
        return self.instance is None


DERIVATION_CURVES: Final = {
    curve.oid: curve
    for curve in (
        DerivationCurve("EC", "1.3.132.0.10", b"Bitcoin seed", SECP256K1()),
        DerivationCurve("EC", "1.2.840.10045.3.1.7", b"Nist256p1 seed", SECP256R1()),
        DerivationCurve("ED", "1.3.101.112", b"ed25519 seed", None),
    )
}
"""Curves for derivation, by OID."""


@dataclass(frozen=True, slots=True)
class ExtendedKey:
    """A private key with its chain code.

    Args:
        curve: Its curve.
        key: 32 bytes: the scalar, big-endian; for Ed25519 the private key of RFC 8032.
        chain_code: 32 bytes.
    """

    curve: DerivationCurve
    key: bytes = field(repr=False)
    chain_code: bytes = field(repr=False)

    @property
    def private_key(self) -> EllipticCurvePrivateKey | Ed25519PrivateKey:
        """The private key as the library has it."""
        if self.curve.instance is None:
            return Ed25519PrivateKey.from_private_bytes(self.key)
        return derive_private_key(int.from_bytes(self.key), self.curve.instance)

    @property
    def public_key(self) -> bytes:
        """The public key as DER SubjectPublicKeyInfo."""
        return self.private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def derivation_type(algorithm: str, attributes: Mapping[str, bool]) -> str:
    """By which scheme children of a key are derived.

    Args:
        algorithm: API name of its kind.
        attributes: Its attributes.

    Returns:
        `SLIP-10` for EC, `ADA/SLIP-10` for ED with `slip10`, `ADA` for ED with `bip32` alone; empty where the
        attributes or the kind have none.

    Source: rest-api.md section 3.2, the table.
    """
    slip10 = attributes.get("slip10", False)
    if not attributes.get("derive") or not (slip10 or attributes.get("bip32")):
        return ""
    if algorithm == "ED" and not slip10:
        return "ADA"
    return derivation_name(algorithm)


def derivation_name(algorithm: str) -> str:
    """The `derivationType` of a derived key; empty for kinds of which there are none.

    Args:
        algorithm: API name of its kind.
    """
    return {"EC": "SLIP-10", "ED": "ADA/SLIP-10"}.get(algorithm, "")


def derivation_curve(algorithm: str, curve_oid: str, attributes: Mapping[str, bool]) -> DerivationCurve:
    """The curve on which children of a key are derived.

    Args:
        algorithm: API name of its kind.
        curve_oid: Its curve, dotted OID; "" for kinds without one.
        attributes: Its attributes.

    Returns:
        The curve.

    Raises:
        KeyturnError: 606 `derive.attribute` when its attributes enable no derivation; 634 `derive.ada` for the scheme
            ADA, `derive.algorithm` where there is no derivation for kind and curve.
    """
    if not attributes.get("derive") or not (attributes.get("bip32") or attributes.get("slip10")):
        raise KeyturnError(
            ErrorCode.KEY_ATTRIBUTES_INVALID,
            "Keys are derived from a key that was created with `derive` and with `bip32` or `slip10`.",
            refusal="derive.attribute",
        )
    if derivation_type(algorithm, attributes) == "ADA":
        raise KeyturnError(
            ErrorCode.DERIVATION_NOT_SUPPORTED,
            "ED keys with `bip32` alone are derived as ADA (BIP32-Ed25519), which is not available here; create the "
            "key with `slip10`, which derives hardened children by SLIP-0010.",
            refusal="derive.ada",
        )
    curve = DERIVATION_CURVES.get(curve_oid)
    if curve is None or curve.algorithm != algorithm:
        raise KeyturnError(
            ErrorCode.DERIVATION_NOT_SUPPORTED,
            f"No derivation is defined for {algorithm} keys{f' on the curve {curve_oid}' if curve_oid else ''}; it is "
            "for EC keys on secp256k1 (1.3.132.0.10) and P-256 (1.2.840.10045.3.1.7), and for ED keys.",
            refusal="derive.algorithm",
        )
    return curve


def master_from_seed(curve: DerivationCurve, seed: bytes) -> ExtendedKey:
    """Make a master key.

    Args:
        curve: Its curve.
        seed: 16 to 64 bytes.

    Returns:
        The master key.

    Raises:
        KeyturnError: 600 `seed.size`.

    Source: SLIP-0010, "Master key generation".
    """
    if not MIN_SEED <= len(seed) <= MAX_SEED:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"seed: a seed has {8 * MIN_SEED} to {8 * MAX_SEED} bits, not {8 * len(seed)}.",
            refusal="seed.size",
        )
    digest = _hmac(curve.seed_key, seed)
    while curve.instance is not None and not _is_scalar(curve.instance, int.from_bytes(digest[:SIZE])):
        digest = _hmac(curve.seed_key, digest)
    return ExtendedKey(curve, digest[:SIZE], digest[SIZE:])


def derive(parent: ExtendedKey, path: tuple[int, ...]) -> ExtendedKey:
    """Derive a descendant.

    Args:
        parent: The key to begin with.
        path: Indexes; hardened ones have `HARDENED` added.

    Returns:
        The descendant; `parent` for an empty path.

    Raises:
        KeyturnError: What `require_path` raises.
    """
    require_path(parent.curve, path)
    for index in path:
        parent = _child(parent, index)
    return parent


def require_path(curve: DerivationCurve, path: tuple[int, ...]) -> None:
    """Make sure that there are such descendants on a curve.

    Raises:
        KeyturnError: 606 `path.not-hardened`.
    """
    if curve.hardened_only and any(index < HARDENED for index in path):
        raise KeyturnError(
            ErrorCode.KEY_ATTRIBUTES_INVALID,
            "Ed25519 keys have hardened children only (SLIP-0010): put ' behind every element of the path.",
            refusal="path.not-hardened",
        )


def _child(parent: ExtendedKey, index: int) -> ExtendedKey:
    """One child (SLIP-0010, "Private parent key → private child key")."""
    position = index.to_bytes(4)
    if index >= HARDENED:
        data = b"\x00" + parent.key + position
    else:
        public = parent.private_key.public_key()
        data = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint) + position
    while True:
        digest = _hmac(parent.chain_code, data)
        if parent.curve.instance is None:
            return ExtendedKey(parent.curve, digest[:SIZE], digest[SIZE:])
        order = parent.curve.instance.group_order
        left = int.from_bytes(digest[:SIZE])
        scalar = (left + int.from_bytes(parent.key)) % order
        if left < order and scalar:
            return ExtendedKey(parent.curve, scalar.to_bytes(SIZE), digest[SIZE:])
        # Happens on P-256 once in 2^32 (the test vectors have one); on secp256k1 never in practice.
        data = b"\x01" + digest[SIZE:] + position


def _is_scalar(curve: EllipticCurve, value: int) -> bool:
    return 0 < value < curve.group_order


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha512")


def encode_extended(extended: ExtendedKey) -> bytes:
    """Write a master key for the sealed store, and for nothing else.

    Args:
        extended: The key.

    Returns:
        A fixed start, the chain code, and the private key as PKCS#8.
    """
    pkcs8 = extended.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return _EXTENDED + extended.chain_code + pkcs8


def split_extended(content: bytes) -> tuple[bytes, bytes]:
    """Take apart what is stored of a private key.

    Args:
        content: PKCS#8, or what `encode_extended` wrote.

    Returns:
        PKCS#8, and the chain code; an empty one for a key from which nothing is derived.
    """
    if not content.startswith(_EXTENDED):
        return content, b""
    rest = content[len(_EXTENDED) :]
    return rest[SIZE:], rest[:SIZE]


def decode_extended(curve: DerivationCurve, content: bytes) -> ExtendedKey:
    """Read back what `encode_extended` wrote.

    Args:
        curve: The key's curve, by its record.
        content: The stored form.

    Returns:
        The key.

    Raises:
        KeyturnError: 634 `derive.no-chain-code`: the key was made, or came in, without one.
        FormatError: 407 `key.unreadable`.
    """
    pkcs8, chain_code = split_extended(content)
    if not chain_code:
        raise KeyturnError(
            ErrorCode.DERIVATION_NOT_SUPPORTED,
            "This key has no chain code, without which nothing is derived from it; create a master key anew, or import "
            "its seed with POST /v1/importedKey.",
            refusal="derive.no-chain-code",
        )
    try:
        key = load_der_private_key(pkcs8, None)
    except ValueError:
        raise _unreadable() from None
    if isinstance(key, EllipticCurvePrivateKey) and curve.instance is not None:
        if key.curve.name == curve.instance.name:
            return ExtendedKey(curve, key.private_numbers().private_value.to_bytes(SIZE), chain_code)
    elif isinstance(key, Ed25519PrivateKey) and curve.instance is None:
        return ExtendedKey(curve, key.private_bytes_raw(), chain_code)
    raise _unreadable()


def _unreadable() -> FormatError:
    return FormatError(
        "This is not what is stored of a master key.", code=ErrorCode.PARSING_KEY, refusal="key.unreadable"
    )
