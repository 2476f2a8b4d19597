"""The keys that are measured: how keyturn makes them, and how the library alone signs with them.

The loop and the minimal handler sign with the functions made here, with the calls that keyturn itself makes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa

if TYPE_CHECKING:
    from collections.abc import Callable

PAYLOAD = b"x" * 32
_SHA256 = hashes.SHA256()


@dataclass(frozen=True)
class Kind:
    """One kind of key: fields of `POST /v1/key`, the API's name of the signature, and a maker of raw signers."""

    spec: dict[str, Any]
    algorithm: str
    signer: Callable[[], Callable[[bytes], bytes]]


def _rsa(size: int) -> Callable[[bytes], bytes]:
    key, scheme = rsa.generate_private_key(65537, size), padding.PKCS1v15()
    return lambda payload: key.sign(payload, scheme, _SHA256)


def _ecdsa(curve: ec.EllipticCurve) -> Callable[[bytes], bytes]:
    key, scheme = ec.generate_private_key(curve), ec.ECDSA(_SHA256)
    return lambda payload: key.sign(payload, scheme)


KINDS = {
    "RSA-2048": Kind({"algorithm": "RSA", "keySize": 2048}, "SHA256_WITH_RSA", lambda: _rsa(2048)),
    "RSA-4096": Kind({"algorithm": "RSA", "keySize": 4096}, "SHA256_WITH_RSA", lambda: _rsa(4096)),
    "P-256": Kind(
        {"algorithm": "EC", "curveOid": "1.2.840.10045.3.1.7"}, "SHA256_WITH_ECDSA", lambda: _ecdsa(ec.SECP256R1())
    ),
    "secp256k1": Kind(
        {"algorithm": "EC", "curveOid": "1.3.132.0.10"}, "SHA256_WITH_ECDSA", lambda: _ecdsa(ec.SECP256K1())
    ),
    "Ed25519": Kind(
        {"algorithm": "ED", "curveOid": "1.3.101.112"}, "EDDSA", lambda: ed25519.Ed25519PrivateKey.generate().sign
    ),
    "ML-DSA-65": Kind({"algorithm": "ML-DSA-65"}, "ML_DSA", lambda: mldsa.MLDSA65PrivateKey.generate().sign),
}
