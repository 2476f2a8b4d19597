"""Encrypting data and wrapping keys: at once, with a connected HSM; nothing is stored here, and nobody approves it.

What uses no private key of a key pair needs no approval, and symmetric keys have none.

Source: rest-api.md section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptCall:
    """Data to be encrypted: `encryptRequest`.

    Args:
        payload: Plaintext, at most 64 KiB.
        key_name: Label of the key.
        algorithm: API name of the cipher (rest-api.md section 4.4).
        aad: Additional authenticated data, or None.
        tag_length: Bits of the MAC, 0 for the cipher's own.
        sealed_password: Password of a symmetric key, sealed to the HSM; empty for none.
    """

    payload: bytes
    key_name: str
    algorithm: str
    aad: bytes | None = None
    tag_length: int = 0
    sealed_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedData:
    """What came of it.

    Args:
        ciphertext: With the MAC at its end where there is one.
        iv: Initialization vector, made by the HSM; None where there is none.
        mac: The MAC; None where there is none.
    """

    ciphertext: bytes
    iv: bytes | None
    mac: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WrapCall:
    """A key to be wrapped: `wrapKeyRequest`.

    Args:
        wrapped_name: Label of the key that is wrapped.
        key_name: Label of the wrapping key.
        method: Wrap method (rest-api.md section 4.11).
        wrapped_password: Password of the key that is wrapped, sealed; empty for none.
        sealed_password: Password of a symmetric wrapping key, sealed; empty for none.
    """

    wrapped_name: str
    key_name: str
    method: str
    wrapped_password: bytes = field(default=b"", repr=False)
    sealed_password: bytes = field(default=b"", repr=False)


class EncipheringExecutor(Protocol):
    """The side that encrypts and wraps; errors as in `Executor`."""

    async def encrypt(self, call: EncryptCall) -> EncryptedData:
        """Encrypt."""
        ...

    async def wrap(self, call: WrapCall) -> bytes:
        """Wrap a key."""
        ...


class Enciphering:
    """What endpoints ask for.

    Args:
        executor: The side that acts.
    """

    def __init__(self, executor: EncipheringExecutor) -> None:
        self._executor = executor

    async def encrypt(self, call: EncryptCall) -> EncryptedData:
        """Encrypt. Raises 650, 606 (attribute), 607, 612, 624 (tag length), 629 (cipher), 620 (password)."""
        return await self._executor.encrypt(call)

    async def wrap(self, call: WrapCall) -> bytes:
        """Wrap a key. Raises 650, 606 (attributes of either key), 607, 613, 614 (policy), 620 (password)."""
        return await self._executor.wrap(call)
