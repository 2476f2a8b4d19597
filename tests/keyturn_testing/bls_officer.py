"""An officer with a BLS key, which no library of X.509 or of key files knows."""

from __future__ import annotations

import secrets

from keyturn.crypto.keys import public_spki
from keyturn.crypto.kinds.bls import BlsPrivateKey
from keyturn.ska.bls import BlsPublicKey
from keyturn_testing.officers import Officer


class BlsOfficer(Officer):
    """A person with a BLS key: proves and approves as the others do, has neither a key file nor a certificate.

    Args:
        name: What people call them.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind = "BLS"
        self.secret = BlsPrivateKey(secrets.randbits(254).to_bytes(32, "big"))
        self.spki = public_spki(BlsPublicKey(self.secret.public_bytes))
        self.digest = "BLS"

    def sign(self, data: bytes, *, digest: str | None = None) -> bytes:
        """Sign bytes with the one scheme there is, whatever the name."""
        return self.secret.sign(data)
