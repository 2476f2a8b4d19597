"""Bodies as known clients of the documented API send them, and answers as they read them."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyturn_testing.officers import Officer
from keyturn_testing.plain_client import P256, PlainClient, b64, unb64
from keyturn_testing.rest_server import proof

ADA, BEN, EVE = Officer("Ada", "P-256"), Officer("Ben", "RSA"), Officer("Eve", "ED")
UNRULED = {"ruleUse": None, "ruleBlock": None, "ruleUnblock": None, "ruleModify": None}
NEVER = {"tokens": None}
SIGNS = {"decrypt": False, "sign": True, "unwrap": False}
TIMESTAMP = "%Y-%m-%dT%H:%M:%SZ"
"""How the server writes moments."""


def by_key(officer: Officer) -> dict[str, Any]:
    """A policy's entry for an approver known by a key."""
    return {"type": "public_key", "name": officer.name, "value": b64(officer.spki)}


def by_certificate(officer: Officer) -> dict[str, Any]:
    """A policy's entry for an approver known by a certificate, with the null name of the Go client."""
    return {"type": "certificate", "name": None, "value": b64(officer.certificate)}


def rule(quorum: int, *approvals: dict[str, Any], timelock: int = 0, timeout: int = 0) -> dict[str, Any]:
    """A rule with one token with one group."""
    group = {"name": "group", "quorum": quorum, "approvals": list(approvals)}
    return {"tokens": [{"name": "main", "timelock": timelock, "timeout": timeout, "groups": [group]}]}


def new_policy(use: dict[str, Any] | None, **others: dict[str, Any] | None) -> dict[str, Any]:
    """The policy of a new key: five members, `keyStatus` among them."""
    return {**UNRULED, "ruleUse": use, "keyStatus": {"blocked": False}, **others}


def succeeds(api: PlainClient, method: str, path: str, body: object = None) -> Any:
    """A call that clients take for done: 200 or 201, and never 204; the JSON answer."""
    answer = api.http.request(method, path, json=body) if body is not None else api.http.request(method, path)
    assert answer.status_code in {200, 201}, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


def refused(api: PlainClient, method: str, path: str, status: int, body: object = None) -> Any:
    """A refusal, whose `errorCode` every client casts to a number and whose other members it reads as text."""
    answer = api.call(method, path, body, status)
    assert type(answer["errorCode"]) is int
    assert isinstance(answer["reason"], str)
    assert isinstance(answer["message"], str)
    return answer


STATUSES = {"PENDING", "APPROVED", "EXECUTED", "FAILED", "EXPIRED", "REJECTED", "CANCELLED"}


def read_status(api: PlainClient, request: str) -> Any:
    """The status of a request, as all clients read it: arrays that are never null, text or null elsewhere."""
    status = api.get(f"/v1/request/{request}")
    assert status["id"] == request == str(uuid.UUID(request))
    assert status["status"] in STATUSES
    for name in ("approvedBy", "notYetApprovedBy", "rejectedBy"):
        assert isinstance(status[name], list), name
    assert isinstance(status["result"], str | None)
    if status["executionTime"] is not None:
        dt.datetime.strptime(status["executionTime"], TIMESTAMP)  # noqa: DTZ007 - The Z is part of the format.
    return status


def spki_key(text: str) -> Any:
    """A public key of an answer."""
    return load_der_public_key(unb64(text))


def go_reads_attributes(answer: Any) -> Any:
    """What the Go client casts without looking; the `json` object."""
    shown = answer["json"]
    for name in ("xml", "xmlSignature", "attestationKeyName"):
        assert isinstance(answer[name], str), name
    for name in ("label", "algorithm", "algorithmOid"):
        assert isinstance(shown[name], str), name
    assert shown["id"] is None
    assert all(
        type(value) is bool or value is None for value in shown["attributes"].values() if not isinstance(value, list)
    )
    for name in ("createTime", "attestTime"):
        dt.datetime.strptime(shown[name], TIMESTAMP)  # noqa: DTZ007 - The Z is part of the format.
    return shown


def ruled(api: PlainClient, label: str, use: dict[str, Any]) -> Any:
    """A P-256 key; what is said of it."""
    body = {
        "label": label, "algorithm": "EC", "curveOid": P256, "attributes": {**SIGNS, "destroyable": True},
        "policy": new_policy(use, ruleBlock=use, ruleUnblock=use, ruleModify=use),
    }  # fmt: skip
    return api.post("/v1/key", body, 201)["json"]


def asks(api: PlainClient, label: str, payload: bytes = b"payment") -> str:
    """A request to sign with metadata; its id."""
    inner = {
        "payload": b64(payload), "payloadType": "ISO_20022", "signKeyName": label, "keyPassword": None,
        "metaData": b64(b'{"app":"example"}'), "metaDataSignature": None, "signatureAlgorithm": "SHA256_WITH_ECDSA",
        "signatureType": None,
    }  # fmt: skip
    return str(api.post("/v1/sign", {"signRequest": inner, "requestSignature": None}, 201)["signRequestId"])


def tasks(api: PlainClient, officer: Officer, **more: Any) -> list[dict[str, Any]]:
    """An officer's tasks to sign."""
    found: list[dict[str, Any]] = api.post("/v1/filteredSignApprovalTask", {**proof(officer), **more})["tasks"]
    return found
