# Made by scripts/async_client.py of keyturn/client/giving.py: change that, then `make client`.
"""The endpoints for what the HSM gives beside operations with keys: data objects, randomness, its log, dated hashes.

Source: rest-api.md sections 1.7 and 3.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.client.asynchronous.connection import AsyncRestConnection
from keyturn.client.connection import JsonObject, base64_text, path_part, unexpected
from keyturn.client.giving import _OBJECT, _body

if TYPE_CHECKING:
    from collections.abc import Mapping


class AsyncGivingCalls(AsyncRestConnection):
    """Data objects, randomness, the HSM's log, dated hashes, and what the server offers."""

    async def create_data_object(
        self, name: str, value: bytes, *, attributes: Mapping[str, bool] | None = None
    ) -> JsonObject:
        """Keep a data object: `POST /v1/dataObject`.

        Args:
            name: Its name, which must be free.
            value: At most 64 KiB.
            attributes: `private`, `modifiable`, `destroyable`; what is left out is true.
        """
        return await self.ask("POST", _OBJECT, _body(name, value, attributes))

    async def replace_data_object(
        self, name: str, value: bytes, *, attributes: Mapping[str, bool] | None = None
    ) -> JsonObject:
        """Write another value for a data object: `PUT /v1/dataObject`. Attributes can only become stricter."""
        return await self.ask("PUT", _OBJECT, _body(name, value, attributes))

    async def data_object(self, name: str) -> JsonObject:
        """A data object: `GET /v1/dataObject/{name}`. Its `value` is base64."""
        return await self.ask("GET", f"{_OBJECT}/{path_part(name)}")

    async def delete_data_object(self, name: str) -> None:
        """Delete a data object: `DELETE /v1/dataObject/{name}`."""
        await self.call("DELETE", f"{_OBJECT}/{path_part(name)}")

    async def random(self, length: int) -> bytes:
        """Random bytes of the HSM: `GET /v1/generateRandom/{length}`.

        Args:
            length: 1 to 65536.
        """
        return await self.ask_bytes("GET", f"/v1/generateRandom/{length}", None, "random")

    async def hsm_log(self) -> str:
        """The newest lines of the HSM's decision log, each a JSON object: `GET /v1/hsm/log`."""
        return await self.ask_text("GET", "/v1/hsm/log", None, "log")

    async def license_flags(self) -> list[str]:
        """What the server offers: `GET /v1/licenseInfo`."""
        flags = (await self.ask("GET", "/v1/licenseInfo")).get("clientFlags")
        if not isinstance(flags, list):
            raise unexpected("GET", "/v1/licenseInfo")
        return [str(flag) for flag in flags]

    async def rfc_timestamp(self, payload: bytes, hash_algorithm: str = "SHA256") -> bytes:
        """A timestamp of RFC 3161: `POST /v1/createRfcTimestamp`.

        Args:
            payload: At most 64 KiB; for more give its digest, and `NONE` before the name of the hash.
            hash_algorithm: Such as `SHA256` or `NONESHA256`.

        Returns:
            TimeStampResp, DER.
        """
        body = {"payload": base64_text(payload), "hashAlgorithm": hash_algorithm}
        return await self.ask_bytes("POST", "/v1/createRfcTimestamp", body, "timestamp")
