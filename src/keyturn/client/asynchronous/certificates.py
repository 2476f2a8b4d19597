# Made by scripts/async_client.py of keyturn/client/certificates.py: change that, then `make client`.
"""The endpoints for certificates and requests for them.

Source: rest-api.md section 3.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.client.asynchronous.connection import AsyncRestConnection
from keyturn.client.connection import base64_text, path_part

if TYPE_CHECKING:
    from collections.abc import Mapping


class AsyncCertificateCalls(AsyncRestConnection):
    """Certificates.

    The bodies are those of the endpoints: `signKeyName`, `signatureAlgorithm`, `standardCertificateAttributes`,
    `keyUsage`, …; a method with `synchronous_` before its name has it done at once and returns PEM, the others open a
    request and return its id.
    """

    async def request_certificate(self, csr_sign_request: Mapping[str, Any]) -> str:
        """Open a request for a PKCS#10 request: `POST /v1/certificate/request`."""
        body = {"csrSignRequest": dict(csr_sign_request)}
        return await self.ask_text("POST", "/v1/certificate/request", body, "signRequestId")

    async def sign_certificate(self, sign_certificate_request: Mapping[str, Any]) -> str:
        """Open a request to issue a certificate: `POST /v1/certificate/sign`."""
        body = {"signCertificateRequest": dict(sign_certificate_request)}
        return await self.ask_text("POST", "/v1/certificate/sign", body, "signRequestId")

    async def selfsign_certificate(self, self_sign_certificate_request: Mapping[str, Any]) -> str:
        """Open a request for a self-signed certificate: `POST /v1/certificate/selfsign`."""
        body = {"selfSignCertificateRequest": dict(self_sign_certificate_request)}
        return await self.ask_text("POST", "/v1/certificate/selfsign", body, "signRequestId")

    async def synchronous_request_certificate(self, body: Mapping[str, Any]) -> str:
        """Make a PKCS#10 request at once: `POST /v1/certificate/synchronous/request`."""
        return await self.ask_text(
            "POST", "/v1/certificate/synchronous/request", dict(body), "certificateSigningRequest"
        )

    async def synchronous_sign_certificate(self, body: Mapping[str, Any]) -> str:
        """Issue a certificate at once: `POST /v1/certificate/synchronous/sign`."""
        return await self.ask_text("POST", "/v1/certificate/synchronous/sign", dict(body), "certificate")

    async def synchronous_selfsign_certificate(self, body: Mapping[str, Any]) -> str:
        """Make a self-signed certificate at once: `POST /v1/certificate/synchronous/selfsign`."""
        return await self.ask_text("POST", "/v1/certificate/synchronous/selfsign", dict(body), "certificate")

    async def import_certificate(self, label: str, certificate: bytes) -> str:
        """Attach a certificate to its key: `POST /v1/certificate/import/plain`.

        Args:
            label: Label of the key.
            certificate: X.509, DER.
        """
        body = {"label": label, "certificate": base64_text(certificate)}
        return await self.ask_text("POST", "/v1/certificate/import/plain", body, "certificate")

    async def certificate(self, label: str) -> str:
        """The certificate that is attached to a key, PEM: `GET /v1/certificate/{keyName}`."""
        return await self.ask_text("GET", f"/v1/certificate/{path_part(label)}", None, "certificate")

    async def remove_certificate(self, label: str) -> None:
        """Take the certificate off a key: `DELETE /v1/certificate/{keyName}`."""
        await self.call("DELETE", f"/v1/certificate/{path_part(label)}")
