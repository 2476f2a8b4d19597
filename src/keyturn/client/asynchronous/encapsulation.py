# Made by scripts/async_client.py of keyturn/client/encapsulation.py: change that, then `make client`.
"""ML-KEM.

Source: rest-api.md sections 3.3 and 3.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.client.asynchronous.connection import AsyncRestConnection
from keyturn.client.connection import JsonObject, base64_text

if TYPE_CHECKING:
    from collections.abc import Mapping


class AsyncEncapsulationCalls(AsyncRestConnection):
    """Secrets for the owners of ML-KEM keys, and what comes out of their ciphertexts."""

    async def encapsulate(self, public_key: bytes) -> JsonObject:
        """Make a secret for somebody: `POST /v1/encapsulate`.

        Args:
            public_key: DER SubjectPublicKeyInfo.

        Returns:
            `sharedSecret` and `ciphertext`, base64.
        """
        return await self.ask("POST", "/v1/encapsulate", {"publicKey": base64_text(public_key)})

    async def decapsulate(self, decapsulation_request: Mapping[str, Any]) -> str:
        """Open a request to decapsulate: `POST /v1/decapsulate`. Its result is the shared secret.

        Args:
            decapsulation_request: `decapsulationKeyName`, `ciphertext` (base64), …
        """
        body = {"decapsulationRequest": dict(decapsulation_request)}
        return await self.ask_text("POST", "/v1/decapsulate", body, "decapsulationRequestId")

    async def synchronous_decapsulate(self, decapsulation_request: Mapping[str, Any]) -> str:
        """Decapsulate at once: `POST /v1/synchronousDecapsulate`. Returns the shared secret, base64."""
        body = {"decapsulationRequest": dict(decapsulation_request)}
        return await self.ask_text("POST", "/v1/synchronousDecapsulate", body, "sharedSecret")
