"""The broker's client of the HSM: one connection, many calls in flight.

    hsm = await HsmClient.connect("unix:/run/keyturn/hsm.sock")
    signed = await hsm.sign(operation_id, "invoice", payload, "SHA256_WITH_ECDSA", approvals=approvals)

Calls made in one turn of the event loop leave in one write; answers find their call by correlation id. A broken
line fails every call in flight with CONNECTIVITY, because nobody knows what became of them; the caller repeats with
the same operation id. The next call opens a new line by itself.

A client belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, cast

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.addresses import TlsFiles, parse_address
from keyturn.hsm.calls.approvers import ApproverCalls
from keyturn.hsm.calls.certificates import CertificateCalls
from keyturn.hsm.calls.derivation import DerivationCalls
from keyturn.hsm.calls.enciphering import EncipheringCalls
from keyturn.hsm.calls.giving import GivingCalls
from keyturn.hsm.calls.governing import GovernCalls
from keyturn.hsm.calls.keys import KeyCalls
from keyturn.hsm.calls.objects import ObjectCalls
from keyturn.hsm.calls.service import ServiceCalls
from keyturn.hsm.calls.transfer import TransferCalls
from keyturn.hsm.calls.using import UseCalls
from keyturn.hsm.framing import MAX_ANSWER_FRAME, FrameDecoder, FrameReader, encode_frame
from keyturn.plain import system_reason

if TYPE_CHECKING:
    from keyturn.hsm.addresses import Address

__all__ = ["HsmClient", "HsmRefusedError", "Line", "TlsFiles", "Witnesses"]

PATIENCE: Final = 300.0
"""Seconds after which an unanswered call means that the HSM hangs; an RSA-8192 key may take a minute or two."""


class HsmRefusedError(KeyturnError):
    """The HSM's refusal of a call.

    Args:
        code: Row of the error table.
        message: What was wrong, in the HSM's words.
        refusal: The HSM's stable word.
    """

    bad_approvals: tuple[tuple[int, str], ...] = ()
    """Positions in the call's approvals that did not count, with the word why."""
    receipt: bytes = b""
    """Receipt of the refusal, empty when the call had no request id."""
    receipt_signature: bytes = b""
    """The receipt key's signature over it."""


def _broken(address: Address, why: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.CONNECTIVITY,
        f"the line to the HSM at {address} {why}; what was on its way may or may not have been done: repeat it with "
        f"the same operation id",
        refusal="hsm.line-broken",
    )


def _refusal(answer: protocol.Refused) -> HsmRefusedError:
    code = ErrorCode.__members__.get(answer.code, ErrorCode.TECHNICAL)
    return HsmRefusedError(code, answer.message, refusal=answer.refusal)


class Line(asyncio.Protocol):
    """One open connection and the calls waiting on it.

    Args:
        address: Where it leads, for messages.
        answers: Union of the structs that may come back.
        loop: The running event loop.
    """

    def __init__(self, address: Address, answers: object, loop: asyncio.AbstractEventLoop) -> None:
        self._address = address
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader(MAX_ANSWER_FRAME)
        self._decoder: FrameDecoder[object] = FrameDecoder(answers)
        self._waiting: dict[int, tuple[asyncio.Future[object], float]] = {}
        self._outgoing: list[bytes] = []
        self._next = 0
        self._writable = asyncio.Event()
        self._writable.set()
        self._watch: asyncio.TimerHandle | None = None
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        # What a stream socket gives; uvloop's class is not derived from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self.open = True

    def pause_writing(self) -> None:
        """Let new calls wait: the HSM reads slower than they come."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let calls go on."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Hand answers to their calls; an answer that cannot be read ends the line."""
        try:
            for frame in self._reader.feed(data):
                correlation, answer = self._decoder.decode(frame)
                waiting = self._waiting.pop(correlation, None)
                if waiting is not None and not waiting[0].done():
                    waiting[0].set_result(answer)
        except FormatError as error:
            self._fail(f"brought an answer that cannot be read ({error.message})")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all calls in flight."""
        self._fail("broke")

    def _fail(self, why: str) -> None:
        self.open = False
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_exception(_broken(self._address, why))
        self._writable.set()
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close the line; calls in flight fail."""
        self._fail("was closed")

    async def call(self, message: object) -> object:
        """Send one message and wait for its answer.

        Args:
            message: A struct of the protocol.

        Returns:
            The answer, a refusal included.

        Raises:
            KeyturnError: CONNECTIVITY, when the line breaks first.
        """
        if not self._writable.is_set():
            await self._writable.wait()
        if not self.open:
            raise _broken(self._address, "is closed")
        correlation = self._next
        while correlation in self._waiting:
            correlation = (correlation + 1) & 0xFFFFFFFF
        self._next = (correlation + 1) & 0xFFFFFFFF
        frame = encode_frame(correlation, message)
        if len(frame) - 4 > protocol.MAX_FRAME:
            # The HSM would cut the line, and with it the calls of others.
            raise FormatError(
                f"the call has {len(frame)} bytes; the HSM takes at most {protocol.MAX_FRAME}",
                refusal="frame.too-large",
            )
        future: asyncio.Future[object] = self._loop.create_future()
        self._waiting[correlation] = (future, self._loop.time())
        if self._watch is None:
            self._watch = self._loop.call_later(PATIENCE, self._look_after)
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(frame)
        return await future

    def _flush(self) -> None:
        frames, self._outgoing = self._outgoing, []
        if self._transport is not None and self.open:
            self._transport.write(b"".join(frames))

    def _look_after(self) -> None:
        self._watch = None
        if not self._waiting:
            return
        # Calls are kept in the order they were made: the first one has waited longest.
        left = next(iter(self._waiting.values()))[1] + PATIENCE - self._loop.time()
        if left <= 0:
            self._fail(f"has been silent for {PATIENCE:.0f} seconds")
        else:
            self._watch = self._loop.call_later(left, self._look_after)


