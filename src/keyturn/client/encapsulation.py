"""ML-KEM.

Source: rest-api.md sections 3.3 and 3.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.client.connection import JsonObject, RestConnection, base64_text

if TYPE_CHECKING:
    from collections.abc import Mapping


class EncapsulationCalls(RestConnection):
    """Secrets for the owners of ML-KEM keys, and what comes out of their ciphertexts."""

    def encapsulate(self, public_key: bytes) -> JsonObject:
        """Make a secret for somebody: `POST /v1/encapsulate`.

        Args:
            public_key: DER SubjectPublicKeyInfo.

        Returns:
            `sharedSecret` and `ciphertext`, base64.
        """
        return self.ask("POST", "/v1/encapsulate", {"publicKey": base64_text(public_key)})

    def decapsulate(self, decapsulation_request: Mapping[str, Any]) -> str:
        """Open a request to decapsulate: `POST /v1/decapsulate`. Its result is the shared secret.

        Args:
            decapsulation_request: `decapsulationKeyName`, `ciphertext` (base64), …
        """
        body = {"decapsulationRequest": dict(decapsulation_request)}
        return self.ask_text("POST", "/v1/decapsulate", body, "decapsulationRequestId")

    def synchronous_decapsulate(self, decapsulation_request: Mapping[str, Any]) -> str:
        """Decapsulate at once: `POST /v1/synchronousDecapsulate`. Returns the shared secret, base64."""
        body = {"decapsulationRequest": dict(decapsulation_request)}
        return self.ask_text("POST", "/v1/synchronousDecapsulate", body, "sharedSecret")
