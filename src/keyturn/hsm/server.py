"""The HSM's sockets: who may connect, frames in, answers out.

Rules kept here:

- Answers wait: no answer leaves before everything decided before it is durable (`AnswerGate`). With ordinary
  signing nothing is pending, and answers leave in the turn of the loop in which their calls came, in one write.
- A stream whose framing is broken is closed, with the reason in the decision log; a message that is not one of the
  protocol is refused and the connection lives. Neither ever ends the process.
- A Unix socket serves only processes of the users it was told to (SO_PEERCRED, checked before one byte is read);
  TCP only with mutual TLS.
- Whoever does not read answers, sends faster than commits come, or waits for many slow operations, is not read from
  any more; and what one turn of the loop answers to one connection is bounded, for small calls have large answers.

Source: protocol.py; docs/security/rules.md R2, R31.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar, cast

import msgspec

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.hsm.framing import FrameDecoder, FrameReader, UnknownMessageError, encode_frame
from keyturn.hsm.listening import bind_tcp, bind_unix, peer_credentials
from keyturn.hsm.rate_limit import RateLimit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Collection
    from pathlib import Path

    from keyturn.hsm.addresses import Address
    from keyturn.hsm.gate import AnswerGate
    from keyturn.hsm.protocol import Refused

MAX_CONNECTIONS: Final = 64
"""Connections at a time on one socket. A broker process needs one; the limit keeps descriptors for the store."""
MAX_HELD_BACK: Final = 4 << 20
"""Bytes of answers that may wait for durability per connection before it is not read from any more."""
MAX_TURN: Final = 256 << 10
"""Bytes of answers to one connection in one turn of the loop. The turn ends with the answer that reaches it."""
MAX_UNDER_WAY: Final = 64
"""Slow operations that one connection may wait for; twice what the workers take, so that only repeats come so far."""
HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds a client has for its TLS handshake."""
TOLD_PER_SECOND: Final = 2.0
"""Lines of the decision log about peers that are not served, in the long run; strangers must not fill the disk."""
TOLD_AT_ONCE: Final = 100
"""… and at once."""

MessageT = TypeVar("MessageT")
MessageT_contra = TypeVar("MessageT_contra", contravariant=True)


class Handler(Protocol[MessageT_contra]):
    """What a socket serves."""

    def handle(self, message: MessageT_contra, peer: str) -> msgspec.Struct | Awaitable[msgspec.Struct]:
        """Answer a message; never raises, a failure is a `Refused`. An awaitable for what is slow."""
        ...

    def refuse_frame(self, error: FormatError, peer: str) -> Refused:
        """Log bytes that are no message, and say so."""
        ...


