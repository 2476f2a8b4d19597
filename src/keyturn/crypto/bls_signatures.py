"""BLS12-381 signatures, basic scheme; the keys do the work, because approvers sign so, too.

Source: draft-irtf-cfrg-bls-signature-05 section 3.1; rest-api.md section 4.3; decisions 32; docs/adr/0093, 0125.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keyturn.crypto.kinds.bls import BlsPrivateKey
from keyturn.crypto.schemes import NO_OPTIONS, wrong_key
from keyturn.ska.bls import BlsPublicKey

if TYPE_CHECKING:
    from keyturn.crypto.schemes import Form, SigningKey, SignOptions, VerifyingKey


@dataclass(frozen=True, slots=True)
class Bls:
    """The basic scheme."""

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`. A BLS signature has one form, whatever `form` says."""
        if not isinstance(key, BlsPrivateKey):
            wrong_key("BLS", key)
        return key.sign(payload)

    def verify(
        self, key: VerifyingKey, payload: bytes, signature: bytes, form: Form | None, options: SignOptions = NO_OPTIONS
    ) -> None:
        """See `Scheme`."""
        if not isinstance(key, BlsPublicKey):
            wrong_key("BLS", key)
        key.verify(signature, payload)
