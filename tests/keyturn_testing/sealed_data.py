"""Ciphertexts for the tests of ciphers, and how decrypting is refused."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import pytest

from keyturn.crypto.ciphers import CipherParameters, decrypt, encrypt
from keyturn.errors import KeyturnError

if TYPE_CHECKING:
    from keyturn.crypto.ciphers import Encrypted
    from keyturn.crypto.keys import PrivateKey, SecretKey

DATA: Final = b"0123456789abcdef"
NOTHING: Final = CipherParameters()


def made(
    key: PrivateKey | SecretKey, name: str, data: bytes = DATA, parameters: CipherParameters = NOTHING
) -> Encrypted:
    """Data encrypted."""
    return encrypt(key, name, data, parameters, random=secrets.token_bytes)


def refusal_of(
    key: PrivateKey | SecretKey, name: str, data: bytes, parameters: CipherParameters = NOTHING
) -> KeyturnError:
    """Why this is not decrypted."""
    with pytest.raises(KeyturnError) as refused:
        decrypt(key, name, data, parameters)
    return refused.value