class FrameConnection(asyncio.Protocol, Generic[MessageT]):
    """One connection.

    Args:
        socket_server: The server it belongs to.
        peer: Who is at the other end, for the log.
    """

    def __init__(self, socket_server: SocketServer[MessageT], peer: str) -> None:
        self._server = socket_server
        self._peer = peer
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._frames: deque[bytes] = deque()
        self._held = 0
        self._writable = True
        self._reading = True
        self._broken = False
        self._going_on = False
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        # What a stream socket gives; uvloop's class is not derived from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection. What was begun for it is done nevertheless; only its answers are lost."""
        self._transport = None
        self._server.connections.discard(self)
        self._frames.clear()
        for task in self._tasks:
            # It only waits: what is waited for is shielded by whoever began it.
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer the frames that are complete now, in one write, as far as there is room."""
        if self._broken:
            return
        try:
            self._frames.extend(self._reader.feed(data))
        except FormatError as error:
            self._break([], error)
            return
        self._work()

    def _work(self) -> None:
        frames, server = self._frames, self._server
        answers: list[bytes] = []
        size = 0
        try:
            while frames and size < MAX_TURN and self._has_room:
                try:
                    correlation, message = server.decoder.decode(frames.popleft())
                except UnknownMessageError as error:
                    answer = encode_frame(error.correlation, server.handler.refuse_frame(error, self._peer))
                else:
                    result = server.handler.handle(message, self._peer)
                    if not isinstance(result, msgspec.Struct):
                        self._wait_for(correlation, result)
                        continue
                    answer = encode_frame(correlation, result)
                answers.append(answer)
                size += len(answer)
        except FormatError as error:
            self._break(answers, error)
            return
        if answers:
            server.gate.send(self, b"".join(answers))
        if frames:
            self._balance()

    def _go_on(self) -> None:
        self._going_on = False
        if self._transport is not None:
            self._work()
            self._balance()

    def _break(self, answers: list[bytes], error: FormatError) -> None:
        """Answer what came before the damage, say what it was, and close."""
        self._broken = True
        self._frames.clear()
        answers.append(encode_frame(0, self._server.handler.refuse_frame(error, self._peer)))
        self._server.gate.send(self, b"".join(answers))
        self._close_when_sent()

    def _wait_for(self, correlation: int, answer: Awaitable[msgspec.Struct]) -> None:
        task = asyncio.ensure_future(self._answer_later(correlation, answer))
        self._tasks.add(task)
        task.add_done_callback(self._waited)

    def _waited(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._balance()

    async def _answer_later(self, correlation: int, answer: Awaitable[msgspec.Struct]) -> None:
        result = await answer
        self._server.gate.send(self, encode_frame(correlation, result))

    def _close_when_sent(self) -> None:
        if self._transport is not None and not self._held:
            self._transport.close()

    def write(self, data: bytes) -> None:
        """Send frames; nothing happens when the connection is gone."""
        if self._transport is not None:
            self._transport.write(data)
            if self._broken:
                self._close_when_sent()

    def abort(self) -> None:
        """Cut the connection, sending nothing more."""
        if self._transport is not None:
            self._transport.abort()

    def held_back(self, size: int) -> None:
        """Count bytes that wait for durability (negative: wait no more)."""
        self._held += size
        self._balance()

    def pause_writing(self) -> None:
        """Stop reading from one who does not read."""
        self._writable = False
        self._balance()

    def resume_writing(self) -> None:
        """Read on."""
        self._writable = True
        self._balance()

    @property
    def _has_room(self) -> bool:
        return self._writable and self._held < MAX_HELD_BACK and len(self._tasks) < MAX_UNDER_WAY

    def _balance(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        room = self._has_room
        if room and self._frames and not self._going_on:
            self._going_on = True
            asyncio.get_running_loop().call_soon(self._go_on)
        wanted = room and not self._frames
        if wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()


class SocketServer(Generic[MessageT]):
    """One listening socket and its connections.

    Args:
        handler: What answers.
        messages: Union of the structs that may arrive.
        gate: Gate of the answers.
        allowed_uids: User ids that may connect over a Unix socket.
        tls: Context for TCP; it must require client certificates.
    """

    def __init__(
        self,
        handler: Handler[MessageT],
        messages: object,
        gate: AnswerGate,
        *,
        allowed_uids: Collection[int],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.handler = handler
        self.decoder: FrameDecoder[MessageT] = FrameDecoder(messages)
        self.gate = gate
        self.connections: set[FrameConnection[MessageT]] = set()
        self._allowed_uids = frozenset(allowed_uids)
        self._tls = tls
        self._socket: socket.socket | None = None
        self._path: Path | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: set[asyncio.Task[None]] = set()
        self._telling = RateLimit("peers", TOLD_PER_SECOND, TOLD_AT_ONCE, time.monotonic)
        self._untold = 0

    def listen(self, address: Address) -> Address:
        """Bind and begin to accept.

        Args:
            address: Where; port 0 means any free one.

        Returns:
            The address bound.

        Raises:
            KeyturnError: `address.in-use` when another process listens there, `address.invalid` when it cannot be
                bound, `tls.required` for TCP without TLS.
        """
        if address.path is not None:
            everyone = self._allowed_uids != {os.getuid()}
            self._socket = bind_unix(address.path, 0o666 if everyone else 0o600)
            self._path = address.path
        else:
            if self._tls is None:
                raise KeyturnError(
                    ErrorCode.CONFIG_NOT_VALID,
                    "TCP is served with mutual TLS only: give a certificate, its key and the CA of the clients",
                    refusal="tls.required",
                )
            self._socket = bind_tcp(address.host, address.port)
            address = type(address)(host=address.host, port=self._socket.getsockname()[1])
        self._socket.setblocking(False)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self._socket))
        return address

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer_address = await loop.sock_accept(listener)
            except OSError:
                # Out of descriptors, or the peer is gone already: the listener itself is well.
                await asyncio.sleep(0.05)
                continue
            peer = self._admit(connection, peer_address)
            if peer is None:
                connection.close()
                continue
            task = loop.create_task(self._serve(connection, peer))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    def _admit(self, connection: socket.socket, peer_address: object) -> str | None:
        """Name the peer, or None when it must not be served."""
        peer = f"tcp {peer_address}"
        if connection.family == socket.AF_UNIX:
            credentials = peer_credentials(connection)
            peer = f"uid {credentials.uid} pid {credentials.pid}"
            if credentials.uid not in self._allowed_uids:
                self._turn_away(
                    FormatError(
                        f"user {credentials.uid} may not use this socket; see --allow-uid", refusal="peer.not-allowed"
                    ),
                    peer,
                )
                return None
        if len(self.connections) + len(self._handshakes) >= MAX_CONNECTIONS:
            self._turn_away(
                FormatError(f"{MAX_CONNECTIONS} connections are open already", refusal="peer.too-many"), peer
            )
            return None
        return peer

    async def _serve(self, connection: socket.socket, peer: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: FrameConnection(self, peer),
                connection,
                ssl=self._tls if connection.family != socket.AF_UNIX else None,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT if connection.family != socket.AF_UNIX else None,
            )
        except (TimeoutError, OSError) as error:
            self._turn_away(
                FormatError(f"no TLS connection came about: {type(error).__name__}", refusal="peer.tls-failed"), peer
            )
            connection.close()

    def _turn_away(self, error: FormatError, peer: str) -> None:
        """Log that somebody was not served; no answer follows that would take the line along.

        Whoever may reach the socket can come here as often as they like: only so many lines tell of each of them, and
        the next one says how many were left out.
        """
        try:
            self._telling.take()
        except KeyturnError:
            self._untold += 1
            return
        if self._untold:
            error = FormatError(
                f"{error.message} (and {self._untold} more were not served before)", refusal=error.refusal
            )
            self._untold = 0
        self.handler.refuse_frame(error, peer)
        self.gate.flush()

    async def close(self) -> None:
        """Stop listening, cut all connections, remove the socket's file."""
        if self._accepting is not None:
            self._accepting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._accepting
        if self._socket is not None:
            self._socket.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        for connection in list(self.connections):
            connection.abort()
