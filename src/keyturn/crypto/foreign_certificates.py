"""Certificates and requests that come from elsewhere, and the text forms of both.

Source: RFC 5280, RFC 2986, RFC 7468 (PEM); rest-api.md sections 1.2 and 3.5; ADR 0106.
"""

from __future__ import annotations

import binascii
import re
import warnings
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from keyturn.crypto.certificate_signatures import algorithm_of_identifier
from keyturn.crypto.certificates import Issuer, Usages, key_identifier
from keyturn.crypto.registry import verify
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska import der
from keyturn.ska.certificate_extensions import EXTENDED_KEY_USAGES, NAME_WORDS, key_usage_names
from keyturn.ska.to_be_signed import UNREADABLE, split_signed

MAX_CERTIFICATE: Final = 65_536
"""Largest certificate or request in bytes that is read: signatures of SLH-DSA have up to 49 856."""

_ISSUING: Final = frozenset({"KEY_CERT_SIGN", "CRL_SIGN"})
_PEM: Final = re.compile(
    r"\s*-----BEGIN (?P<label>[A-Z0-9 ]{1,40})-----\s(?P<body>[A-Za-z0-9+/=\s]*)-----END (?P=label)-----\s*"
)
_REQUEST_LABELS: Final = frozenset({"NEW CERTIFICATE REQUEST", "CERTIFICATE REQUEST"})


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a certificate whose signature was found valid.

    Args:
        subject: Name, DER.
        spki: The key that it is for and that signed it.
        extensions: What it asks for.
    """

    subject: bytes
    spki: bytes
    extensions: x509.Extensions


def read_request(data: bytes) -> Request:
    """Read a request for a certificate and verify that its key signed it.

    Args:
        data: CertificationRequest, DER.

    Raises:
        KeyturnError: 628 `csr.form`; 411 `csr.signature`, `csr.algorithm`.
    """
    if len(data) > MAX_CERTIFICATE:
        raise _csr_form(f"it has more than {MAX_CERTIFICATE} bytes")
    try:
        parts = split_signed(data, "request")
        reader = der.sequence_of(parts.to_be_signed, "request")
        reader.take_unsigned()
        _, _, subject = reader.take_any()
        _, _, spki = reader.take_any()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = x509.load_der_x509_csr(data)
            extensions = loaded.extensions
    except FormatError as error:
        raise _csr_form(error.message) from None
    except UNREADABLE as error:
        raise _csr_form(f"a part of it cannot be read ({type(error).__name__})") from None
    algorithm = algorithm_of_identifier(parts.algorithm)
    if algorithm is None:
        raise KeyturnError(
            ErrorCode.INVALID_CERTIFICATE_REQUEST,
            "The request for a certificate is signed with an algorithm that is not taken here (SHA-1, for example): "
            "have it signed with SHA-256 or longer.",
            refusal="csr.algorithm",
        )
    try:
        verify(spki, algorithm, parts.to_be_signed, parts.signature)
    except KeyturnError as error:
        raise KeyturnError(
            ErrorCode.INVALID_CERTIFICATE_REQUEST,
            f"The request for a certificate is not signed by the key that it is for: {error.message}",
            refusal="csr.signature",
        ) from None
    return Request(subject, spki, extensions)


def copied(request: Request, given: Usages, *, certificate_authority: bool) -> Usages:
    """Take over the harmless extensions of a request (`copyExtensions: COPY`), where the issuer says nothing else.

    Never basicConstraints; of the key usages none that lets issue unless the issuer makes an authority of the subject;
    alternative names and named purposes, but not "any purpose".

    Args:
        request: The request.
        given: What the issuer says; it counts where it says something.
        certificate_authority: Whether the issuer makes the subject an authority.
    """
    usages, purposes, names = list(given.key_usages), list(given.extended_key_usages), list(given.names)
    for extension in request.extensions:
        match extension.value:
            case x509.KeyUsage() as asked if not given.key_usages and not certificate_authority:
                usages = [name for name in key_usage_names(asked) if name not in _ISSUING]
            case x509.ExtendedKeyUsage() as asked if not given.extended_key_usages:
                wanted = {purpose.dotted_string for purpose in asked}
                purposes = [
                    name
                    for name, oid in EXTENDED_KEY_USAGES.items()
                    if oid in wanted and name != "ANY_EXTENDED_KEY_USAGE"
                ]
            case x509.SubjectAlternativeName() as asked if not given.names:
                names = [_pair(name) for name in asked if _copyable(name)]
    return Usages(tuple(usages), tuple(purposes), tuple(names))


def _copyable(name: x509.GeneralName) -> bool:
    return isinstance(name, x509.DNSName | x509.IPAddress | x509.UniformResourceIdentifier | x509.RFC822Name)


def _pair(name: x509.GeneralName) -> tuple[str, str]:
    kinds = {x509.DNSName: "DNS", x509.IPAddress: "IP", x509.UniformResourceIdentifier: "URI", x509.RFC822Name: "EMAIL"}
    return kinds[type(name)], str(name.value)


@dataclass(frozen=True, slots=True)
class AttachedCertificate:
    """A certificate as it may be attached to a key.

    Args:
        subject: Name, DER.
        subject_text: As RFC 4514 writes it.
        spki: The key, DER.
        key_id: subjectKeyIdentifier, computed where it has none.
        certificate_authority: Whether it says so.
    """

    subject: bytes
    subject_text: str
    spki: bytes
    key_id: bytes
    certificate_authority: bool

    @property
    def issuer(self) -> Issuer:
        """The subject in the role of an issuer."""
        return Issuer(self.subject, self.key_id)


def read_certificate(data: bytes) -> AttachedCertificate:
    """Read a certificate of whatever origin; no signature, date or chain is looked at.

    Args:
        data: Certificate, DER.

    Raises:
        FormatError: 626 `certificate.encoding`.
    """
    try:
        if len(data) > MAX_CERTIFICATE:
            raise ValueError("too large")
        reader = der.sequence_of(split_signed(data).to_be_signed, "certificate")
        if reader.peek() == 0xA0:
            reader.take_any()
        # Serial number, algorithm, issuer, validity.
        for _ in range(4):
            reader.take_any()
        subject, spki = reader.take_any()[2], reader.take_any()[2]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = x509.load_der_x509_certificate(data)
            text, extensions = loaded.subject.rfc4514_string(NAME_WORDS), loaded.extensions
        computed = key_identifier(spki)
    except (FormatError, *UNREADABLE) as error:
        raise FormatError(
            f"This is not the DER of an X.509 certificate ({type(error).__name__}).",
            code=ErrorCode.CERTIFICATE_ENCODING,
            refusal="certificate.encoding",
        ) from None
    key_id, authority = computed, False
    for extension in extensions:
        if isinstance(extension.value, x509.SubjectKeyIdentifier):
            key_id = extension.value.digest
        elif isinstance(extension.value, x509.BasicConstraints):
            authority = extension.value.ca
    return AttachedCertificate(subject, text, spki, key_id, authority)


# --- PEM -----------------------------------------------------------------------------------------------


def pem(data: bytes, *, request: bool) -> str:
    """PEM text of a certificate or a request, as the API answers it (rest-api.md section 1.2).

    Args:
        data: DER.
        request: Whether it is a request: its label is `NEW CERTIFICATE REQUEST`.
    """
    label = "NEW CERTIFICATE REQUEST" if request else "CERTIFICATE"
    text = b64encode(data).decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def request_from_text(text: str) -> bytes:
    """The DER of a request that is PEM text with either label, or base64 of DER.

    Args:
        text: What was sent.

    Raises:
        KeyturnError: 628 `csr.form`.
    """
    body = text
    matched = _PEM.fullmatch(text.replace("\\n", "\n")) if "-----" in text else None
    if "-----" in text:
        if matched is None or matched["label"] not in _REQUEST_LABELS:
            raise _csr_form("it is not PEM with the label NEW CERTIFICATE REQUEST or CERTIFICATE REQUEST")
        body = matched["body"]
    try:
        return b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _csr_form("it is neither PEM nor base64") from None


def _csr_form(why: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.CSR_FORMAT, f"This is no request for a certificate (PKCS#10): {why}.", refusal="csr.form"
    )
