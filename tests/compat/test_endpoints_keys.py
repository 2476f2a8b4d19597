"""Endpoints of keys, their material and of data objects, called as documented clients call them, on a real server."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

from cryptography import x509

from keyturn_testing.plain_client import SECP256K1, b64, endpoint, unb64
from keyturn_testing.ruled_keys import EMPTY

if TYPE_CHECKING:
    from keyturn_testing.plain_client import PlainClient


@endpoint("POST /v1/key")
@endpoint("GET /v1/key")
@endpoint("POST /v1/key/attributes")
@endpoint("GET /v1/key/{keyName}/attributes")
@endpoint("DELETE /v1/key/{keyName}")
def test_a_key_from_its_making_to_its_end(api: PlainClient) -> None:
    made = api.create("EC", "sign")
    label = made["json"]["label"]
    assert made["json"]["id"] is None
    assert label in api.get("/v1//key")
    both = [api.post("/v1/key/attributes", {"label": label}), api.get(f"/v1/key/{label}/attributes")]
    for answer in both:
        assert isinstance(answer["xml"], str)
        assert isinstance(answer["xmlSignature"], str)
        assert isinstance(answer["attestationKeyName"], str)
        assert answer["json"]["publicKey"] == made["json"]["publicKey"]
    api.call("DELETE", f"/v1/key/{label}")
    gone = api.call("DELETE", f"/v1/key/{label}", status=404)
    assert (gone["errorCode"], gone["reason"]) == (650, "res.error.key.not.existent")


@endpoint("POST /v1/key/deleteKey")
@endpoint("POST /v1/key/changePassword")
def test_the_password_of_a_key(api: PlainClient) -> None:
    label = api.create("EC", "sign", password=["o", "l", "d"])["json"]["label"]
    api.post("/v1/key/changePassword", {"label": label, "password": ["o", "l", "d"], "newPassword": "new"})
    wrong = api.post("/v1/key/deleteKey", {"label": label, "password": "old"}, 400)
    assert wrong["errorCode"] == 620
    assert "password mismatch" in wrong["message"]
    api.post("/v1/key/deleteKey", {"label": label, "password": ["n", "e", "w"]})


@endpoint("POST /v1/key/address")
@endpoint("GET /v1/key/{keyName}/address")
def test_the_address_of_a_key(api: PlainClient) -> None:
    policy = {**EMPTY, "keyStatus": {"blocked": False}}
    made = api.create("EC", "sign", curve=SECP256K1, policy=policy, addressFormat={"format": "BTC"})["json"]
    address = api.post("/v1/key/address", {"label": made["label"]})
    assert len(unb64(address["address"])) == 20
    assert api.get(f"/v1/key/{made['label']}/address") == address


@endpoint("POST /v1/key/export/plain")
@endpoint("GET /v1/key/{keyName}/export/plain")
@endpoint("POST /v1/key/import/plain")
def test_key_material_goes_out_and_in(api: PlainClient) -> None:
    label = api.create("EC", "sign", attributes={"extractable": True, "sensitive": False})["json"]["label"]
    exported = api.post("/v1/key/export/plain", {"label": label})
    assert exported["secretKey"] is None
    assert api.get(f"/v1/key/{label}/export/plain") == exported
    again = {
        "label": api.label(),
        "algorithm": "EC",
        "privateKey": exported["privateKey"],
        "publicKey": exported["publicKey"],
        "attributes": {"sign": True, "decrypt": False, "unwrap": False},
        "policy": None,
    }
    answer = api.http.post("/v1/key/import/plain", json=again)
    assert answer.status_code in {200, 201}, answer.text
    signature = api.sign(again["label"], "SHA256_WITH_ECDSA", b"x")
    assert api.verifies(label, "SHA256_WITH_ECDSA", b"x", signature)


@endpoint("POST /v1/importedKey")
@endpoint("POST /v1/derivedKey")
def test_a_seed_and_a_key_derived_of_it(api: PlainClient) -> None:
    seed, child = api.label(), api.label()
    attributes = {
        "decrypt": False, "sign": True, "unwrap": False, "encrypt": False, "verify": True, "wrap": False,
        "derive": True, "bip32": True, "slip10": True, "extractable": False, "modifiable": True, "destroyable": True,
    }  # fmt: skip
    body = {"label": seed, "algorithm": "EC", "seed": b64(bytes(range(32))), "curveOid": SECP256K1}
    api.post("/v1/importedKey", {**body, "attributes": attributes}, 201)
    part = {"sign": True, "derive": False, "slip10": False, "extractable": False, "destroyable": True}
    derived = {"masterKeyLabel": seed, "derivationPath": "44'/0'/0'", "label": child, "attributes": part}
    api.post("/v1/derivedKey", {name: value for name, value in derived.items() if name != "label"}, 201)
    payload = b"x"
    signature = api.sign(f"{seed}/44'/0'/0'", "SHA256_WITH_ECDSA", payload)
    assert api.verifies(f"{seed}/44'/0'/0'", "SHA256_WITH_ECDSA", payload, signature)


@endpoint("POST /v1/key/keyAttestation")
def test_the_attestation_of_a_key_as_a_package(api: PlainClient) -> None:
    label = api.key("EC", "sign")
    answer = api.http.post("/v1/key/keyAttestation", json={"label": label})
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as package:
        assert {f"{label}.xml", f"{label}.sig", f"{label}.pem"} < set(package.namelist())


@endpoint("GET /v1/attestation")
def test_the_device(api: PlainClient) -> None:
    for pem in api.get("/v1/attestation")["attestationCertificateChain"]:
        x509.load_pem_x509_certificate(pem.encode())


@endpoint("POST /v1/dataObject")
@endpoint("GET /v1/dataObject/{dataObjectName}")
@endpoint("DELETE /v1/dataObject/{dataObjectName}")
def test_a_data_object(api: PlainClient) -> None:
    attributes = {"private": False, "modifiable": True, "destroyable": True}
    made = {"name": "object", "value": b64(b"value"), "attributes": attributes}
    answer = api.http.post("/v1/dataObject", json=made)
    assert answer.status_code in {200, 201}, answer.text
    assert api.get("/v1/dataObject/object") == made
    api.call("DELETE", "/v1/dataObject/object")
    assert api.call("GET", "/v1/dataObject/object", status=404)["errorCode"] == 653
