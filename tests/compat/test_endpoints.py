"""Every endpoint of the documented API, called as its clients call it, on a real server."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.plain_client import SECP256K1, b64, endpoint, row, unb64
from keyturn_testing.rest_server import policy_json, proof, signed_approval

if TYPE_CHECKING:
    from keyturn_testing.plain_client import PlainClient

pytestmark = pytest.mark.xdist_group("compat-endpoints")

ADA = Officer("Ada", "P-256")
EMPTY = {"ruleUse": None, "ruleBlock": None, "ruleUnblock": None, "ruleModify": None}
RULED = policy_json(make_policy(quorum(1, ADA)), new=True)
"""A policy by which one officer must approve every use."""


def protected(api: PlainClient, **rules: Any) -> str:
    """A new key that signs and decrypts, with an empty policy or with rules."""
    policy = {**EMPTY, "keyStatus": {"blocked": False}, **rules}
    made = api.create("RSA", "sign", "decrypt", "unwrap", policy=policy)
    return str(made["json"]["label"])


# --- keys --------------------------------------------------------------------------------------------


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


# --- operations at once ------------------------------------------------------------------------------


@endpoint("POST /v1/synchronousSign")
@endpoint("POST /v1/verify")
def test_a_signature(api: PlainClient) -> None:
    key = api.key("EC", "sign")
    signature = api.sign(key, "SHA256_WITH_ECDSA", b"x", metaData=None, metaDataSignature=None, keyPassword=[])
    assert api.verifies(key, "SHA256_WITH_ECDSA", b"x", signature)
    assert not api.verifies(key, "SHA256_WITH_ECDSA", b"y", signature)


@endpoint("POST /v1/synchronousHmac")
def test_an_authentication_code(api: PlainClient) -> None:
    key = api.key("HMACSHA256", "sign")
    inner = {"keyName": key, "payload": b64(b"x")}
    hashed = api.post("/v1/synchronousHmac", {"hmacRequest": inner})["keyedHash"]
    assert len(unb64(hashed)) == 32
    answer = api.post("/v1/verify", {"verifyHmacRequest": {**inner, "signature": hashed}})
    assert answer["signatureValid"] is True


@endpoint("POST /v1/encrypt")
@endpoint("POST /v1/synchronousDecrypt")
def test_encryption(api: PlainClient) -> None:
    key = api.key("AES", "encrypt", "decrypt")
    aad = {"additionalAuthenticationData": b64(b"head"), "tagLength": 96}
    encrypted = api.encrypt(key, "AES_GCM", b"payload", **aad)
    assert len(unb64(encrypted["initializationVector"])) == 12
    assert len(unb64(encrypted["messageAuthenticationCode"])) == 12
    assert api.decrypt(key, "AES_GCM", encrypted, **aad, signedApprovals=[]) == b"payload"


@endpoint("POST /v1/wrap")
@endpoint("POST /v1/synchronousUnwrap")
def test_wrapping(api: PlainClient) -> None:
    inner = api.create("AES", "decrypt", attributes={"extractable": True})["json"]["label"]
    outer = api.key("AES", "wrap", "unwrap")
    request = {"keyToBeWrapped": inner, "wrapKeyName": outer, "wrapMethod": "AES_WRAP"}
    wrapped = api.post("/v1/wrap", {"wrapKeyRequest": request})["wrappedKey"]
    api.post("/v1/synchronousUnwrap", {"unwrapKeyRequest": unwrap_request(api, outer, wrapped)}, 201)


def unwrap_request(api: PlainClient, outer: str, wrapped: str) -> dict[str, Any]:
    """The inner object of an unwrap call."""
    attributes = {"decrypt": True, "sign": False, "unwrap": False}
    return {
        "wrappedKey": wrapped, "label": api.label(), "attributes": attributes, "unwrapKeyName": outer,
        "wrapMethod": "AES_WRAP",
    }  # fmt: skip


@endpoint("POST /v1/synchronousBlock")
@endpoint("POST /v1/synchronousUnblock")
@endpoint("POST /v1/synchronousModify")
def test_a_key_with_an_empty_policy_is_ruled_at_once(api: PlainClient) -> None:
    key = protected(api)
    api.post("/v1/synchronousBlock", {"blockRequest": {"blockKeyName": key, "signedApprovals": []}})
    assert api.post("/v1/key/attributes", {"label": key})["json"]["policy"]["keyStatus"]["blocked"] is True
    api.post("/v1/synchronousUnblock", {"unblockRequest": {"unblockKeyName": key, "signedApprovals": []}})
    modify = {"modifyKeyName": key, "policy": EMPTY, "signedApprovals": []}
    api.post("/v1/synchronousModify", {"modifyRequest": modify})


@endpoint("POST /v1/fileEncrypt")
@endpoint("POST /v1/synchronousFileDecrypt")
def test_a_file(api: PlainClient) -> None:
    key = api.create("EC", "decrypt", curve="1.3.132.0.34", attributes={"derive": True})["json"]["label"]
    content = bytes(range(256)) * 1000

    def send(path: str, part: str, inner: str, name: str, data: bytes) -> bytes:
        request = f'{{"{inner}": {{"{name}": "{key}"}}}}'
        files: dict[str, Any] = {"file": ("report.pdf", data), part: (None, request, "application/json")}
        answer = api.http.post(path, files=files)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("application/octet-stream")
        return answer.content

    encrypted = send("/v1/fileEncrypt", "SignedFileEncryptRequestDto", "fileEncryptRequest", "encryptKeyName", content)
    assert content[:64] not in encrypted
    clear = send(
        "/v1/synchronousFileDecrypt", "SignedFileDecryptRequestDto", "fileDecryptRequest", "decryptKeyName", encrypted
    )
    assert clear == content


@endpoint("POST /v1/encapsulate")
@endpoint("POST /v1/synchronousDecapsulate")
@endpoint("POST /v1/decapsulate")
def test_encapsulation(api: PlainClient) -> None:
    made = api.create("ML-KEM-768", "decrypt")["json"]
    shared = api.post("/v1/encapsulate", {"publicKey": made["publicKey"]})
    inner = {"decapsulationKeyName": made["label"], "ciphertext": shared["ciphertext"]}
    body = {"decapsulationRequest": inner}
    assert api.post("/v1/synchronousDecapsulate", body)["sharedSecret"] == shared["sharedSecret"]
    request = api.post("/v1/decapsulate", body, 201)["decapsulationRequestId"]
    assert executed(api, request)["result"] == shared["sharedSecret"]


# --- operations as requests --------------------------------------------------------------------------


def executed(api: PlainClient, request: str) -> Any:
    """A request that must be executed at the first look."""
    status = api.get(f"/v1/request/{request}")
    assert status["status"] == "EXECUTED", status
    assert (status["approvedBy"], status["notYetApprovedBy"], status["rejectedBy"]) == ([], [], [])
    return status


@endpoint("POST /v1/sign")
@endpoint("POST /v1/decrypt")
@endpoint("GET /v1/request/{id}")
def test_requests_for_ordinary_keys_are_executed_at_once(api: PlainClient) -> None:
    key = api.key("EC", "sign")
    inner: dict[str, Any] = {"payload": b64(b"x"), "signKeyName": key, "signatureAlgorithm": "SHA256_WITH_ECDSA"}
    request = api.post("/v1/sign", {"signRequest": inner, "requestSignature": None}, 201)["signRequestId"]
    assert api.verifies(key, "SHA256_WITH_ECDSA", b"x", executed(api, request)["result"])
    rsa = api.create("RSA", "decrypt")["json"]
    encrypted = rsa_encrypt(rsa["publicKey"], b"secret")
    inner = {
        "encryptedPayload": b64(encrypted), "decryptKeyName": rsa["label"], "cipherAlgorithm": "RSA_PADDING_OAEP",
        "initializationVector": None, "additionalAuthenticationData": None, "tagLength": 0,
    }  # fmt: skip
    request = api.post("/v1/decrypt", {"decryptRequest": inner}, 201)["decryptRequestId"]
    assert unb64(executed(api, request)["result"]) == b"secret"


def rsa_encrypt(spki: str, payload: bytes) -> bytes:
    """OAEP with SHA-1, as a program does that has the public key only."""
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    key = load_der_public_key(unb64(spki))
    assert isinstance(key, rsa.RSAPublicKey)
    sha1 = hashes.SHA1()  # noqa: S303 - What RSA_PADDING_OAEP means.
    return key.encrypt(payload, padding.OAEP(padding.MGF1(sha1), sha1, None))


@endpoint("POST /v1/unwrap")
def test_a_request_to_unwrap(api: PlainClient) -> None:
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    made = api.create("RSA", "unwrap")["json"]
    key = load_der_public_key(unb64(made["publicKey"]))
    assert isinstance(key, rsa.RSAPublicKey)
    wrapped = key.encrypt(bytes(32), padding.PKCS1v15())
    inner = {**unwrap_request(api, made["label"], b64(wrapped)), "wrapMethod": "RSA_WRAP_PAD"}
    request = api.post("/v1/unwrap", {"unwrapKeyRequest": inner}, 201)["unwrapRequestId"]
    executed(api, request)
    assert inner["label"] in api.get("/v1/key")


@endpoint("POST /v1/block")
@endpoint("POST /v1/unblock")
@endpoint("POST /v1/modify")
def test_requests_that_change_a_key_with_an_empty_policy(api: PlainClient) -> None:
    key = protected(api)
    executed(api, api.post("/v1/block", {"blockRequest": {"blockKeyName": key}}, 201)["blockKeyRequestId"])
    executed(api, api.post("/v1/unblock", {"unblockRequest": {"unblockKeyName": key}}, 201)["unblockKeyRequestId"])
    body = {"modifyRequest": {"modifyKeyName": key, "policy": EMPTY}}
    executed(api, api.post("/v1/modify", body, 201)["modifyKeyRequestId"])


# --- certificates ------------------------------------------------------------------------------------

SUBJECT = {"commonName": "compat", "country": "CH", "organizationName": "keyturn"}


@pytest.fixture(scope="module")
def authority(api: PlainClient) -> str:
    """A key with a self-signed certificate."""
    return str(api.create("EC", "sign")["json"]["label"])


def certificate_body(key: str, **more: Any) -> dict[str, Any]:
    """What all certificate bodies have; usages as the Go client sends them: several in one string, none as "" in it."""
    other = "KEY_CERT_SIGN" if more.get("certificateAuthority") else "CONTENT_COMMITMENT"
    usages = {"keyUsage": [f"DIGITAL_SIGNATURE,{other}"], "extendedKeyUsage": [""]}
    return {"signKeyName": key, "signatureAlgorithm": "SHA256_WITH_ECDSA", **usages, **more}


def csr(api: PlainClient) -> str:
    """A certificate request, PEM."""
    body = certificate_body(api.key("EC", "sign"), standardCertificateAttributes=SUBJECT)
    answer = api.http.post("/v1/certificate/synchronous/request", json=body)
    assert answer.status_code in {200, 201}, answer.text
    return str(answer.json()["certificateSigningRequest"])


def answered_certificate(api: PlainClient, path: str, body: dict[str, Any]) -> x509.Certificate:
    """The certificate of an answer."""
    answer = api.http.post(path, json=body)
    assert answer.status_code in {200, 201}, answer.text
    return x509.load_pem_x509_certificate(answer.json()["certificate"].encode())


@endpoint("POST /v1/certificate/synchronous/request")
@endpoint("POST /v1/certificate/synchronous/request/download")
def test_a_certificate_request(api: PlainClient) -> None:
    assert "-----BEGIN NEW CERTIFICATE REQUEST-----" in csr(api)
    body = certificate_body(api.key("EC", "sign"), standardCertificateAttributes=SUBJECT, validity=365)
    answer = api.http.post("/v1/certificate/synchronous/request/download", json=body)
    assert answer.status_code in {200, 201}, answer.text
    x509.load_pem_x509_csr(answer.text.replace("NEW CERTIFICATE", "CERTIFICATE").encode())


@endpoint("POST /v1/certificate/synchronous/selfsign")
@endpoint("POST /v1/certificate/synchronous/sign")
def test_a_certificate_at_once(api: PlainClient, authority: str) -> None:
    body = certificate_body(authority, commonName="root", certificateAuthority=True, validity=365)
    root = answered_certificate(api, "/v1/certificate/synchronous/selfsign", body)
    body = certificate_body(
        authority, commonName="leaf", certificateAuthority=False, certificateSigningRequest=csr(api)
    )
    leaf = answered_certificate(api, "/v1/certificate/synchronous/sign", body)
    leaf.verify_directly_issued_by(root)


@endpoint("POST /v1/certificate/synchronous/create/selfSigned")
def test_a_certificate_under_the_older_name(api: PlainClient, authority: str) -> None:
    body = certificate_body(authority, standardCertificateAttributes=SUBJECT, certificateAuthority=True, validity=365)
    made = answered_certificate(api, "/v1/certificate/synchronous/create/selfSigned", body)
    assert made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "compat"


@endpoint("POST /v1/certificate/import/plain")
@endpoint("GET /v1/certificate/{keyName}")
@endpoint("DELETE /v1/certificate/{keyName}")
def test_the_certificate_of_a_key(api: PlainClient) -> None:
    key = str(api.create("EC", "sign")["json"]["label"])
    body = certificate_body(key, commonName="self", certificateAuthority=False, validity=30)
    made = answered_certificate(api, "/v1/certificate/synchronous/selfsign", body)
    api.call("DELETE", f"/v1/certificate/{key}")
    imported = {"label": key, "certificate": b64(made.public_bytes(Encoding.DER))}
    assert answered_certificate(api, "/v1/certificate/import/plain", imported) == made
    read = api.get(f"/v1/certificate/{key}")
    assert read["label"] == key
    assert x509.load_pem_x509_certificate(read["certificate"].encode()) == made


@endpoint("POST /v1/certificate/request")
@endpoint("POST /v1/certificate/sign")
@endpoint("POST /v1/certificate/selfsign")
def test_certificates_as_requests(api: PlainClient, authority: str) -> None:
    meta = {"metaData": None, "metaDataSignature": None}
    inner = certificate_body(authority, standardCertificateAttributes=SUBJECT, **meta)
    made = executed(api, api.post("/v1/certificate/request", {"csrSignRequest": inner}, 201)["signRequestId"])
    assert "CERTIFICATE REQUEST" in made["result"]
    inner = certificate_body(authority, commonName="root", certificateAuthority=True, validity=365, **meta)
    body: dict[str, Any] = {"selfSignCertificateRequest": inner}
    root = executed(api, api.post("/v1/certificate/selfsign", body, 201)["signRequestId"])["result"]
    inner = certificate_body(
        authority, commonName="leaf", certificateAuthority=False, certificateSigningRequest=made["result"], **meta
    )
    body = {"signCertificateRequest": inner}
    leaf = executed(api, api.post("/v1/certificate/sign", body, 201)["signRequestId"])["result"]
    x509.load_pem_x509_certificate(leaf.encode()).verify_directly_issued_by(
        x509.load_pem_x509_certificate(root.encode())
    )


# --- requests and approvals --------------------------------------------------------------------------


def waiting(api: PlainClient) -> str:
    """A request that waits for Ada."""
    key = api.key("EC", "sign", label="ruled", policy=RULED)
    inner = {"payload": b64(b"x"), "signKeyName": key, "signatureAlgorithm": "SHA256_WITH_ECDSA"}
    return str(api.post("/v1/sign", {"signRequest": inner}, 201)["signRequestId"])


def tasks(api: PlainClient, kind: str, **more: Any) -> list[dict[str, Any]]:
    """Ada's tasks."""
    found: list[dict[str, Any]] = api.post(f"/v1/filtered{kind}ApprovalTask", proof(ADA) | more)["tasks"]
    return found


