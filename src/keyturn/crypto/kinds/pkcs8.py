"""PKCS#8 and SubjectPublicKeyInfo by the library, for the kinds that it has."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)


def to_pkcs8(key: Any) -> bytes:
    """A private key as unencrypted PKCS#8 (RFC 5958)."""
    encoded: bytes = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return encoded


def from_pkcs8(der: bytes) -> Any:
    """Read PKCS#8.

    The primes of an RSA key are not tested again (40 ms for 2048 bits, seconds for 8192): the key was made here and
    its bytes are authenticated by the store's seal. A key that comes from outside must be checked by its importer.
    """
    return load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)


def public_of(key: Any) -> Any:
    """The public key of a private one."""
    return key.public_key()


def to_spki(key: Any) -> bytes:
    """A public key as DER SubjectPublicKeyInfo (RFC 5280 section 4.1); EC points uncompressed."""
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def from_spki(spki: bytes) -> Any:
    """Read DER SubjectPublicKeyInfo."""
    return load_der_public_key(spki)
