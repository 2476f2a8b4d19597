"""The client proves who it is, repeats only what is safe, and is the same to be awaited."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from keyturn.api.endpoints import ROUTES
from keyturn.client import AsyncRestClient, RestClient
from keyturn.client import connection as sync_connection
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn_testing.rest_server import b64, create_ec_key

if TYPE_CHECKING:
    from keyturn_testing.rest_server import ServeProcess

SCRIPT = Path(__file__).parents[2] / "scripts" / "async_client.py"
URL = "http://127.0.0.1:8080"
WRONG_KEY = {"errorCode": 631, "reason": "res.error.invalid.api.key", "message": "no such key"}


def public(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


def test_the_asynchronous_client_is_made_of_the_synchronous_one() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}run `make client`"


def test_both_have_the_same_methods_with_the_same_parameters() -> None:
    assert public(RestClient) == public(AsyncRestClient)
    for name in public(RestClient):
        one, other = getattr(RestClient, name), getattr(AsyncRestClient, name)
        assert inspect.signature(one) == inspect.signature(other)
        assert inspect.iscoroutinefunction(other) == (name != "proof")


def without_names(path: str) -> str:
    return re.sub(r"\{\w+\*?\}", "{}", path)


OTHER_FORMS = {
    "DELETE /v1/key/{}": "POST /v1/key/deleteKey",
    "PATCH /v1/task": "DELETE /v1/task",
    "GET /v1/filteredRequests": "POST /v1/filteredRequests",
    "GET /v1/hsm/log/{}": "GET /v1/hsm/log",
    "POST /v1/certificate/synchronous/request/download": "POST /v1/certificate/synchronous/request",
    # `execute_offline_input` sends there what an air-gapped broker made.
    "POST /v1/certificate/synchronous/toBeSigned": "POST /v1/synchronousSign",
    "POST /v1/approverManagement/onboarding/status": "GET /v1/approverManagement/onboarding/status",
    **{
        f"PUT /v1/approverManagement/{path}": f"POST /v1/approverManagement/{path}"
        for path in (
            *("create", "renewOneTimeCode", "changeBackupPassword"),
            *("restoreFromBackup", "restoreFromBackup/forgotPassword"),
        )
    },
}
"""Endpoints that do the same as another one."""


def test_every_endpoint_has_a_method() -> None:
    """As the methods say; an endpoint under a second verb or name, and a deprecated form, need no second one."""
    said = " ".join(inspect.getdoc(getattr(RestClient, name)) or "" for name in public(RestClient))
    named = {without_names(found) for found in re.findall(r"`([A-Z]+ /[^`]+)`", said)}
    assert named >= set(OTHER_FORMS.values())
    named |= set(OTHER_FORMS)
    shown = [route for route in ROUTES if not route.hidden]
    covered = {
        route.handler
        for route in shown
        if without_names(f"{route.method} {route.path}") in named or "ApprovalTask" in route.path
    }
    missing = [
        f"{route.method} {route.path}" for route in shown if route.handler not in covered and not route.deprecated
    ]
    assert missing == []


async def test_it_works_with_a_real_server(vault: ServeProcess) -> None:
    with vault.client() as rest:
        create_ec_key(rest, "async", None)
    inner = {"payload": b64(b"x"), "signKeyName": "async", "signatureAlgorithm": "SHA256_WITH_ECDSA"}
    async with AsyncRestClient(vault.url) as client:
        assert "async" in await client.list_keys()
        request = await client.request(await client.sign(inner))
        assert request["status"] == "EXECUTED"
        with pytest.raises(KeyturnError) as caught:
            await client.key_attributes("nobody")
    assert caught.value.code is ErrorCode.KEY_NOT_EXISTENT


class Door:
    """A server that knows one API key, and notes what it gets.

    Args:
        key: The key.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.heard: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.heard.append(request.headers.get("x-api-key"))
        if self.heard[-1] != self.key:
            return httpx.Response(401, json=WRONG_KEY)
        return httpx.Response(200, json={"signature": "AA=="})


def test_the_next_api_key_is_taken_when_one_is_not_known_and_kept() -> None:
    door = Door("new")
    with RestClient(URL, api_keys=["old", "new"], transport=httpx.MockTransport(door)) as client:
        assert client.synchronous_sign({}) == "AA=="
        assert client.synchronous_sign({}) == "AA=="
    assert door.heard == ["old", "new", "new"]


