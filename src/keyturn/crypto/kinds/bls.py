"""BLS12-381 keys: public keys of 48 bytes in the first group, signatures of 96 in the second.

Nobody has standardised PKCS#8 or SubjectPublicKeyInfo for them. Here the private key in PKCS#8 is the scalar as 32
bytes, big-endian, and the public key the compressed point, both under the API's OID without parameters.

Source: draft-irtf-cfrg-bls-signature-05 sections 2.3 (KeyGen), 2.4 (SkToPk), 2.5 (KeyValidate) and appendix A
(encoding of points); rest-api.md section 4.1; decisions 32; docs/adr/0093.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

from keyturn.crypto.kinds import raw
from keyturn.crypto.kinds.base import KeySpec, KeyType, named_alone

BLS_OID: Final = "1.3.6.1.4.1.44668.5.3.1.1"
ORDER: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""Order of both groups, a number of 255 bits."""
PRIVATE_SIZE: Final = 32
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
        public_bytes: The compressed point, 48 bytes; on the curve, in its group, not infinity.
    """

    public_bytes: bytes

    def __post_init__(self) -> None:
        """KeyValidate; raises `ValueError`."""
        if len(self.public_bytes) != PUBLIC_SIZE or self.public_bytes == INFINITY:
            raise ValueError("not a public key of BLS12-381")
        # The library refuses points that are not on the curve or not in the group.
        library().BlstP1Element.uncompress(self.public_bytes)

    @property
    def algorithm(self) -> str:
        """API name of its kind."""
        return "BLS"


@dataclass(frozen=True, slots=True)
class BlsPrivateKey:
    """A private key.

    Args:
        secret: The scalar, 32 bytes, big-endian, from 1 to the group's order less 1.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Check length and range."""
        if len(self.secret) != PRIVATE_SIZE or not 1 <= self.scalar < ORDER:
            raise ValueError("not a private key of BLS12-381")

    @property
    def algorithm(self) -> str:
        """API name of its kind."""
        return "BLS"

    @property
    def scalar(self) -> int:
        """The scalar."""
        return int.from_bytes(self.secret, "big")

    @property
    def public_bytes(self) -> bytes:
        """The public key's bytes (SkToPk)."""
        point = library().BlstP1Element.uncompress(GENERATOR).scalar_mul(self.scalar)
        return bytes(point.compress())


BLS: Final = KeyType(
    name="BLS",
    oid=BLS_OID,
    private_class=BlsPrivateKey,
    public_class=BlsPublicKey,
    check=named_alone("BLS"),
    generate=lambda _: BlsPrivateKey((1 + secrets.randbelow(ORDER - 1)).to_bytes(PRIVATE_SIZE, "big")),
    to_stored=lambda key: raw.pkcs8(BLS_OID, key.secret),
    from_stored=lambda der: BlsPrivateKey(raw.pkcs8_content(der)),
    public_of=lambda key: BlsPublicKey(key.public_bytes),
    to_spki=lambda key: raw.spki(BLS_OID, key.public_bytes),
    from_spki=lambda der: BlsPublicKey(raw.spki_content(der)),
    spec_of=lambda _: KeySpec("BLS"),
    spki_oids=(BLS_OID,),
)
"""The entry."""
