"""The HTTP layer by itself: what it refuses before any endpoint is asked, and what it shows when ours fails."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.api.app import MAX_BODY
from keyturn.broker.answers import Executed
from keyturn_testing.rest_app import in_process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    import httpx

    from keyturn.broker.calls import SignCall

SIGN = {"signRequest": {"payload": "YQ==", "signKeyName": "k", "signatureAlgorithm": "SHA256_WITH_RSA"}}
JSON = {"content-type": "application/json"}


class OneKey:
    """Stands for a broker where only the HTTP layer is looked at: it answers every signing with one byte."""

    async def sign_now(self, call: SignCall, approvals: Sequence[bytes], *, request_id: str = "") -> Executed[bytes]:
        if call.key_name == "broken":
            raise RuntimeError("secret detail 0xDEADBEEF")
        return Executed(b"\x01" * (1 + len(approvals)))

    async def info(self) -> dict[str, Any]:
        return {"profile": "local"}


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(OneKey(), tmp_path) as client:
        yield client


def body_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The error body, after checking that it is the documented one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body: dict[str, Any] = answer.json()
    assert isinstance(body["errorCode"], int)
    assert body["reason"].startswith("res.error.")
    assert body["message"]
    assert set(body) <= {"errorCode", "reason", "message", "refusal"}
    assert "Traceback" not in answer.text
    return body


async def test_a_good_call_is_answered(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/synchronousSign", json=SIGN)
    assert (answer.status_code, answer.json()) == (200, {"signature": "AQ=="})
    assert (await http.post("/v1//synchronousSign", json=SIGN)).status_code == 200


async def test_version_info_says_both_versions(http: httpx.AsyncClient) -> None:
    answer = (await http.get("/v1/versionInfo")).json()
    assert answer["Version"] == "2.2.0"
    assert answer["keyturn"]
    assert (await http.head("/v1/versionInfo")).status_code == 200


async def test_unknown_paths_and_methods_have_an_error_body(http: httpx.AsyncClient) -> None:
    assert body_of(await http.get("/v1/nothing"), 404)["refusal"] == "http.path"
    wrong = await http.put("/v1/synchronousSign", json=SIGN)
    assert body_of(wrong, 405)["refusal"] == "http.method"
    assert wrong.headers["allow"] == "POST"


@pytest.mark.rule("R30")
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
async def test_r30_a_body_that_is_not_called_json_is_refused(http: httpx.AsyncClient, content_type: str) -> None:
    content = json.dumps(SIGN)
    for right in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
        good = await http.post("/v1/synchronousSign", content=content, headers={"content-type": right})
        assert good.status_code == 200
    bad = await http.post("/v1/synchronousSign", content=content, headers={"content-type": content_type})
    assert body_of(bad, 415)["refusal"] == "http.content-type"


@pytest.mark.rule("R30")
async def test_r30_foreign_hosts_and_pages_are_refused_before_anything_is_done(http: httpx.AsyncClient) -> None:
    own = await http.post("/v1/synchronousSign", json=SIGN, headers={"origin": "http://127.0.0.1:8080"})
    assert own.status_code == 200
    foreign = await http.post("/v1/synchronousSign", json=SIGN, headers={"origin": "http://evil.example"})
    assert body_of(foreign, 403)["refusal"] == "http.origin"
    rebound = await http.post("/v1/synchronousSign", json=SIGN, headers={"host": "evil.example"})
    assert body_of(rebound, 403)["refusal"] == "http.host"
    own_host = ("host", "127.0.0.1:8080")
    assert (await http.get("/v1/versionInfo", headers=[own_host])).status_code == 200
    two = await http.get("/v1/versionInfo", headers=[("host", "evil.example"), own_host])
    assert body_of(two, 403)["refusal"] == "http.host"


async def test_an_announced_oversized_body_is_refused_unread(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/synchronousSign", content=b" " * (MAX_BODY + 1), headers=JSON)
    body = body_of(answer, 413)
    assert "64 KiB" in body["message"]
    assert answer.headers["connection"] == "close"


async def test_an_oversized_body_is_cut_off_while_it_arrives(http: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 64 * MAX_BODY:
            sent += 65_536
            yield b" " * 65_536

    answer = await http.post("/v1/synchronousSign", content=endless(), headers=JSON)
    body_of(answer, 413)
    assert sent <= MAX_BODY + 2 * 65_536


async def test_a_body_just_below_the_cap_is_read_to_its_end(http: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        content = json.dumps(SIGN).encode()
        yield content
        for _ in range(31):
            yield b" " * ((MAX_BODY - len(content)) // 31)

    assert (await http.post("/v1/synchronousSign", content=pieces(), headers=JSON)).status_code == 200


async def test_a_fault_of_ours_shows_a_reference_and_nothing_else(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    broken = {"signRequest": SIGN["signRequest"] | {"signKeyName": "broken"}}
    with caplog.at_level(logging.ERROR, logger="keyturn.api"):
        body = body_of(await http.post("/v1/synchronousSign", json=broken), 500)
    assert (body["errorCode"], body["reason"]) == (1, "res.error.technical")
    assert "DEADBEEF" not in body["message"]
    reference = body["message"].split()[-1].rstrip(".")
    assert reference in caplog.text
    assert "DEADBEEF" in caplog.text


async def test_answers_are_neither_stored_nor_guessed_at(http: httpx.AsyncClient) -> None:
    headers = (await http.get("/v1/versionInfo")).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


# --- the page that shows the API ---------------------------------------------------------------------------


async def test_the_page_is_shipped_and_may_reach_no_foreign_host(http: httpx.AsyncClient) -> None:
    for path in ("/", "/swagger-ui", "/swagger-ui/", "/swagger-ui.html"):
        answer = await http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (302, "/swagger-ui/index.html")
    page = await http.get("/swagger-ui/index.html")
    assert page.status_code == 200
    assert "http" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "*" not in policy
    for name in ("start.js", "page.css", "swagger-ui.css", "swagger-ui-bundle.js"):
        assert name in page.text or name == "start.js"
        assert (await http.get(f"/swagger-ui/{name}")).status_code == 200
    config = await http.get("/v3/api-docs/swagger-config")
    assert config.json() == {"url": "/v3/api-docs"}
    assert (await http.get("/v3/api-docs")).json()["openapi"] == "3.1.0"


@pytest.mark.parametrize("name", ["NOTICE", "../__init__.py", "..%2f__init__.py", "nothing.js", "%00"])
async def test_no_other_file_is_served(http: httpx.AsyncClient, name: str) -> None:
    assert (await http.get("/swagger-ui/start.js")).status_code == 200
    assert (await http.get(f"/swagger-ui/{name}")).status_code == 404


async def test_the_page_can_be_switched_off(tmp_path: Path) -> None:
    async with in_process(OneKey(), tmp_path, swagger_ui=False) as http:
        body_of(await http.get("/swagger-ui"), 404)
        body_of(await http.get("/swagger-ui/index.html"), 404)
        assert (await http.get("/v3/api-docs")).status_code == 200
