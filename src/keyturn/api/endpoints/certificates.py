"""Certificates: requests for them, issued and self-signed ones, at once or to be approved; those attached to keys.

Source: rest-api.md section 3.5; decisions 8 and 28; docs/security/rules.md R17.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from keyturn.api.answers import (
    CertificateSigningRequest,
    Done,
    KeyCertificate,
    SignedToBeSigned,
    SignRequestId,
)
from keyturn.api.codec import request_text
from keyturn.api.endpoints.parts import at_once, check_form, meta_fields, receipt_fields, text
from keyturn.api.fields import from_base64, keyed_base64
from keyturn.api.http import Call, Reply, Route, Services
from keyturn.api.passwords import sealed_password
from keyturn.api.schemas.certificates import (
    CertificateRequestBody,
    CertificateToBeSignedBody,
    ImportCertificateBody,
    SelfSignCertificateBody,
    SignCertificateBody,
    SynchronousCertificateRequestBody,
    SynchronousSelfSignBody,
    SynchronousSignCertificateBody,
)
from keyturn.broker.calls import CertificateOrder, CertifyCall
from keyturn.crypto.foreign_certificates import MAX_CERTIFICATE, pem, request_from_text
from keyturn.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.api.endpoints.parts import MetaFields
    from keyturn.api.schemas.certificates import (
        CsrSignRequest,
        SelfSignCertificateRequest,
        SignCertificateRequest,
        StandardCertificateAttributes,
        SubjectAlternativeName,
    )

DAYS_AT_ONCE: Final = 3650
DAYS_APPROVED: Final = 90
"""How long certificates are valid where nobody says it: as the documented samples are."""
_NO_META: Final[MetaFields] = {"meta_data": None, "meta_data_signature": None}
_NOT_IN_FILE_NAMES: Final = re.compile("[^A-Za-z0-9._-]")

_Ordered = SynchronousCertificateRequestBody | SynchronousSignCertificateBody | SynchronousSelfSignBody


def _usages(names: Sequence[str] | None) -> tuple[str, ...]:
    """Usages as clients send them: one by one, several joined by commas, or an empty text for none."""
    return tuple(dict.fromkeys(name for one in names or () for name in one.replace(" ", "").split(",") if name))


def _name(common_name: str | None, attributes: StandardCertificateAttributes | None) -> dict[str, str]:
    """A name in either of its documented forms; where both are there, they say the same."""
    if attributes is None:
        return {"commonName": common_name} if common_name else {}
    if common_name and common_name != attributes.common_name:
        raise FormatError(
            "Fields 'commonName' and 'standardCertificateAttributes.commonName' differ; send one of them.",
            refusal="certificate.name",
        )
    found = {field: getattr(attributes, name) for name, field in _NAME_FIELDS.items()}
    return {field: value for field, value in found.items() if value}


_NAME_FIELDS: Final = {
    "common_name": "commonName",
    "country": "country",
    "state_or_province_name": "stateOrProvinceName",
    "locality": "locality",
    "organization_name": "organizationName",
    "organization_identifier": "organizationIdentifier",
    "organization_unit_name": "organizationUnitName",
    "email": "email",
    "title": "title",
    "surname": "surname",
    "given_name": "givenName",
    "initials": "initials",
    "pseudonym": "pseudonym",
    "generation_qualifier": "generationQualifier",
}


def _alternatives(names: Sequence[SubjectAlternativeName] | None) -> tuple[tuple[str, str], ...]:
    return tuple((name.san_type, name.san_value) for name in names or ())


async def _order(
    services: Services, kind: str, body: _Ordered, *, days: int, meta: MetaFields = _NO_META
) -> CertificateOrder:
    request, copies, attach_to, authority = b"", False, "", False
    if isinstance(body, SynchronousSignCertificateBody):
        request = request_from_text(body.certificate_signing_request)
        copies, attach_to = body.copy_extensions == "COPY", body.key_name or ""
        authority = body.certificate_authority
    elif isinstance(body, SynchronousSelfSignBody):
        authority = body.certificate_authority
    return CertificateOrder(
        kind=kind,
        key_name=body.sign_key_name,
        algorithm=body.signature_algorithm,
        subject=_name(body.common_name, body.standard_certificate_attributes),
        request=request,
        days=days if body.validity is None else body.validity,
        certificate_authority=authority,
        key_usages=_usages(body.key_usage),
        extended_key_usages=_usages(body.extended_key_usage),
        names=_alternatives(body.subject_alternative_names),
        copy_extensions=copies,
        attach_to=attach_to,
        sealed_password=await sealed_password(services, "keyPassword", body.sign_key_name, body.key_password),
        **meta,
    )


async def _made(services: Services, kind: str, body: _Ordered) -> str:
    made = await services.broker.certificate_now(await _order(services, kind, body, days=DAYS_AT_ONCE))
    return pem(made, request=kind == "csr")


async def synchronous_request(
    services: Services, call: Call, body: SynchronousCertificateRequestBody
) -> CertificateSigningRequest:
    """Make a request for a certificate for a key, at once."""
    del call
    return CertificateSigningRequest(body.sign_key_name, await _made(services, "csr", body))


async def download_request(services: Services, call: Call, body: SynchronousCertificateRequestBody) -> Reply:
    """Make a request for a certificate for a key, at once, as a file."""
    del call
    made = await _made(services, "csr", body)
    name = _NOT_IN_FILE_NAMES.sub("_", body.sign_key_name)
    headers = {"content-disposition": f'attachment; filename="{name}.csr"'}
    return Reply(made.encode("ascii"), "application/pkcs10", headers=headers)


async def issue_at_once(services: Services, call: Call, body: SynchronousSignCertificateBody) -> KeyCertificate:
    """Issue a certificate that answers a request, at once."""
    del call
    return KeyCertificate(body.key_name or body.sign_key_name, await _made(services, "issue", body))


async def synchronous_selfsign(services: Services, call: Call, body: SynchronousSelfSignBody) -> KeyCertificate:
    """Sign a certificate of a key with that key, at once, and attach it to the key."""
    del call
    return KeyCertificate(body.sign_key_name, await _made(services, "selfsign", body))


async def synchronous_to_be_signed(services: Services, call: Call, body: CertificateToBeSignedBody) -> SignedToBeSigned:
    """Sign the exact bytes that were approved across an air gap: an extension, made for `inputOfflineHsm`."""
    del call
    request = body.certificate_request
    done = await services.broker.certify_now(
        CertifyCall(
            kind=request.kind,
            to_be_signed=from_base64("certificateRequest.toBeSigned", request.to_be_signed),
            key_name=request.sign_key_name,
            algorithm=request.signature_algorithm,
            certificate_authority=request.certificate_authority,
            attach_to=request.key_name or "",
            sealed_password=await sealed_password(
                services, "certificateRequest.keyPassword", request.sign_key_name, request.key_password
            ),
        ),
        **at_once("certificateRequest", request),
    )
    return SignedToBeSigned(
        label=request.sign_key_name,
        encoded=text(done.value),
        pem=pem(done.value, request=request.kind == "csr"),
        **receipt_fields(done.receipt, done.receipt_signature),
    )


async def request_certificate(services: Services, call: Call, body: CertificateRequestBody) -> SignRequestId:
    """Open a request for the signature on a request for a certificate; its result is PEM."""
    check_form(body.request_signature)
    return await _open(services, call, "csr", "csrSignRequest", body.csr_sign_request)


async def sign_certificate(services: Services, call: Call, body: SignCertificateBody) -> SignRequestId:
    """Open a request to issue a certificate. The bytes that approvers approve are fixed now; its result is PEM."""
    check_form(body.request_signature)
    return await _open(services, call, "issue", "signCertificateRequest", body.sign_certificate_request)


async def selfsign_certificate(services: Services, call: Call, body: SelfSignCertificateBody) -> SignRequestId:
    """Open a request for a self-signed certificate. The bytes are fixed now; its result is PEM."""
    check_form(body.request_signature)
    return await _open(services, call, "selfsign", "selfSignCertificateRequest", body.self_sign_certificate_request)


async def _open(
    services: Services,
    call: Call,
    kind: str,
    name: str,
    inner: CsrSignRequest | SignCertificateRequest | SelfSignCertificateRequest,
) -> SignRequestId:
    order = await _order(services, kind, inner, days=DAYS_APPROVED, meta=meta_fields(name, inner))
    original = request_text(call.raw_body, name)
    return SignRequestId(await services.broker.open_certificate(order, original=original))


async def import_certificate(services: Services, call: Call, body: ImportCertificateBody) -> KeyCertificate:
    """Attach a certificate to its key; it must be for the key's own public key."""
    del call
    certificate = keyed_base64("certificate", body.certificate) or b""
    if not 1 <= len(certificate) <= MAX_CERTIFICATE:
        raise FormatError(f"Field 'certificate' has 1 to {MAX_CERTIFICATE} bytes.", refusal="certificate.encoding")
    await services.broker.attach_certificate(body.label, certificate)
    return KeyCertificate(body.label, pem(certificate, request=False))


