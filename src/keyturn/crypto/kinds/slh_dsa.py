"""SLH-DSA keys, of the twelve parameter sets.

Source: FIPS 205 sections 9.1 (keys) and 11 (parameter sets); RFC 9909 (PKCS#8 holds the private key's bytes as they
are). That root and seeds of a key made elsewhere belong together would show only after a signature of up to two
seconds; it is not tested: such a key harms nobody but its owner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

from keyturn.crypto.kinds import raw
from keyturn.crypto.kinds.base import KeySpec, KeyType, named_alone

_N: Final = {"128": 16, "192": 24, "256": 32}
_NAMES: Final = tuple(
    f"SLH-DSA-{function}-{strength}{speed}" for function in ("SHA2", "SHAKE") for strength in _N for speed in ("s", "f")
)
_FIRST_ARC: Final = 20
"""Last arc of the first parameter set's OID; the others follow in this order."""


def library(name: str) -> Any:
    """The library's module for a parameter set, loaded when first needed.

    Args:
        name: Its API name.

    Returns:
        The module, with `keygen`, `sign` and `verify`.
    """
    # Neither the names of its modules nor its types are known before it is loaded.
    return getattr(import_module("pqcrypto.sign"), name.lower().replace("-", "_"))


def _size(name: str) -> int:
    return _N[name[-4:-1]]


@dataclass(frozen=True, slots=True)
class SlhDsaPublicKey:
    """A public key.

    Args:
        algorithm: API name of the parameter set.
        public_bytes: Seed and root: 32, 48 or 64 bytes.
    """

    algorithm: str
    public_bytes: bytes

    def __post_init__(self) -> None:
        """Check the length."""
        if len(self.public_bytes) != 2 * _size(self.algorithm):
            raise ValueError(f"not a public key of {self.algorithm}")


@dataclass(frozen=True, slots=True)
class SlhDsaPrivateKey:
    """A private key.

    Args:
        algorithm: API name of the parameter set.
        secret: Secret seed, key of the randomisers, public seed and root: 64, 96 or 128 bytes.
    """

    algorithm: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Check the length."""
        if len(self.secret) != 4 * _size(self.algorithm):
            raise ValueError(f"not a private key of {self.algorithm}")

    @property
    def public_bytes(self) -> bytes:
        """The public key's bytes."""
        return self.secret[len(self.secret) // 2 :]


def _kind(name: str, oid: str) -> KeyType:
    return KeyType(
        name=name,
        oid=oid,
        slow=True,
        slow_signing=True,
        private_class=SlhDsaPrivateKey,
        public_class=SlhDsaPublicKey,
        check=named_alone(name),
        generate=lambda _: SlhDsaPrivateKey(name, bytes(library(name).keygen()[1])),
        to_stored=lambda key: raw.pkcs8(oid, key.secret),
        from_stored=lambda der: SlhDsaPrivateKey(name, raw.pkcs8_content(der)),
        public_of=lambda key: SlhDsaPublicKey(name, key.public_bytes),
        to_spki=lambda key: raw.spki(oid, key.public_bytes),
        from_spki=lambda der: SlhDsaPublicKey(name, raw.spki_content(der)),
        spec_of=lambda _: KeySpec(name),
        spki_oids=(oid,),
    )


SLH_DSA: Final = tuple(_kind(name, f"2.16.840.1.101.3.4.3.{_FIRST_ARC + number}") for number, name in enumerate(_NAMES))
"""The entries."""