class Witnesses(Protocol):
    """Who remembers the newest thing that the HSM signed, and shows it to the HSM at every connection (R6)."""

    def note(self, answer: protocol.Answer) -> None:
        """Look at an answer of the HSM, refusals included."""
        ...

    def newest(self) -> protocol.Witness | None:
        """What to show; None when nothing is known yet."""
        ...

    def refused(self, error: HsmRefusedError) -> None:
        """The HSM would not take it: it did not sign it."""
        ...


class HsmClient(
    KeyCalls,
    UseCalls,
    EncipheringCalls,
    TransferCalls,
    CertificateCalls,
    GovernCalls,
    DerivationCalls,
    ObjectCalls,
    GivingCalls,
    ServiceCalls,
    ApproverCalls,
):
    """Calls to one HSM over one connection that is renewed when it breaks. Made by `connect`."""

    def __init__(self, address: Address, tls: TlsFiles | None, witnesses: Witnesses | None = None) -> None:
        self._address = address
        self._tls = tls
        self._witnesses = witnesses
        self._shown: Line | None = None
        self._line: Line | None = None
        self._connecting = asyncio.Lock()
        self._closed = False

    @classmethod
    async def connect(
        cls, address: str, *, tls: TlsFiles | None = None, witnesses: Witnesses | None = None
    ) -> HsmClient:
        """Open the line to an HSM.

        Args:
            address: `unix:/path/hsm.sock` or `tcp://host:port`.
            tls: Own certificate, key and the HSM's CA; required for TCP.
            witnesses: Who remembers what the HSM signed; its newest is shown before anything else is asked, on this
                line and on every one that replaces it.

        Returns:
            The client.

        Raises:
            KeyturnError: CONNECTIVITY, when nobody listens there; CONFIG_NOT_VALID for a bad address.
        """
        parsed = parse_address(address)
        if parsed.path is None and tls is None:
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID,
                f"{address} needs TLS: name a certificate, its key and the HSM's CA",
                refusal="tls.required",
            )
        client = cls(parsed, tls, witnesses)
        await client._show_witness(await client._open_line())
        return client

    async def _open_line(self) -> Line:
        async with self._connecting:
            line = self._line
            if line is not None and line.open:
                return line
            if self._closed:
                raise _broken(self._address, "was closed")
            loop = asyncio.get_running_loop()

            def make() -> Line:
                return Line(self._address, protocol.Answer, loop)

            try:
                if self._address.path is not None:
                    _, line = await loop.create_unix_connection(make, str(self._address.path))
                else:
                    context = self._tls.client_context() if self._tls is not None else None
                    _, line = await loop.create_connection(
                        make, self._address.host, self._address.port, ssl=context, ssl_handshake_timeout=10
                    )
            except (TimeoutError, OSError) as error:
                raise KeyturnError(
                    ErrorCode.CONNECTIVITY,
                    f"no HSM answers at {self._address}: {system_reason(error)}; is `keyturn hsm serve` running there?",
                    refusal="hsm.unreachable",
                ) from None
            self._line = line
            return line

    async def close(self) -> None:
        """Close the line for good."""
        self._closed = True
        if self._line is not None:
            self._line.close()
            await asyncio.sleep(0)

    async def call(self, message: protocol.Call) -> protocol.Answer:
        """Send any call.

        Args:
            message: The call.

        Returns:
            The HSM's answer, never a `Refused`.

        Raises:
            HsmRefusedError: The HSM refused, with its code, word and message.
            KeyturnError: CONNECTIVITY, when the line breaks before the answer.
        """
        line = self._line
        if line is None or not line.open:
            line = await self._open_line()
        if self._witnesses is not None and self._shown is not line:
            await self._show_witness(line)
        answer = await line.call(message)
        if self._witnesses is not None:
            self._witnesses.note(answer)  # type: ignore[arg-type]  # The line decodes nothing but `protocol.Answer`.
        if type(answer) is protocol.Refused:
            error = _refusal(answer)
            error.bad_approvals = tuple(answer.bad_approvals)
            error.receipt, error.receipt_signature = answer.receipt, answer.receipt_signature
            raise error
        return answer  # type: ignore[return-value]  # The line decodes nothing but `protocol.Answer`.

    async def _show_witness(self, line: Line) -> None:
        """Show the newest witness once on a line, before anything else is asked on it.

        A sealed HSM cannot look at it; then it is shown with the next call, until the HSM is open.
        """
        async with self._connecting:
            if self._witnesses is None or self._shown is line:
                return
            witness = self._witnesses.newest()
            if witness is not None:
                answer = await line.call(witness)
                if isinstance(answer, protocol.Refused):
                    if answer.refusal == "hsm.sealed":
                        return
                    self._witnesses.refused(_refusal(answer))
            self._shown = line