async def certificate_of_key(services: Services, call: Call, body: None) -> KeyCertificate:
    """Read the certificate that is attached to a key."""
    del body
    certificate = await services.broker.certificate_of(call.parameter)
    return KeyCertificate(call.parameter, pem(certificate, request=False))


async def remove_certificate(services: Services, call: Call, body: None) -> Done:
    """Take the certificate off a key."""
    del body
    await services.broker.attach_certificate(call.parameter, b"")
    return Done()


_AT_ONCE: Final = "/v1/certificate/synchronous"
_TAG: Final = "certificates"
ROUTES: Final = (
    Route(
        "POST",
        f"{_AT_ONCE}/request",
        synchronous_request,
        SynchronousCertificateRequestBody,
        CertificateSigningRequest,
        tag=_TAG,
        unsigned_use=True,
    ),
    Route(
        "POST",
        f"{_AT_ONCE}/request/download",
        download_request,
        SynchronousCertificateRequestBody,
        tag=_TAG,
        media={"application/pkcs10": "PEM"},
        unsigned_use=True,
    ),
    Route(
        "POST",
        f"{_AT_ONCE}/sign",
        issue_at_once,
        SynchronousSignCertificateBody,
        KeyCertificate,
        tag=_TAG,
        unsigned_use=True,
    ),
    Route(
        "POST",
        f"{_AT_ONCE}/selfsign",
        synchronous_selfsign,
        SynchronousSelfSignBody,
        KeyCertificate,
        tag=_TAG,
        unsigned_use=True,
    ),
    Route(
        "POST",
        f"{_AT_ONCE}/create/selfSigned",
        synchronous_selfsign,
        SynchronousSelfSignBody,
        KeyCertificate,
        tag=_TAG,
        hidden=True,
        unsigned_use=True,
    ),
    Route(
        "POST",
        f"{_AT_ONCE}/toBeSigned",
        synchronous_to_be_signed,
        CertificateToBeSignedBody,
        SignedToBeSigned,
        tag=_TAG,
        unsigned_use=True,
    ),
    Route("POST", "/v1/certificate/request", request_certificate, CertificateRequestBody, SignRequestId, 201, tag=_TAG),
    Route("POST", "/v1/certificate/sign", sign_certificate, SignCertificateBody, SignRequestId, 201, tag=_TAG),
    Route(
        "POST", "/v1/certificate/selfsign", selfsign_certificate, SelfSignCertificateBody, SignRequestId, 201, tag=_TAG
    ),
    Route("POST", "/v1/certificate/import/plain", import_certificate, ImportCertificateBody, KeyCertificate, tag=_TAG),
    Route("GET", "/v1/certificate/{keyName}", certificate_of_key, None, KeyCertificate, tag=_TAG),
    Route("DELETE", "/v1/certificate/{keyName}", remove_certificate, None, Done, tag=_TAG),
)
