"""Frames on a connection with the HSM: cutting the byte stream, and MessagePack of the messages in it.

A frame is a big-endian u32 length and that many bytes: a two-element MessagePack array `[correlation id,
message]`. Everything here takes hostile bytes and raises nothing but `FormatError`.

Two kinds of damage are told apart. When the framing itself is broken (`frame.…`), nothing behind it can be
trusted and the connection must go. When the frame is whole but its message is not one of ours (`message.…`), the
call is refused and the connection may live.

Source: the docstring of `keyturn.hsm.protocol`.
"""

from __future__ import annotations

import struct
from typing import Annotated, Final, Generic, TypeVar

import msgspec

from keyturn.errors import FormatError
from keyturn.hsm.protocol import MAX_FRAME

MAX_ANSWER_FRAME: Final = 64 << 20
"""Largest answer a client takes, in bytes: the labels of half a million keys. Calls keep to `MAX_FRAME`."""

CorrelationId = Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
MessageT = TypeVar("MessageT")

_HEADER: Final = struct.Struct(">I")
_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")


class FrameReader:
    """Cuts a stream of bytes into frames, whatever pieces it arrives in.

    Args:
        limit: Largest frame in bytes, its header not counted.
    """

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next piece of the stream.

        Args:
            data: Bytes as they came.

        Returns:
            The bodies of all frames that are now complete, in order.

        Raises:
            FormatError: `frame.too-large` as soon as a header announces more than the limit; the reader is
                useless afterwards.
        """
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        start = 0
        while len(buffer) - start >= _HEADER.size:
            (size,) = _HEADER.unpack_from(buffer, start)
            if size > self._limit:
                raise FormatError(
                    f"a frame of {size} bytes is announced; at most {self._limit} are taken", refusal="frame.too-large"
                )
            end = start + _HEADER.size + size
            if len(buffer) < end:
                break
            frames.append(bytes(buffer[start + _HEADER.size : end]))
            start = end
        if start:
            del buffer[:start]
        return frames


def encode_frame(correlation: int, message: object) -> bytes:
    """Make a frame of a message.

    Args:
        correlation: Number that ties an answer to its call, 0 to 2**32 - 1.
        message: A struct of the protocol.

    Returns:
        Header and body.
    """
    body = _encoder.encode((correlation, message))
    return _HEADER.pack(len(body)) + body


def encode_message(message: object) -> bytes:
    """Encode one message in its canonical form: the bytes over which input digests are taken."""
    return _encoder.encode(message)


class UnknownMessageError(FormatError):
    """The frame is whole, its message is not one that may be sent here.

    Args:
        message: What was wrong.
        refusal: `message.malformed`.
    """

    correlation: int = 0


class FrameDecoder(Generic[MessageT]):
    """Decodes the bodies of frames into the messages of one protocol.

    Args:
        messages: Union of the struct types that may arrive.
    """

    def __init__(self, messages: object) -> None:
        # The tuple type is put together at run time, from the union that was handed in.
        self._strict = msgspec.msgpack.Decoder(tuple[CorrelationId, messages])  # type: ignore[valid-type]
        self._outer = msgspec.msgpack.Decoder(tuple[CorrelationId, msgspec.Raw])

    def decode(self, body: bytes) -> tuple[int, MessageT]:
        """Decode one frame.

        Args:
            body: Bytes of the frame, without its header.

        Returns:
            Correlation id and message.

        Raises:
            UnknownMessageError: `message.malformed`: the frame is whole, the message is not one of the protocol.
            FormatError: `frame.malformed`: not an array of an id and a message.
        """
        try:
            correlation, message = self._strict.decode(body)
        except msgspec.MsgspecError as error:
            problem: FormatError
            try:
                correlation = self._outer.decode(body)[0]
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                problem = FormatError(
                    "a frame is not the MessagePack array [correlation id, message]", refusal="frame.malformed"
                )
            else:
                problem = UnknownMessageError(
                    f"this is no message of the protocol: {error}", refusal="message.malformed"
                )
                problem.correlation = correlation
            raise problem from None
        except (UnicodeDecodeError, RecursionError):
            raise FormatError("a frame holds text or nesting that cannot be read", refusal="frame.malformed") from None
        return correlation, message
