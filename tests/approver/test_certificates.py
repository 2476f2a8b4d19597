"""R11, R17: what officers are shown of a certificate, from the bytes to be signed, and which tasks are refused."""

from __future__ import annotations

import base64
import io
import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from keyturn.cli.officer_view import review_json, show_review
from keyturn.errors import KeyturnError
from keyturn.ska.messages import encode_approval
from keyturn.ska.statement import encode_statement
from keyturn.ska.to_be_signed import read_to_be_signed, split_signed
from keyturn_testing.approval_tasks import LABEL, b64, honest_task, sign_token
from keyturn_testing.bound_tasks import KEY, REQUEST_ID, attributes
from keyturn_testing.certificates import openssl
from keyturn_testing.reviews import ADA, BEN, HSM, POLICY, review

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.approver.review import Review

pytestmark = [pytest.mark.rule("R11"), pytest.mark.rule("R17")]

FIELDS = {
    "csrSignRequest": "signedCertificateRequestRequest",
    "signCertificateRequest": "signedSignCertificateRequest",
    "selfSignCertificateRequest": "signedSelfSignCertificateRequestDto",
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """TBSCertificate of an authority, as openssl writes it."""
    return _made(tmp_path_factory.mktemp("ca"), "Example Sub CA", "CA:TRUE,pathlen:0")


@pytest.fixture(scope="module")
def leaf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """TBSCertificate of a server."""
    return _made(tmp_path_factory.mktemp("leaf"), "shop.example", "CA:FALSE")


def _made(folder: Path, name: str, constraints: str) -> bytes:
    usage = "keyCertSign" if "TRUE" in constraints else "digitalSignature"
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "365"),
        *("-subj", f"/C=CH/CN={name}", "-set_serial", "0x1234", "-outform", "DER"),
        *("-addext", f"basicConstraints=critical,{constraints}", "-addext", f"keyUsage=critical,{usage}"),
        *("-addext", "subjectAltName=DNS:shop.example,IP:10.0.0.1"),
        *("-keyout", folder / "key.pem", "-out", folder / "made.der"),
    )
    return split_signed((folder / "made.der").read_bytes()).to_be_signed


def _task(data: bytes, name: str = "selfSignCertificateRequest", **inner: Any) -> dict[str, Any]:
    task = honest_task(ADA, sign_token(data), hsm=HSM, policy=POLICY)
    return _as_certificate(task, data, name, **inner)


def _as_certificate(task: dict[str, Any], data: bytes, name: str, **inner: Any) -> dict[str, Any]:
    told = read_to_be_signed(data)
    request = {
        "signKeyName": LABEL,
        "signatureAlgorithm": "SHA256_WITH_ECDSA",
        "certificateAuthority": told.certificate_authority,
        **inner,
    }
    return task | {
        "payload": b64(data),
        "requestBase64": b64(json.dumps({name: request}).encode()),
        "signedSignRequest": None,
        FIELDS[name]: {name: request, "requestSignature": None},
    }


def _screen(shown: Review) -> str:
    out = io.StringIO()
    show_review(shown, Console(file=out, width=200, highlight=False, markup=False))
    return " ".join(out.getvalue().replace("│", " ").split())


def test_r11_a_certificate_is_shown_from_the_bytes_and_an_authority_is_warned_of(authority: bytes, leaf: bytes) -> None:
    shown = review(_task(authority, validity=3650, commonName="harmless"))
    told = read_to_be_signed(authority)
    facts = dict(shown.certificate)
    assert facts["subject"] == "CN=Example Sub CA,C=CH"
    assert facts["issuer"] == "CN=Example Sub CA,C=CH"
    assert facts["makes"] == "a self-signed certificate"
    assert facts["authority"].startswith("YES: ")
    assert facts["key usages"] == "KEY_CERT_SIGN"
    assert facts["other names"] == "DNS:shop.example, IP:10.0.0.1"
    assert facts["fingerprint of the subject's key (SHA-256)"] == sha256(told.spki).hexdigest()
    assert facts["serial number"] == "1234"
    assert "(365 days)" in facts["valid until"]
    assert any("makes an AUTHORITY" in warning for warning in shown.warnings)
    # What the request says beyond the bytes stays a claim.
    assert {claim.name for claim in shown.claims} >= {"member `commonName` of the request", "signature algorithm"}
    text = _screen(shown)
    assert "The CERTIFICATE that the signature would make" in text
    assert "CN=Example Sub CA,C=CH" in text
    assert review_json(shown)["certificate"]["subject"] == "CN=Example Sub CA,C=CH"
    plain = review(_task(leaf))
    assert dict(plain.certificate)["authority"].startswith("no: ")
    assert not any("AUTHORITY" in warning for warning in plain.warnings)


