"""A bare socket to the HSM, for tests that take the broker's place and send what no honest broker would."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import sys
import termios
from typing import TYPE_CHECKING, Any

import msgspec

from keyturn.hsm import protocol
from keyturn.hsm.framing import encode_frame

if TYPE_CHECKING:
    from types import TracebackType

ANSWER_WITHIN = 20.0
"""Seconds an answer may take on a loaded machine."""

_answers = msgspec.msgpack.Decoder(tuple[int, protocol.Answer])


class RawLine:
    """A blocking connection that sends any bytes and reads answers.

    Args:
        address: `unix:/path`.
        connection: A Unix socket that somebody else has connected already; then `address` is not looked at.
    """

    def __init__(self, address: str, connection: socket.socket | None = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX) if connection is None else connection
        self.consumed = 0
        """Bytes that were read from it."""
        self._socket.settimeout(ANSWER_WITHIN)
        if connection is None:
            self._socket.connect(address.removeprefix("unix:"))

    def __enter__(self) -> RawLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def send_until_closed(self, data: bytes) -> None:
        """Send as much as the other end takes before it hangs up."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def read(self) -> tuple[int, Any]:
        """Read one answer; EOFError when the HSM has closed the line."""
        (size,) = struct.unpack(">I", self._exactly(4))
        return _answers.decode(self._exactly(size))

    def read_as(self, expected: Any) -> tuple[int, Any]:
        """Read one answer of another protocol: a union of its messages."""
        (size,) = struct.unpack(">I", self._exactly(4))
        return msgspec.msgpack.decode(self._exactly(size), type=tuple[int, expected])

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                piece = self._socket.recv(size - len(data))
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise EOFError
            data += piece
        self.consumed += size
        return data

    @property
    def waiting(self) -> int:
        """Bytes that have arrived and are not read yet."""
        return int.from_bytes(fcntl.ioctl(self._socket, termios.FIONREAD, bytes(4)), sys.byteorder)

    def closed(self) -> bool:
        """Whether the HSM has closed the line."""
        try:
            self.read()
        except EOFError:
            return True
        return False

    def ask(self, message: object) -> Any:
        """Send a message, honest or not, and read its answer."""
        self.send(encode_frame(7, message))
        correlation, answer = self.read()
        assert correlation == 7
        return answer
