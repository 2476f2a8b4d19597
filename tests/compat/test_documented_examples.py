"""Bodies and answers of the documented API as its known clients send and read them, one story for each client."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from keyturn_testing.officers import Officer
from keyturn_testing.plain_client import P256, SECP256K1, PlainClient, b64, unb64
from keyturn_testing.rest_server import ServeProcess, proof, signed_approval

ADA, BEN, EVE = Officer("Ada", "P-256"), Officer("Ben", "RSA"), Officer("Eve", "ED")
UNRULED = {"ruleUse": None, "ruleBlock": None, "ruleUnblock": None, "ruleModify": None}
NEVER = {"tokens": None}
SIGNS = {"decrypt": False, "sign": True, "unwrap": False}
TIMESTAMP = "%Y-%m-%dT%H:%M:%SZ"
"""How the server writes moments."""


def by_key(officer: Officer) -> dict[str, Any]:
    """A policy's entry for an approver known by a key."""
    return {"type": "public_key", "name": officer.name, "value": b64(officer.spki)}


def by_certificate(officer: Officer) -> dict[str, Any]:
    """A policy's entry for an approver known by a certificate, with the null name of the Go client."""
    return {"type": "certificate", "name": None, "value": b64(officer.certificate)}


def rule(quorum: int, *approvals: dict[str, Any], timelock: int = 0, timeout: int = 0) -> dict[str, Any]:
    """A rule with one token with one group."""
    group = {"name": "group", "quorum": quorum, "approvals": list(approvals)}
    return {"tokens": [{"name": "main", "timelock": timelock, "timeout": timeout, "groups": [group]}]}


def new_policy(use: dict[str, Any] | None, **others: dict[str, Any] | None) -> dict[str, Any]:
    """The policy of a new key: five members, `keyStatus` among them."""
    return {**UNRULED, "ruleUse": use, "keyStatus": {"blocked": False}, **others}


def succeeds(api: PlainClient, method: str, path: str, body: object = None) -> Any:
    """A call that clients take for done: 200 or 201, and never 204; the JSON answer."""
    answer = api.http.request(method, path, json=body) if body is not None else api.http.request(method, path)
    assert answer.status_code in {200, 201}, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


def refused(api: PlainClient, method: str, path: str, status: int, body: object = None) -> Any:
    """A refusal, whose `errorCode` every client casts to a number and whose other members it reads as text."""
    answer = api.call(method, path, body, status)
    assert type(answer["errorCode"]) is int
    assert isinstance(answer["reason"], str)
    assert isinstance(answer["message"], str)
    return answer


STATUSES = {"PENDING", "APPROVED", "EXECUTED", "FAILED", "EXPIRED", "REJECTED", "CANCELLED"}


def read_status(api: PlainClient, request: str) -> Any:
    """The status of a request, as all clients read it: arrays that are never null, text or null elsewhere."""
    status = api.get(f"/v1/request/{request}")
    assert status["id"] == request == str(uuid.UUID(request))
    assert status["status"] in STATUSES
    for name in ("approvedBy", "notYetApprovedBy", "rejectedBy"):
        assert isinstance(status[name], list), name
    assert isinstance(status["result"], str | None)
    if status["executionTime"] is not None:
        dt.datetime.strptime(status["executionTime"], TIMESTAMP)  # noqa: DTZ007 - The Z is part of the format.
    return status


def spki_key(text: str) -> Any:
    """A public key of an answer."""
    return load_der_public_key(unb64(text))


# --- the Go client -----------------------------------------------------------------------------------


def go_reads_attributes(answer: Any) -> Any:
    """What the Go client casts without looking; the `json` object."""
    shown = answer["json"]
    for name in ("xml", "xmlSignature", "attestationKeyName"):
        assert isinstance(answer[name], str), name
    for name in ("label", "algorithm", "algorithmOid"):
        assert isinstance(shown[name], str), name
    assert shown["id"] is None
    assert all(
        type(value) is bool or value is None for value in shown["attributes"].values() if not isinstance(value, list)
    )
    for name in ("createTime", "attestTime"):
        dt.datetime.strptime(shown[name], TIMESTAMP)  # noqa: DTZ007 - The Z is part of the format.
    return shown


