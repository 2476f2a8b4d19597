"""BLS12-381 public keys and the verification of their signatures: basic scheme, public keys of 48 bytes.

One signature is verified under one key over one message. Nothing is aggregated here or anywhere else, so that no key
can be chosen to cancel another one's part of an aggregate; no proof of possession is asked for (docs/adr/0125).

blst computes; it refuses bytes that are no point, points outside the group of prime order, and every encoding but the
one compressed form. What is left to this module are the lengths and infinity.

Source: draft-irtf-cfrg-bls-signature-05 sections 2.5 (KeyValidate), 2.7 (CoreVerify), 3.1 (basic scheme), 4.2.1 (tag)
and appendix A (encoding of points); decisions 32; docs/adr/0093, 0125.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from cryptography.exceptions import InvalidSignature

BLS_OID: Final = "1.3.6.1.4.1.44668.5.3.1.1"
"""The key's object identifier (rest-api.md section 4.1), without parameters."""
BLS_TAG: Final = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_NUL_"
"""Domain of the basic scheme with minimal public keys."""
PUBLIC_SIZE: Final = 48
GENERATOR: Final = bytes.fromhex(
    "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
)
"""The first group's generator, compressed."""
INFINITY: Final = b"\xc0" + bytes(PUBLIC_SIZE - 1)


def library() -> Any:
    """The binding of blst, loaded when first needed."""
    # It has no types.
    return import_module("pyblst")


@dataclass(frozen=True, slots=True)
class BlsPublicKey:
    """A public key.

    Args:
        public_bytes: The compressed point, 48 bytes; on the curve, in its group, not infinity. A key has no other
            encoding.
    """

    public_bytes: bytes

    def __post_init__(self) -> None:
        """KeyValidate; raises `ValueError`."""
        if len(self.public_bytes) != PUBLIC_SIZE or self.public_bytes == INFINITY:
            raise ValueError("not a public key of BLS12-381")
        library().BlstP1Element.uncompress(self.public_bytes)

    @property
    def algorithm(self) -> str:
        """API name of its kind."""
        return "BLS"

    def verify(self, signature: bytes, data: bytes) -> None:
        """Verify a signature; two pairings, about a millisecond.

        Args:
            signature: The compressed point of the second group, 96 bytes.
            data: The bytes that were signed, all of them.

        Raises:
            InvalidSignature: It is not this key's signature of these bytes, or no point of the group.
        """
        blst = library()
        try:
            point = blst.BlstP2Element.uncompress(signature)
        except ValueError:
            raise InvalidSignature from None
        signed = blst.miller_loop(blst.BlstP1Element.uncompress(GENERATOR), point)
        hashed = blst.BlstP2Element.hash_to_group(data, BLS_TAG)
        expected = blst.miller_loop(blst.BlstP1Element.uncompress(self.public_bytes), hashed)
        if not blst.final_verify(signed, expected):
            raise InvalidSignature
