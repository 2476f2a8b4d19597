"""Endpoints of certificates, called as documented clients call them, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from keyturn_testing.plain_client import b64, endpoint
from keyturn_testing.ruled_keys import executed

if TYPE_CHECKING:
    from keyturn_testing.plain_client import PlainClient


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
