"""Keys and policies that are asked for wrongly, each beside one that is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from api.conftest import error_of
from keyturn_testing.officers import make_policy, quorum
from keyturn_testing.rest_server import (
    policy_json,
)

if TYPE_CHECKING:
    import httpx

    from keyturn_testing.officers import Officer

    Officers = tuple[Officer, Officer, Officer]


# --- keys -----------------------------------------------------------------------------------------------------


def key_body(label: str, /, **changes: Any) -> dict[str, Any]:
    attributes = {"decrypt": False, "sign": True, "unwrap": False}
    whole = {"label": label, "algorithm": "EC", "curveOid": "1.2.840.10045.3.1.7", "attributes": attributes}
    return whole | changes


def test_a_key_as_real_clients_ask_for_it(http: httpx.Client) -> None:
    extra = {"alwaysSensitive": True, "neverExtractable": None, "ekaSign": None, "slip10": False, "later": "yes"}
    attributes = {"decrypt": False, "sign": True, "unwrap": False, "derive": None} | extra
    answer = http.post("/v1/key", json=key_body("as-sent", attributes=attributes, policy=None, keySize=0, id=""))
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {"json", "xml", "xmlSignature", "attestationKeyName"}
    assert body["json"]["id"] is None
    assert body["json"]["label"] == "as-sent"
    assert "as-sent" in http.get("/v1/key").json()
    assert http.get("/v1/key/as-sent/attributes").json()["json"]["uuid"] == body["json"]["uuid"]
    wrong = error_of(http.post("/v1/key", json=key_body("x", attributes=attributes | {"derive": "no"})), 400, 600)
    assert "'attributes.derive'" in wrong["message"]
    by_oid = key_body("by-oid", algorithm=None, algorithmOid="1.2.840.10045.2.1")
    assert http.post("/v1/key", json=by_oid).status_code == 201


@pytest.mark.rule("R4")
@pytest.mark.parametrize("promise", ["boundApprovals", "singleUse"])
def test_r4_a_promise_that_cannot_be_kept_is_refused_never_dropped(http: httpx.Client, promise: str) -> None:
    attributes = {"decrypt": False, "sign": True, "unwrap": False}
    body = error_of(http.post("/v1/key", json=key_body("promise", attributes=attributes | {promise: True})), 400, 606)
    assert body["refusal"].endswith("-without-policy")
    error_of(http.post("/v1/key", json=key_body("promise", attributes=attributes | {promise: "yes"})), 400, 600)
    for nothing in (None, False):
        label = f"no-{promise}-{nothing}"
        given = attributes | {promise: nothing}
        assert http.post("/v1/key", json=key_body(label, attributes=given)).status_code == 201


@pytest.mark.rule("R9")
@pytest.mark.parametrize(
    ("limits", "refusal"),
    [
        ({"allowedOperations": "sign"}, "json.wrong-type"),
        ({"allowedOperations": [1]}, "json.wrong-type"),
        ({"allowedAlgorithms": {"sign": True}}, "json.wrong-type"),
        ({"allowedAlgorithms": ["SHA256_WITH_ECDSA"] * 257}, "json.wrong-type"),
        ({"allowedOperations": ["enchant"]}, "attribute.unknown-operation"),
        ({"allowedOperations": ["decrypt"]}, "attribute.useless-operation"),
        ({"allowedAlgorithms": ["SHA256_WITH_MAGIC"]}, "attribute.unknown-algorithm"),
    ],
)
def test_r9_a_limit_that_cannot_be_kept_is_refused_never_dropped(
    http: httpx.Client, limits: dict[str, Any], refusal: str
) -> None:
    attributes = {"decrypt": False, "sign": True, "unwrap": False}
    body = error_of(http.post("/v1/key", json=key_body("limited", attributes=attributes | limits)), 400)
    assert body["refusal"] == refusal
    label = f"unlimited-{refusal}-{len(str(limits))}"
    values: tuple[list[str] | None, ...] = (None, [])
    for nothing in values:
        given = attributes | dict.fromkeys(limits, nothing)
        answer = http.post("/v1/key", json=key_body(f"{label}-{nothing is None}", attributes=given))
        assert answer.status_code == 201
        assert not set(limits) & set(answer.json()["json"]["attributes"])


@pytest.mark.rule("R9")
def test_r9_limits_are_kept_from_the_first_request_on_and_shown(http: httpx.Client) -> None:
    limits = {"allowedOperations": ["sign"], "allowedAlgorithms": ["SHA512_WITH_ECDSA", "SHA256_WITH_ECDSA"]}
    attributes = {"decrypt": False, "sign": True, "unwrap": False}
    made = http.post("/v1/key", json=key_body("limited", attributes=attributes | limits)).json()
    shown = made["json"]["attributes"]
    assert shown["allowedOperations"] == ["sign"]
    assert shown["allowedAlgorithms"] == ["SHA256_WITH_ECDSA", "SHA512_WITH_ECDSA"]
    for path in ("/v1/sign", "/v1/synchronousSign"):
        inner = {"payload": "AAAA", "signKeyName": "limited", "signatureAlgorithm": "SHA384_WITH_ECDSA"}
        body = error_of(http.post(path, json={"signRequest": inner}), 400, 607)
        assert body["refusal"] == "key.algorithm-not-allowed"
        inner["signatureAlgorithm"] = "SHA512_WITH_ECDSA"
        assert http.post(path, json={"signRequest": inner}).status_code in {200, 201}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"algorithm": None}, 600),
        ({"algorithm": "ENIGMA"}, 600),
        ({"algorithmOid": "1.2.3"}, 600),
        ({"algorithmOid": "1.2.840.113549.1.1.1"}, 600),
        ({"curveOid": "1.2.3"}, 600),
        ({"curveOid": None}, 600),
        ({"algorithm": "RSA", "curveOid": None, "keySize": 1024}, None),
        ({"keySize": -1}, 600),
        ({"attributes": {}}, 600),
        ({"attributes": {"decrypt": False, "sign": True}}, 600),
        ({"attributes": {"decrypt": False, "sign": "yes", "unwrap": False}}, 600),
        ({"attributes": {"decrypt": False, "sign": False, "unwrap": False}}, 606),
        ({"label": ""}, 600),
        ({"label": "a/b"}, 610),
        ({"label": " a"}, 610),
        ({"label": "a" * 129}, 610),
        ({"addressFormat": {"format": "BTC"}}, 605),
        ({"policy": {}}, 600),
        ({"policy": {"ruleUse": None, "keyStatus": {"blocked": "no"}}}, 600),
        ({"surprise": 1}, 600),
    ],
)
def test_a_wrong_key_is_refused(http: httpx.Client, changes: dict[str, Any], code: int | None) -> None:
    if "wrong-base" not in http.get("/v1/key").json():
        assert http.post("/v1/key", json=key_body("wrong-base")).status_code == 201
    before = http.get("/v1/key").json()
    error_of(http.post("/v1/key", json=key_body("wrong", **changes)), 400, code)
    assert http.get("/v1/key").json() == before


def test_a_label_in_use_is_refused_with_608_and_deleting_needs_destroyable(http: httpx.Client) -> None:
    body = key_body("twice")
    assert http.post("/v1/key", json=body).status_code == 201
    assert "already" in error_of(http.post("/v1/key", json=body), 400, 608)["reason"]
    assert error_of(http.delete("/v1/key/twice"), 400, 614)["refusal"] == "key.not-destroyable"
    attributes = body["attributes"] | {"destroyable": True}
    assert http.post("/v1/key", json=key_body("once", attributes=attributes)).status_code == 201
    gone = http.delete("/v1/key/once")
    assert (gone.status_code, gone.json()) == (200, {})
    assert "key.not.existent" in error_of(http.delete("/v1/key/once"), 404, 650)["reason"]


# --- policies -------------------------------------------------------------------------------------------------


@pytest.mark.rule("R10")
def test_r10_a_modify_request_writes_out_all_four_rules(http: httpx.Client, protected: str, officers: Officers) -> None:
    whole = policy_json(make_policy(quorum(1, *officers)), new=False)

    def send(policy: Any) -> httpx.Response:
        return http.post("/v1/modify", json={"modifyRequest": {"modifyKeyName": protected, "policy": policy}})

    assert send(whole).status_code == 201
    for rule in ("ruleUse", "ruleBlock", "ruleUnblock", "ruleModify"):
        partial = {name: value for name, value in whole.items() if name != rule}
        assert rule in error_of(send(partial), 400, 600)["message"]
    assert "keyStatus" in error_of(send(whole | {"keyStatus": {"blocked": False}}), 400, 600)["message"]
    error_of(send(whole | {"ruleMore": None}), 400, 600)
    error_of(send(None), 400, 600)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("quorum", 0, 600),
        ("quorum", 4, 600),
        ("quorum", True, 600),
        ("quorum", 1.0, 600),
        ("quorum", "2", 600),
        ("approvals", [], 401),
        ("approvals", [{"type": "public_key", "name": "x", "value": "YQ=="}], None),
        ("approvals", [{"type": "oath", "name": "x", "value": "YQ=="}], 600),
        ("approvals", None, None),
    ],
)
def test_a_group_that_makes_no_sense_is_refused(
    http: httpx.Client, officers: Officers, field: str, value: Any, code: int | None
) -> None:
    policy = policy_json(make_policy(quorum(2, *officers)), new=True)
    label = f"group-{field}-{value!s:.6}"
    policy["ruleUse"]["tokens"][0]["groups"][0][field] = value
    error_of(http.post("/v1/key", json=key_body(label.replace("/", "")[:20].strip(), policy=policy)), 400, code)


@pytest.mark.parametrize(
    ("timelock", "timeout", "good"), [(60, 120, True), (30, 0, False), (120, 60, False), (-60, 0, False)]
)
def test_times_are_whole_minutes_in_order(
    http: httpx.Client, officers: Officers, timelock: int, timeout: int, good: bool
) -> None:
    policy = policy_json(make_policy(quorum(2, *officers)), new=True)
    policy["ruleUse"]["tokens"][0] |= {"timelock": timelock, "timeout": timeout}
    answer = http.post("/v1/key", json=key_body(f"times{timelock}", policy=policy))
    if good:
        assert answer.status_code == 201, answer.text
    else:
        error_of(answer, 400, 600)
