# Made by scripts/async_client.py of keyturn/client/enciphering.py: change that, then `make client`.
"""The endpoints that encrypt, wrap and authenticate.

Source: rest-api.md section 3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.client.asynchronous.connection import AsyncRestConnection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.client.connection import JsonObject


class AsyncEncipheringCalls(AsyncRestConnection):
    """Encrypting, wrapping and MACs. Every method takes the inner object of its endpoint's body."""

    async def encrypt(self, encrypt_request: Mapping[str, Any]) -> JsonObject:
        """Encrypt: `POST /v1/encrypt`. Returns ciphertext, initialization vector and message authentication code.

        Args:
            encrypt_request: `payload` (base64), `encryptKeyName`, `cipherAlgorithm`, …
        """
        return await self.ask("POST", "/v1/encrypt", {"encryptRequest": dict(encrypt_request)})

    async def wrap(self, wrap_key_request: Mapping[str, Any]) -> str:
        """Wrap a key: `POST /v1/wrap`. Returns the wrapped key, base64.

        Args:
            wrap_key_request: `keyToBeWrapped`, `wrapKeyName`, `wrapMethod`, …
        """
        body = {"wrapKeyRequest": dict(wrap_key_request)}
        return await self.ask_text("POST", "/v1/wrap", body, "wrappedKey")

    async def synchronous_hmac(self, hmac_request: Mapping[str, Any]) -> str:
        """Make a MAC: `POST /v1/synchronousHmac`. Returns it, base64.

        Args:
            hmac_request: `keyName`, `payload` (base64), …
        """
        return await self.ask_text("POST", "/v1/synchronousHmac", {"hmacRequest": dict(hmac_request)}, "keyedHash")

    async def verify_hmac(self, verify_hmac_request: Mapping[str, Any]) -> bool:
        """Verify a MAC: `POST /v1/verify`.

        Args:
            verify_hmac_request: `keyName`, `payload` and `signature` (base64), …
        """
        body = {"verifyHmacRequest": dict(verify_hmac_request)}
        return await self.ask_truth("POST", "/v1/verify", body, "signatureValid")
