"""Encrypting data and wrapping keys: with a connected HSM, and with none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.broker.asking import asked
from keyturn.broker.enciphering import EncryptedData
from keyturn.broker.executor import without_hsm

if TYPE_CHECKING:
    from keyturn.broker.enciphering import EncryptCall, WrapCall
    from keyturn.hsm.client import HsmClient


class LocalEnciphering:
    """A connected HSM encrypts and wraps.

    Args:
        client: A connected client.
    """

    _client: HsmClient

    async def encrypt(self, call: EncryptCall) -> EncryptedData:
        """Have the HSM encrypt."""
        made = await asked(
            self._client.encrypt(
                call.key_name,
                call.payload,
                call.algorithm,
                aad=call.aad,
                tag_length=call.tag_length,
                sealed_password=call.sealed_password,
            )
        )
        return EncryptedData(ciphertext=made.ciphertext, iv=made.iv, mac=made.mac)

    async def wrap(self, call: WrapCall) -> bytes:
        """Have the HSM wrap a key."""
        return await asked(
            self._client.wrap(
                call.key_name,
                call.method,
                call.wrapped_name,
                wrapped_sealed_password=call.wrapped_password,
                sealed_password=call.sealed_password,
            )
        )


class AirGappedEnciphering:
    """There is no HSM here."""

    async def encrypt(self, call: EncryptCall) -> EncryptedData:
        """Refused."""
        without_hsm("Data is encrypted where the public key is, or at the offline side.")

    async def wrap(self, call: WrapCall) -> bytes:
        """Refused."""
        without_hsm("Keys are wrapped at the offline side.")
