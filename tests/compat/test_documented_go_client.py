"""Programs written with the Go client: what they send, and what they read without looking."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from keyturn_testing.documented_bodies import (
    ADA,
    BEN,
    NEVER,
    SIGNS,
    UNRULED,
    by_certificate,
    go_reads_attributes,
    new_policy,
    read_status,
    refused,
    rule,
    spki_key,
    succeeds,
)
from keyturn_testing.plain_client import P256, PlainClient, b64, unb64


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
