"""Certificates and requests for them: from what is asked to the exact bytes that a key signs, and back.

The bytes come first and are fixed: people approve them and the HSM signs exactly these (R17). So nothing here needs a
private key; the signature is joined to the bytes afterwards.

Source: RFC 5280 (certificates), RFC 2986 and RFC 2985 section 5.4.2 (requests), RFC 7093 section 2 (key identifiers);
rest-api.md sections 3.5, 4.3 and 4.10; ADR 0104.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska import der
from keyturn.ska.certificate_extensions import EXTENDED_KEY_USAGES, KEY_USAGES
from keyturn.ska.iso_time import LAST_SECOND, format_time
from keyturn.ska.to_be_signed import EXTENSION_REQUEST, read_to_be_signed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_VALIDITY: Final = 36_500
"""Most days that a certificate is valid: a hundred years."""
DAY: Final = 86_400
NAME_FIELDS: Final = {
    "country": NameOID.COUNTRY_NAME,
    "stateOrProvinceName": NameOID.STATE_OR_PROVINCE_NAME,
    "locality": NameOID.LOCALITY_NAME,
    "organizationName": NameOID.ORGANIZATION_NAME,
    "organizationIdentifier": NameOID.ORGANIZATION_IDENTIFIER,
    "organizationUnitName": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "title": NameOID.TITLE,
    "surname": NameOID.SURNAME,
    "givenName": NameOID.GIVEN_NAME,
    "initials": NameOID.INITIALS,
    "pseudonym": NameOID.PSEUDONYM,
    "generationQualifier": NameOID.GENERATION_QUALIFIER,
    "commonName": NameOID.COMMON_NAME,
    "email": NameOID.EMAIL_ADDRESS,
}
"""Members of `standardCertificateAttributes` (rest-api.md section 3.5) in the order in which they stand in a name."""
SAN_TYPES: Final = ("DNS", "IP", "URI", "EMAIL", "OTHERNAME")
USER_PRINCIPAL_NAME: Final = "1.3.6.1.4.1.311.20.2.3"
"""Kind of an OTHERNAME that is given as bare text."""

_SERIAL_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Usages:
    """What a certificate says about the use of its key.

    Args:
        key_usages: API names of section 4.10.
        extended_key_usages: Likewise.
        names: Alternative names: pairs of one of `SAN_TYPES` and a value.
    """

    key_usages: tuple[str, ...] = ()
    extended_key_usages: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who issues.

    Args:
        name: Name, DER.
        key_id: Its subjectKeyIdentifier.
    """

    name: bytes
    key_id: bytes


# --- names and extensions ------------------------------------------------------------------------------


def make_name(fields: Mapping[str, str]) -> bytes:
    """Write a name.

    Args:
        fields: Members of `NAME_FIELDS`; empty texts count as absent.

    Returns:
        Name, DER.

    Raises:
        KeyturnError: 600 `certificate.name`.
    """
    attributes = []
    for field, oid in NAME_FIELDS.items():
        text = fields.get(field)
        if not text:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                attributes.append(x509.NameAttribute(oid, text))
                x509.Name(attributes[-1:]).public_bytes()
        except (ValueError, UserWarning) as error:
            raise _name(f"{field}: {error}") from None
    if not attributes:
        raise _name("standardCertificateAttributes: commonName is missing")
    return x509.Name(attributes).public_bytes()


def key_identifier(spki: bytes) -> bytes:
    """Identifier of a public key (RFC 7093 section 2, method 1).

    Args:
        spki: DER SubjectPublicKeyInfo.

    Returns:
        The leftmost 20 bytes of SHA-256 over the key's bits.
    """
    reader = der.sequence_of(spki, "public key")
    reader.take(der.SEQUENCE)
    return sha256(reader.take_bits()).digest()[:20]


