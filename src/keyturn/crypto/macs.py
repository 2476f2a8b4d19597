"""HMAC, which the API has among the signature algorithms.

Source: RFC 2104, FIPS 198-1; rest-api.md sections 3.3 and 4.3.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature

from keyturn.crypto.kinds.secret import SecretKey
from keyturn.crypto.schemes import NO_OPTIONS, wrong_key

if TYPE_CHECKING:
    from keyturn.crypto.schemes import Form, SigningKey, SignOptions, VerifyingKey


@dataclass(frozen=True, slots=True)
class HmacSha256:
    """HMAC with SHA-256: 32 bytes that only who holds the key can make or check."""

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`. A MAC has one form, whatever `form` says."""
        return hmac.digest(_secret(key), payload, "sha256")

    def verify(
        self,
        key: VerifyingKey,
        payload: bytes,
        signature: bytes,
        form: Form | None,
        options: SignOptions = NO_OPTIONS,
    ) -> None:
        """See `Scheme`; takes as long whatever is wrong with it."""
        if not hmac.compare_digest(hmac.digest(_secret(key), payload, "sha256"), signature):
            raise InvalidSignature


def _secret(key: SigningKey | VerifyingKey) -> bytes:
    if not isinstance(key, SecretKey) or key.algorithm != "HMACSHA256":
        wrong_key("HMAC", key)
    return key.value
