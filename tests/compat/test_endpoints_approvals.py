"""Endpoints of requests, tasks and approvals, called as documented clients call them, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn_testing.plain_client import b64, endpoint
from keyturn_testing.rest_server import proof, signed_approval
from keyturn_testing.ruled_keys import ADA, EMPTY, RULED, protected, task_of, tasks, unwrap_request

if TYPE_CHECKING:
    from keyturn_testing.plain_client import PlainClient


def waiting(api: PlainClient) -> str:
    """A request that waits for Ada."""
    key = api.key("EC", "sign", label="ruled", policy=RULED)
    inner = {"payload": b64(b"x"), "signKeyName": key, "signatureAlgorithm": "SHA256_WITH_ECDSA"}
    return str(api.post("/v1/sign", {"signRequest": inner}, 201)["signRequestId"])


@endpoint("POST /v1/approval")
@endpoint("POST /v1/filteredSignApprovalTask")
@endpoint("POST /v1/filteredAllApprovalTask")
def test_an_approver_approves(api: PlainClient) -> None:
    request = waiting(api)
    assert api.get(f"/v1/request/{request}")["status"] == "PENDING"
    paging = {"pageNumber": 0, "pageSize": 50, "sortOrder": "CREATION_DATE_DESC"}
    (task,) = [
        task
        for task in tasks(api, "All", detailLevel="level1", paging=paging, id=None)
        if task == task_of(api, request)
    ]
    api.post("/v1/approval", signed_approval(ADA, task))
    status = api.get(f"/v1/request/{request}")
    assert (status["status"], status["approvedBy"]) == ("EXECUTED", [b64(ADA.spki)])
    assert api.verifies("ruled", "SHA256_WITH_ECDSA", b"x", status["result"])


@pytest.mark.parametrize(
    "verb", [pytest.param(verb, marks=endpoint(f"{verb} /v1/task")) for verb in ("DELETE", "PATCH")]
)
def test_an_approver_rejects(api: PlainClient, verb: str) -> None:
    request = waiting(api)
    api.call(verb, "/v1/task", {"id": task_of(api, request)["id"], **proof(ADA)})
    status = api.get(f"/v1/request/{request}")
    assert (status["status"], status["rejectedBy"]) == ("REJECTED", [b64(ADA.spki)])


@pytest.mark.parametrize(
    ("kind", "path", "inner", "name"),
    [
        pytest.param(kind, *more, marks=endpoint(f"POST /v1/filtered{kind}ApprovalTask"), id=kind)
        for kind, *more in (
            ("Decrypt", "/v1/decrypt", "decryptRequest", "decryptKeyName"),
            ("UnwrapKey", "/v1/unwrap", "unwrapKeyRequest", "unwrapKeyName"),
            ("BlockKey", "/v1/block", "blockRequest", "blockKeyName"),
            ("ModifyKey", "/v1/modify", "modifyRequest", "modifyKeyName"),
        )
    ],
)
def test_tasks_by_kind(api: PlainClient, kind: str, path: str, inner: str, name: str) -> None:
    rule = RULED["ruleUse"]
    label = protected(api, ruleUse=rule, ruleBlock=rule, ruleUnblock=rule, ruleModify=rule)
    members = {
        "Decrypt": {"encryptedPayload": b64(bytes(256)), "cipherAlgorithm": "RSA_PADDING_OAEP"},
        "UnwrapKey": {**unwrap_request(api, label, b64(bytes(256))), "wrapMethod": "RSA_WRAP_OAEP"},
        "BlockKey": {},
        "ModifyKey": {"policy": EMPTY},
    }[kind]
    answer = api.post(path, {inner: {**members, name: label}}, 201)
    (request,) = answer.values()
    (task,) = tasks(api, kind, requestId=request)
    assert task["detailLevel"] == "level1"


@endpoint("POST /v1/filteredUnblockKeyApprovalTask")
def test_tasks_to_unblock(api: PlainClient) -> None:
    label = protected(api, ruleUnblock=RULED["ruleUse"])
    api.post("/v1/synchronousBlock", {"blockRequest": {"blockKeyName": label}})
    request = api.post("/v1/unblock", {"unblockRequest": {"unblockKeyName": label}}, 201)["unblockKeyRequestId"]
    assert len(tasks(api, "UnblockKey", requestId=request)) == 1


@endpoint("DELETE /v1/request/{id}")
@endpoint("POST /v1/filteredRequests")
@endpoint("GET /v1/filteredRequests")
def test_a_request_is_cancelled(api: PlainClient) -> None:
    request = waiting(api)
    pending = {"id": request, "status": "PENDING"}
    assert pending in api.post("/v1/filteredRequests", {"requestStatusList": ["PENDING"]})["requests"]
    assert pending in api.get("/v1/filteredRequests?requestStatusList=PENDING")["requests"]
    api.call("DELETE", f"/v1/request/{request}")
    assert api.get(f"/v1/request/{request}")["status"] == "CANCELLED"
