"""No call that can be made of docs/openapi.json is answered with a 5xx, an undocumented status or another schema.

A short run of what `make fuzz` does for long (tests/fuzz/conversations.py); the same calls each time.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from schemathesis.core.failures import FailureGroup

from keyturn_testing.conversation import OPERATIONS, converse, make_keys
from keyturn_testing.plain_client import PlainClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn_testing.conversation import Way
    from keyturn_testing.rest_server import ServeProcess


@pytest.fixture(scope="module")
def api(vault: ServeProcess) -> Iterator[PlainClient]:
    """A client of a real server."""
    with PlainClient(vault.url) as client:
        yield client


@pytest.mark.parametrize("label", OPERATIONS)
def test_calls_of_an_operation(api: PlainClient, label: str) -> None:
    converse(api, label, "lively", examples=4, start=1)


@pytest.mark.parametrize("label", [label for label, operation in OPERATIONS.items() if operation.body])
def test_calls_that_the_document_forbids(api: PlainClient, label: str) -> None:
    converse(api, label, "forbidden", examples=2, start=1)


@pytest.mark.parametrize(
    ("label", "way", "status", "answer", "found"),
    [
        ("GET /v1/versionInfo", "lively", 418, b"{}", "Undocumented status code"),
        ("GET /v1/versionInfo", "lively", 500, b'{"message": "x"}', "Server error"),
        ("POST /v1/key/deleteKey", "forbidden", 200, b"{}", "Schema-violating request accepted"),
        ("POST /v1/key/deleteKey", "forbidden", 400, b'{"detail": "no"}', "Response violates schema"),
    ],
)
def test_a_wrong_answer_is_found(
    api: PlainClient, label: str, way: Way, status: int, answer: bytes, found: str
) -> None:
    """From a server that gives it; ours gives none."""

    class Wrong(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815 - The library's name.

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Known(PlainClient):
        def get(self, path: str) -> object:
            return make_keys(api) if path == "/v1/key" else super().get(path)

    with ThreadingHTTPServer(("127.0.0.1", 0), Wrong) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with (
                Known(f"http://127.0.0.1:{server.server_address[1]}") as other,
                pytest.raises(FailureGroup, match=found),
            ):
                converse(other, label, way, examples=1, start=1)
        finally:
            server.shutdown()
            thread.join()
    converse(api, label, way, examples=1, start=1)
