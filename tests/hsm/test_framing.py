"""Frames: whatever the pieces, the same messages; whatever the bytes, nothing but a FormatError."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import FormatError
from keyturn.hsm.framing import FrameDecoder, FrameReader, UnknownMessageError, encode_frame
from keyturn.hsm.protocol import MAX_FRAME, Call, GetInfo, Lookup, Sign

CALLS: list[object] = [GetInfo(), Lookup("invoice"), Sign(b"i" * 16, "invoice", b"x" * 3000, "EDDSA", "", [b"a", b"b"])]


@given(st.lists(st.integers(1, 2000), max_size=40))
def test_calls_survive_any_cutting_of_the_stream(cuts: list[int]) -> None:
    stream = b"".join(encode_frame(number, call) for number, call in enumerate(CALLS))
    reader = FrameReader()
    decoder: FrameDecoder[object] = FrameDecoder(Call)
    frames: list[bytes] = []
    for size in [*cuts, len(stream)]:
        frames += reader.feed(stream[:size])
        stream = stream[size:]
    assert [decoder.decode(frame) for frame in frames] == list(enumerate(CALLS))
    assert (
        len(reader.feed(encode_frame(len(CALLS), CALLS[0]))) == 1
    )  # Nothing was held back that would stand before it.


def test_a_frame_of_the_limit_is_taken_and_one_byte_more_is_refused_at_its_header() -> None:
    body = b"x" * MAX_FRAME
    assert FrameReader().feed(struct.pack(">I", MAX_FRAME) + body) == [body]
    with pytest.raises(FormatError) as caught:
        FrameReader().feed(struct.pack(">I", MAX_FRAME + 1))
    assert caught.value.refusal == "frame.too-large"


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"", "frame.malformed"),
        (b"\xc1", "frame.malformed"),
        (msgspec.msgpack.encode([1]), "frame.malformed"),
        (msgspec.msgpack.encode([-1, ["info"]]), "frame.malformed"),
        (msgspec.msgpack.encode([1 << 32, ["info"]]), "frame.malformed"),
        (msgspec.msgpack.encode([1, ["info"], 2]), "frame.malformed"),
        (msgspec.msgpack.encode([1, ["info"]]) + b"\x00", "frame.malformed"),
        (msgspec.msgpack.encode([1, ["unseal", b"passphrase"]]), "message.malformed"),
        (msgspec.msgpack.encode([1, ["info", "surplus"]]), "message.malformed"),
        (msgspec.msgpack.encode([1, ["lookup", 5]]), "message.malformed"),
        (msgspec.msgpack.encode([1, ["lookup"]]), "message.malformed"),
        (b"\x92\x01" + b"\x91" * 5000, "frame.malformed"),
    ],
)
def test_a_body_that_is_no_call_is_refused_by_name(body: bytes, refusal: str) -> None:
    decoder: FrameDecoder[object] = FrameDecoder(Call)
    with pytest.raises(FormatError) as caught:
        decoder.decode(body)
    assert caught.value.refusal == refusal
    assert decoder.decode(msgspec.msgpack.encode([1, ["info"]])) == (1, GetInfo())


def test_a_refused_message_keeps_its_correlation_id() -> None:
    decoder: FrameDecoder[object] = FrameDecoder(Call)
    with pytest.raises(UnknownMessageError) as caught:
        decoder.decode(msgspec.msgpack.encode([77, ["shutdown"]]))
    assert caught.value.correlation == 77


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_format_errors(data: bytes) -> None:
    decoder: FrameDecoder[object] = FrameDecoder(Call)
    try:
        for frame in FrameReader().feed(data):
            decoder.decode(frame)
        decoder.decode(data)
    except FormatError:
        pass
