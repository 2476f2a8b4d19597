"""Requests and answers that do not fit into memory: how they arrive, and how they leave.

A body of `multipart/form-data` is a request that a page of anybody may make a browser send without asking (a "simple
request"), so that its `Origin` and `Sec-Fetch-Site` headers are looked at, too (R30).

An answer announces its length before its first octet. Where it cannot be completed, the connection is cut, so that the
client has less than was announced and cannot take that for the whole.

Sources: RFC 9112 sections 6.3 and 8; W3C Fetch Metadata Request Headers; docs/security/rules.md R30.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from keyturn.api.errors import HttpError
from keyturn.api.multipart import Upload, boundary_of, request_too_large
from keyturn.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping

    from keyturn.api.http import Services, Stream
    from keyturn.api.schemas.common import SignableBody

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

log: Final = logging.getLogger("keyturn.api")

MAX_DRAINED: Final = 256 << 20
"""Most octets of a refused body that are read to no purpose, so that its client sees why it was refused."""


class Arriving:
    """A body as it arrives.

    Args:
        receive: The server's.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True

    async def pieces(self) -> AsyncIterator[bytes]:
        """Its octets.

        Raises:
            ConnectionAbortedError: The client went away.
        """
        while self._more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionAbortedError
            self._more = bool(message.get("more_body"))
            yield message.get("body", b"")

    async def drain(self) -> bool:
        """Read what is left.

        Returns:
            Whether nothing is left; False where it was too much.
        """
        drained = 0
        async for piece in self.pieces():
            drained += len(piece)
            if drained > MAX_DRAINED:
                return False
        return True


def upload_of(
    arriving: Arriving, content_type: bytes | None, services: Services, check: Callable[[bytes, SignableBody], None]
) -> Upload:
    """The upload in a body.

    Args:
        arriving: The body.
        content_type: The header, None if absent.
        services: They know how large it may be.
        check: Called with the JSON part as it was sent and its struct.

    Raises:
        HttpError: 415, 400: it is no `multipart/form-data` with a boundary.
    """
    return Upload(
        arriving.pieces(), boundary_of(content_type), services.max_file_size, services.max_request_size, check
    )


def require_fitting(length: bytes | None, most: int) -> None:
    """Refuse a body that is announced to be too large before any of it is kept.

    Args:
        length: The header `Content-Length`, None if absent: then the octets are counted as they come.
        most: Most octets.

    Raises:
        HttpError: 413 `upload.request-too-large`.
    """
    if length is not None and length.isdigit() and int(length.lstrip(b"0")[:20] or b"0") > most:
        raise request_too_large(most)


def require_own_page(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a request that a browser made for a foreign page.

    Args:
        headers: The request's.

    Raises:
        HttpError: 403 with code 400, `http.origin`.
    """
    for name, value in headers:
        if name == b"sec-fetch-site" and value not in {b"same-origin", b"none"}:
            raise HttpError(
                403,
                ErrorCode.SECURITY_NOT_ALLOWED,
                "Files are taken from programs and from this server's own pages, not from pages of other sites.",
                refusal="http.origin",
                close=True,
            )


async def send_stream(stream: Stream, head: Message, send: Send, what: str) -> None:
    """Send an answer of any size.

    Args:
        stream: The answer.
        head: The message that begins it.
        send: The server's.
        what: Method and path, for the log.
    """
    try:
        await send(head)
        async for piece in stream.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except Exception:
        # The server cuts the connection of an answer that is not completed.
        log.exception("%s: the answer was cut off", what)
        return
    finally:
        stream.release()
    await send({"type": "http.response.body", "body": b""})