def go_metadata(signer: rsa.RSAPrivateKey) -> dict[str, str]:
    """Metadata as the Go client fills it: base64 of JSON, and a signature."""
    data = json.dumps({"app": "example", "time": "2023-10-30T17:30:24+00:00", "type": "sign"}).encode()
    return {"metaData": b64(data), "metaDataSignature": b64(signer.sign(data, padding.PKCS1v15(), hashes.SHA256()))}


def test_a_program_written_with_the_go_client_for_a_key_without_a_policy(api: PlainClient) -> None:
    """It sends `policy: null`, leaves out what does not apply, and reads text where text is promised."""
    for algorithm, more, oid in (
        ("RSA", {"keySize": 2048}, "1.2.840.113549.1.1.1"),
        ("EC", {"curveOid": P256}, "1.2.840.10045.2.1"),
        ("ED", {"curveOid": "1.3.101.112"}, "1.3.101.112"),
    ):
        label = f"go-{algorithm}"
        body = {"label": label, "algorithm": algorithm, **more, "attributes": SIGNS, "policy": None}
        created = go_reads_attributes(api.post("/v1/key", body, 201))
        shown = go_reads_attributes(api.post("/v1/key/attributes", {"label": label}))
        assert (shown["algorithm"], shown["algorithmOid"], shown["label"]) == (algorithm, oid, label)
        assert shown["publicKey"] == created["publicKey"]
        assert shown["policy"] is None
        assert shown.get("derivedAttributes") is None
        assert shown.get("addressTruncated") is None
        assert shown.get("curveOid") == (P256 if algorithm == "EC" else None)


@pytest.mark.parametrize("algorithm", ["TDEA", "HMACSHA256", "EC"])
def test_a_size_of_nought_is_no_size(api: PlainClient, algorithm: str) -> None:
    """`keySize: 0` where no size applies; with RSA, where one does, it is as if it were left out."""
    use = "decrypt" if algorithm == "TDEA" else "sign"
    body: dict[str, Any] = {
        "label": f"nought-{algorithm}", "password": None, "algorithm": algorithm, "keySize": 0, "policy": None,
        "attributes": {**dict.fromkeys(SIGNS, False), use: True},
    }  # fmt: skip
    if algorithm == "EC":
        body["curveOid"] = P256
    go_reads_attributes(api.post("/v1/key", body, 201))
    body |= {"label": f"nought-{algorithm}-rsa", "algorithm": "RSA"}
    body.pop("curveOid", None)
    body["attributes"] = SIGNS
    assert refused(api, "POST", "/v1/key", 400, body)["errorCode"] in {600, 603}


def test_a_key_keeps_the_id_that_it_was_given(api: PlainClient) -> None:
    """`id` is null for keys without one only."""
    body = {"label": "with-id", "id": "0a0b", "algorithm": "EC", "curveOid": P256, "attributes": SIGNS}
    assert api.post("/v1/key", body, 201)["json"]["id"] == "0a0b"


def test_a_program_written_with_the_go_client_for_a_key_with_its_simple_policy(api: PlainClient) -> None:
    """Each rule is one token `main` with `groups: null`: always fulfilled, so requests are executed at once."""
    main = {"tokens": [{"name": "main", "timelock": 0, "timeout": 0, "groups": None}]}
    rules = dict.fromkeys(UNRULED, main)
    policy = {**rules, "keyStatus": {"blocked": False}}
    body = {"label": "go-simple", "algorithm": "EC", "curveOid": P256, "attributes": SIGNS, "policy": policy}
    shown = go_reads_attributes(api.post("/v1/key", body, 201))
    assert shown["policy"]["keyStatus"] == {"blocked": False}
    signer = rsa.generate_private_key(65537, 2048)
    inner = {
        "payload": b64(b"payload"), "payloadType": "UNSPECIFIED", "signKeyName": "go-simple",
        **go_metadata(signer), "signatureAlgorithm": "SHA256_WITH_ECDSA",
    }  # fmt: skip
    # The signature covers the compacted text of the inner object, in the order in which it is sent.
    compact = json.dumps(inner, separators=(",", ":")).encode()
    public = signer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    body = {
        "signRequest": inner,
        "requestSignature": {
            "signature": b64(signer.sign(compact, padding.PKCS1v15(), hashes.SHA256())),
            "digestAlgorithm": "SHA-256",
            "publicKey": b64(public),
        },
    }
    request = api.post("/v1/sign", body, 201)["signRequestId"]
    status = read_status(api, request)
    assert status["status"] == "EXECUTED"
    spki_key(shown["publicKey"]).verify(unb64(status["result"]), b"payload", ec.ECDSA(hashes.SHA256()))
    modify = {
        "modifyKeyName": "go-simple",
        "keyPassword": None,
        "metaData": None,
        "metaDataSignature": None,
        "policy": rules,
    }
    changed = api.post("/v1/modify", {"modifyRequest": modify}, 201)["modifyKeyRequestId"]
    assert read_status(api, changed)["status"] == "EXECUTED"


