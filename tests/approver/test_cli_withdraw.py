"""R26: `keyturn approver approvals | withdraw` against a server over real HTTP; openssl judges the signature."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from keyturn.approver.client import withdrawal_bytes
from keyturn.approver.keyfiles import pkcs8_file
from keyturn.errors import FormatError
from keyturn.ska.messages import decode_approval, encode_approval, looks_like_own_structure
from keyturn_testing.approval_tasks import TASK_ID, b64, block_token, honest_task, sign_token
from keyturn_testing.officers import Officer
from keyturn_testing.openssl import dgst_accepts

if TYPE_CHECKING:
    from approver.conftest import Officers, TaskServer

ADA = Officer("ada")
PAYLOAD = b"Pay 10 to Bob."
APPROVAL = encode_approval(sign_token(PAYLOAD))
OTHER = TASK_ID.replace("0", "1")
TASKS, SEND = "/v1/filteredAllApprovalTask", "/v1/approval"


@pytest.fixture
def ada(officers: Officers, task_server: TaskServer) -> Officers:
    """Ada has approved a signature and a block."""
    (officers.home / "ada.key").write_bytes(
        pkcs8_file(ADA.key, officers.passphrase_file.read_bytes().strip(), rounds=1000)
    )
    tasks = [honest_task(ADA, sign_token(PAYLOAD)), honest_task(ADA, block_token()) | {"id": OTHER}]
    task_server.answers[TASKS] = {"tasks": tasks}
    approved = officers.run("approver", "approve", TASK_ID, OTHER, *officers.at(task_server.url, "ada"), "--yes")
    assert approved.code == 0
    task_server.received.clear()
    return officers


@pytest.mark.rule("R26")
def test_r26_a_withdrawal_is_signed_over_prefix_approval_and_task_id(ada: Officers, task_server: TaskServer) -> None:
    words = ("approver", "withdraw", TASK_ID, *ada.at(task_server.url, "ada"))
    declined = ada.run(*words, typed="n\n")
    assert (declined.code, task_server.received) == (1, [])
    assert "Pay 10 to Bob." in declined.out
    (withdrawn,) = ada.run(*words, "--yes", "--json").json()
    assert withdrawn["decision"] == "withdrawn"

    ((method, path, body),) = [(one.method, one.path, one.body) for one in task_server.calls()]
    assert (method, path) == ("DELETE", SEND)
    assert (body["id"], base64.b64decode(body["approvalToBeSigned"])) == (TASK_ID, APPROVAL)
    signed = withdrawal_bytes(APPROVAL, TASK_ID)
    assert signed == b"WITHDRAW:" + APPROVAL + TASK_ID.encode() == base64.b64decode(withdrawn["signed"])
    assert base64.b64decode(body["approverPublicKey"]) == ADA.spki
    assert dgst_accepts(ADA.spki, base64.b64decode(body["signature"]), signed, "sha256")
    with pytest.raises(FormatError):
        decode_approval(signed)
    assert looks_like_own_structure(signed) == "withdrawal"
    assert looks_like_own_structure(APPROVAL) == "approval"


@pytest.mark.rule("R26")
def test_r26_what_was_withdrawn_stays_marked_and_can_be_taken_to_another_server(
    ada: Officers, task_server: TaskServer
) -> None:
    listed = ada.run("approver", "approvals", "--key", ada.home / "ada.key", "--json").json()
    assert [(one["taskId"], one["operation"], one["keyLabel"]) for one in listed] == [
        (OTHER, "block", "treasury"),
        (TASK_ID, "use", "treasury"),
    ]
    assert base64.b64decode(listed[1]["approval"]) == APPROVAL
    table = ada.run("approver", "approvals", "--key", ada.home / "ada.key").out
    assert "Pay 10 to Bob." in table
    at = ada.at(task_server.url, "ada")
    assert ada.run("approver", "withdraw", TASK_ID, *at, typed="y\n").code == 0
    unknown = OTHER.replace("1", "2")
    assert ada.run("approver", "withdraw", unknown, *at, "--yes").refusal == "withdraw.unknown"
    listed = ada.run("approver", "approvals", "--key", ada.home / "ada.key", "--json").json()
    assert [(one["taskId"], one["withdrawnAt"] is None) for one in listed] == [(OTHER, True), (TASK_ID, False)]
    assert "WITHDRAWN 20" in ada.run("approver", "approvals", "--key", ada.home / "ada.key").out

    task_server.received.clear()
    elsewhere = ada.at(task_server.url.replace("127.0.0.1", "localhost"), "ada")
    again = ada.run("approver", "withdraw", TASK_ID, *elsewhere, "--yes")
    assert again.code == 0
    assert "You withdrew it at 20" in again.out
    ((method, approval),) = [(one.method, one.body["approvalToBeSigned"]) for one in task_server.calls()]
    assert (method, base64.b64decode(approval)) == ("DELETE", APPROVAL)
    assert "You withdrew it at" not in ada.run("approver", "withdraw", OTHER, *at, "--yes").out


@pytest.mark.rule("R26")
def test_r26_a_withdrawal_that_the_server_refuses_can_be_tried_again(ada: Officers, task_server: TaskServer) -> None:
    body = {"errorCode": 652, "reason": "r", "message": "It was executed already.", "refusal": "withdraw.executed"}
    task_server.answers[SEND] = (404, body)
    words = ("approver", "withdraw", TASK_ID, *ada.at(task_server.url, "ada"), "--yes")
    assert ada.run(*words).refusal == "withdraw.executed"
    task_server.answers[SEND] = {}
    assert ada.run(*words).code == 0


@pytest.mark.rule("R26")
@pytest.mark.parametrize("refusal", ["task.closed", "task.approved", "approval.bad-signature"])
def test_r26_a_server_that_says_no_has_the_signature_all_the_same_so_the_approval_is_remembered(
    ada: Officers, task_server: TaskServer, refusal: str
) -> None:
    """It could use it later; only what is remembered can be withdrawn."""
    at = ada.at(task_server.url, "ada")
    assert ada.run("approver", "withdraw", TASK_ID, *at, "--yes").code == 0
    task_server.answers[SEND] = (404, {"errorCode": 652, "reason": "r", "message": "no", "refusal": refusal})
    assert ada.run("approver", "approve", TASK_ID, *at, "--yes").refusal == refusal
    task_server.answers[SEND] = {}
    task_server.received.clear()
    assert ada.run("approver", "withdraw", TASK_ID, *at, "--yes").code == 0
    (call,) = task_server.calls()
    assert (call.method, base64.b64decode(call.body["approvalToBeSigned"])) == ("DELETE", APPROVAL)


@pytest.mark.rule("R26")
def test_r26_two_approvals_under_one_task_id_are_both_withdrawn(ada: Officers, task_server: TaskServer) -> None:
    other = encode_approval(sign_token(b"Pay 9000 to Eve."))
    task_server.answers[TASKS] = {"tasks": [honest_task(ADA, decode_approval(other))]}
    at = ada.at(task_server.url, "ada")
    assert ada.run("approver", "approve", TASK_ID, *at, "--yes").code == 0
    task_server.received.clear()
    assert ada.run("approver", "withdraw", TASK_ID, *at, "--yes").code == 0
    assert [base64.b64decode(call.body["approvalToBeSigned"]) for call in task_server.calls()] == [other, APPROVAL]


@pytest.mark.rule("R11")
def test_r11_several_tasks_for_one_request_are_not_approved_in_one_go(ada: Officers, task_server: TaskServer) -> None:
    words = ("approver", "approve", "--request", "r1", *ada.at(task_server.url, "ada"), "--yes")
    refused = ada.run(*words)
    assert refused.refusal == "review.several-tasks"
    assert task_server.calls() == []
    task_server.answers[TASKS] = {"tasks": [honest_task(ADA, sign_token(PAYLOAD))]}
    assert ada.run(*words).code == 0


def test_the_memory_lies_beside_the_key_or_where_it_is_told_to(ada: Officers, task_server: TaskServer) -> None:
    assert (ada.home / "ada.key.memory").is_file()
    elsewhere = ("--memory", ada.home / "elsewhere")
    key = ("--key", ada.home / "ada.key")
    assert ada.run("approver", "approvals", *key, *elsewhere, "--json").json() == []
    at = (*ada.at(task_server.url, "ada"), *elsewhere)
    assert ada.run("approver", "approve", TASK_ID, *at, "--yes").code == 0
    assert len(ada.run("approver", "approvals", *key, *elsewhere, "--json").json()) == 1
    assert b64(APPROVAL) in (ada.home / "elsewhere").read_text()


def test_a_withdrawal_to_another_server_than_the_approval_is_pointed_out(
    ada: Officers, task_server: TaskServer
) -> None:
    other = task_server.url.replace("127.0.0.1", "localhost")
    done = ada.run("approver", "withdraw", TASK_ID, *ada.at(other, "ada"), typed="n\n")
    assert f"You approved it at {task_server.url}, which is not where" in done.out
    done = ada.run("approver", "withdraw", TASK_ID, *ada.at(task_server.url, "ada"), typed="n\n")
    assert "You approved it at" not in done.out
