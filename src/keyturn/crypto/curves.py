"""Elliptic curves for ECDSA: those there are, and those that are refused with the reason.

Source: rest-api.md section 4.2; SEC 2, RFC 5639 (Brainpool), decisions 24 and 34, docs/compatibility.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP224R1,
    SECP256K1,
    SECP256R1,
    SECP384R1,
    SECP521R1,
    BrainpoolP256R1,
    BrainpoolP384R1,
    BrainpoolP512R1,
    EllipticCurve,
)

from keyturn.errors import ErrorCode, FormatError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Curve:
    """An elliptic curve for ECDSA.

    Args:
        oid: Dotted OID, the API's `curveOid`.
        name: Name in the library and in its standard.
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
        _curve("1.3.132.0.33", SECP224R1()),
        _curve("1.2.840.10045.3.1.7", SECP256R1()),
        _curve("1.3.132.0.34", SECP384R1()),
        _curve("1.3.132.0.35", SECP521R1()),
        _curve("1.3.132.0.10", SECP256K1(), low_s=True),
        _curve("1.3.36.3.3.2.8.1.1.7", BrainpoolP256R1()),
        _curve("1.3.36.3.3.2.8.1.1.11", BrainpoolP384R1()),
        _curve("1.3.36.3.3.2.8.1.1.13", BrainpoolP512R1()),
    )
}
"""Curves for EC keys by OID."""

CURVES_BY_NAME: Final = {curve.name: curve for curve in CURVES.values()}

_NOT_IN_LIBRARY: Final = "the library that computes here does not have it, and arithmetic of our own would leak keys"
_192_BITS: Final = "this OID is prime192v1 to v3 in X9.62, whose 96 bits of strength are too few, and P-239 elsewhere"
REFUSED_CURVES: Final = {
    "1.3.132.0.32": ("secp224k1", _NOT_IN_LIBRARY),
    "1.2.840.10045.3.1.1": ("x962p239v1", _192_BITS),
    "1.2.840.10045.3.1.2": ("x962p239v2", _192_BITS),
    "1.2.840.10045.3.1.3": ("x962p239v3", _192_BITS),
    "1.3.36.3.3.2.8.1.1.1": ("brainpoolP224r1", "RFC 5639 gives this OID to brainpoolP160r1, with 80 bits of strength"),
    "1.3.36.3.3.2.8.1.1.5": ("brainpoolP224r1", _NOT_IN_LIBRARY),
    "1.3.36.3.3.2.8.1.1.9": ("brainpoolP320r1", _NOT_IN_LIBRARY),
    "1.2.250.1.223.101.256.1": ("frp256v1", _NOT_IN_LIBRARY),
}
"""Documented curves that are refused, by OID: name and reason (docs/compatibility.md)."""

EXPLICIT_PARAMETERS: Final = re.compile(r"(?:p\d+\.)?(?:p?\d+\.)?a\d+\.b\d+\.", re.ASCII)
"""How the dotted text of a curve's own parameters begins: `p<n>.a<n>.b<n>…`, also without the leading p."""


def why_refused(oid: str) -> tuple[str, str] | None:
    """Why a documented curve is not available.

    Args:
        oid: `curveOid` as the caller wrote it.

    Returns:
        Name and reason; None for a curve of which nothing is known here.
    """
    if EXPLICIT_PARAMETERS.match(oid[:4096]):
        return "explicit parameters", "a curve that nobody has examined can be made so that its keys are found"
    return REFUSED_CURVES.get(oid)


def known_curve(curve: EllipticCurve) -> Curve:
    """The entry of a curve of the library.

    Raises:
        FormatError: 407 when it is not one of `CURVES`.
    """
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
    return known_curve(key.curve)
