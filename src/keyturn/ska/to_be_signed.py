"""The bytes that a certificate's signature covers, read strictly: TBSCertificate and CertificationRequestInfo.

Approvers approve these bytes and the HSM signs exactly these (R17), so what is shown to people and what is checked
comes from here and from nothing beside it. Whatever has more than one encoding is refused: then a structure that reads
the same is the same, octet for octet.

Source: RFC 5280 section 4.1 (TBSCertificate), RFC 2986 section 4.1 (CertificationRequestInfo), ITU-T X.690 section 10
(DER); docs/security/rules.md R11, R17; docs/formats/certificates.md.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from keyturn.errors import ErrorCode, FormatError
from keyturn.ska import der
from keyturn.ska.certificate_extensions import NAME_WORDS, with_extensions
from keyturn.ska.iso_time import parse_time

if TYPE_CHECKING:
    from keyturn.ska.certificate_extensions import OtherExtension

MAX_TO_BE_SIGNED: Final = 24_576
"""Longest structure in bytes: in an approval with a timestamp it stands twice, and 64 KiB is all that there is."""
MAX_DEPTH: Final = 16
"""How deep values may lie in each other; a certificate as people use them needs nine."""

_VERSION_1: Final = bytes.fromhex("020100")
_VERSION_3: Final = bytes.fromhex("a003020102")
EXTENSION_REQUEST: Final = der.encode_oid("1.2.840.113549.1.9.14")
"""Attribute of a request with the extensions that are asked for (RFC 2985 section 5.4.2)."""

_BOOLEAN, _UTC_TIME, _GENERALIZED_TIME, _EXPLICIT_0, _EXPLICIT_3 = 0x01, 0x17, 0x18, 0xA0, 0xA3
_CONSTRUCTED: Final = 0x20
_MAX_SERIAL: Final = 1 << 159
_UNSIGNED: Final = der.encode(der.BIT_STRING, b"\x00")
_NO_ALGORITHM: Final = der.encode(der.SEQUENCE, der.encode_oid("1.2.840.10045.4.3.2"))

UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises at bytes that it cannot read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToBeSigned:
    """A TBSCertificate or a CertificationRequestInfo.

    Args:
        data: All of it, DER.
        is_request: Whether it is a CertificationRequestInfo; then there is no issuer, serial, time or algorithm.
        subject: Name, DER.
        subject_text: As RFC 4514 writes it; foreign text.
        issuer: Name, DER; empty in a request.
        issuer_text: As `subject_text`.
        spki: The subject's public key, DER SubjectPublicKeyInfo.
        algorithm: AlgorithmIdentifier of the signature to come, DER; empty in a request.
        serial: Serial number; 0 in a request.
        not_before: Seconds since the epoch from which on it is valid; 0 in a request.
        not_after: Last second in which it is valid; 0 in a request.
        certificate_authority: Whether the subject may issue certificates (basicConstraints).
        path_length: How many authorities may follow below it; None for no limit.
        key_usages: API names, in the order of their bits; empty without the extension.
        extended_key_usages: API names, or dotted OIDs for those without.
        names: Alternative names as `DNS:…`, `IP:…`, `URI:…`, `EMAIL:…`, `OTHERNAME:…`; foreign text.
        subject_key_id: subjectKeyIdentifier, empty without one.
        authority_key_id: The issuer's identifier in authorityKeyIdentifier, where that says nothing else; else empty.
        others: Every other extension, so that nothing is signed unseen.
    """

    data: bytes
    is_request: bool
    subject: bytes
    subject_text: str
    issuer: bytes = b""
    issuer_text: str = ""
    spki: bytes
    algorithm: bytes = b""
    serial: int = 0
    not_before: int = 0
    not_after: int = 0
    certificate_authority: bool = False
    path_length: int | None = None
    key_usages: tuple[str, ...] = ()
    extended_key_usages: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    subject_key_id: bytes = b""
    authority_key_id: bytes = b""
    others: tuple[OtherExtension, ...] = ()


@dataclass(frozen=True, slots=True)
class SignedBytes:
    """A certificate or a request, taken apart.

    Args:
        to_be_signed: The bytes that the signature covers, DER.
        algorithm: AlgorithmIdentifier, DER.
        signature: The signature.
    """

    to_be_signed: bytes
    algorithm: bytes
    signature: bytes


def read_to_be_signed(data: bytes) -> ToBeSigned:
    """Read the bytes that a certificate's signature is to cover.

    Args:
        data: DER of one TBSCertificate of version 3 or one CertificationRequestInfo, and nothing else.

    Returns:
        What it says.

    Raises:
        FormatError: `certificate.size`; `certificate.form` for everything else, a second encoding of the same included.
    """
    if len(data) > MAX_TO_BE_SIGNED:
        raise FormatError(
            f"The bytes to be signed for a certificate have at most {MAX_TO_BE_SIGNED} bytes, not {len(data)}.",
            refusal="certificate.size",
        )
    try:
        require_canonical(data)
        reader = der.sequence_of(data, "certificate to be signed")
        if reader.peek() == _EXPLICIT_0:
            return _certificate(data, reader)
        return _request(data, reader)
    except FormatError as error:
        raise _malformed(error.message) from None


def split_signed(data: bytes, what: str = "certificate") -> SignedBytes:
    """Take a certificate or a request apart (RFC 5280 section 4.1.1, RFC 2986 section 4.2).

    Args:
        data: DER of the whole.
        what: Its name, for messages.

    Raises:
        FormatError: `certificate.form`.
    """
    try:
        reader = der.sequence_of(data, what)
        found, _, to_be_signed = reader.take_any()
        second, _, algorithm = reader.take_any()
        signature = reader.take_bits()
        reader.finish()
    except FormatError as error:
        raise _malformed(error.message) from None
    if found != der.SEQUENCE or second != der.SEQUENCE:
        raise _malformed(f"The {what} does not begin with what is signed and the algorithm.")
    return SignedBytes(to_be_signed, algorithm, signature)


def join_signed(parts: SignedBytes) -> bytes:
    """Put together what `split_signed` takes apart."""
    return der.encode(
        der.SEQUENCE, parts.to_be_signed + parts.algorithm + der.encode(der.BIT_STRING, b"\x00" + parts.signature)
    )


def require_canonical(data: bytes) -> None:
    """Refuse bytes that are not the one DER encoding of what they say, as far as that shows without their meaning.

    Definite and minimal lengths, minimal numbers, TRUE as 0xFF, sorted sets, strings in one piece.

    Args:
        data: DER of one value.

    Raises:
        FormatError: If they are not.
    """
    reader = der.DERReader(data, "structure")
    _walk(reader, 0)
    reader.finish()


def _walk(reader: der.DERReader, depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise FormatError(f"The structure is nested deeper than {MAX_DEPTH} levels.")
    tag, content, whole = reader.take_any()
    universal = tag < 0x40
    if universal and bool(tag & _CONSTRUCTED) is not (tag & ~_CONSTRUCTED in (0x10, 0x11)):
        raise FormatError("The structure holds a string in pieces, or a sequence that is none.")
    if tag & _CONSTRUCTED:
        inside = der.DERReader(content, "structure")
        parts = []
        while not inside.at_end():
            parts.append(_walk(inside, depth + 1))
        if tag == der.SET and parts != sorted(parts):
            raise FormatError("The structure holds a set that is not sorted.")
    elif tag == der.INTEGER and (
        not content or (len(content) > 1 and content[0] in (0x00, 0xFF) and content[0] >> 7 == content[1] >> 7)
    ):
        raise FormatError("The structure holds a number that is not in its minimal form.")
    elif tag == _BOOLEAN and content not in (b"\x00", b"\xff"):
        raise FormatError("The structure holds a truth value that is neither.")
    return whole


def _certificate(data: bytes, reader: der.DERReader) -> ToBeSigned:
    _, _, version = reader.take_any()
    if version != _VERSION_3:
        raise FormatError("It is not a certificate of version 3.")
    serial = reader.take_unsigned()
    algorithm = _value(reader, der.SEQUENCE)
    issuer = _value(reader, der.SEQUENCE)
    validity = der.DERReader(reader.take(der.SEQUENCE), "validity")
    not_before, not_after = _moment(validity), _moment(validity)
    validity.finish()
    subject = _value(reader, der.SEQUENCE)
    spki = _value(reader, der.SEQUENCE)
    if reader.peek() == _EXPLICIT_3:
        _require_extensions(reader.take(_EXPLICIT_3))
    reader.finish()
    if not 0 < serial < _MAX_SERIAL:
        raise FormatError("The serial number has not 1 to 20 octets, or is not positive.")
    if not_after < not_before:
        raise FormatError("It would end before it begins.")
    issuer_text, subject_text, extensions = _interpreted(data, algorithm)
    return with_extensions(
        ToBeSigned(
            data=data,
            is_request=False,
            subject=subject,
            subject_text=subject_text,
            issuer=issuer,
            issuer_text=issuer_text,
            spki=spki,
            algorithm=algorithm,
            serial=serial,
            not_before=not_before,
            not_after=not_after,
        ),
        extensions,
    )


def _interpreted(data: bytes, algorithm: bytes) -> tuple[str, str, x509.Extensions]:
    """Let the library read what we do not read ourselves: names and extensions."""
    # It loads whole certificates only, and looks at no signature.
    whole = der.encode(der.SEQUENCE, data + algorithm + _UNSIGNED)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            certificate = x509.load_der_x509_certificate(whole)
            return (
                certificate.issuer.rfc4514_string(NAME_WORDS),
                certificate.subject.rfc4514_string(NAME_WORDS),
                certificate.extensions,
            )
    except UNREADABLE as error:
        raise FormatError(f"A name or an extension in it cannot be read ({type(error).__name__}).") from None


def _request(data: bytes, reader: der.DERReader) -> ToBeSigned:
    _, _, version = reader.take_any()
    if version != _VERSION_1:
        raise FormatError("It is neither a certificate of version 3 nor a request of version 1.")
    subject = _value(reader, der.SEQUENCE)
    spki = _value(reader, der.SEQUENCE)
    attributes = der.DERReader(reader.take(_EXPLICIT_0), "attributes of a request")
    reader.finish()
    if not attributes.at_end():
        one = der.DERReader(attributes.take(der.SEQUENCE), "attribute of a request")
        if one.take_any()[2] != EXTENSION_REQUEST:
            raise FormatError("A request has no attribute but the extensions that it asks for.")
        _require_extensions(one.take(der.SET))
        one.finish()
        attributes.finish()
    whole = der.encode(der.SEQUENCE, data + _NO_ALGORITHM + _UNSIGNED)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            request = x509.load_der_x509_csr(whole)
            subject_text, extensions = request.subject.rfc4514_string(NAME_WORDS), request.extensions
    except UNREADABLE as error:
        raise FormatError(f"A name or an extension in it cannot be read ({type(error).__name__}).") from None
    return with_extensions(
        ToBeSigned(data=data, is_request=True, subject=subject, subject_text=subject_text, spki=spki), extensions
    )


def _require_extensions(content: bytes) -> None:
    """None at all is written by leaving the list out."""
    reader = der.DERReader(content, "extensions")
    if not reader.take(der.SEQUENCE):
        raise FormatError("It holds a list of extensions with nothing in it.")
    reader.finish()


def _value(reader: der.DERReader, tag: int) -> bytes:
    found, _, whole = reader.take_any()
    if found != tag:
        raise FormatError(f"It holds tag 0x{found:02X} where 0x{tag:02X} must stand.")
    return whole


def _moment(reader: der.DERReader) -> int:
    """A time of RFC 5280 section 4.1.2.5: UTCTime up to 2049, GeneralizedTime after it, whole seconds in UTC."""
    tag, content, _ = reader.take_any()
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise FormatError("A time in it is neither UTCTime nor GeneralizedTime.")
    text = content.decode("ascii", errors="replace")
    digits = text[:-1]
    size = 12 if tag == _UTC_TIME else 14
    if text[-1:] != "Z" or len(digits) != size or not (digits.isascii() and digits.isdigit()):
        raise FormatError("A time in it cannot be read.")
    if tag == _UTC_TIME:
        digits = ("19" if digits >= "50" else "20") + digits
    if (1950 <= int(digits[:4]) < 2050) is not (tag == _UTC_TIME):
        raise FormatError("A time in it is not in the form that its year asks for.")
    date, clock = digits[:8], digits[8:]
    return parse_time(f"{date[:4]}-{date[4:6]}-{date[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}Z")


def _malformed(why: str) -> FormatError:
    return FormatError(
        f"This is not what a certificate or a request for one signs, as keyturn writes it: {why}",
        code=ErrorCode.INVALID_PAYLOAD,
        refusal="certificate.form",
    )
