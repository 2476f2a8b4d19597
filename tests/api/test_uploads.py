"""Streams in and out, piece by piece: forms however they are cut, answers that cannot be completed, slow lines."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.api import connection, uploads
from keyturn.api.errors import HttpError
from keyturn.api.http import Stream
from keyturn.api.listening import bind
from keyturn.api.multipart import Form, Upload
from keyturn.api.schemas.service import SignedFileEncryptRequest
from keyturn.api.server import run
from keyturn.api.uploads import Arriving, send_stream
from keyturn.broker.serving import Serving
from keyturn.broker.serving_executors import AirGappedServing
from keyturn.errors import FormatError
from keyturn_testing.rest_app import application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FORM = Form("json", SignedFileEncryptRequest)
JSON = b'{"fileEncryptRequest": {"encryptKeyName": "k"}}'
BODY = (
    b'--b0\r\nContent-Disposition: form-data; name="json"\r\nContent-Type: application/json\r\n\r\n%b\r\n'
    b'--b0\r\ncontent-disposition: form-data; name="file"; filename="x/y.z"\r\n\r\n%b\r\n--b0--\r\n'
)


async def _cut(body: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    places = [0, *sorted({cut % (len(body) + 1) for cut in cuts}), len(body)]
    for start, end in pairwise(places):
        yield body[start:end]


async def read(body: bytes, cuts: list[int], most: int = 1 << 20) -> tuple[bytes, list[Any], str]:
    content, bodies, checked = bytearray(), [], []

    async def take_json(one: Any) -> None:
        bodies.append(one)

    async def take_file(piece: bytes) -> None:
        content.extend(piece)

    upload = Upload(_cut(body, cuts), b"b0", most, lambda raw, one: checked.append((raw, one)))
    name = await upload.read(FORM, take_json, take_file)
    assert checked == [(JSON, bodies[0])]
    return bytes(content), bodies, name


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 10_000), max_size=30))
async def test_a_form_says_the_same_however_it_is_cut(content: bytes, cuts: list[int]) -> None:
    if b"\r\n--b0" in content:
        return
    got, (body,), name = await read(BODY % (JSON, content), cuts)
    assert (got, body.file_encrypt_request.encrypt_key_name, name) == (content, "k", "y.z")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 10_000), max_size=5))
async def test_a_form_that_is_cut_off_is_none(end: int, cuts: list[int]) -> None:
    body = BODY % (JSON, b"content")
    short = body[: end % (len(body) - 4)]
    with pytest.raises(FormatError) as refused:
        await read(short, cuts)
    assert refused.value.refusal.startswith("upload.")


async def test_strangers_do_not_write_into_the_servers_log(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(FormatError) as refused:
        await read(b"--b0\r\nno header\r\n\r\n", [])
    assert refused.value.refusal == "upload.malformed"
    assert caplog.records == []


async def test_a_file_has_a_largest_size() -> None:
    body = BODY % (JSON, b"12345678")
    with pytest.raises(HttpError) as refused:
        await read(body, [], most=7)
    assert (refused.value.status, refused.value.refusal) == (413, "upload.too-large")
    assert (await read(body, [], most=8))[0] == b"12345678"


async def _broken() -> AsyncIterator[bytes]:
    yield b"first"
    raise FormatError("the disk has changed", refusal="file.damaged")


async def _whole() -> AsyncIterator[bytes]:
    yield b"first"
    yield b"second"


@pytest.mark.parametrize("broken", [True, False])
async def test_an_answer_that_cannot_be_completed_has_no_end(broken: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The server cuts the connection of an answer without an end, and its length was announced."""
    sent: list[dict[str, Any]] = []
    released: list[bool] = []

    async def send(message: Any) -> None:
        sent.append(message)

    pieces = _broken() if broken else _whole()
    await send_stream(Stream(11, pieces, "x/y", {}, lambda: released.append(True)), send, "POST '/v1/x'")
    assert released == [True]
    assert [message["body"] for message in sent] == ([b"first"] if broken else [b"first", b"second", b""])
    assert bool(sent[-1].get("more_body")) is broken
    assert ("was cut off" in caplog.text) is broken


async def test_a_refused_body_is_read_to_its_end_within_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_DRAINED", 10)

    def arriving(pieces: int) -> Arriving:
        left = [{"type": "http.request", "body": b"1234", "more_body": number > 0} for number in range(pieces)]

        async def receive() -> Any:
            return left.pop()

        return Arriving(receive)

    assert await arriving(2).drain()
    assert not await arriving(4).drain()


async def test_a_client_that_went_away_ends_it() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    with pytest.raises(ConnectionAbortedError):
        await Arriving(receive).drain()


FILE_HEAD = (
    b"POST /v1/fileEncrypt HTTP/1.1\r\nhost: localhost:%d\r\ncontent-type: %b\r\ncontent-length: 100000000\r\n\r\n"
    b'--b0\r\ncontent-disposition: form-data; name="file"\r\n\r\n'
)


@pytest.mark.parametrize("enough", [True, False])
async def test_a_file_may_take_long_as_long_as_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enough: bool
) -> None:
    """A minute for each 2 MiB, not one for all of a gigabyte; and none more for whoever dribbles."""
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(connection, "FILE_BYTES", 100)
    bound, stop, ready = bind("127.0.0.1", 0), asyncio.Event(), asyncio.Event()
    port: int = bound.getsockname()[1]
    broker = SimpleNamespace(serving=Serving(AirGappedServing(), tmp_path))
    server = asyncio.create_task(run(application(broker, tmp_path, port), bound, stop=stop, ready=ready.set))
    try:
        async with asyncio.timeout(10):
            await ready.wait()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(FILE_HEAD % (port, b"multipart/form-data; boundary=b0"))
            for _ in range(8):
                await asyncio.sleep(0.04)
                if reader.at_eof():
                    break
                writer.write(b"x" * (100 if enough else 1))
            assert reader.at_eof() is not enough
            # In any case nobody waits for ever.
            assert await reader.read() == b""
            writer.close()
    finally:
        stop.set()
        await server
