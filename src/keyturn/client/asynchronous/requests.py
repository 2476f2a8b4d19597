# Made by scripts/async_client.py of keyturn/client/requests.py: change that, then `make client`.
"""The endpoints about requests: how they stand, their pre-flight, their QR codes, and their end.

Source: rest-api.md section 3.6; decisions 5, 12, 17.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Literal

from keyturn.client.asynchronous.connection import AsyncRestConnection
from keyturn.client.connection import JsonObject, decoded, path_part, unexpected

if TYPE_CHECKING:
    from collections.abc import Sequence


class AsyncRequestCalls(AsyncRestConnection):
    """Requests."""

    async def request(self, request_id: str) -> JsonObject:
        """State and result of a request: `GET /v1/request/{id}`."""
        return await self.ask("GET", f"/v1/request/{path_part(request_id)}")

    async def cancel_request(self, request_id: str) -> None:
        """Cancel a request: `DELETE /v1/request/{id}`."""
        await self.call("DELETE", f"/v1/request/{path_part(request_id)}")

    async def filtered_requests(self, statuses: Sequence[str] = ()) -> list[JsonObject]:
        """Ids and statuses of requests, newest first: `POST /v1/filteredRequests`.

        Args:
            statuses: Only requests with one of these, such as `PENDING`; empty for all.
        """
        return await self.ask_list("POST", "/v1/filteredRequests", {"requestStatusList": list(statuses)}, "requests")

    async def preflight(self, request_id: str) -> JsonObject:
        """What the offline HSM would say to what was collected so far: `GET /v1/request/{id}/preflight`."""
        return await self.ask("GET", f"/v1/request/{path_part(request_id)}/preflight")

    async def qr_codes(
        self,
        request_id: str,
        *,
        form: Literal["ur", "json"] = "ur",
        error_correction: Literal["L", "M", "Q", "H"] | None = None,
        max_version: int | None = None,
        extra: int | None = None,
    ) -> list[bytes]:
        """The offline input of a request as QR images: `GET /v1/request/qrCode/{id}`.

        Args:
            request_id: Id of the request.
            form: `ur` for uniform resources (one or many parts), `json` for the plain text in one symbol.
            error_correction: Level of the symbols; the server's default if None.
            max_version: Largest symbol version, 1 to 40; the server's default if None.
            extra: How many fountain parts to add; the server's default if None.

        Returns:
            PNG files, in order.
        """
        options = {"errorCorrection": error_correction, "maxVersion": max_version, "extra": extra}
        query = {"format": form} | {name: str(value) for name, value in options.items() if value is not None}
        path = f"/v1/request/qrCode/{path_part(request_id)}"
        content_type, content = await self.exchange("GET", path, None, query)
        if content_type == "image/png":
            return [content]
        answer = decoded("GET", path, content)
        images = answer.get("qrCodes") if isinstance(answer, dict) else None
        if not isinstance(images, list):
            raise unexpected("GET", path)
        try:
            return [base64.b64decode(image, validate=True) for image in images]
        except (binascii.Error, TypeError) as error:
            raise unexpected("GET", path) from error
