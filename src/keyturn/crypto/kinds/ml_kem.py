"""ML-KEM keys: 768 and 1024 as the library has them, 512 by another one.

Source: FIPS 203 sections 7.1 to 7.3; RFC 9935 (PKCS#8: the seed of 64 bytes, for 512 the expanded key, because its
library keeps no seed).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)

from keyturn.crypto.kinds import raw
from keyturn.crypto.kinds.base import KeySpec, KeyType, inconsistent, named_alone
from keyturn.ska.der import DERReader, encode

PUBLIC_SIZE: Final = 800
SECRET_SIZE: Final = 1632
_OID_512: Final = "2.16.840.1.101.3.4.4.1"
_Q: Final = 3329


def library() -> Any:
    """The module for ML-KEM-512, loaded when first needed: `keygen`, `encaps`, `decaps`."""
    # It has no types, and its modules are made when it is loaded.
    return import_module("pqcrypto.kem").ml_kem_512


@dataclass(frozen=True, slots=True)
class MlKem512PublicKey:
    """An encapsulation key of ML-KEM-512.

    Args:
        public_bytes: 800 bytes.
    """

    public_bytes: bytes

    def __post_init__(self) -> None:
        """Check length and modulus (FIPS 203 section 7.2)."""
        data = self.public_bytes
        if len(data) != PUBLIC_SIZE or any(
            low | (middle & 15) << 8 >= _Q or middle >> 4 | high << 4 >= _Q
            for low, middle, high in zip(data[:-32:3], data[1:-32:3], data[2:-32:3], strict=True)
        ):
            raise ValueError("not an encapsulation key of ML-KEM-512")

    @property
    def algorithm(self) -> str:
        """API name of its kind."""
        return "ML-KEM-512"


@dataclass(frozen=True, slots=True)
class MlKem512PrivateKey:
    """A decapsulation key of ML-KEM-512.

    Args:
        secret: 1 632 bytes: the secret vector, the encapsulation key, its hash, the value for implicit rejection.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Check the length."""
        if len(self.secret) != SECRET_SIZE:
            raise ValueError("not a decapsulation key of ML-KEM-512")

    @property
    def algorithm(self) -> str:
        """API name of its kind."""
        return "ML-KEM-512"

    @property
    def public_bytes(self) -> bytes:
        """The encapsulation key's bytes."""
        return self.secret[SECRET_SIZE - 64 - PUBLIC_SIZE : -64]


def _check_imported_512(key: MlKem512PrivateKey, *, allow_weak: bool) -> None:
    """FIPS 203 section 7.3: the hash check, and that both halves belong together."""
    hashed = hashlib.sha3_256(key.public_bytes).digest()
    if not hmac.compare_digest(hashed, key.secret[-64:-32]):
        inconsistent("ML-KEM-512", "it does not hold the hash of its public half")
    ciphertext, shared = library().encaps(key.public_bytes)
    if not hmac.compare_digest(shared, library().decaps(key.secret, ciphertext)):
        inconsistent("ML-KEM-512", "it does not open what its public half encapsulates")


def _read_512(der: bytes) -> MlKem512PrivateKey:
    reader = DERReader(raw.pkcs8_content(der), "ML-KEM-512 key")
    key = MlKem512PrivateKey(reader.take(raw.OCTET_STRING))
    reader.finish()
    MlKem512PublicKey(key.public_bytes)
    return key


ML_KEM_512: Final = KeyType(
    name="ML-KEM-512",
    oid=_OID_512,
    private_class=MlKem512PrivateKey,
    public_class=MlKem512PublicKey,
    check=named_alone("ML-KEM-512"),
    generate=lambda _: MlKem512PrivateKey(bytes(library().keygen()[1])),
    to_stored=lambda key: raw.pkcs8(_OID_512, encode(raw.OCTET_STRING, key.secret)),
    from_stored=_read_512,
    public_of=lambda key: MlKem512PublicKey(key.public_bytes),
    to_spki=lambda key: raw.spki(_OID_512, key.public_bytes),
    from_spki=lambda der: MlKem512PublicKey(raw.spki_content(der)),
    spec_of=lambda _: KeySpec("ML-KEM-512"),
    spki_oids=(_OID_512,),
    check_imported=_check_imported_512,
)


def _kind(name: str, oid: str, private: Any, public: type) -> KeyType:
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


ML_KEM: Final = (
    ML_KEM_512,
    _kind("ML-KEM-768", "2.16.840.1.101.3.4.4.2", MLKEM768PrivateKey, MLKEM768PublicKey),
    _kind("ML-KEM-1024", "2.16.840.1.101.3.4.4.3", MLKEM1024PrivateKey, MLKEM1024PublicKey),
)
"""The entries."""

MlKemPrivateKey = MlKem512PrivateKey | MLKEM768PrivateKey | MLKEM1024PrivateKey
MlKemPublicKey = MlKem512PublicKey | MLKEM768PublicKey | MLKEM1024PublicKey
