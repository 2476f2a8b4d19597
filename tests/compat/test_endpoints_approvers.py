"""Endpoints of approvers whose keys the HSM makes, called as documented clients call them, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from keyturn_testing.plain_client import endpoint, unb64

if TYPE_CHECKING:
    from keyturn_testing.plain_client import PlainClient


PASSWORD = list("backup password")


@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(
            verb,
            id=verb,
            marks=[
                endpoint(f"{verb} /v1/approverManagement/{path}")
                for path in ("create", "renewOneTimeCode", "restoreFromBackup", "restoreFromBackup/forgotPassword")
            ],
        )
        for verb in ("POST", "PUT")
    ],
)
def test_approver_keys_are_managed(api: PlainClient, verb: str) -> None:
    name = f"manager-{verb}"
    create_approver(api, name, verb)
    for path in ("renewOneTimeCode", "restoreFromBackup"):
        answer = api.http.request(verb, f"/v1/approverManagement/{path}", json={"approverName": name})
        if path == "restoreFromBackup" and answer.status_code == 400:
            assert answer.json()["errorCode"] == 414
            continue
        assert answer.status_code in {200, 201}, answer.text
        assert len(answer.json()["oneTimeCode"]) == 6
    onboard(api, name, answer_code(api, name, verb), "/v1/approver/onboard")
    body = {"approverName": name, "newBackupPassword": list("another password")}
    answer = api.http.request(verb, "/v1/approverManagement/restoreFromBackup/forgotPassword", json=body)
    assert answer.status_code in {200, 201}, answer.text
    status = api.get(f"/v1/request/{answer.json()['unwrapRequestId']}")
    assert status["status"] == "EXECUTED"
    assert len(status["result"]) == 6


def answer_code(api: PlainClient, name: str, verb: str) -> str:
    """A new one-time code."""
    answer = api.http.request(verb, "/v1/approverManagement/renewOneTimeCode", json={"approverName": name})
    return str(answer.json()["oneTimeCode"])


def create_approver(api: PlainClient, name: str, verb: str = "POST") -> str:
    """An approver key; its one-time code."""
    body = {"approverName": name, "algorithm": "RSA", "keySize": 2048, "backupPassword": PASSWORD, "validity": 365}
    answer = api.http.request(verb, "/v1/approverManagement/create", json=body)
    assert answer.status_code in {200, 201}, answer.text
    return str(answer.json()["oneTimeCode"])


def onboard(api: PlainClient, name: str, code: str, path: str) -> None:
    """The approver fetches the key, as the phone does."""
    transport = "0123456789abcdef"
    body = {"approverName": name, "oneTimeCode": list(code), "transportPassword": list(transport)}
    answer = api.post(path, body)
    cipher = AESGCM(transport.encode())
    store = cipher.decrypt(unb64(answer["initializationVector"]), unb64(answer["encryptedPayload"]), None)
    key, certificate, _ = pkcs12.load_key_and_certificates(store, "".join(PASSWORD).encode())
    assert key is not None
    assert certificate is not None
    key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@endpoint("POST /v1/approver/onboard")
@endpoint("POST /v1/approverManagement/onboard")
@endpoint("GET /v1/approverManagement/onboarding/status")
@endpoint("POST /v1/approverManagement/onboarding/status")
@endpoint("DELETE /v1/approverManagement/delete/{approverName}")
def test_an_approver_is_onboarded(api: PlainClient) -> None:
    for number, path in enumerate(("/v1/approver/onboard", "/v1/approverManagement/onboard")):
        onboard(api, f"approver-{number}", create_approver(api, f"approver-{number}"), path)
    create_approver(api, "late")
    shown = api.get("/v1/approverManagement/onboarding/status")
    assert shown == api.post("/v1/approverManagement/onboarding/status", {})
    assert {"approver-0", "approver-1"} <= {one["approverName"] for one in shown["onboarded"]}
    assert "late" in {one["approverName"] for one in shown["pending"]}
    api.call("DELETE", "/v1/approverManagement/delete/late")
