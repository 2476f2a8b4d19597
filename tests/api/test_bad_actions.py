"""Bodies of decrypt, unwrap, block and unblock, field by field: what clients write for "nothing", and what is refused.

For every refusal the same message without the defect is accepted in the same test.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from api.conftest import error_of
from keyturn_testing.actions import (
    AES_ATTRIBUTES,
    CIPHER,
    OAEP_SHA1,
    create_rsa_key,
    decrypt_body,
    oaep,
    unwrap_body,
    withdrawal,
)
from keyturn_testing.officers import make_policy, quorum
from keyturn_testing.rest_server import P256, approve, b64, create_ec_key, fetch, policy_json

if TYPE_CHECKING:
    import httpx

    from keyturn.client import RestClient
    from keyturn_testing.officers import Officer
    from keyturn_testing.rest_server import ServeProcess

    Officers = tuple[Officer, Officer, Officer]

UNKNOWN = "6f1c1d6e-4a3b-4c8e-9a54-0f8f7b0c1d2e"
NOTHING: tuple[Any, ...] = (None, [], "")


@pytest.fixture(scope="module")
def spki(vault: ServeProcess, officers: Officers) -> bytes:
    """The public part of `bad-open`, an ordinary key; two of three may use `bad-guarded` and wake `bad-asleep`."""
    with vault.client() as rest:
        policy = make_policy(quorum(2, *officers))
        create_ec_key(rest, "bad-guarded", policy)
        asleep = policy_json(policy, new=True) | {"keyStatus": {"blocked": True}}
        attributes = {"decrypt": False, "sign": True, "unwrap": False}
        rest.create_key("bad-asleep", "EC", curve_oid=P256, attributes=attributes, policy=asleep)
        return create_rsa_key(rest, "bad-open", None)


@pytest.fixture
def bodies(spki: bytes) -> dict[str, dict[str, Any]]:
    """A good inner object for every inner name; the new key of the unwrap has a name of its own."""
    wrapped = oaep(spki, os.urandom(16), OAEP_SHA1)
    return {
        "decryptRequest": decrypt_body("bad-open", oaep(spki, b"text")),
        "unwrapKeyRequest": unwrap_body("bad-open", wrapped, f"guest-{os.urandom(4).hex()}"),
        "blockRequest": {"blockKeyName": "bad-guarded"},
        "unblockRequest": {"unblockKeyName": "bad-asleep"},
    }


PATHS = {
    "decryptRequest": ("/v1/decrypt", "/v1/synchronousDecrypt"),
    "unwrapKeyRequest": ("/v1/unwrap", "/v1/synchronousUnwrap"),
    "blockRequest": ("/v1/block", "/v1/synchronousBlock"),
    "unblockRequest": ("/v1/unblock", "/v1/synchronousUnblock"),
}
EVERY = pytest.mark.parametrize("inner", PATHS)


def statuses(http: httpx.Client, inner: str, body: dict[str, Any]) -> tuple[int, int]:
    """The statuses of both calls; where the key is guarded the synchronous one lacks approvals, and that is all."""
    opened = http.post(PATHS[inner][0], json={inner: body})
    direct = body if inner != "unwrapKeyRequest" else body | {"label": body["label"] + "-too"}
    at_once = http.post(PATHS[inner][1], json={inner: direct})
    if at_once.status_code == 400:
        assert error_of(at_once, 400)["refusal"] == "approvals.missing", at_once.text
        return opened.status_code, 0
    return opened.status_code, at_once.status_code


@EVERY
def test_201_for_a_request_and_the_documented_status_at_once(
    http: httpx.Client, bodies: dict[str, Any], inner: str
) -> None:
    expected = {"decryptRequest": 200, "unwrapKeyRequest": 201, "blockRequest": 0, "unblockRequest": 0}
    assert statuses(http, inner, bodies[inner]) == (201, expected[inner])


@EVERY
def test_nulls_and_empty_values_mean_nothing(http: httpx.Client, bodies: dict[str, Any], inner: str) -> None:
    password = "unwrapKeyPassword" if inner == "unwrapKeyRequest" else "keyPassword"
    for number, none in enumerate(NOTHING):
        nothing = {password: none, "metaData": None, "metaDataSignature": None}
        if inner == "decryptRequest":
            text = none if isinstance(none, str) else None
            nothing |= {"initializationVector": text, "additionalAuthenticationData": text, "tagLength": None}
        if inner == "unwrapKeyRequest":
            nothing |= {"policy": None, "label": f"{bodies[inner]['label']}-{number}"}
        assert statuses(http, inner, bodies[inner] | nothing)[0] == 201
    at_once = bodies[inner] | {"signedApprovals": None, "requestId": None}
    if inner == "unwrapKeyRequest":
        at_once |= {"label": bodies[inner]["label"] + "-null"}
    answer = http.post(PATHS[inner][1], json={inner: at_once, "requestSignature": None})
    assert answer.status_code in {200, 201} or answer.json()["refusal"] == "approvals.missing"


@EVERY
def test_a_password_for_a_key_that_has_none_is_refused_in_every_spelling_and_never_repeated(
    http: httpx.Client, bodies: dict[str, Any], inner: str
) -> None:
    password = "unwrapKeyPassword" if inner == "unwrapKeyRequest" else "keyPassword"
    # Done at once, an operation without its approvals is refused for these first, and says nothing of the password.
    approvals_first = PATHS[inner][1] if inner in {"blockRequest", "unblockRequest"} else ""
    for path in PATHS[inner]:
        for some in ("geheim", ["g", "e"]):
            answer = http.post(path, json={inner: bodies[inner] | {password: some}})
            body = error_of(answer, 400, 701 if path == approvals_first else 620)
            assert path == approvals_first or "password mismatch" in body["message"], "clients look for these words"
            assert "geheim" not in body["message"]
        error_of(http.post(path, json={inner: bodies[inner] | {password: ["gg"]}}), 400, 600)
        error_of(http.post(path, json={inner: bodies[inner] | {password: 7}}), 400, 600)
    assert statuses(http, inner, bodies[inner])[0] == 201


@EVERY
def test_every_required_field_is_named_when_it_is_missing_null_or_empty(
    http: httpx.Client, bodies: dict[str, Any], inner: str
) -> None:
    for path in PATHS[inner]:
        for name in bodies[inner]:
            missing = {key: value for key, value in bodies[inner].items() if key != name}
            body = error_of(http.post(path, json={inner: missing}), 400, 600)
            assert body["message"] == f"Field '{inner}.{name}' must be given."
            assert name in error_of(http.post(path, json={inner: bodies[inner] | {name: None}}), 400, 600)["message"]
            empty: Any = {} if name == "attributes" else ""
            error_of(http.post(path, json={inner: bodies[inner] | {name: empty}}), 400, 600)
        error_of(http.post(path, json={inner: bodies[inner] | {"surprise": 1}}), 400, 600)
    assert statuses(http, inner, bodies[inner])[0] == 201


@EVERY
def test_bad_base64_is_named_by_its_field(http: httpx.Client, bodies: dict[str, Any], inner: str) -> None:
    fields = {
        "decryptRequest": ["encryptedPayload", "initializationVector", "additionalAuthenticationData"],
        "unwrapKeyRequest": ["wrappedKey"],
    }
    for path in PATHS[inner]:
        for name in ("metaData", "metaDataSignature", *fields.get(inner, [])):
            body = error_of(http.post(path, json={inner: bodies[inner] | {name: "Y Q="}}), 400, 600)
            assert body["message"] == f"Field '{inner}.{name}' is not a valid base64 encoded value"
    approvals = bodies[inner] | {"signedApprovals": [b64(b"x"), "?"]}
    body = error_of(http.post(PATHS[inner][1], json={inner: approvals}), 400, 600)
    assert f"'{inner}.signedApprovals[1]'" in body["message"]
    error_of(http.post(PATHS[inner][0], json={inner: approvals}), 400, 600)
    assert statuses(http, inner, bodies[inner])[0] == 201


@EVERY
def test_a_request_signature_has_its_form(http: httpx.Client, bodies: dict[str, Any], inner: str) -> None:
    signature = {"signature": "YQ==", "digestAlgorithm": "SHA-256", "publicKey": "YQ=="}
    body = {inner: bodies[inner], "requestSignature": signature}
    assert http.post(PATHS[inner][0], json=body).status_code == 201
    for defect in ({"signature": "?"}, {"publicKey": None}, {"digestAlgorithm": ""}, {"more": 1}):
        for path in PATHS[inner]:
            error_of(http.post(path, json=body | {"requestSignature": signature | defect}), 400, 600)


@EVERY
def test_an_unknown_key_is_404_650(http: httpx.Client, bodies: dict[str, Any], inner: str) -> None:
    name = next(name for name in bodies[inner] if name.endswith("KeyName"))
    for path in PATHS[inner]:
        error_of(http.post(path, json={inner: bodies[inner] | {name: "nobody"}}), 404, 650)
    assert statuses(http, inner, bodies[inner])[0] == 201


# --- ciphers and wrap methods --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS["decryptRequest"])
def test_a_cipher_is_one_of_those_for_the_key(http: httpx.Client, bodies: dict[str, Any], path: str) -> None:
    def send(**changes: Any) -> httpx.Response:
        return http.post(path, json={"decryptRequest": bodies["decryptRequest"] | changes})

    assert send(cipherAlgorithm=CIPHER).status_code in {200, 201}
    assert error_of(send(cipherAlgorithm="ROT13"), 400, 629)["reason"] == "res.error.unsupported.cipher"
    error_of(send(cipherAlgorithm="AES_GCM", initializationVector=b64(bytes(12))), 400, 607)


@pytest.mark.parametrize("path", PATHS["decryptRequest"])
def test_a_tag_has_a_length_from_the_list(http: httpx.Client, bodies: dict[str, Any], path: str) -> None:
    def send(bits: Any) -> httpx.Response:
        return http.post(path, json={"decryptRequest": bodies["decryptRequest"] | {"tagLength": bits}})

    assert send(0).status_code in {200, 201}
    for wrong in (1, 127, 129, 32, -128):
        body = error_of(send(wrong), 400, 624)
        assert "120, 128" in body["message"]
    for no_number in (128.5, "128", True, 1 << 40):
        error_of(send(no_number), 400, 600)


@pytest.mark.parametrize("path", PATHS["decryptRequest"])
def test_64_kib_and_one_byte_are_too_much(http: httpx.Client, bodies: dict[str, Any], path: str) -> None:
    more = bodies["decryptRequest"] | {"encryptedPayload": b64(bytes(65_537))}
    error_of(http.post(path, json={"decryptRequest": more}), 400, 612)
    assert http.post(path, json={"decryptRequest": bodies["decryptRequest"]}).status_code in {200, 201}


@pytest.mark.parametrize("path", PATHS["unwrapKeyRequest"])
def test_a_wrap_method_is_one_of_those_for_the_key(http: httpx.Client, bodies: dict[str, Any], path: str) -> None:
    def send(**changes: Any) -> httpx.Response:
        return http.post(path, json={"unwrapKeyRequest": bodies["unwrapKeyRequest"] | changes})

    for method in ("GIFT_WRAP", "AES_WRAP", "AES_WRAP_BLS", "AES_WRAP_DSA"):
        error_of(send(wrapMethod=method), 400)
    assert send().status_code == 201


@pytest.mark.parametrize("path", PATHS["unwrapKeyRequest"])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"attributes": {"decrypt": True, "sign": False}}, 600),
        ({"attributes": AES_ATTRIBUTES | {"sign": "yes"}}, 600),
        ({"attributes": AES_ATTRIBUTES | {"allowedOperations": "decrypt"}}, 600),
        ({"attributes": AES_ATTRIBUTES | {"allowedOperations": ["sign"]}}, 606),
        ({"label": "a/b"}, 610),
        ({"policy": {}}, 600),
    ],
)
def test_a_wrong_new_key_is_refused(
    http: httpx.Client, rest: RestClient, bodies: dict[str, Any], path: str, changes: dict[str, Any], code: int | None
) -> None:
    good = bodies["unwrapKeyRequest"]
    before = rest.list_keys()
    error_of(http.post(path, json={"unwrapKeyRequest": good | changes}), 400, code)
    assert rest.list_keys() == before
    ignored = {"attributes": AES_ATTRIBUTES | {"neverExtractable": True, "later": "yes", "derive": None}}
    assert http.post(path, json={"unwrapKeyRequest": good | ignored}).status_code == 201


@pytest.mark.rule("R4")
def test_r4_a_symmetric_key_gets_no_policy_that_nobody_could_enforce(
    http: httpx.Client, bodies: dict[str, Any], officers: Officers
) -> None:
    policy = policy_json(make_policy(quorum(1, *officers)), new=True)
    body = {"label": "sym", "algorithm": "AES", "keySize": 256, "attributes": AES_ATTRIBUTES}
    error_of(http.post("/v1/key", json=body | {"policy": policy}), 400)
    assert http.post("/v1/key", json=body | {"policy": None}).status_code == 201
    inner = bodies["unwrapKeyRequest"]
    error_of(http.post("/v1/synchronousUnwrap", json={"unwrapKeyRequest": inner | {"policy": policy}}), 400)
    promised = {"attributes": AES_ATTRIBUTES | {"singleUse": True}}
    error_of(http.post("/v1/synchronousUnwrap", json={"unwrapKeyRequest": inner | promised}), 400, 606)
    assert http.post("/v1/synchronousUnwrap", json={"unwrapKeyRequest": inner | {"policy": None}}).status_code == 201


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"keySize": None}, None),
        ({"keySize": 0}, None),
        ({"keySize": 129}, 603),
        ({"keySize": 512}, 603),
        ({"curveOid": "1.2.840.10045.3.1.7"}, None),
    ],
)
def test_a_wrong_aes_key_is_refused(http: httpx.Client, changes: dict[str, Any], code: int | None) -> None:
    label = f"aes-{os.urandom(4).hex()}"
    body = {"label": label, "algorithmOid": "1.0.18033.3.2.1", "keySize": 128, "attributes": AES_ATTRIBUTES}
    error_of(http.post("/v1/key", json=body | changes), 400, code)
    assert http.post("/v1/key", json=body).status_code == 201


# --- withdrawing, the directory, lists -------------------------------------------------------------------------


def test_a_withdrawal_names_a_known_task_in_the_documented_form(
    http: httpx.Client, rest: RestClient, officers: Officers
) -> None:
    ada, *_ = officers
    create_ec_key(rest, "bad-regret", make_policy(quorum(2, *officers)))
    body = {"payload": b64(b"pay"), "signKeyName": "bad-regret", "signatureAlgorithm": "SHA256_WITH_ECDSA"}
    request = rest.sign(body)
    (task,) = fetch(rest, ada, requestId=request)
    approve(rest, ada, task)
    good = withdrawal(ada, task)

    def send(**changes: Any) -> httpx.Response:
        return http.request("DELETE", "/v1/approval", json=good | changes)

    for unknown in (UNKNOWN, "x", "0" * 500, "ü"):
        error_of(send(id=unknown), 404, 652)
    for name in good:
        error_of(send(**{name: "" if name != "approverPublicKey" else None}), 400, 600)
    error_of(send(signature="?"), 400, 600)
    error_of(send(approvalDigestAlgorithm="SHA-1"), 400, 600)
    error_of(send(approverCertificate=b64(ada.certificate)), 400, 600)
    error_of(send(more=1), 400, 600)
    answer = send()
    assert (answer.status_code, answer.json()) == (200, {})


def test_an_entry_of_the_directory_has_a_name_and_a_certificate(http: httpx.Client, officers: Officers) -> None:
    ada, *_ = officers
    good = {"approverName": "Ada of the books", "approverCertificate": b64(ada.certificate)}
    for defect in (
        {"approverName": ""}, {"approverName": None}, {"approverName": 7}, {"approverCertificate": ""},
        {"approverCertificate": "?"}, {"approverCertificate": None}, {"more": 1},
    ):  # fmt: skip
        error_of(http.post("/v1/approverDirectory", json=good | defect), 400, 600)
    error_of(http.post("/v1/approverDirectory", json=good | {"approverCertificate": b64(b"no certificate")}), 400)
    armoured = f"-----BEGIN CERTIFICATE-----\n{good['approverCertificate']}\n-----END CERTIFICATE-----\n"
    answer = http.post("/v1/approverDirectory", json=good | {"approverCertificate": armoured})
    assert (answer.status_code, answer.json()) == (201, {})
    gone = http.delete("/v1/approverDirectory/Ada%20of%20the%20books")
    assert (gone.status_code, gone.json()) == (200, {})
    error_of(http.delete("/v1/approverDirectory/Ada%20of%20the%20books"), 404, 654)


@pytest.mark.parametrize("wrong", [["LOST"], "PENDING", [1], [None]])
def test_a_status_is_one_of_the_documented_ones(http: httpx.Client, wrong: Any) -> None:
    error_of(http.post("/v1/filteredRequests", json={"requestStatusList": wrong}), 400, 600)
    for right in (None, [], ["PENDING"], ["PENDING", "PENDING"]):
        assert http.post("/v1/filteredRequests", json={"requestStatusList": right}).status_code == 200
    error_of(http.get("/v1/filteredRequests?status=PENDING"), 400, 600)