def task_of(api: PlainClient, request: str) -> dict[str, Any]:
    """Ada's task of one request."""
    (task,) = tasks(api, "Sign", requestId=request)
    return task


@endpoint("POST /v1/approval")
@endpoint("POST /v1/filteredSignApprovalTask")
@endpoint("POST /v1/filteredAllApprovalTask")
def test_an_approver_approves(api: PlainClient) -> None:
    request = waiting(api)
    assert api.get(f"/v1/request/{request}")["status"] == "PENDING"
    paging = {"pageNumber": 0, "pageSize": 50, "sortOrder": "CREATION_DATE_DESC"}
    (task,) = [
        task
        for task in tasks(api, "All", detailLevel="level1", paging=paging, id=None)
        if task == task_of(api, request)
    ]
    api.post("/v1/approval", signed_approval(ADA, task))
    status = api.get(f"/v1/request/{request}")
    assert (status["status"], status["approvedBy"]) == ("EXECUTED", [b64(ADA.spki)])
    assert api.verifies("ruled", "SHA256_WITH_ECDSA", b"x", status["result"])


@pytest.mark.parametrize(
    "verb", [pytest.param(verb, marks=endpoint(f"{verb} /v1/task")) for verb in ("DELETE", "PATCH")]
)
def test_an_approver_rejects(api: PlainClient, verb: str) -> None:
    request = waiting(api)
    api.call(verb, "/v1/task", {"id": task_of(api, request)["id"], **proof(ADA)})
    status = api.get(f"/v1/request/{request}")
    assert (status["status"], status["rejectedBy"]) == ("REJECTED", [b64(ADA.spki)])


