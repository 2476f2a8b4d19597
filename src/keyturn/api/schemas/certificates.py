"""Bodies for certificates and requests for them.

Source: rest-api.md section 3.5; decisions 8 and 28.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from keyturn.api.schemas.common import (
    Approvals,
    Base64,
    Body,
    NonEmpty,
    Password,
    RequestId,
    RequiredBase64,
    SignableBody,
)

Usages = Annotated[
    list[str] | None,
    Meta(
        description="Names of rest-api section 4.10; several in one text, joined by commas, and empty texts are read."
    ),
]
Validity = Annotated[
    int | None, Meta(description="Days. Absent: 3650 at once, 90 for a request that is approved. A request has none.")
]
CertificateKind = Literal["csr", "issue", "selfsign"]


class StandardCertificateAttributes(Body, frozen=True, rename="camel"):
    """Parts of a name."""

    common_name: NonEmpty
    country: str | None = None
    state_or_province_name: str | None = None
    locality: str | None = None
    organization_name: str | None = None
    organization_identifier: str | None = None
    organization_unit_name: str | None = None
    email: str | None = None
    title: str | None = None
    surname: str | None = None
    given_name: str | None = None
    initials: str | None = None
    pseudonym: str | None = None
    generation_qualifier: str | None = None


class SubjectAlternativeName(Body, frozen=True, rename="camel"):
    """Another name of the subject. An `OTHERNAME` is `<oid>;UTF8:<text>`; bare text is a user principal name."""

    san_type: Literal["DNS", "IP", "URI", "EMAIL", "OTHERNAME"]
    san_value: NonEmpty


class _Common(Body, frozen=True, rename="camel", kw_only=True):
    """What all three have: the key that signs, how, and for whom."""

    sign_key_name: NonEmpty
    signature_algorithm: NonEmpty
    key_password: Password = None
    validity: Validity = None
    common_name: str | None = None
    standard_certificate_attributes: StandardCertificateAttributes | None = None
    key_usage: Usages = None
    extended_key_usage: Usages = None
    subject_alternative_names: list[SubjectAlternativeName] | None = None


class SynchronousCertificateRequestBody(_Common, frozen=True, rename="camel"):
    """A request for a certificate (PKCS#10) for the key itself."""


class SynchronousSelfSignBody(_Common, frozen=True, rename="camel", kw_only=True):
    """A certificate that the key signs for itself; it is attached to the key."""

    certificate_authority: bool


class SynchronousSignCertificateBody(_Common, frozen=True, rename="camel", kw_only=True):
    """A certificate that answers a request.

    The issuer is the subject of the certificate attached to the key that signs. A name in the body that is not the
    issuer's is the subject's; else the request's own is taken. With `keyName` the certificate is attached to that key,
    which must be the one that it is for.
    """

    certificate_signing_request: NonEmpty
    certificate_authority: bool
    copy_extensions: Literal["NO_COPY", "COPY"] | None = None
    key_name: str | None = None


class CsrSignRequest(SynchronousCertificateRequestBody, frozen=True, rename="camel", kw_only=True):
    """A request for a certificate, to be approved."""

    meta_data: Base64 | None = None
    meta_data_signature: Base64 | None = None


class SignCertificateRequest(SynchronousSignCertificateBody, frozen=True, rename="camel", kw_only=True):
    """A certificate that answers a request, to be approved."""

    meta_data: Base64 | None = None
    meta_data_signature: Base64 | None = None


class SelfSignCertificateRequest(SynchronousSelfSignBody, frozen=True, rename="camel", kw_only=True):
    """A self-signed certificate, to be approved."""

    meta_data: Base64 | None = None
    meta_data_signature: Base64 | None = None


class CertificateRequestBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/certificate/request`."""

    csr_sign_request: CsrSignRequest


class SignCertificateBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/certificate/sign`."""

    sign_certificate_request: SignCertificateRequest


class SelfSignCertificateBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/certificate/selfsign`."""

    self_sign_certificate_request: SelfSignCertificateRequest


class CertificateToBeSigned(Body, frozen=True, rename="camel", kw_only=True):
    """The exact bytes that were approved on the other side of a gap, with the approvals for them (an extension)."""

    sign_key_name: NonEmpty
    kind: CertificateKind
    to_be_signed: RequiredBase64
    signature_algorithm: NonEmpty
    certificate_authority: bool = False
    key_name: str | None = None
    key_password: Password = None
    signed_approvals: Approvals = None
    request_id: RequestId | None = None


class CertificateToBeSignedBody(Body, frozen=True, rename="camel"):
    """`POST /v1/certificate/synchronous/toBeSigned`."""

    certificate_request: CertificateToBeSigned


class ImportCertificateBody(Body, frozen=True, rename="camel"):
    """`POST /v1/certificate/import/plain`: a certificate for the key of that label."""

    label: NonEmpty
    certificate: RequiredBase64
