"""The directory of approvers, and lists of requests, over REST."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from keyturn.errors import ErrorCode
from keyturn_testing.actions import (
    all_approve,
    refused,
    sign_body,
)
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import P256, create_ec_key, policy_json

if TYPE_CHECKING:
    from keyturn.client import RestClient

    Officers = tuple[Officer, Officer, Officer]


# --- the directory of approvers --------------------------------------------------------------------------------


@pytest.mark.rule("R22")
def test_r22_a_policy_lists_people_by_name_and_gets_their_certificates(rest: RestClient) -> None:
    ina, jon = Officer("Ina", "P-256"), Officer("Jon", "P-384")
    for officer in (ina, jon):
        rest.onboard_approver(officer.name, officer.certificate)
    listed = {entry["approverName"]: entry for entry in rest.approvers()}
    assert base64.b64decode(listed["Ina"]["approverCertificate"]) == ina.certificate
    assert listed["Jon"]["addedTime"].endswith("Z")

    policy = policy_json(make_policy(quorum(2, ina, jon)), new=True)
    by_name = [{"type": "onboarded_approver_certificate", "name": name, "value": None} for name in ("Ina", "Jon")]
    for rule in ("ruleUse", "ruleBlock", "ruleUnblock", "ruleModify"):
        policy[rule]["tokens"][0]["groups"][0]["approvals"] = by_name
    attributes = {"decrypt": False, "sign": True, "unwrap": False}
    made = rest.create_key("by-name", "EC", curve_oid=P256, attributes=attributes, policy=policy)
    approvals = made["json"]["policy"]["ruleUse"]["tokens"][0]["groups"][0]["approvals"]
    assert [(one["type"], one["name"]) for one in approvals] == [("certificate", "Ina"), ("certificate", "Jon")]

    # Jon leaves the directory; the key's policy stays as it is, and a new one does not know him.
    rest.remove_approver("Jon")
    request = rest.sign(sign_body("by-name"))
    all_approve(rest, request, [jon, ina])
    assert rest.request(request)["status"] == "EXECUTED"
    error = refused(lambda: rest.create_key("by-name-2", "EC", curve_oid=P256, attributes=attributes, policy=policy))
    assert (error.code.number, error.code.http_status, error.refusal) == (654, 404, "approver.unknown")
    changed = {name: rule for name, rule in policy.items() if name != "keyStatus"}
    error = refused(lambda: rest.modify({"modifyKeyName": "by-name", "policy": changed}))
    assert error.code.number == 654
    rest.onboard_approver("Jon", jon.certificate)
    assert rest.modify({"modifyKeyName": "by-name", "policy": changed})


def test_a_name_stands_once_in_the_directory(rest: RestClient) -> None:
    kim, other = Officer("Kim", "P-256"), Officer("Kim's other", "P-256")
    rest.onboard_approver("Kim", kim.certificate)
    error = refused(lambda: rest.onboard_approver("Kim", other.certificate))
    assert (error.code.number, error.refusal) == (632, "approver.exists")
    rest.remove_approver("Kim")
    assert refused(lambda: rest.remove_approver("Kim")).code is ErrorCode.APPROVER_NOT_EXISTENT
    rest.onboard_approver("Kim", other.certificate)


@pytest.mark.rule("R13")
def test_r13_the_directory_takes_names_that_can_be_read_and_certificates_that_may_approve(rest: RestClient) -> None:
    lea = Officer("Lea", "P-256")
    for name in ("a\u202eb", " Lea", "x" * 129):
        assert refused(lambda name=name: rest.onboard_approver(name, lea.certificate)).code.number == 600  # type: ignore[misc] # Bound now.
    assert refused(lambda: rest.onboard_approver("Lea", b"\x30\x00")).code.http_status == 400
    assert refused(lambda: rest.onboard_approver("Lea", lea.spki)).code.http_status == 400
    rest.onboard_approver("Lea", lea.certificate)


# --- lists of requests -----------------------------------------------------------------------------------------


def test_requests_are_listed_by_status_in_both_ways(rest: RestClient, officers: Officers) -> None:
    create_ec_key(rest, "listed", make_policy(quorum(1, *officers)))
    waiting, gone = rest.sign(sign_body("listed")), rest.sign(sign_body("listed"))
    rest.cancel_request(gone)

    def listed(*statuses: str) -> dict[str, str]:
        return {entry["id"]: entry["status"] for entry in rest.filtered_requests(statuses)}

    assert listed("PENDING")[waiting] == "PENDING"
    assert gone not in listed("PENDING", "APPROVED")
    assert listed("CANCELLED")[gone] == "CANCELLED"
    assert {waiting, gone} <= set(listed())
    by_get = rest.call("GET", "/v1/filteredRequests?requestStatusList=PENDING,CANCELLED")["requests"]
    assert {(waiting, "PENDING"), (gone, "CANCELLED")} <= {(entry["id"], entry["status"]) for entry in by_get}
    assert len(rest.call("GET", "/v1/filteredRequests")["requests"]) == len(listed())
    assert refused(lambda: listed("LOST")).code.number == 600
    assert refused(lambda: rest.call("GET", "/v1/filteredRequests?requestStatusList=LOST")).code.number == 600
