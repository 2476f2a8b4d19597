"""ML-DSA keys, of the three parameter sets, as the library has them.

Source: FIPS 204; RFC 9881 (PKCS#8 holds the seed of 32 bytes; a key that came without its seed is not taken, because
the library keeps none other).
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA44PublicKey,
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
    MLDSA87PrivateKey,
    MLDSA87PublicKey,
)

from keyturn.crypto.kinds.base import KeySpec, KeyType, named_alone

MlDsaPrivateKey = MLDSA44PrivateKey | MLDSA65PrivateKey | MLDSA87PrivateKey
MlDsaPublicKey = MLDSA44PublicKey | MLDSA65PublicKey | MLDSA87PublicKey


def _kind(name: str, oid: str, private: type[MlDsaPrivateKey], public: type[MlDsaPublicKey]) -> KeyType:
    return KeyType(
        name=name,
        oid=oid,
        private_class=private,
        public_class=public,
        check=named_alone(name),
        generate=lambda _: private.generate(),
        spec_of=lambda _: KeySpec(name),
        spki_oids=(oid,),
    )


ML_DSA: Final = (
    _kind("ML-DSA-44", "2.16.840.1.101.3.4.3.17", MLDSA44PrivateKey, MLDSA44PublicKey),
    _kind("ML-DSA-65", "2.16.840.1.101.3.4.3.18", MLDSA65PrivateKey, MLDSA65PublicKey),
    _kind("ML-DSA-87", "2.16.840.1.101.3.4.3.19", MLDSA87PrivateKey, MLDSA87PublicKey),
)
"""The entries."""
