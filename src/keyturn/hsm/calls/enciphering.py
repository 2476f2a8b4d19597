"""Calls that encrypt data and wrap keys."""

from __future__ import annotations

from keyturn.hsm import protocol
from keyturn.hsm.calls.base import Calls


class EncipheringCalls(Calls):
    """Calls that encrypt data and wrap keys."""

    async def encrypt(
        self,
        label: str,
        payload: bytes,
        algorithm: str,
        *,
        aad: bytes | None = None,
        tag_length: int = 0,
        sealed_password: bytes = b"",
    ) -> protocol.Encrypted:
        """Encrypt; the arguments are those of `protocol.Encrypt`."""
        message = protocol.Encrypt(label, payload, algorithm, aad, tag_length, sealed_password)
        return await self.ask(message, protocol.Encrypted)

    async def wrap(
        self,
        label: str,
        method: str,
        wrapped_label: str,
        *,
        wrapped_sealed_password: bytes = b"",
        sealed_password: bytes = b"",
    ) -> bytes:
        """Wrap a key; the arguments are those of `protocol.Wrap`."""
        message = protocol.Wrap(label, method, wrapped_label, wrapped_sealed_password, sealed_password)
        return (await self.ask(message, protocol.Wrapped)).wrapped_key
