"""One connection: how much may arrive before there is a request, how long that may take, and what is told otherwise.

The HTTP parser takes heads of any size for any length of time. Here a head (request line and headers) has `MAX_HEAD`
bytes and `HEAD_SECONDS`, and a body `BODY_SECONDS`, so that a stranger cannot fill memory or collect connections that
never end. What is no HTTP at all gets the documented error body as well.

Source: ADR 0035; RFC 6585 section 5 (status 431).
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from keyturn.api.errors import HttpError, render
from keyturn.errors import ErrorCode

CLIENT_CERTIFICATE: Final = "keyturn.clientCertificate"
"""Key in the connection's state: whether the client showed a certificate that TLS has verified."""
MAX_HEAD: Final = 64 << 10
"""Most bytes of one request line with its headers; the longest path served has `router.MAX_PATH` characters."""
HEAD_SECONDS: Final = 20.0
"""Seconds from the first byte of a request (or from the connection's start) to the end of its head."""
BODY_SECONDS: Final = 60.0
"""Seconds in which a body must have arrived; 2 MiB need a line of 35 KiB per second."""
FILE_BYTES: Final = 2 << 20
"""How much of a body with a file must arrive in that time; then it has as long for as much again."""


class _Phase(Enum):
    """What a connection waits for."""

    HEAD = "head"
    BODY = "body"
    NOTHING = "nothing"


class _OneWrite(asyncio.Transport):
    """What one answer is written to: its head waits for the first piece of its body, and both leave in one write.

    uvicorn writes them one by one, which costs a system call here and one at the client for every request.

    Args:
        transport: The connection's transport.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._head: bytes | None = None
        self._begun = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep the head; write what follows behind it."""
        if not self._begun:
            self._begun = True
            self._head = bytes(data)
            return
        if self._head is not None:
            data, self._head = self._head + data, None
        self._transport.write(data)

    def close(self) -> None:
        """Close the connection; a head to which no body came leaves before."""
        if self._head is not None:
            self._transport.write(self._head)
            self._head = None
        self._transport.close()


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits for what has not become a request yet."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._phase = _Phase.HEAD
        self._requests = 0
        self._head_bytes = 0
        self._repeating_head = False
        self._body_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._deadline_of: tuple[int, _Phase] = (0, _Phase.NOTHING)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # As uvicorn has it.
        """Start to wait for a request."""
        if transport.get_extra_info("peercert"):
            self.app_state = {CLIENT_CERTIFICATE: True}
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to wait for anything."""
        self._phase = _Phase.NOTHING
        self._watch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; end the connection when a head does not end."""
        if self._phase is not _Phase.BODY:
            # What follows a head in the same piece is counted and forgotten: no piece exceeds the socket's buffer.
            self._head_bytes += len(data)
        self._body_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        if self._phase is _Phase.HEAD and self._head_bytes > MAX_HEAD and not self.transport.is_closing():
            self._refuse(
                HttpError(
                    431,
                    ErrorCode.VALIDATION_FAILED,
                    f"The request line and headers have more than {MAX_HEAD} bytes.",
                    refusal="http.head-too-large",
                )
            )
        # Most requests arrive in one piece and need no deadline.
        self._watch()

    def _feed(self, data: bytes) -> None:
        """Parse bytes, and offers to change the protocol as if they were not there (RFC 9110 section 7.8).

        Java's HTTP client and `curl --http2` offer h2c with their first request. The parser stops behind such a head
        and would lose the body, so a new parser, told only how the body is framed, goes on from there.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                framing = [line for line in self.headers if line[0] in {b"content-length", b"transfer-encoding"}]
                self.parser = httptools.HttpRequestParser(self)
                self._repeating_head = True
                try:
                    lines = [b"POST / HTTP/1.1", *(b"%b: %b" % line for line in framing), b"", b""]
                    self.parser.feed_data(b"\r\n".join(lines))
                finally:
                    self._repeating_head = False
            else:
                return

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        if not self._repeating_head:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        if not self._repeating_head:
            super().on_header(name, value)

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._repeating_head:
            return
        super().on_message_begin()
        self._phase = _Phase.HEAD
        self._requests += 1

    def on_headers_complete(self) -> None:
        """The head is complete; the body follows."""
        if self._repeating_head:
            return
        before = self.cycle
        super().on_headers_complete()
        # Where no body follows the head, or `100 Continue` comes before it, the head waits for nothing.
        if self.cycle is not before and self.scope["method"] != "HEAD" and not self.expect_100_continue:
            self.cycle.transport = _OneWrite(self.transport)
        self._phase = _Phase.BODY
        self._head_bytes = self._body_bytes = 0

    def on_message_complete(self) -> None:
        """The request is complete; how long its answer takes is up to the endpoint."""
        if self.parser.should_upgrade():
            return  # Only its head is; see `_feed`.
        super().on_message_complete()
        self._phase = _Phase.NOTHING

    def send_400_response(self, msg: str) -> None:
        """Tell that this is no HTTP, with the documented body."""
        del msg
        self._refuse(
            HttpError(
                400,
                ErrorCode.VALIDATION_FAILED,
                "This is no HTTP/1.1 request that can be read.",
                refusal="http.malformed",
            )
        )

    def _refuse(self, error: HttpError) -> None:
        body = render(error)
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[error.status] + head + body)
        self.transport.close()

    def _watch(self) -> None:
        """Set the deadline of what is waited for; it is not moved by what arrives."""
        waits_for = (self._requests, self._phase)
        if waits_for == self._deadline_of:
            return
        self._deadline_of = waits_for
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._phase is not _Phase.NOTHING:
            seconds = HEAD_SECONDS if self._phase is _Phase.HEAD else BODY_SECONDS
            self._deadline = self.loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        self._deadline = None
        self._deadline_of = (0, _Phase.NOTHING)
        in_head = self._phase is _Phase.HEAD
        if self.pipeline or (in_head and self._requests > 1 and not self.cycle.response_complete):
            self._watch()  # An earlier request of this connection is still being answered.
        elif self._phase is _Phase.BODY and self._brings_file() and self._body_bytes >= FILE_BYTES:
            self._body_bytes = 0
            self._watch()
        elif not self.transport.is_closing():
            self.transport.close()

    def _brings_file(self) -> bool:
        """Whether the body that is being waited for holds a file; asked late, since few requests are."""
        return any(
            name == b"content-type" and value.lower().startswith(b"multipart/form-data") for name, value in self.headers
        )
