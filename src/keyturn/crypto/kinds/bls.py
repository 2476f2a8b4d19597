"""BLS12-381 keys: public keys of 48 bytes in the first group, signatures of 96 in the second.

The public half stands in `keyturn.ska.bls`, because approvers have such keys, too.

Nobody has standardised PKCS#8 or SubjectPublicKeyInfo for them. Here the private key in PKCS#8 is the scalar as 32
bytes, big-endian, and the public key the compressed point, both under the API's OID without parameters.

Source: draft-irtf-cfrg-bls-signature-05 sections 2.3 (KeyGen), 2.4 (SkToPk), 2.6 (CoreSign);
rest-api.md section 4.1; decisions 32; docs/adr/0093.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final

from keyturn.crypto.kinds import raw
from keyturn.crypto.kinds.base import KeySpec, KeyType, named_alone
from keyturn.ska.bls import BLS_OID, BLS_TAG, GENERATOR, BlsPublicKey, library

ORDER: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""Order of both groups, a number of 255 bits."""
PRIVATE_SIZE: Final = 32


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

    def sign(self, data: bytes) -> bytes:
        """Sign: the message hashed to the second group, times the scalar (CoreSign, section 2.6).

        Args:
            data: The message.

        Returns:
            The compressed point, 96 bytes; the same for the same message.
        """
        return bytes(library().BlstP2Element.hash_to_group(data, BLS_TAG).scalar_mul(self.scalar).compress())


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
