"""The endpoints that encrypt, wrap and authenticate.

Source: rest-api.md section 3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.client.connection import JsonObject, RestConnection

if TYPE_CHECKING:
    from collections.abc import Mapping


class EncipheringCalls(RestConnection):
    """Encrypting, wrapping and MACs. Every method takes the inner object of its endpoint's body."""

    def encrypt(self, encrypt_request: Mapping[str, Any]) -> JsonObject:
        """Encrypt: `POST /v1/encrypt`. Returns ciphertext, initialization vector and message authentication code.

        Args:
            encrypt_request: `payload` (base64), `encryptKeyName`, `cipherAlgorithm`, …
        """
        return self.ask("POST", "/v1/encrypt", {"encryptRequest": dict(encrypt_request)})

    def wrap(self, wrap_key_request: Mapping[str, Any]) -> str:
        """Wrap a key: `POST /v1/wrap`. Returns the wrapped key, base64.

        Args:
            wrap_key_request: `keyToBeWrapped`, `wrapKeyName`, `wrapMethod`, …
        """
        body = {"wrapKeyRequest": dict(wrap_key_request)}
        return self.ask_text("POST", "/v1/wrap", body, "wrappedKey")

    def synchronous_hmac(self, hmac_request: Mapping[str, Any]) -> str:
        """Make a MAC: `POST /v1/synchronousHmac`. Returns it, base64.

        Args:
            hmac_request: `keyName`, `payload` (base64), …
        """
        return self.ask_text("POST", "/v1/synchronousHmac", {"hmacRequest": dict(hmac_request)}, "keyedHash")

    def verify_hmac(self, verify_hmac_request: Mapping[str, Any]) -> bool:
        """Verify a MAC: `POST /v1/verify`.

        Args:
            verify_hmac_request: `keyName`, `payload` and `signature` (base64), …
        """
        body = {"verifyHmacRequest": dict(verify_hmac_request)}
        return self.ask_truth("POST", "/v1/verify", body, "signatureValid")
