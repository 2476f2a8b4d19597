"""Connections that mean harm: what reaches the server before there is a request, and bodies made to be slow to read."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.api import connection
from keyturn.api.codec import read_json
from keyturn.api.connection import MAX_HEAD
from keyturn.api.listening import bind
from keyturn.api.server import run
from keyturn.errors import FormatError
from keyturn_testing.rest_app import application

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn_testing.rest_server import ServeProcess

HONEST = b"GET /v1/versionInfo HTTP/1.1\r\n%b\r\n"
POST = b"POST /v1/key/attributes HTTP/1.1\r\ncontent-type: application/json\r\n"


@pytest.fixture
def line(vault: ServeProcess) -> Iterator[socket.socket]:
    """A bare connection to the shared server."""
    with socket.create_connection(_address(vault), timeout=10) as opened:
        yield opened


def _address(vault: ServeProcess) -> tuple[str, int]:
    host, _, port = vault.url.removeprefix("http://").partition(":")
    return host, int(port)


def _host(vault: ServeProcess) -> bytes:
    return b"host: %b\r\n" % vault.url.removeprefix("http://").encode()


def answer_of(line: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of the next answer, after checking that it is JSON."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(line)
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head, head
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None
    while len(body) < int(length[1]):
        body += _more(line)
    return int(head.split()[1]), json.loads(body)


def _more(line: socket.socket) -> bytes:
    piece = line.recv(65_536)
    assert piece, "the server closed without an answer"
    return piece


def closed(line: socket.socket) -> bool:
    """Whether the server has ended the connection."""
    try:
        return line.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_content_length_of_thousands_of_digits_is_no_fault_of_the_server(
    vault: ServeProcess, line: socket.socket
) -> None:
    body = b'{"label":"nobody"}'
    for zeros, number, status in (
        (b"", b"%d" % len(body), 404),
        (b"0" * 5000, b"%d" % len(body), 404),
        (b"", b"9" * 16, 413),
    ):
        line.sendall(POST + _host(vault) + b"content-length: " + zeros + number + b"\r\n\r\n" + body)
        assert answer_of(line)[0] == status


@pytest.mark.rule("R10")
def test_r10_a_name_repeated_at_the_end_of_a_huge_object_is_found_without_delay() -> None:
    names = [f'"k{number}":1' for number in range(60_000)]
    read_json(f"{{{','.join(names)}}}".encode())
    started = time.monotonic()
    with pytest.raises(FormatError, match="'k59999' stands more than once"):
        read_json(f"{{{','.join([*names, names[-1]])}}}".encode())
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("form", ["header", "headers", "path"])
def test_an_endless_head_is_cut_off(vault: ServeProcess, line: socket.socket, form: str) -> None:
    filler = b"a" * 1024
    acceptable = {
        "header": b"GET /v1/versionInfo HTTP/1.1\r\n%bx: %b\r\n\r\n" % (_host(vault), b"a" * (MAX_HEAD // 2)),
        "headers": b"GET /v1/versionInfo HTTP/1.1\r\n%b%b\r\n" % (_host(vault), b"x: 1\r\n" * (MAX_HEAD // 32)),
        "path": b"GET %bv1/versionInfo HTTP/1.1\r\n%b\r\n" % (b"/" * (MAX_HEAD // 2), _host(vault)),
    }[form]
    line.sendall(acceptable)
    assert answer_of(line)[0] == 200

    start, piece = {
        "header": (b"GET /v1/versionInfo HTTP/1.1\r\n%bx: " % _host(vault), filler),
        "headers": (b"GET /v1/versionInfo HTTP/1.1\r\n%b" % _host(vault), b"x: %b\r\n" % filler),
        "path": (b"GET /", filler),
    }[form]
    line.sendall(start)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        line.sendall(piece * 65_536)


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_offer_of_http_2_is_passed_over_and_the_body_is_read(
    vault: ServeProcess, line: socket.socket, framing: str
) -> None:
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
    body = b'{"label":"nobody"}'
    framed = {
        "length": b"content-length: %d\r\n\r\n%b" % (len(body), body),
        "chunks": b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
    }[framing]
    whole = POST + _host(vault) + offer + framed
    for pieces in ([whole], [whole[:-5], whole[-5:]], [whole[: -len(framed)], framed], [POST + _host(vault) + framed]):
        for piece in pieces:
            line.sendall(piece)
            time.sleep(0.02)
        status, answer = answer_of(line)
        assert (status, answer["errorCode"]) == (404, 650), answer
    line.sendall((HONEST % (_host(vault) + offer)) * 3)
    received = b""
    while received.count(b"HTTP/1.1 200 ") < 3 or not received.endswith(b"}"):
        received += _more(line)


def test_a_head_that_is_too_large_is_told_so(vault: ServeProcess, line: socket.socket) -> None:
    line.sendall(b"GET /v1/versionInfo HTTP/1.1\r\n%bx: %b" % (_host(vault), b"a" * (MAX_HEAD + 1)))
    status, body = answer_of(line)
    assert (status, body["errorCode"], body["refusal"]) == (431, 600, "http.head-too-large")
    assert closed(line)


@pytest.mark.parametrize(
    "head",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /v1/\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"POST /v1/sign HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/sign HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_with_the_documented_body(
    vault: ServeProcess, line: socket.socket, head: bytes
) -> None:
    line.sendall(HONEST % _host(vault))
    assert answer_of(line)[0] == 200
    line.sendall(head)
    status, body = answer_of(line)
    assert (status, body["errorCode"], body["refusal"]) == (400, 600, "http.malformed")
    assert closed(line)


@pytest.mark.parametrize("part", [b"", b"GET /v1/swagger", POST + b"host: localhost\r\ncontent-length: 9\r\n\r\n{"])
async def test_a_request_that_dribbles_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: bytes) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.1)
    bound, stop, ready = bind("127.0.0.1", 0), asyncio.Event(), asyncio.Event()
    port: int = bound.getsockname()[1]
    server = asyncio.create_task(run(application(None, tmp_path, port), bound, stop=stop, ready=ready.set))
    try:
        async with asyncio.timeout(10):
            await ready.wait()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            honest = b"GET /v3/api-docs/swagger-config HTTP/1.1\r\nhost: localhost:%d\r\n\r\n" % port
            if part:
                writer.write(honest)
                assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
                # An idle connection between requests is nobody's fault and stays.
                await asyncio.sleep(0.2)
                writer.write(honest + part.replace(b"localhost", b"localhost:%d" % port))
                assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
            assert await reader.read() == b""
            writer.close()
    finally:
        stop.set()
        await server


def test_a_head_waits_only_for_a_body_that_follows(vault: ServeProcess, line: socket.socket) -> None:
    """Head and body leave in one write; neither an answer without a body nor `100 Continue` is kept back for one."""
    line.sendall(b"HEAD /v1/versionInfo HTTP/1.1\r\n%b\r\n" % _host(vault))
    received = _more(line)
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(b"\r\n\r\n")
    line.sendall(POST + b"%bexpect: 100-continue\r\ncontent-length: 2\r\n\r\n" % _host(vault))
    assert _more(line) == b"HTTP/1.1 100 Continue\r\n\r\n"
    line.sendall(b"{}")
    assert answer_of(line)[0] == 400
    line.sendall(HONEST % _host(vault))
    head, _, body = _more(line).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body)
