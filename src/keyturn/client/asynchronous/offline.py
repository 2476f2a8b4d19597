# Made by scripts/async_client.py of keyturn/client/offline.py: change that, then `make client`.
"""The endpoints of the air-gapped side, and what executes its requests.

Source: decisions 11, 13 to 15.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.client.asynchronous.connection import AsyncRestConnection
from keyturn.client.connection import JsonObject, path_part, unexpected
from keyturn.client.offline import _OFFLINE_ENDPOINTS
from keyturn.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping


class AsyncOfflineCalls(AsyncRestConnection):
    """Keys, requests and results that cross the gap."""

    async def execute_offline_input(self, body: Mapping[str, Any]) -> JsonObject:
        """Execute an `inputOfflineHsm` body on this (offline) server, at the endpoint it is made for.

        Args:
            body: `{"signRequest": …}`, `{"timestampRequest": …}` or another one as `GET /v1/request/{id}` gave it.

        Returns:
            The endpoint's answer.

        Raises:
            FormatError: If the body is for no endpoint this client knows.
        """
        paths = [path for name, path in _OFFLINE_ENDPOINTS.items() if name in body]
        if len(body) != 1 or not paths:
            known = ", ".join(sorted(_OFFLINE_ENDPOINTS))
            raise FormatError(f"inputOfflineHsm must hold exactly one of {known}; it holds {sorted(body)}.")
        return await self.ask("POST", paths[0], dict(body))

    async def hsm_witness(self, label: str) -> JsonObject:
        """The newest thing that a key's HSM signed, as far as the server knows: `GET /v1/hsmWitness/{label}`.

        Args:
            label: Label of the key.

        Returns:
            `xml` and `xmlSignature`, or `receipt` and `receiptSignature`.
        """
        return await self.ask("GET", f"/v1/hsmWitness/{path_part(label)}")

    async def show_hsm_witness(self, witness: Mapping[str, Any]) -> bool:
        """Show this server's HSM something that it signed: `POST /v1/hsmWitness`.

        Args:
            witness: As `hsm_witness` returned it on the other side.

        Returns:
            Whether the HSM's store is older than that.
        """
        return (await self.ask("POST", "/v1/hsmWitness", dict(witness))).get("rolledBack") is True

    async def import_offline_result(self, result: Mapping[str, Any]) -> None:
        """Bring back what the offline HSM answered: `PUT /v1/resultFromOfflineHsm`.

        Args:
            result: `{"id", "result"}`, `{"id", "keyAttributes"}` or another form of decisions 14.
        """
        await self.call("PUT", "/v1/resultFromOfflineHsm", dict(result))

    async def register_offline_key(self, attested: Mapping[str, Any]) -> JsonObject:
        """Teach an air-gapped broker a key of the offline HSM: `POST /v1/offlineKey`.

        Args:
            attested: The body that `key_attributes` returned on the offline side, unchanged.

        Returns:
            What was registered.
        """
        return await self.ask("POST", "/v1/offlineKey", dict(attested))

    async def offline_keys(self) -> list[JsonObject]:
        """The keys an air-gapped broker knows: `GET /v1/offlineKey`."""
        answer = await self.call("GET", "/v1/offlineKey")
        if not isinstance(answer, list):
            raise unexpected("GET", "/v1/offlineKey")
        return answer

    async def forget_offline_key(self, label: str) -> None:
        """Make an air-gapped broker forget a key and cancel its open requests: `DELETE /v1/offlineKey/{label}`."""
        await self.call("DELETE", f"/v1/offlineKey/{path_part(label)}")