def _extensions(usages: Usages) -> list[x509.Extension[x509.ExtensionType]]:
    """The extensions that people choose; a request and a certificate have them alike."""
    found: list[x509.Extension[x509.ExtensionType]] = []
    if usages.key_usages:
        found.append(_extension(_key_usage(usages.key_usages), critical=True))
    if usages.extended_key_usages:
        found.append(_extension(_extended_key_usage(usages.extended_key_usages), critical=False))
    if usages.names:
        names = [_general_name(kind, value) for kind, value in usages.names]
        found.append(_extension(x509.SubjectAlternativeName(names), critical=False))
    return found


def _extension(value: x509.ExtensionType, *, critical: bool) -> x509.Extension[x509.ExtensionType]:
    return x509.Extension(value.oid, critical, value)


def _key_usage(names: Sequence[str]) -> x509.KeyUsage:
    unknown = next((name for name in names if name not in KEY_USAGES), None)
    if unknown is not None:
        raise _field("keyUsage", f"{unknown[:60]!a} is none; there are {', '.join(KEY_USAGES)}")
    if {"ENCIPHER_ONLY", "DECIPHER_ONLY"} & set(names) and "KEY_AGREEMENT" not in names:
        raise _field("keyUsage", "ENCIPHER_ONLY and DECIPHER_ONLY mean something beside KEY_AGREEMENT only")
    return x509.KeyUsage(**{attribute: name in names for name, attribute in KEY_USAGES.items()})


def _extended_key_usage(names: Sequence[str]) -> x509.ExtendedKeyUsage:
    unknown = next((name for name in names if name not in EXTENDED_KEY_USAGES), None)
    if unknown is not None:
        raise _field("extendedKeyUsage", f"{unknown[:60]!a} is none; there are {', '.join(EXTENDED_KEY_USAGES)}")
    return x509.ExtendedKeyUsage([x509.ObjectIdentifier(EXTENDED_KEY_USAGES[name]) for name in dict.fromkeys(names)])


def _general_name(kind: str, value: str) -> x509.GeneralName:
    try:
        match kind:
            case "DNS":
                return x509.DNSName(value)
            case "IP":
                return x509.IPAddress(ipaddress.ip_address(value))
            case "URI":
                return x509.UniformResourceIdentifier(value)
            case "EMAIL":
                return x509.RFC822Name(value)
            case "OTHERNAME":
                return _other_name(value)
    except ValueError as error:
        raise _field("subjectAlternativeNames", f"{kind} {value[:60]!a}: {error}") from None
    raise _field("subjectAlternativeNames", f"sanType {kind[:60]!a} is none; there are {', '.join(SAN_TYPES)}")


def _other_name(value: str) -> x509.OtherName:
    """`<oid>;UTF8:<text>` as openssl writes it; bare text is a user principal name."""
    oid, sign, text = value.partition(";UTF8:")
    if not sign:
        oid, text = USER_PRINCIPAL_NAME, value
    return x509.OtherName(x509.ObjectIdentifier(oid), der.encode(0x0C, text.encode()))


def _encoded(extensions: Sequence[x509.Extension[x509.ExtensionType]]) -> bytes:
    """Extensions, DER (RFC 5280 section 4.1)."""
    parts = []
    for extension in extensions:
        critical = der.encode(0x01, b"\xff") if extension.critical else b""
        value = der.encode(0x04, extension.value.public_bytes())
        parts.append(der.encode(der.SEQUENCE, der.encode_oid(extension.oid.dotted_string) + critical + value))
    return der.encode(der.SEQUENCE, b"".join(parts))


# --- the bytes to be signed ----------------------------------------------------------------------------


