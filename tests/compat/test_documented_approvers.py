"""Programs of approvers: tasks level by level, approvals and rejections, as they send and read them."""

from __future__ import annotations

import datetime as dt
import json
import uuid

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from keyturn_testing.documented_bodies import (
    ADA,
    BEN,
    EVE,
    SIGNS,
    TIMESTAMP,
    asks,
    by_certificate,
    by_key,
    new_policy,
    read_status,
    refused,
    rule,
    ruled,
    spki_key,
    succeeds,
    tasks,
)
from keyturn_testing.officers import Officer
from keyturn_testing.plain_client import P256, PlainClient, b64, unb64
from keyturn_testing.rest_server import proof, signed_approval

LEVELS: dict[int, set[str]] = {
    1: {"detailLevel", "id", "approvalToBeSigned", "approverPublicKey"},
    2: {"metaData", "metaDataSignature", "payload", "payloadType"},
    3: {
        "requestBase64", "signedSignRequest", "signedModifyKeyRequest", "signedBlockKeyRequest",
        "signedUnblockKeyRequest", "signedDecryptRequest", "signedUnwrapKeyRequest", "signedCertificateRequestRequest",
        "signedSignCertificateRequest", "signedSelfSignCertificateRequestDto",
    },
    4: {"timestamp", "timestampSignature", "timestampSignatureAlgorithm", "timestampSignatureWithAlgorithm"},
    5: {"keyAttributes", "keyAttributesSignature"},
}  # fmt: skip
"""What each level adds."""


def test_an_approval_program_reads_tasks_level_by_level(api: PlainClient) -> None:
    """Each level has the members of the lower ones, too; all kinds of requests stand there, one not null."""
    ruled(api, "levels", rule(1, by_key(ADA), by_key(BEN), timeout=3600))
    request = asks(api, "levels")
    members: set[str] = set()
    (plain,) = (task,) = tasks(api, ADA, requestId=request, id=None, paging=None)
    assert plain["detailLevel"] == "level1"
    for level, added in LEVELS.items():
        members |= added
        (task,) = tasks(api, ADA, requestId=request, detailLevel=f"level{level}")
        shown = set(task) - ({"requestId"} if level >= 3 else set())
        assert shown == members, level
        assert task["detailLevel"] == f"level{level}"
    assert task["id"] == plain["id"] == str(uuid.UUID(task["id"]))
    assert task["approverPublicKey"] == b64(ADA.spki)
    assert (unb64(task["payload"]), task["payloadType"]) == (b"payment", "ISO_20022")
    assert (unb64(task["metaData"]), task["metaDataSignature"]) == (b'{"app":"example"}', None)
    kinds = {name: task[name] for name in LEVELS[3] - {"requestBase64"}}
    assert {name for name, value in kinds.items() if value is not None} == {"signedSignRequest"}
    assert json.loads(unb64(task["requestBase64"]))["signRequest"]["signKeyName"] == "levels"
    assert task["signedSignRequest"]["signRequest"]["keyPassword"] is None
    for name in ("timestamp", "timestampSignature", "timestampSignatureWithAlgorithm"):
        unb64(task[name])
    assert isinstance(task["timestampSignatureAlgorithm"], str)
    assert task["keyAttributes"].startswith('<?xml version="1.0" encoding="UTF-8"?>')
    unb64(task["keyAttributesSignature"])


def now(form: str) -> str:
    """This moment as some client writes it."""
    utc = dt.datetime.now(dt.UTC)
    east = utc.astimezone(dt.timezone(dt.timedelta(hours=2)))
    west = utc.astimezone(dt.timezone(-dt.timedelta(hours=3, minutes=30)))
    return {
        "+00:00": utc.isoformat(timespec="seconds"),
        "+02:00": east.isoformat(timespec="seconds"),
        "-03:30": west.isoformat(timespec="microseconds"),
        ".123Z": utc.strftime("%Y-%m-%dT%H:%M:%S") + f".{utc.microsecond // 1000:03d}Z",
        "Z": utc.strftime(TIMESTAMP),
        "nanoseconds": utc.strftime("%Y-%m-%dT%H:%M:%S.%f") + "789Z",
    }[form]


@pytest.mark.parametrize("form", ["+00:00", "+02:00", "-03:30", ".123Z", "Z", "nanoseconds"])
def test_moments_are_taken_as_they_were_signed(api: PlainClient, form: str) -> None:
    """The signature covers the text as it was sent; one without an offset is no timestamp."""
    officer = Officer(f"Clock {form}", "P-256")
    text = now(form)
    assert api.post("/v1/filteredAllApprovalTask", proof(officer, text)) == {"tasks": []}
    bare = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    wrong = refused(api, "POST", "/v1/filteredAllApprovalTask", 400, proof(officer, bare))
    assert wrong["errorCode"] == 600
    assert "is not a valid ISO-8601 timestamp" in wrong["message"]