@pytest.mark.parametrize(("keys", "tried"), [(("old", "new"), 2), (("old",), 1)])
def test_a_file_is_sent_again_from_its_start_with_the_next_api_key(keys: tuple[str, ...], tried: int) -> None:
    bodies: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(request.read())
        assert request.extensions["timeout"]["read"] >= 600, "the server works on a file before it answers"
        known = request.headers["x-api-key"] == "new"
        return httpx.Response(200, content=b"sealed") if known else httpx.Response(401, json=WRONG_KEY)

    target = io.BytesIO()
    client = RestClient(URL, api_keys=keys, transport=httpx.MockTransport(handler))
    with client as rest, contextlib.nullcontext() if tried == 2 else pytest.raises(KeyturnError):
        rest.encrypt_file("k", io.BytesIO(b"the content"), target)
    assert len(bodies) == tried
    assert all(b"the content" in body for body in bodies)
    assert target.getvalue() == (b"sealed" if tried == 2 else b"")


def test_when_no_key_is_known_each_was_tried_once() -> None:
    door = Door("other")
    with (
        RestClient(URL, api_keys=["one", "two"], transport=httpx.MockTransport(door)) as client,
        pytest.raises(KeyturnError) as caught,
    ):
        client.synchronous_sign({})
    assert caught.value.code is ErrorCode.INVALID_API_KEY
    assert door.heard == ["one", "two"]


async def test_the_asynchronous_client_changes_keys_too() -> None:
    door = Door("new")
    transport = httpx.MockTransport(door)
    async with AsyncRestClient(URL, api_keys=["old", "new"], transport=transport) as client:
        assert await client.synchronous_sign({}) == "AA=="
    assert door.heard == ["old", "new"]


def test_another_401_is_an_error_at_once() -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["x-api-key"])
        return httpx.Response(401, json={**WRONG_KEY, "errorCode": 416})

    with (
        RestClient(URL, api_keys=["one", "two"], transport=httpx.MockTransport(handler)) as client,
        pytest.raises(KeyturnError),
    ):
        client.list_keys()
    assert seen == ["one"]


def test_a_bearer_token_is_sent() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer abc"
        return httpx.Response(200, json=[])

    with RestClient(URL, token="abc", transport=httpx.MockTransport(handler)) as client:
        assert client.list_keys() == []


class Breaking:
    """A line that breaks twice before it holds."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        if self.calls <= 2:
            raise httpx.ReadError("broken", request=request)
        return httpx.Response(200, json={"signatureValid": True, "signature": "AA=="})


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyturn.client.connection.RETRY_AFTER", 0.0)
    monkeypatch.setattr("keyturn.client.asynchronous.connection.RETRY_AFTER", 0.0)


def test_what_only_reads_is_repeated_and_a_signature_never_is() -> None:
    line = Breaking()
    with RestClient(URL, transport=httpx.MockTransport(line)) as client:
        assert client.verify("k", "EDDSA", b"", b"")
    assert line.calls == 1 + sync_connection.RETRIES
    calls: list[tuple[str, Any]] = [("synchronous_sign", {}), ("sign", {}), ("cancel_request", "1")]
    for name, argument in calls:
        line = Breaking()
        with (
            RestClient(URL, transport=httpx.MockTransport(line)) as client,
            pytest.raises(KeyturnError) as caught,
        ):
            getattr(client, name)(argument)
        assert (caught.value.code, line.calls) == (ErrorCode.CONNECTIVITY, 1)


async def test_the_asynchronous_client_repeats_the_same() -> None:
    line = Breaking()
    async with AsyncRestClient(URL, transport=httpx.MockTransport(line)) as client:
        assert await client.version_info() == {"signatureValid": True, "signature": "AA=="}
    assert line.calls == 3
    line = Breaking()
    async with AsyncRestClient(URL, transport=httpx.MockTransport(line)) as client:
        with pytest.raises(KeyturnError):
            await client.synchronous_sign({})
    assert line.calls == 1


def test_a_client_certificate_that_cannot_be_shown_is_refused_by_its_files(tmp_path: Path) -> None:
    there, missing = tmp_path / "cert.pem", tmp_path / "key.pem"
    there.write_text("no certificate")
    for files in ((missing, missing), (there, there)):
        with pytest.raises(FormatError) as caught:
            RestClient("https://127.0.0.1", client_certificate=files)
        assert caught.value.refusal == "tls.client-certificate"
        assert str(files[0]) in caught.value.message
