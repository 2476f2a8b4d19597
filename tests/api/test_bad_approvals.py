"""Approvers, tasks, requests and the service's own endpoints: what is refused, beside what is done."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from api.conftest import error_of, sign_body
from keyturn_testing.rest_server import (
    b64,
    fetch,
    proof,
    signed_approval,
)

if TYPE_CHECKING:
    import httpx

    from keyturn.client import RestClient
    from keyturn_testing.officers import Officer

    Officers = tuple[Officer, Officer, Officer]


# --- approvers ------------------------------------------------------------------------------------------------


def test_who_asks_must_show_a_fresh_timestamp_signed_by_their_key(http: httpx.Client, officers: Officers) -> None:
    ada, ben, _ = officers
    path = "/v1/filteredAllApprovalTask"

    def send(body: dict[str, Any]) -> httpx.Response:
        return http.post(path, json=body)

    assert send(proof(ada)).status_code == 200
    assert send(proof(ada, certificate=True)).status_code == 200
    error_of(send(proof(ada, "2020-01-01T00:00:00Z")), 400, 404)
    error_of(send(proof(ada, "2099-01-01T00:00:00Z")), 400, 404)
    message = error_of(send(proof(ada, "yesterday")), 400, 600)["message"]
    assert "is not a valid ISO-8601 timestamp" in message
    error_of(send(proof(ada, "2024-13-45T99:00:00Z")), 400, 600)
    error_of(send(proof(ada) | {"timestampSignature": proof(ben)["timestampSignature"]}), 400, 403)
    error_of(send(proof(ada) | {"timestampSignature": b64(b"x")}), 400, 403)
    error_of(send(proof(ada) | {"approverPublicKey": None}), 400, 600)
    error_of(send(proof(ada) | {"approverPublicKey": "YQ=="}), 400)
    error_of(send(proof(ada) | {"approverCertificate": b64(ada.certificate)}), 400, 600)
    error_of(send(proof(ada) | {"timestampSigningCertificate": b64(ada.certificate)}), 400, 405)
    error_of(send(proof(ada) | {"timestampDigestAlgorithm": "SHA-1"}), 400, 600)
    error_of(send(proof(ada) | {"detailLevel": "level7"}), 400, 600)
    error_of(
        send(proof(ada) | {"paging": {"pageNumber": 0, "pageSize": 0, "sortOrder": "CREATION_DATE_ASC"}}), 400, 600
    )
    error_of(send(proof(ada) | {"paging": {"pageNumber": 0, "pageSize": 1, "sortOrder": "NEWEST"}}), 400, 600)


def test_a_key_in_pem_armour_is_the_same_key(http: httpx.Client, officers: Officers) -> None:
    ada = officers[0]
    armoured = f"-----BEGIN PUBLIC KEY-----\n{b64(ada.spki)}\n-----END PUBLIC KEY-----\n"
    assert (
        http.post("/v1/filteredAllApprovalTask", json=proof(ada) | {"approverPublicKey": armoured}).status_code == 200
    )
    broken = armoured.replace("PUBLIC", "PUBIC", 1)
    error_of(http.post("/v1/filteredAllApprovalTask", json=proof(ada) | {"approverPublicKey": broken}), 400, 600)


def attested_apart(task: dict[str, Any]) -> dict[str, Any]:
    """A task without what the HSM attests anew, with the second in which it did."""
    return {name: value for name, value in task.items() if not name.startswith("keyAttributes")}


def test_levels_paging_and_filters(rest: RestClient, protected: str, officers: Officers) -> None:
    ada = officers[0]
    first, second = (rest.sign(sign_body(protected)["signRequest"]) for _ in range(2))
    for level, grown in (
        (1, {"approvalToBeSigned"}),
        (2, {"payload"}),
        (3, {"requestBase64"}),
        (4, {"timestamp"}),
        (5, {"keyAttributes"}),
    ):
        (task,) = fetch(rest, ada, level=level, requestId=first)
        assert grown <= set(task)
        assert task["detailLevel"] == f"level{level}"
    (task,) = fetch(rest, ada, requestId=first)
    (again,) = fetch(rest, ada, level=6, id=task["id"])
    assert attested_apart(again) == attested_apart(task)
    page = {"pageNumber": 0, "pageSize": 1, "sortOrder": "CREATION_DATE_DESC"}
    (newest,) = fetch(rest, ada, paging=page)
    assert attested_apart(newest) == attested_apart(fetch(rest, ada, requestId=second)[0])
    assert fetch(rest, ada, kind="ModifyKey", requestId=first) == []
    assert len(fetch(rest, ada, kind="Sign", requestId=first)) == 1


def test_an_approval_must_be_for_this_task_by_this_person_over_these_bytes(
    http: httpx.Client, rest: RestClient, protected: str, officers: Officers
) -> None:
    ada, ben, _ = officers
    request = rest.sign(sign_body(protected)["signRequest"])
    other = rest.sign(sign_body(protected, payload=b64(b"other"))["signRequest"])
    (task,) = fetch(rest, ada, requestId=request)
    (foreign,) = fetch(rest, ada, requestId=other)
    good = signed_approval(ada, task)
    wrong = signed_approval(ada, foreign)
    for defect in (
        {"signature": wrong["signature"]},
        {"approvalToBeSigned": wrong["approvalToBeSigned"]},
        {"approvalToBeSigned": wrong["approvalToBeSigned"], "signature": wrong["signature"]},
        {"approvalDigestAlgorithm": "SHA-512"},
    ):
        error_of(http.post("/v1/approval", json=good | defect), 400, 403)
    error_of(http.post("/v1/approval", json=signed_approval(ben, task)), 403, 400)
    error_of(http.post("/v1/approval", json=good | {"approverPublicKey": None}), 400, 600)
    error_of(http.post("/v1/approval", json=good | {"approvalDigestAlgorithm": "SHA-1"}), 400, 600)
    answer = http.post("/v1/approval", json=good)
    assert (answer.status_code, answer.json()) == (200, {})
    error_of(http.post("/v1/approval", json=good), 404, 652)
    assert rest.request(request)["approvedBy"] == [b64(ada.spki)]


def test_rejecting_works_with_both_verbs_and_as_a_signed_statement(
    http: httpx.Client, rest: RestClient, protected: str, officers: Officers
) -> None:
    ada, ben, _ = officers
    for how in ("DELETE", "PATCH", "REJECTED:"):
        request = rest.sign(sign_body(protected)["signRequest"])
        for officer in (ada, ben):
            (task,) = fetch(rest, officer, requestId=request)
            if how == "REJECTED:":
                rest.approve(signed_approval(officer, task, prefix=b"REJECTED:"))
            else:
                assert http.request(how, "/v1/task", json={"id": task["id"]} | proof(officer)).status_code == 200
        state = rest.request(request)
        assert state["status"] == "REJECTED"
        assert sorted(state["rejectedBy"]) == sorted([b64(ada.spki), b64(ben.spki)])


# --- requests -------------------------------------------------------------------------------------------------


def test_a_request_is_shown_whole_and_can_be_cancelled(
    http: httpx.Client, rest: RestClient, protected: str, officers: Officers
) -> None:
    request = rest.sign(sign_body(protected)["signRequest"])
    state = http.get(f"/v1/request/{request}").json()
    assert state == {
        "id": request,
        "status": "PENDING",
        "executionTime": None,
        "approvedBy": [],
        "notYetApprovedBy": state["notYetApprovedBy"],
        "rejectedBy": [],
        "result": None,
    }
    assert sorted(state["notYetApprovedBy"]) == sorted(b64(officer.spki) for officer in officers)
    assert http.delete(f"/v1/request/{request}").status_code == 200
    assert rest.request(request)["status"] == "CANCELLED"
    assert fetch(rest, officers[0], requestId=request) == []


def test_an_ordinary_key_signs_at_once_also_as_a_request(rest: RestClient, plain: str) -> None:
    state = rest.request(rest.sign(sign_body(plain)["signRequest"]))
    assert state["status"] == "EXECUTED"
    assert state["executionTime"].endswith("Z")
    assert rest.verify(plain, "SHA256_WITH_ECDSA", b"pay", base64.b64decode(state["result"]))
    assert not rest.verify(plain, "SHA256_WITH_ECDSA", b"pax", base64.b64decode(state["result"]))


def test_a_local_request_has_nothing_to_carry(http: httpx.Client, rest: RestClient, protected: str) -> None:
    request = rest.sign(sign_body(protected)["signRequest"])
    body = error_of(http.get(f"/v1/request/qrCode/{request}"), 400, 611)
    assert body["refusal"] == "request.nothing-to-carry"


@pytest.mark.parametrize(
    "query", ["format=xml", "errorCorrection=Z", "maxVersion=0", "maxVersion=41", "maxVersion=x", "extra=-1",
              "extra=9999", "extra=1&extra=2", "colour=red", "format=%ff"]
)  # fmt: skip
def test_a_qr_code_is_asked_for_in_known_words(
    http: httpx.Client, rest: RestClient, protected: str, query: str
) -> None:
    request = rest.sign(sign_body(protected)["signRequest"])
    good = error_of(http.get(f"/v1/request/qrCode/{request}?format=ur&extra=2&maxVersion=20&errorCorrection=M"), 400)
    assert good["refusal"] == "request.nothing-to-carry"
    error_of(http.get(f"/v1/request/qrCode/{request}?{query}"), 400, 600)


@pytest.mark.parametrize("body", [{}, {"result": "YQ==", "refused": {}}, {"result": 7}, {"keyAttributes": []}])
def test_an_offline_result_is_exactly_one_thing(
    http: httpx.Client, rest: RestClient, protected: str, body: dict[str, Any]
) -> None:
    request = rest.sign(sign_body(protected)["signRequest"])
    error_of(http.put("/v1/resultFromOfflineHsm", json={"id": request} | body), 400, 600)


# --- service --------------------------------------------------------------------------------------------------


def test_the_service_endpoints_answer(http: httpx.Client, rest: RestClient) -> None:
    assert rest.version_info()["isolation"] == "none"
    assert rest.statistics()
    (device, *_) = rest.attestation_chain()
    assert device.startswith("-----BEGIN CERTIFICATE-----")
    assert http.get("/v1//keystore//statistics").status_code == 200


def test_offline_keys_are_for_brokers_without_an_hsm(http: httpx.Client, rest: RestClient, plain: str) -> None:
    error_of(http.post("/v1/offlineKey", json=rest.key_attributes(plain)), 400)
    error_of(http.delete("/v1/offlineKey/nobody"), 400)
