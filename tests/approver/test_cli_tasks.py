"""`keyturn approver tasks | show | approve | reject` against a server over real HTTP, honest and lying."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.approver.first_trust import certificate_pem
from keyturn.approver.keyfiles import pkcs8_file
from keyturn.clock import ManualClock
from keyturn.ska.policy import Rule, encode_policy
from keyturn.ska.words import checksum_words
from keyturn_testing.approval_tasks import STAMPED_AT, TASK_ID, PaperHsm, b64, honest_task, modify_token, sign_token
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from pathlib import Path

    from approver.conftest import Officers, TaskServer

ADA, BEN = Officer("ada"), Officer("ben", "ED")
POLICY = make_policy(quorum(2, ADA, BEN))
HSM = PaperHsm()
PAYLOAD = b"Pay 10 to [bold]Bob[/bold]."
TASKS, APPROVAL = "/v1/filteredAllApprovalTask", "/v1/approval"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """The officers' clock: a minute after the HSM's timestamp, and a moment later at every command."""
    clock = ManualClock(STAMPED_AT + 60)

    def tick() -> ManualClock:
        clock.advance(0.001)
        return clock

    monkeypatch.setattr("keyturn.approver.client.SystemClock", tick)
    return clock


@pytest.fixture
def ada(officers: Officers, clock: ManualClock) -> Officers:
    """Ada's key file is made from the key of the test's policies."""
    assert clock.now() == STAMPED_AT + 60
    (officers.home / "ada.key").write_bytes(
        pkcs8_file(ADA.key, officers.passphrase_file.read_bytes().strip(), rounds=1000)
    )
    (officers.home / "device.pem").write_bytes(certificate_pem(HSM.certificate))
    return officers


def options(ada: Officers, server: TaskServer) -> tuple[str | Path, ...]:
    return (*ada.at(server.url, "ada"), "--device-cert", ada.home / "device.pem")


def honest(**request: Any) -> dict[str, Any]:
    return honest_task(ADA, HSM.stamp(sign_token(PAYLOAD)), hsm=HSM, policy=POLICY, **request)


def test_the_list_names_what_waits(ada: Officers, task_server: TaskServer) -> None:
    task_server.answers[TASKS] = {"tasks": []}
    assert ada.run("approver", "tasks", *options(ada, task_server)).out == "Nothing waits for you.\n"
    lying = honest() | {"payload": b64(b"Pay 10000 to Eve."), "id": TASK_ID.replace("0", "1")}
    task_server.answers[TASKS] = {"tasks": [honest(), lying]}
    listed = ada.run("approver", "tasks", *options(ada, task_server)).out
    assert TASK_ID in listed
    assert "Pay 10 to [bold]Bob[/bold]." in listed
    assert "REFUSED" in listed
    described = ada.run("approver", "tasks", *options(ada, task_server), "--request", "r1", "--json").json()
    assert [entry.get("keyLabel") for entry in described] == ["treasury", None]
    assert described[1]["refused"]["refusal"] == "review.payload"
    assert task_server.bodies(TASKS)[-1]["requestId"] == "r1"
    assert len({body["timestamp"] for body in task_server.bodies(TASKS)}) == 3


def test_an_empty_list_says_how_many_requests_wait_for_the_hsms_time(ada: Officers, task_server: TaskServer) -> None:
    stamping = {"inputOfflineHsm": {"timestampRequest": {"keyName": "treasury", "operation": "use"}}}
    signing = {"inputOfflineHsm": {"signRequest": {"signKeyName": "treasury"}}}
    task_server.answers |= {
        TASKS: {"tasks": []},
        "/v1/filteredRequests": {"requests": [{"id": one, "status": "PENDING"} for one in ("r1", "r2", "r3", "r4")]},
        "/v1/request/r1": stamping,
        "/v1/request/r2": signing,
        "/v1/request/r3": {"inputOfflineHsm": "timestampRequest"},
        "/v1/request/r4": stamping,
    }

    def listed(*more: str) -> str:
        return ada.run("approver", "tasks", *options(ada, task_server), *more).out

    assert "Nothing waits for you yet. 2 requests wait for the HSM's time" in " ".join(listed().split())
    assert task_server.bodies("/v1/filteredRequests") == [{"requestStatusList": ["PENDING"]}]
    assert "1 request waits for the HSM's time" in " ".join(listed("--request", "r1").split())
    assert listed("--request", "r2") == "Nothing waits for you.\n"
    assert listed("--json") == "[]\n"
    task_server.answers[TASKS] = {"tasks": [honest()]}
    assert "HSM's time" not in listed()
    # A server that does not say leaves the list as it is.
    task_server.answers |= {TASKS: {"tasks": []}, "/v1/filteredRequests": (403, {})}
    assert listed() == "Nothing waits for you.\n"


def test_the_list_fits_a_terminal_of_eighty_columns(
    ada: Officers, task_server: TaskServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    task_server.answers[TASKS] = {"tasks": [honest()]}
    listed = ada.run("approver", "tasks", *options(ada, task_server)).out
    assert all(len(line) <= 80 for line in listed.splitlines())
    whole = ["".join(cells).replace(" ", "") for cells in zip(*(columns(line) for line in rows(listed)), strict=True)]
    assert whole[0] == TASK_ID
    assert whole[2] == "treasury(notaccepted)"
    assert whole[3] == "text:" + PAYLOAD.decode().replace(" ", "")


def rows(table: str) -> list[str]:
    return [line for line in table.splitlines() if line.startswith("│")]


def columns(line: str) -> list[str]:
    return line.strip("│").split("│")


def test_show_says_what_would_be_signed_and_the_words_of_the_other_side(ada: Officers, task_server: TaskServer) -> None:
    task_server.answers[TASKS] = {"tasks": [honest(metaData=b64(b"urgent, says your boss"))]}
    shown = ada.run("approver", "show", TASK_ID, *options(ada, task_server))
    words = " ".join(checksum_words(base64.b64decode(honest_bytes(task_server)), domain="approval"))
    assert words in shown.out
    assert "treasury" in shown.out
    assert "Pay 10 to [bold]Bob[/bold]." in shown.out
    assert "2023-11-14T22:13:20Z (1 minute ago), verified" in shown.out
    assert shown.out.index("CLAIMS of the server") < shown.out.index("urgent, says your boss")
    described = ada.run("approver", "show", TASK_ID, *options(ada, task_server), "--json").json()[0]
    assert described["words"] == words.split()
    assert described["operation"] == "use"
    assert base64.b64decode(described["payload"]["base64"]) == PAYLOAD
    assert described["timestamp"]["verified"] is True


def test_by_request_finds_your_own_task_and_says_when_there_is_none(ada: Officers, task_server: TaskServer) -> None:
    task_server.answers[TASKS] = {"tasks": []}
    refused = ada.run("approver", "show", "--request", "r1", *options(ada, task_server))
    assert refused.refusal == "task.none-for-you"
    task_server.answers[TASKS] = {"tasks": [honest()]}
    assert "treasury" in ada.run("approver", "show", "--request", "r1", *options(ada, task_server)).out
    assert task_server.bodies(TASKS)[-1]["requestId"] == "r1"


@pytest.mark.parametrize(
    ("member", "word", "said"),
    [
        ("approvedBy", "task.approved", "You approved it already"),
        ("rejectedBy", "task.rejected", "You rejected it al"),
        ("withdrawnBy", "task.withdrawn", "You withdrew your approval"),
    ],
)
def test_who_has_decided_a_request_is_told_so(
    ada: Officers, task_server: TaskServer, member: str, word: str, said: str
) -> None:
    task_server.answers[TASKS] = {"tasks": []}
    approve = ("approver", "approve", "--request", "r1", *options(ada, task_server), "--yes")
    task_server.answers["/v1/request/r1"] = {member: [b64(BEN.spki)]}
    assert ada.run(*approve).refusal == "task.none-for-you"
    task_server.answers["/v1/request/r1"] = {member: [b64(BEN.spki), b64(ADA.spki)]}
    refused = ada.run(*approve)
    assert refused.refusal == word
    assert refused.error is not None
    assert refused.error.message.startswith(said)


def test_an_approval_that_the_server_has_already_is_told_by_its_refusal_word(
    ada: Officers, task_server: TaskServer
) -> None:
    task_server.answers[TASKS] = {"tasks": [honest()]}
    approve = ("approver", "approve", TASK_ID, *options(ada, task_server), "--yes")
    for word, said in (("task.approved", "You approved it already"), ("task.closed", "in the server's words")):
        body = {"errorCode": 652, "reason": "r", "message": "in the server's words", "refusal": word}
        task_server.answers[APPROVAL] = (404, body)
        refused = ada.run(*approve)
        assert refused.refusal == word
        assert refused.error is not None
        assert refused.error.message.startswith(said)
    task_server.answers[APPROVAL] = {}
    assert ada.run(*approve).code == 0


@pytest.mark.parametrize("words", [(), (TASK_ID, "--request", "r1")], ids=["neither", "both"])
def test_tasks_are_named_by_id_or_by_request(words: tuple[str, ...], ada: Officers, task_server: TaskServer) -> None:
    assert ada.run("approver", "approve", *words, *options(ada, task_server)).code == 2


def honest_bytes(server: TaskServer) -> str:
    approval = server.answers[TASKS]["tasks"][0]["approvalToBeSigned"]
    assert isinstance(approval, str)
    return approval


@pytest.mark.rule("R26")
def test_r26_approving_asks_after_showing_and_says_that_it_is_final(ada: Officers, task_server: TaskServer) -> None:
    task_server.answers[TASKS] = {"tasks": [honest()]}
    declined = ada.run("approver", "approve", TASK_ID, *options(ada, task_server), typed="n\n")
    assert declined.code == 1
    assert "cannot be recalled" in declined.out
    assert task_server.bodies(APPROVAL) == []
    nothing = ada.run("approver", "approve", TASK_ID, *options(ada, task_server), typed="")
    assert nothing.code == 1
    assert task_server.bodies(APPROVAL) == []

    approved = ada.run("approver", "approve", TASK_ID, *options(ada, task_server), typed="y\n")
    assert approved.code == 0
    assert approved.out.index("Pay 10 to") < approved.out.index("Approved:")
    assert task_server.bodies(APPROVAL)[0]["approvalToBeSigned"] == honest_bytes(task_server)


def test_approving_with_yes_still_prints_what_was_signed(ada: Officers, task_server: TaskServer) -> None:
    task_server.answers[TASKS] = {"tasks": [honest()]}
    outcome = ada.run("approver", "approve", TASK_ID, TASK_ID, *options(ada, task_server), "--yes", "--json")
    described = outcome.json()
    assert [entry["signed"] for entry in described] == [honest_bytes(task_server)]
    assert "Pay 10 to" in outcome.err
    assert ADA.spki == base64.b64decode(described[0]["approverPublicKey"])


@pytest.mark.rule("R11")
def test_r11_one_lying_task_among_several_and_nothing_is_approved(ada: Officers, task_server: TaskServer) -> None:
    other = TASK_ID.replace("0", "1")
    lying = honest() | {"id": other, "payload": b64(b"Pay 10000 to Eve.")}
    task_server.answers[TASKS] = {"tasks": [honest(), lying]}
    outcome = ada.run("approver", "approve", TASK_ID, other, *options(ada, task_server), "--yes")
    assert outcome.refusal == "review.payload"
    assert task_server.bodies(APPROVAL) == []
    assert ada.run("approver", "approve", TASK_ID, *options(ada, task_server), "--yes").code == 0


def test_a_lying_task_is_rejected_with_a_signed_rejection(ada: Officers, task_server: TaskServer) -> None:
    task_server.answers[TASKS] = {"tasks": [honest() | {"payload": b64(b"Pay 10000 to Eve.")}]}
    assert ada.run("approver", "reject", TASK_ID, *options(ada, task_server), typed="n\n").code == 1
    assert task_server.bodies(APPROVAL) == []
    outcome = ada.run("approver", "reject", TASK_ID, *options(ada, task_server), "--yes", "--json")
    signed = base64.b64decode(outcome.json()[0]["signed"])
    assert signed == b"REJECTED:" + base64.b64decode(honest_bytes(task_server)) + TASK_ID.encode()
    assert b64(signed) == task_server.bodies(APPROVAL)[0]["approvalToBeSigned"]


def test_an_honest_task_is_shown_before_it_is_rejected(ada: Officers, task_server: TaskServer) -> None:
    task_server.answers[TASKS] = {"tasks": [honest()]}
    outcome = ada.run("approver", "reject", TASK_ID, *options(ada, task_server), typed="y\n")
    assert outcome.code == 0
    assert outcome.out.index("Pay 10 to") < outcome.out.index("Rejected:")


@pytest.mark.rule("R10")
def test_r10_a_modify_is_shown_in_words_with_what_it_opens(ada: Officers, task_server: TaskServer) -> None:
    policy = make_policy(quorum(1, BEN), modify=Rule.ALWAYS)
    token = HSM.stamp(modify_token(encode_policy(policy)))
    task_server.answers[TASKS] = {"tasks": [honest_task(ADA, token, hsm=HSM, policy=POLICY)]}
    shown = ada.run("approver", "show", TASK_ID, *options(ada, task_server)).out
    for words in (
        "replace the key's policy",
        "this one person",
        "Against the policy of 2023-11-14T22:13:20Z (attested)",
        "open modify",
    ):
        assert words in " ".join(shown.split())
    described = ada.run("approver", "show", TASK_ID, *options(ada, task_server), "--json").json()[0]
    assert described["policy"]["ruleModify"] is None
    assert "keyStatus" not in described["policy"]


def test_the_words_of_a_refusing_server_cannot_repaint_the_screen(ada: Officers, task_server: TaskServer) -> None:
    message = "\x1b[2JAll approved.\u202e"
    task_server.answers[TASKS] = (403, {"errorCode": 403, "reason": "r", "message": message})
    outcome = ada.run("approver", "tasks", *options(ada, task_server))
    assert outcome.error is not None
    assert str(outcome.error) == "<U+001B>[2JAll approved.<U+202E>"


def test_a_wrong_passphrase_reaches_no_server(ada: Officers, task_server: TaskServer) -> None:
    ada.passphrase_file.write_text("not this one at all")
    outcome = ada.run("approver", "tasks", *options(ada, task_server))
    assert outcome.refusal == "approver-key.wrong-passphrase"
    assert task_server.received == []


def test_a_task_that_waits_for_nobody_is_unknown(ada: Officers, task_server: TaskServer) -> None:
    task_server.answers[TASKS] = {"tasks": []}
    assert ada.run("approver", "show", TASK_ID, *options(ada, task_server)).refusal == "task.unknown"


def test_without_a_pinned_device_the_hsms_word_is_called_unverified(ada: Officers, task_server: TaskServer) -> None:
    task_server.answers[TASKS] = {"tasks": [honest()]}
    shown = ada.run("approver", "show", TASK_ID, *ada.at(task_server.url, "ada")).out
    assert "NOT VERIFIED" in shown
