"""The approver's client against a server that keeps what it is sent; openssl judges the signatures."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.approver.address_book import AddressBook
from keyturn.approver.client import ApproverClient, rejection_bytes
from keyturn.approver.keys import ApproverKey
from keyturn.clock import ManualClock
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.messages import decode_approval, encode_approval, looks_like_own_structure
from keyturn_testing.approval_tasks import TASK_ID, b64, honest_task, sign_token
from keyturn_testing.officers import Officer
from keyturn_testing.openssl import dgst_accepts, pkeyutl_accepts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAYLOAD = b"Pay 10 to Bob."
APPROVAL = encode_approval(sign_token(PAYLOAD))
KINDS = ("P-256", "P-384", "P-521", "secp256k1", "ED", "RSA", "DSA")


class Server:
    """A server with one task for everybody, that keeps what it is sent."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        self.queries: list[Mapping[str, Any]] = []
        self.sent: list[Mapping[str, Any]] = []
        self.withdrawn: list[Mapping[str, Any]] = []

    def tasks(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        self.queries.append(query)
        return [self.task]

    def approve(self, approval: Mapping[str, Any]) -> None:
        self.sent.append(approval)

    def withdraw(self, withdrawal: Mapping[str, Any]) -> None:
        self.withdrawn.append(withdrawal)

    def request(self, request_id: str) -> dict[str, Any]:
        return {"id": request_id}

    def filtered_requests(self, statuses: Sequence[str]) -> list[dict[str, Any]]:
        raise AssertionError(statuses)


def client_of(officer: Officer, server: Server, clock: ManualClock | None = None) -> ApproverClient:
    return ApproverClient(server, ApproverKey(officer.key), AddressBook.empty(), clock=clock or ManualClock())


def openssl_accepts(officer: Officer, signature: bytes, data: bytes, digest: str) -> bool:
    if officer.kind == "ED":
        return pkeyutl_accepts(officer.spki, signature, data, ["-rawin"])
    return dgst_accepts(officer.spki, signature, data, digest.replace("-", "").lower())


@pytest.mark.parametrize("kind", KINDS)
def test_an_approval_is_a_signature_over_exactly_the_bytes_that_were_shown(kind: str) -> None:
    officer = Officer("ada", kind)
    server = Server(honest_task(officer, sign_token(PAYLOAD)))
    client = client_of(officer, server)
    review = client.review(client.task(TASK_ID))
    sent = client.approve(review)

    assert sent.signed == review.approval == APPROVAL
    body = server.sent[0]
    assert body["id"] == TASK_ID
    assert base64.b64decode(body["approvalToBeSigned"]) == APPROVAL
    assert base64.b64decode(body["approverPublicKey"]) == officer.spki
    signature = base64.b64decode(body["signature"])
    assert openssl_accepts(officer, signature, APPROVAL, body["approvalDigestAlgorithm"])
    assert not openssl_accepts(officer, signature, APPROVAL[:-1] + b"\1", body["approvalDigestAlgorithm"])


@pytest.mark.rule("R26")
@pytest.mark.parametrize("kind", KINDS)
def test_r26_every_fetch_signs_a_new_timestamp_exactly_as_sent(kind: str) -> None:
    officer = Officer("ada", kind)
    server, clock = Server(honest_task(officer, sign_token(PAYLOAD))), ManualClock(1_700_000_000.25)
    client = client_of(officer, server, clock)
    client.tasks()
    client.tasks(request_id="r")
    clock.advance(-3600)
    client.task(TASK_ID)

    timestamps = [query["timestamp"] for query in server.queries]
    assert timestamps[0] == "2023-11-14T22:13:20.250000Z"
    assert timestamps == sorted(set(timestamps))
    for query in server.queries:
        signature = base64.b64decode(query["timestampSignature"])
        digest = query["timestampDigestAlgorithm"]
        assert openssl_accepts(officer, signature, query["timestamp"].encode(), digest)
        assert not openssl_accepts(officer, signature, query["timestamp"].replace("Z", "z").encode(), digest)
        assert query["detailLevel"] == "level5"
    assert [query.get("id") for query in server.queries] == [None, None, TASK_ID]
    assert [query.get("requestId") for query in server.queries] == [None, "r", None]


@pytest.mark.rule("R26")
def test_r26_a_rejection_is_signed_over_prefix_token_and_task_id_and_is_never_an_approval() -> None:
    officer = Officer("ada")
    server = Server(honest_task(officer, sign_token(PAYLOAD)))
    client = client_of(officer, server)
    client.reject(client.review(client.task(TASK_ID)))

    body = server.sent[0]
    signed = base64.b64decode(body["approvalToBeSigned"])
    assert signed == b"REJECTED:" + APPROVAL + TASK_ID.encode() == rejection_bytes(APPROVAL, TASK_ID)
    assert openssl_accepts(officer, base64.b64decode(body["signature"]), signed, body["approvalDigestAlgorithm"])
    with pytest.raises(FormatError):
        decode_approval(signed)
    assert looks_like_own_structure(signed) != "approval"
    assert decode_approval(APPROVAL).payload == PAYLOAD


def test_a_task_that_lies_can_be_rejected_but_not_approved() -> None:
    officer = Officer("ada")
    server = Server(honest_task(officer, sign_token(PAYLOAD)) | {"payload": b64(b"Pay 10000 to Eve.")})
    client = client_of(officer, server)
    task = client.task(TASK_ID)
    with pytest.raises(KeyturnError) as error:
        client.review(task)
    assert error.value.refusal == "review.payload"
    client.reject(task)
    assert base64.b64decode(server.sent[0]["approvalToBeSigned"]).startswith(b"REJECTED:")


@pytest.mark.rule("R11")
def test_r11_a_review_that_was_tampered_with_is_not_signed() -> None:
    officer = Officer("ada")
    server = Server(honest_task(officer, sign_token(PAYLOAD)))
    client = client_of(officer, server)
    review = client.review(client.task(TASK_ID))
    for approval in (b"2026-01-01T00:00:00Z", encode_approval(sign_token(b"Pay 10000 to Eve."))):
        with pytest.raises(KeyturnError) as error:
            client.approve(replace(review, approval=approval))
        assert error.value.refusal == "review.not-an-approval"
    assert server.sent == []
    client.approve(review)
    assert len(server.sent) == 1


def test_a_task_that_does_not_wait_for_this_officer_is_unknown() -> None:
    server = Server(honest_task(Officer("ada"), sign_token(PAYLOAD)))
    client = client_of(Officer("ada"), server)
    other = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(KeyturnError) as error:
        client.task(other)
    assert (error.value.code, error.value.refusal) == (ErrorCode.TASK_NOT_EXISTENT, "task.unknown")
    assert client.task(TASK_ID.upper()).id == TASK_ID
