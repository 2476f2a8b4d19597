"""Targets for what certificates sign, and for certificates and requests that come from elsewhere."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from fuzz.harness import AnyTarget, Target, require, same
from keyturn.crypto.certificates import (
    CertificateFields,
    Issuer,
    Usages,
    key_identifier,
    make_certificate,
    make_name,
    make_request,
)
from keyturn.crypto.foreign_certificates import copied, pem, read_certificate, read_request, request_from_text
from keyturn.ska.certificate_shape import looks_like_certificate
from keyturn.ska.certificate_words import certificate_cautions, describe_certificate
from keyturn.ska.to_be_signed import join_signed, read_to_be_signed, split_signed
from keyturn_testing.officers import Officer, make_key

if TYPE_CHECKING:
    from keyturn.crypto.foreign_certificates import AttachedCertificate, Request
    from keyturn.ska.to_be_signed import SignedBytes, ToBeSigned

ADA: Final = Officer("ada")
_USAGES: Final = Usages(
    ("DIGITAL_SIGNATURE",),
    ("SERVER_AUTH", "ANY_EXTENDED_KEY_USAGE"),
    (("DNS", "a.example"), ("IP", "10.0.0.1"), ("EMAIL", "a@example.ch"), ("OTHERNAME", "ada")),
)


def _hold_told(data: bytes, told: ToBeSigned) -> None:
    same(told.data, data)
    require(looks_like_certificate(data))
    for words, value in describe_certificate(told):
        require(words.isprintable() and isinstance(value, str))
    certificate_cautions(told)
    for part in (told.subject, told.issuer, told.spki, told.algorithm):
        require(part in data, "what is told stands nowhere in the bytes")


def _hold_parts(data: bytes, parts: SignedBytes) -> None:
    same(join_signed(parts), data)


def _hold_request(data: bytes, request: Request) -> None:
    """Whatever it asks for: no authority comes of it, and what is copied can be written."""
    require(request.subject in data and request.spki in data)
    usages = copied(request, Usages(), certificate_authority=False)
    require(not {"KEY_CERT_SIGN", "CRL_SIGN"} & set(usages.key_usages), "copied extensions let the subject issue")


def _hold_attached(data: bytes, certificate: AttachedCertificate) -> None:
    with warnings.catch_warnings():
        # About parts of names that are longer than RFC 5280 has them.
        warnings.simplefilter("ignore")
        same(x509.load_der_x509_certificate(data).subject.public_bytes(), certificate.subject)
    require(certificate.spki in data)


@lru_cache(maxsize=1)
def _requests() -> tuple[bytes, ...]:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ada")])
    builder = x509.CertificateSigningRequestBuilder(name, [])
    greedy = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    key = make_key("P-256", "ada")
    return tuple(one.sign(key, hashes.SHA256()).public_bytes(Encoding.DER) for one in (builder, greedy))


def _to_be_signed() -> tuple[bytes, ...]:
    name = make_name({"commonName": "ada", "country": "CH", "organizationIdentifier": "VATCH-1"})
    fields = CertificateFields(
        issuer=Issuer(name, key_identifier(ADA.spki)),
        subject=name,
        spki=ADA.spki,
        algorithm=bytes.fromhex("300a06082a8648ce3d040302"),
        serial=7,
        not_before=1_800_000_000,
        days=36_500,
        certificate_authority=False,
        usages=_USAGES,
    )
    return make_certificate(fields), make_request(name, ADA.spki, _USAGES), make_request(name, ADA.spki, Usages())


TARGETS: Final[tuple[AnyTarget, ...]] = (
    Target("certificates.to_be_signed", read_to_be_signed, _hold_told, _to_be_signed),
    Target("certificates.parts", split_signed, _hold_parts, lambda: (ADA.certificate, *_requests())),
    Target("certificates.request", read_request, _hold_request, _requests),
    Target("certificates.attached", read_certificate, _hold_attached, lambda: (ADA.certificate,)),
    Target(
        "certificates.request_text",
        lambda data: request_from_text(data.decode("utf-8", errors="replace")),
        lambda _, found: same(request_from_text(pem(found, request=True)), found),
        lambda: tuple(pem(one, request=True).encode() for one in _requests()),
    ),
)