@pytest.mark.parametrize(
    ("kind", "path", "inner", "name"),
    [
        pytest.param(kind, *more, marks=endpoint(f"POST /v1/filtered{kind}ApprovalTask"), id=kind)
        for kind, *more in (
            ("Decrypt", "/v1/decrypt", "decryptRequest", "decryptKeyName"),
            ("UnwrapKey", "/v1/unwrap", "unwrapKeyRequest", "unwrapKeyName"),
            ("BlockKey", "/v1/block", "blockRequest", "blockKeyName"),
            ("ModifyKey", "/v1/modify", "modifyRequest", "modifyKeyName"),
        )
    ],
)
def test_tasks_by_kind(api: PlainClient, kind: str, path: str, inner: str, name: str) -> None:
    rule = RULED["ruleUse"]
    label = protected(api, ruleUse=rule, ruleBlock=rule, ruleUnblock=rule, ruleModify=rule)
    members = {
        "Decrypt": {"encryptedPayload": b64(bytes(256)), "cipherAlgorithm": "RSA_PADDING_OAEP"},
        "UnwrapKey": {**unwrap_request(api, label, b64(bytes(256))), "wrapMethod": "RSA_WRAP_OAEP"},
        "BlockKey": {},
        "ModifyKey": {"policy": EMPTY},
    }[kind]
    answer = api.post(path, {inner: {**members, name: label}}, 201)
    (request,) = answer.values()
    (task,) = tasks(api, kind, requestId=request)
    assert task["detailLevel"] == "level1"


