"""Endpoints of the server itself and of the air gap, called as documented clients call them, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn_testing.plain_client import PlainClient, b64, endpoint, row, unb64
from keyturn_testing.rest_server import ServeProcess, signed_approval
from keyturn_testing.ruled_keys import ADA, RULED, task_of

if TYPE_CHECKING:
    import pytest


@endpoint("GET /v1/versionInfo")
@endpoint("GET /v1/keystore/statistics")
def test_the_server(api: PlainClient) -> None:
    assert api.get("/v1/versionInfo")["Version"] == "2.2.0"
    assert isinstance(api.get("/v1//keystore/statistics")["keyStoreStatistics"], str)


@endpoint("GET /v1/generateRandom/{length}")
def test_random_bytes(api: PlainClient) -> None:
    assert len(unb64(api.get("/v1/generateRandom/32")["random"])) == 32
    assert api.call("GET", "/v1/generateRandom/0", status=400)["errorCode"] == 619


@endpoint("GET /v1/licenseInfo")
def test_what_is_licensed(api: PlainClient) -> None:
    assert {"REST_API", "TSB_ENGINE", "KEY_AUTH"} <= set(api.get("/v1/licenseInfo")["clientFlags"])


@endpoint("GET /v1/hsm/log")
def test_the_log_of_the_hsm(api: PlainClient) -> None:
    assert api.get("/v1/hsm/log")["log"]


@endpoint("POST /v1/createRfcTimestamp")
def test_a_dated_hash(api: PlainClient) -> None:
    answer = api.post("/v1/createRfcTimestamp", {"payload": b64(bytes(32)), "hashAlgorithm": "SHA256"})
    assert unb64(answer["timestamp"])[0] == 0x30


@row("endpoint", "GET /v1/request/qrCode/{id}")
@row("endpoint", "PUT /v1/resultFromOfflineHsm")
def test_what_crosses_the_gap(api: PlainClient, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An approved request leaves as an image, its result comes back."""
    label = api.create("EC", "sign", policy=RULED)["json"]["label"]
    device = tmp_path_factory.mktemp("device") / "chain.pem"
    device.write_text("".join(api.get("/v1/attestation")["attestationCertificateChain"]))
    options = ["--attestation-cert", str(device)]
    with (
        ServeProcess(tmp_path_factory.mktemp("online"), "air-gapped", options) as broker,
        PlainClient(broker.url) as online,
    ):
        online.post("/v1/offlineKey", api.post("/v1/key/attributes", {"label": label}), 201)
        inner = {"payload": b64(b"x"), "signKeyName": label, "signatureAlgorithm": "SHA256_WITH_ECDSA"}
        request = str(online.post("/v1/sign", {"signRequest": inner}, 201)["signRequestId"])
        online.post("/v1/approval", signed_approval(ADA, task_of(online, request)))
        status = online.get(f"/v1/request/{request}")
        assert (status["status"], status["executionTime"]) == ("PENDING", None)
        assert status["result"] == "Execution shall be made with offline HSM"
        image = online.http.get(f"/v1/request/qrCode/{request}")
        assert image.status_code == 200
        signature = api.post("/v1/synchronousSign", status["inputOfflineHsm"])["signature"]
        online.call("PUT", "/v1/resultFromOfflineHsm", {"id": request, "result": signature})
        assert online.get(f"/v1/request/{request}")["status"] == "EXECUTED"
