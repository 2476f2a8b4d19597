"""Which endpoint each method of the Python client calls, with which body, and what it takes out of the answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from keyturn.client import RestClient, ServerRefusedError
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable

INNER = {"keyName": "k", "requestId": "17"}


def ask(
    call: Callable[[RestClient], Any], answer: object, status: int = 200
) -> tuple[tuple[str, str, object | None], Any]:
    """Make a call against a server that answers `answer`; returns method, path, body, and what came out."""
    seen: list[tuple[str, str, object | None]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        seen.append((request.method, request.url.raw_path.decode(), body))
        return httpx.Response(status, json=answer)

    with RestClient("http://127.0.0.1:8080", transport=httpx.MockTransport(handler)) as rest:
        value = call(rest)
    (sent,) = seen
    return sent, value


@pytest.mark.parametrize(
    ("name", "path", "inner", "member"),
    [
        ("sign", "/v1/sign", "signRequest", "signRequestId"),
        ("decrypt", "/v1/decrypt", "decryptRequest", "decryptRequestId"),
        ("unwrap", "/v1/unwrap", "unwrapKeyRequest", "unwrapRequestId"),
        ("block", "/v1/block", "blockRequest", "blockKeyRequestId"),
        ("unblock", "/v1/unblock", "unblockRequest", "unblockKeyRequestId"),
        ("modify", "/v1/modify", "modifyRequest", "modifyKeyRequestId"),
        ("synchronous_sign", "/v1/synchronousSign", "signRequest", "signature"),
        ("synchronous_decrypt", "/v1/synchronousDecrypt", "decryptRequest", "payload"),
    ],
)
def test_a_call_that_gives_one_text(name: str, path: str, inner: str, member: str) -> None:
    sent, value = ask(lambda rest: getattr(rest, name)(INNER), {member: "text", "receipt": "AA=="}, 201)
    assert sent == ("POST", path, {inner: INNER})
    assert value == "text"
    with pytest.raises(KeyturnError, match="not what this API promises"):
        ask(lambda rest: getattr(rest, name)(INNER), {member: None})


@pytest.mark.parametrize(
    ("name", "path", "inner"),
    [
        ("synchronous_unwrap", "/v1/synchronousUnwrap", "unwrapKeyRequest"),
        ("synchronous_block", "/v1/synchronousBlock", "blockRequest"),
        ("synchronous_unblock", "/v1/synchronousUnblock", "unblockRequest"),
        ("synchronous_modify", "/v1/synchronousModify", "modifyRequest"),
        ("synchronous_timestamp", "/v1/synchronousTimestamp", "timestampRequest"),
    ],
)
def test_a_call_that_gives_an_object(name: str, path: str, inner: str) -> None:
    sent, value = ask(lambda rest: getattr(rest, name)(INNER), {"xml": "<x/>"})
    assert sent == ("POST", path, {inner: INNER})
    assert value == {"xml": "<x/>"}
    # The same body, brought by a courier, goes to the same place.
    sent, value = ask(lambda rest: rest.execute_offline_input({inner: INNER}), {"xml": "<x/>"})
    assert sent == ("POST", path, {inner: INNER})


@pytest.mark.parametrize("kind", ["All", "Sign", "Decrypt", "UnwrapKey", "BlockKey", "UnblockKey", "ModifyKey"])
def test_tasks_of_every_kind(kind: Any) -> None:
    sent, value = ask(lambda rest: rest.tasks({"timestamp": "t"}, kind), {"tasks": [{"id": "1"}]})
    assert sent == ("POST", f"/v1/filtered{kind}ApprovalTask", {"timestamp": "t"})
    assert value == [{"id": "1"}]


def test_an_approval_is_withdrawn_where_it_was_given() -> None:
    sent, _ = ask(lambda rest: rest.withdraw({"id": "1"}), {})
    assert sent == ("DELETE", "/v1/approval", {"id": "1"})


def test_requests_by_status() -> None:
    found = [{"id": "1", "status": "PENDING"}]
    sent, value = ask(lambda rest: rest.filtered_requests(["PENDING"]), {"requests": found})
    assert sent == ("POST", "/v1/filteredRequests", {"requestStatusList": ["PENDING"]})
    assert value == found
    with pytest.raises(KeyturnError, match="not what this API promises"):
        ask(lambda rest: rest.filtered_requests(), {"requests": ["1"]})


def test_the_directory_of_approvers() -> None:
    sent, _ = ask(lambda rest: rest.onboard_approver("Ada", b"\x30"), {}, 201)
    assert sent == ("POST", "/v1/approverDirectory", {"approverName": "Ada", "approverCertificate": "MA=="})
    sent, value = ask(lambda rest: rest.approvers(), {"approvers": [{"approverName": "Ada"}]})
    assert (sent, value) == (("GET", "/v1/approverDirectory", None), [{"approverName": "Ada"}])
    sent, _ = ask(lambda rest: rest.remove_approver("A/b"), {})
    assert sent == ("DELETE", "/v1/approverDirectory/A%2Fb", None)


@pytest.mark.rule("R24")
def test_r24_a_refusal_keeps_the_receipt_that_came_with_it() -> None:
    body = {
        "errorCode": 701, "reason": "res.error.in.hsm", "message": "no", "refusal": "approvals.missing",
        "receipt": "AA==", "receiptSignature": "AQ==",
    }  # fmt: skip
    with pytest.raises(ServerRefusedError) as caught:
        ask(lambda rest: rest.execute_offline_input({"signRequest": INNER}), body, 400)
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.IN_HSM, "approvals.missing")
    assert caught.value.body == body
