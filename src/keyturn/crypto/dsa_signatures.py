"""DSA signatures.

Source: FIPS 186-4 section 4; rest-api.md sections 1.2 and 4.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey, DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA224, SHA256, SHA384, SHA512, HashAlgorithm

from keyturn.crypto.schemes import NO_OPTIONS, raw_pair, verify_pair, wrong_key

if TYPE_CHECKING:
    from keyturn.crypto.schemes import Form, SigningKey, SignOptions, VerifyingKey


@dataclass(frozen=True, slots=True)
class Dsa:
    """DSA.

    Args:
        hash: Hash over the payload; None when the payload is a digest, whose length then names the hash.
    """

    hash: HashAlgorithm | None = None

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`."""
        if not isinstance(key, DSAPrivateKey):
            wrong_key("DSA", key)
        signature = key.sign(payload, self.hash or _PREHASHED[len(payload)])
        if form == "DER":
            return signature
        return raw_pair(*decode_dss_signature(signature), _order_size(key))

    def verify(
        self,
        key: VerifyingKey,
        payload: bytes,
        signature: bytes,
        form: Form | None,
        options: SignOptions = NO_OPTIONS,
    ) -> None:
        """See `Scheme`."""
        if not isinstance(key, DSAPublicKey):
            wrong_key("DSA", key)
        algorithm = self.hash or _PREHASHED[len(payload)]
        verify_pair(lambda der: key.verify(der, payload, algorithm), signature, _order_size(key), form)


_PREHASHED: Final = {
    # Its only role is its length; where it is longer than `q`, its leftmost bits count (FIPS 186-4 section 4.6).
    algorithm.digest_size: Prehashed(algorithm)
    for algorithm in (SHA1(), SHA224(), SHA256(), SHA384(), SHA512())  # noqa: S303 - Documented for ordinary keys.
}


def _order_size(key: DSAPrivateKey | DSAPublicKey) -> int:
    """Bytes of `q`, and so of `r` and of `s` in raw signatures."""
    return (key.parameters().parameter_numbers().q.bit_length() + 7) // 8
