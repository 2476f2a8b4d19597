"""R7 at the gap: what bound approvals are bound to is shown, and held against the request that is carried with them."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from keyturn.approver.address_book import AddressBook
from keyturn.approver.policy_words import Reader
from keyturn.cli.transport_view import bundle_json, show_bundle
from keyturn.clock import SystemClock
from keyturn.ska.actions import Action
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.messages import ApprovalToken
from keyturn.ska.policy import encode_policy
from keyturn.ska.policy_json import policy_to_json
from keyturn.ska.statement import MAGIC, encode_statement
from keyturn.transport.bundle import Bundle
from keyturn.transport.contents import RequestContents, read_contents
from keyturn.transport.station import Station
from keyturn_testing.carriers import ALICE, REQUEST_ID
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.ska.statement import Statement

ADA, BEN = Officer("ada", "P-256"), Officer("ben", "ED")
POLICY = make_policy(use=quorum(2, ADA, BEN))
NEW_POLICY = make_policy(use=quorum(1, ADA, BEN))
KEY = BoundKey("6f1c1d6e-4a3b-4c8e-9a54-0f8f7b0c1d2e", b"spki", encode_policy(POLICY))
NEW_KEY = {"sign": True, "decrypt": False, "unwrap": False}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


STATEMENTS: dict[str, Statement] = {
    "signRequest": KEY.sign(REQUEST_ID, b"pay 5", "SHA256_WITH_ECDSA", "RAW"),
    "decryptRequest": KEY.decrypt(REQUEST_ID, b"cipher", "AES_GCM", iv=bytes(12), aad=b"to Ben", tag_length=96),
    "unwrapKeyRequest": KEY.unwrap(
        REQUEST_ID,
        b"wrapped",
        "RSA_WRAP_OAEP_EC",
        "new",
        NEW_KEY,
        policy=encode_policy(NEW_POLICY),
        blocked=True,
        allowed_operations=["sign"],
        allowed_algorithms=["SHA256_WITH_ECDSA"],
    ),
    "blockRequest": KEY.block(REQUEST_ID),
    "unblockRequest": KEY.unblock(REQUEST_ID),
}
INNER: dict[str, dict[str, Any]] = {
    "signRequest": {
        "signKeyName": "treasury",
        "payload": b64(b"pay 5"),
        "payloadType": "UNSPECIFIED",
        "signatureAlgorithm": "SHA256_WITH_ECDSA",
        "signatureType": "RAW",
    },
    "decryptRequest": {
        "decryptKeyName": "treasury",
        "encryptedPayload": b64(b"cipher"),
        "cipherAlgorithm": "AES_GCM",
        "initializationVector": b64(bytes(12)),
        "additionalAuthenticationData": b64(b"to Ben"),
        "tagLength": 96,
    },
    "unwrapKeyRequest": {
        "unwrapKeyName": "treasury",
        "wrappedKey": b64(b"wrapped"),
        "wrapMethod": "RSA_WRAP_OAEP_EC",
        "label": "new",
        "attributes": NEW_KEY | {"allowedOperations": ["sign"], "allowedAlgorithms": ["SHA256_WITH_ECDSA"]},
        "policy": policy_to_json(NEW_POLICY, blocked=True),
    },
    "blockRequest": {"blockKeyName": "treasury"},
    "unblockRequest": {"unblockKeyName": "treasury"},
}
ACTIONS = {"blockRequest": Action.BLOCK, "unblockRequest": Action.UNBLOCK}


def approval(name: str, payload: bytes, officer: Officer = ADA) -> str:
    return b64(officer.approve(ApprovalToken(ACTIONS.get(name, Action.USE), b"treasury", None, None, payload)))


def carried(body: dict[str, Any]) -> Bundle:
    text = json.dumps(body).encode()
    return Bundle(kind="request", request_id=REQUEST_ID, sender=ALICE.public, recipient=None, sequence=1, body=text)


def request(name: str, covered: bytes | None = None, /, **changes: Any) -> dict[str, Any]:
    signed = approval(name, encode_statement(STATEMENTS[name]) if covered is None else covered)
    return {name: INNER[name] | {"requestId": REQUEST_ID, "signedApprovals": [signed]} | changes}


def read(body: dict[str, Any]) -> RequestContents:
    contents = read_contents(carried(body))
    assert isinstance(contents, RequestContents)
    return contents


def problems(body: dict[str, Any]) -> tuple[str, ...]:
    (view,) = read(body).approvals
    return view.problems


@pytest.mark.rule("R7")
@pytest.mark.parametrize("name", STATEMENTS)
def test_r7_bound_approvals_that_fit_have_no_problems_and_are_shown(name: str, tmp_path: Path) -> None:
    body = request(name)
    assert problems(body) == ()
    contents = read(body)
    assert contents.statement == STATEMENTS[name]
    station = Station(tmp_path, SystemClock())
    shown = bundle_json(carried(body), contents, station)["request"]["bound"]
    assert (shown["operation"], shown["request"]) == (STATEMENTS[name].kind, REQUEST_ID)
    screen = io.StringIO()
    show_bundle(
        carried(body),
        contents,
        station,
        Reader(AddressBook.empty(), ""),
        Console(file=screen, width=160, highlight=False),
    )
    assert "What the approvals are bound to, and nothing else" in screen.getvalue()
    assert KEY.uuid in screen.getvalue()


CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "payload": ("signRequest", {"payload": b64(b"pay 6")}),
    "signatureAlgorithm": ("signRequest", {"signatureAlgorithm": "NONE_WITH_ECDSA"}),
    "signatureType": ("signRequest", {"signatureType": None}),
    "request": ("signRequest", {"requestId": "1c7f3c52-3a5e-4d0a-8f5e-6b1d0c9a7e12"}),
    "encryptedPayload": ("decryptRequest", {"encryptedPayload": b64(b"other")}),
    "cipherAlgorithm": ("decryptRequest", {"cipherAlgorithm": "AES_CBC_NO_PADDING"}),
    "initializationVector": ("decryptRequest", {"initializationVector": b64(bytes(11) + b"\1")}),
    "additionalAuthenticationData": ("decryptRequest", {"additionalAuthenticationData": None}),
    "tagLength": ("decryptRequest", {"tagLength": 128}),
    "wrappedKey": ("unwrapKeyRequest", {"wrappedKey": b64(b"other")}),
    "wrapMethod": ("unwrapKeyRequest", {"wrapMethod": "RSA_WRAP_OAEP_ED"}),
    "label": ("unwrapKeyRequest", {"label": "newer"}),
    "attributes": ("unwrapKeyRequest", {"attributes": NEW_KEY}),
    "policy": ("unwrapKeyRequest", {"policy": policy_to_json(POLICY, blocked=True)}),
    "policy of the new key": ("unwrapKeyRequest", {"policy": policy_to_json(NEW_POLICY, blocked=False)}),
}


@pytest.mark.rule("R7")
@pytest.mark.parametrize("member", CHANGES)
def test_r7_a_request_that_was_changed_on_the_way_is_said(member: str) -> None:
    name, changes = CHANGES[member]
    assert problems(request(name)) == ()
    (problem,) = problems(request(name, **changes))
    what = "policy of the new key" if member == "policy" else member
    assert problem == f"It is bound to another {what}."


@pytest.mark.rule("R7")
def test_r7_an_approval_of_another_kind_or_no_statement_at_all_is_said() -> None:
    decrypts = encode_statement(KEY.decrypt(REQUEST_ID, b"pay 5", "RSA_PADDING_OAEP"))
    assert problems(request("signRequest", decrypts)) == ("It is bound to another kind of operation (decrypt).",)
    (problem,) = problems(request("signRequest", MAGIC))
    assert "statement" in problem
    assert problems(request("signRequest", b"pay 5")) == ()
    (problem,) = problems(request("blockRequest", encode_statement(KEY.unblock(REQUEST_ID))))
    assert problem == "It is bound to another kind of operation (unblock)."


@pytest.mark.rule("R7")
def test_r7_the_statement_that_is_shown_is_the_one_that_fits() -> None:
    name = "signRequest"
    other = replace(STATEMENTS[name], algorithm="SHA512_WITH_ECDSA")
    approvals = [approval(name, encode_statement(one), who) for one, who in ((other, ADA), (STATEMENTS[name], BEN))]
    contents = read(request(name, signedApprovals=approvals))
    assert [bool(view.problems) for view in contents.approvals] == [True, False]
    assert contents.statement == STATEMENTS[name]
    assert read(request(name, signedApprovals=approvals[:1])).statement == other
    assert read(request(name, signedApprovals=[])).statement is None


@pytest.mark.rule("R7")
@pytest.mark.parametrize(("word", "name"), [("use", "signRequest"), ("block", "blockRequest")])
def test_r7_a_request_for_a_timestamp_shows_what_it_is_for(word: str, name: str, tmp_path: Path) -> None:
    asked = {"keyName": "treasury", "operation": word, "payload": b64(encode_statement(STATEMENTS[name]))}
    body = {"timestampRequest": asked}
    contents = read(body)
    assert (contents.asks_for_time, contents.statement) == (True, STATEMENTS[name])
    screen = io.StringIO()
    show_bundle(
        carried(body),
        contents,
        Station(tmp_path, SystemClock()),
        Reader(AddressBook.empty(), ""),
        Console(file=screen, width=160, highlight=False),
    )
    assert "What the time is asked for, and nothing else" in screen.getvalue()
    assert ("pay 5" in screen.getvalue()) is (word == "use")
    unbound = read({"timestampRequest": {"keyName": "treasury", "operation": "use", "payload": b64(b"pay 5")}})
    assert (unbound.statement, unbound.payload) == (None, b"pay 5")