@endpoint("POST /v1/filteredUnblockKeyApprovalTask")
def test_tasks_to_unblock(api: PlainClient) -> None:
    label = protected(api, ruleUnblock=RULED["ruleUse"])
    api.post("/v1/synchronousBlock", {"blockRequest": {"blockKeyName": label}})
    request = api.post("/v1/unblock", {"unblockRequest": {"unblockKeyName": label}}, 201)["unblockKeyRequestId"]
    assert len(tasks(api, "UnblockKey", requestId=request)) == 1


@endpoint("DELETE /v1/request/{id}")
@endpoint("POST /v1/filteredRequests")
@endpoint("GET /v1/filteredRequests")
def test_a_request_is_cancelled(api: PlainClient) -> None:
    request = waiting(api)
    pending = {"id": request, "status": "PENDING"}
    assert pending in api.post("/v1/filteredRequests", {"requestStatusList": ["PENDING"]})["requests"]
    assert pending in api.get("/v1/filteredRequests?requestStatusList=PENDING")["requests"]
    api.call("DELETE", f"/v1/request/{request}")
    assert api.get(f"/v1/request/{request}")["status"] == "CANCELLED"


# --- approvers who are onboarded ---------------------------------------------------------------------

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


# --- service -----------------------------------------------------------------------------------------


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


# --- the air gap -------------------------------------------------------------------------------------


@row("endpoint", "GET /v1/request/qrCode/{id}")
@row("endpoint", "PUT /v1/resultFromOfflineHsm")
def test_what_crosses_the_gap(api: PlainClient, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An approved request leaves as an image, its result comes back."""
    from keyturn_testing.plain_client import PlainClient as Client
    from keyturn_testing.rest_server import ServeProcess

    label = api.create("EC", "sign", policy=RULED)["json"]["label"]
    device = tmp_path_factory.mktemp("device") / "chain.pem"
    device.write_text("".join(api.get("/v1/attestation")["attestationCertificateChain"]))
    options = ["--attestation-cert", str(device)]
    with (
        ServeProcess(tmp_path_factory.mktemp("online"), "air-gapped", options) as broker,
        Client(broker.url) as online,
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
