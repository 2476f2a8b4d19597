"""Wrapped keys for the tests of wrapping: what is wrapped, with what, and how it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from keyturn.crypto.keys import SecretKey, private_key_to_der
from keyturn.crypto.wrapping import WRAP_METHODS, unwrap
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

    from keyturn.crypto.keys import PrivateKey

AES: Final = SecretKey("AES", bytes(range(32)))
PKCS8_METHODS: Final = [name for name, method in WRAP_METHODS.items() if method.wrapped_key_type != "AES"]


def refusal_of(
    key: PrivateKey | SecretKey, method: str, wrapped: bytes, *, allow_weak: bool = False
) -> tuple[ErrorCode, str, str]:
    with pytest.raises(KeyturnError) as refused:
        unwrap(key, method, wrapped, allow_weak=allow_weak)
    return refused.value.code, refused.value.refusal, refused.value.message


def wrapped_raw(content: bytes) -> bytes:
    """Anything at all under `AES`, with padding."""
    return aes_key_wrap_with_padding(AES.value, content)


def sample(kind: str, keys: dict[str, PrivateKey]) -> bytes:
    """A key of that kind as the store holds it."""
    return bytes(range(24)) if kind == "AES" else private_key_to_der(keys["secp384r1" if kind == "EC" else kind])


def wrapping_key(name: str, rsa_key: rsa.RSAPrivateKey) -> PrivateKey | SecretKey:
    return AES if WRAP_METHODS[name].wrapping_key_type == "AES" else rsa_key
