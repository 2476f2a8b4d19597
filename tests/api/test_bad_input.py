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

from api.conftest import error_of, sign_body
from keyturn.api.endpoints import ROUTES
from keyturn.errors import ErrorCode, KeyturnError
from keyturn_testing.rest_server import (
    approve,
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

WITH_BODY = [route for route in ROUTES if route.body is not None]
EVERY_BODY = pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: f"{route.method} {route.path}")
UNKNOWN = "6f1c1d6e-4a3b-4c8e-9a54-0f8f7b0c1d2e"
JSON = {"content-type": "application/json"}


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


def test_no_password_has_several_spellings_and_a_key_without_refuses_one(http: httpx.Client, plain: str) -> None:
    spellings: tuple[list[str] | str | None, ...] = (None, [], "")
    for none in spellings:
        assert http.post("/v1/synchronousSign", json=sign_body(plain, keyPassword=none)).status_code == 200
    for some in ("geheim", ["g"]):
        body = error_of(http.post("/v1/synchronousSign", json=sign_body(plain, keyPassword=some)), 400, 620)
        assert "password mismatch" in body["message"]
        assert "geheim" not in body["message"]


@pytest.mark.parametrize("field", ["context", "auxiliaryRandomData", "taprootTweakData", "merkleRootData"])
def test_a_parameter_that_the_algorithm_does_not_take_is_refused_not_ignored(
    http: httpx.Client, plain: str, field: str
) -> None:
    assert http.post("/v1/synchronousSign", json=sign_body(plain, **{field: None})).status_code == 200
    body = error_of(http.post("/v1/synchronousSign", json=sign_body(plain, **{field: "YQ=="})), 400, 600)
    assert body["message"].startswith(f"{field}: SHA256_WITH_ECDSA takes no such parameter")


def test_an_object_of_an_external_key_store_is_refused_not_ignored(http: httpx.Client, plain: str) -> None:
    assert http.post("/v1/synchronousSign", json=sign_body(plain, signKeyObject=None)).status_code == 200
    error_of(http.post("/v1/synchronousSign", json=sign_body(plain, signKeyObject="YQ==")), 400, 611)


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
