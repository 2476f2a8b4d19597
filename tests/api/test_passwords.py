"""Passwords of keys over REST: sealed at the edge, kept nowhere in the clear, gone when it is done (R27)."""

from __future__ import annotations

import base64
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.api.codec import request_text
from keyturn.errors import KeyturnError
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import ServeProcess, approve, b64, fetch, policy_json, reject

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from keyturn.client import RestClient

pytestmark = pytest.mark.rule("R27")

P256 = "1.2.840.10045.3.1.7"
SECRET = "Zauberwort-7313"
SIGN = {"decrypt": False, "sign": True, "unwrap": False, "destroyable": True}


def create(rest: RestClient, label: str, *, policy: Any = None, password: str = SECRET, **attributes: bool) -> None:
    rest.create_key(label, "EC", curve_oid=P256, attributes=SIGN | attributes, policy=policy, password=password)


def sign_request(label: str, password: Any = None) -> dict[str, Any]:
    return {
        "payload": b64(b"pay"),
        "signKeyName": label,
        "signatureAlgorithm": "SHA256_WITH_ECDSA",
        "keyPassword": password,
        "metaData": None,
    }


def mismatch(answer: httpx.Response) -> str:
    body = answer.json()
    assert (answer.status_code, body["errorCode"], body["reason"]) == (400, 620, "res.error.key.password.mismatch")
    assert "password mismatch" in body["message"]
    assert SECRET not in answer.text
    return str(body["refusal"])


def test_a_password_comes_as_a_text_or_as_single_characters(http: httpx.Client, rest: RestClient) -> None:
    create(rest, "pw-two-spellings")
    for right in (SECRET, list(SECRET)):
        answer = http.post("/v1/synchronousSign", json={"signRequest": sign_request("pw-two-spellings", right)})
        assert answer.status_code == 200, answer.text
    for wrong in (None, "", [], "guess", list("guess")):
        answer = http.post("/v1/synchronousSign", json={"signRequest": sign_request("pw-two-spellings", wrong)})
        assert mismatch(answer) == "key.password"
    answer = http.post("/v1/synchronousSign", json={"signRequest": sign_request("pw-two-spellings", ["Za", "u"])})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 600)


def test_doubled_slashes_lead_to_the_same_endpoints(http: httpx.Client, rest: RestClient) -> None:
    create(rest, "pw-slashes")
    answer = http.post("/v1//synchronousSign", json={"signRequest": sign_request("pw-slashes", SECRET)})
    assert answer.status_code == 200


def test_a_request_with_a_wrong_password_is_refused_before_anybody_approves(
    http: httpx.Client, rest: RestClient
) -> None:
    create(rest, "pw-early", policy=policy_json(make_policy(quorum(1, Officer("Ada"))), new=True))
    assert mismatch(http.post("/v1/sign", json={"signRequest": sign_request("pw-early", "guess")})) == "key.password"
    assert mismatch(http.post("/v1/sign", json={"signRequest": sign_request("pw-early")})) == "key.password"
    answer = http.post("/v1/sign", json={"signRequest": sign_request("pw-early", SECRET)})
    assert answer.status_code == 201


def test_attributes_and_deletion_need_the_password(http: httpx.Client, rest: RestClient) -> None:
    create(rest, "pw-attributes")
    assert mismatch(http.post("/v1/key/attributes", json={"label": "pw-attributes"})) == "key.password"
    assert mismatch(http.get("/v1/key/pw-attributes/attributes")) == "key.password"
    assert rest.key_attributes("pw-attributes", SECRET)["json"]["label"] == "pw-attributes"
    assert mismatch(http.delete("/v1/key/pw-attributes")) == "key.password"
    assert mismatch(http.post("/v1/key/deleteKey", json={"label": "pw-attributes", "password": "x"})) == "key.password"
    answer = http.post("/v1/key/deleteKey", json={"label": "pw-attributes", "password": list(SECRET)})
    assert answer.status_code == 200
    assert http.post("/v1/key/attributes", json={"label": "pw-attributes"}).status_code == 404


def test_a_password_is_changed_over_rest(http: httpx.Client, rest: RestClient) -> None:
    create(rest, "pw-change")
    body = {"label": "pw-change", "password": "wrong", "newPassword": "next"}
    assert mismatch(http.post("/v1/key/changePassword", json=body)) == "key.password"
    rest.change_password("pw-change", SECRET, "next")
    with pytest.raises(KeyturnError, match="password mismatch"):
        rest.synchronous_sign(sign_request("pw-change", SECRET))
    assert rest.synchronous_sign(sign_request("pw-change", "next"))
    rest.change_password("pw-change", "next", None)
    assert rest.synchronous_sign(sign_request("pw-change"))


def test_level_3_shows_null_in_the_place_of_a_password() -> None:
    plain = b'{"signRequest": {"payload" : "YQ==", "keyPassword": null}, "other": 1}'
    assert request_text(plain, "signRequest") == b'{"signRequest":{"payload" : "YQ==", "keyPassword": null}}'
    for name in ("keyPassword", "unwrapKeyPassword", "masterKeyPassword"):
        for spelling in (SECRET, list(SECRET)):
            body = json.dumps({"signRequest": {"payload": "YQ==", name: spelling}}).encode()
            shown = request_text(body, "signRequest")
            assert json.loads(shown) == {"signRequest": {"payload": "YQ==", name: None}}
            assert SECRET.encode() not in shown


def everything_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def test_no_file_ever_holds_a_password_and_ended_requests_hold_no_sealed_one(tmp_path: Path) -> None:
    """The whole workflow, four ways to end it, and then a look at every byte that server and HSM have written."""
    ada, ben = Officer("Ada"), Officer("Ben", "ED")
    policy = policy_json(make_policy(quorum(2, ada, ben)), new=True)
    with ServeProcess(tmp_path / "vault") as server, server.client() as rest:
        create(rest, "pw-story", policy=policy)
        executed, rejected, cancelled, waiting = (
            rest.sign(sign_request("pw-story", spelling)) for spelling in (SECRET, list(SECRET), SECRET, SECRET)
        )
        for officer in (ada, ben):
            (task,) = fetch(rest, officer, requestId=executed)
            shown = json.loads(base64.b64decode(task["requestBase64"]))
            assert shown["signRequest"]["keyPassword"] is None
            assert task["signedSignRequest"]["signRequest"]["keyPassword"] is None
            assert SECRET not in json.dumps(task)
            approve(rest, officer, task)
        # Two of two are needed, so that one is enough against it.
        reject(rest, ada, fetch(rest, ada, requestId=rejected)[0])
        rest.cancel_request(cancelled)
        assert [rest.request(one)["status"] for one in (executed, rejected, cancelled, waiting)] == [
            "EXECUTED",
            "REJECTED",
            "CANCELLED",
            "PENDING",
        ]
        (database,) = [path for path in (tmp_path / "vault").rglob("*.db") if path.name != "hsm.db"]
        with sqlite3.connect(database) as reader:
            kept = dict(reader.execute("SELECT id, sealed_password FROM request"))
        reader.close()
        assert kept[waiting]
        assert [kept[one] for one in (executed, rejected, cancelled)] == [None, None, None]
        written = everything_in(tmp_path)
        for spelling in (SECRET.encode(), json.dumps(list(SECRET)).encode(), base64.b64encode(SECRET.encode())):
            assert spelling not in written
        assert b"pw-story" in written  # What was looked at is what was written.
        assert SECRET not in server.errors