def make_request(subject: bytes, spki: bytes, usages: Usages) -> bytes:
    """Write what a request for a certificate signs.

    Args:
        subject: Name, DER.
        spki: The key that it is for, DER.
        usages: What it asks for.

    Returns:
        CertificationRequestInfo, DER.

    Raises:
        KeyturnError: 600 `certificate.field`.
    """
    extensions = _extensions(usages)
    attributes = b""
    if extensions:
        attributes = der.encode(der.SEQUENCE, EXTENSION_REQUEST + der.encode(der.SET, _encoded(extensions)))
    return _checked(
        der.encode(der.SEQUENCE, der.encode_unsigned(0) + subject + spki + der.encode(0xA0, attributes)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFields:
    """What a certificate is to say.

    Args:
        issuer: Who issues it.
        subject: Name, DER.
        spki: The subject's key, DER.
        algorithm: AlgorithmIdentifier with which it will be signed, DER.
        serial: Serial number, 1 to 2^159 - 1.
        not_before: Seconds since the epoch from which on it is valid.
        days: For how long.
        certificate_authority: Whether the subject may issue certificates.
        usages: What the key is for.
    """

    issuer: Issuer
    subject: bytes
    spki: bytes
    algorithm: bytes
    serial: int
    not_before: int
    days: int
    certificate_authority: bool
    usages: Usages


def make_certificate(fields: CertificateFields) -> bytes:
    """Write what a certificate signs.

    Args:
        fields: What it is to say.

    Returns:
        TBSCertificate of version 3, DER.

    Raises:
        KeyturnError: 600 `certificate.field`, `certificate.validity`, `certificate.usage`.
    """
    usages = fields.usages
    if not usages.key_usages and fields.certificate_authority:
        usages = Usages(("KEY_CERT_SIGN", "CRL_SIGN"), usages.extended_key_usages, usages.names)
    issues = "KEY_CERT_SIGN" in usages.key_usages
    if issues is not fields.certificate_authority and (issues or usages.key_usages):
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            "Fields 'certificateAuthority' and 'keyUsage' disagree: KEY_CERT_SIGN is for an authority, and an "
            "authority needs it (RFC 5280 section 4.2.1.3). Set both or neither.",
            refusal="certificate.usage",
        )
    if not 1 <= fields.days <= MAX_VALIDITY:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"Field 'validity' has 1 to {MAX_VALIDITY} days, not {fields.days}.",
            refusal="certificate.validity",
        )
    # The last second in which it is valid is part of the time (RFC 5280 section 4.1.2.5).
    not_after = min(fields.not_before + fields.days * DAY - 1, LAST_SECOND)
    constraints = x509.BasicConstraints(ca=fields.certificate_authority, path_length=None)
    extensions = [
        _extension(constraints, critical=True),
        *_extensions(usages),
        _extension(x509.SubjectKeyIdentifier(key_identifier(fields.spki)), critical=False),
        _extension(x509.AuthorityKeyIdentifier(fields.issuer.key_id, None, None), critical=False),
    ]
    return _checked(
        der.encode(
            der.SEQUENCE,
            der.encode(0xA0, der.encode_unsigned(2))
            + der.encode_unsigned(fields.serial)
            + fields.algorithm
            + fields.issuer.name
            + der.encode(der.SEQUENCE, _time(fields.not_before) + _time(not_after))
            + fields.subject
            + fields.spki
            + der.encode(0xA3, _encoded(extensions)),
        )
    )


def serial_from(random: bytes) -> int:
    """A serial number out of random bytes (CA/Browser Forum: at least 64 random bits).

    Args:
        random: At least 16 random bytes.
    """
    return int.from_bytes(random[:_SERIAL_BYTES], "big") >> 1 | 1 << 126


def _checked(data: bytes) -> bytes:
    """Make sure that what was written is read by whoever signs it."""
    read_to_be_signed(data)
    return data


def _time(seconds: int) -> bytes:
    digits = re.sub("[-T:]", "", format_time(seconds))
    year = int(digits[:4])
    return der.encode(0x17, digits[2:].encode()) if 1950 <= year < 2050 else der.encode(0x18, digits.encode())


def _name(why: str) -> KeyturnError:
    return KeyturnError(ErrorCode.VALIDATION_FAILED, f"Field {why}.", refusal="certificate.name")


def _field(field: str, why: str) -> KeyturnError:
    return KeyturnError(ErrorCode.VALIDATION_FAILED, f"Field '{field}': {why}.", refusal="certificate.field")
