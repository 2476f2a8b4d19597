"""Whatever is sent, the answer is the documented error body; nothing is lost and nothing is a 500 (law 5).

For every refusal the same message without the defect is accepted in the same test.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.conftest import error_of
from keyturn.api.endpoints import ROUTES
from keyturn.errors import ErrorCode, KeyturnError
from keyturn_testing.officers import make_policy, quorum
from keyturn_testing.rest_server import (
    approve,
    b64,
    create_ec_key,
    fetch,
    policy_json,
    proof,
    signed_approval,
)

if TYPE_CHECKING:
    import httpx

    from keyturn.client import RestClient
    from keyturn_testing.officers import Officer

    Officers = tuple[Officer, Officer, Officer]

WITH_BODY = [route for route in ROUTES if route.body is not None]
EVERY_BODY = pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: f"{route.method} {route.path}")
UNKNOWN = "6f1c1d6e-4a3b-4c8e-9a54-0f8f7b0c1d2e"
JSON = {"content-type": "application/json"}


def sign_body(key: str, /, **changes: Any) -> dict[str, Any]:
    inner = {"payload": b64(b"pay"), "signKeyName": key, "signatureAlgorithm": "SHA256_WITH_ECDSA"}
    return {"signRequest": inner | changes}


@pytest.fixture(scope="session")
def plain(vault: Any) -> str:
    """The label of an ordinary key."""
    with vault.client() as rest:
        create_ec_key(rest, "plain", None)
    return "plain"


@pytest.fixture(scope="session")
def protected(vault: Any, officers: Officers) -> str:
    """The label of a key that two of three officers may use."""
    with vault.client() as rest:
        create_ec_key(rest, "protected", make_policy(quorum(2, *officers)))
    return "protected"


# --- every endpoint that takes a body ------------------------------------------------------------------------


@EVERY_BODY
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a":NaN}', b"[" * 50_000])
def test_malformed_json(http: httpx.Client, route: Any, content: bytes) -> None:
    answer = http.request(route.method, route.path, content=content, headers=JSON)
    body = error_of(answer, 400, 600)
    assert "json" in body["message"].lower()


@EVERY_BODY
@pytest.mark.parametrize("content", [b"[]", b"null", b"7", b'"text"', b"true"])
def test_a_body_that_is_no_object(http: httpx.Client, route: Any, content: bytes) -> None:
    answer = http.request(route.method, route.path, content=content, headers=JSON)
    assert "must be object" in error_of(answer, 400, 600)["message"]


@EVERY_BODY
def test_missing_fields_are_named(http: httpx.Client, route: Any) -> None:
    message = error_of(http.request(route.method, route.path, json={}), 400, 600)["message"]
    fields = msgspec.structs.fields(route.body)
    # A body with several forms has no field that it always needs; the message names those it could have.
    required = [field.encode_name for field in fields if field.required] or [field.encode_name for field in fields]
    assert any(f"'{name}'" in message for name in required), message


@EVERY_BODY
def test_unknown_properties_are_refused_at_the_top(http: httpx.Client, route: Any) -> None:
    answer = http.request(route.method, route.path, json={"surprise": 1})
    assert "'surprise' is not known" in error_of(answer, 400, 600)["message"]


@EVERY_BODY
@pytest.mark.rule("R10")
def test_r10_repeated_names_are_refused(http: httpx.Client, route: Any) -> None:
    answer = http.request(route.method, route.path, content=b'{"x":1,"x":1}', headers=JSON)
    assert error_of(answer, 400, 600)["refusal"] == "json.repeated-name"


@EVERY_BODY
def test_every_field_of_the_wrong_type_is_named(http: httpx.Client, route: Any) -> None:
    for field in msgspec.structs.fields(route.body):
        answer = http.request(route.method, route.path, json={field.encode_name: {"nonsense": [None]}})
        error_of(answer, 400, 600)
        answer = http.request(route.method, route.path, json={field.encode_name: 1.5})
        assert field.encode_name in error_of(answer, 400, 600)["message"]


@EVERY_BODY
@pytest.mark.rule("R30")
def test_r30_bodies_must_be_called_json(http: httpx.Client, route: Any) -> None:
    answer = http.request(route.method, route.path, content=b"{}", headers={"content-type": "text/plain"})
    error_of(answer, 415, 600)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_wrong_methods_are_405(http: httpx.Client, route: Any) -> None:
    path = route.path.replace("{file}", "start.js").replace("{", "").replace("}", "")
    answer = http.request("TRACE", path)
    error_of(answer, 405, 611)
    assert route.method in answer.headers["allow"]


_names = st.sampled_from(
    ["signRequest", "payload", "signKeyName", "label", "attributes", "policy", "ruleUse", "tokens", "id", "timestamp",
     "approverPublicKey", "keyAttributes", "xml", "json", "result", "paging", "modifyRequest", "x", "decryptRequest",
     "unwrapKeyRequest", "blockRequest", "timestampRequest", "requestStatusList", "approverName", "requestId"]
)  # fmt: skip
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(WITH_BODY), st.dictionaries(_names, _values, max_size=4))
def test_no_json_makes_the_server_stumble(http: httpx.Client, route: Any, body: dict[str, Any]) -> None:
    answer = http.request(route.method, route.path, content=msgspec.json.encode(body), headers=JSON)
    assert answer.status_code < 500, answer.text
    error_of(answer, answer.status_code)


# --- unknown things ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["nobody", "a/44'/0'", "ünbekannt", "a b", "%", "\u202e"])
def test_an_unknown_key_is_404_650(http: httpx.Client, rest: RestClient, plain: str, label: str) -> None:
    assert http.post("/v1/synchronousSign", json=sign_body(plain)).status_code == 200
    for answer in (
        http.post("/v1/synchronousSign", json=sign_body(label)),
        http.post("/v1/sign", json=sign_body(label)),
        http.post("/v1/key/attributes", json={"label": label}),
        http.post("/v1/key/deleteKey", json={"label": label}),
    ):
        assert error_of(answer, 404, 650)["reason"] == "res.error.key.not.existent"
    with pytest.raises(KeyturnError) as caught:
        rest.call("DELETE", f"/v1/key/{UNKNOWN}")
    assert caught.value.code is ErrorCode.KEY_NOT_EXISTENT


@pytest.mark.parametrize("request_id", [UNKNOWN, "17", "x" * 300, "%00", "..", "qrCode"])
def test_an_unknown_request_is_404_651(http: httpx.Client, rest: RestClient, protected: str, request_id: str) -> None:
    known = rest.sign(sign_body(protected)["signRequest"])
    assert http.get(f"/v1/request/{known}").status_code == 200
    for answer in (
        http.get(f"/v1/request/{request_id}"),
        http.delete(f"/v1/request/{request_id}"),
        http.get(f"/v1/request/{request_id}/preflight"),
    ):
        if answer.status_code == 404 and request_id in {"..", "x" * 300}:
            continue  # Not this endpoint any more.
        error_of(answer, 404, 651)


def test_an_unknown_task_is_404_652(http: httpx.Client, rest: RestClient, protected: str, officers: Officers) -> None:
    ada = officers[0]
    request = rest.sign(sign_body(protected)["signRequest"])
    (task,) = fetch(rest, ada, requestId=request)
    for unknown in (UNKNOWN, "x", "0" * 500):
        error_of(http.post("/v1/approval", json=signed_approval(ada, task) | {"id": unknown}), 404, 652)
        error_of(http.request("DELETE", "/v1/task", json=proof(ada) | {"id": unknown}), 404, 652)
        error_of(http.request("PATCH", "/v1/task", json=proof(ada) | {"id": unknown}), 404, 652)
    approve(rest, ada, task)


# --- payloads and their forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", ["YQ", "Y Q=", "YQ==\n", "Y-_=", "äää="])
def test_bad_base64_is_named_by_its_field(http: httpx.Client, plain: str, payload: str) -> None:
    assert http.post("/v1/synchronousSign", json=sign_body(plain, payload="YQ==")).status_code == 200
    body = error_of(http.post("/v1/synchronousSign", json=sign_body(plain, payload=payload)), 400, 600)
    assert body["message"] == "Field 'signRequest.payload' is not a valid base64 encoded value"
    approvals = sign_body(plain, signedApprovals=[payload])
    body = error_of(http.post("/v1/synchronousSign", json=approvals), 400, 600)
    assert "'signRequest.signedApprovals[0]'" in body["message"]


def test_64_kib_are_signed_and_one_byte_more_is_not(http: httpx.Client, plain: str) -> None:
    whole = b64(bytes(65_536))
    assert http.post("/v1/synchronousSign", json=sign_body(plain, payload=whole)).status_code == 200
    assert http.post("/v1/sign", json=sign_body(plain, payload=whole)).status_code == 201
    more = b64(bytes(65_537))
    for path in ("/v1/synchronousSign", "/v1/sign"):
        body = error_of(http.post(path, json=sign_body(plain, payload=more)), 400, 612)
        assert "64 KiB" in body["message"]


def test_a_body_over_the_cap_is_413_and_the_server_goes_on(http: httpx.Client, plain: str) -> None:
    error_of(http.post("/v1/synchronousSign", content=b" " * ((2 << 20) + 1), headers=JSON), 413, 612)
    assert http.post("/v1/synchronousSign", json=sign_body(plain)).status_code == 200


def test_a_hex_payload_is_the_same_payload(http: httpx.Client, rest: RestClient, plain: str) -> None:
    answer = http.post("/v1/synchronousSign", json=sign_body(plain, payload="706179", payloadType="HEX"))
    assert rest.verify(plain, "SHA256_WITH_ECDSA", b"pay", base64.b64decode(answer.json()["signature"]))
    error_of(http.post("/v1/synchronousSign", json=sign_body(plain, payload="70617", payloadType="HEX")), 400, 635)


def test_a_password_is_refused_and_no_password_has_several_spellings(http: httpx.Client, plain: str) -> None:
    spellings: tuple[list[str] | str | None, ...] = (None, [], "")
    for none in spellings:
        assert http.post("/v1/synchronousSign", json=sign_body(plain, keyPassword=none)).status_code == 200
    for some in ("geheim", ["g"]):
        body = error_of(http.post("/v1/synchronousSign", json=sign_body(plain, keyPassword=some)), 400, 620)
        assert "password mismatch" in body["message"]
        assert "geheim" not in body["message"]


@pytest.mark.parametrize(
    "field", ["context", "auxiliaryRandomData", "taprootTweakData", "merkleRootData", "signKeyObject"]
)
def test_what_this_version_cannot_do_is_refused_not_ignored(http: httpx.Client, plain: str, field: str) -> None:
    assert http.post("/v1/synchronousSign", json=sign_body(plain, **{field: None})).status_code == 200
    error_of(http.post("/v1/synchronousSign", json=sign_body(plain, **{field: "YQ=="})), 400, 611)


@pytest.mark.parametrize("path", ["/v1/synchronousSign", "/v1/sign"])
def test_an_unknown_algorithm_is_refused_before_anybody_approves(
    http: httpx.Client, rest: RestClient, plain: str, path: str
) -> None:
    assert http.post(path, json=sign_body(plain)).status_code in {200, 201}
    error_of(http.post(path, json=sign_body(plain, signatureAlgorithm="ROT13")), 400)
    error_of(http.post(path, json=sign_body(plain, signatureType="XML")), 400, 600)


def test_a_request_signature_has_its_form_and_metadata_travel(
    http: httpx.Client, rest: RestClient, protected: str, officers: Officers
) -> None:
    signature = {"signature": "YQ==", "digestAlgorithm": "SHA-256", "publicKey": "YQ=="}
    meta = {"metaData": b64(b'{"app":"till"}'), "metaDataSignature": b64(b"sig")}
    body = sign_body(protected, **meta) | {"requestSignature": signature}
    answer = http.post("/v1/sign", json=body)
    assert answer.status_code == 201
    armoured = {"publicKey": "-----BEGIN PUBLIC KEY-----YQ==-----END PUBLIC KEY-----"}
    assert http.post("/v1/sign", json=body | {"requestSignature": signature | armoured}).status_code == 201
    (task,) = fetch(rest, officers[0], requestId=answer.json()["signRequestId"])
    assert (task["metaData"], task["metaDataSignature"]) == (meta["metaData"], meta["metaDataSignature"])
    assert json.loads(base64.b64decode(task["requestBase64"])) == body
    assert task["signedSignRequest"]["requestSignature"] == signature
    assert task["signedSignRequest"]["signRequest"] == body["signRequest"] | {"keyPassword": None}
    for defect in ({"signature": "?"}, {"publicKey": None}, {"digestAlgorithm": ""}, {"more": 1}):
        error_of(http.post("/v1/sign", json=body | {"requestSignature": signature | defect}), 400, 600)
    error_of(http.post("/v1/sign", json=sign_body(protected, metaData="?")), 400, 600)


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
        ({"password": "p"}, 620),
        ({"addressFormat": {"format": "BTC"}}, 611),
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