def test_an_empty_full_policy_of_the_go_client_says_never(api: PlainClient) -> None:
    """`"ruleUse":{"tokens":null}` is never fulfillable: such a key is not made, one with `ruleUse: null` is."""
    body: dict[str, Any] = {"label": "go-never", "algorithm": "EC", "curveOid": P256, "attributes": SIGNS}
    never = refused(api, "POST", "/v1/key", 400, {**body, "policy": new_policy(NEVER)})
    assert (never["errorCode"], never["refusal"]) == (600, "policy.use-never")
    api.post("/v1/key", {**body, "policy": new_policy(None)}, 201)


def test_a_program_written_with_the_go_client_cancels(api: PlainClient) -> None:
    """Null names of certificate approvers; a cancel of what is not there answers 404, which the client ignores."""
    body = {
        "label": "go-cancel", "algorithm": "EC", "curveOid": P256, "attributes": SIGNS,
        "policy": new_policy(rule(1, by_certificate(ADA), by_certificate(BEN))),
    }  # fmt: skip
    shown = go_reads_attributes(api.post("/v1/key", body, 201))
    (token,) = shown["policy"]["ruleUse"]["tokens"]
    (group,) = token["groups"]
    assert (type(token["timelock"]), type(token["timeout"]), type(group["quorum"])) == (int, int, int)
    assert {(one["type"], one["name"]) for one in group["approvals"]} == {
        ("certificate", "Ada"),
        ("certificate", "Ben"),
    }
    inner = {"payload": b64(b"x"), "signKeyName": "go-cancel", "signatureAlgorithm": "SHA256_WITH_ECDSA"}
    request = api.post("/v1/sign", {"signRequest": inner}, 201)["signRequestId"]
    status = read_status(api, request)
    assert (status["status"], status["executionTime"], status["approvedBy"]) == ("PENDING", None, [])
    assert sorted(status["notYetApprovedBy"]) == sorted([b64(ADA.spki), b64(BEN.spki)])
    succeeds(api, "DELETE", f"/v1/request/{request}")
    assert read_status(api, request)["status"] == "CANCELLED"
    assert refused(api, "DELETE", f"/v1/request/{uuid.uuid4()}", 404)["errorCode"] == 651
    assert refused(api, "GET", f"/v1/request/{uuid.uuid4()}", 404)["errorCode"] == 651


def test_usages_as_the_go_client_sends_them(api: PlainClient) -> None:
    """Several in one string, joined by a comma or a comma and a blank; an empty list as one empty string."""
    api.create("EC", "sign", label="go-usages")
    inner = {
        "signKeyName": "go-usages", "keyPassword": None, "validity": 30, "signatureAlgorithm": "SHA256_WITH_ECDSA",
        "commonName": "server", "certificateAuthority": False, "keyUsage": [""],
        "extendedKeyUsage": ["SERVER_AUTH, CLIENT_AUTH"], "metaData": None, "metaDataSignature": None,
    }  # fmt: skip
    body = {"selfSignCertificateRequest": inner, "requestSignature": None}
    request = api.post("/v1//certificate/selfsign", body, 201)["signRequestId"]
    made = x509.load_pem_x509_certificate(read_status(api, request)["result"].encode())
    usages = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    with pytest.raises(x509.ExtensionNotFound):
        made.extensions.get_extension_for_class(x509.KeyUsage)
    flat = {name: value for name, value in inner.items() if not name.startswith("metaData")}
    flat |= {"keyUsage": ["DIGITAL_SIGNATURE,KEY_AGREEMENT"], "extendedKeyUsage": [""]}
    answer = succeeds(api, "POST", "/v1/certificate/synchronous/selfsign", flat)
    made = x509.load_pem_x509_certificate(answer["certificate"].encode())
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_agreement, usage.key_cert_sign) == (True, True, False)


