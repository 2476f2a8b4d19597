# Made by scripts/async_client.py of keyturn/client/service.py: change that, then `make client`.
"""The endpoints about the server itself.

Source: rest-api.md section 3.9; decisions 6, 30.
"""

from __future__ import annotations

from keyturn.client.asynchronous.connection import AsyncRestConnection
from keyturn.client.connection import JsonObject, unexpected


class AsyncServiceCalls(AsyncRestConnection):
    """About the server."""

    async def attestation_chain(self) -> list[str]:
        """Certificates of the device that attests keys, PEM, device certificate first: `GET /v1/attestation`."""
        chain = (await self.ask("GET", "/v1/attestation")).get("attestationCertificateChain")
        if not isinstance(chain, list):
            raise unexpected("GET", "/v1/attestation")
        return [str(certificate) for certificate in chain]

    async def version_info(self) -> JsonObject:
        """Who is there: `GET /v1/versionInfo`."""
        return await self.ask("GET", "/v1/versionInfo")

    async def statistics(self) -> str:
        """Figures about the key store, as text: `GET /v1/keystore/statistics`."""
        return await self.ask_text("GET", "/v1/keystore/statistics", None, "keyStoreStatistics")
