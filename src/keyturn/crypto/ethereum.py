"""Signatures as Ethereum writes them: r, s and v, by which the signer's key can be computed from the signature.

`v` is 27 or 28, as `ecrecover` takes it (Yellow Paper appendix F); for a transaction with a chain id or a type the
caller computes its own from that. `s` is the smaller one, as EIP-2 demands, and as for all signatures on secp256k1.

Source: Ethereum Yellow Paper appendix F, EIP-2; rest-api.md sections 3.3 and 4.3; docs/adr/0090.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coincurve import PublicKey as RecoveredKey
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.crypto.schemes import NO_OPTIONS, Ecdsa, wrong_key
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from keyturn.crypto.schemes import Form, SigningKey, SignOptions, VerifyingKey

SIZE: Final = 65
FIRST_V: Final = 27
_CANDIDATES: Final = (0, 1)
"""Recovery numbers; two more belong to an x above the order, which nobody will ever see."""


@dataclass(frozen=True, slots=True)
class EthereumEcdsa:
    """ECDSA whose signatures also come in Ethereum's form, on secp256k1.

    Args:
        ecdsa: Makes and checks DER and raw ones, and takes the hash.
    """

    ecdsa: Ecdsa

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`."""
        if form != "ETH":
            return self.ecdsa.sign(key, payload, form)
        if not isinstance(key, EllipticCurvePrivateKey):
            wrong_key("ECDSA", key)
        _on_curve(key)
        raw = self.ecdsa.sign(key, payload, "RAW")
        point = _point(key.public_key())
        for candidate in _CANDIDATES:
            if _recovered(raw, candidate, self._digest(payload)) == point:
                return raw + bytes([FIRST_V + candidate])
        raise KeyturnError(
            ErrorCode.HSM_FAILURE,
            "This signature has no recovery number that Ethereum takes; sign again.",
            refusal="signature.recovery",
        )

    def verify(
        self,
        key: VerifyingKey,
        payload: bytes,
        signature: bytes,
        form: Form | None,
        options: SignOptions = NO_OPTIONS,
    ) -> None:
        """See `Scheme`. In Ethereum's form v must be the one that gives this key."""
        if form != "ETH" and not (form is None and len(signature) == SIZE and signature[-1] - FIRST_V in _CANDIDATES):
            self.ecdsa.verify(key, payload, signature, form)
            return
        if not isinstance(key, EllipticCurvePublicKey):
            wrong_key("ECDSA", key)
        _on_curve(key)
        if len(signature) != SIZE or signature[-1] - FIRST_V not in _CANDIDATES:
            raise InvalidSignature
        raw = signature[:-1]
        self.ecdsa.verify(key, payload, raw, "RAW")
        if _recovered(raw, signature[-1] - FIRST_V, self._digest(payload)) != _point(key):
            raise InvalidSignature

    def _digest(self, payload: bytes) -> bytes:
        return payload if self.ecdsa.before is None else self.ecdsa.before(payload)


def _on_curve(key: EllipticCurvePrivateKey | EllipticCurvePublicKey) -> None:
    if not isinstance(key.curve, SECP256K1):
        raise KeyturnError(
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            f"signatureType: ETH is for keys on secp256k1, and this one is on {key.curve.name}; take RAW.",
            refusal="signature.wrong-curve",
        )


def _point(key: EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _recovered(raw: bytes, candidate: int, digest: bytes) -> bytes:
    try:
        key = RecoveredKey.from_signature_and_message(raw + bytes([candidate]), digest, hasher=None)
    except ValueError:
        return b""
    return key.format(compressed=False)