def test_queries_that_prove_nothing(api: PlainClient) -> None:
    """Too old, signed by another key, and by nobody at all; then a good one."""
    old = proof(ADA, "2023-10-30T17:30:24+00:00")
    assert refused(api, "POST", "/v1/filteredAllApprovalTask", 400, old)["errorCode"] == 404
    foreign = {**proof(ADA), "approverPublicKey": b64(Officer("Mallory", "P-256").spki)}
    assert refused(api, "POST", "/v1/filteredAllApprovalTask", 400, foreign)["errorCode"] == 403
    nobody = {name: value for name, value in proof(ADA).items() if name != "approverPublicKey"}
    assert refused(api, "POST", "/v1/filteredAllApprovalTask", 400, nobody)["errorCode"] == 600
    assert isinstance(api.post("/v1/filteredAllApprovalTask", proof(ADA))["tasks"], list)


@pytest.mark.parametrize("kind", ["public_key", "certificate"])
def test_two_of_three_approve_with_keys_or_certificates(api: PlainClient, kind: str) -> None:
    """As the Python sample does: `EdDSA` as a digest, and the certificate where the policy lists it."""
    listed = by_key if kind == "public_key" else by_certificate
    label = f"two-of-three-{kind}"
    made = ruled(api, label, rule(2, *(listed(officer) for officer in (ADA, BEN, EVE))))
    request = asks(api, label)
    for officer in (EVE, BEN):
        assert read_status(api, request)["status"] == "PENDING"
        query = {**proof(officer, certificate=kind == "certificate"), "requestId": request}
        (task,) = api.post("/v1/filteredAllApprovalTask", query)["tasks"]
        approval = signed_approval(officer, task)
        if kind == "certificate":
            del approval["approverPublicKey"]
            approval["approverCertificate"] = b64(officer.certificate)
        assert approval["approvalDigestAlgorithm"] == ("EdDSA" if officer is EVE else "SHA-256")
        succeeds(api, "POST", "/v1/approval", approval)
        status = read_status(api, request)
        assert b64(officer.spki) in status["approvedBy"]
        assert b64(officer.spki) not in status["notYetApprovedBy"]
    status = read_status(api, request)
    assert status["status"] == "EXECUTED"
    spki_key(made["publicKey"]).verify(unb64(status["result"]), b"payment", ec.ECDSA(hashes.SHA256()))


def test_approvals_that_are_refused(api: PlainClient) -> None:
    """A task that is none, a signature over other bytes; then the right one."""
    ruled(api, "approvals", rule(1, by_key(ADA)))
    (task,) = tasks(api, ADA, requestId=asks(api, "approvals"))
    good = signed_approval(ADA, task)
    unknown = {**good, "id": str(uuid.uuid4())}
    assert refused(api, "POST", "/v1/approval", 404, unknown)["errorCode"] == 652
    # The signature covers the decoded bytes and not their base64 text.
    text = {**good, "signature": b64(ADA.sign(task["approvalToBeSigned"].encode()))}
    assert refused(api, "POST", "/v1/approval", 400, text)["errorCode"] == 403
    succeeds(api, "POST", "/v1/approval", good)


@pytest.mark.parametrize("verb", ["DELETE", "PATCH"])
def test_one_rejects_and_the_others_can_still_approve(api: PlainClient, verb: str) -> None:
    """REJECTED only when nothing can be reached any more."""
    label = f"rejected-{verb}"
    ruled(api, label, rule(1, by_key(ADA), by_key(BEN)))
    request = asks(api, label)
    (task,) = tasks(api, ADA, requestId=request)
    succeeds(api, verb, "/v1/task", {"id": task["id"], **proof(ADA)})
    assert tasks(api, ADA, requestId=request) == []
    status = read_status(api, request)
    assert (status["status"], status["rejectedBy"]) == ("PENDING", [b64(ADA.spki)])
    assert status["notYetApprovedBy"] == [b64(BEN.spki)]
    (task,) = tasks(api, BEN, requestId=request)
    succeeds(api, verb, "/v1/task", {"id": task["id"], **proof(BEN)})
    status = read_status(api, request)
    assert (status["status"], status["result"] or "") == ("REJECTED", "")
    assert set(status["rejectedBy"]) == {b64(ADA.spki), b64(BEN.spki)}


def test_a_deleted_key_takes_its_requests_along(api: PlainClient) -> None:
    """Open requests are cancelled, and their tasks vanish."""
    policy = new_policy(rule(1, by_key(ADA)))
    body = {
        "label": "deleted", "algorithm": "EC", "curveOid": P256, "attributes": {**SIGNS, "destroyable": True},
        "policy": policy,
    }  # fmt: skip
    api.post("/v1/key", body, 201)
    request = asks(api, "deleted")
    assert len(tasks(api, ADA, requestId=request)) == 1
    succeeds(api, "DELETE", "/v1/key/deleted")
    assert read_status(api, request)["status"] == "CANCELLED"
    assert tasks(api, ADA, requestId=request) == []


def test_requests_by_their_status(api: PlainClient) -> None:
    """`requests` of `id` and `status`, and no null where there are none."""
    ruled(api, "listed", rule(1, by_key(ADA)))
    request = asks(api, "listed")
    listed = api.post("/v1/filteredRequests", {"requestStatusList": ["PENDING", "APPROVED"]})["requests"]
    assert {"id": request, "status": "PENDING"} in listed
    assert {one["status"] for one in listed} <= {"PENDING", "APPROVED"}
    assert api.post("/v1/filteredRequests", {"requestStatusList": ["FAILED"]}) == {"requests": []}
