"""Programs written for the documented API, one story for each of them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn_testing.documented_bodies import (
    NEVER,
    SIGNS,
    go_reads_attributes,
    new_policy,
    read_status,
    refused,
    spki_key,
    succeeds,
)
from keyturn_testing.plain_client import P256, SECP256K1, PlainClient, b64, unb64


def test_a_program_written_as_the_fireblocks_key_store_does(api: PlainClient) -> None:
    """A password as a string, payloads in hex, reasons read literally, and exactly 200 for a deletion."""
    body = {
        "label": "fireblocks", "password": "secret", "algorithm": "EC", "keySize": 0, "curveOid": SECP256K1,
        "attributes": {**SIGNS, "destroyable": True, "neverExtractable": True, "alwaysSensitive": True}, "policy": None,
    }  # fmt: skip
    public = spki_key(succeeds(api, "POST", "/v1/key", body)["json"]["publicKey"])
    again = refused(api, "POST", "/v1/key", 400, body)
    assert (again["errorCode"], again["reason"]) == (608, "res.error.key.already.existing")
    digest = hashlib.sha256(b"transaction").digest()
    inner = {
        "payload": digest.hex(), "payloadType": "HEX", "signKeyName": "fireblocks", "keyPassword": "secret",
        "metaData": None, "metaDataSignature": None, "signatureAlgorithm": "NONE_WITH_ECDSA",
    }  # fmt: skip
    request = api.post("/v1/sign", {"signRequest": inner}, 201)["signRequestId"]
    signature = unb64(read_status(api, request)["result"])
    public.verify(signature, b"transaction", ec.ECDSA(hashes.SHA256()))
    # The array means the same, and so do a missing password, null and an empty array for a key without one.
    spelled = {**inner, "keyPassword": list("secret")}
    api.post("/v1/synchronousSign", {"signRequest": spelled | {"signedApprovals": []}})
    wrong = refused(api, "POST", "/v1/sign", 400, {"signRequest": {**inner, "payload": "no hex"}})
    assert wrong["errorCode"] == 635
    succeeds(api, "POST", "/v1/key/deleteKey", {"label": "fireblocks", "password": "secret"})
    gone = refused(api, "DELETE", "/v1/key/fireblocks", 404)
    assert gone["reason"] == "res.error.key.not.existent"


@pytest.mark.parametrize("password", [None, [], "left out"])
def test_no_password_in_three_spellings(api: PlainClient, password: object) -> None:
    """Missing, null and an empty array."""
    given = {} if password == "left out" else {"password": password}
    label = f"no-password-{password}"
    body = {"label": label, **given, "algorithm": "EC", "curveOid": P256, "attributes": SIGNS, "policy": None}
    api.post("/v1/key", body, 201)
    spellings: list[dict[str, Any]] = [{}, {"keyPassword": None}, {"keyPassword": []}]
    for use in spellings:
        api.sign(label, "SHA256_WITH_ECDSA", b"x", **use)
    api.post("/v1/key/attributes", {"label": label, **given})


def test_the_certificates_of_the_fireblocks_key_store(api: PlainClient) -> None:
    """A flat body for a request, `label` and PEM in the answer."""
    api.create("EC", "sign", label="fireblocks-csr")
    body = {
        "signKeyName": "fireblocks-csr", "keyPassword": None, "signatureAlgorithm": "SHA256_WITH_ECDSA",
        "validity": 365,
        "standardCertificateAttributes": {"commonName": "signer", "organizationIdentifier": "VATCH-1", "country": "CH"},
        "keyUsage": ["DIGITAL_SIGNATURE", "CONTENT_COMMITMENT"], "extendedKeyUsage": [],
    }  # fmt: skip
    made = succeeds(api, "POST", "/v1/certificate/synchronous/request", body)
    assert made["label"] == "fireblocks-csr"
    first, _, _ = made["certificateSigningRequest"].partition("\n")
    assert first.strip() == "-----BEGIN NEW CERTIFICATE REQUEST-----"


def test_a_program_written_as_emvault_does(api: PlainClient) -> None:
    """`algorithm` beside a seed, attributes that others do not know, a part of them for the child."""
    body = {
        "label": "emvault", "algorithm": "EC", "seed": b64(bytes(range(64))), "curveOid": SECP256K1,
        "attributes": {
            "encrypt": False, "decrypt": False, "verify": True, "sign": True, "wrap": False, "unwrap": False,
            "derive": True, "bip32": True, "slip10": False, "extractable": False, "modifiable": True,
            "destroyable": True, "sensitive": True, "copyable": False,
        },
    }  # fmt: skip
    api.post("/v1/importedKey", body, 201)
    derived = {
        "masterKeyLabel": "emvault", "derivationPath": "44'/60'/0'/0/0",
        "attributes": {"sign": True, "derive": False, "slip10": False, "extractable": False, "destroyable": True},
    }  # fmt: skip
    shown = api.post("/v1/derivedKey", derived, 201)["json"]
    point = unb64(shown["publicKey"])[-65:]
    assert point[0] == 4
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), point)
    signature = api.sign("emvault/44'/60'/0'/0/0", "SHA256_WITH_ECDSA", b"x")
    public.verify(unb64(signature), b"x", ec.ECDSA(hashes.SHA256()))
    temporary = api.post("/v1/key/attributes", {"label": "emvault/44'/60'/0'/0/1"})["json"]
    assert temporary["label"] == "emvault/44'/60'/0'/0/1"
    assert temporary["publicKey"] != shown["publicKey"]
    assert set(temporary["derivedAttributes"]) == {"derivationType", "derivationValue"}
    wrong = refused(api, "POST", "/v1/derivedKey", 400, {**derived, "derivationPath": "44'/x"})
    assert wrong["errorCode"] == 606


def test_a_program_written_as_the_vault_plugin_does(api: PlainClient) -> None:
    """It looks for words in bodies of refusals, and polls while the text is `PENDING`."""
    assert isinstance(api.get("/v1/keystore/statistics")["keyStoreStatistics"], str)
    unknown = refused(api, "POST", "/v1/key/attributes", 404, {"label": "hcvault"})
    assert unknown["errorCode"] == 650
    assert any(words in json.dumps(unknown) for words in ("not existent", "does not exist"))
    body = {
        "label": "hcvault", "password": list("secret"), "algorithm": "RSA", "keySize": 2048,
        "attributes": {**SIGNS, "decrypt": True, "extractable": False}, "policy": None,
    }  # fmt: skip
    api.post("/v1/key", body, 201)
    assert "already" in json.dumps(refused(api, "POST", "/v1/key", 400, body))
    key = {"decryptKeyName": "hcvault", "cipherAlgorithm": "RSA_PADDING_OAEP_WITH_SHA256"}
    encrypted = api.encrypt("hcvault", "RSA_PADDING_OAEP_WITH_SHA256", b"secret", keyPassword=list("secret"))
    assert set(encrypted) >= {
        "encryptedPayload", "encryptedPayloadWithoutMessageAuthenticationCode", "initializationVector",
        "messageAuthenticationCode",
    }  # fmt: skip
    assert (encrypted["initializationVector"], encrypted["messageAuthenticationCode"]) == (None, None)
    inner = {**key, "encryptedPayload": encrypted["encryptedPayload"], "initializationVector": None, "tagLength": 0}
    wrong = refused(
        api, "POST", "/v1/synchronousDecrypt", 400, {"decryptRequest": {**inner, "keyPassword": list("sekret")}}
    )
    assert wrong["errorCode"] == 620
    assert "password mismatch" in wrong["message"]
    right = {"decryptRequest": {**inner, "keyPassword": list("secret")}}
    assert unb64(api.post("/v1/synchronousDecrypt", right)["payload"]) == b"secret"
    request = api.post("/v1/decrypt", right, 201)["decryptRequestId"]
    assert unb64(read_status(api, request)["result"]) == b"secret"


def test_a_program_written_as_simple_sign_does(api: PlainClient) -> None:
    """Rules that nobody can fulfil, alternative names, and certificates as results."""
    policy = new_policy(None, ruleModify=NEVER, ruleBlock=NEVER, ruleUnblock=NEVER)
    made = api.create("EC", "sign", label="simple-ca", password="secret", policy=policy)["json"]
    assert (made["policy"]["ruleModify"], made["policy"]["ruleUse"]) == (NEVER, None)
    subject = {"commonName": "simple root", "organizationName": "example", "country": "CH"}
    body: dict[str, Any] = {
        "signKeyName": "simple-ca", "keyPassword": "secret", "validity": 365, "signatureAlgorithm": "SHA256_WITH_ECDSA",
        "standardCertificateAttributes": subject, "certificateAuthority": True,
        "keyUsage": ["KEY_CERT_SIGN", "CRL_SIGN"], "extendedKeyUsage": [],
    }  # fmt: skip
    answer = succeeds(api, "POST", "/v1/certificate/synchronous/selfsign", body)
    root = x509.load_pem_x509_certificate(answer["certificate"].encode())
    assert answer["label"] == "simple-ca"
    attached = succeeds(api, "GET", "/v1/certificate/simple-ca")
    assert attached["label"] == "simple-ca"
    assert x509.load_pem_x509_certificate(attached["certificate"].encode()) == root
    api.create("EC", "sign", label="simple-leaf")
    asked = {
        "signKeyName": "simple-leaf", "signatureAlgorithm": "SHA256_WITH_ECDSA",
        "standardCertificateAttributes": {"commonName": "signer", "email": "signer@example.com"},
        "keyUsage": ["DIGITAL_SIGNATURE"], "extendedKeyUsage": [],
    }  # fmt: skip
    pem = succeeds(api, "POST", "/v1/certificate/synchronous/request", asked)["certificateSigningRequest"]
    issue = {
        "signKeyName": "simple-ca", "keyPassword": "secret", "signatureAlgorithm": "SHA256_WITH_ECDSA",
        "standardCertificateAttributes": {"commonName": "signer"}, "certificateAuthority": False,
        "certificateSigningRequest": pem, "keyUsage": ["DIGITAL_SIGNATURE"], "extendedKeyUsage": ["CLIENT_AUTH"],
        "validity": 90, "copyExtensions": "NO_COPY",
        "subjectAlternativeNames": [{"sanType": "DNS", "sanValue": "signer.example.com"}],
    }  # fmt: skip
    leaf = x509.load_pem_x509_certificate(
        succeeds(api, "POST", "/v1/certificate/synchronous/sign", issue)["certificate"].encode()
    )
    leaf.verify_directly_issued_by(root)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["signer.example.com"]
    assert leaf.extensions.get_extension_for_class(x509.KeyUsage).critical
    inner = {**body, "metaData": None, "metaDataSignature": None}
    signed = {"selfSignCertificateRequest": inner, "requestSignature": None}
    request = api.post("/v1/certificate/selfsign", signed, 201)["signRequestId"]
    x509.load_pem_x509_certificate(read_status(api, request)["result"].encode())
    # Nobody can ever block it.
    blocked = {"blockRequest": {"blockKeyName": "simple-ca", "keyPassword": "secret", "signedApprovals": []}}
    refused(api, "POST", "/v1/synchronousBlock", 400, blocked)


def test_a_program_written_as_go_kms_wrapping_does(api: PlainClient) -> None:
    """It encrypts at once and decrypts by request, and takes all but EXECUTED for failure."""
    body = {
        "label": "gokms", "algorithm": "AES", "keySize": 256, "policy": None,
        "attributes": {
            "encrypt": True, "decrypt": True, "sign": False, "verify": False, "wrap": False, "unwrap": False,
            "extractable": False, "destroyable": True,
        },
    }  # fmt: skip
    shown = go_reads_attributes(api.post("/v1/key", body, 201))
    assert (shown["algorithmOid"], shown["keySize"], shown["publicKey"]) == ("1.0.18033.3.2.1", 256, None)
    aad = {"additionalAuthenticationData": b64(b"context"), "tagLength": 128}
    encrypted = api.encrypt("gokms", "AES_GCM", b"data key", keyPassword=None, **aad)
    inner = {
        "encryptedPayload": encrypted["encryptedPayload"], "decryptKeyName": "gokms", "keyPassword": None,
        "metaData": None, "metaDataSignature": None, "cipherAlgorithm": "AES_GCM",
        "initializationVector": encrypted["initializationVector"], **aad,
    }  # fmt: skip
    request = api.post("/v1/decrypt", {"decryptRequest": inner, "requestSignature": None}, 201)["decryptRequestId"]
    status = read_status(api, request)
    assert status["status"] == "EXECUTED"
    assert status["executionTime"] is not None
    assert unb64(status["result"]) == b"data key"
    api.call("DELETE", "/v1/key/gokms")
    assert "gokms" not in api.get("/v1/key")


def test_a_program_written_as_the_bitcoin_broadcaster_does(api: PlainClient) -> None:
    """The address is HASH160 of the compressed point, as base64 in one answer and in upper-case hex in the other."""
    body = {
        "label": "btc", "algorithm": "EC", "curveOid": SECP256K1, "addressFormat": {"format": "BTC"},
        "attributes": {**SIGNS, "derive": False, "extractable": False}, "policy": new_policy(None),
    }  # fmt: skip
    made = api.post("/v1/key", body, 201)["json"]
    labels = api.get("/v1/key")
    assert isinstance(labels, list)
    assert "btc" in labels
    point = spki_key(made["publicKey"]).public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    address = unb64(api.post("/v1/key/address", {"label": "btc"})["address"])
    assert len(address) == 20
    assert made["addressTruncated"] == {"address": address.hex().upper(), "format": "BTC"}
    try:
        ripemd = hashlib.new("ripemd160", hashlib.sha256(point).digest())
    except ValueError:  # pragma: no cover - A build of OpenSSL without it.
        pass
    else:
        assert address == ripemd.digest()
    inner = {
        "payload": b64(b"transaction"), "payloadType": "BTC", "signKeyName": "btc",
        "signatureAlgorithm": "DOUBLE_SHA256_WITH_ECDSA", "signatureType": "DER",
    }  # fmt: skip
    request = api.post("/v1/sign", {"signRequest": inner}, 201)["signRequestId"]
    signature = unb64(read_status(api, request)["result"])
    once = hashlib.sha256(b"transaction").digest()
    spki_key(made["publicKey"]).verify(signature, once, ec.ECDSA(hashes.SHA256()))
    unknown = refused(api, "POST", "/v1/key/address", 404, {"label": "btc-none"})
    assert unknown["errorCode"] == 650
    api.create("EC", "sign", label="btc-plain", curve=SECP256K1)
    assert refused(api, "POST", "/v1/key/address", 400, {"label": "btc-plain"})["errorCode"] == 630