def test_raw_signatures_verify_without_a_word_about_their_form(api: PlainClient) -> None:
    """The body to verify has no `signatureType`; a wrong signature is `false` with 200, and both are booleans."""
    api.create("EC", "sign", label="go-raw")
    inner = {
        "signKeyName": "go-raw", "signKeyObject": None, "masterKeyPassword": None,
        "signatureAlgorithm": "SHA256_WITH_ECDSA", "payload": b64(b"x"),
        "signature": api.sign("go-raw", "SHA256_WITH_ECDSA", b"x", signatureType="RAW", signedApprovals=[]),
    }  # fmt: skip
    assert api.post("/v1/verify", {"verifySignatureRequest": inner}) == {"signatureValid": True}
    wrong = {**inner, "payload": b64(b"y")}
    assert api.post("/v1/verify", {"verifySignatureRequest": wrong}) == {"signatureValid": False}


# --- fireblocks: a key store -------------------------------------------------------------------------


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


# --- emvault: seeds and their children ---------------------------------------------------------------


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


# --- hcvault: a plugin -------------------------------------------------------------------------------


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


# --- simple-sign: a signing provider -----------------------------------------------------------------


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


# --- gokms: an envelope ------------------------------------------------------------------------------


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


# --- btc: a broadcaster ------------------------------------------------------------------------------


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


# --- programs of approvers ---------------------------------------------------------------------------

LEVELS: dict[int, set[str]] = {
    1: {"detailLevel", "id", "approvalToBeSigned", "approverPublicKey"},
    2: {"metaData", "metaDataSignature", "payload", "payloadType"},
    3: {
        "requestBase64", "signedSignRequest", "signedModifyKeyRequest", "signedBlockKeyRequest",
        "signedUnblockKeyRequest", "signedDecryptRequest", "signedUnwrapKeyRequest", "signedCertificateRequestRequest",
        "signedSignCertificateRequest", "signedSelfSignCertificateRequestDto",
    },
    4: {"timestamp", "timestampSignature", "timestampSignatureAlgorithm", "timestampSignatureWithAlgorithm"},
    5: {"keyAttributes", "keyAttributesSignature"},
}  # fmt: skip
"""What each level adds."""


def ruled(api: PlainClient, label: str, use: dict[str, Any]) -> Any:
    """A P-256 key; what is said of it."""
    body = {
        "label": label, "algorithm": "EC", "curveOid": P256, "attributes": {**SIGNS, "destroyable": True},
        "policy": new_policy(use, ruleBlock=use, ruleUnblock=use, ruleModify=use),
    }  # fmt: skip
    return api.post("/v1/key", body, 201)["json"]


def asks(api: PlainClient, label: str, payload: bytes = b"payment") -> str:
    """A request to sign with metadata; its id."""
    inner = {
        "payload": b64(payload), "payloadType": "ISO_20022", "signKeyName": label, "keyPassword": None,
        "metaData": b64(b'{"app":"example"}'), "metaDataSignature": None, "signatureAlgorithm": "SHA256_WITH_ECDSA",
        "signatureType": None,
    }  # fmt: skip
    return str(api.post("/v1/sign", {"signRequest": inner, "requestSignature": None}, 201)["signRequestId"])


def tasks(api: PlainClient, officer: Officer, **more: Any) -> list[dict[str, Any]]:
    """An officer's tasks to sign."""
    found: list[dict[str, Any]] = api.post("/v1/filteredSignApprovalTask", {**proof(officer), **more})["tasks"]
    return found


