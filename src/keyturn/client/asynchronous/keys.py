# Made by scripts/async_client.py of keyturn/client/keys.py: change that, then `make client`.
"""The endpoints about keys.

Source: rest-api.md section 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.client.asynchronous.connection import AsyncRestConnection
from keyturn.client.connection import JsonObject, unexpected
from keyturn.client.keys import labelled

if TYPE_CHECKING:
    from collections.abc import Mapping


class AsyncKeyCalls(AsyncRestConnection):
    """Keys: create, list, attributes, delete."""

    async def create_key(
        self,
        label: str,
        algorithm: str,
        *,
        attributes: Mapping[str, bool],
        curve_oid: str | None = None,
        key_size: int | None = None,
        policy: Mapping[str, Any] | None = None,
        key_id: str | None = None,
        address_format: str | None = None,
        password: str | None = None,
    ) -> JsonObject:
        """Create a key: `POST /v1/key`.

        Args:
            label: Its name, 1 to 128 bytes of UTF-8.
            algorithm: `RSA`, `EC`, `ED` or `AES`.
            attributes: Attribute names to booleans; at least `decrypt`, `sign` and `unwrap`.
            curve_oid: Dotted OID, for EC and ED.
            key_size: Bits, for RSA and AES.
            policy: Policy as JSON with `keyStatus` (rest-api.md section 5), None for an ordinary key.
            key_id: PKCS#11 id, if any.
            address_format: `BTC`, `ETH`, `XRP` or `XLM`, for a key with a policy.
            password: Password without which the key is not used from then on.

        Returns:
            The attested attributes: `xml`, `json`, `xmlSignature`, `attestationKeyName`.
        """
        body: JsonObject = {"label": label, "algorithm": algorithm, "attributes": dict(attributes), "policy": policy}
        if curve_oid is not None:
            body["curveOid"] = curve_oid
        if key_size is not None:
            body["keySize"] = key_size
        if key_id is not None:
            body["id"] = key_id
        if address_format is not None:
            body["addressFormat"] = {"format": address_format}
        if password:
            body["password"] = list(password)
        return await self.ask("POST", "/v1/key", body)

    async def list_keys(self) -> list[str]:
        """Labels of all keys (air-gapped: of all registered ones): `GET /v1/key`."""
        answer = await self.call("GET", "/v1/key")
        if not isinstance(answer, list):
            raise unexpected("GET", "/v1/key")
        return [str(label) for label in answer]

    async def key_attributes(self, label: str, password: str | None = None) -> JsonObject:
        """Attested attributes of a key: `POST /v1/key/attributes`. A key with a password needs it."""
        return await self.ask("POST", "/v1/key/attributes", labelled(label, password))

    async def delete_key(self, label: str, password: str | None = None) -> None:
        """Delete a key: `POST /v1/key/deleteKey`. A key with a password needs it."""
        await self.call("POST", "/v1/key/deleteKey", labelled(label, password))
