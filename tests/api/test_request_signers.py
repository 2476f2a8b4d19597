"""Signed requests: by one who is listed, over what was sent; and what cannot be signed is no way around it."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from keyturn.api.access.request_signers import RequestSigners, compacted
from keyturn.api.app import Application
from keyturn.api.endpoints import ROUTES
from keyturn.api.http import Services
from keyturn.api.schemas.common import RequestSignature, SignableBody
from keyturn.broker.answers import ExportedKey
from keyturn.clock import SystemClock
from keyturn.errors import KeyturnError
from keyturn.transport.station import Station
from keyturn_testing.certificates import certificate_of

if TYPE_CHECKING:
    from pathlib import Path

KEY = rsa.generate_private_key(65537, 2048)


def test_a_request_must_be_signed_by_one_who_is_listed() -> None:
    """As the Go client signs: SHA-256 with RSA PKCS#1 v1.5 over the compacted inner object."""
    key, stranger = KEY, rsa.generate_private_key(65537, 2048)
    signers = RequestSigners([load_pem_x509_certificate(certificate_of(key))])
    inner = b'{ "payload" : "cGF5  \\" }",\n\t"signKeyName":"k e y" , "n": [1, 2] }'
    assert compacted(inner) == b'{"payload":"cGF5  \\" }","signKeyName":"k e y","n":[1,2]}'

    def signed(by: Any, data: bytes) -> RequestSignature:
        public = by.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        signature = by.sign(data, padding.PKCS1v15(), SHA256())
        return RequestSignature(
            signature=base64.b64encode(signature).decode(),
            digest_algorithm="SHA-256",
            public_key=base64.b64encode(public).decode(),
        )

    good = signed(key, compacted(inner))
    body = b'{"signRequest": %b, "requestSignature": {}}' % inner
    signers.check(body, good)
    for raw, signature, number in (
        (body, None, 415),
        (body, signed(stranger, compacted(inner)), 415),
        (body.replace(b"[1, 2]", b"[1, 3]"), good, 403),
        (body, signed(key, inner), 403),
        (b'{"signRequest": %b, "other": %b, "requestSignature": {}}' % (inner, inner), good, 403),
    ):
        with pytest.raises(KeyturnError) as caught:
            signers.check(raw, signature)
        assert caught.value.code.number == number


# Calls of these groups that make no private key of a user act.
USES_NO_KEY = {
    "/v1/encapsulate",
    "/v1/certificate/import/plain",
    "/v1/certificate/{keyName}",
    "/v1/synchronousTimestamp",
    # New keys are made without a signature, too; a file leaves for its one-time code.
    "/v1/approverManagement/create",
    "/v1/approverManagement/renewOneTimeCode",
    "/v1/approverManagement/onboarding/status",
    "/v1/approverManagement/delete/{approverName}",
    "/v1/approverManagement/onboard",
    "/v1/approver/onboard",
}


def test_every_call_that_uses_a_key_is_signed_or_refused_where_signatures_are_asked_for() -> None:
    """A new endpoint must be signable, be refused then, or be named above with a reason."""
    for route in ROUTES:
        if route.tag not in {"operations", "certificates", "approver management"} and "export" not in route.path:
            assert not route.unsigned_use
            continue
        body = route.form.body if route.form else route.body
        signable = body is not None and issubclass(body, SignableBody)
        assert signable + route.unsigned_use + (route.path in USES_NO_KEY) == 1, route.path


async def test_what_cannot_be_signed_is_refused_where_signatures_are_asked_for(tmp_path: Path) -> None:
    signers = RequestSigners([load_pem_x509_certificate(certificate_of(KEY))])

    async def export(*_: object) -> ExportedKey:
        return ExportedKey(private_key=b"", public_key=b"", secret_key=b"1")

    broker: Any = SimpleNamespace(transfer=SimpleNamespace(export=export))
    services = Services(broker=broker, station=Station(tmp_path, SystemClock()))
    unsigned = [route for route in ROUTES if route.unsigned_use]
    for asked_for in (signers, None):
        app = Application(services, None, None, asked_for)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
            for route in unsigned:
                answer = await http.request(route.method, route.path.replace("{keyName}", "k"), json={"label": "k"})
                word = answer.json().get("refusal")
                assert (word == "request.cannot-be-signed") is (asked_for is not None), route.path
                if asked_for is not None:
                    assert (answer.status_code, answer.json()["errorCode"]) == (400, 415)
            assert (await http.get("/v1/key/k/export/plain")).status_code == (400 if asked_for else 200)
            assert (await http.get("/v3/api-docs")).status_code == 200
