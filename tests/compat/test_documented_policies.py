"""Policies, key material, broken bodies and the air gap, as documented clients have them."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from keyturn_testing.documented_bodies import (
    ADA,
    BEN,
    EVE,
    SIGNS,
    asks,
    by_certificate,
    by_key,
    new_policy,
    read_status,
    refused,
    rule,
    ruled,
    spki_key,
    succeeds,
    tasks,
)
from keyturn_testing.plain_client import P256, PlainClient, b64, unb64
from keyturn_testing.rest_server import ServeProcess, proof, signed_approval

EXCHANGE = X25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
"""A public key of a kind that no approver can have."""


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        pytest.param(new_policy(rule(1, by_key(ADA), timeout=90)), 600, id="no full minutes"),
        pytest.param(new_policy(rule(1)), 401, id="a group without approvals"),
        pytest.param(new_policy(rule(1, by_key(ADA), by_certificate(BEN))), 602, id="keys beside certificates"),
        pytest.param(
            new_policy(rule(1, {"type": "public_key", "name": None, "value": b64(EXCHANGE)})), 601, id="no signing key"
        ),
    ],
)
def test_policies_that_are_refused(api: PlainClient, policy: dict[str, Any], code: int) -> None:
    """Each beside one without the defect."""
    body = {"label": api.label(), "algorithm": "EC", "curveOid": P256, "attributes": SIGNS}
    wrong = api.http.post("/v1/key", json={**body, "policy": policy})
    assert wrong.status_code in {400, 404}, wrong.text
    assert wrong.json()["errorCode"] == code, wrong.text
    if "minutes" in wrong.text:
        assert "seconds must represent full minutes" in wrong.json()["message"]
    api.post("/v1/key", {**body, "policy": new_policy(rule(1, by_key(ADA), timeout=120))}, 201)


def test_a_policy_of_alternatives(api: PlainClient) -> None:
    """Tokens are alternatives, groups of a token are all needed; it is shown as it was given."""
    groups = [
        {"name": "sales", "quorum": 1, "approvals": [by_key(ADA), by_key(EVE)]},
        {"name": "risk", "quorum": 1, "approvals": [by_key(BEN)]},
    ]
    alone = [{"name": "owner", "quorum": 2, "approvals": [by_key(ADA), by_key(BEN)]}]
    use = {
        "tokens": [
            {"name": "both", "timelock": 0, "timeout": 3600, "groups": groups},
            {"name": "owners", "timelock": 0, "timeout": 0, "groups": alone},
        ]
    }
    policy = new_policy(use, ruleModify=rule(2, by_key(ADA), by_key(BEN)))
    body = {"label": "alternatives", "algorithm": "EC", "curveOid": P256, "attributes": SIGNS, "policy": policy}
    assert api.post("/v1/key", body, 201)["json"]["policy"] == policy
    request = asks(api, "alternatives")
    for officer in (EVE, BEN):
        assert read_status(api, request)["status"] == "PENDING"
        task, *_ = tasks(api, officer, requestId=request)
        succeeds(api, "POST", "/v1/approval", signed_approval(officer, task))
    assert read_status(api, request)["status"] == "EXECUTED"


def test_approvals_that_were_collected_elsewhere(api: PlainClient) -> None:
    """`signedApprovals` of a synchronous call: empty they are too few, and two of two are enough."""
    made = ruled(api, "collected", rule(2, by_key(ADA), by_key(EVE)))
    inner = {
        "payload": b64(b"payment"), "payloadType": "UNSPECIFIED", "signKeyName": "collected", "keyPassword": None,
        "metaData": None, "metaDataSignature": None, "signatureAlgorithm": "SHA256_WITH_ECDSA", "signatureType": None,
    }  # fmt: skip
    for officers in ([], [ADA]):
        few = [b64(officer.approve_use("collected", b"payment")) for officer in officers]
        refused(api, "POST", "/v1/synchronousSign", 400, {"signRequest": {**inner, "signedApprovals": few}})
    approvals = [b64(officer.approve_use("collected", b"payment")) for officer in (ADA, EVE)]
    answer = api.post("/v1/synchronousSign", {"signRequest": {**inner, "signedApprovals": approvals}})
    spki_key(made["publicKey"]).verify(unb64(answer["signature"]), b"payment", ec.ECDSA(hashes.SHA256()))


def test_material_of_all_kinds_comes_in_and_goes_out(api: PlainClient) -> None:
    """What does not apply is null; a public key or a certificate alone needs no attributes."""
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pkcs8 = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    export = {"extractable": True, "sensitive": False, "modifiable": True, "destroyable": True}
    nothing = {"privateKey": None, "publicKey": None, "secretKey": None, "certificate": None}
    path = "/v1/key/import/plain"
    pair = {**nothing, "label": "in-pair", "algorithm": "EC", "privateKey": b64(pkcs8), "attributes": SIGNS | export}
    succeeds(api, "POST", path, pair)
    out = api.post("/v1/key/export/plain", {"label": "in-pair", "password": None})
    assert (out["publicKey"], out["secretKey"]) == (b64(public), None)
    assert isinstance(load_der_private_key(unb64(out["privateKey"]), None), ec.EllipticCurvePrivateKey)
    assert refused(api, "POST", path, 400, pair)["errorCode"] == 608
    secret = {"encrypt": True, "decrypt": True, "sign": False, "unwrap": False, **export}
    symmetric = {**nothing, "label": "in-secret", "algorithm": "AES", "secretKey": b64(bytes(32)), "attributes": secret}
    refused(api, "POST", path, 400, {**symmetric, "publicKey": b64(public)})
    succeeds(api, "POST", path, symmetric)
    out = api.post("/v1/key/export/plain", {"label": "in-secret"})
    assert (out["privateKey"], out["publicKey"], out["secretKey"]) == (None, None, b64(bytes(32)))
    succeeds(api, "POST", path, {"label": "in-public", "algorithm": "EC", "publicKey": b64(public)})
    signature = b64(private.sign(b"x", ec.ECDSA(hashes.SHA256())))
    assert api.verifies("in-public", "SHA256_WITH_ECDSA", b"x", signature)
    alone = {"label": "in-certificate", "algorithm": "EC", "certificate": b64(ADA.certificate)}
    succeeds(api, "POST", path, alone)
    assert api.verifies("in-certificate", "SHA256_WITH_ECDSA", b"x", b64(ADA.sign(b"x")))


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"", b'{"label": 5}', b'{"label": "x", "certificate": "MA==",}'],
)  # fmt: skip
def test_bodies_that_are_none(api: PlainClient, content: bytes) -> None:
    """400 with a numeric code, the Go client's import with its trailing comma among them."""
    answer = api.http.post(
        "/v1/certificate/import/plain", content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400, answer.text
    assert type(answer.json()["errorCode"]) is int


def test_an_approved_request_without_an_hsm(api: PlainClient, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It stays PENDING, says in words who executes it, and shows a body that is ready for `/v1/synchronousSign`."""
    made = api.create("EC", "sign", label="gap", policy=new_policy(rule(1, by_key(ADA))))["json"]
    device = tmp_path_factory.mktemp("device") / "chain.pem"
    device.write_text("".join(api.get("/v1/attestation")["attestationCertificateChain"]))
    options = ["--attestation-cert", str(device)]
    with (
        ServeProcess(tmp_path_factory.mktemp("online"), "air-gapped", options) as broker,
        PlainClient(broker.url) as online,
    ):
        online.post("/v1/offlineKey", api.post("/v1/key/attributes", {"label": "gap"}), 201)
        request = asks(online, "gap")
        status = read_status(online, request)
        assert (status["status"], status["notYetApprovedBy"]) == ("PENDING", [b64(ADA.spki)])
        assert status.get("inputOfflineHsm") is None
        (task,) = online.post("/v1/filteredAllApprovalTask", {**proof(ADA), "requestId": request})["tasks"]
        succeeds(online, "POST", "/v1/approval", signed_approval(ADA, task))
        status = read_status(online, request)
    assert (status["status"], status["executionTime"]) == ("PENDING", None)
    assert status["result"] == "Execution shall be made with offline HSM"
    assert (status["approvedBy"], status["notYetApprovedBy"], status["rejectedBy"]) == ([b64(ADA.spki)], [], [])
    inner = status["inputOfflineHsm"]["signRequest"]
    # `requestId` is an extension, by which the receipt is bound to the request.
    named = {"payload", "payloadType", "signKeyName", "signatureAlgorithm", "signedApprovals"}
    assert set(inner) == named | {"requestId"}
    assert set(status["inputOfflineHsm"]) == {"signRequest"}
    assert (inner["payload"], inner["payloadType"], inner["signKeyName"]) == (b64(b"payment"), "ISO_20022", "gap")
    (approval,) = inner["signedApprovals"]
    assert unb64(approval)
    signature = unb64(api.post("/v1/synchronousSign", status["inputOfflineHsm"])["signature"])
    spki_key(made["publicKey"]).verify(signature, b"payment", ec.ECDSA(hashes.SHA256()))
