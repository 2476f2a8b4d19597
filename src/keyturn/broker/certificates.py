"""From an order for a certificate to the bytes that approvers approve, and from what came back to what counts. Pure.

Source: rest-api.md section 3.5; decisions 8, 14; docs/security/rules.md R17; ADR 0104.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.broker.calls import CertifyCall
from keyturn.broker.stored_calls import CERTIFICATE_KINDS
from keyturn.crypto.certificate_signatures import identifier_of
from keyturn.crypto.certificates import (
    CertificateFields,
    Issuer,
    Usages,
    key_identifier,
    make_certificate,
    make_name,
    make_request,
    serial_from,
)
from keyturn.crypto.foreign_certificates import copied, read_certificate, read_request
from keyturn.crypto.registry import verify
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.to_be_signed import split_signed

if TYPE_CHECKING:
    from keyturn.broker.calls import CertificateOrder
    from keyturn.broker.executor import KeyRecord
    from keyturn.broker.storage.rows import RequestRow

RANDOM_SIZE: Final = 16
"""Random bytes that a serial number is made of."""
REQUEST_KINDS: Final = {name: kind for kind, name in CERTIFICATE_KINDS.items()}
"""What an order opens."""

ENDPOINTS: Final = {"csr": "request", "issue": "sign", "selfsign": "selfsign"}
"""What opens a request of each kind, below `/v1/certificate`."""

_EMPTY_NAME: Final = b"\x30\x00"


def to_be_signed(order: CertificateOrder, key: KeyRecord, *, now: int, random: bytes) -> CertifyCall:
    """Fix the bytes that are to be signed.

    Args:
        order: What is asked.
        key: The key that signs.
        now: Seconds since the epoch, from which on a certificate is valid.
        random: At least `RANDOM_SIZE` random bytes, for the serial number.

    Returns:
        The call that will be made with exactly these bytes.

    Raises:
        KeyturnError: 600 `certificate.…` for what no certificate can say; 411, 628 for the request to be answered; 612
            `certificate.no-issuer`, `certificate.other-key`.
    """
    if not key.public_key:
        raise KeyturnError(
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            f"The key {key.label} is symmetric and has no certificates.",
            refusal="key.symmetric",
        )
    identifier = identifier_of(order.algorithm, key.public_key)
    usages = Usages(order.key_usages, order.extended_key_usages, order.names)
    if order.kind == "csr":
        data = make_request(make_name(order.subject), key.public_key, usages)
        return _call(order, data)
    spki = key.public_key
    if order.kind == "selfsign":
        subject = make_name(order.subject)
        issuer = Issuer(subject, key_identifier(spki))
    else:
        request = read_request(order.request)
        spki = request.spki
        issuer, subject = _names(order, key, request.subject)
        if order.copy_extensions:
            usages = copied(request, usages, certificate_authority=order.certificate_authority)
    fields = CertificateFields(
        issuer=issuer,
        subject=subject,
        spki=spki,
        algorithm=identifier,
        serial=serial_from(random),
        not_before=now,
        days=order.days,
        certificate_authority=order.certificate_authority,
        usages=usages,
    )
    return _call(order, make_certificate(fields))


def _call(order: CertificateOrder, data: bytes) -> CertifyCall:
    return CertifyCall(
        kind=order.kind,
        to_be_signed=data,
        key_name=order.key_name,
        algorithm=order.algorithm,
        certificate_authority=order.certificate_authority,
        attach_to=order.attach_to,
        sealed_password=order.sealed_password,
    )


def _names(order: CertificateOrder, key: KeyRecord, requested: bytes) -> tuple[Issuer, bytes]:
    """Who issues, and for whom.

    The documentation does not say whose name stands in the body of `sign`; clients are found that name the subject and
    ones that name the issuer. A name that is not the issuer's is the subject's, and the request's own otherwise.
    """
    named = make_name(order.subject) if any(order.subject.values()) else b""
    if key.certificate:
        issuer = read_certificate(key.certificate).issuer
        subject = named if named and named != issuer.name else requested
    elif key.policy or not named:
        raise KeyturnError(
            ErrorCode.INVALID_PAYLOAD,
            f"The key {key.label} has no certificate that says in whose name it issues. Sign one by itself (selfsign) "
            "or attach one with POST /v1/certificate/import/plain first"
            + ("." if key.policy else ", or name the issuer."),
            refusal="certificate.no-issuer",
        )
    else:
        # An ordinary key without a certificate issues in the name that the caller gives, as documented.
        issuer, subject = Issuer(named, key_identifier(key.public_key)), requested
    if subject == _EMPTY_NAME:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            "The request names no subject: give standardCertificateAttributes.",
            refusal="certificate.name",
        )
    return issuer, subject


def require_certified(request: RequestRow, made: bytes) -> None:
    """Return only if a certificate, or a request for one, is the outcome of a request (decisions 14, R17).

    Args:
        request: The request, with the bytes that were approved.
        made: What came back, DER.

    Raises:
        KeyturnError: 612 `certificate.form`, `certificate.other-bytes`, `certificate.algorithm`; 403 when it is not
            signed by the key with which the request was opened.
    """
    parts = split_signed(made)
    if parts.to_be_signed != request.payload:
        raise KeyturnError(
            ErrorCode.INVALID_PAYLOAD,
            "it does not consist of the bytes that were fixed when the request was opened",
            refusal="certificate.other-bytes",
        )
    if parts.algorithm != identifier_of(request.algorithm, request.key_public):
        raise KeyturnError(
            ErrorCode.INVALID_PAYLOAD,
            "it names another signature algorithm than was asked for",
            refusal="certificate.algorithm",
        )
    verify(request.key_public, request.algorithm, parts.to_be_signed, parts.signature)
