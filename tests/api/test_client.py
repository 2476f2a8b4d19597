"""The Python client says what the server said, and nothing else can come out of it than our own errors."""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import httpx
import pytest

from keyturn.approver.first_trust import certificate_pem
from keyturn.client import RestClient
from keyturn.client.connection import MAX_ANSWER
from keyturn.client.reach import trusting_nobody
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn_testing.approval_tasks import PaperHsm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def client(handler: Callable[[httpx.Request], httpx.Response]) -> RestClient:
    return RestClient("http://127.0.0.1:8080/", transport=httpx.MockTransport(handler))


def answering(status: int = 200, **body: Any) -> RestClient:
    return client(lambda _: httpx.Response(status, json=body))


def test_what_is_sent_is_the_documented_body() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json={"signRequestId": "17"})

    with client(handler) as http:
        assert http.sign({"payload": "YQ==", "signKeyName": "k"}) == "17"
    (request,) = seen
    assert (request.method, request.url.path) == ("POST", "/v1/sign")
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.content) == {"signRequest": {"payload": "YQ==", "signKeyName": "k"}}


def test_a_label_is_one_part_of_the_path_whatever_it_holds() -> None:
    seen: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return httpx.Response(200, json={})

    with client(handler) as http:
        http.forget_offline_key("a b/../?x#y")
    assert seen == [b"/v1/offlineKey/a%20b%2F..%2F%3Fx%23y"]


def test_a_refusal_is_raised_with_the_servers_code_word_and_message() -> None:
    body = {"errorCode": 650, "reason": "res.error.key.not.existent", "message": "no key k", "refusal": "key.unknown"}
    with answering(404, **body) as http, pytest.raises(KeyturnError) as caught:
        http.key_attributes("k")
    assert caught.value.code is ErrorCode.KEY_NOT_EXISTENT
    assert (caught.value.message, caught.value.refusal) == ("no key k", "key.unknown")


def test_a_code_of_a_newer_server_is_kept_in_the_message() -> None:
    with answering(400, errorCode=999, reason="x", message="new") as http, pytest.raises(KeyturnError) as caught:
        http.list_keys()
    assert caught.value.code is ErrorCode.TECHNICAL
    assert caught.value.message == "new [server's code 999, HTTP 400]"


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"message":7}', b"\xff"])
def test_a_foreign_error_page_names_the_status(content: bytes) -> None:
    with client(lambda _: httpx.Response(502, content=content)) as http, pytest.raises(KeyturnError, match="502"):
        http.list_keys()


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"null", b"\xff", b'{"x":1}'])
def test_an_answer_that_is_not_this_api_is_our_own_error(content: bytes) -> None:
    with client(lambda _: httpx.Response(200, content=content)) as http:
        for call in (
            http.statistics,
            http.attestation_chain,
            lambda: http.sign({}),
            lambda: http.tasks({}),
            lambda: http.verify("k", "a", b"", b""),
            lambda: http.qr_codes("1"),
        ):
            with pytest.raises(KeyturnError, match="not what this API promises"):
                call()


def test_no_server_is_a_connectivity_error_with_its_address() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    with client(handler) as http, pytest.raises(KeyturnError, match=r"127\.0\.0\.1:8080: Connection refused") as caught:
        http.version_info()
    assert caught.value.code is ErrorCode.CONNECTIVITY


def test_an_endless_answer_is_given_up() -> None:
    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield bytes(1 << 20)

    with (
        client(lambda _: httpx.Response(200, stream=Endless())) as http,
        pytest.raises(KeyturnError, match=str(MAX_ANSWER)),
    ):
        http.version_info()


@pytest.mark.parametrize("answer", [{}, {"address": 7}, {"address": "?"}, {"signatureValid": "yes"}, {"random": "A"}])
def test_a_member_of_another_kind_is_our_own_error(answer: dict[str, Any]) -> None:
    with answering(address="YQ==", signatureValid=False, random="YWI=") as http:
        assert (http.key_address("k"), http.random(2)) == (b"a", b"ab")
        assert http.verify_hmac({"keyName": "k"}) is http.verify("k", "EDDSA", b"", b"") is False
    with answering(**answer) as http:
        for call in (
            lambda: http.key_address("k"),
            lambda: http.random(2),
            lambda: http.verify_hmac({"keyName": "k"}),
            lambda: http.verify("k", "EDDSA", b"", b""),
        ):
            with pytest.raises(KeyturnError) as caught:
                call()
            assert caught.value.code is ErrorCode.TECHNICAL


