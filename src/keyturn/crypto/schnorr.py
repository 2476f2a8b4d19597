"""BIP 340 signatures over secp256k1, also under keys tweaked as in BIP 341.

libsecp256k1 (through coincurve) does the arithmetic. A tweak `t` belongs to the key whose point has an even y: the
signature is then one of `P + tG`. `taprootTweakData` is `t` itself (for an output without scripts the tagged hash of
the key alone); from `merkleRootData` `t` is computed.

Source: BIP 340 (signatures), BIP 341 section "Constructing and spending Taproot outputs" (tweaks); rest-api.md
section 3.3; docs/adr/0089.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coincurve import PrivateKey as SchnorrKey
from coincurve import PublicKeyXOnly
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256K1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)

from keyturn.crypto.schemes import NO_OPTIONS, SignOptions, wrong_key
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.crypto.schemes import Form, SigningKey, VerifyingKey

SIZE: Final = 32
"""Bytes of a scalar, a coordinate, the payload, a tweak."""
SIGNATURE_SIZE: Final = 64
_ORDER: Final = SECP256K1().group_order
_MINUS_ONE: Final = (_ORDER - 1).to_bytes(SIZE, "big")


def tagged_hash(tag: str, data: bytes) -> bytes:
    """SHA-256 under a tag (BIP 340 section "Design", tagged hashes)."""
    prefix = hashlib.sha256(tag.encode("ascii")).digest()
    return hashlib.sha256(prefix + prefix + data).digest()


def _on_curve(key: EllipticCurvePrivateKey | EllipticCurvePublicKey) -> None:
    if not isinstance(key.curve, SECP256K1):
        raise KeyturnError(
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            f"BIP 340 signatures are made on secp256k1, not on {key.curve.name}; choose an algorithm with ECDSA.",
            refusal="signature.wrong-curve",
        )


def _tweak(x: bytes, options: SignOptions) -> bytes | None:
    """The scalar to be added; None for the key as it is."""
    _check("auxiliaryRandomData", options.auxiliary_random)
    _check("taprootTweakData", options.taproot_tweak)
    _check("merkleRootData", options.merkle_root)
    if options.taproot_tweak is not None and options.merkle_root is not None:
        raise _option("taprootTweakData and merkleRootData exclude each other: send the one or the other.")
    if options.merkle_root is not None:
        return tagged_hash("TapTweak", x + options.merkle_root)
    return options.taproot_tweak


def _check(name: str, value: bytes | None) -> None:
    if value is not None and len(value) != SIZE:
        raise _option(f"{name}: it has {SIZE} bytes, not {len(value)}.")


def _option(message: str) -> KeyturnError:
    return KeyturnError(ErrorCode.VALIDATION_FAILED, message, refusal="signature.option")


@dataclass(frozen=True, slots=True)
class Bip340:
    """Schnorr signatures of 64 bytes over payloads of 32.

    Args:
        random: Returns that many random bytes, for calls without auxiliary ones.
    """

    random: Callable[[int], bytes] = secrets.token_bytes

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`. A BIP 340 signature has one form, whatever `form` says."""
        if not isinstance(key, EllipticCurvePrivateKey):
            wrong_key("BIP 340", key)
        _on_curve(key)
        secret = SchnorrKey(key.private_numbers().private_value.to_bytes(SIZE, "big"))
        point = secret.public_key.format(compressed=True)
        tweak = _tweak(point[1:], options)
        if tweak is not None:
            even = secret if point[0] == 2 else secret.multiply(_MINUS_ONE)
            try:
                secret = even.add(tweak)
            except ValueError:
                raise _out_of_range() from None
        return secret.sign_schnorr(payload, options.auxiliary_random or self.random(SIZE))

    def verify(
        self,
        key: VerifyingKey,
        payload: bytes,
        signature: bytes,
        form: Form | None,
        options: SignOptions = NO_OPTIONS,
    ) -> None:
        """See `Scheme`; with a tweak, under the tweaked key."""
        if not isinstance(key, EllipticCurvePublicKey):
            wrong_key("BIP 340", key)
        _on_curve(key)
        x = key.public_numbers().x.to_bytes(SIZE, "big")
        tweak = _tweak(x, options)
        public = PublicKeyXOnly(x)
        if tweak is not None:
            try:
                public.tweak_add(tweak)
            except ValueError:
                raise _out_of_range() from None
        if len(signature) != SIGNATURE_SIZE or not public.verify(signature, payload):
            raise InvalidSignature


def _out_of_range() -> KeyturnError:
    return _option("taprootTweakData: as a number it must be below the order of secp256k1 and not cancel the key.")
