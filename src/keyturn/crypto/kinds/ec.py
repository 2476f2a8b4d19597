"""Keys on elliptic curves: EC for ECDSA, ED for Ed25519.

Source: SEC 1 and 2, RFC 5639, RFC 8410.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keyturn.crypto.curves import CURVES, curve_of, why_refused
from keyturn.crypto.kinds.base import KeySpec, KeyType, refuse, refuse_size, shown

ED25519_OID: Final = "1.3.101.112"


def _check_ec(curve_oid: str, key_size: int, *, allow_weak: bool) -> KeySpec:
    refused = why_refused(curve_oid)
    if refused is not None:
        name, why = refused
        refuse(
            f"curveOid: {shown(curve_oid)} ({name}) is refused: {why}. Take one of {', '.join(CURVES)}.",
            "key.curve-refused",
        )
    return _on_curve("EC", curve_oid, key_size, tuple(CURVES))


def _check_ed(curve_oid: str, key_size: int, *, allow_weak: bool) -> KeySpec:
    return _on_curve("ED", curve_oid, key_size, (ED25519_OID,))


def _on_curve(algorithm: str, curve_oid: str, key_size: int, known: tuple[str, ...]) -> KeySpec:
    if curve_oid not in known:
        given = f"{shown(curve_oid)} is not available" if curve_oid else "is missing"
        refuse(f"curveOid: {given}; for {algorithm} keys it is one of {', '.join(known)}.", "key.curve")
    if key_size:
        refuse_size(f"keySize: the size of an {algorithm} key follows from its curve; leave keySize out.")
    return KeySpec(algorithm, curve_oid)


def _require_known_curve(key: EllipticCurvePrivateKey | EllipticCurvePublicKey) -> None:
    curve_of(key)


EC: Final = KeyType(
    name="EC",
    oid="1.2.840.10045.2.1",
    private_class=EllipticCurvePrivateKey,
    public_class=EllipticCurvePublicKey,
    check=_check_ec,
    generate=lambda spec: generate_private_key(CURVES[spec.curve_oid].instance),
    spec_of=lambda key: KeySpec("EC", curve_of(key).oid),
    spki_oids=("1.2.840.10045.2.1",),
    shows_curve=True,
    check_private=_require_known_curve,
)

ED: Final = KeyType(
    name="ED",
    oid=ED25519_OID,
    private_class=Ed25519PrivateKey,
    public_class=Ed25519PublicKey,
    check=_check_ed,
    generate=lambda _: Ed25519PrivateKey.generate(),
    spec_of=lambda _: KeySpec("ED", ED25519_OID),
    spki_oids=(ED25519_OID,),
)