@pytest.mark.parametrize("status", [200, 400])
def test_an_answer_nested_without_end_is_no_answer_of_this_api(status: int) -> None:
    with (
        client(lambda _: httpx.Response(status, content=b"[" * 200_000)) as http,
        pytest.raises(KeyturnError) as caught,
    ):
        http.version_info()
    assert caught.value.code is ErrorCode.TECHNICAL


def test_one_image_or_a_list_of_images_are_both_images() -> None:
    with client(lambda _: httpx.Response(200, content=b"PNG", headers={"content-type": "image/png"})) as http:
        assert http.qr_codes("1") == [b"PNG"]
    encoded = base64.b64encode(b"PNG").decode()
    with answering(total=2, qrCodes=[encoded, encoded]) as http:
        assert http.qr_codes("1", extra=1, error_correction="H", max_version=5) == [b"PNG", b"PNG"]
    with answering(total=1, qrCodes=["?"]) as http, pytest.raises(KeyturnError):
        http.qr_codes("1")


def test_the_offline_input_goes_to_the_endpoint_it_is_made_for() -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        return httpx.Response(200, json={})

    with client(handler) as http:
        http.execute_offline_input({"signRequest": {}})
        http.execute_offline_input({"modifyRequest": {}})
        wrong_bodies: list[dict[str, Any]] = [{}, {"x": {}}, {"signRequest": {}, "modifyRequest": {}}]
        for wrong in wrong_bodies:
            with pytest.raises(FormatError, match="exactly one of"):
                http.execute_offline_input(wrong)
    assert seen == ["/v1/synchronousSign", "/v1/synchronousModify"]


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://127.0.0.1:99999999", "127.0.0.1:8080", "ftp://h", "http://", ""]
)
def test_an_unusable_address_is_named(url: str) -> None:
    with pytest.raises(FormatError, match="as a server's address"):
        RestClient(url)


def unreachable(url: str, **options: Any) -> str:
    """What is said when no answer comes from `url`."""
    with RestClient(url, **options) as http, pytest.raises(KeyturnError) as caught:
        http.list_keys()
    assert caught.value.code is ErrorCode.CONNECTIVITY
    assert caught.value.message.startswith(f"Cannot reach {url}: ")
    assert not re.search(r"Errno|_ssl|\[", caught.value.message)
    return caught.value.message


def test_why_a_server_cannot_be_reached_is_said_in_plain_words() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{bound.getsockname()[1]}"
        assert "nothing listens there. Is the address right" in unreachable(f"http://{closed}")


def test_the_systems_certificates_are_read_for_tls_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Mock(wraps=ssl.create_default_context)
    monkeypatch.setattr(ssl, "create_default_context", reading)
    RestClient("http://127.0.0.1").close()
    assert not reading.called
    RestClient("https://127.0.0.1").close()
    assert reading.called


def test_without_tls_no_server_with_tls_is_trusted() -> None:
    context = trusting_nobody()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.get_ca_certs() == []


def test_https_spoken_to_a_port_of_plain_http_names_the_cure() -> None:
    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            there = f"127.0.0.1:{server.server_address[1]}"
            said = unreachable(f"https://{there}")
            assert "speaks no TLS. Take http:// instead of https://." in said
            with RestClient(f"http://{there}") as http:
                assert http.list_keys() == []
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_hangs_up_may_expect_tls() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.recv(4096)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        said = unreachable(f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread.join()
    assert "It may expect https://." in said


def test_certificates_that_cannot_vouch_are_refused_by_their_file(tmp_path: Path) -> None:
    none = tmp_path / "ca.pem"
    with pytest.raises(FormatError, match="there is no such file") as caught:
        RestClient("https://127.0.0.1", ca_file=none)
    assert caught.value.refusal == "tls.ca-file"
    none.write_text("no certificate")
    with pytest.raises(FormatError, match="holds no PEM certificates") as caught:
        RestClient("https://127.0.0.1", ca_file=none)
    assert caught.value.refusal == "tls.ca-file"
    none.write_bytes(certificate_pem(PaperHsm().certificate))
    RestClient("https://127.0.0.1", ca_file=none).close()