def test_r11_a_certificate_that_the_server_calls_a_signature_is_shown_as_what_it_is(leaf: bytes) -> None:
    shown = review(honest_task(ADA, sign_token(leaf), hsm=HSM, policy=POLICY))
    assert dict(shown.certificate)["subject"] == "CN=shop.example,C=CH"
    assert any("The server calls this sign" in warning for warning in shown.warnings)
    other = review(honest_task(ADA, sign_token(leaf[:-1]), hsm=HSM, policy=POLICY))
    assert other.certificate == ()
    assert other.payload is not None


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("selfSignCertificateRequest", {"certificateAuthority": True}),
        ("csrSignRequest", {}),
        ("selfSignCertificateRequest", {"signKeyName": "another"}),
    ],
)
def test_r11_a_request_that_says_something_else_than_the_bytes_is_refused(
    leaf: bytes, name: str, inner: dict[str, Any]
) -> None:
    with pytest.raises(KeyturnError) as refused:
        review(_task(leaf, name, **inner))
    assert refused.value.refusal == "review.request"
    assert review(_task(leaf)).certificate


def test_r11_bytes_that_are_no_certificate_are_not_approved_as_one(leaf: bytes) -> None:
    task = _task(leaf)
    bad = honest_task(ADA, sign_token(leaf + b"\0"), hsm=HSM, policy=POLICY)
    lying = task | {name: bad[name] for name in ("approvalToBeSigned", "payload")}
    with pytest.raises(KeyturnError) as refused:
        review(lying)
    assert refused.value.refusal == "review.request"
    assert review(task).certificate


def _bound(data: bytes, kind: str, name: str, **inner: Any) -> dict[str, Any]:
    statement = KEY.certify(REQUEST_ID, kind, data, "SHA256_WITH_ECDSA")
    token = sign_token(encode_statement(statement))
    task = honest_task(ADA, token, hsm=HSM, policy=POLICY) | {
        "approvalToBeSigned": b64(encode_approval(token)),
        "requestId": REQUEST_ID,
        **attributes("sign"),
    }
    return _as_certificate(task, data, name, **inner)


@pytest.mark.rule("R7")
def test_r7_a_bound_certificate_is_nothing_else_and_every_member_must_agree(authority: bytes) -> None:
    name = "selfSignCertificateRequest"
    shown = review(_bound(authority, "selfsign", name))
    assert shown.kind == "selfsign"
    assert shown.operation.startswith("sign a certificate of the key with the key itself")
    assert dict(shown.certificate)["subject"] == "CN=Example Sub CA,C=CH"
    assert dict(shown.bound)["algorithm"] == "SHA256_WITH_ECDSA"
    for lie in (
        _bound(authority, "selfsign", name, signatureAlgorithm="SHA512_WITH_ECDSA"),
        _bound(authority, "selfsign", name, certificateAuthority=False),
        _bound(authority, "selfsign", name, keyName="another"),
        _bound(authority, "issue", name),
        _bound(authority, "selfsign", "signCertificateRequest"),
    ):
        with pytest.raises(KeyturnError) as refused:
            review(lie)
        assert refused.value.refusal == "review.request"


def test_the_officer_beside_is_shown_the_same(leaf: bytes) -> None:
    task = _task(leaf) | {"approverPublicKey": b64(BEN.spki)}
    assert review(task, who=BEN).certificate == review(_task(leaf)).certificate
    assert base64.b64decode(task["payload"]) == leaf