def test_an_approval_program_reads_tasks_level_by_level(api: PlainClient) -> None:
    """Each level has the members of the lower ones, too; all kinds of requests stand there, one not null."""
    ruled(api, "levels", rule(1, by_key(ADA), by_key(BEN), timeout=3600))
    request = asks(api, "levels")
    members: set[str] = set()
    (plain,) = (task,) = tasks(api, ADA, requestId=request, id=None, paging=None)
    assert plain["detailLevel"] == "level1"
    for level, added in LEVELS.items():
        members |= added
        (task,) = tasks(api, ADA, requestId=request, detailLevel=f"level{level}")
        shown = set(task) - ({"requestId"} if level >= 3 else set())
        assert shown == members, level
        assert task["detailLevel"] == f"level{level}"
    assert task["id"] == plain["id"] == str(uuid.UUID(task["id"]))
    assert task["approverPublicKey"] == b64(ADA.spki)
    assert (unb64(task["payload"]), task["payloadType"]) == (b"payment", "ISO_20022")
    assert (unb64(task["metaData"]), task["metaDataSignature"]) == (b'{"app":"example"}', None)
    kinds = {name: task[name] for name in LEVELS[3] - {"requestBase64"}}
    assert {name for name, value in kinds.items() if value is not None} == {"signedSignRequest"}
    assert json.loads(unb64(task["requestBase64"]))["signRequest"]["signKeyName"] == "levels"
    assert task["signedSignRequest"]["signRequest"]["keyPassword"] is None
    for name in ("timestamp", "timestampSignature", "timestampSignatureWithAlgorithm"):
        unb64(task[name])
    assert isinstance(task["timestampSignatureAlgorithm"], str)
    assert task["keyAttributes"].startswith('<?xml version="1.0" encoding="UTF-8"?>')
    unb64(task["keyAttributesSignature"])


def now(form: str) -> str:
    """This moment as some client writes it."""
    utc = dt.datetime.now(dt.UTC)
    east = utc.astimezone(dt.timezone(dt.timedelta(hours=2)))
    west = utc.astimezone(dt.timezone(-dt.timedelta(hours=3, minutes=30)))
    return {
        "+00:00": utc.isoformat(timespec="seconds"),
        "+02:00": east.isoformat(timespec="seconds"),
        "-03:30": west.isoformat(timespec="microseconds"),
        ".123Z": utc.strftime("%Y-%m-%dT%H:%M:%S") + f".{utc.microsecond // 1000:03d}Z",
        "Z": utc.strftime(TIMESTAMP),
        "nanoseconds": utc.strftime("%Y-%m-%dT%H:%M:%S.%f") + "789Z",
    }[form]


@pytest.mark.parametrize("form", ["+00:00", "+02:00", "-03:30", ".123Z", "Z", "nanoseconds"])
def test_moments_are_taken_as_they_were_signed(api: PlainClient, form: str) -> None:
    """The signature covers the text as it was sent; one without an offset is no timestamp."""
    officer = Officer(f"Clock {form}", "P-256")
    text = now(form)
    assert api.post("/v1/filteredAllApprovalTask", proof(officer, text)) == {"tasks": []}
    bare = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    wrong = refused(api, "POST", "/v1/filteredAllApprovalTask", 400, proof(officer, bare))
    assert wrong["errorCode"] == 600
    assert "is not a valid ISO-8601 timestamp" in wrong["message"]


def test_queries_that_prove_nothing(api: PlainClient) -> None:
    """Too old, signed by another key, and by nobody at all; then a good one."""
    old = proof(ADA, "2023-10-30T17:30:24+00:00")
    assert refused(api, "POST", "/v1/filteredAllApprovalTask", 400, old)["errorCode"] == 404
    foreign = {**proof(ADA), "approverPublicKey": b64(Officer("Mallory", "P-256").spki)}
    assert refused(api, "POST", "/v1/filteredAllApprovalTask", 400, foreign)["errorCode"] == 403
    nobody = {name: value for name, value in proof(ADA).items() if name != "approverPublicKey"}
    assert refused(api, "POST", "/v1/filteredAllApprovalTask", 400, nobody)["errorCode"] == 600
    assert isinstance(api.post("/v1/filteredAllApprovalTask", proof(ADA))["tasks"], list)


