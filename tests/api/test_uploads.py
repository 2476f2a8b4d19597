"""Streams in and out, piece by piece: forms however they are cut, answers that cannot be completed, slow lines."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.api import connection, uploads
from keyturn.api.app import Application
from keyturn.api.errors import HttpError
from keyturn.api.http import Services, Stream
from keyturn.api.listening import bind
from keyturn.api.multipart import Form, Upload
from keyturn.api.schemas.service import SignedFileEncryptRequest
from keyturn.api.server import run
from keyturn.api.uploads import Arriving, send_stream
from keyturn.broker import files
from keyturn.broker.files import SpoolRoom
from keyturn.broker.serving import Serving
from keyturn.broker.serving_executors import AirGappedServing
from keyturn.clock import SystemClock
from keyturn.crypto.encrypted_files import HEADER
from keyturn.errors import FormatError
from keyturn.transport.station import Station
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


async def read(
    body: bytes, cuts: list[int], most: int = 1 << 20, most_in_all: int = 1 << 20
) -> tuple[bytes, list[Any], str]:
    content, bodies, checked = bytearray(), [], []

    async def take_json(one: Any) -> None:
        bodies.append(one)

    async def take_file(piece: bytes) -> None:
        content.extend(piece)

    upload = Upload(_cut(body, cuts), b"b0", most, most_in_all, lambda raw, one: checked.append((raw, one)))
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


async def test_a_body_has_a_largest_size_too_whatever_stands_around_its_parts() -> None:
    """Without it a body whose form has long ended could go on for ever."""
    body = BODY % (JSON, b"12345678")
    assert (await read(body, [], most_in_all=len(body)))[0] == b"12345678"
    for padded in (body + b"\r\n", body + b"x" * 1000):
        with pytest.raises(HttpError) as refused:
            await read(padded, [len(body)], most_in_all=len(body))
        assert (refused.value.status, refused.value.refusal) == (413, "upload.request-too-large")


class _Sealer:
    """Stands for an HSM that seals a file's key, where only the way of the file is looked at."""

    async def make_file_key(self, label: str, file_key: bytes) -> bytes:
        return bytes(HEADER)


FILES: Any = {"file": b"12345678", "SignedFileEncryptRequestDto": (None, JSON, "application/json")}


async def _sent(tmp_path: Path, room: SpoolRoom, **limits: Any) -> httpx.Response:
    broker: Any = SimpleNamespace(serving=Serving(_Sealer(), room))  # type: ignore[arg-type]  # No more is asked of it.
    services = Services(broker=broker, station=Station(tmp_path, SystemClock()), **limits)
    transport = httpx.ASGITransport(Application(services, None))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        return await http.post("/v1/fileEncrypt", files=FILES)


async def test_the_limits_of_files_are_settings(tmp_path: Path) -> None:
    room = SpoolRoom(tmp_path, 1 << 20)
    whole = len(httpx.Request("POST", "http://x", files=FILES).read())
    assert (await _sent(tmp_path, room, max_file_size=8, max_request_size=whole)).status_code == 200
    for limits, word in (
        ({"max_file_size": 7, "max_request_size": whole}, "upload.too-large"),
        ({"max_file_size": 8, "max_request_size": whole - 1}, "upload.request-too-large"),
    ):
        answer = await _sent(tmp_path, room, **limits)
        assert (answer.status_code, answer.json()["refusal"]) == (413, word)


async def test_all_files_under_way_have_so_much_room_and_give_it_back(tmp_path: Path) -> None:
    room = SpoolRoom(tmp_path, 100)
    room.take(80)
    answer = await _sent(tmp_path, room)
    assert (answer.status_code, answer.json()["errorCode"], answer.json()["refusal"]) == (500, 703, "file.too-many")
    room.give_back(80)
    for _ in range(5):
        assert (await _sent(tmp_path, room)).status_code == 200
    room.take(100)


async def test_files_leave_room_on_the_disk_for_the_brokers_own_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = SpoolRoom(tmp_path, 1 << 20)
    monkeypatch.setattr(files, "KEPT_FREE", 1 << 60)
    answer = await _sent(tmp_path, room)
    assert (answer.status_code, answer.json()["errorCode"], answer.json()["refusal"]) == (500, 703, "file.no-room")
    monkeypatch.undo()
    assert (await _sent(tmp_path, room)).status_code == 200


async def test_room_is_given_back_when_an_upload_is_given_up_in_the_middle(tmp_path: Path) -> None:
    room = SpoolRoom(tmp_path, 3 << 20)
    for _ in range(3):
        worker = Serving(_Sealer(), room).seal_file()  # type: ignore[arg-type]  # As above.
        await worker.write(bytes(2 << 20))
        worker.close()
        with pytest.raises(ValueError, match="closed"):
            await worker.write(bytes(2 << 20))


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
    head = {"type": "http.response.start", "status": 200, "headers": []}
    await send_stream(Stream(11, pieces, "x/y", {}, lambda: released.append(True)), head, send, "POST '/v1/x'")
    assert released == [True]
    assert sent.pop(0) == head
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
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.4)
    monkeypatch.setattr(connection, "FILE_BYTES", 100)
    bound, stop, ready = bind("127.0.0.1", 0), asyncio.Event(), asyncio.Event()
    port: int = bound.getsockname()[1]
    broker = SimpleNamespace(serving=Serving(AirGappedServing(), SpoolRoom(tmp_path, 1 << 30)))
    server = asyncio.create_task(run(application(broker, tmp_path, port), bound, stop=stop, ready=ready.set))
    try:
        async with asyncio.timeout(10):
            await ready.wait()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(FILE_HEAD % (port, b"multipart/form-data; boundary=b0"))
            # Many pieces a period, so that a machine that stops for a moment is not taken for a client that does.
            for _ in range(24):
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