@pytest.mark.parametrize("kind", ["public_key", "certificate"])
def test_two_of_three_approve_with_keys_or_certificates(api: PlainClient, kind: str) -> None:
    """As the Python sample does: `EdDSA` as a digest, and the certificate where the policy lists it."""
    listed = by_key if kind == "public_key" else by_certificate
    label = f"two-of-three-{kind}"
    made = ruled(api, label, rule(2, *(listed(officer) for officer in (ADA, BEN, EVE))))
    request = asks(api, label)
    for officer in (EVE, BEN):
        assert read_status(api, request)["status"] == "PENDING"
        query = {**proof(officer, certificate=kind == "certificate"), "requestId": request}
        (task,) = api.post("/v1/filteredAllApprovalTask", query)["tasks"]
        approval = signed_approval(officer, task)
        if kind == "certificate":
            del approval["approverPublicKey"]
            approval["approverCertificate"] = b64(officer.certificate)
        assert approval["approvalDigestAlgorithm"] == ("EdDSA" if officer is EVE else "SHA-256")
        succeeds(api, "POST", "/v1/approval", approval)
        status = read_status(api, request)
        assert b64(officer.spki) in status["approvedBy"]
        assert b64(officer.spki) not in status["notYetApprovedBy"]
    status = read_status(api, request)
    assert status["status"] == "EXECUTED"
    spki_key(made["publicKey"]).verify(unb64(status["result"]), b"payment", ec.ECDSA(hashes.SHA256()))


def test_approvals_that_are_refused(api: PlainClient) -> None:
    """A task that is none, a signature over other bytes; then the right one."""
    ruled(api, "approvals", rule(1, by_key(ADA)))
    (task,) = tasks(api, ADA, requestId=asks(api, "approvals"))
    good = signed_approval(ADA, task)
    unknown = {**good, "id": str(uuid.uuid4())}
    assert refused(api, "POST", "/v1/approval", 404, unknown)["errorCode"] == 652
    # The signature covers the decoded bytes and not their base64 text.
    text = {**good, "signature": b64(ADA.sign(task["approvalToBeSigned"].encode()))}
    assert refused(api, "POST", "/v1/approval", 400, text)["errorCode"] == 403
    succeeds(api, "POST", "/v1/approval", good)


@pytest.mark.parametrize("verb", ["DELETE", "PATCH"])
def test_one_rejects_and_the_others_can_still_approve(api: PlainClient, verb: str) -> None:
    """REJECTED only when nothing can be reached any more."""
    label = f"rejected-{verb}"
    ruled(api, label, rule(1, by_key(ADA), by_key(BEN)))
    request = asks(api, label)
    (task,) = tasks(api, ADA, requestId=request)
    succeeds(api, verb, "/v1/task", {"id": task["id"], **proof(ADA)})
    assert tasks(api, ADA, requestId=request) == []
    status = read_status(api, request)
    assert (status["status"], status["rejectedBy"]) == ("PENDING", [b64(ADA.spki)])
    assert status["notYetApprovedBy"] == [b64(BEN.spki)]
    (task,) = tasks(api, BEN, requestId=request)
    succeeds(api, verb, "/v1/task", {"id": task["id"], **proof(BEN)})
    status = read_status(api, request)
    assert (status["status"], status["result"] or "") == ("REJECTED", "")
    assert set(status["rejectedBy"]) == {b64(ADA.spki), b64(BEN.spki)}


def test_a_deleted_key_takes_its_requests_along(api: PlainClient) -> None:
    """Open requests are cancelled, and their tasks vanish."""
    policy = new_policy(rule(1, by_key(ADA)))
    body = {
        "label": "deleted", "algorithm": "EC", "curveOid": P256, "attributes": {**SIGNS, "destroyable": True},
        "policy": policy,
    }  # fmt: skip
    api.post("/v1/key", body, 201)
    request = asks(api, "deleted")
    assert len(tasks(api, ADA, requestId=request)) == 1
    succeeds(api, "DELETE", "/v1/key/deleted")
    assert read_status(api, request)["status"] == "CANCELLED"
    assert tasks(api, ADA, requestId=request) == []


def test_requests_by_their_status(api: PlainClient) -> None:
    """`requests` of `id` and `status`, and no null where there are none."""
    ruled(api, "listed", rule(1, by_key(ADA)))
    request = asks(api, "listed")
    listed = api.post("/v1/filteredRequests", {"requestStatusList": ["PENDING", "APPROVED"]})["requests"]
    assert {"id": request, "status": "PENDING"} in listed
    assert {one["status"] for one in listed} <= {"PENDING", "APPROVED"}
    assert api.post("/v1/filteredRequests", {"requestStatusList": ["FAILED"]}) == {"requests": []}


# --- policies ----------------------------------------------------------------------------------------


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


# --- key material ------------------------------------------------------------------------------------


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


# --- bodies that are none ----------------------------------------------------------------------------


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


# --- the air gap -------------------------------------------------------------------------------------


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
